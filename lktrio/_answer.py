"""A response's body, from bytes to chunks: event stream, whole completion, or neither.

This module knows which of the three a body is (its bytes decide, not its content type) and
when an answer is complete. It ties the event reader, the decoder and the assembler together;
one object for each attempt.
"""

from __future__ import annotations

import enum
from typing import Final

from ._assembler import Assembler
from ._chunks import ChatChunk
from ._errors import APIConnectionError, APIError
from ._sse import MAX_EVENT_BYTES, Event, EventReader
from ._wire import (
    ChunkPayload,
    Done,
    decode_body,
    decode_event,
    decode_plain,
    has_failed,
    payload_error,
    quote,
)

__all__ = ["AnswerReader"]

_BOM: Final = b"\xef\xbb\xbf"
_QUOTED_BYTES: Final = 256
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:")


class _Kind(enum.Enum):
    UNDECIDED = enum.auto()
    EVENTS = enum.auto()
    JSON = enum.auto()
    MARKUP = enum.auto()
    ENDED = enum.auto()


class AnswerReader:
    """Reads one response's body.

    Args:
        assembler: Puts the answer together.
        max_event_bytes: Largest event, or whole completion, in bytes.
    """

    def __init__(self, assembler: Assembler, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.is_done = False
        """Whether the end mark was seen: nothing that follows matters."""
        self.assembler = assembler
        self._kind = _Kind.UNDECIDED
        self._head = bytearray()
        self._body = bytearray()
        self._max = max_event_bytes
        self._events = EventReader(max_event_bytes)
        self._got_payload = False

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole: a finish reason or the end mark was seen."""
        return self.is_done or self.assembler.finish_reason is not None

    def feed(self, data: bytes, out: list[ChatChunk]) -> None:
        """Take bytes and append the chunks they make to a list.

        Raises:
            APIStatusError: The server reported an error in the stream.
            APIConnectionError: The body is not what it should be, or too large.
        """
        if self._kind is _Kind.EVENTS:
            values, data = self._events.split(data)
            for value in values:
                payload = decode_plain(value)
                if payload is not None:
                    self._got_payload = True
                    self.assembler.feed(payload, out)
                    continue
                self._take(Event(value, b""), out)
                if self.is_done:
                    return
            for event in self._events.feed(data) if data else ():
                self._take(event, out)
                if self.is_done:
                    return
            if not self._got_payload or self._events.too_large:
                self._check_events(data)
        elif self._kind is not _Kind.ENDED:
            self._feed_other(data, out)

    def _take(self, event: Event, out: list[ChatChunk]) -> None:
        data, name = event
        payload = decode_event(data, name)
        if payload is None:
            return
        self._got_payload = True
        if payload is Done.DONE:
            self.settle(out)
            return
        self.assembler.feed(payload, out)
        if name or payload.error or not payload.choices or _looks_failed(payload):
            error = payload_error(payload, data, name)
            if error is not None:
                raise error

    def _feed_other(self, data: bytes, out: list[ChatChunk]) -> None:
        if self._kind is _Kind.UNDECIDED:
            self._head += data
            start = bytes(self._head)
            if len(start) < len(_BOM) and _BOM.startswith(start):
                return
            body = start.removeprefix(_BOM).lstrip()
            if not body:
                # Blank lines keep a connection alive; they need not be kept.
                self._head = bytearray(b"\n")
                return
            self._kind = _kind_of(body)
            self._head = bytearray()
            self.feed(body, out)
            return
        self._body += data
        if self._kind is _Kind.MARKUP:
            if len(self._body) >= _QUOTED_BYTES:
                raise self._not_a_stream()
        elif len(self._body) > self._max:
            raise APIConnectionError(
                f"the body of the response is larger than {self._max} bytes", retryable=False
            )

    def _check_events(self, data: bytes) -> None:
        if len(self._head) < _QUOTED_BYTES:
            self._head += data[: _QUOTED_BYTES - len(self._head)]
        if self._events.too_large:
            if not self._events.seen:
                raise self._not_a_stream()
            raise APIConnectionError(
                f"an event of the stream is larger than {self._max} bytes", retryable=False
            )

    def finish(self, out: list[ChatChunk]) -> None:
        """Say that the body has ended cleanly; append the chunks that end the answer.

        Raises:
            APIStatusError: The server reported an error.
            APIConnectionError: The answer is not complete, or there is none.
        """
        if self.is_done:
            return
        if self._kind is _Kind.JSON:
            body = bytes(self._body)
            payload = decode_body(body)
            self.assembler.feed(payload, out)
            error = payload_error(payload, body, b"")
            if error is not None:
                raise error
            self.settle(out)
            return
        if self._kind is _Kind.MARKUP or (self._kind is _Kind.UNDECIDED and self._head.strip()):
            raise self._not_a_stream()
        for event in self._events.finish():
            self._take_last(event, out)
            if self.is_done:
                return
        if self.assembler.finish_reason is None:
            raise self._ended_early()
        self.settle(out)

    def settle(self, out: list[ChatChunk]) -> None:
        """Say that nothing more will be read after the finish reason: the answer is complete."""
        self._kind = _Kind.ENDED
        self.assembler.finish(out)
        self.is_done = True

    def _take_last(self, event: Event, out: list[ChatChunk]) -> None:
        """Take the event that the end of the body dispatched: it may be half of one."""
        try:
            decode_event(event.data, event.name)
        except APIConnectionError as exc:
            self._got_payload = True
            if self.assembler.finish_reason is None:
                raise self._ended_early() from exc
            return
        self._take(event, out)

    def _ended_early(self) -> APIError:
        stray = self._events.stray
        if stray:
            try:
                payload = decode_event(stray.strip())
            except APIConnectionError:
                payload = None
            if isinstance(payload, ChunkPayload):
                error = payload_error(payload, stray, b"")
                if error is not None:
                    return error
        if self._got_payload:
            return APIConnectionError(
                "the stream ended before the answer was complete: neither a finish reason "
                "nor [DONE] was seen"
            )
        head = self._head.strip()
        is_junk = self._events.junk_bytes and not self._events.seen
        if is_junk and not any(field.startswith(head) for field in _FIELDS):
            return self._not_a_stream()
        contents = "holds no data" if head else "is empty"
        return APIConnectionError(
            f"the response is a success without an answer: its body {contents}"
        )

    def _not_a_stream(self) -> APIConnectionError:
        beginning = bytes(self._body or self._head).lstrip(b"\n")
        return APIConnectionError(
            "the response is neither an event stream nor a chat completion; "
            f"it begins with {quote(beginning)}",
            body=beginning.decode("utf-8", "replace"),
            retryable=False,
        )


def _looks_failed(payload: ChunkPayload) -> bool:
    if payload.x_groq is not None and payload.x_groq.error:
        return True
    if payload.base_resp is not None and has_failed(payload):
        return True
    for choice in payload.choices or ():
        if (choice.error or choice.finish_reason == "error") and not choice.index:
            return True
    return False


def _kind_of(body: bytes) -> _Kind:
    first = body[:1]
    if first in {b"{", b"[", b'"'}:
        return _Kind.JSON
    return _Kind.MARKUP if first == b"<" else _Kind.EVENTS
