"""Is anything left? This module alone knows where leftovers of a program can be seen.

Trio tasks, open sockets, async generators that are suspended in the middle, warnings and errors
that Python reports when it collects an object (`sys.unraisablehook`), slots of httpx's pool.
"""

from __future__ import annotations

import gc
import os
import socket
import stat
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import AsyncGeneratorType, TracebackType
from typing import Any, Self

import trio

from lktrio.testing._http import LeakError, assert_quiet, idle_connections
from lktrio.testing._server import in_background

__all__ = [
    "LeakError",
    "assert_quiet",
    "idle_connections",
    "in_background",
    "no_leaks",
    "open_sockets",
    "running_tasks",
    "suspended",
]


class no_leaks:  # noqa: N801 - read as a statement: `with no_leaks():`
    """Fail with a `LeakError` if the block leaves anything behind that was not there before.

        async def test_a_break_closes_the_stream() -> None:
            with no_leaks():
                async with network.client() as client:
                    ...

    Inside a Trio run it looks for tasks, suspended async generators, open sockets, and warnings and
    errors reported by the garbage collector; outside of one (around `trio.run`) it cannot see tasks
    and generators, because Trio ends them silently at the end of a run. Tasks of scripted servers
    do not count, sockets of a `LoopbackServer` do: put it around the server. A failure of the
    block itself stays visible as the context of the `LeakError`.

    Args:
        allow: Called with the description of each leftover; True lets it pass.
    """

    def __init__(self, *, allow: Callable[[str], bool] = lambda _leftover: False) -> None:
        self._allow = allow
        self._stack = ExitStack()
        self._reported: list[str] = []
        self._tasks: set[trio.lowlevel.Task] = set()
        self._sockets: dict[int, str] = {}
        self._generators: weakref.WeakSet[AsyncGeneratorType[Any, Any]] = weakref.WeakSet()

    def __enter__(self) -> Self:
        gc.collect()  # what was left before is not ours
        with ExitStack() as stack:
            # A ResourceWarning in a finaliser reaches the hook below only as an error.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("error", ResourceWarning)
            stack.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
            sys.unraisablehook = self._report
            if trio.lowlevel.in_trio_run():
                stack.callback(_set_asyncgen_hooks, *sys.get_asyncgen_hooks())
                self._watch_generators()
            self._tasks = set(running_tasks())
            self._sockets = open_sockets()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            found = [leftover for leftover in self._leftovers() if not self._allow(leftover)]
        if found:
            raise LeakError("left behind:\n" + "\n".join(f"- {leftover}" for leftover in found))

    def _leftovers(self) -> Iterable[str]:
        # Looked at before collecting: a collected generator is reported by its finaliser instead.
        for generator in suspended(self._generators):
            code = generator.ag_code
            place = f"{code.co_filename}:{code.co_firstlineno}"
            yield f"suspended async generator {generator.__qualname__} ({place})"
        for task in running_tasks():
            if task not in self._tasks:
                yield f"task {task.name}"
        gc.collect()
        for inode, description in open_sockets().items():
            if inode not in self._sockets:
                yield f"socket {description}"
        yield from self._reported

    def _report(self, unraisable: Any) -> None:
        kind = type(unraisable.exc_value).__name__
        self._reported.append(f"{kind} while collecting: {unraisable.exc_value}")

    def _watch_generators(self) -> None:
        trio_hook = sys.get_asyncgen_hooks().firstiter

        def firstiter(generator: AsyncGenerator[Any, Any]) -> None:
            if isinstance(generator, AsyncGeneratorType):
                self._generators.add(generator)
            if trio_hook is not None:
                trio_hook(generator)

        sys.set_asyncgen_hooks(firstiter=firstiter)


def _set_asyncgen_hooks(firstiter: Any, finalizer: Any) -> None:
    sys.set_asyncgen_hooks(firstiter=firstiter, finalizer=finalizer)


def suspended(
    generators: Iterable[AsyncGeneratorType[Any, Any]],
) -> list[AsyncGeneratorType[Any, Any]]:
    """Return those async generators that were begun, and neither exhausted nor closed."""
    return [generator for generator in generators if generator.ag_frame is not None]


def running_tasks() -> list[trio.lowlevel.Task]:
    """Return the tasks of the current Trio run; empty outside of a run.

    Its root task and the tasks of scripted servers are left out.
    """
    if not trio.lowlevel.in_trio_run():
        return []
    root = trio.lowlevel.current_root_task()
    tasks: list[trio.lowlevel.Task] = []
    pending = [] if root is None else [task for n in root.child_nurseries for task in n.child_tasks]
    while pending:
        task = pending.pop()
        if task.context.get(in_background):
            continue
        tasks.append(task)
        pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return tasks


def open_sockets() -> dict[int, str]:
    """Return the sockets this process has open, inode to description (POSIX only, else empty)."""
    sockets: dict[int, str] = {}
    try:
        descriptors = [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:  # pragma: no cover
        return {}
    for descriptor in descriptors:
        with suppress(OSError):  # the descriptor of the listing itself is gone by now
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode):
                sockets[status.st_ino] = f"{descriptor} {_addresses(descriptor)}"
    return sockets


def _addresses(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        try:
            return f"{copy.getsockname()} -> {copy.getpeername()}"
        except OSError:
            return f"{copy.getsockname()}"
