"""A turn: rounds of answers and tool calls, and the conversation it leaves, whatever happens."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import json_repair
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lktrio import (
    LLM,
    AnswerRestarted,
    APIConnectionError,
    APIResponseFormatError,
    APIStatusError,
    CallReady,
    CallsMissing,
    ChatContext,
    ChatMessage,
    FallbackAdapter,
    FunctionCall,
    FunctionCallOutput,
    ReasoningDelta,
    RefusalDelta,
    RoundFinished,
    RunContext,
    StopResponse,
    TextDelta,
    Tool,
    ToolError,
    ToolFinished,
    ToolResult,
    Toolset,
    ToolStarted,
    Turn,
    function_tool,
    run_turn,
)
from lktrio._json import arguments as _arguments
from tests.support.conversations import assert_valid
from tests.support.engine import BASE_URL, ONCE, conversation, open_llm
from tests.support.leaks import no_leaks
from tests.support.matrix import CANCEL_BLOCK, CANCEL_WAIT, INTERRUPT, Cut, Series, advance, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Reset,
    ToolCall,
    Wait,
    error,
    finish,
    reasoning_chunk,
    refusal_chunk,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    tool_calls,
    usage,
)
from tests.support.several import open_models

ANSWER = text("It is ", "sunny.")


class Boom(Exception):
    """The caller's own."""


class Tools(Toolset):
    """Tools that keep a record of what they do."""

    def __init__(self) -> None:
        super().__init__(id="tools")
        self.running = 0
        self.log: list[str] = []
        self.scope = trio.CancelScope()
        self.begun_too_late = 0

    @function_tool
    async def sleep(self, seconds: float = 1.0, name: str = "") -> str:
        self.running += 1
        self.begun_too_late += self.scope.cancel_called
        self.log.append(f"{name} begins at {trio.current_time():g}")
        try:
            await trio.sleep(seconds)
            self.log.append(f"{name} ends at {trio.current_time():g}")
            return f"slept {seconds:g}"
        finally:
            self.running -= 1

    @function_tool
    async def fail(self) -> str:
        raise ToolError("no luck")

    @function_tool
    async def crash(self) -> str:
        raise Boom

    @function_tool(timeout=1)
    async def dawdle(self) -> str:
        await trio.sleep_forever()
        return "never"

    @function_tool
    async def stop(self) -> str:
        raise StopResponse

    @function_tool
    async def quiet(self) -> ToolResult:
        return ToolResult("done", reply_required=False)


def sleep_call(seconds: float = 1.0, name: str = "") -> ToolCall:
    return ToolCall("sleep", {"seconds": seconds, "name": name})


def spoken_calls(*calls: ToolCall, said: Sequence[str] = ("Let me ", "look.")) -> Exchange:
    """An answer of text and calls."""
    pieces = [text_chunk(piece) for piece in said]
    for index, call in enumerate(calls):
        pieces.append(
            tool_call_chunk(
                json.dumps(call.arguments),
                index=index,
                id=call.id or f"call_{index}",
                name=call.name,
            )
        )
    return sse(*pieces, finish("tool_calls"), usage(9, 3), DONE)


def start(llm: LLM, tools: Sequence[Tool[..., Any] | Toolset] | Toolset, **options: Any) -> Turn:
    options.setdefault("chat_ctx", conversation("How is the weather?"))
    options.setdefault("conn_options", ONCE)
    return run_turn(llm, tools=[tools] if isinstance(tools, Toolset) else tools, **options)


def shape(chat_ctx: ChatContext) -> list[str]:
    """The conversation in short."""
    lines: list[str] = []
    for item in chat_ctx.items:
        if isinstance(item, ChatMessage):
            lines.append(f"{item.role}: {item.text_content}{' -' if item.interrupted else ''}")
        elif isinstance(item, FunctionCall):
            lines.append(f"call {item.name}")
        else:
            assert isinstance(item, FunctionCallOutput)
            lines.append(f"{'error' if item.is_error else 'output'}: {item.output}")
    return lines


# --- What a turn does -----------------------------------------------------------------------------


async def test_an_answer_without_calls_is_one_round(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(ANSWER) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            got = [piece async for piece in turn.text]

    assert got == ["It is ", "sunny."]
    assert shape(turn.chat_ctx) == ["user: How is the weather?", "assistant: It is sunny."]
    assert turn.rounds == 1
    assert not turn.reached_max_rounds
    assert turn.last_response is not None
    assert turn.last_response.finish_reason == "stop"
    assert_valid(turn.chat_ctx)


async def test_text_calls_outputs_and_the_answer_in_their_order(autojump_clock: MockClock) -> None:
    script = [spoken_calls(sleep_call(), ToolCall("fail")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            events = [event async for event in turn]

        assert [event.type for event in events] == [
            "text",
            "text",
            "call_ready",
            "call_ready",
            *[event.type for event in events[4:8]],
            "round_finished",
            "text",
            "text",
            "round_finished",
        ]
        assert sorted(event.type for event in events[4:8]) == [
            "tool_finished",
            "tool_finished",
            "tool_started",
            "tool_started",
        ]
        assert [event.round for event in events] == [1] * 9 + [2] * 3
        assert shape(turn.chat_ctx) == [
            "user: How is the weather?",
            "assistant: Let me look.",
            "call sleep",
            "call fail",
            "output: slept 1",
            "error: no luck",
            "assistant: It is sunny.",
        ]
        sent = assert_valid(turn.chat_ctx)
        # The second request had what the conversation has, but for the answer to it.
        assert network.requests[1].json()["messages"] == sent[:-1]
        assert [message["role"] for message in sent] == [
            "user",
            "assistant",
            "tool",
            "tool",
            "assistant",
        ]
        assert sent[1]["content"] == "Let me look."
        assert len(sent[1]["tool_calls"]) == 2


async def test_the_events_have_the_items_of_the_conversation(autojump_clock: MockClock) -> None:
    script = [tool_calls(sleep_call(2, "a"), sleep_call(1, "b")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            events = [event async for event in turn]

    items = turn.chat_ctx.items
    ready = [event.call for event in events if isinstance(event, CallReady)]
    assert ready == items[1:3]
    assert {event.call.id for event in events if isinstance(event, ToolStarted)} == {
        item.id for item in items[1:3]
    }
    finished = [event for event in events if isinstance(event, ToolFinished)]
    assert [event.call for event in finished] == [items[2], items[1]]
    assert [event.result.fnc_call_out.id for event in finished] == [items[4].id, items[3].id]
    first, last = (event for event in events if isinstance(event, RoundFinished))
    assert [result.fnc_call_out for result in first.results] == items[3:5]
    assert first.response.finish_reason == "tool_calls"
    assert last.results == ()
    assert last.response.text == "It is sunny."


async def test_three_tools_that_sleep_a_second_take_a_second(autojump_clock: MockClock) -> None:
    script = [tool_calls(sleep_call(), sleep_call(), sleep_call()), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            async for _ in turn:
                pass
        assert trio.current_time() == 1


async def test_one_that_fails_one_that_times_out_and_one_that_is_unknown(
    autojump_clock: MockClock,
) -> None:
    script = [
        tool_calls(ToolCall("dawdle"), ToolCall("nope"), ToolCall("fail"), ToolCall("crash")),
        ANSWER,
    ]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            events = [event async for event in turn]

    assert shape(turn.chat_ctx)[5:9] == [
        "error: dawdle timed out after 1 second.",
        "error: There is no tool named 'nope'. The available tools are: sleep, fail, crash, dawdle, stop, quiet.",
        "error: no luck",
        "error: An internal error occurred",
    ]
    assert_valid(turn.chat_ctx)
    started = [event.call.name for event in events if isinstance(event, ToolStarted)]
    assert sorted(started) == ["crash", "dawdle", "fail"]


async def test_the_usage_is_that_of_all_rounds(autojump_clock: MockClock) -> None:
    script = [
        tool_calls(ToolCall("fail"), tokens=(10, 1)),
        tool_calls(ToolCall("fail"), tokens=None),
        text("Hi", tokens=(30, 3)),
    ]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            assert turn.usage is None
            async for _ in turn:
                pass

    assert turn.usage is not None
    assert (turn.usage.prompt_tokens, turn.usage.completion_tokens) == (40, 4)
    assert turn.usage.total_tokens == 44
    assert turn.rounds == 3


async def test_reasoning_and_refusals_are_told(autojump_clock: MockClock) -> None:
    answer = sse(
        reasoning_chunk("Hm."), refusal_chunk("I will "), refusal_chunk("not."), finish(), DONE
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with start(llm, ()) as turn:
            events = [event async for event in turn]

    assert events[:3] == [
        ReasoningDelta("Hm.", 1),
        RefusalDelta("I will ", 1),
        RefusalDelta("not.", 1),
    ]
    assert shape(turn.chat_ctx)[1:] == ["assistant: I will not."]


async def test_a_sync_tool_runs_in_a_thread_while_the_consumer_goes_on() -> None:
    release = threading.Event()

    @function_tool
    def block() -> str:
        release.wait()
        return "released"

    script = [tool_calls(ToolCall("block")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, [block]) as turn:
            async for event in turn:
                if isinstance(event, ToolStarted):
                    release.set()
    assert shape(turn.chat_ctx)[2] == "output: released"


async def test_a_raw_tool_and_the_run_context(autojump_clock: MockClock) -> None:
    seen: list[RunContext[Any]] = []

    @function_tool(raw_schema={"name": "raw", "parameters": {"type": "object"}})
    async def raw(raw_arguments: dict[str, object], ctx: RunContext[Any]) -> object:
        seen.append(ctx)
        return raw_arguments

    script = [tool_calls(ToolCall("raw", '{"a":1}', "call_x")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, [raw], userdata={"user": 1}) as turn:
            async for _ in turn:
                pass

    (context,) = seen
    assert context.userdata == {"user": 1}
    assert context.function_call == turn.chat_ctx.items[1]
    assert context.function_call.call_id == "call_x"
    assert context.chat_ctx is turn.chat_ctx
    assert shape(turn.chat_ctx)[2] == 'output: {"a": 1}'


async def test_what_a_tool_says_itself_is_sent_with_the_next_request(
    autojump_clock: MockClock,
) -> None:
    @function_tool
    async def learn(ctx: RunContext[None]) -> str:
        ctx.chat_ctx.add_message(role="system", content="Be brief.")
        return "ok"

    script = [tool_calls(ToolCall("learn")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, [learn]) as turn:
            async for _ in turn:
                pass
        roles = [message["role"] for message in network.requests[1].json()["messages"]]
    assert roles == ["user", "assistant", "tool", "system"]


@pytest.mark.parametrize(("limit", "seconds"), [(1, 3), (2, 2), (None, 1)])
async def test_no_more_tools_than_the_limit_run_at_once(
    autojump_clock: MockClock, limit: int | None, seconds: int
) -> None:
    script = [tool_calls(*[sleep_call(1, f"{n}") for n in range(3)]), ANSWER]
    tools = Tools()
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, tools, max_concurrency=limit) as turn:
            async for _ in turn:
                pass
        assert trio.current_time() == seconds
    if limit == 1:
        assert [line.split()[0] for line in tools.log] == ["0", "0", "1", "1", "2", "2"]


async def test_what_the_provider_attached_goes_back_to_it(autojump_clock: MockClock) -> None:
    signed = {"google": {"thought_signature": "s"}}
    call = {
        "index": 0,
        "id": "c",
        "type": "function",
        "function": {"name": "fail", "arguments": "{}"},
        "extra_content": signed,
    }
    answer = sse(
        b'data: {"choices":[{"index":0,"delta":{"extra_content":{"google":{"a":1}}}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[%s]}}]}\n\n'
        % json.dumps(call).encode(),
        finish("tool_calls"),
        DONE,
    )
    async with MemoryNetwork([answer, ANSWER]) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            async for _ in turn:
                pass
        _, assistant, _ = network.requests[1].json()["messages"]
    assert assistant["extra_content"] == {"google": {"a": 1}}
    assert assistant["tool_calls"][0]["extra_content"] == signed


async def test_a_call_that_was_cut_off_is_not_carried_out(autojump_clock: MockClock) -> None:
    answer = sse(
        text_chunk("Let me"),
        tool_call_chunk('{"seconds": 1', id="call_a", name="sleep"),
        finish("length"),
        DONE,
    )
    tools = Tools()
    async with MemoryNetwork([answer]) as network, open_llm(network) as llm:
        async with start(llm, tools) as turn:
            async for _ in turn:
                pass

    assert tools.log == []
    assert turn.last_response is not None
    assert turn.last_response.truncated
    assert shape(turn.chat_ctx)[1:] == ["assistant: Let me"]


CUT_CALL = tool_call_chunk('{"seconds": 1', id="call_a", name="sleep")
WHOLE_CALL = tool_call_chunk("{}", index=1, id="call_b", name="fail")


@pytest.mark.parametrize(
    ("pieces", "reason", "withheld", "rounds"),
    [
        ([CUT_CALL, finish("tool_calls")], "tool_calls", ["call_a"], 1),
        ([text_chunk("Hm."), finish("tool_calls")], "tool_calls", [], 1),
        ([finish("tool_calls")], "tool_calls", [], 1),
        ([finish("function_call")], "function_call", [], 1),
        ([CUT_CALL, finish("stop")], "stop", ["call_a"], 1),
        ([CUT_CALL], None, ["call_a"], 1),
        ([CUT_CALL, finish("length")], "length", ["call_a"], 1),
        ([CUT_CALL, WHOLE_CALL, finish("tool_calls")], "tool_calls", ["call_a"], 2),
    ],
)
async def test_calls_that_do_not_come_whole_are_said_to_be_missing(
    *,
    pieces: list[bytes],
    reason: str | None,
    withheld: list[str],
    rounds: int,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = [sse(*pieces, DONE), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            events = [event async for event in turn]
    assert turn.rounds == rounds
    (missing,) = [event for event in events if isinstance(event, CallsMissing)]
    assert missing.type == "calls_missing"
    assert missing.round == 1
    assert missing.finish_reason == reason
    assert [call.call_id for call in missing.withheld_calls] == withheld
    # Before the round is said to be over.
    (first, *_) = [event for event in events if isinstance(event, RoundFinished)]
    assert events.index(missing) < events.index(first)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "sleep" in record.message or not withheld


async def test_nothing_is_missing_otherwise(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    script = [spoken_calls(ToolCall("fail")), text("Half", finish_reason="length")]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            assert not [event async for event in turn if isinstance(event, CallsMissing)]
    assert caplog.records == []


async def test_a_structured_answer_comes_after_the_calls(autojump_clock: MockClock) -> None:
    @attrs.frozen
    class Weather:
        sky: str

    script = [tool_calls(ToolCall("fail")), text('{"sky":', ' "blue"}')]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools(), response_format=Weather) as turn:
            async for _ in turn:
                pass
    assert turn.last_response is not None
    assert turn.last_response.parsed == Weather("blue")


async def test_an_answer_that_is_not_of_the_shape_is_kept_and_raised(
    autojump_clock: MockClock,
) -> None:
    @attrs.frozen
    class Weather:
        sky: str

    async with MemoryNetwork([text("No.")]) as network, open_llm(network) as llm:
        async with start(llm, Tools(), response_format=Weather) as turn:
            with pytest.raises(APIResponseFormatError):
                async for _ in turn:
                    pass
    assert shape(turn.chat_ctx)[1:] == ["assistant: No."]


# --- When a turn is over --------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [["stop"], ["quiet"], ["stop", "quiet"]])
async def test_no_reply_is_asked_for_when_no_output_wants_one(
    autojump_clock: MockClock, calls: list[str]
) -> None:
    async with (
        MemoryNetwork([tool_calls(*map(ToolCall, calls))]) as network,
        open_llm(network) as llm,
    ):
        async with start(llm, Tools()) as turn:
            async for _ in turn:
                pass
    assert turn.rounds == 1
    assert_valid(turn.chat_ctx)


async def test_one_output_that_wants_a_reply_is_enough(autojump_clock: MockClock) -> None:
    script = [tool_calls(ToolCall("stop"), ToolCall("fail")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            async for _ in turn:
                pass
    assert shape(turn.chat_ctx)[3:] == ["output: ", "error: no luck", "assistant: It is sunny."]


async def test_the_last_round_may_not_call_and_ends_in_an_answer(autojump_clock: MockClock) -> None:
    script = [tool_calls(ToolCall("fail")), tool_calls(ToolCall("fail")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools(), max_rounds=3) as turn:
            async for _ in turn:
                pass
        choices = [request.json().get("tool_choice") for request in network.requests]
    assert choices == [None, "auto", "none"]
    assert turn.reached_max_rounds
    assert shape(turn.chat_ctx)[-1] == "assistant: It is sunny."


async def test_calls_in_the_last_round_are_not_carried_out(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = tool_calls(sleep_call())
    tools = Tools()
    async with MemoryNetwork(stubborn) as network, open_llm(network) as llm:
        async with start(llm, tools, max_rounds=3) as turn:
            events = [event async for event in turn]
        assert len(network.requests) == 3

    assert len([line for line in tools.log if "begins" in line]) == 2
    assert [event.type for event in events if event.round == 3] == [
        "call_ready",
        "tool_finished",
        "round_finished",
    ]
    assert "too many rounds" in shape(turn.chat_ctx)[-1]
    assert "last of 3 rounds" in caplog.text
    assert_valid(turn.chat_ctx)


async def test_a_turn_of_one_round_offers_no_call(autojump_clock: MockClock) -> None:
    async with MemoryNetwork([ANSWER]) as network, open_llm(network) as llm:
        async with start(llm, Tools(), max_rounds=1) as turn:
            async for _ in turn:
                pass
        assert network.requests[0].json()["tool_choice"] == "none"


@pytest.mark.parametrize(
    "options",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "fail"}}},
        {"extra_kwargs": {"tool_choice": "required"}},
    ],
    ids=["required", "named", "in extra_kwargs"],
)
async def test_a_forced_choice_is_for_the_first_round(
    autojump_clock: MockClock, options: dict[str, Any]
) -> None:
    script = [tool_calls(ToolCall("fail")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools(), **options) as turn:
            async for _ in turn:
                pass
        first, second = (request.json()["tool_choice"] for request in network.requests)
    assert first in ("required", {"type": "function", "function": {"name": "fail"}})
    assert second == "auto"


async def test_a_choice_forced_by_the_models_settings_is_for_the_first_round_too(
    autojump_clock: MockClock,
) -> None:
    script = [tool_calls(ToolCall("fail")), ANSWER]
    async with MemoryNetwork(script) as network:
        async with open_llm(network, extra_kwargs={"tool_choice": "required"}) as llm:
            async with start(llm, Tools()) as turn:
                async for _ in turn:
                    pass
        assert [request.json()["tool_choice"] for request in network.requests] == [
            "required",
            "auto",
        ]


async def test_a_choice_of_no_call_stays(autojump_clock: MockClock) -> None:
    script = [tool_calls(ToolCall("fail")), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools(), tool_choice="none") as turn:
            async for _ in turn:
                pass
        assert [request.json()["tool_choice"] for request in network.requests] == ["none", "none"]


async def test_an_empty_answer_leaves_nothing(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(sse(finish(), DONE)) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            events = [event async for event in turn]
    assert [event.type for event in events] == ["round_finished"]
    assert shape(turn.chat_ctx) == ["user: How is the weather?"]


# --- Interruption ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["break", "raise", "cancel", "aclose"])
async def test_leaving_in_the_middle_of_a_text_keeps_what_was_said(
    autojump_clock: MockClock, how: str
) -> None:
    answer = text("It ", "is ", "sunny.", every=1)
    with no_leaks():
        async with MemoryNetwork(answer) as network, open_llm(network) as llm:
            with trio.CancelScope() as scope, contextlib.suppress(Boom):
                async with start(llm, Tools()) as turn:
                    async for event in turn:
                        assert isinstance(event, TextDelta)
                        if event.text != "is ":
                            continue
                        if how == "raise":
                            raise Boom
                        if how == "cancel":
                            scope.cancel()
                            continue
                        if how == "aclose":
                            await turn.aclose()
                            assert shape(turn.chat_ctx)[1:] == ["assistant: It is  -"]
                        break
            network.assert_quiet()

    assert shape(turn.chat_ctx)[1:] == ["assistant: It is  -"]
    assert_valid(turn.chat_ctx)


async def test_text_that_the_consumer_has_not_got_is_not_kept(autojump_clock: MockClock) -> None:
    script = [
        spoken_calls(sleep_call(1, "a"), sleep_call(2, "b"), said=["Let ", "me ", "look."]),
        spoken_calls(sleep_call(1, "c")),
        ANSWER,
    ]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            await anext(turn)
            await anext(turn)
            # Meanwhile the whole turn goes by.
            await trio.sleep(5)
            assert shape(turn.chat_ctx) == ["user: How is the weather?"]
            assert turn.rounds == 3
        # The model had all that it had said itself.
        roles = [message["role"] for message in network.requests[2].json()["messages"]]
        assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool"]
        assert network.requests[1].json()["messages"][1]["content"] == "Let me look."

    assert shape(turn.chat_ctx)[1:] == [
        "assistant: Let me  -",
        "call sleep",
        "call sleep",
        "output: slept 1",
        "output: slept 2",
        "call sleep",
        "output: slept 1",
    ]
    assert_valid(turn.chat_ctx)


async def test_a_break_after_all_was_said_is_no_interruption(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(ANSWER) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            async for piece in turn.text:
                if piece == "sunny.":
                    await trio.sleep(1)  # the finish reason arrives
                    break
    assert shape(turn.chat_ctx)[1:] == ["assistant: It is sunny."]


@pytest.mark.parametrize(
    ("characters", "kept"),
    [
        (0, []),
        (4, ["assistant: Let  -"]),
        (12, ["assistant: Let me look."]),
        (18, ["assistant: Let me look.", "assistant: It is  -"]),
        (24, ["assistant: Let me look.", "assistant: It is sunny."]),
        (99, ["assistant: Let me look.", "assistant: It is sunny."]),
    ],
)
async def test_the_conversation_keeps_what_was_spoken_of_what_was_delivered(
    autojump_clock: MockClock, characters: int, kept: list[str]
) -> None:
    async with MemoryNetwork([spoken_calls(sleep_call(1)), ANSWER]) as network:
        async with open_llm(network) as llm, start(llm, Tools()) as turn:
            turn.set_spoken(0)
            async for _ in turn:
                pass
            assert shape(turn.chat_ctx)[-1] == "assistant: It is sunny."
            turn.set_spoken(characters)

    said = shape(turn.chat_ctx)[1:]
    assert [line for line in said if line.startswith("assistant")] == kept
    assert [line for line in said if not line.startswith("assistant")] == [
        "call sleep",
        "output: slept 1",
    ]
    assert_valid(turn.chat_ctx)


@pytest.mark.parametrize("how", ["cancel", "aclose", "error"])
async def test_what_was_spoken_is_kept_however_the_turn_ends(
    autojump_clock: MockClock, how: str
) -> None:
    answer = sse(text_chunk("It is "), text_chunk("sun"), end=False)
    script = answer.then(Hold()) if how != "error" else answer.then(Wait(1), Reset())
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        left = (APIConnectionError, trio.ClosedResourceError)
        with trio.move_on_after(2), contextlib.suppress(*left):
            async with start(llm, Tools()) as turn:
                turn.set_spoken(2)
                assert await anext(turn.text) == "It is "
                assert await anext(turn.text) == "sun"
                if how == "aclose":
                    await turn.aclose()
                    assert shape(turn.chat_ctx)[1:] == ["assistant: It -"]
                try:
                    await anext(turn)
                finally:
                    if how == "error":
                        # What had arrived is still being spoken.
                        assert shape(turn.chat_ctx)[1:] == ["assistant: It is sun -"]
                        turn.set_spoken(5)
        network.assert_quiet()

    assert shape(turn.chat_ctx)[1:] == [
        "assistant: It is -" if how == "error" else "assistant: It -"
    ]
    assert_valid(turn.chat_ctx)


async def test_calls_keep_what_was_attached_to_an_answer_that_nobody_heard(
    autojump_clock: MockClock,
) -> None:
    answer = sse(
        b'data: {"choices":[{"index":0,"delta":{"extra_content":{"google":{"a":1}}}}]}\n\n',
        text_chunk("Let me look."),
        tool_call_chunk("{}", id="c", name="fail"),
        finish("tool_calls"),
        DONE,
    )
    async with MemoryNetwork([answer, ANSWER]) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            turn.set_spoken(0)
            async for _ in turn:
                pass

    message = turn.chat_ctx.items[1]
    assert isinstance(message, ChatMessage)
    assert (message.content, message.interrupted) == ([], True)
    assert message.extra == {"google": {"a": 1}}
    assert shape(turn.chat_ctx)[2:] == ["call fail", "error: no luck"]
    assert_valid(turn.chat_ctx)


async def test_what_an_answer_that_began_anew_made_void_does_not_count_as_spoken(
    autojump_clock: MockClock,
) -> None:
    lost = sse(text_chunk("It rains"), end=False).then(Reset())
    async with open_models(lost, ANSWER) as models:
        model = FallbackAdapter(models.llms, restart_after_output=True)
        async with run_turn(model, chat_ctx=conversation(), conn_options=ONCE) as turn:
            turn.set_spoken(8)
            async for event in turn:
                if isinstance(event, AnswerRestarted):
                    turn.set_spoken(5)

    assert shape(turn.chat_ctx)[1:] == ["assistant: It is -"]


async def test_a_message_that_the_program_has_changed_is_not_cut(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(ANSWER) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            turn.set_spoken(2)
            async for _ in turn:
                pass
            message = turn.chat_ctx.messages()[-1]
            turn.chat_ctx.replace(message, attrs.evolve(message, content=["Sun!"]))

    assert shape(turn.chat_ctx)[1:] == ["assistant: Sun!"]


async def test_what_was_spoken_is_a_number_of_an_open_turn(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(ANSWER) as network, open_llm(network) as llm:
        turn = start(llm, Tools())
        with pytest.raises(RuntimeError, match="async with run_turn"):
            turn.set_spoken(0)
        async with turn:
            with pytest.raises(
                ValueError, match="characters=-1 is not accepted; it takes an integer, 0 or"
            ):
                turn.set_spoken(-1)
            for wrong in (True, 1.5, "one"):
                with pytest.raises(TypeError, match=r"characters=.* it takes an integer"):
                    turn.set_spoken(wrong)  # type: ignore[arg-type]
        with pytest.raises(trio.ClosedResourceError):
            turn.set_spoken(0)


async def test_a_tool_that_is_interrupted_has_an_output_that_says_so(
    autojump_clock: MockClock,
) -> None:
    script = [spoken_calls(sleep_call(1), sleep_call(60), sleep_call(1))]
    tools = Tools()
    with no_leaks():
        async with MemoryNetwork(script) as network, open_llm(network) as llm:
            with trio.move_on_after(1.5):
                async with start(llm, tools, max_concurrency=1) as turn:
                    async for _ in turn:
                        pass
            network.assert_quiet()

    assert tools.running == 0
    assert shape(turn.chat_ctx)[1:] == [
        "assistant: Let me look.",
        "call sleep",
        "call sleep",
        "call sleep",
        "output: slept 1",
        "error: The call was interrupted. Whether it had an effect is not known.",
        "error: The call was not carried out: everything was interrupted before.",
    ]
    assert_valid(turn.chat_ctx)


async def test_the_thread_of_a_sync_tool_is_waited_for_and_its_result_kept() -> None:
    release = threading.Event()
    scope = trio.CancelScope()

    @function_tool
    def block() -> str:
        release.wait()
        return "released"

    async def release_after_the_cancel(cancelled: trio.Event) -> None:
        await cancelled.wait()
        await trio.testing.wait_all_tasks_blocked()
        release.set()

    async with MemoryNetwork([tool_calls(ToolCall("block"))]) as network, open_llm(network) as llm:
        async with trio.open_nursery() as nursery:
            cancelled = trio.Event()
            nursery.start_soon(release_after_the_cancel, cancelled)
            with scope:
                async with start(llm, [block]) as turn:
                    async for event in turn:
                        if isinstance(event, ToolStarted):
                            await trio.testing.wait_all_tasks_blocked()
                            scope.cancel()
                            cancelled.set()
    assert shape(turn.chat_ctx)[2:] == ["output: released"]


async def test_a_tool_left_in_its_thread_is_interrupted() -> None:
    release = threading.Event()

    @function_tool(abandon_on_cancel=True)
    def block() -> str:
        release.wait()
        return "released"

    async with MemoryNetwork([tool_calls(ToolCall("block"))]) as network, open_llm(network) as llm:
        async with start(llm, [block]) as turn:
            async for event in turn:
                if isinstance(event, ToolStarted):
                    break
        assert "interrupted" in shape(turn.chat_ctx)[2]
        release.set()


async def test_a_wait_that_is_given_up_loses_nothing(autojump_clock: MockClock) -> None:
    script = [spoken_calls(sleep_call(2)), text("It ", "is ", "sunny.", every=0.7)]
    got: list[str] = []
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            while True:
                with trio.move_on_after(0.3):
                    try:
                        event = await anext(turn)
                    except StopAsyncIteration:
                        break
                    got.append(getattr(event, "text", ""))
    assert "".join(got) == "Let me look.It is sunny."
    assert_valid(turn.chat_ctx)


async def test_a_consumer_that_stops_reading_stops_the_model(autojump_clock: MockClock) -> None:
    flood = sse(*[text_chunk("x" * 1000) for _ in range(2000)], finish(), DONE)
    async with MemoryNetwork(flood) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            await trio.sleep(1000)
            assert network.connections[0].bytes_sent < 10 * 64 * 1024
            assert sum([len(piece) async for piece in turn.text]) == 2_000_000


# --- Failure --------------------------------------------------------------------------------------


async def test_an_error_in_the_first_round_is_bare_and_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork([error(400)]) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            with pytest.raises(APIStatusError) as caught:
                async for _ in turn:
                    pass
            assert turn.error is caught.value
    assert shape(turn.chat_ctx) == ["user: How is the weather?"]


async def test_an_error_in_the_second_round_leaves_the_first_and_what_was_said(
    autojump_clock: MockClock,
) -> None:
    script = [spoken_calls(sleep_call()), sse(text_chunk("It is "), end=False).then(Reset())]
    got: list[str] = []
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            with pytest.raises(APIConnectionError) as caught:
                async for piece in turn.text:
                    got += [piece]
            # The conversation can be gone on with at once.
            assert shape(turn.chat_ctx)[1:] == [
                "assistant: Let me look.",
                "call sleep",
                "output: slept 1",
                "assistant: It is  -",
            ]
            assert_valid(turn.chat_ctx)
    assert got == ["Let me ", "look.", "It is "]
    assert caught.value.partial.text == "It is "
    assert caught.value.__cause__ is None or not isinstance(
        caught.value.__cause__, BaseExceptionGroup
    )
    assert turn.usage is not None


async def test_a_failure_nobody_looked_at_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with MemoryNetwork([error(400)]) as network, open_llm(network) as llm:
        async with start(llm, Tools()):
            await trio.sleep(1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_mistake_that_shows_in_a_later_round_is_raised_as_it_is(
    autojump_clock: MockClock,
) -> None:
    @function_tool
    async def spoil(ctx: RunContext[None]) -> str:
        ctx.chat_ctx.add_message(role="user", content="half \ud83d")
        return "ok"

    async with MemoryNetwork([tool_calls(ToolCall("spoil"))]) as network, open_llm(network) as llm:
        async with start(llm, [spoil]) as turn:
            with pytest.raises(ValueError, match="surrogate"):
                async for _ in turn:
                    pass


async def test_a_bug_of_ours_is_raised_as_it_is(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("bug")

    monkeypatch.setattr("lktrio._turns.execution.returned", broken)
    script = [tool_calls(sleep_call(1), sleep_call(1))]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            with pytest.raises(LookupError, match="bug"):
                async for _ in turn:
                    pass
    assert_valid(turn.chat_ctx)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_comes_out_of_the_block_bare(
    autojump_clock: MockClock, ending: type[BaseException]
) -> None:
    @function_tool
    async def end() -> str:
        raise ending

    async with (
        MemoryNetwork([tool_calls(ToolCall("end"), sleep_call(9))]) as network,
        open_llm(network) as llm,
    ):
        with pytest.raises(ending):
            async with start(llm, [end, Tools()]) as turn:
                async for _ in turn:
                    pass
        network.assert_quiet()
    assert_valid(turn.chat_ctx)


async def test_the_bodys_own_exception_leaves_as_it_is(autojump_clock: MockClock) -> None:
    script = [tool_calls(sleep_call(9))]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        with trio.CancelScope() as scope, pytest.raises(Boom):
            async with start(llm, Tools()) as turn:
                async for event in turn:
                    if isinstance(event, ToolStarted):
                        scope.cancel()
                        raise Boom
    assert_valid(turn.chat_ctx)


@pytest.mark.parametrize("events", range(7))
async def test_an_answer_that_another_model_begins_anew(
    autojump_clock: MockClock, events: int
) -> None:
    breaks = sse(text_chunk("It is "), text_chunk("rai"), end=False).then(Reset())
    async with open_models(breaks, ANSWER) as models:
        model = FallbackAdapter(models.llms, restart_after_output=True)
        async with run_turn(model, chat_ctx=conversation()) as turn:
            got = [(await anext(turn)).type for _ in range(events)]
            await trio.sleep(1)
    assert got == ["text", "text", "answer_restarted", "text", "text", "round_finished"][:events]
    assert (
        shape(turn.chat_ctx)[1:]
        == [
            [],
            ["assistant: It is  -"],
            ["assistant: It is rai -"],
            [],
            ["assistant: It is  -"],
            ["assistant: It is sunny."],
            ["assistant: It is sunny."],
        ][events]
    )


# --- Early start ----------------------------------------------------------------------------------

EARLY = sse(
    tool_call_chunk('{"seconds": 1, "name": "a"}', index=0, id="call_a", name="sleep"),
    tool_call_chunk("", index=1, id="call_b", name="sleep"),
    Wait(3),
    tool_call_chunk('{"seconds": 1, "name": "b"}', index=1),
    text_chunk("Just a moment."),
    Wait(3),
    finish("tool_calls"),
    usage(9, 3),
    DONE,
)


@pytest.mark.parametrize("early", [True, False])
async def test_a_tool_may_begin_before_the_answer_is_over(
    autojump_clock: MockClock, early: bool
) -> None:
    tools = Tools()
    async with MemoryNetwork([EARLY, ANSWER]) as network, open_llm(network) as llm:
        async with start(llm, tools, early_start=early) as turn:
            async for _ in turn:
                pass
        took = trio.current_time()

    if early:
        assert tools.log == ["a begins at 0", "a ends at 1", "b begins at 3", "b ends at 4"]
        assert took == 6
    else:
        assert sorted(tools.log) == ["a begins at 6", "a ends at 7", "b begins at 6", "b ends at 7"]
        assert took == 7
    assert shape(turn.chat_ctx)[1:] == [
        "assistant: Just a moment.",
        "call sleep",
        "call sleep",
        "output: slept 1",
        "output: slept 1",
        "assistant: It is sunny.",
    ]
    assert len(assert_valid(turn.chat_ctx)) == 5


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("written", "repairs"),
    [
        ('{"seconds": 1, "name": "a"}', 0),
        ('{"seconds": 1, "name": "a",}', 0),
        ("{'seconds': 1, 'name': 'a'}", 1),
        ('```json\n{"seconds": 1, name: "a"}\n```', 1),
    ],
)
async def test_the_arguments_of_a_call_are_parsed_once(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    repairs: int,
    early: bool,
) -> None:
    read: list[str] = []
    decoded: list[str] = []
    repaired: list[str] = []
    monkeypatch.setattr(_arguments, "parse_arguments", noting(_arguments.parse_arguments, read))
    monkeypatch.setattr(json.JSONDecoder, "decode", noting(json.JSONDecoder.decode, decoded))
    monkeypatch.setattr(json_repair, "loads", noting(json_repair.loads, repaired))
    answer = sse(
        tool_call_chunk(written, index=0, id="call_a", name="sleep"),
        text_chunk("Just a moment."),
        finish("tool_calls"),
        DONE,
    )
    tools = Tools()
    async with MemoryNetwork([answer, ANSWER]) as network, open_llm(network) as llm:
        async with start(llm, tools, early_start=early) as turn:
            async for _ in turn:
                pass

    assert tools.log == ["a begins at 0", "a ends at 1"]
    assert read == [written]
    assert len(repaired) == repairs
    # To let a call go early, the assembler looks whether it is JSON; nobody gets what it sees.
    texts = [text for text in decoded if "seconds" in text]
    assert texts.count(written) == (2 if early else 1)
    assert len(texts) - texts.count(written) <= 1  # what is left when commas are taken out


def noting(function: Callable[..., Any], texts: list[str]) -> Callable[..., Any]:
    """Note the text that a function is given, wherever it comes among the arguments."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        texts.extend(arg for arg in args if isinstance(arg, str))
        return function(*args, **kwargs)

    return noted


async def test_a_call_that_has_begun_is_frozen(autojump_clock: MockClock) -> None:
    comes_back = sse(
        tool_call_chunk('{"seconds": 1, "name": "a"}', index=0, id="call_a", name="sleep"),
        text_chunk("Moment."),
        Wait(2),
        tool_call_chunk(', "more": 1}', index=0),
        finish("tool_calls"),
        DONE,
    )
    tools = Tools()
    async with MemoryNetwork([comes_back]) as network, open_llm(network) as llm:
        async with start(llm, tools, early_start=True) as turn:
            with pytest.raises(APIConnectionError):
                async for _ in turn:
                    pass
    assert tools.log == ["a begins at 0", "a ends at 1"]
    assert shape(turn.chat_ctx)[1:] == ["assistant: Moment. -", "call sleep", "output: slept 1"]
    assert_valid(turn.chat_ctx)


async def test_an_early_tool_that_runs_when_the_answer_breaks_off_is_stopped(
    autojump_clock: MockClock,
) -> None:
    breaks = sse(
        tool_call_chunk('{"seconds": 9}', index=0, id="call_a", name="sleep"),
        text_chunk("Moment."),
        Wait(2),
        end=False,
    ).then(Reset())
    tools = Tools()
    async with MemoryNetwork([breaks]) as network, open_llm(network) as llm:
        async with start(llm, tools, early_start=True) as turn:
            with pytest.raises(APIConnectionError):
                async for _ in turn:
                    pass
        assert trio.current_time() == 2
    assert tools.running == 0
    assert "interrupted" in shape(turn.chat_ctx)[-1]
    assert_valid(turn.chat_ctx)


# --- The conversation -----------------------------------------------------------------------------


async def test_the_turn_stands_behind_what_was_there_whatever_the_clocks_say(
    autojump_clock: MockClock,
) -> None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="From a machine whose clock is fast.", created_at=9e9)
    script = [spoken_calls(sleep_call()), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools(), chat_ctx=chat_ctx) as turn:
            async for _ in turn:
                pass
    assert [line.split()[0] for line in shape(chat_ctx)] == [
        "user:",
        "assistant:",
        "call",
        "output:",
        "assistant:",
    ]
    assert_valid(chat_ctx)


async def test_an_empty_conversation_will_do(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(ANSWER) as network, open_llm(network) as llm:
        async with start(llm, None, chat_ctx=ChatContext()) as turn:
            async for _ in turn:
                pass
    assert shape(turn.chat_ctx) == ["assistant: It is sunny."]


async def test_what_is_said_meanwhile_keeps_its_place(autojump_clock: MockClock) -> None:
    script = [spoken_calls(sleep_call()), ANSWER]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn:
            async for event in turn:
                if isinstance(event, ToolStarted):
                    turn.chat_ctx.add_message(role="user", content="Hello?")
    assert [line.split()[0] for line in shape(turn.chat_ctx)] == [
        "user:",
        "assistant:",
        "call",
        "user:",
        "output:",
        "assistant:",
    ]
    assert_valid(turn.chat_ctx)


async def test_two_turns_one_after_the_other(autojump_clock: MockClock) -> None:
    chat_ctx = conversation()
    async with (
        MemoryNetwork([spoken_calls(sleep_call()), ANSWER] * 2) as network,
        open_llm(network) as llm,
    ):
        for _ in range(2):
            chat_ctx.add_message(role="user", content="And now?")
            async with start(llm, Tools(), chat_ctx=chat_ctx) as turn:
                async for _ in turn:
                    pass
    assert len(assert_valid(chat_ctx)) == 9


# --- Misuse and bad input -------------------------------------------------------------------------


async def test_the_lifetime_is_that_of_a_stream(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(ANSWER) as network, open_llm(network) as llm:
        turn = start(llm, Tools())
        with pytest.raises(RuntimeError, match=r"async with run_turn"):
            await anext(turn)
        with pytest.raises(RuntimeError, match="turn was not entered"):
            await turn.__aexit__(None, None, None)
        awaited: Any = turn
        with pytest.raises(TypeError, match=r"a turn is not awaited; .*async with run_turn"):
            await awaited
        assert network.connect_attempts == []
        assert repr(turn) == "<Turn test-model new, 0 rounds, 0 events>"
        async with turn:
            with pytest.raises(RuntimeError, match=r"entered once.*run_turn\(\)"):
                await turn.__aenter__()
        for use in (lambda: anext(turn), lambda: anext(turn.text)):
            with pytest.raises(trio.ClosedResourceError, match="turn was left"):
                await use()
    assert len(turn.tools) == 1


async def test_two_tasks_waiting_in_one_turn(autojump_clock: MockClock) -> None:
    silent = sse(text_chunk("Hm"), Hold())
    async with MemoryNetwork(silent) as network, open_llm(network) as llm:
        async with start(llm, Tools()) as turn, trio.open_nursery() as nursery:
            await anext(turn)
            nursery.start_soon(turn.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="turn"):
                await anext(turn)
            nursery.cancel_scope.cancel()


async def test_leaving_in_another_task_is_refused(autojump_clock: MockClock) -> None:
    async with MemoryNetwork([tool_calls(sleep_call(9))]) as network, open_llm(network) as llm:
        tools = Tools()
        async with start(llm, tools) as turn:
            async for event in turn:
                if isinstance(event, ToolStarted):
                    break

            async def leave() -> None:
                with pytest.raises(RuntimeError, match="task that entered it"):
                    await turn.__aexit__(None, None, None)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave)
            await trio.testing.wait_all_tasks_blocked()
            assert tools.running == 0
        assert_valid(turn.chat_ctx)


async def test_a_model_that_was_not_entered(autojump_clock: MockClock) -> None:
    llm = LLM("m", base_url=BASE_URL, auth=None)
    with pytest.raises(RuntimeError, match=r"async with LLM"):
        async with start(llm, Tools()):
            pass


@pytest.mark.parametrize(
    ("options", "error_type", "text"),
    [
        ({"model": "openai/gpt-4.1"}, TypeError, "model must be a ChatModel"),
        ({"chat_ctx": []}, TypeError, "chat_ctx must be a ChatContext"),
        ({"chat_ctx": ChatContext().snapshot()}, ValueError, r"read-only.*copy\(\)"),
        ({"max_rounds": 0}, ValueError, "max_rounds=0"),
        ({"max_rounds": True}, TypeError, "max_rounds=True"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency=0"),
        ({"max_rounds": 1, "tool_choice": "required"}, ValueError, "at least 2"),
        ({"tools": [len]}, TypeError, "function_tool"),
        ({"tools": Tools()}, TypeError, "tools=<Tools 'tools'> is no list of tools; give"),
        ({"extra_kwargs": {"temprature": 1}}, ValueError, "temperature"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, ValueError, "'x'"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_bad_input_is_refused_at_the_call(
    options: dict[str, Any], error_type: type[Exception], text: str
) -> None:
    llm = LLM("m", base_url=BASE_URL, auth=None)
    given: dict[str, Any] = {"chat_ctx": conversation(), "tools": [Tools()], **options}
    with pytest.raises(error_type, match=text):
        run_turn(given.pop("model", llm), **given)


# --- The matrix: cut at every task step -----------------------------------------------------------


@attrs.frozen
class Scenario:
    """What the program does, against which server."""

    script: Sequence[Exchange]
    options: dict[str, Any] = attrs.field(factory=dict)
    leave: Callable[[Any], bool] = lambda _: False
    """After which event the program leaves the block."""
    pause: float = 0
    """Seconds the program takes for each event."""


SCENARIOS = {
    "two rounds": Scenario(
        [spoken_calls(sleep_call(1, "a"), sleep_call(2, "b")), text("It is ", "sunny.", every=0.5)]
    ),
    "one at a time": Scenario(
        [tool_calls(sleep_call(1), ToolCall("fail"), every=0.1), ANSWER], {"max_concurrency": 1}
    ),
    "early start": Scenario([EARLY, ANSWER], {"early_start": True}),
    "slow consumer": Scenario([spoken_calls(sleep_call(1)), ANSWER], pause=0.7),
    "break": Scenario(
        [spoken_calls(sleep_call(1), sleep_call(3)), ANSWER],
        leave=lambda event: isinstance(event, ToolFinished),
    ),
    "timeout and stop": Scenario(
        [tool_calls(ToolCall("dawdle"), ToolCall("stop"), ToolCall("nope")), ANSWER]
    ),
    "error": Scenario(
        [spoken_calls(sleep_call(1)), sse(text_chunk("It"), end=False).then(Reset())]
    ),
}


def runs(scenario: Scenario) -> Callable[[Cut], Any]:
    async def run(cut: Cut) -> str:
        tools = Tools()
        tools.scope = cut.scope
        chat_ctx = conversation()
        got: list[str] = []
        result = "cut"
        async with MemoryNetwork(scenario.script) as network:
            async with open_llm(network) as llm:
                try:
                    with cut.watched(), cut.scope:
                        async with start(llm, tools, chat_ctx=chat_ctx, **scenario.options) as turn:
                            await _consume(turn, scenario, cut, got)
                        result = "over"
                except APIConnectionError:
                    result = "error"
                finally:
                    assert tools.running == tools.begun_too_late == 0
                    assert_valid(chat_ctx)
                    said = [item for item in chat_ctx.items[1:] if isinstance(item, ChatMessage)]
                    assert "".join(item.text_content or "" for item in said) == "".join(got)
                network.assert_quiet()
        return result

    return run


async def _consume(turn: Turn, scenario: Scenario, cut: Cut, got: list[str]) -> None:
    while True:
        event = None
        with cut.one_wait():
            try:
                event = await anext(turn)
            except StopAsyncIteration:
                return
        if isinstance(event, TextDelta):
            got.append(event.text)
        if event is not None and scenario.leave(event):
            return
        if scenario.pause:
            await trio.sleep(scenario.pause)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_the_block_leaves_a_valid_conversation(name: str, series: Series) -> None:
    outcome = sweep(runs(SCENARIOS[name]), CANCEL_BLOCK, series)

    assert outcome.undisturbed == ("error" if name == "error" else "over")
    assert "cut" in outcome.results


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", ["two rounds", "early start", "slow consumer"])
def test_cancelling_one_wait_loses_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(SCENARIOS[name]), CANCEL_WAIT, series)

    assert set(outcome.results) == {outcome.undisturbed}


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", ["two rounds", "one at a time", "early start"])
def test_ctrl_c_is_bare_and_leaves_a_valid_conversation(name: str, series: Series) -> None:
    sweep(runs(SCENARIOS[name]), INTERRUPT, series)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", ["two rounds", "early start"])
def test_a_clock_that_fires_leaves_a_valid_conversation(name: str, series: Series) -> None:
    outcome = sweep(runs(SCENARIOS[name]), advance(60), series)

    assert "error" in outcome.results
