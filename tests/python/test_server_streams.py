"""Event streams, the program csync serve, and clients of a server that is killed."""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

import csync
from csync import _events, _wire
from note_table import NOTE
from serving import Raw, Stream, ask, get, serving, until
from test_protocol import put

SECONDS = {"quick": 4, "default": 8, "long": 600}[os.environ.get("CSYNC_TEST_PROFILE", "default")]


@pytest.fixture
def pair(replicas):
    server, client = replicas(NOTE, "note")
    put(server, 1, 2, 3)
    return server, client


# ---- event streams


def subscriptions(sql, db):
    return {row[0] for row in sql(db.path, "SELECT * FROM _sync_subscriptions")}


def test_a_stream_tells_of_changes_by_whomever(pair, sql):
    server, client = pair
    put(client, 50)
    with serving(server) as running, Stream(running) as stream:
        assert stream.opened[1] == "3"
        put(server, 10)  # this process
        sql(server.path, "INSERT INTO note VALUES (11, 'another program', 0)")
        client.sync(running.url)  # the server itself
        assert stream.keys(3) == [10, 11, 50]
        assert stream.id in subscriptions(sql, server)


@pytest.mark.parametrize("version, is_chunked", [(b"HTTP/1.0", False), (b"HTTP/1.1", True)])
def test_a_stream_is_whole_with_chunks_and_without(pair, version, is_chunked):
    server, _ = pair
    texts = [f"{n} " + "x" * 3000 for n in range(40)]
    with serving(server) as running, Raw(running) as raw:
        raw.send(get(b"Last-Event-ID: 0\r\nOrigin: http://localhost\r\n", b"/sync/subscribe?tableName=note", version))
        data = b""
        while data.count(b"event: change") < 3:  # what it missed; then what comes while it is there
            data += raw.socket.recv(65536)
        for n, text in enumerate(texts):
            server.execute("INSERT INTO note VALUES (?, ?, 0)", (100 + n, text))
        while data.count(b"event: change") < len(texts) + 3:
            data += raw.socket.recv(65536)
        running.reload()  # ends it
        head, _, body = (data + raw.rest()).partition(b"\r\n\r\n")
    assert (b"Transfer-Encoding: chunked" in head) == is_chunked
    response = _wire.Response()
    events = _events.Events().feed(response.feed(head + b"\r\n\r\n" + body))
    bodies = [json.loads(json.loads(text)["payload"])["body"] for event, _, text in events if event == "change"]
    assert bodies[3:] == texts and body.count(b"event: bye") == 1


def test_a_stream_follows_a_table_or_a_row(replicas):
    server = replicas(NOTE + "; CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT)", "note", "tag", count=1)[0]
    row = urllib.parse.urlencode({"tableName": "note", "pkValue": '{ "id" : 2 }'})
    with serving(server) as running, Stream(running, "?tableName=tag") as tags, Stream(running, f"?{row}") as second:
        put(server, 1, 2, 3)
        server.execute("INSERT INTO tag VALUES (9, 'x')")
        assert tags.keys(1) == [9]
        assert second.keys(1) == [2]
        for query, status in (("tableName=none", 404), ("pkValue=%7B%7D", 400), ("tableName=note&pkValue=%7B%7D", 400)):
            assert ask(running, f"/sync/subscribe?{query}")[0] == status


def test_a_stream_goes_on_after_the_last_event_it_saw(pair):
    server, _ = pair
    with serving(server) as running:
        with Stream(running, headers={"Last-Event-ID": "1"}) as stream:
            assert stream.opened[1] == "1"
            put(server, 4)
            assert stream.keys(3) == [2, 3, 4]
        with Stream(running, "?fromVersion=4") as stream:
            put(server, 5)
            assert stream.keys(1) == [5]
        with Stream(running, headers={"Last-Event-ID": "999"}) as stream:  # a log that was restored
            event, version, _ = stream.next()
            assert (event, version) == ("resync", "5")
            put(server, 6)
            assert stream.keys(1) == [6]
        assert ask(running, "/sync/subscribe", headers={"Last-Event-ID": "x"})[0] == 400
        with Stream(running) as witness:
            server.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
                "INSERT INTO note SELECT i, 'much', 0 FROM n"
            )
            while int(witness.next()[1]) < server.state.max_version:  # the server knows of all of them
                pass
        with Stream(running, headers={"Last-Event-ID": "6"}) as stream:  # too much to send again
            assert stream.next()[0] == "resync"


def test_only_its_owner_ends_a_stream(replica, sql):
    db = replica(NOTE, "note")
    mine, other = ({"Authorization": f"Bearer {token}"} for token in ("a" * 32, "b" * 32))
    with serving(db, grants=[csync.Grant("a" * 32), csync.Grant("b" * 32)]) as running:
        assert ask(running, "/sync/subscribe")[0] == 401
        with Stream(running, headers=mine) as stream:
            assert ask(running, f"/sync/subscribe/{stream.id}", "DELETE", headers=other)[0] == 404
            assert ask(running, f"/sync/subscribe/{stream.id}", "DELETE")[0] == 401
            assert ask(running, "/sync/subscribe/none", "DELETE", headers=mine)[0] == 404
            put(db, 1)
            assert stream.keys(1) == [1]
            assert ask(running, f"/sync/subscribe/{stream.id}", "DELETE", headers=mine)[0] == 204
            assert stream.next()[0] == "bye" and stream.next() is None
            until(lambda: stream.id not in subscriptions(sql, db))


def test_who_never_reads_gets_a_resync_and_costs_no_memory(replica, sql):
    db = replica(NOTE, "note")
    with serving(db) as running, Stream(running, timeout=30) as busy, Raw(running, timeout=30) as lazy:
        lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        lazy.send(get(target=b"/sync/subscribe"))
        until(lambda: len(subscriptions(sql, db)) == 3)  # with the feed's own
        text = "x" * 1000

        def write(start):
            for first in range(start, start + 3000, 100):
                values = ", ".join(f"({i}, '{text}', 0)" for i in range(first, first + 100))
                db.execute(f"INSERT INTO note VALUES {values}")
                busy.keys(100)

        write(0)
        before = resident()
        write(3000)
        assert resident() - before < 4 << 20
        put(db, 100000)
        received = []
        while not received or b'{\\"id\\":100000}' not in b"".join(received[-2:]):
            received.append(lazy.socket.recv(65536))
        everything = b"".join(received)
        assert everything.count(b"event: resync") >= 1
        assert everything.count(b"event: change") < 3000


def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_burst_reaches_many_streams(replica):
    db = replica(NOTE, "note")
    with serving(db) as running, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Stream(running)) for _ in range(100)]
        for i in range(50):
            put(db, i)
        assert all(stream.keys(50) == list(range(50)) for stream in streams)


def test_streams_end_with_a_word_when_the_server_stops(replica, sql):
    db = replica(NOTE, "note")
    running = csync.serve(db, listen="127.0.0.1:0")
    with running, Stream(running, "?tableName=note") as stream, Raw(running) as raw:
        raw.send(get(target=b"/sync/subscribe"))
        head = b""
        while b"event: connected" not in head:
            head += raw.socket.recv(4096)
        began = time.monotonic()
        running.close()
        assert time.monotonic() - began < 5
        assert stream.next()[0] == "bye" and stream.next() is None
        assert b"event: bye" in raw.rest()
    assert not subscriptions(sql, db)


def test_streams_that_find_the_queue_full_are_told_so(replica, sql):
    db = replica(NOTE, "note")
    with serving(db, queue=2) as running, contextlib.closing(sqlite3.connect(db.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(Raw(running)) for _ in range(10)]
            for raw in streams:
                raw.send(get(target=b"/sync/subscribe"))
            time.sleep(0.5)
            writer.rollback()
            answers = [raw.socket.recv(4096)[9:12] for raw in streams]
        assert set(answers) == {b"200", b"503"} and answers.count(b"503") >= 6
        with Stream(running) as stream:
            put(db, 1)
            assert stream.keys(1) == [1]


# ---- PostgreSQL


def test_a_postgresql_database_is_served_and_goes_on_when_its_connections_were_ended(pg_replica, replica):
    served = pg_replica(NOTE.replace("body,", "body TEXT,"), "note")
    clients = [replica(NOTE.replace("body,", "body TEXT,"), "note") for _ in range(3)]
    for n, client in enumerate(clients):
        client.execute(f"INSERT INTO note VALUES ({n}, 'client', 0)")
    with serving({"main": served.url}) as running, Stream(running, "?tableName=note") as stream:
        threads = [threading.Thread(target=client.sync, args=(running.url,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served.sql("INSERT INTO note VALUES (9, 'another program', 0)")
        assert sorted(stream.keys(4)) == [0, 1, 2, 9]
        served.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
        )
        assert stream.next()[0] == "resync"
        until(lambda: all(ask(running, "/sync/state")[0] == 200 for _ in range(8)))
        served.sql("INSERT INTO note VALUES (10, 'later', 0)")
        assert stream.keys(1) == [10]
        for _ in range(2):
            for client in clients:
                client.sync(running.url)
    assert len({client.hash() for client in clients}) == 1


# ---- the program


@contextlib.contextmanager
def program(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "csync", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.url = process.stdout.readline().strip()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", "csync", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_program_serves_and_reads_its_tokens_again(pair, tmp_path):
    server, client = pair
    tokens = tmp_path / "tokens.json"
    config = tmp_path / "server.json"
    config.write_text(
        json.dumps({"listen": "127.0.0.1:0", "databases": {"main": str(server.path)}, "tokens": str(tokens), "rate": 0})
    )
    with program("--config", config) as process:
        token = run("token", "add", tokens, "--client", client.origin, "--days", 3).stdout.strip()
        with pytest.raises(csync.AuthError):
            client.sync(process.url, token=token)
        process.send_signal(signal.SIGHUP)
        until(lambda: ask(process, "/sync/state", headers={"Authorization": f"Bearer {token}"})[0] == 200)
        assert client.sync(process.url, token=token).pulled == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert " GET /sync/state main 200 " in process.stderr.read()
    listed = json.loads(run("token", "list", tokens).stdout)
    assert run("token", "revoke", tokens, listed[0]["id"]).returncode == 0
    assert run("token", "revoke", tokens, listed[0]["id"]).returncode == 1
    assert run("token", "list", tokens).stdout == "[]\n"


def test_the_program_says_what_it_does_not_understand(tmp_path):
    config = tmp_path / "server.json"
    config.write_text('{"lisen":"127.0.0.1:0"}')
    for arguments, status, text in (
        (("serve",), 2, "no database"),
        (("serve", "a.db", "--bogus", "x"), 2, "--bogus"),
        (("serve", "a.db", "--listen"), 2, "--listen"),
        (("serve", "--config", config), 1, "no such option"),
        (("serve", "--config", tmp_path / "none"), 1, "cannot be read"),
        (("serve", tmp_path, "--listen", "127.0.0.1:0"), 1, ""),
        (("token",), 2, "usage"),
        (("token", "add", tmp_path / "t", "--may", "all"), 2, "--may"),
        (("token", "add", tmp_path / "t", "--client", "a b"), 1, "csync: "),
    ):
        done = run(*arguments)
        assert done.returncode == status and text in done.stderr, arguments


def test_the_file_of_options_takes_the_limit_of_requests_away(pair, tmp_path):
    config = tmp_path / "server.json"
    options = {"listen": "127.0.0.1:0", "databases": {"main": str(pair[0].path)}}
    config.write_text(json.dumps(options | {"rate": -1}))
    with program("--config", config) as process:
        assert ask(process, "/health")[0] == 200
    config.write_text(json.dumps(options | {"rate": -2}))
    done = run("serve", "--config", config)
    assert done.returncode == 1 and "configuration" in done.stderr


@pytest.mark.parametrize("arguments", [("serve", "--help"), ("token", "--help")])
def test_the_program_helps(arguments):
    done = run(*arguments)
    assert done.returncode == 0 and "csync serve [NAME=]DATABASE" in done.stdout and "token add FILE" in done.stdout


# ---- end to end


def edit(chance, db):
    key = chance.randrange(40)
    if chance.random() < 0.2:
        db.execute(f"DELETE FROM note WHERE id = {key}")
    else:
        db.execute(f"INSERT OR REPLACE INTO note VALUES ({key}, 'by {db.origin} {chance.random()}', 0)")


def live(path, name, url_of, stop, seed, failures):
    """A client: edits, and syncs with whatever answers."""
    try:
        chance = random.Random(seed)
        with csync.open(path, origin=name) as db:
            while not stop.is_set():
                for _ in range(chance.randrange(4)):
                    edit(chance, db)
                with contextlib.suppress(csync.NetworkError):
                    db.sync(url_of(), batch_size=chance.choice([1, 3, 100]))
    except Exception as failure:
        failures.append(failure)


def test_clients_and_a_server_that_is_killed_end_up_equal(database, replicas):
    """At random moments, with SIGKILL; then it is started again on the same port."""
    (server,) = replicas(NOTE, "note", count=1)
    paths = [database(NOTE) for _ in range(4)]
    for path in paths:
        with csync.open(path, origin=path.stem) as db:
            db.track("note")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = "127.0.0.1:{}".format(free.getsockname()[1])
    stop, failures, chance = threading.Event(), [], random.Random(3)
    threads = [
        threading.Thread(target=live, args=(path, path.stem, lambda: f"http://{listen}", stop, n, failures))
        for n, path in enumerate(paths)
    ]
    for thread in threads:
        thread.start()
    end, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        with program(server.path, "--listen", listen, "--quiet") as process:
            assert process.url
            time.sleep(chance.uniform(0.1, 1.5))
        kills += 1
    stop.set()
    with program(server.path, "--listen", listen, "--quiet"):
        for thread in threads:
            thread.join()
        for _ in range(2):
            for path in paths:
                with csync.open(path) as db:
                    db.sync(f"http://{listen}")
    assert not failures and kills > 1
    for path in paths:
        with csync.open(path) as db:
            assert db.hash() == server.hash()
