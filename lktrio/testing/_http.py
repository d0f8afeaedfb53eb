"""What the kit needs of httpx and h11: clients, a look into their pools, reading a request.

Every name of httpx and h11 in `lktrio.testing` lives here. (Those of httpcore, which carries the
network in memory, live in `_memory_network`.)
"""

from __future__ import annotations

import functools
import ssl
from typing import Any, Final, TypeAlias

import h11
import httpx

__all__ = [
    "HTTPClient",
    "LeakError",
    "RequestReader",
    "assert_pool_quiet",
    "make_http_client",
    "no_encryption",
    "pool_of",
]

HTTPClient: TypeAlias = httpx.AsyncClient

_MAX_HEAD: Final = 2**20


class LeakError(AssertionError):
    """Something was left; the message lists what, one a line."""


def make_http_client(
    *, verify: ssl.SSLContext, keepalive_expiry: float | None, options: dict[str, Any]
) -> httpx.AsyncClient:
    """Make a client of the real stack, whose clocks are left to Trio.

    Args:
        verify: The TLS context.
        keepalive_expiry: Seconds for which an idle connection is kept; None for ever.
        options: Arguments of `httpx.AsyncClient`, which win over the defaults.
    """
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=20, keepalive_expiry=keepalive_expiry
    )
    defaults: dict[str, Any] = {
        "verify": verify,
        "limits": limits,
        "timeout": None,
        "trust_env": False,
    }
    return httpx.AsyncClient(**{**defaults, **options})


@functools.cache
def no_encryption() -> ssl.SSLContext:
    """Return a context for where nothing is encrypted; one that loads the CA bundle costs 40 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def pool_of(client: httpx.AsyncClient) -> Any:
    """Return the httpcore pool of a client.

    httpx has no public way to look at it or to give it a network.
    """
    transport: Any = client._transport  # pyright: ignore[reportPrivateUsage]
    return transport._pool


def assert_pool_quiet(client: httpx.AsyncClient) -> None:
    """Check that no request is under way in a client's pool and every connection there is idle.

    Raises:
        LeakError: Names the requests and the connections that are not.
    """
    pool = pool_of(client)
    found = [f"request {request.request!r}" for request in pool._requests]
    found += [f"connection {one.info()}" for one in pool.connections if not one.is_idle()]
    if found:
        raise LeakError("left in the pool:\n" + "\n".join(f"- {leftover}" for leftover in found))


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
