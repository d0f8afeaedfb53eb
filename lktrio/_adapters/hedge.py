"""`HedgeAdapter`: a second request where the first is slow; the first output wins.

This module knows when another request is started, who wins, and how many requests may be hedged.
How a stream is run inside another one is known elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import attrs
import msgspec
import trio
from trio.lowlevel import enable_ki_protection

from lktrio._answers import APIError, ChatChunk, CompletionUsage, add_usage
from lktrio._checks import check_seconds, check_share, check_sync_callable, not_awaitable
from lktrio._definitions import public
from lktrio._engine import (
    MAX_UNDELIVERED_BYTES,
    ChatCall,
    ChatModel,
    ChunkSink,
    LLMStream,
    call_on_output,
    forget_locals,
    outer_stream,
    weight,
)
from lktrio._http import raise_bare
from lktrio._instruments import Instrument
from lktrio._settings import APIConnectOptions, call_conn_options

from .children import (
    Adapter,
    AdapterSource,
    another_model_may_help,
    check_models,
    combine_errors,
    is_output,
    prewarm_all,
    result_of,
    the_same_model_may_help,
)

__all__ = ["HedgeAdapter", "HedgeStatistics"]

_MOST_SAVED: Final = 10.0
_ROUNDING: Final = 1e-9


@public
class HedgeStatistics(msgspec.Struct, frozen=True, weakref=True):
    """A snapshot of what a `HedgeAdapter` has done."""

    streams: int = 0
    """Streams that have been entered."""

    hedges: int = 0
    """Requests that were started beside, or after, a stream's first one."""

    hedges_won: int = 0
    """Streams that were answered by such a request."""

    hedges_denied: int = 0
    """Such requests that were not made because the budget was used up."""

    abandoned: int = 0
    """Requests whose answer was not used: they failed, or another one was first."""

    abandoned_usage: CompletionUsage | None = None
    """Tokens of these, as far as the servers had told when they were given up, which they seldom
    have; None if none has."""


class _Budget:
    """How many requests may be hedged: a share, saved up to a bound.

    Every stream earns the share, and every hedge costs 1. The account begins with what the first
    stream needs, so of the first n streams ``1 + share * (n - 1)`` hedges may be made, at most.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = 1.0 - share if share else 0.0

    def earn(self) -> None:
        """A stream begins."""
        self._saved = min(self._saved + self._share, _MOST_SAVED)

    def spend(self) -> bool:
        """Pay for a hedge; False if there is not enough."""
        if self._saved < 1 - _ROUNDING:
            return False
        self._saved -= 1
        return True


class _Counts:
    """What the streams of one adapter share: the budget and the counts."""

    def __init__(self, share: float) -> None:
        self._budget = _Budget(share)
        self.counts = HedgeStatistics()

    def stream_begins(self) -> None:
        """A stream was entered."""
        self._budget.earn()
        self._count(streams=1)

    def may_hedge(self) -> bool:
        """Whether one more request may be made; if so, it is counted."""
        if self._budget.spend():
            self._count(hedges=1)
            return True
        self._count(hedges_denied=1)
        return False

    def hedge_won(self) -> None:
        """A stream is answered by another request than its first."""
        self._count(hedges_won=1)

    def abandoned(self, usage: CompletionUsage | None) -> None:
        """A request has ended whose answer is not used."""
        self._count(abandoned=1)
        total = add_usage(self.counts.abandoned_usage, usage)
        self.counts = msgspec.structs.replace(self.counts, abandoned_usage=total)

    def _count(self, **counts: int) -> None:
        self.counts = msgspec.structs.replace(
            self.counts,
            **{name: getattr(self.counts, name) + number for name, number in counts.items()},
        )


@attrs.define(eq=False)
class _Runner:
    """One request of a race."""

    index: int
    model: ChatModel
    stream: LLMStream[Any]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    held: list[ChatChunk] = attrs.field(factory=list[ChatChunk])
    """What came before the race was decided: no output, but reasoning and metadata."""
    size: int = 0
    has_failed: bool = False


class _HedgeSource(AdapterSource):
    """Makes a stream's chunks from whichever request gives output first."""

    def __init__(
        self,
        models: tuple[ChatModel, ...],
        call: ChatCall,
        *,
        after: float,
        counts: _Counts,
        may_help: Callable[[APIError], bool],
    ) -> None:
        options = [
            # An adapter has retries of its own, and models with options of their own.
            call.conn_options
            if isinstance(model, Adapter)
            else attrs.evolve(call_conn_options(call.conn_options, model.conn_options), max_retry=0)
            for model in models
        ]
        super().__init__(models, call, options)
        self._after = after
        self._counts = counts
        self._may_help = may_help
        self._runners: list[_Runner] = []
        self._winner: _Runner | None = None
        self._failures: list[tuple[ChatModel, APIError]] = []
        self._has_output = False
        """Whether output was delivered."""
        self._is_denied = False
        """Whether the budget is used up."""
        self._is_hedged = False
        """Whether it has been counted that another request than the first one has won."""
        self._has_asked_again = False
        """Whether another model was asked because a winner had failed."""
        self._may_grow = True
        """Whether another request may still be started."""
        self._news = trio.Event()
        """Set by the next thing that happens in the race."""

    async def answer(self, sink: ChunkSink) -> None:
        """Put the chunks of the request that is first.

        Raises:
            APIError: The last request's error, if all have failed.
        """
        self._counts.stream_begins()
        try:
            async with trio.open_nursery() as nursery:
                await self._start_all(nursery, sink)
        except BaseExceptionGroup as group:
            raise_bare(group)
        finally:
            for _, error in self._failures:
                # They were raised through frames that hold the list.
                forget_locals(error)
        if not sink.is_complete:
            raise combine_errors(self._failures, self.response)

    async def _start_all(self, nursery: trio.Nursery, sink: ChunkSink) -> None:
        """Start the first request, and the others as long as there is no output."""
        for index in range(len(self._models)):
            if index:
                with trio.move_on_after(self._after):
                    await self._news.wait()
                if not self._may_grow or self.is_out_of_time or not self._may_pay():
                    break
            self._news = trio.Event()
            self._start(index, nursery, sink)
        self._may_grow = False
        self._decide_if_alone(sink)

    def _may_pay(self) -> bool:
        """Whether the budget has room for one more request."""
        self._is_denied = self._is_denied or not self._counts.may_hedge()
        return not self._is_denied

    def _start(self, index: int, nursery: trio.Nursery, sink: ChunkSink) -> _Runner:
        runner = _Runner(index, self._models[index], self.start(index))
        call_on_output(runner.stream, partial(self._begins, runner, sink))
        self._runners.append(runner)
        name = f"request {len(self._runners)} of the race"
        nursery.start_soon(self._run, runner, nursery, sink, name=name)
        return runner

    @enable_ki_protection
    async def _run(self, runner: _Runner, nursery: trio.Nursery, sink: ChunkSink) -> None:
        try:
            with runner.scope:
                async with runner.stream as stream:
                    async for chunk in stream:
                        self._take(runner, chunk, sink)
                        if runner is self._winner and sink.is_full:
                            await sink.room()
                    if self._wins(runner, sink):
                        # The consumer sees the end now, and not at the end of the body.
                        sink.complete(result_of(stream))
        except APIError as error:
            self._fails(runner, error, nursery, sink)
        finally:
            if runner is not self._winner:
                self._counts.abandoned(runner.stream.usage)

    def _take(self, runner: _Runner, chunk: ChatChunk, sink: ChunkSink) -> None:
        size = weight(chunk)
        if runner is self._winner:
            sink.put((chunk,), size)
        else:
            runner.held.append(chunk)
            runner.size += size
            # Reasoning cannot be held back without bound.
            if runner.size > MAX_UNDELIVERED_BYTES:
                self._wins(runner, sink)
        if is_output(chunk, self._options[runner.index]):
            self._begins(runner, sink)
            if runner is self._winner:
                self._has_output = True

    def _begins(self, runner: _Runner, sink: ChunkSink) -> None:
        """A request has output; of a tool call, there is no chunk before it is whole."""
        if self._wins(runner, sink):
            sink.got_output()

    def _wins(self, runner: _Runner, sink: ChunkSink) -> bool:
        """A request is first, unless another one was; return whether it is."""
        # One that was given up may still be handed a chunk in that moment.
        if self._winner is None and not runner.scope.cancel_called:
            self._winner = runner
            self._may_grow = False
            self.follow(runner.stream)
            for other in self._runners:
                if other is not runner:
                    other.scope.cancel()
            sink.put(runner.held, runner.size)
            runner.held = []
            if runner is not self._runners[0] and not self._is_hedged:
                self._is_hedged = True
                self._counts.hedge_won()
            self._news.set()
        return self._winner is runner

    def _fails(
        self, runner: _Runner, error: APIError, nursery: trio.Nursery, sink: ChunkSink
    ) -> None:
        if self._winner not in (None, runner):
            return
        runner.has_failed = True
        self._failures.append((runner.model, error))
        if self._winner is runner:
            self._ask_again(runner, error, nursery, sink)
            return
        others = [each for each in self._runners if not each.has_failed]
        rest = [each.model for each in others]
        if self._may_grow:
            rest += self._models[len(self._runners) :]
        if not any(self._may_succeed(model, runner.model, error) for model in rest):
            # The others would fail in the same way: the caller need not wait for it.
            self._may_grow = False
            for other in others:
                other.scope.cancel()
        self._decide_if_alone(sink)
        self._news.set()

    def _ask_again(
        self, winner: _Runner, error: APIError, nursery: trio.Nursery, sink: ChunkSink
    ) -> None:
        """A winner has failed. If nothing of its answer was delivered (it had begun a call, or had
        no rival), the next model that has not failed is asked once more."""
        if self._has_output or self._has_asked_again or self.is_out_of_time:
            return
        failed = {each.index for each in self._runners if each.has_failed}
        after = winner.index + 1
        order = (*range(after, len(self._models)), *range(after - 1))
        index = next((each for each in order if each not in failed), None)
        if index is None or not self._may_succeed(self._models[index], winner.model, error):
            return
        if self._is_denied or not self._may_pay():
            return
        self._has_asked_again = True
        self._winner = None
        self._wins(self._start(index, nursery, sink), sink)

    def _may_succeed(self, model: ChatModel, failed: ChatModel, error: APIError) -> bool:
        if model is failed and not the_same_model_may_help(error):
            return False
        return not_awaitable("should_hedge", partial(self._may_help, error))

    def _decide_if_alone(self, sink: ChunkSink) -> None:
        """A request without a rival holds nothing back."""
        if self._may_grow or self._winner is not None:
            return
        left = [each for each in self._runners if not each.has_failed]
        if len(left) == 1:
            self._wins(left[0], sink)


@public
class HedgeAdapter(Adapter):
    """Asks again where an answer is slow to begin, and takes the one that begins first.

    ::

        llm = HedgeAdapter(llm=[first, second], after=0.5)
        async with llm.chat(chat_ctx=chat_ctx) as stream:
            ...

    A stream asks the first model. If it has given no output within ``after`` seconds, or fails
    with an error that the other model may not have, the next one is asked as well. The first
    output (text, a refusal, the first fragment of a tool call) wins; the other request is cancelled
    and its connection closed in that moment. What comes before the first output, such as reasoning,
    is held back until the race is decided, up to 64 KiB, which then count as output.

    An error that the other model would have, too, is raised at once. If all requests fail, the last
    error is raised; its ``other_errors`` holds the others. The requests themselves are not retried:
    ``max_retry`` of the call is not used. (For that, hedge a `FallbackAdapter`.) But if the winner
    fails before anything of its answer was delivered (a tool call is, when it is whole), the next
    model that has not failed is asked, or the same one if there is only one: once, if
    ``should_hedge`` and the budget allow it.

    The program enters and leaves the models. An adapter may be a model of another one.

    Args:
        llm: The models, in the order in which they are asked; or one model, which is asked twice.
        after: Seconds without output after which the next request is started. A good value is the
            95th percentile of the time to the first output. `math.inf`: only after an error.
        budget: The share of streams that may be hedged, from 0 to 1, so that an outage does not
            double the load. Of the first n streams, at most ``1 + budget * (n - 1)`` are; what
            is not used is saved, up to 10 hedges. A request after an error counts, too.
        should_hedge: Whether another model may not have an error. Default: every error but a status
            that says that the request itself is wrong (400, 405, 406, 411, 413, 414, 415, 422,
            431). Where the same model would be asked again, the error must be one that may be
            retried besides (`APIError.retryable`), and name no ``Retry-After``.
        instruments: Who is told of the adapter's streams, and of the requests they need.

    Raises:
        ValueError: An argument has a value that makes no sense. The message names it.
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        llm: ChatModel | Sequence[ChatModel],
        *,
        after: float,
        budget: float = 0.1,
        should_hedge: Callable[[APIError], bool] = another_model_may_help,
        instruments: Sequence[Instrument] | None = None,
    ) -> None:
        models = check_models((llm,) if isinstance(llm, ChatModel) else llm)
        super().__init__(models * 2 if len(models) == 1 else models, instruments)
        check_seconds("after", after, zero=True)
        check_share("budget", budget, "0.1 for one request in ten")
        check_sync_callable("should_hedge", should_hedge)
        self._after = after
        self._may_help = should_hedge
        self._counts = _Counts(budget)

    async def prewarm(self) -> None:
        """Prewarm all models side by side, a connection for each request of a hedge.

        One that fails while others do not is a warning in the log.

        Raises:
            APIError: All models have failed: the last one's error, with the others in
                ``other_errors``.
            RuntimeError: A model was not entered.
        """
        await prewarm_all(self._models)

    @property
    def conn_options(self) -> APIConnectOptions:
        """Clocks and retries of the model that is asked first."""
        return self._models[0].conn_options

    @property
    def model(self) -> str:
        """Name of the model that is asked first."""
        return self._models[0].model

    @property
    def provider(self) -> str:
        """Who serves the model that is asked first."""
        return self._models[0].provider

    def statistics(self) -> HedgeStatistics:
        """What this adapter has done so far."""
        return self._counts.counts

    def __repr__(self) -> str:
        names = ", ".join(model.model for model in self._models)
        return f"<HedgeAdapter {names} after {self._after} s>"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        """Make the stream for a call of `chat`. Checks the arguments for every model, and sends
        nothing yet.

        Raises:
            ValueError: An argument has a value that cannot be sent.
            TypeError: An argument has the wrong type.
        """
        source = _HedgeSource(
            self._models,
            self._instrumented(call),
            after=self._after,
            counts=self._counts,
            may_help=self._may_help,
        )
        return outer_stream(source, source.call, self)
