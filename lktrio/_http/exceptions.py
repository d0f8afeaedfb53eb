"""What goes wrong on the way, as exceptions of ours: the one boundary to those of httpx and TLS.

This module knows the exceptions of httpx, of libraries with the same tree, of Trio's streams and of
TLS, and which of them can pass. It does not know what is done about them.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Final, cast
from urllib.parse import urljoin

import httpx
import trio

from lktrio._answers import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Clock,
    is_retryable_status,
)
from lktrio._wire import read_headers, status_error

from .tunnel import ProxyRefused

__all__ = ["ReusedConnectionLost", "joined", "redirect_error", "translate"]


class ReusedConnectionLost(APIConnectionError):
    """A kept-alive connection was gone before a byte of the response: the server had closed it.
    The request is sent again by whoever catches this; it never reaches a user."""


def joined(url: str, location: str) -> str:
    """The absolute address of a redirect; what is no address stays as it is."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _shown(url: str) -> str:
    """A URL, however malformed, without what may be secret in it: user, password, query."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def redirect_error(status_code: int, headers: Mapping[str, str], target: str) -> APIStatusError:
    """The error for a redirect that is not followed."""
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
    if "ProxyError" in names:
        return _refused_tunnel(exc, message)
    for name, clock in _CLOCKS.items():
        if name in names:
            return APITimeoutError(message, clock=clock)
    return APIConnectionError(
        message, retryable=not names & _PERMANENT and not any(map(_is_distrust, _causes(exc)))
    )


def _refused_tunnel(exc: Exception, message: str) -> Exception:
    """The error for a proxy that makes no tunnel. A status is its own, not the server's."""
    own = exc if isinstance(exc, ProxyRefused) else None
    # httpcore has it in the message only.
    said = re.match(r"(\d{3}) ", str(exc))
    if said is None:
        return APIConnectionError(message, retryable=own is None or not own.is_final)
    status_code = int(said[1])
    facts = read_headers(httpx.Headers(own.fields if own is not None else []), time.time())
    error = status_error(status_code, b"", facts, message=message)
    # What servers say of models, the proxy cannot know.
    error.retryable = is_retryable_status(status_code)
    return error


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception, and those it was raised from."""
    current: BaseException | None = exc
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _reason(exc: BaseException) -> str:
    """What an exception says, or the one it was raised from."""
    return next((str(one) for one in _causes(exc) if str(one)), type(exc).__name__)


# What OpenSSL calls it when one side does not accept the other: RFC 8446, section 6.2.
_DISTRUST: Final = re.compile(
    "CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|UNRECOGNIZED_NAME|PROTOCOL_VERSION"
)


def _is_distrust(exc: BaseException) -> bool:
    """Whether TLS failed for a reason that the same request would meet again."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return True
    return isinstance(exc, ssl.SSLError) and bool(
        _DISTRUST.search(getattr(exc, "reason", None) or "")
    )
