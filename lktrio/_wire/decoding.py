"""From bytes to a payload: the data of an event, or a body that is one document, in short steps.

This module knows in which order the ways of decoding are tried, what is no payload (the end mark, a
sign of life), and how much may be decoded at once. What stands in a payload is known elsewhere.
"""

from __future__ import annotations

import codecs
import enum
import gc
import json
import re
from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

from lktrio._answers import APIConnectionError, APIStatusError
from lktrio._json import (
    MAX_WALKED_VALUES,
    SLICE,
    JSONMeter,
    decode_text,
    ends_early,
    is_list,
    is_object,
    loads,
    quote,
)

from .payloads import ChunkPayload, decode_typed, has_free_members
from .server_errors import MAX_ERROR_BYTES, MAX_QUOTED, body_error, error_excerpt, names_error
from .tolerant import read_chunk

__all__ = [
    "Done",
    "Steps",
    "at_once",
    "decode_body",
    "decode_body_in_steps",
    "decode_event",
    "decode_event_in_steps",
]

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work that would block the program if it were done at once: whoever does it pauses at each
``yield``. What comes of it is returned."""


class Done(enum.Enum):
    """What `decode_event` returns for ``data: [DONE]``."""

    DONE = enum.auto()


_EVENT: Final = "an event of the stream"
_BODY: Final = "the body of the response"


def decode_event(data: bytes, name: bytes = b"") -> ChunkPayload | Done | None:
    """Decode the data of one event.

    Args:
        data: The event's data, undecoded.
        name: The event's name; ``error`` makes any data an error, and data that is not JSON is
            nothing in an event whose name says that it keeps the connection alive.

    Returns:
        The payload, `Done.DONE` for the end mark, or None for an event that says nothing
        (blank data, a comment or a ``ping`` wrapped as data, JSON that is not an object).

    Raises:
        APIConnectionError: The data is not JSON.
    """
    if data.startswith(b"[DONE]"):
        return Done.DONE
    payload = None if name and names_error(name) else decode_typed(data)
    if payload is not None:
        return payload
    return at_once(_decode_tolerantly(data, name))


def decode_event_in_steps(data: bytes, name: bytes = b"") -> Steps[ChunkPayload | Done | None]:
    """Do what `decode_event` does for an event that is too large for one step.

    Raises:
        APIConnectionError: The data is not JSON, or holds too much to be decoded.
    """
    if data.startswith(b"[DONE]"):
        return Done.DONE
    if names_error(name) and len(data) > MAX_ERROR_BYTES:
        return ChunkPayload()  # of which `payload_error` shows the beginning
    count = yield from _count_values(_EVENT, data)
    payload = None
    if not names_error(name):
        payload = _decode_large(data)
        yield
    _check_walk(_EVENT, count, payload, data)
    if payload is not None:
        return payload
    return (yield from _decode_tolerantly(data, name))


def decode_body(body: bytes) -> ChunkPayload:
    """Decode a body that is one JSON document in place of a stream.

    Returns:
        The payload of a whole completion.

    Raises:
        APIStatusError: The document is an error object.
        APIConnectionError: The document is neither, is cut off (this may be retried), is not
            JSON, or holds too much to be decoded.
    """
    return at_once(decode_body_in_steps(body))


def decode_body_in_steps(body: bytes) -> Steps[ChunkPayload]:
    """Do what `decode_body` does, step by step."""
    count = yield from _count_values(_BODY, body)
    payload = _decode_large(body)
    yield
    if payload is not None and (payload.error or not _has_answer(payload)):
        payload = None
    _check_walk(_BODY, count, payload, body)
    if payload is not None:
        return payload
    value, payload = yield from _read_document(body)
    error = body_error(payload, value) if is_object(value) else None
    if error is not None:
        raise error
    if _has_answer(payload):
        return payload
    raise APIConnectionError(
        "the response is JSON, but neither an event stream nor a chat completion; "
        f"it begins with {quote(body)}",
        body=error_excerpt(value),
        retryable=False,
    )


def _decode_large(data: bytes) -> ChunkPayload | None:
    """Decode what may hold thousands of values, of which log probabilities are public ones.

    For each few hundred of them a collection of garbage would begin, and go through those before.
    There is no garbage, and nothing else runs meanwhile.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return decode_typed(data)
    finally:
        if collects:
            gc.enable()


def _read_document(body: bytes) -> Steps[tuple[object, ChunkPayload]]:
    """Decode a document tolerantly: to what it is, and to the payload that it is if it is one."""
    text = yield from _decode_text_in_steps(body)
    try:
        value = loads(text)
        if is_list(value) and len(value) == 1:
            value = value[0]
        yield
        return value, read_chunk(value) if is_object(value) else ChunkPayload()
    except (ValueError, RecursionError) as exc:
        is_cut = isinstance(exc, json.JSONDecodeError) and ends_early(text, exc)
        reason = str(exc)
    # Out here, so that the error does not hold on to the whole text by way of its context.
    if is_cut:
        raise APIConnectionError(
            f"the response ended in the middle of a JSON document; it begins with {quote(body)}"
        )
    raise _not_json(_BODY, body, reason)


def _has_answer(payload: ChunkPayload) -> bool:
    return any(
        not choice.index and (choice.message is not None or choice.delta is not None)
        for choice in payload.choices or ()
    )


def at_once(steps: Steps[T]) -> T:
    """Do some work without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _count_values(what: str, data: bytes) -> Steps[int]:
    """Make sure that a JSON text can be decoded in one step; count the values in it."""
    meter = JSONMeter()
    for start in range(0, len(data), SLICE):
        meter.feed(data[start : start + SLICE])
        if meter.excess is not None:
            raise _too_much(what, meter.excess, data)
        yield
    return meter.values


def _check_walk(what: str, count: int, payload: ChunkPayload | None, data: bytes) -> None:
    """Refuse so many values where they would be walked through in Python."""
    if count > MAX_WALKED_VALUES and (payload is None or has_free_members(payload)):
        raise _too_much(what, f"holds more than {MAX_WALKED_VALUES} values", data)


_BEGINS_LIKE_AN_ERROR: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"error"\s*:\s*[\[{"]')


def _too_much(what: str, excess: str, data: bytes) -> APIStatusError | APIConnectionError:
    body = decode_text(data[:MAX_QUOTED])
    beginning = f"{excess}; it begins with {quote(data)}"
    if _BEGINS_LIKE_AN_ERROR.match(data):
        return APIStatusError(f"the server reported an error that {beginning}", body=body)
    return APIConnectionError(f"{what} {beginning}", body=body, retryable=False)


_KEEP_ALIVE_WORDS: Final = frozenset(
    {b"ping", b"pong", b"heartbeat", b"heart-beat", b"keepalive", b"keep-alive"}
)
"""As the name of an event, and as the data of one."""


def _decode_tolerantly(data: bytes, name: bytes) -> Steps[ChunkPayload | Done | None]:
    trimmed = data.strip()
    if trimmed.startswith(b"[DONE]"):
        return Done.DONE
    nothing = ChunkPayload() if names_error(name) else None
    if not trimmed or trimmed.startswith(b":"):
        return nothing
    text = yield from _decode_text_in_steps(trimmed)
    try:
        value = loads(text)
        yield
        return read_chunk(value) if is_object(value) else nothing
    except (ValueError, RecursionError) as exc:
        if nothing is not None or not _KEEP_ALIVE_WORDS.isdisjoint(
            (name.strip().lower(), trimmed.lower())
        ):
            return nothing
        reason = str(exc)
        # What something on the way has spoilt is as good as a body that was cut.
        is_spoilt = isinstance(exc, ValueError)
    # Out here, so that the error does not hold on to the whole text by way of its context.
    raise _not_json(_EVENT, trimmed, reason, retryable=is_spoilt)


def _not_json(
    what: str, data: bytes, reason: str, *, retryable: bool = False
) -> APIConnectionError:
    return APIConnectionError(
        f"{what} is not valid JSON ({reason}); it begins with {quote(data)}", retryable=retryable
    )


_DECODED_AT_ONCE: Final = 1024 * 1024


def _decode_text_in_steps(data: bytes) -> Steps[str]:
    if len(data) <= _DECODED_AT_ONCE:
        return decode_text(data)
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    pieces: list[str] = []
    for start in range(0, len(data), _DECODED_AT_ONCE):
        pieces.append(decoder.decode(data[start : start + _DECODED_AT_ONCE]))
        yield
    pieces.append(decoder.decode(b"", final=True))
    return "".join(pieces)
