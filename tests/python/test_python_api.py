"""The Python binding: opening and closing, tables, plain syncs, the module and its program."""

import contextlib
import gc
import os
import pathlib
import pickle
import sqlite3
import subprocess
import sys

import pytest

import csync
from note_table import NOTE, STAMP, change, count_notes, fill

# ---- Open and close


def test_a_database_opens_by_str_bytes_path_and_url(database):
    for number, form in enumerate((str, os.fsencode, pathlib.Path, "sqlite:{}".format)):
        path = database(NOTE, name=f"form{number}.db")
        with csync.open(form(path)) as db:
            assert db.origin == db.state.origin
        assert path.stat().st_size > 0


def test_a_path_may_hold_bytes_that_are_no_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9 \xff.db")
    with csync.open(os.fsdecode(path)) as db:
        db.execute("CREATE TABLE t (id PRIMARY KEY)")
    assert os.path.exists(path)


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 1000)
    with pytest.raises(csync.DatabaseError) as caught:
        csync.open(path)
    assert caught.value.code == "CSYNC_EDB"
    assert caught.value.native_code != 0
    with pytest.raises(TypeError):
        csync.open(12)


def test_the_origin_stays_and_another_is_refused(database):
    path = database(NOTE)
    with csync.open(path, origin="laptop-1") as db:
        assert db.origin == "laptop-1"
    with csync.open(path) as db:
        assert db.origin == "laptop-1"
    with pytest.raises(csync.Error):
        csync.open(path, origin="laptop-2")


def test_close_may_be_called_twice_and_later_use_is_misuse(replica):
    db = replica(NOTE, "note")
    assert not db.closed
    db.close()
    db.close()
    db.cancel()
    assert db.closed
    assert "closed" in repr(db)
    uses = (
        lambda: db.hash(),
        lambda: db.state,
        lambda: db.tables(),
        lambda: db.track("note"),
        lambda: db.changes(),
        lambda: db.apply([]),
        lambda: db.execute("SELECT 1"),
        lambda: db.sync(db),
        lambda: db.pull(csync.Remote(fetch=lambda since, limit: [])),
        lambda: db.suppressed().__enter__(),
        lambda: csync.trigger_sql(db, "note"),
        lambda: csync.Session(db, "peer"),
    )
    for use in uses:
        with pytest.raises(csync.Misuse, match="the replica is closed"):
            use()


def test_a_forgotten_replica_warns_and_is_closed(database):
    path = database(NOTE)
    with pytest.warns(ResourceWarning, match="unclosed replica"):
        db = csync.open(path)
        del db
        gc.collect()


def test_a_forgotten_replica_in_a_cycle_warns_too(database):
    with pytest.warns(ResourceWarning, match="unclosed replica"):
        db = csync.open(database(NOTE))
        db.itself = db
        del db
        gc.collect()


def test_the_repr_names_the_file_and_the_origin(replica):
    db = replica(NOTE)
    assert str(db.path) in repr(db)
    assert db.origin in repr(db)


def test_batches_outlive_their_replica(replica):
    db = replica(NOTE, "note")
    db.execute("INSERT INTO note VALUES (1, 'x', 0)")
    batch = db.changes()
    db.close()
    assert [c.payload["body"] for c in batch] == ["x"]


# ---- Tables and state


def test_tracked_tables_are_described(replica):
    schema = 'CREATE TABLE "Odd ""name" (b TEXT, a INTEGER, v, PRIMARY KEY (a, b)); CREATE TABLE note (id PRIMARY KEY)'
    db = replica(schema)
    db.track("note", 'Odd "name')
    db.track("note", capture="keys")
    odd, note = sorted(db.tables(), key=lambda table: table.name != 'Odd "name')
    assert (odd.capture, set(odd.key), odd.columns) == ("full", {"a", "b"}, ("b", "a", "v"))
    assert note == csync.Table("note", "keys", ("id",), ("id",))
    assert db.state.tables == 2
    db.untrack("note")
    assert [table.name for table in db.tables()] == ['Odd "name']


def test_what_cannot_be_tracked_says_why(replica):
    db = replica(NOTE + "; CREATE TABLE heap (x); CREATE VIEW v AS SELECT 1")
    with pytest.raises(csync.NotFound) as missing:
        db.track("nowhere")
    assert isinstance(missing.value, KeyError)
    assert "nowhere" in str(missing.value) and not str(missing.value).startswith("'")
    for table in ("heap", "v"):
        with pytest.raises(csync.SchemaError) as refused:
            db.track(table)
        assert refused.value.table == table
    with pytest.raises(csync.NotFound):
        db.untrack("note")
    with pytest.raises(TypeError):
        db.track()
    with pytest.raises(TypeError):
        db.track(["note"])
    with pytest.raises(ValueError, match="capture"):
        db.track("note", capture="some")


def test_trigger_sql_is_shown_without_tracking(replica):
    db = replica(NOTE)
    full, keys = csync.trigger_sql(db, "note"), csync.trigger_sql(db, "note", capture="keys")
    assert full.count("CREATE TRIGGER") == keys.count("CREATE TRIGGER") >= 3
    assert full != keys
    assert db.tables() == []


def test_state_counts(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    left.sync(right)
    state = left.state
    assert state == csync.State(left.origin, state.max_version, state.last_server_version, 1, 1, 0, 0)
    assert state.max_version >= 1


# ---- Sync between replicas


def test_sync_brings_both_sides_together(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0), (2, 'left', 0)")
    right.execute("INSERT INTO note VALUES (3, 'right', 0)")
    result = left.sync(right)
    assert (result.pulled, result.pushed, result.conflicts) == (1, 2, 0)
    assert result.outcomes is None
    assert left.hash() == right.hash()
    assert repr(left.sync(right)).startswith("Result(pulled=0, pushed=0")


def test_pull_takes_only_and_push_gives_only(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0)")
    right.execute("INSERT INTO note VALUES (2, 'right', 0)")
    assert left.pull(right).pulled == 1
    assert (count_notes(left), count_notes(right)) == (2, 1)
    assert left.push(right).pushed == 1
    assert left.hash() == right.hash()


def test_a_peer_must_be_one(notes):
    left, _ = notes
    with pytest.raises(csync.InvalidValue, match='"notes.db" is no http:// or https:// URL.* csync.open'):
        left.sync("notes.db")
    with pytest.raises(TypeError, match="peer must be"):
        left.sync(None)


def test_wrong_options_are_refused_before_anything_happens(notes):
    left, right = notes
    for options in (
        {"batch_size": 0},
        {"batch_size": 10001},
        {"max_retry_passes": -1},
        {"strategy": "loudest-wins"},
        {"strategy": ["custom"]},
        {"strategy": "custom"},
        {"strategy": "server-wins", "on_conflict": print},
    ):
        with pytest.raises(ValueError) as caught:
            left.sync(right, **options)
        assert isinstance(caught.value, csync.Error)
    for options in ({"on_conflict": "remote"}, {"progress": 3}, {"batch_size": "many"}):
        with pytest.raises(TypeError):
            left.sync(right, **options)
    with pytest.raises(OverflowError):
        left.changes(2**63)


# ---- changes and apply


def test_changes_come_in_pages(notes):
    left, _ = notes
    fill(left, 25)
    seen, since = [], 0
    while True:
        page = left.changes(since, limit=10)
        seen += page
        since = page.to_version
        if not page.has_more:
            break
    assert [c.pk["id"] for c in seen] == list(range(1, 26))
    assert {(c.table_name, c.operation, c.origin) for c in seen} == {("note", "insert", left.origin)}
    with pytest.raises(csync.InvalidValue):
        left.changes(0, 0)


def test_apply_says_what_became_of_each_change(notes):
    left, _ = notes
    first, older = change(1), change(1, "update", timestamp="2024-04-01T00:00:00.000Z", version=2)
    unknown = csync.Change(3, "nowhere", {"id": 1}, "delete", None, "peer", STAMP)
    result = left.apply([first])
    assert result.pulled == 1
    assert list(result.outcomes) == [csync.Outcome("applied")]
    result = left.apply([first, older, unknown])
    duplicate, lost, refused = result.outcomes
    assert duplicate.status == "duplicate"
    assert lost.status == "lost" and lost.winner.payload == first.payload
    assert refused.status in ("rejected", "parked") and refused.reason
    assert "3 changes" in repr(result.outcomes)
    back = csync.Outcomes.from_json(result.outcomes.to_json())
    assert list(back) == list(result.outcomes) and back.position == result.outcomes.position
    with pytest.raises(TypeError):
        csync.Outcomes()


def test_apply_refuses_what_is_no_change_and_leaves_the_table_alone(notes):
    left, _ = notes
    with pytest.raises(TypeError, match="expected a csync.Change"):
        left.apply([change(1), {"id": 2}])
    with pytest.raises(csync.InvalidValue):
        left.apply([change(1), csync.Change(1, "note", "{}", "delete", None, "o", STAMP)])
    assert count_notes(left) == 0


def test_parked_changes_are_listed(replica):
    schema = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p)"
    db = replica(schema, "p", "c")
    child = csync.Change(1, "c", {"id": 2**60}, "insert", {"id": 2**60, "p": 7}, "peer", STAMP)
    assert db.apply([child]).parked == db.state.parked == 1
    (parked,) = db.parked()
    assert (parked.table, parked.pk, parked.payload) == ("c", {"id": 2**60}, {"id": 2**60, "p": 7})
    assert (parked.origin, parked.timestamp) == ("peer", STAMP)
    assert parked.reason and parked.message and parked.since
    db.apply([csync.Change(2, "p", {"id": 7}, "insert", {"id": 7}, "peer", STAMP)])
    assert db.parked() == [] and db.execute("SELECT * FROM c") == [(2**60, 7)]


# ---- The module


def test_errors_have_one_base_and_the_builtins_that_users_expect():
    errors = [value for value in vars(csync).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) == 16 and all(issubclass(error, csync.Error) for error in errors)
    assert all(error.__module__ == "csync" and error.__doc__ for error in errors)
    assert issubclass(csync.NetworkError, ConnectionError)
    assert issubclass(csync.Misuse, ValueError) and issubclass(csync.InvalidValue, ValueError)
    again = pickle.loads(pickle.dumps(csync.NotFound("no such thing")))
    assert (str(again), again.code) == ("no such thing", "CSYNC_ENOTFOUND")


def test_every_public_name_is_documented():
    for name in csync.__all__:
        value = getattr(csync, name)
        assert value.__doc__, name
        if isinstance(value, type):
            for attribute, member in vars(value).items():
                if not attribute.startswith("_") and (callable(member) or isinstance(member, property)):
                    assert member.__doc__, f"{name}.{attribute}"


def test_no_sqlite_is_linked():
    """A second copy in the process would destroy databases."""
    maps = pathlib.Path("/proc/self/maps").read_text()
    copies = {line.split()[-1] for line in maps.splitlines() if "libsqlite3" in line}
    assert len(copies) == 1


def test_the_program_shows_itself(tmp_path):
    def program(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "csync", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if key != "CSYNC_TEST_DATA"} | environment,
        )

    assert program("--version").stdout == f"csync {csync.__version__}\n"
    assert "demo" in program("--help").stdout
    assert program().returncode == program("dance").returncode == 2
    shown = program("demo")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "The replicas are equal." in shown.stdout
    missing = program("demo", tmp_path / "nowhere.db")
    assert missing.returncode == 1 and "no such file" in missing.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_demo_takes_any_database_and_leaves_it_alone(tmp_path, chinook):
    path = tmp_path / "chinook.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(chinook)
    before = path.read_bytes()
    shown = subprocess.run(
        [sys.executable, "-m", "csync", "demo", path], capture_output=True, text=True, cwd=tmp_path
    )
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
    assert shown.stdout.count("The replicas are equal.") == 2
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_examples_run():
    examples = pathlib.Path(__file__).parents[2] / "examples" / "python"
    for example in sorted(examples.glob("*.py")):
        done = subprocess.run([sys.executable, "-W", "error", example], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), example.name
