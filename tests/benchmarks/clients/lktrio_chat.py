"""lktrio, used as its users use it: one `LLM`, one stream for each question, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence

from lktrio import LLM, ChatContext, ChatMessage, Instrument

from ..exchange import AUTHORIZATION, Question, Reply
from . import Work

BACKEND = "trio"
DISTRIBUTIONS = ("trio", "httpx", "msgspec", "lktrio")
IMPORTS = "trio, httpx, lktrio"


async def run(
    url: str,
    question: Question,
    work: Work,
    *,
    instruments: Sequence[Instrument] = (),
    prewarms: bool = False,
) -> None:
    chat_ctx = ChatContext(
        [
            ChatMessage(role=message["role"], content=[message["content"]])
            for message in question.messages
        ]
    )
    async with LLM(
        question.model, base_url=f"{url}/v1", auth=AUTHORIZATION, instruments=instruments
    ) as llm:

        async def ask(texts: list[str]) -> Reply:
            arguments: list[str] = []
            finish_reason = None
            async with llm.chat(chat_ctx=chat_ctx) as stream:
                async for chunk in stream:
                    if chunk.delta is not None and chunk.delta.content:
                        texts.append(chunk.delta.content)
                    if chunk.delta is not None:
                        arguments += [call.arguments for call in chunk.delta.tool_calls]
                    if chunk.finish_reason:
                        finish_reason = chunk.finish_reason
            usage = stream.usage
            assert usage is not None
            return Reply(
                "".join(texts),
                finish_reason,
                usage.prompt_tokens,
                usage.completion_tokens,
                "".join(arguments),
            )

        async def ask_and_prewarm(texts: list[str]) -> Reply:
            try:
                return await ask(texts)
            except Exception:
                await llm.prewarm()
                raise

        await work(ask_and_prewarm if prewarms else ask)
