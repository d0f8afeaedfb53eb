"""Counts work in place of seconds, so that a test can show that it is linear.

This module alone knows what one unit of work is: a call, of Python or of C, made by the library (or
by anybody, where the library hands the work on).
What a single call of C does with a long text is not seen; a test that fears for it counts the
characters that go in.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import lktrio

PACKAGE = str(Path(inspect.getfile(lktrio)).parent)


def calls_made(action: Callable[[], object], *, by_anybody: bool = False) -> int:
    """How many calls the library, or anybody, makes in an action."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        if event in {"call", "c_call"} and (
            by_anybody or frame.f_code.co_filename.startswith(PACKAGE)
        ):
            count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def assert_linear(make: Callable[[int], Callable[[], object]], size: int) -> None:
    """Twice the size takes about twice the calls.

    Args:
        make: Makes the action for a size.
        size: The smaller of the two sizes that are compared.
    """
    once, twice = calls_made(make(size)), calls_made(make(2 * size))
    assert once >= size, "the action does not do what the test thinks it does"
    assert twice <= 2.05 * once
