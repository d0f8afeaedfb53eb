"""A web back end: an answer goes to the browser as it comes, and the model stops when the browser
leaves. Needs what examples/requirements.txt names, and says which address to open.
"""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import TracebackType

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, request
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio

from lktrio import APIError, ChatContext, ChatModel

PAGE = Path(__file__).with_name("web.html")


def make_app(llm: ChatModel) -> QuartTrio:
    """Make the application around a model that was entered."""
    app = QuartTrio(__name__)

    @app.get("/")
    async def page() -> str:
        return PAGE.read_text(encoding="utf-8")

    @app.post("/answer")
    async def answer() -> Response:
        question = (await request.form).get("question", "")
        response = Response(Body(events(llm, question)), mimetype="text/event-stream")
        # The clocks of the LLM say how long it may take.
        response.timeout = None
        return response

    return app


@trio.as_safe_channel
async def events(llm: ChatModel, question: str) -> AsyncGenerator[str, None]:
    """Ask the model, and hand out what it says as server-sent events."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=question)
    try:
        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for text in stream.text:
                yield event(text=text)
        yield event(finish_reason=stream.finish_reason)
    except APIError as error:
        # The status of the response has been sent long ago.
        yield event(error=type(error).__name__)


def event(**members: str | None) -> str:
    """Write one server-sent event."""
    return f"data: {json.dumps(members)}\n\n"


class Body(ResponseBody):
    """The body of a response that is a channel: it is open for as long as it is being sent."""

    def __init__(self, channel: AbstractAsyncContextManager[trio.abc.ReceiveChannel[str]]) -> None:
        self._channel = channel

    async def __aenter__(self) -> trio.abc.ReceiveChannel[str]:
        return await self._channel.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.__aexit__(exc_type, exc, traceback)


async def told_to_end() -> None:
    """Wait for Ctrl-C. Raised in the middle of a request, it would be taken for its failure."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)


async def main(args: argparse.Namespace) -> int:
    config = Config()
    config.bind = [f"127.0.0.1:{args.port}"]
    config.loglevel = "WARNING"
    async with chosen_server(args) as server, server.llm() as llm, trio.open_nursery() as nursery:
        run_server = partial(serve, make_app(llm), config, shutdown_trigger=told_to_end)
        addresses = await nursery.start(run_server)
        print(f"Open {addresses[0]}; Ctrl-C ends it.", flush=True)
    return 0


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "--port", type=int, default=8000, help="where to listen; 0 for any (default: %(default)s)"
    )
    run(main, parser)
