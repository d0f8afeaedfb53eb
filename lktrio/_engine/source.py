"""`ChunkSource` and `ChunkSink`: what makes the chunks of an answer, and where it puts them.

This module knows what a model needs to know of the stream that it answers in. How a stream lives
and what it tells of itself is known elsewhere.
"""

from __future__ import annotations

import abc
import io
import math
from collections.abc import Sequence
from typing import Any, Final

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
from lktrio._definitions import public
from lktrio._instruments import Progress, RequestMetrics
from lktrio._settings import APIConnectOptions
from lktrio._wire import Beside

from .clocks import AttemptRecord, timeout_error
from .task_stream import Channel

__all__ = [
    "ChunkSink",
    "ChunkSource",
    "ReportingSource",
    "SingleAttempt",
    "has_beside",
    "size_beside",
    "weight",
]

_EVENT_BYTES: Final = 200
"""What a chunk takes on the wire besides its text, about."""

_USUAL_BYTES: Final = 2048
"""A payload that is larger counts as a whole."""


def weight(chunk: ChatChunk) -> int:
    """About how many bytes of a body a chunk was made from."""
    size = _EVENT_BYTES
    delta = chunk.delta
    if delta is not None:
        size += (
            len(delta.content or "")
            + len(delta.reasoning or "")
            + len(delta.refusal or "")
            + sum(len(call.arguments) for call in delta.tool_calls)
            + size_beside(delta)
        )
    raw = chunk.raw_json
    return size if raw is None or len(raw) <= _USUAL_BYTES else max(size, len(raw))


def size_beside(delta: ChoiceDelta) -> int:
    """About how many bytes a delta's speech, pictures and the like take."""
    if not has_beside(delta):
        return 0
    beside = Beside()
    return beside.add(delta) + beside.audio_bytes


def has_beside(delta: ChoiceDelta) -> bool:
    """Whether a delta has more than text and calls: speech, pictures and the like."""
    return not (
        delta.logprobs is None
        and delta.annotations is None
        and delta.audio is None
        and delta.images is None
        and delta.reasoning_details is None
    )


@public
class ChunkSink(Channel[ChatChunk]):
    """Where a `ChunkSource` puts the chunks of an answer; the consumer of the stream gets them.

    Not to be constructed: `ChunkSource.run` is handed one. A source that makes chunks one by one
    uses `send`. One that has many at once uses `put`, and waits by `room` when `is_full`.

    Args:
        metrics: Is told what happens to the request.
    """

    def __init__(self, metrics: RequestMetrics) -> None:
        super().__init__()
        self.metrics = metrics
        """Is told what happens to the request. (For the library's own sources.)"""
        self.collecting: _Collecting | None = None
        """What the chunks come to, if nobody else puts them together."""

    async def send(self, chunk: ChatChunk) -> None:
        """Hand on one chunk, and wait as long as the consumer is behind (by more than 64 KiB).

        A checkpoint, so that a source that only computes lets other tasks run.
        """
        self.put((chunk,))
        if self.is_full:
            await self.room()
        else:
            await trio.lowlevel.checkpoint()

    def put(self, values: Sequence[ChatChunk], size: int | None = None) -> None:
        """Hand on chunks. Never blocks.

        Args:
            values: The chunks, in order.
            size: How many bytes they were made from; about as many if it is left out.
        """
        super().put(values, sum(map(weight, values)) if size is None else size)
        if self.collecting is not None and self.collecting.take(values):
            self.got_output()

    def got_output(self) -> None:
        """Say that the first output is there: of a tool call, this is long before its chunk.

        Output ends the time of ``first_output_timeout``. A chunk that holds text, a refusal or a
        call says so by itself.
        """
        self.metrics.got_output(trio.current_time())
        if self.collecting is not None:
            self.collecting.got_output(trio.current_time())

    def complete(self, answer: CollectedResponse[None]) -> None:
        """Say that the answer is whole. The consumer's iteration ends after what was put.

        A source that returns has said so, too; then the answer is what its chunks come to.

        Args:
            answer: The whole answer.
        """
        self.metrics.completed(trio.current_time(), answer)
        self.finish()


@public
class ChunkSource(abc.ABC):
    """Makes the chunks of one answer. What a `ChatModel` of your own has at its heart.

    ::

        class Echo(lktrio.ChunkSource):
            def __init__(self, call: lktrio.ChatCall) -> None:
                self._text = call.chat_ctx.items[-1].text_content

            async def run(self, sink: lktrio.ChunkSink) -> None:
                for word in self._text.split():
                    await sink.send(lktrio.ChatChunk(delta=lktrio.ChoiceDelta(content=word)))

    `ChatModel.make_stream` makes an `LLMStream` of it. That stream runs it once, in a task of its
    own; keeps ``first_output_timeout`` and ``total_timeout`` of the call; and cancels it when the
    consumer leaves. Resources that it needs are ``async with`` blocks in `run`.
    """

    @abc.abstractmethod
    async def run(self, sink: ChunkSink) -> None:
        """Put chunks until the answer is whole, and return; raise what prevented it.

        Args:
            sink: Where the chunks go.

        Raises:
            APIError: The answer could not be had. An adapter over several models may ask the next
                one then. Any other exception is raised to the consumer as it is.
        """

    def check_open(self) -> None:  # noqa: B027 - most sources need not look
        """Raise `RuntimeError` if no answer can be made here and now. Called when the stream is
        entered, before anything runs."""


class ReportingSource(ChunkSource, Progress):
    """A source that keeps the clocks by itself, and tells how far it is."""


class _Collecting:
    """What the chunks of a source come to."""

    def __init__(
        self, scope: trio.CancelScope, total: float, record: AttemptRecord, *, counts: bool
    ) -> None:
        self._reasoning_counts = counts
        self.usage: CompletionUsage | None = None
        self.id: str = ""
        self.finish_reason: str | None = None
        self.has_begun: bool = False
        self._scope = scope
        self._total = total
        self._record = record
        self._clear()

    def _clear(self) -> None:
        self._texts = {name: io.StringIO() for name in ("content", "reasoning", "refusal")}
        self._calls: list[FunctionToolCall] = []
        self._extra: dict[str, Any] = {}
        self._beside = Beside()

    def take(self, chunks: Sequence[ChatChunk]) -> bool:
        """Take what was put; return whether there is output in it."""
        has_output = False
        for chunk in chunks:
            self.has_begun = True
            self.id = chunk.id or self.id
            self.usage = chunk.usage or self.usage
            self.finish_reason = chunk.finish_reason or self.finish_reason
            if chunk.restart:
                self._clear()
            delta = chunk.delta
            if delta is not None:
                for name, text in self._texts.items():
                    text.write(getattr(delta, name) or "")
                self._calls.extend(delta.tool_calls)
                self._extra.update(delta.extra or {})
                if has_beside(delta):
                    self._beside.add(delta)
                has_output |= chunk.has_response()
                has_output |= self._reasoning_counts and bool(delta.reasoning)
        return has_output

    def got_output(self, now: float) -> None:
        """The first output is there: of the clocks, the total one is left."""
        if self._record.first_output is None:
            self._record.first_output = now
            self._scope.deadline = self._total

    def answer(self) -> CollectedResponse[None]:
        """The answer as far as it has come."""
        return CollectedResponse(
            text=self._texts["content"].getvalue(),
            tool_calls=list(self._calls),
            usage=self.usage,
            extra=dict(self._extra),
            finish_reason=self.finish_reason,
            reasoning=self._texts["reasoning"].getvalue(),
            refusal=self._texts["refusal"].getvalue(),
            truncated=self.finish_reason == "length",
            **self._beside.members(),
        )


class SingleAttempt(ReportingSource):
    """Runs a source of a program's own as the one attempt of a request, by the call's clocks.

    Args:
        source: The source.
        model: Name of the model.
        options: The call's clocks.
    """

    def __init__(self, source: ChunkSource, model: str, options: APIConnectOptions) -> None:
        self._source: ChunkSource | None = source
        self._model = model
        self._options = options
        self._epoch = 0.0
        self._record: AttemptRecord | None = None
        self._collecting: _Collecting | None = None

    def check_open(self) -> None:
        """Raise `RuntimeError` if no answer can be made here and now."""
        if self._source is not None:
            self._source.check_open()

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts so far."""
        return None if self._collecting is None else self._collecting.usage

    @property
    def response(self) -> ResponseInfo:
        """The request so far."""
        collecting = self._collecting
        if collecting is None or self._record is None:
            return ResponseInfo()
        return ResponseInfo(
            response_id=collecting.id or None,
            model=self._model if collecting.has_begun else None,
            attempts=(self._record.freeze(self._epoch),),
        )

    def conclude(self) -> CollectedResponse[None] | None:
        """The answer if it is whole, although the source was ended before it returned."""
        collecting = self._collecting
        if collecting is None or collecting.finish_reason is None:
            return None
        return collecting.answer()

    async def run(self, sink: ChunkSink) -> None:
        """Run the source.

        Raises:
            APIError: The source raised it, or a clock ran out.
        """
        assert self._source is not None  # a stream runs its source once
        epoch = self._epoch = trio.current_time()
        record = self._record = AttemptRecord(1, epoch)
        first_output = epoch + _or_infinite(self._options.first_output_timeout)
        total = epoch + _or_infinite(self._options.total_timeout)
        scope = trio.CancelScope(deadline=min(first_output, total))
        collecting = self._collecting = sink.collecting = _Collecting(
            scope, total, record, counts=self._options.reasoning_is_output
        )
        sink.metrics.attempt_started(1)
        try:
            with scope:
                await self._source.run(sink)
            if scope.cancelled_caught:
                raise timeout_error("total" if scope.deadline == total else "first_output")
        except APIError as error:
            record.error = f"{type(error).__name__}: {error}"
            record.ended = trio.current_time()
            complete_error(
                error,
                partial=collecting.answer(),
                attempts=(record.freeze(epoch),),
                was_delivered=record.first_output is not None,
            )
            sink.metrics.attempt_failed(record.freeze(epoch), error, None)
            raise
        finally:
            if record.ended is None:
                record.ended = trio.current_time()
            # What it holds may be large: a conversation with pictures.
            self._source = None
        if not sink.is_complete:
            sink.complete(collecting.answer())


def _or_infinite(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
