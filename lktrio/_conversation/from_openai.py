"""Messages of the chat dialect -> items of a conversation.

This module knows what of a message goes into which field, and keeps the rest. How items become
messages again is known elsewhere.

Source: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import attrs

from lktrio._checks import shown
from lktrio._json import check_depth, check_json, plain_json

from .fields import UnknownType, new_item_id
from .items import ChatItem, ChatMessage, FunctionCall, FunctionCallOutput
from .kept import (
    CACHE_MARKS,
    LEGACY_CALL,
    OPENAI_MESSAGE,
    PLAIN_CACHE_MARK,
    REASONING_MEMBERS,
    SENT_EXTRA,
    kept_members,
)
from .media import audio_data, file_url
from .parts import (
    AudioContent,
    CacheBreakpoint,
    ChatContent,
    FileContent,
    ImageContent,
    UnknownContent,
)

__all__ = ["read_messages"]

_Members: TypeAlias = dict[str, Any]

_SPEAKERS: Final = ("developer", "system", "user", "assistant")
_ROLES: Final = (*_SPEAKERS, "tool", "function")


def read_messages(messages: object) -> list[ChatItem]:
    """Make items of messages.

    Args:
        messages: The messages, in order. They are not changed, and nothing of them is shared.

    Returns:
        The items: of each message itself, then of its calls.

    Raises:
        TypeError: If something has the wrong type. The message names the path to it, such as
            ``messages[3].tool_calls[0].function.arguments``.
        ValueError: If a member is missing, or has a value that cannot be read.
    """
    said: object = messages
    if isinstance(said, str | bytes | Mapping) or not isinstance(said, Iterable):
        raise _wrong_type("messages", messages, "a list of messages: [{'role': ..., ...}, ...]")
    given: list[object] = list(cast("Iterable[object]", messages))
    check_depth(given, "messages")
    reader = _Reader()
    for index, message in enumerate(given):
        reader.read(message, f"messages[{index}]")
    return reader.items


class _Reader:
    """Reads one message after the other."""

    def __init__(self) -> None:
        self.items: list[ChatItem] = []
        # One moment for all: they stay in their order, before whatever is added later.
        self._now = time.time()
        self._names: dict[str, str] = {}
        """Names of the functions that were called, by the id of the call."""
        self._open_calls: list[FunctionCall] = []
        """The calls without ids that have no output yet."""
        self._ids: set[str] = set()

    def read(self, message: object, path: str) -> None:
        """Read a message."""
        if not isinstance(message, Mapping):
            wanted = "a dict with a 'role'"
            if hasattr(message, "model_dump"):
                wanted += ": message.model_dump(exclude_none=True)"
            raise _wrong_type(path, message, wanted)
        members = _said(cast("Mapping[str, Any]", message))
        if "role" not in members:
            raise ValueError(f"{path}.role is missing; it is one of {_listed(_ROLES)}")
        role = members.pop("role")
        if role not in _ROLES:
            kind = ValueError if isinstance(role, str) else TypeError
            raise kind(
                f"{path}.role={shown(role)} is not accepted; it takes one of {_listed(_ROLES)}"
            )
        if role == "tool":
            self._read_output(members, path)
        elif role == "function":
            self._read_legacy_output(members, path)
        else:
            self._read_message(role, members, path)

    def _read_message(self, role: Any, members: _Members, path: str) -> None:
        content, refusals = _read_content(members.pop("content", None), f"{path}.content", role)
        calls: list[FunctionCall] = []
        item_id = self._id_of(members)
        if role == "assistant":
            calls = self._read_calls(members, item_id, path)
            if refusals:
                members.setdefault("refusal", "\n".join(refusals))
            refusal = members.get("refusal")
            # What the model has said, for those servers too that know no refusal.
            if isinstance(refusal, str) and refusal and not content:
                content = [refusal]
        names = REASONING_MEMBERS if role == "assistant" else ()
        extra = _read_extra(members, path, names)
        if content or extra or not calls:
            self.items.append(
                ChatMessage(
                    id=item_id, role=role, content=content, extra=extra, created_at=self._now
                )
            )
        self.items += calls

    def _id_of(self, members: _Members) -> str:
        """The id of a message's item: that of the message, if it can be one."""
        given = members.get("id")
        if isinstance(given, str) and given and "/" not in given and given not in self._ids:
            self._ids.add(given)
            return given
        return new_item_id()

    def _read_calls(self, members: _Members, group: str, path: str) -> list[FunctionCall]:
        read: list[FunctionCall] = []
        entries: object = members.pop("tool_calls", None) or []
        if not isinstance(entries, list | tuple):
            raise _wrong_type(f"{path}.tool_calls", entries, "a list of calls")
        for index, entry in enumerate(cast("Sequence[object]", entries)):
            call = _read_call(entry, f"{path}.tool_calls[{index}]")
            self._names[call.call_id] = call.name
            read.append(self._made(call, group, index))
        legacy = members.pop(LEGACY_CALL, None)
        if legacy is not None:
            where = f"{path}.{LEGACY_CALL}"
            call = _read_function(_object(legacy, where), f"call_{secrets.token_hex(6)}", where)
            call.extra[OPENAI_MESSAGE] = {"type": LEGACY_CALL, **kept_members(call.extra)}
            call = self._made(call, group, len(read))
            self._open_calls.append(call)
            read.append(call)
        return read

    def _made(self, call: FunctionCall, group: str, index: int) -> FunctionCall:
        return attrs.evolve(call, id=f"{group}/call_{index}", group_id=group, created_at=self._now)

    def _read_output(self, members: _Members, path: str) -> None:
        call_id = _text(members.pop("tool_call_id", None), f"{path}.tool_call_id")
        name = members.get("name", "")
        self._add_output(
            call_id,
            _text(name, f"{path}.name") or self._names.get(call_id, ""),
            members,
            path,
        )

    def _read_legacy_output(self, members: _Members, path: str) -> None:
        name = _text(members.pop("name", None), f"{path}.name")
        call_id = f"call_{secrets.token_hex(6)}"
        for call in reversed(self._open_calls):
            if call.name == name:
                call_id = call.call_id
                self._open_calls.remove(call)
                break
        members["role"] = "function"
        self._add_output(call_id, name, members, path)

    def _add_output(self, call_id: str, name: str, members: _Members, path: str) -> None:
        content, _ = _read_content(members.pop("content", None), f"{path}.content", "tool")
        item_id = self._id_of(members)
        self.items.append(
            FunctionCallOutput(
                id=item_id,
                call_id=call_id,
                name=name,
                output="\n".join(part for part in content if isinstance(part, str)),
                created_at=self._now,
                # An output has no `extra`.
                unknown_members=_kept(members, path),
            )
        )


def _said(members: Mapping[str, Any]) -> _Members:
    """Members without those that say nothing: an absent one and None are the same."""
    return {name: value for name, value in members.items() if value is not None}


def _kept(members: _Members, path: str) -> _Members:
    """What there is no field for, to be kept."""
    if not members:
        return {}
    check_json(members, path)
    return {OPENAI_MESSAGE: plain_json(members)}


def _read_extra(members: _Members, path: str, names: Iterable[str] = ()) -> _Members:
    """The ``extra`` of an item, made of all members that are left."""
    extra: _Members = {}
    attached = members.get("extra_content")
    if isinstance(attached, Mapping):
        rest = dict(cast("Mapping[str, Any]", attached))
        known = {name: rest.pop(name) for name in SENT_EXTRA if name in rest}
        check_json(known, f"{path}.extra_content")
        extra.update(cast("_Members", plain_json(known)))
        del members["extra_content"]
        if rest:
            members["extra_content"] = rest
    for name in names:
        if name in members:
            value = members.pop(name)
            check_json(value, f"{path}.{name}")
            extra[name] = plain_json(value)
    return {**extra, **_kept(members, path)}


def _read_call(entry: object, path: str) -> FunctionCall:
    members = _said(_object(entry, path))
    call_id = _text(members.pop("id", None), f"{path}.id")
    kind = _text(members.pop("type", "function"), f"{path}.type")
    if kind not in members:
        raise ValueError(f"{path}.{kind} is missing; it takes what is called, with its 'name'")
    called = _object(members.pop(kind), f"{path}.{kind}")
    if kind == "function":
        return _read_function(called, call_id, f"{path}.function", members)
    # A call of another kind has its own form, and is written as it was.
    name = _text(called.get("name"), f"{path}.{kind}.name")
    check_json(called, f"{path}.{kind}")
    rest = {key: value for key, value in called.items() if key != "name"}
    extra = _read_extra({**members, "type": kind, kind: called}, path)
    arguments = json.dumps(plain_json(rest), ensure_ascii=False)
    return FunctionCall(call_id=call_id, name=name, arguments=arguments, extra=extra)


def _read_function(
    called: Mapping[str, Any], call_id: str, path: str, members: _Members | None = None
) -> FunctionCall:
    function = _said(called)
    name = _text(function.pop("name", None), f"{path}.name")
    arguments = function.pop("arguments", "")
    if not isinstance(arguments, str):
        raise _wrong_type(f"{path}.arguments", arguments, "JSON text: json.dumps(arguments)")
    members = members or {}
    if function:
        members["function"] = function
    extra = _read_extra(members, path)
    return FunctionCall(call_id=call_id, name=name, arguments=arguments, extra=extra)


def _read_content(content: object, path: str, role: str) -> tuple[list[ChatContent], list[str]]:
    """The parts of a message, and the refusals among them."""
    parts: list[ChatContent] = []
    refusals: list[str] = []
    if content is None:
        return parts, refusals
    if isinstance(content, str):
        return [content], refusals
    if not isinstance(content, list | tuple):
        raise _wrong_type(path, content, "a string, a list of parts or None")
    takes = _PARTS_OF.get(role, _TEXT_ONLY)
    for index, entry in enumerate(cast("Sequence[object]", content)):
        where = f"{path}[{index}]"
        members = _said(_object(entry, where))
        if "type" not in members:
            raise ValueError(f"{where}.type is missing; it is one of {_listed(takes)}")
        kind = members.pop("type")
        if kind not in takes:
            error = ValueError if isinstance(kind, str) else TypeError
            raise error(
                f"{where}.type={shown(kind)} is not accepted; a message of the role {role!r} "
                f"takes {_listed(takes)}"
            )
        if kind == "refusal":
            refusals.append(_text(members.pop("refusal", None), f"{where}.refusal"))
        elif kind == "text":
            parts.append(_text(members.pop("text", None), f"{where}.text"))
        elif kind == "image_url":
            parts.append(_read_image(members.pop(kind, None), f"{where}.{kind}"))
        elif kind in ("input_audio", "file"):
            parts.append(_read_media(kind, members.pop(kind, None), f"{where}.{kind}"))
        # The output of a call is one text, in which nothing can be marked.
        marks = () if role == "tool" else CACHE_MARKS
        mark = {name: members.pop(name) for name in marks if name in members}
        if mark:
            parts.append(_breakpoint(mark, where))
        _nothing_else(members, where)
    return parts, refusals


_TEXT_ONLY: Final = ("text",)
_PARTS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "image_url", "refusal"),
}


def _breakpoint(mark: Mapping[str, Any], path: str) -> CacheBreakpoint:
    if mark == {"prompt_cache_breakpoint": PLAIN_CACHE_MARK}:
        return CacheBreakpoint()
    check_json(mark, path)
    return CacheBreakpoint(unknown_members=cast("_Members", plain_json(mark)))


def _read_image(image: object, path: str) -> ImageContent:
    members = _said(_object(image, path))
    url = _text(members.pop("url", None), f"{path}.url")
    detail = members.pop("detail", "auto")
    _nothing_else(members, path)
    try:
        return ImageContent(image=url, inference_detail=detail)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix("inference_detail")
        raise type(error)(f"{path}.detail{reason}") from None


def _read_media(kind: str, media: object, path: str) -> AudioContent | FileContent | UnknownContent:
    """Sound, or a file: as content of its own if it would be written in the same words. Else it is
    kept as it is, and so it is written and saved."""
    members = _said(_object(media, path))
    check_json(members, path)
    found = _audio_in(members) if kind == "input_audio" else _file_in(members)
    if found is not None:
        return found
    kept: _Members = {kind: plain_json(members)}
    if kind == "file":
        return UnknownContent(type=cast("UnknownType", kind), unknown_members=kept)
    return AudioContent(unknown_members=kept)


def _audio_in(members: Mapping[str, object]) -> AudioContent | None:
    data, kind = members.get("data"), members.get("format")
    if not isinstance(data, str) or not isinstance(kind, str) or len(members) != 2:
        return None
    url = f"data:audio/{kind};base64,{data}"
    with contextlib.suppress(ValueError):
        if audio_data(url, None) == (data, kind):
            return AudioContent(audio=url)
    return None


def _file_in(members: Mapping[str, object]) -> FileContent | None:
    match dict(members):
        case {"file_id": str(file_id), **rest} if not rest and file_id:
            return FileContent(file_id=file_id)
        case {"filename": str(name), "file_data": str(data), **rest} if not rest and name:
            with contextlib.suppress(ValueError):
                if file_url(data, None) == data:
                    return FileContent(file=data, filename=name)
        case _:
            pass
    return None


def _nothing_else(members: Mapping[str, object], path: str) -> None:
    if members:
        raise ValueError(
            f"{path} has {_listed(members)}, for which there is no place in a conversation; leave "
            f"it out, or give it to the server with LLM(prepare=...)"
        )


def _object(value: object, path: str) -> _Members:
    if not isinstance(value, Mapping):
        raise _wrong_type(path, value, "a dict")
    return dict(cast("Mapping[str, Any]", value))


def _text(value: object, path: str) -> str:
    if value is None:
        raise ValueError(f"{path} is missing; it takes a string")
    if not isinstance(value, str):
        raise _wrong_type(path, value, "a string")
    return value


def _wrong_type(path: str, value: object, wanted: str) -> TypeError:
    return TypeError(f"{path}={shown(value)} is not accepted; it takes {wanted}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
