"""Two servers, one of them slow or broken: see answers fail over to the other one, and be hedged.

Both servers are part of this script, so that it needs neither a model nor a network. The times are
those from the question to the first word. It fails if anything is not as it is told.
"""

from __future__ import annotations

from ctrl_c import INTERRUPTED, run_until_ctrl_c

import argparse
import json
import os
import re
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import trio
from terminal import paint, timed

from lktrio import LLM, ChatContext, ChatModel, FallbackAdapter, HedgeAdapter

OPENING = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b": a sign of life, but no output\n\n"
)
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Server:
    """A chat server on this machine that can be told to misbehave."""

    name: str
    delay: float = 0.0
    """Seconds until it says something."""
    fault: Literal["none", "busy", "reset at once", "reset half-way"] = "none"
    questions: int = 0
    """How often it was asked."""
    client_left: trio.Event = field(default_factory=trio.Event)
    """Set when a client goes before its answer is whole: this server stops generating."""

    @property
    def answer(self) -> str:
        """What it says if all is well."""
        return f"Here is the {self.name}, at your service."

    async def start(self, nursery: trio.Nursery) -> LLM:
        """Listen on a free port; return a model to be entered."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, self._serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        return LLM(self.name, base_url=f"http://127.0.0.1:{port}/v1", auth=None)

    async def _serve(self, client: trio.SocketStream) -> None:
        self.client_left = trio.Event()
        async with client, trio.open_nursery() as nursery:
            if not await read_request(client):
                return
            self.questions += 1
            nursery.start_soon(self._watch, client, nursery.cancel_scope)
            try:
                await self._answer(client)
            except trio.BrokenResourceError:
                self.client_left.set()
            nursery.cancel_scope.cancel()

    async def _watch(self, client: trio.SocketStream, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            await client.receive_some()
        self.client_left.set()
        scope.cancel()

    async def _answer(self, client: trio.SocketStream) -> None:
        if self.fault == "busy":
            await client.send_all(BUSY)
            return
        await client.send_all(OPENING)
        await trio.sleep(self.delay)
        beginning, comma, end = self.answer.partition(",")
        if self.fault != "reset at once":
            await client.send_all(event({"content": beginning}))
        if self.fault != "none":
            # The connection breaks in place of being closed in order.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        await client.send_all(event({"content": comma + end}))
        await client.send_all(event({}, finish_reason="stop") + b"data: [DONE]\n\n")


async def read_request(client: trio.SocketStream) -> bool:
    """Read one request to its end; False if the client went instead."""
    request = b""
    while True:
        received = await client.receive_some()
        if not received:
            return False
        request += received
        head, blank_line, body = request.partition(b"\r\n\r\n")
        if blank_line:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if len(body) >= int(length[1] if length else 0):
                return True


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


async def ask(model: ChatModel) -> str:
    """Ask, print what comes and when, and return it."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Who is there?")
    heard = ""
    start = trio.current_time()
    async with model.chat(chat_ctx=chat_ctx) as stream:
        async for chunk in timed(stream):
            if chunk.restart:
                print(paint(" -- lost; it begins anew:", "yellow"))
                heard = ""
            elif chunk.delta is not None and chunk.delta.content:
                if not heard:
                    print(f"   {trio.current_time() - start:5.2f} s  ", end="")
                print(chunk.delta.content, end="", flush=True)
                heard += chunk.delta.content
    print()
    return heard


def title(text: str) -> None:
    print(f"\n{paint(text, 'bold')}", flush=True)


async def main(slow: float) -> int:
    primary, backup = Server("primary"), Server("backup", delay=0.2)
    seen: list[bool] = []

    async with trio.open_nursery() as nursery:
        async with await primary.start(nursery) as first, await backup.start(nursery) as second:
            fallback = FallbackAdapter([first, second], attempt_timeout=1.0, cooldown=2.0)

            title(f"The primary takes {slow:g} s; after 1 s without output the backup is asked:")
            primary.delay = slow
            seen.append(await ask(fallback) == backup.answer)

            title("The primary is not asked again so soon:")
            seen.append(await ask(fallback) == backup.answer)
            seen.append(primary.questions == 1 and not fallback.availability[0].available)

            title("It is well again, and after the cool-down it is tried with the next question:")
            primary.delay = 0.0
            await trio.sleep_until(fallback.availability[0].retry_at or 0.0)
            seen.append(await ask(fallback) == primary.answer)
            seen.append(fallback.availability[0].available)

            title("It says that it is busy (status 503):")
            primary.fault = "busy"
            seen.append(await ask(FallbackAdapter([first, second])) == backup.answer)

            title("Its connection breaks before it has said anything:")
            primary.fault = "reset at once"
            seen.append(await ask(FallbackAdapter([first, second])) == backup.answer)

            title("Its connection breaks half-way, and restart_after_output=True:")
            primary.fault = "reset half-way"
            restarting = FallbackAdapter([first, second], restart_after_output=True)
            seen.append(await ask(restarting) == backup.answer)

            title(f"It takes {slow:g} s; after 0.5 s the backup is asked as well (HedgeAdapter):")
            primary.fault, primary.delay = "none", slow
            hedge = HedgeAdapter([first, second], after=0.5)
            seen.append(await ask(hedge) == backup.answer)
            seen.append(hedge.statistics().hedges_won == 1)
            with trio.move_on_after(2):
                await primary.client_left.wait()
            seen.append(primary.client_left.is_set())
            print(f"            [the primary saw its client leave: {seen[-1]}]")
        nursery.cancel_scope.cancel()

    if not all(seen):
        print("\nNot all of this is so.", file=sys.stderr)
    return 0 if all(seen) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--slow",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="what the primary takes where it is slow (default: %(default)g)",
    )
    # A proxy would look for this machine's address on its own.
    os.environ["no_proxy"] = "127.0.0.1"
    status = run_until_ctrl_c(main, parser.parse_args().slow)
    if status == INTERRUPTED:
        print(file=sys.stderr)
    sys.exit(status)
