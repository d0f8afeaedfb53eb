from __future__ import annotations

import json
import time

import pytest

from lktrio._arguments import MalformedArguments, parse_arguments


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
        ("{a: x}", {"a": "x"}),
        ('{"a": 1 // one\n}', {"a": 1}),
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
    with pytest.raises(MalformedArguments, match="cut off"):
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
    with pytest.raises(MalformedArguments, match=message):
        parse_arguments(raw)


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
    with pytest.raises(
        MalformedArguments, match=r"nested too deeply: more than 50 levels|not valid"
    ):
        parse_arguments(raw)


def test_fifty_levels_are_allowed() -> None:
    assert parse_arguments('{"a":' * 50 + "1" + "}" * 50).values


def test_the_length_is_limited() -> None:
    longest = '{"a": "' + "x" * 999_991 + '"}'

    assert parse_arguments(longest).canonical == longest
    with pytest.raises(MalformedArguments, match="1000001 characters long, and at most 1000000"):
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
    ],
    ids=["keys", "fewer keys", "quotes", "brackets", "words", "commas", "inner quotes"],
)
def test_a_repair_that_would_take_too_long_is_not_begun(raw: str) -> None:
    started = time.process_time()
    with pytest.raises(MalformedArguments, match=r"not valid JSON|more than 10000 values"):
        parse_arguments(raw)

    # Without the limits these take from one second to four minutes.
    assert time.process_time() - started < 10
