"""The strict converter: what fits is copied, what does not is refused in words."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypedDict

import cattrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._strict import Refused, accepts, structure


class Part(TypedDict):
    kind: Literal["text"]
    text: str


class Leaf(TypedDict):
    name: str


class Tree(Leaf, total=False):
    parts: list[Part]


class Word(enum.StrEnum):
    A = "a"


class Name(str, enum.Enum):  # noqa: UP042  its str() is not its value
    B = "b"


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", str),
        ("x", str),
        (0, int),
        (-(2**63), int),
        (2**64 - 1, int),
        (0.5, float),
        (1, float),
        (True, bool),
        (None, float | None),
        ("low", Literal["low", "high"]),
        ("low", Literal["low"] | None),
        ("a", str | list[str]),
        (["a", "b"], str | list[str]),
        ([], list[int]),
        ({"a": 1}, dict[str, int]),
        ({"a": [1, "x", None, True]}, Mapping[str, str | Sequence[str | int | bool | None]]),
        ({"kind": "text", "text": "x"}, Part),
        ({"name": "n"}, Tree),
        ({"name": "n", "parts": [{"kind": "text", "text": "x"}]}, Tree),
    ],
)
def test_what_fits_comes_back_unchanged(value: object, wanted: object) -> None:
    result = structure(value, wanted)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("value", "wanted", "plain"),
    [
        (Word.A, str, "a"),
        (Name.B, str, "b"),
        (Word.A, Literal["a"], "a"),
        (Number.ONE, int, 1),
        (Number.ONE, float, 1),
        (("a", "b"), list[str], ["a", "b"]),
        (OrderedDict(a=1), dict[str, int], {"a": 1}),
        (MappingProxyType({"kind": "text", "text": "x"}), Part, {"kind": "text", "text": "x"}),
        ({Word.A: (1, MappingProxyType({}))}, object, {"a": [1, {}]}),
    ],
)
def test_subclasses_become_plain_values(value: object, wanted: object, plain: object) -> None:
    def types(value: object) -> object:
        if isinstance(value, dict):
            return {type(key): types(member) for key, member in value.items()}
        return [types(item) for item in value] if isinstance(value, list) else type(value)

    result = structure(value, wanted)
    assert result == plain
    assert types(result) == types(plain)


@pytest.mark.parametrize(
    ("value", "wanted", "words"),
    [
        (b"x", str, "a string"),
        (None, str, "a string"),
        ("1", int, "an integer"),
        (1.0, int, "an integer"),
        (True, int, "an integer"),
        ("1", float, "a number"),
        (True, float, "a number"),
        (1, bool, "True or False"),
        ("false", bool, "True or False"),
        (5, Literal["low", "high"], "'low' or 'high'"),
        (5, Literal["low", "high"] | None, "'low', 'high' or None"),
        (5, str | None, "a string or None"),
        ("ab", list[str], "a list (each item: a string)"),
        ({"a"}, list[str], "a list (each item: a string)"),
        ([("a", 1)], dict[str, int], "a mapping with string keys (each value: an integer"),
        ("x", Part, "{'kind': 'text', 'text': a string}"),
        ({"kind": "text", "text": 5}, Part, "{'kind': 'text', 'text': a string}"),
    ],
)
def test_a_wrong_type_is_refused(value: object, wanted: object, words: str) -> None:
    with pytest.raises(Refused) as caught:
        structure(value, wanted)
    assert caught.value.wrong_type
    assert caught.value.value is value or caught.value.value == value
    assert caught.value.path == ""
    assert accepts(caught.value.wanted).startswith(words)
    assert not caught.value.is_unknown_word


@pytest.mark.parametrize(
    ("value", "wanted", "words"),
    [
        ({"kind": "text"}, Part, "{'kind': 'text', 'text': a string}"),
        ({"kind": "text", "text": "x", "more": 1}, Part, "{'kind': 'text', 'text': a string}"),
        ({"kind": "other", "text": "x"}, Part, "{'kind': 'text', 'text': a string}"),
        ({"parts": []}, Tree, "{'name': a string, 'parts': a list (each item: {'kind': 'text'"),
        ({"parts": []}, Tree | None, "{'name': a string, 'parts': a list (each item: {'kind'"),
    ],
)
def test_a_wrong_value_of_the_right_type_is_refused(
    value: object, wanted: object, words: str
) -> None:
    with pytest.raises(Refused) as caught:
        structure(value, wanted)
    assert not caught.value.wrong_type
    assert not caught.value.problem
    assert accepts(caught.value.wanted).startswith(words)
    assert not caught.value.is_unknown_word


@pytest.mark.parametrize(
    ("value", "wanted", "problem", "wrong_type"),
    [
        (2**64, int, " is an integer of more than 64 bits", False),
        (-(2**63) - 1, float | None, " is an integer of more than 64 bits", False),
        (math.nan, float, " is nan", False),
        (math.inf, str | float | None, " is inf", False),
        ("\ud800", str, " has a lone surrogate (U+D800)", False),
        ("\ud800", str | list[str] | None, " has a lone surrogate", False),
        ({"a": -math.inf}, object, ".a is -inf", False),
        ({"a": [{"b": b""}]}, object, ".a[0].b is of type bytes", True),
        ({"a": {2: 3}}, object, ".a has the key 2", True),
        ({1, 2}, object, " is of type set", True),
    ],
)
def test_what_is_no_json_is_described(
    value: object, wanted: object, problem: str, wrong_type: bool
) -> None:
    with pytest.raises(Refused) as caught:
        structure(value, wanted)
    assert caught.value.problem.startswith(problem)
    assert caught.value.wrong_type is wrong_type
    assert not caught.value.is_unknown_word


@pytest.mark.parametrize("wanted", [Literal["low"], Literal["low"] | None, Literal["low"] | Part])
def test_an_unknown_word_is_told_from_other_wrong_values(wanted: object) -> None:
    with pytest.raises(Refused) as caught:
        structure("max", wanted)
    assert not caught.value.wrong_type
    assert caught.value.is_unknown_word


@pytest.mark.parametrize(
    ("value", "wanted", "path", "inner"),
    [
        (["a", 1], list[str], "[1]", 1),
        (["a", 1], str | list[str] | None, "[1]", 1),
        ({"a": 0.5}, dict[str, int] | None, ".a", 0.5),
        ({"a b": 0.5}, dict[str, int], "['a b']", 0.5),
        ({1: 1}, dict[str, int], "[1]", 1),
        ({"a": [[]]}, Mapping[str, str | Sequence[str]], ".a[0]", []),
    ],
)
def test_a_refusal_says_where_in_a_container_it_was(
    value: object, wanted: object, path: str, inner: object
) -> None:
    with pytest.raises(Refused) as caught:
        structure(value, wanted)
    assert caught.value.path == path
    assert caught.value.value == inner


def test_a_container_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(Refused) as caught:
        structure({"a": loop}, object)
    assert "holds itself" in caught.value.problem


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


def containers(value: object) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*map(containers, value.values()))
    return {id(value)}.union(*map(containers, value)) if isinstance(value, list) else set()


@given(json_values)
def test_a_json_value_is_copied_whole_and_shares_no_container(value: object) -> None:
    copy = structure(value, object)
    assert copy == value
    assert not containers(copy) & containers(value)


@given(json_values)
def test_a_json_value_is_accepted_as_it_is_or_refused_never_converted(value: object) -> None:
    for wanted in (str, int, float, bool, list[str], dict[str, int], str | int | None, Part):
        try:
            result = structure(value, wanted)
        except Refused:
            continue
        assert result == value
        assert type(result) is type(value)


def test_the_global_converter_still_converts() -> None:
    assert cattrs.structure("5", int) == 5
