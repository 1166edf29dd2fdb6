"""What a client reads of a server, cut anywhere and full of anything: no event is lost, and whatever is wrong is one of the
errors that are documented."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import csync
from csync import _events, _peer, _wire

LINE_ENDS = ("\n", "\r\n", "\r")
WORDS = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), max_size=8)
EVENTS = st.tuples(st.sampled_from(["change", "resync", "other"]), st.integers(0, 99), st.lists(WORDS, min_size=1, max_size=3))
# What stands between two events and is none.
PADDING = st.sampled_from(["", ":", ": a comment", "retry: 5", "id: 7", "event: nothing", "unknown: field", "retry: soon"])
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"data", b"data:", b"data: ", b"data: {}", b"data: [", b"data: ]",
                b"event: change", b"event: connected", b"event: resync", b"event: bye", b"event:", b"id: -1", b": ",
                b"retry: ", b"9" * 5000, b"\xd9\xa3", b"\xc2\xb2", b'{"version":', b'"x"', b"1e999", b"null", b"}", b"{}, {}",
                b'{"version":7,"subscriptionId":7}', b'{"version":7,"subscriptionId":"a b\\n"}', b"[" * 9999, b"\0", b"\xff",
            ]
        ),
        st.binary(max_size=6),
    ),
    max_size=30,
).map(b"".join)  # fmt: skip
CUTS = st.lists(st.integers(0, 400), max_size=12)


def cut(data, cuts):
    """Its pieces; some may be empty."""
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[begin:end] for begin, end in zip(places, places[1:])]


def every_cut(data):
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    yield from ([data[:i], data[i:]] for i in range(len(data)))


def change(version):
    return {
        "version": version, "tableName": "note", "pkValue": '{"id":1}', "operation": "Delete", "payload": None,
        "origin": "device", "timestamp": "2025-01-01T00:00:00Z",
    }  # fmt: skip


def follower():
    made = _events.Follower("http://127.0.0.1:9", None, None, None, None)
    made.request()
    return made


# ---- events


def read(pieces):
    reader, got = _events.Events(), []
    for piece in pieces:
        got += reader.feed(piece)
    return got


def write(events, paddings, end):
    blocks = []
    for (event, number, lines), padding in zip(events, paddings):
        fields = [f"event: {event}", f"id: {number}", *(f"data: {line}" for line in lines)]
        blocks += [padding, "", *fields, ""] if padding else [*fields, ""]
    return "".join(line + end for line in blocks).encode()


@given(
    st.lists(EVENTS, max_size=5),
    st.lists(PADDING, min_size=5, max_size=5),
    st.sampled_from(LINE_ENDS),
    CUTS,
)
def test_no_event_is_lost_wherever_a_stream_is_cut(events, paddings, end, cuts):
    data = write(events, paddings, end)
    expected = [(event, str(number), "\n".join(lines)) for event, number, lines in events]
    assert read(cut(data, cuts)) == expected
    assert read(data[i : i + 1] for i in range(len(data))) == expected


@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_stream_is_read_alike_wherever_it_is_cut_in_two(end):
    data = write([("change", 1, ["a", "é"]), ("resync", 2, [""])], [": padding", "id: 7"], end)
    for pieces in every_cut(data):
        assert read(pieces) == [("change", "1", "a\né"), ("resync", "2", "")]
        assert read([*pieces, b"", data]) == [("change", "1", "a\né"), ("resync", "2", "")] * 2


@given(PIECES, CUTS)
@example(b"retry: " + b"9" * 5000 + b"\n\n", [])
@example(b"retry: " + b"9" * 400 + b"\n\n", [])
@example(b"event: change\ndata:\n\n", [])
@example(b"event: change\ndata: ],\"changes\":[\n\n", [])
@example(b'event: connected\ndata: {"version":"7\\r\\nX: y"}\n\n', [])
@example(b'event: connected\ndata: {"version":7,"subscriptionId":7}\n\n', [])
@example(b'event: resync\ndata: {"version":[]}\n\n', [])
@example(b"event: resync\ndata: " + b"[" * 9999 + b"\n\n", [])
def test_garbage_is_a_protocol_error_or_nothing(data, cuts):
    made = follower()
    try:
        for piece in cut(data, cuts):
            made.feed(piece)
    except csync.ProtocolError:
        pass
    made.farewell()
    assert 0 <= made.lost() <= _peer.LONGEST_WAIT
    assert made.request().data.count(b"\r\n\r\n") == 1  # and what it was told goes into no request as it came


@given(st.lists(st.one_of(PADDING.map(str.encode), st.binary(max_size=9).filter(lambda b: b"data" not in b)), max_size=9))
def test_changes_between_blocks_that_mean_nothing_are_all_there(blocks):
    made = follower()
    for version, block in enumerate(blocks, 1):
        text = json.dumps(change(version)).encode()
        made.feed(b"%s\n\nevent: change\nid: %d\ndata: %s\n\n" % (block, version, text))
    assert [c.version for c in made.ready] == list(range(1, len(blocks) + 1))


def test_an_event_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(_events, "EVENT_MAX", 1000)
    made = follower()
    with pytest.raises(csync.ProtocolError, match="without an end"):
        for _ in range(1001):
            made.feed(b"x")


# ---- responses

RESPONSES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b"HTTP/1.0 204\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n", b"\n",
                b"Content-Length: 3\r\n", b"Content-Length: ", b"Content-Length: " + b"9" * 5000 + b"\r\n", b"\xb2\xb3\xb9",
                b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"ffffffff\r\n", b": ", b" folded\r\n",
                b"Connection: close\r\n", b"X" * 70000, b"\0", b"\r",
            ]
        ),
        st.binary(max_size=6),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


@given(RESPONSES, CUTS)
@example(b"HTTP/1.1 \xb2\xb3\xb9 OK\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", [])
def test_a_garbled_response_is_a_broken_connection(data, cuts):
    response = _wire.Response()
    try:
        for piece in [*filter(None, cut(data, cuts)), b""]:
            if not response.complete:
                response.feed(piece)
    except _wire.Broken:
        return
    assert response.complete and 0 <= response.status <= 999


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("9" * 5000), st.just("²")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
PROBLEMS = st.fixed_dictionaries(
    {},
    optional={
        "code": st.one_of(st.sampled_from(sorted(_peer._BY_CODE)), JSON),
        "detail": JSON,
        "expected": JSON,
        "actual": JSON,
    },
)
RETRIES = st.one_of(
    st.none(),
    st.text(st.characters(max_codepoint=255, blacklist_categories=("Cc",)), max_size=12),
    st.sampled_from(["9" * 5000, "Mon, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 -2359"]),
)


@given(st.integers(100, 999), PROBLEMS, RETRIES)
@example(410, {"code": [], "expected": "²", "actual": "1"}, None)
@example(410, {"code": "CSYNC_EFULLRESYNC", "expected": "²", "actual": "1"}, None)
@example(410, {"code": "CSYNC_EFULLRESYNC", "expected": "9" * 5000, "actual": "1"}, None)
def test_a_garbled_refusal_is_one_of_our_errors(status, problem, retry):
    answer = _peer.Answer(status, {"Retry-After": retry}, json.dumps(problem).encode())
    assert isinstance(_peer.Server("http://127.0.0.1:9").failure(answer), csync.Error)
    assert _peer.wait(1, retry) >= 0
