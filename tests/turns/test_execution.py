"""A call of a model is carried out; whatever the tool does, the model gets something to read."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import json
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lktrio import (
    ChatContext,
    FunctionCall,
    FunctionCallResult,
    FunctionToolCall,
    RunContext,
    StopResponse,
    ToolContext,
    ToolError,
    ToolResult,
    current_tool_thread_limiter,
    execute_function_call,
    execute_function_calls,
    function_tool,
)
from tests.support.leaks import no_leaks


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    y: int


@dataclasses.dataclass
class Box:
    corner: Point
    made: datetime.date


def call(
    name: str, arguments: str = "{}", call_id: str = "call_1", **extra: Any
) -> FunctionToolCall:
    return FunctionToolCall(name=name, arguments=arguments, call_id=call_id, extra=extra or None)


async def run(function: Any, arguments: str = "{}", **options: Any) -> FunctionCallResult:
    """Carry out one call of a function that is not decorated yet."""
    tool = function_tool(function, name="tool", **options)
    return await execute_function_call(call("tool", arguments), ToolContext([tool]))


# --- What the model reads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, ""),
        (0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        ([], "[]"),
        (
            {"city": "Paris", "temp": 21, "rain": None},
            '{"city": "Paris", "temp": 21, "rain": null}',
        ),
        (["é", 1, False], '["é", 1, false]'),
        ((1, 2), "[1, 2]"),
        ({1}, "[1]"),
        (Point(1, 2), '{"x": 1, "y": 2}'),
        (
            Box(Point(1, 2), datetime.date(2026, 1, 2)),
            '{"corner": {"x": 1, "y": 2}, "made": "2026-01-02"}',
        ),
        (Colour.RED, "red"),
        ([Colour.RED], '["red"]'),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(minutes=90), "PT1H30M"),
        (b"bytes", "bytes"),
        ("half \ud83d", "half \ufffd"),
        ("two halves \ud83d\ude00", "two halves \U0001f600"),
    ],
)
async def test_what_a_tool_returns_becomes_text(value: Any, output: str) -> None:
    async def tool() -> Any:
        return value

    result = await run(tool)

    assert result.fnc_call_out.output == output
    assert not result.is_error
    assert result.reply_required
    assert result.raw_output is value
    assert result.raw_exception is None


@pytest.mark.parametrize(
    "value", [object(), {"deep": {"er": object()}}, b"\xff", [threading.Lock()]]
)
async def test_what_cannot_be_read_is_an_error_that_is_logged(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def tool() -> Any:
        return value

    result = await run(tool)

    assert result.fnc_call_out.output == "An internal error occurred"
    assert result.is_error
    assert result.raw_output is value
    assert result.raw_exception is not None
    assert "return a string" in caplog.text


async def test_a_value_that_holds_itself_is_an_error() -> None:
    async def tool() -> Any:
        value: list[Any] = []
        value.append(value)
        return value

    assert (await run(tool)).is_error


async def test_a_tool_error_is_shown_to_the_model(caplog: pytest.LogCaptureFixture) -> None:
    async def tool() -> str:
        raise ToolError("no such city; try a bigger one")

    result = await run(tool)

    assert result.fnc_call_out.output == "no such city; try a bigger one"
    assert result.is_error
    assert result.reply_required
    assert isinstance(result.raw_exception, ToolError)
    assert caplog.records == []


async def test_any_other_exception_is_kept_from_the_model_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tool(city: str) -> str:
        raise KeyError("database password is hunter2")

    result = await run(tool, '{"city": "Paris"}')

    assert result.fnc_call_out.output == "An internal error occurred"
    assert result.is_error
    assert isinstance(result.raw_exception, KeyError)
    (record,) = caplog.records
    assert record.name == "lktrio"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "Paris" not in record.getMessage()


async def test_a_group_of_a_tools_own_nursery_is_a_failure_too() -> None:
    async def tool() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, -1)
            nursery.start_soon(trio.sleep, -1)
        return ""

    result = await run(tool)

    assert result.is_error
    assert isinstance(result.raw_exception, ExceptionGroup)


@pytest.mark.parametrize("exception", [ToolError("from a child"), StopResponse()])
async def test_what_a_child_task_of_a_tool_says_is_heard(exception: Exception) -> None:
    async def child() -> None:
        raise exception

    async def tool() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return ""

    assert (await run(tool)).raw_exception is exception


async def test_stop_response_is_an_empty_output_that_wants_no_reply() -> None:
    async def tool() -> str:
        raise StopResponse

    result = await run(tool)

    assert result.fnc_call_out.output == ""
    assert not result.is_error
    assert not result.reply_required
    assert isinstance(result.raw_exception, StopResponse)


@pytest.mark.parametrize("reply_required", [True, False])
async def test_a_tool_result_says_whether_a_reply_is_wanted(reply_required: bool) -> None:
    async def tool() -> ToolResult:
        return ToolResult({"done": True}, reply_required=reply_required)

    result = await run(tool)

    assert result.fnc_call_out.output == '{"done": true}'
    assert result.reply_required is reply_required
    assert result.fnc_call_out.reply_required is reply_required


async def test_an_error_that_is_returned_counts_as_raised() -> None:
    async def tool() -> Any:
        return ToolError("no")

    result = await run(tool)

    assert result.fnc_call_out.output == "no"
    assert result.is_error
    assert isinstance(result.raw_output, ToolError)


async def test_an_error_whose_text_is_none_is_still_text() -> None:
    async def tool() -> str:
        raise ToolError(404)  # type: ignore[arg-type]

    assert (await run(tool)).fnc_call_out.output == "404"


# --- Calls that cannot be carried out -------------------------------------------------------------


async def test_an_unknown_tool_gets_the_names_of_those_there_are() -> None:
    @function_tool
    async def get_weather() -> str:
        return "sunny"

    @function_tool
    async def get_time() -> str:
        return "noon"

    result = await execute_function_call(call("get_wether"), ToolContext([get_weather, get_time]))

    assert result.is_error
    assert "get_wether" in result.fnc_call_out.output
    assert "get_weather, get_time" in result.fnc_call_out.output
    assert isinstance(result.raw_exception, ToolError)


async def test_an_unknown_tool_where_there_are_none() -> None:
    result = await execute_function_call(call("get_weather"), ToolContext())

    assert "No tools are available" in result.fnc_call_out.output


@pytest.mark.parametrize(
    ("name", "sent"),
    [("functions.get_weather", "functions_get_weather"), ("\N{SNOWMAN}", "_"), ("", "unknown")],
)
async def test_a_name_that_servers_refuse_does_not_get_into_the_conversation(
    name: str, sent: str
) -> None:
    result = await execute_function_call(call(name), ToolContext())

    assert result.fnc_call.name == result.fnc_call_out.name == sent


async def test_arguments_that_do_not_fit_are_explained_and_nothing_is_called() -> None:
    called = False

    async def tool(city: str, days: int = 1) -> str:
        nonlocal called
        called = True
        return city

    result = await run(tool, '{"days": "many"}')

    assert result.is_error
    assert isinstance(result.raw_exception, ToolError)
    assert "city" in result.fnc_call_out.output
    assert "days" in result.fnc_call_out.output
    assert not called


async def test_arguments_that_are_cut_off_are_never_carried_out() -> None:
    async def tool(city: str = "Rome") -> str:
        raise AssertionError("called")

    result = await run(tool, '{"city": "Par')

    assert "cut off" in result.fnc_call_out.output
    assert json.loads(result.fnc_call.arguments) == {"invalid_arguments": '{"city": "Par'}


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ('{"city":"Paris"}', {"city": "Paris"}),
        ("```json\n{'city': 'Paris'}\n```", {"city": "Paris"}),
        (json.dumps('{"city": "Paris"}'), {"city": "Paris"}),
        ("", {}),
        ('{"days": "many"}', {"days": "many"}),
        ("[1]", {"invalid_arguments": "[1]"}),
    ],
)
async def test_canonical_arguments_are_written_back(raw: str, canonical: Any) -> None:
    async def tool(city: str = "Rome", days: int = 1) -> str:
        return city

    assert json.loads((await run(tool, raw)).fnc_call.arguments) == canonical


# --- Both kinds of call, tools of every kind ------------------------------------------------------


async def test_the_items_have_what_the_call_had() -> None:
    async def tool() -> str:
        return "ok"

    tool_ctx = ToolContext([function_tool(tool)])
    result = await execute_function_call(
        call("tool", call_id="call_7", google={"thought_signature": "x"}), tool_ctx
    )

    assert result.fnc_call.call_id == result.fnc_call_out.call_id == "call_7"
    assert result.fnc_call.name == result.fnc_call_out.name == "tool"
    assert result.fnc_call.extra == {"google": {"thought_signature": "x"}}
    assert result.fnc_call_out.created_at >= result.fnc_call.created_at


async def test_a_call_of_a_conversation_stays_the_same_item() -> None:
    async def tool() -> str:
        return "ok"

    item = FunctionCall(
        call_id="c", name="tool", arguments="{}", id="item_1", group_id="g", created_at=5e9
    )
    result = await execute_function_call(item, ToolContext([function_tool(tool)]))

    assert result.fnc_call == item
    assert result.fnc_call_out.created_at == 5e9


async def test_the_context_is_injected_with_this_call() -> None:
    async def tool(ctx: RunContext[str], city: str) -> str:
        return f"{ctx.userdata} {city} {ctx.function_call.call_id} {len(ctx.chat_ctx.items)}"

    other = FunctionCall(call_id="other", name="tool", arguments="{}")
    context = RunContext("data", other, ChatContext())
    tool_ctx = ToolContext([function_tool(tool)])
    result = await execute_function_call(
        call("tool", '{"city": "Paris"}'), tool_ctx, call_ctx=context
    )

    assert result.fnc_call_out.output == "data Paris call_1 0"
    with pytest.raises(TypeError, match="userdata= or call_ctx="):
        await execute_function_call(call("tool", '{"city": "Paris"}'), tool_ctx)


async def test_userdata_is_a_context_in_short() -> None:
    @function_tool
    async def tool(ctx: RunContext[str], city: str) -> str:
        return f"{ctx.userdata} {city} {ctx.function_call.call_id} {len(ctx.chat_ctx.items)}"

    calls = [call("tool", '{"city": "Rome"}', call_id=name) for name in "ab"]
    tool_ctx = ToolContext([tool])

    one = await execute_function_call(calls[0], tool_ctx, userdata="data")
    both = await execute_function_calls(calls, tool_ctx, userdata="data")

    assert one.raw_output == "data Rome a 0"
    assert [result.raw_output for result in both] == ["data Rome a 0", "data Rome b 0"]


async def test_no_userdata_is_userdata_too() -> None:
    @function_tool
    async def tool(ctx: RunContext[None]) -> str:
        return repr(ctx.userdata)

    result = await execute_function_call(call("tool"), ToolContext([tool]), userdata=None)

    assert result.raw_output == "None"


async def test_a_context_needs_no_call_that_is_made_up() -> None:
    @function_tool
    async def tool(ctx: RunContext[str]) -> str:
        return f"{ctx.userdata} {ctx.function_call.name!r} {len(ctx.chat_ctx.items)}"

    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Hi")
    context = RunContext("data", chat_ctx=chat_ctx)

    # A test calls the function itself.
    assert await tool(RunContext("data")) == "data '' 0"
    assert RunContext("data").function_call.arguments == "{}"
    result = await execute_function_call(call("tool"), ToolContext([tool]), call_ctx=context)
    assert result.raw_output == "data 'tool' 1"
    assert context.function_call.name == ""


async def test_a_raw_tool_gets_its_arguments_raw() -> None:
    @function_tool(raw_schema={"name": "raw", "parameters": {"type": "object"}})
    async def raw(raw_arguments: dict[str, object]) -> object:
        return raw_arguments

    result = await execute_function_call(call("raw", '{"any": ["thing"]}'), ToolContext([raw]))

    assert result.raw_output == {"any": ["thing"]}


async def test_a_sync_tool_runs_in_another_thread() -> None:
    def tool() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await run(tool)).raw_output is False


async def test_sync_tools_have_threads_of_their_own() -> None:
    """However many hang, a name lookup still finds a thread."""
    others = trio.to_thread.current_default_thread_limiter()
    limiter = current_tool_thread_limiter()
    assert limiter is current_tool_thread_limiter()
    assert limiter is not others
    limiter.total_tokens = 2
    release = threading.Event()
    running: list[int] = []

    @function_tool
    def hang() -> str:
        running.append(1)
        release.wait()
        return "done"

    async with trio.open_nursery() as nursery:
        calls = [call("hang")] * 3
        nursery.start_soon(execute_function_calls, calls, ToolContext([hang]))
        while len(running) < 2:
            await trio.lowlevel.checkpoint()
        assert limiter.borrowed_tokens == 2
        assert limiter.statistics().tasks_waiting == 1
        assert others.borrowed_tokens == 0
        release.set()
    assert len(running) == 3
    assert limiter.borrowed_tokens == 0


def test_the_threads_of_tools_belong_to_a_run() -> None:
    with pytest.raises(RuntimeError):
        current_tool_thread_limiter()

    async def main() -> trio.CapacityLimiter:
        current_tool_thread_limiter().total_tokens += 1
        return current_tool_thread_limiter()

    first, second = trio.run(main), trio.run(main)
    assert first is not second
    assert first.total_tokens == second.total_tokens == 41


async def test_a_sync_tool_that_fails_is_a_result_too() -> None:
    def tool() -> str:
        raise StopIteration

    assert (await run(tool)).is_error


async def test_an_async_function_that_does_not_look_like_one_is_awaited() -> None:
    async def inner() -> str:
        await trio.lowlevel.checkpoint()
        return "awaited"

    def hidden() -> Any:
        return inner()

    assert (await run(hidden)).fnc_call_out.output == "awaited"
    assert (await run(functools.partial(inner))).fnc_call_out.output == "awaited"


# --- Time and cancellation ------------------------------------------------------------------------


async def test_a_tool_that_takes_too_long_is_cancelled_and_says_so(
    autojump_clock: MockClock,
) -> None:
    cleaned_up = False

    async def tool() -> None:
        nonlocal cleaned_up
        try:
            await trio.sleep_forever()
        finally:
            cleaned_up = True

    result = await run(tool, timeout=2.5)

    assert trio.current_time() == 2.5
    assert cleaned_up
    assert result.is_error
    assert result.fnc_call_out.output == "tool timed out after 2.5 seconds."
    assert isinstance(result.raw_exception, trio.TooSlowError)


async def test_a_tool_that_is_in_time_is_not_cut(autojump_clock: MockClock) -> None:
    async def tool() -> str:
        await trio.sleep(2)
        return "in time"

    assert (await run(tool, timeout=2.5)).fnc_call_out.output == "in time"


async def test_a_tools_own_time_limit_is_its_own_failure(autojump_clock: MockClock) -> None:
    async def tool() -> None:
        with trio.fail_after(1):
            await trio.sleep(2)

    assert (await run(tool, timeout=3)).fnc_call_out.output == "An internal error occurred"


async def test_a_thread_is_left_behind_if_the_tool_says_so() -> None:
    release = threading.Event()
    finished = threading.Event()

    def tool() -> str:
        release.wait()
        finished.set()
        return "late"

    result = await run(tool, timeout=0.01, abandon_on_cancel=True)

    assert result.fnc_call_out.output == "tool timed out after 0.01 seconds."
    assert not finished.is_set()
    release.set()
    await trio.to_thread.run_sync(finished.wait)


async def test_else_a_thread_is_waited_for_and_its_result_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()

    def tool() -> str:
        release.wait()
        return "late, but done"

    async def release_later() -> None:
        await trio.sleep(0.02)  # for a time limit that is over in a thread, time must pass
        release.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(release_later)
        result = await run(tool, timeout=0.01)

    assert result.fnc_call_out.output == "late, but done"
    assert "abandon_on_cancel=True" in caplog.text


async def test_cancellation_reaches_the_tool_and_is_no_result(autojump_clock: MockClock) -> None:
    log: list[str] = []

    async def tool() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            log.append("cancelled")
            raise

    with no_leaks(), trio.move_on_after(1) as scope:
        await run(tool)
        log.append("a result")

    assert scope.cancelled_caught
    assert log == ["cancelled"]


async def test_a_tool_that_fails_while_it_is_cancelled_is_logged_and_stays_cancelled(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_on_the_way_out() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError

    async def tool() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_on_the_way_out)
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1) as scope:
        await run(tool)

    assert scope.cancelled_caught
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_is_no_result(error: type[BaseException]) -> None:
    async def tool() -> None:
        raise error

    with pytest.raises(error):
        await run(tool)

    async def child() -> None:
        raise error

    async def tool_with_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    tool_ctx = ToolContext([function_tool(tool_with_nursery)])
    with pytest.raises(error):
        await execute_function_calls([call("tool_with_nursery")], tool_ctx)


async def test_a_bug_of_ours_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tool() -> str:
        return "ok"

    def broken(*_: object) -> None:
        raise LookupError("bug")

    monkeypatch.setattr("lktrio._turns.execution.returned", broken)
    with pytest.raises(LookupError, match="bug"):
        await run(tool)
    tool_ctx = ToolContext([function_tool(tool)])
    with pytest.raises(LookupError, match="bug"):
        await execute_function_calls([call("tool"), call("tool")], tool_ctx)


# --- Several --------------------------------------------------------------------------------------


def sleepers(log: list[str] | None = None) -> ToolContext:
    @function_tool
    async def sleep(seconds: float, name: str = "") -> str:
        if log is not None:
            log.append(f"{name} begins")
        await trio.sleep(seconds)
        if log is not None:
            log.append(f"{name} ends")
        return f"slept {seconds:g}"

    return ToolContext([sleep])


async def test_three_tools_that_sleep_a_second_take_a_second(autojump_clock: MockClock) -> None:
    calls = [call("sleep", '{"seconds": 1}', f"call_{n}") for n in range(3)]

    results = await execute_function_calls(calls, sleepers())

    assert trio.current_time() == 1
    assert [result.fnc_call_out.call_id for result in results] == ["call_0", "call_1", "call_2"]


async def test_results_come_in_the_order_of_the_calls(autojump_clock: MockClock) -> None:
    calls = [call("sleep", f'{{"seconds": {seconds}}}') for seconds in (3, 1, 2)]

    results = await execute_function_calls(calls, sleepers())

    assert [result.raw_output for result in results] == ["slept 3", "slept 1", "slept 2"]


@pytest.mark.parametrize(("limit", "seconds"), [(1, 5), (2, 3), (5, 1), (None, 1)])
async def test_no_more_than_the_limit_run_at_once(
    autojump_clock: MockClock, limit: int | None, seconds: int
) -> None:
    calls = [call("sleep", '{"seconds": 1}') for _ in range(5)]

    await execute_function_calls(calls, sleepers(), max_concurrency=limit)

    assert trio.current_time() == seconds


async def test_one_at_a_time_keeps_the_order(autojump_clock: MockClock) -> None:
    log: list[str] = []
    calls = [call("sleep", f'{{"seconds": {4 - n}, "name": "{n}"}}') for n in range(4)]

    await execute_function_calls(calls, sleepers(log), max_concurrency=1)

    assert log == [f"{n} {what}" for n in range(4) for what in ("begins", "ends")]


async def test_one_that_fails_one_that_times_out_and_one_that_is_unknown(
    autojump_clock: MockClock,
) -> None:
    @function_tool
    async def fail() -> None:
        raise ToolError("no luck")

    @function_tool(timeout=1)
    async def dawdle() -> None:
        await trio.sleep(5)

    tool_ctx = ToolContext([fail, dawdle])
    results = await execute_function_calls([call("dawdle"), call("nope"), call("fail")], tool_ctx)

    assert [result.is_error for result in results] == [True, True, True]
    timed_out, unknown, failed = (result.fnc_call_out.output for result in results)
    assert timed_out == "dawdle timed out after 1 second."
    assert unknown == "There is no tool named 'nope'. The available tools are: fail, dawdle."
    assert failed == "no luck"
    assert trio.current_time() == 1


async def test_cancelling_stops_all_of_them(autojump_clock: MockClock) -> None:
    log: list[str] = []
    calls = [call("sleep", f'{{"seconds": 9, "name": "{n}"}}') for n in range(4)]

    with no_leaks(), trio.move_on_after(1):
        await execute_function_calls(calls, sleepers(log), max_concurrency=2)

    assert sorted(log) == ["0 begins", "1 begins"]


async def test_the_context_is_given_to_each_with_its_own_call() -> None:
    @function_tool
    async def who(ctx: RunContext[Any]) -> str:
        return ctx.function_call.call_id

    item = FunctionCall(call_id="", name="", arguments="")
    context = RunContext(None, item, ChatContext())
    calls = [call("who", call_id="a"), call("who", call_id="b")]

    results = await execute_function_calls(calls, ToolContext([who]), call_ctx=context)

    assert [result.raw_output for result in results] == ["a", "b"]


async def test_no_calls_are_no_results_and_still_a_checkpoint() -> None:
    with trio.testing.assert_checkpoints():
        assert await execute_function_calls([], ToolContext()) == []
    with trio.testing.assert_checkpoints():
        await execute_function_call(call("nope"), ToolContext())


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "error", "text"),
    [
        (lambda: execute_function_call("x", ToolContext()), TypeError, "tool_call must be"),  # type: ignore[arg-type]
        (lambda: execute_function_call(call("x"), [len]), TypeError, r"ToolContext\(tools\)"),  # type: ignore[arg-type]
        (
            lambda: execute_function_call(call("x"), ToolContext(), call_ctx={}),
            TypeError,
            "call_ctx",
        ),  # type: ignore[arg-type]
        (
            lambda: execute_function_calls(call("x"), ToolContext()),
            TypeError,
            "tool_calls must be a list",
        ),  # type: ignore[arg-type]
        (lambda: execute_function_calls([1], ToolContext()), TypeError, "not an int"),  # type: ignore[list-item]
        (lambda: execute_function_calls(1, ToolContext()), TypeError, "has one: answer.tool_calls"),  # type: ignore[arg-type]
        (
            lambda: execute_function_call(
                call("x"), ToolContext(), call_ctx=RunContext(1), userdata=1
            ),
            TypeError,
            r"give one of them: call_ctx=RunContext\(userdata, chat_ctx=...\) has both",
        ),
        (
            lambda: execute_function_calls(
                [], ToolContext(), call_ctx=RunContext(1), userdata=None
            ),
            TypeError,
            "call_ctx and userdata were both given",
        ),
        (
            lambda: execute_function_calls([], ToolContext(), max_concurrency=0),
            ValueError,
            "max_concurrency=0",
        ),
        (
            lambda: execute_function_calls([], ToolContext(), max_concurrency=True),
            TypeError,
            "max_concurrency=True",
        ),
        (lambda: execute_function_calls([], ToolContext(), max_concurrency=1.5), TypeError, "1.5"),  # type: ignore[arg-type]
    ],
)
async def test_bad_input_is_refused_at_the_call(
    use: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await use()


async def test_a_tool_that_waited_does_not_see_what_an_earlier_one_has_set(
    autojump_clock: MockClock,
) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")

    @function_tool
    async def look() -> str:
        before = variable.get()
        variable.set("a tool")
        return before

    calls = [call("look", call_id=str(number)) for number in range(3)]

    results = await execute_function_calls(calls, ToolContext([look]), max_concurrency=1)

    assert [result.fnc_call_out.output for result in results] == ["nothing"] * 3
