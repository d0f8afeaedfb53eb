"""How tools are found, named and set up: the ways that LiveKit Agents has for it."""

from __future__ import annotations

import json
import types
from typing import Any

import pytest
import trio
import trio.testing

import lktrio
from lktrio import (
    FunctionToolInfo,
    RawFunctionToolInfo,
    Tool,
    ToolContext,
    Toolset,
    find_function_tools,
    function_tool,
)

SCHEMA = {
    "name": "pay",
    "description": "Pay the bill.",
    "parameters": {"type": "object", "properties": {"tip": {"type": "number"}}},
}


@function_tool
async def look_up(word: str) -> str:
    """Look up a word."""
    return word


@function_tool(raw_schema=SCHEMA)
async def pay(raw_arguments: dict[str, Any]) -> str:
    return json.dumps(raw_arguments)


class Waiter:
    @function_tool
    async def reserve(self, guests: int) -> str:
        """Reserve a table."""
        return f"for {guests}"

    @property
    def table(self) -> str:
        raise AssertionError("nobody has asked")

    @function_tool
    @staticmethod
    def open_hours() -> str:
        return "always"

    def greet(self) -> str:
        return "Hello"


class HeadWaiter(Waiter):
    @function_tool
    async def complain(self) -> str:
        return "So sorry."

    def __init__(self) -> None:
        self.borrowed = look_up


def names(tools: list[Tool[..., Any]]) -> list[str]:
    return [tool.name for tool in tools]


# --- one tool ---------------------------------------------------------------------------------


def test_a_tool_says_what_is_known_of_it() -> None:
    assert look_up.id == look_up.name == "look_up"
    assert look_up.info == FunctionToolInfo("look_up", "Look up a word.")
    assert repr(look_up.info).startswith("FunctionToolInfo(name='look_up', desc")
    assert pay.id == "pay"
    assert pay.info == RawFunctionToolInfo("pay", SCHEMA)


def test_what_is_known_of_a_raw_tool_may_be_changed_without_changing_the_tool() -> None:
    pay.info.raw_schema["parameters"]["properties"]["tip"] = "gone"

    assert pay.info.raw_schema == SCHEMA


def test_a_tool_of_an_instance_is_told_apart_by_the_same_id() -> None:
    assert Waiter().reserve.id == "reserve"
    assert Waiter().reserve.info == Waiter.reserve.info


# --- tools among members ----------------------------------------------------------------------


async def test_the_tools_of_an_object_are_found_in_their_order_and_can_be_called() -> None:
    waiter = HeadWaiter()

    found = find_function_tools(waiter)

    assert names(found) == ["reserve", "open_hours", "complain", "look_up"]
    assert all(tool.is_bound for tool in found)
    assert await found[0](guests=4) == "for 4"
    assert ToolContext(found).get_function_tool("complain") == waiter.complain


def test_those_of_a_class_want_an_instance() -> None:
    found = find_function_tools(HeadWaiter)

    assert names(found) == ["reserve", "open_hours", "complain"]
    with pytest.raises(ValueError, match="take it from an instance"):
        ToolContext(found)


def test_those_of_a_module_are_found() -> None:
    module = types.ModuleType("menu")
    vars(module).update(pay=pay, look_up=look_up, other=3)

    assert names(find_function_tools(module)) == ["pay", "look_up"]


@pytest.mark.parametrize("nothing", [None, 3, object(), Waiter.greet, lktrio])
def test_where_there_is_none_there_is_none(nothing: object) -> None:
    assert find_function_tools(nothing) == []


# --- a conversation's tools -------------------------------------------------------------------


def test_a_tool_and_the_sets_of_a_context_are_looked_up() -> None:
    inner = Toolset(id="inner", tools=[pay])
    outer = Toolset(id="outer", tools=[inner])

    tools = ToolContext([look_up, outer])

    assert tools.get_function_tool("pay") is pay
    assert tools.get_function_tool("nothing") is None
    assert tools.toolsets == [inner, outer]
    assert outer.toolsets == [inner]
    assert ToolContext(iter([look_up, outer])).toolsets == [inner, outer]


@pytest.mark.parametrize("class_", [Waiter, Toolset])
def test_a_class_is_told_what_to_give_in_its_place(class_: Any) -> None:
    instance = rf"give an instance .* find_function_tools\({class_.__name__}\(\.\.\.\)\)"
    with pytest.raises(TypeError, match=f"is a class, not a tool: {instance}"):
        ToolContext([class_])


# --- setting up -------------------------------------------------------------------------------


class Logged(Toolset):
    """Writes down what happens to it."""

    def __init__(self, id: str, log: list[str], *tools: Toolset, fails: str = "") -> None:
        super().__init__(id=id, tools=tools)
        self.log = log
        self.fails = fails

    async def setup(self) -> Logged:
        await super().setup()
        await trio.lowlevel.checkpoint()
        self.do("open")
        return self

    async def aclose(self) -> None:
        self.do("close")
        await super().aclose()

    def do(self, what: str) -> None:
        self.log.append(f"{what} {self.id}")
        if what in self.fails:
            raise OSError(f"cannot {what} {self.id}")


async def test_a_block_opens_what_is_within_first_and_closes_it_last() -> None:
    log: list[str] = []

    async with Logged("all", log, Logged("a", log), Logged("b", log)) as tools:
        assert isinstance(tools, Logged)
        assert log == ["open a", "open b", "open all"]

    assert log[3:] == ["close all", "close b", "close a"]


async def test_what_was_opened_before_a_failure_is_closed_again() -> None:
    log: list[str] = []
    tools = Toolset(id="all", tools=[Logged("a", log), Logged("b", log, fails="open")])

    with pytest.raises(OSError, match="cannot open b"):
        async with tools:
            raise AssertionError

    assert log == ["open a", "open b", "close a"]


async def test_all_are_closed_whatever_one_raises_and_a_body_s_exception_stays_known() -> None:
    log: list[str] = []
    tools = Toolset(id="all", tools=[Logged("a", log), Logged("b", log, fails="close")])

    with pytest.raises(OSError, match="cannot close b") as caught:
        async with tools:
            raise KeyError("of the body")

    assert log == ["open a", "open b", "close b", "close a"]
    assert isinstance(caught.value.__context__, KeyError)


async def test_a_cancelled_block_closes_what_it_has_opened() -> None:
    log: list[str] = []

    with trio.CancelScope() as scope:
        async with Logged("all", log, Logged("a", log)):
            scope.cancel()
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert log == ["open a", "open all", "close all", "close a"]


async def test_a_cancellation_while_sets_are_opened_closes_those_that_are_open() -> None:
    log: list[str] = []

    class Slow(Logged):
        async def setup(self) -> Logged:
            await trio.sleep_forever()
            return self

    with trio.move_on_after(0):
        async with Toolset(id="all", tools=[Logged("a", log), Slow("b", log)]):
            raise AssertionError

    assert log == [], "the first one was cancelled before it was open"

    with trio.CancelScope() as scope:
        sets = [Logged("a", log), Slow("b", log)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Toolset(id="all", tools=sets).setup)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    assert log == ["open a", "close a"]


async def test_a_set_without_anything_to_open_is_a_block_too() -> None:
    tools = Toolset(id="plain", tools=[look_up])

    assert await tools.setup() is tools
    async with tools as same:
        assert same.tools == [look_up]
    await tools.aclose()
