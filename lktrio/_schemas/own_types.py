"""What a program has said of types of its own: hooks, schemas, and the strategies of cattrs.

A strategy hands a converter a function that hides what it knows in its default arguments. This
module alone looks for it there: a schema has to say what the function will ask for, and a model is
to be told which tag was wrong. It converts nothing.

Source: https://catt.rs/en/stable/strategies.html
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, Union, cast

import attrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from lktrio._json import (
    JSON_TYPES,
    Mismatch,
    Problem,
    Refusal,
    check_json,
    is_list,
    is_mapping,
    is_object,
    json_type_of,
    plain_object,
)

from .descriptions import Refused
from .leaves import Hook
from .shapes import Custom, Member

__all__ = [
    "Family",
    "Predicate",
    "Registry",
    "TaggedUnion",
    "check_schema",
    "guarded",
    "is_of_strategy",
    "is_ours",
    "recognise",
    "union_of_subclasses",
]

Predicate: TypeAlias = Callable[[Any], bool]
"""Takes a type, and says whether a hook is for it."""


# --- Strategies ----------------------------------------------------------------------------------

_STRATEGIES: Final = "cattrs.strategies."


class _Strategy(Protocol):
    def members(self, family: Iterable[Any]) -> tuple[Member, ...]:
        """The classes that a type stands for; ``family`` are all that have subclasses included."""
        ...


@attrs.frozen(eq=False)
class TaggedUnion:
    """What ``configure_tagged_union`` has set up."""

    tag_name: str
    _hooks: Mapping[Any, Callable[..., Any]]
    _default: Any

    def members(self, family: Iterable[Any]) -> tuple[Member, ...]:  # noqa: ARG002  it has its own
        """The classes and their tags. They are known once the strategy has returned."""
        tags: dict[Any, list[Any]] = {}
        for tag, hook in self._hooks.items():
            tags.setdefault(_defaults(hook)["_cl"], []).append(tag)
        return tuple(
            Member(
                type=class_,
                tag_name=self.tag_name,
                tags=tuple(own),
                is_default=class_ is self._default,
                other_tags=tuple(tag for tag in self._hooks if tag not in own),
            )
            for class_, own in tags.items()
        )


@attrs.frozen(eq=False)
class Family:
    """What ``include_subclasses`` has set up for one class."""

    base: Any

    is_plain: bool
    """Whether the class is read by its fields as they are, none of them renamed by an override."""

    def members(self, family: Iterable[Any]) -> tuple[Member, ...]:
        """The class, and those of the family's classes that inherit from it."""
        base = typing.get_origin(self.base) or self.base
        return tuple(
            Member(class_)
            for class_ in family
            if issubclass(typing.get_origin(class_) or class_, base)
        )


def recognise(hook: Callable[..., Any]) -> TaggedUnion | Family | None:
    """Read what a strategy has hidden in a hook.

    Args:
        hook: The function that it registers.

    Returns:
        What the strategy has set up. None if the hook is none of a strategy's, or none that can
        be read.
    """
    if not is_of_strategy(hook):
        return None
    known = _defaults(hook)
    hooks: object = known.get("_tag_to_cl", known.get("_tag_to_hook"))
    if isinstance(hooks, dict) and isinstance(known.get("_tag_name"), str):
        return TaggedUnion(
            known["_tag_name"], cast("dict[object, Any]", hooks), known.get("_default")
        )
    if "_cl" in known and "_base_hook" in known:
        return Family(known["_cl"], is_ours(known["_base_hook"]))
    return None


def union_of_subclasses(hook: Callable[..., Any]) -> Any:
    """The union that a class stands for by ``include_subclasses`` with a strategy for unions.

    Args:
        hook: The function that is registered for the class.

    Returns:
        The union; None if the function is none of the strategy's.
    """
    return _defaults(hook).get("_u") if is_of_strategy(hook) else None


def is_ours(hook: object) -> bool:
    """Whether a hook is one of this package.

    Args:
        hook: A hook.

    Returns:
        True if it is.
    """
    return _module_of(hook).partition(".")[0] == __name__.partition(".")[0]


def is_of_strategy(function: object) -> bool:
    """Whether a function is one of a strategy of cattrs.

    Args:
        function: A hook, or a predicate.

    Returns:
        True if it is.
    """
    return _module_of(function).startswith(_STRATEGIES)


def _module_of(function: object) -> str:
    # Functions made by `exec` have none.
    return getattr(function, "__module__", None) or ""


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }


# --- What is known of types ----------------------------------------------------------------------


class Registry:
    """What a converter was told of types."""

    def __init__(self) -> None:
        self._readers: list[Predicate] = []
        self._writers: list[Predicate] = []
        self._schemas: list[Custom] = []
        self._strategies: list[tuple[Any, _Strategy]] = []
        self._members: dict[int, tuple[Member, ...] | None] = {}
        self._interns: dict[Any, Member] = {}
        self.unions: list[Any] = []
        """The unions that are read as a whole."""
        self.writes_declared = False
        """Whether there is a hook that writes values by what they are declared as."""

    def add_hook(
        self, type_: object, predicate: Predicate | None = None, *, writes: bool = False
    ) -> None:
        """Take note of a hook.

        Args:
            type_: What it is for; ignored if there is a predicate.
            predicate: Says what it is for.
            writes: Whether it writes values. Otherwise it reads them.
        """
        if predicate is None:
            self._add_union(type_)
        if writes and not isinstance(type_, type):
            self.writes_declared = True
        (self._writers if writes else self._readers).append(predicate or _is_of(type_))

    def add_strategy(self, type_: object, strategy: _Strategy) -> None:
        """Take note of what a strategy has set up.

        Args:
            type_: The type it was set up for.
            strategy: What it is.
        """
        self._strategies.append((type_, strategy))
        self._members.clear()
        self._add_union(type_)

    def add_schema(self, type_: object, schema: Mapping[str, Any]) -> None:
        """Take note of a schema.

        Args:
            type_: The type.
            schema: Its schema.
        """
        self._schemas.append(Custom(type_, schema, _types_of(schema)))
        self._add_union(type_)

    def _add_union(self, type_: object) -> None:
        if typing.get_origin(type_) in (Union, types.UnionType) and type_ not in self.unions:
            self.unions.append(type_)

    def reads(self, type_: object) -> bool:
        """Whether there is a hook that reads a type."""
        return any(_holds(predicate, type_) for predicate in self._readers)

    def writes(self, type_: object) -> bool:
        """Whether there is a hook that writes a type."""
        return any(_holds(predicate, type_) for predicate in self._writers)

    def strategy_of(self, type_: object) -> _Strategy | None:
        """What a strategy has set up for a type."""
        strategies = reversed(self._strategies)
        return next((strategy for known, strategy in strategies if known == type_), None)

    def custom(self, type_: object) -> Custom | None:
        """The schema of a type: the one that was registered last."""
        return next((known for known in reversed(self._schemas) if known.type == type_), None)

    def members(self, type_: object) -> tuple[Member, ...] | None:
        """The classes that a type stands for by a strategy."""
        for place in reversed(range(len(self._strategies))):
            known, strategy = self._strategies[place]
            if known == type_:
                # The same objects at every call: they stand where types stand.
                if place not in self._members:
                    family = dict.fromkeys(
                        strategy.base
                        for _, strategy in self._strategies
                        if isinstance(strategy, Family)
                    )
                    members = tuple(map(self._interned, strategy.members(family)))
                    alone = len(members) == 1 and members[0].tag_name is None
                    self._members[place] = None if alone else members
                return self._members[place]
        return None

    def _interned(self, member: Member) -> Member:
        """The same member for the same class in another union, so that it is defined once."""
        others = member.other_tags if member.is_default else ()
        key = member.type, member.tag_name, member.tags, member.is_default, others
        return self._interns.setdefault(key, member)


def _is_of(known: Any) -> Predicate:
    if isinstance(known, type):
        return lambda type_: isinstance(type_, type) and issubclass(type_, known)
    return lambda type_: bool(type_ == known)


def _holds(predicate: Predicate, type_: object) -> bool:
    try:
        return bool(predicate(type_))
    except Exception:  # noqa: BLE001  cattrs takes a predicate that fails for one that does not hold
        return False


# --- Schemas -------------------------------------------------------------------------------------


def check_schema(type_: object, schema: object) -> dict[str, Any]:
    """Refuse what is no JSON Schema, and copy it otherwise.

    Args:
        type_: What it is the schema of.
        schema: What was given.

    Returns:
        The schema.

    Raises:
        TypeError: If it is no mapping of JSON values.
        ValueError: If it refers to a definition that it does not have.
    """
    name = getattr(type_, "__name__", None) or str(type_)
    if not is_mapping(schema):
        raise TypeError(f"the JSON Schema of {name} must be a mapping, got {schema!r}")
    check_json(schema, f"the JSON Schema of {name}")
    plain = plain_object(schema)
    definitions: dict[str, Any] = plain.get("$defs", {})
    for reference in _references(plain):
        if not reference.startswith(_PREFIX) or reference.removeprefix(_PREFIX) not in definitions:
            raise ValueError(
                f"the JSON Schema of {name} refers to {reference!r}, and has no such definition "
                "under '$defs'"
            )
    return plain


_PREFIX: Final = "#/$defs/"


def _references(schema: object) -> Iterator[str]:
    if is_object(schema):
        for name, member in schema.items():
            if name == "$ref" and isinstance(member, str):
                yield member
            else:
                yield from _references(member)
    elif is_list(schema):
        for item in schema:
            yield from _references(item)


def _types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a schema allows."""
    named_types: object = schema.get("type")
    if isinstance(named_types, str):
        named_types = [named_types]
    if is_list(named_types):
        named = frozenset(map(str, named_types))
        # A number may be written as an integer.
        return named | {"integer"} if "number" in named else named
    if "const" in schema:
        return frozenset({json_type_of(schema["const"])})
    if "enum" in schema:
        return frozenset(map(json_type_of, schema["enum"]))
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return frozenset[str]().union(*map(_types_of, schema[keyword]))
    return JSON_TYPES


# --- Hooks of the program ------------------------------------------------------------------------


def guarded(hook: Hook, type_: object, custom: Custom | None) -> Hook:
    """Make the refusals of a program's hook mismatches.

    Args:
        hook: The hook.
        type_: What it reads.
        custom: The schema of that, if it has one.

    Returns:
        The hook. An exception that is neither a `ValueError` nor a `TypeError` is a mistake of the
        program, and raised as it is.
    """
    name = getattr(type_, "__name__", None) or str(type_).replace("typing.", "")

    def structure(value: object, _: object) -> object:
        try:
            return hook(value, type_)
        except Mismatch:
            raise
        except BaseValidationError as error:
            # It was made by code of cattrs, which takes every exception for a problem.
            raise Mismatch(_problems_of(error)) from error
        except (ValueError, TypeError) as error:
            cause = Refused(name, custom, value, str(error))
            raise Mismatch([Problem((), cause)]) from error

    return structure


def _problems_of(error: BaseValidationError) -> list[Problem]:
    """What is wrong by the word of cattrs, if nothing in it is a mistake of the program."""
    problems: list[Problem] = []
    for each in cast("Sequence[Exception]", error.exceptions):
        step = _step_of(each)
        if isinstance(each, BaseValidationError):
            found = _problems_of(each)
        elif isinstance(each, Mismatch):
            found = list(each.problems)
        elif isinstance(each, KeyError) and _is_in_code_of_cattrs(each):
            step = str(each.args[0])
            found = [Problem((), Refusal("required but missing"))]
        elif isinstance(each, ValueError | TypeError | ForbiddenExtraKeysError):
            found = [Problem((), Refusal(str(each)))]
        else:
            raise each
        problems += found if step is None else Mismatch(found).under(step)
    return problems


def _is_in_code_of_cattrs(error: Exception) -> bool:
    """Whether it was raised there, and not in what that calls."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(
        "<cattrs generated"
    )


def _step_of(error: Exception) -> str | int | None:
    for note in getattr(error, "__notes__", ()):
        step: object = getattr(note, "name", getattr(note, "index", None))
        if isinstance(step, str | int):
            return step
    return None
