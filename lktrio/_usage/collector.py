"""`UsageCollector`: an instrument that counts what requests have used, each once.

This module knows which requests are made to a model and which by an adapter on the way to one, and
what a request came to. How counts are put together and what follows from them is known elsewhere.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from lktrio._answers import APIError, Attempt, CollectedResponse, CompletionUsage
from lktrio._checks import check_sync_callable, is_number, not_awaitable
from lktrio._definitions import public
from lktrio._instruments import Instrument, LLMMetrics, RequestInfo

from .report import UsageCount, UsageReport, add_counts, add_reports

__all__ = ["UsageCollector"]

logger = logging.getLogger("lktrio")

_Fate: TypeAlias = Literal["answered", "cancelled", "hedged", "failed"]


class _Running:
    """What is known of a request that has not ended."""

    __slots__ = ("begun", "failed", "has_children")

    def __init__(self) -> None:
        self.begun = 0
        self.failed = 0
        self.has_children = False


@public
class UsageCollector(Instrument):
    """Counts what requests have used: each once, by the model that was asked.

    ::

        used = UsageCollector()
        async with LLM("openai/gpt-4.1-mini", instruments=[used]) as llm:
            ...
        print(used.report.total.usage)

    Pass one to the `LLM`, to an adapter, to one call of `ChatModel.chat`, or to `run_turn`; to
    several, if they are to be counted together. Counted is what is sent to a model, below all
    adapters. An adapter's own request is not: what it came to is what its children came to. Nor is
    a request that was ended before anything was begun, for example while it waited for a place.

    What a server does not tell is not known, and not 0: `UsageCount.unknown` says of how many
    requests. Servers seldom tell it of a request that failed or was ended early, although they may
    charge for it.

    Args:
        price: What the tokens of a request cost: given the model that was asked and its tokens, it
            returns a number, in a currency of your choice, or None if it does not know. Not async.
            If it raises, that is logged once for each model, and the cost is not known.

    Raises:
        TypeError: ``price`` cannot be called, or is async.
    """

    def __init__(
        self, *, price: Callable[[str, CompletionUsage], float | None] | None = None
    ) -> None:
        if price is not None:
            check_sync_callable("price", price)
        self._price = price
        self._reports: dict[str, UsageReport] = {}
        self._running: dict[RequestInfo, _Running] = {}
        # Of each adapter's request, the child that had output first. (A child knows its parent.)
        self._first: weakref.WeakKeyDictionary[RequestInfo, weakref.ref[RequestInfo]]
        self._first = weakref.WeakKeyDictionary()
        self._complained: set[str] = set()

    # --- looking --------------------------------------------------------------------------

    @property
    def has_price(self) -> bool:
        """Whether costs are counted."""
        return self._price is not None

    @property
    def report(self) -> UsageReport:
        """What all models together have used since the start, or since `clear`."""
        return add_reports(self._reports.values())

    @property
    def by_model(self) -> Mapping[str, UsageReport]:
        """The same for each model, by its name as it was asked, in the order of first use."""
        return MappingProxyType(dict(self._reports))

    def clear(self) -> None:
        """Begin to count anew. A request that is under way is counted when it ends."""
        self._reports.clear()

    def __repr__(self) -> str:
        return f"<UsageCollector {self.report.total.requests} requests>"

    # --- being told -----------------------------------------------------------------------

    def request_started(self, request: RequestInfo) -> None:
        """A request begins, maybe on behalf of another one."""
        self._running[request] = _Running()
        parent = request.parent
        if parent is None:
            return
        if parent in self._running:
            self._running[parent].has_children = True
        first = self._first_of(parent)
        if first is not None and first not in self._running:
            # It has ended, and another one is asked in its place: no race.
            del self._first[parent]

    def attempt_started(self, request: RequestInfo, number: int) -> None:
        """Something is about to be sent."""
        self._running[request].begun = number

    def attempt_failed(
        self,
        request: RequestInfo,
        attempt: Attempt,
        error: APIError,
        delay: float | None,  # noqa: ARG002 - an instrument is told
    ) -> None:
        """What was sent has come to nothing."""
        running = self._running[request]
        running.failed = attempt.number
        if not _speaks_for_others(request, running):
            self._count("failed", request, attempt, error.partial.usage)

    def first_output(self, request: RequestInfo, seconds: float) -> None:  # noqa: ARG002
        """Of those that were asked for the same answer, this may be the first."""
        while request.parent is not None:
            if self._first_of(request.parent) is None:
                self._first[request.parent] = weakref.ref(request)
            request = request.parent

    def request_finished(
        self,
        request: RequestInfo,
        metrics: LLMMetrics,
        response: CollectedResponse[None] | None,
    ) -> None:
        """A request has ended."""
        running = self._running.pop(request)
        if running.begun == running.failed or _speaks_for_others(request, running):
            return
        fate: _Fate = "answered"
        if response is None:
            fate = "hedged" if self._has_lost(request) else "cancelled"
        self._count(fate, request, metrics.attempts[-1], metrics.usage)

    def _first_of(self, parent: RequestInfo) -> RequestInfo | None:
        first = self._first.get(parent)
        return None if first is None else first()

    def _has_lost(self, request: RequestInfo) -> bool:
        """Whether another one of a race had output before this one, or before the adapter that it
        was made for."""
        while request.parent is not None:
            first = self._first_of(request.parent)
            if first is not None and first is not request:
                return True
            request = request.parent
        return False

    # --- counting -------------------------------------------------------------------------

    def _count(
        self, fate: _Fate, request: RequestInfo, attempt: Attempt, usage: CompletionUsage | None
    ) -> None:
        # A model of the program's own says nothing of sending.
        was_sent = request.base_url is None or attempt.sent is not None
        cost = None if usage is None else self._cost(request.model, usage)
        one = UsageCount(
            requests=1,
            usage=usage,
            unknown=int(usage is None and was_sent),
            cost=cost,
            unpriced=int(self.has_price and usage is not None and cost is None),
        )
        report = self._reports.get(request.model, UsageReport())
        counts = add_counts((getattr(report, fate), one))
        self._reports[request.model] = msgspec.structs.replace(report, **{fate: counts})

    def _cost(self, model: str, usage: CompletionUsage) -> float | None:
        if self._price is None:
            return None
        try:
            cost: object = not_awaitable("price", partial(self._price, model, usage))
            if cost is None or (is_number(cost) and math.isfinite(cost)):
                return cost
            raise TypeError(f"price must return a number or None, not {cost!r}")
        except Exception:
            # An instrument that raises is not called any more, and the tokens are to be counted.
            if model not in self._complained:
                self._complained.add(model)
                logger.exception("price gave no cost for %s; it is not known", model)
            return None


def _speaks_for_others(request: RequestInfo, running: _Running) -> bool:
    """Whether a request is an adapter's: it has no server, but others were made on its behalf."""
    return request.base_url is None and running.has_children
