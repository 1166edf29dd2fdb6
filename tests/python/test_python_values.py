"""The Python binding: what values, changes and batches are in Python, to the last bit."""

import contextlib
import math
import pickle
import sqlite3
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import csync
from note_table import NOTE, STAMP, change, count_notes

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


def test_canonical_json_orders_names_and_keeps_digits():
    assert csync.canonical_json('{ "b": 1.0, "a": [9007199254740993, "\\u00e9"] }') == '{"a":[9007199254740993,"é"],"b":1}'
    assert csync.canonical_json(b"[1]") == "[1]"
    with pytest.raises(csync.InvalidValue):
        csync.canonical_json("{")


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
