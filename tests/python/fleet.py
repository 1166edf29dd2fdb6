"""Devices that edit offline and sync through server processes, and what has to be true of them in the end.

Each device is an SQLite replica with a program beside it that knows nothing of csync. That program notes what it has
committed: visits, which are appended and never touched again; drafts, which nobody else edits; and people and items, which
all fight over, with a foreign key that cascades and a UNIQUE column.
"""

import contextlib
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import csync
import pg
from serving import until

SCHEMA = """
CREATE TABLE visit (id BIGINT PRIMARY KEY, name TEXT NOT NULL, device TEXT NOT NULL);
CREATE TABLE draft (id TEXT PRIMARY KEY, device TEXT NOT NULL, body TEXT);
CREATE TABLE person (id BIGINT PRIMARY KEY, name TEXT, email TEXT UNIQUE);
CREATE TABLE item (id BIGINT PRIMARY KEY, person BIGINT REFERENCES person ON DELETE CASCADE, body TEXT);
"""
TABLES = ("visit", "draft", "person", "item")
STRATEGIES = (None, None, None, "server-wins", "client-wins")
PEOPLE, ITEMS, MAILBOXES = 12, 40, 8  # few, so that devices meet
ROUNDS = 20  # after which all has to be quiet


class Refused(Exception):
    """The database did not take a transaction."""


# ---- programs that write


class Author:
    """Draws transactions, and notes what was committed. `commit` takes statements; Refused: none of them counts."""

    def __init__(self, name, commit, seed):
        self.name, self.commit = name, commit
        self.chance = random.Random(f"{name} {seed}")
        self.visits, self.drafts = set(), {}
        self.edits = self.refused = 0

    def edit(self):
        visits, drafts, statements = set(), dict(self.drafts), []
        for _ in range(self.chance.randint(1, 4)):
            draw = self.chance.choice((self.visit, self.draft, self.shared))
            statements.append(draw(visits, drafts))
        try:
            self.commit(statements)
        except Refused:
            self.refused += 1
            return
        self.visits |= visits
        self.drafts = drafts
        self.edits += len(statements)

    def visit(self, visits, drafts):
        name = str(uuid.UUID(int=self.chance.getrandbits(128)))
        visits.add(name)
        return f"INSERT INTO visit VALUES ({self.chance.getrandbits(62)}, '{name}', '{self.name}')"

    def draft(self, visits, drafts):
        chosen, body = self.chance.random(), f"{self.name} {self.chance.random()}"
        if drafts and chosen < 0.6:
            key = self.chance.choice(sorted(drafts))
            if chosen < 0.2:
                del drafts[key]
                return f"DELETE FROM draft WHERE id = '{key}'"
            drafts[key] = body
            return f"UPDATE draft SET body = '{body}' WHERE id = '{key}'"
        key = str(uuid.UUID(int=self.chance.getrandbits(128)))
        drafts[key] = body
        return f"INSERT INTO draft VALUES ('{key}', '{self.name}', '{body}')"

    def shared(self, visits, drafts):
        person, item = self.chance.randrange(PEOPLE), self.chance.randrange(ITEMS)
        body = f"{self.name} {self.chance.random()}"
        return self.chance.choice((
            f"INSERT INTO person VALUES ({person}, '{body}', 'mail{self.chance.randrange(MAILBOXES)}') "
            "ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email",
            f"UPDATE person SET name = '{body}' WHERE id = {person}",
            f"DELETE FROM person WHERE id = {person}",
            f"INSERT INTO item VALUES ({item}, {person}, '{body}') "
            "ON CONFLICT (id) DO UPDATE SET person = excluded.person, body = excluded.body",
            f"UPDATE item SET body = '{body}' WHERE id = {item}",
            f"DELETE FROM item WHERE id = {item}",
        ))


def sqlite_program(path):
    """A connection of Python's own sqlite3, and what commits through it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")

    def commit(statements):
        try:
            connection.executescript(";".join(["BEGIN IMMEDIATE", *statements, "COMMIT"]))
        except sqlite3.IntegrityError as error:
            connection.execute("ROLLBACK")
            raise Refused from error

    return connection, commit


def postgres_program(url):
    """psql, and what commits through it."""
    session = pg.Session(url)

    def commit(statements):
        session.send(";\n".join(["BEGIN", *statements, "COMMIT;"]))
        if any(line.startswith("ERROR") for line in session.answer()):
            raise Refused

    return session, commit


# ---- devices


class Device(Author):
    """A replica of `folder`, with a program that writes to it."""

    def __init__(self, folder, name, seed=0):
        self.path = folder / f"{name}.db"
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(SCHEMA)
        self.db = csync.open(self.path, origin=name, timeout=60)
        self.db.track(*TABLES)
        self.connection, commit = sqlite_program(self.path)
        super().__init__(name, commit, seed)
        self.token = None
        self.syncs = self.cut = self.resyncs = 0

    def close(self):
        self.connection.close()
        self.db.close()

    def sync(self, url, **options):
        result = self.db.sync(url, token=self.token, **options)
        self.syncs += 1
        self.resyncs += result.resyncs
        return result

    def try_to_sync(self, url):
        """The server may be gone at any moment, or on a slow machine be at work for others for too long."""
        try:
            self.sync(url, batch_size=self.chance.choice((20, 200, 1000)), strategy=self.chance.choice(STRATEGIES))
        except (csync.NetworkError, csync.BusyError):
            self.cut += 1

    def live(self, urls, stop):
        while not stop.wait(self.chance.uniform(0, 0.2)):
            for _ in range(self.chance.randrange(4)):
                self.edit()
            self.try_to_sync(self.chance.choice(urls))


@contextlib.contextmanager
def devices(folder, count, seed=0):
    with contextlib.ExitStack() as stack:
        made = []
        for n in range(count):
            made.append(Device(folder, f"device{n}", seed))
            stack.callback(made[-1].close)
        yield made


@contextlib.contextmanager
def at_work(lives):
    """Runs each of `lives`, functions of an Event, until the block ends; what they raise is raised here."""
    stop, failures = threading.Event(), []

    def run(live):
        try:
            live(stop)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(live,)) for live in lives]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


# ---- server processes


def give_tokens(file, devices):
    """One for each device, which pushes as itself alone."""
    program = "import sys; from csync.__main__ import main\nfor n in sys.argv[2:]: main(['token', 'add', sys.argv[1], '--client', n])"
    command = [sys.executable, "-P", "-c", program, file, *(device.name for device in devices)]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for device, token in zip(devices, made, strict=True):
        device.token = token


class Server:
    """csync serve of one database at one address, which can be killed and started again there."""

    def __init__(self, database, tokens, log):
        self.kills = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.listen = "127.0.0.1:{}".format(free.getsockname()[1])
        self.url = f"http://{self.listen}"
        self.command = [sys.executable, "-P", "-m", "csync", "serve", f"main={database}", "--tokens", tokens]
        self.command += ["--listen", self.listen, "--quiet"]
        self.log = log
        self.process = None

    def spawn(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True)

    def wait_until_it_answers(self):
        line = self.process.stdout.readline()
        assert line.strip() == self.url, pathlib.Path(self.log).read_text()

    def start(self):
        self.spawn()
        self.wait_until_it_answers()

    def kill(self):
        assert self.process.poll() is None, pathlib.Path(self.log).read_text()
        self.process.send_signal(signal.SIGKILL)
        self.close()
        self.kills += 1

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None


@contextlib.contextmanager
def servers(database, devices, folder, count=1):
    """Running ones, of one database and with one file of tokens."""
    tokens = folder / "tokens.json"
    give_tokens(tokens, devices)
    made = [Server(database, tokens, folder / f"server{n}.log") for n in range(count)]
    try:
        for server in made:  # all at once
            server.spawn()
        for server in made:
            server.wait_until_it_answers()
        yield made
    finally:
        for server in made:
            server.close()


def kill_at_random(servers, devices, seconds, chance):
    """One after the other, in the middle of work however slow the machine is, each started again at its address."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        enough = sum(device.syncs for device in devices) + chance.randrange(2 * len(devices))
        until(lambda: sum(device.syncs for device in devices) >= enough, 120)
        time.sleep(chance.uniform(0, 0.3))
        server = chance.choice(servers)
        server.kill()
        time.sleep(chance.choice((0, 0, 0.5)))
        server.start()


# ---- the end


def settle(devices, urls):
    """Syncs until nothing moves any more; the rounds that it took."""
    for n in range(1, ROUNDS + 1):
        results = [device.sync(urls[(i + n) % len(urls)]) for i, device in enumerate(devices)]
        if not any(result.pulled or result.pushed for result in results):
            return n
    raise AssertionError(f"no rest after {ROUNDS} rounds: {results}")


def faults(authors, replica, name):
    """What is lost or doubled in a replica, as lines."""
    found = []
    visits = [visit for (visit,) in replica.execute("SELECT name FROM visit ORDER BY name")]
    made = {visit for author in authors for visit in author.visits}
    found += [f"{name}: visit {visit} is lost" for visit in sorted(made - set(visits))]
    found += [f"{name}: visit {a} is doubled" for a, b in zip(visits, visits[1:]) if a == b]
    found += [f"{name}: nobody made visit {visit}" for visit in sorted(set(visits) - made)]
    drafts = {(device, key): body for key, device, body in replica.execute("SELECT id, device, body FROM draft")}
    for author in authors:
        there = {key: body for (device, key), body in drafts.items() if device == author.name}
        for key in sorted(author.drafts.keys() | there):
            if author.drafts.get(key) != there.get(key):
                found.append(f"{name}: draft {key} is {there.get(key)!r}, and was {author.drafts.get(key)!r} in the end")
    return found


def inspect(authors, replicas):
    """Faults of all replicas ({name: replica}), and those that differ from the first."""
    found, hashes = [], {}
    for name, replica in replicas.items():
        found += faults(authors, replica, name)
        hashes[name] = replica.hash()
    first, *others = hashes
    found += [f"{name} differs from {first}" for name in others if hashes[name] != hashes[first]]
    return found


def what_was_done(authors, servers, seconds):
    """For a reader."""
    devices = [author for author in authors if isinstance(author, Device)]
    return (
        f"{len(devices)} devices, {len(authors) - len(devices)} SQL writers, {len(servers)} server processes, {seconds:.0f} s: "
        f"{sum(server.kills for server in servers)} kills, {sum(device.syncs for device in devices)} syncs, "
        f"{sum(device.cut for device in devices)} more cut off, {sum(device.resyncs for device in devices)} snapshots, "
        f"{sum(author.edits for author in authors)} edits, {sum(len(author.visits) for author in authors)} rows appended"
    )

