"""What holds for every type: values that fit the schema are taken, and come back as they were."""

# ruff: noqa: UP007, UP045  every spelling of a union is to be read

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypedDict, Union

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from lktrio import ToolError, function_tool
from lktrio._json.arguments import parse_arguments
from lktrio._json.mismatch import Mismatch
from lktrio._schemas.converter import Converter
from lktrio._schemas.docstrings import read_docstring
from lktrio._schemas.introspection import Types
from lktrio._schemas.json_schema import object_schema, root_schema
from lktrio._schemas.shapes import Field, Shape
from lktrio._schemas.strict import UnsupportedSchema, strict_schema
from tests.support.json_schemas import fits, is_valid, strict_problems


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Ge:
    ge: int


@attrs.frozen
class MaxLength:
    max_length: int


@attrs.frozen(eq=False)
class Typed:
    """A type, and the JSON values it is written as."""

    type: Any
    values: st.SearchStrategy[Any]
    hashable: bool = True


CONVERTER = Converter()

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
INTEGERS = st.integers(-(2**53), 2**53)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)

LEAVES = [
    Typed(str, TEXT),
    Typed(int, INTEGERS),
    Typed(float, FLOATS),
    Typed(bool, st.booleans()),
    Typed(type(None), st.none()),
    Typed(Literal["a", "b"], st.sampled_from(["a", "b"])),
    Typed(Literal[1, "one", True], st.sampled_from([1, "one", True])),
    Typed(Color, st.sampled_from(["red", "green"])),
    Typed(Level, st.sampled_from([1, 2])),
    Typed(Annotated[int, Ge(3), "at least three"], st.integers(3, 2**53)),
    Typed(Annotated[str, MaxLength(3)], st.text(st.characters(codec="utf-8"), max_size=3)),
    Typed(datetime.datetime, st.datetimes().map(datetime.datetime.isoformat)),
    Typed(datetime.date, st.dates().map(datetime.date.isoformat)),
    Typed(datetime.time, st.times().map(datetime.time.isoformat)),
    Typed(
        datetime.timedelta,
        st.timedeltas(datetime.timedelta(days=-9999), datetime.timedelta(days=9999)).map(
            CONVERTER.unstructure
        ),
    ),
    Typed(uuid.UUID, st.uuids().map(str)),
    Typed(decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False).map(str)),
    Typed(bytes, TEXT),
    Typed(pathlib.PurePosixPath, st.sampled_from(["a", "a/b", "/a"])),
]


def a_list(item: Typed) -> Typed:
    return Typed(list[item.type], st.lists(item.values, max_size=3), hashable=False)


def a_set(item: Typed) -> Typed:
    # One item at most: sets have an order of their own.
    return Typed(set[item.type], st.lists(item.values, max_size=1), hashable=False)


def a_pair(item: Typed, other: Typed) -> Typed:
    return Typed(
        tuple[item.type, other.type],
        st.tuples(item.values, other.values).map(list),
        item.hashable and other.hashable,
    )


def a_mapping(value: Typed) -> Typed:
    return Typed(
        dict[str, value.type],
        st.dictionaries(TEXT, value.values, max_size=3),
        hashable=False,
    )


def an_optional(item: Typed) -> Typed:
    return Typed(Optional[item.type], st.none() | item.values, item.hashable)


def a_record(kind: str, members: list[Typed]) -> Typed:
    """A class with a required and a defaulted member of each type."""
    types = {f"m{i}": member.type for i, member in enumerate(members)}
    optional = {f"o{i}": member.type for i, member in enumerate(members)}
    values = {f"m{i}": member.values for i, member in enumerate(members)}
    optional_values = {f"o{i}": member.values for i, member in enumerate(members)}
    complete = st.fixed_dictionaries({**values, **optional_values})
    hashable = all(member.hashable for member in members)
    match kind:
        case "attrs":
            fields = {
                **{name: attrs.field(type=type_) for name, type_ in types.items()},
                **{name: attrs.field(type=t, default=None) for name, t in optional.items()},
            }
            return Typed(attrs.make_class("A", fields, frozen=True), complete, hashable)
        case "dataclass":
            specs = [
                *types.items(),
                *((n, t, dataclasses.field(default=None)) for n, t in optional.items()),
            ]
            return Typed(dataclasses.make_dataclass("D", specs, frozen=True), complete, hashable)
        case "typed dict":
            hints = {**types, **{name: NotRequired[type_] for name, type_ in optional.items()}}
            return Typed(
                TypedDict("T", hints),  # type: ignore[operator]
                st.fixed_dictionaries(values, optional=optional_values),
                hashable=False,
            )
        case _:
            named = NamedTuple("N", list({**types, **optional}.items()))
            # To the plain schema a tuple is an array.
            arrays = complete.map(lambda members: [members[name] for name in named._fields])
            return Typed(named, arrays, hashable)


def a_tagged_union(members: list[Typed]) -> Typed:
    classes = [
        dataclasses.make_dataclass(
            f"Tagged{i}", [("kind", Literal[f"k{i}"]), ("value", member.type)], frozen=True
        )
        for i, member in enumerate(members)
    ]
    values = [
        st.fixed_dictionaries({"kind": st.just(f"k{i}"), "value": member.values})
        for i, member in enumerate(members)
    ]
    hashable = all(member.hashable for member in members)
    return Typed(Union[tuple(classes)], st.one_of(values), hashable)


def larger(children: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    two = st.lists(children, min_size=2, max_size=2)
    return st.one_of(
        children.map(a_list),
        children.filter(lambda typed: typed.hashable).map(a_set),
        st.builds(a_pair, children, children),
        children.map(a_mapping),
        children.map(an_optional),
        st.builds(
            a_record,
            st.sampled_from(["attrs", "dataclass", "typed dict", "named tuple"]),
            st.lists(children, max_size=2),
        ),
        two.map(a_tagged_union),
    )


TYPES = st.recursive(st.sampled_from(LEAVES), larger, max_leaves=5)


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Typed, Any]:
    typed = draw(TYPES)
    # As the text of a call has them.
    return typed, json.loads(json.dumps(draw(typed.values)))


def shape_of(typed: Typed) -> Shape:
    return Types().shape(typed.type)


def strict_or_none(shape: Shape) -> dict[str, Any] | None:
    field = Field(name="it", argument="it", shape=shape, required=True)
    try:
        return strict_schema(object_schema([field], tuples_as_objects=True))
    except UnsupportedSchema:
        return None


@hypothesis.given(typed_values())
def test_a_value_that_fits_the_schema_is_taken_and_comes_back_unchanged(
    typed_value: tuple[Typed, Any],
) -> None:
    typed, value = typed_value
    shape = shape_of(typed)
    assert fits(value, root_schema(shape))

    structured = CONVERTER.structure(value, typed.type)

    again = CONVERTER.unstructure(structured)
    assert again == value
    assert CONVERTER.structure(again, typed.type) == structured


@hypothesis.given(TYPES)
def test_every_strict_schema_is_strict(typed: Typed) -> None:
    strict = strict_or_none(shape_of(typed))

    assert is_valid(root_schema(shape_of(typed)))
    if strict is not None:
        assert is_valid(strict)
        assert strict_problems(strict) == []


def allowed(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a server may make of a strict schema, formats included."""
    if "$ref" in schema:
        return allowed(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    if "anyOf" in schema:
        return st.one_of([allowed(option, definitions) for option in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([allowed_of_type(type_, schema, definitions) for type_ in types])


def allowed_of_type(
    type_: str, schema: dict[str, Any], definitions: dict[str, Any]
) -> st.SearchStrategy[Any]:
    match type_:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            integers = st.integers(schema.get("minimum"))
            return integers | integers.filter(lambda n: abs(n) < 2**53).map(float)
        case "number":
            return FLOATS | INTEGERS
        case "array":
            items = allowed(schema["items"], definitions)
            return st.lists(
                items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3)
            )
        case "object":
            members = schema["properties"].items()
            return st.fixed_dictionaries({n: allowed(m, definitions) for n, m in members})
        case _:
            formats = {typed_format(leaf): leaf.values for leaf in LEAVES}
            text = st.text(st.characters(codec="utf-8"), max_size=schema.get("maxLength", 5))
            return formats[schema["format"]] if "format" in schema else text


def typed_format(leaf: Typed) -> str | None:
    return root_schema(shape_of(leaf)).get("format")


@hypothesis.given(TYPES.filter(lambda typed: typed.type is not decimal.Decimal), st.data())
def test_what_the_strict_schema_allows_is_taken(typed: Typed, data: st.DataObject) -> None:
    shape = shape_of(typed)
    strict = strict_or_none(shape)
    # The string that a decimal number may be is any string to the schema.
    hypothesis.assume(strict is not None and "Decimal" not in repr(shape))
    assert strict is not None
    value = data.draw(allowed(strict, strict.get("$defs", {})))
    assert fits(value, strict)

    structured = CONVERTER.structure(value["it"], typed.type)

    assert CONVERTER.structure(CONVERTER.unstructure(structured), typed.type) == structured


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=6,
)


@hypothesis.given(TYPES, JSON)
def test_what_does_not_fit_is_refused_and_nothing_else_happens(typed: Typed, value: Any) -> None:
    try:
        structured = CONVERTER.structure(value, typed.type)
    except Mismatch as misfit:
        messages = [problem.message for problem in misfit.problems]
    else:
        messages = ["taken"]
        assert CONVERTER.structure(CONVERTER.unstructure(structured), typed.type) == structured

    assert messages
    assert all(messages)


def is_listed(value: Any, schema: Any, definitions: dict[str, Any], *, in_text: bool) -> bool:
    """Whether a schema allows a value, but for what `_leniency` lists, read from that list alone."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return is_listed(value, target, definitions, in_text=in_text)
    if fits(value, {**schema, "$defs": definitions}):
        return True
    if "anyOf" in schema:
        return any(is_listed(value, each, definitions, in_text=in_text) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return False
    kind = schema.get("type")
    if isinstance(value, str) and kind in ("integer", "number"):
        try:
            number = float(value)
        except ValueError:
            return False
        bounds = {**schema, "type": "number"}
        return fits(number, bounds) and (kind == "number" or number.is_integer())
    if isinstance(value, str) and kind in ("array", "object") and not in_text:
        try:
            decoded = json.loads(value, strict=False)
        except ValueError:
            return False
        return isinstance(decoded, dict | list) and is_listed(
            decoded, schema, definitions, in_text=True
        )
    if isinstance(value, dict) and kind == "object":
        properties = schema.get("properties", {})
        return set(schema.get("required", [])) <= value.keys() and all(
            (member is None and name in properties and name not in schema.get("required", []))
            or is_listed(
                member,
                properties.get(name, schema.get("additionalProperties", {}) or {}),
                definitions,
                in_text=in_text,
            )
            for name, member in value.items()
        )
    if isinstance(value, dict) and ("prefixItems" in schema or schema.get("maxItems") == 0):
        # A named tuple, whose names the schema does not have.
        return len(value) >= schema.get("minItems", 0)
    if isinstance(value, list) and kind == "array":
        places = schema.get("prefixItems", [])
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        return all(
            (item is None and place >= schema.get("minItems", 0))
            or is_listed(
                item,
                places[place] if place < len(places) else schema.get("items", {}),
                definitions,
                in_text=in_text,
            )
            for place, item in enumerate(value)
        )
    return False


@st.composite
def nearly_fitting(draw: st.DrawFn) -> tuple[Typed, Any]:
    """A value that fits, with something in it in the place of something else."""
    typed, value = draw(typed_values())

    def changed(part: Any) -> Any:
        choice = draw(st.integers(0, 9))
        if isinstance(part, dict) and part and choice < 5:
            name = draw(st.sampled_from(sorted(part)))
            return {**part, name: changed(part[name])}
        if isinstance(part, list) and part and choice < 5:
            place = draw(st.integers(0, len(part) - 1))
            return [*part[:place], changed(part[place]), *part[place + 1 :]]
        others = [part, str(part), json.dumps(part), None, [part], {"more": part}]
        return draw(st.sampled_from(others) | JSON)

    return typed, changed(value)


@hypothesis.given(nearly_fitting())
def test_what_is_taken_beyond_the_schema_is_on_the_list(typed_value: tuple[Typed, Any]) -> None:
    typed, value = typed_value
    schema = root_schema(shape_of(typed))
    try:
        structured = CONVERTER.structure(value, typed.type)
    except Mismatch:
        # Formats and exact decimals are what a schema cannot say in a way that is checked.
        return
    assert is_listed(value, schema, schema.get("$defs", {}), in_text=False)
    assert CONVERTER.structure(CONVERTER.unstructure(structured), typed.type) == structured


@function_tool
def anything(value: object, count: int = 1) -> None:
    """Take anything."""


@hypothesis.given(st.text())
def test_any_text_is_arguments_or_a_tool_error(raw: str) -> None:
    try:
        text = anything.decode_arguments(raw).json
    except ToolError as error:
        text = json.dumps({"error": error.message})

    assert isinstance(json.loads(text), dict)


@hypothesis.given(st.dictionaries(TEXT, JSON, min_size=1), st.data())
def test_no_arguments_are_made_of_a_truncated_object(
    arguments: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()))
    cut = data.draw(st.integers(1, len(text) - 1))

    with pytest.raises(Mismatch, match="cut off"):
        parse_arguments(text[:cut])


@hypothesis.given(st.dictionaries(TEXT, JSON))
def test_an_object_is_decoded_as_it_is_however_often_it_is_encoded(
    arguments: dict[str, Any],
) -> None:
    text = json.dumps(arguments)

    once = parse_arguments(text)

    assert once.values == arguments
    assert json.loads(once.canonical) == arguments
    assert parse_arguments(json.dumps(text)) == once
    assert parse_arguments(once.canonical) == once


@hypothesis.given(st.text())
def test_every_docstring_can_be_read(docstring: str) -> None:
    read = read_docstring(docstring)

    assert isinstance(read.description, str)
