"""Schemas within schemas: where they stand, and which definitions they refer to.

This module knows the keywords of JSON Schema that hold other schemas, and what a reference looks
like.

Source: https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from lktrio._json import is_schema

__all__ = ["REF_PREFIX", "JSONSchema", "map_subschemas", "references", "used_definitions"]

JSONSchema: TypeAlias = dict[str, Any]

REF_PREFIX: Final = "#/$defs/"
"""What the name of a definition follows in a ``$ref``."""

_BY_NAME: Final = ("properties", "patternProperties", "dependentSchemas", "$defs")
_IN_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = (
    "items",
    "additionalProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
)


def map_subschemas(schema: JSONSchema, change: Callable[[JSONSchema], JSONSchema]) -> JSONSchema:
    """Copy a schema with its direct subschemas changed.

    Args:
        schema: A schema. A member that is named like a keyword is not taken for one.
        change: Takes a subschema and returns what is put in its place.

    Returns:
        The copy.
    """

    def changed(subschema: object) -> object:
        return change(subschema) if is_schema(subschema) else subschema

    copy: JSONSchema = {}
    for keyword, value in schema.items():
        if keyword in _BY_NAME:
            copy[keyword] = {name: changed(subschema) for name, subschema in value.items()}
        elif keyword in _IN_LISTS:
            copy[keyword] = [changed(subschema) for subschema in value]
        elif keyword in _SINGLE:
            copy[keyword] = changed(value)
        else:
            copy[keyword] = value
    return copy


def references(schema: JSONSchema) -> set[str]:
    """Return the names of the definitions that a schema refers to.

    Args:
        schema: A schema.

    Returns:
        The names, not those that the definitions themselves refer to.
    """
    names: set[str] = set()

    def visit(subschema: JSONSchema) -> JSONSchema:
        if "$ref" in subschema:
            names.add(subschema["$ref"].removeprefix(REF_PREFIX))
        return map_subschemas(subschema, visit)

    visit(schema)
    return names


def used_definitions(
    schema: JSONSchema, definitions: Mapping[str, JSONSchema]
) -> dict[str, JSONSchema]:
    """Choose the definitions that a schema needs.

    Args:
        schema: A schema.
        definitions: All there are, by name.

    Returns:
        Those it refers to, and those they refer to.
    """
    used: set[str] = set()
    waiting = references(schema)
    while waiting:
        used |= waiting
        waiting = {name for known in waiting for name in references(definitions[known])} - used
    return {name: definition for name, definition in definitions.items() if name in used}
