"""The scripted server behind a real socket on this machine, plain or with TLS.

This module alone knows sockets and certificates. Real sockets take real time, and the autojump
clock jumps while they are busy: tests on them use no clock, and prove what came first by causality
(`WaitFor`, `Hold` and the record's `unplayed`).
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from types import TracebackType
from typing import Any, Protocol, Self

import trio

from lktrio._http import TrioTransport

from ._http import HTTPClient, assert_quiet, make_http_client, no_encryption
from ._server import Answers, ConnectionRecord, Line, ScriptedServer
from ._steps import Connection, Script

__all__ = ["LoopbackServer", "TLSContexts"]


class TLSContexts(Protocol):
    """TLS contexts of a server and of a client that trusts its authority."""

    @property
    def server(self) -> ssl.SSLContext:
        """What the server presents."""
        ...

    @property
    def client(self) -> ssl.SSLContext:
        """Trusts the server's certificate."""
        ...


class LoopbackServer(ScriptedServer):
    """A scripted server that listens on a free port of 127.0.0.1.

        async with LoopbackServer(text("Hi"), tls=certificates()) as server:
            async with server.client() as client:
                await client.post(server.url + "/v1/chat/completions", json={})

    A client that leaves is noticed while a request that was read is being answered, and while the
    server waits for the next one. After an exchange that does not read the whole request only a
    failing `Send` can tell, so that a `Hold` there lasts as long as the server.

    Args:
        script: What the server does; the connect and TLS faults of a `Connection` are for memory
            only.
        tls: Makes it a server of https.

    Raises:
        TypeError: If the script is none.
    """

    def __init__(self, script: Script | Answers, *, tls: TLSContexts | None = None) -> None:
        super().__init__(script)
        self.tls = tls
        self.port = 0
        """The port, once the block is entered."""

    @property
    def url(self) -> str:
        """Scheme, host and port: `http://127.0.0.1:54321`."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def transport(self, **options: Any) -> TrioTransport:
        """Return a transport that trusts the server.

        Args:
            options: Arguments of `TrioTransport`.
        """
        # Without TLS the context is never used, and an empty one is made at once.
        verify = self.tls.client if self.tls else no_encryption()
        defaults: dict[str, Any] = {"verify": verify, "proxy": None}
        return self.adopt(TrioTransport(**{**defaults, **options}))

    def client(self, **options: Any) -> HTTPClient:
        """Return a client of httpx that trusts the server.

        Args:
            options: Arguments of `httpx.AsyncClient`; `timeout` is None and `trust_env` False if
                not given. Those that concern connections are not looked at.
        """
        return make_http_client(self.transport(), options)

    def assert_quiet(self) -> None:
        """Check that no request is under way.

        Raises:
            LeakError: Names what is left. Sockets in no pool are for `no_leaks` to find.
        """
        for transport in self._transports:
            assert_quiet(transport)

    async def __aenter__(self) -> Self:
        # First, because it can be cancelled, and then there must be no nursery yet.
        (self._listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        try:
            await super().__aenter__()
        except BaseException:
            self._listener.socket.close()
            raise
        self.port = self._listener.socket.getsockname()[1]
        self._start_soon(self._accept)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc, traceback)
        finally:
            self._listener.socket.close()

    async def _accept(self) -> None:
        while True:
            stream = await self._listener.accept()
            plan = self._next_plan()
            if plan is None or plan.connect_error is not None:
                _abort(stream)
                continue
            record = ConnectionRecord(
                number=len(self.connections),
                opened_at=trio.current_time(),
                address=f"127.0.0.1:{self.port}",
            )
            self.connections.append(record)
            self._start_soon(self._serve_socket, stream, record, plan)

    async def _serve_socket(
        self, socket_stream: trio.SocketStream, record: ConnectionRecord, plan: Connection
    ) -> None:
        stream: trio.abc.Stream = socket_stream
        if self.tls is not None:
            # https_compatible: servers end a connection without TLS's own farewell, and so do we.
            secure = trio.SSLStream(
                socket_stream, self.tls.server, server_side=True, https_compatible=True
            )
            try:
                await secure.do_handshake()
            except trio.BrokenResourceError:
                # The client went, or refused our certificate: nothing to serve.
                _abort(socket_stream)
                record.saw_client_go()
                record.saw_closed("client")
                return
            except BaseException:
                _abort(socket_stream)
                raise
            record.tls = True
            stream = secure
        async with trio.open_nursery() as nursery:
            line = _SocketLine(stream, socket_stream, record, nursery)
            await self._serve(line, record, plan)
            nursery.cancel_scope.cancel()


class _SocketLine(Line):
    """The server's end of a socket; to notice the client's going it has to read ahead."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        socket_stream: trio.SocketStream,
        record: ConnectionRecord,
        nursery: trio.Nursery,
    ) -> None:
        self._stream = stream
        self._socket_stream = socket_stream
        self._record = record
        self._nursery = nursery
        self._ahead: trio.MemoryReceiveChannel[bytes] | None = None

    async def receive(self, max_bytes: int) -> bytes:
        if self._ahead is None:
            return await self._receive_from_socket(max_bytes)
        try:
            return await self._ahead.receive()
        except trio.EndOfChannel:
            return b""

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    def watch(self) -> None:
        if self._ahead is None:
            send_channel, self._ahead = trio.open_memory_channel[bytes](0)
            self._nursery.start_soon(self._read_ahead, send_channel)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        _abort(self._socket_stream)
        await trio.lowlevel.checkpoint()

    async def _read_ahead(self, channel: trio.MemorySendChannel[bytes]) -> None:
        with channel:
            while data := await self._receive_from_socket(65536):
                await channel.send(data)
        self._record.saw_client_go()

    async def _receive_from_socket(self, max_bytes: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""


def _abort(stream: trio.SocketStream) -> None:
    """Close a socket so that the other side is told that the connection broke (RST)."""
    # Two ints on POSIX, two shorts on Windows.
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()
