"""A network in memory underneath the real HTTP stack, so that whole programs run in virtual time.

`MemoryNetwork` is a `lktrio.Network`, behaves and raises as the one of real sockets does, and
serves every connection from a script. `lktrio.TrioTransport` above it runs unmodified, pool and
all. Under `autojump_clock` the delays are exact.
"""

from __future__ import annotations

import ssl
from typing import Any, TypeVar

import trio

from lktrio._http import Network, TrioTransport

from ._http import (
    HTTPClient,
    LeakError,
    assert_quiet,
    idle_connections,
    make_http_client,
    no_encryption,
)
from ._memory_stream import MemoryEnd, memory_connection
from ._server import Answers, ConnectionRecord, Line, ScriptedServer
from ._steps import Connection, Script

__all__ = ["MemoryNetwork"]

_T = TypeVar("_T")


class MemoryNetwork(ScriptedServer, Network):
    """A network in memory, with a scripted server at every address.

        async with MemoryNetwork(text("Hi"), connect_delay=0.1) as network:
            async with network.client() as client:
                await client.post("https://gateway.test/v1/chat/completions", json={})
            assert network.requests[0].json() == {}

    https works as http does, with all its checkpoints, but nothing is encrypted.

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
        self._client_ends: list[MemoryEnd] = []
        self._plans: list[Connection] = []
        self.is_default: bool = False
        """Whether transports connect here that this network does not know."""
        self.connect_attempts: list[float] = []
        """When each attempt to connect began, successful or not."""

    @property
    def open_connections(self) -> int:
        """How many connections the clients have not closed."""
        return sum(not end.closed for end in self._client_ends)

    def transport(self, **options: Any) -> TrioTransport:
        """Return a transport whose network is this one, for ``LLM(http_client=...)``.

        Args:
            options: Arguments of `TrioTransport`.
        """
        defaults: dict[str, Any] = {"verify": no_encryption(), "proxy": None, "network": self}
        return self.adopt(TrioTransport(**{**defaults, **options}))

    def client(self, **options: Any) -> HTTPClient:
        """Return a client of httpx whose network is this one.

        Args:
            options: Arguments of `httpx.AsyncClient`; `timeout` is None and `trust_env` is False if
                not given. Those that concern connections are not looked at.
        """
        return make_http_client(self.transport(), options)

    def assert_quiet(self) -> None:
        """Check that no request is under way, and that every open connection is an idle one.

        Raises:
            LeakError: Names what is left in a pool, or says that connections are open in none.
        """
        idle = self._idle()
        lost = [
            record
            for record, end in zip(self.connections, self._client_ends, strict=True)
            if not end.closed and end not in idle and not self._is_idle_elsewhere(record)
        ]
        if lost:
            raise LeakError(
                f"{self.open_connections} connections are open and {len(idle)} are in a pool; "
                f"open are {lost}"
            )

    def _idle(self) -> set[trio.abc.Stream]:
        """The connections that are in a pool, of which none is in use."""
        idle: set[trio.abc.Stream] = set()
        for transport in self._transports:
            assert_quiet(transport)
            idle |= idle_connections(transport)
        return idle

    def _is_idle_elsewhere(self, record: ConnectionRecord) -> bool:
        """Whether a connection can be in a pool that we do not know."""
        return self.is_default and bool(record.replies) and record.replies[-1].over.is_set()

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """Open a connection; part of `lktrio.Network`."""
        self.connect_attempts.append(trio.current_time())
        plan = self._next_plan()
        if plan is None:
            raise OSError("the script has no further connection")
        await self._answer_after(_either(plan.connect_delay, self._connect_delay))
        failure = _either(plan.connect_error, self._connect_error)
        if failure is not None:
            raise OSError(failure)
        return self._connect(plan, f"{host}:{port}")

    async def secure(
        self,
        stream: trio.abc.Stream,
        context: ssl.SSLContext,  # noqa: ARG002 - the parameters are those of a real network
        name: str,  # noqa: ARG002
        session: ssl.SSLSession | None = None,  # noqa: ARG002
    ) -> trio.abc.Stream:
        """Do as if TLS began; part of `lktrio.Network`."""
        assert isinstance(stream, MemoryEnd)
        number = self._client_ends.index(stream)
        plan = self._plans[number]
        await self._answer_after(_either(plan.tls_delay, self._tls_delay))
        failure = _either(plan.tls_error, self._tls_error)
        if failure is not None:
            raise ssl.SSLCertVerificationError(failure)
        if stream.ended_by_peer:
            raise trio.BrokenResourceError("the server closed the connection in the handshake")
        self.connections[number].tls = True
        return stream

    def is_readable(self, stream: trio.abc.Stream) -> bool:
        """Whether there is something to read; part of `lktrio.Network`."""
        assert isinstance(stream, MemoryEnd)
        return stream.readable

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

    def _connect(self, plan: Connection, address: str) -> MemoryEnd:
        client_end, server_end = memory_connection(self._window)
        record = ConnectionRecord(
            number=len(self.connections), opened_at=trio.current_time(), address=address
        )
        self._start_soon(self._serve, _MemoryLine(server_end, record), record, plan)
        self.connections.append(record)
        self._plans.append(plan)
        self._client_ends.append(client_end)
        return client_end


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


def _either(first: _T | None, second: _T) -> _T:
    return second if first is None else first
