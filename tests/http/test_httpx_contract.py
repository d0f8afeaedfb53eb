"""`TrioTransport` under a client of httpx keeps what httpx documents of a transport."""

from __future__ import annotations

import io
import math
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock

from lktrio import Network, TrioTransport
from tests.support.leaks import no_leaks
from tests.support.loopback import LoopbackServer, certificates
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    Close,
    Connection,
    Exchange,
    Hold,
    Request,
    Reset,
    Send,
    Wait,
    chunk,
    chunked,
    error,
    head,
    response,
)

URL = "http://server.test/path?query=1"


def client_of(network: MemoryNetwork, **options: Any) -> httpx.AsyncClient:
    """A client as programs make it: with the timeouts that httpx has of itself."""
    return httpx.AsyncClient(transport=network.transport(), **options)


def echo(request: Request) -> Exchange:
    return response(200, request.body, {"X-Type": request.header("content-type") or ""})


# --- Requests -------------------------------------------------------------------------------------


async def pieces() -> AsyncIterator[bytes]:
    for piece in (b"Whales ", b"", b"sing."):
        await trio.sleep(0.1)
        yield piece


class Pieces(httpx.AsyncByteStream):
    """A stream that is no generator."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return pieces()

    async def aclose(self) -> None:
        self.closed += 1


BODIES: dict[str, tuple[Callable[[], dict[str, Any]], bytes, str | None]] = {
    "nothing": (dict, b"", None),
    "bytes": (lambda: {"content": b"Whales sing."}, b"Whales sing.", None),
    "text": (lambda: {"content": "Wäle"}, "Wäle".encode(), None),
    "JSON": (lambda: {"json": {"a": 1}}, b'{"a":1}', "application/json"),
    "a form": (
        lambda: {"data": {"a": "1", "b": "ä"}},
        b"a=1&b=%C3%A4",
        "application/x-www-form-urlencoded",
    ),
    "an async generator": (lambda: {"content": pieces()}, b"Whales sing.", None),
    "a stream": (lambda: {"content": Pieces()}, b"Whales sing.", None),
    "a long one": (lambda: {"content": b"whale" * 100_000}, b"whale" * 100_000, None),
    "an iterator of known length": (
        lambda: {"content": pieces(), "headers": {"Content-Length": "12"}},
        b"Whales sing.",
        None,
    ),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_of_all_kinds_are_sent(kind: str, autojump_clock: MockClock) -> None:
    make, expected, content_type = BODIES[kind]
    with no_leaks():
        async with MemoryNetwork(echo) as network, client_of(network) as client:
            for _ in range(2):
                got = await client.post(URL, **make())
                assert got.content == expected
            # Whatever was sent, the connection serves the next.
            assert len(network.connections) == 1
    request = network.requests[0]
    assert content_type is None or request.header("content-type") == content_type
    is_chunked = request.header("transfer-encoding") == "chunked"
    assert is_chunked is (kind in {"an async generator", "a stream"})


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("opened", ["in memory", "a file", "text"])
async def test_files_are_uploaded(opened: str, size: int, autojump_clock: MockClock) -> None:
    content = b"w" * size
    with no_leaks(), tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        source: Any = {"in memory": io.BytesIO(content), "a file": file, "text": content}[opened]
        async with MemoryNetwork(echo) as network, client_of(network) as client:
            got = await client.post(
                URL, files={"song": ("whale.ogg", source, "audio/ogg")}, data={"by": "whale"}
            )
    kind, _, boundary = got.headers["x-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    marker = b"--" + boundary.encode()
    assert got.content.startswith(marker)
    assert got.content.endswith(marker + b"--\r\n")
    assert b'name="by"\r\n\r\nwhale\r\n' in got.content
    assert b'filename="whale.ogg"\r\nContent-Type: audio/ogg\r\n\r\n' + content in got.content


async def test_an_iterator_that_is_not_read_to_its_end_is_closed(autojump_clock: MockClock) -> None:
    closed = []

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1000
            finally:
                closed.append(True)

    refused = Exchange(error(413, close=True).steps, reads="head")
    with no_leaks():
        async with MemoryNetwork(refused) as network, network.transport() as transport:
            # (What a client puts round an iterator that it is given does not close that one.)
            fields = {"Transfer-Encoding": "chunked"}
            request = httpx.Request("POST", URL, stream=Endless(), headers=fields)
            got = await transport.handle_async_request(request)
            assert got.status_code == 413
            assert closed == [True]
            await got.aclose()


async def test_what_an_iterator_raises_passes_bare(autojump_clock: MockClock) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with no_leaks():
        async with MemoryNetwork(echo) as network, client_of(network) as client:
            with pytest.raises(ZeroDivisionError):
                await client.post(URL, content=broken())
            network.assert_quiet()
            assert network.open_connections == 0


@pytest.mark.parametrize("length", ["11", "13"])
async def test_a_length_that_is_not_kept_is_an_error(
    length: str, autojump_clock: MockClock
) -> None:
    with no_leaks():
        async with MemoryNetwork(echo) as network, network.transport() as transport:
            fields = {"Content-Length": length}
            request = httpx.Request("POST", URL, stream=Pieces(), headers=fields)
            with pytest.raises(httpx.LocalProtocolError, match=length):
                await transport.handle_async_request(request)
            assert network.open_connections == 0


def synchronous() -> Iterator[bytes]:
    yield b"x"


async def test_a_body_that_blocks_is_refused_by_httpx(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(echo) as network, client_of(network) as client:
        with pytest.raises(RuntimeError, match="sync"):
            await client.post(URL, content=synchronous())


# --- Responses ------------------------------------------------------------------------------------


async def test_a_response_says_what_the_server_said(autojump_clock: MockClock) -> None:
    fields = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Song", "blau")]
    said = head(201, [*fields, ("Content-Length", "2")], reason="Sung") + b"Hi"
    async with MemoryNetwork(Exchange([Send(said)])) as network, client_of(network) as client:
        got = await client.get(URL)
    assert (got.status_code, got.reason_phrase, got.http_version) == (201, "Sung", "HTTP/1.1")
    assert got.extensions["reason_phrase"] == b"Sung"
    assert got.extensions["http_version"] == b"HTTP/1.1"
    assert got.headers.multi_items()[:3] == [(name.lower(), value) for name, value in fields]
    assert dict(got.cookies) == {"a": "1", "b": "2"}
    # Nobody can change the protocol, so nobody gets the stream: see the docstring.
    assert "network_stream" not in got.extensions
    assert "network_stream" in (TrioTransport.__doc__ or "")


@pytest.mark.parametrize("how", ["read", "iterate", "leave", "close", "raise"])
async def test_however_a_response_is_left_the_connection_is_idle_or_closed(
    how: str, autojump_clock: MockClock
) -> None:
    answer = chunked([b"Whales ", Wait(1.0), b"sing."])
    with no_leaks():
        async with MemoryNetwork(answer) as network, client_of(network) as client:
            if how == "read":
                assert (await client.get(URL)).text == "Whales sing."
            elif how == "iterate":
                async with client.stream("GET", URL) as got:
                    assert [one async for one in got.aiter_bytes()] == [b"Whales ", b"sing."]
            elif how == "leave":
                # (Of a client's own generators none is closed by leaving the block.)
                got = await client._transport.handle_async_request(httpx.Request("GET", URL))
                assert isinstance(got.stream, httpx.AsyncByteStream)
                assert await anext(aiter(got.stream)) == b"Whales "
                await got.aclose()
            elif how == "close":
                got = await client.send(client.build_request("GET", URL), stream=True)
                await got.aclose()
                await got.aclose()
                assert got.is_closed
            else:
                with pytest.raises(ZeroDivisionError):
                    async with client.stream("GET", URL) as got:
                        raise ZeroDivisionError
            network.assert_quiet()
            assert network.open_connections == (how in {"read", "iterate"})


# --- Timeouts -------------------------------------------------------------------------------------

LATE: dict[str, tuple[Connection, type[httpx.TimeoutException]]] = {
    "connect": (Connection(connect_delay=math.inf), httpx.ConnectTimeout),
    "TLS": (Connection(tls_delay=math.inf), httpx.ConnectTimeout),
    "write": (Connection([Exchange([Hold()], reads="nothing")]), httpx.WriteTimeout),
    "head": (Connection([Exchange([Hold()])]), httpx.ReadTimeout),
    "body": (
        Connection([chunked([b"Whales"], end=False).then(Hold())]),
        httpx.ReadTimeout,
    ),
}


@pytest.mark.parametrize("what", LATE)
async def test_each_timeout_of_httpx_is_its_exception(what: str, autojump_clock: MockClock) -> None:
    plan, expected = LATE[what]
    name = {"TLS": "connect", "head": "read", "body": "read"}.get(what, what)
    timeout = httpx.Timeout(None, **{name: 3.0})
    url = URL.replace("http", "https") if what == "TLS" else URL
    with no_leaks():
        async with MemoryNetwork([plan]) as network, client_of(network, timeout=timeout) as client:
            start = trio.current_time()
            with pytest.raises(expected) as caught:
                await client.post(url, content=b"x" * 200_000)
            assert trio.current_time() - start == pytest.approx(3.0)
            assert caught.value.request.url == url
            network.assert_quiet()
            assert network.open_connections == 0


async def test_a_read_timeout_is_between_two_pieces(autojump_clock: MockClock) -> None:
    answer = chunked([b"x"] * 10, every=4.0)
    async with MemoryNetwork(answer) as network, client_of(network, timeout=5.0) as client:
        assert (await client.get(URL)).text == "x" * 10


async def test_a_timeout_of_the_pool_is_never_needed(autojump_clock: MockClock) -> None:
    timeout = httpx.Timeout(None, pool=0.001)
    held = chunked([b"x", Wait(1.0), b"y"])
    async with MemoryNetwork(held) as network, client_of(network, timeout=timeout) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(client.get, URL)
        assert len(network.connections) == 300


async def test_without_timeouts_there_is_no_clock(autojump_clock: MockClock) -> None:
    slow = Exchange([Wait(10_000), *response(200).steps])
    async with MemoryNetwork(slow) as network, client_of(network, timeout=None) as client:
        assert (await client.get(URL)).status_code == 200


# --- Which exceptions -----------------------------------------------------------------------------

FAILURES: dict[str, tuple[Connection, type[httpx.TransportError]]] = {
    "refused": (Connection(connect_error="refused"), httpx.ConnectError),
    "TLS": (Connection(tls_error="distrusted"), httpx.ConnectError),
    "closed": (Connection([Exchange([Close()])]), httpx.RemoteProtocolError),
    "reset": (Connection([Exchange([Reset()])]), httpx.ReadError),
    "garbage": (Connection([Exchange([Send(b"\0\r\n\r\n"), Close()])]), httpx.RemoteProtocolError),
    "cut": (
        Connection([chunked([b"x"], end=False).then(Close())]),
        httpx.RemoteProtocolError,
    ),
    "reset in the body": (
        Connection([chunked([b"x"], end=False).then(Wait(1), Reset())]),
        httpx.ReadError,
    ),
    "bad chunk": (
        Connection([Exchange([Send(head(200, {"Transfer-Encoding": "chunked"}) + b"zz\r\n")])]),
        httpx.RemoteProtocolError,
    ),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_what_goes_wrong_is_an_exception_of_httpx(
    what: str, autojump_clock: MockClock
) -> None:
    plan, expected = FAILURES[what]
    url = URL.replace("http", "https") if what == "TLS" else URL
    with no_leaks():
        async with MemoryNetwork([plan]) as network, client_of(network) as client:
            with pytest.raises(expected) as caught:
                await client.get(url)
            assert caught.value.request.url == url
            network.assert_quiet()


@pytest.mark.parametrize("url", ["ftp://server.test/", "ws://server.test/", "unix:/x"])
async def test_another_scheme_is_refused(url: str) -> None:
    async with TrioTransport() as transport:
        with pytest.raises(httpx.UnsupportedProtocol):
            await transport.handle_async_request(httpx.Request("GET", url))


# --- Extensions -----------------------------------------------------------------------------------


async def test_a_certificate_may_be_for_the_name_that_is_asked_for() -> None:
    secured = certificates("real.example")
    async with LoopbackServer(response(200), tls=secured) as server:
        async with httpx.AsyncClient(transport=server.transport()) as client:
            with pytest.raises(httpx.ConnectError, match="certificate"):
                await client.get(server.url)
            for _ in range(2):
                got = await client.get(server.url, extensions={"sni_hostname": "real.example"})
                assert got.status_code == 200
            # A connection that was made for one name is not used for another.
            with pytest.raises(httpx.ConnectError, match="certificate"):
                await client.get(server.url)


async def test_a_target_may_be_given(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(response(200)) as network, client_of(network) as client:
        await client.request("OPTIONS", URL, extensions={"target": b"*"})
    assert network.requests[0].target == "*"


class Traced:
    """What a trace was told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.values: dict[str, Any] = {}

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(event)
        self.values[event] = info

    @property
    def extensions(self) -> dict[str, Any]:
        return {"trace": self}


EXCHANGED = [
    "http11.send_request_headers.started",
    "http11.send_request_headers.complete",
    "http11.send_request_body.started",
    "http11.send_request_body.complete",
    "http11.receive_response_headers.started",
    "http11.receive_response_headers.complete",
    "http11.receive_response_body.started",
    "http11.receive_response_body.complete",
    "http11.response_closed.started",
    "http11.response_closed.complete",
]
CONNECTED = ["connection.connect_tcp.started", "connection.connect_tcp.complete"]
SECURED = ["connection.start_tls.started", "connection.start_tls.complete"]


async def test_a_trace_is_told_what_httpcore_tells(autojump_clock: MockClock) -> None:
    first, second = Traced(), Traced()
    async with MemoryNetwork(response(201, b"Hi")) as network, client_of(network) as client:
        url = URL.replace("http", "https")
        await client.post(url, content=b"x", extensions=first.extensions)
        await client.post(url, content=b"x", extensions=second.extensions)

    assert first.events == [*CONNECTED, *SECURED, *EXCHANGED]
    assert second.events == EXCHANGED
    assert first.values["connection.connect_tcp.started"] == {
        "host": "server.test",
        "port": 443,
        "local_address": None,
        "timeout": 5.0,
        "socket_options": None,
    }
    assert first.values["connection.start_tls.started"]["server_hostname"] == "server.test"
    sent = first.values["http11.send_request_headers.started"]["request"]
    assert sent.method == "POST"
    version, status, reason, fields = first.values["http11.receive_response_headers.complete"][
        "return_value"
    ]
    assert (version, status, reason) == (b"HTTP/1.1", 201, b"Created")
    assert (b"Content-Length", b"2") in fields


async def test_it_is_told_what_httpcore_itself_tells(autojump_clock: MockClock) -> None:
    """The same events in the same order."""
    ours, theirs = Traced(), Traced()
    async with MemoryNetwork(response(200, b"Hi")) as network, client_of(network) as client:
        await client.post(URL, content=b"x", extensions=ours.extensions)
        async with network.brought_client() as brought:
            await brought.post(URL, content=b"x", extensions=theirs.extensions)
    assert ours.events == theirs.events


@pytest.mark.parametrize("what", [name for name in FAILURES if name != "TLS"])
async def test_a_failure_is_traced(what: str, autojump_clock: MockClock) -> None:
    plan, expected = FAILURES[what]
    traced = Traced()
    with no_leaks():
        async with MemoryNetwork([plan]) as network, client_of(network) as client:
            with pytest.raises(expected):
                await client.get(URL, extensions=traced.extensions)
            network.assert_quiet()
    (failed,) = (event for event in traced.events if event.endswith(".failed"))
    assert isinstance(traced.values[failed]["exception"], OSError | httpx.TransportError)


async def test_a_long_request_is_traced(autojump_clock: MockClock) -> None:
    traced = Traced()
    async with MemoryNetwork(response(200, b"Hi")) as network, client_of(network) as client:
        await client.post(URL, content=b"x" * 1_000_000, extensions=traced.extensions)
    # The response is waited for as long as the request is being sent.
    assert sorted(traced.events) == sorted([*CONNECTED, *EXCHANGED])


@pytest.mark.parametrize("event", [*CONNECTED, *SECURED, *EXCHANGED])
async def test_a_trace_that_raises_leaves_nothing(event: str, autojump_clock: MockClock) -> None:
    async def trace(name: str, info: object) -> None:
        await trio.lowlevel.checkpoint()
        if name == event:
            raise ZeroDivisionError

    with no_leaks():
        async with MemoryNetwork(response(200, b"Hi")) as network, client_of(network) as client:
            with pytest.raises(ZeroDivisionError):
                await client.get(URL.replace("http", "https"), extensions={"trace": trace})
            network.assert_quiet()


@pytest.mark.parametrize("event", [*CONNECTED, *SECURED, *EXCHANGED])
async def test_a_cancel_within_a_trace_leaves_nothing(
    event: str, autojump_clock: MockClock
) -> None:
    async def trace(name: str, info: object) -> None:
        if name == event:
            scope.cancel()
            await trio.lowlevel.checkpoint()

    with no_leaks():
        async with MemoryNetwork(response(200, b"Hi")) as network, client_of(network) as client:
            with trio.CancelScope() as scope:
                await client.get(URL.replace("http", "https"), extensions={"trace": trace})
            assert scope.cancelled_caught
            network.assert_quiet()


# --- What is sent again ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"])
async def test_only_what_is_safe_is_sent_again(method: str, autojump_clock: MockClock) -> None:
    script = [
        Connection([response(200), Exchange([Close()])]),
        Connection([response(200)]),
    ]
    async with MemoryNetwork(script) as network, client_of(network) as client:
        await client.get(URL)
        if method in {"POST", "PATCH"}:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.request(method, URL)
        else:
            assert (await client.request(method, URL)).status_code == 200


async def test_a_body_that_cannot_be_repeated_is_not(autojump_clock: MockClock) -> None:
    script = [Connection([response(200), Exchange([Close()])]), Connection([response(200)])]
    async with MemoryNetwork(script) as network, client_of(network) as client:
        await client.get(URL)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.put(URL, content=pieces())


# --- Other ways to connect ------------------------------------------------------------------------


async def test_a_network_of_ones_own_is_asked(autojump_clock: MockClock) -> None:
    class Elsewhere(Network):
        async def connect(self, host: str, port: int) -> trio.abc.Stream:
            return await network.connect("elsewhere.test", 8080)

        def is_readable(self, stream: trio.abc.Stream) -> bool:
            return network.is_readable(stream)

    async with MemoryNetwork(response(200)) as network:
        async with TrioTransport(network=Elsewhere(), proxy=None) as transport:
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(2):
                    await client.get(URL)
        (record,) = network.connections
        assert record.address == "elsewhere.test:8080"
        assert record.requests[0].header("host") == "server.test"


async def test_two_clients_may_share_one(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(response(200, chunk(b"x"))) as network:
        async with network.transport() as transport:
            for _ in range(2):
                client = httpx.AsyncClient(transport=transport)
                await client.get(URL)
        assert len(network.connections) == 1


async def test_a_server_behind_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")

    class UnixSocket(Network):
        async def connect(self, host: str, port: int) -> trio.abc.Stream:
            return await trio.open_unix_socket(path)

    async def serve(stream: trio.abc.Stream) -> None:
        async with stream:
            while b"\r\n\r\n" in await stream.receive_some(4096):
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nHi")
                served.append(stream)

    served: list[trio.abc.Stream] = []
    with no_leaks():
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(path)
        listening.listen()
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(listening)
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            transport = TrioTransport(network=UnixSocket(), proxy=None)
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(2):
                    assert (await client.get("http://neighbour/")).text == "Hi"
            nursery.cancel_scope.cancel()
    # The second request went over the same connection.
    assert served[0] is served[1]


async def test_a_client_certificate_is_shown() -> None:
    authority = trustme.CA()
    secured = certificates(ca=authority)
    secured.server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(secured.server)
    without = ssl.create_default_context()
    authority.configure_trust(without)
    async with LoopbackServer(response(200), tls=secured) as server:
        authority.issue_cert("client.example").configure_cert(secured.client)
        async with httpx.AsyncClient(transport=server.transport()) as client:
            assert (await client.get(server.url)).status_code == 200
        async with httpx.AsyncClient(transport=server.transport(verify=without)) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(server.url)


# --- httpx2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BODIES)
async def test_a_client_of_httpx2_has_the_same(kind: str, autojump_clock: MockClock) -> None:
    httpx2 = pytest.importorskip("httpx2")
    make, expected, _ = BODIES[kind]
    with no_leaks():
        async with MemoryNetwork(echo) as network:
            transport = network.transport()
            async with httpx2.AsyncClient(transport=transport.for_httpx2()) as client:
                for _ in range(2):
                    got = await client.post(URL, **make())
                    assert got.content == expected
                    assert got.extensions["reason_phrase"] == b"OK"
                network.assert_quiet()
            assert len(network.connections) == 1
            assert network.open_connections == 0


@pytest.mark.parametrize("what", FAILURES)
async def test_its_exceptions_are_those_of_httpx2(what: str, autojump_clock: MockClock) -> None:
    httpx2 = pytest.importorskip("httpx2")
    plan, expected = FAILURES[what]
    url = URL.replace("http", "https") if what == "TLS" else URL
    with no_leaks():
        async with MemoryNetwork([plan]) as network:
            made = network.transport().for_httpx2()
            async with httpx2.AsyncClient(transport=made) as client:
                with pytest.raises(getattr(httpx2, expected.__name__)):
                    await client.get(url)
            network.assert_quiet()


async def test_its_timeouts_are_those_of_httpx2(autojump_clock: MockClock) -> None:
    httpx2 = pytest.importorskip("httpx2")
    async with MemoryNetwork(Exchange([Hold()])) as network:
        made = network.transport().for_httpx2()
        async with httpx2.AsyncClient(transport=made, timeout=3.0) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(URL)
            assert trio.current_time() == pytest.approx(3.0)
