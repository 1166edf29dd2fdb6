"""Names that are legal and hostile, and batches whose names are SQL: handled or refused, and nothing of them is run."""

import contextlib

import pytest
from test_postgres import in_step

import csync

EVIL = "x'); DROP TABLE canary; --"
NAMES = [
    "it's \"quoted\"; DROP TABLE canary; --",
    "$csync$; DROP TABLE canary; $csync$ $csync_$",
    "\\' || 1; %s %I {0} ?1 $1 :a",
    "Ünïcødé ☃ \t\n",
    "n" * 60 + "ab\"",
]


def ident(name):
    return '"' + name.replace('"', '""') + '"'


def hostile(name):
    """A table of that name whose columns, key too, have it as well."""
    return (
        f"CREATE TABLE {ident(name)}({ident('k' + name[:50])} VARCHAR(200) PRIMARY KEY, {ident('c' + name[:50])} TEXT);"
        "CREATE TABLE canary(id INTEGER PRIMARY KEY)"
    )


@pytest.fixture(params=["sqlite", "pg"])
def make(request, replica, pg_replica):
    return replica if request.param == "sqlite" else pg_replica


def test_tables_and_columns_with_hostile_names_are_synced(make, replica):
    """All of the names in one database: each is as good as another."""
    canary = "CREATE TABLE canary(id INTEGER PRIMARY KEY);"
    schema = canary + ";".join(hostile(name).partition(";CREATE TABLE canary")[0] for name in NAMES)
    db, other = make(schema), replica(schema)
    for name in NAMES:
        for one in (db, other):
            one.track(name)
            assert "_sync" in csync.trigger_sql(one, name)
        table, column = ident(name), ident("c" + name[:50])
        db.execute(f"INSERT INTO {table} VALUES ('{EVIL.replace(chr(39), chr(39) * 2)}', 'here')")
        other.execute(f"INSERT INTO {table} VALUES ('k', 'there')")
        other.sync(db)
        db.execute(f"UPDATE {table} SET {column}='changed'")
        other.execute(f"DELETE FROM {table} WHERE {column}='there'")
        other.sync(db)
        other.sync(db)
    in_step(db, other)
    assert db.execute("SELECT count(*) FROM canary") == other.execute("SELECT count(*) FROM canary") == [(0,)]
    assert other.verify(db).equal
    assert db.parked() == other.parked() == []


def test_what_a_batch_names_is_never_run(make):
    db = make("CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, rank INTEGER);CREATE TABLE canary(id INTEGER PRIMARY KEY)",
              "note")
    stamp = "2024-05-01T12:00:00.000Z"
    changes = [
        (EVIL, {"id": 1}, "insert", {"id": 1}),
        ("note", {"id": 2}, "insert", {"id": 2, EVIL: 1}),
        ("note", {EVIL: 3}, "insert", {"id": 3}),
        ("note", {"id": EVIL}, "insert", {"id": EVIL}),
        ("note", {"id": 5}, "insert", {"id": 5, "text": EVIL}),
        ('note" SET text=\'x\'; --', {"id": 5}, "delete", None),
        ("csync._sync_log", {"version": 1}, "delete", None),
        ("_sync_log", {"version": 1}, "delete", None),
    ]
    for origin in ("peer", EVIL):
        for number, change in enumerate(changes, 1):
            with contextlib.suppress(csync.Error):  # some are refused; none may do what it says
                db.apply([csync.Change(number, *change, origin, stamp, number)])
    with contextlib.suppress(csync.Error):
        db.register_client(EVIL)
    assert db.execute("SELECT text FROM note WHERE id=5") == [(EVIL,)]
    assert db.execute("SELECT count(*) FROM canary") == [(0,)]
    assert db.execute("SELECT count(*) FROM note") == [(1,)]
    assert {p.table for p in db.parked()} >= {EVIL}
    for call in (db.track, db.untrack):
        with pytest.raises(csync.NotFound):
            call(EVIL)
