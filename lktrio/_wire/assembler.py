"""How payloads add up to an answer: payloads in, chunks out; one object for each attempt.

This module knows the order of what a stream yields, what counts as output, what ends an answer
and how large one may be. It does not know bytes or events.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import msgspec

from lktrio._answers import (
    APIConnectionError,
    ChatChunk,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
)
from lktrio._json import pruned

from .attached import copy_extra, merge_extra
from .beside import MAX_AUDIO_BYTES, Beside
from .payloads import (
    AudioPayload,
    ChoicePayload,
    ChunkPayload,
    DeltaPayload,
    LogprobsPayload,
    RestPayload,
    TaintedChunkPayload,
)
from .reasoning import ReasoningKeeper
from .thinking import SurrogateJoiner, ThinkingFilter
from .tolerant import reasoning_text
from .tool_calls import MAX_TOOL_CALLS, ToolCallAssembler, make_call_id, too_many_calls
from .usage import UsageReader

__all__ = ["MAX_ANSWER_CHARACTERS", "Assembler"]

MAX_ANSWER_CHARACTERS: Final = 16 * 1024 * 1024
"""Most characters (text, reasoning, refusal, calls and what is attached, together) that one
answer may hold. At its end they are put together in one step."""

# So many characters of a text, and entries of what stands beside it, are taken in one step.
_PIECE: Final = 64 * 1024
_ENTRIES: Final = 1000

_COMPARED: Final = 64 * 1024
"""A message that is longer is compared as it is with what has come before."""

# Reasons that only say that the answer has ended.
_PLAIN_REASONS: Final = frozenset({"stop", "end_turn", "function_call", "tool_calls"})
# Some servers of the dialect write null as a string; an error is raised as one.
_NO_REASON: Final = frozenset({"null", "None", "error"})

_NONE: Final[dict[str, Any]] = {}  # the further members of a delta that has none


class Assembler:
    """Puts one answer together.

    Args:
        tags: Pairs of opening and closing thinking tag.
        starts_in_thinking: Whether the text begins inside the first pair.
        declared_tools: Names of the tools the request offered.
        early_calls: Whether a call is handed out as soon as it is complete.
        make_id: Makes up ids for calls that have none.
        keeper: Says what of the reasoning is kept with the answer, to go back to the model.
        clean: Takes what must not be shown out of names that a server gives: they go to places
            that the answer's text does not go to.
    """

    def __init__(
        self,
        *,
        tags: Sequence[tuple[str, str]] = (("<think>", "</think>"),),
        starts_in_thinking: bool = False,
        declared_tools: Collection[str] = (),
        early_calls: bool = False,
        make_id: Callable[[], str] = make_call_id,
        keeper: ReasoningKeeper | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._clean = clean
        self._id: str = ""
        self._model: str = ""
        self._tier: str = ""
        self._early_calls = early_calls
        self._keeper = keeper
        self._early: list[FunctionToolCall] = []
        self.has_output = False
        """Whether text, a refusal, a tool-call fragment, speech or a picture has arrived."""
        self.has_reasoning = False
        """Whether reasoning has arrived."""
        self.id = ""
        """The completion's id."""
        self.model = ""
        """Name of the model that answers, as the server gives it."""
        self.system_fingerprint: str | None = None
        """Name of the configuration that answers, if the server gives it."""
        self._tags = tags
        self._starts_in_thinking = starts_in_thinking
        self._filter = self._make_filter()
        self._calls = ToolCallAssembler(declared_tools, make_id, clean)
        self._joiners: dict[str, SurrogateJoiner] | None = None
        # A buffer joins many tiny pieces as it goes.
        self._text = io.StringIO()
        self._reasoning = io.StringIO()
        self._refusal = io.StringIO()
        self._extra: dict[str, object] = {}
        self._beside: Beside | None = None
        self._size = 0
        # What is being taken, and what the chunks at the end are made from.
        self._raw: bytes | None = None
        self._raws: dict[str, bytes | None] = {}
        self._usage = UsageReader(clean)
        self._finish_reason: str | None = None
        self._saw_message = False
        self._result: CollectedResponse[None] | None = None

    def _make_filter(self) -> ThinkingFilter:
        return ThinkingFilter(self._tags, starts_inside=self._starts_in_thinking)

    @property
    def finish_reason(self) -> str | None:
        """The finish reason as the server gave it; None if it has not."""
        return self._finish_reason

    @property
    def has_delivered(self) -> bool:
        """Whether text, a refusal, a tool call, speech or a picture has been appended to a list:
        handed out. Fragments of a call are output before they are that."""
        return bool(
            self._text.tell()
            or self._refusal.tell()
            or self._early
            or (self._beside is not None and self._beside.has_output)
            or (self._result is not None and self._result.tool_calls)
        )

    @property
    def has_begun(self) -> bool:
        """Whether the server has said anything of an answer."""
        return bool(self.model or self.has_output or self.has_reasoning or self._finish_reason)

    def feed(self, payload: ChunkPayload, out: list[ChatChunk], raw: bytes | None = None) -> None:
        """Take one payload and append the chunks it makes to a list.

        Args:
            payload: The payload.
            out: The list.
            raw: What it was decoded from, for its chunks to carry along.

        Raises:
            APIConnectionError: The answer is larger than allowed.
        """
        self._raw = raw
        # Nearly all have the names of the one before.
        if payload.id and payload.id != self._id:
            self._id, self.id = payload.id, self._clean(payload.id)
        if payload.model and payload.model != self._model:
            self._model, self.model = payload.model, self._clean(payload.model)
        has_usage = payload.usage is not None and self._usage.take(payload.usage, raw)
        if payload.x_groq is not None and payload.x_groq.usage is not None and not has_usage:
            has_usage = self._usage.take(payload.x_groq.usage, raw)
        if payload.service_tier and payload.service_tier != self._tier:
            self._tier = payload.service_tier
            self._usage.take_tier(payload.service_tier)
        if self.system_fingerprint is None and payload.system_fingerprint:
            self.system_fingerprint = self._clean(payload.system_fingerprint)
        if not payload.choices:
            return
        if type(payload) is TaintedChunkPayload and self._joiners is None:
            self._joiners = {
                name: SurrogateJoiner() for name in ("content", "reasoning", "refusal")
            }
        for choice in payload.choices:
            if choice.index:
                continue
            if choice.usage is not None and not has_usage:
                self._usage.take(choice.usage, raw)
            delta = choice.delta if choice.message is None else self._delta_of(choice)
            if delta is not None:
                self._take_delta(delta, choice.logprobs, out)
            elif choice.logprobs is not None:
                self._take_delta(DeltaPayload(), choice.logprobs, out)
            reason = choice.finish_reason
            if reason and reason not in _NO_REASON:
                self._take_reason(reason)

    def cut(self, payload: ChunkPayload) -> Iterator[ChunkPayload]:
        """Cut a large payload into some that are fed one after the other, each in a short step.

        The next one is asked for when the one before it has been fed.
        """
        yield msgspec.structs.replace(payload, choices=None)
        for choice in payload.choices or ():
            if choice.index:
                continue
            delta = self._delta_of(choice)
            for piece in () if delta is None else _pieces(delta):
                yield type(payload)(payload.id, [ChoicePayload(delta=piece)])
            last = ChoicePayload(
                finish_reason=choice.finish_reason, usage=choice.usage, logprobs=choice.logprobs
            )
            yield type(payload)(payload.id, [last])

    def _take_reason(self, reason: str) -> None:
        # A second reason must not hide that the answer was cut short.
        if self._finish_reason is None or (
            self._finish_reason in _PLAIN_REASONS and reason not in _PLAIN_REASONS
        ):
            self._finish_reason, self._raws["reason"] = self._clean(reason), self._raw

    def _delta_of(self, choice: ChoicePayload) -> DeltaPayload | None:
        """What a choice adds; if that is nothing, a message may stand for it."""
        delta = choice.delta
        if choice.message is not None and (delta is None or _is_blank(delta)):
            return self._news_of(choice, choice.message)
        return delta

    def _news_of(self, choice: ChoicePayload, message: DeltaPayload) -> DeltaPayload:
        """What a message adds.

        A message may stand for a delta. But some servers end a stream of deltas with the whole
        message: what is in it has been delivered.

        Source: MiniMax M3; https://github.com/abundantbeing/hermes-browser-extension/issues/11
        """
        if self._saw_message:
            return message
        self._saw_message = True
        if not (self.has_output or self.has_reasoning):
            return message
        content, reasoning = message.content, message.reasoning_content or message.reasoning
        if content and self._is_repeat(content):
            content = None
        if reasoning and reasoning.strip() == self._reasoning.getvalue().strip():
            reasoning = None
        beside = {} if self._beside is None else self._beside.members()
        if "logprobs" in beside:
            choice.logprobs = None
        kind = RestPayload if self.has_reasoning else DeltaPayload
        return kind(
            content=content,
            tool_calls=None if self._calls else message.tool_calls,
            reasoning=reasoning,
            refusal=None if message.refusal == self._refusal.getvalue() else message.refusal,
            extra_content=message.extra_content,
            function_call=None if self._calls else message.function_call,
            reasoning_details=None if "reasoning_details" in beside else message.reasoning_details,
            annotations=None if "annotations" in beside else message.annotations,
            audio=None if "audio" in beside else message.audio,
            images=None if "images" in beside else message.images,
        )

    def _is_repeat(self, content: str) -> bool:
        """Whether a message's content has been delivered."""
        delivered = self._text.getvalue().strip()
        if len(content) > _COMPARED:
            # Without a look at the thinking before it.
            return bool(delivered) and content.rstrip().endswith(delivered)
        again = self._make_filter()
        shown, _ = again.feed(content)
        return (shown + again.flush()[0]).strip() == delivered

    def _take_delta(
        self, delta: DeltaPayload, logprobs: LogprobsPayload | None, out: list[ChatChunk]
    ) -> None:
        text = delta.content
        reasoning = delta.reasoning_content or delta.reasoning
        refusal = delta.refusal
        others: dict[str, Any] = _NONE
        if delta.extra_content:
            others = {"extra": pruned(delta.extra_content)}
        if (
            logprobs is not None
            or delta.reasoning_details
            or delta.annotations
            or delta.audio is not None
            or delta.images
        ):
            if self._beside is None:
                self._beside = Beside()
            others = others | self._beside.read(delta, logprobs)
            if delta.reasoning_details and not reasoning and type(delta) is not RestPayload:
                reasoning = reasoning_text(delta.reasoning_details)
        if self._joiners is not None:
            text = self._joiners["content"].feed(text or "")
            reasoning = self._joiners["reasoning"].feed(reasoning or "")
            refusal = self._joiners["refusal"].feed(refusal or "")
        if text and self._filter.watched in text:
            text, thought = self._filter.feed(text)
            if thought:
                reasoning = (reasoning or "") + thought
        if text and not (reasoning or refusal or others):
            self._size += self._text.write(text)
            self.has_output = True
            out.append(ChatChunk(self.id, ChoiceDelta(content=text), raw_json=self._raw))
        elif text or reasoning or refusal or others:
            self._emit(text, reasoning, refusal, others, out)
        if delta.tool_calls or delta.function_call is not None:
            self._take_calls(delta)
            text = None
        if self._early_calls and self._calls:
            self._hand_out_early(bool(text), out)
        if self._size > MAX_ANSWER_CHARACTERS:
            raise APIConnectionError(
                f"the answer is larger than {MAX_ANSWER_CHARACTERS} characters", retryable=False
            )

    def _take_calls(self, delta: DeltaPayload) -> None:
        calls = self._calls
        self._raws["calls"] = self._raw
        before = calls.size
        if delta.tool_calls:
            for entry in delta.tool_calls[:MAX_TOOL_CALLS]:
                if entry.extra_content:
                    entry.extra_content = pruned(entry.extra_content)
                calls.add(entry)
            if len(delta.tool_calls) > MAX_TOOL_CALLS:
                raise too_many_calls()
        elif delta.function_call is not None and (
            delta.function_call.name or delta.function_call.arguments
        ):
            calls.add_legacy(delta.function_call)
        self._size += calls.size - before
        if calls:
            self.has_output = True

    def _hand_out_early(self, text_follows: bool, out: list[ChatChunk]) -> None:
        ready = self._calls.take_ready(text_follows=text_follows, tainted=self._joiners is not None)
        self._early += ready
        if not ready:
            return
        kept = None
        if self._keeper is not None:
            beside = {} if self._beside is None else self._beside.members()
            thought = self._reasoning.getvalue()
            kept = self._kept(CollectedResponse(tool_calls=ready, reasoning=thought, **beside))
        out.extend(
            ChatChunk(self.id, ChoiceDelta(tool_calls=[call], extra=kept), raw_json=self._raw)
            for call in ready
        )

    def _kept(self, answer: CollectedResponse[None]) -> dict[str, object] | None:
        """What of an answer's reasoning is kept; None if that is nothing."""
        return None if self._keeper is None else self._keeper.kept(answer) or None

    def _emit(
        self,
        text: str | None,
        reasoning: str | None,
        refusal: str | None,
        others: dict[str, Any],
        out: list[ChatChunk],
    ) -> None:
        if text:
            self._size += self._text.write(text)
            self.has_output = True
        if reasoning:
            self._size += self._reasoning.write(reasoning)
            self.has_reasoning = True
        if refusal:
            self._size += self._refusal.write(refusal)
            self.has_output = True
        delta = ChoiceDelta(
            content=text or None, reasoning=reasoning or None, refusal=refusal or None, **others
        )
        if others:
            self._take_others(delta)
        out.append(ChatChunk(self.id, delta, raw_json=self._raw))

    def _take_others(self, delta: ChoiceDelta) -> None:
        if delta.extra:
            self._size += merge_extra(self._extra, delta.extra)
        beside = self._beside
        if beside is None:
            return
        self._size += beside.add(delta)
        self.has_output |= beside.has_output
        if beside.audio_bytes > MAX_AUDIO_BYTES:
            raise APIConnectionError(
                f"the answer holds more than {MAX_AUDIO_BYTES} bytes of audio", retryable=False
            )

    def flush(self, out: list[ChatChunk]) -> None:
        """Say that no more text comes: what was held back is text."""
        text = reasoning = refusal = ""
        if self._joiners is not None:
            text, thought = self._filter.feed(self._joiners["content"].flush())
            reasoning = self._joiners["reasoning"].flush() + thought
            refusal = self._joiners["refusal"].flush()
        held_text, held_thought = self._filter.flush()
        text += held_text
        reasoning += held_thought
        others = _NONE if self._beside is None else self._beside.flush()
        if text or reasoning or refusal or others:
            self._emit(text, reasoning, refusal, others, out)

    def finish(self, out: list[ChatChunk]) -> CollectedResponse[None]:
        """Say that the answer is complete; append the chunks that end it.

        Raises:
            APIConnectionError: The answer has more tool calls than allowed.
        """
        self.flush(out)
        result = self._collect(cut=self._finish_reason == "length", is_complete=True)
        kept = self._kept(result)
        if kept:
            result = msgspec.structs.replace(result, extra={**result.extra, **kept})
        self._result = result
        early = {call.call_id for call in self._early}
        rest = [call for call in result.tool_calls if call.call_id not in early]
        if rest or kept:
            delta = ChoiceDelta(tool_calls=rest, extra=kept)
            out.append(ChatChunk(self.id, delta, raw_json=self._raws.get("calls")))
        if result.finish_reason is not None:
            reason = result.finish_reason
            out.append(ChatChunk(self.id, finish_reason=reason, raw_json=self._raws.get("reason")))
        if result.usage is not None:
            out.append(ChatChunk(self.id, usage=result.usage, raw_json=self._usage.raw))
        # They may be large, and belong to the chunks from here on.
        self._raw, self._raws, self._usage.raw = None, {}, None
        return result

    @property
    def usage(self) -> CompletionUsage | None:
        """The usage so far."""
        if self._result is not None:
            return self._result.usage
        return self._usage.value

    def snapshot(self) -> CollectedResponse[None]:
        """The answer: whole if it has been finished, else what has arrived so far."""
        return self._result or self._collect(cut=True, is_complete=False)

    def _collect(self, *, cut: bool, is_complete: bool) -> CollectedResponse[None]:
        calls: list[FunctionToolCall] = []
        withheld: list[FunctionToolCall] = []
        if self._calls:
            calls, withheld = self._calls.result(
                cut=cut, tainted=self._joiners is not None, withholds_excess=not is_complete
            )
        reason = self._finish_reason
        if calls and (reason in _PLAIN_REASONS or (reason is None and is_complete)):
            reason = "tool_calls"
        return CollectedResponse(
            text=self._text.getvalue(),
            tool_calls=calls,
            usage=self.usage,
            extra=copy_extra(self._extra),
            finish_reason=reason,
            reasoning=self._reasoning.getvalue(),
            refusal=self._refusal.getvalue(),
            truncated=bool(withheld) or reason == "length",
            withheld_calls=withheld,
            system_fingerprint=self.system_fingerprint,
            **({} if self._beside is None else self._beside.members()),
        )


def _pieces(delta: DeltaPayload) -> Iterator[DeltaPayload]:
    """Cut a delta into some with little text or sound; together they say the same, in order."""
    details = delta.reasoning_details
    reasoning = delta.reasoning_content or delta.reasoning or (details and reasoning_text(details))
    for member, text in (
        ("reasoning", reasoning),
        ("content", delta.content),
        ("refusal", delta.refusal),
    ):
        for start in range(0, len(text or ""), _PIECE):
            piece = DeltaPayload()
            setattr(piece, member, (text or "")[start : start + _PIECE])
            yield piece
    audio = delta.audio
    if audio is not None and audio.data:
        for start in range(0, len(audio.data), _PIECE):
            yield DeltaPayload(audio=AudioPayload(data=audio.data[start : start + _PIECE]))
        audio = msgspec.structs.replace(audio, data=None)
    for member in ("reasoning_details", "annotations", "images"):
        entries: list[dict[str, Any]] = getattr(delta, member) or []
        for start in range(0, len(entries), _ENTRIES):
            part = RestPayload()
            setattr(part, member, entries[start : start + _ENTRIES])
            yield part
    yield RestPayload(
        tool_calls=delta.tool_calls,
        extra_content=delta.extra_content,
        function_call=delta.function_call,
        audio=audio,
    )


def _is_blank(delta: DeltaPayload) -> bool:
    return not any(msgspec.structs.astuple(delta))
