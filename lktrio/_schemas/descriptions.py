"""A mismatch in words: what was expected, and what was found.

This module alone has the words: for a model in those of JSON, for the author of a program in those
of Python. It does not know how a mismatch was found.
"""

from __future__ import annotations

import datetime
import decimal
import pathlib
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from lktrio._json import JSON_TYPES, Mismatch, Problem, is_list, is_object, json_type_of

from .shapes import (
    Alias,
    Anything,
    Array,
    Choice,
    Custom,
    Field,
    FixedTuple,
    Foreign,
    Null,
    OneOf,
    Record,
    Refined,
    Scalar,
    Shape,
    StringKeyed,
    Text,
)

__all__ = [
    "Broken",
    "Missing",
    "Refused",
    "Unfit",
    "Unknown",
    "describe",
    "found",
    "is_wrong_type",
    "json_types",
    "unfit",
]


class _OfRightType:
    """What is wrong is not the type."""

    __slots__ = ()

    @property
    def is_wrong_type(self) -> bool:
        """False."""
        return False


@attrs.frozen(eq=False)
class Unfit:
    """A value is not what was expected."""

    shape: Shape
    value: object

    @property
    def is_wrong_type(self) -> bool:
        """Whether the type of the value is wrong, and not only the value."""
        return is_wrong_type(self.shape, self.value)

    def text(self) -> str:
        """What was expected and what was found."""
        return f"expected {describe(self.shape)}, got {found(self.value)}"


@attrs.frozen(eq=False)
class Missing(_OfRightType):
    """A member is not there."""

    field: Field
    members: Mapping[str, object]
    known: Container[str]

    def text(self) -> str:
        """What was expected, and which members nobody knows."""
        message = f"required but missing; expected {describe(self.field.shape)}"
        others = _listed(name for name in self.members if name not in self.known)
        return _cut(message + (f" (not known: {others})" if others else ""))


@attrs.frozen(eq=False)
class Unknown(_OfRightType):
    """A member is there that nobody knows."""

    known: Sequence[str]

    def text(self) -> str:
        """Which members there are."""
        return _cut(f"not known; known are {_listed(self.known)}")


@attrs.frozen(eq=False)
class Broken(_OfRightType):
    """A value breaks a constraint."""

    rule: str
    value: object

    def text(self) -> str:
        """What was expected and what was found."""
        return f"expected {self.rule}, got {found(self.value)}"


@attrs.frozen(eq=False)
class Refused(_OfRightType):
    """A value was refused by a hook of the program."""

    name: str
    custom: Custom | None
    value: object
    reason: str

    def text(self) -> str:
        """What was expected and what was found, if that is known, and the reason."""
        if self.custom is None:
            return f"refused by {self.name}: {self.reason}"
        text = f"expected {describe(self.custom)}, got {found(self.value)}"
        return f"{text} ({self.reason})" if self.reason else text


def unfit(shape: Shape, value: object) -> Mismatch:
    """A value is not of a shape."""
    return Mismatch([Problem((), Unfit(shape, value))])


# --- JSON types ----------------------------------------------------------------------------------

_SCALAR_TYPES: Final[dict[type[Any], frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer"}),
    float: frozenset({"number", "integer"}),
    str: frozenset({"string"}),
}


def json_types(shape: Shape) -> frozenset[str]:
    """The JSON types that values of a shape have.

    Args:
        shape: The shape.

    Returns:
        Their names in JSON Schema.
    """
    match shape:
        case Null():
            return frozenset({"null"})
        case Scalar(python=python):
            return _SCALAR_TYPES[python]
        case Text(python=python):
            is_number = python is decimal.Decimal
            return frozenset({"string", "number", "integer"} if is_number else {"string"})
        case Choice(members=members):
            return frozenset(json_type_of(value) for value, _ in members)
        case OneOf(members=members):
            return frozenset[str]().union(*map(json_types, members))
        case Array() | FixedTuple():
            return frozenset({"array"})
        case StringKeyed():
            return frozenset({"object"})
        case Record(is_tuple=is_tuple):
            return frozenset({"object", "array"} if is_tuple else {"object"})
        case Refined(inner=inner) | Alias(target=inner):
            return json_types(inner)
        case Custom(json_types=types):
            return types
        case Anything() | Foreign():  # pragma: no branch - there is no other
            return JSON_TYPES


def is_wrong_type(shape: Shape, value: object) -> bool:
    """Whether the type of a value is wrong, and not only the value."""
    return json_type_of(value) not in json_types(shape)


# --- What is expected ----------------------------------------------------------------------------

_SCALAR_WORDS: Final[dict[type[Any], str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
}

_TEXT_WORDS: Final[dict[type[Any], str]] = {
    datetime.datetime: 'a date and time such as "2024-01-31T09:30:00Z"',
    datetime.date: 'a date such as "2024-01-31"',
    datetime.time: 'a time of day such as "09:30:00"',
    datetime.timedelta: 'a duration in days or less such as "P1DT2H30M"',
    uuid.UUID: "a UUID",
    decimal.Decimal: 'a decimal number such as "1.50"',
    bytes: "a string",
}

_TYPE_WORDS: Final = {
    "null": "null",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}


def describe(shape: Shape, *, python: bool = False) -> str:
    """Say in words what is expected.

    Args:
        shape: What is expected.
        python: Whether in the words of Python, for the author of a program. In those of JSON
            otherwise, for a model.

    Returns:
        Half a sentence, for after "expected".
    """
    if python:
        return _either(_alternatives(shape))
    match shape:
        case Anything():
            return "any JSON value"
        case Null():
            return "null"
        case Scalar(python=type_):
            return _SCALAR_WORDS[type_]
        case Text(python=type_) if issubclass(type_, pathlib.PurePath):
            return "a path as a string"
        case Text(python=type_):
            return _TEXT_WORDS[type_]
        case Choice(members=members):
            return _either([_quoted(value) for value, _ in members])
        case OneOf(members=members):
            return _either([describe(member) for member in members])
        case Array(item=Scalar() | Text() | Choice() | Custom() as item):
            return f"an array (each item {describe(item)})"
        case Array():
            return "an array"
        case FixedTuple(items=items):
            return f"an array of exactly {len(items)} items"
        case Record(fields=fields, is_tuple=is_tuple):
            keys = ", ".join(_quoted(field.name) for field in fields if field.required)
            word = "an array or object" if is_tuple else "an object"
            return f"{word} with {keys}" if keys else word
        case Refined(inner=inner) | Alias(target=inner):
            return describe(inner)
        case Custom():
            return _custom(shape)
        case _:
            return "an object"


def _custom(custom: Custom) -> str:
    if custom.description is not None:
        text = custom.description.strip().removesuffix(".")
        # Half a sentence, unless it begins with an abbreviation or a name in capitals.
        return text if text[1:2].isupper() else text[:1].lower() + text[1:]
    if len(custom.json_types) == len(JSON_TYPES):
        return "any JSON value"
    types = custom.json_types
    if "number" in types:
        types = types - {"integer"}
    return _either([word for type_, word in _TYPE_WORDS.items() if type_ in types])


def _alternatives(shape: Shape) -> list[str]:
    """What is expected in the words of Python, one for each alternative."""
    match shape:
        case Anything():
            return ["a JSON value"]
        case Null():
            return ["None"]
        case Scalar(python=type_) if type_ is bool:
            return ["True", "False"]
        case Choice(members=members):
            return [repr(value) for value, _ in members]
        case OneOf(members=members):
            return [words for member in members for words in _alternatives(member)]
        case Array(item=item):
            return [f"a list (each item: {_either(_alternatives(item))})"]
        case StringKeyed(value=value):
            words = _either(_alternatives(value))
            return [f"a mapping with string keys (each value: {words})"]
        case Record(fields=fields, is_tuple=False):
            parts = (f"{field.name!r}: {_either(_alternatives(field.shape))}" for field in fields)
            return ["{" + ", ".join(parts) + "}"]
        case Refined(inner=inner) | Alias(target=inner):
            return _alternatives(inner)
        case _:
            return [describe(shape)]


def _either(words: list[str]) -> str:
    unique = list(dict.fromkeys(words))
    if len(unique) > _MAX_WORDS:
        unique = [*unique[: _MAX_WORDS - 1], f"one of {len(unique) - _MAX_WORDS + 1} more"]
    *others, last = unique
    return f"{', '.join(others)} or {last}" if others else last


# --- What was found ------------------------------------------------------------------------------

_MAX_WORDS: Final = 20
_MAX_QUOTE: Final = 60
_MAX_TEXT: Final = 3 * _MAX_QUOTE


def _quoted(value: object) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return f'"{value}"'
        case _:
            return str(value)


def found(value: object) -> str:
    """Say what was found, in a length that fits in a message.

    Args:
        value: A JSON value.

    Returns:
        Half a sentence, for after "got".
    """
    if is_object(value):
        keys = _listed(value)
        return _cut(f"an object with {keys}") if keys else "an empty object"
    if is_list(value):
        return f"an array of {len(value)} item{'' if len(value) == 1 else 's'}"
    match value:
        case str():
            dots = "..." if len(value) > _MAX_QUOTE else ""
            return f'the string "{value[:_MAX_QUOTE]}{dots}"'
        case None | bool():
            return _quoted(value)
        case float():
            return f"the number {value!r}"
        case int():
            return "the number " + _number(value)
        case _:
            return f"a value of type {type(value).__qualname__}"


def _listed(keys: Iterable[str]) -> str:
    """As many keys as there is room for."""
    length = 0
    listed: list[str] = []
    for key in keys:
        listed.append(_quoted(key[:_MAX_TEXT]))
        length += len(listed[-1])
        if length > _MAX_TEXT:
            break
    return ", ".join(listed)


def _number(value: int) -> str:
    try:
        return _cut(str(value))
    except ValueError:  # more digits than Python converts
        return "that is far too large"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
