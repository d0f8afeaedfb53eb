"""Scripts of servers, in the short words of our own tests, on top of `lktrio.testing`.

The values and builders live there; what is here cuts chunks one by one, as tests of the wire want
them, instead of word by word.

    text("Hi", " there")                                    # every request: this answer
    [error(503, retry_after=1), text("Hi")]                 # first this, then that
    sse(text_chunk("Hi"), Wait(2.0), finish(), DONE)        # a pause before the finish
    sse(text_chunk("Hi"), end=False).then(Reset())          # cut in the middle
    lambda request: text(request.json()["model"])           # depends on the request
    [Connection(connect_error="refused"), Connection([text("Hi")])]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lktrio.testing._events import (
    DONE,
    EVENT_STREAM,
    ToolCall,
    comment,
    completion_chunk,
    event,
    usage,
)
from lktrio.testing._events import chunk as completion
from lktrio.testing._replies import error
from lktrio.testing._steps import (
    LAST_CHUNK,
    AwaitRequest,
    Call,
    Close,
    Connection,
    Hold,
    Piece,
    Reads,
    Repeat,
    Request,
    Reset,
    Script,
    Send,
    Step,
    Wait,
    Waitable,
    WaitFor,
    chunked,
    head,
    response,
    until_close,
)
from lktrio.testing._steps import Reply as Exchange
from lktrio.testing._steps import http_chunk as chunk

__all__ = [
    "DONE",
    "EVENT_STREAM",
    "LAST_CHUNK",
    "AwaitRequest",
    "Call",
    "Close",
    "Connection",
    "Exchange",
    "Hold",
    "Piece",
    "Reads",
    "Repeat",
    "Request",
    "Reset",
    "Script",
    "Send",
    "Step",
    "ToolCall",
    "Wait",
    "WaitFor",
    "Waitable",
    "chunk",
    "chunked",
    "comment",
    "completion_chunk",
    "delta",
    "error",
    "event",
    "finish",
    "head",
    "reasoning_chunk",
    "refusal_chunk",
    "response",
    "sse",
    "text",
    "text_chunk",
    "tool_call_chunk",
    "tool_calls",
    "until_close",
    "usage",
]


def delta(finish_reason: str | None = None, **members: Any) -> bytes:
    """Return a chunk with one choice whose delta has the given members."""
    return completion_chunk([{"index": 0, "delta": members, "finish_reason": finish_reason}])


def text_chunk(text: str) -> bytes:
    """Return a chunk of text."""
    return completion(text)


def reasoning_chunk(text: str) -> bytes:
    """Return a chunk of reasoning (`reasoning_content`)."""
    return completion(reasoning=text)


def refusal_chunk(text: str) -> bytes:
    """Return a chunk of a refusal."""
    return completion(refusal=text)


def tool_call_chunk(
    arguments: str, *, index: int = 0, id: str | None = None, name: str | None = None
) -> bytes:
    """Return a fragment of a tool call: the first one has id and name, the others have neither."""
    function: dict[str, str] = {"arguments": arguments}
    call: dict[str, Any] = {"index": index, "function": function}
    if name is not None:
        function["name"] = name
    if id is not None:
        call |= {"id": id, "type": "function"}
    return completion(tool_calls=[call])


def finish(reason: str = "stop") -> bytes:
    """Return the chunk that carries the finish reason."""
    return completion(finish_reason=reason)


def sse(
    *pieces: Piece,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    end: bool = True,
    every: float = 0.0,
) -> Exchange:
    """Return a chunked event stream; as `chunked`, with its content type."""
    fields = {**EVENT_STREAM, **(headers or {})}
    return chunked(pieces, status=status, headers=fields, end=end, every=every)


def text(
    *pieces: str,
    finish_reason: str = "stop",
    tokens: tuple[int, int] | None = (9, 3),
    every: float = 0.0,
    headers: Mapping[str, str] | None = None,
) -> Exchange:
    """Return a whole answer of text: one chunk for each piece, finish reason, usage, `[DONE]`.

    Args:
        pieces: The text, as it is cut into chunks.
        finish_reason: Why it ends.
        tokens: Prompt and completion tokens to report; None: no usage chunk.
        every: Seconds to wait before each chunk but the first.
        headers: Further headers.
    """
    tail = [finish(finish_reason)] + ([] if tokens is None else [usage(*tokens)]) + [DONE]
    return sse(*map(text_chunk, pieces), *tail, every=every, headers=headers)


def tool_calls(
    *calls: ToolCall,
    tokens: tuple[int, int] | None = (9, 3),
    every: float = 0.0,
    fragment: int = 8,
    headers: Mapping[str, str] | None = None,
) -> Exchange:
    """Return a whole answer of tool calls, the arguments in fragments, then finish, usage, `[DONE]`.

    Args:
        calls: The calls, in the order of their indexes.
        tokens: Prompt and completion tokens to report; None: no usage chunk.
        every: Seconds to wait before each chunk but the first.
        fragment: Characters of arguments in one chunk.
        headers: Further headers.
    """
    pieces = [
        completion(tool_calls=[part])
        for index, call in enumerate(calls)
        for part in ToolCall(call.name, call.arguments, call.id, fragment).to_deltas(index)
    ]
    tail = [finish("tool_calls")] + ([] if tokens is None else [usage(*tokens)]) + [DONE]
    return sse(*pieces, *tail, every=every, headers=headers)
