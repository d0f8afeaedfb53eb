"""JSON that is still arriving: what is there counts, and nothing is made up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._json.partial import MAX_CHARACTERS, MISSING, PartialJSON
from lktrio._json.text import MAX_DEPTH, MAX_WALKED_VALUES

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def values_of(text: str) -> list[Any]:
    """Every different value on the way, read character by character."""
    reader = PartialJSON()
    seen: list[Any] = []
    for character in text:
        reader.feed(character)
        value = reader.value()
        if value is not MISSING and (not seen or value != seen[-1]):
            seen.append(value)
    return seen


def is_part(partial: Any, whole: Any) -> bool:
    """Whether a value could still become another one by what arrives."""
    if isinstance(whole, dict):
        return isinstance(partial, dict) and all(
            name in whole and is_part(partial[name], whole[name]) for name in partial
        )
    if isinstance(whole, list):
        return (
            isinstance(partial, list)
            and len(partial) <= len(whole)
            and all(map(is_part, partial, whole))
        )
    if isinstance(whole, str):
        return isinstance(partial, str) and whole.startswith(partial)
    return bool(partial == whole)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": "xy"}', [{}, {"a": ""}, {"a": "x"}, {"a": "xy"}]),
        ('{"a": 12, "b": true}', [{}, {"a": 12}, {"a": 12, "b": True}]),
        ("[1, 23]", [[], [1], [1, 23]]),
        ('"a\\u00e9"', ["", "a", "aé"]),
        ('"\\ud83d\\ude00!"', ["", "😀", "😀!"]),
        ('"\\\\"', ["", "\\"]),
        ('{"a": [{"b": null}]}', [{}, {"a": []}, {"a": [{}]}, {"a": [{"b": None}]}]),
        ('{"name": 1}', [{}, {"name": 1}]),
        (" \n{ }", [{}]),
    ],
)
def test_values_grow_by_what_has_arrived(text: str, values: list[Any]) -> None:
    assert values_of(text) == values


def test_there_is_nothing_before_anything_has_arrived() -> None:
    reader = PartialJSON()
    assert reader.value() is MISSING
    reader.feed("  ")
    assert reader.value() is MISSING


@pytest.mark.parametrize(
    "text",
    ["{1: 2}", '{"a" 1}', '{"a": 1]', "[1}", '{"a": 1,}', "[1 2]", "{]", '{"a": nul }', "[tru]"],
)
def test_malformed_text_stops_the_growth(text: str) -> None:
    reader = PartialJSON()
    reader.feed(text)
    stopped = reader.value()
    reader.feed(', "z": 1}]')
    assert reader.value() == stopped


def test_a_malformed_escape_stops_the_growth() -> None:
    assert values_of('{"a": "x\\q", "b": 1}') == [{}, {"a": ""}, {"a": "x"}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a":"C:\Users\me","b":"z"}', {"a": "C:"}),
        (r'{"a":"C:\users\me","b":"z"}', {"a": "C:"}),
        (r'{"a":"x\u12g4","b":1}', {"a": "x"}),
        (r'{"a":["y","\d+"],"b":1}', {"a": ["y", ""]}),
        (r'{"a":1,"\q":2,"b":3}', {"a": 1}),
        (r'"it\'s"', "it"),
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 100])
def test_what_stands_before_a_malformed_escape_stays(text: str, value: Any, cut: int) -> None:
    reader = PartialJSON()
    before: Any = MISSING
    for start in range(0, len(text), cut):
        reader.feed(text[start : start + cut])
        now = reader.value()
        assert before is MISSING or is_part(before, now)
        before = now
    assert before == value


@given(VALUES, st.text(alphabet="\\'\"ux{}[], d8", max_size=4), st.data())
def test_a_value_only_grows_whatever_comes(value: Any, junk: str, data: st.DataObject) -> None:
    text = json.dumps(value)
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + junk + text[place:]
    reader = PartialJSON()
    before: Any = MISSING
    for character in text:
        reader.feed(character)
        now = reader.value()
        assert before is MISSING or is_part(before, now)
        before = now


def test_text_after_the_value_is_not_looked_at() -> None:
    assert values_of('{"a": 1} and more') == [{}, {"a": 1}]


def test_a_value_is_not_changed_by_what_arrives_later() -> None:
    reader = PartialJSON()
    reader.feed('{"a": [1, ')
    before = reader.value()
    reader.feed("2]}")
    assert before == {"a": [1]}
    assert reader.value() == {"a": [1, 2]}


@given(VALUES, st.data())
def test_any_cut_ends_in_the_whole_value(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans())) + " "
    reader = PartialJSON()
    position = 0
    while position < len(text):
        end = position + data.draw(st.integers(1, 9))
        reader.feed(text[position:end])
        position = end
        partial = reader.value()
        assert partial is MISSING or is_part(partial, value)
    assert reader.value() == value


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    values_of(text)


def test_what_follows_malformed_text_is_not_kept() -> None:
    reader = PartialJSON()
    for text in ("[1, x ", "y" * 100, "z" * 100):
        reader.feed(text)
    assert reader.value() == [1]
    assert len(reader._text) < 100


# --- Bounds --------------------------------------------------------------------------------------


def fed(text: str) -> PartialJSON:
    reader = PartialJSON()
    for start in range(0, len(text), 200):
        reader.feed(text[start : start + 200])
        reader.value()
    return reader


def depth_of(value: Any) -> int:
    depth = 0
    while value:
        value = value[0] if isinstance(value, list) else value["a"]
        depth += 1
    return depth


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_is_nested_too_deeply_counts_as_malformed(opening: str) -> None:
    at_most = fed(opening * MAX_DEPTH)
    assert not at_most.is_broken
    reader = fed(opening * 30_000)
    assert reader.is_broken
    assert reader.value() == at_most.value()
    assert depth_of(reader.value()) == MAX_DEPTH - 1


def test_what_is_closed_again_is_not_nested() -> None:
    reader = fed("[" + "[[]]," * MAX_DEPTH)
    assert not reader.is_broken
    assert len(reader.value()) == MAX_DEPTH


def test_more_values_than_are_looked_at_count_as_malformed() -> None:
    reader = fed("[" + "1," * (MAX_WALKED_VALUES + 2))
    assert reader.is_broken
    assert MAX_WALKED_VALUES <= len(reader.value()) <= MAX_WALKED_VALUES + 1


def test_more_text_than_is_read_counts_as_malformed_and_what_was_read_stays() -> None:
    reader = PartialJSON()
    reader.feed('["' + "x" * (MAX_CHARACTERS - 2))
    assert not reader.is_broken
    value = reader.value()
    assert value == ["x" * (MAX_CHARACTERS - 2)]
    reader.feed("y")
    assert reader.is_broken
    assert reader.value() == value


def test_a_number_that_does_not_end_counts_as_malformed() -> None:
    reader = PartialJSON()
    reader.feed("[1," + "9" * 8_000)
    assert not reader.is_broken
    reader.feed("9" * 1_000)
    assert reader.is_broken
    assert reader.value() == [1]
