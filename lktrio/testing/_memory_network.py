"""A network in memory underneath the real HTTP stack, so that whole programs run in virtual time.

Every name of httpcore in `lktrio.testing` lives here. `MemoryNetwork` is an
`httpcore.AsyncNetworkBackend`, behaves and raises as the one that httpcore uses on Trio does, and
serves every connection from a script. httpx, httpcore and h11 above it run unmodified, trace events
and connection pool included. Under `autojump_clock` the delays are exact.
"""

# ruff: noqa: ARG002, ASYNC109 - the parameters are httpcore's

from __future__ import annotations

import functools
import math
import ssl
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import httpcore
import trio

from ._http import (
    HTTPClient,
    LeakError,
    assert_pool_quiet,
    make_http_client,
    no_encryption,
    pool_of,
)
from ._memory_stream import MemoryEnd, memory_connection
from ._server import Answers, ConnectionRecord, Line, ScriptedServer
from ._steps import Connection, Script

__all__ = ["MemoryNetwork"]

_T = TypeVar("_T")

SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class MemoryNetwork(ScriptedServer, httpcore.AsyncNetworkBackend):
    """A network in memory, with a scripted server at every address.

        async with MemoryNetwork(text("Hi"), connect_delay=0.1) as network:
            async with network.client() as client:
                await client.post("https://gateway.test/v1/chat/completions", json={})
            assert network.requests[0].json() == {}

    https works as http does, with trace events and checkpoints, but nothing is encrypted.

    Args:
        script: What the server does.
        connect_delay: Seconds until a connection stands; `math.inf` for an address that never
            answers.
        connect_error: If given, connecting fails with this message (after the delay).
        tls_delay: Seconds a TLS handshake takes.
        tls_error: If given, the TLS handshake fails with this message (after the delay).
        window: Bytes that may be on their way in each direction before a sender waits.

    Raises:
        TypeError: If the script is none.
    """

    def __init__(
        self,
        script: Script | Answers,
        *,
        connect_delay: float = 0.0,
        connect_error: str | None = None,
        tls_delay: float = 0.0,
        tls_error: str | None = None,
        window: int = 65536,
    ) -> None:
        super().__init__(script)
        self._connect_delay = connect_delay
        self._connect_error = connect_error
        self._tls_delay = tls_delay
        self._tls_error = tls_error
        self._window = window
        self._clients: list[HTTPClient] = []
        self._client_ends: list[MemoryEnd] = []
        self.connect_attempts: list[float] = []
        """When each attempt to connect began, successful or not."""

    @property
    def open_connections(self) -> int:
        """How many connections the clients have not closed."""
        return sum(not end.closed for end in self._client_ends)

    def client(self, **options: Any) -> HTTPClient:
        """Return a client of the real httpx stack whose network is this one.

        Args:
            options: Arguments of `httpx.AsyncClient`; `timeout` is None and `trust_env` is False if
                not given. The pool has no limit of connections, keeps 20 idle ones and, because
                httpcore would look at the real clock for that, never lets one expire.
        """
        return self.adopt(
            make_http_client(verify=no_encryption(), keepalive_expiry=None, options=options)
        )

    def adopt(self, client: HTTPClient) -> HTTPClient:
        """Move a client that somebody else made, with its own limits, onto this network."""
        pool_of(client)._network_backend = self
        self._clients.append(client)
        return client

    def assert_quiet(self) -> None:
        """Check that no request is under way, and that every open connection is an idle one.

        Raises:
            LeakError: Names what is left in a pool, or says that connections are open in none.
        """
        for client in self._clients:
            assert_pool_quiet(client)
        pooled = sum(len(pool_of(client).connections) for client in self._clients)
        if self.open_connections != pooled:
            lost = [
                record
                for record, end in zip(self.connections, self._client_ends, strict=True)
                if not end.closed
            ]
            raise LeakError(
                f"{self.open_connections} connections are open and {pooled} are in a pool; "
                f"open are {lost}"
            )

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection; part of the `httpcore.AsyncNetworkBackend` interface."""
        self.connect_attempts.append(trio.current_time())
        plan = self._next_plan()
        if plan is None:
            raise httpcore.ConnectError("the script has no further connection")
        with _deadline(timeout, httpcore.ConnectTimeout):
            await self._answer_after(_either(plan.connect_delay, self._connect_delay))
        failure = _either(plan.connect_error, self._connect_error)
        if failure is not None:
            raise httpcore.ConnectError(failure)
        return self._connect(plan, f"{host}:{port}")

    async def sleep(self, seconds: float) -> None:
        """Sleep; part of the `httpcore.AsyncNetworkBackend` interface."""
        await trio.sleep(seconds)

    async def _answer_after(self, seconds: float) -> None:
        """Wait for an answer of the network.

        It is an event of another task, as a packet that arrives is one: a cancel that comes just
        after it leaves the operation done. (A `sleep` whose time is up would still be cancelled.)
        """
        answer = trio.Event()

        async def network() -> None:
            await trio.sleep(seconds)
            answer.set()

        self._start_soon(network)
        await answer.wait()

    def _connect(self, plan: Connection, address: str) -> httpcore.AsyncNetworkStream:
        client_end, server_end = memory_connection(self._window)
        record = ConnectionRecord(
            number=len(self.connections), opened_at=trio.current_time(), address=address
        )
        self._start_soon(self._serve, _MemoryLine(server_end, record), record, plan)
        self.connections.append(record)
        self._client_ends.append(client_end)
        return _MemoryNetworkStream(
            client_end,
            record,
            handshake=functools.partial(
                self._answer_after, _either(plan.tls_delay, self._tls_delay)
            ),
            tls_error=_either(plan.tls_error, self._tls_error),
        )


class _MemoryLine(Line):
    """The server's end; what the client does is seen at once, read or not."""

    def __init__(self, end: MemoryEnd, record: ConnectionRecord) -> None:
        self._end = end
        end.call_when_peer_closes(record.saw_client_go)

    async def receive(self, max_bytes: int) -> bytes:
        return await self._end.receive_some(max_bytes)

    async def send(self, data: bytes) -> None:
        await self._end.send_all(data)

    def watch(self) -> None:
        pass  # the end calls by itself

    async def aclose(self) -> None:
        await self._end.aclose()

    async def reset(self) -> None:
        self._end.reset()


class _MemoryNetworkStream(httpcore.AsyncNetworkStream):
    """The client's end, as httpcore sees it: errors and time limits as on a socket."""

    def __init__(
        self,
        end: MemoryEnd,
        record: ConnectionRecord,
        *,
        handshake: Callable[[], Awaitable[None]],
        tls_error: str | None,
    ) -> None:
        self._end = end
        self._record = record
        self._handshake = handshake
        self._tls_error = tls_error

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _deadline(timeout, httpcore.ReadTimeout), _broken_is(httpcore.ReadError):
            return await self._end.receive_some(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            with _deadline(timeout, httpcore.WriteTimeout), _broken_is(httpcore.WriteError):
                await self._end.send_all(buffer)

    async def aclose(self) -> None:
        await self._end.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with _deadline(timeout, httpcore.ConnectTimeout):
                await self._handshake()
            if self._tls_error is not None:
                raise httpcore.ConnectError(self._tls_error)
            if self._end.ended_by_peer:
                raise httpcore.ConnectError("the server closed the connection in the handshake")
        except Exception:
            # Not on Cancelled: httpcore's own backend leaves the socket open there, and whoever
            # uses httpcore has to know (tests that cut every step find out).
            await self.aclose()
            raise
        self._record.tls = True
        return _MemoryNetworkStream(
            self._end, self._record, handshake=self._handshake, tls_error=self._tls_error
        )

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                return self._end.readable
            case "server_addr":
                host, _, port = self._record.address.rpartition(":")
                return (host, int(port))
            case _:
                return None


@contextmanager
def _deadline(seconds: float | None, error: type[Exception]) -> Generator[None, None, None]:
    try:
        with trio.fail_after(math.inf if seconds is None else seconds):
            yield
    except trio.TooSlowError as exc:
        raise error(exc) from exc


@contextmanager
def _broken_is(error: type[Exception]) -> Generator[None, None, None]:
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        raise error(exc) from exc


def _either(first: _T | None, second: _T) -> _T:
    return second if first is None else first
