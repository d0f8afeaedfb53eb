"""Python values as JSON values: how dates, enumerations, classes and the like are written.

This module alone knows the spelling of each type. What it writes, the converter reads back.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

import attrs

from ._foreign import unstructure_foreign

__all__ = ["unstructure"]


def unstructure(value: Any) -> Any:
    """Write a value as JSON would.

    Args:
        value: Any value of a type that may be a parameter of a tool.

    Returns:
        A value made of dict, list, str, int, float, bool and None.

    Raises:
        TypeError: If it, or something in it, has no JSON form.
    """
    match value:
        case enum.Enum():
            return unstructure(value.value)
        case None | bool() | str() | int() | float():
            return value
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return _duration(value)
        case uuid.UUID() | decimal.Decimal() | pathlib.PurePath():
            return str(value)
        case bytes():
            return value.decode()
        case Mapping():
            members = cast("Mapping[object, object]", value).items()
            return {_key(key): unstructure(member) for key, member in members}
        case Sequence() | AbstractSet():
            return [unstructure(item) for item in cast("Sequence[object]", value)]
        case _:
            return _unstructure_object(value)


def _unstructure_object(value: object) -> Any:
    class_ = type(value)
    foreign = unstructure_foreign(value)
    if foreign is not None:
        return foreign
    if attrs.has(class_):
        return {
            attribute.alias or attribute.name: unstructure(getattr(value, attribute.name))
            for attribute in attrs.fields(class_)
            if attribute.init
        }
    if dataclasses.is_dataclass(class_):
        return {
            field.name: unstructure(getattr(value, field.name))
            for field in dataclasses.fields(class_)
            if field.init
        }
    raise TypeError(f"a value of type {class_.__qualname__} has no JSON form")


def _key(key: Any) -> str:
    written = unstructure(key)
    return written if isinstance(written, str) else str(written)


def _duration(value: datetime.timedelta) -> str:
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
