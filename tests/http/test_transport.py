"""HTTP as a program sees it through an `LLM`: errors, statuses, bodies, redirects, bounds, clients.

Servers are scripted networks in memory under the real httpx; where one exception is wanted at one
place, an httpx transport of our own raises it. Our own client is looked at over loopback.
"""

from __future__ import annotations

import gzip
import json
import random
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    LLMStream,
)
from lktrio._http.exceptions import translate
from tests.support.engine import BASE_URL, TLS_BASE_URL, ask, for_our_own_connections, open_llm
from tests.support.leaks import no_leaks
from tests.support.loopback import LoopbackServer, certificates
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    LAST_CHUNK,
    AwaitRequest,
    Call,
    Close,
    Connection,
    Exchange,
    Hold,
    Piece,
    Repeat,
    Request,
    Reset,
    Send,
    Step,
    Wait,
    WaitFor,
    chunk,
    chunked,
    comment,
    delta,
    error,
    finish,
    head,
    response,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    until_close,
)

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
}
HI = b"".join([text_chunk("Hi"), finish(), DONE])
AUTH = "Bearer sk-test-0123456789"


async def read(stream: LLMStream[Any]) -> str:
    """The whole text."""
    async with stream:
        return "".join([piece async for piece in stream.text])


async def failure(stream: LLMStream[Any]) -> APIError:
    """What the stream fails with, which is exactly one bare error of ours."""
    with pytest.raises(APIError) as caught:
        await read(stream)
    return caught.value


async def answer_of(exchange: Exchange) -> str:
    """The text of one answer over a network in memory."""
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        return await read(ask(llm))


async def failure_of(exchange: Exchange) -> APIError:
    """What one answer over a network in memory fails with."""
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        error = await failure(ask(llm))
        network.assert_quiet()
    return error


# --- Exceptions ----------------------------------------------------------------------------------


@attrs.frozen
class Becomes:
    """What an exception is mapped to."""

    kind: type[APIError] = APIConnectionError
    clock: str | None = None
    retryable: bool = True
    status_code: int | None = None


LOST = Becomes()
PERMANENT = Becomes(retryable=False)

BECOMES: dict[str, Becomes] = {
    # A failure of the network can pass.
    "CloseError": LOST,
    "ConnectError": LOST,
    "HTTPError": LOST,
    "NetworkError": LOST,
    "ProtocolError": LOST,
    "ProxyError": LOST,
    "ReadError": LOST,
    "RemoteProtocolError": LOST,
    "RequestError": LOST,
    "TransportError": LOST,
    "WriteError": LOST,
    # Timeouts, which only a client of the program's own has.
    "ConnectTimeout": Becomes(APITimeoutError, "connect"),
    "PoolTimeout": Becomes(APITimeoutError, "connect"),
    "ReadTimeout": Becomes(APITimeoutError, "idle"),
    "TimeoutException": Becomes(APITimeoutError, "idle"),
    "WriteTimeout": Becomes(APITimeoutError, "write"),
    # The same request would meet these again.
    "CookieConflict": PERMANENT,
    "DecodingError": PERMANENT,
    "InvalidURL": PERMANENT,
    "LocalProtocolError": PERMANENT,
    "RequestNotRead": PERMANENT,
    "ResponseNotRead": PERMANENT,
    "StreamClosed": PERMANENT,
    "StreamConsumed": PERMANENT,
    "StreamError": PERMANENT,
    "TooManyRedirects": PERMANENT,
    "UnsupportedProtocol": PERMANENT,
    # Raised by a program's hook that calls raise_for_status(): here of a 503.
    "HTTPStatusError": Becomes(APIStatusError, status_code=503),
}

EXPORTED = {
    name: value
    for name, value in vars(httpx).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


def made(name: str) -> Exception:
    """An exception of httpx's, as httpx would make it."""
    request = httpx.Request("POST", BASE_URL)
    match name:
        case "HTTPStatusError":
            headers = {"retry-after": "7", "x-request-id": "req-1"}
            return httpx.HTTPStatusError(
                "raised on purpose",
                request=request,
                response=httpx.Response(503, headers=headers, request=request),
            )
        case "StreamConsumed" | "StreamClosed" | "ResponseNotRead" | "RequestNotRead":
            return EXPORTED[name]()  # type: ignore[return-value]
        case _:
            return EXPORTED[name]("raised on purpose")  # type: ignore[return-value]


class Raising(httpx.AsyncBaseTransport):
    """A transport that raises before the head, or in the body after some of it."""

    def __init__(self, exc: Exception, *, after: Iterable[bytes] | None = None) -> None:
        self._exc = exc
        self._after = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if self._after is None:
            raise self._exc
        return httpx.Response(200, stream=_Body(self._after, self._exc))


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: Iterable[bytes], exc: Exception | None = None) -> None:
        self._pieces = pieces
        self._exc = exc

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await trio.lowlevel.checkpoint()
            yield piece
        if self._exc is not None:
            raise self._exc


async def failure_with(transport: httpx.AsyncBaseTransport) -> APIError:
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        llm = LLM("m", base_url=BASE_URL, auth=None, http_client=client)
        async with llm:
            return await failure(ask(llm))


def check_mapped(error: APIError, expected: Becomes, cause: Exception) -> None:
    assert type(error) is expected.kind
    assert error.retryable is expected.retryable
    assert getattr(error, "clock", None) == expected.clock
    assert getattr(error, "status_code", None) == expected.status_code
    assert error.__cause__ is cause


def test_the_table_names_every_exception_that_httpx_exports() -> None:
    assert set(EXPORTED) == set(BECOMES)


@pytest.mark.parametrize("name", BECOMES)
async def test_an_exception_of_httpx_before_the_head_becomes_ours(name: str) -> None:
    exc = made(name)
    error = await failure_with(Raising(exc))
    check_mapped(error, BECOMES[name], exc)
    if BECOMES[name].kind is not APIStatusError and "raised" in str(exc):
        assert error.message == "the request to gateway.test failed: raised on purpose"


@pytest.mark.parametrize("name", BECOMES)
async def test_an_exception_of_httpx_in_the_body_becomes_ours(name: str) -> None:
    exc = made(name)
    error = await failure_with(Raising(exc, after=[b": wait\n\n"]))
    check_mapped(error, BECOMES[name], exc)


@pytest.mark.parametrize("name", BECOMES)
async def test_after_output_no_exception_may_be_retried(name: str) -> None:
    exc = made(name)
    error = await failure_with(Raising(exc, after=[text_chunk("Whales")]))
    check_mapped(error, attrs.evolve(BECOMES[name], retryable=False), exc)
    assert error.partial.text == "Whales"


async def test_a_status_raised_by_a_hook_keeps_what_the_response_said() -> None:
    error = await failure_with(Raising(made("HTTPStatusError")))
    assert isinstance(error, APIStatusError)
    assert (error.retry_after, error.request_id) == (7.0, "req-1")


@pytest.mark.parametrize(
    "exc",
    [
        ConnectionResetError("raised on purpose"),
        OSError(5, "raised on purpose"),
        TimeoutError("raised on purpose"),
        ssl.SSLError(1, "raised on purpose"),
        ssl.SSLCertVerificationError(1, "raised on purpose"),
        trio.BrokenResourceError("raised on purpose"),
        trio.ClosedResourceError("raised on purpose"),
    ],
    ids=lambda exc: type(exc).__name__,
)
@pytest.mark.parametrize("after", [None, [b": wait\n\n"]], ids=["head", "body"])
async def test_an_exception_of_the_network_becomes_a_connection_error(
    exc: Exception, after: list[bytes] | None
) -> None:
    error = await failure_with(Raising(exc, after=after))
    # Whom one side does not trust now, it will not trust in a second.
    is_permanent = isinstance(exc, ssl.SSLCertVerificationError)
    check_mapped(error, PERMANENT if is_permanent else LOST, exc)
    assert "raised on purpose" in error.message


async def test_an_exception_without_text_is_described_by_what_caused_it() -> None:
    exc = httpx.ReadError("")
    exc.__cause__ = trio.BrokenResourceError("the cable was cut")
    assert (await failure_with(Raising(exc))).message.endswith("failed: the cable was cut")
    bare = httpx.ReadError("")
    assert (await failure_with(Raising(bare))).message.endswith("failed: ReadError")


async def test_a_client_of_another_package_with_the_same_tree_is_mapped_too() -> None:
    class ReadTimeout(Exception):
        __module__ = "httpx2._exceptions"

    error = translate(ReadTimeout("late"), "reading")
    assert isinstance(error, APITimeoutError)
    assert error.clock == "idle"


@pytest.mark.parametrize("where", ["request", "response"])
@pytest.mark.parametrize("exc", [KeyError("bug"), ZeroDivisionError(), RuntimeError("bug")])
async def test_a_bug_in_a_hook_passes_as_it_is(where: str, exc: Exception) -> None:
    async def hook(_: object) -> None:
        raise exc

    async with MemoryNetwork(text("Hi")) as network:
        client = network.client(event_hooks={where: [hook]})
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            with pytest.raises(type(exc)) as caught:
                await read(ask(llm))
            assert caught.value is exc
            network.assert_quiet()


@pytest.mark.parametrize("exc", [KeyError("bug"), RuntimeError("bug")])
async def test_a_bug_in_a_transport_s_body_passes_as_it_is(exc: Exception) -> None:
    async with httpx.AsyncClient(transport=Raising(exc, after=[text_chunk("Hi")])) as client:
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            with pytest.raises(type(exc)) as caught:
                await read(ask(llm))
            assert caught.value is exc


async def test_a_refused_connection_is_one_bare_error(autojump_clock: MockClock) -> None:
    async with MemoryNetwork([Connection(connect_error="refused")]) as network:
        async with open_llm(network) as llm:
            error = await failure(ask(llm))
    assert type(error) is APIConnectionError
    assert error.retryable
    assert error.message == "the request to gateway.test failed: refused"


async def test_a_port_where_nobody_listens_is_one_bare_error() -> None:
    async with LoopbackServer(text("Hi")) as server:
        url = server.url
    with trio.fail_after(60):
        async with LLM("m", base_url=f"{url}/v1", auth=None) as llm:
            error = await failure(ask(llm))
    assert type(error) is APIConnectionError
    assert error.retryable
    assert "127.0.0.1" in error.message


async def test_a_certificate_that_is_not_trusted_is_named() -> None:
    async with LoopbackServer(text("Hi"), tls=certificates()) as server:
        with trio.fail_after(60), no_leaks():
            async with LLM("m", base_url=f"{server.url}/v1", auth=AUTH) as llm:
                error = await failure(ask(llm))
        assert server.requests == []
    assert type(error) is APIConnectionError
    assert "CERTIFICATE_VERIFY_FAILED" in error.message


# --- Statuses ------------------------------------------------------------------------------------

PASSING = {408, 409, 425, 429, 499, *range(500, 600)}


async def test_every_status_is_an_error_with_the_right_verdict(autojump_clock: MockClock) -> None:
    def answer(request: Request) -> Exchange:
        return error(int(request.header("x-status") or 0), "no")

    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        for status in range(300, 600):
            options = {"extra_headers": {"X-Status": str(status)}}
            caught = await failure(ask(llm, extra_kwargs=options))
            assert type(caught) is APIStatusError, status
            assert caught.status_code == status
            assert caught.retryable is (status in PASSING), status
            assert caught.message == ("Not Modified" if status == 304 else "no")
            network.assert_quiet()


@pytest.mark.parametrize("status", [200, 201, 203, 206, 226, 299])
async def test_every_success_with_a_stream_is_an_answer(status: int) -> None:
    assert await answer_of(chunked([HI], status=status)) == "Hi"


@pytest.mark.parametrize("verdict", [True, False])
@pytest.mark.parametrize("status", [400, 429, 503])
async def test_the_server_s_own_word_on_retrying_counts(status: int, verdict: bool) -> None:
    caught = await failure_of(error(status, headers={"x-should-retry": str(verdict).lower()}))
    assert caught.retryable is verdict


async def test_an_error_carries_what_the_headers_say(autojump_clock: MockClock) -> None:
    headers = {
        "X-Request-Id": "req-7",
        "X-LiveKit-Inference-RPM-Limit": "10",
        "X-LiveKit-Inference-RPM-Used": "11",
    }
    caught = await failure_of(error(429, retry_after=99, headers=headers))
    assert isinstance(caught, APIStatusError)
    assert caught.request_id == "req-7"
    assert caught.retry_after == 99.0
    assert caught.quota is not None
    assert caught.quota.rpm is not None
    assert (caught.quota.rpm.limit, caught.quota.rpm.used) == (10, 11)
    assert caught.quota.tpm is None
    (attempt,) = caught.attempts
    assert (attempt.status_code, attempt.request_id) == (429, "req-7")


ERROR_BODIES: dict[str, tuple[bytes, str]] = {
    "object": (b'{"error": {"message": "no luck", "code": "x"}}', "no luck"),
    "flat object": (b'{"message": "no luck"}', "no luck"),
    "string in an object": (b'{"error": "no luck"}', "no luck"),
    "detail": (b'{"detail": "no luck"}', "no luck"),
    "list of details": (b'{"detail": [{"loc": ["body", "n"], "msg": "no luck"}]}', "no luck"),
    "list": (b'[{"error": {"code": 400, "message": "no luck"}}]', "no luck"),
    "string": (b'"no luck"', "no luck"),
    "quoted json": (b'{"error": {"message": "{\\"message\\": \\"no luck\\"}"}}', "no luck"),
    "html": (b"<html><head><title>x</title></head><body><h1>no luck</h1></body></html>", "no luck"),
    "text": (b"no luck", "no luck"),
    "empty": (b"", "Bad Request"),
    "blank": (b" \r\n", "Bad Request"),
    "empty object": (b"{}", "Bad Request"),
    "null": (b"null", "null"),
    "damaged json": (b'{"error": {"message": "no lu', '{"error": {"message": "no lu'),
    "not utf-8": (b"no luck \xff", "no luck \ufffd"),
}


@pytest.mark.parametrize("kind", ERROR_BODIES)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_every_kind_of_error_body_gives_its_message(kind: str, framing: str) -> None:
    body, message = ERROR_BODIES[kind]
    exchange = {
        "length": response(400, body),
        "chunked": chunked([body] if body else [], status=400),
        "close": until_close([body] if body else [], status=400),
    }[framing]
    caught = await failure_of(exchange)
    assert isinstance(caught, APIStatusError)
    assert caught.status_code == 400
    assert message in caught.message


@pytest.mark.parametrize(
    "end", [Close(), Reset(), Hold()], ids=lambda step: type(step).__name__.lower()
)
async def test_an_error_whose_body_does_not_come_is_told_by_its_status(
    end: Step, autojump_clock: MockClock
) -> None:
    half = Exchange([Send(head(503, {"Content-Length": "500"}) + b'{"error": '), end])
    caught = await failure_of(half)
    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, caught.retryable) == (503, True)


SUCCESSES: dict[str, bytes] = {
    "event stream": HI,
    "one completion": json.dumps(COMPLETION).encode(),
    "one completion, indented": b"\n\n" + json.dumps(COMPLETION, indent=2).encode() + b"\n",
    "one completion, in a list": json.dumps([COMPLETION]).encode(),
}


@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/html", ""])
async def test_the_bytes_decide_what_a_success_is(kind: str, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert await answer_of(response(200, SUCCESSES[kind], headers)) == "Hi"


NO_ANSWERS: dict[str, tuple[Exchange, type[APIError], str, bool]] = {
    "html": (
        response(200, b"<!doctype html><html><body>Login</body></html>"),
        APIConnectionError,
        "<!doctype html>",
        False,
    ),
    "text": (response(200, b"Service moved"), APIConnectionError, "Service moved", False),
    "empty": (response(200), APIConnectionError, "empty", True),
    "no content": (response(204), APIConnectionError, "empty", True),
    "reset content": (response(205), APIConnectionError, "empty", True),
    "json error": (
        response(200, b'{"error": {"message": "no luck", "code": 400}}'),
        APIStatusError,
        "no luck",
        False,
    ),
    "json error that passes": (
        response(200, b'{"error": {"message": "no luck", "code": "503"}}'),
        APIStatusError,
        "no luck",
        True,
    ),
    "other json": (response(200, b'{"models": []}'), APIConnectionError, "models", False),
    "list": (response(200, b"[1, 2]"), APIConnectionError, "[1, 2]", False),
    "number": (response(200, b"17"), APIConnectionError, "17", False),
    "json that ends early": (response(200, b'{"choices": ['), APIConnectionError, "ended", True),
    "damaged json": (response(200, b'{"choices": oops}'), APIConnectionError, "oops", False),
    "comments only": (response(200, comment()), APIConnectionError, "without an answer", True),
    "cut": (chunked([text_chunk("Hi")], end=False).then(Close()), APIConnectionError, "", False),
    "ended early": (response(200, text_chunk("Hi")), APIConnectionError, "ended", False),
}


@pytest.mark.parametrize("kind", NO_ANSWERS)
async def test_a_success_without_an_answer_is_an_error(kind: str) -> None:
    exchange, expected, words, retryable = NO_ANSWERS[kind]
    caught = await failure_of(exchange)
    assert type(caught) is expected
    assert words in caught.message
    assert caught.retryable is retryable


# --- Redirects -----------------------------------------------------------------------------------


def redirecting(status: int, location: str) -> Callable[[Request], Exchange]:
    """A server that answers everywhere but at /v1/chat/completions, from where it redirects."""

    def answer(request: Request) -> Exchange:
        if request.target.startswith("/v1/chat/completions"):
            return response(status, b"moved", {"Location": location})
        return text("Hi")

    return answer


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "/v2/chat/completions?a=1",
        "http://gateway.test/v2/chat/completions?a=1",
        "HTTP://GATEWAY.TEST:80/v2/chat/completions?a=1",
        "../../v2/chat/completions?a=1",
        "//gateway.test/v2/chat/completions?a=1",
    ],
)
async def test_a_redirect_that_keeps_method_and_origin_is_followed(
    status: int, location: str
) -> None:
    async with MemoryNetwork(redirecting(status, location)) as network:
        async with open_llm(network, extra_kwargs={"extra_headers": {"X-Mine": "1"}}) as llm:
            assert await read(ask(llm, extra_kwargs={"extra_query": {"q": "1"}})) == "Hi"
        first, second = network.requests
        assert len(network.connections) == 1
    assert (first.method, first.target) == ("POST", "/v1/chat/completions?q=1")
    assert (second.method, second.target) == ("POST", "/v2/chat/completions?a=1")
    assert second.body == first.body
    assert second.header("X-Mine") == "1"


async def test_a_redirect_keeps_the_authorization_for_its_own_origin() -> None:
    network = MemoryNetwork(redirecting(307, "/v2/x"))
    async with network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, auth=AUTH, http_client=client) as llm:
            assert await read(ask(llm)) == "Hi"
        assert [request.header("Authorization") for request in network.requests] == [AUTH, AUTH]


@pytest.mark.parametrize(
    ("status", "location", "target"),
    [
        (301, "/v2/chat/completions", "https://gateway.test/v2/chat/completions"),
        (302, "/v2/chat/completions", "https://gateway.test/v2/chat/completions"),
        (303, "/v2/chat/completions", "https://gateway.test/v2/chat/completions"),
        (307, "https://other.test/v1/chat/completions", "https://other.test/v1/chat/completions"),
        (308, "https://other.test/v1/chat/completions", "https://other.test/v1/chat/completions"),
        (307, "//other.test/v1", "https://other.test/v1"),
        (307, "https://gateway.test:8443/v1", "https://gateway.test:8443/v1"),
        (307, "http://gateway.test/v1", "http://gateway.test/v1"),
        (307, "https://gateway.test.other.test/v1", "https://gateway.test.other.test/v1"),
        (307, "https://user:hunter2@gateway.test/v1", "https://gateway.test/v1"),
        (307, "https://other.test/v1?token=hunter2#x", "https://other.test/v1"),
        (307, "https://[", "https://["),
        (302, "https://[", "https://["),
        (307, "https://gateway.test:port/", "gateway.test:port"),
        (307, "https://gateway.test:99999/", "gateway.test:99999"),
        (307, "javascript:alert(1)", "javascript:"),
        (307, "", "https://gateway.test/v1/chat/completions"),
    ],
)
async def test_any_other_redirect_is_an_error_that_names_the_target(
    status: int, location: str, target: str
) -> None:
    async with MemoryNetwork(redirecting(status, location)) as network:
        client = network.brought_client(follow_redirects=True)
        async with LLM("m", base_url=TLS_BASE_URL, auth=AUTH, http_client=client) as llm:
            caught = await failure(ask(llm))
            network.assert_quiet()
        assert {connection.address for connection in network.connections} == {"gateway.test:443"}
        assert {request.target for request in network.requests} == {"/v1/chat/completions"}
    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, caught.retryable) == (status, False)
    assert target in caught.message
    assert "hunter2" not in str(caught)
    assert "base_url" in caught.message


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_a_redirect_to_nowhere_is_a_status_error(status: int) -> None:
    caught = await failure_of(response(status, b"moved"))
    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, caught.retryable, caught.message) == (status, False, "moved")


async def test_a_redirect_in_a_circle_ends_after_five_rounds() -> None:
    circle = response(307, b"", {"Location": "/v1/chat/completions"})
    async with MemoryNetwork(circle) as network, open_llm(network) as llm:
        caught = await failure(ask(llm))
        network.assert_quiet()
        assert len(network.requests) == 6
    assert isinstance(caught, APIStatusError)
    assert caught.status_code == 307
    assert "http://gateway.test/v1/chat/completions" in caught.message


# --- Encodings -----------------------------------------------------------------------------------


def deflated(data: bytes) -> bytes:
    """Without the zlib header, as some servers understand "deflate"."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def two_members(data: bytes) -> bytes:
    """One gzip file after the other, which is one gzip file (RFC 1952, section 2.2)."""
    return gzip.compress(data[:100]) + gzip.compress(data[100:])


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "upper case": ("GZip", gzip.compress),
    "gzip in two members": ("gzip", two_members),
    "gzip with padding": ("gzip", lambda data: gzip.compress(data) + bytes(3)),
    "deflate": ("deflate", zlib.compress),
    "deflate without header": ("deflate", deflated),
    "identity": ("identity", bytes),
    "identity and gzip": ("identity, gzip", gzip.compress),
}


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("cut", ["whole", "every byte"])
async def test_a_body_that_is_encoded_unasked_is_decoded(kind: str, cut: str) -> None:
    encoding, encode = ENCODINGS[kind]
    data = b"".join([text_chunk("Wha"), comment("x" * 1000), text_chunk("les"), finish(), DONE])
    encoded = encode(data)
    pieces = [encoded] if cut == "whole" else [bytes([byte]) for byte in encoded]
    headers = {"Content-Encoding": encoding}
    async with MemoryNetwork([chunked(pieces, headers=headers)]) as network:
        async with open_llm(network) as llm:
            assert await read(ask(llm)) == "Whales"
        (request,) = network.requests
        assert request.header("Accept-Encoding") == "identity"


async def test_an_encoded_stream_is_read_as_it_comes(autojump_clock: MockClock) -> None:
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)

    def packed(data: bytes) -> bytes:
        return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)

    pieces: list[Piece] = [
        packed(text_chunk("a")),
        Wait(5),
        packed(text_chunk("b")),
        Wait(5),
        packed(DONE),
    ]
    exchange = chunked(pieces, headers={"Content-Encoding": "gzip"})
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            times = [(piece, trio.current_time()) async for piece in stream.text]
    (first, start), (second, later) = times
    assert (first, second, later - start) == ("a", "b", 5)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_damaged_encoding_is_an_error_and_no_retry(encoding: str) -> None:
    body = ENCODINGS[encoding][1](text_chunk("Hi") * 40)
    damaged = body[:20] + b"\xff" * 20 + body[40:]
    caught = await failure_of(response(200, damaged, {"Content-Encoding": encoding}))
    assert type(caught) is APIConnectionError
    assert not caught.retryable
    assert "damaged" in caught.message


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_an_encoding_that_is_cut_off_is_an_answer_that_ended_early(encoding: str) -> None:
    noise = random.Random(1).randbytes(3000).hex()
    body = ENCODINGS[encoding][1](text_chunk("Hi") + comment(noise) + finish() + DONE)
    cut = response(200, body[: len(body) // 2], {"Content-Encoding": encoding})
    caught = await failure_of(cut)
    assert type(caught) is APIConnectionError
    assert caught.partial.text == "Hi"


@pytest.mark.parametrize(
    "encoding",
    [
        "none",
        "None",
        "utf-8",
        "UTF-8",
        "utf8",
        "charset=utf-8",
        "us-ascii",
        "binary",
        "identity, none",
    ],
)
async def test_an_encoding_that_encodes_nothing_is_none(encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    for status, body in ((200, HI), (400, b"no luck")):
        async with MemoryNetwork([response(status, body, headers)]) as network:
            async with open_llm(network) as llm:
                if status == 200:
                    assert await read(ask(llm)) == "Hi"
                else:
                    assert (await failure(ask(llm))).message == "no luck"


async def test_an_encoding_beside_one_that_encodes_nothing_is_decoded() -> None:
    exchange = response(200, gzip.compress(HI), {"Content-Encoding": "gzip, none"})
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        assert await read(ask(llm)) == "Hi"


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip"])
async def test_an_encoding_we_cannot_decode_is_named_and_not_retried(encoding: str) -> None:
    caught = await failure_of(response(200, b"\x8b\x07\x80abc", {"Content-Encoding": encoding}))
    assert type(caught) is APIConnectionError
    assert not caught.retryable
    assert repr(encoding) in caught.message


@pytest.mark.parametrize("encoding", ["br", "gzip"])
async def test_an_error_whose_body_cannot_be_decoded_is_told_by_its_status(encoding: str) -> None:
    caught = await failure_of(response(503, b"\x8b\x07\x80abc", {"Content-Encoding": encoding}))
    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, caught.retryable) == (503, True)
    assert caught.message == "Service Unavailable"


async def test_an_encoded_error_body_is_read() -> None:
    body = gzip.compress(b'{"error": {"message": "no luck"}}')
    caught = await failure_of(response(400, body, {"Content-Encoding": "gzip"}))
    assert caught.message == "no luck"


def bomb(piece: bytes, times: int) -> bytes:
    """A few bytes that decode to very many."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(
        [
            compressor.compress(b"data: "),
            *(compressor.compress(piece) for _ in range(times)),
            compressor.flush(),
        ]
    )


async def test_a_gzip_bomb_is_an_error_in_bounded_memory() -> None:
    packed = bomb(b"x" * 2**20, 200)
    assert len(packed) < 2**18
    exchange = response(200, packed, {"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        caught = await failure_of(exchange)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert type(caught) is APIConnectionError
    assert not caught.retryable
    assert "larger than" in caught.message
    assert peak < 80 * 2**20


async def test_other_tasks_run_while_a_gzip_bomb_is_decoded() -> None:
    # All of it comes in one read; without checkpoints the cancel would come after the error.
    packed = bomb(b"\n" * 2**20, 40)
    exchange = response(200, packed, {"Content-Encoding": "gzip"})
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        with trio.CancelScope() as scope:
            async with ask(llm) as stream, trio.open_nursery() as nursery:

                async def cancel_soon() -> None:
                    while stream.response.status_code is None:
                        await trio.lowlevel.checkpoint()
                    for _ in range(10):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(cancel_soon)
                await anext(stream)
        assert scope.cancelled_caught


# --- Bounds --------------------------------------------------------------------------------------

MIB = 2**20


def endless(first: bytes, again: bytes, *, status: int = 200) -> Exchange:
    """A body that goes on for ever."""
    return Exchange(
        [
            Send(head(status, {"Transfer-Encoding": "chunked"})),
            Send(chunk(first)),
            Repeat([Send(chunk(again))]),
        ]
    )


def numbered(make: Callable[[int], bytes]) -> Exchange:
    """A long body whose events differ."""
    pieces = [
        b"".join(make(number) for number in range(start, start + 500))
        for start in range(0, 100_000, 500)
    ]
    return Exchange(
        [
            Send(head(200, {"Transfer-Encoding": "chunked"})),
            *(Send(chunk(piece)) for piece in pieces),
            Hold(),
        ]
    )


LONG = "x" * 60_000
ENDLESS: dict[str, tuple[Exchange, str, float]] = {
    "line": (endless(b"data: ", b"x" * 60_000), "larger than", 18 * MIB),
    "comment": (endless(b": ", b"x" * 60_000), "larger than", 18 * MIB),
    "event": (endless(b"data: x\n", b"data: " + b"x" * 60_000 + b"\n"), "larger than", 18 * MIB),
    "json body": (endless(b'{"a": "', b"x" * 60_000), "larger than", 18 * MIB),
    "lines that are no events": (endless(b"hello\n", b"hello\n" * 9), "neither", MIB),
    "html": (endless(b"<html>", b"<p>hello</p>"), "neither", MIB),
    "text": (endless(text_chunk("x"), text_chunk(LONG)), "larger than", 36 * MIB),
    "reasoning": (
        endless(text_chunk("x"), delta(reasoning_content=LONG)),
        "larger than",
        36 * MIB,
    ),
    "refusal": (endless(text_chunk("x"), delta(refusal=LONG)), "larger than", 36 * MIB),
    "arguments": (
        endless(tool_call_chunk('{"a":"', id="c1", name="now"), tool_call_chunk(LONG)),
        "larger than",
        36 * MIB,
    ),
    "tool calls": (
        numbered(lambda n: tool_call_chunk("{}", index=n, id=f"c{n}", name="now")),
        "more than 1024 tool calls",
        MIB,
    ),
    "tool calls in one event": (
        sse(
            delta(
                tool_calls=[
                    {"index": n, "id": f"c{n}", "function": {"name": "now", "arguments": "{}"}}
                    for n in range(5000)
                ]
            ),
            end=False,
        ).then(Hold()),
        "more than 1024 tool calls",
        2 * MIB,
    ),
    "headers": (
        Exchange([Send(b"HTTP/1.1 200 OK\r\n"), Repeat([Send(b"X-A: " + b"a" * 1000 + b"\r\n")])]),
        "failed",
        MIB,
    ),
    "header": (
        Exchange([Send(b"HTTP/1.1 200 OK\r\nX-A: "), Repeat([Send(b"a" * 1000)])]),
        "failed",
        MIB,
    ),
    "status line": (
        Exchange([Send(b"HTTP/1.1 200 "), Repeat([Send(b"a" * 1000)])]),
        "failed",
        MIB,
    ),
    "chunk extension": (
        Exchange(
            [
                Send(head(200, {"Transfer-Encoding": "chunked"}) + b"1;a="),
                Repeat([Send(b"a" * 1000)]),
            ]
        ),
        "failed",
        MIB,
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_what_never_ends_is_an_error_after_a_bounded_amount(kind: str) -> None:
    exchange, words, bound = ENDLESS[kind]
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        caught = await failure(ask(llm))
        (connection,) = network.connections
        await connection.closed.wait()
        network.assert_quiet()
    assert connection.closed_by == "client"
    assert connection.bytes_sent < bound
    assert isinstance(caught, APIConnectionError)
    assert words in caught.message
    if words != "failed":
        assert not caught.retryable


async def test_very_many_argument_objects_in_one_call_are_too_many_calls() -> None:
    call = tool_call_chunk("{}", id="c1", name="now")
    caught = await failure_of(sse(call, tool_call_chunk("{}" * 5000), finish(), DONE))
    assert type(caught) is APIConnectionError
    assert "more than 1024 tool calls" in caught.message


@pytest.mark.parametrize("where", ["delta", "tool call"])
async def test_what_a_provider_attaches_is_bounded_too(where: str) -> None:
    def attached(number: int) -> bytes:
        extra = {"p": {f"{number} {n}": LONG[:1000] for n in range(11)}}
        if where == "delta":
            return delta(extra_content=extra)
        call = {"index": 0, "id": "c1", "function": {"name": "now", "arguments": ""}}
        return delta(tool_calls=[{**call, "extra_content": extra}])

    start = Send(head(200, {"Transfer-Encoding": "chunked"}))
    events = [Send(chunk(attached(number))) for number in range(4000)]
    async with MemoryNetwork([Exchange([start, *events, Hold()])]) as network:
        async with open_llm(network) as llm:
            caught = await failure(ask(llm))
            (connection,) = network.connections
        assert connection.bytes_sent < 40 * MIB
    assert "larger than" in caught.message


@pytest.mark.parametrize(
    "piece",
    [comment("x" * 1000), b"\n\r\n\r\r", b"data:\n\n", b"data: {}\n\n", b"event: x\nid: 1\n\n"],
    ids=["comments", "blank lines", "empty data", "empty objects", "other fields"],
)
async def test_what_says_nothing_takes_no_memory_however_long(piece: bytes) -> None:
    sizes: list[int] = []

    def note() -> None:
        sizes.append(tracemalloc.get_traced_memory()[0])

    many = Repeat([Send(chunk(piece * min(20_000 // len(piece), 700)))], 4)
    then_note: list[Step] = [many, Call(note)]
    steps: list[Step] = [
        Send(head(200, {"Transfer-Encoding": "chunked"})),
        *then_note * 6,
        Send(chunk(HI) + LAST_CHUNK),
    ]
    tracemalloc.start()
    try:
        assert await answer_of(Exchange(steps)) == "Hi"
    finally:
        tracemalloc.stop()
    # The windows and buffers of the network are full by the second note.
    assert sizes[-1] - sizes[1] < 100_000


@pytest.mark.parametrize("pause", [0, 9])
async def test_endless_interim_responses_are_an_error_after_twenty(
    pause: float, autojump_clock: MockClock
) -> None:
    for_our_own_connections()
    interim = Repeat([Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(pause)])
    start = trio.current_time()
    caught = await failure_of(Exchange([interim]))
    assert isinstance(caught, APIConnectionError)
    assert "more than 20 interim responses" in caught.message
    assert trio.current_time() == start + 20 * pause


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_huge_error_body_is_read_only_to_the_bound(framing: str) -> None:
    piece = b"no luck " * 1000
    times = 100 * MIB // len(piece)
    fields = {
        "length": {"Content-Length": str(times * len(piece))},
        "chunked": {"Transfer-Encoding": "chunked"},
        "close": {"Connection": "close"},
    }[framing]
    sent = chunk(piece) if framing == "chunked" else piece
    exchange = Exchange([Send(head(500, fields)), Repeat([Send(sent)], times), Hold()])
    async with MemoryNetwork([exchange]) as network, open_llm(network) as llm:
        caught = await failure(ask(llm))
        (connection,) = network.connections
        await connection.closed.wait()
        network.assert_quiet()
    # What was read (64 KiB), and what was on its way: httpx's read and the network's window.
    assert connection.bytes_sent < 64 * 1024 * 4
    assert connection.closed_by == "client"
    assert isinstance(caught, APIStatusError)
    assert isinstance(caught.body, str)
    assert len(caught.body) <= 64 * 1024
    assert len(caught.message) < 600


# --- Kept-alive connections ----------------------------------------------------------------------

DROPPED = text("Hi").then(AwaitRequest(), Close())
"""An answer, after which the server drops the connection just as the next request arrives."""

LOSSES: dict[str, tuple[Step, ...]] = {
    "closed": (AwaitRequest(), Close()),
    "reset": (AwaitRequest(), Reset()),
}

BEGINNINGS: dict[str, bytes] = {
    "one byte": b"H",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "garbage": b"garbage\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
}


@pytest.mark.parametrize("how", BEGINNINGS)
async def test_a_request_whose_response_has_begun_is_not_sent_again(how: str) -> None:
    """It was processed, or may have been (RFC 9110, section 9.2.2)."""
    for_our_own_connections()
    begun = text("Hi").then(AwaitRequest(), Send(BEGINNINGS[how]), Close())
    script = [Connection([begun]), Connection([text("sent again")])]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        assert await read(ask(llm)) == "Hi"
        caught = await failure(ask(llm))
        assert type(caught) is APIConnectionError
        assert len(caught.attempts) == 1
        assert len(network.connections) == 1


@pytest.mark.parametrize("how", LOSSES)
async def test_a_request_on_a_lost_kept_alive_connection_is_sent_again_at_once(
    how: str, autojump_clock: MockClock
) -> None:
    script = [text("Hi").then(*LOSSES[how]), text("again")]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        assert await read(ask(llm)) == "Hi"
        start = trio.current_time()
        async with ask(llm) as stream:  # no retries
            assert (await stream.collect()).text == "again"
            response = stream.response
        assert trio.current_time() == start
        assert len(network.connections) == 2
        network.assert_quiet()
    (attempt,) = response.attempts
    assert (attempt.number, attempt.resent, attempt.error) == (1, 1, None)
    assert attempt.connected is not None, "the connection it was answered on was new"


async def test_several_lost_connections_cost_no_retry(autojump_clock: MockClock) -> None:
    dead = 7
    script = [*[DROPPED] * dead, text("again")]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with trio.open_nursery() as nursery:
            for _ in range(dead):
                nursery.start_soon(read, ask(llm))
        assert len(network.connections) == dead
        async with ask(llm) as stream:
            assert (await stream.collect()).text == "again"
            (attempt,) = stream.response.attempts
        assert attempt.resent == dead
        assert len(network.connections) == dead + 1
        network.assert_quiet()


async def test_a_reused_connection_that_is_lost_in_the_body_is_not_sent_again() -> None:
    cut = sse(text_chunk("He"), end=False).then(Close())
    async with MemoryNetwork([text("Hi"), cut]) as network, open_llm(network) as llm:
        assert await read(ask(llm)) == "Hi"
        caught = await failure(ask(llm))
        assert len(network.requests) == 2
    assert type(caught) is APIConnectionError
    assert caught.partial.text == "He"
    assert caught.attempts[0].resent == 0


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
async def test_a_fresh_connection_that_is_lost_counts_as_an_attempt(end: Step) -> None:
    lost = Exchange([end])
    async with MemoryNetwork([lost]) as network, open_llm(network) as llm:
        caught = await failure(ask(llm))
        assert len(network.connections) == 1
    assert type(caught) is APIConnectionError
    assert caught.retryable
    (attempt,) = caught.attempts
    assert attempt.resent == 0
    assert attempt.connected is not None


async def test_a_timeout_on_a_reused_connection_is_not_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork([text("Hi"), Exchange([Hold()])]) as network:
        async with open_llm(network) as llm:
            assert await read(ask(llm)) == "Hi"
            caught = await failure(ask(llm))
            assert len(network.requests) == 2
    assert isinstance(caught, APITimeoutError)
    assert caught.clock == "idle"


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(
    autojump_clock: MockClock,
) -> None:
    script = [text("Hi").then(Close()), text("again")]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        assert await read(ask(llm)) == "Hi"
        await trio.sleep(1)
        async with ask(llm) as stream:
            assert (await stream.collect()).text == "again"
            (attempt,) = stream.response.attempts
    assert attempt.resent == 0


# --- Our own client ------------------------------------------------------------------------------


async def test_our_client_keeps_no_cookies_and_shows_none() -> None:
    cookie = text("Hi", headers={"Set-Cookie": "session=hunter2; Path=/"})
    with trio.fail_after(60):
        async with LoopbackServer(cookie) as server:
            async with LLM("m", base_url=f"{server.url}/v1", auth=None) as llm:
                for _ in range(2):
                    async with ask(llm) as stream:
                        await stream.collect()
                        assert "set-cookie" not in stream.response.headers
                        assert stream.response.headers["content-type"] == "text/event-stream"
            assert [request.header("Cookie") for request in server.requests] == [None, None]


async def test_our_client_is_closed_with_the_llm() -> None:
    with trio.fail_after(60):
        async with LoopbackServer(text("Hi")) as server:
            with no_leaks(allow=lambda leftover: f":{server.port}" in leftover):
                async with LLM("m", base_url=f"{server.url}/v1", auth=None) as llm:
                    assert await read(ask(llm)) == "Hi"
                    assert server.connections[0].client_gone_at is None
                await server.connections[0].closed.wait()
            assert server.connections[0].closed_by == "client"


async def test_our_client_has_no_limit_of_connections() -> None:
    count = 130  # more than httpx's own limit of 100
    everybody = trio.Event()
    arrived = 0

    def arrive(_: Request) -> Exchange:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            everybody.set()
        return Exchange([WaitFor(everybody), *text("Hi").steps])

    with trio.fail_after(60):
        async with LoopbackServer(arrive) as server:
            async with LLM("m", base_url=f"{server.url}/v1", auth=None) as llm:
                async with trio.open_nursery() as nursery:
                    for _ in range(count):
                        nursery.start_soon(read, ask(llm))
            assert len(server.requests) == count


# --- A client that the program brings ------------------------------------------------------------


async def test_a_client_that_was_brought_is_never_closed() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        async with network.client() as client:
            for _ in range(2):
                llm = LLM("m", base_url=BASE_URL, auth=None, http_client=client)
                async with llm:
                    assert await read(ask(llm)) == "Hi"
                assert not client.is_closed
            assert len(network.connections) == 1, "its pool lives on"
            assert (await client.get("http://gateway.test/")).status_code == 200


async def test_a_brought_client_s_timeouts_are_not_used(autojump_clock: MockClock) -> None:
    slow = sse(Wait(5), text_chunk("Hi"), Wait(5), finish(), DONE).after(5)
    async with MemoryNetwork([slow], connect_delay=5) as network:
        client = network.client(timeout=1)
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            assert await read(ask(llm)) == "Hi"


async def test_a_brought_client_s_headers_parameters_and_cookies_are_sent_too() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client(
            headers={"X-Theirs": "1", "User-Agent": "theirs", "Accept-Encoding": "br"},
            params={"p": "1"},
            cookies={"c": "1"},
            base_url="http://elsewhere.test/",
        )
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            await read(ask(llm, extra_kwargs={"extra_query": {"q": "2"}}))
        (request,) = network.requests
        assert [connection.address for connection in network.connections] == ["gateway.test:80"]
    assert request.target == "/v1/chat/completions?p=1&q=2"
    assert (request.header("X-Theirs"), request.header("Cookie")) == ("1", "c=1")
    assert (request.header("User-Agent") or "").startswith("lktrio/")
    assert request.header("Accept-Encoding") == "identity"


@pytest.mark.parametrize(
    ("ours", "extra", "sent"),
    [
        (None, {}, "Basic dXNlcjpwYXNz"),
        (AUTH, {}, AUTH),
        (lambda: AUTH, {}, AUTH),
        (lambda: None, {}, None),
        (None, {"Authorization": "Bearer sk-mine"}, "Bearer sk-mine"),
        (AUTH, {"authorization": "Bearer sk-mine"}, "Bearer sk-mine"),
    ],
    ids=["client's", "ours", "callable", "callable says none", "header", "header over ours"],
)
async def test_a_brought_client_s_authentication_is_used_where_we_have_none(
    ours: Any, extra: Mapping[str, str], sent: str | None
) -> None:
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client(auth=("user", "pass"))
        async with LLM("m", base_url=TLS_BASE_URL, auth=ours, http_client=client) as llm:
            await read(ask(llm, extra_kwargs={"extra_headers": extra}))
        assert network.requests[0].header("Authorization") == sent


async def test_a_brought_client_s_default_authorization_header_is_replaced_by_ours() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client(headers={"Authorization": "Bearer theirs"})
        for auth in (AUTH, None):
            llm = LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client)
            async with llm:
                await read(ask(llm))
        assert [one.header("Authorization") for one in network.requests] == [AUTH, "Bearer theirs"]


async def test_hooks_of_a_brought_client_are_called() -> None:
    seen: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(f"{request.method} {request.url.path}")

    async def on_response(response: httpx.Response) -> None:
        seen.append(f"{response.status_code}")

    async with MemoryNetwork(text("Hi")) as network:
        hooks = {"request": [on_request], "response": [on_response]}
        client = network.client(event_hooks=hooks)
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            assert await read(ask(llm)) == "Hi"
    assert seen == ["POST /v1/chat/completions", "200"]


@pytest.mark.parametrize("way", ["client", "transport"])
async def test_what_stands_in_the_way_of_httpx_is_there_for_a_brought_client(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instrumentation replaces methods of httpx; an `LLM` that should be seen brings a client."""
    owner: Any = httpx.AsyncClient if way == "client" else httpx.AsyncHTTPTransport
    name = "send" if way == "client" else "handle_async_request"
    original = getattr(owner, name)
    seen: list[str] = []

    async def instead(self: Any, request: httpx.Request, **options: Any) -> httpx.Response:
        seen.append(request.headers["host"])
        answer: httpx.Response = await original(self, request, **options)
        return answer

    monkeypatch.setattr(owner, name, instead)
    with trio.fail_after(60):
        async with LoopbackServer(text("Hi")) as server, httpx.AsyncClient() as client:
            url = f"{server.url}/v1"
            async with LLM("m", base_url=url, auth=None, http_client=client) as llm:
                assert await read(ask(llm)) == "Hi"
            async with LLM("m", base_url=url, auth=None) as llm:
                assert await read(ask(llm)) == "Hi"
            assert seen == [server.url.removeprefix("http://")]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_hook_may_read_the_body(encoding: str) -> None:
    seen: list[bytes] = []

    async def on_response(response: httpx.Response) -> None:
        seen.append(await response.aread())

    def pack(data: bytes) -> bytes:
        return gzip.compress(data) if encoding == "gzip" else data

    headers = {"Content-Encoding": encoding}
    script = [response(200, pack(HI), headers), response(400, pack(b"no luck"), headers)]
    async with MemoryNetwork(script) as network:
        client = network.client(event_hooks={"response": [on_response]})
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            assert await read(ask(llm)) == "Hi"
            caught = await failure(ask(llm))
            assert len(network.connections) == 1
            network.assert_quiet()
    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, caught.message) == (400, "no luck")
    assert seen == [HI, b"no luck"]


async def test_a_hook_that_takes_the_body_for_itself_leaves_nothing_to_read() -> None:
    async def on_response(response: httpx.Response) -> None:
        async for _ in response.aiter_raw():
            pass

    async with MemoryNetwork([text("Hi")]) as network:
        client = network.client(event_hooks={"response": [on_response]})
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            caught = await failure(ask(llm))
            network.assert_quiet()
    assert type(caught) is APIConnectionError
    assert not caught.retryable


async def test_a_hook_that_raises_for_status_gives_a_status_error() -> None:
    async def on_response(response: httpx.Response) -> None:
        response.raise_for_status()

    async with MemoryNetwork([error(401), text("Hi")]) as network:
        client = network.client(event_hooks={"response": [on_response]})
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            caught = await failure(ask(llm))
            network.assert_quiet()
            assert await read(ask(llm)) == "Hi"
    assert isinstance(caught, APIStatusError)
    assert (caught.status_code, caught.retryable) == (401, False)


@pytest.mark.parametrize("whole", [True, False], ids=["content", "stream"])
async def test_a_mock_transport_works(whole: bool, autojump_clock: MockClock) -> None:
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if whole:
            return httpx.Response(200, content=HI)
        return httpx.Response(200, stream=_Body([HI[:10], HI[10:]]))

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    async with LLM("m", base_url=TLS_BASE_URL, auth=AUTH, http_client=client) as llm:
        async with ask(llm) as stream:
            assert (await stream.collect()).text == "Hi"
            (attempt,) = stream.response.attempts
    (request,) = requests
    assert json.loads(request.content)["messages"] == [
        {"role": "user", "content": "Why do whales sing?"}
    ]
    assert request.headers["Authorization"] == AUTH
    # Without trace events, what is known is when there was a response.
    assert (attempt.connected, attempt.sent, attempt.headers) == (None, 0, 0)
    assert attempt.status_code == 200


async def test_a_mock_transport_s_stream_may_be_left_in_the_middle() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_Body([text_chunk("Hi")] * 100))

    with no_leaks():
        client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            async with ask(llm) as stream:
                assert await anext(stream.text) == "Hi"
        await client.aclose()


async def test_a_client_that_was_closed_is_a_mistake_of_the_program() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        await client.aclose()
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
            with pytest.raises(RuntimeError, match="closed"):
                await read(ask(llm))


async def test_a_subclass_of_a_client_is_a_client() -> None:
    class Mine(httpx.AsyncClient):
        pass

    client = Mine(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=HI)))
    async with LLM("m", base_url=BASE_URL, auth=None, http_client=client) as llm:
        assert await read(ask(llm)) == "Hi"
