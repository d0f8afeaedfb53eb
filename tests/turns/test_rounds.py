"""What a round leaves can be gone on from, however far it came."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import (
    ChatContext,
    ChatMessage,
    CompletionUsage,
    FunctionCallOutput,
    FunctionToolCall,
    ToolContext,
    function_tool,
)
from lktrio._answers.chunks import add_usage
from lktrio._tools.results import returned
from lktrio._turns.rounds import MonotonicClock, Round
from tests.support.conversations import assert_valid


@function_tool
async def look() -> str:
    return "seen"


TOOLS = ToolContext([look])

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)),
        st.tuples(
            st.just("call"),
            st.tuples(
                st.sampled_from(["look", "no.such", "", "\ud800"]),
                st.sampled_from(['{"a": 1}', "", "{'a': 1,}", "[]", '{"a', "\ud800"]),
                st.sampled_from(["call_0", "call_1"]),
            ),
        ),
        st.tuples(st.just("deliver"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("start"), st.integers(0, 5)),
        st.tuples(st.just("result"), st.integers(0, 5)),
        st.tuples(st.just("end"), st.none()),
    )
)


@given(STEPS, st.lists(STEPS, max_size=2))
def test_whatever_happened_the_conversation_is_valid(steps: Any, more: list[Any]) -> None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Look!")
    clock = MonotonicClock(chat_ctx.items[-1].created_at)
    for number, round_steps in enumerate([steps, *more], start=1):
        current = Round(number, clock, TOOLS)
        pieces: list[str | None] = []
        delivered = 0
        got = ""
        for kind, value in round_steps:
            if kind == "text":
                current.add_text(value)
                pieces.append(value)
            elif kind == "restart":
                current.restart()
                pieces.append(None)
            elif kind == "deliver" and delivered < len(pieces):
                piece = pieces[delivered]
                delivered += 1
                if piece is None:
                    current.restart_delivered()
                    got = ""
                else:
                    current.text_delivered()
                    got += piece
            elif kind == "call":
                name, arguments, call_id = value
                current.add_call(
                    FunctionToolCall(name, arguments, f"{call_id}_{number}_{len(current.calls)}")
                )
            elif kind == "start" and value < len(current.calls):
                current.calls[value].is_started = True
            elif kind == "result" and value < len(current.calls):
                entry = current.calls[value]
                entry.result = entry.result or returned(entry.item, "ok")
            elif kind == "end":
                current.is_whole = True
        current.close()
        outputs = current.results
        current.close()
        assert current.results == outputs
        whole = list(current.items(delivered=False))
        chat_ctx.insert(current.items(delivered=True))
        said = [item for item in chat_ctx.items if isinstance(item, ChatMessage)][-1]
        if got:
            assert said.text_content == got
            assert said.interrupted is not (current.is_whole and delivered == len(pieces))
        assert len([item for item in whole if isinstance(item, FunctionCallOutput)]) == len(outputs)
    assert_valid(chat_ctx)


def test_times_do_not_go_back_when_the_clock_does() -> None:
    clock = MonotonicClock(9e9)

    assert clock.now() == 9e9
    clock.advance(9.5e9)
    assert clock.now() == 9.5e9


@pytest.mark.parametrize("nothing_first", [True, False])
def test_usage_that_is_not_known_adds_nothing(nothing_first: bool) -> None:
    usage = CompletionUsage(prompt_tokens=3, service_tier="flex")

    assert add_usage(None, None) is None
    assert add_usage(*((None, usage) if nothing_first else (usage, None))) == usage


def test_the_later_service_tier_counts() -> None:
    first = CompletionUsage(prompt_tokens=3, total_tokens=3, service_tier="flex")
    second = CompletionUsage(prompt_tokens=4, total_tokens=4, service_tier="default")

    assert add_usage(first, second) == CompletionUsage(
        prompt_tokens=7, total_tokens=7, service_tier="default"
    )
    assert add_usage(first, CompletionUsage()) == first
