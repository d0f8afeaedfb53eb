"""Which items of a conversation stay: in a copy, behind a limit, with a set of tools.

This module knows what is left out together with what, and when two items say the same. It changes
no conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from lktrio._checks import shown

from .items import (
    DYNAMIC_INSTRUCTIONS_ID,
    AgentConfigUpdate,
    AgentHandoff,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
)

__all__ = [
    "NamedTool",
    "ToolGroup",
    "are_equivalent",
    "choose",
    "goes_with_calls",
    "last_items",
    "with_calls_of",
]


@runtime_checkable
class NamedTool(Protocol):
    """Anything that has a function's name, such as a `FunctionTool`."""

    @property
    def name(self) -> str:
        """Name of the function."""
        ...


@runtime_checkable
class ToolGroup(Protocol):
    """Anything that holds tools, such as a `Toolset`."""

    @property
    def tools(self) -> Sequence[str | NamedTool | ToolGroup]:
        """The tools."""
        ...


def choose(
    items: Iterable[ChatItem],
    *,
    exclude_function_call: bool = False,
    exclude_instructions: bool = False,
    exclude_empty_message: bool = False,
    exclude_handoff: bool = False,
    exclude_config_update: bool = False,
) -> Iterator[ChatItem]:
    """Leave out items by their kind. The arguments are those of `ChatContext.copy`."""
    excluded: tuple[type[ChatItem], ...] = (
        *((FunctionCall, FunctionCallOutput) if exclude_function_call else ()),
        *((AgentHandoff,) if exclude_handoff else ()),
        *((AgentConfigUpdate,) if exclude_config_update else ()),
    )
    for item in items:
        if isinstance(item, excluded) or (exclude_function_call and goes_with_calls(item)):
            continue
        if exclude_instructions and _is_instructions(item):
            continue
        if exclude_empty_message and isinstance(item, ChatMessage) and not item.content:
            continue
        yield item


def goes_with_calls(item: ChatItem) -> bool:
    """Whether an item is there only for what goes back with the calls of its answer."""
    return (
        isinstance(item, ChatMessage)
        and item.role == "assistant"
        and not item.content
        and bool(item.extra)
    )


def _is_instructions(item: ChatItem) -> bool:
    return isinstance(item, ChatMessage) and item.role in ("system", "developer")


def with_calls_of(
    items: Iterable[ChatItem], tools: Iterable[str | NamedTool | ToolGroup]
) -> list[ChatItem]:
    """Leave out the calls of other tools than these, and their outputs.

    Raises:
        TypeError: If ``tools`` holds what has no name.
    """
    names = set(_tool_names(tools))
    given = list(items)
    kept_calls = {
        item.call_id for item in given if isinstance(item, FunctionCall) and item.name in names
    }

    def is_kept(item: ChatItem) -> bool:
        if isinstance(item, FunctionCall):
            return item.name in names
        if isinstance(item, FunctionCallOutput):
            # The name of the function is often left out of an output.
            return item.name in names if item.name else item.call_id in kept_calls
        return True

    return list(filter(is_kept, given))


def _tool_names(tools: Iterable[str | NamedTool | ToolGroup]) -> Iterator[str]:
    for tool in tools:
        if isinstance(tool, str):
            yield tool
        elif isinstance(tool, ToolGroup):
            yield from _tool_names(tool.tools)
        elif isinstance(tool, NamedTool):
            yield tool.name
        else:
            raise TypeError(
                f"tools: {shown(tool)} is not accepted; it takes function tools, groups of them, "
                f"or names"
            )


def last_items(items: Sequence[ChatItem], count: int) -> list[ChatItem]:
    """The last items, by the rules of `ChatContext.truncate`."""
    start = max(len(items) - count, 0)
    if start:
        while start < len(items) and isinstance(items[start], FunctionCall | FunctionCallOutput):
            start += 1
    first = next((place for place, item in enumerate(items) if _is_instructions(item)), start)
    behind = first + 1
    if behind < start and items[behind].id == DYNAMIC_INSTRUCTIONS_ID:
        behind += 1
    return [*items[first : min(behind, start)], *items[start:]]


def are_equivalent(item: ChatItem, other: ChatItem) -> bool:
    """Whether a model would read the same."""
    return (item.type, item.id, *_meaning(item)) == (other.type, other.id, *_meaning(other))


def _meaning(item: ChatItem) -> tuple[object, ...]:
    if isinstance(item, ChatMessage):
        return item.role, item.content, item.interrupted
    if isinstance(item, FunctionCall):
        return item.call_id, item.name, item.arguments
    if isinstance(item, FunctionCallOutput):
        return item.call_id, item.name, item.output, item.is_error
    return ()
