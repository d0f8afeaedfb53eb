"""Reasoning goes back to a model that wants it, after a round of tool calls, and to no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    DEFAULT_MODEL_TABLE,
    APIError,
    CallReady,
    ChatContext,
    ChatMessage,
    ChatModel,
    FallbackAdapter,
    ModelFacts,
    ToolContext,
    answer_items,
    execute_function_calls,
    function_tool,
    run_turn,
)
from lktrio.testing import Hold, ScriptedGateway, error, reasoning, reply, tool_call
from tests.support.conversations import assert_valid
from tests.support.engine import open_llm
from tests.support.matrix import CANCEL_BLOCK, INTERRUPT, Action, Cut, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    finish,
    reasoning_chunk,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
)

KIMI = "moonshotai/kimi-k2.5"
THOUGHT = "Rome is in Italy."
ASKS = reply(reasoning(THOUGHT), tool_call("weather", {"city": "Rome"}))
ASKS_WITH_TEXT = reply(reasoning(THOUGHT), "Let me look.", tool_call("weather", {"city": "Rome"}))
ANSWERS = reply(reasoning("18 is mild."), "It is mild.")


@function_tool
async def weather(city: str) -> str:
    """Look up the weather."""
    return f"18 degrees in {city}"


def question() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="What is the weather in Rome?")
    return chat_ctx


async def answer(model: ChatModel, chat_ctx: ChatContext) -> None:
    async with run_turn(model, chat_ctx=chat_ctx, tools=[weather]) as turn:
        async for _ in turn:
            pass


def answers_in(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["role"] == "assistant"]


@pytest.mark.parametrize("asks", [ASKS, ASKS_WITH_TEXT])
async def test_a_turn_sends_it_back(asks: Any, autojump_clock: MockClock) -> None:
    chat_ctx = question()
    async with ScriptedGateway([asks, ANSWERS, "Bye."]) as gateway, gateway.llm(KIMI) as llm:
        await answer(llm, chat_ctx)
        chat_ctx.add_message(role="user", content="Thank you.")
        await answer(llm, chat_ctx)

    _, second, third = gateway.requests
    (asked,) = answers_in(second.messages)
    assert asked["reasoning_content"] == THOUGHT
    assert asked["content"] == (None if asks is ASKS else "Let me look.")
    assert len(asked["tool_calls"]) == 1
    # What the model thought after the round goes back too, with its answer.
    assert answers_in(third.messages) == [
        asked,
        {"role": "assistant", "content": "It is mild.", "reasoning_content": "18 is mild."},
    ]


async def test_a_loop_of_ones_own_does_the_same(autojump_clock: MockClock) -> None:
    of_turn, of_loop = question(), question()
    async with (
        ScriptedGateway([ASKS_WITH_TEXT, ANSWERS] * 2) as gateway,
        gateway.llm(KIMI) as llm,
    ):
        await answer(llm, of_turn)
        while True:
            response = await llm.chat(chat_ctx=of_loop, tools=[weather]).collect()
            results = await execute_function_calls(response.tool_calls, ToolContext([weather]))
            of_loop.insert(answer_items(response, results))
            if not results:
                break

    asked = [request.messages for request in gateway.requests]
    assert asked[:2] == asked[2:]
    assert of_turn.to_openai() == of_loop.to_openai()


async def test_an_answer_outside_of_a_round_keeps_none(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([ANSWERS]) as gateway, gateway.llm(KIMI) as llm:
        chat_ctx = question()
        await answer(llm, chat_ctx)

    (said,) = chat_ctx.messages()[1:]
    assert said.extra == {}


@pytest.mark.parametrize(
    ("model", "option", "member"),
    [
        ("openai/gpt-4.1", "auto", None),
        ("openai/gpt-4.1", "reasoning", "reasoning"),
        ("deepseek-ai/deepseek-v3.2", "auto", "reasoning_content"),
        (KIMI, "reasoning", "reasoning"),
        (KIMI, None, None),
    ],
)
async def test_where_it_goes_is_known_of_the_model_unless_it_is_said(
    model: str, option: Any, member: str | None, autojump_clock: MockClock
) -> None:
    chat_ctx = question()
    async with (
        ScriptedGateway([ASKS, ANSWERS]) as gateway,
        gateway.llm(model, reasoning_back=option) as llm,
    ):
        await answer(llm, chat_ctx)

    (asked,) = answers_in(gateway.requests[1].messages)
    expected = {} if member is None else {member: THOUGHT}
    assert {name: asked[name] for name in asked if name.startswith("reasoning")} == expected
    assert [item.extra for item in chat_ctx.messages()[1:-1]] == ([expected] if expected else [])


async def test_another_model_still_gets_it_under_its_own_name(autojump_clock: MockClock) -> None:
    chat_ctx = question()
    async with (
        ScriptedGateway([ASKS, ANSWERS, "Bye.", "Bye."]) as gateway,
        gateway.llm(KIMI) as kimi,
        gateway.llm("other", reasoning_back="reasoning") as other,
        gateway.llm("third") as third,
    ):
        await answer(kimi, chat_ctx)
        for model in (other, third):
            chat_ctx.add_message(role="user", content="Thank you.")
            await answer(model, chat_ctx)

    to_other, to_third = (answers_in(gateway.requests[n].messages)[0] for n in (2, 3))
    assert to_other["reasoning"] == THOUGHT
    assert "reasoning_content" not in to_other
    # And for whom it is nothing, the message is as if there were none.
    assert to_third == {
        "role": "assistant",
        "content": None,
        "tool_calls": to_other["tool_calls"],
    }


async def test_it_passes_an_adapter(autojump_clock: MockClock) -> None:
    chat_ctx = question()
    async with (
        ScriptedGateway([error(503), ASKS, ANSWERS]) as gateway,
        gateway.llm("openai/gpt-4.1") as first,
        gateway.llm(KIMI) as second,
    ):
        await answer(FallbackAdapter([first, second]), chat_ctx)

    (asked,) = answers_in(gateway.requests[-1].messages)
    assert asked["reasoning_content"] == THOUGHT


async def test_a_saved_conversation_carries_it_where_livekit_agents_reads_on(
    autojump_clock: MockClock,
) -> None:
    chat_ctx = question()
    async with ScriptedGateway([ASKS, ANSWERS, "Bye."]) as gateway, gateway.llm(KIMI) as llm:
        await answer(llm, chat_ctx)
        saved = json.loads(json.dumps(chat_ctx.to_dict()))
        read = ChatContext.from_dict(saved)
        read.add_message(role="user", content="Thank you.")
        await answer(llm, read)

    # `extra` is a dict of anything in the original, and a message may be without content there.
    message = saved["items"][1]
    assert (message["type"], message["content"]) == ("message", [])
    assert message["extra"] == {"reasoning_content": THOUGHT}
    assert answers_in(gateway.requests[2].messages)[0]["reasoning_content"] == THOUGHT


async def test_without_the_calls_there_is_nothing_left_of_it(autojump_clock: MockClock) -> None:
    chat_ctx = question()
    async with ScriptedGateway([ASKS, ANSWERS]) as gateway, gateway.llm(KIMI) as llm:
        await answer(llm, chat_ctx)

    without = chat_ctx.copy(exclude_function_call=True)
    assert [item.text_content for item in without.messages()] == [
        "What is the weather in Rome?",
        "It is mild.",
    ]
    assert len(without.items) == len(chat_ctx.to_dict(exclude_function_call=True)["items"]) == 2


async def test_a_turn_that_is_left_keeps_it_with_its_calls(autojump_clock: MockClock) -> None:
    chat_ctx = question()
    started = reply(reasoning(THOUGHT), tool_call("weather", {"city": "Rome"}), "Wait.", Hold())
    async with ScriptedGateway([started, "Bye."]) as gateway, gateway.llm(KIMI) as llm:
        async with run_turn(llm, chat_ctx=chat_ctx, tools=[weather], early_start=True) as turn:
            async for event in turn:
                if isinstance(event, CallReady):
                    break
        chat_ctx.add_message(role="user", content="Never mind.")
        await answer(llm, chat_ctx)

    (asked,) = answers_in(gateway.requests[1].messages)
    assert asked["reasoning_content"] == THOUGHT
    assert asked["tool_calls"]


async def test_details_that_were_kept_go_back_as_they_are(autojump_clock: MockClock) -> None:
    details = [{"type": "reasoning.encrypted", "data": "abc", "index": 0}]
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.", "reasoning_details": details},
        {"role": "user", "content": "Hi"},
    ]
    chat_ctx = ChatContext.from_openai(messages)
    async with ScriptedGateway(["Bye."] * 2) as gateway:
        for member in ("reasoning_details", "reasoning_content"):
            async with gateway.llm("other", reasoning_back=member) as llm:
                await llm.chat(chat_ctx=chat_ctx).collect()

    first, second = gateway.requests
    assert first.messages == messages
    # There is no text in them for who wants one.
    assert set(second.messages[1]) == {"role", "content"}


@pytest.mark.parametrize(
    ("extra", "kind", "message"),
    [
        ({"reasoning": {1}}, TypeError, r"chat_ctx.items\[0\].extra.reasoning is of type set"),
        ({"reasoning_content": "\ud800"}, ValueError, r"items\[0\].extra.reasoning_content"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_its_path(
    extra: Any, kind: type[Exception], message: str, autojump_clock: MockClock
) -> None:
    chat_ctx = ChatContext([ChatMessage(role="assistant", content="A", extra=extra)])
    async with ScriptedGateway() as gateway, gateway.llm(KIMI) as llm:
        with pytest.raises(kind, match=message):
            llm.chat(chat_ctx=chat_ctx)


def test_the_option_and_the_fact_take_the_names_of_members() -> None:
    gateway = ScriptedGateway()
    with pytest.raises(ValueError, match="reasoning_back='thoughts' is not accepted; it takes"):
        gateway.llm(KIMI, reasoning_back="thoughts")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="reasoning_back=True is not accepted"):
        gateway.llm(KIMI, reasoning_back=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="reasoning_back"):
        ModelFacts(reasoning_back="thoughts")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_what_is_known_of_models() -> None:
    def fact(model: str) -> str | None:
        return DEFAULT_MODEL_TABLE.facts(model).reasoning_back

    for model in ("moonshotai/kimi-k2.6", "deepseek-reasoner", "deepseek-v4-pro", "zai/glm-5.1"):
        assert fact(model) == "reasoning_content"
    for model in ("openai/gpt-5.4", "google/gemini-2.5-pro", "deepseek-ai/deepseek-v3", "qwen3-8b"):
        assert fact(model) is None


async def test_answer_items_are_one_answer(autojump_clock: MockClock) -> None:
    chat_ctx = question()
    two = reply("Look.", tool_call("weather", {"city": "Rome"}), tool_call("nothing"))
    async with ScriptedGateway([two, two, "Bye."]) as gateway, gateway.llm("m") as llm:
        response = await llm.chat(chat_ctx=chat_ctx, tools=[weather]).collect()
        results = await execute_function_calls(response.tool_calls, ToolContext([weather]))
        items = answer_items(response, results)
        chat_ctx.insert(items)
        await answer(llm, chat_ctx)

    kinds = ["message", *["function_call"] * 2, *["function_call_output"] * 2]
    assert [item.type for item in items] == kinds
    assert len({item.created_at for item in items}) == 1
    sent = gateway.requests[1].messages[1:]
    assert [message["role"] for message in sent] == ["assistant", "tool", "tool"]
    assert sent[0]["content"] == "Look."
    # Without results the calls are there, and nothing else.
    assert [item.type for item in answer_items(response)] == kinds[:3]
    # A result stands behind its call, whoever made that.
    alone = answer_items(response, results[:1])
    assert [item.type for item in alone] == [*kinds[:3], kinds[-1]]


def test_answer_items_takes_an_answer_and_results() -> None:
    with pytest.raises(TypeError, match="answer"):
        answer_items("Hello.")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_round_is_kept_whole_if_the_next_one_fails(autojump_clock: MockClock) -> None:
    chat_ctx = question()
    async with (
        ScriptedGateway([ASKS, error(400)]) as gateway,
        gateway.llm(KIMI) as llm,
        run_turn(llm, chat_ctx=chat_ctx, tools=[weather]) as turn,
    ):
        with pytest.raises(APIError):
            async for _ in turn:
                pass
        await trio.lowlevel.checkpoint()

    assert [message.extra for message in chat_ctx.messages()] == [
        {},
        {"reasoning_content": THOUGHT},
    ]


# The matrix: a call that stands in the conversation has its reasoning with it, wherever the turn
# was cut.

THINKS = [reasoning_chunk("Rome is "), reasoning_chunk("in Italy.")]
CALLS = [tool_call_chunk('{"city": "Rome"}', id="a", name="weather")]
SCRIPTS = {
    "calls at the end": sse(*THINKS, *CALLS, finish("tool_calls"), DONE, every=0.1),
    "a call, and text": sse(*THINKS, *CALLS, text_chunk("So."), finish(), DONE, every=0.1),
}


@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=lambda it: it.name)
@pytest.mark.parametrize("early_start", [True, False])
@pytest.mark.parametrize("script", SCRIPTS)
def test_wherever_a_turn_is_cut_no_call_is_without_it(
    script: str, early_start: bool, action: Action
) -> None:
    async def run(cut: Cut) -> str:
        chat_ctx = question()
        async with (
            MemoryNetwork([SCRIPTS[script], text("It is ", "mild.", every=0.1)]) as network,
            open_llm(network, reasoning_back="reasoning_content") as llm,
        ):
            result = "cut"
            try:
                with cut.watched(), cut.scope:
                    async with run_turn(
                        llm, chat_ctx=chat_ctx, tools=[weather], early_start=early_start
                    ) as turn:
                        async for _ in turn:
                            pass
                    result = "over"
            finally:
                assert_valid(chat_ctx)
                called = [one for one in chat_ctx.to_openai() if "tool_calls" in one]
                assert [one["reasoning_content"] for one in called] == [THOUGHT] * len(called)
        return result if called else "no call"

    outcome = sweep(run, action, "after")

    assert outcome.undisturbed == "over"
    if action is CANCEL_BLOCK:
        assert set(outcome.results) == {"no call", "cut", "over"}
