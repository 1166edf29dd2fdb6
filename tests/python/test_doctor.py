"""db.doctor(): what is wrong with a database is said with what helps, and nothing is said where all is well."""

import pytest
from note_table import NOTE
from test_postgres import NOTES

import csync


def said(db, *levels):
    """Subjects of what is said of these levels, but for the test server's own setting."""
    return [a.subject for a in db.doctor() if a.level in (levels or ("error", "warning")) and a.subject != "fsync"]


def the(db, subject):
    (advice,) = [a for a in db.doctor() if a.subject == subject]
    return advice


def test_a_healthy_database_hears_what_it_is(replica, pg_replica):
    for db, name in (replica(NOTE, "note"), "SQLite 3."), (pg_replica(NOTES, "note"), "PostgreSQL "):
        assert said(db) == []
        assert any(a.level == "info" and a.text.startswith(name) for a in db.doctor())


def test_it_changes_nothing(replica, pg_replica):
    for db in replica(NOTE, "note"), pg_replica(NOTES, "note"):
        db.execute("INSERT INTO note VALUES (1,'a',1)")
        before = db.hash(), db.state
        db.doctor()
        assert (db.hash(), db.state) == before


def test_a_tracked_table_that_is_gone_is_named(replica, pg_replica, sql):
    left, right = replica(NOTE, "note"), pg_replica(NOTES, "note")
    sql(left.path, "DROP TABLE note")
    right.sql("DROP TABLE note")
    for db in left, right:
        assert said(db, "error") == ["table note"]
        assert "untrack" in the(db, "table note").help


def test_what_waits_is_counted(replica, pg_replica):
    for strict in (
        replica(NOTES.replace("text TEXT", "text TEXT CHECK (text <> 'b')"), "note"),
        pg_replica(NOTES + "; ALTER TABLE note ADD CHECK (text <> 'b')", "note"),
    ):
        lax = replica(NOTES, "note")
        lax.execute("INSERT INTO note VALUES (1,'a',1), (2,'b',1)")
        strict.sync(lax)
        assert the(strict, "parked").text.startswith("1 change")


def test_rows_without_a_parent_are_counted_by_table(replica, sql):
    db = replica(
        "CREATE TABLE folder (id INTEGER PRIMARY KEY);"
        "CREATE TABLE doc (id INTEGER PRIMARY KEY, folder INTEGER REFERENCES folder)",
        "folder",
        "doc",
    )
    sql(db.path, "PRAGMA foreign_keys = OFF; INSERT INTO doc VALUES (1, 9), (2, 9), (3, NULL)")
    advice = the(db, "table doc")
    assert advice.level == "warning" and advice.text.startswith("2 rows refer to a row of folder")


def test_a_damaged_file_is_found(replica, sql):
    db = replica(NOTE, "note")
    sql(db.path, "CREATE INDEX votes ON note (votes); INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2)")
    sql(
        db.path,
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'note') WHERE name = 'votes'",
    )
    assert "integrity" in said(db, "error")


def test_a_trigger_that_is_switched_off_is_found_with_what_switches_it_on(pg_replica):
    db = pg_replica(NOTES, "note")
    db.sql("ALTER TABLE note DISABLE TRIGGER _sync_insert")
    advice = the(db, "table note")
    assert advice.level == "error" and "not captured" in advice.text
    db.sql(advice.help)
    assert said(db) == []


SETTINGS = [
    ("synchronous_commit", "off", "warning"),
    ("session_replication_role", "replica", "error"),
    ("idle_in_transaction_session_timeout", "0", "info"),
]


@pytest.mark.parametrize("name,value,level", SETTINGS)
def test_a_setting_that_loses_changes_is_named_with_what_mends_it(pg_replica, name, value, level):
    db = pg_replica(NOTES, "note")
    (database,) = db.sql("SELECT current_database()")
    db.sql(f"ALTER DATABASE {database} SET {name} = '{value}'")
    with csync.open(db.url) as again:
        advice = the(again, name)
        assert advice.level == level
        db.sql(advice.help)
    with csync.open(db.url) as again:
        assert name not in said(again, level)


def test_who_holds_changes_back_is_named_with_what_ends_it(pg_replica):
    db = pg_replica(NOTES, "note")
    late = db.more_sql()
    late("BEGIN; INSERT INTO note VALUES (1,'late',1)")
    advice = the(db, "held back")
    assert advice.level == "info" and "holds 1 versions back" in advice.text  # from a minute on it is a warning
    db.sql(advice.help)
    assert "held back" not in said(db, "info", "warning")
    db.sql("BEGIN; INSERT INTO note VALUES (1,'prepared',1); PREPARE TRANSACTION 'transfer 8'")
    assert "ROLLBACK PREPARED 'transfer 8'" in the(db, "held back").help
    db.sql("ROLLBACK PREPARED 'transfer 8'")
