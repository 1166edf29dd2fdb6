"""A server in an event loop: `await csync.aio.sync(db, "https://host/", token=...)`, csync.aio.subscribe.

The network is waited for by the loop, the database by its default threads, where callbacks run, too; a replica of an
open sqlite3.Connection works on the loop's own thread, a batch at a time. Arguments, results and exceptions are those of
Replica.sync, pull, push and verify. A task that is cancelled rolls the open batch back; the batches before it stay.
"""

import asyncio
import contextlib
import socket
import time

from csync import _errors, _events, _peer, _wire
from csync._remote_feed import GOODBYE
from csync._replica import Replica, Session

__all__ = ["Subscription", "pull", "push", "subscribe", "sync", "verify"]


class Connection:
    """One server, as in _http.py; for one task at a time."""

    def __init__(self, server, silence=None):
        self._server = server
        self._silence = _peer.SILENCE if silence is None else silence
        self._reader = self._writer = None

    def close(self):
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    async def run(self, conversation):
        """Carries a conversation out and returns its result."""
        try:
            wanted = next(conversation)
            while True:
                if isinstance(wanted, float):
                    await asyncio.sleep(wanted)
                    wanted = next(conversation)
                    continue
                try:
                    answer = await self.exchange(wanted)
                except OSError as why:
                    wanted = conversation.throw(why)
                else:
                    wanted = conversation.send(answer)
        except StopIteration as end:
            return end.value

    async def exchange(self, message):
        was_open = self._writer is not None
        response, body = _wire.Response(), bytearray()
        try:
            await self.send(message)
            while not response.complete:
                body += await self.receive(response)
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

    async def send(self, message):
        """Sends a request, over a new connection if need be. Each piece has the whole time."""
        if self._writer is None:
            async with asyncio.timeout(min(self._silence, _peer.CONNECTING)):
                self._reader, self._writer = await self._connect()
        writer = self._writer  # which another task may close meanwhile
        with contextlib.suppress(ConnectionError):  # it may have answered before it has read everything
            for at in range(0, len(message.data), 1 << 16):
                writer.write(message.data[at : at + (1 << 16)])
                async with asyncio.timeout(self._silence):
                    await writer.drain()

    async def receive(self, response, timeout=None):
        """Waits for more of a response, and returns what that adds to its body. TimeoutError: nothing came."""
        if self._reader is None:
            raise _wire.Broken("the connection is closed")
        async with asyncio.timeout(self._silence if timeout is None else timeout):
            return response.feed(await self._reader.read(1 << 16))

    async def _connect(self):
        server = self._server
        ask = server.tunnel()
        host, port, _ = server.proxy or (server.host, server.port, None)
        tls = {} if server.tls is None or ask else {"ssl": server.tls, "server_hostname": server.host}
        reader, writer = await asyncio.open_connection(host, port, **tls)
        try:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if ask:
                writer.write(ask)
                response = _wire.Response()
                while response.status is None:
                    response.feed(await reader.read(1))
                if not 200 <= response.status < 300:
                    raise _wire.Broken(f"the proxy answered {response.status}")
                await writer.start_tls(server.tls, server_hostname=server.host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer


async def _in_thread(db, work, *arguments, stop=lambda: None):
    """Work on the database. A cancelled task first stops the work, so that nothing goes on behind its back."""
    if db._is_connection:
        return work(*arguments)
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with contextlib.suppress(asyncio.CancelledError):
                stop()
                db.cancel()  # again and again: the work may not have begun
                await asyncio.wait([working], timeout=0.02)
        working.exception()  # whatever it is, the task is cancelled
        raise


@contextlib.asynccontextmanager
async def _reach(db, url, token):
    if not isinstance(db, Replica) or not isinstance(url, str):
        raise TypeError(f"a Replica and the URL of another one, not {db!r} and {url!r}")
    server = _peer.Server(url, token)
    with contextlib.closing(Connection(server)) as connection:
        yield server, connection


async def _step(db, session, step, server, connection):
    """Carries one step of the session out."""
    try:
        if step.kind == "send":
            answer = await connection.run(_peer.send(server, step.batch))
        else:
            answer = await connection.run(_peer.fetch(server, step.since, step.limit))
    except _errors.Error as why:
        await _in_thread(db, session.refused, why)
        return
    await _in_thread(db, session.outcome if step.kind == "send" else session.page, answer)


async def _run(db, url, direction, token, options):
    async with _reach(db, url, token) as (server, connection):
        peer = await connection.run(_peer.origin(server))
        session = Session(db, peer, direction=direction, **options)
        while (step := await _in_thread(db, session.next)).kind != "done":
            await _step(db, session, step, server, connection)
        return session.result


async def sync(db, url, *, token=None, **options):
    """Replica.sync with the URL of a server, without blocking the event loop. `options` as there. Returns a Result."""
    return await _run(db, url, "both", token, options)


async def pull(db, url, *, token=None, **options):
    """The first half of sync. Arguments and result as there."""
    return await _run(db, url, "pull", token, options)


async def push(db, url, *, token=None, **options):
    """The second half of sync. Arguments and result as there."""
    return await _run(db, url, "push", token, options)


async def verify(db, url, *, repair=False, limit=1000, token=None):
    """Replica.verify with the URL of a server, without blocking the event loop. Returns a Verification.

    Unsupported: the replica is of an open sqlite3.Connection. Only its own thread may use that, which is the loop's; and a
    comparison is one call that reads the database and asks the peer by turns (a sync is cut into steps between which the
    loop goes on), so the loop would stand still until the last answer. db.verify does that for whoever can afford it.
    """
    if isinstance(db, Replica) and db._is_connection:
        raise _errors.Unsupported("a replica of an open connection cannot be verified in an event loop: use db.verify")
    loop, asked = asyncio.get_running_loop(), set()
    async with _reach(db, url, token) as (server, connection):

        def digest(request):  # in the thread
            asking = asyncio.run_coroutine_threadsafe(connection.run(_peer.digest(server, request)), loop)
            asked.add(asking)
            try:
                return asking.result()
            finally:
                asked.discard(asking)

        def stop():
            for asking in list(asked):
                asking.cancel()

        return await _in_thread(db, db._verify_with, digest, repair, limit, stop=stop)


class Subscription(_events.Feed):
    """csync.RemoteSubscription for an event loop. Made by csync.aio.subscribe.

        async with csync.aio.subscribe("https://host/", "note", token=...) as feed:
            async for change in feed: ...
            batch = await feed.next(timeout=1.5)    # a Batch, or None

    It is connected when the block begins. Everything else is as there. One task at a time; close() is for any.
    """

    def __init__(self, url, table=None, pk=None, *, since=None, token=None):
        super().__init__(url, table, pk, since, token, Connection)
        self._woken = asyncio.Event()

    async def __aenter__(self):
        try:
            while self._follower.id is None:
                await self._advance(None)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info):
        await self.close()

    async def next(self, timeout=None):
        """The next changes, a Batch; None when there are none within `timeout` seconds (0: those that are here; None:
        wait for ever). Making a connection again may take longer."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._follower.ready:
            if self.closed:
                raise _errors.Misuse("the subscription is closed")
            if not await self._advance(until) and not self._follower.ready:
                return None
        return self._take_all()

    async def close(self):
        """Ends it, and tells the server; twice is fine."""
        if self.closed:
            return
        self.closed = True
        self._woken.set()
        goodbye = self._follower.farewell()
        self._connection.close()
        if goodbye is not None:
            with contextlib.closing(Connection(self._follower.server, GOODBYE)) as other:
                with contextlib.suppress(OSError):  # it notices anyway
                    await other.exchange(goodbye)

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self._follower.ready:
            if self.closed:
                raise StopAsyncIteration
            await self._advance(None)
        return self._take_one()

    async def _advance(self, until):
        """Waits, connects, or receives. False: the time is over."""
        pause = self._pause - time.monotonic()
        if self._response is not None:
            await self._receive(until)
        elif pause > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if until is None else min(pause, until - time.monotonic())):
                    await self._woken.wait()
        else:
            await self._open()
        if self.closed:
            self._connection.close()
        return until is None or time.monotonic() < until

    async def _open(self):
        response, body = _wire.Response(), bytearray()
        try:
            await self._connection.send(self._follower.request())
            while response.status is None or (response.status != 200 and not response.complete):
                body += await self._connection.receive(response)
        except OSError as why:
            self._lose(why)
        else:
            self._opened(response, bytes(body))

    async def _receive(self, until):
        try:
            body = await self._connection.receive(self._response, self._patience(until))
        except TimeoutError as why:
            self._heard_nothing(why)
        except OSError as why:
            self._lose(why)
        else:
            self._heard_more(body)


def subscribe(url, table=None, pk=None, *, since=None, token=None):
    """csync.subscribe for an event loop: a Subscription, to be used in an `async with`. Arguments as there."""
    return Subscription(url, table, pk, since=since, token=token)
