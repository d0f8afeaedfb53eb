"""The grammar of an event stream: bytes in, events out.

This module knows lines, fields, events and how large an event may be. It does not know what
an event's data means.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
with the tolerance real servers need: an event that lacks its blank line at the end of the body
is dispatched too, and an object in a field named ``error`` is the data of an event of that name.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_EVENT_BYTES", "MAX_JUNK_BYTES", "Event", "EventReader"]

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Largest event (and longest line) that is read, in bytes."""

MAX_JUNK_BYTES: Final = 64 * 1024
"""What may stand before the first line of the grammar, in bytes."""

_BOM: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data: "


class Event(NamedTuple):
    """One dispatched event."""

    data: bytes
    """Its data lines, joined with LF; undecoded."""

    name: bytes
    """Its ``event`` field; empty if it had none."""


class EventReader:
    """Cuts the bytes of a body into events, whatever way the bytes are split.

    CR, LF and CRLF end a line; nothing else does (U+2028 and the like are legal inside JSON
    strings). The work done is linear in the bytes fed.

    Args:
        max_event_bytes: Largest event, in bytes.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._line = bytearray()
        self._first: bytes | None = None
        self._more = bytearray()
        self._size = 0
        self._name = b""
        self._skip_lf = False
        self._at_start = True
        self.seen = False
        """Whether a line of the event-stream grammar (a known field or a comment) was seen."""
        self.junk_bytes = 0
        """Bytes in lines that are not of the grammar."""
        self.stray = b""
        """The last line that looks like a JSON object without its ``data:``, and is not larger than
        `MAX_JUNK_BYTES`. Some gateways append an upstream error that way."""
        self.carried = 0
        """How many bytes of the events that were returned had come with earlier bytes, about. For
        whoever asks to count down."""
        self.too_large = False
        """Whether an event, or what stands in place of events, exceeds the limit. Nothing is
        read after it; the events before it have been returned."""

    @property
    def size(self) -> int:
        """How large what is left open is, in bytes: an event, and a line."""
        return self._size + len(self._line)

    def split(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Split the events that are one line of data off the beginning of bytes: nearly all are.

        That takes a few calls for all of them, where `feed` makes several for each.

        Returns:
            The data of these events, which are over and done with, and the bytes that are left
            for `feed`.
        """
        if len(self._line) > MAX_JUNK_BYTES:
            return [], data  # a large event, which is not copied more often than it must be
        if self._line and b"\n" in data:
            self.carried += len(self._line)
            data = bytes(self._line) + data
            self._line = bytearray()
        end = data.rfind(b"\n\n")
        if (
            self.too_large
            or not 0 < end <= self._max
            or self._line
            or self._first is not None
            or self._name
            or self._at_start
            or self._skip_lf
            or b"\r" in data
        ):
            return [], data
        # One character is looked for much faster than several.
        lines = data[:end].split(b"\n")
        values = [line[6:] for line in lines[::2] if line.startswith(_DATA)]
        if 2 * len(values) != len(lines) + 1 or any(lines[1::2]):
            return [], data
        self.seen = True
        return values, data[end + 2 :]

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return the events they complete."""
        if self.too_large:
            return []
        self.carried += self._size
        if self._at_start:
            data = self._strip_bom(data)
        if self._skip_lf and data:
            self._skip_lf = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        events: list[Event] = []
        if lines:
            if self._line:
                self.carried += len(self._line)
                self._line += lines[0]
                lines[0] = bytes(self._line)
                self._line = bytearray()
            for line in lines:
                if line.startswith(_DATA):
                    self._append(line[6:])
                elif line:
                    self._field(line)
                elif self._first is not None:
                    events.append(self._dispatch(self._first))
                else:
                    self._name = b""
                if self.too_large:
                    return events
        if rest:
            self._line += rest
            if len(self._line) > self._max + len(_DATA):
                # However the line goes on, it is too large: judge what there is of it.
                self._field(bytes(self._line))
        return events

    def finish(self) -> list[Event]:
        """Say that the body has ended; return the event that was left open, if any."""
        if self._line:
            line = bytes(self._line)
            self._line = bytearray()
            self._field(line)
        return [] if self._first is None else [self._dispatch(self._first)]

    def _strip_bom(self, data: bytes) -> bytes:
        data = bytes(self._line) + data
        self._line = bytearray()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._line += data
            return b""
        self._at_start = False
        return data.removeprefix(_BOM)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._append(value)
            return
        if name == b"error" and value.startswith(b"{"):
            # llama.cpp until September 2025, and then [DONE] as if nothing had happened:
            # https://github.com/ggml-org/llama.cpp/pull/16109
            self._name = name
            self._append(value)
            return
        if name == b"event":
            self.seen = True
            self._name = value
        elif name in {b"", b"id", b"retry"}:
            self.seen = True
        else:
            self.junk_bytes += len(line) + 1
            if len(line) <= MAX_JUNK_BYTES and line.lstrip().startswith(b"{"):
                self.stray = line
            if self.junk_bytes > MAX_JUNK_BYTES and not self.seen:
                self._overflow()
        if len(line) > self._max + len(_DATA):
            self._overflow()

    def _append(self, value: bytes) -> None:
        self.seen = True
        if self._first is None:
            self._first = value
        else:
            self._more += b"\n"
            self._more += value
        self._size += len(value) + 1
        if self._size > self._max:
            self._overflow()

    def _dispatch(self, first: bytes) -> Event:
        event = Event(first + self._more if self._more else first, self._name)
        self._first = None
        self._more = bytearray()
        self._size = 0
        self._name = b""
        return event

    def _overflow(self) -> None:
        self.too_large = True
        self._line = bytearray()
        self._first = None
        self._more = bytearray()
