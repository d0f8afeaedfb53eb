"""Tools that belong together: sets of them, and the tools of a conversation by name.

This module knows how tools are collected, told apart and described to a server. It does not know
what a tool is made of, and calls none.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

from lktrio._checks import shown
from lktrio._definitions import public

from .provider import ProviderTool
from .tool import Tool

__all__ = ["ToolContext", "Toolset", "checked_tools", "find_function_tools", "to_fnc_ctx"]


@public
class Toolset:
    """Tools that belong together. A subclass also has its own decorated methods.

    A set whose tools need something to be opened first, such as a connection, is a block: the
    tools are used inside of ``async with``. See `setup`.

    Args:
        id: Identifies the set.
        tools: Its tools, or other sets.
    """

    def __init__(self, *, id: str, tools: Iterable[Tool[..., Any] | Toolset] = ()) -> None:
        self._id = id
        self._given = tuple(tools)

    @property
    def id(self) -> str:
        """Identifies the set."""
        return self._id

    @property
    def tools(self) -> list[Tool[..., Any]]:
        """All its tools: those that were given, then its methods in the order of definition."""
        return [*_flatten(self._given), *_tools_among(self, _names_in(type(self)))]

    @property
    def toolsets(self) -> list[Toolset]:
        """The sets that it was given, without those within them."""
        return [each for each in self._given if isinstance(each, Toolset)]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id!r}>"

    # --- lifetime ---

    async def setup(self) -> Self:
        """Open what the tools need. A subclass that has something to open does it here, after
        ``await super().setup()``; ``async with`` calls it.

        The sets that it was given are set up one after the other. If one fails, those before it
        are closed again.

        Returns:
            The set itself.
        """
        opened: list[Toolset] = []
        toolsets = self.toolsets
        try:
            for toolset in toolsets:
                await toolset.setup()
                opened.append(toolset)
        finally:
            if len(opened) < len(toolsets):
                await _close(opened)
        return self

    async def aclose(self) -> None:
        """Close what `setup` has opened. A subclass does so before ``await super().aclose()``;
        the end of an ``async with`` block calls it, also where that was cancelled.

        The sets that it was given are closed in reverse order, all of them, whatever one raises.
        """
        await _close(self.toolsets)

    async def __aenter__(self) -> Self:
        """Call `setup`."""
        return await self.setup()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Call `aclose`."""
        await self.aclose()


async def _close(toolsets: Sequence[Toolset]) -> None:
    """Close sets, the last one first, and all of them."""
    # Not by an exit stack, which forgets the exception that is on its way out of the block.
    if toolsets:
        try:
            await toolsets[-1].aclose()
        finally:
            await _close(toolsets[:-1])


@public
def find_function_tools(cls_or_obj: object) -> list[Tool[..., Any]]:
    """Find the tools among the members of a class, an object or a module.

    ::

        class Waiter:
            @function_tool
            async def reserve(self, guests: int) -> str: ...


        tools = find_function_tools(Waiter())

    Properties are not asked, so that nothing of the object runs.

    Args:
        cls_or_obj: Where to look. The methods of an object are tools of that object; those of a
            class have to be taken from an instance before they can be used.

    Returns:
        The tools in the order of definition: inherited ones first, attributes of the object last.
    """
    class_: type[object] = cls_or_obj if isinstance(cls_or_obj, type) else type(cls_or_obj)
    own: Iterable[str] = getattr(cls_or_obj, "__dict__", ())
    return list(_tools_among(cls_or_obj, dict.fromkeys([*_names_in(class_), *own])))


def _names_in(class_: type[object]) -> list[str]:
    """The members of a class, each once, in the order of their first definition."""
    bases = reversed(class_.__mro__)
    return list(dict.fromkeys(name for base in bases for name in vars(base)))


def _tools_among(owner: object, names: Iterable[str]) -> Iterator[Tool[..., Any]]:
    for name in names:
        static: object = inspect.getattr_static(owner, name, None)
        if isinstance(static, staticmethod):
            static = cast("object", static.__func__)
        if isinstance(static, Tool):
            yield getattr(owner, name)


def checked_tools(tools: object) -> tuple[Tool[..., Any] | Toolset, ...]:
    """What was given as ``tools``, None for none. What its members are is looked at elsewhere.

    Raises:
        TypeError: It is no list.
    """
    if tools is None:
        return ()
    if isinstance(tools, str) or not isinstance(tools, Iterable):
        raise TypeError(
            f"tools={shown(tools)} is no list of tools; give a list of functions decorated with "
            "@function_tool"
        )
    return tuple(cast("Iterable[Tool[..., Any] | Toolset]", tools))


def _flatten(tools: Iterable[Any]) -> Iterator[Tool[..., Any]]:
    for tool in tools:
        if isinstance(tool, Toolset):
            yield from tool.tools
        elif isinstance(tool, Tool):
            yield cast("Tool[..., Any]", tool)
        elif isinstance(tool, type):
            raise TypeError(
                f"{tool!r} is a class, not a tool: give an instance if it is a Toolset, and "
                f"find_function_tools({tool.__name__}(...)) if it has decorated methods"
            )
        elif callable(tool):
            raise TypeError(f"{tool!r} is not a tool: decorate it with @function_tool")
        elif isinstance(tool, Mapping):
            raise TypeError(
                f"{shown(cast('object', tool))} is not a tool: give one that the server runs as "
                "ProviderTool({...}), and a function of yours with function_tool(raw_schema={...})"
            )
        else:
            raise TypeError(f"tools are functions decorated with @function_tool, got {tool!r}")


def _sets_in(tools: Iterable[object]) -> Iterator[Toolset]:
    for tool in tools:
        if isinstance(tool, Toolset):
            yield from _sets_in(tool.toolsets)
            yield tool


@public
class ToolContext:
    """The tools of a conversation, by name.

    Args:
        tools: Tools, and sets of tools.

    Raises:
        TypeError: If something else is among them.
        ValueError: If two have the same name, or one is a method without its instance.
    """

    def __init__(self, tools: Iterable[Tool[..., Any] | Toolset] = ()) -> None:
        by_name: dict[str, Tool[..., Any]] = {}
        by_server: list[ProviderTool] = []
        given = checked_tools(tools)
        for tool in _flatten(given):
            if isinstance(tool, ProviderTool):
                by_server.append(tool)
                continue
            if not tool.is_bound:
                raise ValueError(
                    f"tool {tool.name!r} is a method: take it from an instance, for example "
                    f"`agent.{tool.name}`"
                )
            if tool.name in by_name:
                raise ValueError(
                    f"two tools are named {tool.name!r}: give one of them another name, with "
                    '@function_tool(name="...")'
                )
            by_name[tool.name] = tool
        self._by_name = types.MappingProxyType(by_name)
        self._toolsets = tuple(_sets_in(given))
        self._by_server = tuple(by_server)

    @classmethod
    def empty(cls) -> ToolContext:
        """Make a context without tools.

        Returns:
            The context.
        """
        return cls()

    @property
    def function_tools(self) -> Mapping[str, Tool[..., Any]]:
        """The tools by name, in the order in which they were given, without `provider_tools`."""
        return self._by_name

    @property
    def toolsets(self) -> list[Toolset]:
        """The sets of tools, each behind those within it."""
        return list(self._toolsets)

    @property
    def provider_tools(self) -> list[ProviderTool]:
        """The tools that run at the server, in the order in which they were given."""
        return list(self._by_server)

    def flatten(self) -> list[Tool[..., Any]]:
        """List the tools.

        Returns:
            A new list, in the order in which they were given, sets taken apart; those that run
            at the server come last.
        """
        return [*self._by_name.values(), *self._by_server]

    def get(self, name: str) -> Tool[..., Any] | None:
        """Find a tool.

        Args:
            name: Its name.

        Returns:
            The tool, or None.
        """
        return self._by_name.get(name)

    def get_function_tool(self, name: str) -> Tool[..., Any] | None:
        """Find a tool. The same as `get`, by the name that LiveKit Agents has for it.

        Args:
            name: Its name.

        Returns:
            The tool, or None.
        """
        return self._by_name.get(name)

    def parse_function_tools(
        self, format: Literal["openai"] = "openai", *, strict: bool = True
    ) -> list[dict[str, Any]]:
        """Describe the tools as an API wants it.

        Args:
            format: Which API. There is one.
            strict: As for `Tool.definition`.

        Returns:
            A ``tools`` array, new at every call.

        Raises:
            ValueError: If the API is not known.
        """
        if format != "openai":
            raise ValueError(f'format must be "openai", got {format!r}')
        return [tool.definition(strict=strict) for tool in self.flatten()]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Tool[..., Any]]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"<ToolContext {', '.join(self._by_name) or 'without tools'}>"


@public
def to_fnc_ctx(
    tools: ToolContext | Iterable[Tool[..., Any] | Toolset], strict: bool = True
) -> list[dict[str, Any]]:
    """Describe tools as the Chat Completions API wants it.

    Args:
        tools: Tools and sets of tools.
        strict: Whether the server is asked to hold the model to the schemas. A tool whose types
            the strict dialect cannot express is described without it.

    Returns:
        A ``tools`` array, new at every call.

    Raises:
        TypeError: If something else is among them.
        ValueError: If two have the same name, or one is a method without its instance.
    """
    context = tools if isinstance(tools, ToolContext) else ToolContext(tools)
    return context.parse_function_tools(strict=strict)
