"""The rate of requests: when the next one may be sent so that no minute holds too many.

This module decides; it does not wait, and it does not know who asks. Times are those of one clock
that only goes forward.

A minute is any sixty seconds, not one of the clock's: however the server counts, what was sent
within sixty seconds is never more than the limit.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from lktrio._answers import Quota, QuotaUsage

__all__ = ["MINUTE", "Rate", "Share"]

MINUTE: Final = 60.0
"""Seconds for which something counts; a server's word on its quotas is believed as long."""


class Share(NamedTuple):
    """What one request has taken."""

    requests: float
    """All requests that were taken until then, itself included."""

    tokens: float
    """All tokens that were taken until then, its own included."""


class _Window:
    """What was taken of one quota in the last minute, by us and by others.

    Args:
        limit: How much may be taken in a minute.
    """

    def __init__(self, limit: float) -> None:
        self._own_limit = limit
        self._server_limit = math.inf
        self._entries: deque[tuple[float, float]] = deque()
        """When each stops to count, and how much it is."""
        self._taken = 0.0
        self._expired = 0.0
        self._others = 0.0
        self._others_expire = -math.inf
        self._believed = 0.0

    @property
    def limit(self) -> float:
        """How much may be taken in a minute: what was configured, or less by the server's word."""
        return min(self._own_limit, self._server_limit)

    def copy(self) -> _Window:
        """The same, to try out what would be."""
        other = _Window(self._own_limit)
        vars(other).update(vars(self), _entries=self._entries.copy())
        return other

    def used(self, now: float) -> float:
        """How much is taken now."""
        self._expire(now)
        return self._taken - self._expired + self._others

    def ready_at(self, now: float, amount: float) -> float:
        """When so much may be taken, if nothing else is. It may be asked of a later moment."""
        excess = self._taken - self._expired + self._others + amount - self.limit
        ready = now
        for expires, freed in self._expiring():
            if excess <= 0 and expires > now:
                break
            excess -= freed
            ready = max(now, expires)
        # What is more than the server allows at all goes when nothing else counts.
        return ready

    def take(self, now: float, amount: float) -> float:
        """Take so much; return how much was taken ever."""
        self._expire(now)
        self._entries.append((now + MINUTE, amount))
        self._taken += amount
        return self._taken

    def told(self, now: float, quota: QuotaUsage, taken: float) -> None:
        """Believe what the server says of the quota.

        Args:
            now: The time.
            quota: What it says.
            taken: How much had been taken with the request that it answers. What was taken later,
                the server did not know. An earlier request's answer knows less.
        """
        if taken < self._believed or quota.limit <= 0:
            return
        self._expire(now)
        self._believed = taken
        self._server_limit = quota.limit
        self._others = max(0.0, quota.used - max(0.0, taken - self._expired))
        self._others_expire = now + MINUTE

    def _expire(self, now: float) -> None:
        entries = self._entries
        while entries and entries[0][0] <= now:
            self._expired += entries.popleft()[1]
        if self._others_expire <= now:
            self._others = 0.0

    def _expiring(self) -> Iterator[tuple[float, float]]:
        others = [(self._others_expire, self._others)] if self._others else []
        return heapq.merge(self._entries, others)


class Rate:
    """How many requests and tokens were sent in the last minute, and when the next may go.

    Args:
        requests: Requests per minute; `math.inf` for no bound but the server's.
        tokens: Tokens per minute, likewise.
    """

    def __init__(self, requests: float, tokens: float) -> None:
        self._requests = _Window(requests)
        self._tokens = _Window(tokens)
        self.held_until = -math.inf
        """Before this the server wants no request."""

    def used(self, now: float) -> tuple[float, float]:
        """Requests and tokens of the last minute, as far as known also those of others."""
        return self._requests.used(now), self._tokens.used(now)

    def ready_at(self, now: float, tokens: int, ahead: Iterable[int] = ()) -> float:
        """When a request may be sent; `now` if at once.

        Args:
            now: The time.
            tokens: How many tokens it is estimated to take.
            ahead: The tokens of the requests that go before it.
        """
        rate = self
        ready = max(now, self.held_until)
        for each in ahead:
            # They go as soon as they may.
            if rate is self:
                rate = self._copy()
            ready = rate._ready_at(ready, each)
            rate.take(ready, each)
        return rate._ready_at(ready, tokens)

    def _copy(self) -> Rate:
        other = Rate(0, 0)
        other._requests, other._tokens = self._requests.copy(), self._tokens.copy()
        return other

    def _ready_at(self, now: float, tokens: int) -> float:
        # Each may push the moment past where the other had room; then it still has.
        return max(
            self._requests.ready_at(now, 1),
            # One that is estimated to take nothing does not go either where nothing is left.
            self._tokens.ready_at(now, max(tokens, 1)),
        )

    def take(self, now: float, tokens: int) -> Share:
        """A request is sent: count it."""
        return Share(self._requests.take(now, 1), self._tokens.take(now, tokens))

    def told(self, now: float, quota: Quota, share: Share) -> None:
        """The server has told its quotas in the answer to a request, with what that had taken."""
        if quota.rpm is not None:
            self._requests.told(now, quota.rpm, share.requests)
        if quota.tpm is not None:
            self._tokens.told(now, quota.tpm, share.tokens)

    def hold(self, now: float, seconds: float) -> None:
        """The server wants no request for so long. A minute later it is asked again at the
        latest: a quota of a day is no reason to be silent until then."""
        self.held_until = max(self.held_until, now + min(seconds, MINUTE))
