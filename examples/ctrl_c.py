"""Ctrl-C ends an example quietly, at any moment: this is imported before all else.

While its modules are imported there is nothing yet to be closed, and the process just ends. While
the example runs, Ctrl-C is a cancellation like any other, and every block is left in order; who
presses it again does not wait for that.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import trio

T = TypeVar("T")

INTERRUPTED = 130
"""The status of a process that Ctrl-C has ended, as a shell shows it."""


def directory(module: str) -> str:
    """The directory that a module is in; nothing if that is not known."""
    file: str = getattr(sys.modules[module], "__file__", None) or ""
    return file[: -len(file.replace("\\", "/").rpartition("/")[2])]


# A test that imports an example keeps its own Ctrl-C.
if directory("__main__") == directory(__name__):
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_until_ctrl_c(main: Callable[[T], Awaitable[int]], argument: T) -> int:
    """Run an async function on Trio.

    Args:
        main: Is called with the argument.
        argument: What it is called with.

    Returns:
        What it returns, or `INTERRUPTED`.
    """
    import trio

    async def run() -> int:
        status = INTERRUPTED
        async with trio.open_nursery() as nursery:
            await nursery.start(cancel_at_ctrl_c, nursery.cancel_scope)
            status = await main(argument)
            nursery.cancel_scope.cancel()
        return status

    return trio.run(run)


async def cancel_at_ctrl_c(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """Cancel a scope when the user presses Ctrl-C.

    As a `KeyboardInterrupt`, it would be raised wherever the program happens to be: between the
    making of a coroutine and its first step, too, which Python complains about.
    """
    import trio

    with trio.open_signal_receiver(signal.SIGINT) as signals:
        task_status.started()
        await anext(signals)
        scope.cancel()
