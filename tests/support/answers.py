"""Reads a response's body and says, as a value, what became of it.

This module alone knows what two readings of the same bytes must have in common.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import attrs

from lktrio._answers.chunks import ChatChunk, CollectedResponse
from lktrio._answers.errors import APIError
from lktrio._json.text import SLICE
from lktrio._wire.assembler import Assembler
from lktrio._wire.body import AnswerReader
from lktrio._wire.sse import MAX_EVENT_BYTES

TOOLS = ("get_weather", "get_time", "now")


@attrs.frozen
class Outcome:
    """What one body makes."""

    texts: tuple[str, str, str]
    """Text, reasoning and refusal of all chunks, joined."""

    extras: list[dict[str, Any]]
    ends: list[ChatChunk]
    """The chunks with calls, finish reason and usage."""

    answer: CollectedResponse[None]
    error: tuple[object, ...] | None
    failure: APIError | None = attrs.field(eq=False)

    @property
    def text(self) -> str:
        return self.texts[0]


class Ids:
    """Makes up the same ids every time."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"made-{next(self._numbers)}"


def read(
    *pieces: bytes,
    limit: int = MAX_EVENT_BYTES,
    at_once: int = SLICE,
    end: bool = True,
    **settings: Any,
) -> Outcome:
    """Read a body in pieces.

    Args:
        pieces: The bytes as they arrive.
        limit: Largest event or whole completion.
        at_once: Largest one that is taken in one step.
        end: Whether the body ends after them.
        settings: For the assembler.
    """
    assembler = Assembler(declared_tools=TOOLS, make_id=Ids(), **settings)
    reader = AnswerReader(assembler, max_event_bytes=limit, at_once=at_once)
    out: list[ChatChunk] = []
    failure = None
    try:
        for piece in pieces:
            reader.feed(piece, out)
            catch_up(reader, out)
        if end:
            reader.finish(out)
            catch_up(reader, out)
    except APIError as error:
        failure = error
    else:
        assert reader.is_done or not end
        assert reader.is_complete or not end
    parts = [chunk.delta for chunk in out if chunk.delta is not None]
    return Outcome(
        texts=(
            "".join(part.content or "" for part in parts),
            "".join(part.reasoning or "" for part in parts),
            "".join(part.refusal or "" for part in parts),
        ),
        extras=[part.extra for part in parts if part.extra],
        ends=[
            chunk
            for chunk in out
            if chunk.finish_reason or chunk.usage or (chunk.delta and chunk.delta.tool_calls)
        ],
        answer=assembler.snapshot(),
        error=failure
        and (
            type(failure),
            # How much could be quoted depends on how much had been read.
            failure.message.partition("; it begins with ")[0],
            failure.retryable,
            getattr(failure, "status_code", None),
        ),
        failure=failure,
    )


def catch_up(reader: AnswerReader, out: list[ChatChunk]) -> None:
    """Go on with what was not done in the first step."""
    while reader.is_behind:
        reader.feed(b"", out)


def one_by_one(body: bytes) -> list[bytes]:
    return [body[place : place + 1] for place in range(len(body))]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(edges)]


def check_outcome(outcome: Outcome) -> None:
    """The chunks add up to the answer, and all of it can be sent elsewhere."""
    answer = outcome.answer
    assert (answer.text, answer.reasoning, answer.refusal) == outcome.texts
    shown = [*outcome.texts, *(call.arguments for call in answer.tool_calls)]
    "".join(shown).encode()
    if outcome.failure is None:
        assert [
            call for chunk in outcome.ends if chunk.delta for call in chunk.delta.tool_calls
        ] == (answer.tool_calls)
    else:
        assert outcome.failure.message
        str(outcome.failure).encode()
