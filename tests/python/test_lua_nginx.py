"""A replica in nginx with the Lua module: the REST API in a location, and syncs that leave the worker free for others.

Debian's module does not load with Debian's LuaJIT, and the LuaJIT that it loads with cannot be installed beside it: its
packages are unpacked into a folder of the test's own.
"""

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

import csync
from lua_hosts import EXAMPLES, ROOT, environment, needs

PACKAGES = (
    "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "libluajit2-5.1-2", "libluajit2-5.1-common", "lua-resty-core",
    "lua-resty-lrucache", "libpcre3",
)  # fmt: skip
ROWS = 50000
SLOWEST_PING_MS = 50
TABLE = "CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, title TEXT, body TEXT)"


@pytest.fixture(scope="module")
def unpacked():
    """The folder with the Lua module of nginx, kept in build/ for the next time."""
    nginx, folder = needs("nginx", "jit"), ROOT / "build" / "nginx"
    if not (folder / "root/usr/share/lua/5.1/resty/core.lua").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        done = subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"NOT TESTED: the packages of nginx's Lua module cannot be had: {done.stderr.strip()[-200:]}")
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder / "root"], check=True)
    return nginx, folder / "root"


def database(path, rows):
    with csync.open(path) as db:
        db.execute(TABLE)
        db.track("note")
        if rows:
            db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                "INSERT INTO note SELECT i, 'note ' || i, 'some text' FROM n",
                (rows,),
            )


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self._path)


def get(folder, path, method="GET", body=None, name="socket"):
    with contextlib.closing(Connection(folder / name)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read().decode()


@contextlib.contextmanager
def running(unpacked, folder, name, conf):
    nginx, root = unpacked
    (folder / f"{name}.conf").write_text(conf)
    library = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"
    command = [nginx, "-p", folder, "-c", folder / f"{name}.conf", "-e", "stderr"]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, env=environment("jit", LD_LIBRARY_PATH=library), stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                if get(folder, "/ping", name="peer.socket" if name == "peer" else "socket")[0] == 200:
                    break
            assert process.poll() is None, (folder / f"{name}.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def configuration(unpacked, folder):
    text = (EXAMPLES / "nginx" / "nginx.conf").read_text()
    words = {
        "ROOT": unpacked[1], "FOLDER": folder, "CSYNC": ROOT / "bindings/lua", "EXAMPLE": EXAMPLES / "nginx",
        "MODULE": ROOT / "build/lua/jit",
    }  # fmt: skip
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    if os.getuid() == 0:
        text = f"user root;\n{text}"
    return text


@pytest.fixture
def server(unpacked, tmp_path_factory):
    """The folder of a running nginx and of its peer, a second one that serves the same API."""
    # A socket's path has to be short; and in memory, so that the slowest /ping does not tell of the disk's load.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    folder = pathlib.Path(place) / f"csync-nginx-{tmp_path_factory.mktemp('n').parent.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    database(folder / "main.db", 0)
    database(folder / "peer.db", ROWS)
    main = configuration(unpacked, folder)
    peer = main.replace("main.db", "peer.db").replace(f"{folder}/socket", f"{folder}/peer.socket").replace("nginx.pid", "peer.pid")
    with running(unpacked, folder, "peer", peer), running(unpacked, folder, "main", main):
        yield folder
    shutil.rmtree(folder)


def slowest_ping(folder, path):
    """Milliseconds, while `path` is asked; and its answer."""
    answers, slowest = [], 0.0
    asking = threading.Thread(target=lambda: answers.append(get(folder, path)))
    with contextlib.closing(Connection(folder / "socket")) as connection:
        connection.request("GET", "/ping")
        connection.getresponse().read()
        asking.start()
        while asking.is_alive():
            before = time.perf_counter()
            connection.request("GET", "/ping")
            assert connection.getresponse().read() == b"pong\n"
            slowest = max(slowest, time.perf_counter() - before)
            time.sleep(0.002)
    return slowest * 1000, answers[0]


@pytest.mark.alone
@pytest.mark.parametrize("way", ["thread", "steps"])
def test_others_are_answered_while_a_sync_runs(server, way, figure):
    slowest, (status, answer) = slowest_ping(server, f"/pull/{way}")
    assert status == 200, (server / "main.log").read_text()
    assert re.search(rf"pulled={ROWS}\b", answer), answer
    figure(f"nginx's slowest /ping while {ROWS} rows came by {way}: {slowest:.1f} ms")
    assert slowest < SLOWEST_PING_MS
    with csync.open(server / "main.db") as main, csync.open(server / "peer.db") as peer:
        assert main.hash() == peer.hash()


def test_the_rest_api_is_served(server):
    assert get(server, "/health")[0] == 200
    status, body = get(server, "/sync/state")
    assert status == 200 and '"origin"' in body
    with csync.open(":memory:") as db:
        db.execute(TABLE)
        db.track("note")
        db.execute("INSERT INTO note VALUES (100001, 'pushed', 'x')")
        status, body = get(server, "/sync/changes", "POST", db.changes().to_json())
        assert status == 200, body
        assert csync.Outcomes.from_json(body)[0].status == "applied"
        status, body = get(server, "/sync/changes?fromVersion=0&batchSize=10")
        db.apply(csync.Batch.from_json(body))
    assert get(server, "/sync/nowhere")[0] == 404
