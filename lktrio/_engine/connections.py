"""What the requests of one `LLM` share: the HTTP client, the bounds on load, authorisation, and
what has been learned of the server.

This module knows who owns the client and which Trio run it belongs to. It makes no request.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias, cast

import msgspec
import trio

from lktrio._checks import check_integer, kind_of
from lktrio._definitions import public
from lktrio._http import (
    BroughtSender,
    HTTPClient,
    OwnSender,
    Sender,
    TrioTransport,
    is_client,
    raise_bare,
)
from lktrio._settings import Credentials, Secret, access_token, authorization_fault

from .rate_limit import RateQueue

__all__ = ["Auth", "Authority", "BodyEnds", "Connections", "LLMStatistics", "authorization"]

Auth: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None
"""What authorises a request: the value of the ``Authorization`` header, None for none, or a
(sync or async) callable that returns one of these and is asked before every attempt."""


Authority: TypeAlias = Secret | Callable[[], object] | Credentials | None
"""The same, checked, and in a form that does not show itself."""


async def authorization(auth: Authority) -> Secret | None:
    """Find out the value of the ``Authorization`` header for one attempt.

    Raises:
        TypeError: A callable returned something else than a string or None.
        ValueError: It returned a string that is no ``Authorization`` header.
    """
    if isinstance(auth, Credentials):
        return Secret(f"Bearer {access_token(auth, now=time.time())}")
    if auth is None or isinstance(auth, Secret):
        return auth
    try:
        value = auth()
        if inspect.isawaitable(value):
            value = await cast("Awaitable[object]", value)
    except BaseExceptionGroup as group:
        # The callable has a nursery: of what went wrong in it, one exception is told.
        raise_bare(group)
    if value is None:
        return None
    if isinstance(value, str):
        fault = authorization_fault(value)
        # From here on it shows itself in no local variable.
        value = Secret(value)
        if fault is None:
            return value
        raise ValueError(f"what the callable of auth= returned {fault}")
    raise TypeError(f"auth= must give a string or None, but the callable returned {kind_of(value)}")


_HELD_BY_HABIT: Final = 3


class BodyEnds:
    """Remembers whether a server ends its bodies after ``[DONE]`` or holds them open.

    One that ends late is an accident: the next is waited for again. After several in a row the
    streams do not wait, but for one now and then that looks whether this is still so.
    """

    def __init__(self) -> None:
        self._skip = 0
        self._held_in_a_row = 0

    def is_worth_waiting_for(self) -> bool:
        """Whether to wait for the end of this body."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def ended(self) -> None:
        """A body ended in time."""
        self._skip = self._held_in_a_row = 0

    def was_held(self) -> None:
        """A body did not end in time."""
        self._held_in_a_row = min(self._held_in_a_row + 1, 10)
        if self._held_in_a_row >= _HELD_BY_HABIT:
            # 8, 16, ... 1024
            self._skip = 2**self._held_in_a_row


@public
class LLMStatistics(msgspec.Struct, frozen=True, weakref=True):
    """A snapshot of what an `LLM` is doing."""

    streams_open: int
    """Streams whose request task is running."""

    streams_started: int
    """Streams that have been entered since the `LLM` was."""

    streams_waiting: int
    """Streams that wait for a place because of ``max_streams``."""

    streams_limited: int = 0
    """Streams that wait for their turn because of ``rate_limit``."""


class Connections:
    """What the requests of one `LLM` share: the HTTP client, the bound on streams, and what has
    been learned of the server.

    Args:
        client: The program's client or transport; None for an own one.
        max_streams: How many streams may run at once; None for no bound.
        rate: Where requests wait for their turn; None where there is no limit.
        has_auth: Whether requests bring their authorisation, so that the client's is not used.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``max_streams`` is less than 1.
    """

    def __init__(
        self,
        client: HTTPClient | TrioTransport | None,
        *,
        max_streams: int | None,
        rate: RateQueue | None = None,
        has_auth: bool,
    ) -> None:
        self.running: dict[trio.CancelScope, trio.lowlevel.Task] = {}
        """The scopes of the streams that are running, and their tasks."""
        self._visits: dict[trio.CancelScope, trio.lowlevel.Task] = {}
        self.started = 0
        """How many streams have been started."""
        self.state: Literal["new", "open", "closed"] = "new"
        self.body_ends = BodyEnds()
        self.limiter: trio.CapacityLimiter | None = None
        self.rate = rate
        """Where requests wait for their turn; None where there is no limit."""
        self.limited = 0
        """How many streams wait there."""
        check_integer("max_streams", max_streams, least=1, none="no limit")
        self._max_streams = max_streams
        self._has_auth = has_auth
        self._brought = check_client(client)
        self._own: TrioTransport | None = None
        self._sender: Sender | None = None
        self._run: object = None
        self._idle = trio.Event()

    def open(self) -> None:
        """Make the client, in the current Trio run.

        Raises:
            RuntimeError: It has been opened before.
        """
        if self.state != "new":
            raise RuntimeError(
                f"this LLM is {self.state}; an LLM is entered once. Make another one"
            )
        if self.rate is not None:
            self.rate.open()
        self.state = "open"
        self._run = trio.lowlevel.current_trio_token()
        client = self._brought
        if client is None:
            client = self._own = TrioTransport()
        if isinstance(client, TrioTransport):
            self._sender = OwnSender(client)
        else:
            own_auth = self._brought is not None and not self._has_auth
            self._sender = BroughtSender(client, own_auth=own_auth)
        if self._max_streams is not None:
            self.limiter = trio.CapacityLimiter(self._max_streams)

    async def close(self) -> None:
        """End the requests that are running, and close the client if it is our own.

        Raises:
            RuntimeError: It is called from within one of these requests: each would wait for the
                other.
        """
        if self.state != "open":
            return
        if self._is_within_request():
            raise RuntimeError(
                "an LLM cannot be left from within one of its own requests, for example by its "
                "auth callable: leaving waits for the request, and the request for the callable. "
                "Raise an exception there, and leave the LLM where it was entered"
            )
        self.state = "closed"
        with trio.CancelScope(shield=True):
            for scope in self.running | self._visits:
                scope.cancel()
            if self.running or self._visits:
                await self._idle.wait()
            if self._own is not None:
                await self._own.aclose()

    def _is_within_request(self) -> bool:
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        if task in self._visits.values():
            return True
        # The callable may have a nursery of its own.
        while task is not None and task not in self.running.values():
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return task is not None

    def sender(self) -> Sender:
        """What requests are sent by.

        Raises:
            RuntimeError: The `LLM` was not entered, was left, or belongs to another run.
        """
        if self.state != "open" or self._sender is None:
            raise RuntimeError(
                "this LLM was not entered; write: async with LLM(...) as llm"
                if self.state == "new"
                else "this LLM was left; make another one"
            )
        if self._run is not trio.lowlevel.current_trio_token():
            raise RuntimeError(
                "this LLM belongs to another trio.run; enter one of its own in each run"
            )
        return self._sender

    def enter(self) -> trio.CancelScope:
        """A stream's request begins; returns the scope it must run in."""
        scope = trio.CancelScope()
        self.running[scope] = trio.lowlevel.current_task()
        self.started += 1
        return scope

    def visit(self) -> trio.CancelScope:
        """A request that is no stream's begins; returns the scope it must run in."""
        scope = trio.CancelScope()
        self._visits[scope] = trio.lowlevel.current_task()
        return scope

    def leave(self, scope: trio.CancelScope) -> None:
        """A request has ended."""
        self.running.pop(scope, None)
        self._visits.pop(scope, None)
        if not self.running and not self._visits and self.state == "closed":
            self._idle.set()

    @property
    def has_limits(self) -> bool:
        """Whether a stream may have to wait before it is begun."""
        return self.limiter is not None or self.rate is not None

    def statistics(self) -> LLMStatistics:
        """What the streams do now."""
        limiter = self.limiter
        return LLMStatistics(
            streams_open=len(self.running),
            streams_started=self.started,
            streams_waiting=0 if limiter is None else limiter.statistics().tasks_waiting,
            streams_limited=self.limited,
        )


def check_client(client: HTTPClient | TrioTransport | None) -> HTTPClient | TrioTransport | None:
    """Refuse what cannot send requests on Trio.

    Raises:
        TypeError: It is neither a `TrioTransport` nor an ``AsyncClient`` of httpx or of a library
            with the same interface.
    """
    if client is None or isinstance(client, TrioTransport) or is_client(client):
        return client
    raise TypeError(
        f"http_client must be an httpx.AsyncClient or an lktrio.TrioTransport, not a "
        f"{type(client).__name__}; leave it out to use one of our own"
    )
