"""What goes into a tool's function and what comes out of it, as values.

This module knows what a function may receive, return and raise, and where its arguments go. It
reads no signature and calls nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import attrs
import msgspec

from lktrio._conversation import ChatContext, FunctionCall
from lktrio._definitions import public

# What reads types is a quarter of the package, and only programs that have tools need it.
if TYPE_CHECKING:
    from lktrio._schemas import Field

__all__ = [
    "DecodedArguments",
    "Parameter",
    "RunContext",
    "StopResponse",
    "ToolError",
    "ToolOptions",
    "ToolResult",
]

T_co = TypeVar("T_co", covariant=True)


@public
class ToolError(Exception):
    """Raise it in a tool to tell the model what went wrong.

    The text of any other exception is kept from the model.

    Args:
        message: What the model reads as the output of its call.
    """

    message: str
    """What the model reads."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@public
class StopResponse(Exception):
    """Raise it in a tool whose call needs neither an output nor an answer.

    Args:
        args: For who reads a traceback; the model does not see it.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


@public
class ToolResult(msgspec.Struct, frozen=True, weakref=True):
    """Return it from a tool to say more than the output."""

    output: Any
    """What the function would have returned otherwise."""

    reply_required: bool = True
    """Whether the model is to go on and say something."""


def _no_call() -> FunctionCall:
    return FunctionCall(call_id="", name="", arguments="{}")


@public
class RunContext(msgspec.Struct, Generic[T_co], frozen=True, weakref=True):
    """What a call happens in.

    A parameter of a tool that is annotated with it receives it, and is no part of the schema. A
    program that calls a tool itself, a test say, makes one: ``RunContext(userdata)``.
    """

    userdata: T_co
    """The object that the program handed in for its tools."""

    function_call: FunctionCall = msgspec.field(default_factory=_no_call)
    """The call. One without a name where there is none, because the program calls the tool."""

    chat_ctx: ChatContext = msgspec.field(default_factory=ChatContext)
    """The conversation that the call belongs to; an empty one unless it is said."""


@attrs.frozen(eq=False, repr=False)
class Parameter:
    """A parameter of a tool's function."""

    name: str
    default: object
    positional_only: bool
    takes_context: bool
    field: Field | None = None


@attrs.frozen(eq=False)
class DecodedArguments:
    """The arguments of one call, checked and converted."""

    values: Mapping[str, Any]
    """The values by the names of their parameters. What is to have the default of the function
    is absent; a default that a field specifier declares, as in ``Field(default=4)``, is there."""

    json: str
    """The arguments as canonical JSON text: one object, to keep in place of what the model
    wrote."""

    _parameters: Sequence[Parameter]

    def bind(
        self, run_context: RunContext[object] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the values where the function wants them.

        Args:
            run_context: What a parameter annotated with `RunContext` receives.

        Returns:
            The positional arguments and the keyword arguments, for ``tool(*args, **kwargs)``.

        Raises:
            TypeError: If the function wants a `RunContext`, and none was given.
        """
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self._parameters:
            if not parameter.takes_context:
                value = self.values.get(parameter.name, parameter.default)
            elif run_context is not None:
                value = run_context
            else:
                value = parameter.default
                if value is inspect.Parameter.empty:
                    raise TypeError(
                        f"parameter {parameter.name!r} wants a RunContext: hand one to bind()"
                    )
            if parameter.positional_only:
                args.append(value)
            elif value is not parameter.default:
                kwargs[parameter.name] = value
        return tuple(args), kwargs


class ToolOptions(NamedTuple):
    """How a tool's function is to be called."""

    timeout: float | None
    abandon_on_cancel: bool
