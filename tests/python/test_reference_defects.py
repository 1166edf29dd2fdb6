"""The defects of the system that csync re-implements (research/reference.md 0 and 5.2, reference.json
state_machine_bugs and trigger_limits), each under its own name: what csync does instead."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

import csync
from exact import contents, everything, quoted, rows
from note_table import NOTE, count_notes, fill, wait_a_moment

DAY = "2026-01-{:02}T00:00:00.000Z"
FAMILY = """
    CREATE TABLE parent (id INTEGER PRIMARY KEY, name);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES parent ON DELETE {}, name);
"""


class Peer:
    """The log of a replica that exists only as changes."""

    def __init__(self, origin="peer"):
        self.origin, self.version = origin, 0

    def change(self, table, operation, row, day=1, key=("id",)):
        self.version += 1
        pk = {name: row[name] for name in key}
        payload = None if operation == "delete" else row
        return csync.Change(
            self.version, table, pk, operation, payload, self.origin, DAY.format(day), self.version
        )

    def put(self, table, day=1, **row):
        return self.change(table, "update", row, day)

    def drop(self, table, day=1, **row):
        return self.change(table, "delete", row, day)


@pytest.fixture
def family(replica):
    """family(on_delete="CASCADE"): a replica of parent and child."""
    return lambda on_delete="CASCADE": replica(FAMILY.format(on_delete), "parent", "child")


def statuses(result):
    return [outcome.status for outcome in result.outcomes]


# ---- Two and three replicas


def test_pull_then_push_swaps(notes, sql):
    client, server = notes
    server.execute("INSERT INTO note VALUES (1, 'base', 0)")
    client.sync(server)
    sql(client.path, "UPDATE note SET body = 'client, older'")
    wait_a_moment()
    sql(server.path, "UPDATE note SET body = 'server, newer'")
    assert client.pull(server).pulled == 1
    assert client.push(server).pushed == 0
    for db in notes:
        assert db.execute("SELECT body FROM note") == [("server, newer",)]


@pytest.mark.parametrize("later", ["delete", "update"])
def test_delete_update(notes, sql, later):
    client, server = notes
    server.execute("INSERT INTO note VALUES (1, 'base', 0)")
    client.sync(server)
    edits = [(client, "UPDATE note SET body = 'edited'"), (server, "DELETE FROM note")]
    for db, statement in edits if later == "delete" else reversed(edits):
        sql(db.path, statement)
        wait_a_moment()
    client.pull(server)
    client.push(server)
    for db in notes:
        assert db.execute("SELECT body FROM note") == ([] if later == "delete" else [("edited",)])


def test_third_replica(replicas):
    a, server, b = replicas(NOTE, "note", count=3)
    a.execute("INSERT INTO note VALUES (1, 'from a', 0)")
    a.push(server)
    assert b.pull(server).pulled == 1
    assert b.execute("SELECT body FROM note") == [("from a",)]
    assert [c.origin for c in b.changes()] == [a.origin]


def test_a_ring_comes_to_rest(replicas):
    """The same-origin skip was the reference's only guard against loops; here stamps are."""
    ring = replicas(NOTE, "note", count=4)
    for number, db in enumerate(ring):
        db.execute("INSERT INTO note VALUES (?, 'by ' || ?, 0), (100, ?, 0)", (number, number, number))
        wait_a_moment()
    for _ in range(2):
        for number, db in enumerate(ring):
            db.sync(ring[number - 1])
    assert len({db.hash() for db in ring}) == 1
    assert ring[0].execute("SELECT count(*), max(body) FILTER (WHERE id = 100) FROM note") == [(5, 3)]
    for number, db in enumerate(ring):
        db.sync(ring[number - 1])
    result = [db.sync(ring[number - 1]) for number, db in enumerate(ring)]
    assert [(r.pulled, r.pushed, r.lost) for r in result] == [(0, 0, 0)] * 4


def test_push_sends_what_lost(notes, sql):
    """An entry that the pull has beaten is no head any more and is not sent."""
    client, server = notes
    sql(client.path, "INSERT INTO note VALUES (1, 'older', 0)")
    wait_a_moment()
    sql(server.path, "INSERT INTO note VALUES (1, 'newer', 0)")
    client.pull(server)
    sent = []
    client.push(csync.Remote(send=sent.append, name=server.origin))
    assert [c for batch in sent for c in batch] == []


def test_the_tie_is_decided_alike_on_both_sides():
    """The reference lets each side keep its own row when time and version are equal."""
    one = csync.Change(1, "note", {"id": 1}, "update", {"id": 1, "body": "x"}, "aaa", DAY.format(1), 1)
    other = csync.Change(1, "note", {"id": 1}, "update", {"id": 1, "body": "y"}, "bbb", DAY.format(1), 1)
    assert {csync.resolve(one, other), csync.resolve(other, one)} == {"local", "remote"}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00.500Z"),
        ("2025-01-01T00:00:00.5Z", "2025-01-01T00:00:00.510Z"),
        ("2025-01-01T00:00:00.1234567Z", "2025-01-01T00:00:00.125Z"),
        ("2025-01-01T02:00:00.000+02:00", "2025-01-01T00:00:00.001Z"),
        ("2025-01-01T00:00:00.000Z", "2024-12-31T23:30:00.001-00:30"),
        ("2025-01-01t00:00:00.000z", "2025-01-01T00:00:00.001Z"),
    ],
)
def test_stamps_are_compared_as_text(earlier, later):
    """As times they are compared here; "Z" sorts above "." and "4"."""
    first = csync.Change(9, "note", {"id": 1}, "delete", None, "zzz", earlier, 9)
    second = csync.Change(1, "note", {"id": 1}, "delete", None, "aaa", later, 1)
    assert csync.resolve(first, second) == "remote" and csync.resolve(second, first) == "local"


def test_mixed_precision_is_a_tie_that_the_origin_breaks():
    three = csync.Change(1, "note", {"id": 1}, "delete", None, "origin-A", "2025-01-01T00:00:00.123Z")
    seven = csync.Change(1, "note", {"id": 1}, "delete", None, "origin-B", "2025-01-01T00:00:00.1234567Z")
    assert csync.resolve(three, seven) == "remote" and csync.resolve(seven, three) == "local"


def test_pk_text_differs(replica):
    """White space and order of names in a key do not make another row of it."""
    schema = "CREATE TABLE pair (a, b, v, PRIMARY KEY (a, b))"
    db = replica(schema, "pair")

    def change(version, pk, value):
        row = json.dumps({"a": 1, "b": "x", "v": value})
        return csync.Change(version, "pair", pk, "update", row, "peer", DAY.format(version), version)

    spellings = ('{"a":1,"b":"x"}', '{ "b" : "x", "a" : 1 }', '{"a":1,"b":"\\u0078"}')
    made = [change(number, pk, number) for number, pk in enumerate(spellings, 1)]
    for one in made:
        assert statuses(db.apply([one])) == ["applied"]
    assert db.execute("SELECT * FROM pair") == [(1, "x", 3)]
    assert csync.resolve(made[0], made[1]) == csync.resolve(made[0], made[2]) == "remote"


def test_a_clock_at_2099_wins_for_ever(notes):
    """Whoever has seen its row edits it all the same: an edit is stamped above everything seen."""
    left, right = notes
    row = {"id": 1, "body": "from 2099", "votes": 0}
    left.apply([csync.Change(1, "note", {"id": 1}, "insert", row, "peer", "2099-01-01T00:00:00Z", 1)])
    right.sync(left)
    right.execute("UPDATE note SET body = 'edited now'")
    left.sync(right)
    for db in notes:
        assert db.execute("SELECT body FROM note") == [("edited now",)]


# ---- Keys


def test_composite_pk_delete(replicas, sql):
    schema = "CREATE TABLE pair (k1 TEXT, k2 INTEGER, v, PRIMARY KEY (k1, k2))"
    left, right = replicas(schema, "pair")
    sql(left.path, "INSERT INTO pair VALUES ('a', 1, 'x'), ('a', 2, 'y')")
    right.sync(left)
    sql(left.path, "DELETE FROM pair WHERE k1 = 'a' AND k2 = 1")
    right.sync(left)
    assert right.execute("SELECT * FROM pair") == [("a", 2, "y")]


def test_pk_update_leaves_a_ghost(replicas, sql):
    left, right = replicas(NOTE, "note")
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0)")
    right.sync(left)
    sql(left.path, "UPDATE note SET id = 2")
    right.sync(left)
    assert right.execute("SELECT * FROM note") == [(2, "x", 0)]


# ---- Foreign keys


def test_replace_cascade(family, sql):
    left, right = family(), family()
    sql(left.path, "INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 1, 'c'), (2, 1, 'd')")
    right.sync(left)
    sql(left.path, "UPDATE parent SET name = 'changed'")
    right.sync(left)
    assert right.execute("SELECT name FROM parent") == [("changed",)]
    assert right.execute("SELECT count(*) FROM child") == [(2,)]


def test_replace_restrict(family, sql):
    """With OR REPLACE no row that others refer to could ever be updated."""
    left, right = family("RESTRICT"), family("RESTRICT")
    sql(left.path, "INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 1, 'c')")
    right.sync(left)
    sql(left.path, "UPDATE parent SET name = 'changed'")
    result = right.sync(left)
    assert (result.pulled, result.parked) == (1, 0)
    assert right.execute("SELECT name FROM parent") == [("changed",)]


def test_foreign_key_error_swallowed(family):
    """The reference counts such a child as applied and drops it."""
    server = family()
    peer = Peer()
    result = server.apply([peer.put("child", id=1, parent=7, name="c")])
    assert statuses(result) == ["parked"] and "foreign key" in result.outcomes[0].reason
    assert server.execute("SELECT count(*) FROM child") == [(0,)]
    result = server.apply([peer.put("parent", id=7, name="p")])
    assert (statuses(result), result.parked) == (["applied"], 0)
    assert server.execute("SELECT * FROM child") == [(1, 7, "c")]


def test_foreign_key_error_swallowed_in_a_push(family, sql):
    left, right = family(), family()
    with contextlib.closing(sqlite3.connect(left.path)) as connection, connection:  # checks no foreign keys
        connection.execute("INSERT INTO child VALUES (1, 7, 'orphan')")
        connection.execute("INSERT INTO parent VALUES (8, 'fine')")
    left.push(right)
    assert right.state.parked == 1 and right.execute("SELECT id FROM parent") == [(8,)]
    sql(left.path, "INSERT INTO parent VALUES (7, 'late')")
    left.push(right)
    assert right.parked() == [] and contents(left.path) == contents(right.path)


def test_foreign_keys_are_off_by_default(family):
    assert family().execute("PRAGMA foreign_keys") == [(1,)]


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_deferral_never_crosses_a_batch(family, sql, batch_size):
    left, right = family(), family()
    with contextlib.closing(sqlite3.connect(left.path)) as connection, connection:
        for number in range(1, 6):
            connection.execute("INSERT INTO child VALUES (?, ?, 'before its parent')", (number, number))
        connection.executemany("INSERT INTO parent VALUES (?, 'late')", [(n,) for n in range(1, 6)])
    assert right.pull(left, batch_size=batch_size).parked == 0
    assert contents(left.path) == contents(right.path)


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_a_chain_longer_than_the_passes_fails(replica, passes):
    """chain_of_3 and zero_passes: 40 rows, each the child of the next, the last first."""
    schema = "CREATE TABLE chain (id INTEGER PRIMARY KEY, up INTEGER REFERENCES chain)"
    db = replica(schema, "chain")
    peer = Peer()
    links = [peer.put("chain", id=n, up=n + 1 if n < 40 else None) for n in range(1, 41)]
    result = db.apply(links, max_retry_passes=passes)
    assert statuses(result) == ["applied"] * 40 and db.state.parked == 0
    assert db.execute("SELECT count(*) FROM chain") == [(40,)]


def test_always_fk_stops_the_batch(family):
    """A child whose parent never comes is parked; what comes with it and after it goes in."""
    db = family()
    peer = Peer()
    result = db.apply([peer.put("child", id=1, parent=404, name="c"), peer.put("parent", id=1, name="p")])
    assert statuses(result) == ["parked", "applied"]
    assert statuses(db.apply([peer.put("child", id=2, parent=1, name="d")])) == ["applied"]
    assert db.state.parked == 1


def test_a_delete_in_the_batch_that_parks_its_row_stays_a_delete(replica):
    """The parent is parked, and its child with it; the child's own delete comes in the same batch."""
    schema = """
        CREATE TABLE top (id INTEGER PRIMARY KEY);
        CREATE TABLE parent (id INTEGER PRIMARY KEY, top REFERENCES top);
        CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent);
    """
    db = replica(schema, "top", "parent", "child")
    peer = Peer()
    db.apply([peer.put("top", id=1), peer.put("parent", id=1, top=1), peer.put("child", id=1, parent=1)])
    result = db.apply([peer.put("parent", 2, id=1, top=99), peer.drop("child", 2, id=1)])
    assert statuses(result) == ["parked", "applied"]
    assert [p.table for p in db.parked()] == ["parent"]
    db.apply([peer.put("top", 3, id=99)])
    assert db.execute("SELECT * FROM parent") == [(1, 99)]
    assert db.execute("SELECT * FROM child") == []


def test_an_update_in_the_batch_that_parks_its_row_is_the_row(replica):
    """As before, but the child moves to another parent in the same batch."""
    schema = """
        CREATE TABLE top (id INTEGER PRIMARY KEY);
        CREATE TABLE parent (id INTEGER PRIMARY KEY, top REFERENCES top);
        CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent, name);
    """
    db = replica(schema, "top", "parent", "child")
    peer = Peer()
    old = peer.put("child", id=1, parent=1, name="old")
    db.apply([peer.put("top", id=1), peer.put("parent", id=1, top=1), peer.put("parent", id=2, top=1), old])
    moved = peer.put("child", 2, id=1, parent=2, name="moved")
    db.apply([peer.put("parent", 2, id=1, top=99), moved])
    assert db.execute("SELECT * FROM child") == [(1, 2, "moved")]
    db.apply([peer.put("top", 3, id=99)])
    assert db.execute("SELECT * FROM child") == [(1, 2, "moved")]
    assert db.parked() == []


# ---- One bad row, one crash


@pytest.mark.parametrize("rule", ["v CHECK (v < 10)", "v NOT NULL", "v TEXT UNIQUE"])
def test_poison_entry_stops_the_pull(replica, rule):
    """A row that the receiver's schema forbids is kept and listed; everything else goes on."""
    left = replica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "t")
    right = replica(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {rule})", "t")
    left.execute("INSERT INTO t VALUES (1, 1), (2, 1), (3, 50), (4, NULL)")
    left.execute("INSERT INTO t VALUES (5, 5)")
    right.sync(left)
    visible = {row[0] for row in right.execute("SELECT id FROM t")}
    parked = {p.pk["id"] for p in right.parked()}
    assert visible | parked == {1, 2, 3, 4, 5} and not visible & parked
    assert 1 <= len(parked) <= 2 and all(p.reason and p.message for p in right.parked())
    left.execute("INSERT INTO t VALUES (6, 6)")
    right.sync(left)
    assert right.execute("SELECT v FROM t WHERE id = 6") in ([(6,)], [("6",)])
    assert len(rows(left.path, "t")) == 6


def test_poison_entry_enters_once_the_schema_allows_it(replica, sql):
    left = replica("CREATE TABLE t (id INTEGER PRIMARY KEY, v, extra)", "t")
    right = replica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "t")
    left.execute("INSERT INTO t VALUES (1, 'a', 'b')")
    right.sync(left)
    assert [p.reason for p in right.parked()] == ["unknown column"]
    sql(right.path, "ALTER TABLE t ADD COLUMN extra")
    right.sync(left)
    assert right.parked() == [] and right.execute("SELECT * FROM t") == [(1, "a", "b")]


def test_columns_missing_from_the_payload_are_reset(replica):
    """A peer that does not know a column yet leaves it alone."""
    db = replica("CREATE TABLE t (id INTEGER PRIMARY KEY, v, extra DEFAULT 'default')", "t")
    peer = Peer()
    db.execute("INSERT INTO t VALUES (1, 'a', 'mine')")
    row = {"id": 1, "v": "theirs"}
    later = csync.Change(1, "t", {"id": 1}, "update", row, "other", "2099-01-01T00:00:00Z", 1)
    assert statuses(db.apply([later, peer.put("t", id=2, v="new")])) == ["applied", "applied"]
    assert db.execute("SELECT * FROM t") == [(1, "theirs", "mine"), (2, "new", "default")]


def crash(left, right, call, batch_size=50):
    """Pulls left into right in a process of its own that is killed in the `call`th report of progress."""
    script = f"""
        import csync, os, signal
        calls = 0
        def progress(p):
            global calls
            calls += 1
            if calls == {call}:
                os.kill(os.getpid(), signal.SIGKILL)
        left, right = csync.open({str(left)!r}), csync.open({str(right)!r})
        right.sync(left, batch_size={batch_size}, progress=progress)
        os._exit(0)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("call", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("batch_size", [100, 1000])
def test_watermark_outside_the_transaction(notes, call, batch_size):
    """Killed anywhere, data and position agree: nothing comes twice, nothing is missing."""
    left, right = notes
    fill(left, 400)
    left_path, right_path = left.path, right.path
    for db in notes:
        db.close()
    assert crash(left_path, right_path, call, batch_size)
    with csync.open(left_path) as left, csync.open(right_path) as right:
        here = count_notes(right)
        assert here in {*range(0, 400, batch_size), 400}
        assert right.state.last_server_version == here
        result = right.sync(left, batch_size=batch_size)
        assert (result.pulled, result.duplicates) == (400 - here, 0)
        assert left.hash() == right.hash()


def test_a_page_that_comes_again_changes_nothing(notes):
    """Deletes followed by inserts from elsewhere: not even then."""
    left, right = notes
    fill(left, 20)
    left.execute("DELETE FROM note WHERE id > 10")
    page = list(left.changes())
    right.apply(page)
    right.execute("INSERT INTO note VALUES (15, 'again', 1)")
    right.execute("DELETE FROM note WHERE id = 3")
    before = contents(right.path)
    assert set(statuses(right.apply(page))) == {"duplicate", "lost"}
    assert contents(right.path) == before


@pytest.mark.parametrize("batch_size", [50, 10_000])
def test_suppression_stuck_after_a_crash(notes, sql, batch_size):
    left, right = notes
    fill(left, 300)
    sql(right.path, "CREATE TRIGGER mine AFTER INSERT ON note BEGIN SELECT 1; END")  # so that the flag is used
    assert crash(left.path, right.path, 3, batch_size)
    assert sql(right.path, "SELECT sync_active FROM _sync_session") == [(0,)]
    sql(right.path, "INSERT INTO note VALUES (1000, 'after the crash', 0)")
    assert 1000 in [c.pk["id"] for c in right.changes()]


def test_suppression_stuck_by_another_tool(database, sql):
    """sync_active=1 was committed by whoever; opening the replica ends it."""
    path = database(NOTE)
    with csync.open(path) as db:
        db.track("note")
    sql(path, "UPDATE _sync_session SET sync_active = 1")
    with csync.open(path) as db:
        sql(path, "INSERT INTO note VALUES (1, 'logged', 0)")
        assert sql(path, "SELECT sync_active FROM _sync_session") == [(0,)]
        assert [c.payload["body"] for c in db.changes()] == ["logged"]


def test_an_empty_session_table_captures_nothing(database, sql):
    """Without its row the reference's triggers are silent for ever; opening the replica brings it back."""
    path = database(NOTE)
    with csync.open(path) as db:
        db.track("note")
    sql(path, "DELETE FROM _sync_session")
    with csync.open(path) as db:
        sql(path, "INSERT INTO note VALUES (1, 'logged', 0)")
        assert [c.payload["body"] for c in db.changes()] == ["logged"]


def test_writes_beside_a_suppressed_apply_are_lost(notes):
    """The flag was seen by everybody; here a writer between two batches is captured."""
    left, right = notes
    fill(left, 300)
    other = sqlite3.connect(right.path)
    written = []

    def progress(p):
        with contextlib.suppress(sqlite3.OperationalError), other:  # locked: an apply is going on
            other.execute("PRAGMA busy_timeout = 0")
            other.execute("INSERT INTO note VALUES (?, 'beside', 0)", (5000 + len(written),))
            written.append(5000 + len(written))

    right.pull(left, batch_size=20, progress=progress)
    other.close()
    assert written
    logged = {c.pk["id"] for c in right.changes(limit=10_000) if c.origin == right.origin}
    assert logged == set(written)


def test_database_errors_look_like_nothing_new(notes, sql):
    left, right = notes
    fill(left, 3)
    sql(left.path, "ALTER TABLE _sync_log RENAME TO _sync_elsewhere")
    with pytest.raises(csync.DatabaseError, match="_sync_log"):
        right.pull(left)
    sql(left.path, "ALTER TABLE _sync_elsewhere RENAME TO _sync_log")
    assert right.pull(left).pulled == 3


def test_has_more_is_exact(notes):
    """size + 1 entries were fetched to know; a page that ends with the log says so."""
    left, _ = notes
    fill(left, 10)
    assert not left.changes(limit=10).has_more and len(left.changes(limit=10)) == 10
    assert left.changes(limit=9).has_more
    assert not left.changes(10).has_more and left.changes(10).to_version == 10
    for limit in (0, -1):
        with pytest.raises(csync.InvalidValue):
            left.changes(limit=limit)


def test_the_batch_hash_is_never_checked(notes):
    left, right = notes
    fill(left, 3)
    honest = left.changes()
    forged = [csync.Change(c.version, "note", c.pk, "delete", None, c.origin, c.timestamp) for c in honest]
    batch = csync.Batch(forged, origin=left.origin, to_version=honest.to_version, hash=csync.batch_hash(honest))
    before = everything(right.path)
    for use in (lambda: right.apply(batch), lambda: right.pull(csync.Remote(fetch=lambda *args: batch))):
        with pytest.raises(csync.HashMismatchError):
            use()
    assert everything(right.path) == before


# ---- Values and names


def test_blob_breaks_the_insert(notes, sql):
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, x'00ff', 0)")
    right.sync(left)
    assert right.execute("SELECT body FROM note") == [(b"\x00\xff",)]


@pytest.mark.parametrize("number", ["0.1 + 0.2", "123456789.123456789", "9e999", "-9e999", "9007199254740993"])
def test_numbers_lose_digits(notes, sql, number):
    left, right = notes
    sql(left.path, f"INSERT INTO note VALUES (1, {number}, 0)")
    right.sync(left)
    assert rows(left.path, "note") == rows(right.path, "note")
    assert right.execute(f"SELECT body = {number} FROM note") == [(1,)]


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize("columns", [63, 64, 65, 127, 128, 500])
def test_more_than_63_columns_fail(replicas, sql, columns, capture):
    names = ", ".join(f"c{n} INTEGER" for n in range(1, columns))
    pair = replicas(f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {names})")
    for db in pair:
        db.track("wide", capture=capture)
    values = ", ".join(str(n) for n in range(1, columns))
    sql(pair[0].path, f"INSERT INTO wide VALUES (1, {values})")
    pair[1].sync(pair[0])
    sql(pair[0].path, f"UPDATE wide SET c{columns - 1} = 'changed'")
    pair[1].sync(pair[0])
    assert pair[1].execute("SELECT * FROM wide") == [(1, *range(1, columns - 1), "changed")]


@pytest.mark.parametrize("name", ["Order", "two words", 'we"ird', "it's", "select"])
def test_identifiers_are_never_quoted(replicas, sql, name):
    left, right = replicas(f"CREATE TABLE {quoted(name)} (id INTEGER PRIMARY KEY, {quoted(name)})", name)
    sql(left.path, f"INSERT INTO {quoted(name)} VALUES (1, 'x')")
    right.sync(left)
    assert right.execute(f"SELECT * FROM {quoted(name)}") == [(1, "x")]


def test_json_in_a_column_leaks_its_subtype(notes, sql):
    left, right = notes
    sql(left.path, """INSERT INTO note VALUES (1, json('{"x":1}'), 0)""")
    sql(left.path, "UPDATE note SET body = json_set(body, '$.x', 2)")
    right.sync(left)
    assert right.execute("SELECT typeof(body), body FROM note") == [("text", '{"x":2}')]


# ---- Security


@pytest.mark.parametrize(
    "table", ["_sync_state", "_sync_log", "sqlite_master", "secret", "note; DROP TABLE note; --", 'note"', "NOTE"]
)
def test_any_table_is_writable(replica, table):
    db = replica(NOTE + "; CREATE TABLE secret (id INTEGER PRIMARY KEY, body)", "note")
    db.execute("INSERT INTO secret VALUES (1, 'mine')")
    visible = contents(db.path)
    state = db.execute("SELECT value FROM _sync_state WHERE key = 'origin_id'")
    row = {"id": 1, "key": "origin_id", "value": "evil", "body": "evil", "version": 1}
    result = db.apply([csync.Change(1, table, {"id": 1}, "update", row, "evil", DAY.format(1), 1)])
    assert statuses(result)[0] in ("parked", "rejected") and result.outcomes[0].reason
    result = db.apply([csync.Change(2, table, {"id": 1}, "delete", None, "evil", DAY.format(2), 2)])
    assert statuses(result)[0] in ("parked", "rejected")
    assert contents(db.path) == visible
    assert db.execute("SELECT value FROM _sync_state WHERE key = 'origin_id'") == state


@pytest.mark.parametrize(
    "column", ["body) VALUES (1, 2); DROP TABLE note; --", 'body" = 1; --', "rowid", "_rowid_", "oid", "BODY", "?1"]
)
def test_column_names_become_sql(notes, column):
    db, _ = notes
    fill(db, 3)
    before = contents(db.path)
    row = {"id": 9, "body": "evil", column: 1}
    result = db.apply([csync.Change(1, "note", {"id": 9}, "update", row, "evil", DAY.format(1), 1)])
    assert statuses(result) in (["parked"], ["rejected"])
    result = db.apply([csync.Change(2, "note", {column: 1}, "delete", None, "evil", "2099-01-01T00:00:00Z", 2)])
    assert statuses(result) in (["parked"], ["rejected"])
    assert contents(db.path) == before


def test_values_become_sql(notes):
    left, right = notes
    evil = "'); DROP TABLE note; --"
    left.execute("INSERT INTO note VALUES (1, ?, 0)", (evil,))
    right.sync(left)
    assert right.execute("SELECT body FROM note") == [(evil,)]


def test_nobody_is_locked_out_by_a_killed_process(notes):
    """The lock of a killed apply is gone with it."""
    left, right = notes
    fill(left, 200)
    assert crash(left.path, right.path, 2, 200)
    assert right.sync(left).pulled == 200
    assert not os.path.exists(f"{right.path}-journal") or os.path.getsize(f"{right.path}-journal") == 0
