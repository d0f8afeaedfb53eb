"""How Python spells types: aliases, generics, string annotations, and the fields of classes.

A type is read once, into a tree of shapes; the schema and the converter are two readings of that
tree. This module knows the typing machinery and nothing of JSON Schema.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import sys
import types
import typing
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    cast,
)

import attrs

from ._declared import NO_DEFAULT, Declared, merge, metadata_description, read_specifier
from ._docstrings import NO_DOCSTRING, read_docstring
from ._foreign import is_foreign

__all__ = [
    "NO_DEFAULT",
    "Alias",
    "Anything",
    "Array",
    "Choice",
    "Constraints",
    "Custom",
    "Field",
    "FixedTuple",
    "Foreign",
    "JSONScalar",
    "Member",
    "Null",
    "OneOf",
    "OwnTypes",
    "Record",
    "Refined",
    "Scalar",
    "Shape",
    "StringKeyed",
    "Text",
    "Types",
    "UnresolvedAnnotation",
    "UnsupportedType",
    "accepts_null",
    "hashable",
    "peel",
    "read_metadata",
    "type_parameters",
    "upper_bound",
]

JSONScalar: TypeAlias = str | int | float | bool | None


class UnsupportedType(TypeError):
    """A type has no JSON form. The message says which type and what to use instead."""


class UnresolvedAnnotation(UnsupportedType):
    """A name in an annotation is not defined; it may be later."""


# --- Shapes: compared and hashed by identity, because types that compare equal (Union[int, str]
# --- and Union[str, int]) are not the same to us.


@attrs.frozen(eq=False)
class Anything:
    """``Any`` and ``object``: every JSON value."""


@attrs.frozen(eq=False)
class Null:
    """``None``."""


@attrs.frozen(eq=False)
class Scalar:
    """The types JSON has itself."""

    python: type[bool | int | float | str]
    """One of bool, int, float, str."""


@attrs.frozen(eq=False)
class Text:
    """A type that is written as a string."""

    python: type[Any]
    """A key of `TEXT_TYPES`, or a class of paths."""


@attrs.frozen(eq=False)
class Choice:
    """A ``Literal`` or an enumeration: a fixed set of values."""

    members: tuple[tuple[JSONScalar, Any], ...]
    """Each value in JSON, and in Python."""

    name: str | None = None
    """Name of the enumeration; a ``Literal`` has none."""

    description: str | None = None
    """Docstring of the enumeration."""


@attrs.frozen(eq=False)
class OneOf:
    """A union."""

    members: tuple[Shape, ...]
    """At least two, none of them a union."""

    member_types: tuple[Any, ...]
    """The type of each."""


@attrs.frozen(eq=False)
class Array:
    """Lists, sets and tuples of any length."""

    item: Shape
    """What each item looks like."""

    item_type: Any
    """Its type."""

    build: Callable[[list[Any]], Any]
    """Makes the value from a list."""

    unique: bool = False
    """Whether it is a set."""


@attrs.frozen(eq=False)
class FixedTuple:
    """A tuple of a fixed length."""

    items: tuple[Shape, ...]
    """One for each place."""

    item_types: tuple[Any, ...]
    """The type of each."""


@attrs.frozen(eq=False)
class StringKeyed:
    """A mapping."""

    key: Shape
    """What the keys look like, which JSON writes as strings."""

    value: Shape
    """What the values look like."""

    key_type: Any
    """The type of the keys."""

    value_type: Any
    """The type of the values."""

    build: Callable[[dict[Any, Any]], Any]
    """Makes the value from a dict."""


@attrs.frozen(eq=False)
class Field:
    """A member of a `Record`, or a parameter of a function."""

    name: str
    """Its name in JSON."""

    argument: str
    """Its name as an argument of the class or function."""

    shape: Shape
    """What it looks like."""

    required: bool
    """Whether it must be there."""

    default: Any = NO_DEFAULT
    """Its default, if that is one value."""

    description: str | None = None
    """What it is for."""

    type: Any = None
    """Its type, with its string annotations resolved."""

    make_default: Callable[[], Any] | None = None
    """Makes the default, where the class or function itself has none that could be used."""


@attrs.frozen(eq=False)
class Record:
    """A class with named fields."""

    name: str
    """Name of the class."""

    build: Callable[..., Any]
    """Takes the fields as keyword arguments."""

    description: str | None = None
    """Docstring of the class, without what it says about the fields."""

    is_tuple: bool = False
    """Whether it is a named tuple, which may also be written as an array."""

    hashable: bool = False
    """Whether its values may be in a set."""

    fields: list[Field] = attrs.field(factory=list[Field])
    """In the order of their definition. Filled after the record exists: it may hold itself."""


@attrs.frozen(eq=False)
class Foreign:
    """A pydantic model or a ``msgspec.Struct``, which its own library reads."""

    python: Any
    """The type."""


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


@attrs.frozen(eq=False)
class Refined:
    """A type with ``Annotated`` metadata that means something here."""

    inner: Shape
    """The type itself."""

    inner_type: Any
    """The type without its metadata."""

    constraints: Constraints | None = None
    """What its values must fulfil."""

    description: str | None = None
    """What it is for."""

    declared: Declared | None = None
    """What a field specifier among the metadata says of a member of this type."""


@attrs.frozen(eq=False)
class Alias:
    """A type alias, which may refer to itself."""

    name: str
    """Name of the alias."""

    targets: list[tuple[Shape, Any]] = attrs.field(factory=list[Any])
    """What it stands for, and the type of that, once they are known."""

    @property
    def target(self) -> Shape:
        """What it stands for."""
        return self.targets[0][0]

    @property
    def target_type(self) -> Any:
        """The type it stands for."""
        return self.targets[0][1]


@attrs.frozen(eq=False)
class Custom:
    """A type that a program reads by a hook of its own, under a schema of its own."""

    type: Any
    """The type."""

    schema: Mapping[str, Any]
    """Its JSON Schema, with its definitions under ``$defs``."""

    json_types: frozenset[str]
    """The JSON types that its values may have, by their names in JSON Schema."""

    @property
    def description(self) -> str | None:
        """What the schema says that it is."""
        description: object = self.schema.get("description")
        return description if isinstance(description, str) and description.strip() else None


@attrs.frozen(eq=False)
class Member:
    """A class as a member of a union that a program tells apart by a strategy of its own.

    It stands for the class where a type stands: the class itself stands for the whole union.
    """

    type: Any
    """The class."""

    tag_name: str | None = None
    """The key that says which member it is; None if there is none."""

    tags: tuple[str | int | bool | None, ...] = ()
    """The values of that key which mean this member."""

    is_default: bool = False
    """Whether this member is meant where the key is absent, or has a value nobody knows."""

    other_tags: tuple[str | int | bool | None, ...] = ()
    """The values of the key which mean another member."""


Shape: TypeAlias = (
    Anything
    | Null
    | Scalar
    | Text
    | Choice
    | OneOf
    | Array
    | FixedTuple
    | StringKeyed
    | Record
    | Foreign
    | Refined
    | Alias
    | Custom
)
"""What values of a type look like."""


def accepts_null(shape: Shape) -> bool:
    """Whether None is itself a value of the type."""
    match shape:
        case Anything() | Null():
            return True
        case Choice(members=members):
            return any(value is None for value, _ in members)
        case OneOf(members=members):
            return any(accepts_null(member) for member in members)
        case Refined(inner=inner) | Alias(target=inner):
            return accepts_null(inner)
        case Custom(json_types=json_types):
            return "null" in json_types
        case _:
            return False


# --- Reading types -------------------------------------------------------------------------------

_SCALARS: Final = (bool, int, float, str)

TEXT_TYPES: Final[frozenset[type[Any]]] = frozenset(
    {
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        uuid.UUID,
        decimal.Decimal,
        bytes,
    }
)
"""What is written as a string; paths are too."""

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

_FACTORY: Final[type[object]] = type(attrs.Factory(list[Any]))
"""attrs.Factory is a class, and its stub is a function."""

_WRAPPERS: Final = ("Final", "Required", "NotRequired", "ReadOnly")


class OwnTypes(Protocol):
    """What a program has said of types of its own."""

    @property
    def unions(self) -> Iterable[Any]:
        """The unions that it reads as a whole."""
        ...

    def reads(self, type_: Any) -> bool:
        """Whether it has a hook that reads a type."""
        ...

    def custom(self, type_: Any) -> Custom | None:
        """The schema it has given a type."""
        ...

    def members(self, type_: Any) -> tuple[Member, ...] | None:
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

    def shape(self, type_: Any) -> Shape:
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
        type_: Any,
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
        self, annotation: Any, module: Mapping[str, Any], local: Mapping[str, Any] | None = None
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
        # A class, because in classes alone ClassVar and Final are allowed.
        holder = type("holder", (), {"__annotations__": {"it": annotation}})
        try:
            return typing.get_type_hints(
                holder, dict(module), {**self._scope, **(local or {})}, include_extras=True
            )["it"]
        except NameError as error:
            raise _unresolved(annotation, error) from None
        except (TypeError, SyntaxError, AttributeError) as error:
            raise UnsupportedType(
                f"annotation {annotation!r} cannot be evaluated ({error})"
            ) from None

    def _is_own(self, type_: Any) -> bool:
        own = self._own
        return own is not None and (own.custom(type_) is not None or own.members(type_) is not None)

    def _bare_shape(self, type_: Any) -> Shape:
        known = self._known.get(_key(type_))
        if known is None:
            known = self._new_shape(type_)
            # A record and an alias are known from before their parts were read.
            known = self._known.setdefault(_key(type_), known)
        return known

    def _new_shape(self, type_: Any) -> Shape:
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
        if _is_type_alias(origin or type_):
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

    def _unsupported(self, type_: Any) -> UnsupportedType:
        name = _shown(type_)
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

    def _own_shape(self, type_: Any, own: OwnTypes) -> Shape | None:
        if isinstance(type_, Member):
            return self._member(type_, own)
        custom = own.custom(type_)
        if custom is not None:
            if not own.reads(type_):
                name = _shown(type_)
                raise UnsupportedType(
                    f"{name} has a schema and no hook; write "
                    f"converter.register_structure_hook({name}, ...)"
                )
            return custom
        members = own.members(type_)
        return None if members is None else self._union(members)

    def _member(self, member: Member, own: OwnTypes) -> Shape:
        custom = own.custom(member.type)
        if custom is not None and member.tag_name is not None:
            return _tagged(custom, member)
        if custom is not None:
            return custom
        class_ = typing.get_origin(member.type) or member.type
        shape = self._class(member.type, class_, member)
        if not isinstance(shape, Record):
            raise UnsupportedType(
                f"{_shown(member.type)} cannot be a member of this union, because it is read by a "
                "library of its own; write converter.register_json_schema for the union"
            )
        return shape

    # --- Kinds of types --------------------------------------------------------------------------

    def _class(self, type_: Any, class_: Any, member: Member | None = None) -> Shape:
        bases: tuple[Any, ...] = class_.__mro__
        if class_ in _SCALARS:
            return Scalar(class_)
        if class_ in TEXT_TYPES or pathlib.PurePath in bases:
            return Text(class_)
        if enum.Enum in bases:
            return _enumeration(class_)
        if is_foreign(class_):
            return Foreign(type_)
        if _is_typed_dict(class_):
            return self._record(type_, class_, self._typed_dict_fields, member)
        if tuple in bases and hasattr(class_, "_fields"):
            return self._record(type_, class_, self._named_tuple_fields, member)
        if attrs.has(class_):
            return self._record(type_, class_, self._attrs_fields, member)
        if hasattr(class_, "__dataclass_fields__"):
            return self._record(type_, class_, self._dataclass_fields, member)
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
        if is_set and not _is_hashable(item):
            raise UnsupportedType(
                f"the items of a {_shown(class_)} must be hashable, and {_shown(args[0])} is not; "
                "use a list, or a frozen class"
            )
        return Array(item, item_type, _ARRAYS[class_], unique=is_set)

    def _tuple(self, args: tuple[Any, ...], *, is_bare: bool) -> Shape:
        if is_bare:
            return Array(Anything(), Any, tuple)
        if len(args) == 2 and args[1] is Ellipsis:
            return Array(self.shape(args[0]), args[0], tuple)
        return FixedTuple(tuple(self.shape(arg) for arg in args), args)

    def _mapping(self, type_: Any, args: tuple[Any, ...]) -> Shape:
        key_type, value_type = args or (str, Any)
        key, value = self.shape(key_type), self.shape(value_type)
        if isinstance(key, Anything):
            key, key_type = Scalar(str), str
        if not _is_key(key):
            raise UnsupportedType(
                f"{_shown(type_)} has keys that are not written as strings; use str keys"
            )
        build = _MAPPINGS[typing.get_origin(type_) or type_]
        return StringKeyed(key, value, key_type, value_type, build)

    def _alias(self, type_: Any) -> Shape:
        alias = typing.get_origin(type_) or type_
        reference = Alias(_definition_name(type_))
        self._known[_key(type_)] = reference
        parameters = dict(zip(alias.__type_params__, typing.get_args(type_), strict=False))
        value = self.resolve(alias.__value__, _globals_of(alias), type_parameters(alias))
        target = hashable(_substitute(value, parameters))
        reference.targets.append((self.shape(target), target))
        return reference

    # --- Classes with fields ---------------------------------------------------------------------

    def _record(
        self,
        type_: Any,
        class_: type[Any],
        read_fields: Callable[[type[Any], dict[str, Any]], Iterable[_RawField]],
        member: Member | None,
    ) -> Shape:
        docstring = NO_DOCSTRING
        if self._with_docstrings:
            docstring = read_docstring(_own_docstring(class_))
        record = Record(
            name=_definition_name(type_),
            build=class_,
            description=docstring.description or None,
            is_tuple=issubclass(class_, tuple),
            hashable=class_.__hash__ is not None,
        )
        self._known[_key(type_ if member is None else member)] = record
        for field in read_fields(class_, self._hints(type_, class_)):
            if field.type is None:
                raise UnsupportedType(
                    f"field {field.name!r} of {_shown(class_)} has no annotation; give it one"
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
                    f"field {field.name!r} of {_shown(class_)}: {error}"
                ) from None
            record.fields.append(read)
        if member is not None and member.tag_name is not None:
            _put_tag_first(record, member)
        return record

    def _hints(self, type_: Any, class_: type[Any]) -> dict[str, Any]:
        """The annotations of a class and its bases, evaluated, with type variables filled in."""
        hints: dict[str, Any] = {}
        arguments = _type_arguments(type_)
        for base in reversed(class_.__mro__):
            try:
                own = inspect.get_annotations(base)
            except NameError as error:  # annotations are evaluated lazily from Python 3.14 on
                raise _unresolved(f"of {base.__qualname__}", error) from None
            for name, annotation in own.items():
                # The class may be local, and name itself.
                local = {base.__name__: base, **type_parameters(base)}
                resolved = self.resolve(annotation, _globals_of(base), local)
                hints[name] = _substitute(resolved, arguments.get(base, {}))
        return hints

    def _attrs_fields(self, class_: type[Any], hints: dict[str, Any]) -> Iterable[_RawField]:
        for attribute in attrs.fields(class_):
            if attribute.init:
                default = attribute.default
                is_factory = type(default) is _FACTORY
                alias = attribute.alias or attribute.name
                yield _RawField(
                    name=alias,
                    type=hints.get(attribute.name, attribute.type),
                    required=default is attrs.NOTHING,
                    default=NO_DEFAULT if is_factory or default is attrs.NOTHING else default,
                    description=metadata_description(attribute.metadata),
                )

    def _dataclass_fields(self, class_: type[Any], hints: dict[str, Any]) -> Iterable[_RawField]:
        fields = {field.name: field for field in dataclasses.fields(class_)}
        parameters = inspect.signature(class_).parameters
        # The signature has keyword-only fields last, the hints are in the order of definition.
        for name in sorted(parameters, key=list(hints).index):
            parameter, field = parameters[name], fields.get(name)
            hint = hints.get(name)
            if isinstance(hint, dataclasses.InitVar):
                hint = cast("Any", hint).type
            stated: Any = parameter.default if field is None else field.default
            required = parameter.default is parameter.empty
            declared = read_specifier(stated)
            if declared is not None:
                # In the signature of pydantic's dataclasses it may be the default, or none.
                hint = Annotated[hint, stated]
                required = declared.make_default is None and declared.problem is None
            yield _RawField(
                name=name,
                type=hint,
                required=required,
                default=NO_DEFAULT
                if required or stated is dataclasses.MISSING
                else parameter.default,
                description=metadata_description(field.metadata) if field is not None else None,
            )

    def _named_tuple_fields(self, class_: type[Any], hints: dict[str, Any]) -> Iterable[_RawField]:
        defaults: dict[str, Any] = getattr(class_, "_field_defaults", {})
        for name in cast("tuple[str, ...]", getattr(class_, "_fields", ())):
            yield _RawField(
                name=name,
                type=hints.get(name),
                required=name not in defaults,
                default=defaults.get(name, NO_DEFAULT),
            )

    def _typed_dict_fields(self, class_: type[Any], hints: dict[str, Any]) -> Iterable[_RawField]:
        required_keys: frozenset[str] = getattr(class_, "__required_keys__", frozenset())
        for name, hint in hints.items():
            # Required and NotRequired are not counted in `__required_keys__` where annotations
            # are strings: https://docs.python.org/3/library/typing.html#typing.TypedDict
            marks = _wrapper_names(hint)
            is_required = name in required_keys
            yield _RawField(
                name=name,
                type=hint,
                required=(is_required or "Required" in marks) and "NotRequired" not in marks,
            )


@attrs.frozen
class _RawField:
    name: str
    type: Any
    required: bool
    default: Any = NO_DEFAULT
    description: str | None = None


def _tag_shape(member: Member) -> Choice:
    return Choice(tuple((tag, tag) for tag in member.tags))


def _put_tag_first(record: Record, member: Member) -> None:
    """Make a field of the key that tells a record from the other members of its union."""
    name = member.tag_name or ""
    tag = Field(
        name=name,
        argument=name,
        shape=_tag_shape(member),
        required=not member.is_default,
        type=Literal[member.tags],
    )
    # The class may have it as a field of its own.
    for place, field in enumerate(record.fields):
        if field.name == name:
            record.fields[place] = attrs.evolve(field, shape=tag.shape, required=tag.required)
            return
    record.fields.insert(0, tag)


def _tagged(custom: Custom, member: Member) -> Custom:
    if custom.json_types != {"object"}:
        raise UnsupportedType(
            f"{_shown(member.type)} cannot be a member of a union with the tag "
            f"{member.tag_name!r}: the schema it was given is none of an object"
        )
    name = member.tag_name or ""
    properties: Mapping[str, Any] = custom.schema.get("properties", {})
    required: list[str] = custom.schema.get("required", [])
    tag = properties.get(name, {"type": "string", "enum": list(member.tags)})
    schema = {**custom.schema, "properties": {name: tag, **properties}}
    if not member.is_default:
        schema["required"] = [name, *(other for other in required if other != name)]
    return attrs.evolve(custom, schema=schema)


def _key(type_: Any) -> Any:
    try:
        hash(type_)
    except TypeError:
        # There is ``Annotated`` metadata in it that cannot be hashed.
        return repr(type_)
    return type_


def _unresolved(annotation: object, error: NameError) -> UnresolvedAnnotation:
    return UnresolvedAnnotation(
        f"annotation {annotation!r} cannot be evaluated: {error}; define or import the name where "
        "it is used, and not only under `if TYPE_CHECKING:`"
    )


def peel(type_: Any) -> tuple[Any, tuple[Any, ...]] | None:
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
        return type_.__origin__, type_.__metadata__
    if origin in (Union, types.UnionType, Literal) or isinstance(origin, type):
        return None
    if isinstance(type_, typing.NewType):
        return type_.__supertype__, ()
    if _special_form(type_) in _WRAPPERS:
        return typing.get_args(type_)[0], ()
    return None


def hashable(type_: Any) -> Any:
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
        inner = hashable(type_.__origin__)
        found = [part for part in read_metadata(type_.__metadata__) if part is not None]
        return typing.Annotated[(inner, *found)] if found else inner
    if origin is None:
        return type_
    args = tuple(hashable(arg) for arg in typing.get_args(type_))
    if origin in (Union, types.UnionType):
        return Union[args]  # noqa: UP007  the members are known at run time
    copy_with: Callable[[Any], Any] | None = getattr(type_, "copy_with", None)
    return origin[args] if copy_with is None else copy_with(args)


def _wrapper_names(type_: Any) -> set[str]:
    names: set[str] = set()
    while (name := _special_form(type_)) in _WRAPPERS or name == "Annotated":
        names.add(name)
        type_ = typing.get_args(type_)[0]
    return names


def _special_form(type_: Any) -> str:
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


def _is_type_alias(type_: Any) -> bool:
    # typing has it from Python 3.12 on, typing_extensions before.
    return type(type_).__name__ == "TypeAliasType"


def _is_typed_dict(class_: Any) -> bool:
    # `typing.is_typeddict` does not know the typed dicts of typing_extensions.
    return dict in class_.__mro__ and hasattr(class_, "__required_keys__")


def _globals_of(definition: Any) -> dict[str, Any]:
    module = sys.modules.get(definition.__module__)
    return dict(vars(module)) if module is not None else {}


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
        description=_own_docstring(class_),
    )


def _json_value_of(member: enum.Enum) -> JSONScalar:
    value: object = member.value
    # By exact type: what only inherits from str is not read back.
    if value is None or type(value) in _SCALARS:
        return cast("JSONScalar", value)
    raise UnsupportedType(
        f"{member} has the value {value!r}, which has no JSON form; use strings or numbers"
    )


_UNWRITTEN_DOCSTRINGS: Final = ("An enumeration.", "Enum where members are also (and must be) ints")


def _own_docstring(class_: type[Any]) -> str | None:
    """The docstring somebody wrote; not an inherited one, nor one that was generated."""
    docstring: object = class_.__dict__.get("__doc__")
    if not isinstance(docstring, str) or docstring in _UNWRITTEN_DOCSTRINGS:
        return None
    # Those of dataclasses and named tuples are the name and the signature.
    may_be_generated = dataclasses.is_dataclass(class_) or issubclass(class_, tuple)
    if may_be_generated and docstring.startswith(f"{class_.__name__}("):
        return None
    return inspect.cleandoc(docstring)


def _definition_name(type_: Any) -> str:
    origin = typing.get_origin(type_) or type_
    names = [origin.__name__, *(_argument_name(arg) for arg in typing.get_args(type_))]
    return "_".join(names)


def _argument_name(type_: Any) -> str:
    name = _definition_name(type_) if hasattr(type_, "__name__") else repr(type_)
    return "".join(character if character.isalnum() else "_" for character in name)


def _shown(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) else repr(type_).replace("typing.", "")


def type_parameters(definition: Any) -> dict[str, Any]:
    """The type parameters that a definition declares in brackets, by name (PEP 695).

    Args:
        definition: A class, function or type alias.

    Returns:
        What a string annotation in it may name. Empty before Python 3.12.
    """
    parameters: tuple[Any, ...] = getattr(definition, "__type_params__", ())
    return {parameter.__name__: parameter for parameter in parameters}


# --- Generics ------------------------------------------------------------------------------------


def _substitute(type_: Any, arguments: Mapping[Any, Any]) -> Any:
    """Put arguments in the place of type variables."""
    if isinstance(type_, TypeVar):
        return arguments.get(type_, type_)
    parameters = () if inspect.isclass(type_) else _parameters(type_)
    if not parameters:
        return type_
    return cast("Any", type_)[
        tuple(arguments.get(parameter, parameter) for parameter in parameters)
    ]


def _parameters(type_: Any) -> tuple[Any, ...]:
    return getattr(type_, "__parameters__", ())


def _type_arguments(type_: Any) -> dict[Any, dict[Any, Any]]:
    """For each generic base of a type, what its type variables stand for."""
    origin = typing.get_origin(type_) or type_
    own = dict(zip(_parameters(origin), typing.get_args(type_), strict=False))
    arguments = {origin: own}
    for base in getattr(origin, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, Generic, Protocol):
            arguments.update(_type_arguments(_substitute(base, own)))
    return arguments


# --- Metadata ------------------------------------------------------------------------------------

_CONSTRAINTS: Final = tuple(attribute.name for attribute in attrs.fields(Constraints))


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


# --- Sets and keys -------------------------------------------------------------------------------


def _is_hashable(shape: Shape) -> bool:
    match shape:
        case Array(item=item, build=build):
            return build in (tuple, frozenset) and _is_hashable(item)
        case Custom(type=type_):
            return getattr(type_, "__hash__", None) is not None
        case FixedTuple(items=members) | OneOf(members=members):
            return all(_is_hashable(member) for member in members)
        case StringKeyed():
            return False
        case Record(hashable=hashable):
            return hashable
        case Foreign(python=python):
            return getattr(python, "__hash__", None) is not None
        case Refined(inner=inner):
            return _is_hashable(inner)
        case _:
            return True


def _is_key(shape: Shape) -> bool:
    match shape:
        case Scalar(python=python):
            return python is not bool
        case Text():
            return True
        case Choice(members=members):
            return all(isinstance(value, str) for value, _ in members)
        case Refined(inner=inner):
            return _is_key(inner)
        case Custom(json_types=json_types):
            return json_types == {"string"}
        case _:
            return False
