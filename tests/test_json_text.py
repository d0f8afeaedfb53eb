"""JSON text that is not there yet: whole, cut off, or several values in a row."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import _json_text
from lktrio._json_text import (
    ObjectScanner,
    canonical_or_none,
    is_cut_off,
    leading_objects,
    loads,
)
from tests.linear_work import assert_linear


def scan(*fragments: str) -> ObjectScanner:
    scanner = ObjectScanner()
    for fragment in fragments:
        scanner.feed(fragment)
    return scanner


# --- ObjectScanner -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "objects", "is_open"),
    [
        ("", 0, False),
        ("{}", 1, False),
        (' {"a": [1, {"b": 2}]} ', 1, False),
        ("{}{}", 2, False),
        ("[{}]", 0, False),
        ("12", 0, False),
        ('"{}"', 0, False),
        ("{", 0, True),
        ('{"a', 0, True),
        ('{"a\\"}', 0, True),
        ('{"a\\\\"}', 1, False),
        ('{"}"', 0, True),
        ('{"["}', 1, False),
        ("[[", 0, True),
        ('"', 0, True),
        ("{}{", 1, True),
        ('{} "', 1, True),
        ("}]{}", 1, False),
        ("{]", 0, False),
        ("{]{}", 1, False),
        ("{[}]", 0, False),
    ],
)
def test_the_scanner_counts_objects_and_knows_what_is_open(
    text: str, objects: int, is_open: bool
) -> None:
    for scanner in (scan(text), scan(*text)):
        assert scanner.objects == objects
        assert scanner.is_open is is_open
        assert scanner.forms_object is (objects > 0 and not is_open)


@pytest.mark.parametrize("text", ['{"a\\"}"}', '{"a\\\\"}', '{"\\u007b"}', '{"\\\n"}'])
def test_an_escape_cut_in_two_is_an_escape(text: str) -> None:
    for place in range(len(text)):
        scanner = scan(text[:place], "", text[place:])
        assert scanner.forms_object


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(max_size=3), json_values, max_size=3)


@given(value=json_objects, ascii_only=st.booleans(), data=st.data())
def test_an_object_is_open_until_its_last_character(
    value: object, ascii_only: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    place = data.draw(st.integers(1, len(text) - 1))
    scanner = scan(text[:place])
    assert scanner.is_open
    scanner.feed(text[place:])
    assert scanner.forms_object
    assert scanner.objects == 1


def test_scanning_many_tiny_fragments_is_linear() -> None:
    def make(size: int) -> Callable[[], object]:
        scanner = ObjectScanner()
        fragments = ['{"a":"', *["x\\"] * size, '"}']
        return lambda: [scanner.feed(fragment) for fragment in fragments]

    assert_linear(make, 5_000)


# --- is_cut_off ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"a": "b',
        '{"a": "it\'s',
        '{"a": ["b", ',
        "{'a': 'b",
        "{'a': ['b', 'c'",
        '{"a": "d = {\'b\': 1}',
        '{"a": "say \\"no\\"',
        "[1, 2",
        '"half a string',
        "{'a': '\\'",
    ],
)
def test_what_is_open_in_both_readings_is_cut_off(text: str) -> None:
    assert is_cut_off(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "nonsense",
        '{"a": "it\'s"}',
        "{'a': 'b'}",
        "{'a': '{'}",
        "{'a': 'say \"no'}",
        "{'a': 'don\\'t {'}",
        "{'a' : ['b}', 'c']}",
        "```json\n{}\n```",
        "{a: 1,}",
        '{"a":",\'"}\'',
    ],
)
def test_what_is_closed_in_one_reading_is_not(text: str) -> None:
    assert not is_cut_off(text)


def test_a_quote_that_is_never_closed_costs_no_memory_for_each_character() -> None:
    assert is_cut_off("{'" + "\\x" * 1_000_000)


# --- loads, canonical_or_none --------------------------------------------------------------------


def test_control_characters_may_stand_raw_in_strings() -> None:
    assert loads('{"a": "b\nc\x0b\td"}') == {"a": "b\nc\x0b\td"}


def test_what_is_not_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        loads("{a}")


@pytest.mark.parametrize(
    ("one", "other"),
    [('{"a":1,"b":2}', ' { "b": 2, "a": 1 } '), ('"\\u00e9"', '"é"'), ("[]", "[ ]")],
)
def test_texts_of_one_value_have_one_spelling(one: str, other: str) -> None:
    assert canonical_or_none(one) == canonical_or_none(other) is not None


@pytest.mark.parametrize(
    ("one", "other"), [('{"a":1}', '{"a":true}'), ("1", "1.0"), ("0", "false"), ("{}", "[]")]
)
def test_texts_of_different_values_have_different_spellings(one: str, other: str) -> None:
    assert canonical_or_none(one) != canonical_or_none(other)


@pytest.mark.parametrize("text", ["", "{", "x", "{}{}", "[" * 100_000, "9" * 5000])
def test_what_is_not_json_has_no_spelling(text: str) -> None:
    assert canonical_or_none(text) is None


# --- leading_objects -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "objects", "rest"),
    [
        ("", [], ""),
        ("  ", [], ""),
        ("x", [], "x"),
        ("[]", [], "[]"),
        ("{}", ["{}"], ""),
        (' {"a": 1}\n{"b": "}{"}\t', ['{"a": 1}', '{"b": "}{"}'], ""),
        ('{"a":"x\ny"}{', ['{"a":"x\ny"}'], "{"),
        ("{} {x}", ["{}"], "{x}"),
        ("{}, {}", ["{}"], ", {}"),
        ('{"a":' * 50_000, [], '{"a":' * 50_000),
    ],
)
def test_a_text_is_split_into_the_objects_it_begins_with(
    text: str, objects: list[str], rest: str
) -> None:
    assert leading_objects(text, 10) == (objects, rest)


def test_no_more_objects_are_split_off_than_asked_for() -> None:
    assert leading_objects("{}" * 5, 3) == (["{}"] * 3, "{}{}")
    assert leading_objects("{}", 0) == ([], "{}")


@given(st.lists(json_objects, max_size=5), st.sampled_from(["", " ", "\n\t"]))
def test_objects_in_a_row_are_found_again(values: list[object], space: str) -> None:
    texts = [json.dumps(value) for value in values]
    assert leading_objects(space.join(texts), 10) == (texts, "")


def test_splitting_reads_each_character_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    decode = _json_text._decode_first

    def counting(text: str, position: int) -> tuple[object, int]:
        nonlocal read
        value, end = decode(text, position)
        read += end - position
        return value, end

    monkeypatch.setattr(_json_text, "_decode_first", counting)
    text = '{"a": "b"}' * 1000
    assert len(leading_objects(text, 2000)[0]) == 1000
    assert read == len(text)


def test_the_scanner_agrees_with_the_decoder_on_objects_in_a_row() -> None:
    texts = ['{"a": "}"}', "{}", '{"b": [{}]}']
    for some in itertools.permutations(texts):
        text = "".join(some)
        assert scan(text).objects == len(leading_objects(text, 10)[0]) == 3
