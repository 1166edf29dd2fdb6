"""PostgreSQL: what is captured when the application does what capture was not made for."""

import pytest
from test_postgres import NOTES, in_step, log, short

import csync

PARTED = """
CREATE TABLE note(id int, text text, rank int, PRIMARY KEY(id)) PARTITION BY RANGE(id);
CREATE TABLE note_low PARTITION OF note FOR VALUES FROM (0) TO (10);
CREATE TABLE note_high(rank int, text text, id int NOT NULL);
ALTER TABLE note ATTACH PARTITION note_high FOR VALUES FROM (10) TO (20);
INSERT INTO note VALUES (1,'low',1),(11,'high',1)
"""


def rows(db, columns="*"):
    return [tuple(row) for row in db.execute(f"SELECT {columns} FROM note ORDER BY id")]


def synced(other, *dbs):
    for _ in range(2):
        for db in dbs:
            other.sync(db)
    in_step(other, *dbs)


# ---- partitions


def test_a_partitioned_table_is_one_table(pg_replica, replica):
    db, other = pg_replica(PARTED, "note"), replica(NOTES, "note")
    synced(other, db)
    db.sql("INSERT INTO note VALUES (2,'root',0),(12,'root',0)")
    db.sql("INSERT INTO note_low VALUES (3,'leaf',0); INSERT INTO note_high VALUES (0,'leaf',13)")
    assert log(db)[-4:] == ["insert 2", "insert 12", "insert 3", "insert 13"]
    db.sql("UPDATE note SET text='moved', id=id+14 WHERE id IN (2,3); UPDATE note_high SET rank=7 WHERE id=13")
    db.sql("DELETE FROM note WHERE id=1; DELETE FROM note_high WHERE id=11")
    synced(other, db)
    assert rows(other) == [(12, "root", 0), (13, "leaf", 7), (16, "moved", 0), (17, "moved", 0)]
    other.execute("UPDATE note SET text='from SQLite' WHERE id=12")
    other.execute("INSERT INTO note VALUES (4,'from SQLite',0)")
    synced(other, db)
    assert db.sql("SELECT id FROM note_low") == ["4"]
    assert db.sql("SELECT text FROM note_high WHERE id=12") == ["from SQLite"]
    db.sql("TRUNCATE note_high")
    assert sorted(log(db)[-4:]) == ["delete 12", "delete 13", "delete 16", "delete 17"]
    db.sql("TRUNCATE note")
    assert log(db)[-1] == "delete 4"
    synced(other, db)
    assert rows(other) == []


def test_partitions_that_come_and_go_are_followed(pg_replica, replica):
    db, other = pg_replica(PARTED, "note"), replica(NOTES, "note")
    db.sql("CREATE TABLE note_30(id int NOT NULL PRIMARY KEY, text text, rank int)")
    synced(other, db)
    before = len(log(db))
    db.sql("INSERT INTO note_30 VALUES (31,'before',0); ALTER TABLE note ATTACH PARTITION note_30 FOR VALUES FROM (30) TO (40)")
    db.sql("INSERT INTO note_30 VALUES (32,'leaf',0); INSERT INTO note VALUES (33,'root',0)")
    synced(other, db)
    assert [row[0] for row in rows(other)] == [1, 11, 31, 32, 33]
    db.sql("INSERT INTO note_30 VALUES (34,'leaf',0)")
    assert log(db)[-1] == "insert 34"
    db.sql("ALTER TABLE note DETACH PARTITION note_30; INSERT INTO note_30 VALUES (35,'detached',0)")
    db.sql("DROP TABLE note_low")
    assert log(db)[-1] == "insert 34"
    synced(other, db)
    assert [row[0] for row in rows(other)] == [11]
    assert len([entry for entry in log(db)[before:] if entry == "update 11"]) == 0
    db.sql("INSERT INTO note_30 VALUES (36,'detached',0)")
    assert db.sql("SELECT count(*) FROM pg_trigger WHERE tgrelid='note_30'::regclass") == ["0"]


def test_a_partition_is_tracked_through_its_root_and_inheritance_not_at_all(pg_replica):
    db = pg_replica(PARTED + "; CREATE TABLE old(id int PRIMARY KEY); CREATE TABLE older() INHERITS (old)")
    with pytest.raises(csync.SchemaError, match='track "note"'):
        db.track("note_low")
    for name in "old", "older":
        with pytest.raises(csync.SchemaError, match="inherit"):
            db.track(name)


def test_rows_refer_to_a_partitioned_table(pg_replica, replica):
    schema = PARTED + "; CREATE TABLE tag(id int PRIMARY KEY, note int REFERENCES note ON DELETE CASCADE)"
    db, twin = pg_replica(schema, "note", "tag"), pg_replica(schema, "note", "tag")
    db.sql("INSERT INTO tag VALUES (5,1),(6,11)")
    hub = replica(NOTES + "; CREATE TABLE tag(id INTEGER PRIMARY KEY, note INTEGER)", "note", "tag")
    synced(hub, db, twin)
    db.sql("DELETE FROM note WHERE id=1")
    synced(hub, db, twin)
    assert twin.sql("SELECT id FROM tag") == ["6"]


# ---- other statements


MERGE = """MERGE INTO note USING (VALUES (1,'matched'),(2,'deleted'),(3,'new')) s(id,text) ON note.id=s.id
WHEN MATCHED AND s.text='deleted' THEN DELETE WHEN MATCHED THEN UPDATE SET text=s.text
WHEN NOT MATCHED THEN INSERT VALUES (s.id,s.text,0)"""


def test_merge(pg_replica):
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'a',1),(2,'b',2)", "note")
    if int(db.sql("SHOW server_version_num")[0]) < 150000:
        pytest.skip("this server has no MERGE")
    db.sql(MERGE.replace("\n", " "))
    assert sorted(log(db)) == ["delete 2", "insert 3", "update 1"]


def test_truncate_cascade_takes_children_along(pg_replica):
    db = pg_replica(
        "CREATE TABLE p(id int PRIMARY KEY); CREATE TABLE c(id int PRIMARY KEY, p int REFERENCES p);"
        "INSERT INTO p VALUES (1); INSERT INTO c VALUES (5,1)", "p", "c")
    db.sql("TRUNCATE p CASCADE")
    assert sorted(log(db)) == ["delete 1", "delete 5"]


WITHIN = {
    "after insert, update": ("AFTER INSERT", "UPDATE note SET rank=99 WHERE id=NEW.id", "INSERT INTO note VALUES (1,'a',0)"),
    "after insert, delete": ("AFTER INSERT", "DELETE FROM note WHERE id=NEW.id", "INSERT INTO note VALUES (1,'a',0)"),
    "after delete, insert": ("AFTER DELETE", "INSERT INTO note VALUES (OLD.id,'again',0)", "DELETE FROM note WHERE id=2"),
    "after update, new key": ("AFTER UPDATE OF text", "UPDATE note SET id=id+100 WHERE id=OLD.id",
                              "UPDATE note SET text='x' WHERE id=2"),
    "before insert, new values": ("BEFORE INSERT", "NEW.rank := 5", "INSERT INTO note VALUES (1,'a',0)"),
    "before insert, others": ("BEFORE INSERT", "UPDATE note SET rank=rank+1", "INSERT INTO note VALUES (1,'a',0),(3,'c',0)"),
}


@pytest.mark.parametrize("case", WITHIN)
@pytest.mark.parametrize("name", ["a_first", "z_last"])
def test_what_a_trigger_of_the_application_makes_of_a_row_is_what_arrives(pg_replica, replica, case, name):
    when, what, statement = WITHIN[case]
    db = pg_replica(
        NOTES + "; INSERT INTO note VALUES (2,'b',0);"
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NEW; END $$;"
        f"CREATE TRIGGER {name} {when} ON note FOR EACH ROW EXECUTE FUNCTION f()", "note")
    other = replica(NOTES, "note")
    other.sync(db)
    db.sql(statement)
    other.sync(db)
    assert rows(other) == rows(db)
    in_step(other, db)


def test_a_functions_rights_and_path_do_not_matter(pg_replica):
    """A function with its owner's rights, and schemas that come before pg_catalog with names of their own."""
    db = pg_replica(
        NOTES + "; CREATE SCHEMA evil; CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'EVIL' $$;"
        "CREATE FUNCTION evil.cat(text,text) RETURNS text LANGUAGE sql AS $$ SELECT 'EVIL' $$;"
        "CREATE OPERATOR evil.||(LEFTARG=text, RIGHTARG=text, FUNCTION=evil.cat);"
        "CREATE FUNCTION evil.current_setting(text,boolean) RETURNS text LANGUAGE sql AS $$ SELECT '1' $$;"
        "CREATE FUNCTION add_note(int) RETURNS void LANGUAGE sql SECURITY DEFINER AS "
        "$$ INSERT INTO public.note VALUES ($1,'a',1) $$;"
        "CREATE ROLE stranger; GRANT USAGE ON SCHEMA evil TO stranger; GRANT INSERT ON note TO stranger", "note")
    db.sql("SET ROLE stranger; SET search_path=evil, pg_catalog, public; CREATE TEMP TABLE text(x int);"
           "CREATE TEMP TABLE pg_attribute(attname int); CREATE TEMP TABLE pg_trigger(x int)")
    db.sql("INSERT INTO public.note VALUES (1,'a',1); SELECT public.add_note(2)")
    db.sql("RESET ROLE; SET search_path=public")
    assert log(db) == ["insert 1", "insert 2"]
    assert [change.payload["text"] for change in db.changes()] == ["a", "a"]
    db.sql("DROP OWNED BY stranger; DROP ROLE stranger")


# ---- columns that change while csync is not used

CHANGES = {
    "add": ("ALTER TABLE note ADD due text", "UPDATE note SET due='today' WHERE id=1"),
    "drop": ("ALTER TABLE note DROP COLUMN rank", "UPDATE note SET text='dropped' WHERE id=1"),
    "rename": ("ALTER TABLE note RENAME COLUMN text TO body", "UPDATE note SET body='renamed' WHERE id=1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_column_changes_and_writers_go_on(pg_replica, replica, change):
    alter, write = CHANGES[change]
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'a',1),(2,'b',2)", "note")
    other = replica(NOTES, "note")
    synced(other, db)
    session = db.more_sql()
    session("UPDATE note SET text='planned' WHERE id=2")
    db.sql(alter)
    session(write)
    session("DELETE FROM note WHERE id=2")
    if change == "drop":
        other.untrack("note")  # SQLite drops no column that a trigger names
    other.execute(alter)
    other.track("note")
    synced(other, db)
    assert rows(other) == rows(db)


def test_a_column_has_another_type_and_writers_go_on(pg_replica, replica):
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'a',1)", "note")
    other = replica("CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, rank)", "note")
    other.sync(db)
    db.sql("ALTER TABLE note ALTER rank TYPE text USING rank||'th'")
    db.sql("INSERT INTO note VALUES (2,'b','second')")
    other.sync(db)
    assert rows(other) == [(1, "a", 1), (2, "b", "second")]


def test_a_key_that_is_lost_is_an_error_with_a_way_out(pg_replica):
    db = pg_replica(NOTES + "; INSERT INTO note VALUES (1,'a',1)", "note")
    db.sql("ALTER TABLE note RENAME id TO number")
    db.sql.send("INSERT INTO note VALUES (2,'b',2);")
    assert "has lost a column of the key" in " ".join(db.sql.answer())
    db.untrack("note")
    db.sql("INSERT INTO note VALUES (2,'b',2)")


def test_a_table_that_was_renamed_can_be_written_and_truncated(pg_replica):
    db = pg_replica(NOTES, "note")
    db.sql("ALTER TABLE note RENAME TO paper")
    db.sql("INSERT INTO paper VALUES (1,'a',1); TRUNCATE paper")
    assert log(db) == ["insert 1", "delete 1"]
