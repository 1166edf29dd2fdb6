"""Corners of the protocol: many processes on one file, restores in the middle of something, tables that only one side
tracks, pushes that meet many conflicts. Nothing is lost there either, and every sync ends."""

import contextlib
import json
import shutil
import sqlite3

import pytest

import csync
from note_table import NOTE, Boom, change, count_notes, fill
from test_protocol import ROWS, as_json, back_up, grow_stale, overwrite, put, restored, settle


def trimmed_server(replicas, rows=100, count=2):
    server, *clients = replicas(NOTE, "note", count=count)
    fill(server, rows)
    settle(server, *clients)
    for client in clients:
        client.sync(server)
    server.purge()
    return server, *clients


def test_a_snapshot_ends_although_other_processes_serve_the_log_meanwhile(replicas, replica):
    """Each process begins an epoch, and each client that goes on lets older ones be forgotten: not the reader's."""
    server, *others = trimmed_server(replicas, count=4)
    newcomer = replica(NOTE, "note")
    calls = []

    def fetch(position, limit):
        calls.append(position)
        for other in others:
            with csync.open(server.path) as process:
                put(process, 1000 + len(calls) * 10 + others.index(other))
                other.sync(process)
        with csync.open(server.path) as process:
            return process.changes(position, limit)

    result = newcomer.pull(csync.Remote(fetch=fetch, name=server.origin), batch_size=30)
    assert result.resyncs == 1
    assert newcomer.hash() == server.hash()


def test_a_server_that_is_restored_in_the_middle_of_a_snapshot(replicas, replica):
    """The half that was read is of another database: what the backup lacks was not deleted."""
    server, client = replicas(NOTE, "note")
    put(server, 1, 2, 3, 4)
    settle(server, client)
    backup = back_up(server)
    put(server, 900)
    settle(server, client)
    late = replica(NOTE, "note")
    late.sync(server)
    server.execute("DELETE FROM note WHERE id = 2")
    server.execute("UPDATE note SET body = 'again' WHERE id = 1")
    for _ in range(3):
        client.sync(server)
    server.forget_client(late.origin)
    server.execute("UPDATE note SET body = 'more' WHERE id = 1")
    for _ in range(3):
        client.sync(server)
    assert server.purge().tombstones == 1
    state = {"server": server, "calls": 0}

    with contextlib.ExitStack() as stack:

        def fetch(position, limit):
            state["calls"] += 1
            if position.cursor and state["server"] is server:
                server.close()
                overwrite(server.path, backup)
                state["server"] = stack.enter_context(csync.open(server.path))
            return state["server"].changes(position, limit)

        late.pull(csync.Remote(fetch=fetch, name=server.origin), batch_size=1)
        assert state["server"] is not server
        assert (900,) in late.execute("SELECT id FROM note")
        again = state["server"]
        late.sync(again)
        client.sync(again)
        late.sync(again)
        assert again.hash() == late.hash()
        assert (900,) in again.execute("SELECT id FROM note")


def test_a_table_that_the_server_no_longer_tracks_is_not_emptied_by_a_resync(replicas, sql):
    schema = NOTE + "; CREATE TABLE tag (id INTEGER PRIMARY KEY, name)"
    server, busy, late = replicas(schema, "note", "tag", count=3)
    put(server, 1, 2)
    server.execute("INSERT INTO tag VALUES (1, 'red'), (2, 'blue')")
    settle(server, busy, late)
    server.execute("DELETE FROM note WHERE id = 2")
    server.untrack("tag")
    busy.sync(server)
    grow_stale(server, late, sql)
    put(server, 3)
    for _ in range(3):
        busy.sync(server)
    assert server.purge().tombstones == 1
    assert late.sync(server).resyncs == 1
    assert late.execute("SELECT id FROM note ORDER BY id") == [(1,), (3,)]
    assert late.execute("SELECT name FROM tag ORDER BY id") == [("red",), ("blue",)]


def test_a_table_whose_rows_are_all_deleted_is_emptied_by_a_resync(replicas, sql):
    server, busy, late = replicas(NOTE, "note", count=3)
    put(server, 1, 2)
    settle(server, busy, late)
    server.execute("DELETE FROM note")
    busy.sync(server)
    grow_stale(server, late, sql)
    server.execute("INSERT INTO note VALUES (7, 'x', 0)")
    server.execute("DELETE FROM note")
    for _ in range(3):
        busy.sync(server)
    server.execute("INSERT INTO note VALUES (8, 'x', 0)")
    server.execute("DELETE FROM note")
    for _ in range(3):
        busy.sync(server)
    assert server.purge().tombstones >= 2
    assert late.sync(as_json(server)).resyncs == 1
    assert count_notes(late) == 0


def test_a_change_that_no_key_here_can_hold_travels_on_in_a_snapshot(replica):
    """The server's key is an integer, its clients' keys are texts."""
    server = replica("CREATE TABLE item (id INTEGER PRIMARY KEY, body)", "item")
    texts = "CREATE TABLE item (id TEXT PRIMARY KEY, body)"
    a, b = replica(texts, "item"), replica(texts, "item")
    a.execute("INSERT INTO item VALUES ('one', 'x')")
    for _ in range(3):
        a.sync(server)
    server.execute("INSERT INTO item VALUES (5, 'y')")
    for _ in range(3):
        a.sync(server)
    assert server.purge().entries > 0
    assert b.sync(server, batch_size=1).resyncs == 1
    assert b.execute("SELECT id FROM item ORDER BY id") == [("5",), ("one",)]


@pytest.mark.parametrize("strategy", ["client-wins", "server-wins"])
def test_a_push_of_many_batches_each_with_conflicts(notes, strategy):
    client, server = notes
    put(server, *range(1, 61))
    client.sync(server)
    client.execute("UPDATE note SET body = 'client'")
    server.execute("UPDATE note SET body = 'server'")
    result = client.push(server, strategy=strategy, batch_size=2)
    assert result.conflicts == 60
    rows = settle(server, client)
    assert {row[1] for row in rows} == {strategy.split("-")[0]}


def test_a_client_restored_from_a_backup_still_asks_its_resolver(replicas):
    server, client = replicas(NOTE, "note")
    put(client, 1)
    settle(server, client)
    backup = back_up(client)
    put(client, *range(2, 12))
    settle(server, client)
    with restored(client, backup) as again:
        again.execute("UPDATE note SET body = 'client' WHERE id = 1")
        server.execute("UPDATE note SET body = 'server' WHERE id = 1")
        asked = []

        def both(local, remote, base):
            asked.append(local.pk)
            return {"body": local.payload["body"] + "+" + remote.payload["body"]}

        again.sync(server, on_conflict=both)
        assert asked == [{"id": 1}]
        assert settle(server, again)[0] == (1, "client+server")


def test_all_heads_are_pushed_again_from_the_first_when_the_server_is_restored_meanwhile(replicas):
    server, client = replicas(NOTE, "note")
    put(client, 1)
    client.sync(server)
    older = back_up(server, "older.db")
    put(client, 2)
    client.sync(server)
    old = back_up(server, "old.db")
    put(client, *range(3, 41))
    client.sync(server)
    client.sync(server)
    assert client.purge().entries > 0
    server.close()
    overwrite(server.path, old)
    client.execute("UPDATE note SET votes = 1 WHERE id = 1")
    sent = []
    with contextlib.ExitStack() as stack:
        now = [stack.enter_context(csync.open(server.path))]

        def send(batch):
            sent.append(batch)
            if len(sent) == 4:
                now[0].close()
                overwrite(server.path, older)
                now[0] = stack.enter_context(csync.open(server.path))
            return now[0].apply(batch).outcomes

        client.push(csync.Remote(send=send, name=server.origin), batch_size=10)
        assert len(sent) > 5 and count_notes(now[0]) == 40


def test_an_edit_of_a_row_from_the_future_reaches_a_peer_that_never_saw_the_row(replicas, sql):
    """The row came from elsewhere, and its stamp was accepted there: the edit has to be above it."""
    ahead, client, server = replicas(NOTE, "note", count=3)
    sql(ahead.path, "UPDATE _sync_session SET clock = '2099-01-01T00:00:00.000Z'")
    put(ahead, 1)
    client.pull(ahead)
    client.execute("UPDATE note SET body = 'edited' WHERE id = 1")
    put(client, 2)
    client.sync(server)
    assert server.execute(ROWS) == [(1, "edited"), (2, "row 2")]


def test_a_row_from_the_future_that_one_peer_has_accepted_reaches_another(replicas, sql):
    client, friend, server = replicas(NOTE, "note", count=3)
    sql(client.path, "UPDATE _sync_session SET clock = '2099-01-01T00:00:00.000Z'")
    put(client, 1)
    friend.pull(client)
    client.pull(friend)
    put(client, 2)
    client.sync(server)
    assert [row[0] for row in server.execute(ROWS)] == [1, 2]


def test_the_same_key_with_other_changes_is_no_repetition(notes):
    _, server = notes
    for i in (1, 2):
        wire = json.loads(csync.Batch([change(i)], origin="peer").to_json())
        wire["idempotencyKey"] = "always the same"
        server.apply(csync.Batch.from_json(json.dumps(wire)))
    assert count_notes(server) == 2


def test_a_conflict_about_a_change_without_a_version_leaves_the_position_alone(notes):
    _, server = notes
    put(server, 1)
    wire = json.loads(csync.Batch([change(1, version=0)], origin="peer", to_version=3).to_json())
    wire["compare"] = True
    outcomes = server.apply(csync.Batch.from_json(json.dumps(wire))).outcomes
    assert [o.status for o in outcomes] == ["conflict"]
    assert outcomes.position == 0


def test_a_page_that_leads_back_ends_the_sync(notes):
    left, _ = notes
    positions = iter([5, 4] * 1000)
    calls = []

    def fetch(position, limit):
        calls.append(position)
        assert len(calls) < 100
        wire = {"changes": [], "fromVersion": int(position), "toVersion": next(positions), "hasMore": True, "epoch": "x"}
        if position.epoch:
            wire["fromEpoch"] = position.epoch
        return csync.Batch.from_json(json.dumps(wire))

    with pytest.raises(csync.ProtocolError):
        left.pull(csync.Remote(fetch=fetch))


def offline_delete(replicas, first):
    """A relay that has read `server` by `first`, a session, loses a row to its own client, and forgets that."""
    server, relay, client = replicas(NOTE, "note", count=3)
    put(server, 1, 2)
    first(relay, server)
    client.sync(relay)
    client.execute("DELETE FROM note WHERE id = 1")
    client.sync(relay)
    put(client, 3)
    for _ in range(3):
        client.sync(relay)
    return server, relay


def test_a_delete_is_not_forgotten_before_the_first_push_to_a_peer(replicas):
    server, relay = offline_delete(replicas, lambda relay, server: relay.sync(server))
    assert relay.purge().tombstones == 0
    assert [row[0] for row in settle(server, relay)] == [2, 3]


def test_a_delete_that_was_forgotten_before_the_first_push_is_made_again(replicas):
    """Who only pulls has promised nothing; what it says once it does push must not leave the two different."""
    server, relay = offline_delete(replicas, lambda relay, server: relay.pull(server))
    assert relay.purge().tombstones == 1
    assert [row[0] for row in settle(server, relay)] == [2, 3]
    assert [(c.strategy, c.loser.pk) for c in relay.conflicts()] == [("forgotten delete", {"id": 1})]


def test_a_delete_that_was_forgotten_is_made_again_also_where_the_answer_to_the_first_push_is_lost(replicas):
    server, relay = offline_delete(replicas, lambda relay, server: relay.pull(server))
    assert relay.purge().tombstones == 1

    def send(batch):
        server.apply(csync.Batch.from_json(batch.to_json()))
        raise Boom

    with pytest.raises(Boom):
        relay.push(csync.Remote(send=send, name=server.origin))
    assert [row[0] for row in settle(server, relay)] == [2, 3]


def test_a_delete_whose_first_push_did_not_arrive_is_not_lost(replicas):
    server, relay = offline_delete(replicas, lambda relay, server: relay.pull(server))

    def send(batch):
        raise Boom

    with pytest.raises(Boom):
        relay.push(csync.Remote(send=send, name=server.origin))
    assert relay.purge().tombstones == 1
    assert [row[0] for row in settle(server, relay)] == [2, 3]


def test_a_row_that_came_with_the_answer_to_a_push_is_given_back_to_a_restored_server(replicas):
    """No position says that the client has it: the client never asked the server for anything."""
    server, client, friend = replicas(NOTE, "note", count=3)
    backup = back_up(server)
    put(client, 1, body="client")
    put(server, 1, body="server")
    assert client.push(server, strategy="server-wins").conflicts == 1
    assert client.execute(ROWS) == [(1, "server 1")]
    with restored(server, backup) as again:
        put(again, 2)
        assert settle(again, client, friend) == [(1, "server 1"), (2, "row 2")]


def test_what_came_from_a_server_is_given_back_also_where_a_late_push_has_passed_it(replicas):
    """A push that was made before the restore leaves out what came from the server, and arrives after it."""
    server, client, friend = replicas(NOTE, "note", count=3)
    backup = back_up(server)
    put(server, 1)
    client.sync(friend)
    client.pull(server)
    put(client, 2)
    late = []
    with pytest.raises(Boom):

        def hold(batch):
            late.append(batch.to_json())
            raise Boom

        client.push(csync.Remote(send=hold, name=server.origin))
    with restored(server, backup) as again:
        again.apply(csync.Batch.from_json(late[0]))
        assert [row[0] for row in again.execute(ROWS)] == [2]
        put(again, 3)
        assert [row[0] for row in settle(again, client)] == [1, 2, 3]


def test_a_delete_that_a_leaf_got_and_forgot_is_not_undone_by_a_restored_server(replicas):
    server, leaf = replicas(NOTE, "note")
    put(leaf, 1, 2)
    put(server, 9)
    settle(server, leaf)
    backup = back_up(server)
    server.execute("DELETE FROM note WHERE id = 9")
    leaf.sync(server)
    leaf.sync(server)
    leaf.purge()
    with restored(server, backup) as again:
        leaf.sync(again)
        assert [row[0] for row in settle(again, leaf)] == [1, 2]


@pytest.mark.parametrize("strategy", ["last-write-wins", "custom"])
def test_pending_edits_of_a_file_that_was_moved_by_copying_still_meet_their_conflicts(conflict, strategy):
    """Restored to another file, or moved to another disk: a replica of its own, with edits that nobody has."""
    server, client = conflict
    client.close()
    moved = shutil.copy(client.path, client.path.parent / "moved.db")
    server.execute("UPDATE note SET body = 'later' WHERE id = 1")
    with csync.open(moved) as again:
        asked = []

        def both(local, remote, base):
            asked.append((local.payload["body"], remote.payload["body"]))
            return {"body": "both"}

        result = again.sync(server, **({"on_conflict": both} if strategy == "custom" else {}))
        assert result.conflicts == 1
        if strategy == "custom":
            assert asked == [("right", "later")]
            assert settle(server, again)[0] == (1, "both")
        assert "right" in [c.loser.payload["body"] for c in again.conflicts()]


def test_an_edit_on_top_of_a_pending_one_in_a_copied_file_still_meets_its_conflict(conflict):
    """The server's edit is older than the pending one, which nobody but the file had seen."""
    server, client = conflict
    client.close()
    moved = shutil.copy(client.path, client.path.parent / "moved.db")
    with csync.open(moved) as again:
        again.execute("UPDATE note SET votes = votes + 1")
        assert again.sync(server).conflicts == 1
        assert [c.loser.payload["body"] for c in again.conflicts()] == ["left"]


def test_an_edit_in_a_copied_file_has_seen_what_was_in_the_file(replicas):
    server, _ = replicas(NOTE, "note")
    put(server, 1)
    moved = shutil.copy(server.path, server.path.parent / "moved.db")
    with csync.open(moved) as copy:
        copy.execute("UPDATE note SET body = 'edited'")
        assert copy.sync(server, strategy="server-wins").conflicts == 0
        assert settle(server, copy) == [(1, "edited")]


@pytest.mark.parametrize("edited_at", [1, 2])
def test_an_edit_in_a_copy_of_a_copy_has_seen_what_was_in_the_first_file(replicas, edited_at):
    server, _ = replicas(NOTE, "note")
    put(server, 1)
    path = server.path
    for number in 1, 2:
        path = shutil.copy(path, server.path.parent / f"copy{number}.db")
        with csync.open(path) as copy:
            if edited_at == number:
                copy.execute("UPDATE note SET body = 'edited'")
    with csync.open(path) as copy:
        assert copy.sync(server, strategy="server-wins").conflicts == 0
        assert settle(server, copy) == [(1, "edited")]


@pytest.mark.parametrize("push_only", [False, True])
def test_an_edit_is_in_no_conflict_with_what_a_restored_server_has_brought_back(replicas, push_only):
    server, client = replicas(NOTE, "note")
    put(server, 1)
    settle(server, client)
    backup = back_up(server)
    server.execute("UPDATE note SET body = 'new' WHERE id = 1")
    settle(server, client)
    client.execute("UPDATE note SET body = body || ' and edited' WHERE id = 1")
    with restored(server, backup) as again:
        run = client.push if push_only else client.sync
        assert run(again, strategy="server-wins").conflicts == 0
        assert settle(again, client) == [(1, "new and edited")]


@pytest.mark.parametrize("tables", ['"note"', "[1]", '["note",]', '["note"', '[["note"]]', "{}", '["\\ud800"]'])
def test_what_is_no_list_of_tables_is_refused(tables):
    with pytest.raises(csync.InvalidValue):
        csync.Batch.from_json('{"changes":[],"fromVersion":0,"toVersion":0,"tables":' + tables + "}")


def test_a_list_of_tables_comes_back_as_it_was_written():
    text = '{"changes":[],"fromVersion":0,"toVersion":0,"hasMore":false,"tables":["no\\"te", "\\u00e4"]}'
    assert csync.Batch.from_json(csync.Batch.from_json(text).to_json()).to_json() == text


@pytest.mark.parametrize("use", ["changes", "suppressed", "track"])
def test_what_waits_for_a_column_enters_with_the_next_use_once_it_is_there(replica, sql, use):
    server = replica("CREATE TABLE note(id INTEGER PRIMARY KEY, body, extra)", "note")
    client = replica("CREATE TABLE note(id INTEGER PRIMARY KEY, body)", "note")
    server.execute("INSERT INTO note VALUES (1, 'row', 'extra')")
    client.sync(server)
    client.sync(server)
    assert len(client.parked()) == 1
    sql(client.path, "ALTER TABLE note ADD COLUMN extra")
    if use == "suppressed":
        with client.suppressed():
            pass
    else:
        client.changes() if use == "changes" else client.track("note")
    assert client.parked() == []
    assert client.execute("SELECT extra FROM note") == [("extra",)]


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(("strategy", "loser"), [("server-wins", "pending"), ("client-wins", "unseen")])
def test_a_push_of_what_a_copied_file_had_pending_is_compared_with_the_row_that_it_meets(conflict, strategy, loser, copies):
    """The server's row was edited after the file's pending edit was based on it, and before that edit: it is not
    overwritten by the later stamp alone."""
    server, client = conflict
    server.execute("UPDATE note SET body = 'unseen' WHERE id = 1")
    client.execute("UPDATE note SET body = 'pending' WHERE id = 1")
    path = client.path
    client.close()
    for number in range(copies):
        path = shutil.copy(path, path.parent / f"copy{number}.db")
        csync.open(path).close()
    with csync.open(path) as copy:
        assert copy.push(server, strategy=strategy).conflicts == 1
        assert [c.loser.payload["body"] for c in copy.conflicts()] == [loser]
        assert settle(server, copy)[0] == (1, {"pending": "unseen", "unseen": "pending"}[loser])


def test_rows_of_a_copied_file_from_before_csync_meet_their_conflicts(tmp_path):
    """Two files that had the row before csync came; one is copied before it was ever synced."""
    databases = []
    for name in ("server", "client"):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as plain, plain:
            plain.executescript(NOTE)
            plain.execute("INSERT INTO note(id, body) VALUES (1, ?)", [name])
        databases.append(csync.open(tmp_path / f"{name}.db"))
        databases[-1].track("note")
    server, client = databases
    client.close()
    asked = []

    def ours(local, remote, base):
        asked.append((local.payload["body"], remote.payload["body"], base))
        return local.payload

    with csync.open(shutil.copy(tmp_path / "client.db", tmp_path / "copy.db")) as copy:
        copy.sync(server, on_conflict=ours)
        assert asked == [("client", "server", None)]
        assert settle(server, copy)[0][:2] == (1, "client")
    server.close()


def test_what_a_file_writes_after_it_was_copied_is_not_its_copys(tmp_path):
    """Its versions begin where those of the copy do, whose log then held the rows from before csync."""
    with contextlib.closing(sqlite3.connect(tmp_path / "first.db")) as plain, plain:
        plain.executescript(NOTE)
        plain.executemany("INSERT INTO note(id, body) VALUES (?, 'old')", [(1,), (2,)])
    with csync.open(tmp_path / "first.db") as first:
        first.track("note")
    with (
        csync.open(shutil.copy(tmp_path / "first.db", tmp_path / "copy.db")) as copy,
        csync.open(tmp_path / "first.db") as first,
    ):
        copy.execute("UPDATE note SET body = 'copy' WHERE id = 1")
        first.execute("UPDATE note SET body = 'first' WHERE id = 1")
        asked = []
        copy.sync(first, on_conflict=lambda local, remote, base: asked.append(remote.payload["body"]) or local.payload)
        assert asked == ["first"]
