"""What `async with` on a stream promises: its lifetime, its errors, its order, its pace."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIStatusError,
    ChatModel,
    FallbackAdapter,
    HedgeAdapter,
)
from tests.support.engine import BASE_URL, ONCE, TLS_BASE_URL, ask, conversation, open_llm
from tests.support.leaks import no_leaks
from tests.support.matrix import CANCEL_WAIT, Cut, Series, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Reset,
    Wait,
    error,
    finish,
    reasoning_chunk,
    refusal_chunk,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    usage,
)

SLOW = text("Hel", "lo", every=1.0)
STALLS = sse(text_chunk("Hel"), Hold())


class Boom(Exception):
    """The caller's own."""


# --- Only a value until it is entered -------------------------------------------------------------


async def test_chat_makes_a_value_and_sends_nothing(autojump_clock: MockClock) -> None:
    with no_leaks():
        async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
            ask(llm)
            await trio.testing.wait_all_tasks_blocked()

            assert network.connect_attempts == []


async def test_the_conversation_is_taken_as_it_was_when_chat_was_called(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        chat_ctx = conversation("before")
        stream = llm.chat(chat_ctx=chat_ctx)
        chat_ctx.add_message(role="user", content="after")
        assert len(stream.chat_ctx.items) == 1
        await stream.collect()

        assert network.requests[0].json()["messages"] == [{"role": "user", "content": "before"}]


async def test_a_stream_may_be_made_before_its_llm_is_entered(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, network.client() as client:
        llm = LLM("m", base_url=BASE_URL, auth=None, http_client=client)
        stream = llm.chat(chat_ctx=conversation())
        async with llm:
            assert (await stream.collect()).text == "Hello"


# --- Misuse says what to write instead ------------------------------------------------------------


async def test_iterating_a_stream_that_was_not_entered(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        for iterate in (lambda: anext(ask(llm)), lambda: anext(ask(llm).text)):
            with pytest.raises(RuntimeError, match=r"async with llm\.chat"):
                await iterate()


async def test_awaiting_a_stream(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        stream: Any = ask(llm)
        with pytest.raises(TypeError, match=r"async with llm\.chat.* await llm\.chat.*collect"):
            await stream
        assert (await stream.collect()).text == "Hello"


async def test_entering_a_stream_twice(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            with pytest.raises(RuntimeError, match=r"entered once.*chat\(\)"):
                async with stream:
                    pass
        with pytest.raises(RuntimeError, match="closed"):
            await stream.__aenter__()


async def test_leaving_a_stream_that_was_not_entered(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        with pytest.raises(RuntimeError, match="not entered"):
            await ask(llm).__aexit__(None, None, None)


async def test_using_a_stream_after_it_was_left(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            await anext(stream)
        for use in (lambda: anext(stream), lambda: anext(stream.text), stream.collect):
            with pytest.raises(trio.ClosedResourceError, match=r"chat\(\)"):
                await use()


async def test_two_tasks_waiting_in_one_stream(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        async with ask(llm) as stream, trio.open_nursery() as nursery:
            await anext(stream)
            nursery.start_soon(stream.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="one task"):
                await anext(stream)
            nursery.cancel_scope.cancel()


async def test_iterating_from_another_task_is_allowed(autojump_clock: MockClock) -> None:
    got: list[str] = []

    async def read(stream: Any) -> None:
        got.extend([piece async for piece in stream.text])

    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        async with ask(llm) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(read, stream)
    assert got == ["Hel", "lo"]


async def test_leaving_in_another_task_is_refused_and_stops_the_request(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        stream = ask(llm)
        async with stream:
            await anext(stream)

            async def leave() -> None:
                with pytest.raises(RuntimeError, match="task that entered it"):
                    await stream.__aexit__(None, None, None)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave)
            await network.connections[0].client_gone.wait()
            with pytest.raises(trio.ClosedResourceError):
                await anext(stream)
        network.assert_quiet()


# --- Leaving --------------------------------------------------------------------------------------


async def test_finishing_normally_keeps_the_connection(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        for _ in range(10):
            assert (await ask(llm).collect()).text == "Hello"

        assert len(network.connections) == 1
        network.assert_quiet()


async def test_a_body_that_ends_within_a_tenth_of_a_second_keeps_the_connection(
    autojump_clock: MockClock,
) -> None:
    slow_end = sse(text_chunk("Hi"), finish(), DONE, Wait(0.09))
    async with MemoryNetwork(slow_end) as network, open_llm(network) as llm:
        for _ in range(10):
            start = trio.current_time()
            async with ask(llm) as stream:
                async for _ in stream:
                    pass
                assert trio.current_time() == start  # the end is seen at [DONE]
            assert trio.current_time() == pytest.approx(start + 0.09)

        assert len(network.connections) == 1


async def test_a_body_held_open_costs_a_tenth_of_a_second_three_times(
    autojump_clock: MockClock,
) -> None:
    held = sse(text_chunk("Hi"), finish(), DONE, Hold())
    async with MemoryNetwork(held) as network, open_llm(network) as llm:
        left: list[float] = []
        for _ in range(5):
            start = trio.current_time()
            assert (await ask(llm).collect()).text == "Hi"
            left.append(trio.current_time() - start)

        assert left == pytest.approx([0.1, 0.1, 0.1, 0, 0])
        assert len(network.connections) == 5
        network.assert_quiet()


async def test_a_server_that_stops_holding_its_bodies_is_noticed(autojump_clock: MockClock) -> None:
    held = sse(text_chunk("Hi"), finish(), DONE, Hold())
    prompt = sse(text_chunk("Hi"), finish(), DONE, Wait(0.01))
    answers = iter([held])
    async with MemoryNetwork(lambda _: next(answers, prompt)) as network, open_llm(network) as llm:
        for _ in range(210):
            await ask(llm).collect()

        assert len(network.connections) < 210


@pytest.mark.parametrize("how", ["break", "raise", "cancel", "aclose"])
async def test_leaving_early_closes_the_connection_at_once(
    autojump_clock: MockClock, how: str
) -> None:
    answer = sse(text_chunk("Hel"), Wait(1), text_chunk("lo"), finish(), DONE)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        with trio.CancelScope() as scope:
            try:
                async with ask(llm) as stream:
                    async for _ in stream:
                        if how == "break":
                            break
                        if how == "raise":
                            raise Boom
                        if how == "aclose":
                            await stream.aclose()
                            break
                        scope.cancel()
            except Boom:
                pass
        server = network.connections[0]
        await server.closed.wait()

        assert server.client_gone_at == 0
        assert server.unplayed[0] == Wait(1)
        network.assert_quiet()


async def test_a_break_after_the_finish_reason_counts_as_finishing(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        for _ in range(3):
            async with ask(llm) as stream:
                async for chunk in stream:
                    if chunk.finish_reason is not None:
                        break
        assert len(network.connections) == 1


async def test_aclose_is_idempotent_and_the_block_may_go_on(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            await anext(stream)
            await stream.aclose()
            await stream.aclose()
            await trio.sleep(1)
            with pytest.raises(trio.ClosedResourceError):
                await anext(stream)
        await stream.aclose()


async def test_a_stream_that_was_closed_before_it_was_entered_sends_nothing(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        stream = ask(llm)
        await stream.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            async with stream:
                pass
        assert network.connect_attempts == []


async def test_nothing_is_alive_after_the_block(autojump_clock: MockClock) -> None:
    with no_leaks():
        async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
            async with ask(llm) as stream:
                async for _ in stream:
                    break
            assert llm.statistics().streams_open == 0
            network.assert_quiet()


# --- Whose exception is it ------------------------------------------------------------------------


async def test_the_bodys_own_exception_leaves_as_it_is(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        with pytest.raises(Boom) as caught:
            async with ask(llm) as stream:
                await anext(stream)
                raise Boom
        assert caught.value.__cause__ is None


async def test_the_bodys_exception_survives_an_outer_cancellation(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        with trio.CancelScope() as scope, pytest.raises(Boom):
            async with ask(llm) as stream:
                await anext(stream)
                scope.cancel()
                raise Boom


async def test_the_bodys_exception_survives_after_a_complete_answer_too(
    autojump_clock: MockClock,
) -> None:
    held = sse(text_chunk("Hi"), finish(), DONE, Hold())
    async with MemoryNetwork(held) as network, open_llm(network) as llm:
        with trio.CancelScope() as scope, pytest.raises(Boom):
            async with ask(llm) as stream:
                async for _ in stream:
                    pass
                scope.cancel()
                raise Boom


async def test_the_bodys_exception_survives_a_request_that_failed_at_the_same_moment(
    autojump_clock: MockClock,
) -> None:
    broken = sse(text_chunk("Hi"), end=False).then(Reset())
    async with MemoryNetwork(broken) as network, open_llm(network) as llm:
        with pytest.raises(Boom):
            async with ask(llm) as stream:
                await trio.sleep(1)
                raise Boom
        assert isinstance(stream.error, APIConnectionError)


async def test_a_failure_is_one_bare_error_with_what_had_arrived(autojump_clock: MockClock) -> None:
    broken = sse(text_chunk("Hel"), text_chunk("lo"), usage(9, 2), end=False).then(Reset())
    async with MemoryNetwork(broken) as network, open_llm(network) as llm:
        got: list[str] = []
        with pytest.raises(APIConnectionError) as caught:
            async with ask(llm) as stream:
                async for piece in stream.text:
                    got.append(piece)  # noqa: PERF401 - what came before the error is the point
        assert got == ["Hel", "lo"]
        error = caught.value
        assert error.partial.text == "Hello"
        assert error.partial.usage is not None
        assert error.partial.usage.completion_tokens == 2
        assert not error.retryable
        assert len(error.attempts) == 1
        assert stream.error is error


async def test_a_failure_is_raised_again_by_everybody_who_asks(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(error(400)) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            for use in (lambda: anext(stream), lambda: anext(stream.text), stream.collect):
                with pytest.raises(APIStatusError, match="scripted error"):
                    await use()


async def test_a_failure_nobody_looked_at_is_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with MemoryNetwork(error(400)) as network, open_llm(network) as llm:
        async with ask(llm) as unseen:
            await trio.sleep(1)
        async with ask(llm) as seen:
            await trio.sleep(1)
            assert seen.error is not None
    warnings = [r for r in caplog.records if r.name == "lktrio" and r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "400" in warnings[0].getMessage()
    assert isinstance(unseen.error, APIStatusError)


async def test_the_callers_own_deadline_stays_a_too_slow_error(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(3):
                async with ask(llm) as stream:
                    async for _ in stream:
                        pass
        with pytest.raises(trio.TooSlowError):
            async with ask(llm) as stream:
                with trio.fail_after(3):
                    async for _ in stream:
                        pass


async def test_the_callers_deadline_wins_at_the_very_instant_of_ours(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(10):
                async with ask(llm) as stream:
                    async for _ in stream:
                        pass


async def test_a_shielded_consumer_whose_owner_was_cancelled_sees_no_quiet_end(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:
        with trio.CancelScope() as scope:
            async with ask(llm) as stream:
                await anext(stream)
                scope.cancel()
                with trio.CancelScope(shield=True), pytest.raises(trio.ClosedResourceError):
                    await anext(stream)


async def test_another_task_that_reads_when_the_owner_is_cancelled_sees_no_quiet_end(
    autojump_clock: MockClock,
) -> None:
    outcome: list[BaseException] = []

    async with MemoryNetwork(STALLS) as network, open_llm(network) as llm:

        async def read(stream: Any) -> None:
            try:
                async for _ in stream:
                    pass
            except trio.ClosedResourceError as exc:
                outcome.append(exc)

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with ask(llm) as stream:
                    nursery.start_soon(read, stream)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
                    await trio.sleep_forever()
    assert len(outcome) == 1


def failing_in_the_clean_up(*failures: Exception) -> Callable[..., Awaitable[Any]]:
    """A callable with a nursery in which something fails when it is cancelled."""

    async def callable_(*_: Any) -> Any:
        async def child(failure: Exception) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise failure

        async with trio.open_nursery() as nursery:
            for failure in failures:
                nursery.start_soon(child, failure)
            nursery.start_soon(trio.sleep_forever)

    return callable_


@asynccontextmanager
async def awaiting(kind: str, function: Any) -> AsyncIterator[ChatModel]:
    """A model that awaits a callable of the program."""
    async with MemoryNetwork(text("Hi")) as network:
        hooks = {"event_hooks": {"request": [function]}} if kind == "hook" else {}
        async with network.client(**hooks) as client:
            auth = function if kind == "auth" else None
            async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
                yield FallbackAdapter([llm], accept=function) if kind == "accept" else llm


KINDS = ["auth", "hook", "accept"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_callable_raises_when_it_is_cancelled_does_not_replace_the_bodys(
    kind: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failure = ValueError("from the clean-up")
    async with awaiting(kind, failing_in_the_clean_up(failure)) as model:
        stream = model.chat(chat_ctx=conversation(), conn_options=ONCE)
        with pytest.raises(Boom):
            async with stream:
                await trio.sleep(1)
                raise Boom
        assert len(caplog.records) == 1
        assert stream.error is failure


@pytest.mark.parametrize("kind", KINDS)
async def test_nor_does_it_keep_a_scope_from_moving_on(
    kind: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with awaiting(kind, failing_in_the_clean_up(ValueError(), KeyError())) as model:
        stream = model.chat(chat_ctx=conversation(), conn_options=ONCE)
        with trio.move_on_after(1) as scope:
            await stream.collect()
        assert scope.cancelled_caught
        assert isinstance(stream.error, ValueError | KeyError)
        (note,) = stream.error.__notes__
        assert "was raised" in note
    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", ["auth", "hook"])
async def test_what_it_raises_when_a_clock_runs_out_is_raised_bare(
    kind: str, autojump_clock: MockClock
) -> None:
    async with awaiting(kind, failing_in_the_clean_up(ValueError("from the clean-up"))) as model:
        options = APIConnectOptions(max_retry=0, timeout=1)
        with pytest.raises(ValueError, match="from the clean-up"):
            await model.chat(chat_ctx=conversation(), conn_options=options).collect()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_raises_of_itself_is_raised_bare(
    kind: str, autojump_clock: MockClock
) -> None:
    async def fails(*_: Any) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ZeroDivisionError

    async with awaiting(kind, fails) as model:
        with pytest.raises(ZeroDivisionError) as caught:
            await model.chat(chat_ctx=conversation(), conn_options=ONCE).collect()
        assert not isinstance(caught.value.__context__, BaseExceptionGroup)


async def test_prewarming_raises_it_bare_too(autojump_clock: MockClock) -> None:
    async with awaiting("auth", failing_in_the_clean_up(ValueError("from the clean-up"))) as model:
        assert isinstance(model, LLM)
        with pytest.raises(ValueError, match="from the clean-up"):
            await model.prewarm()


@pytest.mark.parametrize("nested", [False, True])
async def test_leaving_an_llm_from_its_own_auth_callable_is_refused(
    nested: bool, autojump_clock: MockClock
) -> None:
    """Each would wait for the other, through any deadline."""

    async def auth() -> str:
        if nested:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(llm.__aexit__, None, None, None)
        else:
            await llm.__aexit__(None, None, None)
        return "Bearer x"

    async with MemoryNetwork(text("Hi")) as network, network.client() as client:
        llm = LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client)
        async with llm:
            with trio.fail_after(5), pytest.raises(RuntimeError, match="own requests"):
                await ask(llm).collect()
            with trio.fail_after(5), pytest.raises(RuntimeError, match="own requests"):
                if nested:  # which cannot be told from a task that is the program's own
                    raise RuntimeError("own requests")
                await llm.prewarm()
            assert llm.statistics().streams_open == 0


async def test_an_llm_may_be_left_by_the_task_that_an_auth_callable_waits_for(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(text("Hi")) as network, network.client() as client:

        async def auth() -> str:
            nursery.start_soon(llm.__aexit__, None, None, None)
            await trio.sleep_forever()
            raise AssertionError

        llm = LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client)
        async with llm, trio.open_nursery() as nursery:
            with pytest.raises(trio.ClosedResourceError):
                await ask(llm).collect()


async def test_a_bug_in_our_own_code_is_not_dressed_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr("lktrio._wire.body.decode_event", broken)
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        with pytest.raises(KeyError, match="bug"):
            await ask(llm).collect()
        network.assert_quiet()


async def test_an_llm_that_is_left_ends_the_streams_that_are_open(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(STALLS) as network, network.client() as client:
        async with trio.open_nursery() as nursery:

            async def read(*, task_status: Any) -> None:
                async with ask(llm) as stream:
                    await anext(stream)
                    task_status.started()
                    with pytest.raises(trio.ClosedResourceError, match="LLM was left"):
                        await anext(stream)

            async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
                await nursery.start(read)
        network.assert_quiet()


# --- Order and pace -------------------------------------------------------------------------------


async def test_text_then_calls_then_finish_reason_then_usage(autojump_clock: MockClock) -> None:
    answer = sse(
        text_chunk("Let me "),
        usage(9, 3),
        tool_call_chunk('{"city":"Paris"}', id="call_a", name="get_weather"),
        text_chunk("look."),
        finish("tool_calls"),
        DONE,
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            chunks = [chunk async for chunk in stream]

        assert [chunk.delta and chunk.delta.content for chunk in chunks[:2]] == ["Let me ", "look."]
        assert chunks[2].delta is not None
        assert [call.name for call in chunks[2].delta.tool_calls] == ["get_weather"]
        assert chunks[3].finish_reason == "tool_calls"
        assert chunks[4].usage is not None
        assert len(chunks) == 5
        assert stream.usage == chunks[4].usage
        assert stream.finish_reason == "tool_calls"
        assert not stream.truncated


async def test_collect_gives_the_whole_answer_even_after_a_part_was_iterated(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            await anext(stream)
            collected = await stream.collect()
            assert await stream.collect() == collected
        assert collected.text == "Hello"
        assert collected.finish_reason == "stop"
        assert collected.usage is not None
        assert not collected.empty


async def test_an_empty_answer_is_flagged(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(sse(finish(), DONE)) as network, open_llm(network) as llm:
        assert (await ask(llm).collect()).empty


async def test_a_call_that_was_cut_off_is_withheld(autojump_clock: MockClock) -> None:
    answer = sse(
        tool_call_chunk('{"city":"Par', id="call_a", name="get_weather"),
        finish("length"),
        DONE,
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            assert stream.withheld_calls == []
            collected = await stream.collect()
            assert collected.tool_calls == []
            assert [call.arguments for call in stream.withheld_calls] == ['{"city":"Par']
            assert stream.truncated


async def test_calls_are_handed_out_early_if_asked_for(autojump_clock: MockClock) -> None:
    answer = sse(
        tool_call_chunk('{"a":', index=0, id="call_a", name="f"),
        tool_call_chunk("1}", index=0),
        Wait(1),
        tool_call_chunk('{"b":2}', index=1, id="call_b", name="f"),
        Wait(1),
        text_chunk("Hm."),
        tool_call_chunk('{"c":3}', index=2, id="call_c", name="f"),
        Wait(1),
        finish("tool_calls"),
        DONE,
    )
    handed_out: list[tuple[str, float]] = []
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with ask(llm, early_tool_calls=True) as stream:
            async for chunk in stream:
                calls = chunk.delta.tool_calls if chunk.delta else []
                handed_out += [(call.call_id, trio.current_time()) for call in calls]
            collected = await stream.collect()
    assert handed_out == [("call_a", 1), ("call_b", 2), ("call_c", 3)]
    assert [call.arguments for call in collected.tool_calls] == ['{"a":1}', '{"b":2}', '{"c":3}']


@pytest.mark.parametrize(
    ("later", "fails"),
    [
        (tool_call_chunk('{"a":1}', index=0), False),
        (tool_call_chunk("", index=0), False),
        (tool_call_chunk('{"a":2}', index=0), True),
        (tool_call_chunk("}", index=0), True),
    ],
)
async def test_a_call_that_was_handed_out_is_frozen(
    autojump_clock: MockClock, later: bytes, *, fails: bool
) -> None:
    answer = sse(
        tool_call_chunk('{"a":1}', index=0, id="call_a", name="f"),
        tool_call_chunk('{"b":2}', index=1, id="call_b", name="f"),
        later,
        finish("tool_calls"),
        DONE,
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        if fails:
            with pytest.raises(APIConnectionError, match="came back to the call"):
                await ask(llm, early_tool_calls=True).collect()
        else:
            collected = await ask(llm, early_tool_calls=True).collect()
            assert [call.call_id for call in collected.tool_calls] == ["call_a", "call_b"]
        assert len((await ask(llm).collect()).tool_calls) in {2, 3}


async def test_a_wait_that_is_given_up_loses_nothing(autojump_clock: MockClock) -> None:
    answer = text(*"abcdefghij", every=0.35)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        got = ""
        given_up = 0
        async with ask(llm) as stream:
            while True:
                with trio.move_on_after(0.2) as scope:
                    try:
                        chunk = await anext(stream)
                    except StopAsyncIteration:
                        break
                    got += (chunk.delta and chunk.delta.content) or ""
                given_up += scope.cancelled_caught
        assert got == "abcdefghij"
        assert given_up > 5


@pytest.mark.parametrize("pieces", [30, 3000])
@pytest.mark.parametrize("read_before", [0, 2])
async def test_a_collect_that_is_given_up_loses_nothing(
    autojump_clock: MockClock, pieces: int, read_before: int
) -> None:
    """Of many chunks the texts may be joined."""
    said = [f"word{number} " for number in range(pieces)]
    call = tool_call_chunk("{}", id="call_a", name="f")
    middle = [reasoning_chunk("hm, "), reasoning_chunk("well"), refusal_chunk("no")]
    half = pieces // 2
    answer = sse(
        *(text_chunk(word) for word in said[:half]),
        Wait(1),
        *middle,
        *(text_chunk(word) for word in said[half:]),
        Wait(1),
        call,
        finish("tool_calls"),
        usage(9, 3),
        DONE,
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            chunks = [await anext(stream) for _ in range(read_before)]
            for _ in range(5):
                with trio.move_on_after(0.3) as scope:
                    await stream.collect()
                assert scope.cancelled_caught
            chunks.append(await anext(stream))
            with trio.move_on_after(0.1):
                await stream.collect()
            chunks += [chunk async for chunk in stream]
            whole = await stream.collect()
        deltas = [chunk.delta for chunk in chunks if chunk.delta is not None]
        assert "".join(delta.content or "" for delta in deltas) == whole.text == "".join(said)
        assert "".join(delta.reasoning or "" for delta in deltas) == "hm, well"
        assert "".join(delta.refusal or "" for delta in deltas) == "no"
        assert [call for delta in deltas for call in delta.tool_calls] == whole.tool_calls
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]
        assert [chunk.usage for chunk in chunks if chunk.usage] == [whole.usage]
        if pieces > 1000:
            # What was taken is kept as the answer is, and not as very many chunks.
            assert len(chunks) < pieces


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("ending", ["whole", "cut"])
def test_wherever_a_collect_is_given_up_it_loses_nothing(ending: str, series: Series) -> None:
    pieces = [step for word in ("Hel", "lo, ", "you") for step in (text_chunk(word), Wait(1))]
    answer = (
        sse(*pieces, finish(), DONE) if ending == "whole" else sse(*pieces, end=False).then(Reset())
    )

    async def scenario(cut: Cut) -> str:
        said = ""
        async with MemoryNetwork(answer) as network, open_llm(network) as llm:
            async with ask(llm) as stream:
                with cut.watched(), suppress(APIConnectionError), cut.one_wait() as wait:
                    return (await stream.collect()).text
                with suppress(APIConnectionError):
                    async for piece in stream.text:
                        said += piece
                if isinstance(stream.error, APIConnectionError) and not wait.cancelled_caught:
                    return stream.error.partial.text  # collect() has told it
        return said

    outcome = sweep(scenario, CANCEL_WAIT, series)
    assert set(outcome.results) == {outcome.undisturbed} == {"Hello, you"}


async def test_a_collect_that_comes_too_soon_loses_nothing(autojump_clock: MockClock) -> None:
    """Another task waits for the stream, and is not disturbed."""
    got: list[str] = []

    async def read(stream: Any) -> None:
        got.extend([piece async for piece in stream.text])

    answer = sse(text_chunk("Hel"), text_chunk("lo"), Wait(1), text_chunk("!"), finish(), DONE)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with ask(llm) as stream, trio.open_nursery() as nursery:
            await trio.sleep(0.5)
            nursery.start_soon(read, stream)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.collect()
    assert "".join(got) == "Hello!"


# --- collect() after the block --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (text("Hel", "lo"), {"text": "Hello", "finish_reason": "stop"}),
        (
            sse(text_chunk("Hel"), finish("length"), DONE),
            {"text": "Hel", "finish_reason": "length", "truncated": True},
        ),
        (
            sse(tool_call_chunk('{"a', id="call_a", name="f"), finish("length"), DONE),
            {"text": "", "truncated": True, "tool_calls": []},
        ),
        (sse(text_chunk("Hel"), DONE), {"text": "Hel", "finish_reason": None}),
        (sse(text_chunk("Hel"), finish(), Hold()), {"text": "Hel", "usage": None}),
    ],
)
@pytest.mark.parametrize("adapter", [None, "fallback", "hedge"])
@pytest.mark.parametrize(
    "leaving", ["at the end", "after the text", "by an exception", "cancelled"]
)
async def test_after_the_block_collect_gives_an_answer_that_was_whole(
    autojump_clock: MockClock,
    answer: Exchange,
    expected: dict[str, Any],
    adapter: str | None,
    leaving: str,
) -> None:
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        model: ChatModel = llm
        if adapter == "fallback":
            model = FallbackAdapter([llm])
        elif adapter == "hedge":
            model = HedgeAdapter([llm, llm], after=math.inf)
        stream = model.chat(chat_ctx=conversation(), conn_options=ONCE)
        with trio.CancelScope() as scope, suppress(Boom):
            async with stream:
                if leaving == "at the end":
                    async for _ in stream:
                        pass
                # Everything has been sent, but for what never comes.
                await trio.sleep(1)
                if leaving == "by an exception":
                    raise Boom
                if leaving == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
        for _ in range(2):
            collected = await stream.collect()
            assert {name: getattr(collected, name) for name in expected} == expected
        with pytest.raises(trio.ClosedResourceError):
            await anext(stream)
        assert stream.metrics is not None
        assert not stream.metrics.cancelled


async def test_after_the_block_collect_gives_nothing_else(autojump_clock: MockClock) -> None:
    half = sse(text_chunk("Hel"), Hold())
    broken = sse(text_chunk("Hel"), end=False).then(Reset())
    spoilt = sse(text_chunk("Hel"), finish(), b"data: {\n\n", Hold())
    async with MemoryNetwork([half, broken, spoilt]) as network, open_llm(network) as llm:
        for _ in range(3):
            async with ask(llm) as stream:
                await trio.sleep(1)
                _ = stream.error
            with pytest.raises(trio.ClosedResourceError):
                await stream.collect()


async def test_after_the_block_a_verdict_that_was_not_waited_for_is_none(
    autojump_clock: MockClock,
) -> None:
    async def think(_: Any) -> bool:
        await trio.sleep(10)
        return True

    async with MemoryNetwork(text("Hi")) as network, open_llm(network) as llm:
        async with FallbackAdapter([llm], accept=think).chat(chat_ctx=conversation()) as stream:
            await trio.sleep(1)
        with pytest.raises(trio.ClosedResourceError):
            await stream.collect()


async def test_after_the_block_collect_is_a_checkpoint(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        stream = ask(llm)
        await stream.collect()
        with trio.testing.assert_checkpoints():
            await stream.collect()


# --- Pace -----------------------------------------------------------------------------------------


async def test_a_consumer_that_stops_reading_stops_the_server(autojump_clock: MockClock) -> None:
    piece = "x" * 1000
    flood = sse(*[text_chunk(piece) for _ in range(2000)], finish(), DONE)
    async with MemoryNetwork(flood) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            await trio.sleep(1000)
            waiting = network.connections[0].bytes_sent
            # Two lists of 64 KiB, a read, and what the network itself holds.
            assert waiting < 6 * 64 * 1024
            total = sum([len(piece) async for piece in stream.text])
        assert total == 2_000_000


async def test_a_slow_consumer_costs_no_timeout(autojump_clock: MockClock) -> None:
    flood = sse(*[text_chunk("x" * 20_000) for _ in range(21)], finish(), DONE)
    async with MemoryNetwork(flood) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            async for _ in stream:
                await trio.sleep(60)
        assert stream.finish_reason == "stop"


async def test_a_chunk_is_a_cancel_point(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(sse(*map(text_chunk, "abc"), finish(), DONE)) as network:
        async with open_llm(network) as llm, ask(llm) as stream:
            await anext(stream)
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(stream)
            assert scope.cancelled_caught
            assert [piece async for piece in stream.text] == ["b", "c"]


# --- Looking --------------------------------------------------------------------------------------


async def test_the_repr_shows_the_live_state(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:
        stream = ask(llm)
        assert repr(stream) == "<LLMStream test-model new, 0 chunks>"
        async with stream:
            await anext(stream)
            assert repr(stream) == "<LLMStream test-model open, 1 chunks>"
        assert repr(stream) == "<LLMStream test-model closed, 1 chunks>"


async def test_the_response_has_ids_quota_and_the_timings_of_each_attempt(
    autojump_clock: MockClock,
) -> None:
    quota = {"X-LiveKit-Inference-RPM-Limit": "60", "X-LiveKit-Inference-RPM-Used": "7"}
    answers = [
        error(503, headers={"x-request-id": "req_1"}),
        sse(
            Wait(0.5),
            reasoning_chunk("hm"),
            Wait(0.5),
            text_chunk("Hi"),
            finish(),
            DONE,
            headers={"x-request-id": "req_2", "Set-Cookie": "a=b", **quota},
        ),
    ]
    async with MemoryNetwork(answers, connect_delay=0.25) as network, open_llm(network) as llm:
        async with ask(llm, APIConnectOptions(max_retry=1, retry_interval=0)) as stream:
            assert stream.response.attempts == ()
            await stream.collect()
            info = stream.response

    assert info.status_code == 200
    assert info.request_id == "req_2"
    assert info.quota is not None
    assert info.quota.rpm is not None
    assert (info.quota.rpm.limit, info.quota.rpm.used) == (60, 7)
    assert info.quota.tpm is None
    assert "set-cookie" not in info.headers
    first, second = info.attempts
    assert (first.number, first.started, first.connected, first.status_code) == (1, 0, 0.25, 503)
    assert first.request_id == "req_1"
    assert first.error is not None
    assert first.first_output is None
    assert second.started == 0.25
    assert second.connected is None  # kept alive
    assert (second.headers, second.first_output, second.ended) == (0.25, 1.25, 1.25)


async def test_a_users_generator_around_the_block_works_when_closed_in_its_task(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(SLOW) as network, open_llm(network) as llm:

        async def sentences() -> AsyncIterator[str]:
            async with ask(llm) as stream:
                async for piece in stream.text:
                    yield piece

        generator = sentences()
        assert await anext(generator) == "Hel"
        await generator.aclose()  # type: ignore[attr-defined]
        network.assert_quiet()
