"""`FallbackAdapter`: who is asked when, what is delivered, what is remembered, what is left."""

from __future__ import annotations

import logging
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    AvailabilityChangedEvent,
    ChatCall,
    ChatChunk,
    ChatModel,
    ChoiceDelta,
    ChunkSink,
    ChunkSource,
    CollectedResponse,
    FallbackAdapter,
    FunctionToolCall,
    HedgeAdapter,
    LLMStream,
    ModelAvailability,
    TextDelta,
    function_tool,
    run_turn,
)
from tests.support.engine import BASE_URL, conversation, open_llm, timed
from tests.support.leaks import no_leaks
from tests.support.matrix import (
    CANCEL_BLOCK,
    CANCEL_WAIT,
    INTERRUPT,
    Cut,
    Series,
    advance,
    sweep,
)
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Close,
    Exchange,
    Hold,
    Repeat,
    Reset,
    Send,
    ToolCall,
    Wait,
    chunk,
    comment,
    error,
    finish,
    reasoning_chunk,
    response,
    sse,
    text,
    text_chunk,
    tool_calls,
    usage,
)
from tests.support.several import FAST, SLOW, open_models

CUT = sse(text_chunk("half an "), end=False).then(Reset())
KEEP_ALIVES = sse(end=False).then(Repeat([Wait(0.3), Send(chunk(comment()))]))


def ask(model: Any, **options: Any) -> LLMStream[Any]:
    return model.chat(chat_ctx=conversation(), **options)


async def first_text(stream: LLMStream[Any]) -> str:
    async with stream:
        return await anext(stream.text)


async def chunks_of(stream: LLMStream[Any]) -> tuple[list[ChatChunk], Any]:
    """What came, and the error that ended it (None for none)."""
    got: list[ChatChunk] = []
    async with stream:
        try:
            async for each in stream:
                got.append(each)  # noqa: PERF401  what came before an error counts
        except APIError as exc:
            return got, exc
    return got, None


async def raised(stream: LLMStream[Any]) -> APIError:
    with pytest.raises(APIError) as caught:
        await stream.collect()
    return caught.value


class Breaks(ChatModel, ChunkSource):
    """A model that gives one chunk and then fails."""

    def __init__(self, first: ChatChunk) -> None:
        self._first = first
        self.failure = APIConnectionError("broken")

    @property
    def model(self) -> str:
        return "breaks"

    @property
    def provider(self) -> str:
        return "test"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(self, call)

    async def run(self, sink: ChunkSink) -> None:
        sink.put((self._first,))
        raise self.failure


# --- The first that answers -----------------------------------------------------------------------


async def test_the_first_model_answers_and_no_other_is_asked(autojump_clock: MockClock) -> None:
    async with open_models(text("one"), text("two")) as models:
        stream = ask(FallbackAdapter(llm=models.llms))
        reply = await stream.collect()

        assert reply.text == "one"
        assert reply.finish_reason == stream.finish_reason == "stop"
        assert stream.usage == reply.usage
        assert models.asked == [1, 0]
        models.assert_quiet()


async def test_the_first_output_deadline_moves_on_at_the_exact_moment(
    autojump_clock: MockClock,
) -> None:
    async with open_models(SLOW, FAST) as models:
        adapter = FallbackAdapter(models.llms)
        options = APIConnectOptions(first_output_timeout=1)

        assert await timed(lambda: first_text(ask(adapter, conn_options=options))) == ("fast ", 1.2)
        models.assert_quiet()


async def test_the_slow_server_sees_the_close_before_its_next_write(
    autojump_clock: MockClock,
) -> None:
    async with open_models(SLOW, FAST) as models:
        start = trio.current_time()
        await ask(FallbackAdapter(models.llms, attempt_timeout=1)).collect()
        (gone,) = models.networks[0].connections

        assert gone.client_gone_at == start + 1
        assert gone.bytes_sent == 0


async def test_the_deadline_holds_while_keep_alives_trickle(autojump_clock: MockClock) -> None:
    async with open_models(KEEP_ALIVES, FAST) as models:
        adapter = FallbackAdapter(models.llms, attempt_timeout=2)

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 2.2)


async def test_the_default_deadline_is_five_seconds(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, FAST) as models:
        adapter = FallbackAdapter(models.llms)

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 5.2)


@pytest.mark.parametrize(
    "failure",
    [
        error(401),
        error(403),
        error(404),
        error(429),
        error(500),
        error(503),
        Exchange([Close()]),
        Exchange([Reset()]),
        sse(DONE[:6]),
        sse(b'data: {"error": {"message": "overloaded"}}\n\n'),
    ],
)
async def test_an_error_that_another_model_may_not_have_moves_on(
    failure: Exchange, autojump_clock: MockClock
) -> None:
    async with open_models(failure, text("two")) as models:
        assert (await ask(FallbackAdapter(models.llms)).collect()).text == "two"
        models.assert_quiet()


@pytest.mark.parametrize("status", [400, 405, 406, 411, 413, 414, 415, 422, 431])
async def test_a_mistake_of_the_caller_is_raised_at_once(
    status: int, autojump_clock: MockClock
) -> None:
    async with open_models(error(status), text("two")) as models:
        adapter = FallbackAdapter(models.llms)
        failure = await raised(ask(adapter))

        assert isinstance(failure, APIStatusError)
        assert failure.status_code == status
        assert models.asked == [1, 0]
        assert [each.available for each in adapter.availability] == [True, True]


async def test_the_predicate_is_the_callers_to_choose(autojump_clock: MockClock) -> None:
    def only_400(failure: APIError) -> bool:
        return isinstance(failure, APIStatusError) and failure.status_code == 400

    async with open_models([error(400), error(503)], text("two")) as models:
        adapter = FallbackAdapter(models.llms, should_fall_back=only_400, cooldown=0)

        assert (await ask(adapter).collect()).text == "two"
        assert str(await raised(ask(adapter))) == "scripted error (status 503)"


async def test_a_failure_of_the_predicate_is_raised_bare(autojump_clock: MockClock) -> None:
    def broken(failure: APIError) -> bool:
        raise ZeroDivisionError

    async with open_models(error(503), text("two")) as models:
        with pytest.raises(ZeroDivisionError):
            await ask(FallbackAdapter(models.llms, should_fall_back=broken)).collect()
        models.assert_quiet()


async def test_a_retry_of_a_model_comes_before_the_next_one(autojump_clock: MockClock) -> None:
    script = [error(503), error(503), text("one")]
    async with open_models(script, text("two")) as models:
        adapter = FallbackAdapter(models.llms, max_retry_per_llm=2, retry_interval=0)
        stream = ask(adapter, conn_options=APIConnectOptions(max_retry=0))

        assert (await stream.collect()).text == "one"
        assert models.asked == [3, 0]


async def test_options_of_the_call_do_not_turn_on_retries(autojump_clock: MockClock) -> None:
    async with open_models(error(503), text("two")) as models:
        await ask(FallbackAdapter(models.llms)).collect()

        assert models.asked == [1, 1]


# --- Options of single models ---------------------------------------------------------------------


@pytest.mark.parametrize("as_mapping", [True, False])
async def test_a_cold_fallback_may_have_a_longer_deadline(
    as_mapping: bool, autojump_clock: MockClock
) -> None:
    async with open_models(SLOW, text("cold").after(20)) as models:
        longer = APIConnectOptions(first_output_timeout=30, timeout=30)
        options: Any = {models.llms[1]: longer} if as_mapping else [None, longer]
        adapter = FallbackAdapter(models.llms, attempt_timeout=1, conn_options=options)

        assert await timed(lambda: first_text(ask(adapter))) == ("cold", 21)


async def test_a_models_own_options_without_a_deadline_leave_that_of_the_call(
    autojump_clock: MockClock,
) -> None:
    async with open_models(SLOW, FAST) as models:
        own = APIConnectOptions(max_retry=7, total_timeout=100)
        adapter = FallbackAdapter(models.llms, conn_options=[own, None])
        options = APIConnectOptions(first_output_timeout=1, total_timeout=50)

        assert await timed(lambda: first_text(ask(adapter, conn_options=options))) == ("fast ", 1.2)


async def test_a_models_own_total_clock_is_its_own(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, FAST) as models:
        own = APIConnectOptions(total_timeout=2)
        adapter = FallbackAdapter(models.llms, conn_options=[own, None])

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 2.2)


async def test_options_of_the_llms_hold_where_nothing_closer_is_given(
    autojump_clock: MockClock,
) -> None:
    own = APIConnectOptions(max_retry=7, first_output_timeout=2)
    async with open_models(SLOW, FAST, conn_options=own) as models:
        adapter = FallbackAdapter(models.llms)
        within = FallbackAdapter([FallbackAdapter([models.llms[0]]), models.llms[1]])
        closer = APIConnectOptions(first_output_timeout=3)
        given = FallbackAdapter(models.llms, conn_options=[closer, None])
        call = APIConnectOptions(first_output_timeout=4)

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 2.2)
        assert await timed(lambda: first_text(ask(within))) == ("fast ", 2.2)
        assert await timed(lambda: first_text(ask(given))) == ("fast ", 3.2)
        assert await timed(
            lambda: first_text(ask(FallbackAdapter(models.llms), conn_options=call))
        ) == ("fast ", 4.2)


async def test_the_total_clock_of_the_call_bounds_all_models_together(
    autojump_clock: MockClock,
) -> None:
    async with open_models(SLOW, SLOW, SLOW) as models:
        adapter = FallbackAdapter(models.llms, attempt_timeout=2)
        stream = ask(adapter, conn_options=APIConnectOptions(total_timeout=3))
        failure, seconds = await timed(stream.collect)

        assert seconds == 3
        assert isinstance(failure, APITimeoutError)
        assert failure.clock == "total"
        assert [type(each) for each in failure.other_errors] == [APITimeoutError]
        assert models.asked == [1, 1, 0]
        # The second model had a second only, which says nothing of it.
        assert [each.available for each in adapter.availability] == [False, True, True]


async def test_a_total_clock_that_runs_out_between_two_models_is_the_error(
    autojump_clock: MockClock,
) -> None:
    async with open_models(error(503), text("late")) as models:
        adapter = FallbackAdapter(
            models.llms,
            max_retry_per_llm=0,
            on_availability_changed=lambda _: autojump_clock.jump(5),
        )
        stream = ask(adapter, conn_options=APIConnectOptions(total_timeout=3))
        with pytest.raises(APITimeoutError) as caught:
            await stream.collect()

        assert caught.value.clock == "total"
        assert [type(each) for each in caught.value.other_errors] == [APIStatusError]
        assert models.asked == [1, 0]
        assert [each.available for each in adapter.availability] == [False, True]


async def test_what_is_asked_later_is_what_was_asked(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, text('{"a": 1}')) as models:
        extra: dict[str, Any] = {"metadata": {"a": "1"}}
        response_format = {"type": "json_object"}
        stream = FallbackAdapter(models.llms, attempt_timeout=1).chat(
            chat_ctx=conversation(),
            conn_options=APIConnectOptions(total_timeout=5),
            extra_kwargs=extra,
            response_format=response_format,
        )
        extra["metadata"]["a"] = "2"
        response_format["type"] = "text"
        await stream.collect()
        first, second = (network.requests[0].json() for network in models.networks)

        assert first | {"model": "model-1"} == second
        assert second["metadata"] == {"a": "1"}


# --- All fail -------------------------------------------------------------------------------------


async def test_the_last_error_carries_every_models_error(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, error(503), error(429, retry_after=7)) as models:
        stream = ask(FallbackAdapter(models.llms, attempt_timeout=1))
        failure = await raised(stream)

        assert isinstance(failure, APIStatusError)
        assert failure.status_code == 429
        assert [str(each) for each in failure.other_errors] == [
            "no output came within first_output_timeout",
            "scripted error (status 503)",
        ]
        assert failure.__notes__ == [
            f"before that, model-0 failed: APITimeoutError: {failure.other_errors[0]}",
            "before that, model-1 failed: APIStatusError: scripted error (status 503)",
        ]
        assert [(each.number, each.model, each.started) for each in failure.attempts] == [
            (1, "model-0", 0),
            (2, "model-1", 1),
            (3, "model-2", 1),
        ]
        assert stream.response.attempts == failure.attempts
        assert stream.response.status_code == 429
        assert len(pickle.loads(pickle.dumps(failure)).other_errors) == 2
        models.assert_quiet()


async def test_attempts_are_told_in_the_time_of_the_stream(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, FAST) as models:
        stream = ask(FallbackAdapter(models.llms, attempt_timeout=1))
        assert stream.response.attempts == ()
        await stream.collect()
        first, second = stream.response.attempts

        assert (first.started, first.ended, first.headers) == (0, 1, None)
        assert (second.started, second.first_output) == (1, 1.2)
        assert second.error is None


async def test_one_model_is_enough(autojump_clock: MockClock) -> None:
    async with open_models([error(503), text("one")]) as models:
        adapter = FallbackAdapter(models.llms)
        failure = await raised(ask(adapter))

        assert failure.other_errors == ()
        assert not hasattr(failure, "__notes__")
        # A model that has failed is asked all the same if there is no other.
        assert (await ask(adapter).collect()).text == "one"


# --- After output ---------------------------------------------------------------------------------


async def test_after_output_it_does_not_switch(autojump_clock: MockClock) -> None:
    async with open_models(CUT, text("two")) as models:
        adapter = FallbackAdapter(models.llms)
        failure = await raised(ask(adapter))

        assert isinstance(failure, APIConnectionError)
        assert failure.partial.text == "half an "
        assert not failure.retryable
        assert models.asked == [1, 0]
        assert [each.available for each in adapter.availability] == [False, True]


async def test_asked_to_it_restarts_with_a_marker(autojump_clock: MockClock) -> None:
    async with open_models(CUT, text("two")) as models:
        stream = ask(FallbackAdapter(models.llms, restart_after_output=True))
        got, failure = await chunks_of(stream)

        assert failure is None
        assert [each.delta.content if each.delta else each.restart for each in got[:3]] == [
            "half an ",
            True,
            "two",
        ]
        assert got[1] == ChatChunk(restart=True)
        assert stream.finish_reason == "stop"


async def test_the_whole_answer_is_that_of_the_last_model(autojump_clock: MockClock) -> None:
    async with open_models(CUT, text("two")) as models:
        reply = await ask(FallbackAdapter(models.llms, restart_after_output=True)).collect()

        assert reply.text == "two"


async def test_there_is_no_marker_when_no_model_is_left(autojump_clock: MockClock) -> None:
    async with open_models(CUT, CUT) as models:
        stream = ask(FallbackAdapter(models.llms, restart_after_output=True))
        got, failure = await chunks_of(stream)

        assert [each.restart for each in got] == [False, True, False]
        assert len(failure.other_errors) == 1


async def test_after_a_restart_nothing_may_be_retried(autojump_clock: MockClock) -> None:
    async with open_models(CUT, error(503), error(503)) as models:
        stream = ask(FallbackAdapter(models.llms, restart_after_output=True))
        got, failure = await chunks_of(stream)

        assert [each.restart for each in got] == [False, True]
        assert isinstance(failure, APIStatusError)
        assert not failure.retryable


async def test_after_a_tool_call_it_never_restarts(autojump_clock: MockClock) -> None:
    call = ChatChunk(delta=ChoiceDelta(tool_calls=[FunctionToolCall("f", "{}", "call_0")]))
    async with open_models(text("two")) as models:
        breaks = Breaks(call)
        stream = ask(FallbackAdapter([breaks, *models.llms], restart_after_output=True))
        got, failure = await chunks_of(stream)

        assert got == [call]
        assert failure is breaks.failure
        assert models.asked == [0]


async def test_reasoning_is_no_output_unless_it_is_said_to_be(autojump_clock: MockClock) -> None:
    thinks = sse(reasoning_chunk("hm"), end=False).then(Reset())
    async with open_models(thinks, text("two")) as models:
        adapter = FallbackAdapter(models.llms, cooldown=0)
        assert (await ask(adapter).collect()).text == "two"

        options = APIConnectOptions(reasoning_is_output=True)
        failure = await raised(ask(adapter, conn_options=options))
        assert failure.partial.reasoning == "hm"


# --- Judging the whole answer ---------------------------------------------------------------------


async def test_an_answer_that_is_not_accepted_is_followed_by_another(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    def is_long(reply: CollectedResponse[Any]) -> bool:
        seen.append(reply.text)
        return len(reply.text) > 3

    async with open_models(text("one"), text("three")) as models:
        adapter = FallbackAdapter(models.llms, accept=is_long)
        async with ask(adapter) as stream:
            got = [piece async for piece in stream.text]

        assert got == ["three"]
        assert seen == ["one", "three"]
        # An answer that was not good enough is no outage.
        assert all(each.available for each in adapter.availability)
        models.assert_quiet()


async def test_a_judge_may_be_async(autojump_clock: MockClock) -> None:
    async def is_long(reply: CollectedResponse[Any]) -> bool:
        await trio.sleep(1)
        return len(reply.text) > 3

    async with open_models(text("one"), text("three")) as models:
        adapter = FallbackAdapter(models.llms, accept=is_long)

        assert await timed(lambda: first_text(ask(adapter))) == ("three", 2)


async def test_if_no_answer_is_accepted_the_last_one_is_in_the_error(
    autojump_clock: MockClock,
) -> None:
    async with open_models(text("one"), text("two")) as models:
        failure = await raised(ask(FallbackAdapter(models.llms, accept=lambda _: False)))

        assert failure.message == "the answer of model-1 was not accepted"
        assert failure.partial.text == "two"
        assert not failure.retryable
        assert [each.partial.text for each in failure.other_errors] == ["one"]


async def test_a_judge_that_returns_nothing_has_forgotten_it(autojump_clock: MockClock) -> None:
    def judge(answer: CollectedResponse[Any]) -> Any:
        answer.text.startswith("o")

    async def judge_later(answer: CollectedResponse[Any]) -> Any:
        judge(answer)

    for accept in (judge, judge_later):
        async with open_models(text("one"), text("two")) as models:
            adapter = FallbackAdapter(models.llms, accept=accept)
            with pytest.raises(TypeError, match="accept returned None; it returns True or False"):
                await ask(adapter).collect()


async def test_nothing_is_delivered_before_the_verdict(autojump_clock: MockClock) -> None:
    async with open_models(CUT, text("a", "b", every=1.0)) as models:
        adapter = FallbackAdapter(models.llms, accept=lambda _: True)
        async with ask(adapter) as stream:
            # "b", the finish reason, the usage and the end mark come a second after one another.
            assert await timed(lambda: anext(stream.text)) == ("a", 4)
            assert stream.finish_reason == "stop"
            assert [piece async for piece in stream.text] == ["b"]


async def test_the_judge_gets_the_value_and_an_answer_without_one_is_not_accepted(
    autojump_clock: MockClock,
) -> None:
    @attrs.frozen
    class Whale:
        name: str

    seen: list[object] = []

    def look(reply: CollectedResponse[Any]) -> bool:
        seen.append(reply.parsed)
        return True

    async with open_models(text("sorry"), text('{"name": "Moby"}')) as models:
        adapter = FallbackAdapter(models.llms, accept=look)
        reply = await ask(adapter, response_format=Whale).collect()

        assert reply.parsed == Whale("Moby")
        assert seen == [Whale("Moby")]
        assert all(each.available for each in adapter.availability)


async def test_without_a_judge_an_answer_that_does_not_fit_is_the_callers(
    autojump_clock: MockClock,
) -> None:
    @attrs.frozen
    class Whale:
        name: str

    async with open_models(text("sorry"), text('{"name": "Moby"}')) as models:
        stream = ask(FallbackAdapter(models.llms), response_format=Whale)
        async with stream:
            assert [piece async for piece in stream.text] == ["sorry"]
            with pytest.raises(APIResponseFormatError):
                await stream.collect()


# --- What is remembered ---------------------------------------------------------------------------


def states(adapter: FallbackAdapter) -> list[bool]:
    return [each.available for each in adapter.availability]


async def test_a_failed_model_is_passed_over_and_one_request_tries_it_again(
    autojump_clock: MockClock,
) -> None:
    async with open_models([error(503), text("one"), text("one")], FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=10)
        assert (await ask(adapter).collect()).text == "fast answer"
        assert states(adapter) == [False, True]
        assert adapter.model == "model-1"
        assert repr(adapter) == "<FallbackAdapter model-0 (failed), model-1>"

        await trio.sleep(9)
        assert (await ask(adapter).collect()).text == "fast answer"
        assert models.asked == [1, 2]

        await trio.sleep(1)
        assert adapter.model == "model-0"
        assert adapter.provider == "livekit"
        assert (await ask(adapter).collect()).text == "one"
        assert states(adapter) == [True, True]
        assert (await ask(adapter).collect()).text == "one"
        assert models.asked == [3, 2]


async def test_a_model_without_a_free_place_is_passed_over_once_and_has_not_failed(
    autojump_clock: MockClock,
) -> None:
    held = sse(text_chunk("held"), Hold())
    async with (
        MemoryNetwork(held) as busy,
        MemoryNetwork(text("other")) as free,
        open_llm(busy, max_streams=1) as first,
        open_llm(free) as second,
    ):
        adapter = FallbackAdapter([first, second], attempt_timeout=1, cooldown=10)
        async with ask(first) as holder:
            await anext(holder)
            start = trio.current_time()
            assert (await ask(adapter).collect()).text == "other"
            assert trio.current_time() == start + 1
        assert states(adapter) == [True, True]
        assert len(busy.requests) == 1


async def test_only_one_request_at_a_time_tries_a_failed_model_again(
    autojump_clock: MockClock,
) -> None:
    async with open_models([error(503), text("one").after(2), text("one")], FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=10)
        await ask(adapter).collect()
        await trio.sleep(10)
        got: list[str] = []

        async def one() -> None:
            got.append((await ask(adapter).collect()).text)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)

        assert got == ["fast answer"] * 4 + ["one"]
        assert models.asked == [2, 5]


async def test_a_trial_that_fails_begins_a_new_cooldown(autojump_clock: MockClock) -> None:
    async with open_models(error(503), FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=10)
        for asked in ([1, 1], [2, 2], [2, 3]):
            await ask(adapter).collect()
            assert models.asked == asked
            await trio.sleep(10 if asked == [1, 1] else 5)


async def test_a_trial_that_is_given_up_leaves_the_trial_to_the_next(
    autojump_clock: MockClock,
) -> None:
    async with open_models([error(503), SLOW, text("one")], FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=10)
        await ask(adapter).collect()
        await trio.sleep(10)
        with trio.move_on_after(1):
            await ask(adapter).collect()

        assert (await ask(adapter).collect()).text == "one"


async def test_no_retry_after_keeps_a_model_out_for_longer_than_a_day(
    autojump_clock: MockClock,
) -> None:
    async with open_models([error(429, retry_after=10**8), text("one")], FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=10)
        await ask(adapter).collect()
        await trio.sleep(24 * 60 * 60 - 2)
        assert adapter.model == "model-1"
        await trio.sleep(2)
        assert (await ask(adapter).collect()).text == "one"


async def test_the_time_of_a_reset_is_no_delay(autojump_clock: MockClock) -> None:
    reset = int(time.time()) + 20
    async with open_models([error(429, retry_after=reset), text("one")], FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=5)
        await ask(adapter).collect()
        await trio.sleep(10)
        assert adapter.model == "model-1"
        await trio.sleep(11)
        assert adapter.model == "model-0"


async def answer_no(_: Any) -> bool:
    return False


def returns_an_awaitable(_: Any) -> Any:
    return answer_no(_)


@pytest.mark.parametrize("name", ["should_fall_back", "on_availability_changed"])
async def test_what_is_not_awaited_must_not_be_async(
    name: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_models(error(503), FAST) as models:
        with pytest.raises(TypeError, match=f"{name} must not be async"):
            FallbackAdapter(models.llms, **{name: answer_no})
        adapter = FallbackAdapter(models.llms, **{name: returns_an_awaitable})
        if name == "should_fall_back":
            with pytest.raises(TypeError, match=f"{name} must not be async"):
                await ask(adapter).collect()
        else:
            assert (await ask(adapter).collect()).text == "fast answer"
            assert "must not be async" in caplog.text


async def test_a_timeout_that_a_models_options_do_not_give_is_the_calls(
    autojump_clock: MockClock,
) -> None:
    stalls = Exchange([Hold()])
    async with open_models(stalls, FAST) as models:
        own = APIConnectOptions(first_output_timeout=50)
        adapter = FallbackAdapter(models.llms, conn_options=[own, None])
        for options, seconds in (
            (APIConnectOptions(timeout=3), 3),
            (APIConnectOptions(max_retry=1), 10),
        ):
            start = trio.current_time()
            stream = ask(adapter, conn_options=options)
            await stream.collect()
            assert stream.response.attempts[0].ended == seconds
            await trio.sleep(start + 100 - trio.current_time())


async def test_a_longer_retry_after_is_obeyed(autojump_clock: MockClock) -> None:
    async with open_models([error(429, retry_after=60), text("one")], FAST) as models:
        adapter = FallbackAdapter(models.llms, cooldown=10)
        start = trio.current_time()
        await ask(adapter).collect()
        first, second = adapter.availability

        assert first.retry_at == start + 60
        assert isinstance(first.last_error, APIStatusError)
        assert second == ModelAvailability(models.llms[1], True)


async def test_models_that_are_passed_over_are_asked_when_all_others_have_failed(
    autojump_clock: MockClock,
) -> None:
    async with open_models([error(503), text("one")], [FAST, error(503)]) as models:
        adapter = FallbackAdapter(models.llms)
        await ask(adapter).collect()

        assert (await ask(adapter).collect()).text == "one"
        assert states(adapter) == [True, False]


async def test_sticky_stays_with_the_model_that_answered(autojump_clock: MockClock) -> None:
    script = [error(503), text("one")]
    async with open_models(script, [FAST, FAST, error(500)]) as models:
        adapter = FallbackAdapter(models.llms, sticky=True, cooldown=0)
        assert (await ask(adapter).collect()).text == "fast answer"
        assert (await ask(adapter).collect()).text == "fast answer"
        assert (await ask(adapter).collect()).text == "one"
        assert adapter.model == "model-0"


async def test_changes_of_availability_are_told_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[AvailabilityChangedEvent] = []
    script = [error(503), error(503), text("one"), text("one")]
    with caplog.at_level(logging.INFO, "lktrio"):
        async with open_models(script, FAST) as models:
            adapter = FallbackAdapter(
                models.llms, cooldown=0, on_availability_changed=events.append
            )
            for _ in range(4):
                await ask(adapter).collect()

            assert events == [
                AvailabilityChangedEvent(models.llms[0], False),
                AvailabilityChangedEvent(models.llms[0], True),
            ]
    assert caplog.messages == ["model-0 has failed", "model-0 answers again"]


async def test_a_hook_that_fails_does_not_cost_the_answer(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: AvailabilityChangedEvent) -> None:
        raise ZeroDivisionError

    async with open_models(error(503), FAST) as models:
        adapter = FallbackAdapter(models.llms, on_availability_changed=broken)

        assert (await ask(adapter).collect()).text == "fast answer"
    assert caplog.messages == ["on_availability_changed raised an exception"]


# --- A stream like every stream -------------------------------------------------------------------


async def test_chat_makes_a_value_and_sends_nothing(autojump_clock: MockClock) -> None:
    with no_leaks():
        async with open_models(FAST, FAST) as models:
            ask(FallbackAdapter(models.llms))
            await trio.testing.wait_all_tasks_blocked()

            assert models.asked == [0, 0]


async def test_the_conversation_is_taken_as_it_was_when_chat_was_called(
    autojump_clock: MockClock,
) -> None:
    async with open_models(error(503), FAST) as models:
        chat_ctx = conversation("before")
        stream = FallbackAdapter(models.llms).chat(chat_ctx=chat_ctx)
        chat_ctx.add_message(role="user", content="after")
        assert len(stream.chat_ctx.items) == 1
        await stream.collect()

        for network in models.networks:
            (request,) = network.requests
            assert request.json()["messages"] == [{"role": "user", "content": "before"}]


async def test_entering_a_stream_twice(autojump_clock: MockClock) -> None:
    async with open_models(FAST) as models, ask(FallbackAdapter(models.llms)) as stream:
        with pytest.raises(RuntimeError, match="a stream is entered once"):
            await stream.__aenter__()


async def test_a_model_that_was_not_entered_is_named_where_the_stream_is_entered(
    autojump_clock: MockClock,
) -> None:
    async with open_models(FAST) as models:
        closed = LLM("m", base_url=BASE_URL, auth=None)
        stream = ask(FallbackAdapter([*models.llms, closed]))
        with pytest.raises(RuntimeError, match="this LLM was not entered"):
            await stream.collect()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"extra_kwargs": {"temprature": 1}}, ValueError, "temperature"),
        ({"conn_options": 3}, TypeError, "conn_options must be an APIConnectOptions, not an int"),
        (
            {"chat_ctx": []},
            TypeError,
            r"chat_ctx must be a ChatContext, not a list; .*from_openai\(messages",
        ),
    ],
)
async def test_a_bad_argument_is_refused_at_the_call(
    options: dict[str, Any], kind: type[Exception], message: str, autojump_clock: MockClock
) -> None:
    async with open_models(FAST, FAST) as models:
        with pytest.raises(kind, match=message):
            FallbackAdapter(models.llms).chat(**{"chat_ctx": conversation(), **options})


async def test_a_bad_argument_for_a_later_model_is_refused_at_the_call(
    autojump_clock: MockClock,
) -> None:
    class Refuses(LLM):
        def stream(self, call: Any) -> LLMStream[Any]:
            raise ValueError("not mine")

    async with open_models(FAST) as models:
        refuses = Refuses("m", base_url=BASE_URL, auth=None)
        with pytest.raises(ValueError, match="not mine"):
            ask(FallbackAdapter([*models.llms, refuses]))


async def test_ten_streams_use_one_connection(autojump_clock: MockClock) -> None:
    async with open_models(text("one")) as models:
        adapter = FallbackAdapter(models.llms)
        for _ in range(10):
            await ask(adapter).collect()

        assert len(models.networks[0].connections) == 1


async def test_a_break_after_the_finish_reason_keeps_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_models(text("one")) as models:
        for _ in range(3):
            async with ask(FallbackAdapter(models.llms)) as stream:
                async for each in stream:
                    if each.finish_reason:
                        break

        assert len(models.networks[0].connections) == 1


async def test_the_consumer_sees_the_end_and_not_the_end_of_the_body(
    autojump_clock: MockClock,
) -> None:
    held = sse(text_chunk("one"), finish(), DONE, Hold())
    async with open_models(held) as models:
        async with ask(FallbackAdapter(models.llms)) as stream:
            assert await timed(stream.collect) == (await stream.collect(), 0)


async def test_leaving_early_closes_the_connection(autojump_clock: MockClock) -> None:
    async with open_models(text("a", "b", every=1)) as models:
        assert await first_text(ask(FallbackAdapter(models.llms))) == "a"
        models.assert_quiet()
        assert models.networks[0].connections[0].closed_by == "client"


async def test_an_abandoned_wait_loses_nothing(autojump_clock: MockClock) -> None:
    pieces = [f"{number} " for number in range(20)]
    async with open_models(SLOW, text(*pieces, every=0.7)) as models:
        got = ""
        async with ask(FallbackAdapter(models.llms, attempt_timeout=1)) as stream:
            while True:
                with trio.move_on_after(0.3) as wait:
                    async for piece in stream.text:
                        got += piece
                if not wait.cancelled_caught:
                    break

        assert got == "".join(pieces)


async def test_a_consumer_that_stops_reading_stops_the_reading(autojump_clock: MockClock) -> None:
    pieces = ["x" * 10_000] * 200
    async with open_models(text(*pieces)) as models:
        async with ask(FallbackAdapter(models.llms)) as stream:
            got = len(await anext(stream.text))
            await trio.sleep(60)
            sent = models.networks[0].connections[0].bytes_sent
            assert sent < 800_000
            async for piece in stream.text:
                got += len(piece)

        assert got == 2_000_000


async def test_a_failure_that_nobody_looked_at_is_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_models(error(503), error(503)) as models:
        async with ask(FallbackAdapter(models.llms)):
            await trio.sleep(1)

    assert len(caplog.messages) == 1
    assert "was left without looking at its failure" in caplog.messages[0]


# --- Together with the rest -----------------------------------------------------------------------


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"rain in {city}"


async def test_tools_are_offered_to_every_model_and_calls_come_through(
    autojump_clock: MockClock,
) -> None:
    calls = tool_calls(ToolCall("get_weather", {"city": "Oslo"}))
    async with open_models(error(503), calls) as models:
        stream = ask(FallbackAdapter(models.llms), tools=[get_weather])
        reply = await stream.collect()

        assert [call.name for call in reply.tool_calls] == ["get_weather"]
        assert stream.tools == [get_weather]
        for network in models.networks:
            assert network.requests[0].json()["tools"][0]["function"]["name"] == "get_weather"


async def test_a_fallback_of_fallbacks(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, error(503), FAST) as models:
        inner = FallbackAdapter(models.llms[:2], attempt_timeout=1)
        outer = FallbackAdapter([inner, models.llms[2]], attempt_timeout=math.inf)
        stream = ask(outer)

        assert await timed(lambda: first_text(stream)) == ("fast ", 1.2)
        assert [each.model for each in stream.response.attempts] == [
            "model-0",
            "model-1",
            "model-2",
        ]
        assert [each.available for each in outer.availability] == [False, True]
        models.assert_quiet()


async def test_errors_of_adapters_in_adapters_are_all_there(autojump_clock: MockClock) -> None:
    async with open_models(error(500), error(501), error(502), error(503)) as models:
        left, right = FallbackAdapter(models.llms[:2]), FallbackAdapter(models.llms[2:])
        failure = await raised(ask(FallbackAdapter([left, right])))
        others: list[Any] = list(failure.other_errors)

        assert [each.status_code for each in others] == [500, 501, 502]
        assert isinstance(failure, APIStatusError)
        assert failure.status_code == 503
        assert len(failure.attempts) == 4


async def test_what_an_inner_adapter_made_void_is_not_part_of_a_judged_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_models(CUT, text("two")) as models:
        inner = FallbackAdapter(models.llms, restart_after_output=True)
        async with ask(FallbackAdapter([inner], accept=lambda _: True)) as stream:
            assert [piece async for piece in stream.text] == ["two"]


async def test_a_fallback_of_hedges(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, SLOW, SLOW, FAST) as models:
        hedges: list[Any] = [
            HedgeAdapter(pair, after=0.5) for pair in (models.llms[:2], models.llms[2:])
        ]
        stream = ask(FallbackAdapter(hedges, attempt_timeout=1))

        # Both requests of the first hedge have a second each.
        assert await timed(lambda: first_text(stream)) == ("fast ", 1.5 + 0.7)
        assert [each.model for each in stream.response.attempts] == [
            f"model-{number}" for number in range(4)
        ]
        models.assert_quiet()


# --- Bad input ------------------------------------------------------------------------------------


def some_llm() -> LLM:
    return LLM("m", base_url=BASE_URL, auth=None)


BAD_INPUT: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no model": ([], {}, ValueError, r"llm=\[\] holds no model"),
    "one model": (some_llm(), {}, TypeError, "llm must be a list of ChatModel, not an LLM"),
    "a string": ("gpt", {}, TypeError, "llm must be a list of ChatModel, not a str"),
    "no models": ([some_llm(), "gpt"], {}, TypeError, r"llm\[1\] must be a ChatModel"),
    "negative": ([some_llm()], {"attempt_timeout": -1}, ValueError, "attempt_timeout=-1"),
    "zero": ([some_llm()], {"attempt_timeout": 0}, ValueError, "attempt_timeout=0"),
    "retries": ([some_llm()], {"max_retry_per_llm": -1}, ValueError, "max_retry_per_llm=-1"),
    "interval": ([some_llm()], {"retry_interval": -1}, ValueError, "retry_interval=-1"),
    "cooldown": ([some_llm()], {"cooldown": -1}, ValueError, "cooldown=-1"),
    "NaN": ([some_llm()], {"cooldown": math.nan}, ValueError, "cooldown=nan"),
    "no number": ([some_llm()], {"cooldown": "1"}, TypeError, "cooldown='1'"),
    "accept": ([some_llm()], {"accept": True}, TypeError, "accept must be callable"),
    "predicate": ([some_llm()], {"should_fall_back": None}, TypeError, "should_fall_back must be"),
    "hook": ([some_llm()], {"on_availability_changed": 1}, TypeError, "on_availability_changed"),
    "options: too many": (
        [some_llm()],
        {"conn_options": [None, None]},
        ValueError,
        "conn_options has 2 entries for 1 models",
    ),
    "options: no options": (
        [some_llm()],
        {"conn_options": [3]},
        TypeError,
        "conn_options must hold APIConnectOptions, not an int",
    ),
    "options: unknown model": (
        [some_llm()],
        {"conn_options": {some_llm(): APIConnectOptions()}},
        ValueError,
        "which is not among the models",
    ),
    "options: one for all": (
        [some_llm()],
        {"conn_options": APIConnectOptions()},
        TypeError,
        "conn_options must be a list",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_named(name: str) -> None:
    llm, options, kind, message = BAD_INPUT[name]
    with pytest.raises(kind, match=message):
        FallbackAdapter(llm, **options)


def test_it_is_a_plain_value_outside_of_a_run() -> None:
    adapter = FallbackAdapter([some_llm()])

    assert adapter.model == "m"
    assert adapter.label == "lktrio.FallbackAdapter"


# --- Cut at every step ----------------------------------------------------------------------------

PIECES = ["Whales ", "sing ", "together."]
WHOLE = "".join(PIECES)
ANSWER = sse(
    text_chunk(PIECES[0]), Wait(0.5), *map(text_chunk, PIECES[1:]), finish(), usage(9, 3), DONE
)
HALF = sse(text_chunk(PIECES[0]), end=False).then(Wait(0.5), Reset())

SCENARIOS: dict[str, tuple[list[Exchange], dict[str, Any]]] = {
    "deadline": ([KEEP_ALIVES, ANSWER], {"attempt_timeout": 1}),
    "errors": ([error(503), Exchange([Reset()]), ANSWER], {}),
    "restart": ([HALF, ANSWER], {"restart_after_output": True}),
    "judged": ([text("no"), ANSWER], {"accept": lambda reply: reply.text != "no"}),
}


def runs(name: str) -> Callable[[Cut], Any]:
    scripts, options = SCENARIOS[name]

    async def read(adapter: FallbackAdapter, cut: Cut) -> str:
        got = ""
        async with ask(adapter) as stream:
            while True:
                with cut.one_wait() as wait:
                    async for each in stream:
                        if each.restart:
                            got = ""
                        got += (each.delta and each.delta.content) or ""
                if not wait.cancelled_caught:
                    return got

    async def run(cut: Cut) -> str:
        result = "cut"
        async with open_models(*scripts) as models:
            adapter = FallbackAdapter(models.llms, **options)
            with cut.watched(), cut.scope:
                try:
                    result = await read(adapter, cut)
                except APITimeoutError as exc:
                    result = f"timeout: {exc.clock}"
            models.assert_quiet()
            assert not any(health.on_trial for health in adapter._pool.health)
            # Whatever happened: the next stream is answered.
            assert (await ask(adapter).collect()).text == WHOLE
            models.assert_quiet()
        return result

    return run


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_the_block_leaves_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_BLOCK, series)

    assert outcome.undisturbed == WHOLE
    assert set(outcome.results) <= {"cut", WHOLE}
    assert "cut" in outcome.results


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_one_wait_loses_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_WAIT, series)

    assert set(outcome.results) == {WHOLE}


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_ctrl_c_leaves_nothing_and_is_bare(name: str, series: Series) -> None:
    sweep(runs(name), INTERRUPT, series)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_clock_that_fires_leaves_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), advance(60), series)

    for result in outcome.results:
        assert result == WHOLE or result.startswith("timeout: ")


# --- In a turn ------------------------------------------------------------------------------------


async def test_a_turn_keeps_only_the_answer_that_was_begun_anew(autojump_clock: MockClock) -> None:
    breaks = sse(text_chunk("Never "), end=False).then(Reset())
    async with open_models(breaks, text("mind.")) as models:
        adapter = FallbackAdapter(models.llms, restart_after_output=True)
        chat_ctx = conversation()
        async with run_turn(adapter, chat_ctx=chat_ctx) as turn:
            events = [event async for event in turn]

    told = [event.text if isinstance(event, TextDelta) else event.type for event in events]
    assert told == ["Never ", "answer_restarted", "mind.", "round_finished"]
    assert [item.content for item in chat_ctx.messages()][1:] == [["mind."]]


async def test_partial_values_begin_anew_too(autojump_clock: MockClock) -> None:
    breaks = sse(text_chunk('{"x": 1, '), end=False).then(Reset())
    async with open_models(breaks, text('{"x": 2}')) as models:
        adapter = FallbackAdapter(models.llms, restart_after_output=True)
        stream = adapter.chat(chat_ctx=conversation(), response_format={"type": "json_object"})
        async with stream:
            values = [value async for value in stream.partial_values]
    assert values == [{"x": 1}, {"x": 2}]


# --- prewarm -------------------------------------------------------------------------------------


LISTED = response(200, b'{"data": []}', {"Content-Type": "application/json"})


async def test_prewarming_readies_all_models_at_the_same_time(autojump_clock: MockClock) -> None:
    async with open_models([LISTED, FAST], [LISTED, FAST], connect_delay=2) as models:
        llm = FallbackAdapter(models.llms)
        await llm.prewarm()
        assert trio.current_time() == pytest.approx(2, abs=0.1)
        models.assert_quiet()

        assert (await llm.chat(chat_ctx=conversation()).collect()).text == "fast answer"
        assert models.asked == [2, 1]
        assert len(models.networks[0].connections) == 1


async def test_a_model_that_cannot_be_prewarmed_is_passed_over(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    refused = error(401, "unknown key")
    async with open_models(refused, [LISTED, FAST]) as models:
        llm = FallbackAdapter(models.llms)
        with caplog.at_level(logging.WARNING, "lktrio"):
            await llm.prewarm()

        assert [each.available for each in llm.availability] == [False, True]
        assert "model-0 could not be prewarmed: APIStatusError, status 401" in caplog.text
        assert "unknown key" not in caplog.text
        assert (await llm.chat(chat_ctx=conversation()).collect()).text == "fast answer"
        assert models.asked == [1, 2]


@pytest.mark.parametrize("adapter", [FallbackAdapter, lambda llms: HedgeAdapter(llms, after=1)])
async def test_where_no_model_can_be_prewarmed_the_error_is_raised_bare(
    autojump_clock: MockClock, adapter: Any
) -> None:
    async with open_models(error(401, "no"), error(403, "neither").after(1)) as models:
        with pytest.raises(APIStatusError, match="neither") as caught:
            await adapter(models.llms).prewarm()
        models.assert_quiet()
    assert [str(each.status_code) for each in caught.value.other_errors] == ["401"]


async def test_an_adapter_of_adapters_prewarms_what_is_below(autojump_clock: MockClock) -> None:
    async with open_models([LISTED], [LISTED] * 2) as models:
        first, second = models.llms
        await FallbackAdapter([first, HedgeAdapter(second, after=1)]).prewarm()
        assert models.asked == [1, 2]


async def test_a_model_of_one_s_own_need_not_be_prewarmed() -> None:
    class Own(ChatModel):
        model = provider = "own"

        def stream(self, call: ChatCall) -> LLMStream[Any]:
            raise AssertionError

    with trio.testing.assert_checkpoints():
        await FallbackAdapter([Own()]).prewarm()


async def test_prewarming_a_model_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await FallbackAdapter([LLM("m", base_url=BASE_URL, auth=None)]).prewarm()


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=["cancel", "Ctrl-C"])
def test_cut_while_all_models_are_prewarmed_nothing_is_left(action: Any, series: Series) -> None:
    async def run(cut: Cut) -> str:
        result = "cut"
        async with open_models([LISTED], [LISTED]) as models:
            with cut.watched(), cut.scope:
                await FallbackAdapter(models.llms).prewarm()
                result = "ready"
            models.assert_quiet()
        return result

    assert sweep(run, action, series).undisturbed == "ready"
