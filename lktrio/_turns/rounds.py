"""What a round of a turn leaves in the conversation: a message, calls, outputs, in their order.

This module knows what is written down of a round, whole or interrupted, so that a model can go on
from it. It runs nothing and knows nothing of how a round is made.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import msgspec

from lktrio._answers import FunctionToolCall
from lktrio._conversation import ChatItem, ChatMessage
from lktrio._tools import Call, FunctionCallResult, ToolContext, interrupted, read_call

__all__ = ["MonotonicClock", "Round"]


class MonotonicClock:
    """Points in time that never go back, so that items stay in the order in which they were made.

    Args:
        after: The time of the last item of the conversation: another machine may have made it,
            whose clock is fast.
    """

    def __init__(self, after: float) -> None:
        self.last = after
        """The last time that was given."""

    def now(self) -> float:
        """Seconds since the epoch, or the last time again if the clock was set back."""
        self.advance(time.time())
        return self.last

    def advance(self, moment: float) -> None:
        """Give no time before this one, which something else has given."""
        self.last = max(self.last, moment)


class Round:
    """One answer of the model, with the calls in it, in the making.

    Args:
        number: 1 for the first of its turn.
        clock: Gives the items their times.
        tool_ctx: The tools that may be called.
    """

    def __init__(self, number: int, clock: MonotonicClock, tool_ctx: ToolContext) -> None:
        self.number = number
        """1 for the first of its turn."""
        self.calls: list[Call] = []
        """The calls, in the order in which they were handed out."""
        self.extra: Mapping[str, object] = {}
        """What the provider attached to the answer."""
        self.attached: Mapping[str, object] = {}
        """What came with the calls: all that is known of that before the answer is whole."""
        self.is_whole = False
        """Whether the model's answer has come to its end."""
        self.correction: ChatMessage | None = None
        """What the model is told of its answer before it is asked again."""
        self._clock = clock
        self._tool_ctx = tool_ctx
        self._id = f"item_{secrets.token_hex(6)}"
        self._created_at: float | None = None
        self._texts: list[str] = []
        self._delivered = 0
        self._begin = self._delivered_begin = 0
        self._is_closed = False

    def add_text(self, text: str) -> None:
        """Take a piece of the answer's text, or of a refusal."""
        self._stamp()
        self._texts.append(text)

    def restart(self) -> None:
        """The answer begins again: what was said before does not count."""
        self._begin = len(self._texts)

    def text_delivered(self) -> None:
        """Take note that the consumer has got one piece more."""
        self._delivered += 1

    def restart_delivered(self) -> None:
        """Take note that the consumer knows that the answer begins again."""
        self._delivered_begin = self._delivered

    def add_call(self, call: FunctionToolCall) -> Call:
        """Take a call."""
        self._stamp()
        added = read_call(
            call,
            self._tool_ctx,
            id=f"{self._id}/call_{len(self.calls)}",
            group_id=self._id,
            created_at=self._clock.now(),
        )
        self.calls.append(added)
        return added

    def correct(self, reasons: Sequence[str]) -> ChatMessage:
        """The answer does not fit: the next one will be another one.

        Args:
            reasons: What does not fit.
        """
        # Many a chat template takes nothing but a user's message behind an answer.
        self.correction = ChatMessage(
            role="user", content=[_explain(reasons)], created_at=self._clock.now()
        )
        return self.correction

    @property
    def results(self) -> tuple[FunctionCallResult, ...]:
        """What the calls have come to, in the order of the calls."""
        return tuple(call.result for call in self.calls if call.result is not None)

    def close(self) -> None:
        """Say that nothing is under way any more: a call without an output gets one that says so.

        Outputs that came in another order than their calls are given later times.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for call in self.calls:
            result = call.result or interrupted(call.item, started=call.is_started)
            output = result.fnc_call_out
            self._clock.advance(output.created_at)
            call.result = msgspec.structs.replace(
                result, fnc_call_out=attrs.evolve(output, created_at=self._clock.last)
            )

    def items(self, *, delivered: bool) -> Iterator[ChatItem]:
        """The round as items of a conversation, once it is closed.

        The message comes first, then the calls, then the outputs; the message and the calls are
        sent as one. What is said of an answer stands behind it, if it is there as a whole.

        Args:
            delivered: Whether only that text counts which the consumer has got.
        """
        message = self.message(delivered=delivered)
        if message is not None:
            yield message
        for call in self.calls:
            yield call.item
        for result in self.results:
            yield result.fnc_call_out
        has_all = not delivered or self._delivered == len(self._texts)
        if self.correction is not None and has_all:
            yield self.correction

    def message(self, *, delivered: bool, spoken: int | None = None) -> ChatMessage | None:
        """What was said, as an item of a conversation; None if that is nothing.

        Args:
            delivered: Whether only that text counts which the consumer has got.
            spoken: How many characters of it count; None for all.
        """
        begin, end = self._begin, len(self._texts)
        if delivered:
            begin, end = self._delivered_begin, self._delivered
        whole = "".join(self._texts[begin:end])
        text = whole[:spoken]
        extra = self.extra or self.attached
        # Some models refuse calls that come back without what was attached to their answer.
        if not text and not (self.calls and extra):
            return None
        is_cut = end < len(self._texts) or begin < self._begin or len(text) < len(whole)
        return ChatMessage(
            id=self._id,
            role="assistant",
            content=[text] if text else [],
            interrupted=is_cut or not self.is_whole,
            extra=extra,
            created_at=self._stamp(),
        )

    def _stamp(self) -> float:
        if self._created_at is None:
            self._created_at = self._clock.now()
        return self._created_at


_MAX_REASONS: Final = 10


def _explain(reasons: Sequence[str]) -> str:
    """What a model is told of an answer that does not fit."""
    lines = [f"- {reason}" for reason in reasons[:_MAX_REASONS]]
    if len(reasons) > _MAX_REASONS:
        lines.append("- and more")
    return "\n".join(
        [
            "Your answer does not have the form that was asked for:",
            *lines,
            "Answer again, in that form and with nothing around it.",
        ]
    )
