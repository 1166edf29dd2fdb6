"""Positions, backups, copies, purges, stale clients, and pushes that compare: whatever happens between replicas, they
come together again and nothing is lost."""

import contextlib
import json
import shutil
import time

import pytest

import csync
from note_table import NOTE, Boom, change, count_notes, fill

ROWS = "SELECT id, body FROM note ORDER BY id"


def put(db, *ids, body="row"):
    for i in ids:
        db.execute("INSERT INTO note VALUES (?, ?, 0)", (i, f"{body} {i}"))


def overwrite(path, backup):
    """As `cp backup path` does it: the file stays the same one."""
    with open(path, "r+b") as file, open(backup, "rb") as old:
        file.truncate()
        shutil.copyfileobj(old, file)


@contextlib.contextmanager
def restored(db, backup):
    """`db` as it was when `backup` was made."""
    db.close()
    overwrite(db.path, backup)
    with csync.open(db.path) as again:
        again.path = db.path
        yield again


def back_up(db, name="backup.db"):
    db.execute("PRAGMA wal_checkpoint")
    return shutil.copy(db.path, db.path.parent / name)


def settle(*dbs):
    """Everybody syncs with the first until nothing moves."""
    for _ in range(3):
        for db in dbs[1:]:
            db.sync(dbs[0])
    assert len({db.hash() for db in dbs}) == 1
    return dbs[0].execute(ROWS)


@pytest.fixture
def trimmed(replicas):
    """trimmed(count): a replica with so many rows, whose log was purged."""

    def make(count):
        server, client = replicas(NOTE, "note")
        fill(server, count)
        settle(server, client)
        client.sync(server)
        server.purge()
        return server

    return make


# ---- Backups


def test_a_server_restored_from_a_backup_gets_back_what_its_clients_have(replicas):
    server, a, b = replicas(NOTE, "note", count=3)
    put(server, 1)
    settle(server, a, b)
    backup = back_up(server)
    put(server, 2)
    put(a, 3)
    settle(server, a, b)
    with restored(server, backup) as again:
        assert again.execute(ROWS) == [(1, "row 1")]
        put(again, 4)
        result = a.sync(again)
        assert result.resyncs == 1
        assert settle(again, a, b) == [(i, f"row {i}") for i in (1, 2, 3, 4)]


def test_a_restored_server_that_was_written_before_csync_saw_it_is_noticed(replicas, sql):
    """Its log has reached the client's position again, with other entries."""
    server, client = replicas(NOTE, "note")
    put(server, 1)
    settle(server, client)
    backup = back_up(server)
    put(server, 2, 3)
    settle(server, client)
    server.close()
    overwrite(server.path, backup)
    for i in range(10, 20):
        sql(server.path, "INSERT INTO note VALUES (?, 'later', 0)", (i,))
    with csync.open(server.path) as again:
        assert client.sync(again).resyncs == 1
        assert again.hash() == client.hash()
        assert count_notes(client) == 13


def test_a_restored_server_is_noticed_where_its_log_ended_in_a_hole(replicas, sql):
    """A delete takes what the log's own triggers wrote of it out again: the log's last version has no entry."""
    schema = (
        "CREATE TABLE folder (id INTEGER PRIMARY KEY);"
        "CREATE TABLE doc (id INTEGER PRIMARY KEY, folder INTEGER REFERENCES folder ON DELETE CASCADE)"
    )
    server, client, reader = replicas(schema, "folder", "doc", count=3)
    client.execute("INSERT INTO folder VALUES (1)")
    client.sync(server)
    reader.sync(server)
    backup = back_up(server)
    client.execute("DELETE FROM folder WHERE id = 1")
    client.sync(server)
    reader.pull(server)
    ends = "SELECT seq, (SELECT max(version) FROM _sync_log) FROM sqlite_sequence WHERE name = '_sync_log'"
    top, last = sql(server.path, ends)[0]
    assert top > last
    server.close()
    overwrite(server.path, backup)
    for i in range(2, 6):
        sql(server.path, "INSERT INTO folder VALUES (?)", (i,))
    with csync.open(server.path) as again:
        assert reader.pull(again).resyncs == 1
        assert reader.execute("SELECT id FROM folder ORDER BY id") == [(i,) for i in range(2, 6)]


def test_a_client_restored_from_a_backup_makes_new_edits_that_arrive(replicas):
    server, client = replicas(NOTE, "note")
    put(client, 1)
    settle(server, client)
    backup = back_up(client)
    put(client, 2, 3)
    settle(server, client)
    with restored(client, backup) as again:
        put(again, 4)
        assert settle(server, again) == [(i, f"row {i}") for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("who", ["server", "client"])
def test_a_backup_from_before_a_purge(replicas, who):
    """What was deleted stays deleted, although the tombstones are gone; what was written is all there."""
    server, client = replicas(NOTE, "note")
    put(server, *range(1, 6))
    settle(server, client)
    chosen, other = (server, client) if who == "server" else (client, server)
    backup = back_up(chosen)
    server.execute("DELETE FROM note WHERE id IN (1, 2)")
    put(client, 7)
    settle(server, client)
    client.sync(server)
    assert server.purge().tombstones == 2
    client.purge()
    with restored(chosen, backup) as again:
        put(again, 8)
        ends = (again, other) if who == "server" else (other, again)
        assert [row[0] for row in settle(*ends)] == [3, 4, 5, 7, 8]


# ---- Copies


def test_a_copied_file_is_a_replica_of_its_own(replicas):
    server, original = replicas(NOTE, "note")
    put(original, 1)
    settle(server, original)
    put(original, 2)
    copy_path = shutil.copy(original.path, original.path.parent / "copy.db")
    with csync.open(copy_path) as copy:
        assert copy.origin != original.origin
        put(copy, 3, body="copy")
        put(original, 3, body="original")
        original.execute("UPDATE note SET body = 'both' WHERE id = 1")
        rows = settle(server, original, copy)
        assert [row[0] for row in rows] == [1, 2, 3] and rows[0][1] == "both"
        assert copy.sync(original).conflicts == 0
    with csync.open(copy_path) as again:
        assert again.origin == copy.origin


def test_a_renamed_file_stays_the_same_replica(notes):
    left, _ = notes
    left.close()
    moved = left.path.rename(left.path.parent / "moved.db")
    with csync.open(moved) as again:
        assert again.origin == left.origin


def test_a_copy_keeps_its_origin_for_whoever_insists(notes):
    left, _ = notes
    copy = shutil.copy(left.path, left.path.parent / "copy.db")
    with csync.open(copy, origin=left.origin) as again:
        assert again.origin == left.origin


# ---- Clients and purge


def test_who_asks_is_a_client_and_holds_the_purge_up(replicas):
    server, a, b = replicas(NOTE, "note", count=3)
    put(server, 1, 2, 3)
    settle(server, a, b)
    assert {client.origin for client in server.clients()} == {a.origin, b.origin}
    server.execute("DELETE FROM note WHERE id = 1")
    a.sync(server)
    safe = server.safe_purge_version()
    assert safe == min(client.version for client in server.clients()) == 3
    assert server.purge().tombstones == 0
    b.sync(server)
    a.sync(server), b.sync(server)
    put(server, 4)
    a.sync(server), b.sync(server)
    a.sync(server), b.sync(server)
    purged = server.purge()
    assert purged.tombstones == 1 and purged.entries > 0
    put(b, 5)
    assert len(settle(server, a, b)) == 4


def test_without_clients_nothing_is_purged(notes):
    left, _ = notes
    put(left, 1)
    left.execute("DELETE FROM note")
    assert left.purge() == csync.Purged(0, 0, 0)
    assert left.safe_purge_version() == 0


def test_registered_and_forgotten_clients(notes):
    left, _ = notes
    put(left, 1, 2)
    left.register_client("tablet", 1)
    assert [(c.origin, c.version, c.stale) for c in left.clients()] == [("tablet", 1, False)]
    with pytest.raises(csync.InvalidValue, match="not in the log"):
        left.register_client("tablet", 99)
    left.forget_client("tablet")
    with pytest.raises(csync.NotFound):
        left.forget_client("tablet")


def grow_stale(server, client, sql, days=91):
    sql(
        server.path,
        "UPDATE _sync_clients SET last_sync_timestamp = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?) WHERE origin_id = ?",
        (f"-{days} days", client.origin),
    )


def test_a_stale_client_comes_back_with_its_edits(replicas, sql):
    server, busy, late = replicas(NOTE, "note", count=3)
    put(server, *range(1, 6))
    settle(server, busy, late)
    late.execute("UPDATE note SET body = 'edited offline' WHERE id = 3")
    put(late, 30)
    server.execute("DELETE FROM note WHERE id IN (1, 2)")
    busy.sync(server)
    grow_stale(server, late, sql)
    assert [client.origin for client in server.stale_clients()] == [late.origin]
    busy.sync(server), busy.sync(server)
    put(server, 6)
    busy.sync(server), busy.sync(server)
    assert server.purge().tombstones == 2
    with pytest.raises(csync.FullResyncRequired) as caught:
        late.pull(server, full_resync=False)
    assert caught.value.client_version < caught.value.oldest_version
    result = late.sync(server)
    assert result.resyncs == 1
    rows = settle(server, busy, late)
    assert [row[0] for row in rows] == [3, 4, 5, 6, 30] and rows[0][1] == "edited offline"
    assert not server.stale_clients()


def test_deletes_made_offline_are_not_forgotten_before_they_are_pushed(replicas, sql):
    """However long the device was away: it is the device that goes to the server, not the server to the device."""
    server, device = replicas(NOTE, "note")
    put(server, 1, 2)
    device.sync(server)
    put(device, 3)
    settle(server, device)
    device.execute("DELETE FROM note WHERE id = 1")
    put(device, 4)
    grow_stale(device, server, sql)
    assert not device.stale_clients() and device.purge().tombstones == 0
    device.sync(server)
    assert [row[0] for row in settle(server, device)] == [2, 3, 4]


def test_a_peer_that_was_given_every_row_has_not_heard_of_the_deletes_that_are_forgotten(replicas):
    """Pushing all rows that are left moves the peer's position past a delete that it was never told of."""
    first, second, third = replicas(NOTE, "note", count=3)
    put(first, 1, 2)
    second.sync(first)
    third.sync(second)
    first.execute("DELETE FROM note WHERE id = 1")
    put(first, 3)
    settle(first, second)
    assert first.purge().tombstones == 1
    first.push(third)
    first.sync(third)
    assert [row[0] for row in settle(first, second, third)] == [2, 3]
    assert [conflict.strategy for conflict in first.conflicts()] == ["forgotten delete"]


@pytest.mark.parametrize("deleted_by", ["server", "client"])
def test_a_delete_that_the_server_has_forgotten_is_given_back_by_a_client_that_has_not(replicas, replica, deleted_by):
    """A newcomer brings, as its own, a row that was here before it was deleted."""
    server, client = replicas(NOTE, "note")
    put(server, 1, 2)
    settle(server, client)
    (server if deleted_by == "server" else client).execute("DELETE FROM note WHERE id = 1")
    settle(server, client)
    put(server, 3)
    settle(server, client)
    assert server.purge().tombstones == 1
    newcomer = replica(f"{NOTE}; INSERT INTO note VALUES (1, 'old', 0)", "note")
    newcomer.sync(server)
    assert server.execute("SELECT body FROM note WHERE id = 1") == [("old",)]
    assert [row[0] for row in settle(server, client, newcomer)] == [2, 3]


def test_a_row_that_a_server_fetched_and_deleted_is_deleted_where_it_came_from(replicas, sql):
    """The device never pushed it: it knows from what the server asked for that the server had it."""
    server, device, other = replicas(NOTE, "note", count=3)
    put(device, 1, 2)
    server.pull(device)
    server.pull(device)
    server.execute("DELETE FROM note WHERE id = 1")
    put(server, 3)
    settle(server, other)
    grow_stale(server, device, sql)
    assert server.purge().tombstones == 1
    device.pull(server)
    assert [row[0] for row in settle(server, device, other)] == [2, 3]


def test_an_old_edit_of_a_row_that_was_deleted_since_is_kept_as_a_conflict(replicas, sql):
    server, busy, late = replicas(NOTE, "note", count=3)
    put(server, 1, 2)
    settle(server, busy, late)
    late.execute("UPDATE note SET body = 'too late' WHERE id = 1")
    time.sleep(0.005)
    server.execute("DELETE FROM note WHERE id = 1")
    busy.sync(server)
    grow_stale(server, late, sql)
    put(server, 3)
    busy.sync(server), busy.sync(server)
    server.purge()
    late.sync(server)
    assert [row[0] for row in settle(server, busy, late)] == [2, 3]
    kept = [c.loser.payload["body"] for db in (server, late) for c in db.conflicts() if c.loser.payload]
    assert "too late" in kept


def test_a_new_replica_reads_a_trimmed_log_through_a_snapshot(trimmed, replica):
    server = trimmed(50)
    newcomer = replica(NOTE, "note")
    result = newcomer.sync(server, batch_size=7)
    assert result.resyncs == 1 and newcomer.hash() == server.hash()
    assert (result.pulled, result.pushed, result.duplicates) == (50, 0, 0)
    assert newcomer.sync(server).pulled == 0


def test_a_snapshot_goes_on_where_it_was_interrupted(trimmed, replica):
    server = trimmed(100)
    newcomer = replica(NOTE, "note")
    asked = []

    def fetch(position, limit):
        asked.append(position)
        if len(asked) == 6:
            raise Boom
        return server.changes(position, limit)

    remote = csync.Remote(fetch=fetch, name=server.origin)
    with pytest.raises(Boom):
        newcomer.pull(remote, batch_size=10)
    half = count_notes(newcomer)
    assert 0 < half < 100
    newcomer.close()
    server.execute("UPDATE note SET body = 'changed meanwhile' WHERE id IN (3, 99)")
    with csync.open(newcomer.path) as again:
        again.pull(remote, batch_size=10)
        assert asked[6].cursor == asked[5].cursor != ""
        assert again.hash() == server.hash()


# ---- Transports


def as_json(peer):
    """Reaches `peer` through text alone."""

    def fetch(position, limit):
        asked = csync.Position.from_json(position.to_json())
        return csync.Batch.from_json(peer.changes(asked, limit).to_json())

    def send(batch):
        return csync.Outcomes.from_json(peer.apply(csync.Batch.from_json(batch.to_json())).outcomes.to_json())

    return csync.Remote(fetch=fetch, send=send, name=peer.origin)


def test_a_resync_over_a_transport_of_ones_own(trimmed, replica):
    server = trimmed(30)
    newcomer = replica(NOTE, "note")
    put(newcomer, 77)
    result = newcomer.sync(as_json(server), batch_size=7)
    assert result.resyncs == 1 and newcomer.hash() == server.hash() and count_notes(server) == 31


def test_a_delegate_that_raises_comes_out_as_the_same_object_when_no_resync_is_wanted(notes):
    left, right = notes
    boom = csync.FullResyncRequired("no way")

    def fetch(position, limit):
        raise boom

    with pytest.raises(csync.FullResyncRequired) as caught:
        left.pull(csync.Remote(fetch=fetch), full_resync=False)
    assert caught.value is boom


def test_a_session_is_told_what_the_peer_refused(trimmed, replica):
    server = trimmed(10)
    newcomer = replica(NOTE, "note")
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


def test_positions_that_no_log_gave_out(notes):
    left, _ = notes
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


def test_a_push_whose_answer_was_lost_is_answered_again(notes):
    left, right = notes
    put(right, 1, body="theirs")
    time.sleep(0.003)
    right.execute("UPDATE note SET body = 'later' WHERE id = 1")
    batches = []

    def send(batch):
        batches.append(batch)
        raise Boom

    left.apply([change(1, timestamp="2024-01-01T00:00:00Z", origin="elsewhere")])
    with pytest.raises(Boom):
        left.push(csync.Remote(send=send, name=right.origin))
    first = right.apply(batches[0]).outcomes
    again = right.apply(batches[0]).outcomes
    assert first.to_json() == again.to_json()
    assert [o.status for o in again] == ["lost"]
    wire = json.loads(batches[0].to_json())
    wire["idempotencyKey"] = "another"
    assert len(right.apply(csync.Batch.from_json(json.dumps(wire))).outcomes) == 0


# ---- Pushes that compare


def test_client_wins_does_not_override_an_edit_that_saw_the_clients(notes):
    """The answer to a push was lost, the server's user went on from there, and the push came again."""
    client, server = notes
    put(client, 1)
    client.sync(server)
    client.execute("UPDATE note SET body = 'client' WHERE id = 1")
    with pytest.raises(Boom):
        client.push(csync.Remote(send=lambda batch: (server.apply(batch), lose())[1], name=server.origin))
    server.execute("UPDATE note SET body = body || ' and server' WHERE id = 1")
    client.sync(server, strategy="client-wins")
    assert settle(server, client) == [(1, "client and server")]


def lose():
    raise Boom


@pytest.mark.parametrize(
    ("strategy", "winner"), [("client-wins", "client"), ("server-wins", "server"), ("custom", "client+server")]
)
def test_a_push_meets_an_edit_that_it_did_not_see(conflict, strategy, winner):
    """Only pushed, never pulled: the server refuses what is not based on its row, and the client decides."""
    client, server = conflict
    client.execute("UPDATE note SET body = 'client'")
    server.execute("UPDATE note SET body = 'server'")
    options = {"strategy": strategy}
    if strategy == "custom":
        options = {
            "on_conflict": lambda local, remote, base: {"body": f"{local.payload['body']}+{remote.payload['body']}"}
        }
    result = client.push(server, **options)
    assert result.conflicts == 1
    assert settle(server, client) == [(1, winner)]
    assert [c.strategy for c in client.conflicts()][-1] == strategy


# ---- Clocks


def test_a_client_whose_clock_is_ahead_is_corrected_and_goes_on(notes, sql):
    client, server = notes
    put(server, 1)
    client.sync(server)
    sql(client.path, "UPDATE _sync_session SET clock = '2099-01-01T00:00:00.000Z'")
    client.execute("UPDATE note SET body = 'from 2099' WHERE id = 1")
    put(client, 2)
    client.execute("DELETE FROM note WHERE id = 2")
    assert client.sync(server).pushed == 2
    stamps = [row[0] for row in server.execute("SELECT timestamp FROM _sync_log")]
    assert max(stamps) < "2099"
    assert settle(server, client) == [(1, "from 2099")]
    server.execute("UPDATE note SET body = 'later' WHERE id = 1")
    assert settle(server, client) == [(1, "later")]
    assert sql(client.path, "SELECT clock < '2099' FROM _sync_session") == [(1,)]


def test_a_push_from_the_future_is_refused_before_anything_is_stored(notes):
    _, server = notes
    batch = csync.Batch([change(1, timestamp="2099-01-01T00:00:00Z")], origin="peer", to_version=1)
    with pytest.raises(csync.ClockSkewError, match="set its clock") as caught:
        server.apply(batch)
    assert caught.value.actual.startswith("2099") and caught.value.expected < "2099"
    assert caught.value.code == "CSYNC_ECLOCK"
    assert count_notes(server) == 0 and server.state.max_version == 0


def test_a_pull_from_the_future_is_taken_and_reported(notes, sql):
    """A slow clock must not lock its owner out."""
    left, right = notes
    sql(right.path, "UPDATE _sync_session SET clock = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+2 hours')")
    put(right, 1)
    result = left.pull(right)
    assert result.pulled == 1 and 7_100_000 < result.ahead_ms <= 7_200_000
    assert left.pull(right).ahead_ms == 0
