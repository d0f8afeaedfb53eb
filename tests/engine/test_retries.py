"""What is sent again, after how long, and what is raised in the end; in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
)
from tests.support.engine import ask, open_llm, timed
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    AwaitRequest,
    Close,
    Connection,
    Exchange,
    Hold,
    Reset,
    Send,
    delta,
    error,
    event,
    finish,
    reasoning_chunk,
    refusal_chunk,
    response,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    usage,
)

HI = text("Hi")
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
HALF_A_MINUTE_LATER = "Wed, 21 Oct 2026 07:28:30 GMT"


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays without their spread, which has a test of its own, are exact."""
    monkeypatch.setattr("lktrio._settings.retry.JITTER", 0.0)


async def asked_at(
    script: Any, *, fails: type[APIError] | None = None, **options: Any
) -> tuple[Any, list[float]]:
    """What came out, and when each request was received."""
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        result, _ = await timed(ask(llm, APIConnectOptions(**options)).collect)
        network.assert_quiet()
        if fails is None:
            assert not isinstance(result, Exception), repr(result)
        else:
            assert type(result) is fails, repr(result)
        return result, [round(request.received_at, 6) for request in network.requests]


# --- How long -------------------------------------------------------------------------------------


async def test_a_tenth_of_a_second_and_then_the_interval(autojump_clock: MockClock) -> None:
    exc, times = await asked_at(error(503), fails=APIStatusError)

    assert times == [0, 0.1, 2.1, 4.1]
    assert exc.status_code == 503
    assert [attempt.started for attempt in exc.attempts] == pytest.approx(times)
    assert [attempt.number for attempt in exc.attempts] == [1, 2, 3, 4]
    assert all(attempt.error is not None for attempt in exc.attempts)
    assert exc.retryable


async def test_an_interval_below_a_tenth_counts_from_the_first_retry(
    autojump_clock: MockClock,
) -> None:
    _, times = await asked_at(error(503), fails=APIStatusError, retry_interval=0.05)

    assert times == [0, 0.05, 0.1, 0.15]


async def test_no_retry_at_all(autojump_clock: MockClock) -> None:
    _, times = await asked_at(error(503), fails=APIStatusError, max_retry=0)

    assert times == [0]


async def test_the_delays_are_spread(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lktrio._settings.retry.JITTER", 0.1)
    first_delays = set()
    for _ in range(20):
        async with MemoryNetwork([error(503), HI]) as network, open_llm(network) as llm:
            _, seconds = await timed(ask(llm, APIConnectOptions()).collect)
            first_delays.add(round(seconds, 9))
    assert len(first_delays) > 10
    assert all(0.09 <= delay <= 0.11 for delay in first_delays)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0.1),
        ({"Retry-After": HALF_A_MINUTE_LATER, "Date": DATE}, 30),
        ({"Retry-After": DATE, "Date": HALF_A_MINUTE_LATER}, 0.1),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "Retry-After": "7"}, 1.5),
        ({"Retry-After": "-3"}, 0.1),
        ({"Retry-After": "NaN"}, 0.1),
        ({"Retry-After": "soon"}, 0.1),
        ({"Retry-After": "30"}, 30),
        ({"x-ratelimit-reset-requests": "1m30.5s"}, 0.1),
        ({"x-ratelimit-reset-requests": "6s"}, 6),
        ({"x-ratelimit-reset-requests": "12ms"}, 0.1),
        ({"x-ratelimit-reset-tokens": "6s", "Retry-After": "2"}, 2),
    ],
)
async def test_the_server_says_how_long(
    autojump_clock: MockClock, headers: dict[str, str], seconds: float
) -> None:
    _, times = await asked_at([error(429, headers=headers), HI])

    assert times == [0, seconds]


@pytest.mark.parametrize("wait", ["31", "86400"])
async def test_a_wait_above_the_cap_is_not_begun(autojump_clock: MockClock, wait: str) -> None:
    exc, times = await asked_at(error(429, headers={"Retry-After": wait}), fails=APIStatusError)

    assert times == [0]
    assert exc.retry_after == float(wait)


async def test_a_wait_beyond_the_callers_deadline_is_not_begun(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(error(429, retry_after=20)) as network, open_llm(network) as llm:
        with trio.fail_after(15):
            exc, seconds = await timed(ask(llm, APIConnectOptions()).collect)
    assert isinstance(exc, APIStatusError)
    assert seconds == 0


@pytest.mark.parametrize(("moved_to", "text"), [(100.0, "Hi"), (15.0, None)])
async def test_the_callers_deadline_counts_as_it_stands_when_the_wait_would_begin(
    moved_to: float, text: str | None, autojump_clock: MockClock
) -> None:
    busy = error(429, retry_after=20).after(5)
    async with MemoryNetwork([busy, HI]) as network, open_llm(network) as llm:
        with trio.CancelScope(deadline=60 if text is None else 10) as scope:
            async with ask(llm, APIConnectOptions()) as stream:
                scope.deadline = moved_to
                if text is None:
                    with pytest.raises(APIStatusError):
                        await stream.collect()
                    assert trio.current_time() == 5
                else:
                    assert (await stream.collect()).text == text


async def test_a_wait_beyond_the_total_clock_is_not_begun(autojump_clock: MockClock) -> None:
    _, times = await asked_at(error(429, retry_after=20), fails=APIStatusError, total_timeout=15)
    assert times == [0]


async def test_a_deadline_around_one_wait_does_not_count(autojump_clock: MockClock) -> None:
    """That wait may be given up and asked again."""
    async with (
        MemoryNetwork([error(429, retry_after=20), HI]) as network,
        open_llm(network) as llm,
        ask(llm, APIConnectOptions()) as stream,
    ):
        with trio.move_on_after(1) as scope:
            await anext(stream)
        assert scope.cancelled_caught
        assert (await stream.collect()).text == "Hi"
        assert trio.current_time() == 20


# --- What -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 499, 500, 502, 503, 504, 520, 529, 599])
async def test_a_status_that_can_pass(autojump_clock: MockClock, status: int) -> None:
    collected, times = await asked_at([error(status), HI])

    assert (collected.text, times) == ("Hi", [0, 0.1])


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 422, 451])
async def test_a_status_that_cannot(autojump_clock: MockClock, status: int) -> None:
    exc, times = await asked_at(error(status), fails=APIStatusError)

    assert (exc.status_code, exc.retryable, times) == (status, False, [0])


@pytest.mark.parametrize(
    ("status", "verdict", "retried"), [(429, "false", False), (400, "true", True)]
)
async def test_the_server_may_overrule_the_status(
    autojump_clock: MockClock, status: int, verdict: str, *, retried: bool
) -> None:
    async with (
        MemoryNetwork(lambda _: error(status, headers={"x-should-retry": verdict})) as network,
        open_llm(network) as llm,
    ):
        exc, _ = await timed(ask(llm, APIConnectOptions(max_retry=1)).collect)
        assert len(network.requests) == 1 + retried
    assert exc.retryable is retried


@pytest.mark.parametrize(
    "failure",
    [
        Exchange([Close()]),
        Exchange([Reset()]),
        Exchange([Send(b"HTTP/1.1 200 OK\r\nContent-"), Close()]),
        sse(end=False).then(Close()),
        sse(end=False).then(Reset()),
        sse(),
        response(200, b"", {"Content-Type": "text/event-stream"}),
        response(204),
        sse(event({"error": {"message": "overloaded", "code": 503}})),
        sse(event({"error": {"message": "overloaded", "code": "529"}})),
        sse(event({"error": "overloaded"})),
        response(200, b'{"error":{"message":"try later"}}', {"Content-Type": "application/json"}),
    ],
)
async def test_a_failure_that_can_pass(autojump_clock: MockClock, failure: Exchange) -> None:
    collected, times = await asked_at([failure, HI])

    assert (collected.text, times) == ("Hi", [0, 0.1])


@pytest.mark.parametrize(
    "failure",
    [
        sse(event({"error": {"message": "no such model", "code": 404}})),
        response(200, b"<html>Login</html>", {"Content-Type": "text/html"}),
        response(200, b'{"hello": 1}', {"Content-Type": "application/json"}),
        response(302, b"", {"Location": "https://login.test/"}),
        sse(b"xx", headers={"Content-Encoding": "br"}),
    ],
)
async def test_a_failure_that_cannot(autojump_clock: MockClock, failure: Exchange) -> None:
    async with MemoryNetwork(failure) as network, open_llm(network) as llm:
        exc, _ = await timed(ask(llm, APIConnectOptions()).collect)
        assert isinstance(exc, APIError)
        assert not exc.retryable
        assert len(network.requests) == 1


async def test_connecting_that_fails(autojump_clock: MockClock) -> None:
    async with (
        MemoryNetwork([Connection(connect_error="refused"), Connection([HI])]) as network,
        open_llm(network) as llm,
    ):
        collected, seconds = await timed(ask(llm, APIConnectOptions()).collect)
    assert (collected.text, seconds) == ("Hi", pytest.approx(0.1))


async def test_a_timeout_before_any_output(autojump_clock: MockClock) -> None:
    collected, times = await asked_at([Exchange([Hold()]), HI], timeout=5)

    assert (collected.text, times) == ("Hi", [0, 5.1])


@pytest.mark.parametrize(
    "output",
    [
        text_chunk("H"),
        refusal_chunk("N"),
    ],
)
async def test_nothing_is_retried_after_output(autojump_clock: MockClock, output: bytes) -> None:
    broken = sse(output, end=False).then(Reset())
    exc, times = await asked_at(broken, fails=APIConnectionError)

    assert times == [0]
    assert not exc.retryable


@pytest.mark.parametrize(
    "metadata",
    [
        delta(role="assistant", content=""),
        delta(extra_content={"livekit": {"deployment": "d"}}),
        usage(9, 0),
        reasoning_chunk("hmm"),
        text_chunk("<think>hmm"),
        text_chunk("<thi"),
        tool_call_chunk("{", id="call_a", name="f"),
        tool_call_chunk("{}", id="call_a", name="f"),
        tool_call_chunk("{}", id="call_a", name="f")
        + finish("tool_calls")
        + event({"error": {"message": "scripted error", "code": 503}}),
    ],
)
async def test_what_was_not_delivered_does_not_stand_in_the_way(
    autojump_clock: MockClock, metadata: bytes
) -> None:
    broken = sse(metadata, end=False).then(Reset())
    collected, times = await asked_at([broken, HI])

    assert (collected.text, times) == ("Hi", [0, 0.1])
    assert collected.reasoning == ""


async def test_a_call_that_was_handed_out_early_does(autojump_clock: MockClock) -> None:
    calls = [
        tool_call_chunk('{"a":1}', index=index, id=f"call_{index}", name="f") for index in (0, 1)
    ]
    broken = sse(*calls, end=False).then(Reset())
    async with MemoryNetwork([broken, HI]) as network, open_llm(network) as llm:
        with pytest.raises(APIConnectionError) as caught:
            await ask(llm, APIConnectOptions(), early_tool_calls=True).collect()
        assert len(network.requests) == 1
    assert not caught.value.retryable


async def test_what_was_held_back_is_delivered_in_the_end_and_then_does(
    autojump_clock: MockClock,
) -> None:
    """It might have been the beginning of a thinking tag."""
    broken = sse(text_chunk("<thi"), end=False).then(Reset())
    exc, times = await asked_at([broken, broken], fails=APIConnectionError, max_retry=1)

    assert times == [0, 0.1]
    assert exc.partial.text == "<thi"
    assert not exc.retryable


async def test_reasoning_does_if_it_is_output(autojump_clock: MockClock) -> None:
    broken = sse(reasoning_chunk("hmm"), end=False).then(Reset())
    exc, times = await asked_at(broken, fails=APIConnectionError, reasoning_is_output=True)

    assert times == [0]
    assert exc.partial.reasoning == "hmm"


# --- What is raised in the end --------------------------------------------------------------------


async def test_an_event_that_is_no_json_is_as_good_a_reason_as_a_cut_body(
    autojump_clock: MockClock,
) -> None:
    broken = sse(reasoning_chunk("hmm"), b'data: {"choices": [\n\n', Hold())
    collected, times = await asked_at([broken, HI])
    assert (collected.text, times) == ("Hi", [0, 0.1])


async def test_an_event_that_is_no_json_is_no_reason_after_output(
    autojump_clock: MockClock,
) -> None:
    broken = sse(text_chunk("H"), b'data: {"choices": [\n\n', Hold())
    exc, times = await asked_at(broken, fails=APIConnectionError)
    assert times == [0]
    assert not exc.retryable


async def test_the_last_error_is_raised(autojump_clock: MockClock) -> None:
    exc, _ = await asked_at(
        [error(503, close=True), Exchange([Close()]), error(429, code="slow_down")],
        fails=APIStatusError,
        max_retry=2,
    )
    assert exc.status_code == 429
    assert [attempt.status_code for attempt in exc.attempts] == [503, None, 429]


async def test_an_error_that_cannot_pass_ends_the_attempts(autojump_clock: MockClock) -> None:
    exc, times = await asked_at([error(503), error(401)], fails=APIStatusError)

    assert exc.status_code == 401
    assert times == [0, 0.1]


# --- A kept-alive connection that is gone ---------------------------------------------------------


async def test_a_request_on_a_dead_connection_is_sent_again_at_once(
    autojump_clock: MockClock,
) -> None:
    dies = text("First").then(AwaitRequest(), Close())
    async with (
        MemoryNetwork([Connection([dies]), Connection([HI])]) as network,
        open_llm(network) as llm,
    ):
        await ask(llm).collect()
        async with ask(llm) as stream:
            collected, seconds = await timed(stream.collect)
            attempts = stream.response.attempts
    assert (collected.text, seconds) == ("Hi", 0)
    assert len(attempts) == 1
    assert attempts[0].resent == 1


async def test_several_dead_connections_in_the_pool_are_no_failure(
    autojump_clock: MockClock,
) -> None:
    dies = text("First", every=1).then(AwaitRequest(), Reset())
    script = [Connection([dies]) for _ in range(4)] + [Connection([HI])]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask(llm).collect)
        assert len(network.connections) == 4
        async with ask(llm) as stream:
            assert (await stream.collect()).text == "Hi"
            assert stream.response.attempts[0].resent == 4


async def test_a_fresh_connection_that_is_closed_is_an_ordinary_failure(
    autojump_clock: MockClock,
) -> None:
    exc, times = await asked_at(Exchange([Close()]), fails=APIConnectionError, max_retry=1)

    assert times == [0, 0.1]
    assert exc.attempts[0].resent == 0


async def test_an_authorisation_is_asked_for_before_every_attempt(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork([error(503), HI]) as network, network.client() as client:
        from lktrio import LLM

        tokens = iter(["Bearer one", "Bearer two"])

        async def token() -> str:
            await trio.sleep(1)
            return next(tokens)

        async with LLM(
            "m",
            base_url="http://gateway.test/v1",
            auth=token,
            http_client=client,
            allow_insecure=True,
        ) as llm:
            await ask(llm, APIConnectOptions()).collect()
        assert [r.header("authorization") for r in network.requests] == ["Bearer one", "Bearer two"]
