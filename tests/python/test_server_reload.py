"""New certificates and tokens without a new start, over real TLS."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import threading

import pytest

import csync
from note_table import NOTE
from serving import address, serving, until
from test_protocol import put

TOKEN = "x" * 32


def make_certificate(folder, name):
    files = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True,
        capture_output=True,
    )
    return files


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, "old"), make_certificate(folder, "new")


@pytest.fixture
def files(certificates, tmp_path):
    """Certificate and key, as a server reads them: the old ones at first."""
    made = tmp_path / "cert.pem", tmp_path / "key.pem"
    install(certificates[0], made)
    return made


def install(certificate, files):
    for source, target in zip(certificate, files):
        shutil.copy(source, target)


@contextlib.contextmanager
def trusting(server, certificate):
    """A connection that trusts this certificate alone."""
    context = ssl.create_default_context(cafile=certificate[0])
    with contextlib.closing(http.client.HTTPSConnection(*address(server), timeout=10, context=context)) as connection:
        yield connection


def answer(connection, path="/health", **headers):
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status, response.getheader("Connection")


def threads():
    return len(os.listdir("/proc/self/task"))


def test_whoever_connects_after_a_reload_gets_the_new_certificate(replica, certificates, files):
    old, new = certificates
    with serving(replica(NOTE, "note"), tls=files, grants=[csync.Grant(TOKEN)], idle_timeout=1) as running:
        with trusting(running, old) as before, trusting(running, old) as streaming:
            assert answer(before) == (200, None)
            streaming.request("GET", "/sync/subscribe", headers={"Authorization": f"Bearer {TOKEN}"})
            stream = streaming.getresponse()
            assert stream.readline() == b"retry: 2000\n"
            running.reload()  # nothing new: nobody is sent away but streams
            assert b"event: bye" in stream.read()
            assert answer(before) == (200, None)
            at_first = threads()
            install(new, files)
            running.reload()
            with trusting(running, new) as after:
                assert answer(after) == (200, None)
            with trusting(running, old) as late, pytest.raises(ssl.SSLCertVerificationError):
                answer(late)
            assert answer(before) == (200, "close")  # whoever was there is answered, and comes again
        until(lambda: threads() == at_first, 20)  # what had the old certificate has ended
        with trusting(running, new) as after:
            assert answer(after) == (200, None)


def test_requests_during_reloads_are_all_answered(replica, certificates, files):
    db = replica(NOTE, "note")
    context = ssl.create_default_context(cafile=certificates[0][0])
    context.load_verify_locations(certificates[1][0])
    statuses, ending = [], threading.Event()

    def ask(running):
        while not ending.is_set():
            with contextlib.closing(http.client.HTTPSConnection(*address(running), timeout=10, context=context)) as one:
                statuses.extend(answer(one, "/sync/state", Authorization=f"Bearer {TOKEN}")[0] for _ in range(1))

    with serving(db, tls=files, grants=[csync.Grant(TOKEN)], rate=-1, idle_timeout=1) as running:
        clients = [threading.Thread(target=ask, args=(running,)) for _ in range(3)]
        for client in clients:
            client.start()
        for i in range(6):
            install(certificates[(i + 1) % 2], files)
            running.reload()
            until(lambda: len(statuses) > 5 * (i + 1))
        ending.set()
        for client in clients:
            client.join()
    assert set(statuses) == {200}


def test_a_reload_that_fails_leaves_certificate_and_tokens_as_they_were(replica, certificates, files, tmp_path):
    old, new = certificates
    tokens = str(tmp_path / "tokens.json")
    first = csync._csync.token_add(tokens, None, None, 3, 0, ())
    with serving(replica(NOTE, "note"), tls=files, tokens=tokens) as running:
        second = csync._csync.token_add(tokens, None, None, 3, 0, ())
        shutil.copy(new[0], files[0])  # with the old one's key
        with pytest.raises(csync.Error, match="certificate"):
            running.reload()
        files[0].unlink()
        with pytest.raises(csync.NotFound, match="cert.pem cannot be read"):
            running.reload()
        with trusting(running, old) as connection:
            assert answer(connection, "/sync/state", Authorization=f"Bearer {first}") == (200, None)
            assert answer(connection, "/sync/state", Authorization=f"Bearer {second}")[0] == 401
        install(new, files)
        pathlib.Path(tokens).write_text("{")
        with pytest.raises(csync.InvalidValue):
            running.reload()
        with trusting(running, old) as connection:
            assert answer(connection)[0] == 200


def test_sighup_brings_the_new_certificate_and_the_new_token(replica, certificates, files, tmp_path, monkeypatch):
    db, client = replica(NOTE, "note"), replica(NOTE, "note")
    put(db, 1)
    tokens = str(tmp_path / "tokens.json")
    csync._csync.token_add(tokens, None, None, 3, 0, ())
    command = [sys.executable, "-P", "-m", "csync", "serve", str(db.path), "--listen", "127.0.0.1:0", "--quiet"]
    command += ["--tokens", tokens, "--tls-cert", str(files[0]), "--tls-key", str(files[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            install(certificates[1], files)
            token = csync._csync.token_add(tokens, None, None, 3, 0, ())
            process.send_signal(signal.SIGHUP)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificates[1][0]))

            def came():
                with contextlib.suppress(csync.AuthError, csync.NetworkError):
                    return client.sync(url, token=token)

            until(came)
        finally:
            process.terminate()
    assert client.hash() == db.hash()
