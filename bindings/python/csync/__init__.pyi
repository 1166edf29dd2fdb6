import datetime
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias, final

from csync import _csync
from csync import aio as aio
from csync._csync import Batch as Batch
from csync._csync import Outcomes as Outcomes
from csync._csync import batch_hash as batch_hash
from csync._csync import canonical_json as canonical_json
from csync._csync import verify_hash as verify_hash

__all__ = [
    "Advice",
    "Api",
    "AuthError",
    "Batch",
    "BusyError",
    "Cancelled",
    "Change",
    "Client",
    "ClockSkewError",
    "Comparison",
    "Conflict",
    "DatabaseError",
    "Difference",
    "Error",
    "ForeignKeyError",
    "FullResyncRequired",
    "HashMismatchError",
    "Grant",
    "Head",
    "Holder",
    "InvalidValue",
    "Misuse",
    "NetworkError",
    "NotFound",
    "Outcome",
    "Outcomes",
    "Parked",
    "Position",
    "Progress",
    "ProtocolError",
    "Purged",
    "Remote",
    "RemoteSubscription",
    "Replica",
    "Request",
    "Response",
    "Result",
    "SchemaError",
    "Server",
    "Session",
    "State",
    "Step",
    "Subscription",
    "Table",
    "Unsupported",
    "Verification",
    "__version__",
    "aio",
    "api",
    "batch_hash",
    "canonical_json",
    "open",
    "resolve",
    "serve",
    "subscribe",
    "trigger_sql",
    "verify_hash",
]

__version__: str

# bool, bytes, dict, Decimal, float, int, list, None or str: see csync.Change
_Row: TypeAlias = dict[str, Any]
_SqlValue: TypeAlias = None | int | float | str | bytes | bytearray | memoryview
_Operation: TypeAlias = Literal["insert", "update", "delete"]
_Strategy: TypeAlias = Literal["last-write-wins", "server-wins", "client-wins", "custom"]
_Capture: TypeAlias = Literal["full", "keys"]
_Direction: TypeAlias = Literal["both", "pull", "push"]
_Decision: TypeAlias = Literal["local", "remote"] | _Row | None
_OnConflict: TypeAlias = Callable[[Change, Change, Change | None], _Decision]
_OnProgress: TypeAlias = Callable[[Progress], object]
_Fetch: TypeAlias = Callable[[Position, int], Batch | Iterable[Change]]
_Send: TypeAlias = Callable[[Batch], Outcomes | Result | None]
_Digest: TypeAlias = Callable[[str], str]

class Error(Exception):
    code: str
    native_code: int
    table: str | None
    version: int | None

class DatabaseError(Error):
    code: str

class ForeignKeyError(Error):
    code: str

class HashMismatchError(Error):
    code: str
    expected: str
    actual: str

class FullResyncRequired(Error):
    code: str
    client_version: int | None
    oldest_version: int | None

class ClockSkewError(Error):
    code: str
    expected: str
    actual: str

class SchemaError(Error):
    code: str

class NetworkError(Error, ConnectionError):
    code: str

class AuthError(Error):
    code: str

class ProtocolError(Error):
    code: str

class BusyError(Error):
    code: str

class Cancelled(Error):
    code: str

class Misuse(Error, ValueError):
    code: str

class NotFound(Error, KeyError):
    code: str

class Unsupported(Error):
    code: str

class InvalidValue(Error, ValueError):
    code: str

class Change:
    @property
    def version(self) -> int: ...
    @property
    def table_name(self) -> str: ...
    @property
    def pk(self) -> _Row: ...
    @property
    def pk_json(self) -> str: ...
    @property
    def operation(self) -> _Operation: ...
    @property
    def payload(self) -> _Row | None: ...
    @property
    def payload_json(self) -> str | None: ...
    @property
    def origin(self) -> str: ...
    @property
    def timestamp(self) -> str: ...
    @property
    def seq(self) -> int | None: ...
    def __init__(
        self,
        version: int,
        table_name: str,
        pk: Mapping[str, Any] | str,
        operation: _Operation,
        payload: Mapping[str, Any] | str | None,
        origin: str,
        timestamp: str,
        seq: int | None = None,
    ) -> None: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

class Position(int):
    epoch: str | None
    origin: str | None
    cursor: str | None
    def __new__(
        cls, version: int = 0, epoch: str | None = None, origin: str | None = None, cursor: str | None = None
    ) -> Self: ...
    def to_json(self) -> str: ...
    @classmethod
    def from_json(cls, text: str | bytes) -> Self: ...

@dataclass(frozen=True)
class Client:
    origin: str
    version: int
    last_sync: str
    created: str
    stale: bool

@dataclass(frozen=True)
class Advice:
    level: Literal["error", "warning", "info"]
    subject: str
    text: str
    help: str

@dataclass(frozen=True)
class Holder:
    pid: int
    user: str | None
    application: str | None
    state: str | None
    seconds: int | None
    version: int
    waiting: int

@dataclass(frozen=True)
class Purged:
    version: int
    entries: int
    tombstones: int

@dataclass(frozen=True)
class Outcome:
    status: Literal["applied", "duplicate", "lost", "parked", "rejected", "conflict"]
    reason: str = ...
    winner: Change | None = ...

@dataclass(frozen=True)
class Result:
    pulled: int = ...
    pushed: int = ...
    duplicates: int = ...
    lost: int = ...
    conflicts: int = ...
    parked: int = ...
    rejected: int = ...
    batches: int = ...
    bytes: int = ...
    repaired: int = ...
    ahead_ms: int = ...
    resyncs: int = ...
    outcomes: Outcomes | None = ...

@dataclass(frozen=True)
class Progress:
    phase: Literal["pulling", "pushing"]
    changes: int
    bytes: int
    total: int

@dataclass(frozen=True)
class State:
    origin: str
    max_version: int
    last_server_version: int
    last_push_version: int
    tables: int
    parked: int
    conflicts: int

@dataclass(frozen=True)
class Table:
    name: str
    capture: _Capture
    key: tuple[str, ...]
    columns: tuple[str, ...]

@dataclass(frozen=True)
class Parked:
    table: str
    pk: _Row
    payload: _Row | None
    origin: str
    timestamp: str
    reason: str
    message: str
    since: str

@dataclass(frozen=True)
class Conflict:
    id: int
    at: str
    table: str
    pk: _Row
    strategy: str
    decision: str
    loser: Change | None
    winner: Change | None

@dataclass(frozen=True)
class Step:
    kind: Literal["fetch", "send", "done"]
    since: Position = ...
    limit: int = ...
    max_bytes: int = ...
    batch: Batch | None = ...

@dataclass(frozen=True)
class Remote:
    fetch: _Fetch | None = ...
    send: _Send | None = ...
    name: str = ...
    digest: _Digest | None = ...

@dataclass(frozen=True)
class Head:
    state: Literal["live", "deleted", "parked", "none"]
    timestamp: str | None = ...
    origin: str | None = ...
    seq: int | None = ...

@dataclass(frozen=True)
class Difference:
    table: str
    pk: _Row
    kind: Literal["differs", "missing here", "missing there"]
    local: Head
    remote: Head
    explained: Literal["", "pending sync", "parked", "not captured", "wrong there"]
    repaired: bool
    reason: str

@dataclass(frozen=True)
class Comparison:
    table: str
    rows: int | None
    peer_rows: int | None
    differs: int
    missing_here: int
    missing_there: int
    note: Literal["", "tracked here only", "tracked there only", "other columns"]

@dataclass(frozen=True)
class Verification:
    equal: bool
    tables: tuple[Comparison, ...]
    rows: tuple[Difference, ...]
    found: int
    repaired: int
    rounds: int
    bytes: int

class Replica(_csync.Replica):
    def __init__(
        self,
        database: str | bytes | os.PathLike[str] | os.PathLike[bytes] | sqlite3.Connection,
        *,
        origin: str | None = None,
        timeout: float = 5.0,
        foreign_keys: bool = True,
    ) -> None: ...
    def __enter__(self) -> Replica: ...
    def __exit__(
        self,
        *exc_info: type[BaseException] | BaseException | TracebackType | None,
    ) -> None: ...
    @property
    def origin(self) -> str: ...
    @property
    def state(self) -> State: ...
    def track(self, *tables: str, capture: _Capture = "full") -> None: ...
    def untrack(self, *tables: str) -> None: ...
    def tables(self) -> list[Table]: ...
    def sync(
        self,
        peer: Replica | Remote | str,
        *,
        strategy: _Strategy | None = None,
        on_conflict: _OnConflict | None = None,
        batch_size: int = 1000,
        max_retry_passes: int = 3,
        progress: _OnProgress | None = None,
        full_resync: bool = True,
        token: str | None = None,
    ) -> Result: ...
    def pull(
        self,
        peer: Replica | Remote | str,
        *,
        strategy: _Strategy | None = None,
        on_conflict: _OnConflict | None = None,
        batch_size: int = 1000,
        max_retry_passes: int = 3,
        progress: _OnProgress | None = None,
        full_resync: bool = True,
        token: str | None = None,
    ) -> Result: ...
    def push(
        self,
        peer: Replica | Remote | str,
        *,
        strategy: _Strategy | None = None,
        on_conflict: _OnConflict | None = None,
        batch_size: int = 1000,
        max_retry_passes: int = 3,
        progress: _OnProgress | None = None,
        full_resync: bool = True,
        token: str | None = None,
    ) -> Result: ...
    def changes(self, since: int = 0, limit: int = 1000, *, max_bytes: int = 0) -> Batch: ...
    def apply(
        self,
        changes: Batch | Iterable[Change],
        *,
        strategy: _Strategy | None = None,
        on_conflict: _OnConflict | None = None,
        max_retry_passes: int = 3,
        progress: _OnProgress | None = None,
    ) -> Result: ...
    def subscribe(
        self,
        table: str | None = None,
        pk: _Row | str | None = None,
        *,
        since: int | None = None,
        id: str | None = None,
    ) -> Subscription: ...
    def clients(self, days: int = 90) -> list[Client]: ...
    def stale_clients(self, days: int = 90) -> list[Client]: ...
    def register_client(self, origin: str, version: int = 0) -> None: ...
    def forget_client(self, origin: str) -> None: ...
    def safe_purge_version(self, days: int = 90) -> int: ...
    def purge(self, days: int = 90) -> Purged: ...
    def parked(self) -> list[Parked]: ...
    def lag(self) -> list[Holder]: ...
    def doctor(self) -> list[Advice]: ...
    def conflicts(self, since_id: int = 0, limit: int = 1000) -> list[Conflict]: ...
    def verify(
        self, peer: Replica | Remote | str, *, repair: bool = False, limit: int = 1000, token: str | None = None
    ) -> Verification: ...
    def execute(self, sql: str, params: Sequence[_SqlValue] = ()) -> list[tuple[Any, ...]]: ...
    def suppressed(self) -> AbstractContextManager[None]: ...

class Subscription(_csync.Subscription):
    def __new__(
        cls,
        replica: Replica,
        table: str | None = None,
        pk: _Row | str | None = None,
        *,
        since: int | None = None,
        id: str | None = None,
    ) -> Subscription: ...
    @property
    def version(self) -> int: ...
    def next(self, timeout: float | None = None) -> Batch | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Subscription: ...
    def __exit__(
        self,
        *exc_info: type[BaseException] | BaseException | TracebackType | None,
    ) -> None: ...
    def __iter__(self) -> Subscription: ...
    def __next__(self) -> Change: ...
    def __aiter__(self) -> Subscription: ...
    async def __anext__(self) -> Change: ...

class RemoteSubscription:
    closed: bool
    version: int | None
    def __init__(
        self,
        url: str,
        table: str | None = None,
        pk: _Row | str | None = None,
        *,
        since: int | None = None,
        token: str | None = None,
    ) -> None: ...
    def next(self, timeout: float | None = None) -> Batch | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> RemoteSubscription: ...
    def __exit__(
        self,
        *exc_info: type[BaseException] | BaseException | TracebackType | None,
    ) -> None: ...
    def __iter__(self) -> RemoteSubscription: ...
    def __next__(self) -> Change: ...

class Session(_csync.Session):
    def __new__(
        cls,
        replica: Replica,
        peer: str,
        *,
        direction: _Direction = "both",
        strategy: _Strategy | None = None,
        on_conflict: _OnConflict | None = None,
        batch_size: int = 1000,
        max_retry_passes: int = 3,
        progress: _OnProgress | None = None,
        full_resync: bool = True,
    ) -> Session: ...
    @property
    def result(self) -> Result: ...

@dataclass(frozen=True)
class Grant:
    token: str
    client: str | None = ...
    database: str | None = ...
    may: tuple[str, ...] = ...
    tables: tuple[str, ...] | None = ...
    expires: datetime.datetime | None = ...

@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str = ...
    headers: tuple[tuple[str, str], ...] = ...
    body: bytes = ...
    local: bool = ...

@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

class Api(_csync.Api):
    def __new__(
        cls, databases: Replica | dict[str, Replica], *, grants: Iterable[Grant] = (), max_body: int = 0
    ) -> Api: ...
    def __call__(self, request: Request) -> Response: ...
    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]: ...
    async def asgi(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None: ...

_Served: TypeAlias = str | os.PathLike[str] | Replica

class Server(_csync.Server):
    def __new__(
        cls,
        databases: _Served | list[_Served] | tuple[_Served, ...] | dict[str, _Served],
        *,
        listen: str = "127.0.0.1:5000",
        grants: Iterable[Grant] = (),
        tokens: str | os.PathLike[str] | None = None,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        behind_proxy: bool = False,
        origins: Iterable[str] = (),
        max_body: int = 0,
        readers: int = 0,
        queue: int = 0,
        max_connections: int = 0,
        max_per_address: int = 0,
        max_streams: int = 0,
        rate: int = 0,
        header_timeout: float = 0.0,
        body_timeout: float = 0.0,
        idle_timeout: float = 0.0,
        log: int | IO[Any] | None = None,
    ) -> Server: ...
    def __init__(self, databases: Any, **options: Any) -> None: ...
    def __enter__(self) -> Server: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def __del__(self, _warn: Callable[..., None] = ...) -> None: ...
    def reload(self) -> None: ...
    def close(self) -> None: ...

def serve(
    databases: _Served | list[_Served] | tuple[_Served, ...] | dict[str, _Served], **options: Any
) -> Server: ...
def subscribe(
    url: str,
    table: str | None = None,
    pk: _Row | str | None = None,
    *,
    since: int | None = None,
    token: str | None = None,
) -> RemoteSubscription: ...
def open(
    database: str | bytes | os.PathLike[str] | os.PathLike[bytes] | sqlite3.Connection,
    *,
    origin: str | None = None,
    timeout: float = 5.0,
    foreign_keys: bool = True,
) -> Replica: ...
def api(
    databases: Replica | dict[str, Replica], *, grants: Iterable[Grant] = (), max_body: int = 0
) -> Api: ...
def resolve(local: Change, remote: Change, strategy: _Strategy = "last-write-wins") -> Literal["local", "remote"]: ...
def trigger_sql(replica: Replica, table: str, capture: _Capture = "full") -> str: ...
