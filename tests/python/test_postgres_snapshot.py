"""PostgreSQL: what the log does not lead on to comes as a snapshot, also after kill -9; and two processes that sync one
database with different peers at once."""

import signal
import subprocess
import sys
import textwrap

import pytest

import csync
import pg

NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, votes INTEGER)"
ROWS = 400
BATCH = 50


def url_of(db):
    return getattr(db, "url", None) or str(db.path)


def start(program, *arguments):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), *arguments])


def forget_deletes(server):
    """As if all clients had them; how many there were. The log's last entry stays, so it is none of them."""
    server.execute("UPDATE note SET votes = votes + 1 WHERE id = 100")
    server.register_client("somebody", server.state.max_version)
    return server.purge().tombstones


@pytest.fixture(params=["SQLite from PostgreSQL", "PostgreSQL from SQLite", "PostgreSQL from PostgreSQL"])
def make(request, replica, pg_replica):
    """make(): a server whose log is trimmed, with the rows that are left; and an empty reader."""
    reader_kind, server_kind = (pg_replica if name == "PostgreSQL" else replica for name in request.param.split(" from "))

    def make():
        server, reader = server_kind(NOTE, "note"), reader_kind(NOTE, "note")
        values = ",".join(f"({i}, 'body {i}', 0)" for i in range(1, ROWS + 6))
        server.execute(f"INSERT INTO note VALUES {values}")
        server.execute(f"DELETE FROM note WHERE id > {ROWS}")
        assert forget_deletes(server) == 5
        return server, reader

    return make


def notes(db):
    return db.execute("SELECT id, body FROM note ORDER BY id")


def in_step(*dbs):
    assert len({db.hash() for db in dbs}) == 1


# ---- snapshots


def test_a_new_replica_reads_a_trimmed_log_through_a_snapshot(make):
    server, reader = make()
    result = reader.sync(server, batch_size=BATCH)
    assert (result.resyncs, result.pulled, result.pushed) == (1, ROWS, 0)
    in_step(server, reader)
    assert reader.sync(server).pulled == 0


def test_what_was_deleted_and_forgotten_is_deleted_by_the_snapshot(make):
    """And what the reader made meanwhile stays."""
    server, reader = make()
    reader.sync(server)
    server.execute("DELETE FROM note WHERE id <= 3")
    server.forget_client(reader.origin)
    assert forget_deletes(server) == 3
    reader.execute("INSERT INTO note VALUES (1000, 'mine', 0)")
    assert reader.sync(server).resyncs == 1
    assert [row[0] for row in notes(reader)] == [*range(4, ROWS + 1), 1000]
    in_step(server, reader)


def test_a_snapshot_goes_on_where_its_process_was_killed(make):
    program = f"""
        import csync, os, signal, sys
        with csync.open(sys.argv[1]) as reader, csync.open(sys.argv[2]) as server:
            def die(progress):
                if progress.changes > {ROWS // 2}:
                    os.kill(os.getpid(), signal.SIGKILL)
            reader.pull(server, batch_size={BATCH}, progress=die)
    """
    server, reader = make()
    assert start(program, url_of(reader), url_of(server)).wait(120) == -signal.SIGKILL
    half = len(notes(reader))
    assert ROWS // 2 <= half < ROWS
    server.execute(f"UPDATE note SET body = 'meanwhile' WHERE id IN (3, {ROWS - 3})")
    server.execute("DELETE FROM note WHERE id = 5")
    result = reader.pull(server, batch_size=BATCH)
    assert result.pulled + result.duplicates <= ROWS - half + BATCH
    assert dict(notes(reader))[3] == dict(notes(reader))[ROWS - 3] == "meanwhile"
    in_step(server, reader)


# ---- two processes, one database


WORK = """
    import csync, sys
    own, shared, first, forward = sys.argv[1:]
    for i in range(12):
        with csync.open(own) as here, csync.open(shared, timeout=60) as there:
            here.execute(f"INSERT INTO note VALUES ({int(first) + i}, 'of {first}', 0)")
            here.execute(f"UPDATE note SET votes = votes + 1, body = '{first} {i}' WHERE id <= 3")
            here.execute(f"DELETE FROM note WHERE id = {int(first) + i - 5}")
            for _ in range(2):
                if forward == "1":
                    here.sync(there, batch_size=4)
                else:
                    there.sync(here, batch_size=4)
"""


@pytest.mark.parametrize("forward", ["1", "0"], ids=["peers call", "the database calls"])
def test_two_processes_sync_one_database_with_different_peers_at_once(replica, pg_replica, forward):
    db = pg_replica(NOTE + "; INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0)", "note")
    peers = [replica(NOTE, "note"), pg_replica(NOTE, "note")]
    for peer in peers:
        peer.sync(db)
    workers = [start(WORK, url_of(peer), db.url, str(1000 * n), forward) for n, peer in enumerate(peers, 1)]
    writer = pg.Session(db.url)
    for i in range(40):
        writer(f"INSERT INTO note VALUES ({3000 + i}, 'psql', 0)")
    writer.close()
    assert [worker.wait(200) for worker in workers] == [0, 0]
    for peer in [*peers, *peers]:
        peer.sync(db)
    left = {row[0] for row in notes(db)}
    expected = {1, 2, 3, *range(3000, 3040)} | {1000 * n + i for n in (1, 2) for i in range(7, 12)}
    assert left == expected
    assert all(body.split()[0] in ("1000", "2000") for id, body in notes(db) if id <= 3)
    assert [db.state.parked for db in (db, *peers)] == [0, 0, 0]
    in_step(db, *peers)
