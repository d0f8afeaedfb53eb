"""The outgoing half of the gateway's JSON dialect: everything that stands in a request's body.

This module alone knows which members a body has and who may set them. What the options mean,
and which of them a model takes, was decided before.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ._json_values import check_json, encode_json
from ._messages import build_messages

__all__ = ["build_messages", "encode_request"]

_NOT_FOR_EXTRA_BODY: Final = {
    "model": "choose the model with LLM(model) or update_options(model=...)",
    "messages": "give the conversation as chat_ctx",
    "stream": "every answer is streamed; collect() gives it whole",
    "tools": "give tools to chat(tools=...)",
}

_ONLY_WITH_TOOLS: Final = frozenset({"tool_choice", "parallel_tool_calls"})


def encode_request(
    *,
    model: str,
    messages: Sequence[Mapping[str, object]],
    options: Mapping[str, object],
    tools: Sequence[Mapping[str, object]],
    extra_body: Mapping[str, object],
) -> bytes:
    """Write the body of a request.

    The usage is always asked for. Without tools, ``tool_choice`` and ``parallel_tool_calls`` are
    left out: servers refuse them. No argument is changed.

    Args:
        model: Name of the model.
        messages: What `build_messages` has made.
        options: Members of the body, by name.
        tools: Descriptions of the functions that the model may call.
        extra_body: Members that are set last, over any but the four that are not for them.

    Returns:
        Compact JSON in UTF-8.

    Raises:
        TypeError: If a value is no JSON value. The message names the path to it, such as
            ``extra_body.top_k``.
        ValueError: If ``extra_body`` sets what it may not, or a value cannot be written as JSON.
    """
    for name, remedy in _NOT_FOR_EXTRA_BODY.items():
        if name in extra_body:
            raise ValueError(f"extra_body may not set {name!r}: {remedy}")
    if not tools:
        options = {name: value for name, value in options.items() if name not in _ONLY_WITH_TOOLS}
    body: dict[str, object] = {
        **options,
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools:
        body["tools"] = tools
    check_json(model, "model")
    for name, value in options.items():
        check_json(value, name)
    check_json(tools, "tools")
    check_json(extra_body, "extra_body")
    body.update(extra_body)
    return encode_json(body)
