"""A server of which a test writes every byte, in memory or behind a real socket, plain or with TLS.

This module knows how bytes get to a client in just the pieces that a test wants, be it within a TLS
record. It does not know HTTP, but for where a head ends.

    async def serve(peer: Peer) -> None:              # once for each connection
        await peer.read_head()
        await peer.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")

    async with RawServer(serve) as server, server.transport() as transport:
        ...
"""

from __future__ import annotations

import contextvars
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import trio

from lktrio import TrioTransport
from lktrio._http import Network
from lktrio._http.bare import bare
from lktrio.testing._http import no_encryption

from .loopback import Certificates
from .memory_stream import MemoryEnd, memory_connection

__all__ = ["Peer", "RawServer", "Where"]

Where: TypeAlias = Literal["memory", "tcp"]
"""Where a server is: in memory (virtual time), or behind a socket on this machine."""


class Peer:
    """The server's end of one connection.

    Args:
        stream: What it goes over.
        context: If given, TLS is spoken.
    """

    def __init__(self, stream: MemoryEnd | trio.SocketStream, context: ssl.SSLContext | None):
        self.stream = stream
        """What it goes over."""
        self.received = bytearray()
        """All that was received, decrypted."""
        self.tls: ssl.SSLObject | None = None
        """The server's side of TLS."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if context is not None:
            self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def do_handshake(self) -> None:
        """Agree with the client on keys, if TLS is spoken."""
        if self.tls is None:
            return
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.write(self._outgoing.read())
                self._incoming.write(await self.stream.receive_some() or b"")
            except ssl.SSLError:
                await self.write(self._outgoing.read())
                raise
            else:
                break
        await self.write(self._outgoing.read())

    def seal(self, data: bytes) -> bytes:
        """The bytes on the wire that carry something: with TLS, records of its own."""
        if self.tls is None:
            return data
        if data:
            self.tls.write(data)
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """The bytes on the wire that end TLS in order (close_notify)."""
        assert self.tls is not None
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    async def write(self, wire: bytes) -> None:
        """Write bytes of the wire, at once."""
        if wire:
            await self.stream.send_all(wire)

    async def send(self, data: bytes) -> None:
        """Send something, at once."""
        await self.write(self.seal(data))

    async def receive(self) -> bytes:
        """Receive something; ``b""`` if the client has gone."""
        while True:
            if self.tls is not None:
                try:
                    data = self.tls.read(65536)
                except ssl.SSLWantReadError:
                    pass
                else:
                    self.received += data
                    return data
            try:
                wire = bytes(await self.stream.receive_some())
            except trio.BrokenResourceError:
                wire = b""
            if not wire or self.tls is None:
                self.received += wire
                return wire
            self._incoming.write(wire)

    async def read_head(self) -> bytes:
        """Read a request's head, or what there is of it when the client goes. What follows stays
        in `received`."""
        while b"\r\n\r\n" not in self.received:
            if not await self.receive():
                break
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        self.received[:] = rest
        return head

    async def read_all(self) -> bytes:
        """Read until the client goes, and return all that is in `received`."""
        while await self.receive():
            pass
        return bytes(self.received)

    async def send_eof(self) -> None:
        """Send nothing more (FIN), but go on receiving."""
        await self.stream.send_eof()

    async def reset(self) -> None:
        """Break the connection (RST)."""
        if isinstance(self.stream, MemoryEnd):
            self.stream.reset()
        else:
            self.stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.stream.socket.close()
        await trio.lowlevel.checkpoint()


class RawServer(Network):
    """A server, and the network on which clients find it, whatever address they ask for.

    What the test's function raises is raised where the block is left, but for what a client that
    goes away causes.

    Args:
        serve: What it does on a connection; afterwards the connection is closed.
        where: In memory, or behind a socket.
        tls: The certificates of a server of https.
        window: Bytes that may be on their way, in memory.
    """

    def __init__(
        self,
        serve: Callable[[Peer], Awaitable[object]],
        *,
        where: Where = "memory",
        tls: Certificates | None = None,
        window: int = 65536,
    ) -> None:
        self.peers: list[Peer] = []
        """The connections, in the order of opening."""
        self.client_ends: list[trio.abc.Stream] = []
        """The clients' ends of the connections."""
        self._serve = serve
        self._where = where
        self._tls = tls
        self._window = window
        self._listener: trio.SocketListener | None = None
        self._nursery: trio.Nursery
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """Scheme and host."""
        return "https://127.0.0.1" if self._tls else "http://127.0.0.1"

    def transport(self, **options: Any) -> TrioTransport:
        """A transport on this network that trusts the server."""
        verify = self._tls.client if self._tls else no_encryption()
        return TrioTransport(**{"verify": verify, "network": self, **options})

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._nursery = await stack.enter_async_context(trio.open_nursery())
            if self._where == "tcp":
                (self._listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                await stack.enter_async_context(self._listener)
            stack.callback(self._nursery.cancel_scope.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stack.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            raise bare(group) from None

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """Part of `Network`."""
        client_end: trio.abc.Stream
        server_end: MemoryEnd | trio.SocketStream
        if self._listener is None:
            await trio.lowlevel.checkpoint()
            client_end, server_end = memory_connection(self._window)
        else:
            port = self._listener.socket.getsockname()[1]
            client_end = await super().connect("127.0.0.1", port)
            with trio.CancelScope(shield=True):
                server_end = await self._listener.accept()
        self.client_ends.append(client_end)
        peer = Peer(server_end, self._tls.server if self._tls else None)
        self.peers.append(peer)
        # In a context of its own: a server is no part of the program that connects to it.
        contextvars.Context().run(self._nursery.start_soon, self._run, peer)
        return client_end

    def is_readable(self, stream: trio.abc.Stream) -> bool:
        """Part of `Network`."""
        return stream.readable if isinstance(stream, MemoryEnd) else super().is_readable(stream)

    async def _run(self, peer: Peer) -> None:
        try:
            await peer.do_handshake()
            await self._serve(peer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            # The client has gone, or does not want us.
            pass
        finally:
            with trio.CancelScope(shield=True):
                await peer.stream.aclose()
