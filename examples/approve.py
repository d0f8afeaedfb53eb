"""Ask a person before the model's calls run, while its other calls go on.

The model may look up the balance as it likes. Before it pays somebody, you are asked: answer "y",
or say why not, which the model reads. Nothing is really paid.
"""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse
import os

import trio
from terminal import paint, printable, timed
from tools import TEMPLATE, end_of

from lktrio import (
    ChatContext,
    PendingCall,
    RunContext,
    TextDelta,
    ToolError,
    ToolFinished,
    ToolStarted,
    function_tool,
    run_turn,
)

CALL_AND_ANSWER = 2
"""Rounds; in the last one the model may not call anything, so it has to answer."""


class Account:
    """What the tools find in `RunContext.userdata`."""

    def __init__(self, balance: int) -> None:
        self.balance = balance


@function_tool
async def get_balance(context: RunContext[Account]) -> int:
    """Look up how many euros there are."""
    return context.userdata.balance


@function_tool(timeout=10)  # from the moment at which it may run
async def pay(context: RunContext[Account], to: str, euros: int) -> str:
    """Pay somebody.

    Args:
        context: Where the account is.
        to: Whom.
        euros: How much.
    """
    await trio.sleep(0.2)  # stands for asking a bank
    context.userdata.balance -= euros
    return f"Paid {euros} euros to {to}."


class Person:
    """Who sits at the keyboard, and is asked one thing at a time."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def approve(self, call: PendingCall) -> bool:
        """Decide whether a call may run."""
        if call.name != pay.name:
            return True
        question = printable(f"Pay {call.arguments['euros']} euros to {call.arguments['to']}?")
        async with self._lock:
            print(f"\n{paint(question, 'bold')} ", end="", flush=True)
            said = await trio.to_thread.run_sync(read_line, abandon_on_cancel=True)
        if said.lower() in {"y", "yes"}:
            return True
        raise ToolError(f"The owner of the account refused: {said or 'nobody has answered'}")


def read_line() -> str:
    """Read a line. Not with `input`: a thread that is left behind would hold its lock."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line.decode(errors="replace").strip()


async def main(args: argparse.Namespace) -> int:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=args.order)

    async with chosen_server(args, template=TEMPLATE) as server, server.llm() as llm:
        print(f"> {args.order}\n", flush=True)
        async with run_turn(
            llm,
            chat_ctx=chat_ctx,
            tools=[get_balance, pay],
            # Small models do not know when to call a tool, and when to stop.
            tool_choice="required",
            max_rounds=CALL_AND_ANSWER,
            approve=Person().approve,
            userdata=Account(120),
        ) as turn:
            async for event in timed(turn):
                match event:
                    case ToolStarted(call=call):
                        started = paint("started: ", "cyan")
                        print(f"\n{started} {call.name} {call.arguments}", flush=True)
                    case ToolFinished(result=result):
                        print(f"\n{end_of(result)} {result.fnc_call_out.output}", flush=True)
                    case TextDelta(text=text):
                        print(text, end="", flush=True)
                    case _:
                        pass
        print("\n\n" + paint(f"[{llm.model}: {turn.rounds} rounds]", "dim"))
    return 0


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "order",
        nargs="?",
        default="Pay Ada 20 euros and Eve 90 euros.",
        help="(default: %(default)s)",
    )
    run(main, parser)
