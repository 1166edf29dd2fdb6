"""csync.Subscription: being told of changes."""

import asyncio
import math
import time
from collections import deque

from csync import _csync
from csync._errors import Cancelled, Misuse
from csync._json import dump_row


class Subscription(_csync.Subscription):
    """Tells of changes, whoever makes them: this process, another one, a sync. Made by Replica.subscribe.

        with db.subscribe("note") as feed:
            for change in feed: ...             # waits for each; Ctrl-C works
            async for change in feed: ...       # in an event loop, without a thread
            batch = feed.next(timeout=1.5)      # a Batch, or None

    Changes come in order of version and at least once. A row that changed many times since it was last looked
    at comes once. Being slow costs nothing: the log is the queue. Asking for the next change or batch says that
    the one before is done with. An iteration ends when the subscription is closed.

    feed.fileno() is for select and event loops: readable when there may be changes, until next(0) has
    returned None. Use it in one place at a time, and close it, or use it in a `with`.

    Cancelled: Replica.cancel. Misuse: the replica or the subscription is closed. FullResyncRequired: the log
    was trimmed beyond its position.
    """

    def __new__(cls, replica, table=None, pk=None, *, since=None, id=None):
        if pk is not None and not isinstance(pk, str):
            pk = dump_row(pk)
        self = super().__new__(cls, replica, table, pk, since is not None, since or 0, id)
        self._replica = replica
        self._rest = deque()  # of the batch that is iterated over
        self._last = 0  # the version that the iteration gave last
        self._waiting = None  # the future of an async iteration
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        return f"<csync.Subscription {'closed' if self.closed else self.id}>"

    @property
    def version(self):
        """The version up to which changes were given out: the `since` to resume from."""
        return self._last if self._rest else super().version

    def next(self, timeout=None):
        """The next changes, a Batch; None when there are none within `timeout` seconds (0: do not wait; None:
        wait for ever)."""
        if self._rest:
            batch = _csync.Batch(self._rest)
            self._rest.clear()
            return batch
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            wait = -1 if until is None else _milliseconds(until - time.monotonic())
            batch = self._next_or_misuse(wait)
            if batch is not None or wait == 0:
                return batch

    def _next_or_misuse(self, wait):
        """Closing the replica cancels what runs on it; whoever waits shall hear the reason."""
        try:
            return self._next(wait)
        except Cancelled:
            if self._replica.closed:
                raise Misuse("the replica is closed") from None
            raise

    def close(self):
        """Ends it; twice is fine, and so is another thread or task. An `id` of your own is remembered."""
        super().close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.get_loop().call_soon_threadsafe(_finish, waiting)

    # ---- Iteration

    def _take(self):
        """The next change that is here already."""
        change = self._rest.popleft()
        self._last = change.version
        return change

    def __iter__(self):
        return self

    def __next__(self):
        while not self._rest:
            try:
                self._rest.extend(self.next() or ())
            except Misuse:
                if self.closed:
                    raise StopIteration from None
                raise
        return self._take()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self._rest:
            if self.closed:
                raise StopAsyncIteration
            batch = self.next(0)
            if batch is None:
                await self._readable()
            else:
                self._rest.extend(batch)
        return self._take()

    async def _readable(self):
        loop = asyncio.get_running_loop()
        descriptor = self.fileno()
        self._waiting = waiting = loop.create_future()
        loop.add_reader(descriptor, _finish, waiting)
        try:
            await waiting
        finally:
            loop.remove_reader(descriptor)
            self._waiting = None


def _finish(future):
    if not future.done():
        future.set_result(None)


def _milliseconds(seconds):
    return min(max(math.ceil(seconds * 1000), 0), 2**31 - 1)
