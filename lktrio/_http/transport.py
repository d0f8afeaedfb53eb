"""`TrioTransport`: HTTP/1.1 for Trio, as an httpx transport.

This module knows httpx's transport interface, and owns the connections. What is said on one, and
which one is used again, is decided by the modules it leads to.

Source: https://www.python-httpx.org/advanced/transports/,
https://www.python-httpx.org/advanced/extensions/
"""

from __future__ import annotations

import functools
import ssl
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

import httpx
import trio
from trio.lowlevel import enable_ki_protection

from lktrio._checks import NOT_GIVEN, NotGivenOr, check_integer, check_seconds, is_given, kind_of
from lktrio._definitions import public
from lktrio._settings import Secret

from .connect import Connector
from .connection import Connection, ConnectionLost, Exchange, Phase, within
from .for_httpx2 import for_httpx2
from .network import Network, Origin, default_network
from .outgoing import confidential_of, outgoing
from .pool import Pool
from .proxy import Proxies
from .trace import Trace, TracedExchange, TracedNetwork

__all__ = ["TrioTransport"]

MAX_KEEPALIVE: Final = 100
"""How many idle connections a transport keeps, if nobody says otherwise."""

KEEPALIVE_SECONDS: Final = 30.0
"""How long it keeps one. Load balancers commonly close an idle connection after 60 s."""

MAX_AGE_SECONDS: Final = 300.0
"""How long after it was opened a connection is used for further requests."""

_PORTS: Final = {"http": 80, "https": 443}
# RFC 9110, section 9.2.2.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


@public
class TrioTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over connections of Trio, kept for further requests.

    An `LLM` makes one for itself. One of your own can be shared by several, with its own
    certificates, and put under any ``httpx.AsyncClient`` that runs on Trio::

        async with TrioTransport() as transport:
            async with (
                LLM("a", http_client=transport) as one,
                LLM("b", http_client=transport) as two,
            ):
                ...

        async with httpx.AsyncClient(transport=TrioTransport()) as client:
            ...

    What it promises:

    * A connection is kept only after a response that was read to its end, with nothing behind it,
      and used again only if nothing has come on it since. Everything else closes it at once, so
      that the server stops working.
    * However it is left, by an exception, a cancellation or Ctrl-C, nothing is left open.
    * Only ``httpx.TransportError`` leaves it, for what goes wrong on the way.
    * A response that comes while the request is still being sent is read (RFC 9112, section 9.5).
    * A request that was lost on a kept connection before a byte of its response came is sent again
      if that is safe: for the methods GET, HEAD, OPTIONS, TRACE, PUT and DELETE, with a body that
      can be repeated. (An `LLM` repeats its POST requests: nobody has seen them.)

    * Connecting, with all that a proxy wants, lies in the scope of whoever waits for it: every
      deadline and every cancellation ends it.

    It has no limit on the connections that are in use, follows no redirects, keeps no cookies and
    decodes no content; for that there is ``httpx.AsyncClient``. It speaks neither HTTP/2 nor other
    protocols that HTTP can change to, so its responses have no ``network_stream``.

    The constructor does no I/O. The transport belongs to the `trio.run` in which it is first used.

    Args:
        verify: Which certificates are accepted: True for the environment's, as httpx has it, False
            for all, or an `ssl.SSLContext`, which may have a client certificate. It is not changed.
            It holds for a proxy that is reached by TLS, too.
        proxy: The URL of a proxy for all requests: ``http://``, ``https://`` or ``socks5://``, with
            user and password if it wants some; None for none. Default: what the environment says
            (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), as it is when the first
            request is sent. Those of the environment are not asked for this machine.
        max_keepalive: How many idle connections are kept; those in use do not count.
        keepalive_seconds: How long an idle one is kept.
        max_age_seconds: How long after it was opened a connection may begin another request, so
            that a busy program follows changes of DNS.
        network: How connections are made. Default: by TCP; see `set_default_network`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A number is below zero, or the proxy cannot be used.
    """

    _is_closed = False
    _run: trio.lowlevel.TrioToken | None = None

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        proxy: NotGivenOr[str | None] = NOT_GIVEN,
        max_keepalive: int = MAX_KEEPALIVE,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        max_age_seconds: float = MAX_AGE_SECONDS,
        network: Network | None = None,
    ) -> None:
        if not isinstance(cast("object", verify), ssl.SSLContext | bool):
            raise TypeError(f"verify={verify!r} is not accepted; give an ssl.SSLContext or a bool")
        if network is not None and not isinstance(cast("object", network), Network):
            raise TypeError(f"network={network!r} is not accepted; derive a class from Network")
        self._connector = Connector(verify)
        self._proxies = None
        if not is_given(proxy):
            self._proxies = Proxies()
        elif proxy is not None:
            if not isinstance(cast("object", proxy), str):
                raise TypeError(f"proxy must be a str or None, not {kind_of(proxy)}")
            # From here on no local variable shows it.
            url, proxy = Secret(proxy), None
            self._proxies = Proxies(url)
        check_integer("max_keepalive", max_keepalive, least=0)
        check_seconds("keepalive_seconds", keepalive_seconds, zero=True)
        check_seconds("max_age_seconds", max_age_seconds, zero=True)
        self._network = network
        self._pool = Pool(
            max_keepalive=max_keepalive,
            keepalive_seconds=keepalive_seconds,
            max_age_seconds=max_age_seconds,
        )
        self._in_use: set[Connection] = set()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open" if self._run else "new"
        in_use, idle = self._counts()
        return f"<TrioTransport {state}: {in_use} connections in use, {idle} idle>"

    def _counts(self) -> tuple[int, int]:
        """How many connections are in use, and idle; of what its constructor refused, too."""
        made = vars(self)
        return len(made.get("_in_use", ())), len(made.get("_pool", ()))

    # --- lifetime -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._check_usable()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: types.TracebackType | None = None,
    ) -> None:
        await self.aclose()

    @enable_ki_protection
    async def aclose(self) -> None:
        """Close all connections, those in use too. May be called again, and always closes all."""
        self._is_closed = True
        for connection in [*self._pool.take_all(), *self._in_use]:
            await connection.close()
        self._in_use.clear()

    def for_httpx2(self) -> Any:
        """Return this transport in a form that clients of httpx2 take; it is closed with them.

        Raises:
            ImportError: httpx2 is not installed.
        """
        return for_httpx2(self)

    def __del__(self) -> None:
        if any(self._counts()):
            warnings.warn(
                f"{self!r} was not closed; write: async with TrioTransport() as transport",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def _check_usable(self) -> None:
        """Refuse what would be a mistake of the program."""
        try:
            run = trio.lowlevel.current_trio_token()
        except RuntimeError:
            raise RuntimeError("TrioTransport runs on Trio: trio.run(main)") from None
        if self._is_closed:
            raise RuntimeError("this TrioTransport was closed; make another one")
        if self._run is None:
            self._run = run
        elif self._run is not run:
            raise RuntimeError(
                "this TrioTransport belongs to another trio.run; make one of its own in each run"
            )

    # --- requests -------------------------------------------------------------------------

    @enable_ki_protection
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the response when its head is there.

        Of the request's extensions, ``timeout``, ``sni_hostname``, ``target`` and ``trace`` are
        looked at, as httpx documents them; a tunnel belongs to connecting. Those of the response
        are ``http_version`` and ``reason_phrase``.

        Raises:
            httpx.ProxyError: A proxy refuses; the message begins with the status, if there is one.
            httpx.TransportError: There is no response.
            RuntimeError: The transport was closed, or belongs to another `trio.run`.
        """
        self._check_usable()
        extensions = request.extensions
        private = confidential_of(request)
        timeouts: Mapping[str, float | None] = extensions.get("timeout") or {}
        trace: Trace | None = extensions.get("trace")
        origin = self._origin(request)
        # (What is not ASCII is refused with the head.)
        method = request.method.encode("ascii", "backslashreplace")
        head, content, length = outgoing(request, method, private, origin)
        may_repeat = request.method in _IDEMPOTENT and isinstance(content, bytes)
        while True:
            connection = await self._connection(origin, timeouts, private.observe, trace)
            begin = Exchange if trace is None else functools.partial(TracedExchange, trace, request)
            exchange = begin(
                connection,
                method,
                timeouts=timeouts,
                observe=private.observe,
                release=self._release,
            )
            try:
                await exchange.perform(head, content, length)
                break
            except ConnectionLost:
                await exchange.aclose()
                if not may_repeat:
                    raise
            except BaseException:
                await exchange.aclose()
                raise
        reader = exchange.reader
        return httpx.Response(
            reader.status_code,
            headers=reader.fields,
            stream=exchange,
            extensions={
                "http_version": b"HTTP/" + reader.http_version.encode("ascii"),
                "reason_phrase": reader.reason,
            },
        )

    def _origin(self, request: httpx.Request) -> Origin:
        url = request.url
        scheme, host, port = url.scheme, url.raw_host.decode("ascii"), url.port
        if scheme not in _PORTS or not host:
            raise httpx.UnsupportedProtocol(
                f"the URL has the scheme {scheme!r} and the host {host!r}; it must begin with "
                "http:// or https:// and name a host"
            )
        port = port or _PORTS[scheme]
        proxy = None if self._proxies is None else self._proxies.choose(scheme, host, port)
        name = request.extensions.get("sni_hostname")
        return Origin(scheme, host, port, name or host, proxy)

    async def _connection(
        self,
        origin: Origin,
        timeouts: Mapping[str, float | None],
        observe: Callable[[Phase], None],
        trace: Trace | None,
    ) -> Connection:
        connection, dead = self._pool.take(origin, trio.current_time(), self._is_readable)
        if connection is not None:
            # Nobody else takes it, whatever happens while the dead ones are closed.
            self._in_use.add(connection)
        for one in dead:
            await one.close()
        if connection is not None:
            return connection
        observe("connect")
        network = self._network or default_network()
        opener = network
        if trace is not None:
            opener = TracedNetwork(network, trace, timeouts.get("connect"))
        if timeouts.get("connect") is None:
            stream = await self._connector.open(opener, origin)
        else:
            with within(timeouts["connect"], httpx.ConnectTimeout):
                stream = await self._connector.open(opener, origin)
        connection = Connection(origin, stream, trio.current_time(), network)
        if self._is_closed:
            await connection.close()
            raise httpx.ConnectError("the transport was closed meanwhile")
        self._in_use.add(connection)
        return connection

    def _is_readable(self, connection: Connection) -> bool:
        network = self._network or default_network()
        # One that was made by the default network before is not of the one that is it now.
        return network is not connection.network or network.is_readable(connection.stream)

    async def _release(self, connection: Connection, is_reusable: bool) -> None:
        self._in_use.discard(connection)
        self._connector.keep_sessions(connection)
        dead = [connection]
        if is_reusable and not self._is_closed:
            dead = self._pool.put(connection, trio.current_time())
        for one in dead:
            await one.close()
