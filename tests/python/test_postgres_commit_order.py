"""PostgreSQL: no commit is skipped, and no row's changes come in another order than they were made."""

import contextlib
import itertools
import os
import threading

import pg
import pytest
from pg_writers import SCHEMA, LogReader, Writers
from test_postgres import NOTES, in_step, short

import csync

SECONDS = {"quick": 4, "default": 8, "long": 60}[os.environ.get("CSYNC_TEST_PROFILE", "default")]
NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, rank INTEGER)"


@contextlib.contextmanager
def repeated(step):
    """Runs step(number) again and again in a thread of its own until the end of the block; what it raised comes out."""
    stop, failures = threading.Event(), []

    def work():
        try:
            for number in itertools.count(1):
                step(number)
                if stop.is_set():
                    return
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def test_nothing_is_missed_and_nothing_is_out_of_order_while_many_write(pg_replica, replica, tmp_path):
    """A puller reads, and another replica's rows, with keys below zero, come in beside the writers."""
    db = pg_replica(SCHEMA, "note")
    puller, pusher = replica(NOTE, "note"), replica(NOTE, "note")

    def push(number):
        pusher.execute("INSERT INTO note VALUES (?, 'pushed', 0)", (-number,))
        pusher.push(server)

    with csync.open(db.url, timeout=60) as server, csync.open(db.url, timeout=60) as source:
        with Writers(db.url, tmp_path, seconds=SECONDS) as writers:
            reader = LogReader(db)
            with repeated(push), repeated(lambda _: puller.pull(source)):
                while writers.at_work:
                    reader.poll()
                    pulled = puller.state.last_server_version
                writers.transactions()
    reader.poll()
    assert pulled > 0
    assert len(reader.entries) > 20 * SECONDS
    assert (reader.missed(), reader.out_of_order()) == (0, 0)
    for _ in range(2):
        pusher.sync(db)
        puller.sync(db)
    assert pusher.execute("SELECT count(*)>0 FROM note WHERE id<0") == [(1,)]
    assert puller.parked() == pusher.parked() == db.parked() == []
    in_step(db, puller, pusher)


def test_a_reader_without_the_horizon_misses_some(pg_replica, tmp_path):
    """What the test above would not see if it could not fail."""
    db = pg_replica(SCHEMA, "note")
    with Writers(db.url, tmp_path, seconds=3) as writers:
        reader = LogReader(db, "csync._sync_last()")
        while writers.at_work:
            reader.poll()
        writers.transactions()
        reader.poll()
    assert reader.missed() > 0


def test_a_version_that_commits_late_is_not_missed(pg_replica, replica):
    db, other = pg_replica(NOTES, "note"), replica(NOTES, "note")
    late = db.more_sql()
    late("BEGIN")
    late("INSERT INTO note VALUES (1,'late',1)")
    db.sql("INSERT INTO note VALUES (2,'early',2)")
    other.sync(db)
    assert other.execute("SELECT count(*) FROM note") == [(0,)]
    late("COMMIT")
    other.sync(db)
    assert [row[0] for row in other.execute("SELECT text FROM note ORDER BY id")] == ["late", "early"]
    in_step(other, db)


def test_the_lock_survives_a_savepoint_that_is_rolled_back(pg_replica):
    db = pg_replica(NOTES, "note")
    late = db.more_sql()
    late("BEGIN; SAVEPOINT s; INSERT INTO note VALUES (1,'x',1); ROLLBACK TO s; INSERT INTO note VALUES (2,'y',2)")
    db.sql("INSERT INTO note VALUES (3,'z',3)")
    assert short(db) == []
    late("COMMIT")
    assert sorted(short(db)) == [("insert", 2), ("insert", 3)]


def test_a_prepared_transaction_holds_the_feed_back(pg_replica, replica):
    """Nobody's session holds its lock any more."""
    db, other = pg_replica(NOTES, "note"), replica(NOTES, "note")
    db.sql("BEGIN; INSERT INTO note VALUES (1,'prepared',1); PREPARE TRANSACTION 'both'")
    db.sql("INSERT INTO note VALUES (2,'later',2)")
    other.sync(db)
    assert other.execute("SELECT id FROM note") == []
    db.sql("COMMIT PREPARED 'both'")
    other.sync(db)
    in_step(other, db)


def test_a_long_log_is_read_entry_by_entry(pg_replica, replica):
    """Of a database without statistics too: a bad plan read all heads for each entry, seconds for a page."""
    db = pg_replica("CREATE TABLE note(id int PRIMARY KEY, text text, rank int)", "note")
    for rank in range(8):
        db.sql(f"INSERT INTO note SELECT n,'x',{rank} FROM generate_series(1,1000) n ON CONFLICT(id) DO UPDATE SET rank={rank}")
    other = replica(NOTES, "note")
    with csync.open(f"{db.url}&options=-c%20statement_timeout%3D1500") as hurried:
        other.pull(hurried)
    in_step(other, db)
