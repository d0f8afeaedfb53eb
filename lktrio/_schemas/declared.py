"""What stands in the place of a default and says more than that: ``Field(default=4, ge=1)``.

This module alone knows the field specifiers of pydantic, msgspec, attrs and dataclasses. None of
them is imported for it. It does not know what bounds and descriptions mean.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs

__all__ = ["NO_DEFAULT", "Declared", "merge", "metadata_description", "read_specifier"]

NO_DEFAULT: Final = inspect.Parameter.empty
"""There is no default, or it is made anew each time."""

_ATTRS_FIELD: Final[type[object]] = type(cast("object", attrs.field()))
_ATTRS_FACTORY: Final[type[object]] = type(cast("object", attrs.Factory(list[Any])))
"""attrs.Factory is a class, and its stub is a function."""

_NO_DEFAULT_TYPES: Final = frozenset(
    ["PydanticUndefinedType", "UndefinedType", "NoDefaultType", "ellipsis"]
)
"""The classes of what pydantic (2 and 1) and msgspec put where there is no default."""

_COPIED: Final = (list, dict, set)
"""A default of these types is a new one for each call, as it is in pydantic."""


@attrs.frozen(eq=False)
class Declared:
    """What a field specifier says."""

    default: Any = NO_DEFAULT
    """The default, if that is one value."""

    make_default: Callable[[], Any] | None = None
    """Makes the default; None if there is none."""

    name: str | None = None
    """The name in JSON, if it is another one."""

    description: str | None = None
    """What its metadata say that it is for."""

    problem: str | None = None
    """What it asks for that only its own library does; None if there is nothing."""


def read_specifier(value: object) -> Declared | None:
    """Read a field specifier.

    Args:
        value: What stands in the place of a default, or in ``Annotated``.

    Returns:
        What it says; None if it is no field specifier.
    """
    if isinstance(value, dataclasses.Field):
        field = cast("Any", value)
        return attrs.evolve(
            _declared(field.default, field.default_factory),
            description=metadata_description(field.metadata),
        )
    if isinstance(value, _ATTRS_FIELD):
        return _read_attrs(value)
    if _is_pydantic(value):
        field_info = cast("Any", value)
        name = getattr(field_info, "validation_alias", None) or field_info.alias
        if _takes_values(field_info.default_factory):
            return Declared(problem="a default_factory that takes the other values is not called")
        return _declared(field_info.default, field_info.default_factory, name)
    if (type(value).__module__, type(value).__name__) == ("msgspec._core", "Field"):
        field = cast("Any", value)
        return _declared(field.default, field.default_factory, field.name)
    return None


def _is_pydantic(value: object) -> bool:
    # By name, because there are two of them, and subclasses in other libraries.
    return any(
        class_.__name__ == "FieldInfo" and class_.__module__.partition(".")[0] == "pydantic"
        for class_ in type(value).__mro__
    )


def _takes_values(factory: object) -> bool:
    """Whether a factory wants the values of the fields before it, as pydantic allows since 2.10."""
    try:
        parameters = inspect.signature(cast("Any", factory)).parameters.values()
    except (TypeError, ValueError):
        # There is none, or it is written in C and does not say.
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )


def _read_attrs(value: Any) -> Declared:
    if value._validator is not None or value.converter is not None:
        return Declared(
            problem="the validator or converter of an attrs.field is run by an attrs class only; "
            "say it in the type, for example Annotated[int, annotated_types.Ge(1)]"
        )
    default, factory = value._default, None
    if isinstance(default, _ATTRS_FACTORY):
        if cast("Any", default).takes_self:
            return Declared(problem="a factory that takes the instance is not called")
        default, factory = attrs.NOTHING, cast("Any", default).factory
    declared = _declared(default, factory, value.alias)
    return attrs.evolve(declared, description=metadata_description(value.metadata))


def _declared(default: object, factory: object, name: object = None) -> Declared:
    name = name if isinstance(name, str) else None
    if callable(factory):
        return Declared(make_default=factory, name=name)
    if (
        default is dataclasses.MISSING
        or default is attrs.NOTHING
        or type(default).__name__ in _NO_DEFAULT_TYPES
    ):
        return Declared(name=name)
    make_copy = copy.deepcopy if isinstance(default, _COPIED) else _same
    return Declared(default, functools.partial(make_copy, default), name)


def _same(value: Any) -> Any:
    return value


def merge(outer: Declared | None, inner: Declared | None) -> Declared | None:
    """Join what two specifiers of one type say; the outer one wins.

    Args:
        outer: What the one further out says.
        inner: What the one closer to the type says.

    Returns:
        What both say; None if there is none.
    """
    if outer is None or inner is None:
        return outer or inner
    defaults = outer if outer.make_default is not None else inner
    return Declared(
        defaults.default,
        defaults.make_default,
        outer.name or inner.name,
        outer.description or inner.description,
        outer.problem or inner.problem,
    )


def metadata_description(metadata: Mapping[Any, Any]) -> str | None:
    """The description among the metadata of a field, where dataclasses and attrs have one."""
    description: object = metadata.get("description")
    return description if isinstance(description, str) else None
