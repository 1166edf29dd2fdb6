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
FOLDERS = (
    "CREATE TABLE folder (id INTEGER PRIMARY KEY);"
    "CREATE TABLE doc (id INTEGER PRIMARY KEY, folder INTEGER REFERENCES folder ON DELETE CASCADE)"
)


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
    server, client, reader = replicas(FOLDERS, "folder", "doc", count=3)
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


def test_a_restored_server_is_noticed_where_a_purge_has_dropped_what_would_prove_it(replicas, sql):
    """It wrote as many entries as it had lost, and forgot a delete among them before the client came back."""
    server, busy, late = replicas(NOTE, "note", count=3)
    put(server, 1)
    settle(server, busy, late)
    backup = back_up(server)
    put(server, 2)
    late.sync(server)
    with restored(server, backup) as again:
        again.execute("DELETE FROM note WHERE id = 1")
        put(again, 3)
        grow_stale(again, late, sql)
        for _ in range(2):
            busy.sync(again)
        assert again.purge().tombstones == 1
        assert late.sync(again).resyncs == 1
        assert settle(again, busy, late) == [(3, "row 3")]
        assert ("forgotten delete", {"id": 2}) in [(c.strategy, c.loser.pk) for c in late.conflicts()]


def test_a_purge_leaves_the_last_entry_where_the_safe_version_is_a_hole(replicas, sql):
    server, client, newcomer = replicas(FOLDERS, "folder", "doc", count=3)
    client.execute("INSERT INTO folder VALUES (1), (2), (3)")
    client.sync(server)
    client.execute("DELETE FROM folder WHERE id = 1")
    for _ in range(2):
        client.sync(server)
    server.purge()
    client.execute("DELETE FROM folder WHERE id = 2")
    client.sync(server)
    for _ in range(2):
        assert newcomer.sync(server).rejected == 0
    grow_stale(server, client, sql)
    last = sql(server.path, "SELECT max(version) FROM _sync_log")
    assert server.safe_purge_version() > last[0][0]
    server.purge()
    assert sql(server.path, "SELECT version FROM _sync_log") == last
    server.execute("INSERT INTO folder VALUES (4)")
    assert newcomer.sync(server).resyncs == 0
    assert newcomer.execute("SELECT id FROM folder") == [(3,), (4,)]


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


def grow_stale(server, client, sql, days=91):
    sql(
        server.path,
        "UPDATE _sync_clients SET last_sync_timestamp = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?) WHERE origin_id = ?",
        (f"-{days} days", client.origin),
    )


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


# ---- Transports


def as_json(peer):
    """Reaches `peer` through text alone."""

    def fetch(position, limit):
        asked = csync.Position.from_json(position.to_json())
        return csync.Batch.from_json(peer.changes(asked, limit).to_json())

    def send(batch):
        return csync.Outcomes.from_json(peer.apply(csync.Batch.from_json(batch.to_json())).outcomes.to_json())

    return csync.Remote(fetch=fetch, send=send, name=peer.origin)


def test_a_delegate_that_raises_comes_out_as_the_same_object_when_no_resync_is_wanted(notes):
    left, right = notes
    boom = csync.FullResyncRequired("no way")

    def fetch(position, limit):
        raise boom

    with pytest.raises(csync.FullResyncRequired) as caught:
        left.pull(csync.Remote(fetch=fetch), full_resync=False)
    assert caught.value is boom


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
