"""The fields of classes: attrs, dataclasses, named tuples and typed dicts.

This module alone knows how each kind keeps its fields, their defaults and descriptions. It does
not know what the types of the fields are in JSON.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeAlias, cast

import attrs

from .declared import NO_DEFAULT, metadata_description, read_specifier
from .type_hints import wrapper_names

__all__ = ["DeclaredField", "FieldsReader", "fields_reader"]


@attrs.frozen
class DeclaredField:
    """A field as its class declares it."""

    name: str
    """Its name as an argument of the class."""

    type: Any
    """Its type; None if it has no annotation."""

    required: bool
    """Whether the class cannot do without it."""

    default: Any = NO_DEFAULT
    """Its default, if that is one value."""

    description: str | None = None
    """What its metadata say that it is for."""


FieldsReader: TypeAlias = Callable[[type[Any], Mapping[str, Any]], Iterator[DeclaredField]]
"""Takes a class and its annotations, evaluated, and gives its fields in order."""

_FACTORY: Final[type[object]] = type(attrs.Factory(list[Any]))
"""attrs.Factory is a class, and its stub is a function."""


def fields_reader(class_: Any) -> FieldsReader | None:
    """Find what reads the fields of a class.

    Args:
        class_: A class.

    Returns:
        The function. None if the class has no fields.
    """
    bases: tuple[Any, ...] = class_.__mro__
    # `typing.is_typeddict` does not know the typed dicts of typing_extensions.
    if dict in bases and hasattr(class_, "__required_keys__"):
        return _typed_dict_fields
    if tuple in bases and hasattr(class_, "_fields"):
        return _named_tuple_fields
    if attrs.has(class_):
        return _attrs_fields
    if hasattr(class_, "__dataclass_fields__"):
        return _dataclass_fields
    return None


def _attrs_fields(class_: type[Any], hints: Mapping[str, Any]) -> Iterator[DeclaredField]:
    for attribute in attrs.fields(class_):
        if attribute.init:
            default = attribute.default
            is_factory = type(default) is _FACTORY
            alias = attribute.alias or attribute.name
            yield DeclaredField(
                name=alias,
                type=hints.get(attribute.name, attribute.type),
                required=default is attrs.NOTHING,
                default=NO_DEFAULT if is_factory or default is attrs.NOTHING else default,
                description=metadata_description(attribute.metadata),
            )


def _dataclass_fields(class_: type[Any], hints: Mapping[str, Any]) -> Iterator[DeclaredField]:
    fields = {field.name: field for field in dataclasses.fields(class_)}
    parameters = inspect.signature(class_).parameters
    # The signature has keyword-only fields last, the hints are in the order of definition.
    for name in sorted(parameters, key=list(hints).index):
        parameter, field = parameters[name], fields.get(name)
        hint = hints.get(name)
        if isinstance(hint, dataclasses.InitVar):
            hint = cast("Any", hint).type
        stated: Any = parameter.default if field is None else field.default
        required = parameter.default is parameter.empty
        declared = read_specifier(stated)
        if declared is not None:
            # In the signature of pydantic's dataclasses it may be the default, or none.
            hint = Annotated[hint, stated]
            required = declared.make_default is None and declared.problem is None
        yield DeclaredField(
            name=name,
            type=hint,
            required=required,
            default=NO_DEFAULT if required or stated is dataclasses.MISSING else parameter.default,
            description=metadata_description(field.metadata) if field is not None else None,
        )


def _named_tuple_fields(class_: type[Any], hints: Mapping[str, Any]) -> Iterator[DeclaredField]:
    defaults: dict[str, Any] = getattr(class_, "_field_defaults", {})
    names: tuple[str, ...] = getattr(class_, "_fields", ())
    for name in names:
        yield DeclaredField(
            name=name,
            type=hints.get(name),
            required=name not in defaults,
            default=defaults.get(name, NO_DEFAULT),
        )


def _typed_dict_fields(class_: type[Any], hints: Mapping[str, Any]) -> Iterator[DeclaredField]:
    required_keys: frozenset[str] = getattr(class_, "__required_keys__", frozenset())
    for name, hint in hints.items():
        # Required and NotRequired are not counted in `__required_keys__` where annotations
        # are strings: https://docs.python.org/3/library/typing.html#typing.TypedDict
        marks = wrapper_names(hint)
        is_required = name in required_keys
        yield DeclaredField(
            name=name,
            type=hint,
            required=(is_required or "Required" in marks) and "NotRequired" not in marks,
        )
