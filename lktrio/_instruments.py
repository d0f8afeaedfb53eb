"""What a program may watch of its requests: hooks, and what a request has measured.

This module knows the hooks, what they are told, and what becomes of one that raises. It does not
know when anything happens: the shell calls it, and tells it the time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Protocol, cast

import attrs
import msgspec

from ._answers import APIError, Attempt, CollectedResponse, CompletionUsage, ResponseInfo
from ._checks import is_async_callable, kind_of, not_awaitable
from ._conversation import ChatContext, FunctionCall
from ._definitions import know_later_names, public
from ._tools import FunctionCallResult, Tool, Toolset

__all__ = [
    "Instrument",
    "LLMMetrics",
    "RequestInfo",
    "RequestMetrics",
    "ToolMetrics",
    "check_instruments",
    "join_instruments",
]

logger = logging.getLogger("lktrio")


@public
@attrs.frozen(eq=False, kw_only=True)
class RequestInfo:
    """A request as instruments are told of it. Two are equal only if they are the same object, so
    that one may be the key of a dictionary."""

    label: str
    """Who makes it: `ChatModel.label`."""

    model: str
    """Name of the model that is asked; of an adapter over several, the one it would ask first."""

    provider: str
    """Who serves the model: `ChatModel.provider`."""

    base_url: str | None = None
    """Where the API is; None for an adapter over several models."""

    chat_ctx: ChatContext = attrs.field(repr=False)
    """The conversation that is sent: a copy, not to be changed."""

    tools: tuple[Tool[..., Any] | Toolset, ...] = attrs.field(default=(), repr=False)
    """The tools that are offered."""

    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
    """The other members of the request's body, as they are sent (``temperature`` and so on), but
    for those of ``extra_body``, which may be secrets; empty for an adapter."""

    parent: RequestInfo | None = attrs.field(default=None, repr=False)
    """The request of the adapter on whose behalf this one is made, if there is one."""


know_later_names(RequestInfo, RequestInfo=RequestInfo)


@public
class LLMMetrics(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """What a request has measured: at its end, or so far. Times are in seconds."""

    label: str
    """Who made it: `ChatModel.label`."""

    model: str
    """Name of the model that was asked; of an adapter over several, the one it would ask first."""

    provider: str
    """Who serves the model."""

    timestamp: float
    """When the stream was entered: seconds since 1970."""

    duration: float
    """From entering the stream until the answer was whole, or could not become so, or now."""

    ttft: float | None = None
    """Time to first token: from entering the stream to the first text, refusal or tool-call
    fragment, attempts that failed included; None if none has come."""

    request_id: str | None = None
    """The server's name for the last attempt (``x-request-id`` and its relatives)."""

    response_id: str | None = None
    """The completion's id as the server sent it."""

    response_model: str | None = None
    """Name of the model that answered: by the server's word, or else the one that was asked last.
    None before an answer has begun."""

    usage: CompletionUsage | None = None
    """Token counts as far as the server has told; None if it has not."""

    usage_is_partial: bool = True
    """Whether the answer is not whole, so that there may be more than `usage` says."""

    finish_reason: str | None = None
    """Why the model stopped; None before the end, or if the server did not say."""

    attempts: tuple[Attempt, ...] = ()
    """Every attempt, with its timings."""

    cancelled: bool = False
    """Whether the request was ended before the answer was whole, by nobody's fault: the block was
    left, or a scope around it was cancelled."""

    error: Exception | None = None
    """What prevented a whole answer, or None."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, cached ones included; 0 if unknown."""
        return 0 if self.usage is None else self.usage.prompt_tokens

    @property
    def prompt_cached_tokens(self) -> int:
        """Tokens of the prompt that came from a cache; 0 if unknown."""
        return 0 if self.usage is None else self.usage.prompt_cached_tokens

    @property
    def cache_creation_tokens(self) -> int:
        """Tokens of the prompt that were written to a cache; 0 if unknown."""
        return 0 if self.usage is None else self.usage.cache_creation_tokens

    @property
    def completion_tokens(self) -> int:
        """Tokens generated, reasoning included; 0 if unknown."""
        return 0 if self.usage is None else self.usage.completion_tokens

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the completion that were spent on reasoning; 0 if unknown."""
        return 0 if self.usage is None else self.usage.reasoning_tokens

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together; 0 if unknown."""
        return 0 if self.usage is None else self.usage.total_tokens

    @property
    def tokens_per_second(self) -> float:
        """`completion_tokens` per second of `duration`; 0 if unknown."""
        return self.completion_tokens / self.duration if self.duration > 0 else 0.0


@public
class Instrument:
    """Watches requests and tools. Override what is wanted; every method does nothing by itself.

    Pass one to ``LLM(instruments=[...])``, to an adapter, to one call of `ChatModel.chat`, or to
    `run_turn`. An instrument of an adapter, or of a call to one, is also told of the requests that
    are made on its behalf (`RequestInfo.parent`). It is told of everything once, however often it
    was passed.

    Methods are called inside the library's tasks, between two steps of a stream: they must return
    soon and must not block. They are not awaited: an instrument with an async one is refused. One
    that raises is reported once, on the logger ``lktrio``, and the instrument is never called
    again; the stream goes on.

    The methods of one request are called in order: `request_started`; for each attempt
    `attempt_started` and, unless the answer comes or the request is cancelled, `attempt_failed`;
    in between `first_output`; `request_finished`. Those of an attempt are called in the task that
    makes it, and those of a tool in the task that runs it, so a `contextvars.ContextVar` that is
    set when it starts is seen by what it calls.

    (In the manner of `trio.abc.Instrument`.)
    """

    # Kept here and not in the lists an instrument is in: it may be in many.
    _has_raised = False

    def request_started(self, request: RequestInfo) -> None:
        """A stream was entered."""

    def attempt_started(self, request: RequestInfo, number: int) -> None:
        """A request is about to be sent.

        Args:
            request: On whose behalf.
            number: 1 for the first attempt.
        """

    def attempt_failed(
        self, request: RequestInfo, attempt: Attempt, error: APIError, delay: float | None
    ) -> None:
        """An attempt has failed.

        Args:
            request: On whose behalf it was made.
            attempt: Its timings.
            error: Why.
            delay: Seconds until the next attempt, or until that waits for its turn (`RateLimit`);
                None if there is none.
        """

    def first_output(self, request: RequestInfo, seconds: float) -> None:
        """The first text, refusal or tool-call fragment has arrived.

        Args:
            request: Whose.
            seconds: Since the stream was entered.
        """

    def request_finished(
        self,
        request: RequestInfo,
        metrics: LLMMetrics,
        response: CollectedResponse[None] | None,
    ) -> None:
        """A stream's request has ended, in whatever way.

        Args:
            request: Which.
            metrics: What it measured.
            response: The answer; None unless it is whole.
        """

    def tool_started(self, call: FunctionCall, tool: Tool[..., Any] | None) -> None:
        """A tool is about to be called, or its call has been refused.

        Args:
            call: The model's call.
            tool: The tool; None if there is none of that name.
        """

    def tool_finished(
        self, call: FunctionCall, result: FunctionCallResult | None, seconds: float
    ) -> None:
        """A tool's call has ended.

        Args:
            call: The model's call: the object that `tool_started` was given.
            result: What it came to, failures included; None if it was cancelled, or if a mistake of
                the program ended it (a tool that wants a `RunContext`, and none was given).
            seconds: How long it took.
        """


_HOOKS: Final = tuple(name for name in vars(Instrument) if not name.startswith("_"))


def check_instruments(value: object) -> tuple[Instrument, ...]:
    """The instruments that were passed as ``instruments``.

    Raises:
        TypeError: They are no list of `Instrument`, or a method of one is async.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"instruments must be a list of Instrument, not {kind_of(value)}; "
            "write: instruments=[instrument]"
        )
    instruments = tuple(cast("Iterable[object]", value))
    for index, instrument in enumerate(instruments):
        if not isinstance(instrument, Instrument):
            given = (
                f"the class {instrument.__name__}; make an object of it"
                if isinstance(instrument, type)
                else kind_of(instrument)
            )
            raise TypeError(
                f"instruments[{index}] must be an object of a subclass of Instrument, not {given}"
            )
        for name in _HOOKS:
            if is_async_callable(getattr(instrument, name)):
                raise TypeError(
                    f"instruments[{index}]: {type(instrument).__name__}.{name} must not be async: "
                    "it is called, but never awaited; write: def"
                )
    return cast("tuple[Instrument, ...]", instruments)


def join_instruments(*groups: Iterable[Instrument]) -> tuple[Instrument, ...]:
    """Several lists as one, each instrument once."""
    by_identity = {id(each): each for group in groups for each in group}
    return tuple(by_identity.values())


def _tell(instruments: tuple[Instrument, ...], hook: Callable[[Instrument], object]) -> None:
    for instrument in instruments:
        if instrument._has_raised:  # pyright: ignore[reportPrivateUsage]
            continue
        try:
            not_awaitable("a method of an instrument", partial(hook, instrument))
        except Exception:
            # Also for instruments that do not allow their attributes to be set.
            object.__setattr__(instrument, "_has_raised", True)
            logger.exception("the instrument %r raised; it is not called any more", instrument)


# Set in a request's task, and thereby in the tasks that it starts.
_request_of_this_task: Final[ContextVar[RequestInfo | None]] = ContextVar(
    "lktrio_request", default=None
)


_NO_CONVERSATION: Final = ChatContext()


class Progress(Protocol):
    """What the request task knows while the answer arrives."""

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts so far."""
        ...

    @property
    def response(self) -> ResponseInfo:
        """The request so far."""
        ...

    def conclude(self) -> CollectedResponse[None] | None:
        """The answer if it is whole: asked when the request was ended before it was told so."""
        ...


class RequestMetrics:
    """One stream's request, as it is measured and told.

    Args:
        request: What the instruments are told of it.
        instruments: Who is told.
    """

    def __init__(self, request: RequestInfo, instruments: tuple[Instrument, ...]) -> None:
        self.request: RequestInfo = request
        self.progress: Progress | None = None
        """What is known so far; set by who makes the answer."""
        self.result: CollectedResponse[None] | None = None
        """The answer, once it is whole."""
        self.has_let_go: bool = False
        """Whether the conversation is not known any more."""
        self.on_output: Callable[[], object] | None = None
        """Called when the first output is there, which for a tool call is long before its chunk.
        An adapter sets it, whose stream is made from this one."""
        self._instruments = instruments
        self._started: float | None = None
        self._timestamp = 0.0
        self._first_output: float | None = None
        self._ended: float | None = None
        self._cancelled = False
        self._error: Exception | None = None

    def start(self, now: float, timestamp: float) -> None:
        """The request's task begins."""
        self._started = now
        self._timestamp = timestamp
        parent = _request_of_this_task.get()
        if parent is not None:
            self.request = attrs.evolve(self.request, parent=parent)
        _request_of_this_task.set(self.request)
        if self._instruments:
            request = self.request
            _tell(self._instruments, lambda each: each.request_started(request))

    def attempt_started(self, number: int) -> None:
        """An attempt begins."""
        if self._instruments:
            request = self.request
            _tell(self._instruments, lambda each: each.attempt_started(request, number))

    def attempt_failed(self, attempt: Attempt, error: APIError, delay: float | None) -> None:
        """An attempt has failed, and the next begins after a delay, or never."""
        if self._instruments:
            request = self.request
            _tell(
                self._instruments,
                lambda each: each.attempt_failed(request, attempt, error, delay),
            )

    def got_output(self, now: float) -> None:
        """Output is there; all but the first time is passed over."""
        if self._first_output is not None or self._started is None:
            return
        self._first_output = now
        if self._instruments:
            request, seconds = self.request, now - self._started
            _tell(self._instruments, lambda each: each.first_output(request, seconds))
        if self.on_output is not None:
            self.on_output()

    def completed(self, now: float, result: CollectedResponse[None]) -> None:
        """The answer is whole. The request goes on for the rest of the body."""
        self._ended = now
        self.result = result

    def finish(self, now: float, error: Exception | None = None) -> None:
        """The request's task ends: with a whole answer, an error, or else by cancellation."""
        # Set for an adapter's stream, which is held by it.
        self.on_output = None
        if self.result is None and error is None and self.progress is not None:
            # Who leaves behind the finish reason has not cut the answer short.
            self.result = self.progress.conclude()
            self._ended = now
        if self.result is None:
            self._ended = now
            self._error = error
            self._cancelled = error is None
        if self._instruments:
            request, metrics, result = self.request, self.snapshot(lambda: now), self.result
            assert metrics is not None  # it was started
            _tell(self._instruments, lambda each: each.request_finished(request, metrics, result))
        self.let_go()

    def let_go(self) -> None:
        """Nothing more comes: the conversation, with its pictures, is not needed any more."""
        self.has_let_go = True
        self.request = attrs.evolve(self.request, chat_ctx=_NO_CONVERSATION, parent=None)

    def snapshot(self, clock: Callable[[], float]) -> LLMMetrics | None:
        """What has been measured; None before the start.

        Args:
            clock: Tells the time; not asked once the request has ended.
        """
        if self._started is None:
            return None
        request, progress, result = self.request, self.progress, self.result
        response = ResponseInfo() if progress is None else progress.response
        return LLMMetrics(
            label=request.label,
            model=request.model,
            provider=request.provider,
            timestamp=self._timestamp,
            duration=(clock() if self._ended is None else self._ended) - self._started,
            ttft=None if self._first_output is None else self._first_output - self._started,
            request_id=response.request_id,
            response_id=response.response_id,
            response_model=response.model,
            usage=None if progress is None else progress.usage,
            usage_is_partial=result is None,
            finish_reason=None if result is None else result.finish_reason,
            attempts=response.attempts,
            cancelled=self._cancelled,
            error=self._error,
        )


class ToolMetrics:
    """One call of a tool, as it is told.

    Args:
        instruments: Who is told.
        call: The model's call.
        tool: The tool, if there is one of that name.
        now: The time.
    """

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        call: FunctionCall,
        tool: Tool[..., Any] | None,
        now: float,
    ) -> None:
        self._instruments = instruments
        self._call = call
        self._started = now
        _tell(instruments, lambda each: each.tool_started(call, tool))

    def finish(self, now: float, result: FunctionCallResult | None) -> None:
        """The call has ended; without a result if it was cancelled."""
        seconds = now - self._started
        _tell(self._instruments, lambda each: each.tool_finished(self._call, result, seconds))
