"""A way to a server that is bad in a way that can be said: it cuts, repeats, delays, trickles, or falls silent."""

import contextlib
import random
import socket
import struct
import threading
import time

RESET = struct.pack("ii", 1, 0)


class Network:
    """Forwards TCP. `url` leads through it; what is wrong with it are attributes, which may be set at any time.

    cut_up, cut_down   after so many bytes more to or from the server, the connections are reset; then all is well again
    twice              the server gets each request twice, first over a connection whose answer is lost
    delay              seconds, at most, that each piece is held back, by chance
    trickle            seconds between two bytes from the server; None: they come as they come
    silent             nothing comes from the server any more
    up, down           bytes that have gone each way
    accepted           connections so far
    """

    def __init__(self, url, seed=1):
        scheme, _, rest = url.partition("://")
        host, _, port = rest.partition(":")
        self.server = host, int(port)
        self.cut_up = self.cut_down = self.trickle = None
        self.twice = self.silent = False
        self.delay = 0.0
        self.up = self.down = self.accepted = 0
        self._rng = random.Random(seed)
        self._open = set()
        self._lock = threading.Lock()
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.silent = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)

    def drop(self):
        """Resets every connection there is."""
        with self._lock:
            dropped, self._open = self._open, set()
        for one in dropped:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                try:
                    server = socket.create_connection(self.server)
                except OSError:
                    client.close()
                    continue
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                self._start(self._pump, client, server, "up")
                self._start(self._pump, server, client, "down")

    def _pump(self, source, target, way):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self._rng.uniform(0, self.delay))
                if way == "up" and self.twice:
                    self._ask_before(data)
                if way == "down":
                    while self.silent:
                        time.sleep(0.01)
                if not self._send(data, target, way):
                    break
        for one in (source, target):
            with self._lock:
                mine = one in self._open
                self._open.discard(one)
            if mine:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _ask_before(self, data):
        with socket.create_connection(self.server) as other:
            other.sendall(data)
            other.recv(1)

    def _send(self, data, target, way):
        left = getattr(self, f"cut_{way}")
        if left is not None and left <= len(data):
            setattr(self, f"cut_{way}", None)
            target.sendall(data[:left])
            self.drop()
            return False
        if left is not None:
            setattr(self, f"cut_{way}", left - len(data))
        setattr(self, way, getattr(self, way) + len(data))
        if way == "up" or self.trickle is None:
            target.sendall(data)
            return True
        for n in range(len(data)):
            target.sendall(data[n : n + 1])
            time.sleep(self.trickle)
        return True
