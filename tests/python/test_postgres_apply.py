"""PostgreSQL: a batch is applied in one statement where it can be, and ends as if it had come change by change."""

import random
import threading

import pytest

import csync
from note_table import wait_a_moment
from test_postgres import in_step, parked

AUTHOR = "7d3f9b1e-0000-4000-8000-000000000001"
ANOTHER = "7d3f9b1e-0000-4000-8000-000000000002"
LATE = "2026-05-06T07:08:09.123Z"


def change(table, id, payload=None, seq=1, origin=AUTHOR, timestamp=LATE):
    operation = "update" if payload is not None else "delete"
    return csync.Change(seq, table, {"id": id}, operation, payload, origin, timestamp, seq)


def heads(db):
    return db.sql(
        "SELECT t.name,r.pk,r.ts,r.origin,r.seq,r.state&1,r.parked<>0 FROM csync._sync_rows r JOIN "
        "csync._sync_tables t ON t.id=r.table_id ORDER BY 1,2"
    )


def count_transactions(db, function):
    """How many transactions and savepoints that wrote: a row that is written singly has two of its own."""
    before = int(db.sql("SELECT pg_current_xact_id()")[0])
    function()
    return int(db.sql("SELECT pg_current_xact_id()")[0]) - before


# ---- the usual case


def test_a_batch_takes_a_handful_of_statements(pg_replica, replica):
    note = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)"
    client, server = replica(note, "note"), pg_replica(note, "note")
    client.execute("INSERT INTO note WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT i,'first' FROM n")
    assert count_transactions(server, lambda: server.pull(client)) < 10
    client.execute("UPDATE note SET text='second' WHERE id%2=0")
    client.execute("DELETE FROM note WHERE id%2=1")
    assert count_transactions(server, lambda: server.pull(client)) < 10
    in_step(client, server)
    assert client.pull(server).duplicates == 300
    assert count_transactions(server, lambda: server.pull(client)) < 10


def test_what_is_applied_travels_on_with_its_stamps(pg_replica, replica):
    note = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)"
    first, middle, last = replica(note, "note"), pg_replica(note, "note"), replica(note, "note")
    middle.changes()
    for id in range(20):
        first.execute(f"INSERT INTO note VALUES ({id},'row {id} \"quoted\" \\ back')")
    first.execute("DELETE FROM note WHERE id<10")
    middle.pull(first)
    stamps = {(c.pk_json, c.operation == "delete", c.payload_json, c.origin, c.timestamp, c.seq) for c in first.changes()}
    assert {
        (c.pk_json, c.operation == "delete", c.payload_json, c.origin, c.timestamp, c.seq) for c in middle.changes()
    } == stamps
    last.pull(middle)
    in_step(first, middle, last)


def test_parents_come_before_children_in_the_log(pg_replica, replica):
    schema = (
        "CREATE TABLE zoo(id INTEGER PRIMARY KEY); CREATE TABLE animal(id INTEGER PRIMARY KEY, zoo INTEGER REFERENCES zoo(id))"
    )
    server = pg_replica(schema, "zoo", "animal")
    server.changes()
    server.apply([change("animal", n, {"id": n, "zoo": n}, 2 * n) for n in range(1, 9)]
                 + [change("zoo", n, {"id": n}, 2 * n + 1) for n in range(1, 9)])
    assert [c.table_name for c in server.changes()] == ["zoo"] * 8 + ["animal"] * 8


VALUES = """
CREATE TABLE v(id INTEGER PRIMARY KEY, i SMALLINT, n NUMERIC, m NUMERIC(10,2), f DOUBLE PRECISION, r REAL, b BOOLEAN, t TEXT,
    c VARCHAR(4), x BYTEA, z TIMESTAMP WITH TIME ZONE, u UUID, j JSON, d DATE, a INTEGER[])
"""


def test_values_of_every_type_are_exact(pg_replica):
    db = pg_replica(VALUES, "v")
    exact = [
        {"i": -32768, "n": 5, "m": 1.25, "f": 0.1, "r": 0.5, "b": True, "t": "{\"a\",\\}'", "c": "ab  ", "x": b"\0\xff"},
        {"i": 0, "n": "12345678901234567890.123456789", "m": 12345678.9, "f": 1e300, "r": 0.1, "b": False, "t": "",
         "c": "ßäöü", "x": b""},
        {"i": None, "n": 1e20, "m": -0.01, "f": float("inf"), "r": None, "b": None, "t": "NULL", "c": "", "x": None},
        {"z": "2020-01-01T12:00:00.5Z", "u": "7d3f9b1e-0000-4000-8000-000000000001", "j": '{"k": [1,2]}',
         "d": "2024-02-29", "a": "{1,NULL,3}"},
    ]
    db.apply([change("v", n, {"id": n, **values}, n) for n, values in enumerate(exact, 1)])
    assert parked(db) == []
    for n, values in enumerate(exact, 1):
        row = [c.payload for c in db.changes() if c.pk["id"] == n][0]
        assert {name: row[name] for name in values} == values


INEXACT = [
    {"i": 32768}, {"i": 1.5}, {"i": "7"}, {"n": "1.50"}, {"m": 0.125}, {"m": 1e20}, {"f": 2**53 + 1}, {"f": "0.5"},
    {"r": 0.123456789}, {"b": 2}, {"t": 5}, {"t": b"x"}, {"c": "abcde"}, {"c": "abcd "}, {"x": "text"}, {"u": "no"},
    {"t": "a\0b"}, {"d": "yesterday or so"}, {"i": True, "b": "maybe"},
]


def test_what_a_column_cannot_hold_is_parked_wherever_it_comes(pg_replica):
    db = pg_replica(VALUES, "v")
    changes = [change("v", n, {"id": n, **values}, n) for n, values in enumerate(INEXACT, 1)]
    good = [change("v", n, {"id": n, "t": f"good {n}"}, n) for n in range(100, 140)]
    mixed = changes + good
    random.Random(5).shuffle(mixed)
    db.apply(mixed)
    assert parked(db) == [(n, "type") for n in range(1, len(INEXACT) + 1)]
    assert db.sql("SELECT count(*) FROM v WHERE id>=100") == ["40"]


def test_a_trigger_that_changes_a_row_parks_it(pg_replica):
    db = pg_replica(
        "CREATE TABLE note(id int PRIMARY KEY, text text);"
        "CREATE FUNCTION upper_case() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.text=upper(NEW.text); RETURN NEW; END$$"
    )
    db.track("note")
    db.apply([change("note", n, {"id": n, "text": "low"}, n) for n in (1, 2)])
    db.sql("CREATE TRIGGER up BEFORE INSERT OR UPDATE ON note FOR EACH ROW EXECUTE FUNCTION upper_case()")
    db.apply([change("note", n, {"id": n, "text": t}, n) for n, t in ((3, "low"), (4, "HIGH"), (5, "HIGH"))])
    assert parked(db) == [(3, "type")]
    assert db.sql("SELECT id,text FROM note ORDER BY id") == ["1|low", "2|low", "4|HIGH", "5|HIGH"]


def test_columns_that_a_change_lacks_are_left_alone(pg_replica):
    db = pg_replica("CREATE TABLE note(id int PRIMARY KEY, a text, b text DEFAULT 'x'); INSERT INTO note VALUES (1,'a','b'),(2,'a','x')")
    db.track("note")
    db.apply([change("note", 1, {"id": 1, "a": "A"}, 1), change("note", 2, {"id": 2, "a": "A"}, 2),
              change("note", 3, {"id": 3, "b": "B"}, 3), change("note", 4, {"id": 4, "a": "A", "b": "B"}, 4)])
    assert db.sql("SELECT * FROM note ORDER BY id") == ["1|A|b", "2|A|x", "3||B", "4|A|B"]
    own = {c.pk["id"]: c.payload for c in db.changes() if c.origin == db.origin}
    assert own == {1: {"id": 1, "a": "A", "b": "b"}}  # no other replica can make that row of the change


def test_the_next_serial_number_is_above_what_was_applied(pg_replica):
    db = pg_replica("CREATE TABLE note(id serial PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY, rank int)", "note")
    db.apply([change("note", n, {"id": n, "n": 10 * n, "rank": 9000}, n) for n in (3, 7, 5)])
    db.sql("INSERT INTO note(rank) VALUES (0)")
    assert db.sql("SELECT id,n FROM note WHERE rank=0") == ["8|71"]


# ---- what does not go together

STRICT = """
CREATE TABLE shelf(id INTEGER PRIMARY KEY);
CREATE TABLE book(id INTEGER PRIMARY KEY, title TEXT NOT NULL, pages INTEGER CHECK(pages>0), code INTEGER UNIQUE,
    shelf INTEGER REFERENCES shelf(id));
INSERT INTO shelf VALUES (1)
"""
FAULTS = {
    "not null": {"title": None},
    "check": {"pages": 0},
    "unique": {"code": 7000},
    "foreign key": {"shelf": 2},
    "type": {"pages": 1.5},
    "unknown column": {"colour": "red"},
}
BOOKS = 24
PLACES = [(0,), (BOOKS // 2,), (BOOKS - 1,), (0, 1, 11, BOOKS - 1)]


def test_a_row_that_is_refused_does_not_hold_up_the_others(pg_replica):
    db = pg_replica(STRICT, "shelf", "book")
    ids, expected = iter(range(1000, 100000)), []
    for reason, fault in FAULTS.items():
        for places in PLACES:
            batch, versions = [], iter(range(1, 1000))
            for place in range(BOOKS):
                id = next(ids)
                row = {"id": id, "title": f"book {id}", "pages": 9, "code": id, "shelf": 1}
                if place in places:
                    row.update(fault, **({"code": 7000 + place} if reason == "unique" else {}))
                    expected.append((id, reason))
                batch.append(change("book", id, row, next(versions)))
            if reason == "unique":
                for place in places:  # who is there already is later
                    db.sql(f"INSERT INTO book VALUES ({place + 1},'mine',1,{7000 + place},1) ON CONFLICT DO NOTHING")
            result = db.apply(batch)
            assert (result.pulled, result.parked) == (BOOKS - len(places), len(expected)), (reason, places)
            assert parked(db) == expected
    refused = {id for id, _ in expected}
    assert [int(id) for id in db.sql("SELECT id FROM book WHERE id>=1000 ORDER BY id")] == [
        id for id in range(1000, next(ids)) if id not in refused
    ]
    db.sql("INSERT INTO shelf VALUES (2)")
    db.apply([])
    assert "foreign key" not in {reason for _, reason in parked(db)}


CYCLE = """
CREATE TABLE a(id INTEGER PRIMARY KEY, b INTEGER NOT NULL);
CREATE TABLE b(id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES a(id), n INTEGER CHECK(n<100));
CREATE TABLE tree(id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree(id));
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b(id)
"""


@pytest.mark.parametrize("faulty", [False, True])
def test_rows_that_need_each_other_enter_together(pg_replica, faulty):
    db = pg_replica(CYCLE, "a", "b", "tree")
    batch = [change("b", n, {"id": n, "a": n % 8 + 1, "n": n}, n) for n in range(1, 9)]
    batch += [change("a", n, {"id": n, "b": n}, 10 + n) for n in range(1, 9)]
    batch += [change("tree", n, {"id": n, "up": n + 1 if n < 8 else n}, 20 + n) for n in range(1, 9)]
    if faulty:
        batch.insert(4, change("b", 50, {"id": 50, "a": 3, "n": 100}, 40))
    db.apply(batch)
    assert parked(db) == ([(50, "check")] if faulty else [])
    assert db.sql("SELECT (SELECT count(*) FROM a),(SELECT count(*) FROM b),(SELECT count(*) FROM tree)") == ["8|8|8"]
    db.apply([change(t, n, None, 100 + n, timestamp="2026-05-06T07:08:10Z") for t in ("tree", "a", "b") for n in range(1, 9)])
    assert db.sql("SELECT (SELECT count(*) FROM a),(SELECT count(*) FROM b),(SELECT count(*) FROM tree)") == ["0|0|0"]


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "ON DELETE CASCADE", "ON DELETE SET NULL"])
def test_parents_and_children_are_deleted_in_any_order(pg_replica, action):
    db = pg_replica(
        f"CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) {action});"
        "INSERT INTO p SELECT generate_series(1,6); INSERT INTO c SELECT n,(n-1)%6+1 FROM generate_series(1,12) n",
        "p", "c",
    )
    gone = [change("p", n, None, n) for n in range(1, 4)]
    gone += [change("c", n, None, 20 + n) for n in (*range(1, 4), *range(7, 10))]
    random.Random(action).shuffle(gone)
    assert db.apply(gone).pulled == 9
    assert parked(db) == []
    assert db.sql("SELECT id FROM p ORDER BY id") == ["4", "5", "6"]
    assert db.sql("SELECT id FROM c ORDER BY id") == ["4", "5", "6", "10", "11", "12"]
    assert db.sql("SELECT count(*) FROM csync._sync_log WHERE origin IS NULL") == ["0"]


def test_a_row_that_comes_twice_in_a_batch_ends_as_its_later_change(pg_replica):
    db = pg_replica("CREATE TABLE note(id int PRIMARY KEY, text text)", "note")
    late, early = "2026-05-06T07:08:10Z", "2026-05-06T07:08:08Z"
    db.apply([
        change("note", 1, {"id": 1, "text": "new"}, 1, timestamp=late),
        change("note", 2, {"id": 2, "text": "old"}, 2),
        change("note", 1, {"id": 1, "text": "old"}, 3, timestamp=early),
        change("note", 2, {"id": 2, "text": "new"}, 4, timestamp=late),
        change("note", 3, {"id": 3, "text": "gone"}, 5),
        change("note", 3, None, 6, timestamp=late),
        change("note", 4, {"id": 4, "text": "back"}, 7, timestamp=late),
        change("note", 4, None, 8),
    ])
    assert db.sql("SELECT id,text FROM note ORDER BY id") == ["1|new", "2|new", "4|back"]


# ---- equal stamps


def both_orders(db, table, id, one, two):
    db.apply([one, change(table, id + 1000, {"id": id + 1000, "text": ""}, id)])
    return db.apply([two, change(table, id + 2000, {"id": id + 2000, "text": ""}, id)])


def test_of_equal_stamps_the_content_decides_as_on_sqlite(pg_replica, replica):
    note = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)"
    servers = [make(note, "note") for make in (pg_replica, pg_replica, replica, replica)]
    pairs = [({"id": 1, "text": "b"}, {"id": 1, "text": "a"}), ({"id": 2, "text": "x"}, None),
             ({"id": 3, "text": "x"}, {"text": "x", "id": 3})]
    for number, db in enumerate(servers):
        db.changes()
        for id, payloads in enumerate(pairs, 1):
            one, two = (payloads, payloads[::-1])[number % 2]
            both_orders(db, "note", id, change("note", id, one, 5), change("note", id, two, 5))
    assert servers[0].execute("SELECT id,text FROM note WHERE id<9 ORDER BY id") == [(1, "b"), (3, "x")]
    in_step(*servers)


def test_origins_are_compared_by_their_bytes(pg_replica, replica):
    """In a locale's order 'a-b' may be above 'aa'."""
    note = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)"
    servers = [make(note, "note") for make in (pg_replica, replica)]
    for db in servers:
        for origin in ("aa", "B", "a-b", "Z_", "b.c"):
            db.apply([change("note", n, {"id": n, "text": origin}, 5, origin=origin) for n in (1, 2)])
    assert servers[0].sql("SELECT text FROM note") == ["b.c", "b.c"]
    in_step(*servers)


# ---- local writers


def test_no_local_edit_is_lost_while_batches_are_applied(pg_replica, replica):
    note = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, n INTEGER)"
    client, server = replica(note, "note"), pg_replica(note, "note")
    server.sql("INSERT INTO note SELECT n,'start',0 FROM generate_series(1,30) n")
    client.sync(server)
    writer, stop, counts = server.more_sql(), threading.Event(), [0] * 31

    def write():
        dice = random.Random(1)
        while not stop.is_set():
            id = dice.randint(1, 30)
            if dice.random() < 0.2:
                writer(f"BEGIN; UPDATE note SET n=n+1 WHERE id={id}; SELECT pg_sleep(0.003); COMMIT")
            else:
                writer(f"UPDATE note SET n=n+1,text='local' WHERE id={id}")
            counts[id] += 1

    thread = threading.Thread(target=write)
    thread.start()
    for round in range(12):
        client.execute(f"UPDATE note SET text='round {round}' WHERE id%2={round % 2}")
        server.pull(client)
    stop.set()
    thread.join()
    assert sum(counts) > 0
    latest = server.sql(
        "SELECT DISTINCT ON (pk_value) pk_value,(payload::json->>'text')||(payload::json->>'n') FROM csync._sync_log l "
        f"ORDER BY pk_value,ts DESC,coalesce(origin,'{server.origin}') COLLATE \"C\" DESC,coalesce(seq,version) DESC"
    )
    assert latest == server.sql(
        "SELECT k,v FROM (SELECT '{\"id\":'||id||'}' AS k,text||n AS v FROM note) x ORDER BY k COLLATE \"C\""
    )
    for _ in range(2):
        client.sync(server)
    in_step(client, server)


# ---- the same as one by one

MIXED = """
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, code INTEGER{unique}, amount NUMERIC(8,2), size INTEGER{check});
CREATE TABLE part(id INTEGER PRIMARY KEY, item INTEGER{fk}, up INTEGER{self}, note VARCHAR(8));
"""
STRICTLY = {"unique": " UNIQUE", "check": " CHECK(size>=0)", "fk": " REFERENCES item(id)", "self": " REFERENCES part(id)"}
LOOSELY = dict.fromkeys(STRICTLY, "")


def random_write(dice):
    id, other = dice.randint(1, 40), dice.randint(1, 40)
    kind = dice.random()
    if kind < 0.2:
        return f"DELETE FROM {dice.choice(['item', 'part'])} WHERE id={id}"
    if kind < 0.6:
        return (
            f"INSERT OR REPLACE INTO item VALUES ({id},'name {other}',{dice.choice([id, id, id, other])},"
            f"{dice.choice([1, 2.5, 3.25, 7.125])},{dice.choice([1, 2, 3, 4, -1])})"
        )
    return (
        f"INSERT OR REPLACE INTO part VALUES ({id},{other},{dice.choice(['NULL', 'NULL', id, other])},"
        f"'{dice.choice(['a', 'b c', 'longer than it'])}')"
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_ends_as_its_changes_one_by_one(pg_replica, replica, seed):
    dice = random.Random(seed)
    client = replica(MIXED.format(**LOOSELY), "item", "part")
    many, single = (pg_replica(MIXED.format(**STRICTLY), "item", "part") for _ in range(2))
    for _ in range(3):
        for _ in range(40):
            client.execute(random_write(dice))
        for _ in range(2):
            many.pull(client, batch_size=1000)
            single.pull(client, batch_size=1)
        in_step(many, single)
        assert heads(many) == heads(single)
        assert sorted((p.table, p.pk["id"]) for p in many.parked()) == sorted((p.table, p.pk["id"]) for p in single.parked())
