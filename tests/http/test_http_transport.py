"""`TrioTransport` as a whole: whose bytes a request gets, when it is sent again, and what is kept.

Servers are written byte by byte (`tests.support.raw_server`), in memory and behind real sockets.
"""

from __future__ import annotations

import asyncio
import gc
import math
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lktrio import TrioTransport
from lktrio._http import Network, set_default_network
from lktrio._http.connect import Connector
from lktrio._http.connection import Connection
from lktrio._http.network import Origin
from lktrio._http.pool import Pool
from tests.support.answers import cut
from tests.support.leaks import no_leaks
from tests.support.linear_work import calls_made
from tests.support.loopback import LoopbackServer, certificates
from tests.support.memory_stream import memory_connection
from tests.support.raw_server import Peer, RawServer, Where
from tests.support.script import response

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
Serve = Callable[[Peer], Awaitable[None]]


async def get(transport: TrioTransport, url: str = "http://127.0.0.1/") -> tuple[int, bytes]:
    """Status and body of one request."""
    return await send(transport, httpx.Request("GET", url))


async def send(transport: TrioTransport, request: httpx.Request) -> tuple[int, bytes]:
    response = await transport.handle_async_request(request)
    async with aclosing(response):
        return response.status_code, await response.aread()


async def answers_with(response: bytes, peer: Peer) -> None:
    """A server that answers every request alike."""
    while await peer.read_head():
        await peer.send(response)


def answering(response: bytes) -> Serve:
    async def serve(peer: Peer) -> None:
        await answers_with(response, peer)

    return serve


# --- Nobody gets somebody else's bytes -----------------------------------------------------------

FOREIGN = OK + b"Content-Length: 7\r\n\r\nFOREIGN"


@attrs.frozen
class Step:
    """The response to one request, and what follows it."""

    status: int = 200
    framing: str = "length"
    interim: int = 0
    says_close: bool = False
    surplus: bytes = b""
    comes: str = "with it"
    """When the surplus comes: "with it", in a "record" of its own that may share its segment, or
    "late", when the response has been read."""
    places: tuple[int, ...] = ()
    """Where the bytes on the wire are cut."""

    @property
    def is_bodiless(self) -> bool:
        return self.status in {204, 304}

    def response(self, number: int) -> bytes:
        """The bytes of the response to the request with this number."""
        head = b"HTTP/1.1 100 Continue\r\n\r\n" * self.interim
        head += b"HTTP/1.1 %d X\r\n" % self.status
        if self.says_close:
            head += b"Connection: close\r\n"
        body = self.body(number)
        if self.is_bodiless:
            return head + b"\r\n"
        if self.framing == "length":
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    def body(self, number: int) -> bytes:
        return b"" if self.is_bodiless else b"answer %d" % number

    @property
    def keeps(self) -> bool:
        """Whether the next request goes over the same connection."""
        behind = self.surplus if self.comes == "late" else self.surplus.strip(b"\r\n")
        return not (behind or self.says_close)


STEPS = st.lists(
    st.builds(
        Step,
        status=st.sampled_from([200, 200, 204, 304, 401, 500]),
        framing=st.sampled_from(["length", "chunked"]),
        interim=st.integers(0, 2),
        says_close=st.sampled_from([False, False, True]),
        surplus=st.sampled_from(
            [
                *(b"", b"", b"\r\n", FOREIGN, FOREIGN[:1], b"\r\n" + FOREIGN, b"\x00"),
                *(b"HTTP/1.1 100 Continue\r\n\r\n" + FOREIGN, b"7\r\nFOREIGN\r\n0\r\n\r\n"),
                b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nFOREIGN",
            ]
        ),
        comes=st.sampled_from(["with it", "record", "late"]),
        places=st.lists(st.integers(0, 400), max_size=4).map(tuple),
    ),
    min_size=2,
    max_size=5,
)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@given(steps=STEPS)
@settings(max_examples=80)
@example(steps=[Step(surplus=FOREIGN), Step()])
@example(steps=[Step(surplus=FOREIGN, comes="record"), Step()])
@example(steps=[Step(status=401, surplus=FOREIGN, comes="late"), Step()])
@example(steps=[Step(status=204, surplus=b"\r\n"), Step(status=304, surplus=FOREIGN), Step()])
@example(steps=[Step(surplus=b"\r\n", comes="record", places=(88,)), Step()])
def test_nobody_gets_somebody_else_s_bytes(tls: bool, steps: list[Step]) -> None:
    # Responses that are cut from what follows: a bare line end, too, is then something to be read.
    cut_off: set[int] = set()

    async def serve(peer: Peer) -> None:
        while head := await peer.read_head():
            number = int(head.split()[1][1:])
            step = steps[number]
            response = step.response(number)
            late = b""
            if step.comes == "with it":
                wire = peer.seal(response + step.surplus)
                end = len(wire) if tls else len(response)
            else:
                wire = peer.seal(response)
                end = len(wire)
                late = peer.seal(step.surplus)
                if step.comes == "record":
                    wire, late = wire + late, b""
            if any(end <= place % (len(wire) + 1) < len(wire) for place in step.places):
                cut_off.add(number)
            for piece in cut(wire, step.places):
                await peer.write(piece)
                await trio.sleep(1)
            await peer.write(late)

    async def main() -> None:
        secured = certificates() if tls else None
        async with RawServer(serve, tls=secured) as server, server.transport() as transport:
            connections = 1
            for number, step in enumerate(steps):
                got = await get(transport, f"{server.url}/{number}")
                assert got == (step.status, step.body(number))
                assert len(server.peers) == connections
                # All that is on its way arrives.
                await trio.sleep(10)
                connections += not step.keeps or number in cut_off

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize("comes", ["with it", "record", "late"])
async def test_over_sockets_too_what_follows_a_response_is_nobody_s(comes: str, tls: bool) -> None:
    sent = trio.Event()

    async def serve(peer: Peer) -> None:
        while head := await peer.read_head():
            response = OK + b"Content-Length: 2\r\n\r\n" + head.split()[1]
            if comes == "with it":
                await peer.send(response + FOREIGN)
            elif comes == "record":
                await peer.write(peer.seal(response) + peer.seal(FOREIGN))
            else:
                await peer.send(response)
                await peer.send(FOREIGN)
            sent.set()

    secured = certificates() if tls else None
    async with RawServer(serve, where="tcp", tls=secured) as server:
        async with server.transport() as transport:
            for number in range(3):
                sent = trio.Event()
                assert await get(transport, f"{server.url}/{number}") == (200, b"/%d" % number)
                await sent.wait()
            assert len(server.peers) == 3


# --- A request that is still being sent ----------------------------------------------------------

LARGE = b"x" * 20_000_000


def refusing(status: int, afterwards: str) -> Serve:
    """A server that has had enough after the head of a request."""

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 %d X\r\nContent-Length: 7\r\n\r\nenough!" % status)
        if afterwards == "half-closes":
            await peer.send_eof()
        elif afterwards == "resets":
            # What was sent before has arrived: a reset takes nothing back.
            await peer.reset()
        if afterwards not in {"closes", "resets"}:
            await trio.sleep_forever()

    return serve


AFTERWARDS = ["holds", "half-closes", "closes", "resets"]


@pytest.mark.parametrize("where", ["memory", "tcp"])
@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("status", [413, 401])
async def test_an_early_refusal_is_read_once_whatever_the_server_does_then(
    status: int, afterwards: str, where: Where
) -> None:
    async with RawServer(refusing(status, afterwards), where=where) as server:
        async with server.transport() as transport:
            request = httpx.Request("POST", server.url, content=LARGE)
            assert await send(transport, request) == (status, b"enough!")
            assert "0 connections in use, 0 idle" in repr(transport)
    assert len(server.peers) == 1


@pytest.mark.parametrize("where", ["memory", "tcp"])
@pytest.mark.parametrize("afterwards", ["holds", "closes"])
async def test_an_early_refusal_is_read_over_tls_too(afterwards: str, where: Where) -> None:
    async with RawServer(refusing(413, afterwards), where=where, tls=certificates()) as server:
        async with server.transport() as transport:
            request = httpx.Request("POST", server.url, content=LARGE)
            assert await send(transport, request) == (413, b"enough!")
    assert len(server.peers) == 1


@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "begun"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("where", ["memory", "tcp"])
async def test_an_early_success_does_not_end_the_sending(
    where: Where, tls: bool, is_whole: bool
) -> None:
    received = 0

    async def serve(peer: Peer) -> None:
        nonlocal received
        await peer.read_head()
        await peer.send(HI if is_whole else OK + b"Content-Length: 10\r\n\r\n")
        received += len(peer.received)
        while received < len(LARGE):
            received += len(await peer.receive())
        await peer.send(b"" if is_whole else b"0123456789")
        await trio.sleep_forever()

    async with RawServer(serve, where=where, tls=certificates() if tls else None) as server:
        async with server.transport() as transport:
            request = httpx.Request("POST", server.url, content=LARGE)
            assert await send(transport, request) == (200, b"hi" if is_whole else b"0123456789")
    assert received == len(LARGE)


async def test_a_response_that_comes_in_full_while_the_request_goes_out_is_read_meanwhile() -> None:
    """Two large bodies at once, and windows that are full unless both sides read."""
    back = b"y" * 500_000

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(OK + b"Content-Length: %d\r\n\r\n" % len(back) + back)
        while len(peer.received) < len(LARGE):
            await peer.receive()
        await trio.sleep_forever()

    async with RawServer(serve) as server, server.transport() as transport:
        request = httpx.Request("POST", server.url, content=LARGE)
        assert await send(transport, request) == (200, back)


class Pieces(httpx.AsyncByteStream):
    """A body that an iterator makes, and that knows whether it was closed."""

    def __init__(self, make: Callable[[], AsyncIterator[bytes]]) -> None:
        self._make = make
        self.made: list[Any] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.made.append(self._make())
        return self.made[-1]  # type: ignore[no-any-return]

    @property
    def is_suspended(self) -> bool:
        return any(generator.ag_frame is not None for generator in self.made)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 10_000


async def failing() -> AsyncIterator[bytes]:
    yield b"x" * 10_000
    raise ZeroDivisionError


async def slow() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await trio.sleep(1)


def upload(url: str, body: httpx.AsyncByteStream, **headers: str) -> httpx.Request:
    fields = headers or {"Transfer-Encoding": "chunked"}
    return httpx.Request("POST", url, headers=fields, stream=body)


@pytest.mark.parametrize("afterwards", AFTERWARDS)
async def test_an_early_refusal_ends_a_body_that_an_iterator_makes(afterwards: str) -> None:
    body = Pieces(endless)
    async with RawServer(refusing(413, afterwards)) as server, server.transport() as transport:
        assert await send(transport, upload(server.url, body)) == (413, b"enough!")
        assert not body.is_suspended


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_an_endless_body_ends_when_the_server_is_gone(framing: str) -> None:
    """The iterator has no checkpoint: nothing but the failure to send can end it."""

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.reset()

    headers = {} if framing == "chunked" else {"Content-Length": str(10**15)}
    body = Pieces(endless)
    async with RawServer(serve) as server, server.transport() as transport:
        with pytest.raises(httpx.TransportError):
            await send(transport, upload(server.url, body, **headers))
        assert not body.is_suspended
        assert "0 connections in use, 0 idle" in repr(transport)


async def test_a_body_that_fails_fails_the_request_with_its_own_exception() -> None:
    body = Pieces(failing)
    async with RawServer(answering(HI)) as server, server.transport() as transport:
        with pytest.raises(ZeroDivisionError):
            await send(transport, upload(server.url, body))
        assert not body.is_suspended
        assert "0 connections in use, 0 idle" in repr(transport)


@pytest.mark.parametrize("make", [endless, slow])
async def test_a_body_is_closed_when_the_request_is_cancelled(
    make: Callable[[], AsyncIterator[bytes]], autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await trio.sleep_forever()

    body = Pieces(make)
    async with RawServer(serve) as server, server.transport() as transport:
        with trio.move_on_after(5) as scope:
            await send(transport, upload(server.url, body))
        assert scope.cancelled_caught
        assert not body.is_suspended
        assert "0 connections in use, 0 idle" in repr(transport)


@pytest.mark.parametrize("length", [3, 7])
async def test_a_body_that_is_not_as_long_as_it_says_is_an_error(length: int) -> None:
    async def five() -> AsyncIterator[bytes]:
        yield b"he"
        yield b"llo"

    body = Pieces(five)
    async with RawServer(answering(HI)) as server, server.transport() as transport:
        with pytest.raises(httpx.LocalProtocolError, match=f"{length} bytes"):
            await send(transport, upload(server.url, body, **{"Content-Length": str(length)}))
        assert not body.is_suspended
        assert "0 connections in use, 0 idle" in repr(transport)


async def test_chunks_are_sent_as_chunks_and_none_is_empty() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"he", b"", b"llo"):
            yield part

    wire = b""

    async def serve(peer: Peer) -> None:
        nonlocal wire
        await peer.read_head()
        while not peer.received.endswith(b"0\r\n\r\n"):
            await peer.receive()
        wire = bytes(peer.received)
        await peer.send(HI)

    async with RawServer(serve) as server, server.transport() as transport:
        assert await send(transport, upload(server.url, Pieces(parts))) == (200, b"hi")
    assert wire == b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


# --- Sent again ----------------------------------------------------------------------------------


def lost_on_reuse(beginning: bytes, end: str) -> Serve:
    """A server that answers the first request on each connection, and goes away in the second."""

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(HI)
        if await peer.read_head():
            await peer.send(beginning)
            if end == "reset":
                await peer.reset()

    return serve


@pytest.mark.parametrize("end", ["reset", "close"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
async def test_a_request_that_is_safe_to_repeat_is_sent_again_if_no_byte_came(
    method: str, tls: bool, end: str
) -> None:
    secured = certificates() if tls else None
    async with RawServer(lost_on_reuse(b"", end), tls=secured) as server:
        async with server.transport() as transport:
            await get(transport, server.url)
            await wait_all_tasks_blocked()
            status, _ = await send(transport, httpx.Request(method, server.url))
            assert status == 200
            assert len(server.peers) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_any_other_request_is_not_sent_again(method: str) -> None:
    async with RawServer(lost_on_reuse(b"", "reset")) as server, server.transport() as transport:
        await get(transport, server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            await send(transport, httpx.Request(method, server.url, content=b"x"))
        assert len(server.peers) == 1


async def test_a_body_that_an_iterator_makes_is_not_sent_again() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"x"

    async with RawServer(lost_on_reuse(b"", "reset")) as server, server.transport() as transport:
        await get(transport, server.url)
        request = httpx.Request(
            "PUT", server.url, headers={"Content-Length": "1"}, stream=Pieces(once)
        )
        with pytest.raises(httpx.RemoteProtocolError):
            await send(transport, request)
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "beginning", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n", b"\x00", OK]
)
async def test_a_request_whose_response_has_begun_is_not_sent_again(beginning: bytes) -> None:
    async with RawServer(lost_on_reuse(beginning, "reset")) as server:
        async with server.transport() as transport:
            await get(transport, server.url)
            with pytest.raises(httpx.TransportError):
                await get(transport, server.url)
            assert len(server.peers) == 1


async def test_on_a_new_connection_nothing_is_sent_again() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()

    async with RawServer(serve) as server, server.transport() as transport:
        with pytest.raises(httpx.RemoteProtocolError, match="without a response"):
            await get(transport, server.url)
        assert len(server.peers) == 1


async def test_several_lost_connections_are_passed_over() -> None:
    """None of them shows that it is lost before something is sent."""
    may_answer = trio.Event()
    first = 3

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await may_answer.wait()
        await peer.send(HI)
        if server.peers.index(peer) >= first:
            await answers_with(HI, peer)
        await peer.read_head()

    async with RawServer(serve) as server, server.transport() as transport:
        async with trio.open_nursery() as nursery:
            for _ in range(first):
                nursery.start_soon(get, transport, server.url)
            await wait_all_tasks_blocked()
            may_answer.set()
        assert f"{first} idle" in repr(transport)
        assert await get(transport, server.url) == (200, b"hi")
        assert len(server.peers) == first + 1


async def test_a_timeout_on_a_reused_connection_is_not_sent_again(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(HI)
        await trio.sleep_forever()

    async with RawServer(serve) as server, server.transport() as transport:
        await get(transport, server.url)
        request = httpx.Request("GET", server.url, extensions={"timeout": {"read": 3}})
        with pytest.raises(httpx.ReadTimeout):
            await send(transport, request)
        assert len(server.peers) == 1


# --- The pool ------------------------------------------------------------------------------------

A = Origin("http", "a.test", 80, "a.test")
B = Origin("http", "b.test", 80, "b.test")


def make_pool(**options: Any) -> Pool:
    defaults = {"max_keepalive": 3, "keepalive_seconds": 30.0, "max_age_seconds": 300.0}
    return Pool(**{**defaults, **options})


def connection(origin: Origin = A, opened: float = 0.0) -> Connection:
    return Connection(origin, memory_connection()[0], opened, Network())


def is_quiet(_connection: Connection) -> bool:
    return False


def test_the_connection_used_last_is_used_first() -> None:
    pool = make_pool()
    older, newer = connection(), connection()
    assert pool.put(older, 1.0) == pool.put(newer, 2.0) == []
    assert pool.take(A, 3.0, is_quiet) == (newer, [])
    assert pool.take(A, 3.0, is_quiet) == (older, [])
    assert pool.take(A, 3.0, is_quiet) == (None, [])


def test_a_connection_is_for_its_own_origin() -> None:
    pool = make_pool()
    pool.put(connection(A), 0.0)
    assert pool.take(B, 0.0, is_quiet) == (None, [])
    for other in (A._replace(scheme="https"), A._replace(port=81), A._replace(server_name="c")):
        assert pool.take(other, 0.0, is_quiet) == (None, [])
    assert len(pool) == 1


def test_over_the_bound_the_one_that_was_idle_longest_goes() -> None:
    pool = make_pool(max_keepalive=2)
    first, second, third = connection(A), connection(B), connection(A)
    assert pool.put(first, 1.0) == pool.put(second, 2.0) == []
    assert pool.put(third, 3.0) == [first]
    assert len(pool) == 2


def test_nothing_is_kept_if_nothing_may_be() -> None:
    pool = make_pool(max_keepalive=0)
    one = connection()
    assert pool.put(one, 0.0) == [one]
    assert len(pool) == 0


def test_a_connection_that_was_idle_too_long_is_closed_with_the_next_request_to_anybody() -> None:
    pool = make_pool()
    old, young = connection(A), connection(A)
    pool.put(old, 0.0)
    pool.put(young, 20.0)
    assert pool.take(B, 29.9, is_quiet) == (None, [])
    assert pool.take(B, 30.0, is_quiet) == (None, [old])
    assert pool.take(A, 49.9, is_quiet) == (young, [])


def test_a_connection_that_is_too_old_begins_no_request() -> None:
    pool = make_pool()
    one = connection(opened=100.0)
    assert pool.put(one, 390.0) == []
    assert pool.take(A, 399.9, is_quiet) == (one, [])
    assert pool.put(one, 399.95) == []
    assert pool.take(A, 400.0, is_quiet) == (None, [one])
    assert pool.put(one, 400.0) == [one]


def test_a_connection_on_which_something_came_is_closed_and_the_next_one_taken() -> None:
    pool = make_pool()
    good, dead = connection(), connection()
    pool.put(good, 1.0)
    pool.put(dead, 2.0)
    assert pool.take(A, 3.0, lambda one: one is dead) == (good, [dead])


def test_work_for_a_request_does_not_grow_with_the_idle_connections() -> None:
    def work(size: int) -> int:
        pool = make_pool(max_keepalive=10**6)
        for number in range(size):
            pool.put(connection(A if number % 2 else B), 1.0)

        def request() -> None:
            one, _ = pool.take(A, 2.0, is_quiet)
            assert one is not None
            pool.put(one, 2.0)

        return calls_made(request)

    assert work(1000) == work(10)


def test_tls_sessions_are_bounded() -> None:
    connector: Any = Connector(verify=True)
    for number in range(1000):
        connector._keep(A._replace(port=number), object())
    assert [end.port for end in connector._sessions] == list(range(900, 1000))


async def test_connections_in_use_do_not_count_as_kept() -> None:
    """With many streams open, requests beside them share one connection."""
    open_streams, requests = 120, 20

    async def serve(peer: Peer) -> None:
        while head := await peer.read_head():
            if b"/open" in head:
                await peer.send(OK + b"Content-Length: 3\r\n\r\nx")
                await trio.sleep_forever()
            await peer.send(HI)

    async with RawServer(serve) as server:
        async with server.transport(max_keepalive=100) as transport:
            opened = [
                await transport.handle_async_request(httpx.Request("GET", f"{server.url}/open"))
                for _ in range(open_streams)
            ]
            for _ in range(requests):
                assert await get(transport, server.url) == (200, b"hi")
            assert len(server.peers) == open_streams + 1
            for response in opened:
                await response.aclose()


async def test_a_body_that_ends_late_costs_a_connection_only_while_it_does(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        while head := await peer.read_head():
            await peer.send(OK + b"Content-Length: 2\r\n\r\nh")
            if b"/late" in head:
                await trio.sleep(0.15)
            await peer.send(b"i")

    async with RawServer(serve) as server, server.transport() as transport:
        for number in range(20):
            path = "/late" if number == 5 else "/"
            assert await get(transport, f"{server.url}{path}") == (200, b"hi")
        assert len(server.peers) == 1


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_server_that_closes_after_each_answer_costs_nothing_but_the_connect(
    tls: bool,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(HI)

    async with RawServer(serve, tls=certificates() if tls else None) as server:
        async with server.transport() as transport:
            for number in range(1, 6):
                assert await get(transport, server.url) == (200, b"hi")
                await wait_all_tasks_blocked()
                assert len(server.peers) == number


async def test_idle_connections_are_closed_when_found(autojump_clock: MockClock) -> None:
    async with RawServer(answering(HI)) as server:
        async with server.transport(keepalive_seconds=10, max_age_seconds=25) as transport:
            for pause, connections in ((9, 1), (9, 1), (9, 1), (11, 2), (1, 3)):
                await get(transport, server.url)
                assert len(server.peers) == connections
                await trio.sleep(pause)
            assert sum(not end.closed for end in server.client_ends) == 1  # type: ignore[attr-defined]
        assert all(end.closed for end in server.client_ends)  # type: ignore[attr-defined]


# --- Clocks of httpx -----------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_connect_timeout_covers_the_handshake(tls: bool, autojump_clock: MockClock) -> None:
    async def nobody(_peer: Peer) -> None:
        await trio.sleep_forever()

    class Silent(RawServer):
        async def connect(self, host: str, port: int) -> trio.abc.Stream:
            if not tls:
                await trio.sleep_forever()
            return await super().connect(host, port)

    # The server speaks no TLS: it never answers the greeting.
    async with Silent(nobody) as server, server.transport() as transport:
        scheme = "https" if tls else "http"
        request = httpx.Request(
            "GET", f"{scheme}://127.0.0.1/", extensions={"timeout": {"connect": 3}}
        )
        start = trio.current_time()
        with pytest.raises(httpx.ConnectTimeout):
            await send(transport, request)
        assert trio.current_time() - start == 3
        assert all(end.closed for end in server.client_ends)  # type: ignore[attr-defined]


async def test_a_read_timeout_is_the_silence_between_bytes(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        for byte in HI:
            await trio.sleep(2)
            await peer.send(bytes([byte]))
        await peer.read_head()
        await peer.send(HI[:-1])
        await trio.sleep_forever()

    async with RawServer(serve) as server, server.transport() as transport:
        request = httpx.Request("GET", server.url, extensions={"timeout": {"read": 3}})
        assert await send(transport, request) == (200, b"hi")
        with pytest.raises(httpx.ReadTimeout):
            await send(transport, request)
        assert "0 connections in use, 0 idle" in repr(transport)


async def test_a_write_timeout_is_for_each_piece(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        while await peer.stream.receive_some(60_000):  # noqa: ASYNC110 - a slow reader
            await trio.sleep(2)

    async with RawServer(serve, window=60_000) as server, server.transport() as transport:
        request = httpx.Request(
            "POST", server.url, content=b"x" * 1_000_000, extensions={"timeout": {"write": 1}}
        )
        with pytest.raises(httpx.WriteTimeout):
            await send(transport, request)
        assert "0 connections in use, 0 idle" in repr(transport)


# --- Hostile servers -----------------------------------------------------------------------------


def endlessly(beginning: bytes, again: bytes) -> Serve:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(beginning)
        while True:
            await peer.send(again)

    return serve


HOSTILE = {
    "a head": (OK + b"X: ", b"a" * 10_000),
    "fields": (OK, b"X: y\r\n" * 1000),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "empty lines": (b"", b"\r\n" * 5000),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
    "one trailer": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 10_000),
    "an extension": (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 10_000),
    "zeros": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 10_000),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_never_ends_is_refused_with_a_typed_error(name: str) -> None:
    async with RawServer(endlessly(*HOSTILE[name])) as server, server.transport() as transport:
        with pytest.raises(httpx.RemoteProtocolError, match="no proper HTTP response"):
            await get(transport, server.url)
        assert "0 connections in use, 0 idle" in repr(transport)


# --- Whose transport it is -----------------------------------------------------------------------


def test_a_transport_belongs_to_the_run_in_which_it_was_first_used() -> None:
    transport = TrioTransport()

    async def use() -> None:
        async with RawServer(answering(HI)) as server:
            before = set_default_network(server)
            try:
                await get(transport, server.url)
            finally:
                set_default_network(before)

    trio.run(use)
    with pytest.raises(RuntimeError, match=r"another trio\.run"):
        trio.run(use)
    trio.run(transport.aclose)
    with pytest.raises(RuntimeError, match="was closed"):
        trio.run(use)


def test_under_asyncio_it_says_what_it_needs() -> None:
    async def direct() -> None:
        await TrioTransport().handle_async_request(httpx.Request("GET", "http://a.test/"))

    async def under_a_client() -> None:
        async with httpx.AsyncClient(transport=TrioTransport()) as client:
            await client.get("http://a.test/")

    for use in (direct, under_a_client):
        with pytest.raises(RuntimeError, match=r"runs on Trio: trio\.run\(main\)"):
            asyncio.run(use())


async def test_one_that_was_not_closed_is_reported() -> None:
    async with RawServer(answering(HI)) as server:
        transport = server.transport()
        await get(transport, server.url)
        said = r"<TrioTransport open: 0 .* 1 idle> was not closed"
        with pytest.warns(ResourceWarning, match=said):  # noqa: PT031 - it is what is left
            del transport
            gc.collect()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"verify": "ca.pem"}, TypeError),
        ({"network": object()}, TypeError),
        ({"max_keepalive": -1}, ValueError),
        ({"max_keepalive": 1.5}, TypeError),
        ({"max_keepalive": True}, TypeError),
        ({"keepalive_seconds": -1}, ValueError),
        ({"keepalive_seconds": math.nan}, ValueError),
        ({"keepalive_seconds": "1"}, TypeError),
        ({"max_age_seconds": -0.1}, ValueError),
    ],
)
def test_a_wrong_argument_is_an_error_and_nothing_else(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with no_leaks():
        with pytest.raises(error, match=next(iter(options))):
            TrioTransport(**options)
        gc.collect()


async def test_it_may_be_closed_twice_and_closes_what_is_in_use() -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(OK + b"Content-Length: 5\r\n\r\nhe")
        await peer.read_all()

    with no_leaks():
        async with RawServer(serve) as server:
            transport = server.transport()
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            assert "1 connections in use" in repr(transport)
            await transport.aclose()
            await transport.aclose()
            assert repr(transport) == "<TrioTransport closed: 0 connections in use, 0 idle>"
            with pytest.raises(httpx.ReadError):
                await response.aread()
            await response.aclose()
            with pytest.raises(RuntimeError, match="was closed"):
                await get(transport, server.url)


async def test_closed_while_it_connects_it_opens_nothing(autojump_clock: MockClock) -> None:
    class Slow(RawServer):
        async def connect(self, host: str, port: int) -> trio.abc.Stream:
            await trio.sleep(1)
            return await super().connect(host, port)

    async with Slow(answering(HI)) as server:
        transport = server.transport()

        async def use() -> None:
            with pytest.raises(httpx.ConnectError, match="closed"):
                await get(transport, server.url)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await wait_all_tasks_blocked()
            await transport.aclose()
        assert all(end.closed for end in server.client_ends)  # type: ignore[attr-defined]
        assert "0 connections in use, 0 idle" in repr(transport)


async def test_a_response_that_is_left_frees_what_read_it_at_once() -> None:
    """`break` is what users do all the time: it must not wait for the garbage collector."""

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(OK + b"Content-Length: 5\r\n\r\nhe")
        await peer.read_all()

    async with RawServer(serve) as server, server.transport() as transport:
        gc.collect()
        gc.disable()
        try:
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            reader = weakref.ref(response.stream.reader)  # type: ignore[attr-defined]
            await response.aclose()
            del response
            assert reader() is None
        finally:
            gc.enable()


# --- Other networks ------------------------------------------------------------------------------


async def test_a_network_of_one_s_own_connects_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "server")

    class UnixSocket(Network):
        async def connect(self, host: str, port: int) -> trio.abc.Stream:
            return await trio.open_unix_socket(path)

    accepted = 0

    async def accept(listener: trio.SocketListener) -> None:
        nonlocal accepted
        while True:
            stream = await listener.accept()
            accepted += 1
            async with stream:
                await answers_with(HI, Peer(stream, None))

    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(path)
        listening.listen()
        async with TrioTransport(network=UnixSocket()) as transport:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept, trio.SocketListener(listening))
                for _ in range(3):
                    assert await get(transport, "http://llama/v1") == (200, b"hi")
                nursery.cancel_scope.cancel()
    assert accepted == 1


async def test_a_stream_of_another_kind_must_say_whether_it_is_readable() -> None:
    class Mine(Network):
        async def connect(self, host: str, port: int) -> trio.abc.Stream:
            return await server.connect(host, port)

    async with RawServer(answering(HI)) as server, TrioTransport(network=Mine()) as transport:
        await get(transport, server.url)
        with pytest.raises(TypeError, match=r"Mine.connect\(\) makes a MemoryEnd"):
            await get(transport, server.url)
        # A mistake of the program leaves nothing open, either.
        assert "0 connections in use" in repr(transport)
        await transport.aclose()
        assert all(end.closed for end in server.client_ends)  # type: ignore[attr-defined]


async def test_the_default_network_is_that_of_transports_without_one() -> None:
    async with (
        RawServer(answering(HI)) as one,
        RawServer(answering(OK + b"Content-Length: 5\r\n\r\nother")) as other,
        TrioTransport(verify=False) as transport,
    ):
        before = set_default_network(one)
        try:
            assert await get(transport) == (200, b"hi")
            assert await get(transport) == (200, b"hi")
            # What was made before is not of this network: it is not used any more.
            assert set_default_network(other) is one
            assert await get(transport) == (200, b"other")
            assert set_default_network(one) is other
            assert await get(transport) == (200, b"hi")
        finally:
            set_default_network(before)
        assert (len(one.peers), len(other.peers)) == (2, 1)


async def test_a_connection_of_tcp_is_not_asked_of_another_network() -> None:
    async with (
        LoopbackServer(response(200, b"real")) as real,
        RawServer(answering(HI)) as scripted,
        TrioTransport(verify=False) as transport,
    ):
        assert await get(transport, real.url) == (200, b"real")
        before = set_default_network(scripted)
        try:
            assert await get(transport, real.url) == (200, b"hi")
        finally:
            set_default_network(before)


# --- Under a client of httpx ---------------------------------------------------------------------


async def echo(peer: Peer) -> None:
    """Tells of each request what it was; follows a few paths of its own."""
    while head := await peer.read_head():
        lines = head.decode("ascii").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(fields.get("content-length", "0"))
        while len(peer.received) < length:
            await peer.receive()
        body = bytes(peer.received[:length])
        del peer.received[:length]
        if "chunked" in fields.get("transfer-encoding", ""):
            while not peer.received.endswith(b"0\r\n\r\n"):
                await peer.receive()
            body = bytes(peer.received)
            peer.received.clear()
        method, path, _ = lines[0].split()
        if path == "/redirect":
            await peer.send(
                b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 4\r\n\r\ngone"
            )
            continue
        told = f"{method} {path} {fields.get('cookie')} ".encode() + body
        cookie = b"Set-Cookie: a=b\r\n" if path == "/cookie" else b""
        response = OK + cookie + b"Content-Length: %d\r\n\r\n" % len(told)
        await peer.send(response if method == "HEAD" else response + told)


@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
async def test_a_client_of_httpx_works_over_it(tls: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    secured = certificates() if tls else None
    with no_leaks():
        async with RawServer(echo, where="tcp", tls=secured) as server:
            transport = server.transport()
            async with httpx.AsyncClient(transport=transport, base_url=server.url) as client:
                assert (await client.get("/x?q=1")).text == "GET /x?q=1 None "
                assert (await client.post("/", content=b"abc")).text == "POST / None abc"
                assert (await client.put("/", json=[1])).text == "PUT / None [1]"
                head = await client.head("/")
                assert (head.status_code, head.text) == (200, "")
                assert head.headers["content-length"] == "12"
                streamed = await client.post("/", content=parts())
                assert streamed.text == "POST / None 1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
                form = await client.post("/", files={"f": ("n", b"file")}, data={"k": "v"})
                assert 'name="k"\r\n\r\nv' in form.text
                assert 'filename="n"' in form.text
                assert "file" in form.text
                there = await client.get("/redirect", follow_redirects=True)
                assert (there.text, len(there.history)) == ("GET /there None ", 1)
                await client.get("/cookie")
                assert (await client.get("/")).text == "GET / a=b "
                async with client.stream("GET", "/") as response:
                    assert response.extensions["http_version"] == b"HTTP/1.1"
                    assert response.extensions["reason_phrase"] == b"OK"
                    assert [piece async for piece in response.aiter_raw()] == [b"GET / a=b "]
                # The one connection did for all of it.
                assert len(server.peers) == 1


async def test_a_client_s_timeouts_hold(autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await trio.sleep_forever()

    async with RawServer(serve) as server:
        async with httpx.AsyncClient(transport=server.transport(), timeout=4) as client:
            start = trio.current_time()
            with pytest.raises(httpx.ReadTimeout):
                await client.get(server.url)
            assert trio.current_time() - start == 4


@pytest.mark.parametrize("url", ["ftp://a.test/", "/relative", "http://", "unix:///x"])
async def test_a_url_that_names_no_server_is_an_error_of_httpx(url: str) -> None:
    async with TrioTransport() as transport:
        with pytest.raises(httpx.UnsupportedProtocol):
            await get(transport, url)


@pytest.mark.parametrize(
    "request_",
    [
        httpx.Request("GÄT", "http://127.0.0.1/"),
        httpx.Request("GET", "http://127.0.0.1/", headers={"X": "a\r\nY: b"}),
        httpx.Request("GET", "http://127.0.0.1/", extensions={"target": b"/a b"}),
        httpx.Request("POST", "http://127.0.0.1/", headers={"Content-Length": "5"}, content=b"x"),
        httpx.Request("POST", "http://127.0.0.1/", content=iter([b"x"])),
    ],
    ids=["method", "header", "target", "length", "not asynchronous"],
)
async def test_what_cannot_be_sent_is_an_error_before_anything_is(request_: httpx.Request) -> None:
    async with RawServer(answering(HI)) as server, server.transport() as transport:
        with pytest.raises(httpx.LocalProtocolError):
            await send(transport, request_)
        assert server.peers == []


def test_the_context_of_a_brought_certificate_is_not_changed() -> None:
    context = ssl.create_default_context()
    options, minimum = context.options, context.minimum_version
    TrioTransport(verify=context)
    assert (context.options, context.minimum_version) == (options, minimum)
