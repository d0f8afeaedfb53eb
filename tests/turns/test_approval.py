"""`run_turn(approve=...)`: the program is asked about a call before anything of it runs."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    ChatContext,
    FunctionCall,
    FunctionCallOutput,
    FunctionCallResult,
    Instrument,
    PendingCall,
    StopResponse,
    Tool,
    ToolError,
    ToolFinished,
    ToolResult,
    ToolStarted,
    Turn,
    function_tool,
    run_turn,
)
from lktrio.testing import (
    DONE,
    Reply,
    Reset,
    ScriptedGateway,
    Wait,
    chunk,
    events,
    reply,
    tool_call,
)
from tests.support.conversations import assert_valid
from tests.support.matrix import CANCEL_BLOCK, CANCEL_WAIT, INTERRUPT, Cut, Series, sweep

ANSWER = reply("Done.")


@attrs.frozen
class Sum:
    euros: int


class Desk:
    """The tools of a bank, and a clerk who is asked about them."""

    def __init__(self, *decisions: object, seconds: float = 0) -> None:
        self.decisions = list(decisions)
        self.seconds = seconds
        self.log: list[str] = []
        self.asked: list[PendingCall] = []
        self.waiting = 0

    def note(self, what: str) -> None:
        self.log.append(f"{trio.current_time():g}: {what}")

    @function_tool(timeout=1)
    async def pay(self, to: str, amount: Sum = Sum(1)) -> str:
        self.note(f"pay {to}")
        await trio.sleep(0.5)
        self.note(f"paid {to}")
        return f"paid {amount.euros} to {to}"

    def approve(self, pending: PendingCall) -> Any:
        """Decide at once."""
        return decide(self._hear(pending))

    async def think(self, pending: PendingCall) -> Any:
        """Decide after a while."""
        decision = self._hear(pending)
        self.waiting += 1
        try:
            await trio.sleep(self.seconds)
        finally:
            self.waiting -= 1
        return decide(decision)

    def _hear(self, pending: PendingCall) -> object:
        self.asked.append(pending)
        self.note(f"asked {pending.arguments.get('to')}")
        return self.decisions.pop(0) if self.decisions else True


def decide(decision: object) -> Any:
    if isinstance(decision, Exception):
        raise decision
    return decision


def pays(*names: str, arguments: dict[str, Any] | None = None) -> Reply:
    return reply(*[tool_call("pay", {"to": name, **(arguments or {})}) for name in names])


async def play(
    desk: Desk, approve: Any, *script: Reply, **options: Any
) -> tuple[list[Any], ChatContext, tuple[Any, ...]]:
    """Play a turn to its end; returns its events, what it left, and what was sent."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Pay.")
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with run_turn(
            llm, chat_ctx=chat_ctx, tools=[desk.pay], approve=approve, **options
        ) as turn:
            told = [event async for event in turn]
        gateway.assert_all_closed()
    assert_valid(chat_ctx)
    return told, chat_ctx, gateway.requests


def outputs(chat_ctx: ChatContext) -> list[str]:
    return [
        f"{'error' if item.is_error else 'output'}: {item.output}"
        for item in chat_ctx.items
        if isinstance(item, FunctionCallOutput)
    ]


# --- What is asked --------------------------------------------------------------------------------


async def test_the_call_is_seen_before_anything_runs(autojump_clock: MockClock) -> None:
    desk = Desk()
    told, chat_ctx, _ = await play(
        desk,
        desk.approve,
        reply("Sure.", tool_call("pay", {"to": "Ada", "amount": {"euros": 5}})),
        ANSWER,
        userdata="an account",
    )

    (pending,) = desk.asked
    assert pending.name == "pay"
    assert pending.tool == desk.pay
    assert pending.arguments == {"to": "Ada", "amount": Sum(5)}
    assert pending.context.userdata == "an account"
    assert pending.context.chat_ctx is chat_ctx
    assert pending.context.function_call is pending.call
    assert pending.call in chat_ctx.items
    assert json.loads(pending.call.arguments) == {"to": "Ada", "amount": {"euros": 5}}
    assert pending.round == 1
    assert desk.log == ["0: asked Ada", "0: pay Ada", "0.5: paid Ada"]
    assert [event.type for event in told] == [
        *("text", "call_ready", "tool_started", "tool_finished", "round_finished"),
        *("text", "round_finished"),
    ]


async def test_what_is_done_to_the_arguments_changes_nothing(autojump_clock: MockClock) -> None:
    desk = Desk()

    def approve(pending: PendingCall) -> bool:
        pending.arguments["to"] = "Eve"  # type: ignore[index]
        return True

    _, chat_ctx, _ = await play(desk, approve, pays("Ada"), ANSWER)

    assert outputs(chat_ctx) == ["output: paid 1 to Ada"]


async def test_a_raw_tool_is_asked_about_with_its_arguments(autojump_clock: MockClock) -> None:
    @function_tool(raw_schema={"name": "raw", "parameters": {"type": "object"}})
    async def raw(raw_arguments: dict[str, Any]) -> str:
        return "ran"

    asked: list[PendingCall] = []
    chat_ctx = ChatContext()
    script = [tool_call("raw", {"x": 1}), ANSWER]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:

        def approve(pending: PendingCall) -> bool:
            asked.append(pending)
            return True

        async with run_turn(llm, chat_ctx=chat_ctx, tools=[raw], approve=approve) as turn:
            async for _ in turn:
                pass

    assert [each.arguments for each in asked] == [{"raw_arguments": {"x": 1}}]
    assert outputs(chat_ctx) == ["output: ran"]


async def test_nobody_is_asked_about_what_cannot_be_called(autojump_clock: MockClock) -> None:
    desk = Desk()
    script = reply(
        tool_call("pay", {"to": 5}),
        tool_call("pay", "undefined"),
        tool_call("steal", {}),
        tool_call("pay", {"to": "Ada"}),
    )
    told, chat_ctx, _ = await play(desk, desk.approve, script, ANSWER, max_concurrency=1)

    assert [pending.arguments for pending in desk.asked] == [{"to": "Ada"}]
    assert [line.partition(":")[0] for line in outputs(chat_ctx)] == [*["error"] * 3, "output"]
    assert "Invalid arguments for pay" in outputs(chat_ctx)[0]
    assert "There is no tool named 'steal'" in outputs(chat_ctx)[2]
    assert sum(isinstance(event, ToolStarted) for event in told) == 1


async def test_nobody_is_asked_in_the_last_round(autojump_clock: MockClock) -> None:
    desk = Desk()
    _, chat_ctx, _ = await play(
        desk, desk.approve, pays("Ada"), reply("And", tool_call("pay", {"to": "Bob"})), max_rounds=2
    )

    assert [pending.arguments["to"] for pending in desk.asked] == ["Ada"]
    assert "too many rounds" in outputs(chat_ctx)[1]


async def test_a_pending_call_is_a_value(autojump_clock: MockClock) -> None:
    desk = Desk()
    await play(desk, desk.approve, pays("Ada"), ANSWER)

    (pending,) = desk.asked
    assert copy.copy(pending) == pending
    match pending:
        case PendingCall(FunctionCall(name="pay"), Tool(), {"to": to}):
            assert to == "Ada"
        case _:
            pytest.fail("it is matched by position")
    assert repr(pending).startswith("PendingCall(call=FunctionCall(")


# --- What may be answered -------------------------------------------------------------------------

NOT_APPROVED = "The call was not carried out: it was not approved."
SAID = ToolError("Ada is not to be paid.")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("decision", "output"),
    [
        (True, "output: paid 1 to Ada"),
        (False, f"error: {NOT_APPROVED}"),
        (ToolError("Not her."), "error: Not her."),
        (ExceptionGroup("in a nursery", [ToolError("Not her.")]), "error: Not her."),
        (ToolResult("paid before"), "output: paid before"),
        (ToolResult(Sum(7)), 'output: {"euros": 7}'),
    ],
    ids=["run", "refuse", "raise", "raise in a nursery", "replace", "replace by a value"],
)
async def test_what_is_answered_is_what_happens(
    autojump_clock: MockClock, decision: object, output: str, waits: bool
) -> None:
    desk = Desk(decision)
    approve = desk.think if waits else desk.approve
    told, chat_ctx, requests = await play(desk, approve, pays("Ada"), ANSWER)

    assert outputs(chat_ctx) == [output]
    assert list(requests[1].tool_outputs.values()) == [output.partition(": ")[2]]
    ran = decision is True
    assert any(isinstance(event, ToolStarted) for event in told) is ran
    assert ("0.5: paid Ada" in desk.log) is ran
    (finished,) = [event for event in told if isinstance(event, ToolFinished)]
    error = finished.result.raw_exception
    assert isinstance(error, ToolError) is output.startswith("error")
    if isinstance(decision, ToolResult):
        assert finished.result.raw_output is decision


async def test_a_lambda_returns_the_words(autojump_clock: MockClock) -> None:
    desk = Desk()
    _, chat_ctx, _ = await play(
        desk,
        lambda pending: pending.arguments["to"] != "Ada" or SAID,
        pays("Ada", "Bob"),
        ANSWER,
    )

    assert outputs(chat_ctx) == ["error: Ada is not to be paid.", "output: paid 1 to Bob"]


@pytest.mark.parametrize("decision", [StopResponse(), ToolResult("kept", reply_required=False)])
async def test_a_refusal_may_end_the_turn(autojump_clock: MockClock, decision: object) -> None:
    desk = Desk(decision)
    _, chat_ctx, requests = await play(desk, desk.approve, pays("Ada"))

    assert len(requests) == 1
    assert outputs(chat_ctx) == ["output: " + ("kept" if isinstance(decision, ToolResult) else "")]


@pytest.mark.parametrize("decision", [None, 1, "yes"])
async def test_what_is_no_answer_runs_nothing_and_ends_the_turn(
    autojump_clock: MockClock, decision: object
) -> None:
    desk = Desk(decision)
    with pytest.raises(TypeError, match=rf"approve returned {decision!r} for a call of pay; it"):
        await play(desk, desk.think, pays("Ada"))

    assert desk.log == ["0: asked Ada"]


@pytest.mark.parametrize(
    "boom", [OSError("the clerk fell asleep"), ExceptionGroup("in a nursery", [OSError("asleep")])]
)
async def test_what_else_is_raised_ends_the_turn_bare(
    autojump_clock: MockClock, boom: Exception
) -> None:
    desk = Desk(True, boom)
    chat_ctx = ChatContext()
    async with ScriptedGateway([pays("Ada", "Bob")]) as gateway, gateway.llm() as llm:
        async with run_turn(llm, chat_ctx=chat_ctx, tools=[desk.pay], approve=desk.approve) as turn:
            with pytest.raises(OSError, match="asleep"):
                async for _ in turn:
                    pass
    assert_valid(chat_ctx)
    assert outputs(chat_ctx)[1] == (
        "error: The call was not carried out: everything was interrupted before."
    )
    assert "0.5: paid Ada" not in desk.log


async def test_a_refusal_out_of_a_nursery_that_is_cancelled_stays_cancelled(
    autojump_clock: MockClock,
) -> None:
    async def refuse_late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ToolError("too late")

    async def approve(pending: PendingCall) -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(refuse_late)
        return True

    desk = Desk()
    with trio.move_on_after(1) as scope:
        await play(desk, approve, pays("Ada"))

    assert scope.cancelled_caught
    assert desk.log == []


# --- When it is asked -----------------------------------------------------------------------------


async def test_the_other_calls_go_on_while_a_person_thinks(autojump_clock: MockClock) -> None:
    desk = Desk(seconds=60)

    async def approve(pending: PendingCall) -> bool:
        if pending.arguments["to"] == "Ada":
            return bool(await desk.think(pending))
        return bool(desk.approve(pending))

    _, chat_ctx, _ = await play(desk, approve, pays("Ada", "Bob"), ANSWER)

    assert desk.log == [
        "0: asked Ada",
        "0: asked Bob",
        "0: pay Bob",
        "0.5: paid Bob",
        "60: pay Ada",
        "60.5: paid Ada",
    ]
    # The tool's second began when it was called.
    assert outputs(chat_ctx) == ["output: paid 1 to Ada", "output: paid 1 to Bob"]


@pytest.mark.parametrize("round", range(5))
async def test_it_is_asked_in_the_order_of_the_calls(autojump_clock: MockClock, round: int) -> None:
    # Trio begins new tasks in any order, so that once may be luck.
    names = [f"{round}{number}" for number in range(20)]
    for waits in (False, True):
        desk = Desk()
        await play(desk, desk.think if waits else desk.approve, pays(*names), ANSWER)
        assert [pending.arguments["to"] for pending in desk.asked] == names


async def test_who_asks_takes_no_place(autojump_clock: MockClock) -> None:
    desk = Desk(seconds=10)
    await play(desk, desk.think, pays("Ada", "Bob", "Cy"), ANSWER, max_concurrency=1)

    # All are asked at once, and then run one after the other.
    assert desk.log[:3] == ["0: asked Ada", "0: asked Bob", "0: asked Cy"]
    assert [line.split()[1] for line in desk.log[3:]] == ["pay", "paid"] * 3
    assert trio.current_time() == 11.5


async def test_who_runs_does_not_hold_up_who_asks(autojump_clock: MockClock) -> None:
    desk = Desk()
    await play(desk, desk.approve, pays("Ada", "Bob"), ANSWER, max_concurrency=1)

    asked = [line for line in desk.log if "asked" in line]
    assert asked == ["0: asked Ada", "0: asked Bob"]
    assert [line for line in desk.log if line not in asked] == [
        *("0: pay Ada", "0.5: paid Ada", "0.5: pay Bob", "1: paid Bob"),
    ]


def comes_slowly() -> Reply:
    """Two calls: the second is whole three seconds after the first."""

    def piece(index: int, arguments: str, **members: Any) -> dict[str, Any]:
        function = {"arguments": arguments}
        if members:
            function["name"] = "pay"
        return {"index": index, **members, "function": function}

    return events(
        chunk(tool_calls=[piece(0, '{"to": "Ada"}', id="call_a", type="function")]),
        chunk(tool_calls=[piece(1, "", id="call_b", type="function")]),
        Wait(3),
        chunk(tool_calls=[piece(1, '{"to": "Bob"}')]),
        chunk("Moment."),
        Wait(3),
        chunk(finish_reason="tool_calls"),
        DONE,
    )


@pytest.mark.parametrize("early", [True, False])
async def test_it_is_asked_once_about_each_call_also_early(
    autojump_clock: MockClock, early: bool
) -> None:
    desk = Desk(seconds=0.25)
    await play(desk, desk.think, comes_slowly(), ANSWER, early_start=early)

    times = [line for line in desk.log if "asked" in line or "pay " in line]
    if early:
        assert times == ["0: asked Ada", "0.25: pay Ada", "3: asked Bob", "3.25: pay Bob"]
    else:
        assert times[:2] == ["6: asked Ada", "6: asked Bob"]
    assert [pending.arguments["to"] for pending in desk.asked] == ["Ada", "Bob"]


async def test_it_is_asked_with_what_was_set_around_the_turn(autojump_clock: MockClock) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    def approve(pending: PendingCall) -> bool:
        seen.append(who.get())
        who.set("somebody else")
        return True

    who.set("a clerk")
    await play(Desk(), approve, pays("Ada", "Bob", "Cy"), ANSWER)

    assert seen == ["a clerk"] * 3


async def test_instruments_are_told_of_a_refused_call_and_not_of_the_wait(
    autojump_clock: MockClock,
) -> None:
    told: list[str] = []

    class Told(Instrument):
        def tool_started(self, call: FunctionCall, tool: Tool[..., Any] | None) -> None:
            told.append(f"{trio.current_time():g}: {call.arguments}")

        def tool_finished(
            self, call: FunctionCall, result: FunctionCallResult | None, seconds: float
        ) -> None:
            told.append(f"{result is None or result.fnc_call_out.output} after {seconds:g}")

    desk = Desk(ToolError("Not her."), True, seconds=5)
    await play(desk, desk.think, pays("Ada"), pays("Bob"), ANSWER, instruments=[Told()])

    assert told == [
        *('5: {"to": "Ada"}', "Not her. after 0"),
        *('10: {"to": "Bob"}', "paid 1 to Bob after 0.5"),
    ]


async def test_a_person_who_is_asked_one_after_the_other(autojump_clock: MockClock) -> None:
    desk, lock = Desk(seconds=10), trio.Lock()

    async def approve(pending: PendingCall) -> bool:
        async with lock:
            return bool(await desk.think(pending))

    await play(desk, approve, pays("Ada", "Bob", "Cy"), ANSWER)

    asked = [line for line in desk.log if "asked" in line]
    assert asked == ["0: asked Ada", "10: asked Bob", "20: asked Cy"]


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from([True, False, ToolError("no"), ToolResult("done before")]),
            st.sampled_from([0.0, 0.5, 2.0]),
        ),
        min_size=1,
        max_size=6,
    ),
    limit=st.sampled_from([None, 1, 2]),
    early=st.booleans(),
)
def test_whatever_is_decided_when_every_call_is_asked_about_once_and_has_one_output(
    calls: list[tuple[object, float]], limit: int | None, early: bool
) -> None:
    asked: list[str] = []
    running = most = 0
    ran: list[str] = []

    @function_tool
    async def pay(to: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        ran.append(to)
        await trio.sleep(0.5)
        running -= 1
        return "paid"

    async def approve(pending: PendingCall) -> Any:
        number = int(pending.arguments["to"])
        asked.append(pending.arguments["to"])
        decision, seconds = calls[number]
        await trio.sleep(seconds)
        assert pending.arguments["to"] not in ran
        return decision

    async def main() -> ChatContext:
        chat_ctx = ChatContext()
        script = [pays(*map(str, range(len(calls)))), ANSWER]
        async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
            async with run_turn(
                llm,
                chat_ctx=chat_ctx,
                tools=[pay],
                approve=approve,
                max_concurrency=limit,
                early_start=early,
            ) as turn:
                async for _ in turn:
                    pass
        return chat_ctx

    chat_ctx = trio.run(main, clock=MockClock(autojump_threshold=0))

    assert_valid(chat_ctx)
    words = {True: "output: paid", False: f"error: {NOT_APPROVED}"}
    assert outputs(chat_ctx) == [
        words[decision]
        if isinstance(decision, bool)
        else ("error: no" if isinstance(decision, ToolError) else "output: done before")
        for decision, _ in calls
    ]
    assert asked == [str(number) for number in range(len(calls))]
    assert sorted(ran) == [str(n) for n, (decision, _) in enumerate(calls) if decision is True]
    assert limit is None or most <= limit


# --- Cancelling -----------------------------------------------------------------------------------


async def test_cancelling_while_it_waits_leaves_a_valid_conversation(
    autojump_clock: MockClock,
) -> None:
    desk = Desk(seconds=60)
    chat_ctx = ChatContext()
    async with (
        ScriptedGateway([reply("Sure.", tool_call("pay", {"to": "Ada"})), ANSWER]) as (gateway),
        gateway.llm() as llm,
    ):
        with trio.move_on_after(5):
            async with run_turn(
                llm, chat_ctx=chat_ctx, tools=[desk.pay], approve=desk.think
            ) as turn:
                async for _ in turn:
                    pass
        assert desk.waiting == 0
        assert_valid(chat_ctx)
        assert outputs(chat_ctx) == [
            "error: The call was not carried out: everything was interrupted before."
        ]
        # The next turn goes on from there.
        async with run_turn(llm, chat_ctx=chat_ctx) as turn:
            assert [text async for text in turn.text] == ["Done."]
    assert_valid(chat_ctx)


async def test_an_answer_that_breaks_off_ends_the_wait(autojump_clock: MockClock) -> None:
    desk = Desk(seconds=60)
    call = {"index": 0, "id": "call_a", "function": {"name": "pay", "arguments": '{"to": "Ada"}'}}
    breaks = events(chunk(tool_calls=[call]), chunk("Moment."), Wait(2), Reset())
    with pytest.raises(APIConnectionError):
        await play(desk, desk.think, breaks, early_start=True)

    assert desk.log == ["0: asked Ada"]
    assert desk.waiting == 0
    assert trio.current_time() == 2


@pytest.mark.parametrize("approve", ["yes", True, 5])
async def test_bad_input_is_refused_at_the_call(approve: Any) -> None:
    llm = LLM("m", base_url="http://127.0.0.1:1/v1", auth=None)
    with pytest.raises(TypeError, match="approve must be callable"):
        run_turn(llm, chat_ctx=ChatContext(), approve=approve)


# --- The matrix: cut at every task step -----------------------------------------------------------

SCENARIOS: dict[str, tuple[list[Any], dict[str, Any], list[object]]] = {
    "three are asked": ([pays("Ada", "Bob", "Cy"), ANSWER], {}, [True, False, ToolResult("x")]),
    "one at a time": ([pays("Ada", "Bob"), ANSWER], {"max_concurrency": 1}, []),
    "early start": ([comes_slowly(), ANSWER], {"early_start": True}, [True, ToolError("no")]),
}


def runs(name: str) -> Callable[[Cut], Awaitable[str]]:
    script, options, decisions = SCENARIOS[name]

    async def run(cut: Cut) -> str:
        desk = Desk(*decisions, seconds=1)
        chat_ctx = ChatContext()
        result = "cut"
        gateway = ScriptedGateway(lambda request: script[request.number])
        async with gateway, gateway.llm() as llm:
            try:
                with cut.watched(), cut.scope:
                    async with run_turn(
                        llm, chat_ctx=chat_ctx, tools=[desk.pay], approve=desk.think, **options
                    ) as turn:
                        await read(turn, cut)
                    result = "over"
            finally:
                assert desk.waiting == 0
                assert_valid(chat_ctx)
                names = [pending.arguments["to"] for pending in desk.asked]
                assert names == ["Ada", "Bob", "Cy"][: len(names)]
                # What began to run is known to have begun.
                ran = {line.split()[-1] for line in desk.log if ": pay " in line}
                for item in chat_ctx.items:
                    if isinstance(item, FunctionCallOutput) and "before" in item.output:
                        (call,) = [
                            each
                            for each in chat_ctx.items
                            if isinstance(each, FunctionCall) and each.call_id == item.call_id
                        ]
                        assert json.loads(call.arguments)["to"] not in ran
            await gateway.wait_all_closed()
        return result

    return run


async def read(turn: Turn[Any], cut: Cut) -> None:
    while True:
        with cut.one_wait():
            try:
                await anext(turn)
            except StopAsyncIteration:
                return


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_at_every_step_leaves_a_valid_conversation(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_BLOCK, series)

    assert outcome.undisturbed == "over"
    assert "cut" in outcome.results


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", ["three are asked", "early start"])
def test_cancelling_one_wait_loses_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_WAIT, series)

    assert set(outcome.results) == {"over"}


@pytest.mark.parametrize("series", ["before", "after"])
def test_ctrl_c_is_bare_and_leaves_a_valid_conversation(series: Series) -> None:
    sweep(runs("three are asked"), INTERRUPT, series)
