"""PostgreSQL: capture, and syncs with SQLite and with another PostgreSQL database."""

import itertools
import subprocess
import threading

import pytest

import csync
import pg
from note_table import wait_a_moment

NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, rank INTEGER)"
SHOP = """
CREATE TABLE artist(id INTEGER PRIMARY KEY, name VARCHAR(120));
CREATE TABLE album(id INTEGER PRIMARY KEY, title VARCHAR(160) NOT NULL,
    artist INTEGER NOT NULL REFERENCES artist(id));
CREATE TABLE track(id INTEGER PRIMARY KEY, name VARCHAR(200) NOT NULL, album INTEGER REFERENCES album(id),
    price NUMERIC(10,2) NOT NULL);
"""


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
    db = pg_replica(NOTES + "; CREATE ROLE clerk; GRANT INSERT ON note TO clerk", "note")
    db.sql("SET ROLE clerk")
    db.sql("INSERT INTO note VALUES (1,'a',1)")
    db.sql("RESET ROLE")
    assert log(db) == ["insert 1"]


def test_the_writers_settings_do_not_show_in_the_log(pg_replica):
    db = pg_replica(
        "CREATE TABLE v(id int PRIMARY KEY, f float8, t timestamptz, b bytea, i interval)", "v"
    )
    db.sql("SET timezone='Asia/Kolkata'; SET extra_float_digits=0; SET datestyle='German'; "
           "SET bytea_output='escape'; SET search_path=pg_catalog")
    db.sql("INSERT INTO public.v VALUES (1, 0.1::float8+0.2, '2020-01-01 12:00+00', '\\x00ff', '1 day')")
    [(_, _, row)] = changes(db)
    assert row == {"id": 1, "f": 0.30000000000000004, "t": "2020-01-01T12:00:00Z", "b": b"\x00\xff",
                   "i": "P1D"}


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
        ("CREATE TABLE t(a int PRIMARY KEY) PARTITION BY HASH(a)", csync.Unsupported),
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


# ---- the order of commits


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


STRESS = """
\\set a random(1, 20)
\\set b random(1, 20)
\\set end random(1, 10)
BEGIN;
INSERT INTO note(text,rank) VALUES ('new', :a);
SAVEPOINT s;
UPDATE note SET rank=rank+1 WHERE id=least(:a,:b);
ROLLBACK TO s;
UPDATE note SET rank=rank+1 WHERE id=greatest(:a,:b);
SELECT pg_sleep(:a * 0.0005);
\\if :end = 1
ROLLBACK;
\\else
COMMIT;
\\endif
"""


def test_nothing_is_missed_while_many_write(pg_replica, replica, tmp_path):
    db = pg_replica(
        "CREATE TABLE note(id bigserial PRIMARY KEY, text text, rank int);"
        "INSERT INTO note(text,rank) SELECT 'old',0 FROM generate_series(1,20)", "note"
    )
    other = replica(NOTES, "note")
    script = tmp_path / "stress.sql"
    script.write_text(STRESS)
    command = [pg.programs() / "pgbench", "-n", "-c", "8", "-T", "5", "-f", script, db.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as writers:
        syncs = 0
        while writers.poll() is None:
            other.sync(db)
            syncs += 1
        output = writers.stdout.read()
    assert writers.returncode == 0, output
    other.sync(db)
    assert syncs > 1
    assert other.execute("SELECT count(*) FROM note")[0][0] > 100
    in_step(other, db)


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


@pytest.fixture(params=["sqlite-pg", "pg-sqlite", "pg-pg"])
def pair(request, replica, pg_replica):
    """pair(schema, *tables): client and server of the databases that the name says."""

    def make(schema, *tables):
        makers = {"sqlite": replica, "pg": pg_replica}
        return [makers[kind](schema, *tables) for kind in request.param.split("-")]

    return make


def settled(client, server):
    for _ in range(3):
        client.sync(server)
    in_step(client, server)


def run(db, statement):
    for part in statement.split(";"):
        if part.strip():
            db.execute(part)


def test_edits_go_both_ways(pair):
    client, server = pair(NOTES, "note")
    run(client, "INSERT INTO note VALUES (1,'client',1); INSERT INTO note VALUES (2,'both',NULL)")
    run(server, "INSERT INTO note VALUES (3,'server',9223372036854775807 % 2147483647)")
    client.sync(server)
    in_step(client, server)
    run(client, "UPDATE note SET text='changed' WHERE id=3; DELETE FROM note WHERE id=1")
    run(server, "UPDATE note SET rank=5 WHERE id=2")
    client.sync(server)
    in_step(client, server)
    assert client.execute("SELECT id,text,rank FROM note ORDER BY id") == server.execute(
        "SELECT id,text,rank FROM note ORDER BY id"
    )
    again = client.sync(server)
    assert (again.pulled, again.pushed) == (0, 0)


def test_rows_from_before_track_take_part(pair):
    client, server = pair(SHOP + "INSERT INTO artist VALUES (1,'AC/DC')")
    server.execute("INSERT INTO album VALUES (1,'Let There Be Rock',1)")
    for db in client, server:
        db.track("artist", "album", "track")
    client.sync(server)
    in_step(client, server)
    assert client.execute("SELECT title FROM album") == [("Let There Be Rock",)]


def test_a_shop_with_foreign_keys(pair):
    client, server = pair(SHOP, "track", "album", "artist")
    run(server, "INSERT INTO artist VALUES (1,'Accept'); INSERT INTO album VALUES (2,'Restless and Wild',1)")
    run(server, "INSERT INTO track VALUES (4,'Fast As a Shark',2,0.99)")
    run(client, "INSERT INTO artist VALUES (7,'Ärzte \"x\" \\ ''y'''); INSERT INTO album VALUES (8,'Debil',7)")
    client.sync(server, batch_size=1)
    in_step(client, server)
    run(client, "DELETE FROM track; DELETE FROM album WHERE id=2; DELETE FROM artist WHERE id=1")
    client.sync(server)
    in_step(client, server)


def test_a_conflict_is_decided_alike(pair):
    client, server = pair(NOTES + ";INSERT INTO note VALUES (1,'start',0)", "note")
    client.sync(server)
    client.execute("UPDATE note SET text='client' WHERE id=1")
    server.execute("UPDATE note SET text='server' WHERE id=1")
    result = client.sync(server, strategy="server-wins")
    assert result.conflicts == 1
    in_step(client, server)
    assert client.execute("SELECT text FROM note") == [("server",)]
    assert len(client.conflicts()) == 1


def test_a_child_waits_for_its_parent(pair):
    client, server = pair(SHOP, "track", "album")
    client.execute("INSERT INTO artist VALUES (1,'not tracked')")
    client.execute("INSERT INTO album VALUES (2,'waits',1)")
    client.sync(server)
    assert server.execute("SELECT count(*) FROM album") == [(0,)]
    assert [p.reason for p in server.parked()] == ["foreign key"]
    server.execute("INSERT INTO artist VALUES (1,'is here')")
    server.execute("INSERT INTO album VALUES (3,'wakes the other',1)")
    client.sync(server)
    assert server.parked() == []
    in_step(client, server)


MAILS = "SELECT id, address FROM mail ORDER BY id"
MAIL = "CREATE TABLE mail(id INTEGER PRIMARY KEY, address TEXT{}); {}"
UNIQUE = pytest.mark.parametrize(
    "schema",
    [
        MAIL.format(" UNIQUE", ""),
        MAIL.format("", "CREATE UNIQUE INDEX any_case ON mail(lower(address))"),
        MAIL.format("", "CREATE UNIQUE INDEX of_some ON mail(address) WHERE id < 100"),
    ],
    ids=["column", "expression", "partial"],
)


def parked(db):
    return sorted((p.pk["id"], p.reason) for p in db.parked())


@UNIQUE
@pytest.mark.parametrize("first", ["client", "server"])
def test_of_two_rows_with_one_value_the_later_is_visible(pair, schema, first):
    client, server = pair(schema, "mail")
    one, two = (client, server) if first == "client" else (server, client)
    one.execute("INSERT INTO mail VALUES (1,'ann')")
    wait_a_moment()
    two.execute("INSERT INTO mail VALUES (2,'ann')")
    settled(client, server)
    for db in (client, server):
        assert db.execute(MAILS) == [(2, "ann")]
        assert parked(db) == [(1, "unique")]
    one.execute("UPDATE mail SET address = 'bob'")
    settled(client, server)
    assert client.execute(MAILS) == server.execute(MAILS) == [(1, "ann"), (2, "bob")]
    assert parked(client) == parked(server) == []


def test_rows_that_swap_their_values_arrive_swapped(pair):
    client, server = pair(MAIL.format(" UNIQUE", ""), "mail")
    run(client, "INSERT INTO mail VALUES (1,'x'); INSERT INTO mail VALUES (2,'y')")
    client.sync(server)
    run(client, "UPDATE mail SET address='-' WHERE id=1; UPDATE mail SET address='x' WHERE id=2")
    run(client, "UPDATE mail SET address='y' WHERE id=1")
    client.sync(server, batch_size=1)
    settled(client, server)
    assert server.execute(MAILS) == [(1, "y"), (2, "x")]
    assert parked(server) == []


def test_a_row_that_waits_while_its_old_state_is_evicted_is_parked_no_more(pair):
    """What comes for row 3 has to wait for row 1, whose new value drives out the old state of row 3."""
    client, server = pair(MAIL.format(" UNIQUE", ""), "mail")
    for db, row in (server, (3, "z")), (client, (3, "x")), (server, (1, "x")), (client, (1, "z")):
        db.execute(f"INSERT INTO mail VALUES {row}")
        wait_a_moment()
    server.pull(client)
    assert server.execute(MAILS) == [(1, "z"), (3, "x")]
    assert parked(server) == []
    settled(client, server)


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "ON DELETE CASCADE", "ON DELETE SET NULL"])
def test_the_loser_of_a_collision_takes_its_children_along_and_back(pair, action):
    client, server = pair(
        MAIL.format(" UNIQUE", "") + f"CREATE TABLE letter(id INTEGER PRIMARY KEY, mail INTEGER REFERENCES mail(id) {action})",
        "mail",
        "letter",
    )
    run(client, "INSERT INTO mail VALUES (1,'ann'); INSERT INTO letter VALUES (10,1); INSERT INTO letter VALUES (11,1)")
    wait_a_moment()
    run(server, "INSERT INTO mail VALUES (2,'ann'); INSERT INTO letter VALUES (20,2)")
    settled(client, server)
    for db in (client, server):
        assert db.execute("SELECT id FROM letter ORDER BY id") == [(20,)]
        assert parked(db) == [(1, "unique"), (10, "foreign key"), (11, "foreign key")]
    client.execute("UPDATE mail SET address='bob' WHERE id=2")
    settled(client, server)
    for db in (client, server):
        assert db.execute("SELECT id, mail FROM letter ORDER BY id") == [(10, 1), (11, 1), (20, 2)]
        assert parked(db) == []


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT"])
def test_a_delete_that_rows_here_forbid_parks_those_rows(pair, action):
    client, server = pair(
        "CREATE TABLE mail(id INTEGER PRIMARY KEY);"
        f"CREATE TABLE letter(id INTEGER PRIMARY KEY, mail INTEGER NOT NULL REFERENCES mail(id) {action})",
        "mail",
        "letter",
    )
    client.execute("INSERT INTO mail VALUES (1)")
    settled(client, server)
    client.execute("DELETE FROM mail")
    server.execute("INSERT INTO letter VALUES (10,1)")
    settled(client, server)
    for db in (client, server):
        assert db.execute("SELECT count(*) FROM mail") == db.execute("SELECT count(*) FROM letter") == [(0,)]
        assert parked(db) == [(10, "foreign key")]
    client.execute("INSERT INTO mail VALUES (1)")
    settled(client, server)
    assert server.execute("SELECT id FROM letter") == client.execute("SELECT id FROM letter") == [(10,)]


@pytest.mark.parametrize("default", ["", " DEFAULT 'never'", " DEFAULT 'it''s'"])
def test_an_edit_of_the_older_side_leaves_the_new_column_alone_everywhere(pair, default):
    client, server = pair(NOTES, "note")
    run(client, "INSERT INTO note VALUES (1,'first',0); INSERT INTO note VALUES (2,'second',0)")
    settled(client, server)
    server.execute(f"ALTER TABLE note ADD COLUMN due TEXT{default}")
    server.execute("UPDATE note SET due='today' WHERE id=1")
    wait_a_moment()
    client.execute("UPDATE note SET text='older side'")
    client.push(server)
    left = default.partition("'")[2][:-1].replace("''", "'") or None
    rows = [(1, "older side", 0, "today"), (2, "older side", 0, left)]
    assert server.execute("SELECT * FROM note ORDER BY id") == rows
    client.execute(f"ALTER TABLE note ADD COLUMN due TEXT{default}")
    settled(client, server)
    assert client.execute("SELECT * FROM note ORDER BY id") == rows
    assert server.execute("SELECT * FROM note ORDER BY id") == rows


def test_a_client_whose_clock_is_ahead_is_corrected_and_goes_on(pg_replica, replica):
    client, server = pg_replica(NOTES, "note"), replica(NOTES, "note")
    run(client, "INSERT INTO note VALUES (1,'first',0); INSERT INTO note VALUES (2,'second',0)")
    settled(client, server)
    client.sql("UPDATE csync._sync_session SET clock=4070908800000")  # 2099
    run(client, "UPDATE note SET text='from 2099' WHERE id=1; DELETE FROM note WHERE id=2")
    client.sync(server)
    settled(client, server)
    assert server.execute("SELECT id, text FROM note") == [(1, "from 2099")]
    assert server.execute("SELECT max(timestamp) < '2099' FROM _sync_log") == [(1,)]
    assert client.sql("SELECT clock<4070908800000 FROM csync._sync_session") == ["t"]
    wait_a_moment()
    server.execute("UPDATE note SET text='later' WHERE id=1")
    settled(client, server)
    assert client.execute("SELECT text FROM note") == [("later",)]


def test_a_row_that_an_untracked_tables_row_would_go_with_stays(pg_replica, replica):
    client = replica(MAIL.format(" UNIQUE", ""), "mail")
    server = pg_replica(MAIL.format(" UNIQUE", ""), "mail")
    run(client, "INSERT INTO mail VALUES (1,'ann')")
    settled(client, server)
    server.sql("CREATE TABLE letter(id int PRIMARY KEY, mail int REFERENCES mail(id) ON DELETE CASCADE)")
    server.sql("INSERT INTO letter VALUES (10,1)")
    client.execute("UPDATE mail SET address='bob' WHERE id=1")
    wait_a_moment()
    server.execute("INSERT INTO mail VALUES (2,'bob')")
    client.sync(server)
    assert parked(server) == [(1, "unique")]
    assert server.sql("SELECT id FROM letter") == ["10"]


LATE = "DEFERRABLE INITIALLY DEFERRED"
CIRCLE = {
    "sqlite": f"CREATE TABLE a(id INTEGER PRIMARY KEY, b INTEGER REFERENCES b(id) {LATE});"
    f"CREATE TABLE b(id INTEGER PRIMARY KEY, a INTEGER REFERENCES a(id) {LATE})",
    "pg": "CREATE TABLE a(id INTEGER PRIMARY KEY, b INTEGER);"
    f"CREATE TABLE b(id INTEGER PRIMARY KEY, a INTEGER REFERENCES a(id) {LATE});"
    f"ALTER TABLE a ADD FOREIGN KEY(b) REFERENCES b(id) {LATE}",
}


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_rows_that_refer_to_each_other_let_each_other_in(replica, pg_replica, sql, batch_size):
    client = replica(CIRCLE["sqlite"], "a", "b")
    server, other = pg_replica(CIRCLE["pg"], "a", "b"), pg_replica(CIRCLE["pg"], "a", "b")
    sql(client.path, "BEGIN; INSERT INTO a VALUES (1,2); INSERT INTO b VALUES (2,1); COMMIT")
    sql(client.path, "PRAGMA foreign_keys=OFF; INSERT INTO a VALUES (3,4)")
    for _ in range(3):
        client.sync(server, batch_size=batch_size)
        other.sync(server, batch_size=batch_size)
    for db in (server, other):
        assert db.execute("SELECT id, b FROM a") == [(1, 2)]
        assert db.execute("SELECT id, a FROM b") == [(2, 1)]
        assert parked(db) == [(3, "foreign key")]
    other.execute("INSERT INTO b VALUES (4,NULL)")
    for _ in range(3):
        other.sync(server)
        client.sync(server)
    assert parked(server) == parked(other) == []
    in_step(client, server, other)


def test_rows_that_differ_are_named_and_repaired(pair):
    client, server = pair(SHOP, "artist", "album", "track")
    for i in range(1, 40):
        client.execute(f"INSERT INTO artist VALUES ({i},'artist {i}')")
    client.execute("INSERT INTO album VALUES (1,'album',1)")
    settled(client, server)
    assert client.verify(server).equal
    for db in (client, server):
        with db.suppressed():
            run(db, "UPDATE artist SET name='spoilt' WHERE id=7; DELETE FROM artist WHERE id=8")
        found = client.verify(server, repair=db is client)
        assert found.found == 2 and not found.equal
        if db is server:
            assert server.verify(client, repair=True).repaired == 2
        assert client.verify(server).equal
        in_step(client, server)
    assert client.execute("SELECT name FROM artist WHERE id=7") == [("artist 7",)]


def test_a_third_replica_gets_everything(pg_replica, replica):
    first, hub, third = replica(NOTES, "note"), pg_replica(NOTES, "note"), replica(NOTES, "note")
    first.execute("INSERT INTO note VALUES (1,'from the first',1)")
    first.sync(hub)
    third.sync(hub)
    in_step(first, hub, third)
    third.execute("DELETE FROM note")
    third.sync(hub)
    first.sync(hub)
    in_step(first, hub, third)


def test_a_replica_goes_on_after_a_restart(pg_replica, replica):
    db, other = pg_replica(NOTES, "note"), replica(NOTES, "note")
    db.execute("INSERT INTO note VALUES (1,'a',1)")
    other.sync(db)
    with csync.open(db.url) as again:
        assert again.origin == db.origin
        again.execute("INSERT INTO note VALUES (2,'b',2)")
        result = other.sync(again)
    assert result.pulled == 1 and result.resyncs == 0
    in_step(other, db)


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


def test_a_delete_that_the_server_has_forgotten_is_given_back_by_a_client_that_has_not(pair, replica):
    client, server = pair(NOTES, "note")
    run(server, "INSERT INTO note(id, text) VALUES (1, 'one'), (2, 'two')")
    client.sync(server)
    run(server, "DELETE FROM note WHERE id = 1; INSERT INTO note(id, text) VALUES (3, 'three')")
    client.sync(server)
    client.sync(server)
    assert server.purge().tombstones == 1
    newcomer = replica(f"{NOTES}; INSERT INTO note(id, text) VALUES (1, 'old')", "note")
    newcomer.sync(server)
    assert len(server.execute("SELECT id FROM note WHERE id = 1")) == 1
    for db in (client, newcomer, client):
        db.sync(server)
    assert [db.execute("SELECT id FROM note ORDER BY id") for db in (client, server, newcomer)] == [[(2,), (3,)]] * 3


def test_purge_and_snapshot(pair):
    client, server = pair(NOTES, "note")
    run(server, "INSERT INTO note VALUES (1,'a',1); INSERT INTO note VALUES (2,'b',2)")
    server.execute("DELETE FROM note WHERE id=1")
    server.changes()
    server.purge(server.state.max_version)
    client.sync(server)
    in_step(client, server)


# ---- values

TYPES = {
    "SMALLINT": ["-32768", "32767"],
    "BIGINT": ["9223372036854775807", "-9223372036854775808"],
    "NUMERIC": ["0.1", "-12345.678", "1e20"],
    "DOUBLE PRECISION": ["0.1", "1e300", "5e-324", "-1.5", "3"],
    "REAL": ["0.5", "0.1"],
    "TEXT": ["''", "'ä\"\\'", "'it''s'", "'1'"],
    "VARCHAR(5)": ["'abcde'"],
    "DATE": ["'2024-02-29'"],
    "TIMESTAMP": ["'2009-01-01 00:00:00'", "'2009-01-01 10:20:30.123456'"],
}


def test_values_are_the_same_on_both_sides(pair):
    columns = list(TYPES)
    schema = "CREATE TABLE v(id INTEGER PRIMARY KEY," + ",".join(
        f"c{i} {name}" for i, name in enumerate(columns)) + ")"
    client, server = pair(schema, "v")
    number = itertools.count(1)
    for i, name in enumerate(columns):
        for value in [*TYPES[name], "NULL"]:
            client.execute(f"INSERT INTO v(id,c{i}) VALUES ({next(number)},{value})")
            server.execute(f"INSERT INTO v(id,c{i}) VALUES ({next(number)},{value})")
    client.sync(server)
    assert server.parked() == client.parked() == []
    in_step(client, server)


def test_postgres_types_come_back_as_they_were(pg_replica, replica):
    first, last = [
        pg_replica("CREATE TABLE v(k uuid PRIMARY KEY, b bool, y bytea, t timestamptz, j json, jb jsonb, a int[],"
                   "n numeric(40,10), d date, f float8, i interval)", "v")
        for _ in range(2)
    ]
    middle = replica("CREATE TABLE v(k TEXT PRIMARY KEY, b BOOLEAN, y BLOB, t TEXT, j TEXT, jb TEXT, a TEXT, n TEXT,"
                     "d TEXT, f REAL, i TEXT)", "v")
    first.sql("""INSERT INTO v VALUES
        ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', true, '\\x00ff', '2020-01-01 12:00:00.5+02', '{"b": 1, "a":[1,2]}',
         '{"b":1}', '{1,NULL,3}', 12345678901234567890.1234567890, 'infinity', '-Infinity', '1 mon 2 days'),
        ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', NULL, '', '0044-03-15 00:00:00+00 BC', 'null', 'null', '{}',
         0.1, '0044-03-15 BC', 5e-324, NULL)""")
    middle.sync(first)
    middle.sync(last)
    assert middle.parked() == last.parked() == []
    assert first.sql("SELECT * FROM v ORDER BY k") == last.sql("SELECT * FROM v ORDER BY k")
    in_step(first, middle, last)


@pytest.mark.parametrize(
    "type, value",
    [("INTEGER", "'twelve'"), ("INTEGER", "1.5"), ("VARCHAR(3)", "'too long'"), ("NUMERIC(5,2)", "1.234"),
     ("DATE", "'yesterday evening'"), ("TEXT", "x'00'")],
)
def test_what_a_column_cannot_hold_is_parked_not_changed(pg_replica, replica, type, value):
    db = pg_replica(f"CREATE TABLE v(id int PRIMARY KEY, c {type})", "v")
    other = replica(f"CREATE TABLE v(id INTEGER PRIMARY KEY, c {type})", "v")
    other.execute(f"INSERT INTO v VALUES (1,{value})")
    other.execute("INSERT INTO v VALUES (2,NULL)")
    other.sync(db)
    assert [p.reason for p in db.parked()] == ["type"]
    assert db.sql("SELECT id FROM v") == ["2"]


def test_text_from_elsewhere_is_never_sql(pg_replica, replica):
    evil = "x'); DROP TABLE note; --"
    db, other = pg_replica(NOTES, "note"), replica(NOTES, "note", origin="o-1")
    other.execute("INSERT INTO note VALUES (1,?,1)", (evil,))
    other.sync(db)
    with pytest.raises(csync.NotFound):
        db.track(evil)
    assert db.execute("SELECT text FROM note") == [(evil,)]


# ---- what is not there yet says so


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


def test_what_is_missing_is_refused_with_a_text(pg_replica):
    db = pg_replica(NOTES, "note")
    with pytest.raises(csync.Unsupported, match="subscribed"):
        db.subscribe(id="s").close()


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(csync.Error, match="PostgreSQL"):
        csync.open(f"postgresql://nobody:geheim@/x?host={tmp_path}")
