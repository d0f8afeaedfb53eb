"""Which items of a conversation stay: in a copy, behind a limit, with a set of tools.

This module knows what is left out together with what, where an item belongs by its time, and when
two items say the same. It changes no conversation.
"""

from __future__ import annotations

import bisect
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

from lktrio._checks import check_integer, check_sync_callable, not_awaitable, shown

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
    "place_of",
    "with_calls_of",
]

_created_at: Final = operator.attrgetter("created_at")


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


def place_of(created_at: float, items: Sequence[ChatItem]) -> int:
    """Where an item of that time belongs among items in the order of their time."""
    if not items or items[-1].created_at <= created_at:
        return len(items)
    return bisect.bisect_right(items, created_at, key=_created_at)


def last_items(
    items: Sequence[ChatItem],
    max_items: int | None,
    max_tokens: int | None,
    count_tokens: Callable[[ChatItem], int] | None,
) -> list[ChatItem]:
    """The last items, by the rules of `ChatContext.truncate`, whose arguments these are."""
    _check_limits(max_items, max_tokens, count_tokens)
    first, behind = _instructions(items)
    start = 0 if max_items is None else max(len(items) - max_items, 0)
    if max_tokens is not None and count_tokens is not None:
        start = _start_within(items, start, range(first, behind), max_tokens, count_tokens)
    if start:
        while start < len(items) and isinstance(items[start], FunctionCall | FunctionCallOutput):
            start += 1
    return [*items[first : min(behind, start)], *items[start:]]


def _check_limits(max_items: object, max_tokens: object, count_tokens: object) -> None:
    check_integer("max_items", max_items, least=0, none="any number")
    check_integer("max_tokens", max_tokens, least=0, none="any number")
    if max_items is None and max_tokens is None:
        raise TypeError("truncate() needs max_items, or max_tokens with count_tokens")
    if (max_tokens is None) != (count_tokens is None):
        raise TypeError(
            "max_tokens and count_tokens need each other: how many tokens an item is worth is "
            "known to the model's tokenizer, not here"
        )
    if count_tokens is not None:
        check_sync_callable("count_tokens", count_tokens)


def _instructions(items: Sequence[ChatItem]) -> tuple[int, int]:
    """Where the instructions that are always kept begin and end."""
    first = next((place for place, item in enumerate(items) if _is_instructions(item)), None)
    if first is None:
        return 0, 0
    behind = first + 1
    if behind < len(items) and items[behind].id == DYNAMIC_INSTRUCTIONS_ID:
        behind += 1
    return first, behind


def _start_within(
    items: Sequence[ChatItem],
    start: int,
    always: range,
    max_tokens: int,
    count_tokens: Callable[[ChatItem], int],
) -> int:
    """How far back the last items fit, from a place on, beside those that are always kept."""

    def tokens_of(item: ChatItem) -> int:
        tokens = not_awaitable("count_tokens", functools.partial(count_tokens, item))
        check_integer("what count_tokens returns", tokens, least=0)
        return tokens

    left = max_tokens - sum(tokens_of(items[place]) for place in always)
    for place in reversed(range(start, len(items))):
        if place not in always:
            left -= tokens_of(items[place])
        if left < 0:
            return place + 1
    return start


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
