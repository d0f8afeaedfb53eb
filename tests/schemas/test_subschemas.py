from __future__ import annotations

from typing import Any

from lktrio._schemas.subschemas import map_subschemas, references, used_definitions

TRICKY = {
    "type": "object",
    "properties": {
        "$ref": {"$ref": "#/$defs/A"},
        "properties": {"anyOf": [{"$ref": "#/$defs/B"}, True]},
        "default": {"type": "string", "default": {"$ref": "#/$defs/C"}},
        "items": {"items": {"const": {"$ref": "#/$defs/D"}}},
    },
    "additionalProperties": False,
}


def test_members_that_are_named_like_keywords_are_not_taken_for_them() -> None:
    assert references(TRICKY) == {"A", "B"}


def test_a_copy_shares_what_was_not_changed() -> None:
    assert map_subschemas(TRICKY, lambda subschema: subschema) == TRICKY
    assert map_subschemas(TRICKY, lambda _: {"type": "null"})["properties"]["$ref"] == {
        "type": "null"
    }


def test_definitions_are_used_through_others() -> None:
    definitions: dict[str, Any] = {
        "Unused": {"$ref": "#/$defs/A"},
        "B": {"$ref": "#/$defs/C"},
        "A": {"items": {"$ref": "#/$defs/B"}},
        "C": {"$ref": "#/$defs/A"},
    }

    assert list(used_definitions({"$ref": "#/$defs/A"}, definitions)) == ["B", "A", "C"]
