"""A real database, 11 tables with foreign keys and a self reference, from SQLite into PostgreSQL and on to a third."""

import contextlib
import itertools
import re
import sqlite3

import csync
from exact import contents, quoted
from test_chinook import TABLES, Editor, copies  # noqa: F401 - a fixture

EDITS = 300


def columns_of(connection, table):
    return connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall()


def type_of(declared):
    """SQLite's types that PostgreSQL does not know."""
    return {"DATETIME": "TIMESTAMP"}.get(declared, declared.replace("NVARCHAR", "VARCHAR"))


def postgres_schema(path):
    """What SQLite's catalogue says of the tables, for PostgreSQL; foreign keys at the end, for they need their tables."""
    tables, keys = [], []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            described = columns_of(connection, table)
            lines = [f"{quoted(name)} {type_of(kind)}{' NOT NULL' if full else ''}" for _, name, kind, full, *_ in described]
            key = sorted((part, name) for _, name, _, _, _, part in described if part)
            lines.append(f"PRIMARY KEY ({', '.join(quoted(name) for _, name in key)})")
            tables.append(f"CREATE TABLE {quoted(table)} ({', '.join(lines)})")
            for _, _, parent, column, target, on_update, on_delete, _ in connection.execute(
                f"PRAGMA foreign_key_list({quoted(table)})"
            ):
                keys.append(
                    f"ALTER TABLE {quoted(table)} ADD FOREIGN KEY ({quoted(column)}) REFERENCES {quoted(parent)}"
                    f" ({quoted(target)}) ON UPDATE {on_update} ON DELETE {on_delete}"
                )
    assert len(keys) == 11
    return ";".join(tables + keys)


def orphans(db):
    """Rows whose parent is missing, asked of the data: the keys were checked all along."""
    found = []
    listed = db.sql(
        "SELECT c.conrelid::regclass||'|'||c.confrelid::regclass||'|'||quote_ident(a.attname)||'|'||quote_ident(b.attname)"
        " FROM pg_constraint c JOIN pg_attribute a ON a.attrelid=c.conrelid AND a.attnum=c.conkey[1]"
        " JOIN pg_attribute b ON b.attrelid=c.confrelid AND b.attnum=c.confkey[1] WHERE c.contype='f'"
    )
    for line in listed:
        child, parent, mine, theirs = line.split("|")
        found += db.sql(
            f"SELECT 1 FROM {child} x WHERE x.{mine} IS NOT NULL AND NOT EXISTS"
            f"(SELECT 1 FROM {parent} y WHERE y.{theirs}=x.{mine})"
        )
    return found


def assert_equal_and_sound(server, *files):
    assert {db.hash() for db in files} == {server.hash()}
    for db in files:
        assert contents(db.path) == contents(files[0].path)
        with contextlib.closing(sqlite3.connect(db.path)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert orphans(server) == []


class Fitting(Editor):
    """Edits that fit into PostgreSQL's columns: lengths, dates, two decimals."""

    def value(self, table, column, kind):
        value = super().value(table, column, kind)
        if kind == "DATETIME":
            return f"{self.random.randrange(1900, 2100)}-0{self.random.randrange(1, 9)}-11 12:00:0{self.random.randrange(9)}"
        if isinstance(value, float):
            return round(value, 2)
        return value[: int(kind.partition("(")[2].rstrip(")"))] if isinstance(value, str) else value


class Statements:
    """What Editor needs of a connection, on PostgreSQL: names are quoted, parameters numbered, refusals are SQLite's."""

    def __init__(self, db, names):
        self.db = db
        self.names = re.compile(r"\b(" + "|".join(names) + r")\b(?!\")")

    def execute(self, statement, values):
        marks = itertools.count(1)
        text = self.names.sub(r'"\1"', statement.replace('"', ""))
        try:
            self.db.execute(re.sub(r"\?", lambda _: f"${next(marks)}", text), values)
        except csync.DatabaseError as error:
            raise sqlite3.IntegrityError from error

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Each statement is a transaction of its own."""

    def close(self):
        """The connection is the replica's."""


def editor_of(server, like, seed):
    """Edits the server, which holds what the file does."""
    editor = Fitting(like.path, seed)
    editor.connection.close()
    names = {*TABLES, *(name for described in editor.columns.values() for name, _ in described)}
    editor.connection = Statements(server, sorted(names, key=len, reverse=True))
    return editor


def test_chinook_goes_through_postgresql(copies, pg_replica):  # noqa: F811
    first, third = copies("full", "empty")
    server = pg_replica(postgres_schema(first.path), *TABLES)
    result = first.sync(server)
    assert result.pushed == sum(map(len, contents(first.path).values())) > 15_000
    assert (result.parked, result.rejected, len(server.parked())) == (0, 0, 0)
    third.sync(server)
    assert_equal_and_sound(server, first, third)
    Fitting(first.path, 1).edit(EDITS)
    editor_of(server, third, 2).edit(EDITS)
    Fitting(third.path, 3).edit(EDITS)
    for _ in range(3):
        for db in (first, third):
            db.sync(server)
    assert_equal_and_sound(server, first, third)
    parked = [{(p.table, repr(p.pk), p.reason) for p in db.parked()} for db in (server, first, third)]
    assert parked[0] == parked[1] == parked[2]
    assert len(server.conflicts()) + len(first.conflicts()) + len(third.conflicts()) > 0
    again = [first.sync(server), third.sync(server)]
    assert [(r.pulled, r.pushed) for r in again] == [(0, 0)] * 2
