"""What the OpenTelemetry conventions for generative AI call the things that are known of a request.

This module knows names of attributes and shapes of content, and makes them of values. It knows no
span, no metric, and not OpenTelemetry's API.

Source: https://github.com/open-telemetry/semantic-conventions-genai, v0.1.0, and
https://opentelemetry.io/docs/specs/semconv/http/http-spans/.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

import attrs

from lktrio._answers import UNKNOWN_STATUS, APIError, APIStatusError, CollectedResponse
from lktrio._conversation import ChatContext
from lktrio._instruments import LLMMetrics, RequestInfo
from lktrio._json import Mismatch, parse_arguments
from lktrio._tools import ToolContext

__all__ = [
    "Attributes",
    "Server",
    "content_attributes",
    "outcome_attributes",
    "request_attributes",
    "response_attributes",
    "server_at",
    "token_counts",
    "usage_attributes",
]

Attributes: TypeAlias = dict[str, str | bool | int | float | Sequence[str]]
"""Names and values."""

_FLOATS: Final = ("frequency_penalty", "presence_penalty", "temperature", "top_p")

_PROVIDERS: Final = {
    "*.openai.azure.com": "azure.ai.openai",
    "*.services.ai.azure.com": "azure.ai.inference",
    "*aiplatform.googleapis.com": "gcp.vertex_ai",
    "*.ml.cloud.ibm.com": "ibm.watsonx.ai",
    "api.anthropic.com": "anthropic",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "bedrock-runtime.*.amazonaws.com": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
"""The well-known values of ``gen_ai.provider.name``, by the host that is asked."""


@attrs.frozen
class Server:
    """Where requests go."""

    path: str = ""
    """The path of the resource that they are sent to."""

    provider: str | None = None
    """The well-known name of who serves it, if there is one."""

    address: Attributes = attrs.field(factory=dict[str, Any])
    """What says which server it is."""

    http: Attributes = attrs.field(factory=dict[str, Any])
    """What says what is sent where, by HTTP's conventions."""


@functools.lru_cache(maxsize=256)
def server_at(base_url: str | None) -> Server:
    """Where requests go.

    Args:
        base_url: `RequestInfo.base_url`. A user's name and password in it are not repeated.
    """
    if base_url is None:
        return Server()
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    path = f"{parts.path}/chat/completions"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address: Attributes = {"server.address": host, "server.port": port}
    netloc = parts.netloc.rpartition("@")[2]
    return Server(
        path,
        next((name for glob, name in _PROVIDERS.items() if fnmatchcase(host, glob)), None),
        address,
        {
            "http.request.method": "POST",
            "url.full": f"{parts.scheme}://{netloc}{path}",
            **address,
        },
    )


def outcome_attributes(error: Exception | None, *, cancelled: bool) -> Attributes:
    """What says how something ended; nothing if it went well.

    ``error.type`` is the status code that the server answered with, or else the name of the
    exception's class.
    """
    if cancelled:
        return {"lktrio.cancelled": True}
    if error is None:
        return {}
    if isinstance(error, APIStatusError) and error.status_code != UNKNOWN_STATUS:
        return {"error.type": str(error.status_code)}
    return {"error.type": type(error).__qualname__}


def request_attributes(options: Mapping[str, Any]) -> Attributes:
    """What says how the answer is wanted.

    Args:
        options: `RequestInfo.options`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    attributes: Attributes = {
        f"gen_ai.request.{name}": float(given[name]) for name in _FLOATS if name in given
    }
    # The newer name first.
    for name in ("max_completion_tokens", "max_tokens"):
        if name in given:
            attributes.setdefault("gen_ai.request.max_tokens", given[name])
    if "seed" in given:
        attributes["gen_ai.request.seed"] = given["seed"]
    if given.get("n", 1) != 1:
        attributes["gen_ai.request.choice.count"] = given["n"]
    if "stop" in given:
        stop = given["stop"]
        attributes["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if "reasoning_effort" in given:
        attributes["gen_ai.request.reasoning.level"] = given["reasoning_effort"]
    if "response_format" in given:
        is_text = given["response_format"].get("type") == "text"
        attributes["gen_ai.output.type"] = "text" if is_text else "json"
    return attributes


def response_attributes(metrics: LLMMetrics) -> Attributes:
    """What says what the answer is like, whole or not."""
    attributes: Attributes = {}
    if metrics.response_id is not None:
        attributes["gen_ai.response.id"] = metrics.response_id
    if metrics.response_model is not None:
        attributes["gen_ai.response.model"] = metrics.response_model
    if metrics.ttft is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = metrics.ttft
    if metrics.finish_reason is not None:
        attributes["gen_ai.response.finish_reasons"] = [metrics.finish_reason]
    elif metrics.response_model is not None and (metrics.cancelled or metrics.error is not None):
        attributes["gen_ai.response.finish_reasons"] = ["error"]
    if metrics.attempts:
        attributes["lktrio.attempts"] = len(metrics.attempts)
    return attributes


def token_counts(metrics: LLMMetrics) -> tuple[int, int, int, int, int]:
    """Tokens of the input and of the output; and of these: read from a cache, written to one,
    spent on reasoning. 0 where the server did not tell."""
    return (
        metrics.prompt_tokens,
        metrics.completion_tokens,
        metrics.prompt_cached_tokens,
        metrics.cache_creation_tokens,
        metrics.reasoning_tokens,
    )


_USAGE: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
)


def usage_attributes(metrics: LLMMetrics) -> Attributes:
    """The tokens, as far as the server has told."""
    if metrics.usage is None:
        return {}
    counts = dict(zip(_USAGE, token_counts(metrics), strict=True))
    # The last three are for where they apply, and 0 may mean that the server did not tell.
    return {name: count for place, (name, count) in enumerate(counts.items()) if count or place < 2}


# --- content --------------------------------------------------------------------------------


def content_attributes(
    request: RequestInfo, metrics: LLMMetrics, response: CollectedResponse[None] | None
) -> Attributes:
    """What was said, in the shapes that the conventions lay down as JSON schemas.

    Args:
        request: What was asked.
        metrics: How it ended. The error says what had arrived.
        response: The whole answer, if there is one.
    """
    attributes: Attributes = {"gen_ai.input.messages": _json(_input_messages(request.chat_ctx))}
    if response is None and isinstance(metrics.error, APIError):
        response = metrics.error.partial
    if response is not None:
        parts = _output_parts(response)
        attributes["gen_ai.output.messages"] = _json([{"role": "assistant", "parts": parts}])
    if request.tools:
        tool_ctx = ToolContext(request.tools)
        tools = [{"type": "function", "name": name} for name in tool_ctx.function_tools]
        tools += ({"type": tool.name, "name": tool.name} for tool in tool_ctx.provider_tools)
        attributes["gen_ai.tool.definitions"] = _json(tools)
    return attributes


def _json(value: object) -> str:
    # Exporters write UTF-8, which has no lone surrogates.
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()


def _input_messages(chat_ctx: ChatContext) -> list[dict[str, Any]]:
    sent, _ = chat_ctx.to_provider_format()
    messages: list[dict[str, Any]] = []
    for message in sent:
        content = message.get("content")
        if message["role"] == "tool":
            parts = [
                {
                    "type": "tool_call_response",
                    "id": message["tool_call_id"],
                    "response": content,
                }
            ]
        else:
            parts = [_text(content)] if isinstance(content, str) else []
            if isinstance(content, list):
                parts = [_part(part) for part in cast("list[dict[str, Any]]", content)]
            parts += [
                _call(call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls", ())
            ]
        messages.append({"role": message["role"], "parts": parts})
    return messages


def _output_parts(response: CollectedResponse[Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if response.reasoning:
        parts.append({"type": "reasoning", "content": response.reasoning})
    if response.text:
        parts.append(_text(response.text))
    if response.refusal:
        parts.append({"type": "refusal", "content": response.refusal})
    if response.audio is not None:
        parts.append(_blob("audio", None))
        if response.audio.transcript:
            parts.append(_text(response.audio.transcript))
    parts += [_blob("image", None) for _ in response.images]
    parts += [_call(call.call_id, call.name, call.arguments) for call in response.tool_calls]
    return parts


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a message's content. What is encoded in it is left out."""
    match part["type"]:
        case "text":
            return _text(part["text"])
        case "image_url":
            return _at(part["image_url"]["url"], "image")
        case "input_audio":
            return _blob("audio", f"audio/{part['input_audio']['format']}")
        case _:
            file: dict[str, Any] = part["file"]
            if "file_id" in file:
                return {"type": "file", "modality": "document", "file_id": file["file_id"]}
            return _at(file["file_data"], "document")


def _at(url: str, modality: str) -> dict[str, Any]:
    if not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    return _blob(modality, url.removeprefix("data:").partition(";")[0])


def _blob(modality: str, mime_type: str | None) -> dict[str, Any]:
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "content": ""}


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    # If they cannot be read, they stay as the model wrote them.
    value: object = arguments
    with contextlib.suppress(Mismatch):
        value = parse_arguments(arguments).values
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": value}
