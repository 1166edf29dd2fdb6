"""Subscriptions from Python: iterators, event loops, Ctrl-C, threads, other processes."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import csync
from note_table import NOTE, in_background


@pytest.fixture(params=["WAL", "DELETE"])
def db(request, replica, sql):
    made = replica(f"PRAGMA journal_mode={request.param};" + NOTE, "note")
    assert sql(made.path, "PRAGMA journal_mode") == [(request.param.lower(),)]
    return made


def keys(changes):
    return [(change.operation, change.pk["id"]) for change in changes]


# ---- Another process


def test_a_change_of_another_process_reaches_the_iterator(db):
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    with db.subscribe("note") as feed:
        for statement, operation in (
            ("INSERT INTO note VALUES (1, 'a', 0)", "insert"),
            ("UPDATE note SET body = 'b'", "update"),
            ("DELETE FROM note", "delete"),
        ):
            other = subprocess.Popen([sys.executable, "-c", program, str(db.path), statement])
            change = next(feed)
            assert (change.table_name, change.operation, change.pk) == ("note", operation, {"id": 1})
            assert other.wait(60) == 0
            assert feed.version == change.version


def test_two_processes_that_subscribe_see_all_that_two_others_write(db):
    listen = """
        import csync, sys
        seen = set()
        with csync.open(sys.argv[1]) as db, db.subscribe("note") as feed:
            print("ready", flush=True)
            while len(seen) < 100 and (batch := feed.next(60)):
                seen.update(change.pk["id"] for change in batch)
        print(len(seen))
    """
    write = """
        import sqlite3, sys
        c = sqlite3.connect(sys.argv[1], timeout=60)
        for i in range(50):
            c.execute("INSERT INTO note VALUES (?, 'x', 0)", (int(sys.argv[2]) + i,))
            c.commit()
    """

    def start(program, *arguments):
        command = [sys.executable, "-c", textwrap.dedent(program), str(db.path), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    listeners = [start(listen), start(listen)]
    for listener in listeners:
        assert listener.stdout.readline() == "ready\n"
    writers = [start(write, "1000"), start(write, "2000")]
    for writer in writers:
        assert writer.communicate(timeout=60)[0] == ""
        assert writer.returncode == 0
    for listener in listeners:
        assert listener.communicate(timeout=60)[0] == "100\n"


# ---- next


def test_next_returns_a_batch_or_none(db, sql):
    with db.subscribe() as feed:
        started = time.monotonic()
        assert feed.next(0) is None
        assert feed.next(timeout=0.05) is None
        assert time.monotonic() - started < 5
        sql(db.path, "INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0)")
        batch = feed.next()
        assert keys(batch) == [("insert", 1), ("insert", 2)]
        assert batch.origin == db.origin
        assert batch.to_version == feed.version == db.state.max_version


def test_a_row_is_named_by_a_dict_or_by_json(db):
    with db.subscribe("note", {"id": 2}) as by_dict, db.subscribe("note", '{"id": 2}') as by_text:
        db.execute("INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0)")
        assert keys(by_dict.next(5)) == keys(by_text.next(5)) == [("insert", 2)]


def test_version_is_that_of_the_change_given_last_and_the_rest_is_not_lost(db):
    db.execute("INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0)")
    with db.subscribe(since=0) as feed:
        first = next(feed)
        assert feed.version == first.version < db.state.max_version
        assert keys(feed.next(0)) == [("insert", 2), ("insert", 3)]
        assert feed.version == db.state.max_version


# ---- Event loops


def test_closing_ends_an_async_iteration_and_a_cancelled_task_leaves_no_reader(db):
    async def main():
        async def listen(feed):
            async for change in feed:
                raise AssertionError(change)
            return "ended"

        feed = db.subscribe("note")
        task = asyncio.create_task(listen(feed))
        await asyncio.sleep(0.05)
        feed.close()
        assert await asyncio.wait_for(task, 20) == "ended"
        with db.subscribe("note") as feed:
            task = asyncio.create_task(listen(feed))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not asyncio.get_running_loop().remove_reader(feed.fileno())

    asyncio.run(main())


# ---- Threads and Ctrl-C


def test_closing_ends_an_iteration_of_another_thread(db):
    with db.subscribe("note") as feed:
        thread, results = in_background(lambda: list(feed))
        db.execute("INSERT INTO note VALUES (1, 'a', 0)")
        while feed.version < db.state.max_version:
            time.sleep(0.005)
        feed.close()
        thread.join()
        assert keys(results[0]) == [("insert", 1)]


def test_ctrl_c_ends_a_wait(db):
    program = """
        import csync, sys
        with csync.open(sys.argv[1]) as db, db.subscribe("note") as feed:
            print("ready", flush=True)
            try:
                next(feed)
            except KeyboardInterrupt:
                print("interrupted", feed.next(0), len(db.execute("SELECT * FROM _sync_subscriptions")))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(db.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        time.sleep(0.3)
        other.send_signal(signal.SIGINT)
        assert other.communicate(timeout=60)[0] == "interrupted None 1\n"


# ---- Its end


def test_after_close_everything_is_misuse_but_close(db):
    feed = db.subscribe("note")
    assert not feed.closed
    feed.close()
    feed.close()
    assert feed.closed
    assert "closed" in repr(feed)
    assert list(feed) == []
    for use in (lambda: feed.next(0), feed.fileno, lambda: feed.id, lambda: feed.version):
        with pytest.raises(csync.Misuse, match="closed"):
            use()
    assert db.execute("SELECT * FROM _sync_subscriptions") == []


def test_a_forgotten_one_warns_and_is_closed(db):
    with pytest.warns(ResourceWarning, match="unclosed subscription"):
        feed = db.subscribe("note")
        del feed
        gc.collect()


def test_silence_costs_no_time_and_no_write(db):
    with db.subscribe("note") as feed:
        assert feed.next(0.2) is None
        before, version = time.process_time(), db.execute("PRAGMA data_version")
        assert feed.next(1.5) is None
        assert time.process_time() - before < 0.03
        assert db.execute("PRAGMA data_version") == version
