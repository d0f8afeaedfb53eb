"""What the kit needs of HTTP: clients, a look into a transport's pool, reading a request.

Every name of httpx and h11 in `lktrio.testing` lives here.
"""

from __future__ import annotations

import functools
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import h11
import httpx
import trio

from lktrio._definitions import public
from lktrio._http import TrioTransport

__all__ = [
    "BodyEnd",
    "ExchangeWatcher",
    "HTTPClient",
    "LeakError",
    "RequestReader",
    "assert_quiet",
    "idle_connections",
    "make_http_client",
    "no_encryption",
    "watch_client",
]

HTTPClient: TypeAlias = httpx.AsyncClient

BodyEnd: TypeAlias = Literal["complete", "broken", "left"]
"""How the reading of a body ended: with its end, with an error, or because the reader left."""

_MAX_HEAD: Final = 2**20


@public
class LeakError(AssertionError):
    """Something was left; the message lists what, one a line."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


def make_http_client(transport: TrioTransport, options: dict[str, Any]) -> httpx.AsyncClient:
    """Make a client of httpx over a transport of ours, whose clocks are left to Trio.

    Args:
        transport: What it sends its requests over. The client closes it.
        options: Arguments of `httpx.AsyncClient`, which win over the defaults.
    """
    defaults: dict[str, Any] = {"transport": transport, "timeout": None, "trust_env": False}
    return httpx.AsyncClient(**{**defaults, **options})


@functools.cache
def no_encryption() -> ssl.SSLContext:
    """Return a context for where nothing is encrypted; one that loads the CA bundle costs 40 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def idle_connections(transport: TrioTransport) -> set[trio.abc.Stream]:
    """The streams of the connections that a transport keeps for the next request."""
    return {one.stream for one in transport._pool._idle}  # pyright: ignore[reportPrivateUsage]


def assert_quiet(transport: TrioTransport) -> None:
    """Check that no request is under way over a transport.

    Raises:
        LeakError: Names the connections that are in use.
    """
    in_use = transport._in_use  # pyright: ignore[reportPrivateUsage]
    if in_use:
        raise LeakError(
            "left in use:\n" + "\n".join(f"- a connection to {one.origin}" for one in in_use)
        )


class RequestReader:
    """Reads one request from the bytes of a connection.

    Args:
        data: What has arrived so far.
    """

    def __init__(self, data: bytes) -> None:
        self.method = ""
        """Method."""
        self.target = ""
        """Path and query, as sent."""
        self.headers: tuple[tuple[str, str], ...] = ()
        """Names in lower case and values, in the order sent."""
        self.body = bytearray()
        """The body so far, without its transfer coding."""
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._parser.receive_data(data)

    @property
    def rest(self) -> bytes:
        """What came behind the request."""
        return self._parser.trailing_data[0]

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        self._parser.receive_data(data)

    def read(self, *, head_only: bool) -> bool:
        """Read on; return whether the request, or else its head, is complete."""
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.Request):
                self.method = event.method.decode("ascii")
                self.target = event.target.decode("ascii")
                self.headers = tuple(
                    (name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers
                )
                if head_only:
                    return True
            elif isinstance(event, h11.Data):
                self.body += event.data
            else:
                return True


class ExchangeWatcher(Protocol):
    """Is told what happens in one exchange."""

    def request_piece(self, data: bytes) -> None:
        """A piece of the request's body goes out."""
        ...

    def response_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of the response is there."""
        ...

    def response_piece(self, data: bytes) -> None:
        """A piece of the response's body is there, as it was sent."""
        ...

    def response_end(self, end: BodyEnd) -> None:
        """Nothing more comes."""
        ...


def watch_client(
    client: HTTPClient,
    begin: Callable[[str, str, dict[str, str]], ExchangeWatcher],
) -> None:
    """Have a client's exchanges watched, beside the hooks it has; what it does is not changed.

    Args:
        client: The client.
        begin: Called with method, URL and headers of each request that goes out.
    """

    async def on_request(request: httpx.Request) -> None:
        watcher = begin(request.method, str(request.url), dict(request.headers))
        watchers[request] = watcher
        body = cast("httpx.AsyncByteStream", request.stream)
        request.stream = _WatchedBody(body, watcher.request_piece, _ignore)

    async def on_response(response: httpx.Response) -> None:
        watcher = watchers[response.request]
        watcher.response_head(response.status_code, response.headers.multi_items())
        body = cast("httpx.AsyncByteStream", response.stream)
        response.stream = _WatchedBody(body, watcher.response_piece, watcher.response_end)

    watchers: weakref.WeakKeyDictionary[httpx.Request, ExchangeWatcher] = (
        weakref.WeakKeyDictionary()
    )
    hooks = client.event_hooks
    # First among the hooks on responses: another may read the body.
    client.event_hooks = {
        "request": [*hooks["request"], on_request],
        "response": [on_response, *hooks["response"]],
    }


def _ignore(_end: BodyEnd) -> None:
    pass


class _WatchedBody(httpx.AsyncByteStream):
    """A body that tells what is read from it. No generator, so that nothing is left suspended."""

    def __init__(
        self,
        body: httpx.AsyncByteStream,
        on_piece: Callable[[bytes], None],
        on_end: Callable[[BodyEnd], None],
    ) -> None:
        self._body = body
        self._on_piece = on_piece
        self._on_end = on_end
        self._pieces: AsyncIterator[bytes] | None = None
        self._ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._pieces = aiter(self._body)
        return self

    async def __anext__(self) -> bytes:
        assert self._pieces is not None
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._end("complete")
            raise
        except Exception:
            self._end("broken")
            raise
        except BaseException:
            # Cancelled: the library has closed the connection.
            self._end("left")
            raise
        self._on_piece(piece)
        return piece

    async def aclose(self) -> None:
        self._end("left")
        await self._body.aclose()

    def _end(self, end: BodyEnd) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(end)
