"""docs/openapi.yaml against the running server: every route, every documented status, every answer against its schema."""

import contextlib
import json
import pathlib
import re
import sqlite3
import threading
import warnings

import jsonschema
import pytest

import csync
from note_table import NOTE
from serving import CLIENT, LENGTH, Raw, Stream, ask, get, post, serving, until
from test_protocol import put

ROOT = pathlib.Path(__file__).parents[2]
TOKEN, READER, WRITER, PHONE, BOUND = (name * 8 for name in ("full", "read", "write", "phone", "table"))
GRANTS = [
    csync.Grant(TOKEN),
    csync.Grant(READER, may=("read",)),
    csync.Grant(WRITER, may=("write",)),
    csync.Grant(PHONE, client="phone"),
    csync.Grant(BOUND, tables=("tag",)),
]
SCHEMA = NOTE + "; CREATE TABLE tag (id INTEGER PRIMARY KEY, name)"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A replica, a server with tokens, and the document that it gives out."""
    path = tmp_path_factory.mktemp("openapi") / "notes.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
    with csync.open(path) as db, serving(db, grants=GRANTS, max_body=5000, rate=-1) as running:
        db.track("note", "tag")
        put(db, 1, 2)
        assert ask(running, "/sync/clients", "POST", CLIENT, bearer(TOKEN))[0] == 200
        yield db, running, ask(running, "/openapi.json")[2]


def bearer(token):
    return {"Authorization": f"Bearer {token}"} if token else {}


def resolve(document, node):
    while "$ref" in node:
        *_, kind, name = node["$ref"].split("/")
        node = document["components"][kind][name]
    return node


def operations(document):
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def always(document):
    """What every operation may be answered with."""
    return set(document["components"]["responses"]["Refused"]["x-statuses"])


def documented(document):
    return {
        (method, path, int(status))
        for (method, path), operation in operations(document).items()
        for status in operation["responses"]
        if status != "default"
    }


def check(document, method, path, status, kind, body):
    """That the document has this answer, and that it is as the document says."""
    responses = operations(document)[method, path]["responses"]
    assert str(status) in responses or status in always(document), f"{method} {path}: {status} is not documented"
    content = resolve(document, responses.get(str(status), responses["default"])).get("content", {})
    if not content:
        assert not body
        return
    assert kind.split(";")[0] in content, f"{method} {path} {status}: {kind} is not documented"
    if "json" in kind:
        schema = {**content[kind]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(body)
        if status >= 400:
            assert body["status"] == status


PAGE = "/sync/changes?fromVersion=0"
CHANGE = {
    "version": 1, "tableName": "note", "pkValue": '{"id":1}', "operation": "Update",
    "payload": '{"id":1,"body":"old","votes":0}', "origin": "device", "timestamp": "2001-01-01T00:00:00Z",
}  # fmt: skip
PUSH = {"OriginId": "device", "Changes": [CHANGE]}
AHEAD = {"OriginId": "device", "Changes": [{**CHANGE, "timestamp": "2999-01-01T00:00:00Z"}], "fromVersion": 0, "toVersion": 1}
KEYS = {"table": "note", "keys": ['{"id":1}', '{"id":99}'], "payload": True}
LARGE = {"x": "x" * 6000}

# target, method, body, token, status
REQUESTS = [
    ("/openapi.json", "GET", None, None, 200),
    ("/health", "GET", None, None, 200),
    ("/metrics", "GET", None, None, 401),
    ("/metrics", "GET", None, WRITER, 403),
    ("/sync/databases", "GET", None, READER, 200),
    ("/sync/databases", "GET", None, None, 401),
    ("/sync/databases", "GET", None, WRITER, 403),
    ("/sync/state", "GET", None, TOKEN, 200),
    ("/sync/state", "GET", None, BOUND, 200),
    ("/sync/state?db=%zz", "GET", None, TOKEN, 400),
    ("/sync/state", "GET", None, "unknown", 401),
    ("/sync/state", "GET", None, WRITER, 403),
    ("/sync/state?db=other", "GET", None, TOKEN, 404),
    (PAGE + "&origin=device", "GET", None, TOKEN, 200),
    (PAGE + "&batchSize=1", "GET", None, BOUND, 200),
    ("/sync/changes", "GET", None, TOKEN, 400),
    (PAGE, "GET", None, None, 401),
    (PAGE + "&origin=tablet", "GET", None, PHONE, 403),
    (PAGE + "&db=other", "GET", None, TOKEN, 404),
    ("/sync/changes?fromVersion=999", "GET", None, TOKEN, 410),
    ("/sync/changes", "POST", PUSH, TOKEN, 200),
    ("/sync/changes", "POST", {"Changes": [5]}, TOKEN, 400),
    ("/sync/changes", "POST", PUSH, None, 401),
    ("/sync/changes", "POST", PUSH, PHONE, 403),
    ("/sync/changes", "POST", PUSH, BOUND, 403),
    ("/sync/changes", "POST", PUSH, READER, 403),
    ("/sync/changes?db=other", "POST", PUSH, TOKEN, 404),
    ("/sync/changes", "POST", {**PUSH, "hash": "0" * 64}, TOKEN, 409),
    ("/sync/changes", "POST", AHEAD, TOKEN, 409),
    ("/sync/changes", "POST", LARGE, TOKEN, 413),
    ("/sync/changes", "POST", "text", TOKEN, 415),
    ("/sync/snapshot?batchSize=1", "GET", None, TOKEN, 200),
    ("/sync/snapshot", "GET", None, BOUND, 200),
    ("/sync/snapshot?cursor=x", "GET", None, TOKEN, 400),
    ("/sync/snapshot", "GET", None, None, 401),
    ("/sync/snapshot?origin=tablet", "GET", None, PHONE, 403),
    ("/sync/snapshot?db=other", "GET", None, TOKEN, 404),
    ("/sync/digest", "POST", {}, TOKEN, 200),
    ("/sync/digest", "POST", {"tables": ["tag"]}, BOUND, 200),
    ("/sync/digest", "POST", {"table": "note", "prefixes": [""], "digits": 2}, TOKEN, 200),
    ("/sync/digest", "POST", {"table": "note", "prefixes": [""]}, TOKEN, 200),
    ("/sync/digest", "POST", KEYS, TOKEN, 200),
    ("/sync/digest", "POST", {"table": 5}, TOKEN, 400),
    ("/sync/digest", "POST", {}, None, 401),
    ("/sync/digest", "POST", KEYS, BOUND, 403),
    ("/sync/digest", "POST", {"table": "nowhere", "prefixes": [""]}, TOKEN, 404),
    ("/sync/digest", "POST", LARGE, TOKEN, 413),
    ("/sync/digest", "POST", "text", TOKEN, 415),
    ("/sync/clients", "GET", None, TOKEN, 200),
    ("/sync/clients?db=main&connectionString=x", "GET", None, TOKEN, 400),
    ("/sync/clients", "GET", None, None, 401),
    ("/sync/clients", "GET", None, PHONE, 403),
    ("/sync/clients?db=other", "GET", None, TOKEN, 404),
    ("/sync/clients", "POST", {"originId": "phone", "lastSyncVersion": 1}, PHONE, 200),
    ("/sync/clients", "POST", {}, TOKEN, 400),
    ("/sync/clients", "POST", {"originId": "phone"}, None, 401),
    ("/sync/clients", "POST", {"originId": "tablet"}, PHONE, 403),
    ("/sync/clients?db=other", "POST", {"originId": "tablet"}, TOKEN, 404),
    ("/sync/clients", "POST", LARGE, TOKEN, 413),
    ("/sync/clients", "POST", "text", TOKEN, 415),
    ("/sync/subscribe?fromVersion=x", "GET", None, TOKEN, 400),
    ("/sync/subscribe", "GET", None, None, 401),
    ("/sync/subscribe?tableName=note", "GET", None, BOUND, 403),
    ("/sync/subscribe?tableName=nowhere", "GET", None, TOKEN, 404),
    ("/sync/subscribe/x?db=%zz", "DELETE", None, TOKEN, 400),
    ("/sync/subscribe/x", "DELETE", None, None, 401),
    ("/sync/subscribe/x", "DELETE", None, WRITER, 403),
    ("/sync/subscribe/x", "DELETE", None, TOKEN, 404),
]
ELSEWHERE = {  # each has a test below
    ("GET", "/", 200),
    ("GET", "/metrics", 200),
    ("GET", "/metrics", 501),
    ("GET", "/sync/snapshot", 410),
    ("GET", "/sync/subscribe", 200),
    ("GET", "/sync/subscribe", 501),
    ("DELETE", "/sync/subscribe/{id}", 204),
    ("DELETE", "/sync/subscribe/{id}", 501),
}


def template(target):
    path = target.partition("?")[0]
    return "/sync/subscribe/{id}" if path.startswith("/sync/subscribe/") else path


@pytest.mark.parametrize("target, method, body, token, status", REQUESTS)
def test_a_request_is_answered_as_documented(world, target, method, body, token, status):
    _, running, document = world
    headers = bearer(token)
    if body == "text":
        body, headers = "text", {**headers, "Content-Type": "text/plain"}
    given, answered, answer = ask(
        running, target, method, None if body is None else json.dumps(body).encode(), headers
    )
    assert given == status, answer
    check(document, method, template(target), status, answered["Content-Type"], answer)


def test_every_documented_status_is_provoked_here(world):
    asked = {(method, template(target), status) for target, method, _, _, status in REQUESTS}
    assert asked | ELSEWHERE == documented(world[2])


def test_no_route_status_or_problem_of_the_source_is_undocumented(world):
    document = world[2]
    source = {path.name: path.read_text() for path in (ROOT / "csrc" / "http").glob("*.c")}
    routes = set(re.findall(r'^    \{"([A-Z]+)", "(/[^"]*)",', source["routes.c"], re.MULTILINE))
    assert {(method, path.replace("subscribe/", "subscribe/{id}")) for method, path in routes} == set(operations(document))
    titled = {int(status) for status in re.findall(r"\{(\d{3}), \"", source["reply.c"])}
    assert titled <= always(document) | {status for _, _, status in documented(document)}
    known = {kind.removeprefix("urn:csync:") for kind in document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]}
    named = set(re.findall(r'(?:refuse\(\w+,|\{CSYNC_E\w+,|\{0,) \d{3},\s+"([a-z-]+)"', "".join(source.values())))
    named |= {"too-large", "malformed"}  # of what stands before the routes (strict.c)
    assert named == known


def test_the_document_is_openapi(world):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import openapi_spec_validator
    except ImportError:
        pytest.skip("NOT TESTED against the OpenAPI specification: openapi-spec-validator is not there (script/bootstrap)")
    openapi_spec_validator.validate(world[2])


# ---- what a table of requests cannot say


def test_the_page_the_counters_and_the_end_of_a_stream_are_documented(world):
    db, running, document = world
    for target, kind in (("/", "text/html"), ("/metrics", "text/plain")):
        with Raw(running) as raw:
            raw.send(get(f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n".encode(), target.encode()))
            head = raw.rest().decode()
        assert head.startswith("HTTP/1.1 200")
        check(document, "GET", target, 200, re.search("Content-Type: (.*)\r", head)[1], None)
    with Stream(running, headers=bearer(TOKEN)) as stream:
        events = document["paths"]["/sync/subscribe"]["get"]["responses"]["200"]["content"]["text/event-stream"]["x-events"]
        db.execute("UPDATE note SET body = 'seen' WHERE id = 1")
        change = stream.next()
        status, headers, answer = ask(running, f"/sync/subscribe/{stream.id}", "DELETE", headers=bearer(TOKEN))
        assert status == 204
        check(document, "DELETE", "/sync/subscribe/{id}", 204, headers["Content-Type"], answer)
        seen = [stream.opened, change, stream.next()]
    assert [event for event, _, _ in seen] == ["connected", "change", "bye"]
    for event, _, data in [*seen, ("resync", None, {"version": 7})]:
        jsonschema.Draft202012Validator({**events[event], "components": document["components"]}).validate(data)


def test_a_snapshot_of_other_tables_is_gone(world):
    _, running, document = world
    page = ask(running, "/sync/snapshot?batchSize=1", headers=bearer(TOKEN))[2]
    cursor = page["cursor"].replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    status, headers, answer = ask(running, f"/sync/snapshot?cursor={cursor}", headers=bearer(BOUND))
    assert status == 410
    check(document, "GET", "/sync/snapshot", status, headers["Content-Type"], answer)


def test_under_another_server_three_routes_are_not_there(world):
    db, _, document = world
    api = csync.api(db)
    for method, path in (("GET", "/metrics"), ("GET", "/sync/subscribe"), ("DELETE", "/sync/subscribe/x")):
        response = api(csync.Request(method, path, local=True))
        assert response.status == 501
        check(document, method, template(path), 501, dict(response.headers)["Content-Type"], json.loads(response.body))
    assert json.loads(api(csync.Request("GET", "/openapi.json")).body) == document


def raw_answer(running, request):
    with Raw(running) as raw:
        raw.send(request)
        head, _, body = raw.rest().partition(b"\r\n\r\n")
    kind = re.search(rb"(?i)Content-Type: (.*?)\r?$", head, re.MULTILINE)
    return int(head[9:12]), kind and kind[1].decode(), body


CLOSE = b"Connection: close\r\n"
REFUSED = {
    400: get(b"X Y: 1\r\n"),
    404: get(CLOSE, b"/nothing"),
    405: get(CLOSE).replace(b"GET", b"PUT", 1),
    406: get(b"Accept-Encoding: *;q=0\r\n" + CLOSE),
    413: post(b"Content-Length: 99999\r\n"),
    414: get(target=b"/" + b"a" * 40000),
    415: post(b"Authorization: Bearer %s\r\nContent-Encoding: br\r\n" % TOKEN.encode() + CLOSE + LENGTH),
    431: get(b"X: a\r\n" * 64),
    501: post(b"Transfer-Encoding: gzip\r\n"),
    505: get(version=b"HTTP/1.2"),
}
MEANT_ELSEWHERE = {403, 422, 429, 500, 503}


@pytest.mark.parametrize("status", REFUSED)
def test_what_is_refused_whatever_it_asks_for_is_documented(world, status):
    given, kind, body = raw_answer(world[1], REFUSED[status])
    assert given == status
    if status != 414:  # libmicrohttpd's own
        check(world[2], "GET", "/health", status, kind, json.loads(body))


def test_every_refusal_is_provoked_here(world):
    assert set(REFUSED) | MEANT_ELSEWHERE == always(world[2])


def test_a_page_of_another_site_and_too_many_requests_are_refused_as_documented(world, replica):
    document = world[2]
    with serving(replica(NOTE, "note"), rate=1) as running:
        answers = [raw_answer(running, get(CLOSE + b"Origin: http://evil.example\r\n")) for _ in range(4)]
    assert {status for status, _, _ in answers} == {403, 429}
    for status, kind, body in answers:
        check(document, "GET", "/health", status, kind, json.loads(body))


def test_a_database_that_fails_or_is_busy_is_answered_as_documented(world, replica, sql):
    document = world[2]
    for ruin, status in (
        ("DROP TABLE _sync_log", 500),
        ("DROP TABLE note; CREATE TABLE note (id, body)", 422),
    ):
        db = replica(NOTE, "note")
        put(db, 1)
        with serving(db) as running:
            sql(db.path, ruin)
            given, headers, answer = ask(running, PAGE)
            assert given == status, answer
            check(document, "GET", "/sync/changes", status, headers["Content-Type"], answer)
    db = replica(NOTE, "note")
    with serving(db, queue=1) as running, contextlib.closing(sqlite3.connect(db.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(ask(running, "/sync/clients", "POST", CLIENT))) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        until(lambda: answers)
        writer.rollback()
        for thread in threads:
            thread.join()
    busy = [answer for answer in answers if answer[0] == 503]
    assert busy and busy[0][1]["Retry-After"] == "1"
    check(document, "POST", "/sync/clients", 503, busy[0][1]["Content-Type"], busy[0][2])
