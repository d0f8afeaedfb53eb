"""`MCPToolset`: the tools of an MCP server as a set of tools, for the length of a block.

This module knows how a server's tools become tools of ours: names, schemas, timeouts, results. How
a session lives and dies is known elsewhere.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import trio
from mcp_types import CallToolResult
from mcp_types import Tool as ServerTool
from trio.lowlevel import current_task, enable_ki_protection

from lktrio._definitions import public
from lktrio._engine import LEFT_BY_A_GENERATOR, check_on_trio
from lktrio._http import raise_bare
from lktrio._schemas import Converter, make_converter
from lktrio._tools import RawFunctionTool, Tool, ToolError, Toolset, function_tool

from ._results import text_of
from ._servers import MCPServer, check_server, label_of
from ._session import Connection, MCPCallError

__all__ = ["MCPToolset"]

logger = logging.getLogger("lktrio")

AllowedTools: TypeAlias = Iterable[str] | Callable[[str], bool] | None


@public
class MCPToolset(Toolset):
    """The tools of an MCP server, in an ``async with`` block.

    ::

        async with MCPToolset(MCPServerHTTP("https://example.com/mcp")) as tools:
            async with run_turn(llm, chat_ctx=chat_ctx, tools=[tools]) as turn:
                ...

    Entering it connects and lists the tools. Each is a `RawFunctionTool` with the schema that the
    server gives, word by word. What the model then reads is

    * the texts of the result, one below the other; the structured content as JSON, if there is no
      text; an image, audio or resource by its kind and size (see `images_in`);
    * the text of a result that the server calls an error, or of its refusal;
    * that the call timed out, or that the server has gone.

    `FunctionCallResult.raw_output` is the SDK's ``CallToolResult``, with all that the server sent.

    A call that is cancelled or runs out of time is cancelled on the server too. After the server
    has gone, the next call connects again: it starts the program anew, or a new session. No call
    is made twice, because it may have had an effect; only one that a server refused for its session
    is.

    Args:
        server: How the server is reached.
        id: Identifies the set; the name of the program or of the machine by default.
        allowed_tools: Names of the tools to take, as the server calls them; or a function that
            is asked for each name. All by default.
        prefix: Put before each name, so that the tools of several servers differ.
        timeout: Seconds that one call may take, or None. Connecting again counts.
        connect_timeout: Seconds until a session stands, and until the tools are listed.
        prefer_structured: Give the model the structured content, as JSON, in place of the texts,
            where a result has both.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        server: MCPServer,
        *,
        id: str | None = None,
        allowed_tools: AllowedTools = None,
        prefix: str = "",
        timeout: float | None = 60.0,
        connect_timeout: float = 30.0,
        prefer_structured: bool = False,
    ) -> None:
        check_server(server)
        super().__init__(id=label_of(server) if id is None else id)
        self._server: MCPServer = server
        self._allowed = _checked_allowed(allowed_tools)
        self._prefix = _checked_prefix(prefix)
        self._timeout = None if timeout is None else _checked_seconds("timeout", timeout)
        self._connect_timeout = _checked_seconds("connect_timeout", connect_timeout)
        self._converter = _converter(prefer_structured)
        self._tools: list[Tool[..., Any]] | None = None
        self._connection: Connection | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._owner: trio.lowlevel.Task | None = None

    @property
    def tools(self) -> list[Tool[..., Any]]:
        """The tools, as the server listed them when the block was entered, or at `refresh`.

        Raises:
            RuntimeError: The block was not entered.
        """
        if self._tools is None:
            raise RuntimeError(
                f"the tools of {self!r} are known inside of its block: async with MCPToolset(...)"
            )
        return list(self._tools)

    @property
    def instructions(self) -> str | None:
        """What the server says of how its tools are to be used, or None; for the instructions of
        a conversation, if you trust it."""
        return None if self._connection is None else self._connection.instructions

    async def refresh(self) -> None:
        """List the tools again.

        Raises:
            MCPServerError: The server is gone, or does not say.
            RuntimeError: The block was not entered.
            ValueError: ``allowed_tools`` names what there is not.
        """
        if self._connection is None:
            raise RuntimeError(f"{self!r} was not entered; write: async with MCPToolset(...)")
        self._tools = self._made_of(await self._connection.tools())

    # --- lifetime -------------------------------------------------------------------------

    @enable_ki_protection
    async def __aenter__(self) -> Self:
        """Connect, and list the tools.

        Raises:
            MCPServerError: The server cannot be started or reached, or does not speak the
                protocol.
            RuntimeError: It was entered before.
            ValueError: ``allowed_tools`` names what there is not.
        """
        check_on_trio()
        if self._connection is not None:
            raise RuntimeError(f"{self!r} was entered before; make another one")
        self._owner = current_task()
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._connection = Connection(
            self._server, self._nursery, label=self.id, connect_timeout=self._connect_timeout
        )
        is_ready = False
        try:
            await self.refresh()
            is_ready = True
        finally:
            if not is_ready:
                await self._leave()
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._manager is None or self._nursery is None:
            raise RuntimeError(f"{self!r} is not open")
        if current_task() is not self._owner:
            # Trio's own state must not be touched from here: the whole run would die.
            self._nursery.cancel_scope.cancel()
            hint = LEFT_BY_A_GENERATOR if isinstance(exc, GeneratorExit) else ""
            raise RuntimeError(
                "a toolset must be left by the task that entered it; its session has been "
                f"cancelled{hint}"
            )
        await self._leave()

    async def setup(self) -> Self:
        """Enter the block, where a set that holds this one is entered. Else write ``async with``.

        Raises:
            MCPServerError: As at the entrance of the block.
            RuntimeError: As there.
            ValueError: As there.
        """
        return await self.__aenter__()

    async def aclose(self) -> None:
        """Leave the block that `setup` has entered, in the same task; nothing if it was left.

        Raises:
            RuntimeError: Another task has entered it.
        """
        if self._manager is not None:
            await self.__aexit__(None, None, None)

    async def _leave(self) -> None:
        assert self._manager is not None
        assert self._nursery is not None
        assert self._connection is not None
        # Without the shield, a cancellation from outside would replace the exception that is on
        # its way out of the block. Closing is bounded.
        self._nursery.cancel_scope.shield = True
        self._connection.close()
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            # A Ctrl-C or a cancellation; what fails in the session is kept there.
            raise_bare(group)
        finally:
            self._manager = self._nursery = self._owner = None

    # --- tools ----------------------------------------------------------------------------

    def _made_of(self, offered: list[ServerTool]) -> list[Tool[..., Any]]:
        allowed = self._allowed
        if allowed is not None and not callable(allowed):
            missing = sorted(set(allowed) - {tool.name for tool in offered})
            if missing:
                names = ", ".join(tool.name for tool in offered)
                raise ValueError(
                    f"allowed_tools names {', '.join(map(repr, missing))}, which the MCP server "
                    f"{self.id} does not have; it has: {names or 'none'}"
                )
        made: dict[str, Tool[..., Any]] = {}
        for tool in offered:
            is_allowed = (
                allowed is None
                or (callable(allowed) and allowed(tool.name))
                or (not callable(allowed) and tool.name in allowed)
            )
            if is_allowed:
                name = _usable_name(self._prefix + tool.name, made)
                try:
                    made[name] = self._made_tool(name, tool)
                except ValueError as exc:
                    logger.warning(
                        "the tool %s of the MCP server %s is left out: %s", name, self.id, exc
                    )
        return list(made.values())

    def _made_tool(self, name: str, tool: ServerTool) -> RawFunctionTool[..., Any]:
        connection = self._connection
        assert connection is not None

        async def call(raw_arguments: dict[str, Any]) -> CallToolResult:
            try:
                result = await connection.call(tool.name, raw_arguments)
            except MCPCallError as exc:
                raise ToolError(str(exc)) from exc
            if result.is_error:
                raise ToolError(text_of(result) or "The call failed.")
            return result

        call.__name__ = call.__qualname__ = name
        call.__doc__ = tool.description
        return function_tool(
            call,
            raw_schema={
                "name": name,
                "description": tool.description or tool.title or "",
                "parameters": tool.input_schema,
            },
            timeout=self._timeout,
            converter=self._converter,
        )


_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]", re.ASCII)
_MAX_NAME: Final = 64


def _usable_name(name: str, taken: Collection[str]) -> str:
    """A name that servers accept (https://platform.openai.com/docs/api-reference/chat/create)."""
    usable = first = _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME]
    number = 1
    while usable in taken:
        number += 1
        end = f"_{number}"
        usable = first[: _MAX_NAME - len(end)] + end
    return usable


def _converter(prefer_structured: object) -> Converter:
    if not isinstance(prefer_structured, bool):
        raise TypeError(
            f"prefer_structured={prefer_structured!r} is not accepted; it takes True or False"
        )
    converter = make_converter()
    converter.register_unstructure_hook(
        CallToolResult, functools.partial(text_of, prefer_structured=prefer_structured)
    )
    return converter


def _checked_allowed(value: object) -> Collection[str] | Callable[[str], bool] | None:
    if value is None or callable(value):
        return cast("Callable[[str], bool] | None", value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"allowed_tools={value!r} is not accepted; it takes a list of names, a function or None"
        )
    names = list(cast("Iterable[object]", value))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"allowed_tools holds {name!r}, which is no name")
    return cast("list[str]", names)


def _checked_prefix(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"prefix={value!r} is not accepted; it takes a string")
    if _NOT_IN_NAMES.search(value):
        raise ValueError(
            f"prefix={value!r} cannot begin the name of a tool: use a-z, A-Z, 0-9, _ and -"
        )
    return value


def _checked_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r} is not accepted; it takes a number of seconds")
    if not value > 0:
        raise ValueError(f"{name}={value!r} is not accepted; it takes seconds above 0")
    return float(value)
