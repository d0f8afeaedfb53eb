"""What of an answer's thinking is kept, so that it goes back to a model that wants it.

This module knows when that is: in a round of tool calls. Which model wants it, and in which
member, is a fact of the model table; how it is sent is known to conversations.
"""

from __future__ import annotations

from collections.abc import Sequence

from lktrio._answers import CollectedResponse
from lktrio._conversation import ChatItem, FunctionCallOutput, ReasoningMember

__all__ = ["ReasoningKeeper", "reasoning_keeper"]


class ReasoningKeeper:
    """Says what of an answer's reasoning is kept. It becomes a part of what is attached to the
    answer, because that is what is written into conversations.

    Args:
        member: In which member the model wants its reasoning back.
        follows_tools: Whether the model answers to outputs of tools. Then its answer belongs to a
            round of calls, also if there is none in it.
    """

    __slots__ = ("_follows_tools", "_member")

    def __init__(self, member: ReasoningMember, *, follows_tools: bool) -> None:
        self._member: ReasoningMember = member
        self._follows_tools = follows_tools

    def kept(self, answer: CollectedResponse[None]) -> dict[str, object]:
        """What is kept of an answer, under the name of the member; empty if that is nothing."""
        if not (answer.tool_calls or self._follows_tools):
            return {}
        details = self._member == "reasoning_details"
        reasoning = answer.reasoning_details if details else answer.reasoning
        return {self._member: reasoning} if reasoning else {}


def reasoning_keeper(
    member: ReasoningMember | None, items: Sequence[ChatItem]
) -> ReasoningKeeper | None:
    """Make one for the answer to a conversation; None if the model wants no reasoning back."""
    if member is None:
        return None
    follows_tools = bool(items) and isinstance(items[-1], FunctionCallOutput)
    return ReasoningKeeper(member, follows_tools=follows_tools)
