from __future__ import annotations

import json
import time
from importlib.metadata import version

import pytest

from lktrio._json.arguments import parse_arguments, read_container
from lktrio._json.mismatch import Mismatch


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ("{}", {}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('"\\"{\\\\\\"a\\\\\\": 1}\\""', {"a": 1}),
        ('""', {}),
        ("\ufeff{}", {}),
        ('{"a": "1\n2"}', {"a": "1\n2"}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"a": 1.5e3, "b": -0, "c": [true, null]}', {"a": 1500.0, "b": 0, "c": [True, None]}),
    ],
    ids=repr,
)
def test_json_is_taken_as_it_is(raw: str, values: dict[str, object]) -> None:
    assert parse_arguments(raw).values == values


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Sure, here you go: {"a": 1}', {"a": 1}),
        ('{"a": 1} I hope that helps.', {"a": 1}),
        ('<|im|>{"a": 1}', {"a": 1}),
        ('{"a": [1, 2,], }', {"a": [1, 2]}),
        ('{"a": ",}", "b": ",]",}', {"a": ",}", "b": ",]"}),
        ('{"a": 1}}', {"a": 1}),
        ('{"a": 1}]', {"a": 1}),
        ("{'a': 'x', 'b': True, 'c': None}", {"a": "x", "b": True, "c": None}),
        ("{a: 'x'}", {"a": "x"}),
        ("{a: {b: [1, .5, -2e3]}, c: null}", {"a": {"b": [1, 0.5, -2000.0]}, "c": None}),
        ("{'a': TRUE, 'b': [None, False]}", {"a": True, "b": [None, False]}),
        ("{'a': 'it's', b: 1}", {"a": "it's", "b": 1}),
        ('{"a": "say "hi" now"}', {"a": 'say "hi" now'}),
        ('{"a": "x" "b": "y"}', {"a": "x", "b": "y"}),
        ("{\u201ca\u201d: 1}", {"a": 1}),
        ("\"{'a': 1}\"", {"a": 1}),
    ],
    ids=repr,
)
def test_what_is_closed_but_malformed_is_repaired(raw: str, values: dict[str, object]) -> None:
    parsed = parse_arguments(raw)

    assert parsed.values == values
    assert json.loads(parsed.canonical) == values


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ('{"a": /* Rome */ 1, # Paris\n "b": 2}', {"a": 1, "b": 2}),
        ('{"a": 1 // one\n}', {"a": 1}),
    ],
    ids=repr,
)
def test_comments_are_skipped_or_refused(raw: str, values: dict[str, object]) -> None:
    # The release that LiveKit Agents pins does not know comments; nothing is made up of them.
    try:
        parsed = parse_arguments(raw).values
    except Mismatch:
        assert version("json-repair").startswith("0.63.")
    else:
        assert parsed == values


@pytest.mark.parametrize(
    "raw",
    [
        "{",
        '{"a"',
        '{"a":',
        '{"a": "x',
        '{"a": "x"',
        '{"a": [1, 2',
        '{"a": [1, 2}',
        '{"a": {"b": 1}',
        "{'a': 'x",
        "{'a': 'x'",
        '```json\n{"a": 1',
        '"{\\"a\\": 1',
        '"{\\"a\\": 1"',
        '"abc',
    ],
    ids=repr,
)
def test_what_was_cut_off_is_never_completed(raw: str) -> None:
    with pytest.raises(Mismatch, match="cut off"):
        parse_arguments(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("[]", "one JSON object, not an array"),
        ('[{"a": 1}]', "not an array"),
        ("5", "not a number"),
        ("true", "not true or false"),
        ('"\\"\\\\\\"x\\\\\\"\\""', "not a string"),
        ("nonsense", "not valid JSON"),
        ("(1, 2)", "not valid JSON"),
        ("} x", "not valid JSON"),
        ('{"a": }', "not valid JSON"),
        ('{"a": 1}{"b": 2}', "not valid JSON"),
        ('{"a": 1}, "b": 2}', "not valid JSON"),
        ('{"a": NaN}', "contain NaN, which is not a JSON number; use null"),
        ('{"a": [-Infinity]}', "contain -Infinity"),
        ('{"a": 1e999}', "a number that is out of range"),
        ('{"a": ' + "1" * 5000 + "}", "an integer with too many digits"),
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_no_object_is_refused(raw: str, message: str) -> None:
    with pytest.raises(Mismatch, match=message):
        parse_arguments(raw)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ('{"city": undefined}', "undefined"),
        ('{"city": nil}', "nil"),
        ('{"city": Paris}', "Paris"),
        ('{"city": New York, "days": 2}', "New York"),
        ('{"city": undefined,}', "undefined"),
        ('{"cities": ["Rome", undefined]}', "undefined"),
        ('{"at": {"city": nil}}', "nil"),
        ("{'city': NaN}", "NaN"),
        ('{"city": tru}', "tru"),
        ('{"city": <city>}', "<city>"),
        ('{"city": `Rome`}', "`Rome`"),
        ('{"city": r"Rome"}', "r"),
        ('{"url": http://example.com/}', "http"),
        ('{"day": 2024-01-31}', "2024-01-31"),
        ('{"weight": 5kg}', "5kg"),
        ('{"code": 007}', "007"),
        ('{"code": 0x1F}', "0x1F"),
        ('{"sum": 1,000}', "000"),
        ('{"sum": 1 + 1}', "1 + 1"),
        ('{"pair": (1, 2)}', "(1"),
        ("{'city': 'Rome', undefined}", "undefined"),
        ('{"city": ' + "x" * 100 + "}", "x" * 40 + "..."),
    ],
    ids=lambda text: repr(text[:40]),
)
def test_a_word_without_quotes_is_no_value(raw: str, word: str) -> None:
    # RFC 8259, section 3: "The literal names MUST be lowercase. No other literal names are allowed."
    with pytest.raises(Mismatch) as caught:
        parse_arguments(raw)

    if word != "NaN":
        assert f"contain {word} without quotes, which is not JSON" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[]", []),
        (' \n{"a": [1, "\ud800"]}', {"a": [1, "\ufffd"]}),
        ('["line\nbreak"]', ["line\nbreak"]),
        ("[" * 15 + "]" * 15, json.loads("[" * 15 + "]" * 15)),
    ],
    ids=repr,
)
def test_the_text_of_an_array_or_object_is_decoded(text: str, value: object) -> None:
    assert read_container(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1",
        "null",
        '"[1]"',
        "[1",
        "[1]]",
        "[1,]",
        "['a']",
        "[NaN]",
        "[1e999]",
        "[" + "1" * 5000 + "]",
        "\u2003[]",
        "[" * 16 + "]" * 16,
        "[" * 100_000 + "]" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_no_other_text_is(text: str) -> None:
    assert read_container(text) is None


def test_surrogates_are_joined_or_replaced() -> None:
    parsed = parse_arguments('{"\\ud83d": "\\ud83d\\ude00 \\ude00", "b": ["\ud800"]}')

    assert parsed.values == {"\ufffd": "\U0001f600 \ufffd", "b": ["\ufffd"]}
    assert parsed.canonical.encode()


def test_the_canonical_text_keeps_characters_as_they_are() -> None:
    assert parse_arguments('{"city":"Z\\u00fcrich"}').canonical == '{"city": "Zürich"}'


@pytest.mark.parametrize(
    "raw",
    [
        '{"a":' * 51 + "1" + "}" * 51,
        '{"a": ' + "[" * 50 + "]" * 50 + "}",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000,
        "{'a': " + "[" * 300 + "]" * 300 + "}",
    ],
    ids=["objects", "arrays", "far too deep", "open", "malformed"],
)
def test_nesting_is_limited(raw: str) -> None:
    with pytest.raises(Mismatch, match=r"nested too deeply: more than 50 levels|not valid"):
        parse_arguments(raw)


def test_fifty_levels_are_allowed() -> None:
    assert parse_arguments('{"a":' * 50 + "1" + "}" * 50).values


def test_the_length_is_limited() -> None:
    longest = '{"a": "' + "x" * 999_991 + '"}'

    assert parse_arguments(longest).canonical == longest
    with pytest.raises(Mismatch, match="1000001 characters long, and at most 1000000"):
        parse_arguments(longest + " ")


@pytest.mark.parametrize(
    "raw",
    [
        "{" + "a: b, " * 20_000 + "}",
        "{" + "a: b, " * 2000 + "}",
        "{'a': '" + "x" * 100_000 + "'}",
        "{" + "{}" * 50_000 + "}",
        '{"a": ' + "word " * 20_000 + "}",
        "{" + "," * 100_000 + "}",
        '{"a": "' + 'x" y "' * 20_000 + '"}',
        '{"a": "' + "x" * 200_000 + '",}',
    ],
    ids=["keys", "fewer keys", "quotes", "brackets", "words", "commas", "inner quotes", "long"],
)
def test_a_repair_that_would_take_too_long_is_not_begun(raw: str) -> None:
    started = time.process_time()
    with pytest.raises(Mismatch, match=r"not valid JSON|more than 10000 values"):
        parse_arguments(raw)

    # Without the limits these take from one second to four minutes.
    assert time.process_time() - started < 10
