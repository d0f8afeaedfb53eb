"""What the program still holds when nothing is under way.

This module alone knows where to look: memory, sockets, tasks, places in pools and limiters.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import attrs
import trio

from lktrio import LLM, TrioTransport
from tests.benchmarks.limits import resident_bytes
from tests.support.leaks import (
    LeakError,
    assert_quiet,
    idle_connections,
    open_sockets,
    running_tasks,
)


@attrs.frozen
class Holdings:
    """A snapshot."""

    resident: int
    """Memory of this process that is in RAM, in bytes; 0 where it cannot be read."""

    blocks: int
    """Blocks of memory that Python has handed out (`sys.getallocatedblocks`)."""

    sockets: int
    """Open sockets, beside those there were at first."""

    pooled: int
    """Connections in the pools of the models."""

    tasks: int
    """Tasks, beside those there were at first."""

    problems: tuple[str, ...]
    """What may not be held: requests in pools, streams, places of limiters, sockets in no pool."""


class Ledger:
    """Looks again and again at what a program holds, beside what it holds now."""

    def __init__(self) -> None:
        gc.collect()
        self._sockets = set(open_sockets())
        self._tasks = set(running_tasks())

    def look(self, llms: list[LLM], *, on_sockets: bool = True) -> Holdings:
        """Look, at a moment in which no stream is under way.

        Args:
            llms: The program's models.
            on_sockets: Whether every connection is a socket.
        """
        gc.collect()
        transports = [_transport_of(llm) for llm in llms]
        pooled = sum(len(idle_connections(one)) + len(one._in_use) for one in transports)
        sockets = set(open_sockets()) - self._sockets
        tasks = set(running_tasks()) - self._tasks
        problems = [f"task {task.name}" for task in tasks]
        if on_sockets and len(sockets) != pooled:
            problems.append(f"{len(sockets)} sockets are open, and {pooled} are in a pool")
        for llm, transport in zip(llms, transports, strict=True):
            try:
                assert_quiet(transport)
            except LeakError as exc:
                problems.append(f"{llm!r}: {exc}")
            statistics = llm.statistics()
            if statistics.streams_open or statistics.streams_waiting:
                problems.append(f"{llm!r}: {statistics}")
            limiter = _limiter_of(llm)
            if limiter is not None and limiter.borrowed_tokens:
                problems.append(f"{llm!r}: {limiter.borrowed_tokens} places are taken")
        return Holdings(
            resident=resident_bytes() or 0,
            blocks=sys.getallocatedblocks(),
            sockets=len(sockets),
            pooled=pooled,
            tasks=len(tasks),
            problems=tuple(problems),
        )


# A program cannot see these, and has no reason to: only a test looks for what is lost there.


def _transport_of(llm: LLM) -> TrioTransport:
    gateway: Any = llm._connections
    transport = gateway._own or gateway._brought
    assert isinstance(transport, TrioTransport)
    return transport


def _limiter_of(llm: LLM) -> trio.CapacityLimiter | None:
    return llm._connections.limiter
