"""csync.serve: the API over real sockets, limits, tokens, and requests that are hostile."""

import contextlib
import json
import os
import pathlib
import random
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest

import csync
from note_table import NOTE
from serving import CHUNKED, CHUNKS, CLIENT, LENGTH, Raw, address, ask, get, post, serving, status_of
from test_protocol import put


@pytest.fixture
def pair(replicas):
    server, client = replicas(NOTE, "note")
    put(server, 1, 2, 3)
    return server, client


# ---- the API


def test_two_replicas_come_together_over_the_server(pair):
    server, client = pair
    put(client, 7)
    with serving(server) as running:
        result = client.sync(running.url)
        assert (result.pulled, result.pushed) == (3, 1)
        assert server.hash() == client.hash()
        server.execute("UPDATE note SET body = 'there' WHERE id = 1")
        client.execute("DELETE FROM note WHERE id = 2")
        client.sync(running.url, batch_size=1)
        assert server.hash() == client.hash()
        assert client.verify(running.url).equal
    assert running.closed and "closed" in repr(running)
    with pytest.raises(csync.Misuse):
        running.reload()


def test_several_databases_are_chosen_by_name(replicas):
    one, two = replicas(NOTE, "note")
    put(two, 1)
    with serving({"first": one, "second": str(two.path)}) as running:
        assert ask(running, "/sync/state")[0] == 400
        assert ask(running, "/sync/state?db=third")[0] == 404
        assert ask(running, "/sync/state?db=first")[2]["maxVersion"] == 0
        assert ask(running, "/sync/state?db=second")[2]["maxVersion"] == 1
    with serving([one.path, two.path]) as running:
        assert ask(running, f"/sync/state?db={two.path.stem}")[2]["maxVersion"] == 1


def test_many_clients_at_once_come_together(replicas):
    server, *clients = replicas(NOTE, "note", count=7)
    for n, client in enumerate(clients):
        put(client, *range(100 * n, 100 * n + 20))
    with serving(server) as running:
        for _ in range(2):
            threads = [threading.Thread(target=client.sync, args=(running.url,)) for client in clients]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert {client.hash() for client in clients} == {server.hash()}


def test_a_replica_of_an_open_connection_is_served_by_its_file(database):
    with contextlib.closing(sqlite3.connect(database(NOTE))) as connection, csync.open(connection) as db:
        db.track("note")
        with serving(db) as running:
            assert ask(running, "/sync/state")[2]["tables"] == 1


def test_what_cannot_be_served_is_refused(replica, tmp_path):
    db = replica(NOTE, "note")
    with csync.open(":memory:") as memory, pytest.raises(csync.InvalidValue, match="open again"):
        csync.serve(memory)
    for listen in ("127.0.0.1", "127.0.0.1:x", ":80", "no.such.host.invalid:1"):
        with pytest.raises(csync.InvalidValue, match="listen"):
            csync.serve(db, listen=listen)
    with pytest.raises(csync.InvalidValue, match="needs tokens"):
        csync.serve(db, listen="0.0.0.0:0")
    with pytest.raises(csync.InvalidValue, match="certificate"):
        csync.serve(db, listen="0.0.0.0:0", grants=[csync.Grant("x" * 32)])
    with pytest.raises(csync.InvalidValue, match="exact"):
        csync.serve(db, origins=["*"])
    with pytest.raises(csync.DatabaseError):
        csync.serve(tmp_path / "no" / "file.db")
    with serving(db) as running, pytest.raises(csync.NetworkError, match="cannot listen"):
        csync.serve(db, listen="{}:{}".format(*address(running)))


def test_a_forgotten_server_warns_and_stops(replica):
    running = csync.serve(replica(NOTE, "note"), listen="127.0.0.1:0")
    where = address(running)
    with pytest.warns(ResourceWarning):
        del running
    with pytest.raises(OSError):
        socket.create_connection(where, timeout=1)


# ---- requests that two programs may read in two ways


HOSTILE = {
    "length and chunked": (400, post(LENGTH + CHUNKED, CHUNKS)),
    "gzip, chunked": (501, post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS)),
    "unknown coding": (501, post(b"Transfer-Encoding: xchunked\r\n", CHUNKS)),
    "coding in another case": (200, post(b"transfer-encoding: CHUNKED\r\n", CHUNKS)),
    "two codings": (400, post(CHUNKED + CHUNKED, CHUNKS)),
    "two lengths": (400, post(b"Content-Length: 4\r\n" + LENGTH)),
    "one length twice": (400, post(LENGTH + LENGTH)),
    "signed length": (400, post(b"Content-Length: +4\r\n")),
    "list of lengths": (400, post(b"Content-Length: 4, 4\r\n")),
    "negative length": (400, post(b"Content-Length: -1\r\n")),
    "hexadecimal length": (400, post(b"Content-Length: 0x4\r\n")),
    "overflowing length": (413, post(b"Content-Length: 99999999999999999999\r\n")),
    "too long": (413, post(b"Content-Length: 99999999\r\n", b"")),
    "too long in chunks": (413, post(CHUNKED, (b"10000\r\n" + b"a" * 65536 + b"\r\n") * 18 + b"0\r\n\r\n")),
    "blank before the colon": (400, post(b"Content-Length : 41\r\n")),
    "folded": (400, post(b"X: a\r\n b\r\n" + LENGTH)),
    "folded with a tab": (400, post(b"X: a\r\n\tb\r\n" + LENGTH)),
    "folded at the end": (400, post(LENGTH + b"X: a\r\n b\r\n")),
    "folded coding": (400, post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS)),
    "blank before the first header": (400, b"GET /health HTTP/1.1\r\n X: 1\r\nHost: localhost\r\n\r\n"),
    "no host": (400, b"GET /health HTTP/1.1\r\n\r\n"),
    "no host in 1.0": (400, b"GET /health HTTP/1.0\r\n\r\n"),
    "two hosts": (400, get(b"Host: other\r\n")),
    "two tokens": (400, get(b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")),
    "NUL in a value": (400, get(b"X: a\0b\r\nY: 1\r\n")),
    "NUL in the last value": (400, get(b"X: a\0b\r\n")),
    "NUL ends the last value": (400, get(b"X: a\0\r\n")),
    "NUL in a name": (400, get(b"X\0Y: a\r\n")),
    "NUL in the target": (400, get(target=b"/heal\0th")),
    "control in a value": (400, get(b"X: a\x01b\r\n")),
    "bare CR": (400, get(b"X: a\rY: b\r\n")),
    "bare LF everywhere": (400, get(b"X: a\r\n").replace(b"\r\n", b"\n")),
    "bare LF behind the first line": (400, get(b"X: a\r\n").replace(b"\r\n", b"\n", 1)),
    "bare LF behind a header": (400, get(b"X: a\nY: b\r\n")),
    "no colon": (400, get(b"nonsense\r\n")),
    "no name": (400, get(b": nameless\r\n")),
    "bracket in a name": (400, get(b"X(y): 1\r\n")),
    "a long header": (431, get(b"X: " + b"a" * 40000 + b"\r\n")),
    "a thousand headers": (431, get(b"X: a\r\n" * 1000)),
    "65 headers": (431, get(b"X: a\r\n" * 64)),
    "a long target": (414, get(target=b"/" + b"a" * 40000)),
    "0x chunk": (400, post(CHUNKED, b"0x4\r\nabcd\r\n0\r\n\r\n")),
    "signed chunk": (400, post(CHUNKED, b"-1\r\nabcd\r\n0\r\n\r\n")),
    "overflowing chunk": (413, post(CHUNKED, b"fffffffffffffffff\r\nabcd\r\n0\r\n\r\n")),
    "chunk with no end": (400, post(CHUNKED, b"4\r\nabcdabcd\r\n0\r\n\r\n")),
    "version 9.9": (505, get(version=b"HTTP/9.9")),
    "version 2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "version 1.10": (400, get(version=b"HTTP/1.10")),
    "version in lower case": (400, get(version=b"http/1.1")),
    "no version": (400, b"GET /health\r\n\r\n"),
    "method in lower case": (405, get().replace(b"GET", b"get", 1)),
    "unknown method": (405, get().replace(b"GET", b"BREW", 1)),
    "CONNECT": (400, b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "absolute target": (400, get(target=b"http://localhost/health")),
    "star": (400, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "body of a GET": (400, get(b"Content-Length: 3\r\n") + b"abc"),
    "fragment": (400, get(target=b"/health#x")),
    "byte beyond ASCII": (400, get(target=b"/health\xff")),
    "up and down": (404, get(target=b"/x/../health")),
    "body that is not in its coding": (400, post(b"Content-Encoding: gzip\r\n" + LENGTH)),
    "body in an unknown coding": (415, post(b"Content-Encoding: br\r\n" + LENGTH)),
    "another media type": (415, post(LENGTH).replace(b"application/json", b"text/plain")),
    "bad percent": (400, get(target=b"/sync/state?db=%zz")),
    "one parameter twice": (400, get(target=b"/sync/state?db=main&db=main")),
    "a connection string": (400, get(target=b"/sync/state?connectionString=x")),
    "a host that is not this one": (403, get(target=b"/sync/state").replace(b"localhost", b"evil.example")),
    "a page of another site": (403, get(b"Origin: http://evil.example\r\n", b"/sync/state")),
    "through a proxy": (401, get(b"X-Forwarded-For: 10.0.0.1\r\n", b"/sync/state")),
    "no JSON": (400, post(b"Content-Length: 4\r\n", b"{{{{")),
    "deep JSON": (400, post(b"Content-Length: 90000\r\n", b"[" * 90000)),
    "no body": (400, post(b"Content-Length: 0\r\n", b"")),
    "no length": (400, post(b"", b"")),
}
ANSWERED = ("another media type", "no JSON", "deep JSON", "no body", "no length")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_its_status_and_leaves_the_database_alone(name, hostile_world):
    server, running = hostile_world
    expected, request = HOSTILE[name]
    before = server.hash()
    with Raw(running) as raw:
        raw.send(request)
        if expected in (200, 401, 404, 405) or name in ANSWERED:  # the connection goes on
            raw.send(get(b"Connection: close\r\n"))
        answer = raw.rest()
    assert status_of(answer) == expected, answer[:300]
    assert server.hash() == before
    assert ask(running, "/health")[0] == 200


@pytest.fixture(scope="module")
def hostile_world(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "notes.db"
    with csync.open(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body)")
        db.track("note")
        db.execute("INSERT INTO note VALUES (1, 'here')")
        with serving(
            db, max_body=1 << 20, rate=-1, header_timeout=1, body_timeout=1, idle_timeout=1
        ) as running:
            yield db, running


def test_requests_made_of_random_bytes_and_cut_ones_change_nothing(hostile_world):
    db, running = hostile_world
    chance = random.Random(5)
    before = db.hash()
    for _ in range(4):
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(Raw(running)) for _ in range(100)]
            for raw in connections:
                request = bytearray(post(LENGTH))
                for _ in range(chance.randrange(1, 4)):
                    request[chance.randrange(len(request))] = chance.choice(b"\0\r\n\t :,\xff{}5aZ")
                raw.send(bytes(request[: chance.randrange(1, len(request) + 1)]))
                with contextlib.suppress(OSError):
                    raw.socket.shutdown(socket.SHUT_WR)
            for raw in connections:
                raw.rest()
    assert ask(running, "/health")[0] == 200
    assert db.hash() == before


def test_a_request_in_small_pieces_and_several_in_one_are_read(hostile_world):
    running = hostile_world[1]
    with Raw(running) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"".join(b"X-%d: %s\r\n" % (i, b"v" * i) for i in range(40)) + LENGTH):
            raw.send(bytes([byte]))
        raw.send(get(b"X:   \t padded \t \r\nEmpty:\r\n") * 3 + get(b"Connection: close\r\n"))
        assert raw.rest().count(b"HTTP/1.1 200 OK") == 5


# ---- slow and many


def test_slow_headers_slow_bodies_and_silence_are_cut(replica):
    with serving(replica(NOTE, "note"), header_timeout=0.5, body_timeout=0.5, idle_timeout=0.5) as running:

        def lasts(start, drop):
            """Seconds until a client is cut that sends `start` and then one byte after the other."""
            with Raw(running, timeout=0.05) as raw:
                raw.send(start)
                began = time.monotonic()
                while time.monotonic() - began < 5:
                    with contextlib.suppress(TimeoutError):
                        try:
                            raw.socket.sendall(drop)
                            if not raw.socket.recv(4096) or not drop:
                                break
                        except ConnectionError:
                            break
                return time.monotonic() - began

        for start in (b"", b"GET /health", b"GET /health HTTP/1.1\r\nX: ", b"GET /health HTTP/1.1\r\nHost: x\r\n"):
            assert lasts(start, b"a") < 2, start
        assert lasts(post(b"Content-Length: 5000\r\n", b""), b" ") < 2
        assert lasts(post(CHUNKED, b"1000\r\n"), b" ") < 2
        for start in (b"", b"G", get()):  # the last: nothing follows an answered request
            with Raw(running, timeout=5) as raw:
                raw.send(start)
                raw.rest()
        assert ask(running, "/health")[0] == 200


def test_an_honest_slow_body_is_taken(replica):
    with serving(replica(NOTE, "note"), body_timeout=0.4) as running, Raw(running) as raw:
        raw.send(post(b"Connection: close\r\nContent-Length: %d\r\n" % (len(CLIENT) + 3000), CLIENT))
        for _ in range(15):
            raw.send(b" " * 200)
            time.sleep(0.1)
        assert status_of(raw.rest()) == 200


def test_too_many_requests_and_connections_are_told_so(replica):
    db = replica(NOTE, "note")
    with serving(db, rate=1) as running:
        answers = [ask(running, "/health")[:2] for _ in range(15)]
        assert [status for status, _ in answers[:2]] == [200] * 2
        refused = [headers for status, headers in answers if status == 429]
        assert refused and refused[0]["Retry-After"] == "1"
    with serving(db, max_per_address=3) as running, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Raw(running)).send(b"GET")
        time.sleep(0.2)
        assert ask(running, "/health")[0] == 429


def test_a_full_queue_answers_503_and_nothing_is_lost(replica):
    db = replica(NOTE, "note")
    with serving(db, queue=2) as running, contextlib.closing(sqlite3.connect(db.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        statuses = []
        threads = [
            threading.Thread(target=lambda: statuses.append(ask(running, "/sync/clients", "POST", CLIENT)[0]))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert statuses.count(503) >= 4
        writer.rollback()
        for thread in threads:
            thread.join()
        assert sorted(set(statuses)) == [200, 503]
    assert [client.origin for client in db.clients()] == ["device"]


def test_stopping_lets_a_running_request_finish(replica):
    db = replica(NOTE, "note")
    with contextlib.closing(sqlite3.connect(db.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with serving(db) as running:
            status = []
            thread = threading.Thread(target=lambda: status.append(ask(running, "/sync/clients", "POST", CLIENT)[0]))
            thread.start()
            time.sleep(0.3)
            closing = threading.Thread(target=running.close)
            closing.start()
            time.sleep(0.3)
            assert not status
            writer.rollback()
            closing.join()
        thread.join()
    assert status == [200]


# ---- who may


def test_tokens_in_a_file_are_added_revoked_and_expire(pair, tmp_path):
    server, client = pair
    file = str(tmp_path / "tokens.json")
    with serving(server, tokens=file) as running:
        assert ask(running, "/sync/state")[0] == 401  # an empty file lets nobody in, not even from here
        token = csync._csync.token_add(file, client.origin, None, 3, 0, ())
        reader = csync._csync.token_add(file, None, "main", 1, 0, ())
        old = csync._csync.token_add(file, None, None, 3, 1, ())
        assert os.stat(file).st_mode & 0o777 == 0o600
        text = pathlib.Path(file).read_text()
        assert not any(t.split("_")[2] in text for t in (token, reader, old))
        running.reload()
        put(client, 9)
        assert client.sync(running.url, token=token).pushed == 1
        assert server.hash() == client.hash()
        header = {"Authorization": f"Bearer {reader}"}
        assert ask(running, "/sync/state", headers=header)[0] == 200
        body = json.dumps({"OriginId": "x", "Changes": []}).encode()
        assert ask(running, "/sync/changes", "POST", body, header)[0] == 403
        assert ask(running, "/sync/state", headers={"Authorization": f"Bearer {old}"})[0] == 401
        shown = json.loads(csync._csync.token_list(file))
        assert [t["may"] for t in shown] == ["both", "read", "both"] and "hash" not in shown[0]
        csync._csync.token_revoke(file, shown[1]["id"])
        running.reload()
        assert ask(running, "/sync/state", headers=header)[0] == 401
        with pytest.raises(csync.NotFound):
            csync._csync.token_revoke(file, "nobody")
        pathlib.Path(file).write_text('{"tokens":[{}]}')
        with pytest.raises(csync.InvalidValue, match="id, hash and may"):
            running.reload()
        assert ask(running, "/sync/state", headers={"Authorization": f"Bearer {token}"})[0] == 200


def test_pages_of_named_origins_may_ask_and_no_others(replica):
    with serving(replica(NOTE, "note"), origins=["https://app.example"]) as running:
        headers = {"Origin": "https://app.example"}
        status, given, _ = ask(running, "/sync/state", headers=headers)
        assert (status, given["Access-Control-Allow-Origin"], "Origin" in given.get_all("Vary")) == (200, "https://app.example", True)
        preflight = {**headers, "Access-Control-Request-Method": "POST"}
        status, given, _ = ask(running, "/sync/changes", "OPTIONS", headers=preflight)
        assert status == 204 and "Authorization" in given["Access-Control-Allow-Headers"]
        status, given, _ = ask(running, "/health", "OPTIONS", headers={"Origin": "https://other.example"})
        assert status >= 400 and given["Access-Control-Allow-Origin"] is None


def test_the_log_names_the_request_and_no_secret(replica, tmp_path):
    secret = "secret-of-the-token"
    with open(tmp_path / "log", "w+") as log:
        with serving(replica(NOTE, "note"), log=log, grants=[csync.Grant(secret, client="phone")]) as running:
            ask(running, f"/sync/state?x={secret}", headers={"Authorization": f"Bearer {secret}"})
            ask(running, "/%0aforged")
            ask(running, "/sync/state?connectionString=password")
        text = (tmp_path / "log").read_text()
    lines = text.splitlines()
    assert len(lines) == 3 and secret not in text and "password" not in text
    assert " 127.0.0.1 GET /sync/state main 200 " in lines[0] and lines[0].endswith(" phone")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True,
        capture_output=True,
    )
    return files


def test_prometheus_is_told_what_was_counted(replica):
    secret = {"Authorization": "Bearer " + "x" * 32}
    with serving(replica(NOTE, "note"), grants=[csync.Grant("x" * 32, may=("read",))]) as running:
        assert ask(running, "/metrics")[0] == 401
        request = urllib.request.Request(running.url + "/metrics", headers=secret)
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.headers["Content-Type"].startswith("text/plain")
            text = response.read().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["csync_requests_total"] == "2" and values["csync_refused_total"] == "1"
    assert values['csync_waiting{database="main",for="readers"}'] == "0"
    assert values['csync_streams{database="main"}'] == "0"


def test_tls_with_a_certificate(pair, certificate, monkeypatch):
    server, client = pair
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with serving(server, tls=certificate, grants=[csync.Grant("x" * 32)]) as running:
        assert running.url.startswith("https://")
        assert client.sync(running.url, token="x" * 32).pulled == 3
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(address(running)) as plain, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(plain)
    with pytest.raises(csync.NotFound, match="cannot be read"):
        csync.serve(server, listen="127.0.0.1:0", tls=("/no/cert", "/no/key"))
    with pytest.raises(csync.Error, match="certificate"):
        csync.serve(server, listen="127.0.0.1:0", tls=(certificate[1], certificate[0]))
