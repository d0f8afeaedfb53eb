"""`ScriptedGateway`: LiveKit Inference, played from a script, with a record of what it was asked.

This module knows how a program is wired to the gateway, and what a test asks it afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import trio
import trio.testing

from lktrio._checks import NOT_GIVEN, NotGivenOr, is_given
from lktrio._definitions import public
from lktrio._engine import LLM, check_on_trio
from lktrio._http import set_default_network

from ._desk import Desk, Entry, GatewayScript, RecordedRequest, ScriptItem, described, snapshot
from ._http import HTTPClient, LeakError
from ._loopback import LoopbackServer
from ._memory_network import MemoryNetwork
from ._server import ReplyRecord, ScriptError

__all__ = ["ScriptedGateway"]

_MEMORY_URL: Final = "https://gateway.test/v1"
_DEFAULT_MODEL: Final = "openai/gpt-4.1-mini"
_API_KEY: Final = "APIscripted"
_API_SECRET: Final = "the-secret-of-a-scripted-gateway-that-guards-nothing"
_VARIABLES: Final = (
    "LIVEKIT_URL",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "LIVEKIT_INFERENCE_URL",
    "LIVEKIT_INFERENCE_API_KEY",
    "LIVEKIT_INFERENCE_API_SECRET",
)


@public
class ScriptedGateway:
    """LiveKit Inference, played from a script.

    ::

        async with ScriptedGateway(["Hello!", error(503), "Hello again!"]) as gateway:
            async with gateway.llm() as llm:
                ...
        assert gateway.requests[0].last_user_message == "Hi"

    By default it stands on a network in memory, below the real HTTP stack: the connections of an
    `LLM` run as they are, and nothing leaves the process. In virtual time a reply of a minute takes
    none: with the fixture ``autojump_clock`` of pytest-trio, or under
    ``trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))``.

    With ``loopback=True`` it listens on a free TCP port of this machine, in real time: for programs
    in another process, for other HTTP clients, and for other languages.

    It checks the token of a request as the gateway does (signature, issuer, time, grant), and
    answers 401 with the reason. A program of another server, which is led here by `installed` and
    asks for an address of its own, may send any header or none. What the script has no reply for is
    answered with status 400 and raised as a `ScriptError` where the block is left. So are replies
    that were never asked for. If another exception leaves the block, both are noted on that one.

    Args:
        script: Replies in their order: `reply`, `error`, `events`, `raw`, a string, `tool_call`,
            `NoConnection`, or a function that makes the reply to one request. Or else one of
            these, for every request; if a function returns None, the next reply that was queued
            with `add` is taken.
        loopback: Listen on a TCP port of 127.0.0.1 instead of in memory.
        api_key: The key that must have issued the token.
        api_secret: The secret that must have signed it.
        auth: In place of key and secret, the value that the ``Authorization`` header must have,
            whoever is asked for; None: it is not looked at.
        connect_delay: Seconds until a connection stands (in memory only).
        allow_unused: Do not report replies that were never asked for.

    Raises:
        TypeError: The script holds something that is no reply, or an async function.
        ValueError: A reply is one that a gateway cannot give.
    """

    def __init__(
        self,
        script: GatewayScript = (),
        *,
        loopback: bool = False,
        api_key: str = _API_KEY,
        api_secret: str = _API_SECRET,
        auth: NotGivenOr[str | None] = NOT_GIVEN,
        connect_delay: float = 0.0,
        allow_unused: bool = False,
    ) -> None:
        self.api_key = api_key
        """The key that must have issued the token."""
        self.api_secret = api_secret
        """The secret that must have signed it."""
        self._auth = auth
        self._loopback = loopback
        self._allow_unused = allow_unused
        self._desk = Desk(
            script,
            api_key=api_key,
            api_secret=api_secret,
            auth=auth,
            own_host=None if loopback else urlsplit(_MEMORY_URL).netloc,
        )
        self._server: MemoryNetwork | LoopbackServer
        if loopback:
            self._server = LoopbackServer(self._desk)
        else:
            self._server = MemoryNetwork(self._desk, connect_delay=connect_delay)
        self._server.name = type(self).__name__

    def __repr__(self) -> str:
        where = "on 127.0.0.1" if self._loopback else "in memory"
        asked, queued = len(self._desk.entries), len(self._desk.queue)
        return f"<ScriptedGateway {where}, {asked} requests, {queued} replies queued>"

    # --- lifetime -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_on_trio()
        clock = trio.lowlevel.current_clock()
        if (
            self._loopback
            and isinstance(clock, trio.testing.MockClock)
            and clock.autojump_threshold != float("inf")
        ):
            raise RuntimeError(
                "over loopback TCP an autojump clock jumps while the sockets are busy, and every "
                "deadline runs out: leave out loopback=True, or autojump_clock"
            )
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for problem in self._desk.problems:
            self._server.report(problem)
        unused = self._unused()
        if unused is not None and exc is not None:
            exc.add_note(unused)
        await self._server.__aexit__(exc_type, exc, traceback)
        if unused is not None and exc is None:
            raise ScriptError(unused)

    def _unused(self) -> str | None:
        if self._allow_unused or not self._desk.queue:
            return None
        lines = [f"{len(self._desk.queue)} of the scripted replies never asked for:"]
        lines += [f"- {described(item)}" for item in self._desk.queue]
        lines += [
            f"and request {entry.number} was refused: {entry.refused}"
            for entry in self._desk.entries
            if entry.refused is not None
        ]
        return "\n".join(lines)

    # --- wiring ---------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """What to give to ``LLM(base_url=...)``.

        Raises:
            RuntimeError: The gateway listens on a port, and was not entered yet.
        """
        if isinstance(self._server, MemoryNetwork):
            return _MEMORY_URL
        if not self._server.port:
            raise RuntimeError("the port is known inside `async with ScriptedGateway(...)` only")
        return f"{self._server.url}/v1"

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that lead an `LLM` to this gateway; the others that an `LLM`
        looks at are empty, which counts as not set.

        Useful for a process of its own: ``env={**os.environ, **gateway.environ}``. In memory it
        leads nowhere without `installed`.
        """
        found: dict[str, str] = dict.fromkeys(_VARIABLES, "")
        found["LIVEKIT_INFERENCE_URL"] = self.base_url
        found["LIVEKIT_INFERENCE_API_KEY"] = found["LIVEKIT_API_KEY"] = self.api_key
        found["LIVEKIT_INFERENCE_API_SECRET"] = found["LIVEKIT_API_SECRET"] = self.api_secret
        return found

    def http_client(self, **options: Any) -> HTTPClient:
        """Make an HTTP client that reaches this gateway, for ``LLM(http_client=...)``.

        It is closed with the gateway.

        Args:
            options: Arguments of `httpx.AsyncClient`.
        """
        return self._server.client(**options)

    def llm(self, model: str = _DEFAULT_MODEL, **options: Any) -> LLM:
        """Make an `LLM` that reaches this gateway; enter it with ``async with``.

        Args:
            model: The model to ask for.
            options: Further arguments of `LLM`.
        """
        defaults: dict[str, Any] = {
            "base_url": self.base_url,
            "http_client": self._server.transport(),
        }
        if is_given(self._auth):
            defaults["auth"] = self._auth
        elif "auth" not in options:
            defaults |= {"api_key": self.api_key, "api_secret": self.api_secret}
        return LLM(model, **{**defaults, **options})

    @contextmanager
    def installed(self) -> Generator[None, None, None]:
        """Lead every `LLM` that takes its settings from the environment here, for the duration of
        a ``with`` block.

        It sets the environment variables (see `environ`), those of proxies included, and, in
        memory, makes this gateway what every `LLM` connects to that brings no client of its own,
        whatever its ``base_url`` (see `lktrio.set_default_network`). It holds for the whole
        process; everything is put back at the end.
        """
        proxies = (name for name in os.environ if name.lower().endswith("_proxy"))
        changed = {**dict.fromkeys(proxies, ""), **self.environ}
        before = {name: os.environ.get(name) for name in changed}
        network = None
        os.environ.update(changed)
        try:
            if isinstance(self._server, MemoryNetwork):
                self._server.is_default = True
                network = set_default_network(self._server)
            yield
        finally:
            if network is not None:
                set_default_network(network)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    # --- script ---------------------------------------------------------------------------

    def add(self, *items: ScriptItem) -> None:
        """Queue more replies.

        Args:
            items: As in a script.

        Raises:
            TypeError: An item is no reply.
            ValueError: A reply is one that a gateway cannot give.
        """
        self._desk.add(items)

    # --- record ---------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests for chat completions so far, as they stand now."""
        return tuple(map(self._seen, self._desk.entries))

    @property
    def last_request(self) -> RecordedRequest:
        """The last of the `requests`, as it stands now.

        Raises:
            AssertionError: There was none.
        """
        if not self._desk.entries:
            raise AssertionError("the gateway has received no request")
        return self._seen(self._desk.entries[-1])

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return len(self._server.connections)

    async def wait_for_requests(self, count: int = 1) -> None:
        """Wait until so many requests for chat completions have arrived.

        Args:
            count: How many, from the beginning.
        """
        while len(self._desk.entries) < count:
            await self._desk.arrived.wait()
        await trio.lowlevel.checkpoint()

    async def wait_all_closed(self) -> None:
        """Wait until no request is being answered: each reply is over, or its client has gone."""
        for entry in list(self._desk.entries):
            await self._record(entry).over.wait()
        await trio.lowlevel.checkpoint()

    def assert_all_closed(self) -> None:
        """Check that nothing is under way: no request is being answered, and every connection that
        is still open is an idle one, ready for the next request.

        Over loopback TCP it takes a moment until the gateway knows that a client has gone; await
        `wait_all_closed` first.

        Raises:
            LeakError: Names the requests that are being answered, or the connections.
        """
        open_ = [self._seen(entry) for entry in self._desk.entries if self._is_open(entry)]
        if open_:
            raise LeakError(
                "still being answered:\n" + "\n".join(f"- {request}" for request in open_)
            )
        self._server.assert_quiet()

    def _seen(self, entry: Entry) -> RecordedRequest:
        return snapshot(entry, self._record(entry), self._closed_at(entry))

    def _record(self, entry: Entry) -> ReplyRecord:
        replies = self._server.connections[entry.request.connection].replies
        return next(record for record in replies if record.request is entry.request)

    def _is_open(self, entry: Entry) -> bool:
        connection = self._server.connections[entry.request.connection]
        # A side that has gone is known before the reply has been wound up.
        is_connected = connection.client_gone_at is None and connection.closed_by is None
        return is_connected and not self._record(entry).over.is_set()

    def _closed_at(self, entry: Entry) -> float | None:
        connection = self._server.connections[entry.request.connection]
        is_last = connection.requests[-1] is entry.request
        is_the_clients = is_last and connection.closed_by != "server"
        return connection.client_gone_at if is_the_clients else None
