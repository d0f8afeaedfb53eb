"""What the misbehaving server does with each request: one function of seed, stream, model, attempt.

This module alone knows the faults and how often they come. The text names the stream, the model and
the attempt in every piece, so that a piece that is lost, doubled, out of its place or another
stream's is seen. Server and program both ask here, and never each other.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import attrs

from lktrio import ChatContext
from tests.support.script import (
    DONE,
    EVENT_STREAM,
    LAST_CHUNK,
    AwaitRequest,
    Close,
    Exchange,
    Hold,
    Repeat,
    Request,
    Reset,
    Send,
    Step,
    Wait,
    chunk,
    comment,
    error,
    event,
    finish,
    head,
    response,
    sse,
    text_chunk,
    tool_call_chunk,
    usage,
)

MOST_PIECES: Final = 24
CALM: Final = "calm"
"""The model that never fails."""

_HEAD: Final = head(200, {**EVENT_STREAM, "Transfer-Encoding": "chunked"})
_QUESTION: Final = re.compile(r"stream (\d+)")
_FIRST_PIECE: Final = re.compile(r"<(\d+)/([^/]*)/(\d+)/0>")


def question(stream: int) -> ChatContext:
    """The conversation that asks for an answer."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=f"stream {stream}")
    return chat_ctx


@attrs.frozen
class Answer:
    """What a model says to one attempt, were it left to end."""

    stream: int
    model: str
    attempt: int
    pieces: tuple[str, ...]
    call: str | None
    """The arguments of its tool call, if it makes one."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> tuple[int, int]:
        """What it reports as used; no two answers of a stream report the same."""
        return 1 + self.stream, 1 + len(self.pieces) + 100 * self.attempt

    def events(self) -> list[bytes]:
        """The whole answer, event by event."""
        call = []
        if self.call is not None:
            half = len(self.call) // 2
            call = [
                tool_call_chunk(self.call[:half], id=f"call_{self.stream}", name="note"),
                tool_call_chunk(self.call[half:]),
            ]
        end = finish("stop" if self.call is None else "tool_calls")
        return [*map(text_chunk, self.pieces), *call, end, usage(*self.tokens), DONE]


def answer(seed: int, stream: int, model: str, attempt: int) -> Answer:
    """What a model would say."""
    dice = random.Random(f"answer {seed} {stream} {model} {attempt}")
    pieces = tuple(
        f"<{stream}/{model}/{attempt}/{number}>{'x' * dice.randrange(8)} "
        for number in range(dice.randint(1, MOST_PIECES))
    )
    call = None
    if dice.random() < 0.15:
        call = json.dumps({"stream": stream, "model": model, "attempt": attempt})
    return Answer(stream, model, attempt, pieces, call)


def answer_that_begins(seed: int, text: str) -> Answer | None:
    """The answer that a text is, or is the beginning of; None if it is that of none."""
    found = _FIRST_PIECE.match(text)
    if found is None:
        return None
    stream, model, attempt = found.groups()
    return answer(seed, int(stream), model, int(attempt))


# --- Faults ---------------------------------------------------------------------------------------

Fault = Callable[[list[bytes], random.Random], Exchange]


def _some(events: list[bytes], dice: random.Random) -> list[bytes]:
    """The beginning of an answer, perhaps empty, and never whole."""
    return events[: dice.randrange(len(events) - 1)]


def _sent(events: list[bytes]) -> list[Step]:
    return [Send(_HEAD), *(Send(chunk(each)) for each in events)]


def _whole(events: list[bytes], dice: random.Random) -> Exchange:
    return Exchange([Send(_HEAD + b"".join(map(chunk, events)) + LAST_CHUNK)])


def _paced(events: list[bytes], dice: random.Random) -> Exchange:
    return sse(*events, every=dice.uniform(0.001, 0.03))


def _late(events: list[bytes], dice: random.Random) -> Exchange:
    return sse(*events).after(dice.uniform(0.02, 0.4))


def _cut_anywhere(events: list[bytes], dice: random.Random) -> Exchange:
    """One write for each piece, and the pieces cut where it comes."""
    wire = _HEAD + b"".join(map(chunk, events)) + LAST_CHUNK
    places = sorted(dice.sample(range(len(wire)), 12))
    cuts = zip([0, *places], [*places, len(wire)], strict=True)
    return Exchange([Send(wire[start:end]) for start, end in cuts])


def _held(events: list[bytes], dice: random.Random) -> Exchange:
    return Exchange([*_sent(events), Hold()])


def _ends_late(events: list[bytes], dice: random.Random) -> Exchange:
    return Exchange([*_sent(events), Wait(dice.uniform(0.01, 0.2)), Send(LAST_CHUNK)])


def _dropped_later(events: list[bytes], dice: random.Random) -> Exchange:
    """A good answer on a connection that is closed a moment later, or as the next request comes."""
    end: list[Step] = [AwaitRequest()] if dice.random() < 0.5 else [Wait(dice.uniform(0, 0.05))]
    return _whole(events, dice).then(*end, dice.choice([Close(), Reset()]))


def _never_answers(events: list[bytes], dice: random.Random) -> Exchange:
    return Exchange([Hold()])


def _stalls(events: list[bytes], dice: random.Random) -> Exchange:
    return Exchange([*_sent(_some(events, dice)), Hold()])


def _keeps_alive(events: list[bytes], dice: random.Random) -> Exchange:
    alive = Repeat([Send(chunk(comment())), Wait(0.05)])
    return Exchange([*_sent(_some(events, dice)), alive])


def _resets(events: list[bytes], dice: random.Random) -> Exchange:
    sent = [] if dice.random() < 0.3 else _sent(_some(events, dice))
    return Exchange([*sent, Reset()])


def _closes(events: list[bytes], dice: random.Random) -> Exchange:
    """The connection ends in order, in the middle of the answer, or of a frame of it."""
    wire = b"".join(step.data for step in _sent(_some(events, dice)) if isinstance(step, Send))
    return Exchange([Send(wire[: dice.choice([None, -1, -20])]), Close()])


def _just_ends(events: list[bytes], dice: random.Random) -> Exchange:
    """The body ends in order, and says nothing of the answer's being cut."""
    return sse(*_some(events, dice))


def _says_what_is_wrong(events: list[bytes], dice: random.Random) -> Exchange:
    problem = {"error": {"message": "overloaded", "code": dice.choice([429, 503, 400, None])}}
    return sse(*_some(events, dice), event(problem))


def _status(events: list[bytes], dice: random.Random) -> Exchange:
    status = dice.choice([429, 429, 503, 503, 500, 400, 401])
    return error(
        status,
        retry_after=dice.choice([None, 0, 0.05, 120]) if status == 429 else None,
        close=dice.random() < 0.3,
    )


def _garbage_events(events: list[bytes], dice: random.Random) -> Exchange:
    # Each ends its line: what follows on it would be lost with it.
    lines = [b"data: {]\n", b"data: \xff\xfe\n", b"\x00" * 50 + b"\n", b"data: 7\n", b":\r\r\n"]
    begin = _some(events, dice)
    return sse(*begin, dice.choice(lines) + b"\n", *events[len(begin) :])


def _garbage_body(events: list[bytes], dice: random.Random) -> Exchange:
    body = dice.choice([b"", b"<html>No.</html>", b'{"detail": "no"}', dice.randbytes(300)])
    return response(200, body)


def _garbage(events: list[bytes], dice: random.Random) -> Exchange:
    return Exchange([Send(dice.choice([b"\r\n", b"HTTP/1.1 2", dice.randbytes(300)])), Close()])


FAULTS: Final[dict[str, tuple[int, Fault]]] = {
    "whole": (35, _whole),
    "paced": (8, _paced),
    "late": (8, _late),
    "cut anywhere": (5, _cut_anywhere),
    "body held open": (4, _held),
    "body ends late": (3, _ends_late),
    "dropped later": (5, _dropped_later),
    "never answers": (2, _never_answers),
    "stalls": (3, _stalls),
    "keeps alive": (2, _keeps_alive),
    "resets": (5, _resets),
    "closes": (4, _closes),
    "just ends": (3, _just_ends),
    "says what is wrong": (3, _says_what_is_wrong),
    "status": (6, _status),
    "garbage events": (2, _garbage_events),
    "garbage body": (2, _garbage_body),
    "garbage": (1, _garbage),
}
"""How often each comes, of a hundred requests or so, and what it does with an answer's events."""

_NAMES: Final = tuple(FAULTS)
_WEIGHTS: Final = tuple(weight for weight, _ in FAULTS.values())


class Misbehaviour:
    """The script of the server: a function from request to exchange.

    Args:
        seed: What all is drawn from.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._attempts: Counter[tuple[int, str]] = Counter()
        self.counts: Counter[str] = Counter()
        """How often each fault has come."""

    def __call__(self, request: Request) -> Exchange:
        said = self.said(request)
        dice = random.Random(f"fault {self._seed} {said.stream} {said.model} {said.attempt}")
        (name,) = ("whole",) if said.model == CALM else dice.choices(_NAMES, _WEIGHTS)
        self.counts[name] += 1
        return FAULTS[name][1](said.events(), dice)

    def said(self, request: Request) -> Answer:
        """What the model says to a request, which is counted as one more attempt."""
        body: dict[str, Any] = request.json()
        found = _QUESTION.fullmatch(body["messages"][-1]["content"])
        assert found is not None
        stream, model = int(found[1]), str(body["model"])
        self._attempts[stream, model] += 1
        return answer(self._seed, stream, model, self._attempts[stream, model])
