"""What the requests of one `LLM` share: the HTTP client, the bound on streams, authorisation, and
what has been learned of the server.

This module knows who owns the client and which Trio run it belongs to. It makes no request.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias, cast

import trio

from ._credentials import (
    Credentials,
    access_token,
    authorization_fault,
    is_local_host,
    origin,
)
from ._transport import HTTPClient, Transport, check_client, make_client

__all__ = ["Auth", "BodyEnds", "Gateway", "authorization"]

Auth: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None
"""What authorises a request: the value of the ``Authorization`` header, None for none, or a
(sync or async) callable that returns one of these and is asked before every attempt."""


async def authorization(auth: Auth | Credentials) -> str | None:
    """Find out the value of the ``Authorization`` header for one attempt.

    Raises:
        TypeError: A callable returned something else than a string or None.
        ValueError: It returned a string that is no ``Authorization`` header.
    """
    if isinstance(auth, Credentials):
        return f"Bearer {access_token(auth, now=time.time())}"
    value: object = auth
    if callable(auth):
        value = auth()
        if inspect.isawaitable(value):
            value = await cast("Awaitable[object]", value)
    if value is None:
        return None
    if isinstance(value, str):
        fault = authorization_fault(value)
        if fault is None:
            return value
        # A traceback may show what is in the frames that it goes through.
        value = None
        raise ValueError(f"what the callable of auth= returned {fault}")
    raise TypeError(
        f"auth= must give a string or None, but the callable returned a {type(value).__name__}"
    )


class BodyEnds:
    """Remembers whether a server ends its bodies after ``[DONE]`` or holds them open.

    The first body that is held open costs a moment. After that the streams do not wait,
    but for one now and then that looks whether this is still so.
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
        self._skip = 100 * 2**self._held_in_a_row


class Gateway:
    """What the requests of one `LLM` share: the HTTP client, the bound on streams, and what has
    been learned of the server.

    Args:
        client: The program's client; None for an own one.
        base_url: Where the API is.
        max_streams: How many streams may run at once; None for no bound.
        has_auth: Whether requests bring their authorisation, so that the client's is not used.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``max_streams`` is less than 1.
    """

    def __init__(
        self,
        client: HTTPClient | None,
        *,
        base_url: str,
        max_streams: int | None,
        has_auth: bool,
    ) -> None:
        self._is_local = is_local_host(origin(base_url).host)
        self.running: set[trio.CancelScope] = set()
        """The scopes of the streams that are running."""
        self._visits: set[trio.CancelScope] = set()
        self.started = 0
        """How many streams have been started."""
        self.state: Literal["new", "open", "closed"] = "new"
        self.body_ends = BodyEnds()
        self.limiter: trio.CapacityLimiter | None = None
        self._max_streams = _checked_max_streams(max_streams)
        self._has_auth = has_auth
        self._brought = check_client(client)
        self._client: HTTPClient | None = None
        self._transport: Transport | None = None
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
        self.state = "open"
        self._run = trio.lowlevel.current_trio_token()
        self._client = (
            make_client(proxies=not self._is_local) if self._brought is None else self._brought
        )
        self._transport = Transport(
            self._client, own_auth=self._brought is not None and not self._has_auth
        )
        if self._max_streams is not None:
            self.limiter = trio.CapacityLimiter(self._max_streams)

    async def close(self) -> None:
        """End the requests that are running, and close the client if it is our own."""
        if self.state != "open":
            return
        self.state = "closed"
        with trio.CancelScope(shield=True):
            for scope in self.running | self._visits:
                scope.cancel()
            if self.running or self._visits:
                await self._idle.wait()
            if self._brought is None and self._client is not None:
                await self._client.aclose()

    def transport(self) -> Transport:
        """What requests are sent over.

        Raises:
            RuntimeError: The `LLM` was not entered, was left, or belongs to another run.
        """
        if self.state != "open" or self._transport is None:
            raise RuntimeError(
                "this LLM was not entered; write: async with LLM(...) as llm"
                if self.state == "new"
                else "this LLM was left; make another one"
            )
        if self._run is not trio.lowlevel.current_trio_token():
            raise RuntimeError(
                "this LLM belongs to another trio.run; enter one of its own in each run"
            )
        return self._transport

    def enter(self) -> trio.CancelScope:
        """A stream's request begins; returns the scope it must run in."""
        scope = trio.CancelScope()
        self.running.add(scope)
        self.started += 1
        return scope

    def visit(self) -> trio.CancelScope:
        """A request that is no stream's begins; returns the scope it must run in."""
        scope = trio.CancelScope()
        self._visits.add(scope)
        return scope

    def leave(self, scope: trio.CancelScope) -> None:
        """A request has ended."""
        self.running.discard(scope)
        self._visits.discard(scope)
        if not self.running and not self._visits and self.state == "closed":
            self._idle.set()

    @property
    def waiting(self) -> int:
        """How many streams wait for a place."""
        return 0 if self.limiter is None else self.limiter.statistics().tasks_waiting


def _checked_max_streams(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"max_streams must be an int or None, not a {type(value).__name__}")
    if value < 1:
        raise ValueError(f"max_streams={value} lets no stream run; give 1 or more, or None")
    return value
