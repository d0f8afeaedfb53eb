"""On another event loop than Trio's, everything that waits says what to write instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    ChatContext,
    FallbackAdapter,
    FunctionToolCall,
    HedgeAdapter,
    LLMStream,
    ToolContext,
    execute_function_call,
    execute_function_calls,
    run_turn,
)
from lktrio.testing import Reset, ScriptedGateway, reply

WORDS = r"lktrio runs on Trio: .*trio\.run\(main\).*anyio\.run\(main, backend='trio'\)"


def make_llm() -> LLM:
    return LLM("m", base_url="http://localhost/v1", auth=None)


def chat(model: Any) -> LLMStream[Any]:
    return model.chat(chat_ctx=ChatContext())


async def enter(block: Any) -> None:
    async with block:
        raise AssertionError("entered")


BEGINNINGS: dict[str, Callable[[], Awaitable[object]]] = {
    "an LLM": lambda: enter(make_llm()),
    "a stream": lambda: enter(chat(make_llm())),
    "collect": lambda: chat(make_llm()).collect(),
    "a fallback": lambda: enter(chat(FallbackAdapter([make_llm()]))),
    "a hedge": lambda: enter(chat(HedgeAdapter([make_llm(), make_llm()], after=1.0))),
    "a turn": lambda: enter(run_turn(make_llm(), chat_ctx=ChatContext())),
    "a tool": lambda: execute_function_call(
        FunctionToolCall(name="f", arguments="{}", call_id="c"), ToolContext()
    ),
    "tools": lambda: execute_function_calls([], ToolContext()),
    "a gateway": lambda: enter(ScriptedGateway()),
    "a gateway on a port": lambda: enter(ScriptedGateway(loopback=True)),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_asyncio_is_told_what_to_write(name: str) -> None:
    async def main() -> None:
        await BEGINNINGS[name]()

    with pytest.raises(RuntimeError, match=WORDS) as caught:
        asyncio.run(main())

    assert caught.value.__suppress_context__


async def test_what_asyncio_could_not_enter_is_still_as_it_was() -> None:
    gateway = ScriptedGateway(["Hello."])
    llm = gateway.llm()

    with pytest.raises(RuntimeError, match=WORDS):
        await trio.to_thread.run_sync(lambda: asyncio.run(enter(llm)))

    async with gateway, llm:
        assert (await chat(llm).collect()).text == "Hello."


# --- Blocks inside of generators ------------------------------------------------------------------


async def tokens(llm: LLM) -> AsyncGenerator[str, None]:
    """What everybody writes first, and may not leave by a break."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Hi")
    async with llm.chat(chat_ctx=chat_ctx) as stream:
        async for text in stream.text:
            yield text


async def test_a_block_that_a_generators_end_leaves_elsewhere_names_the_channel(
    autojump_clock: MockClock,
) -> None:
    async with ScriptedGateway([reply("a", "b", "c", every=1.0)]) as gateway, gateway.llm() as llm:
        stream = await chat(llm).__aenter__()
        await anext(stream)

        async def end() -> None:
            with pytest.raises(RuntimeError, match=r"make a channel of it with @trio\.as_safe_ch"):
                await stream.__aexit__(GeneratorExit, GeneratorExit(), None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
        # What Trio would be left with is what the message is there for; not so here.
        await stream.__aexit__(None, None, None)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_channel_of_a_generator_may_be_left_at_any_time(
    count: int, autojump_clock: MockClock
) -> None:
    texts: list[str] = []
    async with ScriptedGateway([reply("a", "b", "c", every=1.0)]) as gateway, gateway.llm() as llm:
        async with trio.as_safe_channel(tokens)(llm) as channel:
            async for text in channel:
                texts.append(text)
                if len(texts) == count:
                    break
        # The model has stopped when the block is left.
        gateway.assert_all_closed()
        assert gateway.last_request.interrupted

    assert texts == ["a", "b"][:count]


async def test_a_channel_of_a_generator_ends_with_the_answer(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([reply("a", "b", "c")]) as gateway, gateway.llm() as llm:
        async with trio.as_safe_channel(tokens)(llm) as channel:
            assert [text async for text in channel] == ["a", "b", "c"]
        assert not gateway.last_request.interrupted


async def test_a_channel_of_a_generator_raises_the_bare_error(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([reply("a", Reset())]) as gateway, gateway.llm() as llm:
        with pytest.raises(APIConnectionError) as caught:
            async with trio.as_safe_channel(tokens)(llm) as channel:
                async for _ in channel:
                    pass

    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"
