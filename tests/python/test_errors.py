"""Bad input for every public function: the type of error, its code and text, and a database that is as before."""

import contextlib
import json
import os
import shutil
import sqlite3

import pytest

import csync
from exact import everything
from note_table import NOTE, STAMP, Boom, change, fill

SCHEMA = NOTE + """;
    CREATE TABLE heap (x);
    CREATE VIEW seen AS SELECT * FROM note;
    CREATE VIRTUAL TABLE words USING fts5(body);
    CREATE TABLE nulls (k TEXT PRIMARY KEY, v);
    INSERT INTO nulls VALUES (NULL, 1);
"""  # fmt: skip


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """The files of two replicas that have met, with rows on both sides that have not travelled yet."""
    paths = [tmp_path_factory.mktemp("met") / name for name in ("left.db", "right.db")]
    for path in paths:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(SCHEMA)
    with csync.open(paths[0]) as left, csync.open(paths[1]) as right:
        left.path, right.path = paths
        left.track("note"), right.track("note")
        fill(left, 5)
        left.sync(right)
        left.changes(), right.changes()
        left.execute("INSERT INTO note VALUES (10, 'left', 0)")
        right.execute("INSERT INTO note VALUES (20, 'right', 0)")
        left.hash(), right.hash()  # what is written is folded: from here on reading writes nothing
    return paths


@pytest.fixture
def pair(met, tmp_path):
    with contextlib.ExitStack() as stack:
        opened = []
        for path in met:
            db = stack.enter_context(csync.open(shutil.copy(path, tmp_path)))
            db.path = tmp_path / path.name
            db.changes()  # begins the epoch of this handle
            opened.append(db)
        yield opened


@contextlib.contextmanager
def refused(error, code, text, *databases):
    """The block raises this error with this code and this text (in lower case), and changes no database."""
    before = [everything(db.path) for db in databases]
    with pytest.raises(error) as caught:
        yield caught
    assert text in str(caught.value).lower()
    if code:
        assert caught.value.code == code
    assert [everything(db.path) for db in databases] == before


# ---- open


@pytest.mark.parametrize(
    ("database", "error", "code", "text"),
    [
        ("", csync.InvalidValue, "CSYNC_EINVAL", "empty"),
        ("/nowhere/at/all.db", csync.DatabaseError, "CSYNC_EDB", "/nowhere/at/all.db"),
        (os.sep, csync.DatabaseError, "CSYNC_EDB", "open"),
        ("postgresql://127.0.0.1:1/db", csync.DatabaseError, "CSYNC_EDB", "postgresql"),
        ("postgres://127.0.0.1:1/db", csync.DatabaseError, "CSYNC_EDB", "postgresql"),
        ("a\0b", ValueError, None, "null"),
        (None, TypeError, None, "none"),
        (5, TypeError, None, "int"),
        (["x"], TypeError, None, "list"),
    ],
)
def test_open_of_what_cannot_be_opened(database, error, code, text):
    with refused(error, code, text):
        csync.open(database)


@pytest.mark.parametrize("origin", ["", "two words", "x" * 65, "naïve", "a/b", "new\nline", 'quo"te', "a\0b"])
def test_open_with_a_bad_origin(database, origin):
    path = database(NOTE)
    before = everything(path)
    with pytest.raises(ValueError, match="origin|null|NUL"):
        csync.open(path, origin=origin)
    assert everything(path) == before


def test_open_with_another_origin_than_the_stored_one(pair):
    left, _ = pair
    with refused(csync.InvalidValue, "CSYNC_EINVAL", left.origin, left):
        csync.open(left.path, origin="another")


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"timeout": None}, {"origin": 5}, {"origin": b"x"}])
def test_open_with_options_of_a_wrong_type(database, options):
    with pytest.raises(TypeError):
        csync.open(database(NOTE), **options)


def test_open_of_a_read_only_file_says_so(database):
    path = database(NOTE)
    with pytest.raises(csync.DatabaseError, match="read") as caught:
        csync.open(sqlite3.connect(f"file:{path}?mode=ro", uri=True))
    assert caught.value.code == "CSYNC_EDB"


def test_open_of_a_closed_connection(tmp_path):
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.close()
    with pytest.raises((csync.Error, sqlite3.ProgrammingError), match="closed"):
        csync.open(connection)


# ---- track, untrack, trigger_sql


UNTRACKABLE = [
    ("nowhere", csync.NotFound, "CSYNC_ENOTFOUND", 'no table "nowhere"'),
    ("NOTE", csync.NotFound, "CSYNC_ENOTFOUND", 'did you mean "note"'),
    ("", csync.NotFound, "CSYNC_ENOTFOUND", "no table"),
    ("note; DROP TABLE note", csync.NotFound, "CSYNC_ENOTFOUND", "no table"),
    ("main.note", csync.NotFound, "CSYNC_ENOTFOUND", "no table"),
    ("heap", csync.SchemaError, "CSYNC_ESCHEMA", "no primary key"),
    ("seen", csync.SchemaError, "CSYNC_ESCHEMA", "is a view"),
    ("words", csync.SchemaError, "CSYNC_ESCHEMA", "virtual table"),
    ("words_content", csync.SchemaError, "CSYNC_ESCHEMA", "shadow table"),
    ("_sync_log", csync.SchemaError, "CSYNC_ESCHEMA", "belongs to csync"),
    ("_sync_rows_1", csync.SchemaError, "CSYNC_ESCHEMA", "belongs to csync"),
    ("sqlite_master", csync.SchemaError, "CSYNC_ESCHEMA", "belongs to sqlite"),
    ("a\0b", ValueError, None, "nul"),
    (5, TypeError, None, "int"),
    (None, TypeError, None, "none"),
    (b"note", TypeError, None, "bytes"),
]


@pytest.mark.parametrize(("table", "error", "code", "text"), UNTRACKABLE)
def test_what_cannot_be_tracked(pair, table, error, code, text):
    left, _ = pair
    with refused(error, code, text, left) as caught:
        left.track(table)
    assert not code or caught.value.table == (table or None)
    with refused(error, code, text, left):
        csync.trigger_sql(left, table)


def test_a_row_with_null_in_its_key_forbids_track(pair):
    left, _ = pair
    with refused(csync.SchemaError, "CSYNC_ESCHEMA", "null in their primary key", left):
        left.track("nulls")


@pytest.mark.parametrize("capture", ["", "Full", None, 1, ["full"]])
def test_a_wrong_capture(pair, capture):
    left, _ = pair
    for use in (left.track, lambda *args, **kwargs: csync.trigger_sql(left, *args, **kwargs)):
        with refused(csync.InvalidValue, "CSYNC_EINVAL", "capture must be one of", left):
            use("note", capture=capture)


@pytest.mark.parametrize(
    ("table", "error", "text"),
    [("nowhere", csync.NotFound, "not tracked"), ("NOTE", csync.NotFound, "not tracked"),
     ("heap", csync.NotFound, "not tracked"), (5, TypeError, "int")],
)  # fmt: skip
def test_what_cannot_be_untracked(pair, table, error, text):
    left, _ = pair
    with refused(error, None, text, left):
        left.untrack(table)
    with refused(TypeError, None, "at least one table", left):
        left.untrack()


# ---- changes, conflicts, execute


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((-1,), csync.InvalidValue, "negative"),
        ((0, 0), csync.InvalidValue, "limit"),
        ((0, -1), csync.InvalidValue, "limit"),
        ((0, 10_001), csync.InvalidValue, "10000"),
        ((2**63,), OverflowError, ""),
        ((0, 2**40), (OverflowError, csync.InvalidValue), ""),
        (("0",), TypeError, "str"),
        ((0, "many"), TypeError, "str"),
        ((1.5,), TypeError, "float"),
        ((None,), TypeError, "none"),
    ],
)
def test_changes_and_conflicts_with_bad_numbers(pair, arguments, error, text):
    left, _ = pair
    with refused(error, None, text, left):
        left.changes(*arguments)
    if arguments != (0, 10_001):  # the audit may be read in one go
        with refused(error, None, text, left):
            left.conflicts(*arguments)


def test_changes_with_negative_bytes(pair):
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "max_bytes", pair[0]):
        pair[0].changes(max_bytes=-1)


@pytest.mark.parametrize(
    ("sql", "params", "error", "text"),
    [
        ("SELEC 1", (), csync.DatabaseError, "syntax error"),
        ("", (), csync.InvalidValue, "statement"),
        ("-- nothing", (), csync.InvalidValue, "statement"),
        ("SELECT 1; SELECT 2", (), csync.InvalidValue, "one statement"),
        ("DELETE FROM note; DELETE FROM note", (), csync.InvalidValue, "one statement"),
        ("SELECT ?", (), csync.InvalidValue, "parameter"),
        ("SELECT 1", (1,), csync.InvalidValue, "parameter"),
        ("INSERT INTO note VALUES (1, 'taken', 0)", (), csync.DatabaseError, "unique"),
        ("INSERT INTO nowhere VALUES (1)", (), csync.DatabaseError, "nowhere"),
        ("SELECT ?", (object(),), TypeError, "parameter 1"),
        ("SELECT ?", (2**64,), OverflowError, "parameter 1"),
        ("SELECT '\0'", (), ValueError, ""),
        (b"SELECT 1", (), TypeError, "bytes"),
        (None, (), TypeError, "none"),
        ("SELECT ?", 5, TypeError, "sequence"),
    ],
)
def test_bad_sql(pair, sql, params, error, text):
    with refused(error, None, text, pair[0]):
        pair[0].execute(sql, params)


@pytest.mark.parametrize("sql", ["BEGIN", "SAVEPOINT a"])
def test_a_transaction_that_execute_leaves_open_is_refused_or_reported(pair, sql):
    """What is left open must not swallow a sync."""
    left, right = pair
    with contextlib.suppress(csync.Error):
        left.execute(sql)
        with refused(csync.BusyError, "CSYNC_EBUSY", "transaction", right):
            left.sync(right)
        left.execute("ROLLBACK")
    assert left.sync(right).pulled == 1


# ---- Batches as JSON


GOOD = {"version": 1, "tableName": "note", "pkValue": '{"id":1}', "operation": "Delete", "payload": None,
        "origin": "peer", "timestamp": STAMP, "seq": 1}  # fmt: skip


def batch(fields=None, without=(), **info):
    one = {k: v for k, v in (GOOD | (fields or {})).items() if k not in without}
    return json.dumps({"changes": [one]} | info)


CORRUPT = {
    "nothing": "",
    "white space": " \n",
    "no object": "[]",
    "a number": "5",
    "null": "null",
    "cut off": batch()[:-1],
    "cut in a name": '{"chan',
    "cut in an escape": '{"changes":"\\u00',
    "trailing text": batch() + "x",
    "two objects": batch() + batch(),
    "no changes": "{}",
    "changes null": '{"changes":null}',
    "changes an object": '{"changes":{}}',
    "changes a text": '{"changes":"[]"}',
    "a change that is a number": '{"changes":[1]}',
    "a change that is null": '{"changes":[null]}',
    "an empty change": '{"changes":[{}]}',
    "a comma too many": '{"changes":[],}',
    "a comma missing": '{"changes":[] "hash":""}',
    "single quotes": "{'changes':[]}",
    "a comment": '{"changes":[]/**/}',
    "a bare name": "{changes:[]}",
    "a control character": '{"changes":[],"hash":"\n"}',
    "a byte order mark": "\ufeff" + batch(),
    "not UTF-8": b'{"changes":[],"x":"\xff"}',
    "a lone surrogate": '{"changes":[],"origin":"\\ud800"}',
    "NUL after the end": batch() + "\0",
    "deep": '{"changes":[],"x":' + "[" * 100_000 + "]" * 100_000 + "}",
    "a name twice": '{"changes":[],"changes":[]}',
    "no table": batch(without=["tableName"]),
    "an empty table": batch({"tableName": ""}),
    "a table that is null": batch({"tableName": None}),
    "a table with a NUL": batch({"tableName": "a\0b"}),
    "a table that is a number": batch({"tableName": 5}),
    "no key": batch(without=["pkValue"]),
    "an empty key": batch({"pkValue": "{}"}),
    "a key that is no JSON": batch({"pkValue": "id=1"}),
    "a key that is a list": batch({"pkValue": "[1]"}),
    "a key with a list": batch({"pkValue": '{"id":[1'}),
    "a key with a name twice": batch({"pkValue": '{"id":1,"id":2}'}),
    "a key that is an object": batch({"pkValue": 5}),
    "no operation": batch(without=["operation"]),
    "an unknown operation": batch({"operation": "Upsert"}),
    "operation 3": batch({"operation": 3}),
    "operation -1": batch({"operation": -1}),
    "an insert without payload": batch({"operation": "Insert"}),
    "an insert whose payload is no JSON": batch({"operation": "Insert", "payload": "{"}),
    "an insert whose payload is a number": batch({"operation": "Insert", "payload": "5"}),
    "a payload with leading zeros": batch({"operation": "Insert", "payload": '{"id":01}'}),
    "a payload with NaN": batch({"operation": "Insert", "payload": '{"id":NaN}'}),
    "a payload with a name twice": batch({"operation": "Update", "payload": '{"id":1,"id":1}'}),
    "no origin": batch(without=["origin"]),
    "an empty origin": batch({"origin": ""}),
    "a long origin": batch({"origin": "x" * 65}),
    "an origin with a space": batch({"origin": "a b"}),
    "no timestamp": batch(without=["timestamp"]),
    "a timestamp that is none": batch({"timestamp": "yesterday"}),
    "a timestamp without zone": batch({"timestamp": "2024-05-01T12:00:00"}),
    "a 30th of February": batch({"timestamp": "2024-02-30T12:00:00Z"}),
    "a 25th hour": batch({"timestamp": "2024-02-03T25:00:00Z"}),
    "a year before 1970": batch({"timestamp": "1969-12-31T23:59:59.999Z"}),
    "a year 10000": batch({"timestamp": "10000-01-01T00:00:00Z"}),
    "a timestamp that is a number": batch({"timestamp": 1714564800}),
    "a negative version": batch({"version": -1}),
    "a version beyond 64 bits": batch({"version": 2**63}),
    "a version that is a text": batch({"version": "1"}),
    "a version with a fraction": batch({"version": 1.5}),
    "a negative seq": batch({"seq": -1}),
    "a range that goes back": batch(fromVersion=5, toVersion=4),
    "a negative range": batch(fromVersion=-1, toVersion=4),
    "hasMore a text": batch(hasMore="yes"),
    "hasMore a number": batch(hasMore=1),
    "a short hash": batch(hash="abc"),
    "a hash that is no hex": batch(hash="g" * 64),
    "a hash that is a number": batch(hash=5),
    "a bad origin of the batch": batch(origin="a b"),
    "two origins": batch(origin="a", originId="b"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_batch_is_refused_whole_and_says_where(name):
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "byte ") as caught:
        csync.Batch.from_json(CORRUPT[name])
    assert str(caught.value).startswith(("batch JSON, byte ", "change 0, byte "))
    assert len(str(caught.value)) < 512 and "\n" not in str(caught.value)


def test_the_batch_that_these_were_made_of_is_good(pair):
    assert len(csync.Batch.from_json(batch())) == 1
    assert pair[0].apply(csync.Batch.from_json(batch())).rejected == 0


@pytest.mark.parametrize("text", [None, 5, ["{}"], object()])
def test_batch_json_of_a_wrong_type(text):
    for reader in (csync.Batch.from_json, csync.Outcomes.from_json, csync.canonical_json):
        with pytest.raises(TypeError):
            reader(text)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"position":1}', '{"outcomes":[]}', '{"position":-1,"outcomes":[]}', '{"position":"1","outcomes":[]}',
     '{"position":1,"outcomes":[{}]}', '{"position":1,"outcomes":[{"status":"done"}]}', '{"position":1,"outcomes":[1]}',
     '{"position":1,"outcomes":[{"status":"lost","winner":{}}]}', '{"position":1,"outcomes":[]}x',
     '{"position":null,"outcomes":null}', '{"position":1,"outcomes":[{"status":null}]}'],
)  # fmt: skip
def test_corrupt_outcomes(text):
    with pytest.raises(csync.InvalidValue, match="(outcome JSON|outcome 0), byte "):
        csync.Outcomes.from_json(text)


# ---- apply


def test_a_wrong_hash(pair):
    left, _ = pair
    wrong = csync.Batch([change(1)], hash="0" * 64)
    with refused(csync.HashMismatchError, "CSYNC_EHASH", "hash", left) as caught:
        left.apply(wrong)
    assert (caught.value.expected, caught.value.actual) == ("0" * 64, csync.batch_hash(wrong))
    for expected, actual in (("", "0" * 64), ("0" * 64, "1" * 64), ("00", "000")):
        with refused(csync.HashMismatchError, "CSYNC_EHASH", "hash"):
            csync.verify_hash(expected, actual)


def test_a_batch_from_itself(pair):
    left, right = pair
    own = left.changes()
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "this very replica", left):
        left.apply(own)
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "this very replica", left):
        left.pull(csync.Remote(fetch=lambda *args: own))
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "itself", left):
        left.sync(left)
    with csync.open(left.path) as again, refused(csync.InvalidValue, "CSYNC_EINVAL", "itself", left):
        again.push(left)


@pytest.mark.parametrize("skip", [1, 3, 1000])
def test_a_push_that_skips_a_position_is_dropped_whole(pair, skip):
    left, _ = pair
    start = csync.Batch([change(1, version=1)], origin="peer", from_version=0, to_version=1)
    assert left.apply(start).outcomes.position == 1
    beyond = csync.Batch([change(7, version=9 + skip)], origin="peer", from_version=1 + skip, to_version=9 + skip)
    before = everything(left.path)
    result = left.apply(beyond)
    assert (len(result.outcomes), result.outcomes.position, result.pulled) == (0, 1, 0)
    assert everything(left.path) == before


@pytest.mark.parametrize(
    ("payload", "pk"),
    [
        ('{"id":2,"body":"x"}', '{"id":1}'),
        ('{"id":"text"}', '{"id":"text"}'),
        ('{"id":null}', '{"id":null}'),
        ('{"id":1.5}', '{"id":1.5}'),
        ('{"id":{"$b":"00"}}', '{"id":{"$b":"00"}}'),
        ('{"id":123456789012345678901234567890}', '{"id":123456789012345678901234567890}'),
        ('{"body":"x"}', '{"body":"x"}'),
        ('{"id":1,"body":{"a":1},"nowhere":1}', '{"id":1}'),
        ('{"id":1}', '{"id":1,"body":2}'),
        ('{"id":{"$b":"0"}}', '{"id":{"$b":"0"}}'),
    ],
)
def test_a_change_that_no_row_can_hold_is_refused_and_harms_nothing(pair, payload, pk):
    left, _ = pair
    before = left.execute("SELECT * FROM note ORDER BY id")
    poison = csync.Change(1, "note", pk, "update", payload, "peer", "2099-01-01T00:00:00Z", 1)
    result = left.apply([poison, change(77)])
    assert [outcome.status for outcome in result.outcomes][1] == "applied"
    assert result.outcomes[0].status in ("parked", "rejected") and result.outcomes[0].reason
    after = dict(left.execute("SELECT id, body FROM note"))
    assert after.pop(77) and set(after) <= {row[0] for row in before}
    assert {k: v for k, v in after.items() if k != 1} == {row[0]: row[1] for row in before if row[0] != 1}


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"version": -1}, csync.InvalidValue, "negative"),
        ({"seq": -1}, csync.InvalidValue, "negative"),
        ({"operation": "upsert"}, csync.InvalidValue, "operation"),
        ({"timestamp": "today"}, csync.InvalidValue, "timestamp"),
        ({"origin": ""}, csync.InvalidValue, "origin"),
        ({"version": "1"}, TypeError, ""),
        ({"version": 2**63}, OverflowError, ""),
        ({"timestamp": None}, csync.InvalidValue, "timestamp"),
        ({"origin": 5}, TypeError, ""),
        ({"payload": {"id": object()}}, TypeError, "id"),
    ],
)
def test_bad_fields_of_a_change(pair, fields, error, text):
    left, _ = pair
    with refused(error, None, text, left):
        left.apply([change(1), change(**({"pk": 2} | fields))])


@pytest.mark.parametrize("argument", [None, 5, "text", b"bytes", [None], [{}], ["x"], [(1, 2)], {"a": 1}])
def test_apply_of_what_is_no_batch(pair, argument):
    with refused(TypeError, None, "", *pair):
        pair[0].apply(argument)


def test_an_iterator_that_raises(pair):
    boom = Boom()

    def broken():
        yield change(1)
        raise boom

    with refused(Boom, None, "", pair[0]) as caught:
        pair[0].apply(broken())
    assert caught.value is boom


# ---- sync


OPTIONS = [
    ({"batch_size": 0}, csync.InvalidValue, "batch_size"),
    ({"batch_size": -1}, csync.InvalidValue, "batch_size"),
    ({"batch_size": 10_001}, csync.InvalidValue, "batch_size"),
    ({"batch_size": 2**70}, csync.InvalidValue, "batch_size"),
    ({"batch_size": "x"}, TypeError, ""),
    ({"batch_size": 1.5}, TypeError, ""),
    ({"max_retry_passes": -1}, csync.InvalidValue, "max_retry_passes"),
    ({"max_retry_passes": 2**40}, (OverflowError, csync.InvalidValue), ""),
    ({"strategy": ""}, csync.InvalidValue, "strategy"),
    ({"strategy": "custom"}, csync.Misuse, "on_conflict"),
    ({"strategy": 5}, csync.InvalidValue, "strategy"),
    ({"strategy": "server-wins", "on_conflict": max}, csync.Misuse, "on_conflict"),
    ({"on_conflict": 5}, TypeError, "on_conflict"),
    ({"progress": 5}, TypeError, "progress"),
    ({"wrong": 1}, TypeError, "wrong"),
]


@pytest.mark.parametrize(("options", "error", "text"), OPTIONS)
def test_bad_options_of_a_sync(pair, options, error, text):
    left, right = pair
    for method in (left.sync, left.pull, left.push):
        with refused(error, None, text, *pair):
            method(right, **options)
    with refused(error, None, text, *pair):
        csync.Session(left, "peer", **options)


@pytest.mark.parametrize("peer", [None, 5, "file.db", b"x", object(), {"fetch": None}])
def test_a_peer_that_is_none(pair, peer):
    for method in (pair[0].sync, pair[0].pull, pair[0].push):
        with refused((TypeError, csync.InvalidValue), None, "", pair[0]):
            method(peer)


@pytest.mark.parametrize("name", ["", "x" * 513])
def test_a_bad_name_of_a_peer(pair, name):
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "peer's name", pair[0]):
        csync.Session(pair[0], name)
    with refused(csync.InvalidValue, "CSYNC_EINVAL", "peer's name", pair[0]):
        pair[0].pull(csync.Remote(fetch=lambda *args: [], name=name))


def page(*changes, **info):
    return lambda since, limit: csync.Batch(changes, **info)


@pytest.mark.parametrize(
    ("fetch", "error", "code"),
    [
        (lambda since, limit: None, TypeError, None),
        (lambda since, limit: 5, TypeError, None),
        (lambda since, limit: "text", TypeError, None),
        (lambda since, limit: [None], TypeError, None),
        (lambda since: [], TypeError, None),
        (page(change(9), from_version=5, to_version=9), csync.ProtocolError, "CSYNC_EPROTO"),
        (page(change(9), from_version=5, to_version=9, has_more=True), csync.ProtocolError, "CSYNC_EPROTO"),
        (page(change(9), to_version=9, hash="0" * 64), csync.HashMismatchError, "CSYNC_EHASH"),
    ],
)
def test_fetch_that_returns_nonsense(pair, fetch, error, code):
    left, _ = pair
    with refused(error, code, "", left):
        left.pull(csync.Remote(fetch=fetch, name="nonsense"))


def test_a_page_that_promises_more_and_holds_nothing(pair):
    """An empty page is a complete batch, so that the peer is known stays; but nobody asks for ever."""
    left, _ = pair
    before = left.execute("SELECT * FROM note"), left.state.max_version
    with pytest.raises(csync.ProtocolError, match="sent nothing"):
        left.pull(csync.Remote(fetch=page(origin="peer", to_version=0, has_more=True), name="nonsense"))
    assert (left.execute("SELECT * FROM note"), left.state.max_version) == before


@pytest.mark.parametrize("text", ['{"position":9,"outcomes":[{"status":"applied"},{"status":"applied"}]}'])
def test_outcomes_that_do_not_match_the_batch(pair, text):
    left, _ = pair
    left.execute("INSERT INTO note VALUES (11, 'x', 0), (12, 'y', 0)")
    left.hash()
    with refused(csync.ProtocolError, "CSYNC_EPROTO", "outcomes", left):
        left.push(csync.Remote(send=lambda sent: csync.Outcomes.from_json(text), name="nonsense"))


def test_a_winner_of_another_row_is_refused(pair):
    """A peer that answers with a row that was not asked about must not overwrite that row."""
    left, _ = pair
    stranger = csync.Batch([change(3, "update", timestamp="2099-01-01T00:00:00Z", seq=1)]).to_json()
    winner = json.loads(stranger)["changes"][0]

    def send(sent):
        entries = [{"status": "lost", "winner": winner} for _ in sent]
        return csync.Outcomes.from_json(json.dumps({"position": sent.to_version, "outcomes": entries}))

    with refused(csync.ProtocolError, "CSYNC_EPROTO", "", left):
        left.push(csync.Remote(send=send, name="nonsense"))


@pytest.mark.parametrize("position", [10**6, 2**62])
def test_a_position_beyond_what_was_sent_is_refused(pair, position):
    """Believed, it would pass over every later edit for ever."""
    left, _ = pair

    def send(sent):
        entries = [{"status": "applied"} for _ in sent]
        return csync.Outcomes.from_json(json.dumps({"position": position, "outcomes": entries}))

    with refused(csync.ProtocolError, "CSYNC_EPROTO", "position", left):
        left.push(csync.Remote(send=send, name="nonsense"))


@pytest.mark.parametrize("answer", [5, "text", [], {}, object(), b"{}"])
def test_send_that_returns_nonsense(pair, answer):
    with refused(TypeError, None, "", pair[0]):
        pair[0].push(csync.Remote(send=lambda sent: answer, name="nonsense"))


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, SystemExit, csync.NetworkError, OSError, MemoryError])
def test_delegates_that_raise(pair, error):
    left, _ = pair
    boom = error("from the delegate")

    def fail(*args):
        raise boom

    for remote, method in ((csync.Remote(fetch=fail), left.pull), (csync.Remote(send=fail), left.push)):
        with refused(error, None, "from the delegate", left) as caught:
            method(remote)
        assert caught.value is boom


def test_sessions_that_are_answered_out_of_turn(pair):
    left, right = pair
    session = csync.Session(left, "peer")
    for early in (lambda: session.page(right.changes()), lambda: session.outcome(None)):
        with refused(csync.Misuse, "CSYNC_EMISUSE", "session has not", left):
            early()
    assert session.next().kind == "fetch"
    with refused(csync.Misuse, "CSYNC_EMISUSE", "session has not", left):
        session.outcome(None)
    with refused(TypeError, None, "", left):
        session.page(None)
    with refused(TypeError, None, "", left):
        csync.Session(None, "peer")


# ---- Closed, and in use


def uses(db, peer):
    """Every public use of a replica."""
    return {
        "state": lambda: db.state, "track": lambda: db.track("note"), "untrack": lambda: db.untrack("note"),
        "tables": db.tables, "sync": lambda: db.sync(peer), "pull": lambda: db.pull(peer), "push": lambda: db.push(peer),
        "changes": db.changes, "apply": lambda: db.apply([change(1)]), "parked": db.parked, "conflicts": db.conflicts,
        "hash": db.hash, "execute": lambda: db.execute("SELECT 1"), "suppressed": lambda: db.suppressed().__enter__(),
        "trigger_sql": lambda: csync.trigger_sql(db, "note"), "session": lambda: csync.Session(db, "peer").next(),
        "as a peer": lambda: peer.sync(db), "subscribe": lambda: db.subscribe("note"), "clients": db.clients,
        "stale_clients": db.stale_clients, "register_client": lambda: db.register_client("client"),
        "forget_client": lambda: db.forget_client("client"), "safe_purge_version": db.safe_purge_version,
        "purge": db.purge, "digest": lambda: db.digest("{}"), "verify": lambda: db.verify(peer),
    }  # fmt: skip


NAMES_OF_USES = [
    "state", "track", "untrack", "tables", "sync", "pull", "push", "changes", "apply", "parked", "conflicts", "hash",
    "execute", "suppressed", "trigger_sql", "session", "as a peer", "subscribe", "clients", "stale_clients",
    "register_client", "forget_client", "safe_purge_version", "purge", "digest", "verify",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES_OF_USES)
def test_a_closed_replica(pair, name):
    left, right = pair
    left.close()
    with refused(csync.Misuse, "CSYNC_EMISUSE", "closed", left, right):
        uses(left, right)[name]()


@pytest.mark.parametrize("name", NAMES_OF_USES)
def test_a_replica_inside_its_own_callback(pair, name):
    left, right = pair
    caught = []

    def progress(p):
        with pytest.raises(csync.BusyError) as error:
            uses(left, right)[name]()
        caught.append(error.value.code)

    left.sync(right, progress=progress)
    assert set(caught) == {"CSYNC_EBUSY"}
    assert left.hash() == right.hash()


@pytest.mark.parametrize("name", [name for name in NAMES_OF_USES if name not in ("execute", "suppressed")])
def test_a_replica_inside_suppressed(pair, name):
    left, right = pair
    with left.suppressed():
        with pytest.raises(csync.BusyError) as caught:
            uses(left, right)[name]()
        assert caught.value.code == "CSYNC_EBUSY"
    assert left.sync(right).pulled == 1


def test_a_connection_with_an_open_transaction(database):
    path = database(NOTE)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with csync.open(connection) as db:
            db.track("note")
            connection.execute("INSERT INTO note VALUES (1, 'open', 0)")
            for use in (db.hash, db.changes, lambda: db.track("note"), lambda: db.apply([change(2)])):
                with refused(csync.BusyError, "CSYNC_EBUSY", "transaction"):
                    use()
            connection.rollback()
            assert len(db.changes()) == 0
