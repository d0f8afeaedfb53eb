"""The same scripts over real sockets, and the recorded answers of real servers."""

from __future__ import annotations

import datetime as dt
import gc

import attrs
import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.support import recorded
from tests.support.leaks import no_leaks
from tests.support.loopback import LoopbackServer, certificates
from tests.support.matrix import (
    CANCEL_BLOCK,
    Cut,
    sweep,
)
from tests.support.memory_network import MemoryNetwork
from tests.support.plain_httpx import Body, get_safely, leave, post
from tests.support.script import (
    DONE,
    LAST_CHUNK,
    Close,
    Connection,
    Exchange,
    Hold,
    Repeat,
    Reset,
    Send,
    chunk,
    head,
    response,
    sse,
    text,
)
from tests.support.server import ScriptError

HTTP = "http://gateway.test/v1/chat/completions"
HTTPS = "https://gateway.test/v1/chat/completions"

# --- Loopback -------------------------------------------------------------------------------------


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> object:
    return certificates() if request.param == "https" else None


async def test_the_same_script_is_served_over_a_socket(tls: None) -> None:
    with no_leaks():
        async with LoopbackServer(text("Hi"), tls=tls) as server, server.client() as client:
            for _ in range(3):
                reply = await client.post(server.url + "/v1", json={"a": 1})
                assert reply.content.endswith(DONE)
            server.assert_quiet()
    (record,) = server.connections
    assert record.tls == (tls is not None)
    assert [request.json() for request in server.requests] == [{"a": 1}] * 3


async def test_over_a_socket_the_server_sees_the_client_leave_before_its_next_write(
    tls: None,
) -> None:
    script = sse(b"a", Hold(), b"b")
    with no_leaks():
        async with LoopbackServer(script, tls=tls) as server, server.client() as client:
            async with client.stream("POST", server.url) as reply:
                pieces = aiter(reply.aiter_raw())
                assert await anext(pieces) == b"a"
                await leave(pieces)
            record = server.connections[0]
            await record.closed.wait()
            assert record.unplayed == (Send(chunk(b"b")), Send(LAST_CHUNK))
            assert record.closed_by == "client"


async def test_over_a_socket_a_body_can_be_cut_or_broken(tls: None) -> None:
    script = [sse(b"a", end=False).then(Close()), sse(b"a", end=False).then(Reset())]
    async with LoopbackServer(script, tls=tls) as server, server.client() as client:
        for failure in (httpx.RemoteProtocolError, httpx.ReadError):
            received = []
            with pytest.raises(failure):
                async with client.stream("POST", server.url) as reply:
                    received += [piece async for piece in reply.aiter_raw()]
        assert [record.closed_by for record in server.connections] == ["server", "server"]


async def test_over_a_socket_a_kept_alive_connection_can_be_dropped(tls: None) -> None:
    async with LoopbackServer([text("Hi"), Exchange([Close()])], tls=tls) as server:
        async with server.client() as client:
            await client.post(server.url)
            with pytest.raises(httpx.RemoteProtocolError, match="without a response"):
                await client.post(server.url)
    assert len(server.connections) == 1


async def test_over_a_socket_a_flood_waits_for_the_reader(tls: None) -> None:
    flood = sse(Repeat([Send(chunk(b"x" * 65536))]), end=False)
    async with LoopbackServer(flood, tls=tls) as server, server.client() as client:
        async with client.stream("POST", server.url):
            pass
        record = server.connections[0]
        await record.closed.wait()
        assert record.closed_by == "client"


async def test_over_a_socket_a_server_need_not_read(tls: None) -> None:
    unread = Exchange([Send(head(413, {"Content-Length": "0"})), Close()], reads="nothing")
    async with LoopbackServer([unread, text("Hi")], tls=tls) as server, server.client() as client:
        with pytest.raises(httpx.HTTPError):
            # Closing with unread bytes in the socket is a reset, which may overtake the answer.
            (await post(client, server.url, Body(b"x" * 10_000_000))).raise_for_status()
        await client.post(server.url)
    assert len(server.requests) == 1


async def test_over_a_socket_an_unscripted_connection_is_broken() -> None:
    async def get_twice(server: LoopbackServer) -> None:
        async with server, server.client() as client:
            await client.get(server.url)
            with pytest.raises(httpx.HTTPError):
                await client.get(server.url)

    with pytest.raises(ScriptError, match="one connection more"):
        await get_twice(LoopbackServer([Connection([response(close=True)])]))


@pytest.mark.parametrize(
    "served",
    [
        certificates("gateway.test"),
        certificates(not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
    ],
    ids=["wrong name", "expired"],
)
async def test_a_bad_certificate_is_refused(served: object) -> None:
    with no_leaks():
        async with LoopbackServer(text("Hi"), tls=served) as server:  # type: ignore[arg-type]
            async with server.client() as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get(server.url)
            await server.connections[0].closed.wait()
    assert server.connections[0].closed_by == "client"
    assert not server.connections[0].tls


async def test_a_client_that_shakes_no_hands_holds_nothing_up() -> None:
    with no_leaks():
        async with LoopbackServer(text("Hi"), tls=certificates()) as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            while not server.connections:
                await trio.lowlevel.checkpoint()
        await stream.aclose()


def test_a_sweep_over_a_socket_in_real_time() -> None:
    async def scenario(cut: Cut) -> None:
        async with LoopbackServer(text("Hi")) as server, server.client() as client:
            with cut.watched(), cut.scope:
                await get_safely(client, server.url)
            server.assert_quiet()
            await client.get(server.url)

    sweep(scenario, CANCEL_BLOCK, stride=5, virtual_time=False)


# --- Recordings -----------------------------------------------------------------------------------

QUIRKS = {case.name: case for case in recorded.quirks()}
TRANSCRIPTS = {case.name: case for case in recorded.transcripts()}


def test_all_recordings_are_read() -> None:
    assert len(QUIRKS) == 92
    assert len(TRANSCRIPTS) == 25
    assert len(QUIRKS["Q95"].body) > 3_000_000
    assert QUIRKS["Q106"].status_line == "HTTP/1.1 499 "
    assert (QUIRKS["Q109"].framing, QUIRKS["Q109"].status) == ("none", 204)
    assert TRANSCRIPTS["aimock/dropped"].status is None


@pytest.mark.parametrize("case", TRANSCRIPTS.values(), ids=lambda case: case.name)
def test_a_transcript_is_rebuilt_to_the_byte(case: recorded.Recording) -> None:
    assert case.reads is not None
    assert len(case.wire()) == sum(case.reads)
    sends = [step.data for step in case.exchange().steps if isinstance(step, Send)]
    assert tuple(map(len, sends)) == case.reads


@pytest.mark.parametrize("case", [*TRANSCRIPTS.values(), QUIRKS["Q1"]], ids=lambda case: case.name)
def test_cuts_change_the_pieces_and_not_the_bytes(case: recorded.Recording) -> None:
    def sends(exchange: Exchange) -> list[bytes]:
        return [step.data for step in exchange.steps if isinstance(step, Send)]

    wire = case.wire()
    every = sends(case.exchange(writes="every byte"))
    assert b"".join(every) == wire
    assert len(every) == len(wire)
    cut = sends(case.exchange(writes=[3, 3, 10**9, 0, -5, 1]))
    if wire:
        assert [len(piece) for piece in cut] == [1, 2, len(wire) - 3]
    assert b"".join(sends(case.exchange(chunks=[5]))) == case.wire(chunks=[5])


def test_cuts_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="cuts must be 'as recorded', 'every byte' or offsets"):
        QUIRKS["Q1"].exchange(writes="bytes")  # type: ignore[arg-type]


@pytest.mark.parametrize("case", QUIRKS.values(), ids=lambda case: case.name)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_quirk_reaches_the_client_as_recorded(
    autojump_clock: MockClock, case: recorded.Recording, framing: recorded.Framing
) -> None:
    if case.framing == "chunked":
        case = attrs.evolve(case, framing=framing)
    received = bytearray()
    async with MemoryNetwork(case.exchange()) as network, network.client() as client:
        with trio.move_on_after(10) as scope:
            try:
                async with client.stream("POST", HTTP) as reply:
                    assert reply.status_code == case.status
                    for name, value in case.headers:
                        assert reply.headers[name] == value
                    async for piece in reply.aiter_raw():
                        received += piece
            except httpx.ReadError:
                assert case.end == "abort"
            else:
                assert case.end != "abort"
        assert scope.cancelled_caught == (case.end == "hold")
        network.assert_quiet()
    assert received == case.body


@pytest.mark.parametrize("case", TRANSCRIPTS.values(), ids=lambda case: case.name)
async def test_a_transcript_reaches_the_client_over_a_socket(case: recorded.Recording) -> None:
    received = bytearray()
    # A write for every byte takes a while; a few hundred at both ends cut head, framing and events.
    cuts = [*range(600), *range(len(case.wire()) - 300, len(case.wire()))]
    async with LoopbackServer(case.exchange(writes=cuts)) as server:
        async with server.client() as client:
            try:
                async with client.stream("POST", server.url) as reply:
                    async for piece in reply.aiter_raw():
                        received += piece
            except httpx.RemoteProtocolError:
                assert case.name in ("aimock/dropped", "aimock/truncate")
    assert received == case.body


async def test_http_chunks_of_one_byte_reach_the_client_one_by_one(
    autojump_clock: MockClock,
) -> None:
    case = TRANSCRIPTS["aimock/reasoning"]
    async with MemoryNetwork(case.exchange(chunks="every byte")) as network:
        client = network.brought_client()
        async with client, client.stream("POST", HTTP) as reply:
            pieces = [piece async for piece in reply.aiter_raw()]
    assert b"".join(pieces) == case.body
    assert len(pieces) == len(case.body)
    gc.collect()
