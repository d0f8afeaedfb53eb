"""Which models of a `FallbackAdapter` have failed lately, and which is asked next.

This module knows what the streams of one adapter share. What a stream does with it is known to
`_fallback`.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
import msgspec
import trio

from lktrio._answers import APIError, APIStatusError
from lktrio._checks import not_awaitable
from lktrio._definitions import public
from lktrio._engine import ChatModel

__all__ = ["AvailabilityChangedEvent", "AvailabilityHook", "ModelAvailability", "ModelPool"]

logger = logging.getLogger("lktrio")

_LONGEST_PAUSE: Final = 24 * 60 * 60.0
"""Seconds for which a server's ``Retry-After`` keeps its model out, at most: one wrong header must
not do it for ever."""


@public
class ModelAvailability(msgspec.Struct, frozen=True, weakref=True):
    """What a `FallbackAdapter` knows of one of its models."""

    llm: ChatModel
    """The model."""

    available: bool
    """False from a failure to the next answer."""

    retry_at: float | None = None
    """From when on a request tries it again, by `trio.current_time`; None while it is
    available."""

    last_error: APIError | None = None
    """The failure; None while it is available."""


@public
class AvailabilityChangedEvent(msgspec.Struct, frozen=True, weakref=True):
    """A model of a `FallbackAdapter` has failed, or answers again."""

    llm: ChatModel
    """The model."""

    available: bool
    """Whether it answers."""


AvailabilityHook: TypeAlias = Callable[[AvailabilityChangedEvent], object]
"""Is told when a model fails or answers again."""


@attrs.define
class Health:
    """One model's state, which all streams of an adapter share."""

    available: bool = True
    retry_at: float = -math.inf
    last_error: APIError | None = None
    on_trial: bool = False
    """Whether a request is trying the model again."""

    def is_usable(self, now: float) -> bool:
        """Whether a new request may go to this model before all others have failed."""
        return self.available or (now >= self.retry_at and not self.on_trial)


class ModelPool:
    """The models and their states."""

    def __init__(
        self,
        models: tuple[ChatModel, ...],
        *,
        cooldown: float,
        sticky: bool,
        on_change: AvailabilityHook | None,
    ) -> None:
        self.models = models
        self.health = [Health() for _ in models]
        self._cooldown = cooldown
        self._sticky = sticky
        self._on_change = on_change
        self._preferred = 0

    def choose(self, tried: frozenset[int] = frozenset()) -> int | None:
        """Whom to ask next: the first that has not failed lately, or else the first. None if all
        have been tried."""
        now = trio.current_time() if trio.lowlevel.in_trio_run() else -math.inf
        # A stable sort: the preferred one, then the others in their order.
        order = sorted(range(len(self.models)), key=lambda index: index != self._preferred)
        untried = [index for index in order if index not in tried]
        usable = [index for index in untried if self.health[index].is_usable(now)]
        return next(iter(usable or untried), None)

    def works(self, index: int) -> None:
        """A model has given output, or a whole answer."""
        health = self.health[index]
        health.retry_at, health.last_error = -math.inf, None
        if self._sticky:
            self._preferred = index
        if not health.available:
            health.available = True
            self._tell(index)

    def failed(self, index: int, error: APIError) -> None:
        """A model has failed in a way that may last."""
        health = self.health[index]
        pause = self._cooldown
        if isinstance(error, APIStatusError) and error.retry_after is not None:
            pause = max(pause, min(error.retry_after, _LONGEST_PAUSE))
        health.retry_at, health.last_error = trio.current_time() + pause, error
        if health.available:
            health.available = False
            self._tell(index)

    def _tell(self, index: int) -> None:
        model, available = self.models[index], self.health[index].available
        logger.info("%s %s", model.model, "answers again" if available else "has failed")
        if self._on_change is None:
            return
        try:
            event = AvailabilityChangedEvent(model, available)
            not_awaitable("on_availability_changed", functools.partial(self._on_change, event))
        except Exception:
            # A listener must not cost the caller the answer.
            logger.exception("on_availability_changed raised an exception")
