"""The REST API behind a real HTTP server, and replicas that sync with its URL."""

import asyncio
import concurrent.futures
import contextlib
import json
import socketserver
import threading
import urllib.error
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest

import csync
from note_table import NOTE, wait_a_moment
from test_protocol import grow_stale, put

TOKEN = "a-token-of-the-phone"


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


class Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(api):
    with Threaded(("127.0.0.1", 0), Quiet) as server:
        server.set_app(api.wsgi)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Below:
    """An API whose routes begin behind a path."""

    def __init__(self, api, path):
        self.api, self.path = api, path

    def wsgi(self, environ, start_response):
        assert environ["PATH_INFO"].startswith(f"{self.path}/")
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(self.path)
        return self.api.wsgi(environ, start_response)


def ask(api, method, target, body=b"", headers=(), local=True):
    """Status, document and headers."""
    path, _, query = target.partition("?")
    if isinstance(body, (dict, list)):
        body, headers = json.dumps(body).encode(), (*headers, ("content-type", "application/json"))
    response = api(csync.Request(method, path, query, headers, body, local))
    return response.status, json.loads(response.body), dict(response.headers)


# ---- syncing with a URL


def test_two_replicas_come_together_over_http(pair):
    server, client = pair
    with serving(csync.api(server)) as url:
        result = client.sync(url)
        assert (result.pulled, result.pushed) == (3, 1)
        assert server.hash() == client.hash()
        assert client.sync(url).batches == 1
        server.execute("UPDATE note SET body = 'there' WHERE id = 1")
        client.execute("DELETE FROM note WHERE id = 2")
        client.sync(url, batch_size=1)
        assert server.hash() == client.hash()
        assert client.verify(url).equal


def test_a_url_and_the_replica_itself_are_the_same_peer(pair):
    server, client = pair
    with serving(csync.api(server)) as url:
        client.sync(url)
    assert client.sync(server).batches == 1
    assert [c.origin for c in server.clients()] == [client.origin]


def test_a_stale_client_resyncs_over_http(replicas, sql):
    server, busy, late = replicas(NOTE, "note", count=3)
    put(server, *range(1, 6))
    for _ in range(2):
        busy.sync(server), late.sync(server)
    late.execute("UPDATE note SET body = 'offline' WHERE id = 3")
    server.execute("DELETE FROM note WHERE id IN (1, 2)")
    grow_stale(server, late, sql)
    put(server, 6)
    for _ in range(3):
        busy.sync(server)
    assert server.purge().tombstones == 2
    with serving(csync.api(server)) as url:
        with pytest.raises(csync.FullResyncRequired) as caught:
            late.pull(url, full_resync=False)
        assert 0 < caught.value.client_version < caught.value.oldest_version
        assert late.sync(url, batch_size=2).resyncs == 1
        assert late.hash() == server.hash()
        assert server.execute("SELECT body FROM note WHERE id = 3") == [("offline",)]


def test_a_clock_that_is_wrong_is_corrected_over_http(pair, sql):
    server, client = pair
    sql(client.path, "UPDATE _sync_session SET clock = '2090-01-01T00:00:00.000Z', ticked = 1e99")
    client.execute("UPDATE note SET body = 'late' WHERE id = 7")
    with serving(csync.api(server)) as url:
        client.sync(url)
    assert server.hash() == client.hash()


def test_a_resolver_decides_over_http(pair):
    server, client = pair
    with serving(csync.api(server)) as url:
        client.sync(url)
        server.execute("UPDATE note SET body = 's' WHERE id = 1")
        client.execute("UPDATE note SET body = 'c' WHERE id = 1")
        client.sync(url, on_conflict=lambda local, remote, base: {**remote.payload, "body": "both"})
    assert server.execute("SELECT body FROM note WHERE id = 1") == [("both",)]


def test_one_of_several_databases_is_chosen_by_name(replicas):
    one, two, client = replicas(NOTE, "note", count=3)
    put(one, 1), put(two, 2)
    with serving(csync.api({"one": one, "two": two})) as url:
        client.sync(f"{url}/?db=two")
        assert client.execute("SELECT id FROM note") == [(2,)]
        with pytest.raises(csync.Error, match="which database"):
            client.sync(url)
        with pytest.raises(csync.Error, match="no database of that name"):
            client.sync(f"{url}/?db=three")


def test_a_server_that_is_not_there_is_a_network_error(pair, monkeypatch):
    _, client = pair
    monkeypatch.setattr("csync._http.time.sleep", lambda seconds: None)
    with pytest.raises(csync.NetworkError, match="cannot be reached"):
        client.sync("http://127.0.0.1:9")


class Failing:
    """Answers 503 so often, and counts."""

    def __init__(self, api, times):
        self.api, self.times, self.asked = api, times, 0

    def wsgi(self, environ, start_response):
        self.asked += 1
        if self.asked > self.times:
            return self.api.wsgi(environ, start_response)
        start_response("503 Service Unavailable", [("Retry-After", "0"), ("Content-Length", "0")])
        return [b""]


@pytest.mark.parametrize("times", [0, 4, 5])
def test_what_fails_for_a_moment_is_tried_again_five_times_in_all(pair, times):
    server, client = pair
    failing = Failing(csync.api(server), times)
    with serving(failing) as url:
        if times < 5:
            client.sync(url)
            assert server.hash() == client.hash()
        else:
            with pytest.raises(csync.Error, match="answered 503"):
                client.sync(url)
            assert failing.asked == 5


def test_many_threads_ask_at_a_time(pair):
    api = csync.api(pair[0])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        states = list(pool.map(lambda _: ask(api, "GET", "/sync/state")[0], range(200)))
    assert states == [200] * 200


@pytest.mark.parametrize(
    "url, message",
    [
        ("ftp://host/", "no http:// or https:// URL"),
        ("http://", "no http:// or https:// URL"),
        ("http://me:secret@host/", "with token="),
        ("http://host/", "over https:// only"),
    ],
)
def test_a_url_that_will_not_do_is_refused_without_its_secrets(pair, url, message):
    with pytest.raises(csync.InvalidValue, match=message) as caught:
        pair[1].sync(url, token="t0p")
    assert "secret" not in str(caught.value) and "t0p" not in str(caught.value)


def test_a_server_that_is_no_csync_is_a_protocol_error(pair):
    class Other:
        def wsgi(self, environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b"<html>"]

    with serving(Other()) as url, pytest.raises(csync.ProtocolError, match="no replica of csync"):
        pair[1].sync(url)


# ---- tokens


def test_a_token_speaks_for_its_client_alone(pair, replica):
    server, client = pair
    stranger = replica(NOTE, "note")
    put(stranger, 9)
    with serving(csync.api(server, grants=[csync.Grant(TOKEN, client=client.origin)])) as url:
        client.sync(url, token=TOKEN)
        for who, token in ((client, None), (client, "another"), (stranger, TOKEN)):
            with pytest.raises(csync.AuthError):
                who.sync(url, token=token)
    assert server.execute("SELECT id FROM note ORDER BY id") == [(1,), (2,), (3,), (7,)]


@pytest.mark.parametrize("strategy", ["last-write-wins", "server-wins", "client-wins"])
def test_a_client_may_give_back_what_answers_to_its_pushes_gave_it(pair, strategy):
    """The row that beat its own is another's change, which it offers from then on."""
    server, client = pair
    with serving(csync.api(server, grants=[csync.Grant(TOKEN, client=client.origin)])) as url:
        client.sync(url, token=TOKEN)
        for n in (1, 2):
            client.execute("UPDATE note SET body = 'client' WHERE id = ?", (n,))
            wait_a_moment()
            server.execute("UPDATE note SET body = 'server' WHERE id = ?", (n,))
            client.push(url, token=TOKEN, strategy=strategy)
            client.push(url, token=TOKEN, strategy=strategy)
    winner = "client" if strategy == "client-wins" else "server"
    for db in pair:
        assert db.execute("SELECT body FROM note WHERE id < 3") == [(winner,), (winner,)]
    assert server.hash() == client.hash()


def test_a_client_forges_nothing_with_a_change_of_another(pair):
    server, client = pair
    top, changes = server.state.max_version, server.changes()
    api = csync.api(server, grants=[csync.Grant(TOKEN, client=client.origin)])
    later = csync.Change(99, "note", {"id": 1}, "update", {"body": "forged"}, server.origin, "2999-01-01T00:00:00.000Z", 99)
    unknown = csync.Change(99, "note", {"id": 99}, "insert", {"id": 99}, "stranger", "2001-01-01T00:00:00.000Z", 99)
    earlier = csync.Change(99, "note", {"id": 1}, "update", {"body": "forged"}, "stranger", "2001-01-01T00:00:00.000Z", 99)
    for change, status in ((later, 403), (unknown, 403), (earlier, 200), (changes[0], 200)):
        batch = json.loads(csync.Batch([change], origin=client.origin).to_json())
        answer = ask(api, "POST", "/sync/changes", batch, [("Authorization", f"Bearer {TOKEN}")])
        assert answer[0] == status, change
        assert status == 200 or answer[1]["type"] == "urn:csync:another-client"
    assert server.state.max_version == top
    assert server.execute("SELECT body FROM note ORDER BY id") == [("row 1",), ("row 2",), ("row 3",)]


@pytest.mark.parametrize(
    "grant, method, target, status",
    [
        ({}, "GET", "/sync/state", 200),
        ({}, "POST", "/sync/changes", 200),
        ({"may": ("read",)}, "GET", "/sync/state", 200),
        ({"may": ("read",)}, "POST", "/sync/changes", 403),
        ({"may": ("write",)}, "GET", "/sync/changes?fromVersion=0", 403),
        ({"database": "main"}, "GET", "/sync/state", 200),
        ({"database": "other"}, "GET", "/sync/state", 403),
        ({"client": "phone"}, "GET", "/sync/changes?fromVersion=0&origin=phone", 200),
        ({"client": "phone"}, "GET", "/sync/changes?fromVersion=0&origin=tablet", 403),
        ({"client": "phone"}, "GET", "/sync/snapshot?origin=tablet", 403),
    ],
)
def test_what_a_token_may(pair, grant, method, target, status):
    api = csync.api(pair[0], grants=[csync.Grant(TOKEN, **grant)])
    body = {"OriginId": "phone", "Changes": []} if method == "POST" else b""
    assert ask(api, method, target, body, [("Authorization", f"Bearer {TOKEN}")], local=False)[0] == status
    assert ask(api, method, target, body, [("Authorization", f"Bearer {TOKEN}x")])[0] == 401
    assert ask(api, method, target, body)[0] == 401
    assert ask(api, "GET", "/health", local=False)[0] == 200


def test_without_tokens_only_this_machine_is_answered(pair):
    api = csync.api(pair[0])
    assert ask(api, "GET", "/sync/state")[0] == 200
    status, problem, headers = ask(api, "GET", "/sync/state", local=False)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert problem["type"] == "urn:csync:unauthorized"


def test_what_a_proxy_of_this_machine_forwards_is_not_local(pair):
    api = csync.api(pair[0])
    for mark in ("X-Forwarded-For", "forwarded", "X-Real-IP", "Via"):
        assert ask(api, "GET", "/sync/state", headers=[(mark, "192.0.2.1")])[0] == 401


# ---- requests


def test_health_and_state_say_what_the_documentation_says(pair):
    api = csync.api(pair[0])
    status, health, headers = ask(api, "GET", "/health")
    assert (status, health["status"], headers["Content-Type"]) == (200, "Healthy", "application/json")
    state = ask(api, "GET", "/sync/state?dbType=sqlite")[1]
    assert (state["maxVersion"], state["origin"], state["tables"]) == (3, pair[0].origin, 1)


def test_a_client_of_the_reference_reads_writes_and_registers(pair):
    api = csync.api(pair[0])
    page = ask(api, "GET", "/sync/changes?fromVersion=1&batchSize=1")[1]
    assert [c["pkValue"] for c in page["changes"]] == ['{"id":2}']
    assert (page["fromVersion"], page["toVersion"], page["hasMore"]) == (1, 2, True)
    change = {**page["changes"][0], "origin": "device", "payload": '{"id":2,"body":"new","votes":0}'}
    change = {key[0].upper() + key[1:]: value for key, value in change.items() if key != "seq"}
    change["Operation"] = 1
    status, answer, _ = ask(api, "POST", "/sync/changes", {"OriginId": "device", "Changes": [change]})
    assert (status, len(answer["outcomes"])) == (200, 1) and answer["applied"] in (0, 1)
    answer = ask(api, "POST", "/sync/clients", {"OriginId": "device", "LastSyncVersion": 2})[1]
    assert answer["registered"] and answer["client"]["originId"] == "device"
    assert [(c.origin, c.version) for c in pair[0].clients()] == [("device", 2)]


@pytest.mark.parametrize(
    "method, target, body, status, kind",
    [
        ("GET", "/nothing", b"", 404, "no-such-route"),
        ("PUT", "/sync/changes", b"", 405, "method"),
        ("GET", "/sync/changes", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=-1", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=1e3", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=9223372036854775808", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=0&batchSize=0", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=0&fromVersion=1", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=%", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=%00", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=0&x=%ff", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=0&origin=a%20b", b"", 400, "invalid"),
        ("GET", "/sync/changes?fromVersion=99", b"", 410, "full-resync-required"),
        ("GET", "/sync/changes?fromVersion=0&connectionString=Host%3Devil", b"", 400, "connection-string-refused"),
        ("GET", "/sync/state?db=other", b"", 404, "no-such-database"),
        ("GET", "/sync/snapshot?cursor=x", b"", 400, "invalid"),
        ("POST", "/sync/changes", b"{}", 415, "media-type"),
        ("POST", "/sync/changes", {}, 400, "invalid"),
        ("POST", "/sync/changes", {"changes": [{}]}, 400, "invalid"),
        ("POST", "/sync/changes", {"changes": [], "hash": "0" * 64}, 409, "hash-mismatch"),
        ("POST", "/sync/changes", {"changes": ["x" * 2000]}, 413, "too-large"),
        ("POST", "/sync/digest", {"table": "nowhere", "prefixes": ["00"]}, 404, "not-found"),
        ("POST", "/sync/digest", {"table": 5}, 400, "invalid"),
        ("POST", "/sync/clients", {}, 400, "invalid"),
        ("POST", "/sync/clients", {"originId": "a", "lastSyncVersion": 99}, 400, "invalid"),
        ("POST", "/sync/clients", [], 400, "invalid"),
    ],
)
def test_what_a_request_does_wrong_is_a_problem_and_changes_nothing(pair, method, target, body, status, kind):
    server = pair[0]
    api = csync.api(server, max_body=2000)
    before = server.hash(), server.state, server.clients()
    given, problem, headers = ask(api, method, target, body)
    assert (given, problem["type"], problem["status"]) == (status, f"urn:csync:{kind}", status)
    assert headers["Content-Type"] == "application/problem+json" and problem["detail"] and problem["title"]
    assert "evil" not in json.dumps(problem)
    assert (server.hash(), server.state, server.clients()) == before


def test_a_push_of_too_many_changes_is_refused_whole(pair):
    changes = [
        {"tableName": "note", "pkValue": f'{{"id":{n}}}', "operation": "Delete", "payload": None, "origin": "o",
         "timestamp": "2025-01-01T00:00:00Z", "version": n}
        for n in range(1, 10002)
    ]  # fmt: skip
    status, problem, _ = ask(csync.api(pair[0]), "POST", "/sync/changes", {"changes": changes})
    assert (status, problem["type"]) == (413, "urn:csync:too-large")
    assert pair[0].execute("SELECT count(*) FROM note") == [(3,)]


def test_a_replica_that_is_closed_is_misuse(pair):
    api = csync.api(pair[0])
    pair[0].close()
    with pytest.raises(csync.Misuse):
        ask(api, "GET", "/health")


@pytest.mark.parametrize("name", ["", "a b", "x" * 65])
def test_names_of_databases_need_no_encoding(pair, name):
    with pytest.raises(csync.InvalidValue, match="no name of a database"):
        csync.api({name: pair[0]})


def test_grants_that_grant_nothing_are_refused(pair):
    for may in ((), ("read", "everything")):
        with pytest.raises(csync.InvalidValue, match="may"):
            csync.api(pair[0], grants=[csync.Grant(TOKEN, may=may)])
    assert TOKEN not in repr(csync.Grant(TOKEN))


def test_an_error_of_a_plain_http_client_is_readable(pair):
    with serving(csync.api(pair[0])) as url:
        with urllib.request.urlopen(f"{url}/sync/changes?fromVersion=0") as answer:
            assert len(json.load(answer)["changes"]) == 3
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/sync/changes")
        assert "fromVersion is missing" in json.load(caught.value)["detail"]


def test_an_asgi_server_gets_the_same_answers(pair):
    """Messages as an ASGI server sends them; a body in two parts."""
    server, client = pair
    body = client.changes().to_json().encode()
    parts = [
        {"type": "http.request", "body": body[:10], "more_body": True},
        {"type": "http.request", "body": body[10:]},
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/sync/changes",
        "query_string": b"db=main",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 5),
    }
    sent = []

    async def receive():
        return parts.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(csync.api(server).asgi(scope, receive, send))
    assert sent[0]["status"] == 200 and json.loads(sent[1]["body"])["applied"] == 1
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(sent[1]["body"])).encode()
    assert server.execute("SELECT id FROM note WHERE id = 7") == [(7,)]
