"""An answer on its way: from a response's body to a stream's consumer, by the clocks.

This module knows what is to be done each time bytes have come, when the reading of a body is over
and what its end means. It does not know what is asked, and what comes after a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio

from ._answer import AnswerReader
from ._assembler import Assembler
from ._chunks import ChatChunk
from ._clocks import Clocks
from ._connections import BodyEnds
from ._errors import APIConnectionError, APIError
from ._http import HTTPResponse
from ._source import ChunkSink
from ._task_stream import forget_frames

__all__ = ["DRAIN_SECONDS", "Reading"]

DRAIN_SECONDS: Final = 0.1
"""How long the body may take to end after ``[DONE]`` for its connection to be used again."""


class Reading:
    """Reads the body of one response.

    Args:
        response: The response.
        assembler: Puts the answer together.
        sink: Where the chunks go.
        clocks: The attempt's clocks.
        body_ends: Whether the end of the body is worth waiting for.
        has_output: Whether what has arrived counts as output.
    """

    def __init__(
        self,
        response: HTTPResponse,
        assembler: Assembler,
        sink: ChunkSink,
        *,
        clocks: Clocks,
        body_ends: BodyEnds,
        has_output: Callable[[], bool],
    ) -> None:
        self.is_over = False
        """Whether nothing more is to be read: the answer is complete."""
        self._response = response
        self._assembler = assembler
        self._reader = AnswerReader(assembler)
        self._sink = sink
        self._clocks = clocks
        self._body_ends = body_ends
        self._has_output = has_output
        self._waits_for_output = True
        self._has_ended = False
        self._is_draining = False

    async def read(self) -> None:
        """Read until the answer is complete, and for a moment longer until the body ends; or until
        the deadline of the scope has passed in which this runs.

        Raises:
            APIError: The answer is not complete.
        """
        clocks, sink, reader = self._clocks, self._sink, self._reader
        while not self.is_over:
            if reader.is_behind:
                await self._go_on()
            elif self._has_ended:
                self.is_over = True
            else:
                await self._read_on()
            if reader.is_done:
                self._drain_or_stop()
                continue
            now = trio.current_time()
            if clocks.is_spent:
                # What had come before is read first: see `catch_up`.
                if not reader.is_behind:
                    clocks.check_lasting(now)
                return
            if sink.is_full:
                clocks.pause(now)
                await sink.room()
                clocks.resume(trio.current_time())

    async def catch_up(self) -> None:
        """Read what had come before a clock ran out, and look what that has come to.

        Raises:
            APIError: The answer is not complete.
        """
        while self._reader.is_behind:
            await self._go_on()
        if self._reader.is_done:
            if self._is_draining:
                self._body_ends.was_held()
            self.is_over = True
        elif self._reader.is_complete:
            self._end(self._reader.settle)
            self.is_over = True
        else:
            raise self._clocks.timed_out()

    async def _go_on(self) -> None:
        """Go on with what has come: nothing that a server sends keeps other tasks waiting."""
        await trio.lowlevel.checkpoint()
        self._take(b"")

    async def _read_on(self) -> None:
        reader = self._reader
        try:
            data = await self._response.read()
        except APIConnectionError:
            self._has_ended = True
            if not reader.is_complete:
                raise
            self._end(reader.settle)
            return
        if data is None:
            self._has_ended = True
            if self._is_draining:
                self._body_ends.ended()
            self._end(reader.finish)
        elif not reader.is_done:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Read bytes of the body."""
        reader, clocks = self._reader, self._clocks
        now = trio.current_time()
        chunks: list[ChatChunk] = []
        try:
            reader.feed(data, chunks)
        except APIError as exc:
            forget_frames(exc)
            raise
        finally:
            self._sink.put(chunks, len(data) or _size(chunks))
            self._note_output(now)
        if reader.is_done:
            self._complete(now)
        elif self._assembler.finish_reason is None:
            clocks.heard(now)
        elif chunks or not clocks.is_settling:
            clocks.settle(now)

    def _note_output(self, now: float) -> None:
        if self._waits_for_output and self._has_output():
            self._waits_for_output = False
            self._clocks.got_output(now)
            self._sink.metrics.got_output(now)

    def _complete(self, now: float) -> None:
        self._clocks.complete(now)
        self._sink.complete(self._assembler.snapshot())

    def _drain_or_stop(self) -> None:
        """The answer is complete. If the body ends too, the connection can be used again."""
        if self._is_draining and not self._has_ended:
            return
        if self._has_ended:
            self.is_over = True
        elif self._response.at_end:
            self._body_ends.ended()
            self.is_over = True
        elif not self._clocks.is_spent and self._body_ends.is_worth_waiting_for():
            self._is_draining = True
            self._clocks.wait_until(trio.current_time() + DRAIN_SECONDS)
        else:
            self.is_over = True

    def _end(self, how: Callable[[list[ChatChunk]], None]) -> None:
        """The body gives no more: complete the answer, or raise what is wrong with it."""
        if self._reader.is_done:
            return
        chunks: list[ChatChunk] = []
        try:
            how(chunks)
        finally:
            self._sink.put(chunks, 0)
        now = trio.current_time()
        # A completion in one piece comes to light here.
        self._note_output(now)
        if self._reader.is_done:
            self._complete(now)


def _size(chunks: Sequence[ChatChunk]) -> int:
    """About how large chunks are that are not made of bytes just read."""
    deltas = [chunk.delta for chunk in chunks if chunk.delta is not None]
    return sum(len(delta.content or "") + len(delta.reasoning or "") for delta in deltas)
