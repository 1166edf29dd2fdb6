"""The Python binding: its objects, its errors, the GIL, callbacks, Ctrl-C, and connections of the application."""

import _thread
import contextlib
import gc
import math
import os
import pathlib
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import csync

NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body, votes INTEGER)"
STAMP = "2024-05-01T12:00:00.000Z"
CAN_LOAD_EXTENSIONS = hasattr(sqlite3.Connection, "enable_load_extension")
loads_extensions = pytest.mark.skipif(not CAN_LOAD_EXTENSIONS, reason="this Python's sqlite3 loads no extensions")


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


def count_notes(db):
    return db.execute("SELECT count(*) FROM note")[0][0]


@pytest.fixture
def notes(replicas):
    """Two replicas that track table note."""
    return replicas(NOTE, "note")


@pytest.fixture
def conflict(notes):
    """Two replicas whose note 1 was edited on both sides: body "left", then body "right"."""
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'start', 10)")
    right.sync(left)
    left.execute("UPDATE note SET body = 'left', votes = votes + 5")
    right.execute("UPDATE note SET body = 'right', votes = votes + 7")
    return left, right


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
    with pytest.raises(csync.Unsupported, match="not part of this version"):
        left.sync("https://host/")
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


# ---- Values


def test_values_keep_their_type_and_their_last_bit(notes):
    left, right = notes
    values = [
        None, 0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, 1.7976931348623157e308,
        math.inf, -math.inf, math.pi, "", "ä€𝄞", 'quote " and \\ and \n', "a\0b", b"", b"\0\xff" * 300, "bad \udcff\udc80",
    ]  # fmt: skip
    for number, value in enumerate(values):
        left.execute("INSERT INTO note VALUES (?, ?, 0)", (number, value))
    left.push(right)
    there = [row[0] for row in right.execute("SELECT body FROM note ORDER BY id")]
    assert [(type(v), repr(v)) for v in there] == [(type(v), repr(v)) for v in values]
    seen = {c.pk["id"]: c.payload["body"] for c in left.changes()}
    assert [(type(v), repr(v)) for v in seen.values()] == [(type(v), repr(v)) for v in values]


def test_execute_takes_and_gives_every_type(replica):
    db = replica(NOTE)
    values = (None, True, 2**63 - 1, 1.5, "text \udcff", b"\0", bytearray(b"\1"), memoryview(b"\2"))
    (row,) = db.execute("SELECT ?, ?, ?, ?, ?, ?, ?, ?", values)
    assert row == (None, 1, 2**63 - 1, 1.5, "text \udcff", b"\0", b"\1", b"\2")
    assert db.execute("INSERT INTO note VALUES (1, 'x', 0)") == []
    assert db.execute("SELECT * FROM note", ()) == [(1, "x", 0)]


def test_execute_returns_many_rows_in_order(replica):
    db = replica(NOTE)
    rows = db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49999) SELECT i, 'row ' || i FROM n"
    )
    assert rows == [(i, f"row {i}") for i in range(50000)]


def test_execute_names_the_parameter_at_fault(replica):
    db = replica(NOTE)
    with pytest.raises(OverflowError, match="parameter 2: 9223372036854775808 does not fit"):
        db.execute("SELECT ?, ?", (1, 2**63))
    with pytest.raises(TypeError, match="parameter 1: .*Decimal"):
        db.execute("SELECT ?", (Decimal("1.5"),))
    for params in ("x", {"a": 1}, 5):
        with pytest.raises(TypeError, match="params must be a sequence"):
            db.execute("SELECT ?", params)
    with pytest.raises(csync.InvalidValue):
        db.execute("SELECT ?, ?", (1,))
    with pytest.raises(csync.InvalidValue):
        db.execute("SELECT 1; SELECT 2")
    with pytest.raises(csync.DatabaseError, match="nowhere"):
        db.execute("SELECT * FROM nowhere")
    with pytest.raises(UnicodeEncodeError):
        db.execute("SELECT ?", ("\ud800",))


def test_numbers_become_decimal_only_where_a_float_loses_digits():
    texts = {
        "0.100000000000000006": 0.1, "0.1": 0.1, "1.0": 1.0, "1e22": 1e22, "1": 1, "9e999": math.inf, "-0.0": -0.0,
        "-8.34860479885612119e+198": -8.348604798856121e198, "12345678901234567890123": 12345678901234567890123,
        "3.14159265358979323846": Decimal("3.14159265358979323846"), "1e400": Decimal("1e400"),
        "9007199254740993.0": Decimal("9007199254740993.0"),
    }  # fmt: skip
    for text, value in texts.items():
        got = csync.Change(1, "t", f'{{"id":{text}}}', "delete", None, "o", STAMP).pk["id"]
        assert (type(got), repr(got)) == (type(value), repr(value)), text


def test_decimals_and_long_integers_are_written_as_their_digits():
    row = {"a": Decimal("1.10"), "b": Decimal("1E+3"), "c": 10**5000, "d": [Decimal("0.5"), {"e": None}], "f": True}
    text = change(payload=row).payload_json
    assert text == '{"a":1.10,"b":1000,"c":' + "1" + "0" * 5000 + ',"d":[0.5,{"e":null}],"f":true}'
    assert change(payload=row).payload["c"] == 10**5000


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(),
    st.text(st.characters(blacklist_categories=("Cs",))),
    st.binary(min_size=1).map(lambda b: b.decode("utf-8", "surrogateescape")),
)


@given(st.dictionaries(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1), scalars, min_size=1))
def test_any_row_comes_back_from_its_json(row):
    back = csync.Change(1, "t", row, "insert", row, "o", STAMP).payload
    assert [(k, type(v), repr(v)) for k, v in back.items()] == [(k, type(v), repr(v)) for k, v in row.items()]


@given(st.floats(allow_nan=False))
def test_any_float_that_sqlite_prints_is_that_float(value):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        (text,) = connection.execute("SELECT printf('%!.18g', ?)", (value,)).fetchone()
    if math.isinf(value):
        text = "9e999" if value > 0 else "-9e999"
    got = csync.Change(1, "t", f'{{"id":{text}}}', "delete", None, "o", STAMP).pk["id"]
    assert (type(got), got) == (float, value)


def test_nan_is_kept_and_what_is_no_value_is_refused():
    assert math.isnan(change(payload={"id": 1, "x": math.nan}).payload["x"])
    for value in (object(), {1, 2}, 1j, [b"nested"]):
        with pytest.raises(TypeError, match="'x'"):
            change(payload={"id": 1, "x": value})
    with pytest.raises(TypeError, match="column names"):
        change(payload={1: 1})
    for text in ("nothing", "[1]", '{"a":NaN}', '{"a":{"$b":"xyz"}}'):
        with pytest.raises(csync.InvalidValue):
            csync.Change(1, "t", text, "delete", None, "o", STAMP).pk


# ---- Change and Batch


def test_a_change_cannot_be_altered():
    c = change()
    for attempt in (
        lambda: setattr(c, "version", 2),
        lambda: setattr(c, "pk", {}),
        lambda: delattr(c, "origin"),
        lambda: c.payload.update(body="x"),
        lambda: c.payload.__setitem__("body", "x"),
        lambda: c.pk.pop("id"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            attempt()
    mine = dict(c.payload)
    mine["body"] = "x"
    assert c.payload["body"] == "body 1"
    assert type(c.payload | {"a": 1}) is dict


def test_changes_are_equal_by_content_and_survive_pickle():
    assert change() == change() and hash(change()) == hash(change())
    assert change() != change(pk=2) and change() != "change"
    assert pickle.loads(pickle.dumps(change())) == change()
    assert pickle.loads(pickle.dumps(change().payload)) == change().payload
    assert repr(change()).startswith('<csync.Change 1: insert note {"id":1} {"id":1,')
    assert change(operation="delete").payload is None
    with pytest.raises(csync.InvalidValue, match="operation"):
        change(operation="upsert")


def test_json_text_is_kept_byte_for_byte():
    c = csync.Change(1, "note", '{ "id": 1.0 }', "insert", '{"id":1.0,  "body":"\\u0041"}', "o", STAMP)
    (back,) = csync.Batch([c])
    assert (back.pk_json, back.payload_json) == ('{ "id": 1.0 }', '{"id":1.0,  "body":"\\u0041"}')
    assert back.payload == {"id": 1.0, "body": "A"}


def test_a_batch_is_a_sequence_with_a_position():
    batch = csync.Batch([change(1), change(2, "delete", version=2)], origin="peer", to_version=2, has_more=True)
    assert len(batch) == 2 and batch[0] == change(1) and batch[-1].operation == "delete"
    assert list(batch) == [batch[0], batch[1]]
    assert (batch.origin, batch.from_version, batch.to_version, batch.has_more) == ("peer", 0, 2, True)
    assert repr(batch) == "<csync.Batch of 2 changes, versions 0 to 2, more follow>"
    with pytest.raises(IndexError):
        batch[2]
    assert len(csync.Batch()) == 0
    for wrong in (["text"], [None], 5):
        with pytest.raises(TypeError):
            csync.Batch(wrong)
    with pytest.raises(csync.InvalidValue):
        csync.Batch([csync.Change(1, "note", "no json", "delete", None, "o", STAMP)])
    with pytest.raises(csync.InvalidValue):
        csync.Batch([csync.Change(1, "note\0x", {"id": 1}, "delete", None, "o", STAMP)])


def test_a_batch_travels_as_json():
    batch = csync.Batch([change(1, seq=7), change(2, "delete")], origin="peer", from_version=3, to_version=9)
    for text in (batch.to_json(), batch.to_json().encode()):
        back = csync.Batch.from_json(text)
        assert list(back) == list(batch)
        assert (back.origin, back.from_version, back.to_version) == ("peer", 3, 9)
    with pytest.raises(csync.InvalidValue):
        csync.Batch.from_json("{")


def test_hashes_are_compared_and_differences_named(notes):
    batch = csync.Batch([change(1), change(2, "delete")])
    digest = csync.batch_hash(batch)
    assert digest == csync.batch_hash(list(batch)) and len(digest) == 64
    csync.verify_hash(digest, actual=digest.upper())
    other = csync.batch_hash([])
    with pytest.raises(csync.HashMismatchError) as caught:
        csync.verify_hash(digest, other)
    assert (caught.value.expected, caught.value.actual) == (digest, other)
    left, _ = notes
    with pytest.raises(csync.HashMismatchError):
        left.apply(csync.Batch(batch, hash=other))
    assert count_notes(left) == 0


def test_resolve_says_who_wins():
    early, late = change(), change(timestamp="2024-05-01T12:00:00.001Z")
    assert csync.resolve(early, late) == "remote"
    assert csync.resolve(late, early) == "local"
    assert csync.resolve(late, early, "server-wins") == "remote"
    assert csync.resolve(early, late, strategy="client-wins") == "local"
    with pytest.raises(csync.InvalidValue):
        csync.resolve(early, late, "custom")
    with pytest.raises(csync.InvalidValue):
        csync.resolve(change(1), change(2))
    with pytest.raises(TypeError):
        csync.resolve(early, None)


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


# ---- Callbacks


@pytest.mark.parametrize(
    ("answer", "row"),
    [
        ("local", (1, "right", 17)),
        ("remote", (1, "left", 15)),
        (None, None),
        ({"votes": 22}, (1, "right", 22)),
        ({"id": 1, "body": b"\0merged", "votes": 2**62}, (1, b"\0merged", 2**62)),
    ],
)
def test_the_resolver_decides(conflict, answer, row):
    left, right = conflict
    result = right.sync(left, on_conflict=lambda local, remote, base: answer)
    assert result.conflicts == 1
    left.sync(right)
    for db in conflict:
        assert db.execute("SELECT * FROM note") == ([] if row is None else [row])
    (entry,) = right.conflicts()
    assert (entry.table, entry.pk, entry.strategy) == ("note", {"id": 1}, "custom")
    assert right.conflicts(since_id=entry.id) == []


def test_the_resolver_sees_copies_that_it_may_keep(conflict):
    left, right = conflict
    kept = []

    def resolver(*changes):
        kept.extend(changes)
        return "local"

    right.sync(left, on_conflict=resolver)
    right.close()
    local, remote, base = kept
    assert (local.payload["body"], remote.payload["body"]) == ("right", "left")
    assert (local.origin, remote.origin) == (right.origin, left.origin)
    assert base is None or base.payload["body"] == "start"


@pytest.mark.parametrize("answer", ["mine", 5, True, [], b"local", object()])
def test_a_wrong_answer_is_a_type_error_that_names_it(conflict, answer):
    left, right = conflict
    before = right.hash()
    with pytest.raises(TypeError) as caught:
        right.sync(left, on_conflict=lambda local, remote, base: answer)
    assert repr(answer) in str(caught.value)
    assert right.hash() == before and right.conflicts() == []


class Boom(Exception):
    pass


def test_what_a_resolver_raises_comes_out_and_everything_is_rolled_back(conflict):
    left, right = conflict
    left.execute("INSERT INTO note VALUES (2, 'comes first', 0)")
    before, boom, calls = right.hash(), Boom("no"), []

    def resolver(local, remote, base):
        calls.append(local)
        raise boom

    with pytest.raises(Boom) as caught:
        right.sync(left, on_conflict=resolver)
    assert caught.value is boom
    assert "resolver" in [frame.name for frame in traceback.extract_tb(boom.__traceback__)]
    assert len(calls) == 1
    assert right.hash() == before and right.conflicts() == []
    assert right.sync(left).conflicts == 1  # and it can be done again
    assert right.hash() == left.hash()


def test_no_callback_runs_after_one_has_failed(notes):
    left, right = notes
    fill(left, 50)
    right.sync(left)
    with contextlib.closing(sqlite3.connect(left.path)) as connection, connection:
        connection.execute("UPDATE note SET body = 'left'")
    with contextlib.closing(sqlite3.connect(right.path)) as connection, connection:
        connection.execute("UPDATE note SET body = 'right'")
    calls = []

    def resolver(local, remote, base):
        calls.append("resolver")
        raise Boom

    with pytest.raises(Boom):
        right.sync(left, on_conflict=resolver, progress=lambda p: calls.append("progress"))
    assert calls.count("resolver") == 1 and calls[-1] == "resolver"


def test_progress_is_reported_and_may_stop_the_sync(notes):
    left, right = notes
    fill(left, 500)
    seen = []
    right.sync(left, batch_size=100, progress=seen.append)
    assert {p.phase for p in seen} >= {"pulling"}
    assert [p.changes for p in seen if p.phase == "pulling"][-1] == 500
    assert all(p.bytes > 0 for p in seen if p.changes)
    fill(right, 0)
    left.execute("UPDATE note SET votes = 1")

    def stop(progress):
        raise Boom

    before = right.hash()
    with pytest.raises(Boom):
        right.sync(left, progress=stop)
    assert right.execute("SELECT count(*) FROM note WHERE votes = 1")[0][0] in range(500)
    assert right.hash() == before


def test_a_callback_cannot_use_its_own_replica(conflict):
    left, right = conflict

    def resolver(local, remote, base):
        for db in (left, right):
            with pytest.raises(csync.BusyError):
                db.hash()
        return "remote"

    assert right.sync(left, on_conflict=resolver).conflicts == 1


def test_closing_inside_a_callback_waits_for_the_call_to_end(conflict):
    left, right = conflict

    def resolver(local, remote, base):
        right.close()
        assert right.closed
        return "remote"

    result = right.sync(left, on_conflict=resolver)
    assert result.conflicts == 1
    with pytest.raises(csync.Misuse):
        right.hash()


def test_an_exception_frees_what_it_held(conflict):
    left, right = conflict

    class Thing:
        pass

    def resolver(local, remote, base):
        thing = Thing()
        references.append(weakref.ref(thing))
        raise Boom

    references = []
    with pytest.raises(Boom):
        right.sync(left, on_conflict=resolver)
    gc.collect()
    assert references[0]() is None


# ---- Remotes


def test_another_replica_is_a_remote_of_its_own_methods(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0)")
    right.execute("INSERT INTO note VALUES (2, 'right', 0)")
    result = left.sync(csync.Remote(fetch=right.changes, send=right.apply))
    assert (result.pulled, result.pushed) == (1, 1)
    assert left.hash() == right.hash()


def test_a_remote_may_answer_with_lists_texts_or_nothing(notes):
    left, right = notes
    left.execute("INSERT INTO note VALUES (1, 'left', 0)")
    right.execute("INSERT INTO note VALUES (2, 'right', 0)")
    sent = []
    remote = csync.Remote(fetch=lambda since, size: list(right.changes(since, size)), send=sent.append)
    result = left.sync(remote, batch_size=7)
    assert (result.pulled, result.pushed) == (1, 1)
    assert [c.payload["body"] for batch in sent for c in batch] == ["left"]
    right.apply(sent[0])
    assert left.hash() == right.hash()


def test_fetch_is_told_where_to_go_on(notes):
    left, right = notes
    fill(right, 30)
    asked = []

    def fetch(from_version, batch_size):
        asked.append((from_version, batch_size))
        return right.changes(from_version, batch_size)

    assert left.pull(csync.Remote(fetch=fetch), batch_size=10).pulled == 30
    assert asked[:3] == [(0, 10), (10, 10), (20, 10)]


def test_a_batch_that_the_application_keeps_is_not_taken_from_it(notes):
    left, right = notes
    fill(right, 3)
    kept = []

    def fetch(from_version, batch_size):
        kept.append(right.changes(from_version, batch_size))
        return kept[-1]

    left.pull(csync.Remote(fetch=fetch))
    assert len(kept[0]) == 3


def test_what_a_delegate_raises_comes_out(notes):
    left, _ = notes
    left.execute("INSERT INTO note VALUES (1, 'x', 0)")
    for options in ({"fetch": None}, {"send": None}):
        boom = Boom()

        def fail(*args):
            raise boom

        remote = csync.Remote(**{"fetch": lambda *args: [], "send": lambda batch: None} | dict.fromkeys(options, fail))
        with pytest.raises(Boom) as caught:
            left.sync(remote)
        assert caught.value is boom
    for remote in (csync.Remote(fetch=lambda *args: 5), csync.Remote(send=lambda batch: 5)):
        with pytest.raises(TypeError):
            (left.pull if remote.fetch else left.push)(remote)
    with pytest.raises(csync.Error):
        left.sync(csync.Remote())
    assert left.sync(csync.Remote(fetch=lambda *args: [], send=lambda batch: None)).pushed == 1


def test_a_session_is_driven_from_outside(notes):
    left, right = notes
    fill(left, 25)
    right.execute("INSERT INTO note VALUES (100, 'right', 0)")
    session, kinds = csync.Session(left, right.origin, batch_size=10), []
    while (step := session.next()).kind != "done":
        kinds.append(step.kind)
        if step.kind == "fetch":
            session.page(right.changes(step.since, step.limit))
        else:
            session.outcome(right.apply(step.batch))
    assert kinds[0] == "fetch" and kinds.count("send") == 3
    assert (session.result.pulled, session.result.pushed) == (1, 25)
    assert left.hash() == right.hash()


def test_a_session_raises_what_its_resolver_raises(conflict):
    left, right = conflict
    boom = Boom()

    def resolver(*changes):
        raise boom

    session = csync.Session(right, left.origin, on_conflict=resolver)
    step = session.next()
    with pytest.raises(Boom) as caught:
        session.page(left.changes(step.since, step.limit))
    assert caught.value is boom


def test_a_session_of_a_closed_replica_is_misuse(notes):
    left, _ = notes
    session = csync.Session(left, "peer")
    left.close()
    with pytest.raises(csync.Misuse):
        session.next()


# ---- suppressed


def test_suppressed_writes_are_not_captured(notes):
    left, right = notes
    with left.suppressed():
        left.execute("INSERT INTO note VALUES (1, 'hidden', 0)")
    left.execute("INSERT INTO note VALUES (2, 'seen', 0)")
    assert [c.pk["id"] for c in left.changes()] == [2]
    assert count_notes(left) == 2


def test_suppressed_rolls_back_when_the_block_raises(notes):
    left, _ = notes
    boom = Boom()
    with pytest.raises(Boom) as caught, left.suppressed():
        left.execute("INSERT INTO note VALUES (1, 'gone', 0)")
        raise boom
    assert caught.value is boom
    assert count_notes(left) == 0
    left.execute("INSERT INTO note VALUES (1, 'kept', 0)")
    assert len(left.changes()) == 1


def test_only_execute_works_while_suppressed(notes):
    left, right = notes
    with left.suppressed():
        with pytest.raises(csync.BusyError):
            left.sync(right)
        with pytest.raises(csync.Misuse), left.suppressed():
            pass
    assert left.sync(right).pushed == 0


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


# ---- Connections of the application


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
            db.sync(csync.Remote(fetch=lambda *args: []))
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


# ---- The module


def test_errors_have_one_base_and_the_builtins_that_users_expect():
    errors = [value for value in vars(csync).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) == 15 and all(issubclass(error, csync.Error) for error in errors)
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
