"""What the signature of a tool's function says: its parameters, its kind, and the names it sees.

This module reads functions and calls none. What a type is in JSON is known elsewhere (`_shapes`).
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from lktrio._schemas import Types, UnresolvedAnnotation, UnsupportedType, read_specifier

from .values import Parameter, RunContext

__all__ = [
    "Receiver",
    "bare_function",
    "caller",
    "docstring_of",
    "globals_of",
    "is_async_function",
    "is_method",
    "local_scope",
    "read_parameters",
    "read_raw_parameters",
]

Receiver: TypeAlias = Literal["instance", "class"] | None
"""What a method is taken from; None for a function."""


# --- What a function is ----------------------------------------------------------------------


def bare_function(function: Callable[..., object]) -> Any:
    """The function in which the code is: in a partial, behind decorators, in an object."""
    bare: Any = function
    while isinstance(bare, functools.partial):
        bare = cast("functools.partial[object]", bare).func
    bare = inspect.unwrap(bare)
    return bare if inspect.isroutine(bare) else type(bare).__call__


def globals_of(function: Callable[..., object]) -> Mapping[str, object]:
    """The globals of the module in which the function's code is."""
    return cast("Mapping[str, object]", getattr(bare_function(function), "__globals__", {}))


def docstring_of(function: Callable[..., object]) -> str | None:
    """The docstring of the function in which the code is, its indentation taken off."""
    docstring: object = bare_function(function).__doc__
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else None


def is_method(function: Callable[..., object]) -> bool:
    """Whether a function in the body of a class wants an instance first."""
    if not isinstance(function, types.FunctionType):
        return False
    if function.__qualname__.rpartition(".")[0].rpartition(".")[2] in ("", "<locals>"):
        return False
    arguments = inspect.getfullargspec(inspect.unwrap(function)).args
    return bool(arguments) and (
        arguments[0] in ("self", "cls") or arguments[0] not in function.__annotations__
    )


def is_async_function(function: Callable[..., object], name: str) -> bool:
    """Whether a tool's function is async.

    Raises:
        TypeError: If it is a generator.
    """
    bare = bare_function(function)
    if inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare):
        raise TypeError(
            f"tool {name!r} is a generator, and a tool has one result: collect what it yields and "
            "return that"
        )
    return inspect.iscoroutinefunction(bare)


# --- What it takes ----------------------------------------------------------------------------

_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_RUN_CONTEXT: Final = re.compile(r"(\w+\.)*RunContext(\[.*\])?(\s*\|\s*None)?")


def read_parameters(
    function: Callable[..., object],
    name: str,
    receiver: Receiver,
    types_: Types,
    descriptions: Mapping[str, str],
) -> list[Parameter]:
    """Read the parameters that say by their annotations what they are.

    Args:
        function: The function.
        name: Name of the tool.
        receiver: What it is taken from.
        types_: Reads annotations.
        descriptions: What the docstring says of the parameters, by their names.

    Raises:
        UnresolvedAnnotation: If an annotation names what is not there yet.
        UnsupportedType: If a parameter cannot be filled from JSON.
    """
    try:
        parameters = _parameters_of(function, receiver)
    except NameError as error:  # annotations are evaluated lazily from Python 3.14 on
        raise UnresolvedAnnotation(f"tool {name!r}: {error}") from None
    module = globals_of(function)
    read = [
        _read_parameter(parameter, name, types_, module, descriptions.get(parameter.name))
        for parameter in parameters
        # Nothing in JSON says how many there are; the function works without them.
        if parameter.kind not in _VARIADIC
    ]
    if len(read) < len(parameters) and all(parameter.takes_context for parameter in read):
        raise UnsupportedType(
            f"tool {name!r} takes nothing but *args or **kwargs, so that nothing says "
            "what a model should send: if it stands for another function, decorate it with "
            "@functools.wraps; else name its parameters, or give it a raw_schema"
        )
    return read


def _read_parameter(
    parameter: inspect.Parameter,
    tool: str,
    types_: Types,
    module: Mapping[str, object],
    description: str | None,
) -> Parameter:
    where = f"parameter {parameter.name!r} of tool {tool!r}"
    if parameter.annotation is parameter.empty:
        raise UnsupportedType(
            f"{where} has no annotation; write its type, for example "
            f"`{parameter.name}: str`, or give the tool a raw_schema"
        )
    try:
        annotation = types_.resolve(parameter.annotation, module)
        if _is_run_context(annotation):
            return _parameter(parameter, takes_context=True)
        field = types_.field(
            parameter.name,
            annotation,
            required=parameter.default is parameter.empty,
            default=parameter.default,
            description=description,
        )
    except UnresolvedAnnotation as error:
        if _names_run_context(parameter.annotation):
            # What it is a context of may be imported for type checkers only.
            return _parameter(parameter, takes_context=True)
        raise UnresolvedAnnotation(f"{where}: {error}") from None
    except UnsupportedType as error:
        raise UnsupportedType(f"{where}: {error}") from None
    return attrs.evolve(_parameter(parameter), field=field)


def read_raw_parameters(
    function: Callable[..., object], name: str, receiver: Receiver
) -> list[Parameter]:
    """Read the parameters of a function that takes the JSON object as it is.

    Raises:
        TypeError: If it has no ``raw_arguments``, or something else that nothing fills.
    """
    module = globals_of(function)
    read: list[Parameter] = []
    for parameter in _parameters_of(function, receiver):
        if parameter.kind in _VARIADIC:
            continue
        try:
            annotation = Types().resolve(parameter.annotation, module)
        except UnsupportedType:
            annotation = parameter.annotation
        takes_context = _is_run_context(annotation) or _names_run_context(annotation)
        is_known = takes_context or parameter.name == "raw_arguments"
        if not is_known and (
            parameter.default is parameter.empty or read_specifier(parameter.default)
        ):
            raise TypeError(
                f"parameter {parameter.name!r} of tool {name!r} is never filled: with a "
                "raw_schema, a function takes `raw_arguments: dict[str, object]`, and a "
                "RunContext if it wants one"
            )
        read.append(_parameter(parameter, takes_context=takes_context))
    if not any(parameter.name == "raw_arguments" for parameter in read):
        raise TypeError(
            f"tool {name!r} has a raw_schema, so its function must have a parameter "
            "`raw_arguments: dict[str, object]`"
        )
    return read


def _parameters_of(function: Callable[..., object], receiver: Receiver) -> list[inspect.Parameter]:
    """The parameters, without the one that a method is taken from."""
    parameters = list(inspect.signature(function).parameters.values())
    return parameters if receiver is None else parameters[1:]


def _parameter(parameter: inspect.Parameter, *, takes_context: bool = False) -> Parameter:
    return Parameter(
        name=parameter.name,
        default=parameter.default,
        positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
        takes_context=takes_context,
    )


def _is_run_context(annotation: object) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Annotated or origin in (typing.Union, types.UnionType):
        return any(_is_run_context(arg) for arg in typing.get_args(annotation))
    return isinstance(origin, type) and issubclass(origin, RunContext)


def _names_run_context(annotation: object) -> bool:
    """Whether an annotation that cannot be evaluated is spelled like one."""
    return isinstance(annotation, str) and _RUN_CONTEXT.fullmatch(annotation) is not None


# --- What names an annotation sees ----------------------------------------------------------


def caller() -> FrameType:
    """The frame in which a function is decorated: what called what calls this."""
    frame = inspect.currentframe()
    for _ in range(2):
        assert frame is not None
        frame = frame.f_back
    assert frame is not None
    return frame


def local_scope(frame: FrameType) -> dict[str, object]:
    """The names that an annotation can see where a function is decorated, globals left out."""
    scopes: list[Mapping[str, object]] = []
    current: FrameType | None = frame
    while current is not None and current.f_code.co_name != "<module>":
        scopes.append(current.f_locals)
        # The body of a class is run in the middle of what surrounds it.
        is_class_body = not current.f_code.co_flags & inspect.CO_OPTIMIZED
        current = current.f_back if is_class_body else None
    scope: dict[str, object] = {}
    for names in reversed(scopes):
        scope.update(names)
    return scope
