"""Positions, clients, purges, snapshots, clocks and verify: the same between databases of every kind."""

import pytest

import csync
from conformance import NOTES, lose_answer, parked, run, settle, spelled, table
from note_table import Boom, change, count_notes


def put(db, *ids, body="row"):
    for i in ids:
        db.execute(f"INSERT INTO note VALUES ({i}, '{body} {i}', 0)")


def ids(db):
    return [row[0] for row in table(db, "note")]


def grow_stale(server, client):
    server.other(spelled(server, "clients heard of 91 days ago", client.origin))


@pytest.fixture
def trimmed(world):
    """trimmed(count): a replica with so many rows, whose log was purged, and another of the other kind."""

    def make(count):
        server, client = world.notes()
        rows = ", ".join(f"({n}, 'text {n}', 0)" for n in range(1, count + 1))
        server.execute(f"INSERT INTO note VALUES {rows}")
        settle(server, client)
        client.sync(server)
        server.purge()
        return server, world.replica(world.kinds[1], NOTES, "note")

    return make


# ---- Positions


def test_a_newcomer_that_has_been_here_once_needs_no_snapshot_the_next_time(world):
    """It has not said yet where it stands. Meanwhile other handles of the server have begun epochs, which others know."""
    server, newcomer, _, regular = world.notes(count=4)
    put(server, 1)
    newcomer.pull(server)
    regular.pull(server)
    for n in range(2, 6):
        with world.reopened(server) as again:
            put(again, n)
            for _ in range(2):
                assert regular.pull(again).resyncs == 0
    with world.reopened(server) as again:
        result = newcomer.pull(again)
    assert (result.pulled, result.resyncs) == (4, 0)


# ---- Syncs


def test_edits_go_both_ways_and_then_rest(world):
    client, server = world.notes()
    run(client, "INSERT INTO note VALUES (1,'client',1); INSERT INTO note VALUES (2,'both',NULL)")
    put(server, 3)
    client.sync(server)
    assert client.hash() == server.hash()
    run(client, "UPDATE note SET body='changed' WHERE id=3; DELETE FROM note WHERE id=1")
    run(server, "UPDATE note SET votes=5 WHERE id=2")
    client.sync(server)
    settle(client, server)
    assert table(client, "note") == table(server, "note") == [(2, "both", 5), (3, "changed", 0)]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_of_any_size(world, batch_size):
    client, server = world.notes()
    put(client, *range(1, 20))
    put(server, *range(20, 40))
    result = client.sync(server, batch_size=batch_size)
    assert (result.pushed, result.pulled) == (19, 20) and result.batches >= 39 // batch_size
    assert client.hash() == server.hash()


def test_a_third_replica_gets_everything_through_the_second(world):
    first, hub, third = world.notes(3)
    put(first, 1, 2)
    first.sync(hub)
    third.sync(hub)
    assert table(third, "note") == table(first, "note")
    third.execute("DELETE FROM note WHERE id = 1")
    settle(hub, third, first)
    assert ids(first) == [2]


def test_a_row_deleted_and_made_again_and_a_changed_key(world):
    left, right = world.notes()
    put(left, 1, 2)
    settle(left, right)
    run(left, "DELETE FROM note WHERE id = 1; INSERT INTO note VALUES (1, 'again', 3); UPDATE note SET id = 20 WHERE id = 2")
    settle(left, right)
    assert table(right, "note") == [(1, "again", 3), (20, "row 2", 0)]
    left.execute("DELETE FROM note")
    settle(left, right)
    put(right, 20)
    settle(left, right)
    assert ids(left) == [20]


def test_edits_while_a_session_runs_are_neither_lost_nor_echoed(world):
    left, right = world.notes()
    put(left, *range(1, 30))
    session = csync.Session(left, right.origin)
    while (step := session.next()).kind != "done":
        if step.kind == "fetch":
            page = right.changes(step.since, step.limit)
            left.execute("UPDATE note SET body = 'typed while it pulled' WHERE id = 1")
            session.page(page)
        else:
            answer = right.apply(step.batch)
            left.execute("UPDATE note SET body = 'typed while it pushed' WHERE id = 2")
            left.execute("DELETE FROM note WHERE id = 3")
            session.outcome(answer)
    settle(left, right)
    assert table(right, "note")[:2] == [(1, "typed while it pulled", 0), (2, "typed while it pushed", 0)]
    assert 3 not in ids(right) and left.conflicts() == right.conflicts() == []


def test_a_replica_goes_on_after_a_restart(world):
    left, right = world.notes()
    put(left, 1)
    right.sync(left)
    with world.reopened(left) as again:
        assert again.origin == left.origin
        put(again, 2)
        result = right.sync(again)
    assert result.pulled == 1 and result.resyncs == 0
    settle(left, right)


def test_a_call_that_fails_leaves_everything_as_it_was(world):
    left, right = world.notes()
    put(left, *range(1, 300))

    def fail(progress):
        raise Boom

    with pytest.raises(Boom):
        right.pull(left, progress=fail)
    assert table(right, "note") == [] or right.state.parked == 0
    right.pull(left)
    assert count_notes(right) == 299
    settle(left, right)


def test_a_push_whose_answer_was_lost_is_answered_again(world):
    left, right = world.notes()
    put(left, 1, 2)
    with pytest.raises(ConnectionError):
        left.push(lose_answer(right))
    assert ids(right) == [1, 2]
    result = left.sync(right)
    assert result.rejected == 0 and result.conflicts == 0
    settle(left, right)


# ---- Clients and purges


def test_who_asks_is_a_client_and_holds_the_purge_up(world):
    server, a, b = world.notes(3)
    put(server, 1, 2, 3)
    settle(server, a, b)
    assert {client.origin for client in server.clients()} == {a.origin, b.origin}
    server.execute("DELETE FROM note WHERE id = 1")
    a.sync(server)
    assert server.safe_purge_version() == min(client.version for client in server.clients())
    assert server.purge().tombstones == 0
    for n in (4, 5):
        b.sync(server), a.sync(server)
        put(server, n)
    a.sync(server), b.sync(server)
    a.sync(server), b.sync(server)
    purged = server.purge()
    assert purged.tombstones == 1 and purged.entries > 0
    put(b, 6)
    settle(server, a, b)
    assert ids(a) == [2, 3, 4, 5, 6]


def test_without_clients_nothing_is_purged(world):
    left, _ = world.notes()
    put(left, 1)
    left.execute("DELETE FROM note")
    assert left.purge() == csync.Purged(0, 0, 0)
    assert left.safe_purge_version() == 0


def test_registered_and_forgotten_clients(world):
    left, _ = world.notes()
    put(left, 1, 2)
    left.register_client("tablet", 1)
    assert [(c.origin, c.version, c.stale) for c in left.clients()] == [("tablet", 1, False)]
    with pytest.raises(csync.InvalidValue, match="not in the log"):
        left.register_client("tablet", 99)
    left.forget_client("tablet")
    with pytest.raises(csync.NotFound):
        left.forget_client("tablet")


def test_a_stale_client_comes_back_with_its_edits(world):
    server, busy, late = world.notes(3)
    put(server, *range(1, 6))
    settle(server, busy, late)
    late.execute("UPDATE note SET body = 'edited offline' WHERE id = 3")
    put(late, 30)
    server.execute("DELETE FROM note WHERE id IN (1, 2)")
    busy.sync(server)
    grow_stale(server, late)
    assert [client.origin for client in server.stale_clients()] == [late.origin]
    busy.sync(server), busy.sync(server)
    put(server, 6)
    busy.sync(server), busy.sync(server)
    assert server.purge().tombstones == 2
    with pytest.raises(csync.FullResyncRequired) as caught:
        late.pull(server, full_resync=False)
    assert caught.value.client_version < caught.value.oldest_version
    assert late.sync(server).resyncs == 1
    settle(server, busy, late)
    assert ids(busy) == [3, 4, 5, 6, 30] and table(busy, "note")[0][1] == "edited offline"
    assert not server.stale_clients()


def test_deletes_made_offline_are_not_forgotten_before_they_are_pushed(world):
    """However long the device was away: it is the device that goes to the server, not the server to the device."""
    server, device = world.notes()
    put(server, 1, 2)
    device.sync(server)
    put(device, 3)
    settle(server, device)
    device.execute("DELETE FROM note WHERE id = 1")
    put(device, 4)
    grow_stale(device, server)
    assert not device.stale_clients() and device.purge().tombstones == 0
    settle(server, device)
    assert ids(server) == [2, 3, 4]


def test_a_peer_that_was_given_every_row_has_not_heard_of_the_deletes_that_are_forgotten(world):
    """Pushing all rows that are left moves the peer's position past a delete that it was never told of."""
    first, second, third = world.notes(3)
    put(first, 1, 2)
    second.sync(first)
    third.sync(second)
    first.execute("DELETE FROM note WHERE id = 1")
    put(first, 3)
    settle(first, second)
    assert first.purge().tombstones == 1
    first.push(third)
    first.sync(third)
    settle(first, second, third)
    assert ids(second) == [2, 3]
    assert [conflict.strategy for conflict in first.conflicts()] == ["forgotten delete"]


@pytest.mark.parametrize("deleted_by", [0, 1])
def test_a_delete_that_the_server_has_forgotten_is_given_back_by_a_client_that_has_not(world, deleted_by):
    """A newcomer brings, as its own, a row that was here before it was deleted."""
    server, client = dbs = world.notes()
    put(server, 1, 2)
    settle(server, client)
    dbs[deleted_by].execute("DELETE FROM note WHERE id = 1")
    settle(server, client)
    put(server, 3)
    settle(server, client)
    assert server.purge().tombstones == 1
    newcomer = world.replica(world.kinds[1], f"{NOTES}; INSERT INTO note VALUES (1, 'old', 0)", "note")
    newcomer.sync(server)
    assert server.execute("SELECT body FROM note WHERE id = 1") == [("old",)]
    settle(server, client, newcomer)
    assert ids(newcomer) == [2, 3]


def test_a_row_that_a_server_fetched_and_deleted_is_deleted_where_it_came_from(world):
    """The device never pushed it: it knows from what the server asked for that the server had it."""
    server, device, other = world.notes(3)
    put(device, 1, 2)
    server.pull(device)
    server.pull(device)
    server.execute("DELETE FROM note WHERE id = 1")
    put(server, 3)
    settle(server, other)
    grow_stale(server, device)
    assert server.purge().tombstones == 1
    device.pull(server)
    settle(server, device, other)
    assert ids(device) == [2, 3]


def test_an_old_edit_of_a_row_that_was_deleted_since_is_kept_as_a_conflict(world):
    server, busy, late = world.notes(3)
    put(server, 1, 2)
    settle(server, busy, late)
    late.execute("UPDATE note SET body = 'too late' WHERE id = 1")
    run(server, "UPDATE note SET votes = 1 WHERE id = 2; DELETE FROM note WHERE id = 1")
    server.execute("INSERT INTO note VALUES (9, 'x', 0)")
    busy.sync(server)
    grow_stale(server, late)
    put(server, 3)
    busy.sync(server), busy.sync(server)
    server.purge()
    late.sync(server)
    settle(server, busy, late)
    assert ids(late) == [2, 3, 9]
    kept = [c.loser.payload["body"] for db in (server, late) for c in db.conflicts() if c.loser.payload]
    assert "too late" in kept


# ---- Snapshots


def test_a_new_replica_reads_a_trimmed_log_through_a_snapshot(trimmed):
    server, newcomer = trimmed(50)
    result = newcomer.sync(server, batch_size=7)
    assert result.resyncs == 1 and newcomer.hash() == server.hash()
    assert (result.pulled, result.pushed, result.duplicates) == (50, 0, 0)
    assert newcomer.sync(server).pulled == 0


def test_a_snapshot_goes_on_where_it_was_interrupted(trimmed, world):
    server, newcomer = trimmed(100)
    asked = []

    def fetch(position, limit):
        asked.append(position)
        if len(asked) == 6:
            raise Boom
        return server.changes(position, limit)

    remote = csync.Remote(fetch=fetch, name=server.origin)
    with pytest.raises(Boom):
        newcomer.pull(remote, batch_size=10)
    assert 0 < count_notes(newcomer) < 100
    newcomer.close()
    server.execute("UPDATE note SET body = 'changed meanwhile' WHERE id IN (3, 99)")
    with world.reopened(newcomer) as again:
        again.pull(remote, batch_size=10)
        assert asked[6].cursor == asked[5].cursor != ""
        assert again.hash() == server.hash()


def as_json(peer):
    """Reaches `peer` through text alone."""

    def fetch(position, limit):
        asked = csync.Position.from_json(position.to_json())
        return csync.Batch.from_json(peer.changes(asked, limit).to_json())

    def send(batch):
        return csync.Outcomes.from_json(peer.apply(csync.Batch.from_json(batch.to_json())).outcomes.to_json())

    return csync.Remote(fetch=fetch, send=send, name=peer.origin)


def test_a_resync_over_a_transport_of_ones_own(trimmed):
    server, newcomer = trimmed(30)
    put(newcomer, 77)
    result = newcomer.sync(as_json(server), batch_size=7)
    assert result.resyncs == 1 and newcomer.hash() == server.hash() and count_notes(server) == 31


def test_a_session_is_told_what_the_peer_refused(trimmed):
    server, newcomer = trimmed(10)
    session = csync.Session(newcomer, server.origin, batch_size=4)
    while (step := session.next()).kind != "done":
        try:
            if step.kind == "fetch":
                session.page(server.changes(step.since, step.limit))
            else:
                session.outcome(server.apply(step.batch))
        except csync.FullResyncRequired as refusal:
            session.refused(refusal)
    assert session.result.resyncs == 1 and newcomer.hash() == server.hash()
    with pytest.raises(csync.Misuse):
        session.refused(csync.FullResyncRequired("again"))
    with pytest.raises(ZeroDivisionError):
        session.refused(ZeroDivisionError())


def test_positions_that_no_log_gave_out(world):
    left, _ = world.notes()
    put(left, 1)
    page = left.changes(csync.Position(0, origin="tablet"))
    id, asof, mark = page.epoch.split(".")
    for wrong in ("nonsense", "x" * 70, f"{id}.1", f"{id}.-1.{mark}", f"{id}.0.{mark}"):
        with pytest.raises(csync.InvalidValue, match="no position"):
            left.changes(csync.Position(1, wrong))
    for foreign in (f"{'0' * 16}.1.{mark}", f"{id}.1.deadbeef", f"{id}.99.{mark}"):
        with pytest.raises(csync.FullResyncRequired, match="restored from a backup"):
            left.changes(csync.Position(1, foreign))
    with pytest.raises(csync.FullResyncRequired, match="never had version 99"):
        left.changes(99)
    assert left.changes(csync.Position(1, page.epoch)).epoch == page.epoch


# ---- Clocks


def test_a_client_whose_clock_is_ahead_is_corrected_and_goes_on(world):
    client, server = world.notes()
    put(server, 1)
    client.sync(server)
    client.other(spelled(client, "clock in 2099"))
    client.execute("UPDATE note SET body = 'from 2099' WHERE id = 1")
    put(client, 2)
    client.execute("DELETE FROM note WHERE id = 2")
    client.sync(server)
    stamps = [row[0] for row in server.execute(f"SELECT timestamp FROM {spelled(server, 'log')}")]
    assert max(stamps) < "2099"
    settle(server, client)
    assert table(server, "note") == [(1, "from 2099", 0)]
    server.execute("UPDATE note SET body = 'later' WHERE id = 1")
    settle(server, client)
    assert table(client, "note") == [(1, "later", 0)]


def test_a_push_from_the_future_is_refused_before_anything_is_stored(world):
    _, server = world.notes()
    batch = csync.Batch([change(1, timestamp="2099-01-01T00:00:00Z")], origin="peer", to_version=1)
    with pytest.raises(csync.ClockSkewError, match="set its clock") as caught:
        server.apply(batch)
    assert caught.value.code == "CSYNC_ECLOCK"
    assert caught.value.actual.startswith("2099") and caught.value.expected < "2099"
    assert count_notes(server) == 0 and server.state.max_version == 0


def test_a_pull_from_the_future_is_taken_and_reported(world):
    """A slow clock must not lock its owner out."""
    left, right = world.notes()
    right.other(spelled(right, "clock two hours ahead"))
    put(right, 1)
    result = left.pull(right)
    assert result.pulled == 1 and 7_100_000 < result.ahead_ms <= 7_200_000
    assert left.pull(right).ahead_ms == 0


# ---- Verify


def spoil(db, script):
    with db.suppressed():
        run(db, script)


def test_replicas_in_step_are_equal(world):
    here, there = world.notes()
    put(here, *range(1, 60))
    settle(there, here)
    found = here.verify(there)
    assert found.equal and found.rows == ()
    assert found.tables == (csync.Comparison("note", 59, 59, 0, 0, 0, ""),)


def test_rows_that_differ_are_named_and_repaired(world):
    here, there = world.notes()
    put(here, *range(1, 60))
    settle(there, here)
    for db in (here, there):
        spoil(db, "UPDATE note SET body='spoilt' WHERE id=7; DELETE FROM note WHERE id=8")
        found = here.verify(there, repair=db is here)
        assert found.found == 2 and not found.equal
        assert {(row.pk["id"], row.kind) for row in found.rows} == {
            (7, "differs"), (8, "missing here" if db is here else "missing there"),
        }  # fmt: skip
        if db is there:
            assert there.verify(here, repair=True).repaired == 2
        assert here.verify(there).equal
    assert here.sync(there).pushed == 0
    assert table(there, "note")[6] == (7, "row 7", 0)


def test_a_row_is_not_repaired_where_others_would_follow_it(world):
    schema = (
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE); CREATE TABLE child (id INTEGER PRIMARY KEY,"
        " code TEXT REFERENCES parent (code) ON UPDATE CASCADE)"
    )
    here, there = world.replicas(schema, "parent", "child")
    run(here, "INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES (1, 'a')")
    settle(there, here)
    spoil(there, "UPDATE parent SET code = 'b'")
    found = there.verify(here, repair=True)
    assert [(row.table, row.repaired, row.reason) for row in found.rows if row.table == "parent"] == [
        ("parent", False, "other rows would change")
    ]
    assert table(there, "parent") == [(1, "b")] and table(there, "child") == [(1, "b")]
    assert there.sync(here).pushed == 0


def test_what_the_next_sync_settles_is_left_to_it(world):
    here, there = world.notes()
    put(here, 1, 2)
    settle(there, here)
    here.execute("DELETE FROM note WHERE id = 1")
    put(there, 3)
    found = here.verify(there, repair=True)
    assert {(row.pk["id"], row.kind, row.explained) for row in found.rows} == {
        (1, "missing here", "pending sync"),
        (3, "missing here", "pending sync"),
    }
    assert found.repaired == 0
    here.sync(there)
    assert here.verify(there).equal


def test_a_table_on_one_side_only_is_named(world):
    here, there = world.notes()
    here.other("CREATE TABLE extra (id INTEGER PRIMARY KEY)")
    here.track("extra")
    found = here.verify(there)
    assert not found.equal
    assert found.tables[0] == csync.Comparison("extra", 0, None, 0, 0, 0, "tracked here only")
    assert parked(here) == []
