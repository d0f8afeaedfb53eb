from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import attrs
import pytest
from annotated_types import Ge, Gt, Le, Len, MinLen, MultipleOf

from lktrio._schemas.introspection import Types
from lktrio._schemas.json_schema import object_schema, root_schema
from lktrio._schemas.shapes import Field


def schema(type_: Any) -> dict[str, Any]:
    return root_schema(Types().shape(type_))


@attrs.frozen
class Pattern:
    pattern: str


@pytest.mark.parametrize(
    ("type_", "keywords"),
    [
        (Annotated[int, Ge(1), Le(5)], {"minimum": 1, "maximum": 5}),
        (Annotated[float, Gt(0.5), MultipleOf(0.5)], {"exclusiveMinimum": 0.5, "multipleOf": 0.5}),
        (Annotated[int, Ge(decimal.Decimal(2))], {"minimum": 2}),
        (Annotated[float, Ge(decimal.Decimal("0.5"))], {"minimum": 0.5}),
        (Annotated[str, MinLen(1), Pattern("a")], {"minLength": 1, "pattern": "a"}),
        (Annotated[list[int], Len(1, 3)], {"minItems": 1, "maxItems": 3}),
        (Annotated[dict[str, int], Len(1, 3)], {"minProperties": 1, "maxProperties": 3}),
        # What has no keyword is enforced by the converter alone.
        (Annotated[int, Ge(datetime.date(2024, 1, 1))], {}),
        (Annotated[float, Le(math.inf)], {}),
        (Annotated[bytes, MinLen(1)], {}),
        (Annotated[datetime.date, Ge(1)], {}),
        (Annotated[bool, Ge(1)], {}),
        (Annotated[str, Ge(1)], {}),
    ],
    ids=repr,
)
def test_constraints_become_the_keywords_of_their_type(
    type_: Any, keywords: dict[str, Any]
) -> None:
    bare = schema(type_.__origin__)

    assert schema(type_) == {**bare, **keywords}


def test_constraints_on_a_union_go_to_the_members_they_are_made_for() -> None:
    assert schema(Annotated[int | str | None, Ge(1), MinLen(2)]) == {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "minLength": 2},
            {"type": "null"},
        ]
    }


def twins() -> tuple[type[Any], type[Any]]:
    def make(type_: type[Any]) -> type[Any]:
        return attrs.make_class("Twin", {"x": attrs.field(type=type_)})

    return make(int), make(str)


def test_classes_of_the_same_name_are_two_definitions() -> None:
    one, other = twins()

    definitions = schema(tuple[one, other, one])["$defs"]

    assert {name: d["properties"]["x"] for name, d in definitions.items()} == {
        "Twin": {"type": "integer"},
        "Twin_2": {"type": "string"},
    }


def test_names_of_definitions_have_no_special_characters() -> None:
    strange = attrs.make_class("Übel", {"x": attrs.field(type=int)})

    assert list(schema(list[strange])["$defs"]) == ["_bel"]


@pytest.mark.parametrize(
    ("key", "description"),
    [
        (int, "Each key is an integer."),
        (uuid.UUID, "Each key is a UUID."),
        (Literal["a", "b"], 'Each key is "a" or "b".'),
    ],
    ids=repr,
)
def test_keys_are_described_in_words(key: Any, description: str) -> None:
    assert schema(dict[key, int]) == {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "description": description,
    }


class Color(enum.Enum):
    """A colour."""

    RED = "red"


def test_an_enumeration_is_defined_once_and_a_literal_not_at_all() -> None:
    assert schema(tuple[Color, Color, Literal["x"]]) == {
        "type": "array",
        "items": {"anyOf": [{"$ref": "#/$defs/Color"}, {"type": "string", "const": "x"}]},
        "prefixItems": [
            {"$ref": "#/$defs/Color"},
            {"$ref": "#/$defs/Color"},
            {"type": "string", "const": "x"},
        ],
        "minItems": 3,
        "maxItems": 3,
        "$defs": {"Color": {"description": "A colour.", "type": "string", "enum": ["red"]}},
    }


class Place(NamedTuple):
    """A place."""

    row: Annotated[int, "Counted from 1."]
    label: str = "x"


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (tuple[int, int], {"items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
        (tuple[()], {"items": {"type": "string"}, "maxItems": 0}),
        (
            tuple[str, int, str],
            {
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "prefixItems": [{"type": "string"}, {"type": "integer"}, {"type": "string"}],
                "minItems": 3,
                "maxItems": 3,
            },
        ),
        (tuple[Any, int], {"items": {"anyOf": [{}, {"type": "integer"}]}, "minItems": 2}),
        (tuple, {"items": {}}),
        (list, {"items": {}}),
    ],
    ids=repr,
)
def test_every_array_has_items(type_: Any, expected: dict[str, Any]) -> None:
    # OpenAI: "Invalid schema for function 'f': In context=('properties', 'pair'), array schema
    # missing items."
    assert schema(type_).items() >= {"type": "array", **expected}.items()


def test_the_places_of_a_named_tuple_are_described_in_place() -> None:
    assert schema(Place) == {
        "description": "A place.",
        "type": "array",
        "items": {
            "anyOf": [{"type": "integer", "description": "Counted from 1."}, {"type": "string"}]
        },
        "prefixItems": [
            {"type": "integer", "description": "Counted from 1."},
            {"type": "string", "default": "x"},
        ],
        "minItems": 1,
        "maxItems": 2,
    }


@dataclass
class Node:
    next: Node | None = None


def test_the_class_at_the_root_is_spelled_out_and_may_still_be_referred_to() -> None:
    node = {
        "type": "object",
        "properties": {
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None}
        },
    }

    assert schema(Node) == {**node, "$defs": {"Node": node}}


def test_a_default_that_is_no_json_is_not_stated() -> None:
    shape = Types().shape(int)
    fields = [
        Field(name="a", argument="a", shape=shape, required=False, default=object()),
        Field(name="b", argument="b", shape=shape, required=False, default=b"\xff"),
        Field(name="c", argument="c", shape=shape, required=False, default=Color.RED),
        Field(name="d", argument="d", shape=shape, required=False),
    ]

    assert object_schema(fields)["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "integer"},
        "c": {"type": "integer", "default": "red"},
        "d": {"type": "integer"},
    }


@pytest.mark.parametrize(
    "default", [math.inf, math.nan, 2**64, [1.0, -math.inf], {"a": math.nan}, "\ud800"], ids=repr
)
def test_a_default_that_json_has_no_word_for_is_not_stated(default: object) -> None:
    field = Field(
        name="a", argument="a", shape=Types().shape(float), required=False, default=default
    )

    assert object_schema([field])["properties"] == {"a": {"type": "number"}}


def test_the_description_in_the_annotation_wins() -> None:
    field = Field(
        name="a",
        argument="a",
        shape=Types().shape(Annotated[int, "near"]),
        required=True,
        description="far",
    )

    assert object_schema([field])["properties"]["a"]["description"] == "near"
