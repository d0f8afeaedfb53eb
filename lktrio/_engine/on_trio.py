"""Whether this is a Trio program, and what to write if it is not.

This module knows one question. Everything that waits asks it where it begins.
"""

from __future__ import annotations

import trio

__all__ = ["LEFT_BY_A_GENERATOR", "check_on_trio"]

LEFT_BY_A_GENERATOR = (
    "; an async generator that yields inside of the block was not read to its end: make a channel "
    "of it with @trio.as_safe_channel"
)
"""What is added to an error if a block is left in the wrong task by the end of a generator."""


def check_on_trio() -> None:
    """Refuse to begin on another event loop, with words that say what to do.

    Raises:
        RuntimeError: No Trio program is running here.
    """
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        raise RuntimeError(
            "lktrio runs on Trio: start the program with trio.run(main), or with "
            "anyio.run(main, backend='trio'); asyncio will not do"
        ) from None
