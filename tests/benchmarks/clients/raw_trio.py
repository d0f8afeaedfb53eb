"""The floor: as little as can be done to read the answers, without an HTTP library.

It counts on what the load server does and no other server promises: a response's head of one
shape, and one whole event in each HTTP chunk.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
import trio

from ..exchange import AUTHORIZATION, Question, Reply
from . import Work
from .chunk import Chunk, Usage

BACKEND = "trio"
DISTRIBUTIONS = ("trio", "msgspec")
IMPORTS = "trio, msgspec"

_READ_SIZE = 64 * 1024


async def run(url: str, question: Question, work: Work) -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    decode = msgspec.json.Decoder(Chunk).decode
    idle: list[trio.abc.Stream] = []

    async def ask(texts: list[str]) -> Reply:
        stream: trio.abc.Stream
        if idle:
            stream = idle.pop()
        elif parts.scheme == "https":
            stream = await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True)
        else:
            stream = await trio.open_tcp_stream(host, port)
        body = msgspec.json.encode(
            {
                "model": question.model,
                "messages": question.messages,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\n"
            f"Host: {host}:{port}\r\n"
            f"Authorization: {AUTHORIZATION}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            "\r\n"
        )
        try:
            await stream.send_all(head.encode() + body)
            reply = await read(stream, texts)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        idle.append(stream)
        return reply

    async def read(stream: trio.abc.Stream, texts: list[str]) -> Reply:
        arguments: list[str] = []
        finish_reason = None
        usage = Usage()
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            data = await stream.receive_some(_READ_SIZE)
            if not data:
                raise EOFError("the server has closed the connection")
            *lines, rest = (rest + data).split(b"\n\n\r\n")
            for line in lines:
                event = line[line.find(b"data: ") + 6 :]
                if event == b"[DONE]":
                    continue
                chunk = decode(event)
                for choice in chunk.choices:
                    if choice.delta.content:
                        texts.append(choice.delta.content)
                    calls = choice.delta.tool_calls or ()
                    arguments += [call.function.arguments or "" for call in calls]
                    if choice.finish_reason:
                        finish_reason = choice.finish_reason
                if chunk.usage is not None:
                    usage = chunk.usage
        return Reply(
            "".join(texts),
            finish_reason,
            usage.prompt_tokens,
            usage.completion_tokens,
            "".join(arguments),
        )

    try:
        await work(ask)
    finally:
        for stream in idle:
            await stream.aclose()
