"""Interrupt an answer half-way, see the server stop generating, and get the next answer at once.

This is what happens in a voice agent when the caller begins to speak: the agent falls silent,
nothing goes on generating behind its back, and what was heard stays in the conversation.
"""

from __future__ import annotations

from command_line import Server, chosen_server, options, run

import argparse

import httpx
import trio
from terminal import paint, timed

from lktrio import ChatContext, LLMStream

HEARD_ENOUGH = 100
"""Characters after which the caller begins to speak."""

LONG_ANSWER = 500
"""Tokens; an answer of this length would go on for a while if nobody stopped it."""

PATIENCE = 5.0
"""Seconds the server may take to notice that nobody listens any more."""


async def main(args: argparse.Namespace) -> int:
    chat_ctx = ChatContext()
    async with chosen_server(args) as server, server.llm() as llm, httpx.AsyncClient() as http:
        ask(chat_ctx, args.first)
        answer = llm.chat(chat_ctx=chat_ctx, extra_kwargs={"max_tokens": LONG_ANSWER})
        heard: list[str] = []
        enough = trio.Event()
        async with trio.open_nursery() as turn:
            turn.start_soon(speak, answer, heard, enough)
            await enough.wait()
            before = await generating(server, http)
            turn.cancel_scope.cancel()  # the caller barges in
        print(paint(" -- interrupted", "yellow"))
        chat_ctx.add_message(role="assistant", content="".join(heard), interrupted=True)
        has_stopped = await watch_it_stop(server, http, before)

        ask(chat_ctx, args.second)
        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for text in timed(stream.text):
                print(text, end="", flush=True)
        first_output = stream.response.attempts[-1].first_output
        if first_output is not None:
            print()
            note(f"began {first_output:.2f} s after the question")
    return 0 if has_stopped else 1


def ask(chat_ctx: ChatContext, question: str) -> None:
    chat_ctx.add_message(role="user", content=question)
    print(f"caller: {question}\nmodel:  ", end="", flush=True)


def note(text: str) -> None:
    print(paint(f"        [{text}]", "dim"), flush=True)


async def speak(answer: LLMStream[None], heard: list[str], enough: trio.Event) -> None:
    """The model's turn. Being cancelled anywhere in here is all it takes to stop the server."""
    async with answer as stream:
        async for text in timed(stream.text):
            print(text, end="", flush=True)
            heard.append(text)
            if sum(map(len, heard)) > HEARD_ENOUGH:
                enough.set()
    enough.set()


async def watch_it_stop(server: Server, http: httpx.AsyncClient, before: int | None) -> bool:
    """Say how soon the server stops generating what was interrupted; False if it does not."""
    if before is None:
        note("this server does not tell what it is generating")
        print()
        return True
    if before == 0:
        note("the answer had ended before it could be interrupted")
        print()
        return False
    interrupted_at = trio.current_time()
    while True:
        now = await generating(server, http)
        seconds = trio.current_time() - interrupted_at
        has_stopped = now is not None and now < before
        if has_stopped or seconds > PATIENCE:
            note(f"answers in the making: {before}, and {seconds:.2f} s later {now}")
            print()
            return has_stopped


async def generating(server: Server, http: httpx.AsyncClient) -> int | None:
    """How many answers llama.cpp's server is generating; None for a server that does not tell."""
    if server.base_url is None:
        return None
    headers = {} if server.bearer is None else {"Authorization": f"Bearer {server.bearer}"}
    try:
        reply = await http.get(server.base_url.removesuffix("/v1") + "/slots", headers=headers)
        reply.raise_for_status()
        return sum(bool(slot["is_processing"]) for slot in reply.json())
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        return None


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "--first",
        metavar="QUESTION",
        default="Tell me about the history of Rome.",
        help="what the model is interrupted at (default: %(default)s)",
    )
    parser.add_argument(
        "--second",
        metavar="QUESTION",
        default="Who was the first emperor of Rome?",
        help="what it is asked instead (default: %(default)s)",
    )
    run(main, parser)
