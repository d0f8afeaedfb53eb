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
from ._errors import APIConnectionError
from ._gateway import BodyEnds
from ._stream import Outlet
from ._transport import HTTPReply

__all__ = ["DRAIN_SECONDS", "Reading"]

DRAIN_SECONDS: Final = 0.1
"""How long the body may take to end after ``[DONE]`` for its connection to be used again."""


class Reading:
    """Reads the body of one response.

    Args:
        reply: The response.
        assembler: Puts the answer together.
        outlet: Where the chunks go.
        clocks: The attempt's clocks.
        body_ends: Whether the end of the body is worth waiting for.
        has_output: Whether what has arrived counts as output.
    """

    def __init__(
        self,
        reply: HTTPReply,
        assembler: Assembler,
        outlet: Outlet,
        *,
        clocks: Clocks,
        body_ends: BodyEnds,
        has_output: Callable[[], bool],
    ) -> None:
        self._reply = reply
        self._assembler = assembler
        self._reader = AnswerReader(assembler)
        self._outlet = outlet
        self._clocks = clocks
        self._body_ends = body_ends
        self._has_output = has_output
        self._waits_for_output = True
        self._is_draining = False
        self._is_over = False
        self._has_more = True
        self._has_told_end = False
        self._lost: APIConnectionError | None = None
        self._has_finished = False
        self._failure: Exception | None = None

    async def begin(self) -> None:
        """Read in the scope in which the request was sent, until that is spent."""
        if not self._clocks.is_spent:
            self._has_finished = await self._read_until_spent()

    async def finish(self, begun_in: trio.CancelScope) -> None:
        """Read until the answer is complete, and for a moment longer until the body ends.

        Args:
            begun_in: The scope in which the reading was begun; it has been left.

        Raises:
            APIError: The answer is not complete.
        """
        scope = begun_in
        await self._catch_up(scope)
        while not self._is_finished(scope):
            # One turn for each scope that is spent: if the program blocks its own loop for
            # longer than a clock, the deadline passes although the bytes are there.
            with self._clocks.scope() as scope:
                self._has_finished = await self._read_until_spent()
            await self._catch_up(scope)

    async def _catch_up(self, scope: trio.CancelScope) -> None:
        """Read what had come before a clock ran out."""
        if scope.cancelled_caught:
            while self._reader.is_behind and not self._is_over:
                await self._go_on()

    def _is_finished(self, scope: trio.CancelScope) -> bool:
        """What a scope has come to that has been left."""
        if self._failure is not None:
            raise self._failure
        if scope.cancelled_caught:
            self._give_up()
            return True
        return self._has_finished

    async def _read_until_spent(self) -> bool:
        """Read until nothing more is to be read (True) or the scope's deadline has passed."""
        clocks, outlet, reader = self._clocks, self._outlet, self._reader
        while not self._is_over:
            if reader.is_behind:
                await self._go_on()
            elif self._has_more:
                await self._read_on()
            elif not self._has_told_end:
                self._tell_end()
            else:
                break
            if reader.is_done:
                continue
            now = trio.current_time()
            if clocks.is_spent:
                # What had come before is read first: see `_catch_up`.
                if not reader.is_behind:
                    clocks.check_lasting(now)
                return False
            if outlet.is_full:
                clocks.pause(now)
                await outlet.room()
                clocks.resume(trio.current_time())
        return True

    async def _read_on(self) -> None:
        try:
            self._has_more = await self._reply.read_on(self._take, self._wants_pause)
        except APIConnectionError as exc:
            # Raised when what came before it has been read.
            self._lost, self._has_more = exc, False

    async def _go_on(self) -> None:
        """Go on with what has come: nothing that a server sends keeps other tasks waiting."""
        await trio.lowlevel.checkpoint()
        self._take(b"")

    def _tell_end(self) -> None:
        """Tell the reader that the body gives no more."""
        self._has_told_end = True
        if self._lost is None:
            if self._is_draining:
                self._body_ends.ended()
            self._end(self._reader.finish)
        elif self._reader.is_complete:
            self._end(self._reader.settle)
        else:
            raise self._lost

    def _take(self, data: bytes) -> None:
        """Read bytes of the body. Raises nothing, because a wait for more may have begun."""
        reader, clocks, assembler = self._reader, self._clocks, self._assembler
        if self._is_over or reader.is_done:
            return
        now = trio.current_time()
        chunks: list[ChatChunk] = []
        try:
            reader.feed(data, chunks)
        except Exception as exc:  # noqa: BLE001 - raised as soon as the wait is over
            self._failure = exc
        self._outlet.put(chunks, len(data) or _size(chunks))
        self._note_output(now)
        if self._failure is not None:
            self._stop()
        elif reader.is_done:
            self._complete(now)
            self._drain_or_stop(now)
        elif assembler.finish_reason is None:
            clocks.heard(now)
        elif chunks or not clocks.is_settling:
            clocks.settle(now)

    def _wants_pause(self) -> bool:
        """Whether something else is to be done before more is waited for."""
        reader = self._reader
        return not reader.is_done and (
            self._outlet.is_full or self._clocks.is_spent or reader.is_behind
        )

    def _note_output(self, now: float) -> None:
        if self._waits_for_output and self._has_output():
            self._waits_for_output = False
            self._clocks.got_output(now)
            self._outlet.watch.got_output(now)

    def _complete(self, now: float) -> None:
        self._clocks.complete(now)
        self._outlet.complete(self._assembler.snapshot())

    def _drain_or_stop(self, now: float) -> None:
        """The answer is complete. If the body ends too, the connection can be used again."""
        if self._reply.at_end or not self._has_more:
            return
        if not self._clocks.is_spent and self._body_ends.is_worth_waiting_for():
            self._is_draining = True
            self._clocks.wait_until(now + DRAIN_SECONDS)
        else:
            self._stop()

    def _stop(self) -> None:
        self._is_over = True
        self._clocks.cancel()

    def _end(self, how: Callable[[list[ChatChunk]], None]) -> None:
        """The body gives no more: complete the answer, or raise what is wrong with it."""
        if self._failure is not None or self._reader.is_done:
            return
        chunks: list[ChatChunk] = []
        try:
            how(chunks)
        finally:
            self._outlet.put(chunks, 0)
        now = trio.current_time()
        # A completion in one piece comes to light here.
        self._note_output(now)
        if self._reader.is_done:
            self._complete(now)

    def _give_up(self) -> None:
        """The wait was cancelled: by a clock, or because nothing more is to be read."""
        if self._is_draining:
            self._body_ends.was_held()
        elif self._reader.is_complete:
            self._end(self._reader.settle)
        else:
            raise self._clocks.timed_out()


def _size(chunks: Sequence[ChatChunk]) -> int:
    """About how large chunks are that are not made of bytes just read."""
    deltas = [chunk.delta for chunk in chunks if chunk.delta is not None]
    return sum(len(delta.content or "") + len(delta.reasoning or "") for delta in deltas)
