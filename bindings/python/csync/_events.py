"""Following the event stream of a replica behind a URL: what is asked, what comes, when to ask again. No I/O."""

import random
import time
import urllib.parse
from collections import deque

from csync import _csync, _errors, _peer
from csync._json import dump_row

HEARTBEAT = 60.0  # seconds without a byte: three times the server's own interval
RETRY = 2.0  # seconds, until the stream says otherwise
EVENT_MAX = 64 << 20  # bytes of one event
DIGITS = 12  # of a time to wait: longer ones are none


class Events:
    """Reads text/event-stream. `retry`: the seconds that it wishes for, or None."""

    def __init__(self):
        self.retry = None
        self._rest = bytearray()
        self._may_be_split = False  # what came last is a CR, whose LF may be on its way

    def feed(self, data):
        """Yields (event, id, data) for each event that is complete now."""
        blocks = self._blocks(data)
        if len(self._rest) > EVENT_MAX:
            raise _errors.ProtocolError("the stream has an event without an end")
        for block in blocks:
            fields = {"event": "message", "id": None}
            lines = []
            for line in block.decode("utf-8", "replace").split("\n"):
                name, _, value = line.partition(":")
                if name == "data":
                    lines.append(value.removeprefix(" "))
                elif name == "retry":
                    if len(value) < DIGITS and value.strip().isdecimal():
                        self.retry = int(value) / 1000
                elif name:
                    fields[name] = value.removeprefix(" ")
            if lines:
                yield fields["event"], fields["id"], "\n".join(lines)

    def _blocks(self, data):
        """What stands between empty lines, as far as it is complete. Lines end in LF, CR LF or CR."""
        was_split, self._may_be_split = self._may_be_split, data.endswith(b"\r") or (self._may_be_split and not data)
        if was_split and data.startswith(b"\n"):
            data = data[1:]
        known = max(len(self._rest) - 1, 0)
        self._rest += data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._rest.find(b"\n\n", known) < 0:  # an event that comes in many pieces is looked through once
            return []
        *blocks, self._rest = self._rest.split(b"\n\n")
        return blocks


class Follower:
    """What a subscription knows, whoever does its I/O.

    server  the _peer.Server
    ready   a deque: Changes that came, and FullResyncRequired where some were missed
    id      of the open stream; None: it is not open
    """

    def __init__(self, url, table, pk, since, token):
        if pk is not None and table is None:
            raise _errors.InvalidValue("pk is the key of a row, so it needs a table")
        if pk is not None and not isinstance(pk, str):
            pk = dump_row(pk)
        self.server = _peer.Server(url, token)
        self.ready = deque()
        self.id = None
        self._query = [("tableName", table), ("pkValue", pk)]
        self._received = since
        self._events = None
        self._failures = 0
        self._was_open = self._is_greeted = False

    def request(self):
        """A Message: opens the stream behind what was received."""
        self._events = Events()
        self._is_greeted = False
        headers = [("Accept", "text/event-stream")]
        if self._received is not None:
            headers.append(("Last-Event-ID", str(self._received)))
        return self.server.message("GET", "/sync/subscribe", self._query, headers)

    def farewell(self):
        """A Message: ends the stream; None: there is none."""
        if self.id is None:
            return None
        return self.server.message("DELETE", f"/sync/subscribe/{urllib.parse.quote(self.id, safe='')}")

    def feed(self, data):
        """Takes what the body of the response has brought. True: the server says goodbye."""
        for event, _, text in self._events.feed(data):
            if event == "change":
                self._take(text)
            elif event == "connected":
                self._greet(text)
            elif event == "resync":
                self._miss(text)
            elif event == "bye":
                return True
        return False

    def _take(self, text):
        try:
            changes = list(_csync.Batch.from_json(f'{{"changes":[{text}]}}'))
        except _errors.InvalidValue as why:
            raise _errors.ProtocolError(f"{self.server.name} sent a malformed change: {why}") from None
        if len(changes) != 1:
            raise _errors.ProtocolError(f"{self.server.name} sent a malformed change: an event is one, not {len(changes)}")
        self.ready.extend(changes)
        self._received = changes[-1].version

    def _version(self, text):
        """The document of an event, and the version in it."""
        found = _peer.document(text)
        version = found.get("version")
        if type(version) is not int or version < 0:
            raise _errors.ProtocolError(f"{self.server.name} sent a malformed event: it has no version")
        return found, version

    def _greet(self, text):
        greeting, version = self._version(text)
        known = greeting.get("subscriptionId")
        self.id = known if isinstance(known, str) else None
        self._was_open = self._is_greeted = True
        self._failures = 0
        if self._received is None:
            self._received = version

    def _miss(self, text):
        _, version = self._version(text)
        missed = _errors.FullResyncRequired(f"{self.server.name}: changes were missed; pull, then go on")
        missed.client_version, missed.oldest_version = self._received, version
        self._received = version
        self.ready.append(missed)

    def refused(self, answer):
        """The stream was not opened: the seconds until the next attempt, or raises what is wrong for good."""
        failure = self.server.failure(answer)
        if answer.status not in (429, 502, 503, 504):
            raise failure
        return self._failed(failure, answer.headers.get("Retry-After"))

    def lost(self, why=None):
        """The stream has ended: the seconds until the next attempt. Raises NetworkError if it never was there."""
        self.id = None
        if self._is_greeted:
            wished = self._events.retry
            return random.uniform(0, RETRY if wished is None else min(wished, _peer.LONGEST_WAIT))
        why = why or "the stream ended before it began"
        return self._failed(_errors.NetworkError(f"{self.server.name} cannot be reached: {why}"), None)

    def _failed(self, failure, given):
        self._failures += 1
        if not self._was_open and self._failures >= _peer.ATTEMPTS:
            raise failure
        return min(_peer.wait(self._failures, given), _peer.LONGEST_WAIT)


class Feed:
    """What a subscription is that a subclass gives its connection to: `_connection`, of one of the kinds there are."""

    closed = True  # until all is there

    def __init__(self, url, table, pk, since, token, connection):
        self.version = since
        self._follower = Follower(url, table, pk, since, token)
        self._connection = connection(self._follower.server, HEARTBEAT)
        self._response = None  # of the stream, while it is open
        self._heard = 0.0  # when something came
        self._pause = 0.0  # when to connect
        self.closed = False

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__name__} {'closed' if self.closed else self._follower.server.name}>"

    def _take_one(self):
        """The first of what is ready; raises it if it is no change."""
        first = self._follower.ready.popleft()
        if isinstance(first, Exception):
            self.version = first.oldest_version
            raise first
        self.version = first.version
        return first

    def _take_all(self):
        """A Batch of the changes that are ready before something else."""
        ready = self._follower.ready
        changes = [self._take_one()]
        while ready and not isinstance(ready[0], Exception):
            changes.append(self._take_one())
        return _csync.Batch(changes)

    def _opened(self, response, body):
        """The server's answer to the request is here: the stream, or a refusal as a whole."""
        kind = response.headers.get("Content-Type") or ""
        if response.status == 200 and kind.startswith("text/event-stream"):
            self._response = response
            self._heard_more(body)
            return
        self._connection.close()
        if response.status == 200:
            raise _errors.ProtocolError(f"{self._follower.server.name} is no replica of csync: it sends no events")
        answer = _peer.Answer(response.status, response.headers, body)
        self._pause = time.monotonic() + self._follower.refused(answer)

    def _patience(self, until):
        """Seconds for the next byte."""
        silent = self._heard + HEARTBEAT
        return max((silent if until is None else min(silent, until)) - time.monotonic(), 0.001)

    def _heard_nothing(self, why):
        if time.monotonic() >= self._heard + HEARTBEAT:
            self._lose(why)

    def _heard_more(self, body):
        self._heard = time.monotonic()
        if self._follower.feed(body) or self._response.complete:
            self._lose()

    def _lose(self, why=None):
        self._response = None
        self._connection.close()
        if not self.closed:
            self._pause = time.monotonic() + self._follower.lost(why)
