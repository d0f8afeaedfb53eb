"""``Annotated`` metadata: constraints, descriptions, and the field specifiers among them.

This module alone knows by which attributes annotated_types, msgspec, pydantic and typing_extensions
say what. It does not know how a value is held to a constraint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from .declared import Declared, merge, read_specifier

__all__ = ["Constraints", "read_metadata"]


@attrs.frozen(eq=False)
class Constraints:
    """What is said of a value beyond its type."""

    ge: Any = None
    """At least this."""

    gt: Any = None
    """More than this."""

    le: Any = None
    """At most this."""

    lt: Any = None
    """Less than this."""

    multiple_of: Any = None
    """A multiple of this."""

    min_length: int | None = None
    """At least this long."""

    max_length: int | None = None
    """At most this long."""

    pattern: str | None = None
    """Matched by this regular expression somewhere."""


_CONSTRAINTS: Final = tuple(attribute.name for attribute in attrs.fields(Constraints))


def read_metadata(
    metadata: Iterable[Any],
) -> tuple[Constraints | None, str | None, Declared | None]:
    """Read ``Annotated`` metadata by the names of its attributes.

    That covers annotated_types, ``typing_extensions.Doc``, ``msgspec.Meta`` and pydantic's
    ``Field`` (which keeps its constraints in a list) without importing any of them.

    Args:
        metadata: The metadata, the innermost first.

    Returns:
        What they say of values, a description, and what a field specifier says; None where they
        say nothing.
    """
    found: dict[str, Any] = {}
    description: str | None = None
    declared: Declared | None = None
    for item in metadata:
        if isinstance(item, str):
            description = item
            continue
        if isinstance(item, Declared):
            declared = merge(item, declared)
            continue
        if isinstance(item, type):
            continue
        specifier = read_specifier(item)
        if specifier is not None:
            declared = merge(specifier, declared)
            description = specifier.description or description
        nested: object = getattr(item, "metadata", None)
        parts: list[Any] = [item, *nested] if isinstance(nested, list) else [item]
        for part in parts:
            for name in _CONSTRAINTS:
                value: object = getattr(part, name, None)
                if value is not None and not callable(value):
                    found[name] = value
        for name in ("description", "documentation"):
            text: object = getattr(item, name, None)
            if isinstance(text, str):
                description = text
    return (Constraints(**found) if found else None), description, declared
