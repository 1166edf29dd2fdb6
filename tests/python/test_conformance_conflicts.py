"""Conflicts end alike whatever the databases are: who wins, who is in the audit, and what each strategy decides."""

import pytest

import csync
from conformance import FAMILY, MAIL, lose_answer, parked, run, settle, table
from note_table import wait_a_moment

BODY = "SELECT body FROM note"


def audit(db):
    """(decision, who lost, its body or None, who won, its body or None) of each entry."""

    def body(change):
        return change.payload and change.payload.get("body")

    return [(c.decision, c.loser.origin, body(c.loser), c.winner.origin, body(c.winner)) for c in db.conflicts()]


def test_the_later_edit_wins_on_pull_and_the_audit_says_so(world):
    left, right = world.conflict()
    left.sync(right)
    assert audit(left) == [("remote", left.origin, "left", right.origin, "right")]
    assert audit(right) == []
    settle(left, right)
    assert left.execute(BODY) == [("right",)]


def test_the_local_edit_wins_on_pull_and_the_audit_says_so(world):
    left, right = world.conflict()
    wait_a_moment()
    left.execute("UPDATE note SET body = 'latest'")
    left.sync(right)
    assert audit(left) == [("local", right.origin, "right", left.origin, "latest")]
    settle(left, right)
    assert right.execute(BODY) == [("latest",)]


def test_an_edit_that_loses_when_it_is_pushed(world):
    left, right = world.conflict()
    result = left.push(right)
    assert (result.lost, result.conflicts) == (1, 1)
    assert audit(left)[-1] == ("remote", left.origin, "left", right.origin, "right")
    assert left.execute(BODY) == [("right",)]


def test_an_edit_that_a_push_overwrites_is_kept_by_the_receiver(world):
    left, right = world.conflict()
    wait_a_moment()
    left.execute("UPDATE note SET body = 'latest'")
    left.push(right)
    assert audit(right) == [("remote", right.origin, "right", left.origin, "latest")]
    left.sync(right)
    assert len(audit(right)) == 1 and audit(left) == []


@pytest.mark.parametrize("later", ["delete", "edit"])
@pytest.mark.parametrize("deleter", [0, 1])
def test_a_delete_against_an_edit(world, later, deleter):
    left, right = dbs = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'start', 0)")
    right.sync(left)
    deletes, edits = dbs[deleter], dbs[1 - deleter]
    statements = [(deletes, "DELETE FROM note"), (edits, "UPDATE note SET body = 'edited'")]
    for db, statement in statements if later == "edit" else reversed(statements):
        db.execute(statement)
        wait_a_moment()
    settle(right, left)
    (entry,) = left.conflicts() + right.conflicts()
    winner, loser = (edits, deletes) if later == "edit" else (deletes, edits)
    assert (entry.loser.origin, entry.winner.origin) == (loser.origin, winner.origin)
    assert {entry.loser.operation, entry.winner.operation} == {"delete", "update"}
    assert left.execute("SELECT count(*) FROM note") == [(1 if later == "edit" else 0,)]


def test_edits_that_saw_each_other_are_no_conflict(world):
    left, right = dbs = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'start', 0)")
    for turn in range(3):
        settle(left, right)
        dbs[turn % 2].execute("UPDATE note SET votes = votes + 1")
    settle(left, right)
    assert left.conflicts() == right.conflicts() == []
    assert right.execute("SELECT votes FROM note") == [(3,)]


def test_the_same_edit_on_both_sides_is_no_conflict(world):
    left, right = world.notes()
    for db in (left, right):
        db.execute("INSERT INTO note VALUES (1, 'same', 0)")
    settle(left, right)
    assert left.conflicts() == right.conflicts() == []


@pytest.mark.parametrize("way", ["pull", "push"])
def test_an_edit_of_a_child_that_a_cascade_takes_along_is_lost_to_it(world, way):
    left, right = world.replicas(FAMILY.format("", "ON DELETE CASCADE"), "parent", "child")
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


def test_deletes_of_ones_own_are_no_conflict(world):
    left, right = world.replicas(FAMILY.format("", "ON DELETE CASCADE"), "parent", "child")
    left.execute("INSERT INTO parent VALUES (1)")
    right.execute("INSERT INTO parent VALUES (2)")
    settle(left, right)
    left.execute("DELETE FROM parent WHERE id = 1")
    right.execute("INSERT INTO child VALUES (2, 1, 'new')")
    settle(left, right)
    right.execute("INSERT INTO child VALUES (3, 2, 'x')")
    right.execute("DELETE FROM parent WHERE id = 2")
    settle(left, right)
    assert len(left.conflicts() + right.conflicts()) == 1


def test_a_child_whose_parent_was_deleted_is_parked_and_no_conflict(world):
    left, right = world.replicas(FAMILY.format("", "ON DELETE RESTRICT"), "parent", "child")
    left.execute("INSERT INTO parent VALUES (1)")
    settle(left, right)
    left.execute("DELETE FROM parent")
    right.execute("INSERT INTO child VALUES (1, 1, 'kept')")
    settle(left, right)
    for db in (left, right):
        assert db.conflicts() == []
        assert [(p.reason, p.payload["body"], p.origin) for p in db.parked()] == [("foreign key", "kept", right.origin)]


def test_the_loser_of_a_collision_is_parked_and_named(world):
    left, right = world.replicas(MAIL.format(" UNIQUE", ""), "mail")
    left.execute("INSERT INTO mail VALUES (1, 'x')")
    wait_a_moment()
    right.execute("INSERT INTO mail VALUES (2, 'x')")
    settle(left, right)
    for db in (left, right):
        assert db.conflicts() == []
        (entry,) = db.parked()
        assert (entry.pk, entry.reason, entry.origin) == ({"id": 1}, "unique", left.origin)
        assert '{"id":2}' in entry.message


# ---- Strategies


@pytest.mark.parametrize("strategy, body", [("server-wins", "right"), ("client-wins", "left"), ("last-write-wins", "right")])
def test_a_strategy_decides_a_sync(world, strategy, body):
    client, server = world.conflict()
    result = client.sync(server, strategy=strategy)
    assert result.conflicts == 1
    settle(server, client)
    assert client.execute(BODY) == [(body,)]
    assert [c.strategy for c in client.conflicts()] == [strategy]


def merged(local, remote, base):
    return {"body": f"{local.payload['body']}+{remote.payload['body']}"}


def test_a_resolver_merges_both_rows(world):
    client, server = world.conflict()
    client.sync(server, on_conflict=merged)
    settle(server, client)
    assert server.execute(BODY) == [("left+right",)]


@pytest.mark.parametrize(
    ("strategy", "winner"), [("client-wins", "client"), ("server-wins", "server"), ("custom", "client+server")]
)
def test_a_push_meets_an_edit_that_it_did_not_see(world, strategy, winner):
    """Only pushed, never pulled: the server refuses what is not based on its row, and the client decides."""
    client, server = world.conflict()
    client.execute("UPDATE note SET body = 'client'")
    server.execute("UPDATE note SET body = 'server'")
    options = {"on_conflict": merged} if strategy == "custom" else {"strategy": strategy}
    result = client.push(server, **options)
    assert result.conflicts == 1
    settle(server, client)
    assert server.execute(BODY) == [(winner,)]
    assert [c.strategy for c in client.conflicts()][-1] == strategy


def test_client_wins_does_not_override_an_edit_that_saw_the_clients(world):
    """The answer to a push was lost, the server's user went on from there, and the push came again."""
    client, server = world.notes()
    client.execute("INSERT INTO note VALUES (1, 'start', 0)")
    client.sync(server)
    client.execute("UPDATE note SET body = 'client' WHERE id = 1")
    with pytest.raises(ConnectionError):
        client.push(lose_answer(server))
    server.execute("UPDATE note SET body = body || ' and server' WHERE id = 1")
    client.sync(server, strategy="client-wins")
    settle(server, client)
    assert table(server, "note") == [(1, "client and server", 0)]


def test_an_edit_in_the_future_is_overridden_by_whoever_sees_it(world):
    left, right = world.notes()
    left.execute("INSERT INTO note VALUES (1, 'start', 0)")
    settle(left, right)
    for turn in range(4):
        (left, right)[turn % 2].execute(f"UPDATE note SET body = 'turn {turn}'")
        settle(left, right)
        assert left.execute(BODY) == [(f"turn {turn}",)]
    assert parked(left) == []
    run(left, "DELETE FROM note")
    settle(left, right)
    assert right.execute(BODY) == []


def test_a_conflict_is_raised_to_nobody_when_the_resolver_fails(world):
    client, server = world.conflict()

    def fail(local, remote, base):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.sync(server, on_conflict=fail)
    assert client.execute(BODY) == [("left",)]
    client.sync(server)
    settle(server, client)
    assert isinstance(client.sync(server), csync.Result)
