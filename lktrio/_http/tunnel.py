"""What is said to a proxy: requests that it forwards, CONNECT, SOCKS.

This module does not know which proxy is asked, and what goes through a tunnel.

Source: RFC 9112, section 3.2.2, RFC 9110, section 9.3.6 (CONNECT), RFC 1928 (SOCKS 5),
RFC 1929 (its login)
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Final, TypeAlias

import httpx
import trio

from .head import host_field, request_head
from .message import ResponseReader
from .network import Origin
from .proxy import Proxy
from .tls import READ_BYTES

__all__ = ["ProxyRefused", "forwarded", "is_forwarded", "pass_proxy", "tls_ends"]

_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")


class ProxyRefused(httpx.ProxyError):
    """A proxy makes no tunnel.

    Args:
        message: What it said; it begins with the status, if it was asked over HTTP.
        is_final: Whether the same request would be refused again.
        fields: The header of its answer.
    """

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.is_final = is_final
        """Whether the same request would be refused again."""
        self.fields = fields
        """The header of its answer."""


Secure: TypeAlias = Callable[[trio.abc.Stream, Origin], Awaitable[trio.abc.Stream]]
"""Begins TLS on a stream, with somebody."""


def is_forwarded(origin: Origin) -> bool:
    """Whether requests are given to a proxy that makes requests of its own of them."""
    proxy = origin.proxy
    return proxy is not None and origin.scheme == "http" and proxy.scheme != "socks5"


def tls_ends(origin: Origin) -> tuple[Origin, ...]:
    """Whom TLS leads to, from the innermost on: the server, a proxy that is reached by TLS."""
    ends: tuple[Origin, ...] = (origin,) if origin.scheme == "https" else ()
    proxy = origin.proxy
    if proxy is not None and proxy.scheme == "https":
        ends += (Origin("https", proxy.host, proxy.port, proxy.host),)
    return ends


def forwarded(
    request: httpx.Request,
    target: bytes | memoryview,
    fields: list[tuple[bytes, bytes | memoryview]],
    origin: Origin,
) -> bytes | memoryview:
    """Make what a request has to be for a proxy that forwards it (RFC 9112, section 3.2.2).

    Args:
        request: The request.
        target: What is asked of the server.
        fields: The header, to which what the proxy wants to know is added.
        origin: The server, with the proxy.

    Returns:
        What is asked of the proxy.
    """
    assert origin.proxy is not None
    authorization = origin.proxy.authorization()
    if authorization is not None and "proxy-authorization" not in request.headers:
        fields.append((b"Proxy-Authorization", authorization.view))
    if request.extensions.get("target") is not None:
        return target
    host = host_field(request.url.raw_host, request.url.port)
    # The query is secret, maybe.
    return memoryview(b"".join((b"http://", host, target)))


async def pass_proxy(stream: trio.abc.Stream, origin: Origin, secure: Secure) -> trio.abc.Stream:
    """Have a proxy do what is needed before it can be used for a server.

    Args:
        stream: Leads to the proxy. If this fails, the caller closes it.
        origin: The server, with the proxy.
        secure: Begins TLS with the proxy.

    Returns:
        What leads to the server, or to the proxy that forwards requests.

    Raises:
        httpx.ProxyError: The proxy refuses, or says what cannot be understood.
        httpx.ConnectError: The connection was lost, or TLS with the proxy fails.
    """
    proxy = origin.proxy
    assert proxy is not None
    try:
        if proxy.scheme == "https":
            stream = await secure(stream, tls_ends(origin)[-1])
        if proxy.scheme == "socks5":
            await _say(stream, _socks(proxy, origin.host, origin.port))
        elif origin.scheme == "https":
            await _connect(stream, proxy, origin)
    except (OSError, ValueError, trio.BrokenResourceError) as exc:
        raise httpx.ConnectError(f"{proxy} is of no use: {str(exc) or type(exc).__name__}") from exc
    return stream


# --- HTTP -------------------------------------------------------------------------------------


async def _connect(stream: trio.abc.Stream, proxy: Proxy, origin: Origin) -> None:
    target = host_field(origin.host.encode("ascii"), origin.port)
    fields: list[tuple[bytes, bytes | memoryview]] = [(b"Host", target)]
    authorization = proxy.authorization()
    if authorization is not None:
        fields.append((b"Proxy-Authorization", authorization.view))
    await stream.send_all(request_head(b"CONNECT", target, fields))
    reader = ResponseReader(b"CONNECT")
    received = bytearray()
    try:
        while not reader.has_head:
            data = await stream.receive_some(READ_BYTES)
            if data:
                received += data
                reader.feed(data)
            else:
                reader.feed_end()
    except httpx.RemoteProtocolError as exc:
        raise httpx.ProxyError(f"{proxy} made no tunnel: {exc}") from exc
    if reader.status_code >= 300:
        reason = reader.reason[:100].decode("ascii", "replace")
        raise ProxyRefused(
            f"{reader.status_code} {reason}".strip() + f" (said by {proxy})", fields=reader.fields
        )
    # The server behind it waits for us: nobody but the proxy can have said more.
    heads = _END_OF_HEAD.split(received.lstrip(b"\r\n"), maxsplit=reader.interim + 1)
    if heads[-1]:
        raise httpx.ProxyError(f"{proxy} sent more than its answer before the tunnel was used")


# --- SOCKS ------------------------------------------------------------------------------------

_Steps: TypeAlias = Generator[tuple[bytes | memoryview, int], bytes, None]
"""Yields what is sent, and how many bytes are wanted then; is sent these."""


async def _say(stream: trio.abc.Stream, steps: _Steps) -> None:
    data, wanted = next(steps)
    while True:
        if data:
            await stream.send_all(data)
        # Never more than is wanted: what follows is the server's.
        received = b""
        while len(received) < wanted:
            piece = await stream.receive_some(wanted - len(received))
            if not piece:
                raise httpx.ProxyError("the SOCKS proxy closed the connection within its answer")
            received += piece
        try:
            data, wanted = steps.send(received)
        except StopIteration:
            return


# RFC 1928, section 6: what the same request would meet again.
_FINAL_CODES: Final = frozenset({2, 7, 8})
# How many bytes the address in an answer has, by its type; for a name, those of its length.
_ADDRESS_BYTES: Final = {1: 4, 4: 16, 3: 1}


def _socks(proxy: Proxy, host: str, port: int) -> _Steps:
    """What is said to a SOCKS proxy, and what it must answer."""
    # It comes with an extra; that it is there was seen when the proxy's URL was read.
    from socksio import socks5
    from socksio.exceptions import SOCKSError

    if len(host) > 255:
        raise httpx.LocalProtocolError("the name of the server is too long for a SOCKS proxy")
    methods = [socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if proxy.login is not None:
        methods.append(socks5.SOCKS5AuthMethod.USERNAME_PASSWORD)
    answer = yield socks5.SOCKS5AuthMethodsRequest(methods).dumps(), 2
    if answer[0] != 5:
        raise ProxyRefused(f"{proxy} does not speak SOCKS 5", is_final=True)
    try:
        method = socks5.SOCKS5AuthReply.loads(answer).method
    except SOCKSError:
        method = None
    if method not in methods:
        wants = "a user and a password" if proxy.login is None else "another kind of login"
        raise ProxyRefused(f"{proxy} wants {wants}", is_final=True)
    if method is socks5.SOCKS5AuthMethod.USERNAME_PASSWORD:
        answer = yield _login(proxy), 2
        # Some proxies answer with another version than RFC 1929 has.
        if answer[1]:
            raise ProxyRefused(f"{proxy} refuses user and password", is_final=True)
    connect = socks5.SOCKS5Command.CONNECT
    answer = yield socks5.SOCKS5CommandRequest.from_address(connect, (host, port)).dumps(), 4
    if answer[0] == 5 and answer[1]:
        # Some close without an address.
        raise _refused(proxy, answer[1])
    if answer[0] != 5 or answer[3] not in _ADDRESS_BYTES:
        raise httpx.ProxyError(f"{proxy} sent no proper answer of SOCKS 5")
    # From where the proxy connects: that is of no use here, but has to be read.
    address = yield b"", _ADDRESS_BYTES[answer[3]]
    if answer[3] == 3:
        yield b"", address[0]
    yield b"", 2


def _login(proxy: Proxy) -> memoryview:
    from socksio.socks5 import SOCKS5UsernamePasswordRequest

    assert proxy.login is not None
    user, password = proxy.login
    return memoryview(SOCKS5UsernamePasswordRequest(bytes(user.view), bytes(password.view)).dumps())


def _refused(proxy: Proxy, code: int) -> ProxyRefused:
    from socksio.socks5 import SOCKS5ReplyCode

    try:
        reason = SOCKS5ReplyCode(bytes([code])).name.replace("_", " ").lower()
    except ValueError:
        reason = f"code {code}"
    return ProxyRefused(f"{reason}, says {proxy}", is_final=code in _FINAL_CODES)
