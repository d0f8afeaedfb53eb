"""Field specifiers in the place of a default, and in ``Annotated``."""

# ruff: noqa: B008, RUF009  a call in the place of a default is what is read

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from annotated_types import Ge
from pydantic import Field

from lktrio import FunctionTool, ToolError, function_tool
from lktrio._schemas.declared import Declared, merge, read_specifier


def values(tool: FunctionTool[..., Any], **arguments: Any) -> dict[str, Any]:
    return dict(tool.decode_arguments(json.dumps(arguments)).values)


def parameters(tool: FunctionTool[..., Any], *, strict: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = tool.definition(strict=strict)["function"]["parameters"]
    return schema


def member(tool: FunctionTool[..., Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = parameters(tool)["properties"][name]
    return schema


def make(annotation: Any, default: Any = dataclasses.MISSING) -> FunctionTool[..., Any]:
    if default is dataclasses.MISSING:

        def tool(x: Any) -> Any:
            return x
    else:

        def tool(x: Any = default) -> Any:
            return x

    tool.__annotations__ = {"x": annotation}
    return function_tool(tool)


FIVE: list[tuple[Any, Any]] = [
    (int, Field(5)),
    (int, Field(default=5)),
    (int, Field(default_factory=lambda: 5)),
    (int, dataclasses.field(default=5)),
    (int, dataclasses.field(default_factory=lambda: 5)),
    (int, attrs.field(default=5)),
    (int, attrs.field(factory=lambda: 5)),
    (int, msgspec.field(default=5)),
    (int, msgspec.field(default_factory=lambda: 5)),
    (Annotated[int, Field(default=5)], dataclasses.MISSING),
    (Annotated[int, Field(default_factory=lambda: 5)], dataclasses.MISSING),
    (Annotated[Annotated[int, Field(default=5)], Field(description="x")], dataclasses.MISSING),
    (Annotated[int, Field(default=6)], Field(5)),
    (Annotated[int, Field(default=6)], 5),
    (Annotated[int, Field(default=6), Field(default=5)], dataclasses.MISSING),
    (Annotated[int, Field(default=5)], Field(description="x")),
    (
        typing_extensions.TypeAliasType("Five", Annotated[int, Field(default=5)]),
        dataclasses.MISSING,
    ),
]


@pytest.mark.parametrize(("annotation", "default"), FIVE)
def test_the_default_is_that_of_the_field(annotation: Any, default: Any) -> None:
    tool = make(annotation, default)

    for arguments in ({}, {"x": None}):
        args, kwargs = tool.decode_arguments(json.dumps(arguments)).bind()
        assert tool(*args, **kwargs) == 5
    assert values(tool, x=7) == {"x": 7}
    assert "required" not in parameters(tool)
    assert member(tool, "x").get("default", 5) == 5
    # Called from Python, it has the same default.
    assert tool() == 5
    assert tool(7) == tool(x=7) == 7


REQUIRED: list[tuple[Any, Any]] = [
    (int, Field()),
    (int, Field(...)),
    (int, Field(description="x", ge=1)),
    (int, dataclasses.field()),
    (int, attrs.field()),
    (int, msgspec.field()),
    (Annotated[int, Field(ge=1)], dataclasses.MISSING),
    (Annotated[int, Field(...)], dataclasses.MISSING),
    # The default of what is inside of a type is none of the parameter's.
    (list[Annotated[int, Field(default=5)]], dataclasses.MISSING),
]


@pytest.mark.parametrize(("annotation", "default"), REQUIRED)
def test_without_a_default_it_is_required(annotation: Any, default: Any) -> None:
    tool = make(annotation, default)

    assert parameters(tool)["required"] == ["x"]
    with pytest.raises(ToolError, match="x: required but missing"):
        tool.decode_arguments("{}")
    with pytest.raises(ToolError, match="x: expected"):
        tool.decode_arguments('{"x": null}')
    with pytest.raises(TypeError, match="argument"):
        tool()


def test_bounds_and_description_are_those_of_the_field() -> None:
    @function_tool
    def tool(
        n: int = Field(default=4, description="How many.", ge=1, le=9),
        name: Annotated[str, "Ignored."] = Field("x", description="Who.", pattern="^x"),
        tags: list[str] = Field(default_factory=list, max_length=2),
        note: str = dataclasses.field(default="", metadata={"description": "Why."}),
        where: str = attrs.field(default="", metadata={"description": "Where."}),
    ) -> None:
        """Do.

        Args:
            n: Ignored too.
            tags: Which.
        """

    assert parameters(tool)["properties"] == {
        "n": {
            "type": "integer",
            "minimum": 1,
            "maximum": 9,
            "description": "How many.",
            "default": 4,
        },
        "name": {"type": "string", "pattern": "^x", "description": "Who.", "default": "x"},
        "tags": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": 2,
            "description": "Which.",
        },
        "note": {"type": "string", "description": "Why.", "default": ""},
        "where": {"type": "string", "description": "Where.", "default": ""},
    }
    assert values(tool) == {"n": 4, "name": "x", "tags": [], "note": "", "where": ""}
    with pytest.raises(ToolError, match="n: expected a value >= 1"):
        tool.decode_arguments('{"n": 0}')
    with pytest.raises(ToolError, match="tags: expected at most 2 items"):
        tool.decode_arguments('{"tags": ["a", "b", "c"]}')


def test_the_name_in_json_may_be_another() -> None:
    @function_tool
    def tool(
        from_: str = Field(alias="from"), to: Annotated[int, Field(validation_alias="To")] = 1
    ) -> None: ...

    assert list(parameters(tool)["properties"]) == ["from", "To"]
    assert values(tool, **{"from": "x", "To": 2}) == {"from_": "x", "to": 2}


def test_a_default_is_made_anew_for_each_call() -> None:
    @function_tool
    def tool(
        a: list[int] = Field(default=[]),
        b: dict[str, list[int]] = Field(default={"x": []}),
        c: Annotated[list[int], Field(default_factory=list)] = Field(),
    ) -> None: ...

    first, second = values(tool), values(tool)
    first["a"].append(1)
    first["b"]["x"].append(1)
    first["c"].append(1)
    assert second == {"a": [], "b": {"x": []}, "c": []}


def test_a_sentinel_stays_the_same_object() -> None:
    sentinel = object()

    assert values(make(int, Field(default=sentinel)))["x"] is sentinel


def test_positional_parameters_have_their_defaults_too() -> None:
    @function_tool
    def tool(a: int = Field(1), b: int = 2, /, *, c: int = Field(3)) -> tuple[int, ...]:
        return a, b, c

    assert tool() == (1, 2, 3)
    assert tool(5, 6, c=7) == (5, 6, 7)
    args, kwargs = tool.decode_arguments('{"b": 9}').bind()
    assert tool(*args, **kwargs) == (1, 9, 3)


class Agent:
    @function_tool
    def tool(self, x: int = Field(default=5, ge=1)) -> tuple[Agent, int]:
        return self, x


def test_a_method_has_them_too() -> None:
    agent = Agent()

    assert agent.tool() == (agent, 5)
    assert Agent.tool(agent) == (agent, 5)
    assert values(agent.tool) == {"x": 5}


def test_a_function_whose_annotations_are_for_type_checkers_is_still_called() -> None:
    @function_tool
    def tool(x: Missing = 1) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return x

    assert tool() == 1


# --- Fields of classes ---------------------------------------------------------------------------


@dataclasses.dataclass
class Data:
    a: int = Field(default=3, ge=1, description="The first.")
    b: Annotated[int, Field(default=4)] = dataclasses.field(kw_only=True)
    c: list[int] = Field(default_factory=list)
    d: str = Field(description="Who.", kw_only=True)


@attrs.define(kw_only=True)
class Attrs:
    a: int = Field(default=3, ge=1, description="The first.")
    b: Annotated[int, Field(default=4)]
    c: list[int] = Field(default_factory=list)
    d: str = Field(description="Who.")


class Named(NamedTuple):
    a: int = Field(default=3, ge=1, description="The first.")
    b: Annotated[int, Field(default=4)] = Field()
    c: list[int] = Field(default_factory=list)
    d: str = Field(description="Who.")


class Typed(TypedDict):
    a: Annotated[int, Field(default=3, ge=1, description="The first.")]
    b: Annotated[int, Field(default=4)]
    c: Annotated[list[int], Field(default_factory=list)]
    d: Annotated[str, Field(description="Who.")]


@pydantic.dataclasses.dataclass
class Validated:
    d: str = Field(description="Who.")
    a: int = Field(default=3, ge=1, description="The first.")
    b: Annotated[int, Field(default=4)] = 4
    c: list[int] = Field(default_factory=list)


@pytest.mark.parametrize("class_", [Data, Attrs, Named, Typed, Validated])
@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
def test_fields_of_classes_have_what_their_specifiers_say(class_: Any, nested: bool) -> None:
    tool = make(list[class_] if nested else class_)
    schema = parameters(tool)["$defs"][class_.__name__]
    places = schema.get("prefixItems", [])
    properties = schema.get("properties") or dict(zip("abcd", places, strict=True))

    assert properties["a"] == {
        "type": "integer",
        "minimum": 1,
        "description": "The first.",
        "default": 3,
    }
    assert properties["b"] == {"type": "integer", "default": 4}
    assert properties["d"] == {"type": "string", "description": "Who."}
    assert schema.get("required", ["d"]) == ["d"]

    def read(value: dict[str, Any]) -> Any:
        made = values(tool, x=[value] if nested else value)["x"]
        return made[0] if nested else made

    for value in ({"d": "x"}, {"a": None, "b": None, "c": None, "d": "x"}):
        assert read(value) == class_(a=3, b=4, c=[], d="x")
    assert read({"a": 7, "b": 8, "c": [9], "d": "x"}) == class_(a=7, b=8, c=[9], d="x")
    with pytest.raises(ToolError, match=r"d: required but missing"):
        read({})
    with pytest.raises(ToolError, match=r"a: expected a value >= 1"):
        read({"a": 0, "d": "x"})


def test_a_dataclass_of_pydantic_has_defaults_that_only_pydantic_makes() -> None:
    @pydantic.dataclasses.dataclass
    class Pair:
        one: int
        two: int = Field(default_factory=lambda data: data["one"] + 1, le=9)

    tool = make(Pair)
    assert values(tool, x={"one": 1}) == {"x": Pair(1, 2)}
    with pytest.raises(ToolError, match=r"x\.two: expected a value <= 9"):
        tool.decode_arguments('{"x": {"one": 1, "two": 10}}')


def test_strict_schemas_take_null_for_the_default() -> None:
    tool = make(Data)

    definition = parameters(tool, strict=True)["$defs"]["Data"]
    assert definition["required"] == ["a", "b", "c", "d"]
    assert definition["properties"]["a"]["type"] == ["integer", "null"]
    assert definition["properties"]["d"]["type"] == "string"


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specifier", "message"),
    [
        (Field(default_factory=lambda data: data["y"]), "takes the other values"),
        (attrs.field(default=attrs.Factory(len, takes_self=True)), "takes the instance"),
        (attrs.field(default=5, validator=attrs.validators.ge(1)), r"Annotated\[int"),
        (attrs.field(default=5, converter=int), "validator or converter"),
    ],
)
def test_what_only_the_other_library_does_is_refused(specifier: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"parameter 'x' of tool 'tool'.*{message}"):
        make(int, specifier)


def test_a_raw_tool_has_nobody_to_fill_a_field() -> None:
    def tool(raw_arguments: dict[str, object], x: int = Field(5)) -> None: ...

    with pytest.raises(TypeError, match="parameter 'x' of tool 'tool' is never filled"):
        function_tool(tool, raw_schema={"name": "tool"})


# --- Reading and joining -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 5, "x", [], ..., Ge(1), object(), int, Declared()])
def test_anything_else_is_no_specifier(value: object) -> None:
    assert read_specifier(value) is None


def test_the_outer_of_two_wins_where_both_speak() -> None:
    one = Declared(1, lambda: 1, "one", "The one.")
    empty = Declared()

    assert merge(None, None) is None
    assert merge(one, None) is merge(None, one) is one
    for joined in (merge(one, empty), merge(empty, one), merge(one, Declared(2, lambda: 2, "two"))):
        assert joined is not None
        assert (joined.default, joined.name, joined.description) == (1, "one", "The one.")
