"""Tools that run at the server, such as its own web search.

This module knows how such a tool stands in a request: as the program wrote it. What the server
does with it, and what it answers, it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from lktrio._checks import refusal
from lktrio._definitions import public
from lktrio._json import check_json, plain_json

from .info import RawFunctionToolInfo
from .tool import Tool
from .values import ToolOptions

if TYPE_CHECKING:
    from lktrio._json import Arguments, UnreadableArguments
    from lktrio._schemas import JSONSchema

    from .signature import Receiver
    from .values import DecodedArguments

__all__ = ["ProviderTool"]


@public
class ProviderTool(Tool[..., Any]):
    """A tool that the server has and runs by itself, such as its web search.

    ::

        tools = [get_weather, ProviderTool({"type": "web_search"})]

    It is sent as it is. What comes of it is in the answer; there is no call to carry out.

    Args:
        definition: The entry of the ``tools`` array. It is copied.

    Raises:
        TypeError: If it is no mapping, or holds what is no JSON value.
        ValueError: If it has no type, or describes a function of the program.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        super().__init__(_AtServer(_checked(definition)))

    @property
    def info(self) -> RawFunctionToolInfo:
        """Its type and its entry, as one value."""
        return RawFunctionToolInfo(self.name, self.definition())

    def definition(self, *, strict: bool = True) -> dict[str, Any]:
        """Describe the tool as the Chat Completions API wants it.

        Args:
            strict: Of no consequence here.

        Returns:
            What was given, new at every call.
        """
        return self._definition.schema(strict=strict)


def _checked(given: object) -> JSONSchema:
    if not isinstance(given, Mapping):
        wanted = "an entry of the tools array, such as {'type': 'web_search'}"
        raise TypeError(refusal("definition", given, wanted))
    definition = cast("Mapping[str, object]", given)
    check_json(definition, "definition")
    kind = definition.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError(refusal("definition['type']", kind, "the name that the server gives it"))
    if kind == "function":
        raise ValueError(
            "definition['type']='function' is not accepted: a function of the program is a tool "
            "by function_tool, with a schema of your own by function_tool(raw_schema=...)"
        )
    return cast("JSONSchema", plain_json(definition))


def _run_at_server(*_: object, **__: object) -> NoReturn:
    raise TypeError("this tool runs at the server, and cannot be called here")


class _AtServer:
    """What a `Tool` needs to know of its function, of one that is somewhere else."""

    def __init__(self, entry: JSONSchema) -> None:
        self.function: Callable[..., Any] = _run_at_server
        self.name: str = entry["type"]
        self.description = ""
        self.is_async = False
        self.receives: Receiver = None
        self.options = ToolOptions(None, abandon_on_cancel=False)
        self._entry = entry

    def learn(self, owner: type[Any]) -> None:
        """Do nothing: it is no method."""

    def schema(self, *, strict: bool) -> JSONSchema:  # noqa: ARG002  it is the server's to say
        """The entry of the ``tools`` array, new at every call."""
        return cast("JSONSchema", plain_json(self._entry))

    def decode(self, arguments: Arguments | UnreadableArguments) -> DecodedArguments:  # noqa: ARG002
        """Refuse: there are no calls of it."""
        _run_at_server()

    def encode(self, value: object) -> Any:  # noqa: ARG002
        """Refuse: there are no calls of it."""
        _run_at_server()

    def complete(
        self,
        call: Any,  # noqa: ARG002
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return them as they are."""
        return args, kwargs
