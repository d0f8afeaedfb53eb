"""`RateLimit`: requests wait for their turn, so that a minute holds no more of them than it may.

This module knows who waits, in which order, and until when. How many may be sent when is decided
by `Rate`, and what else a request needs to begin is known elsewhere.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from lktrio._answers import Quota
from lktrio._checks import check_integer, check_sync_callable, is_number, kind_of, not_awaitable
from lktrio._definitions import public
from lktrio._instruments import RequestInfo

if TYPE_CHECKING:
    from lktrio._settings import Rate, Share

__all__ = ["RateLimit", "RateLimitStatistics", "RateQueue", "Ticket", "queue_of"]


@public
class RateLimitStatistics(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """A snapshot of a `RateLimit`."""

    requests_used: float
    """Requests of the last 60 seconds: those that were sent under this limit, and those of others
    that the server has told of."""

    tokens_used: float
    """Tokens of the last 60 seconds: those that were estimated, and those of others."""

    waiting: int
    """Requests that wait for their turn."""

    held_for: float
    """Seconds for which no request is sent, because the server has said that a limit is used up; 0
    if it has not."""


class Ticket:
    """A request's place in the order of arrival. It is in the queue only while it waits there.

    Args:
        queue: The queue.
        number: How many came before.
        tokens: How many tokens the request is estimated to take.
    """

    __slots__ = ("_news", "_queue", "number", "tokens")

    def __init__(self, queue: RateQueue, number: int, tokens: int) -> None:
        self._queue = queue
        self._news: trio.Event | None = None
        self.number = number
        self.tokens = tokens

    @property
    def is_due(self) -> bool:
        """Whether the request may be sent now: there is room, and nobody who came earlier waits."""
        return self._due_at() <= trio.current_time()

    async def due(self) -> None:
        """Wait until it may. From there to `take` nothing may be awaited."""
        queue = self._queue
        queue.join(self)
        try:
            while not self.is_due:
                self._news = trio.Event()
                with trio.move_on_at(self._due_at()):
                    await self._news.wait()
        finally:
            queue.leave(self)

    def wake(self) -> None:
        """Something has changed: look again."""
        if self._news is not None:
            self._news.set()

    def take(self) -> Share:
        """The request is sent now."""
        return self._queue.rate.take(trio.current_time(), self.tokens)

    def _due_at(self) -> float:
        if self._queue.has_earlier(self.number):
            return math.inf
        return self._queue.rate.ready_at(trio.current_time(), self.tokens)


class RateQueue:
    """Where the requests of one or several `LLM` wait for their turn.

    Args:
        rate: Decides who may go when.
        most_tokens: How many tokens a request may take at most.
        estimate: Tells how many one takes; None if nobody counts them.
    """

    def __init__(
        self,
        rate: Rate,
        *,
        most_tokens: float = math.inf,
        estimate: Callable[[RequestInfo], float] | None = None,
    ) -> None:
        self.rate = rate
        self._most_tokens = most_tokens
        self._estimate = estimate
        self._tickets: list[Ticket] = []
        self._numbers = itertools.count()
        self._run: object = None

    def open(self) -> None:
        """An `LLM` is entered that this is for.

        Raises:
            RuntimeError: It has been used in another Trio run, whose clock was another one.
        """
        run = trio.lowlevel.current_trio_token()
        if self._run is not None and self._run is not run:
            raise RuntimeError(
                "this RateLimit belongs to another trio.run; make one of its own in each run"
            )
        self._run = run

    def estimate(self, request: RequestInfo) -> int:
        """How many tokens a request takes.

        Raises:
            TypeError: What was to estimate it returned no number.
            ValueError: It returned one that makes no sense, or more than a minute has room for.
        """
        if self._estimate is None:
            return 0
        given: object = not_awaitable("estimate_tokens", partial(self._estimate, request))
        if not is_number(given):
            raise TypeError(f"estimate_tokens must return a number of tokens, not {kind_of(given)}")
        if not 0 <= given < math.inf:
            raise ValueError(f"estimate_tokens must return a number of tokens, not {given}")
        if given > self._most_tokens:
            raise ValueError(
                f"a request of {given} tokens, by estimate_tokens, never fits into "
                f"tokens_per_minute={self._most_tokens:.0f}; shorten the conversation, or raise "
                "the limit"
            )
        return math.ceil(given)

    def ticket(self, tokens: int) -> Ticket:
        """A request arrives."""
        return Ticket(self, next(self._numbers), tokens)

    def ready_at(self, moment: float, tokens: int) -> float:
        """When a request may go that arrives at a later moment, if all who wait now go before."""
        return self.rate.ready_at(moment, tokens, [each.tokens for each in self._tickets])

    def told(self, quota: Quota, share: Share) -> None:
        """The server has told its quotas, in the answer to a request with this share."""
        self.rate.told(trio.current_time(), quota, share)
        self._wake_first()

    def hold(self, seconds: float) -> None:
        """The server wants no request for so long."""
        self.rate.hold(trio.current_time(), seconds)

    def join(self, ticket: Ticket) -> None:
        """A request waits: behind all who came before it."""
        bisect.insort(self._tickets, ticket, key=_number)

    def leave(self, ticket: Ticket) -> None:
        """It does not wait any more."""
        self._tickets.remove(ticket)
        self._wake_first()

    def has_earlier(self, number: int) -> bool:
        """Whether somebody waits who came before."""
        return bool(self._tickets) and self._tickets[0].number < number

    def _wake_first(self) -> None:
        if self._tickets:
            self._tickets[0].wake()

    def statistics(self) -> RateLimitStatistics:
        """What is used, and who waits."""
        # Outside of Trio nothing has been sent.
        now = trio.current_time() if self._run is not None else 0.0
        requests, tokens = self.rate.used(now)
        return RateLimitStatistics(
            requests_used=requests,
            tokens_used=tokens,
            waiting=len(self._tickets),
            held_for=max(0.0, self.rate.held_until - now),
        )


def _number(ticket: Ticket) -> int:
    return ticket.number


@public
class RateLimit:
    """How many requests may be sent in a minute, and how many tokens.

    ::

        limit = RateLimit(60)
        async with LLM("openai/gpt-4.1-mini", rate_limit=limit) as llm:
            ...

    Requests wait for their turn, in the order in which they came, so that no 60 seconds hold more
    of them than the limit. Several `LLM` may share one, where they share the server's quota. Every
    attempt counts: a retry and a hedged request, too. One that was sent counts for a minute,
    whatever becomes of it; one that is cancelled while it waits does not.

    What the server says slows it down further: its quotas (`Quota`; what others have used of them
    counts as well), ``Retry-After`` of a 429, and ``x-ratelimit-remaining-*`` of 0, for as long as
    it says, a minute at most.

    The wait runs on the clocks of the first output and in total, like that for a place of
    ``max_streams``, which nobody holds who waits here. If there is no time left for the wait before
    a second attempt, the first one's error is raised.

    Args:
        requests_per_minute: How many requests; None for as many as the server allows by its quota.
        tokens_per_minute: How many tokens, those of the answers included, by ``estimate_tokens``.
        estimate_tokens: Tells how many tokens a request takes. Called by `ChatModel.chat` with the
            request, and what it raises is raised there. Not async.

    Raises:
        ValueError: A limit is less than 1, or there is one of tokens that nobody estimates.
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        requests_per_minute: int | None = None,
        *,
        tokens_per_minute: int | None = None,
        estimate_tokens: Callable[[RequestInfo], float] | None = None,
    ) -> None:
        check_integer("requests_per_minute", requests_per_minute, least=1, none="no limit")
        check_integer("tokens_per_minute", tokens_per_minute, least=1, none="no limit")
        if estimate_tokens is not None:
            check_sync_callable("estimate_tokens", estimate_tokens)
        elif tokens_per_minute is not None:
            raise ValueError(
                f"tokens_per_minute={tokens_per_minute} needs estimate_tokens: a function that is "
                "given a RequestInfo and returns how many tokens the request takes"
            )
        from lktrio._settings import Rate

        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        most_tokens = math.inf if tokens_per_minute is None else tokens_per_minute
        self._queue = RateQueue(
            Rate(math.inf if requests_per_minute is None else requests_per_minute, most_tokens),
            most_tokens=most_tokens,
            estimate=estimate_tokens,
        )

    @property
    def requests_per_minute(self) -> int | None:
        """How many requests; None for no limit but the server's."""
        return self._requests

    @property
    def tokens_per_minute(self) -> int | None:
        """How many tokens; None for no limit but the server's."""
        return self._tokens

    def statistics(self) -> RateLimitStatistics:
        """What has been used of it, and who waits."""
        return self._queue.statistics()

    def __repr__(self) -> str:
        return f"<RateLimit {self._requests} requests, {self._tokens} tokens per minute>"


def queue_of(rate_limit: RateLimit) -> RateQueue:
    """Where the requests under a limit wait."""
    return rate_limit._queue  # pyright: ignore[reportPrivateUsage]
