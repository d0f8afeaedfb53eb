"""Tools: functions of the program that a model may call.

This module knows what a decorated function offers: a name, a description, a schema, and the way
from the text of a call to Python arguments. It runs nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

import attrs
import msgspec

from . import _later as later
from ._arguments import MalformedArguments, parse_arguments
from ._chat_context import ChatContext, FunctionCall
from ._json_values import check_json
from ._public import public

# What reads signatures and converts arguments is a quarter of the package, and only programs that
# have tools need it: it is imported where a tool is made or called.
if TYPE_CHECKING:
    from types import FrameType

    from ._schema import JSONSchema
    from ._shapes import Field, Types

__all__ = [
    "DecodedArguments",
    "FunctionTool",
    "RawFunctionTool",
    "RunContext",
    "StopResponse",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "Toolset",
    "check_converter",
    "function_tool",
    "to_fnc_ctx",
]

logger = logging.getLogger("lktrio")

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)


# --- What a tool's function may raise, return and receive ----------------------------------------


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
    """Raise it in a tool whose call needs neither an output nor a reply.

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


@public
class RunContext(msgspec.Struct, Generic[T_co], frozen=True, weakref=True):
    """What a call happens in.

    A parameter of a tool that is annotated with it receives it, and is no part of the schema.
    """

    userdata: T_co
    """The object that the program handed in for its tools."""

    function_call: FunctionCall
    """The call."""

    chat_ctx: ChatContext
    """The conversation that the call belongs to."""


# --- Definitions: what is the same for a tool and for every instance it is bound to --------------


@attrs.frozen(eq=False, repr=False)
class _Parameter:
    name: str
    default: Any
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

    _parameters: Sequence[_Parameter]

    def bind(
        self, run_context: RunContext[Any] | None = None
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


class _Options(NamedTuple):
    timeout: float | None
    abandon_on_cancel: bool


class _Definition(Protocol):
    """What a `Tool` needs to know of its function."""

    function: Callable[..., Any]
    name: str
    description: str
    options: _Options
    is_async: bool
    receives: Literal["instance", "class"] | None

    def learn(self, owner: type[Any]) -> None:
        """Take note of the class that a method is in, which annotations may name."""
        ...

    def schema(self, *, strict: bool) -> JSONSchema:
        """The ``function`` member of the API, new at every call."""
        ...

    def decode(self, raw: str) -> DecodedArguments:
        """Decode the arguments of a call."""
        ...

    def encode(self, value: Any) -> Any:
        """Write what the function returned as a JSON value."""
        ...

    def complete(
        self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Add the defaults that only field specifiers declare, where Python calls the function."""
        ...


class _TypedDefinition:
    """A function whose parameters say what they are by their annotations."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        description: str | None,
        options: _Options,
        receives: Literal["instance", "class"] | None,
        scope: Mapping[str, Any],
        converter: later.Converter | None,
    ) -> None:
        from ._docstrings import read_docstring
        from ._shapes import UnresolvedAnnotation, type_parameters

        self.function = function
        self.name = _check_name(function, name)
        self.options = options
        self.is_async = _check_kind(function, self.name, options)
        self.receives: Literal["instance", "class"] | None = receives
        self._docstring = read_docstring(_docstring_of(function))
        self.description = self._docstring.description if description is None else description
        self._scope = {**scope, **type_parameters(_bare_function(function))}
        # As it is now: what is registered later does not change what the model was told.
        self._given = None if converter is None else converter.copy()
        self._types: Types | None = None
        self._converter: later.Converter | None = None
        self._structure: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
        # Read now, so that mistakes are found here. A name may be defined further down in the
        # module; it has to be when the tool is used.
        with contextlib.suppress(UnresolvedAnnotation):
            _ = self._parameters

    def learn(self, owner: type[Any]) -> None:
        from ._shapes import type_parameters

        self._scope = {owner.__name__: owner, **type_parameters(owner), **self._scope}

    def schema(self, *, strict: bool) -> JSONSchema:
        described: JSONSchema = {"name": self.name}
        parameters = self._strict_parameters if strict else None
        if parameters is not None:
            described["strict"] = True
        described["description"] = self.description
        described["parameters"] = _copied(
            self._plain_parameters if parameters is None else parameters
        )
        return described

    def decode(self, raw: str) -> DecodedArguments:
        from ._mismatch import COUNTED_PROBLEMS, Mismatch

        arguments = _parse(raw, self.name)
        if self._structure is None:
            self._structure = self._own_converter().fields_hook(self._fields)
        try:
            values = self._structure(arguments.values)
        except Mismatch as misfit:
            count = len(misfit.problems)
            lines = [f"- {problem}" for problem in misfit.problems[:_MAX_PROBLEMS]]
            if count > _MAX_PROBLEMS:
                at_least = "at least " if count > COUNTED_PROBLEMS else ""
                lines.append(f"- and {at_least}{min(count, COUNTED_PROBLEMS) - _MAX_PROBLEMS} more")
            raise ToolError(
                "\n".join(
                    [
                        f"Invalid arguments for {self.name}:",
                        *lines,
                        f"Call {self.name} again with corrected arguments.",
                    ]
                )
            ) from None
        return DecodedArguments(values, arguments.canonical, self._parameters)

    def encode(self, value: Any) -> Any:
        converter = self._own_converter()
        # Without hooks of the program, its class says all of a value.
        return converter.unstructure(value, self._returned if self._given is not None else None)

    def _own_converter(self) -> later.Converter:
        """One for each tool, so that nothing of its types outlives it."""
        from ._converter import Converter

        if self._converter is None:
            _ = self._parameters
            self._converter = Converter(_types=self._types)
        return self._converter

    @functools.cached_property
    def _returned(self) -> Any:
        """What the function is annotated to return; None if that cannot be said."""
        from ._shapes import UnsupportedType

        assert self._types is not None
        try:
            annotation = inspect.signature(self.function).return_annotation
            returned = self._types.resolve(annotation, _globals_of(self.function))
        except (NameError, UnsupportedType):
            return None
        if typing.get_origin(returned) in (typing.Union, types.UnionType):
            members = [arg for arg in typing.get_args(returned) if arg is not ToolResult]
            returned = typing.Union[tuple(members)]  # noqa: UP007  the members are known at run time
        return None if returned in (ToolResult, inspect.Signature.empty) else returned

    def complete(
        self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self._declared:
            return args, kwargs
        bound = inspect.signature(call).bind_partial(*args, **kwargs)
        for field in self._declared:
            if field.argument in bound.arguments:
                continue
            if field.make_default is None:
                raise TypeError(f"{self.name}() misses the argument {field.argument!r}")
            bound.arguments[field.argument] = field.make_default()
        bound.apply_defaults()
        return bound.args, bound.kwargs

    @functools.cached_property
    def _declared(self) -> list[Field]:
        """The parameters of which Python does not know the default, or takes it for another."""
        from ._declared import read_specifier
        from ._shapes import UnresolvedAnnotation

        try:
            parameters = self._parameters
        except UnresolvedAnnotation:
            # Who calls it from Python needs no annotations.
            return []
        return [
            parameter.field
            for parameter in parameters
            if parameter.field is not None
            and (
                parameter.field.make_default is not None
                or read_specifier(parameter.default) is not None
            )
        ]

    @functools.cached_property
    def _parameters(self) -> list[_Parameter]:
        return self._read()

    @property
    def _fields(self) -> list[Field]:
        return [parameter.field for parameter in self._parameters if parameter.field is not None]

    @functools.cached_property
    def _plain_parameters(self) -> JSONSchema:
        from ._schema import object_schema

        return object_schema(self._fields, write=self._write_default)

    @functools.cached_property
    def _strict_parameters(self) -> JSONSchema | None:
        from ._schema import object_schema
        from ._strict_schema import NotStrict, strict_schema

        try:
            return strict_schema(
                object_schema(self._fields, tuples_as_objects=True, write=self._write_default)
            )
        except NotStrict as reason:
            logger.debug("tool %s is sent without strict: %s", self.name, reason)
            return None

    def _write_default(self, value: Any) -> Any:
        return self._own_converter().unstructure(value)

    def _read(self) -> list[_Parameter]:
        """Read the signature.

        Raises:
            UnsupportedType: If a parameter cannot be filled from JSON.
        """
        from ._shapes import Types, UnresolvedAnnotation, UnsupportedType

        if self._given is None:
            types_ = Types(self._scope)
        else:
            self._converter = self._given.copy_for(self._scope)
            types_ = self._converter.types
        self._types = types_
        module = _globals_of(self.function)
        try:
            signature = inspect.signature(self.function)
        except NameError as error:  # annotations are evaluated lazily from Python 3.14 on
            raise UnresolvedAnnotation(f"tool {self.name!r}: {error}") from None
        parameters = list(signature.parameters.values())
        if self.receives is not None:
            del parameters[0]
        read = [
            self._read_parameter(parameter, types_, module)
            for parameter in parameters
            # Nothing in JSON says how many there are; the function works without them.
            if parameter.kind not in _VARIADIC
        ]
        if len(read) < len(parameters) and all(parameter.takes_context for parameter in read):
            raise UnsupportedType(
                f"tool {self.name!r} takes nothing but *args or **kwargs, so that nothing says "
                "what a model should send: if it stands for another function, decorate it with "
                "@functools.wraps; else name its parameters, or give it a raw_schema"
            )
        return read

    def _read_parameter(
        self, parameter: inspect.Parameter, types_: Types, module: Mapping[str, Any]
    ) -> _Parameter:
        from ._shapes import UnresolvedAnnotation, UnsupportedType

        where = f"parameter {parameter.name!r} of tool {self.name!r}"
        if parameter.annotation is parameter.empty:
            raise UnsupportedType(
                f"{where} has no annotation; write its type, for example "
                f"`{parameter.name}: str`, or give the tool a raw_schema"
            )
        read = _Parameter(
            name=parameter.name,
            default=parameter.default,
            positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
            takes_context=False,
        )
        try:
            annotation = types_.resolve(parameter.annotation, module)
            if _is_run_context(annotation):
                return attrs.evolve(read, takes_context=True)
            field = types_.field(
                parameter.name,
                annotation,
                required=parameter.default is parameter.empty,
                default=parameter.default,
                description=self._docstring.parameters.get(parameter.name),
            )
        except UnresolvedAnnotation as error:
            if isinstance(parameter.annotation, str) and _RUN_CONTEXT.fullmatch(
                parameter.annotation
            ):
                # What it is a context of may be imported for type checkers only.
                return attrs.evolve(read, takes_context=True)
            raise UnresolvedAnnotation(f"{where}: {error}") from None
        except UnsupportedType as error:
            raise UnsupportedType(f"{where}: {error}") from None
        return attrs.evolve(read, field=field)


_MAX_PROBLEMS: Final = 10

_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_RUN_CONTEXT: Final = re.compile(r"(\w+\.)*RunContext(\[.*\])?(\s*\|\s*None)?")


class _RawDefinition:
    """A function that takes the arguments as the model wrote them, under a schema of its own."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        raw_schema: Mapping[str, Any],
        options: _Options,
        receives: Literal["instance", "class"] | None,
        converter: later.Converter | None,
    ) -> None:
        self.function = function
        self._converter = None if converter is None else converter.copy()
        self._schema = _check_raw_schema(raw_schema)
        self.name: str = self._schema["name"]
        self.description: str = self._schema.get("description") or ""
        self.options = options
        self.is_async = _check_kind(function, self.name, options)
        self.receives: Literal["instance", "class"] | None = receives
        self._parameters = self._read()

    def learn(self, owner: type[Any]) -> None:
        """Do nothing: there is nothing to find out from annotations."""

    def schema(self, *, strict: bool) -> JSONSchema:  # noqa: ARG002  it is the author's to say
        return cast("JSONSchema", _copied(self._schema))

    def decode(self, raw: str) -> DecodedArguments:
        arguments = _parse(raw, self.name)
        values = {"raw_arguments": arguments.values}
        return DecodedArguments(values, arguments.canonical, self._parameters)

    def encode(self, value: Any) -> Any:
        if self._converter is None:
            from ._converter import Converter

            self._converter = Converter()
        return self._converter.unstructure(value)

    def complete(
        self,
        call: Callable[..., Any],  # noqa: ARG002  there is nothing to find out
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    def _read(self) -> list[_Parameter]:
        from ._declared import read_specifier
        from ._shapes import Types, UnsupportedType

        parameters = list(inspect.signature(self.function).parameters.values())
        if self.receives is not None:
            del parameters[0]
        module = _globals_of(self.function)
        read: list[_Parameter] = []
        for parameter in parameters:
            if parameter.kind in _VARIADIC:
                continue
            try:
                annotation = Types().resolve(parameter.annotation, module)
            except UnsupportedType:
                annotation = parameter.annotation
            takes_context = _is_run_context(annotation) or (
                isinstance(annotation, str) and _RUN_CONTEXT.fullmatch(annotation) is not None
            )
            is_known = takes_context or parameter.name == "raw_arguments"
            if not is_known and (
                parameter.default is parameter.empty or read_specifier(parameter.default)
            ):
                raise TypeError(
                    f"parameter {parameter.name!r} of tool {self.name!r} is never filled: with a "
                    "raw_schema, a function takes `raw_arguments: dict[str, object]`, and a "
                    "RunContext if it wants one"
                )
            read.append(
                _Parameter(
                    name=parameter.name,
                    default=parameter.default,
                    positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
                    takes_context=takes_context,
                )
            )
        if not any(parameter.name == "raw_arguments" for parameter in read):
            raise TypeError(
                f"tool {self.name!r} has a raw_schema, so its function must have a parameter "
                "`raw_arguments: dict[str, object]`"
            )
        return read


def _parse(raw: str, name: str) -> Any:
    try:
        return parse_arguments(raw)
    except MalformedArguments as error:
        raise ToolError(
            f"Invalid arguments for {name}: {error} "
            f"Call {name} again with one complete JSON object."
        ) from None


# --- Checks --------------------------------------------------------------------------------------

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)


def _check_name(function: Callable[..., Any], name: str | None) -> str:
    if name is None:
        name = getattr(function, "__name__", "")
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not _NAME.fullmatch(name):
        # https://platform.openai.com/docs/api-reference/chat/create (tools.function.name)
        raise ValueError(
            f"{name!r} cannot be the name of a tool: use 1 to 64 of a-z, A-Z, 0-9, _ and -, for "
            'example function_tool(name="look_up")'
        )
    return name


def _check_kind(function: Callable[..., Any], name: str, options: _Options) -> bool:
    """Return whether the function is async."""
    bare = _bare_function(function)
    if inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare):
        raise TypeError(
            f"tool {name!r} is a generator, and a tool has one result: collect what it yields and "
            "return that"
        )
    is_async = inspect.iscoroutinefunction(bare)
    if is_async and options.abandon_on_cancel:
        raise ValueError(
            f"abandon_on_cancel=True is for functions that run in a thread, and tool {name!r} is "
            "async: leave it out, cancelling the tool just works"
        )
    return is_async


def _check_options(timeout: float | None, abandon_on_cancel: bool) -> _Options:
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be positive, got {timeout!r}; None is no timeout")
    if not isinstance(abandon_on_cancel, bool):
        raise TypeError(f"abandon_on_cancel must be True or False, got {abandon_on_cancel!r}")
    return _Options(timeout, abandon_on_cancel)


def check_converter(converter: object) -> later.Converter | None:
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
    from ._converter import Converter

    if not isinstance(converter, Converter):
        raise TypeError(
            f"converter must be made by lktrio.make_converter(), got {type(converter)!r}; register "
            "the hooks of another one on ours, in the same way"
        )
    return converter


def _check_raw_schema(raw_schema: Mapping[str, Any]) -> JSONSchema:
    if not isinstance(raw_schema, Mapping):
        raise TypeError(f"raw_schema must be a mapping, got {type(raw_schema).__name__}")
    check_json(raw_schema, "raw_schema")
    name = raw_schema.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(
            "raw_schema must have a name: it is the `function` member of the API, with name, "
            "description and parameters"
        )
    if not isinstance(raw_schema.get("parameters", {}), Mapping):
        raise ValueError('raw_schema["parameters"] must be a JSON Schema of an object')
    return cast("JSONSchema", _copied(raw_schema))


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value).items()
        return {name: _copied(member) for name, member in members}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in cast("Sequence[Any]", value)]
    return value


# --- Signatures ----------------------------------------------------------------------------------


def _is_run_context(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Annotated or origin in (typing.Union, types.UnionType):
        return any(_is_run_context(arg) for arg in typing.get_args(annotation))
    return isinstance(origin, type) and issubclass(origin, RunContext)


def _bare_function(function: Callable[..., Any]) -> Any:
    """The function in which the code is: in a partial, behind decorators, in an object."""
    bare: Any = function
    while isinstance(bare, functools.partial):
        bare = cast("functools.partial[object]", bare).func
    bare = inspect.unwrap(bare)
    return bare if inspect.isroutine(bare) else type(bare).__call__


def _globals_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", getattr(_bare_function(function), "__globals__", {}))


def _docstring_of(function: Callable[..., Any]) -> str | None:
    docstring: object = _bare_function(function).__doc__
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else None


def _is_method(function: Callable[..., Any]) -> bool:
    """Whether a function in the body of a class wants an instance first."""
    if not isinstance(function, types.FunctionType):
        return False
    if function.__qualname__.rpartition(".")[0].rpartition(".")[2] in ("", "<locals>"):
        return False
    arguments = inspect.getfullargspec(inspect.unwrap(function)).args
    return bool(arguments) and (
        arguments[0] in ("self", "cls") or arguments[0] not in function.__annotations__
    )


def _caller() -> FrameType:
    """The frame in which a function is decorated: what called what calls this."""
    frame = inspect.currentframe()
    for _ in range(2):
        assert frame is not None
        frame = frame.f_back
    assert frame is not None
    return frame


def _local_scope(frame: FrameType) -> dict[str, Any]:
    """The names that an annotation can see where a function is decorated, globals left out."""
    scopes: list[Mapping[str, Any]] = []
    current: FrameType | None = frame
    while current is not None and current.f_code.co_name != "<module>":
        scopes.append(current.f_locals)
        # The body of a class is run in the middle of what surrounds it.
        is_class_body = not current.f_code.co_flags & inspect.CO_OPTIMIZED
        current = current.f_back if is_class_body else None
    scope: dict[str, Any] = {}
    for names in reversed(scopes):
        scope.update(names)
    return scope


# --- Tools ---------------------------------------------------------------------------------------


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
    def name(self) -> str:
        """Name by which the model calls it."""
        return self._definition.name

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
        return self._definition.decode(raw)

    def encode_output(self, value: Any) -> Any:
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


@public
class FunctionTool(Tool[P, R_co]):
    """A tool whose schema is read from the annotations and the docstring of its function."""

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
    converter: later.Converter | None = None,
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
    converter: later.Converter | None = None,
) -> FunctionTool[P, R]: ...
@overload
def function_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: later.Converter | None = None,
) -> _ToolDecorator: ...
@overload
def function_tool(
    function: Callable[P, R],
    /,
    *,
    raw_schema: Mapping[str, Any],
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: later.Converter | None = None,
) -> RawFunctionTool[P, R]: ...
@overload
def function_tool(
    *,
    raw_schema: Mapping[str, Any],
    timeout: float | None = None,
    abandon_on_cancel: bool = False,
    converter: later.Converter | None = None,
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
    converter: later.Converter | None = None,
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
    converter = check_converter(converter)
    options = _check_options(timeout, abandon_on_cancel)
    if raw_schema is not None and not (name is None and description is None):
        raise TypeError("name and description of a raw tool belong in its raw_schema")
    if description is not None and not isinstance(description, str):
        raise TypeError(f"description must be a string, got {description!r}")

    def decorate(decorated: Any, frame: FrameType) -> Tool[Any, Any]:
        receives: Literal["instance", "class"] | None = None
        if isinstance(decorated, classmethod | staticmethod):
            receives = "class" if isinstance(decorated, classmethod) else None
            decorated = cast("Any", decorated).__func__
        elif isinstance(decorated, Tool):
            raise TypeError(f"{decorated!r} is a tool already")
        elif not callable(decorated):
            raise TypeError(
                f"function_tool decorates functions, got {decorated!r}; its options are keywords"
            )
        elif _is_method(decorated):
            receives = "instance"
        if raw_schema is not None:
            return RawFunctionTool(
                _RawDefinition(
                    decorated,
                    raw_schema=raw_schema,
                    options=options,
                    receives=receives,
                    converter=converter,
                )
            )
        return FunctionTool(
            _TypedDefinition(
                decorated,
                name=name,
                description=description,
                options=options,
                receives=receives,
                scope=_local_scope(frame),
                converter=converter,
            )
        )

    def decorator(decorated: Any, /) -> Tool[Any, Any]:
        return decorate(decorated, _caller())

    return decorator if function is None else decorate(function, _caller())


# --- Collections of tools ------------------------------------------------------------------------


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
        for tool in _flatten(tools):
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

    @classmethod
    def empty(cls) -> ToolContext:
        """Make a context without tools.

        Returns:
            The context.
        """
        return cls()

    @property
    def function_tools(self) -> Mapping[str, Tool[..., Any]]:
        """The tools by name, in the order in which they were given."""
        return self._by_name

    def flatten(self) -> list[Tool[..., Any]]:
        """List the tools.

        Returns:
            A new list, in the order in which they were given, sets taken apart.
        """
        return list(self._by_name.values())

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
        return [tool.definition(strict=strict) for tool in self]

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
