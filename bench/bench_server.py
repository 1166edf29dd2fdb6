"""What csync serve spends: for each kind of request on SQLite and on PostgreSQL, for idle event streams, and for a change
that goes to all of them.

    .venv/bin/python bench/bench_server.py

The server is a process of its own, asked over one connection, so CPU is its own (and that of the database's processes
beside it), without the client's; each figure is the median of rounds. Memory is the growth of its private pages, without the
kernel's sockets. BENCH_REPS: rounds (7); BENCH_STREAMS: event streams (2000).
"""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import resource
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import csync

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests" / "python"))
import pg  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_REPS", "7"))
STREAMS = int(os.environ.get("BENCH_STREAMS", "2000"))
SMALL, PAGES, EDITS, PUSHES = 200, 10, 50, 1  # requests a round
COMMITS, HEARTBEAT = 100, 20  # that go to all streams; seconds
SCHEMA = "CREATE TABLE note(id BIGINT PRIMARY KEY, title TEXT, body TEXT, votes BIGINT, edited TEXT)"
TITLE, BODY = "tea on the ferry to the orchard", "lantern quarry meadow copper violet harbour cedar " * 3


def rows(first, count):
    return [(n, TITLE, f"{BODY}{n}", n % 1000, "2025-03-03 10:00:00") for n in range(first, first + count)]


def insert(path, first, count):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO note VALUES (?, ?, ?, ?, ?)", rows(first, count))


def cpu(pid):
    """Seconds of CPU that a process has had: the clock of its own that Linux keeps."""
    return time.clock_gettime(~pid << 3 | 2)


def children(pid):
    found = set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(stat.parent.name))
    return found


def private_kib(pid):
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))


# ---- a server


class Served:
    """csync serve of a database; `parent` is the process whose children work for the database, if any."""

    def __init__(self, database, folder, parent=None):
        self.parent = parent
        config = folder / "server.json"
        config.write_text(json.dumps({
            "listen": "127.0.0.1:0", "databases": {"main": str(database)},
            "rate": -1, "maxConnections": STREAMS + 50, "maxPerAddress": STREAMS + 50,
        }))
        command = [sys.executable, "-P", "-m", "csync", "serve", "--config", config, "--quiet"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        host, port = self.process.stdout.readline().strip().removeprefix("http://").split(":")
        self.address = host, int(port)
        self.connection = http.client.HTTPConnection(*self.address, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, method, target, body=None, **headers):
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.connection.request(method, target, body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        return answer

    def spent(self, work):
        """Microseconds of CPU: the server's, and its database's."""
        pids = children(self.parent) if self.parent else set()
        here, there = cpu(self.process.pid), {pid: cpu(pid) for pid in pids}
        work()
        here = cpu(self.process.pid) - here
        return 1e6 * here, 1e6 * sum(cpu(pid) - before for pid, before in there.items())

    def measured(self, count, one):
        """Of each of `count` calls of `one`."""
        found = [self.spent(lambda: [one() for _ in range(count)]) for _ in range(ROUNDS)]
        return [statistics.median(spent) / count for spent in zip(*found)]


@contextlib.contextmanager
def on_sqlite(folder):
    path = folder / "server.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
    with csync.open(path) as db:
        db.track("note")
    with Served(path, folder) as served:
        yield served


@contextlib.contextmanager
def on_postgres(folder):
    with pg.server() as home:
        url = pg.url(home, "postgres")
        session = pg.Session(url)
        session(SCHEMA)
        session.close()
        with csync.open(url) as db:
            db.track("note")
        parent = int((home / "data" / "postmaster.pid").read_text().splitlines()[0])
        with Served(url, folder, parent) as served:
            yield served


# ---- requests


def batches(folder, size, count):
    """Bodies of pushes, each with so many new rows."""
    path = folder / f"device{size}.db"
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
    with csync.open(path) as db:
        db.track("note")
        insert(path, size * 1_000_000, size * count)
        pages = [json.loads(db.changes(n * size, size).to_json()) for n in range(count)]
    return iter([json.dumps({"changes": page["changes"]}, separators=(",", ":")).encode() for page in pages])


def end_of_log(served):
    page = {"toVersion": 0, "hasMore": True}
    while page["hasMore"]:
        page = json.loads(served.ask("GET", f"/sync/changes?fromVersion={page['toVersion']}&batchSize=5000"))
    return page["toVersion"]


def requests(served, folder):
    """(what is asked, microseconds here, microseconds in the database's processes)"""
    for size, count in ((1000, PUSHES), (1, EDITS)):
        bodies = batches(folder, size, count * ROUNDS + 1)
        served.ask("POST", "/sync/changes", next(bodies))
        push = functools.partial(lambda of: served.ask("POST", "/sync/changes", next(of)), bodies)
        yield f"push of {size} new row{'s' * (size > 1)}", *served.measured(count, push)
    page = "/sync/changes?fromVersion=0&batchSize=1000"
    for name, count, target, coding in (
        ("GET /health, no database", SMALL, "/health", "identity"),
        ("GET /sync/state", SMALL, "/sync/state", "identity"),
        ("page with nothing new", SMALL, f"/sync/changes?fromVersion={end_of_log(served)}", "identity"),
        ("page of 1000 changes", PAGES, page, "identity"),
        ("page of 1000 in zstd", PAGES, page, "zstd"),
    ):
        one = functools.partial(served.ask, "GET", target, **{"Accept-Encoding": coding})
        for _ in range(8):  # each of the server's threads has its handle and its statements
            one()
        yield name, *served.measured(count, one)


# ---- event streams


class Subscribers:
    """Streams of all tables, whose events are counted and thrown away."""

    def __init__(self, address, count):
        self.sockets = []
        for _ in range(count):  # one after the other: so many may wait for a database
            one = socket.create_connection(address, timeout=60)
            self.sockets.append(one)
            one.sendall(b"GET /sync/subscribe HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b"subscriptionId" not in answer:
                more = one.recv(4096)
                assert more, answer
                answer += more

    def close(self):
        for one in self.sockets:
            one.close()

    def wait_for(self, events):
        """Until each has had so many more."""
        for one in self.sockets:
            seen, rest = 0, b""
            while seen < events:
                more = one.recv(1 << 16)
                assert more, "the stream was ended"
                rest += more
                seen += rest.count(b"event: change")
                rest = rest[-len(b"vent: change"):]


def streams(path, served):
    """Prints what they cost."""
    Subscribers(served.address, 50).close()
    time.sleep(0.5)
    before = private_kib(served.process.pid)
    subscribers = Subscribers(served.address, STREAMS)
    with contextlib.closing(subscribers):
        time.sleep(1)
        print(f"{STREAMS} idle event streams: {(private_kib(served.process.pid) - before) / STREAMS:.1f} KiB each")
        here, _ = served.spent(lambda: time.sleep(HEARTBEAT))
        print(f"a heartbeat, each {HEARTBEAT} s: {here / STREAMS:.1f} us of CPU for each")
        for name, pause in (("50 ms apart", 0.05), ("in a burst", 0)):
            here, _ = served.spent(functools.partial(publish, path, subscribers, pause))
            print(f"a change to all, {COMMITS} {name}: {here / COMMITS / STREAMS:.2f} us of CPU for each", flush=True)


def publish(path, subscribers, pause):
    """Another program commits; all have got it when this returns."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [(top,)] = connection.execute("SELECT max(id) FROM note")
        for row in rows(top + 1, COMMITS):
            connection.execute("INSERT INTO note VALUES (?, ?, ?, ?, ?)", row)
            time.sleep(pause)
    subscribers.wait_for(COMMITS)


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = pathlib.Path(name)
        print(f"{'microseconds of CPU':38}{'csync serve':>12}{'PostgreSQL':>12}")
        for kind, place in (("SQLite", on_sqlite), ("PostgreSQL", on_postgres)):
            with place(folder) as served:
                for what, here, there in requests(served, folder):
                    beside = f"{there:12.0f}" if kind == "PostgreSQL" else ""
                    print(f"{kind + ',':12}{what:26}{here:12.0f}{beside}", flush=True)
                if kind == "SQLite":
                    streams(folder / "server.db", served)


if __name__ == "__main__":
    main()
