"""The program csync, run as its users run it."""

import contextlib
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import csync
from bad_network import Network
from note_table import NOTE, fill
from serving import serving
from test_protocol import grow_stale, put

TOKEN = "x" * 32
PROGRAM = [sys.executable, "-P", "-m", "csync"]


def run(*arguments, **environment):
    """Exit status, standard output, standard error."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def says(*arguments, status=0, **environment):
    """The JSON that it answers."""
    code, out, err = run(*arguments, "--json", **environment)
    assert (code, err) == (status, ""), (code, out, err)
    return json.loads(out)


def test_two_files_come_together(database):
    one, two = database(NOTE), database(NOTE)
    for path in (one, two):
        assert run("track", path, "note") == (0, "note  full\n", "")
    for path, number in ((one, 1), (two, 2)):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO note VALUES (?, 'a', 0)", (number,))
    status, out, _ = run("sync", one, two)
    assert status == 0 and out.startswith("pulled 1, pushed 1")
    assert run("hash", one) == run("hash", two)
    assert run("verify", one, two) == (0, "equal\n", "")
    assert run("sync", one, two, "--quiet") == (0, "", "")


@pytest.mark.parametrize("command, moved", [("pull", (3, 0)), ("push", (0, 1)), ("sync", (3, 1))])
def test_a_server_is_a_peer(pair, command, moved):
    with serving(pair[0]) as running:
        found = says(command, pair[1].path, running.url)
    assert (found["pulled"], found["pushed"]) == moved


@pytest.mark.parametrize("command", ["pull", "push", "sync"])
@pytest.mark.parametrize("remote", [True, False])
def test_a_dry_run_says_what_there_is_and_does_nothing(pair, sql, command, remote):
    server, client = pair
    client.sync(server)
    put(server, 10, 11)
    put(client, 20)
    rows = "SELECT id, body, votes FROM note ORDER BY id"
    before = [sql(path, rows) for path in (server.path, client.path)]
    with serving(server) as running:
        peer = running.url if remote else server.path
        found = says(command, client.path, peer, "--dry-run")
        text = run(command, client.path, peer, "--dry-run")[1]
    assert [sql(path, rows) for path in (server.path, client.path)] == before
    assert found.pop("dryRun") is True
    assert set(found) == {"pull": {"pull"}, "push": {"push"}, "sync": {"pull", "push"}}[command]
    if command != "push":
        assert found["pull"]["tables"] == {"note": found["pull"]["changes"]} and not found["pull"]["resync"]
        assert found["pull"]["changes"] in (2, 3)  # one's own, pushed before, may come back
        assert "would pull: " in text
    if command != "pull":
        assert found["push"] == {"changes": 1, "tables": {"note": 1}, "more": False, "resync": False}
        assert "would push: 1 changes (note 1)" in text
    assert says(command, client.path, server.path)["pushed"] == (0 if command == "pull" else 1)


def test_a_dry_run_knows_of_a_resync(replicas, sql):
    server, busy, late = replicas(NOTE, "note", count=3)
    put(server, *range(1, 6))
    for _ in range(2):
        busy.sync(server), late.sync(server)
    server.execute("DELETE FROM note WHERE id IN (1, 2)")
    grow_stale(server, late, sql)
    for _ in range(3):
        busy.sync(server)
    put(server, 6)
    busy.sync(server), busy.sync(server)
    server.purge()
    assert says("pull", late.path, server.path, "--dry-run")["pull"]["resync"] is True
    assert "a snapshot" in run("pull", late.path, server.path, "--dry-run")[1]


def test_differences_are_named_and_have_a_status_of_their_own(pair):
    server, client = pair
    found = says("verify", client.path, server.path, status=3)
    assert (found["equal"], found["found"], len(found["rows"])) == (False, 4, 4)
    status, out, _ = run("verify", client.path, server.path)
    assert status == 3 and 'note  {"id":7}  missing there  pending sync' in out and out.endswith("4 differ, 0 repaired\n")
    client.sync(server)
    with client.suppressed():
        client.execute("UPDATE note SET body = 'wrong' WHERE id = 2")
    assert says("verify", client.path, server.path, status=3)["rows"][0]["pk"] == '{"id":2}'
    assert says("verify", client.path, server.path, "--repair")["repaired"] == 1
    assert says("verify", client.path, server.path)["equal"] is True


def test_what_is_in_a_database_is_shown(pair):
    server, client = pair
    client.sync(server)
    server.execute("UPDATE note SET body = 's' WHERE id = 1")
    client.execute("UPDATE note SET body = 'c', votes = 9007199254740993 WHERE id = 1")
    client.sync(server)
    state = says("status", server.path)
    assert (state["origin"], state["maxVersion"]) == (server.origin, server.state.max_version)
    assert state["tables"] == [{"name": "note", "capture": "full"}]
    page = says("log", server.path, "--since", 1, "--limit", 2)
    assert (len(page["changes"]), page["fromVersion"], page["hasMore"]) == (2, 1, True)
    status, out, _ = run("log", server.path, "--limit", 2)
    assert status == 0 and out.splitlines()[-1].startswith("more: --since ")
    assert "9007199254740993" in run("log", server.path)[1]
    assert says("hash", server.path) == {"hash": server.hash()}
    assert [c["origin"] for c in says("clients", server.path)] == [client.origin]
    assert client.origin in run("clients", server.path)[1]
    (conflict,) = says("conflicts", client.path)
    assert (conflict["table"], conflict["pk"]) == ("note", '{"id":1}')
    assert says("conflicts", client.path, "--since", conflict["id"]) == []
    assert '{"id":1}' in run("conflicts", client.path)[1]
    assert set(says("purge", server.path)) == {"version", "entries", "tombstones"}
    assert run("purge", server.path)[1].startswith("the log begins at ")
    assert {advice["level"] for advice in says("doctor", server.path)} <= {"info", "warning"}


def test_parked_rows_are_shown_with_their_reason(replicas):
    schema = "CREATE TABLE site(id INTEGER PRIMARY KEY); CREATE TABLE visit(id INTEGER PRIMARY KEY, site REFERENCES site)"
    one, two = replicas(schema, "visit")
    one.execute("INSERT INTO site VALUES (1)")
    one.execute("INSERT INTO visit VALUES (5, 1)")
    two.sync(one)
    (parked,) = says("parked", two.path)
    assert (parked["table"], parked["pk"]) == ("visit", '{"id":5}')
    assert parked["reason"] in run("parked", two.path)[1]
    assert run("status", two.path)[1].splitlines()[3].split() == ["parked", "1"]


def test_tables_are_tracked_and_untracked(database):
    path = database(NOTE + "; CREATE TABLE other(id INTEGER PRIMARY KEY)")
    assert [t["capture"] for t in says("track", path, "note", "other", "--capture", "keys")] == ["keys", "keys"]
    assert [t["name"] for t in says("untrack", path, "note")] == ["other"]
    assert run("untrack", path, "nothing")[0] == 1


def test_nothing_is_made_where_nothing_is(tmp_path, database, pair):
    missing, plain, text = tmp_path / "no.db", database(NOTE), tmp_path / "text.db"
    text.write_text("no database at all" * 100)
    for command in ("status", "doctor"):
        assert run(command, missing) == (1, "", f"csync: there is no file {missing}\n")
        assert run(command, plain)[::2] == (1, f"csync: {plain} is no replica yet: csync track {plain} TABLE...\n")
    assert run("track", missing, "note")[0] == run("sync", missing, pair[0].path)[0] == 1
    assert run("sync", pair[0].path, plain)[0] == 1
    status, _, err = run("status", text)
    assert status == 1 and "cannot be read" in err
    assert not missing.exists()
    with contextlib.closing(sqlite3.connect(plain)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_failures_have_statuses_for_scripts(pair, tmp_path):
    server, client = pair
    assert run("sync", client.path, "http://127.0.0.1:9")[0] == 4
    error = says("sync", client.path, "http://127.0.0.1:9", status=4)["error"]
    assert error["code"] == "CSYNC_ENET" and "cannot be reached" in error["message"]
    assert says("sync", "http://127.0.0.1:9", client.path, status=1)["error"]["message"].startswith("http://127.0.0.1:9 is a server")
    for wrong in ([], ["nonsense"], ["sync", "a"], ["log", "a", "--limit", "0"], ["log", "a", "--since", "-1"]):
        status, out, err = run(*wrong)
        assert (status, out) == (2, "") and "usage: csync" in err
    with serving(server, grants=[csync.Grant(TOKEN)]) as running:
        assert says("sync", client.path, running.url, status=5)["error"]["code"] == "CSYNC_EAUTH"
        assert run("sync", client.path, running.url, CSYNC_TOKEN="y" * 32)[0] == 5
        assert run("pull", client.path, running.url, CSYNC_TOKEN=TOKEN)[0] == 0
        (tmp_path / "token").write_text(TOKEN + "\n")
        assert run("sync", client.path, running.url, "--token-file", tmp_path / "token")[0] == 0
        assert run("verify", client.path, running.url, "--token-file", tmp_path / "token") == (0, "equal\n", "")
        assert run("sync", client.path, running.url, "--token-file", tmp_path / "none")[0] == 1


def test_progress_is_for_terminals(pair):
    fill(pair[0], 0)
    with contextlib.closing(sqlite3.connect(pair[0].path)) as connection, connection:
        connection.executemany("INSERT INTO note VALUES (?, 'x', 0)", ((n,) for n in range(100, 5000)))
    keeper, terminal = pty.openpty()
    with open(keeper, "rb", buffering=0) as screen:
        command = [*PROGRAM, "sync", str(pair[1].path), str(pair[0].path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal)
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):
            while data := screen.read(1000):
                shown += data
        out = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and out.startswith(b"pulled 4,903, pushed 1")
    assert b"\rpulling " in shown.replace(b"\033[K", b"") and shown.endswith(b"\r\033[K")


def test_ctrl_c_ends_a_sync(pair):
    with serving(pair[0]) as running, Network(running.url) as network:
        network.silent = True
        process = subprocess.Popen([*PROGRAM, "sync", str(pair[1].path), network.url], stderr=subprocess.PIPE)
        end = time.monotonic() + 20
        while network.accepted == 0 and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == b"" and process.returncode == 130
    assert pair[1].execute("SELECT id FROM note") == [(7,)]


def test_a_reader_that_has_enough_is_no_failure(pair):
    fill(pair[0], 0)
    with contextlib.closing(sqlite3.connect(pair[0].path)) as connection, connection:
        connection.executemany("INSERT INTO note VALUES (?, 'x', 0)", ((n,) for n in range(100, 3000)))
    process = subprocess.Popen(
        [*PROGRAM, "log", str(pair[0].path), "--limit", "3000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(20)) == (b"", 0)
    process.stderr.close()


def test_help_names_every_command():
    status, out, _ = run("--help")
    names = "sync pull push track untrack status log hash verify purge clients conflicts parked doctor serve token demo"
    assert status == 0 and all(f"    {name}" in out for name in names.split())
    assert "exit status: 0 done; 1 failed" in out
    assert run("--version") == (0, f"csync {csync.__version__}\n", "")


def test_a_postgresql_database_is_one_too(pg_replica, pair):
    db = pg_replica("CREATE TABLE note (id INTEGER PRIMARY KEY, body text, votes INTEGER)", "note")
    assert says("sync", pair[1].path, db.url)["pushed"] == 1
    assert says("status", db.url)["origin"] == db.origin
    assert says("verify", db.url, pair[1].path)["equal"] is True
