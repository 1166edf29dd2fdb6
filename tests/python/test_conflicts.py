"""_sync_conflicts and _sync_parked: who lost what to whom, and what waits for what.

A conflict is an edit that another one overwrites: its loser is in the audit of the replica that decided. What won and
cannot enter its table is not lost: it is parked, with its reason, and is no conflict.
"""


import pytest

from note_table import NOTE, wait_a_moment

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


def audit(db):
    """(decision, who lost, its body or None, who won, its body or None) of each entry."""

    def body(change):
        return change.payload and change.payload.get("body")

    return [
        (c.decision, c.loser.origin, body(c.loser), c.winner.origin, body(c.winner)) for c in db.conflicts()
    ]


# ---- Edits


def test_the_later_edit_wins_on_pull_and_the_audit_says_so(conflict):
    left, right = conflict
    wait_a_moment()
    right.execute("UPDATE note SET body = 'latest'")
    left.sync(right)
    assert audit(left) == [("remote", left.origin, "left", right.origin, "latest")]
    assert audit(right) == []


def test_the_local_edit_wins_on_pull_and_the_audit_says_so(conflict):
    left, right = conflict
    wait_a_moment()
    left.execute("UPDATE note SET body = 'latest'")
    left.sync(right)
    assert audit(left) == [("local", right.origin, "right", left.origin, "latest")]


def test_an_edit_that_loses_when_it_is_pushed(conflict):
    left, right = conflict
    wait_a_moment()
    right.execute("UPDATE note SET body = 'latest'")
    result = left.push(right)
    assert (result.lost, result.conflicts) == (1, 1)
    assert audit(left)[-1] == ("remote", left.origin, "left", right.origin, "latest")
    assert left.execute("SELECT body FROM note") == [("latest",)]


def test_an_edit_that_a_push_overwrites_is_kept_by_the_receiver(conflict):
    left, right = conflict
    wait_a_moment()
    left.execute("UPDATE note SET body = 'latest'")
    left.push(right)
    assert audit(right) == [("remote", right.origin, "right", left.origin, "latest")]
    left.sync(right)
    assert len(audit(right)) == 1 and audit(left) == []


@pytest.mark.parametrize("later", ["delete", "edit"])
@pytest.mark.parametrize("deleter", ["left", "right"])
def test_a_delete_against_an_edit(notes, later, deleter):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'start', 0)")
    right.sync(left)
    deletes, edits = (left, right) if deleter == "left" else (right, left)
    statements = [(deletes, "DELETE FROM note"), (edits, "UPDATE note SET body = 'edited'")]
    for db, statement in statements if later == "edit" else reversed(statements):
        db.execute(statement)
        wait_a_moment()
    left.sync(right)
    settle(left, right)
    (entry,) = left.conflicts() + right.conflicts()
    winner, loser = (edits, deletes) if later == "edit" else (deletes, edits)
    assert (entry.loser.origin, entry.winner.origin) == (loser.origin, winner.origin)
    assert {entry.loser.operation, entry.winner.operation} == {"delete", "update"}
    assert left.execute("SELECT count(*) FROM note") == [(1 if later == "edit" else 0,)]


def test_edits_that_saw_each_other_are_no_conflict(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'start', 0)")
    for turn in range(3):
        settle(left, right)
        (left, right)[turn % 2].execute("UPDATE note SET votes = votes + 1")
    settle(left, right)
    assert left.conflicts() == right.conflicts() == []


def test_the_same_edit_on_both_sides_is_no_conflict(notes):
    for db in notes:
        db.execute("INSERT INTO note VALUES (1, 'same', 0)")
    settle(*notes)
    assert notes[0].conflicts() == notes[1].conflicts() == []


# ---- Rows that go with their parent


FAMILY = """
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE {}, body);
"""


@pytest.mark.parametrize("way", ["pull", "push"])
def test_an_edit_of_a_child_that_a_cascade_takes_along_is_lost_to_it(replicas, way):
    left, right = replicas(FAMILY.format("CASCADE"), "parent", "child")
    left.execute("INSERT INTO parent VALUES (1), (2)")
    left.execute("INSERT INTO child VALUES (1, 1, 'old')")
    settle(left, right)
    left.execute("DELETE FROM parent WHERE id = 1")
    right.execute("INSERT INTO child VALUES (2, 1, 'new')")
    right.execute("INSERT INTO child VALUES (3, 2, 'of another')")
    (right.pull if way == "pull" else lambda db: db.push(right))(left)
    assert audit(right) == [("deleted", right.origin, "new", right.origin, None)]
    assert right.conflicts()[0].strategy == "foreign key" and right.conflicts()[0].table == "child"
    settle(left, right)
    assert audit(left) == [] and left.execute("SELECT id FROM child") == [(3,)]


def test_deletes_of_ones_own_are_no_conflict(replicas):
    left, right = replicas(FAMILY.format("CASCADE"), "parent", "child")
    left.execute("INSERT INTO parent VALUES (1)")
    right.execute("INSERT INTO parent VALUES (2)")
    settle(left, right)
    left.execute("DELETE FROM parent WHERE id = 1")
    right.execute("INSERT INTO child VALUES (2, 1, 'new')")
    settle(left, right)
    right.execute("INSERT INTO child VALUES (3, 2, 'x')")
    right.execute("DELETE FROM parent WHERE id = 2")  # takes the child along, here and by whoever wrote it
    settle(left, right)
    assert len(left.conflicts() + right.conflicts()) == 1


def test_a_child_whose_parent_was_deleted_is_parked_and_no_conflict(replicas):
    left, right = replicas(FAMILY.format("RESTRICT"), "parent", "child")
    left.execute("INSERT INTO parent VALUES (1)")
    settle(left, right)
    left.execute("DELETE FROM parent")
    right.execute("INSERT INTO child VALUES (1, 1, 'kept')")
    settle(left, right)
    for db in (left, right):
        assert db.conflicts() == []
        assert [(p.reason, p.payload["body"], p.origin) for p in db.parked()] == [("foreign key", "kept", right.origin)]


# ---- Rows that hold the same unique value


def test_the_loser_of_a_collision_is_parked_and_named(replicas):
    left, right = replicas("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)", "t")
    left.execute("INSERT INTO t VALUES (1, 'x')")
    wait_a_moment()
    right.execute("INSERT INTO t VALUES (2, 'x')")
    settle(left, right)
    for db in (left, right):
        assert db.conflicts() == []
        (entry,) = db.parked()
        assert (entry.pk, entry.reason, entry.origin) == ({"id": 1}, "unique", left.origin)
        assert '{"id":2}' in entry.message


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
