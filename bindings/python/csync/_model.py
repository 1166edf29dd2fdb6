"""What csync's calls return and what your functions get: plain objects that depend on no replica."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from csync._errors import InvalidValue
from csync._json import dump_row, load_row

_OPERATIONS = ("insert", "update", "delete")
_FIELDS = ("version", "table_name", "pk_json", "operation", "payload_json", "origin", "timestamp", "seq")


class Change:
    """One row's new state: a line of a replica's log.

    Cannot be altered; equal when all fields are; independent of the replica and the batch that it came from.

    version       position in the log of the replica that it was read from; 0: none
    table_name    the table
    pk            the key columns, a dict
    operation     "insert", "update" or "delete"
    payload       the row, a dict; None for a delete
    origin        the replica on which the change was made
    timestamp     "YYYY-MM-DDTHH:MM:SS.mmmZ"
    seq           its version in its origin's own log, or None
    pk_json, payload_json   the same as texts, byte for byte what travels

    Values are int (of any size), float, str, bytes, bool, None, Decimal where a float would lose digits, and
    dict or list for nested JSON. `pk` and `payload` may be given as dicts or as JSON texts.
    """

    __slots__ = (*_FIELDS, "_pk", "_payload")

    version: int
    table_name: str
    pk_json: str
    operation: str
    payload_json: str | None
    origin: str
    timestamp: str
    seq: int | None

    def __init__(self, version, table_name, pk, operation, payload, origin, timestamp, seq=None):
        if operation not in _OPERATIONS:
            raise InvalidValue(f'operation must be "insert", "update" or "delete", not {operation!r}')
        put = object.__setattr__
        put(self, "version", version)
        put(self, "table_name", table_name)
        put(self, "pk_json", pk if isinstance(pk, str) else dump_row(pk))
        put(self, "operation", operation)
        put(self, "payload_json", payload if payload is None or isinstance(payload, str) else dump_row(payload))
        put(self, "origin", origin)
        put(self, "timestamp", timestamp)
        put(self, "seq", seq)

    @property
    def pk(self):
        """The key columns, a read-only dict."""
        return self._row("_pk", self.pk_json)

    @property
    def payload(self):
        """The row, a read-only dict; None for a delete."""
        return self._row("_payload", self.payload_json)

    def _row(self, slot, text):
        try:
            return getattr(self, slot)
        except AttributeError:
            row = None if text is None else load_row(text)
            object.__setattr__(self, slot, row)
            return row

    def _values(self):
        return tuple(getattr(self, name) for name in _FIELDS)

    def __setattr__(self, name, value):
        raise AttributeError(f"a Change cannot be altered; build another instead of setting {name!r}")

    def __delattr__(self, name):
        raise AttributeError("a Change cannot be altered")

    def __eq__(self, other):
        return self._values() == other._values() if isinstance(other, Change) else NotImplemented

    def __hash__(self):
        return hash(self._values())

    def __reduce__(self):
        return Change, self._values()

    def __repr__(self):
        row = "" if self.payload_json is None else f" {_short(self.payload_json)}"
        return f"<csync.Change {self.version}: {self.operation} {self.table_name} {_short(self.pk_json)}{row}>"


def _short(text, width=120):
    return text if len(text) <= width else text[: width - 3] + "..."


class Position(int):
    """A place in a replica's log: a version, and what proves that it is that replica's log as it was read.

    epoch   goes with the version: the `epoch` of the Batch whose `to_version` it is. None: unknown
    origin  whoever stands there
    cursor  where a snapshot goes on, "" at its beginning; None: it is a place in the log

    It is an int, the version. For a transport of your own, to_json carries all of it, and from_json brings it
    back for Replica.changes on the other side.
    """

    epoch: str | None
    origin: str | None
    cursor: str | None

    def __new__(cls, version=0, epoch=None, origin=None, cursor=None):
        self = super().__new__(cls, version)
        self.epoch = epoch
        self.origin = origin
        self.cursor = cursor
        return self

    def __reduce__(self):
        return Position, (int(self), self.epoch, self.origin, self.cursor)

    def __repr__(self):
        return f"Position({int(self)}, {self.epoch!r}, {self.origin!r}, {self.cursor!r})"

    def to_json(self):
        """A JSON text that from_json reads."""
        named = {"version": int(self), "epoch": self.epoch, "origin": self.origin, "cursor": self.cursor}
        return json.dumps({name: value for name, value in named.items() if value is not None})

    @classmethod
    def from_json(cls, text):
        """Reads what to_json wrote. InvalidValue: malformed."""
        try:
            found = json.loads(text)
            version = found.get("version", 0)
            texts = [found.get(name) for name in ("epoch", "origin", "cursor")]
        except (ValueError, AttributeError):
            raise InvalidValue(f"{text!r:.80} is no position") from None
        if not isinstance(version, int) or any(t is not None and not isinstance(t, str) for t in texts):
            raise InvalidValue(f"{text!r:.80} is no position")
        return cls(version, *texts)


@dataclass(frozen=True)
class Outcome:
    """What became of one change of a batch.

    status  "applied"; "duplicate": known already; "lost": `winner` beats it; "parked": it won but cannot
            enter its table yet, `reason` says why; "rejected": refused, `reason` says why; "conflict":
            `winner` is not the row that it was based on, and its author has to decide
    """

    status: str
    reason: str = ""
    winner: Change | None = None


@dataclass(frozen=True, repr=False)
class Result:
    """What a sync, pull, push or apply did.

    pulled      changes that won here
    pushed      changes that the peer took
    duplicates  changes that were known already
    lost        changes that an existing one beat, on either side
    conflicts   concurrent edits that were decided
    parked      changes that wait here for what they need
    rejected    changes that were refused
    batches, bytes   what travelled, both ways
    repaired    tables whose triggers or schema had changed and were repaired
    ahead_ms    how far a pulled change was ahead of this clock, where that is more than 5 minutes
    resyncs     snapshots that were merged because the peer's log did not lead on
    outcomes    apply only: Outcomes, one for each change of the batch; else None
    """

    pulled: int = 0
    pushed: int = 0
    duplicates: int = 0
    lost: int = 0
    conflicts: int = 0
    parked: int = 0
    rejected: int = 0
    batches: int = 0
    bytes: int = 0
    repaired: int = 0
    ahead_ms: int = 0
    resyncs: int = 0
    outcomes: Any = None

    def __repr__(self):
        always = ("pulled", "pushed")
        shown = (f"{name}={value}" for name, value in vars(self).items() if name in always or value)
        return f"Result({', '.join(shown)})"


@dataclass(frozen=True)
class Progress:
    """How far a sync is. phase: "pulling" or "pushing"; total: changes expected in this phase, 0: not known."""

    phase: str
    changes: int
    bytes: int
    total: int


@dataclass(frozen=True)
class State:
    """A replica's own numbers. The two positions are those at the peer last synced with."""

    origin: str
    max_version: int
    last_server_version: int
    last_push_version: int
    tables: int
    parked: int
    conflicts: int


@dataclass(frozen=True)
class Client:
    """Whoever reads a replica's log. stale: not heard of for so long that nothing is kept for it any more."""

    origin: str
    version: int
    last_sync: str
    created: str
    stale: bool


@dataclass(frozen=True)
class Advice:
    """Something that Replica.doctor has found. level: "error" (csync cannot work so, or writes are not captured), "warning" or
    "info"; help: a statement or advice, or empty where the text says it."""

    level: str
    subject: str
    text: str
    help: str


@dataclass(frozen=True)
class Holder:
    """An open transaction of a PostgreSQL database that holds the log back: nothing after `version` is given to anybody, and
    `waiting` versions wait. pid 0: a prepared transaction, named by `application`; None: this role may not see it."""

    pid: int
    user: str | None
    application: str | None
    state: str | None
    seconds: int | None
    version: int
    waiting: int


@dataclass(frozen=True)
class Purged:
    """What purge dropped: the log begins with `version` now."""

    version: int
    entries: int
    tombstones: int


@dataclass(frozen=True)
class Table:
    """A tracked table: capture is "full" or "keys"; key and columns are names in the table's order."""

    name: str
    capture: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Parked:
    """A change that won but cannot enter its table yet; `reason` is a word, `message` the database's own."""

    table: str
    pk: dict[str, Any]
    payload: dict[str, Any] | None
    origin: str
    timestamp: str
    reason: str
    message: str
    since: str


@dataclass(frozen=True)
class Conflict:
    """An entry of the conflict audit: `loser` met `winner`, and `decision` was made under `strategy`."""

    id: int
    at: str
    table: str
    pk: dict[str, Any]
    strategy: str
    decision: str
    loser: Change | None
    winner: Change | None


@dataclass(frozen=True)
class Step:
    """What a Session needs next.

    kind "fetch": a page of the peer's log with the changes after `since`, a Position, at most `limit` of them
    and about `max_bytes` bytes: what the peer's changes() returns; answer with Session.page. kind "send": deliver `batch`; answer with
    Session.outcome. kind "done": nothing.
    """

    kind: str
    since: Position = dataclasses.field(default_factory=Position)
    limit: int = 0
    max_bytes: int = 0
    batch: Any = None


@dataclass(frozen=True)
class Remote:
    """A peer that your own functions reach.

    fetch(from_version, batch_size)  returns a Batch or a list of Change: what the peer's changes() returns.
                                     from_version is a Position: an int that knows more
    send(batch)                      delivers; returns None (all taken) or what the peer's apply() returned
    name                             under which csync keeps how far it got; one for each peer
    digest(request)                  returns what the peer's digest() returns, for Replica.verify

    They run on the calling thread, outside any transaction. What they raise, the call raises; but after
    FullResyncRequired and ClockSkewError, which the peer's changes() and apply() raise, it goes on by itself.
    `csync.Remote(fetch=other.changes, send=other.apply, digest=other.digest)` is another replica.
    """

    fetch: Any = None
    send: Any = None
    name: str = "remote"
    digest: Any = None


@dataclass(frozen=True)
class Head:
    """What a replica knows of a row: state is "live", "deleted", "parked", or "none" (then the rest is None)."""

    state: str
    timestamp: str | None = None
    origin: str | None = None
    seq: int | None = None


@dataclass(frozen=True)
class Difference:
    """A row that is not the same on both sides.

    kind       "differs", "missing here", "missing there"
    local, remote   the Head on either side
    explained  "pending sync", "parked": nothing is wrong. "not captured": no head knows of a row. "wrong there":
               only the peer's row is not what its head says. "": the stamps are equal and the content is not
    repaired   the peer's row was taken; else `reason` may say why not
    """

    table: str
    pk: dict[str, Any]
    kind: str
    local: Head
    remote: Head
    explained: str
    repaired: bool
    reason: str


@dataclass(frozen=True)
class Comparison:
    """A table on both sides: rows or peer_rows is None where it is not tracked; the rest counts differences.

    note is "", "tracked here only", "tracked there only", or "other columns": then its rows are not compared.
    """

    table: str
    rows: int | None
    peer_rows: int | None
    differs: int
    missing_here: int
    missing_there: int
    note: str


@dataclass(frozen=True)
class Verification:
    """What Replica.verify found.

    equal     all tables were the same, before any repair
    tables    a Comparison for each
    rows      a Difference for each of the first rows that differ
    found     how many rows differ
    repaired  how many of them were repaired
    rounds, bytes   how often the peer was asked, and what travelled both ways
    """

    equal: bool
    tables: tuple[Comparison, ...]
    rows: tuple[Difference, ...]
    found: int
    repaired: int
    rounds: int
    bytes: int
