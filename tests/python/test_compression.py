"""Content codings: bodies and answers in zstd and gzip, over sockets and without, and bodies that are traps."""

import gzip
import http.client
import json
import os
import subprocess
import sys
import time
import zlib

import pytest

import csync
from csync import _csync
from note_table import NOTE
from serving import address, serving
from test_protocol import put

CODINGS = ("zstd", "gzip")
PAGE = "/sync/changes?fromVersion=0"
JSON = ("Content-Type", "application/json")


@pytest.fixture
def pair(replicas):
    server, client = replicas(NOTE, "note")
    put(server, *range(1, 101))
    return server, client


class Sockets:
    """csync's own server, asked over one connection."""

    def __init__(self, db, **options):
        self.serving = serving(db, **options)
        self.http = http.client.HTTPConnection(*address(self.serving.__enter__()), timeout=20)

    def close(self):
        self.http.close()
        self.serving.__exit__(None, None, None)

    def ask(self, method, target, headers=(), body=None):
        self.http.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            self.http.putheader(name, value)
        if body is not None:
            self.http.putheader("Content-Length", str(len(body)))
        self.http.endheaders(body)
        response = self.http.getresponse()
        return response.status, dict(response.getheaders()), response.read()


class Function:
    """The API without sockets."""

    def __init__(self, db, **options):
        self.api = csync.api(db, **options)

    def close(self):
        pass

    def ask(self, method, target, headers=(), body=None):
        path, _, query = target.partition("?")
        response = self.api(csync.Request(method, path, query, tuple(headers), body or b"", True))
        return response.status, dict(response.headers), response.body


@pytest.fixture(params=[Sockets, Function])
def served(request, pair):
    """served(**options): whoever answers for the first of the pair."""
    made = []

    def make(**options):
        made.append(request.param(pair[0], **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def push(server, data, coding):
    return server.ask("POST", "/sync/changes", [JSON, ("Content-Encoding", coding)], data)


def refused(answer):
    status, headers, body = answer
    assert headers["Content-Type"] == "application/problem+json"
    return status, json.loads(body)["type"].removeprefix("urn:csync:")


# ---- answers


@pytest.mark.parametrize("coding", CODINGS)
def test_an_answer_in_a_coding_holds_what_the_plain_one_holds(served, coding):
    server = served()
    status, headers, plain = server.ask("GET", PAGE)
    assert (status, "Content-Encoding" in headers, headers["Vary"]) == (200, False, "Accept-Encoding")
    status, headers, coded = server.ask("GET", PAGE, [("Accept-Encoding", coding)])
    assert (status, headers["Content-Encoding"], headers["Vary"]) == (200, coding, "Accept-Encoding")
    assert len(coded) < len(plain) / 4
    decoded = _csync.decode(coding, coded, 2 * len(plain))
    pages = json.loads(plain), json.loads(decoded)
    for page in pages:
        page.pop("epoch")  # another one for each handle that serves
    assert pages[0] == pages[1] and len(pages[0]["changes"]) == 100
    assert coding != "gzip" or gzip.decompress(coded) == decoded


@pytest.mark.parametrize(
    "accepts, coding",
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip, zstd", "zstd"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("gzip;q=0.9, zstd;q=0.8", "gzip"),
        ("zstd ; q=0.001", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("zstd;q=0, gzip;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip;q=1.5, zstd;q=x, br;q=1", None),
        ("gzip;q=0.1234", None),
        (" ,, gzip ,", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("*;q=0, gzip;q=0.1", "gzip"),
    ],
)
def test_the_answer_comes_in_what_the_client_likes_best(served, accepts, coding):
    status, headers, _ = served().ask("GET", PAGE, [("Accept-Encoding", accepts)])
    assert (status, headers.get("Content-Encoding")) == (200, coding)


def test_a_client_that_takes_nothing_that_there_is_is_told_before_anything_is_done(served, pair):
    server = served()
    body = pair[0].changes().to_json().encode()
    for accepts in ("identity;q=0", "*;q=0", "br, *;q=0", "gzip;q=0, zstd;q=0, identity;q=0"):
        headers = [JSON, ("Accept-Encoding", accepts)]
        assert refused(server.ask("POST", "/sync/changes", headers, body)) == (406, "not-acceptable")


def test_tiny_answers_stay_plain_unless_plain_is_refused(served):
    server = served()
    for target in ("/health", "/sync/state"):
        assert "Content-Encoding" not in server.ask("GET", target, [("Accept-Encoding", "zstd, gzip")])[1]
        _, headers, body = server.ask("GET", target, [("Accept-Encoding", "gzip, identity;q=0")])
        assert headers["Content-Encoding"] == "gzip" and json.loads(gzip.decompress(body))


def test_event_streams_stay_plain(pair):
    server = Sockets(pair[0])
    try:
        headers = {"Accept-Encoding": "zstd, gzip"}
        server.http.request("GET", "/sync/subscribe?tableName=note", headers=headers)
        response = server.http.getresponse()
        assert response.getheader("Content-Encoding") is None
        assert response.readline().startswith(b"retry:")
    finally:
        server.close()


# ---- bodies


@pytest.mark.parametrize("coding", CODINGS)
def test_a_push_in_a_coding_is_a_push(served, pair, coding):
    server = served()
    put(pair[1], *range(500, 700))
    body = pair[1].changes().to_json().encode()
    status, headers, _ = push(server, _csync.encode(coding, body), coding)
    assert (status, headers["Accept-Encoding"]) == (200, "zstd, gzip")
    assert pair[0].execute("SELECT count(*) FROM note WHERE id >= 500") == [(200,)]


def test_what_others_have_compressed_is_read(served):
    body = b'{"changes":[]}'
    server = served()
    for level in (0, 1, 9):
        assert push(server, gzip.compress(body, level), "gzip")[0] == 200
    assert push(server, gzip.compress(body[:5]) + gzip.compress(body[5:]), "GZip")[0] == 200
    assert push(server, gzip.compress(b"") + gzip.compress(body), "x-gzip")[0] == 200
    frames = _csync.encode("zstd", body[:5]) + _csync.encode("zstd", body[5:])
    skippable = bytes.fromhex("502a4d18 03000000 616263")
    assert push(server, skippable + frames, "zstd")[0] == 200
    assert push(server, body, "identity")[0] == 200


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_that_is_cut_anywhere_or_goes_on_is_malformed(served, coding):
    server = served()
    whole = _csync.encode(coding, b'{"changes":[]}' + b" " * 5000)
    assert push(server, whole, coding)[0] == 200
    for bad in (*(whole[:n] for n in range(len(whole))), whole + b"\0", whole + b"x" * 50, b"{}", whole[::-1]):
        assert refused(push(server, bad, coding)) == (400, "invalid")


def test_what_is_zlib_or_raw_deflate_is_no_gzip(served):
    server = served()
    raw = zlib.compressobj(wbits=-15)
    for bad in (zlib.compress(b"{}"), raw.compress(b"{}") + raw.flush()):
        assert refused(push(server, bad, "gzip")) == (400, "invalid")


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "gzip, zstd", "zstd;q=1"])
def test_another_coding_is_refused_with_those_that_are_read(served, coding):
    answer = push(served(), b"{}", coding)
    assert refused(answer) == (415, "content-encoding")
    assert answer[1]["Accept-Encoding"] == "zstd, gzip"


def test_two_content_encodings_are_refused(served):
    server = served()
    headers = [JSON, ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    assert refused(server.ask("POST", "/sync/changes", headers, b"{}")) == (415, "content-encoding")


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_may_hold_as_much_as_a_plain_one_and_not_a_byte_more(served, coding):
    server = served(max_body=2000)
    for more, status in ((0, 200), (1, 413)):
        body = b'{"changes":[]}' + b" " * (2000 - 14 + more)
        assert push(server, _csync.encode(coding, body), coding)[0] == status
        assert server.ask("POST", "/sync/changes", [JSON], body)[0] == status


@pytest.mark.alone
@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_refused_without_being_unfolded(served, coding):
    """Three gigabytes in some hundred kilobytes. Unfolded they would take many seconds of this process' time."""
    server = served()
    piece = gzip.compress(bytes(16 << 20)) if coding == "gzip" else _csync.encode(coding, bytes(16 << 20))
    began = time.process_time()
    assert refused(push(server, piece * 200, coding)) == (413, "too-large")
    assert time.process_time() - began < 1


BOMB = """
import gzip, resource, sys, csync
from csync import _csync
db = csync.open(sys.argv[1])
api = csync.api(db)
bombs = {"gzip": gzip.compress(bytes(8 << 20)) * 400, "zstd": _csync.encode("zstd", bytes(8 << 20)) * 400}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for coding, bomb in bombs.items():
    headers = (("Content-Type", "application/json"), ("Content-Encoding", coding))
    answer = api(csync.Request("POST", "/sync/changes", "", headers, bomb, True))
    assert answer.status == 413, answer
db.close()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def run(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_bomb_takes_no_more_memory_than_the_largest_body(pair):
    assert int(run(BOMB, str(pair[0].path))) < 48


@pytest.mark.alone
def test_many_empty_members_cost_little(served):
    server = served(max_body=1 << 20)
    began = time.process_time()
    for coding in CODINGS:
        empty = gzip.compress(b"") if coding == "gzip" else _csync.encode("zstd", b"")
        assert refused(push(server, empty * ((1 << 20) // len(empty)), coding))[0] == 400
    assert time.process_time() - began < 2


def test_a_zstd_window_beyond_8_mib_is_refused():
    """RFC 9659: nobody has to give that much for it."""
    empty = {log: bytes.fromhex("28b52ffd 00") + bytes([(log - 10) << 3, 1, 0, 0]) for log in (23, 24, 27)}
    assert _csync.decode("zstd", empty[23], 0) == b""
    for log in (24, 27):
        with pytest.raises(csync.InvalidValue, match="no zstd"):
            _csync.decode("zstd", empty[log], 0)


def test_without_libzstd_there_is_gzip(tmp_path):
    """A file that is no library stands in its way."""
    (tmp_path / "libzstd.so.1").write_text("no library" * 100)
    code = """
import csync
from csync import _csync
assert _csync.codings() == "gzip"
try:
    _csync.encode("zstd", b"")
except csync.Unsupported as why:
    assert "libzstd1" in str(why), why
with csync.open(":memory:") as db:
    api = csync.api(db)
    def ask(*headers):
        return api(csync.Request("POST", "/sync/digest", "", (("Content-Type", "application/json"), *headers), b"{}", True))
    answer = ask(("Accept-Encoding", "zstd, identity;q=0, gzip;q=0.1"))
    assert dict(answer.headers)["Content-Encoding"] == "gzip", answer
    answer = ask(("Content-Encoding", "zstd"))
    assert answer.status == 415 and dict(answer.headers)["Accept-Encoding"] == "gzip", answer
"""
    run(code, LD_LIBRARY_PATH=str(tmp_path))


# ---- between two replicas


def counted(monkeypatch):
    """The sizes of what goes through the codings of this process' client."""
    sizes = []
    for name in ("encode", "decode"):
        true = getattr(_csync, name)

        def count(coding, data, *rest, name=name, true=true):
            sizes.append((name, coding))
            return true(coding, data, *rest)

        monkeypatch.setattr(_csync, name, count)
    return sizes


def test_a_sync_is_compressed_both_ways(pair, monkeypatch):
    server, client = pair
    put(client, *range(1000, 1200))
    used = counted(monkeypatch)
    with serving(server) as running:
        client.sync(running.url)
    assert server.hash() == client.hash()
    assert ("decode", "zstd") in used and ("encode", "zstd") in used
