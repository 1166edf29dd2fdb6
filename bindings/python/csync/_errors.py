"""The exceptions of csync. The C side looks them up here by name."""


class Error(Exception):
    """Base of everything that csync raises for a reason of its own.

    code         the name of the C code, such as "CSYNC_EDB"
    native_code  SQLite's extended result code, PostgreSQL's SQLSTATE as its MAKE_SQLSTATE makes it an int, or 0
    table        the table concerned, or None
    version      the version concerned, or None
    """

    code = "CSYNC_ERROR"
    native_code = 0
    table = None
    version = None


class DatabaseError(Error):
    """The database said no; native_code is its own code."""

    code = "CSYNC_EDB"


class ForeignKeyError(Error):
    """A foreign key cannot be satisfied."""

    code = "CSYNC_EFOREIGNKEY"


class HashMismatchError(Error):
    """Content and hash differ; `expected` and `actual` are the two hashes in hex."""

    code = "CSYNC_EHASH"
    expected = ""
    actual = ""


class FullResyncRequired(Error):
    """The peer's log no longer leads on from where this replica stands in it.

    client_version  where this replica stands
    oldest_version  where the peer's log begins now
    """

    code = "CSYNC_EFULLRESYNC"
    client_version = None
    oldest_version = None


class ClockSkewError(Error):
    """A change's author is too far ahead of the receiver's clock: `actual` is the change's time, `expected` the
    receiver's."""

    code = "CSYNC_ECLOCK"
    expected = ""
    actual = ""


class SchemaError(Error):
    """A table has no primary key, is a view, or cannot be tracked for another reason."""

    code = "CSYNC_ESCHEMA"


class NetworkError(Error, ConnectionError):
    """The peer cannot be reached."""

    code = "CSYNC_ENET"


class AuthError(Error):
    """The peer does not let us."""

    code = "CSYNC_EAUTH"


class ProtocolError(Error):
    """The peer answered what it must not."""

    code = "CSYNC_EPROTO"


class BusyError(Error):
    """The database is locked, a transaction is open, or the replica is in one of its own callbacks."""

    code = "CSYNC_EBUSY"


class Cancelled(Error):
    """Replica.cancel stopped the call; its open batch was rolled back."""

    code = "CSYNC_ECANCELED"


class Misuse(Error, ValueError):
    """A rule of the interface is broken: the replica is closed, `suppressed()` is nested."""

    code = "CSYNC_EMISUSE"


class NotFound(Error, KeyError):
    """What was named is not there."""

    code = "CSYNC_ENOTFOUND"
    __str__ = Exception.__str__  # KeyError would print the text in quotes


class Unsupported(Error):
    """This build, database or interpreter cannot do it; the message says what can."""

    code = "CSYNC_EUNSUPPORTED"


class InvalidValue(Error, ValueError):
    """A value is malformed or out of range."""

    code = "CSYNC_EINVAL"
