"""The map in CONTRIBUTING.md: four ways through the house, each walked and compared."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APITimeoutError,
    ChatContext,
    function_tool,
    run_turn,
)
from lktrio.testing import Hold, ScriptedGateway, reply, tool_call
from tests.support.paths import ROOT

PREFIX = "lktrio."
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\d+\. `(?P<module>[\w.]+): (?P<function>[\w.]+)`$", re.MULTILINE)


@contextmanager
def noting_first_calls(noted: list[tuple[str, str]]) -> Iterator[None]:
    """Note each function of the package when it is called for the first time, in order."""
    known: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        module = str(frame.f_globals.get("__name__"))
        if event == "call" and module.startswith(PREFIX):
            call = (module.removeprefix(PREFIX), frame.f_code.co_qualname)
            if call not in known:
                known.add(call)
                noted.append(call)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def asked() -> ChatContext:
    chat_ctx = ChatContext.empty()
    chat_ctx.add_message(role="user", content="Will it rain?")
    return chat_ctx


@function_tool
async def weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


async def read(llm: LLM, gateway: ScriptedGateway) -> None:
    gateway.add("It will not.")
    async with llm.chat(chat_ctx=asked()) as stream:
        async for _ in stream:
            pass


async def set_option(llm: LLM, gateway: ScriptedGateway) -> None:
    gateway.add("It will not.")
    await llm.chat(chat_ctx=asked(), extra_kwargs={"temperature": 0.5}).collect()
    assert gateway.last_request.options["temperature"] == 0.5


async def call(llm: LLM, gateway: ScriptedGateway) -> None:
    gateway.add(tool_call("weather", {"city": "Rome"}), "It will not.")
    async with run_turn(llm, chat_ctx=asked(), tools=[weather]) as turn:
        async for _ in turn:
            pass


async def run_out_of_time(llm: LLM, gateway: ScriptedGateway) -> None:
    gateway.add(reply("", Hold()))
    options = APIConnectOptions(first_output_timeout=1, max_retry=0)
    with pytest.raises(APITimeoutError):
        await llm.chat(chat_ctx=asked(), conn_options=options).collect()


WAYS: dict[str, Callable[[LLM, ScriptedGateway], Awaitable[None]]] = {
    "A byte, on its way to `async for`": read,
    "An option, on its way to the body": set_option,
    "A call, on its way to its output": call,
    "A deadline, on its way to its error": run_out_of_time,
}


def steps(title: str) -> list[tuple[str, str]]:
    """The list below a title."""
    _, _, rest = PAGE.partition(f"**{title}**")
    listed = re.split(r"^(?:\*\*|## )", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [(match["module"], match["function"]) for match in STEP.finditer(listed)]


def test_the_map_has_four_ways() -> None:
    assert [len(steps(title)) > 8 for title in WAYS] == [True] * 4
    assert len(STEP.findall(PAGE)) == sum(len(steps(title)) for title in WAYS)


@pytest.mark.parametrize("title", WAYS)
async def test_a_way_goes_where_the_map_says(title: str, autojump_clock: MockClock) -> None:
    noted: list[tuple[str, str]] = []
    async with ScriptedGateway() as gateway, gateway.llm() as llm:
        with noting_first_calls(noted):
            await WAYS[title](llm, gateway)

    listed = steps(title)
    assert [step for step in listed if step not in noted] == []
    assert sorted(listed, key=noted.index) == listed
