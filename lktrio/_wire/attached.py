"""What a provider attaches to an answer or to a call (``extra_content``): merged, weighed, copied.

This module knows how much memory it takes. It does not know what any of it means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lktrio._json import is_list, is_object

__all__ = ["VALUE_WEIGHT", "copy_extra", "map_texts", "merge_extra", "weight"]


def merge_extra(target: dict[str, object], extra: dict[str, object]) -> int:
    """Merge what a provider attached into what it attached before, one level deep.

    Returns:
        By how many characters the target has grown.
    """
    grown = 0
    for key, value in extra.items():
        known: object = target.get(key)
        if is_object(known) and is_object(value):
            for name, item in value.items():
                grown += _put(known, name, item)
        else:
            # A copy, because the next merge changes it.
            grown += _put(target, key, dict(value) if is_object(value) else value)
    return grown


def _put(target: dict[str, object], key: str, value: object) -> int:
    before = weight(target[key]) if key in target else -len(key) - VALUE_WEIGHT
    target[key] = value
    return weight(value) - before


VALUE_WEIGHT: Final = 32
"""Without it, an answer could hold a value for each character that it may have."""


def weight(value: object) -> int:
    """About how many characters of text take as much memory as a JSON value."""
    total = 0
    rest = [value]
    while rest:
        item = rest.pop()
        total += VALUE_WEIGHT
        if isinstance(item, str):
            total += len(item)
        elif is_list(item):
            rest += item
        elif is_object(item):
            rest += item
            rest += item.values()
    return total


def copy_extra(extra: dict[str, object]) -> dict[str, object]:
    """Copy what was merged, so that a later merge does not change it."""
    return {key: dict(value) if is_object(value) else value for key, value in extra.items()}


def map_texts(value: object, change: Callable[[str], str]) -> object:
    """Copy a JSON value, with every text in it changed. It is not deep."""
    if isinstance(value, str):
        return change(value)
    if is_list(value):
        return [map_texts(item, change) for item in value]
    if is_object(value):
        return {change(name): map_texts(member, change) for name, member in value.items()}
    return value
