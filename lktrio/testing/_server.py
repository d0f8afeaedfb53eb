"""Plays a script on connections and keeps the record: the half that memory and TCP share.

This module alone knows the order of things on a server's connection: wait for a request, read it,
choose its reply, play the steps, stop as soon as the client has gone.
"""

from __future__ import annotations

import abc
import contextvars
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Literal, Self, assert_never

import attrs
import trio

from lktrio._definitions import public
from lktrio._http import TrioTransport, raise_bare

from ._http import RequestReader
from ._steps import (
    AwaitRequest,
    Call,
    Close,
    Connection,
    Hold,
    Repeat,
    Reply,
    Request,
    Reset,
    Script,
    Send,
    Step,
    Wait,
    WaitFor,
)

__all__ = [
    "Answers",
    "ConnectionRecord",
    "Line",
    "ReplyRecord",
    "ScriptAnswers",
    "ScriptError",
    "ScriptedServer",
    "in_background",
]

_READ_SIZE: Final = 65536

in_background: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar(
    "in_background", default=False
)
"""True in tasks that are no part of the program: those of scripted servers."""


@public
class ScriptError(AssertionError):
    """The client did what the script has no answer for."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


@attrs.define(eq=False)
class ReplyRecord:
    """How the reply to one request went. Times are `trio.current_time`."""

    request: Request
    """The request."""

    bytes_sent: int = 0
    """Bytes of the `Send` steps that are finished."""

    finished_at: float | None = None
    """When the last step was finished; None if it was not, or not yet. A `Hold` never is."""

    over: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Set when it is over, finished or not."""


@attrs.define(eq=False)
class ConnectionRecord:
    """What happened on one connection, as the server saw it. Times are `trio.current_time`."""

    number: int
    """Counted from 0, in the order of opening."""

    opened_at: float
    """When the connection stood (before TLS)."""

    address: str
    """The host and port that the client asked for ("gateway.test:443")."""

    tls: bool = False
    """Whether the TLS handshake is done."""

    requests: list[Request] = attrs.field(factory=list[Request])
    """The requests that were read, in their order."""

    replies: list[ReplyRecord] = attrs.field(factory=list[ReplyRecord], repr=False)
    """How the reply to each of them went."""

    bytes_sent: int = 0
    """Bytes of the finished `Send` steps; a step that waits for the window does not count yet."""

    steps: tuple[Step, ...] = attrs.field(default=(), repr=False)
    """The steps that are being played, or were last."""

    played: int = 0
    """How many of them are finished; a `Hold` is as soon as it begins."""

    client_gone: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Set when the server has seen the client close or reset."""

    client_gone_at: float | None = None
    """When that was."""

    closed: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Set when the server's end is closed too."""

    closed_at: float | None = None
    """When that was."""

    closed_by: Literal["client", "server"] | None = None
    """Who was first; None while the connection is open, and if the network was left before."""

    on_client_gone: Callable[[], object] | None = attrs.field(default=None, repr=False)
    """Called when the client has gone; it stops what is being played."""

    @property
    def unplayed(self) -> tuple[Step, ...]:
        """The steps of the last reply that were not finished, the interrupted one first.

        If the client goes in `[Send(a), Wait(1), Send(b)]` while the server waits, this is
        `(Wait(1), Send(b))`: it went before `b` was written.
        """
        return self.steps[self.played :]

    def saw_client_go(self) -> None:
        """Note that the client has gone; once, and not after the server has closed."""
        if self.client_gone_at is None and self.closed_at is None:
            self.client_gone_at = trio.current_time()
            self.client_gone.set()
            if self.on_client_gone is not None:
                self.on_client_gone()

    def saw_closed(self, by: Literal["client", "server"] | None) -> None:
        """Note that the server's end is closed, and who was first."""
        self.closed_by = by
        self.closed_at = trio.current_time()
        self.closed.set()


class Line(abc.ABC):
    """The server's end of a connection."""

    @abc.abstractmethod
    async def receive(self, max_bytes: int) -> bytes:
        """Return bytes, or `b""` if the client has gone in whatever way."""

    @abc.abstractmethod
    async def send(self, data: bytes) -> None:
        """Send bytes; raise `trio.BrokenResourceError` if the client has gone."""

    @abc.abstractmethod
    def watch(self) -> None:
        """From here on, notice the client's going without being asked to receive."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close in order (FIN)."""

    @abc.abstractmethod
    async def reset(self) -> None:
        """Break the connection (RST)."""


class Answers(abc.ABC):
    """Where a server takes its replies from."""

    @abc.abstractmethod
    def next_connection(self) -> Connection | None:
        """Return the plan of the next connection; None if there is none."""

    @abc.abstractmethod
    def replies(self, connection: Connection) -> Iterator[Reply]:
        """Return the replies that are given whatever the request."""

    @abc.abstractmethod
    def reply_to(self, request: Request) -> Reply | None:
        """Return the reply to a request for which `replies` has none; None if there is none."""


class ScriptAnswers(Answers):
    """A script, read.

    Raises:
        TypeError: If the script is none.
    """

    def __init__(self, script: Script) -> None:
        self._function: Callable[[Request], Reply] | None = None
        self._replies: Iterator[Reply] = iter(())
        self._connections: Iterator[Connection] | None = None
        if isinstance(script, Reply):
            self._replies = itertools.repeat(script)
        elif callable(script):
            self._function = script
        else:
            replies = [item for item in script if isinstance(item, Reply)]
            connections = [item for item in script if isinstance(item, Connection)]
            if len(script) not in (len(replies), len(connections)):
                raise TypeError(
                    f"script must be a Reply, a list of Reply, a list of Connection, or a "
                    f"function from Request to Reply, not {script!r}"
                )
            self._replies = iter(replies)
            self._connections = iter(connections) if connections else None

    def next_connection(self) -> Connection | None:
        return Connection() if self._connections is None else next(self._connections, None)

    def replies(self, connection: Connection) -> Iterator[Reply]:
        return self._replies if self._connections is None else iter(connection.replies)

    def reply_to(self, request: Request) -> Reply | None:
        if self._function is None:
            return None
        reply = self._function(request)
        if not isinstance(reply, Reply):
            raise TypeError(f"the script's function must return a Reply, not {reply!r}")
        return reply


class ScriptedServer:
    """Serves scripts as long as its `async with` block lasts.

    What the script has no answer for (one request too many) and what a function of the script
    raises is raised where the block is left, or noted on the exception that leaves it.

    Args:
        script: What the server does.

    Raises:
        TypeError: If the script is none.
    """

    def __init__(self, script: Script | Answers) -> None:
        self._answers = script if isinstance(script, Answers) else ScriptAnswers(script)
        self.connections: list[ConnectionRecord] = []
        """The connections, in the order of opening."""
        self.requests: list[Request] = []
        """The requests of all connections, in the order of receipt."""
        self.name = type(self).__name__
        """What its user knows it by."""
        self._problems: list[Exception] = []
        self._transports: list[TrioTransport] = []
        self._nursery: trio.Nursery | None = None
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    async def __aenter__(self) -> Self:
        if self._nursery_manager is not None:
            raise RuntimeError(f"this {self.name} was entered before; make another one")
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()
        if exc is not None:
            for problem in self._problems:
                exc.add_note(f"the scripted server: {problem!r}")
        elif len(self._problems) == 1:
            raise self._problems[0]
        elif self._problems:
            raise ExceptionGroup("the scripted server", self._problems)

    def report(self, problem: Exception) -> None:
        """Have a problem raised, or noted, where the block is left."""
        self._problems.append(problem)

    async def _stop(self) -> None:
        # The body's exception passes by itself: the nursery gets to see neither it nor an outer
        # cancellation, and would wrap in a group a Ctrl-C that comes while it waits.
        assert self._nursery is not None
        assert self._nursery_manager is not None
        self._nursery.cancel_scope.shield = True
        self._nursery.cancel_scope.cancel()
        try:
            await self._nursery_manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            raise_bare(group)
        finally:
            # Not before: a connection that was accepted meanwhile is served so far that it closes.
            self._nursery = None
            for transport in self._transports:
                await transport.aclose()

    def adopt(self, transport: TrioTransport) -> TrioTransport:
        """Have a transport closed with the server, and looked at by `assert_quiet`."""
        self._transports.append(transport)
        return transport

    def _start_soon(self, function: Callable[..., Any], *args: object) -> None:
        if self._nursery is None:
            raise RuntimeError(
                f"the server is not running: use it inside `async with {self.name}(...)`"
            )
        # In a context of its own: a server is no part of the program that connects to it, whose
        # context variables (the matrix's mark, say) a child task would inherit.
        context = contextvars.Context()
        context.run(in_background.set, True)
        context.run(self._nursery.start_soon, function, *args)

    def _next_plan(self) -> Connection | None:
        """Return the plan of the next connection; None if the script says there is none."""
        plan = self._answers.next_connection()
        if plan is None:
            self.report(
                ScriptError("one connection more than the script's list of Connection holds")
            )
        return plan

    async def _serve(self, line: Line, record: ConnectionRecord, plan: Connection) -> None:
        try:
            await _Conversation(self._answers, line, record, plan, self.requests).run()
        except Exception as exc:  # noqa: BLE001 - the test gets it where it leaves the block
            self.report(exc)
            record.closed_by = "server"
        finally:
            with trio.CancelScope(shield=True):
                await line.aclose()
            record.saw_closed(record.closed_by)


def _holds(steps: tuple[Step, ...]) -> bool:
    return bool(steps) and isinstance(steps[-1], Hold)


class _Conversation:
    """The replies of one connection."""

    def __init__(
        self,
        answers: Answers,
        line: Line,
        record: ConnectionRecord,
        plan: Connection,
        all_requests: list[Request],
    ) -> None:
        self._answers = answers
        self._replies = answers.replies(plan)
        self._on_accept = plan.on_accept
        self._line = line
        self._record = record
        self._all_requests = all_requests
        self._inbox = bytearray()
        self._current: ReplyRecord | None = None

    async def run(self) -> None:
        open_ = not self._on_accept or await self._play(self._on_accept, watch=False)
        while open_:
            if not await self._request_arrives():
                self._record.closed_by = self._record.closed_by or "client"
                return
            reply = await self._choose()
            if reply is None:
                return
            open_ = await self._play(reply.steps, watch=reply.reads == "request")
            self._current = None

    async def _choose(self) -> Reply | None:
        """Read as much of the request as its reply wants; None: the connection is over."""
        # A function decides only when it has seen the request.
        reply = next(self._replies, None)
        reads = "request" if reply is None else reply.reads
        if reads == "nothing":
            return reply
        request = await self._read_request(head_only=reads == "head")
        if request is None:
            self._record.closed_by = "client"
            return None
        self._record.requests.append(request)
        self._current = ReplyRecord(request)
        self._record.replies.append(self._current)
        self._all_requests.append(request)
        if reply is None:
            reply = self._answers.reply_to(request)
        if reply is None:
            raise ScriptError(f"the script has no answer any more for {request!r}")
        return reply

    async def _request_arrives(self) -> bool:
        if not self._inbox:
            # One byte tells that a request is coming; a server that does not read leaves the rest.
            self._inbox += await self._line.receive(1)
        if not self._inbox:
            self._record.saw_client_go()
        return bool(self._inbox)

    async def _read_request(self, *, head_only: bool) -> Request | None:
        reader = RequestReader(bytes(self._inbox))
        while not reader.read(head_only=head_only):
            data = await self._line.receive(_READ_SIZE)
            if not data:
                self._record.saw_client_go()
                return None
            reader.feed(data)
        self._inbox[:] = reader.rest
        return Request(
            method=reader.method,
            target=reader.target,
            headers=reader.headers,
            body=bytes(reader.body),
            received_at=trio.current_time(),
            connection=self._record.number,
        )

    async def _play(self, steps: tuple[Step, ...], *, watch: bool) -> bool:
        """Play the steps; return whether the connection is still open after them."""
        try:
            return await self._play_steps(steps, watch=watch)
        finally:
            if self._current is not None:
                self._current.over.set()
                if self._record.played == len(steps) and not _holds(steps):
                    self._current.finished_at = trio.current_time()

    async def _play_steps(self, steps: tuple[Step, ...], *, watch: bool) -> bool:
        record = self._record
        record.steps, record.played = steps, 0
        if watch:
            self._line.watch()
        if record.client_gone_at is not None:
            record.closed_by = "client"
            return False
        with trio.CancelScope() as scope:
            record.on_client_gone = scope.cancel
            for position, step in enumerate(steps):
                record.played = position + isinstance(step, Hold)
                try:
                    await self._perform(step)
                except trio.BrokenResourceError:
                    record.saw_client_go()
                    # Not every line can cancel us: this one has only now heard of it.
                    break
                record.played = position + 1
                if record.closed_by == "server":
                    break
        record.on_client_gone = None
        if record.client_gone_at is not None:
            record.closed_by = record.closed_by or "client"
        return record.closed_by is None

    async def _perform(self, step: Step) -> None:
        match step:
            case Send(data):
                await self._line.send(data)
                self._record.bytes_sent += len(data)
                if self._current is not None:
                    self._current.bytes_sent += len(data)
            case Wait(seconds):
                await trio.sleep(seconds)
            case WaitFor(event):
                await event.wait()
            case AwaitRequest():
                if not await self._request_arrives():
                    await trio.sleep_forever()
            case Hold():
                await trio.sleep_forever()
            case Close():
                self._record.closed_by = "server"
                await self._line.aclose()
            case Reset():
                self._record.closed_by = "server"
                await self._line.reset()
            case Call(function):
                function()
            case Repeat(inner, times):
                done = 0
                while times is None or done < times:
                    await trio.lowlevel.checkpoint()  # the steps alone may hold none
                    for one in inner:
                        await self._perform(one)
                    done += 1
            case _:
                assert_never(step)
