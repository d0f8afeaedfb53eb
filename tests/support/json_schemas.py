"""Two readings of JSON Schemas, for tests: what one means, and whether one is strict.

Neither shares a line with the package: they are what its schemas are measured by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema

TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def is_valid(schema: dict[str, Any]) -> bool:
    """Whether it is a JSON Schema at all."""
    jsonschema.Draft202012Validator.check_schema(schema)
    return True


def fits(value: object, schema: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


# --- Meaning -------------------------------------------------------------------------------------


def meaning(schema: dict[str, Any]) -> Any:
    """A form that is equal for schemas that mean the same.

    Titles, the order of keys, white space in descriptions, and how a choice is written do not
    matter. The order of properties does.
    """
    return _meaning(schema, schema.get("$defs", {}), ())


def _meaning(schema: Any, definitions: dict[str, Any], above: tuple[str, ...]) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name in above:
            return ("recursive", name)
        schema = {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
        above = (*above, name)
    described = {
        key: " ".join(value.split()) if isinstance(value, str) else value
        for key, value in schema.items()
        if key in ("description", "default")
    }
    return (
        described,
        sorted((_one(option, definitions, above) for option in _options(schema)), key=repr),
    )


def _options(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema as alternatives of one type each."""
    rest = {key: value for key, value in schema.items() if key not in ("description", "default")}
    if "anyOf" in rest:
        for option in rest["anyOf"]:
            yield option if "$ref" in option else {**option}
        return
    values = [rest["const"]] if "const" in rest else rest.get("enum")
    if values is not None:
        for value in values:
            yield (
                {"type": TYPES[type(value)], "value": value}
                if value is not None
                else {"type": "null"}
            )
        return
    types = rest.get("type")
    for type_ in types if isinstance(types, list) else [types]:
        yield rest if type_ is None else {**_keywords_for(type_, rest), "type": type_}


def _keywords_for(type_: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {} if type_ == "null" else schema


def _one(option: dict[str, Any], definitions: dict[str, Any], above: tuple[str, ...]) -> Any:
    if "$ref" in option or "anyOf" in option or "enum" in option or "const" in option:
        return _meaning(option, definitions, above)
    form: dict[str, Any] = {}
    for key, value in option.items():
        match key:
            case "title" | "$defs":
                continue
            case "properties":
                form[key] = [(name, _meaning(v, definitions, above)) for name, v in value.items()]
            case "items" | "additionalProperties" if isinstance(value, dict):
                form[key] = _meaning(value, definitions, above)
            case "prefixItems":
                form[key] = [_meaning(item, definitions, above) for item in value]
            case "required":
                form[key] = sorted(value)
            case _:
                form[key] = value
    return dict(sorted(form.items()))


# --- The strict dialect --------------------------------------------------------------------------
# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas

KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"pattern", "format", "minLength", "maxLength", "enum", "const"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "boolean": set[str](),
    "null": set[str](),
}
FORMATS = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]


def strict_problems(schema: dict[str, Any]) -> list[str]:
    """Everything that keeps a schema from being strict."""
    checker = _Checker(schema.get("$defs", {}))
    root = {key: value for key, value in schema.items() if key != "$defs"}
    if root.get("type") != "object":
        checker.problems.append("$: the root is not an object")
    checker.check(root, "$")
    for name, definition in checker.definitions.items():
        checker.check(definition, f"$defs/{name}")
    checker.check_sizes(root)
    return checker.problems


class _Checker:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self.problems: list[str] = []
        self.properties: list[str] = []
        self.values: list[list[object]] = []

    def check(self, schema: Any, path: str) -> None:
        if not isinstance(schema, dict):
            self.problems.append(f"{path}: not an object")
            return
        if "$ref" in schema:
            if set(schema) != {"$ref"}:
                self.problems.append(f"{path}: $ref has keywords beside it")
            if schema["$ref"].removeprefix("#/$defs/") not in self.definitions:
                self.problems.append(f"{path}: $ref to nowhere")
            return
        if "anyOf" in schema:
            if set(schema) - {"anyOf", "description"}:
                self.problems.append(f"{path}: anyOf has keywords beside it")
            for index, option in enumerate(schema["anyOf"]):
                self.check(option, f"{path}/anyOf/{index}")
            return
        types = schema.get("type")
        types = types if isinstance(types, list) else [types]
        if None in types:
            self.problems.append(f"{path}: no type")
            return
        allowed = {"type", "description", "enum", "const"}.union(*(KEYWORDS[t] for t in types))
        self.problems += [f"{path}: {key} is not permitted" for key in set(schema) - allowed]
        self.values += [schema[key] for key in ("enum",) if key in schema]
        self.values += [[schema["const"]] for key in ("const",) if key in schema]
        if schema.get("format", "date") not in FORMATS:
            self.problems.append(f"{path}: format {schema['format']} is not supported")
        if "object" in types:
            self.check_object(schema, path)
        if "array" in types:
            self.check(schema.get("items"), f"{path}/items")

    def check_object(self, schema: dict[str, Any], path: str) -> None:
        properties = schema.get("properties", {})
        self.properties += properties
        if schema.get("additionalProperties") is not False:
            self.problems.append(f"{path}: additionalProperties is not false")
        if list(properties) != schema.get("required", []):
            self.problems.append(f"{path}: not all properties are required")
        for name, member in properties.items():
            self.check(member, f"{path}/{name}")

    def check_sizes(self, root: dict[str, Any]) -> None:
        values = [value for enum in self.values for value in enum]
        text = "".join(map(str, [*self.properties, *self.definitions, *values]))
        limits = {
            "properties": (len(self.properties), 5000),
            "characters": (len(text), 120_000),
            "values": (len(values), 1000),
            "levels": (self.depth(root, ()), 10),
        }
        self.problems += [f"$: {n} {what}" for what, (n, most) in limits.items() if n > most]
        for enum in self.values:
            if len(enum) > 250 and len("".join(map(str, enum))) > 15_000:
                self.problems.append("$: an enum is too long")

    def depth(self, schema: Any, above: tuple[str, ...]) -> int:
        if not isinstance(schema, dict):
            return 0
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            if name in above or name not in self.definitions:
                return 0
            return self.depth(self.definitions[name], (*above, name))
        children = [
            *schema.get("anyOf", []),
            *schema.get("properties", {}).values(),
            *([schema["items"]] if "items" in schema else []),
        ]
        below = max((self.depth(child, above) for child in children), default=0)
        return below + ("properties" in schema or "items" in schema)
