"""`Network`: how a connection is made. The seam for tests, Unix sockets and other ways.

This module knows Trio's sockets. It does not know what is said over a connection.
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

import trio

from lktrio._definitions import public

from .proxy import Proxy
from .tls import TLSStream

__all__ = ["Network", "Origin", "default_network", "set_default_network"]


class Origin(NamedTuple):
    """Where a connection leads; only requests with the same one may share it."""

    scheme: str
    """``"http"`` or ``"https"``."""

    host: str
    """A name or an address, without brackets."""

    port: int
    """The port."""

    server_name: str
    """Whom the server's certificate must name."""

    proxy: Proxy | None = None
    """The proxy on the way."""


@public
class Network:
    """Makes connections: TCP, to whichever of a host's addresses answers first (RFC 8305).

    Derive from it to connect in another way, and give an instance to ``TrioTransport(network=)``.
    A server behind a Unix socket, for example::

        class UnixSocket(Network):
            async def connect(self, host: str, port: int) -> trio.abc.Stream:
                return await trio.open_unix_socket("/run/llama.sock")
    """

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """Open a connection. Cancelled, it leaves nothing open.

        Args:
            host: A name or an address, without brackets.
            port: The port.

        Raises:
            OSError: There is no connection.
        """
        # Without Nagle's algorithm; Trio sees to that.
        return await trio.open_tcp_stream(host, port)

    async def secure(
        self,
        stream: trio.abc.Stream,
        context: ssl.SSLContext,
        name: str,
        session: ssl.SSLSession | None = None,
    ) -> trio.abc.Stream:
        """Begin TLS on a connection. If it fails, the caller closes the connection.

        Args:
            stream: The connection.
            context: Decides what is accepted.
            name: Whom the server's certificate must name.
            session: A session with the same server to be resumed, or None.

        Raises:
            ssl.SSLError: One side does not accept the other.
            trio.BrokenResourceError: The connection was lost.
        """
        secured = TLSStream(stream, context, name, session)
        await secured.do_handshake()
        return secured

    def is_readable(self, stream: trio.abc.Stream) -> bool:
        """Whether reading from a connection would return something, its end included.

        Asked of idle connections: one that has anything to say is not used again.

        Args:
            stream: What `connect` or `secure` returned. If it is of another kind than theirs here,
                this method must be overridden too.
        """
        if isinstance(stream, TLSStream):
            return stream.has_unread or self.is_readable(stream.transport_stream)
        if isinstance(stream, trio.SocketStream):
            return stream.socket.is_readable()
        raise TypeError(
            f"{type(self).__name__}.connect() makes a {type(stream).__name__}: override "
            "is_readable(), too, which tells whether one has something to read"
        )


_default = Network()


@public
def default_network() -> Network:
    """The network of transports that were not given one."""
    return _default


@public
def set_default_network(network: Network | None) -> Network:
    """Have every transport that was not given a network connect by this one, in the whole process.

    It is how a test leads programs that make their `LLM` deep inside to a server of its own
    (`lktrio.testing.ScriptedGateway.installed` does). It holds for connections made from now on.

    Args:
        network: The network; None for TCP.

    Returns:
        The one before, for putting it back.
    """
    global _default
    before, _default = _default, Network() if network is None else network
    return before
