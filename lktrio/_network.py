"""From our own HTTP client to the sockets: httpcore's pool, over TCP and TLS on Trio.

This module knows how httpcore wants its network, and what may be left out when nobody but us uses
it: timeouts (the clocks are Trio deadlines), HTTP/2, sockets of Unix. It is imported when the first
client is made, because httpcore is not imported before that either.

Source: https://www.encode.io/httpcore/network-backends/
"""

# ruff: noqa: ARG002, ASYNC109 - the parameters are httpcore's

from __future__ import annotations

import functools
import ssl
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from typing import Any, Protocol, cast

import httpcore
import httpx
import trio

__all__ = ["Body", "DirectTransport"]


class _Connection(httpcore.AsyncNetworkStream):
    """A connection.

    httpcore's own opens a cancel scope for each read and write, which every event pays for that
    comes alone, and writes the head of a request by itself. Timeouts are not looked at.
    """

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._receive = stream.receive_some
        self._unsent: list[bytes] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            await self._send()
        try:
            return cast("bytes", await self._receive(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore.ReadError(exc) from exc

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # The head comes first, then the body, then nothing, which is the end of a body whose length
        # the head has told.
        if buffer:
            self._unsent.append(buffer)
        else:
            await self._send()

    async def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore.WriteError(exc) from exc

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        assert isinstance(self._stream, trio.SocketStream)  # without a proxy, no TLS inside TLS
        secured = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        # If this fails or is cancelled, the connection is closed by who listens to the request,
        # since only they can do it for every network.
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as exc:
            raise httpcore.ConnectError(exc) from exc
        return _Connection(secured)

    def get_extra_info(self, info: str) -> Any:
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        socket = stream.socket
        if info == "is_readable":
            return socket.is_readable()
        return socket if info == "socket" else None


class _Network(httpcore.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Connection(await trio.open_tcp_stream(host, port))
        except OSError as exc:
            raise httpcore.ConnectError(exc) from exc


class Body(Protocol):
    """A response's body."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, as they come."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or close it. Nothing in it can be cancelled."""
        ...


class DirectTransport(httpx.AsyncHTTPTransport):
    """Sends requests without a proxy.

    For a client of httpx this is a transport like any other, but for timeouts, which it does not
    look at. The engine goes past httpx, by `exchange`.

    Args:
        ssl_context: Decides which certificates are accepted.
        max_keepalive: How many idle connections are kept.
        keepalive_seconds: How long each of them is kept.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext, *, max_keepalive: int, keepalive_seconds: float
    ) -> None:
        super().__init__(verify=ssl_context)
        # httpx has no way to be told of a network.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=None,
            max_keepalive_connections=max_keepalive,
            keepalive_expiry=keepalive_seconds,
            network_backend=_Network(),
        )

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, Any],
        headers: Sequence[tuple[bytes, bytes]],
        body: AsyncIterable[bytes],
        extensions: MutableMapping[str, Any],
    ) -> tuple[httpcore.Response, Body]:
        """Send a request and wait for the head of the response. Raises what httpcore raises.

        Args:
            method: Its method.
            url: Its address.
            query: Further parameters of the address.
            headers: Its headers, all but ``Host``.
            body: Its body.
            extensions: What httpcore is told besides.

        Returns:
            The response, and its body.
        """
        if query:
            # Its values may be secrets, which need not be remembered.
            address, host = _parsed(httpx.URL(url).copy_merge_params(dict(query)))
        else:
            address, host = _address(url)
        request = httpcore.Request(
            method,
            address,
            headers=[(b"Host", host), *headers],
            content=body,
            extensions=extensions,
        )
        response = await self._pool.handle_async_request(request)
        return response, cast("Body", response.stream)


@functools.lru_cache(maxsize=64)
def _address(url: str) -> tuple[httpcore.URL, bytes]:
    # A program has few addresses and asks each of them often.
    return _parsed(httpx.URL(url))


def _parsed(url: httpx.URL) -> tuple[httpcore.URL, bytes]:
    """An address as httpcore has it, and the ``Host`` header that goes with it."""
    address = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )
    return address, url.netloc
