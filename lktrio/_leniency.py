"""The three liberties that are taken with a model's arguments, and no fourth.

A numeric string is taken for a number where a number is wanted, an integral float for an integer,
and the JSON text of an array or object for that where nothing else fits: one layer of it, decoded
by `read_container`. ``"false"`` is not False, 1 is not True, and a number is not a string.
"""

from __future__ import annotations

import math
import re
from typing import Final

from ._arguments import read_container

__all__ = ["read_container", "read_integer", "read_number"]

_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


def read_number(value: object) -> int | float | None:
    """Read a number, or the text of one.

    Args:
        value: A JSON value.

    Returns:
        The number: an int if that is how it is written. None if it is none, or not finite.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            try:
                return int(text)
            except ValueError:  # more digits than Python converts
                return None
        if not _NUMBER.fullmatch(text):
            return None
        value = float(text)
    if isinstance(value, int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def read_integer(value: object) -> int | None:
    """Read an integer, an integral float, or the text of either.

    Args:
        value: A JSON value.

    Returns:
        The integer; None if it is none.
    """
    number = read_number(value)
    if isinstance(number, float):
        return int(number) if number.is_integer() else None
    return number
