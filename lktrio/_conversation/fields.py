"""What a field of a conversation's item takes: checks, copies and defaults.

An error begins with the name of the field, so that a path can be put before it. This module does
not know the items.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import attrs

from lktrio._checks import shown

__all__ = [
    "UnknownType",
    "check_arguments",
    "check_bool",
    "check_names",
    "check_optional_int",
    "check_optional_number",
    "check_optional_text",
    "check_output",
    "check_text",
    "check_word",
    "copy_mapping",
    "new_image_id",
    "new_item_id",
    "refusal",
    "show_image",
    "to_audio",
    "to_file",
    "to_frames",
    "to_image",
    "to_names",
    "to_seconds",
]


def new_item_id() -> str:
    """Make up the id of an item."""
    return f"item_{secrets.token_hex(6)}"


def new_image_id() -> str:
    """Make up the id of an image."""
    return f"img_{secrets.token_hex(6)}"


# Checks.

_Check: TypeAlias = Callable[[object, "attrs.Attribute[Any]", object], None]


def refusal(name: str, value: object, wanted: str) -> str:
    """What is said of a value that a field does not take."""
    return f"{name}={shown(value)} is not accepted; it takes {wanted}"


def _check(wanted: str, *kinds: type) -> _Check:
    takes_number = int in kinds

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds) or (takes_number and isinstance(value, bool)):
            raise TypeError(refusal(attribute.name, value, wanted))

    return check


check_text: Final = _check("a string", str)
check_optional_text: Final = _check("a string or None", str, NoneType)
check_bool: Final = _check("True or False", bool)
check_optional_number: Final = _check("a number or None", int, float, NoneType)
check_optional_int: Final = _check("a number of pixels or None", int, NoneType)
check_arguments: Final = _check("JSON text: json.dumps(arguments)", str)
check_output: Final = _check("text, for example json.dumps(output)", str)


def check_word(literal: object) -> _Check:
    """Make the check of a field that takes the words of a `typing.Literal`."""
    words: tuple[str, ...] = get_args(literal)

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            wanted = ", ".join(map(repr, words[:-1])) + f" or {words[-1]!r}"
            error = ValueError if isinstance(value, str) else TypeError
            raise error(refusal(attribute.name, value, wanted))

    return check


def check_names(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is neither a list of strings nor None."""
    if value is not None and not _is_list_of_text(value):
        raise TypeError(refusal(attribute.name, value, "a list of names or None"))


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(member, str) for member in cast("list[object]", value)
    )


# Converters. Containers are copied, so that no two values and no caller share one.


def to_seconds(value: float) -> float:
    """Read a time."""
    wanted = "seconds since the epoch, as time.time() gives them"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(refusal("created_at", value, wanted))
    if not math.isfinite(value):
        raise ValueError(refusal("created_at", value, wanted))
    return float(value)


if TYPE_CHECKING:
    # A word that no other kind has, so that `item.type == "message"` tells a checker the class. (A
    # converter that took any string would keep pyright from it.)
    UnknownType: TypeAlias = Literal["(unknown)"]
else:
    UnknownType = str


def to_names(value: Sequence[str] | None) -> list[str] | None:
    """Copy a list of names."""
    # Anything else is left to the check, which knows the name of the field.
    return list(value) if isinstance(value, list | tuple) else cast("None", value)


def to_frames(value: Sequence[Any]) -> list[Any]:
    """Copy a list of audio frames."""
    if not isinstance(value, list | tuple):
        raise TypeError(refusal("frame", value, "a list of saved audio frames"))
    return list(value)


def to_image(value: str | bytes | bytearray | memoryview) -> str | bytes:
    """Freeze an image."""
    return _frozen("image", value, "a URL, a data URL or the bytes of an encoded image")


def to_audio(value: str | bytes | bytearray | memoryview | None) -> str | bytes | None:
    """Freeze a sound."""
    if value is None:
        return None
    return _frozen(
        "audio",
        value,
        "the bytes of an encoded sound, or a data URL; a file is read by AudioContent.from_path()",
    )


def to_file(value: str | bytes | bytearray | memoryview | None) -> str | bytes | None:
    """Freeze a file."""
    if value is None:
        return None
    return _frozen(
        "file",
        value,
        "the bytes of a file, a data URL or a URL; a file is read by FileContent.from_path()",
    )


def _frozen(name: str, value: object, wanted: str) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(cast("bytearray", value))
    raise TypeError(refusal(name, value, wanted))


def copy_mapping(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the mapping that is given to the field of that name."""
    if not isinstance(value, Mapping):
        raise TypeError(refusal(name, value, "a dict"))
    return dict(value)


def show_image(image: str | bytes | None) -> str:
    """A short ``repr`` of an image, or of what else is encoded."""
    return f"<{len(image)} bytes>" if isinstance(image, bytes) else shown(image)
