"""Types of a program's own: hooks and schemas, in every place where a type may stand."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import json
import pathlib
import weakref
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)

import attrs
import cattrs
import pydantic
import pytest
import typing_extensions
from annotated_types import Ge
from cattrs.gen import make_dict_structure_fn, override
from cattrs.strategies import configure_tagged_union, include_subclasses, use_class_methods

import lktrio
from lktrio import (
    LLM,
    Converter,
    FunctionCall,
    Mismatch,
    RawFunctionTool,
    ToolContext,
    ToolError,
    ToolResult,
    execute_function_call,
    function_tool,
    make_converter,
)
from lktrio._schemas.descriptions import describe, json_types
from lktrio._schemas.response_format import AnswerShape, answer_shape
from lktrio._settings.request_options import merge_options, structure_options
from lktrio._tools.results import returned
from tests.support.json_schemas import fits, is_valid, strict_problems


class Money:
    """Known to no library: no fields, and text of its own."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    @classmethod
    def parse(cls, text: object) -> Money:
        if not isinstance(text, str) or not text.endswith(" EUR"):
            raise ValueError("an amount ends with EUR")
        return cls(round(float(text.removesuffix(" EUR")) * 100))

    def __str__(self) -> str:
        return f"{self.cents / 100:.2f} EUR"

    def __repr__(self) -> str:
        return f"Money({self.cents})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


MONEY_SCHEMA: Final = {"type": "string", "description": 'An amount such as "5.00 EUR".'}


def configure(converter: Any) -> None:
    """As a program with a converter of its own does it."""
    converter.register_structure_hook(Money, lambda value, _: Money.parse(value))
    converter.register_unstructure_hook(Money, str)


def money_converter() -> Converter:
    converter = make_converter()
    configure(converter)
    converter.register_json_schema(Money, MONEY_SCHEMA)
    return converter


MONEY: Final = money_converter()
FIVE: Final = Money(500)
ItemT = TypeVar("ItemT")


@attrs.frozen
class AttrsOrder:
    total: Money


@dataclasses.dataclass(frozen=True)
class Order:
    total: Money


class OrderDict(TypedDict):
    total: Money
    tip: NotRequired[Money]


class Line(NamedTuple):
    total: Money


@attrs.frozen
class Box(Generic[ItemT]):
    it: ItemT


@dataclasses.dataclass
class Chain:
    total: Money
    next: Chain | None = None


Price = NewType("Price", Money)
Prices = typing_extensions.TypeAliasType("Prices", "list[Money] | dict[str, Prices]")

PLACES: Final[list[tuple[Any, Any, Any]]] = [
    (Money, "5.00 EUR", FIVE),
    (list[Money], ["5.00 EUR"], [FIVE]),
    (tuple[Money, int], ["5.00 EUR", 1], (FIVE, 1)),
    (tuple[Money, ...], ["5.00 EUR"], (FIVE,)),
    (set[Money], ["5.00 EUR"], {FIVE}),
    (frozenset[Money], ["5.00 EUR"], frozenset({FIVE})),
    (collections.deque[Money], ["5.00 EUR"], collections.deque([FIVE])),
    (dict[str, Money], {"a": "5.00 EUR"}, {"a": FIVE}),
    (dict[Money, int], {"5.00 EUR": 1}, {FIVE: 1}),
    (Money | None, "5.00 EUR", FIVE),
    (Money | None, None, None),
    (Money | int, "5.00 EUR", FIVE),
    (list[Money] | int, ["5.00 EUR"], [FIVE]),
    (AttrsOrder, {"total": "5.00 EUR"}, AttrsOrder(FIVE)),
    (Order, {"total": "5.00 EUR"}, Order(FIVE)),
    (OrderDict, {"total": "5.00 EUR"}, {"total": FIVE}),
    (Line, ["5.00 EUR"], Line(FIVE)),
    (Box[Money], {"it": "5.00 EUR"}, Box(FIVE)),
    (Box[list[Money]], {"it": ["5.00 EUR"]}, Box([FIVE])),
    (Chain, {"total": "5.00 EUR", "next": {"total": "5.00 EUR"}}, Chain(FIVE, Chain(FIVE))),
    (Annotated[Money, "what it costs"], "5.00 EUR", FIVE),
    (list[Annotated[Money, {"not": "hashable"}]], ["5.00 EUR"], [FIVE]),
    (Price, "5.00 EUR", FIVE),
    (Final[Money], "5.00 EUR", FIVE),
    (Prices, {"a": ["5.00 EUR"]}, {"a": [FIVE]}),
]


@pytest.mark.parametrize(
    ("type_", "value", "expected"), PLACES, ids=lambda value: repr(value)[-60:]
)
class TestEveryPlace:
    """Each fails where the hook for `Money` is not honoured: nothing else can read or write it."""

    def test_in_arguments_and_results(self, type_: Any, value: Any, expected: Any) -> None:
        def pay(it: Any) -> Any:
            return it

        pay.__annotations__ = {"it": type_, "return": type_}
        tool = function_tool(pay, converter=MONEY)
        decoded = tool.decode_arguments(json.dumps({"it": value}))

        assert decoded.values == {"it": expected}
        assert type(decoded.values["it"]) is type(expected)
        written = tool.encode_output(decoded.values["it"])
        assert MONEY.structure(written, type_) == expected
        assert "5.00 EUR" in json.dumps(written) or value is None
        parameters = tool.definition(strict=False)["function"]["parameters"]
        assert is_valid(parameters)
        assert fits({"it": value}, parameters)
        strict = tool.definition()["function"]
        assert "strict" not in strict or strict_problems(strict["parameters"]) == []

    def test_in_answers(self, type_: Any, value: Any, expected: Any) -> None:
        if type_ == tuple[Money, int] or "dict" in str(type_) or type_ is Prices:
            pytest.skip("the strict dialect has no words for it")
        shape = AnswerShape(type_, MONEY)
        if type_ is Line:
            value = {"total": "5.00 EUR"}
        text = json.dumps({"value": value} if shape.is_wrapped else value)
        answer = lktrio.CollectedResponse(text=text, finish_reason="stop")

        assert shape.parse(answer) == expected

    def test_by_the_converter_itself(self, type_: Any, value: Any, expected: Any) -> None:
        assert MONEY.structure(value, type_) == expected


# --- Options -------------------------------------------------------------------------------------


def test_what_a_hook_writes_may_stand_in_options() -> None:
    options = structure_options(
        {
            "metadata": {"total": FIVE},
            "user": FIVE,
            "stop": [FIVE],
            "extra_headers": {"X-Total": FIVE},
            "extra_query": {"total": FIVE, "all": [FIVE]},
            "extra_body": {"a": [{"b": (FIVE,)}], FIVE: 1},
        },
        converter=MONEY,
    )

    assert options.body == {
        "metadata": {"total": "5.00 EUR"},
        "user": "5.00 EUR",
        "stop": ["5.00 EUR"],
    }
    assert options.headers == {"X-Total": "5.00 EUR"}
    assert options.query == {"total": "5.00 EUR", "all": ["5.00 EUR"]}
    assert options.extra_body == {"a": [{"b": ["5.00 EUR"]}], "5.00 EUR": 1}


def test_options_of_a_call_are_written_by_the_same_converter() -> None:
    merged = merge_options(instance={"user": FIVE}, call={"metadata": {"a": FIVE}}, converter=MONEY)

    assert merged.body == {"user": "5.00 EUR", "metadata": {"a": "5.00 EUR"}}


def test_what_has_no_hook_is_refused_in_options_as_ever() -> None:
    with pytest.raises(TypeError, match=r"metadata\.a=datetime.date\(.* it takes a string"):
        structure_options({"metadata": {"a": datetime.date(2024, 1, 1)}}, converter=MONEY)
    with pytest.raises(TypeError, match=r"metadata\.a=.*Money.* it takes a string"):
        structure_options({"metadata": {"a": FIVE}})


def test_options_that_hold_themselves_are_refused_with_a_converter_too() -> None:
    loop: list[object] = []
    loop.append(loop)

    with pytest.raises(ValueError, match="holds itself"):
        structure_options({"extra_body": {"a": loop}}, converter=MONEY)


async def test_an_llm_writes_its_options_and_reads_its_answers() -> None:
    llm = LLM(
        "m",
        base_url="http://localhost/v1",
        auth=None,
        converter=MONEY,
        extra_kwargs={"metadata": {"total": FIVE}},
    )

    assert llm.converter is MONEY
    assert llm._options.body == {"metadata": {"total": "5.00 EUR"}}
    assert llm.chat(chat_ctx=lktrio.ChatContext(), response_format=Order) is not None
    with pytest.raises(TypeError, match="Money has no JSON form"):
        LLM("m", base_url="http://localhost/v1", auth=None).chat(
            chat_ctx=lktrio.ChatContext(), response_format=Order
        )


def test_adapters_read_answers_as_their_models_do() -> None:
    def llm(converter: Converter | None) -> LLM:
        return LLM("m", base_url="http://localhost/v1", auth=None, converter=converter)

    other = make_converter()
    assert lktrio.FallbackAdapter([llm(None), llm(MONEY), llm(other)]).converter is MONEY
    assert lktrio.HedgeAdapter([llm(other), llm(MONEY)], after=1).converter is other
    assert lktrio.FallbackAdapter([llm(None), llm(None)]).converter is None


# --- What is refused -----------------------------------------------------------------------------


@function_tool(converter=MONEY)
def pay(amount: Money, parts: list[Money], note: Money | None = None) -> Money:
    """Pay.

    Args:
        amount: How much.
    """
    return amount


def test_what_a_hook_refuses_is_told_with_what_was_expected() -> None:
    with pytest.raises(ToolError) as caught:
        pay.decode_arguments('{"amount": "5", "parts": ["1 EUR", 2], "note": 3}')

    assert caught.value.message.splitlines()[1:-1] == [
        '- amount: expected an amount such as "5.00 EUR", got the string "5" (an amount ends with EUR)',
        '- parts[1]: expected an amount such as "5.00 EUR", got the number 2 (an amount ends with EUR)',
        '- note: expected an amount such as "5.00 EUR" or null, got the number 3',
    ]


def test_a_missing_value_is_described_by_its_schema() -> None:
    with pytest.raises(ToolError, match="amount: required but missing; expected an amount such as"):
        pay.decode_arguments('{"parts": []}')


def test_a_schema_says_what_a_parameter_is_for_and_how_it_is_written() -> None:
    properties = pay.definition(strict=False)["function"]["parameters"]["properties"]

    assert properties["amount"] == {
        "type": "string",
        "description": 'How much (An amount such as "5.00 EUR")',
    }
    assert properties["parts"]["items"] == MONEY_SCHEMA


def test_a_default_is_written_by_the_hook() -> None:
    @function_tool(converter=MONEY)
    def tip(amount: Money = FIVE) -> None: ...

    properties = tip.definition(strict=False)["function"]["parameters"]["properties"]
    assert properties["amount"]["default"] == "5.00 EUR"
    assert tip.decode_arguments('{"amount": null}').bind() == ((), {})


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), AttributeError("x")])
def test_a_mistake_in_a_hook_is_not_taken_for_a_misfit(error: Exception) -> None:
    def fail(value: object, _: object) -> Money:
        raise error

    converter = money_converter()
    converter.register_structure_hook(Money, fail)

    @function_tool(converter=converter)
    def f(amount: Money | None, parts: list[Money] | int = 1) -> None: ...

    for arguments in ('{"amount": "1 EUR"}', '{"amount": null, "parts": ["1 EUR"]}'):
        with pytest.raises(type(error)) as caught:
            f.decode_arguments(arguments)
        assert caught.value is error


async def test_a_mistake_in_a_hook_is_a_failure_of_its_tool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(value: object, _: object) -> Money:
        raise KeyError("sk-secret")

    converter = money_converter()
    converter.register_structure_hook(Money, fail)

    @function_tool(converter=converter)
    async def f(amount: Money) -> None: ...

    call = FunctionCall(call_id="1", name="f", arguments='{"amount": "1 EUR"}')
    result = await execute_function_call(call, ToolContext([f]))

    assert result.fnc_call_out.output == "An internal error occurred"
    assert isinstance(result.raw_exception, KeyError)
    assert "the tool f failed" in caplog.text


def test_a_hook_that_uses_the_converter_is_refused_with_a_path() -> None:
    @attrs.frozen
    class Pair:
        left: int
        right: int

    converter = make_converter()
    converter.register_json_schema(Pair, {"type": "array", "items": {"type": "integer"}})

    def read(value: Any, _: Any) -> Pair:
        left, right = converter.structure(value, tuple[int, int])
        return Pair(left, right)

    converter.register_structure_hook(Pair, read)

    @function_tool(converter=converter)
    def f(pairs: list[Pair]) -> None: ...

    assert f.decode_arguments('{"pairs": [[1, "2"]]}').values == {"pairs": [Pair(1, 2)]}
    with pytest.raises(ToolError, match=r"pairs\[1\]\[0\]: expected an integer, got true"):
        f.decode_arguments('{"pairs": [[1, 2], [true, 2]]}')


def test_what_only_half_is_known_of_is_refused_where_the_tool_is_made() -> None:
    with_hook, with_schema = make_converter(), make_converter()
    with_hook.register_structure_hook(Money, lambda value, _: Money.parse(value))
    with_schema.register_json_schema(Money, MONEY_SCHEMA)

    def f(amount: list[Money]) -> None: ...

    with pytest.raises(TypeError) as caught:
        function_tool(f, converter=with_hook)
    assert str(caught.value).endswith(
        "Money has a hook and no schema; write converter.register_json_schema(Money, {...})"
    )
    with pytest.raises(TypeError) as caught:
        function_tool(f, converter=with_schema)
    assert str(caught.value).endswith(
        "Money has a schema and no hook; write converter.register_structure_hook(Money, ...)"
    )
    with pytest.raises(TypeError) as caught:
        function_tool(f)
    assert "converter.register_structure_hook(Money, ...)" in str(caught.value)
    assert "converter.register_json_schema(Money, {...})" in str(caught.value)


def test_a_hook_without_a_schema_goes_with_the_schema_of_the_fields() -> None:
    converter = make_converter()

    @converter.register_structure_hook
    def read(value: Any, _: Any) -> AttrsOrder:
        return AttrsOrder(Money(value["total"]))

    converter.register_json_schema(Money, {"type": "integer"})
    converter.register_structure_hook(Money, lambda value, _: Money(value))

    @function_tool(converter=converter)
    def f(order: AttrsOrder) -> None: ...

    definition = f.definition(strict=False)["function"]["parameters"]["$defs"]["AttrsOrder"]
    assert definition["properties"] == {"total": {"type": "integer"}}
    assert f.decode_arguments('{"order": {"total": 5}}').values == {"order": AttrsOrder(Money(5))}


@pytest.mark.parametrize(
    ("schema", "error", "message"),
    [
        (["string"], TypeError, "the JSON Schema of Money must be a mapping"),
        ({"type": {"string"}}, TypeError, "the JSON Schema of Money.type is of type set"),
        ({"$ref": "#/$defs/A"}, ValueError, "refers to '#/[$]defs/A', and has no such definition"),
        ({"items": [{"$ref": "http://x"}]}, ValueError, "refers to 'http://x'"),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_converter().register_json_schema(Money, schema)


def test_a_schema_may_have_definitions_that_hold_themselves() -> None:
    tree = {
        "$ref": "#/$defs/Order",
        "$defs": {"Order": {"type": "array", "title": "T", "items": {"$ref": "#/$defs/Order"}}},
    }
    converter = make_converter()
    converter.register_json_schema(Money, tree)
    converter.register_structure_hook(Money, lambda value, _: Money(len(value)))

    @function_tool(converter=converter)
    def f(amount: Money, order: Order) -> None: ...

    parameters = f.definition(strict=False)["function"]["parameters"]
    # The schema's own Order and the class of that name do not meet.
    assert sorted(parameters["$defs"]) == ["Order", "Order_2"]
    assert fits({"amount": [[], [[]]], "order": {"total": []}}, parameters)
    assert tree["$ref"] == "#/$defs/Order"


@pytest.mark.parametrize("converter", [cattrs.Converter(), 5, Converter])
def test_another_converter_is_refused_with_what_to_do(converter: Any) -> None:
    with pytest.raises(TypeError, match=r"make_converter\(\).*register the hooks"):
        function_tool(lambda: None, name="f", converter=converter)
    with pytest.raises(TypeError, match=r"make_converter\(\)"):
        LLM("m", base_url="http://localhost/v1", auth=None, converter=converter)


# --- Hooks of every kind -------------------------------------------------------------------------


UserId = NewType("UserId", int)


def test_hooks_for_new_types_unions_and_predicates() -> None:
    converter = money_converter()
    converter.register_structure_hook(UserId, lambda value, _: UserId(int(value[1:])))
    converter.register_json_schema(UserId, {"type": "string", "pattern": "^u[0-9]+$"})
    converter.register_structure_hook(int | bool, lambda value, _: not value)
    converter.register_structure_hook_func(
        lambda type_: type_ is datetime.date, lambda value, _: datetime.date(value, 1, 1)
    )
    converter.register_json_schema(datetime.date, {"type": "integer"})

    @converter.register_structure_hook_factory(lambda type_: type_ is complex)
    def make_complex(type_: Any, converter: cattrs.BaseConverter) -> Any:
        assert converter is not None
        return lambda value, _: type_(value)

    converter.register_json_schema(complex, {"type": "string"})

    def structure(value: Any, type_: Any) -> Any:
        def f(it: Any) -> None: ...

        f.__annotations__ = {"it": type_}
        decoded = function_tool(f, converter=converter).decode_arguments(json.dumps({"it": value}))
        assert converter.structure(value, type_) == decoded.values["it"]
        return decoded.values["it"]

    assert structure("u5", UserId) == 5
    assert structure(["u5"], list[UserId]) == [5]
    assert structure("u5", Annotated[UserId, "whose"]) == 5
    assert structure(5, int) == 5
    assert structure(5, int | bool) is False
    assert structure([5], list[int | bool]) == [False]
    assert structure(5, int | bool | None) is False
    assert structure(None, int | bool | None) is None
    assert structure("x", int | bool | str) == "x"
    assert structure(2024, datetime.date) == datetime.date(2024, 1, 1)
    assert structure([2024], list[datetime.date | None]) == [datetime.date(2024, 1, 1)]
    assert structure("1j", complex) == 1j


def test_a_hook_for_what_json_has_itself_is_honoured_in_every_place() -> None:
    converter = make_converter()
    converter.register_structure_hook(str, lambda value, _: value.upper())

    assert converter.structure("a", str) == "A"
    assert converter.structure(["a"], list[str]) == ["A"]
    assert converter.structure({"a": "b"}, dict[str, str]) == {"A": "B"}
    assert converter.structure("a", str | None) == "A"
    assert converter.structure({"it": "a"}, Box[str]) == Box("A")
    assert converter.structure("a", NewType("Name", str)) == "A"


def test_constraints_hold_for_what_a_hook_has_made() -> None:
    converter = make_converter()
    converter.register_structure_hook(UserId, lambda value, _: UserId(int(value[1:])))
    converter.register_json_schema(UserId, {"type": "string"})

    assert converter.structure("u5", Annotated[UserId, Ge(5)]) == 5
    with pytest.raises(Mismatch, match='expected a value >= 5, got the string "u4"'):
        converter.structure("u4", Annotated[UserId, Ge(5)])


def test_the_hook_of_a_class_reads_its_subclasses() -> None:
    class Tip(Money): ...

    converter = make_converter()
    converter.register_structure_hook(Money, lambda value, type_: type_.parse(value))
    converter.register_json_schema(Tip, MONEY_SCHEMA)

    assert type(converter.structure("1 EUR", Tip)) is Tip


def test_a_class_of_a_local_scope_may_be_registered() -> None:
    @attrs.frozen
    class Inner:
        other: Outer | None = None

    @attrs.frozen
    class Outer:
        inner: Inner

    converter = make_converter()
    converter.register_structure_hook(Inner, lambda value, _: Inner())
    converter.register_json_schema(Inner, {"type": "string"})

    @function_tool(converter=converter)
    def f(outer: Outer) -> None: ...

    assert f.decode_arguments('{"outer": {"inner": "x"}}').values == {"outer": Outer(Inner())}


def test_code_that_cattrs_makes_can_be_registered() -> None:
    @attrs.frozen
    class Renamed:
        first: int
        second: Money

    converter = money_converter()
    converter.register_structure_hook(
        Renamed, make_dict_structure_fn(Renamed, converter, first=override(rename="1st"))
    )
    converter.register_json_schema(
        Renamed,
        {
            "type": "object",
            "properties": {"1st": {"type": "integer"}, "second": {"type": "string"}},
            "required": ["1st", "second"],
        },
    )

    @function_tool(converter=converter)
    def f(it: list[Renamed]) -> None: ...

    assert f.decode_arguments('{"it": [{"1st": 1, "second": "5 EUR"}]}').values == {
        "it": [Renamed(1, FIVE)]
    }
    with pytest.raises(ToolError) as caught:
        f.decode_arguments('{"it": [{"1st": true, "second": "5"}, {"second": "1 EUR"}]}')
    assert caught.value.message.splitlines()[1:-1] == [
        "- it[0].first: expected an integer, got true",
        "- it[0].second: an amount ends with EUR",
        "- it[1].1st: required but missing",
    ]


def test_a_mistake_in_code_that_cattrs_makes_is_raised_as_it_is() -> None:
    @attrs.frozen
    class Odd:
        it: int

        def __attrs_post_init__(self) -> None:
            raise ZeroDivisionError

    converter = make_converter()
    converter.register_structure_hook(Odd, make_dict_structure_fn(Odd, converter))

    @function_tool(converter=converter)
    def f(odd: Odd) -> None: ...

    with pytest.raises(ZeroDivisionError):
        f.decode_arguments('{"odd": {"it": 1}}')


# --- Copies --------------------------------------------------------------------------------------


def test_what_is_registered_later_does_not_concern_a_tool() -> None:
    converter = money_converter()

    @function_tool(converter=converter)
    def f(amount: Money) -> Money:
        return amount

    converter.register_structure_hook(Money, lambda value, _: Money(1))
    converter.register_unstructure_hook(Money, lambda value: "another")
    converter.register_json_schema(Money, {"type": "integer"})

    assert f.decode_arguments('{"amount": "5 EUR"}').values == {"amount": FIVE}
    assert f.encode_output(FIVE) == "5.00 EUR"
    assert f.definition()["function"]["parameters"]["properties"]["amount"] == MONEY_SCHEMA
    assert converter.structure("x", Money) == Money(1)


def test_an_answer_is_read_by_what_is_registered_when_it_is_asked_for() -> None:
    converter = money_converter()
    before = answer_shape(Order, converter)
    assert answer_shape(Order, converter) is before

    converter.register_json_schema(Money, {"type": "integer"})
    converter.register_structure_hook(Money, lambda value, _: Money(value))

    after = answer_shape(Order, converter)
    assert before is not None
    assert after is not None
    assert before.schema["properties"]["total"]["type"] == "string"
    assert after.schema["properties"]["total"]["type"] == "integer"
    assert after.parse(lktrio.CollectedResponse(text='{"total": 5}')) == Order(Money(5))


def test_a_copy_has_the_hooks_and_changes_nothing() -> None:
    copy = MONEY.copy()
    copy.register_structure_hook(Money, lambda value, _: Money(1))

    assert copy.structure("5 EUR", Money) == Money(1)
    assert copy.unstructure(FIVE) == "5.00 EUR"
    assert MONEY.structure("5 EUR", Money) == FIVE
    with pytest.raises(TypeError, match="takes no arguments"):
        MONEY.copy(detailed_validation=False)


def test_a_hook_may_be_taken_from_one_type_for_another() -> None:
    converter = make_converter()
    converter.register_structure_hook(Money, converter.get_structure_hook(int))
    converter.register_json_schema(Money, {"type": "integer"})

    assert converter.structure([5], list[Money]) == [5]


def test_neither_the_global_converter_nor_another_is_touched() -> None:
    money_converter()

    assert cattrs.structure("false", bool) is True
    assert cattrs.Converter().structure("5", int) == 5


def test_nothing_of_a_tool_outlives_it() -> None:
    def make() -> weakref.ref[Any]:
        @attrs.frozen
        class Local:
            total: Money

        @function_tool(converter=MONEY)
        def f(it: Local, them: list[Local]) -> Local:
            return it

        decoded = f.decode_arguments('{"it": {"total": "1 EUR"}, "them": []}')
        assert f.encode_output(decoded.values["it"]) == {"total": "1.00 EUR"}
        return weakref.ref(Local)

    references = [make() for _ in range(5)]
    gc.collect()

    # typing keeps the last of what it was asked for in a cache of its own.
    assert sum(reference() is not None for reference in references) <= 1


# --- Results -------------------------------------------------------------------------------------


async def test_the_result_of_a_tool_is_written_by_its_converter() -> None:
    @function_tool(converter=MONEY)
    async def f(n: int) -> dict[str, list[Money]]:
        return {"it": [Money(n)]}

    @function_tool(raw_schema={"name": "raw"}, converter=MONEY)
    async def raw(raw_arguments: dict[str, object]) -> Money:
        return FIVE

    @function_tool(converter=MONEY)
    async def whole(n: int) -> ToolResult:
        return ToolResult(Order(FIVE))

    assert isinstance(raw, RawFunctionTool)
    context = ToolContext([f, raw, whole])
    outputs = [
        (await execute_function_call(FunctionCall(call_id="1", name=name, arguments=a), context))
        for name, a in (("f", '{"n": 5}'), ("raw", "{}"), ("whole", '{"n": 1}'))
    ]
    assert [result.fnc_call_out.output for result in outputs] == [
        '{"it": ["0.05 EUR"]}',
        "5.00 EUR",
        '{"total": "5.00 EUR"}',
    ]


def test_a_result_without_a_form_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    call = FunctionCall(call_id="1", name="f", arguments="{}")

    assert returned(call, FIVE).is_error
    assert "Money" in caplog.text
    assert returned(call, FIVE, MONEY.unstructure).fnc_call_out.output == "5.00 EUR"


@pytest.mark.parametrize("kind", ["class", "predicate", "factory"])
def test_hooks_that_write_are_honoured_in_every_place(kind: str) -> None:
    converter = make_converter()
    if kind == "class":
        converter.register_unstructure_hook(Money, str)
    elif kind == "predicate":
        converter.register_unstructure_hook_func(lambda type_: type_ is Money, str)
    else:
        converter.register_unstructure_hook_factory(lambda type_: type_ is Money, lambda _: str)

    assert converter.writes(Money)
    assert not converter.writes(int)
    value = [
        {"a": FIVE, FIVE: (FIVE,)},
        AttrsOrder(FIVE),
        Order(FIVE),
        Line(FIVE),
        {FIVE},
        Box([FIVE]),
        None,
    ]
    assert converter.unstructure(value) == [
        {"a": "5.00 EUR", "5.00 EUR": ["5.00 EUR"]},
        {"total": "5.00 EUR"},
        {"total": "5.00 EUR"},
        ["5.00 EUR"],
        ["5.00 EUR"],
        {"it": ["5.00 EUR"]},
        None,
    ]


def test_a_hook_for_a_new_type_writes_where_that_is_declared() -> None:
    @attrs.frozen
    class Account:
        owner: UserId
        others: list[UserId]
        by_name: dict[str, UserId]
        pair: tuple[UserId, int]
        maybe: UserId | None
        plain: int = 1

    class Row(NamedTuple):
        owner: UserId
        plain: int

    converter = make_converter()
    converter.register_unstructure_hook(UserId, lambda value: f"u{value}")

    one = UserId(1)
    account = Account(one, [one], {"a": one}, (one, 1), one)
    assert converter.copy_for({"Account": Account, "UserId": UserId}).unstructure(account) == {
        "owner": "u1",
        "others": ["u1"],
        "by_name": {"a": "u1"},
        "pair": ["u1", 1],
        "maybe": "u1",
        "plain": 1,
    }
    assert converter.unstructure(Row(one, 2)) == ["u1", 2]
    assert converter.unstructure([1], list[Annotated[UserId, "x"]]) == ["u1"]
    assert converter.unstructure([1], list[UserId] | int) == ["u1"]
    # What is not what it was declared as is written as what it is.
    assert converter.unstructure("x", list[UserId]) == "x"
    assert converter.unstructure("x", dict[str, UserId]) == "x"
    assert converter.unstructure(["x", "y", "z"], tuple[UserId, int]) == ["x", "y", "z"]
    assert converter.unstructure(None, list[UserId] | None) is None


# --- Strategies of cattrs ------------------------------------------------------------------------


@dataclasses.dataclass
class Cat:
    lives: int = 9


@dataclasses.dataclass
class Dog:
    tricks: list[Pet] = dataclasses.field(default_factory=list)


Pet = Cat | Dog


def lower_name(class_: type[Any]) -> str:
    return class_.__name__.lower()


def pet_converter(**options: Any) -> Converter:
    converter = make_converter()
    configure_tagged_union(Pet, converter, tag_name="kind", tag_generator=lower_name, **options)
    return converter


def test_a_tagged_union_is_read_and_written_by_its_tag() -> None:
    @function_tool(converter=pet_converter())
    def f(pet: Pet, pets: list[Pet], maybe: Pet | None = None) -> list[Pet]:
        return pets

    arguments = {
        "pet": {"kind": "cat", "lives": "3"},
        "pets": [{"kind": "dog", "tricks": [{"kind": "cat"}]}],
        "maybe": {"kind": "dog"},
    }
    decoded = f.decode_arguments(json.dumps(arguments))

    assert decoded.values == {"pet": Cat(3), "pets": [Dog([Cat()])], "maybe": Dog()}
    assert f.encode_output(decoded.values["pets"]) == [
        {"kind": "dog", "tricks": [{"kind": "cat", "lives": 9}]}
    ]
    plain = f.definition(strict=False)["function"]["parameters"]
    assert fits(arguments | {"pet": {"kind": "cat", "lives": 3}}, plain)
    assert not fits(arguments | {"pet": {"lives": 3}}, plain)
    assert plain["$defs"]["Cat"]["properties"]["kind"] == {"type": "string", "const": "cat"}
    assert plain["$defs"]["Cat"]["required"] == ["kind"]
    strict = f.definition()["function"]
    assert strict["strict"] is True
    assert strict_problems(strict["parameters"]) == []


@pytest.mark.parametrize(
    ("pet", "problem"),
    [
        ({"kind": "fish"}, 'pet.kind: expected "cat" or "dog", got the string "fish"'),
        ({"lives": 3}, 'pet.kind: expected "cat" or "dog", got nothing'),
        ({"kind": "cat", "lives": "x"}, 'pet.lives: expected an integer, got the string "x"'),
        (
            {"kind": "dog", "tricks": [{"kind": 1}]},
            'pet.tricks[0].kind: expected "cat" or "dog", got the number 1',
        ),
        (
            5,
            'pet: expected an object with "kind" or an object with "kind", got the number 5',
        ),
    ],
)
def test_a_wrong_tag_is_named(pet: Any, problem: str) -> None:
    @function_tool(converter=pet_converter())
    def f(pet: Pet) -> None: ...

    with pytest.raises(ToolError) as caught:
        f.decode_arguments(json.dumps({"pet": pet}))
    assert caught.value.message.splitlines()[1:-1] == [
        "- "
        + problem.replace('an object with "kind" or an object with "kind"', 'an object with "kind"')
    ]


def test_a_tagged_union_may_have_a_default() -> None:
    converter = pet_converter(default=Cat)

    assert converter.structure({}, Pet) == Cat()
    assert converter.structure({"kind": "cat", "lives": 3}, Pet) == Cat(3)
    assert converter.structure({"kind": "what", "lives": 3}, Pet) == Cat(3)
    assert converter.structure({"kind": "dog"}, Pet) == Dog()
    with pytest.raises(Mismatch, match="lives: expected an integer"):
        converter.structure({"kind": "cat", "lives": "x"}, Pet)

    @function_tool(converter=converter)
    def f(pet: Pet) -> None: ...

    definitions = f.definition(strict=False)["function"]["parameters"]["$defs"]
    assert "required" not in definitions["Cat"]
    assert definitions["Dog"]["required"] == ["kind"]


def test_a_tag_may_be_a_field_of_the_classes() -> None:
    @attrs.frozen
    class Circle:
        kind: str
        radius: float

    @attrs.frozen
    class Square:
        side: float
        kind: Literal["square"] = "square"

    converter = make_converter()
    configure_tagged_union(Circle | Square, converter, tag_name="kind", tag_generator=lower_name)

    assert converter.structure({"kind": "circle", "radius": 1}, Circle | Square) == Circle(
        "circle", 1.0
    )
    assert converter.structure({"kind": "square", "side": 1}, Circle | Square) == Square(1.0)
    with pytest.raises(Mismatch, match='kind: expected "circle" or "square", got nothing'):
        converter.structure({"side": 1}, Circle | Square)

    @function_tool(converter=converter)
    def f(shape: Circle | Square) -> None: ...

    definitions = f.definition(strict=False)["function"]["parameters"]["$defs"]
    for name in ("Circle", "Square"):
        assert definitions[name]["properties"]["kind"]["const"] == name.lower()
        assert "kind" in definitions[name]["required"]


def test_a_member_of_a_tagged_union_may_have_a_hook_and_a_schema() -> None:
    class Fish: ...

    converter = make_converter()
    seen: list[Any] = []

    def read(value: Any, _: Any) -> Fish:
        seen.append(value)
        return Fish()

    converter.register_structure_hook(Fish, read)
    converter.register_unstructure_hook(Fish, lambda _: {"fins": 2})
    converter.register_json_schema(
        Fish, {"type": "object", "properties": {"fins": {"type": "integer"}}, "required": ["fins"]}
    )
    configure_tagged_union(Cat | Fish, converter)

    assert isinstance(converter.structure({"_type": "Fish", "fins": 2}, Cat | Fish), Fish)
    # As cattrs does it: the hook sees the tag, too.
    assert seen == [{"_type": "Fish", "fins": 2}]
    assert converter.unstructure(Fish(), Cat | Fish) == {"fins": 2, "_type": "Fish"}

    @function_tool(converter=converter)
    def f(it: Cat | Fish) -> None: ...

    schema = f.definition(strict=False)["function"]["parameters"]["properties"]["it"]["anyOf"][1]
    assert schema["properties"]["_type"] == {"type": "string", "enum": ["Fish"]}
    assert schema["required"] == ["_type", "fins"]


def test_a_tagged_union_of_what_is_no_object_is_refused() -> None:
    converter = money_converter()
    configure_tagged_union(Cat | Money, converter)

    with pytest.raises(TypeError, match="the schema it was given is none of an object"):
        converter.structure({}, Cat | Money)


def test_an_answer_may_be_a_tagged_union() -> None:
    shape = AnswerShape(Pet, pet_converter())

    assert strict_problems(shape.schema) == []
    answer = lktrio.CollectedResponse(text='{"value": {"kind": "cat", "lives": 1}}')
    assert shape.parse(answer) == Cat(1)


@attrs.define
class Shape:
    name: str


@attrs.define
class Round(Shape):
    radius: float


@attrs.define
class Ball(Round):
    weight: float


@attrs.define
class Angular(Shape):
    side: float


@pytest.mark.parametrize("is_tagged", [False, True])
def test_subclasses_may_be_included(is_tagged: bool) -> None:
    strategy = functools.partial(configure_tagged_union, tag_name="type") if is_tagged else None
    converter = make_converter()
    include_subclasses(Shape, converter, union_strategy=strategy)

    @function_tool(converter=converter)
    def f(shape: Shape, rounds: list[Round]) -> Shape:
        return shape

    arguments = {
        "shape": {"type": "Ball", "name": "a", "radius": 1, "weight": 2},
        "rounds": [{"type": "Round", "name": "b", "radius": 1}],
    }
    decoded = f.decode_arguments(json.dumps(arguments))

    assert decoded.values == {"shape": Ball("a", 1.0, 2.0), "rounds": [Round("b", 1.0)]}
    assert f.encode_output(Angular("c", 1.0)) == {
        "name": "c",
        "side": 1.0,
        **({"type": "Angular"} if is_tagged else {}),
    }
    plain = f.definition(strict=False)["function"]["parameters"]
    assert fits(arguments, plain)
    assert sorted(plain["$defs"]) == ["Angular", "Ball", "Round", "Shape"]
    assert len(plain["properties"]["shape"]["anyOf"]) == 4
    assert len(plain["properties"]["rounds"]["items"]["anyOf"]) == 2


def test_class_methods_may_read_and_write() -> None:
    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

        @classmethod
        def _read(cls, value: Any) -> Celsius:
            return cls(float(value.removesuffix(" C")))

        def _write(self) -> str:
            return f"{self.degrees:g} C"

    class Day:
        def __init__(self, all_day: list[Celsius]) -> None:
            self.all_day = all_day

        @classmethod
        def _read(cls, value: Any, converter: cattrs.BaseConverter) -> Day:
            return cls(converter.structure(value, list[Celsius]))

        def _write(self, converter: cattrs.BaseConverter) -> Any:
            return converter.unstructure(self.all_day)

    converter = make_converter()
    use_class_methods(converter, "_read", "_write")
    converter.register_json_schema(Celsius, {"type": "string"})
    converter.register_json_schema(Day, {"type": "array", "items": {"type": "string"}})

    @function_tool(converter=converter)
    def f(days: list[Day], now: Celsius | None = None) -> Day:
        return days[0]

    decoded = f.decode_arguments('{"days": [["1 C", "2 C"]], "now": "3 C"}')
    assert decoded.values["now"].degrees == 3.0
    assert f.encode_output(decoded.values["days"][0]) == ["1 C", "2 C"]
    with pytest.raises(ToolError, match=r"days\[0\]\[1\]: expected a string, got the string \"x\""):
        f.decode_arguments('{"days": [["1 C", "x"]]}')


def test_subclasses_with_overrides_are_read_by_the_strategy_itself() -> None:
    converter = make_converter()
    include_subclasses(Shape, converter, overrides={"name": override(rename="n")})

    assert converter.structure({"n": "a", "side": 1.0}, Shape) == Angular("a", 1.0)


# --- Odds and ends -------------------------------------------------------------------------------


def test_hooks_that_write_may_be_registered_by_decorators() -> None:
    converter = make_converter()

    @converter.register_unstructure_hook
    def write(value: Money) -> str:
        return "money"

    @converter.register_unstructure_hook_factory(lambda type_: type_ is complex)
    def make(type_: Any) -> Any:
        return str

    assert converter.unstructure([FIVE, 1j]) == ["money", "1j"]


def test_what_cattrs_finds_by_the_class_alone_is_strict_too() -> None:
    converter = make_converter()
    hook = cattrs.BaseConverter.get_structure_hook(converter, int)

    assert hook("5", int) == 5
    with pytest.raises(Mismatch, match="expected an integer, got true"):
        hook(True, int)


def test_a_hook_that_is_never_asked_is_refused() -> None:
    converter = make_converter()
    converter.register_structure_hook_func(lambda type_: type_ is str, lambda value, _: value)
    converter.register_json_schema(str, {"type": "string"})

    with pytest.raises(TypeError, match="is never asked"):
        converter.structure("x", str)


def test_a_predicate_that_fails_does_not_hold() -> None:
    converter = money_converter()
    converter.register_structure_hook_func(lambda type_: type_.no_such_thing, lambda value, _: 1)

    assert converter.structure(["5 EUR"], list[Money]) == [FIVE]
    assert converter.structure(["a"], list[str]) == ["a"]


def test_an_open_class_takes_anything_for_what_is_open() -> None:
    assert make_converter().structure({"it": [1]}, Box) == Box([1])


def test_a_subclass_of_int_is_an_integer() -> None:
    class Level(enum.IntEnum):
        HIGH = 2

    assert make_converter().structure(Level.HIGH, int) == 2
    with pytest.raises(Mismatch, match="expected an integer, got a value of type object"):
        make_converter().structure(object(), int)


def test_a_text_is_decoded_once_for_all_members() -> None:
    @attrs.frozen
    class Few:
        numbers: list[int]

    @attrs.frozen
    class Many:
        numbers: list[int]
        more: int = 0

    converter = make_converter()
    converter = converter.copy_for({"Few": Few, "Many": Many})
    assert converter.structure({"numbers": "[1]"}, Few | Many) == Few([1])
    with pytest.raises(Mismatch, match=r"^\[0\]: expected an integer, got the string"):
        converter.structure('["x"]', list[int] | dict[str, int])


def test_a_refusal_without_a_schema_names_the_class() -> None:
    def read(value: object, _: object) -> AttrsOrder:
        raise ValueError("not today")

    converter = money_converter()
    converter.register_structure_hook(AttrsOrder, read)

    with pytest.raises(Mismatch, match=r"^refused by AttrsOrder: not today$"):
        converter.structure({}, AttrsOrder)


@pytest.mark.parametrize(
    ("schema", "words", "types"),
    [
        ({}, "any JSON value", 7),
        ({"const": 5}, "an integer", 1),
        ({"enum": ["a", None]}, "null or a string", 2),
        (
            {"anyOf": [{"type": "number"}, {"oneOf": [{"type": "array"}]}]},
            "a number or an array",
            3,
        ),
        ({"type": "string", "description": "An ID."}, "an ID", 1),
        ({"type": "string", "description": "URL of it"}, "URL of it", 1),
        ({"type": "string", "description": " "}, "a string", 1),
        ({"type": ["boolean", "object"]}, "true or false or an object", 2),
    ],
)
def test_what_is_expected_is_read_from_a_schema(
    schema: dict[str, Any], words: str, types: int
) -> None:
    converter = make_converter()
    converter.register_structure_hook(Money, lambda value, _: Money(1))
    converter.register_json_schema(Money, schema)
    shape = converter.types.shape(Money)

    assert describe(shape) == words
    assert len(json_types(shape)) == types


@pytest.mark.parametrize(
    ("type_", "types"),
    [
        (datetime.date, {"string"}),
        (decimal.Decimal, {"string", "number", "integer"}),
        (dict[str, int], {"object"}),
        (AttrsOrder, {"object"}),
        (Line, {"object", "array"}),
        (Annotated[int, Ge(1)], {"integer"}),
        (Prices, {"array", "object"}),
        (Any, {"null", "boolean", "integer", "number", "string", "array", "object"}),
    ],
)
def test_the_json_types_of_a_type(type_: Any, types: set[str]) -> None:
    assert json_types(MONEY.types.shape(type_)) == types


def test_a_refined_type_is_described_as_the_type() -> None:
    assert describe(MONEY.types.shape(Annotated[int, Ge(1)]), python=True) == "an integer"


def test_nested_code_that_cattrs_makes_says_where() -> None:
    converter = money_converter()
    for class_ in (AttrsOrder, Box[AttrsOrder]):
        converter.register_structure_hook_func(
            lambda type_, class_=class_: type_ == class_,
            make_dict_structure_fn(class_, converter, _cattrs_forbid_extra_keys=True),
        )

    with pytest.raises(Mismatch) as caught:
        converter.structure({"it": {"total": 5}}, Box[AttrsOrder])
    assert str(caught.value) == "it.total: an amount ends with EUR"
    with pytest.raises(Mismatch, match=r"^it: Extra fields in constructor"):
        converter.structure({"it": {"total": "5 EUR", "more": 1}}, Box[AttrsOrder])


def test_in_code_that_cattrs_makes_only_a_missing_member_is_a_missing_member() -> None:
    def fail(value: object, _: object) -> Money:
        if value == "noted":
            error = ValueError("refused")
            error.add_note("a note of the hook")
            raise error
        raise KeyError("total")

    converter = money_converter()
    converter.register_structure_hook(Money, fail)
    converter.register_structure_hook(AttrsOrder, make_dict_structure_fn(AttrsOrder, converter))

    with pytest.raises(KeyError):
        converter.structure({"total": "5 EUR"}, AttrsOrder)
    with pytest.raises(Mismatch, match=r"^total: refused$"):
        converter.structure({"total": "noted"}, AttrsOrder)


def test_what_is_declared_is_written_through_every_kind_of_type() -> None:
    class Row(NamedTuple):
        owner: UserId

    many = typing_extensions.TypeAliasType("many", list[UserId])
    converter = make_converter()
    converter.register_unstructure_hook(UserId, lambda value: f"u{value}")

    assert [converter.unstructure(Row(UserId(n))) for n in (1, 2)] == [["u1"], ["u2"]]
    assert converter.unstructure([UserId(1)], many) == ["u1"]
    assert converter.unstructure(UserId(1), ItemT) == 1
    assert converter.unstructure(UserId(1), Literal[1]) == 1
    assert converter.unstructure("x", list[UserId] | int) == "x"
    assert converter.unstructure([1], list[UserId] | tuple[UserId, int] | None) == ["u1"]
    assert converter.unstructure([[1]], list[list[UserId] | int]) == [["u1"]]
    assert converter.unstructure(pathlib.Path("a")) == "a"
    assert converter.unstructure(Box(1), Box[UserId]) == {"it": 1}
    assert pet_converter().unstructure([Cat(1), 2], list[Cat | Dog | int]) == [
        {"kind": "cat", "lives": 1},
        2,
    ]


def test_an_annotation_finds_the_converter_without_importing_it_before() -> None:
    assert lktrio._schemas.Converter is Converter
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        lktrio._schemas.Other  # noqa: B018


def test_a_result_that_is_annotated_with_what_is_not_there_is_written_by_its_class() -> None:
    def f() -> Any:
        return FIVE

    f.__annotations__ = {"return": "NoSuchThing"}
    tool = function_tool(f, converter=MONEY)

    assert tool.encode_output(FIVE) == "5.00 EUR"


def test_a_raw_tool_without_a_converter_writes_what_is_known() -> None:
    @function_tool(raw_schema={"name": "raw"})
    def raw(raw_arguments: dict[str, object]) -> Any: ...

    assert raw.encode_output({"a": datetime.date(2024, 1, 1)}) == {"a": "2024-01-01"}


def test_a_default_of_an_answer_is_written_by_its_converter() -> None:
    @attrs.frozen
    class Tip:
        total: Money = FIVE

    schema = AnswerShape(Tip, MONEY).schema
    assert "default" not in json.dumps(schema)
    assert AnswerShape(Tip, MONEY).parse(lktrio.CollectedResponse(text="{}")) == Tip()


def test_a_member_that_another_library_reads_is_refused() -> None:
    class Model(pydantic.BaseModel):
        it: int

    converter = make_converter()
    configure_tagged_union(Cat | Model, converter)

    with pytest.raises(TypeError, match="read by a library of its own"):
        converter.structure({}, Cat | Model)


def test_a_class_with_subclasses_may_have_a_schema_of_its_own() -> None:
    converter = make_converter()
    converter.register_structure_hook_func(
        lambda type_: type_ is Round, lambda value, _: Round("r", value["radius"])
    )
    converter.register_json_schema(Round, {"type": "object", "required": ["radius"]})
    include_subclasses(Shape, converter, subclasses=(Round, Angular))

    @function_tool(converter=converter)
    def f(shape: Shape) -> None: ...

    options = f.definition(strict=False)["function"]["parameters"]["properties"]["shape"]["anyOf"]
    assert {"type": "object", "required": ["radius"]} in options
    assert converter.structure({"radius": 1.0}, Shape) == Round("r", 1.0)


def test_a_default_member_with_a_schema_needs_no_tag() -> None:
    converter = make_converter()
    converter.register_structure_hook(Money, lambda value, _: Money(value["cents"]))
    converter.register_json_schema(Money, {"type": "object", "required": ["cents"]})
    configure_tagged_union(Cat | Money, converter, default=Money)

    assert converter.structure({"cents": 5}, Cat | Money) == Money(5)
    shape = converter.types.shape(Cat | Money)
    assert shape.members[1].schema["required"] == ["cents"]
