"""What 1,000 changes weigh on the wire, plain, in gzip and in zstd, and what the server spends on it.

    .venv/bin/python bench/bench_wire.py

Notes of some length in a table of five columns, pulled as a page and pushed as a batch through csync's own server.
Bytes are those of the sockets, headers included; CPU is this process' (server and client), the median of ROUNDS.
"""

import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "shared"))
import csync
import notes
from csync import _csync

CHANGES, ROUNDS = 1000, 15


class Counting(http.client.HTTPConnection):
    """Counts the bytes of its socket."""

    sent = received = 0

    def send(self, data):
        self.sent += len(data)
        super().send(data)

    def ask(self, method, target, headers, body=None):
        self.sent = 0
        self.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            self.putheader(name, value)
        if body is not None:
            self.putheader("Content-Length", str(len(body)))
        self.endheaders(body)
        response = self.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        head = sum(len(name) + len(value) + 4 for name, value in response.getheaders())
        self.received = len(answer) + head + len("HTTP/1.1 200 OK\r\n\r\n")
        return answer


def measured(work):
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return statistics.median(spent) * 1e6


def main():
    with (
        tempfile.TemporaryDirectory() as folder,
        notes.fill(Path(folder) / "full.db", CHANGES) as db,
        notes.empty(Path(folder) / "other.db") as other,
    ):
        changes = json.loads(db.changes(0, CHANGES).to_json())["changes"]
        batch = json.dumps({"changes": changes}, separators=(",", ":")).encode()
        with csync.serve({"full": db, "other": other}, listen="127.0.0.1:0", rate=-1) as server:
            host, port = server.url.removeprefix("http://").split(":")
            with contextlib.closing(Counting(host, int(port))) as connection:
                print(f"{CHANGES} changes, {len(batch)} bytes of JSON")
                print(f"{'':9}{'pull: bytes':>12}{'':>8}{'CPU us':>8}{'push: bytes':>13}{'':>8}{'CPU us':>8}")
                base = None
                for coding in ("identity", "gzip", "zstd"):
                    pull_headers = {"Accept-Encoding": coding}
                    body = batch if coding == "identity" else _csync.encode(coding, batch)
                    push_headers = {"Content-Type": "application/json", "Content-Encoding": coding}
                    target = f"/sync/changes?fromVersion=0&batchSize={CHANGES}&db=full"
                    pull = measured(lambda: connection.ask("GET", target, pull_headers))
                    pulled = connection.received
                    push = measured(lambda: connection.ask("POST", "/sync/changes?db=other", push_headers, body))
                    base = base or (pulled, connection.sent)
                    print(
                        f"{coding:9}{pulled:12}{pulled / base[0]:8.1%}{pull:8.0f}"
                        f"{connection.sent:13}{connection.sent / base[1]:8.1%}{push:8.0f}"
                    )


if __name__ == "__main__":
    main()
