"""csync.aio: syncs in an event loop that goes on meanwhile, and tasks that are cancelled."""

import asyncio
import contextlib
import sqlite3
import time

import pytest

import csync
from bad_network import Network
from note_table import NOTE, fill
from serving import serving
from test_protocol import put


@pytest.fixture
def running(pair):
    with serving(pair[0], rate=-1) as server:
        yield server


def test_sync_pull_push_and_verify_do_what_those_of_the_replica_do(pair, running):
    server, client = pair

    async def main():
        pulled = await csync.aio.pull(client, running.url)
        assert (pulled.pulled, pulled.pushed) == (3, 0)
        pushed = await csync.aio.push(client, running.url)
        assert (pushed.pulled, pushed.pushed) == (0, 1)
        server.execute("UPDATE note SET body = 'there' WHERE id = 1")
        both = await csync.aio.sync(client, running.url, batch_size=1)
        assert (both.pulled, both.pushed) == (1, 0)
        assert server.hash() == client.hash()
        with client.suppressed():
            client.execute("UPDATE note SET body = 'wrong' WHERE id = 2")
        assert (await csync.aio.verify(client, running.url)).found == 1
        assert (await csync.aio.verify(client, running.url, repair=True)).repaired == 1
        assert (await csync.aio.verify(client, running.url)).equal

    asyncio.run(main())
    assert server.hash() == client.hash()


def test_conflicts_and_progress_come_to_the_callers_functions(pair, running):
    server, client = pair
    client.sync(running.url)
    server.execute("UPDATE note SET body = 's' WHERE id = 1")
    client.execute("UPDATE note SET body = 'c' WHERE id = 1")
    seen = []
    merge = lambda local, remote, base: {**remote.payload, "body": local.payload["body"] + remote.payload["body"]}
    result = asyncio.run(csync.aio.sync(client, running.url, on_conflict=merge, progress=seen.append))
    assert result.conflicts == 1 and seen
    assert server.execute("SELECT body FROM note WHERE id = 1") == [("cs",)]

    def fail(*changes):
        raise LookupError("mine")

    server.execute("UPDATE note SET body = 's' WHERE id = 1")
    client.execute("UPDATE note SET body = 'c' WHERE id = 1")
    with pytest.raises(LookupError, match="mine"):
        asyncio.run(csync.aio.sync(client, running.url, on_conflict=fail))


def test_a_clock_that_is_wrong_is_corrected(pair, running, sql):
    server, client = pair
    sql(client.path, "UPDATE _sync_session SET clock = '2090-01-01T00:00:00.000Z', ticked = 1e99")
    client.execute("UPDATE note SET body = 'late' WHERE id = 7")
    asyncio.run(csync.aio.sync(client, running.url))
    assert server.hash() == client.hash()


def test_failures_are_those_of_the_replica(pair, replica, monkeypatch):
    server, client = pair
    monkeypatch.setattr("csync._peer.FIRST_WAIT", 0.0)
    with serving(server, grants=[csync.Grant("x" * 32)]) as running:
        for call in (csync.aio.sync, csync.aio.pull, csync.aio.push, csync.aio.verify):
            with pytest.raises(csync.AuthError):
                asyncio.run(call(client, running.url, token="y" * 32))
            with pytest.raises(csync.NetworkError, match="cannot be reached"):
                asyncio.run(call(client, "http://127.0.0.1:9"))
            with pytest.raises(csync.InvalidValue, match="with token="):
                asyncio.run(call(client, "http://me@127.0.0.1"))
            with pytest.raises(TypeError, match="URL"):
                asyncio.run(call(client, server))
        for options in ({"batch_size": 0}, {"strategy": "no"}):
            with pytest.raises(csync.InvalidValue):
                asyncio.run(csync.aio.sync(client, running.url, token="x" * 32, **options))
        with pytest.raises(csync.InvalidValue, match="limit"):
            asyncio.run(csync.aio.verify(client, running.url, limit=0))
    closed = replica(NOTE, "note")
    closed.close()
    with serving(server) as running, pytest.raises(csync.Misuse):
        asyncio.run(csync.aio.sync(closed, running.url))


def test_a_replica_of_an_open_connection_stays_on_its_thread(pair, running, database):
    with contextlib.closing(sqlite3.connect(database(NOTE))) as connection, csync.open(connection) as db:
        db.track("note")
        asyncio.run(csync.aio.sync(db, running.url))
        assert db.hash() == pair[0].hash()
        with pytest.raises(csync.Unsupported, match="db.verify"):
            asyncio.run(csync.aio.verify(db, running.url))


def test_syncs_of_many_replicas_run_at_a_time(replicas):
    server, *clients = replicas(NOTE, "note", count=6)
    for n, client in enumerate(clients):
        put(client, *range(100 * n, 100 * n + 20))

    async def main():
        for _ in range(2):
            await asyncio.gather(*(csync.aio.sync(client, running.url) for client in clients))

    with serving(server) as running:
        asyncio.run(main())
    assert {client.hash() for client in clients} == {server.hash()}


# ---- the loop goes on


async def ticks(waiting):
    """How often the loop came round, each time after ten milliseconds, until `waiting` was done."""
    task, count = asyncio.ensure_future(waiting), 0
    while not task.done():
        await asyncio.sleep(0.01)
        count += 1
    await task
    return count


@pytest.mark.alone
def test_the_loop_goes_on_while_the_network_is_slow(pair, running):
    with Network(running.url) as network:
        network.trickle = 0.001
        assert asyncio.run(ticks(csync.aio.sync(pair[1], network.url))) > 20
    assert pair[0].hash() == pair[1].hash()


@pytest.mark.alone
def test_the_loop_goes_on_while_the_database_is_locked(pair, running):
    async def main():
        with contextlib.closing(sqlite3.connect(pair[1].path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            loop.call_later(1.0, other.execute, "COMMIT")
            return await ticks(csync.aio.sync(pair[1], running.url))

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        assert runner.run(main()) > 20
    assert pair[0].hash() == pair[1].hash()


@pytest.mark.alone
def test_the_loop_goes_on_while_there_is_much_to_write(pair, running):
    fill(pair[0], 0)
    with contextlib.closing(sqlite3.connect(pair[0].path)) as connection, connection:
        rows = ((n, "x" * 200, 0) for n in range(100, 20100))
        connection.executemany("INSERT INTO note VALUES (?, ?, ?)", rows)

    async def main():
        longest, last = 0.0, time.thread_time()
        task = asyncio.ensure_future(csync.aio.sync(pair[1], running.url, batch_size=5000))
        while not task.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()
        await task
        return longest

    assert asyncio.run(main()) < 0.1  # of the thread's own time: its share of the machine is not in it
    assert pair[0].hash() == pair[1].hash()


# ---- cancelling


async def cancelled(waiting, after):
    """Whether it ended by that."""
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(after)
    task.cancel()
    began = time.monotonic()
    try:
        await task
    except asyncio.CancelledError:
        assert time.monotonic() - began < 2
        return True
    return False


@pytest.mark.parametrize("call", [csync.aio.sync, csync.aio.verify])
def test_a_task_that_waits_for_the_network_is_cancelled(pair, running, call):
    with Network(running.url) as network:
        asyncio.run(call(pair[1], network.url))
        network.silent = True
        assert asyncio.run(cancelled(call(pair[1], network.url), 0.3))
        network.silent = False
        asyncio.run(csync.aio.sync(pair[1], network.url))
    assert pair[0].hash() == pair[1].hash()


def test_a_verification_is_cancelled_while_its_thread_waits_for_a_digest(pair, running):
    asyncio.run(csync.aio.sync(pair[1], running.url))

    async def main():
        with Network(running.url) as network:
            network.trickle = 0.02
            task = asyncio.ensure_future(csync.aio.verify(pair[1], network.url))
            while network.up < 150:  # the question is asked, the answer trickles
                await asyncio.sleep(0.01)
            assert await cancelled(task, 0.1)

    asyncio.run(main())
    assert asyncio.run(csync.aio.verify(pair[1], running.url)).equal


def test_a_task_that_waits_for_the_database_is_cancelled(pair, running):
    with contextlib.closing(sqlite3.connect(pair[1].path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert asyncio.run(cancelled(csync.aio.sync(pair[1], running.url), 0.5))
        other.execute("COMMIT")
    assert pair[1].execute("SELECT count(*) FROM note") == [(1,)]
    asyncio.run(csync.aio.sync(pair[1], running.url))
    assert pair[0].hash() == pair[1].hash()


def test_a_task_that_is_cancelled_anywhere_leaves_whole_batches(pair, running):
    server, client = pair
    put(server, *range(100, 400))
    counts = {client.execute("SELECT count(*) FROM note")[0][0]}

    async def main():
        for n in range(60):
            if not await cancelled(csync.aio.sync(client, running.url, batch_size=50), n / 300):
                break
            counts.add(client.execute("SELECT count(*) FROM note")[0][0])
            assert client.execute("PRAGMA integrity_check") == [("ok",)]

    asyncio.run(main())
    asyncio.run(csync.aio.sync(client, running.url))
    assert server.hash() == client.hash()
    assert {count % 50 for count in counts - {304}} <= {1}, counts
