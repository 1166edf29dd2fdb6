"""PostgreSQL: what holds the feed back is named, and its locks are tested before anybody relies on them."""

import pg
import pytest
from test_postgres import NOTES, short

import csync


def test_nothing_holds_the_log_back(pg_replica, replica):
    for db in pg_replica(NOTES, "note"), replica(NOTES, "note"):
        db.execute("INSERT INTO note VALUES (1,'a',1)")
        assert db.lag() == []


def test_an_open_transaction_is_named_with_what_waits_for_it(pg_replica):
    db = pg_replica(NOTES, "note")
    late = db.more_sql()
    late("SET application_name='nightly report'")
    late("BEGIN; INSERT INTO note VALUES (1,'late',1)")
    assert [(h.version, h.waiting) for h in db.lag()] == [(0, 1)]
    db.sql("INSERT INTO note VALUES (2,'b',2),(3,'c',3); SELECT pg_sleep(1)")
    (holder,) = db.lag()
    assert (holder.user, holder.application, holder.state) == ("postgres", "nightly report", "idle in transaction")
    assert late("SELECT pg_backend_pid()") == [str(holder.pid)]
    assert holder.seconds >= 1 and (holder.version, holder.waiting) == (0, 3)
    assert short(db) == []
    late("COMMIT")
    assert db.lag() == [] and len(short(db)) == 3


def test_of_several_the_one_that_holds_back_most_comes_first(pg_replica):
    db = pg_replica(NOTES, "note")
    first, second = db.more_sql(), db.more_sql()
    first("BEGIN; INSERT INTO note VALUES (1,'a',1)")
    second("BEGIN; INSERT INTO note VALUES (2,'b',1)")
    assert [(h.version, h.waiting) for h in db.lag()] == [(0, 2), (1, 1)]


def test_a_prepared_transaction_is_named(pg_replica):
    db = pg_replica(NOTES, "note")
    db.sql("BEGIN; INSERT INTO note VALUES (1,'prepared',1); PREPARE TRANSACTION 'transfer 7'")
    (holder,) = db.lag()
    assert (holder.pid, holder.user, holder.application, holder.state) == (0, "postgres", "transfer 7", "prepared")
    db.sql("ROLLBACK PREPARED 'transfer 7'")
    assert db.lag() == []


def test_it_answers_while_another_of_csyncs_writers_is_at_work(pg_replica):
    db = pg_replica(NOTES, "note")
    db.sql("BEGIN; SELECT pg_advisory_xact_lock(x'5358'::bigint<<48); INSERT INTO note VALUES (1,'a',1)")
    assert [h.waiting for h in db.lag()] == [1]
    db.sql("ROLLBACK")


BLIND = """
CREATE FUNCTION blind() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS(SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity='csync._sync_last()') THEN
    CREATE OR REPLACE VIEW csync._sync_marks AS SELECT pid, virtualtransaction, 0::bigint AS mark FROM pg_locks WHERE false;
  END IF; END $$;
CREATE EVENT TRIGGER blind ON ddl_command_end EXECUTE FUNCTION blind()
"""


def test_a_server_whose_locks_are_not_seen_is_refused(pg_replica):
    db = pg_replica()
    db.close()
    db.sql("DROP SCHEMA csync CASCADE")
    db.sql(BLIND.strip())
    with pytest.raises(csync.Unsupported, match="advisory locks"):
        csync.open(db.url)
    assert db.sql("SELECT count(*) FROM pg_namespace WHERE nspname='csync'") == ["0"]
