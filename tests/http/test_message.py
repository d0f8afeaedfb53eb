"""HTTP/1.1 messages: what a request's head may hold, and what is read of a response, however cut.

Each kind of response is read whole, byte by byte, and with something behind it. What h11 makes of
the same bytes is asked by the fuzz target `http_response`.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterable

import attrs
import httpx
import pytest

from lktrio._http.head import host_field, request_head
from lktrio._http.message import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_INTERIM,
    MAX_LINES,
    MAX_TRAILER_BYTES,
    ResponseReader,
)
from tests.support.answers import one_by_one
from tests.support.linear_work import calls_made

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ANOTHER = OK + b"Content-Length: 7\r\n\r\nforeign"


@attrs.frozen
class Outcome:
    """What was read."""

    status: int
    body: bytes
    is_over: bool
    is_reusable: bool


def read(pieces: Iterable[bytes], method: bytes = b"GET", *, ends: bool = False) -> Outcome:
    """Read what arrives; if ``ends``, with the end of the connection behind it."""
    reader = ResponseReader(method)
    body = b"".join([reader.feed(piece) for piece in pieces])
    if ends:
        reader.feed_end()
    return Outcome(reader.status_code, body, reader.is_over, reader.is_reusable)


def refusal_of(pieces: Iterable[bytes], method: bytes = b"GET") -> str:
    """What is said of a response that is refused; its connection is not used again."""
    reader = ResponseReader(method)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        for piece in pieces:
            reader.feed(piece)
        reader.feed_end()
    assert not reader.is_reusable
    return str(caught.value)


# --- What is read --------------------------------------------------------------------------------


@attrs.frozen
class Kind:
    """A response, and what it is read as."""

    sent: bytes
    body: bytes = b"hello"
    status: int = 200
    is_reusable: bool = True
    """Whether another request may follow."""


KINDS = {
    "length": Kind(OK + b"Content-Length: 5\r\n\r\nhello"),
    "length of nothing": Kind(OK + b"Content-Length: 0\r\n\r\n", b""),
    "length with blanks around it": Kind(OK + b"Content-Length: \t 5 \t\r\n\r\nhello"),
    "chunks": Kind(CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    "chunks in capitals": Kind(OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "chunks with extensions": Kind(CHUNKED + b'5;a;b=c;d="e f"\r\nhello\r\n0;x\r\n\r\n'),
    "chunks with leading zeros": Kind(CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n"),
    "chunks with trailers": Kind(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
    "no chunk": Kind(CHUNKED + b"0\r\n\r\n", b""),
    "no reason": Kind(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"),
    "no field": Kind(b"HTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    "not modified, with the length it would have": Kind(
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", 304
    ),
    "an error": Kind(b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nhello", status=503),
    "a status nobody knows": Kind(b"HTTP/1.1 799 X\r\nContent-Length: 5\r\n\r\nhello", status=799),
    "text beyond ASCII": Kind(OK + b"X: \xc3\xa9\xff\r\nContent-Length: 5\r\n\r\nhello"),
    "an empty line first": Kind(b"\r\n" + OK + b"Content-Length: 5\r\n\r\nhello"),
    "interim responses": Kind(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + OK
        + b"Content-Length: 5\r\n\r\nhello"
    ),
    "HTTP/1.0 that keeps alive": Kind(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "HTTP/1.0": Kind(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", is_reusable=False),
    "a farewell": Kind(
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", is_reusable=False
    ),
    "a farewell among others": Kind(
        OK + b"Connection: x,\tClose\r\nContent-Length: 5\r\n\r\nhello", is_reusable=False
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_response_is_read_the_same_whole_and_byte_by_byte(name: str) -> None:
    kind = KINDS[name]
    expected = Outcome(kind.status, kind.body, is_over=True, is_reusable=kind.is_reusable)

    assert read([kind.sent]) == expected
    assert read(one_by_one(kind.sent)) == expected
    # A bare line end behind it belongs to nobody, and harms nobody.
    assert read([kind.sent + b"\r\n"]) == expected


SURPLUS = {
    "another response": ANOTHER,
    "its first byte": b"H",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a change of protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    ),
    "garbage": b"\x00\xff",
    "a blank": b" ",
    "a line end, and more": b"\r\n" + ANOTHER,
    "a chunk": b"7\r\nforeign\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("surplus", SURPLUS)
def test_what_follows_a_response_is_no_part_of_it_and_ends_the_connection(surplus: str) -> None:
    for kind in KINDS.values():
        check_surplus(kind, SURPLUS[surplus])


def check_surplus(kind: Kind, behind: bytes) -> None:
    expected = Outcome(kind.status, kind.body, is_over=True, is_reusable=False)

    assert read([kind.sent + behind]) == expected
    assert read(one_by_one(kind.sent + behind)) == expected
    # It may come alone, too, and in parts.
    assert read([kind.sent, behind]) == expected
    for size in range(1, len(behind)):
        assert read([kind.sent + behind[:size], behind[size:]]) == expected


def test_a_body_without_length_goes_to_the_end_of_the_connection() -> None:
    sent = OK + b"\r\nhello" + ANOTHER
    expected = Outcome(200, b"hello" + ANOTHER, is_over=True, is_reusable=False)

    assert read([sent], ends=True) == expected
    assert read(one_by_one(sent), ends=True) == expected


def test_the_head_is_there_before_the_body() -> None:
    reader = ResponseReader()
    assert not reader.has_begun
    assert reader.feed(b"HTTP/1.1 404 Not") == b""
    assert (reader.has_begun, reader.has_head) == (True, False)
    assert reader.feed(b" Found\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\n") == b""
    assert (reader.has_head, reader.status_code, reader.reason) == (True, 404, b"Not Found")
    assert reader.fields == [(b"X-A", b"1"), (b"x-a", b"2"), (b"Content-Length", b"2")]
    assert not reader.is_over
    assert reader.feed(b"h") == b"h"
    assert reader.feed(b"i") == b"i"
    assert reader.is_over


def test_fields_behind_the_body_are_no_header() -> None:
    reader = ResponseReader()
    reader.feed(CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert reader.fields == [(b"Transfer-Encoding", b"chunked")]


def test_what_is_interim_leaves_nothing_in_the_response() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n")
    reader.feed(b"X: interim\r\n\r\n")
    assert (reader.has_head, reader.interim) == (False, 1)
    reader.feed(OK + b"X: y\r\nContent-Length: 0\r\n\r\n")
    assert reader.fields == [(b"X", b"y"), (b"Content-Length", b"0")]
    assert reader.reason == b"OK"


# --- HEAD and CONNECT ----------------------------------------------------------------------------

HEADS = {
    "length": OK + b"Content-Length: 5\r\n\r\n",
    "no length of anything": OK + b"Content-Length: 0\r\n\r\n",
    "chunks": CHUNKED,
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("method", [b"HEAD", b"CONNECT"])
def test_a_response_that_has_no_body_is_over_with_its_head(method: bytes, name: str) -> None:
    # Behind a success to CONNECT stands the tunnel: nothing else can be asked on it.
    expected = Outcome(200, b"", is_over=True, is_reusable=method == b"HEAD")
    assert read([HEADS[name]], method) == expected
    assert read(one_by_one(HEADS[name]), method) == expected
    assert read([HEADS[name] + b"\r\n"], method) == expected


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("method", [b"HEAD", b"CONNECT"])
def test_what_follows_a_response_without_body_is_no_body(method: bytes, name: str) -> None:
    expected = Outcome(200, b"", is_over=True, is_reusable=False)
    for surplus in (*SURPLUS.values(), b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n"):
        assert read([HEADS[name] + surplus], method) == expected
        assert read(one_by_one(HEADS[name] + surplus), method) == expected


def test_a_refusal_of_a_tunnel_has_a_body() -> None:
    sent = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\nhello"
    expected = Outcome(407, b"hello", is_over=True, is_reusable=True)
    assert read([sent], b"CONNECT") == expected


# --- What is read although it is malformed --------------------------------------------------------

LENIENT = {
    "line ends without CR": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "one line end without CR": OK + b"X: y\nContent-Length: 5\r\n\r\nhello",
    "the last line end without CR": OK + b"Content-Length: 5\r\n\nhello",
    "line ends without CR, behind empty lines": (
        b"\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello"
    ),
    "line ends without CR, behind an interim response": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello"
    ),
    "line ends without CR, behind an interim response and empty lines": (
        b"HTTP/1.1 100 Continue\r\n\r\n\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello"
    ),
    "line ends without CR in an interim response": (
        b"HTTP/1.1 100 Continue\n\n" + OK + b"Content-Length: 5\r\n\r\nhello"
    ),
    "a folded line": OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    "a line folded by a tab": OK + b"X: a\r\n\tb\r\nContent-Length: 5\r\n\r\nhello",
    "a folded length": OK + b"Content-Length:\r\n 5\r\n\r\nhello",
    "a folded coding": OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "a length beside chunks": (
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ),
    "a coding in an interim response": (
        b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"
        + OK
        + b"Content-Length: 5\r\n\r\nhello"
    ),
    "a length behind the chunks": CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    "chunks in HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("name", LENIENT)
def test_what_servers_send_malformed_is_read_but_the_connection_not_kept(name: str) -> None:
    expected = Outcome(200, b"hello", is_over=True, is_reusable=False)
    assert read([LENIENT[name]]) == expected
    assert read(one_by_one(LENIENT[name])) == expected


@pytest.mark.parametrize("method", [b"HEAD", b"CONNECT"])
def test_without_a_body_leniency_costs_the_connection_too(method: bytes) -> None:
    expected = Outcome(200, b"", is_over=True, is_reusable=False)
    assert read([b"HTTP/1.1 200 OK\nContent-Length: 5\n\n"], method) == expected


# --- What is refused -----------------------------------------------------------------------------

REFUSED = {
    "other protocols": [
        b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"ICE/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"<html>hello</html>",
    ],
    "other protocols behind an interim response": [
        b"HTTP/1.1 100 Continue\r\n\r\nRTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\n\nICE/1.0 200 OK\nContent-Length: 5\n\nhello",
    ],
    "a status that is none": [
        b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    "a change of protocol": [
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
        b"HTTP/1.1 101 Switching\r\n\r\nhello",
    ],
    "lengths that differ": [OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"],
    "a length that is none": [
        OK + b"Content-Length: " + length + b"\r\n\r\nhello"
        for length in (b"", b"+5", b"-5", b"0x5", b"5,5", b"5 5", b"five", b"9" * 30, b"\x0c5")
    ],
    "codings other than chunked": [
        OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        for coding in (
            b"gzip",
            b"chunked, gzip",
            b"gzip, chunked",
            b"chunked, chunked",
            b"xchunked",
            b"identity",
            b'"chunked"',
            b"\x0bchunked",
            b"",
        )
    ],
    "a coding told twice": [
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    "names that are none": [
        OK + line + b"\r\nContent-Length: 5\r\n\r\nhello"
        for line in (b"X", b": x", b"X Y: z", b"X : y", b"X\t: y", b"X\x00: y", b"\xe9: y")
    ],
    "a blank that hides the framing": [
        OK + b"Content-Length : 5\r\n\r\nhello",
        OK + b"Transfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b" Content-Length: 9\r\nContent-Length: 5\r\n\r\nhello",
        OK + b" \r\nContent-Length: 5\r\n\r\nhello",
    ],
    "control characters": [
        OK + b"X: a\x00b\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X: a\x1bb\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X: a\x7fb\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X: a\rb\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X:\r a\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    "chunks that are none": [
        CHUNKED + chunks
        for chunks in (
            b"x\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"\r\n5\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX\r\n\r\n",
        )
    ],
    "a body behind an interim response": [
        b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + OK + b"\r\n"
    ],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    for sent in REFUSED[name]:
        assert "no proper HTTP response" in refusal_of([sent])
        assert "no proper HTTP response" in refusal_of(one_by_one(sent))


def test_what_was_good_before_something_malformed_is_read() -> None:
    reader = ResponseReader()
    assert reader.feed(CHUNKED + b"5\r\nhello\r\nx") == b"hello"
    assert reader.is_refused
    assert not reader.is_over
    with pytest.raises(httpx.RemoteProtocolError, match="no proper HTTP response"):
        reader.feed(b"")
    with pytest.raises(httpx.RemoteProtocolError, match="no proper HTTP response"):
        reader.feed_end()


# --- The end of the connection -------------------------------------------------------------------

CUT = {
    "": "without a response",
    "\r\n": "within the head",
    "HTTP/1.1 20": "within the head",
    "HTTP/1.1 100 Continue\r\n\r\n": "within the head",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell": "before the body",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n": "before the body",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n": "before the body",
}


@pytest.mark.parametrize("sent", CUT)
def test_a_response_that_is_cut_off_is_no_response(sent: str) -> None:
    assert CUT[sent] in refusal_of(one_by_one(sent.encode("ascii")))


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_an_end_that_may_be_a_cut_completes_no_body(version: bytes) -> None:
    reader = ResponseReader()
    reader.feed(version + b" 200 OK\r\n\r\nhello")
    with pytest.raises(httpx.RemoteProtocolError, match="before the body"):
        reader.feed_end(is_clean=False)
    assert not reader.is_over


def test_an_end_behind_the_response_changes_nothing() -> None:
    reader = ResponseReader()
    reader.feed(OK + b"Content-Length: 0\r\n\r\n")
    reader.feed_end(is_clean=False)
    assert reader.is_over


# --- Bounds --------------------------------------------------------------------------------------


def head_of(size: int) -> bytes:
    """A head of so many bytes."""
    end = b"\r\nContent-Length: 0\r\n\r\n"
    return OK + b"X: " + b"a" * (size - len(OK) - 3 - len(end)) + end


def in_pieces(sent: bytes, size: int) -> list[bytes]:
    return [sent[start : start + size] for start in range(0, len(sent), size)]


@pytest.mark.parametrize("size", [1000, 64 * 1024, 10**6])
def test_a_head_may_have_100_kib_however_it_comes(size: int) -> None:
    assert read(in_pieces(head_of(MAX_HEAD_BYTES), size)).is_over
    assert "102400 bytes" in refusal_of(in_pieces(head_of(MAX_HEAD_BYTES + 1), size))


def test_a_head_that_never_ends_is_refused_at_the_bound() -> None:
    reader = ResponseReader()
    reader.feed(OK)
    fed = 0
    with pytest.raises(httpx.RemoteProtocolError, match="102400 bytes"):
        while fed < 10 * MAX_HEAD_BYTES:
            reader.feed(b"X: " + b"a" * 997)
            fed += 1000
    assert fed <= MAX_HEAD_BYTES


def test_a_head_may_have_200_fields() -> None:
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(MAX_FIELDS))
    end = b"\r\nhello"
    assert read([OK + fields + end], ends=True).body == b"hello"
    assert "200 fields" in refusal_of([OK + fields + b"Y: z\r\n" + end])


@pytest.mark.parametrize("size", [1, 1000, 10**6])
def test_a_head_may_have_a_thousand_lines_folded_ones_too(size: int) -> None:
    end = b"\r\nContent-Length: 5\r\n\r\nhello"
    folded = OK + b"X: y" + b"\r\n a" * (MAX_LINES - 200)
    assert read(in_pieces(folded + end, size)).body == b"hello"
    assert "1000 lines" in refusal_of(in_pieces(folded + b"\r\n a" * 8000 + end, size))


def test_a_head_that_is_refused_costs_little_however_long_a_read_is() -> None:
    """Each of them would be thousands of calls, or the same text copied thousands of times."""
    for again in (b"X: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"):
        sent = (OK if again[:1] == b"X" else b"") + again * 10_000

        def feed(sent: bytes = sent) -> None:
            assert refusal_of([sent])

        assert calls_made(feed) < 8_000


def test_twenty_interim_responses_may_come() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    end = OK + b"Content-Length: 5\r\n\r\nhello"
    assert read([interim * MAX_INTERIM + end]).is_reusable
    assert read(one_by_one(interim * MAX_INTERIM + end)).is_reusable
    assert "20 interim" in refusal_of([interim * (MAX_INTERIM + 1) + end])


@pytest.mark.parametrize("size", [1000, 64 * 1024, 10**6])
def test_trailers_may_have_16_kib_however_they_come(size: int) -> None:
    field = b"X: " + b"a" * (1024 - 5) + b"\r\n"
    for number, is_refused in ((MAX_TRAILER_BYTES // 1024, False), (20, True), (60, True)):
        sent = CHUNKED + b"5\r\nhello\r\n0\r\n" + field * number + b"\r\n"
        if is_refused:
            assert "16384 bytes" in refusal_of([*in_pieces(sent, size), b""])
        else:
            assert read(in_pieces(sent, size)) == Outcome(200, b"hello", True, True)


FRAMING = {
    "extensions": b"1;" + b"x" * 4000,
    "one extension": b"x" * 4000,
    "leading zeros": b"0" * 4000,
    "trailers": b"X: y\r\n" * 600,
    "one trailer": b"y" * 4000,
}
BEGINNING = {
    "extensions": b"",
    "one extension": b"1;",
    "leading zeros": b"",
    "trailers": b"0\r\n",
    "one trailer": b"0\r\nX: ",
}


@pytest.mark.parametrize("name", FRAMING)
def test_framing_that_never_ends_is_refused_in_bounded_memory(name: str) -> None:
    reader = ResponseReader()
    reader.feed(CHUNKED)
    reader.feed(BEGINNING[name])
    piece = FRAMING[name]
    if name == "extensions":
        piece += b"\r\na\r\n"
    fed = 0
    tracemalloc.start()
    try:
        with pytest.raises(httpx.RemoteProtocolError, match="no proper HTTP response"):
            while fed < 10**6:
                reader.feed(piece)
                fed += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fed <= 5 * MAX_TRAILER_BYTES
    assert peak < 256 * 1024


def test_chunks_of_one_byte_are_a_body_and_cost_no_call_each() -> None:
    chunks = b"1\r\na\r\n" * 10_000
    got: list[bytes] = []

    def feed() -> None:
        reader = ResponseReader()
        got.append(reader.feed(CHUNKED + chunks + b"0\r\n\r\n"))
        assert reader.is_reusable

    # One read gives one piece. (Of C's calls, those of the parser into a list are not seen.)
    assert calls_made(feed) < 200
    assert got == [b"a" * 10_000]


@pytest.mark.parametrize("name", ["head", "interim responses", "trailers"])
def test_work_is_in_proportion_however_small_the_pieces(name: str) -> None:
    def work(size: int) -> int:
        sent = {
            "head": OK + b"X: " + b"a" * size,
            "interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * (size // 1000),
            "trailers": CHUNKED + b"0\r\n" + b"X: y\r\n" * (size // 6),
        }[name]

        def feed() -> None:
            reader = ResponseReader()
            for piece in one_by_one(sent):
                reader.feed(piece)

        return calls_made(feed)

    assert work(12_000) <= 2.1 * work(6_000)


# --- What is left --------------------------------------------------------------------------------


def reader_after(sent: bytes, *, ends: bool) -> weakref.ref[ResponseReader]:
    reader = ResponseReader()
    try:
        reader.feed(sent)
        if ends:
            reader.feed_end()
    except httpx.RemoteProtocolError:
        pass
    return weakref.ref(reader)


@pytest.mark.parametrize(
    ("sent", "ends"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", False),
        (OK + b"Content-Length: 5\r\n\r\nhell", True),
        (OK + b"Content-Length: x\r\n\r\n", False),
    ],
    ids=["over", "cut off", "refused"],
)
def test_a_reader_that_is_done_is_freed_at_once(sent: bytes, ends: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        assert reader_after(sent, ends=ends)() is None
    finally:
        gc.enable()


# --- The head of a request -----------------------------------------------------------------------


def test_a_head_is_sent_as_it_was_given() -> None:
    head = request_head(
        b"POST",
        b"/v1/chat?a=b",
        [(b"Host", b"gateway.test"), (b"x-secret", memoryview(b"s3cret")), (b"Empty", b"")],
    )
    assert bytes(head) == (
        b"POST /v1/chat?a=b HTTP/1.1\r\nHost: gateway.test\r\nx-secret: s3cret\r\nEmpty: \r\n\r\n"
    )
    assert "s3cret" not in repr(head)


BAD_VALUES = [b"s3cret\r\nX: y", b"s3cret\nX: y", b"s3cret\rX: y", b"s3\x00cret", b"s3cret\x7f"]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_value_that_would_be_two_lines_is_refused_and_not_shown(value: bytes) -> None:
    for form in (value, memoryview(value)):
        with pytest.raises(httpx.LocalProtocolError, match="b'Authorization'") as caught:
            request_head(b"GET", b"/", [(b"Host", b"h"), (b"Authorization", form)])
        assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    "name", [b"", b"X Y", b"X:", b"X: y", b"X\r\nY", b"X\n", b"X\x00", b"\xe9", b"X\t", b" X"]
)
def test_a_name_that_is_none_is_refused_and_its_value_not_shown(name: bytes) -> None:
    with pytest.raises(httpx.LocalProtocolError) as caught:
        request_head(b"GET", b"/", [(name, b"s3cret")])
    assert repr(name) in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("method", [b"", b"GET /", b"GET\r\n", b"G\x00T", b"\xe9"])
def test_a_method_that_is_none_is_refused(method: bytes) -> None:
    with pytest.raises(httpx.LocalProtocolError, match="method"):
        request_head(method, b"/", [])


@pytest.mark.parametrize("target", [b"", b"/a b", b"/\r\nX: y", b"/\n", b"/\x00", b"/\x7f"])
def test_a_target_that_would_end_the_line_is_refused_and_not_shown(target: bytes) -> None:
    with pytest.raises(httpx.LocalProtocolError, match="URL") as caught:
        request_head(b"GET", target + b"?key=s3cret\n", [])
    assert "s3cret" not in str(caught.value)


def test_a_host_is_named_with_its_port_and_an_address_in_brackets() -> None:
    assert host_field(b"gateway.test", None) == b"gateway.test"
    assert host_field(b"gateway.test", 8000) == b"gateway.test:8000"
    assert host_field(b"::1", 8000) == b"[::1]:8000"
