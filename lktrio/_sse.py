"""The grammar of an event stream: bytes in, events out.

This module knows lines, fields, events and how large an event may be. It does not know what
an event's data means.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
with the tolerance real servers need: an event that lacks its blank line at the end of the body
is dispatched too, and an object in a field named ``error`` is the data of an event of that name.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple, cast

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


# What a class of named tuples is called with goes through a function of Python.
_make_event = cast(
    "Callable[[tuple[bytes, bytes]], Event]", functools.partial(tuple.__new__, Event)
)


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
        """The last line that looks like a JSON object without its ``data:``. Some gateways
        append an upstream error that way."""
        self.too_large = False
        """Whether an event, or what stands in place of events, exceeds the limit. Nothing is
        read after it; the events before it have been returned."""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return the events they complete."""
        if self.too_large:
            return []
        if self._at_start:
            data = self._strip_bom(data)
        if self._skip_lf and data:
            self._skip_lf = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._line and b"\n" in data:
            data = bytes(self._line) + data
            self._line = bytearray()
        events: list[Event] = []
        end = data.rfind(b"\n\n")
        if end > 0 and self._are_plain(data, end):
            # Cut by one call for all of them, not by several for each.
            values = data[len(_DATA) : end].split(b"\n\n" + _DATA)
            events += map(_make_event, zip(values, itertools.repeat(b"")))
            data = data[end + 2 :]
            self.seen = True
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
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

    def _are_plain(self, data: bytes, end: int) -> bool:
        """Whether there is nothing but events of one line of data, as models send them, in the
        bytes before the last blank line."""
        return (
            self._first is None
            and not self._name
            and not self._line
            and end <= self._max
            and data.startswith(_DATA)
            and data.count(b"\n", 0, end) == 2 * data.count(b"\n\n" + _DATA, 0, end)
        )

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
            if line.lstrip().startswith(b"{"):
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
