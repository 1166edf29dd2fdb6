"""Conversations with a server (see _peer.py), carried out by this thread with sockets."""

import contextlib
import socket
import time

from csync import _errors, _peer, _wire
from csync._model import Remote


class Connection:
    """One server; its socket is kept open between requests. One thread at a time, but interrupt() is for any."""

    def __init__(self, server, silence=None):
        self._server = server
        self._silence = _peer.SILENCE if silence is None else silence
        self._socket = None

    def close(self):
        kept, self._socket = self._socket, None
        if kept is not None:
            kept.close()

    def interrupt(self):
        """Whoever waits on it gets an OSError. The descriptor stays his: another file could get its number."""
        kept = self._socket
        if kept is not None:
            with contextlib.suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)

    def run(self, conversation):
        """Carries a conversation out and returns its result."""
        try:
            wanted = next(conversation)
            while True:
                if isinstance(wanted, float):
                    time.sleep(wanted)
                    wanted = next(conversation)
                    continue
                try:
                    answer = self.exchange(wanted)
                except OSError as why:
                    wanted = conversation.throw(why)
                else:
                    wanted = conversation.send(answer)
        except StopIteration as end:
            return end.value

    def exchange(self, message):
        was_open = self._socket is not None
        response, body = _wire.Response(), bytearray()
        try:
            self.send(message)
            while not response.complete:
                body += self.receive(response)
                if len(body) > _peer.LARGEST:
                    raise _wire.Broken("the answer does not end")
        except BaseException as why:
            self.close()
            if was_open and not response.begun and isinstance(why, ConnectionError):
                raise _peer.Stale(str(why)) from why
            raise
        if not response.reusable:
            self.close()
        return _peer.Answer(response.status, response.headers, bytes(body))

    def send(self, message):
        """Sends a request, over a new connection if need be. Each piece has the whole time."""
        if self._socket is None:
            self._socket = self._connect()
        self._socket.settimeout(self._silence)
        data = memoryview(message.data)
        try:
            while data:
                data = data[self._socket.send(data) :]
        except ConnectionError:
            pass  # it may have answered before it has read everything

    def receive(self, response, timeout=None):
        """Waits for more of a response, and returns what that adds to its body. TimeoutError: nothing came."""
        connected = self._socket
        if connected is None:
            raise _wire.Broken("the connection is closed")
        connected.settimeout(self._silence if timeout is None else timeout)
        return response.feed(connected.recv(1 << 16))

    def _connect(self):
        server = self._server
        host, port, _ = server.proxy or (server.host, server.port, None)
        made = socket.create_connection((host, port), min(self._silence, _peer.CONNECTING))
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if (ask := server.tunnel()) is not None:
                made.sendall(ask)
                self._await_tunnel(made)
            return made if server.tls is None else server.tls.wrap_socket(made, server_hostname=server.host)
        except BaseException:
            made.close()
            raise

    def _await_tunnel(self, made):
        """Byte by byte: what comes behind the headers is the server's."""
        response = _wire.Response()
        while response.status is None:
            response.feed(made.recv(1))
        if not 200 <= response.status < 300:
            raise _wire.Broken(f"the proxy answered {response.status}")


@contextlib.contextmanager
def reach(peer, token=None):
    """The Remote for `peer`: a URL of a REST API, or a Remote already. What fails for a moment is tried again, five times
    in all. NetworkError: it cannot be reached. AuthError: it wants another token. ProtocolError: it is no csync."""
    if isinstance(peer, Remote):
        yield peer
    elif isinstance(peer, str):
        server = _peer.Server(peer, token)
        with contextlib.closing(Connection(server)) as connection:
            yield Remote(
                lambda position, batch_size: connection.run(_peer.fetch(server, position, batch_size)),
                lambda batch: connection.run(_peer.send(server, batch)),
                connection.run(_peer.origin(server)),
                lambda request: connection.run(_peer.digest(server, request)),
            )
    else:
        raise TypeError(f"peer must be a csync.Replica, a URL or a csync.Remote, not {peer!r}")
