"""The three liberties that are taken with a model's arguments, and no fourth.

A numeric string is taken for a number where a number is wanted, an integral float for an integer,
and the JSON text of an array or object for that where nothing else fits: one layer of it, decoded
by `read_container`. ``"false"`` is not False, 1 is not True, and a number is not a string.

Two things besides are no liberties but how JSON is read: null for a member that has a default
means the default, and a named tuple may be written as an object. That is all that the converter
takes and a schema does not allow; a test holds it to this list.
"""

from __future__ import annotations

import contextvars
import enum
import math
import re
from typing import Any, Final, TypeAlias

from lktrio._json import read_container

__all__ = [
    "Tolerance",
    "Trial",
    "container_of",
    "in_text",
    "read_container",
    "read_integer",
    "read_number",
    "tolerate",
    "trial",
]

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


# --- What was tolerated --------------------------------------------------------------------------


class Tolerance(enum.IntEnum):
    """How much had to be tolerated for a value to fit. A union takes the member with the least."""

    NOTHING = 0
    UNKNOWN_KEYS = 1
    LIBERTIES = 2


Memo: TypeAlias = dict[tuple[int, int], tuple[Any, Any]]
"""What was found of parts of a value: by the part's and the union's identity, the part itself (so
that no other takes its identity), and what was found."""


class Trial:
    """A member of a union is being tried.

    Args:
        memo: What is known of parts of the value from other trials.
    """

    __slots__ = ("memo", "tolerated")

    def __init__(self, memo: Memo) -> None:
        self.memo = memo
        self.tolerated = Tolerance.NOTHING


trial: Final[contextvars.ContextVar[Trial | None]] = contextvars.ContextVar(
    "lktrio_trial", default=None
)
"""The trial that is going on."""


in_text: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar(
    "lktrio_in_text", default=False
)
"""Whether the value comes from JSON text that was in a string: there is one layer of that."""


def container_of(text: str) -> list[Any] | dict[str, Any] | None:
    """The array or object that a string is the text of.

    Args:
        text: A string where an array or object is wanted.

    Returns:
        The array or object. None if the text is none, or was in JSON text itself.
    """
    if in_text.get():
        return None
    current = trial.get()
    if current is None:
        return read_container(text)
    # Decoded once, and kept: the memo knows values by their identity.
    key = id(text), 0
    if key not in current.memo:
        current.memo[key] = text, read_container(text)
    container: list[Any] | dict[str, Any] | None = current.memo[key][1]
    return container


def tolerate(what: Tolerance) -> None:
    """Take note of what is tolerated, if a member of a union is being tried."""
    current = trial.get()
    if current is not None and current.tolerated < what:
        current.tolerated = what
