"""Making a connection ready for requests: the way there, a proxy, TLS.

This module knows in which order that is done, what is closed if it fails, and which TLS sessions
can be resumed. It does not know how bytes get anywhere.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections import OrderedDict
from typing import Final, cast

import httpx
import trio

from .connection import Connection
from .network import Network, Origin
from .tunnel import pass_proxy, tls_ends

__all__ = ["Connector"]

_MAX_SESSIONS: Final = 100


class Connector:
    """Opens connections, and remembers the TLS sessions of their origins.

    Args:
        verify: Which certificates are accepted, as `TrioTransport` has it.
    """

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        self._verify = verify
        self._sessions: OrderedDict[Origin, ssl.SSLSession] = OrderedDict()

    async def open(self, network: Network, origin: Origin) -> trio.abc.Stream:
        """Open a connection; what fails or is cancelled leaves nothing open.

        Raises:
            httpx.ConnectError: There is no connection.
            httpx.ProxyError: The proxy refuses.
            httpx.UnsupportedProtocol: The server speaks another protocol.
        """
        proxy = origin.proxy
        place = origin if proxy is None else proxy
        try:
            stream = opened = await network.connect(place.host, place.port)
        except (OSError, UnicodeError, trio.BrokenResourceError) as exc:
            name = "" if proxy is None else f"connecting to {proxy}: "
            raise httpx.ConnectError(name + _words(exc)) from exc
        try:
            if proxy is not None:
                stream = await pass_proxy(stream, origin, functools.partial(self._secure, network))
            if origin.scheme == "https":
                stream = await self._secure(network, stream, origin)
        except BaseException as exc:
            await Connection(origin, opened, 0, network).close()
            if isinstance(exc, OSError | ValueError | trio.BrokenResourceError):
                raise httpx.ConnectError(f"TLS with {origin.host} failed: {_words(exc)}") from exc
            raise
        return stream

    async def _secure(
        self, network: Network, stream: trio.abc.Stream, origin: Origin
    ) -> trio.abc.Stream:
        session = self._sessions.get(origin)
        secured = await network.secure(stream, self._context(), origin.server_name, session)
        ssl_object: object = getattr(secured, "ssl_object", None)
        if isinstance(ssl_object, ssl.SSLObject):
            protocol = ssl_object.selected_alpn_protocol()
            if protocol not in {None, "http/1.1"}:
                raise httpx.UnsupportedProtocol(
                    f"the server speaks {protocol!r}, because the SSLContext offers it; this "
                    "transport speaks HTTP/1.1: context.set_alpn_protocols(['http/1.1'])"
                )
        return secured

    def _context(self) -> ssl.SSLContext:
        # Once and for all: a TLS session goes with its context.
        if not isinstance(self._verify, ssl.SSLContext):
            files = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
            self._verify = _default_context(self._verify, *files)
        return self._verify

    def keep_sessions(self, connection: Connection) -> None:
        """Remember the TLS sessions of a connection that is being kept or closed, for the next."""
        stream: object = connection.stream
        for end in tls_ends(connection.origin):
            ssl_object: object = getattr(stream, "ssl_object", None)
            # Tickets come behind the handshake (RFC 8446, section 4.6.1).
            session = ssl_object.session if isinstance(ssl_object, ssl.SSLObject) else None
            if session is not None and session.has_ticket:
                self._keep(end, session)
            stream = getattr(stream, "transport_stream", None)

    def _keep(self, end: Origin, session: ssl.SSLSession) -> None:
        self._sessions[end] = session
        self._sessions.move_to_end(end)
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)


@functools.lru_cache(maxsize=8)
def _default_context(verify: bool, _cert_file: str | None, _cert_dir: str | None) -> ssl.SSLContext:
    # Loading the CA bundle costs tens of milliseconds: once per process and environment.
    return httpx.create_ssl_context(verify=verify)


def _words(exc: BaseException) -> str:
    """What an exception says; if that is nothing, or a summary, what those it comes from say."""
    cause = exc.__cause__
    if isinstance(cause, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", cause)
        return "; ".join(dict.fromkeys(map(_words, group.exceptions)))
    return str(exc) or (_words(cause) if cause is not None else type(exc).__name__)
