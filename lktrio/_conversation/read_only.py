"""The list of items that refuses to be changed.

This module knows what is done to a list that changes it. It knows nothing of a conversation.
"""

from __future__ import annotations

from typing import NoReturn

from .items import ChatItem

__all__ = ["ReadOnlyItems", "refuse_change"]


class ReadOnlyItems(list[ChatItem]):
    """The items of a read-only context."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[list[ChatItem]], tuple[list[ChatItem]]]:
        # Copied and pickled as a list that may be changed: it is filled item by item.
        return list, (list(self),)


def refuse_change(*_: object, **__: object) -> NoReturn:
    """Say that a context is read-only."""
    raise RuntimeError(
        "this chat context is read-only; take a copy with chat_ctx.copy() and change that"
    )


for _name in (
    "__delitem__",
    "__iadd__",
    "__imul__",
    "__setitem__",
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
):
    setattr(ReadOnlyItems, _name, refuse_change)
