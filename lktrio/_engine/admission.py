"""What an attempt needs before it may begin: a place among ``max_streams``, and its turn.

This module knows how one stream comes to both, and that nobody holds a place who waits for a turn
by the rate limit. How long it waits is decided by who asks.

Both are had at one moment: who comes to its turn and finds no place free steps aside for those who
do, and keeps its number; who comes to a place before its turn gives it up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from lktrio._wire import HeaderFacts

from .connections import Connections
from .rate_limit import RateQueue, Ticket

if TYPE_CHECKING:
    from lktrio._settings import Share

__all__ = ["Admission"]

_TOO_MANY_REQUESTS = 429


class Admission:
    """One stream's way to its attempts.

    Args:
        connections: Knows the bounds.
        tokens: How many tokens an attempt is estimated to take.
    """

    __slots__ = ("_connections", "_has_place", "_share", "_tokens", "obstacle")

    def __init__(self, connections: Connections, tokens: int) -> None:
        self._connections = connections
        self._tokens = tokens
        self._has_place = False
        self._share: Share | None = None
        self.obstacle = ""
        """What was waited for last, as the beginning of a sentence."""

    async def wait(self) -> None:
        """Wait until an attempt may begin, and take what it needs."""
        rate = self._connections.rate
        if rate is None:
            await self._wait_for_place()
            return
        ticket = rate.ticket(self._tokens)
        while True:
            if not ticket.is_due:
                # Who waits holds no place.
                self.leave()
                await self._wait_for_turn(ticket)
            if self._take_free_place():
                self._share = ticket.take()
                return
            await self._wait_for_place()

    def is_hopeless(self, moment: float, deadline: float) -> bool:
        """Whether an attempt that is wanted at a later moment cannot begin before a deadline."""
        rate = self._connections.rate
        return rate is not None and rate.ready_at(moment, self._tokens) >= deadline

    def leave(self) -> None:
        """Give the place back, if there is one."""
        limiter = self._connections.limiter
        if self._has_place and limiter is not None:
            self._has_place = False
            limiter.release()

    @property
    def rate(self) -> RateQueue | None:
        """Where turns are waited for."""
        return self._connections.rate

    def learn(self, status_code: int, facts: HeaderFacts) -> None:
        """Take from the head of a response what it says of the limits."""
        rate, share = self._connections.rate, self._share
        if rate is None or share is None:
            return
        if facts.quota is not None:
            rate.told(facts.quota, share)
        seconds = facts.exhausted_for
        if status_code == _TOO_MANY_REQUESTS:
            asked = facts.reset_hint if facts.retry_after is None else facts.retry_after
            seconds = asked if seconds is None else max(seconds, asked or 0.0)
        if seconds is not None:
            rate.hold(seconds)

    def _take_free_place(self) -> bool:
        limiter = self._connections.limiter
        if limiter is None or self._has_place:
            return True
        try:
            limiter.acquire_nowait()
        except trio.WouldBlock:
            return False
        self._has_place = True
        return True

    async def _wait_for_place(self) -> None:
        limiter = self._connections.limiter
        assert limiter is not None  # else there would be one
        self.obstacle = "no place among max_streams became free in time"
        await limiter.acquire()
        self._has_place = True

    async def _wait_for_turn(self, ticket: Ticket) -> None:
        connections = self._connections
        self.obstacle = "the rate limit allowed no request in time"
        connections.limited += 1
        try:
            await ticket.due()
        finally:
            connections.limited -= 1
