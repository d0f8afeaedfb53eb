"""Tools that belong together: sets of them, and the tools of a conversation by name.

This module knows how tools are collected, told apart and described to a server. It does not know
what a tool is made of, and calls none.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from lktrio._checks import shown
from lktrio._definitions import public

from .provider import ProviderTool
from .tool import Tool

__all__ = ["ToolContext", "Toolset", "to_fnc_ctx"]


@public
class Toolset:
    """Tools that belong together. A subclass also has its own decorated methods.

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
        names: dict[str, None] = {}
        for class_ in reversed(type(self).__mro__):
            names.update(dict.fromkeys(vars(class_)))
        tools = list(_flatten(self._given))
        for name in names:
            static: object = inspect.getattr_static(self, name, None)
            if isinstance(static, staticmethod):
                static = cast("object", static.__func__)
            if isinstance(static, Tool):
                tools.append(getattr(self, name))
        return tools

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id!r}>"


def _flatten(tools: Iterable[Any]) -> Iterator[Tool[..., Any]]:
    for tool in tools:
        if isinstance(tool, Toolset):
            yield from tool.tools
        elif isinstance(tool, Tool):
            yield cast("Tool[..., Any]", tool)
        elif callable(tool):
            raise TypeError(f"{tool!r} is not a tool: decorate it with @function_tool")
        elif isinstance(tool, Mapping):
            raise TypeError(
                f"{shown(cast('object', tool))} is not a tool: give one that the server runs as "
                "ProviderTool({...}), and a function of yours with function_tool(raw_schema={...})"
            )
        else:
            raise TypeError(f"tools are functions decorated with @function_tool, got {tool!r}")


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
        for tool in _flatten(tools):
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
