"""A peer behind HTTP: a csync.Remote that speaks to another replica's REST API."""

import contextlib
import http.client
import json
import random
import ssl
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

from csync import _csync, _errors
from csync._model import Remote

ATTEMPTS = 5
LONGEST_WAIT = 60.0  # seconds
TIMEOUT = 60.0  # seconds of silence
_BY_CODE = {
    kind.code: kind for kind in vars(_errors).values() if isinstance(kind, type) and issubclass(kind, _errors.Error)
}


class Connection:
    """One server; it keeps its socket open between requests. One thread at a time."""

    def __init__(self, url, token):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _errors.InvalidValue(
                f"{_shown(parts)} is no http:// or https:// URL of a server; "
                "csync.open opens a database that can be reached from here"
            )
        if parts.username is not None or parts.password is not None:
            raise _errors.InvalidValue(f"{_shown(parts)}: say who you are with token=, not in the URL")
        if token and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise _errors.InvalidValue(f"{_shown(parts)}: a token goes over https:// only, or to this machine")
        self._base = parts.path.rstrip("/")
        self._query = parse_qsl(parts.query, keep_blank_values=True)
        self.name = _shown(parts)
        self._headers = {"Accept": "application/json", "User-Agent": f"csync/{_csync.version}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._http = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT, context=context)
        else:
            self._http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)

    def close(self):
        self._http.close()

    def get(self, path, **query):
        return self._ask("GET", path, query, None)

    def post(self, path, body):
        """Every POST of csync may be made again: a push has an idempotency key."""
        return self._ask("POST", path, {}, body.encode() if isinstance(body, str) else body)

    def _ask(self, method, path, query, body):
        query = {name: value for name, value in query.items() if value is not None}
        target = f"{self._base}{path}?{urlencode([*self._query, *query.items()])}"
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, given, answer = self._once(method, target, headers, body)
            except (OSError, http.client.HTTPException) as why:
                self._http.close()
                if attempt == ATTEMPTS or isinstance(why, ssl.SSLCertVerificationError):
                    raise _errors.NetworkError(f"{self.name} cannot be reached: {why}") from why
                status, given = None, None
            if status == 200:
                return answer
            if status not in (None, 429, 503) or attempt == ATTEMPTS:
                raise self._failure(status, answer)
            time.sleep(_wait(attempt, given))

    def _once(self, method, target, headers, body):
        self._http.request(method, target, body, headers)
        response = self._http.getresponse()
        return response.status, response.getheader("Retry-After"), response.read()

    def _failure(self, status, answer):
        """The exception that the peer's csync raised, as its problem document describes it."""
        problem = _problem(answer)
        detail = problem.get("detail")
        text = f"{self.name} answered {status}" + (f": {detail}" if isinstance(detail, str) else "")
        if status in (401, 403):
            return _errors.AuthError(text)
        made = _BY_CODE.get(problem.get("code"), _errors.ProtocolError)(text)
        expected, actual = problem.get("expected"), problem.get("actual")
        if isinstance(made, _errors.FullResyncRequired) and str(expected).isdigit() and str(actual).isdigit():
            made.oldest_version, made.client_version = int(expected), int(actual)
        elif isinstance(made, (_errors.HashMismatchError, _errors.ClockSkewError)):
            made.expected, made.actual = str(expected), str(actual)
        return made


def _problem(answer):
    try:
        problem = json.loads(answer)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _shown(parts):
    """The URL without what may be secret."""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" if parts.scheme else f'"{parts.path}"'


def _wait(attempt, given):
    """Seconds until the next attempt: what the server says, else up to 0.5, 1, 2, ... by chance."""
    if given and given.isdigit():
        return min(float(given), LONGEST_WAIT)
    return random.uniform(0, min(0.5 * 2 ** (attempt - 1), LONGEST_WAIT))


def _remote(connection):
    """What is asked of the replica behind the connection is kept under its origin, however it is reached."""
    state = _problem(connection.get("/sync/state"))
    if not isinstance(state.get("origin"), str):
        raise _errors.ProtocolError(f"{connection.name} is no replica of csync: it does not say its origin")

    def fetch(position, batch_size):
        query = {"batchSize": batch_size, "origin": position.origin}
        if position.cursor is not None:
            return _csync.Batch.from_json(connection.get("/sync/snapshot", cursor=position.cursor, **query))
        return _csync.Batch.from_json(
            connection.get("/sync/changes", fromVersion=int(position), epoch=position.epoch, **query)
        )

    def send(batch):
        return _csync.Outcomes.from_json(connection.post("/sync/changes", batch.to_json()))

    def digest(request):
        return connection.post("/sync/digest", request).decode()

    return Remote(fetch, send, state["origin"], digest)


@contextlib.contextmanager
def reach(peer, token=None):
    """The Remote for `peer`: a URL of a REST API, or a Remote already. What fails for a moment is tried again, five times
    in all. NetworkError: it cannot be reached. AuthError: it wants another token. ProtocolError: it is no csync."""
    if isinstance(peer, Remote):
        yield peer
    elif isinstance(peer, str):
        connection = Connection(peer, token)
        try:
            yield _remote(connection)
        finally:
            connection.close()
    else:
        raise TypeError(f"peer must be a csync.Replica, a URL or a csync.Remote, not {peer!r}")
