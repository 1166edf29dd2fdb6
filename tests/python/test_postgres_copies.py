"""A copied PostgreSQL database is a replica of its own; one that was restored in its place is not."""

import contextlib
import itertools
import subprocess
import time

import pytest

import csync
import pg

NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, votes INTEGER)"
_numbers = itertools.count(1)


def put(db, *ids, body="text"):
    for id in ids:
        db.execute(f"INSERT INTO note VALUES ({id}, '{body}', 0)")


def settle(*dbs):
    """Syncs until all are in step; their rows."""
    for _ in range(3):
        for db in dbs[1:]:
            db.sync(dbs[0])
    assert len({db.hash() for db in dbs}) == 1
    return dbs[0].execute("SELECT id, body FROM note ORDER BY id")


def do(home, statement, database="postgres"):
    with contextlib.closing(pg.Session(pg.url(home, database))) as session:
        return session(statement)


def name_of(db):
    return db.url.partition("?")[0].rpartition("/")[2]


def leave(db):
    """Nobody is connected to the database any more."""
    db.close()
    db.sql.close()


def by_template(home, db):
    name = f"copy{next(_numbers)}"
    leave(db)
    do(home, f"CREATE DATABASE {name} TEMPLATE {name_of(db)}")
    return pg.url(home, name)


def dump(db, path):
    subprocess.run([pg.programs() / "pg_dump", "-Fc", "-f", path, db.url], check=True)
    return path


def restore(path, url, *options):
    subprocess.run([pg.programs() / "pg_restore", *options, "-d", url, path], check=True)


def by_dump(home, db):
    name = f"copy{next(_numbers)}"
    do(home, f"CREATE DATABASE {name}")
    restore(dump(db, home / f"{name}.dump"), pg.url(home, name))
    return pg.url(home, name)


@pytest.mark.parametrize("copy", [by_template, by_dump])
def test_a_copied_database_is_a_replica_of_its_own(postgres, pg_replica, replica, copy):
    server, original = replica(NOTE, "note"), pg_replica(NOTE, "note")
    put(original, 1)
    settle(server, original)
    put(original, 2)
    url = copy(postgres, original)
    with csync.open(url) as copied, csync.open(original.url) as original:
        assert copied.origin != original.origin
        put(copied, 3, body="copy")
        put(original, 3, body="original")
        original.execute("UPDATE note SET body = 'both' WHERE id = 1")
        rows = settle(server, original, copied)
        assert [row[0] for row in rows] == [1, 2, 3] and rows[0][1] == "both"
        assert copied.sync(original).conflicts == 0
    with csync.open(url) as again:
        assert again.origin == copied.origin


def test_a_dump_that_is_restored_on_another_server_is_a_replica_of_its_own(pg_replica):
    original = pg_replica(NOTE, "note")
    put(original, 1)
    with pg.server() as elsewhere:
        url = by_dump(elsewhere, original)
        with csync.open(url) as copied:
            assert copied.origin != original.origin
            put(copied, 2)
            put(original, 3)
            assert [row[0] for row in settle(original, copied)] == [1, 2, 3]


def test_what_another_program_wrote_to_the_copy_before_csync_is_not_lost(postgres, pg_replica):
    original = pg_replica(NOTE, "note")
    put(original, 1)
    url = by_template(postgres, original)
    with contextlib.closing(pg.Session(url)) as session:
        session("INSERT INTO note VALUES (2, 'text', 0); DELETE FROM note WHERE id = 1")
    with csync.open(url) as copied, csync.open(original.url) as original:
        put(original, 3)
        assert settle(original, copied) == [(2, "text"), (3, "text")]


def test_a_renamed_database_stays_the_same_replica(postgres, pg_replica):
    db = pg_replica(NOTE, "note")
    leave(db)
    do(postgres, f"ALTER DATABASE {name_of(db)} RENAME TO renamed")
    with csync.open(pg.url(postgres, "renamed")) as again:
        assert again.origin == db.origin


def test_a_copy_keeps_its_origin_for_whoever_insists(postgres, pg_replica):
    db = pg_replica(NOTE, "note")
    url = by_template(postgres, db)
    with csync.open(url, origin=db.origin) as again:
        assert again.origin == db.origin
    with csync.open(url) as again:
        assert again.origin == db.origin


def test_a_backup_that_is_restored_in_its_place_is_the_same_replica_and_gets_back_what_its_clients_have(
    pg_replica, replica, tmp_path
):
    server, client = pg_replica(NOTE, "note"), replica(NOTE, "note")
    put(server, 1)
    settle(server, client)
    backup = dump(server, tmp_path / "backup")
    put(server, 2)
    put(client, 3)
    settle(server, client)
    server.close()
    restore(backup, server.url, "--clean", "--if-exists")
    with csync.open(server.url) as again:
        assert again.origin == server.origin
        assert again.execute("SELECT count(*) FROM note") == [(1,)]
        assert [row[0] for row in settle(again, client)] == [1, 2, 3]


def test_a_role_that_may_not_know_the_cluster_tells_copies_all_the_same(postgres):
    do(postgres, "CREATE ROLE archivist LOGIN")
    do(postgres, "CREATE DATABASE archivists OWNER archivist")
    do(postgres, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", "archivists")
    url = pg.url(postgres, "archivists")
    with csync.open(url.replace("//postgres@", "//archivist@")) as by_archivist, csync.open(url) as by_admin:
        assert by_archivist.origin == by_admin.origin
    do(postgres, "CREATE DATABASE archivists2 TEMPLATE archivists")
    with csync.open(pg.url(postgres, "archivists2").replace("//postgres@", "//archivist@")) as copied:
        assert copied.origin != by_archivist.origin


# ---- what was pending in it


@pytest.fixture
def pending(replica, pg_replica):
    """A server and a client that edited the same row; the server first."""
    server, client = replica(NOTE, "note"), pg_replica(NOTE, "note")
    put(server, 1, body="start")
    client.sync(server)
    server.execute("UPDATE note SET body = 'left', votes = 5")
    time.sleep(0.005)
    client.execute("UPDATE note SET body = 'right', votes = 7")
    return server, client


def test_pending_edits_of_a_copy_still_meet_their_conflicts(postgres, pending):
    server, client = pending
    with csync.open(by_template(postgres, client)) as copied:
        asked = []

        def both(local, remote, base):
            asked.append((local.payload["body"], remote.payload["body"]))
            return {"body": "both"}

        assert copied.sync(server, on_conflict=both).conflicts == 1
        assert asked == [("right", "left")]
        assert settle(server, copied) == [(1, "both")]


def test_an_edit_on_top_of_a_pending_one_in_a_copy_still_meets_its_conflict(postgres, pending):
    server, client = pending
    with csync.open(by_template(postgres, client)) as copied:
        copied.execute("UPDATE note SET votes = votes + 1")
        assert copied.sync(server).conflicts == 1
        assert [conflict.loser.payload["body"] for conflict in copied.conflicts()] == ["left"]


def test_an_edit_in_a_copy_has_seen_what_was_in_the_database(postgres, pg_replica):
    server = pg_replica(NOTE, "note")
    put(server, 1)
    url = by_template(postgres, server)
    with csync.open(url) as copied, csync.open(server.url) as server:
        copied.execute("UPDATE note SET body = 'edited'")
        assert copied.sync(server, strategy="server-wins").conflicts == 0
        assert settle(server, copied) == [(1, "edited")]


def test_an_edit_in_a_copy_beats_what_it_saw(postgres, pg_replica):
    """Whichever of the two origins is the lower one: they are random."""
    server = pg_replica(NOTE, "note")
    put(server, 1)
    server.changes()
    do(postgres, "UPDATE csync._sync_session SET clock = csync._sync_wall() + 3600000", name_of(server))
    server.execute("UPDATE note SET body = 'an hour ahead'")
    copies = [by_template(postgres, server) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        original = stack.enter_context(csync.open(server.url))
        for url in copies:
            copied = stack.enter_context(csync.open(url))
            copied.execute("UPDATE note SET body = 'edited'")
            (edit,) = copied.changes()
            assert edit.timestamp > original.changes()[-1].timestamp
