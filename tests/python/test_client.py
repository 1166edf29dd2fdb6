"""The client of the REST API on bad networks, behind proxies, over TLS, and with servers that send it elsewhere."""

import asyncio
import base64
import contextlib
import email.utils
import functools
import os
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

import csync
from bad_network import Network
from csync import _http, _peer, _wire
from serving import address, serving, until
from test_http import Below
from test_http import serving as serving_wsgi
from test_protocol import put

TOKEN = "x" * 32
STRIDE = {"quick": 41, "default": 11, "long": 1}[os.environ.get("CSYNC_TEST_PROFILE", "default")]


def blocking(db, url, **options):
    return db.sync(url, **options)


def in_a_loop(db, url, **options):
    return asyncio.run(csync.aio.sync(db, url, **options))


@pytest.fixture(params=[blocking, in_a_loop])
def sync(request):
    """sync(db, url, **options), by either client."""
    return request.param


@pytest.fixture
def impatient(monkeypatch):
    """The next attempt comes at once."""
    monkeypatch.setattr(_peer, "FIRST_WAIT", 0.0)


def edit(pair, n):
    server, client = pair
    server.execute("UPDATE note SET votes = ?, body = 'server' WHERE id = 1", (n,))
    client.execute("UPDATE note SET votes = ?, body = 'client' WHERE id = 7", (n,))


def check(pair, n):
    assert pair[0].hash() == pair[1].hash()
    assert pair[0].execute("SELECT id, votes FROM note WHERE id IN (1, 7) ORDER BY id") == [(1, n), (7, n)]


# ---- bad networks


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_sync_that_is_cut_at_any_byte_ends_as_any_other(pair, sync, impatient, way):
    with serving(pair[0], rate=-1) as running, Network(running.url) as network:
        sync(pair[1], network.url)
        before = getattr(network, way)
        edit(pair, 1)
        sync(pair[1], network.url)
        length = getattr(network, way) - before
        assert length > 500
        for n in range(2, length + 2, STRIDE):
            edit(pair, n)
            setattr(network, f"cut_{way}", n - 2)
            sync(pair[1], network.url)
            assert getattr(network, f"cut_{way}") is None, "it was not cut"
            check(pair, n)


def test_requests_that_arrive_twice_are_carried_out_once(pair, sync):
    with serving(pair[0]) as running, Network(running.url) as network:
        network.twice = True
        for n in range(3):
            edit(pair, n)
            sync(pair[1], network.url)
            check(pair, n)
    assert pair[0].conflicts() == pair[1].conflicts() == []


def test_what_is_held_back_arrives(pair, sync):
    with serving(pair[0]) as running, Network(running.url) as network:
        network.delay = 0.02
        for n in range(3):
            edit(pair, n)
            sync(pair[1], network.url, batch_size=1)
            check(pair, n)


def test_an_answer_that_trickles_is_waited_for_as_long_as_it_does(pair, sync, monkeypatch):
    monkeypatch.setattr(_peer, "SILENCE", 1.0)
    with serving(pair[0]) as running, Network(running.url) as network:
        network.trickle = 0.002
        began = time.monotonic()
        sync(pair[1], network.url)
        assert time.monotonic() - began > 2 * _peer.SILENCE
        assert network.accepted == 1
    assert pair[0].hash() == pair[1].hash()


def test_silence_is_a_lost_connection(pair, sync, impatient, monkeypatch):
    monkeypatch.setattr(_peer, "SILENCE", 0.2)
    monkeypatch.setattr(_peer, "ATTEMPTS", 2)
    with serving(pair[0]) as running, Network(running.url) as network:
        network.silent = True
        with pytest.raises(csync.NetworkError, match="cannot be reached"):
            sync(pair[1], network.url)
        assert network.accepted == 2


def test_a_sync_uses_one_connection(pair, sync):
    put(pair[0], *range(100, 160))
    with serving(pair[0]) as running, Network(running.url) as network:
        sync(pair[1], network.url, batch_size=10)
        assert network.accepted == 1


def test_a_connection_that_was_closed_meanwhile_is_made_again_at_once(pair, monkeypatch):
    monkeypatch.setattr(time, "sleep", None)
    with serving(pair[0]) as running:
        server = _peer.Server(running.url)
        with contextlib.closing(_http.Connection(server)) as connection:
            for _ in range(3):
                assert connection.run(_peer.origin(server)) == pair[0].origin
                connection._socket.shutdown(socket.SHUT_RDWR)


# ---- attempts


def answer(status, body=b"", **headers):
    made = _wire.Response()
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    made.feed(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{''.join(lines)}\r\n".encode())
    return _peer.Answer(made.status, made.headers, body)


def test_a_server_that_says_when_is_asked_again_then():
    server = _peer.Server("http://127.0.0.1:1")
    for given, least, most in (
        ("7", 7, 7),
        (email.utils.formatdate(time.time() + 20, usegmt=True), 15, 20),
        (email.utils.formatdate(time.time() - 20, usegmt=True), 0, 0),
        ("soon", 0, 0.5),
    ):
        for status in (429, 502, 503, 504):
            asking = server.ask("GET", "/sync/state")
            next(asking)
            assert least <= asking.send(answer(status, Retry_After=given)) <= most
            assert isinstance(next(asking), _peer.Message)


def test_a_server_that_wants_an_hour_is_left_alone():
    asking = _peer.Server("http://127.0.0.1:1").ask("GET", "/sync/state")
    next(asking)
    with pytest.raises(csync.Error, match="3600"):
        asking.send(answer(503, Retry_After="3600"))


def test_waits_grow_and_differ():
    asking = _peer.Server("http://127.0.0.1:1").ask("GET", "/sync/state")
    next(asking)
    for attempt in range(1, _peer.ATTEMPTS):
        assert 0 <= asking.throw(ConnectionError("gone")) <= 0.5 * 2 ** (attempt - 1)
        next(asking)
    with pytest.raises(csync.NetworkError, match="gone"):
        asking.throw(ConnectionError("gone"))


def test_a_push_that_could_count_twice_is_made_once(pair):
    """A session's batch has a key under which its answer is kept; a page that somebody relays has none."""
    server = _peer.Server("http://127.0.0.1:1")
    for wrong in (ConnectionError("gone"), _peer.Stale("gone")):
        pushing = _peer.send(server, pair[0].changes())
        next(pushing)
        with pytest.raises(csync.NetworkError, match="gone"):
            pushing.throw(wrong)
    pushing = _peer.send(server, pair[0].changes())
    next(pushing)
    assert isinstance(pushing.send(answer(503)), float)  # whoever says so has done nothing
    next(pushing)
    with pytest.raises(csync.Error, match="502"):
        pushing.send(answer(502))
    session = csync.Session(pair[0], "peer", direction="push")
    pushing = _peer.send(server, session.next().batch)
    next(pushing)
    assert isinstance(pushing.throw(ConnectionError("gone")), float)


# ---- codings


BODY = b'{"changes":[' + b" " * 5000 + b"]}"


def after_learning(announced):
    """A Server that has answered with this Accept-Encoding."""
    server = _peer.Server("http://127.0.0.1:1")
    asking = server.ask("GET", "/sync/state")
    assert b"\r\nAccept-Encoding: zstd, gzip\r\n" in next(asking).data
    with pytest.raises(StopIteration):
        asking.send(answer(200, Accept_Encoding=announced))
    return server


@pytest.mark.parametrize(
    "announced, coding", [("zstd, gzip", b"zstd"), ("gzip", b"gzip"), ("br", None), ("identity", None), ("", None)]
)
def test_bodies_go_in_the_coding_that_the_server_reads(announced, coding):
    sent = next(after_learning(announced).ask("POST", "/sync/changes", body=BODY)).data
    assert (b"Content-Encoding: " + (coding or b"")) in sent if coding else sent.endswith(BODY)
    assert coding is None or len(sent) < 1000
    small = next(after_learning(announced).ask("POST", "/sync/digest", body=b"{}")).data
    assert b"Content-Encoding" not in small and small.endswith(b"{}")


def test_a_server_that_does_not_read_a_coding_after_all_gets_the_body_plain():
    """Behind one name there may be several."""
    asking = after_learning("zstd").ask("POST", "/sync/changes", body=BODY)
    assert b"Content-Encoding: zstd" in next(asking).data
    assert asking.send(answer(415)).data.endswith(BODY)
    with pytest.raises(csync.Error, match="answered 415"):
        asking.send(answer(415))


@pytest.mark.parametrize("coding", ["zstd", "gzip", "br", "zstd, gzip"])
def test_an_answer_that_cannot_be_decoded_is_a_protocol_error(coding):
    asking = _peer.Server("http://127.0.0.1:1").ask("GET", "/sync/state")
    next(asking)
    with pytest.raises(csync.ProtocolError, match="coding"):
        asking.send(answer(200, b"{}", Content_Encoding=coding))


# ---- responses


def read(data, *, ends=True, step=1):
    response, body = _wire.Response(), b""
    for at in range(0, len(data), step):
        body += response.feed(data[at : at + step])
    if ends and not response.complete:
        body += response.feed(b"")
    return response, body


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_responses_of_every_framing_are_read(step):
    head = b"HTTP/1.1 200 OK\r\nX-One: 1\r\n"
    for raw, body, reusable in (
        (head + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (head + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n", b"hello", True),
        (head + b"\r\nhello", b"hello", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + head + b"Content-Length: 2\r\n\r\nok", b"ok", True),
        (b"HTTP/1.0 200 OK\nContent-Length: 2\n\nok", b"ok", False),
    ):
        response, given = read(raw, step=step)
        assert (given, response.complete, response.reusable) == (body, True, reusable), raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhelp\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
        b"HTTP/1.1 " + b"2" * 70000,
    ],
)
def test_what_is_no_whole_response_is_a_broken_connection(raw):
    with pytest.raises(_wire.Broken):
        read(raw, step=max(len(raw), 1))


# ---- elsewhere


class Redirecting:
    def __init__(self, status, location):
        self.status, self.location, self.asked = status, location, 0

    def wsgi(self, environ, start_response):
        self.asked += 1
        start_response(f"{self.status} Elsewhere", [("Location", self.location), ("Content-Length", "0")])
        return [b""]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_follows_no_redirection(pair, sync, status):
    with serving(pair[0], grants=[csync.Grant(TOKEN)]) as running, Network(running.url) as elsewhere:
        redirecting = Redirecting(status, f"{elsewhere.url}/sync/state?secret=1")
        with serving_wsgi(redirecting) as url:
            with pytest.raises(csync.ProtocolError, match=f"answered {status}.*{elsewhere.url}") as caught:
                sync(pair[1], url, token=TOKEN)
        assert (redirecting.asked, elsewhere.accepted) == (1, 0)
        assert TOKEN not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "line\r\nX: y", "caf\u00e9", "nul\0"])
def test_a_token_that_is_none_is_refused_without_showing_it(pair, sync, token):
    with pytest.raises(csync.InvalidValue, match="characters") as caught:
        sync(pair[1], "http://127.0.0.1:9/", token=token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host:x/", "http://[::1/", "http://host:99999/"])
def test_a_malformed_url_is_refused(pair, sync, url):
    with pytest.raises(csync.InvalidValue, match="malformed"):
        sync(pair[1], url)


def test_a_path_before_the_routes_is_kept(pair, sync):
    with serving_wsgi(Below(csync.api(pair[0]), "/a b/notes")) as url:
        sync(pair[1], f"{url}/a b/notes/?db=main")
    assert pair[0].hash() == pair[1].hash()


# ---- TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """certificate(name): the files of a certificate for that host, and of its key."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp("tls")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", f"/CN={name}", "-addext", f"subjectAltName={'IP' if name[0].isdigit() else 'DNS'}:{name}"]
            + ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True,
            capture_output=True,
        )
        return str(folder / "cert.pem"), str(folder / "key.pem")

    return make


def test_only_a_certificate_that_the_system_trusts_is_trusted(pair, sync, certificate, monkeypatch):
    good, other = certificate("127.0.0.1"), certificate("other.example")
    for tls, trusted in ((good, None), (other, other)):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", trusted[0])
        with serving(pair[0], tls=tls, grants=[csync.Grant(TOKEN)]) as running:
            with Network(running.url) as network, pytest.raises(csync.NetworkError, match="certificate"):
                sync(pair[1], network.url, token=TOKEN)
            assert network.accepted == 1  # another attempt would be as futile
    monkeypatch.setenv("SSL_CERT_FILE", good[0])
    with serving(pair[0], tls=good, grants=[csync.Grant(TOKEN)]) as running:
        sync(pair[1], running.url, token=TOKEN)
    assert pair[0].hash() == pair[1].hash()


# ---- proxies


class Proxy:
    """An HTTP proxy that knows one host, whatever its name; it keeps the heads of what it was asked."""

    def __init__(self, target, refuses=False):
        self.target, self.refuses, self.heads = target, refuses, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(self.target) as server, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(1 << 16)
            self.heads.append(data.partition(b"\r\n\r\n")[0].decode())
            if self.refuses:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            if data.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                method, url, rest = data.split(b" ", 2)
                server.sendall(b" ".join([method, url[url.index(b"/", 7) :], rest]))
            threading.Thread(target=self.pump, args=(client, server), daemon=True).start()
            self.pump(server, client)

    def pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def test_https_goes_through_the_proxy_of_the_environment(pair, sync, certificate, monkeypatch):
    tls = certificate("notes.test")
    monkeypatch.setenv("SSL_CERT_FILE", tls[0])
    with serving(pair[0], tls=tls, grants=[csync.Grant(TOKEN)]) as running:
        with Proxy(address_of(running.url)) as proxy:
            monkeypatch.setenv("https_proxy", f"http://me:p%40ss@{proxy.url}")
            sync(pair[1], "https://notes.test/", token=TOKEN)
            (head,) = proxy.heads
            assert head.startswith("CONNECT notes.test:443 HTTP/1.1\r\nHost: notes.test:443")
            assert "Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss").decode() in head
            assert TOKEN not in head
    assert pair[0].hash() == pair[1].hash()


def address_of(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def test_http_goes_through_the_proxy_of_the_environment(pair, sync, monkeypatch):
    with serving_wsgi(csync.api(pair[0])) as url, Proxy(address_of(url)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        sync(pair[1], "http://notes.test/?db=main")
        assert proxy.heads[0].startswith("GET http://notes.test/sync/state?db=main HTTP/1.1\r\nHost: notes.test\r\n")
    assert pair[0].hash() == pair[1].hash()


def test_this_machine_and_what_no_proxy_names_are_reached_directly(pair, sync, impatient, monkeypatch):
    with serving(pair[0], grants=[csync.Grant(TOKEN)]) as running, Proxy(address(running)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        sync(pair[1], running.url, token=TOKEN)  # a proxy would be told the token
        monkeypatch.setenv("no_proxy", "notes.invalid")
        with pytest.raises(csync.NetworkError):
            sync(pair[1], "http://notes.invalid/")
        assert proxy.heads == []


def test_a_proxy_that_refuses_is_named(pair, sync, impatient, monkeypatch):
    with Proxy(("127.0.0.1", 9), refuses=True) as nowhere, serving(pair[0]) as running:
        nowhere.target = address(running)
        monkeypatch.setenv("https_proxy", nowhere.url)
        with pytest.raises(csync.NetworkError, match="the proxy answered 407"):
            sync(pair[1], "https://notes.test/")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(csync.InvalidValue, match="socks5://127.0.0.1:9; only http:// proxies"):
        sync(pair[1], "https://notes.test/")


def test_the_network_of_these_tests_does_what_it_says(pair):
    with serving(pair[0]) as running, Network(running.url) as network:
        with socket.create_connection(address_of(network.url)) as one:
            network.cut_down = 5
            one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = b""
            with contextlib.suppress(ConnectionError):
                while data := one.recv(100):
                    got += data
            assert got == b"HTTP/"
        until(lambda: not network._open)
