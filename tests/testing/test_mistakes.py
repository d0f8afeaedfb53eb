"""What a person is told who writes a script wrongly: what was given, and what to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import trio

from lktrio import APIStatusError, function_tool
from lktrio.testing import (
    Call,
    NoConnection,
    RecordedRequest,
    Repeat,
    Reply,
    Reset,
    ScriptedGateway,
    Wait,
    WaitFor,
    error,
    error_event,
    events,
    raw,
    reasoning,
    reply,
    tool_call,
)
from tests.support.engine import conversation


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return city


async def answer_later(request: RecordedRequest) -> str:
    return request.last_user_message


async def note() -> None: ...


MISTAKES: dict[str, tuple[Callable[[Any], object], Any, type[Exception], str]] = {
    "status as text": (
        error,
        "429",
        TypeError,
        "status='429' is not accepted; it takes an integer",
    ),
    "status of none": (error, 0, ValueError, "status=0 is not accepted; it takes an integer, 100"),
    "pause as text": (Wait, "1", TypeError, "seconds='1' is not accepted; it takes a number of"),
    "pause below 0": (Wait, -1, ValueError, "seconds=-1 is not accepted; it takes a number of"),
    "no event": (
        WaitFor,
        3,
        TypeError,
        "event must have a wait(), as a trio.Event() has, and is an",
    ),
    "class of event": (WaitFor, trio.Event, TypeError, "and is the class Event"),
    "no function": (Call, "note", TypeError, "function must be callable, not a str"),
    "async function": (Call, note, TypeError, "function must not be async"),
    "text to repeat": (Repeat, "abc", TypeError, "a step is Send(), Wait(), Reset() or the like"),
    "step that is a class": (lambda it: Reply([it]), Reset, TypeError, "write Reset()"),
    "then": (lambda it: reply("Hi").then(it), "Ho", TypeError, "the like, not 'Ho'"),
    "number in a reply": (reply, 2, TypeError, "not of 2; write Wait(2) for a pause"),
    "class in a reply": (reply, Reset, TypeError, "not of the class Reset; write Reset()"),
    "reply in a reply": (reply, error(503), TypeError, "'scripted error'), a reply by itself"),
    "text among events": (events, "Hi", TypeError, "as chunk(), usage(), event() and comment()"),
    "reply among events": (events, reply("Hi"), TypeError, "not of reply('Hi'), a reply by itself"),
    "text among bytes": (raw, "HTTP/1.1 200", TypeError, "of bytes and of steps such as Wait()"),
    "interval": (lambda it: reply("Hi", every=it), "1", TypeError, "every='1' is not accepted"),
    "tokens": (lambda it: reply("Hi", usage=it), 3, TypeError, "two numbers of tokens, such as (9"),
    "three tokens": (lambda it: reply("Hi", usage=it), (1, 2, 3), TypeError, "usage=(1, 2, 3) is"),
    "tool itself": (
        tool_call,
        get_weather,
        TypeError,
        "name must be the name of a tool, not a Fun",
    ),
    "list of arguments": (
        lambda it: tool_call("get_weather", it),
        ["Rome"],
        TypeError,
        "arguments must be a dict, or JSON text, not a list",
    ),
    "step in a script": (ScriptedGateway, [Reset()], TypeError, "write reply(Reset())"),
    "part in a script": (ScriptedGateway, [reasoning("Hm")], TypeError, "a part of a reply; write"),
    "failure in a script": (
        ScriptedGateway,
        [error_event()],
        TypeError,
        "a part of a reply; write",
    ),
    "class in a script": (ScriptedGateway, [NoConnection], TypeError, "write NoConnection()"),
    "class as a script": (ScriptedGateway, Reset, TypeError, "not the class Reset; write Reset()"),
    "list in a script": (ScriptedGateway, [["Hi"]], TypeError, "not a list; write add(*replies)"),
    "async script": (ScriptedGateway, answer_later, TypeError, "must not be async"),
    "async item": (ScriptedGateway, [answer_later], TypeError, "such as Wait() or WaitFor()"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_where_it_is_made(name: str) -> None:
    make, value, kind, words = MISTAKES[name]
    with pytest.raises(kind, match=re.escape(words)):
        make(value)


async def ask(gateway: ScriptedGateway) -> None:
    async with gateway.llm() as llm:
        with pytest.raises(APIStatusError, match="the script's function failed"):
            await llm.chat(chat_ctx=conversation()).collect()


async def test_a_function_behind_a_lambda_is_not_left_unawaited() -> None:
    script: Any = [lambda request: answer_later(request)]
    with pytest.raises(TypeError, match="a function of a script must not be async"):
        async with ScriptedGateway(script) as gateway:
            await ask(gateway)


async def test_a_function_cannot_refuse_the_connection() -> None:
    script: Any = lambda _: NoConnection()  # noqa: E731 - it is a script
    with pytest.raises(
        TypeError, match=re.escape("its request has arrived. Return reply(Reset())")
    ):
        async with ScriptedGateway(script) as gateway:
            await ask(gateway)
