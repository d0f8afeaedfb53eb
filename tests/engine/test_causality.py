"""What comes before what, over real sockets: when connections are kept, and when they are closed.

Nothing is timed here. That a server sees the end of a connection before its next write is proved by
a write that waits for an event and that is never made; that nobody waits for the end of a body is
proved by a server that never ends it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from lktrio import LLM, APIConnectionError, APIConnectOptions, LLMStream
from tests.support.engine import conversation
from tests.support.leaks import no_leaks
from tests.support.loopback import LoopbackServer, certificates
from tests.support.script import (
    DONE,
    LAST_CHUNK,
    Call,
    Close,
    Exchange,
    Hold,
    Repeat,
    Script,
    Send,
    Step,
    WaitFor,
    chunk,
    comment,
    error,
    finish,
    head,
    response,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    usage,
)
from tests.support.server import ConnectionRecord

SAFETY_NET = 120.0
"""Seconds after which a test that hangs is given up. No test depends on it."""

PATIENT = APIConnectOptions(max_retry=0, timeout=SAFETY_NET)


@pytest.fixture(params=["tcp", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@asynccontextmanager
async def served(script: Script, *, secure: bool) -> AsyncIterator[tuple[LoopbackServer, LLM]]:
    """A server on this machine, and an `LLM` for it: over TCP with a client of its own."""
    tls = certificates() if secure else None
    with no_leaks():
        async with LoopbackServer(script, tls=tls) as server:
            client = server.client() if secure else None
            llm = LLM("m", base_url=f"{server.url}/v1", auth="Bearer sk-x", http_client=client)
            async with llm:
                yield server, llm
            if client is not None:
                await client.aclose()


def ask(llm: LLM) -> LLMStream[None]:
    return llm.chat(chat_ctx=conversation(), conn_options=PATIENT)


async def gone(connection: ConnectionRecord) -> None:
    """Wait until the server has seen the client go; check that the client was the first."""
    await connection.closed.wait()
    assert connection.closed_by == "client"


# --- Kept ----------------------------------------------------------------------------------------


async def test_ten_requests_in_a_row_use_one_connection(secure: bool) -> None:
    with trio.fail_after(SAFETY_NET):
        async with served(text("Wha", "les"), secure=secure) as (server, llm):
            for _ in range(10):
                async with ask(llm) as stream:
                    assert "".join([piece async for piece in stream.text]) == "Whales"
            assert len(server.requests) == 10
            (connection,) = server.connections
            assert connection.client_gone_at is None
            assert connection.tls is secure


async def test_ten_collected_answers_use_one_connection(secure: bool) -> None:
    with trio.fail_after(SAFETY_NET):
        async with served(text("Whales"), secure=secure) as (server, llm):
            for _ in range(10):
                assert (await ask(llm).collect()).text == "Whales"
            assert (len(server.requests), len(server.connections)) == (10, 1)


async def test_errors_in_between_keep_the_connection_too(secure: bool) -> None:
    script = [step for _ in range(5) for step in (text("Hi"), error(400, "no"))]
    with trio.fail_after(SAFETY_NET):
        async with served(script, secure=secure) as (server, llm):
            for _ in range(5):
                assert (await ask(llm).collect()).text == "Hi"
                with pytest.raises(Exception, match="no"):
                    await ask(llm).collect()
            assert (len(server.requests), len(server.connections)) == (10, 1)


async def test_a_break_after_the_finish_reason_keeps_the_connection(secure: bool) -> None:
    with trio.fail_after(SAFETY_NET):
        async with served(text("Hi", tokens=(3, 4)), secure=secure) as (server, llm):
            for _ in range(5):
                async with ask(llm) as stream:
                    async for one in stream:
                        if one.finish_reason is not None:
                            break
            assert (len(server.requests), len(server.connections)) == (5, 1)


async def test_prewarming_is_of_use_to_the_first_request(secure: bool) -> None:
    with trio.fail_after(SAFETY_NET):
        script = [response(200, b'{"data": []}'), text("Hi")]
        async with served(script, secure=secure) as (server, llm):
            await llm.prewarm()
            await ask(llm).collect()
            assert (len(server.requests), len(server.connections)) == (2, 1)


# --- Closed --------------------------------------------------------------------------------------


class Boom(Exception):
    """The program's own."""


async def leave_by_break(llm: LLM) -> None:
    async with ask(llm) as stream:
        async for piece in stream.text:
            assert piece == "Wha"
            break


async def leave_by_exception(llm: LLM) -> None:
    with pytest.raises(Boom):
        async with ask(llm) as stream:
            assert await anext(stream.text) == "Wha"
            raise Boom


async def leave_by_return(llm: LLM) -> None:
    async def first() -> str:
        async with ask(llm) as stream:
            return await anext(stream.text)

    assert await first() == "Wha"


async def leave_by_cancel(llm: LLM) -> None:
    with trio.CancelScope() as scope:
        async with ask(llm) as stream:
            assert await anext(stream.text) == "Wha"
            scope.cancel()
            await anext(stream)
    assert scope.cancelled_caught


async def leave_by_cancel_from_outside(llm: LLM) -> None:
    started = trio.Event()

    async def read() -> None:
        async with ask(llm) as stream:
            async for _ in stream:
                started.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await started.wait()
        nursery.cancel_scope.cancel()


async def leave_by_aclose(llm: LLM) -> None:
    async with ask(llm) as stream:
        assert await anext(stream.text) == "Wha"
        await stream.aclose()


async def leave_without_reading(llm: LLM) -> None:
    async with ask(llm) as stream:
        while stream.response.status_code is None:
            await trio.lowlevel.checkpoint()


WAYS_OUT: list[Callable[[LLM], Awaitable[None]]] = [
    leave_by_break,
    leave_by_exception,
    leave_by_return,
    leave_by_cancel,
    leave_by_cancel_from_outside,
    leave_by_aclose,
    leave_without_reading,
]


@pytest.mark.parametrize("leave", WAYS_OUT, ids=lambda function: function.__name__)
async def test_the_server_sees_the_close_before_its_next_write(
    leave: Callable[[LLM], Awaitable[None]], secure: bool
) -> None:
    never = trio.Event()
    late = Send(chunk(text_chunk("les")))
    quiet = sse(text_chunk("Wha"), WaitFor(never), end=False).then(late)
    with trio.fail_after(SAFETY_NET):
        async with served([quiet, text("Hi")], secure=secure) as (server, llm):
            await leave(llm)
            # The block is left; what is checked is the server's own view, as it comes in.
            await gone(server.connections[0])
            assert server.connections[0].unplayed == (WaitFor(never), late)
            assert llm.statistics().streams_open == 0
            assert (await ask(llm).collect()).text == "Hi"
            assert len(server.connections) == 2


async def test_a_request_that_is_cancelled_before_the_head_is_closed(secure: bool) -> None:
    never = trio.Event()
    arrived = trio.Event()
    silent = Exchange([Call(arrived.set), WaitFor(never), Send(head(200))])
    with trio.fail_after(SAFETY_NET):
        async with served([silent, text("Hi")], secure=secure) as (server, llm):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask(llm).collect)
                await arrived.wait()
                nursery.cancel_scope.cancel()
            await gone(server.connections[0])
            assert server.connections[0].unplayed == silent.steps[1:]
            assert (await ask(llm).collect()).text == "Hi"


@pytest.mark.parametrize("leave", WAYS_OUT[:4], ids=lambda function: function.__name__)
async def test_a_server_that_floods_is_stopped(
    leave: Callable[[LLM], Awaitable[None]], secure: bool
) -> None:
    piece = Send(chunk(text_chunk("x" * 1000) * 20))
    flood = Exchange(
        [
            Send(head(200, {"Transfer-Encoding": "chunked"})),
            Send(chunk(text_chunk("Wha"))),
            Repeat([piece]),
        ]
    )
    with trio.fail_after(SAFETY_NET):
        async with served([flood, text("Hi")], secure=secure) as (server, llm):
            await leave(llm)
            await gone(server.connections[0])
            assert (await ask(llm).collect()).text == "Hi"


async def test_a_stream_whose_consumer_stopped_reading_is_closed_too(secure: bool) -> None:
    piece = Send(chunk(text_chunk("x" * 1000) * 20))
    flood = Exchange([Send(head(200, {"Transfer-Encoding": "chunked"})), Repeat([piece])])
    with trio.fail_after(SAFETY_NET):
        async with served([flood], secure=secure) as (server, llm):
            async with ask(llm) as stream:
                await anext(stream)
                # The request task stops reading when nobody takes what it has read.
                sent = -1
                while sent != server.connections[0].bytes_sent:
                    sent = server.connections[0].bytes_sent
                    for _ in range(200):
                        await trio.lowlevel.checkpoint()
            await gone(server.connections[0])


async def test_leaving_the_llm_closes_what_is_open(secure: bool) -> None:
    never = trio.Event()
    quiet = sse(text_chunk("Wha"), WaitFor(never), end=False).then(Send(LAST_CHUNK))
    with trio.fail_after(SAFETY_NET):
        tls = certificates() if secure else None
        async with LoopbackServer(quiet, tls=tls) as server, trio.open_nursery() as nursery:
            client = server.client() if secure else None
            llm = LLM("m", base_url=f"{server.url}/v1", auth=None, http_client=client)
            async with llm:
                started = trio.Event()

                async def read() -> None:
                    async with ask(llm) as stream:
                        assert await anext(stream.text) == "Wha"
                        started.set()
                        with pytest.raises(trio.ClosedResourceError):
                            await anext(stream)

                nursery.start_soon(read)
                await started.wait()
            await gone(server.connections[0])
            assert server.connections[0].unplayed == (WaitFor(never), Send(LAST_CHUNK))
            if client is not None:
                await client.aclose()


# --- Held ----------------------------------------------------------------------------------------

ENDINGS: dict[str, list[bytes]] = {
    "done": [finish(), DONE],
    "usage and done": [finish(), usage(3, 4), DONE],
    "done without a finish reason": [DONE],
    "calls": [tool_call_chunk("{}", id="c1", name="now"), finish("tool_calls"), DONE],
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_consumer_is_done_and_gone_while_the_server_holds_the_body(
    ending: str, secure: bool
) -> None:
    never = trio.Event()
    rest: tuple[Step, ...] = (WaitFor(never), Send(LAST_CHUNK))
    held = sse(text_chunk("Whales"), *ENDINGS[ending], end=False).then(*rest)
    with trio.fail_after(SAFETY_NET):
        async with served(held, secure=secure) as (server, llm):
            async with ask(llm) as stream:
                assert "".join([piece async for piece in stream.text]) == "Whales"
                # Done, and nothing was closed yet by anybody.
                (connection,) = server.connections
                assert connection.client_gone_at is None
                assert connection.closed_at is None
            # Left, although the body has not ended.
            assert stream.response.attempts[0].error is None
            await gone(connection)
            assert connection.unplayed == rest
            # The server still holds; from now on nobody looks whether it stops.
            for number in range(2, 5):
                assert (await ask(llm).collect()).text == "Whales"
                await gone(server.connections[-1])
                assert len(server.connections) == number


async def test_a_server_that_sends_comments_after_done_is_not_listened_to(secure: bool) -> None:
    noisy = sse(text_chunk("Hi"), finish(), DONE, end=False).then(Repeat([Send(chunk(comment()))]))
    with trio.fail_after(SAFETY_NET):
        async with served([noisy, text("again")], secure=secure) as (server, llm):
            assert (await ask(llm).collect()).text == "Hi"
            await gone(server.connections[0])
            assert (await ask(llm).collect()).text == "again"


# --- Lost ----------------------------------------------------------------------------------------


async def test_an_answer_that_is_cut_delivers_what_came_before_the_error(secure: bool) -> None:
    got: list[str] = []
    seen = trio.Event()
    cut = sse(text_chunk("Wha"), WaitFor(seen), text_chunk("les"), end=False).then(Close())
    with trio.fail_after(SAFETY_NET):
        async with served(cut, secure=secure) as (_, llm), ask(llm) as stream:
            with pytest.raises(APIConnectionError) as caught:
                async for piece in stream.text:
                    got.append(piece)
                    seen.set()
            assert got == ["Wha", "les"]
            assert caught.value.partial.text == "Whales"


async def test_a_silent_server_holds_only_its_own_stream(secure: bool) -> None:
    calls = 0

    def answer(_: object) -> Exchange:
        nonlocal calls
        calls += 1
        return Exchange([Hold()]) if calls == 1 else text("Hi")

    with trio.fail_after(SAFETY_NET):
        async with served(answer, secure=secure) as (server, llm):
            async with ask(llm):
                while not server.requests:
                    await trio.lowlevel.checkpoint()
                for _ in range(5):
                    assert (await ask(llm).collect()).text == "Hi"
            assert len(server.connections) == 2
