"""Table note, on which the tests of the Python binding work."""

import contextlib
import sqlite3
import threading
import time

import csync

NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes INTEGER)"
STAMP = "2024-05-01T12:00:00.000Z"


def change(pk=1, operation="insert", payload=None, version=1, origin="peer", timestamp=STAMP, seq=None):
    """A change of table note."""
    if payload is None and operation != "delete":
        payload = {"id": pk, "body": f"body {pk}", "votes": 0}
    return csync.Change(version, "note", {"id": pk}, operation, payload, origin, timestamp, seq)


def fill(db, count, body="some text"):
    """`count` rows in one transaction."""
    with contextlib.closing(sqlite3.connect(db.path)) as connection, connection:
        rows = ((i, f"{body} {i}", 0) for i in range(1, count + 1))
        connection.executemany("INSERT INTO note VALUES (?, ?, ?)", rows)


def wait_a_moment():
    """Until the clock of the triggers, which counts milliseconds, has moved on: what comes next is later."""
    time.sleep(0.005)


def count_notes(db):
    return db.execute("SELECT count(*) FROM note")[0][0]


def in_background(function):
    """Runs it in a thread; returns (thread, results), a list that gets the result or the exception."""
    results = []

    def work():
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, results


class Boom(Exception):
    """What the tests' callbacks raise."""
