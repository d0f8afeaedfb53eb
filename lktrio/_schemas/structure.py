"""JSON values as Python values: which hook reads a type.

A hook is put together once for each type, from the hooks of its parts. What the hooks do is known
to `_leaves`, `_parts` and `_unions`, and which types the program has hooks for to the converter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from .introspection import Types
from .leaves import Hook, constrained, leaf_hook
from .metadata import read_metadata
from .parts import (
    FieldsHook,
    Part,
    array_hook,
    fields_hook,
    foreign_hook,
    mapping_hook,
    member_hook,
    record_hook,
    tuple_hook,
)
from .shapes import (
    Alias,
    Array,
    Field,
    FixedTuple,
    Foreign,
    Member,
    OneOf,
    Record,
    Scalar,
    Shape,
    StringKeyed,
)
from .type_hints import UnsupportedType, peel, upper_bound
from .unions import Option, exact_union_hook, union_hook

__all__ = ["HookMaker", "called_late"]


class HookMaker:
    """Makes the hooks for types that the program has no hook for.

    Args:
        types: Reads the types.
        reads: Whether the program has a hook for a type.
        find: Finds the hook for a part.
        is_exact: Whether nothing is converted.
    """

    def __init__(
        self,
        types: Types,
        reads: Callable[[Any], bool],
        find: Callable[[Any], Hook],
        *,
        is_exact: bool,
    ) -> None:
        self._types = types
        self._reads = reads
        self._find = find
        self._is_exact = is_exact

    def fields(self, fields: Sequence[Field]) -> FieldsHook:
        """Make what reads the arguments of a class or function."""
        parts = [self._part(field.type, field.shape) for field in fields]
        return fields_hook(fields, parts, is_exact=self._is_exact)

    def make(self, type_: object) -> Hook:
        """Make the hook for a type.

        Raises:
            UnsupportedType: If it has no JSON form.
            RecursionError: If the type holds itself. Its hook is found once it is made.
        """
        if isinstance(type_, TypeVar):
            return self._find(upper_bound(type_))
        if isinstance(type_, Member):
            return self._member_hook(type_)
        shape = self._types.shape(type_)
        inner, metadata = type_, ()
        while (inner is type_ or not self._reads(inner)) and (peeled := peel(inner)):
            inner, metadata = peeled[0], (*peeled[1], *metadata)
        if inner is not type_:
            constraints, *_ = read_metadata(metadata)
            hook = self._find(inner)
            return hook if constraints is None else constrained(hook, inner, constraints)
        leaf = leaf_hook(shape, is_exact=self._is_exact)
        return self._parts_hook(type_, shape) if leaf is None else leaf

    def _parts_hook(self, type_: object, shape: Shape) -> Hook:
        is_exact = self._is_exact
        match shape:
            case OneOf(members=members, member_types=types):
                reads = self._reads
                options = [
                    Option(member, member_type, self._find(member_type), reads(member_type))
                    for member, member_type in zip(members, types, strict=True)
                ]
                return (exact_union_hook if is_exact else union_hook)(shape, options)
            case Array(item=item, item_type=item_type):
                return array_hook(shape, self._part(item_type, item), is_exact=is_exact)
            case FixedTuple(items=items, item_types=types):
                parts = [self._part(*part) for part in zip(types, items, strict=True)]
                return tuple_hook(shape, parts, is_exact=is_exact)
            case StringKeyed(key=key, value=value):
                key_part = self._part(shape.key_type, key)
                value_part = self._part(shape.value_type, value)
                return mapping_hook(shape, key_part, value_part, is_exact=is_exact)
            case Record(fields=fields):
                return record_hook(shape, self.fields(fields), is_exact=is_exact)
            case Foreign():
                return foreign_hook(shape)
            case Alias():
                # It may hold itself.
                return called_late(lambda: self._find(shape.target_type))
            case _:
                raise UnsupportedType(
                    f"the hook for {type_} is never asked, because cattrs looks up the hooks of "
                    "built-in classes by the class; use register_structure_hook"
                )

    def _member_hook(self, member: Member) -> Hook:
        shape = self._types.shape(member)
        if self._reads(member.type):
            return member_hook(member, shape, self._find(member.type), takes_tag=True)
        plain = self._types.shape(Member(member.type))
        assert isinstance(plain, Record)
        hook = record_hook(plain, self.fields(plain.fields), is_exact=self._is_exact)
        takes_tag = any(field.name == member.tag_name for field in plain.fields)
        return member_hook(member, shape, hook, takes_tag=takes_tag)

    def _part(self, type_: object, shape: Shape) -> Part:
        as_it_is: Collection[type[Any]] = ()
        if not self._is_exact and isinstance(shape, Scalar | OneOf):
            as_it_is = self._plain_classes(type_, shape)
        return Part(type_, self._find(type_), as_it_is)

    def _plain_classes(self, type_: object, shape: Shape) -> Collection[type[Any]]:
        """The classes of JSON values that need no hook to be what is wanted."""
        reads = self._reads
        match shape:
            case Scalar(python=python):
                # A float of Python may be infinite.
                return () if python is float or reads(type_) or reads(python) else (python,)
            case OneOf(members=members, member_types=types) if not reads(type_):
                parts = zip(types, members, strict=True)
                return [class_ for part in parts for class_ in self._plain_classes(*part)]
            case _:
                return ()


def called_late(make: Callable[[], Hook]) -> Hook:
    """A hook that is made when it is first called."""
    hook: Hook | None = None

    def structure(value: object, type_: object) -> object:
        nonlocal hook
        if hook is None:
            hook = make()
        return hook(value, type_)

    return structure
