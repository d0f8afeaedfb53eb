"""Hooks of pytest that all tests share."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Take what exists before the first test out of the garbage collector's sight.

    That is half a million objects, mostly pytest's, and every search for leaks would look at each.
    """
    gc.collect()
    gc.freeze()
