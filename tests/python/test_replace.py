"""INSERT OR REPLACE, REPLACE and UPDATE OR REPLACE: the rows that they evict through a UNIQUE index.

SQLite runs no delete trigger for those unless the connection has recursive_triggers on.
"""

import contextlib
import sqlite3

import pytest

from note_table import Boom, wait_a_moment

MAIL = "CREATE TABLE mail (id INTEGER PRIMARY KEY, address TEXT UNIQUE, votes INTEGER)"


def in_step(*dbs):
    for _ in range(2):
        for one in dbs:
            for other in dbs:
                if one is not other:
                    one.sync(other)
    return len({db.hash() for db in dbs}) == 1


def entries(db):
    return db.execute("SELECT pk_value, operation FROM _sync_log ORDER BY version")


@contextlib.contextmanager
def program(db, recursive_triggers=0):
    """Another program's connection, with its own settings."""
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA recursive_triggers = {recursive_triggers}")
        yield connection


@pytest.mark.parametrize("recursive_triggers", [0, 1])
@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("INSERT OR REPLACE INTO mail VALUES (3, 'a', 30)", [(2, "b", 2), (3, "a", 30)]),
        ("REPLACE INTO mail VALUES (3, 'a', 30), (4, 'b', 40)", [(3, "a", 30), (4, "b", 40)]),
        ("UPDATE OR REPLACE mail SET address = 'a' WHERE id = 2", [(2, "a", 2)]),
        ("REPLACE INTO mail VALUES (1, 'b', 10)", [(1, "b", 10)]),
        ("REPLACE INTO mail VALUES (1, 'a', 10)", [(1, "a", 10), (2, "b", 2)]),
        ("UPDATE OR REPLACE mail SET id = 2 WHERE id = 1", [(2, "a", 1)]),
        ("UPDATE OR REPLACE mail SET id = 7, address = 'b' WHERE id = 1", [(7, "b", 1)]),
    ],
)
def test_every_form_of_replace_reaches_the_others(replica, statement, rows, capture, recursive_triggers):
    left, right = replica(MAIL), replica(MAIL)
    for db in (left, right):
        db.track("mail", capture=capture)
    left.execute("INSERT INTO mail VALUES (1, 'a', 1), (2, 'b', 2)")
    right.sync(left)
    with program(left, recursive_triggers) as connection:
        connection.execute(statement)
    right.sync(left)
    assert right.execute("SELECT * FROM mail ORDER BY id") == rows
    assert in_step(left, right) and left.execute("SELECT * FROM mail ORDER BY id") == rows
    assert left.parked() == right.parked() == []


@pytest.mark.parametrize(
    ("schema", "index"),
    [
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, v)", "CREATE UNIQUE INDEX i ON t (u) WHERE v > 0"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, v)", "CREATE UNIQUE INDEX i ON t (lower(u))"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, v)", "CREATE UNIQUE INDEX i ON t (u, v)"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, v, g AS (u || v) UNIQUE)", ""),
        ("CREATE TABLE t (id TEXT PRIMARY KEY, u UNIQUE, v) WITHOUT ROWID", ""),
        ("CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY, u UNIQUE, v)", ""),
        ("CREATE TABLE t (id TEXT, u UNIQUE, v, PRIMARY KEY (id COLLATE NOCASE))", ""),
        ("CREATE TABLE t (v, u UNIQUE, id, PRIMARY KEY (id, v))", ""),
    ],
)
def test_every_unique_index_evicts(replicas, sql, schema, index):
    dbs = left, right = replicas(schema, "t")
    if index:  # the table is tracked already
        for db in dbs:
            sql(db.path, index)
    sql(left.path, "INSERT INTO t (id, u, v) VALUES (1, 'x', 1), (2, 'y', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO t (id, u, v) VALUES (3, 'x', 1)")
    right.sync(left)
    assert right.execute("SELECT CAST(id AS TEXT) FROM t ORDER BY id") == [("2",), ("3",)]
    assert in_step(left, right)
    assert left.execute("SELECT count(*) FROM t") == [(2,)]


def test_what_was_never_logged_is_evicted_too(replicas, sql):
    """Rows from before track, and rows that came from the only peer."""
    left, right = replicas(MAIL)
    left.execute("INSERT INTO mail VALUES (1, 'a', 1), (2, 'b', 2)")
    left.track("mail")
    right.track("mail")
    sql(left.path, "REPLACE INTO mail VALUES (3, 'a', 3)")
    right.sync(left)
    assert right.execute("SELECT id FROM mail ORDER BY id") == [(2,), (3,)]
    sql(right.path, "REPLACE INTO mail VALUES (4, 'b', 4)")
    right.sync(left)
    assert left.execute("SELECT id FROM mail ORDER BY id") == [(3,), (4,)]
    assert in_step(left, right)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
@pytest.mark.parametrize("same_table", [False, True])
def test_what_foreign_keys_do_below_an_evicted_row(replicas, sql, action, same_table):
    schema = (
        f"CREATE TABLE p (id INTEGER PRIMARY KEY, u UNIQUE, up REFERENCES {{}} ON DELETE {action});"
        f"CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE {action})"
    ).format("p" if same_table else "c")
    left, right = replicas(schema, "p", "c")
    sql(left.path, "INSERT INTO p VALUES (1, 'x', NULL), (2, 'y', NULL)")
    if same_table:
        sql(left.path, "INSERT INTO p VALUES (5, 'z', 1)")
    sql(left.path, "INSERT INTO c VALUES (1, 1), (2, 2)")
    assert in_step(left, right)
    sql(left.path, "REPLACE INTO p VALUES (3, 'x', NULL)")
    expected = [sql(left.path, f"SELECT * FROM {table} ORDER BY id") for table in "pc"]
    assert in_step(left, right)
    assert [sql(right.path, f"SELECT * FROM {table} ORDER BY id") for table in "pc"] == expected
    assert left.parked() == right.parked() == []


def test_a_row_that_replaces_itself_takes_its_children_along(replicas, sql):
    schema = "CREATE TABLE p (id INTEGER PRIMARY KEY, v); CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE)"
    left, right = replicas(schema, "p", "c")
    sql(left.path, "INSERT INTO p VALUES (1, 'old')")
    sql(left.path, "INSERT INTO c VALUES (1, 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO p VALUES (1, 'new')")
    assert in_step(left, right)
    assert right.execute("SELECT * FROM p") == [(1, "new")] and right.execute("SELECT * FROM c") == []


def test_an_edit_made_after_the_eviction_is_kept(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO mail VALUES (2, 'a', 2)")
    wait_a_moment()
    sql(right.path, "UPDATE mail SET address = 'moved' WHERE id = 1")
    wait_a_moment()
    sql(left.path, "INSERT INTO mail VALUES (3, 'c', 3)")
    left.sync(right)
    assert in_step(left, right)
    assert left.execute("SELECT id, address FROM mail ORDER BY id") == [(1, "moved"), (2, "a"), (3, "c")]


def test_an_edit_made_before_the_eviction_loses(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(right.path, "UPDATE mail SET votes = 5 WHERE id = 1")
    wait_a_moment()
    sql(left.path, "REPLACE INTO mail VALUES (2, 'a', 2)")
    assert in_step(left, right)
    assert right.execute("SELECT * FROM mail") == [(2, "a", 2)]
    assert left.parked() == right.parked() == []


def test_an_edit_just_before_the_eviction_does_not_save_the_row(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(right.path, "UPDATE mail SET votes = 2 WHERE id = 1")
    left.sync(right)
    sql(left.path, "UPDATE mail SET votes = 3 WHERE id = 1; REPLACE INTO mail VALUES (2, 'a', 2)")
    assert in_step(left, right)
    assert right.execute("SELECT * FROM mail") == [(2, "a", 2)]


def test_a_row_that_came_back_before_the_sync_stays(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO mail VALUES (2, 'a', 2)")
    sql(left.path, "INSERT INTO mail VALUES (1, 'again', 1)")
    assert in_step(left, right)
    assert right.execute("SELECT id, address FROM mail ORDER BY id") == [(1, "again"), (2, "a")]
    assert ('{"id":1}', "delete") not in entries(left)


def test_an_evicted_row_may_come_back_later(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO mail VALUES (2, 'a', 2)")
    assert in_step(left, right)
    sql(right.path, "INSERT INTO mail VALUES (1, 'again', 1)")
    assert in_step(left, right)
    assert left.execute("SELECT id, address FROM mail ORDER BY id") == [(1, "again"), (2, "a")]


def test_without_an_eviction_nothing_is_logged(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1), (2, 'b', 2)")
    sql(left.path, "DELETE FROM mail WHERE id = 1")
    sql(left.path, "REPLACE INTO mail VALUES (3, 'a', 3)")
    assert in_step(left, right)
    assert [operation for _, operation in entries(left)] == ["insert", "insert", "delete", "insert"]


def test_many_are_evicted_at_once(replicas, sql):
    left, right = replicas(MAIL, "mail")
    with program(left) as connection:
        connection.executemany("INSERT INTO mail VALUES (?, ?, 0)", [(i, f"a{i}") for i in range(3000)])
    right.sync(left)
    with program(left) as connection:
        connection.execute("REPLACE INTO mail SELECT id + 10000, address, 1 FROM mail WHERE id < 2000")
    right.sync(left, batch_size=100)
    assert right.execute("SELECT count(*), sum(votes) FROM mail") == [(3000, 2000)]
    assert in_step(left, right)


def test_a_third_replica_hears_of_it(replicas, sql):
    left, middle, right = replicas(MAIL, "mail", count=3)
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    middle.sync(left)
    right.sync(middle)
    sql(right.path, "REPLACE INTO mail VALUES (2, 'a', 2)")
    right.sync(middle)
    left.sync(middle)
    assert left.execute("SELECT * FROM mail") == [(2, "a", 2)]
    assert in_step(left, middle, right)


# ---- Rows that are missing for other reasons


def test_rows_that_a_suppressed_write_took_away_are_not_missed(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    right.sync(left)
    sql(left.path, "REPLACE INTO mail VALUES (4, 'b', 4)")
    with left.suppressed():
        left.execute("DELETE FROM mail WHERE id = 1")
        left.execute("INSERT INTO mail VALUES (9, 'hidden', 9)")
    sql(left.path, "REPLACE INTO mail VALUES (5, 'c', 5)")
    right.sync(left)
    assert right.execute("SELECT id FROM mail ORDER BY id") == [(1,), (4,), (5,)]


def test_a_suppressed_transaction_may_drop_the_table(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    with left.suppressed():
        left.execute("DROP TABLE mail")
    left.sync(right)
    assert right.execute("SELECT * FROM mail") == [(1, "a", 1)]


def test_parked_rows_are_not_missed(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    wait_a_moment()
    sql(right.path, "INSERT INTO mail VALUES (2, 'a', 2)")
    assert in_step(left, right)
    assert [p.pk["id"] for p in left.parked()] == [1]
    sql(left.path, "REPLACE INTO mail VALUES (3, 'b', 3)")
    assert in_step(left, right)
    assert [p.pk["id"] for p in left.parked()] == [p.pk["id"] for p in right.parked()] == [1]
    sql(left.path, "REPLACE INTO mail VALUES (4, 'a', 4)")
    assert in_step(left, right)
    assert left.execute("SELECT id FROM mail ORDER BY id") == [(3,), (4,)]


def test_a_row_without_a_usable_key_hides_no_eviction(replicas, sql):
    schema = "CREATE TABLE t (k TEXT PRIMARY KEY, u UNIQUE)"
    left, right = replicas(schema, "t")
    sql(left.path, "INSERT INTO t VALUES ('one', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO t VALUES ('two', 1)")
    sql(left.path, "INSERT INTO t VALUES (NULL, 7)")
    right.sync(left)
    assert right.execute("SELECT k FROM t") == [("two",)]


def test_eviction_is_found_while_a_peer_pushes(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO mail VALUES (2, 'a', 2)")
    sql(right.path, "INSERT INTO mail VALUES (3, 'b', 3)")
    right.push(left)
    assert [change.operation for change in left.changes() if change.pk == {"id": 1}] == ["delete"]
    assert in_step(left, right)


def test_nothing_is_half_done_when_the_sync_is_stopped(replicas, sql):
    left, right = replicas(MAIL, "mail")
    sql(left.path, "INSERT INTO mail VALUES (1, 'a', 1)")
    right.sync(left)
    sql(left.path, "REPLACE INTO mail VALUES (2, 'a', 2)")

    def stop(progress):
        raise Boom

    with pytest.raises(Boom):
        right.sync(left, progress=stop)
    assert in_step(left, right)
    assert right.execute("SELECT * FROM mail") == [(2, "a", 2)]
