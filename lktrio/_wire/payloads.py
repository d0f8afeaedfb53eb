"""What the gateway sends: the payload of an event, with the members that somebody reads.

This module knows the names and the types of these members, and decodes what has them as they are
documented. What does not fit is read elsewhere, and so is what the payloads add up to.

Source: https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from lktrio._answers import CompletionUsage, TokenLogprob

__all__ = [
    "MAX_CHOICES",
    "AudioPayload",
    "CallPayload",
    "ChoicePayload",
    "ChunkPayload",
    "CompletionDetails",
    "DeltaPayload",
    "FunctionPayload",
    "GroqPayload",
    "LogprobsPayload",
    "PromptDetails",
    "RestPayload",
    "TaintedChunkPayload",
    "UsagePayload",
    "completion_usage",
    "decode_plain",
    "decode_typed",
    "has_free_members",
]

# JSON has no cycles, so nothing of a payload needs the garbage collector to be freed: it need not
# look at them either.


class FunctionPayload(msgspec.Struct, gc=False):
    """The function of a tool-call fragment."""

    name: str | None = None
    arguments: str | None = None


_NO_FUNCTION: Final = FunctionPayload()


class CallPayload(msgspec.Struct, gc=False):
    """One entry of a ``tool_calls`` list: a fragment of a call.

    Some proxies leave the wrapper ``function`` out, or name it as it was called before there were
    tool calls: `spoken` is what all of these say.
    """

    index: int | None = None
    id: str | None = None
    function: FunctionPayload | None = None
    extra_content: dict[str, Any] | None = None
    name: str | None = None
    arguments: str | None = None
    function_call: FunctionPayload | None = None

    def spoken(self) -> FunctionPayload | None:
        """Name and arguments, wherever they stand."""
        function = self.function
        if function is not None and function.name and function.arguments:
            return function
        if not (self.name or self.arguments or self.function_call):
            return function
        wrapped = function or _NO_FUNCTION
        legacy = self.function_call or _NO_FUNCTION
        return FunctionPayload(
            wrapped.name or legacy.name or self.name,
            wrapped.arguments or legacy.arguments or self.arguments,
        )


class AudioPayload(msgspec.Struct, gc=False):
    """A piece of speech; the sound is base64."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class LogprobsPayload(msgspec.Struct, gc=False):
    """How likely the tokens of a piece were."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class DeltaPayload(msgspec.Struct, gc=False):
    """What a chunk adds to a choice."""

    content: str | None = None
    tool_calls: list[CallPayload] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    extra_content: dict[str, Any] | None = None
    function_call: FunctionPayload | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: AudioPayload | None = None
    images: list[dict[str, Any]] | None = None


class RestPayload(DeltaPayload, gc=False):
    """A delta whose reasoning has been taken: its ``reasoning_details`` are not read as text."""


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the prompt's token count."""

    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the completion's token count."""

    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


_NO_PROMPT_DETAILS: Final = PromptDetails()
_NO_COMPLETION_DETAILS: Final = CompletionDetails()


class UsagePayload(msgspec.Struct, gc=False):
    """Token counts, in the spellings of several servers."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    cached_tokens: _Count | None = None
    prompt_cache_hit_tokens: _Count | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None

    @property
    def prompt(self) -> int | None:
        """Tokens of the prompt, by whatever name."""
        return self.input_tokens if self.prompt_tokens is None else self.prompt_tokens

    @property
    def completion(self) -> int | None:
        """Tokens of the completion, by whatever name."""
        return self.output_tokens if self.completion_tokens is None else self.completion_tokens


class ChoicePayload(msgspec.Struct, gc=False):
    """One choice of a chunk or of a whole completion."""

    index: int | None = None
    delta: DeltaPayload | None = None
    message: DeltaPayload | None = None
    finish_reason: str | None = None
    usage: UsagePayload | None = None
    error: Any = None
    logprobs: LogprobsPayload | None = None
    text: str | None = None

    def place_text(self) -> None:
        """Let a text stand for the delta, as in the choices of the older completions."""
        if self.text and self.delta is None and self.message is None:
            self.delta = DeltaPayload(content=self.text)


class GroqPayload(msgspec.Struct, gc=False):
    """What Groq adds to a chunk: the usage, and why a stream was stopped early, may be here alone.

    Source: https://github.com/groq/groq-python/blob/main/src/groq/types/chat/chat_completion_chunk.py
    """

    usage: UsagePayload | None = None
    error: Any = None


class ChunkPayload(msgspec.Struct, gc=False):
    """One event of the stream, or a whole completion."""

    id: str | None = None
    choices: list[ChoicePayload] | None = None
    usage: UsagePayload | None = None
    error: Any = None
    type: str | None = None
    service_tier: str | None = None
    model: str | None = None
    x_groq: GroqPayload | None = None
    base_resp: Any = None
    """How the request went, as MiniMax says it: a ``status_code`` that is 0 for success."""
    system_fingerprint: str | None = None


class TaintedChunkPayload(ChunkPayload, gc=False):
    """A payload from tolerant reading: its texts and arguments may hold lone surrogates."""


MAX_CHOICES: Final = 1024
"""Most choices of one chunk that are looked at. Asked for is one."""

_decode_chunk = msgspec.json.Decoder(ChunkPayload).decode


def decode_plain(data: bytes) -> ChunkPayload | None:
    """Decode the data of an event that is a piece of an answer and nothing else, as nearly all are.

    Returns:
        The payload; None for what `_decoding` and `_server_errors` must judge.
    """
    try:
        payload = _decode_chunk(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    choices = payload.choices
    if payload.error or payload.x_groq is not None or not choices or len(choices) > MAX_CHOICES:
        return None
    if payload.base_resp is not None:
        return None
    for choice in choices:
        if choice.error or choice.finish_reason == "error":
            return None
        if choice.delta is None:
            choice.place_text()
    return payload


def decode_typed(data: bytes) -> ChunkPayload | None:
    """Decode a payload whose members have the documented types; None for any other data."""
    try:
        payload = _decode_chunk(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if payload.choices:
        del payload.choices[MAX_CHOICES:]
        for choice in payload.choices:
            choice.place_text()
    return payload


def has_free_members(payload: ChunkPayload) -> bool:
    """Whether there are members of any form at all, which are walked through in Python."""
    for choice in payload.choices or ():
        for delta in (choice.delta, choice.message):
            if delta is None:
                continue
            if delta.extra_content or delta.reasoning_details:
                return True
            if delta.annotations or delta.images:
                return True
            # More than a few are an error; see `_tool_calls`.
            calls = itertools.islice(delta.tool_calls or (), MAX_CHOICES)
            if any(call.extra_content for call in calls):
                return True
    return False


def completion_usage(
    usage: UsagePayload, service_tier: str | None, rest: dict[str, object] | None = None
) -> CompletionUsage:
    """Make the public usage value; every count that is missing is 0."""
    prompt = usage.prompt or 0
    completion = usage.completion or 0
    prompt_details = usage.prompt_tokens_details or _NO_PROMPT_DETAILS
    completion_details = usage.completion_tokens_details or _NO_COMPLETION_DETAILS
    cached = prompt_details.cached_tokens
    if cached is None:
        cached = usage.cached_tokens
    if cached is None:
        cached = usage.prompt_cache_hit_tokens or 0
    return CompletionUsage(
        completion_tokens=completion,
        prompt_tokens=prompt,
        prompt_cached_tokens=cached,
        cache_creation_tokens=prompt_details.cache_write_tokens or 0,
        cache_read_tokens=cached,
        reasoning_tokens=completion_details.reasoning_tokens or 0,
        total_tokens=usage.total_tokens or prompt + completion,
        service_tier=service_tier,
        prompt_audio_tokens=prompt_details.audio_tokens or 0,
        completion_audio_tokens=completion_details.audio_tokens or 0,
        accepted_prediction_tokens=completion_details.accepted_prediction_tokens or 0,
        rejected_prediction_tokens=completion_details.rejected_prediction_tokens or 0,
        extra=rest or {},
    )
