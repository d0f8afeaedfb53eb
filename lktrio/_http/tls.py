"""TLS over a byte stream of Trio.

This module knows how bytes get through an `ssl.SSLObject`, and what an end without a farewell
means. It does not know whom to trust: that is in the context.

All whole records that a network read brought are decrypted at once, so that a read costs one
checkpoint, and not one for each record as `trio.SSLStream` makes. That class is the reference in
our tests.

Source: RFC 8446 (TLS 1.3), https://docs.python.org/3/library/ssl.html#memory-bio-support
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Final

import trio

__all__ = ["READ_BYTES", "TLSStream"]

READ_BYTES: Final = 64 * 1024
"""How much is asked of the network at once, in bytes."""

# To encrypt 20 MB in one call would block for 60 ms.
_WRITE_BYTES: Final = 64 * 1024

_HEADER_BYTES: Final = 5


class TLSStream(trio.abc.Stream):
    """A client's end of a TLS connection. One task may send while another one receives.

    Closing it closes the connection at once, without a farewell (close_notify): HTTP tells by
    itself where a message ends.

    Args:
        transport_stream: What the encrypted bytes go over.
        context: Decides what is accepted.
        server_hostname: Whom the certificate must name.
        session: An earlier connection's session with the same server, which makes the handshake
            shorter (RFC 8446, section 2.2).
    """

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        context: ssl.SSLContext,
        server_hostname: str,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.transport_stream = transport_stream
        """What the encrypted bytes go over."""
        self.is_truncated = False
        """Whether the connection ended without a farewell, so that something may be missing."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname, session=session
        )
        # Two tasks may have something to send: requests, and answers to key updates.
        self._sending = trio.Lock()
        self._failure: ssl.SSLError | None = None
        self._has_farewell = False
        # Of the record that has come in part: how many bytes are missing, and its header, as far
        # as it is there. OpenSSL keeps such a part to itself.
        self._missing = 0
        self._header = b""

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """The connection as Python's ``ssl`` knows it: version, cipher, certificate, session."""
        return self._object

    @property
    def has_unread(self) -> bool:
        """Whether something was received that nobody has read, be it a part of a record, or that
        nothing more comes."""
        if (
            self._missing
            or self._incoming.pending
            or self._object.pending()
            or self._has_farewell
            or self._failure
        ):
            return True
        # TLS to a proxy, and within it TLS to the server.
        return isinstance(self.transport_stream, TLSStream) and self.transport_stream.has_unread

    async def do_handshake(self) -> None:
        """Agree on keys, and find out who the server is.

        Raises:
            ssl.SSLError: The server cannot be trusted, or refuses us.
            trio.BrokenResourceError: The connection was lost.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._read_network()
                if self.is_truncated:
                    raise trio.BrokenResourceError(
                        "the server closed the connection within the TLS handshake"
                    ) from None
            except ssl.SSLError:
                # The server may want to know why.
                await self._flush()
                raise
            else:
                await self._flush()
                return

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes.

        Raises:
            trio.BrokenResourceError: The connection was lost.
        """
        view = memoryview(data)
        for start in range(0, len(view), _WRITE_BYTES) or (0,):
            try:
                self._object.write(view[start : start + _WRITE_BYTES])
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError(str(exc)) from exc
            await self._send_pending()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the network takes more."""
        await self.transport_stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002 - Trio's
        """Receive what one read of the network brings, whatever it is; ``b""`` at the end.

        Args:
            max_bytes: Not looked at. It is about 64 KiB at most.

        Raises:
            ssl.SSLError: The server sent an alert, or what is no TLS.
            trio.BrokenResourceError: The connection was lost.
        """
        while True:
            data = self._decrypted()
            if data is not None:
                # An answer to a key update goes with what is sent next: a cancel of its own
                # sending here would lose the data.
                return data
            if self._outgoing.pending and not self._sending.locked():
                # If somebody is sending, they send this, too.
                await self._flush()
            await self._read_network()
            if self.is_truncated:
                return b""

    async def aclose(self) -> None:
        """Close the connection. It is closed also if this is cancelled."""
        await self.transport_stream.aclose()

    def _decrypted(self) -> bytes | None:
        """All that has arrived; None if there is nothing, ``b""`` after the farewell."""
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(READ_BYTES):
                pieces.append(piece)
                if not self._incoming.pending and not self._object.pending():
                    break
            else:
                self._has_farewell = True
                return b"".join(pieces)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            if not pieces:
                raise
            # What was good comes first.
            self._failure = exc
        return b"".join(pieces) if pieces else None

    async def _read_network(self) -> None:
        data = await self.transport_stream.receive_some(READ_BYTES)
        if data:
            self._incoming.write(data)
            self._follow_records(data)
        else:
            self.is_truncated = True

    def _follow_records(self, data: bytes | bytearray) -> None:
        """Note whether these bytes end with a record (RFC 8446, section 5.1)."""
        at, end = self._missing, len(data)
        if self._header:
            data, at = self._header + data, 0
            end += len(self._header)
            self._header = b""
        while at + _HEADER_BYTES <= end:
            at += _HEADER_BYTES + (data[at + 3] << 8 | data[at + 4])
        if at < end:
            self._header = bytes(data[at:])
            at += _HEADER_BYTES
        self._missing = at - end

    async def _flush(self) -> None:
        """Send what the other side must be told, if it is still there."""
        # What it has sent before it went may still be read.
        with contextlib.suppress(trio.BrokenResourceError):
            await self._send_pending()

    async def _send_pending(self) -> None:
        try:
            self._sending.acquire_nowait()  # most of the time there is nobody else
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            while self._outgoing.pending:
                await self.transport_stream.send_all(self._outgoing.read())
        finally:
            self._sending.release()
