"""`HedgeAdapter`: when a second request starts, who wins, what becomes of the loser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatCall,
    ChatChunk,
    ChatModel,
    ChoiceDelta,
    ChunkSink,
    ChunkSource,
    CollectedResponse,
    CompletionUsage,
    FallbackAdapter,
    HedgeAdapter,
    HedgeStatistics,
    LLMStream,
    function_tool,
    run_turn,
)
from tests.support.engine import BASE_URL, conversation, timed
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
    event,
    finish,
    reasoning_chunk,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    tool_calls,
    usage,
)
from tests.support.several import FAST, LATE, SLOW, open_models

CUT = sse(text_chunk("half an "), end=False).then(Reset())
CUT_CALL = sse(tool_call_chunk("{", id="call_a", name="f"), end=False).then(Reset())


def ask(model: ChatModel, **options: Any) -> LLMStream[Any]:
    return model.chat(chat_ctx=conversation(), **options)


async def first_text(stream: LLMStream[Any]) -> str:
    async with stream:
        return await anext(stream.text)


async def raised(stream: LLMStream[Any]) -> APIError:
    with pytest.raises(APIError) as caught:
        await stream.collect()
    return caught.value


# --- The race -------------------------------------------------------------------------------------


async def test_the_second_request_starts_at_the_exact_moment_and_wins(
    autojump_clock: MockClock,
) -> None:
    async with open_models(SLOW, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0.5)

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 0.7)
        models.assert_quiet()


async def test_the_loser_is_closed_at_once_before_its_next_write(
    autojump_clock: MockClock,
) -> None:
    slow = sse(reasoning_chunk("hm"), Wait(9), text_chunk("late"), finish(), DONE)
    async with open_models(slow, FAST) as models:
        start = trio.current_time()
        async with ask(HedgeAdapter(models.llms, after=0.5)) as stream:
            assert await anext(stream.text) == "fast "
            (loser,) = models.networks[0].connections
            await loser.client_gone.wait()

            assert trio.current_time() == start + 0.7
            assert loser.unplayed[0] == Wait(9)
            # The winner goes on.
            assert [piece async for piece in stream.text] == ["answer"]
        models.assert_quiet()


async def test_a_first_request_that_answers_in_time_is_alone(autojump_clock: MockClock) -> None:
    async with open_models(FAST, text("two")) as models:
        adapter = HedgeAdapter(models.llms, after=0.5)

        assert (await ask(adapter).collect()).text == "fast answer"
        assert models.asked == [1, 0]
        assert adapter.statistics() == HedgeStatistics(streams=1)


async def test_the_first_request_may_win_after_the_second_has_started(
    autojump_clock: MockClock,
) -> None:
    async with open_models(text("one").after(0.6), SLOW) as models:
        adapter = HedgeAdapter(models.llms, after=0.5)

        assert await timed(lambda: first_text(ask(adapter))) == ("one", 0.6)
        assert adapter.statistics() == HedgeStatistics(streams=1, hedges=1, abandoned=1)
        models.assert_quiet()


async def test_of_two_that_answer_in_the_same_moment_one_wins(autojump_clock: MockClock) -> None:
    async with open_models(text("a", "b").after(1), text("a", "b").after(0.5)) as models:
        for _ in range(20):
            reply = await ask(HedgeAdapter(models.llms, after=0.5)).collect()
            assert reply.text == "ab"
            models.assert_quiet()


async def test_of_two_that_end_in_the_same_moment_one_wins(autojump_clock: MockClock) -> None:
    nothing = sse(DONE)
    async with open_models(nothing.after(1), nothing.after(0.5)) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=1)
        for _ in range(20):
            assert (await ask(adapter).collect()).empty
            models.assert_quiet()

        counts = adapter.statistics()
        assert (counts.streams, counts.hedges, counts.abandoned) == (20, 20, 20)


async def test_one_model_is_asked_twice(autojump_clock: MockClock) -> None:
    for as_list in (False, True):
        async with open_models([SLOW, FAST]) as models:
            (llm,) = models.llms
            adapter = HedgeAdapter([llm] if as_list else llm, after=0.5)

            assert await timed(lambda made=adapter: first_text(ask(made))) == ("fast ", 0.7)
            models.assert_quiet()


async def test_a_third_model_is_asked_after_the_same_time_again(autojump_clock: MockClock) -> None:
    async with open_models([FAST, SLOW], SLOW, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=1)
        await ask(adapter).collect()  # needs no hedge, so that the next stream may have two

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 1.2)
        assert models.asked == [2, 1, 1]
        models.assert_quiet()


async def test_with_no_delay_both_are_asked_at_once(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0)

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 0.2)


async def test_keep_alives_are_no_output(autojump_clock: MockClock) -> None:
    trickle = sse(end=False).then(Repeat([Wait(0.1), Send(chunk(comment()))]))
    async with open_models(trickle, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0.5)

        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 0.7)
        models.assert_quiet()


async def test_an_answer_without_output_wins_when_it_is_whole(autojump_clock: MockClock) -> None:
    async with open_models(text().after(0.6), SLOW) as models:
        reply = await ask(HedgeAdapter(models.llms, after=0.5)).collect()

        assert reply.empty
        assert reply.finish_reason == "stop"
        models.assert_quiet()


# --- What comes before the first output -----------------------------------------------------------


async def test_reasoning_is_held_back_until_the_race_is_decided(autojump_clock: MockClock) -> None:
    thinks = sse(reasoning_chunk("hm"), Wait(0.6), text_chunk("one"), finish(), DONE)
    async with open_models(thinks, SLOW) as models:
        async with ask(HedgeAdapter(models.llms, after=0.5)) as stream:
            first, seconds = await timed(stream.__anext__)
            second = await anext(stream)

        assert (first.delta.reasoning, seconds) == ("hm", 0.6)
        assert second.delta is not None
        assert second.delta.content == "one"


async def test_the_reasoning_of_the_loser_is_not_seen(autojump_clock: MockClock) -> None:
    thinks = sse(reasoning_chunk("hm"), Wait(9), text_chunk("one"), finish(), DONE)
    async with open_models(thinks, FAST) as models:
        reply = await ask(HedgeAdapter(models.llms, after=0.5)).collect()

        assert (reply.reasoning, reply.text) == ("", "fast answer")


async def test_reasoning_may_count_as_output(autojump_clock: MockClock) -> None:
    thinks = sse(Wait(0.6), reasoning_chunk("hm"), Wait(5), text_chunk("one"), finish(), DONE)
    async with open_models(thinks, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=1)
        options = APIConnectOptions(reasoning_is_output=True)

        assert (await ask(adapter).collect()).text == "fast answer"
        assert (await ask(adapter, conn_options=options).collect()).text == "one"


async def test_much_reasoning_wins_the_race(autojump_clock: MockClock) -> None:
    much = [reasoning_chunk("x" * 10_000)] * 7
    thinks = sse(*much, Wait(9), text_chunk("one"), finish(), DONE)
    async with open_models(thinks, FAST) as models:
        reply = await ask(HedgeAdapter(models.llms, after=0.5)).collect()

        assert (len(reply.reasoning), reply.text) == (70_000, "one")
        assert models.asked == [1, 0]


async def test_a_request_that_is_alone_holds_nothing_back(autojump_clock: MockClock) -> None:
    thinks = sse(reasoning_chunk("hm"), Wait(9), text_chunk("one"), finish(), DONE)
    async with open_models(thinks, error(503)) as models:
        adapter = HedgeAdapter(models.llms, after=0.5)
        async with ask(adapter) as stream:  # the second has failed at once
            first, seconds = await timed(stream.__anext__)
            assert (first.delta.reasoning, seconds) == ("hm", 0.5)
        async with ask(adapter) as stream:  # the budget allows no second
            first, seconds = await timed(stream.__anext__)
            assert (first.delta.reasoning, seconds) == ("hm", 0.5)
        assert models.asked == [2, 1]
        models.assert_quiet()


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [error(429), error(503), Exchange([Reset()])], ids=str)
@pytest.mark.parametrize("twice", [False, True], ids=["two models", "one model"])
async def test_an_error_the_other_may_not_have_starts_it_at_once(
    twice: bool, failure: Exchange, autojump_clock: MockClock
) -> None:
    scripts: list[Any] = [[failure, FAST]] if twice else [failure, FAST]
    async with open_models(*scripts) as models:
        stream = ask(HedgeAdapter(models.llms, after=5))

        assert await timed(lambda: first_text(stream)) == ("fast ", 0.2)
        models.assert_quiet()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_error_the_other_would_have_too_is_raised_at_once(
    status: int, autojump_clock: MockClock
) -> None:
    async with open_models(error(status), FAST) as models:
        failure, seconds = await timed(ask(HedgeAdapter(models.llms, after=5)).collect)

        assert (failure.status_code, seconds) == (status, 0)
        assert models.asked == [1, 0]
        models.assert_quiet()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_refused_credentials_are_the_same_for_the_same_model(
    status: int, autojump_clock: MockClock
) -> None:
    async with open_models(error(status), FAST) as models:
        failure = await raised(ask(HedgeAdapter(models.llms[0], after=5)))
        assert isinstance(failure, APIStatusError)
        assert models.asked == [1, 0]

        assert (await ask(HedgeAdapter(models.llms, after=5)).collect()).text == "fast answer"


@pytest.mark.parametrize(
    "refusal",
    [error(429, retry_after=20), error(503, headers={"x-should-retry": "false"})],
    ids=["Retry-After", "x-should-retry"],
)
async def test_a_server_that_wants_no_retry_now_is_not_asked_again_at_once(
    refusal: Exchange, autojump_clock: MockClock
) -> None:
    async with open_models([refusal, refusal], FAST) as models:
        failure = await raised(ask(HedgeAdapter(models.llms[0], after=5)))
        assert isinstance(failure, APIStatusError)
        assert models.asked == [1, 0]

        # Another model is another matter.
        assert (await ask(HedgeAdapter(models.llms, after=5)).collect()).text == "fast answer"


async def test_a_mistake_that_one_finds_ends_the_race(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, error(400)) as models:
        failure, seconds = await timed(ask(HedgeAdapter(models.llms, after=0.5)).collect)

        assert (failure.status_code, seconds) == (400, 0.5)
        assert failure.other_errors == ()
        models.assert_quiet()


async def test_one_that_fails_leaves_the_answer_to_the_other(autojump_clock: MockClock) -> None:
    for scripts in ([error(503).after(1), LATE], [LATE, error(503).after(1)]):
        async with open_models(*scripts) as models:
            reply = await ask(HedgeAdapter(models.llms, after=0.5)).collect()

            assert reply.text == "slow answer"
            models.assert_quiet()


async def test_if_both_fail_the_last_error_carries_the_other(autojump_clock: MockClock) -> None:
    async with open_models(error(503).after(1), error(429).after(1)) as models:
        stream = ask(HedgeAdapter(models.llms, after=0.5))
        failure = await raised(stream)

        assert isinstance(failure, APIStatusError)
        assert failure.status_code == 429
        assert [str(each) for each in failure.other_errors] == ["scripted error (status 503)"]
        assert [(each.number, each.model, each.started) for each in failure.attempts] == [
            (1, "model-0", 0),
            (2, "model-1", 0.5),
        ]
        assert stream.response.attempts == failure.attempts
        models.assert_quiet()


async def test_the_requests_themselves_are_not_retried(autojump_clock: MockClock) -> None:
    async with open_models(error(503), error(503)) as models:
        await raised(ask(HedgeAdapter(models.llms, after=1), conn_options=APIConnectOptions(5)))

        assert models.asked == [1, 1]


async def test_after_the_first_output_the_winners_error_is_raised(
    autojump_clock: MockClock,
) -> None:
    async with open_models(CUT, FAST) as models:
        failure = await raised(ask(HedgeAdapter(models.llms, after=0.5)))

        assert failure.partial.text == "half an "
        assert not failure.retryable
        assert models.asked == [1, 0]


# --- A winner that fails before anything was delivered --------------------------------------------


async def test_the_next_model_is_asked_once_more_if_a_call_was_cut(
    autojump_clock: MockClock,
) -> None:
    async with open_models(CUT_CALL, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=5)
        stream = ask(adapter)
        reply = await stream.collect()

        assert reply.text == "fast answer"
        assert models.asked == [1, 1]
        assert [attempt.model for attempt in stream.response.attempts] == ["model-0", "model-1"]
        assert adapter.statistics() == HedgeStatistics(
            streams=1, hedges=1, hedges_won=1, abandoned=1
        )
        models.assert_quiet()


async def test_a_rival_that_was_cancelled_is_asked_anew(autojump_clock: MockClock) -> None:
    """The hedge has begun a call first; when that is cut, the first model is the next one."""
    warm_up = text("warm")  # it saves for the second hedge
    async with open_models([warm_up, SLOW, text("one")], CUT_CALL) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=1)
        await ask(adapter).collect()
        reply, seconds = await timed(ask(adapter).collect)

        assert (reply.text, seconds) == ("one", 0.5)
        assert models.asked == [3, 1]
        assert adapter.statistics() == HedgeStatistics(
            streams=2, hedges=2, hedges_won=1, abandoned=2
        )
        models.assert_quiet()


async def test_it_counts_in_the_budget(autojump_clock: MockClock) -> None:
    async with open_models([SLOW, text("one")], CUT_CALL) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=1)
        await raised(ask(adapter))

        assert models.asked == [1, 1]
        assert adapter.statistics() == HedgeStatistics(
            streams=1, hedges=1, hedges_won=1, hedges_denied=1, abandoned=1
        )


async def test_one_model_is_asked_again_itself(autojump_clock: MockClock) -> None:
    async with open_models([CUT_CALL, text("one")]) as models:
        assert (await ask(HedgeAdapter(models.llms[0], after=5)).collect()).text == "one"
        assert models.asked == [2]


async def test_but_once(autojump_clock: MockClock) -> None:
    async with open_models(CUT_CALL, CUT_CALL, FAST) as models:
        failure = await raised(ask(HedgeAdapter(models.llms, after=5, budget=1)))

        assert models.asked == [1, 1, 0]
        assert len(failure.other_errors) == 1
        assert failure.partial.text == ""
        assert failure.retryable
        models.assert_quiet()


async def test_and_not_one_that_has_failed(autojump_clock: MockClock) -> None:
    async with open_models([error(503), FAST], CUT_CALL) as models:
        await raised(ask(HedgeAdapter(models.llms, after=5, budget=1)))
        assert models.asked == [1, 1]


async def test_and_not_if_another_model_would_not_help(autojump_clock: MockClock) -> None:
    wrong = event({"error": {"message": "scripted error", "code": 400}})
    begun = sse(tool_call_chunk("{", id="call_a", name="f"), wrong, Hold())
    for options, script in (
        ({}, [begun, FAST]),
        ({"should_hedge": lambda _: False}, [CUT_CALL, FAST]),
        ({"budget": 0}, [CUT_CALL, FAST]),
    ):
        async with open_models(*script) as models:
            adapter = HedgeAdapter(models.llms, after=5, **options)
            await raised(ask(adapter))
            assert models.asked == [1, 0]
            assert adapter.statistics().hedges_denied == ("budget" in options)


async def test_and_not_the_same_one_if_the_error_stays(autojump_clock: MockClock) -> None:
    limited = event({"error": {"message": "scripted error", "code": 404}})
    begun = sse(tool_call_chunk("{", id="call_a", name="f"), limited, Hold())
    async with open_models([begun, FAST]) as models:
        await raised(ask(HedgeAdapter(models.llms[0], after=5)))
        assert models.asked == [1]


async def test_and_not_when_the_time_of_all_is_up(autojump_clock: MockClock) -> None:
    begun = sse(tool_call_chunk("{", id="call_a", name="f"), Hold())
    async with open_models(begun, FAST) as models:
        options = APIConnectOptions(total_timeout=2)
        failure = await raised(ask(HedgeAdapter(models.llms, after=5), conn_options=options))
        assert isinstance(failure, APITimeoutError)
        assert models.asked == [1, 0]


async def test_and_not_after_a_call_that_was_handed_out(autojump_clock: MockClock) -> None:
    calls = [
        tool_call_chunk('{"a":1}', index=index, id=f"call_{index}", name="f") for index in (0, 1)
    ]
    begun = sse(*calls, end=False).then(Reset())
    async with open_models(begun, FAST) as models:
        await raised(ask(HedgeAdapter(models.llms, after=5), early_tool_calls=True))
        assert models.asked == [1, 0]


async def test_and_not_a_second_time_if_the_budget_has_denied_it(
    autojump_clock: MockClock,
) -> None:
    async with open_models([FAST, error(503).after(1)], FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=0)
        await ask(adapter).collect()
        await raised(ask(adapter))
        assert models.asked == [2, 0]
        assert adapter.statistics().hedges_denied == 1


async def test_the_predicate_is_the_callers_to_choose(autojump_clock: MockClock) -> None:
    async with open_models(error(503), FAST) as models:
        adapter = HedgeAdapter(models.llms, after=5, should_hedge=lambda _: False)

        assert str(await raised(ask(adapter))) == "scripted error (status 503)"


async def test_a_failure_of_the_predicate_is_raised_bare(autojump_clock: MockClock) -> None:
    def broken(failure: APIError) -> bool:
        raise ZeroDivisionError

    async with open_models(SLOW, error(503)) as models:
        with pytest.raises(ZeroDivisionError):
            await ask(HedgeAdapter(models.llms, after=0.5, should_hedge=broken)).collect()
        models.assert_quiet()


async def test_the_total_clock_bounds_both_together(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, SLOW) as models:
        options = APIConnectOptions(total_timeout=2)
        stream = ask(HedgeAdapter(models.llms, after=0.5), conn_options=options)
        failure, seconds = await timed(stream.collect)

        assert isinstance(failure, APITimeoutError)
        assert (failure.clock, seconds) == ("total", 2)
        models.assert_quiet()


async def test_nothing_is_started_when_the_total_clock_has_run_out(
    autojump_clock: MockClock,
) -> None:
    async with open_models(SLOW, SLOW) as models:
        options = APIConnectOptions(total_timeout=2)
        failure, seconds = await timed(
            ask(HedgeAdapter(models.llms, after=2), conn_options=options).collect
        )

        assert (failure.clock, seconds) == ("total", 2)
        assert models.asked == [1, 0]


async def test_each_request_has_its_own_first_output_deadline(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, FAST) as models:
        options = APIConnectOptions(first_output_timeout=1)
        stream = ask(HedgeAdapter(models.llms, after=math.inf), conn_options=options)

        assert await timed(lambda: first_text(stream)) == ("fast ", 1.2)


async def test_options_of_the_llms_hold_where_the_call_gives_none(
    autojump_clock: MockClock,
) -> None:
    own = APIConnectOptions(max_retry=7, first_output_timeout=2)
    async with open_models(SLOW, FAST, conn_options=own) as models:
        adapter = HedgeAdapter(models.llms, after=math.inf)
        within = HedgeAdapter(
            [HedgeAdapter(models.llms[0], after=math.inf), models.llms[1]], after=math.inf
        )
        closer = APIConnectOptions(first_output_timeout=3)

        assert adapter.conn_options is own
        assert await timed(lambda: first_text(ask(adapter))) == ("fast ", 2.2)
        # One model is asked twice.
        assert await timed(lambda: first_text(ask(within))) == ("fast ", 4.2)
        another = HedgeAdapter(models.llms, after=math.inf)
        said, seconds = await timed(lambda: first_text(ask(another, conn_options=closer)))
        assert (said, seconds) == ("fast ", pytest.approx(3.2))


# --- The budget, and the accounts -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "streams", "hedges"),
    [(0, 10, 0), (0.1, 1, 1), (0.1, 10, 1), (0.1, 11, 2), (0.5, 10, 5), (0.3, 10, 3), (1, 10, 10)],
)
async def test_the_budget_bounds_the_share_of_streams_that_are_hedged(
    budget: float, streams: int, hedges: int, autojump_clock: MockClock
) -> None:
    async with open_models(LATE, FAST) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=budget)
        for _ in range(streams):
            await ask(adapter).collect()

        assert adapter.statistics() == HedgeStatistics(
            streams=streams,
            hedges=hedges,
            hedges_won=hedges,
            hedges_denied=streams - hedges,
            abandoned=hedges,
        )
        assert models.asked == [streams, hedges]


async def test_at_most_ten_hedges_are_saved_for_an_outage(autojump_clock: MockClock) -> None:
    healthy = True

    def serve(request: object) -> Exchange:
        return text("one") if healthy else error(503)

    async with open_models(serve, error(503)) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=0.5)
        for _ in range(60):
            await ask(adapter).collect()
        healthy = False
        for _ in range(40):
            await raised(ask(adapter))

        assert adapter.statistics().hedges == 10 + 20 - 1
        assert models.asked == [100, 29]


async def test_the_usage_of_losers_is_accounted(autojump_clock: MockClock) -> None:
    early = sse(usage(9, 1), reasoning_chunk("hm"), Wait(9), text_chunk("one"), finish(), DONE)
    async with open_models(early, text("two", tokens=(7, 2)).after(0.2)) as models:
        adapter = HedgeAdapter(models.llms, after=0.5, budget=1)
        for _ in range(2):
            stream = ask(adapter)
            await stream.collect()
            assert stream.usage == CompletionUsage(
                prompt_tokens=7, completion_tokens=2, total_tokens=9
            )
        counts = adapter.statistics()

        assert (counts.abandoned, counts.hedges_won) == (2, 2)
        assert counts.abandoned_usage == CompletionUsage(
            prompt_tokens=18, completion_tokens=2, total_tokens=20
        )


# --- A stream like every stream -------------------------------------------------------------------


async def test_chat_makes_a_value_and_sends_nothing(autojump_clock: MockClock) -> None:
    with no_leaks():
        async with open_models(FAST, FAST) as models:
            adapter = HedgeAdapter(models.llms, after=0)
            ask(adapter)
            await trio.testing.wait_all_tasks_blocked()

            assert models.asked == [0, 0]
            assert adapter.statistics() == HedgeStatistics()


async def test_entering_a_stream_twice(autojump_clock: MockClock) -> None:
    async with open_models(FAST) as models:
        async with ask(HedgeAdapter(models.llms, after=1)) as stream:
            with pytest.raises(RuntimeError, match="a stream is entered once"):
                await stream.__aenter__()


async def test_a_model_that_was_not_entered(autojump_clock: MockClock) -> None:
    async with open_models(FAST) as models:
        stream = ask(HedgeAdapter([*models.llms, some_llm()], after=1))
        with pytest.raises(RuntimeError, match="this LLM was not entered"):
            await stream.collect()


async def test_a_bad_argument_is_refused_at_the_call() -> None:
    adapter = HedgeAdapter(some_llm(), after=1)
    with pytest.raises(ValueError, match="temperature"):
        ask(adapter, extra_kwargs={"temprature": 1})
    with pytest.raises(TypeError, match="conn_options must be an APIConnectOptions"):
        ask(adapter, conn_options=None)


async def test_ten_streams_use_one_connection(autojump_clock: MockClock) -> None:
    async with open_models(text("one"), text("two")) as models:
        adapter = HedgeAdapter(models.llms, after=1)
        for _ in range(5):
            await ask(adapter).collect()
            async with ask(adapter) as stream:
                async for each in stream:
                    if each.finish_reason:
                        break

        assert [len(network.connections) for network in models.networks] == [1, 0]


async def test_the_consumer_sees_the_end_and_not_the_end_of_the_body(
    autojump_clock: MockClock,
) -> None:
    held = sse(text_chunk("one"), finish(), DONE, Hold())
    async with open_models(held) as models:
        async with ask(HedgeAdapter(models.llms, after=1)) as stream:
            reply, seconds = await timed(stream.collect)

        assert (reply.text, seconds) == ("one", 0)


async def test_leaving_early_closes_both_connections(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, SLOW) as models:
        async with ask(HedgeAdapter(models.llms, after=0.5)):
            await trio.sleep(1)
            assert models.asked == [1, 1]
        models.assert_quiet()
        assert [network.open_connections for network in models.networks] == [0, 0]


async def test_an_abandoned_wait_loses_nothing(autojump_clock: MockClock) -> None:
    pieces = [f"{number} " for number in range(20)]
    async with open_models(SLOW, text(*pieces, every=0.7)) as models:
        got = ""
        async with ask(HedgeAdapter(models.llms, after=0.5)) as stream:
            while True:
                with trio.move_on_after(0.3) as wait:
                    async for piece in stream.text:
                        got += piece
                if not wait.cancelled_caught:
                    break

        assert got == "".join(pieces)


async def test_a_consumer_that_stops_reading_stops_the_reading(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, text(*["x" * 10_000] * 200)) as models:
        async with ask(HedgeAdapter(models.llms, after=0.5)) as stream:
            got = len(await anext(stream.text))
            await trio.sleep(60)
            assert models.networks[1].connections[0].bytes_sent < 800_000
            async for piece in stream.text:
                got += len(piece)

        assert got == 2_000_000


async def test_the_llm_of_one_request_is_left(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network:
        llm = LLM("m", base_url=BASE_URL, auth=None, http_client=network.client())
        async with llm:
            stream = ask(HedgeAdapter(llm, after=0.5))
            await stream.__aenter__()
            await trio.sleep(1)
        with pytest.raises(trio.ClosedResourceError, match="the LLM was left"):
            await anext(stream)
        await stream.__aexit__(None, None, None)
        network.assert_quiet()


# --- Together with the rest -----------------------------------------------------------------------


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"rain in {city}"


async def test_tool_calls_are_output_and_come_through(autojump_clock: MockClock) -> None:
    calls = tool_calls(ToolCall("get_weather", {"city": "Oslo"}))
    async with open_models(SLOW, calls) as models:
        reply = await ask(HedgeAdapter(models.llms, after=0.5), tools=[get_weather]).collect()

        assert [call.name for call in reply.tool_calls] == ["get_weather"]
        for network in models.networks:
            assert network.requests[0].json()["tools"][0]["function"]["name"] == "get_weather"


LONG_CALL = tool_calls(ToolCall("look", {"where": "x" * 60}), every=0.1)
"""A call that begins at once and takes more than a second."""


@pytest.mark.parametrize("nested", [False, True], ids=["models", "adapters"])
async def test_a_piece_of_a_tool_call_is_output_although_the_call_comes_later(
    nested: bool, autojump_clock: MockClock
) -> None:
    async with open_models(LONG_CALL, FAST) as models:
        llms: list[ChatModel] = list(models.llms)
        if nested:
            llms = [FallbackAdapter([llm]) for llm in llms]
        stream = ask(HedgeAdapter(llms, after=0.5))
        reply = await stream.collect()

        assert [call.name for call in reply.tool_calls] == ["look"]
        assert models.asked == [1, 0]
        assert stream.metrics is not None
        assert stream.metrics.ttft == 0
        models.assert_quiet()


async def test_the_first_piece_of_a_tool_call_wins_the_race(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, LONG_CALL, text("third")) as models:
        start = trio.current_time()
        async with ask(HedgeAdapter(models.llms, after=0.5)) as stream:
            (chunk,) = [chunk async for chunk in stream if chunk.has_response()]
            (loser,) = models.networks[0].connections
            await loser.client_gone.wait()
            assert loser.client_gone_at == start + 0.5

        assert chunk.delta is not None
        assert [call.name for call in chunk.delta.tool_calls] == ["look"]
        assert models.asked == [1, 1, 0]
        models.assert_quiet()


async def test_a_structured_answer_has_its_value(autojump_clock: MockClock) -> None:
    @attrs.frozen
    class Whale:
        name: str

    async with open_models(SLOW, text('{"na', 'me": "Moby"}')) as models:
        stream = ask(HedgeAdapter(models.llms, after=0.5), response_format=Whale)
        async with stream:
            values = [value async for value in stream.partial_values]
            reply = await stream.collect()

        assert values[-1] == reply.parsed == Whale("Moby")


async def test_a_hedge_of_fallbacks(autojump_clock: MockClock) -> None:
    async with open_models(SLOW, SLOW, error(503), FAST) as models:
        fallbacks = [
            FallbackAdapter(pair, attempt_timeout=2) for pair in (models.llms[:2], models.llms[2:])
        ]
        stream = ask(HedgeAdapter(fallbacks, after=0.5))

        assert await timed(lambda: first_text(stream)) == ("fast ", 0.7)
        assert [each.model for each in stream.response.attempts] == [
            "model-0",
            "model-2",
            "model-3",
        ]
        # The one that was only slower than another has not failed.
        assert [each.available for each in fallbacks[0].availability] == [True, True]
        models.assert_quiet()


async def test_a_turn_over_a_hedge_of_fallbacks(autojump_clock: MockClock) -> None:
    calls = tool_calls(ToolCall("get_weather", {"city": "Oslo"}))
    async with open_models([SLOW, text("Rain.")], error(503), calls) as models:
        backup = FallbackAdapter(models.llms[1:])
        adapter = HedgeAdapter([models.llms[0], backup], after=0.5)
        chat_ctx = conversation()
        async with run_turn(adapter, chat_ctx=chat_ctx, tools=[get_weather]) as turn:
            spoken = [piece async for piece in turn.text]

        assert spoken == ["Rain."]
        assert models.asked == [2, 1, 1]
        models.assert_quiet()


class Together(ChatModel, ChunkSource):
    """Two of these fail and answer together: one is refused, the other speaks some steps later."""

    def __init__(self, name: str, answers: trio.Event, steps: int | None) -> None:
        self._name = name
        self._answers = answers
        self._steps = steps

    @property
    def model(self) -> str:
        return self._name

    @property
    def provider(self) -> str:
        return "test"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(self, call)

    async def run(self, sink: ChunkSink) -> None:
        if self._steps is None:
            await trio.sleep(1)
            self._answers.set()
            raise APIStatusError("wrong", status_code=400)
        await self._answers.wait()
        for _ in range(self._steps):
            await trio.lowlevel.checkpoint()
        sink.put((ChatChunk(delta=ChoiceDelta(content="Hi")),))
        await trio.sleep(1)
        sink.put((ChatChunk(delta=ChoiceDelta(content="!")),))
        sink.complete(CollectedResponse(text="Hi!"))


@pytest.mark.parametrize("steps", range(12))
async def test_a_request_that_is_given_up_says_nothing_more(
    steps: int, autojump_clock: MockClock
) -> None:
    for _ in range(20):  # Trio draws lots for the order of what is due in one step
        answers = trio.Event()
        models = [Together("refused", answers, None), Together("speaks", answers, steps)]
        got = ""
        caught: APIError | None = None
        async with ask(HedgeAdapter(models, after=0.5, budget=1)) as stream:
            try:
                async for piece in stream.text:
                    got += piece
            except APIError as exc:
                caught = exc
        assert (got, caught is None) in {("Hi!", True), ("", False)}


# --- Bad input ------------------------------------------------------------------------------------


def some_llm() -> LLM:
    return LLM("m", base_url=BASE_URL, auth=None)


BAD_INPUT: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no model": ([], {}, ValueError, r"llm=\[\] holds no model"),
    "a string": ("gpt", {}, TypeError, "llm must be a list of ChatModel, not a str"),
    "no models": ([some_llm(), 1], {}, TypeError, r"llm\[1\] must be a ChatModel"),
    "negative": (some_llm(), {"after": -1}, ValueError, "after=-1"),
    "NaN": (some_llm(), {"after": math.nan}, ValueError, "after=nan"),
    "no number": (some_llm(), {"after": "1"}, TypeError, "after='1'"),
    "negative budget": (some_llm(), {"budget": -0.1}, ValueError, "a share from 0 to 1"),
    "percent": (some_llm(), {"budget": 5}, ValueError, "budget=5 is not accepted"),
    "NaN budget": (some_llm(), {"budget": math.nan}, ValueError, "budget=nan"),
    "no budget": (some_llm(), {"budget": True}, TypeError, "budget=True"),
    "predicate": (some_llm(), {"should_hedge": 1}, TypeError, "should_hedge must be callable"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_named(name: str) -> None:
    llm, options, kind, message = BAD_INPUT[name]
    with pytest.raises(kind, match=message):
        HedgeAdapter(llm, **{"after": 1.0, **options})


def test_it_is_a_plain_value_outside_of_a_run() -> None:
    adapter = HedgeAdapter(some_llm(), after=0.5)

    assert (adapter.model, adapter.provider) == ("m", "livekit")
    assert adapter.label == "lktrio.HedgeAdapter"
    assert repr(adapter) == "<HedgeAdapter m, m after 0.5 s>"


# --- Cut at every step ----------------------------------------------------------------------------

PIECES = ["Whales ", "sing ", "together."]
WHOLE = "".join(PIECES)
ANSWER = sse(
    text_chunk(PIECES[0]), Wait(0.5), *map(text_chunk, PIECES[1:]), finish(), usage(9, 3), DONE
)

SCENARIOS: dict[str, list[Exchange]] = {
    "the second wins": [SLOW, ANSWER],
    "the first wins": [ANSWER.after(0.3), SLOW],
    "the first fails": [error(503), ANSWER],
    "the second fails": [ANSWER.after(1), error(503).after(0.3)],
    "a dead heat": [ANSWER.after(0.5), ANSWER.after(0.3)],
}

RACES = ["the second wins", "the first fails", "a dead heat"]


def runs(name: str) -> Callable[[Cut], Any]:
    async def read(adapter: HedgeAdapter, cut: Cut) -> str:
        got = ""
        async with ask(adapter) as stream:
            while True:
                with cut.one_wait() as wait:
                    async for piece in stream.text:
                        got += piece
                if not wait.cancelled_caught:
                    return got

    async def run(cut: Cut) -> str:
        result = "cut"
        async with open_models(*SCENARIOS[name]) as models:
            adapter = HedgeAdapter(models.llms, after=0.2, budget=1)
            with cut.watched(), cut.scope:
                try:
                    result = await read(adapter, cut)
                except APIError as exc:
                    errors = (*exc.other_errors, exc)
                    assert any(isinstance(each, APITimeoutError) for each in errors)
                    result = "timeout"
            models.assert_quiet()
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
@pytest.mark.parametrize("name", RACES)
def test_cancelling_one_wait_loses_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_WAIT, series)

    assert set(outcome.results) == {WHOLE}


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", RACES)
def test_ctrl_c_leaves_nothing_and_is_bare(name: str, series: Series) -> None:
    sweep(runs(name), INTERRUPT, series)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", RACES)
def test_a_clock_that_fires_leaves_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), advance(60), series)

    for result in outcome.results:
        # After a jump of a minute the slow one may be there as soon as the other.
        assert result in {WHOLE, "slow answer", "timeout"}


async def test_a_predicate_that_would_have_to_be_awaited_is_refused(
    autojump_clock: MockClock,
) -> None:
    async def no(_: APIError) -> bool:
        return False

    async with open_models(error(503), FAST) as models:
        with pytest.raises(TypeError, match="should_hedge must not be async"):
            HedgeAdapter(models.llms, after=1, should_hedge=no)  # type: ignore[arg-type]
        hidden: Any = lambda failure: no(failure)  # noqa: E731
        with pytest.raises(TypeError, match="should_hedge must not be async"):
            await ask(HedgeAdapter(models.llms, after=1, should_hedge=hidden)).collect()
