"""Items of a conversation -> messages of the chat dialect, as another library would have them.

This module knows how what an item has kept becomes a part of its message again. What is sent in a
request, where servers have their say, is known elsewhere, and so is how messages are read.

Source: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

from lktrio._json import check_json, is_object, plain_json

from .items import ChatItem, ChatMessage, FunctionCall, FunctionCallOutput, UnknownItem
from .kept import (
    CACHE_MARKS,
    LEGACY_CALL,
    PLAIN_CACHE_MARK,
    REASONING_MEMBERS,
    SENT_EXTRA,
    kept_members,
)
from .media import audio_data, data_url
from .messages import file_part, match_outputs
from .parts import AudioContent, CacheBreakpoint, FileContent, ImageContent, UnknownContent

__all__ = ["write_messages"]

logger: Final = logging.getLogger("lktrio")

_Members: TypeAlias = dict[str, Any]


class _Answer(NamedTuple):
    """A message in the making, and what belongs behind it."""

    message: _Members
    calls: list[_Members]
    outputs: list[tuple[int, FunctionCallOutput]]


def write_messages(items: Sequence[ChatItem]) -> list[_Members]:
    """Make messages of items.

    Unlike those of a request they hold calls without an output, and outputs without a call.

    Args:
        items: The conversation.

    Returns:
        New dicts that share nothing with the items.

    Raises:
        TypeError: If an item has kept what is no JSON value.
        ValueError: If a text holds a lone surrogate, or a number is not finite.
    """
    output_of = match_outputs(items)
    matched = {index for index, _ in output_of.values()}
    answers: list[_Answer] = []
    place_of: dict[str, int] = {}
    for index, item in enumerate(items):
        if isinstance(item, ChatMessage):
            message = _write_message(item)
            key = item.id.partition("/")[0]
            place = place_of.get(key) if item.role == "assistant" else None
            if place is not None and "content" not in answers[place].message:
                answers[place].message.update(message)
                continue
            if item.role == "assistant":
                place_of[key] = len(answers)
            answers.append(_Answer(message, [], []))
        elif isinstance(item, FunctionCall):
            key = item.group_id or item.id.partition("/")[0]
            place = place_of.setdefault(key, len(answers))
            if place == len(answers):
                answers.append(_Answer({"role": "assistant"}, [], []))
            _write_call(item, answers[place])
            if index in output_of:
                answers[place].outputs.append(output_of[index])
        elif isinstance(item, FunctionCallOutput):
            if index not in matched:
                answers.append(_Answer(_write_output(item), [], []))
        elif isinstance(item, UnknownItem):
            logger.warning("item %s is of the unknown type %r: no message", item.id, item.type)
    written: list[_Members] = []
    for message, calls, outputs in answers:
        message.setdefault("content", None)
        if calls:
            message["tool_calls"] = calls
        written.append(message)
        written += (_write_output(output) for _, output in sorted(outputs, key=itemgetter(0)))
    check_json(written, "messages")
    return cast("list[_Members]", plain_json(written))


def _write_message(item: ChatMessage) -> _Members:
    message: _Members = {"role": item.role, **_rest_of(item.extra)}
    if item.role == "assistant":
        message |= {name: item.extra[name] for name in REASONING_MEMBERS if name in item.extra}
    refusal = message.get("refusal")
    content: str | list[_Members] | None = _write_content(item)
    if item.role == "assistant" and (not item.content or (refusal and content == refusal)):
        content = None
    return {**message, "role": item.role, "content": content}


def _rest_of(extra: Mapping[str, Any]) -> _Members:
    """The members of a message, or of a call, that its item has kept."""
    rest: _Members = dict(kept_members(extra))
    attached: object = rest.get("extra_content")
    known = {name: extra[name] for name in SENT_EXTRA if name in extra}
    if known:
        rest["extra_content"] = {**(attached if is_object(attached) else {}), **known}
    return rest


def _write_call(item: FunctionCall, answer: _Answer) -> None:
    rest = _rest_of(item.extra)
    kind = rest.pop("type", "function")
    function = rest.get("function")
    function = {
        **(function if is_object(function) else {}),
        "name": item.name,
        "arguments": item.arguments,
    }
    if kind == LEGACY_CALL and LEGACY_CALL not in answer.message:
        answer.message[LEGACY_CALL] = function
    elif kind != "function" and isinstance(kind, str) and kind in rest:
        answer.calls.append({**rest, "id": item.call_id, "type": kind})
    else:
        call = {**rest, "id": item.call_id, "type": "function", "function": function}
        answer.calls.append(call)


def _write_output(item: FunctionCallOutput) -> _Members:
    rest = _rest_of(item.unknown_members)
    if rest.get("role") == "function":
        return {**rest, "name": item.name, "content": item.output}
    return {**rest, "role": "tool", "tool_call_id": item.call_id, "content": item.output}


def _write_content(item: ChatMessage) -> str | list[_Members]:
    parts: list[_Members] = []
    for part in item.content:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        elif isinstance(part, ImageContent):
            parts.append({"type": "image_url", "image_url": _write_image(part)})
        elif isinstance(part, CacheBreakpoint):
            if parts:
                marks = {n: v for n, v in part.unknown_members.items() if n in CACHE_MARKS}
                parts[-1] |= marks or {"prompt_cache_breakpoint": PLAIN_CACHE_MARK}
        elif (media := _write_media(part)) is not None:
            parts.append(media)
        else:
            logger.warning("a part of item %s has no form in a message: %s", item.id, part.type)
    if not parts:
        return ""
    first = parts[0]
    return first["text"] if len(parts) == 1 and len(first) == 2 and "text" in first else parts


def _write_media(part: AudioContent | FileContent | UnknownContent) -> _Members | None:
    if isinstance(part, FileContent):
        return file_part(part, "file_content")
    if isinstance(part, AudioContent) and part.audio is not None:
        data, kind = audio_data(part.audio, part.mime_type)
        return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
    kind = "input_audio" if isinstance(part, AudioContent) else part.type
    members: object = part.unknown_members.get(kind)
    return {"type": kind, kind: members} if is_object(members) else None


def _write_image(part: ImageContent) -> _Members:
    image = part.image
    url = image if isinstance(image, str) else data_url(image, part.mime_type)
    detail = part.inference_detail
    return {"url": url} if detail == "auto" else {"url": url, "detail": detail}
