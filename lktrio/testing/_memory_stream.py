"""A byte stream in memory with two ends, which behaves like a TCP connection.

This module alone knows what a connection does: a window (a `send_all` waits while the other end
does not read), an orderly end (FIN: what was sent is still read), a break (RST), and whether there
is something to read. `trio.testing.memory_stream_pair` has no window and no break, and
`lockstep_stream_pair` has no buffer at all, so that a server could never send and close.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs
import trio

__all__ = ["MemoryEnd", "memory_connection"]


@attrs.define(eq=False)
class _Direction:
    """The bytes on their way from one end to the other, and how that way ended."""

    window: int
    buffer: bytearray = attrs.field(factory=bytearray)
    finished: bool = False
    """The sender has said that nothing more comes."""
    broken: bool = False
    """One of the ends has reset the connection."""
    abandoned: bool = False
    """The receiver has closed: nothing can be delivered any more."""
    on_abandoned: Callable[[], object] | None = None
    """Called once when that happens."""
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    @property
    def room(self) -> int:
        return self.window - len(self.buffer)


class MemoryEnd(trio.abc.HalfCloseableStream):
    """One end of a connection in memory; `memory_connection` makes both."""

    def __init__(self, outgoing: _Direction, incoming: _Direction) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = False
        self._busy_sending = False
        self._busy_receiving = False

    def call_when_peer_closes(self, function: Callable[[], object]) -> None:
        """Have a function called when the other end closes or resets, read or not."""
        self._outgoing.on_abandoned = function

    @property
    def closed(self) -> bool:
        """Whether this end was closed or reset from this side."""
        return self._closed

    @property
    def ended_by_peer(self) -> bool:
        """Whether the other end has closed, half-closed or reset."""
        return self._incoming.finished or self._incoming.broken

    @property
    def readable(self) -> bool:
        """Whether `receive_some` would return or raise at once, as `select` would tell."""
        return bool(self._incoming.buffer) or self.ended_by_peer

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; wait while the window is full.

        Raises:
            trio.BrokenResourceError: If the other end has closed or the connection was reset.
            trio.ClosedResourceError: If this end was closed or has sent its end.
        """
        with self._sending():
            await _yield()
            self._check_may_send()
            rest = memoryview(data)
            while rest:
                self._check_deliverable()
                if (room := self._outgoing.room) > 0:
                    self._outgoing.buffer += rest[:room]
                    rest = rest[room:]
                    self._outgoing.changed.unpark_all()
                else:
                    await self._outgoing.changed.park()
                    self._check_may_send()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room in the window."""
        with self._sending():
            await _yield()
            self._check_may_send()
            while self._outgoing.room <= 0:
                self._check_deliverable()
                await self._outgoing.changed.park()
                self._check_may_send()

    async def send_eof(self) -> None:
        """Tell the other end that nothing more comes (FIN); receiving goes on."""
        with self._sending():
            await _yield()
            if self._closed:
                raise trio.ClosedResourceError("this end was closed")
            self._finish()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return at least one byte, or `b""` at the end.

        Raises:
            trio.BrokenResourceError: If the connection was reset, once all that came is read.
            trio.ClosedResourceError: If this end was closed.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes!r}")
        if self._busy_receiving:
            raise trio.BusyResourceError("another task is receiving from this end")
        self._busy_receiving = True
        try:
            await _yield()
            while True:
                if self._closed:
                    raise trio.ClosedResourceError("this end was closed")
                if self._incoming.buffer:
                    data = bytes(self._incoming.buffer[:max_bytes])
                    del self._incoming.buffer[:max_bytes]
                    self._incoming.changed.unpark_all()
                    return data
                if self._incoming.broken:
                    raise trio.BrokenResourceError("the connection was reset by the other end")
                if self._incoming.finished:
                    return b""
                await self._incoming.changed.park()
        finally:
            self._busy_receiving = False

    def close(self) -> None:
        """Close in order, without a checkpoint: the other end still reads what was sent."""
        if not self._closed:
            self._finish()
            self._leave()

    def reset(self) -> None:
        """Break the connection: both ends fail, what was not yet in the window is lost."""
        if not self._closed:
            self._outgoing.broken = True
            self._incoming.broken = True
            self._leave()

    async def aclose(self) -> None:
        """Close in order; closes even when cancelled."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _finish(self) -> None:
        self._outgoing.finished = True
        self._outgoing.changed.unpark_all()

    def _leave(self) -> None:
        self._closed = True
        self._incoming.abandoned = True
        self._incoming.buffer.clear()
        self._incoming.changed.unpark_all()
        self._outgoing.changed.unpark_all()
        if self._incoming.on_abandoned is not None:
            self._incoming.on_abandoned()

    def _check_may_send(self) -> None:
        if self._closed or self._outgoing.finished:
            raise trio.ClosedResourceError("this end was closed for sending")

    def _check_deliverable(self) -> None:
        if self._outgoing.abandoned or self._outgoing.broken:
            raise trio.BrokenResourceError("the other end is gone")

    @contextmanager
    def _sending(self) -> Generator[None, None, None]:
        if self._busy_sending:
            raise trio.BusyResourceError("another task is sending on this end")
        self._busy_sending = True
        try:
            yield
        finally:
            self._busy_sending = False


async def _yield() -> None:
    """Make a checkpoint as an operation on a socket that need not wait does.

    A cancel that comes before it stops the operation; one that comes meanwhile does not, the
    operation is done, and the task is cancelled at its next checkpoint.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    await trio.lowlevel.cancel_shielded_checkpoint()


def memory_connection(window: int = 65536) -> tuple[MemoryEnd, MemoryEnd]:
    """Return both ends of a new connection.

    Args:
        window: How many bytes may be on their way in each direction before a sender waits.

    Raises:
        ValueError: If the window has no room for a byte.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1 byte, not {window!r}")
    there, back = _Direction(window), _Direction(window)
    return MemoryEnd(there, back), MemoryEnd(back, there)
