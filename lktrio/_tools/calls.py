"""A call on its way: how it stands in the conversation, and what goes along until it has a result.

This module alone knows what is made of a model's call so that any server takes it back. It runs
nothing.
"""

from __future__ import annotations

import json
import re
from typing import Final, TypedDict, Unpack

import attrs

from lktrio._answers import FunctionToolCall
from lktrio._conversation import FunctionCall
from lktrio._json import Arguments, UnreadableArguments, read_arguments, repair_surrogates

from .results import FunctionCallResult
from .toolset import ToolContext
from .values import DecodedArguments

__all__ = ["Call", "read_call"]


@attrs.define(eq=False)
class Call:
    """One call of a model, from its text to its result."""

    item: FunctionCall
    """The call as it stands in the conversation."""

    name: str
    """Name of the function, as the model wrote it."""

    arguments: Arguments | UnreadableArguments
    """What the model wrote as arguments: parsed here, and nowhere else."""

    decoded: DecodedArguments | None = None
    """The arguments as values; None as long as nobody wanted them."""

    is_started: bool = False
    """Whether its function has been called."""

    result: FunctionCallResult | None = None
    """What it came to; None as long as it is under way."""


class _Members(TypedDict, total=False):
    id: str
    group_id: str
    created_at: float


_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]+", re.ASCII)


def read_call(
    call: FunctionToolCall | FunctionCall, tool_ctx: ToolContext, **members: Unpack[_Members]
) -> Call:
    """Read a call, and make an item of it that any server will take back.

    Args:
        call: The call as a stream handed it out, or as it is in a conversation.
        tool_ctx: The tools that may be called.
        members: Further members of the item.
    """
    arguments = read_arguments(call.arguments)
    if isinstance(arguments, Arguments):
        text = arguments.canonical
    else:
        text = json.dumps(
            {"invalid_arguments": repair_surrogates(arguments.raw)}, ensure_ascii=False
        )
    name = call.name
    if name not in tool_ctx:
        # https://platform.openai.com/docs/api-reference/chat/create: a conversation with a name
        # outside of this alphabet is refused for good, and models do make up such names.
        name = _NOT_IN_NAMES.sub("_", name)[:64] or "unknown"
    if isinstance(call, FunctionCall):
        item = attrs.evolve(call, name=name, arguments=text, **members)
    else:
        item = FunctionCall(
            call_id=repair_surrogates(call.call_id),
            name=name,
            arguments=text,
            extra=call.extra or {},
            **members,
        )
    return Call(item, call.name, arguments)
