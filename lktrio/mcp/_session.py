"""The session of an MCP server, in a task of its own that contains its failures.

This module knows how the SDK's client is kept alive, what its end looks like to who calls, and when
a new session is begun. It does not know what a tool or a model is.

The SDK runs a session in the task that enters it, and ends that task's block when the connection
fails: with a group, at whatever the block is waiting for. So a task of ours enters it and waits.
Calls are made by the tasks of those who call, outside of the SDK's scopes. They hear of the end by
an error of the SDK, or, should it leave one waiting, by a scope of ours.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import anyio
import httpx2
import trio
from mcp import Client, Implementation, MCPError
from mcp.client import Transport
from mcp.server import Server
from mcp.server.mcpserver import MCPServer as ServerInProcess
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, CallToolResult
from mcp_types import Tool as ServerTool

from lktrio._definitions import public
from lktrio._http import bare
from lktrio._version import __version__

from ._servers import MCPServer, MCPServerHTTP, open_transport

__all__ = ["Connection", "MCPCallError", "MCPServerError"]

logger = logging.getLogger("lktrio")

T = TypeVar("T")

_CLOSE_SECONDS: Final = 2.0
"""How long a server is told goodbye. The SDK then stops a program of its own, which takes up to
six seconds more if it does not listen."""

_MAX_PAGES: Final = 100
"""A server whose list of tools does not end after these is not asked on."""

_UNKNOWN_EFFECT: Final = "Whether the call had an effect is not known."


@public
class MCPServerError(Exception):
    """An MCP server cannot be started or reached, or does not speak the protocol.

    Args:
        message: Which server, and why.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class MCPCallError(Exception):
    """A call that failed, in words for a model."""


class Connection:
    """The way to a server: one session at a time, begun anew after it has ended.

    Args:
        server: Where it is.
        nursery: Where sessions live.
        label: What the server is called in messages.
        connect_timeout: Seconds until a session stands, and until the tools are listed.
    """

    def __init__(
        self, server: MCPServer, nursery: trio.Nursery, *, label: str, connect_timeout: float
    ) -> None:
        self._server = server
        self._nursery = nursery
        self._label = label
        self._connect_timeout = connect_timeout
        self._lock = trio.Lock()
        self._session: _Session | None = None
        self._is_closed = False

    async def tools(self) -> list[ServerTool]:
        """Ask the server for its tools.

        Raises:
            MCPServerError: There is no session, or it does not say.
        """
        session = await self._open()
        try:
            with trio.fail_after(self._connect_timeout):
                return await session.use(_list_tools)
        except (MCPCallError, trio.TooSlowError) as exc:
            reason = str(exc) or f"no answer within {self._connect_timeout:g} seconds"
            raise MCPServerError(
                f"the MCP server {self._label} does not list its tools: {reason}"
            ) from exc

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool.

        Raises:
            MCPCallError: It came to no result.
        """
        for is_last in (False, True):
            try:
                session = await self._open()
            except MCPServerError as exc:
                raise MCPCallError(f"The tool is not available: {exc}") from exc
            try:
                return await session.use(lambda client: client.call_tool(name, arguments))
            except MCPCallError:
                # A server that was started again refuses the session of its predecessor, and has
                # done nothing yet.
                if is_last or not session.is_refused:
                    raise
        raise AssertionError("unreachable")

    @property
    def instructions(self) -> str | None:
        """What the server says of itself, for the model."""
        client = None if self._session is None else self._session.client
        return None if client is None else client.instructions

    def close(self) -> None:
        """End the session; its task is gone a little later."""
        self._is_closed = True
        if self._session is not None:
            self._session.stop()

    async def _open(self) -> _Session:
        async with self._lock:
            if self._is_closed:
                raise trio.ClosedResourceError(
                    f"the toolset of the MCP server {self._label} was left; call its tools inside "
                    "of its block"
                )
            if self._session is None or not self._session.is_usable:
                session = _Session(self._server, self._label)
                await self._nursery.start(session.run, self._connect_timeout)
                if session.error is not None:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    # Not by the nursery, which takes the cause off what a task begins with.
                    raise session.error from session.cause
                self._session = session
            return self._session


async def _list_tools(client: Client) -> list[ServerTool]:
    tools: list[ServerTool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


class _Session:
    """One session, from its handshake to its end."""

    def __init__(self, server: MCPServer, label: str) -> None:
        self._server = server
        self._label = label
        self.client: Client | None = None
        self.error: MCPServerError | None = None
        """Why there was no session."""
        self.cause: BaseException | None = None
        """What it was made of."""
        self.is_refused = False
        """Whether the server has said that it does not know this session."""
        self._is_torn = False
        self._status: int | None = None
        self._reason = ""
        self._was_reached = True
        """Whether what was sent last may have reached the server."""
        self._over = trio.Event()
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self._calls: set[trio.CancelScope] = set()

    @property
    def is_usable(self) -> bool:
        """Whether a call may be made on it."""
        return not (self._over.is_set() or self._is_torn or self.is_refused)

    # --- its task -------------------------------------------------------------------------

    async def run(
        self,
        connect_timeout: float,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hold the session until it is stopped or the server is gone.

        It has started as soon as the session stands, or cannot: then there is an `error`.
        """
        failure: BaseException | None = None
        self._scope.deadline = trio.current_time() + connect_timeout
        try:
            with self._scope:
                await self._hold(connect_timeout, task_status)
        except BaseExceptionGroup as group:
            failure, others = group.split(Exception)
            if others is not None:
                # A cancellation or a Ctrl-C, which is not the session's to contain.
                raise others from None
        except Exception as exc:  # noqa: BLE001 - whatever the SDK raises is the end of its session
            failure = exc
        finally:
            has_begun = self.client is not None
            was_over = self._over.is_set()
            self._reason = self._reason or self._described(failure)
            self._over.set()
            self._ended.set()
            # Whom the SDK has not woken.
            for scope in self._calls:
                scope.cancel()
        if not has_begun:
            if failure is None:
                self._reason = f"it did not answer within {connect_timeout:g} seconds"
            self.cause = failure
            self.error = MCPServerError(
                f"the MCP server {self._label} cannot be reached: {self._reason}"
            )
            task_status.started()
        elif failure is not None:
            level = logging.DEBUG if was_over else logging.WARNING
            logger.log(level, "the MCP server %s has gone: %s", self._label, self._reason)

    async def _hold(self, connect_timeout: float, task_status: trio.TaskStatus[None]) -> None:
        async with AsyncExitStack() as stack:
            target = await open_transport(
                self._server, stack, connect_timeout=connect_timeout, on_status=self._note_status
            )
            if not isinstance(target, Server | ServerInProcess):
                target = _WatchedTransport(target, self)
            client = Client(
                target,
                client_info=Implementation(name="lktrio", version=__version__),
                cache=None,
            )
            self.client = await stack.enter_async_context(client)
            self._scope.deadline = math.inf
            task_status.started()
            await self._over.wait()
            self._scope.deadline = trio.current_time() + _CLOSE_SECONDS

    def stop(self) -> None:
        """Say goodbye to the server."""
        self._over.set()

    def server_closed(self) -> None:
        """The server sends nothing more."""
        if not self._over.is_set():
            self._reason = "it has closed the connection"
            if self.client is not None:
                logger.warning("the MCP server %s has gone: %s", self._label, self._reason)
            self._over.set()

    def torn(self) -> None:
        """The SDK lets go of the connection."""
        self._is_torn = True

    def _note_status(self, status: int) -> None:
        self._status = status

    def _described(self, failure: BaseException | None) -> str:
        if failure is None:
            return "its session was ended"
        if self._status is not None:
            return f"it answered with status {self._status}"
        leaf = failure
        if isinstance(leaf, BaseExceptionGroup):
            leaf = bare(cast("BaseExceptionGroup[BaseException]", leaf))
        self._was_reached = not isinstance(leaf, httpx2.ConnectError)
        text = str(leaf).rstrip(".")
        return text if isinstance(leaf, MCPError) and text else f"{type(leaf).__name__}: {text}"

    # --- its calls ------------------------------------------------------------------------

    async def use(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the server, in the task that calls; a cancellation of that reaches the server.

        Raises:
            MCPCallError: It came to nothing.
        """
        assert self.client is not None
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await ask(self.client)
            except Exception as exc:
                # If the session and its caller were cancelled together, the one is the cause of
                # the other's failure.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise MCPCallError(await self._explained(exc)) from exc
            finally:
                self._calls.discard(scope)
                if self.is_refused and not self._calls:
                    self.stop()
        # Nobody else has this scope.
        raise MCPCallError(self._gone())

    async def _explained(self, exc: Exception) -> str:
        if self._is_torn and not self._over.is_set():
            # The SDK wakes its callers before it says what it died of.
            await self._ended.wait()
        if self._over.is_set():
            return self._gone()
        if not isinstance(exc, MCPError):
            logger.error(
                "what the MCP server %s answered is not valid: %s", self._label, type(exc).__name__
            )
            return f"The answer of the server is not valid. {_UNKNOWN_EFFECT}"
        if exc.code == INVALID_REQUEST and isinstance(self._server, MCPServerHTTP):
            self.is_refused = True
        return exc.message

    def _gone(self) -> str:
        if not self._was_reached:
            return f"The server has gone, and the call was not carried out: {self._reason}."
        return f"The server has gone in the middle of the call: {self._reason}. {_UNKNOWN_EFFECT}"


class _WatchedTransport:
    """A transport of the SDK whose end is noticed, which the SDK itself tells nobody."""

    def __init__(self, transport: Transport, session: _Session) -> None:
        self._transport = transport
        self._session = session

    async def __aenter__(self) -> tuple[_WatchedStream, Any]:
        read, write = await self._transport.__aenter__()
        return _WatchedStream(read, self._session), write

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        return await self._transport.__aexit__(exc_type, exc_val, exc_tb)


class _WatchedStream:
    """What arrives from the server."""

    def __init__(self, stream: Any, session: _Session) -> None:
        self._stream = stream
        self._session = session

    @property
    def last_context(self) -> Any:
        """The context of who sent the last message, where the SDK's stream knows it."""
        return getattr(self._stream, "last_context", None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            message: SessionMessage | Exception = await self._stream.__anext__()
        except StopAsyncIteration:
            self._session.server_closed()
            raise
        return message

    async def receive(self) -> SessionMessage | Exception:
        try:
            message: SessionMessage | Exception = await self._stream.receive()
        except anyio.EndOfStream:
            self._session.server_closed()
            raise
        return message

    async def aclose(self) -> None:
        self._session.torn()
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        self._session.torn()
        closed: bool | None = await self._stream.__aexit__(exc_type, exc_val, exc_tb)
        return closed
