"""Tools: functions of the program that a model may call.

This module knows what a tool is to Python: it is made by a decorator, called, and bound to an
instance. What it offers to a model is read from its function elsewhere (`_tool_definition`).
"""

from __future__ import annotations

import abc
import functools
import types
from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

import lktrio._schemas as schemas
from lktrio._checks import check_flag, check_seconds
from lktrio._definitions import public
from lktrio._json import Arguments, UnreadableArguments, read_arguments

from .info import FunctionToolInfo, RawFunctionToolInfo
from .values import DecodedArguments, ToolOptions

# What reads signatures and converts arguments is a quarter of the package, and only programs that
# have tools need it: it is imported where a tool is made or called.
if TYPE_CHECKING:
    from types import FrameType

    from lktrio._schemas import JSONSchema

    from .signature import Receiver

__all__ = [
    "FunctionTool",
    "RawFunctionTool",
    "Tool",
    "check_converter",
    "decode_call",
    "function_tool",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class _Definition(Protocol):
    """What a `Tool` needs to know of its function."""

    function: Callable[..., Any]
    name: str
    description: str
    options: ToolOptions
    is_async: bool
    receives: Receiver

    def learn(self, owner: type[Any]) -> None:
        """Take note of the class that a method is in, which annotations may name."""
        ...

    def schema(self, *, strict: bool) -> JSONSchema:
        """The ``function`` member of the API, new at every call."""
        ...

    def decode(self, arguments: Arguments | UnreadableArguments) -> DecodedArguments:
        """Make values of the arguments of a call."""
        ...

    def encode(self, value: object) -> Any:
        """Write what the function returned as a JSON value."""
        ...

    def complete(
        self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Add the defaults that only field specifiers declare, where Python calls the function."""
        ...


@public
class Tool(Generic[P, R_co]):
    """A function that a model may call. `function_tool` makes them.

    Calling a tool calls the function. A method becomes a tool of its instance when it is taken
    from one, as methods do.
    """

    def __init__(self, definition: _Definition, receiver: object = None) -> None:
        self._definition = definition
        self._receiver = receiver
        self._call = definition.function
        if receiver is not None:
            self._call = types.MethodType(definition.function, receiver)
        functools.update_wrapper(cast("Callable[..., Any]", self), self._call)

    @property
    def id(self) -> str:
        """Identifies it: its `name`."""
        return self._definition.name

    @property
    def name(self) -> str:
        """Name by which the model calls it."""
        return self._definition.name

    @property
    @abc.abstractmethod
    def info(self) -> FunctionToolInfo | RawFunctionToolInfo:
        """What is known of it: name and description, or name and schema."""

    @property
    def description(self) -> str:
        """What the model is told that it does; may be empty."""
        return self._definition.description

    @property
    def timeout(self) -> float | None:
        """Seconds that one call may take; None if it may take any time."""
        return self._definition.options.timeout

    @property
    def abandon_on_cancel(self) -> bool:
        """Whether the thread of a sync function is left behind when the call is cancelled."""
        return self._definition.options.abandon_on_cancel

    @property
    def is_async(self) -> bool:
        """Whether what a call returns must be awaited."""
        return self._definition.is_async

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""
        completed, named = self._definition.complete(self._call, args, kwargs)
        return cast("R_co", self._call(*completed, **named))

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._definition.learn(owner)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tool):
            return NotImplemented
        return self._definition is other._definition and self._receiver is other._receiver

    def __hash__(self) -> int:
        return hash((id(self._definition), id(self._receiver)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def definition(self, *, strict: bool = True) -> dict[str, Any]:
        """Describe the tool as the Chat Completions API wants it.

        Args:
            strict: Whether the server is asked to hold the model to the schema. A tool whose
                types the strict dialect cannot express is described without it.

        Returns:
            An entry of the ``tools`` array, new at every call.

        Raises:
            TypeError: If an annotation still names something that does not exist.
        """
        return {"type": "function", "function": self._definition.schema(strict=strict)}

    def decode_arguments(self, raw: str) -> DecodedArguments:
        """Turn the arguments of a call into values for the function.

        Args:
            raw: The text that the model wrote.

        Returns:
            The values, and the text to keep in place of ``raw``.

        Raises:
            ToolError: If the text is cut off, is not one JSON object, or does not fit the
                parameters. The message tells the model what to change.
            TypeError: If an annotation still names something that does not exist.
        """
        return self._definition.decode(read_arguments(raw))

    def encode_output(self, value: object) -> Any:
        """Turn what the function returned into what the model is told.

        Args:
            value: What the function returned.

        Returns:
            A value made of dict, list, str, int, float, bool and None.

        Raises:
            TypeError: If it, or something in it, has no JSON form.
        """
        return self._definition.encode(value)

    @property
    def is_bound(self) -> bool:
        """Whether it can be called as it is: a method has to be taken from an instance."""
        return self._definition.receives is None or self._receiver is not None

    def _bind(self, instance: object, owner: type[Any] | None) -> Any:
        receiver = owner if self._definition.receives == "class" else instance
        if self._definition.receives is None or receiver is None:
            return self
        return type(self)(self._definition, receiver)


def decode_call(
    tool: Tool[..., Any], arguments: Arguments | UnreadableArguments
) -> DecodedArguments:
    """Do what `Tool.decode_arguments` does, with arguments that have been parsed."""
    return tool._definition.decode(arguments)  # pyright: ignore[reportPrivateUsage]


@public
class FunctionTool(Tool[P, R_co]):
    """A tool whose schema is read from the annotations and the docstring of its function."""

    @property
    def info(self) -> FunctionToolInfo:
        """Its name and description, as one value."""
        return FunctionToolInfo(self.name, self.description)

    @overload
    def __get__(
        self: FunctionTool[Concatenate[type[S], Q], R_co], instance: S | None, owner: type[S]
    ) -> FunctionTool[Q, R_co]: ...

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> FunctionTool[P, R_co]: ...

    @overload
    def __get__(
        self: FunctionTool[Concatenate[S, Q], R_co], instance: S, owner: type[Any] | None = None
    ) -> FunctionTool[Q, R_co]: ...

    @overload
    def __get__(
        self, instance: object, owner: type[Any] | None = None
    ) -> FunctionTool[P, R_co]: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """Become a tool of the instance, if the function is a method."""
        return self._bind(instance, owner)


@public
class RawFunctionTool(Tool[P, R_co]):
    """A tool with a schema of its own, whose function takes ``raw_arguments``.

    That is the JSON object as the model wrote it, not checked against the schema.
    """

    @property
    def info(self) -> RawFunctionToolInfo:
        """Its name and its schema, as one value."""
        return RawFunctionToolInfo(self.name, self._definition.schema(strict=False))

    @overload
    def __get__(
        self: RawFunctionTool[Concatenate[type[S], Q], R_co], instance: S | None, owner: type[S]
    ) -> RawFunctionTool[Q, R_co]: ...

    @overload
    def __get__(
        self, instance: None, owner: type[Any] | None = None
    ) -> RawFunctionTool[P, R_co]: ...

    @overload
    def __get__(
        self: RawFunctionTool[Concatenate[S, Q], R_co], instance: S, owner: type[Any] | None = None
    ) -> RawFunctionTool[Q, R_co]: ...

    @overload
    def __get__(
        self, instance: object, owner: type[Any] | None = None
    ) -> RawFunctionTool[P, R_co]: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """Become a tool of the instance, if the function is a method."""
        return self._bind(instance, owner)


class _ToolDecorator(Protocol):
    @overload
    def __call__(
        self, function: classmethod[S, P, R], /
    ) -> FunctionTool[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionTool[P, R]: ...


class _RawToolDecorator(Protocol):
    @overload
    def __call__(
        self, function: classmethod[S, P, R], /
    ) -> RawFunctionTool[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> RawFunctionTool[P, R]: ...


@overload
def function_tool(
    function: classmethod[S, P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: schemas.Converter | None = None,
) -> FunctionTool[Concatenate[Any, P], R]: ...
@overload
def function_tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: schemas.Converter | None = None,
) -> FunctionTool[P, R]: ...
@overload
def function_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: schemas.Converter | None = None,
) -> _ToolDecorator: ...
@overload
def function_tool(
    function: Callable[P, R],
    /,
    *,
    raw_schema: Mapping[str, Any],
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: schemas.Converter | None = None,
) -> RawFunctionTool[P, R]: ...
@overload
def function_tool(
    *,
    raw_schema: Mapping[str, Any],
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: schemas.Converter | None = None,
) -> _RawToolDecorator: ...
@public
def function_tool(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    raw_schema: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: schemas.Converter | None = None,
) -> Any:
    """Make a tool of a function or method, sync or async. Works bare and with arguments.

    The schema comes from the annotations: str, int, float, bool, None, ``Literal``, enumerations
    (by value), unions, lists, sets, tuples, dicts, dates, times, durations, UUIDs, decimals,
    bytes (the text in UTF-8), paths, classes with typed fields (attrs, dataclass, ``TypedDict``,
    ``NamedTuple``, pydantic, msgspec), and what ``annotated_types`` says of them. A parameter is
    described by a string in ``Annotated``, or else by the docstring (Google, NumPy, reST or
    epydoc). A field of pydantic, msgspec, attrs or dataclasses, in the place of a default or in
    ``Annotated``, gives default, bounds, description and name. A parameter annotated with
    `RunContext` receives it. ``*args`` and ``**kwargs`` are left empty.

    Args:
        function: The function, where it is called bare.
        name: Name of the tool, 1 to 64 of a-z, A-Z, 0-9, _ and -. The name of the function by
            default.
        description: What the tool does. What the docstring says by default.
        raw_schema: A schema of the author's: a mapping with ``name``, ``description`` and
            ``parameters``. It is sent as it is, and the function takes the JSON object as
            ``raw_arguments``.
        timeout: Seconds that one call may take. Any time by default.
        abandon_on_cancel: Whether the thread of a sync function is left behind, and its result
            thrown away, when the call is cancelled. By default it is waited for.
        converter: Reads and writes types of your own (see `make_converter`) in the parameters, and
            in what the function returns. It is copied.

    Returns:
        A `FunctionTool`, or a `RawFunctionTool` if there is a ``raw_schema``; or a decorator.

    Raises:
        TypeError: If a parameter has no annotation or one that has no JSON form, or if there is
            nothing but ``*args`` and ``**kwargs``.
        ValueError: If a name or an option is out of range.
    """
    from .definition import RawDefinition, TypedDefinition
    from .signature import caller, is_method, local_scope

    converter = check_converter(converter)
    options = _check_options(timeout, abandon_on_cancel)
    if raw_schema is not None and not (name is None and description is None):
        raise TypeError("name and description of a raw tool belong in its raw_schema")
    if description is not None and not isinstance(description, str):
        raise TypeError(f"description must be a string, got {description!r}")

    def decorate(decorated: Any, frame: FrameType) -> Tool[Any, Any]:
        receives: Receiver = None
        if isinstance(decorated, classmethod | staticmethod):
            receives = "class" if isinstance(decorated, classmethod) else None
            decorated = cast("Any", decorated).__func__
        elif isinstance(decorated, Tool):
            raise TypeError(f"{decorated!r} is a tool already")
        elif isinstance(decorated, type):
            raise TypeError(
                f"function_tool decorates functions, got the class {decorated.__name__}; decorate "
                f"its methods, and offer find_function_tools({decorated.__name__}())"
            )
        elif not callable(decorated):
            raise TypeError(
                f"function_tool decorates functions, got {decorated!r}; its options are keywords"
            )
        elif is_method(decorated):
            receives = "instance"
        if raw_schema is not None:
            return RawFunctionTool(
                RawDefinition(
                    decorated,
                    raw_schema=raw_schema,
                    options=options,
                    receives=receives,
                    converter=converter,
                )
            )
        return FunctionTool(
            TypedDefinition(
                decorated,
                name=name,
                description=description,
                options=options,
                receives=receives,
                scope=local_scope(frame),
                converter=converter,
            )
        )

    def decorator(decorated: Any, /) -> Tool[Any, Any]:
        return decorate(decorated, caller())

    return decorator if function is None else decorate(function, caller())


# --- Checks --------------------------------------------------------------------------------------


def _check_options(timeout: float | None, abandon_on_cancel: bool) -> ToolOptions:
    check_seconds("timeout", timeout, none="no timeout")
    check_flag("abandon_on_cancel", abandon_on_cancel)
    return ToolOptions(timeout, abandon_on_cancel)


def check_converter(converter: object) -> schemas.Converter | None:
    """Refuse what is no converter of this library, and say what to do with another.

    Args:
        converter: What was given.

    Returns:
        The same.

    Raises:
        TypeError: If it is something else.
    """
    if converter is None:
        return None
    from lktrio._schemas import Converter

    if not isinstance(converter, Converter):
        raise TypeError(
            f"converter must be made by lktrio.make_converter(), got {type(converter)!r}; register "
            "the hooks of another one on ours, in the same way"
        )
    return converter
