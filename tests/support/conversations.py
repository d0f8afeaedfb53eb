"""Whether a conversation can be sent: what servers of the dialect demand of one."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from lktrio import ChatContext, FunctionCall, FunctionCallOutput


def assert_valid(chat_ctx: ChatContext) -> list[dict[str, Any]]:
    """Check that a conversation can be gone on from, and return it as it would be sent.

    Every call has one output behind it, in the order of the calls; arguments are JSON objects;
    the times of the items do not go back.
    """
    items = chat_ctx.items
    assert len({item.id for item in items}) == len(items)
    for before, after in itertools.pairwise(items):
        assert before.created_at <= after.created_at
    open_calls: list[str] = []
    for item in items:
        if isinstance(item, FunctionCall):
            assert isinstance(json.loads(item.arguments), dict)
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", item.name)
            open_calls.append(item.call_id)
        elif isinstance(item, FunctionCallOutput):
            assert item.call_id == open_calls.pop(0)
    assert open_calls == []
    messages, _ = chat_ctx.to_provider_format("openai")
    json.dumps(messages).encode()
    expected: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == expected.pop(0)
        else:
            assert expected == []
            assert message.get("content") or message.get("tool_calls")
            expected = [call["id"] for call in message.get("tool_calls", ())]
    assert expected == []
    # Nothing was left out.
    assert sum(message["role"] == "tool" for message in messages) == sum(
        isinstance(item, FunctionCall) for item in items
    )
    return messages
