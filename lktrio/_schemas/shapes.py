"""The shapes that values of a type have in JSON, as a tree of frozen values.

The schema, the converter and the words of a mismatch are three readings of that tree. This module
knows what shapes there are. It does not know how a Python type becomes one.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from .declared import NO_DEFAULT, Declared
from .metadata import Constraints

__all__ = [
    "TEXT_TYPES",
    "Alias",
    "Anything",
    "Array",
    "Choice",
    "Custom",
    "Field",
    "FixedTuple",
    "Foreign",
    "JSONScalar",
    "Member",
    "Null",
    "OneOf",
    "Record",
    "Refined",
    "Scalar",
    "Shape",
    "StringKeyed",
    "Text",
    "accepts_null",
    "is_hashable",
    "is_key",
    "put_tag_first",
    "tagged",
]

JSONScalar: TypeAlias = str | int | float | bool | None

TEXT_TYPES: Final[frozenset[type[Any]]] = frozenset(
    {
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        uuid.UUID,
        decimal.Decimal,
        bytes,
    }
)
"""What is written as a string; paths are too."""


# Compared and hashed by identity, because types that compare equal (Union[int, str] and
# Union[str, int]) are not the same to us.


@attrs.frozen(eq=False)
class Anything:
    """``Any`` and ``object``: every JSON value."""


@attrs.frozen(eq=False)
class Null:
    """``None``."""


@attrs.frozen(eq=False)
class Scalar:
    """The types JSON has itself."""

    python: type[bool | int | float | str]
    """One of bool, int, float, str."""


@attrs.frozen(eq=False)
class Text:
    """A type that is written as a string."""

    python: type[Any]
    """A key of `TEXT_TYPES`, or a class of paths."""


@attrs.frozen(eq=False)
class Choice:
    """A ``Literal`` or an enumeration: a fixed set of values."""

    members: tuple[tuple[JSONScalar, Any], ...]
    """Each value in JSON, and in Python."""

    name: str | None = None
    """Name of the enumeration; a ``Literal`` has none."""

    description: str | None = None
    """Docstring of the enumeration."""


@attrs.frozen(eq=False)
class OneOf:
    """A union."""

    members: tuple[Shape, ...]
    """At least two, none of them a union."""

    member_types: tuple[Any, ...]
    """The type of each."""


@attrs.frozen(eq=False)
class Array:
    """Lists, sets and tuples of any length."""

    item: Shape
    """What each item looks like."""

    item_type: Any
    """Its type."""

    build: Callable[[list[Any]], Any]
    """Makes the value from a list."""

    unique: bool = False
    """Whether it is a set."""


@attrs.frozen(eq=False)
class FixedTuple:
    """A tuple of a fixed length."""

    items: tuple[Shape, ...]
    """One for each place."""

    item_types: tuple[Any, ...]
    """The type of each."""


@attrs.frozen(eq=False)
class StringKeyed:
    """A mapping."""

    key: Shape
    """What the keys look like, which JSON writes as strings."""

    value: Shape
    """What the values look like."""

    key_type: Any
    """The type of the keys."""

    value_type: Any
    """The type of the values."""

    build: Callable[[dict[Any, Any]], Any]
    """Makes the value from a dict."""


@attrs.frozen(eq=False)
class Field:
    """A member of a `Record`, or a parameter of a function."""

    name: str
    """Its name in JSON."""

    argument: str
    """Its name as an argument of the class or function."""

    shape: Shape
    """What it looks like."""

    required: bool
    """Whether it must be there."""

    default: Any = NO_DEFAULT
    """Its default, if that is one value."""

    description: str | None = None
    """What it is for."""

    type: Any = None
    """Its type, with its string annotations resolved."""

    make_default: Callable[[], Any] | None = None
    """Makes the default, where the class or function itself has none that could be used."""


@attrs.frozen(eq=False)
class Record:
    """A class with named fields."""

    name: str
    """Name of the class."""

    build: Callable[..., Any]
    """Takes the fields as keyword arguments."""

    description: str | None = None
    """Docstring of the class, without what it says about the fields."""

    is_tuple: bool = False
    """Whether it is a named tuple, which may also be written as an array."""

    hashable: bool = False
    """Whether its values may be in a set."""

    fields: list[Field] = attrs.field(factory=list[Field])
    """In the order of their definition. Filled after the record exists: it may hold itself."""


@attrs.frozen(eq=False)
class Foreign:
    """A pydantic model or a ``msgspec.Struct``, which its own library reads."""

    python: Any
    """The type."""


@attrs.frozen(eq=False)
class Refined:
    """A type with ``Annotated`` metadata that means something here."""

    inner: Shape
    """The type itself."""

    inner_type: Any
    """The type without its metadata."""

    constraints: Constraints | None = None
    """What its values must fulfil."""

    description: str | None = None
    """What it is for."""

    declared: Declared | None = None
    """What a field specifier among the metadata says of a member of this type."""


@attrs.frozen(eq=False)
class Alias:
    """A type alias, which may refer to itself."""

    name: str
    """Name of the alias."""

    targets: list[tuple[Shape, Any]] = attrs.field(factory=list[Any])
    """What it stands for, and the type of that, once they are known."""

    @property
    def target(self) -> Shape:
        """What it stands for."""
        return self.targets[0][0]

    @property
    def target_type(self) -> Any:
        """The type it stands for."""
        return self.targets[0][1]


@attrs.frozen(eq=False)
class Custom:
    """A type that a program reads by a hook of its own, under a schema of its own."""

    type: Any
    """The type."""

    schema: Mapping[str, Any]
    """Its JSON Schema, with its definitions under ``$defs``."""

    json_types: frozenset[str]
    """The JSON types that its values may have, by their names in JSON Schema."""

    @property
    def description(self) -> str | None:
        """What the schema says that it is."""
        description: object = self.schema.get("description")
        return description if isinstance(description, str) and description.strip() else None


@attrs.frozen(eq=False)
class Member:
    """A class as a member of a union that a program tells apart by a strategy of its own.

    It stands for the class where a type stands: the class itself stands for the whole union.
    """

    type: Any
    """The class."""

    tag_name: str | None = None
    """The key that says which member it is; None if there is none."""

    tags: tuple[str | int | bool | None, ...] = ()
    """The values of that key which mean this member."""

    is_default: bool = False
    """Whether this member is meant where the key is absent, or has a value nobody knows."""

    other_tags: tuple[str | int | bool | None, ...] = ()
    """The values of the key which mean another member."""


Shape: TypeAlias = (
    Anything
    | Null
    | Scalar
    | Text
    | Choice
    | OneOf
    | Array
    | FixedTuple
    | StringKeyed
    | Record
    | Foreign
    | Refined
    | Alias
    | Custom
)
"""What values of a type look like."""


def accepts_null(shape: Shape) -> bool:
    """Whether None is itself a value of the type."""
    match shape:
        case Anything() | Null():
            return True
        case Choice(members=members):
            return any(value is None for value, _ in members)
        case OneOf(members=members):
            return any(accepts_null(member) for member in members)
        case Refined(inner=inner) | Alias(target=inner):
            return accepts_null(inner)
        case Custom(json_types=json_types):
            return "null" in json_types
        case _:
            return False


def is_hashable(shape: Shape) -> bool:
    """Whether values of a shape may be items of a set."""
    match shape:
        case Array(item=item, build=build):
            return build in (tuple, frozenset) and is_hashable(item)
        case Custom(type=type_):
            return getattr(type_, "__hash__", None) is not None
        case FixedTuple(items=members) | OneOf(members=members):
            return all(is_hashable(member) for member in members)
        case StringKeyed():
            return False
        case Record(hashable=hashable):
            return hashable
        case Foreign(python=python):
            return getattr(python, "__hash__", None) is not None
        case Refined(inner=inner):
            return is_hashable(inner)
        case _:
            return True


def is_key(shape: Shape) -> bool:
    """Whether values of a shape are written as strings, as the keys of an object are."""
    match shape:
        case Scalar(python=python):
            return python is not bool
        case Text():
            return True
        case Choice(members=members):
            return all(isinstance(value, str) for value, _ in members)
        case Refined(inner=inner):
            return is_key(inner)
        case Custom(json_types=json_types):
            return json_types == {"string"}
        case _:
            return False


# --- Members of unions that are told apart by a tag ----------------------------------------------


def put_tag_first(record: Record, member: Member) -> None:
    """Make a field of the key that tells a record from the other members of its union."""
    name = member.tag_name
    if name is None:
        return
    shape = Choice(tuple((tag, tag) for tag in member.tags))
    required = not member.is_default
    # The class may have it as a field of its own.
    for place, field in enumerate(record.fields):
        if field.name == name:
            record.fields[place] = attrs.evolve(field, shape=shape, required=required)
            return
    tag = Field(name, name, shape, required, type=Literal[member.tags])
    record.fields.insert(0, tag)


def tagged(custom: Custom, member: Member) -> Custom:
    """A schema of an object with the key in it that tells it from the other members."""
    name = member.tag_name
    if name is None:
        return custom
    properties: Mapping[str, Any] = custom.schema.get("properties", {})
    required: list[str] = custom.schema.get("required", [])
    tag = properties.get(name, {"type": "string", "enum": list(member.tags)})
    schema = {**custom.schema, "properties": {name: tag, **properties}}
    if not member.is_default:
        schema["required"] = [name, *(other for other in required if other != name)]
    return attrs.evolve(custom, schema=schema)
