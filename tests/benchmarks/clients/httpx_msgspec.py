"""httpx by hand, at its fastest: raw bytes, split at newlines, decoded by msgspec.

No limit on connections, as lktrio has none, and no timeouts, which makes it a little cheaper than
what a program would dare to run.
"""

from __future__ import annotations

import httpx
import msgspec

from ..exchange import AUTHORIZATION, Question, Reply
from . import Work
from .chunk import Chunk, Usage

BACKEND = "trio"
DISTRIBUTIONS = ("trio", "httpx", "msgspec")
IMPORTS = "trio, httpx, msgspec"


async def run(
    url: str, question: Question, work: Work, *, transport: httpx.AsyncBaseTransport | None = None
) -> None:
    decode = msgspec.json.Decoder(Chunk).decode
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
    async with httpx.AsyncClient(
        limits=limits, timeout=None, headers=headers, transport=transport
    ) as client:

        async def ask(texts: list[str]) -> Reply:
            body = msgspec.json.encode(
                {
                    "model": question.model,
                    "messages": question.messages,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
            )
            arguments: list[str] = []
            finish_reason = None
            usage = Usage()
            rest = b""
            async with client.stream(
                "POST", f"{url}/v1/chat/completions", content=body
            ) as response:
                response.raise_for_status()
                async for data in response.aiter_raw():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        if not line.startswith(b"data: ") or line == b"data: [DONE]":
                            continue
                        chunk = decode(line[6:])
                        for choice in chunk.choices:
                            if choice.delta.content:
                                texts.append(choice.delta.content)
                            calls = choice.delta.tool_calls or ()
                            arguments += [call.function.arguments or "" for call in calls]
                            if choice.finish_reason:
                                finish_reason = choice.finish_reason
                        if chunk.usage is not None:
                            usage = chunk.usage
            return Reply(
                "".join(texts),
                finish_reason,
                usage.prompt_tokens,
                usage.completion_tokens,
                "".join(arguments),
            )

        await work(ask)
