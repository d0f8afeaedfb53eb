"""OpenAI's client on Trio, which it runs on by way of anyio."""

from __future__ import annotations

import httpx2
import openai

from ..exchange import API_KEY, Question, Reply
from . import Work

BACKEND = "trio"
DISTRIBUTIONS = ("trio", "httpx2", "openai")
IMPORTS = "trio, openai"


async def run(url: str, question: Question, work: Work) -> None:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    http_client = openai.DefaultAsyncHttpxClient(limits=limits, timeout=60)
    async with openai.AsyncOpenAI(
        api_key=API_KEY, base_url=f"{url}/v1", http_client=http_client
    ) as client:

        async def ask(texts: list[str]) -> Reply:
            arguments: list[str] = []
            finish_reason = None
            usage = None
            stream = await client.chat.completions.create(
                model=question.model,
                messages=question.messages,  # type: ignore[arg-type,unused-ignore]
                stream=True,
                stream_options={"include_usage": True},
            )
            async with stream:
                async for chunk in stream:
                    for choice in chunk.choices:
                        if choice.delta.content:
                            texts.append(choice.delta.content)
                        calls = choice.delta.tool_calls or ()
                        functions = [call.function for call in calls if call.function is not None]
                        arguments += [function.arguments or "" for function in functions]
                        finish_reason = choice.finish_reason or finish_reason
                    usage = chunk.usage or usage
            assert usage is not None
            return Reply(
                "".join(texts),
                finish_reason,
                usage.prompt_tokens,
                usage.completion_tokens,
                "".join(arguments),
            )

        await work(ask)
