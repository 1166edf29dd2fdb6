"""What a database holds, read by plain SQL on a connection of Python's own, to the last bit."""

import contextlib
import sqlite3
import struct


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def bits(value):
    """A value of SQLite as something that is equal only to the same storage class with the same content."""
    if isinstance(value, float):
        return "real", struct.pack(">d", value)
    if isinstance(value, bytes):
        return "blob", value
    return value if isinstance(value, tuple) else (type(value).__name__, value)


@contextlib.contextmanager
def reading(path):
    """A connection that gives text as ("text", its bytes)."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lambda raw: ("text", bytes(raw))
        yield connection


def rows(path, table, columns="*"):
    """Every row of the table as exact values, in an order that the content alone decides."""
    with reading(path) as connection:
        found = connection.execute(f"SELECT {columns} FROM {quoted(table)}").fetchall()
    return sorted((tuple(bits(value) for value in row) for row in found), key=repr)


def table_names(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        listed = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [name for (name,) in listed if not name.startswith("sqlite_")]


def contents(path):
    """The user's own tables: what an application sees."""
    return {name: rows(path, name) for name in table_names(path) if not name.startswith("_sync_")}


def everything(path):
    """The schema and every table, csync's own too: equal before and after a call that did nothing."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
    return schema, {name: rows(path, name) for name in table_names(path)}
