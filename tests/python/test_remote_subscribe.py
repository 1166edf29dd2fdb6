"""csync.subscribe and csync.aio.subscribe: being told of the changes of a replica behind a URL."""

import asyncio
import contextlib
import gc
import threading

import pytest

import csync
from bad_network import Network
from csync import _events, _peer
from note_table import NOTE
from serving import Stream, ask, serving, until
from test_http import serving as serving_wsgi
from test_protocol import put

TOKEN = "x" * 32


class Blocking:
    """A feed of csync.subscribe."""

    def __init__(self, *arguments, **options):
        self.feed = csync.subscribe(*arguments, **options)

    def next(self, timeout=10.0):
        return self.feed.next(timeout)

    def each(self, count):
        return [change for _, change in zip(range(count), self.feed)]

    def close(self):
        self.feed.close()


class InALoop:
    """A feed of csync.aio.subscribe, in a loop that only goes on while something is asked of it."""

    def __init__(self, *arguments, **options):
        self.runner = asyncio.Runner()
        self.feed = csync.aio.subscribe(*arguments, **options)
        try:
            self.runner.run(self.feed.__aenter__())
        except BaseException:
            self.runner.close()
            raise

    def next(self, timeout=10.0):
        return self.runner.run(self.feed.next(timeout))

    def each(self, count):
        async def take():
            return [await anext(self.feed) for _ in range(count)]

        return self.runner.run(take())

    def close(self):
        self.runner.run(self.feed.close())
        self.runner.close()


@pytest.fixture(params=[Blocking, InALoop])
def subscribe(request):
    """subscribe(url, ...): a feed of either kind, which is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            contextlib.closing(request.param(*arguments, **options))
        )


@pytest.fixture
def prompt(monkeypatch):
    """Connections are made again at once."""
    monkeypatch.setattr(_peer, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(_events.random, "uniform", lambda low, high: min(high, 0.05))


@pytest.fixture
def db(replica):
    return replica(NOTE, "note")


def ids(changes):
    return [change.pk["id"] for change in changes]


def collect(feed, count):
    got = []
    while len(got) < count:
        batch = feed.next()
        assert batch is not None, got
        got += ids(batch)
    return got


def test_a_feed_tells_of_changes_by_whomever(db, subscribe, sql):
    put(db, 1)
    with serving(db) as running:
        feed = subscribe(running.url)
        assert feed.next(0.05) is None
        put(db, 2)
        sql(db.path, "INSERT INTO note VALUES (3, 'another program', 9007199254740993)")
        (two, three) = feed.each(2)
        assert (two.pk, two.operation, two.payload["body"]) == ({"id": 2}, "insert", "row 2")
        assert three.payload == {"id": 3, "body": "another program", "votes": 9007199254740993}
        assert feed.feed.version == three.version
        db.execute("DELETE FROM note WHERE id = 2")
        (gone,) = feed.next()
        assert (gone.pk, gone.operation, gone.payload) == ({"id": 2}, "delete", None)


def test_a_feed_follows_a_table_or_a_row(db, subscribe):
    with serving(db) as running:
        row = subscribe(running.url, "note", {"id": 2})
        text = subscribe(running.url, "note", '{"id":3}')
        put(db, 1, 2, 3)
        assert ids(row.next()) == [2] and ids(text.next()) == [3]
        with pytest.raises(csync.NotFound):
            subscribe(running.url, "nothing")
        with pytest.raises(csync.InvalidValue):
            subscribe(running.url, "note", {"no": 1})
        with pytest.raises(csync.InvalidValue, match="needs a table"):
            subscribe(running.url, pk={"id": 1})


def test_a_feed_goes_on_behind_a_version(db, subscribe):
    put(db, 1, 2, 3)
    with serving(db) as running:
        feed = subscribe(running.url, since=1)
        assert collect(feed, 2) == [2, 3]
        other = subscribe(running.url, since=feed.feed.version)
        put(db, 4)
        assert collect(other, 1) == [4]


def test_a_feed_goes_on_after_its_connections_were_cut(db, subscribe, prompt):
    with serving(db) as running, Network(running.url) as network:
        feed = subscribe(network.url, "note")
        for n in range(1, 6):
            put(db, 10 * n)
            assert collect(feed, 1) == [10 * n]
            network.drop()
            put(db, 10 * n + 1)
            assert collect(feed, 1) == [10 * n + 1]
        assert network.accepted >= 6


def test_a_feed_that_is_cut_at_any_byte_misses_nothing(db, subscribe, prompt):
    with serving(db, rate=-1) as running, Network(running.url) as network:
        feed = subscribe(network.url, "note")
        for n in range(1, 40):
            network.cut_down = 17 * n
            put(db, n)
            got = collect(feed, 1)
            assert got[-1] == n and set(got) == {n}


def test_a_feed_outlives_its_server(db, subscribe, prompt):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.closing(csync.serve(db, listen="127.0.0.1:0")))
        where = first.url.removeprefix("http://")
        feed = subscribe(first.url, "note")
        for n in range(3):
            put(db, 10 * n)
            assert collect(feed, 1) == [10 * n]
            first.close()
            put(db, 10 * n + 1)
            assert feed.next(0.3) is None
            first = stack.enter_context(contextlib.closing(csync.serve(db, listen=where)))
            assert collect(feed, 1) == [10 * n + 1]
        first.reload()  # says bye
        put(db, 99)
        assert collect(feed, 1) == [99]


def test_a_server_that_falls_silent_is_left(db, subscribe, prompt, monkeypatch):
    monkeypatch.setattr(_events, "HEARTBEAT", 0.5)
    with serving(db) as running, Network(running.url) as network:
        feed = subscribe(network.url, "note")
        network.silent = True
        put(db, 1)
        assert feed.next(0.8) is None
        network.drop()
        network.silent = False
        assert collect(feed, 1) == [1]


def test_what_was_missed_is_told_and_the_feed_goes_on(db, subscribe, prompt, replicas):
    """More than a stream that resumes is given at once."""
    (client,) = replicas(NOTE, "note", count=1)
    with serving(db) as running, Network(running.url) as network, Stream(running) as witness:
        feed = subscribe(network.url, "note")
        put(db, 1)
        assert collect(feed, 1) == [1]
        network.drop()
        for n in range(2, 300):
            db.execute("INSERT INTO note VALUES (?, ?, 0)", (n, "x" * 600))
        while witness.next()[1] != "299":  # the server knows of all when the feed comes back
            pass
        with pytest.raises(csync.FullResyncRequired, match="missed; pull") as caught:
            collect(feed, 1000)
        assert (caught.value.client_version, caught.value.oldest_version) == (1, 299)
        client.pull(running.url)
        assert client.hash() == db.hash()
        assert feed.feed.version == 299
        put(db, 1000)
        assert collect(feed, 1) == [1000]


def test_a_server_that_was_never_there_is_a_network_error(subscribe, prompt):
    with pytest.raises(csync.NetworkError, match="cannot be reached"):
        subscribe("http://127.0.0.1:9")


def test_a_server_without_streams_says_so(db, subscribe):
    with serving_wsgi(csync.api(db)) as url, pytest.raises(csync.Error, match="answered 501"):
        subscribe(url)


class Odd:
    def __init__(self, kind):
        self.kind = kind

    def wsgi(self, environ, start_response):
        start_response("200 OK", [("Content-Type", self.kind), ("Content-Length", "2")])
        return [b"\n\n"]


def test_a_server_that_is_no_csync_is_told_from_one_that_goes_away(subscribe, prompt):
    with serving_wsgi(Odd("text/html")) as url, pytest.raises(csync.ProtocolError, match="sends no events"):
        subscribe(url)
    with serving_wsgi(Odd("text/event-stream")) as url, pytest.raises(csync.NetworkError, match="before it began"):
        subscribe(url)


def test_a_feed_needs_a_token_that_may_read(db, subscribe, prompt):
    grants = [csync.Grant(TOKEN, may=("read",)), csync.Grant("w" * 32, may=("write",))]
    with serving(db, grants=grants) as running:
        for token in (None, "y" * 32, "w" * 32):
            with pytest.raises(csync.AuthError):
                subscribe(running.url, token=token)
        feed = subscribe(running.url, "note", token=TOKEN)
        put(db, 1)
        assert collect(feed, 1) == [1]


def test_a_feed_that_is_closed_ends_its_stream(db, subscribe, sql):
    with serving(db) as running:
        feed = subscribe(running.url, "note")
        rows = "SELECT count(*) FROM _sync_subscriptions"
        assert sql(db.path, rows) == [(2,)]  # the server's own is the other
        if isinstance(feed, Blocking):
            feed.feed.close()
        else:
            feed.runner.run(feed.feed.close())
        until(lambda: sql(db.path, rows) == [(1,)])
        assert "closed" in repr(feed.feed)
        with pytest.raises(csync.Misuse, match="closed"):
            feed.next()
        with pytest.raises(StopAsyncIteration if isinstance(feed, InALoop) else StopIteration):
            raise_end(feed)


def raise_end(feed):
    if isinstance(feed, Blocking):
        next(feed.feed)
    else:
        feed.runner.run(feed.feed.__anext__())


def test_a_feed_is_closed_by_another_thread(db):
    with serving(db) as running, csync.subscribe(running.url, "note") as feed:
        threading.Timer(0.2, feed.close).start()
        assert list(feed) == []


def test_a_task_that_waits_for_a_feed_is_cancelled(db):
    async def main():
        async with csync.aio.subscribe(running.url, "note") as feed:
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            put(db, 5)
            assert ids([await anext(feed)]) == [5]
            threading.Timer(0.1, loop.call_soon_threadsafe, (lambda: asyncio.ensure_future(feed.close()),)).start()
            assert [change async for change in feed] == []

    with serving(db) as running, asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(main())


def test_a_forgotten_feed_warns_and_lets_go(db):
    with serving(db) as running:
        feed = csync.subscribe(running.url)
        with pytest.warns(ResourceWarning, match="was not closed"):
            del feed
            gc.collect()


def test_two_feeds_and_a_browser_see_the_same(db, subscribe):
    with serving(db) as running, Stream(running) as stream:
        feed, other = subscribe(running.url), subscribe(running.url)
        put(db, *range(1, 31))
        assert collect(feed, 30) == collect(other, 30) == stream.keys(30) == list(range(1, 31))
        assert ask(running, "/sync/state")[0] == 200


# ---- the text of a stream


def events(text, step):
    reader, got = _events.Events(), []
    for at in range(0, len(text), step):
        got += reader.feed(text[at : at + step])
    return got, reader.retry


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_streams_are_read_as_browsers_read_them(step):
    text = (
        b": hello\n\nretry: 1500\nid: 7\nevent: change\ndata: {}\n\n"
        b"event: change\r\ndata: a\r\ndata:b\r\nid: 8\r\n\r\ndata\n\nid: 9\n\n:\n\nevent: cut\ndata: x"
    )
    got, retry = events(text, step)
    assert got == [("change", "7", "{}"), ("change", "8", "a\nb"), ("message", None, "")]
    assert retry == 1.5


def test_a_malformed_change_is_a_protocol_error():
    follower = _events.Follower("http://127.0.0.1:9", None, None, None, None)
    follower.request()
    with pytest.raises(csync.ProtocolError, match="malformed change"):
        follower.feed(b"event: change\ndata: {}\n\n")


def test_waits_grow_while_a_server_stays_away():
    follower = _events.Follower("http://127.0.0.1:9", None, None, None, None)
    follower.request()
    follower.feed(b'event: connected\ndata: {"version":1,"subscriptionId":"x"}\n\n')
    assert 0 <= follower.lost(OSError("gone")) <= _events.RETRY
    longest = 0
    for attempt in range(20):
        follower.request()
        waited = follower.lost(OSError("gone"))
        assert 0 <= waited <= min(_peer.FIRST_WAIT * 2**attempt, _peer.LONGEST_WAIT)
        longest = max(longest, waited)
    assert longest > 5
