"""Which Python values are JSON values, and where in a value one is not.

``msgspec`` writes NaN as null, a set as a list and bytes as base64; here they are mistakes that
are named, with the path to them. This module knows nothing of what the values mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard

import msgspec

from lktrio._checks import shown

from .mismatch import Mismatch, Path, refused

__all__ = [
    "JSON_TYPES",
    "check_depth",
    "check_json",
    "check_json_value",
    "check_text",
    "encode_json",
    "is_array",
    "is_json",
    "is_list",
    "is_mapping",
    "is_object",
    "is_schema",
    "json_type_of",
    "plain_json",
    "plain_object",
    "shown",
    "way_to",
]

JSON_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
"""The types of JSON Schema, by name."""

_MAX_DEPTH: Final = 100
"""Levels of nesting; a container that holds itself is found by it, too."""

_SHOWN_STEPS: Final = 8
"""Steps of a path that an error message shows."""


# --- What a type checker is told -----------------------------------------------------------------
# It knows of a dict no more than that it is one. That the names in an object of JSON are strings
# is known here.


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_schema(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a part of a JSON Schema is a schema with keywords."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether a JSON value is an array."""
    return isinstance(value, list)


def is_array(value: object) -> TypeGuard[Sequence[object]]:
    """Whether a value of a program is written as an array."""
    return isinstance(value, (list, tuple))


def is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether a value of a program is written as an object."""
    return isinstance(value, (dict, Mapping))


def json_type_of(value: object) -> str:
    """The JSON type of a value, or an empty string if it has none."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case Mapping():
            return "object"
        case _:
            return ""


def check_json(value: object, path: str) -> None:
    """Make sure that a value can be written as JSON and read back as what was meant.

    Accepted are None, booleans, finite numbers, strings, lists, tuples and mappings with string
    keys, and instances of their subclasses.

    Args:
        value: The value.
        path: What the caller calls it, for example ``"extra_body.top_k"``.

    Raises:
        TypeError: If it holds something else. The message names the path to it.
        ValueError: If it holds NaN, infinity, an integer of more than 64 bits, a lone
            surrogate, more than 100 levels of nesting, or itself.
    """
    try:
        check_json_value(value)
    except Mismatch as mismatch:
        (problem,) = mismatch.problems
    else:
        return
    kind = TypeError if problem.cause.is_wrong_type else ValueError
    raise kind(f"{path}{way_to(problem.path)} {problem.message}")


def check_json_value(value: object) -> None:
    """Make sure that a value can be written as JSON, as `check_json` does.

    Args:
        value: The value.

    Raises:
        Mismatch: If it cannot. It has one problem.
    """
    _check(value, _MAX_DEPTH)


def is_json(value: object) -> bool:
    """Whether a value can be written as JSON, as `check_json` demands."""
    try:
        check_json_value(value)
    except Mismatch:
        return False
    return True


def way_to(path: Path) -> str:
    """A path in a value as the author of a program would write it, to follow a name.

    Args:
        path: Names of members, and positions in lists.

    Returns:
        The first few steps, for example ``.tools[0]["a b"]``.
    """
    steps = [
        f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]"
        for step in path[:_SHOWN_STEPS]
    ]
    return "".join(steps) + ("..." if len(path) > _SHOWN_STEPS else "")


def check_depth(value: object, path: str) -> None:
    """Make sure that mappings and lists are not nested so deeply that a copy of them would fail.

    Args:
        value: The value. What is no mapping, list or tuple has no levels.
        path: What the caller calls it.

    Raises:
        ValueError: It has more than 100 levels of nesting, or holds itself.
    """
    level: dict[int, object] = {id(value): value}
    for _ in range(_MAX_DEPTH + 1):
        level = {id(one): one for each in level.values() for one in _parts_of(each)}
        if not level:
            return
    raise ValueError(f"{path} {_TOO_DEEP}")


# Named, so that type checkers leave what is taken from a value an object.
_HOLDERS: tuple[type[object], ...] = (Mapping, list, tuple)


def _parts_of(value: object) -> Iterable[object]:
    if is_mapping(value):
        parts: Iterable[object] = value.values()
    elif is_array(value):
        parts = value
    else:
        return ()
    return (part for part in parts if isinstance(part, _HOLDERS))


def check_text(text: str, path: str) -> None:
    """Make sure that a string can be written as UTF-8.

    Args:
        text: The string.
        path: What the caller calls it.

    Raises:
        ValueError: If it holds half of a surrogate pair. The message names path and position,
            never the text.
    """
    if not text.isascii():
        problem = _surrogate_problem(text)
        if problem is not None:
            raise ValueError(f"{path} {problem}")


def _check(value: object, depth: int) -> None:
    # Paths are put together on the way out of an error only: the walk runs on every request.
    if isinstance(value, str):
        if not value.isascii():
            problem = _surrogate_problem(value)
            if problem is not None:
                raise refused(problem)
    elif value is None or isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise refused("is an integer of more than 64 bits; send it as a string instead")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise refused(f"is {value}, which JSON has no word for; send None instead")
    elif is_object(value):
        _check_members(value, depth)
    elif is_array(value):
        _check_elements(value, depth)
    elif is_mapping(value):
        _check_members(value, depth)
    else:
        raise refused(
            f"is of type {type(value).__name__}, which is not a JSON value; convert it to a "
            f"string, number, bool, None, list or dict",
            is_wrong_type=True,
        )


def _check_members(members: Mapping[str, object], depth: int) -> None:
    if not depth:
        raise refused(_TOO_DEEP)
    for key, member in members.items():
        if not _is_name(key):
            raise refused(
                f"has the key {shown(key)} of type {type(key).__name__}; keys of a JSON object "
                f"are strings",
                is_wrong_type=True,
            )
        try:
            if not key.isascii():
                _check(key, depth)
            _check(member, depth - 1)
        except Mismatch as mismatch:
            mismatch.problems = tuple(mismatch.under(key))
            raise


def _is_name(key: object) -> bool:
    return isinstance(key, str)


def _check_elements(elements: Sequence[object], depth: int) -> None:
    if not depth:
        raise refused(_TOO_DEEP)
    for index, element in enumerate(elements):
        try:
            _check(element, depth - 1)
        except Mismatch as mismatch:
            mismatch.problems = tuple(mismatch.under(index))
            raise


_TOO_DEEP: Final = f"has more than {_MAX_DEPTH} levels of nesting, or holds itself; flatten it"


def _surrogate_problem(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"has a lone surrogate (U+{ord(text[error.start]):04X}) at position {error.start}, "
            f"which cannot be sent as UTF-8; replace it with U+FFFD, or repair the text with "
            f"text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
        )
    return None


def encode_json(value: object) -> bytes:
    """Write a value that `check_json` has accepted as compact UTF-8 JSON.

    Args:
        value: A checked value.

    Returns:
        The JSON text.
    """
    return _encoder.encode(value)


def plain_object(value: Mapping[str, object]) -> dict[str, Any]:
    """Copy an object that `check_json` has accepted, as `plain_json` does."""
    return {str.__str__(name): plain_json(member) for name, member in value.items()}


def plain_json(value: object) -> object:
    """Copy a value that `check_json` has accepted.

    Args:
        value: A checked value.

    Returns:
        The value made of dict, list, str, int, float, bool and None, and of none of their
        subclasses. It shares no container with ``value``.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if is_array(value):
        return [plain_json(item) for item in value]
    if is_mapping(value):
        return plain_object(value)
    raise AssertionError(f"{type(value).__name__} was not checked")  # pragma: no cover - it was


def _plain(value: object) -> object:
    """Strip a subclass (such as ``numpy.float64``) down to what msgspec knows by its type."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    # msgspec asks for what it does not know: what is left is a mapping.
    return dict(value) if is_mapping(value) else value


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)
