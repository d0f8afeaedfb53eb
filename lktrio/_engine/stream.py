"""`LLMStream`: a model's answer as it arrives, and what it tells of itself.

This module knows how chunks become text, values and the whole answer. It knows neither how an
answer is made (that is the source's job, whatever it is) nor how a stream lives (`_task_stream`).
"""

from __future__ import annotations

import io
import itertools
import time
import types
from collections.abc import AsyncIterator, Callable
from typing import (
    Any,
    Final,
    Generic,
    TypeVar,
    cast,
)

import msgspec
import trio

from lktrio._answers import (
    APIError,
    ChatChunk,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
    ResponseInfo,
    complete_error,
)
from lktrio._conversation import ChatContext
from lktrio._definitions import public
from lktrio._instruments import Instrument, LLMMetrics, RequestInfo, RequestMetrics
from lktrio._json import MISSING
from lktrio._schemas import AnswerShape, PartialValue
from lktrio._tools import Tool, Toolset

from .source import ChunkSink, ReportingSource, has_beside
from .task_stream import StreamTerms, TaskStream, forget_locals

__all__ = ["LLMStream", "call_on_output", "whole_answer"]

T_co = TypeVar("T_co", covariant=True)


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
_MOST_LOOSE_BYTES: Final = 1024 * 1024


class _Taken:
    """Chunks that `collect` has taken out of the channel, should its wait be given up.

    Of many, the texts are joined: what is kept grows with the answer, which is kept in any case,
    and neither with the number of its chunks nor with the payloads that they were made from.
    """

    def __init__(self, chunks: list[ChatChunk]) -> None:
        self._joined: list[ChatChunk] = []
        self._loose: list[list[ChatChunk]] = [chunks]
        self._count = len(chunks)
        self._size = 0
        # The text to which the next chunk may add.
        self._kind: str | None = None
        self._id: str = ""
        self._text = io.StringIO()

    def add(self, chunks: list[ChatChunk], size: int) -> None:
        """Take more, which were made from so many bytes."""
        self._loose.append(chunks)
        self._count += len(chunks)
        self._size += size
        if self._count > _MOST_LOOSE or self._size > _MOST_LOOSE_BYTES:
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
                self._joined.append(msgspec.structs.replace(chunk, raw_json=None))
            else:
                self._kind, self._id = kind, chunk.id
                self._text.write(getattr(chunk.delta, kind))
        self._loose, self._count, self._size = [], 0, 0

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
        or has_beside(delta)
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

    _terms = StreamTerms(
        "stream",
        "request",
        "chat()",
        "async with llm.chat(...) as stream",
        "; or, for the whole answer: await llm.chat(...).collect()",
    )

    def __init__(
        self,
        source: ReportingSource,
        *,
        request: RequestInfo,
        instruments: tuple[Instrument, ...] = (),
        shape: AnswerShape | None = None,
    ) -> None:
        self._metrics = RequestMetrics(request, instruments)
        self._sink = ChunkSink(self._metrics)
        super().__init__(self._sink)
        self._shape = shape
        self._values = _Values(shape)
        self._misfit: APIError | None = None
        self._misfit_traceback: types.TracebackType | None = None
        # None once nothing more comes of it: it holds the request's body.
        self._source: ReportingSource | None = source

    def _check_open(self) -> None:
        if self._source is not None:
            self._source.check_open()

    async def _run(self) -> None:
        metrics, source = self._metrics, self._source
        assert source is not None  # the stream is entered once
        metrics.progress = source
        metrics.start(trio.current_time(), time.time())
        error: Exception | None = None
        try:
            await source.run(self._sink)
        except Exception as exc:
            error = exc
            raise
        finally:
            metrics.finish(trio.current_time(), error)
            self._source = None

    def _let_go(self) -> None:
        self._source = None
        self._metrics.let_go()

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
        who iterates then, its texts joined to fewer chunks, without `ChatChunk.raw`.

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
            if self._state == "closed" and self._metrics.result is not None:
                await trio.lowlevel.checkpoint()
                return self._answer(self._metrics.result)
            return await self._collect()
        finally:
            del self

    async def _collect(self) -> CollectedResponse[T_co]:
        taken = _Taken(self._batch[::-1])
        self._batch = []
        has_ended = False
        try:
            while (batch := await self._take_batch()) is not None:
                taken.add(batch, batch.size)
            has_ended = True
            result = self._metrics.result
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
                info = self.response
                complete_error(
                    error, partial=result, attempts=info.attempts, request_id=info.request_id
                )
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
        if self._metrics.has_let_go:
            raise trio.ClosedResourceError(
                "this stream has ended, and does not hold its conversation any more; read chat_ctx "
                "before, or keep what was given to chat()"
            )
        return self._metrics.request.chat_ctx

    @property
    def tools(self) -> list[Tool[..., Any] | Toolset]:
        """The tools that were offered."""
        return list(self._metrics.request.tools)

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts as far as the server has told, or None."""
        progress = self._metrics.progress
        return None if progress is None else progress.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None before the end, or if the server did not say."""
        result = self._metrics.result
        return None if result is None else result.finish_reason

    @property
    def truncated(self) -> bool:
        """Whether the complete answer was cut short (see `CollectedResponse.truncated`)."""
        result = self._metrics.result
        return result is not None and result.truncated

    @property
    def withheld_calls(self) -> list[FunctionToolCall]:
        """Calls that were cut off and therefore not handed out."""
        result = self._metrics.result
        return [] if result is None else list(result.withheld_calls)

    @property
    def response(self) -> ResponseInfo:
        """What is known of the request so far: status, request id, quota, attempts."""
        progress = self._metrics.progress
        return ResponseInfo() if progress is None else progress.response

    @property
    def metrics(self) -> LLMMetrics | None:
        """What the request has measured so far, also after it failed or was cancelled; None before
        it has begun, which it does when the block that entered the stream first waits."""
        return self._metrics.snapshot(trio.current_time)

    def __repr__(self) -> str:
        model = self._metrics.request.model
        return f"<LLMStream {model} {self._state}, {self._sink.count} chunks>"


def whole_answer(stream: LLMStream[Any]) -> CollectedResponse[None] | None:
    """The answer of a stream as it came; None if it is not whole.

    Not by `LLMStream.collect`, which refuses one that does not fit the ``response_format``: that is
    the outer stream's to do, when it is asked to.
    """
    return stream._metrics.result  # pyright: ignore[reportPrivateUsage]


def call_on_output(stream: LLMStream[Any], function: Callable[[], object]) -> None:
    """Have a function called, in the stream's task, when the first output is there."""
    stream._metrics.on_output = function  # pyright: ignore[reportPrivateUsage]
