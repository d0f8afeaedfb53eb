"""One connection, and one request with its response on it.

This module knows in which order things are sent and read, and whether a connection may be used
again. It does not know where connections come from, and what a message looks like.

Source: RFC 9112, section 9 (connection management)
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, Protocol, TypeAlias

import httpx
import trio
from trio.lowlevel import enable_ki_protection

from lktrio._http import raise_bare

from .message import ResponseReader
from .network import Network, Origin
from .tls import READ_BYTES, TLSStream

__all__ = ["Connection", "ConnectionLost", "Exchange", "Phase", "within"]

Phase: TypeAlias = Literal["connect", "write", "idle"]
"""What a request is doing: connecting, sending, or waiting for bytes."""

# What is at most this long is sent at once, and its response is read afterwards.
_AT_ONCE_BYTES: Final = 64 * 1024
_CLOSING_SECONDS: Final = 0.1
# How much of a response is kept while its request is still being sent.
_EARLY_BYTES: Final = 1024 * 1024


class ConnectionLost(httpx.RemoteProtocolError):
    """A connection that was used before was gone before a byte of the response: the server had
    most likely closed it without having seen the request (RFC 9110, section 9.2.2)."""


class Connection:
    """A connection, used by one request at a time.

    Args:
        origin: Where it leads.
        stream: What the bytes go over.
        now: The time, by Trio's clock.
        network: What has made it.
    """

    __slots__ = ("__weakref__", "idle_since", "network", "opened", "origin", "stream", "uses")

    def __init__(
        self, origin: Origin, stream: trio.abc.Stream, now: float, network: Network
    ) -> None:
        self.origin = origin
        self.stream = stream
        self.network = network
        self.opened = now
        self.idle_since = now
        self.uses = 0
        """How many requests have been sent on it."""

    async def close(self) -> None:
        """Close it at once, whatever is under way. Never raises `trio.Cancelled`."""
        # Sockets close without waiting; for a farewell of another kind of stream there is a moment.
        # (A scope that is cancelled already would raise an exception for nothing, which under
        # CPython 3.13 keeps the frames of whoever closes until the garbage collector comes.)
        with trio.move_on_after(_CLOSING_SECONDS, shield=True):
            await self.stream.aclose()


class Body(Protocol):
    """The body of a request, in pieces."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, from the first."""
        ...


class Exchange(httpx.AsyncByteStream):
    """A request and its response. As a stream it is the body of the response.

    One read of the network gives one piece of the body, of 64 KiB at most. It is closed by whoever
    has it, whatever happened; its connection is then kept, or closed.

    Args:
        connection: What it goes over.
        method: The request's method.
        timeouts: Seconds for each ``"read"`` and ``"write"``, as httpx gives them; may be empty.
        observe: Told when another phase begins.
        release: Takes the connection back.
    """

    def __init__(
        self,
        connection: Connection,
        method: bytes,
        *,
        timeouts: Mapping[str, float | None],
        observe: Callable[[Phase], None],
        release: Callable[[Connection, bool], Awaitable[None]],
    ) -> None:
        self.reader = ResponseReader(method)
        """Status and header, once `perform` has returned."""
        self.is_reused = connection.uses > 0
        """Whether the connection had been used before."""
        self._connection = connection
        self._stream = connection.stream
        self._read_timeout = timeouts.get("read")
        self._write_timeout = timeouts.get("write")
        self._observe = observe
        self._release: Callable[[Connection, bool], Awaitable[None]] | None = release
        # What came with the head or before it was all sent; once the head is read, last one first.
        self._early: list[bytes] = []
        self._is_sent = False
        self._has_lost_sending = False
        connection.uses += 1

    @property
    def at_end(self) -> bool:
        """Whether the body has been read to its end."""
        return self.reader.is_over and not self._early

    # --- the request ----------------------------------------------------------------------

    async def perform(self, head: memoryview, content: bytes | Body, length: int | None) -> None:
        """Send the request, and wait for the head of the response.

        Args:
            head: The head of the request.
            content: Its body.
            length: How long the body is; None if it goes in chunks.

        Raises:
            httpx.TransportError: There is no response.
            ConnectionLost: The connection was gone.
        """
        self._observe("write")
        try:
            if isinstance(content, bytes) and len(head) + len(content) <= _AT_ONCE_BYTES:
                # One write for both: the server needs one read.
                # (As a view, whose repr shows nothing of the head.)
                await self._send(memoryview(b"".join((head, content))) if content else head)
                self._note_sent()
                await self._read_head()
            else:
                await self._send_while_reading(head, content, length)
            self._early.reverse()
        except (httpx.NetworkError, httpx.RemoteProtocolError) as exc:
            if self.is_reused and not self.reader.has_begun:
                raise ConnectionLost(str(exc)) from exc
            raise

    def _note_sent(self) -> None:
        self._is_sent = True
        self._observe("idle")

    async def _send(self, data: bytes | memoryview) -> None:
        """Send. That it fails decides nothing: the server may have answered before it closed."""
        if self._has_lost_sending:
            return
        try:
            if self._write_timeout is None:
                await self._stream.send_all(data)
            else:
                with within(self._write_timeout, httpx.WriteTimeout):
                    await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self._has_lost_sending = True

    async def _send_while_reading(
        self, head: memoryview, content: bytes | Body, length: int | None
    ) -> None:
        """Send a long request, and look for an early response meanwhile (RFC 9112, section 9.5).

        A server that refuses a request may do so at once, and then read no more of it. A success
        does not end the sending.
        """
        failures: list[Exception] = []
        # Ends the reading when all is sent: what follows is read by whoever wants it.
        ahead = trio.CancelScope()

        async def send() -> None:
            try:
                await self._send(head)
                await self._send_content(content, length)
            except Exception as exc:  # noqa: BLE001 - raised where it can be caught bare
                failures.append(exc)
                nursery.cancel_scope.cancel()
            else:
                self._note_sent()
                ahead.cancel()

        async def read() -> None:
            try:
                await self._read_head()
                if self.reader.status_code < 300:
                    with ahead:
                        await self._read_ahead()
            except Exception as exc:  # noqa: BLE001 - as above
                failures.append(exc)
            if failures or self.reader.status_code >= 300:
                nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(read)
        except BaseExceptionGroup as group:
            # A cancellation from outside, or a Ctrl-C.
            raise_bare(group)
        if failures:
            raise failures[0]

    async def _read_ahead(self) -> None:
        """Take what comes of a response while its request is being sent, up to a bound."""
        size = 0
        while size < _EARLY_BYTES and not self.reader.is_over:
            piece = await self._receive()
            if piece:
                self._early.append(piece)
                size += len(piece)

    async def _send_content(self, content: bytes | Body, length: int | None) -> None:
        if isinstance(content, bytes):
            view = memoryview(content)
            for start in range(0, len(view), _AT_ONCE_BYTES):
                await self._send(view[start : start + _AT_ONCE_BYTES])
            return
        pieces = content.__aiter__()
        sent = 0
        try:
            async for piece in pieces:
                sent += len(piece)
                if length is None:
                    if piece:
                        await self._send(b"%x\r\n%b\r\n" % (len(piece), piece))
                elif sent > length:
                    break
                else:
                    await self._send(piece)
                if self._has_lost_sending:
                    # Nobody wants the rest, which may have no end.
                    return
        finally:
            # A generator that is left in the middle must be closed by who has begun it. (The one
            # that a program gives to httpx is wrapped in another, which does not.)
            with trio.CancelScope(shield=True):
                for one in (pieces, getattr(content, "_stream", None)):
                    if isinstance(one, AsyncGenerator):
                        await one.aclose()
        if length is None:
            await self._send(b"0\r\n\r\n")
        elif sent != length:
            raise httpx.LocalProtocolError(
                f"the body of the request is not of the length that its Content-Length tells, "
                f"{length} bytes"
            )

    # --- the response ---------------------------------------------------------------------

    async def _read_head(self) -> None:
        reader = self.reader
        while not reader.has_head:
            interim = reader.interim
            piece = await self._receive()
            if piece:
                self._early.append(piece)
            if reader.interim > interim and self._is_sent:
                self._observe("idle")

    async def _receive(self) -> bytes:
        """Read once from the network, and return what belongs to the body.

        As a view it shows nothing: a server may echo what is secret in the request.
        """
        if self.reader.is_refused:
            return self.reader.feed(b"")
        try:
            if self._read_timeout is None:
                data = memoryview(await self._stream.receive_some(READ_BYTES))
            else:
                with within(self._read_timeout, httpx.ReadTimeout):
                    data = memoryview(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            raise httpx.ReadError(f"the connection was lost: {_reason(exc)}") from exc
        if data:
            return self.reader.feed(data)
        is_cut = isinstance(self._stream, TLSStream) and self._stream.is_truncated
        self.reader.feed_end(is_clean=not is_cut and not self._has_lost_sending)
        return b""

    def __aiter__(self) -> Exchange:
        return self

    @enable_ki_protection
    async def __anext__(self) -> bytes:
        if self._early:
            return self._early.pop()
        reader = self.reader
        try:
            while not reader.is_over:
                piece = await self._receive()
                if piece:
                    return piece
        except BaseException:
            await self.aclose()
            raise
        raise StopAsyncIteration

    @enable_ki_protection
    async def aclose(self) -> None:
        """Give the connection back. What is not over is cut off; nothing here waits."""
        release, self._release = self._release, None
        if release is None:
            return
        self.reader.close()
        is_whole = self.reader.is_over and self.reader.is_reusable
        # What is decrypted already, or waits to be, followed the response.
        has_surplus = isinstance(self._stream, TLSStream) and self._stream.has_unread
        is_reusable = is_whole and self._is_sent and not self._has_lost_sending and not has_surplus
        await release(self._connection, is_reusable)


@contextmanager
def within(
    seconds: float | None, error: type[httpx.TimeoutException]
) -> Generator[None, None, None]:
    """Bound what is done within, if there is a bound, by an exception of httpx."""
    with trio.move_on_after(math.inf if seconds is None else seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise error(f"it took longer than {seconds} s")


def _reason(exc: BaseException) -> str:
    """What an exception says, or the one that it comes from."""
    cause = exc.__cause__ or exc.__context__
    return str(exc) or (str(cause) if cause is not None else "") or type(exc).__name__
