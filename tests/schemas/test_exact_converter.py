"""The exact converter, for what a program sends: what fits is taken, and nothing is converted."""

from __future__ import annotations

import enum
import math
import traceback
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._json.mismatch import Mismatch, Problem, Refusal
from lktrio._json.values import check_json, plain_json, way_to
from lktrio._schemas.converter import Converter
from lktrio._schemas.descriptions import Unfit, describe, is_wrong_type
from lktrio._schemas.introspection import Types
from lktrio._settings.request_options import structure_options


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


EXACT = Converter(_types=Types(with_docstrings=False), _is_exact=True)


def problem(value: object, wanted: object) -> Problem:
    with pytest.raises(Mismatch) as caught:
        EXACT.structure(value, wanted)
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", str),
        ("x", str),
        ("\u00e9", str),
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
        ([1, "a"], tuple[int, str]),
    ],
)
def test_what_fits_is_taken_as_it_is(value: Any, wanted: object) -> None:
    result = EXACT.structure(value, wanted)
    assert result == (tuple(value) if wanted == tuple[int, str] else value)


@pytest.mark.parametrize(
    ("value", "wanted", "plain"),
    [
        (Word.A, str, "a"),
        (Name.B, str, "b"),
        (Word.A, Literal["a"], "a"),
        (Number.ONE, int, 1),
        (Number.ONE, float, 1),
        (("a", "b"), list[str], ["a", "b"]),
        ((1, "b"), tuple[int, str], [1, "b"]),
        (OrderedDict(a=1), dict[str, int], {"a": 1}),
        (MappingProxyType({"kind": "text", "text": "x"}), Part, {"kind": "text", "text": "x"}),
        ({Word.A: (1, MappingProxyType({}))}, object, {"a": [1, {}]}),
    ],
)
def test_subclasses_are_taken_and_copied_as_plain_values(
    value: object, wanted: object, plain: object
) -> None:
    def types(value: object) -> object:
        if isinstance(value, dict):
            return {type(key): types(member) for key, member in value.items()}
        return [types(item) for item in value] if isinstance(value, list) else type(value)

    EXACT.structure(value, wanted)
    assert plain_json(value) == plain
    assert types(plain_json(value)) == types(plain)


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
        ("[]", list[str], "a list (each item: a string)"),
        ({"a"}, list[str], "a list (each item: a string)"),
        ([("a", 1)], dict[str, int], "a mapping with string keys (each value: an integer"),
        ("x", Part, "{'kind': 'text', 'text': a string}"),
        ("x", tuple[int, str], "an array of exactly 2 items"),
    ],
)
def test_a_wrong_type_is_refused(value: object, wanted: object, words: str) -> None:
    found = problem(value, wanted)
    assert found.path == ()
    assert isinstance(found.cause, Unfit)
    assert is_wrong_type(found.cause.shape, found.cause.value)
    assert describe(found.cause.shape, python=True).startswith(words)


@pytest.mark.parametrize(
    ("value", "wanted", "message"),
    [
        ({"kind": "text"}, Part, "text: required but missing; expected a string"),
        (
            {"kind": "text", "text": "x", "more": 1},
            Part,
            'more: not known; known are "kind", "text"',
        ),
        (
            {"kind": "other", "text": "x"},
            Part,
            'kind: expected "text", got the string "other"',
        ),
        ({"kind": "text", "text": 5}, Part, "text: expected a string, got the number 5"),
        (
            {"parts": []},
            Tree | None,
            'name: required but missing; expected a string (not known: "parts")',
        ),
        (["a", 1], list[str], "[1]: expected a string, got the number 1"),
        (["a", 1], str | list[str] | None, "[1]: expected a string, got the number 1"),
        ({"a": 0.5}, dict[str, int] | None, "a: expected an integer, got the number 0.5"),
        ({1: 1}, dict[str, int], "[1]: expected a string, got the number 1"),
        (
            {"a": [[]]},
            Mapping[str, str | Sequence[str]],
            "a[0]: expected a string, got an array of 0 items",
        ),
        ((1, 2), tuple[int, str], "[1]: expected a string, got the number 2"),
        ("max", Literal["low"] | None, 'expected "low" or null, got the string "max"'),
    ],
)
def test_what_is_wrong_is_found_by_its_path(value: object, wanted: object, message: str) -> None:
    if message.startswith("name: "):
        message = message.removesuffix(' (not known: "parts")')
    assert str(problem(value, wanted)) == message


@pytest.mark.parametrize(
    ("value", "wanted", "reason", "wrong_type"),
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
    value: object, wanted: object, reason: str, wrong_type: bool
) -> None:
    found = problem(value, wanted)
    assert isinstance(found.cause, Refusal)
    assert f"{way_to(found.path)} {found.message}".startswith(reason)
    assert found.cause.is_wrong_type is wrong_type


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
    check_json(value, "")
    copy = plain_json(value)
    assert copy == value
    assert not containers(copy) & containers(value)


@given(json_values)
def test_a_json_value_is_accepted_as_it_is_or_refused_never_converted(value: object) -> None:
    for wanted in (str, int, float, bool, list[str], dict[str, int], str | int | None, Part):
        try:
            result = EXACT.structure(value, wanted)
        except Mismatch:
            continue
        assert result == value
        assert type(result) is type(value)


SECRET = "sk-do-not-show"


@pytest.mark.parametrize(
    "options",
    [
        {"extra_headers": {"X-Key": SECRET.encode()}},
        {"extra_headers": {"X-Key": SECRET + "\n"}},
        {"extra_headers": SECRET},
        {"extra_headers": [SECRET]},
        {"extra_headers": {"X-Key": [SECRET]}},
        {"extra_query": {"key": {SECRET}}},
        {"extra_query": {"key": {"a": SECRET}}},
        {"extra_query": {"key": [SECRET, [SECRET]]}},
        {"extra_body": {"key": [SECRET.encode()]}},
        {"extra_body": {"key": SECRET, "other": object()}},
        {"extra_body": SECRET},
        {"extra_headers": {"X-Key": SECRET + "\ud800"}},
        {"extra_headers": {"X-Key": SECRET}, "seed": "x"},
    ],
)
def test_nothing_that_may_be_secret_is_in_an_error(options: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        structure_options(options)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(caught.value)
