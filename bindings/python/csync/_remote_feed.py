"""csync.RemoteSubscription: being told of the changes of a replica behind a URL."""

import contextlib
import threading
import time
import warnings

from csync import _events, _http, _wire
from csync._errors import Misuse

GOODBYE = 5.0  # seconds that a server has for the end of a stream


class RemoteSubscription(_events.Feed):
    """Tells of the changes of a replica behind a URL. Made by csync.subscribe.

        with csync.subscribe("https://host/", "note", token=...) as feed:
            for change in feed: ...             # waits for each; Ctrl-C works
            batch = feed.next(timeout=1.5)      # a Batch, or None

    Changes come in order of version and at least once. A connection that is lost, or silent for a minute, is made again,
    for as long as it takes, and goes on behind the last change. FullResyncRequired says that some were missed: pull,
    and go on with the same subscription. An iteration ends when the subscription is closed.

    version  up to which changes were given out: the `since` to resume from; None: none yet
    closed   whether close() was called

    Use it in one thread at a time; close() is for any. Close it, or use it in a `with`.

    AuthError, NotFound, InvalidValue: the server does not let us, or there is nothing of that name. Misuse: it is closed.
    """

    def __init__(self, url, table=None, pk=None, *, since=None, token=None):
        super().__init__(url, table, pk, since, token, _http.Connection)
        self._woken = threading.Event()
        self._is_waiting = False  # a thread is, and closes the connection when it finds the subscription closed
        try:
            while self._follower.id is None:
                self._advance(None)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __del__(self, _warn=warnings.warn):
        if not self.closed:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)
            self.closed = True
            self._connection.close()

    def next(self, timeout=None):
        """The next changes, a Batch; None when there are none within `timeout` seconds (0: those that are here; None:
        wait for ever). Making a connection again may take longer."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._follower.ready:
            if self.closed:
                raise Misuse("the subscription is closed")
            if not self._advance(until) and not self._follower.ready:
                return None
        return self._take_all()

    def close(self):
        """Ends it, and tells the server; twice is fine."""
        if self.closed:
            return
        self.closed = True
        self._woken.set()
        goodbye = self._follower.farewell()
        if self._is_waiting:
            self._connection.interrupt()
        else:
            self._connection.close()
        if goodbye is not None:
            with contextlib.closing(_http.Connection(self._follower.server, GOODBYE)) as other:
                with contextlib.suppress(OSError):  # it notices anyway
                    other.exchange(goodbye)

    def __iter__(self):
        return self

    def __next__(self):
        while not self._follower.ready:
            if self.closed:
                raise StopIteration
            self._advance(None)
        return self._take_one()

    # ---- One thing at a time

    def _advance(self, until):
        """Waits, connects, or receives. False: the time is over."""
        pause = self._pause - time.monotonic()
        self._is_waiting = True
        try:
            if self._response is not None:
                self._receive(until)
            elif pause > 0:
                self._woken.wait(pause if until is None else min(pause, until - time.monotonic()))
            else:
                self._open()
        finally:
            self._is_waiting = False
        if self.closed:
            self._connection.close()
        return until is None or time.monotonic() < until

    def _open(self):
        response, body = _wire.Response(), bytearray()
        try:
            self._connection.send(self._follower.request())
            while response.status is None or (response.status != 200 and not response.complete):
                body += self._connection.receive(response)
        except OSError as why:
            self._lose(why)
        else:
            self._opened(response, bytes(body))

    def _receive(self, until):
        try:
            body = self._connection.receive(self._response, self._patience(until))
        except TimeoutError as why:
            self._heard_nothing(why)
        except OSError as why:
            self._lose(why)
        else:
            self._heard_more(body)


def subscribe(url, table=None, pk=None, *, since=None, token=None):
    """Being told of changes of a replica behind a URL, whoever makes them: a RemoteSubscription, once it is connected.

    table  None: all tracked tables
    pk     only that row of the table: its key columns as a dict, or as JSON text
    since  None: what happens from now on; else what happened after this version
    token  the bearer token

    NetworkError: it cannot be reached. csync.aio.subscribe is for event loops.
    """
    return RemoteSubscription(url, table, pk, since=since, token=token)
