"""TLS over streams of Trio: what is read and sent, how it ends, who is trusted, what is resumed.

`trio.SSLStream` is the other side, and the reference. Where bytes must come in just these pieces,
the server is written byte by byte.
"""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable
from contextlib import aclosing

import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from lktrio import LLM, APIConnectionError, APIConnectOptions, TrioTransport
from lktrio._http import TLSStream
from tests.support.engine import ONCE, ask
from tests.support.leaks import no_leaks
from tests.support.loopback import Certificates, LoopbackServer, certificates
from tests.support.memory_stream import MemoryEnd, memory_connection
from tests.support.raw_server import Peer, RawServer, Where
from tests.support.script import text

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
LARGE = bytes(range(256)) * 8_000

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def of_version(version: ssl.TLSVersion, **options: object) -> Certificates:
    """Certificates of a server that speaks one version only."""
    secured = certificates(**options)  # type: ignore[arg-type]
    secured.server.minimum_version = secured.server.maximum_version = version
    return secured


async def get(transport: TrioTransport, url: str) -> bytes:
    """The body of one response."""
    response = await transport.handle_async_request(httpx.Request("GET", url))
    async with aclosing(response):
        return await response.aread()


async def answer(peer: Peer) -> None:
    while await peer.read_head():
        await peer.send(HI)


# --- Beside trio.SSLStream -----------------------------------------------------------------------

Make = Callable[[trio.abc.Stream, ssl.SSLContext], trio.abc.Stream]


def ours(stream: trio.abc.Stream, context: ssl.SSLContext) -> trio.abc.Stream:
    return TLSStream(stream, context, "127.0.0.1")


def reference(stream: trio.abc.Stream, context: ssl.SSLContext) -> trio.abc.Stream:
    return trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)


async def linked(
    make: Make, secured: Certificates, window: int = 65536
) -> tuple[trio.abc.Stream, trio.SSLStream[MemoryEnd]]:
    """Both ends of a connection, after the handshake."""
    client_end, server_end = memory_connection(window)
    client = make(client_end, secured.client)
    server = trio.SSLStream(server_end, secured.server, server_side=True, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)  # type: ignore[attr-defined]
        nursery.start_soon(server.do_handshake)
    return client, server


async def receive_exactly(stream: trio.abc.Stream, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        piece = await stream.receive_some()
        assert piece
        got += piece
    return bytes(got)


@pytest.mark.parametrize("window", [1000, 65536])
@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("make", [ours, reference])
async def test_large_bodies_go_both_ways_at_once(
    make: Make, version: ssl.TLSVersion, window: int
) -> None:
    client, server = await linked(make, of_version(version), window)
    got: dict[str, bytes] = {}

    async def receive(name: str, stream: trio.abc.Stream) -> None:
        got[name] = await receive_exactly(stream, len(LARGE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, "client", client)
        nursery.start_soon(receive, "server", server)
        nursery.start_soon(client.send_all, LARGE)
        nursery.start_soon(server.send_all, LARGE[::-1])
    assert got == {"client": LARGE[::-1], "server": LARGE}
    await client.aclose()
    await server.aclose()


@pytest.mark.parametrize("make", [ours, reference])
async def test_nothing_may_be_sent(make: Make) -> None:
    client, server = await linked(make, certificates())
    await client.send_all(b"")
    await client.send_all(b"a")
    assert await server.receive_some() == b"a"
    await client.aclose()
    await server.aclose()


async def test_an_orderly_end_is_the_end_each_time_it_is_asked() -> None:
    client, server = await linked(ours, certificates())
    await server.send_all(b"last")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.aclose)
    assert await client.receive_some() == b"last"
    for _ in range(2):
        assert await client.receive_some() == b""
    await client.aclose()


async def test_all_records_of_a_segment_are_one_piece() -> None:
    """That is what makes a read cost one checkpoint."""

    async def serve(peer: Peer) -> None:
        await peer.write(b"".join(peer.seal(b"%d" % number) for number in range(10)))
        await peer.read_all()

    async with RawServer(serve, tls=(secured := certificates())) as server:
        stream = TLSStream(await server.connect("127.0.0.1", 443), secured.client, "127.0.0.1")
        await stream.do_handshake()
        await wait_all_tasks_blocked()
        assert await stream.receive_some() == b"0123456789"
        assert not stream.has_unread
        await stream.aclose()


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_a_part_of_a_record_is_noticed_wherever_it_ends(version: ssl.TLSVersion) -> None:
    go_on = trio.Event()
    places: list[int] = []

    async def serve(peer: Peer) -> None:
        first, second = peer.seal(b"first"), peer.seal(b"second")
        places[:] = range(len(second))
        size = sizes.pop()
        await peer.write(first + second[:size])
        await go_on.wait()
        await peer.write(second[size:])
        await peer.read_all()

    sizes = [0]
    async with RawServer(serve, tls=(secured := of_version(version))) as server:
        while True:
            size = sizes[-1]
            go_on = trio.Event()
            stream = TLSStream(await server.connect("127.0.0.1", 443), secured.client, "127.0.0.1")
            await stream.do_handshake()
            assert await stream.receive_some() == b"first"
            assert stream.has_unread == (size > 0)
            go_on.set()
            assert await stream.receive_some() == b"second"
            assert not stream.has_unread
            await stream.aclose()
            if size == places[-1]:
                break
            sizes.append(size + 1)


# --- How it ends ---------------------------------------------------------------------------------


def ignoring_unexpected_ends(secured: Certificates) -> Certificates:
    secured.client.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return secured


ENDS = {"a length": b"Content-Length: 5\r\n\r\n", "none": b"\r\n"}


@pytest.mark.parametrize("ignores", [False, True], ids=["", "OP_IGNORE_UNEXPECTED_EOF"])
@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("where", ["memory", "tcp"])
async def test_an_end_without_a_farewell_completes_only_what_says_how_long_it_is(
    where: Where, version: ssl.TLSVersion, ignores: bool
) -> None:
    async def serve(peer: Peer) -> None:
        path = (await peer.read_head()).split()[1].decode()
        farewell, length, body = path[1:].split("/")
        field = b"Content-Length: 5\r\n" if length == "length" else b""
        await peer.send(OK + field + b"\r\n" + body.encode())
        if farewell == "farewell":
            await peer.write(peer.farewell())

    secured = of_version(version)
    if ignores:
        ignoring_unexpected_ends(secured)
    async with RawServer(serve, where=where, tls=secured) as server, server.transport() as it:
        assert await get(it, f"{server.url}/silence/length/whole") == b"whole"
        assert await get(it, f"{server.url}/farewell/length/whole") == b"whole"
        assert await get(it, f"{server.url}/farewell/none/whole") == b"whole"
        for cut in ("silence/length/cut", "farewell/length/cut", "silence/none/cut"):
            with pytest.raises(httpx.RemoteProtocolError, match="before the body"):
                await get(it, f"{server.url}/{cut}")


async def test_after_a_farewell_no_request_goes_over_the_connection() -> None:
    """It may come in the segment of the response, and the connection stay open."""

    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.write(peer.seal(HI) + peer.farewell())
        assert not await peer.receive()

    async with RawServer(serve, tls=certificates()) as server, server.transport() as transport:
        assert await get(transport, server.url) == b"hi"
        assert "0 idle" in repr(transport)
        request = httpx.Request("POST", server.url, content=b"x")
        async with aclosing(await transport.handle_async_request(request)) as response:
            assert await response.aread() == b"hi"
        assert len(server.peers) == 2


@pytest.mark.parametrize("how", ["closes", "resets", "answers in the clear", "is silent"])
async def test_a_server_that_speaks_no_tls_is_an_error(how: str, autojump_clock: MockClock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.stream.receive_some()
        if how == "answers in the clear":
            await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif how == "resets":
            await peer.reset()
        elif how == "is silent":
            await trio.sleep_forever()

    async with RawServer(serve) as server, server.transport() as transport:
        request = httpx.Request("GET", "https://127.0.0.1/", extensions={"timeout": {"connect": 5}})
        error, said = httpx.ConnectError, "TLS with 127.0.0.1"
        if how == "is silent":
            error, said = httpx.ConnectTimeout, "5 s"
        with pytest.raises(error, match=said):
            await transport.handle_async_request(request)
        assert "0 connections in use, 0 idle" in repr(transport)
        assert all(end.closed for end in server.client_ends)  # type: ignore[attr-defined]


# --- Who is trusted ------------------------------------------------------------------------------


def expired() -> Certificates:
    return certificates(not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


def of_somebody_else() -> Certificates:
    return Certificates(certificates(ca=trustme.CA()).server, certificates().client)


DISTRUSTED: dict[str, tuple[Callable[[], Certificates], str]] = {
    "wrong name": (lambda: certificates("other.test"), "127.0.0.1"),
    "expired": (expired, "expired"),
    "unknown authority": (of_somebody_else, "unable to get local issuer|self.signed"),
}


@pytest.mark.parametrize("name", DISTRUSTED)
async def test_a_server_that_is_not_trusted_gets_no_request_and_is_not_asked_again(
    name: str,
) -> None:
    make, said = DISTRUSTED[name]
    secured = make()
    with no_leaks():
        async with LoopbackServer(text("Hi"), tls=secured) as server:
            async with LLM(
                "m",
                base_url=f"{server.url}/v1",
                auth=None,
                http_client=server.transport(),
            ) as llm:
                with pytest.raises(APIConnectionError, match=said) as caught:
                    await ask(llm, APIConnectOptions(max_retry=3, retry_interval=0)).collect()
            assert "127.0.0.1" in str(caught.value)
            assert not caught.value.retryable
            assert server.requests == []
            assert len(server.connections) == 1


@pytest.mark.parametrize("where", ["memory", "tcp"])
@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_a_client_certificate_that_is_missing_is_said_once(
    version: ssl.TLSVersion, where: Where
) -> None:
    """With TLS 1.3 it shows only where the response is read."""
    secured = of_version(version)
    secured.server.verify_mode = ssl.CERT_REQUIRED
    async with RawServer(answer, where=where, tls=secured) as server:
        async with server.transport() as transport:
            llm = LLM("m", base_url=f"{server.url}/v1", auth=None, http_client=transport)
            async with llm:
                said = r"127\.0\.0\.1.*(?i:certificate|handshake)"
                with pytest.raises(APIConnectionError, match=said) as caught:
                    await ask(llm, APIConnectOptions(max_retry=3, retry_interval=0)).collect()
            assert not caught.value.retryable
            assert "0 connections in use, 0 idle" in repr(transport)
    assert len(server.peers) == 1


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_a_client_certificate_is_shown(version: ssl.TLSVersion) -> None:
    ca = trustme.CA()
    secured = of_version(version, ca=ca)
    secured.server.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(secured.server)
    ca.issue_cert("me@client.test").configure_cert(secured.client)
    async with RawServer(answer, tls=secured) as server, server.transport() as transport:
        assert await get(transport, server.url) == b"hi"


async def test_a_context_that_leads_to_http2_is_refused_and_not_changed() -> None:
    secured = certificates()
    secured.server.set_alpn_protocols(["h2", "http/1.1"])
    secured.client.set_alpn_protocols(["h2", "http/1.1"])
    async with RawServer(answer, tls=secured) as server, server.transport() as transport:
        for _ in range(2):
            with pytest.raises(httpx.UnsupportedProtocol, match=r"'h2'.*set_alpn_protocols"):
                await get(transport, server.url)
        assert all(end.closed for end in server.client_ends)  # type: ignore[attr-defined]
        secured.client.set_alpn_protocols(["http/1.1"])
        assert await get(transport, server.url) == b"hi"


async def test_the_name_that_must_be_in_the_certificate_may_be_given() -> None:
    secured = certificates("inner.test")
    async with RawServer(answer, tls=secured) as server, server.transport() as transport:
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1"):
            await get(transport, server.url)
        request = httpx.Request("GET", server.url, extensions={"sni_hostname": "inner.test"})
        async with aclosing(await transport.handle_async_request(request)) as response:
            assert await response.aread() == b"hi"
        # Whoever asks without it is not given the connection.
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1"):
            await get(transport, server.url)


# --- Sessions ------------------------------------------------------------------------------------


def resumed(server: RawServer) -> list[bool]:
    """Of each connection, whether it resumed a session."""
    return [bool(peer.tls and peer.tls.session_reused) for peer in server.peers]


async def once(peer: Peer) -> None:
    """Serves one request on a connection."""
    await peer.read_head()
    await peer.send(HI)


@pytest.mark.parametrize("where", ["memory", "tcp"])
@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_the_next_connection_to_an_origin_resumes_the_session(
    version: ssl.TLSVersion, where: Where
) -> None:
    async with RawServer(once, where=where, tls=of_version(version)) as server:
        async with server.transport(max_keepalive=0) as transport:
            for _ in range(4):
                assert await get(transport, server.url) == b"hi"
    assert resumed(server) == [False, True, True, True]


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_a_session_is_resumed_after_a_response_that_was_left(
    version: ssl.TLSVersion,
) -> None:
    async def begin(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(OK + b"Content-Length: 5\r\n\r\nhe")
        await peer.read_all()

    async with RawServer(begin, tls=of_version(version)) as server, server.transport() as it:
        for _ in range(3):
            await (await it.handle_async_request(httpx.Request("GET", server.url))).aclose()
    assert resumed(server) == [False, True, True]


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_no_session_is_resumed_across_origins_or_transports(
    version: ssl.TLSVersion,
) -> None:
    secured = of_version(version)
    async with RawServer(once, tls=secured) as server:
        async with server.transport(max_keepalive=0) as one, server.transport() as other:
            await get(one, server.url)
            await get(one, "https://localhost/")
            await get(one, "https://127.0.0.1:8443/")
            await get(other, server.url)
            assert resumed(server) == [False] * 4
            await get(one, server.url)
            assert resumed(server)[-1]


async def test_a_change_of_the_environment_s_certificates_breaks_no_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session of one context cannot be resumed with another one."""
    ca = trustme.CA()
    secured = certificates(ca=ca)
    with ca.cert_pem.tempfile() as first, ca.cert_pem.tempfile() as second:
        monkeypatch.setenv("SSL_CERT_FILE", first)
        async with RawServer(once, tls=secured) as server:
            async with TrioTransport(network=server, max_keepalive=0) as transport:
                assert await get(transport, server.url) == b"hi"
                monkeypatch.setenv("SSL_CERT_FILE", second)
                assert await get(transport, server.url) == b"hi"


async def test_a_break_and_a_prewarm_leave_a_connection_for_the_next_request() -> None:
    async with LoopbackServer(text("one ", "two ", "three"), tls=certificates()) as server:
        transport = server.transport()
        async with LLM("m", base_url=f"{server.url}/v1", auth=None, http_client=transport) as llm:
            async with ask(llm, ONCE) as stream:
                async for _ in stream.text:
                    break
            await llm.prewarm()
            assert "1 idle" in repr(transport)
            opened = len(server.connections)
            assert (await ask(llm, ONCE).collect()).text == "one two three"
            assert len(server.connections) == opened
