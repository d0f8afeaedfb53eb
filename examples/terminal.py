"""What an example shows on a terminal, and nowhere else: colours, and how long it has waited."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
UNNOTICED = 0.4
"""Seconds that nobody minds to wait."""


def is_terminal() -> bool:
    """Whether the output goes to one that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str) -> str:
    """Colour a text, unless the user wants no colours (https://no-color.org)."""
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def printable(text: str) -> str:
    """What may be drawn of a text: what a model writes must not move the cursor."""
    return "".join(filter(str.isprintable, text))


class timed(Generic[T]):  # noqa: N801 - used like a function
    """Iterate over an answer, and show how long its first part takes.

    To give up a wait loses nothing of an answer, so it can be waited for in small steps.

    Args:
        parts: A stream, its text, a turn.
        what: What is waited for.
    """

    def __init__(self, parts: AsyncIterator[T], what: str = "") -> None:
        self._parts = parts
        self._what = f"{what} " if what else ""
        self._has_begun = not is_terminal()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._has_begun:
            return await anext(self._parts)
        self._has_begun = True
        began = trio.current_time()
        with trio.move_on_after(UNNOTICED):
            return await anext(self._parts)
        try:
            while True:
                shown = paint(f"{self._what}{trio.current_time() - began:.1f} s", "dim")
                # The cursor is put back, so that the next output covers this.
                print(f"\x1b7{shown}\x1b[K\x1b8", end="", flush=True)
                with trio.move_on_after(0.1):
                    return await anext(self._parts)
        finally:
            print("\x1b[K", end="", flush=True)
