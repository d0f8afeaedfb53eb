"""The transport for clients of httpx2, which take requests and responses of their own classes only.

This module knows in what the two libraries differ. httpx2 is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any

import httpx

__all__ = ["for_httpx2"]


class _Stream(httpx.AsyncByteStream):
    """The body of a request of the other library."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: AsyncIterator[bytes] = self._stream.__aiter__()
        return pieces


def for_httpx2(transport: httpx.AsyncBaseTransport) -> Any:
    """A transport of httpx2 over one of httpx."""
    theirs = importlib.import_module("httpx2")

    @contextmanager
    def translated() -> Generator[None, None, None]:
        try:
            yield
        except httpx.TransportError as exc:
            kind = next(cls for cls in type(exc).__mro__ if cls.__module__ == "httpx")
            raise getattr(theirs, kind.__name__)(str(exc)) from exc

    class Body(theirs.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self.aclose = stream.aclose

        def __aiter__(self) -> Body:
            return self

        async def __anext__(self) -> Any:
            with translated():
                return await self._stream.__anext__()

    class Transport(theirs.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            stream = request.stream
            is_whole = isinstance(stream, theirs.ByteStream)
            ours = httpx.Request(
                request.method,
                str(request.url),
                headers=request.headers.raw,
                stream=httpx.ByteStream(b"".join(stream)) if is_whole else _Stream(stream),
                extensions=request.extensions,
            )
            with translated():
                response = await transport.handle_async_request(ours)
            return theirs.Response(
                response.status_code,
                headers=response.headers.raw,
                stream=Body(response.stream),
                extensions=response.extensions,
            )

        async def aclose(self) -> None:
            await transport.aclose()

    return Transport()
