"""HTTP: send one request, hand over the body's bytes, close cleanly. Every httpx name lives here.

This module knows what httpx and httpcore do on Trio and what must be done about it; it maps
their exceptions to ours at one boundary. It does not know what the bytes mean, and it owns no
clock: callers cancel it.

Source: https://www.python-httpx.org/advanced/extensions/ (``trace``),
https://www.encode.io/httpcore/extensions/
"""

from __future__ import annotations

import functools
import importlib
import re
import ssl
import time
import types
import zlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
)
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

import attrs
import httpx
import trio

from ._credentials import same_origin
from ._errors import APIConnectionError, APIStatusError, APITimeoutError, Clock
from ._value import Value
from ._wire import content_codings, read_headers, status_error

if TYPE_CHECKING:
    from ._network import DirectTransport

__all__ = [
    "HTTPClient",
    "HTTPReply",
    "HTTPRequest",
    "Phase",
    "ReusedConnectionLost",
    "Transport",
    "check_client",
    "make_client",
    "translate",
]


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


Phase = Literal["connect", "write", "idle"]
"""What a request is doing: connecting, sending, or waiting for bytes."""

MAX_KEEPALIVE: Final = 20
"""Idle connections that are kept. httpcore's pool is quadratic in them."""

KEEPALIVE_SECONDS: Final = 30.0
"""How long an idle connection is kept; below what load balancers commonly grant (60 s)."""

MAX_REDIRECTS: Final = 5
_MAX_PULLS: Final = 50_000
_MAX_DECODED: Final = 64 * 1024
_MAX_GATHERED: Final = 64 * 1024


@attrs.frozen(eq=False, repr=False)
class HTTPRequest(Value):
    """One request, ready to be sent."""

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    content: bytes = attrs.field(default=b"", repr=False)
    query: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


class ReusedConnectionLost(APIConnectionError):
    """A kept-alive connection was gone before a byte of the response: the server had closed it.
    The request is sent again by whoever catches this; it never reaches a user."""


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # Loading the CA bundle costs tens of milliseconds: once per process, not per client.
    return httpx.create_ssl_context()


class _NoCookies(httpx.Cookies):
    """Cookies that are neither kept nor looked for."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep nothing."""


class _OwnClient(httpx.AsyncClient):
    """A client with nothing of its own that would have to be merged into a request.

    Args:
        direct: What sends its requests, or None if some may need a proxy.
        options: As for any client.
    """

    _no_cookies: Final = _NoCookies()

    # httpx's are looked for in every response, by way of what `http.cookiejar` takes for one.
    @property
    def cookies(self) -> httpx.Cookies:
        """None, for ever."""
        return self._no_cookies

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise AttributeError(f"this client keeps no cookies: {cookies!r}")

    def __init__(self, direct: DirectTransport | None, **options: Any) -> None:
        super().__init__(transport=direct, **options)
        self._direct = direct

    @property
    def direct(self) -> DirectTransport | None:
        """What a request can be given to as it is; None if something is to be done with each.

        What httpx does for each request, besides sending it, is for those who have authentication,
        redirects, cookies or hooks. It also refuses to send with a client that was closed. And
        somebody may have put an instrument or a mock in its way.
        """
        if self.is_closed or any(self.event_hooks.values()):
            return None
        ways = (httpx.AsyncClient.send, httpx.AsyncHTTPTransport.handle_async_request)
        return self._direct if all(map(_is_of_httpx, ways)) else None


def _is_of_httpx(function: object) -> bool:
    """Whether a method of httpx is what it was. A wrapper may well have its name."""
    if type(function) is not types.FunctionType:
        return False
    module: str = function.__globals__["__name__"]
    return module.startswith("httpx.")


def make_client(
    *, proxies: bool = True, verify: ssl.SSLContext | None = None, ours_alone: bool = True
) -> httpx.AsyncClient:
    """Make the client an `LLM` uses when the program brings none.

    It has no limit on connections (under Trio, httpx leaks a pool slot when a *queued* request
    is cancelled), no timeouts (the clocks are Trio deadlines), follows no redirects and keeps no
    cookies. Certificates are taken from the environment as httpx documents it, and so are
    proxies.

    Args:
        proxies: Whether proxies are taken from the environment. No proxy reaches this machine's
            own loopback addresses.
        verify: Decides which certificates are accepted; None for what the environment says.
        ours_alone: Whether nobody else sends requests with it, who would expect the timeouts of
            httpx.
    """
    if verify is None:
        verify = _ssl_context()
    direct = None
    if ours_alone and not (proxies and _has_proxies()):
        from ._network import DirectTransport

        direct = DirectTransport(
            verify, max_keepalive=MAX_KEEPALIVE, keepalive_seconds=KEEPALIVE_SECONDS
        )
    return _OwnClient(
        direct,
        verify=verify,
        trust_env=proxies,
        timeout=None,
        follow_redirects=False,
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=MAX_KEEPALIVE,
            keepalive_expiry=KEEPALIVE_SECONDS,
        ),
    )


def _has_proxies() -> bool:
    """Whether httpx would find a proxy; `NO_PROXY` alone names none."""
    found = getproxies()
    return any(found.get(scheme) for scheme in ("http", "https", "all"))


class _Content:
    """The one piece of a request's body, as an iterator that needs no clean-up.

    httpx's own is an async generator, which a cancel during the send leaves suspended.
    """

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content or None

    def __aiter__(self) -> _Content:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, None
        if content is None:
            raise StopAsyncIteration
        return content


class _Body:
    """A request body without a generator; mixed into the HTTP library's own class of bodies."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Content(self._content)


@functools.cache
def _body_class(library: str) -> Callable[[bytes], httpx.AsyncByteStream]:
    """The class of bodies for httpx, or for a library with the same interface."""
    base = importlib.import_module(library).AsyncByteStream
    return cast("Callable[[bytes], httpx.AsyncByteStream]", type("Body", (_Body, base), {}))


def check_client(client: HTTPClient | None) -> HTTPClient | None:
    """Refuse what cannot send requests on Trio.

    Raises:
        TypeError: It is no ``AsyncClient`` of httpx or of a library with the same interface.
    """
    if client is None or any(cls.__name__ == "AsyncClient" for cls in type(client).__mro__):
        return client
    raise TypeError(
        f"http_client must be an httpx.AsyncClient, not a {type(client).__name__}; "
        "leave it out to use one of our own"
    )


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
        self._observe = observe
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
        elif step == "start_tls.started":
            self._guard.shield = False
            self._observe("connect")
        elif step == "send_request_headers.started":
            if self._pending is not None:
                self._guard.shield = False
                self._pending = None
            self._sending = True
            self._observe("write")
        elif step == "send_request_body.complete":
            self._observe("idle")
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


def _read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers with their names in lower case; what is sent more than once is joined (RFC 9110,
    section 5.3)."""
    for encoding in ("ascii", "utf-8"):
        try:
            return _decoded_headers(raw, encoding)
        except UnicodeDecodeError:
            pass
    return _decoded_headers(raw, "latin-1")


def _decoded_headers(raw: Iterable[tuple[bytes, bytes]], encoding: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode(encoding).lower(), raw_value.decode(encoding)
        if name != "set-cookie":
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class HTTPReply:
    """The response to one request: its head, and its body piece by piece.

    Args:
        status_code: HTTP status.
        headers: Headers, names in lower case.
        body: The body.
        close: Gives the connection back, or closes it. Nothing in it can be cancelled.
        reused: Whether the connection had been used before.
    """

    def __init__(
        self,
        status_code: int,
        headers: dict[str, str],
        body: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
        *,
        reused: bool,
    ) -> None:
        self.status_code = status_code
        """HTTP status."""
        self.headers = headers
        """Headers, names in lower case."""
        self.reused = reused
        """Whether the connection had been used before."""
        self.at_end = False
        """Whether the body has been read to its end."""
        self._body = body
        self._close = close
        # A body that is there already has been decoded, too.
        encoding = "" if isinstance(body, _Content) else headers.get("content-encoding", "")
        self._decoder = _make_decoder(encoding) if encoding else None
        self._next: Callable[[], Awaitable[bytes]] = body.__anext__
        self._room = 0

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
            self.at_end = True
            return None
        except Exception as exc:
            error = translate(exc, "reading the response")
            if error is exc:
                raise
            raise error from exc

    async def read_on(self, take: Callable[[bytes], object], pause: Callable[[], bool]) -> bool:
        """Read on, and hand over all there is each time before more has to be waited for.

        One network read brings up to 64 KiB, often hundreds of HTTP chunks, which httpx gives one
        by one. What is done once for all of them costs next to nothing for each.

        Args:
            take: Called with bytes. It must neither wait nor raise: a wait may have begun.
            pause: Asked after each wait: whether to return before there is another one.

        Returns:
            Whether there may be more of the body: False at its end. True for a pause, and after
            every 64 KiB that came without waiting.

        Raises:
            APIConnectionError: The connection was lost, or the body cannot be decoded.
        """
        if self._decoder is not None:
            # A few bytes may decode to very many: piece by piece.
            piece = await self.read()
            if piece is not None:
                take(piece)
            return piece is not None
        pieces: list[bytes] = []

        def hand_over() -> None:
            if pieces:
                data = b"".join(pieces)
                pieces.clear()
                take(data)

        def note_pause() -> None:
            self._room = 0 if pause() else _MAX_GATHERED

        self._room = _MAX_GATHERED
        try:
            await _watch_waits(self._gather(pieces), hand_over, note_pause)
        except Exception as exc:
            hand_over()
            error = translate(exc, "reading the response")
            if error is exc:
                raise
            raise error from exc
        hand_over()
        return not self.at_end

    async def _gather(self, pieces: list[bytes]) -> None:
        async for piece in self._body:
            pieces.append(piece)
            self._room -= len(piece)
            if self._room <= 0:
                return
        self.at_end = True

    async def _read_decoded(self, decoder: _Decoder) -> bytes:
        while True:
            if decoder.has_more:
                # A few bytes may decode to very many: other tasks must get their turn.
                await trio.lowlevel.checkpoint()
                piece = decoder.feed(b"")
            else:
                piece = decoder.feed(await self._next())
            if piece:
                return piece

    async def drain(self) -> None:
        """Read and drop what is left of the body, so that the connection can be used again."""
        while await self.read() is not None:
            pass

    async def aclose(self) -> None:
        """Close the response. Never blocks for long, and always leaves the connection either
        idle in the pool or closed.

        The body is a chain of async generators that a mere ``aclose()`` leaves suspended, with
        the connection open. They unwind only by being pulled to the end or until one raises: so
        they are pulled inside a scope that is cancelled already.
        """
        if not self.at_end:
            await self._unwind()
        await self._close()

    async def _unwind(self) -> None:
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            for _ in range(_MAX_PULLS):
                try:
                    await self._next()
                except StopAsyncIteration:
                    self.at_end = True
                    break
                except Exception:  # noqa: BLE001 - the body is being thrown away, errors and all
                    break


@types.coroutine
def _watch_waits(
    coroutine: Coroutine[Any, Any, None], before: Callable[[], None], after: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Await a coroutine, and make a call before and after each of its waits.

    What ``await`` passes on from a coroutine to Trio are its waits, and nothing else.
    """
    try:
        trap = coroutine.send(None)
        while True:
            before()
            try:
                outcome = yield trap
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is passed on
                trap = coroutine.throw(exc)
            else:
                after()
                trap = coroutine.send(outcome)
    except StopIteration:
        pass


class _Decoder(Protocol):
    """Takes the coding off a body (RFC 9110, section 8.4)."""

    @property
    def has_more(self) -> bool:
        """Whether more can be had of what was fed."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes, and return at most `_MAX_DECODED` decoded ones.

        Raises:
            APIConnectionError: They cannot be decoded.
        """
        ...


class _Inflate:
    """Decodes ``gzip``, several members included, and ``deflate``, with or without the header
    that it ought to have."""

    def __init__(self, *, gzip: bool) -> None:
        self.has_more = False
        self._is_gzip = gzip
        self._rest = b""
        self._object = zlib.decompressobj(_GZIP) if gzip else None

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        self._rest = b""
        if self._object is None:
            if len(data) < _ZLIB_HEADER:
                self._rest = data
                return b""
            self._object = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        elif self._object.eof:
            self.has_more = False
            if not self._is_gzip or not data.startswith(_GZIP_MAGIC[: len(data)]):
                return b""  # padding
            self._object = zlib.decompressobj(_GZIP)
        try:
            piece = self._object.decompress(data, _MAX_DECODED)
        except zlib.error as exc:
            raise APIConnectionError(
                f"the body of the response is damaged: {exc}", retryable=False
            ) from exc
        self._rest = self._object.unconsumed_tail or self._object.unused_data
        self.has_more = bool(self._rest) or len(piece) == _MAX_DECODED
        return piece


_GZIP: Final = zlib.MAX_WBITS | 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZLIB_HEADER: Final = 2


def _is_zlib(data: bytes) -> bool:
    """Whether data begins with the header of RFC 1950, section 2.2."""
    return data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0


class _Refusal:
    """Refuses a body; only if there is one, and not before, because a status may say enough."""

    has_more = False

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def feed(self, data: bytes) -> bytes:  # noqa: ARG002 - as every decoder's
        raise APIConnectionError(
            f"the response has the Content-Encoding {self._encoding!r}, which was not asked for "
            "and cannot be decoded",
            retryable=False,
        )


def _make_decoder(encoding: str) -> _Decoder | None:
    codings = content_codings(encoding)
    if not codings:
        return None
    if codings in (["gzip"], ["x-gzip"], ["deflate"]):
        return _Inflate(gzip=codings != ["deflate"])
    return _Refusal(encoding)


class Transport:
    """Sends requests over an HTTP client.

    Args:
        client: The client.
        own_auth: Whether the client's own authentication is left in force.
    """

    def __init__(self, client: HTTPClient, *, own_auth: bool = False) -> None:
        self._client = client
        self._library = _library_of(client)
        self._own_auth = own_auth

    async def send(
        self, request: HTTPRequest, observe: Callable[[Phase], None] = lambda _: None
    ) -> HTTPReply:
        """Send a request and wait for the head of the response.

        A redirect is followed if it keeps the method and the origin (307 and 308; RFC 9110
        section 15.4), five times at most.

        Args:
            request: The request.
            observe: Told when the request enters another phase.

        Raises:
            APIConnectionError: There is no response, or its body cannot be decoded.
            APITimeoutError: A timeout of the client's own ran out.
            APIStatusError: The response is a redirect that is not followed.
            ReusedConnectionLost: A kept-alive connection was gone.
        """
        redirects = 0
        while True:
            reply = await self._send_once(request, observe)
            location = reply.headers.get("location")
            if not 300 <= reply.status_code < 400 or location is None:
                return reply
            await reply.aclose()
            target = _joined(request.url, location)
            keeps_method = reply.status_code in {307, 308}
            if (
                not keeps_method
                or redirects == MAX_REDIRECTS
                or not same_origin(request.url, target)
            ):
                raise _redirect_error(reply.status_code, reply.headers, target)
            redirects += 1
            request = attrs.evolve(request, url=target, query={})

    async def _exchange(self, request: HTTPRequest, trace: _Trace) -> HTTPReply:
        """Send a request by the client's ways."""
        # What a client builds is of its own library, which may be httpx2.
        outgoing: httpx.Request = self._client.build_request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.content or None,
            params=dict(request.query) or None,
            timeout=None,
            extensions={"trace": trace},
        )
        if request.content:
            outgoing.stream = _body_class(self._library)(request.content)
        trace.extensions = outgoing.extensions
        options: dict[str, Any] = {}
        if not self._own_auth or any(name.lower() == "authorization" for name in request.headers):
            options["auth"] = None
        response: httpx.Response = await self._client.send(
            outgoing, stream=True, follow_redirects=False, **options
        )

        async def close() -> None:
            with trio.CancelScope(shield=True):
                await response.aclose()

        headers = _read_headers(response.headers.raw)
        body = (
            # A hook of the program has read the body, and the library has decoded it.
            _Content(response.content)
            if response.is_stream_consumed
            else cast("AsyncIterator[bytes]", response.stream).__aiter__()
        )
        return HTTPReply(response.status_code, headers, body, close, reused=trace.reused)

    async def _send_once(self, request: HTTPRequest, observe: Callable[[Phase], None]) -> HTTPReply:
        guard = trio.CancelScope()
        trace = _Trace(guard, observe)
        reply: HTTPReply | None = None
        direct = self._client.direct if isinstance(self._client, _OwnClient) else None
        try:
            with guard:
                if direct is None:
                    reply = await self._exchange(request, trace)
                else:
                    reply = await _exchange_directly(direct, request, trace)
            assert reply is not None  # nobody cancels the guard itself
            observe("idle")
            return reply
        except Exception as exc:
            error = translate(exc, f"the request to {_host(request.url)}")
            if error is exc:
                raise
            location = trace.headers.get("location")
            if 300 <= trace.status_code < 400 and location is not None:
                # httpx looks at where a redirect leads although it is not to follow it.
                target = _joined(request.url, location)
                raise _redirect_error(trace.status_code, trace.headers, target) from exc
            if trace.reused and type(error) is APIConnectionError and error.retryable:
                raise ReusedConnectionLost(error.message) from exc
            raise error from exc
        finally:
            await trace.close()


async def _exchange_directly(
    direct: DirectTransport, request: HTTPRequest, trace: _Trace
) -> HTTPReply:
    """Send a request by httpcore, without the ways of httpx."""
    headers = [
        (name.encode("ascii"), value.encode("ascii")) for name, value in request.headers.items()
    ]
    content = request.content
    if content:
        headers.append((b"Content-Length", b"%d" % len(content)))
    trace.extensions = {"trace": trace}
    response, body = await direct.exchange(
        request.method,
        request.url,
        query=request.query,
        headers=headers,
        body=_Content(content),
        extensions=trace.extensions,
    )
    return HTTPReply(
        response.status,
        _read_headers(response.headers),
        body.__aiter__(),
        body.aclose,
        reused=trace.reused,
    )


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _joined(url: str, location: str) -> str:
    """The absolute address of a redirect; what is no address stays as it is."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _shown(url: str) -> str:
    """A URL, however malformed, without what may be secret in it: user, password, query."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def _redirect_error(status_code: int, headers: Mapping[str, str], target: str) -> APIStatusError:
    facts = read_headers(headers, time.time())
    return APIStatusError(
        f"the server redirects to {_shown(target)}; that is not followed because it would leave "
        "the origin, change the method or never end. Set base_url to the address meant",
        status_code=status_code,
        request_id=facts.request_id,
        quota=facts.quota,
    )


_LIBRARIES: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "h11"})
_CLOCKS: Final[Mapping[str, Clock]] = {
    "ConnectTimeout": "connect",
    "PoolTimeout": "connect",
    "WriteTimeout": "write",
    "ReadTimeout": "idle",
    "TimeoutException": "idle",
}
# Mistakes that the same request would meet again.
_PERMANENT: Final = frozenset(
    {
        "CookieConflict",
        "DecodingError",
        "InvalidURL",
        "LocalProtocolError",
        "StreamError",
        "TooManyRedirects",
        "UnsupportedProtocol",
    }
)


def translate(exc: Exception, what: str) -> Exception:
    """Map an exception of the HTTP library, the network or TLS to ours.

    The library's exceptions are told by name and package, so that a client of another package
    with the same tree is mapped too. Anything else is a bug, of ours or of the program's hooks,
    and is returned as it is.

    Args:
        exc: What was raised.
        what: What was being done, for the message.
    """
    if isinstance(exc, APIConnectionError | APIStatusError):
        return exc
    names = {
        cls.__name__ for cls in type(exc).__mro__ if cls.__module__.partition(".")[0] in _LIBRARIES
    }
    if not names and not isinstance(
        exc, OSError | trio.BrokenResourceError | trio.ClosedResourceError
    ):
        return exc
    if "HTTPStatusError" in names:
        # A hook of the program has called `raise_for_status`.
        response = cast("httpx.HTTPStatusError", exc).response
        return status_error(response.status_code, b"", read_headers(response.headers, time.time()))
    message = f"{what} failed: {_reason(exc)}"
    for name, clock in _CLOCKS.items():
        if name in names:
            return APITimeoutError(message, clock=clock)
    return APIConnectionError(message, retryable=not names & _PERMANENT)


def _reason(exc: BaseException) -> str:
    """What an exception says, or the one it was raised from."""
    current: BaseException | None = exc
    while current is not None:
        text = str(current)
        if text:
            return text
        current = current.__cause__ or current.__context__
    return type(exc).__name__
