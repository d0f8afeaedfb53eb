"""Hold many conversations at once, in one nursery, and watch them grow.

On a terminal every conversation has a line of its own; elsewhere a line is printed when an answer
begins and when it ends. The local model writes two answers at a time, so others wait their turn.
"""

from __future__ import annotations

import argparse
import shutil
import sys

import trio
from command_line import chosen_server, options, run

from lktrio import LLM, APIError, ChatContext

QUESTIONS = [
    "Who invented the telephone?",
    "How far away is the Sun?",
    "Give me three tips for sleeping well.",
    "In one sentence: why is the sky blue?",
]


async def main(args: argparse.Namespace) -> int:
    async with chosen_server(args) as server, server.llm() as llm:
        board = Board(args.n)
        tokens: list[int] = []
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(args.n):
                nursery.start_soon(converse, llm, number, board, tokens)
        seconds = trio.current_time() - began
    print(
        f"\n{len(tokens)} of {args.n} answers, {sum(tokens)} tokens in {seconds:.1f} s: "
        f"{sum(tokens) / seconds:.1f} tokens/s"
    )
    return 0 if len(tokens) == args.n else 1


async def converse(llm: LLM, number: int, board: Board, tokens: list[int]) -> None:
    """Ask one question and show how its answer arrives."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=QUESTIONS[number % len(QUESTIONS)])
    answer = ""
    try:
        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for text in stream.text:
                board.show(number, "writing", answer + text, is_news=not answer)
                answer += text
    except APIError as error:
        # Caught here, it is the failure of one conversation; the others go on.
        board.show(number, "failed", str(error))
        return
    board.show(number, "done", answer)
    tokens.append(0 if stream.usage is None else stream.usage.completion_tokens)


class Board:
    """One line for each conversation, redrawn in place if the output is a terminal.

    Args:
        n: How many conversations there are.
    """

    def __init__(self, n: int) -> None:
        self._size = shutil.get_terminal_size()
        # Lines that have scrolled away cannot be redrawn.
        self._redraws = sys.stdout.isatty() and n < self._size.lines
        self._lines = [self._line(number, "waiting", "") for number in range(n)]
        if self._redraws:
            print(*self._lines, sep="\n")

    def show(self, number: int, state: str, text: str, *, is_news: bool = True) -> None:
        """Show where a conversation is.

        Args:
            number: Which one, from 0.
            state: What it is doing, in one word.
            text: Its answer so far, or what went wrong.
            is_news: Whether this deserves a line where nothing can be redrawn.
        """
        self._lines[number] = self._line(number, state, text)
        if self._redraws:
            up, erase = f"\x1b[{len(self._lines)}F", "\x1b[K"
            print(up, *(line + erase + "\n" for line in self._lines), sep="", end="", flush=True)
        elif is_news:
            print(self._lines[number], flush=True)

    def _line(self, number: int, state: str, text: str) -> str:
        start = f"{number + 1:>3}  {state:<8} "
        # What a model writes must not move the cursor.
        shown = "".join(filter(str.isprintable, " ".join(text.split())))
        room = max(1, self._size.columns - len(start) - 1)
        return start + (shown[-room:] if state == "writing" else shown[:room])


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
