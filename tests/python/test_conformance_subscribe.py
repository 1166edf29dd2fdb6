"""Conformance: subscriptions are the same on every kind of database, though they learn of commits in different ways."""

import asyncio
import select
import threading
import time

import pytest

import csync
from conformance import NOTES, World
from note_table import in_background


@pytest.fixture(params=["sqlite WAL", "sqlite DELETE", "pg"])
def db(request, replica, pg_replica, sql):
    kind, *mode = request.param.split()
    schema = {kind: f"PRAGMA journal_mode={mode[0]};{NOTES}" if mode else NOTES}
    return World(kind, replica, pg_replica, sql).replica(kind, schema, "note")


def keys(changes):
    return [(change.operation, change.pk["id"]) for change in changes]


def test_it_resumes_after_a_version_and_by_id(db):
    db.other("INSERT INTO note VALUES (1, 'a', 0)")
    with db.subscribe(since=0, id="worker") as feed:
        assert feed.id == "worker"
        assert keys(feed.next(0)) == [("insert", 1)]
        assert feed.next(0) is None
        version = feed.version
    db.execute("INSERT INTO note VALUES (2, 'b', 0)")
    with db.subscribe(since=version) as again, db.subscribe(id="worker") as worker:
        assert keys(again.next(0)) == keys(worker.next(0)) == [("insert", 2)]


def test_what_cannot_be_subscribed_to_is_refused(db):
    with pytest.raises(csync.NotFound):
        db.subscribe("nothing")
    with pytest.raises(csync.InvalidValue):
        db.subscribe("note", {"body": "a"})
    for since in (1000, -1):
        with pytest.raises(csync.InvalidValue):
            db.subscribe(since=since)
    with db.subscribe("note", id="worker"), pytest.raises(csync.InvalidValue, match="another table or row"):
        db.subscribe(id="worker")


def test_a_trimmed_log_asks_for_a_full_resync(db):
    db.other("INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0)")
    assert db.state.max_version == 3
    db.register_client("reader", 3)
    db.purge()
    with db.subscribe(since=1) as feed, pytest.raises(csync.FullResyncRequired) as error:
        feed.next(0)
    assert error.value.version == 2


def test_select_waits_for_it(db):
    with db.subscribe("note") as feed:
        while feed.next(0.02):
            pass
        threading.Timer(0.1, db.other, ("INSERT INTO note VALUES (1, 'a', 0)",)).start()
        while (batch := feed.next(0)) is None:
            assert select.select([feed], [], [], 10)[0]
        assert keys(batch) == [("insert", 1)]


def test_an_async_iterator_needs_no_thread(db):
    async def main():
        seen, threads = [], threading.active_count()

        async def listen():
            async for change in feed:
                seen.append(change.pk["id"])
                if len(seen) == 3:
                    return

        with db.subscribe("note") as feed:
            task = asyncio.create_task(listen())
            for i in range(3):
                await asyncio.sleep(0.03)
                db.other(f"INSERT INTO note VALUES ({i}, 'a', 0)")
            await asyncio.wait_for(task, 20)
            assert threading.active_count() == threads
        return seen

    assert asyncio.run(main()) == [0, 1, 2]


def test_others_use_the_replica_while_one_waits(db):
    with db.subscribe("note") as feed:
        thread, results = in_background(lambda: feed.next(30))
        time.sleep(0.05)
        assert db.execute("SELECT count(*) FROM note") == [(0,)]
        with pytest.raises(csync.BusyError):
            feed.next(0)
        db.execute("INSERT INTO note VALUES (1, 'a', 0)")
        thread.join()
        assert keys(results[0]) == [("insert", 1)]


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda db, feed: db.cancel(), csync.Cancelled),
        (lambda db, feed: db.close(), csync.Misuse),
        (lambda db, feed: feed.close(), csync.Misuse),
    ],
    ids=["cancel", "close the replica", "close the subscription"],
)
def test_a_wait_is_ended_by_another_thread(db, end, error):
    with db.subscribe("note") as feed:
        thread, results = in_background(feed.next)
        time.sleep(0.1)
        end(db, feed)
        thread.join()
        assert type(results[0]) is error
