"""How much a turn may use: the next request is not made, and the conversation stays valid."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIError,
    ChatContext,
    CompletionUsage,
    HedgeAdapter,
    Instrument,
    RoundFinished,
    TurnEvent,
    UsageCollector,
    UsageLimit,
    UsageLimitExceeded,
    UsageReport,
    function_tool,
    run_turn,
)
from lktrio.testing import ScriptedGateway, Wait, reply, tool_call
from tests.support.conversations import assert_valid

CALL = tool_call("look", {})


@function_tool
async def look() -> str:
    """Look out of the window."""
    return "It rains."


def asked() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Does it rain?")
    return chat_ctx


def price(model: str, usage: CompletionUsage) -> float:
    return usage.total_tokens / 100


async def turn_on(
    llm: LLM | HedgeAdapter, chat_ctx: ChatContext, limit: UsageLimit, **options: Any
) -> list[TurnEvent]:
    async with run_turn(llm, chat_ctx=chat_ctx, tools=[look], usage_limit=limit, **options) as turn:
        return [event async for event in turn]


@pytest.mark.parametrize(
    ("limit", "bound", "used"),
    [
        (UsageLimit(requests=2), "requests", 2),
        (UsageLimit(prompt_tokens=150), "prompt_tokens", 200),
        (UsageLimit(completion_tokens=20), "completion_tokens", 20),
        (UsageLimit(total_tokens=200), "total_tokens", 220),
        (UsageLimit(cost=2, collector=UsageCollector(price=price)), "cost", 2.2),
    ],
)
async def test_a_turn_that_has_used_enough_asks_no_more(
    limit: UsageLimit, bound: str, used: float, autojump_clock: MockClock
) -> None:
    chat_ctx = asked()
    round_ = reply(CALL, usage=(100, 10))
    async with ScriptedGateway([round_, round_, reply("Yes.")], allow_unused=True) as gateway:
        async with gateway.llm() as llm:
            with pytest.raises(UsageLimitExceeded, match=bound) as caught:
                await turn_on(llm, chat_ctx, limit)
            assert len(gateway.requests) == 2

    error = caught.value
    assert (error.bound, error.used) == (bound, pytest.approx(used))
    assert error.allowed == getattr(limit, bound)
    assert error.report.answered.requests == 2
    assert not isinstance(error, APIError)
    assert_valid(chat_ctx)
    outputs = [item.output for item in chat_ctx.items if item.type == "function_call_output"]
    assert outputs == ["It rains.", "It rains."]


async def test_what_was_done_is_delivered_before_the_exception(
    autojump_clock: MockClock,
) -> None:
    chat_ctx = asked()
    async with ScriptedGateway([reply(CALL)]) as gateway, gateway.llm() as llm:
        limit = UsageLimit(requests=1)
        async with run_turn(llm, chat_ctx=chat_ctx, tools=[look], usage_limit=limit) as turn:
            last = None
            with pytest.raises(UsageLimitExceeded):
                async for event in turn:
                    last = event
            assert isinstance(last, RoundFinished)
            assert isinstance(turn.error, UsageLimitExceeded)
            assert turn.rounds == 1


async def test_a_turn_within_the_limit_is_answered(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([reply(CALL), reply("Yes.")]) as gateway, gateway.llm() as llm:
        events = await turn_on(llm, asked(), UsageLimit(total_tokens=13, requests=2))

    # The answer may go past the bound: it is looked at before a request.
    assert isinstance(events[-1], RoundFinished)
    assert events[-1].response.text == "Yes."


async def test_one_turn_does_not_count_for_the_next_unless_it_is_told_to(
    autojump_clock: MockClock,
) -> None:
    replies = [reply("Yes.") for _ in range(3)]
    async with ScriptedGateway(replies) as gateway, gateway.llm() as llm:
        alone = UsageLimit(requests=1)
        for _ in range(2):
            await turn_on(llm, asked(), alone)

        together = UsageLimit(requests=1, collector=UsageCollector())
        chat_ctx = asked()
        await turn_on(llm, chat_ctx, together)
        before = list(chat_ctx.items)
        with pytest.raises(UsageLimitExceeded):
            await turn_on(llm, chat_ctx, together)

        assert len(gateway.requests) == 3
        assert chat_ctx.items == before


async def test_the_collector_of_a_limit_is_told_once_and_others_too(
    autojump_clock: MockClock,
) -> None:
    started: list[str] = []

    class Watch(Instrument):
        def request_started(self, request: Any) -> None:
            started.append(request.model)

    used = UsageCollector()
    async with ScriptedGateway([reply("Yes.")]) as gateway:
        async with gateway.llm("m", instruments=[used]) as llm:
            limit = UsageLimit(requests=5, collector=used)
            await turn_on(llm, asked(), limit, instruments=[Watch(), used])

    assert used.report.total.requests == 1
    assert started == ["m"]


async def test_requests_below_an_adapter_count(autojump_clock: MockClock) -> None:
    slow = [reply(Wait(5), CALL), reply("Yes.")]
    async with ScriptedGateway(slow, allow_unused=True) as one:
        async with ScriptedGateway([reply(CALL)]) as two, one.llm() as first, two.llm() as second:
            hedge = HedgeAdapter(llm=[first, second], after=1, budget=1)
            with pytest.raises(UsageLimitExceeded) as caught:
                await turn_on(hedge, asked(), UsageLimit(requests=2))

    report = caught.value.report
    assert (report.answered.requests, report.hedged.requests) == (1, 1)


async def test_tokens_that_nobody_tells_are_not_bounded(autojump_clock: MockClock) -> None:
    replies = [reply(CALL, usage=None), reply("Yes.", usage=None)]
    async with ScriptedGateway(replies) as gateway, gateway.llm() as llm:
        limit = UsageLimit(total_tokens=1, cost=1, collector=UsageCollector(price=price))
        events = await turn_on(llm, asked(), limit)

    assert isinstance(events[-1], RoundFinished)


def test_the_exception_can_be_pickled() -> None:
    report = UsageReport()
    error = UsageLimitExceeded("enough", bound="cost", allowed=1, used=2, report=report)
    again = pickle.loads(pickle.dumps(error))

    assert (str(again), again.message, again.bound) == ("enough", "enough", "cost")
    assert (again.allowed, again.used, again.report) == (1, 2, report)


@pytest.mark.parametrize(
    ("arguments", "exception", "words"),
    [
        ({}, ValueError, ["without a bound", "total_tokens=50_000"]),
        ({"collector": UsageCollector()}, ValueError, ["without a bound"]),
        ({"requests": 0}, ValueError, ["requests=0", "1 or more"]),
        ({"total_tokens": 1.5}, TypeError, ["total_tokens", "integer"]),
        ({"cost": 0}, ValueError, ["cost=0", "greater than 0"]),
        ({"cost": float("nan")}, ValueError, ["cost=nan"]),
        ({"cost": "1"}, TypeError, ["cost='1'"]),
        ({"cost": 1}, ValueError, ["cost=1", "price"]),
        ({"cost": 1, "collector": UsageCollector()}, ValueError, ["price"]),
        ({"requests": 1, "collector": UsageCollector}, TypeError, ["collector", "UsageCollector"]),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    arguments: dict[str, Any], exception: type[Exception], words: list[str]
) -> None:
    with pytest.raises(exception) as caught:
        UsageLimit(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_a_limit_is_a_value() -> None:
    assert UsageLimit(requests=1) == UsageLimit(requests=1)
    assert "requests=1" in repr(UsageLimit(requests=1))


def test_a_turn_wants_a_limit() -> None:
    llm = LLM("m", base_url="http://localhost/v1", auth=None)
    with pytest.raises(TypeError, match=r"usage_limit must be a UsageLimit.*total_tokens"):
        run_turn(llm, chat_ctx=asked(), usage_limit=5)  # type: ignore[arg-type]
