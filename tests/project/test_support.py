"""Scripts, the stream and the network in memory: driven with a plain httpx client."""

from __future__ import annotations

import math

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.support.leaks import LeakError
from tests.support.memory_network import MemoryNetwork
from tests.support.memory_stream import MemoryEnd, memory_connection
from tests.support.plain_httpx import Body, leave, post
from tests.support.script import (
    DONE,
    EVENT_STREAM,
    LAST_CHUNK,
    AwaitRequest,
    Call,
    Close,
    Connection,
    Exchange,
    Hold,
    Repeat,
    Request,
    Reset,
    Send,
    Step,
    ToolCall,
    Wait,
    WaitFor,
    chunk,
    chunked,
    comment,
    completion_chunk,
    error,
    event,
    finish,
    head,
    reasoning_chunk,
    refusal_chunk,
    response,
    sse,
    text,
    text_chunk,
    tool_calls,
    until_close,
    usage,
)
from tests.support.server import ScriptError

HTTP = "http://gateway.test/v1/chat/completions"
HTTPS = "https://gateway.test/v1/chat/completions"

# --- What a server says ---------------------------------------------------------------------------


def body_of(exchange: Exchange) -> bytes:
    """Return all that an exchange sends, without the head."""
    sent = b"".join(step.data for step in exchange.steps if isinstance(step, Send))
    return sent.partition(b"\r\n\r\n")[2]


def test_a_head_is_a_status_line_and_headers_as_given() -> None:
    assert head(200, {"A": "1"}) == b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n"
    assert head(529) == b"HTTP/1.1 529 \r\n\r\n"
    assert head(200, [("A", "1"), ("A", "2")], reason="Fine") == (
        b"HTTP/1.1 200 Fine\r\nA: 1\r\nA: 2\r\n\r\n"
    )


def test_each_piece_is_one_http_chunk_and_steps_stay_in_their_place() -> None:
    exchange = chunked([b"one", Wait(2), b"three", b"four"], every=0.5, end=False)
    assert exchange.steps[1:] == (
        Send(b"3\r\none\r\n"),
        Wait(2),
        Wait(0.5),
        Send(b"5\r\nthree\r\n"),
        Wait(0.5),
        Send(b"4\r\nfour\r\n"),
    )
    assert chunked([b"x"]).steps[-1] == Send(LAST_CHUNK)


def test_an_empty_chunk_would_end_the_body() -> None:
    with pytest.raises(ValueError, match="LAST_CHUNK"):
        chunk(b"")


def test_events_are_compact_json_named_or_raw() -> None:
    assert event({"a": 1}) == b'data: {"a":1}\n\n'
    assert event("raw", name="error") == b"event: error\ndata: raw\n\n"
    assert comment("ping") == b": ping\n\n"
    assert b'"reasoning_content":"hm"' in reasoning_chunk("hm")
    assert b'"refusal":"no"' in refusal_chunk("no")
    assert b'"service_tier":"x"' in completion_chunk([], service_tier="x")


def test_an_answer_of_text_ends_with_finish_usage_and_done() -> None:
    assert body_of(text("Hi", "!")) == b"".join(
        [*map(chunk, [text_chunk("Hi"), text_chunk("!"), finish(), usage(9, 3), DONE]), LAST_CHUNK]
    )
    assert b"usage" not in body_of(text("Hi", tokens=None))


def test_tool_calls_come_in_fragments_that_join_to_the_arguments() -> None:
    exchange = tool_calls(ToolCall("f", {"city": "Paris"}), ToolCall("g", "{}", id="x"), fragment=4)
    body = body_of(exchange)
    assert body.count(b"tool_calls") == 1 + 5 + 1 + 1 + 1  # and once in the finish reason
    assert b'"name":"f"' in body
    assert b'"id":"call_0"' in body
    assert b'"id":"x"' in body
    assert b"usage" not in body_of(tool_calls(ToolCall("f"), tokens=None))


def test_an_error_has_a_json_body_and_may_ask_to_wait() -> None:
    (send,) = error(429, "slow down", retry_after=1.5, code="rate_limit").steps
    assert isinstance(send, Send)
    assert b"Retry-After: 1.5\r\n" in send.data
    assert send.data.endswith(b'{"error": {"message": "slow down", "code": "rate_limit"}}')
    assert error(503, close=True).steps[-1] == Close()


def test_a_response_announces_its_length_unless_told_otherwise() -> None:
    assert response(200, b"abc") == Exchange(
        [Send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")]
    )
    assert b"Content-Length" not in response(204).steps[0].data  # type: ignore[union-attr]
    lie = response(200, b"abc", {"content-length": "100"}).steps[0]
    assert lie == Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("seconds=-1 is not accepted; it takes a number of seconds, at least 0", lambda: Wait(-1)),
        ("seconds", lambda: Wait(math.nan)),
        ("make it the last step", lambda: Exchange([Close(), Send(b"x")])),
        ("steps go on after Reset", lambda: Connection(on_accept=[Reset(), Hold()])),
        ("end the steps with Hold", lambda: Exchange([Send(b"x")], reads="head")),
        ("reads must be", lambda: Exchange([Hold()], reads="all")),  # type: ignore[arg-type]
        ("nothing to repeat", lambda: Repeat([])),
        ("after the Repeat", lambda: Repeat([Close()])),
        ("window must be at least 1", lambda: memory_connection(0)),
    ],
)
def test_values_that_make_no_sense_are_refused(message: str, make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_a_script_of_mixed_things_is_refused() -> None:
    with pytest.raises(TypeError, match="script must be"):
        MemoryNetwork([text("Hi"), Connection()])  # type: ignore[arg-type]


def test_a_request_reads_its_headers_in_any_case_and_its_json() -> None:
    request = Request("POST", "/", (("x-a", "1"), ("x-a", "2")), b'{"a": 1}', 0.0, 0)
    assert (request.header("X-A"), request.header("x-b")) == ("1", None)
    assert request.json() == {"a": 1}


# --- The stream in memory -------------------------------------------------------------------------


async def test_a_connection_in_memory_keeps_the_rules_of_trios_streams() -> None:
    async def make() -> tuple[MemoryEnd, MemoryEnd]:
        return memory_connection()

    async def make_clogged() -> tuple[MemoryEnd, MemoryEnd]:
        left, right = memory_connection(1)
        await left.send_all(b"x")
        await right.send_all(b"x")
        return left, right

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_what_arrived_before_a_reset_is_still_read() -> None:
    left, right = memory_connection()
    await left.send_all(b"abc")
    left.reset()
    left.reset()
    assert right.readable
    assert await right.receive_some(2) == b"ab"
    assert await right.receive_some() == b"c"
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"x")


async def test_a_reset_wakes_a_sender_that_waits_for_the_window() -> None:
    left, right = memory_connection(1)

    async def send_too_much() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await left.send_all(b"xy")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_too_much)
        await trio.testing.wait_all_tasks_blocked()
        right.reset()


async def test_a_closed_end_sends_no_farewell() -> None:
    left, _right = memory_connection()
    left.close()
    with pytest.raises(trio.ClosedResourceError):
        await left.send_eof()


# --- Time and order in memory ---------------------------------------------------------------------


async def test_delays_of_connecting_and_of_pieces_are_exact(autojump_clock: MockClock) -> None:
    script = sse(text_chunk("a"), Wait(2.0), text_chunk("b"), DONE, every=0.25).after(1.0)
    async with MemoryNetwork(script, connect_delay=0.5, tls_delay=0.125) as network:
        async with network.brought_client() as client, client.stream("POST", HTTPS) as reply:
            assert trio.current_time() == 1.625
            arrivals = [(trio.current_time(), len(piece)) async for piece in reply.aiter_raw()]
    assert arrivals == [
        (1.625, len(text_chunk("a"))),
        (3.875, len(text_chunk("b"))),
        (4.125, len(DONE)),
    ]
    assert network.connect_attempts == [0.0]
    (record,) = network.connections
    assert (record.opened_at, record.tls, record.address) == (0.5, True, "gateway.test:443")
    assert network.requests[0].received_at == 0.625


async def test_trace_events_come_as_over_tcp(autojump_clock: MockClock) -> None:
    events: list[str] = []

    async def trace(name: str, info: object) -> None:
        events.append(name)

    async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
        for _ in range(2):
            await client.post(HTTPS, extensions={"trace": trace})
    connecting = [name for name in events if name.startswith("connection.")]
    assert connecting == [
        "connection.connect_tcp.started",
        "connection.connect_tcp.complete",
        "connection.start_tls.started",
        "connection.start_tls.complete",
    ]
    assert events.count("http11.send_request_headers.started") == 2


async def test_requests_are_recorded(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
        await client.post(HTTP + "?a=1", json={"model": "m"}, headers={"X-Test": "yes"})

        await post(client, HTTP, Body(b"ab", b"cd", every=1))
    first, second = network.requests
    assert (first.method, first.target) == ("POST", "/v1/chat/completions?a=1")
    assert first.header("x-test") == "yes"
    assert first.json() == {"model": "m"}
    assert (first.connection, first.received_at) == (0, 0.0)
    assert (second.method, second.body, second.received_at) == ("POST", b"abcd", 2.0)
    assert network.connections[0].requests == [first, second]
    assert network.connections[0].closed_by == "client"


async def test_scripts_answer_in_order_by_connection_or_by_request(
    autojump_clock: MockClock,
) -> None:
    async def statuses(network: MemoryNetwork) -> list[int]:
        async with network, network.brought_client() as client:
            return [(await client.post(HTTP, content=name)).status_code for name in ("a", "b")]

    assert await statuses(MemoryNetwork([error(503, retry_after=1), text("Hi")])) == [503, 200]
    by_connection = [Connection([error(500, close=True)]), Connection([error(429)])]
    assert await statuses(MemoryNetwork(by_connection)) == [500, 429]
    by_request = {b"a": error(400), b"b": error(404)}
    assert await statuses(MemoryNetwork(lambda request: by_request[request.body])) == [400, 404]


async def test_ten_requests_in_a_row_use_one_connection(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
        for _ in range(10):
            await client.post(HTTPS)
            network.assert_quiet()
        assert len(network.connections) == 1
        assert len(network.requests) == 10
        assert network.open_connections == 1
    assert network.open_connections == 0


async def test_an_idle_connection_that_the_server_closed_is_not_used_again(
    autojump_clock: MockClock,
) -> None:
    script = text("Hi").then(Wait(5), Close())
    async with MemoryNetwork(script) as network, network.brought_client() as client:
        await client.post(HTTP)
        await trio.sleep(6)
        await client.post(HTTP)
        first, second = network.connections
        assert (first.closed_at, first.closed_by) == (5.0, "server")
        assert second.opened_at == 6.0
        network.assert_quiet()


@pytest.mark.parametrize(
    ("end", "failure"), [(Close(), httpx.RemoteProtocolError), (Reset(), httpx.ReadError)]
)
@pytest.mark.parametrize("step", [AwaitRequest(), None])
async def test_a_kept_alive_connection_may_be_dropped_as_the_next_request_arrives(
    autojump_clock: MockClock, end: Step, failure: type[Exception], step: Step | None
) -> None:
    """Before the request is read, or after it."""
    drop = [text("Hi").then(step, end)] if step else [text("Hi"), Exchange([end])]
    script = [Connection(drop), Connection([text("Hi")])]
    async with MemoryNetwork(script) as network, network.brought_client() as client:
        await client.post(HTTP)
        with pytest.raises(failure):
            await client.post(HTTP)
        assert network.open_connections == 0
        await client.post(HTTP)
        assert len(network.connections) == 2
        network.assert_quiet()


async def test_a_server_that_waits_for_a_request_sees_that_none_comes(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(text("Hi").then(AwaitRequest(), Close())) as network:
        async with network.brought_client() as client:
            await client.post(HTTP)
        await network.connections[0].closed.wait()
    assert network.connections[0].closed_by == "client"


async def test_a_server_may_let_the_next_request_wait(autojump_clock: MockClock) -> None:
    script = [text("Hi").then(AwaitRequest(), Wait(3)), text("Hi")]
    async with MemoryNetwork(script) as network, network.brought_client() as client:
        for _ in range(2):
            await client.post(HTTP)
    assert [request.received_at for request in network.requests] == [0, 3]


async def test_a_body_can_be_cut_held_or_broken(autojump_clock: MockClock) -> None:
    async def read(script: Exchange) -> bytes:
        async with MemoryNetwork(script) as network, network.brought_client() as client:
            async with client.stream("POST", HTTP) as reply:
                with trio.move_on_after(10):
                    return b"".join([piece async for piece in reply.aiter_raw()])
            assert trio.current_time() - network.requests[0].received_at == 10
            return b"held"

    open_body = sse(b"a", end=False)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        await read(open_body.then(Close()))
    with pytest.raises(httpx.ReadError):
        await read(open_body.then(Reset()))
    assert await read(open_body.then(Hold())) == b"held"
    assert await read(open_body) == b"held"
    assert await read(until_close([b"a", Wait(1), b"b"])) == b"ab"


async def test_the_server_sees_the_client_leave_before_its_next_write(
    autojump_clock: MockClock,
) -> None:
    a, b = Send(chunk(b"a")), Send(chunk(b"b"))
    script = sse(end=False).then(a, Wait(1), b, Wait(1), b)
    async with MemoryNetwork(script) as network, network.brought_client() as client:
        async with client.stream("POST", HTTP) as reply:
            pieces = aiter(reply.aiter_raw())
            assert await anext(pieces) == b"a"
            await trio.sleep(0.5)
            await leave(pieces)
        record = network.connections[0]
        await record.closed.wait()
        assert record.client_gone_at == 0.5
        assert record.unplayed == (Wait(1), b, Wait(1), b)
        assert (
            record.bytes_sent
            == len(head(200, {**EVENT_STREAM, "Transfer-Encoding": "chunked"})) + 6
        )
        network.assert_quiet()


async def test_a_held_connection_ends_when_the_client_goes(autojump_clock: MockClock) -> None:
    script = sse(text_chunk("a"), end=False).then(Hold(), Send(b"never"))
    async with MemoryNetwork(script) as network, network.brought_client() as client:
        async with client.stream("POST", HTTP):
            await trio.sleep(3)
        record = network.connections[0]
        await record.client_gone.wait()
        await record.closed.wait()
        assert (record.client_gone_at, record.closed_by) == (3.0, "client")
        assert record.unplayed == (Send(b"never"),)


async def test_a_server_that_writes_faster_than_the_client_reads_has_to_wait(
    autojump_clock: MockClock,
) -> None:
    flood = Repeat([Send(chunk(b"x" * 1000))])
    async with MemoryNetwork(sse(flood, end=False), window=10_000) as network:
        async with network.brought_client() as client, client.stream("POST", HTTP) as reply:
            await trio.sleep(100)
            sent = network.connections[0].bytes_sent
            # The window, and one read of httpcore (64 KiB at most) that brought the head.
            assert 10_000 - 1006 < sent < 2 * 10_000
            await trio.sleep(100)
            assert network.connections[0].bytes_sent == sent
            pieces = aiter(reply.aiter_raw())
            for _ in range(50):
                await anext(pieces)
            assert network.connections[0].bytes_sent > 40_000
            await leave(pieces)
        assert network.connections[0].client_gone_at == 200
        assert network.connections[0].unplayed == (flood,)


@pytest.mark.parametrize(
    "script",
    [
        Exchange([Hold()], reads="nothing"),
        Exchange([Hold()], reads="head"),
        [Connection(on_accept=[Hold()])],
    ],
)
async def test_a_server_that_does_not_read_stops_the_request(
    autojump_clock: MockClock, script: Exchange | list[Connection]
) -> None:
    async with (
        MemoryNetwork(script, window=1000) as network,
        network.brought_client(timeout=5) as client,
    ):
        with pytest.raises(httpx.WriteTimeout):
            await post(client, HTTP, Body(b"x" * 100_000))
        assert trio.current_time() == 5
        await network.connections[0].closed.wait()
        assert all(request.body == b"" for request in network.requests)
        network.assert_quiet()


async def test_a_server_may_answer_after_the_head_alone(autojump_clock: MockClock) -> None:
    early = Exchange([*error(413).steps, Close()], reads="head")
    async with MemoryNetwork(early, window=1000) as network, network.brought_client() as client:
        reply = await post(client, HTTP, Body(b"x" * 100_000))
        assert reply.status_code == 413


async def test_a_client_that_leaves_in_its_own_request_is_no_request(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
        with trio.move_on_after(2.5):
            await post(client, HTTP, Body(*[b"x"] * 10, every=1))
        await network.connections[0].closed.wait()
    assert network.requests == []
    assert network.connections[0].client_gone_at == 2.5


async def test_a_client_that_has_left_already_is_not_served(autojump_clock: MockClock) -> None:
    called: list[bool] = []
    script = Exchange([Call(lambda: called.append(True))])
    async with MemoryNetwork(script) as network:
        stream = await network.connect("gateway.test", 80)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        await stream.aclose()
        await network.connections[0].closed.wait()
    assert len(network.requests) == 1
    assert network.connections[0].unplayed == script.steps
    assert called == []


async def test_connecting_can_fail_or_take_for_ever(autojump_clock: MockClock) -> None:
    script = [
        Connection(connect_error="refused"),
        Connection(connect_delay=math.inf),
        Connection(tls_delay=math.inf),
        Connection(tls_error="bad certificate", tls_delay=2),
        Connection(on_accept=[Close()]),
        Connection([text("Hi")]),
    ]
    async with MemoryNetwork(script, tls_delay=1) as network:
        async with network.brought_client(timeout=httpx.Timeout(None, connect=5)) as client:
            with pytest.raises(httpx.ConnectError, match="refused"):
                await client.post(HTTPS)
            with pytest.raises(httpx.ConnectTimeout):
                await client.post(HTTPS)
            with pytest.raises(httpx.ConnectTimeout):
                await client.post(HTTPS)
            with pytest.raises(httpx.ConnectError, match="bad certificate"):
                await client.post(HTTPS)
            with pytest.raises(httpx.ConnectError, match="in the handshake"):
                await client.post(HTTPS)
            assert network.open_connections == 0
            assert (await client.post(HTTPS)).status_code == 200
            network.assert_quiet()
    assert network.connect_attempts == [0, 0, 5, 10, 12, 13]


async def test_a_network_can_be_down_altogether(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi"), connect_error="unreachable", connect_delay=3) as network:
        async with network.brought_client() as client:
            with pytest.raises(httpx.ConnectError, match="unreachable"):
                await client.post(HTTP)
    assert trio.current_time() == 3
    assert network.connections == []


async def test_read_and_write_time_limits_of_httpx_work(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(Exchange([Hold()])) as network:
        async with network.brought_client(timeout=4) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(HTTP)
    assert trio.current_time() == 4


async def test_a_client_that_somebody_else_made_can_be_adopted(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi")) as network:
        async with network.put(httpx.AsyncClient(trust_env=False)) as client:
            await client.post(HTTP)
            network.assert_quiet()
    assert len(network.requests) == 1


async def test_a_script_can_wait_for_the_test_and_call_it(autojump_clock: MockClock) -> None:
    go, seen = trio.Event(), trio.Event()
    script = sse(Call(seen.set), WaitFor(go), text_chunk("Hi"))
    async with MemoryNetwork(script) as network, network.brought_client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.post, HTTP)
            await seen.wait()
            assert trio.current_time() == 0
            await trio.sleep(7)
            go.set()
    assert trio.current_time() == 7


async def test_steps_are_repeated_as_often_as_said(autojump_clock: MockClock) -> None:
    ping = Repeat([Wait(4), Send(chunk(comment()))], times=3)
    async with MemoryNetwork(sse(ping, DONE)) as network, network.brought_client() as client:
        assert (await client.post(HTTP)).content == comment() * 3 + DONE
    assert trio.current_time() == 12


async def test_the_address_of_the_server_is_known_to_a_response(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
        async with client.stream("POST", HTTP) as reply:
            stream = reply.extensions["network_stream"]
            assert stream.get_extra_info("server_addr") == ("gateway.test", 80)
            assert stream.get_extra_info("ssl_object") is None


# --- What fails a test ----------------------------------------------------------------------------


async def test_a_request_without_an_answer_fails_where_the_block_is_left() -> None:
    async def post_twice(network: MemoryNetwork) -> None:
        async with network, network.brought_client() as client:
            await client.post(HTTP)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(HTTP)

    with pytest.raises(ScriptError, match="no answer any more for Request"):
        await post_twice(MemoryNetwork([text("Hi")]))


async def test_a_connection_too_many_fails_where_the_block_is_left() -> None:
    async def post_twice(network: MemoryNetwork) -> None:
        async with network, network.brought_client() as client:
            await client.post(HTTP)
            with pytest.raises(httpx.ConnectError):
                await client.post(HTTP)

    with pytest.raises(ScriptError, match="one connection more"):
        await post_twice(MemoryNetwork([Connection([text("Hi").then(Close())])]))


async def test_a_problem_of_the_script_is_noted_on_the_tests_own_failure() -> None:
    async def post_once(network: MemoryNetwork) -> None:
        async with network, network.brought_client() as client:
            await client.post(HTTP)

    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await post_once(MemoryNetwork([]))
    assert "no answer any more" in caught.value.__notes__[0]


async def test_what_a_function_of_the_script_does_wrong_is_raised() -> None:
    def broken(request: Request) -> Exchange:
        return request.json()["no such member"]  # type: ignore[no-any-return]

    async def post_twice(network: MemoryNetwork) -> None:
        async with network, network.brought_client() as client:
            for _ in range(2):
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.post(HTTP, json={})

    with pytest.raises(ExceptionGroup) as caught:
        await post_twice(MemoryNetwork(broken))
    assert [type(one) for one in caught.value.exceptions] == [KeyError, KeyError]
    with pytest.raises(ExceptionGroup, match="the scripted server") as caught:
        await post_twice(MemoryNetwork(lambda request: None))  # type: ignore[arg-type, return-value]
    assert [type(one) for one in caught.value.exceptions] == [TypeError, TypeError]


async def test_a_network_that_was_not_entered_says_so() -> None:
    network = MemoryNetwork(text("Hi"))
    async with network.brought_client() as client:
        with pytest.raises(RuntimeError, match=r"inside `async with MemoryNetwork\(...\)`"):
            await client.get(HTTP)


async def test_what_is_not_quiet_is_named(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi").after(5)) as network, network.brought_client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.post, HTTP)
            await trio.sleep(1)
            with pytest.raises(LeakError, match=r"request .*\n.*connection .*ACTIVE"):
                network.assert_quiet()
        network.assert_quiet()
        stray = await network.connect("gateway.test", 80)
        with pytest.raises(LeakError, match="2 connections are open and 1 are in a pool"):
            network.assert_quiet()
        await stray.aclose()
        network.assert_quiet()
