"""The incoming half of the gateway's JSON dialect: chunk, usage and error payloads, and the
headers worth reading.

This module knows how every server of the dialect spells things. Payloads are decoded into
private structs that name only what somebody reads; what the fast typed decoder refuses goes
once through tolerant reading, and only that decides. It does not know how chunks add up to an
answer.

Source: https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from __future__ import annotations

import codecs
import datetime
import email.utils
import enum
import http
import itertools
import json
import math
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeGuard, TypeVar

import msgspec

from ._chunks import CompletionUsage
from ._errors import (
    UNKNOWN_STATUS,
    APIConnectionError,
    APIError,
    APIStatusError,
    is_retryable_status,
)
from ._json_text import MAX_DEPTH, MAX_WALKED_VALUES, SLICE, JSONMeter, ends_early, loads
from ._response import Quota, QuotaUsage
from ._sse import EventReader

__all__ = [
    "CallPayload",
    "ChoicePayload",
    "ChunkPayload",
    "DeltaPayload",
    "Done",
    "FunctionPayload",
    "GroqPayload",
    "HeaderFacts",
    "Steps",
    "TaintedChunkPayload",
    "UsagePayload",
    "completion_usage",
    "content_codings",
    "decode_body",
    "decode_body_in_steps",
    "decode_event",
    "decode_event_in_steps",
    "decode_plain",
    "has_failed",
    "is_array",
    "is_object",
    "payload_error",
    "pruned",
    "quote",
    "read_headers",
    "reasoning_text",
    "redact",
    "redact_error",
    "redact_headers",
    "redact_text",
    "repair_surrogates",
    "status_error",
]


T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work that would block the program if it were done at once: whoever does it pauses at each
``yield``. What comes of it is returned."""


class Done(enum.Enum):
    """What `decode_event` returns for ``data: [DONE]``."""

    DONE = enum.auto()


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


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the prompt's token count."""

    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the completion's token count."""

    reasoning_tokens: _Count | None = None


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


class ChoicePayload(msgspec.Struct, gc=False):
    """One choice of a chunk or of a whole completion."""

    index: int | None = None
    delta: DeltaPayload | None = None
    message: DeltaPayload | None = None
    finish_reason: str | None = None
    usage: UsagePayload | None = None
    error: Any = None


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


class TaintedChunkPayload(ChunkPayload, gc=False):
    """A payload from tolerant reading: its texts and arguments may hold lone surrogates."""


MAX_CHOICES: Final = 1024
"""Most choices of one chunk that are looked at. Asked for is one."""

_decode_chunk = msgspec.json.Decoder(ChunkPayload).decode


def decode_plain(data: bytes) -> ChunkPayload | None:
    """Decode the data of an event that is a piece of an answer and nothing else, as nearly all are.

    Returns:
        The payload; None for what `decode_event` and `payload_error` must judge.
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
    return payload


def decode_event(data: bytes, name: bytes = b"") -> ChunkPayload | Done | None:
    """Decode the data of one event.

    Args:
        data: The event's data, undecoded.
        name: The event's name; ``error`` makes any data an error, and data that is not JSON is
            nothing in an event whose name says that it keeps the connection alive.

    Returns:
        The payload, `Done.DONE` for the end mark, or None for an event that says nothing
        (blank data, a comment or a ``ping`` wrapped as data, JSON that is not an object).

    Raises:
        APIConnectionError: The data is not JSON.
    """
    if data.startswith(b"[DONE]"):
        return Done.DONE
    payload = None if name and _names_error(name) else _decode_typed(data)
    if payload is not None:
        return payload
    return _at_once(_decode_tolerantly(data, name))


def decode_event_in_steps(data: bytes, name: bytes = b"") -> Steps[ChunkPayload | Done | None]:
    """Do what `decode_event` does for an event that is too large for one step.

    Raises:
        APIConnectionError: The data is not JSON, or holds too much to be decoded.
    """
    if data.startswith(b"[DONE]"):
        return Done.DONE
    if _names_error(name) and len(data) > _MAX_ERROR_BYTES:
        return ChunkPayload()  # of which `payload_error` shows the beginning
    what = "an event of the stream"
    count = yield from _count_values(what, data)
    payload = None
    if not _names_error(name):
        payload = _decode_typed(data)
        yield
    if count > MAX_WALKED_VALUES and (payload is None or _has_free_members(payload)):
        raise _too_much(what, f"holds more than {MAX_WALKED_VALUES} values", data)
    if payload is not None:
        return payload
    return (yield from _decode_tolerantly(data, name))


def decode_body(body: bytes) -> ChunkPayload:
    """Decode a body that is one JSON document in place of a stream.

    Returns:
        The payload of a whole completion.

    Raises:
        APIStatusError: The document is an error object.
        APIConnectionError: The document is neither, is cut off (this may be retried), is not
            JSON, or holds too much to be decoded.
    """
    return _at_once(decode_body_in_steps(body))


def decode_body_in_steps(body: bytes) -> Steps[ChunkPayload]:
    """Do what `decode_body` does, step by step."""
    what = "the body of the response"
    count = yield from _count_values(what, body)
    payload = _decode_typed(body)
    yield
    if payload is not None and (payload.error or not _has_answer(payload)):
        payload = None
    if count > MAX_WALKED_VALUES and (payload is None or _has_free_members(payload)):
        raise _too_much(what, f"holds more than {MAX_WALKED_VALUES} values", body)
    if payload is not None:
        return payload
    text = yield from _decode_text_in_steps(body)
    failure: ValueError | RecursionError | None = None
    value: object = None
    try:
        value = loads(text)
        if is_array(value) and len(value) == 1:
            value = value[0]
        yield
        payload = _read_chunk(value) if is_object(value) else ChunkPayload()
    except (ValueError, RecursionError) as exc:
        failure = exc
    # Raised out here, so that no error holds on to the whole text by way of its context.
    if failure is not None or payload is None:
        if isinstance(failure, json.JSONDecodeError) and ends_early(text, failure):
            raise APIConnectionError(
                f"the response ended in the middle of a JSON document; it begins with {quote(body)}"
            )
        raise _not_json(what, body, str(failure))
    if is_object(value):
        error = _error_in(value, has_choices=bool(payload.choices))
        if error is None and not payload.choices and has_failed(payload):
            error = _make_error(payload.base_resp, _clean(value))
        if error is not None:
            raise error
    if _has_answer(payload):
        return payload
    raise APIConnectionError(
        "the response is JSON, but neither an event stream nor a chat completion; "
        f"it begins with {quote(body)}",
        body=_excerpt(value),
        retryable=False,
    )


def _has_answer(payload: ChunkPayload) -> bool:
    return any(
        not choice.index and (choice.message is not None or choice.delta is not None)
        for choice in payload.choices or ()
    )


def _at_once(steps: Steps[T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _count_values(what: str, data: bytes) -> Steps[int]:
    """Make sure that a JSON text can be decoded in one step; count the values in it."""
    meter = JSONMeter()
    for start in range(0, len(data), SLICE):
        meter.feed(data[start : start + SLICE])
        if meter.excess is not None:
            raise _too_much(what, meter.excess, data)
        yield
    return meter.values


_BEGINS_LIKE_AN_ERROR: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"error"\s*:\s*[\[{"]')


def _too_much(what: str, excess: str, data: bytes) -> APIStatusError | APIConnectionError:
    body = _decode_text(data[:_MAX_QUOTED])
    beginning = f"{excess}; it begins with {quote(data)}"
    if _BEGINS_LIKE_AN_ERROR.match(data):
        return APIStatusError(f"the server reported an error that {beginning}", body=body)
    return APIConnectionError(f"{what} {beginning}", body=body, retryable=False)


def _decode_typed(data: bytes) -> ChunkPayload | None:
    try:
        payload = _decode_chunk(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if payload.choices:
        del payload.choices[MAX_CHOICES:]
    return payload


def _has_free_members(payload: ChunkPayload) -> bool:
    """Whether there are members of any form at all, which are walked through in Python."""
    for choice in payload.choices or ():
        for delta in (choice.delta, choice.message):
            if delta is None:
                continue
            if delta.extra_content or delta.reasoning_details:
                return True
            # More than a few are an error; see `_tool_calls`.
            calls = itertools.islice(delta.tool_calls or (), MAX_CHOICES)
            if any(call.extra_content for call in calls):
                return True
    return False


def payload_error(payload: ChunkPayload, data: bytes, name: bytes) -> APIStatusError | None:
    """The error that an event reports, or None.

    An event is an error if it has a truthy ``error`` member (on the chunk, on the choice that is
    the answer, or among what Groq adds), is named ``error``, has the type ``error`` without
    choices, the finish reason ``error``, or a ``base_resp`` whose ``status_code`` is not 0.
    """
    error = payload.error or (payload.x_groq and payload.x_groq.error)
    if error:
        return _make_error(error, _error_body(data))
    if has_failed(payload):
        return _make_error(payload.base_resp, _error_body(data))
    if _names_error(name):
        value = _error_body(data)
        beginning = data[:_MAX_ERROR_BYTES]
        return _make_error(value if value is not None else _decode_text(beginning).strip(), value)
    if not payload.choices:
        # Usage alone is what most chunks without choices hold.
        if payload.usage is None or payload.type == "error":
            value = _error_body(data)
            if is_object(value):
                return _error_in(value, has_choices=False)
        return None
    for choice in payload.choices:
        if choice.index:
            continue
        if choice.error:
            return _make_error(choice.error, _error_body(data))
        if choice.finish_reason == "error":
            return _make_error(None, _error_body(data))
    return None


def has_failed(payload: ChunkPayload) -> bool:
    """Whether the server's word on how the request went is another than 0."""
    outcome = payload.base_resp
    return is_object(outcome) and _integer(outcome.get("status_code")) not in (None, 0)


def _names_error(name: bytes) -> bool:
    return name.strip().lower() == b"error"


def completion_usage(usage: UsagePayload, service_tier: str | None) -> CompletionUsage:
    """Make the public usage value; every count that is missing is 0."""
    prompt = usage.prompt_tokens or 0
    completion = usage.completion_tokens or 0
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
    )


def repair_surrogates(text: str) -> str:
    """Join surrogate pairs and replace what stays alone with U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a decoded JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether a decoded JSON value is an array."""
    return isinstance(value, list)


# --- tolerant reading ---------------------------------------------------------------------

_KEEP_ALIVE_WORDS: Final = frozenset(
    {b"ping", b"pong", b"heartbeat", b"heart-beat", b"keepalive", b"keep-alive"}
)
"""As the name of an event, and as the data of one."""


def _decode_tolerantly(data: bytes, name: bytes) -> Steps[ChunkPayload | Done | None]:
    trimmed = data.strip()
    if trimmed.startswith(b"[DONE]"):
        return Done.DONE
    nothing = ChunkPayload() if _names_error(name) else None
    if not trimmed or trimmed.startswith(b":"):
        return nothing
    text = yield from _decode_text_in_steps(trimmed)
    try:
        value = loads(text)
        yield
        return _read_chunk(value) if is_object(value) else nothing
    except (ValueError, RecursionError) as exc:
        if nothing is not None or not _KEEP_ALIVE_WORDS.isdisjoint(
            (name.strip().lower(), trimmed.lower())
        ):
            return nothing
        reason = str(exc)
        # What something on the way has spoilt is as good as a body that was cut.
        is_spoilt = isinstance(exc, ValueError)
    # Out here, so that the error does not hold on to the whole text by way of its context.
    raise _not_json("an event of the stream", trimmed, reason, retryable=is_spoilt)


def _not_json(
    what: str, data: bytes, reason: str, *, retryable: bool = False
) -> APIConnectionError:
    return APIConnectionError(
        f"{what} is not valid JSON ({reason}); it begins with {quote(data)}", retryable=retryable
    )


_MAX_ERROR_BYTES: Final = 64 * 1024
"""An error of the server that is larger is not decoded; what it says is its beginning."""

_MAX_ERROR_VALUES: Final = 5_000
"""So many values of what a server says about an error are kept."""

_MAX_QUOTED: Final = 4096
"""So much is kept of what is too large to be decoded, in bytes."""


def _error_body(data: bytes) -> object | None:
    if len(data) > _MAX_ERROR_BYTES:
        return _decode_text(data[:_MAX_QUOTED])
    try:
        return _excerpt(loads(_decode_text(data)))
    except (ValueError, RecursionError):
        return None


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace")


_DECODED_AT_ONCE: Final = 1024 * 1024


def _decode_text_in_steps(data: bytes) -> Steps[str]:
    if len(data) <= _DECODED_AT_ONCE:
        return _decode_text(data)
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    pieces: list[str] = []
    for start in range(0, len(data), _DECODED_AT_ONCE):
        pieces.append(decoder.decode(data[start : start + _DECODED_AT_ONCE]))
        yield
    pieces.append(decoder.decode(b"", final=True))
    return "".join(pieces)


def quote(data: bytes, limit: int = 200) -> str:
    """The beginning of some bytes, fit for an error message."""
    text = _decode_text(data[: limit + 8])
    return repr(text if len(text) <= limit else text[:limit] + "...")


def _read_chunk(members: Mapping[str, Any]) -> ChunkPayload:
    return TaintedChunkPayload(
        id=_clean_string(members.get("id")),
        choices=[_read_choice(choice) for choice in _objects(members.get("choices"))[:MAX_CHOICES]],
        usage=_read_usage(members.get("usage")),
        error=_clean(members.get("error")),
        type=_clean_string(members.get("type")),
        service_tier=_clean_string(members.get("service_tier")),
        model=_clean_string(members.get("model")),
        x_groq=_read_groq(members.get("x_groq")),
        base_resp=_clean(members.get("base_resp")),
    )


def _read_groq(value: object) -> GroqPayload | None:
    if not is_object(value):
        return None
    return GroqPayload(usage=_read_usage(value.get("usage")), error=_clean(value.get("error")))


def _read_choice(members: Mapping[str, Any]) -> ChoicePayload:
    return ChoicePayload(
        index=_integer(members.get("index")),
        delta=_read_delta(members.get("delta")),
        message=_read_delta(members.get("message")),
        finish_reason=_clean_string(members.get("finish_reason")),
        usage=_read_usage(members.get("usage")),
        error=_clean(members.get("error")),
    )


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
    )


_THINKING_KINDS: Final = ("think", "reason")


def _read_content(value: object) -> tuple[str | None, str | None, str | None]:
    """Content as a string or a list of parts -> its text, its thinking text, its refusal."""
    if is_object(value):
        value = [value]
    if not is_array(value):
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


def _part_text(part: Mapping[str, Any], depth: int = 0) -> str:
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
    if is_array(value):
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


def reasoning_text(details: Iterable[Mapping[str, Any]]) -> str | None:
    """The readable text of ``reasoning_details``; encrypted entries have none."""
    return "".join(_part_text(entry) for entry in details) or None


def _read_call(members: Mapping[str, Any]) -> CallPayload:
    return CallPayload(
        index=_integer(members.get("index")),
        id=_identifier(members.get("id")),
        function=_read_function(members.get("function")),
        extra_content=_read_extra(members.get("extra_content")),
        name=_clean_string(members.get("name")),
        arguments=_read_arguments(members.get("arguments")),
        function_call=_read_function(members.get("function_call")),
    )


def _read_function(value: object) -> FunctionPayload | None:
    if not is_object(value):
        return None
    return FunctionPayload(
        name=_clean_string(value.get("name")), arguments=_read_arguments(value.get("arguments"))
    )


def _read_arguments(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read_extra(value: object) -> dict[str, Any] | None:
    value = _clean(value)
    return value if is_object(value) else None


def pruned(extra: dict[str, Any]) -> dict[str, Any]:
    """What a provider attached, without what is nested too deeply in it."""
    value = _Copy(MAX_WALKED_VALUES, math.inf, repairs=False).of(extra, MAX_DEPTH)
    assert is_object(value)
    return value


def _read_usage(value: object) -> UsagePayload | None:
    if not is_object(value):
        return None
    prompt = value.get("prompt_tokens_details")
    completion = value.get("completion_tokens_details")
    return UsagePayload(
        prompt_tokens=_count(value.get("prompt_tokens")),
        completion_tokens=_count(value.get("completion_tokens")),
        total_tokens=_count(value.get("total_tokens")),
        prompt_tokens_details=PromptDetails(
            cached_tokens=_count(prompt.get("cached_tokens")),
            cache_write_tokens=_count(prompt.get("cache_write_tokens")),
        )
        if is_object(prompt)
        else None,
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=_count(completion.get("reasoning_tokens"))
        )
        if is_object(completion)
        else None,
        cached_tokens=_count(value.get("cached_tokens")),
        prompt_cache_hit_tokens=_count(value.get("prompt_cache_hit_tokens")),
    )


def _objects(value: object) -> list[dict[str, Any]]:
    if is_object(value):
        return [value]
    return [item for item in value if is_object(item)] if is_array(value) else []


def _integer(value: object) -> int | None:
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
    count = _integer(value)
    return count if count is not None and count >= 0 else None


def _identifier(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _clean_string(value)


def _clean_string(value: object) -> str | None:
    return repair_surrogates(value) if isinstance(value, str) else None


def _clean(value: object) -> object:
    """A JSON value without lone surrogates, so that it can be encoded again.

    What is nested deeper than `MAX_DEPTH` levels, and what comes after so many values, is left out.
    """
    return _Copy(MAX_WALKED_VALUES, math.inf).of(value, MAX_DEPTH)


def _excerpt(value: object) -> object:
    """As much of a JSON value as is kept of what a server says about an error."""
    return _Copy(_MAX_ERROR_VALUES, _MAX_ERROR_BYTES).of(value, MAX_DEPTH)


_PLAIN: Final = frozenset({int, float, bool, type(None)})


class _Copy:
    """Copies a JSON value, or the beginning of it. One frame a level: nothing is nested in it."""

    __slots__ = ("_characters", "_left", "_repairs")

    def __init__(self, values: int, characters: float, *, repairs: bool = True) -> None:
        self._left = values
        self._characters = characters
        self._repairs = repairs

    def of(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self._text(value)
        if is_array(value):
            if not depth:
                return None
            items: list[object] = []
            for item in self._beginning(value):
                is_plain = type(item) in _PLAIN  # as most are
                items.append(item if is_plain else self.of(item, depth - 1))
            return items
        if is_object(value):
            if not depth:
                return None
            members: dict[str, object] = {}
            for key in self._beginning(value):
                members[self._text(key)] = self.of(value[key], depth - 1)
            return members
        return value

    def _text(self, text: str) -> str:
        if len(text) > self._characters:
            text = text[: int(self._characters)]
        self._characters -= len(text)
        return repair_surrogates(text) if self._repairs and not text.isascii() else text

    def _beginning(self, members: list[Any] | dict[str, Any]) -> Iterable[Any]:
        """As many members as may still be copied."""
        left = max(self._left, 0)
        self._left -= len(members)
        return members if len(members) <= left else itertools.islice(members, left)


# --- errors -------------------------------------------------------------------------------

# Codes that say that the same request will fail again, whatever the transport thinks.
_PERMANENT_CODES: Final = frozenset(
    {
        "account_deactivated",
        "authentication_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_request_error",
        "model_not_found",
        "not_found_error",
        "permission_denied",
        "permission_error",
        "unsupported_parameter",
        "unsupported_value",
    }
)


def _error_in(members: Mapping[str, Any], *, has_choices: bool) -> APIStatusError | None:
    if members.get("error"):
        return _make_error(members["error"], members)
    if not has_choices and "error" in (members.get("type"), members.get("object")):
        return _make_error(members, members)
    return None


# The same among MiniMax's own codes: the key is refused, or the account has no balance
# (https://platform.minimax.io/docs/api-reference/errorcode).
_PERMANENT_OUTCOMES: Final = frozenset({1004, 1008})


def _make_error(error: object, body: object) -> APIStatusError:
    error = _excerpt(error)
    body = _excerpt(body)
    status = _status_in(error)
    if status is None:
        status = _status_in(body)
    text = _most_specific_text(error) or _most_specific_text(body)
    code = error.get("code") if is_object(error) else None
    permanent = isinstance(code, str) and code.lower() in _PERMANENT_CODES
    if is_object(error) and "status_msg" in error:
        permanent = permanent or _integer(error.get("status_code")) in _PERMANENT_OUTCOMES
    status_code = UNKNOWN_STATUS if status is None else status
    return APIStatusError(
        _shorten(text) or "the server reported an error without saying which",
        status_code=status_code,
        body=body if body is not None else error,
        retryable=is_retryable_status(status_code) and not (permanent and status is None),
    )


_STATUS_MEMBERS: Final = (
    "code",
    "status_code",
    "status",
    "statusCode",
    "http_code",
    "http_status",
)


def _status_in(value: object) -> int | None:
    """The HTTP status that an error object names, as a number or a numeric string."""
    for _ in range(_MAX_ERROR_DEPTH):
        if is_array(value) and value:
            value = value[0]
        if not is_object(value):
            return None
        for key in _STATUS_MEMBERS:
            number = _integer(value.get(key))
            # Other numbers are the server's own codes.
            if number is not None and 400 <= number <= 599:
                return number
        value = value.get("error")
    return None


_MAX_ERROR_DEPTH: Final = 8
_TEXT_KEYS: Final = (
    "message",
    "detail",
    "error_description",
    "msg",
    "error_message",
    "error_msg",
    "errorMessage",
    "Message",
    "status_msg",
    "faultstring",
    "text",
    "errors",
    "details",
    "description",
    "error",
    "title",
    "reason",
    "raw",
    "type",
    "code",
    "status",
)


def _most_specific_text(value: object) -> str:
    """The text of an error that tells most: what the innermost server said, if it is quoted."""
    return _TextSearch().in_value(value, 0)


_MAX_PLACES: Final = 1_000


class _TextSearch:
    """Looks for the most specific text, at a bounded number of places."""

    __slots__ = ("_characters", "_places")

    def __init__(self) -> None:
        self._places = _MAX_PLACES
        self._characters = _MAX_ERROR_BYTES

    def in_value(self, value: object, depth: int) -> str:
        if isinstance(value, str):
            return self._in_string(value.strip(), depth)
        if depth > _MAX_ERROR_DEPTH:
            return ""
        if is_array(value):
            return self._first(value, depth)
        return self._in_object(value, depth) if is_object(value) else ""

    def _first(self, values: Iterable[object], depth: int) -> str:
        for value in values:
            self._places -= 1
            if self._places < 0:
                break
            text = self.in_value(value, depth + 1)
            if text:
                return text
        return ""

    def _in_string(self, text: str, depth: int) -> str:
        """The text, or what it quotes: JSON in a string is what another server said."""
        if depth > _MAX_ERROR_DEPTH:
            return ""
        if text.startswith(("{", "[")) and len(text) <= self._characters:
            self._characters -= len(text)
            try:
                return self.in_value(loads(text), depth + 1) or text
            except (ValueError, RecursionError):
                return text
        return text

    def _in_object(self, value: dict[str, Any], depth: int) -> str:
        metadata = value.get("metadata")
        if is_object(metadata):
            text = self._first([metadata.get("raw")], depth)
            if text:
                return text
        nested: object = value.get("error")
        if is_object(nested) or is_array(nested):
            text = self._first([nested], depth)
            if text:
                return text
            nested = None
        for key in _TEXT_KEYS:
            found = nested if key == "error" else value.get(key)
            text = self._first([found], depth) if found else ""
            if text:
                location = value.get("loc")
                if key == "msg" and is_array(location):
                    return f"{'.'.join(map(str, location[:_MAX_LOCATION]))}: {text}"
                return text
        # A server's own envelope around it.
        return self._first(
            (
                item
                for key, item in value.items()
                if key not in _TEXT_KEYS and key != "metadata" and not isinstance(item, str)
            ),
            depth,
        )


_MAX_LOCATION: Final = 32
"""Steps of the way to what is wrong in a request."""

# Each alternative takes what is not closed up to the next tag or the end, so that the work is
# linear whatever the text.
_HTML_NOISE: Final = r"(?is)<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>?"
_HTML_TITLE: Final = r"(?i)<title[^<>]*>([^<]*)"
_MAX_MESSAGE: Final = 500


def _html_text(text: str) -> str:
    # Imported and compiled here because few programs ever meet a page in place of an answer.
    import html

    body = " ".join(html.unescape(re.sub(_HTML_NOISE, " ", text)).split())
    if not body:
        title = re.search(_HTML_TITLE, text)
        body = " ".join(html.unescape(title.group(1)).split()) if title else ""
    return body


def _shorten(text: str) -> str:
    shown = repair_surrogates(text[: _MAX_MESSAGE + 1])
    return shown if len(shown) <= _MAX_MESSAGE else shown[:_MAX_MESSAGE] + "..."


def status_error(
    status_code: int, body: bytes, facts: HeaderFacts, *, message: str | None = None
) -> APIStatusError:
    """The error for a response whose HTTP status is not a success.

    Args:
        status_code: The response's status.
        body: Its body, or the beginning of it: a JSON object or list, a bare string, HTML,
            text, or nothing.
        facts: What its headers say.
        message: What to say in place of what the body says.
    """
    text = _decode_text(body).strip()
    if text.startswith(("data:", "event:")):
        # A gateway that had begun to stream when it learnt of the status.
        events = EventReader()
        said = [*events.feed(body), *events.finish()]
        body = next((event.data for event in said if event.data), body)
        text = _decode_text(body).strip()
    value: object = None
    if text[:1] in {"{", "[", '"'}:
        value = _error_body(body)
    if value is not None:
        found = _most_specific_text(value)
    elif text.startswith("<"):
        found = _html_text(text)
    else:
        found = text
    if not found:
        try:
            found = http.HTTPStatus(status_code).phrase
        except ValueError:
            found = "the server gave no reason"
    retryable = facts.should_retry
    return APIStatusError(
        _shorten(found) if message is None else message,
        status_code=status_code,
        body=value if value is not None else (text or None),
        retryable=is_retryable_status(status_code) if retryable is None else retryable,
        request_id=facts.request_id,
        retry_after=facts.retry_after,
        quota=facts.quota,
    )


def redact(value: object, secrets: Collection[str], depth: int = 0) -> object:
    """A JSON value in which every occurrence of a secret is replaced.

    Servers echo credentials in error messages; ours carry what the server said.
    """
    if isinstance(value, str):
        return redact_text(value, secrets)
    if depth >= MAX_DEPTH and (is_array(value) or is_object(value)):
        return None
    if is_array(value):
        return [redact(item, secrets, depth + 1) for item in value]
    if is_object(value):
        return {
            redact_text(key, secrets): redact(item, secrets, depth + 1)
            for key, item in value.items()
        }
    return value


_REDACTED: Final = "[redacted]"
_ELLIPSIS: Final = "..."
_ELLIPSES: Final = 16
"""So many places of a text are looked at where it may have been cut."""
_TELLING_LENGTH: Final = 8
"""So much of a secret's beginning is taken for the secret where a text has been cut."""


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """A text in which every occurrence of a secret is replaced.

    What a server says is cut to a bounded length, maybe in the middle of a secret: there its
    beginning counts too.
    """
    for secret in secrets:
        if secret and secret[:_TELLING_LENGTH] in text:
            text = _without_beginning(text.replace(secret, _REDACTED), secret)
    return text


def _without_beginning(text: str, secret: str) -> str:
    end = len(text)
    for _ in range(_ELLIPSES):
        start = text.find(secret[:_TELLING_LENGTH], max(0, end - len(secret) + 1), end)
        while start >= 0 and not secret.startswith(text[start:end]):
            start = text.find(secret[:_TELLING_LENGTH], start + 1, end)
        if start >= 0:
            text = text[:start] + _REDACTED + text[end:]
            end = start
        end = text.rfind(_ELLIPSIS, 0, end)
        if end < 0:
            break
    return text


def redact_headers(headers: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """A response's headers, in whose values every occurrence of a secret is replaced."""
    text = "\n".join(headers.values())
    if not any(secret[:_TELLING_LENGTH] in text for secret in secrets):
        return dict(headers)
    return {name: redact_text(value, secrets) for name, value in headers.items()}


def redact_error(error: APIError, secrets: Collection[str]) -> None:
    """Take secrets out of an error.

    What the HTTP library raised may quote the server too, cut where it likes; an error is cut loose
    from a cause that shows so much as the beginning of a secret.
    """
    error.message = redact_text(error.message, secrets)
    error.args = (error.message,)
    error.body = redact(error.body, secrets)
    if error.request_id is not None:
        error.request_id = redact_text(error.request_id, secrets)
    shown = "".join(f"{cause!r} {cause}" for cause in _causes(error))
    if any(secret and secret[:_TELLING_LENGTH] in shown for secret in secrets):
        error.__cause__ = error.__context__ = None


def _causes(error: BaseException) -> Iterator[BaseException]:
    pending = [error.__cause__, error.__context__]
    seen: set[int] = set()
    while pending:
        cause = pending.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            pending += [cause.__cause__, cause.__context__]
            yield cause


# --- headers ------------------------------------------------------------------------------

_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "x-livekit-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-amzn-requestid",
    "x-goog-request-id",
    "cf-ray",
)


# Names that some servers send where nothing was encoded (RFC 9110, section 8.4.1, has identity):
# charsets, and what e-mail and the transfer coding of HTTP/1.1 are called.
_NO_CODINGS: Final = frozenset(
    {
        "identity",
        "none",
        "null",
        "utf-8",
        "utf8",
        "ascii",
        "us-ascii",
        "iso-8859-1",
        "binary",
        "7bit",
        "8bit",
        "chunked",
    }
)


def content_codings(value: str) -> list[str]:
    """Read a ``Content-Encoding`` header.

    Returns:
        The codings that encode something, in lower case, in the order in which they were applied.
    """
    codings = [coding.strip().lower().removeprefix("charset=") for coding in value.split(",")]
    return [coding for coding in codings if coding and coding not in _NO_CODINGS]


class HeaderFacts(NamedTuple):
    """What a response's headers say about the request."""

    request_id: str | None = None
    """The server's name for the request."""

    retry_after: float | None = None
    """Seconds to wait before the next try."""

    should_retry: bool | None = None
    """The server's own word on whether to retry (``x-should-retry``)."""

    quota: Quota | None = None
    """The gateway's quotas."""

    reset_hint: float | None = None
    """Seconds until a rate limit resets, from ``x-ratelimit-reset-*``: a hint only."""


def read_headers(headers: Mapping[str, str], now: float) -> HeaderFacts:
    """Read what matters from a response's headers.

    Args:
        headers: The headers, names in lower case.
        now: Seconds since the epoch; used for dates where the response has no ``Date``.
    """
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)
    verdict = headers.get("x-should-retry", "").strip().lower()
    return HeaderFacts(
        request_id=request_id,
        retry_after=_retry_after(headers, now),
        should_retry={"true": True, "false": False}.get(verdict),
        quota=_read_quota(headers),
        reset_hint=_reset_hint(headers, now),
    )


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    milliseconds = _non_negative(headers.get("retry-after-ms"))
    value = headers.get("retry-after", "")
    seconds = _non_negative(value)
    if milliseconds is not None:
        when = _epoch(milliseconds)
        seconds = milliseconds / 1000
    elif seconds is not None:
        when = _epoch(seconds)
    else:
        when = _http_date(value)
    if when is None:
        return seconds
    sent = _http_date(headers.get("date", ""))
    delay = when - (now if sent is None else sent)
    return delay if delay >= 0 else None


def _epoch(number: float) -> float | None:
    """The moment that a number means which is too large for a delay: the time of a reset.

    Seconds since 1970 are told from milliseconds by their size. Source: servers that put their
    ``x-ratelimit-reset`` into ``Retry-After``; https://github.com/openclaw/clawhub/issues/407.
    """
    if number >= _EPOCH_MILLISECONDS:
        return number / 1000
    return number if number >= _EPOCH_SECONDS else None


def _non_negative(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _http_date(text: str) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return date.timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


_QUOTA_HEADERS: Final = tuple(
    (name, f"x-livekit-inference-{name}-limit", f"x-livekit-inference-{name}-used")
    for name in ("rpm", "tpm", "credits")
)


def _read_quota(headers: Mapping[str, str]) -> Quota | None:
    pairs: dict[str, QuotaUsage] = {}
    for name, limit_header, used_header in _QUOTA_HEADERS:
        limit = _non_negative(headers.get(limit_header))
        used = _non_negative(headers.get(used_header))
        if limit is not None and used is not None:
            pairs[name] = QuotaUsage(limit, used)
    return Quota(**pairs) if pairs else None


_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_DURATION: Final = 64
"""Characters. What is longer is no duration, and looking for one takes quadratic time."""
_EPOCH_SECONDS: Final = 1e9
_EPOCH_MILLISECONDS: Final = 1e12


def _reset_hint(headers: Mapping[str, str], now: float) -> float | None:
    """The shortest time after which a limit that was hit may be lifted."""
    hints = [
        hint
        for name, value in headers.items()
        if name.startswith("x-ratelimit-reset")
        and (hint := _duration(value, now)) is not None
        and headers.get(name.replace("-reset", "-remaining", 1), "0").strip() == "0"
    ]
    return min(hints, default=None)


def _duration(text: str, now: float) -> float | None:
    text = text.strip().lower()
    number = _non_negative(text)
    if number is not None:
        when = _epoch(number)
        return number if when is None else max(when - now, 0.0)
    parts = _DURATION.findall(text) if len(text) <= _MAX_DURATION else []
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    return sum(float(amount) * _DURATION_UNITS[unit] for amount, unit in parts)
