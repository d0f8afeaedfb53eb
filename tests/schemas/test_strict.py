from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest

from lktrio._schemas.strict import UnsupportedSchema, strict_schema
from tests.support.json_schemas import strict_problems

STRING = {"type": "string"}
NULL = {"type": "null"}


def an_object(properties: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), **keywords}


def strict_member(member: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    root = an_object({"it": member})
    if definitions:
        root["$defs"] = definitions
    strict = strict_schema(root)
    assert strict_problems(strict) == []
    return strict["properties"]["it"]


def optional_member(member: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    root = {"type": "object", "properties": {"it": member}, "$defs": definitions}
    strict = strict_schema(root)
    assert strict_problems(strict) == []
    return strict["properties"]["it"]


POINT = an_object({"x": {"type": "number"}}, description="A point.")
STRICT_POINT = {**POINT, "additionalProperties": False}
del STRICT_POINT["description"]


@pytest.mark.parametrize(
    ("member", "strict"),
    [
        (STRING, STRING),
        ({"type": "string", "title": "S", "default": "x", "examples": []}, STRING),
        (
            {"type": "string", "minLength": 1, "format": "date"},
            {"type": "string", "minLength": 1, "format": "date"},
        ),
        ({"type": "string", "format": "path"}, STRING),
        ({"type": "string", "format": "uri"}, {"type": "string", "description": "(format: uri)"}),
        (
            {"type": "string", "format": "uri", "description": "Where."},
            {"type": "string", "description": "Where. (format: uri)"},
        ),
        (
            {"type": "string", "pattern": "(?=a)b"},
            {"type": "string", "description": "(pattern: (?=a)b)"},
        ),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^a"}),
        (
            {"type": "array", "items": STRING, "uniqueItems": True},
            {"type": "array", "items": STRING},
        ),
        (
            {"type": "array", "prefixItems": [STRING, STRING], "minItems": 2, "maxItems": 2},
            {"type": "array", "items": STRING, "minItems": 2, "maxItems": 2},
        ),
        ({"enum": ["a", 1, None]}, {"type": ["string", "integer", "null"], "enum": ["a", 1, None]}),
        ({"const": "a", "description": "d"}, {"type": "string", "const": "a", "description": "d"}),
        (
            {"oneOf": [STRING, {"type": "integer"}], "title": "T"},
            {"anyOf": [STRING, {"type": "integer"}]},
        ),
        ({"anyOf": [STRING]}, STRING),
        ({"allOf": [STRING], "description": "d"}, {"type": "string", "description": "d"}),
        ({"anyOf": [STRING, NULL]}, {"type": ["string", "null"]}),
        ({"anyOf": [NULL, NULL]}, {"anyOf": [NULL, NULL]}),
        (
            {"anyOf": [{"anyOf": [STRING, {"type": "integer"}]}, NULL]},
            {"anyOf": [STRING, {"type": "integer"}, NULL]},
        ),
        (
            {"anyOf": [{"enum": ["a", "b"]}, NULL], "description": "d"},
            {"type": ["string", "null"], "enum": ["a", "b", None], "description": "d"},
        ),
        ({"anyOf": [{"const": "a"}, NULL]}, {"anyOf": [{"type": "string", "const": "a"}, NULL]}),
        ({"type": ["integer", "null"], "minimum": 1}, {"type": ["integer", "null"], "minimum": 1}),
    ],
    ids=repr,
)
def test_a_schema_is_put_in_the_dialect(member: dict[str, Any], strict: dict[str, Any]) -> None:
    assert strict_member(member) == strict


@pytest.mark.parametrize(
    ("member", "strict"),
    [
        (STRING, {"type": ["string", "null"]}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"enum": [1, 2], "default": 1}, {"type": ["integer", "null"], "enum": [1, 2, None]}),
        ({"enum": [1, None]}, {"type": ["integer", "null"], "enum": [1, None]}),
        (
            {"anyOf": [STRING, NULL], "description": "d"},
            {"type": ["string", "null"], "description": "d"},
        ),
        ({"anyOf": [STRING, {"type": "integer"}]}, {"anyOf": [STRING, {"type": "integer"}, NULL]}),
        (
            {"anyOf": [STRING, {"type": "integer"}, NULL]},
            {"anyOf": [STRING, {"type": "integer"}, NULL]},
        ),
        ({"const": "a"}, {"anyOf": [{"type": "string", "const": "a"}, NULL]}),
        # A tag has one value, which is its default.
        ({"const": "a", "default": "a"}, {"type": "string", "const": "a"}),
        (
            {**POINT, "default": {"x": 1}},
            {"anyOf": [STRICT_POINT, NULL], "description": "A point."},
        ),
    ],
    ids=repr,
)
def test_a_member_that_is_not_required_accepts_null(
    member: dict[str, Any], strict: dict[str, Any]
) -> None:
    assert optional_member(member) == strict


def test_a_reference_with_keywords_beside_it_is_spelled_out() -> None:
    reference = {"$ref": "#/$defs/Point"}

    assert strict_member(reference, Point=POINT) == reference
    assert strict_member({**reference, "default": {}}, Point=POINT) == reference
    assert strict_member({**reference, "description": "Where."}, Point=POINT) == {
        **STRICT_POINT,
        "description": "Where.",
    }
    assert optional_member({**reference, "description": "Where."}, Point=POINT) == {
        "anyOf": [reference, NULL],
        "description": "Where.",
    }
    assert optional_member({**reference, "default": None}, Point=POINT) == {
        "anyOf": [reference, NULL]
    }


def test_definitions_that_are_spelled_out_everywhere_are_left_out() -> None:
    root = an_object(
        {"it": {"$ref": "#/$defs/Point", "description": "Where."}},
        **{"$defs": {"Point": POINT, "Unused": {}}},
    )

    assert "$defs" not in strict_schema(root)


def test_the_schema_that_was_given_is_left_as_it_was() -> None:
    root = an_object({"a": {"anyOf": [POINT, {**POINT}]}, "b": {"enum": [1]}})
    before = copy.deepcopy(root)

    with pytest.raises(UnsupportedSchema):
        strict_schema(root)

    assert root == before


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ({}, "it may be any JSON value"),
        ({"type": "array"}, r"it\[\] may be any JSON value"),
        (
            {"type": "array", "items": {"type": "array", "items": {}}},
            r"it\[\]\[\] may be any JSON value",
        ),
        ({"type": "object"}, "it may have any keys"),
        ({"type": "object", "additionalProperties": STRING}, "it may have any keys"),
        (an_object({"a": {"type": "object"}}), "it.a may have any keys"),
        (
            {"type": "array", "prefixItems": [STRING, NULL], "minItems": 2, "maxItems": 2},
            "differ by position",
        ),
        (
            {"type": "array", "prefixItems": [STRING, STRING], "minItems": 1, "maxItems": 2},
            "differ by position",
        ),
        ({"not": STRING}, "it uses not"),
        ({"type": "object", "patternProperties": {}}, "it uses patternProperties"),
        ({"allOf": [STRING, NULL]}, "it must fit several schemas at once"),
        ({"anyOf": [STRING, NULL], "minLength": 1}, "it must fit several schemas at once"),
        ({"enum": [[1], "a"]}, "it is one of several arrays or objects"),
    ],
    ids=repr,
)
def test_what_the_dialect_cannot_express_is_refused(member: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedSchema, match=reason):
        strict_schema(an_object({"it": member}))


def test_the_root_is_an_object() -> None:
    with pytest.raises(UnsupportedSchema, match="the value must be an object"):
        strict_schema({"type": "array", "items": STRING})


@pytest.mark.parametrize("schema", [{}, {"not": {}}, {"type": "array"}, {"enum": [{}]}], ids=repr)
def test_the_root_is_called_it(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedSchema, match=r"it |\[\] "):
        strict_schema(schema)


# --- Limits --------------------------------------------------------------------------------------


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = STRING
    for _ in range(levels):
        schema = an_object({"a": schema})
    return schema


def test_ten_levels_are_allowed() -> None:
    assert strict_problems(strict_schema(nested(10))) == []
    with pytest.raises(UnsupportedSchema, match="11 levels of nesting, and 10 are allowed"):
        strict_schema(nested(11))


def test_levels_are_counted_through_definitions() -> None:
    definitions: dict[str, Any] = {
        f"L{n}": an_object({"a": {"$ref": f"#/$defs/L{n + 1}"}}) for n in range(20)
    }
    definitions["L20"] = an_object({"a": {"$ref": "#/$defs/L20"}})

    with pytest.raises(UnsupportedSchema, match="22 levels"):
        strict_schema(an_object({"a": {"$ref": "#/$defs/L0"}}, **{"$defs": definitions}))
    strict_schema(an_object({"a": {"$ref": "#/$defs/L16"}}, **{"$defs": definitions}))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (an_object({f"p{n}": STRING for n in range(5001)}), "5001 properties"),
        (an_object({"p" * 120_001: STRING}), "120001 characters"),
        (an_object({"p": {"enum": list(range(1001))}}), "1001 values"),
        (
            an_object({"p": {"enum": [f"{n:060}" for n in range(251)]}}),
            "251 values has 15060 characters",
        ),
        (an_object({"p": {"const": "p" * 120_000}}), "120001 characters"),
    ],
    ids=["properties", "names", "values", "long enum", "constants"],
)
def test_sizes_are_limited(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedSchema, match=reason):
        strict_schema(schema)


# --- Unions of objects ---------------------------------------------------------------------------


def union(*options: dict[str, Any]) -> list[list[str]]:
    strict = strict_member({"anyOf": list(options)})
    return [list(option["properties"]) for option in strict["anyOf"]]


def tagged(tag: dict[str, Any]) -> dict[str, Any]:
    return an_object({"kind": tag, "x": STRING})


def test_objects_with_different_tags_stay_as_they_are() -> None:
    assert union(tagged({"const": "a"}), tagged({"enum": ["b", "c"]})) == [["kind", "x"]] * 2


def test_objects_with_the_same_first_key_begin_with_one_of_their_own() -> None:
    assert union(an_object({"x": STRING}), an_object({"x": STRING, "y": STRING})) == [
        ["x"],
        ["y", "x"],
    ]
    assert union(tagged({"const": "a"}), an_object({"kind": STRING, "y": STRING})) == [
        ["x", "kind"],
        ["y", "kind"],
    ]


@pytest.mark.parametrize(
    "options",
    [
        [an_object({"x": STRING}), an_object({"x": {"type": "integer"}})],
        [tagged({"const": "a"}), tagged({"enum": ["a", "b"]})],
        [tagged({"const": "a"}), tagged(STRING)],
        [tagged(STRING), tagged({"const": "a"})],
    ],
    ids=repr,
)
def test_objects_that_nothing_tells_apart_are_refused(options: list[dict[str, Any]]) -> None:
    with pytest.raises(UnsupportedSchema, match="no tag to tell them apart"):
        union(*options)


def test_options_that_are_no_objects_do_not_matter() -> None:
    strict_member({"anyOf": [POINT, STRING, NULL]})
    strict_member({"anyOf": [{"$ref": "#/$defs/Point"}, an_object({})]}, Point=POINT)


DEFINITIONS = """
from lktrio._schemas.strict import strict_schema
refs = {f"p{n}": {"$ref": f"#/$defs/D{n}"} for n in range(20)}
defs = {f"D{n}": {"type": "object", "properties": {}} for n in range(20)}
print(list(strict_schema({"type": "object", "properties": refs, "$defs": defs})["$defs"]))
"""


def test_the_order_of_definitions_is_the_same_in_every_process() -> None:
    # Prompt caches work on the bytes of a request.
    runs = {
        subprocess.run(
            [sys.executable, "-c", DEFINITIONS],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(runs) == 1
