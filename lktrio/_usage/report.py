"""What was used, as values: how many requests, what became of them, their tokens, and their cost.

This module knows how counts are put together, and that what is not known is not 0. Where they come
from is known elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import msgspec

from lktrio._answers import CompletionUsage, add_usage
from lktrio._definitions import public

__all__ = ["UsageCount", "UsageReport", "add_counts", "add_reports"]


@public
class UsageCount(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """Some requests, and what is known of their tokens and cost."""

    requests: int = 0
    """How many. Of those that failed, each attempt is one."""

    usage: CompletionUsage | None = None
    """Their tokens together, as far as servers have told; None if none has."""

    unknown: int = 0
    """Of how many the server has told no tokens, although the request had reached it."""

    cost: float | None = None
    """What the tokens in `usage` cost, by ``price``; None if there is no such number."""

    unpriced: int = 0
    """Of how many the tokens are known, and ``price`` has given no number."""


@public
class UsageReport(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """What was used, by what became of the requests."""

    answered: UsageCount = UsageCount()
    """Requests whose answer came whole."""

    cancelled: UsageCount = UsageCount()
    """Requests that the program has ended before the answer was whole."""

    hedged: UsageCount = UsageCount()
    """Requests that were ended because another one of the same `HedgeAdapter` had output first."""

    failed: UsageCount = UsageCount()
    """Attempts that have failed, those that were followed by another one included."""

    @property
    def total(self) -> UsageCount:
        """All of them together."""
        return add_counts((self.answered, self.cancelled, self.hedged, self.failed))


def add_counts(counts: Iterable[UsageCount]) -> UsageCount:
    """Several counts as one."""
    return reduce(_add, counts, UsageCount())


def _add(one: UsageCount, other: UsageCount) -> UsageCount:
    costs = [each for each in (one.cost, other.cost) if each is not None]
    return UsageCount(
        requests=one.requests + other.requests,
        usage=add_usage(one.usage, other.usage),
        unknown=one.unknown + other.unknown,
        cost=sum(costs) if costs else None,
        unpriced=one.unpriced + other.unpriced,
    )


def add_reports(reports: Iterable[UsageReport]) -> UsageReport:
    """Several reports as one."""
    known = tuple(reports)
    return UsageReport(
        answered=add_counts(each.answered for each in known),
        cancelled=add_counts(each.cancelled for each in known),
        hedged=add_counts(each.hedged for each in known),
        failed=add_counts(each.failed for each in known),
    )
