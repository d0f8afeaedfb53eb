"""`Turn.collect`: a whole turn at once."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import APIStatusError, CallReady, ChatContext, function_tool, run_turn
from lktrio.testing import ScriptedGateway, error, reply, tool_call

TYPES = ["message", "function_call", "function_call_output", "message"]


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    await trio.sleep(1)
    return f"18 degrees in {city}"


@attrs.frozen
class Weather:
    celsius: int


@pytest.fixture
def chat_ctx(autojump_clock: MockClock) -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="What is the weather in Rome?")
    return chat_ctx


async def test_a_turn_that_was_not_entered_is_entered_and_left(chat_ctx: ChatContext) -> None:
    script = [reply("One moment.", tool_call("get_weather", {"city": "Rome"})), "Mild."]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        turn = run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather])
        answer = await turn.collect()
        gateway.assert_all_closed()
    assert (answer.text, answer.tool_calls) == ("Mild.", [])
    assert answer is turn.last_response
    assert [item.type for item in chat_ctx.items] == [*TYPES[:1], *TYPES]
    with pytest.raises(trio.ClosedResourceError):
        await turn.collect()


async def test_the_rest_of_a_turn_is_read(chat_ctx: ChatContext) -> None:
    script = [tool_call("get_weather", {"city": "Rome"}), "Mild."]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather]) as turn:
            assert isinstance(await anext(turn), CallReady)
            assert (await turn.collect()).text == "Mild."
            assert (await turn.collect()).text == "Mild."


async def test_the_value_of_the_last_answer_is_there(chat_ctx: ChatContext) -> None:
    script = ['{"celsius": "mild"}', '{"celsius": 18}']
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        turn = run_turn(llm, chat_ctx=chat_ctx, response_format=Weather, ask_again=1)
        assert (await turn.collect()).parsed == Weather(18)


async def test_a_failure_is_raised_as_it_is(chat_ctx: ChatContext) -> None:
    script = [tool_call("get_weather", {"city": "Rome"}), error(401)]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        with pytest.raises(APIStatusError, match="401"):
            await run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather]).collect()
    assert [item.type for item in chat_ctx.items] == TYPES[:3]


async def test_a_wait_may_be_given_up(chat_ctx: ChatContext) -> None:
    script = [reply("It is mild there.", every=1.0)]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with run_turn(llm, chat_ctx=chat_ctx) as turn:
            with trio.move_on_after(1.5):
                await turn.collect()
            assert (await turn.collect()).text == "It is mild there."
    assert not chat_ctx.messages()[-1].interrupted


async def test_an_interrupted_turn_keeps_what_was_read(chat_ctx: ChatContext) -> None:
    script = [reply("It is mild there.", every=1.0)]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        with trio.move_on_after(1.5):
            await run_turn(llm, chat_ctx=chat_ctx).collect()
        await gateway.wait_all_closed()
        assert gateway.last_request.interrupted
    message = chat_ctx.messages()[-1]
    assert (message.text_content, message.interrupted) == ("It is", True)
