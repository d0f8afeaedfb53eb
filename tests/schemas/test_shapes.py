# ruff: noqa: PYI061, UP007, UP045  every spelling of a union is to be read

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import pathlib
import sys
import types
from collections import abc
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions

from lktrio._schemas.introspection import Types
from lktrio._schemas.json_schema import root_schema
from lktrio._schemas.shapes import accepts_null
from lktrio._schemas.type_hints import UnresolvedAnnotation, UnsupportedType

T = TypeVar("T")
U = TypeVar("U")


def schema(type_: Any) -> dict[str, Any]:
    return root_schema(Types().shape(type_))


def members(type_: Any) -> dict[str, Any]:
    return schema(type_)["properties"]


# --- Classes -------------------------------------------------------------------------------------


@attrs.define
class Base(Generic[T]):
    item: T


@attrs.define
class Derived(Base[int], Generic[T]):
    other: T


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T
    more: list[Box[T]] = dataclasses.field(default_factory=list)


class Typed(TypedDict, Generic[T]):
    value: T


class Named(NamedTuple, Generic[T]):
    value: T


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (Base[str], {"item": {"type": "string"}}),
        (Base, {"item": {}}),
        # The same type variable means two things.
        (Derived[str], {"item": {"type": "integer"}, "other": {"type": "string"}}),
        (Typed[str], {"value": {"type": "string"}}),
    ],
    ids=repr,
)
def test_type_variables_are_filled_in(type_: Any, expected: dict[str, Any]) -> None:
    assert members(type_) == expected


def test_a_generic_class_may_hold_itself() -> None:
    assert schema(list[Box[int]]) == {
        "type": "array",
        "items": {"$ref": "#/$defs/Box_int"},
        "$defs": {
            "Box_int": {
                "type": "object",
                "properties": {
                    "inside": {"type": "integer"},
                    "more": {"type": "array", "items": {"$ref": "#/$defs/Box_int"}},
                },
                "required": ["inside"],
            }
        },
    }


def test_named_tuples_may_be_generic() -> None:
    assert schema(Named[bool])["items"] == {"type": "boolean"}


def test_the_name_of_a_definition_says_what_fills_it() -> None:
    definitions = schema(tuple[Box[int], Box[list[str]], Box[Literal["a b"]]])["$defs"]

    assert list(definitions) == ["Box_int", "Box_list_str", "Box_Literal__a_b_"]


S = TypeVar("S", bound=int)
V = TypeVar("V", int, str)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (S, {"type": "integer"}),
        (V, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (T, {}),
    ],
    ids=repr,
)
def test_a_type_variable_that_nothing_fills_means_its_bound(
    variable: Any, expected: dict[str, Any]
) -> None:
    assert schema(variable) == expected


@dataclasses.dataclass
class Everything:
    a: int
    _: dataclasses.KW_ONLY
    b: dataclasses.InitVar[str]
    c: ClassVar[int] = 3
    d: int = dataclasses.field(default=4, metadata={"description": "the d"})
    e: int = dataclasses.field(init=False, default=5)
    f: Final[int] = 6
    g: int


def test_the_arguments_of_a_dataclass_are_its_fields_in_the_order_of_definition() -> None:
    assert schema(Everything) == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "string"},
            "d": {"type": "integer", "description": "the d", "default": 4},
            "f": {"type": "integer", "default": 6},
            "g": {"type": "integer"},
        },
        "required": ["a", "b", "g"],
    }


@attrs.define
class Aliased:
    _private: int
    hidden: int = attrs.field(init=False, default=1)
    computed: list[int] = attrs.field(factory=list)
    renamed: int = attrs.field(alias="other", default=2, metadata={"description": "renamed"})


def test_the_arguments_of_an_attrs_class_have_the_names_it_is_made_with() -> None:
    plain = attrs.make_class("Plain", {"x": attrs.field(type=int)})

    assert members(Aliased) == {
        "private": {"type": "integer"},
        "computed": {"type": "array", "items": {"type": "integer"}},
        "other": {"type": "integer", "description": "renamed", "default": 2},
    }
    assert members(plain) == {"x": {"type": "integer"}}


class Partial(TypedDict, total=False):
    needed: Required[int]
    left: Annotated[Required[int], "still needed"]
    out: str


class More(Partial):
    own: NotRequired[Annotated[int, "mine"]]
    must: bool


class ExtendedDict(typing_extensions.TypedDict, total=False):
    a: typing_extensions.Required[int]
    b: typing_extensions.ReadOnly[str]


@pytest.mark.parametrize(
    ("type_", "required"),
    [
        (Partial, ["needed", "left"]),
        (More, ["needed", "left", "must"]),
        (ExtendedDict, ["a"]),
    ],
    ids=repr,
)
def test_typed_dicts_say_what_is_required(type_: Any, required: list[str]) -> None:
    assert schema(type_)["required"] == required


def test_the_docstring_of_a_class_describes_its_fields() -> None:
    @attrs.frozen
    class Place:
        """Somewhere.

        Attributes:
            lat: Degrees north.
            lon: Degrees east.
        """

        lat: float
        lon: Annotated[float, "Degrees east of Greenwich."]

    described = schema(Place)

    assert described["description"] == "Somewhere."
    assert described["properties"]["lat"]["description"] == "Degrees north."
    assert described["properties"]["lon"]["description"] == "Degrees east of Greenwich."


def test_generated_and_inherited_docstrings_are_no_descriptions() -> None:
    @dataclasses.dataclass
    class Generated:
        x: int

    class Pair(NamedTuple):
        x: int

    class Level(enum.IntEnum):
        LOW = 1

    @attrs.frozen
    class Undocumented(Base[int]):
        y: int

    assert [key for t in (Generated, Pair, Level, Undocumented) for key in schema(t)].count(
        "description"
    ) == 0


# --- Aliases and wrappers ------------------------------------------------------------------------

UserId = NewType("UserId", int)
Nested = NewType("Nested", UserId)
Json = typing_extensions.TypeAliasType("Json", "str | list[Json] | None")
Listed = typing_extensions.TypeAliasType("Listed", list[T], type_params=(T,))


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (Nested, {"type": "integer"}),
        (Listed[int], {"type": "array", "items": {"type": "integer"}}),
        (Annotated[Annotated[int, "inner"], "outer"], {"type": "integer", "description": "outer"}),
        (
            Union[int, str | None],
            {"anyOf": [{"type": t} for t in ("integer", "string", "null")]},
        ),
        (list, {"type": "array", "items": {}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (collections.deque[int], {"type": "array", "items": {"type": "integer"}}),
        (abc.Iterable[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[()], {"type": "array", "items": {"type": "string"}, "maxItems": 0}),
        (pathlib.PurePosixPath, {"type": "string", "format": "path"}),
        (dict[Any, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
    ids=repr,
)
def test_a_type_may_be_written_in_many_ways(type_: Any, expected: dict[str, Any]) -> None:
    assert schema(type_) == expected


def test_type_parameters_in_brackets_may_be_named_in_strings() -> None:
    # As `class Ring[E]` and `type Pairs[E]` have them from Python 3.12 on.
    element = TypeVar("E")  # noqa: PLC0132  # pyright: ignore[reportGeneralTypeIssues]  not in scope

    @attrs.frozen
    class Ring(Generic[element]):
        value: E  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    Ring.__type_params__ = (element,)  # type: ignore[attr-defined]
    pairs = typing_extensions.TypeAliasType("pairs", "tuple[E, E]", type_params=(element,))  # noqa: F821

    assert schema(Ring[int])["properties"] == {"value": {"type": "integer"}}
    assert schema(pairs[int])["items"] == {"type": "integer"}


def test_an_alias_may_refer_to_itself() -> None:
    assert schema(dict[str, Json]) == {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/Json"},
        "$defs": {
            "Json": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"$ref": "#/$defs/Json"}},
                    {"type": "null"},
                ]
            }
        },
    }


def test_null_may_be_a_value_of_many_types() -> None:
    def takes(type_: Any) -> bool:
        return accepts_null(Types().shape(type_))

    assert all(map(takes, [None, Any, object, Optional[int], Literal["a", None], Json]))
    assert takes(Annotated[int | None, "maybe"])
    assert not any(map(takes, [int, Literal["a"], list[None], Box, Union[int, str]]))


# --- Metadata ------------------------------------------------------------------------------------


@attrs.frozen
class Interval:
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (Interval(gt=1, le=5), {"exclusiveMinimum": 1, "maximum": 5}),
        (msgspec.Meta(ge=1, description="a count"), {"minimum": 1, "description": "a count"}),
        (pydantic.Field(lt=9, description="few"), {"exclusiveMaximum": 9, "description": "few"}),
        (typing_extensions.Doc("documented"), {"description": "documented"}),
        (Interval, {}),
        pytest.param(object(), {}, id="object"),
    ],
    ids=repr,
)
def test_metadata_is_read_by_the_names_of_its_attributes(
    metadata: object, expected: dict[str, Any]
) -> None:
    assert schema(Annotated[int, metadata]) == {"type": "integer", **expected}


def test_metadata_need_not_be_hashable() -> None:
    unhashable = Annotated[int, {"ui": "slider"}, "a slider"]

    assert schema(list[unhashable])["items"] == {"type": "integer", "description": "a slider"}
    assert schema(Base[unhashable])["properties"]["item"]["description"] == "a slider"

    bounded = Annotated[int, pydantic.Field(default=4, ge=1), {"ui": "slider"}]
    assert schema(Base[bounded])["properties"]["item"] == {
        "type": "integer",
        "minimum": 1,
        "default": 4,
    }


@pytest.mark.skipif(sys.version_info < (3, 13), reason="no such union can be made")
def test_metadata_in_a_union_need_not_be_hashable() -> None:
    either = schema(Base[Union[Annotated[int, {"ui": "slider"}, "a slider"], str]])

    assert either["properties"]["item"]["anyOf"] == [
        {"type": "integer", "description": "a slider"},
        {"type": "string"},
    ]


# --- What has no JSON form -----------------------------------------------------------------------


class Plain:
    pass


class Nothing(enum.Enum):
    pass


class Tuples(enum.Enum):
    A = (1, 2)


class Words(str):  # noqa: SLOT000  as people write it
    pass


Untyped = collections.namedtuple("Untyped", ["x"])  # noqa: PYI024  that is what is refused
Unannotated = attrs.make_class("Unannotated", ["x"])


@attrs.define
class Mutable:
    x: int


@attrs.define
class Holder:
    inside: Plain


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (Plain, "Plain has no JSON form; use a class with typed fields"),
        (Nothing, "Nothing has no members"),
        (Words, "Words has no JSON form"),
        (complex, "complex has no JSON form"),
        (Callable[[int], str], "Callable.* has no JSON form"),
        (5, "5 has no JSON form"),
        (Final, "Final has no JSON form"),
        (Literal[b"x"], r"Literal\[b'x'\] has no JSON form; use strings"),
        (Tuples, r"Tuples.A has the value \(1, 2\)"),
        (Untyped, "field 'x' of Untyped has no annotation"),
        (Unannotated, "field 'x' of Unannotated has no annotation"),
        (set[list[int]], r"the items of a set must be hashable, and list\[int\] is not"),
        (frozenset[Mutable], "the items of a frozenset must be hashable, and Mutable is not"),
        (set[tuple[int, dict[str, int]]], "must be hashable"),
        (set[Annotated[list[int], "x"]], "must be hashable"),
        (set[int | list[int]], "must be hashable"),
        (dict[tuple[int, int], str], "has keys that are not written as strings; use str keys"),
        (dict[bool, str], "use str keys"),
        (dict[Literal[1], str], "use str keys"),
        (Holder, "field 'inside' of Holder: Plain has no JSON form"),
    ],
    ids=repr,
)
def test_a_type_without_a_json_form_is_refused_with_a_way_out(type_: Any, message: str) -> None:
    with pytest.raises(UnsupportedType, match=message):
        Types().shape(type_)


@pytest.mark.parametrize(
    "type_",
    [
        set[tuple[int, ...]],
        set[frozenset[str]],
        set[tuple[int, str]],
        frozenset[int | str],
        set[Any],
        set[datetime.date],
        set[Named[int]],
        set[Annotated[int, "x"]],
        dict[Annotated[str, "x"], int],
        dict[datetime.date, int],
        dict[Literal["a", "b"], int],
    ],
    ids=repr,
)
def test_what_can_be_hashed_may_be_in_a_set_or_a_key(type_: Any) -> None:
    assert schema(type_)


# --- String annotations --------------------------------------------------------------------------


def test_a_local_class_may_name_itself_and_what_surrounds_it() -> None:
    @attrs.frozen
    class Leaf:
        x: int

    @attrs.frozen
    class Tree:
        leaf: Leaf
        children: list[Tree]

    shape = Types({"Leaf": Leaf}).shape(Tree)

    assert root_schema(shape)["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_a_name_that_is_not_defined_is_told_apart() -> None:
    types_ = Types()

    with pytest.raises(UnresolvedAnnotation, match=r"name 'Missing' is not defined.*TYPE_CHECKING"):
        types_.resolve("Missing", {})


@pytest.mark.parametrize("annotation", ["a b", "1 +", "pathlib.Nothing", "[int, 5]"])
def test_an_annotation_that_is_none_is_refused(annotation: str) -> None:
    with pytest.raises(UnsupportedType, match=r"cannot be evaluated|no JSON form"):
        types_ = Types()
        types_.shape(types_.resolve(annotation, globals()))


def test_annotations_may_be_evaluated_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As in Python 3.14, where asking is what raises.
    def ask(class_: type[Any]) -> dict[str, Any]:
        raise NameError("name 'Missing' is not defined")

    monkeypatch.setattr("inspect.get_annotations", ask)

    with pytest.raises(UnresolvedAnnotation, match=r"of object' cannot be evaluated: .*'Missing'"):
        Types().shape(Box[int])


def test_an_unresolved_field_stays_unresolved() -> None:
    @attrs.frozen
    class Waiting:
        later: Later  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    @attrs.frozen
    class Outer:
        inner: Waiting

    with pytest.raises(UnresolvedAnnotation, match="'Later'"):
        Types({"Waiting": Waiting}).shape(Outer)


def test_a_class_without_a_module_is_read_too() -> None:
    orphan = types.new_class("Orphan", (), {}, lambda ns: ns.update(__annotations__={"x": int}))
    orphan.__module__ = "nowhere"
    assert "nowhere" not in sys.modules

    assert members(dataclasses.dataclass(orphan)) == {"x": {"type": "integer"}}
