"""What is captured and what is not: every program's writes, whatever statement, journal or schema they use."""

import contextlib
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import csync
from exact import contents, everything, rows
from note_table import NOTE, count_notes, fill

FAMILY = """
    CREATE TABLE parent (id INTEGER PRIMARY KEY, name);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent ON DELETE {}, name);
"""


def log(db):
    """The operations and keys that await whoever asks, in order."""
    return [(c.operation, *c.pk.values()) for c in db.changes(limit=10_000)]


@contextlib.contextmanager
def writer(db, **options):
    """A connection of another program: commits nothing by itself."""
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None, **options)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def assert_in_step(left, right):
    left.sync(right)
    assert contents(left.path) == contents(right.path)
    assert left.hash() == right.hash()


# ---- Statements and transactions


def test_what_is_rolled_back_is_not_captured(notes):
    left, right = notes
    with writer(left) as program:
        program.execute("BEGIN")
        program.execute("INSERT INTO note VALUES (1, 'gone', 0)")
        program.execute("ROLLBACK")
        program.execute("BEGIN")
        program.execute("INSERT INTO note VALUES (2, 'stays', 0)")
        program.execute("SAVEPOINT a")
        program.execute("INSERT INTO note VALUES (3, 'gone', 0)")
        program.execute("ROLLBACK TO a")
        program.execute("SAVEPOINT b")
        program.execute("INSERT INTO note VALUES (4, 'stays', 0)")
        program.execute("RELEASE b")
        program.execute("COMMIT")
    assert log(left) == [("insert", 2), ("insert", 4)]
    assert_in_step(left, right)


def test_what_is_not_committed_yet_is_not_seen(notes):
    left, right = notes
    assert log(left) == []
    with writer(left) as program:
        program.execute("BEGIN")
        program.execute("INSERT INTO note VALUES (1, 'open', 0)")
        assert log(left) == []
        program.execute("COMMIT")
    assert log(left) == [("insert", 1)]
    assert_in_step(left, right)


def test_a_statement_that_fails_half_way_captures_nothing(notes):
    left, _ = notes
    left.execute("INSERT INTO note VALUES (5, 'x', 0)")
    with writer(left) as program, pytest.raises(sqlite3.IntegrityError):
        program.execute("INSERT INTO note VALUES (3, 'a', 0), (4, 'b', 0), (5, 'taken', 0)")
    assert log(left) == [("insert", 5)]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO note VALUES (1, 'new', 9) ON CONFLICT DO UPDATE SET body = excluded.body", (1, "new", 1)),
        ("INSERT INTO note VALUES (1, 'new', 9) ON CONFLICT DO NOTHING", (1, "old", 1)),
        ("INSERT OR IGNORE INTO note VALUES (1, 'new', 9)", (1, "old", 1)),
        ("INSERT OR REPLACE INTO note VALUES (1, 'new', 9)", (1, "new", 9)),
        ("REPLACE INTO note(id, votes) VALUES (1, 9)", (1, None, 9)),
        ("UPDATE note SET body = b FROM (SELECT 'from' AS b)", (1, "from", 1)),
        ("WITH w(x) AS (VALUES ('with')) UPDATE note SET body = (SELECT x FROM w)", (1, "with", 1)),
        ("UPDATE OR FAIL note SET body = 'or', votes = votes + 1", (1, "or", 2)),
        ("INSERT INTO note SELECT 2, body, votes FROM note", (1, "old", 1)),
        ("DELETE FROM note WHERE id = 1 RETURNING *", None),
        ("DELETE FROM note", None),
    ],
)
@pytest.mark.parametrize("recursive_triggers", [0, 1])
def test_every_form_of_writing(notes, statement, expected, recursive_triggers):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'old', 1)")
    right.sync(left)
    with writer(left) as program:
        program.execute(f"PRAGMA recursive_triggers = {recursive_triggers}")
        program.execute(statement).fetchall()
    assert_in_step(right, left)
    assert right.execute("SELECT * FROM note WHERE id = 1") == ([expected] if expected else [])


def test_insert_or_replace_of_the_same_key_keeps_the_children(replicas, sql):
    """With foreign keys on, REPLACE deletes the children itself; that is the application's own doing."""
    left, right = replicas(FAMILY.format("CASCADE"), "parent", "child")
    sql(left.path, "INSERT INTO parent VALUES (1, 'p'), (2, 'q'); INSERT INTO child VALUES (1, 1, 'c'), (2, 2, 'd')")
    right.sync(left)
    sql(left.path, "INSERT OR REPLACE INTO parent VALUES (1, 'replaced')")
    assert left.execute("SELECT id FROM child") == [(2,)]
    assert_in_step(right, left)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_what_foreign_keys_do_is_captured(replicas, sql, action):
    left, right = replicas(FAMILY.format(action), "parent", "child")
    sql(left.path, "INSERT INTO parent VALUES (1, 'p'), (2, 'q'); INSERT INTO child VALUES (1, 1, 'c'), (2, 2, 'd')")
    right.sync(left)
    sql(left.path, "DELETE FROM parent WHERE id = 1")
    assert_in_step(right, left)
    assert right.execute("SELECT count(*) FROM child") == [(1 if action == "CASCADE" else 2,)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_what_foreign_keys_do_during_an_apply_is_captured(replicas, sql, action):
    """The parent goes on one side while the other gives it a child: all three end equal."""
    left, right, third = replicas(FAMILY.format(action), "parent", "child", count=3)
    sql(left.path, "INSERT INTO parent VALUES (1, 'p')")
    right.sync(left)
    third.sync(right)
    sql(left.path, "DELETE FROM parent")
    sql(right.path, "INSERT INTO child VALUES (1, 1, 'only here')")
    for _ in range(3):
        right.sync(left)
        third.sync(right)
    seen = [contents(db.path) for db in (left, right, third)]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["parent"] == [] and len(seen[0]["child"]) == (0 if action == "CASCADE" else 1)


def test_on_update_cascade(replicas, sql):
    schema = """
        CREATE TABLE parent (id TEXT PRIMARY KEY);
        CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON UPDATE CASCADE);
    """
    left, right = replicas(schema, "parent", "child")
    sql(left.path, "INSERT INTO parent VALUES ('a'); INSERT INTO child VALUES (1, 'a')")
    right.sync(left)
    sql(left.path, "UPDATE parent SET id = 'b'")
    assert_in_step(right, left)
    assert right.execute("SELECT * FROM child") == [(1, "b")]


def test_writes_through_views_and_attached_files(notes, sql, database):
    left, right = notes
    sql(left.path, """
        CREATE VIEW open_notes AS SELECT * FROM note;
        CREATE TRIGGER put INSTEAD OF INSERT ON open_notes BEGIN INSERT INTO note VALUES (NEW.id, NEW.body, 0); END
    """)  # fmt: skip
    sql(left.path, "INSERT INTO open_notes(id, body) VALUES (1, 'through a view')")
    sql(database(), f"ATTACH '{left.path}' AS other; INSERT INTO other.note VALUES (2, 'attached', 0)")
    assert_in_step(right, left)
    assert count_notes(right) == 2


@pytest.mark.parametrize("journal", ["DELETE", "TRUNCATE", "PERSIST", "WAL"])
def test_every_journal_mode(notes, sql, journal):
    left, right = notes
    for db in notes:
        assert db.execute(f"PRAGMA journal_mode = {journal}") == [(journal.lower(),)]
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0)")
    sql(right.path, "INSERT INTO note VALUES (2, 'y', 0)")
    assert_in_step(left, right)
    assert count_notes(left) == 2
    assert right.execute("PRAGMA journal_mode") == [(journal.lower(),)]


# ---- Other writers at the same time


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_threads_write_while_a_sync_runs(notes, sql, journal):
    """Each write that SQLite accepted is on both sides in the end, and only those."""
    left, right = notes
    for db in notes:
        sql(db.path, f"PRAGMA journal_mode = {journal}")
    stop, written, errors = threading.Event(), {}, []

    def write(db, first):
        with contextlib.closing(sqlite3.connect(db.path, timeout=30)) as connection:
            key = first
            while key < first + 20 or (not stop.is_set() and key < first + 500):
                try:
                    with connection:
                        connection.execute("INSERT INTO note VALUES (?, ?, 0)", (key, f"by {first}"))
                        connection.execute("UPDATE note SET votes = votes + 1 WHERE id % 50 = ?", (key % 50,))
                    written[key] = f"by {first}"
                    key += 1
                except sqlite3.Error as error:
                    if "locked" not in str(error):
                        errors.append(error)
                        return
                time.sleep(0.005)

    threads = [threading.Thread(target=write, args=(db, 1000 * n)) for n, db in enumerate((left, right, left), 1)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            left.sync(right, batch_size=100)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert_in_step(left, right)
    assert dict(left.execute("SELECT id, body FROM note")) == written and len(written) >= 60


def test_a_process_writes_while_a_sync_runs(notes):
    left, right = notes
    program = f"""
        import sqlite3
        connection = sqlite3.connect({str(left.path)!r}, timeout=30)
        for n in range(200):
            with connection:
                connection.execute("INSERT INTO note VALUES (?, 'process', 0)", (n,))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)]) as process:
        while process.poll() is None:
            right.sync(left)
    assert process.returncode == 0
    assert_in_step(right, left)
    assert count_notes(right) == 200


def test_a_writer_that_holds_the_lock_makes_a_sync_wait_then_fail(replica):
    left, right = replica(NOTE, "note"), replica(NOTE, "note", timeout=0.1)
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    with writer(right) as program:
        program.execute("BEGIN IMMEDIATE")
        with pytest.raises(csync.BusyError):
            right.sync(left)
        program.execute("ROLLBACK")
    assert right.sync(left).pulled == 1


def test_two_handles_on_one_file(notes):
    left, right = notes
    with csync.open(right.path) as again:
        assert again.origin == right.origin
        left.execute("INSERT INTO note VALUES (1, 'x', 0)")
        assert again.sync(left).pulled == 1
        assert right.sync(left).pulled == 0
        left.execute("UPDATE note SET body = 'y'")
        assert right.sync(left).pulled == 1
        again.execute("UPDATE note SET body = 'z'")
        assert left.sync(right).pulled == 1
        with pytest.raises(csync.InvalidValue, match="itself"):
            again.sync(right)
        again.untrack("note")
        assert right.tables() == []
        again.track("note")
        left.execute("INSERT INTO note VALUES (2, 'after', 0)")
        right.sync(left)
    assert_in_step(right, left)


def test_two_handles_sync_at_once(replicas):
    hub, one, two = replicas(NOTE, "note", count=3)
    fill(hub, 500)
    errors = []

    def work(peer, first):
        try:
            with csync.open(hub.path, timeout=60) as mine:
                for n in range(10):
                    peer.execute("INSERT INTO note VALUES (?, 'x', 0)", (first + n,))
                    mine.sync(peer, batch_size=50)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=args) for args in ((one, 1000), (two, 2000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for peer in (one, two, one):
        hub.sync(peer)
    assert contents(hub.path) == contents(one.path) == contents(two.path) and count_notes(hub) == 520


def test_two_processes_sync_at_once(notes):
    left, right = notes
    fill(left, 300)
    program = f"""
        import csync, sys
        with csync.open({str(left.path)!r}, timeout=60) as left, csync.open({str(right.path)!r}, timeout=60) as right:
            for n in range(20):
                left.execute("INSERT INTO note VALUES (?, 'left', 0)", (int(sys.argv[1]) + n,))
                right.execute("UPDATE note SET votes = votes + 1 WHERE id % 20 = ?", (n,))
                left.sync(right, batch_size=37)
    """
    programs = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), first], stderr=subprocess.PIPE, text=True)
        for first in ("1000", "2000")
    ]
    assert [process.communicate()[1] for process in programs] == ["", ""]
    assert_in_step(left, right)
    assert count_notes(right) == 340


# ---- The user's own triggers


AUDIT = """
    CREATE TABLE audit (n INTEGER PRIMARY KEY, event, id);
    CREATE TRIGGER audit_insert AFTER INSERT ON note BEGIN INSERT INTO audit(event, id) VALUES ('insert', NEW.id); END;
    CREATE TRIGGER audit_update AFTER UPDATE ON note BEGIN INSERT INTO audit(event, id) VALUES ('update', NEW.id); END;
    CREATE TRIGGER audit_delete AFTER DELETE ON note BEGIN INSERT INTO audit(event, id) VALUES ('delete', OLD.id); END;
"""


@pytest.mark.parametrize("when", ["before track", "after track"])
def test_an_audit_table_sees_what_a_sync_writes(replica, sql, when):
    left, right = replica(NOTE, "note"), replica(NOTE + ";" + (AUDIT if when == "before track" else ""), "note")
    if when == "after track":
        sql(right.path, AUDIT)
    for statement in ("INSERT INTO note VALUES (1, 'x', 0)", "UPDATE note SET body = 'y'", "DELETE FROM note"):
        left.execute(statement)
        right.sync(left)
    assert right.execute("SELECT event, id FROM audit ORDER BY n") == [("insert", 1), ("update", 1), ("delete", 1)]
    right.execute("INSERT INTO note VALUES (2, 'own', 0)")
    assert right.execute("SELECT count(*) FROM audit") == [(4,)]
    right.sync(left)
    assert rows(left.path, "note") == rows(right.path, "note")


def test_a_full_text_index_stays_right(replica, sql):
    fts = """
        CREATE VIRTUAL TABLE words USING fts5(body, content='note', content_rowid='id');
        CREATE TRIGGER fts_i AFTER INSERT ON note BEGIN INSERT INTO words(rowid, body) VALUES (NEW.id, NEW.body); END;
        CREATE TRIGGER fts_d AFTER DELETE ON note BEGIN
            INSERT INTO words(words, rowid, body) VALUES ('delete', OLD.id, OLD.body); END;
        CREATE TRIGGER fts_u AFTER UPDATE ON note BEGIN
            INSERT INTO words(words, rowid, body) VALUES ('delete', OLD.id, OLD.body);
            INSERT INTO words(rowid, body) VALUES (NEW.id, NEW.body); END;
    """
    left, right = replica(NOTE, "note"), replica(NOTE + ";" + fts, "note")
    sql(left.path, "INSERT INTO note VALUES (1, 'green apple', 0), (2, 'red apple', 0), (3, 'pear', 0)")
    right.sync(left)
    sql(left.path, "UPDATE note SET body = 'green pear' WHERE id = 1; DELETE FROM note WHERE id = 2")
    right.sync(left)
    find = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid"
    assert (right.execute(find, ("apple",)), right.execute(find, ("pear",))) == ([], [(1,), (3,)])
    right.execute("INSERT INTO words(words) VALUES ('integrity-check')")
    sql(right.path, "INSERT INTO note VALUES (4, 'apple', 0)")
    assert right.execute(find, ("apple",)) == [(4,)]
    left.sync(right)
    assert rows(left.path, "note") == rows(right.path, "note")


def test_what_a_trigger_writes_to_a_tracked_table_is_captured(replicas, sql):
    schema = NOTE + """;
        CREATE TABLE total (id INTEGER PRIMARY KEY, n);
        INSERT INTO total VALUES (1, 0);
        CREATE TRIGGER count_notes AFTER INSERT ON note BEGIN UPDATE total SET n = n + 1 WHERE id = 1; END;
    """  # fmt: skip
    left, right = replicas(schema, "note", "total")
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0), (2, 'y', 0)")
    assert ("update", 1) in log(left)
    for _ in range(3):
        right.sync(left)
    assert contents(left.path) == contents(right.path)


def test_a_trigger_that_forbids_a_row_parks_it(replica, sql):
    forbid = "CREATE TRIGGER no BEFORE INSERT ON note WHEN NEW.id = 2 BEGIN SELECT RAISE(ABORT, 'not here'); END"
    left, right = replica(NOTE, "note"), replica(NOTE + ";" + forbid, "note")
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0), (2, 'y', 0), (3, 'z', 0)")
    right.sync(left)
    assert right.execute("SELECT id FROM note") == [(1,), (3,)]
    assert [(p.pk["id"], "not here" in p.message) for p in right.parked()] == [(2, True)]
    sql(right.path, "DROP TRIGGER no")
    right.sync(left)
    assert_in_step(right, left)


def test_a_trigger_that_ignores_a_row_does_not_lose_it(replica, sql):
    """RAISE(IGNORE) is no error: the row is silently not written. It must not count as written."""
    ignore = "CREATE TRIGGER no BEFORE INSERT ON note WHEN NEW.id = 2 BEGIN SELECT RAISE(IGNORE); END"
    left, right = replica(NOTE, "note"), replica(NOTE + ";" + ignore, "note")
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0), (2, 'y', 0)")
    right.sync(left)
    assert [p.pk["id"] for p in right.parked()] == [2]
    sql(right.path, "DROP TRIGGER no")
    right.sync(left)
    assert_in_step(right, left)


# ---- The schema changes


def test_add_column_on_one_side_then_the_other(notes, sql):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'before', 0)")
    right.sync(left)
    sql(left.path, "ALTER TABLE note ADD COLUMN due TEXT DEFAULT 'never'")
    sql(left.path, "INSERT INTO note VALUES (2, 'after', 0, 'today')")
    left.sync(right)
    assert {p.pk["id"] for p in right.parked()} == {2}
    sql(right.path, "INSERT INTO note VALUES (3, 'from the old schema', 0)")
    left.sync(right)
    assert left.execute("SELECT due FROM note WHERE id = 3") == [("never",)]
    sql(right.path, "ALTER TABLE note ADD COLUMN due TEXT DEFAULT 'never'")
    right.sync(left)
    assert_in_step(right, left)
    assert right.parked() == [] and count_notes(right) == 3
    sql(right.path, "UPDATE note SET due = 'now' WHERE id = 1")
    assert_in_step(left, right)
    assert left.execute("SELECT due FROM note WHERE id = 1") == [("now",)]


@pytest.mark.parametrize("edit", [None, "UPDATE note SET votes = 5 WHERE id = 1"])
def test_rename_column_on_one_side_then_the_other(notes, sql, edit):
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0)")
    right.sync(left)
    sql(left.path, "UPDATE note SET body = 'A' WHERE id = 1")
    sql(left.path, "ALTER TABLE note RENAME COLUMN body TO text")
    if edit:
        sql(left.path, edit)
    sql(left.path, "INSERT INTO note VALUES (3, 'c', 0)")
    left.sync(right)
    sql(right.path, "ALTER TABLE note RENAME COLUMN body TO text")
    right.sync(left)
    assert_in_step(left, right)
    assert right.parked() == [] and left.parked() == []
    assert right.execute("SELECT text FROM note ORDER BY id") == [("A",), ("b",), ("c",)]


def test_drop_column_on_one_side_then_the_other(notes, sql):
    left, right = notes
    for db in notes:
        db.track("note", capture="keys")
    left.execute("INSERT INTO note VALUES (1, 'a', 5)")
    right.sync(left)
    sql(left.path, "ALTER TABLE note DROP COLUMN votes")
    sql(left.path, "UPDATE note SET body = 'b'")
    left.sync(right)
    assert right.execute("SELECT * FROM note") == [(1, "b", 5)]
    sql(right.path, "ALTER TABLE note DROP COLUMN votes")
    assert_in_step(right, left)


def test_a_column_that_full_capture_names_cannot_be_dropped(notes, sql):
    """SQLite's own rule for columns that a trigger mentions; the way out is to capture by keys meanwhile."""
    left, _ = notes
    left.execute("INSERT INTO note VALUES (1, 'a', 5)")
    before = everything(left.path)
    with pytest.raises(sqlite3.OperationalError, match="note_sync_insert"):
        sql(left.path, "ALTER TABLE note DROP COLUMN votes")
    assert everything(left.path) == before
    left.track("note", capture="keys")
    sql(left.path, "ALTER TABLE note DROP COLUMN votes")
    left.track("note", capture="full")
    assert [c.payload for c in left.changes()] == [{"id": 1, "body": "a"}]


@pytest.mark.parametrize(
    ("lost", "unseen"),
    [
        (("insert", "update", "rekey", "delete"), "DELETE FROM note WHERE id = 3; INSERT INTO note VALUES (4, 'new', 0)"),
        (("insert", "update", "rekey", "delete"), "UPDATE note SET body = 'unseen' WHERE id = 2"),
        (("insert",), "INSERT INTO note VALUES (4, 'unseen', 0)"),
        (("update",), "UPDATE note SET body = 'unseen' WHERE id = 2"),
        (("delete",), "DELETE FROM note WHERE id = 2"),
        (("rekey",), "UPDATE note SET id = 20 WHERE id = 2"),
    ],
)
def test_lost_triggers_are_repaired_and_what_they_missed_is_found(notes, sql, lost, unseen):
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'kept', 0), (2, 'changes', 0), (3, 'goes', 0)")
    right.sync(left)
    for name in lost:
        sql(left.path, f"DROP TRIGGER note_sync_{name}")
    sql(left.path, unseen)
    expected = contents(left.path)
    left.sync(right)
    assert contents(left.path) == contents(right.path) == expected
    sql(left.path, "UPDATE note SET body = 'seen'")
    assert_in_step(right, left)


@pytest.mark.parametrize("unseen", ["aaa", "zzz"])
def test_an_altered_trigger_is_a_lost_one(notes, sql, unseen):
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'before', 0)")
    right.sync(left)
    sql(left.path, "DROP TRIGGER note_sync_update")
    sql(left.path, "CREATE TRIGGER note_sync_update AFTER UPDATE ON note BEGIN SELECT 1; END")
    sql(left.path, f"UPDATE note SET body = '{unseen}'")
    left.sync(right)
    assert left.execute("SELECT body FROM note") == right.execute("SELECT body FROM note") == [(unseen,)]


def test_drop_and_create_again(notes, sql):
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'same', 0), (2, 'other', 0), (3, 'goes', 0)")
    right.sync(left)
    sql(left.path, f"DROP TABLE note; {NOTE}; INSERT INTO note VALUES (1, 'same', 0), (2, 'changed', 0), (4, 'new', 0)")
    left.sync(right)
    assert right.execute("SELECT id, body FROM note") == [(1, "same"), (2, "changed"), (4, "new")]
    assert_in_step(left, right)


@pytest.mark.parametrize(
    "change", ["ALTER TABLE note ADD COLUMN due", "DROP TRIGGER note_sync_update", f"DROP TABLE note; {NOTE}"]
)
def test_a_repair_is_reported(notes, sql, change):
    left, right = notes
    left.sync(right)
    sql(left.path, change)
    assert left.sync(right).repaired == 1
    assert left.sync(right).repaired == 0


def test_the_table_is_gone_for_a_while(notes, sql):
    """A dropped table deletes no rows elsewhere; what comes meanwhile waits until it is back."""
    left, right = notes
    right.sync(left)
    sql(right.path, "DROP TABLE note")
    sql(left.path, "INSERT INTO note VALUES (2, 'meanwhile', 0)")
    right.sync(left)
    assert [(p.table, p.pk) for p in right.parked()] == [("note", {"id": 2})]
    assert count_notes(left) == 1
    sql(right.path, NOTE)
    right.sync(left)
    assert right.parked() == []
    assert_in_step(right, left)
    assert count_notes(right) == 1


KEYLESS = 'DROP TABLE note; CREATE TABLE note ("id" INTEGER, "body" TEXT, "votes" INTEGER)'
REKEYED = "DROP TABLE note; CREATE TABLE note (id INTEGER, body, votes INTEGER, PRIMARY KEY (id, body))"


@pytest.mark.parametrize(("schema", "message"), [(KEYLESS, "no primary key"), (REKEYED, "untrack it and track it again")])
def test_a_table_that_comes_back_with_another_key_is_a_schema_error(notes, sql, schema, message):
    """pandas: to_sql(if_exists='replace') drops the table and makes one without a key."""
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0)")
    right.sync(left)
    sql(left.path, schema)
    sql(left.path, "INSERT INTO note VALUES (1, 'y', 0)")
    before = everything(right.path)
    for use in (lambda: left.sync(right), left.changes, left.hash):
        with pytest.raises(csync.SchemaError, match=message) as caught:
            use()
        assert "note" in str(caught.value)
    assert everything(right.path) == before


@pytest.mark.parametrize("schema", [KEYLESS, REKEYED])
def test_the_way_out_of_that_schema_error_is_untrack(notes, sql, schema):
    left, right = notes
    right.sync(left)
    sql(left.path, schema)
    left.untrack("note")
    assert left.tables() == [] and left.sync(right).pushed == 0
    if schema == REKEYED:
        left.track("note")
        sql(left.path, "INSERT INTO note VALUES (1, 'y', 0)")
        assert [c.pk for c in left.changes()] == [{"id": 1, "body": "y"}]


def test_rename_table(notes, sql):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    right.sync(left)
    sql(left.path, "ALTER TABLE note RENAME TO letter")
    sql(left.path, "INSERT INTO letter VALUES (2, 'y', 0)")
    left.sync(right)
    sql(left.path, "ALTER TABLE letter RENAME TO note")
    assert_in_step(left, right)
    assert count_notes(right) == 2


# ---- track and untrack


def test_rows_from_before_track_take_part(replica, sql):
    left, right = replica(NOTE), replica(NOTE, "note")
    sql(left.path, "INSERT INTO note VALUES (1, 'before', 0)")
    left.track("note")
    assert_in_step(left, right)
    assert count_notes(right) == 1


def test_rows_from_before_track_are_older_than_any_edit(replica, sql):
    left, right = replica(NOTE), replica(NOTE, "note")
    sql(right.path, "INSERT INTO note VALUES (1, 'edited', 0)")
    time.sleep(0.005)
    sql(left.path, "INSERT INTO note VALUES (1, 'there before track', 0)")
    left.track("note")
    assert_in_step(left, right)
    assert left.execute("SELECT body FROM note") == [("edited",)]


def test_tracking_twice_changes_nothing(notes):
    left, _ = notes
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    before = everything(left.path)
    left.track("note", "note")
    assert everything(left.path) == before


def test_another_capture_replaces_the_first_and_loses_nothing(notes, sql):
    left, right = notes
    for capture in ("keys", "full", "keys"):
        sql(left.path, f"INSERT INTO note(body) VALUES ('before {capture}')")
        left.track("note", capture=capture)
        assert left.tables()[0].capture == capture
        sql(left.path, f"INSERT INTO note(body) VALUES ('after {capture}')")
        payloads = sql(left.path, "SELECT payload FROM _sync_log ORDER BY version DESC LIMIT 1")
        assert (payloads == [(None,)]) == (capture == "keys")
    assert_in_step(right, left)
    assert count_notes(right) == 6


def test_untrack_leaves_rows_and_no_trace(notes, sql):
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0)")
    right.sync(left)
    left.untrack("note")
    assert count_notes(left) == 1 and left.tables() == []
    assert sql(left.path, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' OR name LIKE '_sync_rows_%'") == [(0,)]
    sql(left.path, "INSERT INTO note VALUES (2, 'not captured', 0); DELETE FROM note WHERE id = 1")
    right.sync(left)
    assert right.execute("SELECT id FROM note") == [(1,)]


def test_untracked_and_tracked_again(notes, sql):
    """What happened meanwhile takes part as old rows; nothing that the other side has is overwritten."""
    left, right = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0), (2, 'y', 0)")
    right.sync(left)
    left.untrack("note")
    sql(left.path, "INSERT INTO note VALUES (3, 'meanwhile', 0); UPDATE note SET body = 'unseen' WHERE id = 1")
    left.track("note")
    for _ in range(2):
        left.sync(right)
    assert contents(left.path) == contents(right.path)
    assert dict(right.execute("SELECT id, body FROM note")) == {1: "x", 2: "y", 3: "meanwhile"}


def test_what_came_for_an_untracked_table_enters_when_it_is_tracked(replica, sql):
    left, right, third = replica(NOTE, "note"), replica(NOTE), replica(NOTE, "note")
    sql(left.path, "INSERT INTO note VALUES (1, 'early', 0)")
    right.sync(left)
    assert count_notes(right) == 0 and right.state.parked == 1
    right.track("note")
    assert right.execute("SELECT body FROM note") == [("early",)] and right.parked() == []
    assert_in_step(right, left)
    assert_in_step(third, right)


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_relay_passes_on_what_it_cannot_hold(replica, sql, asked_before):
    left, relay, third = replica(NOTE, "note"), replica(), replica(NOTE, "note")
    if asked_before:
        third.sync(relay)
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0)")
    relay.sync(left)
    third.sync(relay)
    assert contents(third.path) == contents(left.path)


# ---- suppressed


def test_suppressed_writes_stay_here_and_other_programs_are_captured(notes, sql):
    left, right = notes
    with left.suppressed():
        left.execute("INSERT INTO note VALUES (1, 'hidden', 0)")
        with pytest.raises(sqlite3.OperationalError, match="locked"), writer(left, timeout=0) as program:
            program.execute("INSERT INTO note VALUES (9, 'waits', 0)")
    sql(left.path, "INSERT INTO note VALUES (2, 'seen', 0)")
    right.sync(left)
    assert right.execute("SELECT id FROM note") == [(2,)]
    sql(left.path, "UPDATE note SET votes = 1")
    assert_in_step(right, left)


@pytest.mark.parametrize("own_trigger", [False, True])
def test_capture_goes_on_after_suppressed(notes, sql, own_trigger):
    left, right = notes
    if own_trigger:
        sql(left.path, "CREATE TRIGGER mine AFTER INSERT ON note BEGIN SELECT 1; END")
    for attempt in range(3):
        with contextlib.suppress(KeyError), left.suppressed():
            left.execute("INSERT INTO note VALUES (?, 'hidden', 0)", (attempt,))
            if attempt == 1:
                raise KeyError
        left.execute("INSERT INTO note VALUES (?, 'seen', 0)", (attempt + 10,))
    assert log(left) == [("insert", 10), ("insert", 11), ("insert", 12)]
    assert left.execute("SELECT id FROM note") == [(0,), (2,), (10,), (11,), (12,)]


# ---- The clock


def test_a_wall_clock_that_goes_back_loses_no_edit(notes, sql):
    """This replica has seen a stamp of 2090; its edits are stamped above it, on either side of the restart."""
    left, right = notes
    sql(left.path, "UPDATE _sync_session SET clock = '2090-01-01T00:00:00.000Z'")
    sql(left.path, "INSERT INTO note VALUES (1, 'in the future', 0)")
    right.sync(left)
    for number, db in enumerate((right, left, right, left)):
        sql(db.path, f"UPDATE note SET body = 'edit {number}'")
        right.sync(left)
        assert rows(left.path, "note") == rows(right.path, "note")
        assert db.execute("SELECT body FROM note") == [(f"edit {number}",)]
    stamps = [c.timestamp for db in notes for c in db.changes()]
    assert all(stamp >= "2090" for stamp in stamps)


def test_stamps_of_one_replica_never_go_back(notes, sql):
    left, _ = notes
    sql(left.path, "INSERT INTO note VALUES (1, 'x', 0)")
    sql(left.path, "UPDATE _sync_session SET clock = '2090-01-01T00:00:00.000Z'")
    for n in range(2, 6):
        sql(left.path, f"INSERT INTO note VALUES ({n}, 'x', 0)")
    stamps = [c.timestamp for c in left.changes()]
    assert stamps == sorted(stamps) and stamps[1] >= "2090"
