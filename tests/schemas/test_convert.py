# ruff: noqa: PYI061, UP007, UP045  every spelling of a union is to be read

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import pathlib
import time
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import attrs
import pytest
import typing_extensions
from annotated_types import Ge, Gt, Le, Len, Lt, MaxLen, MinLen, MultipleOf

from lktrio._json.mismatch import Mismatch
from lktrio._schemas.converter import Converter
from lktrio._schemas.descriptions import describe
from lktrio._schemas.introspection import Types


def structure(type_: Any, value: Any) -> Any:
    return Converter().structure(value, type_)


def problems(type_: Any, value: Any) -> list[str]:
    with pytest.raises(Mismatch) as caught:
        structure(type_, value)
    return [str(problem) for problem in caught.value.problems]


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Ratio(enum.Enum):
    HALF = 0.5
    ONE = 1.0


# --- Scalars -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (int, "5", 5),
        (int, " -5 ", -5),
        (int, "+5", 5),
        (int, "5.0", 5),
        (int, 5.0, 5),
        (int, 1e3, 1000),
        (float, 5, 5.0),
        (float, "5", 5.0),
        (float, "-1.5e3", -1500.0),
        (decimal.Decimal, 1.1, decimal.Decimal("1.1")),
        (decimal.Decimal, 3, decimal.Decimal(3)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (Literal[1, 2], 1.0, 1),
        (Literal[Color.RED], "red", Color.RED),
        (Level, 2.0, Level.HIGH),
        (Ratio, 1, Ratio.ONE),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
        (dict[int, float], {"1": "2.5"}, {1: 2.5}),
        (dict[float, int], {"1.5": 2}, {1.5: 2}),
    ],
    ids=repr,
)
def test_what_is_taken_beyond_the_exact(type_: Any, value: Any, expected: Any) -> None:
    structured = structure(type_, value)

    assert structured == expected
    assert type(structured) is type(expected)


@dataclass
class Todo:
    text: str
    tags: list[str] | None = None


@dataclass
class Timer:
    seconds: float
    text: str = ""


class Corner(NamedTuple):
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (list[int], "[1, 2]", [1, 2]),
        (list[int], ' \n["1"]', [1]),
        (set[int], "[1, 1]", {1}),
        (tuple[str, int], '["a", 1]', ("a", 1)),
        (Corner, "[1]", Corner(1)),
        (Corner, '{"x": 1, "y": 2}', Corner(1, 2)),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Todo, '{"text": "x", "tags": ["y"]}', Todo("x", ["y"])),
        (list[Todo], '[{"text": "x"}]', [Todo("x")]),
        (Annotated[list[int], MinLen(1)], "[1]", [1]),
        (list[int] | None, "[1]", [1]),
        (int | list[int], "[1]", [1]),
        (Literal["all"] | list[str], '["a"]', ["a"]),
        (Todo | Timer, '{"seconds": 1, "text": "x"}', Timer(1, "x")),
        (Todo | Timer | None, '{"text": "x", "tags": null}', Todo("x")),
        (list[Todo | Timer], '[{"seconds": 1}, {"text": "x"}]', [Timer(1), Todo("x")]),
    ],
    ids=repr,
)
def test_one_layer_of_json_text_is_taken_where_only_an_array_or_object_fits(
    type_: Any, text: str, expected: Any
) -> None:
    assert structure(type_, text) == expected
    assert structure(dict[str, type_], {"a": text, "b": text}) == {"a": expected, "b": expected}


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (str, "[1]", "[1]"),
        (Any, "[1]", "[1]"),
        (list[str], ["[1]"], ["[1]"]),
        (list[Any], '["[1]"]', ["[1]"]),
        (str | list[int], "[1]", "[1]"),
        (bytes | list[int], "[1]", b"[1]"),
        (Literal["[]"] | list[int], "[]", "[]"),
        (Todo, '{"text": "[]"}', Todo("[]")),
    ],
    ids=repr,
)
def test_where_a_string_fits_it_stays_one(type_: Any, value: Any, expected: Any) -> None:
    assert structure(type_, value) == expected


@pytest.mark.parametrize(
    ("type_", "value", "problem"),
    [
        (list[int], '"[1]"', 'expected an array (each item an integer), got the string ""[1]""'),
        (list[int], "1", 'expected an array (each item an integer), got the string "1"'),
        (list[int], "[1", 'expected an array (each item an integer), got the string "[1"'),
        (list[int], "['a']", "expected an array (each item an integer), got the string \"['a']\""),
        (list[int], "{}", "expected an array (each item an integer), got an empty object"),
        (list[int], '["x"]', '[0]: expected an integer, got the string "x"'),
        (
            list[list[int]],
            '["[1]"]',
            '[0]: expected an array (each item an integer), got the string "[1]"',
        ),
        (
            Todo,
            '{"text": "x", "tags": "[]"}',
            'tags: expected an array (each item a string) or null, got the string "[]"',
        ),
        (
            Todo | Timer,
            '[{"text": "x"}]',
            'expected an object with "text" or an object with "seconds", got the string "[{"text": "x"}]"',
        ),
        (tuple[int, str], {}, "expected an array of exactly 2 items, got an empty object"),
        (tuple[int, str], "[1]", "expected an array of exactly 2 items, got an array of 1 item"),
        (int | float, "[1]", 'expected an integer or a number, got the string "[1]"'),
        (bool, "[true]", 'expected true or false, got the string "[true]"'),
        (Todo | None, "null", 'expected an object with "text" or null, got the string "null"'),
    ],
    ids=repr,
)
def test_no_other_text_is_decoded(type_: Any, value: Any, problem: str) -> None:
    assert problems(type_, value) == [problem]


def test_two_equal_texts_give_two_values() -> None:
    both = structure(list[dict[str, Any]], json.loads(json.dumps(['{"a": {}}'] * 2)))

    both[0]["a"]["b"] = 1
    assert both[1] == {"a": {}}


@pytest.mark.parametrize(
    ("type_", "value", "found"),
    [
        (bool, "false", 'expected true or false, got the string "false"'),
        (bool, 1, "expected true or false, got the number 1"),
        (int, True, "expected an integer, got true"),
        (int, 5.5, "expected an integer, got the number 5.5"),
        (int, "5.5", 'expected an integer, got the string "5.5"'),
        (int, "five", 'expected an integer, got the string "five"'),
        (int, "0x10", 'expected an integer, got the string "0x10"'),
        (int, "", 'expected an integer, got the string ""'),
        (int, None, "expected an integer, got null"),
        (int, [], "expected an integer, got an array of 0 items"),
        (int, [1], "expected an integer, got an array of 1 item"),
        (int, {}, "expected an integer, got an empty object"),
        (int, {"a": 1}, 'expected an integer, got an object with "a"'),
        (int, "9" * 5000, f'expected an integer, got the string "{"9" * 60}..."'),
        (float, False, "expected a number, got false"),
        (float, "nan", 'expected a number, got the string "nan"'),
        (float, "1e999", 'expected a number, got the string "1e999"'),
        (float, 10**400, f"expected a number, got the number 1{'0' * 179}..."),
        (str, 5, "expected a string, got the number 5"),
        (str, None, "expected a string, got null"),
        (None, 0, "expected null, got the number 0"),
        (Literal["a", "b"], "c", 'expected "a" or "b", got the string "c"'),
        (Literal[1], True, "expected 1, got true"),
        (Literal[1], "1", 'expected 1, got the string "1"'),
        (Literal[True, None], 1, "expected true or null, got the number 1"),
        (Literal["a"], ["a"], 'expected "a", got an array of 1 item'),
        (Color, "Color.RED", 'expected "red" or "green", got the string "Color.RED"'),
        (Level, True, "expected 1 or 2, got true"),
    ],
    ids=repr,
)
def test_nothing_else_is_taken(type_: Any, value: Any, found: str) -> None:
    assert problems(type_, value) == [found]


def test_a_number_too_long_to_print_is_not_printed() -> None:
    assert problems(str, 10**5000) == ["expected a string, got the number that is far too large"]


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (
            datetime.datetime,
            "2024-01-02T03:04:05Z",
            datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        ),
        (datetime.datetime, "2024-01-02 03:04", datetime.datetime(2024, 1, 2, 3, 4)),  # noqa: DTZ001
        (
            datetime.datetime,
            "2024-01-02t03:04:05.5z",
            datetime.datetime(2024, 1, 2, 3, 4, 5, 500_000, datetime.UTC),
        ),
        (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
        (datetime.time, "03:04", datetime.time(3, 4)),
        (
            datetime.time,
            "03:04:05+01:00",
            datetime.time(3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        ),
        (datetime.timedelta, "PT1H30M", datetime.timedelta(minutes=90)),
        (datetime.timedelta, "P1DT0.5S", datetime.timedelta(days=1, milliseconds=500)),
        (datetime.timedelta, "-P2W", datetime.timedelta(weeks=-2)),
        (datetime.timedelta, "PT0S", datetime.timedelta()),
        (
            uuid.UUID,
            "12345678123456781234567812345678",
            uuid.UUID("12345678-1234-5678-1234-567812345678"),
        ),
        (bytes, "é", "é".encode()),
        (pathlib.PurePosixPath, "a/b", pathlib.PurePosixPath("a/b")),
    ],
    ids=repr,
)
def test_what_is_written_as_a_string_is_read(type_: Any, text: str, expected: Any) -> None:
    assert structure(type_, text) == expected


@pytest.mark.parametrize(
    ("type_", "value", "expectation"),
    [
        (datetime.datetime, "2024-01-02", 'a date and time such as "2024-01-31T09:30:00Z"'),
        (datetime.datetime, 1700000000, 'a date and time such as "2024-01-31T09:30:00Z"'),
        (datetime.datetime, "2024-13-02T00:00:00", "a date and time"),
        (datetime.date, "2024-02-30", 'a date such as "2024-01-31"'),
        (datetime.date, "20240102", "a date such as"),
        (datetime.date, "2024-01-02T00:00:00", "a date such as"),
        (datetime.time, "3pm", 'a time of day such as "09:30:00"'),
        (datetime.time, "24:00", "a time of day"),
        (datetime.timedelta, "1:30", 'a duration in days or less such as "P1DT2H30M"'),
        (datetime.timedelta, "P1Y", "a duration in days or less"),
        (datetime.timedelta, "P", "a duration"),
        (datetime.timedelta, "PT", "a duration"),
        (datetime.timedelta, "P9999999999D", "a duration"),
        (uuid.UUID, "x", "a UUID"),
        (decimal.Decimal, "NaN", 'a decimal number such as "1.50"'),
        (decimal.Decimal, "1_0", "a decimal number"),
        (decimal.Decimal, True, "a decimal number"),
        (decimal.Decimal, "1e9999999999999999999", "a decimal number"),
        (bytes, 5, "a string"),
        (pathlib.Path, None, "a path as a string"),
    ],
    ids=repr,
)
def test_what_is_not_written_so_is_refused(type_: Any, value: Any, expectation: str) -> None:
    (problem,) = problems(type_, value)

    assert problem.startswith(f"expected {expectation}")


# --- Containers ----------------------------------------------------------------------------------


class Pair(NamedTuple):
    left: int
    right: str = "r"


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (list, [1, "a"], [1, "a"]),
        (tuple, [1], (1,)),
        (set[int], [1, 1, 2], {1, 2}),
        (frozenset[str], ["a"], frozenset("a")),
        (collections.deque[int], [1, 2], collections.deque([1, 2])),
        (collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (dict, {"a": None}, {"a": None}),
        (dict[Color, int], {"red": 1}, {Color.RED: 1}),
        (Pair, [1], Pair(1)),
        (Pair, [1, "x"], Pair(1, "x")),
        (Pair, [1, None], Pair(1)),
        (Pair, {"left": 1}, Pair(1)),
    ],
    ids=repr,
)
def test_containers_are_built(type_: Any, value: Any, expected: Any) -> None:
    structured = structure(type_, value)

    assert structured == expected
    assert type(structured) is type(expected)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (list[int], "12", ['expected an array (each item an integer), got the string "12"']),
        (list, {}, ["expected an array, got an empty object"]),
        (
            list[int],
            [1, "a", 2, None],
            ['[1]: expected an integer, got the string "a"', "[3]: expected an integer, got null"],
        ),
        (list[list[int]], [[1], [True]], ["[1][0]: expected an integer, got true"]),
        (set, [[1]], ["objects and arrays cannot be items of this set"]),
        (tuple[int, str], [1], ["expected an array of exactly 2 items, got an array of 1 item"]),
        (tuple[int, str], "x", ['expected an array of exactly 2 items, got the string "x"']),
        (
            tuple[int, str],
            ["x", 1],
            [
                '[0]: expected an integer, got the string "x"',
                "[1]: expected a string, got the number 1",
            ],
        ),
        (dict[str, int], [], ["expected an object, got an array of 0 items"]),
        (dict[str, int], {"a": "x"}, ['a: expected an integer, got the string "x"']),
        (dict[int, int], {"x": 1}, ['x: expected an integer, got the string "x"']),
        (dict[Color, int], {"blue": 1}, ['blue: expected "red" or "green", got the string "blue"']),
        (Pair, [1, "a", 2], ['expected an array or object with "left", got an array of 3 items']),
        (Pair, 1, ['expected an array or object with "left", got the number 1']),
    ],
    ids=repr,
)
def test_what_is_wrong_in_a_container_is_found_by_its_path(
    type_: Any, value: Any, expected: list[str]
) -> None:
    assert problems(type_, value) == expected


# --- Records -------------------------------------------------------------------------------------


@attrs.define
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = attrs.field(factory=list)
    note: str | None = "none"

    def __attrs_post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x must not be negative")


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)


class Filters(TypedDict, total=False):
    limit: int
    word: str | None


def test_unknown_keys_are_ignored() -> None:
    assert structure(Point, {"x": 1, "z": 2}) == Point(1.0)


def test_null_means_the_default_where_it_is_no_value() -> None:
    value = {"x": 1, "y": None, "tags": None, "note": None}

    assert structure(Point, value) == Point(1.0, 0.0, [], None)
    assert structure(Filters, {"limit": None, "word": None}) == {"word": None}


def test_a_missing_field_is_named_with_what_was_there_instead() -> None:
    assert problems(Point, {"X": 1}) == [
        'x: required but missing; expected a number (not known: "X")'
    ]
    assert problems(Node, {"children": [{}]}) == [
        "value: required but missing; expected an integer",
        "children[0].value: required but missing; expected an integer",
    ]


def test_a_class_may_refuse_what_its_fields_allow() -> None:
    assert problems(list[Point], [{"x": -1}]) == ["[0]: refused by Point: x must not be negative"]


def test_a_class_may_hold_itself() -> None:
    value = {"value": 1, "children": [{"value": "2", "children": None}]}

    assert structure(Node, value) == Node(1, [Node(2)])


Json = typing_extensions.TypeAliasType("Json", "bool | str | list[Json] | dict[str, Json] | None")


def test_an_alias_may_refer_to_itself() -> None:
    value = [{"a": [None, True, "x"]}]

    assert structure(Json, value) == value
    assert problems(Json, 5) == [
        "expected true or false, a string, an array, an object or null, got the number 5"
    ]


# --- Unions --------------------------------------------------------------------------------------


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int = 9


@dataclass
class Dog:
    kind: Literal["dog"]
    tricks: list[str] = field(default_factory=list)


@dataclass
class Bird:
    kind: Literal["bird"] = "bird"
    wingspan: float = 1.5


@dataclass
class One:
    x: int


@dataclass
class Two:
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (Union[float, int], 1, 1),
        (Union[int, float], 1.0, 1.0),
        (Union[int, str], "5", "5"),
        (Union[int, None], "5", 5),
        (Union[float, int, None], "5", 5),
        (Union[float, int, None], "5.5", 5.5),
        (Union[int, bool], True, True),
        (Union[str, bool], True, True),
        (Union[datetime.date, str], "2024-01-02", "2024-01-02"),
        (Union[datetime.date, int], "2024-01-02", datetime.date(2024, 1, 2)),
        (Union[Color, int], "red", Color.RED),
        (Union[bytes, uuid.UUID, None], "x", b"x"),
        (Union[list[int], list[str]], ["5"], ["5"]),
        (Union[set[int], list[int]], [1], [1]),
        (Union[dict[str, int], One], {"x": 1}, One(1)),
        (Union[dict[str, int], One], {"y": 1}, {"y": 1}),
        (Union[One, Two], {"x": 1, "y": 2}, Two(1, 2)),
        (Union[Two, One], {"x": 1, "y": 2, "z": 3}, Two(1, 2)),
        (Union[One, Two], {"x": 1}, One(1)),
        (Union[One, Two], {"x": "1", "y": "2"}, Two(1, 2)),
        (Union[Cat, Dog, Bird], {"kind": "dog"}, Dog("dog")),
        (Union[Cat, Dog, Bird], {"wingspan": 2}, Bird("bird", 2.0)),
        (Union[Cat, Dog, Bird], {"kind": "cat", "lives": "3", "tricks": []}, Cat("cat", 3)),
        (Optional[Annotated[int, Ge(1)]], None, None),
        (Union[tuple[int, str], list[int]], [1, "a"], (1, "a")),
        (Union[Pair, int], [1], Pair(1)),
        (Union[Any, int], "5", "5"),
    ],
    ids=repr,
)
def test_a_union_takes_the_member_that_loses_least(type_: Any, value: Any, expected: Any) -> None:
    structured = structure(type_, value)

    assert structured == expected
    assert type(structured) is type(expected)


def test_the_order_of_a_union_does_not_matter() -> None:
    for value in ("5", 5, 5.0, "2024-01-02"):
        first = structure(Union[int, float, str, datetime.date], value)
        last = structure(Union[datetime.date, str, float, int], value)
        assert (type(first), first) == (type(last), last)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (Union[int, str], True, ["expected an integer or a string, got true"]),
        (Union[int, None], "x", ['expected an integer, got the string "x"']),
        (
            Union[Cat, Dog],
            {"kind": "fish"},
            ['kind: expected "cat" or "dog", got the string "fish"'],
        ),
        (Union[Cat, Dog], {"lives": 3}, ['kind: expected "cat" or "dog", got nothing']),
        (
            Union[Cat, Dog],
            {"kind": "cat", "lives": "x"},
            ['lives: expected an integer, got the string "x"'],
        ),
        (Union[One, int], {"x": "a"}, ['x: expected an integer, got the string "a"']),
        (Union[One, Two], {"y": 1}, ['expected an object with "x", got an object with "y"']),
        (Union[list[int], int], ["a"], ['[0]: expected an integer, got the string "a"']),
        (Union[Pair, int], ["a"], ['left: expected an integer, got the string "a"']),
        (
            Union[One, dict[str, int]],
            {"y": "a"},
            ['expected an object with "x" or an object, got an object with "y"'],
        ),
        (
            Union[None, list[int]],
            5,
            ["expected null or an array (each item an integer), got the number 5"],
        ),
    ],
    ids=repr,
)
def test_a_union_says_what_is_wrong_with_the_member_that_was_meant(
    type_: Any, value: Any, expected: list[str]
) -> None:
    assert problems(type_, value) == expected


def test_two_tags_are_told_apart_in_the_order_of_the_fields() -> None:
    @dataclass
    class A:
        size: Literal["s", "m"]
        kind: Literal["a"]

    @dataclass
    class B:
        size: Literal["m", "l"]
        kind: Literal["b"]

    assert structure(Union[A, B], {"size": "m", "kind": "b"}) == B("m", "b")
    assert problems(Union[A, B], {"size": "m", "kind": "c"}) == [
        'kind: expected "a" or "b", got the string "c"'
    ]


def test_a_long_list_of_choices_is_cut() -> None:
    many = Literal[
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "j",
        "k",
        "l",
        "m",
        "n",
        "o",
        "p",
        "q",
        "r",
        "s",
        "t",
        "u",
        "v",
    ]

    assert problems(many, "z")[0].startswith('expected "a", "b"')
    assert '"s" or one of 3 more, got' in problems(many, "z")[0]


@dataclass
class Left:
    inside: Left | Right | None = None
    side: Literal["left"] = "left"


@dataclass
class Right:
    inside: Left | Right | None = None
    side: Literal["left"] = "left"


def test_the_work_does_not_double_with_every_level_of_an_ambiguous_union() -> None:
    value: Any = {"inside": 5}
    for _ in range(40):
        value = {"inside": value}

    started = time.process_time()
    with pytest.raises(Mismatch):
        structure(Union[Left, Right], value)

    # Without a memory of what was tried it is 2 ** 40 attempts.
    assert time.process_time() - started < 30


# --- Constraints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "kept", "broken", "rule"),
    [
        (Annotated[int, Ge(1)], 1, 0, "expected a value >= 1, got the number 0"),
        (Annotated[int, Gt(1)], 2, 1, "expected a value > 1, got the number 1"),
        (Annotated[int, Le(1)], 1, 2, "expected a value <= 1, got the number 2"),
        (Annotated[float, Lt(1)], 0.5, 1.0, "expected a value < 1, got the number 1.0"),
        (Annotated[int, MultipleOf(5)], 10, 7, "expected a multiple of 5, got the number 7"),
        (
            Annotated[float, MultipleOf(0.1)],
            0.3,
            0.35,
            "expected a multiple of 0.1, got the number 0.35",
        ),
        (
            Annotated[str, MinLen(2)],
            "ab",
            "a",
            'expected at least 2 characters, got the string "a"',
        ),
        (
            Annotated[str, MaxLen(2)],
            "ab",
            "abc",
            'expected at most 2 characters, got the string "abc"',
        ),
        (
            Annotated[list[int], Len(1, 2)],
            [1],
            [],
            "expected at least 1 items, got an array of 0 items",
        ),
        (
            Annotated[dict[str, int], MaxLen(1)],
            {"a": 1},
            {"a": 1, "b": 2},
            'expected at most 1 items, got an object with "a", "b"',
        ),
        (Annotated[bytes, MaxLen(1)], "a", "é", 'expected at most 1 bytes, got the string "é"'),
        (
            Annotated[datetime.date, Ge(datetime.date(2024, 1, 1))],
            "2024-01-01",
            "2023-12-31",
            'expected a value >= 2024-01-01, got the string "2023-12-31"',
        ),
        (
            Annotated[decimal.Decimal, MultipleOf(decimal.Decimal("0.5"))],
            "1.5",
            "1.7",
            'expected a multiple of 0.5, got the string "1.7"',
        ),
        (
            Annotated[int | str | None, Ge(1)],
            "a",
            0,
            "expected a value >= 1, got the number 0",
        ),
        (
            Annotated[int | str | None, MultipleOf(2)],
            None,
            3,
            "expected a multiple of 2, got the number 3",
        ),
        (
            Annotated[int | str, MinLen(2)],
            1,
            "a",
            'expected at least 2 characters, got the string "a"',
        ),
    ],
    ids=repr,
)
def test_constraints_are_enforced(constraint: Any, kept: Any, broken: Any, rule: str) -> None:
    structure(constraint, kept)

    assert problems(constraint, broken) == [rule]


@attrs.frozen
class Pattern:
    pattern: str


def test_a_pattern_is_searched_for() -> None:
    word = Annotated[str | int, Pattern(r"^\w+$")]

    assert structure(word, "abc") == "abc"
    assert structure(word, 5) == 5
    assert problems(word, "a b") == ['expected a string that matches ^\\w+$, got the string "a b"']


def test_a_description_alone_constrains_nothing() -> None:
    assert structure(Annotated[int, "a number"], -1) == -1
    assert problems(Annotated[int, "a number"], "x") == ['expected an integer, got the string "x"']


# --- Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (Any, "any JSON value"),
        (Union[int, None], "an integer or null"),
        (Filters, "an object"),
        (list[Point], "an array"),
    ],
    ids=repr,
)
def test_what_is_expected_is_said_in_words(type_: Any, words: str) -> None:
    assert describe(Types().shape(type_)) == words


def test_problems_are_joined_into_one_text() -> None:
    with pytest.raises(Mismatch) as caught:
        structure(Point, {"y": "a"})

    assert str(caught.value) == (
        'x: required but missing; expected a number; y: expected a number, got the string "a"'
    )


def test_an_object_with_many_keys_is_cut() -> None:
    (problem,) = problems(int, {f"key{n}": n for n in range(100)})

    assert len(problem) < 300


def test_the_global_converter_is_not_touched() -> None:
    import cattrs

    assert cattrs.structure("false", bool) is True
    assert json.dumps(structure(Json, {"a": []})) == '{"a": []}'
