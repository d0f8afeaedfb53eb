"""JSON text that is not there yet: whole, cut off, or several values in a row."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._json import text as _json_text
from lktrio._json.text import (
    MAX_DECODED_VALUES,
    MAX_DEPTH,
    MAX_ESCAPES,
    MAX_WALKED_VALUES,
    SLICE,
    JSONMeter,
    ObjectScanner,
    canonical_or_none,
    ends_early,
    has_more_values,
    is_cut_off,
    leading_objects,
    loads,
)
from tests.support.linear_work import assert_linear


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


# --- ends_early ----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def is_beginning(text: str) -> bool:
    with pytest.raises(json.JSONDecodeError) as caught:
        loads(text)
    return ends_early(text, caught.value)


@given(JSON, st.data())
def test_every_beginning_of_a_json_text_is_known_for_one(
    value: object, data: st.DataObject
) -> None:
    text = json.dumps([value], ensure_ascii=data.draw(st.booleans()))
    assert is_beginning(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    "text",
    [
        *("{x", "[1 2", "{'a': [", '["\\x", [', '{"a": nil,', "[DONE]", "[}", "[1,]", '{"a":,'),
        *('["\\u12", 1]', '["\\u12G', '{"a":1} {"b', '{"a":1} n', "[tru]", "tru x"),
    ],
)
def test_what_goes_wrong_before_the_end_is_no_beginning(text: str) -> None:
    assert not is_beginning(text)


# --- What is counted before anything is decoded --------------------------------------------------


def count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    return 1 + sum(map(count, value)) if isinstance(value, list) else 1


def depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def metered(text: bytes, size: int = SLICE) -> JSONMeter:
    meter = JSONMeter()
    for start in range(0, len(text), size):
        meter.feed(text[start : start + size])
    return meter


@given(JSON, st.integers(1, 20), st.booleans())
def test_values_and_levels_are_counted_however_the_text_is_cut(
    value: object, size: int, escaped: bool
) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    # An empty list or object counts once for itself and once for what is not in it.
    assert count(value) <= metered(text.encode(errors="replace"), size).values <= 2 * count(value)
    scanner = scan(*(text[start : start + size] for start in range(0, len(text), size)))
    assert scanner.deepest == depth(value)


@pytest.mark.parametrize("unit", ["[],", "{},", "1,", '"",', '{"a":1},', "[[]],"])
def test_a_text_of_many_values_is_not_read_further_than_the_limit(unit: str) -> None:
    text = "[" + unit * (3 * MAX_DECODED_VALUES)
    scanner = scan(text)
    assert scanner.has_too_many
    assert scanner.values <= MAX_DECODED_VALUES + SLICE
    assert metered(text.encode()).excess == f"holds more than {MAX_DECODED_VALUES} values"
    assert has_more_values(text, MAX_DECODED_VALUES)


def test_what_stands_in_strings_is_no_value() -> None:
    text = json.dumps({"a": "[1,2,{}]," * MAX_DECODED_VALUES, "b": '"[' * 10_000})
    assert metered(text.encode()).excess is None
    assert metered(text.encode()).values == 3
    assert not has_more_values(text, 10)
    assert not has_more_values("[1,2]", 3)


@pytest.mark.parametrize(
    ("text", "excess"),
    [
        (b"[" * MAX_DEPTH, None),
        (b"[" * (MAX_DEPTH + 1), "nested deeper than 100 levels"),
        (b'{"a":' * 20_000, "nested deeper than 100 levels"),
        (b'["' + b"\\n" * MAX_ESCAPES, None),
        (b'["' + b"\\n" * (MAX_ESCAPES + 1), "more than 500000 escapes"),
        (b'["' + b"\xff" * (MAX_ESCAPES + 1), "bytes that are not UTF-8"),
        (b'["' + "\N{GRINNING FACE}".encode() * MAX_ESCAPES, None),
    ],
    ids=["deep", "too deep", "objects", "escapes", "many escapes", "bad bytes", "good bytes"],
)
def test_what_would_keep_a_decoder_busy_is_told(text: bytes, excess: str | None) -> None:
    found = metered(text).excess
    assert found is None if excess is None else excess in (found or "")


def test_text_that_is_too_much_has_no_canonical_spelling() -> None:
    assert canonical_or_none("[" + "1," * MAX_WALKED_VALUES + "1]") is None


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
