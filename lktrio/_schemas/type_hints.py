"""How annotations are written: strings, ``Annotated``, aliases, and type variables filled in.

This module alone knows the typing machinery of the Python versions. It knows nothing of JSON, and
nothing of what the types it finds are good for.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, Protocol, TypeVar, Union, cast

from .metadata import read_metadata

__all__ = [
    "UnresolvedAnnotation",
    "UnsupportedType",
    "class_hints",
    "definition_name",
    "evaluate",
    "globals_of",
    "hashable",
    "is_type_alias",
    "lookup_key",
    "peel",
    "shown_type",
    "substitute",
    "type_parameters",
    "upper_bound",
    "wrapper_names",
]


class UnsupportedType(TypeError):
    """A type has no JSON form. The message says which type and what to use instead."""


class UnresolvedAnnotation(UnsupportedType):
    """A name in an annotation is not defined; it may be later."""


# --- Strings -------------------------------------------------------------------------------------


def evaluate(annotation: object, module: Mapping[str, Any], local: Mapping[str, Any]) -> Any:
    """Evaluate the strings in an annotation.

    Args:
        annotation: An annotation as it was found.
        module: The globals of the module it was found in.
        local: Names beyond those.

    Returns:
        The annotation, without strings; ``Annotated`` is kept.

    Raises:
        UnresolvedAnnotation: If a name in it is not defined.
        UnsupportedType: If it cannot be evaluated.
    """
    # A class, because in classes alone ClassVar and Final are allowed.
    holder = type("holder", (), {"__annotations__": {"it": annotation}})
    try:
        return typing.get_type_hints(holder, dict(module), dict(local), include_extras=True)["it"]
    except NameError as error:
        raise _unresolved(annotation, error) from None
    except (TypeError, SyntaxError, AttributeError) as error:
        raise UnsupportedType(f"annotation {annotation!r} cannot be evaluated ({error})") from None


def class_hints(type_: object, class_: type[Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a class and its bases, evaluated, with type variables filled in.

    Args:
        type_: The class, or a generic alias of it.
        class_: The class.
        scope: Names of the local scope.

    Returns:
        The annotations by name, those of the bases first.

    Raises:
        UnresolvedAnnotation: If a name in one of them is not defined.
        UnsupportedType: If one cannot be evaluated.
    """
    hints: dict[str, Any] = {}
    arguments = _type_arguments(type_)
    for base in reversed(class_.__mro__):
        try:
            own = inspect.get_annotations(base)
        except NameError as error:  # annotations are evaluated lazily from Python 3.14 on
            raise _unresolved(f"of {base.__qualname__}", error) from None
        for name, annotation in own.items():
            # The class may be local, and name itself.
            local = {**scope, base.__name__: base, **type_parameters(base)}
            resolved = evaluate(annotation, globals_of(base), local)
            hints[name] = substitute(resolved, arguments.get(base, {}))
    return hints


def _unresolved(annotation: object, error: NameError) -> UnresolvedAnnotation:
    return UnresolvedAnnotation(
        f"annotation {annotation!r} cannot be evaluated: {error}; define or import the name where "
        "it is used, and not only under `if TYPE_CHECKING:`"
    )


def globals_of(definition: object) -> dict[str, Any]:
    """The globals of the module in which a class or alias is defined, as far as it is known."""
    module = sys.modules.get(definition.__module__)
    return dict(vars(module)) if module is not None else {}


def type_parameters(definition: object) -> dict[str, Any]:
    """The type parameters that a definition declares in brackets, by name (PEP 695).

    Args:
        definition: A class, function or type alias.

    Returns:
        What a string annotation in it may name. Empty before Python 3.12.
    """
    parameters: tuple[Any, ...] = getattr(definition, "__type_params__", ())
    return {parameter.__name__: parameter for parameter in parameters}


# --- What stands around a type -------------------------------------------------------------------

_WRAPPERS: Final = ("Final", "Required", "NotRequired", "ReadOnly")


def peel(type_: object) -> tuple[Any, tuple[Any, ...]] | None:
    """Take one ``Annotated``, ``NewType``, ``Final`` or the like off.

    Args:
        type_: A type.

    Returns:
        What was in it, and its metadata. None if it is no such thing.
    """
    if isinstance(type_, type):
        return None
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        inner, *metadata = typing.get_args(type_)
        return inner, tuple(metadata)
    if origin in (Union, types.UnionType, Literal) or isinstance(origin, type):
        return None
    if isinstance(type_, typing.NewType):
        return type_.__supertype__, ()
    if _special_form(type_) in _WRAPPERS:
        return typing.get_args(type_)[0], ()
    return None


def hashable(type_: object) -> Any:
    """Make a type that can be looked up.

    Args:
        type_: A type. ``Annotated`` metadata in it may be impossible to hash.

    Returns:
        The type; what its metadata mean here is in the place of such metadata.
    """
    try:
        hash(type_)
    except TypeError:
        pass
    else:
        return type_
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        annotated, *metadata = typing.get_args(type_)
        inner = hashable(annotated)
        found = [part for part in read_metadata(metadata) if part is not None]
        return typing.Annotated[(inner, *found)] if found else inner
    if origin is None:
        return type_
    args = tuple(hashable(arg) for arg in typing.get_args(type_))
    if origin in (Union, types.UnionType):  # pragma: no cover - none can be made before 3.13
        return Union[args]  # noqa: UP007  the members are known at run time
    copy_with: Callable[[Any], Any] | None = getattr(type_, "copy_with", None)
    return origin[args] if copy_with is None else copy_with(args)


def wrapper_names(type_: object) -> set[str]:
    """The names of what stands around a type, such as ``Required``; ``Annotated`` is one."""
    names: set[str] = set()
    while (name := _special_form(type_)) in _WRAPPERS or name == "Annotated":
        names.add(name)
        type_ = typing.get_args(type_)[0]
    return names


def _special_form(type_: object) -> str:
    # By name, because typing_extensions has forms of its own.
    origin: Any = typing.get_origin(type_)
    if origin is typing.Annotated:
        return "Annotated"
    return "" if origin is None or isinstance(origin, type) else repr(origin).rpartition(".")[2]


def upper_bound(variable: Any) -> Any:
    """What a type variable that nobody has filled in stands for.

    Args:
        variable: The type variable.

    Returns:
        Its bound, the union of its constraints, or ``Any``.
    """
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007  the members are known at run time
    return variable.__bound__ if variable.__bound__ is not None else Any


def is_type_alias(type_: object) -> bool:
    """Whether a type was defined by a ``type`` statement."""
    # typing has it from Python 3.12 on, typing_extensions before.
    return type(type_).__name__ == "TypeAliasType"


def lookup_key(type_: object) -> Any:
    """What a type is looked up by: itself if it can be hashed."""
    try:
        hash(type_)
    except TypeError:
        # There is ``Annotated`` metadata in it that cannot be hashed.
        return repr(type_)
    return type_


def shown_type(type_: object) -> str:
    """A type as it is named in messages."""
    return type_.__qualname__ if isinstance(type_, type) else repr(type_).replace("typing.", "")


def definition_name(type_: object) -> str:
    """A name for a class, an alias, or one of those with arguments."""
    origin: Any = typing.get_origin(type_) or type_
    names = [origin.__name__, *(_argument_name(arg) for arg in typing.get_args(type_))]
    return "_".join(names)


def _argument_name(type_: object) -> str:
    name = definition_name(type_) if hasattr(type_, "__name__") else repr(type_)
    return "".join(character if character.isalnum() else "_" for character in name)


# --- Generics ------------------------------------------------------------------------------------


def substitute(type_: object, arguments: Mapping[Any, Any]) -> Any:
    """Put arguments in the place of type variables."""
    if isinstance(type_, TypeVar):
        return arguments.get(type_, type_)
    parameters = () if inspect.isclass(type_) else _parameters(type_)
    if not parameters:
        return type_
    return cast("Any", type_)[
        tuple(arguments.get(parameter, parameter) for parameter in parameters)
    ]


def _parameters(type_: object) -> tuple[Any, ...]:
    return getattr(type_, "__parameters__", ())


def _type_arguments(type_: object) -> dict[Any, dict[Any, Any]]:
    """For each generic base of a type, what its type variables stand for."""
    origin = typing.get_origin(type_) or type_
    own = dict(zip(_parameters(origin), typing.get_args(type_), strict=False))
    arguments = {origin: own}
    for base in getattr(origin, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, Generic, Protocol):
            arguments.update(_type_arguments(substitute(base, own)))
    return arguments
