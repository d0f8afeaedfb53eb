"""Values without parts: how each is read from JSON, and what constraints ask of it.

This module alone knows the spelling of dates, durations, decimals and the like, in both
directions. What it writes, it reads back.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from lktrio._json import Mismatch, Problem, check_json_value

from .descriptions import Broken, unfit
from .leniency import Tolerance, read_integer, read_number, tolerate
from .metadata import Constraints
from .shapes import Anything, Choice, Null, Scalar, Shape, Text

__all__ = ["Hook", "broken_rule", "constrained", "leaf_hook", "write_duration"]

Hook: TypeAlias = Callable[[Any, Any], Any]
"""Makes a Python value: takes a JSON value and the type that is wanted."""


def leaf_hook(shape: Shape, *, is_exact: bool) -> Hook | None:
    """Make the hook for a shape without parts.

    Args:
        shape: The shape.
        is_exact: Whether nothing is converted, and what cannot be sent as JSON is refused.

    Returns:
        The hook. None if the shape has parts.
    """
    match shape:
        case Anything():
            return _structure_json if is_exact else _structure_anything
        case Null():
            return _null_hook(shape)
        case Scalar(python=python):
            return _EXACT_SCALARS[python](shape) if is_exact else _SCALARS[python](shape)
        case Text(python=python):
            return _text_hook(shape, python)
        case Choice():
            return _exact_choice_hook(shape) if is_exact else _choice_hook(shape)
        case _:
            return None


def _structure_anything(value: object, _: object) -> object:
    return value


def _null_hook(shape: Null) -> Hook:
    def structure(value: object, _: object) -> None:
        if value is not None:
            raise unfit(shape, value)

    return structure


# --- Scalars -------------------------------------------------------------------------------------


def _plain_hook(shape: Scalar) -> Hook:
    python = shape.python

    def structure(value: object, _: object) -> object:
        if not isinstance(value, python):
            raise unfit(shape, value)
        return value

    return structure


def _int_hook(shape: Scalar) -> Hook:
    def structure(value: object, _: object) -> int:
        if type(value) is int:
            return value
        integer = read_integer(value)
        if integer is None:
            raise unfit(shape, value)
        if isinstance(value, str | float):
            tolerate(Tolerance.LIBERTIES)
        return integer

    return structure


def _float_hook(shape: Scalar) -> Hook:
    def structure(value: object, _: object) -> float:
        if type(value) is float and math.isfinite(value):
            return value
        number = read_number(value)
        if number is None:
            raise unfit(shape, value)
        if isinstance(value, str):
            tolerate(Tolerance.LIBERTIES)
        try:
            return float(number)
        except OverflowError:
            pass
        raise unfit(shape, value)

    return structure


_SCALARS: Final[dict[type[Any], Callable[[Scalar], Hook]]] = {
    str: _plain_hook,
    bool: _plain_hook,
    int: _int_hook,
    float: _float_hook,
}


def _choice_hook(choice: Choice) -> Hook:
    # By type as well: to Python True is 1, and 1 is 1.0. An integral float is an integer to JSON.
    values = {(type(value), value): member for value, member in choice.members}

    def structure(value: object, _: object) -> object:
        if isinstance(value, str | int | float | None):
            key = (type(value), value)
            if key not in values and isinstance(value, float) and value.is_integer():
                key = (int, value)
            if key not in values and type(value) is int:
                key = (float, value)
            if key in values:
                return values[key]
        raise unfit(choice, value)

    return structure


# --- Exactly: values of a program, which are sent as they are ------------------------------------


def _exact_str_hook(shape: Scalar) -> Hook:
    def structure(value: object, _: object) -> str:
        if not isinstance(value, str):
            raise unfit(shape, value)
        if not value.isascii():
            check_json_value(value)
        return value

    return structure


def _exact_int_hook(shape: Scalar) -> Hook:
    def structure(value: object, _: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise unfit(shape, value)
        if not -(2**31) <= value < 2**31:
            check_json_value(value)
        return value

    return structure


def _exact_float_hook(shape: Scalar) -> Hook:
    def structure(value: object, _: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise unfit(shape, value)
        check_json_value(value)
        return value

    return structure


_EXACT_SCALARS: Final[dict[type[Any], Callable[[Scalar], Hook]]] = {
    str: _exact_str_hook,
    bool: _plain_hook,
    int: _exact_int_hook,
    float: _exact_float_hook,
}


def _exact_choice_hook(choice: Choice) -> Hook:
    values = {(type(value), value): member for value, member in choice.members}

    def structure(value: object, _: object) -> object:
        # The text of a member of a string enumeration is wanted, not its name.
        plain = str.__str__(value) if isinstance(value, str) else value
        if isinstance(plain, str | int | float | None) and (type(plain), plain) in values:
            return values[type(plain), plain]
        raise unfit(choice, value)

    return structure


def _structure_json(value: object, _: object) -> object:
    check_json_value(value)
    return value


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


def _text_hook(shape: Text, python: type[Any]) -> Hook:
    read = _READERS.get(python, python)
    takes_numbers = python is decimal.Decimal

    def structure(value: object, _: object) -> object:
        text = value
        if takes_numbers and not isinstance(value, bool) and isinstance(value, int | float):
            # The shortest digits that give the number: 1.1 is Decimal("1.1").
            text = repr(value)
        if isinstance(text, str):
            try:
                return read(text)
            except (ValueError, OverflowError, decimal.InvalidOperation):
                pass
        raise unfit(shape, value)

    return structure


def write_duration(value: datetime.timedelta) -> str:
    """Write a duration as ISO 8601 does: https://www.rfc-editor.org/rfc/rfc3339#appendix-A."""
    sign = "-" if value < datetime.timedelta() else ""
    value = abs(value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    date = f"{value.days}D" if value.days else ""
    time = f"{hours}H" if hours else ""
    time += f"{minutes}M" if minutes else ""
    time += f"{seconds}{fraction}S" if seconds or fraction else ""
    if not date and not time:
        return "PT0S"
    return f"{sign}P{date}" + (f"T{time}" if time else "")


# --- Constraints ---------------------------------------------------------------------------------


def constrained(structure_inner: Hook, inner_type: Any, constraints: Constraints) -> Hook:
    """Make a hook that also holds a value to constraints.

    Args:
        structure_inner: The hook that makes the value.
        inner_type: Its type.
        constraints: The constraints.

    Returns:
        The hook.
    """

    def structure(value: object, _: object) -> object:
        structured = structure_inner(value, inner_type)
        rule = broken_rule(structured, constraints)
        if rule is not None:
            raise Mismatch([Problem((), Broken(rule, value))])
        return structured

    return structure


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
