"""A stream's lifetime: one nursery, one task, a memory channel of lists.

This module knows what `async with` on a stream promises, how values get from its task to whoever
iterates, and what misuse looks like. It does not know what the values are or how they are made.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import types
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, NoReturn, Self, TypeVar, cast

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task, enable_ki_protection

from lktrio._answers import APIError, logged_facts
from lktrio._http import bare, raise_bare

from .on_trio import LEFT_BY_A_GENERATOR, check_on_trio

__all__ = [
    "MAX_UNDELIVERED_BYTES",
    "Channel",
    "StreamTerms",
    "TaskStream",
    "check_open",
    "forget_frames",
    "forget_locals",
]

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


class StreamTerms(NamedTuple):
    """What a kind of stream is called in messages."""

    noun: str
    """For example ``"stream"``."""

    work: str
    """What its task does, for example ``"request"``."""

    maker: str
    """What makes one, for example ``"chat()"``."""

    statement: str
    """How one is entered, for example ``"async with llm.chat(...) as stream"``."""

    awaited: str = ""
    """What may be awaited in its place, as the end of a sentence."""


class TaskStream(abc.ABC, Generic[T]):
    """Values that are made by a task of the stream's own, for whoever iterates.

    Entering opens a nursery and starts the task; leaving, in whatever way, cancels it and waits
    until it is gone.

    A stream is no reference cycle, so that it goes when its last reference does. What would make it
    one is an error: it holds the frames that it was raised through, and the stream holds the error.
    So the frames of the task are emptied when it has failed (`forget_locals`), and those in which a
    consumer waits forget the stream (``del self``) before an error leaves them.
    """

    _terms: StreamTerms

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel
        self._state = "new"
        self._batch: list[T] = []
        """What has been taken, the next value last."""
        self._receiving = False
        self._failure: Exception | None = None
        self._failure_traceback: types.TracebackType | None = None
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
    async def _run(self) -> None:
        """Put values into the channel, in the stream's task; raise what prevented it."""

    def _stopped(self) -> None:
        """Called when the task is gone: once, or more often, before anything is raised."""

    def _let_go(self) -> None:
        """Called when the stream was closed before it was entered: nothing more comes of it."""

    # --- lifetime -------------------------------------------------------------------------

    @enable_ki_protection
    async def __aenter__(self) -> Self:
        check_on_trio()
        terms = self._terms
        if self._state != "new":
            raise RuntimeError(
                f"this {terms.noun} is {self._state}; a {terms.noun} is entered once. "
                f"Make another one with {terms.maker}"
            )
        self._check_open()
        self._state = "open"
        self._owner = current_task()
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._task, name=f"{terms.work} of {self!r}")
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        try:
            await self._leave(
                is_early=exc is not None or not self._channel.is_complete,
                hint=LEFT_BY_A_GENERATOR if isinstance(exc, GeneratorExit) else "",
            )
        finally:
            # What was raised by the cancellation knows this frame.
            del self, exc, traceback

    async def _leave(self, *, is_early: bool, hint: str) -> None:
        nursery, manager, terms = self._nursery, self._manager, self._terms
        if nursery is None or manager is None:
            raise RuntimeError(f"this {terms.noun} was not entered; write: {terms.statement}")
        if current_task() is not self._owner:
            # Trio's own state must not be touched from here: the whole run would die.
            self._scope.cancel()
            raise RuntimeError(
                f"a {terms.noun} must be left by the task that entered it; "
                f"its {terms.work} has been cancelled{hint}"
            )
        if is_early:
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
            raise_bare(group)
        finally:
            self._manager = self._nursery = self._owner = None
            self._state = "closed"
            self._channel.receive.close()
            self._batch = []
            self._stopped()
        if self._failure is not None and not self._failure_seen:
            logger.warning(
                "%r was left without looking at its failure: %s", self, logged_facts(self._failure)
            )
        del self

    async def aclose(self) -> None:
        """Stop what is running and wait until it is gone. May be called at any time, by any task.

        ``async with`` does the same and more: the block must still be left.
        """
        if self._state == "new":
            self._state = "closed"
            self._let_go()
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
        del self

    @enable_ki_protection
    async def _task(self) -> None:
        try:
            with self._scope:
                await self._run()
        except BaseExceptionGroup as group:
            # A nursery of the program's own, in a callable that the task has awaited, has failed:
            # perhaps in the very moment in which it was cancelled. That is a failure like any other
            # then; the cancellation reaches the owner by itself.
            leaf = bare(group)
            if not isinstance(leaf, Exception):
                raise_bare(group)
            self._fail(leaf)
            del leaf
        except Exception as exc:  # noqa: BLE001 - raised by __anext__, where it can be caught bare
            self._fail(exc)
        finally:
            self._channel.close()
            self._has_ended = True
            if self._on_end is not None:
                self._on_end.set()
            del self

    def _fail(self, error: Exception) -> None:
        """Keep what went wrong, for whoever asks."""
        forget_locals(error)
        if not self._channel.is_complete:
            self._failure = error
            self._failure_traceback = error.__traceback__

    # --- consuming ------------------------------------------------------------------------

    if not TYPE_CHECKING:
        # Whoever comes from a client whose calls are awaited does so here, too, and Python alone
        # would not say what to write. A type checker says before that it cannot be awaited.
        def __await__(self) -> NoReturn:
            terms = self._terms
            raise TypeError(
                f"a {terms.noun} is not awaited; write: {terms.statement}{terms.awaited}"
            )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            if self._batch:
                await checkpoint_if_cancelled()
            else:
                batch = await self._take_batch()
                if batch is None:
                    raise StopAsyncIteration
                batch.reverse()
                self._batch = batch
            return self._batch.pop()
        finally:
            del self

    async def _take_batch(self) -> _Batch[T] | None:
        """Wait for the next list of values; None at the end."""
        try:
            self._check_usable()
            if self._receiving:
                raise trio.BusyResourceError(
                    f"another task is waiting for this {self._terms.noun}; let one task iterate "
                    "and pass on what it gets, for example through a memory channel"
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
        finally:
            del self

    def _check_usable(self) -> None:
        if self._state == "new":
            raise RuntimeError(
                f"this {self._terms.noun} was not entered; write: {self._terms.statement}"
            )
        if self._state == "closed":
            self._raise_closed()

    def _raise_failure(self) -> None:
        """At the end of the channel: raise unless all is there."""
        try:
            if not self._channel.is_complete:
                self._stopped()
                if self._failure is None:
                    self._raise_closed()
                self._failure_seen = True
                # Without the frames of those who were told before.
                raise self._failure.with_traceback(self._failure_traceback)
        finally:
            del self

    def _raise_closed(self) -> NoReturn:
        raise trio.ClosedResourceError(
            f"this {self._terms.noun} was left, or its owner was cancelled; "
            f"make another one with {self._terms.maker}"
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


_FORGETFUL: Final = frozenset({"lktrio", "httpx", "httpx2", "httpcore", "httpcore2", "h11"})
"""Packages whose frames hold a request, its body or a stream. What frames of the program hold is
the program's, and a debugger may want to see it."""


def forget_locals(error: BaseException) -> None:
    """Empty the frames that an error, its causes and its companions were raised through.

    The lines stay in the traceback; what the frames knew does not: the request with its body, and
    the stream that will hold the error.
    """
    for each in _all_errors(error):
        traceback = each.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if str(frame.f_globals.get("__name__")).partition(".")[0] in _FORGETFUL:
                # Not its callers: one of them may be suspended, and would be closed.
                with contextlib.suppress(RuntimeError):  # it is still running
                    frame.clear()
            traceback = traceback.tb_next


def forget_frames(error: BaseException) -> None:
    """Take the frames off an error and its causes: where in a parser it was found tells nobody
    anything, and a frame that cannot be emptied (of a closure) may lead to who will hold it."""
    for each in _all_errors(error):
        each.__traceback__ = None


def _all_errors(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it leads to."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [link for link in (each.__cause__, each.__context__) if link is not None]
        if isinstance(each, BaseExceptionGroup):
            todo += cast("BaseExceptionGroup[BaseException]", each).exceptions
        if isinstance(each, APIError):
            todo += each.other_errors
