"""The usage of an answer: which payload tells it, and what is in it beside the counts.

This module knows that the last one which says something wins, and how much is kept of what nobody
expected. What the counts are called is known to `payloads`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from lktrio._answers import CompletionUsage
from lktrio._json import SLICE, decode_text, excerpt, is_object, loads

from .attached import map_texts
from .payloads import CompletionDetails, PromptDetails, UsagePayload, completion_usage

__all__ = ["UsageReader"]


class UsageReader:
    """Reads the usage of one answer.

    Args:
        clean: Takes what must not be shown out of the texts that a server gives.
    """

    def __init__(self, clean: Callable[[str], str]) -> None:
        self._clean = clean
        self._payload: UsagePayload | None = None
        self._read: CompletionUsage | None = None
        self.service_tier: str | None = None
        """The tier that processed the request, as the server names it."""
        self.raw: bytes | None = None
        """What the usage was decoded from."""

    def take_tier(self, tier: str) -> None:
        """Take the name of the tier."""
        self.service_tier, self._read = self._clean(tier), None

    def take(self, usage: UsagePayload, raw: bytes | None) -> bool:
        """Take a usage object; return whether it says something.

        One without counts says nothing; it must not hide one that does.
        """
        says_something = (
            usage.prompt is not None
            or usage.completion is not None
            or usage.total_tokens is not None
        )
        if says_something:
            self._payload, self.raw, self._read = usage, raw, None
        return says_something

    @property
    def value(self) -> CompletionUsage | None:
        """The usage so far."""
        if self._read is None and self._payload is not None:
            # Decoded once more for what else is in it: once for each answer, in general.
            rest = map_texts(_rest_in(self.raw or b""), self._clean)
            assert is_object(rest)
            self._read = completion_usage(self._payload, self.service_tier, rest)
        return self._read


class _AnyUsage(msgspec.Struct, gc=False):
    usage: Any = None


class _WithUsage(msgspec.Struct, gc=False):
    usage: Any = None
    x_groq: _AnyUsage | None = None
    choices: list[_AnyUsage] | None = None


_decode_usage = msgspec.json.Decoder(_WithUsage).decode

_COUNTS: Final = (
    *("prompt_tokens", "completion_tokens", "total_tokens"),
    *("input_tokens", "output_tokens"),
)
_TYPED: Final = frozenset(UsagePayload.__struct_fields__)
_DETAILS: Final = {
    "prompt_tokens_details": frozenset(PromptDetails.__struct_fields__),
    "completion_tokens_details": frozenset(CompletionDetails.__struct_fields__),
}
_MAX_REST_VALUES: Final = 1000
_MAX_REST_CHARACTERS: Final = 64 * 1024


def _rest_in(data: bytes) -> dict[str, object]:
    """What a payload says of the usage beside the counts that `completion_usage` reads."""
    try:
        payload = _decode_usage(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        payload = _usage_of_nearly_json(data)
    places = [payload.usage, payload.x_groq and payload.x_groq.usage]
    places += [choice.usage for choice in (payload.choices or ())[:1]]
    for usage in places:
        if is_object(usage) and any(usage.get(name) is not None for name in _COUNTS):
            return _rest(usage)
    return {}


def _usage_of_nearly_json(data: bytes) -> _WithUsage:
    if len(data) > SLICE:
        return _WithUsage()
    try:
        return msgspec.convert(loads(decode_text(data)), _WithUsage)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _WithUsage()


def _rest(usage: dict[str, object]) -> dict[str, object]:
    rest: dict[str, object] = {}
    for name, value in usage.items():
        if name in _DETAILS and is_object(value):
            known = _DETAILS[name]
            unknown = {
                detail: count
                for detail, count in value.items()
                if detail not in known and count is not None
            }
            if unknown:
                rest[name] = unknown
        elif name not in _TYPED and value is not None:
            rest[name] = value
    if not rest:
        return rest
    kept = excerpt(rest, values=_MAX_REST_VALUES, characters=_MAX_REST_CHARACTERS)
    assert is_object(kept)
    return kept
