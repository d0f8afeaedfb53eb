"""A stream's lifetime: one nursery, one request task, a memory channel of lists of chunks.

This module knows what `async with` promises, how chunks get from the request task to whoever
iterates, and what misuse looks like. It does not know how a request is made: that is the
source's job, whatever it is.
"""

from __future__ import annotations

import abc
import logging
import types
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import (
    Any,
    Final,
    Generic,
    NoReturn,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

import attrs
import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task, enable_ki_protection

from ._chat_context import ChatContext
from ._chunks import ChatChunk, CollectedResponse, CompletionUsage, FunctionToolCall
from ._errors import APIError
from ._not_given import NOT_GIVEN, NotGivenOr
from ._options import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    ChatCompletionOptions,
    InferenceClass,
    ResponseFormat,
    ToolChoice,
)
from ._partial_json import MISSING
from ._response import ResponseInfo
from ._response_format import AnswerShape, PartialValue
from ._tools import Tool, Toolset

__all__ = [
    "MAX_UNDELIVERED_BYTES",
    "ChatCall",
    "ChatModel",
    "LLMStream",
    "Outlet",
    "Progress",
    "Source",
]

logger = logging.getLogger("lktrio")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_UNDELIVERED_BYTES: Final = 64 * 1024
"""Bytes of the body whose chunks may wait in one list; a stream has two lists at most."""


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


class _Batch(deque[ChatChunk]):
    """Chunks on their way. The request task adds to it until the consumer has taken it."""

    __slots__ = ("size", "taken")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.taken = False


class Outlet:
    """The request task's end of a stream.

    A list of chunks is sent through the channel and keeps growing until the consumer takes it:
    in effect one list per network read for a consumer that keeps up, and longer ones for one
    that does not. A send and a receive for every chunk would cost ten times as much.
    """

    def __init__(self) -> None:
        # The list in the channel is the only one that is not taken, so one place is enough.
        self._send, self.receive = trio.open_memory_channel[_Batch](1)
        self._batch = _Batch()
        self._batch.taken = True
        self.progress: Progress | None = None
        """What is known so far; set by the source."""
        self.result: CollectedResponse[None] | None = None
        """The answer, once it is complete."""
        self.chunks = 0
        """How many chunks have been put."""

    def put(self, chunks: Sequence[ChatChunk], size: int) -> None:
        """Hand on chunks that were made from this many bytes. Never blocks."""
        if not chunks:
            return
        batch = self._batch
        if batch.taken:
            batch = self._batch = _Batch()
            batch.extend(chunks)
            self._send.send_nowait(batch)
        else:
            batch.extend(chunks)
        batch.size += size
        self.chunks += len(chunks)

    @property
    def is_full(self) -> bool:
        """Whether the next thing to do is to wait for `room`."""
        batch = self._batch
        return batch.size > MAX_UNDELIVERED_BYTES and not batch.taken

    async def room(self) -> None:
        """Wait until the consumer has taken what it was sent.

        What is sent is a fresh list, to be filled later: the task waits with nothing in its
        hands, so that a cancellation here loses nothing.
        """
        batch = _Batch()
        await self._send.send(batch)
        self._batch = batch

    def complete(self, result: CollectedResponse[None]) -> None:
        """Say that the answer is whole. The consumer's iteration ends after what was put."""
        self.result = result
        self._send.close()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._send.close()


class Source(Protocol):
    """Makes a stream's chunks, in the stream's request task."""

    def check_open(self) -> None:
        """Raise `RuntimeError` if a request cannot be made here and now."""

    async def run(self, outlet: Outlet, deadline: float) -> None:
        """Put chunks until the answer is complete; raise what prevented it.

        Args:
            outlet: Where the chunks go.
            deadline: The caller's deadline as it was where the stream was entered.
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
        while True:
            delta = (await step()).delta
            if delta is not None and delta.content:
                return delta.content


class _PartialValues:
    """Iterates over the values of a structured answer that is still arriving."""

    __slots__ = ("_is_over", "_partial", "_stream")

    def __init__(self, stream: LLMStream[Any], shape: AnswerShape | None) -> None:
        self._stream = stream
        self._partial = PartialValue(shape)
        self._is_over = False

    def __aiter__(self) -> _PartialValues:
        return self

    async def __anext__(self) -> Any:
        if self._is_over:
            raise StopAsyncIteration
        async for text in self._stream.text:
            value = self._partial.feed(text)
            if value is not MISSING:
                return value
        self._is_over = True
        return (await self._stream.collect()).parsed


class LLMStream(Generic[T_co]):
    """One answer of a model, as it arrives. Made by `ChatModel.chat`; not to be constructed.

    ::

        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for chunk in stream:
                ...

    Entering opens a nursery and starts the request; leaving, in whatever way, cancels what is
    left of it and waits until nothing is alive: no task, no connection that is not idle in the
    pool. Leaving early closes the connection, so the server stops generating.

    A wait may be given up (``with trio.move_on_after(...): await anext(stream)``) and asked
    again; nothing is lost. The consumer's pace is the stream's pace: at most two lists of
    `MAX_UNDELIVERED_BYTES` plus one read of 64 KiB wait for it, besides the answer's own text,
    which is kept for `APIError.partial` and `collect`.

    Iterating raises:

    * `APIError`: the request failed. What had arrived is delivered first, and is in
      ``error.partial``.
    * `RuntimeError`: the stream was not entered.
    * `trio.ClosedResourceError`: the stream was left, or its owner was cancelled.
    * `trio.BusyResourceError`: another task is waiting in the same stream.

    A call to ``__anext__`` is a cancel point; it is a schedule point once per network read.
    """

    def __init__(
        self,
        source: Source,
        *,
        label: str,
        chat_ctx: ChatContext,
        tools: Sequence[Tool[..., Any] | Toolset] = (),
        shape: AnswerShape | None = None,
    ) -> None:
        self._shape = shape
        self._source = source
        self._label = label
        self._chat_ctx = chat_ctx
        self._tools = tuple(tools)
        self._state = "new"
        self._outlet = Outlet()
        self._batch: deque[ChatChunk] = deque()
        self._receiving = False
        self._failure: Exception | None = None
        self._failure_seen = False
        self._owner: trio.lowlevel.Task | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._text = _Text(self)

    # --- lifetime -------------------------------------------------------------------------

    @enable_ki_protection
    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError(
                f"this stream is {self._state}; a stream is entered once. "
                "Make another one with chat()"
            )
        self._source.check_open()
        self._state = "open"
        self._owner = current_task()
        deadline = trio.current_effective_deadline()
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._request_task, deadline, name=f"request of {self!r}")
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        nursery, manager = self._nursery, self._manager
        if nursery is None or manager is None:
            raise RuntimeError("this stream was not entered; write: async with llm.chat(...)")
        if current_task() is not self._owner:
            # Trio's own state must not be touched from here: the whole run would die.
            self._scope.cancel()
            raise RuntimeError(
                "a stream must be left by the task that entered it; its request has been cancelled"
            )
        try:
            if exc is None and self._outlet.result is not None:
                # The answer is whole. The rest of the body is worth a moment: if it ends, the
                # connection can be used again.
                await self._ended.wait()
        finally:
            self._manager = self._nursery = None
            self._state = "closed"
            # Without the shield, a cancellation from outside would replace the exception that
            # is on its way out of the block.
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.cancel()
            try:
                await manager.__aexit__(None, None, None)
            except BaseExceptionGroup as group:
                # A Ctrl-C that came while we waited; nothing else can be in it.
                raise _only_leaf(group) from None
            finally:
                self._outlet.receive.close()
                self._batch = deque()
        if self._failure is not None and not self._failure_seen:
            logger.warning("%r was left without looking at its failure: %r", self, self._failure)

    async def aclose(self) -> None:
        """Stop the request and wait until it is gone. May be called at any time, by any task.

        `async with` does the same and more: the block must still be left.
        """
        if self._state == "new":
            self._state = "closed"
        if self._state == "open":
            self._state = "closed"
            self._scope.cancel()
            await self._ended.wait()
            self._outlet.receive.close()
            self._batch = deque()
        else:
            await trio.lowlevel.checkpoint()

    @enable_ki_protection
    async def _request_task(self, deadline: float) -> None:
        try:
            with self._scope:
                await self._source.run(self._outlet, deadline)
        except Exception as exc:  # noqa: BLE001 - raised by __anext__, where it can be caught bare
            if self._outlet.result is None:
                self._failure = exc
        finally:
            self._outlet.close()
            self._ended.set()

    # --- consuming ------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        if self._batch:
            await checkpoint_if_cancelled()
        else:
            batch = await self._take_batch()
            if batch is None:
                raise StopAsyncIteration
            self._batch = batch
        return self._batch.popleft()

    async def _take_batch(self) -> deque[ChatChunk] | None:
        """Wait for the next list of chunks that is not empty; None at the end."""
        self._check_usable()
        if self._receiving:
            raise trio.BusyResourceError(
                "another task is waiting for this stream; let one task iterate and pass on "
                "what it gets, for example through a memory channel"
            )
        self._receiving = True
        try:
            while True:
                batch = await self._outlet.receive.receive()
                batch.taken = True
                if batch:
                    return batch
        except (trio.EndOfChannel, trio.ClosedResourceError):
            pass
        finally:
            self._receiving = False
        self._check_usable()
        self._raise_failure()
        return None

    def _check_usable(self) -> None:
        if self._state == "new":
            raise RuntimeError(
                "this stream was not entered; write: async with llm.chat(...) as stream"
            )
        if self._state == "closed":
            self._raise_closed()

    def _raise_failure(self) -> None:
        """At the end of the channel: raise unless the answer is complete."""
        if self._outlet.result is None:
            if self._failure is None:
                self._raise_closed()
            self._failure_seen = True
            raise self._failure

    @staticmethod
    def _raise_closed() -> NoReturn:
        raise trio.ClosedResourceError(
            "this stream was left, or its owner was cancelled; make another one with chat()"
        )

    @property
    def text(self) -> AsyncIterator[str]:
        """The answer's text as an iterator of strings, none of them empty.

        It consumes the stream: chunks that hold no text are passed over.
        """
        return self._text

    @property
    def partial_values(self) -> AsyncIterator[Any]:
        """The best values of a structured answer while it arrives, each better than the last.

        They are plain JSON values in which what has not arrived is absent and nothing is made
        up: a string grows, a number counts when it has ended. The last value is the whole
        answer as the type that was asked for (None if none was).

        It consumes the stream. At the end it raises what `collect` raises.
        """
        return _PartialValues(self, self._shape)

    async def collect(self) -> CollectedResponse[T_co]:
        """Read to the end and return the whole answer, what was iterated before included.

        This is the one call that may be made on a stream that was not entered; it then enters
        and leaves it.

        Raises:
            APIError: The request failed.
            APIResponseFormatError: The answer is not of the type asked for as
                ``response_format``.
            APIRefusalError: The model declined to give one.
        """
        if self._state == "new":
            async with self:
                return await self._collect()
        return await self._collect()

    async def _collect(self) -> CollectedResponse[T_co]:
        self._batch = deque()
        while await self._take_batch() is not None:
            pass
        result = self._outlet.result
        assert result is not None  # else _take_batch would have raised
        if self._shape is None or result.tool_calls:
            return cast("CollectedResponse[T_co]", result)
        try:
            parsed: T_co = self._shape.parse(result)
        except APIError as error:
            error.partial = result
            error.attempts = self.response.attempts
            error.request_id = self.response.request_id
            raise
        return attrs.evolve(cast("CollectedResponse[T_co]", result), parsed=parsed)

    # --- looking --------------------------------------------------------------------------

    @property
    def chat_ctx(self) -> ChatContext:
        """The conversation that was sent: a copy, as it was when `chat` was called."""
        return self._chat_ctx

    @property
    def tools(self) -> list[Tool[..., Any] | Toolset]:
        """The tools that were offered."""
        return list(self._tools)

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts as far as the server has told, or None."""
        progress = self._outlet.progress
        return None if progress is None else progress.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None before the end, or if the server did not say."""
        result = self._outlet.result
        return None if result is None else result.finish_reason

    @property
    def truncated(self) -> bool:
        """Whether the complete answer was cut short (see `CollectedResponse.truncated`)."""
        result = self._outlet.result
        return result is not None and result.truncated

    @property
    def withheld_calls(self) -> list[FunctionToolCall]:
        """Calls that were cut off and therefore not handed out."""
        result = self._outlet.result
        return [] if result is None else list(result.withheld_calls)

    @property
    def error(self) -> Exception | None:
        """What the request failed with, or None. Reading it counts as having seen it."""
        if self._failure is not None:
            self._failure_seen = True
        return self._failure

    @property
    def response(self) -> ResponseInfo:
        """What is known of the request so far: status, request id, quota, attempts."""
        progress = self._outlet.progress
        return ResponseInfo() if progress is None else progress.response

    def __repr__(self) -> str:
        return f"<LLMStream {self._label} {self._state}, {self._outlet.chunks} chunks>"


def _only_leaf(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = cast("BaseExceptionGroup[BaseException]", exc).exceptions[0]
    return exc


@attrs.frozen(kw_only=True)
class ChatCall:
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

        Raises:
            ValueError: An argument has a value that cannot be sent.
            TypeError: An argument has the wrong type.
        """
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
            )
        )
