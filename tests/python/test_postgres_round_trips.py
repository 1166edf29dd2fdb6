"""Any value of any type: from PostgreSQL through SQLite to PostgreSQL, and from SQLite through PostgreSQL to SQLite."""

import contextlib
import datetime
import decimal
import itertools
import json
import uuid

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact import bits
from postgres_replicas import TYPES

FEW = hypothesis.settings(max_examples=max(10, hypothesis.settings().max_examples // 8))  # each is several syncs
_numbers = itertools.count(1)

# ---- What PostgreSQL can hold: by type, the column on SQLite and texts that PostgreSQL takes

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))
FLOATS = st.floats(allow_nan=False) | st.sampled_from([-0.0, 5e-324, 1e308, 1.7976931348623157e308])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8,
)  # fmt: skip
MOMENTS = st.datetimes(timezones=st.sampled_from([datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=5.5))]))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: abs(d.adjusted()) < 1000)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(values, write=str):
    lists = st.lists(st.none() | values, max_size=4)
    return lists.map(lambda found: "{" + ",".join("NULL" if v is None else write(v) for v in found) + "}")


def padded(value):
    """PostgreSQL takes years of four digits or more."""
    text = value.isoformat(sep=" ") if isinstance(value, datetime.datetime) else value.isoformat()
    return text.zfill(10)


HELD = {
    "smallint": ("INTEGER", st.integers(-(2**15), 2**15 - 1).map(str)),
    "integer": ("INTEGER", st.integers(-(2**31), 2**31 - 1).map(str)),
    "bigint": ("INTEGER", st.integers(-(2**63), 2**63 - 1).map(str)),
    "numeric": ("", DECIMALS.map(str) | st.sampled_from(["1.10", "0.00", "Infinity", "9" * 40, "1e-400"])),
    "numeric(12,2)": ("NUMERIC", st.decimals(-9999999999, 9999999999, places=2).map(str)),
    "numeric(40,10)": ("TEXT", st.decimals(-(10**28), 10**28, places=10).map(str) | st.just("NaN")),
    "double precision": ("REAL", FLOATS.map(repr)),
    "real": ("REAL", st.floats(allow_nan=False, width=32).map(repr)),
    "boolean": ("BOOLEAN", st.sampled_from(["true", "false"])),
    "text": ("TEXT", TEXT),
    "char(7)": ("TEXT", TEXT.map(lambda text: text[:7])),
    "bytea": ("BLOB", st.binary().map(lambda raw: "\\x" + raw.hex())),
    "timestamptz": ("TEXT", MOMENTS.map(padded) | st.sampled_from(["infinity", "0044-03-15 10:00 BC", "10000-01-01"])),
    "timestamp": ("TEXT", st.datetimes().map(padded) | st.sampled_from(["-infinity", "294276-12-31 23:59:59.999999"])),
    "date": ("TEXT", st.dates().map(padded) | st.sampled_from(["infinity", "4714-11-24 BC", "5874897-12-31"])),
    "time": ("TEXT", st.times().map(str) | st.just("24:00:00")),
    "timetz": ("TEXT", st.times().map(lambda t: f"{t}-03:30") | st.just("24:00:00+15:59")),
    "interval": ("TEXT", st.tuples(*[st.integers(-9999, 9999)] * 3, st.decimals(-99999, 99999, places=6)).map(
        lambda v: f"{v[0]} years {v[1]} mons {v[2]} days {v[3]} secs")),
    "uuid": ("TEXT", st.uuids().map(str)),
    "json": ("TEXT", st.tuples(JSON, st.none() | st.just(1)).map(lambda v: json.dumps(v[0], indent=v[1]))),
    "jsonb": ("TEXT", JSON.map(json.dumps).filter(lambda text: "\\u0000" not in text)),
    "integer[]": ("TEXT", array(st.integers(-(2**31), 2**31 - 1)) | st.sampled_from(["[-1:0]={1,2}", "{{1,2},{3,NULL}}"])),
    "text[]": ("TEXT", array(TEXT, quoted)),
    "float8[]": ("TEXT", array(st.floats(), repr)),
    "mood": ("TEXT", st.sampled_from(["sad", "happy"])),
    "above_zero": ("INTEGER", st.integers(1, 2**31 - 1).map(str)),
    "pair": ("TEXT", st.tuples(st.integers(0, 9), TEXT).map(lambda v: f"({v[0]},{quoted(v[1])})")),
    "int4range": ("TEXT", st.integers(0, 9).map(lambda n: f"[{n},{n + 5}]") | st.sampled_from(["empty", "(,)", "[3,)"])),
    "tstzrange": ("TEXT", MOMENTS.map(lambda moment: f"[{padded(moment)},)")),
    "inet": ("TEXT", st.ip_addresses().map(str)),
    "bit(8)": ("TEXT", st.integers(0, 255).map("{:08b}".format)),
    "xml": ("TEXT", st.sampled_from(["<a/>", '<a b="c">d &amp; e</a>', "text only"])),
}  # fmt: skip
ROWS = st.lists(st.tuples(*(st.none() | values for _, values in HELD.values())), min_size=1, max_size=4)
SETTINGS = st.tuples(
    st.sampled_from(["UTC", "Asia/Kolkata", "America/St_Johns"]), st.sampled_from(["ISO", "German", "SQL, DMY", "Postgres"]),
    st.sampled_from(["postgres", "sql_standard", "iso_8601", "postgres_verbose"]), st.sampled_from(["hex", "escape"]),
    st.sampled_from([-15, 0, 1, 3]),
)  # fmt: skip


def schema(types):
    return "CREATE TABLE t(id INTEGER PRIMARY KEY," + ",".join(f"c{n} {kind}" for n, kind in enumerate(types)) + ")"


def literal(text):
    return "NULL" if text is None else "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def configure(session, settings):
    names = ("timezone", "datestyle", "intervalstyle", "bytea_output", "extra_float_digits")
    session(";".join(f"SET {name}='{value}'" for name, value in zip(names, settings)))


@pytest.fixture
def chain(pg_replica, replica):
    """first and last on PostgreSQL with SQLite between them, and one more on PostgreSQL next to the first."""
    return [*(pg_replica(TYPES + schema(HELD), "t") for _ in range(3)), replica(schema(kind for kind, _ in HELD.values()), "t")]


def contents(db):
    """As text in one setting; a numeric's zeros at the end do not count."""
    configure(db.sql, ("UTC", "ISO", "postgres", "hex", 1))
    columns = (f"trim_scale(c{n})" if kind.startswith("numeric") else f"c{n}" for n, kind in enumerate(HELD))
    return db.sql(f"SELECT {','.join(columns)} FROM t ORDER BY id")


def test_from_postgresql_through_sqlite(chain):
    first, last, beside, middle = chain
    written = []

    @FEW
    @given(ROWS, SETTINGS, st.booleans())
    def writes(rows, settings, edits):
        ids = written[-len(rows) :] if edits else []
        ids += [next(_numbers) for _ in rows[len(ids) :]]
        written.extend(set(ids) - set(written))
        configure(first.sql, settings)
        for n, row in zip(ids, rows):
            values = ",".join(map(literal, row))
            sets = ",".join(f"c{i}=excluded.c{i}" for i in range(len(HELD)))
            first.sql(f"SET datestyle='ISO, YMD'; BEGIN; INSERT INTO t VALUES ({n},{values}) ON CONFLICT(id) DO UPDATE SET {sets};"
                      f"SET LOCAL datestyle='{settings[1]}'; UPDATE t SET id=id WHERE id={n}; COMMIT")
        middle.sync(first)
        middle.sync(last)
        beside.sync(first)
        assert first.parked() == middle.parked() == last.parked() == beside.parked() == []
        assert first.hash() == middle.hash() == last.hash() == beside.hash()
        assert contents(first) == contents(last) == contents(beside)
        assert [(r.pulled, r.pushed) for r in (middle.sync(first), middle.sync(last))] == [(0, 0)] * 2

    writes()


# ---- What SQLite can hold, in columns of PostgreSQL

LOOSE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary() | TEXT
SPELLINGS = {
    kind: values | values.map(str.upper) | values.map(lambda text: text.replace(" ", "T")) | values.map(lambda text: text + "0")
    for kind, (_, values) in HELD.items()
}
JSON_TEXTS = st.tuples(JSON, st.sampled_from([(",", ":"), (" , ", ":  ")])).map(lambda v: json.dumps(v[0], separators=v[1]))
SPELLINGS["jsonb"] |= JSON_TEXTS
SPELLINGS["json"] |= JSON_TEXTS
SPELLINGS["integer"] = SPELLINGS["smallint"] = st.integers(-(2**33), 2**33)
SPELLINGS["bigint"] = st.integers(-(2**63), 2**63 - 1)
SPELLINGS["boolean"] = st.integers(-1, 2)
SPELLINGS["double precision"] = SPELLINGS["real"] = SPELLINGS["numeric"] = SPELLINGS["numeric(12,2)"] = st.floats() | st.integers(-99, 99)
SPELLINGS["bytea"] = st.binary()
VALUES = st.one_of(*(st.tuples(st.just(n), SPELLINGS[kind] | LOOSE) for n, kind in enumerate(HELD)))


def moment(text):
    found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found.replace(tzinfo=found.tzinfo or datetime.timezone.utc)


SAME = {
    "timestamptz": moment, "timestamp": moment, "date": datetime.date.fromisoformat, "time": datetime.time.fromisoformat,
    "uuid": uuid.UUID, "jsonb": json.loads, "numeric(40,10)": decimal.Decimal,
}  # fmt: skip


def values_of(db):
    return {n: value for n, *value in db.execute("SELECT * FROM t")}


def same(column, before, after):
    """A value is as it was written, or the same in PostgreSQL's spelling."""
    if bits(before) == bits(after):
        return True
    read = SAME[list(HELD)[column]]
    with contextlib.suppress(ValueError):
        return read(before) == read(after)
    return [c for c in before if c.isalnum()] == [c for c in after if c.isalnum()]  # beyond what Python's classes hold


def test_from_sqlite_through_postgresql(pg_replica, replica):
    first, last = [replica(schema(kind for kind, _ in HELD.values()), "t") for _ in range(2)]
    middle = pg_replica(TYPES + schema(HELD), "t")

    @FEW
    @given(st.lists(VALUES, min_size=1, max_size=30))
    def writes(cells):
        columns, before = {}, {}
        for column, value in cells:
            n = next(_numbers)
            with contextlib.suppress(UnicodeEncodeError):
                first.execute(f"INSERT INTO t(id,c{column}) VALUES (?,?)", (n, value))
                columns[n] = column
        before = values_of(first)
        for db in (first, last, first, last):
            db.sync(middle)
        parked = {p.pk["id"] for p in middle.parked()}
        assert {p.reason for p in middle.parked()} <= {"type", "check"}
        assert {n for (n,) in middle.execute("SELECT id FROM t")} == set(before) - parked
        assert first.hash() == last.hash()
        for n, row in values_of(first).items():
            for column, (was, now) in enumerate(zip(before[n], row)):
                assert (was, now) == (None, None) or same(column, was, now), (list(HELD)[column], was, now)
        for n in parked:
            first.execute("DELETE FROM t WHERE id = ?", (n,))
        first.sync(middle)
        last.sync(middle)
        assert middle.parked() == []
        assert first.hash() == middle.hash() == last.hash()
        assert [(r.pulled, r.pushed) for r in (first.sync(middle), last.sync(middle))] == [(0, 0)] * 2

    writes()
