"""A table of notes of some length, in five columns, that the benchmarks of the wire serve."""

import contextlib
import random
import sqlite3

import csync

SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, body TEXT, votes INTEGER, edited TEXT)"
INSERT = "INSERT INTO note VALUES (?, ?, ?, ?, ?)"
WORDS = "sync replica page offline tea ferry orchard lantern quarry meadow copper violet harbour cedar".split()


def empty(path):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(SCHEMA)
    db = csync.open(path)
    db.track("note")
    return db


def rows(count, first=0):
    rng = random.Random(7)
    for n in range(first, first + count):
        text = [" ".join(rng.choices(WORDS, k=rng.randint(3, 18))) for _ in range(2)]
        yield n, text[0][:40], text[1], rng.randint(0, 9999), f"2025-{rng.randint(1, 12):02}-03 10:00:{n % 60:02}"


def fill(path, count, first=0):
    """Written by a connection of its own, in one transaction."""
    db = empty(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(INSERT, rows(count, first))
    return db
