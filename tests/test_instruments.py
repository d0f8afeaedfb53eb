"""What instruments are told, in which order and when; what a stream measures; in virtual time."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    ChatModel,
    CollectedResponse,
    FallbackAdapter,
    FunctionCall,
    FunctionCallResult,
    FunctionToolCall,
    HedgeAdapter,
    Instrument,
    LLMMetrics,
    LLMStream,
    RequestInfo,
    RunContext,
    StopResponse,
    Tool,
    ToolContext,
    ToolError,
    ToolFinished,
    ToolStarted,
    execute_function_call,
    execute_function_calls,
    function_tool,
    run_turn,
)
from tests.support.engine import BASE_URL, ONCE, TLS_BASE_URL, ask, conversation, open_llm
from tests.support.leaks import no_leaks
from tests.support.matrix import CANCEL_BLOCK, INTERRUPT, Cut, Series, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Reset,
    ToolCall,
    Wait,
    error,
    finish,
    reasoning_chunk,
    refusal_chunk,
    response,
    sse,
    text,
    text_chunk,
    tool_calls,
    usage,
)
from tests.support.several import FAST, SLOW, open_models

RETRY = APIConnectOptions(max_retry=2, retry_interval=1.0)
HI = sse(Wait(0.25), text_chunk("Hi"), Wait(0.5), text_chunk("!"), finish(), usage(9, 3), DONE)
"""After its head: a first token at 0.25 s, and the end at 0.75 s."""

INTERRUPTED = sse(text_chunk("Hi"), usage(9, 1), end=False).then(Hold())


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays without their spread are exact."""
    monkeypatch.setattr("lktrio._settings.retry.JITTER", 0.0)


def seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


@attrs.define(eq=False)
class Recorder(Instrument):
    """Writes down what it is told, one line each: when, who, what."""

    with_names: bool = False
    lines: list[str] = attrs.field(factory=list)
    requests: list[RequestInfo] = attrs.field(factory=list)
    finished: list[LLMMetrics] = attrs.field(factory=list)
    responses: list[CollectedResponse[None] | None] = attrs.field(factory=list)
    results: list[FunctionCallResult | None] = attrs.field(factory=list)

    def _write(self, name: str, line: str) -> None:
        who = f"{name}: " if self.with_names else ""
        self.lines.append(f"{trio.current_time():g} {who}{line}")

    def _of(self, request: RequestInfo, line: str) -> None:
        self._write(request.model if request.base_url else request.label, line)

    def request_started(self, request: RequestInfo) -> None:
        self.requests.append(request)
        self._of(request, "request started")

    def attempt_started(self, request: RequestInfo, number: int) -> None:
        self._of(request, f"attempt {number} started")

    def attempt_failed(
        self, request: RequestInfo, attempt: Attempt, error: APIError, delay: float | None
    ) -> None:
        assert attempt.ended is not None
        assert attempt.error == f"{type(error).__name__}: {error}"
        name = type(error).__name__
        self._of(request, f"attempt {attempt.number} failed: {name}, next in {seconds(delay)}")

    def first_output(self, request: RequestInfo, seconds: float) -> None:
        self._of(request, f"first output after {seconds:g}")

    def request_finished(
        self,
        request: RequestInfo,
        metrics: LLMMetrics,
        response: CollectedResponse[None] | None,
    ) -> None:
        self.finished.append(metrics)
        self.responses.append(response)
        how = "cancelled" if metrics.cancelled else type(metrics.error).__name__
        self._of(
            request, f"request finished: {how if metrics.error or metrics.cancelled else 'ok'}"
        )

    def tool_started(self, call: FunctionCall, tool: Tool[..., Any] | None) -> None:
        name = "no tool" if tool is None else tool.name
        self._write(call.name, f"{call.call_id} started: {name}")

    def tool_finished(
        self, call: FunctionCall, result: FunctionCallResult | None, seconds: float
    ) -> None:
        self.results.append(result)
        output = "cancelled" if result is None else result.fnc_call_out.output
        self._write(call.name, f"{call.call_id} finished after {seconds:g}: {output}")

    def of(self, name: str) -> list[str]:
        """The lines with a name, without it."""
        return [line.replace(f"{name}: ", "") for line in self.lines if f" {name}: " in line]

    @property
    def metrics(self) -> LLMMetrics:
        """What the only request has measured."""
        (metrics,) = self.finished
        return metrics


async def recorded(
    script: Any,
    conn_options: APIConnectOptions = ONCE,
    *,
    network_options: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Recorder, LLMStream[Any]]:
    """What is told of one request that is collected, whatever comes of it, and its stream."""
    recorder = Recorder()
    async with (
        MemoryNetwork(script, **(network_options or {})) as network,
        open_llm(network, instruments=[recorder]) as llm,
    ):
        stream = ask(llm, conn_options, **options)
        await collect(stream, recorder)
        network.assert_quiet()
    return recorder, stream


async def collect(stream: LLMStream[Any], recorder: Recorder) -> None:
    """Read to the end, whatever it is; what is raised must be what was told."""
    raised: APIError | None = None
    try:
        await stream.collect()
    except APIError as exc:
        raised = exc
    assert recorder.finished[-1].error is raised


# --- The order of the hooks ----------------------------------------------------------------------


async def test_an_answer(autojump_clock: MockClock) -> None:
    recorder, _ = await recorded(HI)

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "0.25 first output after 0.25",
        "0.75 request finished: ok",
    ]


async def test_retries(autojump_clock: MockClock) -> None:
    script = [error(503), error(429, retry_after=3).after(0.5), HI]

    recorder, _ = await recorded(script, RETRY)

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "0 attempt 1 failed: APIStatusError, next in 0.1",
        "0.1 attempt 2 started",
        "0.6 attempt 2 failed: APIStatusError, next in 3.0",
        "3.6 attempt 3 started",
        "3.85 first output after 3.85",
        "4.35 request finished: ok",
    ]


async def test_a_failure(autojump_clock: MockClock) -> None:
    recorder, _ = await recorded(error(400).after(1))

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "1 attempt 1 failed: APIStatusError, next in None",
        "1 request finished: APIStatusError",
    ]
    assert recorder.responses == [None]


async def test_a_failure_after_output(autojump_clock: MockClock) -> None:
    script = sse(text_chunk("Hi"), Wait(1), end=False).then(Reset())

    recorder, _ = await recorded(script, RETRY)

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "0 first output after 0",
        "1 attempt 1 failed: APIConnectionError, next in None",
        "1 request finished: APIConnectionError",
    ]


async def test_the_error_is_complete_when_it_is_told(autojump_clock: MockClock) -> None:
    told: list[tuple[str, int]] = []

    class Looks(Instrument):
        def attempt_failed(
            self, request: RequestInfo, attempt: Attempt, error: APIError, delay: float | None
        ) -> None:
            told.append((error.partial.text, len(error.attempts)))

    script = sse(text_chunk("half an ans"), end=False).then(Reset())
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        with pytest.raises(APIConnectionError):
            await ask(llm, instruments=[Looks()]).collect()

    assert told == [("half an ans", 1)]


async def test_the_whole_answer_is_told_before_the_rest_of_the_body(
    autojump_clock: MockClock,
) -> None:
    # The request goes on for a moment, but what it measures is over.
    recorder, _ = await recorded(sse(text_chunk("Hi"), finish(), DONE, end=False).then(Hold()))

    assert recorder.lines[-1] == "0.1 request finished: ok"
    assert recorder.metrics.duration == 0
    (answer,) = recorder.responses
    assert answer is not None
    assert answer.text == "Hi"


@pytest.mark.parametrize(
    ("first", "reasoning_is_output"),
    [
        (text_chunk("Hi"), False),
        (refusal_chunk("No."), False),
        (reasoning_chunk("Hm."), True),
    ],
)
async def test_what_counts_as_output(
    first: bytes, reasoning_is_output: bool, autojump_clock: MockClock
) -> None:
    options = APIConnectOptions(max_retry=0, reasoning_is_output=reasoning_is_output)
    chunks = [Wait(2), first, Wait(1), text_chunk("!"), finish(), DONE]

    recorder, _ = await recorded(sse(*chunks), options)

    assert recorder.lines[2] == "2 first output after 2"
    assert recorder.metrics.ttft == 2


async def test_a_call_counts_as_output_with_its_first_fragment(autojump_clock: MockClock) -> None:
    script = tool_calls(ToolCall("look", {"at": "the sea"}), every=1).after(2)

    recorder, _ = await recorded(script)

    assert recorder.metrics.ttft == 2
    assert recorder.metrics.duration == 8


@pytest.mark.parametrize(
    "chunks",
    [[reasoning_chunk("Hm."), finish()], [finish()], [usage(9, 0), finish()]],
    ids=["reasoning", "nothing", "usage"],
)
async def test_what_does_not_count_as_output(
    chunks: list[bytes], autojump_clock: MockClock
) -> None:
    recorder, _ = await recorded(sse(*chunks, DONE))

    assert recorder.lines == ["0 request started", "0 attempt 1 started", "0 request finished: ok"]
    assert recorder.metrics.ttft is None


async def test_an_answer_in_one_piece_has_its_first_output_at_the_end(
    autojump_clock: MockClock,
) -> None:
    body = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    script = response(200, body, {"Content-Type": "application/json"}).after(1.5)

    recorder, _ = await recorded(script)

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "1.5 first output after 1.5",
        "1.5 request finished: ok",
    ]


async def test_the_first_output_of_a_failed_attempt_is_none(autojump_clock: MockClock) -> None:
    # Reasoning may be repeated, so that attempt is not over for good.
    first = sse(reasoning_chunk("Hm."), Wait(1), end=False).then(Reset())

    recorder, _ = await recorded([first, HI], RETRY)

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "1 attempt 1 failed: APIConnectionError, next in 0.1",
        "1.1 attempt 2 started",
        "1.35 first output after 1.35",
        "1.85 request finished: ok",
    ]


async def test_a_clock_that_runs_out(autojump_clock: MockClock) -> None:
    options = APIConnectOptions(max_retry=1, retry_interval=1.0, timeout=2.0)

    recorder, _ = await recorded(Exchange([Hold()]), options)

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "2 attempt 1 failed: APITimeoutError, next in 0.1",
        "2.1 attempt 2 started",
        "4.1 attempt 2 failed: APITimeoutError, next in None",
        "4.1 request finished: APITimeoutError",
    ]


async def test_a_request_that_waits_for_its_turn_has_no_attempt(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    options = APIConnectOptions(max_retry=0, total_timeout=1.0)
    async with (
        MemoryNetwork(HI.after(5)) as network,
        open_llm(network, max_streams=1) as llm,
        ask(llm),
    ):
        await trio.sleep(1)
        with pytest.raises(APITimeoutError):
            await ask(llm, options, instruments=[recorder]).collect()

    assert recorder.lines == ["1 request started", "2 request finished: APITimeoutError"]
    assert recorder.metrics.attempts == ()
    assert recorder.metrics.duration == 1


async def test_a_mistake_of_the_program_ends_the_request(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    def auth() -> str:
        raise LookupError("no key")

    async with (
        MemoryNetwork(HI) as network,
        LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=network.client()) as llm,
    ):
        with pytest.raises(LookupError):
            await ask(llm, instruments=[recorder]).collect()

    assert recorder.lines == [
        "0 request started",
        "0 attempt 1 started",
        "0 request finished: LookupError",
    ]


async def test_leaving_the_llm_ends_the_request(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with MemoryNetwork(INTERRUPTED) as network:
        async with open_llm(network, instruments=[recorder]) as llm:
            stream = ask(llm)
            await stream.__aenter__()
            await trio.sleep(1)
        with pytest.raises(trio.ClosedResourceError):
            await stream.collect()
        await stream.__aexit__(None, None, None)

    assert recorder.lines[-1] == "1 request finished: ClosedResourceError"
    assert not recorder.metrics.cancelled


# --- Cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "network_options", "expected"),
    [
        (HI, {"connect_delay": math.inf}, ["0 attempt 1 started"]),
        (Exchange([Hold()]), {}, ["0 attempt 1 started"]),
        (INTERRUPTED, {}, ["0 attempt 1 started", "0 first output after 0"]),
        (
            error(503, retry_after=20),
            {},
            ["0 attempt 1 started", "0 attempt 1 failed: APIStatusError, next in 20.0"],
        ),
    ],
    ids=["connecting", "waiting for the answer", "reading", "waiting for the next attempt"],
)
async def test_a_cancelled_request(
    script: Any,
    network_options: dict[str, Any],
    expected: list[str],
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    async with (
        MemoryNetwork(script, **network_options) as network,
        open_llm(network, instruments=[recorder]) as llm,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask(llm, RETRY).collect)
            await trio.sleep(1.5)
            # By no deadline: a wait that would be longer than one is not begun.
            nursery.cancel_scope.cancel()
        network.assert_quiet()

    assert recorder.lines == [
        "0 request started",
        *expected,
        "1.5 request finished: cancelled",
    ]
    assert recorder.metrics.error is None
    assert recorder.metrics.usage_is_partial
    assert recorder.metrics.duration == 1.5
    assert len(recorder.metrics.attempts) == 1
    assert recorder.responses == [None]


async def test_a_block_that_is_left_early_cancels(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with (
        MemoryNetwork(INTERRUPTED) as network,
        open_llm(network, instruments=[recorder]) as llm,
    ):
        async with ask(llm) as stream:
            async for _ in stream:
                await trio.sleep(0.5)
                break
        metrics = stream.metrics
        await trio.sleep(1)

    assert recorder.lines[-1] == "0.5 request finished: cancelled"
    assert metrics == recorder.metrics == stream.metrics
    assert metrics is not None
    assert metrics.cancelled
    assert metrics.usage_is_partial
    assert metrics.completion_tokens == 1


async def test_a_stream_that_is_closed_is_cancelled(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with (
        MemoryNetwork(INTERRUPTED) as network,
        open_llm(network, instruments=[recorder]) as llm,
        ask(llm) as stream,
    ):
        await trio.sleep(1)
        await stream.aclose()

        assert recorder.lines[-1] == "1 request finished: cancelled"


async def test_a_stream_that_was_never_entered_is_not_told_of(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with (
        MemoryNetwork(HI) as network,
        open_llm(network, instruments=[recorder]) as llm,
    ):
        stream = ask(llm)
        await stream.aclose()

    assert recorder.lines == []
    assert stream.metrics is None


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=lambda action: action.name)
def test_wherever_it_is_cut_the_hooks_are_called_in_pairs(action: Any, series: Series) -> None:
    async def scenario(cut: Cut) -> None:
        recorder = Recorder()
        try:
            async with (
                MemoryNetwork([error(503), HI]) as network,
                open_llm(network, instruments=[recorder]) as llm,
            ):
                with cut.watched(), cut.scope:
                    await ask(llm, RETRY).collect()
        finally:
            kinds = [line.split(" ", 1)[1] for line in recorder.lines]
            if kinds:  # else it was cut before it began
                assert kinds[0] == "request started"
                assert kinds[-1].startswith("request finished")
                assert len(recorder.finished) == len(recorder.requests) == 1
                starts = [kind for kind in kinds if kind.endswith("started")][1:]
                assert starts == [
                    f"attempt {attempt.number} started" for attempt in recorder.metrics.attempts
                ]

    sweep(scenario, action, series)


# --- What is measured ----------------------------------------------------------------------------


async def test_the_metrics_of_an_answer(autojump_clock: MockClock) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    chunks = [Wait(0.5), text_chunk("Hi"), Wait(1.5), finish(), usage(9, 6, **details), DONE]

    recorder, stream = await recorded(sse(*chunks, headers={"x-request-id": "req-1"}))

    metrics = recorder.metrics
    assert metrics.label == "lktrio.LLM"
    assert metrics.model == "test-model"
    assert metrics.provider == "livekit"
    assert metrics.duration == 2
    assert metrics.ttft == 0.5
    assert metrics.request_id == "req-1"
    assert metrics.response_id == "chatcmpl-1"
    assert metrics.response_model == "scripted-model"
    assert metrics.usage == stream.usage
    assert not metrics.usage_is_partial
    assert metrics.prompt_tokens == 9
    assert metrics.prompt_cached_tokens == 4
    assert metrics.cache_creation_tokens == 0
    assert metrics.completion_tokens == 6
    assert metrics.reasoning_tokens == 2
    assert metrics.total_tokens == 15
    assert metrics.tokens_per_second == 3
    assert metrics.finish_reason == "stop"
    assert metrics.attempts == stream.response.attempts
    assert [attempt.number for attempt in metrics.attempts] == [1]
    assert not metrics.cancelled
    assert metrics.error is None
    assert stream.metrics == metrics


async def test_the_timestamp_is_when_the_stream_was_entered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lktrio._engine.stream.time.time", lambda: 1_700_000_000.0)

    recorder, _ = await recorded(HI)

    assert recorder.metrics.timestamp == 1_700_000_000.0


async def test_without_usage_the_counts_are_zero(autojump_clock: MockClock) -> None:
    recorder, _ = await recorded(text("Hi", tokens=None).after(1))

    metrics = recorder.metrics
    assert metrics.usage is None
    assert not metrics.usage_is_partial
    assert (
        metrics.prompt_tokens,
        metrics.prompt_cached_tokens,
        metrics.cache_creation_tokens,
        metrics.completion_tokens,
        metrics.reasoning_tokens,
        metrics.total_tokens,
        metrics.tokens_per_second,
    ) == (0,) * 7


async def test_an_answer_that_takes_no_time_has_no_speed(autojump_clock: MockClock) -> None:
    recorder, _ = await recorded(text("Hi"))

    assert recorder.metrics.completion_tokens == 3
    assert recorder.metrics.duration == 0
    assert recorder.metrics.tokens_per_second == 0


async def test_the_metrics_of_a_failure(autojump_clock: MockClock) -> None:
    script = sse(text_chunk("Hi"), usage(9, 2), Wait(1), end=False).then(Reset())

    recorder, stream = await recorded([error(503), script], RETRY)

    metrics = recorder.metrics
    assert isinstance(metrics.error, APIConnectionError)
    assert not metrics.cancelled
    assert metrics.usage_is_partial
    assert metrics.completion_tokens == 2
    assert metrics.ttft == pytest.approx(0.1)
    assert metrics.duration == pytest.approx(1.1)
    assert metrics.finish_reason is None
    assert metrics.response_model == "scripted-model"
    first, second = metrics.attempts
    assert first.status_code == 503
    assert first.error is not None
    assert second.error is not None
    assert metrics.attempts == metrics.error.attempts
    assert stream.metrics == metrics


async def test_who_answered_if_the_server_does_not_say(autojump_clock: MockClock) -> None:
    nameless = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'

    recorder, _ = await recorded(sse(nameless, finish(), DONE))
    failed, _ = await recorded(error(500))

    # By the finish reason, which the scripted model signs.
    assert recorder.metrics.response_model == "scripted-model"
    assert failed.metrics.response_model is None
    assert failed.metrics.response_id is None


async def test_the_model_that_was_asked_stands_for_the_one_that_answers(
    autojump_clock: MockClock,
) -> None:
    nameless = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'

    recorder, _ = await recorded(sse(nameless, DONE))

    assert recorder.metrics.response_model == "test-model"
    assert recorder.metrics.response_id is None


async def test_metrics_while_the_answer_arrives(autojump_clock: MockClock) -> None:
    chunks = [Wait(1), text_chunk("Hi"), usage(9, 1), Wait(2), finish(), usage(9, 3), DONE]
    async with MemoryNetwork(sse(*chunks)) as network, open_llm(network) as llm:
        stream = ask(llm)
        assert stream.metrics is None
        async with stream:
            assert stream.metrics is None  # its task has not had its turn yet
            await trio.sleep(0.5)
            before = stream.metrics
            assert before is not None
            assert before.duration == 0.5
            assert before.ttft is None
            assert before.usage is None
            assert before.usage_is_partial
            assert before.response_model is None
            assert [attempt.ended for attempt in before.attempts] == [None]
            await trio.sleep(1)
            amid = stream.metrics
            assert amid is not None
            assert amid.duration == 1.5
            assert amid.ttft == 1
            assert amid.completion_tokens == 1
            assert amid.usage_is_partial
            assert amid.response_model == "scripted-model"
            assert not amid.cancelled
            await stream.collect()
            await trio.sleep(10)
            after = stream.metrics
        assert after is not None
        assert after.duration == 3
        assert after.completion_tokens == 3
        assert not after.usage_is_partial
        assert stream.metrics == after


async def test_an_answer_that_does_not_fit_is_a_whole_one(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with (
        MemoryNetwork(text("no number")) as network,
        open_llm(network, instruments=[recorder]) as llm,
    ):
        with pytest.raises(APIResponseFormatError):
            await ask(llm, response_format=int).collect()

    assert recorder.lines[-1] == "0 request finished: ok"
    assert recorder.metrics.error is None


# --- What they are told of a request -------------------------------------------------------------


async def test_a_request_is_described(autojump_clock: MockClock) -> None:
    @function_tool
    async def look() -> None: ...

    recorder = Recorder()
    chat_ctx = conversation()
    async with MemoryNetwork(HI) as network, open_llm(network, instruments=[recorder]) as llm:
        async with llm.chat(
            chat_ctx=chat_ctx,
            tools=[look],
            extra_kwargs={"temperature": 0.5, "extra_body": {"key": "secret"}},
        ) as stream:
            chat_ctx.add_message(role="user", content="Later.")
            await stream.collect()
        (sent,) = network.requests

    (request,) = recorder.requests
    assert request.label == "lktrio.LLM"
    assert request.model == "test-model"
    assert request.provider == "livekit"
    assert request.base_url == BASE_URL
    assert len(request.chat_ctx.items) == 1
    assert request.chat_ctx.readonly
    assert request.tools == (look,)
    assert request.options == {"temperature": 0.5}
    assert sent.json()["temperature"] == 0.5
    assert request.parent is None
    assert "whales" not in repr(request)
    with pytest.raises(TypeError):
        request.options["temperature"] = 1.0  # type: ignore[index]
    assert {request: 1}[request] == 1
    assert request != attrs.evolve(request)


# --- Adapters ------------------------------------------------------------------------------------


async def told_of(
    adapter: Callable[[list[LLM]], ChatModel], *scripts: Any, **options: Any
) -> tuple[Recorder, LLMStream[Any]]:
    """What an instrument of a call is told of an adapter and its models."""
    recorder = Recorder(with_names=True)
    async with open_models(*scripts) as models:
        model = adapter(models.llms)
        stream = model.chat(chat_ctx=conversation(), instruments=[recorder], **options)
        await collect(stream, recorder)
        models.assert_quiet()
    # What happens at one moment in several tasks has no order but this.
    assert "Adapter: request started" in recorder.lines[0]
    assert "Adapter: request finished" in recorder.lines[-1]
    for request in recorder.requests[1:]:
        assert request.parent is recorder.requests[0]
    return recorder, stream


async def test_a_fallback(autojump_clock: MockClock) -> None:
    recorder, stream = await told_of(lambda llms: FallbackAdapter(llms), error(503).after(1), FAST)

    assert recorder.of("lktrio.FallbackAdapter") == [
        "0 request started",
        "1.2 first output after 1.2",
        "1.2 request finished: ok",
    ]
    assert recorder.of("model-0") == [
        "0 request started",
        "0 attempt 1 started",
        "1 attempt 1 failed: APIStatusError, next in None",
        "1 request finished: APIStatusError",
    ]
    assert recorder.of("model-1") == [
        "1 request started",
        "1 attempt 1 started",
        "1.2 first output after 0.2",
        "1.2 request finished: ok",
    ]
    outer = recorder.finished[-1]
    assert outer == stream.metrics
    assert outer.label == "lktrio.FallbackAdapter"
    assert outer.model == "model-0"
    assert outer.response_model == "scripted-model"
    assert outer.ttft == pytest.approx(1.2)
    assert outer.duration == pytest.approx(1.2)
    assert outer.completion_tokens == 3
    assert [attempt.model for attempt in outer.attempts] == ["model-0", "model-1"]
    request = recorder.requests[0]
    assert request.base_url is None
    assert request.options == {}
    assert request.parent is None


async def test_a_fallback_of_which_all_fail(autojump_clock: MockClock) -> None:
    recorder, _ = await told_of(lambda llms: FallbackAdapter(llms), error(503), error(500))

    assert recorder.lines[-3:] == [
        "0 model-1: attempt 1 failed: APIStatusError, next in None",
        "0 model-1: request finished: APIStatusError",
        "0 lktrio.FallbackAdapter: request finished: APIStatusError",
    ]


async def test_a_fallback_after_its_attempt_s_time(autojump_clock: MockClock) -> None:
    recorder, _ = await told_of(lambda llms: FallbackAdapter(llms, attempt_timeout=2), SLOW, FAST)

    assert recorder.of("model-0")[2:] == [
        "2 attempt 1 failed: APITimeoutError, next in None",
        "2 request finished: APITimeoutError",
    ]
    assert recorder.finished[-1].ttft == pytest.approx(2.2)


async def test_a_judge_holds_the_output_back(autojump_clock: MockClock) -> None:
    async def accept(reply: CollectedResponse[Any]) -> bool:
        await trio.sleep(1)
        return reply.text == "fast answer"

    recorder, _ = await told_of(
        lambda llms: FallbackAdapter(llms, accept=accept), text("nonsense"), FAST
    )

    assert recorder.of("lktrio.FallbackAdapter") == [
        "0 request started",
        "2.2 first output after 2.2",
        "2.2 request finished: ok",
    ]
    assert recorder.of("model-0")[-1] == "0 request finished: ok"
    assert recorder.of("model-1") == [
        "1 request started",
        "1 attempt 1 started",
        "1.2 first output after 0.2",
        "1.2 request finished: ok",
    ]


async def test_a_judge_of_an_answer_without_output(autojump_clock: MockClock) -> None:
    recorder, _ = await told_of(
        lambda llms: FallbackAdapter(llms, accept=lambda reply: True), sse(finish(), DONE)
    )

    assert recorder.lines[-1] == "0 lktrio.FallbackAdapter: request finished: ok"
    assert recorder.finished[-1].ttft is None


async def test_a_restart_does_not_output_for_the_first_time_again(
    autojump_clock: MockClock,
) -> None:
    cut = sse(text_chunk("half an "), Wait(1), end=False).then(Reset())

    recorder, _ = await told_of(
        lambda llms: FallbackAdapter(llms, restart_after_output=True), cut, FAST
    )

    assert recorder.of("lktrio.FallbackAdapter") == [
        "0 request started",
        "0 first output after 0",
        "1.2 request finished: ok",
    ]


async def test_a_hedge_that_wins(autojump_clock: MockClock) -> None:
    recorder, _ = await told_of(lambda llms: HedgeAdapter(llms, after=1, budget=1), SLOW, FAST)

    assert recorder.of("lktrio.HedgeAdapter") == [
        "0 request started",
        "1.2 first output after 1.2",
        "1.2 request finished: ok",
    ]
    assert recorder.of("model-0") == [
        "0 request started",
        "0 attempt 1 started",
        "1.2 request finished: cancelled",
    ]
    assert recorder.of("model-1") == [
        "1 request started",
        "1 attempt 1 started",
        "1.2 first output after 0.2",
        "1.2 request finished: ok",
    ]
    outer = recorder.finished[-1]
    assert outer.ttft == pytest.approx(1.2)
    assert [attempt.model for attempt in outer.attempts] == ["model-0", "model-1"]


async def test_a_hedge_that_loses(autojump_clock: MockClock) -> None:
    recorder, _ = await told_of(
        lambda llms: HedgeAdapter(llms, after=1, budget=1), text("in time").after(1.5), SLOW
    )

    assert recorder.of("model-0")[-1] == "1.5 request finished: ok"
    assert recorder.of("model-1")[-1] == "1.5 request finished: cancelled"
    assert recorder.of("lktrio.HedgeAdapter")[-1] == "1.5 request finished: ok"
    assert recorder.finished[-1].ttft == 1.5


async def test_a_cancelled_adapter_s_requests_are_cancelled_first(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder(with_names=True)
    async with open_models(INTERRUPTED) as models:
        model = FallbackAdapter(models.llms, instruments=[recorder])
        with trio.move_on_after(1):
            await model.chat(chat_ctx=conversation()).collect()

    assert recorder.lines[-2:] == [
        "1 model-0: request finished: cancelled",
        "1 lktrio.FallbackAdapter: request finished: cancelled",
    ]
    outer = recorder.finished[-1]
    assert outer.usage_is_partial
    assert outer.completion_tokens == 1


async def test_adapters_of_adapters(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_models(error(503), FAST) as models:
        inner = FallbackAdapter([models.llms[0]])
        outer = FallbackAdapter([inner, models.llms[1]], instruments=[recorder])
        await outer.chat(chat_ctx=conversation()).collect()

    top, middle, first, second = recorder.requests
    assert top.parent is None
    assert middle.parent is top
    assert first.parent is middle
    assert second.parent is top
    assert (first.model, second.model) == ("model-0", "model-1")


async def test_a_request_of_the_program_s_own_has_no_parent(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_models(text("a"), text("b")) as models:
        first, second = models.llms
        async with first.chat(chat_ctx=conversation(), instruments=[recorder]) as stream:
            await second.chat(chat_ctx=conversation(), instruments=[recorder]).collect()
            await stream.collect()

    assert [request.parent for request in recorder.requests] == [None, None]


async def test_an_instrument_of_a_model_is_told_of_its_part(autojump_clock: MockClock) -> None:
    recorder = Recorder(with_names=True)
    async with (
        open_models(text("never asked")) as models,
        MemoryNetwork(text("Hi")) as network,
        open_llm(network, instruments=[recorder]) as llm,
    ):
        adapter = FallbackAdapter([llm, *models.llms])
        assert adapter.instruments == (recorder,)
        await adapter.chat(chat_ctx=conversation()).collect()

    assert {line.split(" ")[1] for line in recorder.lines} == {"test-model:"}
    (request,) = recorder.requests
    assert request.parent is not None
    assert request.parent.label == "lktrio.FallbackAdapter"


# --- Who is told ---------------------------------------------------------------------------------


async def test_an_instrument_is_told_once_however_often_it_was_passed(
    autojump_clock: MockClock,
) -> None:
    recorder, other = Recorder(), Recorder()
    async with (
        MemoryNetwork([tool_calls(ToolCall("look")), text("Hi")]) as network,
        open_llm(network, instruments=[recorder, other, recorder]) as llm,
    ):
        assert llm.instruments == (recorder, other, recorder)
        adapter = FallbackAdapter([llm, llm], instruments=[recorder])
        assert adapter.instruments == (recorder, other)

        @function_tool
        async def look() -> None: ...

        async with run_turn(
            adapter, chat_ctx=conversation(), tools=[look], instruments=[recorder]
        ) as turn:
            async for _ in turn:
                pass

    # Two rounds, each a request of the adapter and one of the model; and one tool.
    assert sum("request started" in line for line in recorder.lines) == 4
    assert sum("request started" in line for line in other.lines) == 2
    assert sum("call_0 started" in line for line in recorder.lines) == 1
    assert sum("call_0 started" in line for line in other.lines) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Recorder(), "instruments must be a list of Instrument, not a Recorder"),
        ("recorder", "instruments must be a list of Instrument, not a str"),
        (1, "instruments must be a list of Instrument, not an int"),
        ([Recorder(), Recorder], r"instruments\[1\] .* not the class Recorder; make an object"),
        ([None], r"instruments\[0\] must be an object of a subclass of Instrument, not None"),
    ],
)
async def test_what_is_no_instrument_is_refused(value: Any, message: str) -> None:
    tool_ctx = ToolContext()
    call = FunctionToolCall(name="look", arguments="{}", call_id="1")
    llm = LLM("m", base_url=BASE_URL, auth=None)

    with pytest.raises(TypeError, match=message):
        LLM("m", base_url=BASE_URL, auth=None, instruments=value)
    with pytest.raises(TypeError, match=message):
        llm.chat(chat_ctx=conversation(), instruments=value)
    with pytest.raises(TypeError, match=message):
        FallbackAdapter([llm], instruments=value)
    with pytest.raises(TypeError, match=message):
        HedgeAdapter(llm, after=1, instruments=value)
    with pytest.raises(TypeError, match=message):
        run_turn(llm, chat_ctx=conversation(), instruments=value)
    with pytest.raises(TypeError, match=message):
        await execute_function_call(call, tool_ctx, instruments=value)
    with pytest.raises(TypeError, match=message):
        await execute_function_calls([call], tool_ctx, instruments=value)


class AsyncHook(Instrument):
    async def first_output(self, request: Any, seconds: float) -> None:  # type: ignore[override]
        pass


class AsyncGeneratorHook(Instrument):
    async def request_started(self, request: Any) -> Any:
        yield


class CallableObject:
    async def __call__(self, *_: Any) -> None:
        pass


class AsyncObjectHook(Instrument):
    attempt_started = CallableObject()  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [AsyncHook, AsyncGeneratorHook, AsyncObjectHook])
async def test_an_instrument_with_an_async_method_is_refused(kind: type[Instrument]) -> None:
    with pytest.raises(
        TypeError, match=rf"instruments\[0\]: {kind.__name__}\.\w+ must not be async"
    ):
        LLM("m", base_url=BASE_URL, auth=None, instruments=[kind()])


async def test_an_async_method_that_does_not_look_like_one_counts_as_one_that_raises(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def write_down(request: Any) -> None:
        pass

    class Hidden(Instrument):
        def request_started(self, request: Any) -> None:
            return write_down(request)  # type: ignore[return-value]

        def request_finished(self, *_: Any) -> None:
            raise AssertionError("it is not called any more")

    async with (
        MemoryNetwork(text("Hi")) as network,
        open_llm(network, instruments=[Hidden()]) as llm,
    ):
        assert (await ask(llm).collect()).text == "Hi"
    (record,) = caplog.records
    assert "must not be async" in (record.exc_text or str(record.exc_info))


async def test_an_instrument_need_not_override_anything(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @function_tool
    async def look() -> None: ...

    script = [error(503), tool_calls(ToolCall("look")), text("Hi")]
    async with (
        MemoryNetwork(script) as network,
        open_llm(network, instruments=(Instrument(),)) as llm,
        run_turn(llm, chat_ctx=conversation(), tools=[look]) as turn,
    ):
        assert [each async for each in turn.text] == ["Hi"]

    assert "raised" not in caplog.text


# --- An instrument that raises -------------------------------------------------------------------

HOOKS = (
    "request_started",
    "attempt_started",
    "attempt_failed",
    "first_output",
    "request_finished",
    "tool_started",
    "tool_finished",
)


class Failing(Instrument):
    """Counts what it is told, and raises in one hook."""

    def __init__(self, hook: str) -> None:
        self.calls: list[str] = []
        for name in HOOKS:
            setattr(self, name, self._make(name, fails=name == hook))

    def _make(self, name: str, *, fails: bool) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self.calls.append(name)
            if fails:
                raise ZeroDivisionError(name)

        return hook


@pytest.mark.parametrize("hook", HOOKS)
async def test_one_that_raises_is_reported_once_and_not_called_again(
    hook: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @function_tool
    async def look() -> None: ...

    failing, recorder = Failing(hook), Recorder()
    script = [error(503), tool_calls(ToolCall("look")), text("Hi"), text("Ho")]
    with no_leaks():
        async with (
            MemoryNetwork(script) as network,
            open_llm(network, instruments=[failing, recorder]) as llm,
        ):
            async with run_turn(llm, chat_ctx=conversation(), tools=[look]) as turn:
                assert [each async for each in turn.text] == ["Hi"]
            assert (await ask(llm).collect()).text == "Ho"
            network.assert_quiet()

    assert failing.calls[-1] == hook
    assert failing.calls.count(hook) == 1
    reports = [record for record in caplog.records if "is not called any more" in record.message]
    assert [(record.name, record.levelname) for record in reports] == [("lktrio", "ERROR")]
    assert "Failing" in reports[0].message
    assert "ZeroDivisionError" in caplog.text
    # The others are told of everything.
    assert len(recorder.finished) == 3
    assert len(recorder.results) == 1


async def test_one_that_raises_is_removed_from_everything_that_has_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing("request_started")
    async with (
        MemoryNetwork(text("Hi")) as network,
        open_llm(network, instruments=[failing]) as first,
        open_llm(network, instruments=[failing]) as second,
    ):
        await ask(first).collect()
        await ask(second).collect()

    assert failing.calls == ["request_started"]


async def test_one_that_raises_may_be_frozen(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    @attrs.frozen(slots=False)
    class Frozen(Instrument):
        def request_started(self, request: RequestInfo) -> None:
            calls.append("request_started")
            raise ZeroDivisionError

        def request_finished(self, *_: Any) -> None:
            calls.append("request_finished")

    async with (
        MemoryNetwork(text("Hi")) as network,
        open_llm(network, instruments=[Frozen()]) as llm,
    ):
        await ask(llm).collect()

    assert calls == ["request_started"]


async def test_what_ends_the_program_is_not_held_up(autojump_clock: MockClock) -> None:
    class Stops(Instrument):
        def request_started(self, request: RequestInfo) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with MemoryNetwork(HI) as network, open_llm(network) as llm:
            await ask(llm, instruments=[Stops()]).collect()


# --- Context variables ---------------------------------------------------------------------------

current: ContextVar[str] = ContextVar("current", default="nothing")


class Sets(Instrument):
    """Says in a context variable what is under way."""

    def attempt_started(self, request: RequestInfo, number: int) -> None:
        current.set(f"attempt {number}")

    def tool_started(self, call: FunctionCall, tool: Tool[..., Any] | None) -> None:
        self.token = current.set(call.call_id)

    def tool_finished(
        self, call: FunctionCall, result: FunctionCallResult | None, seconds: float
    ) -> None:
        assert current.get() == call.call_id
        current.reset(self.token)


async def test_what_an_attempt_sets_is_seen_by_what_it_calls(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    async def auth() -> None:
        seen.append(current.get())

    async with (
        MemoryNetwork([error(503), HI]) as network,
        LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=network.client()) as llm,
        ask(llm, RETRY, instruments=[Sets()]) as stream,
    ):
        await stream.collect()

    assert seen == ["attempt 1", "attempt 2"]
    assert current.get() == "nothing"


async def test_an_attempt_begins_without_the_head_of_the_one_before(
    autojump_clock: MockClock,
) -> None:
    seen: list[list[tuple[int | None, str | None]]] = []

    class Looks(Instrument):
        def attempt_started(self, request: RequestInfo, number: int) -> None:
            attempts = stream.response.attempts
            seen.append([(attempt.status_code, attempt.request_id) for attempt in attempts])
            assert stream.response.request_id is None

    script = [error(503, headers={"X-Request-Id": "req-1"}), HI]
    async with MemoryNetwork(script) as network, open_llm(network, instruments=[Looks()]) as llm:
        stream = ask(llm, RETRY)
        await stream.collect()

    assert seen == [[(None, None)], [(503, "req-1"), (None, None)]]


async def test_what_a_tool_s_start_sets_is_seen_by_the_tool() -> None:
    @function_tool
    async def coroutine() -> str:
        await trio.lowlevel.checkpoint()
        return current.get()

    @function_tool
    def thread() -> str:
        assert threading.current_thread() is not threading.main_thread()
        return current.get()

    calls = [
        FunctionToolCall(name=name, arguments="{}", call_id=f"the {name}")
        for name in ("coroutine", "thread")
    ]
    tool_ctx = ToolContext([coroutine, thread])

    for call in calls:
        result = await execute_function_call(call, tool_ctx, instruments=[Sets()])
        assert result.fnc_call_out.output == call.call_id
        assert current.get() == "nothing"


# --- Tools ---------------------------------------------------------------------------------------


@function_tool
async def nap(seconds: float = 1.0) -> str:
    await trio.sleep(seconds)
    return "rested"


@function_tool
async def refuse() -> None:
    raise ToolError("not now")


@function_tool
async def crash() -> None:
    raise ZeroDivisionError


@function_tool(timeout=2)
async def dawdle() -> None:
    await trio.sleep_forever()


@function_tool
async def stop() -> None:
    raise StopResponse


@pytest.mark.parametrize(
    ("call", "told", "output"),
    [
        (("nap", "{}"), "started: nap; finished after 1", "rested"),
        (("nap", '{"seconds": 0}'), "started: nap; finished after 0", "rested"),
        (("refuse", "{}"), "started: refuse; finished after 0", "not now"),
        (("crash", "{}"), "started: crash; finished after 0", "An internal error occurred"),
        (("dawdle", "{}"), "started: dawdle; finished after 2", "dawdle timed out after 2 s"),
        (("stop", "{}"), "started: stop; finished after 0", ""),
        (("fly", "{}"), "started: no tool; finished after 0", "There is no tool named 'fly'."),
        (
            ("nap", '{"seconds": "x"}'),
            "started: nap; finished after 0",
            "Invalid arguments for nap:",
        ),
        (
            ("nap", '{"seconds": '),
            "started: nap; finished after 0",
            "Invalid arguments for nap: The",
        ),
    ],
)
async def test_a_tool_s_call(
    call: tuple[str, str], told: str, output: str, autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    name, arguments = call
    tool_call = FunctionToolCall(name=name, arguments=arguments, call_id="call_1")
    tool_ctx = ToolContext([nap, refuse, crash, dawdle, stop])

    result = await execute_function_call(tool_call, tool_ctx, instruments=[recorder])

    lines = [line.partition(" call_1 ")[2] for line in recorder.lines]
    assert "; ".join(lines).startswith(f"{told}: {output}")
    assert recorder.results == [result]


async def test_a_tool_is_told_the_call_as_it_is_written_down(autojump_clock: MockClock) -> None:
    calls: list[FunctionCall] = []

    class Keeps(Instrument):
        def tool_started(self, call: FunctionCall, tool: Tool[..., Any] | None) -> None:
            calls.append(call)

        def tool_finished(self, call: FunctionCall, *_: Any) -> None:
            calls.append(call)

    sloppy = FunctionToolCall(name="nap", arguments="{'seconds': 0,}", call_id="call_1")

    result = await execute_function_call(sloppy, ToolContext([nap]), instruments=[Keeps()])

    first, second = calls
    assert first is second is result.fnc_call
    assert first.arguments == '{"seconds": 0}'


async def test_a_cancelled_tool(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    call = FunctionToolCall(name="nap", arguments='{"seconds": 9}', call_id="call_1")

    with trio.move_on_after(1.5):
        await execute_function_call(call, ToolContext([nap]), instruments=[recorder])

    assert recorder.lines == ["0 call_1 started: nap", "1.5 call_1 finished after 1.5: cancelled"]


async def test_a_tool_that_cannot_be_called_comes_to_nothing(autojump_clock: MockClock) -> None:
    @function_tool
    async def wants(context: RunContext[None]) -> None: ...

    recorder = Recorder()
    call = FunctionToolCall(name="wants", arguments="{}", call_id="call_1")

    with pytest.raises(TypeError, match="call_ctx="):
        await execute_function_call(call, ToolContext([wants]), instruments=[recorder])

    assert recorder.results == [None]


async def test_calls_side_by_side_and_in_turn(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    calls = [FunctionToolCall(name="nap", arguments="{}", call_id=str(n)) for n in range(3)]

    await execute_function_calls(
        calls, ToolContext([nap]), max_concurrency=2, instruments=[recorder]
    )

    assert sorted(recorder.lines) == [
        "0 0 started: nap",
        "0 1 started: nap",
        "1 0 finished after 1: rested",
        "1 1 finished after 1: rested",
        "1 2 started: nap",
        "2 2 finished after 1: rested",
    ]


async def test_a_call_that_is_cancelled_while_it_waits_is_not_told_of(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    calls = [FunctionToolCall(name="nap", arguments="{}", call_id=str(n)) for n in range(2)]

    with trio.move_on_after(0.5):
        await execute_function_calls(
            calls, ToolContext([nap]), max_concurrency=1, instruments=[recorder]
        )

    assert recorder.lines == ["0 0 started: nap", "0.5 0 finished after 0.5: cancelled"]


# --- Turns ---------------------------------------------------------------------------------------


async def test_a_turn(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    script = [tool_calls(ToolCall("nap"), ToolCall("refuse")).after(0.5), HI]
    events: list[str] = []
    async with (
        MemoryNetwork(script) as network,
        open_llm(network, instruments=[recorder]) as llm,
        run_turn(llm, chat_ctx=conversation(), tools=[nap, refuse]) as turn,
    ):
        assert turn.metrics == ()
        async for event in turn:
            if isinstance(event, ToolStarted | ToolFinished):
                events.append(type(event).__name__)
            if isinstance(event, ToolFinished) and event.result.fnc_call.name == "nap":
                # The first round's request is over, and the second's has not begun.
                assert turn.metrics == (recorder.finished[0],)

    assert recorder.lines[:3] == [
        "0 request started",
        "0 attempt 1 started",
        "0.5 first output after 0.5",
    ]
    assert sorted(recorder.lines[3:7]) == [
        "0.5 call_0 started: nap",
        "0.5 call_1 finished after 0: not now",
        "0.5 call_1 started: refuse",
        "0.5 request finished: ok",
    ]
    assert recorder.lines[7] == "1.5 call_0 finished after 1: rested"
    assert recorder.lines[8:] == [
        "1.5 request started",
        "1.5 attempt 1 started",
        "1.75 first output after 0.25",
        "2.25 request finished: ok",
    ]
    assert sorted(events) == ["ToolFinished", "ToolFinished", "ToolStarted", "ToolStarted"]
    assert turn.metrics == tuple(recorder.finished)
    assert [metrics.duration for metrics in turn.metrics] == [0.5, 0.75]
    assert all(request.parent is None for request in recorder.requests)


async def test_the_metrics_of_a_turn_while_it_runs(autojump_clock: MockClock) -> None:
    script = [tool_calls(ToolCall("nap")), INTERRUPTED]
    async with (
        MemoryNetwork(script) as network,
        open_llm(network) as llm,
        run_turn(llm, chat_ctx=conversation(), tools=[nap]) as turn,
    ):
        await trio.sleep(0.5)
        assert len(turn.metrics) == 1
        await trio.sleep(1)
        first, second = turn.metrics
        assert not first.usage_is_partial
        assert second.duration == 0.5
        assert second.usage_is_partial
    first, second = turn.metrics
    assert second.cancelled
    assert second.completion_tokens == 1


async def test_an_interrupted_turn(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    script = tool_calls(ToolCall("nap", {"seconds": 60}))
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        with trio.move_on_after(2):
            async with run_turn(
                llm, chat_ctx=conversation(), tools=[nap], instruments=[recorder]
            ) as turn:
                async for _ in turn:
                    pass

    assert recorder.lines[-1] == "2 call_0 finished after 2: cancelled"
    assert len(turn.metrics) == 1


async def test_a_turn_that_fails(autojump_clock: MockClock) -> None:
    async with (
        MemoryNetwork([tool_calls(ToolCall("nap")), error(400)]) as network,
        open_llm(network) as llm,
    ):
        async with run_turn(llm, chat_ctx=conversation(), tools=[nap], conn_options=ONCE) as turn:
            with pytest.raises(APIStatusError):
                async for _ in turn:
                    pass

    first, second = turn.metrics
    assert first.error is None
    assert isinstance(second.error, APIStatusError)


# --- The log -------------------------------------------------------------------------------------


async def test_a_retry_is_logged_without_content(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lktrio")

    await recorded([error(503, "you said: Why do whales sing?"), HI], RETRY)

    assert [record.getMessage() for record in caplog.records if record.name == "lktrio"] == [
        "attempt 1 of a request to test-model failed (APIStatusError); the next begins in 0.10 s"
    ]


async def test_a_failure_is_not_logged_because_it_is_raised(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lktrio")

    await recorded(error(400))

    assert [record for record in caplog.records if record.name == "lktrio"] == []


@pytest.mark.parametrize("value", ["1", "true", "YES", "on", "anything"])
async def test_bodies_are_logged_on_demand(
    value: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LK_OPENAI_DEBUG", value)
    caplog.set_level(logging.DEBUG, "lktrio")

    await recorded([error(503), HI], RETRY)

    (line,) = [record.getMessage() for record in caplog.records if "whales" in record.getMessage()]
    assert line.startswith(f"POST {BASE_URL}/chat/completions {{")
    assert '"content":"Why do whales sing?"' in line


@pytest.mark.parametrize("value", [None, "", "0", "false", "No", "OFF"])
async def test_bodies_are_not_logged_otherwise(
    value: str | None,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if value is None:
        monkeypatch.delenv("LK_OPENAI_DEBUG", raising=False)
    else:
        monkeypatch.setenv("LK_OPENAI_DEBUG", value)
    caplog.set_level(logging.DEBUG, "lktrio")

    await recorded(HI)

    assert "whales" not in caplog.text


async def test_bodies_are_logged_at_level_debug_only(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LK_OPENAI_DEBUG", "1")
    caplog.set_level(logging.INFO, "lktrio")

    await recorded(HI)

    assert "whales" not in caplog.text


async def test_no_secret_is_in_a_logged_body(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LK_OPENAI_DEBUG", "1")
    caplog.set_level(logging.DEBUG, "lktrio")
    secret = "s3cret-of-the-project-0123456789abcdef"
    async with (
        MemoryNetwork(HI) as network,
        LLM(
            "m",
            base_url=TLS_BASE_URL,
            api_key="APIpublic",
            api_secret=secret,
            http_client=network.client(),
        ) as llm,
    ):
        chat_ctx = conversation(f"My secret is {secret}, do not tell.")
        await llm.chat(chat_ctx=chat_ctx).collect()
        (request,) = network.requests

    assert secret in request.body.decode()
    assert "do not tell" in caplog.text
    assert secret not in caplog.text
