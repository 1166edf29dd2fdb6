"""Tokens that are bound to tables: what their bearer is given, and may push, of the others: nothing."""

import contextlib
import datetime
import json
import pathlib
import subprocess
import sys
import time
import urllib.parse

import pytest

import csync
from note_table import wait_a_moment
from serving import Stream, ask, serving
from test_protocol import grow_stale

SCHEMA = """
CREATE TABLE album (id INTEGER PRIMARY KEY, title);
CREATE TABLE photo (id INTEGER PRIMARY KEY, album INTEGER REFERENCES album, name);
CREATE TABLE secret (id INTEGER PRIMARY KEY, text);
"""
TABLES = ("album", "photo", "secret")
TOKEN, WIDE = "bound-to-album-and-photo", "bound-to-all-three"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
GRANTS = [csync.Grant(TOKEN, tables=("photo", "album"))]


@pytest.fixture
def server(replica):
    """Secrets stand before, between and behind what may be seen."""
    db = replica(SCHEMA, *TABLES)
    db.execute("INSERT INTO secret VALUES (1, 'hidden 1')")
    db.execute("INSERT INTO album VALUES (1, 'Ada')")
    db.execute("INSERT INTO secret VALUES (2, 'hidden 2')")
    db.execute("INSERT INTO photo VALUES (1, 1, 'sea')")
    db.execute("INSERT INTO secret VALUES (3, 'hidden 3')")
    return db


@pytest.fixture
def client(replica):
    return replica(SCHEMA, "album", "photo")


def names_nothing_hidden(document):
    text = json.dumps(document)
    return "secret" not in text and "hidden" not in text


def change(table, pk, operation="Insert", timestamp="2025-01-01T00:00:00Z", version=1, **row):
    return {
        "version": version,
        "tableName": table,
        "pkValue": json.dumps({"id": pk}),
        "operation": operation,
        "payload": None if operation == "Delete" else json.dumps({"id": pk, **row}),
        "origin": "device",
        "timestamp": timestamp,
    }


def push(running, *changes, headers=BEARER, **more):
    body = json.dumps({"OriginId": "device", "Changes": changes, **more}).encode()
    return ask(running, "/sync/changes", "POST", body, headers)


def digest(running, question, headers=BEARER):
    return ask(running, "/sync/digest", "POST", json.dumps(question).encode(), headers)


# ---- what it is given


def test_a_client_comes_together_with_its_tables_and_sees_no_others(server, client):
    with serving(server, grants=GRANTS) as running:
        assert client.sync(running.url, token=TOKEN).pulled == 2
        for _ in range(3):  # in pages of one, and with edits on both sides
            server.execute("UPDATE secret SET text = text || '!'")
            server.execute("UPDATE album SET title = title || ' L.'")
            server.execute("INSERT INTO secret(text) VALUES ('hidden')")
            client.execute("INSERT INTO photo(album, name) VALUES (1, 'wood')")
            client.sync(running.url, token=TOKEN, batch_size=1)
        server.execute("DELETE FROM photo WHERE id = 1")
        assert client.sync(running.url, token=TOKEN).resyncs == 0
        report = client.verify(running.url, token=TOKEN)
        assert report.equal and {table.table for table in report.tables} == {"album", "photo"}
    for table in ("album", "photo"):
        assert client.execute(f"SELECT * FROM {table}") == server.execute(f"SELECT * FROM {table}")
    assert client.execute("SELECT * FROM secret") == [] and client.parked() == []


def test_a_page_without_anything_to_see_leads_on(server):
    with serving(server, grants=GRANTS) as running:
        status, _, page = ask(running, "/sync/changes?fromVersion=0&batchSize=1", headers=BEARER)
        assert status == 200 and [c["tableName"] for c in page["changes"]] == ["album"]
        hidden = f"/sync/changes?fromVersion=4&epoch={page['epoch']}"
        _, _, page = ask(running, hidden, headers=BEARER)
        assert (page["changes"], page["toVersion"], page["hasMore"]) == ([], 5, False)
        assert names_nothing_hidden(page)


def test_a_long_stretch_of_other_tables_is_passed_over_in_pages_that_end(server, client, sql):
    rows = "WITH RECURSIVE n(i) AS (VALUES(10) UNION ALL SELECT i + 1 FROM n WHERE i < 60000) "
    sql(server.path, rows + "INSERT INTO secret SELECT i, 'hidden' FROM n")
    server.execute("INSERT INTO album VALUES (2, 'behind it all')")
    with serving(server, grants=GRANTS) as running:
        assert client.sync(running.url, token=TOKEN).pulled == 3
        _, _, page = ask(running, "/sync/changes?fromVersion=5", headers=BEARER)
        assert (page["changes"], page["toVersion"], page["hasMore"]) == ([], 50005, True)
    assert client.execute("SELECT id FROM album") == [(1,), (2,)]


def test_the_state_counts_nothing_of_other_tables(server):
    grants = [*GRANTS, csync.Grant(WIDE)]
    with serving(server, grants=grants) as running:
        state = ask(running, "/sync/state", headers=BEARER)[2]
        assert set(state) == {"maxVersion", "timestamp", "origin"}
        assert (state["maxVersion"], state["origin"]) == (5, server.origin)
        every = ask(running, "/sync/state", headers={"Authorization": f"Bearer {WIDE}"})[2]
        assert (every["tables"], every["parked"], every["conflicts"]) == (3, 0, 0)


def test_a_snapshot_holds_its_tables_alone(server):
    with serving(server, grants=GRANTS) as running:
        seen, cursor, first = [], "", None
        while cursor or first is None:
            target = f"/sync/snapshot?batchSize=1&cursor={urllib.parse.quote(cursor)}"
            status, _, page = ask(running, target, headers=BEARER)
            assert status == 200 and names_nothing_hidden(page)
            first = first or page
            seen += [c["tableName"] for c in page["changes"]]
            cursor = page["cursor"]
        assert seen == ["album", "photo"] and page["tables"] == ["album", "photo"]


def test_the_row_of_a_hidden_table_that_nobody_tracks_is_hidden_too(server):
    with serving(server) as running:
        assert push(running, change("unknown", 1, text="hidden"), headers={})[0] == 200
        assert len(server.parked()) == 1
    with serving(server, grants=GRANTS) as running:
        for target in ("/sync/changes?fromVersion=0", "/sync/snapshot"):
            page = ask(running, target, headers=BEARER)[2]
            assert {c["tableName"] for c in page["changes"]} == {"album", "photo"}


def test_digests_cover_its_tables_alone(server):
    with serving(server, grants=GRANTS) as running:
        status, _, answer = digest(running, {})
        assert status == 200 and [t["table"] for t in answer["tables"]] == ["album", "photo"]
        assert [t["table"] for t in digest(running, {"tables": ["photo"]})[2]["tables"]] == ["photo"]
        assert digest(running, {"table": "photo", "prefixes": [""]})[0] == 200
        for question in (
            {"table": "secret", "prefixes": [""]},
            {"table": "secret", "keys": ['{"id":1}'], "payload": True},
            {"table": "nowhere", "prefixes": [""]},  # nor does it learn which others there are
            {"tables": ["photo", "secret"]},
        ):
            status, _, problem = digest(running, question)
            assert (status, problem["type"]) == (403, "urn:csync:forbidden")
        assert digest(running, {"tables": []})[0] == 400
        assert digest(running, {"table": "photo", "prefixes": [""], "tables": ["photo"]})[0] == 400


def test_a_stream_tells_of_its_tables_alone(server):
    with serving(server, grants=GRANTS) as running:
        for target in ("?tableName=secret", "?tableName=secret&pkValue=%7B%22id%22:1%7D", "?tableName=nowhere"):
            status, _, problem = ask(running, f"/sync/subscribe{target}", headers=BEARER)
            assert (status, problem["type"]) == (403, "urn:csync:forbidden")
        with Stream(running, headers=BEARER) as everything, Stream(running, "?tableName=photo", BEARER) as photos:
            server.execute("UPDATE secret SET text = 'hidden still'")
            server.execute("UPDATE album SET title = 'seen'")
            server.execute("UPDATE photo SET name = 'seen'")
            assert [everything.next()[2]["tableName"] for _ in range(2)] == ["album", "photo"]
            assert photos.next()[2]["tableName"] == "photo"
        with Stream(running, headers={**BEARER, "Last-Event-ID": "0"}) as resumed:
            assert [resumed.next()[2]["tableName"] for _ in range(2)] == ["album", "photo"]


def test_streams_of_different_tokens_do_not_share_what_they_see(server):
    grants = [*GRANTS, csync.Grant(WIDE)]
    with serving(server, grants=grants) as running:
        with Stream(running, headers=BEARER) as bound, Stream(running, headers={"Authorization": f"Bearer {WIDE}"}) as free:
            server.execute("UPDATE secret SET text = 'now' WHERE id = 1")
            server.execute("UPDATE album SET title = 'now'")
            assert [free.next()[2]["tableName"] for _ in range(2)] == ["secret", "album"]
            assert bound.next()[2]["tableName"] == "album"


# ---- what it may push


def test_a_push_with_a_change_of_another_table_is_refused_whole(server):
    before = server.hash(), server.state
    with serving(server, grants=GRANTS) as running:
        status, _, problem = push(running, change("album", 9, title="mine"), change("secret", 1, version=2, text="x"))
        assert (status, problem["type"], problem["code"]) == (403, "urn:csync:forbidden", "CSYNC_EAUTH")
        assert "secret" in problem["detail"] and (server.hash(), server.state) == before
        assert push(running, change("album", 9, title="mine"))[2]["applied"] == 1
    assert server.execute("SELECT title FROM album WHERE id = 9") == [("mine",)]


def test_a_client_that_tracks_another_table_too_is_told_which(server, replica):
    client = replica(SCHEMA, *TABLES)
    client.execute("INSERT INTO secret VALUES (7, 'mine')")
    with serving(server, grants=GRANTS) as running:
        with pytest.raises(csync.AuthError, match='table "secret"'):
            client.sync(running.url, token=TOKEN)
    assert client.execute("SELECT title FROM album") == [("Ada",)]
    assert server.execute("SELECT text FROM secret WHERE id = 7") == []


def test_the_answer_to_a_repeated_push_tells_nothing_that_the_token_may_not_see_any_more(server):
    server.execute("UPDATE secret SET text = 'hidden winner' WHERE id = 1")
    grants = [csync.Grant(WIDE), *GRANTS]
    with serving(server, grants=grants) as running:
        lost = change("secret", 1, "Update", text="loser")
        repeat = {"fromVersion": 0, "toVersion": 1, "hasMore": False, "idempotencyKey": "k"}
        wide = {"Authorization": f"Bearer {WIDE}"}
        answer = push(running, lost, headers=wide, **repeat)[2]
        assert answer["outcomes"][0]["status"] == "lost" and "hidden winner" in json.dumps(answer)
        assert push(running, lost, headers=wide, **repeat)[2]["outcomes"] == answer["outcomes"]
        status, _, problem = push(running, lost, **repeat)
        assert status == 403 and "hidden winner" not in json.dumps(problem)
        assert push(running, **repeat)[2]["outcomes"] == []


def test_a_child_whose_parent_it_may_not_see_is_parked_and_enters_when_the_parent_comes(server, client):
    only_photos = [csync.Grant(TOKEN, tables=("photo",)), csync.Grant(WIDE)]
    with serving(server, grants=only_photos) as running:
        client.pull(running.url, token=TOKEN)
        assert client.execute("SELECT * FROM photo") == []
        assert [(p.table, p.reason) for p in client.parked()] == [("photo", "foreign key")]
        client.pull(running.url, token=WIDE)
        assert client.execute("SELECT name FROM photo") == [("sea",)]
        assert {p.reason for p in client.parked()} == {"unknown table"}  # the secrets, which it does not track


# ---- when the tables of a token change


def test_a_client_that_may_see_more_reads_what_it_was_not_given(server, replica):
    client = replica(SCHEMA, *TABLES)
    with serving(server, grants=GRANTS) as running:
        client.pull(running.url, token=TOKEN)
    client.execute("UPDATE album SET title = 'offline'")
    with serving(server, grants=[csync.Grant(TOKEN, tables=TABLES)]) as running:
        assert client.sync(running.url, token=TOKEN).resyncs == 1
        assert client.hash() == server.hash()
        assert client.sync(running.url, token=TOKEN).resyncs == 0
    with serving(server, grants=[csync.Grant(TOKEN)]) as running:  # of every table: once more, to be sure
        assert client.sync(running.url, token=TOKEN).resyncs == 1
        assert client.verify(running.url, token=TOKEN).equal
    with serving(server, grants=GRANTS) as running:  # whoever has seen all has seen these
        server.execute("UPDATE album SET title = 'later'")
        result = client.pull(running.url, token=TOKEN)
        assert (result.resyncs, result.pulled) == (0, 1)
    assert server.execute("SELECT title FROM album") == [("later",)]


def test_a_snapshot_that_was_begun_for_other_tables_begins_anew(server):
    with serving(server, grants=[*GRANTS, csync.Grant(WIDE, tables=TABLES)]) as running:
        page = ask(running, "/sync/snapshot?batchSize=1", headers=BEARER)[2]
        target = f"/sync/snapshot?cursor={urllib.parse.quote(page['cursor'])}"
        assert ask(running, target, headers=BEARER)[0] == 200
        status, _, problem = ask(running, target, headers={"Authorization": f"Bearer {WIDE}"})
        assert (status, problem["type"]) == (410, "urn:csync:full-resync-required")


def test_deletes_of_a_table_that_a_client_could_not_see_are_not_undone_by_it(server, replica, sql):
    """It has the deleted row from another replica, and pushes it when it may."""
    other, client = replica(SCHEMA, *TABLES), replica(SCHEMA, *TABLES)
    for peer in (other, client):
        peer.sync(server)
    with serving(server, grants=[*GRANTS, csync.Grant(WIDE, tables=TABLES)]) as running:
        client.pull(running.url, token=WIDE)
        wait_a_moment()
        server.execute("DELETE FROM secret WHERE id = 2")
        late = replica(SCHEMA, *TABLES)
        late.pull(client)  # has the row, and no word of the delete
        late.pull(running.url, token=TOKEN)  # reads the log to its end, but not that table
        for peer in (other, client):
            peer.sync(server)
        grow_stale(server, late, sql)
        server.execute("INSERT INTO album VALUES (5, 'new')")
        for _ in range(2):
            other.sync(server), client.sync(server)
        assert server.purge().tombstones == 1
        late.sync(running.url, token=WIDE)
        late.sync(running.url, token=WIDE)
        assert server.execute("SELECT id FROM secret ORDER BY id") == [(1,), (3,)]
        assert late.hash() == server.hash()


# ---- PostgreSQL


def test_a_server_on_postgresql_filters_the_same_way(pg_replica, replica):
    server, client = pg_replica(
        "CREATE TABLE album (id integer PRIMARY KEY, title text);"
        "CREATE TABLE photo (id integer PRIMARY KEY, album integer REFERENCES album, name text);"
        "CREATE TABLE secret (id integer PRIMARY KEY, text text)",
        *TABLES,
    ), replica(SCHEMA, "album", "photo")
    server.sql("INSERT INTO secret SELECT i, 'hidden' FROM generate_series(1, 60000) i")
    server.sql("INSERT INTO album VALUES (1, 'Ada'); INSERT INTO photo VALUES (1, 1, 'sea')")
    with serving(server, grants=[*GRANTS, csync.Grant(WIDE)]) as running:
        client.execute("INSERT INTO album VALUES (2, 'mine')")
        client.sync(running.url, token=TOKEN)
        assert client.verify(running.url, token=TOKEN).equal
        _, _, page = ask(running, "/sync/changes?fromVersion=0", headers=BEARER)
        assert page["changes"] == [] and page["hasMore"] and page["toVersion"] >= 50000
        page = ask(running, "/sync/snapshot", headers=BEARER)[2]
        assert {c["tableName"] for c in page["changes"]} == {"album", "photo"} and names_nothing_hidden(page)
    assert client.execute("SELECT id FROM album ORDER BY id") == [(1,), (2,)]
    assert client.execute("SELECT * FROM secret") == []


# ---- tokens in files, and grants


def program(*arguments):
    done = subprocess.run([sys.executable, "-P", "-m", "csync", *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout.strip(), done.stderr


def test_csync_token_add_binds_a_token_to_tables(server, client, tmp_path):
    file = tmp_path / "tokens.json"
    status, token, _ = program("token", "add", file, "--table", "album", "--table", "photo", "--client", client.origin)
    assert status == 0
    assert json.loads(program("token", "list", file)[1])[0]["tables"] == ["album", "photo"]
    with serving(server, tokens=file) as running:
        client.sync(running.url, token=token)
        assert client.verify(running.url, token=token).equal
        other = program("token", "add", file)[1]  # the tables of the first stay in the file
        program("token", "revoke", file, other.split("_")[1])
        running.reload()
        page = ask(running, "/sync/changes?fromVersion=0", headers={"Authorization": f"Bearer {token}"})[2]
        assert {c["tableName"] for c in page["changes"]} == {"album", "photo"}


def test_a_list_of_tables_that_names_none_is_refused_not_taken_for_all(server, tmp_path):
    for tables in ((), [], "album"):
        with pytest.raises(csync.InvalidValue, match="tables"):
            csync.api(server, grants=[csync.Grant(TOKEN, tables=tables)])
    with pytest.raises(csync.InvalidValue, match="empty"):
        csync.api(server, grants=[csync.Grant(TOKEN, tables=("",))])
    file = tmp_path / "tokens.json"
    assert program("token", "add", file, "--table", "")[0] == 1
    program("token", "add", file, "--table", "album")
    file.write_text(file.read_text().replace('["album"]', "[]"))
    with pytest.raises(csync.InvalidValue, match="names none"), serving(server, tokens=file):
        pass


def test_the_first_grant_that_covers_a_request_counts(server):
    grants = [csync.Grant(TOKEN, may=("write",), tables=("album",)), csync.Grant(TOKEN, may=("read",), tables=("photo",))]
    with serving(server, grants=grants) as running:
        page = ask(running, "/sync/changes?fromVersion=0", headers=BEARER)[2]
        assert {c["tableName"] for c in page["changes"]} == {"photo"}
        assert push(running, change("album", 9, title="mine"))[0] == 200
        assert push(running, change("photo", 9, album=1, name="mine"))[0] == 403


def test_a_grant_expires(server):
    now = datetime.datetime.now(datetime.UTC)
    soon = now + datetime.timedelta(milliseconds=700)
    grants = [csync.Grant(TOKEN, expires=soon), csync.Grant(WIDE, expires=now + datetime.timedelta(days=1))]
    with serving(server, grants=grants) as running:
        assert ask(running, "/sync/state", headers=BEARER)[0] == 200
        with contextlib.suppress(ValueError):
            time.sleep((soon - datetime.datetime.now(datetime.UTC)).total_seconds() + 0.05)
        assert ask(running, "/sync/state", headers=BEARER)[0] == 401
        assert ask(running, "/sync/state", headers={"Authorization": f"Bearer {WIDE}"})[0] == 200
    past = csync.api(server, grants=[csync.Grant(TOKEN, expires=datetime.datetime(1960, 1, 1, tzinfo=datetime.UTC))])
    request = csync.Request("GET", "/sync/state", headers=(("Authorization", f"Bearer {TOKEN}"),))
    assert past(request).status == 401
    with pytest.raises(csync.InvalidValue, match="time zone"):
        csync.api(server, grants=[csync.Grant(TOKEN, expires=datetime.datetime(2030, 1, 1))])
