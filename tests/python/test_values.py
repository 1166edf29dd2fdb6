"""Whatever SQLite can hold comes out of the other side: the same storage class, the same bytes."""

import contextlib
import itertools
import shutil
import sqlite3
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import csync
from exact import contents, quoted, rows

# ---- What SQLite can hold: (expression with one parameter, parameter)

INTEGERS = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats() | st.sampled_from([-0.0, 5e-324, -2.2250738585072009e-308, 1.7976931348623157e308])
TEXTS = st.text(st.characters(blacklist_categories=("Cs",)))
BLOBS = st.binary()


def plain(values):
    return values.map(lambda value: ("?", value))


BAD_TEXT = st.binary(min_size=1).map(lambda raw: ("CAST(? AS TEXT)", raw))
VALUES = st.one_of(
    plain(st.none()), plain(INTEGERS), plain(DOUBLES), plain(TEXTS), plain(BLOBS), BAD_TEXT,
    plain(INTEGERS.map(str)), plain(DOUBLES.map(repr)), plain(st.sampled_from(["0x10", " 1", "1e3", "9" * 30])),
)  # fmt: skip
EDGES = [
    None, 0, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, -1.0, 0.1, 0.1 + 0.2, 1e15, 1e16,
    123456789.123456789, 1e22, 1e23, 5e-324, -5e-324, 2.225073858507201e-308, 2.2250738585072014e-308,
    1.7976931348623157e308, -1.7976931348623157e308, float("inf"), float("-inf"), 9007199254740993.0,
    9223372036854775807.0, -9223372036854775808.0, 9223372036854774784.0, "", "\0", "a\0b", "\0\0", "null", "true", "1", "1.0",
    " 1", "1e5", "0x1F", "Infinity", "-0.0", '"', "\\", "'", "/", "\u2028", "\ufeff", "\ud7ff", "\ufffd", "\U0010ffff", "\x7f",
    "".join(map(chr, range(32))), "👩‍👩‍👧‍👦 e\u0301 é", '{"$b":"00"}', '{"a":1}', "[1]", b"", b"\0", b"text", bytes(range(256)),
]  # fmt: skip
BAD_EDGES = [
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"ok\xffok\0\xfe", b"\xef\xbf\xbd\xff", b"\x80" * 300,
]  # fmt: skip
ALL_EDGES = [("?", value) for value in EDGES] + [("CAST(? AS TEXT)", raw) for raw in BAD_EDGES]

TYPES = [
    "", "INTEGER", "INT", "BIGINT", "BOOLEAN", "REAL", "DOUBLE PRECISION", "FLOAT", "NUMERIC", "DECIMAL(10,2)", "DATE",
    "DATETIME", "TEXT", "VARCHAR(3)", "NCHAR(55)", "CLOB", "BLOB", "JSON", "UUID", "POINT", "STRING", "ANY", "TEXT COLLATE NOCASE",
]  # fmt: skip
EVERY_TYPE = f"CREATE TABLE t (id INTEGER PRIMARY KEY, {', '.join(f'c{n} {kind}' for n, kind in enumerate(TYPES))})"


@contextlib.contextmanager
def trio(tmp_path, schema, capture="full", tables=("t",), pragma=("", "", "")):
    """Three replicas in a chain; they are new files each time."""
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(3):
            path = tmp_path / f"{next(_numbers)}.db"
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.executescript(pragma[number] + ";" + schema)
            db = stack.enter_context(csync.open(path))
            db.path = path
            db.track(*tables, capture=capture)
            made.append(db)
        yield made


_numbers = itertools.count()


def relay(first, second, third):
    """From the first to the third by way of the second, once by handle and once as JSON; all must be equal."""
    results = [second.pull(first), third.pull(csync.Remote(fetch=lambda *page: json_page(second, *page)))]
    for result in results:
        assert (result.rejected, result.parked) == (0, 0)
    assert contents(first.path) == contents(second.path) == contents(third.path)
    assert first.hash() == second.hash() == third.hash()


def json_page(db, since, limit):
    return csync.Batch.from_json(db.changes(since, limit).to_json())


def write(db, *statements):
    """Each statement, or (statement, params), in a transaction of its own, by a program that knows no csync.

    A statement that SQLite refuses (a key that is there already) is no write.
    """
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        for statement in statements:
            arguments = (statement,) if isinstance(statement, str) else statement
            with contextlib.suppress(sqlite3.IntegrityError, sqlite3.DataError):
                connection.execute(*arguments)


def insertion(table, values):
    return (
        f"INSERT INTO {quoted(table)} VALUES ({', '.join(sql for sql, _ in values)})",
        [value for _, value in values],
    )


# ---- Every value in every column


@pytest.mark.parametrize("capture", ["full", "keys"])
def test_every_edge_value_in_a_column_of_every_type(tmp_path, capture):
    with trio(tmp_path, EVERY_TYPE, capture) as dbs:
        write(*dbs[:1], *(insertion("t", [("?", n), *[edge] * len(TYPES)]) for n, edge in enumerate(ALL_EDGES)))
        assert len(rows(dbs[0].path, "t")) == len(ALL_EDGES)
        relay(*dbs)
        shifted = enumerate(ALL_EDGES[1:] + ALL_EDGES[:1])
        assignments = [(f"UPDATE t SET {', '.join(f'c{n} = {sql}' for n in range(len(TYPES)))} WHERE id = ?",
                        [value] * len(TYPES) + [key]) for key, (sql, value) in shifted]  # fmt: skip
        write(dbs[0], *assignments)
        relay(*dbs)


@pytest.mark.parametrize("capture", ["full", "keys"])
def test_any_value_in_any_column(tmp_path, capture):
    with trio(tmp_path, EVERY_TYPE, capture) as dbs:
        numbers = itertools.count(1)

        @given(st.lists(st.lists(VALUES, min_size=len(TYPES), max_size=len(TYPES)), min_size=1, max_size=3))
        def check(made):
            write(dbs[0], "DELETE FROM t", *(insertion("t", [("?", next(numbers)), *row]) for row in made))
            assert len(rows(dbs[0].path, "t")) == len(made)
            relay(*dbs)

        check()


STRICT = {
    "INT": plain(INTEGERS | st.none()),
    "INTEGER": plain(INTEGERS | st.none()),
    "REAL": plain(DOUBLES | st.none()),
    "TEXT": plain(TEXTS | st.none()) | BAD_TEXT,
    "BLOB": plain(BLOBS | st.none()),
    "ANY": VALUES,
}


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize("ending", ["STRICT", "STRICT, WITHOUT ROWID"])
def test_strict_tables(tmp_path, ending, capture):
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(STRICT))
    with trio(tmp_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns}) {ending}", capture) as dbs:
        numbers = itertools.count(1)

        @given(st.lists(st.tuples(*STRICT.values()), min_size=1, max_size=3))
        def check(made):
            write(dbs[0], "DELETE FROM t", *(insertion("t", [("?", next(numbers)), *row]) for row in made))
            assert len(rows(dbs[0].path, "t")) == len(made)
            relay(*dbs)

        check()


@pytest.mark.parametrize(
    ("value", "capture"),
    [("x" * 2**20, "full"), ("ä𝄞\0" * 2**17, "full"), (bytes(range(256)) * 2**12, "full"), ("𝄞" * 2**18, "keys")],
    ids=["ascii", "unicode", "blob", "keys"],
)
def test_a_megabyte(tmp_path, value, capture):
    with trio(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT, c BLOB)", capture) as dbs:
        write(dbs[0], insertion("t", [("?", 1), *[("?", value)] * 3]))
        relay(*dbs)
        write(dbs[0], ("UPDATE t SET a = CAST(? AS TEXT)", (b"\xfe" * 2**20,)))
        relay(*dbs)


# ---- Keys


NO_NULL = VALUES.filter(lambda made: made[1] is not None and made[1] == made[1])
GOOD = NO_NULL.filter(lambda made: made[0] == "?")
KEYS = {
    "INTEGER": plain(INTEGERS),
    "INT": GOOD,
    "": GOOD,
    "TEXT": GOOD,
    "TEXT COLLATE NOCASE": plain(st.text("aAbBäÄ \0", max_size=3)),
    "TEXT COLLATE RTRIM": plain(st.text("ab ", max_size=3)),
    "VARCHAR(10)": GOOD,
    "BLOB": plain(BLOBS) | GOOD,
    "REAL": plain(DOUBLES.filter(lambda value: value == value)),
    "NUMERIC": GOOD,
}


@st.composite
def histories(draw, keys):
    """Inserts, updates, deletes and changes of the key among a few keys."""
    few = draw(st.lists(keys, min_size=1, max_size=4))
    pick = st.sampled_from(few)
    steps = []
    for _ in range(draw(st.integers(1, 8))):
        kind, (sql, key), (other_sql, other) = draw(st.sampled_from("iiurd")), draw(pick), draw(pick)
        value = draw(st.integers(0, 9))
        steps.append({
            "i": (f"INSERT INTO t(k, v) VALUES ({sql}, ?)", (key, value)),
            "u": (f"UPDATE t SET v = ? WHERE k = {sql}", (value, key)),
            "r": (f"UPDATE t SET k = {other_sql} WHERE k = {sql}", (other, key)),
            "d": (f"DELETE FROM t WHERE k = {sql}", (key,)),
        }[kind])  # fmt: skip
    return steps


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("ending", ["", "WITHOUT ROWID"])
@pytest.mark.parametrize("capture", ["full", "keys"])
def test_keys_of_every_type(tmp_path, kind, ending, capture):
    with trio(tmp_path, f"CREATE TABLE t (k {kind} NOT NULL PRIMARY KEY, v) {ending}", capture) as dbs:

        @hypothesis.settings(max_examples=max(5, hypothesis.settings().max_examples // 5))
        @given(histories(KEYS[kind]))
        def check(steps):
            write(dbs[0], *steps)
            relay(*dbs)

        check()


@pytest.mark.parametrize("ending", ["", "WITHOUT ROWID"])
def test_composite_keys(tmp_path, ending):
    schema = f"CREATE TABLE t (v, b TEXT COLLATE NOCASE NOT NULL, a NOT NULL, c REAL NOT NULL, PRIMARY KEY (a, b, c)) {ending}"
    statements = {
        "i": lambda a, b, c, v: ("INSERT INTO t(a, b, c, v) VALUES (?, ?, ?, ?)", (a, b, c, v)),
        "u": lambda a, b, c, v: ("UPDATE t SET v = ? WHERE a > ?", (v, a)),
        "d": lambda a, b, c, v: ("DELETE FROM t WHERE b < ?", (b,)),
        "k": lambda a, b, c, v: ("UPDATE t SET b = ? WHERE a <= ?", (b, a)),
        "K": lambda a, b, c, v: ("UPDATE t SET a = ?, c = ? WHERE v = ?", (a, c, v)),
    }
    with trio(tmp_path, schema) as dbs:

        @given(st.lists(st.tuples(st.sampled_from("iiiudkK"), *[GOOD] * 3, st.integers(0, 3)), max_size=8))
        def check(steps):
            write(dbs[0], *(statements[kind](a[1], b[1], c[1], v) for kind, a, b, c, v in steps))
            relay(*dbs)

        check()


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize("kind", ["", "TEXT", "TEXT COLLATE NOCASE", "BLOB"])
def test_text_that_is_not_utf_8_is_a_key_like_any(tmp_path, kind, capture):
    with trio(tmp_path, f"CREATE TABLE t (k {kind} PRIMARY KEY, v)", capture) as dbs:
        write(dbs[0], *(("INSERT INTO t VALUES (CAST(? AS TEXT), 1)", (raw,)) for raw in BAD_EDGES))
        relay(*dbs)
        write(dbs[0], "UPDATE t SET v = 2", ("DELETE FROM t WHERE k = CAST(? AS TEXT)", (BAD_EDGES[0],)))
        relay(*dbs)


@pytest.mark.parametrize(
    "steps",
    [
        ["UPDATE t SET id = 5 WHERE id = 1"],
        ["UPDATE t SET rowid = 5 WHERE id = 1"],
        ["UPDATE t SET _rowid_ = -5 WHERE id = 1"],
        ["UPDATE t SET oid = 5, v = 'both' WHERE id = 1"],
        ["UPDATE t SET id = 99 WHERE id = 1", "UPDATE t SET id = 1 WHERE id = 2", "UPDATE t SET id = 2 WHERE id = 99"],
        ["UPDATE t SET id = id + 100"],
        ["UPDATE t SET id = -id", "UPDATE t SET id = 4 + id"],
        ["UPDATE t SET id = 9 WHERE id = 1", "DELETE FROM t WHERE id = 9", "INSERT INTO t VALUES (1, 'again')"],
        ["UPDATE OR REPLACE t SET id = 1 WHERE id = 1"],
        ["BEGIN", "UPDATE t SET id = 9 WHERE id = 1", "UPDATE t SET id = 1 WHERE id = 9", "COMMIT"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("capture", ["full", "keys"])
def test_integer_keys_change(tmp_path, steps, capture):
    with trio(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", capture) as dbs:
        write(dbs[0], "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')")
        relay(*dbs)
        write(dbs[0], *steps)
        relay(*dbs)


def test_a_key_without_an_index_of_its_own_is_no_rowid(tmp_path):
    """INTEGER PRIMARY KEY DESC is SQLite's old mistake: such a column may hold anything."""
    with trio(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, v)") as dbs:
        write(dbs[0], "INSERT INTO t VALUES ('text', 1), (2.5, 2), (x'00', 3), (7, 4)")
        write(dbs[0], "UPDATE t SET rowid = rowid + 10, v = v + 1")
        relay(*dbs)
        write(dbs[0], "DELETE FROM t WHERE id = 'text'")
        relay(*dbs)


# ---- Tables of every shape


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize(("kind", "count"), [("TEXT", 100), ("TEXT", 1000), ("TEXT", 1999), ("", 100), ("", 1000)])
def test_very_wide_tables(tmp_path, count, kind, capture):
    columns = ", ".join(f"c{n} {kind}" for n in range(count))
    with trio(tmp_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})", capture) as dbs:
        values = list(itertools.islice(itertools.cycle(ALL_EDGES), count))
        write(dbs[0], insertion("t", [("?", 1), *values]))
        relay(*dbs)
        write(dbs[0], f"UPDATE t SET c{count - 1} = 'changed', c0 = NULL")
        relay(*dbs)


def test_composite_keys_of_many_columns(tmp_path):
    names = ", ".join(f"k{n}" for n in range(60))
    with trio(tmp_path, f"CREATE TABLE t ({names}, v, PRIMARY KEY ({names}))") as dbs:
        write(dbs[0], f"INSERT INTO t VALUES ({', '.join(map(str, range(60)))}, 'v')", "UPDATE t SET k59 = 'x', v = 2")
        relay(*dbs)


NAMES = [
    "Order", 'we"ird', "naïve", "it's", "a.b", "%s", "%%d", "100%", "two words", "semi;colon", "--", "/*", "[x]", "back`tick",
    "new\nline", "tab\t", "\\", "$b", "?1", ":a", "@a", "NEW", "OLD", "select", "table_name", "clock", "sync_active", "version",
    "k1", "ts", "1", "-1", "👩‍👧", "é", "e\u0301", "\x01", "\x7f", "main", "excluded", "id2 ", " ", "rowid2", "x" * 300, "{", "]",
]  # fmt: skip


@pytest.mark.parametrize("capture", ["full", "keys"])
def test_columns_with_any_name(tmp_path, capture):
    columns = ", ".join(map(quoted, NAMES))
    with trio(tmp_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})", capture) as dbs:
        write(dbs[0], insertion("t", [("?", n) for n in range(len(NAMES) + 1)]))
        relay(*dbs)
        write(dbs[0], *((f"UPDATE t SET {quoted(name)} = ?", (name,)) for name in NAMES))
        relay(*dbs)
        assert dbs[2].tables()[0].columns == ("id", *NAMES)


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize("part", range(5))
def test_tables_and_keys_with_any_name(tmp_path, capture, part):
    tables = NAMES[part::5]
    schema = ";".join(
        f"CREATE TABLE {quoted(name)} ({quoted(name)} PRIMARY KEY, v, {quoted(name + 'é')} NOT NULL)" for name in tables
    )
    with trio(tmp_path, schema, capture, tables) as dbs:
        assert {table.name for table in dbs[0].tables()} == set(tables)
        steps = [
            (
                f"INSERT INTO {quoted(name)} VALUES ('a', 1, 2), ('b', 3, 4)",
                f"UPDATE {quoted(name)} SET {quoted(name)} = 'c' WHERE {quoted(name)} = 'b'",
                f"DELETE FROM {quoted(name)} WHERE v = 1",
            )
            for name in tables
        ]
        write(dbs[0], "BEGIN", *itertools.chain(*steps), "COMMIT")
        relay(*dbs)
        assert contents(dbs[2].path).keys() == set(tables)


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, rowid, v)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, rowid, oid, _rowid_, v)",
        "CREATE TABLE t (rowid INTEGER PRIMARY KEY, v)",
        "CREATE TABLE t (rowid TEXT PRIMARY KEY, v)",
        "CREATE TABLE t (rowid, oid, v, PRIMARY KEY (oid, rowid))",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, ROWID TEXT, v) WITHOUT ROWID",
    ],
)
def test_a_column_named_rowid(tmp_path, schema, capture):
    with trio(tmp_path, schema, capture) as dbs:
        columns = dbs[0].tables()[0].columns
        for n in (1, 2, 3):
            write(dbs[0], f"INSERT INTO t VALUES ({', '.join(str(n * 10 + i) for i in range(len(columns)))})")
        relay(*dbs)
        write(dbs[0], "UPDATE t SET rowid = 77 WHERE rowid BETWEEN 10 AND 19", "UPDATE t SET v = 'x' WHERE rowid = 77")
        write(dbs[0], "DELETE FROM t WHERE rowid BETWEEN 20 AND 29")
        relay(*dbs)
        assert "x" in [row[-1] for row in dbs[2].execute("SELECT * FROM t")]


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize("storage", ["VIRTUAL", "STORED"])
def test_generated_columns_are_computed_everywhere(tmp_path, storage, capture):
    schema = f"""CREATE TABLE t (id INTEGER PRIMARY KEY, area REAL GENERATED ALWAYS AS (w * h) {storage}, w, h,
                 label TEXT AS (id || ': ' || w) {storage} UNIQUE)"""
    with trio(tmp_path, schema, capture) as dbs:
        write(dbs[0], "INSERT INTO t(id, w, h) VALUES (1, 2, 3), (2, 0.1, 0.2)", "UPDATE t SET w = 7 WHERE id = 1")
        relay(*dbs)
        assert dbs[2].execute("SELECT * FROM t WHERE id = 1") == [(1, 21.0, 7, 3, "1: 7")]
        assert set(dbs[2].changes()[0].payload) == {"id", "w", "h"}


def test_an_empty_column_name_travels_or_is_refused(tmp_path):
    """SQLite allows "" as a name. Data that is captured and then refused on the way would be lost."""
    with contextlib.ExitStack() as stack, contextlib.suppress(csync.SchemaError):
        dbs = stack.enter_context(trio(tmp_path, 'CREATE TABLE t (id INTEGER PRIMARY KEY, "")'))
        write(dbs[0], "INSERT INTO t VALUES (1, 'x')")
        relay(*dbs)


def test_defaults_do_not_replace_null(tmp_path):
    with trio(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v DEFAULT 'x', w NOT NULL DEFAULT 5)") as dbs:
        write(dbs[0], "INSERT INTO t(id) VALUES (1)", "INSERT INTO t VALUES (2, NULL, '')")
        relay(*dbs)


def test_autoincrement_goes_on_above_what_came(tmp_path):
    with trio(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v)") as dbs:
        write(dbs[0], "INSERT INTO t VALUES (41, 'x')")
        relay(*dbs)
        write(dbs[2], "INSERT INTO t(v) VALUES ('next')")
        assert dbs[2].execute("SELECT max(id) FROM t") == [(42,)]


# ---- Other writers and other encodings


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="NOT TESTED: there is no sqlite3 command line shell")
def test_the_sqlite3_shell_writes_beside_an_open_replica(tmp_path):
    with trio(tmp_path, EVERY_TYPE) as dbs:
        for number, (sql, value) in enumerate([*ALL_EDGES[:30], ("", b"\0\xff")]):
            literal = "9e999" if value == float("inf") else "-9e999" if value == float("-inf") else None
            if literal is None:
                literal = f"x'{value.hex()}'" if isinstance(value, bytes) else "NULL" if value is None else repr(value)
            statement = f"INSERT INTO t VALUES ({number}, {', '.join([literal] * len(TYPES))})"
            subprocess.run(["sqlite3", "-bail", dbs[0].path, statement], check=True)
        relay(*dbs)
        subprocess.run(["sqlite3", "-bail", dbs[0].path, "DELETE FROM t WHERE id % 2; UPDATE t SET id = id + 1000"], check=True)
        relay(*dbs)


def test_another_python_writes_beside_an_open_replica(tmp_path):
    with trio(tmp_path, EVERY_TYPE) as dbs:
        program = f"import sqlite3; c = sqlite3.connect({str(dbs[0].path)!r}); c.execute('INSERT INTO t(id, c0) VALUES (1, 2)'); c.commit()"
        subprocess.run([sys.executable, "-c", program], check=True)
        relay(*dbs)
        assert dbs[2].execute("SELECT c0 FROM t") == [(2,)]


@pytest.mark.parametrize("capture", ["full", "keys"])
@pytest.mark.parametrize("encodings", [("le", "8", "be"), ("be", "le", "8"), ("8", "le", "8")])
def test_databases_in_utf_16(tmp_path, encodings, capture):
    pragmas = ["PRAGMA encoding = 'UTF-" + ("8'" if e == "8" else f"16{e}'") for e in encodings]
    with trio(tmp_path, EVERY_TYPE, capture, pragma=pragmas) as dbs:
        write(dbs[0], *(insertion("t", [("?", n), *[("?", edge)] * len(TYPES)]) for n, edge in enumerate(EDGES)))
        relay(*dbs)


@pytest.mark.parametrize("kind", ["TEXT", "TEXT COLLATE NOCASE", ""])
def test_text_keys_in_utf_16(tmp_path, kind):
    pragmas = ["PRAGMA encoding = 'UTF-16le'", "", "PRAGMA encoding = 'UTF-16be'"]
    with trio(tmp_path, f"CREATE TABLE t (k {kind} PRIMARY KEY, v)", pragma=pragmas) as dbs:
        keys = [edge for edge in EDGES if isinstance(edge, str)]
        write(dbs[0], *(("INSERT INTO t VALUES (?, ?)", (key, key)) for key in keys))
        write(dbs[0], "UPDATE t SET k = k || 'x' WHERE k > 'a'", ("DELETE FROM t WHERE k = ?", ("\0",)))
        relay(*dbs)
