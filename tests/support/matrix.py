"""The cancellation matrix: a scenario is run once for every task step and disturbed there.

This module alone knows how to count the steps of a program and to act between two of them. Trio
runs a task from one checkpoint to the next; such a stretch is a step. Whatever a program does wrong
when it is cancelled, it does at one of them, so trying all of them finds it.

    async def scenario(cut: Cut) -> None:
        async with MemoryNetwork(text("Hi")) as network, network.client() as client:
            with cut.watched(), cut.scope:      # steps count from here; this is what is cancelled
                await client.get("https://gateway.test/")
            network.assert_quiet()              # whatever happened
            await client.get("https://gateway.test/")

    @pytest.mark.parametrize("series", ["before", "after"])
    def test_a_cancel_leaks_nothing(series: Series) -> None:
        sweep(scenario, CANCEL_BLOCK, series)
"""

from __future__ import annotations

import contextvars
import gc
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs
import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from .leaks import no_leaks

T = TypeVar("T")

Series: TypeAlias = Literal["before", "after"]
"""Whether the disturbance comes just before a task is run or just after it."""

_watching: contextvars.ContextVar[Cut | None] = contextvars.ContextVar("watching", default=None)


@attrs.frozen
class Action:
    """A disturbance."""

    name: str
    """What it is called in reports."""

    perform: Callable[[Cut], object] = attrs.field(repr=False)
    """Called between two steps, in no task; must not raise."""

    raises: type[BaseException] | None = None
    """What a run must end with once the action was performed, and ungrouped; None: nothing."""


def _interrupt(_cut: Cut) -> None:
    # Trio's handler passes it on to the main task, at its next checkpoint or at the end of the run.
    signal.raise_signal(signal.SIGINT)


CANCEL_BLOCK = Action("cancel the block", lambda cut: cut.scope.cancel())
"""Cancels `Cut.scope`."""

CANCEL_WAIT = Action("cancel one wait", lambda cut: cut.cancel_wait())
"""Cancels the scope of the innermost `Cut.one_wait()`, if there is one just then."""

INTERRUPT = Action("Ctrl-C", _interrupt, raises=KeyboardInterrupt)
"""Delivers SIGINT."""


def advance(seconds: float) -> Action:
    """Return an action that lets the virtual clock jump, so that the program's own clocks fire."""
    return Action(f"let {seconds} s pass", lambda cut: cut.clock.jump(seconds))


@attrs.define(eq=False)
class Cut(trio.abc.Instrument):
    """One run of a scenario, and the place where it is disturbed."""

    action: Action
    """What happens there."""

    series: Series
    """On which side of the step."""

    step: int
    """At which step, counted from 0 over all watched tasks."""

    clock: MockClock = attrs.field(factory=lambda: MockClock(autojump_threshold=0))
    """The clock of the run (not in use if the sweep is in real time)."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """The scope that `CANCEL_BLOCK` cancels; to be entered by the scenario."""

    fired: bool = False
    """Whether the action was performed."""

    steps: int = 0
    """The steps counted so far."""

    _waits: list[trio.CancelScope] = attrs.field(factory=list[trio.CancelScope])

    @contextmanager
    def watched(self) -> Generator[None, None, None]:
        """Count the steps of the calling task within the block, and of the tasks begun in it."""
        token = _watching.set(self)
        try:
            yield
        finally:
            _watching.reset(token)

    @contextmanager
    def one_wait(self) -> Generator[trio.CancelScope, None, None]:
        """Make a scope around one wait; `CANCEL_WAIT` cancels it."""
        with trio.CancelScope() as scope:
            self._waits.append(scope)
            try:
                yield scope
            finally:
                self._waits.remove(scope)

    def cancel_wait(self) -> None:
        """Cancel the innermost wait, if the program is in one."""
        if self._waits:
            self._waits[-1].cancel()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Part of the `trio.abc.Instrument` interface."""
        if self.series == "before":
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Part of the `trio.abc.Instrument` interface."""
        if self.series == "after":
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if task.context.get(_watching) is not self:
            return
        if self.steps == self.step:
            self.fired = True
            self.action.perform(self)
        self.steps += 1

    def __str__(self) -> str:
        return f"{self.action.name} {self.series} step {self.step}"


@attrs.frozen
class Sweep(Generic[T]):
    """The outcome of a sweep, every run of which was as it must be."""

    steps: int
    """How many steps the undisturbed scenario has."""

    results: tuple[T, ...] = attrs.field(repr=False)
    """What the scenario returned, disturbed run after disturbed run; not those that were raised."""

    undisturbed: T
    """What the scenario returned in the last run, in which nothing happened to it."""


def sweep(
    scenario: Callable[[Cut], Awaitable[T]],
    action: Action,
    series: Series = "before",
    *,
    stride: int = 1,
    virtual_time: bool = True,
    limit: int = 5000,
) -> Sweep[T]:
    """Run a scenario once for every step of its watched tasks, with an action at that step.

    Every run has its own `trio.run`, in which the order of tasks is the same each time; after every
    run nothing may be left (`no_leaks`). The sweep is over with the first run that ends before its
    step has come. A failure has a note that says at which step; `replay` runs that one alone.

    Args:
        scenario: What is run. It enters `cut.watched()` and, for the actions that need it,
            `cut.scope` or `cut.one_wait()`.
        action: What happens at the step.
        series: Whether just before or just after the task is run. Most faults show in "before".
        stride: 1 tries every step; more takes a sample, for scenarios over real sockets.
        virtual_time: Whether time is `cut.clock`'s, which jumps as soon as all tasks wait; not for
            real sockets.
        limit: The most runs.

    Raises:
        LeakError: If a run left something behind.
        AssertionError: If a run did not end as the action demands, or none was without it in
            `limit` runs, or the scenario watches no step.
    """
    results: list[T] = []
    gc.collect()
    # What exists now is no leak of the scenario, and need not be looked at in every run. (Nothing
    # is unfrozen: that would be all that was ever frozen.)
    gc.freeze()
    for step in range(0, limit * stride, stride):
        cut = Cut(action, series, step)
        result = _run(scenario, cut, virtual_time=virtual_time)
        if not cut.steps:
            raise AssertionError("no step was counted: enter cut.watched() in the scenario")
        if not cut.fired:
            return Sweep(cut.steps, tuple(results), result[0])
        results += result
    raise AssertionError(f"the scenario had not come to its end in {limit} runs")


def replay(
    scenario: Callable[[Cut], Awaitable[object]],
    action: Action,
    series: Series,
    step: int,
    *,
    virtual_time: bool = True,
) -> None:
    """Run a scenario with an action at one step, as `sweep` did: for the debugger."""
    _run(scenario, Cut(action, series, step), virtual_time=virtual_time)


def _run(scenario: Callable[[Cut], Awaitable[T]], cut: Cut, *, virtual_time: bool) -> list[T]:
    """Return what the scenario returned; nothing if it raised what the action demands."""

    async def main() -> T:
        with no_leaks():
            return await scenario(cut)

    clock = cut.clock if virtual_time else None
    demanded = cut.action.raises
    try:
        with no_leaks(), same_order_of_tasks():
            result = trio.run(main, clock=clock, instruments=[cut])
        if cut.fired and demanded is not None:
            raise AssertionError(f"it ended without a {demanded.__name__}")
    except BaseException as exc:
        if cut.fired and type(exc) is demanded:
            return []
        exc.add_note(f"in the run with: {cut}")
        raise
    return [result]


@contextmanager
def same_order_of_tasks() -> Generator[None, None, None]:
    """Have Trio run tasks in the same order each time; otherwise it throws dice, on purpose.

    Trio offers this to test tools without a public name: see pytest-trio's plugin.
    """
    names: dict[str, Any] = trio_run.__dict__
    dice, allowed = names["_r"], names["_ALLOW_DETERMINISTIC_SCHEDULING"]
    state = dice.getstate()
    names["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    dice.seed(0)
    try:
        yield
    finally:
        names["_ALLOW_DETERMINISTIC_SCHEDULING"] = allowed
        dice.setstate(state)
