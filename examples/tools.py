"""Let the model call a tool, give it the result, and have it answer in words.

Everything that happens in the turn is printed when it happens. What the tool reports is made up.
"""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse
from dataclasses import dataclass
from pathlib import Path

import trio
from terminal import paint, timed

from lktrio import (
    CallReady,
    ChatContext,
    FunctionCallResult,
    TextDelta,
    ToolError,
    ToolFinished,
    ToolStarted,
    Turn,
    function_tool,
    run_turn,
)

TEMPLATE = Path(__file__).with_name("tools.jinja")
"""Teaches the local model to call tools."""

CALL_AND_ANSWER = 2
"""Rounds; in the last one the model may not call anything, so it has to answer."""


@dataclass(frozen=True)
class Weather:
    """What the tool returns; the model reads it as JSON."""

    sky: str
    celsius: int


REPORTS = {
    "London": Weather("rainy", 14),
    "Paris": Weather("sunny", 21),
    "Rome": Weather("cloudy", 24),
}


@function_tool(timeout=10)
async def get_weather(city: str) -> Weather:
    """Look up the weather in a city.

    Args:
        city: Name of the city.
    """
    await trio.sleep(0.2)  # stands for asking a weather service
    report = REPORTS.get(city.title())
    if report is None:
        # The model reads this, and can say so.
        raise ToolError(f"There is no report for {city}, only for {', '.join(REPORTS)}.")
    return report


async def main(args: argparse.Namespace) -> int:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=args.question)

    async with chosen_server(args, template=TEMPLATE) as server, server.llm() as llm:
        print(f"> {args.question}\n", flush=True)
        async with run_turn(
            llm,
            chat_ctx=chat_ctx,
            tools=[get_weather],
            # Small models do not know when to call a tool, and when to stop.
            tool_choice="required",
            parallel_tool_calls=False,
            max_rounds=CALL_AND_ANSWER,
        ) as turn:
            has_answered = await show(turn)
        kinds = ", ".join(item.type for item in chat_ctx.items)
        print("\n\n" + paint(f"[{llm.model}: {summary(turn)}]", "dim"))
        print(paint(f"[in the conversation: {kinds}]", "dim"))
    return 0 if has_answered else 1


async def show(turn: Turn[None]) -> bool:
    """Print what happens in a turn; return whether the model has said something."""
    has_answered = False
    async for event in timed(turn):
        match event:
            case CallReady(call=call):
                print(paint("call:    ", "cyan"), call.name, call.arguments, flush=True)
            case ToolStarted(call=call):
                print(paint("started: ", "cyan"), call.name, flush=True)
            case ToolFinished(result=result):
                print(end_of(result), f"{result.fnc_call_out.output}\n", flush=True)
            case TextDelta(text=text):
                print(text, end="", flush=True)
                has_answered = True
            case _:
                pass
    return has_answered


def end_of(result: FunctionCallResult) -> str:
    """Say how a call has ended."""
    return paint("failed:  ", "red") if result.is_error else paint("finished:", "green")


def summary(turn: Turn[None]) -> str:
    """Describe a turn that has ended: rounds, usage of all of them, why the last one ended."""
    facts = [f"{turn.rounds} round{'s' if turn.rounds > 1 else ''}"]
    if turn.usage is not None:
        facts.append(f"{turn.usage.prompt_tokens} + {turn.usage.completion_tokens} tokens")
    if turn.last_response is not None:
        facts.append(f"finish reason: {turn.last_response.finish_reason}")
    return ", ".join(facts)


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "question",
        nargs="?",
        default="What is the weather in Paris?",
        help="(default: %(default)s)",
    )
    run(main, parser)
