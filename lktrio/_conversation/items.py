"""What a conversation is made of: messages, function calls, outputs, as frozen values.

Names and defaults are those of LiveKit Agents, so that saved conversations move between the two.
This module knows neither the parts of a message, nor the order of items, nor how they are saved or
sent; what a field takes is said elsewhere (`fields`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypedDict, cast

import attrs

from lktrio._checks import shown
from lktrio._definitions import public

from .fields import (
    UnknownType,
    check_arguments,
    check_bool,
    check_names,
    check_optional_number,
    check_optional_text,
    check_output,
    check_text,
    check_word,
    copy_mapping,
    new_item_id,
    refusal,
    to_names,
    to_seconds,
)
from .parts import CONTENT_TYPES, CONTENT_WANTED, ChatContent, Saved

__all__ = [
    "DYNAMIC_INSTRUCTIONS_ID",
    "ITEM_TYPES",
    "AgentConfigUpdate",
    "AgentHandoff",
    "ChatItem",
    "ChatMessage",
    "ChatRole",
    "FunctionCall",
    "FunctionCallOutput",
    "MetricsMetadata",
    "MetricsReport",
    "UnknownItem",
    "check_items",
]

ChatRole: TypeAlias = Literal["developer", "system", "user", "assistant"]
"""Who speaks. ``"developer"`` and ``"system"`` messages are instructions."""

DYNAMIC_INSTRUCTIONS_ID: Final = "lk.agent_task.instructions.dynamic"
"""Id of the message in which LiveKit Agents keeps the instructions that change from call to
call; it stands right behind the instructions that do not."""


_check_role: Final = check_word(ChatRole)

_FROM_OPENAI: Final = "; ChatContext.from_openai() reads messages that are dicts"


def _check_content(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    for index, part in enumerate(cast("list[object]", value)):
        if not isinstance(part, CONTENT_TYPES):
            raise TypeError(refusal(f"{attribute.name}[{index}]", part, _part_wanted(part)))


def _part_wanted(instead_of: object) -> str:
    return CONTENT_WANTED + (_FROM_OPENAI if isinstance(instead_of, Mapping) else "")


def _to_content(value: str | Sequence[ChatContent]) -> list[ChatContent]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        raise TypeError(refusal("content", value, f"a string or a list of: {CONTENT_WANTED}"))
    return list(value)


def _to_extra(value: Mapping[str, Any]) -> dict[str, Any]:
    return copy_mapping("extra", value)


def _to_metrics(value: MetricsReport) -> MetricsReport:
    return cast("MetricsReport", copy_mapping("metrics", value))


# Items.


@public
class MetricsMetadata(TypedDict, total=False):
    """Which model did a part of the work on a message."""

    model_name: str
    """Name of the model."""

    model_provider: str
    """Who runs it."""


@public
class MetricsReport(TypedDict, total=False):
    """What was measured of a message in a voice pipeline. Written by LiveKit Agents, carried
    here. Times are seconds; points in time are seconds since the epoch."""

    started_speaking_at: float
    """When the speaker began."""

    stopped_speaking_at: float
    """When the speaker ended."""

    transcription_delay: float
    """From the end of the speech to its transcript."""

    end_of_turn_delay: float
    """From the end of the speech to the decision that the turn is over."""

    on_user_turn_completed_delay: float
    """Spent in the program's own hook at the end of the user's turn."""

    llm_node_ttft: float
    """To the model's first token."""

    llm_node_tps: float
    """The model's tokens per second."""

    llm_node_ttfs: float
    """To the model's first sentence."""

    tts_node_ttfb: float
    """To the first byte of synthesised speech."""

    playback_latency: float
    """From the first byte of speech to its playback."""

    e2e_latency: float
    """From the end of the user's speech to the beginning of the answer's."""

    provider_request_ids: list[str]
    """Request ids that the providers gave."""

    llm_metadata: MetricsMetadata
    """The language model."""

    tts_metadata: MetricsMetadata
    """The speech synthesis."""

    stt_metadata: MetricsMetadata
    """The speech recognition."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class ChatMessage(Saved):
    """Something said, or instructions.

    Make a changed one with `attrs.evolve`, and put it in place with `ChatContext.replace`.

    Raises:
        TypeError: If a field has the wrong type; the message names field, value and remedy.
        ValueError: If ``role`` is another word, or ``created_at`` is not finite.
    """

    type: ClassVar[Literal["message"]] = "message"
    """What a saved conversation calls it."""

    id: str = attrs.field(factory=new_item_id, validator=check_text)
    """Identifies the item: ``item_`` and 12 random digits unless given. An assistant message and
    function calls with the same text before the first ``/`` are one answer, and sent as one."""

    role: ChatRole = attrs.field(validator=_check_role)
    """Who speaks."""

    content: list[ChatContent] = attrs.field(converter=_to_content, validator=_check_content)
    """The parts, in order; a string may be given for a single one."""

    interrupted: bool = attrs.field(default=False, validator=check_bool)
    """Whether the speaker was cut off. Not sent."""

    transcript_confidence: float | None = attrs.field(default=None, validator=check_optional_number)
    """How sure the speech recognition was of the text, 0 to 1. Not sent."""

    extra: dict[str, Any] = attrs.field(factory=dict[str, Any], converter=_to_extra)
    """What else belongs to it. The members ``google``, ``livekit`` and ``xai`` are sent, as
    ``extra_content``; ``reasoning_content`` and its like to models that want them back; and of
    ``openai_message`` (see `ChatContext.from_openai`) what servers take, such as a ``name``."""

    metrics: MetricsReport = attrs.field(factory=MetricsReport, converter=_to_metrics)
    """What was measured. Not sent."""

    created_at: float = attrs.field(factory=time.time, converter=to_seconds)
    """Seconds since the epoch; items are kept in this order."""

    @property
    def text_content(self) -> str | None:
        """The strings of the content, joined with newlines; None if there are none."""
        texts = [part for part in self.content if isinstance(part, str)]
        return "\n".join(texts) if texts else None


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class FunctionCall(Saved):
    """The model's wish that a function be called. It is sent together with its output; one
    without an output is left out, because servers refuse it.

    Raises:
        TypeError: If a field has the wrong type; the message names field, value and remedy.
        ValueError: If ``created_at`` is not finite.
    """

    type: ClassVar[Literal["function_call"]] = "function_call"
    """What a saved conversation calls it."""

    id: str = attrs.field(factory=new_item_id, validator=check_text)
    """Identifies the item. Calls and an assistant message with the same text before the first
    ``/`` are sent as one answer."""

    call_id: str = attrs.field(validator=check_text)
    """Identifies the call; its output has the same."""

    arguments: str = attrs.field(validator=check_arguments)
    """The arguments as JSON text, in general one object."""

    name: str = attrs.field(validator=check_text)
    """Name of the function."""

    created_at: float = attrs.field(factory=time.time, converter=to_seconds)
    """Seconds since the epoch."""

    extra: dict[str, Any] = attrs.field(factory=dict[str, Any], converter=_to_extra)
    """What else belongs to it. The members ``google``, ``livekit`` and ``xai`` are sent, as
    ``extra_content``; some models refuse a call that comes back without them."""

    group_id: str | None = attrs.field(default=None, validator=check_optional_text)
    """Calls with the same one were made in one answer; it goes before the text in ``id``."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class FunctionCallOutput(Saved):
    """What a called function gave. It is sent right behind its call; one without a call is left
    out, because servers refuse it.

    Raises:
        TypeError: If a field has the wrong type; the message names field, value and remedy.
        ValueError: If ``created_at`` is not finite.
    """

    type: ClassVar[Literal["function_call_output"]] = "function_call_output"
    """What a saved conversation calls it."""

    id: str = attrs.field(factory=new_item_id, validator=check_text)
    """Identifies the item."""

    name: str = attrs.field(default="", validator=check_text)
    """Name of the function. Not sent."""

    call_id: str = attrs.field(validator=check_text)
    """The ``call_id`` of the call. If several calls have it, the nearest one before that has no
    output yet is meant."""

    output: str = attrs.field(validator=check_output)
    """What the model is to read."""

    is_error: bool = attrs.field(default=False, validator=check_bool)
    """Whether the call failed. Not sent: ``output`` says it in words."""

    created_at: float = attrs.field(factory=time.time, converter=to_seconds)
    """Seconds since the epoch."""

    reply_required: bool = attrs.field(default=True, validator=check_bool)
    """Whether the model should answer to it. Not sent."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class AgentHandoff(Saved):
    """Another agent of LiveKit Agents took over. Carried and saved, never sent."""

    type: ClassVar[Literal["agent_handoff"]] = "agent_handoff"
    """What a saved conversation calls it."""

    id: str = attrs.field(factory=new_item_id, validator=check_text)
    """Identifies the item."""

    old_agent_id: str | None = attrs.field(default=None, validator=check_optional_text)
    """Who spoke before; None at the beginning."""

    new_agent_id: str = attrs.field(validator=check_text)
    """Who speaks from here on."""

    created_at: float = attrs.field(factory=time.time, converter=to_seconds)
    """Seconds since the epoch."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class AgentConfigUpdate(Saved):
    """Instructions or tools of an agent of LiveKit Agents changed. Carried and saved, never
    sent."""

    type: ClassVar[Literal["agent_config_update"]] = "agent_config_update"
    """What a saved conversation calls it."""

    id: str = attrs.field(factory=new_item_id, validator=check_text)
    """Identifies the item."""

    instructions: str | None = attrs.field(default=None, validator=check_optional_text)
    """The new instructions; None if they stay."""

    tools_added: list[str] | None = attrs.field(
        default=None, converter=to_names, validator=check_names
    )
    """Names of new tools."""

    tools_removed: list[str] | None = attrs.field(
        default=None, converter=to_names, validator=check_names
    )
    """Names of tools that are gone."""

    created_at: float = attrs.field(factory=time.time, converter=to_seconds)
    """Seconds since the epoch."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class UnknownItem(Saved):
    """An item that a newer version saved and this one does not know: kept in its place and saved
    again as it was, not sent (which is logged)."""

    type: UnknownType = attrs.field(validator=check_text)
    """What the saved conversation calls it."""

    id: str = attrs.field(factory=new_item_id, validator=check_text)
    """Identifies the item."""

    created_at: float = attrs.field(factory=time.time, converter=to_seconds)
    """Seconds since the epoch."""


ChatItem: TypeAlias = (
    ChatMessage | FunctionCall | FunctionCallOutput | AgentHandoff | AgentConfigUpdate | UnknownItem
)
"""Anything that stands in a conversation."""

ITEM_TYPES: Final = (
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    AgentHandoff,
    AgentConfigUpdate,
    UnknownItem,
)


def check_items(items: Iterable[ChatItem]) -> list[ChatItem]:
    """Make a list of items, and refuse what is none.

    Raises:
        TypeError: If one of them is no item.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise TypeError(
            f"items={shown(cast('object', items))} is not accepted; it takes {_ITEMS_WANTED}"
        )
    checked = list(items)
    for index, item in enumerate(checked):
        if not isinstance(item, ITEM_TYPES):
            raise TypeError(
                f"items[{index}]={shown(item)} is not accepted; it takes {_ITEMS_WANTED}"
            )
    return checked


_ITEMS_WANTED: Final = (
    f"items such as ChatMessage and FunctionCall{_FROM_OPENAI}, ChatContext.from_dict() saved "
    "items, and answer_items() makes them of an answer"
)
