"""CPU of the server for each request, over what nginx (one worker) spends to send the very same bytes from a file.

    .venv/bin/python bench/bench_http.py

A page of 1,000 changes that csync reads from its database, a document of like size that csync has in memory, and /health;
each over one connection that is kept, a request after the last answer. Wall time does not count, nor does the client's
CPU. BENCH_CHANGES: changes of the page (1000); BENCH_REPS: requests in a round (2000, pages a tenth); BENCH_ROUNDS: rounds
in which both take turns (5), of which the least counts.
"""

import contextlib
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent / "shared"))
import notes
from servers import connect, csync_server, nginx, setting

CHANGES, REPS, ROUNDS = setting("BENCH_CHANGES", 1000), setting("BENCH_REPS", 2000), setting("BENCH_ROUNDS", 5)
TARGETS = (
    (f"{CHANGES} changes, from the database", f"/sync/changes?fromVersion=0&batchSize={CHANGES}", max(REPS // 10, 1)),
    ("a document in memory", "/openapi.json", REPS),
    ("/health", "/health", REPS),
)


class Client:
    """One connection. No more work than it takes to know where an answer ends."""

    def __init__(self, port):
        self.socket = connect(port)
        self.buffer = bytearray(4 << 20)

    def ask(self, target):
        """The body."""
        self.socket.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target.encode())
        got, head, size = 0, -1, 0
        while head < 0 or got < size:
            count = self.socket.recv_into(memoryview(self.buffer)[got:])
            if not count:
                sys.exit("the server hung up")
            got += count
            if head < 0 and (head := self.buffer.find(b"\r\n\r\n", 0, got)) >= 0:
                lines = bytes(self.buffer[:head]).lower().split(b"\r\n")
                if b" 200 " not in lines[0] + b" ":
                    sys.exit(f"{target}: {lines[0].decode()}")
                size = head + 4 + next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        return bytes(self.buffer[head + 4 : size])


def spent(server, client, target, reps):
    """Microseconds a request."""
    before = server.cpu()
    for _ in range(reps):
        client.ask(target)
    return (server.cpu() - before) / reps * 1e6


def compare(name, ours, theirs, target, reps, folder):
    """What csync answers becomes the file that nginx sends."""
    (server, client), (other, other_client) = ours, theirs
    body = client.ask(target)
    (folder / "same.json").write_bytes(body)
    if other_client.ask("/same.json") != body:
        sys.exit("nginx does not send the same bytes")
    times = [
        (spent(server, client, target, reps), spent(other, other_client, "/same.json", reps)) for _ in range(ROUNDS)
    ]
    mine, its = (min(column) for column in zip(*times))
    print(f"{name:<34}{len(body):>9} bytes: csync {mine:8.1f} us, nginx {its:7.1f} us, ratio {mine / its:6.2f}")
    (folder / "same.json").unlink()


def main():
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        notes.fill(folder / "main.db", CHANGES).close()
        server = stack.enter_context(csync_server(folder, folder / "main.db"))
        for name, target, reps in TARGETS:  # a new nginx: it keeps files that it has opened
            with nginx(folder) as other:
                compare(name, (server, Client(server.port)), (other, Client(other.port)), target, reps, folder)


if __name__ == "__main__":
    main()
