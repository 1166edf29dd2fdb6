"""Subscriptions to a PostgreSQL database: told of whoever commits, and nothing is asked of the writers."""

import select
import subprocess
import sys
import textwrap
import time

import pytest

import csync
import pg
from note_table import NOTE

WRITER_TAG = "x'5359'::bigint"
CSYNC_WRITERS_LOCK = "SELECT pg_advisory_xact_lock(x'5358'::bigint<<48)"


@pytest.fixture
def db(pg_replica):
    return pg_replica(NOTE.replace("body,", "body TEXT,"), "note")


def keys(changes):
    return [(change.operation, change.pk["id"]) for change in changes]


def start(program, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# ---- other programs


def test_a_change_of_another_program_reaches_the_iterator(db):
    with db.subscribe("note") as feed:
        for statement, operation in (
            ("INSERT INTO note VALUES (1, 'a', 0)", "insert"),
            ("UPDATE note SET body = 'b'", "update"),
            ("DELETE FROM note", "delete"),
        ):
            db.sql(statement)
            change = next(feed)
            assert (change.table_name, change.operation, change.pk) == ("note", operation, {"id": 1})
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
    listeners = [start(listen, db.url), start(listen, db.url)]
    for listener in listeners:
        assert listener.stdout.readline() == "ready\n"
    writers = [db.more_sql(), db.more_sql()]
    for i in range(50):
        for n, writer in enumerate(writers):
            writer.send(f"INSERT INTO note VALUES ({1000 * n + i}, 'x', 0);")
    for writer in writers:
        assert [writer.answer() for _ in range(50)] == [[]] * 50
    for listener in listeners:
        assert listener.communicate(timeout=60)[0] == "100\n"


def test_what_commits_late_is_not_passed_over(db):
    slow = db.more_sql()
    with db.subscribe("note") as feed:
        slow("BEGIN; INSERT INTO note VALUES (1, 'a', 0)")
        db.sql("INSERT INTO note VALUES (2, 'b', 0)")
        assert feed.next(0.3) is None
        slow("COMMIT")
        assert keys([next(feed), next(feed)]) == [("insert", 1), ("insert", 2)]


def test_writers_that_never_pause_do_not_hold_it_up(db, tmp_path):
    db.sql("ALTER TABLE note ALTER id ADD GENERATED ALWAYS AS IDENTITY")
    script = tmp_path / "write.sql"
    script.write_text("INSERT INTO note(body, votes) VALUES ('x', 0);")
    with db.subscribe("note") as feed:
        command = [pg.programs() / "pgbench", "-n", "-c", "2", "-T", "5", "-f", script, db.url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as writers:
            batches = 0
            while writers.poll() is None:
                batches += feed.next(0) is not None
    assert batches > 2


def test_what_is_rolled_back_does_not_come_and_is_passed(db):
    with db.subscribe("note") as feed:
        db.sql("BEGIN; INSERT INTO note VALUES (1, 'a', 0)")
        assert feed.next(0.1) is None
        db.sql("ROLLBACK")
        assert feed.next(0.4) is None
        assert feed.version == db.state.max_version == 1


def test_what_a_push_brings_comes_with_its_origin(db, replica):
    other = replica(NOTE, "note")
    other.execute("INSERT INTO note VALUES (1, 'a', 0)")
    with db.subscribe("note") as feed:
        other.sync(db)
        change = next(feed)
        assert (change.pk, change.origin) == ({"id": 1}, other.origin)


def test_a_row_or_a_table_of_any_schema_is_all_that_comes(db):
    db.sql("CREATE SCHEMA shop; CREATE TABLE shop.item(id INTEGER PRIMARY KEY)")
    db.track("shop.item")
    with db.subscribe("note", {"id": 2}) as row, db.subscribe("shop.item") as table, db.subscribe() as all:
        db.sql("INSERT INTO note VALUES (1, 'a', 0), (2, 'b', 0); INSERT INTO shop.item VALUES (7)")
        assert keys(row.next(5)) == [("insert", 2)]
        assert keys(table.next(5)) == [("insert", 7)]
        assert keys(all.next(5)) == [("insert", 1), ("insert", 2), ("insert", 7)]


# ---- from where


def test_an_id_goes_on_after_kill_where_its_process_was(db):
    work = """
        import csync, os, signal, sys
        with csync.open(sys.argv[1]) as db, db.subscribe("note", id="worker") as feed:
            print("ready", flush=True)
            seen = 0
            while seen < 3:
                seen += len(feed.next(60))
            feed.next(0)                           # what came is handled
            print("handled", flush=True)
            feed.next(60)                          # and this is not
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with start(work, db.url) as worker:
        assert worker.stdout.readline() == "ready\n"
        db.sql("INSERT INTO note SELECT n, 'x', 0 FROM generate_series(1, 3) n")
        assert worker.stdout.readline() == "handled\n"
        db.sql("INSERT INTO note VALUES (4, 'x', 0)")
        assert worker.wait(60) == -9
    with db.subscribe("note", id="worker") as feed:
        assert keys(feed.next(5)) == [("insert", 4)]


def test_a_position_stays_good_while_a_writer_holds_the_log_back(db):
    """The horizon goes back when a transaction that read the log's end a while ago begins to write."""
    db.sql("INSERT INTO note VALUES (1, 'a', 0)")
    with db.subscribe(since=0, id="worker") as feed:
        assert len(feed.next(5)) == 1
        assert feed.next(0) is None
        version = feed.version
    db.sql(f"SELECT pg_advisory_lock_shared(({WRITER_TAG}<<48) | {version - 1})")
    assert db.state.max_version == version - 1
    with db.subscribe(since=version) as by_version, db.subscribe(id="worker") as by_id:
        assert by_version.next(0) is None
        assert by_id.next(0) is None
        assert by_version.version == by_id.version == version


def test_a_slow_subscriber_gets_a_row_once(db):
    with db.subscribe("note") as feed:
        db.sql("INSERT INTO note VALUES (1, 'x', 0), (2, 'x', 0)")
        for _ in range(20):
            db.sql("UPDATE note SET votes = votes + 1 WHERE id = 1")
        batch = feed.next(5)
        assert keys(batch) == [("insert", 2), ("update", 1)]
        assert batch[1].payload["votes"] == 20


def test_it_is_remembered_until_it_expires(db):
    def remembered():
        return db.sql("SELECT subscription_id FROM csync._sync_subscriptions ORDER BY 1")

    with db.subscribe() as feed:
        assert remembered() == [feed.id]
    assert remembered() == []
    db.subscribe(id="early").close()
    db.subscribe(id="late").close()
    assert remembered() == ["early", "late"]
    month = "csync._sync_time(csync._sync_wall() + 30 * 86400000::bigint - {})"
    (is_a_month,) = db.sql(
        f"SELECT expires_at BETWEEN {month.format(60000)} AND {month.format(0)} FROM csync._sync_subscriptions "
        "WHERE subscription_id = 'early'"
    )
    assert is_a_month == "t"
    db.sql("UPDATE csync._sync_subscriptions SET expires_at = csync._sync_time(csync._sync_wall() - 1) "
           "WHERE subscription_id = 'early'")
    db.subscribe().close()
    assert remembered() == ["late"]


# ---- waiting


def test_a_commit_of_this_handle_makes_it_readable_at_once(db):
    with db.subscribe("note") as feed:
        while feed.next(1):  # looked at ever more rarely
            pass
        db.execute("INSERT INTO note VALUES (1, 'a', 0)")
        assert select.select([feed], [], [], 0)[0]
        assert keys(feed.next(0)) == [("insert", 1)]


def test_a_writer_of_csync_that_is_long_at_work_is_no_failure(db):
    other = db.more_sql()
    with db.subscribe("note") as feed:
        other("BEGIN; " + CSYNC_WRITERS_LOCK)
        db.sql("INSERT INTO note VALUES (1, 'a', 0)")
        started = time.monotonic()
        assert feed.next(0) is None
        assert feed.next(0.2) is None
        assert time.monotonic() - started < 4  # the replica's own patience is 5 s
        other("COMMIT")
        assert keys(feed.next(5)) == [("insert", 1)]


def test_a_lost_connection_is_an_error(db):
    with db.subscribe("note") as feed:
        db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
               "current_database()")
        with pytest.raises(csync.DatabaseError):
            feed.next(5)


def test_silence_costs_little_time_and_no_write(db):
    with db.subscribe("note", id="worker") as feed:
        assert feed.next(1) is None
        written = db.sql("SELECT xmin FROM csync._sync_subscriptions")
        before = time.process_time()
        assert feed.next(1.5) is None
        assert time.process_time() - before < 0.05
        assert db.sql("SELECT xmin FROM csync._sync_subscriptions") == written
