"""Python values as JSON values: how dates, enumerations, classes and the like are written.

This module alone knows which way each class is written; the converter finds the way for a class,
and asks the program's hooks first. What is written here, the converter reads back.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol, TypeAlias, TypeGuard, TypeVar, Union

import attrs

from lktrio._json import is_mapping

from .foreign import unstructure_foreign
from .introspection import Types
from .leaves import write_duration
from .type_hints import hashable, peel, upper_bound

__all__ = ["BY_CLASS", "Writer", "writer"]

Writer: TypeAlias = Callable[[Any], Any]
"""Takes a Python value and returns a JSON value."""


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(value, tuple)


def _is_collection(value: object) -> TypeGuard[Collection[object]]:
    return isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes)


class _Converter(Protocol):
    @property
    def types(self) -> Types: ...

    def unstructure(self, obj: Any, unstructure_as: Any = None) -> Any: ...

    def get_unstructure_hook(self, type: Any, cache_result: bool = True) -> Writer: ...

    def field_types(self, class_: type[Any]) -> Mapping[str, Any]: ...


def writer(type_: object, converter: _Converter) -> Writer:
    """Make what writes values of a type.

    Args:
        type_: The class of the values, or what they are declared as.
        converter: Writes what is in them.

    Returns:
        The writer. It raises `TypeError` for a value that has no JSON form.
    """
    if type_ is Any:
        return converter.unstructure
    if isinstance(type_, type) and not isinstance(type_, types.GenericAlias):
        return _class_writer(type_, converter)
    return _declared_writer(type_, converter) or converter.unstructure


# --- By class ------------------------------------------------------------------------------------


def _write_str(write: Writer, value: str) -> Any:
    return write(value.value) if isinstance(value, enum.Enum) else value


def _write_bytes(write: Writer, value: bytes) -> Any:
    return write(value.value) if isinstance(value, enum.Enum) else value.decode()


def _write_path(_: Writer, value: pathlib.Path) -> Any:
    return str(value)


BY_CLASS: Final[tuple[tuple[type[Any], Callable[[Writer, Any], Any]], ...]] = (
    (str, _write_str),
    (bytes, _write_bytes),
    (pathlib.Path, _write_path),
)
"""The classes that cattrs looks up by themselves, before it asks any predicate."""


def _class_writer(class_: type[Any], converter: _Converter) -> Writer:
    write = converter.unstructure
    if issubclass(class_, enum.Enum):
        return lambda value: write(value.value)
    if issubclass(class_, bool | int | float | str | types.NoneType):
        return _as_it_is
    if issubclass(class_, datetime.date | datetime.time):
        return lambda value: value.isoformat()
    if issubclass(class_, datetime.timedelta):
        return write_duration
    if issubclass(class_, uuid.UUID | decimal.Decimal | pathlib.PurePath):
        return str
    if issubclass(class_, Mapping):
        return lambda value: {_key(key, write): write(member) for key, member in value.items()}
    if tuple in class_.__mro__ and hasattr(class_, "_fields"):
        return _named_tuple_writer(class_, converter)
    if issubclass(class_, Sequence | AbstractSet):
        return lambda value: [write(item) for item in value]
    return _object_writer(class_, converter)


def _as_it_is(value: Any) -> Any:
    return value


def _key(key: Any, write: Writer) -> str:
    written = write(key)
    return written if isinstance(written, str) else str(written)


def _object_writer(class_: type[Any], converter: _Converter) -> Writer:
    members: list[tuple[str, str]] = []
    if attrs.has(class_):
        members = [
            (attribute.alias or attribute.name, attribute.name)
            for attribute in attrs.fields(class_)
            if attribute.init
        ]
    elif dataclasses.is_dataclass(class_):
        members = [(field.name, field.name) for field in dataclasses.fields(class_) if field.init]
    else:
        return _other_writer
    write = converter.unstructure
    plan: list[tuple[str, str, Any]] = []

    def write_object(value: Any) -> Any:
        if not plan:
            # Read when there is a value: strategies ask for writers before they have said all.
            types_ = converter.field_types(class_)
            plan.extend((name, attribute, types_.get(name)) for name, attribute in members)
        return {name: write(getattr(value, attribute), type_) for name, attribute, type_ in plan}

    return write_object


def _other_writer(value: Any) -> Any:
    foreign = unstructure_foreign(value)
    if foreign is None:
        raise TypeError(f"a value of type {type(value).__qualname__} has no JSON form")
    return foreign


def _named_tuple_writer(class_: type[Any], converter: _Converter) -> Writer:
    write = converter.unstructure
    types_: list[Any] = []

    def write_named_tuple(value: Any) -> Any:
        if not types_:
            types_.extend(converter.field_types(class_).values())
        declared_types = types_ or [None] * len(value)
        return [write(item, type_) for item, type_ in zip(value, declared_types, strict=True)]

    return write_named_tuple


# --- By what a value is declared as --------------------------------------------------------------


def _declared_writer(type_: object, converter: _Converter) -> Writer | None:
    """What writes values by what they are declared as; None if their class says enough.

    A value may be of another class than it was declared as: then it is written by its class.
    """
    if isinstance(type_, TypeVar):
        return converter.get_unstructure_hook(upper_bound(type_))
    peeled = peel(type_)
    if peeled is not None:
        return converter.get_unstructure_hook(peeled[0])
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (Union, types.UnionType):
        return _union_writer(converter.types.grouped(args), converter)
    target = getattr(origin or type_, "__value__", None)
    if target is not None:
        return _alias_writer(type_, converter)
    if not inspect.isclass(origin):
        return None
    if issubclass(origin, Mapping) and len(args) == 2:
        return _mapping_writer(args, converter)
    if issubclass(origin, tuple) and args and args[-1] is not Ellipsis:
        return _tuple_writer(args, converter)
    if args and issubclass(origin, Sequence | AbstractSet):
        return _array_writer(args[0], converter)
    return None


def _union_writer(args: Sequence[Any], converter: _Converter) -> Writer:
    # Looked up when there is a value: a union may hold itself.
    members = [(_classes(arg), hashable(arg)) for arg in args]
    write = converter.unstructure

    def write_member(value: Any) -> Any:
        for classes, member in members:
            if isinstance(value, classes):
                return write(value, member)
        return write(value)

    return write_member


def _classes(type_: object) -> tuple[type[Any], ...]:
    """The classes of the values of a type, as far as that is plain."""
    while (peeled := peel(type_)) is not None:
        type_ = peeled[0]
    origin = typing.get_origin(type_)
    if origin in (Union, types.UnionType):
        return tuple(class_ for arg in typing.get_args(type_) for class_ in _classes(arg))
    class_: object = origin or type_
    return (class_,) if isinstance(class_, type) else ()


def _alias_writer(type_: object, converter: _Converter) -> Writer | None:
    shape = converter.types.shape(type_)
    target: Any = getattr(shape, "target_type", None)
    return None if target is None else lambda value: converter.unstructure(value, target)


def _array_writer(item_type: Any, converter: _Converter) -> Writer:
    write = converter.unstructure

    def write_array(value: Any) -> Any:
        if not _is_collection(value):
            return write(value)
        return [write(item, item_type) for item in value]

    return write_array


def _tuple_writer(item_types: Sequence[Any], converter: _Converter) -> Writer:
    write = converter.unstructure

    def write_tuple(value: Any) -> Any:
        if not _is_tuple(value) or len(value) != len(item_types):
            return write(value)
        items = zip(value, item_types, strict=True)
        return [write(item, item_type) for item, item_type in items]

    return write_tuple


def _mapping_writer(args: Sequence[Any], converter: _Converter) -> Writer:
    key_type, value_type = args
    write = converter.unstructure

    def write_mapping(value: Any) -> Any:
        if not is_mapping(value):
            return write(value)
        return {
            _key(key, lambda key: write(key, key_type)): write(member, value_type)
            for key, member in value.items()
        }

    return write_mapping
