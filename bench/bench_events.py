"""Server-sent events to many subscribers: the server's CPU and memory, over those of nchan in nginx (one worker).

    .venv/bin/python bench/bench_events.py

The same commits reach all subscribers from either: csync's are commits to its database; what its stream carried of each is
what is posted to nchan. As fast as they come (csync sends those of 10 ms together), and with a pause after each. Memory is
what an idle subscriber adds to the server's PSS. What the library under csync adds for a connection that is only kept open
is shown beside it. BENCH_SUBSCRIBERS (1000), BENCH_COMMITS (100), BENCH_PAUSE: milliseconds (25).
"""

import contextlib
import multiprocessing
import pathlib
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "shared"))
import notes
from audience import Audience
from servers import connect, csync_server, many_files, nginx, setting

SUBSCRIBERS, COMMITS = setting("BENCH_SUBSCRIBERS", 1000), setting("BENCH_COMMITS", 100)
PAUSE = setting("BENCH_PAUSE", 25) / 1000
NCHAN = """
  nchan_shared_memory_size 256M;"""
CHANNEL = """
    location = /events { nchan_subscriber eventsource; nchan_channel_id all; nchan_subscriber_first_message newest; }
    location = /publish { nchan_publisher; nchan_channel_id all; nchan_message_buffer_length 1000; }"""


def settled(server):
    """KiB, when they change no more."""
    last = -1
    for _ in range(20):
        if (now := server.memory()) == last:
            break
        last = now
        time.sleep(0.3)
    return now


# ---- who writes: a process of its own, so that nothing here slows it down


def commit(path, first, pause):
    """Commits of one row each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    for row in notes.rows(COMMITS, first):
        connection.execute(notes.INSERT, row)
        time.sleep(pause)
    connection.close()


def publish(port, messages, _, pause):
    """One request each over one connection."""
    publisher = connect(port)
    for message in messages:
        head = b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        publisher.sendall(head % len(message) + message)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += publisher.recv(65536)
        if not answer.startswith(b"HTTP/1.1 20"):
            sys.exit(f"nchan: {answer.decode()}")
        time.sleep(pause)
    publisher.close()


# ---- measuring


def fan_out(server, audience, mark, work, first, pause):
    """Milliseconds of CPU until all have what `work` makes, COMMITS times."""
    before = server.cpu()
    audience.forget()
    worker = multiprocessing.get_context("spawn").Process(target=work[0], args=(*work[1:], first, pause))
    worker.start()
    audience.wait(mark, COMMITS)
    worker.join()
    return (server.cpu() - before) * 1e3


def idle(server, target, greeting, count):
    """An Audience, each of which the server has greeted."""
    request = b"GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n" % target
    return Audience(server.port, request, greeting, count)


def warm(server, target, greeting):
    """What the first subscribers cost the server once is not what each costs."""
    with contextlib.closing(idle(server, target, greeting, 4)):
        return settled(server)


def measure(server, target, greeting, mark, work):
    """KiB per idle subscriber, and the CPU of both ways; and what the first one heard."""
    before = warm(server, target, greeting)
    with contextlib.closing(idle(server, target, greeting, SUBSCRIBERS)) as audience:
        memory = (settled(server) - before) / SUBSCRIBERS
        audience.heard.clear()
        fast = fan_out(server, audience, mark, work, 0, 0)
        slow = fan_out(server, audience, mark, work, COMMITS, PAUSE)
        return memory, fast, slow, bytes(audience.heard)


def kept_connections(server):
    """KiB that an idle connection adds which has asked once."""
    before = warm(server, b"/health", b"Healthy")
    with contextlib.closing(idle(server, b"/health", b"Healthy", SUBSCRIBERS)):
        return (settled(server) - before) / SUBSCRIBERS


def of_csync(folder):
    notes.empty(folder / "main.db").close()
    work = (commit, folder / "main.db")
    with csync_server(folder, folder / "main.db") as server:
        library = kept_connections(server)
    with csync_server(folder, folder / "main.db") as server:
        return library, *measure(server, b"/sync/subscribe", b"event: connected", b"event: change", work)


def of_nchan(folder, messages):
    with nginx(folder, "ngx_nchan_module.so", NCHAN, CHANNEL) as server:
        return measure(server, b"/events", b": hi", b"\ndata: ", (publish, server.port, messages))


def main():
    many_files()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        library, memory, fast, slow, heard = of_csync(folder)
        messages = [line[6:] for line in heard.splitlines() if line.startswith(b"data: ")][:COMMITS]
        its_memory, its_fast, its_slow, _ = of_nchan(folder, messages)
    print(f"{SUBSCRIBERS} subscribers, {COMMITS} commits of {len(messages[0])} bytes")
    for name, mine, its in (
        ("CPU, as fast as they come", fast, its_fast),
        (f"CPU, {PAUSE * 1000:.0f} ms apart", slow, its_slow),
    ):
        print(f"{name:<28}csync {mine:8.1f} ms, nchan {its:8.1f} ms, ratio {mine / its:5.2f}")
    print(f"{'memory of an idle one':<28}csync {memory:8.2f} KiB, nchan {its_memory:8.2f} KiB, ratio {memory / its_memory:5.2f}")
    print(f"{'beyond a kept connection':<28}csync {memory - library:8.2f} KiB of {memory:.2f} ({library:.2f}: libmicrohttpd's)")


if __name__ == "__main__":
    main()
