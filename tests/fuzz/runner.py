"""Runs a target on many inputs, and says which input breaks it.

This module knows what a finding is and how it is made small. It does not know what is fuzzed, and
does not import it: `guided` must be the first to import the library.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

import attrs

from .mutation import mutate

if TYPE_CHECKING:
    from .targets import Target

__all__ = ["Finding", "Report", "broken_by", "report_on", "run_mutations", "shrink"]

_TOO_SLOW_SECONDS: Final = 10.0
"""CPU time for one input of at most 64 KiB; a hundred times what the slowest takes."""

_SHRINKING_SECONDS: Final = 20.0


class TooSlowError(Exception):
    """An input takes work that is in no proportion to its size."""


@attrs.frozen
class Finding:
    """An input that breaks a target."""

    data: bytes
    """The input, made smaller where that breaks the target in the same way."""

    problem: str
    """The traceback."""


@attrs.frozen
class Report:
    """What came of fuzzing one target."""

    inputs: int
    """How many inputs were tried."""

    finding: Finding | None
    """The first input that broke it."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Interrupt work that does not end. Where there are no such timers, it is not interrupted."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"one input took more than {_TOO_SLOW_SECONDS:g} seconds of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _TOO_SLOW_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def broken_by(run: Callable[[bytes], None], data: bytes) -> Exception | None:
    """What a target raises for an input, if anything."""
    try:
        with _limited():
            run(data)
    except Exception as exc:  # noqa: BLE001  any exception is a finding
        return exc
    return None


def _place(exc: Exception) -> tuple[object, ...]:
    frames = traceback.extract_tb(exc.__traceback__)
    return type(exc), frames[-1].filename, frames[-1].lineno


def shrink(run: Callable[[bytes], None], data: bytes, exc: Exception) -> bytes:
    """Leave out of an input what is not needed to break a target at the same place."""
    deadline = time.monotonic() + _SHRINKING_SECONDS
    size = len(data) // 2
    while size and time.monotonic() < deadline:
        start = 0
        while start < len(data) and time.monotonic() < deadline:
            smaller = data[:start] + data[start + size :]
            other = broken_by(run, smaller)
            if other is not None and _place(other) == _place(exc):
                data = smaller
            else:
                start += size
        size //= 2
    return data


def report_on(run: Callable[[bytes], None], inputs: int, data: bytes, exc: Exception) -> Report:
    """Make the finding of an input that breaks a target."""
    problem = "".join(traceback.format_exception(exc))
    return Report(inputs, Finding(shrink(run, data, exc), problem))


def run_mutations(
    target: Target, *, seed: int, seconds: float | None = None, inputs: int | None = None
) -> Report:
    """Try the seeds and then what `mutate` makes of them, up to a time or a number of inputs."""
    dice = random.Random(seed)
    corpus = list(target.seeds)
    deadline = None if seconds is None else time.monotonic() + seconds
    count = 0
    while (inputs is None or count < inputs) and (deadline is None or time.monotonic() < deadline):
        if count < len(target.seeds):
            data = corpus[count]
        else:
            # Changes of changes get further, but lose what was recorded.
            data = mutate(dice.choice((corpus, target.seeds)), dice)
        count += 1
        exc = broken_by(target.run, data)
        if exc is not None:
            return report_on(target.run, count, data, exc)
        if count % 50 == 0:
            corpus[len(target.seeds) :] = [*corpus[len(target.seeds) :], data][-200:]
    return Report(count, None)
