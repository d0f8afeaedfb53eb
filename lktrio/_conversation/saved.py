"""How a conversation is written as a dict, and read back: the format of LiveKit Agents.

Files move between the two libraries in both directions. Members and kinds that this version does
not know are carried; what is wrong is named with the path to it. This module does not know the
order of items.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar, cast

import attrs

from lktrio._checks import shown
from lktrio._json import check_depth

from .items import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    UnknownItem,
)
from .media import data_url
from .parts import (
    AudioContent,
    CacheBreakpoint,
    ChatContent,
    FileContent,
    ImageContent,
    UnknownContent,
)
from .selection import goes_with_calls

__all__ = ["dump_items", "load_context"]

_Part: TypeAlias = ImageContent | AudioContent | FileContent | CacheBreakpoint | UnknownContent
_T = TypeVar("_T", bound=ChatItem | _Part)

_ITEM_TYPES: Final[Mapping[str, type[ChatItem]]] = {
    item_type.type: item_type
    for item_type in (
        ChatMessage,
        FunctionCall,
        FunctionCallOutput,
        AgentHandoff,
        AgentConfigUpdate,
    )
}

_PART_TYPES: Final[Mapping[str, type[_Part]]] = {
    part_type.type: part_type
    for part_type in (ImageContent, AudioContent, FileContent, CacheBreakpoint)
}

_TYPES: Final[tuple[type[ChatItem | _Part], ...]] = (
    *_ITEM_TYPES.values(),
    UnknownItem,
    *_PART_TYPES.values(),
    UnknownContent,
)

# A field has the name that it has in a saved conversation.
_FIELDS: Final[Mapping[type[object], tuple[str, ...]]] = {
    cls: tuple(field.name for field in attrs.fields(cls) if field.name != "unknown_members")
    for cls in _TYPES
}

_REQUIRED: Final[Mapping[type[object], tuple[str, ...]]] = {
    cls: tuple(field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING)
    for cls in _TYPES
}

_FOREIGN_PARTS: Final = {
    "text": "text is written as a plain string",
    "image_url": "an image is written as {'type': 'image_content', 'image': URL}",
    "input_audio": "audio is written as {'type': 'audio_content', 'frame': [], 'transcript': ...}, "
    "with the sound as a data URL in 'audio'",
    "file": "a file is written as {'type': 'file_content', 'file': data URL}",
}
"""Parts of the Chat Completions API, which hand-written files have by mistake. Carried as
unknown they would be missing from every request."""


# Writing.


def dump_items(
    items: Iterable[ChatItem],
    *,
    exclude_image: bool,
    exclude_audio: bool,
    exclude_file: bool,
    exclude_timestamp: bool,
    exclude_function_call: bool,
    exclude_metrics: bool,
    exclude_config_update: bool,
) -> list[dict[str, Any]]:
    """Write items as dicts that share nothing with them. The arguments are those of
    `ChatContext.to_dict`."""
    skipped_items = (
        *((FunctionCall, FunctionCallOutput) if exclude_function_call else ()),
        *((AgentConfigUpdate,) if exclude_config_update else ()),
    )
    skipped_parts = (
        *((ImageContent,) if exclude_image else ()),
        *((AudioContent,) if exclude_audio else ()),
        *((FileContent,) if exclude_file else ()),
    )
    skipped_members = {
        *(("created_at",) if exclude_timestamp else ()),
        *(("metrics",) if exclude_metrics else ()),
    }
    dumped: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, skipped_items) or (exclude_function_call and goes_with_calls(item)):
            continue
        if isinstance(item, ChatMessage):
            content = [
                part if isinstance(part, str) else _dump_part(part)
                for part in item.content
                if not isinstance(part, skipped_parts)
            ]
            dumped.append(_dump(item, skipped_members, content=content))
        else:
            dumped.append(_dump(item, skipped_members))
    return dumped


def _dump_part(part: _Part) -> dict[str, Any]:
    if isinstance(part, ImageContent) and isinstance(part.image, bytes):
        return _dump(part, (), image=data_url(part.image, part.mime_type))
    if isinstance(part, AudioContent) and isinstance(part.audio, bytes):
        return _dump(part, (), audio=data_url(part.audio, part.mime_type))
    if isinstance(part, FileContent) and isinstance(part.file, bytes):
        return _dump(part, (), file=data_url(part.file, part.mime_type))
    return _dump(part, ())


def _dump(value: ChatItem | _Part, skipped: Iterable[str], **rewritten: object) -> dict[str, Any]:
    members: dict[str, Any] = {"type": value.type}
    for name in _FIELDS[type(value)]:
        member = rewritten[name] if name in rewritten else _unshared(getattr(value, name))
        # An absent member and None are the same; LiveKit Agents leaves them out as well.
        if member is not None and name not in skipped:
            members[name] = member
    for name, member in value.unknown_members.items():
        members.setdefault(name, _unshared(member))
    return members


def _unshared(member: object) -> object:
    if isinstance(member, dict | list):
        container = cast("dict[str, object] | list[object]", member)
        return copy.deepcopy(container) if container else container.copy()
    return member


# Reading.


def load_context(data: Mapping[str, Any]) -> tuple[list[ChatItem], dict[str, Any]]:
    """Read the dict of a conversation, as `dump_items` or LiveKit Agents has written its items.

    Args:
        data: The dict.

    Returns:
        The items, and the members beside them that this version does not know. They share
        nothing with the dict.

    Raises:
        TypeError: If something has the wrong type. The message names path, value and remedy.
        ValueError: If a member is missing, or has a value that does not fit.
    """
    if not isinstance(data, Mapping):
        raise TypeError(
            f"data={shown(data)} is not accepted; it takes the dict that to_dict() has made"
        )
    if "items" not in data:
        raise ValueError(
            "data has no 'items'; it takes the dict that to_dict() has made: {'items': [...]}"
        )
    check_depth(data, "data")
    items: object = data["items"]
    if not isinstance(items, list | tuple):
        raise TypeError(f"items={shown(items)} is not accepted; it takes a list of dicts")
    loaded = [
        _load_item(item, f"items[{index}]")
        for index, item in enumerate(cast("Sequence[object]", items))
    ]
    unknown = {name: copy.deepcopy(member) for name, member in data.items() if name != "items"}
    return loaded, unknown


def _load_item(item: object, path: str) -> ChatItem:
    members, kind = _members(item, path, _ITEM_TYPES)
    if kind == ChatMessage.type and isinstance(members.get("content"), list):
        # A tuple, because what is in it need not be copied once more.
        members["content"] = tuple(
            _load_part(part, f"{path}.content[{index}]")
            for index, part in enumerate(members["content"])
        )
    if kind in _ITEM_TYPES:
        return _load(_ITEM_TYPES[kind], members, path)
    return _load(UnknownItem, members, path, type=kind)


def _load_part(part: object, path: str) -> ChatContent:
    if isinstance(part, str):
        return part
    members, kind = _members(part, path, _PART_TYPES)
    if kind in _PART_TYPES:
        return _load(_PART_TYPES[kind], members, path)
    # A file that `from_openai` keeps as it is, because it has odd members, is saved so, too.
    is_kept = kind == "file" and isinstance(members.get(kind), Mapping)
    if kind in _FOREIGN_PARTS and not is_kept:
        raise ValueError(f"{path}.type={kind!r} is not accepted; {_FOREIGN_PARTS[kind]}")
    return _load(UnknownContent, members, path, type=kind)


def _members(value: object, path: str, kinds: Iterable[str]) -> tuple[dict[str, Any], str]:
    """The members of a saved value but its type, and its type."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{path}={shown(value)} is not accepted; it takes a dict with a 'type'")
    members = dict(cast("Mapping[str, Any]", value))
    kind = members.pop("type", None)
    if isinstance(kind, str):
        return members, kind
    names = ", ".join(repr(name) for name in kinds)
    if kind is None:
        raise ValueError(f"{path}.type is missing; it is one of {names}")
    raise TypeError(f"{path}.type={shown(kind)} is not accepted; it takes one of {names}")


def _load(cls: type[_T], members: dict[str, Any], path: str, **known: str) -> _T:
    arguments: dict[str, Any] = dict(known)
    unknown: dict[str, Any] = {}
    names = _FIELDS[cls]
    for name, member in members.items():
        (arguments if name in names else unknown)[name] = _unshared(member)
    for name in _REQUIRED[cls]:
        if name not in arguments:
            raise ValueError(f"{path}.{name} is missing; a {cls.__name__} cannot be without it")
    try:
        return cls(**arguments, unknown_members=unknown)
    except (TypeError, ValueError) as error:
        # The message begins with the name of the field.
        raise type(error)(f"{path}.{error}") from None
