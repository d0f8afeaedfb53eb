"""A program that still uses trio-typing, read by mypy 1.8 with trio-typing's plugin."""

from __future__ import annotations

import trio
from trio_typing import Nursery, TaskStatus

from lktrio import LLM, APIError, ChatContext, CollectedResponse


async def say(
    llm: LLM, question: str, *, task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=question)
    async with llm.chat(chat_ctx=chat_ctx) as stream:
        with trio.move_on_after(5):
            task_status.started(await anext(stream.text))
        async for text in stream.text:
            print(text, end="")


async def ask(llm: LLM, question: str) -> CollectedResponse[None] | None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=question)
    try:
        return await llm.chat(chat_ctx=chat_ctx).collect()
    except APIError:
        return None


async def interview(nursery: Nursery, llm: LLM) -> str:
    send, receive = trio.open_memory_channel[CollectedResponse[None]](1)
    async with send, receive:
        response = await ask(llm, "Who are you?")
        if response is not None:
            await send.send(response)
            print((await receive.receive()).text)
    first: str = await nursery.start(say, llm, "Why do whales sing?")
    return first


async def main() -> None:
    async with LLM("openai/gpt-4.1-mini") as llm, trio.open_nursery() as nursery:
        print(await interview(nursery, llm))


trio.run(main)
