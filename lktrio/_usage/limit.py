"""`UsageLimit`: how much may be used before no further request is made.

This module knows the bounds and when one is reached. It does not know what would be asked next.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from lktrio._checks import check_instance, check_integer, is_number, refusal
from lktrio._definitions import Value, public

from .collector import UsageCollector
from .report import UsageCount, UsageReport

__all__ = ["UsageBound", "UsageGuard", "UsageLimit", "UsageLimitExceeded"]

UsageBound: TypeAlias = Literal[
    "requests", "prompt_tokens", "completion_tokens", "total_tokens", "cost"
]
"""The bounds of a `UsageLimit`, by the name that `UsageLimitExceeded.bound` carries."""

_TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_BOUNDS: Final[tuple[UsageBound, ...]] = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
)

_COST: Final = "a number greater than 0, or None for no bound"


@public
class UsageLimitExceeded(Exception):
    """A turn was to make another request, and a bound of its ``usage_limit`` was reached. No
    request has failed: what was said and done before stands in the conversation.

    Args:
        message: What happened, for a person.
        bound: Which bound.
        allowed: What it is.
        used: What was used.
        report: All that was counted.
    """

    message: str
    """What happened, for a person."""

    bound: UsageBound
    """Which bound was reached, by its name."""

    allowed: float
    """What the bound is."""

    used: float
    """What was used of it, as far as it is known."""

    report: UsageReport
    """All that was counted."""

    def __init__(
        self, message: str, *, bound: UsageBound, allowed: float, used: float, report: UsageReport
    ) -> None:
        super().__init__(message)
        self.message = message
        self.bound = bound
        self.allowed = allowed
        self.used = used
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        # Made again without running the keyword-only constructor.
        return Exception.__new__, (type(self), *self.args), dict(self.__dict__)


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class UsageLimit(Value):
    """How much a turn may use. Before each request it is looked at what was used until then; a
    request that is under way is not cut off, so the last one may go past the bound.

    ::

        limit = UsageLimit(total_tokens=50_000, requests=20)
        async with run_turn(llm, chat_ctx=chat_ctx, tools=tools, usage_limit=limit) as turn:
            ...

    What a server does not tell cannot be bounded: then bound the requests, too.

    Raises:
        ValueError: There is no bound, one is out of range, or there is one of cost and no price.
        TypeError: A field has the wrong type.
    """

    requests: int | None = None
    """How many requests to models: each attempt counts, and each that is hedged."""

    prompt_tokens: int | None = None
    """How many tokens of prompts, cached ones included."""

    completion_tokens: int | None = None
    """How many tokens generated, reasoning included."""

    total_tokens: int | None = None
    """How many tokens of prompts and answers together."""

    cost: float | None = None
    """How much it may cost, by the ``price`` of the `collector`."""

    collector: UsageCollector | None = None
    """What counts: everything that it has counted is used, also by other turns. Default: only what
    the turn itself uses."""

    def __attrs_post_init__(self) -> None:
        """Check the fields."""
        for name in ("requests", *_TOKENS):
            check_integer(name, getattr(self, name), least=1, none="no bound")
        if self.cost is not None and not is_number(self.cost):
            raise TypeError(refusal("cost", self.cost, _COST))
        if self.cost is not None and not self.cost > 0:
            raise ValueError(refusal("cost", self.cost, _COST))
        if self.collector is not None:
            check_instance("collector", self.collector, UsageCollector, "a UsageCollector")
        if all(getattr(self, name) is None for name in _BOUNDS):
            raise ValueError(
                "a UsageLimit without a bound allows everything; give one, for example "
                "total_tokens=50_000, or leave usage_limit out"
            )
        if self.cost is not None and (self.collector is None or not self.collector.has_price):
            raise ValueError(
                f"cost={self.cost} needs to know prices; give collector=UsageCollector(price=...)"
            )


class UsageGuard:
    """Looks whether a limit is reached.

    Args:
        limit: The limit.

    Raises:
        TypeError: It is no `UsageLimit`.
    """

    def __init__(self, limit: object) -> None:
        check_instance(
            "usage_limit",
            limit,
            UsageLimit,
            "a UsageLimit",
            "write: usage_limit=UsageLimit(total_tokens=50_000)",
        )
        self._limit = cast("UsageLimit", limit)
        self.collector: UsageCollector = self._limit.collector or UsageCollector()
        """What must be told of the requests."""

    def check(self) -> None:
        """Raise unless another request may be made.

        Raises:
            UsageLimitExceeded: A bound is reached.
        """
        report = self.collector.report
        for bound in _BOUNDS:
            allowed: float | None = getattr(self._limit, bound)
            used = _used(report.total, bound)
            if allowed is not None and used >= allowed:
                raise UsageLimitExceeded(
                    f"no further request is made: {bound}={allowed} is the limit, and {used} have "
                    "been used",
                    bound=bound,
                    allowed=allowed,
                    used=used,
                    report=report,
                )


def _used(total: UsageCount, bound: UsageBound) -> float:
    if bound == "requests":
        return total.requests
    if bound == "cost":
        return total.cost or 0.0
    return 0 if total.usage is None else int(getattr(total.usage, bound))
