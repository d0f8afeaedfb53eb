"""Values with parts: how arrays, objects and classes are made of what their parts are made of.

This module knows what is done with the hooks of the parts, and that all problems are found and not
only the first. It does not know how a hook is found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard

import attrs

from lktrio._json import (
    MAX_PROBLEMS,
    Mismatch,
    Problem,
    is_array,
    is_list,
    is_mapping,
    is_object,
    refused,
)

from .descriptions import Missing, Unknown, describe, unfit
from .foreign import ForeignType
from .leaves import Hook
from .leniency import Tolerance, container_of, in_text, tolerate, trial
from .shapes import (
    Anything,
    Array,
    Choice,
    Field,
    FixedTuple,
    Foreign,
    Member,
    Record,
    Shape,
    StringKeyed,
    accepts_null,
)

__all__ = [
    "FieldsHook",
    "Part",
    "array_hook",
    "fields_hook",
    "foreign_hook",
    "mapping_hook",
    "member_hook",
    "record_hook",
    "tuple_hook",
]

FieldsHook: TypeAlias = Callable[[Mapping[str, object]], dict[str, Any]]
"""Takes the members of an object, and returns the arguments of a class or function."""


@attrs.frozen(eq=False)
class Part:
    """What a part of a value is made by."""

    type: Any
    """Its type."""

    hook: Hook
    """What makes it."""

    as_it_is: Collection[type[Any]] = ()
    """Classes whose values are what they are made of."""


_Step: TypeAlias = tuple[str, str, Collection[type[Any]], Hook, Field, bool]
"""How a member is read: its name, that of the argument, the classes whose values are what they are
made of, the hook, the field, and whether null means the default."""

_IsObject: TypeAlias = Callable[[object], TypeGuard[Mapping[str, object]]]
_IsArray: TypeAlias = Callable[[object], TypeGuard[Sequence[object]]]

_UNKNOWN: Final = Field("", "", Anything(), required=False)
_MISSING: Final = object()


def _is_dict(value: object) -> TypeGuard[Mapping[str, object]]:
    return type(value) is dict


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return type(value) is list


def _collect(problems: list[Problem], mismatch: Mismatch, step: str | int) -> bool:
    """Add what is wrong with a part. Whether that is enough."""
    problems += mismatch.under(step)
    return len(problems) >= MAX_PROBLEMS


# --- Objects -------------------------------------------------------------------------------------


def fields_hook(fields: Sequence[Field], parts: Sequence[Part], *, is_exact: bool) -> FieldsHook:
    """Make what reads the arguments of a class or function.

    Args:
        fields: The fields or parameters.
        parts: What each is made by.
        is_exact: Whether there must be no other members, and null means nothing but null.

    Returns:
        The hook. What is to have the default of the class or function is not in what it returns.
    """
    plan: dict[str, _Step] = {
        field.name: (
            field.name,
            field.argument,
            part.as_it_is,
            part.hook,
            field,
            # Null where the default is meant.
            not is_exact and not field.required and not accepts_null(field.shape),
        )
        for field, part in zip(fields, parts, strict=True)
    }
    all_steps = list(plan.values())
    required = [field for field in fields if field.required]

    def refuse(_: object, __: object) -> object:
        raise Mismatch([Problem((), Unknown(list(plan)))])

    def step_of(name: str) -> _Step:
        return plan.get(name) or (name, name, (), refuse, _UNKNOWN, False)

    def structure(value: Mapping[str, object]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        problems: list[Problem] = []
        steps: Iterable[_Step] = all_steps
        if is_exact:
            # A program gives few of many members; a model gives most of few.
            steps = map(step_of, value)
            problems += [
                Problem((field.name,), Missing(field, value, plan))
                for field in required
                if field.name not in value
            ]
        for name, argument, as_it_is, hook, field, null_is_default in steps:
            if name not in value:
                if field.make_default is not None:
                    arguments[argument] = field.make_default()
                elif field.required:
                    problems.append(Problem((name,), Missing(field, value, plan)))
                continue
            member = value[name]
            if type(member) in as_it_is:
                arguments[argument] = member
            elif member is None and null_is_default:
                if field.make_default is not None:
                    arguments[argument] = field.make_default()
            else:
                try:
                    arguments[argument] = hook(member, field.type)
                except Mismatch as mismatch:
                    if _collect(problems, mismatch, name):
                        break
        if problems:
            raise Mismatch(problems)
        return arguments

    return structure


def record_hook(record: Record, structure_fields: FieldsHook, *, is_exact: bool) -> Hook:
    """Make what reads a class with fields."""
    names = {field.name for field in record.fields}
    build, is_tuple = record.build, record.is_tuple
    is_taken: _IsObject = is_mapping if is_exact else _is_dict

    def structure(value: object, _: object) -> object:
        if not is_taken(value):
            if not is_tuple or not is_list(value):
                return from_other(value)
            value = _named(value, record)
        if trial.get() is not None and not value.keys() <= names:
            tolerate(Tolerance.UNKNOWN_KEYS)
        arguments = structure_fields(value)
        try:
            return build(**arguments)
        except (ValueError, TypeError) as error:
            # The class has rules of its own.
            raise refused(f"refused by {record.name}: {error}") from error

    from_other = _other(record, structure, is_exact=is_exact)
    return structure


def _named(items: list[object], record: Record) -> dict[str, object]:
    if len(items) > len(record.fields):
        raise unfit(record, items)
    return {field.name: item for field, item in zip(record.fields, items, strict=False)}


def member_hook(member: Member, shape: Shape, hook: Hook, *, takes_tag: bool) -> Hook:
    """Make what reads a class as a member of a union that is told apart by a tag.

    Args:
        member: The class and its tag.
        shape: What it looks like with the tag.
        hook: What reads the class.
        takes_tag: Whether the tag is handed to that, too.

    Returns:
        The hook.
    """
    tag_name = member.tag_name
    if tag_name is None:
        return hook
    tags = Choice(tuple((tag, tag) for tag in member.tags))

    def structure(value: object, _: object) -> object:
        if not is_object(value):
            raise unfit(shape, value)
        members = value
        tag = members.get(tag_name, _MISSING)
        is_meant = _is_among(tag, member.tags) or (
            member.is_default and not _is_among(tag, member.other_tags)
        )
        if not is_meant:
            nothing = f"expected {describe(tags)}, got nothing"
            mismatch = refused(nothing) if tag is _MISSING else unfit(tags, tag)
            raise Mismatch(mismatch.under(tag_name))
        if not takes_tag:
            members = {name: part for name, part in members.items() if name != tag_name}
        return hook(members, member.type)

    return structure


def _is_among(tag: object, tags: Iterable[object]) -> bool:
    # By type as well: to Python True is 1.
    return any(type(tag) is type(known) and tag == known for known in tags)


def mapping_hook(mapping: StringKeyed, key: Part, value: Part, *, is_exact: bool) -> Hook:
    """Make what reads a mapping."""
    key_hook, key_type = key.hook, key.type
    hook, value_type, as_it_is = value.hook, value.type, value.as_it_is
    is_taken: _IsObject = is_mapping if is_exact else _is_dict

    def structure(value: object, _: object) -> object:
        if not is_taken(value):
            return from_other(value)
        structured: dict[Any, Any] = {}
        problems: list[Problem] = []
        current = trial.get()
        for name, member in value.items():
            try:
                if current is None:
                    structured_name = key_hook(name, key_type)
                else:
                    # JSON writes every key as a string: reading one as a number is no liberty.
                    trial.set(None)
                    try:
                        structured_name = key_hook(name, key_type)
                    finally:
                        trial.set(current)
                structured[structured_name] = (
                    member if type(member) in as_it_is else hook(member, value_type)
                )
            except Mismatch as mismatch:
                if _collect(problems, mismatch, name):
                    break
        if problems:
            raise Mismatch(problems)
        return mapping.build(structured)

    from_other = _other(mapping, structure, is_exact=is_exact)
    return structure


# --- Arrays --------------------------------------------------------------------------------------


def array_hook(array: Array, item: Part, *, is_exact: bool) -> Hook:
    """Make what reads a list, a set, or a tuple of any length."""
    hook, item_type, as_it_is = item.hook, item.type, item.as_it_is
    build = array.build
    is_taken: _IsArray = is_array if is_exact else _is_list

    def structure(value: object, _: object) -> object:
        if not is_taken(value):
            return from_other(value)
        structured: list[object] = []
        problems: list[Problem] = []
        for index, each in enumerate(value):
            if type(each) in as_it_is:
                structured.append(each)
                continue
            try:
                structured.append(hook(each, item_type))
            except Mismatch as mismatch:
                if _collect(problems, mismatch, index):
                    break
        if problems:
            raise Mismatch(problems)
        if build is list:
            return structured
        try:
            return build(structured)
        except TypeError:
            pass
        raise refused("objects and arrays cannot be items of this set")

    from_other = _other(array, structure, is_exact=is_exact)
    return structure


def tuple_hook(fixed: FixedTuple, parts: Sequence[Part], *, is_exact: bool) -> Hook:
    """Make what reads a tuple of a fixed length."""
    is_taken: _IsArray = is_array if is_exact else _is_list

    def structure(value: object, _: object) -> object:
        if not is_taken(value):
            return from_other(value)
        if len(value) != len(parts):
            raise unfit(fixed, value)
        structured: list[object] = []
        problems: list[Problem] = []
        for index, part in enumerate(parts):
            try:
                structured.append(part.hook(value[index], part.type))
            except Mismatch as mismatch:
                _collect(problems, mismatch, index)
        if problems:
            raise Mismatch(problems)
        return tuple(structured)

    from_other = _other(fixed, structure, is_exact=is_exact)
    return structure


def _other(shape: Shape, hook: Hook, *, is_exact: bool) -> Callable[[object], object]:
    """What becomes of a value that is not an array or object, where one is wanted."""

    def structure(value: object) -> object:
        container = None
        if isinstance(value, str) and not is_exact:
            container = container_of(value)
        if container is None:
            raise unfit(shape, value)
        tolerate(Tolerance.LIBERTIES)
        token = in_text.set(True)
        try:
            return hook(container, None)
        finally:
            in_text.reset(token)

    return structure


# --- Types of other libraries --------------------------------------------------------------------


def foreign_hook(foreign: Foreign) -> Hook:
    """Make what reads a type that another library reads."""
    type_ = ForeignType(foreign.python)

    def structure(value: object, _: object) -> object:
        if trial.get() is not None:
            try:
                return type_.structure(value, lenient=False)
            except Mismatch:
                tolerate(Tolerance.LIBERTIES)
        return type_.structure(value, lenient=True, in_text=in_text.get())

    return structure
