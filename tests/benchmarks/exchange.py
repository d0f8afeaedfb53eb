"""What a benchmark asks, and what must be answered.

This module alone knows what an answer looks like on the wire. Client and server make it from the
same `Question`, so that nothing but the name of the model has to pass between them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, TypedDict, cast

import attrs

EVENT_BYTES: Final = 300
"""Length of the event of one piece of text, its blank line included; a usual length."""

API_KEY: Final = "sk-benchmark"

AUTHORIZATION: Final = f"Bearer {API_KEY}"
"""What every client sends as ``Authorization``."""

PROMPT_TOKENS: Final = 17

# With a character that takes three bytes and one that takes four.
_WORDS: Final = ("the", "whale", "sings", "because", "it", "can", "\u2013", "and", "\U0001f40b")


class Message(TypedDict):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@attrs.frozen
class Reply:
    """What a client has read of an answer."""

    text: str
    """The pieces of text, joined."""

    finish_reason: str | None
    """Why the model stopped."""

    prompt_tokens: int
    """From the usage at the end."""

    completion_tokens: int
    """From the usage at the end."""

    arguments: str = ""
    """The fragments of the tool call's arguments, joined."""


Kind: TypeAlias = Literal["flowing", "held", "paced", "calling"]
"""How an answer comes: as fast as it is read; with a stop after the first piece until the server is
told to go on, unless it was told to hold no more; a piece every 20 ms, each with the time at which
it is sent; or as fast as it is read, as the arguments of a tool call."""


@attrs.frozen
class Question:
    """One request, and the answer it wants."""

    events: int
    """Pieces of the answer, each in an event of its own. An event with the finish reason and one
    with the usage follow."""

    kind: Kind = "flowing"
    """How the answer comes."""

    items: int = 2
    """How long the conversation is, in messages."""

    @property
    def model(self) -> str:
        """Name of the model, which tells the server what to answer."""
        return f"{self.kind}-{self.events}"

    @classmethod
    def of_model(cls, model: str) -> Question:
        """The question whose `model` this is, but for the conversation."""
        kind, _, events = model.partition("-")
        return cls(int(events), cast("Kind", kind))

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        turns: list[Message] = [
            {"role": "user", "content": "Why do whales sing? Tell me more, in other words."},
            {"role": "assistant", "content": "They sing because they can, and it carries far."},
        ]
        return [
            {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
            *(turns[number % 2] for number in range(self.items - 1)),
        ]

    @property
    def chunks(self) -> int:
        """Events that a client has to decode."""
        return self.events + 2

    @property
    def reply(self) -> Reply:
        """What a client must have read."""
        text = "".join(_piece(number) for number in range(self.events))
        if self.kind == "calling":
            arguments = f'{{"text":"{text}"}}'
            return Reply("", "tool_calls", PROMPT_TOKENS, self.events, arguments)
        return Reply(text, "stop", PROMPT_TOKENS, self.events)

    def _delta(self, number: int) -> dict[str, object]:
        piece = _piece(number)
        if self.kind == "paced":
            piece += _NO_TIME.decode()
        if self.kind != "calling":
            return {"content": piece}
        if number == 0:
            piece = f'{{"text":"{piece}'
        if number == self.events - 1:
            piece += '"}'
        call: dict[str, object] = {"index": 0, "function": {"arguments": piece}}
        if number == 0:
            call = {
                "index": 0,
                "id": "call_benchmark",
                "type": "function",
                "function": {"name": "write", "arguments": piece},
            }
        return {"tool_calls": [call]}

    def encode(self) -> list[bytes]:
        """The events of the answer, the end mark included."""
        is_call = self.kind == "calling"
        events = [
            _piece_event(number, self._delta(number), is_call=is_call)
            for number in range(self.events)
        ]
        reason = "tool_calls" if is_call else "stop"
        events.append(_event([{"index": 0, "delta": {}, "finish_reason": reason}]))
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": self.events,
            "total_tokens": PROMPT_TOKENS + self.events,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }
        events.append(_event([], usage))
        events.append(b"data: [DONE]\n\n")
        return events


_NO_TIME: Final = b"@" + b"0" * 20
_TIME: Final = re.compile("@([0-9]{20})")


def stamp(event: bytes) -> bytes:
    """An event of a paced answer with the time at which it is sent.

    The clock is the same in all processes of a machine.
    """
    return event.replace(_NO_TIME, b"@%020d" % time.perf_counter_ns())


def times_sent(text: str) -> Iterator[int]:
    """When the pieces of a paced answer were sent, in nanoseconds of `time.perf_counter_ns`."""
    return (int(found[1]) for found in _TIME.finditer(text))


def without_times(text: str) -> str:
    """A text of a paced answer as `Question.reply` has it."""
    return _TIME.sub("", text)


def _piece(number: int) -> str:
    # The number shows a piece that is lost, doubled or out of its place.
    return f" {_WORDS[number % len(_WORDS)]}{number}"


def _piece_event(number: int, delta: dict[str, object], *, is_call: bool) -> bytes:
    if is_call and number == 0:
        delta["content"] = None
    if number == 0:
        delta["role"] = "assistant"
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
    missing = max(EVENT_BYTES - len(_event(choices, padding="")), 0)
    return _event(choices, padding="x" * missing)


def _event(
    choices: object,
    usage: object = None,
    padding: str = "x" * 8,
) -> bytes:
    payload = {
        "id": "chatcmpl-CoCkl5bJHtUUbOuqTrOYD",
        "object": "chat.completion.chunk",
        "created": 1763800000,
        "model": "openai/gpt-4.1-mini",
        "service_tier": "default",
        "choices": choices,
        "usage": usage,
        "obfuscation": padding,
    }
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return b"data: %b\n\n" % text.encode()
