"""What csync serve spends: for each kind of request on SQLite and on PostgreSQL, for idle event streams, and for a change
that goes to all of them.

    .venv/bin/python bench/bench_server.py

The server is a process of its own, asked over one connection, so CPU is its own (and that of the database's processes
beside it), without the client's; each figure is the median of rounds. Memory is the growth of its private pages, without the
kernel's sockets. BENCH_REPS: rounds (7); BENCH_STREAMS: event streams (2000).
"""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import sqlite3
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "bench/shared")]
import csync
import notes
import pg
from audience import Audience
from servers import children, cpu_of, csync_server, many_files, setting

ROUNDS, STREAMS = setting("BENCH_REPS", 7), setting("BENCH_STREAMS", 2000)
SMALL, PAGES, EDITS, PUSHES = 200, 10, 50, 1  # requests a round
COMMITS, HEARTBEAT = 100, 20  # that go to all streams; seconds
SUBSCRIBE = b"GET /sync/subscribe HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Served:
    """A server, and a connection to it; `database` is the process whose children work for the database, if any."""

    def __init__(self, server, database=None):
        self.server, self.database = server, database
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def ask(self, method, target, body=None, **headers):
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.connection.request(method, target, body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        return answer

    def spent(self, work):
        """Microseconds of CPU: the server's, and its database's."""
        beside = {pid: cpu_of(pid) for pid in (children(self.database) if self.database else ())}
        here = self.server.cpu()
        work()
        here = self.server.cpu() - here
        return 1e6 * here, 1e6 * sum(cpu_of(pid) - before for pid, before in beside.items())

    def measured(self, count, one):
        """Of each of `count` calls of `one`."""
        found = [self.spent(lambda: [one() for _ in range(count)]) for _ in range(ROUNDS)]
        return [statistics.median(spent) / count for spent in zip(*found)]


@contextlib.contextmanager
def on_sqlite(folder):
    notes.empty(folder / "server.db").close()
    with csync_server(folder, folder / "server.db") as server:
        served = Served(server)
        with contextlib.closing(served.connection):
            yield served


@contextlib.contextmanager
def on_postgres(folder):
    with pg.server() as home:
        url = pg.url(home, "postgres")
        with contextlib.closing(pg.Session(url)) as session:
            session(notes.SCHEMA)
        with csync.open(url) as db:
            db.track("note")
        postmaster = int((home / "data" / "postmaster.pid").read_text().splitlines()[0])
        with csync_server(folder, url) as server:
            served = Served(server, postmaster)
            with contextlib.closing(served.connection):
                yield served


# ---- requests


def batches(folder, size, count):
    """Bodies of pushes, each with so many new rows."""
    path = folder / f"device{size}.db"
    path.unlink(missing_ok=True)
    with notes.fill(path, size * count, size * 1_000_000) as db:
        pages = [json.loads(db.changes(n * size, size).to_json()) for n in range(count)]
    return iter([json.dumps({"changes": page["changes"]}, separators=(",", ":")).encode() for page in pages])


def end_of_log(served):
    page = {"toVersion": 0, "hasMore": True}
    while page["hasMore"]:
        page = json.loads(served.ask("GET", f"/sync/changes?fromVersion={page['toVersion']}&batchSize=5000"))
    return page["toVersion"]


def requests(served, folder):
    """(what is asked, microseconds here, microseconds in the database's processes)"""
    for size, count in ((1000, PUSHES), (1, EDITS)):
        bodies = batches(folder, size, count * ROUNDS + 1)
        served.ask("POST", "/sync/changes", next(bodies))
        push = functools.partial(lambda of: served.ask("POST", "/sync/changes", next(of)), bodies)
        yield f"push of {size} new row{'s' * (size > 1)}", *served.measured(count, push)
    page = "/sync/changes?fromVersion=0&batchSize=1000"
    for name, count, target, coding in (
        ("GET /health, no database", SMALL, "/health", "identity"),
        ("GET /sync/state", SMALL, "/sync/state", "identity"),
        ("page with nothing new", SMALL, f"/sync/changes?fromVersion={end_of_log(served)}", "identity"),
        ("page of 1000 changes", PAGES, page, "identity"),
        ("page of 1000 in zstd", PAGES, page, "zstd"),
    ):
        one = functools.partial(served.ask, "GET", target, **{"Accept-Encoding": coding})
        for _ in range(8):  # each of the server's threads has its handle and its statements
            one()
        yield name, *served.measured(count, one)


# ---- event streams


def streams(path, served):
    """Prints what they cost."""
    port = served.server.port
    Audience(port, SUBSCRIBE, b"subscriptionId", 50).close()
    time.sleep(0.5)
    before = served.server.memory()
    audience = Audience(port, SUBSCRIBE, b"subscriptionId", STREAMS)
    with contextlib.closing(audience):
        time.sleep(1)
        print(f"{STREAMS} idle event streams: {(served.server.memory() - before) / STREAMS:.1f} KiB each")
        here, _ = served.spent(lambda: time.sleep(HEARTBEAT))
        print(f"a heartbeat, each {HEARTBEAT} s: {here / STREAMS:.1f} us of CPU for each")
        for name, pause in (("50 ms apart", 0.05), ("in a burst", 0)):
            here, _ = served.spent(functools.partial(publish, path, audience, pause))
            print(f"a change to all, {COMMITS} {name}: {here / COMMITS / STREAMS:.2f} us of CPU for each", flush=True)


def publish(path, audience, pause):
    """Another program commits; all have got it when this returns."""
    audience.forget()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [(top,)] = connection.execute("SELECT max(id) FROM note")
        for row in notes.rows(COMMITS, top + 1):
            connection.execute(notes.INSERT, row)
            time.sleep(pause)
    audience.wait(b"event: change", COMMITS)


def main():
    many_files()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = pathlib.Path(name)
        print(f"{'microseconds of CPU':38}{'csync serve':>12}{'PostgreSQL':>12}")
        for kind, place in (("SQLite", on_sqlite), ("PostgreSQL", on_postgres)):
            with place(folder) as served:
                for what, here, there in requests(served, folder):
                    beside = f"{there:12.0f}" if kind == "PostgreSQL" else ""
                    print(f"{kind + ',':12}{what:26}{here:12.0f}{beside}", flush=True)
                if kind == "SQLite":
                    streams(folder / "server.db", served)


if __name__ == "__main__":
    main()
