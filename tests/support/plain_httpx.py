"""Plain httpx on Trio, used so that nothing is left: for tests of the servers themselves.

This module alone knows what one must do for that without lktrio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import httpcore
import httpx
import trio


async def leave(pieces: AsyncIterator[bytes]) -> None:
    """Leave a body in the middle as one must with httpx, whose generators would be left suspended."""
    with trio.CancelScope() as scope:
        scope.cancel()
        while True:
            await anext(pieces)


class Body(httpx.AsyncByteStream):
    """A request body that is no generator, so that a failing request leaves none suspended."""

    def __init__(self, *pieces: bytes, every: float = 0.0) -> None:
        self._pieces = iter(pieces)
        self._every = every

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            await trio.sleep(self._every)
            return piece
        raise StopAsyncIteration


async def post(client: httpx.AsyncClient, url: str, body: Body) -> httpx.Response:
    """Post a body that is no generator."""
    request = client.build_request("POST", url, headers={"Transfer-Encoding": "chunked"})
    request.headers.pop("Content-Length", None)
    request.stream = body
    return await client.send(request)


async def get_safely(client: httpx.AsyncClient, url: str) -> None:
    """Send a request so that a cancel while connecting loses nothing, by means of trace events."""
    opened: list[httpcore.AsyncNetworkStream] = []

    with trio.CancelScope() as guard:

        async def trace(name: str, info: dict[str, Any]) -> None:
            match name:
                case "connection.connect_tcp.complete":
                    opened.append(info["return_value"])
                    guard.shield = True
                case "connection.start_tls.complete":
                    guard.shield = True
                case "connection.start_tls.started":
                    guard.shield = False
                case "http11.send_request_headers.started":
                    opened.clear()
                    guard.shield = False
                case _:
                    pass

        try:
            await client.get(url, extensions={"trace": trace})
        finally:
            guard.shield = False
            with trio.CancelScope(shield=True):
                for stream in opened:
                    await stream.aclose()
