"""A model of a program's own, written with public names only.

What holds for a request to a server holds for it: chunks come as they are made, clocks run, leaving
cancels it, what has arrived is in the error, an adapter moves on from it, instruments are told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIResponseFormatError,
    APITimeoutError,
    Attempt,
    ChatCall,
    ChatChunk,
    ChatContext,
    ChatModel,
    ChoiceDelta,
    ChunkSink,
    ChunkSource,
    CompletionUsage,
    FallbackAdapter,
    FunctionToolCall,
    HedgeAdapter,
    Instrument,
    LLMMetrics,
    LLMStream,
    RequestInfo,
    TextDelta,
    ToolFinished,
    function_tool,
    run_turn,
)

Answer = Callable[[ChatCall, ChunkSink], Awaitable[None]]


class Source(ChunkSource):
    def __init__(self, call: ChatCall, answer: Answer) -> None:
        self._call = call
        self._answer = answer

    async def run(self, sink: ChunkSink) -> None:
        await self._answer(self._call, sink)


class Model(ChatModel):
    model = "own"
    provider = "here"

    def __init__(self, answer: Answer, instruments: tuple[Instrument, ...] = ()) -> None:
        self._answer = answer
        self._instruments = instruments

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return self._instruments

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(Source(call, self._answer), call)


def said(text: str) -> ChatChunk:
    return ChatChunk("chat_1", ChoiceDelta(content=text))


def asked(text: str = "Hello?") -> ChatContext:
    chat_ctx = ChatContext.empty()
    chat_ctx.add_message(role="user", content=text)
    return chat_ctx


async def echo(call: ChatCall, sink: ChunkSink) -> None:
    for item in call.chat_ctx.items:
        assert item.type == "message"
        for word in (item.text_content or "").split():
            await trio.sleep(1)
            await sink.send(said(word + " "))
    await sink.send(ChatChunk("chat_1", usage=CompletionUsage(2, 1)))
    await sink.send(ChatChunk("chat_1", finish_reason="stop"))


class Log(Instrument):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def request_started(self, request: RequestInfo) -> None:
        self.told.append(("request", request.model))

    def attempt_started(self, request: RequestInfo, number: int) -> None:
        self.told.append(("attempt", number))

    def attempt_failed(
        self, request: RequestInfo, attempt: Attempt, error: APIError, delay: float | None
    ) -> None:
        self.told.append(("failed", type(error).__name__, delay))

    def first_output(self, request: RequestInfo, seconds: float) -> None:
        self.told.append(("output", seconds))

    def request_finished(self, request: RequestInfo, metrics: LLMMetrics, response: Any) -> None:
        self.told.append(("finished", metrics.cancelled, response and response.text))


async def test_chunks_come_as_they_are_sent(autojump_clock: MockClock) -> None:
    log = Log()
    model = Model(echo, (log,))
    began = trio.current_time()
    async with model.chat(chat_ctx=asked("one two")) as stream:
        seen = [(text, trio.current_time() - began) async for text in stream.text]
        answer = await stream.collect()

    assert seen == [("one ", 1.0), ("two ", 2.0)]
    assert (answer.text, answer.finish_reason, answer.usage) == (
        "one two ",
        "stop",
        CompletionUsage(2, 1),
    )
    assert stream.usage == CompletionUsage(2, 1)
    assert (stream.response.response_id, stream.response.model) == ("chat_1", "own")
    (attempt,) = stream.response.attempts
    assert (attempt.started, attempt.first_output, attempt.ended) == (0.0, 1.0, 2.0)
    assert log.told == [
        ("request", "own"),
        ("attempt", 1),
        ("output", 1.0),
        ("finished", False, "one two "),
    ]


async def test_the_conversation_is_the_one_that_was_given_to_chat(
    autojump_clock: MockClock,
) -> None:
    chat_ctx = asked("before")
    stream = Model(echo).chat(chat_ctx=chat_ctx)
    chat_ctx.add_message(role="user", content="after")

    assert (await stream.collect()).text == "before "


async def test_calls_are_made_and_a_turn_runs_them(autojump_clock: MockClock) -> None:
    @function_tool
    async def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        if call.chat_ctx.items[-1].type == "function_call_output":
            await sink.send(said(call.chat_ctx.items[-1].output))
            return
        tool_call = FunctionToolCall("double", '{"number": 21}', "call_1")
        await sink.send(ChatChunk("chat_1", ChoiceDelta(tool_calls=[tool_call])))
        await sink.send(ChatChunk("chat_1", finish_reason="tool_calls"))

    chat_ctx = asked()
    async with run_turn(Model(answer), chat_ctx=chat_ctx, tools=[double]) as turn:
        events = [event async for event in turn]

    assert [event.text for event in events if isinstance(event, TextDelta)] == ["42"]
    assert sum(isinstance(event, ToolFinished) for event in events) == 1


async def test_what_arrived_is_in_the_error(autojump_clock: MockClock) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        await sink.send(said("Once upon"))
        raise APIConnectionError("the weights are gone")

    log = Log()
    with pytest.raises(APIConnectionError, match="the weights are gone") as raised:
        await Model(answer, (log,)).chat(chat_ctx=asked()).collect()

    assert raised.value.partial.text == "Once upon"
    assert not raised.value.retryable
    (attempt,) = raised.value.attempts
    assert attempt.error == "APIConnectionError: the weights are gone"
    assert ("failed", "APIConnectionError", None) in log.told


async def test_another_exception_is_raised_as_it_is(autojump_clock: MockClock) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        await Model(answer).chat(chat_ctx=asked()).collect()


async def sleep_long(call: ChatCall, sink: ChunkSink) -> None:
    await trio.sleep_forever()


async def drip(call: ChatCall, sink: ChunkSink) -> None:
    while True:
        await sink.send(said("a"))
        await trio.sleep(1)


async def think(call: ChatCall, sink: ChunkSink) -> None:
    while True:
        await sink.send(ChatChunk("chat_1", ChoiceDelta(reasoning="hm")))
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("answer", "options", "clock", "seconds"),
    [
        (sleep_long, APIConnectOptions(first_output_timeout=3), "first_output", 3),
        (sleep_long, APIConnectOptions(total_timeout=3), "total", 3),
        (sleep_long, APIConnectOptions(first_output_timeout=5, total_timeout=3), "total", 3),
        (drip, APIConnectOptions(first_output_timeout=3, total_timeout=7.5), "total", 7.5),
        (think, APIConnectOptions(first_output_timeout=3), "first_output", 3),
        (
            think,
            APIConnectOptions(first_output_timeout=3, total_timeout=8, reasoning_is_output=True),
            "total",
            8,
        ),
    ],
)
async def test_the_clocks_of_the_call_run(
    autojump_clock: MockClock,
    answer: Answer,
    options: APIConnectOptions,
    clock: str,
    seconds: float,
) -> None:
    began = trio.current_time()

    with pytest.raises(APITimeoutError) as raised:
        await Model(answer).chat(chat_ctx=asked(), conn_options=options).collect()

    assert raised.value.clock == clock
    assert trio.current_time() - began == seconds
    assert len(raised.value.attempts) == 1


async def test_leaving_cancels_it(autojump_clock: MockClock) -> None:
    ended = []

    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        try:
            await drip(call, sink)
        finally:
            ended.append(trio.current_time())

    async with Model(answer).chat(chat_ctx=asked()) as stream:
        await anext(stream)

    assert len(ended) == 1
    with pytest.raises(trio.ClosedResourceError):
        await stream.collect()


async def test_who_leaves_behind_the_finish_reason_has_the_answer(
    autojump_clock: MockClock,
) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        await sink.send(said("Done."))
        await sink.send(ChatChunk("chat_1", finish_reason="stop"))
        await trio.sleep_forever()

    async with Model(answer).chat(chat_ctx=asked()) as stream:
        async for chunk in stream:
            if chunk.finish_reason:
                break

    assert (await stream.collect()).text == "Done."


async def test_a_slow_consumer_holds_the_source_back(autojump_clock: MockClock) -> None:
    sent = 0

    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        nonlocal sent
        for _ in range(100):
            await sink.send(said("a" * 10_000))
            sent += 1

    async with Model(answer).chat(chat_ctx=asked()) as stream:
        await anext(stream)
        await trio.testing.wait_all_tasks_blocked()
        before = sent
        rest = [chunk async for chunk in stream]

    assert before < 20
    assert (len(rest), sent) == (99, 100)


async def test_a_source_that_only_computes_lets_others_run(autojump_clock: MockClock) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        for _ in range(50):
            await sink.send(said("a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await Model(answer).chat(chat_ctx=asked()).collect()
        nursery.cancel_scope.cancel()

    assert turns >= 50


async def test_an_adapter_moves_on_from_it(autojump_clock: MockClock) -> None:
    async def broken(call: ChatCall, sink: ChunkSink) -> None:
        raise APIConnectionError("no weights")

    adapter = FallbackAdapter([Model(sleep_long), Model(broken), Model(echo)], attempt_timeout=2)
    async with adapter.chat(chat_ctx=asked("hi")) as stream:
        answer = await stream.collect()

    assert answer.text == "hi "
    assert [
        attempt.error and attempt.error.partition(":")[0] for attempt in stream.response.attempts
    ] == [
        "APITimeoutError",
        "APIConnectionError",
        None,
    ]
    assert [each.available for each in adapter.availability] == [False, False, True]


async def test_a_race_is_won_by_the_first_output(autojump_clock: MockClock) -> None:
    adapter = HedgeAdapter([Model(sleep_long), Model(echo)], after=1, budget=1)

    answer = await adapter.chat(chat_ctx=asked("hi")).collect()

    assert answer.text == "hi "
    assert adapter.statistics().hedges_won == 1


@dataclasses.dataclass
class Weather:
    degrees: float


async def test_an_answer_is_read_as_the_type_that_was_asked_for(
    autojump_clock: MockClock,
) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        await sink.send(said('{"degrees": 21.5}'))

    answer_ = await Model(answer).chat(chat_ctx=asked(), response_format=Weather).collect()
    assert answer_.parsed == Weather(21.5)

    with pytest.raises(APIResponseFormatError):
        await Model(echo).chat(chat_ctx=asked(), response_format=Weather).collect()


async def test_a_model_may_pass_another_models_chunks_on(autojump_clock: MockClock) -> None:
    kept: dict[str, str] = {}

    async def remember(call: ChatCall, sink: ChunkSink) -> None:
        async with Model(echo).stream(call) as stream:
            async for chunk in stream:
                await sink.send(chunk)
            kept["hi"] = (await stream.collect()).text

    answer = await Model(remember).chat(chat_ctx=asked("hi")).collect()

    assert (answer.text, answer.usage, kept) == ("hi ", CompletionUsage(2, 1), {"hi": "hi "})


async def test_an_answer_may_be_said_to_be_whole_before_the_source_returns(
    autojump_clock: MockClock,
) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        sink.put([said("a"), said("b")])
        inner = await Model(echo).chat(chat_ctx=asked("c")).collect()
        sink.complete(inner)
        await trio.sleep(5)

    async with Model(answer).chat(chat_ctx=asked()) as stream:
        texts = [text async for text in stream.text]
        assert trio.current_time() < 5
        assert (await stream.collect()).text == "c "

    assert texts == ["a", "b"]


async def test_output_may_be_told_before_its_chunk(autojump_clock: MockClock) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        sink.got_output()
        await trio.sleep(10)
        await sink.send(said("late"))

    options = APIConnectOptions(first_output_timeout=1)
    async with Model(answer).chat(chat_ctx=asked(), conn_options=options) as stream:
        assert (await stream.collect()).text == "late"
        assert stream.metrics is not None
        assert stream.metrics.ttft == 0


async def test_an_answer_that_begins_anew_is_what_came_since(autojump_clock: MockClock) -> None:
    async def answer(call: ChatCall, sink: ChunkSink) -> None:
        await sink.send(said("wrong"))
        await sink.send(ChatChunk(restart=True))
        await sink.send(said("right"))

    assert (await Model(answer).chat(chat_ctx=asked()).collect()).text == "right"


async def test_a_source_may_refuse_to_begin() -> None:
    class Closed(Source):
        def check_open(self) -> None:
            raise RuntimeError("load the weights first")

    class ClosedModel(Model):
        def stream(self, call: ChatCall) -> LLMStream[Any]:
            return self.make_stream(Closed(call, echo), call)

    with pytest.raises(RuntimeError, match="load the weights first"):
        async with ClosedModel(echo).chat(chat_ctx=asked()):
            raise AssertionError


async def test_a_wrong_clock_is_refused_when_the_stream_is_made() -> None:
    with pytest.raises(TypeError, match="conn_options"):
        Model(echo).chat(chat_ctx=asked(), conn_options=3)  # type: ignore[call-overload]


async def test_a_call_may_name_its_own_instruments(autojump_clock: MockClock) -> None:
    own, of_call = Log(), Log()
    await Model(echo, (own,)).chat(chat_ctx=asked("a"), instruments=[of_call, own]).collect()

    assert own.told == of_call.told
    assert len(own.told) == 4


async def test_attempts_end_when_the_source_is_cancelled(autojump_clock: MockClock) -> None:
    async with Model(drip).chat(chat_ctx=asked()) as stream:
        await trio.sleep(2.5)

    (attempt,) = stream.response.attempts
    assert (attempt.first_output, attempt.ended) == (0, 2.5)
