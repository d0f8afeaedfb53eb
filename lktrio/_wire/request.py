"""The outgoing half of the gateway's JSON dialect: everything that stands in a request's body.

This module alone knows which members a body has. What the options mean, which of them may be set,
and which of them a model takes, was decided before.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from lktrio._conversation import build_messages
from lktrio._json import check_json, encode_json

__all__ = ["build_messages", "encode_request"]

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
        options: Members of the body, by name; checked as options are.
        tools: Descriptions of the functions that the model may call.
        extra_body: Members that are set last; checked as an option is.

    Returns:
        Compact JSON in UTF-8.

    Raises:
        TypeError: If a tool holds what is no JSON value. The message names the path to it, such as
            ``tools[1].function.default``.
        ValueError: If a tool holds what cannot be written as JSON, or the model's name does.
    """
    check_json(model, "model")
    check_json(tools, "tools")
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
    body.update(extra_body)
    return encode_json(body)
