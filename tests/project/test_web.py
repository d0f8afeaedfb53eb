"""The web back end of the examples, over real sockets: what a browser sees, and that one may leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from lktrio.testing import Hold, Reset, ScriptedGateway, reply
from tests.support.paths import ROOT

pytest.importorskip("quart_trio", reason="examples/requirements.txt is not installed")

SCRIPT = ROOT / "examples" / "web.py"
QUESTION = b"question=Why+do+whales+sing%3F"
REQUEST = (
    b"POST /answer HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(QUESTION), QUESTION)
)


@asynccontextmanager
async def running(gateway: ScriptedGateway) -> AsyncGenerator[int, None]:
    """Run the back end before this gateway; gives the port, and ends it by Ctrl-C."""
    server = ["--base-url", gateway.base_url, "--key-from", "MY_KEY", "--port", "0"]
    process = await trio.lowlevel.open_process(
        [sys.executable, str(SCRIPT), *server],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MY_KEY": "sk-of-nobody"},
    )
    assert process.stdout is not None
    try:
        line = b""
        while not line.endswith(b"\n"):
            line += (part := await process.stdout.receive_some())
            assert part, "it has ended"
        port = re.search(rb":(\d+);", line)
        assert port is not None
        yield int(port[1])
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.stdout.aclose()


class Browser:
    """One request for an answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""

    @property
    def events(self) -> list[dict[str, Any]]:
        """What has arrived so far."""
        return [json.loads(found) for found in re.findall(rb"data: (.*)\n\n", self.received)]

    async def read(self, end: bytes | int) -> None:
        """Read until this has arrived, or so many events."""
        while len(self.events) < end if isinstance(end, int) else end not in self.received:
            self.received += (part := await self.stream.receive_some())
            assert part, "the back end has closed the connection"


@asynccontextmanager
async def browser(port: int, request: bytes = REQUEST) -> AsyncGenerator[Browser, None]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        yield Browser(stream)


async def test_a_browser_sees_the_answer_and_a_failure_and_may_leave() -> None:
    script = [
        reply("Hello", " there"),
        reply("Hello", Hold()),
        reply("Hello", Reset()),
        reply("Again."),
    ]
    # The limit is for a back end that hangs, which nothing else would end.
    with trio.fail_after(120):
        async with (
            ScriptedGateway(script, loopback=True, auth="Bearer sk-of-nobody") as gateway,
            running(gateway) as port,
        ):
            async with browser(port) as whole:
                await whole.read(3)
            assert whole.received.startswith(b"HTTP/1.1 200")
            assert whole.events == [
                {"text": "Hello"},
                {"text": " there"},
                {"finish_reason": "stop"},
            ]
            assert gateway.last_request.last_user_message == "Why do whales sing?"

            async with browser(port) as leaving:
                await leaving.read(1)
            # The gateway holds the answer for ever: it is over because the browser has gone.
            await gateway.wait_all_closed()
            assert leaving.events == [{"text": "Hello"}]
            assert gateway.last_request.interrupted

            async with browser(port) as failing:
                await failing.read(2)
            assert failing.events == [{"text": "Hello"}, {"error": "APIConnectionError"}]

            async with browser(port) as last:
                await last.read(1)
            assert last.events[0] == {"text": "Again."}


async def test_the_page_is_there() -> None:
    with trio.fail_after(120):
        async with (
            ScriptedGateway(loopback=True, auth=None) as gateway,
            running(gateway) as port,
            browser(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as reading,
        ):
            await reading.read(b"</script>")

    assert reading.received.startswith(b"HTTP/1.1 200")
    assert b"/answer" in reading.received
