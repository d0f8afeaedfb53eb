"""The public values a stream yields: chunks, deltas, tool calls, usage, and the whole answer.

This module knows their members and what counts as a response; it knows neither how they
arrive nor how they are put together.

They are frozen Structs, because one is made for every piece of text: that costs a quarter of what a
frozen attrs class does. A changed one is made by ``msgspec.structs.replace(chunk, id="...")``, from
Python 3.13 on also by `copy.replace`.
"""

from typing import Any, Final, Generic, Literal, TypeGuard, TypeVar, cast

import msgspec

from lktrio._definitions import public
from lktrio._json import clean, decode_text, is_list, is_object, loads

__all__ = [
    "EMPTY_RESPONSE",
    "AudioOutput",
    "ChatChunk",
    "ChoiceDelta",
    "ChoiceLogprobs",
    "CollectedResponse",
    "CompletionUsage",
    "FunctionToolCall",
    "TokenLogprob",
    "TopLogprob",
    "add_usage",
]

T_co = TypeVar("T_co", covariant=True)


@public
class FunctionToolCall(msgspec.Struct, frozen=True, weakref=True):
    """One complete call of a function that the model asks for.

    It is handed out only when its arguments are whole; a call that was cut off is found in
    `CollectedResponse.withheld_calls`.

    Source: https://platform.openai.com/docs/api-reference/chat/object (``tool_calls``).
    """

    name: str
    """Name of the function, as declared in ``tools`` (a model may invent one that is not)."""

    arguments: str
    """The arguments as JSON text, in general one object. Closed, but not checked."""

    call_id: str
    """Identifies the call, so that its output can be matched to it. Made up if the server
    sent none."""

    type: Literal["function"] = "function"
    """Always ``"function"``."""

    extra: dict[str, Any] | None = None
    """What the provider attached to the call (``extra_content``), by provider name, for
    example ``{"google": {"thought_signature": "..."}}``; it must be sent back with the call."""


@public
class TopLogprob(msgspec.Struct, frozen=True, weakref=True):
    """A token that the model might have written in some place, and how likely it was."""

    token: str
    """The token as text."""

    logprob: float
    """The natural logarithm of its probability; ``-9999.0`` stands for hardly any."""

    bytes: list[int] | None = None
    """Its bytes, for a token that is half a character; None if the server did not tell."""


@public
class TokenLogprob(msgspec.Struct, frozen=True, weakref=True):
    """A token of the answer, and how likely it was."""

    token: str
    """The token as text."""

    logprob: float
    """The natural logarithm of its probability; ``-9999.0`` stands for hardly any."""

    bytes: list[int] | None = None
    """Its bytes, for a token that is half a character; None if the server did not tell."""

    top_logprobs: list[TopLogprob] = []
    """The likeliest tokens in this place, as many as ``top_logprobs`` asks for."""


@public
class ChoiceLogprobs(msgspec.Struct, frozen=True, weakref=True):
    """How likely the tokens of an answer, or of a piece of it, were. Asked for by the option
    ``logprobs``.

    Source: https://platform.openai.com/docs/api-reference/chat/object (``logprobs``).
    """

    content: list[TokenLogprob] = []
    """The tokens of the text, thinking between tags included."""

    refusal: list[TokenLogprob] = []
    """The tokens of a refusal."""


@public
class AudioOutput(msgspec.Struct, frozen=True, weakref=True):
    """Speech of the model: a piece of it on a delta, all of it on the collected answer. Asked for
    by the options ``modalities`` and ``audio``.

    Source: https://platform.openai.com/docs/api-reference/chat/object (``audio``).
    """

    id: str | None = None
    """Names the speech for later requests, if the server gave it a name."""

    data: bytes = b""
    """The sound, decoded from base64, in the ``format`` that was asked for."""

    transcript: str = ""
    """What is said."""

    expires_at: int | None = None
    """Until when the server knows the id, in seconds since the epoch."""

    def __repr__(self) -> str:
        return (
            f"AudioOutput(id={self.id!r}, data=<{len(self.data)} bytes>, "
            f"transcript={self.transcript!r}, expires_at={self.expires_at!r})"
        )


@public
class ChoiceDelta(msgspec.Struct, frozen=True, weakref=True):
    """What one chunk adds to the answer. Absent members are None or empty."""

    role: Literal["assistant"] | None = "assistant"
    """Who speaks."""

    content: str | None = None
    """Text to show or speak. Never thinking, never tool-call markup of ours."""

    tool_calls: list[FunctionToolCall] = []
    """Complete tool calls, handed out together at the end of the stream."""

    extra: dict[str, Any] | None = None
    """What the provider attached (``extra_content``), by provider name."""

    reasoning: str | None = None
    """Thinking text: from a reasoning member or from between thinking tags."""

    refusal: str | None = None
    """Text with which the model declines, sent in place of content."""

    logprobs: ChoiceLogprobs | None = None
    """How likely the tokens of this piece were, if ``logprobs`` asked for it."""

    annotations: list[dict[str, Any]] | None = None
    """Citations and the like, as the server sent them; one from the web has the type
    ``"url_citation"``."""

    audio: AudioOutput | None = None
    """A piece of speech."""

    images: list[dict[str, Any]] | None = None
    """Pictures that the model made, as the server sent them; in general as ``image_url`` parts
    with a data URL."""

    reasoning_details: list[dict[str, Any]] | None = None
    """Pieces of the thinking in the form in which a server wants them back, signed or encrypted.
    Their text is in ``reasoning`` too."""


@public
class CompletionUsage(msgspec.Struct, frozen=True, weakref=True):
    """Tokens of one answer. Every count is 0 where the server did not tell.

    Source: https://platform.openai.com/docs/api-reference/chat/object (``usage``), and the
    spellings of other servers for cached tokens.
    """

    completion_tokens: int = 0
    """Tokens generated, reasoning included."""

    prompt_tokens: int = 0
    """Tokens of the prompt, cached ones included."""

    prompt_cached_tokens: int = 0
    """Tokens of the prompt that came from a cache."""

    cache_creation_tokens: int = 0
    """Tokens of the prompt that were written to a cache."""

    cache_read_tokens: int = 0
    """The same as `prompt_cached_tokens`, under the name other providers use."""

    reasoning_tokens: int = 0
    """Tokens of the completion that were spent on reasoning."""

    total_tokens: int = 0
    """Prompt and completion together."""

    service_tier: str | None = None
    """The tier that processed the request, if the server named one."""

    prompt_audio_tokens: int = 0
    """Tokens of the prompt that were sound."""

    completion_audio_tokens: int = 0
    """Tokens of the completion that were sound."""

    accepted_prediction_tokens: int = 0
    """Tokens of a ``prediction`` that came back in the completion."""

    rejected_prediction_tokens: int = 0
    """Tokens of a ``prediction`` that did not; they are paid for as part of the completion."""

    extra: dict[str, Any] = {}
    """Whatever else the server said in ``usage``, by its names: ``usage.extra.get("cost")`` is what
    OpenRouter charges. Details of a count stand under their own name. Not part of the hash."""

    # What cannot be hashed must not keep the counts from it.
    def __hash__(self) -> int:
        return hash(msgspec.structs.astuple(self)[:-1])


# A Struct is compared, hashed and shown by all its fields. What a chunk carries along stands in a
# base of it, keyword-only, and these methods go through `__match_args__`, where such fields are
# not. (A slot in a base that is no Struct is hidden from the garbage collector.)
class _Carrying(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk carries along, which is no part of what it says."""

    raw_json: bytes | None = None
    """What `raw` is decoded from, as it came: for who hands it on undecoded. It is kept by pickle,
    by copies and by ``msgspec.json.encode`` (as base64); ``msgspec.structs.replace(chunk,
    raw_json=None)`` is the chunk without it."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in type(self).__match_args__
        )

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in type(self).__match_args__)))

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in type(self).__match_args__]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in type(self).__match_args__]


@public
class ChatChunk(_Carrying, frozen=True, weakref=True):
    """One step of a streamed answer.

    A complete stream yields text (and reasoning) as it comes, then one chunk with all tool
    calls, then one with the finish reason, then one with the usage; those that have nothing
    to say are left out.
    """

    id: str = ""
    """The completion's id as the server sent it; empty if it sent none."""

    delta: ChoiceDelta | None = None
    """What this chunk adds, or None."""

    usage: CompletionUsage | None = None
    """The usage of the whole answer; on the last chunk only."""

    finish_reason: str | None = None
    """Why the model stopped: ``"stop"``, ``"length"``, ``"tool_calls"``, ``"content_filter"``
    or whatever else the server says (an open set)."""

    restart: bool = False
    """Whether all text so far is void, because another model begins the answer anew; then the
    chunk holds nothing else. Only a `FallbackAdapter` with ``restart_after_output`` sends it."""

    @property
    def raw(self) -> dict[str, Any] | None:
        """The payload as the server sent it, whatever is in it; None for a chunk that no payload
        made, such as one of a model of your own.

        It is decoded whenever it is asked for, and costs next to nothing until then. Of a chunk
        that several payloads made (all tool calls, for example), it is the last of them. It is no
        part of comparisons and of the ``repr``. A credential that the server echoes is not taken
        out of it.

        Raises:
            ValueError: `raw_json` is no JSON: a program has made it.
        """
        data = self.raw_json
        if data is None:
            return None
        try:
            value: object = msgspec.json.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Something that is not quite JSON, and was read all the same.
            value = clean(loads(decode_text(data).strip()))
        if is_list(value) and len(value) == 1:
            value = value[0]
        return value if is_object(value) else None

    def has_response(self) -> bool:
        """Whether the chunk holds something for the user: text, a refusal, a tool call, speech or
        a picture.

        Metadata, reasoning, a finish reason and usage are not a response.
        """
        delta = self.delta
        return delta is not None and bool(
            delta.content
            or delta.refusal
            or delta.tool_calls
            or delta.images
            or (delta.audio is not None and (delta.audio.data or delta.audio.transcript))
        )


@public
class CollectedResponse(msgspec.Struct, Generic[T_co], frozen=True, weakref=True):
    """A whole answer, or as much of it as arrived (see `APIError.partial`)."""

    text: str = ""
    """The text, joined."""

    tool_calls: list[FunctionToolCall] = []
    """The complete calls, in the order in which they appeared."""

    usage: CompletionUsage | None = None
    """Token counts, or None if the server sent none."""

    extra: dict[str, Any] = {}
    """What the provider attached, merged over all chunks, by provider name; and reasoning that the
    model wants back (`ModelFacts.reasoning_back`)."""

    finish_reason: str | None = None
    """Why the model stopped, or None if the server did not say."""

    reasoning: str = ""
    """The thinking text, joined."""

    refusal: str = ""
    """The refusal text, joined; not empty means that the model declined."""

    truncated: bool = False
    """Whether the answer was cut short: the finish reason is ``"length"``, or a call's
    arguments are incomplete."""

    withheld_calls: list[FunctionToolCall] = []
    """Calls whose arguments were cut off, as they came. They must not be executed."""

    # An answer that is not whole, or for which no type was asked, has no value.
    parsed: T_co = cast("T_co", None)
    """The answer as a value of the type that was asked for as ``response_format``; None
    without one."""

    logprobs: ChoiceLogprobs | None = None
    """How likely the tokens were, if ``logprobs`` asked for it and the server told."""

    annotations: list[dict[str, Any]] = []
    """Citations and the like, as the server sent them."""

    audio: AudioOutput | None = None
    """What the model said aloud, joined."""

    images: list[dict[str, Any]] = []
    """Pictures that the model made, as the server sent them."""

    reasoning_details: list[dict[str, Any]] = []
    """The thinking in the form in which a server wants it back; pieces of one entry are joined."""

    system_fingerprint: str | None = None
    """Names the configuration that answered, if the server told: answers to one ``seed`` can
    differ where it does."""

    @property
    def empty(self) -> bool:
        """True for an answer with no text, no refusal, no call, no speech and no picture at all.

        Some servers answer a broken history or an expired upstream login this way.
        """
        return not (
            self.text
            or self.refusal
            or self.tool_calls
            or self.withheld_calls
            or self.images
            or (self.audio is not None and (self.audio.data or self.audio.transcript))
        )


EMPTY_RESPONSE: Final[CollectedResponse[None]] = CollectedResponse()


def add_usage(
    total: CompletionUsage | None, usage: CompletionUsage | None
) -> CompletionUsage | None:
    """The tokens of two rounds together, and numbers in `CompletionUsage.extra` too; the service
    tier is the later one's, and so is what else is no number."""
    if total is None or usage is None:
        return usage or total
    counts = {
        name: count + getattr(usage, name)
        for name, count in msgspec.structs.asdict(total).items()
        if isinstance(count, int)
    }
    return CompletionUsage(
        **counts,
        service_tier=usage.service_tier or total.service_tier,
        extra=_added(total.extra, usage.extra),
    )


def _added(total: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    added = dict(total)
    for name, value in more.items():
        known = added.get(name)
        if is_object(known) and is_object(value):
            added[name] = _added(known, value)
        elif _is_number(known) and _is_number(value):
            added[name] = known + value
        else:
            added[name] = value
    return added


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
