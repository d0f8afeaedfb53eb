"""httpx by hand, as a tutorial would have it: lines of text, decoded by `json`."""

from __future__ import annotations

import json

import httpx

from ..exchange import AUTHORIZATION, Question, Reply
from . import Work

BACKEND = "trio"
DISTRIBUTIONS = ("trio", "httpx")
IMPORTS = "trio, httpx, json"


async def run(url: str, question: Question, work: Work) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    headers = {"Authorization": AUTHORIZATION}
    async with httpx.AsyncClient(limits=limits, timeout=None, headers=headers) as client:

        async def ask(texts: list[str]) -> Reply:
            body = {
                "model": question.model,
                "messages": question.messages,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            arguments: list[str] = []
            finish_reason = None
            usage = {"prompt_tokens": 0, "completion_tokens": 0}
            async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    chunk = json.loads(line[6:])
                    for choice in chunk["choices"]:
                        if content := choice["delta"].get("content"):
                            texts.append(content)
                        calls = choice["delta"].get("tool_calls") or ()
                        arguments += [call["function"]["arguments"] for call in calls]
                        finish_reason = choice["finish_reason"] or finish_reason
                    usage = chunk["usage"] or usage
            return Reply(
                "".join(texts),
                finish_reason,
                usage["prompt_tokens"],
                usage["completion_tokens"],
                "".join(arguments),
            )

        await work(ask)
