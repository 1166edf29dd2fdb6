"""The client of C (include/csync_url.h): what tests/python/test_client.py shows of Python's holds for it too.

A C program asks real servers; what no csync server does is done by small ones of the tests.
"""

import contextlib
import email.utils
import gzip
import json
import os
import pathlib
import re
import shutil
import socketserver
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest

import csync
from bad_network import Network
from note_table import NOTE
from serving import address, serving
from test_client import Proxy, address_of, certificate, check, edit  # noqa: F401 certificate is a fixture
from test_http import Below
from test_http import serving as serving_wsgi
from test_protocol import grow_stale, put

CLIENT = pathlib.Path(__file__).parents[2] / "build" / "tests" / "url_client"
TOKEN = "x" * 32
STRIDE = {"quick": 83, "default": 23, "long": 1}[os.environ.get("CSYNC_TEST_PROFILE", "default")]

pytestmark = pytest.mark.skipif(not CLIENT.exists(), reason=f"NOT TESTED: {CLIENT} is not built")


def ask(command, db, url, timeout=60, **options):
    """What the program printed; its exit status is 0."""
    done = run(command, db, url, timeout, options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(db, url, command="sync", timeout=60, **options):
    """The code and the message that it failed with."""
    done = run(command, db, url, timeout, options)
    assert done.returncode == 1, done.stdout + done.stderr
    code, _, message = done.stdout.splitlines()[0].partition(" ")
    return code, message


def run(command, db, url, timeout, options):
    given = [f"{name}={value}" for name, value in {"wait_ms": 1, **options}.items()]
    path = db if isinstance(db, (str, pathlib.Path)) else db.path
    return subprocess.run([CLIENT, command, path, url, *given], capture_output=True, text=True, timeout=timeout)


# ---- servers that no csync is


class Answers:
    """An HTTP server that gives one answer after the other, the last one for ever: (status, headers, body), or the WSGI
    application that gives it. `asked` has the requests' lines and headers."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def next(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.contextmanager
def answering(*answers):
    script = Answers(*answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.asked.append((self.requestline, dict(self.headers)))
            status, headers, body = script.next()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *args):
            pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

        def handle_error(self, request, client_address):
            pass  # the client has gone

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def problem(status, **members):
    return status, {"Content-Type": "application/problem+json"}, json.dumps(members).encode()


# ---- a sync


def test_two_replicas_come_together(pair):
    with serving(pair[0]) as running:
        assert ask("sync", pair[1], running.url) == "pulled 3 pushed 1\n"
        assert pair[0].hash() == pair[1].hash()
        assert ask("sync", pair[1], running.url) == "pulled 0 pushed 0\n"


def test_it_goes_on_where_the_client_of_python_was(pair):
    """Positions are kept under the server's origin, by both."""
    with serving(pair[0]) as running:
        pair[1].sync(running.url)
        edit(pair, 1)
        assert ask("sync", pair[1], running.url) == "pulled 1 pushed 1\n"
        check(pair, 1)
        edit(pair, 2)
        result = pair[1].sync(running.url)
        assert (result.pulled, result.pushed) == (1, 1)


def test_a_sync_uses_one_connection_and_both_codings(pair):
    put(pair[0], *range(100, 400), body="some text that goes in a coding " * 3)
    put(pair[1], *range(500, 800), body="some text that goes in a coding " * 3)
    with serving(pair[0]) as running, Network(running.url) as network:
        ask("sync", pair[1], network.url, batch_size=50)
        assert network.accepted == 1
        assert network.down < 20_000 and network.up < 20_000
    assert pair[0].hash() == pair[1].hash()


def test_a_log_that_leads_on_no_more_is_bridged_by_a_snapshot(pair, sql):
    with serving(pair[0]) as running:
        ask("sync", pair[1], running.url)
        put(pair[1], 50)
        pair[0].execute("DELETE FROM note WHERE id = 2")
        grow_stale(pair[0], pair[1], sql)
        pair[0].purge()
        ask("sync", pair[1], running.url)
    assert pair[0].hash() == pair[1].hash()


def test_it_compares_over_the_wire(pair):
    with serving(pair[0]) as running:
        ask("sync", pair[1], running.url)
        assert json.loads(ask("verify", pair[1], running.url))["equal"] is True
        with pair[1].suppressed():
            pair[1].execute("UPDATE note SET body = 'past csync' WHERE id = 2")
        report = json.loads(ask("verify", pair[1], running.url))
        assert report["equal"] is False and [row["pk"] for row in report["rows"]] == ['{"id":2}']


def test_two_threads_sync_with_a_peer_each(pair, replica):
    other = replica(NOTE, "note", name=pair[1].path.name + ".2")
    with serving(pair[0], rate=-1) as running:
        ask("threads", pair[1], running.url)
        for db in (pair[1], other):
            ask("sync", db, running.url)
    assert pair[0].hash() == pair[1].hash() == other.hash()


def test_a_path_before_the_routes_and_a_query_are_kept(pair):
    with serving_wsgi(Below(csync.api(pair[0]), "/a b/notes")) as url:
        ask("sync", pair[1], f"{url}/a b/notes/?db=main")
        assert "answered 404" in refused(pair[1], f"{url}/a b/notes/?db=other")[1]
    assert pair[0].hash() == pair[1].hash()


def test_the_example_runs(replica, tmp_path):
    notes = replica("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)", "note")
    notes.execute("INSERT INTO note VALUES (1, 'milk'), (2, 'call Ada'), (3, 'rest')")
    with serving(notes, grants=[csync.Grant(TOKEN)]) as running:
        command = [CLIENT.parent / "example_with_server", tmp_path / "phone.db", running.url]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CSYNC_TOKEN": TOKEN})
        assert (done.returncode, done.stdout) == (0, "pulled 3, pushed 0\n"), done.stderr
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and "(CSYNC_EAUTH)" in done.stderr


# ---- bad networks


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_sync_that_is_cut_at_any_byte_ends_as_any_other(pair, way):
    with serving(pair[0], rate=-1) as running, Network(running.url) as network:
        ask("sync", pair[1], network.url)
        before = getattr(network, way)
        edit(pair, 1)
        ask("sync", pair[1], network.url)
        length = getattr(network, way) - before
        assert length > 500
        for n in range(2, length, STRIDE):
            edit(pair, n)
            setattr(network, f"cut_{way}", n - 2)
            ask("sync", pair[1], network.url)
            assert getattr(network, f"cut_{way}") is None, "it was not cut"
            check(pair, n)


def test_requests_that_arrive_twice_are_carried_out_once(pair):
    with serving(pair[0]) as running, Network(running.url) as network:
        network.twice = True
        for n in range(3):
            edit(pair, n)
            ask("sync", pair[1], network.url)
            check(pair, n)
    assert pair[0].conflicts() == pair[1].conflicts() == []


def test_an_answer_that_trickles_is_waited_for_as_long_as_it_does(pair):
    with serving(pair[0]) as running, Network(running.url) as network:
        network.trickle = 0.002
        began = time.monotonic()
        ask("sync", pair[1], network.url, silence_ms=1000)
        assert time.monotonic() - began > 2
        assert network.accepted == 1
    assert pair[0].hash() == pair[1].hash()


def test_one_byte_a_second_is_not_silence(pair):
    """Also within one line of the headers, of which libcurl tells nothing. A whole answer would take minutes."""
    with serving(pair[0]) as running, Network(running.url) as network:
        network.trickle = 0.3
        with pytest.raises(subprocess.TimeoutExpired):
            ask("pull", pair[1], network.url, silence_ms=1000, tries=1, timeout=6)
        assert network.accepted == 1


def test_silence_is_a_lost_connection(pair):
    with serving(pair[0]) as running, Network(running.url) as network:
        network.silent = True
        code, message = refused(pair[1], network.url, silence_ms=200, tries=2)
        assert code == "CSYNC_ENET" and f"{network.url} cannot be reached: no byte" in message
        assert network.accepted == 2


def test_who_is_not_there_is_asked_five_times(pair):
    began = time.monotonic()
    code, message = refused(pair[1], "http://127.0.0.1:9/", wait_ms=100)
    assert code == "CSYNC_ENET" and "http://127.0.0.1:9 cannot be reached" in message
    assert time.monotonic() - began < 3
    assert refused(pair[1], "http://nowhere.invalid/", tries=1)[0] == "CSYNC_ENET"


def test_what_speaks_no_http_is_no_server(pair):
    class Ssh(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
            self.request.recv(1000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ssh) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        assert refused(pair[1], f"http://127.0.0.1:{server.server_address[1]}")[0] == "CSYNC_ENET"
        server.shutdown()


# ---- attempts


def state_of(db):
    return 200, {}, json.dumps({"origin": db.origin}).encode()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_says_when_is_asked_again_then(pair, status):
    soon = email.utils.formatdate(time.time() + 2, usegmt=True)
    for given, least, most in ((soon, 0.5, 3.5), ("1", 1, 2.5), ("soon", 0, 1), ("-1", 0, 1)):
        with answering((status, {"Retry-After": given}, b""), state_of(pair[0]), problem(400)) as script:
            began = time.monotonic()
            refused(pair[1], script.url)
            assert least <= time.monotonic() - began <= most, given
            assert len(script.asked) == 3


def test_a_server_that_wants_an_hour_is_left_alone(pair):
    with answering((503, {"Retry-After": "3600"}, b"")) as script:
        code, message = refused(pair[1], script.url)
        assert (code, len(script.asked)) == ("CSYNC_EPROTO", 1) and "it wants 3600 to pass" in message


def test_the_last_refusal_of_five_is_the_answer(pair):
    with answering(problem(503, code="CSYNC_EBUSY", detail="busy now")) as script:
        assert refused(pair[1], script.url) == ("CSYNC_EBUSY", f"{script.url} answered 503: busy now")
        assert len(script.asked) == 5


def test_a_push_that_could_count_twice_is_made_once(pair):
    """A session's batch has a key under which its answer is kept; a page that somebody relays has none."""
    for failure, pushes in ((problem(502), 1), (problem(504), 1), (problem(503), 5), (problem(429), 5)):
        with answering(state_of(pair[0]), failure) as script:
            refused(pair[0], script.url, command="loose")
            assert len(script.asked) == 1 + pushes
    with answering(state_of(pair[0]), problem(502)) as script:
        refused(pair[1], script.url)
        assert len(script.asked) == 1 + 5


def test_libcurl_does_not_make_it_twice_by_itself(pair):
    """A kept connection that is closed when the push comes: libcurl would make a new one and send again."""
    pushes = []

    class Closing(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline():
                headers = b""
                while (more := self.rfile.readline()).strip():
                    headers += more
                if line.startswith(b"POST"):
                    pushes.append(headers)
                    return
                body = state_of(pair[0])[2]
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        assert refused(pair[0], f"http://127.0.0.1:{server.server_address[1]}", command="loose")[0] == "CSYNC_ENET"
        assert len(pushes) == 1
        server.shutdown()


# ---- refusals


@pytest.mark.parametrize(
    "given, code",
    [
        (problem(401, code="CSYNC_EINVAL"), "CSYNC_EAUTH"),
        (problem(403), "CSYNC_EAUTH"),
        (problem(409, code="CSYNC_EHASH"), "CSYNC_EHASH"),
        (problem(410, code="CSYNC_EFULLRESYNC"), "CSYNC_EFULLRESYNC"),
        (problem(409, code="CSYNC_ECLOCK"), "CSYNC_ECLOCK"),
        (problem(404, code="CSYNC_ENOTFOUND"), "CSYNC_ENOTFOUND"),
        (problem(500, code="CSYNC_ENOMEM"), "CSYNC_EPROTO"),
        (problem(500, code="CSYNC_ETIMEOUT"), "CSYNC_EPROTO"),
        (problem(500, code="CSYNC_ECALLBACK"), "CSYNC_EPROTO"),
        (problem(500, code="CSYNC_OK"), "CSYNC_EPROTO"),
        (problem(500, code=7, detail=["x"], version="1"), "CSYNC_EPROTO"),
        (problem(404), "CSYNC_EPROTO"),
        ((500, {}, b'{"code":"CSYNC_EDB"'), "CSYNC_EPROTO"),
        ((500, {}, b"\xff\x00"), "CSYNC_EPROTO"),
        ((204, {}, b""), "CSYNC_EPROTO"),
        ((200, {}, b"{}"), "CSYNC_EPROTO"),
        ((200, {}, b'{"origin":7}'), "CSYNC_EPROTO"),
        ((200, {}, b"<html>"), "CSYNC_EPROTO"),
    ],
)
def test_refusals_are_the_errors_that_the_problem_names(pair, given, code):
    with answering(given) as script:
        assert refused(pair[1], script.url)[0] == code
        assert len(script.asked) == 1
    with answering(given) as script, pytest.raises(csync.Error) as caught:
        pair[1].sync(script.url)
    assert caught.value.code == code  # the client of Python says the same


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"changes":7}', b"\xff"])
def test_a_page_that_cannot_be_read_is_a_protocol_error(pair, body):
    with answering(state_of(pair[0]), (200, {}, body)) as script:
        code, message = refused(pair[1], script.url, command="pull")
        assert code == "CSYNC_EPROTO" and script.url in message
    with answering(state_of(pair[0]), (200, {}, body)) as script:
        assert refused(pair[1], script.url, command="loose")[0] == "CSYNC_EPROTO"


def test_an_origin_that_is_none_is_no_name(pair):
    with answering((200, {}, b'{"origin":"%s"}' % (b"x" * 100))) as script:
        assert refused(pair[1], script.url)[0] == "CSYNC_EPROTO"


def test_what_a_refusal_says_arrives(pair):
    said = problem(410, code="CSYNC_EFULLRESYNC", detail="gone", version=12, expected="12", actual="7")
    with answering(said) as script:
        done = run("sync", pair[1], script.url, 20, {})
        assert done.stdout == f"CSYNC_EFULLRESYNC {script.url} answered 410: gone\n12 [12] [7]\n"


def test_a_token_opens_and_another_does_not(pair):
    with serving(pair[0], grants=[csync.Grant(TOKEN)]) as running:
        for token in ({}, {"token": ""}, {"token": "another"}):
            assert refused(pair[1], running.url, **token)[0] == "CSYNC_EAUTH"
        ask("sync", pair[1], running.url, token=TOKEN)
    assert pair[0].hash() == pair[1].hash()


@pytest.mark.parametrize("token", ["two words", "line\r\nX: y", "caf\u00e9"])
def test_a_token_that_is_none_is_refused_without_showing_it(pair, token):
    code, message = refused(pair[1], "http://127.0.0.1:9/", token=token)
    assert code == "CSYNC_EINVAL" and "characters" in message and token not in message


@pytest.mark.parametrize(
    "url, part",
    [
        ("http://host:x/", "malformed"),
        ("http://[::1/", "malformed"),
        ("http://host:99999/", "malformed"),
        ("notes.db", "no http://"),
        ("", "malformed|no http://"),
        ("ftp://host/", "ftp://host is no http://"),
        ("postgresql://me:secret@host/db", "postgresql://host/db is no http://"),
        ("https://me:secret@host/", "https://host: say who you are with a token"),
        ("https://secret@host/", "https://host: say who you are with a token"),
    ],
)
def test_a_url_of_no_server_is_refused_without_showing_secrets(pair, url, part):
    code, message = refused(pair[1], url)
    assert code == "CSYNC_EINVAL" and re.search(part, message) and "secret" not in message


def test_a_token_goes_over_tls_or_to_this_machine(pair):
    code, message = refused(pair[1], "http://notes.example/", token=TOKEN)
    assert code == "CSYNC_EINVAL" and "https:// only" in message and TOKEN not in message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_follows_no_redirection(pair, status):
    with serving(pair[0], grants=[csync.Grant(TOKEN)]) as running, Network(running.url) as elsewhere:
        for location, shown in (
            (f"{elsewhere.url}/sync/state?secret=1", f"{elsewhere.url}/sync/state;"),
            (f"{elsewhere.url.replace('//', '//me:secret@')}/", f"{elsewhere.url};"),
            ("//", "another place|http"),
        ):
            with answering((status, {"Location": location}, b"")) as script:
                code, message = refused(pair[1], script.url, token=TOKEN)
                assert code == "CSYNC_EPROTO" and re.search(f"answered {status}: .*({shown})", message), message
                assert (len(script.asked), elsewhere.accepted) == (1, 0)
                assert TOKEN not in message and "secret" not in message


# ---- answers


def test_an_answer_that_is_too_large_is_not_kept(pair):
    big = json.dumps({"origin": pair[0].origin, "more": "x" * 100_000}).encode()
    bomb = gzip.compress(b" " * 50_000_000)
    with answering((200, {}, big)) as script:
        code, message = refused(pair[1], script.url, max_answer=50_000)
        assert code == "CSYNC_EPROTO" and "larger than 50000 bytes" in message
        assert len(script.asked) == 1
    with answering((200, {"Content-Encoding": "gzip"}, bomb)) as script:
        code, message = refused(pair[1], script.url, max_answer=1_000_000)
        assert code == "CSYNC_EPROTO" and "more than 1000000 bytes" in message


@pytest.mark.parametrize("coding", ["zstd", "gzip", "br", "zstd, gzip", "x" * 100])
def test_an_answer_that_cannot_be_decoded_is_a_protocol_error(pair, coding):
    with answering((200, {"Content-Encoding": coding}, b"{}")) as script:
        code, message = refused(pair[1], script.url)
        assert code == "CSYNC_EPROTO" and "coding" in message


def test_a_server_that_does_not_read_a_coding_after_all_gets_the_body_plain(pair):
    """Behind one name there may be several."""
    put(pair[1], *range(100, 200))
    told = (200, {"Accept-Encoding": "gzip"}, state_of(pair[0])[2])
    with answering(told, problem(415)) as script:
        code, message = refused(pair[1], script.url, command="loose")
        assert code == "CSYNC_EPROTO" and "answered 415" in message
    codings = [headers.get("Content-Encoding") for _, headers in script.asked]
    assert codings == [None, "gzip", None]


def test_what_it_says_of_itself(pair):
    with answering(problem(400)) as script:
        refused(pair[1], script.url, token=TOKEN)
    ((line, headers),) = script.asked
    assert line == "GET /sync/state HTTP/1.1"
    assert headers == {
        "Host": script.url.removeprefix("http://"),
        "Accept": "application/json",
        "Accept-Encoding": "zstd, gzip",
        "User-Agent": f"csync/{csync.__version__}",
        "Authorization": f"Bearer {TOKEN}",
    }


def test_headers_without_an_end_are_no_answer(pair):
    with answering((200, {f"X-{i}": "y" * 1000 for i in range(90)}, state_of(pair[0])[2])) as script:
        code, message = refused(pair[1], script.url, tries=2)
        assert code == "CSYNC_ENET" and "headers are too large" in message and len(script.asked) == 2


# ---- TLS


def test_only_a_certificate_that_is_trusted_is_trusted(pair, certificate, monkeypatch):  # noqa: F811
    good, other = certificate("127.0.0.1"), certificate("other.example")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for tls, options in ((good, {}), (other, {"ca_file": other[0]}), (good, {"ca_file": other[0]})):
        with serving(pair[0], tls=tls, grants=[csync.Grant(TOKEN)]) as running, Network(running.url) as network:
            code, message = refused(pair[1], network.url, token=TOKEN, **options)
            assert code == "CSYNC_ENET" and "certificate" in message
            assert network.accepted == 1  # another attempt would be as futile
    with serving(pair[0], tls=good, grants=[csync.Grant(TOKEN)]) as running:
        ask("sync", pair[1], running.url, token=TOKEN, ca_file=good[0])
        assert pair[0].hash() == pair[1].hash()
        edit(pair, 1)
        monkeypatch.setenv("SSL_CERT_FILE", good[0])
        ask("sync", pair[1], running.url, token=TOKEN)
        check(pair, 1)


def test_tls_that_is_cut_kills_nobody(pair, certificate):  # noqa: F811
    """Writing to a connection that was reset is a signal, unless it is held back."""
    good = certificate("127.0.0.1")
    put(pair[1], *range(100, 300), body="some text")
    with serving(pair[0], tls=good, grants=[csync.Grant(TOKEN)]) as running, Network(running.url) as network:
        for cut in (500, 1500, 3000):
            network.cut_up = cut
            ask("sync", pair[1], network.url, token=TOKEN, ca_file=good[0])
    assert pair[0].hash() == pair[1].hash()


def test_a_file_of_authorities_that_is_none_is_named(pair, tmp_path):
    code, message = refused(pair[1], "https://127.0.0.1:9/", ca_file=tmp_path / "none.pem")
    assert code == "CSYNC_ENOTFOUND" and "none.pem cannot be read" in message
    (tmp_path / "bad.pem").write_text("nothing")
    with serving(pair[0]) as running:
        url = running.url.replace("http:", "https:")
        assert refused(pair[1], url, ca_file=tmp_path / "bad.pem")[0] == "CSYNC_EINVAL"


# ---- proxies


@pytest.mark.parametrize("way", ["environment", "option"])
def test_https_goes_through_a_proxy(pair, certificate, monkeypatch, way):  # noqa: F811
    tls = certificate("notes.test")
    with serving(pair[0], tls=tls, grants=[csync.Grant(TOKEN)]) as running, Proxy(address_of(running.url)) as proxy:
        name, options = f"http://me:p%40ss@{proxy.url}", {}
        if way == "environment":
            monkeypatch.setenv("https_proxy", name)
        else:
            monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
            monkeypatch.setenv("no_proxy", "*")
            options = {"proxy": name}
        ask("sync", pair[1], "https://notes.test/", token=TOKEN, ca_file=tls[0], **options)
        (head,) = proxy.heads
        assert head.startswith("CONNECT notes.test:443 HTTP/1.1\r\nHost: notes.test:443")
        assert "Proxy-Authorization: Basic bWU6cEBzcw==" in head and TOKEN not in head
    assert pair[0].hash() == pair[1].hash()


def test_http_goes_through_a_proxy(pair, monkeypatch):
    with serving_wsgi(csync.api(pair[0])) as url, Proxy(address_of(url)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        ask("sync", pair[1], "http://notes.test/?db=main")
        assert proxy.heads[0].startswith("GET http://notes.test/sync/state?db=main HTTP/1.1\r\nHost: notes.test\r\n")
    assert pair[0].hash() == pair[1].hash()


def test_this_machine_and_what_no_proxy_names_are_reached_directly(pair, monkeypatch):
    with serving(pair[0], grants=[csync.Grant(TOKEN)]) as running, Proxy(address(running)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        ask("sync", pair[1], running.url, token=TOKEN)  # a proxy would be told the token
        ask("sync", pair[1], running.url, token=TOKEN, proxy=f"http://{proxy.url}")
        assert refused(pair[1], "http://notes.invalid/", proxy="", tries=1)[0] == "CSYNC_ENET"
        monkeypatch.setenv("no_proxy", "notes.invalid")
        assert refused(pair[1], "http://notes.invalid/", tries=1)[0] == "CSYNC_ENET"
        assert proxy.heads == []


def test_a_proxy_that_refuses_or_is_none_is_an_error_without_its_password(pair):
    with Proxy(("127.0.0.1", 9), refuses=True) as nowhere, serving(pair[0]) as running:
        nowhere.target = address(running)
        code, message = refused(pair[1], "https://notes.test/", proxy=f"http://me:secret@{nowhere.url}")
        assert code == "CSYNC_ENET" and "407" in message and "secret" not in message
    for proxy in ("http://me:secret@[", "nosuch://me:secret@host", "http://me:secret@host:99999"):
        code, message = refused(pair[1], "https://notes.test/", proxy=proxy, tries=1)
        assert code == "CSYNC_ENET" and "secret" not in message


# ---- cancelling


def test_another_thread_cancels_a_request(pair):
    with serving(pair[0]) as running, Network(running.url) as network:
        put(pair[0], *range(1000, 1060))
        network.trickle = 0.001
        began = time.monotonic()
        code, message = refused_by_cancel(pair[1], network.url)
        assert (code, message) == ("CSYNC_ECANCELED", "cancelled")
        assert time.monotonic() - began < 3
        network.trickle = None
        ask("sync", pair[1], network.url)
    assert pair[0].hash() == pair[1].hash()


def test_another_thread_cancels_a_wait(pair):
    with answering(state_of(pair[0]), (503, {"Retry-After": "30"}, b"")) as script:
        began = time.monotonic()
        assert refused_by_cancel(pair[1], script.url)[0] == "CSYNC_ECANCELED"
        assert time.monotonic() - began < 3


def refused_by_cancel(db, url):
    code, _, message = ask("cancel", db, url).splitlines()[0].partition(" ")
    return code, message
