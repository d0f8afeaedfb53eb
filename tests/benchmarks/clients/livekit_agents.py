"""LiveKit Inference's own client, on asyncio: what lktrio is the Trio counterpart of."""

from __future__ import annotations

import httpx2
from livekit.agents import APIConnectOptions, inference, llm

from ..exchange import API_KEY, Question, Reply
from . import Work

BACKEND = "asyncio"
DISTRIBUTIONS = ("livekit-agents", "httpx2", "openai")
IMPORTS = "livekit.agents.inference"


async def run(url: str, question: Question, work: Work) -> None:
    chat_ctx = llm.ChatContext.empty()
    for message in question.messages:
        chat_ctx.add_message(role=message["role"], content=message["content"])
    model = inference.LLM(
        question.model, base_url=f"{url}/v1", api_key=API_KEY, api_secret=API_KEY * 4
    )
    # Its own pool has 50 connections, and an answer may be held for longer than its 10 seconds.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    own_client = model._client
    model._client = own_client.with_options(http_client=httpx2.AsyncClient(limits=limits))
    conn_options = APIConnectOptions(max_retry=0, timeout=120)

    async def ask(texts: list[str]) -> Reply:
        arguments: list[str] = []
        usage = None
        async with model.chat(chat_ctx=chat_ctx, conn_options=conn_options) as stream:
            async for chunk in stream:
                if chunk.delta is not None:
                    if chunk.delta.content:
                        texts.append(chunk.delta.content)
                    arguments += [call.arguments for call in chunk.delta.tool_calls]
                usage = chunk.usage or usage
        assert usage is not None
        return Reply(
            "".join(texts),
            None,  # it does not tell
            usage.prompt_tokens,
            usage.completion_tokens,
            "".join(arguments),
        )

    await work(ask)
    await model.aclose()
    await own_client.close()
