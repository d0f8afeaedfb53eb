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
from ._docstrings import read_docstring
from ._foreign import is_foreign

__all__ = [
    "NO_DEFAULT",
    "Alias",
    "Anything",
    "Array",
    "Choice",
    "Constraints",
    "Field",
    "FixedTuple",
    "Foreign",
    "JSONScalar",
    "Null",
    "OneOf",
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
    "type_parameters",
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


@attrs.frozen(eq=False)
class Array:
    """Lists, sets and tuples of any length."""

    item: Shape
    """What each item looks like."""

    build: Callable[[list[Any]], Any]
    """Makes the value from a list."""

    unique: bool = False
    """Whether it is a set."""


@attrs.frozen(eq=False)
class FixedTuple:
    """A tuple of a fixed length."""

    items: tuple[Shape, ...]
    """One for each place."""


@attrs.frozen(eq=False)
class StringKeyed:
    """A mapping."""

    key: Shape
    """What the keys look like, which JSON writes as strings."""

    value: Shape
    """What the values look like."""

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

    targets: list[Shape] = attrs.field(factory=list[Any])
    """What it stands for, once that is known."""

    @property
    def target(self) -> Shape:
        """What it stands for."""
        return self.targets[0]


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


class Types:
    """Reads types into shapes. One for each tool, so that nothing outlives the tool.

    Args:
        scope: Names of the local scope in which string annotations are evaluated.
    """

    def __init__(self, scope: Mapping[str, Any] | None = None) -> None:
        self._scope = dict(scope or {})
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
        type_, metadata = _unwrap(type_)
        return _refined(self._bare_shape(type_), metadata)

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
        shape = self.shape(type_)
        if read_specifier(default) is not None:
            shape = _refined(shape, [default])
            required, default = True, NO_DEFAULT
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

    def _bare_shape(self, type_: Any) -> Shape:
        known = self._known.get(_key(type_))
        if known is None:
            known = self._new_shape(type_)
            # A record and an alias are known from before their parts were read.
            known = self._known.setdefault(_key(type_), known)
        return known

    def _new_shape(self, type_: Any) -> Shape:
        origin, args = typing.get_origin(type_), typing.get_args(type_)
        if type_ is Any or type_ is object:
            return Anything()
        if type_ is None or type_ is types.NoneType:
            return Null()
        if isinstance(type_, TypeVar):
            return self.shape(_upper_bound(type_))
        if origin is Literal:
            return Choice(tuple(_literal_member(arg) for arg in args))
        if origin in (Union, types.UnionType):
            return self._union(args)
        if _is_type_alias(origin or type_):
            return self._alias(type_)
        class_ = origin or type_
        if not inspect.isclass(class_):
            raise UnsupportedType(f"{_shown(type_)} has no JSON form; {_REMEDY}")
        if class_ in _ARRAYS:
            return self._array(class_, args)
        if class_ in _MAPPINGS:
            return self._mapping(type_, args)
        if class_ is tuple:
            return self._tuple(args, is_bare=origin is None)
        return self._class(type_, class_)

    def _class(self, type_: Any, class_: Any) -> Shape:
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
            return self._record(type_, class_, self._typed_dict_fields)
        if tuple in bases and hasattr(class_, "_fields"):
            return self._record(type_, class_, self._named_tuple_fields)
        if attrs.has(class_):
            return self._record(type_, class_, self._attrs_fields)
        if hasattr(class_, "__dataclass_fields__"):
            return self._record(type_, class_, self._dataclass_fields)
        raise UnsupportedType(f"{_shown(type_)} has no JSON form; {_REMEDY}")

    def _union(self, args: Iterable[Any]) -> Shape:
        members: list[Shape] = []
        for arg in args:
            shape = self.shape(arg)
            members.extend(shape.members if isinstance(shape, OneOf) else [shape])
        return OneOf(tuple(members))

    def _array(self, class_: Any, args: tuple[Any, ...]) -> Shape:
        item = self.shape(args[0]) if args else Anything()
        is_set = class_ in _SETS
        if is_set and not _is_hashable(item):
            raise UnsupportedType(
                f"the items of a {_shown(class_)} must be hashable, and {_shown(args[0])} is not; "
                "use a list, or a frozen class"
            )
        return Array(item, _ARRAYS[class_], unique=is_set)

    def _tuple(self, args: tuple[Any, ...], *, is_bare: bool) -> Shape:
        if is_bare:
            return Array(Anything(), tuple)
        if len(args) == 2 and args[1] is Ellipsis:
            return Array(self.shape(args[0]), tuple)
        return FixedTuple(tuple(self.shape(arg) for arg in args))

    def _mapping(self, type_: Any, args: tuple[Any, ...]) -> Shape:
        key, value = [self.shape(arg) for arg in args] or (Scalar(str), Anything())
        if isinstance(key, Anything):
            key = Scalar(str)
        if not _is_key(key):
            raise UnsupportedType(
                f"{_shown(type_)} has keys that are not written as strings; use str keys"
            )
        return StringKeyed(key, value, _MAPPINGS[typing.get_origin(type_) or type_])

    def _alias(self, type_: Any) -> Shape:
        alias = typing.get_origin(type_) or type_
        reference = Alias(_definition_name(type_))
        self._known[_key(type_)] = reference
        parameters = dict(zip(alias.__type_params__, typing.get_args(type_), strict=False))
        value = self.resolve(alias.__value__, _globals_of(alias), type_parameters(alias))
        reference.targets.append(self.shape(_substitute(value, parameters)))
        return reference

    # --- Classes with fields ---------------------------------------------------------------------

    def _record(
        self,
        type_: Any,
        class_: type[Any],
        read_fields: Callable[[type[Any], dict[str, Any]], Iterable[_RawField]],
    ) -> Shape:
        docstring = read_docstring(_own_docstring(class_))
        record = Record(
            name=_definition_name(type_),
            build=class_,
            description=docstring.description or None,
            is_tuple=issubclass(class_, tuple),
            hashable=class_.__hash__ is not None,
        )
        self._known[_key(type_)] = record
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


_REMEDY: Final = (
    "use a class with typed fields (attrs, dataclass, TypedDict, NamedTuple), or a raw schema"
)


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


def _unwrap(type_: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take ``Annotated``, ``NewType``, ``Final`` and the like off; return their metadata."""
    metadata: tuple[Any, ...] = ()
    while True:
        if typing.get_origin(type_) is typing.Annotated:
            metadata = (*type_.__metadata__, *metadata)
            type_ = type_.__origin__
        elif isinstance(type_, typing.NewType):
            type_ = type_.__supertype__
        elif _special_form(type_) in _WRAPPERS:
            (type_,) = typing.get_args(type_)
        else:
            return type_, metadata


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


def _upper_bound(variable: Any) -> Any:
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


def _refined(shape: Shape, metadata: Iterable[Any]) -> Shape:
    """The shape of a type about which metadata say more."""
    constraints, description, declared = _read_metadata(metadata)
    if constraints is None and description is None and declared is None:
        return shape
    return Refined(shape, constraints, description, declared)


def _declared_by(shape: Shape) -> Declared | None:
    """What the field specifiers of a type say, the outermost first."""
    declared: Declared | None = None
    while True:
        match shape:
            case Refined(inner=inner):
                declared = merge(declared, shape.declared)
                shape = inner
            case Alias(targets=[target]):
                shape = target
            case _:
                return declared


def _read_metadata(
    metadata: Iterable[Any],
) -> tuple[Constraints | None, str | None, Declared | None]:
    """Read ``Annotated`` metadata by the names of its attributes.

    That covers annotated_types, ``typing_extensions.Doc``, ``msgspec.Meta`` and pydantic's
    ``Field`` (which keeps its constraints in a list) without importing any of them.
    """
    found: dict[str, Any] = {}
    description: str | None = None
    declared: Declared | None = None
    for item in metadata:
        if isinstance(item, str):
            description = item
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
        case _:
            return False
