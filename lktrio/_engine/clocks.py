"""The clocks of one attempt, and the record of what happened when.

This module knows five clocks and one cancel scope whose deadline is moved. It does not know what
is read, only that bytes, output or the finish reason have come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, cast

import attrs
import trio

from lktrio._answers import APITimeoutError, Attempt, Clock
from lktrio._http import Phase
from lktrio._settings import APIConnectOptions

__all__ = ["AttemptRecord", "Clocks", "timeout_error"]

# A deadline is put off only by at least this much: moving it costs more than reading a chunk.
_DEADLINE_SLACK: Final = 0.001


@attrs.define(eq=False, repr=False)
class AttemptRecord:
    """An attempt in the making."""

    number: int
    started: float
    connected: float | None = None
    sent: float | None = None
    headers: float | None = None
    first_output: float | None = None
    ended: float | None = None
    status_code: int | None = None
    request_id: str | None = None
    resent: int = 0
    error: str | None = None

    def freeze(self, epoch: float) -> Attempt:
        values = attrs.asdict(self)
        for name in ("started", "connected", "sent", "headers", "first_output", "ended"):
            if values[name] is not None:
                values[name] -= epoch
        return Attempt(**values)


class Clocks:
    """The clocks of one attempt, run by one cancel scope whose deadline is moved.

    Args:
        options: How long each may run.
        total: When the total clock runs out.
        record: Is told of the phases.
    """

    def __init__(self, options: APIConnectOptions, total: float, record: AttemptRecord) -> None:
        now = trio.current_time()
        self._timeout = options.timeout
        self._first_output = now + (
            math.inf if options.first_output_timeout is None else options.first_output_timeout
        )
        self._total = total
        self._record = record
        self._phase: Phase = "connect"
        self._ends = now + self._timeout
        self._name: Clock = "connect"
        self._armed = math.inf
        self._scope = trio.CancelScope()
        self._paused_at = now
        self.is_settling = False
        """Whether the finish reason is there."""

    def scope(self) -> trio.CancelScope:
        """A fresh scope with the deadline that is due first."""
        self._armed = self._due()
        self._scope = trio.CancelScope(deadline=self._armed)
        return self._scope

    def observe(self, phase: Phase) -> None:
        """The request enters a phase: its clock starts."""
        now = trio.current_time()
        record = self._record
        if phase == "connect":
            record.connected = None
        elif phase == "write":
            if record.connected is None:
                record.connected = now
        elif record.sent is None:
            record.sent = now
        self._phase = phase
        self._ends = now + self._timeout
        self._arm()

    def heard(self, now: float) -> None:
        """Bytes have arrived: the silence begins anew."""
        self._ends = now + self._timeout
        self._arm()

    def got_output(self, now: float) -> None:
        """The first output is there."""
        self._record.first_output = now
        self._first_output = math.inf

    def settle(self, now: float) -> None:
        """The finish reason is there, and nothing but usage and the end mark is to come. From
        here on a silence is no failure, and comments do not prolong it."""
        self.is_settling = True
        self._ends = now + self._timeout
        self._first_output = math.inf
        self._arm()

    def pause(self, now: float) -> None:
        """The consumer is waited for: no clock runs but the total."""
        self._paused_at = now
        self._ends = math.inf
        paused, self._first_output = self._first_output, math.inf
        self._arm()
        self._first_output = paused

    def resume(self, now: float) -> None:
        """The consumer has come."""
        self._first_output += now - self._paused_at
        self._ends = now + self._timeout
        self._arm()

    def complete(self, now: float) -> None:
        """The answer is whole."""
        self._record.ended = now
        self.stop()

    def limit(self, seconds: float) -> None:
        """Nothing is waited for that takes longer than this, whatever else is due before."""
        self._ends = trio.current_time() + min(seconds, self._timeout)
        self._arm()

    def stop(self) -> None:
        """No clock matters any more."""
        self._armed = self._scope.deadline = math.inf

    def wait_until(self, deadline: float) -> None:
        """Nothing matters but this deadline."""
        self._armed = self._scope.deadline = deadline

    @property
    def is_spent(self) -> bool:
        """Whether the scope's deadline has passed, although what it waited for may have come."""
        return self._scope.cancel_called

    def check_lasting(self, now: float) -> None:
        """Raise if a clock that no byte restarts has run out."""
        for name, ends in (("total", self._total), ("first_output", self._first_output)):
            if now >= ends:
                self._name = cast("Clock", name)
                raise self.timed_out()

    def _due(self) -> float:
        """The deadline that is due first; notes whose it is."""
        deadline, name = self._ends, cast("Clock", self._phase)
        if self._first_output < deadline:
            deadline, name = self._first_output, "first_output"
        if self._total < deadline:
            deadline, name = self._total, "total"
        # The clock that is due may be another one although the deadline stays.
        self._name = name
        return deadline

    def _arm(self) -> None:
        deadline = self._due()
        if not 0 <= deadline - self._armed < _DEADLINE_SLACK:
            self._armed = deadline
            self._scope.deadline = deadline

    def timed_out(self) -> APITimeoutError:
        """The error for the clock that has run out."""
        return timeout_error(self._name)


_TIMEOUT_MESSAGES: Final[Mapping[Clock, str]] = {
    "connect": "connecting took longer than the timeout",
    "write": "the server did not take the request within the timeout",
    "idle": "the server was silent for longer than the timeout",
    "first_output": "no output came within first_output_timeout",
    "total": "the answer took longer than total_timeout",
}


def timeout_error(clock: Clock) -> APITimeoutError:
    """The error for a clock that has run out. The total clock leaves no time for a retry."""
    return APITimeoutError(_TIMEOUT_MESSAGES[clock], clock=clock, retryable=clock != "total")
