"""Tools that run at the server: they are sent as they are, and never called here."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from trio.testing import MockClock

from lktrio import (
    ChatContext,
    FunctionToolCall,
    ProviderTool,
    TextDelta,
    Tool,
    ToolContext,
    Toolset,
    execute_function_call,
    function_tool,
    run_turn,
    to_fnc_ctx,
)
from lktrio.testing import ScriptedGateway, reply, tool_call

SEARCH = {"type": "web_search", "web_search": {"max_results": 3}}


@function_tool
async def weather(city: str) -> str:
    """Look up the weather."""
    return f"18 degrees in {city}"


def question() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="What is new in Rome?")
    return chat_ctx


async def test_it_is_sent_as_it_is_beside_functions(autojump_clock: MockClock) -> None:
    tools = [ProviderTool(SEARCH), Toolset(id="t", tools=[weather])]
    asks = reply(tool_call("weather", {"city": "Rome"}))
    async with (
        ScriptedGateway([asks, "It is mild."]) as gateway,
        gateway.llm() as llm,
        run_turn(llm, chat_ctx=question(), tools=tools) as turn,
    ):
        said = [event.text async for event in turn if isinstance(event, TextDelta)]

    assert "".join(said) == "It is mild."
    for request in gateway.requests:
        assert request.tools == [weather.definition(), SEARCH]
        assert request.tool_names == ["weather", "web_search"]


async def test_it_may_be_the_only_tool(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedGateway(["Nothing."] * 2) as gateway, gateway.llm() as llm:
        with caplog.at_level(logging.WARNING, logger="lktrio"):
            tools = [ProviderTool(SEARCH)]
            await llm.chat(chat_ctx=question(), tools=tools, tool_choice="required").collect()
            async with run_turn(llm, chat_ctx=question(), tools=tools, max_rounds=1) as turn:
                async for _ in turn:
                    pass

    first, second = gateway.requests
    assert first.tools == second.tools == [SEARCH]
    assert first.options["tool_choice"] == "required"
    # There is no call that the last round could not carry out: the server may search.
    assert "tool_choice" not in second.options
    assert caplog.records == []


async def test_a_call_of_its_name_is_a_call_of_no_tool(autojump_clock: MockClock) -> None:
    tool_ctx = ToolContext([ProviderTool(SEARCH), weather])
    call = FunctionToolCall(name="web_search", arguments="{}", call_id="a")

    result = await execute_function_call(call, tool_ctx)

    assert result.is_error
    assert "The available tools are: weather." in result.fnc_call_out.output


def test_a_context_keeps_them_apart() -> None:
    search = ProviderTool(SEARCH)
    tool_ctx = ToolContext([search, weather, ProviderTool(SEARCH)])

    assert list(tool_ctx) == [weather]
    assert list(tool_ctx.function_tools) == ["weather"]
    assert len(tool_ctx.provider_tools) == 2
    assert tool_ctx.flatten() == [weather, *tool_ctx.provider_tools]
    assert "web_search" not in tool_ctx
    assert ToolContext.empty().provider_tools == []
    assert to_fnc_ctx([search], strict=False) == [SEARCH]


def test_it_is_a_copy_of_what_was_given() -> None:
    given: dict[str, Any] = {"type": "web_search", "domains": ["a"]}
    tool = ProviderTool(given)
    given["domains"].append("b")
    tool.definition()["domains"].append("c")

    assert tool.definition() == {"type": "web_search", "domains": ["a"]}
    assert isinstance(tool, Tool)
    assert (tool.name, tool.description, tool.timeout) == ("web_search", "", None)
    assert repr(tool) == "<ProviderTool web_search>"
    assert (tool.info.name, tool.info.raw_schema) == ("web_search", tool.definition())
    assert tool == tool  # noqa: PLR0124
    assert tool != ProviderTool(given)


def test_it_cannot_be_called_here() -> None:
    tool = ProviderTool(SEARCH)
    for use in (tool, lambda: tool.decode_arguments("{}"), lambda: tool.encode_output(1)):
        with pytest.raises(TypeError, match="runs at the server, and cannot be called here"):
            use()


def test_as_a_member_of_a_class_it_stays_what_it_is() -> None:
    class Agent:
        search = ProviderTool(SEARCH)

    assert Agent().search is Agent.search


@pytest.mark.parametrize(
    ("definition", "kind", "message"),
    [
        ("web_search", TypeError, "definition='web_search' is not accepted; it takes an entry"),
        ({}, ValueError, r"definition\['type'\]=None is not accepted; it takes the name"),
        ({"type": ""}, ValueError, r"definition\['type'\]='' is not accepted"),
        ({"type": "x", "y": {1}}, TypeError, "definition.y is of type set"),
        ({"type": "function"}, ValueError, r"a function of the program is a tool by function_tool"),
    ],
)
def test_what_is_no_tool_of_a_server_is_refused(
    definition: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        ProviderTool(definition)


def test_a_bare_dict_is_told_what_it_may_be() -> None:
    with pytest.raises(
        TypeError, match=r"is not a tool: give one that the server runs as Provider"
    ):
        ToolContext([SEARCH])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
