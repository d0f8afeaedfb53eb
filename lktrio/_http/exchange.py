"""A request of the engine's and its response, whatever it is sent over.

This module knows which redirects are followed, and takes the coding off a body. It does not know
when to give up: it owns no clock, callers cancel it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from lktrio._definitions import Value
from lktrio._settings import Secret, same_origin
from lktrio._wire import Decoder, make_decoder

from .connection import ConnectionLost, Exchange, Phase
from .exceptions import ReusedConnectionLost, joined, redirect_error, translate
from .outgoing import Confidential
from .transport import TrioTransport

__all__ = [
    "HTTPRequest",
    "HTTPResponse",
    "OwnSender",
    "Sender",
    "host_of",
    "read_fields",
    "send",
]

_MAX_REDIRECTS: Final = 5


@attrs.frozen(eq=False, repr=False)
class HTTPRequest(Value):
    """One request, ready to be sent."""

    method: str
    url: str
    headers: Mapping[str, str | Secret] = attrs.field(repr=False)
    content: bytes = attrs.field(default=b"", repr=False)
    query: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    def with_header(self, name: str, value: str | Secret) -> HTTPRequest:
        """The same request with one more header."""
        headers = {**self.headers, name: value}
        return HTTPRequest(self.method, self.url, headers, self.content, self.query)


class ResponseBody(Protocol):
    """The body of a response."""

    @property
    def at_end(self) -> bool:
        """Whether it has been read to its end."""
        ...

    async def __anext__(self) -> bytes:
        """The next piece."""
        ...

    async def aclose(self) -> None:
        """Give the connection back, or close it. Nothing in it can be cancelled."""
        ...


class HTTPResponse:
    """The response to one request: its head, and its body piece by piece.

    Args:
        status_code: HTTP status.
        headers: Headers, names in lower case.
        body: The body.
        is_reused: Whether the connection had been used before.
        is_decoded: Whether somebody else has taken the coding off the body.
    """

    def __init__(
        self,
        status_code: int,
        headers: dict[str, str],
        body: ResponseBody,
        *,
        is_reused: bool,
        is_decoded: bool = False,
    ) -> None:
        self.status_code = status_code
        """HTTP status."""
        self.headers = headers
        """Headers, names in lower case."""
        self.is_reused = is_reused
        """Whether the connection had been used before."""
        self._body = body
        self._next: Callable[[], Awaitable[bytes]] = body.__anext__
        encoding = "" if is_decoded else headers.get("content-encoding", "")
        self._decoder = make_decoder(encoding) if encoding else None
        self.aclose: Callable[[], Awaitable[None]] = body.aclose
        """Give the connection back, or close it. Nothing in it can be cancelled."""

    @property
    def is_success(self) -> bool:
        """Whether the body is an answer, by the status."""
        return 200 <= self.status_code < 300

    @property
    def at_end(self) -> bool:
        """Whether the body has been read to its end."""
        return self._body.at_end and (self._decoder is None or not self._decoder.has_more)

    async def read(self) -> bytes | None:
        """Read the next piece of the body; None at its end.

        Raises:
            APIConnectionError: The connection was lost, or the body cannot be decoded.
        """
        try:
            if self._decoder is None:
                return await self._next()
            return await self._read_decoded(self._decoder)
        except StopAsyncIteration:
            return None
        except Exception as exc:
            error = translate(exc, "reading the response")
            if error is exc:
                raise
            raise error from exc

    async def _read_decoded(self, decoder: Decoder) -> bytes:
        while True:
            if decoder.has_more:
                # A few bytes may decode to very many: other tasks must get their turn.
                await trio.lowlevel.checkpoint()
                piece = decoder.feed(b"")
            else:
                piece = decoder.feed(await self._next())
            if piece:
                return piece


class Sender(Protocol):
    """Sends requests: over our own transport, or over a client that was brought."""

    async def send_once(
        self, request: HTTPRequest, observe: Callable[[Phase], None]
    ) -> HTTPResponse:
        """Send a request and wait for the head of the response.

        Args:
            request: The request.
            observe: Told when the request enters another phase.

        Raises:
            APIConnectionError: There is no response.
            APITimeoutError: A timeout of the client's own ran out.
            APIStatusError: The response is a redirect that leads nowhere.
            ReusedConnectionLost: A kept connection was gone.
        """
        ...


async def send(
    sender: Sender, request: HTTPRequest, observe: Callable[[Phase], None]
) -> HTTPResponse:
    """Send a request and wait for the head of the response.

    A redirect is followed if it keeps the method and the origin (307 and 308; RFC 9110, section
    15.4), five times at most.

    Raises:
        APIStatusError: The response is a redirect that is not followed.
        Exception: As `Sender.send_once`.
    """
    redirects = 0
    while True:
        response = await sender.send_once(request, observe)
        location = response.headers.get("location")
        if not 300 <= response.status_code < 400 or location is None:
            return response
        await response.aclose()
        target = joined(request.url, location)
        keeps_method = response.status_code in {307, 308}
        if not keeps_method or redirects == _MAX_REDIRECTS or not same_origin(request.url, target):
            raise redirect_error(response.status_code, response.headers, target)
        redirects += 1
        request = attrs.evolve(request, url=target, query={})


class OwnSender:
    """Sends requests over our own transport.

    Args:
        transport: The transport.
    """

    def __init__(self, transport: TrioTransport) -> None:
        self._transport = transport

    async def send_once(
        self, request: HTTPRequest, observe: Callable[[Phase], None]
    ) -> HTTPResponse:
        """As `Sender` has it."""
        try:
            response = await self._transport.handle_async_request(_outgoing(request, observe))
        except Exception as exc:
            error = translate(exc, f"the request to {host_of(request.url)}")
            if error is exc:
                raise
            if isinstance(exc, ConnectionLost):
                error = ReusedConnectionLost(str(error))
            raise error from exc
        observe("idle")
        body = response.stream
        assert isinstance(body, Exchange)
        headers = read_fields(body.reader.fields)
        body.reader.fields.clear()  # a stream may be open for long: one form is enough
        return HTTPResponse(response.status_code, headers, body, is_reused=body.is_reused)


def _outgoing(request: HTTPRequest, observe: Callable[[Phase], None]) -> httpx.Request:
    """The request as httpx has it, without what must not be seen in it."""
    url = request.url
    fields: list[tuple[bytes, bytes]] = []
    secrets: list[tuple[bytes, Secret]] = []
    for name, value in request.headers.items():
        if isinstance(value, Secret):
            secrets.append((name.encode("ascii"), value))
        else:
            fields.append((name.encode("ascii"), value.encode("ascii")))
    if request.content:
        fields.append((b"Content-Length", b"%d" % len(request.content)))
    query = None
    if request.query:
        query = Secret(httpx.URL(url).copy_merge_params(dict(request.query)).query.decode("ascii"))
        url = url.partition("?")[0]
    return httpx.Request(
        request.method,
        _parsed(url),
        headers=fields,
        stream=httpx.ByteStream(request.content),
        extensions=Confidential(observe, tuple(secrets), query).extensions,
    )


@functools.lru_cache(maxsize=64)
def _parsed(url: str) -> httpx.URL:
    # A program has few addresses and asks each of them often.
    return httpx.URL(url)


def read_fields(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers with their names in lower case; what is sent more than once is joined (RFC 9110,
    section 5.3)."""
    for encoding in ("ascii", "utf-8"):
        try:
            return _decoded_fields(fields, encoding)
        except UnicodeDecodeError:
            pass
    return _decoded_fields(fields, "latin-1")


def _decoded_fields(fields: Iterable[tuple[bytes, bytes]], encoding: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode(encoding).lower(), raw_value.decode(encoding)
        if name != "set-cookie":
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def host_of(url: str) -> str:
    """The host of a URL, for messages."""
    return urlsplit(url).hostname or url
