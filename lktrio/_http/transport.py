"""`TrioTransport`: HTTP/1.1 for Trio, as an httpx transport.

This module knows httpx's transport interface, and owns the connections. What is said on one, and
which one is used again, is decided by the modules it leads to.

Source: https://www.python-httpx.org/advanced/transports/,
https://www.python-httpx.org/advanced/extensions/
"""

from __future__ import annotations

import functools
import math
import os
import ssl
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

import attrs
import httpx
import trio
from trio.lowlevel import enable_ki_protection

from lktrio._not_given import NOT_GIVEN, NotGivenOr, is_given
from lktrio._secret import Secret

from .connection import Body, Connection, ConnectionLost, Exchange, Origin, Phase, within
from .for_httpx2 import for_httpx2
from .message import host_field, request_head
from .network import Network, default_network
from .pool import Pool
from .proxy import Proxies
from .trace import Trace, TracedExchange, TracedNetwork
from .tunnel import forwarded, is_forwarded, pass_proxy, tls_ends

__all__ = ["Confidential", "TrioTransport"]

MAX_KEEPALIVE: Final = 100
"""How many idle connections a transport keeps, if nobody says otherwise."""

KEEPALIVE_SECONDS: Final = 30.0
"""How long it keeps one. Load balancers commonly close an idle connection after 60 s."""

MAX_AGE_SECONDS: Final = 300.0
"""How long after it was opened a connection is used for further requests."""

_PORTS: Final = {"http": 80, "https": 443}
# RFC 9110, section 9.2.2.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_EXTENSION: Final = "lktrio"


def _observe_nothing(_phase: Phase) -> None:
    pass


@attrs.frozen
class Confidential:
    """What the engine gives with a request, besides what every request of httpx has."""

    observe: Callable[[Phase], None] = _observe_nothing
    """Told when another phase begins."""

    fields: tuple[tuple[bytes, Secret], ...] = ()
    """Further fields of the header, whose values must not be seen."""

    query: Secret | None = None
    """The query of the URL, with its parameters in their encoded form."""

    @property
    def extensions(self) -> dict[str, Any]:
        """The request's extensions that carry this."""
        return {_EXTENSION: self}


_NOTHING: Final = Confidential()


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
        self._verify = verify
        self._proxies = None
        if not is_given(proxy):
            self._proxies = Proxies()
        elif proxy is not None:
            if not isinstance(cast("object", proxy), str):
                raise TypeError(f"proxy must be a str or None, not a {type(proxy).__name__}")
            # From here on no local variable shows it.
            url, proxy = Secret(proxy), None
            self._proxies = Proxies(url)
        self._network = network
        self._pool = Pool(
            max_keepalive=int(_checked("max_keepalive", max_keepalive, int)),
            keepalive_seconds=_checked("keepalive_seconds", keepalive_seconds, int | float),
            max_age_seconds=_checked("max_age_seconds", max_age_seconds, int | float),
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
        private: Confidential = extensions.get(_EXTENSION, _NOTHING)
        timeouts: Mapping[str, float | None] = extensions.get("timeout") or {}
        trace: Trace | None = extensions.get("trace")
        origin = self._origin(request)
        # (What is not ASCII is refused with the head.)
        method = request.method.encode("ascii", "backslashreplace")
        head, content, length = _message(request, method, private, origin)
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
            stream = await self._open(opener, origin)
        else:
            with within(timeouts["connect"], httpx.ConnectTimeout):
                stream = await self._open(opener, origin)
        connection = Connection(origin, stream, trio.current_time(), network)
        if self._is_closed:
            await connection.close()
            raise httpx.ConnectError("the transport was closed meanwhile")
        self._in_use.add(connection)
        return connection

    async def _open(self, network: Network, origin: Origin) -> trio.abc.Stream:
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
        secured = await network.secure(
            stream, self._context(), origin.server_name, self._pool.session(origin)
        )
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

    def _is_readable(self, connection: Connection) -> bool:
        network = self._network or default_network()
        # One that was made by the default network before is not of the one that is it now.
        return network is not connection.network or network.is_readable(connection.stream)

    async def _release(self, connection: Connection, is_reusable: bool) -> None:
        self._in_use.discard(connection)
        stream: object = connection.stream
        for end in tls_ends(connection.origin):
            ssl_object: object = getattr(stream, "ssl_object", None)
            if isinstance(ssl_object, ssl.SSLObject):
                # Tickets come behind the handshake (RFC 8446, section 4.6.1).
                self._pool.keep_session(end, ssl_object.session)
            stream = getattr(stream, "transport_stream", None)
        dead = [connection]
        if is_reusable and not self._is_closed:
            dead = self._pool.put(connection, trio.current_time())
        for one in dead:
            await one.close()


def _message(
    request: httpx.Request, method: bytes, private: Confidential, origin: Origin
) -> tuple[memoryview, bytes | Body, int | None]:
    """The head of a request, its body, and how long that is; None if it goes in chunks."""
    fields: list[tuple[bytes, bytes | memoryview]] = []
    # By name in lower case. `httpx.Headers` looks at all of them each time it is asked for one.
    sent: dict[bytes, bytes] = {}
    for name, value in request.headers.raw:
        fields.append((name, value))
        key = name.lower()
        sent[key] = sent[key] + b", " + value if key in sent else value
    if b"host" not in sent:
        url = request.url
        fields.insert(0, (b"Host", host_field(url.raw_host, url.port)))
    content, length = _content(
        request.stream,
        in_chunks=sent.get(b"transfer-encoding", b"").lower() == b"chunked",
        declared=sent.get(b"content-length"),
    )
    fields += ((name, secret.view) for name, secret in private.fields)
    target = _target(request, private)
    if is_forwarded(origin):
        target = forwarded(request, target, fields, origin)
    return request_head(method, target, fields), content, length


def _target(request: httpx.Request, private: Confidential) -> bytes | memoryview:
    target: object = request.extensions.get("target")
    if isinstance(target, bytes):
        return target
    path = request.url.raw_path
    if private.query is None:
        return path
    return memoryview(b"".join((path, b"?", private.query.view)))


def _content(
    stream: object, *, in_chunks: bool, declared: bytes | None
) -> tuple[bytes | Body, int | None]:
    content: bytes | Body
    if isinstance(stream, httpx.ByteStream):
        # As it is: its asynchronous form is a generator, which a cancel leaves suspended.
        content = b"".join(stream)
        if not in_chunks:
            if declared != b"%d" % len(content) and (content or declared not in {None, b"0"}):
                raise httpx.LocalProtocolError(
                    f"the body of the request has {len(content)} bytes, but its Content-Length "
                    f"is {declared!r}"
                )
            return content, len(content)
        return _Pieces(content), None
    if not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("the body of the request cannot be read by async for")
    if in_chunks:
        return stream, None
    length = b"0" if declared is None else declared
    if not length.isdigit():
        raise httpx.LocalProtocolError(f"the Content-Length of the request is {length!r}")
    return stream, int(length)


class _Pieces:
    """One piece, as a body that is read by ``async for``."""

    def __init__(self, content: bytes) -> None:
        self._content = [content] if content else []

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        if not self._content:
            raise StopAsyncIteration
        return self._content.pop()


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


def _checked(parameter: str, value: float, kind: type | types.UnionType) -> float:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{parameter} must be a number, not a {type(value).__name__}")
    if not value >= 0 or (value == math.inf and kind is int):
        raise ValueError(f"{parameter}={value} is not accepted; it takes 0 or more")
    return value
