from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from lktrio._schemas.converter import Converter


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: Level = Level.LOW


@attrs.frozen
class Point:
    _x: int
    y: datetime.date | None = None
    hidden: int = attrs.field(init=False, default=5)


@dataclasses.dataclass
class Segment:
    start: Point
    hidden: int = dataclasses.field(init=False, default=5)


class Struct(msgspec.Struct):
    when: datetime.date


class Model(pydantic.BaseModel):
    when: datetime.date = pydantic.Field(alias="on")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (Level.LOW, 1),
        (datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "2024-01-02T00:00:00+00:00"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(), "PT0S"),
        (datetime.timedelta(days=1, hours=2, minutes=3, seconds=4.5), "P1DT2H3M4.5S"),
        (datetime.timedelta(hours=-1), "-PT1H"),
        (datetime.timedelta(days=2), "P2D"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        ("é".encode(), "é"),
        (Pair(1), [1, 1]),
        ({1: (2,), Level.LOW: {3}, "a": frozenset()}, {"1": [3], "a": []}),
        (collections.deque([1]), [1]),
        (Segment(Point(1, datetime.date(2024, 1, 2))), {"start": {"x": 1, "y": "2024-01-02"}}),
        (Struct(datetime.date(2024, 1, 2)), {"when": "2024-01-02"}),
        (Model(on=datetime.date(2024, 1, 2)), {"on": "2024-01-02"}),
    ],
    ids=repr,
)
def test_every_type_of_a_parameter_has_a_spelling(value: Any, expected: Any) -> None:
    assert Converter().unstructure(value) == expected
    json.dumps(Converter().unstructure(value))


def test_what_has_no_spelling_is_refused() -> None:
    with pytest.raises(TypeError, match="a value of type object has no JSON form"):
        Converter().unstructure([object()])
