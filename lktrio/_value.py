"""What values made by attrs have in common: they are equal if their fields are, and show them.

This module knows settings, items of a conversation and what hides a field in its `repr`; the values
of a stream are structs of msgspec. attrs would write these methods for each class, and compile them
whenever the package is imported, for half a millisecond a class. Written once, they are left out
of the classes by ``attrs.frozen(eq=False, repr=False)``.
"""

from __future__ import annotations

import functools
import operator
import reprlib
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Value"]


class Value:
    """A frozen attrs class that is compared and shown by its fields, as attrs would do it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        cls: Any = type(self)
        fields = _fields_of(cls)
        return bool(fields(self) == fields(other))

    def __hash__(self) -> int:
        cls: Any = type(self)
        return hash((cls, _fields_of(cls)(self)))

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        cls: Any = type(self)
        shown = [f"{name}={show(getattr(self, name))}" for name, show in _shown_of(cls)]
        return f"{cls.__qualname__.rsplit('>.', 1)[-1]}({', '.join(shown)})"


@functools.cache
def _fields_of(cls: Any) -> Callable[[object], object]:
    return operator.attrgetter(*(field.name for field in attrs.fields(cls) if field.eq))


@functools.cache
def _shown_of(cls: Any) -> list[tuple[str, Callable[[Any], object]]]:
    return [
        (field.name, field.repr if callable(field.repr) else repr)
        for field in attrs.fields(cls)
        if field.repr
    ]
