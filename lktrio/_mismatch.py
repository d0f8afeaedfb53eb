"""What does not fit a type, in words.

This module alone knows how a mismatch is described: to a model in the words of JSON, to the author
of a program in those of Python. It does not know how it was found.
"""

from __future__ import annotations

import datetime
import decimal
import pathlib
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs

from ._public import public
from ._shapes import (
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
    "COUNTED_PROBLEMS",
    "MAX_PROBLEMS",
    "Broken",
    "Mismatch",
    "Missing",
    "Path",
    "Problem",
    "Refusal",
    "Refused",
    "Unfit",
    "Unknown",
    "describe",
    "found",
    "is_wrong_type",
    "json_type_of",
    "json_types",
    "mismatch",
    "refused",
]

Path: TypeAlias = tuple[str | int, ...]

COUNTED_PROBLEMS: Final = 100
"""Nobody reads more, and a hostile value has as many as it has members."""

MAX_PROBLEMS: Final = COUNTED_PROBLEMS + 1
"""So many are looked for, to know whether there are more than are counted."""


class _Cause(Protocol):
    def text(self) -> str:
        """What is wrong, as a model is told."""
        ...


@public
@attrs.frozen(eq=False)
class Problem:
    """One thing that is wrong with a value."""

    path: Path
    """Where it is: names of members, and positions in lists."""

    cause: _Cause = attrs.field(repr=False)
    """What is wrong, in the form in which it was found."""

    @property
    def message(self) -> str:
        """What was expected there and what was found."""
        # Most problems are never shown, so the words are made when they are asked for.
        return self.cause.text()

    def __str__(self) -> str:
        path = "".join(
            f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in self.path
        )
        return f"{path.lstrip('.')}: {self.message}" if path else self.message


@public
class Mismatch(ValueError):
    """A value does not fit a type.

    Args:
        problems: What is wrong, at least one thing.
    """

    problems: tuple[Problem, ...]
    """What is wrong, in the order in which it was found; about the first hundred things if there
    are more."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,), dict(self.__dict__)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))

    def under(self, step: str | int) -> list[Problem]:
        """The problems as seen from the container in which the value is at a place."""
        return [Problem((step, *problem.path), problem.cause) for problem in self.problems]


@attrs.frozen(eq=False)
class Unfit:
    """A value is not what was expected."""

    shape: Shape
    value: Any

    def text(self) -> str:
        """What was expected and what was found."""
        return f"expected {describe(self.shape)}, got {found(self.value)}"


@attrs.frozen(eq=False)
class Missing:
    """A member is not there."""

    field: Field
    members: Mapping[str, Any]
    known: Container[str]

    def text(self) -> str:
        """What was expected, and which members nobody knows."""
        message = f"required but missing; expected {describe(self.field.shape)}"
        others = _listed(name for name in self.members if name not in self.known)
        return _cut(message + (f" (not known: {others})" if others else ""))


@attrs.frozen(eq=False)
class Unknown:
    """A member is there that nobody knows."""

    known: Sequence[str]

    def text(self) -> str:
        """Which members there are."""
        return _cut(f"not known; known are {_listed(self.known)}")


@attrs.frozen(eq=False)
class Broken:
    """A value breaks a constraint."""

    rule: str
    value: Any

    def text(self) -> str:
        """What was expected and what was found."""
        return f"expected {self.rule}, got {found(self.value)}"


@attrs.frozen(eq=False)
class Refusal:
    """Something was refused by rules that are not ours."""

    reason: str
    wrong_type: bool = False

    def text(self) -> str:
        """The reason."""
        return self.reason


@attrs.frozen(eq=False)
class Refused:
    """A value was refused by a hook of the program."""

    name: str
    custom: Custom | None
    value: Any
    reason: str

    def text(self) -> str:
        """What was expected and what was found, if that is known, and the reason."""
        if self.custom is None:
            return f"refused by {self.name}: {self.reason}"
        text = f"expected {describe(self.custom)}, got {found(self.value)}"
        return f"{text} ({self.reason})" if self.reason else text


def mismatch(shape: Shape, value: Any) -> Mismatch:
    """A value is not of a shape."""
    return Mismatch([Problem((), Unfit(shape, value))])


def refused(reason: str, *, wrong_type: bool = False) -> Mismatch:
    """A value was refused, for a reason that is not in its shape."""
    return Mismatch([Problem((), Refusal(reason, wrong_type))])


# --- JSON types ----------------------------------------------------------------------------------

_SCALAR_TYPES: Final[dict[type[Any], frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer"}),
    float: frozenset({"number", "integer"}),
    str: frozenset({"string"}),
}
_EVERY_TYPE: Final = frozenset(
    {"null", "boolean", "integer", "number", "string", "array", "object"}
)


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
        case Anything() | Foreign():
            return _EVERY_TYPE


def json_type_of(value: object) -> str:
    """The JSON type of a value, or an empty string if it has none."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case Mapping():
            return "object"
        case _:
            return ""


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
    if len(custom.json_types) == len(_EVERY_TYPE):
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


def found(value: Any) -> str:
    """Say what was found, in a length that fits in a message.

    Args:
        value: A JSON value.

    Returns:
        Half a sentence, for after "got".
    """
    match value:
        case dict():
            keys = _listed(cast("dict[str, Any]", value))
            return _cut(f"an object with {keys}") if keys else "an empty object"
        case list():
            length = len(cast("list[object]", value))
            return f"an array of {length} item{'' if length == 1 else 's'}"
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


def _short(step: str) -> str:
    return step if len(step) <= _MAX_QUOTE else step[:_MAX_QUOTE] + "..."


def _number(value: int) -> str:
    try:
        return _cut(str(value))
    except ValueError:  # more digits than Python converts
        return "that is far too large"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
