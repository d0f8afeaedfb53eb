"""Make a typed object of a text, and watch it take shape while the model writes.

On a terminal one line is redrawn; elsewhere every value has a line of its own. The answer is held
to the fields and their types. Whether it is true is another matter: try it with other texts.
"""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse
import enum
import json
import shutil
from dataclasses import dataclass

from terminal import is_terminal, paint, printable, timed

from lktrio import APIResponseFormatError, ChatContext


class Day(enum.Enum):
    """Days on which the restaurant is open."""

    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


@dataclass(frozen=True)
class Booking:
    """A table in a restaurant."""

    name: str
    guests: int
    day: Day


async def main(args: argparse.Namespace) -> int:
    chat_ctx = ChatContext()
    chat_ctx.add_message(
        role="user", content=f"Extract the data as JSON from this text:\n\n{args.text}"
    )

    async with chosen_server(args) as server, server.llm() as llm:
        print(f"> {args.text}\n", flush=True)
        line = Line()
        try:
            async with llm.chat(chat_ctx=chat_ctx, response_format=Booking) as stream:
                async for value in timed(stream.partial_values):
                    # The last one is the object; those before are what there is of it so far.
                    if not isinstance(value, Booking):
                        line.show(json.dumps(value, ensure_ascii=False))
                booking = (await stream.collect()).parsed
        except APIResponseFormatError as error:
            # The server has answered; it is only nothing that we could use.
            line.end()
            print(paint("\nThis is no booking:", "red"), *error.reasons, sep="\n- ")
            return 1
        line.end()
        print("\n" + paint(str(booking), "green"))
    return 0


class Line:
    """A line that is redrawn in place if the output is a terminal, else written anew."""

    def __init__(self) -> None:
        self._redraws = is_terminal()
        self._room = shutil.get_terminal_size().columns - 1
        self._is_open = False

    def show(self, text: str) -> None:
        """Show another text."""
        shown = printable(text)
        if self._redraws:
            # A line that is longer than the terminal is wide could not be redrawn.
            print(f"\r{shown[: self._room]}\x1b[K", end="", flush=True)
            self._is_open = True
        else:
            print(shown, flush=True)

    def end(self) -> None:
        """Go to the next line."""
        if self._is_open:
            print()
            self._is_open = False


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "text",
        nargs="?",
        default="Hello, this is Maria Rossi. I would like a table for 4 on Friday, please.",
        help="(default: %(default)s)",
    )
    run(main, parser)
