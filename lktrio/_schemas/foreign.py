"""Types that another library reads: pydantic models and ``msgspec.Struct`` classes.

This module alone knows their interfaces. Neither is imported for its own sake: a type of theirs
can only exist after somebody has imported the library. Values are checked by the library, in its
strict mode; only the liberties that are taken with every argument are taken before.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any, Final, get_origin

from lktrio._json import (
    JSON_TYPES,
    Mismatch,
    Problem,
    Refusal,
    is_list,
    is_object,
    is_schema,
    json_type_of,
    read_container,
)

from .leniency import read_integer, read_number
from .subschemas import REF_PREFIX, JSONSchema

__all__ = ["ForeignType", "is_foreign", "unstructure_foreign"]


def is_foreign(class_: type[Any]) -> bool:
    """Whether a class is read by its own library.

    Args:
        class_: A class.

    Returns:
        True for pydantic models, for other classes that pydantic alone can read (such as
        ``pydantic.HttpUrl``), and for ``msgspec.Struct`` classes.
    """
    return _is_pydantic(class_) or _is_msgspec(class_)


def _is_pydantic(class_: type[Any]) -> bool:
    return "pydantic" in sys.modules and hasattr(class_, "__get_pydantic_core_schema__")


def _is_msgspec(class_: type[Any]) -> bool:
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and issubclass(class_, msgspec.Struct)


class ForeignType:
    """A type of pydantic or msgspec.

    Args:
        python: The type.
    """

    def __init__(self, python: Any) -> None:
        self._validate: Callable[[object], object]
        if _is_pydantic(get_origin(python) or python):
            self.schema, self._validate = _pydantic(python)
        else:
            self.schema, self._validate = _msgspec(python)
        self.definitions = self.schema.pop("$defs", {})

    schema: JSONSchema
    """Its JSON Schema."""

    definitions: dict[str, JSONSchema]
    """What the schema refers to, by the names it uses."""

    def structure(self, value: object, *, lenient: bool, in_text: bool = False) -> object:
        """Make a value of the type.

        Args:
            value: A JSON value.
            lenient: Whether to take the liberties.
            in_text: Whether the value was itself decoded from a string, so that no string in it is.

        Returns:
            What the library makes of it.

        Raises:
            Mismatch: If the library refuses it.
        """
        if lenient:
            value = self._relax(value, self.schema, in_text)
        return self._validate(value)

    def _resolve(self, schema: JSONSchema) -> JSONSchema:
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix(REF_PREFIX)]
        return schema

    def _relax(self, value: object, schema: object, in_text: bool) -> object:
        """Take the liberties, and leave out what is null for "use the default"."""
        if not is_schema(schema):
            return value
        schema = self._resolve(schema)
        options: list[JSONSchema] = schema.get("anyOf") or schema.get("oneOf") or []
        if options:
            resolved = [self._resolve(option) for option in options]
            return self._relax_option(value, resolved, in_text)
        types = _types(schema)
        if isinstance(value, str) and not in_text and types <= {"array", "object"}:
            container = read_container(value)
            if types & _json_types(container):
                return self._relax(container, schema, in_text=True)
        if is_object(value):
            return self._relax_object(value, schema, in_text)
        if is_list(value):
            items = schema.get("prefixItems", [])
            rest = schema.get("items")
            return [
                self._relax(item, items[index] if index < len(items) else rest, in_text)
                for index, item in enumerate(value)
            ]
        if isinstance(value, str | float) and not types & _json_types(value):
            number = read_number(value) if "number" in types else None
            if number is None and "integer" in types:
                number = read_integer(value)
            return value if number is None else number
        return value

    def _relax_object(
        self, value: dict[str, object], schema: JSONSchema, in_text: bool
    ) -> dict[str, object]:
        properties: dict[str, Any] = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        relaxed: dict[str, object] = {}
        for name, member in value.items():
            if name not in properties:
                relaxed[name] = self._relax(member, schema.get("additionalProperties"), in_text)
            elif member is not None or name in required or self._accepts_null(properties[name]):
                relaxed[name] = self._relax(member, properties[name], in_text)
        return relaxed

    def _relax_option(self, value: object, options: list[JSONSchema], in_text: bool) -> object:
        fitting = [option for option in options if _may_be(value, option)]
        if not fitting and isinstance(value, str) and not in_text:
            container = read_container(value)
            if any(_types(option) & _json_types(container) for option in options if container):
                return self._relax_option(container, options, in_text=True)
        for option in fitting or options:
            relaxed = self._relax(value, option, in_text)
            if fitting or relaxed is not value:
                return relaxed
        return value

    def _accepts_null(self, schema: JSONSchema) -> bool:
        schema = self._resolve(schema)
        options: list[JSONSchema] = schema.get("anyOf") or schema.get("oneOf") or []
        if options:
            return any(self._accepts_null(option) for option in options)
        return "null" in _types(schema) and None in schema.get("enum", [None])


def _types(schema: JSONSchema) -> set[str]:
    types: str | list[str] = schema.get("type", [])
    if not types:
        return set(JSON_TYPES)
    return {types} if isinstance(types, str) else set(types)


def _json_types(value: object) -> set[str]:
    type_ = json_type_of(value)
    return {"integer", "number"} if type_ == "integer" else {type_}


def _may_be(value: object, schema: JSONSchema) -> bool:
    """Whether a value is of the right JSON type and, for an object, has the right tags."""
    if not _types(schema) & _json_types(value):
        return False
    if not is_object(value):
        return True
    properties: dict[str, Any] = schema.get("properties", {})
    for name, member in properties.items():
        allowed: list[Any] = [member["const"]] if "const" in member else member.get("enum", [])
        if allowed and name in value and value[name] not in allowed:
            return False
    return set(schema.get("required", [])) <= value.keys()


# --- pydantic ------------------------------------------------------------------------------------


def _pydantic(python: Any) -> tuple[JSONSchema, Callable[[object], object]]:
    pydantic: Any = sys.modules["pydantic"]
    adapter = pydantic.TypeAdapter(python)

    def validate(value: object) -> object:
        # From JSON text, because strict mode takes strings for dates and the like only there.
        text = json.dumps(value)
        try:
            return adapter.validate_json(text, strict=True)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
        # Not where that error is known: it quotes the value.
        raise Mismatch(
            Problem(tuple(item["loc"]), Refusal(_lower_first(item["msg"]))) for item in found
        )

    return adapter.json_schema(ref_template=REF_PREFIX + "{model}"), validate


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


# --- msgspec -------------------------------------------------------------------------------------

_MSGSPEC_PATH: Final = re.compile(r" - at `(key in )?\$(?P<path>[^`]*)`$")
_MSGSPEC_STEP: Final = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>[0-9]+)\]")


def _msgspec(python: Any) -> tuple[JSONSchema, Callable[[object], object]]:
    msgspec: Any = sys.modules["msgspec"]

    def validate(value: object) -> object:
        try:
            return msgspec.convert(value, python, strict=True)
        except msgspec.ValidationError as error:
            problem = _msgspec_problem(str(error))
        raise Mismatch([problem])

    return msgspec.json.schema(python), validate


def _msgspec_problem(message: str) -> Problem:
    match = _MSGSPEC_PATH.search(message)
    if match is None:
        return Problem((), Refusal(_lower_first(message)))
    steps = _MSGSPEC_STEP.finditer(match["path"])
    path = tuple(step["name"] or int(step["index"]) for step in steps)
    return Problem(path, Refusal(_lower_first(message[: match.start()])))


def unstructure_foreign(value: object) -> object:
    """Write an instance of a foreign class as a JSON value.

    Args:
        value: Anything.

    Returns:
        The JSON value; None if the value is not foreign.
    """
    dump: Callable[..., object] | None = getattr(value, "model_dump", None)
    if dump is not None and _is_pydantic(type(value)):
        return dump(mode="json", by_alias=True)
    if _is_msgspec(type(value)):
        write: Callable[[object], object] = sys.modules["msgspec"].to_builtins
        return write(value)
    return None
