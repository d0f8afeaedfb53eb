"""Running the tools that a model calls: side by side, in time, in threads where they block.

This module knows how a tool's function is called on Trio. What its call came to is said elsewhere
(`_function_results`).
"""

from __future__ import annotations

import inspect
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from types import NoneType
from typing import Any, Final, cast

import msgspec
import trio

from lktrio._answers import FunctionToolCall
from lktrio._checks import NOT_GIVEN, NotGivenOr, check_instance, check_integer, is_given
from lktrio._conversation import FunctionCall
from lktrio._definitions import public
from lktrio._engine import check_on_trio
from lktrio._http import raise_bare
from lktrio._instruments import Instrument, ToolMetrics, check_instruments
from lktrio._tools import (
    Call,
    DecodedArguments,
    FunctionCallResult,
    RunContext,
    Tool,
    ToolContext,
    ToolError,
    decode_call,
    failed,
    read_call,
    returned,
    timed_out,
    unknown_tool,
)

__all__ = [
    "LimitedNursery",
    "current_tool_thread_limiter",
    "execute_function_call",
    "execute_function_calls",
    "prepare",
    "run_call",
    "tell_of",
]

logger = logging.getLogger("lktrio")


_TOOL_THREADS: Final = 40
"""How many sync tools run at once, unless told otherwise; Trio's own default, for all else."""

_limiter: Final[trio.lowlevel.RunVar[trio.CapacityLimiter]] = trio.lowlevel.RunVar(
    "lktrio_tool_threads"
)


@public
def current_tool_thread_limiter() -> trio.CapacityLimiter:
    """The limiter of the threads in which sync tools run, in this `trio.run`.

    It is theirs alone: however many tools hang, name lookups and whatever else the program does in
    threads still find one (they use `trio.to_thread.current_default_thread_limiter`). It admits 40
    at once, and the others wait; set ``total_tokens`` for another number, and look at
    ``statistics()`` for how many run and wait. A tool that was left behind
    (``abandon_on_cancel=True``) holds its place until its thread has ended.

    Raises:
        RuntimeError: It is called outside of a `trio.run`.
    """
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_TOOL_THREADS)
        _limiter.set(limiter)
        return limiter


@public
async def execute_function_call(
    tool_call: FunctionToolCall | FunctionCall,
    tool_ctx: ToolContext,
    *,
    call_ctx: RunContext[object] | None = None,
    userdata: NotGivenOr[object] = NOT_GIVEN,
    instruments: Sequence[Instrument] | None = None,
) -> FunctionCallResult:
    """Carry out one call of a model. Its failure is a result, too.

    What the model then reads:

    * what the function returned: a string as it is, nothing for None, else JSON;
    * the text of a `ToolError`;
    * what is wrong with arguments that do not fit, or which tools there are if it named another;
    * that it timed out, after the tool's ``timeout``;
    * "An internal error occurred" after any other exception, which is logged;
    * nothing, and no answer is required, after `StopResponse`.

    A sync function runs in a worker thread (see `current_tool_thread_limiter`). The thread cannot
    be stopped: it is waited for, ``timeout`` or not, and its result counts; with
    ``abandon_on_cancel=True`` it is left behind and its result thrown away.

    Args:
        tool_call: The call, from a stream or from a conversation.
        tool_ctx: The tools that may be called.
        call_ctx: What a parameter annotated with `RunContext` receives, with this call in place
            of its ``function_call``.
        userdata: The same in short: ``call_ctx=RunContext(userdata)``.
        instruments: Who is told of the call.

    Returns:
        The items for the conversation, and what they were made from.

    Raises:
        TypeError: If an argument has the wrong type, the tool wants a `RunContext` and none was
            given, or both ``call_ctx`` and ``userdata`` were.
    """
    _check_arguments([tool_call], tool_ctx, call_ctx)
    call_ctx = _context(call_ctx, userdata)
    told = check_instruments(instruments)
    check_on_trio()
    await trio.lowlevel.checkpoint()
    return await run_call(read_call(tool_call, tool_ctx), tool_ctx, call_ctx, instruments=told)


@public
async def execute_function_calls(
    tool_calls: Sequence[FunctionToolCall | FunctionCall],
    tool_ctx: ToolContext,
    *,
    call_ctx: RunContext[object] | None = None,
    userdata: NotGivenOr[object] = NOT_GIVEN,
    max_concurrency: int | None = None,
    instruments: Sequence[Instrument] | None = None,
) -> list[FunctionCallResult]:
    """Carry out the calls of one answer side by side, each as `execute_function_call` does.

    Args:
        tool_calls: The calls.
        tool_ctx: The tools that may be called.
        call_ctx: What parameters annotated with `RunContext` receive, each with its own call in
            place of its ``function_call``.
        userdata: The same in short: ``call_ctx=RunContext(userdata)``.
        max_concurrency: How many run at once; the others wait, and are begun in their order.
            None for no limit.
        instruments: Who is told of the calls.

    Returns:
        The results in the order of the calls.

    Raises:
        TypeError: If an argument has the wrong type, a tool wants a `RunContext` and none was
            given, or both ``call_ctx`` and ``userdata`` were.
        ValueError: If ``max_concurrency`` is less than 1.
    """
    check_integer("max_concurrency", max_concurrency, least=1, none="no limit")
    _check_arguments(tool_calls, tool_ctx, call_ctx)
    call_ctx = _context(call_ctx, userdata)
    told = check_instruments(instruments)
    check_on_trio()
    await trio.lowlevel.checkpoint()
    results: dict[int, FunctionCallResult] = {}

    async def run(place: int, tool_call: FunctionToolCall | FunctionCall) -> None:
        call = read_call(tool_call, tool_ctx)
        results[place] = await run_call(call, tool_ctx, call_ctx, instruments=told)

    try:
        async with trio.open_nursery() as nursery:
            limited = LimitedNursery(nursery, max_concurrency)
            for place, tool_call in enumerate(tool_calls):
                limited.start_soon(partial(run, place, tool_call))
    except BaseExceptionGroup as group:
        raise_bare(group)
    return [results[place] for place in range(len(tool_calls))]


class LimitedNursery:
    """Starts tasks in a nursery in their order, a limited number at once.

    Args:
        nursery: Where they run.
        limit: How many at once; None for no limit.
    """

    def __init__(self, nursery: trio.Nursery, limit: int | None) -> None:
        self._nursery = nursery
        self._free = math.inf if limit is None else limit
        self._waiting: deque[tuple[Callable[[], Awaitable[None]], Context]] = deque()
        # The first of them has been started, and has not begun.
        self._to_begin: deque[tuple[Callable[[], Awaitable[None]], Context]] = deque()

    def start_soon(self, run: Callable[[], Awaitable[None]]) -> None:
        """Start a task as soon as there is room for it."""
        # The task that ends and makes room is not the one whose context it inherits.
        self._waiting.append((run, copy_context()))
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._free:
            self._free -= 1
            run, context = self._waiting.popleft()
            context.run(self._start, run)

    def _start(self, run: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, run, name="a tool's call")

    async def _run(self, run: Callable[[], Awaitable[None]]) -> None:
        await run()
        self._free += 1
        self._fill()

    def start_in_order(self, run: Callable[[], Awaitable[None]]) -> None:
        """Start a task that takes no place. What it does before it first waits comes after what
        those did that were started before it: Trio itself runs new tasks in any order."""
        self._to_begin.append((run, copy_context()))
        if len(self._to_begin) == 1:
            self._start_first()

    def _start_first(self) -> None:
        run, context = self._to_begin[0]
        context.run(self._start_in_order, run)

    def _start_in_order(self, run: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run_in_order, run, name="the approval of a tool's call")

    async def _run_in_order(self, run: Callable[[], Awaitable[None]]) -> None:
        self._to_begin.popleft()
        if self._to_begin:
            self._start_first()
        await run()


async def run_call(
    call: Call,
    tool_ctx: ToolContext,
    call_ctx: RunContext[object] | None,
    *,
    on_start: Callable[[], None] = lambda: None,
    instruments: tuple[Instrument, ...] = (),
) -> FunctionCallResult:
    """Carry out one call.

    Args:
        call: The call.
        tool_ctx: The tools that may be called.
        call_ctx: What a parameter annotated with `RunContext` receives.
        on_start: Is called when the function is about to be.
        instruments: Who is told of it.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    if not instruments:
        return await _run_call(call, tool_ctx, call_ctx, on_start)
    metrics = ToolMetrics(instruments, call.item, tool_ctx.get(call.name), trio.current_time())
    result: FunctionCallResult | None = None
    try:
        result = await _run_call(call, tool_ctx, call_ctx, on_start)
        return result
    finally:
        metrics.finish(trio.current_time(), result)


def tell_of(
    call: Call,
    tool_ctx: ToolContext,
    result: FunctionCallResult,
    instruments: tuple[Instrument, ...],
) -> None:
    """Tell of a call that has come to its result without being carried out."""
    if instruments:
        now = trio.current_time()
        ToolMetrics(instruments, call.item, tool_ctx.get(call.name), now).finish(now, result)


async def _run_call(
    call: Call,
    tool_ctx: ToolContext,
    call_ctx: RunContext[object] | None,
    on_start: Callable[[], None],
) -> FunctionCallResult:
    item = call.item
    prepared = prepare(call, tool_ctx)
    if isinstance(prepared, FunctionCallResult):
        return prepared
    tool, decoded = prepared
    # Nobody needs it again, and it may be large.
    call.decoded = None
    args, kwargs = _bind(tool, decoded, item, call_ctx)
    function = partial(tool, *args, **kwargs)
    call.is_started = True
    on_start()
    value: object = None
    try:
        with trio.move_on_after(math.inf if tool.timeout is None else tool.timeout) as scope:
            value = await _call(tool, function)
    except Exception as exc:  # noqa: BLE001 - the failure of a tool is a result
        return failed(item, exc)
    except BaseExceptionGroup as group:
        # The tool has a nursery: while one of its tasks was cancelled, another failed.
        failures, stopped = group.split(Exception)
        assert stopped is not None  # else the group would be an Exception
        if failures is not None:
            failed(item, failures)
        raise stopped from None
    if scope.cancelled_caught:
        assert tool.timeout is not None
        too_slow = trio.TooSlowError(f"the tool {tool.name} took longer than its timeout")
        return timed_out(item, tool.timeout, too_slow)
    if scope.cancel_called and not tool.is_async:
        logger.warning(
            "the tool %s took longer than its timeout, in a thread that cannot be stopped; with "
            "abandon_on_cancel=True it would be left behind",
            tool.name,
        )
    return returned(item, value, tool.encode_output)


def prepare(
    call: Call, tool_ctx: ToolContext
) -> tuple[Tool[..., object], DecodedArguments] | FunctionCallResult:
    """Find the tool of a call and decode the arguments, once; or say why it cannot be called."""
    item = call.item
    tool = tool_ctx.get(call.name)
    if tool is None:
        return unknown_tool(item, call.name, tool_ctx)
    if call.decoded is not None:
        return tool, call.decoded
    try:
        call.decoded = decode_call(tool, call.arguments)
    except ToolError as exc:
        return failed(item, exc)
    except TypeError:
        # An annotation names what does not exist.
        raise
    except Exception as exc:  # noqa: BLE001 - a hook that reads arguments is part of its tool
        return failed(item, exc)
    return tool, call.decoded


async def _call(tool: Tool[..., object], function: Callable[[], Any]) -> object:
    if tool.is_async:
        return await function()
    # In a box, because Trio takes a coroutine for a mistake. Here it is what an async function
    # returns that is behind a decorator and does not look like one.
    box: list[Any] = await trio.to_thread.run_sync(
        lambda: [function()],
        abandon_on_cancel=tool.abandon_on_cancel,
        limiter=current_tool_thread_limiter(),
    )
    value = box[0]
    return await value if inspect.isawaitable(value) else value


def _bind(
    tool: Tool[..., object],
    decoded: DecodedArguments,
    item: FunctionCall,
    call_ctx: RunContext[object] | None,
) -> tuple[tuple[object, ...], dict[str, object]]:
    if call_ctx is not None:
        return decoded.bind(msgspec.structs.replace(call_ctx, function_call=item))
    try:
        return decoded.bind()
    except TypeError as exc:
        raise TypeError(
            f"{exc}; tool {tool.name!r} is called without one: pass userdata= or call_ctx="
        ) from None


def _check_arguments(tool_calls: object, tool_ctx: object, call_ctx: object) -> None:
    from_answer = "an answer has one: answer.tool_calls"
    check_instance("tool_calls", tool_calls, Sequence, "a list of calls", from_answer)
    kinds = (FunctionToolCall, FunctionCall)
    for tool_call in cast("Sequence[object]", tool_calls):
        check_instance("tool_call", tool_call, kinds, "a FunctionToolCall or a FunctionCall")
    make = "make one with ToolContext(tools)"
    check_instance("tool_ctx", tool_ctx, ToolContext, "a ToolContext", make)
    check_instance("call_ctx", call_ctx, (RunContext, NoneType), "a RunContext or None")


def _context(
    call_ctx: RunContext[object] | None, userdata: NotGivenOr[object]
) -> RunContext[object] | None:
    if not is_given(userdata):
        return call_ctx
    if call_ctx is not None:
        raise TypeError(
            "call_ctx and userdata were both given, and a call_ctx has a userdata of its own; "
            "give one of them: call_ctx=RunContext(userdata, chat_ctx=...) has both"
        )
    return RunContext(userdata)
