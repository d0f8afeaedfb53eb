"""`ChatModel` and `LLMStream`: what makes a model's answer a stream, and what it tells of itself.

This module knows what a conversation is asked with and how chunks become text, values and the
whole answer. It knows neither how a request is made (that is the source's job, whatever it is)
nor how a stream lives (`_lifetime`).
"""

from __future__ import annotations

import abc
import io
import itertools
import time
import types
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import (
    Any,
    Final,
    Generic,
    Protocol,
    TypeVar,
    cast,
    overload,
)

import attrs
import msgspec
import trio

from . import _later as later
from ._chat_context import ChatContext
from ._chunks import (
    ChatChunk,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
)
from ._errors import APIError
from ._instruments import Instrument, LLMMetrics, RequestInfo, Watch, check_instruments
from ._lifetime import MAX_UNDELIVERED_BYTES, Channel, TaskStream, Words, forget_locals
from ._not_given import NOT_GIVEN, NotGivenOr, is_given
from ._options import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    ChatCompletionOptions,
    InferenceClass,
    ResponseFormat,
    ToolChoice,
)
from ._partial_json import MISSING
from ._public import public
from ._response import ResponseInfo
from ._response_format import AnswerShape, PartialValue
from ._tools import Tool, Toolset
from ._value import Value

__all__ = [
    "MAX_UNDELIVERED_BYTES",
    "ChatCall",
    "ChatModel",
    "LLMStream",
    "Outlet",
    "Source",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Outlet(Channel[ChatChunk]):
    """The request task's end of a stream.

    Args:
        watch: Is told what happens to the request.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch
        """Is told what happens to the request."""

    def complete(self, result: CollectedResponse[None]) -> None:
        """Say that the answer is whole. The consumer's iteration ends after what was put."""
        self.watch.completed(trio.current_time(), result)
        self.finish()


class Source(Protocol):
    """Makes a stream's chunks, in the stream's request task."""

    def check_open(self) -> None:
        """Raise `RuntimeError` if a request cannot be made here and now."""

    async def run(self, outlet: Outlet) -> None:
        """Put chunks until the answer is complete; raise what prevented it.

        Args:
            outlet: Where the chunks go.
        """


class _Text:
    """Iterates over a stream's text."""

    __slots__ = ("_stream",)

    def __init__(self, stream: LLMStream[Any]) -> None:
        self._stream = stream

    def __aiter__(self) -> _Text:
        return self

    async def __anext__(self) -> str:
        step = self._stream.__anext__
        try:
            while True:
                delta = (await step()).delta
                if delta is not None and delta.content:
                    return delta.content
        finally:
            # An error holds the frames that it was raised through, and the stream holds the error.
            del self, step


class _Values:
    """What the values of a structured answer have come to, while it arrives."""

    __slots__ = ("is_over", "partial", "shape")

    def __init__(self, shape: AnswerShape | None) -> None:
        self.shape = shape
        self.partial = PartialValue(shape)
        self.is_over = False
        """Whether the last value was handed out."""

    def take(self, chunk: ChatChunk) -> bool:
        """Take a chunk. Whether it is time to `look`."""
        if chunk.restart:
            self.partial = PartialValue(self.shape)
        if chunk.delta is None or not chunk.delta.content:
            return False
        return self.partial.take(chunk.delta.content)

    async def look(self) -> Any:
        """The value of all that has arrived if it is another one now, or `MISSING`. A model's text
        must not keep other tasks waiting."""
        while self.partial.read_on():
            await trio.lowlevel.checkpoint()
        return self.partial.look()


class _PartialValues:
    """Iterates over the values of a structured answer that is still arriving."""

    __slots__ = ("_stream", "_values")

    def __init__(self, stream: LLMStream[Any], values: _Values) -> None:
        self._stream = stream
        self._values = values

    def __aiter__(self) -> _PartialValues:
        return self

    async def __anext__(self) -> Any:
        stream, values = self._stream, self._values
        try:
            if values.is_over:
                raise StopAsyncIteration
            if values.partial.is_behind:
                # A wait was given up here.
                value = await values.look()
                if value is not MISSING:
                    return value
            async for chunk in stream:
                if values.take(chunk):
                    value = await values.look()
                    if value is not MISSING:
                        return value
            # A wait: if it is given up, the last value is still to come.
            response = await stream.collect()
            value = await values.look() if values.shape is None else response.parsed
            values.is_over = True
            if value is MISSING:
                raise StopAsyncIteration
            return value
        finally:
            del self, stream


_MOST_LOOSE: Final = 1000


class _Taken:
    """Chunks that `collect` has taken out of the channel, should its wait be given up.

    Of many, the texts are joined: what is kept grows with the answer, which is kept in any case,
    and not with the number of its chunks.
    """

    def __init__(self, chunks: list[ChatChunk]) -> None:
        self._joined: list[ChatChunk] = []
        self._loose: list[list[ChatChunk]] = [chunks]
        self._count = len(chunks)
        # The text to which the next chunk may add.
        self._kind: str | None = None
        self._id: str = ""
        self._text = io.StringIO()

    def add(self, chunks: list[ChatChunk]) -> None:
        """Take more."""
        self._loose.append(chunks)
        self._count += len(chunks)
        if self._count > _MOST_LOOSE:
            self._join_loose()

    def chunks(self) -> list[ChatChunk]:
        """All of them, for whoever iterates next."""
        self._end_text()
        for chunks in self._loose:
            self._joined.extend(chunks)
        return self._joined

    def _join_loose(self) -> None:
        for chunk in itertools.chain.from_iterable(self._loose):
            kind = _only_text(chunk)
            if kind is None or kind != self._kind or chunk.id != self._id:
                self._end_text()
            if kind is None:
                self._joined.append(chunk)
            else:
                self._kind, self._id = kind, chunk.id
                self._text.write(getattr(chunk.delta, kind))
        self._loose, self._count = [], 0

    def _end_text(self) -> None:
        if self._kind is not None:
            texts: dict[str, Any] = {self._kind: self._text.getvalue()}
            self._joined.append(ChatChunk(self._id, ChoiceDelta(**texts)))
            self._kind, self._text = None, io.StringIO()


def _only_text(chunk: ChatChunk) -> str | None:
    """The name of the text that is all there is in a chunk; None if there is more, or less."""
    delta = chunk.delta
    if (
        delta is None
        or delta.tool_calls
        or delta.extra
        or delta.role is None
        or chunk.usage is not None
        or chunk.finish_reason is not None
        or chunk.restart
    ):
        return None
    if delta.content:
        return None if delta.reasoning or delta.refusal else "content"
    if delta.reasoning:
        return None if delta.refusal else "reasoning"
    return "refusal" if delta.refusal else None


@public
class LLMStream(TaskStream[ChatChunk], Generic[T_co]):
    """One answer of a model, as it arrives. Made by `ChatModel.chat`; not to be constructed.

    ::

        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for chunk in stream:
                ...

    Entering opens a nursery and starts the request; leaving, in whatever way, cancels what is
    left of it and waits until nothing is alive: no task, no connection that is not idle in the
    pool. Leaving early closes the connection, so the server stops generating.

    A wait may be given up (``with trio.move_on_after(...): await anext(stream)``) and asked
    again; nothing is lost. The consumer's pace is the stream's pace: at most two lists of 64 KiB
    and one read of 64 KiB more wait for it, besides the answer's own text, which is kept for
    `APIError.partial` and `collect`.

    Iterating raises:

    * `APIError`: the request failed. What had arrived is delivered first, and is in
      ``error.partial``.
    * `RuntimeError`: the stream was not entered.
    * `trio.ClosedResourceError`: the stream was left, or its owner was cancelled. (`collect` then
      answers all the same if the answer was whole.)
    * `trio.BusyResourceError`: another task is waiting in the same stream.

    A call to ``__anext__`` is a cancel point; it is a schedule point once per network read.
    """

    _words = Words("stream", "request", "chat()", "async with llm.chat(...) as stream")

    def __init__(
        self,
        source: Source,
        *,
        request: RequestInfo,
        instruments: tuple[Instrument, ...] = (),
        shape: AnswerShape | None = None,
    ) -> None:
        self._watch = Watch(request, instruments)
        self._outlet = Outlet(self._watch)
        super().__init__(self._outlet)
        self._shape = shape
        self._values = _Values(shape)
        self._misfit: APIError | None = None
        self._misfit_traceback: types.TracebackType | None = None
        # None once nothing more comes of it: it holds the request's body.
        self._source: Source | None = source

    def _check_open(self) -> None:
        if self._source is not None:
            self._source.check_open()

    async def _run(self) -> None:
        watch, source = self._watch, self._source
        assert source is not None  # the stream is entered once
        watch.start(trio.current_time(), time.time())
        error: Exception | None = None
        try:
            await source.run(self._outlet)
        except Exception as exc:
            error = exc
            raise
        finally:
            watch.finish(trio.current_time(), error)
            self._source = None

    def _let_go(self) -> None:
        self._source = None
        self._watch.let_go()

    # --- consuming ------------------------------------------------------------------------

    @property
    def text(self) -> AsyncIterator[str]:
        """The answer's text as an iterator of strings, none of them empty.

        It consumes the stream: chunks that hold no text are passed over, and so is the marker
        of an answer that begins again (`ChatChunk.restart`).
        """
        return _Text(self)

    @property
    def partial_values(self) -> AsyncIterator[Any]:
        """The best values of a structured answer while it arrives, each better than the last.

        They are plain JSON values in which what has not arrived is absent and nothing is made
        up: a string grows, a number counts when it has ended. Each piece of text that arrives may
        give one; in an answer of many thousand characters, one comes whenever it has grown by a
        sixty-fourth. If a type was asked for, the last value is the whole answer as that type.

        It consumes the stream. At the end it raises what `collect` raises. A wait may be given up
        and asked again here too, also with a new iterator.
        """
        return _PartialValues(self, self._values)

    async def collect(self) -> CollectedResponse[T_co]:
        """Read to the end and return the whole answer, what was iterated before included.

        This is the one call that may be made on a stream that was not entered; it then enters
        and leaves it. It may also be made after the block, if the answer had become whole: a
        finish reason or the end mark had come, whoever stopped reading when. (The usage is None if
        it had not come by then.) It is a wait that may be given up: what it has taken is there for
        who iterates then, its texts joined to fewer chunks.

        Raises:
            APIError: The request failed.
            APIResponseFormatError: The answer is not of the type asked for as
                ``response_format``.
            APIRefusalError: The model declined to give one.
            trio.ClosedResourceError: The stream was left before the answer was whole.
        """
        try:
            if self._state == "new":
                async with self:
                    return await self._collect()
            if self._state == "closed" and self._watch.result is not None:
                await trio.lowlevel.checkpoint()
                return self._answer(self._watch.result)
            return await self._collect()
        finally:
            del self

    async def _collect(self) -> CollectedResponse[T_co]:
        taken = _Taken(self._batch[::-1])
        self._batch = []
        has_ended = False
        try:
            while (batch := await self._take_batch()) is not None:
                taken.add(batch)
            has_ended = True
            result = self._watch.result
            assert result is not None  # else _take_batch would have raised
            return self._answer(result)
        except Exception as exc:
            has_ended = has_ended or exc is self._failure
            raise
        finally:
            # Else the wait was given up: what was taken is there for who asks next.
            if not has_ended and self._state == "open":
                self._batch = taken.chunks()[::-1]
            del self

    def _answer(self, result: CollectedResponse[None]) -> CollectedResponse[T_co]:
        """The whole answer, with its value if a type was asked for."""
        try:
            if self._shape is None or result.tool_calls:
                return cast("CollectedResponse[T_co]", result)
            if self._misfit is not None:
                raise self._misfit.with_traceback(self._misfit_traceback)
            try:
                parsed: T_co = self._shape.parse(result)
            except APIError as error:
                error.partial = result
                error.attempts = self.response.attempts
                error.request_id = self.response.request_id
                forget_locals(error)
                self._misfit, self._misfit_traceback = error, error.__traceback__
                raise
            return msgspec.structs.replace(cast("CollectedResponse[T_co]", result), parsed=parsed)
        finally:
            del self

    # --- looking --------------------------------------------------------------------------

    @property
    def chat_ctx(self) -> ChatContext:
        """The conversation that is sent: a copy, as it was when `ChatModel.chat` was called.

        It is let go of when the request has ended, with the pictures in it.

        Raises:
            trio.ClosedResourceError: The request has ended.
        """
        if self._watch.has_let_go:
            raise trio.ClosedResourceError(
                "this stream has ended, and does not hold its conversation any more; read chat_ctx "
                "before, or keep what was given to chat()"
            )
        return self._watch.request.chat_ctx

    @property
    def tools(self) -> list[Tool[..., Any] | Toolset]:
        """The tools that were offered."""
        return list(self._watch.request.tools)

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts as far as the server has told, or None."""
        progress = self._watch.progress
        return None if progress is None else progress.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None before the end, or if the server did not say."""
        result = self._watch.result
        return None if result is None else result.finish_reason

    @property
    def truncated(self) -> bool:
        """Whether the complete answer was cut short (see `CollectedResponse.truncated`)."""
        result = self._watch.result
        return result is not None and result.truncated

    @property
    def withheld_calls(self) -> list[FunctionToolCall]:
        """Calls that were cut off and therefore not handed out."""
        result = self._watch.result
        return [] if result is None else list(result.withheld_calls)

    @property
    def response(self) -> ResponseInfo:
        """What is known of the request so far: status, request id, quota, attempts."""
        progress = self._watch.progress
        return ResponseInfo() if progress is None else progress.response

    @property
    def metrics(self) -> LLMMetrics | None:
        """What the request has measured so far, also after it failed or was cancelled; None before
        it has begun, which it does when the block that entered the stream first waits."""
        return self._watch.metrics(trio.current_time)

    def __repr__(self) -> str:
        model = self._watch.request.model
        return f"<LLMStream {model} {self._state}, {self._outlet.count} chunks>"


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class ChatCall(Value):
    """The arguments of one `ChatModel.chat`, as a value."""

    chat_ctx: ChatContext
    """The conversation."""

    tools: tuple[Tool[..., Any] | Toolset, ...] = ()
    """Functions the model may call."""

    conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    """Clocks and retries."""

    parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN
    """Whether the model may make several calls at once."""

    tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN
    """Whether, or which, function must be called."""

    response_format: NotGivenOr[Any] = NOT_GIVEN
    """A type, or a raw mapping."""

    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN
    """How urgent the request is to the gateway."""

    extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN
    """Further options of the request."""

    early_tool_calls: bool = False
    """Whether a call is handed out as soon as it is complete."""

    instruments: tuple[Instrument, ...] = ()
    """Who is told of this call's requests, besides the model's own instruments."""

    @property
    def chosen_tool(self) -> object:
        """The ``tool_choice`` that the call asks for; None if it leaves it to the settings."""
        if is_given(self.tool_choice):
            return self.tool_choice
        if is_given(self.extra_kwargs):
            return self.extra_kwargs.get("tool_choice")
        return None


@public
class ChatModel(abc.ABC):
    """Anything that answers a conversation with a stream: an `LLM`, or several of them behind
    one interface. A subclass implements `stream`."""

    @property
    @abc.abstractmethod
    def model(self) -> str:
        """Name of the model."""

    @property
    @abc.abstractmethod
    def provider(self) -> str:
        """Who serves it."""

    @property
    def label(self) -> str:
        """Name for logs and metrics."""
        return f"{type(self).__module__.partition('.')[0]}.{type(self).__name__}"

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Who is told of the requests to this model, and of the tools of a turn with it."""
        return ()

    @property
    def converter(self) -> later.Converter | None:
        """What reads types of the program's own in answers; None if there is no such thing."""
        return None

    @abc.abstractmethod
    def stream(self, call: ChatCall) -> LLMStream[Any]:
        """Make the stream for a call of `chat`. Checks the arguments, and sends nothing yet."""

    @overload
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: type[T],
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[T]: ...
    @overload
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: NotGivenOr[ResponseFormat] = NOT_GIVEN,
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[None]: ...
    @overload
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: Any,
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[Any]: ...
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: NotGivenOr[Any] = NOT_GIVEN,
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[Any]:
        """Make a stream of the model's answer to a conversation. Sends nothing yet.

        The arguments are checked, and the conversation is taken as it is now: later changes to
        it do not matter.

        Args:
            chat_ctx: The conversation.
            response_format: The shape the answer must have: a class with typed fields (attrs,
                dataclass, ``TypedDict``, ``NamedTuple``, pydantic, msgspec), a list or a union
                of such; or a mapping that is sent as it is. `LLMStream.collect` then has the
                value in ``parsed``, and the stream is typed by it where the type is a class.
            tools: Functions the model may call.
            conn_options: Clocks and retries.
            parallel_tool_calls: Whether the model may make several calls at once.
            tool_choice: Whether, or which, function must be called.
            inference_class: How urgent the request is to the gateway.
            extra_kwargs: Further options of the request; they win over the instance's.
            early_tool_calls: Hand out a tool call as soon as its arguments form an object and a
                later one has begun or text has followed, in place of all together at the end. A
                server that then comes back to the call fails the stream with an
                `APIConnectionError`.
            instruments: Who is told of this call's requests, besides the model's own instruments.

        Raises:
            ValueError: An argument has a value that cannot be sent.
            TypeError: An argument has the wrong type.
        """
        if tools is not None and not isinstance(tools, Iterable):
            raise TypeError(
                f"tools={tools!r} is no list of tools; give functions decorated with function_tool"
            )
        return self.stream(
            ChatCall(
                chat_ctx=chat_ctx,
                tools=tuple(tools or ()),
                conn_options=conn_options,
                parallel_tool_calls=parallel_tool_calls,
                tool_choice=tool_choice,
                response_format=response_format,
                inference_class=inference_class,
                extra_kwargs=extra_kwargs,
                early_tool_calls=early_tool_calls,
                instruments=check_instruments(instruments),
            )
        )
