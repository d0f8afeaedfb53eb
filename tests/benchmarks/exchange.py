"""What a benchmark asks, and what must be answered.

This module alone knows what an answer looks like on the wire. Client and server make it from the
same `Question`, so that nothing but the name of the model has to pass between them.
"""

from __future__ import annotations

import json
from typing import Final, Literal, TypedDict

import attrs

EVENT_BYTES: Final = 300
"""Length of the event of one piece of text, its blank line included; a usual length."""

AUTHORIZATION: Final = "Bearer sk-benchmark"
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


@attrs.frozen
class Question:
    """One request, and the answer it wants."""

    events: int
    """Pieces of text in the answer, each in an event of its own. An event with the finish reason
    and one with the usage follow."""

    is_held: bool = False
    """Whether the server stops after the first piece until it is told to go on."""

    @property
    def model(self) -> str:
        """Name of the model, which tells the server what to answer."""
        return f"{'held' if self.is_held else 'flowing'}-{self.events}"

    @classmethod
    def of_model(cls, model: str) -> Question:
        """The question whose `model` this is."""
        kind, _, events = model.partition("-")
        return cls(int(events), is_held=kind == "held")

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        return [
            {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
            {"role": "user", "content": "Why do whales sing?"},
        ]

    @property
    def chunks(self) -> int:
        """Events that a client has to decode."""
        return self.events + 2

    @property
    def reply(self) -> Reply:
        """What a client must have read."""
        text = "".join(_piece(number) for number in range(self.events))
        return Reply(text, "stop", PROMPT_TOKENS, self.events)

    def encode(self) -> list[bytes]:
        """The events of the answer, the end mark included."""
        events = [_text_event(number) for number in range(self.events)]
        events.append(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
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


def _piece(number: int) -> str:
    # The number shows a piece that is lost, doubled or out of its place.
    return f" {_WORDS[number % len(_WORDS)]}{number}"


def _text_event(number: int) -> bytes:
    delta = {"content": _piece(number)}
    if number == 0:
        delta["role"] = "assistant"
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
    missing = EVENT_BYTES - len(_event(choices, padding=""))
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
