"""What the tests of the server share: running ones, raw connections, requests, and subscribers."""

import contextlib
import http.client
import json
import socket
import time
import urllib.error
import urllib.request

import csync

CLIENT = b'{"originId":"device","lastSyncVersion":0}'


@contextlib.contextmanager
def serving(databases, **options):
    with csync.serve(databases, listen="127.0.0.1:0", **options) as server:
        yield server


def address(server):
    host, port = server.url.split("//")[1].split(":")
    return host, int(port)


class Raw:
    """A connection that sends what it is told to."""

    def __init__(self, server, timeout=10.0):
        self.socket = socket.create_connection(address(server), timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.socket.close()

    def send(self, data):
        with contextlib.suppress(ConnectionError):  # it may have answered already
            self.socket.sendall(data)

    def rest(self):
        """What comes until the server closes."""
        out = b""
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(65536):
                out += data
        return out


def status_of(answer):
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def ask(server, target, method="GET", body=None, headers=None, timeout=10):
    """Status, headers, and document."""
    request = urllib.request.Request(server.url + target, body, headers or {}, method=method)
    if body is not None and not request.has_header("Content-type"):
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.headers, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.loads(error.read() or b"null")


class Stream:
    """A subscriber: events one by one, as (event, id, data)."""

    def __init__(self, server, query="", headers=(), timeout=10):
        self.http = http.client.HTTPConnection(*address(server), timeout=timeout)
        self.http.request("GET", f"/sync/subscribe{query}", headers=dict(headers))
        self.response = self.http.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.getheader("Content-Type") == "text/event-stream"
        self.opened = self.next()
        assert self.opened[0] == "connected"
        self.id = self.opened[2]["subscriptionId"]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.response.close()
        self.http.close()

    def lines(self):
        """One block of lines; empty at the end of the stream."""
        block = []
        while line := self.response.readline():
            line = line.rstrip(b"\n").decode()
            if not line:
                return block
            block.append(line)
        return block

    def next(self):
        while block := self.lines():
            fields = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
            if "event" in fields:
                return fields["event"], fields.get("id"), json.loads(fields["data"])
        return None

    def keys(self, count):
        """Keys of the next so many changes."""
        events = [self.next() for _ in range(count)]
        assert {event for event, _, _ in events} == {"change"}
        return [json.loads(data["pkValue"])["id"] for _, _, data in events]


def until(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# ---- requests as bytes


def post(headers, body=CLIENT):
    start = b"POST /sync/clients HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return start + headers + b"\r\n" + body


def get(headers=b"", target=b"/health", version=b"HTTP/1.1"):
    return b"GET " + target + b" " + version + b"\r\nHost: localhost\r\n" + headers + b"\r\n"


LENGTH = b"Content-Length: %d\r\n" % len(CLIENT)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CLIENT), CLIENT)
