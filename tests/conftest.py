"""Hooks and fixtures of pytest that all tests share."""

from __future__ import annotations

import gc
import signal

import pytest

# A shell that starts a program in the background may have it ignore Ctrl-C, which is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> None:
    """Take what exists before a module's tests out of the garbage collector's sight.

    It is no leak of theirs, and every search for leaks would look at each object: half a million,
    mostly pytest's. (Never unfreeze: that concerns all that was ever frozen.)
    """
    gc.collect()
    gc.freeze()
