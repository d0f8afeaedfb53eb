"""`run_turn`: an answer and its tool calls, round after round, and what the conversation keeps.

This module knows a turn as its consumer does: what it delivers, and when what was delivered is
written into the conversation. What its task does is known elsewhere (`_turn_loop`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import NoneType
from typing import Any, Final, Generic, TypeVar, overload

import attrs
from trio.lowlevel import enable_ki_protection

from lktrio._answers import CollectedResponse, CompletionUsage
from lktrio._checks import NOT_GIVEN, NotGivenOr, check_callable, check_integer, is_given, kind_of
from lktrio._conversation import ChatContext, check_chat_ctx
from lktrio._definitions import public
from lktrio._engine import Channel, ChatCall, ChatModel, LLMStream, StreamTerms, TaskStream
from lktrio._instruments import Instrument, LLMMetrics, check_instruments, join_instruments
from lktrio._settings import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    ChatCompletionOptions,
    InferenceClass,
    ResponseFormat,
    ToolChoice,
)
from lktrio._tools import Tool, ToolContext, Toolset, checked_tools
from lktrio._usage import UsageGuard, UsageLimit

from .approval import Approve
from .events import AnswerRestarted, RefusalDelta, RoundFinished, TextDelta, TurnEvent
from .loop import TurnLoop, TurnSettings
from .rounds import Round

__all__ = ["DEFAULT_MAX_ROUNDS", "Turn", "run_turn"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT_MAX_ROUNDS: Final = 10
"""How often a turn asks the model at most, unless told otherwise."""


class _Text:
    """Iterates over a turn's text."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn[Any]) -> None:
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


@public
class Turn(TaskStream[TurnEvent], Generic[T_co]):
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
    * An answer after which the model was asked again (``ask_again``) is followed by what it was
      told.
    * Every call is written with an output. If the turn ended while the call was running, or
      before it had begun, the output says so.

    Iterating raises:

    * `APIError`: the request of a round failed. What had arrived is delivered first.
    * `UsageLimitExceeded`: another request was due, and the ``usage_limit`` was reached.
    * `RuntimeError`: the turn was not entered.
    * `trio.ClosedResourceError`: the turn was left, or its owner was cancelled.
    * `trio.BusyResourceError`: another task is waiting in the same turn.
    * `APIResponseFormatError`, `APIRefusalError`: the answer is not of the type that was asked for.
    * What ``approve`` raised, if it is not for the model.
    """

    _terms = StreamTerms(
        "turn",
        "work",
        "run_turn()",
        "async with run_turn(...) as turn",
        "; or, for the last answer: await run_turn(...).collect()",
    )

    def __init__(self, settings: TurnSettings, first: LLMStream[Any]) -> None:
        channel = Channel[TurnEvent]()
        super().__init__(channel)
        self._loop = TurnLoop(settings, first, channel)
        self._written: list[Round] = []
        self._spoken: int | None = None

    def _check_open(self) -> None:
        self._loop.check_open()

    async def _run(self) -> None:
        await self._loop.run()

    async def __anext__(self) -> TurnEvent:
        try:
            event = await super().__anext__()
            if isinstance(event, _KEPT_TEXT):
                self._loop.open_rounds[0].text_delivered()
            elif isinstance(event, AnswerRestarted):
                self._loop.open_rounds[0].restart_delivered()
            elif isinstance(event, RoundFinished):
                self._write()
            return event
        finally:
            del self

    def _let_go(self) -> None:
        self._loop.let_go()

    def _stopped(self) -> None:
        while self._loop.open_rounds:
            self._loop.open_rounds[0].close()
            self._write()
        if self._state == "closed" and self._spoken is not None:
            self._cut(self._spoken)

    @enable_ki_protection
    def _write(self) -> None:
        """Write the earliest round that is not in the conversation yet: all of it or nothing."""
        current = self._loop.open_rounds.popleft()
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
            correction = current.correction
            if correction is not None and self.chat_ctx.get_by_id(correction.id) == correction:
                # It was said of all of the answer.
                self.chat_ctx.remove(correction.id)

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
        check_integer("characters", characters, least=0)
        self._check_usable()
        self._spoken = characters

    # --- all at once ----------------------------------------------------------------------

    async def collect(self) -> CollectedResponse[T_co]:
        """Read to the end, tools included, and return the model's last answer.

        This is the one call that may be made on a turn that was not entered; it then enters and
        leaves it. What it has read when the wait is given up counts as delivered. It raises what
        iterating raises.
        """
        try:
            if self._state == "new":
                async with self:
                    return await self.collect()
            async for _ in self:
                pass
            answer = self.last_response
            assert answer is not None  # else iterating would have raised
            return answer
        finally:
            del self

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
        return self._loop.settings.call.chat_ctx

    @property
    def tools(self) -> list[Tool[..., Any] | Toolset]:
        """The tools that are offered."""
        return list(self._loop.settings.call.tools)

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts of all rounds together, as far as the server has told, or None."""
        return self._loop.usage

    @property
    def metrics(self) -> tuple[LLMMetrics, ...]:
        """What the requests of the rounds have measured so far, one for each round."""
        stream = self._loop.stream
        running = None if stream is None else stream.metrics
        return (*self._loop.metrics, *(() if running is None else (running,)))

    @property
    def rounds(self) -> int:
        """How often the model has been asked so far."""
        return self._loop.rounds

    @property
    def reached_max_rounds(self) -> bool:
        """Whether the last round has begun that ``max_rounds`` allows, in which the model may
        not call tools."""
        return self._loop.is_last_round

    @property
    def last_response(self) -> CollectedResponse[T_co] | None:
        """The model's answer of the last round that has finished: its text, why it stopped,
        whether it was cut off, and with a ``response_format`` the ``parsed`` value; None in its
        place where the answer made calls, or was one after which the model is asked again."""
        return self._loop.last_response

    def __repr__(self) -> str:
        name = self._loop.settings.model.model
        return f"<Turn {name} {self._state}, {self.rounds} rounds, {self._channel.count} events>"


_KEPT_TEXT: Final = (TextDelta, RefusalDelta)


@overload
def run_turn(
    model: ChatModel,
    *,
    chat_ctx: ChatContext,
    response_format: type[T],
    ask_again: int = 0,
    tools: Sequence[Tool[..., Any] | Toolset] | None = None,
    conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
    tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
    extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
    max_rounds: int = DEFAULT_MAX_ROUNDS,
    max_concurrency: int | None = None,
    usage_limit: UsageLimit | None = None,
    approve: Approve | None = None,
    early_start: bool = False,
    userdata: object = None,
    instruments: Sequence[Instrument] | None = None,
) -> Turn[T]: ...
@overload
def run_turn(
    model: ChatModel,
    *,
    chat_ctx: ChatContext,
    response_format: NotGivenOr[ResponseFormat] = NOT_GIVEN,
    ask_again: int = 0,
    tools: Sequence[Tool[..., Any] | Toolset] | None = None,
    conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
    tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
    extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
    max_rounds: int = DEFAULT_MAX_ROUNDS,
    max_concurrency: int | None = None,
    usage_limit: UsageLimit | None = None,
    approve: Approve | None = None,
    early_start: bool = False,
    userdata: object = None,
    instruments: Sequence[Instrument] | None = None,
) -> Turn[None]: ...
@overload
def run_turn(
    model: ChatModel,
    *,
    chat_ctx: ChatContext,
    response_format: Any,
    ask_again: int = 0,
    tools: Sequence[Tool[..., Any] | Toolset] | None = None,
    conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
    tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
    extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
    max_rounds: int = DEFAULT_MAX_ROUNDS,
    max_concurrency: int | None = None,
    usage_limit: UsageLimit | None = None,
    approve: Approve | None = None,
    early_start: bool = False,
    userdata: object = None,
    instruments: Sequence[Instrument] | None = None,
) -> Turn[Any]: ...
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
    ask_again: int = 0,
    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
    extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
    max_rounds: int = DEFAULT_MAX_ROUNDS,
    max_concurrency: int | None = None,
    approve: Approve | None = None,
    early_start: bool = False,
    userdata: object = None,
    usage_limit: UsageLimit | None = None,
    instruments: Sequence[Instrument] | None = None,
) -> Turn[Any]:
    """Answer a conversation, tool calls included: the model is asked, the tools that it calls are
    run side by side, and it is asked again until it has nothing more to call.

    ::

        async with run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather]) as turn:
            async for event in turn:
                if isinstance(event, TextDelta):
                    print(event.text, end="", flush=True)

    The turn is over after a round without calls; after one in which no output wants an answer
    (`StopResponse`, ``ToolResult(reply_required=False)``); and after ``max_rounds``. Where the
    calls of a round did not come whole, a `CallsMissing` says so.

    Args:
        model: Whom to ask: an `LLM`, or any other `ChatModel`.
        chat_ctx: The conversation. What is said and done in the turn is appended to it.
        tools: Functions the model may call.
        conn_options: Clocks and retries, of each round by itself. Default: the model's own. For a
            deadline of the whole turn use `trio.fail_after` or `trio.move_on_after`.
        parallel_tool_calls: Whether the model may make several calls at once.
        tool_choice: Whether, or which, function must be called. A choice that forces a call is
            for the first round only; after it the model is free.
        response_format: The shape the last answer must have, as for `ChatModel.chat`. The value
            is in ``turn.last_response.parsed``, and the turn is typed by it where the type is a
            class.
        ask_again: How often the model is asked again if its answer is not of the type of
            ``response_format``, which is an error otherwise. It reads what is wrong; the answer
            and that stay in the conversation. These are rounds like others: they count for
            ``max_rounds``, and tools may be called in them.
        inference_class: How urgent the requests are to the gateway.
        extra_kwargs: Further options of the requests; they win over the instance's.
        max_rounds: How often the model is asked at most. The last of these rounds is made with
            ``tool_choice="none"``, so that the turn ends in an answer. Should the model call a
            tool all the same, the call is not carried out, its output says so, and the turn is
            over.
        max_concurrency: How many tools run at once. None for no limit.
        approve: Is asked about each call before anything of it runs, by a `PendingCall`, and
            returns True to have it run; False, or a `ToolError` with words for the model, to refuse
            it; or a `ToolResult` that takes the place of what the tool would return. It is sync
            (and must not block), or async and may wait for a person: that takes no time of the
            tool's ``timeout`` and no place of ``max_concurrency``, and the other calls go on. It is
            asked once about each call, in the order of the calls, without waiting for the answer
            to the one before; not if there is no such tool, or if the arguments do not fit. What
            else it raises ends the turn.
        early_start: Start a tool as soon as its call is whole and something else has begun, while
            the rest of the answer still arrives. A server that then comes back to the call fails
            the turn with an `APIConnectionError`; the tool is never run twice.
        userdata: What the tools find in `RunContext.userdata`.
        usage_limit: How many requests, tokens, or how much money may be used before no further
            request is made, and the turn ends with a `UsageLimitExceeded` in its place.
        instruments: Who is told of the requests and the tools, besides the model's own
            instruments.

    Raises:
        ValueError: An argument has a value that cannot be used or sent.
        TypeError: An argument has the wrong type.
    """
    if not isinstance(model, ChatModel):
        raise TypeError(
            f"model must be a ChatModel such as an LLM, not {kind_of(model)}; "
            "make one with LLM(name)"
        )
    check_chat_ctx(chat_ctx)
    if chat_ctx.readonly:
        raise ValueError(
            "chat_ctx is read-only, and a turn is appended to it; give a copy: chat_ctx.copy()"
        )
    check_integer("max_rounds", max_rounds, least=1)
    check_integer("max_concurrency", max_concurrency, least=1, none="no limit")
    guard = None if usage_limit is None else UsageGuard(usage_limit)
    watchers = check_instruments(instruments)
    if guard is not None:
        watchers = join_instruments(watchers, (guard.collector,))
    offered = checked_tools(tools)
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
        instruments=watchers,
    )
    first = call
    tool_ctx = ToolContext(offered)
    if max_rounds == 1 and tool_ctx:
        if call.chosen_tool not in (None, "auto", "none"):
            raise ValueError(
                "a tool_choice that forces a call leaves no round for the answer: give max_rounds "
                "of at least 2, or run the calls of chat() with execute_function_calls()"
            )
        first = attrs.evolve(call, tool_choice="none")
    _check_ask_again(ask_again, response_format, max_rounds)
    if approve is not None:
        check_callable("approve", approve)
    settings = TurnSettings(
        model=model,
        call=call,
        tool_ctx=tool_ctx,
        max_rounds=max_rounds,
        max_concurrency=max_concurrency,
        approve=approve,
        ask_again=ask_again,
        instruments=join_instruments(model.instruments, call.instruments),
        userdata=userdata,
        guard=guard,
    )
    return Turn(settings, model.stream(first))


def _check_ask_again(ask_again: int, response_format: object, max_rounds: int) -> None:
    check_integer("ask_again", ask_again, least=0)
    if not ask_again:
        return
    if not is_given(response_format) or isinstance(response_format, Mapping | NoneType):
        raise ValueError(
            f"ask_again={ask_again} asks again where an answer is not of the type that was asked "
            "for, and none was: give a type as response_format"
        )
    if ask_again >= max_rounds:
        raise ValueError(
            f"ask_again={ask_again} leaves no round for it within max_rounds={max_rounds}; give "
            f"max_rounds of at least {ask_again + 1}"
        )
