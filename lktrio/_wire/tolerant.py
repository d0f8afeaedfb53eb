"""Payloads that do not have the documented types, read as well as they can be.

This module knows what servers write in place of a string, a number, a list or an object. It is
asked where the typed decoder has refused, and never before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias, TypeVar

import msgspec

from lktrio._answers import TokenLogprob, TopLogprob
from lktrio._json import clean, is_list, is_object, repair_surrogates

from .payloads import (
    MAX_CHOICES,
    AudioPayload,
    CallPayload,
    ChoicePayload,
    ChunkPayload,
    CompletionDetails,
    DeltaPayload,
    FunctionPayload,
    GroqPayload,
    LogprobsPayload,
    PromptDetails,
    TaintedChunkPayload,
    UsagePayload,
)

__all__ = ["integer", "read_chunk", "reasoning_text"]

P = TypeVar("P", bound=msgspec.Struct)
_Reader: TypeAlias = Callable[[object], object]


def read_chunk(members: Mapping[str, object]) -> ChunkPayload:
    """Read one event of the stream, or a whole completion, from a decoded object."""
    return _read(TaintedChunkPayload, members)


def _read(kind: type[P], members: Mapping[str, object]) -> P:
    payload = kind()
    for name in kind.__struct_fields__:
        setattr(payload, name, _READERS[name](members.get(name)))
    return payload


def _reader_of(kind: type[P]) -> _Reader:
    return lambda value: _read(kind, value) if is_object(value) else None


def _read_choices(value: object) -> list[ChoicePayload]:
    choices = [_read(ChoicePayload, choice) for choice in _objects(value)[:MAX_CHOICES]]
    for choice in choices:
        choice.place_text()
    return choices


def _read_delta(value: object) -> DeltaPayload | None:
    if not is_object(value):
        return None
    content, thinking, refusal = _read_content(value.get("content"))
    return DeltaPayload(
        content=content,
        tool_calls=[_read_call(call) for call in _objects(value.get("tool_calls"))],
        reasoning_content=_read_text(value.get("reasoning_content")) or thinking,
        reasoning=_read_text(value.get("reasoning")),
        refusal=_read_text(value.get("refusal")) or refusal,
        extra_content=_read_extra(value.get("extra_content")),
        function_call=_read_function(value.get("function_call")),
        reasoning_details=_objects(value.get("reasoning_details")),
        annotations=_objects(value.get("annotations")) or None,
        audio=_read_audio(value.get("audio")),
        images=_objects(value.get("images")) or None,
    )


def _read_call(members: Mapping[str, object]) -> CallPayload:
    call = _read(CallPayload, members)
    number = members.get("id")
    if isinstance(number, int) and not isinstance(number, bool):
        call.id = str(number)
    return call


def _read_function(value: object) -> FunctionPayload | None:
    return _read(FunctionPayload, value) if is_object(value) else None


def _read_arguments(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read_extra(value: object) -> dict[str, object] | None:
    value = clean(value)
    return value if is_object(value) else None


_THINKING_KINDS: Final = ("think", "reason")


def _read_content(value: object) -> tuple[str | None, str | None, str | None]:
    """Content as a string or a list of parts -> its text, its thinking text, its refusal."""
    if is_object(value):
        value = [value]
    if not is_list(value):
        return _scalar_text(value), None, None
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for part in value:
        if is_object(part):
            kind = part.get("type")
            target = texts
            if kind == "refusal":
                target = refusals
            elif isinstance(kind, str) and any(word in kind for word in _THINKING_KINDS):
                target = thoughts
            target.append(_part_text(part))
        else:
            texts.append(_scalar_text(part) or "")
    return "".join(texts) or None, "".join(thoughts) or None, "".join(refusals) or None


_MAX_TEXT_DEPTH: Final = 16
_TEXT_MEMBERS: Final = ("text", "thinking", "reasoning", "summary", "content", "refusal")


def _part_text(part: Mapping[str, object], depth: int = 0) -> str:
    """The text of a content part or of an entry of ``reasoning_details``, however nested."""
    for key in _TEXT_MEMBERS:
        value = part.get(key)
        if value:
            return _read_text(value, depth + 1) or ""
    return ""


def _read_text(value: object, depth: int = 0) -> str | None:
    """Text in whatever way it is wrapped: a string, a part, a list of either."""
    if depth > _MAX_TEXT_DEPTH:
        return None
    if is_list(value):
        return "".join(_read_text(item, depth + 1) or "" for item in value) or None
    if is_object(value):
        return _part_text(value, depth) or None
    return _scalar_text(value)


def _scalar_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    return None


def reasoning_text(details: Iterable[Mapping[str, object]]) -> str | None:
    """The readable text of ``reasoning_details``; encrypted entries have none."""
    return "".join(_part_text(entry) for entry in details) or None


def _read_audio(value: object) -> AudioPayload | None:
    if not is_object(value):
        return None
    return AudioPayload(
        id=_name(value.get("id")),
        data=_name(value.get("data")),
        transcript=_name(value.get("transcript")),
        expires_at=integer(value.get("expires_at")),
    )


def _read_logprobs(value: object) -> LogprobsPayload | None:
    if not is_object(value):
        return None
    return LogprobsPayload(_read_tokens(value.get("content")), _read_tokens(value.get("refusal")))


def _read_tokens(value: object) -> list[TokenLogprob]:
    return [
        TokenLogprob(*token, [TopLogprob(*other) for _, other in _tokens(members, "top_logprobs")])
        for members, token in _tokens({"": value}, "")
    ]


_Token: TypeAlias = tuple[str, float, list[int] | None]


def _tokens(
    members: Mapping[str, object], name: str
) -> Iterator[tuple[Mapping[str, object], _Token]]:
    """The tokens of a list, each with its members; one without a number says nothing."""
    for token in _objects(members.get(name)):
        text, logprob = token.get("token"), token.get("logprob")
        if isinstance(text, str) and isinstance(logprob, int | float):
            yield token, (repair_surrogates(text), float(logprob), _read_bytes(token.get("bytes")))


def _read_bytes(value: object) -> list[int] | None:
    if not is_list(value):
        return None
    numbers = [integer(item) for item in value]
    return [number for number in numbers if number is not None]


def _objects(value: object) -> list[dict[str, object]]:
    if is_object(value):
        return [value]
    return [item for item in value if is_object(item)] if is_list(value) else []


def integer(value: object) -> int | None:
    """The integer that a value is or spells, if any."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _count(value: object) -> int | None:
    count = integer(value)
    return count if count is not None and count >= 0 else None


def _name(value: object) -> str | None:
    return repair_surrogates(value) if isinstance(value, str) else None


_READERS: Final[Mapping[str, _Reader]] = {
    **dict.fromkeys(("id", "model", "name", "type", "finish_reason", "service_tier"), _name),
    "system_fingerprint": _name,
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _count),
    **dict.fromkeys(("input_tokens", "output_tokens"), _count),
    **dict.fromkeys(("cached_tokens", "prompt_cache_hit_tokens", "cache_write_tokens"), _count),
    **dict.fromkeys(("accepted_prediction_tokens", "rejected_prediction_tokens"), _count),
    **dict.fromkeys(("error", "base_resp"), clean),
    **dict.fromkeys(("delta", "message"), _read_delta),
    "text": _scalar_text,
    **dict.fromkeys(("function", "function_call"), _read_function),
    "arguments": _read_arguments,
    "audio_tokens": _count,
    "choices": _read_choices,
    "completion_tokens_details": _reader_of(CompletionDetails),
    "extra_content": _read_extra,
    "index": integer,
    "logprobs": _read_logprobs,
    "prompt_tokens_details": _reader_of(PromptDetails),
    "reasoning_tokens": _count,
    "usage": _reader_of(UsagePayload),
    "x_groq": _reader_of(GroqPayload),
}
"""How a member is read, whatever it is a member of."""
