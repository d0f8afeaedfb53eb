"""Pydantic AI on Trio, at its lowest level: a model and no agent. It runs there by way of anyio."""

from __future__ import annotations

import httpx2
import openai
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from ..exchange import API_KEY, Message, Question, Reply
from . import Work

BACKEND = "trio"
DISTRIBUTIONS = ("trio", "httpx2", "openai", "pydantic-ai-slim")
IMPORTS = "trio, pydantic_ai.direct, pydantic_ai.models.openai, pydantic_ai.providers.openai"


async def run(url: str, question: Question, work: Work) -> None:
    messages = _converted(question.messages)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    http_client = openai.DefaultAsyncHttpxClient(limits=limits, timeout=60)
    async with openai.AsyncOpenAI(
        api_key=API_KEY, base_url=f"{url}/v1", http_client=http_client
    ) as client:
        model = OpenAIChatModel(question.model, provider=OpenAIProvider(openai_client=client))

        async def ask(texts: list[str]) -> Reply:
            arguments: list[str] = []
            async with model_request_stream(model, messages) as stream:
                async for event in stream:
                    text: str | None = None
                    fragment: object = None
                    if isinstance(event, PartDeltaEvent):
                        if isinstance(event.delta, TextPartDelta):
                            text = event.delta.content_delta
                        elif isinstance(event.delta, ToolCallPartDelta):
                            fragment = event.delta.args_delta
                    elif isinstance(event, PartStartEvent):
                        if isinstance(event.part, TextPart):
                            text = event.part.content
                        elif isinstance(event.part, ToolCallPart):
                            fragment = event.part.args
                    if text:
                        texts.append(text)
                    elif isinstance(fragment, str):
                        arguments.append(fragment)
            return Reply(
                "".join(texts),
                # As the server has it; `finish_reason` has names of its own.
                (stream.provider_details or {}).get("finish_reason"),
                stream.usage.input_tokens,
                stream.usage.output_tokens,
                "".join(arguments),
            )

        await work(ask)


def _converted(messages: list[Message]) -> list[ModelMessage]:
    """What the messages are here: all that is said between two answers is one request."""
    converted: list[ModelMessage] = []
    parts: list[ModelRequestPart] = []
    for message in messages:
        if message["role"] == "assistant":
            converted += [
                ModelRequest(parts),
                ModelResponse([TextPart(message["content"])]),
            ]
            parts = []
        elif message["role"] == "system":
            parts.append(SystemPromptPart(message["content"]))
        else:
            parts.append(UserPromptPart(message["content"]))
    return [*converted, ModelRequest(parts)]
