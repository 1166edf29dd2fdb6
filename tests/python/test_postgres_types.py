"""docs/types.md says what each value becomes on the other side; here every line of it is tried."""

import itertools
import json
import pathlib
import re

import pytest

import csync
from conformance import settle
from postgres_replicas import TYPES

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "types.md"
SETTINGS = (
    "SET timezone='Asia/Kolkata'; SET datestyle='German'; SET intervalstyle='sql_standard'; SET bytea_output='escape';"
    "SET extra_float_digits=0; SET xmlbinary='hex'; SET quote_all_identifiers=on; SET standard_conforming_strings=on"
)


def table(heading):
    """The cells of the table whose first line begins with these columns."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = lines.index(f"| {' | '.join(heading)} |")
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            return found
        cells = re.split(r"(?<!\\)\|", line[1:-1])
        found.append([cell.strip().replace("\\|", "|") for cell in cells])
    return found


def code(cell):
    """What stands between the backticks."""
    found = re.search(r"`(.*?)`", cell)
    return found.group(1) if found else ""


FROM_POSTGRES = table(["PostgreSQL column", "value", "JSON", "SQLite column", "on SQLite"])
FROM_SQLITE = table(["SQLite column", "value", "PostgreSQL column", "there"])
REFUSED = [code(line[0]) for line in table(["PostgreSQL column"])]


def test_the_tables_are_there():
    assert len(FROM_POSTGRES) > 60 and len(FROM_SQLITE) > 55 and len(REFUSED) == 4


def is_parked(line):
    return line[-1].startswith("parked")


def columns(kinds):
    return "CREATE TABLE t(id INTEGER PRIMARY KEY," + ",".join(f"c{n} {kind}" for n, kind in enumerate(kinds)) + ")"


def exact(text):
    """JSON in which 1, 1.0 and 1e0 are apart."""
    return json.loads(text, parse_int=str.encode, parse_float=str.encode, parse_constant=str.encode)


def payloads(db):
    """By id, the members of each row that are not NULL, as exact JSON."""
    found = {}
    for change in exact(db.changes(limit=10_000).to_json())["changes"]:
        row = exact(change["payload"])
        found[int(row.pop("id"))] = {name: value for name, value in row.items() if value is not None}
    return found


def parked(db):
    return sorted(p.pk["id"] for p in db.parked() if p.reason == "type")


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "parked"])
def test_what_postgresql_writes(pg_replica, replica, is_held):
    lines = [line for line in FROM_POSTGRES if is_parked(line) is not is_held]
    schema = columns(code(line[0]) for line in lines)
    first, last = [pg_replica(TYPES + schema, "t") for _ in range(2)]
    middle = replica(columns(code(line[3]) for line in lines), "t")
    first.sql(SETTINGS)
    for n, line in enumerate(lines):
        first.sql(f"INSERT INTO t(id,c{n}) VALUES ({n},{code(line[1])})")
    logged = payloads(first)
    for n, line in enumerate(lines):
        assert logged[n].get(f"c{n}") == exact(code(line[2])), line
    middle.sync(first)
    middle.sync(last)
    assert last.parked() == []
    if is_held:
        assert middle.parked() == []
        for n, line in enumerate(lines):
            one = f"SELECT typeof(c{n}), c{n} FROM t WHERE id = {n}"
            said = middle.execute(f"SELECT typeof(v), v FROM (SELECT {code(line[4])} AS v)")
            assert repr(middle.execute(one)) == repr(said), line
        assert first.hash() == middle.hash() == last.hash()
    else:
        assert parked(middle) == list(range(len(lines)))
        assert first.hash() == last.hash()
    again = [middle.sync(first), middle.sync(last)]
    assert [(r.pulled, r.pushed) for r in again] == [(0, 0)] * 2


def test_what_postgresql_writes_goes_to_another_directly(pg_replica):
    schema = columns(code(line[0]) for line in FROM_POSTGRES)
    first, other = [pg_replica(TYPES + schema, "t") for _ in range(2)]
    for n, line in enumerate(FROM_POSTGRES):
        first.sql(f"INSERT INTO t(id,c{n}) VALUES ({n},{code(line[1])})")
    other.sync(first)
    assert other.parked() == []
    assert first.hash() == other.hash()
    for n, line in enumerate(FROM_POSTGRES):
        one = f"SELECT {'trim_scale(c%d)' % n if code(line[0]).startswith('numeric') else 'c%d' % n}::text FROM t WHERE id = {n}"
        assert first.sql(one) == other.sql(one), line
    assert other.verify(first).equal


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "parked"])
def test_what_sqlite_writes(pg_replica, replica, is_held):
    lines = [line for line in FROM_SQLITE if is_parked(line) is not is_held]
    first, last = [replica(columns(code(line[0]) for line in lines), "t") for _ in range(2)]
    middle = pg_replica(TYPES + columns(code(line[2]) for line in lines), "t")
    for n, line in enumerate(lines):
        first.execute(f"INSERT INTO t(id,c{n}) VALUES ({n},{code(line[1])})")
    for db in (first, last, first, last):
        db.sync(middle)
    assert first.parked() == last.parked() == []
    assert first.hash() == last.hash()
    if not is_held:
        assert {p.pk["id"]: p.reason for p in middle.parked()} == {
            n: code(line[3]) or "type" for n, line in enumerate(lines)
        }
        assert middle.sql("SELECT count(*) FROM t") == ["0"]
        return
    assert middle.parked() == []
    assert middle.hash() == first.hash()
    middle.sql("SET timezone='UTC'")
    for n, line in enumerate(lines):
        assert middle.sql(f"SELECT c{n}::text FROM t WHERE id = {n}") == [code(line[3])], line
        spelled = re.search(r"spelled `(.*)`", line[3])
        value = spelled.group(1) if spelled else code(line[1])
        assert first.execute(f"SELECT c{n} IS {value} FROM t WHERE id = {n}") == [(1,)], line
    again = [first.sync(middle), last.sync(middle)]
    assert [(r.pulled, r.pushed) for r in again] == [(0, 0)] * 2


def test_what_sqlite_writes_is_seen_to_be_the_same_by_every_replica(pg_replica, replica):
    """Two PostgreSQL replicas spell one row, each by itself; they and the writer end alike, and rest."""
    writer = replica("CREATE TABLE t(id INTEGER PRIMARY KEY, at TEXT, about TEXT)", "t")
    one, other = [pg_replica("CREATE TABLE t(id INTEGER PRIMARY KEY, at timestamptz, about jsonb)", "t") for _ in range(2)]
    writer.execute("INSERT INTO t VALUES (1, '2020-01-01 12:00:00', '{\"b\":1,\"a\":2}')")
    writer.sync(one)
    writer.pull(one)
    other.sync(writer)
    for _ in range(3):
        for db in (writer, other):
            db.sync(one)
    assert writer.hash() == one.hash() == other.hash()
    assert writer.execute("SELECT * FROM t") == [(1, "2020-01-01T12:00:00Z", '{"a": 2, "b": 1}')]
    assert [(r.pulled, r.pushed) for r in (writer.sync(one), other.sync(one))] == [(0, 0)] * 2


# Close to what PostgreSQL writes itself: those that it writes so, those that it writes otherwise, those that it refuses.
MOMENTS = {
    "timestamptz": (
        ["2020-02-29T23:59:59Z", "2020-01-01T00:00:00.000001Z", "9999-12-31T00:00:00.5Z"],
        ["2020-01-01T24:00:00Z", "2020-01-01T00:00:60Z", "2020-01-01T00:00:00.10Z", "2020-01-01T00:00:00.000Z"],
        ["2020-02-30T00:00:00Z", "2020-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2020-01-01T25:00:00Z"],
    ),
    "timestamp(1)": (["2020-01-01 00:00:00.5"], ["2020-01-01 00:00:00.50"], ["2020-01-01 00:00:00.55", "2020-00-01 00:00:00"]),
    "date": (["2020-02-29"], ["2020-2-9"], ["2020-02-30", "2020-00-10", "2020-01-32"]),
    "uuid": (
        ["7d3f9b1e-0000-4000-8000-000000000001"],
        ["7D3F9B1E-0000-4000-8000-000000000001"],
        ["7d3f9b1e-0000-4000-8000-00000000000g"],
    ),
}


@pytest.mark.parametrize("kind", MOMENTS)
def test_what_looks_like_postgresqls_own_spelling_is_what_the_column_holds(pg_replica, replica, kind):
    own, others, refused = MOMENTS[kind]
    db = pg_replica(f"CREATE TABLE t(id INTEGER PRIMARY KEY, v {kind})", "t")
    writer = replica("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", "t")
    for values in own, own + others, refused + own:
        writer.execute("DELETE FROM t")
        for i, value in enumerate(values):
            writer.execute("INSERT INTO t VALUES (?, ?)", (i, value))
        for _ in range(3):
            db.sync(writer)
        assert sorted(p.payload["v"] for p in db.parked()) == sorted(set(refused) & set(values))
        held = dict(db.execute("SELECT id, v FROM t"))
        written = dict(writer.execute("SELECT id, v FROM t"))
        for i, value in enumerate(values):
            if value in refused:
                assert i not in held and written[i] == value
            else:
                assert (written[i] == value) == (value in own), (value, written[i])
        if not set(refused) & set(values):
            assert db.hash() == writer.hash()


def test_a_message_shows_what_the_column_would_hold(pg_replica, replica):
    db, other = pg_replica("CREATE TABLE t(id INTEGER PRIMARY KEY, v interval)", "t"), replica(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", "t")
    other.execute("INSERT INTO t VALUES (1, '1 day')")
    other.sync(db)
    [entry] = db.parked()
    assert entry.reason == "type" and "'P1D'" in entry.message
    other.execute("UPDATE t SET v = 'P1D'")
    other.sync(db)
    assert db.parked() == [] and db.hash() == other.hash()


@pytest.mark.parametrize("type", REFUSED)
def test_types_without_a_text_of_their_own_are_refused(pg_replica, type):
    db = pg_replica(f"CREATE TABLE t(id INTEGER PRIMARY KEY, v {type})")
    with pytest.raises(csync.SchemaError, match="depends on settings"):
        db.track("t")


# ---- keys

KEYS = [
    ("uuid", "TEXT", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("timestamptz", "TEXT", "2020-01-01 12:00:00", "2020-01-01T12:00:00Z"),
    ("varchar(3)", "TEXT", "abcd", "abc"),
    ("char(5)", "TEXT", "ab ", "ab"),
    ("boolean", "BOOLEAN", "yes", 1),
    ("numeric(5,2)", "NUMERIC", 1.234, 1.23),
    ("integer", "TEXT", "twelve", None),
]  # fmt: skip


@pytest.mark.parametrize("kind, loose, other_spelling, own_spelling", KEYS, ids=[key[0] for key in KEYS])
def test_a_key_is_never_another(pg_replica, replica, kind, loose, other_spelling, own_spelling):
    db = pg_replica(f"CREATE TABLE t(id {kind} PRIMARY KEY, v TEXT)", "t")
    other = replica(f"CREATE TABLE t(id {loose} PRIMARY KEY, v TEXT)", "t")
    other.execute("INSERT INTO t VALUES (?, 'spelled otherwise')", (other_spelling,))
    if own_spelling is not None:
        other.execute("INSERT INTO t VALUES (?, 'spelled so')", (own_spelling,))
    other.sync(db)
    assert [(p.pk["id"], p.reason) for p in db.parked()] == [(other_spelling, "type")]
    assert db.execute("SELECT v FROM t") == ([("spelled so",)] if own_spelling is not None else [])
    other.execute("DELETE FROM t WHERE v = 'spelled otherwise'")
    other.sync(db)
    assert db.execute("SELECT v FROM t") == ([("spelled so",)] if own_spelling is not None else [])
    assert db.hash() == other.hash()


@pytest.mark.parametrize("kind, loose, values", [
    ("uuid", "TEXT", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("numeric", "", ["2", "10", "0.1234567890123456789", "-1.5", "1e20", "0.2345678901234567890123", "5.00"]),
    ("numeric(40,10)", "TEXT", ["2", "10", "-1.5"]),
    ("timestamptz", "TEXT", ["'2020-01-01 12:00+02'", "'infinity'", "'0044-01-01 00:00+00 BC'", "'10000-01-01 00:00+00'"]),
    ("boolean", "BOOLEAN", ["true", "false"]),
    ("bytea", "BLOB", ["'\\xff'", "'\\x00'", "''"]),
    ("integer[]", "TEXT", ["'{2}'", "'{10}'"]),
    ("double precision", "REAL", ["-1.5", "'Infinity'", "1e-300", "7"]),
])
def test_rows_are_hashed_in_the_same_order_of_keys(pg_replica, replica, kind, loose, values):
    db = pg_replica(f"CREATE TABLE t(id {kind} PRIMARY KEY)", "t")
    other = replica(f"CREATE TABLE t(id {loose} PRIMARY KEY)", "t")
    for value in values:
        db.sql(f"INSERT INTO t VALUES ({value})")
    other.sync(db)
    assert other.parked() == []
    assert db.hash() == other.hash()
    assert other.verify(db).equal
    db.sql("DELETE FROM t")
    other.sync(db)
    assert other.execute("SELECT count(*) FROM t") == [(0,)]


def test_generated_and_identity_columns(pg_replica, replica):
    schema = ("CREATE TABLE t(id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price NUMERIC(8,2),"
              "twice NUMERIC GENERATED ALWAYS AS (price * 2) STORED)")
    first, last = [pg_replica(schema, "t") for _ in range(2)]
    middle = replica("CREATE TABLE t(id INTEGER PRIMARY KEY, price NUMERIC, twice NUMERIC AS (price * 2))", "t")
    first.sql("INSERT INTO t(price) VALUES (1.10), (2)")
    for db in (first, last):
        middle.sync(db)
    assert last.sql("SELECT id, price, twice FROM t ORDER BY id") == ["1|1.10|2.20", "2|2.00|4.00"]
    last.sql("INSERT INTO t(price) VALUES (3)")
    for db in (last, first):
        middle.sync(db)
    assert middle.execute("SELECT id, twice FROM t WHERE price = 3") == [(3, 6)]
    assert first.hash() == middle.hash() == last.hash()


@pytest.mark.parametrize("number", ["1e-400", "-1e400", "5e-324", "1.79e308", "1e131000", "0.00", "-0.5e-300"])
def test_a_numeric_of_any_size_is_captured(pg_replica, number):
    """The trigger asks whether a double holds it, and must not fail where none does."""
    first, other = [pg_replica("CREATE TABLE t(id INTEGER PRIMARY KEY, v NUMERIC)", "t") for _ in range(2)]
    first.sql(f"INSERT INTO t VALUES (1, {number})")
    other.sync(first)
    assert other.parked() == []
    assert other.sql(f"SELECT v = {number} FROM t") == ["t"]
    assert first.hash() == other.hash()


# ---- One schema on both sides

SHARED = {
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


def test_types_with_the_same_name_on_both_sides(world):
    client, server = world.replicas(columns(SHARED), "t")
    number = itertools.count(1)
    for n, name in enumerate(SHARED):
        for value in [*SHARED[name], "NULL"]:
            for db in (client, server):
                db.execute(f"INSERT INTO t(id,c{n}) VALUES ({next(number)},{value})")
    settle(client, server)
    assert client.parked() == []
