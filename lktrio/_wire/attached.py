"""What a provider attaches to an answer or to a call (``extra_content``): merged, weighed, copied.

This module knows how much memory it takes. It does not know what any of it means.
"""

from __future__ import annotations

from typing import Final

from lktrio._json import is_list, is_object

__all__ = ["VALUE_WEIGHT", "copy_extra", "merge_extra"]


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
    before = _weight(target[key]) if key in target else -len(key) - VALUE_WEIGHT
    target[key] = value
    return _weight(value) - before


VALUE_WEIGHT: Final = 32
"""Without it, an answer could hold a value for each character that it may have."""


def _weight(value: object) -> int:
    """About how many characters of text take as much memory as a JSON value."""
    weight = 0
    rest = [value]
    while rest:
        item = rest.pop()
        weight += VALUE_WEIGHT
        if isinstance(item, str):
            weight += len(item)
        elif is_list(item):
            rest += item
        elif is_object(item):
            rest += item
            rest += item.values()
    return weight


def copy_extra(extra: dict[str, object]) -> dict[str, object]:
    """Copy what was merged, so that a later merge does not change it."""
    return {key: dict(value) if is_object(value) else value for key, value in extra.items()}
