"""PostgreSQL: capture, and syncs with SQLite and with another PostgreSQL database."""

import threading

import pytest

import csync
import pg
from note_table import wait_a_moment

NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, rank INTEGER)"


def changes(db, since=0):
    return [(c.operation, c.pk, c.payload) for c in db.changes(since=since)]


def short(db, since=0):
    """Operation and first key value of each change."""
    return [(operation, next(iter(pk.values()))) for operation, pk, _ in changes(db, since)]


def in_step(*replicas):
    assert len({db.hash() for db in replicas}) == 1


# ---- capture


def log(db):
    return db.sql("SELECT operation||' '||(pk_value::json->>'id') FROM csync._sync_log ORDER BY version")


@pytest.mark.parametrize(
    "statement, logged",
    [
        ("INSERT INTO note VALUES (3,'c',0)", ["insert 3"]),
        ("INSERT INTO note SELECT n,'x',n FROM generate_series(3,5) n", ["insert 3", "insert 4", "insert 5"]),
        ("UPDATE note SET text='z' WHERE id=1", ["update 1"]),
        ("UPDATE note SET text='z' WHERE id=99", []),
        ("DELETE FROM note", ["delete 1", "delete 2"]),
        ("UPDATE note SET id=9 WHERE id=1", ["delete 1", "update 9"]),
        ("INSERT INTO note VALUES (1,'n',0),(3,'n',0) ON CONFLICT(id) DO UPDATE SET text='n'",
         ["update 1", "insert 3"]),
        ("\\copy note from program 'printf \"7\\tseven\\t7\\n\"'", ["insert 7"]),
        ("TRUNCATE note", ["delete 1", "delete 2"]),
        ("BEGIN; INSERT INTO note VALUES (3,'c',0); ROLLBACK", []),
    ],
)
def test_every_way_to_write_is_captured(pg_replica, statement, logged):
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'a',1),(2,'b',2)", "note")
    db.sql(statement)
    assert log(db) == logged


def test_swapped_keys_are_two_updates(pg_replica):
    db = pg_replica(
        "CREATE TABLE note(id int PRIMARY KEY DEFERRABLE, text text); INSERT INTO note VALUES (1,'a'),(2,'b')"
    )
    db.track("note")
    db.sql("UPDATE note SET id=3-id")
    assert sorted(log(db)) == ["update 1", "update 2"]


def test_what_a_cascade_deletes_is_captured(pg_replica):
    db = pg_replica(
        "CREATE TABLE p(id int PRIMARY KEY); CREATE TABLE c(id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);"
        "INSERT INTO p VALUES (1); INSERT INTO c VALUES (5,1)",
        "p", "c",
    )
    db.sql("DELETE FROM p")
    assert sorted(log(db)) == ["delete 1", "delete 5"]


def test_a_role_without_rights_on_the_log_is_captured(pg_replica):
    db = pg_replica(NOTES + "; CREATE ROLE cashier; GRANT INSERT ON note TO cashier", "note")
    db.sql("SET ROLE cashier")
    db.sql("INSERT INTO note VALUES (1,'a',1)")
    db.sql("RESET ROLE")
    assert log(db) == ["insert 1"]


def test_suppressed_writes_are_not_captured_and_others_are(pg_replica):
    db = pg_replica(NOTES, "note")
    with db.suppressed():
        db.execute("INSERT INTO note VALUES (1,'hidden',1)")
        db.sql("INSERT INTO note VALUES (2,'seen',2)")
    db.execute("INSERT INTO note VALUES ($1,$2,$3)", (3, "seen", None))
    assert log(db) == ["insert 2", "insert 3"]


def test_a_lost_trigger_is_repaired_and_what_it_missed_is_found(pg_replica):
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'a',1),(2,'b',2)", "note")
    db.changes()
    db.sql("DROP TRIGGER _sync_update ON note; DROP TRIGGER _sync_delete ON note")
    db.sql("UPDATE note SET text='changed' WHERE id=1; DELETE FROM note WHERE id=2")
    assert {1: "changed"} == {pk["id"]: row["text"] for _, pk, row in changes(db) if row}
    assert ("delete", 2) in short(db)


@pytest.mark.parametrize(
    "schema, error",
    [
        ("CREATE TABLE t(a int)", csync.SchemaError),
        ("CREATE TABLE t(a int PRIMARY KEY, m money)", csync.SchemaError),
        ("CREATE VIEW t AS SELECT 1 AS a", csync.SchemaError),
    ],
)
def test_tables_that_cannot_be_tracked_are_refused(pg_replica, schema, error):
    db = pg_replica(schema)
    with pytest.raises(error):
        db.track("t")


def test_names_are_exact(pg_replica, replica):
    db = pg_replica('CREATE SCHEMA "My"; CREATE TABLE "My"."No""te"("I d" int PRIMARY KEY, "T\'x" text)')
    other = replica('CREATE TABLE "My.No""te"("I d" INTEGER PRIMARY KEY, "T\'x" TEXT)', 'My.No"te')
    db.track('My.No"te')
    db.sql('INSERT INTO "My"."No""te" VALUES (1, \'it\'\'s\')')
    other.sync(db)
    in_step(other, db)
    with pytest.raises(csync.NotFound):
        db.track('my.no"te')


# ---- writers beside an apply


def test_an_edit_that_races_an_apply_is_not_lost(pg_replica, replica):
    """A local writer holds the row while the change of another replica, which is older, is applied."""
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'first',0)", "note")
    other = replica(NOTES, "note")
    other.sync(db)
    other.execute("UPDATE note SET text='theirs' WHERE id=1")
    writer = db.more_sql()
    writer("SELECT pg_sleep(0.01)")
    writer("BEGIN; UPDATE note SET text='ours' WHERE id=1")
    thread = threading.Thread(target=lambda: other.sync(db))
    thread.start()
    writer("SELECT pg_sleep(0.3)")
    writer("COMMIT")
    thread.join()
    other.sync(db)
    assert db.sql("SELECT text FROM note") == ["ours"]
    in_step(other, db)


# ---- syncs


def run(db, statement):
    for part in statement.split(";"):
        if part.strip():
            db.execute(part)


MAIL = "CREATE TABLE mail(id INTEGER PRIMARY KEY, address TEXT{}); {}"


def parked(db):
    return sorted((p.pk["id"], p.reason) for p in db.parked())


def test_a_row_that_an_untracked_tables_row_would_go_with_stays(pg_replica, replica):
    client = replica(MAIL.format(" UNIQUE", ""), "mail")
    server = pg_replica(MAIL.format(" UNIQUE", ""), "mail")
    run(client, "INSERT INTO mail VALUES (1,'ann')")
    client.sync(server)
    server.sql("CREATE TABLE letter(id int PRIMARY KEY, mail int REFERENCES mail(id) ON DELETE CASCADE)")
    server.sql("INSERT INTO letter VALUES (10,1)")
    client.execute("UPDATE mail SET address='bob' WHERE id=1")
    wait_a_moment()
    server.execute("INSERT INTO mail VALUES (2,'bob')")
    client.sync(server)
    assert parked(server) == [(1, "unique")]
    assert server.sql("SELECT id FROM letter") == ["10"]


def test_two_processes_share_a_database(pg_replica, replica):
    db, one, two = pg_replica(NOTES, "note"), replica(NOTES, "note"), replica(NOTES, "note")
    with csync.open(db.url) as second:
        one.execute("INSERT INTO note VALUES (1,'one',1)")
        two.execute("INSERT INTO note VALUES (2,'two',2)")
        one.sync(db)
        two.sync(second)
        one.sync(second)
    in_step(one, two, db)


def test_a_local_insert_after_an_apply_gets_a_new_number(pg_replica, replica):
    db = pg_replica("CREATE TABLE n(id serial PRIMARY KEY, t text); CREATE TABLE i(id int GENERATED ALWAYS AS "
                    "IDENTITY PRIMARY KEY, g text GENERATED ALWAYS AS ('x') STORED)", "n", "i")
    other = replica("CREATE TABLE n(id INTEGER PRIMARY KEY, t TEXT); CREATE TABLE i(id INTEGER PRIMARY KEY)",
                    "n", "i")
    other.execute("INSERT INTO n VALUES (7,'seven')")
    other.execute("INSERT INTO i VALUES (9)")
    other.sync(db)
    db.sql("INSERT INTO n(t) VALUES ('eight'); INSERT INTO i DEFAULT VALUES")
    assert db.sql("SELECT max(id) FROM n") == ["8"]
    assert db.sql("SELECT max(id) FROM i") == ["10"]


# ---- values


def test_text_from_elsewhere_is_never_sql(pg_replica, replica):
    evil = "x'); DROP TABLE note; --"
    db, other = pg_replica(NOTES, "note"), replica(NOTES, "note", origin="o-1")
    other.execute("INSERT INTO note VALUES (1,?,1)", (evil,))
    other.sync(db)
    with pytest.raises(csync.NotFound):
        db.track(evil)
    assert db.execute("SELECT text FROM note") == [(evil,)]


# ---- its name


def test_the_database_is_named_as_libpq_names_it(pg_replica, postgres, tmp_path, monkeypatch):
    db = pg_replica(NOTES, "note")
    (name,) = db.sql("SELECT current_database()")
    (tmp_path / "services").write_text(f"[notes]\nhost={postgres}\ndbname={name}\nuser=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for url in f"postgresql:host={postgres} dbname='{name}' user=postgres", "postgresql:service=notes":
        with csync.open(url) as again:
            assert again.origin == db.origin
    for key, value in {"PGHOST": postgres, "PGDATABASE": name, "PGUSER": "postgres"}.items():
        monkeypatch.setenv(key, str(value))
    with csync.open("postgresql:") as again:
        assert again.origin == db.origin
    with pytest.raises(csync.DatabaseError, match="connect"):
        csync.open("postgresql:service=unknown")


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(csync.Error, match="PostgreSQL"):
        csync.open(f"postgresql://nobody:geheim@/x?host={tmp_path}")
