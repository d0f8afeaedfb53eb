"""`OpenTelemetryInstrument`: what instruments are told, as spans and metrics.

This module knows how hooks become spans. What things are called is known to `_conventions`.
"""

from __future__ import annotations

import os
import time
import weakref
from contextvars import Token
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from lktrio._answers import APIError, Attempt, CollectedResponse
from lktrio._checks import check_flag
from lktrio._conversation import FunctionCall
from lktrio._definitions import public
from lktrio._instruments import Instrument, LLMMetrics, RequestInfo
from lktrio._tools import FunctionCallResult, Tool
from lktrio._version import __version__

from ._conventions import (
    Attributes,
    Server,
    content_attributes,
    outcome_attributes,
    request_attributes,
    response_attributes,
    server_at,
    token_counts,
    usage_attributes,
)

try:
    from opentelemetry import context, trace
    from opentelemetry import metrics as otel_metrics
except ImportError as _missing:
    raise ImportError(
        "lktrio.opentelemetry needs the package opentelemetry-api; "
        "install it with: pip install 'lktrio[opentelemetry]'"
    ) from _missing

__all__ = ["OpenTelemetryInstrument"]

S = TypeVar("S")

_SCOPE: Final = "lktrio"
_NANOSECONDS: Final = 1_000_000_000

# The name that the instrumentations of opentelemetry-python-contrib share.
_CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURE_WORDS: Final = frozenset({"true", "span_only", "span_and_event"})

_SECONDS_BUCKETS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
_TOKENS_BUCKETS: Final = tuple(float(4**power) for power in range(14))

# For what is none of the values that are known beforehand.
_OTHER: Final = "_OTHER"


@attrs.define
class _Current:
    """A span that is current in its task."""

    span: trace.Span
    token: Token[context.Context]

    def end(self, at: int) -> None:
        """End it and make current what was."""
        context.detach(self.token)
        self.span.end(at)


@attrs.define
class _Request:
    """A request that is under way."""

    current: _Current
    server: Server
    started_at: int
    """Nanoseconds since 1970."""

    started: float
    """The same by Trio's clock, in seconds."""

    attempt: _Current | None = None
    resends: int = 0
    has_requests: bool = False
    """Whether other requests are made on its behalf."""

    def at(self, seconds: float) -> int:
        """A moment, given as seconds since the start."""
        return self.started_at + round(seconds * _NANOSECONDS)


@attrs.frozen
class _ToolCall:
    """A tool's call that is under way."""

    current: _Current
    started_at: int
    """Nanoseconds since 1970."""

    shared: Attributes
    """The attributes of its metric, but for how it ended."""


class _UnderWay(Generic[S]):
    """What is under way, by the identity of the object that it belongs to.

    Its end is always told, but by a Trio run that crashes; then it goes together with that object.
    """

    def __init__(self) -> None:
        self._states: dict[int, tuple[weakref.ref[object], S]] = {}

    def __len__(self) -> int:
        return len(self._states)

    def add(self, owner: object, state: S) -> None:
        """Remember."""
        key, states = id(owner), self._states
        states[key] = (weakref.ref(owner, lambda _: states.pop(key, None)), state)

    def get(self, owner: object) -> S | None:
        """Look up; None if it is not under way."""
        entry = self._states.get(id(owner))
        return None if entry is None else entry[1]

    def __getitem__(self, owner: object) -> S:
        return self._states[id(owner)][1]

    def pop(self, owner: object) -> S:
        """Look up and forget."""
        return self._states.pop(id(owner))[1]


@public
class OpenTelemetryInstrument(Instrument):
    """Makes spans and metrics of requests and tools: see `lktrio.opentelemetry`.

    One instrument can serve any number of models and turns. It keeps nothing of a request that
    has ended.

    Args:
        tracer_provider: Where spans go. Default: the global provider.
        meter_provider: Where metrics go. Default: the global provider.
        capture_content: Whether spans hold what is said: messages, arguments and results. Default:
            what the environment variable ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``
            says (``true``, ``SPAN_ONLY`` or ``SPAN_AND_EVENT``), else not.
        provider_name: What ``gen_ai.provider.name`` says. Default: the well-known name of the host
            that is asked, or else `ChatModel.provider`.

    Raises:
        TypeError: ``capture_content`` is no boolean.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: otel_metrics.MeterProvider | None = None,
        capture_content: bool | None = None,
        provider_name: str | None = None,
    ) -> None:
        if capture_content is None:
            capture_content = os.environ.get(_CAPTURE_VARIABLE, "").lower() in _CAPTURE_WORDS
        check_flag("capture_content", capture_content, optional=True)
        self._captures = capture_content
        self._provider_name = provider_name
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self._metrics = _Metrics(otel_metrics.get_meter(_SCOPE, __version__, meter_provider))
        self._requests = _UnderWay[_Request]()
        self._tools = _UnderWay[_ToolCall]()

    # --- requests -------------------------------------------------------------------------

    def request_started(self, request: RequestInfo) -> None:
        """Start the request's span and make it current in its task."""
        parent = self._requests.get(request.parent)
        if parent is not None:
            parent.has_requests = True
        server = server_at(request.base_url)
        attributes: Attributes = {
            "lktrio.label": request.label,
            "gen_ai.request.model": request.model,
            **server.address,
            **request_attributes(request.options),
        }
        name, kind = f"{request.label} {request.model}", trace.SpanKind.INTERNAL
        if request.base_url is not None:
            name, kind = f"chat {request.model}", trace.SpanKind.CLIENT
            attributes |= {"gen_ai.request.stream": True, **self._operation(request, server)}
        now = time.time_ns()
        current = self._start(name, kind, attributes, now)
        self._requests.add(request, _Request(current, server, now, trio.current_time()))

    def attempt_started(self, request: RequestInfo, number: int) -> None:  # noqa: ARG002
        """Start the attempt's span and make it current in the request's task."""
        state = self._requests[request]
        state.attempt = self._start(
            f"POST {state.server.path}",
            trace.SpanKind.CLIENT,
            state.server.http,
            state.at(trio.current_time() - state.started),
        )

    def attempt_failed(
        self, request: RequestInfo, attempt: Attempt, error: APIError, delay: float | None
    ) -> None:
        """End the attempt's span."""
        state = self._requests[request]
        if state.attempt is not None and delay is not None:
            state.attempt.span.set_attribute("lktrio.retry_delay", delay)
        _end_attempt(state, attempt, error)

    def request_finished(
        self,
        request: RequestInfo,
        metrics: LLMMetrics,
        response: CollectedResponse[None] | None,
    ) -> None:
        """End the request's span and record its metrics."""
        state = self._requests.pop(request)
        if metrics.attempts:
            _end_attempt(state, metrics.attempts[-1], metrics.error, cancelled=metrics.cancelled)
        span = state.current.span
        outcome = outcome_attributes(metrics.error, cancelled=metrics.cancelled)
        if span.is_recording():
            span.set_attributes({**response_attributes(metrics), **outcome})
            if metrics.error is not None:
                span.set_status(trace.StatusCode.ERROR)
            if self._captures and not state.has_requests:
                span.set_attributes(content_attributes(request, metrics, response))
        if not state.has_requests:
            operation = self._operation(request, state.server)
            if request.base_url is None:
                # No adapter, as it turns out, but a model that is asked in some other way.
                span.update_name(f"chat {request.model}")
                span.set_attributes(operation)
            span.set_attributes(usage_attributes(metrics))
            shared = {
                **operation,
                **state.server.address,
                "gen_ai.request.model": request.model,
            }
            if metrics.response_model is not None:
                shared["gen_ai.response.model"] = metrics.response_model
            self._metrics.request(metrics, shared, outcome)
        state.current.end(state.at(metrics.duration))

    def _operation(self, request: RequestInfo, server: Server) -> Attributes:
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider_name or server.provider or request.provider,
        }

    # --- tools ----------------------------------------------------------------------------

    def tool_started(self, call: FunctionCall, tool: Tool[..., Any] | None) -> None:
        """Start the tool's span and make it current in its task."""
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.id": call.call_id,
            "gen_ai.tool.type": "function",
        }
        if tool is not None and tool.description:
            attributes["gen_ai.tool.description"] = tool.description
        if self._captures:
            attributes["gen_ai.tool.call.arguments"] = call.arguments
        now = time.time_ns()
        name = f"execute_tool {call.name}"
        current = self._start(name, trace.SpanKind.INTERNAL, attributes, now)
        # A name that the model has made up must not become a time series.
        shared: Attributes = {
            "gen_ai.tool.name": _OTHER if tool is None else call.name,
            "gen_ai.tool.type": "function",
        }
        self._tools.add(call, _ToolCall(current, now, shared))

    def tool_finished(
        self, call: FunctionCall, result: FunctionCallResult | None, seconds: float
    ) -> None:
        """End the tool's span and record how long the call took."""
        state = self._tools.pop(call)
        span = state.current.span
        error: Exception | None = None
        if result is not None and result.is_error:
            error = result.raw_exception
            span.set_status(trace.StatusCode.ERROR)
        outcome = outcome_attributes(error, cancelled=result is None)
        span.set_attributes(outcome)
        if result is not None and self._captures:
            span.set_attribute("gen_ai.tool.call.result", result.fnc_call_out.output)
        self._metrics.tool(seconds, {**state.shared, **outcome})
        state.current.end(state.started_at + round(seconds * _NANOSECONDS))

    def _start(self, name: str, kind: trace.SpanKind, attributes: Attributes, at: int) -> _Current:
        span = self._tracer.start_span(name, kind=kind, attributes=attributes, start_time=at)
        return _Current(span, context.attach(trace.set_span_in_context(span)))


class _Metrics:
    """The measuring instruments."""

    def __init__(self, meter: otel_metrics.Meter) -> None:
        def seconds(name: str, description: str) -> otel_metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS_BUCKETS
            )

        def tokens(name: str, description: str) -> otel_metrics.Histogram:
            return meter.create_histogram(
                name,
                "{token}",
                description,
                explicit_bucket_boundaries_advisory=_TOKENS_BUCKETS,
            )

        def usage(name: str, description: str) -> otel_metrics.Counter:
            return meter.create_counter(
                f"gen_ai.client.inference.usage.{name}", "{token}", description
            )

        self._duration = seconds("gen_ai.client.inference.duration", "Duration of a request.")
        self._first_chunk = seconds(
            "gen_ai.client.inference.time_to_first_chunk",
            "Time from the start of a request to the first output.",
        )
        self._tool = seconds("gen_ai.execute_tool.duration", "Duration of a tool's call.")
        self._older_duration = seconds("gen_ai.client.operation.duration", "Duration of a request.")
        self._older_first_chunk = seconds(
            "gen_ai.client.operation.time_to_first_chunk",
            "Time from the start of a request to the first output.",
        )
        self._older_tokens = tokens("gen_ai.client.token.usage", "Tokens of a request, by type.")
        self._tokens = (
            tokens(
                "gen_ai.client.inference.operation.input_tokens",
                "Input tokens of a request, cached ones included.",
            ),
            tokens(
                "gen_ai.client.inference.operation.output_tokens",
                "Output tokens of a request, reasoning included.",
            ),
        )
        self._usage = (
            usage("input_tokens", "Input tokens used, cached ones included."),
            usage("output_tokens", "Output tokens used, reasoning included."),
            usage("cache_read.input_tokens", "Input tokens read from the provider's cache."),
            usage("cache_write.input_tokens", "Input tokens written to the provider's cache."),
            usage("reasoning.output_tokens", "Output tokens spent on reasoning."),
        )

    def request(self, metrics: LLMMetrics, shared: Attributes, outcome: Attributes) -> None:
        """Record a request. Where the server did not tell the usage, it is 0: so the conventions
        want it."""
        for duration in (self._duration, self._older_duration):
            duration.record(metrics.duration, {**shared, **outcome})
        if metrics.ttft is not None:
            for first_chunk in (self._first_chunk, self._older_first_chunk):
                first_chunk.record(metrics.ttft, shared)
        counts = token_counts(metrics)
        if metrics.usage is not None:
            for kind, count in zip(("input", "output"), counts, strict=False):
                self._older_tokens.record(count, {**shared, "gen_ai.token.type": kind})
        for histogram, count in zip(self._tokens, counts, strict=False):
            histogram.record(count, {**shared, **outcome})
        # Nothing is known about what the tokens stand for: servers seldom tell.
        by_modality = {**shared, "gen_ai.token.modality": "unknown"}
        for counter, count in zip(self._usage, counts, strict=True):
            counter.add(count, by_modality)

    def tool(self, seconds: float, attributes: Attributes) -> None:
        """Record a tool's call."""
        self._tool.record(seconds, attributes)


def _end_attempt(
    state: _Request, attempt: Attempt, error: Exception | None, *, cancelled: bool = False
) -> None:
    """End the span of an attempt, unless it has ended."""
    if state.attempt is None:
        return
    span = state.attempt.span
    state.resends += attempt.resent
    # https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-request-retries-and-redirects
    resends = attempt.number - 1 + state.resends
    if resends:
        span.set_attribute("http.request.resend_count", resends)
    if attempt.status_code is not None:
        span.set_attribute("http.response.status_code", attempt.status_code)
    if attempt.request_id is not None:
        span.set_attribute("lktrio.request_id", attempt.request_id)
    if error is not None:
        span.set_status(trace.StatusCode.ERROR)
    span.set_attributes(outcome_attributes(error, cancelled=cancelled))
    assert attempt.ended is not None  # nobody is told of one that runs
    state.attempt.end(state.at(attempt.ended))
    state.attempt = None
