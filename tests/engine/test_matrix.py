"""Cut at every task step, nothing is left: no task, no socket, no pool slot, no warning.

Each scenario runs once for every step of the program, disturbed just before or just after it, and
must end as the disturbance demands, with the text right as far as it goes, and with a pool from
which the next request is served.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from lktrio import LLM, APIConnectOptions, APITimeoutError, RateLimit, TrioTransport
from tests.support.engine import BASE_URL, TLS_BASE_URL, ask, client_on, open_llm
from tests.support.leaks import no_leaks
from tests.support.loopback import Certificates, LoopbackServer, certificates
from tests.support.matrix import (
    CANCEL_BLOCK,
    CANCEL_WAIT,
    INTERRUPT,
    Action,
    Cut,
    Series,
    advance,
    sweep,
)
from tests.support.memory_network import MemoryNetwork
from tests.support.raw_server import Peer, RawServer
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Request,
    Send,
    error,
    finish,
    head,
    sse,
    text,
    text_chunk,
)

# A first piece, one in the middle, a last one: more would be more of the same steps.
PIECES = ["Whales ", "sing to find ", "each other."]
WHOLE = "".join(PIECES)
Body = Callable[[LLM, Cut], Awaitable[str]]


@attrs.frozen
class Scenario:
    """What the program does, against which server."""

    body: Body
    script: Sequence[Exchange]
    base_url: str = BASE_URL
    network: dict[str, float] = attrs.field(factory=dict)
    partial: bool = False
    """Whether the program leaves before the answer is whole."""
    answer: str = WHOLE
    """What the server says."""
    proxy: str | None = None
    """The proxy on the way to it."""
    rate: int | None = None
    """How many requests a minute holds."""
    places: int | None = None
    """How many streams may run at once."""


async def read_all(llm: LLM, cut: Cut) -> str:
    got = ""
    async with ask(llm, APIConnectOptions(max_retry=3)) as stream:
        with cut.one_wait():
            async for piece in stream.text:
                got += piece
        # A wait that was given up is asked again: nothing may be missing.
        async for piece in stream.text:
            got += piece
    return got


async def read_slowly(llm: LLM, cut: Cut) -> str:
    got = ""
    async with ask(llm) as stream:
        while True:
            chunk = None
            with cut.one_wait():
                try:
                    chunk = await anext(stream)
                except StopAsyncIteration:
                    return got
            if chunk is not None and chunk.delta is not None:
                got += chunk.delta.content or ""
            await trio.sleep(1)


async def wait_for_room(llm: LLM, cut: Cut) -> str:
    """The reader is far ahead and waits for the consumer, which comes late."""
    async with ask(llm) as stream:
        first = await anext(stream)
        await trio.sleep(5)
        got = len((first.delta and first.delta.content) or "")
        while True:
            with cut.one_wait():
                async for piece in stream.text:
                    got += len(piece)
                return WHOLE if got == BIG_SIZE else f"{got} characters"


async def break_early(llm: LLM, cut: Cut) -> str:
    async with ask(llm) as stream:
        async for piece in stream.text:
            return piece
    return ""


async def raise_in_body(llm: LLM, cut: Cut) -> str:
    got = ""
    try:
        async with ask(llm) as stream:
            async for piece in stream.text:
                got += piece
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    return got


async def collect(llm: LLM, cut: Cut) -> str:
    return (await ask(llm).collect()).text


async def two_at_once(llm: LLM, cut: Cut) -> str:
    got: list[str] = []

    async def one() -> None:
        try:
            got.append((await ask(llm).collect()).text)
        except APITimeoutError as exc:
            got.append(f"timeout: {exc.clock}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    return min(got, key=len)


ANSWER = text(*PIECES, every=0.5)
PROMPT = text(*PIECES)
HELD = sse(*map(text_chunk, PIECES), finish(), DONE, Hold())
BIG = sse(*[text_chunk("x" * 30_000) for _ in range(12)], finish(), DONE)
BIG_SIZE = 12 * 30_000

SCENARIOS = {
    "read all": Scenario(read_all, [ANSWER]),
    "read all over TLS": Scenario(
        read_all, [ANSWER], TLS_BASE_URL, {"connect_delay": 0.3, "tls_delay": 0.3}
    ),
    "collect": Scenario(collect, [ANSWER]),
    "break early": Scenario(break_early, [ANSWER], partial=True),
    "break early over TLS": Scenario(
        break_early, [ANSWER], TLS_BASE_URL, {"tls_delay": 0.1}, partial=True
    ),
    "raise in the body": Scenario(raise_in_body, [ANSWER], partial=True),
    "retry": Scenario(read_all, [error(503), error(429), ANSWER]),
    "body held open": Scenario(read_all, [HELD]),
    "wait for room": Scenario(wait_for_room, [BIG], answer="x" * BIG_SIZE),
    "two at once": Scenario(two_at_once, [ANSWER, ANSWER]),
}
# The proxy's column. (tests/http/test_proxies.py has every kind of proxy, and TLS that is real.)
PROXY = "http://user:password@proxy.test:3128"
SLOW = {"connect_delay": 0.3, "tls_delay": 0.3}
SCENARIOS |= {
    f"{name}, in a tunnel": attrs.evolve(
        SCENARIOS[name], base_url=TLS_BASE_URL, network=SLOW, proxy=PROXY
    )
    for name in ("read all", "break early", "retry", "body held open", "two at once")
}
SCENARIOS["read all, forwarded"] = attrs.evolve(SCENARIOS["read all"], proxy=PROXY)
# Waits before anything is sent: for a turn, for a place, and for both at one moment.
SCENARIOS |= {
    "retry in its turn": attrs.evolve(SCENARIOS["retry"], rate=1),
    "retry in its turn, with a place": attrs.evolve(SCENARIOS["retry"], rate=1, places=1),
    "two at once, one place": attrs.evolve(SCENARIOS["two at once"], places=1),
    "two at once, one turn": attrs.evolve(SCENARIOS["two at once"], rate=1),
    "two at once, one place and one turn": attrs.evolve(SCENARIOS["two at once"], rate=1, places=1),
}
TUNNEL = Exchange([Send(head(200))])


def is_prefix(got: str, scenario: Scenario) -> bool:
    return WHOLE.startswith(got) and (scenario.partial or got == WHOLE)


def runs(scenario: Scenario) -> Callable[[Cut], Awaitable[str]]:
    async def run(cut: Cut) -> str:
        played: Iterator[Exchange] = iter(scenario.script)

        def serve(request: Request) -> Exchange:
            return TUNNEL if request.method == "CONNECT" else next(played, PROMPT)

        result = "cut"
        async with MemoryNetwork(serve, **scenario.network) as network:
            bounds: dict[str, Any] = {"max_streams": scenario.places}
            if scenario.rate is not None:
                bounds["rate_limit"] = RateLimit(scenario.rate)
            async with open_llm(
                network, base_url=scenario.base_url, proxy=scenario.proxy, **bounds
            ) as llm:
                with cut.watched(), cut.scope:
                    try:
                        result = await scenario.body(llm, cut)
                    except APITimeoutError as exc:
                        whole = scenario.answer.startswith(exc.partial.text)
                        result = f"timeout: {exc.clock}" if whole else "something else"
                statistics = llm.statistics()
                assert statistics.streams_open == statistics.streams_limited == 0
                assert statistics.streams_waiting == 0
                network.assert_quiet()
                played = iter(())
                assert (await ask(llm).collect()).text == WHOLE
                network.assert_quiet()
        return result

    return run


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_the_block_leaves_nothing(name: str, series: Series) -> None:
    scenario = SCENARIOS[name]
    outcome = sweep(runs(scenario), CANCEL_BLOCK, series)

    assert is_prefix(outcome.undisturbed, scenario)
    assert set(outcome.results) <= {"cut", WHOLE, outcome.undisturbed}
    assert "cut" in outcome.results


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize(
    "name",
    [
        "read all",
        "read all over TLS",
        "retry",
        "retry in its turn",
        "retry in its turn, with a place",
        "body held open",
        "wait for room",
        "read all, in a tunnel",
        "retry, in a tunnel",
        "read all, forwarded",
    ],
)
def test_cancelling_one_wait_loses_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(SCENARIOS[name]), CANCEL_WAIT, series)

    assert set(outcome.results) == {WHOLE}


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_clock_that_fires_leaves_nothing(name: str, series: Series) -> None:
    scenario = SCENARIOS[name]
    outcome = sweep(runs(scenario), advance(60), series)

    for result in outcome.results:
        assert is_prefix(result, scenario) or result.startswith("timeout: ")
    # Where a timeout is retried, the program need not see any.
    retries = scenario.body is read_all
    assert retries or any(result.startswith("timeout: ") for result in outcome.results)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_ctrl_c_leaves_nothing_and_is_bare(name: str, series: Series) -> None:
    if name.startswith("two at once"):
        pytest.skip("a nursery of the program's own groups what reaches it")
    sweep(runs(SCENARIOS[name]), INTERRUPT, series)


# --- The same over real sockets, a sample of the steps --------------------------------------------


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("brought", [False, True], ids=["own client", "brought client"])
@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=["cancel", "Ctrl-C"])
@pytest.mark.parametrize("body", [read_all, break_early], ids=["read all", "break early"])
def test_cut_over_loopback_nothing_is_left(
    body: Body, action: Action, tls: bool, brought: bool, series: Series
) -> None:
    secured = certificates() if tls else None

    async def run(cut: Cut) -> str:
        with no_leaks():
            async with LoopbackServer(PROMPT, tls=secured) as server:
                verify = secured.client if secured else None
                async with server.client() if brought else client_on(server, verify) as client:
                    llm = LLM("m", base_url=f"{server.url}/v1", auth=None, http_client=client)
                    async with llm:
                        with cut.watched(), cut.scope:
                            await body(llm, cut)
                        server.assert_quiet()
                        result = (await ask(llm).collect()).text
                        server.assert_quiet()
        return result

    outcome = sweep(run, action, series, stride=3, virtual_time=False)
    assert set(outcome.results) <= {WHOLE}
    assert outcome.undisturbed == WHOLE


# --- The transport alone, with real TLS in memory -------------------------------------------------


@attrs.frozen
class Upload:
    """A request, and what the server does about it."""

    response: bytes
    status: int = 200
    size: int = 0
    """How long the body of the request is, in bytes."""
    iterates: bool = False
    """Whether an iterator makes it."""
    reads: bool = True
    """Whether the server reads it before it answers."""

    def make(self, url: str) -> httpx.Request:
        if not self.iterates:
            return httpx.Request("POST", url, content=b"x" * self.size)
        headers = {"Content-Length": str(self.size)}
        return httpx.Request("POST", url, headers=headers, content=self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self.size // 100_000):
            await trio.lowlevel.checkpoint()
            yield b"x" * 100_000


SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
REQUESTS = {
    "short": Upload(SHORT),
    "in chunks": Upload(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"
    ),
    "long request": Upload(SHORT, size=300_000),
    "long request of an iterator": Upload(SHORT, size=300_000, iterates=True),
    "refused while it is sent": Upload(
        b"HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nhi", 413, size=1_000_000, reads=False
    ),
    "with surplus": Upload(SHORT + SHORT),
}


def sends(request: Upload, secured: Certificates | None) -> Callable[[Cut], Awaitable[str]]:
    async def serve(peer: Peer) -> None:
        while await peer.read_head():
            while request.reads and len(peer.received) < request.size:
                await peer.receive()
            peer.received.clear()
            for piece in (request.response[:20], request.response[20:]):
                await peer.send(piece)

    async def once(transport: TrioTransport, url: str) -> str:
        response = await transport.handle_async_request(request.make(url))
        async with aclosing(response):
            assert response.status_code == request.status
            return (await response.aread()).decode()

    async def run(cut: Cut) -> str:
        result = "cut"
        async with RawServer(serve, tls=secured) as server, server.transport() as transport:
            with cut.watched(), cut.scope:
                result = await once(transport, server.url)
            assert "0 connections in use" in repr(transport)
            idle = sum(not end.closed for end in server.client_ends)
            assert f"{idle} idle" in repr(transport)
            assert await once(transport, server.url) == "hi"
        return result

    return run


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=["cancel", "Ctrl-C"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_of_the_transport_s_that_is_cut_leaves_nothing(
    name: str, tls: bool, action: Action, series: Series
) -> None:
    outcome = sweep(sends(REQUESTS[name], certificates() if tls else None), action, series)

    assert outcome.undisturbed == "hi"
    assert set(outcome.results) <= {"cut", "hi"}
    assert action is INTERRUPT or "cut" in outcome.results


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_in_a_scope_that_is_cancelled_already_nothing_is_opened(name: str, tls: bool) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_all()

    with no_leaks():
        async with RawServer(serve, tls=certificates() if tls else None) as server:
            async with server.transport() as transport:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await transport.handle_async_request(REQUESTS[name].make(server.url))
                assert scope.cancelled_caught
                assert "0 connections in use, 0 idle" in repr(transport)
                assert all(end.closed for end in server.client_ends)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=["cancel", "Ctrl-C"])
def test_cut_while_an_llm_is_entered_and_left_nothing_is_left(
    action: Action, series: Series
) -> None:
    async def run(cut: Cut) -> str:
        result = "cut"
        async with MemoryNetwork(ANSWER) as network:
            with cut.watched(), cut.scope:
                llm = LLM("m", base_url=TLS_BASE_URL, auth=None, http_client=network.transport())
                async with llm:
                    await llm.prewarm()
                    async with ask(llm) as stream:
                        await anext(stream)
                        result = "asked"
            network.assert_quiet()
        return result

    outcome = sweep(run, action, series)
    assert outcome.undisturbed == "asked"


# --- At random, by the thousand -------------------------------------------------------------------


def test_streams_that_wait_for_a_place_are_cut_by_the_thousand() -> None:
    """The leak that httpx has when a queued request is cancelled cannot happen: nothing queues
    there. Streams wait for a place in front of it, and many are cut while they do."""
    dice = random.Random(7)

    async def main() -> tuple[int, int]:
        whole = cut = 0
        answer = text(*PIECES, every=0.05)
        async with MemoryNetwork(answer) as network, open_llm(network, max_streams=5) as llm:

            async def one() -> None:
                nonlocal whole, cut
                await trio.sleep(dice.random() * 33)
                with trio.move_on_after(dice.random() * 2) as scope:
                    collected = await ask(llm).collect()
                    assert collected.text == WHOLE
                    whole += 1
                cut += scope.cancelled_caught

            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(one)
            network.assert_quiet()
            assert llm.statistics().streams_open == 0
            assert llm.statistics().streams_waiting == 0
            assert (await ask(llm).collect()).text == WHOLE
        return whole, cut

    with no_leaks():
        whole, cut = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert whole + cut == 1000
    assert whole > 150
    assert cut > 150


def test_streams_that_wait_for_a_turn_are_cut_by_the_hundred() -> None:
    dice = random.Random(11)

    async def main() -> tuple[int, int]:
        whole = cut = 0
        limit = RateLimit(100)
        async with MemoryNetwork(text(*PIECES, every=0.05)) as network:
            async with open_llm(network, rate_limit=limit, max_streams=5) as llm:

                async def one() -> None:
                    nonlocal whole, cut
                    await trio.sleep(dice.random() * 100)
                    with trio.move_on_after(dice.random() * 60) as scope:
                        assert (await ask(llm).collect()).text == WHOLE
                        whole += 1
                    cut += scope.cancelled_caught

                async with trio.open_nursery() as nursery:
                    for _ in range(400):
                        nursery.start_soon(one)
                network.assert_quiet()
                statistics = llm.statistics()
                assert statistics.streams_open == statistics.streams_waiting == 0
                assert statistics.streams_limited == limit.statistics().waiting == 0
                assert (await ask(llm).collect()).text == WHOLE
        times = sorted(request.received_at for request in network.requests)
        assert all(
            later - earlier > 59.999 for earlier, later in zip(times, times[100:], strict=False)
        )
        return whole, cut

    with no_leaks():
        whole, cut = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert whole + cut == 400
    assert whole > 100
    assert cut > 100
