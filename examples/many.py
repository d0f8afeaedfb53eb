"""Hold many conversations at once, in one nursery, and watch them grow.

On a terminal every conversation has a line of its own, as far as there is room; elsewhere a line
is printed when an answer begins and when it ends. The local model writes two answers at a time, so
others wait their turn.
"""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse
import shutil
from collections import Counter
from dataclasses import dataclass

import trio
from terminal import is_terminal, paint, printable

from lktrio import LLM, APIError, ChatContext

QUESTIONS = [
    "Who invented the telephone?",
    "How far away is the Sun?",
    "Give me three tips for sleeping well.",
    "In one sentence: why is the sky blue?",
]

STATES = {"waiting": "dim", "writing": "yellow", "done": "green", "failed": "red"}
"""What a conversation may be doing, and its colour."""


async def main(args: argparse.Namespace) -> int:
    async with chosen_server(args) as server, server.llm() as llm:
        began = trio.current_time()
        conversations = [Conversation(number, began) for number in range(1, args.n + 1)]
        async with trio.open_nursery() as screen:
            if is_terminal():
                screen.start_soon(Board(conversations).keep_drawn)
            async with trio.open_nursery() as nursery:
                for conversation in conversations:
                    nursery.start_soon(converse, llm, conversation)
            screen.cancel_scope.cancel()
        seconds = trio.current_time() - began
    done = [each for each in conversations if each.state == "done"]
    tokens = sum(each.tokens for each in done)
    print(
        f"\n{len(done)} of {args.n} answers, {tokens} tokens in {seconds:.1f} s: "
        f"{tokens / seconds:.1f} tokens/s"
    )
    return 0 if len(done) == args.n else 1


@dataclass
class Conversation:
    """One question and its answer."""

    number: int
    began: float
    state: str = "waiting"
    text: str = ""
    """The answer so far, or what went wrong."""
    tokens: int = 0
    ended: float | None = None

    def show(self, state: str, text: str) -> None:
        """Change what is to be seen of it; where nothing can be redrawn, say it if it is new."""
        is_new = state != self.state
        self.state, self.text = state, text
        if is_new and state != "writing":
            self.ended = trio.current_time()
        if is_new and not is_terminal():
            print(f"{self.number:>3}  {state:<8} {in_one_line(text)}", flush=True)


async def converse(llm: LLM, conversation: Conversation) -> None:
    """Ask one question and show how its answer arrives."""
    chat_ctx = ChatContext()
    question = QUESTIONS[(conversation.number - 1) % len(QUESTIONS)]
    chat_ctx.add_message(role="user", content=question)
    answer = ""
    try:
        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for text in stream.text:
                answer += text
                conversation.show("writing", answer)
    except APIError as error:
        # Caught here, it is the failure of one conversation; the others go on.
        conversation.show("failed", str(error))
        return
    conversation.tokens = 0 if stream.usage is None else stream.usage.completion_tokens
    conversation.show("done", answer)


class Board:
    """The conversations on a terminal, redrawn in place.

    Args:
        conversations: What it shows.
    """

    def __init__(self, conversations: list[Conversation]) -> None:
        self._conversations = conversations
        self._size = shutil.get_terminal_size()
        # Lines that have scrolled away cannot be redrawn; one is for the sum, one for the cursor.
        self._rows = conversations[: max(0, self._size.lines - 2)]
        self._is_drawn = False

    async def keep_drawn(self) -> None:
        """Draw ten times a second, until this is cancelled."""
        try:
            while True:
                self._draw()
                await trio.sleep(0.1)
        finally:
            self._draw()

    def _draw(self) -> None:
        lines = [*map(self._line, self._rows), self._sum()]
        up = f"\x1b[{len(lines)}F" if self._is_drawn else ""
        print(up, *(line + "\x1b[K\n" for line in lines), sep="", end="", flush=True)
        self._is_drawn = True

    def _line(self, of: Conversation) -> str:
        ended = trio.current_time() if of.ended is None else of.ended
        start = f"{of.number:>3}  {of.state:<8} {ended - of.began:>6.1f} s  "
        room = max(1, self._size.columns - len(start) - 1)
        text = in_one_line(of.text)
        start = start.replace(of.state, paint(of.state, STATES[of.state]), 1)
        return start + (text[-room:] if of.state == "writing" else text[:room])

    def _sum(self) -> str:
        count = Counter(each.state for each in self._conversations)
        return "     " + ", ".join(f"{count[state]} {state}" for state in STATES if count[state])


def in_one_line(text: str) -> str:
    """A text as it fits into a line of the board."""
    return printable(" ".join(text.split()))


def positive(text: str) -> int:
    """Read a number of conversations."""
    n = int(text)
    if n < 1:
        raise ValueError(text)
    return n


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "--n",
        type=positive,
        default=4,
        help="how many conversations (default: %(default)s)",
    )
    run(main, parser)
