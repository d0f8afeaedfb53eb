"""What stands with a message for which an item has no field, kept in the item's ``extra``.

This module knows under which names that is: reasoning as servers name it, and what else a message
of the chat dialect had. It knows what of it is sent; what a whole message looks like is known
elsewhere.

Sources: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages (``name``,
``refusal``, ``audio``); https://api-docs.deepseek.com/guides/thinking_mode and
https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (reasoning).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from lktrio._json import check_json, is_object, plain_json

__all__ = [
    "CACHE_MARKS",
    "LEGACY_CALL",
    "OPENAI_MESSAGE",
    "PLAIN_CACHE_MARK",
    "REASONING_MEMBERS",
    "SENT_EXTRA",
    "ReasoningMember",
    "kept_members",
    "members_to_send",
    "reasoning_to_send",
]

ReasoningMember: TypeAlias = Literal["reasoning_content", "reasoning", "reasoning_details"]
"""The member of a message that holds what a model has thought: a text under one of two names, or
the pieces of which OpenRouter and others make it."""

REASONING_MEMBERS: Final[tuple[ReasoningMember, ...]] = (
    "reasoning_content",
    "reasoning",
    "reasoning_details",
)

SENT_EXTRA: Final = ("google", "livekit", "xai")
"""The members of ``extra`` that the gateway understands."""

OPENAI_MESSAGE: Final = "openai_message"
"""The member of ``extra`` that holds the members of a message, or of a call, which the item has no
field for."""

LEGACY_CALL: Final = "function_call"
"""The type of a call that a message had in ``function_call``, where it has no id."""

CACHE_MARKS: Final = ("prompt_cache_breakpoint", "cache_control")
"""Members of a part that mark the end of what is to be cached."""

PLAIN_CACHE_MARK: Final = {"mode": "explicit"}
"""How `CacheBreakpoint` is written, unless it was read from another mark."""


def reasoning_to_send(
    extra: Mapping[str, object], member: ReasoningMember, path: str
) -> dict[str, object]:
    """The member of a message in which its reasoning goes back.

    Args:
        extra: That of the item.
        member: The one that the model wants.
        path: What the caller calls ``extra``.

    Returns:
        The member with its value; nothing if no reasoning of that kind was kept.

    Raises:
        TypeError: If it is no JSON value.
        ValueError: If it cannot be sent.
    """
    # The two texts are the same under two names.
    names = (member,) if member == "reasoning_details" else REASONING_MEMBERS[:2]
    for name in names:
        kept = extra.get(name)
        if kept:
            check_json(kept, f"{path}.{name}")
            return {member: plain_json(kept)}
    return {}


def kept_members(extra: Mapping[str, Any]) -> dict[str, object]:
    """What a message, or a call, had that the item has no field for; not a copy."""
    kept: object = extra.get(OPENAI_MESSAGE)
    return kept if is_object(kept) else {}


def members_to_send(extra: Mapping[str, object], content: object, path: str) -> dict[str, object]:
    """The members of a message that servers take, besides role, content and calls.

    Args:
        extra: That of the item.
        content: What is sent as the content.
        path: What the caller calls ``extra``.

    Raises:
        TypeError: If one is no JSON value.
        ValueError: If one cannot be sent.
    """
    kept = kept_members(extra)
    taken = ("name", "refusal", "audio")
    sent: dict[str, object] = {name: kept[name] for name in taken if name in kept}
    if sent.get("refusal") == content:
        del sent["refusal"]
    audio = sent.get("audio")
    if is_object(audio):
        # What an answer has besides is not taken in a request.
        sent["audio"] = {"id": audio.get("id")}
    check_json(sent, f"{path}.{OPENAI_MESSAGE}")
    return sent
