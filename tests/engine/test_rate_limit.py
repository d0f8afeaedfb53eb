"""A limit on requests per minute: who waits, for how long, in which order, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lktrio import (
    LLM,
    APIConnectOptions,
    APIStatusError,
    APITimeoutError,
    HedgeAdapter,
    Instrument,
    LLMStatistics,
    RateLimit,
    RateLimitStatistics,
    RequestInfo,
)
from tests.support.engine import BASE_URL, ask, conversation, open_llm, timed
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Exchange, Hold, Request, error, sse, text, text_chunk


class Clock:
    """A server that notes when it is asked."""

    def __init__(self, *exchanges: Exchange) -> None:
        self.times: list[float] = []
        self._exchanges = list(exchanges)

    def __call__(self, request: Request) -> Exchange:
        self.times.append(round(trio.current_time(), 3))
        return self._exchanges.pop(0) if self._exchanges else text("Hi")


async def ask_many(llm: LLM, count: int, options: APIConnectOptions | None = None) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask(llm, options or APIConnectOptions(max_retry=0)).collect)


async def test_a_minute_holds_no_more_requests_than_the_limit(autojump_clock: MockClock) -> None:
    served = Clock()
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(2)) as llm:
            await ask_many(llm, 5)

    assert served.times == [0, 0, 60, 60, 120]


async def test_those_who_wait_go_in_the_order_in_which_they_came(
    autojump_clock: MockClock,
) -> None:
    done: list[int] = []
    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:

            async def one(number: int) -> None:
                await trio.sleep(number)
                await ask(llm).collect()
                done.append(number)

            async with trio.open_nursery() as nursery:
                for number in (3, 0, 4, 2, 1):
                    nursery.start_soon(one, number)

    assert done == [0, 1, 2, 3, 4]


async def test_several_llms_share_a_limit(autojump_clock: MockClock) -> None:
    served = Clock()
    limit = RateLimit(2)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as one:
            async with open_llm(network, rate_limit=limit) as two, trio.open_nursery() as nursery:
                nursery.start_soon(ask_many, one, 2)
                nursery.start_soon(ask_many, two, 2)

    assert served.times == [0, 0, 60, 60]


async def test_who_waits_is_counted(autojump_clock: MockClock) -> None:
    limit = RateLimit(2)
    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm(network, rate_limit=limit) as llm, trio.open_nursery() as nursery:
            assert limit.statistics().waiting == 0
            nursery.start_soon(ask_many, llm, 5)
            await wait_all_tasks_blocked()
            assert llm.statistics() == LLMStatistics(3, 5, 0, streams_limited=3)
            assert limit.statistics() == RateLimitStatistics(
                requests_used=2, tokens_used=0, waiting=3, held_for=0
            )
        assert llm.statistics() == LLMStatistics(0, 5, 0)
    assert limit.statistics().waiting == 0


async def test_one_that_is_cancelled_while_it_waits_takes_nothing(
    autojump_clock: MockClock,
) -> None:
    served = Clock()
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            await ask(llm).collect()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_many, llm, 1)
                for _ in range(20):
                    with trio.move_on_after(0.1):
                        await ask(llm).collect()
            await ask(llm).collect()

    assert served.times == [0, 60, 120]


async def test_the_first_in_line_that_is_cancelled_lets_the_next_one_go_in_time(
    autojump_clock: MockClock,
) -> None:
    served = Clock()
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            await ask(llm).collect()
            async with trio.open_nursery() as nursery:

                async def first() -> None:
                    with trio.move_on_after(30):
                        await ask(llm).collect()

                nursery.start_soon(first)
                await wait_all_tasks_blocked()
                nursery.start_soon(ask_many, llm, 1)

    assert served.times == [0, 60]


async def test_one_that_was_sent_counts_whatever_becomes_of_it(autojump_clock: MockClock) -> None:
    served = Clock(error(400), sse(text_chunk("Hi"), Hold()))
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(2)) as llm:
            with pytest.raises(APIStatusError):
                await ask(llm).collect()
            async with ask(llm) as stream:
                await anext(stream)
            await ask(llm).collect()

    assert served.times == [0, 0, 60]


@pytest.mark.parametrize(
    ("clocks", "clock", "seconds"),
    [
        ({"first_output_timeout": 1, "total_timeout": 7}, "first_output", 1),
        ({"total_timeout": 7}, "total", 7),
        ({"first_output_timeout": 9, "total_timeout": 7}, "total", 7),
    ],
)
async def test_waiting_for_a_turn_is_waiting_for_the_first_output(
    clocks: dict[str, float], clock: str, seconds: float, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            await ask(llm).collect()
            options = APIConnectOptions(max_retry=3, timeout=0.5, **clocks)
            caught, took = await timed(ask(llm, options).collect)

            assert isinstance(caught, APITimeoutError)
            assert "rate limit" in str(caught)
            assert (caught.clock, caught.retryable, caught.attempts) == (clock, False, ())
            assert took == seconds
            assert len(network.requests) == 1
            assert llm.statistics().streams_limited == 0


async def test_leaving_an_llm_ends_those_who_wait(autojump_clock: MockClock) -> None:
    limit = RateLimit(1)
    closed: list[int] = []

    async def wait(llm: LLM) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await ask(llm, APIConnectOptions(max_retry=3)).collect()
        closed.append(limit.statistics().waiting)

    async with MemoryNetwork(error(503)) as network, trio.open_nursery() as nursery:
        async with open_llm(network, rate_limit=limit, max_streams=2) as llm:
            for _ in range(3):
                nursery.start_soon(wait, llm)
            await trio.sleep(30)
            # One of them was sent, and waits to be sent again.
            assert limit.statistics().waiting == 3
        assert trio.current_time() == 30
        assert limit.statistics().waiting == 0
    assert len(closed) == 3


# --- retries and hedges --------------------------------------------------------------------------


async def test_a_retry_waits_for_its_turn(autojump_clock: MockClock) -> None:
    served = Clock(error(503))
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            answer = await ask(llm, APIConnectOptions(max_retry=1)).collect()

    assert answer.text == "Hi"
    assert served.times == [0, 60]


@pytest.mark.parametrize("clocks", [{"total_timeout": 50}, {"first_output_timeout": 50}])
async def test_a_wait_for_a_retry_that_cannot_end_in_time_is_not_begun(
    clocks: dict[str, float], autojump_clock: MockClock
) -> None:
    delays: list[float | None] = []

    class Watch(Instrument):
        def attempt_failed(self, request: Any, attempt: Any, error: Any, delay: Any) -> None:
            delays.append(delay)

    async with MemoryNetwork(error(503)) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            options = APIConnectOptions(max_retry=3, **clocks)
            caught, took = await timed(ask(llm, options, instruments=[Watch()]).collect)

    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, len(caught.attempts), took) == (503, 1, 0)
    assert delays == [None]


async def test_the_callers_deadline_counts_for_the_wait_of_a_retry(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(error(503)) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            with trio.fail_after(50), pytest.raises(APIStatusError):
                await ask(llm, APIConnectOptions(max_retry=3)).collect()
            assert trio.current_time() == 0


async def test_those_who_wait_already_count_for_how_long_a_retry_takes(
    autojump_clock: MockClock,
) -> None:
    served = Clock(error(503).after(1))
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(1)) as llm:
            async with trio.open_nursery() as nursery:

                async def retried() -> None:
                    # The one that waits goes at 60, so it would be sent at 120.
                    options = APIConnectOptions(max_retry=3, total_timeout=100)
                    caught, took = await timed(ask(llm, options).collect)
                    assert isinstance(caught, APIStatusError)
                    assert took == 1

                nursery.start_soon(retried)
                await wait_all_tasks_blocked()
                nursery.start_soon(ask_many, llm, 1)

    assert served.times == [0, 60]


async def test_a_wait_for_a_retry_that_lasts_longer_than_it_looked_ends_with_the_last_error(
    autojump_clock: MockClock,
) -> None:
    limit = RateLimit(1)
    served = Clock(error(503), error(429, retry_after=50))
    options = APIConnectOptions(max_retry=3, total_timeout=70)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as llm, trio.open_nursery() as nursery:

            async def retried() -> None:
                caught, took = await timed(ask(llm, options).collect)
                assert isinstance(caught, APIStatusError)
                assert (caught.status_code, len(caught.attempts)) == (503, 1)
                assert took == 70

            async def another() -> None:
                # It comes before the retry is waited for, and is told to be silent until 110.
                await trio.sleep(0.01)
                with pytest.raises(APIStatusError):
                    await ask(llm).collect()

            nursery.start_soon(retried)
            nursery.start_soon(another)

    assert served.times == [0, 60]


async def test_each_hedged_request_takes_a_turn(autojump_clock: MockClock) -> None:
    served = Clock(text("slow").after(5), text("fast"))
    limit = RateLimit(3)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as llm:
            hedge = HedgeAdapter(llm, after=1, budget=1)
            answer = await hedge.chat(chat_ctx=conversation()).collect()
            assert answer.text == "fast"
            assert limit.statistics().requests_used == 2


async def test_a_hedged_request_that_waits_loses_to_the_answer(autojump_clock: MockClock) -> None:
    served = Clock(text("slow").after(5))
    limit = RateLimit(1)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as llm:
            hedge = HedgeAdapter(llm, after=1, budget=1)
            assert (await hedge.chat(chat_ctx=conversation()).collect()).text == "slow"
            assert limit.statistics().waiting == 0

    assert served.times == [0]


# --- beside max_streams --------------------------------------------------------------------------


async def test_who_waits_for_a_turn_holds_no_place(autojump_clock: MockClock) -> None:
    served = Clock(error(503))
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(1), max_streams=1) as llm:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(ask_retrying, llm)
                await trio.sleep(30)
                # Also the one that has failed and waits to be sent again.
                assert llm.statistics() == LLMStatistics(3, 3, 0, streams_limited=3)

    assert served.times == [0, 60, 120, 180]


async def ask_retrying(llm: LLM) -> None:
    assert (await ask(llm, APIConnectOptions(max_retry=1)).collect()).text == "Hi"


async def test_who_waits_for_a_place_does_not_keep_another_llm_from_its_turn(
    autojump_clock: MockClock,
) -> None:
    limit = RateLimit(10)
    async with MemoryNetwork(Clock(sse(text_chunk("Hi"), Hold()))) as network:
        async with open_llm(network, rate_limit=limit, max_streams=1) as narrow:
            async with open_llm(network, rate_limit=limit) as wide, trio.open_nursery() as nursery:
                async with ask(narrow) as first:
                    await anext(first)
                    nursery.start_soon(ask_many, narrow, 3)
                    await wait_all_tasks_blocked()
                    assert narrow.statistics() == LLMStatistics(4, 4, 3)
                    assert (await ask(wide).collect()).text == "Hi"
                    assert limit.statistics().requests_used == 2


async def test_a_turn_that_comes_while_no_place_is_free_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    served = Clock(text("late").after(100))
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(1), max_streams=1) as llm:
            await ask_many(llm, 2, APIConnectOptions(timeout=1000))

    # At 60 it is the second one's turn, at 100 there is a place.
    assert served.times == [0, 100]


async def test_a_place_that_comes_before_the_turn_is_given_up(autojump_clock: MockClock) -> None:
    served = Clock(text("late").after(5))
    limit = RateLimit(1)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit, max_streams=1) as llm:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_many, llm, 3)
                await trio.sleep(6)
                assert llm.statistics() == LLMStatistics(2, 3, 0, streams_limited=2)

    assert served.times == [0, 60, 120]


# --- what the server says -------------------------------------------------------------------------


def quota(limit: int, used: int, name: str = "RPM") -> dict[str, str]:
    prefix = f"X-LiveKit-Inference-{name}"
    return {f"{prefix}-Limit": str(limit), f"{prefix}-Used": str(used)}


async def test_what_others_have_used_of_the_quota_slows_down(autojump_clock: MockClock) -> None:
    served = Clock(text("Hi", headers=quota(10, 9)), text("Hi", headers=quota(10, 10)))
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=RateLimit(100)) as llm:
            for _ in range(4):
                await ask(llm).collect()

    assert served.times == [0, 0, 60, 60]


@pytest.mark.parametrize(
    ("told", "second"),
    [
        (error(429, retry_after=7), 7),
        (error(429, headers={"x-ratelimit-reset-requests": "9s"}), 9),
        (
            text(
                "Hi",
                headers={
                    "x-ratelimit-remaining-requests": "0",
                    "x-ratelimit-reset-requests": "6s",
                    "x-ratelimit-remaining-tokens": "0",
                    "x-ratelimit-reset-tokens": "8s",
                },
            ),
            8,
        ),
        (
            text(
                "Hi",
                headers={
                    "x-ratelimit-remaining-requests": "5",
                    "x-ratelimit-reset-requests": "6s",
                },
            ),
            0,
        ),
        (text("Hi", headers={"x-ratelimit-reset-requests": "6s"}), 0),
        (error(503, retry_after=7), 0),
        (error(429, retry_after=86_400), 60),
        (error(429), 0),
    ],
)
async def test_a_server_that_is_used_up_is_left_alone_for_as_long_as_it_says(
    told: Exchange, second: float, autojump_clock: MockClock
) -> None:
    served = Clock(told)
    limit = RateLimit()
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as llm:
            await timed(ask(llm).collect)
            assert limit.statistics().held_for == second
            await ask(llm).collect()

    assert served.times == [0, second]


async def test_one_of_several_that_is_refused_stops_all_that_share_the_limit(
    autojump_clock: MockClock,
) -> None:
    served = Clock(error(429, retry_after=20))
    limit = RateLimit(60)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as one:
            async with open_llm(network, rate_limit=limit) as two:
                with pytest.raises(APIStatusError):
                    await ask(one).collect()
                await ask(two).collect()

    assert served.times == [0, 20]


# --- tokens ---------------------------------------------------------------------------------------


async def test_a_minute_holds_no_more_tokens_than_the_limit(autojump_clock: MockClock) -> None:
    served = Clock()
    seen: list[RequestInfo] = []

    def estimate(request: RequestInfo) -> float:
        seen.append(request)
        return 39.5

    limit = RateLimit(tokens_per_minute=100, estimate_tokens=estimate)
    async with MemoryNetwork(served) as network:
        async with open_llm(network, rate_limit=limit) as llm:
            await ask_many(llm, 3)
            assert limit.statistics().tokens_used == 40

    assert served.times == [0, 0, 60]
    assert [request.model for request in seen] == ["test-model"] * 3
    assert len(seen[0].chat_ctx.items) == 1


@pytest.mark.parametrize(
    ("estimate", "exception", "message"),
    [
        (lambda request: 101, ValueError, "never fits into tokens_per_minute=100"),
        (lambda request: -1, ValueError, "not -1"),
        (lambda request: float("nan"), ValueError, "not nan"),
        (lambda request: None, TypeError, "not None"),
        (lambda request: True, TypeError, "not a bool"),
        (lambda request: {}["m"], KeyError, "m"),
    ],
)
def test_an_estimate_that_cannot_be_used_is_refused_by_chat(
    estimate: Callable[[RequestInfo], Any], exception: type[Exception], message: str
) -> None:
    limit = RateLimit(tokens_per_minute=100, estimate_tokens=estimate)
    llm = LLM("m", base_url=BASE_URL, auth=None, rate_limit=limit)

    with pytest.raises(exception, match=message):
        llm.chat(chat_ctx=conversation())


async def later(request: RequestInfo) -> int:
    return 1


@pytest.mark.parametrize(
    ("arguments", "exception", "words"),
    [
        ({"requests_per_minute": 0}, ValueError, ["requests_per_minute=0", "1 or more"]),
        ({"requests_per_minute": 1.5}, TypeError, ["requests_per_minute", "float"]),
        ({"tokens_per_minute": 5}, ValueError, ["tokens_per_minute=5", "estimate_tokens"]),
        ({"tokens_per_minute": 0}, ValueError, ["tokens_per_minute=0"]),
        ({"estimate_tokens": 5}, TypeError, ["estimate_tokens", "callable"]),
        ({"estimate_tokens": later}, TypeError, ["estimate_tokens", "async"]),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    arguments: dict[str, Any], exception: type[Exception], words: list[str]
) -> None:
    with pytest.raises(exception) as caught:
        RateLimit(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_an_llm_wants_a_rate_limit() -> None:
    with pytest.raises(TypeError, match=r"rate_limit must be a RateLimit.*rate_limit=RateLimit"):
        LLM("m", base_url=BASE_URL, auth=None, rate_limit=60)  # type: ignore[arg-type]


def test_a_limit_says_what_it_allows() -> None:
    limit = RateLimit(60, tokens_per_minute=5000, estimate_tokens=lambda request: 1)

    assert (limit.requests_per_minute, limit.tokens_per_minute) == (60, 5000)
    assert repr(limit) == "<RateLimit 60 requests, 5000 tokens per minute>"
    assert limit.statistics() == RateLimitStatistics(
        requests_used=0, tokens_used=0, waiting=0, held_for=0
    )


def test_a_limit_belongs_to_one_run() -> None:
    limit = RateLimit(1)

    async def main() -> None:
        async with LLM("m", base_url=BASE_URL, auth=None, rate_limit=limit):
            pass

    trio.run(main)
    with pytest.raises(RuntimeError, match=r"another trio\.run"):
        trio.run(main)
