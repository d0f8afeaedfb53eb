"""What `UsageCollector` counts: each request to a model once, whatever it came to."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    ChatCall,
    ChatChunk,
    ChatContext,
    ChatModel,
    ChoiceDelta,
    ChunkSink,
    ChunkSource,
    CompletionUsage,
    FallbackAdapter,
    HedgeAdapter,
    Instrument,
    LLMStream,
    RequestInfo,
    UsageCollector,
    UsageCount,
    UsageReport,
)
from lktrio.testing import (
    DONE,
    Close,
    Hold,
    NoConnection,
    ScriptedGateway,
    Wait,
    chunk,
    error,
    events,
    reply,
    usage,
)

ONCE = APIConnectOptions(max_retry=0)


def asked() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Why do whales sing?")
    return chat_ctx


@asynccontextmanager
async def open_models(*scripts: Any, **options: Any) -> AsyncIterator[list[LLM]]:
    """An `LLM` for each script, named ``model-0``, ``model-1`` and so on."""
    async with AsyncExitStack() as stack:
        models = []
        for index, script in enumerate(scripts):
            gateway = await stack.enter_async_context(ScriptedGateway(script, allow_unused=True))
            models.append(await stack.enter_async_context(gateway.llm(f"model-{index}", **options)))
        yield models


def tokens(prompt: int, completion: int) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )


def count(requests: int, usage: CompletionUsage | None = None, unknown: int = 0) -> UsageCount:
    return UsageCount(requests=requests, usage=usage, unknown=unknown)


async def test_answers_are_counted_with_their_tokens(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    assert used.report == UsageReport()
    async with open_models([reply("Hi", usage=(9, 3)), reply("Hi", usage=(1, 2))]) as [llm]:
        for _ in range(2):
            await llm.chat(chat_ctx=asked(), instruments=[used]).collect()

    assert used.by_model == {"model-0": UsageReport(answered=count(2, tokens(10, 5)))}
    assert used.report.total == count(2, tokens(10, 5))
    assert repr(used) == "<UsageCollector 2 requests>"


async def test_an_answer_without_usage_is_unknown_and_not_nothing(
    autojump_clock: MockClock,
) -> None:
    used = UsageCollector()
    async with open_models([reply("Hi", usage=None)]) as [llm]:
        await llm.chat(chat_ctx=asked(), instruments=[used]).collect()

    assert used.report.answered == count(1, None, unknown=1)


async def test_attempts_that_failed_are_shown_apart(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    script = [error(503), NoConnection(), reply("Hi")]
    async with open_models(script, instruments=[used]) as [llm]:
        options = APIConnectOptions(max_retry=3, retry_interval=0)
        await llm.chat(chat_ctx=asked(), conn_options=options).collect()

    # What has not reached the server has used nothing.
    assert used.report == UsageReport(
        answered=count(1, tokens(9, 3)), failed=count(2, None, unknown=1)
    )


@pytest.mark.parametrize("max_retry", [0, 1])
async def test_what_a_failed_attempt_had_told_is_counted(
    max_retry: int, autojump_clock: MockClock
) -> None:
    used = UsageCollector()
    broken = events(chunk(), usage(7, 1), Close())
    async with open_models([broken, reply("Hi")], instruments=[used]) as [llm]:
        options = APIConnectOptions(max_retry=max_retry)
        try:
            await llm.chat(chat_ctx=asked(), conn_options=options).collect()
        except APIError:
            assert max_retry == 0

    assert used.report.failed == count(1, tokens(7, 1))
    assert used.report.answered == (count(1, tokens(9, 3)) if max_retry else UsageCount())


async def test_an_answer_that_is_left_early_is_cancelled(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    script = [reply("Hi", Hold()), events(chunk("Hi"), usage(7, 1), chunk("!"), Hold())]
    async with open_models(script, instruments=[used]) as [llm]:
        for _ in range(2):
            async with llm.chat(chat_ctx=asked()) as stream:
                await anext(stream)
                await trio.sleep(1)

    assert used.report == UsageReport(cancelled=count(2, tokens(7, 1), unknown=1))


async def test_an_answer_that_is_whole_when_it_is_left_is_one(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    script = [events(chunk("Hi"), chunk(finish_reason="stop"), Wait(1), DONE)]
    async with open_models(script, instruments=[used]) as [llm]:
        async with llm.chat(chat_ctx=asked()) as stream:
            async for each in stream:
                if each.finish_reason:
                    break

    assert used.report == UsageReport(answered=count(1, None, unknown=1))


async def test_what_ends_before_anything_is_begun_is_not_counted(
    autojump_clock: MockClock,
) -> None:
    used = UsageCollector()
    async with open_models([reply("Hi", Hold())], instruments=[used], max_streams=1) as [llm]:
        async with llm.chat(chat_ctx=asked()) as stream:
            await anext(stream)
            with trio.move_on_after(1):
                await llm.chat(chat_ctx=asked()).collect()

    assert used.report == UsageReport(cancelled=count(1, None, unknown=1))


async def test_what_ends_before_it_is_sent_has_used_nothing(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    async with ScriptedGateway([reply("Hi")], connect_delay=5, allow_unused=True) as gateway:
        async with gateway.llm(instruments=[used]) as llm:
            with trio.move_on_after(1):
                await llm.chat(chat_ctx=asked()).collect()

    assert used.report == UsageReport(cancelled=count(1))


async def test_what_ends_between_two_attempts_is_counted_once(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    async with open_models([error(503, retry_after=20)], instruments=[used]) as [llm]:
        with trio.CancelScope() as scope:
            async with llm.chat(chat_ctx=asked()) as stream, trio.open_nursery() as nursery:
                nursery.start_soon(stream.collect)
                await trio.sleep(1)
                scope.cancel()

    assert used.report == UsageReport(failed=count(1, None, unknown=1))


# --- adapters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("everywhere", [False, True])
async def test_below_any_nesting_of_adapters_each_request_is_counted_once(
    everywhere: bool, autojump_clock: MockClock
) -> None:
    used = UsageCollector()
    scripts = ([error(400, "no")], [error(401)], [reply("Hi", usage=(5, 6))])
    options = {"instruments": [used]} if everywhere else {}
    async with open_models(*scripts, **options) as [one, two, three]:
        inner = FallbackAdapter(llm=[two, three], **options)
        middle = HedgeAdapter(llm=[inner], after=100, **options)
        outer = FallbackAdapter(llm=[one, middle], should_fall_back=lambda _: True, **options)
        answer = await outer.chat(chat_ctx=asked(), instruments=[used]).collect()

    assert answer.text == "Hi"
    assert used.by_model == {
        "model-0": UsageReport(failed=count(1, None, unknown=1)),
        "model-1": UsageReport(failed=count(1, None, unknown=1)),
        "model-2": UsageReport(answered=count(1, tokens(5, 6))),
    }


@pytest.mark.parametrize("where", ["call", "models"])
@pytest.mark.parametrize("nested", [False, True])
async def test_a_request_that_loses_a_race_is_shown_apart(
    nested: bool, where: str, autojump_clock: MockClock
) -> None:
    used = UsageCollector()
    scripts = ([reply(Wait(5), "slow")], [reply("fast")])
    on_models = [used] if where == "models" else []
    on_call = [used] if where == "call" else []
    async with open_models(*scripts, instruments=on_models) as [slow, fast]:
        first: ChatModel = FallbackAdapter(llm=[slow]) if nested else slow
        hedge = HedgeAdapter(llm=[first, fast], after=1, budget=1)
        answer = await hedge.chat(chat_ctx=asked(), instruments=on_call).collect()

    assert answer.text == "fast"
    assert used.by_model == {
        "model-0": UsageReport(hedged=count(1, None, unknown=1)),
        "model-1": UsageReport(answered=count(1, tokens(9, 3))),
    }


async def test_the_winner_that_is_left_early_has_not_lost(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    scripts = ([reply(Wait(5), "slow")], [reply("fast", Hold())])
    async with open_models(*scripts) as [slow, fast]:
        hedge = HedgeAdapter(llm=[slow, fast], after=1, budget=1)
        async with hedge.chat(chat_ctx=asked(), instruments=[used]) as stream:
            async for _ in stream.text:
                break

    assert used.by_model == {
        "model-0": UsageReport(hedged=count(1, None, unknown=1)),
        "model-1": UsageReport(cancelled=count(1, None, unknown=1)),
    }


async def test_a_race_that_is_left_undecided_has_no_loser(autojump_clock: MockClock) -> None:
    used = UsageCollector()
    async with open_models([reply(Wait(9), "a")], [reply(Wait(9), "b")]) as models:
        hedge = HedgeAdapter(llm=models, after=1, budget=1)
        with trio.move_on_after(3):
            await hedge.chat(chat_ctx=asked(), instruments=[used]).collect()

    assert used.report == UsageReport(cancelled=count(2, None, unknown=2))


class Keeper(Instrument):
    """Keeps what it is told of, as one that shows what is under way might."""

    def __init__(self) -> None:
        self.requests: list[RequestInfo] = []

    def request_started(self, request: RequestInfo) -> None:
        self.requests.append(request)


@pytest.mark.parametrize("others", [[], [Keeper()]], ids=["forgotten", "kept"])
async def test_one_that_is_asked_in_the_place_of_another_is_no_loser(
    others: list[Instrument], autojump_clock: MockClock
) -> None:
    used = UsageCollector()
    scripts = ([reply("The rain", Close())], [reply("To be", Hold())])
    async with open_models(*scripts) as models:
        adapter = FallbackAdapter(llm=models, max_retry_per_llm=0, restart_after_output=True)
        instruments = [*others, used]
        async with adapter.chat(chat_ctx=asked(), instruments=instruments) as stream:
            async for each in stream:
                if each.delta is not None and each.delta.content == "To":
                    break

    assert used.by_model == {
        "model-0": UsageReport(failed=count(1, None, unknown=1)),
        "model-1": UsageReport(cancelled=count(1, None, unknown=1)),
    }


class Wrapper(ChatModel):
    """A model of one's own that asks another one, or answers by itself."""

    model = "wrapper"
    provider = "here"

    def __init__(self, inner: ChatModel | None, *, fails: bool = False) -> None:
        self.inner = inner
        self.fails = fails

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(Wrapped(self, call), call)


class Wrapped(ChunkSource):
    def __init__(self, model: Wrapper, call: ChatCall) -> None:
        self._model = model
        self._call = call

    async def run(self, sink: ChunkSink) -> None:
        if self._model.inner is not None:
            await self._model.inner.stream(self._call).collect()
        if self._model.fails:
            raise APIError("no", retryable=False)
        await sink.send(ChatChunk(delta=ChoiceDelta(content="Hi"), usage=tokens(1, 1)))


async def test_a_model_of_ones_own_counts_unless_it_asks_another(
    autojump_clock: MockClock,
) -> None:
    used = UsageCollector()
    async with open_models([reply("Hi")]) as [llm]:
        await Wrapper(llm).chat(chat_ctx=asked(), instruments=[used]).collect()
        assert used.by_model == {"model-0": UsageReport(answered=count(1, tokens(9, 3)))}

        used.clear()
        await Wrapper(None).chat(chat_ctx=asked(), instruments=[used]).collect()
        assert used.by_model == {"wrapper": UsageReport(answered=count(1, tokens(1, 1)))}

        used.clear()
        with pytest.raises(APIError):
            await Wrapper(None, fails=True).chat(chat_ctx=asked(), instruments=[used]).collect()
        assert used.by_model == {"wrapper": UsageReport(failed=count(1, None, unknown=1))}


async def test_a_wrapper_that_fails_after_an_answer_adds_nothing_to_it(
    autojump_clock: MockClock,
) -> None:
    used = UsageCollector()
    async with open_models([reply("Hi")]) as [llm]:
        with pytest.raises(APIError):
            await Wrapper(llm, fails=True).chat(chat_ctx=asked(), instruments=[used]).collect()

    assert used.by_model == {"model-0": UsageReport(answered=count(1, tokens(9, 3)))}


async def test_a_collector_begins_anew_and_keeps_nothing_of_what_has_ended(
    autojump_clock: MockClock,
) -> None:
    used = UsageCollector()
    async with open_models([reply("Hi", every=1), reply("Hi")], instruments=[used]) as [llm]:
        async with llm.chat(chat_ctx=asked()) as stream:
            await anext(stream)
            used.clear()
            await stream.collect()
        assert used.report.total.requests == 1, "it ended after the start"

    assert not used._running
    assert not used._first


# --- cost ------------------------------------------------------------------------------------------


async def test_what_is_known_of_the_tokens_has_a_price(autojump_clock: MockClock) -> None:
    def price(model: str, usage: CompletionUsage) -> float:
        return (
            usage.prompt_tokens * 2 + usage.completion_tokens * {"model-0": 10, "model-1": 1}[model]
        )

    used = UsageCollector(price=price)
    scripts = ([reply("Hi"), reply("Hi", usage=None)], [reply("Hi")])
    async with open_models(*scripts, instruments=[used]) as [one, two]:
        for llm in (one, one, two):
            await llm.chat(chat_ctx=asked()).collect()

    assert [each.total.cost for each in used.by_model.values()] == [48, 21]
    assert used.report.total.cost == 69
    assert (used.report.total.unknown, used.report.total.unpriced) == (1, 0)


async def later(model: str, usage: CompletionUsage) -> float:
    return 1


@pytest.mark.parametrize("given", ["none", "raises", "text", "nan"])
async def test_a_price_that_is_not_known_is_unknown_and_the_tokens_count(
    given: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    prices: dict[str, Any] = {"none": None, "text": "5 EUR", "nan": float("nan")}
    used = UsageCollector(price=lambda model, usage: prices[given])
    async with open_models([reply("Hi"), reply("Hi")], instruments=[used]) as [llm]:
        with caplog.at_level(logging.ERROR, "lktrio"):
            for _ in range(2):
                await llm.chat(chat_ctx=asked()).collect()

    assert used.report.total == UsageCount(requests=2, usage=tokens(18, 6), unpriced=2)
    assert len(caplog.records) == (0 if given == "none" else 1)


async def test_without_usage_there_is_no_cost(autojump_clock: MockClock) -> None:
    used = UsageCollector(price=lambda model, usage: 1)
    assert used.report.total.cost is None
    async with open_models([reply("Hi", usage=None)], instruments=[used]) as [llm]:
        await llm.chat(chat_ctx=asked()).collect()

    assert used.report.total == UsageCount(requests=1, unknown=1)


@pytest.mark.parametrize(("price", "word"), [(5, "callable"), (later, "async")])
def test_a_price_that_cannot_be_called_is_refused(price: Any, word: str) -> None:
    with pytest.raises(TypeError, match=f"price must.*{word}"):
        UsageCollector(price=price)


# --- any nesting -----------------------------------------------------------------------------------

REPLIES = {
    "whole": reply("Hi"),
    "untold": reply("Hi", usage=None),
    "slow": reply(Wait(3), "Hi"),
    "busy": error(503),
    "refused": error(401),
    "cut": reply("Hi", Close()),
    "held": reply("Hi", Hold()),
    "away": NoConnection(),
}
Tree = str | list[Any]
TREES = st.recursive(
    st.sampled_from(sorted(REPLIES)),
    lambda trees: st.lists(trees, min_size=1, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(TREES, st.booleans(), st.sampled_from([None, 0.5, 4.0]))
def test_whatever_happens_each_attempt_at_a_model_is_counted_once(
    tree: Tree, hedged: bool, seconds: float | None
) -> None:
    async def main() -> None:
        used = UsageCollector(price=lambda model, usage: usage.total_tokens)
        async with AsyncExitStack() as stack:

            async def model_of(tree: Tree, depth: int) -> ChatModel:
                if isinstance(tree, str):
                    gateway = ScriptedGateway([REPLIES[tree]] * 20, allow_unused=True)
                    await stack.enter_async_context(gateway)
                    return await stack.enter_async_context(gateway.llm(tree, instruments=[used]))
                models = [await model_of(each, depth + 1) for each in tree]
                if hedged == bool(depth % 2):
                    return HedgeAdapter(llm=models, after=1, budget=1, instruments=[used])
                return FallbackAdapter(llm=models, instruments=[used])

            model = await model_of(tree, 0)
            options = APIConnectOptions(max_retry=1, total_timeout=20)
            stream = model.chat(chat_ctx=asked(), conn_options=options, instruments=[used])
            with trio.move_on_after(seconds or 100):
                try:
                    async with stream:
                        async for _ in stream:
                            pass
                except APIError:
                    pass

            total = used.report.total
            assert total.requests == len(stream.response.attempts)
            assert used._running == {}
            known = 0 if total.usage is None else total.usage.total_tokens
            assert (total.cost or 0) == known
            assert known == 12 * (used.report.answered.requests - used.report.answered.unknown)

    trio.run(main, clock=MockClock(autojump_threshold=0))
