"""What is asked of a replica behind a URL, and what its answers mean. No I/O.

A conversation is a generator. It yields a Message, and is sent the Answer or thrown the OSError that became of it; or a
float, the seconds to wait. What it returns is the conversation's result. _http.py carries conversations out with
sockets, aio.py in an event loop.
"""

import base64
import email.utils
import json
import random
import ssl
import time
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from csync import _csync, _errors, _wire

ATTEMPTS = 5
FIRST_WAIT = 0.5  # seconds, at most; doubles with each attempt
LONGEST_WAIT = 60.0
SILENCE = 60.0  # seconds without a byte, after which a connection counts as lost
CONNECTING = 20.0  # seconds for a connection
SMALL = 1024  # bytes that are not worth a coding
LARGEST = 1 << 30  # bytes of an answer
_MOMENTARY = (429, 502, 503, 504)
_UNTOUCHED = (429, 503)  # of these: whoever answered so has done nothing
_LOCAL = ("localhost", "127.0.0.1", "::1")
_BY_CODE = {
    kind.code: kind for kind in vars(_errors).values() if isinstance(kind, type) and issubclass(kind, _errors.Error)
}


@dataclass(frozen=True)
class Message:
    """A request as bytes."""

    data: bytes


@dataclass(frozen=True)
class Answer:
    """A response: headers as _wire.Response has them."""

    status: int
    headers: Any
    body: bytes


class Stale(ConnectionError):
    """The connection was kept open, and ended without an answer: most likely the server had closed it before."""


class Server:
    """Where a URL leads, and what every request to it says.

    name    the URL without what may be secret
    tls     the ssl.SSLContext; None: plain HTTP
    host, port
    proxy   (host, port, Proxy-Authorization or None), as the environment says; None: none
    """

    def __init__(self, url, token=None):
        parts, port = _split(url)
        self.name = shown(parts)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _errors.InvalidValue(
                f"{self.name} is no http:// or https:// URL of a server; "
                "csync.open opens a database that can be reached from here"
            )
        if parts.username is not None or parts.password is not None:
            raise _errors.InvalidValue(f"{self.name}: say who you are with token=, not in the URL")
        is_local = parts.hostname in _LOCAL
        if token and parts.scheme == "http" and not is_local:
            raise _errors.InvalidValue(f"{self.name}: a token goes over https:// only, or to this machine")
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise _errors.InvalidValue("the token has characters that no token has")
        self.host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.proxy = None if is_local else _proxy(parts)
        self._base = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        self._authority = f"[{self.host}]" if ":" in self.host else self.host
        if port:
            self._authority += f":{port}"
        if self.proxy and not self.tls:
            self._base = f"http://{self._authority}{self._base}"
        self._query = parse_qsl(parts.query, keep_blank_values=True)
        self._token = token
        self._coding = None  # in which it takes bodies

    def tunnel(self):
        """The request that makes a proxy a way to the server; None: there is none to be made."""
        if not self.proxy or not self.tls:
            return None
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = f"{host}:{self.port}"
        return _wire.request("CONNECT", where, [("Host", where), *self._proxy_headers()])

    def _proxy_headers(self):
        return [("Proxy-Authorization", self.proxy[2])] if self.proxy and self.proxy[2] else []

    def message(self, method, path, query=(), headers=(), body=None):
        """A request to a path of the API."""
        sent = [
            ("Host", self._authority),
            ("User-Agent", f"csync/{_csync.version}"),
            *headers,
        ]
        if self._token:
            sent.append(("Authorization", f"Bearer {self._token}"))
        if not self.tls:
            sent += self._proxy_headers()
        if body is not None:
            sent.append(("Content-Type", "application/json"))
            if self._coding and len(body) >= SMALL:
                body = _csync.encode(self._coding, body)
                sent.append(("Content-Encoding", self._coding))
        pairs = [*self._query, *((name, value) for name, value in query if value is not None)]
        target = f"{self._base}{path}" + (f"?{urlencode(pairs)}" if pairs else "")
        return Message(_wire.request(method, target, sent, body))

    def ask(self, method, path, query=(), body=None, again=True):
        """A conversation about one request; returns the answer's body.

        again  whether it does no harm when the server gets it twice
        """
        codings = [("Accept", "application/json"), ("Accept-Encoding", _csync.codings() or "identity")]
        attempt = 1
        while True:
            try:
                answer = yield self.message(method, path, query, codings, body)
            except OSError as why:
                if again and isinstance(why, Stale):
                    continue
                if not again or attempt == ATTEMPTS or isinstance(why, ssl.SSLCertVerificationError):
                    raise _errors.NetworkError(f"{self.name} cannot be reached: {why}") from why
                given = None
            else:
                if answer.status == 415 and self._coding:  # it was another server that announced it
                    self._coding = None
                    continue
                if 200 <= answer.status < 300:
                    return self._content(answer)
                given = answer.headers.get("Retry-After")
                if answer.status not in (_MOMENTARY if again else _UNTOUCHED) or attempt == ATTEMPTS:
                    raise self.failure(answer)
                if _seconds(given) > LONGEST_WAIT:
                    raise self.failure(answer, f"; it wants {given} to pass before the next attempt")
            yield wait(attempt, given)
            attempt += 1

    def _content(self, answer):
        offered = [coding.strip() for coding in (answer.headers.get("Accept-Encoding") or "").split(",")]
        self._coding = next((c for c in _csync.codings().split(", ") if c in offered), None)
        coding = (answer.headers.get("Content-Encoding") or "identity").lower()
        if coding == "identity":
            return answer.body
        try:
            return _csync.decode(coding, answer.body, LARGEST)
        except (_errors.InvalidValue, _errors.Unsupported) as why:
            raise _errors.ProtocolError(f"{self.name} answered in a coding that cannot be read: {why}") from None

    @staticmethod
    def _elsewhere(answer):
        """Redirections are not followed: the token is for the host that the caller named."""
        try:
            where = shown(urlsplit(answer.headers.get("Location") or ""))
        except ValueError:
            where = "another place"
        return f"it says that it is at {where}; if that is right, give its URL"

    def failure(self, answer, more=""):
        """The exception that the peer's csync raised, as its problem document describes it."""
        problem = document(answer.body)
        detail = problem.get("detail")
        if not isinstance(detail, str):
            detail = self._elsewhere(answer) if 300 <= answer.status < 400 else None
        text = f"{self.name} answered {answer.status}" + (f": {detail}" if detail else "") + more
        if answer.status in (401, 403):
            return _errors.AuthError(text)
        made = _BY_CODE.get(str(problem.get("code")), _errors.ProtocolError)(text)
        expected, actual = problem.get("expected"), problem.get("actual")
        if isinstance(made, _errors.FullResyncRequired):
            if _is_count(str(expected)) and _is_count(str(actual)):
                made.oldest_version, made.client_version = int(expected), int(actual)
        elif isinstance(made, (_errors.HashMismatchError, _errors.ClockSkewError)):
            made.expected, made.actual = str(expected), str(actual)
        return made


# ---- Conversations


def origin(server):
    """The origin of the replica there: what is asked of it is kept under that, however it is reached."""
    state = document((yield from server.ask("GET", "/sync/state")))
    if not isinstance(state.get("origin"), str):
        raise _errors.ProtocolError(f"{server.name} is no replica of csync: it does not say its origin")
    return state["origin"]


def fetch(server, position, batch_size):
    """A Batch: the page at the Position."""
    query = [("batchSize", batch_size), ("origin", position.origin)]
    if position.cursor is not None:
        query.append(("cursor", position.cursor))
        return _csync.Batch.from_json((yield from server.ask("GET", "/sync/snapshot", query)))
    query += [("fromVersion", int(position)), ("epoch", position.epoch)]
    return _csync.Batch.from_json((yield from server.ask("GET", "/sync/changes", query)))


def send(server, batch):
    """The Outcomes of a push. It may arrive twice: a session's batch has an idempotency key."""
    body = batch.to_json().encode()
    again = b'"idempotencyKey":' in body
    return _csync.Outcomes.from_json((yield from server.ask("POST", "/sync/changes", body=body, again=again)))


def digest(server, request):
    """What the peer's digest() returns."""
    return (yield from server.ask("POST", "/sync/digest", body=request.encode())).decode()


# ---- What they share


def document(text):
    """The JSON object that it is; empty where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_count(text):
    """Whether it can be a version."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _split(url):
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise _errors.InvalidValue("the URL's host or port is malformed") from None


def shown(parts):
    """A URL that was split, without what may be secret."""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" if parts.scheme else f'"{parts.path}"'


def wait(attempt, given=None):
    """Seconds until the next attempt: what the server says, else up to 0.5, 1, 2, ... by chance."""
    asked = _seconds(given)
    if asked >= 0:
        return asked
    return random.uniform(0, min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT))


def _seconds(given):
    """Those of a Retry-After, which may be a date; -1: it is none."""
    if given and given.strip().isdecimal():
        return float(given)
    try:
        return max(email.utils.parsedate_to_datetime(given).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return -1.0


def _proxy(parts):
    """What http_proxy, https_proxy, all_proxy and no_proxy say of a URL."""
    proxies = urllib.request.getproxies()
    url = proxies.get(parts.scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(parts.netloc):
        return None
    found = urlsplit(url if "://" in url else f"http://{url}")
    if found.scheme != "http" or not found.hostname:
        raise _errors.InvalidValue(
            f"the environment names the proxy {shown(found)}; only http:// proxies can be used: set no_proxy"
        )
    who = None
    if found.username is not None:
        pair = f"{unquote(found.username)}:{unquote(found.password or '')}"
        who = "Basic " + base64.b64encode(pair.encode()).decode()
    return found.hostname, found.port or 80, who
