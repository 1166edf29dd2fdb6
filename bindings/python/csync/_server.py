"""csync.serve: the REST API and event streams over HTTP, on threads of their own."""

import os
import pathlib
import re
import warnings

from csync import _csync, _sqlite
from csync._api import hashed
from csync._errors import InvalidValue
from csync._replica import Replica


def _location(database):
    """The path or URL that opens the database once more."""
    if not isinstance(database, Replica):
        return os.fsdecode(os.fspath(database))
    if not database._is_connection:
        return database._name
    path = next(row[2] for row in database.execute("PRAGMA database_list") if row[1] == "main")
    if not path:
        raise InvalidValue("a server opens the database itself, so it has to be a file")
    return path


def _named(databases):
    """Pairs of name and location."""
    if isinstance(databases, dict):
        return tuple((name, _location(database)) for name, database in databases.items())
    if not isinstance(databases, (list, tuple)):
        return (("main", _location(databases)),)
    locations = [_location(database) for database in databases]
    return tuple((re.split("[.?]", pathlib.PurePath(location).name)[0], location) for location in locations)


class Server(_csync.Server):
    """A running server. Made by csync.serve, whose arguments it takes. Close it, or use it in a `with`.

    url     where it answers: "http://127.0.0.1:5000"
    closed  whether close() was called
    """

    def __new__(
        cls,
        databases,
        *,
        listen="127.0.0.1:5000",
        grants=(),
        tokens=None,
        tls=None,
        behind_proxy=False,
        origins=(),
        max_body=0,
        readers=0,
        queue=0,
        max_connections=0,
        max_per_address=0,
        max_streams=0,
        rate=0,
        header_timeout=0.0,
        body_timeout=0.0,
        idle_timeout=0.0,
        log=None,
    ):
        _sqlite.bind()
        certificate, key = (os.fsdecode(path) for path in tls) if tls else (None, None)
        return super().__new__(
            cls,
            _named(databases),
            hashed(grants),
            tuple(origins),
            listen,
            None if tokens is None else os.fsdecode(tokens),
            certificate,
            key,
            behind_proxy,
            max_body,
            readers,
            queue,
            max_connections,
            max_per_address,
            max_streams,
            rate,
            round(header_timeout * 1000),
            round(body_timeout * 1000),
            round(idle_timeout * 1000),
            0 if log is None else log if isinstance(log, int) else log.fileno(),
        )

    def __init__(self, databases, **options):
        super().__init__()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __del__(self, _warn=warnings.warn):
        if not self.closed:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)
            self.close()

    def __repr__(self):
        return f"<csync.Server {'closed' if self.closed else self.url}>"

    def reload(self):
        """Reads the file of tokens and the certificate again; who is connected has the new one from the next connection on. Event
        streams end, and their clients resume them. When it raises, all is as before."""
        self._reload()

    def close(self):
        """Lets the requests that run finish, for at most ten seconds, and frees the port."""
        self._stop()


def serve(databases, **options):
    """Serves one database, or several, over HTTP in the background: the REST API and event streams (docs/rest.md).

        with csync.serve("notes.db", listen="127.0.0.1:0") as server:
            phone.sync(server.url)

    databases        a path, a URL, a Replica (whose database is opened once more), a list of these, or {"name": one}.
                     Requests choose with ?db=name; names are those of the files, or "main" for a single one
    listen           "HOST:PORT"; port 0: any that is free
    grants           Grants; without any, and without tokens, only requests from this machine are answered
    tokens           a file of tokens: csync token add
    tls              (certificate, key): two PEM files
    behind_proxy     a proxy in front does TLS and says for whom it asks in X-Forwarded-For
    origins          of web pages whose scripts may ask: "https://app.example.org"
    max_body, readers, queue, max_connections, max_per_address, max_streams, rate, header_timeout, body_timeout,
    idle_timeout     limits, seconds for the last three; 0: the defaults of csync.h
    log              a file, or its descriptor: a line for each request, without queries and tokens

    An address that other machines can reach needs grants or tokens, and TLS or a proxy that has it (InvalidValue).
    Unsupported: there is no libmicrohttpd (Debian: libmicrohttpd12). NetworkError: the address is taken.
    """
    return Server(databases, **options)
