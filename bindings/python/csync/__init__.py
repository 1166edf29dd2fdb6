"""csync keeps databases in step: replicas are written offline and brought together by two-way sync.

    import csync

    with csync.open("notes.db") as db, csync.open("other.db") as other:
        db.track("note")
        other.track("note")
        print(db.sync(other))

A peer is another Replica or a csync.Remote, which reaches one through your own functions.
"""

from csync._csync import Batch, Outcomes, batch_hash, canonical_json, verify_hash
from csync._csync import version as __version__
from csync._api import Api, Grant, Request, Response, api
from csync._errors import (
    AuthError,
    BusyError,
    Cancelled,
    ClockSkewError,
    DatabaseError,
    Error,
    ForeignKeyError,
    FullResyncRequired,
    HashMismatchError,
    InvalidValue,
    Misuse,
    NetworkError,
    NotFound,
    ProtocolError,
    SchemaError,
    Unsupported,
)
from csync._feed import Subscription
from csync._model import (
    Advice,
    Change,
    Client,
    Comparison,
    Conflict,
    Difference,
    Head,
    Holder,
    Outcome,
    Parked,
    Position,
    Progress,
    Purged,
    Remote,
    Result,
    State,
    Step,
    Table,
    Verification,
)
from csync._remote_feed import RemoteSubscription, subscribe
from csync._replica import Replica, Session, open, resolve, trigger_sql
from csync._server import Server, serve
from csync import aio

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

# They are csync's, wherever they are written: reprs, help() and pickles say csync.Change.
for _public in list(vars().values()):
    if isinstance(_public, type) and _public.__module__.startswith("csync._"):
        _public.__module__ = "csync"
del _public
