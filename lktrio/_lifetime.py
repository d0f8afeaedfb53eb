"""A stream's lifetime: one nursery, one task, a memory channel of lists.

This module knows what `async with` on a stream promises, how values get from its task to whoever
iterates, and what misuse looks like. It does not know what the values are or how they are made.
"""

from __future__ import annotations

import abc
import logging
import types
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, NamedTuple, NoReturn, Self, TypeVar

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task, enable_ki_protection

from ._bare import bare

__all__ = ["MAX_UNDELIVERED_BYTES", "Channel", "TaskStream", "Words", "bare", "check_open"]

logger = logging.getLogger("lktrio")

T = TypeVar("T")

MAX_UNDELIVERED_BYTES: Final = 64 * 1024
"""Bytes of the body whose chunks may wait in one list; a stream has two lists at most."""


class _Batch(list[T]):
    """Values on their way. The task adds to it until the consumer has taken it."""

    # A deque takes half a kilobyte as soon as it is made, in every stream that is open.

    __slots__ = ("on_taken", "size", "taken")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.taken = False
        self.on_taken: trio.Event | None = None


class Channel(Generic[T]):
    """The way from a stream's task to its consumer.

    A list of values is sent through a memory channel and keeps growing until the consumer takes
    it: in effect one list per network read for a consumer that keeps up, and longer ones for one
    that does not. A send and a receive for every value would cost ten times as much.
    """

    def __init__(self) -> None:
        # The list in the channel is the only one that is not taken, so one place is enough.
        channel: tuple[trio.MemorySendChannel[_Batch[T]], trio.MemoryReceiveChannel[_Batch[T]]]
        channel = trio.open_memory_channel(1)
        self._send = channel[0]
        self.receive: trio.MemoryReceiveChannel[_Batch[T]] = channel[1]
        """The consumer's end."""
        self._batch: _Batch[T] = _Batch()
        self._batch.taken = True
        self.is_complete: bool = False
        """Whether all has been put, and nothing went wrong."""
        self.count: int = 0
        """How many values have been put."""

    def put(self, values: Sequence[T], size: int) -> None:
        """Hand on values that were made from this many bytes. Never blocks."""
        if not values:
            return
        batch = self._batch
        if batch.taken:
            batch = self._batch = _Batch()
            batch.extend(values)
            self._send.send_nowait(batch)
        else:
            batch.extend(values)
        batch.size += size
        self.count += len(values)

    @property
    def is_full(self) -> bool:
        """Whether the next thing to do is to wait for `room`."""
        batch = self._batch
        return batch.size > MAX_UNDELIVERED_BYTES and not batch.taken

    async def room(self) -> None:
        """Wait until the consumer has taken what it was sent.

        The task waits with nothing in its hands, so that a cancellation here loses nothing.
        """
        batch = self._batch
        if batch.on_taken is None:
            batch.on_taken = trio.Event()
        await batch.on_taken.wait()

    def finish(self) -> None:
        """Say that all is there. The consumer's iteration ends after what was put."""
        self.is_complete = True
        self._send.close()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._send.close()


class Words(NamedTuple):
    """What a kind of stream is called in messages."""

    noun: str
    """For example ``"stream"``."""

    work: str
    """What its task does, for example ``"request"``."""

    maker: str
    """What makes one, for example ``"chat()"``."""

    statement: str
    """How one is entered, for example ``"async with llm.chat(...) as stream"``."""


class TaskStream(abc.ABC, Generic[T]):
    """Values that are made by a task of the stream's own, for whoever iterates.

    Entering opens a nursery and starts the task; leaving, in whatever way, cancels it and waits
    until it is gone.
    """

    _words: Words

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel
        self._state = "new"
        self._batch: list[T] = []
        """What has been taken, the next value last."""
        self._receiving = False
        self._failure: Exception | None = None
        self._failure_seen = False
        self._owner: trio.lowlevel.Task | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._has_ended = False
        self._on_end: trio.Event | None = None

    # --- what a kind of stream adds -------------------------------------------------------

    @abc.abstractmethod
    def _check_open(self) -> None:
        """Raise `RuntimeError` if the stream cannot be entered here and now."""

    @abc.abstractmethod
    async def _run(self, deadline: float) -> None:
        """Put values into the channel, in the stream's task; raise what prevented it.

        Args:
            deadline: The caller's deadline as it was where the stream was entered.
        """

    def _stopped(self) -> None:
        """Called when the task is gone: once, or more often, before anything is raised."""

    # --- lifetime -------------------------------------------------------------------------

    @enable_ki_protection
    async def __aenter__(self) -> Self:
        words = self._words
        if self._state != "new":
            raise RuntimeError(
                f"this {words.noun} is {self._state}; a {words.noun} is entered once. "
                f"Make another one with {words.maker}"
            )
        self._check_open()
        self._state = "open"
        self._owner = current_task()
        deadline = trio.current_effective_deadline()
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._task, deadline, name=f"{words.work} of {self!r}")
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        nursery, manager, words = self._nursery, self._manager, self._words
        if nursery is None or manager is None:
            raise RuntimeError(f"this {words.noun} was not entered; write: {words.statement}")
        if current_task() is not self._owner:
            # Trio's own state must not be touched from here: the whole run would die.
            self._scope.cancel()
            raise RuntimeError(
                f"a {words.noun} must be left by the task that entered it; "
                f"its {words.work} has been cancelled"
            )
        if exc is not None or not self._channel.is_complete:
            self._state = "closed"
            if nursery.child_tasks:
                # Without the shield, a cancellation from outside would replace the exception that
                # is on its way out of the block.
                nursery.cancel_scope.shield = True
                nursery.cancel_scope.cancel()
        # Else all is there, and the rest of the body is worth a moment: if it ends, the connection
        # can be used again.
        try:
            await manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            # A Ctrl-C or a cancellation that came while we waited; what fails in the task is kept
            # there.
            raise bare(group) from None
        finally:
            self._manager = self._nursery = None
            self._state = "closed"
            self._channel.receive.close()
            self._batch = []
            self._stopped()
        if self._failure is not None and not self._failure_seen:
            logger.warning("%r was left without looking at its failure: %r", self, self._failure)

    async def aclose(self) -> None:
        """Stop what is running and wait until it is gone. May be called at any time, by any task.

        ``async with`` does the same and more: the block must still be left.
        """
        if self._state == "new":
            self._state = "closed"
        if self._state == "open":
            self._state = "closed"
            self._scope.cancel()
            if not self._has_ended:
                self._on_end = self._on_end or trio.Event()
                await self._on_end.wait()
            else:
                await trio.lowlevel.checkpoint()
            self._channel.receive.close()
            self._batch = []
            self._stopped()
        else:
            await trio.lowlevel.checkpoint()

    @enable_ki_protection
    async def _task(self, deadline: float) -> None:
        try:
            with self._scope:
                await self._run(deadline)
        except Exception as exc:  # noqa: BLE001 - raised by __anext__, where it can be caught bare
            if not self._channel.is_complete:
                self._failure = exc
        finally:
            self._channel.close()
            self._has_ended = True
            if self._on_end is not None:
                self._on_end.set()

    # --- consuming ------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._batch:
            await checkpoint_if_cancelled()
        else:
            batch = await self._take_batch()
            if batch is None:
                raise StopAsyncIteration
            batch.reverse()
            self._batch = batch
        return self._batch.pop()

    async def _take_batch(self) -> list[T] | None:
        """Wait for the next list of values; None at the end."""
        self._check_usable()
        if self._receiving:
            raise trio.BusyResourceError(
                f"another task is waiting for this {self._words.noun}; let one task iterate and "
                "pass on what it gets, for example through a memory channel"
            )
        self._receiving = True
        try:
            batch = await self._channel.receive.receive()
            batch.taken = True
            if batch.on_taken is not None:
                batch.on_taken.set()
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
                f"this {self._words.noun} was not entered; write: {self._words.statement}"
            )
        if self._state == "closed":
            self._raise_closed()

    def _raise_failure(self) -> None:
        """At the end of the channel: raise unless all is there."""
        if not self._channel.is_complete:
            self._stopped()
            if self._failure is None:
                self._raise_closed()
            self._failure_seen = True
            raise self._failure

    def _raise_closed(self) -> NoReturn:
        raise trio.ClosedResourceError(
            f"this {self._words.noun} was left, or its owner was cancelled; "
            f"make another one with {self._words.maker}"
        )

    @property
    def error(self) -> Exception | None:
        """What went wrong, or None. Reading it counts as having seen it."""
        if self._failure is not None:
            self._failure_seen = True
        return self._failure


def check_open(stream: TaskStream[Any]) -> None:
    """Raise `RuntimeError` if the stream cannot be entered here and now.

    For a stream whose task will enter another one.
    """
    stream._check_open()  # pyright: ignore[reportPrivateUsage]
