"""HTTP/1.1 as a client speaks it, as bytes (RFC 9112): requests are written, responses read as they come. No I/O."""

import http.client
import io

LINE_MAX = 64 << 10  # of a line, and of all headers together
NUMBER_MAX = 18  # digits


class Broken(ConnectionError):
    """The connection ended too early, or what came over it is no HTTP."""


def request(method, target, headers, body=None):
    """The bytes of a request; headers are pairs. A Content-Length is added where there is a body."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


class Response:
    """One response. feed() it what was received until it is complete; after the headers, `status` is there.

    status     None until the headers are here
    headers    an email.message.Message: get() finds a header whatever its case
    begun      something was received
    complete   nothing belongs to it any more
    reusable   when it is complete: the connection may carry another request
    """

    def __init__(self):
        self.status = self.headers = None
        self.begun = self.complete = self.reusable = False
        self._buffer = bytearray()
        self._body = bytearray()
        self._ended = False
        self._reading = self._read()
        next(self._reading)

    def feed(self, data):
        """Takes what was received, b"" when the connection has ended; returns what that adds to the body."""
        self._ended = not data
        self.begun = self.begun or not self._ended
        self._buffer += data
        try:
            next(self._reading)
        except StopIteration:
            self.complete = True
            self.reusable = self.reusable and not self._buffer and not self._ended
        body, self._body = bytes(self._body), bytearray()
        return body

    # Each of these waits for more by a `yield`.

    def _more(self):
        if self._ended:
            raise Broken("the connection ended in the middle of an answer")
        yield

    def _line(self):
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_MAX:
                raise Broken("the answer has a line without an end")
            yield from self._more()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def _exactly(self, count):
        while count:
            if not self._buffer:
                yield from self._more()
                continue
            piece = self._buffer[:count]
            del self._buffer[: len(piece)]
            self._body += piece
            count -= len(piece)

    def _head(self):
        """The status line and the headers of a final response."""
        while True:
            line = yield from self._line()
            version, _, rest = line.decode("latin-1").partition(" ")
            if version not in ("HTTP/1.1", "HTTP/1.0") or not _is_number(rest[:3]):
                raise Broken("what answers does not speak HTTP/1.1")
            block = bytearray()
            while (line := (yield from self._line())).strip(b"\r\n"):
                block += line
                if len(block) > LINE_MAX:
                    raise Broken("the answer's headers are too large")
            if not rest.startswith("1"):  # 100 Continue and the like
                return version, int(rest[:3]), _headers(bytes(block))

    def _chunks(self):
        while True:
            size = (yield from self._line()).partition(b";")[0].strip()
            if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
                raise Broken("the answer has a malformed chunk")
            yield from self._exactly(int(size, 16))
            if int(size, 16) == 0:
                while (yield from self._line()).strip(b"\r\n"):  # trailers
                    pass
                return
            if (yield from self._line()).strip(b"\r\n"):
                raise Broken("the answer has a malformed chunk")

    def _read(self):
        yield
        version, status, self.headers = yield from self._head()
        self.status = status
        closes = "close" in (self.headers.get("Connection") or "").lower()
        self.reusable = version == "HTTP/1.1" and not closes
        coding, lengths = self.headers.get("Transfer-Encoding"), self.headers.get_all("Content-Length", [])
        if status in (204, 304):
            return
        if coding is not None:
            if coding.strip().lower() != "chunked" or lengths:
                raise Broken("it is not clear where the answer ends")
            yield from self._chunks()
        elif lengths:
            if len(set(lengths)) > 1 or not _is_number(lengths[0].strip()):
                raise Broken("it is not clear where the answer ends")
            yield from self._exactly(int(lengths[0]))
        else:
            self.reusable = False
            while not self._ended:
                self._body += self._buffer
                self._buffer.clear()
                yield


def _is_number(text):
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_MAX


def _headers(block):
    try:
        return http.client.parse_headers(io.BytesIO(block + b"\r\n"))
    except http.client.HTTPException as why:
        raise Broken(f"the answer's headers are malformed: {why}") from None
