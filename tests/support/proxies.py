"""Proxies for tests: small ones that work, over sockets or in memory, and the same with a fault.

This module alone knows what a proxy says: CONNECT, requests that it forwards, SOCKS 5. What stands
behind it is a scripted server.

    async with LoopbackServer(text("Hi"), tls=certificates()) as server:
        proxy = await LoopbackProxy.start(server)
        TrioTransport(proxy=proxy.url, ...)

    async with MemoryNetwork(text("Hi")) as beyond:
        network = ProxyNetwork(beyond, Proxy(beyond.connect, speaks="SOCKS"))
        TrioTransport(proxy="socks5://proxy.test:1080", network=network, ...)
"""

from __future__ import annotations

import base64
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import attrs
import trio

from lktrio import Network
from lktrio._http import TLSStream
from lktrio.testing._memory_stream import MemoryEnd, memory_connection

from .loopback import LoopbackServer
from .memory_network import MemoryNetwork

__all__ = ["DRIP", "STEPS", "Fault", "How", "LoopbackProxy", "Proxy", "ProxyNetwork"]

Dial: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
How: TypeAlias = Literal["silent", "drips", "closes", "resets"]

STEPS = (
    "connecting",
    "accept",
    "TLS to the proxy",
    "CONNECT",
    "greeting",
    "login",
    "reply",
    "TLS in the tunnel",
)
"""Where a proxy can have its fault."""

DRIP = 1.5
"""Seconds before each byte of a proxy that drips."""


@attrs.frozen
class Fault:
    """What a proxy does in place of a step, or how it does that step."""

    step: str
    how: How

    def __str__(self) -> str:
        return f"{self.how} at {self.step}"


class _Over(Exception):
    """Nothing more is said on this connection."""


@attrs.define(eq=False)
class Proxy:
    """A proxy, which serves one stream at a time of each task."""

    dial: Dial
    """How it connects to a server."""

    speaks: Literal["HTTP", "SOCKS"] = attrs.field(default="HTTP", kw_only=True)
    tls: ssl.SSLContext | None = attrs.field(default=None, kw_only=True)
    """What it presents if TLS leads to it."""

    ends_tls: ssl.SSLContext | None = attrs.field(default=None, kw_only=True)
    """In place of a server of https, whose scripted form in memory cannot encrypt: what the server
    would present."""

    login: tuple[str, str] | None = attrs.field(default=None, kw_only=True)
    """User and password, without which it does nothing."""

    refusal: int | None = attrs.field(default=None, kw_only=True)
    """The status, or the code of SOCKS, with which it refuses every tunnel."""

    fault: Fault | None = attrs.field(default=None, kw_only=True)

    asked: list[str] = attrs.field(factory=list[str], init=False)
    """Which servers it was asked for."""

    heads: list[bytes] = attrs.field(factory=list[bytes], init=False)
    """The heads of the requests that it has read."""

    connections: int = attrs.field(default=0, init=False)
    """How many connections have come."""

    open: int = attrs.field(default=0, init=False)
    """How many of them are open."""

    _changed: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False, repr=False
    )

    async def wait_open(self, number: int) -> None:
        """Wait until so many connections are open."""
        while self.open != number:
            await self._changed.park()

    async def serve(self, client: trio.abc.Stream) -> None:
        """Serve one connection, and close it."""
        self.connections += 1
        self.open += 1
        try:
            await self._serve(client)
        except (_Over, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(client)
            self.open -= 1
            self._changed.unpark_all()

    async def _serve(self, client: trio.abc.Stream) -> None:
        client = await self._at("accept", client)
        if self.tls is not None:
            client = await self._at("TLS to the proxy", client)
            client = await _secured(client, self.tls)
        if self.speaks == "SOCKS":
            await self._serve_socks(client)
        else:
            await self._serve_http(client)

    async def _at(self, step: str, stream: trio.abc.Stream) -> trio.abc.Stream:
        """Play the fault, if this is its step."""
        if self.fault is None or self.fault.step != step:
            return stream
        match self.fault.how:
            case "drips":
                return _Drip(stream)
            case "silent":
                async for _ in stream:
                    pass
            case "closes":
                pass
            case "resets":
                _reset(stream)
        raise _Over

    # --- HTTP ---------------------------------------------------------------------------------

    async def _serve_http(self, client: trio.abc.Stream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await client.receive_some()
            if not data:
                raise _Over
            head += data
        self.heads.append(head)
        method, target, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
        if not self._admits(head):
            await client.send_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n"
                b'Proxy-Authenticate: Basic realm="proxy"\r\n\r\n'
            )
            raise _Over
        place = target if method == "CONNECT" else target.split("/")[2]
        self.asked.append(place)
        host, _, port = place.removeprefix("http://").rpartition(":")
        if method != "CONNECT":
            host, port = (host, port) if host else (port, "80")
            await self._pass_on(client, host, int(port), head)
            return
        client = await self._at("CONNECT", client)
        if self.refusal is not None:
            head = f"HTTP/1.1 {self.refusal} No\r\nContent-Length: 3\r\n\r\nno\n".encode()
            await client.send_all(head)
            raise _Over
        await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._tunnel(client, host.strip("[]"), int(port))

    def _admits(self, head: bytes) -> bool:
        if self.login is None:
            return True
        token = base64.b64encode(":".join(self.login).encode())
        return b"\r\nProxy-Authorization: Basic " + token + b"\r\n" in head

    # --- SOCKS --------------------------------------------------------------------------------

    async def _serve_socks(self, client: trio.abc.Stream) -> None:
        _, number = await _exactly(client, 2)
        methods = await _exactly(client, number)
        client = await self._at("greeting", client)
        wanted = 0 if self.login is None else 2
        await client.send_all(bytes([5, wanted if wanted in methods else 255]))
        if wanted not in methods:
            raise _Over
        if self.login is not None:
            _, length = await _exactly(client, 2)
            user = await _exactly(client, length)
            (length,) = await _exactly(client, 1)
            password = await _exactly(client, length)
            admitted = (user.decode(), password.decode()) == self.login
            client = await self._at("login", client)
            await client.send_all(bytes([1, not admitted]))
            if not admitted:
                raise _Over
        *_, kind = await _exactly(client, 4)
        if kind == 3:
            (length,) = await _exactly(client, 1)
            host = (await _exactly(client, length)).decode()
        elif kind == 1:
            host = socket.inet_ntop(socket.AF_INET, await _exactly(client, 4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, await _exactly(client, 16))
        port = int.from_bytes(await _exactly(client, 2))
        self.asked.append(f"{host}:{port}")
        client = await self._at("reply", client)
        # Where the proxy connects from, as each kind of address that there is.
        where = [b"\x01\x7f\0\0\x01", b"\x03\x09localhost", b"\x04" + b"\0" * 15 + b"\x01"]
        bound = where[self.connections % 3] + b"\x1f\x90"
        await client.send_all(bytes([5, self.refusal or 0, 0]) + bound)
        if self.refusal is not None:
            raise _Over
        await self._tunnel(client, host, port)

    # --- Bytes --------------------------------------------------------------------------------

    async def _tunnel(self, client: trio.abc.Stream, host: str, port: int) -> None:
        if isinstance(client, _Drip):
            client = client.stream
        client = await self._at("TLS in the tunnel", client)
        if self.ends_tls is not None and port == 443:
            client = await _secured(client, self.ends_tls)
        await self._pass_on(client, host, port, b"")

    async def _pass_on(self, client: trio.abc.Stream, host: str, port: int, first: bytes) -> None:
        server = await self.dial(host, port)
        try:
            if first:
                await server.send_all(first)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass, client, server, nursery.cancel_scope)
                nursery.start_soon(_pass, server, client, nursery.cancel_scope)
        finally:
            await trio.aclose_forcefully(server)


async def _pass(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


async def _exactly(stream: trio.abc.Stream, number: int) -> bytes:
    data = b""
    while len(data) < number:
        piece = await stream.receive_some(number - len(data))
        if not piece:
            raise _Over
        data += piece
    return data


async def _secured(stream: trio.abc.Stream, context: ssl.SSLContext) -> trio.abc.Stream:
    secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    await secured.do_handshake()
    return secured


@attrs.frozen(eq=False)
class _Drip(trio.abc.Stream):
    """Sends byte by byte, with a pause before each."""

    stream: trio.abc.Stream

    async def send_all(self, data: Any) -> None:
        for at in range(len(data)):
            await trio.sleep(DRIP)
            await self.stream.send_all(data[at : at + 1])

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.stream.aclose()


def _reset(stream: Any) -> None:
    while not isinstance(stream, trio.SocketStream | MemoryEnd):
        stream = stream.transport_stream
    if isinstance(stream, MemoryEnd):
        stream.reset()
    else:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


# --- Where it is reached --------------------------------------------------------------------------


class ProxyNetwork(Network):
    """A network in memory in which everything leads to a proxy. TLS is real.

    Args:
        beyond: Where the proxy and its connections run: the servers behind it.
        proxy: The proxy.
    """

    def __init__(self, beyond: MemoryNetwork, proxy: Proxy) -> None:
        self.proxy = proxy
        self.reached: list[str] = []
        """What was connected to, and found the proxy there."""
        self.ends: list[MemoryEnd] = []
        """The ends of our connections."""
        self._beyond = beyond

    @property
    def open(self) -> int:
        """How many connections we have not closed."""
        return sum(not end.closed for end in self.ends)

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        self.reached.append(f"{host}:{port}")
        await self._beyond._answer_after(0.0)
        fault = self.proxy.fault
        if fault is not None and fault.step == "connecting":
            if fault.how == "silent":
                await trio.sleep_forever()
            raise ConnectionRefusedError("refused")
        ours, theirs = memory_connection()
        self.ends.append(ours)
        self._beyond._start_soon(self.proxy.serve, theirs)
        return ours

    def is_readable(self, stream: trio.abc.Stream) -> bool:
        if isinstance(stream, MemoryEnd):
            return stream.readable
        assert isinstance(stream, TLSStream)
        return stream.has_unread or self.is_readable(stream.transport_stream)


@attrs.define(eq=False)
class LoopbackProxy(Proxy):
    """A proxy behind a real socket. It ends with the server that it was started beside."""

    port: int = attrs.field(default=0, init=False)

    @classmethod
    async def start(cls, server: LoopbackServer, **options: Any) -> LoopbackProxy:
        """Start one that leads to a server, whatever it is asked for."""

        async def dial(_host: str, _port: int) -> trio.abc.Stream:
            return await trio.open_tcp_stream("127.0.0.1", server.port)

        proxy = cls(dial, **options)
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        server._start_soon(trio.serve_listeners, proxy.serve, [listener])
        return proxy

    @property
    def url(self) -> str:
        """The proxy as a program names it."""
        scheme = "socks5" if self.speaks == "SOCKS" else "https" if self.tls else "http"
        login = "" if self.login is None else f"{':'.join(self.login)}@"
        return f"{scheme}://{login}127.0.0.1:{self.port}"
