"""Rows that hold the same unique value, through every kind of SQLite's UNIQUE indexes. Who lost what, and what waits for what, is
tested for each pair of databases in test_conformance_conflicts.py and test_conformance_keys.py."""

import pytest

from note_table import wait_a_moment

ODD = {
    "partial": ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, gone INTEGER DEFAULT 0)", "t (u) WHERE NOT gone"),
    "expression": ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, gone INTEGER DEFAULT 0)", "t (lower(u))"),
    "generated": ("CREATE TABLE t (id INTEGER PRIMARY KEY, u, gone INTEGER DEFAULT 0, g AS (lower(u)))", "t (g)"),
}


def settle(*dbs):
    for _ in range(3):
        for db in dbs[1:]:
            db.sync(dbs[0])
    assert len({db.hash() for db in dbs}) == 1


@pytest.mark.parametrize("recursive", [0, 1])
@pytest.mark.parametrize("own_trigger", [False, True])
@pytest.mark.parametrize("odd", ODD)
def test_collisions_on_any_unique_index_end_alike(replicas, sql, odd, own_trigger, recursive):
    schema, index = ODD[odd]
    schema += f"; CREATE UNIQUE INDEX odd ON {index}"
    if own_trigger:  # csync's triggers cannot be switched off
        schema += "; CREATE TABLE seen (id); CREATE TRIGGER own AFTER INSERT ON t BEGIN INSERT INTO seen VALUES (NEW.id); END"
    dbs = hub, left, right = replicas(schema, "t", count=3)
    for db in dbs:
        db.execute(f"PRAGMA recursive_triggers = {recursive}")
    for number, db in enumerate((right, hub, left), 1):
        db.execute("INSERT INTO t (id, u) VALUES (?, 'x')", [number])
        wait_a_moment()
    settle(hub, left, right)
    for db in dbs:
        assert db.execute("SELECT id FROM t") == [(3,)]
        assert sorted((p.pk["id"], p.reason) for p in db.parked()) == [(1, "unique"), (2, "unique")]
        assert db.execute("PRAGMA recursive_triggers") == [(recursive,)]
    hub.execute("UPDATE t SET u = 'y', gone = 1 WHERE id = 3")
    settle(hub, left, right)
    for db in dbs:
        assert db.execute("SELECT id FROM t ORDER BY id") == [(2,), (3,)]
        assert [p.pk["id"] for p in db.parked()] == [1]
