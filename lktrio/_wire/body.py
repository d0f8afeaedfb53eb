"""A response's body, from bytes to chunks: event stream, whole completion, or neither.

This module knows which of the three a body is (its bytes decide, not its content type), when an
answer is complete, and how much is done in one step. It ties the event reader, the decoder and the
assembler together; one object for each attempt.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from lktrio._answers import APIConnectionError, APIError, ChatChunk
from lktrio._json import SLICE, decode_text, quote

from .assembler import Assembler
from .decoding import Done, decode_body_in_steps, decode_event, decode_event_in_steps
from .payloads import ChunkPayload, decode_plain
from .server_errors import payload_error
from .sse import MAX_EVENT_BYTES, Event, EventReader

__all__ = ["AnswerReader"]

_BOM: Final = b"\xef\xbb\xbf"
_QUOTED_BYTES: Final = 256
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:")

_EVENTS_AT_ONCE: Final = 500
"""So many events that are not plain pieces of an answer are taken in one step."""

# Each item is a step: something to be taken into the answer, its end, or nothing yet.
_Work: TypeAlias = Iterator[ChunkPayload | Done | None]


class _Kind(enum.Enum):
    UNDECIDED = enum.auto()
    EVENTS = enum.auto()
    JSON = enum.auto()
    MARKUP = enum.auto()
    ENDED = enum.auto()


class AnswerReader:
    """Reads one response's body.

    Nothing that a server sends takes long to read: what is not done in one step waits for the next
    call of `feed`, before which whoever calls lets others have their turn.

    Args:
        assembler: Puts the answer together.
        max_event_bytes: Largest event, or whole completion, in bytes.
        at_once: Largest one that is taken in one step, in bytes.
    """

    def __init__(
        self,
        assembler: Assembler,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        at_once: int = SLICE,
    ) -> None:
        self.is_done = False
        """Whether the end mark was seen: nothing that follows matters."""
        self.assembler = assembler
        self._kind = _Kind.UNDECIDED
        self._head = bytearray()
        self._body = bytearray()
        self._max = max_event_bytes
        self._at_once = at_once
        self._events = EventReader(max_event_bytes)
        self._got_payload = False
        # Made only when it is needed: empty, it takes half a kilobyte of every open stream.
        self._backlog: deque[Event] | None = None
        self._work: _Work | None = None
        self._work_data: bytes | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole: a finish reason or the end mark was seen."""
        return self.is_done or self.assembler.finish_reason is not None

    @property
    def is_behind(self) -> bool:
        """Whether `feed` must be called again, with or without more bytes, before anything else."""
        return self._work is not None or self._backlog is not None

    def take_carried(self) -> int:
        """How many bytes the chunks since the last call were made from, beside those that `feed`
        was given with them."""
        carried, self._events.carried = self._events.carried, 0
        return carried

    def feed(self, data: bytes, out: list[ChatChunk]) -> None:
        """Take bytes and append the chunks they make to a list.

        Raises:
            APIStatusError: The server reported an error in the stream.
            APIConnectionError: The body is not what it should be, or too large.
        """
        if self._kind is not _Kind.EVENTS:
            if self._work is not None:
                self._go_on(out)
            elif self._kind is not _Kind.ENDED:
                self._feed_other(data, out)
            return
        if not self._got_payload and len(self._head) < _QUOTED_BYTES:
            self._head += data[: _QUOTED_BYTES - len(self._head)]
        if not self.is_behind:
            values, data = self._events.split(data)
            for position, value in enumerate(values):
                payload = decode_plain(value) if len(value) <= self._at_once else None
                if payload is None:
                    self._put_off([Event(value, b"") for value in values[position:]])
                    break
                self._got_payload = True
                self.assembler.feed(payload, out, value)
        if data:
            self._put_off(self._events.feed(data))
        if self.is_behind:
            self._go_on(out)
        if self._events.too_large and not (self.is_behind or self.is_done):
            raise self._too_large()

    def _put_off(self, events: Sequence[Event]) -> None:
        """Let events wait for their turn."""
        if self._backlog is not None:
            self._backlog.extend(events)
        elif events:
            self._backlog = deque(events)

    def _go_on(self, out: list[ChatChunk]) -> None:
        """Do as much as may be done in one step."""
        for _ in range(_EVENTS_AT_ONCE):
            if self._work is not None:
                self._take_step(self._work, out)
                return
            if self._backlog is None:
                return
            event = self._backlog.popleft()
            if not self._backlog:
                self._backlog = None
            if len(event.data) > self._at_once:
                self._work = self._take_event(event)
            else:
                self._take(event, out)

    def _take_step(self, work: _Work, out: list[ChatChunk]) -> None:
        self._work = None
        for payload in work:
            if payload is Done.DONE:
                self.settle(out)
                return
            if payload is not None:
                self.assembler.feed(payload, out, self._work_data)
            self._work = work
            return
        self._work_data = None

    def _take(self, event: Event, out: list[ChatChunk]) -> None:
        data, name = event
        payload = decode_event(data, name)
        if payload is None:
            return
        self._got_payload = True
        if payload is Done.DONE:
            self.settle(out)
            return
        self.assembler.feed(payload, out, data)
        error = payload_error(payload, data, name)
        if error is not None:
            raise error

    def _take_event(self, event: Event) -> _Work:
        """Take an event that is too large for one step."""
        self._work_data = event.data
        payload = yield from decode_event_in_steps(*event)
        if payload is not None:
            self._got_payload = True
            yield from self._take_payload(payload, *event)

    def _take_body(self) -> _Work:
        """Take a whole completion."""
        body = self._work_data = bytes(self._body)
        yield None
        payload = yield from decode_body_in_steps(body)
        yield from self._take_payload(payload, body, b"")
        yield Done.DONE

    def _take_end(self) -> _Work:
        """Take the event that the end of the body dispatched: it may be half of one."""
        for event in self._events.finish():
            payload, failure = None, None
            self._work_data = event.data
            try:
                payload = yield from decode_event_in_steps(*event)
            except APIConnectionError as exc:
                failure = exc
            if failure is not None:
                self._got_payload = True
                if self.assembler.finish_reason is None:
                    raise self._ended_early() from failure
            elif payload is not None:
                self._got_payload = True
                yield from self._take_payload(payload, *event)
        if self.assembler.finish_reason is None:
            raise self._ended_early()
        yield Done.DONE

    def _take_payload(self, payload: ChunkPayload | Done, data: bytes, name: bytes) -> _Work:
        if isinstance(payload, Done) or len(data) <= self._at_once:
            yield payload
        else:
            yield None
            yield from self.assembler.cut(payload)
        assert isinstance(payload, ChunkPayload)  # nothing is asked for after the end mark
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

    def _too_large(self) -> APIConnectionError:
        if not self._events.seen:
            return self._not_a_stream()
        return APIConnectionError(
            f"an event of the stream is larger than {self._max} bytes", retryable=False
        )

    def finish(self, out: list[ChatChunk]) -> None:
        """Say that the body has ended cleanly; append the chunks that end the answer.

        What takes more than one step is done by `feed`, if `is_behind` says so.

        Raises:
            APIStatusError: The server reported an error.
            APIConnectionError: The answer is not complete, or there is none.
        """
        if self.is_done:
            return
        if self._kind is _Kind.MARKUP or (self._kind is _Kind.UNDECIDED and self._head.strip()):
            raise self._not_a_stream()
        self._work = self._take_body() if self._kind is _Kind.JSON else self._take_end()
        is_small = max(len(self._body), self._events.size) <= self._at_once
        while self._work is not None and not self.is_done:
            self._take_step(self._work, out)
            if not is_small:
                break

    def settle(self, out: list[ChatChunk]) -> None:
        """Say that nothing more will be read after the finish reason: the answer is complete."""
        self._kind = _Kind.ENDED
        self._backlog = None
        self._work = None
        self.assembler.finish(out)
        self.is_done = True

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
            body=decode_text(beginning),
            retryable=False,
        )


def _kind_of(body: bytes) -> _Kind:
    first = body[:1]
    if first in {b"{", b"[", b'"'}:
        return _Kind.JSON
    return _Kind.MARKUP if first == b"<" else _Kind.EVENTS
