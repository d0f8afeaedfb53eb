"""Types that pydantic and msgspec read themselves."""

# ruff: noqa: PYI061, UP007  every spelling of a union is to be read

from __future__ import annotations

import datetime
import enum
import subprocess
import sys
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

import attrs
import msgspec
import pydantic
import pytest

from lktrio._json.mismatch import Mismatch
from lktrio._schemas.converter import Converter
from lktrio._schemas.introspection import Types
from lktrio._schemas.json_schema import object_schema, root_schema
from lktrio._schemas.shapes import Field
from lktrio._schemas.strict import UnsupportedSchema, strict_schema
from lktrio._schemas.type_hints import UnsupportedType
from tests.support.json_schemas import fits, is_valid, strict_problems

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


class Size(pydantic.BaseModel):
    """How large."""

    width: int = pydantic.Field(ge=0, description="In metres.")
    height: float = 1.0


class Model(pydantic.BaseModel):
    name: str
    size: Size
    color: Color = Color.RED
    born: datetime.date | None = None
    tags: list[str] = []
    price: Decimal = Decimal("1.5")
    either: int | list[int] | None = None
    parts: list[Model] = []
    home: pydantic.HttpUrl | None = None
    where: tuple[int, int] = (0, 0)
    counts: dict[str, int] = {}

    @pydantic.field_validator("name")
    @classmethod
    def _capital(cls, value: str) -> str:
        if not value.istitle():
            raise ValueError("must be a name")
        return value


class Place(msgspec.Struct, rename="camel"):
    first_line: str
    number: int = 1
    since: datetime.date | None = None
    near: list[Place] = []
    ratio: Annotated[float, msgspec.Meta(ge=0, description="From nought.")] = 0.5


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    lives: int


class Box(msgspec.Struct, Generic[T]):
    item: T


class Row(msgspec.Struct, array_like=True):
    x: int
    y: int = 0


class Holder(pydantic.BaseModel, Generic[T]):
    item: T


def structure(type_: Any, value: Any) -> Any:
    return Converter().structure(value, type_)


def problems(type_: Any, value: Any) -> list[str]:
    with pytest.raises(Mismatch) as caught:
        structure(type_, value)
    return [str(problem) for problem in caught.value.problems]


def strict(type_: Any) -> dict[str, Any]:
    field = Field(name="it", argument="it", shape=Types().shape(type_), required=True)
    schema = strict_schema(object_schema([field], tuples_as_objects=True))
    assert is_valid(schema)
    assert strict_problems(schema) == []
    return schema


SIZE = {
    "type": "object",
    "description": "How large.",
    "properties": {
        "width": {"type": "integer", "minimum": 0, "description": "In metres."},
        "height": {"type": ["number", "null"]},
    },
    "required": ["width", "height"],
    "additionalProperties": False,
}


def test_the_schema_of_a_pydantic_model_is_its_own() -> None:
    schema = root_schema(Types().shape(Size))

    assert schema == {
        "type": "object",
        "description": "How large.",
        "properties": {
            "width": {"type": "integer", "minimum": 0, "description": "In metres."},
            "height": {"type": "number", "default": 1.0},
        },
        "required": ["width"],
    }
    assert strict(Size)["properties"]["it"]["properties"] == SIZE["properties"]


def test_a_default_that_json_has_no_word_for_is_not_stated() -> None:
    class Limits(pydantic.BaseModel):
        most: float = float("inf")
        bits: int = 2**64

    schema = root_schema(Types().shape(Limits))

    assert schema["properties"] == {
        "most": {"type": "number"},
        "bits": {"type": "integer"},
    }


def test_definitions_are_shared_and_renamed_where_a_name_is_taken() -> None:
    ours = attrs.make_class("Size", {"x": attrs.field(type=int)})

    definitions = root_schema(Types().shape(tuple[ours, Model, Model, Holder[int]]))["$defs"]

    assert list(definitions) == ["Size", "Color", "Model", "Size_2"]
    assert definitions["Model"]["properties"]["size"] == {"$ref": "#/$defs/Size_2"}


@pytest.mark.parametrize("type_", [Size, Place, Box[int], Holder[Size], Union[Cat, Dog]], ids=repr)
def test_foreign_types_can_be_strict(type_: Any) -> None:
    assert strict(type_)


@pytest.mark.parametrize("type_", [Model, Row], ids=repr)
def test_foreign_types_that_cannot_be_strict_are_told(type_: Any) -> None:
    with pytest.raises(UnsupportedSchema):
        strict(type_)


FULL = {
    "name": "Ann",
    "size": {"width": 1},
    "born": "2024-01-02",
    "tags": ["a"],
    "price": "2.50",
    "parts": [{"name": "Bob", "size": {"width": 2}}],
    "where": [1, 2],
}


def test_a_value_that_fits_is_read_by_pydantic() -> None:
    assert fits(FULL, root_schema(Types().shape(Model)))

    model = structure(Model, FULL)

    assert isinstance(model, Model)
    assert model.born == datetime.date(2024, 1, 2)
    assert model.price == Decimal("2.50")
    assert model.parts[0].size.width == 2
    assert structure(Model, Converter().unstructure(model)) == model


def test_the_same_liberties_are_taken() -> None:
    model = structure(
        Model,
        {
            "name": "Ann",
            "size": {"width": "1", "height": "2.5", "unknown": True},
            "color": None,
            "born": None,
            "either": "5",
            "where": ["1", 2.0],
            "counts": {"a": "1"},
            "parts": [{"name": "Bob", "size": {"width": 2.0, "height": None}}],
        },
    )

    assert model.size == Size(width=1, height=2.5)
    assert (model.color, model.either, model.where) == (Color.RED, 5, (1, 2))
    assert model.counts == {"a": 1}
    assert model.parts[0].size == Size(width=2)


class Todo(pydantic.BaseModel):
    text: str
    tags: list[str] = []


class Step(pydantic.BaseModel):
    kind: Literal["step"] = "step"
    number: int


class Pause(pydantic.BaseModel):
    kind: Literal["pause"] = "pause"
    seconds: float | None = None


class Plan(pydantic.BaseModel):
    todos: list[Todo]
    counts: dict[str, int] | None = None
    note: str | list[str] = ""
    next: Step | Pause | None = None


def test_one_layer_of_json_text_is_decoded_where_nothing_else_fits() -> None:
    plan = structure(
        Plan,
        {
            "todos": '[{"text": "[]", "tags": null}]',
            "counts": '{"a": "1"}',
            "note": '["a"]',
            "next": '{"kind": "pause", "seconds": "2"}',
        },
    )

    assert plan.todos == [Todo(text="[]")]
    assert (plan.counts, plan.note, plan.next) == ({"a": 1}, '["a"]', Pause(seconds=2.0))
    assert structure(Plan, '{"todos": []}') == Plan(todos=[])
    assert structure(Plan, {"todos": ['{"text": "x"}']}).todos == [Todo(text="x")]


def test_no_second_layer_and_no_other_text_is_decoded() -> None:
    assert problems(Plan, {"todos": '[{"text": "x", "tags": "[]"}]'}) == [
        "todos[0].tags: input should be a valid array"
    ]
    assert problems(list[Plan], '["{}"]') == ["[0]: input should be an object"]
    assert problems(Plan, {"todos": '{"text": "x"}'}) == ["todos: input should be a valid array"]
    assert problems(Plan, {"todos": [], "counts": "[1]"}) == [
        "counts: input should be an object",
    ]


class Mixed(pydantic.BaseModel):
    pair: tuple[str, int] | None = None
    point: tuple[float, float]
    nothing: tuple[()] = ()
    rest: tuple[Any, ...] = ()
    old: Annotated[
        list[Any],
        pydantic.WithJsonSchema(
            {"type": ["array", "null"], "items": [{"type": "string"}], "additionalItems": False}
        ),
    ] = []
    open: Annotated[
        list[Any],
        pydantic.WithJsonSchema(
            {"type": "array", "items": [{}], "additionalItems": {"type": "null"}}
        ),
    ] = []


class Line(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(description="Who.")]
    size: int = 0


class Lines(msgspec.Struct):
    lines: list[Line]
    pair: tuple[int, str] | None = None
    anything: list[Any] = []


def schema_of(type_: Any) -> dict[str, Any]:
    return root_schema(Types().shape(type_))


def arrays(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for part in schema for found in arrays(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if "array" in str(schema.get("type")) else []
    return own + [found for part in schema.values() for found in arrays(part)]


@pytest.mark.parametrize(("type_", "count"), [(Mixed, 6), (Lines, 4)], ids=["pydantic", "msgspec"])
def test_every_array_of_another_library_has_items_too(type_: Any, count: int) -> None:
    found = arrays(schema_of(type_))

    assert len(found) == count
    assert all(isinstance(array.get("items"), dict) for array in found)


def test_what_closed_an_array_still_does() -> None:
    (old,) = [array for array in arrays(schema_of(Mixed)) if array["type"] == ["array", "null"]]
    assert (old["prefixItems"], old["maxItems"]) == ([{"type": "string"}], 1)
    assert old["items"] == {"type": "string"}

    (line,) = [array for array in arrays(schema_of(Lines)) if array.get("minItems") == 1]
    assert line["items"] == {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    assert line["maxItems"] == 2


def test_no_other_liberty_is_taken() -> None:
    assert problems(Size, {"width": True}) == ["width: input should be a valid integer"]
    assert problems(Size, {"width": "x"}) == ["width: input should be a valid integer"]
    assert problems(Model, {"name": 5, "size": {"width": 1.5}}) == [
        "name: input should be a valid string",
        "size.width: input should be a valid integer",
    ]


def test_the_rules_of_a_model_hold() -> None:
    assert problems(list[Model], [{**FULL, "name": "ann"}]) == [
        "[0].name: value error, must be a name"
    ]
    assert problems(Size, {"width": -1}) == ["width: input should be greater than or equal to 0"]
    assert problems(Size, {}) == ["width: field required"]
    assert problems(Size, []) == ["input should be an object"]


def test_a_struct_is_read_by_msgspec() -> None:
    value = {"firstLine": "x", "number": "2", "near": [{"firstLine": "y", "ratio": None}], "z": 1}

    place = structure(Place, value)

    assert place == Place("x", 2, near=[Place("y")])
    assert structure(Place, Converter().unstructure(place)) == place
    assert structure(Row, ["1"]) == Row(1)
    assert structure(Box[int], {"item": 1.0}) == Box(1)


def test_the_path_of_a_problem_is_taken_from_the_message_of_msgspec() -> None:
    assert problems(Place, {"firstLine": 1}) == ["firstLine: expected `str`, got `int`"]
    assert problems(Place, {"firstLine": "x", "near": [{"firstLine": "y", "number": "z"}]}) == [
        "near[0].number: expected `int`, got `str`"
    ]
    assert problems(Place, 5) == ["expected `object`, got `int`"]
    assert problems(Box[dict[str, int]], {"item": {"a.b": "c"}}) == [
        "item: expected `int`, got `str`"
    ]


def test_unions_of_foreign_types_are_told_apart() -> None:
    assert structure(Union[Cat, Dog], {"type": "dog", "lives": "3"}) == Dog(3)
    assert structure(Union[Size, Place], {"firstLine": "x"}) == Place("x")
    assert structure(Union[Size, None], None) is None
    assert problems(Union[Cat, None], {"type": "dog", "lives": 3}) == ["type: invalid value 'dog'"]


class Tagged(pydantic.BaseModel):
    pet: Annotated[CatModel | DogModel, pydantic.Field(discriminator="kind")]


class CatModel(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class DogModel(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    age: int


def test_tagged_models_are_relaxed_by_their_tag() -> None:
    assert structure(Tagged, {"pet": {"kind": "dog", "age": "3"}}).pet == DogModel(age=3)
    assert structure(Tagged, {"pet": {"kind": "cat", "lives": None}}).pet == CatModel(kind="cat")
    assert problems(Tagged, {"pet": {"kind": "fish"}})[0].startswith("pet: input tag 'fish'")
    assert strict(Tagged)


def test_other_types_of_pydantic_are_read_too() -> None:
    assert str(structure(pydantic.HttpUrl, "https://example.org")) == "https://example.org/"
    assert problems(pydantic.HttpUrl, "nowhere")[0].startswith("input should be a valid URL")
    assert root_schema(Types().shape(pydantic.HttpUrl))["format"] == "uri"


def test_a_set_may_hold_what_its_library_can_hash() -> None:
    class Frozen(pydantic.BaseModel, frozen=True):
        x: int

    assert structure(set[Frozen], [{"x": 1}, {"x": 1}]) == {Frozen(x=1)}
    with pytest.raises(UnsupportedType, match="must be hashable"):
        Types().shape(set[Size])


def test_what_no_member_of_a_union_takes_is_left_to_the_library() -> None:
    class Unions(pydantic.BaseModel):
        either: int | list[int] | None = None
        loose: dict[str, Any] = {}
        inner: Size | bool | None = None
        number: int | Size = 0

    taken = structure(Unions, {"loose": {"a": "5"}, "inner": True, "number": 5.0, "either": 5})
    assert structure(Unions, {"either": ["5"]}).either == [5]
    assert taken == Unions(loose={"a": "5"}, inner=True, number=5, either=5)
    assert structure(Unions, {"inner": {"width": "5"}}).inner == Size(width=5)
    assert problems(Unions, {"either": "x"})[0].startswith("either.int: input should be")
    assert problems(Unions, {"inner": 1.5})


def test_schemas_without_a_type_admit_everything() -> None:
    class Loose(pydantic.BaseModel):
        anything: Any = 1
        choice: Literal[1, None] = 1
        flag: Annotated[bool, pydantic.Field(json_schema_extra={"type": ["boolean"]})] = False

    assert structure(Loose, {"anything": None, "choice": None, "flag": None}) == Loose(
        anything=None, choice=None
    )
    assert structure(Loose, {"anything": "5"}).anything == "5"


IMPORTS = """
import sys, lktrio
lktrio.function_tool(lambda: None, name="x").definition()
print("pydantic" in sys.modules)
"""


def test_pydantic_is_not_imported() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )

    assert run.stdout.strip() == b"False"
