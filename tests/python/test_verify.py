"""db.verify: two replicas are compared, the rows that differ are named, wrong ones are healed."""

import json
import sqlite3

import pytest

import csync

PERSON = "CREATE TABLE person(id TEXT, region INTEGER, name TEXT, photo BLOB, PRIMARY KEY(id, region)) WITHOUT ROWID"


@pytest.fixture
def pair(tmp_path):
    with csync.open(tmp_path / "here.db") as here, csync.open(tmp_path / "there.db") as there:
        for db in (here, there):
            db.execute(PERSON)
            db.track("person")
        here.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<299) "
            "INSERT INTO person SELECT 'p'||i, i, 'name '||i, zeroblob(i%5) FROM n"
        )
        here.sync(there)
        yield here, there


def corrupt(db, statement, params=()):
    with db.suppressed():
        db.execute(statement, params)


def remote(db, requests=None):
    def digest(request):
        if requests is not None:
            requests.append(json.loads(request))
        return db.digest(request)

    return csync.Remote(digest=digest)


def test_replicas_in_step_are_equal(pair):
    here, there = pair
    found = here.verify(there)
    assert found.equal
    assert found.rows == ()
    assert found.tables == (csync.Comparison("person", 300, 300, 0, 0, 0, ""),)
    assert found.rounds == 1


def test_a_wrong_row_is_named_and_repaired_from_a_remote(pair):
    here, there = pair
    log = here.state.max_version
    corrupt(here, "UPDATE person SET photo=NULL WHERE id='p7'")
    (row,) = here.verify(remote(there)).rows
    assert (row.table, row.pk, row.kind) == ("person", {"id": "p7", "region": 7}, "differs")
    assert row.local == row.remote
    assert row.local.state == "live"
    assert row.local.origin == here.origin
    assert (row.explained, row.repaired, row.reason) == ("", False, "")
    found = here.verify(remote(there), repair=True)
    assert (found.equal, found.found, found.repaired) == (False, 1, 1)
    assert here.execute("SELECT photo FROM person WHERE id='p7'") == [(bytes(2),)]
    assert here.state.max_version == log
    assert here.verify(there).equal
    assert here.sync(there).pushed == 0


def test_a_wrapped_connection_is_repaired_and_nothing_is_captured(tmp_path):
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    try:
        with csync.open(connection) as here, csync.open(tmp_path / "there.db") as there:
            for db in (here, there):
                db.execute(PERSON)
                db.track("person")
            connection.execute("INSERT INTO person VALUES('a', 1, 'Ada', x'01'), ('b', 2, 'Bob', NULL)")
            here.sync(there)
            corrupt(here, "UPDATE person SET name='wrong'")
            assert here.verify(there, repair=True).repaired == 2
            assert here.hash() == there.hash()
            assert connection.execute("SELECT count(*) FROM _sync_log").fetchone() == (2,)
            connection.execute("UPDATE person SET name='Zoe' WHERE id='a'")
            assert here.sync(there).pushed == 1
    finally:
        connection.close()


def test_what_the_next_sync_settles_is_left_to_it(pair):
    here, there = pair
    here.execute("DELETE FROM person WHERE id='p1'")
    there.execute("INSERT INTO person VALUES('new',1,'x',NULL)")
    found = here.verify(there, repair=True)
    assert {(row.pk["id"], row.kind, row.explained) for row in found.rows} == {
        ("p1", "missing here", "pending sync"),
        ("new", "missing here", "pending sync"),
    }
    assert found.repaired == 0
    here.sync(there)
    assert here.verify(there).equal


def test_only_buckets_that_differ_are_asked_for(pair):
    here, there = pair
    corrupt(there, "UPDATE person SET name='wrong' WHERE id='p100'")
    requests = []
    here.verify(remote(there, requests))
    assert requests[0] == {}
    assert requests[1] == {"table": "person", "prefixes": [""], "digits": 2}
    assert len(requests[2]["prefixes"]) == 1
    assert requests[3]["keys"] == ['{"id":"p100","region":100}']
    assert len(requests) == 4


def test_the_number_of_rows_named_is_limited(pair):
    here, there = pair
    corrupt(here, "DELETE FROM person")
    found = here.verify(there, repair=True, limit=5)
    assert len(found.rows) == 5
    assert (found.found, found.repaired) == (300, 300)
    assert here.hash() == there.hash()


def test_a_table_on_one_side_only_is_named(pair):
    here, there = pair
    here.execute("CREATE TABLE extra(id INTEGER PRIMARY KEY)")
    here.track("extra")
    found = here.verify(there)
    assert not found.equal
    assert found.tables[0] == csync.Comparison("extra", 0, None, 0, 0, 0, "tracked here only")


def test_what_digest_raises_comes_out(pair):
    here, _ = pair
    error = KeyError("down")

    def fail(request):
        raise error

    with pytest.raises(KeyError) as caught:
        here.verify(csync.Remote(digest=fail))
    assert caught.value is error
    with pytest.raises(TypeError, match="digest must return a str"):
        here.verify(csync.Remote(digest=lambda request: None))
    with pytest.raises(csync.ProtocolError, match="malformed"):
        here.verify(csync.Remote(digest=lambda request: "nonsense"))


def test_misuse_is_refused(pair):
    here, _ = pair
    with pytest.raises(csync.Unsupported, match="digest"):
        here.verify(csync.Remote())
    with pytest.raises(csync.InvalidValue, match="itself"):
        here.verify(here)
    with pytest.raises(csync.InvalidValue, match="limit"):
        here.verify(here, limit=0)
    with pytest.raises(TypeError, match="peer"):
        here.verify(None)
    with pytest.raises(csync.InvalidValue, match="no http"):
        here.verify("peer")
    with pytest.raises(csync.InvalidValue, match="digest request"):
        here.digest("[")
    with pytest.raises(csync.NotFound):
        here.digest('{"table":"nowhere","prefixes":[""]}')


def test_a_closed_replica_is_not_compared(pair, tmp_path):
    here, _ = pair
    closed = csync.open(tmp_path / "closed.db")
    closed.close()
    with pytest.raises(csync.Misuse):
        here.verify(closed)
    with pytest.raises(csync.Misuse):
        closed.verify(here)
