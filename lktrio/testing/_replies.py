"""What a model says, in the words of a chat completion, as replies and their parts.

This module alone knows how a person writes a reply, and which events it becomes. It does no I/O.

Source: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from lktrio._checks import check_instance, check_integer, check_seconds, shown
from lktrio._definitions import public

from ._events import (
    COMPLETION_ID,
    DONE,
    EVENT_STREAM,
    MODEL,
    ToolCall,
    completion_chunk,
    event,
    token_counts,
)
from ._steps import (
    Close,
    Hold,
    Piece,
    Reply,
    Reset,
    Send,
    Step,
    check_piece,
    chunked,
    named,
    response,
)

__all__ = [
    "ErrorEvent",
    "NoConnection",
    "Part",
    "Speech",
    "as_reply",
    "error",
    "error_event",
    "events",
    "raw",
    "reasoning",
    "refusal",
    "reply",
    "tool_call",
]

_LABEL_LENGTH: Final = 50
# Words as models cut them: the blank belongs to the word behind it.
_WORD: Final = re.compile(r"\s*\S+(?:\s+$)?|^\s+$")

# --- Parts of a reply -------------------------------------------------------------------------


@public
@attrs.frozen
class Speech:
    """Text in another member than the content; `reasoning` and `refusal` make it."""

    member: Literal["reasoning_content", "refusal"]
    """Where it stands in the delta."""

    text: str
    """What it says; sent word by word."""


@public
@attrs.frozen
class ErrorEvent:
    """A failure in the middle of the stream; `error_event` makes one."""

    message: str
    """What it says."""

    members: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """Further members of the ``error`` object."""

    def to_event(self) -> bytes:
        """Return the event."""
        return event({"error": {"message": self.message, **self.members}})


@public
@attrs.frozen
class NoConnection:
    """In the place of a reply: the next attempt to connect fails.

    Over loopback TCP the connection is accepted and reset at once. A connection that is kept from
    an earlier request is reset when the request arrives, so that the client has to connect.
    """

    message: str = "connection refused"
    """Why (in memory only)."""

    after: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """Seconds until it fails; `math.inf` for an address that never answers (in memory only)."""

    def __str__(self) -> str:
        return f"no connection ({self.message})"


Part: TypeAlias = str | ToolCall | Speech | ErrorEvent | bytes | Step
"""What a `reply` is made of: text, calls, other speech, events as bytes, steps such as `Wait`."""


@public
def tool_call(
    name: str,
    arguments: str | Mapping[str, Any] | None = None,
    *,
    id: str | None = None,
    fragment: int = 8,
) -> ToolCall:
    """A call of a tool: a part of a `reply`, or a whole reply by itself.

    Args:
        name: The tool's name.
        arguments: Its arguments: an object, or JSON text that is sent as it is, valid or not.
            Default: none.
        id: Its id. Default: ``call_0``, ``call_1`` ... by position in the reply.
        fragment: Characters of the arguments in one chunk. Default: 8.

    Raises:
        TypeError: ``name`` is no string, or ``arguments`` is neither an object nor text.
        ValueError: ``fragment`` is less than 1.
    """
    check_instance("name", name, str, "the name of a tool")
    if arguments is not None:
        check_instance("arguments", arguments, (str, Mapping), "a dict, or JSON text")
    return ToolCall(name, "{}" if arguments is None else arguments, id, fragment)


@public
def reasoning(text: str) -> Speech:
    """Thinking text, word by word: a part of a `reply`.

    Args:
        text: What the model thinks.
    """
    return Speech("reasoning_content", text)


@public
def refusal(text: str) -> Speech:
    """Text with which the model declines, word by word: a part of a `reply`.

    Args:
        text: What the model says.
    """
    return Speech("refusal", text)


@public
def error_event(message: str = "scripted error", **members: Any) -> ErrorEvent:
    """A failure in the middle of a stream whose status was 200: the last part of a `reply`.

    Args:
        message: What it says.
        members: Further members of the ``error`` object, such as ``code=503``.
    """
    return ErrorEvent(message, members)


# --- Replies ----------------------------------------------------------------------------------


@public
def reply(
    *parts: Part,
    every: float = 0.0,
    usage: tuple[int, int] | Mapping[str, Any] | None = (9, 3),
    finish_reason: str | None = None,
    headers: Mapping[str, str] | None = None,
    hold: bool = False,
    id: str = COMPLETION_ID,
    model: str = MODEL,
) -> Reply:
    """Make a reply of what the model says.

    ::

        reply("It is sunny in Paris.", every=0.05)
        reply("Let me look.", tool_call("get_weather", {"city": "Paris"}))
        reply(reasoning("Paris is in France."), Wait(2), "It is sunny.", usage=(100, 12))
        reply("It is", Reset())

    A string is streamed word by word, as models do; `events` cuts it as you like. Finish reason,
    usage and ``[DONE]`` are added, unless the last part is an `error_event`, or a step that leaves
    the reply unfinished: `Hold` (silence for ever), `Close` (the body is cut off) or `Reset`.

    Args:
        parts: Text, `tool_call`, `reasoning`, `refusal`, `error_event`, events as bytes, and
            steps: `Wait`, `WaitFor`, `Call`, `Hold`, `Close`, `Reset`, `Repeat`.
        every: Seconds before each chunk but the first. Default: 0.
        usage: Prompt and completion tokens, or the whole object; None: it is not sent.
        finish_reason: Why the model stops. Default: ``"tool_calls"`` if there are some, else
            ``"stop"``.
        headers: Further headers of the response.
        hold: Keep the body open after ``[DONE]``, as some servers do.
        id: Id of the completion.
        model: The model that answers.

    Raises:
        TypeError: A part is none.
        ValueError: Something follows an `error_event`, or a step after which there is nothing.
    """
    for part in parts[:-1]:
        if isinstance(part, (ErrorEvent, Hold, Close, Reset)):
            raise ValueError(f"nothing can follow {part!r} in a reply: make it the last part")
    names = {"id": id, "model": model}
    pieces: list[Piece] = []
    calls = 0
    for part in parts:
        match part:
            case str():
                pieces += [_chunk({"content": word}, names) for word in _WORD.findall(part)]
            case Speech(member, text):
                for word in _WORD.findall(text):
                    pieces.append(_chunk({member: word}, names))
            case ToolCall():
                for delta in part.to_deltas(calls):
                    pieces.append(_chunk({"tool_calls": [delta]}, names))
                calls += 1
            case ErrorEvent():
                pieces.append(part.to_event())
            case _:
                check_piece(
                    part,
                    "a reply is made of text, tool_call(), reasoning(), refusal(), error_event(), "
                    "bytes and steps such as Wait()",
                )
                pieces.append(part)
    ending = parts[-1] if parts else None
    unfinished = isinstance(ending, (Hold, Close, Reset))
    if not unfinished and not isinstance(ending, ErrorEvent):
        reason = finish_reason or ("tool_calls" if calls else "stop")
        pieces.append(_chunk({}, names, reason))
        if usage is not None:
            pieces.append(completion_chunk([], **names, usage=token_counts(usage)))
        pieces.append(DONE)
    made = events(*pieces, headers=headers, every=every, end=not unfinished and not hold)
    if hold:
        made = made.then(Hold())
    return attrs.evolve(made, label=_label(parts))


def _chunk(
    delta: Mapping[str, Any], names: Mapping[str, str], finish_reason: str | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return completion_chunk([choice], **names)


def _label(parts: Iterable[Part]) -> str:
    words = [
        part.name + "(...)" if isinstance(part, ToolCall) else repr(part)
        for part in parts
        if not isinstance(part, bytes)
    ]
    text = ", ".join(words)
    return f"reply({text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 3] + '...'})"


@public
def events(
    *pieces: Piece,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    end: bool = True,
    every: float = 0.0,
) -> Reply:
    """Make a reply of events as you cut them; nothing is added.

    ::

        events(chunk("Hel"), Wait(2), chunk("lo"), chunk(finish_reason="stop"), usage(9, 3), DONE)

    Args:
        pieces: Bytes, as `chunk`, `usage`, `event` and `comment` make them and `DONE` is one, each
            written by itself; and steps.
        status: Status code.
        headers: Headers beside ``Content-Type`` and ``Transfer-Encoding``.
        end: Whether the body is ended after the last piece. Default: unless that is a `Hold`,
            `Close` or `Reset`.
        every: Seconds before each piece of bytes but the first. Default: 0.

    Raises:
        TypeError: A piece is neither bytes nor a step.
        ValueError: A piece is empty, or follows a step after which there is nothing.
    """
    check_seconds("every", every, zero=True)
    for piece in pieces:
        check_piece(
            piece,
            "a stream of events is made of bytes, as chunk(), usage(), event() and comment() make "
            "them, and of steps such as Wait()",
        )
    if pieces and isinstance(pieces[-1], (Hold, Close, Reset)):
        end = False
    made = chunked(
        pieces, status=status, headers={**EVENT_STREAM, **(headers or {})}, end=end, every=every
    )
    count = sum(isinstance(piece, bytes) for piece in pieces)
    return attrs.evolve(made, label=f"events(<{count} pieces>)")


@public
def raw(*pieces: bytes | Step) -> Reply:
    """Make a reply of bytes exactly as they go to the socket, status line and all.

    Args:
        pieces: Bytes, each written by itself, and steps. A connection that the client cannot use
            again is ended by `Close` or `Reset`.

    Raises:
        TypeError: A piece is neither bytes nor a step.
    """
    for piece in pieces:
        check_piece(piece, "an answer byte by byte is made of bytes and of steps such as Wait()")
    steps: list[Step] = [Send(piece) if isinstance(piece, bytes) else piece for piece in pieces]
    return Reply(steps, label="raw(...)")


@public
def error(
    status: int,
    message: str = "scripted error",
    *,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] | None = None,
    close: bool = False,
    **members: Any,
) -> Reply:
    """Make a reply that is a failure: a status with a JSON body.

    Args:
        status: Status code.
        message: The error's message.
        retry_after: Value of ``Retry-After``: seconds, or text as it is (a date). Default: no
            header.
        headers: Further headers.
        close: Whether the connection is closed after it.
        members: Further members of the ``error`` object, such as ``code="rate_limit"``.

    Raises:
        TypeError: ``status`` is no integer.
        ValueError: It is less than 100.
    """
    check_integer("status", status, least=100)
    fields = {"Content-Type": "application/json", **(headers or {})}
    if retry_after is not None:
        fields["Retry-After"] = str(retry_after)
    body = json.dumps({"error": {"message": message, **members}}).encode()
    made = response(status, body, fields, close=close)
    return attrs.evolve(made, label=f"error({status}, {message!r})")


def as_reply(value: object) -> Reply:
    """Make a reply of what may stand for one in a script.

    Raises:
        TypeError: Nothing can be made of it.
    """
    if isinstance(value, Reply):
        if value.reads != "request":
            raise ValueError(f"a gateway reads every request whole; reads={value.reads!r} is not")
        return value
    if isinstance(value, (str, ToolCall)):
        return reply(value)
    raise TypeError(
        f"a script holds replies (reply(...), error(...), events(...), raw(...)), strings, "
        f"tool_call(...), NoConnection() and functions from request to reply, not {_named(value)}"
    )


def _named(value: object) -> str:
    """Name what stands in the place of a reply, and say what to write, if that can be guessed."""
    if isinstance(value, list):
        return "a list; write add(*replies)"
    if isinstance(value, Speech | ErrorEvent | Step):
        return f"{value!r}, a part of a reply; write reply({value!r})"
    return named(value) if isinstance(value, type) else shown(value)
