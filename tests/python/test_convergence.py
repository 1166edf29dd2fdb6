"""Replicas that have exchanged everything hold the same rows and park the same rows, and their logs rest: one
small schema and one short story each. test_histories.py looks for more of them at random."""

import contextlib
import sqlite3
import time

import pytest

import csync
from exact import rows
from note_table import NOTE, Boom, wait_a_moment

SELF = "CREATE TABLE node (id INTEGER PRIMARY KEY, up INTEGER REFERENCES node {})"
PARENT = "CREATE TABLE parent (id INTEGER PRIMARY KEY);"
FAMILY = PARENT + "CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER {});"


def versions(*dbs):
    return [db.state.max_version for db in dbs]


def settle(*dbs):
    """Each syncs with the next one, called by either of the two, until that makes no log grow."""
    for _ in range(8):
        before = versions(*dbs)
        for here, there in zip(dbs, dbs[1:]):
            here.sync(there)
            there.sync(here)
        if versions(*dbs) == before:
            return
    raise AssertionError(f"no rest: the logs end at {versions(*dbs)}")


def parked(db):
    return sorted((row.table, row.pk["id"], row.reason, row.payload) for row in db.parked())


def agree(*dbs):
    """Settles, and looks for a difference between the replicas and for a broken reference in each."""
    settle(*dbs)
    assert len({db.hash() for db in dbs}) == 1
    assert [parked(db) for db in dbs] == [parked(dbs[0])] * len(dbs)
    sound(*dbs)


def sound(*dbs):
    for db in dbs:
        assert db.execute("PRAGMA foreign_key_check") == []
        assert db.execute("PRAGMA defer_foreign_keys") == [(0,)]
        assert db.execute("SELECT sync_active FROM _sync_session") == [(0,)]


def table(db, name):
    return db.execute(f"SELECT * FROM {name} ORDER BY id")


# ---- Deletes and the rows that refer to what is deleted


def test_parent_and_child_deleted_parent_first(replicas):
    here, there = replicas(SELF.format(""), "node")
    here.execute("INSERT INTO node VALUES (1, NULL), (2, 1)")
    there.sync(here)
    here.execute("UPDATE node SET up = NULL WHERE id = 2")
    here.execute("DELETE FROM node WHERE id = 1")
    here.execute("DELETE FROM node WHERE id = 2")
    there.sync(here)
    assert table(there, "node") == [] and there.parked() == []
    here.execute("INSERT INTO node VALUES (1, NULL)")
    agree(there, here)
    assert table(there, "node") == [(1, None)]


def test_delete_waits_for_no_one_when_the_later_parent_returns(replicas):
    """A key that was deleted with its child and used again does not bring the child back."""
    here, there = replicas(SELF.format("ON DELETE CASCADE"), "node")
    here.execute("INSERT INTO node VALUES (1, NULL), (2, 1)")
    there.sync(here)
    here.execute("DELETE FROM node WHERE id = 1")
    here.execute("INSERT INTO node VALUES (1, NULL)")
    agree(there, here)
    assert table(there, "node") == [(1, None)] and there.parked() == []


def three_generations(replicas, first, second):
    """The parent is deleted on one side while the other side gives it a child and a grandchild."""
    schema = FAMILY.format(f"NOT NULL REFERENCES parent ON DELETE {first}")
    schema += f"CREATE TABLE grand (id INTEGER PRIMARY KEY, child INTEGER REFERENCES child ON DELETE {second})"
    here, there = replicas(schema, "parent", "child", "grand")
    here.execute("INSERT INTO parent VALUES (1)")
    here.sync(there)
    here.execute("DELETE FROM parent")
    there.execute("INSERT INTO child VALUES (1, 1)")
    there.execute("INSERT INTO grand VALUES (1, 1)")
    agree(here, there)
    return here, there


def generations(db):
    return [table(db, name) for name in ("parent", "child", "grand")]


ACTIONS = ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"]
ALLOWED = [("CASCADE", "CASCADE"), ("CASCADE", "SET NULL")]


@pytest.mark.parametrize("first, second", [(a, b) for a in ACTIONS for b in ACTIONS if (a, b) not in ALLOWED])
def test_delete_that_a_reference_refuses_parks_the_orphans(replicas, first, second):
    """One level that does not follow is enough, and nothing of what hangs from the parent is lost."""
    here, there = three_generations(replicas, first, second)
    for db in (here, there):
        assert generations(db) == [[], [], []]
        assert parked(db) == [
            ("child", 1, "foreign key", {"id": 1, "parent": 1}),
            ("grand", 1, "foreign key", {"id": 1, "child": 1}),
        ]
    there.execute("INSERT INTO parent VALUES (1)")
    agree(here, there)
    for db in (here, there):
        assert generations(db) == [[(1,)], [(1, 1)], [(1, 1)]]
        assert db.parked() == []


@pytest.mark.parametrize("first, second", ALLOWED)
def test_delete_that_every_level_follows(replicas, first, second):
    here, there = three_generations(replicas, first, second)
    left = [(1, None)] if second == "SET NULL" else []
    for db in (here, there):
        assert generations(db) == [[], [], left]
        assert db.parked() == []
    there.execute("INSERT INTO parent VALUES (1)")
    agree(here, there)
    assert generations(here) == [[(1,)], [], left]


def test_set_null_on_a_column_that_takes_none(replicas):
    here, there = replicas(FAMILY.format("NOT NULL REFERENCES parent ON DELETE SET NULL"), "parent", "child")
    here.execute("INSERT INTO parent VALUES (1)")
    here.sync(there)
    here.execute("DELETE FROM parent")
    there.execute("INSERT INTO child VALUES (1, 1)")
    agree(here, there)
    for db in (here, there):
        assert table(db, "child") == []
        assert parked(db) == [("child", 1, "foreign key", {"id": 1, "parent": 1})]


@pytest.mark.parametrize("null", ["NOT NULL", ""])
def test_child_of_a_row_that_referred_to_itself(replicas, null):
    schema = f"""CREATE TABLE node (id INTEGER PRIMARY KEY, v, up INTEGER {null} REFERENCES node
        ON DELETE SET NULL ON UPDATE CASCADE)"""
    one, two, three = replicas(schema, "node", count=3)
    two.execute("INSERT INTO node VALUES (6, 53, 6)")
    one.sync(two)
    two.execute("DELETE FROM node")
    one.execute("INSERT INTO node VALUES (1, 93, 6)")
    agree(one, two, three)


def test_later_edit_in_a_chain_of_references_rests(replicas):
    dbs = replicas(SELF.format("ON DELETE SET NULL ON UPDATE CASCADE").replace("up", "v, up", 1), "node", count=3)
    dbs[0].execute("INSERT INTO node VALUES (1, 93, NULL)")
    settle(*dbs)
    dbs[0].execute("INSERT INTO node VALUES (6, 93, 1)")
    dbs[0].execute("UPDATE node SET v = 1")
    agree(*dbs)
    assert table(dbs[2], "node") == [(1, 1, None), (6, 1, 1)]


def test_cycle_through_a_deleted_row(replicas):
    """One side closes a circle through the row that the other side deletes."""
    schema = PARENT + "CREATE TABLE node (id INTEGER PRIMARY KEY, up INTEGER REFERENCES node, p REFERENCES parent)"
    here, there = replicas(schema, "parent", "node")
    here.execute("INSERT INTO node VALUES (1, 1, NULL), (3, 1, NULL), (2, 3, NULL)")
    there.sync(here)
    there.execute("INSERT INTO parent VALUES (3)")
    there.execute("UPDATE node SET up = 2, p = 3 WHERE id = 1")
    here.execute("DELETE FROM node WHERE id = 2")
    agree(there, here)
    assert table(here, "node") == []
    assert [(name, pk) for name, pk, *_ in parked(here)] == [("node", 1), ("node", 3)]


def test_restrict_diamond(replicas):
    """A deletes three rows; B, later, replaces the lowest one, which needs the other two."""
    action = "INTEGER REFERENCES node ON DELETE RESTRICT"
    schema = f"CREATE TABLE node (id INTEGER PRIMARY KEY, p {action}, q {action})"
    here, there = replicas(schema, "node")
    here.execute("INSERT INTO node VALUES (1, NULL, NULL), (5, 1, NULL), (2, 1, 5)")
    here.sync(there)
    for key in (2, 5, 1):
        here.execute("DELETE FROM node WHERE id = ?", [key])
    wait_a_moment()
    there.execute("UPDATE node SET p = 1")
    there.execute("UPDATE node SET p = NULL WHERE id = 1")
    there.execute("DELETE FROM node WHERE id = 2")
    there.execute("INSERT INTO node VALUES (2, 1, 5)")
    agree(there, here)
    assert table(here, "node") == [(1, None, None), (2, 1, 5), (5, 1, None)]
    assert here.parked() == []


# ---- Batches that end where a reference is broken


def test_deferred_key_whose_rows_come_in_separate_batches(replicas):
    """The update gives the parent a later version than its child has."""
    here, there = replicas(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, v);"
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
        "parent",
        "child",
    )
    here.execute("INSERT INTO parent VALUES (1, 0)")
    here.execute("INSERT INTO child VALUES (1, 1)")
    here.execute("UPDATE parent SET v = 1")
    there.pull(here, batch_size=1)
    sound(there)
    assert table(there, "parent") == [(1, 1)] and table(there, "child") == [(1, 1)]
    agree(there, here)
    assert there.parked() == []


def with_untracked_reference(replicas):
    """Two replicas of node, and a table of the second one's own that refers to it."""
    here, there = replicas(
        SELF.format("") + "; CREATE TABLE own (id INTEGER PRIMARY KEY, node REFERENCES node)", "node"
    )
    return here, there


def test_row_held_by_an_untracked_table_refers_to_one_of_the_next_batch(replicas):
    here, there = with_untracked_reference(replicas)
    here.execute("INSERT INTO node VALUES (1, NULL), (2, NULL)")
    here.sync(there)
    there.execute("INSERT INTO own VALUES (1, 2)")
    here.execute("BEGIN")
    here.execute("PRAGMA defer_foreign_keys = ON")
    here.execute("UPDATE node SET up = 3 WHERE id = 2")
    here.execute("INSERT INTO node VALUES (3, NULL)")
    here.execute("COMMIT")
    here.execute("UPDATE node SET up = 1 WHERE id = 3")
    there.pull(here, batch_size=1)
    sound(there)
    agree(there, here)
    assert table(there, "node") == [(1, None), (2, 3), (3, 1)]
    assert there.parked() == [] and table(there, "own") == [(1, 2)]


def test_row_held_by_an_untracked_table_keeps_its_deleted_parent(replicas):
    here, there = with_untracked_reference(replicas)
    here.execute("INSERT INTO node VALUES (1, NULL), (2, 1)")
    here.sync(there)
    there.execute("INSERT INTO own VALUES (1, 2)")
    here.execute("UPDATE node SET up = NULL WHERE id = 2")
    here.execute("DELETE FROM node WHERE id = 1")
    wait_a_moment()
    there.execute("UPDATE node SET up = 1 WHERE id = 2")
    settle(there, here)
    sound(there, here)
    # Only this replica has a reason to keep the rows; the delete waits.
    assert table(there, "node") == [(1, None), (2, 1)]
    assert parked(there) == [("node", 1, "foreign key", None)]
    assert table(there, "own") == [(1, 2)]


# ---- Rows that only one replica knows of


def test_untracked_grandchild_survives(replicas):
    schema = FAMILY.format("REFERENCES parent") + "CREATE TABLE own (id INTEGER PRIMARY KEY, c REFERENCES child)"
    here, there = replicas(schema, "parent", "child")
    here.execute("INSERT INTO parent VALUES (1)")
    here.execute("INSERT INTO child VALUES (1, 1)")
    here.sync(there)
    there.execute("INSERT INTO own VALUES (1, 1)")
    here.execute("UPDATE child SET parent = NULL")
    here.execute("DELETE FROM parent")
    wait_a_moment()
    there.execute("UPDATE child SET parent = 1")
    settle(there, here)
    sound(there, here)
    assert [table(there, name) for name in ("parent", "child", "own")] == [[(1,)], [(1, 1)], [(1, 1)]]
    assert parked(there) == [("parent", 1, "foreign key", None)]
    assert [table(here, name) for name in ("parent", "child")] == [[], []]
    assert parked(here) == [("child", 1, "foreign key", {"id": 1, "parent": 1})]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "NO ACTION"])
def test_parking_a_row_leaves_untracked_rows_alone(replicas, action):
    """An untracked row's own ON DELETE is for deletes of the user, not for a row that has to wait."""
    schema = FAMILY.format("REFERENCES parent")
    schema += f"CREATE TABLE own (id INTEGER PRIMARY KEY, c INTEGER REFERENCES child ON DELETE {action})"
    here, there = replicas(schema, "parent", "child")
    here.execute("INSERT INTO parent VALUES (1)")
    here.sync(there)
    there.execute("INSERT INTO child VALUES (1, 1)")
    there.execute("INSERT INTO own VALUES (1, 1)")
    here.execute("DELETE FROM parent")
    there.sync(here)
    sound(there)
    assert table(there, "own") == [(1, 1)]
    here.execute("INSERT INTO parent VALUES (1)")
    there.sync(here)
    assert [table(there, name) for name in ("parent", "child", "own")] == [[(1,)], [(1, 1)], [(1, 1)]]
    agree(there, here)


# ---- Logs at rest


@pytest.mark.parametrize(
    "columns, value",
    [
        ("v, more DEFAULT 7", "1"),
        ("v INTEGER", "'7'"),
        ("v NUMERIC", "'7.5'"),
        ("v REAL", "'7'"),
        ("v REAL", "7"),
        ("v TEXT", "7"),
    ],
)
@pytest.mark.parametrize("served", [False, True])
def test_what_a_schema_changes_does_not_echo(replica, columns, value, served):
    """A row that two replicas hold otherwise than the one that wrote it, the same way, is no news to them."""
    writer = replica("CREATE TABLE n (id INTEGER PRIMARY KEY, v)", "n")
    readers = [replica(f"CREATE TABLE n (id INTEGER PRIMARY KEY, {columns})", "n") for _ in range(2)]
    for reader in readers if served else []:
        reader.changes()  # from now on it logs what it applies
    writer.execute(f"INSERT INTO n VALUES (1, {value})")
    for reader in readers:
        reader.pull(writer)
    left, right = readers
    seen = []
    for _ in range(4):
        left.pull(right)
        right.pull(left)
        seen.append(versions(*readers))
    assert seen == [[1, 1]] * 4
    assert left.hash() == right.hash() and table(left, "n") == table(right, "n")


def test_what_a_trigger_counts_does_not_echo(replicas):
    here, there = replicas(
        """
        CREATE TABLE parent (id INTEGER PRIMARY KEY, code UNIQUE, mark DEFAULT 0);
        CREATE TABLE child (id INTEGER PRIMARY KEY, code REFERENCES parent (code) ON UPDATE CASCADE);
        CREATE TABLE total (id INTEGER PRIMARY KEY, n);
        CREATE TRIGGER counting AFTER UPDATE ON parent BEGIN UPDATE total SET n = n + 1 WHERE id = 1; END;
        """,
        "parent",
        "child",
        "total",
    )
    here.execute("INSERT INTO total VALUES (1, 0)")
    here.execute("INSERT INTO parent VALUES (1, 'a', 0)")
    agree(here, there)
    here.execute("UPDATE parent SET mark = 1 WHERE id = 1")
    agree(here, there)
    assert table(here, "total") == table(there, "total") == [(1, 1)]


def test_row_that_a_cascade_and_an_update_changed(replicas):
    here, there = replicas(
        """
        CREATE TABLE parent (id INTEGER PRIMARY KEY, code UNIQUE);
        CREATE TABLE child (id INTEGER PRIMARY KEY, code REFERENCES parent (code) ON UPDATE CASCADE, v);
        """,
        "parent",
        "child",
    )
    here.execute("INSERT INTO parent VALUES (1, 'a')")
    here.execute("INSERT INTO child VALUES (1, 'a', 0)")
    here.sync(there)
    here.execute("UPDATE parent SET code = 'b'")
    here.execute("UPDATE child SET v = 99")
    agree(there, here)
    assert table(here, "child") == table(there, "child") == [(1, "b", 99)]


# ---- Keys that are equal and not the same


@pytest.mark.parametrize(
    "declared, before, after",
    [
        ("id TEXT PRIMARY KEY COLLATE NOCASE", "a", "A"),
        ("id TEXT PRIMARY KEY COLLATE RTRIM", "a", "a  "),
        ("id PRIMARY KEY", 1, 1.0),
    ],
)
def test_key_rewritten_as_its_equal_reaches_a_newcomer(replicas, declared, before, after):
    first, relay, newcomer = dbs = replicas(f"CREATE TABLE n ({declared}, v)", "n", count=3)
    first.execute("INSERT INTO n VALUES (?, 1)", [before])
    relay.pull(first)
    first.execute("UPDATE n SET id = ?, v = 2 WHERE id = ?", [after, before])
    relay.pull(first)
    assert newcomer.pull(relay).rejected == 0
    assert rows(first.path, "n") == rows(relay.path, "n") == rows(newcomer.path, "n")
    assert table(newcomer, "n") == [(after, 2)]
    agree(*dbs)


# ---- Relays


def test_relay_passes_on_the_rows_of_a_table_it_does_not_have(replica, replicas):
    other = "; CREATE TABLE x (id INTEGER PRIMARY KEY, v)"
    first, last = replicas(NOTE + other, "note", "x")
    relay = replica(NOTE, "note")
    first.execute("INSERT INTO x VALUES (1, 1)")
    first.execute("INSERT INTO note VALUES (1, 'body', 1)")
    relay.pull(first)  # before the relay knows that it is one
    settle(last, relay, first)
    assert table(last, "x") == [(1, 1)]
    first.execute("INSERT INTO x VALUES (2, 1)")
    settle(first, relay, last)
    assert table(first, "x") == table(last, "x") == [(1, 1), (2, 1)]
    assert table(last, "note") == [(1, "body", 1)]
    assert [(name, pk) for name, pk, *_ in parked(relay)] == [("x", 1), ("x", 2)]
    assert parked(first) == parked(last) == []


def test_relay_stays_right_after_a_call_that_was_rolled_back(replicas):
    """A second peer makes a replica a relay, in a transaction that then fails."""
    relay, first, second, reader = replicas(NOTE, "note", count=4)
    first.execute("INSERT INTO note VALUES (1, 'first', 0)")
    relay.pull(first)
    second.execute("BEGIN")
    for key in range(2, 202):
        second.execute("INSERT INTO note VALUES (?, 'second', 0)", [key])
    second.execute("COMMIT")

    def fail(progress):
        raise Boom

    with pytest.raises(Boom):
        relay.pull(second, progress=fail)
    assert table(relay, "note") == [(1, "first", 0)]
    reader.pull(relay)
    assert table(reader, "note") == [(1, "first", 0)]
    relay.pull(second)
    reader.pull(relay)
    assert len(table(reader, "note")) == 201
    agree(first, relay, reader, second)


def test_relay_that_another_handle_switched_on(replicas):
    """Two handles of one file: one applies what comes in, the other one is asked for it."""
    writer, applying, reader = replicas(NOTE, "note", count=3)
    with csync.open(applying.path) as serving:
        writer.execute("INSERT INTO note VALUES (1, 'first', 0)")
        applying.pull(writer)
        reader.pull(serving)
        writer.execute("INSERT INTO note VALUES (2, 'second', 0)")
        applying.pull(writer)
        reader.pull(serving)
        assert table(reader, "note") == table(serving, "note") == [(1, "first", 0), (2, "second", 0)]
        agree(writer, serving, reader)
    with csync.open(applying.path) as later:
        assert reader.pull(later).pulled == 0


# ---- Suppressed writes


@pytest.mark.parametrize("borrowed", [False, True])
def test_commit_inside_suppressed_leaves_the_triggers_on(database, sql, borrowed):
    path = database(NOTE)
    with contextlib.ExitStack() as stack:
        source = path
        if borrowed:
            source = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
        db = stack.enter_context(csync.open(source))
        db.track("note")
        with pytest.raises(csync.BusyError), db.suppressed():
            db.execute("INSERT INTO note VALUES (1, 'hidden', 0)")
            db.execute("COMMIT")
        assert sql(path, "SELECT sync_active FROM _sync_session") == [(0,)]
        assert sql(path, "SELECT * FROM note") == []
        sql(path, "INSERT INTO note VALUES (2, 'seen', 0)")
        assert [change.pk for change in db.changes()] == [{"id": 2}]


# ---- Many parked rows


def test_chain_of_parked_rows_enters_at_once(replicas):
    """Each of them waits for the one before it."""
    here, there = replicas(SELF.format(""), "node")
    here.execute("PRAGMA foreign_keys = OFF")
    count = "WITH RECURSIVE k(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM k WHERE i < 1000)"
    here.execute(count + " INSERT INTO node SELECT i, i - 1 FROM k")
    here.execute("PRAGMA foreign_keys = ON")
    there.pull(here)
    assert len(there.parked()) == 999
    here.execute("INSERT INTO node VALUES (1, NULL)")
    start = time.perf_counter()
    there.pull(here)
    assert time.perf_counter() - start < 2
    assert there.parked() == [] and table(there, "node") == table(here, "node")
    assert len(table(there, "node")) == 1000
