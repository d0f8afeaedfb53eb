"""What a turn tells while it goes on: values, one for each thing that happens.

This module knows their members only.
"""

from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from lktrio._answers import CollectedResponse, FunctionToolCall
from lktrio._conversation import ChatMessage, FunctionCall
from lktrio._definitions import public
from lktrio._tools import FunctionCallResult

__all__ = [
    "AnswerRestarted",
    "AskedAgain",
    "CallReady",
    "CallsMissing",
    "ReasoningDelta",
    "RefusalDelta",
    "RoundFinished",
    "TextDelta",
    "ToolFinished",
    "ToolStarted",
    "TurnEvent",
]


@public
class TextDelta(msgspec.Struct, frozen=True, weakref=True):
    """The model has said something."""

    type: ClassVar[Literal["text"]] = "text"
    """What happened, for a ``match`` on strings."""

    text: str
    """A piece of the answer, never empty."""

    round: int
    """In which round: 1 for the first answer of the model."""


@public
class ReasoningDelta(msgspec.Struct, frozen=True, weakref=True):
    """The model has thought something; it is not kept in the conversation."""

    type: ClassVar[Literal["reasoning"]] = "reasoning"
    """What happened, for a ``match`` on strings."""

    text: str
    """A piece of thinking text, never empty."""

    round: int
    """In which round."""


@public
class RefusalDelta(msgspec.Struct, frozen=True, weakref=True):
    """The model declines; kept in the conversation as what it said."""

    type: ClassVar[Literal["refusal"]] = "refusal"
    """What happened, for a ``match`` on strings."""

    text: str
    """A piece of the refusal, never empty."""

    round: int
    """In which round."""


@public
class CallReady(msgspec.Struct, frozen=True, weakref=True):
    """The model asks for a call, and the call is whole."""

    type: ClassVar[Literal["call_ready"]] = "call_ready"
    """What happened, for a ``match`` on strings."""

    call: FunctionCall
    """The call as it will stand in the conversation."""

    round: int
    """In which round."""


@public
class ToolStarted(msgspec.Struct, frozen=True, weakref=True):
    """The function of a call begins to run. A call of a tool that there is not, with arguments that
    do not fit, or that ``approve`` has decided, finishes without this."""

    type: ClassVar[Literal["tool_started"]] = "tool_started"
    """What happened, for a ``match`` on strings."""

    call: FunctionCall
    """The call."""

    round: int
    """In which round."""


@public
class ToolFinished(msgspec.Struct, frozen=True, weakref=True):
    """A call has come to its result."""

    type: ClassVar[Literal["tool_finished"]] = "tool_finished"
    """What happened, for a ``match`` on strings."""

    result: FunctionCallResult
    """The result: also that of a call that failed, or that was not carried out."""

    round: int
    """In which round."""

    @property
    def call(self) -> FunctionCall:
        """The call."""
        return self.result.fnc_call


@public
class CallsMissing(msgspec.Struct, frozen=True, weakref=True):
    """The model wanted to call tools, and not all of its calls have come whole: some were cut off,
    or there was none at all although the finish reason says so. Nobody runs them; if no other call
    came, the turn ends here without an answer. A warning is logged, too."""

    type: ClassVar[Literal["calls_missing"]] = "calls_missing"
    """What happened, for a ``match`` on strings."""

    withheld_calls: tuple[FunctionToolCall, ...]
    """The calls that were cut off, as they came; empty if there was none at all."""

    finish_reason: str | None
    """Why the model stopped, by its own word: ``"length"`` if its tokens were used up."""

    round: int
    """In which round."""


@public
class RoundFinished(msgspec.Struct, frozen=True, weakref=True):
    """The model's answer is whole, its calls have come to their results, and all of it stands in
    the conversation."""

    type: ClassVar[Literal["round_finished"]] = "round_finished"
    """What happened, for a ``match`` on strings."""

    response: CollectedResponse[Any]
    """The answer: text, calls, finish reason, usage, and what was cut off."""

    results: tuple[FunctionCallResult, ...]
    """What the calls came to, in the order of the calls."""

    round: int
    """Which round."""


@public
class AnswerRestarted(msgspec.Struct, frozen=True, weakref=True):
    """Another model begins the round's answer anew: what was said in the round does not count,
    and who speaks it should stop. Only a `FallbackAdapter` with ``restart_after_output`` does
    that."""

    type: ClassVar[Literal["answer_restarted"]] = "answer_restarted"
    """What happened, for a ``match`` on strings."""

    round: int
    """In which round."""


@public
class AskedAgain(msgspec.Struct, frozen=True, weakref=True):
    """The round's answer is not of the type that was asked for, and the model is told what is
    wrong and asked again: who uses the text as it comes begins anew. Only a turn with
    ``ask_again`` does that."""

    type: ClassVar[Literal["asked_again"]] = "asked_again"
    """What happened, for a ``match`` on strings."""

    reasons: tuple[str, ...]
    """What does not fit, one line each, as in `APIResponseFormatError.reasons`."""

    message: ChatMessage
    """What the model is told, as it will stand in the conversation, behind the answer."""

    round: int
    """In which round."""


TurnEvent: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | AnswerRestarted
    | AskedAgain
    | CallReady
    | ToolStarted
    | ToolFinished
    | CallsMissing
    | RoundFinished
)
"""Anything that a turn tells."""
