"""What an answer leaves in a conversation, for programs that run the rounds themselves.

This module knows which items an answer and its calls become, so that they are sent as one. How
calls are carried out is known elsewhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from lktrio._answers import CollectedResponse
from lktrio._checks import check_instance
from lktrio._conversation import ChatItem, ChatMessage, FunctionCall
from lktrio._definitions import public

from .results import FunctionCallResult

__all__ = ["answer_items"]


@public
def answer_items(
    answer: CollectedResponse[Any], results: Iterable[FunctionCallResult] = ()
) -> list[ChatItem]:
    """Make items of a model's answer, as `run_turn` writes them, for a loop of your own.

    ::

        answer = await llm.chat(chat_ctx=chat_ctx, tools=tools).collect()
        results = await execute_function_calls(answer.tool_calls, ToolContext(tools))
        chat_ctx.insert(answer_items(answer, results))

    Message and calls are sent as one. What was attached to the answer, and reasoning that the
    model wants back, stays with the message; so there is one without text, too.

    Args:
        answer: The answer.
        results: What its calls came to. A call without a result is written without an output,
            and not sent until there is one.

    Returns:
        The message, if there is anything to it, then the calls, then their outputs.

    Raises:
        TypeError: If an argument has the wrong type.
    """
    check_instance("answer", answer, CollectedResponse, "what collect() has returned")
    given = list(results)
    for result in given:
        check_instance("results", result, FunctionCallResult, "what the calls came to")
    calls = _calls(answer, given)
    group = f"item_{secrets.token_hex(6)}"
    now = time.time()
    items: list[ChatItem] = []
    said = answer.text + answer.refusal
    if said or (calls and answer.extra):
        content = [said] if said else []
        items.append(
            ChatMessage(
                id=group, role="assistant", content=content, extra=answer.extra, created_at=now
            )
        )
    items += (
        attrs.evolve(call, id=f"{group}/call_{index}", group_id=group, created_at=now)
        for index, call in enumerate(calls)
    )
    items += (attrs.evolve(result.fnc_call_out, created_at=now) for result in given)
    return items


def _calls(
    answer: CollectedResponse[Any], results: Sequence[FunctionCallResult]
) -> list[FunctionCall]:
    """The calls of an answer, as they were carried out where they were."""
    carried_out = {result.fnc_call.call_id: result.fnc_call for result in results}
    calls = [
        carried_out.pop(call.call_id)
        if call.call_id in carried_out
        else FunctionCall(
            call_id=call.call_id,
            name=call.name,
            arguments=call.arguments,
            extra=call.extra or {},
        )
        for call in answer.tool_calls
    ]
    # Each output goes behind its call, whoever made that.
    return [*calls, *carried_out.values()]
