"""Requests over a client that a program brings: an ``AsyncClient`` of httpx, or of httpx2.

This module knows what httpx and httpcore do on Trio, and what must be done about it, so that
nothing is left behind. It does not know what is sent.

Source: https://www.python-httpx.org/advanced/extensions/ (``trace``),
https://www.encode.io/httpcore/extensions/
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, Protocol, Self, cast

import httpx
import trio

from lktrio._answers import APIConnectionError
from lktrio._settings import reveal

from .connection import Phase
from .exceptions import ReusedConnectionLost, joined, redirect_error, translate
from .exchange import HTTPRequest, HTTPResponse, host_of, read_fields
from .outgoing import Confidential

__all__ = ["BroughtSender", "HTTPClient", "is_client"]

_MAX_PULLS: Final = 50_000


class HTTPClient(Protocol):
    """The HTTP client that a program may bring: an ``httpx.AsyncClient``, or an
    ``httpx2.AsyncClient``, which is another class with the same interface."""

    def build_request(self, *args: Any, **kwargs: Any) -> Any:
        """Make a request that can be sent."""
        ...

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, and return the response."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class _Content:
    """A body of one piece, without the generator that httpx has for it: a cancel during the send
    leaves that one suspended. Mixed into the library's own class of bodies."""

    at_end = False

    def __init__(self, content: bytes) -> None:
        self._content = [content] if content else []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._content:
            self.at_end = True
            raise StopAsyncIteration
        return self._content.pop()

    async def aclose(self) -> None:
        """Nothing is open."""


@functools.cache
def _content_class(library: str) -> Callable[[bytes], httpx.AsyncByteStream]:
    """The class of bodies for httpx, or for a library with the same interface."""
    base = importlib.import_module(library).AsyncByteStream
    return cast("Callable[[bytes], httpx.AsyncByteStream]", type("Content", (_Content, base), {}))


def is_client(client: object) -> bool:
    """Whether this is an ``AsyncClient`` of httpx, or of a library with the same interface."""
    return any(cls.__name__ == "AsyncClient" for cls in type(client).__mro__)


def _library_of(client: object) -> str:
    """The package that a client, or the class it is derived from, comes from."""
    classes = (cls for cls in type(client).__mro__ if cls.__name__ == "AsyncClient")
    return next(classes).__module__.partition(".")[0]


class _Trace:
    """Listens to httpcore's events of one request.

    It tells the phases apart, and closes two gaps. A cancel inside the TLS handshake leaves the
    socket open: the stream is kept here until the connection has it. A cancel on the first
    checkpoint of a new connection leaves it in the pool for ever: the guard scope is shielded
    over that one checkpoint, which does not block.
    """

    def __init__(self, guard: trio.CancelScope, observe: Callable[[Phase], None]) -> None:
        self._guard = guard
        self.observe = observe
        self._pending: Any = None
        self._connected = False
        self._sending = False
        self.extensions: dict[str, Any] = {}
        """The request's extensions, once it is built."""
        self.status_code = 0
        """Status of the response; 0 as long as its head is not there."""
        self._headers: Iterable[tuple[bytes, bytes]] = ()

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, names in lower case."""
        return {
            name.decode("ascii", "replace").lower(): value.decode("ascii", "replace")
            for name, value in self._headers
        }

    @property
    def reused(self) -> bool:
        """Whether the request went over a connection that had been used before."""
        return self._sending and not self._connected

    # httpcore refuses a callback that is not a coroutine function.
    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        step = event.partition(".")[2]
        if step in {"connect_tcp.complete", "start_tls.complete"}:
            self._connected = True
            self._pending = info["return_value"]
            self._guard.shield = True
            return
        if step.endswith(".started"):
            self._guard.shield = False
        if step == "send_request_headers.started" and info["request"].method != b"CONNECT":
            self._pending = None
            self._sending = True
            self.observe("write")
        elif step == "send_request_body.complete":
            self.observe("idle")
        elif step == "receive_response_headers.complete":
            _, self.status_code, _, self._headers = info["return_value"]
            # What follows is nothing to listen to, and to be told of it costs.
            self.extensions.pop("trace", None)

    async def close(self) -> None:
        """Close the connection that was never handed over, if there is one."""
        pending, self._pending = self._pending, None
        if pending is not None:
            # A scope that is cancelled already: closing is forceful and cannot block.
            with trio.CancelScope(shield=True) as scope:
                scope.cancel()
                await pending.aclose()


class _Body:
    """A response's body, which always leaves its connection idle in the pool or closed.

    It is a chain of generators that a mere ``aclose()`` leaves suspended, with the connection open.
    They unwind only by being pulled to the end or until one raises: so they are pulled inside a
    scope that is cancelled already.

    Args:
        response: The response.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.at_end = False
        self._response = response
        self._pieces = cast("AsyncIterator[bytes]", response.stream).__aiter__()

    async def __anext__(self) -> bytes:
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            self.at_end = True
            raise

    async def aclose(self) -> None:
        """Unwind what is left, and close the response."""
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            with contextlib.suppress(StopAsyncIteration, Exception):
                for _ in range(0 if self.at_end else _MAX_PULLS):
                    await self.__anext__()
        with trio.CancelScope(shield=True):
            await self._response.aclose()


class BroughtSender:
    """Sends requests over a client that a program brings.

    Args:
        client: The client.
        own_auth: Whether the client's own authentication is left in force.
    """

    def __init__(self, client: HTTPClient, *, own_auth: bool) -> None:
        self._client = client
        self._library = _library_of(client)
        self._own_auth = own_auth

    async def send_once(
        self, request: HTTPRequest, observe: Callable[[Phase], None]
    ) -> HTTPResponse:
        """As `Sender` has it."""
        guard = trio.CancelScope()
        trace = _Trace(guard, observe)
        response: HTTPResponse | None = None
        try:
            with guard:
                response = await self._exchange(request, trace)
            assert response is not None  # nobody cancels the guard itself
            observe("idle")
            return response
        except Exception as exc:
            error = translate(exc, f"the request to {host_of(request.url)}")
            if error is exc:
                raise
            location = trace.headers.get("location")
            if 300 <= trace.status_code < 400 and location is not None:
                # httpx looks at where a redirect leads although it is not to follow it.
                target = joined(request.url, location)
                raise redirect_error(trace.status_code, trace.headers, target) from exc
            if trace.reused and type(error) is APIConnectionError and error.retryable:
                raise ReusedConnectionLost(error.message) from exc
            raise error from exc
        finally:
            await trace.close()

    async def _exchange(self, request: HTTPRequest, trace: _Trace) -> HTTPResponse:
        # What a client builds is of its own library, which may be httpx2.
        outgoing: httpx.Request = self._client.build_request(
            request.method,
            request.url,
            headers={name: reveal(value) for name, value in request.headers.items()},
            content=request.content or None,
            params=dict(request.query) or None,
            timeout=None,
            extensions={"trace": trace, **Confidential(trace.observe).extensions},
        )
        if request.content:
            outgoing.stream = _content_class(self._library)(request.content)
        trace.extensions = outgoing.extensions
        options: dict[str, Any] = {}
        if not self._own_auth or any(name.lower() == "authorization" for name in request.headers):
            options["auth"] = None
        response: httpx.Response = await self._client.send(
            outgoing, stream=True, follow_redirects=False, **options
        )
        # A hook of the program may have read the body; then the library has decoded it, too.
        is_read = response.is_stream_consumed
        return HTTPResponse(
            response.status_code,
            read_fields(response.headers.raw),
            _Content(response.content) if is_read else _Body(response),
            is_reused=trace.reused,
            is_decoded=is_read,
        )
