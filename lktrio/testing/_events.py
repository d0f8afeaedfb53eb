"""The events of a streamed chat completion, as bytes.

This module knows one event at a time. Which events a reply becomes is known to `_replies`.

Source: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from lktrio._checks import refusal
from lktrio._definitions import public

__all__ = [
    "COMPLETION_ID",
    "DONE",
    "EVENT_STREAM",
    "MODEL",
    "ToolCall",
    "chunk",
    "comment",
    "completion_chunk",
    "event",
    "token_counts",
    "usage",
]

DONE: Final = b"data: [DONE]\n\n"
"""The event that ends a stream of chunks."""

EVENT_STREAM: Final[Mapping[str, str]] = {"Content-Type": "text/event-stream"}
COMPLETION_ID: Final = "chatcmpl-1"
MODEL: Final = "scripted-model"


@public
def event(data: Mapping[str, Any] | str, *, name: str | None = None) -> bytes:
    """Make one server-sent event, for `events`.

    Args:
        data: An object, sent as JSON, or text, sent as it is.
        name: The event's name (``event:``), if it has one.
    """
    value = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    prefix = "" if name is None else f"event: {name}\n"
    return f"{prefix}data: {value}\n\n".encode()


@public
def comment(text: str = "keep-alive") -> bytes:
    """Make a comment, which servers send to keep a connection alive.

    Args:
        text: What it says.
    """
    return f": {text}\n\n".encode()


def completion_chunk(
    choices: Sequence[Mapping[str, Any]],
    *,
    id: str = COMPLETION_ID,
    model: str = MODEL,
    **members: Any,
) -> bytes:
    """Make the event of a ``chat.completion.chunk`` with the given choices and further members."""
    return event(
        {
            "id": id,
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": model,
            "choices": list(choices),
            **members,
        }
    )


@public
@attrs.frozen
class ToolCall:
    """A call of a tool; `tool_call` makes one."""

    name: str
    """The tool's name."""

    arguments: str | Mapping[str, Any] = "{}"
    """Its arguments: an object, or JSON text that is sent as it is."""

    id: str | None = None
    """Its id; None: ``call_0``, ``call_1`` ... by position."""

    fragment: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    """Characters of the arguments in one chunk."""

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)

    def to_delta(self, index: int, arguments: str | None = None) -> dict[str, Any]:
        """Return the call as a delta has it, with its whole arguments or those given."""
        return {
            "index": index,
            "function": {
                "arguments": self.text if arguments is None else arguments,
                "name": self.name,
            },
            "id": self.id or f"call_{index}",
            "type": "function",
        }

    def to_deltas(self, index: int) -> Iterator[dict[str, Any]]:
        """Return the call in fragments: the first has id and name, the others have neither."""
        yield self.to_delta(index, "")
        for at in range(0, len(self.text), self.fragment):
            fragment = self.text[at : at + self.fragment]
            yield {"index": index, "function": {"arguments": fragment}}


@public
def chunk(
    content: str | None = None,
    *,
    reasoning: str | None = None,
    refusal: str | None = None,
    tool_calls: Iterable[ToolCall | Mapping[str, Any]] = (),
    finish_reason: str | None = None,
    id: str = COMPLETION_ID,
    model: str = MODEL,
    **delta: Any,
) -> bytes:
    """Make the event of one chunk, for `events`, exactly as told.

    Args:
        content: Text.
        reasoning: Thinking text (``reasoning_content``).
        refusal: Text with which the model declines.
        tool_calls: Calls, whole; or objects, sent as they are, for fragments of your own.
        finish_reason: Why the model stops.
        id: Id of the completion.
        model: The model that answers.
        delta: Further members of the delta.
    """
    members = {"content": content, "reasoning_content": reasoning, "refusal": refusal}
    present: dict[str, Any] = {name: text for name, text in members.items() if text is not None}
    calls = [
        call.to_delta(index) if isinstance(call, ToolCall) else call
        for index, call in enumerate(tool_calls)
    ]
    if calls:
        present["tool_calls"] = calls
    choice = {"index": 0, "delta": {**present, **delta}, "finish_reason": finish_reason}
    return completion_chunk([choice], id=id, model=model)


@public
def usage(
    prompt_tokens: int,
    completion_tokens: int,
    *,
    id: str = COMPLETION_ID,
    model: str = MODEL,
    **members: Any,
) -> bytes:
    """Make the event that reports tokens, for `events`. Its ``choices`` are empty.

    Args:
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens generated.
        id: Id of the completion.
        model: The model that answers.
        members: Further members, such as ``prompt_tokens_details={"cached_tokens": 5}``.
    """
    counts = {**token_counts((prompt_tokens, completion_tokens)), **members}
    return completion_chunk([], id=id, model=model, usage=counts)


def token_counts(tokens: tuple[int, int] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(tokens, Mapping):
        return dict(tokens)
    try:
        prompt_tokens, completion_tokens = tokens
        total_tokens = prompt_tokens + completion_tokens
    except (TypeError, ValueError):
        wanted = "two numbers of tokens, such as (9, 3), or the whole object"
        raise TypeError(refusal("usage", tokens, wanted)) from None
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": total_tokens,
    }
