"""What the task of a turn does: it asks the model, runs the tools, and asks again.

This module knows when a tool begins, when the model is asked again, and when a turn is over. How
one stream lives, how one call is carried out and what one round leaves behind is known elsewhere.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import Any, Final

import attrs
import trio

from lktrio._answers import (
    APIResponseFormatError,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
    add_usage,
)
from lktrio._engine import Channel, ChatCall, ChatModel, LLMStream, check_open
from lktrio._http import raise_bare
from lktrio._instruments import Instrument, LLMMetrics
from lktrio._tools import Call, FunctionCallResult, RunContext, ToolContext, not_carried_out
from lktrio._usage import UsageGuard

from .approval import Approve, PendingCall, ask
from .events import (
    AnswerRestarted,
    AskedAgain,
    CallReady,
    CallsMissing,
    ReasoningDelta,
    RefusalDelta,
    RoundFinished,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
)
from .execution import LimitedNursery, prepare, run_call, tell_of
from .rounds import MonotonicClock, Round

__all__ = ["TurnLoop", "TurnSettings"]

logger = logging.getLogger("lktrio")

_CALLING_REASONS: Final = frozenset({"tool_calls", "function_call"})


@attrs.frozen
class TurnSettings:
    """What a turn is made from."""

    model: ChatModel

    call: ChatCall
    """What the first round asks."""

    tool_ctx: ToolContext

    max_rounds: int

    max_concurrency: int | None

    approve: Approve | None
    """Who is asked before a call is carried out."""

    ask_again: int
    """How often the model is asked again where its answer does not fit."""

    instruments: tuple[Instrument, ...]
    """Who is told of the tools."""

    userdata: object

    guard: UsageGuard | None = None
    """Looks whether another request may be made."""


class TurnLoop:
    """Asks the model, runs the tools that it calls, and asks again.

    Args:
        settings: What the turn is made from.
        first: The stream of the first round.
        channel: Where the events go.
    """

    def __init__(
        self, settings: TurnSettings, first: LLMStream[Any], channel: Channel[TurnEvent]
    ) -> None:
        self.settings = settings
        self.rounds = 0
        """How many rounds have begun."""
        self.open_rounds: deque[Round] = deque()
        """The rounds that do not stand in the conversation yet."""
        self.last_response: CollectedResponse[Any] | None = None
        """The answer of the last round that has finished."""
        self.metrics: list[LLMMetrics] = []
        """What the rounds measured that are over."""
        # Made at the call, so that a bad argument fails there; None once it was entered.
        self._first: LLMStream[Any] | None = first
        self._channel = channel
        self.stream: LLMStream[Any] | None = None
        """The round's stream while it runs."""
        self._usage: CompletionUsage | None = None
        self._asked_again = 0
        self._calls_under_way = 0
        self._no_call_under_way = trio.Event()

    @property
    def usage(self) -> CompletionUsage | None:
        """The tokens of all rounds so far."""
        return add_usage(self._usage, None if self.stream is None else self.stream.usage)

    @property
    def is_last_round(self) -> bool:
        """Whether there may be no round after this one."""
        return self.rounds == self.settings.max_rounds

    def check_open(self) -> None:
        """Raise `RuntimeError` if the model cannot be asked here and now."""
        if self._first is not None:
            check_open(self._first)

    def let_go(self) -> None:
        """The turn was closed before it was entered."""
        self._first = None

    async def run(self) -> None:
        """Run round after round until no answer is due."""
        items = self.settings.call.chat_ctx.items
        clock = MonotonicClock(items[-1].created_at if items else 0.0)
        try:
            async with trio.open_nursery() as nursery:
                limited = LimitedNursery(nursery, self.settings.max_concurrency)
                while await self._run_round(clock, limited):
                    pass
        except BaseExceptionGroup as group:
            raise_bare(group)

    async def _run_round(self, clock: MonotonicClock, limited: LimitedNursery) -> bool:
        """Run one round; return whether another one is due."""
        if self.settings.guard is not None:
            self.settings.guard.check()
        stream = self.stream = self._ask()
        self.rounds += 1
        current = Round(self.rounds, clock, self.settings.tool_ctx)
        self.open_rounds.append(current)
        try:
            async with stream:
                async for chunk in stream:
                    if chunk.restart:
                        current.restart()
                        self._put(AnswerRestarted(self.rounds))
                    if chunk.delta is not None:
                        self._take(chunk.delta, current, limited)
                    if self._channel.is_full:
                        await self._channel.room()
                current.is_whole = True
                answer = await self._answer_of(stream, current)
                current.extra = answer.extra
                self._tell_of_missing_calls(answer, current)
                if not current.calls and current.correction is None:
                    # Said here because the stream may wait for the end of the body.
                    self._finish_round(current, answer)
                    self._channel.finish()
                    return False
        finally:
            self._usage, self.stream = self.usage, None
            metrics = stream.metrics
            if metrics is not None:
                self.metrics.append(metrics)
        if self._calls_under_way:
            await self._no_call_under_way.wait()
        self._finish_round(current, answer)
        is_due = current.correction is not None or any(
            result.reply_required for result in current.results
        )
        if self.is_last_round or not is_due:
            self._channel.finish()
            return False
        return True

    async def _answer_of(self, stream: LLMStream[Any], current: Round) -> CollectedResponse[Any]:
        """The whole answer. One that does not fit is taken, too, if the model is asked again."""
        try:
            return await stream.collect()
        except APIResponseFormatError as error:
            if self.is_last_round or self._asked_again == self.settings.ask_again:
                raise
            self._asked_again += 1
            message = current.correct(error.reasons)
            self._put(AskedAgain(error.reasons, message, current.number))
            return error.partial

    def _ask(self) -> LLMStream[Any]:
        first, self._first = self._first, None
        if first is not None:
            return first
        settings = self.settings
        chat_ctx = settings.call.chat_ctx.copy()
        for earlier in self.open_rounds:
            chat_ctx.insert(earlier.items(delivered=False))
        call = attrs.evolve(settings.call, chat_ctx=chat_ctx)
        if call.chosen_tool != "none":
            # A choice that forces a call is for the first round: it would never come to an end.
            call = attrs.evolve(
                call, tool_choice="none" if self.rounds + 1 == settings.max_rounds else "auto"
            )
        return settings.model.stream(call)

    def _take(self, delta: ChoiceDelta, current: Round, limited: LimitedNursery) -> None:
        number = current.number
        if delta.reasoning:
            self._put(ReasoningDelta(delta.reasoning, number), len(delta.reasoning))
        if delta.content:
            current.add_text(delta.content)
            self._put(TextDelta(delta.content, number), len(delta.content))
        if delta.refusal:
            current.add_text(delta.refusal)
            self._put(RefusalDelta(delta.refusal, number), len(delta.refusal))
        if delta.tool_calls and delta.extra:
            # Calls stay in the conversation even if their answer never becomes whole.
            current.attached = delta.extra
        for call in delta.tool_calls:
            self._take_call(call, current, limited)

    def _take_call(self, call: FunctionToolCall, current: Round, limited: LimitedNursery) -> None:
        added = current.add_call(call)
        self._put(CallReady(added.item, current.number), len(call.arguments))
        if self.is_last_round:
            logger.warning(
                "%s called a tool in the last of %d rounds, in which no tool is offered",
                self.settings.model.label,
                self.settings.max_rounds,
            )
            result = not_carried_out(added.item, "there were too many rounds of calls in a row")
            self._finish_call(added, result, current)
        else:
            if not self._calls_under_way:
                self._no_call_under_way = trio.Event()
            self._calls_under_way += 1
            if self.settings.approve is None:
                limited.start_soon(partial(self._run_call, added, current))
            else:
                approve = self.settings.approve
                limited.start_in_order(partial(self._approve, approve, added, current, limited))

    async def _approve(
        self, approve: Approve, call: Call, current: Round, limited: LimitedNursery
    ) -> None:
        """Ask whether a call may be carried out, and see to it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        tool_ctx = self.settings.tool_ctx
        prepared = prepare(call, tool_ctx)
        result: FunctionCallResult | None
        if isinstance(prepared, FunctionCallResult):
            result = prepared
        else:
            tool, decoded = prepared
            context, values = self._context_of(call), dict(decoded.values)
            result = await ask(
                approve, PendingCall(call.item, tool, values, context, current.number)
            )
        if result is None:
            limited.start_soon(partial(self._run_call, call, current))
        else:
            tell_of(call, tool_ctx, result, self.settings.instruments)
            self._call_is_over(call, result, current)

    async def _run_call(self, call: Call, current: Round) -> None:
        settings = self.settings
        result = await run_call(
            call,
            settings.tool_ctx,
            self._context_of(call),
            on_start=lambda: self._put(ToolStarted(call.item, current.number)),
            instruments=settings.instruments,
        )
        self._call_is_over(call, result, current)

    def _context_of(self, call: Call) -> RunContext[object]:
        settings = self.settings
        return RunContext(settings.userdata, call.item, settings.call.chat_ctx)

    def _call_is_over(self, call: Call, result: FunctionCallResult, current: Round) -> None:
        self._finish_call(call, result, current)
        self._calls_under_way -= 1
        if not self._calls_under_way:
            self._no_call_under_way.set()

    def _finish_call(self, call: Call, result: FunctionCallResult, current: Round) -> None:
        call.result = result
        self._put(ToolFinished(result, current.number), len(result.fnc_call_out.output))

    def _tell_of_missing_calls(self, answer: CollectedResponse[Any], current: Round) -> None:
        """Say that calls are lost, and why the turn may end without an answer."""
        reason = answer.finish_reason
        says_so = reason in _CALLING_REASONS and not answer.tool_calls
        if not answer.withheld_calls and not says_so:
            return
        names = ", ".join(call.name or "?" for call in answer.withheld_calls)
        what = f"calls that were cut off ({names})" if names else "no call at all"
        logger.warning(
            "%s ended a round with the finish reason %r and %s; nothing of it is run",
            self.settings.model.label,
            reason,
            what,
        )
        withheld = tuple(answer.withheld_calls)
        self._put(
            CallsMissing(withheld, reason, current.number),
            sum(len(call.arguments) for call in withheld),
        )

    def _finish_round(self, current: Round, answer: CollectedResponse[Any]) -> None:
        current.close()
        self.last_response = answer
        self._put(RoundFinished(answer, current.results, current.number))

    def _put(self, event: TurnEvent, size: int = 0) -> None:
        self._channel.put((event,), size)
