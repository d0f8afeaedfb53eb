"""Spans and metrics as OpenTelemetry's SDK receives them; in virtual time."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from trio.testing import MockClock

import lktrio
from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    AudioContent,
    ChatCall,
    ChatChunk,
    ChatContext,
    ChatModel,
    ChoiceDelta,
    FallbackAdapter,
    FileContent,
    FunctionCall,
    FunctionToolCall,
    HedgeAdapter,
    ImageContent,
    LLMStream,
    RequestInfo,
    TextDelta,
    ToolContext,
    ToolError,
    execute_function_call,
    function_tool,
    run_turn,
)
from lktrio.opentelemetry import OpenTelemetryInstrument
from tests.support.engine import BASE_URL, ONCE, TLS_BASE_URL, ask, conversation, open_llm
from tests.support.matrix import CANCEL_BLOCK, INTERRUPT, Cut, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.paths import DOCS
from tests.support.script import (
    DONE,
    AwaitRequest,
    Close,
    Exchange,
    Hold,
    Request,
    Reset,
    ToolCall,
    Wait,
    delta,
    error,
    event,
    finish,
    sse,
    text,
    text_chunk,
    tool_calls,
    usage,
)
from tests.support.several import FAST, SLOW, open_models

SHOWN = DOCS / "howto" / "opentelemetry-output.txt"
RETRY = APIConnectOptions(max_retry=2, retry_interval=1.0)
HI = sse(Wait(0.25), text_chunk("Hi"), Wait(0.5), finish(), usage(9, 3), DONE)
INTERRUPTED = sse(text_chunk("Hi"), usage(9, 1), end=False).then(Hold())

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

SERVER = {"server.address": "gateway.test", "server.port": 80}
OPERATION = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "livekit",
    "gen_ai.request.model": "test-model",
    **SERVER,
}
REQUEST = {**OPERATION, "lktrio.label": "lktrio.LLM", "gen_ai.request.stream": True}
ANSWER = {
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.model": "scripted-model",
    "gen_ai.response.finish_reasons": ("stop",),
}
HTTP = {
    "http.request.method": "POST",
    "url.full": "http://gateway.test/v1/chat/completions",
    **SERVER,
}


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays without their spread are exact."""
    monkeypatch.setattr("lktrio._settings.retry.JITTER", 0.0)


class Order(SpanProcessor):
    """Keeps the spans in the order in which they began."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: ReadableSpan, parent_context: Context | None = None) -> None:
        self.spans.append(span)


class Telemetry:
    """OpenTelemetry's SDK with its exporters in memory, and the instrument that feeds it."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._order = Order()
        tracer_provider = TracerProvider(sampler, shutdown_on_exit=False)
        tracer_provider.add_span_processor(self._order)
        tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = tracer_provider.get_tracer("the program")
        self.instrument = OpenTelemetryInstrument(
            tracer_provider=tracer_provider,
            meter_provider=MeterProvider([self._reader], shutdown_on_exit=False),
            **options,
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that were exported, in the order in which they began."""
        exported = {context(span).span_id: span for span in self._exporter.get_finished_spans()}
        order = [context(span).span_id for span in self._order.spans]
        return [exported[span_id] for span_id in order if span_id in exported]

    def span(self, name: str) -> ReadableSpan:
        """The only span whose name begins like this."""
        (span,) = [span for span in self.spans if span.name.startswith(name)]
        return span

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        return [point for metric in self._metrics(name) for point in metric.data.data_points]

    @property
    def metrics(self) -> str:
        """Everything that was measured, as JSON."""
        data = self._reader.get_metrics_data()
        return "" if data is None else data.to_json()

    def unit(self, name: str) -> str:
        """The unit of a metric."""
        (metric,) = self._metrics(name)
        unit: str = metric.unit
        return unit

    def _metrics(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        scopes = [] if data is None else data.resource_metrics[0].scope_metrics
        return [metric for scope in scopes for metric in scope.metrics if metric.name == name]

    def assert_idle(self) -> None:
        """Check that nothing is kept, and that the span that is current here is none of ours."""
        assert len(self.instrument._requests) == 0
        assert len(self.instrument._tools) == 0
        assert not trace.get_current_span().get_span_context().is_valid

    def assert_all_ended(self) -> None:
        """Check that every span that was started was exported."""
        assert len(self.spans) == len(self._order.spans)


def context(span: ReadableSpan) -> trace.SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def duration(span: ReadableSpan) -> float:
    """How long it took, in seconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e9, 6)


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == context(parent).span_id


def tree(spans: list[ReadableSpan], parent: ReadableSpan | None = None, depth: int = 0) -> str:
    """Spans as text: each below its parent, with what it says of itself."""
    lines = ""
    margin = "    " * depth
    for span in spans:
        if not (span.parent is None if parent is None else is_child(span, parent)):
            continue
        lines += margin + span.name
        scope = span.instrumentation_scope
        if scope is not None and scope.name == "lktrio":  # the program's own live in real time
            status = "" if span.status.is_unset else f", {span.status.status_code.name}"
            lines += f"  ({span.kind.name}, {duration(span):g} s{status})"
        lines += "\n"
        for name, value in sorted(attributes(span).items()):
            lines += f"{margin}  * {name}: {json.dumps(value)}\n"
        lines += tree(spans, span, depth + 1)
    return lines


async def traced(
    script: Any,
    conn_options: APIConnectOptions = ONCE,
    *,
    telemetry: Telemetry | None = None,
    **options: Any,
) -> Telemetry:
    """What is made of one request that is collected, whatever comes of it."""
    telemetry = telemetry or Telemetry()
    async with (
        MemoryNetwork(script) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
    ):
        with contextlib.suppress(APIError):
            await ask(llm, conn_options, **options).collect()
        network.assert_quiet()
    telemetry.assert_idle()
    return telemetry


# --- A run with a retry, a tool and an interruption ----------------------------------------------


async def story() -> Telemetry:
    """A caller asks for the weather and is content with the first words of the answer."""

    @function_tool
    async def get_weather(city: str) -> str:
        """Look up the weather."""
        with telemetry.tracer.start_as_current_span("ask the weather service"):
            await trio.sleep(0.3)
        return f"Rain in {city}."

    script = [
        error(503, headers={"x-request-id": "req-1"}).after(0.05),
        tool_calls(
            ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
            tokens=(42, 11),
            headers={"x-request-id": "req-2"},
        ).after(0.4),
        sse(
            *(Wait(0.25), text_chunk("It rains"), Wait(0.5), text_chunk(" in Paris"), Hold()),
            headers={"x-request-id": "req-3"},
            end=False,
        ),
    ]
    telemetry = Telemetry()
    async with (
        MemoryNetwork(script) as network,
        LLM(
            "openai/gpt-4.1-mini",
            base_url=TLS_BASE_URL,
            auth="Bearer sk-secret",
            http_client=network.client(),
            extra_kwargs={"temperature": 0.2},
            instruments=[telemetry.instrument],
        ) as llm,
    ):
        chat_ctx = ChatContext()
        chat_ctx.add_message(role="user", content="What is the weather in Paris?")
        with telemetry.tracer.start_as_current_span("answer the caller"):
            async with run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather]) as turn:
                async for event in turn:
                    if isinstance(event, TextDelta) and "Paris" in event.text:
                        break
        network.assert_quiet()
    telemetry.assert_idle()
    return telemetry


async def test_the_run_that_the_documentation_shows(autojump_clock: MockClock) -> None:
    telemetry = await story()

    assert tree(telemetry.spans) == SHOWN.read_text(encoding="utf-8")


async def test_a_run_with_a_retry_a_tool_and_an_interruption(autojump_clock: MockClock) -> None:
    telemetry = await story()

    first, second = [span for span in telemetry.spans if span.name.startswith("chat")]
    server = {"server.address": "gateway.test", "server.port": 443}
    request = {
        "lktrio.label": "lktrio.LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "livekit",
        "gen_ai.request.model": "openai/gpt-4.1-mini",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.2,
        **server,
    }
    answer = {"gen_ai.response.id": "chatcmpl-1", "gen_ai.response.model": "scripted-model"}
    assert first.name == "chat openai/gpt-4.1-mini"
    assert first.kind is trace.SpanKind.CLIENT
    assert is_child(first, telemetry.span("answer the caller"))
    assert first.status.is_unset
    assert duration(first) == 0.55
    assert attributes(first) == {
        **request,
        **answer,
        "gen_ai.response.finish_reasons": ("tool_calls",),
        "gen_ai.response.time_to_first_chunk": pytest.approx(0.55),
        "gen_ai.usage.input_tokens": 42,
        "gen_ai.usage.output_tokens": 11,
        "lktrio.attempts": 2,
    }
    http = {
        "http.request.method": "POST",
        "url.full": "https://gateway.test/v1/chat/completions",
        **server,
    }
    failed, answered = [span for span in telemetry.spans if is_child(span, first)]
    assert failed.name == answered.name == "POST /v1/chat/completions"
    assert failed.kind is answered.kind is trace.SpanKind.CLIENT
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.status.description is None
    assert duration(failed) == 0.05
    assert attributes(failed) == {
        **http,
        "http.response.status_code": 503,
        "error.type": "503",
        "lktrio.request_id": "req-1",
        "lktrio.retry_delay": 0.1,
    }
    assert answered.status.is_unset
    assert duration(answered) == 0.4
    assert (answered.start_time or 0) - (first.start_time or 0) == 150_000_000
    assert attributes(answered) == {
        **http,
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
        "lktrio.request_id": "req-2",
    }
    tool = telemetry.span("execute_tool")
    assert tool.name == "execute_tool get_weather"
    assert tool.kind is trace.SpanKind.INTERNAL
    assert is_child(tool, telemetry.span("answer the caller"))
    assert is_child(telemetry.span("ask the weather service"), tool)
    assert tool.status.is_unset
    assert duration(tool) == 0.3
    assert attributes(tool) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Look up the weather.",
    }
    assert second.name == "chat openai/gpt-4.1-mini"
    assert is_child(second, telemetry.span("answer the caller"))
    assert second.status.is_unset
    assert duration(second) == 0.75
    assert attributes(second) == {
        **request,
        **answer,
        "gen_ai.response.finish_reasons": ("error",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "lktrio.attempts": 1,
        "lktrio.cancelled": True,
    }
    (interrupted,) = [span for span in telemetry.spans if is_child(span, second)]
    assert interrupted.status.is_unset
    assert duration(interrupted) == 0.75
    assert attributes(interrupted) == {
        **http,
        "http.response.status_code": 200,
        "lktrio.cancelled": True,
        "lktrio.request_id": "req-3",
    }
    assert len(telemetry.spans) == 8
    assert all(not span.events and not span.links for span in telemetry.spans)


async def test_the_metrics_of_that_run(autojump_clock: MockClock) -> None:
    telemetry = await story()

    shared = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "livekit",
        "gen_ai.request.model": "openai/gpt-4.1-mini",
        "gen_ai.response.model": "scripted-model",
        "server.address": "gateway.test",
        "server.port": 443,
    }
    whole, cut = telemetry.points("gen_ai.client.inference.duration")
    assert dict(whole.attributes) == shared
    assert dict(cut.attributes) == {**shared, "lktrio.cancelled": True}
    assert (whole.count, whole.sum) == (1, pytest.approx(0.55))
    assert (cut.count, cut.sum) == (1, pytest.approx(0.75))
    (first,) = telemetry.points("gen_ai.client.inference.time_to_first_chunk")
    assert dict(first.attributes) == shared
    assert (first.count, first.sum) == (2, pytest.approx(0.8))
    for name in ("duration", "time_to_first_chunk"):
        older, newer = (
            [(dict(point.attributes), point.count, point.sum) for point in telemetry.points(each)]
            for each in (f"gen_ai.client.operation.{name}", f"gen_ai.client.inference.{name}")
        )
        assert older == newer
    assert [
        (dict(point.attributes), point.count, point.sum)
        for point in telemetry.points("gen_ai.client.token.usage")
    ] == [
        ({**shared, "gen_ai.token.type": kind}, 1, count)
        for kind, count in (("input", 42), ("output", 11))
    ]
    (tool,) = telemetry.points("gen_ai.execute_tool.duration")
    assert dict(tool.attributes) == {
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.type": "function",
    }
    assert (tool.count, tool.sum) == (1, pytest.approx(0.3))
    for name, value in (("input_tokens", 42), ("output_tokens", 11)):
        (counter,) = telemetry.points(f"gen_ai.client.inference.usage.{name}")
        assert dict(counter.attributes) == {**shared, "gen_ai.token.modality": "unknown"}
        assert counter.value == value
        whole, cut = telemetry.points(f"gen_ai.client.inference.operation.{name}")
        assert dict(whole.attributes) == shared
        assert (whole.count, whole.sum) == (1, value)
        # The server had not told yet.
        assert dict(cut.attributes) == {**shared, "lktrio.cancelled": True}
        assert (cut.count, cut.sum) == (1, 0)


# --- Requests ------------------------------------------------------------------------------------


async def test_a_request_with_everything(autojump_clock: MockClock) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    script = sse(text_chunk("{}"), finish(), usage(9, 6, **details), DONE)

    telemetry = await traced(
        script,
        response_format={"type": "json_object"},
        extra_kwargs={
            "temperature": 1,
            "top_p": 0.5,
            "frequency_penalty": 0.1,
            "presence_penalty": -0.1,
            "max_tokens": 100,
            "seed": 7,
            "n": 1,
            "reasoning_effort": "low",
            "extra_body": {"stop": ["\n"]},
        },
    )

    request, attempt = telemetry.spans
    assert attributes(request) == {
        **REQUEST,
        **ANSWER,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": -0.1,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 7,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "json",
        "gen_ai.response.time_to_first_chunk": 0.0,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "lktrio.attempts": 1,
    }
    assert attributes(attempt) == {**HTTP, "http.response.status_code": 200}
    for name, value in (
        ("input_tokens", 9),
        ("output_tokens", 6),
        ("cache_read.input_tokens", 4),
        ("cache_write.input_tokens", 0),
        ("reasoning.output_tokens", 2),
    ):
        (point,) = telemetry.points(f"gen_ai.client.inference.usage.{name}")
        assert point.value == value


async def test_what_samplers_look_at_is_there_at_the_start(autojump_clock: MockClock) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    class Looks(Sampler):
        def should_sample(self, *args: Any, **options: Any) -> Any:
            names = ("parent_context", "trace_id", "name", "kind", "attributes")
            given = {**dict(zip(names, args, strict=False)), **options}
            seen.append((given["name"], dict(given["attributes"])))
            return ALWAYS_ON.should_sample(*args, **options)

        def get_description(self) -> str:
            return "Looks"

    await traced(HI, telemetry=Telemetry(Looks()))

    assert seen == [("chat test-model", REQUEST), ("POST /v1/chat/completions", HTTP)]


async def test_units_and_buckets(autojump_clock: MockClock) -> None:
    telemetry = await story()

    for name, unit, bounds in (
        ("gen_ai.client.inference.duration", "s", SECONDS),
        ("gen_ai.client.inference.time_to_first_chunk", "s", SECONDS),
        ("gen_ai.execute_tool.duration", "s", SECONDS),
        ("gen_ai.client.inference.operation.input_tokens", "{token}", TOKENS),
        ("gen_ai.client.inference.operation.output_tokens", "{token}", TOKENS),
    ):
        assert telemetry.unit(name) == unit
        assert {tuple(point.explicit_bounds) for point in telemetry.points(name)} == {bounds}
    for name in ("input", "output", "cache_read.input", "cache_write.input", "reasoning.output"):
        assert telemetry.unit(f"gen_ai.client.inference.usage.{name}_tokens") == "{token}"


async def test_who_measures(autojump_clock: MockClock) -> None:
    telemetry = await traced(HI)

    scopes = {span.instrumentation_scope for span in telemetry.spans}
    assert [(scope.name, scope.version) for scope in scopes if scope is not None] == [
        ("lktrio", lktrio.__version__)
    ]


@pytest.mark.parametrize(
    ("script", "error_type", "status_code"),
    [
        (error(429, "you said: Why do whales sing?"), "429", 429),
        (error(503), "503", 503),
        (sse(event({"error": {"message": "no", "code": 500}}), end=False), "500", 200),
        (sse(event({"error": {"message": "no"}}), end=False), "APIStatusError", 200),
        (Exchange([Reset()]), "APIConnectionError", None),
        (Exchange([Hold()]), "APITimeoutError", None),
        (sse(end=False).then(Close()), "APIConnectionError", 200),
    ],
)
async def test_failures(
    script: Any, error_type: str, status_code: int | None, autojump_clock: MockClock
) -> None:
    telemetry = await traced(script)

    request, attempt = telemetry.spans
    for span in (request, attempt):
        assert span.status.status_code is trace.StatusCode.ERROR
        # It could quote the conversation.
        assert span.status.description is None
        assert span.events == ()
        assert attributes(span)["error.type"] == error_type
    assert attributes(request) == {
        **REQUEST,
        "error.type": error_type,
        "lktrio.attempts": 1,
    }
    assert attributes(attempt).get("http.response.status_code") == status_code
    (point,) = telemetry.points("gen_ai.client.inference.duration")
    assert dict(point.attributes) == {**OPERATION, "error.type": error_type}
    (tokens,) = telemetry.points("gen_ai.client.inference.usage.input_tokens")
    assert tokens.value == 0
    assert telemetry.points("gen_ai.client.inference.time_to_first_chunk") == []


async def test_a_failure_amid_the_answer(autojump_clock: MockClock) -> None:
    script = sse(text_chunk("Hi"), usage(9, 1), Wait(1), end=False).then(Reset())

    telemetry = await traced(script, RETRY)

    request, _ = telemetry.spans
    assert duration(request) == 1
    assert attributes(request) == {
        **REQUEST,
        **ANSWER,
        "gen_ai.response.finish_reasons": ("error",),
        "gen_ai.response.time_to_first_chunk": 0.0,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 1,
        "error.type": "APIConnectionError",
        "lktrio.attempts": 1,
    }


async def test_a_mistake_of_the_program(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()

    def auth() -> str:
        raise LookupError("no key")

    async with LLM("m", base_url=TLS_BASE_URL, auth=auth) as llm:
        with pytest.raises(LookupError):
            await ask(llm, instruments=[telemetry.instrument]).collect()

    for span in telemetry.spans:
        assert span.status.status_code is trace.StatusCode.ERROR
        assert attributes(span)["error.type"] == "LookupError"
    assert len(telemetry.spans) == 2
    telemetry.assert_idle()


async def test_attempts_that_fail_until_there_are_none_left(autojump_clock: MockClock) -> None:
    telemetry = await traced(error(503).after(0.2), RETRY)

    request, *attempts = telemetry.spans
    assert [duration(span) for span in telemetry.spans] == [1.7, 0.2, 0.2, 0.2]
    start = request.start_time or 0
    begun = [round(((span.start_time or 0) - start) / 1e9, 6) for span in attempts]
    assert begun == [0, 0.3, 1.5]
    resends = [attributes(span).get("http.request.resend_count") for span in attempts]
    assert resends == [None, 1, 2]
    delays = [attributes(span).get("lktrio.retry_delay") for span in attempts]
    assert delays == [pytest.approx(0.1), pytest.approx(1), None]
    assert all(is_child(span, request) for span in attempts)


async def test_what_is_sent_again_at_once_counts_as_sent_again(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    script = [text("Hi").then(AwaitRequest(), Close()), error(503), HI]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        await ask(llm).collect()
        await ask(llm, RETRY, instruments=[telemetry.instrument]).collect()

    _, first, second = telemetry.spans
    assert attributes(first)["http.request.resend_count"] == 1
    assert attributes(second)["http.request.resend_count"] == 2


async def test_cancelled_while_it_waits_for_the_next_attempt(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with (
        MemoryNetwork(error(503, retry_after=20)) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
        ask(llm, RETRY),
    ):
        await trio.sleep(1)

    request, attempt = telemetry.spans
    assert request.status.is_unset
    assert duration(request) == 1
    assert attributes(request) == {**REQUEST, "lktrio.attempts": 1, "lktrio.cancelled": True}
    assert duration(attempt) == 0
    assert attributes(attempt)["error.type"] == "503"
    assert "lktrio.cancelled" not in attributes(attempt)
    telemetry.assert_idle()


async def test_cancelled_before_an_attempt(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with (
        MemoryNetwork(INTERRUPTED) as network,
        open_llm(network, max_streams=1) as llm,
        ask(llm),
    ):
        await trio.sleep(1)
        async with ask(llm, instruments=[telemetry.instrument]):
            await trio.sleep(1)

    (request,) = telemetry.spans
    assert duration(request) == 1
    assert attributes(request) == {**REQUEST, "lktrio.cancelled": True}


async def test_usage_of_an_interrupted_answer(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with (
        MemoryNetwork(INTERRUPTED) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
        ask(llm),
    ):
        await trio.sleep(1)

    found = attributes(telemetry.span("chat"))
    assert found["gen_ai.usage.input_tokens"] == 9
    assert found["gen_ai.usage.output_tokens"] == 1
    assert found["lktrio.cancelled"] is True


@pytest.mark.parametrize(
    ("base_url", "options", "provider"),
    [
        (TLS_BASE_URL, {}, "livekit"),
        ("https://api.openai.com/v1", {}, "openai"),
        ("https://api.openai.com/v1", {"provider_name": "vllm"}, "vllm"),
    ],
)
async def test_who_serves(
    base_url: str, options: dict[str, Any], provider: str, autojump_clock: MockClock
) -> None:
    telemetry = Telemetry(**options)
    async with (
        MemoryNetwork(HI) as network,
        LLM("m", base_url=base_url, auth=None, http_client=network.client()) as llm,
    ):
        await ask(llm, instruments=[telemetry.instrument]).collect()

    assert attributes(telemetry.span("chat"))["gen_ai.provider.name"] == provider
    (point,) = telemetry.points("gen_ai.client.inference.duration")
    assert point.attributes["gen_ai.provider.name"] == provider


async def test_spans_that_are_not_sampled_cost_no_metrics(autojump_clock: MockClock) -> None:
    telemetry = await traced(HI, telemetry=Telemetry(ALWAYS_OFF, capture_content=True))

    assert telemetry.spans == []
    (point,) = telemetry.points("gen_ai.client.inference.duration")
    assert point.sum == pytest.approx(0.75)


async def test_without_an_sdk_nothing_happens(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        MemoryNetwork([error(503), HI]) as network,
        open_llm(network, instruments=[OpenTelemetryInstrument()]) as llm,
    ):
        assert (await ask(llm, RETRY).collect()).text == "Hi"

    assert "is not called any more" not in caplog.text


# --- Parents -------------------------------------------------------------------------------------


async def test_the_caller_s_span_is_the_parent(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with (
        MemoryNetwork(HI) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
    ):
        with telemetry.tracer.start_as_current_span("where it is made"):
            stream = ask(llm)
        with telemetry.tracer.start_as_current_span("where it is entered") as span:
            await stream.collect()
            assert trace.get_current_span() is span

    assert is_child(telemetry.span("chat"), telemetry.span("where it is entered"))


async def test_streams_side_by_side_have_their_own_parents(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()

    def echo(request: Request) -> Exchange:
        name = request.json()["messages"][0]["content"]
        return [error(503, retry_after=1), text(name, every=0.1)][int(name) % 2]

    async with (
        MemoryNetwork(echo) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
    ):

        async def caller(number: int) -> None:
            with telemetry.tracer.start_as_current_span(f"caller {number}"):
                await trio.sleep(number / 10)
                stream = llm.chat(chat_ctx=conversation(str(number)), conn_options=RETRY)
                with contextlib.suppress(APIError):
                    await stream.collect()

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(caller, number)

    callers = [span for span in telemetry.spans if span.name.startswith("caller")]
    for caller_span in callers:
        (request,) = [span for span in telemetry.spans if is_child(span, caller_span)]
        assert request.name == "chat test-model"
        attempts = [span for span in telemetry.spans if is_child(span, request)]
        number = int(caller_span.name.removeprefix("caller "))
        assert len(attempts) == (1 if number % 2 else 3)
        assert ("error.type" in attributes(request)) is not bool(number % 2)
    assert len(telemetry.spans) == 20 + 20 + 10 * 1 + 10 * 3
    telemetry.assert_idle()


async def test_an_instrumented_http_client_is_inside_of_the_attempt(
    autojump_clock: MockClock,
) -> None:
    telemetry = Telemetry()

    async def on_request(_: object) -> None:
        # As an instrumentation of HTTP clients does.
        telemetry.tracer.start_span("GET", kind=trace.SpanKind.CLIENT).end()

    async with MemoryNetwork([error(503), HI]) as network:
        client = network.client(event_hooks={"request": [on_request]})
        llm = LLM("m", base_url=BASE_URL, auth=None, http_client=client)
        async with llm:
            await ask(llm, RETRY, instruments=[telemetry.instrument]).collect()

    requests = [span for span in telemetry.spans if span.name == "GET"]
    attempts = [span for span in telemetry.spans if span.name.startswith("POST")]
    assert len(requests) == len(attempts) == 2
    for attempt in attempts:
        assert sum(is_child(span, attempt) for span in requests) == 1


# --- Adapters ------------------------------------------------------------------------------------


async def adapted(adapter: Callable[[list[LLM]], ChatModel], *scripts: Any) -> Telemetry:
    """What is made of one request to an adapter."""
    telemetry = Telemetry(capture_content=True)
    async with open_models(*scripts) as models:
        stream = adapter(models.llms).chat(
            chat_ctx=conversation(), instruments=[telemetry.instrument]
        )
        with contextlib.suppress(APIError):
            await stream.collect()
    telemetry.assert_idle()
    return telemetry


async def test_a_fallback(autojump_clock: MockClock) -> None:
    telemetry = await adapted(lambda llms: FallbackAdapter(llms), error(503).after(1), FAST)

    outer = telemetry.span("lktrio.FallbackAdapter")
    assert outer.name == "lktrio.FallbackAdapter model-0"
    assert outer.kind is trace.SpanKind.INTERNAL
    assert outer.status.is_unset
    assert duration(outer) == 1.2
    assert attributes(outer) == {
        **ANSWER,
        "lktrio.label": "lktrio.FallbackAdapter",
        "gen_ai.request.model": "model-0",
        "gen_ai.response.time_to_first_chunk": pytest.approx(1.2),
        "lktrio.attempts": 2,
    }
    failed, answered = telemetry.span("chat model-0"), telemetry.span("chat model-1")
    assert is_child(failed, outer)
    assert is_child(answered, outer)
    assert attributes(failed)["error.type"] == "503"
    assert attributes(answered)["gen_ai.usage.input_tokens"] == 9
    assert len(telemetry.spans) == 5


async def test_nothing_is_counted_twice(autojump_clock: MockClock) -> None:
    telemetry = await adapted(lambda llms: FallbackAdapter(llms), error(503).after(1), FAST)

    points = telemetry.points("gen_ai.client.inference.duration")
    assert [point.attributes["gen_ai.request.model"] for point in points] == ["model-0", "model-1"]
    assert [point.count for point in points] == [1, 1]
    tokens = telemetry.points("gen_ai.client.inference.usage.input_tokens")
    assert [point.value for point in tokens] == [0, 9]
    operations = [span for span in telemetry.spans if "gen_ai.operation.name" in attributes(span)]
    assert [span.name for span in operations] == ["chat model-0", "chat model-1"]
    with_content = [span for span in telemetry.spans if "gen_ai.input.messages" in attributes(span)]
    assert with_content == operations


async def test_a_fallback_of_which_all_fail(autojump_clock: MockClock) -> None:
    telemetry = await adapted(lambda llms: FallbackAdapter(llms), error(503), error(400))

    outer = telemetry.span("lktrio.FallbackAdapter")
    assert outer.status.status_code is trace.StatusCode.ERROR
    assert attributes(outer)["error.type"] == "400"


async def test_a_hedge(autojump_clock: MockClock) -> None:
    telemetry = await adapted(lambda llms: HedgeAdapter(llms, after=1, budget=1), SLOW, FAST)

    outer = telemetry.span("lktrio.HedgeAdapter")
    loser, winner = telemetry.span("chat model-0"), telemetry.span("chat model-1")
    assert is_child(loser, outer)
    assert is_child(winner, outer)
    assert attributes(loser)["lktrio.cancelled"] is True
    assert "lktrio.cancelled" not in attributes(winner)
    assert "lktrio.cancelled" not in attributes(outer)
    assert (duration(loser), duration(winner), duration(outer)) == (1.2, 0.2, 1.2)


async def test_adapters_of_adapters(autojump_clock: MockClock) -> None:
    telemetry = await adapted(
        lambda llms: FallbackAdapter([HedgeAdapter(llms[0], after=9), llms[1]]), error(401), FAST
    )

    outer, inner = telemetry.span("lktrio.FallbackAdapter"), telemetry.span("lktrio.HedgeAdapter")
    assert is_child(inner, outer)
    assert is_child(telemetry.span("chat model-0"), inner)
    assert is_child(telemetry.span("chat model-1"), outer)


async def test_an_adapter_that_is_not_watched_is_passed_over(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with (
        MemoryNetwork(HI) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
    ):
        with telemetry.tracer.start_as_current_span("caller"):
            await FallbackAdapter([llm]).chat(chat_ctx=conversation()).collect()

    assert is_child(telemetry.span("chat"), telemetry.span("caller"))


class Slow(lktrio.ChunkSource):
    async def run(self, sink: lktrio.ChunkSink) -> None:
        await trio.sleep(1)
        await sink.send(ChatChunk(delta=ChoiceDelta(content="Hi")))


class InProcess(ChatModel):
    """A model that is asked without a server."""

    model = "tiny"
    provider = "here"
    label = "mine"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(Slow(), call)


async def test_a_model_without_a_server_is_an_operation_too(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()

    await InProcess().chat(chat_ctx=conversation(), instruments=[telemetry.instrument]).collect()

    (span,) = [span for span in telemetry.spans if span.name == "chat tiny"]
    assert span.kind is trace.SpanKind.INTERNAL
    assert attributes(span) == {
        "lktrio.label": "mine",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "here",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.response.time_to_first_chunk": 1,
        "lktrio.attempts": 1,
    }
    (point,) = telemetry.points("gen_ai.client.inference.duration")
    assert point.sum == 1


# --- Tools ---------------------------------------------------------------------------------------


async def call_tool(function: Any, telemetry: Telemetry, arguments: str = "{}") -> str:
    tool = function_tool(function, name="look")
    call = FunctionToolCall(name="look", arguments=arguments, call_id="call_1")
    result = await execute_function_call(
        call, ToolContext([tool]), instruments=[telemetry.instrument]
    )
    return result.fnc_call_out.output


async def test_what_a_tool_does_is_inside_of_its_span() -> None:
    telemetry = Telemetry()

    async def coroutine() -> None:
        await trio.lowlevel.checkpoint()
        with telemetry.tracer.start_as_current_span("inside"):
            await trio.lowlevel.checkpoint()

    def thread() -> None:
        telemetry.tracer.start_span("inside").end()

    with telemetry.tracer.start_as_current_span("caller") as caller:
        await call_tool(coroutine, telemetry)
        assert trace.get_current_span() is caller
        await call_tool(thread, telemetry)
        assert trace.get_current_span() is caller

    tools = [span for span in telemetry.spans if span.name == "execute_tool look"]
    inside = [span for span in telemetry.spans if span.name == "inside"]
    assert len(tools) == len(inside) == 2
    for tool, span in zip(tools, inside, strict=True):
        assert is_child(tool, telemetry.span("caller"))
        assert is_child(span, tool)
    telemetry.assert_idle()


async def test_a_tool_that_calls_a_tool() -> None:
    telemetry = Telemetry()

    async def inner() -> str:
        return "from the inside"

    async def outer() -> str:
        return await call_tool(inner, telemetry)

    assert await call_tool(outer, telemetry) == "from the inside"

    first, second = telemetry.spans
    outside, inside = (first, second) if first.parent is None else (second, first)
    assert is_child(inside, outside)
    telemetry.assert_idle()


async def test_tools_side_by_side_have_the_same_parent(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()

    @function_tool
    async def look(at: int) -> None:
        await trio.sleep(at)
        telemetry.tracer.start_span(f"at {at}").end()

    calls = [ToolCall("look", {"at": at}) for at in range(3)]
    with telemetry.tracer.start_as_current_span("caller"):
        async with (
            MemoryNetwork([tool_calls(*calls), text("Done.")]) as network,
            open_llm(network, instruments=[telemetry.instrument]) as llm,
            run_turn(
                llm, chat_ctx=conversation(), tools=[look], max_concurrency=2, early_start=True
            ) as turn,
        ):
            async for _ in turn.text:
                pass

    tools = [span for span in telemetry.spans if span.name == "execute_tool look"]
    assert sorted(map(duration, tools)) == [0, 1, 2]
    for tool in tools:
        assert is_child(tool, telemetry.span("caller"))
        assert is_child(telemetry.span(f"at {duration(tool):g}"), tool)


@pytest.mark.parametrize(
    ("raises", "error_type"),
    [
        (ToolError("the database is down"), "ToolError"),
        (ZeroDivisionError("secret"), "ZeroDivisionError"),
        (lktrio.StopResponse(), None),
    ],
)
async def test_tools_that_fail(raises: Exception, error_type: str | None) -> None:
    telemetry = Telemetry()

    async def tool() -> None:
        raise raises

    await call_tool(tool, telemetry)

    span = telemetry.span("execute_tool")
    assert span.status.is_unset is (error_type is None)
    assert span.status.description is None
    assert span.events == ()
    assert attributes(span).get("error.type") == error_type
    (point,) = telemetry.points("gen_ai.execute_tool.duration")
    assert point.attributes.get("error.type") == error_type


async def test_arguments_that_do_not_fit() -> None:
    telemetry = Telemetry()

    async def tool(at: int) -> None: ...

    await call_tool(tool, telemetry, '{"at": "the sea"}')

    assert attributes(telemetry.span("execute_tool"))["error.type"] == "ToolError"


async def test_a_tool_that_there_is_not() -> None:
    telemetry = Telemetry()
    call = FunctionToolCall(name="made_up", arguments="{}", call_id="call_1")

    await execute_function_call(call, ToolContext(), instruments=[telemetry.instrument])

    span = telemetry.span("execute_tool")
    assert span.name == "execute_tool made_up"
    assert attributes(span)["error.type"] == "ToolError"
    # Whatever models make up, it is one time series.
    (point,) = telemetry.points("gen_ai.execute_tool.duration")
    assert point.attributes["gen_ai.tool.name"] == "_OTHER"


async def test_a_tool_that_is_cancelled(autojump_clock: MockClock) -> None:
    telemetry = Telemetry(capture_content=True)

    with trio.move_on_after(1.5):
        await call_tool(trio.sleep_forever, telemetry)

    span = telemetry.span("execute_tool")
    assert span.status.is_unset
    assert duration(span) == 1.5
    assert attributes(span)["lktrio.cancelled"] is True
    assert "gen_ai.tool.call.result" not in attributes(span)
    (point,) = telemetry.points("gen_ai.execute_tool.duration")
    assert point.attributes["lktrio.cancelled"] is True
    telemetry.assert_idle()


# --- Content -------------------------------------------------------------------------------------

CONTENT = {
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
}


async def said(**options: Any) -> dict[str, Any]:
    """The content that is recorded of a turn with a tool: by span and attribute."""
    telemetry = Telemetry(**options)

    @function_tool
    async def look(at: str) -> str:
        return f"{at}: waves"

    script = [tool_calls(ToolCall("look", {"at": "sea"})), text("Waves.")]
    async with (
        MemoryNetwork(script) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
    ):
        chat_ctx = ChatContext()
        chat_ctx.add_message(role="system", content="Be brief.")
        chat_ctx.add_message(
            role="user", content=["Look:", ImageContent(image="data:image/png;base64,iVBORw0=")]
        )
        async with run_turn(llm, chat_ctx=chat_ctx, tools=[look]) as turn:
            async for _ in turn.text:
                pass
    return {
        f"{number} {span.name}: {name}": json.loads(value) if value[0] in "[{" else value
        for number, span in enumerate(telemetry.spans)
        for name, value in attributes(span).items()
        if name in CONTENT
    }


async def test_what_is_no_text_is_recorded_by_its_kind() -> None:
    telemetry = Telemetry(capture_content=True)
    speech = {"id": "audio_1", "data": "QUJD", "transcript": "A whale."}
    script = sse(delta(audio=speech, images=[{"type": "image_url"}]), finish(), DONE)
    async with (
        MemoryNetwork([script]) as network,
        open_llm(network, instruments=[telemetry.instrument]) as llm,
    ):
        chat_ctx = ChatContext()
        chat_ctx.add_message(
            role="user",
            content=[
                AudioContent(audio=b"ID3"),
                FileContent(file=b"%PDF-"),
                FileContent(file="https://whales.test/a.pdf"),
                FileContent(file_id="file-1"),
            ],
        )
        await llm.chat(chat_ctx=chat_ctx).collect()

    span, *_ = telemetry.spans
    (asked,) = json.loads(str(attributes(span)["gen_ai.input.messages"]))
    assert asked["parts"] == [
        {"type": "blob", "modality": "audio", "mime_type": "audio/mp3", "content": ""},
        {"type": "blob", "modality": "document", "mime_type": "application/pdf", "content": ""},
        {"type": "uri", "modality": "document", "uri": "https://whales.test/a.pdf"},
        {"type": "file", "modality": "document", "file_id": "file-1"},
    ]
    (told,) = json.loads(str(attributes(span)["gen_ai.output.messages"]))
    assert told["parts"] == [
        {"type": "blob", "modality": "audio", "mime_type": None, "content": ""},
        {"type": "text", "content": "A whale."},
        {"type": "blob", "modality": "image", "mime_type": None, "content": ""},
    ]


async def test_content_is_recorded_if_asked_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT")

    recorded = await said(capture_content=True)

    tools = [{"type": "function", "name": "look"}]
    call = {"type": "tool_call", "id": "call_0", "name": "look", "arguments": {"at": "sea"}}
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "Look:"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": ""},
            ],
        },
    ]
    assert recorded == {
        "0 chat test-model: gen_ai.input.messages": asked,
        "0 chat test-model: gen_ai.output.messages": [{"role": "assistant", "parts": [call]}],
        "0 chat test-model: gen_ai.tool.definitions": tools,
        "2 execute_tool look: gen_ai.tool.call.arguments": {"at": "sea"},
        "2 execute_tool look: gen_ai.tool.call.result": "sea: waves",
        "3 chat test-model: gen_ai.input.messages": [
            *asked,
            {"role": "assistant", "parts": [call]},
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "call_0", "response": "sea: waves"}],
            },
        ],
        "3 chat test-model: gen_ai.output.messages": [
            {"role": "assistant", "parts": [{"type": "text", "content": "Waves."}]}
        ],
        "3 chat test-model: gen_ai.tool.definitions": tools,
    }


@pytest.mark.parametrize(
    ("variable", "options", "is_recorded"),
    [
        (None, {}, False),
        ("", {}, False),
        ("false", {}, False),
        ("NO_CONTENT", {}, False),
        ("EVENT_ONLY", {}, False),
        ("true", {}, True),
        ("SPAN_ONLY", {}, True),
        ("span_and_event", {}, True),
        ("true", {"capture_content": False}, False),
        (None, {"capture_content": False}, False),
        (None, {"capture_content": True}, True),
    ],
)
async def test_content_is_off_unless_it_is_on(
    variable: str | None,
    options: dict[str, Any],
    is_recorded: bool,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(name, variable)

    assert bool(await said(**options)) is is_recorded


@pytest.mark.parametrize("value", ["no", 0, 1])
def test_what_is_neither_on_nor_off_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"capture_content=.* takes True, False or None"):
        OpenTelemetryInstrument(capture_content=value)


async def test_nothing_that_is_said_is_anywhere_by_default(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()

    async def tool(secret: str) -> str:
        raise ToolError(f"no {secret}")

    await call_tool(tool, telemetry, '{"secret": "hush-hush"}')
    await traced(error(400, "you said: hush-hush"), telemetry=telemetry)
    await traced(text("hush-hush"), telemetry=telemetry)

    everything = "".join(span.to_json() for span in telemetry.spans)
    assert "execute_tool" in everything
    assert "hush-hush" not in everything
    assert "whales" not in everything


async def test_no_secret_is_in_a_span(autojump_clock: MockClock) -> None:
    secret, key = "s3cret-of-the-project-0123456789abcdef", "sk-extra-fedcba9876543210"
    telemetry = Telemetry(capture_content=True)

    def echo(request: Request) -> Exchange:
        return error(401, f"{request.header('authorization')} {request.header('api-key')}")

    async with (
        MemoryNetwork(echo) as network,
        LLM(
            "m",
            base_url=TLS_BASE_URL,
            api_key="APIpublic",
            api_secret=secret,
            extra_kwargs={
                "extra_headers": {"api-key": key},
                "extra_query": {"key": key},
                "extra_body": {"key": key},
            },
            http_client=network.client(),
            instruments=[telemetry.instrument],
        ) as llm,
    ):
        with pytest.raises(APIError):
            await ask(llm).collect()
        (request,) = network.requests

    everything = "".join(span.to_json() for span in telemetry.spans)
    assert "whales" in everything
    token = (request.header("authorization") or "").removeprefix("Bearer ")
    assert len(token) > 50
    for word in (secret, key, token):
        assert word not in everything


# --- State ---------------------------------------------------------------------------------------


async def test_no_secret_that_a_server_echoes_as_a_name_is_in_a_span(
    autojump_clock: MockClock,
) -> None:
    key = "sk-extra-fedcba9876543210"
    telemetry = Telemetry(capture_content=True)
    value = {
        "id": key,
        "model": key,
        "service_tier": key,
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": key}],
    }
    async with (
        MemoryNetwork(sse(event(value), DONE)) as network,
        LLM(
            "m",
            base_url=TLS_BASE_URL,
            auth=f"Bearer {key}",
            http_client=network.client(),
            instruments=[telemetry.instrument],
        ) as llm,
    ):
        await ask(llm).collect()

    everything = "".join(span.to_json() for span in telemetry.spans) + telemetry.metrics
    assert "[redacted]" in everything
    assert key not in everything


@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=lambda action: action.name)
def test_wherever_it_is_cut_every_span_ends(action: Any) -> None:
    @function_tool
    async def nap() -> None:
        await trio.sleep(1)

    async def scenario(cut: Cut) -> None:
        telemetry = Telemetry()
        try:
            async with (
                MemoryNetwork([error(503), tool_calls(ToolCall("nap")), HI]) as network,
                open_llm(network, instruments=[telemetry.instrument]) as llm,
            ):
                with cut.watched(), cut.scope:
                    async with run_turn(llm, chat_ctx=conversation(), tools=[nap]) as turn:
                        async for _ in turn:
                            pass
        finally:
            telemetry.assert_idle()
            telemetry.assert_all_ended()

    sweep(scenario, action)


async def test_what_is_dropped_is_forgotten(autojump_clock: MockClock) -> None:
    # A Trio run that crashes tells nobody of the end of anything.
    telemetry = Telemetry()
    instrument = telemetry.instrument
    owners: list[Any] = [
        RequestInfo(label="l", model="m", provider="p", chat_ctx=conversation()),
        FunctionCall(call_id="1", name="look", arguments="{}"),
    ]

    async def crash() -> None:
        instrument.request_started(owners[0])
        instrument.tool_started(owners[1], None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crash)
    assert len(instrument._requests) == len(instrument._tools) == 1
    owners.clear()
    gc.collect()

    telemetry.assert_idle()


# --- The extra -----------------------------------------------------------------------------------


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lktrio.opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(ImportError, match=r"pip install 'lktrio\[opentelemetry\]'"):
        importlib.import_module("lktrio.opentelemetry")
