"""csync.api: the REST API as a function, and as a WSGI or ASGI application."""

import asyncio
import dataclasses
import datetime
import hashlib
import http
import math
from dataclasses import dataclass

from csync import _csync
from csync._errors import InvalidValue

_MAY = {"read": _csync.CSYNC_MAY_READ, "write": _csync.CSYNC_MAY_WRITE}
_LOCAL = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@dataclass(frozen=True)
class Grant:
    """What the bearer of a token may do. A token may have several grants: the first that covers a request counts.

    token     the token; only its hash is kept. Make one with secrets.token_urlsafe(32)
    client    the origin that it speaks for: it pushes only changes that were made there. None: anybody's (a relay)
    database  the name of the database; None: every one
    may       "read", "write"
    tables    their names: only their changes it is given, and may push. None: every table
    expires   a datetime with a time zone, from when on it counts no more. None: never
    """

    token: str = dataclasses.field(repr=False)
    client: str | None = None
    database: str | None = None
    may: tuple[str, ...] = ("read", "write")
    tables: tuple[str, ...] | None = None
    expires: datetime.datetime | None = None


@dataclass(frozen=True)
class Request:
    """An HTTP request: `query` as it stands in the URL, headers as pairs. local: it comes from this machine (what
    a proxy has forwarded does not)."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    local: bool = False


@dataclass(frozen=True)
class Response:
    """An HTTP response: headers as pairs; a Content-Length is the server's to add."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def rights(may):
    """The sum of CSYNC_MAY_... for "read", "write"."""
    if not set(may) <= set(_MAY) or not may:
        raise InvalidValue(f"may is {may!r}; it must hold some of {', '.join(_MAY)}")
    return sum(_MAY[m] for m in set(may))


def _tables(names):
    if names is not None and (isinstance(names, str) or not tuple(names)):
        raise InvalidValue(f"tables is {names!r}; it must hold names of tables, or be None for every table")
    return tuple(names or ())


def _milliseconds(moment):
    """Since 1970; 0: never."""
    if moment is None:
        return 0
    if moment.utcoffset() is None:
        raise InvalidValue(f"expires is {moment!r}, without a time zone; say which, as in datetime.now(UTC)")
    return max(1, math.floor(moment.timestamp() * 1000))


def hashed(grants):
    """What the core keeps of Grants."""
    return tuple(
        (
            hashlib.sha256(g.token.encode()).hexdigest(),
            g.client,
            g.database,
            rights(g.may),
            _milliseconds(g.expires),
            _tables(g.tables),
        )
        for g in grants
    )


class Api(_csync.Api):
    """Answers HTTP requests, without sockets. Made by csync.api, whose arguments it takes.

        response = csync.api(db)(csync.Request("GET", "/sync/state", local=True))

    `api.wsgi` is a WSGI application and `api.asgi` an ASGI one, for whatever server you have; the ASGI one answers on the
    event loop's default threads. Threads: any; requests to the same database wait for each other.

    Misuse: a replica of it is closed.
    """

    def __new__(cls, databases, *, grants=(), max_body=0):
        named = databases if isinstance(databases, dict) else {"main": databases}
        self = super().__new__(cls, tuple(named), tuple(named.values()), hashed(grants), max_body)
        self._max_body = max_body or 16 << 20
        return self

    def __call__(self, request):
        """The Response to a Request. What a request does wrong is a response, too: a problem document (RFC 9457)."""
        return Response(
            *self._handle(
                request.method, request.path, request.query, tuple(request.headers), request.body, request.local
            )
        )

    def wsgi(self, environ, start_response):
        """A WSGI application (PEP 3333)."""
        headers = [
            (key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")
        ]
        if environ.get("CONTENT_TYPE"):
            headers.append(("Content-Type", environ["CONTENT_TYPE"]))
        length = environ.get("CONTENT_LENGTH") or "0"
        body = environ["wsgi.input"].read(min(int(length), self._max_body + 1)) if length.isdigit() else b""
        response = self(
            Request(
                environ["REQUEST_METHOD"],
                environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
                environ.get("QUERY_STRING", ""),
                tuple(headers),
                body,
                environ.get("REMOTE_ADDR") in _LOCAL,
            )
        )
        start_response(
            f"{response.status} {http.HTTPStatus(response.status).phrase}",
            [*response.headers, ("Content-Length", str(len(response.body)))],
        )
        return [response.body]

    async def asgi(self, scope, receive, send):
        """An ASGI 3 application."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            if len(body) <= self._max_body:
                body += message.get("body", b"")
            more = message.get("more_body", False)
        request = Request(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
            body,
            (scope.get("client") or ("",))[0] in _LOCAL,
        )
        response = await asyncio.to_thread(self, request)
        headers = [(name.encode(), value.encode()) for name, value in response.headers]
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


def api(databases, *, grants=(), max_body=0):
    """The REST API of one Replica, or of several: {"name": replica}, which requests choose with ?db=name.

    grants    Grants; without any, only requests from this machine are answered
    max_body  bytes; a larger body is refused. 0: 16 MiB

    Returns an Api: call it with a Request, or mount its wsgi or asgi. The routes: docs/rest.md
    """
    return Api(databases, grants=grants, max_body=max_body)
