"""What the fault table says of turns: each cell is played in virtual time."""

from __future__ import annotations

from typing import Any, Final

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    ChatContext,
    ChatMessage,
    FunctionCallOutput,
    PendingCall,
    ToolError,
    function_tool,
    run_turn,
)
from lktrio.testing import (
    DONE,
    Close,
    Hold,
    Reply,
    ScriptedGateway,
    Wait,
    chunk,
    error,
    events,
    reply,
)
from tests.faults.fault_table import TURN_CELLS, TurnCell
from tests.support.conversations import assert_valid

CLOCKS: Final = {
    "plain": APIConnectOptions(
        max_retry=0, timeout=2, first_output_timeout=5, total_timeout=30, max_retry_delay=5
    ),
    "retry": APIConnectOptions(
        max_retry=2, timeout=2, first_output_timeout=5, total_timeout=30, max_retry_delay=5
    ),
}

CALL: Final = {
    "index": 0,
    "id": "call_a",
    "type": "function",
    "function": {"name": "pay", "arguments": '{"to": "Ada"}'},
}


@attrs.frozen
class Weather:
    sky: str


class Failed(Exception):
    """What `approve` raises."""


@function_tool(timeout=1)
async def pay(to: str, seconds: float = 0.5) -> str:
    await trio.sleep(seconds)
    return "paid"


def calling(*rest: Any, seconds: float = 0.5) -> Reply:
    """An answer with a call that is whole before it goes on to speak."""
    arguments = f'{{"to": "Ada", "seconds": {seconds}}}'
    call = {**CALL, "function": {"name": "pay", "arguments": arguments}}
    return events(chunk(tool_calls=[call]), chunk("Let me see."), *rest)


END: Final = (chunk(finish_reason="tool_calls"), DONE)
GOOD: Final = reply('{"sky": "blue"}')
BAD: Final = reply('{"sky": 5}')

ASKED: Final[dict[str, Reply]] = {
    "nothing": calling(*END),
    "a refusal": calling(*END),
    "a tool that takes too long": calling(*END, seconds=9),
    "a failure of `approve`": calling(*END),
    "more of the answer for 9 s": calling(*(Wait(1.5), chunk(" Wait.")) * 6, *END),
    "cut": calling(Wait(1), Close()),
    "stall": calling(Hold()),
    "the caller's deadline": calling(*END),
}

ASKED_AGAIN: Final[dict[str, Reply]] = {
    "nothing": GOOD,
    "no better answer": reply('{"sky": 6}'),
    "status 503": error(503),
    "stall": reply(Hold()),
    "cut before text": reply(Close()),
    "cut mid text": reply('{"sky": ', Close()),
    "the caller's deadline": reply('{"sky": ', Wait(1.5), "5}"),
}


def deciding(happening: str) -> Any:
    async def approve(pending: PendingCall) -> bool:
        await trio.sleep(3)
        if happening == "a failure of `approve`":
            raise Failed
        if happening == "a refusal":
            raise ToolError("refused")
        return True

    return approve


def word_for(exc: Exception) -> str:
    match exc:
        case Failed():
            return "raised"
        case APIResponseFormatError():
            return "misfit"
        case APITimeoutError():
            return exc.clock
        case APIStatusError():
            return f"status {exc.status_code}"
        case APIConnectionError():
            return "lost"
        case _:
            raise exc


def kept(chat_ctx: ChatContext) -> list[str]:
    """What stands behind the question, in the words of the table."""
    words: list[str] = []
    for item in chat_ctx.items[1:]:
        match item:
            case ChatMessage(role="assistant"):
                words.append("text cut" if item.interrupted else "text")
            case ChatMessage():
                assert (item.text_content or "").startswith("Your answer does not have the form")
                words.append("told")
            case FunctionCallOutput():
                known = ("paid", "refused", "timed out", "not carried out")
                words += [word for word in known if word in item.output]
            case _:
                pass
    return words


async def play(cell: TurnCell) -> tuple[str, list[str]]:
    is_asked = cell.phase == "asked"
    options: dict[str, Any] = {"response_format": Weather, "ask_again": 1}
    script = [BAD, ASKED_AGAIN[cell.happening], GOOD] if not is_asked else []
    if is_asked:
        options = {
            "tools": [pay],
            "early_start": True,
            "approve": deciding(cell.happening),
        }
        script = [ASKED[cell.happening], reply("Done.")]
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Please.")
    limit = 1 if cell.happening == "the caller's deadline" else 1000
    word = "left"
    gateway = ScriptedGateway(lambda request: script[request.number])
    async with gateway, gateway.llm() as llm:
        with trio.move_on_after(limit):
            async with run_turn(
                llm, chat_ctx=chat_ctx, conn_options=CLOCKS[cell.strategy], **options
            ) as turn:
                try:
                    async for _ in turn:
                        pass
                    word = "whole"
                except (APIError, Failed) as exc:
                    word = word_for(exc)
                when = trio.current_time()
        if word == "left":
            when = trio.current_time()
        await gateway.wait_all_closed()
        count = len(gateway.requests)
    assert_valid(chat_ctx)
    return f"{word} @{round(when, 1):g} x{count}", kept(chat_ctx)


@pytest.mark.parametrize("cell", TURN_CELLS, ids=str)
async def test_a_turn_ends_as_stated(cell: TurnCell, autojump_clock: MockClock) -> None:
    outcome, words = await play(cell)

    assert outcome == cell.outcome
    stated = cell.kept.split(", ")
    if stated[-1] == "and the answer if any":
        stated[-1:] = ["text"] if outcome.startswith("whole") else []
    assert words == stated


def test_all_that_is_stated_is_played() -> None:
    stated = [(cell.phase, cell.happening) for cell in TURN_CELLS if cell.strategy == "plain"]
    played = [("asked", name) for name in ASKED]
    assert stated == [*played, *(("asked again", name) for name in ASKED_AGAIN)]
