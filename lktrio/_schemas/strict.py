"""JSON Schema -> OpenAI's strict dialect, in which the server makes the model keep to the schema.

This module alone knows that dialect. What it cannot express is refused here, with the reason, and
is then sent without ``strict``. A member that was not required accepts null, which means its
default; a keyword that the dialect lacks is left out where the converter enforces it anyway.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas, and where
that page is silent, the errors of the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from lktrio._json import json_type_of

from .subschemas import REF_PREFIX, JSONSchema, map_subschemas, references

__all__ = ["UnsupportedSchema", "strict_schema"]

_MAX_PROPERTIES: Final = 5000
_MAX_NESTING: Final = 10
_MAX_CHARACTERS: Final = 120_000
"""In all names of properties and definitions, and all values of enumerations."""
_MAX_ENUM_VALUES: Final = 1000
_LONG_ENUM: Final = 250
_MAX_LONG_ENUM_CHARACTERS: Final = 15_000

_KEPT: Final[dict[str, tuple[str, ...]]] = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("minItems", "maxItems"),
}

_FORMATS: Final = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
)
_SILENT_FORMATS: Final = frozenset(["path", "binary"])
"""Left out without a word, because they tell a model nothing."""

_LOOKAROUND: Final = ("(?=", "(?!", "(?<=", "(?<!")

_REFUSED: Final = frozenset(
    [
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "contains",
        "minContains",
        "maxContains",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)

_ANNOTATIONS: Final = frozenset(
    [
        "title",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    ]
)

_NULL: Final[JSONSchema] = {"type": "null"}


class UnsupportedSchema(ValueError):
    """The strict dialect cannot express a schema. The message says where and why."""


def strict_schema(schema: JSONSchema) -> JSONSchema:
    """Put a schema in the strict dialect.

    Args:
        schema: The schema of an object, with its definitions under ``$defs``.

    Returns:
        A new schema.

    Raises:
        UnsupportedSchema: If the dialect cannot express it.
    """
    translation = _Translation(schema.get("$defs", {}))
    root = translation.translate({key: schema[key] for key in schema if key != "$defs"}, "")
    if root.get("type") != "object":
        raise UnsupportedSchema("the value must be an object")
    definitions = translation.translate_definitions(root)
    _check_limits(root, definitions)
    _tell_options_apart(root, definitions)
    return {**root, "$defs": definitions} if definitions else root


class _Translation:
    def __init__(self, definitions: Mapping[str, JSONSchema]) -> None:
        self._definitions = definitions

    def translate_definitions(self, root: JSONSchema) -> dict[str, JSONSchema]:
        """Translate what the root needs, in an order that is the same in every process."""
        translated: dict[str, JSONSchema] = {}
        waiting = references(root)
        while waiting:
            name = waiting.pop()
            translated[name] = self.translate(self._definitions[name], name)
            waiting |= references(translated[name]) - translated.keys()
        return {name: translated[name] for name in self._definitions if name in translated}

    def translate(self, schema: JSONSchema, path: str) -> JSONSchema:
        refused = sorted(schema.keys() & _REFUSED)
        if refused:
            raise UnsupportedSchema(f"{path or 'it'} uses {refused[0]}")
        if "$ref" in schema:
            return self._reference(schema, path)
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                rest = {key: schema[key] for key in schema if key != keyword}
                return self._options(rest, schema[keyword], keyword, path)
        if "enum" in schema or "const" in schema:
            return _choice(schema, path)
        types = _types(schema)
        if not types:
            raise UnsupportedSchema(f"{path or 'it'} may be any JSON value")
        strict: JSONSchema = {"type": schema["type"]}
        if "object" in types:
            strict.update(self._object(schema, path))
        if "array" in types:
            strict["items"] = self.translate(_items(schema, path), f"{path}[]")
        for type_ in types:
            strict.update({key: schema[key] for key in _KEPT.get(type_, ()) if key in schema})
        return _described(strict, schema.get("description"))

    def _reference(self, schema: JSONSchema, path: str) -> JSONSchema:
        siblings = {key: schema[key] for key in schema if key not in ("$ref", *_ANNOTATIONS)}
        if not siblings:
            return {"$ref": schema["$ref"]}
        # "$ref cannot have keywords": what stands beside it needs the definition spelled out.
        definition = self._definitions[schema["$ref"].removeprefix(REF_PREFIX)]
        return self.translate({**definition, **siblings}, path)

    def _options(
        self, rest: JSONSchema, options: list[JSONSchema], keyword: str, path: str
    ) -> JSONSchema:
        if len(options) == 1:
            return self.translate({**options[0], **rest}, path)
        description = rest.get("description")
        if keyword == "allOf" or rest.keys() - _ANNOTATIONS - {"description"}:
            raise UnsupportedSchema(f"{path or 'it'} must fit several schemas at once")
        strict: list[JSONSchema] = []
        for option in options:
            translated = self.translate(option, path)
            # A union in a union is one union.
            nested: list[JSONSchema] | None = translated.get("anyOf")
            strict += [translated] if nested is None else nested
        others = [option for option in strict if option != _NULL]
        if len(others) == 1 and len(strict) > 1:
            return _nullable(_with_description(others[0], description))
        return _with_description({"anyOf": strict}, description)

    def _object(self, schema: JSONSchema, path: str) -> JSONSchema:
        if schema.get("additionalProperties") or "properties" not in schema:
            raise UnsupportedSchema(f"{path or 'it'} may have any keys")
        properties: dict[str, JSONSchema] = {}
        required: list[str] = schema.get("required", [])
        for name, member in schema["properties"].items():
            member_path = f"{path}.{name}".lstrip(".")
            if name in required or _is_tag(member):
                properties[name] = self.translate(member, member_path)
            elif member.keys() - _ANNOTATIONS == {"$ref", "description"}:
                # Beside "anyOf" a description is welcome.
                properties[name] = {
                    "anyOf": [{"$ref": member["$ref"]}, _NULL],
                    "description": member["description"],
                }
            else:
                properties[name] = _nullable(self.translate(member, member_path))
        return {
            "properties": properties,
            **({"required": list(properties)} if properties else {}),
            "additionalProperties": False,
        }


def _types(schema: JSONSchema) -> list[str]:
    types: str | list[str] = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def _items(schema: JSONSchema, path: str) -> JSONSchema:
    places: list[JSONSchema] = schema.get("prefixItems", [])
    if not places:
        return cast("JSONSchema", schema.get("items", {}))
    is_fixed = schema.get("minItems") == schema.get("maxItems") == len(places)
    if not is_fixed or any(place != places[0] for place in places):
        raise UnsupportedSchema(f"{path or 'it'} is an array whose items differ by position")
    return places[0]


def _choice(schema: JSONSchema, path: str) -> JSONSchema:
    # "schema must have a 'type' key", which need not be there in JSON Schema.
    values: list[object] = [schema["const"]] if "const" in schema else schema["enum"]
    types = list(dict.fromkeys(map(json_type_of, values)))
    if "array" in types or "object" in types:
        raise UnsupportedSchema(f"{path or 'it'} is one of several arrays or objects")
    keyword = "const" if "const" in schema else "enum"
    strict = {"type": types[0] if len(types) == 1 else types, keyword: schema[keyword]}
    return _with_description(strict, schema.get("description"))


def _is_tag(member: JSONSchema) -> bool:
    """Whether a member has one possible value, which is its default: null would add nothing."""
    return "const" in member and "default" in member and member["default"] == member["const"]


def _nullable(schema: JSONSchema) -> JSONSchema:
    if "anyOf" in schema:
        options: list[JSONSchema] = schema["anyOf"]
        return schema if _NULL in options else {**schema, "anyOf": [*options, _NULL]}
    types = _types(schema)
    if "null" in types:
        return schema
    if not types or "const" in schema or "properties" in schema:
        bare = {key: schema[key] for key in schema if key != "description"}
        return _with_description({"anyOf": [bare, _NULL]}, schema.get("description"))
    nullable = {**schema, "type": [*types, "null"]}
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable


def _with_description(schema: JSONSchema, description: str | None) -> JSONSchema:
    return {**schema, "description": description} if description else schema


def _described(schema: JSONSchema, description: str | None) -> JSONSchema:
    """Say in words what the dialect has no keyword for."""
    notes: list[str] = []
    if schema.get("format", "date") not in _FORMATS:
        unknown = schema.pop("format")
        if unknown not in _SILENT_FORMATS:
            notes.append(f"format: {unknown}")
    if any(token in schema.get("pattern", "") for token in _LOOKAROUND):
        notes.append(f"pattern: {schema.pop('pattern')}")
    if notes:
        description = f"{description or ''} ({', '.join(notes)})".lstrip()
    return _with_description(schema, description)


# --- Limits --------------------------------------------------------------------------------------


def _check_limits(root: JSONSchema, definitions: Mapping[str, JSONSchema]) -> None:
    schemas = list(_walk(root, definitions))
    names = [name for schema in schemas for name in schema.get("properties", {})]
    enums: list[list[object]] = [schema["enum"] for schema in schemas if "enum" in schema]
    values = [value for enum in enums for value in enum]
    constants = [schema["const"] for schema in schemas if "const" in schema]
    characters = sum(len(str(text)) for text in [*names, *definitions, *values, *constants])
    if len(names) > _MAX_PROPERTIES:
        raise UnsupportedSchema(
            f"it has {len(names)} properties, and {_MAX_PROPERTIES} are allowed"
        )
    if characters > _MAX_CHARACTERS:
        raise UnsupportedSchema(
            f"its names and values have {characters} characters, and {_MAX_CHARACTERS} are allowed"
        )
    if len(values) > _MAX_ENUM_VALUES:
        raise UnsupportedSchema(
            f"its enumerations have {len(values)} values, and {_MAX_ENUM_VALUES} are allowed"
        )
    for enum in enums:
        length = sum(len(str(value)) for value in enum)
        if len(enum) > _LONG_ENUM and length > _MAX_LONG_ENUM_CHARACTERS:
            raise UnsupportedSchema(
                f"an enumeration of {len(enum)} values has {length} characters, and "
                f"{_MAX_LONG_ENUM_CHARACTERS} are allowed"
            )
    nesting = _nesting(root, definitions, {})
    if nesting > _MAX_NESTING:
        raise UnsupportedSchema(
            f"it has {nesting} levels of nesting, and {_MAX_NESTING} are allowed"
        )


def _walk(root: JSONSchema, definitions: Mapping[str, JSONSchema]) -> Iterator[JSONSchema]:
    found: list[JSONSchema] = []

    def visit(schema: JSONSchema) -> JSONSchema:
        found.append(schema)
        return map_subschemas(schema, visit)

    for schema in (root, *definitions.values()):
        visit(schema)
    return iter(found)


def _nesting(
    schema: JSONSchema, definitions: Mapping[str, JSONSchema], known: dict[str, int]
) -> int:
    """Count the levels of objects and arrays, each definition once on every way down."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF_PREFIX)
        if name not in known:
            # A definition that holds itself adds no level when it is met again.
            known[name] = 0
            known[name] = _nesting(definitions[name], definitions, known)
        return known[name]
    deepest = 0

    def visit(subschema: JSONSchema) -> JSONSchema:
        nonlocal deepest
        deepest = max(deepest, _nesting(subschema, definitions, known))
        return subschema

    map_subschemas(schema, visit)
    return deepest + ("properties" in schema or "items" in schema)


# --- Unions of objects ---------------------------------------------------------------------------


def _tell_options_apart(root: JSONSchema, definitions: Mapping[str, JSONSchema]) -> None:
    """Make the objects of each union differ in their first key, or in its value.

    "Objects provided via 'anyOf' must not share identical first keys": the order of the
    properties is the order in which they are generated, so the first key is what decides.
    """
    unions: list[list[JSONSchema]] = []
    for schema in _walk(root, definitions):
        options: list[JSONSchema] = [
            definitions[option["$ref"].removeprefix(REF_PREFIX)] if "$ref" in option else option
            for option in schema.get("anyOf", [])
        ]
        objects = [option for option in options if option.get("properties")]
        if len(objects) > 1:
            unions.append(objects)
    for objects in unions:
        if not _differ_at_once(objects):
            _put_own_keys_first(objects)
    if not all(_differ_at_once(objects) for objects in unions):
        raise UnsupportedSchema(
            "the objects of a union have the same keys, and no tag to tell them apart"
        )


def _differ_at_once(objects: list[JSONSchema]) -> bool:
    seen: dict[str, list[object]] = {}
    for schema in objects:
        name, first = next(iter(schema["properties"].items()))
        values: list[object] = [first["const"]] if "const" in first else first.get("enum", [])
        if name in seen and (not values or any(value in seen[name] for value in values)):
            return False
        if seen.get(name) == []:
            return False
        seen.setdefault(name, []).extend(values)
    return True


def _put_own_keys_first(objects: list[JSONSchema]) -> None:
    for schema in objects:
        properties: dict[str, JSONSchema] = schema["properties"]
        others = {name for other in objects if other is not schema for name in other["properties"]}
        own = next((name for name in properties if name not in others), None)
        if own is not None:
            schema["properties"] = {own: properties[own], **properties}
            schema["required"] = list(schema["properties"])
