"""The eight stories that users of sync tools tell again and again, each under its own name: what csync does instead."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest

import csync
from note_table import NOTE, count_notes, fill, in_background, wait_a_moment


def settle(*dbs):
    """Syncs each with the first, round by round, and looks for a difference."""
    for _ in range(3):
        for db in dbs[1:]:
            db.sync(dbs[0])
    assert len({db.hash() for db in dbs}) == 1
    parked = [sorted((p.table, str(p.pk), p.reason) for p in db.parked()) for db in dbs]
    assert parked == [parked[0]] * len(dbs)
    for db in dbs:
        assert db.execute("PRAGMA foreign_key_check") == []


def table(db, name):
    return db.execute(f"SELECT * FROM {name} ORDER BY 1")


def python(program, *arguments):
    """Runs a program in a process of its own; returns (exit code, what it printed)."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_1_row_committed_late_is_skipped(notes, journal):
    """Those who kept a position in a clock or a sequence: a transaction that began early and committed late was
    behind the position of whoever had synced meanwhile, and its rows never went anywhere."""
    left, right = notes
    left.execute(f"PRAGMA journal_mode = {journal}")
    left.execute("INSERT INTO note VALUES (1, 'before', 0)")
    with contextlib.closing(sqlite3.connect(left.path, timeout=30, isolation_level=None)) as program:
        program.execute("BEGIN IMMEDIATE")
        program.execute("INSERT INTO note VALUES (2, 'late', 0)")
        thread, results = in_background(lambda: right.sync(left))
        time.sleep(0.2)  # the sync runs into the open transaction, and may wait for it or go by
        program.execute("INSERT INTO note VALUES (3, 'later', 0)")
        program.execute("COMMIT")
        thread.join()
    assert isinstance(results[0], csync.Result)
    right.execute("INSERT INTO note VALUES (4, 'there', 0)")
    settle(left, right)
    assert [row[0] for row in table(right, "note")] == [1, 2, 3, 4]


def test_2_one_bad_row_stops_everything(replica):
    """Those whose queue stood still for weeks behind a row that the other side refused, and those whose tool threw
    such rows away."""
    left = replica("CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes)", "note")
    middle = replica("CREATE TABLE note (id INTEGER PRIMARY KEY, body CHECK (body <> 'bad'), votes NOT NULL)", "note")
    right = replica("CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes)", "note")
    left.execute("INSERT INTO note VALUES (1, 'good', 0), (2, 'bad', 0), (3, 'good', NULL), (4, 'good', 0)")
    for batch_size in (1, 1000):
        result = left.sync(middle, batch_size=batch_size)
    assert result.rejected == 0
    right.sync(middle)
    assert [row[0] for row in table(middle, "note")] == [1, 4]
    assert {(p.pk["id"], p.reason) for p in middle.parked()} == {(2, "check"), (3, "not null")}
    assert table(right, "note") == table(left, "note")  # it has passed them on
    left.execute("UPDATE note SET body = 'mended' WHERE id = 2")
    right.execute("DELETE FROM note WHERE id = 3")
    for _ in range(2):
        left.sync(middle)
        right.sync(middle)
    assert middle.parked() == []
    assert table(left, "note") == table(middle, "note") == table(right, "note")


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_3_fk_order_self_cycle(replicas, batch_size):
    """Those whose children arrived before their parents, whose rows refer to their own table, or whose tables refer
    to each other: refused, retried for ever, or written with the keys switched off."""
    schema = """
        CREATE TABLE a_line (id INTEGER PRIMARY KEY, bill INTEGER NOT NULL REFERENCES bill);
        CREATE TABLE bill (id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES person);
        CREATE TABLE person (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES person, team INTEGER REFERENCES team);
        CREATE TABLE team (id INTEGER PRIMARY KEY, head INTEGER REFERENCES person);
    """
    left, middle, right = replicas(schema, "a_line", "bill", "person", "team", count=3)
    left.execute("INSERT INTO person VALUES (1, NULL, NULL)")
    left.execute("INSERT INTO team VALUES (1, 1)")
    left.execute("INSERT INTO bill VALUES (1, 1)")
    left.execute("INSERT INTO a_line VALUES (1, 1), (2, 1)")
    left.execute("INSERT INTO person VALUES (2, 2, 1), (3, 2, 1)")
    left.execute("UPDATE person SET boss = 3, team = 1 WHERE id = 1")  # now every row of the cycle needs another
    left.execute("UPDATE person SET boss = 1 WHERE id = 2")
    for _ in range(2):
        middle.sync(left, batch_size=batch_size)
        right.sync(middle, batch_size=batch_size)
    settle(middle, left, right)
    assert table(right, "person") == [(1, 3, 1), (2, 1, 1), (3, 2, 1)]
    assert right.parked() == [] and len(table(right, "a_line")) == 2
    right.execute("UPDATE team SET head = NULL")
    right.execute("UPDATE person SET boss = NULL, team = NULL")
    for name in ("a_line", "bill", "team", "person"):
        right.execute(f"DELETE FROM {name}")
    for _ in range(2):
        right.sync(middle, batch_size=batch_size)
        middle.sync(left, batch_size=batch_size)
    settle(middle, left, right)
    assert all(table(left, name) == [] for name in ("a_line", "bill", "team", "person"))


def test_4_unique_between_replicas(replicas):
    """Those who let two people take the same name while offline: the sync failed on it for good, or one of the two
    rows was gone."""
    schema = "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"
    hub, left, right = replicas(schema, "person", count=3)
    left.execute("INSERT INTO person VALUES (1, 'ann')")
    wait_a_moment()
    right.execute("INSERT INTO person VALUES (2, 'ann')")
    settle(hub, left, right)
    for db in (hub, left, right):
        assert table(db, "person") == [(2, "ann")]
        assert [(p.pk["id"], p.reason, p.payload["name"]) for p in db.parked()] == [(1, "unique", "ann")]
    left.execute("UPDATE person SET name = 'anne' WHERE id = 2")
    settle(hub, left, right)
    assert table(right, "person") == [(1, "ann"), (2, "anne")] and right.parked() == []


def test_5_edit_during_sync_is_overwritten_or_a_pushed_row_echoes_back(notes):
    """Those who typed on while their phone synced and found the older text back, and those whose own rows came back
    as new ones, or came back from the dead."""
    left, right = notes
    fill(left, 50)
    left.execute("INSERT INTO note VALUES (100, 'mine', 0)")
    session = csync.Session(left, right.origin)
    while (step := session.next()).kind != "done":
        if step.kind == "fetch":
            page = right.changes(step.since, step.limit)
            left.execute("UPDATE note SET body = 'typed while it pulled' WHERE id = 1")
            session.page(page)
        else:
            answer = right.apply(step.batch)
            left.execute("UPDATE note SET body = 'typed while it pushed' WHERE id = 2")
            left.execute("DELETE FROM note WHERE id = 3")
            session.outcome(answer)
    assert left.execute("SELECT body FROM note WHERE id IN (1, 2)") == [("typed while it pulled",), ("typed while it pushed",)]
    settle(left, right)
    assert right.execute("SELECT id, body FROM note WHERE id <= 3") == [
        (1, "typed while it pulled"),
        (2, "typed while it pushed"),
    ]
    before = left.state.max_version, right.state.max_version
    result = left.sync(right)
    assert (result.pulled, result.pushed, result.conflicts) == (0, 0, 0)
    assert (left.state.max_version, right.state.max_version) == before
    assert left.conflicts() == right.conflicts() == []


def test_6_delete_and_reinsert_and_a_changed_key(replicas):
    """Those who deleted a row and made it again under the same key, or changed a key: the row was lost, doubled, or
    still there under its old key on the other devices."""
    left, right = replicas(NOTE, "note")
    left.execute("INSERT INTO note VALUES (1, 'first', 1), (2, 'second', 2)")
    settle(left, right)
    left.execute("DELETE FROM note WHERE id = 1")
    left.execute("INSERT INTO note VALUES (1, 'again', 3)")
    left.execute("UPDATE note SET id = 20 WHERE id = 2")
    settle(left, right)
    assert table(right, "note") == [(1, "again", 3), (20, "second", 2)]
    left.execute("UPDATE note SET id = id + 1 WHERE id = 20")
    wait_a_moment()
    right.execute("UPDATE note SET body = 'edited under its old key' WHERE id = 20")
    settle(left, right)
    assert table(left, "note") == [(1, "again", 3), (20, "edited under its old key", 2), (21, "second", 2)]
    left.execute("DELETE FROM note")
    settle(left, right)
    right.execute("INSERT INTO note VALUES (20, 'made again by the other', 0)")
    settle(left, right)
    assert table(left, "note") == [(20, "made again by the other", 0)]


@pytest.mark.parametrize("ahead", ["left", "right"])
def test_7_bad_clock_wins_or_is_rejected_silently(notes, sql, ahead):
    """Those with a laptop whose clock is years ahead: its edits beat everybody's for ever, or nobody took them and
    nobody said so."""
    left, right = notes
    wrong = left if ahead == "left" else right
    left.execute("INSERT INTO note VALUES (1, 'start', 0)")
    settle(left, right)
    sql(wrong.path, "UPDATE _sync_session SET clock = '2099-01-01T00:00:00.000Z'")
    for turn in range(4):
        writer = (left, right)[turn % 2]
        writer.execute("UPDATE note SET body = ? WHERE id = 1", [f"turn {turn}"])
        settle(left, right)
        assert table(left, "note") == table(right, "note") == [(1, f"turn {turn}", 0)]
    assert left.parked() == right.parked() == []


def test_8_huge_first_sync_shows_progress(notes):
    """Those who looked at a spinner for an hour."""
    left, right = notes
    fill(left, 20000)
    seen = []
    right.sync(left, batch_size=500, progress=lambda p: seen.append((p.phase, p.changes)))
    pulled = [changes for phase, changes in seen if phase == "pulling"]
    assert pulled == sorted(pulled) and pulled[-1] == 20000
    assert len(pulled) >= 40 and max(b - a for a, b in zip(pulled, pulled[1:])) <= 500


def test_8_huge_first_sync_goes_on_where_it_was_killed(notes):
    """Those whose connection dropped before the end, every time, and who began at nought every time."""
    left, right = notes
    fill(left, 20000)
    program = """
        import csync, os, signal, sys
        with csync.open(sys.argv[1]) as left, csync.open(sys.argv[2]) as right:
            def die(progress):
                if progress.changes > 12000:
                    os.kill(os.getpid(), signal.SIGKILL)
            right.sync(left, batch_size=500, progress=die)
    """
    code, _ = python(program, left.path, right.path)
    assert code == -signal.SIGKILL
    assert count_notes(right) == 12000
    result = right.sync(left, batch_size=500)
    assert result.pulled == 8000
    settle(left, right)


def test_8_huge_first_sync_needs_little_memory(replicas):
    """Those whose app was killed because the first sync had to fit into memory."""
    left, right = replicas(NOTE, "note")
    fill(left, 100000, body="x" * 500)
    program = """
        import csync, resource, sys
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with csync.open(sys.argv[1]) as left, csync.open(sys.argv[2]) as right:
            session = csync.Session(right, left.origin, batch_size=200)
            pages, before = 0, 0
            while (step := session.next()).kind != "done":
                if step.kind == "fetch":
                    session.page(left.changes(step.since, step.limit))
                    pages += 1
                    if pages == 20:
                        before = peak()
                else:
                    session.outcome(left.apply(step.batch))
            print(pages, peak() - before)
    """
    code, printed = python(program, left.path, right.path)
    assert code == 0
    pages, kilobytes = map(int, printed.split())
    assert pages >= 500 and count_notes(right) == 100000
    assert os.path.getsize(right.path) > 50_000_000
    assert kilobytes < 15_000
