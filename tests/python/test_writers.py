"""Programs that know nothing of csync write while replicas sync: every committed write is captured, once."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

import csync
import writer

SYNCS = {"quick": 10, "default": 100, "long": 1000}[os.environ.get("CSYNC_TEST_PROFILE", "default")]
WRITERS = [("left", 5), ("right", 3)]
SCHEMA = """
PRAGMA journal_mode = {};
CREATE TABLE entry (id TEXT PRIMARY KEY, v REAL);
CREATE TABLE counter (id TEXT PRIMARY KEY, n INTEGER);
"""


def start(path, name, shared):
    command = [sys.executable, "-P", str(pathlib.Path(writer.__file__)), str(path), name, shared]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def writers(replicas):
    """Processes that write until the block ends; the list holds what each has committed then."""
    reports, processes = [], []
    try:
        for side, count in WRITERS:
            for i in range(count):
                processes.append(start(replicas[side].path, f"{side}{i}", side))
        yield reports
        for process in processes:
            process.stdin.close()
        reports.extend(json.load(process.stdout) for process in processes)
    finally:
        for process in processes:
            process.stdin.close()
            process.stdout.close()
            process.wait(60)


def sync_often(left, right):
    """Waits for every writer to have begun; returns the seconds that the longest sync took."""
    longest = 0.0
    while left.execute("SELECT count(*) FROM counter WHERE n > 0")[0][0] < sum(n for _, n in WRITERS) + 2:
        left.sync(right)
    for i in range(SYNCS):
        first, second = (left, right) if i % 2 else (right, left)
        started = time.monotonic()
        first.sync(second, batch_size=50)
        longest = max(longest, time.monotonic() - started)
    return longest


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_no_committed_write_is_missed(replica, sql, journal, figure):
    left, right = (
        replica(SCHEMA.format(journal), "entry", "counter", name=f"{side}.db", timeout=writer.TIMEOUT)
        for side, _ in WRITERS
    )
    for side, count in WRITERS:
        for name in [side, *(f"{side}{i}" for i in range(count))]:
            left.execute("INSERT INTO counter VALUES (?, 0)", (name,))
    left.sync(right)
    tops = [r.state.max_version for r in (left, right)]
    with writers({"left": left, "right": right}) as reports:
        longest = sync_often(left, right)
    left.sync(right)

    assert [r["error"] for r in reports] == [None] * len(reports)
    for r, top, (side, _) in zip((left, right), tops, WRITERS):
        own = "SELECT count(*) FROM _sync_log WHERE version > ? AND origin IS NULL"
        assert sql(r.path, own, (top,)) == [(sum(w["writes"] for w in reports if w["shared"] == side),)]
    rows = sorted((key, v) for w in reports for key, v in w["rows"].items())
    counts = {w["name"]: w["count"] for w in reports}
    for side, _ in WRITERS:
        counts[side] = sum(w["count"] for w in reports if w["shared"] == side)
    for r in (left, right):
        assert sql(r.path, "SELECT * FROM entry ORDER BY id") == rows
        assert dict(sql(r.path, "SELECT * FROM counter")) == counts
    assert left.hash() == right.hash()
    assert left.state.parked == right.state.parked == 0
    figure(
        f"{journal}: {len(reports)} writers, {SYNCS} syncs (longest {longest:.2f} s), "
        f"{sum(w['writes'] for w in reports)} writes in {sum(w['count'] for w in reports)} transactions "
        f"(longest {max(w['longest'] for w in reports):.2f} s, {sum(w['rolled_back'] for w in reports)} rolled "
        "back), 0 uncaptured, 0 busy"
    )


def test_busy_comes_no_sooner_than_the_timeout(replica):
    left, right = (replica(SCHEMA.format("wal"), "entry", "counter", timeout=0.3) for _ in range(2))
    left.execute("INSERT INTO entry VALUES ('a', 1)")
    with contextlib.closing(writer.sqlite3.connect(right.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(csync.BusyError):
            right.sync(left)
        assert time.monotonic() - started >= 0.3
        other.execute("ROLLBACK")
    right.sync(left)
    assert left.hash() == right.hash()
