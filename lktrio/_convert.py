"""JSON values -> Python values, strictly.

A value that fits the schema arrives unchanged. What else is taken is listed in `_leniency`; null
for a parameter that has a default means the default, and unknown keys are ignored. This module
alone knows how cattrs is made to do that, and how a misfit is described to a model.
"""

from __future__ import annotations

import contextvars
import datetime
import decimal
import enum
import math
import pathlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import attrs
from cattrs import BaseConverter

from ._foreign import ForeignMismatch, ForeignType
from ._leniency import read_container, read_integer, read_number
from ._shapes import (
    Alias,
    Anything,
    Array,
    Choice,
    Constraints,
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
    accepts_null,
)

__all__ = ["Misfit", "Problem", "StrictConverter", "describe"]

Path: TypeAlias = tuple[str | int, ...]
Hook: TypeAlias = Callable[[Any, Any], Any]


@attrs.frozen
class Problem:
    """One thing that is wrong with a value."""

    path: Path
    """Where it is: names of members, and positions in lists."""

    message: str
    """What was expected there and what was found."""

    def __str__(self) -> str:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return f"{path.lstrip('.')}: {self.message}" if path else self.message


class Misfit(ValueError):
    """A value does not fit.

    Args:
        problems: What is wrong, at least one thing.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))

    def under(self, step: str | int) -> list[Problem]:
        """The problems as seen from the container, in which the value is at ``step``."""
        return [Problem((step, *problem.path), problem.message) for problem in self.problems]


class _Mode(enum.IntEnum):
    """How much is tolerated. A union takes the first member that fits with the least."""

    CLOSED = 0
    """Nothing, not even unknown keys."""

    EXACT = 1
    """Unknown keys."""

    LENIENT = 2
    """Unknown keys and the liberties of `_leniency`."""


class StrictConverter:
    """Structures JSON values by shape. Its rules are its own: the global converter is untouched."""

    def __init__(self) -> None:
        self._converters = {mode: self._make_converter(mode) for mode in _Mode}

    def structure(self, value: Any, shape: Shape) -> Any:
        """Make a Python value from a JSON value.

        Args:
            value: A value made of dict, list, str, int, finite float, bool and None.
            shape: What it should look like.

        Returns:
            The Python value.

        Raises:
            Misfit: If it does not fit.
        """
        token = _run.set(_Run())
        try:
            return self._converters[_Mode.LENIENT].structure(value, cast("Any", shape))
        finally:
            _run.reset(token)

    def structure_fields(self, value: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
        """Make the arguments of a call from a JSON object.

        Args:
            value: The object.
            fields: The parameters.

        Returns:
            The Python values by the names of their arguments. Those that are to have the
            default of the function are not among them.

        Raises:
            Misfit: If it does not fit.
        """
        token = _run.set(_Run())
        try:
            return self._structure_fields(value, fields, _Mode.LENIENT)
        finally:
            _run.reset(token)

    # --- Hooks, one for each kind of shape -------------------------------------------------------

    def _make_converter(self, mode: _Mode) -> BaseConverter:
        converter = BaseConverter()

        def is_shape(type_: Any) -> bool:
            return isinstance(type_, Shape)

        def make_hook(shape: Shape) -> Hook:
            return self._make_hook(shape, mode)

        converter.register_structure_hook_factory(is_shape, make_hook)
        return converter

    def _make_hook(self, shape: Shape, mode: _Mode) -> Hook:
        match shape:
            case Anything():
                return _structure_anything
            case Null():
                return _structure_null
            case Scalar(python=python):
                return _SCALAR_HOOKS[python](mode)
            case Text(python=python):
                return _text_hook(python)
            case Choice():
                return _choice_hook(shape)
            case OneOf():
                return self._one_of_hook(shape, mode)
            case Array():
                return self._array_hook(shape, mode)
            case FixedTuple():
                return self._tuple_hook(shape, mode)
            case StringKeyed():
                return self._mapping_hook(shape, mode)
            case Record():
                return self._record_hook(shape, mode)
            case Foreign():
                return _foreign_hook(shape, mode)
            case Refined():
                return self._refined_hook(shape, mode)
            case _:
                # An alias is not looked up now: it may hold itself.
                return lambda value, _: self._structure(value, shape.target, mode)

    def _structure(self, value: Any, shape: Shape, mode: _Mode) -> Any:
        return self._converters[mode].structure(value, cast("Any", shape))

    def _structure_text(self, text: str, shape: Shape, mode: _Mode) -> Any:
        """Structure an array or object that was sent as JSON text. There is one layer of that."""
        run = _run.get()
        container = run.container(text) if mode is _Mode.LENIENT else None
        if container is None:
            raise _misfit(shape, text)
        run.is_in_text = True
        try:
            return self._structure(container, shape, mode)
        finally:
            run.is_in_text = False

    def _structure_fields(
        self, value: Mapping[str, Any], fields: Sequence[Field], mode: _Mode
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        problems: list[Problem] = []
        for field in fields:
            if field.name not in value:
                if field.make_default is not None:
                    arguments[field.argument] = field.make_default()
                elif field.required:
                    known = {field.name for field in fields}
                    problems.append(_missing(field, [name for name in value if name not in known]))
                continue
            member = value[field.name]
            if member is None and not field.required and not accepts_null(field.shape):
                if field.make_default is not None:
                    arguments[field.argument] = field.make_default()
                continue
            try:
                arguments[field.argument] = self._structure(member, field.shape, mode)
            except Misfit as misfit:
                problems.extend(misfit.under(field.name))
        if problems:
            raise Misfit(problems)
        return arguments

    def _record_hook(self, record: Record, mode: _Mode) -> Hook:
        def structure(value: Any, _: Any) -> Any:
            if isinstance(value, str):
                return self._structure_text(value, record, mode)
            if record.is_tuple and isinstance(value, list):
                value = _named(cast("list[object]", value), record)
            if not isinstance(value, dict):
                raise _misfit(record, value)
            members = cast("dict[str, Any]", value)
            if mode is _Mode.CLOSED and len(members.keys() - _names(record)) > 0:
                raise _misfit(record, value)
            arguments = self._structure_fields(members, record.fields, mode)
            try:
                return record.build(**arguments)
            except (ValueError, TypeError) as error:
                # The class has rules of its own.
                raise Misfit([Problem((), f"refused by {record.name}: {error}")]) from error

        return structure

    def _array_hook(self, array: Array, mode: _Mode) -> Hook:
        def structure(value: Any, _: Any) -> Any:
            if isinstance(value, str):
                return self._structure_text(value, array, mode)
            if not isinstance(value, list):
                raise _misfit(array, value)
            items = cast("list[object]", value)
            structured = self._structure_items(items, [array.item] * len(items), mode)
            try:
                return array.build(structured)
            except TypeError:
                problem = Problem((), "objects and arrays cannot be items of this set")
                raise Misfit([problem]) from None

        return structure

    def _tuple_hook(self, fixed: FixedTuple, mode: _Mode) -> Hook:
        def structure(value: Any, _: Any) -> Any:
            if isinstance(value, str):
                return self._structure_text(value, fixed, mode)
            if not isinstance(value, list):
                raise _misfit(fixed, value)
            items = cast("list[object]", value)
            if len(items) != len(fixed.items):
                raise _misfit(fixed, value)
            return tuple(self._structure_items(items, fixed.items, mode))

        return structure

    def _structure_items(
        self, items: Sequence[object], shapes: Sequence[Shape], mode: _Mode
    ) -> list[Any]:
        structured: list[Any] = []
        problems: list[Problem] = []
        for index, (item, shape) in enumerate(zip(items, shapes, strict=True)):
            try:
                structured.append(self._structure(item, shape, mode))
            except Misfit as misfit:
                problems.extend(misfit.under(index))
        if problems:
            raise Misfit(problems)
        return structured

    def _mapping_hook(self, mapping: StringKeyed, mode: _Mode) -> Hook:
        # JSON writes every key as a string, so that reading one as a number is no liberty.
        key_mode = _Mode.LENIENT

        def structure(value: Any, _: Any) -> Any:
            if isinstance(value, str):
                return self._structure_text(value, mapping, mode)
            if not isinstance(value, dict):
                raise _misfit(mapping, value)
            structured: dict[Any, Any] = {}
            problems: list[Problem] = []
            for key, member in cast("dict[str, Any]", value).items():
                try:
                    structured_key = self._structure(key, mapping.key, key_mode)
                    structured[structured_key] = self._structure(member, mapping.value, mode)
                except Misfit as misfit:
                    problems.extend(misfit.under(key))
            if problems:
                raise Misfit(problems)
            return mapping.build(structured)

        return structure

    def _refined_hook(self, refined: Refined, mode: _Mode) -> Hook:
        constraints = refined.constraints

        def structure(value: Any, _: Any) -> Any:
            structured = self._structure(value, refined.inner, mode)
            if constraints is not None:
                rule = broken_rule(structured, constraints)
                if rule is not None:
                    raise Misfit([Problem((), f"expected {rule}, got {_found(value)}")])
            return structured

        return structure

    def _one_of_hook(self, union: OneOf, mode: _Mode) -> Hook:
        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, dict | list):
                return self._structure_one_of(value, union, mode)
            # A part of a value is looked at again for every member its parents may be. What was
            # found the first time is kept, or the work would double with every level.
            attempts = _run.get().attempts
            key = (id(cast("object", value)), id(union), mode)
            if key not in attempts:
                try:
                    attempts[key] = self._structure_one_of(value, union, mode)
                except Misfit as misfit:
                    attempts[key] = misfit
            attempt = attempts[key]
            if isinstance(attempt, Misfit):
                raise attempt
            return attempt

        return structure

    def _structure_one_of(self, value: Any, union: OneOf, mode: _Mode) -> Any:
        ranked = sorted(union.members, key=lambda member: _rank(member, value))
        failures: dict[Shape, Misfit] = {}
        for attempted in _Mode:
            if attempted > mode:
                break
            if attempted is _Mode.LENIENT and isinstance(value, str):
                # No member takes the string. Which of them its text is for, its members tell.
                container = _run.get().container(value)
                if any(_may_be_meant(_bare(member), container) for member in union.members):
                    return self._structure_text(value, union, mode)
            for member in ranked:
                try:
                    return self._structure(value, member, attempted)
                except Misfit as misfit:
                    failures[member] = misfit
        raise _union_misfit(union, value, failures)


class _Run:
    """What is known while one value is structured."""

    def __init__(self) -> None:
        self.attempts: dict[tuple[int, int, _Mode], Any] = {}
        """What became of the parts that may be several types: the value, or the misfit."""
        self.is_in_text = False
        """Whether the value comes from JSON text that was in a string of the arguments."""
        self._containers: dict[int, list[Any] | dict[str, Any] | None] = {}

    def container(self, text: str) -> list[Any] | dict[str, Any] | None:
        """The array or object that a string is the text of; None if it is none. It is decoded once,
        and kept: `attempts` knows values by their identity."""
        if self.is_in_text:
            return None
        if id(text) not in self._containers:
            self._containers[id(text)] = read_container(text)
        return self._containers[id(text)]


_run: Final[contextvars.ContextVar[_Run]] = contextvars.ContextVar("lktrio_structuring")


# --- Scalars -------------------------------------------------------------------------------------


def _structure_anything(value: Any, _: Any) -> Any:
    return value


def _structure_null(value: Any, shape: Any) -> None:
    if value is not None:
        raise _misfit(shape, value)


def _structure_str(value: Any, shape: Any) -> str:
    if not isinstance(value, str):
        raise _misfit(shape, value)
    return value


def _structure_bool(value: Any, shape: Any) -> bool:
    if not isinstance(value, bool):
        raise _misfit(shape, value)
    return value


def _structure_int(value: Any, shape: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _misfit(shape, value)
    return value


def _structure_int_leniently(value: Any, shape: Any) -> int:
    integer = read_integer(value)
    if integer is None:
        raise _misfit(shape, value)
    return integer


def _structure_float(value: Any, shape: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _misfit(shape, value)
    return _as_float(value, shape)


def _structure_float_leniently(value: Any, shape: Any) -> float:
    number = read_number(value)
    if number is None:
        raise _misfit(shape, value)
    return _as_float(number, shape)


def _as_float(number: float, shape: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        raise _misfit(shape, number) from None


_SCALAR_HOOKS: Final[dict[type[Any], Callable[[_Mode], Hook]]] = {
    str: lambda _: _structure_str,
    bool: lambda _: _structure_bool,
    int: lambda mode: _structure_int_leniently if mode is _Mode.LENIENT else _structure_int,
    float: lambda mode: _structure_float_leniently if mode is _Mode.LENIENT else _structure_float,
}


def _choice_hook(choice: Choice) -> Hook:
    # By type as well: to Python True is 1, and 1 is 1.0. An integral float is an integer to JSON.
    values = {(type(value), value): member for value, member in choice.members}

    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, str | int | float | None):
            key = (type(value), value)
            if key not in values and isinstance(value, float) and value.is_integer():
                key = (int, value)
            if key not in values and type(value) is int:
                key = (float, value)
            if key in values:
                return values[key]
        raise _misfit(choice, value)

    return structure


def _foreign_hook(foreign: Foreign, mode: _Mode) -> Hook:
    type_ = ForeignType(foreign.python)

    def structure(value: Any, _: Any) -> Any:
        try:
            return type_.structure(
                value, lenient=mode is _Mode.LENIENT, in_text=_run.get().is_in_text
            )
        except ForeignMismatch as error:
            raise Misfit([Problem(path, message) for path, message in error.problems]) from None

    return structure


# --- Types that are written as strings -----------------------------------------------------------

_DATE: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
_OFFSET: Final = r"([Zz]|[+-]\d\d:\d\d)?"
_DATE_PATTERN: Final = re.compile(_DATE, re.ASCII)
_TIME_PATTERN: Final = re.compile(_TIME + _OFFSET, re.ASCII)
_DATETIME_PATTERN: Final = re.compile(f"{_DATE}[Tt ]{_TIME}{_OFFSET}", re.ASCII)
_DURATION_PATTERN: Final = re.compile(
    r"(?P<sign>[+-]?)P(?=[\dT])((?P<weeks>\d+(\.\d+)?)W)?((?P<days>\d+(\.\d+)?)D)?"
    r"(T(?=\d)((?P<hours>\d+(\.\d+)?)H)?((?P<minutes>\d+(\.\d+)?)M)?((?P<seconds>\d+(\.\d+)?)S)?)?",
    re.ASCII,
)
_DECIMAL_PATTERN: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def _read_datetime(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(_matched(_DATETIME_PATTERN, text).upper())


def _read_date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(_matched(_DATE_PATTERN, text))


def _read_time(text: str) -> datetime.time:
    return datetime.time.fromisoformat(_matched(_TIME_PATTERN, text).upper())


def _read_timedelta(text: str) -> datetime.timedelta:
    match = _DURATION_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError
    parts = match.groupdict()
    sign = -1 if parts.pop("sign") == "-" else 1
    return sign * datetime.timedelta(
        **{unit: float(number) for unit, number in parts.items() if number is not None}
    )


def _read_decimal(text: str) -> decimal.Decimal:
    return decimal.Decimal(_matched(_DECIMAL_PATTERN, text))


def _matched(pattern: re.Pattern[str], text: str) -> str:
    # The standard library reads more than the standards, and more with every release.
    if pattern.fullmatch(text) is None:
        raise ValueError
    return text


_READERS: Final[dict[type[Any], Callable[[str], Any]]] = {
    datetime.datetime: _read_datetime,
    datetime.date: _read_date,
    datetime.time: _read_time,
    datetime.timedelta: _read_timedelta,
    uuid.UUID: uuid.UUID,
    decimal.Decimal: _read_decimal,
    bytes: str.encode,
}


def _text_hook(python: type[Any]) -> Hook:
    read = _READERS.get(python, python)
    takes_numbers = python is decimal.Decimal

    def structure(value: Any, shape: Any) -> Any:
        if takes_numbers and not isinstance(value, bool) and isinstance(value, int | float):
            # The shortest digits that give the number: 1.1 is Decimal("1.1").
            value = repr(value)
        if not isinstance(value, str):
            raise _misfit(shape, value)
        try:
            return read(value)
        except (ValueError, OverflowError, decimal.InvalidOperation):
            raise _misfit(shape, value) from None

    return structure


# --- Records and unions --------------------------------------------------------------------------


def _names(record: Record) -> set[str]:
    return {field.name for field in record.fields}


def _named(items: list[object], record: Record) -> dict[str, Any]:
    if len(items) > len(record.fields):
        raise _misfit(record, items)
    return {field.name: item for field, item in zip(record.fields, items, strict=False)}


def _rank(member: Shape, value: Any) -> tuple[int, int]:
    """Which member of a union is tried first.

    The type JSON itself would choose comes first, so that nothing is lost: a string stays a
    string, and an integer is no float. Of the classes, the one comes first that knows most of
    the keys. The order in which the members were written decides only what is left: Python takes
    ``Union[int, str]`` and ``Union[str, int]`` for the same type.
    """
    member = _bare(member)
    match member:
        case Scalar(python=python):
            return (0 if type(value) is python else _SCALAR_RANKS[python]), 0
        case Choice():
            return 4, 0
        case Text(python=python):
            return (6 if python in (decimal.Decimal, bytes) else 5), 0
        case Record() if isinstance(value, dict):
            known = cast("dict[str, Any]", value).keys() & _names(member)
            return 7, -len(known)
        case Record() | Foreign() | FixedTuple():
            return 7, 0
        case Array(unique=unique):
            return (9 if unique else 8), 0
        case StringKeyed():
            return 9, 0
        case _:
            return 10, 0


_SCALAR_RANKS: Final[dict[type[Any], int]] = {bool: 1, int: 1, float: 2, str: 3}


def _bare(shape: Shape) -> Shape:
    while True:
        match shape:
            case Refined(inner=inner) | Alias(target=inner):
                shape = inner
            case _:
                return shape


def _union_misfit(union: OneOf, value: Any, failures: Mapping[Shape, Misfit]) -> Misfit:
    """Say what is wrong by the member that was meant, if that can be told."""
    meant = [member for member in union.members if _may_be_meant(_bare(member), value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        tags = _tags(_bare(member) for member in meant)
        for name, choices in tags.items():
            tagged = [
                member
                for member, choice in zip(meant, choices, strict=True)
                if any(members.get(name, _MISSING) == allowed for allowed, _ in choice.members)
            ]
            if len(tagged) == 1:
                return failures[tagged[0]]
            if not tagged:
                allowed = Choice(tuple(member for choice in choices for member in choice.members))
                found = _found(members[name]) if name in members else "nothing"
                return Misfit([Problem((name,), f"expected {describe(allowed)}, got {found}")])
    if len(meant) == 1:
        return failures[meant[0]]
    return _misfit(union, value)


_MISSING: Final = object()


def _may_be_meant(member: Shape, value: Any) -> bool:
    match value:
        case dict():
            return isinstance(member, Record | Foreign | StringKeyed)
        case list():
            return isinstance(member, Array | FixedTuple) or (
                isinstance(member, Record) and member.is_tuple
            )
        case None:
            return False
        case _:
            return isinstance(member, Scalar | Text | Choice)


def _tags(members: Iterable[Shape]) -> dict[str, list[Choice]]:
    """The fields that are literals in every one of several records."""
    tags: dict[str, list[Choice]] | None = None
    for member in members:
        if not isinstance(member, Record):
            return {}
        own = {
            field.name: choice
            for field in member.fields
            if isinstance(choice := _bare(field.shape), Choice)
        }
        if tags is None:
            tags = {name: [choice] for name, choice in own.items()}
        else:
            tags = {name: [*tags[name], own[name]] for name in tags if name in own}
    return tags or {}


# --- Constraints ---------------------------------------------------------------------------------


def broken_rule(value: Any, constraints: Constraints) -> str | None:
    """The first constraint that a value breaks, in words; None if it keeps all.

    As in JSON Schema, a constraint says nothing about values of a type it is not made for.
    """
    size = len(value) if hasattr(value, "__len__") else None
    is_text = isinstance(value, str)
    unit = "characters" if is_text else "bytes" if isinstance(value, bytes) else "items"
    rules: list[tuple[Any, Callable[[Any], bool], str]] = [
        (constraints.ge, lambda bound: value >= bound, "a value >= {}"),
        (constraints.gt, lambda bound: value > bound, "a value > {}"),
        (constraints.le, lambda bound: value <= bound, "a value <= {}"),
        (constraints.lt, lambda bound: value < bound, "a value < {}"),
        (constraints.multiple_of, lambda base: _is_multiple(value, base), "a multiple of {}"),
        (constraints.min_length, lambda n: size is None or size >= n, f"at least {{}} {unit}"),
        (constraints.max_length, lambda n: size is None or size <= n, f"at most {{}} {unit}"),
        (
            constraints.pattern,
            lambda pattern: not is_text or re.search(pattern, value) is not None,
            "a string that matches {}",
        ),
    ]
    for bound, holds, rule in rules:
        if bound is None:
            continue
        try:
            kept = holds(bound)
        except TypeError:
            kept = True
        if not kept:
            return rule.format(bound)
    return None


def _is_multiple(value: Any, base: Any) -> bool:
    if not isinstance(value, int | float | decimal.Decimal):
        return True
    if isinstance(value, float) or isinstance(base, float):
        # 0.3 is a multiple of 0.1, whatever the binary digits say.
        quotient = float(value) / float(base)
        return math.isclose(quotient, round(quotient), rel_tol=1e-9)
    return bool(value % base == 0)


# --- Words ---------------------------------------------------------------------------------------

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


def describe(shape: Shape) -> str:
    """Say in words what is expected.

    Args:
        shape: What is expected.

    Returns:
        Half a sentence, for after "expected".
    """
    match shape:
        case Anything():
            return "any JSON value"
        case Null():
            return "null"
        case Scalar(python=python):
            return _SCALAR_WORDS[python]
        case Text(python=python) if issubclass(python, pathlib.PurePath):
            return "a path as a string"
        case Text(python=python):
            return _TEXT_WORDS[python]
        case Choice(members=members):
            return _either([_quoted(value) for value, _ in members])
        case OneOf(members=members):
            return _either([describe(member) for member in members])
        case Array(item=Scalar() | Text() | Choice() as item):
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
        case _:
            return "an object"


def _either(words: list[str]) -> str:
    unique = list(dict.fromkeys(words))
    if len(unique) > _MAX_WORDS:
        unique = [*unique[: _MAX_WORDS - 1], f"one of {len(unique) - _MAX_WORDS + 1} more"]
    *others, last = unique
    return f"{', '.join(others)} or {last}" if others else last


_MAX_WORDS: Final = 20
_MAX_QUOTE: Final = 60


def _quoted(value: object) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return f'"{value}"'
        case _:
            return str(value)


def _found(value: Any) -> str:
    """Say what was found, in a length that fits in a message."""
    match value:
        case dict():
            keys = [_quoted(key) for key in cast("dict[str, Any]", value)]
            return _cut(f"an object with {', '.join(keys)}") if keys else "an empty object"
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
        case _:
            return "the number " + _number(value)


def _number(value: int) -> str:
    try:
        return _cut(str(value))
    except ValueError:  # more digits than Python converts
        return "that is far too large"


def _cut(text: str) -> str:
    limit = 3 * _MAX_QUOTE
    return text if len(text) <= limit else text[:limit] + "..."


def _missing(field: Field, unknown: Iterable[str]) -> Problem:
    others = ", ".join(_quoted(name) for name in unknown)
    message = f"required but missing; expected {describe(field.shape)}"
    return Problem((field.name,), _cut(message + (f" (not known: {others})" if others else "")))


def _misfit(shape: Shape, value: Any) -> Misfit:
    return Misfit([Problem((), f"expected {describe(shape)}, got {_found(value)}")])
