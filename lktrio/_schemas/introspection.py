"""Python types -> shapes: one tree that the schema and the converter both read.

A type is read once. This module knows which types have a JSON form, and what stands for those of
the program's own. How annotations are written is known to `_type_hints`, what fields a class has
to `_fields`, and how a value is converted to neither.
"""

from __future__ import annotations

import collections
import enum
import inspect
import pathlib
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, Protocol, TypeVar, Union

from .declared import NO_DEFAULT, Declared, merge, read_specifier
from .docstrings import NO_DOCSTRING, own_docstring, read_docstring
from .fields import FieldsReader, fields_reader
from .foreign import is_foreign
from .metadata import read_metadata
from .shapes import (
    TEXT_TYPES,
    Alias,
    Anything,
    Array,
    Choice,
    Custom,
    Field,
    FixedTuple,
    Foreign,
    JSONScalar,
    Member,
    Null,
    OneOf,
    Record,
    Refined,
    Scalar,
    Shape,
    StringKeyed,
    Text,
    is_hashable,
    is_key,
    put_tag_first,
    tagged,
)
from .type_hints import (
    UnresolvedAnnotation,
    UnsupportedType,
    class_hints,
    definition_name,
    evaluate,
    globals_of,
    hashable,
    is_type_alias,
    lookup_key,
    peel,
    shown_type,
    substitute,
    type_parameters,
    upper_bound,
)

__all__ = ["OwnTypes", "Types"]

_SCALARS: Final = (bool, int, float, str)

_ARRAYS: Final[dict[object, Callable[[list[Any]], Any]]] = {
    list: list,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    collections.deque: collections.deque,
    set: set,
    abc.Set: set,
    abc.MutableSet: set,
    frozenset: frozenset,
}
_SETS: Final = (set, abc.Set, abc.MutableSet, frozenset)
_MAPPINGS: Final[dict[object, Callable[[dict[Any, Any]], Any]]] = {
    dict: dict,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
}


class OwnTypes(Protocol):
    """What a program has said of types of its own."""

    @property
    def unions(self) -> Iterable[Any]:
        """The unions that it reads as a whole."""
        ...

    def reads(self, type_: object) -> bool:
        """Whether it has a hook that reads a type."""
        ...

    def custom(self, type_: object) -> Custom | None:
        """The schema it has given a type."""
        ...

    def members(self, type_: object) -> tuple[Member, ...] | None:
        """The classes that a type stands for by one of its strategies."""
        ...


class Types:
    """Reads types into shapes. One for each tool, so that nothing outlives the tool.

    Args:
        scope: Names of the local scope in which string annotations are evaluated.
        own: What the program says of types of its own.
        with_docstrings: Whether descriptions are read from the docstrings of classes.
    """

    def __init__(
        self,
        scope: Mapping[str, Any] | None = None,
        *,
        own: OwnTypes | None = None,
        with_docstrings: bool = True,
    ) -> None:
        self._scope = dict(scope or {})
        self._own = own
        self._with_docstrings = with_docstrings
        self._known: dict[Any, Shape] = {}

    def shape(self, type_: object) -> Shape:
        """Read a type.

        Args:
            type_: The type, with its string annotations resolved.

        Returns:
            Its shape. A class that holds itself gives a shape that holds itself.

        Raises:
            UnsupportedType: If it has no JSON form.
        """
        metadata: tuple[Any, ...] = ()
        while not self._is_own(type_) and (peeled := peel(type_)) is not None:
            type_, more = peeled
            metadata = (*more, *metadata)
        constraints, description, declared = read_metadata(metadata)
        shape = self._bare_shape(type_)
        if constraints is None and description is None and declared is None:
            return shape
        return Refined(shape, type_, constraints, description, declared)

    def field(
        self,
        name: str,
        type_: object,
        *,
        required: bool,
        default: Any = NO_DEFAULT,
        description: str | None = None,
    ) -> Field:
        """Read a parameter of a function, or a field of a class.

        Args:
            name: Its name as an argument.
            type_: Its type.
            required: Whether the function or class can do without it.
            default: Its default, or a field specifier in the place of it.
            description: What is said of it elsewhere.

        Returns:
            The field. What a field specifier says, here or in ``Annotated``, is in it.

        Raises:
            UnsupportedType: If the type has no JSON form.
        """
        if read_specifier(default) is not None:
            type_ = typing.Annotated[type_, default]
            required, default = True, NO_DEFAULT
        type_ = hashable(type_)
        shape = self.shape(type_)
        declared = _declared_by(shape)
        make_default = None
        if required and declared is not None:
            if declared.problem is not None:
                raise UnsupportedType(declared.problem)
            if declared.make_default is not None:
                required, default, make_default = False, declared.default, declared.make_default
        return Field(
            name=(declared.name if declared is not None else None) or name,
            argument=name,
            shape=shape,
            required=required,
            default=default,
            description=description,
            type=type_,
            make_default=make_default,
        )

    def resolve(
        self, annotation: object, module: Mapping[str, Any], local: Mapping[str, Any] | None = None
    ) -> Any:
        """Evaluate the strings in an annotation.

        Args:
            annotation: An annotation as it was found.
            module: The globals of the module it was found in.
            local: Names beyond those of the local scope.

        Returns:
            The annotation, without strings; ``Annotated`` is kept.

        Raises:
            UnresolvedAnnotation: If a name in it is not defined.
            UnsupportedType: If it cannot be evaluated.
        """
        return evaluate(annotation, module, {**self._scope, **(local or {})})

    def _is_own(self, type_: object) -> bool:
        own = self._own
        return own is not None and (own.custom(type_) is not None or own.members(type_) is not None)

    def _bare_shape(self, type_: object) -> Shape:
        known = self._known.get(lookup_key(type_))
        if known is None:
            known = self._new_shape(type_)
            # A record and an alias are known from before their parts were read.
            known = self._known.setdefault(lookup_key(type_), known)
        return known

    def _new_shape(self, type_: object) -> Shape:
        if self._own is not None:
            shape = self._own_shape(type_, self._own)
            if shape is not None:
                return shape
        origin, args = typing.get_origin(type_), typing.get_args(type_)
        if type_ is Any or type_ is object:
            return Anything()
        if type_ is None or type_ is types.NoneType:
            return Null()
        if isinstance(type_, TypeVar):
            return self.shape(upper_bound(type_))
        if origin is Literal:
            return Choice(tuple(_literal_member(arg) for arg in args))
        if origin in (Union, types.UnionType):
            return self._union(args)
        if is_type_alias(origin or type_):
            return self._alias(type_)
        class_ = origin or type_
        if not inspect.isclass(class_):
            raise self._unsupported(type_)
        if class_ in _ARRAYS:
            return self._array(class_, args)
        if class_ in _MAPPINGS:
            return self._mapping(type_, args)
        if class_ is tuple:
            return self._tuple(args, is_bare=origin is None)
        return self._class(type_, class_)

    def _unsupported(self, type_: object) -> UnsupportedType:
        name = shown_type(type_)
        if self._own is not None and self._own.reads(type_):
            return UnsupportedType(
                f"{name} has a hook and no schema; write "
                f"converter.register_json_schema({name}, {{...}})"
            )
        return UnsupportedType(
            f"{name} has no JSON form; use a class with typed fields (attrs, dataclass, TypedDict, "
            "NamedTuple), or a raw schema, or teach it to a converter: "
            f"converter.register_structure_hook({name}, ...) and "
            f"converter.register_json_schema({name}, {{...}})"
        )

    # --- Types of the program's own --------------------------------------------------------------

    def _own_shape(self, type_: object, own: OwnTypes) -> Shape | None:
        if isinstance(type_, Member):
            return self._member(type_, own)
        custom = own.custom(type_)
        if custom is not None:
            if not own.reads(type_):
                name = shown_type(type_)
                raise UnsupportedType(
                    f"{name} has a schema and no hook; write "
                    f"converter.register_structure_hook({name}, ...)"
                )
            return custom
        members = own.members(type_)
        return None if members is None else self._union(members)

    def _member(self, member: Member, own: OwnTypes) -> Shape:
        custom = own.custom(member.type)
        if custom is not None:
            if member.tag_name is not None and custom.json_types != {"object"}:
                raise UnsupportedType(
                    f"{shown_type(member.type)} cannot be a member of a union with the tag "
                    f"{member.tag_name!r}: the schema it was given is none of an object"
                )
            return tagged(custom, member)
        class_ = typing.get_origin(member.type) or member.type
        shape = self._class(member.type, class_, member)
        if not isinstance(shape, Record):
            raise UnsupportedType(
                f"{shown_type(member.type)} cannot be a member of this union, because it is read "
                "by a library of its own; write converter.register_json_schema for the union"
            )
        return shape

    # --- Kinds of types --------------------------------------------------------------------------

    def _class(self, type_: object, class_: Any, member: Member | None = None) -> Shape:
        bases: tuple[Any, ...] = class_.__mro__
        if class_ in _SCALARS:
            return Scalar(class_)
        if class_ in TEXT_TYPES or pathlib.PurePath in bases:
            return Text(class_)
        if enum.Enum in bases:
            return _enumeration(class_)
        if is_foreign(class_):
            return Foreign(type_)
        read_fields = fields_reader(class_)
        if read_fields is not None:
            return self._record(type_, class_, read_fields, member)
        raise self._unsupported(type_)

    def _union(self, args: Iterable[Any]) -> Shape:
        members: list[Shape] = []
        member_types: list[Any] = []
        for arg in self.grouped(args):
            shape = self.shape(arg)
            is_whole = self._own is not None and self._own.reads(arg)
            if isinstance(shape, OneOf) and not is_whole:
                members.extend(shape.members)
                member_types.extend(shape.member_types)
            else:
                members.append(shape)
                member_types.append(arg)
        return OneOf(tuple(members), tuple(member_types))

    def grouped(self, args: Iterable[Any]) -> list[Any]:
        """Put the members of a union together that the program reads as one.

        Args:
            args: The members.

        Returns:
            The members, with a union of the program's own in the place of those that are its.
        """
        members = list(args)
        for union in () if self._own is None else self._own.unions:
            parts = typing.get_args(union)
            if len(parts) < len(members) and all(part in members for part in parts):
                place = min(members.index(part) for part in parts)
                members[place] = union
                members = [member for member in members if member not in parts]
        return members

    def _array(self, class_: Any, args: tuple[Any, ...]) -> Shape:
        item_type = args[0] if args else Any
        item = self.shape(item_type)
        is_set = class_ in _SETS
        if is_set and not is_hashable(item):
            raise UnsupportedType(
                f"the items of a {shown_type(class_)} must be hashable, and {shown_type(args[0])} "
                "is not; use a list, or a frozen class"
            )
        return Array(item, item_type, _ARRAYS[class_], unique=is_set)

    def _tuple(self, args: tuple[Any, ...], *, is_bare: bool) -> Shape:
        if is_bare:
            return Array(Anything(), Any, tuple)
        if len(args) == 2 and args[1] is Ellipsis:
            return Array(self.shape(args[0]), args[0], tuple)
        return FixedTuple(tuple(self.shape(arg) for arg in args), args)

    def _mapping(self, type_: object, args: tuple[Any, ...]) -> Shape:
        key_type, value_type = args or (str, Any)
        key, value = self.shape(key_type), self.shape(value_type)
        if isinstance(key, Anything):
            key, key_type = Scalar(str), str
        if not is_key(key):
            raise UnsupportedType(
                f"{shown_type(type_)} has keys that are not written as strings; use str keys"
            )
        build = _MAPPINGS[typing.get_origin(type_) or type_]
        return StringKeyed(key, value, key_type, value_type, build)

    def _alias(self, type_: object) -> Shape:
        alias: Any = typing.get_origin(type_) or type_
        reference = Alias(definition_name(type_))
        self._known[lookup_key(type_)] = reference
        parameters = dict(zip(alias.__type_params__, typing.get_args(type_), strict=False))
        value = self.resolve(alias.__value__, globals_of(alias), type_parameters(alias))
        target = hashable(substitute(value, parameters))
        reference.targets.append((self.shape(target), target))
        return reference

    # --- Classes with fields ---------------------------------------------------------------------

    def _record(
        self,
        type_: object,
        class_: type[Any],
        read_fields: FieldsReader,
        member: Member | None,
    ) -> Shape:
        docstring = NO_DOCSTRING
        if self._with_docstrings:
            docstring = read_docstring(own_docstring(class_))
        record = Record(
            name=definition_name(type_),
            build=class_,
            description=docstring.description or None,
            is_tuple=issubclass(class_, tuple),
            hashable=class_.__hash__ is not None,
        )
        self._known[lookup_key(type_ if member is None else member)] = record
        for field in read_fields(class_, class_hints(type_, class_, self._scope)):
            if field.type is None:
                raise UnsupportedType(
                    f"field {field.name!r} of {shown_type(class_)} has no annotation; give it one"
                )
            try:
                read = self.field(
                    field.name,
                    field.type,
                    required=field.required,
                    default=field.default,
                    description=field.description or docstring.parameters.get(field.name),
                )
            except UnresolvedAnnotation:
                raise
            except UnsupportedType as error:
                raise UnsupportedType(
                    f"field {field.name!r} of {shown_type(class_)}: {error}"
                ) from None
            record.fields.append(read)
        if member is not None:
            put_tag_first(record, member)
        return record


def _declared_by(shape: Shape) -> Declared | None:
    """What the field specifiers of a type say, the outermost first."""
    declared: Declared | None = None
    while True:
        match shape:
            case Refined(inner=inner):
                declared = merge(declared, shape.declared)
                shape = inner
            case Alias(targets=[(target, _)]):
                shape = target
            case _:
                return declared


def _literal_member(value: Any) -> tuple[JSONScalar, Any]:
    if isinstance(value, enum.Enum):
        return _json_value_of(value), value
    if value is None or isinstance(value, str | int):
        return value, value
    raise UnsupportedType(f"Literal[{value!r}] has no JSON form; use strings, integers or bools")


def _enumeration(class_: type[enum.Enum]) -> Choice:
    if not len(class_):
        raise UnsupportedType(f"{class_.__name__} has no members; give it one")
    return Choice(
        members=tuple((_json_value_of(member), member) for member in class_),
        name=class_.__name__,
        description=own_docstring(class_),
    )


def _json_value_of(member: enum.Enum) -> JSONScalar:
    value: object = member.value
    # By exact type: what only inherits from str is not read back.
    if value is None or (isinstance(value, str | int | float) and type(value) in _SCALARS):
        return value
    raise UnsupportedType(
        f"{member} has the value {value!r}, which has no JSON form; use strings or numbers"
    )
