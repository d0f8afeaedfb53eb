"""What a tool's function offers: name, description, schema, and values for its parameters.

This module knows what is the same for a tool and for every instance that it is bound to. How a
signature is read (`_tool_signature`) and what a type is in JSON are known elsewhere. It is imported
when the first tool is made.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import lktrio._schemas as schemas
from lktrio._json import (
    COUNTED_PROBLEMS,
    Arguments,
    Mismatch,
    UnreadableArguments,
    check_json,
    plain_json,
)
from lktrio._schemas import (
    Field,
    JSONSchema,
    Types,
    UnresolvedAnnotation,
    UnsupportedSchema,
    UnsupportedType,
    object_schema,
    read_docstring,
    read_specifier,
    strict_schema,
    type_parameters,
)

from .signature import (
    Receiver,
    bare_function,
    docstring_of,
    globals_of,
    is_async_function,
    read_parameters,
    read_raw_parameters,
)
from .values import DecodedArguments, Parameter, ToolError, ToolOptions, ToolResult

__all__ = ["RawDefinition", "TypedDefinition"]

logger = logging.getLogger("lktrio")


class TypedDefinition:
    """A function whose parameters say what they are by their annotations."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        description: str | None,
        options: ToolOptions,
        receives: Receiver,
        scope: Mapping[str, object],
        converter: schemas.Converter | None,
    ) -> None:
        self.function = function
        self.name = _check_name(function, name)
        self.options = options
        self.is_async = _check_kind(function, self.name, options)
        self.receives: Receiver = receives
        self._docstring = read_docstring(docstring_of(function))
        self.description = self._docstring.description if description is None else description
        self._scope = {**scope, **type_parameters(bare_function(function))}
        # As it is now: what is registered later does not change what the model was told.
        self._given = None if converter is None else converter.copy()
        self._types: Types | None = None
        self._converter: schemas.Converter | None = None
        self._structure: Callable[[Mapping[str, object]], dict[str, object]] | None = None
        # Read now, so that mistakes are found here. A name may be defined further down in the
        # module; it has to be when the tool is used.
        with contextlib.suppress(UnresolvedAnnotation):
            _ = self._parameters

    def learn(self, owner: type[object]) -> None:
        """Take note of the class that a method is in, which annotations may name."""
        self._scope = {owner.__name__: owner, **type_parameters(owner), **self._scope}

    # --- what the model is told ------------------------------------------------------------

    def schema(self, *, strict: bool) -> JSONSchema:
        """The ``function`` member of the API, new at every call."""
        described: JSONSchema = {"name": self.name}
        parameters = self._strict_parameters if strict else None
        if parameters is not None:
            described["strict"] = True
        described["description"] = self.description
        described["parameters"] = plain_json(
            self._plain_parameters if parameters is None else parameters
        )
        return described

    @functools.cached_property
    def _plain_parameters(self) -> JSONSchema:
        return object_schema(self._fields, write=self._write_default)

    @functools.cached_property
    def _strict_parameters(self) -> JSONSchema | None:
        try:
            return strict_schema(
                object_schema(self._fields, tuples_as_objects=True, write=self._write_default)
            )
        except UnsupportedSchema as reason:
            logger.debug("tool %s is sent without strict: %s", self.name, reason)
            return None

    def _write_default(self, value: object) -> Any:
        return self._own_converter().unstructure(value)

    # --- what the model says, and is answered ------------------------------------------------

    def decode(self, arguments: Arguments | UnreadableArguments) -> DecodedArguments:
        """Make values of the arguments of a call."""
        arguments = _readable(arguments, self.name)
        if self._structure is None:
            self._structure = self._own_converter().fields_hook(self._fields)
        try:
            values = self._structure(arguments.values)
        except Mismatch as mismatch:
            raise ToolError(_explain(mismatch, self.name)) from None
        return DecodedArguments(values, arguments.canonical, self._parameters)

    def encode(self, value: object) -> Any:
        """Write what the function returned as a JSON value."""
        converter = self._own_converter()
        # Without hooks of the program, its class says all of a value.
        return converter.unstructure(value, self._returned if self._given is not None else None)

    def _own_converter(self) -> schemas.Converter:
        """One for each tool, so that nothing of its types outlives it."""
        from lktrio._schemas import Converter

        if self._converter is None:
            _ = self._parameters
            self._converter = Converter(_types=self._types)
        return self._converter

    @functools.cached_property
    def _returned(self) -> Any:
        """What the function is annotated to return; None if that cannot be said."""
        assert self._types is not None
        try:
            annotation = inspect.signature(self.function).return_annotation
            returned = self._types.resolve(annotation, globals_of(self.function))
        except (NameError, UnsupportedType):
            return None
        if typing.get_origin(returned) in (typing.Union, types.UnionType):
            members = [arg for arg in typing.get_args(returned) if arg is not ToolResult]
            returned = typing.Union[tuple(members)]  # noqa: UP007  the members are known at run time
        return None if returned in (ToolResult, inspect.Signature.empty) else returned

    # --- what the function takes -------------------------------------------------------------

    @functools.cached_property
    def _parameters(self) -> list[Parameter]:
        if self._given is None:
            types_ = Types(self._scope)
        else:
            self._converter = self._given.copy_for(self._scope)
            types_ = self._converter.types
        self._types = types_
        return read_parameters(
            self.function, self.name, self.receives, types_, self._docstring.parameters
        )

    @property
    def _fields(self) -> list[Field]:
        return [parameter.field for parameter in self._parameters if parameter.field is not None]

    def complete(
        self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Add the defaults that only field specifiers declare, where Python calls the function."""
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


class RawDefinition:
    """A function that takes the arguments as the model wrote them, under a schema of its own."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        raw_schema: Mapping[str, object],
        options: ToolOptions,
        receives: Receiver,
        converter: schemas.Converter | None,
    ) -> None:
        self.function = function
        self._converter = None if converter is None else converter.copy()
        self._schema = _check_raw_schema(raw_schema)
        self.name: str = self._schema["name"]
        self.description: str = self._schema.get("description") or ""
        self.options = options
        self.is_async = _check_kind(function, self.name, options)
        self.receives: Receiver = receives
        self._parameters = read_raw_parameters(function, self.name, receives)

    def learn(self, owner: type[object]) -> None:
        """Do nothing: there is nothing to find out from annotations."""

    def schema(self, *, strict: bool) -> JSONSchema:  # noqa: ARG002  it is the author's to say
        """The ``function`` member of the API, new at every call."""
        return cast("JSONSchema", plain_json(self._schema))

    def decode(self, arguments: Arguments | UnreadableArguments) -> DecodedArguments:
        """Hand on the arguments of a call."""
        arguments = _readable(arguments, self.name)
        values = {"raw_arguments": arguments.values}
        return DecodedArguments(values, arguments.canonical, self._parameters)

    def encode(self, value: object) -> Any:
        """Write what the function returned as a JSON value."""
        if self._converter is None:
            from lktrio._schemas import Converter

            self._converter = Converter()
        return self._converter.unstructure(value)

    def complete(
        self,
        call: Callable[..., Any],  # noqa: ARG002  there is nothing to find out
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return them as they are."""
        return args, kwargs


# --- What a model is told of arguments that do not fit -------------------------------------------


def _readable(arguments: Arguments | UnreadableArguments, name: str) -> Arguments:
    if isinstance(arguments, Arguments):
        return arguments
    raise ToolError(
        f"Invalid arguments for {name}: {arguments.problem} "
        f"Call {name} again with one complete JSON object."
    )


_MAX_PROBLEMS: Final = 10


def _explain(mismatch: Mismatch, name: str) -> str:
    count = len(mismatch.problems)
    lines = [f"- {problem}" for problem in mismatch.problems[:_MAX_PROBLEMS]]
    if count > _MAX_PROBLEMS:
        at_least = "at least " if count > COUNTED_PROBLEMS else ""
        lines.append(f"- and {at_least}{min(count, COUNTED_PROBLEMS) - _MAX_PROBLEMS} more")
    return "\n".join(
        [
            f"Invalid arguments for {name}:",
            *lines,
            f"Call {name} again with corrected arguments.",
        ]
    )


# --- Checks --------------------------------------------------------------------------------------

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)


def _check_name(function: Callable[..., object], name: str | None) -> str:
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


def _check_kind(function: Callable[..., object], name: str, options: ToolOptions) -> bool:
    """Return whether the function is async."""
    is_async = is_async_function(function, name)
    if is_async and options.abandon_on_cancel:
        raise ValueError(
            f"abandon_on_cancel=True is for functions that run in a thread, and tool {name!r} is "
            "async: leave it out, cancelling the tool just works"
        )
    return is_async


def _check_raw_schema(raw_schema: Mapping[str, object]) -> JSONSchema:
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
    return cast("JSONSchema", plain_json(raw_schema))
