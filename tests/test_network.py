"""The connections of our own client: what is written when, and what is raised.

How they behave when everything goes on at once is looked at with the engine: in the matrix, and in the
fault laboratory over loopback.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpcore
import httpx
import pytest
import trio

from lktrio._network import DirectTransport, _Connection
from tests.support.loopback import LoopbackServer, certificates
from tests.support.script import text

HEAD, BODY = b"POST / HTTP/1.1\r\n\r\n", b"{}"


class Wire:
    """A stream that notes what is sent, and gives what it was told to."""

    def __init__(self, *received: bytes | Exception) -> None:
        self.sent: list[bytes] = []
        self._received = list(received)
        self.failure: Exception | None = None

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.sent.append(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        step = self._received.pop(0)
        if isinstance(step, Exception):
            raise step
        return step[:max_bytes]


def connection_over(wire: Wire) -> _Connection:
    stream: Any = wire
    return _Connection(stream)


async def test_a_request_goes_out_in_one_write() -> None:
    wire = Wire()
    connection = connection_over(wire)

    await connection.write(HEAD)
    await connection.write(BODY)
    assert wire.sent == []
    await connection.write(b"")

    assert wire.sent == [HEAD + BODY]


async def test_each_request_goes_out_by_itself() -> None:
    wire = Wire()
    connection = connection_over(wire)

    for _ in range(2):
        for piece in (HEAD, BODY, b""):
            await connection.write(piece)

    assert wire.sent == [HEAD + BODY] * 2


async def test_what_is_to_be_sent_is_sent_before_an_answer_is_waited_for() -> None:
    wire = Wire(b"answer")
    connection = connection_over(wire)

    await connection.write(HEAD)
    assert await connection.read(100) == b"answer"

    assert wire.sent == [HEAD]


@pytest.mark.parametrize("failure", [trio.BrokenResourceError(), trio.ClosedResourceError()])
async def test_a_lost_connection_is_an_error_of_httpcore(failure: Exception) -> None:
    wire = Wire(failure)
    connection = connection_over(wire)
    wire.failure = failure

    with pytest.raises(httpcore.ReadError) as caught:
        await connection.read(100)
    assert caught.value.__cause__ is failure
    await connection.write(HEAD)
    with pytest.raises(httpcore.WriteError) as caught_write:
        await connection.write(b"")
    assert caught_write.value.__cause__ is failure


async def exchange(server: LoopbackServer, context: ssl.SSLContext) -> tuple[bytes, Any]:
    """The body of an answer, and the connection it came over."""
    transport = DirectTransport(context, max_keepalive=1, keepalive_seconds=30)
    async with transport:
        request = httpx.Request("POST", f"{server.url}/v1/chat/completions", content=b"{}")
        response = await transport.handle_async_request(request)
        stream: Any = response.stream
        body = b"".join([piece async for piece in stream])
        network_stream = response.extensions["network_stream"]
        await response.aclose()
        return body, network_stream.get_extra_info("socket").getpeername()


async def get(transport: DirectTransport, url: str, **extensions: Any) -> None:
    """Send a request without a body in httpcore's words."""
    body = httpx.ByteStream(b"")
    await transport.exchange("GET", url, query={}, headers=[], body=body, extensions=extensions)


@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
async def test_the_socket_is_told(tls: bool) -> None:
    secured = certificates() if tls else None
    context = secured.client if secured else ssl.create_default_context()
    with trio.fail_after(60):
        async with LoopbackServer(text("Hi"), tls=secured) as server:
            body, peer = await exchange(server, context)
            assert peer == ("127.0.0.1", server.port)
    assert b"Hi" in body


async def test_nothing_else_is_told() -> None:
    left, right = trio.socket.socketpair()
    with left, right:
        connection = _Connection(trio.SocketStream(left))
        assert connection.get_extra_info("is_readable") is False
        assert connection.get_extra_info("ssl_object") is None
        assert connection.get_extra_info("server_addr") is None
        await right.send(b"x")
        assert connection.get_extra_info("is_readable") is True


async def test_who_cannot_be_reached_is_an_error_of_httpcore() -> None:
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with DirectTransport(
            ssl.create_default_context(), max_keepalive=1, keepalive_seconds=30
        ) as transport:
            with pytest.raises(httpcore.ConnectError, match="all attempts to connect"):
                await get(transport, f"http://127.0.0.1:{port}/")


async def test_who_is_not_trusted_is_an_error_of_httpcore() -> None:
    with trio.fail_after(60):
        async with (
            LoopbackServer(text("Hi"), tls=certificates()) as server,
            DirectTransport(
                ssl.create_default_context(), max_keepalive=1, keepalive_seconds=30
            ) as transport,
        ):
            trace = Closer()
            with pytest.raises(httpcore.ConnectError):
                await get(transport, server.url, trace=trace)
            await trace.close()


class Closer:
    """Does what the engine does for a connection whose handshake has failed: closes it."""

    def __init__(self) -> None:
        self._close: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._close = info["return_value"].aclose

    async def close(self) -> None:
        assert self._close is not None
        await self._close()


async def test_a_body_of_unknown_length_is_sent_whole() -> None:
    async def pieces() -> Any:
        yield b'{"messages": '
        yield b"[]}"

    with trio.fail_after(60):
        async with (
            LoopbackServer(text("Hi")) as server,
            DirectTransport(
                ssl.create_default_context(), max_keepalive=1, keepalive_seconds=30
            ) as transport,
        ):
            url = f"{server.url}/v1/chat/completions"
            async with httpx.AsyncClient(transport=transport) as client:
                response = await client.post(url, content=pieces())
            assert b"Hi" in response.content
            bodies: Sequence[bytes] = [request.body for request in server.requests]
            assert bodies == [b'{"messages": []}']
