"""The Python binding: the GIL, threads, Ctrl-C, and connections of the application."""

import _thread
import contextlib
import gc
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import csync
from note_table import NOTE, count_notes, fill, in_background

CAN_LOAD_EXTENSIONS = hasattr(sqlite3.Connection, "enable_load_extension")
loads_extensions = pytest.mark.skipif(not CAN_LOAD_EXTENSIONS, reason="this Python's sqlite3 loads no extensions")


# ---- Threads, Ctrl-C and cancel


def test_other_threads_run_during_a_sync(notes):
    left, right = notes
    fill(left, 20000)
    ticks, stop = 0, threading.Event()

    def tick():
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    started = time.monotonic()
    right.sync(left)
    left.hash()
    seconds = time.monotonic() - started
    stop.set()
    ticker.join()
    assert ticks > min(5, seconds / 0.02)


def test_two_threads_take_turns(notes):
    left, right = notes
    errors = []

    def work(first):
        try:
            for i in range(first, first + 50):
                left.execute("INSERT INTO note VALUES (?, 'x', 0)", (i,))
                left.sync(right)
                left.hash()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert count_notes(right) == 150


def test_cancel_stops_a_running_sync(notes):
    left, right = notes
    fill(left, 2000)
    running = threading.Event()

    def slow(progress):
        running.set()
        time.sleep(0.01)

    thread, results = in_background(lambda: right.sync(left, progress=slow))
    assert running.wait(10)
    right.cancel()
    thread.join(20)
    assert isinstance(results[0], csync.Cancelled)
    assert count_notes(right) < 2000
    assert right.sync(left).pulled > 0
    assert right.hash() == left.hash()


def test_close_from_another_thread_cancels_and_waits(notes):
    left, right = notes
    fill(left, 2000)
    running = threading.Event()

    def slow(progress):
        running.set()
        time.sleep(0.01)

    thread, results = in_background(lambda: right.sync(left, progress=slow))
    assert running.wait(10)
    right.close()
    assert right.closed
    thread.join(20)
    assert isinstance(results[0], csync.Cancelled)
    with contextlib.closing(sqlite3.connect(right.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_ctrl_c_stops_a_sync_and_rolls_the_open_batch_back(notes):
    left, right = notes
    fill(left, 60000)
    before = right.hash()
    timer = threading.Timer(0.15, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        right.sync(left, batch_size=10000)
        time.sleep(5)  # a fast machine gets here
    timer.join()
    assert count_notes(right) % 10000 == 0
    right.sync(left)
    assert right.hash() == left.hash() != before


def test_a_signal_ends_the_process_in_the_middle_of_a_sync(tmp_path):
    """As a user sees it: Ctrl-C on a script, without any progress function."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, csync
            with csync.open(":memory:") as a, csync.open(":memory:") as b:
                for db in (a, b):
                    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
                    db.track("t")
                a.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
                          " INSERT INTO t SELECT i, 'some text ' || i FROM n")
                print("ready", flush=True)
                try:
                    b.sync(a, batch_size=10000)
                except KeyboardInterrupt:
                    print("stopped at", b.execute("SELECT count(*) % 10000 FROM t")[0][0], flush=True)
            """
        )
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert rest in ("stopped at 0\n", ""), rest
    assert process.returncode == 0


def test_an_interpreter_of_its_own_uses_csync_too(notes):
    """A sub-interpreter, with its own GIL where Python has that, and a callback in it."""
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0)")
    script = f"""
import csync
with csync.open({str(left.path)!r}) as left, csync.open({str(right.path)!r}) as right:
    seen = []
    assert right.sync(left, progress=seen.append).pulled == 1
    assert type(seen[0]) is csync.Progress
    try:
        right.sync(left, progress=lambda progress: 1 / 0)
    except ZeroDivisionError:
        right.execute("INSERT INTO note VALUES (2, 'from within', 0)")
"""
    _run_in_subinterpreter(script)
    assert [row[1] for row in right.execute("SELECT * FROM note ORDER BY id")] == ["left", "from within"]


def _run_in_subinterpreter(script):
    try:
        import _interpreters as interpreters  # Python 3.13
    except ImportError:
        import _xxsubinterpreters as interpreters
    interpreter = interpreters.create()
    try:
        failure = interpreters.run_string(interpreter, script)  # 3.13 returns it, earlier ones raise
        assert failure is None, failure
    finally:
        interpreters.destroy(interpreter)


# ---- Which SQLite, and connections of the application


def test_a_private_copy_of_sqlite_is_refused():
    """Where SQLite's symbols cannot be reached, as in an interpreter that hides its own copy."""
    with pytest.raises(csync.Unsupported, match="pass that connection to csync.open"):
        csync._csync.bind_sqlite(csync._csync.__file__)  # an object without SQLite
    with pytest.raises(csync.Unsupported, match="pass that connection to csync.open"):
        csync._csync.bind_sqlite(None)  # nothing is built into this interpreter


@pytest.fixture
def connection():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(NOTE)
        yield connection


@pytest.mark.skipif(CAN_LOAD_EXTENSIONS, reason="this Python's sqlite3 loads extensions")
def test_an_interpreter_without_extensions_says_what_to_do(connection):
    with pytest.raises(csync.Unsupported, match="by its path"):
        csync.open(connection)


@loads_extensions
def test_a_live_connection_is_a_replica(connection, replica):
    other = replica(NOTE, "note")
    with csync.open(connection) as db:
        db.track("note")
        with connection:
            connection.execute("INSERT INTO note VALUES (1, 'mine', 0)")
        other.execute("INSERT INTO note VALUES (2, 'theirs', 0)")
        assert db.sync(other).pushed == 1
        assert connection.execute("SELECT body FROM note ORDER BY id").fetchall() == [("mine",), ("theirs",)]
        assert db.hash() == other.hash()
        assert "sqlite3.Connection" in repr(db)
    assert connection.execute("SELECT 1").fetchone() == (1,)  # and it is still open


@loads_extensions
def test_wrapping_leaves_no_door_open(connection):
    with csync.open(connection):
        with pytest.raises(sqlite3.OperationalError, match="not authorized"):
            connection.execute("SELECT load_extension('nothing')")
        with pytest.raises(sqlite3.OperationalError, match="no such function"):
            connection.execute("SELECT csync_python_attach('x')")
    connection.enable_load_extension(True)
    with csync.open(connection), pytest.raises(sqlite3.OperationalError, match="cannot open shared object"):
        connection.execute("SELECT load_extension('nothing')")  # enabled by the application, and it stays so


@loads_extensions
def test_an_open_transaction_is_busy(connection):
    with csync.open(connection) as db:
        db.track("note")
        connection.execute("INSERT INTO note VALUES (1, 'x', 0)")
        assert connection.in_transaction
        with pytest.raises(csync.BusyError):
            db.hash()
        with pytest.raises(csync.BusyError):
            db.pull(csync.Remote(fetch=lambda *args: []))
        connection.rollback()
        db.hash()


@loads_extensions
def test_a_closed_connection_is_refused_not_touched(connection):
    db = csync.open(connection)
    db.track("note")
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        db.hash()
    db.close()
    with pytest.raises(sqlite3.ProgrammingError):
        csync.open(connection)


@loads_extensions
def test_a_connection_stays_on_its_thread(connection):
    with csync.open(connection) as db:
        thread, results = in_background(db.hash)
        thread.join()
        assert isinstance(results[0], sqlite3.ProgrammingError)


@loads_extensions
def test_the_replica_keeps_its_connection_alive():
    class Own(sqlite3.Connection):
        pass

    connection = sqlite3.connect(":memory:", factory=Own)
    connection.row_factory = sqlite3.Row
    connection.text_factory = bytes
    reference = weakref.ref(connection)
    with csync.open(connection) as db:
        del connection
        gc.collect()
        db.execute(NOTE)
        db.track("note")
        assert reference() is not None
        reference().close()
    gc.collect()
    assert reference() is None


@loads_extensions
def test_a_file_may_be_open_both_ways(replica):
    db = replica(NOTE, "note")
    with contextlib.closing(sqlite3.connect(db.path)) as connection, csync.open(connection) as wrapped:
        assert wrapped.origin == db.origin
        with connection:
            connection.execute("INSERT INTO note VALUES (1, 'x', 0)")
        assert wrapped.hash() == db.hash()
