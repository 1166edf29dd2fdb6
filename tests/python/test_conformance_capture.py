"""What is written to a tracked table goes into the log, whoever writes it and how; nothing else does."""

import pytest

import csync
from conformance import FAMILY, NOTES, log, run, settle, table
from note_table import wait_a_moment


def test_what_is_rolled_back_is_not_captured(world):
    left, right = world.notes()
    left.other("BEGIN; INSERT INTO note VALUES (1, 'gone', 0); ROLLBACK")
    left.other("BEGIN; INSERT INTO note VALUES (2, 'kept', 0); SAVEPOINT s; INSERT INTO note VALUES (3, 'gone', 0);"
               " ROLLBACK TO s; INSERT INTO note VALUES (4, 'kept', 0); COMMIT")
    assert log(left) == [("insert", 2), ("insert", 4)]
    settle(left, right)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO note VALUES (1, 'new', 9) ON CONFLICT (id) DO UPDATE SET body = excluded.body", (1, "new", 1)),
        ("INSERT INTO note VALUES (1, 'new', 9) ON CONFLICT DO NOTHING", (1, "old", 1)),
        ("UPDATE note SET body = b FROM (SELECT 'from' AS b) x", (1, "from", 1)),
        ("WITH w(x) AS (VALUES ('with')) UPDATE note SET body = (SELECT x FROM w)", (1, "with", 1)),
        ("INSERT INTO note SELECT 2, body, votes FROM note", (1, "old", 1)),
        ("UPDATE note SET id = 2", None),
        ("DELETE FROM note WHERE id = 1 RETURNING *", None),
        ("DELETE FROM note", None),
        ("DELETE FROM note; INSERT INTO note VALUES (1, 'again', 3)", (1, "again", 3)),
    ],
)
def test_every_form_of_writing(world, statement, expected):
    left, right = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'old', 1)")
    right.sync(left)
    left.other(statement)
    settle(right, left)
    assert right.execute("SELECT * FROM note WHERE id = 1") == ([expected] if expected else [])


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_what_foreign_keys_do_is_captured(world, action):
    left, right = world.replicas(FAMILY.format("", f"ON DELETE {action}"), "parent", "child")
    left.other("INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1, 'c'), (2, 2, 'd')")
    right.sync(left)
    left.other("DELETE FROM parent WHERE id = 1")
    settle(right, left)
    assert right.execute("SELECT count(*) FROM child") == [(1 if action == "CASCADE" else 2,)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_what_foreign_keys_do_during_an_apply_is_captured(world, action):
    """The parent goes on one side while the other gives it a child: all three end equal."""
    left, right, third = world.replicas(FAMILY.format("", f"ON DELETE {action}"), "parent", "child", count=3)
    left.execute("INSERT INTO parent VALUES (1)")
    right.sync(left)
    third.sync(right)
    left.execute("DELETE FROM parent")
    right.execute("INSERT INTO child VALUES (1, 1, 'only here')")
    settle(right, left, third)
    assert table(third, "parent") == [] and len(table(third, "child")) == (0 if action == "CASCADE" else 1)


def test_on_update_cascade(world):
    left, right = world.replicas(
        "CREATE TABLE parent (id TEXT PRIMARY KEY); CREATE TABLE child (id INTEGER PRIMARY KEY,"
        " parent TEXT REFERENCES parent (id) ON UPDATE CASCADE)",
        "parent",
        "child",
    )
    left.other("INSERT INTO parent VALUES ('a'); INSERT INTO child VALUES (1, 'a')")
    right.sync(left)
    left.other("UPDATE parent SET id = 'b'")
    settle(right, left)
    assert table(right, "child") == [(1, "b")]


# ---- Tracking


def test_rows_from_before_track_take_part(world):
    left, right = world.replicas(NOTES)
    left.other("INSERT INTO note VALUES (1, 'before', 0)")
    for db in (left, right):
        db.track("note")
    settle(left, right)
    assert table(right, "note") == [(1, "before", 0)]


def test_rows_from_before_track_are_older_than_any_edit(world):
    left, right = world.replica(world.kinds[0], NOTES), world.replica(world.kinds[1], NOTES, "note")
    right.other("INSERT INTO note VALUES (1, 'edited', 0)")
    wait_a_moment()
    left.other("INSERT INTO note VALUES (1, 'there before track', 0)")
    left.track("note")
    settle(left, right)
    assert left.execute("SELECT body FROM note") == [("edited",)]


def test_tracking_twice_changes_nothing(world):
    left, right = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    before = log(left)
    left.track("note", "note")
    assert log(left) == before and len(left.tables()) == 1
    settle(right, left)


def test_another_capture_replaces_the_first_and_loses_nothing(world):
    left, right = world.notes()
    for number, capture in enumerate(("keys", "full", "keys")):
        left.other(f"INSERT INTO note VALUES ({2 * number}, 'before {capture}', 0)")
        left.track("note", capture=capture)
        assert left.tables()[0].capture == capture
        left.other(f"INSERT INTO note VALUES ({2 * number + 1}, 'after {capture}', 0)")
    settle(right, left)
    assert len(table(right, "note")) == 6


def test_an_untracked_tables_rows_stay_and_are_captured_no_more(world):
    left, right = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    right.sync(left)
    left.untrack("note")
    assert len(table(left, "note")) == 1 and left.tables() == []
    left.other("INSERT INTO note VALUES (2, 'not captured', 0); DELETE FROM note WHERE id = 1")
    right.sync(left)
    assert table(right, "note") == [(1, "x", 0)]


def test_untracked_and_tracked_again(world):
    """What happened meanwhile takes part as old rows; nothing that the other side has is overwritten."""
    left, right = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'x', 0), (2, 'y', 0)")
    right.sync(left)
    left.untrack("note")
    left.other("INSERT INTO note VALUES (3, 'meanwhile', 0); UPDATE note SET body = 'unseen' WHERE id = 1")
    left.track("note")
    settle(right, left)
    assert table(left, "note") == [(1, "x", 0), (2, "y", 0), (3, "meanwhile", 0)]


def test_tables_that_are_not_there_cannot_be_tracked(world):
    left, _ = world.notes()
    with pytest.raises(csync.NotFound):
        left.track("nowhere")
    assert [t.name for t in left.tables()] == ["note"]


def test_names_are_exact(world):
    left, right = world.replicas('CREATE TABLE "No""te" ("I d" INTEGER PRIMARY KEY, "T\'x" TEXT)', 'No"te')
    left.execute('INSERT INTO "No""te" VALUES (1, \'it\'\'s\')')
    settle(right, left)
    assert table(right, '"No""te"') == [(1, "it's")]
    with pytest.raises(csync.NotFound):
        left.track('no"te')


def test_a_key_of_several_columns(world):
    left, right = world.replicas("CREATE TABLE pair (a TEXT, n INTEGER, v TEXT, PRIMARY KEY (n, a))", "pair")
    run(left, "INSERT INTO pair VALUES ('x', 1, 'p'); INSERT INTO pair VALUES ('x', 2, 'q'); INSERT INTO pair VALUES ('é', 1, '')")
    right.sync(left)
    run(right, "UPDATE pair SET n = 3 WHERE n = 2; DELETE FROM pair WHERE a = 'é'; UPDATE pair SET v = 'new' WHERE n = 1")
    settle(left, right)
    assert table(left, "pair") == [("x", 1, "new"), ("x", 3, "q")]


# ---- Suppressed


def test_suppressed_writes_stay_here(world):
    left, right = world.notes()
    with left.suppressed():
        left.execute("INSERT INTO note VALUES (1, 'hidden', 0)")
    left.other("INSERT INTO note VALUES (2, 'seen', 0)")
    right.sync(left)
    assert [row[0] for row in table(right, "note")] == [2]
    left.other("UPDATE note SET votes = 1")
    settle(right, left)
    assert [row[0] for row in table(right, "note")] == [1, 2]


def test_capture_goes_on_after_suppressed(world):
    left, _ = world.notes()
    for attempt in range(3):
        try:
            with left.suppressed():
                left.execute(f"INSERT INTO note VALUES ({attempt}, 'hidden', 0)")
                if attempt == 1:
                    raise KeyError
        except KeyError:
            pass
        left.execute(f"INSERT INTO note VALUES ({attempt + 10}, 'seen', 0)")
    assert log(left) == [("insert", 10), ("insert", 11), ("insert", 12)]
    assert [row[0] for row in table(left, "note")] == [0, 2, 10, 11, 12]


def test_what_was_applied_is_not_captured(world):
    left, right = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    right.sync(left)
    before = left.state.max_version
    for _ in range(3):
        right.sync(left)
    assert left.state.max_version == before and left.conflicts() == right.conflicts() == []


def test_two_handles_of_one_database(world):
    left, right = world.notes()
    with world.reopened(left) as second:
        left.execute("INSERT INTO note VALUES (1, 'by the first', 0)")
        second.execute("INSERT INTO note VALUES (2, 'by the second', 0)")
        assert second.origin == left.origin
        right.sync(second)
        right.execute("UPDATE note SET votes = 1")
        right.sync(left)
        assert table(second, "note") == table(left, "note") == table(right, "note")
    settle(right, left)
