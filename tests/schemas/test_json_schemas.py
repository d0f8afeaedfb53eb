"""The checker of the strict dialect and the reader of meanings, which other tests rely on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.json_schemas import meaning, strict_problems

STRING = {"type": "string"}


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def nested(levels: int) -> dict[str, Any]:
    return an_object(a=nested(levels - 1)) if levels else STRING


@pytest.mark.parametrize(
    "schema",
    [
        an_object(),
        an_object(a=STRING, b={"type": ["string", "null"], "enum": ["x", None]}),
        an_object(a={"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "description": "d"})
        | {"$defs": {"A": an_object(a={"$ref": "#/$defs/A"})}},
        an_object(a={"type": "array", "items": STRING, "minItems": 1}),
        nested(10),
    ],
    ids=lambda schema: repr(schema)[:60],
)
def test_what_is_strict_has_no_problems(schema: dict[str, Any]) -> None:
    assert strict_problems(schema) == []


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "array", "items": STRING}, "$: the root is not an object"),
        (an_object(a=True), "$/a: not an object"),
        (an_object(a={}), "$/a: no type"),
        (an_object(a={"enum": [1]}), "$/a: no type"),
        (an_object(a={**STRING, "default": "x"}), "$/a: default is not permitted"),
        (an_object(a={**STRING, "title": "x"}), "$/a: title is not permitted"),
        (an_object(a={**STRING, "format": "uri"}), "$/a: format uri is not supported"),
        (an_object(a={"type": "array"}), "$/a/items: not an object"),
        (
            an_object(a={"type": "array", "items": STRING, "uniqueItems": True}),
            "$/a: uniqueItems is not permitted",
        ),
        (an_object(a={"$ref": "#/$defs/A"}), "$/a: $ref to nowhere"),
        (
            an_object(a={"$ref": "#/$defs/A", "description": "d"}) | {"$defs": {"A": STRING}},
            "$/a: $ref has keywords beside it",
        ),
        (an_object(a={"anyOf": [STRING], "type": "string"}), "$/a: anyOf has keywords beside it"),
        (an_object(a={"anyOf": [{}]}), "$/a/anyOf/0: no type"),
        (an_object() | {"additionalProperties": True}, "$: additionalProperties is not false"),
        (an_object(a=STRING) | {"required": []}, "$: not all properties are required"),
        (an_object() | {"$defs": {"A": {}}}, "$defs/A: no type"),
        (nested(11), "$: 11 levels"),
        (an_object(a={**STRING, "enum": ["x" * 60] * 251}), "$: an enum is too long"),
        (an_object(a={"type": "integer", "enum": [1] * 1001}), "$: 1001 values"),
        (an_object(**{"a" * 120_001: STRING}), "$: 120001 characters"),
        (an_object(**{f"p{n}": STRING for n in range(5001)}), "$: 5001 properties"),
    ],
    ids=lambda value: repr(value)[-60:],
)
def test_what_is_not_strict_has_a_problem(schema: dict[str, Any], problem: str) -> None:
    assert problem in strict_problems(schema)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": ["string", "null"]}, {"anyOf": [STRING, {"type": "null"}]}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"enum": ["a", 1]}, {"type": ["string", "integer"], "enum": [1, "a"]}),
        (
            {"title": "S", "type": "string", "description": "a\n b"},
            {**STRING, "description": "a b"},
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": STRING}}, STRING),
        (
            {"type": "object", "additionalProperties": True},
            {"additionalProperties": True, "type": "object"},
        ),
    ],
    ids=repr,
)
def test_what_is_written_differently_may_mean_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (STRING, {"type": "integer"}),
        (STRING, {**STRING, "description": "d"}),
        (STRING, {"type": ["string", "null"]}),
        (an_object(a=STRING), {**an_object(a=STRING), "required": []}),
        (an_object(a=STRING, b=STRING), an_object(b=STRING, a=STRING)),
        ({"type": "array", "items": True}, {"type": "array", "items": False}),
        ({"type": "array", "items": STRING}, {"type": "array", "prefixItems": [STRING]}),
    ],
    ids=repr,
)
def test_what_means_something_else_is_told_apart(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert meaning(one) != meaning(other)
