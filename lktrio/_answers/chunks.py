"""The public values a stream yields: chunks, deltas, tool calls, usage, and the whole answer.

This module knows their members and what counts as a response; it knows neither how they
arrive nor how they are put together.

They are frozen Structs, because one is made for every piece of text: that costs a quarter of what a
frozen attrs class does. A changed one is made by ``msgspec.structs.replace(chunk, id="...")``, from
Python 3.13 on also by `copy.replace`.
"""

from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec

from lktrio._definitions import public

__all__ = [
    "EMPTY_RESPONSE",
    "ChatChunk",
    "ChoiceDelta",
    "CollectedResponse",
    "CompletionUsage",
    "FunctionToolCall",
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


# A Struct is compared, hashed and shown by all its fields. Something that a chunk carries along and
# that does not count for these, belongs into a base of this class: a frozen, keyword-only Struct
# with a private field, None by default, whose `__eq__`, `__hash__` and `__repr__` go through
# `__match_args__`, where keyword-only fields are not. It costs a chunk without it nothing, and is
# kept by pickle, copy and replace. A slot in a base that is no Struct is hidden from the garbage
# collector.
@public
class ChatChunk(msgspec.Struct, frozen=True, weakref=True):
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

    def has_response(self) -> bool:
        """Whether the chunk holds something for the user: text, a refusal or a tool call.

        Metadata, reasoning, a finish reason and usage are not a response.
        """
        delta = self.delta
        return delta is not None and bool(delta.content or delta.refusal or delta.tool_calls)


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

    @property
    def empty(self) -> bool:
        """True for an answer with no text, no refusal and no call at all.

        Some servers answer a broken history or an expired upstream login this way.
        """
        return not (self.text or self.refusal or self.tool_calls or self.withheld_calls)


EMPTY_RESPONSE: Final[CollectedResponse[None]] = CollectedResponse()


def add_usage(
    total: CompletionUsage | None, usage: CompletionUsage | None
) -> CompletionUsage | None:
    """The tokens of two rounds together; the service tier is the later one's."""
    if total is None or usage is None:
        return usage or total
    counts = {
        name: count + getattr(usage, name)
        for name, count in msgspec.structs.asdict(total).items()
        if isinstance(count, int)
    }
    return CompletionUsage(**counts, service_tier=usage.service_tier or total.service_tier)
