"""JSON and text that somebody else has written, made fit to be kept, shown and encoded again.

This module knows what cannot be encoded (half a surrogate pair), and how much of a value is kept.
It does not know what the value means.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable
from typing import Final, TypeVar

from .text import MAX_DEPTH, MAX_WALKED_VALUES
from .values import is_array, is_object

__all__ = [
    "clean",
    "decode_text",
    "excerpt",
    "pruned",
    "quote",
    "repair_surrogates",
]

T = TypeVar("T")


def repair_surrogates(text: str) -> str:
    """Join surrogate pairs and replace what stays alone with U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decode_text(data: bytes) -> str:
    """The text that some bytes are, without a byte order mark; what is no UTF-8 is U+FFFD."""
    return data.decode("utf-8-sig", "replace")


def quote(data: bytes, limit: int = 200) -> str:
    """The beginning of some bytes, fit for an error message."""
    text = decode_text(data[: limit + 8])
    return repr(text if len(text) <= limit else text[:limit] + "...")


def clean(value: object) -> object:
    """Copy a JSON value without lone surrogates, so that it can be encoded again.

    What is nested deeper than `MAX_DEPTH` levels, and what comes after `MAX_WALKED_VALUES` values,
    is left out.
    """
    return _Copy(MAX_WALKED_VALUES, math.inf).of(value, MAX_DEPTH)


def excerpt(value: object, *, values: int, characters: int) -> object:
    """Copy as much of a JSON value as has so many values and characters, and clean it."""
    return _Copy(values, characters).of(value, MAX_DEPTH)


def pruned(members: dict[str, object]) -> dict[str, object]:
    """Copy an object without what is nested too deeply in it; surrogates stay as they are."""
    value = _Copy(MAX_WALKED_VALUES, math.inf, repairs=False).of(members, MAX_DEPTH)
    assert is_object(value)
    return value


_PLAIN: Final = frozenset({int, float, bool, type(None)})


class _Copy:
    """Copies a JSON value, or the beginning of it. One frame a level: nothing is nested in it."""

    __slots__ = ("_characters", "_left", "_repairs")

    def __init__(self, values: int, characters: float, *, repairs: bool = True) -> None:
        self._left = values
        self._characters = characters
        self._repairs = repairs

    def of(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self._text(value)
        if is_array(value):
            if not depth:
                return None
            items: list[object] = []
            for item in self._beginning(value):
                is_plain = type(item) in _PLAIN  # as most are
                items.append(item if is_plain else self.of(item, depth - 1))
            return items
        if is_object(value):
            if not depth:
                return None
            members: dict[str, object] = {}
            for key in self._beginning(value):
                members[self._text(key)] = self.of(value[key], depth - 1)
            return members
        return value

    def _text(self, text: str) -> str:
        if len(text) > self._characters:
            text = text[: int(self._characters)]
        self._characters -= len(text)
        return repair_surrogates(text) if self._repairs else text

    def _beginning(self, members: Collection[T]) -> Iterable[T]:
        """As many members as may still be copied."""
        left = max(self._left, 0)
        self._left -= len(members)
        return members if len(members) <= left else itertools.islice(members, left)
