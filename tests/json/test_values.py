"""What JSON cannot say is refused with the path to it, not written as something else."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import math
import types

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._json.values import check_depth, check_json, check_text, encode_json

texts = st.text(max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=10,
)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Markup(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the text"


class Count(int):
    pass


class Ratio(float):
    pass


@attrs.frozen
class Point:
    x: int = 1


@given(json_values)
def test_what_is_accepted_is_read_back_the_same(value: object) -> None:
    check_json(value, "value")

    assert json.loads(encode_json(value)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), b"[1,2]"),
        (collections.OrderedDict(a=1), b'{"a":1}'),
        (types.MappingProxyType({"a": types.MappingProxyType({})}), b'{"a":{}}'),
        ({Colour.RED: Level.HIGH}, b'{"red":3}'),
        (Colour.RED, b'"red"'),
        (Markup("text"), b'"text"'),
        (Count(3), b"3"),
        (Ratio(0.5), b"0.5"),
        ("ä\u2028", '"ä\u2028"'.encode()),
    ],
    ids=repr,
)
def test_subclasses_are_written_as_what_they_are_made_of(value: object, expected: bytes) -> None:
    check_json(value, "value")

    assert encode_json(value) == expected


def nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


def endless() -> object:
    value: dict[str, object] = {}
    value["a"] = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (math.nan, ValueError, "value is nan, which JSON has no word for; send None instead"),
        ({"a": [0, math.inf]}, ValueError, "value.a[1] is inf"),
        ([-math.inf], ValueError, "value[0] is -inf"),
        (Ratio("nan"), ValueError, "value is nan"),
        (2**64, ValueError, "value is an integer of more than 64 bits; send it as a string"),
        ([-(2**63) - 1], ValueError, "value[0] is an integer of more than 64 bits"),
        ({1, 2}, TypeError, "value is of type set, which is not a JSON value; convert it"),
        ({"a": frozenset()}, TypeError, "value.a is of type frozenset"),
        (b"x", TypeError, "value is of type bytes"),
        (object(), TypeError, "value is of type object"),
        (Point(), TypeError, "value is of type Point"),
        (decimal.Decimal(1), TypeError, "value is of type Decimal"),
        (datetime.date(2026, 1, 1), TypeError, "value is of type date"),
        (enum.Enum("Plain", "A").A, TypeError, "value is of type Plain"),  # type: ignore[attr-defined]
        (collections.deque([1]), TypeError, "value is of type deque"),
        ({"a": {1: 2}}, TypeError, "value.a has the key 1 of type int; keys of a JSON object are strings"),
        ({None: 2}, TypeError, "value has the key None of type NoneType"),
        ("a\ud800", ValueError, "value has a lone surrogate (U+D800) at position 1"),
        ({"a b": ["\udc00"]}, ValueError, "value['a b'][0] has a lone surrogate (U+DC00) at position 0"),
        ({"\ud800": 1}, ValueError, "value['\\ud800'] has a lone surrogate"),
        (nested(101), ValueError, "value[0][0][0][0][0][0][0][0]... has more than 100 levels"),
        (endless(), ValueError, "or holds itself; flatten it"),
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_refused_with_its_path(
    value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        check_json(value, "value")

    assert words in str(caught.value)


def test_a_hundred_levels_are_enough() -> None:
    value = nested(100)
    check_json(value, "value")

    assert encode_json(value) == b"[" * 100 + b"]" * 100


def test_a_value_twice_in_its_place_is_no_cycle() -> None:
    shared = [1]
    check_json({"a": shared, "b": shared}, "value")


@pytest.mark.parametrize("text", ["", "plain", "þó 🛥️", "\x00\x7f"])
def test_text_that_can_be_sent_is_accepted(text: str) -> None:
    check_text(text, "text")


def test_text_that_cannot_be_sent_is_not_quoted() -> None:
    with pytest.raises(ValueError, match=r"items\[0\] has a lone surrogate") as caught:
        check_text("private \udfff", "items[0]")

    assert "private" not in str(caught.value)


def test_the_remedy_for_surrogates_works() -> None:
    halves = "\ud83d" + "\ude00"
    with pytest.raises(ValueError, match="utf-16") as caught:
        check_text(halves, "text")
    remedy = str(caught.value).partition("repair the text with ")[2]

    assert eval(remedy, {"text": halves}) == "😀"
    assert eval(remedy, {"text": "a\ud800"}) == "a\ufffd"


def test_what_has_no_levels_is_not_deep() -> None:
    for value in ("text", 1, None, [], {"a": [1, {"b": ()}]}):
        check_depth(value, "value")

    with pytest.raises(ValueError, match="value "):
        check_depth(endless(), "value")
