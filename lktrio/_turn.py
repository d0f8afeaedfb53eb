"""`run_turn`: a reply and its tool calls, round after round, and what the conversation keeps.

This module knows when a tool begins, when the model is asked again, and when a turn is over. It
works on any `ChatModel`; how one stream lives, how one call is carried out and what one round
leaves behind is known elsewhere.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from ._bare import raise_bare
from ._chat_context import ChatContext, check_chat_ctx
from ._chunks import ChoiceDelta, CollectedResponse, CompletionUsage, FunctionToolCall
from ._execution import Lanes, check_max_concurrency, run_call
from ._function_results import FunctionCallResult, not_carried_out
from ._instruments import Instrument, LLMMetrics, check_instruments, join_instruments
from ._json_values import shown
from ._lifetime import Channel, TaskStream, Words, check_open
from ._not_given import NOT_GIVEN, NotGivenOr
from ._options import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    ChatCompletionOptions,
    InferenceClass,
    ToolChoice,
)
from ._public import public
from ._rounds import Round, RoundCall, Timeline, add_usage
from ._stream import ChatCall, ChatModel, LLMStream
from ._tools import RunContext, Tool, ToolContext, Toolset
from ._turn_events import (
    AnswerRestarted,
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

__all__ = ["DEFAULT_MAX_ROUNDS", "Turn", "run_turn"]

logger = logging.getLogger("lktrio")

DEFAULT_MAX_ROUNDS: Final = 10
"""How often a turn asks the model at most, unless told otherwise."""


_CALLING_REASONS: Final = frozenset({"tool_calls", "function_call"})


class _Text:
    """Iterates over a turn's text."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __aiter__(self) -> _Text:
        return self

    async def __anext__(self) -> str:
        turn = self._turn
        try:
            while True:
                event = await anext(turn)
                if isinstance(event, TextDelta):
                    return event.text
        finally:
            # An error holds the frames that it was raised through, and the turn holds the error.
            del self, turn


@attrs.frozen
class _Settings:
    """What a turn is made from."""

    model: ChatModel

    call: ChatCall
    """What the first round asks."""

    tool_ctx: ToolContext

    max_rounds: int

    max_concurrency: int | None

    instruments: tuple[Instrument, ...]
    """Who is told of the tools."""

    userdata: Any


class _Work:
    """What a turn's task does: it asks the model, runs the tools, and asks again.

    Args:
        settings: What the turn is made from.
        first: The stream of the first round.
        channel: Where the events go.
    """

    def __init__(
        self, settings: _Settings, first: LLMStream[Any], channel: Channel[TurnEvent]
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
        """Run round after round until no reply is due."""
        items = self.settings.call.chat_ctx.items
        timeline = Timeline(items[-1].created_at if items else 0.0)
        try:
            async with trio.open_nursery() as nursery:
                lanes = Lanes(nursery, self.settings.max_concurrency)
                while await self._run_round(timeline, lanes):
                    pass
        except BaseExceptionGroup as group:
            raise_bare(group)

    async def _run_round(self, timeline: Timeline, lanes: Lanes) -> bool:
        """Run one round; return whether another one is due."""
        stream = self.stream = self._ask()
        self.rounds += 1
        current = Round(self.rounds, timeline, self.settings.tool_ctx)
        self.open_rounds.append(current)
        try:
            async with stream:
                async for chunk in stream:
                    if chunk.restart:
                        current.restart()
                        self._put(AnswerRestarted(self.rounds))
                    if chunk.delta is not None:
                        self._take(chunk.delta, current, lanes)
                    if self._channel.is_full:
                        await self._channel.room()
                current.is_whole = True
                response = await stream.collect()
                current.extra = response.extra
                self._tell_of_missing_calls(response, current)
                if not current.calls:
                    # Said here because the stream may wait for the end of the body.
                    self._finish_round(current, response)
                    self._channel.finish()
                    return False
        finally:
            self._usage, self.stream = self.usage, None
            metrics = stream.metrics
            if metrics is not None:
                self.metrics.append(metrics)
        if self._calls_under_way:
            await self._no_call_under_way.wait()
        self._finish_round(current, response)
        if self.is_last_round or not any(result.reply_required for result in current.results):
            self._channel.finish()
            return False
        return True

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

    def _take(self, delta: ChoiceDelta, current: Round, lanes: Lanes) -> None:
        number = current.number
        if delta.reasoning:
            self._put(ReasoningDelta(delta.reasoning, number), len(delta.reasoning))
        if delta.content:
            current.add_text(delta.content)
            self._put(TextDelta(delta.content, number), len(delta.content))
        if delta.refusal:
            current.add_text(delta.refusal)
            self._put(RefusalDelta(delta.refusal, number), len(delta.refusal))
        for call in delta.tool_calls:
            self._take_call(call, current, lanes)

    def _take_call(self, call: FunctionToolCall, current: Round, lanes: Lanes) -> None:
        entry = current.add_call(call)
        self._put(CallReady(entry.item, current.number), len(call.arguments))
        if self.is_last_round:
            logger.warning(
                "%s called a tool in the last of %d rounds, in which no tool is offered",
                self.settings.model.label,
                self.settings.max_rounds,
            )
            result = not_carried_out(entry.item, "there were too many rounds of calls in a row")
            self._finish_call(entry, result, current)
        else:
            if not self._calls_under_way:
                self._no_call_under_way = trio.Event()
            self._calls_under_way += 1
            lanes.start_soon(partial(self._run_call, entry, call.name, current))

    async def _run_call(self, entry: RoundCall, name: str, current: Round) -> None:
        def on_start() -> None:
            entry.is_started = True
            self._put(ToolStarted(entry.item, current.number))

        settings = self.settings
        run_context = RunContext(settings.userdata, entry.item, settings.call.chat_ctx)
        result = await run_call(
            entry.call,
            name,
            settings.tool_ctx,
            run_context,
            on_start=on_start,
            instruments=settings.instruments,
        )
        self._finish_call(entry, result, current)
        self._calls_under_way -= 1
        if not self._calls_under_way:
            self._no_call_under_way.set()

    def _finish_call(self, entry: RoundCall, result: FunctionCallResult, current: Round) -> None:
        entry.result = result
        self._put(ToolFinished(result, current.number), len(result.fnc_call_out.output))

    def _tell_of_missing_calls(self, response: CollectedResponse[Any], current: Round) -> None:
        """Say that calls are lost, and why the turn may end without an answer."""
        reason = response.finish_reason
        says_so = reason in _CALLING_REASONS and not response.tool_calls
        if not response.withheld_calls and not says_so:
            return
        names = ", ".join(call.name or "?" for call in response.withheld_calls)
        what = f"calls that were cut off ({names})" if names else "no call at all"
        logger.warning(
            "%s ended a round with the finish reason %r and %s; nothing of it is run",
            self.settings.model.label,
            reason,
            what,
        )
        withheld = tuple(response.withheld_calls)
        self._put(CallsMissing(withheld, reason, current.number), sum(map(_size_of, withheld)))

    def _finish_round(self, current: Round, response: CollectedResponse[Any]) -> None:
        current.close()
        self.last_response = response
        self._put(RoundFinished(response, current.results, current.number))

    def _put(self, event: TurnEvent, size: int = 0) -> None:
        self._channel.put((event,), size)


@public
class Turn(TaskStream[TurnEvent]):
    """One turn of the model, its tool calls included. Made by `run_turn`; not to be constructed.

    It lives as an `LLMStream` does: nothing happens before it is entered, and leaving the block,
    in whatever way, ends model and tools together and waits until nothing of them is alive (the
    thread of a sync tool is waited for, too, unless the tool says ``abandon_on_cancel``). A wait
    may be given up and asked again; nothing is lost.

    **The conversation** is written a round at a time: when the consumer gets its `RoundFinished`,
    or else when the turn fails or the block is left. In between it is not touched, so it can be
    sent at every moment. A round is its message, its calls, and their outputs in the order of the
    calls:

    * Only text that the consumer has got is written. If there was more to come, the message is
      marked as ``interrupted``. (A consumer that speaks the text says with `set_spoken` how much
      of it has been heard.)
    * Every call is written with an output. If the turn ended while the call was running, or
      before it had begun, the output says so.

    Iterating raises:

    * `APIError`: the request of a round failed. What had arrived is delivered first.
    * `RuntimeError`: the turn was not entered.
    * `trio.ClosedResourceError`: the turn was left, or its owner was cancelled.
    * `trio.BusyResourceError`: another task is waiting in the same turn.
    """

    _words = Words("turn", "work", "run_turn()", "async with run_turn(...) as turn")

    def __init__(self, settings: _Settings, first: LLMStream[Any]) -> None:
        channel = Channel[TurnEvent]()
        super().__init__(channel)
        self._work = _Work(settings, first, channel)
        self._written: list[Round] = []
        self._spoken: int | None = None

    def _check_open(self) -> None:
        self._work.check_open()

    async def _run(self) -> None:
        await self._work.run()

    async def __anext__(self) -> TurnEvent:
        try:
            event = await super().__anext__()
            if isinstance(event, _KEPT_TEXT):
                self._work.open_rounds[0].text_delivered()
            elif isinstance(event, AnswerRestarted):
                self._work.open_rounds[0].restart_delivered()
            elif isinstance(event, RoundFinished):
                self._write()
            return event
        finally:
            del self

    def _let_go(self) -> None:
        self._work.let_go()

    def _stopped(self) -> None:
        while self._work.open_rounds:
            self._work.open_rounds[0].close()
            self._write()
        if self._state == "closed" and self._spoken is not None:
            self._cut(self._spoken)

    @enable_ki_protection
    def _write(self) -> None:
        """Write the earliest round that is not in the conversation yet: all of it or nothing."""
        current = self._work.open_rounds.popleft()
        self.chat_ctx.insert(current.items(delivered=True))
        self._written.append(current)

    @enable_ki_protection
    def _cut(self, spoken: int) -> None:
        """Take back what was written, but not spoken."""
        for current in self._written:
            message = current.message(delivered=True)
            if message is None:
                continue
            heard = current.message(delivered=True, spoken=spoken)
            spoken = max(0, spoken - len(message.text_content or ""))
            if heard == message or self.chat_ctx.get_by_id(message.id) != message:
                # All of it was heard; or the program has written something else in its place.
                continue
            if heard is None:
                self.chat_ctx.remove(message.id)
            else:
                self.chat_ctx.replace(message.id, heard)

    # --- speaking -------------------------------------------------------------------------

    def set_spoken(self, characters: int) -> None:
        """Say how much of the turn's text has been spoken so far, if that is later than it is
        received.

        Speech is slower than a model: when the caller barges in, the consumer has got text that
        nobody has heard. Once this was called (with 0, before anything is spoken), the block
        leaves no more in the conversation than was spoken in the end, as if nothing else had been
        delivered: a message that was cut is marked as ``interrupted``, and one of which nothing
        was spoken is removed. Calls and their outputs stay.

        Args:
            characters: How many, of the texts of all `TextDelta` and `RefusalDelta` together. What
                an `AnswerRestarted` has made void does not count.

        Raises:
            ValueError: It is negative.
            TypeError: It is no integer.
            RuntimeError: The turn was not entered.
            trio.ClosedResourceError: The turn was left.
        """
        if isinstance(characters, bool) or not isinstance(characters, int):
            raise TypeError(f"characters={shown(characters)} is not accepted; it takes an integer")
        if characters < 0:
            raise ValueError(f"characters={characters} is not accepted; it takes 0 or more")
        self._check_usable()
        self._spoken = characters

    # --- looking --------------------------------------------------------------------------

    @property
    def text(self) -> AsyncIterator[str]:
        """The text of all rounds as an iterator of strings, none of them empty.

        It consumes the turn: events of other kinds are passed over.
        """
        return _Text(self)

    @property
    def chat_ctx(self) -> ChatContext:
        """The conversation, to which the turn is appended: the object that was given."""
        return self._work.settings.call.chat_ctx

    @property
    def tools(self) -> list[Tool[..., Any] | Toolset]:
        """The tools that are offered."""
        return list(self._work.settings.call.tools)

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts of all rounds together, as far as the server has told, or None."""
        return self._work.usage

    @property
    def metrics(self) -> tuple[LLMMetrics, ...]:
        """What the requests of the rounds have measured so far, one for each round."""
        stream = self._work.stream
        running = None if stream is None else stream.metrics
        return (*self._work.metrics, *(() if running is None else (running,)))

    @property
    def rounds(self) -> int:
        """How often the model has been asked so far."""
        return self._work.rounds

    @property
    def reached_max_rounds(self) -> bool:
        """Whether the last round has begun that ``max_rounds`` allows, in which the model may
        not call tools."""
        return self._work.is_last_round

    @property
    def last_response(self) -> CollectedResponse[Any] | None:
        """The model's answer of the last round that has finished: its text, why it stopped,
        whether it was cut off, and with a ``response_format`` the ``parsed`` value."""
        return self._work.last_response

    def __repr__(self) -> str:
        name = self._work.settings.model.model
        return f"<Turn {name} {self._state}, {self.rounds} rounds, {self._channel.count} events>"


def _size_of(call: FunctionToolCall) -> int:
    return len(call.arguments)


_KEPT_TEXT: Final = (TextDelta, RefusalDelta)


@public
def run_turn(
    model: ChatModel,
    *,
    chat_ctx: ChatContext,
    tools: Sequence[Tool[..., Any] | Toolset] | None = None,
    conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
    tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
    response_format: NotGivenOr[Any] = NOT_GIVEN,
    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
    extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN,
    max_rounds: int = DEFAULT_MAX_ROUNDS,
    max_concurrency: int | None = None,
    early_start: bool = False,
    userdata: Any = None,
    instruments: Sequence[Instrument] | None = None,
) -> Turn:
    """Answer a conversation, tool calls included: the model is asked, the tools that it calls are
    run side by side, and it is asked again until it has nothing more to call.

    ::

        async with run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather]) as turn:
            async for event in turn:
                if isinstance(event, TextDelta):
                    print(event.text, end="", flush=True)

    The turn is over after a round without calls; after one in which no output wants a reply
    (`StopResponse`, ``ToolResult(reply_required=False)``); and after ``max_rounds``. Where the
    calls of a round did not come whole, a `CallsMissing` says so.

    Args:
        model: Whom to ask: an `LLM`, or any other `ChatModel`.
        chat_ctx: The conversation. What is said and done in the turn is appended to it.
        tools: Functions the model may call.
        conn_options: Clocks and retries, of each round by itself. For a deadline of the whole
            turn use `trio.fail_after` or `trio.move_on_after`.
        parallel_tool_calls: Whether the model may make several calls at once.
        tool_choice: Whether, or which, function must be called. A choice that forces a call is
            for the first round only; after it the model is free.
        response_format: The shape the last answer must have, as for `ChatModel.chat`. The value
            is in ``turn.last_response.parsed``.
        inference_class: How urgent the requests are to the gateway.
        extra_kwargs: Further options of the requests; they win over the instance's.
        max_rounds: How often the model is asked at most. The last of these rounds is made with
            ``tool_choice="none"``, so that the turn ends in an answer. Should the model call a
            tool all the same, the call is not carried out, its output says so, and the turn is
            over.
        max_concurrency: How many tools run at once. None for no limit.
        early_start: Start a tool as soon as its call is whole and something else has begun, while
            the rest of the answer still arrives. A server that then comes back to the call fails
            the turn with an `APIConnectionError`; the tool is never run twice.
        userdata: What the tools find in `RunContext.userdata`.
        instruments: Who is told of the requests and the tools, besides the model's own
            instruments.

    Raises:
        ValueError: An argument has a value that cannot be used or sent.
        TypeError: An argument has the wrong type.
    """
    if not isinstance(model, ChatModel):
        raise TypeError(
            f"model must be a ChatModel such as an LLM, not a {type(model).__name__}; "
            "make one with LLM(name)"
        )
    check_chat_ctx(chat_ctx)
    if chat_ctx.readonly:
        raise ValueError(
            "chat_ctx is read-only, and a turn is appended to it; give a copy: chat_ctx.copy()"
        )
    _check_max_rounds(max_rounds)
    check_max_concurrency(max_concurrency)
    offered = tuple(tools or ())
    call = ChatCall(
        chat_ctx=chat_ctx,
        tools=offered,
        conn_options=conn_options,
        parallel_tool_calls=parallel_tool_calls,
        tool_choice=tool_choice,
        response_format=response_format,
        inference_class=inference_class,
        extra_kwargs=extra_kwargs,
        early_tool_calls=early_start,
        instruments=check_instruments(instruments),
    )
    first = call
    if max_rounds == 1 and offered:
        if call.chosen_tool not in (None, "auto", "none"):
            raise ValueError(
                "a tool_choice that forces a call leaves no round for the answer: give max_rounds "
                "of at least 2, or run the calls of chat() with execute_function_calls()"
            )
        first = attrs.evolve(call, tool_choice="none")
    settings = _Settings(
        model=model,
        call=call,
        tool_ctx=ToolContext(offered),
        max_rounds=max_rounds,
        max_concurrency=max_concurrency,
        instruments=join_instruments(model.instruments, call.instruments),
        userdata=userdata,
    )
    return Turn(settings, model.stream(first))


def _check_max_rounds(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_rounds={value!r} is not accepted; it takes an integer")
    if value < 1:
        raise ValueError(f"max_rounds={value} lets the model say nothing; give 1 or more")
