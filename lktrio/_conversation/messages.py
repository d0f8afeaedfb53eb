"""Items of a conversation -> the ``messages`` of a Chat Completions request.

This module alone knows how items are grouped into messages, what is left out, and what a part of
a message looks like on the wire. It knows no other member of the request.

Source: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages;
``extra_content`` and ``prompt_cache_breakpoint`` are the gateway's.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from lktrio._checks import shown
from lktrio._json import check_json, check_text

from .items import (
    DYNAMIC_INSTRUCTIONS_ID,
    AgentConfigUpdate,
    AgentHandoff,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    UnknownItem,
)
from .kept import (
    OPENAI_MESSAGE,
    SENT_EXTRA,
    ReasoningMember,
    members_to_send,
    reasoning_to_send,
)
from .media import audio_data, file_url, image_url
from .parts import (
    CONTENT_WANTED,
    AudioContent,
    CacheBreakpoint,
    FileContent,
    ImageContent,
    UnknownContent,
)

__all__ = ["DOCUMENTED_AUDIO", "ContentBesideCalls", "build_messages", "file_part", "match_outputs"]

ContentBesideCalls: TypeAlias = Literal["null", "empty", "absent"]
"""What stands in the ``content`` of an assistant message that has calls and no text: null, an empty
string, or no such member."""

DOCUMENTED_AUDIO: Final = frozenset({"wav", "mp3"})
"""The formats of ``input_audio`` that the API documents."""

logger: Final = logging.getLogger("lktrio")


def build_messages(
    items: Sequence[ChatItem],
    *,
    cache_breakpoints: bool,
    content_beside_calls: ContentBesideCalls = "null",
    reasoning_back: ReasoningMember | None = None,
    audio_formats: Collection[str] | None = None,
    model: str = "the model",
) -> list[dict[str, object]]:
    """Make the ``messages`` of a request.

    An assistant message and its calls are one message, the outputs of the calls follow it.
    Calls without an output and outputs without a call are left out with a warning that names
    their ids: servers refuse them. Audio without its sound is left out with one warning for the
    whole process.
    Handoffs and configuration updates are the program's own, and are left out.

    Args:
        items: The conversation.
        cache_breakpoints: Whether the model understands `CacheBreakpoint`. If it does not, the
            messages are as if there were none, and instructions that change from call to call
            (`DYNAMIC_INSTRUCTIONS_ID`) become a part of the instructions they stand behind.
        content_beside_calls: What an assistant message that has calls and no text says in
            ``content``.
        reasoning_back: In which member of an answer its reasoning is sent, if it was kept; None
            for not at all.
        audio_formats: The formats of audio that the model takes; None for any.
        model: What it is called, for error messages.

    Returns:
        New dicts that ``encode_json`` can write.

    Raises:
        TypeError: If the conversation holds what is no item, no content or no JSON value. The
            message names the path to it, such as ``chat_ctx.items[2].extra``.
        ValueError: If an image, a sound or a file cannot be sent, the model does not take a sound,
            a text holds a lone surrogate, or a number is
            not finite.
    """
    output_of = match_outputs(items)
    matched = {index for index, _ in output_of.values()}
    dynamic = None if cache_breakpoints else _dynamic_instructions(items)
    draft = _Draft(reasoning_back)
    hearing = _Hearing(model, audio_formats)
    for index, item in enumerate(items):
        if isinstance(item, ChatMessage):
            if index == dynamic:
                continue
            sent_as_one = items[index : index + 2] if index + 1 == dynamic else (item,)
            content = _content(sent_as_one, index, cache_breakpoints, hearing)
            draft.add_message(item, index, content)
        elif isinstance(item, FunctionCall):
            if index in output_of:
                draft.add_call(item, index, output_of[index])
            else:
                logger.warning(
                    "function call %s (call_id %s) has no output and is not sent",
                    item.id,
                    item.call_id,
                )
        elif isinstance(item, FunctionCallOutput):
            if index not in matched:
                logger.warning(
                    "output %s (call_id %s) has no function call and is not sent",
                    item.id,
                    item.call_id,
                )
        elif isinstance(item, UnknownItem):
            logger.warning("item %s is of the unknown type %r and is not sent", item.id, item.type)
        elif not isinstance(item, (AgentHandoff, AgentConfigUpdate)):
            raise TypeError(
                f"chat_ctx.items[{index}]={shown(item)} is not accepted; it takes ChatMessage, "
                f"FunctionCall, FunctionCallOutput, AgentHandoff or AgentConfigUpdate"
            )
    return draft.finish(content_beside_calls)


class _Draft:
    """The messages in the making: an answer and its calls find each other, outputs are kept for
    the end."""

    def __init__(self, reasoning_back: ReasoningMember | None) -> None:
        self._reasoning_back: ReasoningMember | None = reasoning_back
        self._messages: list[dict[str, object]] = []
        self._wordless: set[int] = set()
        """The places of answers that say nothing themselves."""
        self._place_of_answer: dict[str, int] = {}
        """The message of an answer, by what the ids of its items begin with."""
        self._calls: dict[int, list[dict[str, object]]] = {}
        """The calls in a message."""
        self._outputs: dict[int, list[tuple[int, FunctionCallOutput]]] = {}
        """The outputs that belong behind it, with their places in the conversation."""

    def add_message(
        self, item: ChatMessage, index: int, content: str | list[dict[str, object]]
    ) -> None:
        message: dict[str, object] = {"role": item.role, "content": content}
        if item.extra:
            self._add_extra(message, item, index)
        if item.role == "assistant":
            answer = _answer_of(item)
            place = self._place_of_answer.get(answer)
            if place is not None and "content" not in self._messages[place]:
                self._messages[place].update(message)
                if not item.content:
                    self._wordless.add(place)
                return
            if not item.content:
                self._wordless.add(len(self._messages))
            # Also a second message of an answer begins a message of its own: nothing is lost.
            self._place_of_answer[answer] = len(self._messages)
        self._messages.append(message)

    def add_call(
        self, item: FunctionCall, index: int, output: tuple[int, FunctionCallOutput]
    ) -> None:
        answer = item.group_id or _answer_of(item)
        place = self._place_of_answer.setdefault(answer, len(self._messages))
        if place == len(self._messages):
            self._messages.append({"role": "assistant"})
        if place not in self._calls:
            self._messages[place]["tool_calls"] = self._calls[place] = []
            self._outputs[place] = []
        self._calls[place].append(_call(item, index))
        self._outputs[place].append(output)

    def _add_extra(self, message: dict[str, object], item: ChatMessage, index: int) -> None:
        _add_extra(message, item.extra, index)
        path = f"chat_ctx.items[{index}].extra"
        if OPENAI_MESSAGE in item.extra:
            message.update(members_to_send(item.extra, message["content"], path))
        if self._reasoning_back is not None and item.role == "assistant":
            message.update(reasoning_to_send(item.extra, self._reasoning_back, path))

    def finish(self, content_beside_calls: ContentBesideCalls) -> list[dict[str, object]]:
        finished: list[dict[str, object]] = []
        for place, message in enumerate(self._messages):
            if place not in self._outputs:
                finished.append(message)
                continue
            if place in self._wordless:
                del message["content"]
            if "content" in message or content_beside_calls == "absent":
                finished.append(message)
            else:
                nothing = None if content_beside_calls == "null" else ""
                finished.append({"role": "assistant", "content": nothing, **message})
            outputs = sorted(self._outputs[place], key=itemgetter(0))
            finished.extend(_output(output, index) for index, output in outputs)
        return finished


def _answer_of(item: ChatMessage | FunctionCall) -> str:
    """What the ids of all items of an answer begin with."""
    return item.id.partition("/")[0]


def match_outputs(items: Sequence[ChatItem]) -> dict[int, tuple[int, FunctionCallOutput]]:
    """Find the output of each call, with its place, by the place of the call.

    An output belongs to the nearest call before it with its ``call_id`` that has no output yet.
    If no call with that id came before, the first one after it is meant: clocks are not exact.
    """
    output_of: dict[int, tuple[int, FunctionCallOutput]] = {}
    open_calls: dict[str, list[int]] = {}
    early_outputs: dict[str, tuple[int, FunctionCallOutput]] = {}
    for index, item in enumerate(items):
        if isinstance(item, FunctionCall):
            calls = open_calls.setdefault(item.call_id, [])
            if item.call_id in early_outputs:
                output_of[index] = early_outputs.pop(item.call_id)
            else:
                calls.append(index)
        elif isinstance(item, FunctionCallOutput):
            if item.call_id not in open_calls:
                early_outputs.setdefault(item.call_id, (index, item))
            elif open_calls[item.call_id]:
                output_of[open_calls[item.call_id].pop()] = (index, item)
    return output_of


def _dynamic_instructions(items: Sequence[ChatItem]) -> int | None:
    """The place of the instructions that change from call to call, if they stand right behind
    the instructions at the head of the conversation."""
    for index, (item, following) in enumerate(itertools.pairwise(items), start=1):
        if isinstance(item, (AgentHandoff, AgentConfigUpdate)):
            continue
        if (
            isinstance(item, ChatMessage)
            and item.role in ("system", "developer")
            and isinstance(following, ChatMessage)
            and following.id == DYNAMIC_INSTRUCTIONS_ID
        ):
            return index
        break
    return None


def _call(item: FunctionCall, index: int) -> dict[str, object]:
    arguments = _text(item.arguments, index, "arguments")
    call: dict[str, object] = {
        "id": _text(item.call_id, index, "call_id"),
        "type": "function",
        "function": {
            "name": _text(item.name, index, "name"),
            # Servers parse it to fill the model's template; no arguments are an empty object.
            "arguments": "{}" if not arguments or arguments.isspace() else arguments,
        },
    }
    if item.extra:
        _add_extra(call, item.extra, index)
    return call


def _output(item: FunctionCallOutput, index: int) -> dict[str, object]:
    return {
        "role": "tool",
        "tool_call_id": _text(item.call_id, index, "call_id"),
        "content": _text(item.output, index, "output"),
    }


def _add_extra(message: dict[str, object], extra: Mapping[str, object], index: int) -> None:
    sent = {name: extra[name] for name in SENT_EXTRA if name in extra}
    if sent:
        check_json(sent, f"chat_ctx.items[{index}].extra")
        message["extra_content"] = sent


def _text(text: str, index: int, member: str) -> str:
    # Whether a string is ASCII is known without looking at it; most are.
    if not text.isascii():
        check_text(text, f"chat_ctx.items[{index}].{member}")
    return text


def _content(
    items: Iterable[ChatItem], index: int, cache_breakpoints: bool, hearing: _Hearing
) -> str | list[dict[str, object]]:
    """The content of messages that are sent as one, the first of them at ``index``: a string if
    all is text, else parts in the order given.

    Texts next to each other are joined with a newline. A breakpoint between two texts cuts
    behind the first, so that all the text together is the same with and without it.
    """
    parts: list[dict[str, object]] = []
    texts: list[str] = []
    # What the next text begins with.
    joint = ""
    for item_index, item in enumerate(items, start=index):
        for part_index, part in enumerate(cast("ChatMessage", item).content):
            if isinstance(part, str):
                if not part.isascii():
                    check_text(part, f"chat_ctx.items[{item_index}].content[{part_index}]")
                # An empty text with nothing before it has nothing to be joined to.
                if part or texts or joint:
                    texts.append(part)
            elif isinstance(part, ImageContent):
                _end_text(parts, joint, texts)
                parts.append(_image(part, f"chat_ctx.items[{item_index}].content[{part_index}]"))
                joint = ""
            elif isinstance(part, CacheBreakpoint):
                if not cache_breakpoints:
                    continue
                _end_text(parts, joint, texts)
                if parts:
                    parts[-1]["prompt_cache_breakpoint"] = {"mode": "explicit"}
                    joint = "\n" if parts[-1]["type"] == "text" else ""
            elif isinstance(part, UnknownContent):
                logger.warning(
                    "content %d of item %s is of the unknown type %r and is not sent",
                    part_index,
                    item.id,
                    part.type,
                )
            elif isinstance(part, FileContent):
                _end_text(parts, joint, texts)
                parts.append(file_part(part, f"chat_ctx.items[{item_index}].content[{part_index}]"))
                joint = ""
            elif isinstance(part, AudioContent) and part.audio is not None:
                _end_text(parts, joint, texts)
                path = f"chat_ctx.items[{item_index}].content[{part_index}]"
                parts.append(_audio(part.audio, part.mime_type, path, hearing))
                joint = ""
            elif isinstance(part, AudioContent):
                _say_once("audio", part_index, item.id)
            else:
                raise TypeError(
                    f"chat_ctx.items[{item_index}].content[{part_index}]={shown(part)} is not "
                    f"accepted; it takes {CONTENT_WANTED}"
                )
    if not parts:
        return "\n".join(texts)
    _end_text(parts, joint, texts)
    return parts


_said: Final[set[str]] = set()
"""What has been logged of this process, because it would be the same at every request."""


def _say_once(kind: str, part_index: int, item_id: str) -> None:
    if kind not in _said:
        _said.add(kind)
        logger.warning(
            "%s in a message has no form on the wire and is not sent: content %d of item %s, and "
            "all that follows; add the words as text",
            kind,
            part_index,
            item_id,
        )


def _end_text(parts: list[dict[str, object]], joint: str, texts: list[str]) -> None:
    if texts:
        parts.append({"type": "text", "text": joint + "\n".join(texts)})
        texts.clear()


def _image(part: ImageContent, path: str) -> dict[str, object]:
    try:
        url = image_url(part.image, part.mime_type)
    except ValueError as error:
        raise ValueError(f"{path}.image {error}") from None
    check_text(url, f"{path}.image")
    return {"type": "image_url", "image_url": {"url": url, "detail": part.inference_detail}}


class _Hearing(NamedTuple):
    """Which sounds a model takes."""

    model: str
    formats: Collection[str] | None


def _audio(
    audio: str | bytes, mime_type: str | None, path: str, hearing: _Hearing
) -> dict[str, object]:
    try:
        data, kind = audio_data(audio, mime_type)
    except ValueError as error:
        raise ValueError(f"{path}.audio {error}") from None
    if hearing.formats is not None and kind not in hearing.formats:
        takes = ", ".join(sorted(hearing.formats)) or "no audio at all"
        raise ValueError(
            f"{path}.audio is {kind}, and {hearing.model} takes {takes}; ask another model, put "
            f"the transcript as text in its place, or correct the fact: LLM(model_table="
            f"DEFAULT_MODEL_TABLE.with_facts({_bare_name(hearing.model)!r}, "
            f"audio_formats=[{kind!r}]))"
        )
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


def _bare_name(model: str) -> str:
    return model.rpartition("/")[2]


def file_part(part: FileContent, path: str) -> dict[str, object]:
    if part.file is None:
        file: dict[str, object] = {"file_id": part.file_id}
    else:
        try:
            url = file_url(part.file, part.mime_type)
        except ValueError as error:
            raise ValueError(f"{path}.file {error}") from None
        is_pdf = url.startswith("data:application/pdf")
        name = part.filename or ("document.pdf" if is_pdf else "file")
        file = {"filename": name, "file_data": url}
    check_json(file, f"{path}.file")
    return {"type": "file", "file": file}
