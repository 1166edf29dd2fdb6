"""csync.Replica, csync.Session and csync.open: what is nicer to say in Python than in C."""

import contextlib
import os
import secrets

from csync import _csync, _sqlite
from csync._feed import Subscription
from csync._http import reach
from csync._errors import InvalidValue, Misuse
from csync._json import load_row, loads
from csync._model import (
    Advice,
    Change,
    Client,
    Comparison,
    Conflict,
    Difference,
    Head,
    Holder,
    Parked,
    Purged,
    Result,
    State,
    Table,
    Verification,
)

_CAPTURES = {"full": _csync.CSYNC_CAPTURE_FULL, "keys": _csync.CSYNC_CAPTURE_KEYS}
_STRATEGIES = {
    "last-write-wins": _csync.CSYNC_LAST_WRITE_WINS,
    "server-wins": _csync.CSYNC_SERVER_WINS,
    "client-wins": _csync.CSYNC_CLIENT_WINS,
    "custom": _csync.CSYNC_CUSTOM,
}
_DIRECTIONS = {"both": _csync.CSYNC_BOTH, "pull": _csync.CSYNC_PULL, "push": _csync.CSYNC_PUSH}


def open(database, *, origin=None, timeout=5.0, foreign_keys=True):
    """Opens a database, makes it a replica if it is not one yet, and returns a Replica.

    database      a path (str, bytes, os.PathLike), "sqlite:PATH", ":memory:", "postgresql://..." or
                  "postgresql:KEY=VALUE ..." (docs/postgresql.md), or an open sqlite3.Connection
    origin        the origin id; None: the stored one, or a new UUID. Else it must equal the stored one
    timeout       seconds to wait for another writer
    foreign_keys  whether foreign keys are enforced on csync's connection; a wrapped one keeps its own setting

    csync uses the copy of SQLite that Python's sqlite3 module uses; where it cannot reach it, files are refused
    with Unsupported and a connection is the way. A connection is used as it is, never closed, and kept alive;
    it needs an interpreter whose sqlite3 can load extensions (else Unsupported), its own thread, and no open
    transaction when csync is called (else BusyError).

    DatabaseError: the file cannot be opened or is no database.
    """
    return Replica(database, origin=origin, timeout=timeout, foreign_keys=foreign_keys)


class Replica(_csync.Replica):
    """A database that takes part in syncs. Made by csync.open, whose arguments it takes.

    Threads: one at a time; other threads wait, without the GIL, except in cancel(), which never waits. A call
    on a replica from inside one of its own callbacks raises BusyError. Close it, or use it in a `with`.

    Every method raises Misuse after close(), and csync.Error or a class below it when something fails; the
    database is then as it was before the call (sync, pull and push: complete batches stay). What a callback
    raises comes out as the same exception object.
    """

    def __init__(self, database, *, origin=None, timeout=5.0, foreign_keys=True):
        super().__init__()
        self._name = "?"
        self._is_connection = _sqlite.is_connection(database)
        self._origin = None
        milliseconds = min(max(round(timeout * 1000), 0), 2**31 - 1)
        if self._is_connection:
            self._name = "sqlite3.Connection"
            self._open_connection(
                _sqlite.probe(database), _sqlite.loader(database), secrets.token_hex(), origin, milliseconds
            )
        else:
            path = os.fspath(database)
            self._name = os.fsdecode(path)
            _sqlite.bind()
            self._open(path, origin, milliseconds, foreign_keys)
        try:
            self._origin = self.state.origin
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        closed = ", closed" if self.closed else ""
        return f"<csync.Replica {self._name!r}, origin {self._origin}{closed}>"

    @property
    def origin(self):
        """The id under which this replica's changes travel."""
        return self._origin

    @property
    def state(self):
        """A State: the replica's own numbers, as of now."""
        return State(*self._state())

    # ---- Tracked tables

    def track(self, *tables, capture="full"):
        """Captures every write to these tables from now on, by any program, through triggers in plain SQL.

        Rows that are there already take part, as changes older than any other. Twice is fine; another
        `capture` replaces the earlier one: "full" logs whole rows, "keys" only the key, which costs a
        write-heavy table half as much. Names are the catalogue's, exact.

        NotFound: no such table. SchemaError: no primary key, a view, a virtual table, NULL in a key.
        """
        _check_names("track", tables)
        kind = _choice("capture", capture, _CAPTURES)
        for table in tables:
            self._track(table, kind)

    def untrack(self, *tables):
        """Stops capturing these tables and forgets their sync state; the rows stay. NotFound: not tracked."""
        _check_names("untrack", tables)
        for table in tables:
            self._untrack(table)

    def tables(self):
        """The tracked tables in order of name, a list of Table."""
        return [
            Table(t["name"], t["capture"], tuple(t["key"]), tuple(t["columns"])) for t in loads(self._tables())
        ]

    # ---- Sync

    def sync(
        self,
        peer,
        *,
        strategy=None,
        on_conflict=None,
        batch_size=1000,
        max_retry_passes=3,
        progress=None,
        full_resync=True,
        token=None,
    ):
        """Pulls from the peer, then pushes to it. Returns a Result. After any failure just call it again.

        peer              another Replica, the URL of one's REST API ("https://host/?db=main"), or a Remote
        strategy          who wins where both sides edited a row and neither saw the other's edit:
                          "last-write-wins" (default), "server-wins" (the peer), "client-wins", "custom"
        on_conflict       on_conflict(local, remote, base): three Change, base None where it is not known;
                          returns "local", "remote", None (delete the row) or a dict (the merged row; columns
                          that it leaves out keep the local row's values). Means strategy="custom"
        batch_size        changes per transaction, 1 to 10000
        max_retry_passes  how often rows with a missing parent are tried again before they are parked
        progress          progress(Progress), every few rows; must be quick
        full_resync       where the peer's log does not lead on (it was purged or restored): True pushes what is
                          pending and merges a snapshot, False raises FullResyncRequired
        token             for a URL: the bearer token that goes with each request

        Ctrl-C and cancel() stop it and roll the open batch back; the batches before it stay.
        """
        options = _options(
            "both", strategy, on_conflict, batch_size, max_retry_passes, progress, full_resync
        )
        return self._run(peer, options, token)

    def pull(
        self,
        peer,
        *,
        strategy=None,
        on_conflict=None,
        batch_size=1000,
        max_retry_passes=3,
        progress=None,
        full_resync=True,
        token=None,
    ):
        """The first half of sync: takes the peer's changes. Arguments and result as there."""
        options = _options(
            "pull", strategy, on_conflict, batch_size, max_retry_passes, progress, full_resync
        )
        return self._run(peer, options, token)

    def push(
        self,
        peer,
        *,
        strategy=None,
        on_conflict=None,
        batch_size=1000,
        max_retry_passes=3,
        progress=None,
        full_resync=True,
        token=None,
    ):
        """The second half of sync: gives the peer this replica's changes. Arguments and result as there."""
        options = _options(
            "push", strategy, on_conflict, batch_size, max_retry_passes, progress, full_resync
        )
        return self._run(peer, options, token)

    def _run(self, peer, options, token):
        if isinstance(peer, _csync.Replica):
            return Result(*self._sync(peer, options))
        with reach(peer, token) as remote:
            return Result(*self._sync_remote(remote.fetch, remote.send, remote.name, options))

    def changes(self, since=0, limit=1000, *, max_bytes=0):
        """A page of this replica's log: a Batch of the changes after version `since` that no later one replaced.

        At most `limit` changes and about `max_bytes` (0: 4 MiB), in order of version; go on from
        `batch.to_version` while `batch.has_more`. The first call makes the replica log what it applies, so
        that others can sync with it. `since` may be a Position, as a Remote's fetch and a Step have it.

        FullResyncRequired: the log does not lead on from there.
        """
        if limit < 1:
            raise InvalidValue(f"limit must be at least 1, not {limit}")
        more = (getattr(since, name, None) for name in ("epoch", "origin", "cursor"))
        return self._changes(since, limit, max_bytes, *more)

    def apply(self, changes, *, strategy=None, on_conflict=None, max_retry_passes=3, progress=None):
        """Applies a Batch, or a list of Change, in one transaction. Returns a Result with `outcomes`.

        Each change that beats the row's present one is written and logged; what cannot enter its table is
        parked. A Batch with an origin and a position is a push: it counts only if it continues the position
        that this replica has for that origin. Arguments as for sync.

        HashMismatchError: the batch's hash and content differ; nothing is applied.
        """
        options = _options("both", strategy, on_conflict, 1000, max_retry_passes, progress)
        counts, outcomes = self._apply(changes, options)
        return Result(*counts, outcomes)

    def subscribe(self, table=None, pk=None, *, since=None, id=None):
        """Being told of changes, whoever makes them: a Subscription.

        table   None: all tracked tables
        pk      only that row of the table: its key columns as a dict, or as JSON text
        since   None: what happens from now on; else what happened after this version
        id      1 to 64 bytes: its position is kept in the database for 30 days after its last use, so that
                the same id goes on there, in this process or another

        NotFound: the table is not tracked. InvalidValue: not its key columns, a version that the log does not
        have, or an id of another subscription.
        """
        return Subscription(self, table, pk, since=since, id=id)

    # ---- Clients and tombstones

    def clients(self, days=90):
        """Whoever reads this replica's log, a list of Client; stale after `days` of silence."""
        return [
            Client(c["origin"], c["version"], c["lastSync"], c["created"], c["stale"])
            for c in loads(self._clients(_days(days)))
        ]

    def stale_clients(self, days=90):
        """The clients that nothing is kept for any more: silent for more than `days`."""
        return [client for client in self.clients(days) if client.stale]

    def register_client(self, origin, version=0):
        """Counts `origin` as a client that has this log up to `version`. Who asks for changes counts by itself."""
        self._register_client(origin, version)

    def forget_client(self, origin):
        """Stops keeping anything for the client. NotFound: there is none."""
        self._forget_client(origin)

    def safe_purge_version(self, days=90):
        """The version up to which every client that is not stale has this log; 0: there is none."""
        return self._safe_version(_days(days))

    def purge(self, days=90):
        """Drops the log, and forgets deleted rows, before the safe version. Returns a Purged. Rows stay.

        A client that comes back from before it is given a snapshot. Without clients nothing is dropped.
        """
        return Purged(*self._purge(_days(days)))

    # ---- What is in it

    def parked(self):
        """The changes that won but cannot enter their table yet, a list of Parked."""
        return [
            Parked(p["table"], _row(p["pk"]), _row(p["payload"]), *(p[name] for name in _PARKED_TEXTS))
            for p in loads(self._parked())
        ]

    def lag(self):
        """Who holds this replica's changes back, a list of Holder, the one that holds back most first.

        Empty: nothing waits, as always on SQLite. PostgreSQL gives out versions before their transaction commits, so
        what was written after a transaction's first change is given out when that transaction has ended.
        """
        return [Holder(**holder) for holder in loads(self._lag())]

    def doctor(self):
        """What is wrong with the database, or will be, and what helps: a list of Advice.

        On PostgreSQL: rights that the role lacks, triggers that are switched off, settings that lose commits,
        transactions that hold changes back. On SQLite: damage (the whole file is read), rows without a parent.
        Changes nothing.
        """
        return [Advice(**advice) for advice in loads(self._doctor())]

    def conflicts(self, since_id=0, limit=1000):
        """The conflict audit after entry `since_id`, oldest first, a list of at most `limit` Conflict."""
        if limit < 1:
            raise InvalidValue(f"limit must be at least 1, not {limit}")
        return [
            Conflict(
                c["id"],
                c["at"],
                c["table"],
                _row(c["pk"]),
                c["strategy"],
                c["decision"],
                _change(c["loser"]),
                _change(c["winner"]),
            )
            for c in loads(self._conflicts(since_id, limit))
        ]

    def verify(self, peer, *, repair=False, limit=1000, token=None):
        """Compares the tracked tables with the peer's and names the rows that differ. Returns a Verification.

        peer    another Replica, the URL of one's REST API, or a Remote with a digest function
        token   for a URL: the bearer token that goes with each request
        repair  take the peer's row where the stamps are equal and the content is not; nothing is logged or
                captured. What the next sync will settle is left to it
        limit   name at most so many rows; all are counted, and repaired

        What travels grows with the differences, not with the tables; each round reads the table on both sides.
        """
        if limit < 1:
            raise InvalidValue(f"limit must be at least 1, not {limit}")
        if isinstance(peer, _csync.Replica):
            return _verification(loads(self._verify(peer, repair, limit)))
        with reach(peer, token) as remote:
            return self._verify_with(remote.digest, repair, limit)

    def _verify_with(self, digest, repair, limit):
        if limit < 1:
            raise InvalidValue(f"limit must be at least 1, not {limit}")
        return _verification(loads(self._verify_remote(digest, repair, limit)))

    # ---- SQL

    def execute(self, sql, params=()):
        """Runs one SQL statement on csync's connection and returns its rows, a list of tuples.

        params are None, bool, int, float, str or bytes, one for each `?`. Text that is not valid UTF-8 is a
        str with surrogate escapes. Writes are committed and captured like anybody's, except in suppressed().
        DatabaseError: SQLite says no. InvalidValue: several statements, or a wrong number of params.
        OverflowError: an int beyond 64 bits.
        """
        return self._execute(sql, params)

    @contextlib.contextmanager
    def suppressed(self):
        """`with db.suppressed():` one transaction whose writes, made with db.execute, are not captured.

        Other connections' writes are. Commits at the end, rolls back when the block raises. Until then only
        execute works (else BusyError). Misuse: nested.
        """
        self._suppress_begin()
        try:
            yield
        except BaseException:
            self._suppress_end(False)
            raise
        self._suppress_end(True)


class Session(_csync.Session):
    """A sync, step by step, for programs with an event loop of their own. It does no I/O.

        session = csync.Session(db, "server")
        while (step := session.next()).kind != "done":
            if step.kind == "fetch":
                session.page(...)           # the peer's changes(step.since, step.limit)
            else:
                session.outcome(...)        # the peer's apply(step.batch)

    What the peer raised goes to session.refused(exception), which goes on where the session knows a way.

    `peer` is the name under which positions are kept. direction is "both", "pull" or "push"; the other
    arguments are those of Replica.sync. Nothing is locked between two calls. One thread at a time.
    """

    def __new__(
        cls,
        replica,
        peer,
        *,
        direction="both",
        strategy=None,
        on_conflict=None,
        batch_size=1000,
        max_retry_passes=3,
        progress=None,
        full_resync=True,
    ):
        options = _options(
            direction, strategy, on_conflict, batch_size, max_retry_passes, progress, full_resync
        )
        return super().__new__(cls, replica, peer, options)

    @property
    def result(self):
        """A Result: what was done so far."""
        return Result(*self._result())


def resolve(local, remote, strategy="last-write-wins"):
    """Which of two changes to the same row wins: "local" or "remote".

    Last-write-wins orders by timestamp, origin, seq, delete before row, canonical payload. InvalidValue:
    strategy "custom", different rows, or a malformed change.
    """
    return _csync.resolve(local, remote, _choice("strategy", strategy, _STRATEGIES))


def trigger_sql(replica, table, capture="full"):
    """The CREATE TRIGGER statements that track makes for `table`, which need not be tracked."""
    return replica._trigger_sql(table, _choice("capture", capture, _CAPTURES))


# ---- Arguments


def _choice(name, value, choices):
    try:
        return choices[value]
    except (KeyError, TypeError):
        listed = ", ".join(f'"{choice}"' for choice in choices)
        raise InvalidValue(f"{name} must be one of {listed}, not {value!r}") from None


def _check_names(method, tables):
    if not tables:
        raise TypeError(f"{method}() needs the name of at least one table")


def _days(days):
    if days < 1:
        raise InvalidValue(f"days must be at least 1, not {days}")
    return days


def _options(direction, strategy, on_conflict, batch_size, max_retry_passes, progress, full_resync=True):
    """The tuple that cspy_options_read takes."""
    if strategy is None:
        strategy = "last-write-wins" if on_conflict is None else "custom"
    code = _choice("strategy", strategy, _STRATEGIES)
    if (strategy == "custom") != (on_conflict is not None):
        raise Misuse(f'on_conflict and strategy="custom" go together, not strategy={strategy!r}')
    for name, function in (("on_conflict", on_conflict), ("progress", progress)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")
    if not 1 <= batch_size <= 10000:
        raise InvalidValue(f"batch_size must be 1 to 10000, not {batch_size}")
    if max_retry_passes < 0:
        raise InvalidValue(f"max_retry_passes must be 0 or more, not {max_retry_passes}")
    passes = max_retry_passes or -1  # 0 is the C side's word for the default
    how = _choice("direction", direction, _DIRECTIONS)
    return how, batch_size, 0, passes, code, on_conflict, progress, 0 if full_resync else -1


# ---- Answers

_PARKED_TEXTS = ("origin", "timestamp", "reason", "message", "since")


def _row(value):
    return None if value is None else load_row(value)


def _change(value):
    """A change in its wire form."""
    if value is None:
        return None
    return Change(
        value["version"],
        value["tableName"],
        value["pkValue"],
        value["operation"].lower(),
        value["payload"],
        value["origin"],
        value["timestamp"],
        value.get("seq") or None,
    )


def _verification(report):
    return Verification(
        report["equal"],
        tuple(Comparison(*table.values()) for table in report["tables"]),
        tuple(_difference(row) for row in report["rows"]),
        report["found"],
        report["repaired"],
        report["compared"]["rounds"],
        report["compared"]["bytes"],
    )


def _difference(row):
    return Difference(
        row["table"],
        _row(row["pk"]),
        row["kind"],
        Head(*row["local"].values()),
        Head(*row["remote"].values()),
        row["explained"],
        row["repaired"],
        row["reason"],
    )
