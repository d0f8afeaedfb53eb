"""Shapes -> JSON Schema, as servers take it that know nothing of OpenAI's strict dialect.

This module alone knows the keywords (draft 2020-12). What has a default is not required, and the
default is stated; classes and enumerations are definitions, so that they may hold themselves.
Every array has ``items``, although JSON Schema can do without: OpenAI and Gemini refuse the request
otherwise.

Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from lktrio._checks import is_number
from lktrio._json import is_json, is_list

from .declared import NO_DEFAULT
from .descriptions import describe
from .foreign import ForeignType
from .metadata import Constraints
from .shapes import (
    Alias,
    Anything,
    Array,
    Choice,
    Custom,
    Field,
    FixedTuple,
    Foreign,
    JSONScalar,
    Null,
    OneOf,
    Record,
    Refined,
    Scalar,
    Shape,
    StringKeyed,
    Text,
)
from .subschemas import REF_PREFIX, JSONSchema, map_subschemas, references, used_definitions

__all__ = [
    "object_schema",
    "root_schema",
]

Writer: TypeAlias = Callable[[Any], Any]


def _write(value: Any) -> Any:
    from .converter import Converter

    return Converter().unstructure(value)


def object_schema(
    fields: Iterable[Field], *, tuples_as_objects: bool = False, write: Writer = _write
) -> JSONSchema:
    """Make the schema of an object.

    Args:
        fields: Its members.
        tuples_as_objects: Whether named tuples are objects. They are arrays otherwise, whose
            items differ by position, for which the strict dialect has no words.
        write: Writes a default as a JSON value, or raises `TypeError` or `ValueError`.

    Returns:
        The schema, with its definitions under ``$defs``.
    """
    builder = _Builder(write, tuples_as_objects=tuples_as_objects)
    return builder.with_definitions(builder.object(fields))


def root_schema(
    shape: Shape, *, tuples_as_objects: bool = False, write: Writer = _write
) -> JSONSchema:
    """Make the schema of any type.

    Args:
        shape: The shape of the type. That of a class is spelled out, not referred to.
        tuples_as_objects: As for `object_schema`.
        write: As for `object_schema`.

    Returns:
        The schema, with its definitions under ``$defs``.
    """
    builder = _Builder(write, tuples_as_objects=tuples_as_objects)
    schema = builder.build(shape)
    if schema.keys() == {"$ref"}:
        schema = builder.definitions[schema["$ref"].removeprefix(REF_PREFIX)]
    return builder.with_definitions(dict(schema))


class _Builder:
    def __init__(self, write: Writer, *, tuples_as_objects: bool) -> None:
        self._write = write
        self._tuples_as_objects = tuples_as_objects
        self._names: dict[Shape, str] = {}
        self._adopted_names: dict[Shape, dict[str, str]] = {}
        self.definitions: dict[str, JSONSchema] = {}

    def with_definitions(self, schema: JSONSchema) -> JSONSchema:
        definitions = used_definitions(schema, self.definitions)
        return {**schema, "$defs": definitions} if definitions else schema

    def object(self, fields: Iterable[Field]) -> JSONSchema:
        properties: dict[str, JSONSchema] = {}
        required: list[str] = []
        for field in fields:
            properties[field.name] = self._member(field)
            if field.required:
                required.append(field.name)
        schema: JSONSchema = {"type": "object", "properties": properties}
        return {**schema, "required": required} if required else schema

    def build(self, shape: Shape) -> JSONSchema:
        match shape:
            case Anything():
                return {}
            case Null():
                return {"type": "null"}
            case Scalar(python=python):
                return {"type": _TYPE_NAMES[python]}
            case Text(python=python):
                return _text(python)
            case Choice():
                return self._choice(shape)
            case OneOf(members=members):
                return {"anyOf": [self.build(member) for member in members]}
            case Array(item=item, unique=unique):
                array: JSONSchema = {"type": "array", "items": self.build(item)}
                return {**array, "uniqueItems": True} if unique else array
            case FixedTuple(items=items):
                places = [self.build(item) for item in items]
                return _fixed(places, places, len(items))
            case StringKeyed():
                return self._mapping(shape)
            case Record():
                return self._record(shape)
            case Foreign(python=python):
                type_ = ForeignType(python)
                # A title repeats the name; a discriminator is OpenAPI's, and holds the old names.
                return self._adopted(
                    shape, type_.schema, type_.definitions, without=("title", "discriminator")
                )
            case Custom(schema=custom):
                schema = {key: value for key, value in custom.items() if key != "$defs"}
                return self._adopted(shape, schema, custom.get("$defs", {}))
            case Refined(inner=inner, constraints=constraints, description=description):
                schema = self.build(inner)
                if constraints is not None:
                    _constrain(schema, constraints)
                return {**schema, "description": description} if description else schema
            case _:
                return self._alias(shape)

    def _member(self, field: Field) -> JSONSchema:
        schema = self.build(field.shape)
        if field.description is not None:
            if "description" not in schema:
                schema["description"] = field.description
            elif isinstance(field.shape, Custom):
                # What it is for, and how it is written.
                written = schema["description"].removesuffix(".")
                schema["description"] = f"{field.description.removesuffix('.')} ({written})"
        if field.default is not NO_DEFAULT:
            # A sentinel has no JSON form, and the model can do without knowing it.
            with contextlib.suppress(TypeError, ValueError):
                is_scalar = type(field.default) in _TYPE_NAMES
                schema["default"] = field.default if is_scalar else self._write(field.default)
        return _sayable(schema)

    def _mapping(self, mapping: StringKeyed) -> JSONSchema:
        schema: JSONSchema = {
            "type": "object",
            "additionalProperties": self.build(mapping.value)
            if not isinstance(mapping.value, Anything)
            else True,
        }
        if isinstance(mapping.key, Scalar) and mapping.key.python is str:
            return schema
        # In words, because there are servers that refuse a schema with `propertyNames` in it.
        return {**schema, "description": f"Each key is {describe(mapping.key)}."}

    def _record(self, record: Record) -> JSONSchema:
        if record in self._names:
            return self._reference(record)
        self._names[record] = name = self._new_name(record.name)
        self.definitions[name] = {}
        if record.is_tuple and not self._tuples_as_objects:
            schema = _fixed(
                [self._member(field) for field in record.fields],
                [self.build(field.shape) for field in record.fields],
                sum(field.required for field in record.fields),
            )
        else:
            schema = self.object(record.fields)
        self.definitions[name] = _described(schema, record.description)
        return self._reference(record)

    def _alias(self, alias: Alias) -> JSONSchema:
        if alias in self._names:
            return self._reference(alias)
        self._names[alias] = name = self._new_name(alias.name)
        schema = self.build(alias.target)
        if name in references(schema):
            self.definitions[name] = schema
            return self._reference(alias)
        del self._names[alias]
        return schema

    def _adopted(
        self,
        shape: Shape,
        schema: JSONSchema,
        definitions: Mapping[str, JSONSchema],
        without: Collection[str] = (),
    ) -> JSONSchema:
        """Make a schema that is not of our making one of ours."""
        renamed = self._adopted_names.get(shape)
        if renamed is None:
            renamed = self._adopted_names[shape] = dict[str, str]()
            for name in definitions:
                renamed[name] = self._new_name(name)
                self.definitions[renamed[name]] = {}
            for name, definition in definitions.items():
                self.definitions[renamed[name]] = _adopt(definition, renamed, without)
        return _adopt(schema, renamed, without)

    def _choice(self, choice: Choice) -> JSONSchema:
        if choice.name is None:
            return _choice(choice.members)
        if choice not in self._names:
            self._names[choice] = name = self._new_name(choice.name)
            schema = _choice(choice.members, is_named=True)
            self.definitions[name] = _described(schema, choice.description)
        return self._reference(choice)

    def _reference(self, shape: Shape) -> JSONSchema:
        return {"$ref": REF_PREFIX + self._names[shape]}

    def _new_name(self, wanted: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_.-]+", "_", wanted)
        name, number = wanted, 1
        while name in self._names.values() or name in self.definitions:
            number += 1
            name = f"{wanted}_{number}"
        return name


# --- Parts of schemas ----------------------------------------------------------------------------

_TYPE_NAMES: Final[dict[type[Any], str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
}

_FORMATS: Final[dict[type[Any], str]] = {
    datetime.datetime: "date-time",
    datetime.date: "date",
    datetime.time: "time",
    datetime.timedelta: "duration",
    uuid.UUID: "uuid",
    bytes: "binary",
}


def _text(python: type[Any]) -> JSONSchema:
    if python is decimal.Decimal:
        return {"anyOf": [{"type": "number"}, {"type": "string"}]}
    return {"type": "string", "format": _FORMATS.get(python, "path")}


def _choice(members: Iterable[tuple[JSONScalar, Any]], *, is_named: bool = False) -> JSONSchema:
    values = [value for value, _ in members]
    types = list(dict.fromkeys(_TYPE_NAMES[type(value)] for value in values))
    type_: str | list[str] = types[0] if len(types) == 1 else types
    if len(values) == 1 and not is_named:
        return {"type": type_, "const": values[0]}
    return {"type": type_, "enum": values}


def _fixed(places: list[JSONSchema], types: list[JSONSchema], required: int) -> JSONSchema:
    """The schema of an array of so many places, of which the first ones are required.

    Args:
        places: What is said of each place.
        types: The same without what is said of the place alone.
        required: How many there must be.
    """
    array: JSONSchema = {"type": "array", "items": _any_of(types)}
    if any(place != array["items"] for place in places):
        array["prefixItems"] = places
    if required:
        array["minItems"] = required
    return {**array, "maxItems": len(places)}


def _any_of(schemas: Iterable[JSONSchema]) -> JSONSchema:
    """What fits one of several schemas."""
    different: list[JSONSchema] = []
    for schema in schemas:
        if schema not in different:
            different.append(schema)
    if len(different) > 1:
        return {"anyOf": different}
    # There are no items, but a schema of them has to be there.
    return dict(different[0]) if different else {"type": "string"}


_SAID_OF_ONE_PLACE: Final = ("title", "description", "default", "examples")


def _with_items(schema: JSONSchema) -> JSONSchema:
    """Give an array of another library ``items``: the places are in ``prefixItems``, and nothing
    or false says that there are no others; or they are in ``items``, as before draft 2020-12."""
    types: str | list[str] = schema.get("type", [])
    items: object = schema.get("items")
    if "array" not in ([types] if isinstance(types, str) else types) or isinstance(items, dict):
        return schema
    copy = {key: schema[key] for key in schema if key not in ("items", "additionalItems")}
    if is_list(items):
        copy["prefixItems"] = items
        items = schema.get("additionalItems")
    places: list[JSONSchema] = copy.get("prefixItems", [])
    if items is False:
        copy["maxItems"] = min(len(places), copy.get("maxItems", len(places)))
    if isinstance(items, dict):
        copy["items"] = items
    elif copy.get("maxItems", math.inf) <= len(places):
        copy["items"] = _any_of(
            {key: place[key] for key in place if key not in _SAID_OF_ONE_PLACE} for place in places
        )
    else:
        copy["items"] = {}
    return copy


def _sayable(schema: JSONSchema) -> JSONSchema:
    """Leave out a default that JSON has no word for."""
    if "default" in schema and not is_json(schema["default"]):
        del schema["default"]
    return schema


def _described(schema: JSONSchema, description: str | None) -> JSONSchema:
    return {"description": description, **schema} if description else schema


def _constrain(schema: JSONSchema, constraints: Constraints) -> None:
    """Add the constraints that the type of a schema has keywords for."""
    for option in schema.get("anyOf", []):
        _constrain(option, constraints)
    for keyword, value in _keywords(schema, constraints):
        if value is not None:
            schema[keyword] = value


def _keywords(schema: JSONSchema, constraints: Constraints) -> list[tuple[str, Any]]:
    match schema:
        case {"type": "integer" | "number"}:
            return [
                ("minimum", _number(constraints.ge)),
                ("exclusiveMinimum", _number(constraints.gt)),
                ("maximum", _number(constraints.le)),
                ("exclusiveMaximum", _number(constraints.lt)),
                ("multipleOf", _number(constraints.multiple_of)),
            ]
        case {"type": "string", "format": _}:
            # The length of what is written says nothing about the length of what is meant.
            return []
        case {"type": "string"}:
            return [
                ("minLength", constraints.min_length),
                ("maxLength", constraints.max_length),
                ("pattern", constraints.pattern),
            ]
        case {"type": "array"}:
            return [("minItems", constraints.min_length), ("maxItems", constraints.max_length)]
        case {"type": "object"}:
            return [
                ("minProperties", constraints.min_length),
                ("maxProperties", constraints.max_length),
            ]
        case _:
            return []


def _number(bound: Any) -> int | float | None:
    if isinstance(bound, decimal.Decimal):
        bound = int(bound) if bound == bound.to_integral_value() else float(bound)
    return bound if is_number(bound) and math.isfinite(bound) else None


def _adopt(schema: JSONSchema, names: Mapping[str, str], without: Collection[str]) -> JSONSchema:
    """Copy a schema with new names for its definitions."""
    copy = map_subschemas(_with_items(schema), lambda subschema: _adopt(subschema, names, without))
    if "$ref" in copy:
        copy["$ref"] = REF_PREFIX + names[copy["$ref"].removeprefix(REF_PREFIX)]
    return _sayable({key: value for key, value in copy.items() if key not in without})
