"""Subscribers of an event stream, as many as are wanted, in one thread."""

import selectors
import sys

from servers import connect

PATIENCE = 60.0  # seconds for the next byte


class Audience:
    """Connections that are told the same, a few of which come at a time. Only the first one's bytes are kept; of the
    others, what they counted."""

    def __init__(self, port, request, greeting, count):
        self.selector = selectors.DefaultSelector()
        self.sockets, self.counts, self.tails = [], [], []
        self.heard = bytearray()
        for _ in range(count):
            self._add(port, request)
            if len(self.sockets) % 32 == 0 or len(self.sockets) == count:
                self.wait(greeting, 1)
                self.counts = [1] * len(self.counts)

    def _add(self, port, request):
        made = connect(port)
        made.sendall(request)
        made.setblocking(False)
        self.selector.register(made, selectors.EVENT_READ, len(self.sockets))
        self.sockets.append(made)
        self.counts.append(0)
        self.tails.append(b"")

    def forget(self):
        self.counts = [0] * len(self.counts)
        self.tails = [b""] * len(self.tails)

    def close(self):
        self.selector.close()
        for each in self.sockets:
            each.close()

    def _receive(self, made, i, mark):
        try:
            data = made.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            sys.exit("the server hung up on a subscriber")
        if i == 0:
            self.heard += data
        data = self.tails[i] + data
        self.counts[i] += data.count(mark)
        self.tails[i] = data[len(data) - len(mark) + 1 :]

    def wait(self, mark, count):
        """Until each has heard `mark` so many times."""
        while min(self.counts) < count:
            ready = self.selector.select(PATIENCE)
            if not ready:
                sys.exit(f"subscribers heard {min(self.counts)} of {count} messages")
            for key, _ in ready:
                self._receive(key.fileobj, key.data, mark)
