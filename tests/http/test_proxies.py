"""Requests through proxies: what is said to them, what they may do, and that nothing is left.

The network in memory has the clocks, with TLS that is real; what is over real sockets uses none.
"""

from __future__ import annotations

import base64
import logging
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    TrioTransport,
)
from lktrio._http import connect
from lktrio.testing._http import assert_quiet
from tests.support.engine import BASE_URL, ONCE, TLS_BASE_URL, ask, conversation
from tests.support.leaks import no_leaks
from tests.support.loopback import Certificates, LoopbackServer, certificates
from tests.support.matrix import CANCEL_BLOCK, INTERRUPT, Action, Cut, Series, advance, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.proxies import STEPS, Fault, How, LoopbackProxy, Proxy, ProxyNetwork
from tests.support.script import Hold, Script, response, sse, text, text_chunk

USER, PASSWORD = "narwhal7", "so:ng@sea"
LOGIN = f"{USER}:so%3Ang%40sea"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CLOCK = 2.0
TIMED = APIConnectOptions(max_retry=0, timeout=CLOCK)
PATIENT = APIConnectOptions(max_retry=3, retry_interval=0.1)


@attrs.frozen
class Way:
    """A kind of proxy, and of server behind it."""

    scheme: str
    is_secure: bool
    steps: tuple[str, ...]
    """Where that proxy can have a fault."""

    @property
    def base_url(self) -> str:
        return TLS_BASE_URL if self.is_secure else BASE_URL

    @property
    def speaks(self) -> Any:
        return "SOCKS" if self.scheme == "socks5" else "HTTP"

    @property
    def is_forward(self) -> bool:
        return self.scheme != "socks5" and not self.is_secure

    def proxy_url(self, login: str | None = LOGIN) -> str:
        at = "" if login is None else f"{login}@"
        return f"{self.scheme}://{at}proxy.test:3128"


SOCKS_STEPS = ("greeting", "login", "reply")
WAYS = {
    "forward": Way("http", False, ("connecting", "accept")),
    "forward over TLS": Way("https", False, ("connecting", "accept", "TLS to the proxy")),
    "CONNECT": Way("http", True, ("connecting", "accept", "CONNECT", "TLS in the tunnel")),
    "CONNECT over TLS": Way(
        "https",
        True,
        ("connecting", "accept", "TLS to the proxy", "CONNECT", "TLS in the tunnel"),
    ),
    "SOCKS": Way("socks5", False, ("connecting", "accept", *SOCKS_STEPS)),
    "SOCKS, TLS": Way("socks5", True, ("connecting", "accept", *SOCKS_STEPS, "TLS in the tunnel")),
}
HOWS: tuple[How, ...] = ("silent", "drips", "closes", "resets")
FAULTS = [
    (name, Fault(step, how))
    for name, way in WAYS.items()
    for step in way.steps
    for how in HOWS
    # A connection stands, or it does not.
    if (step, how) != ("connecting", "drips")
]
LASTING = [(name, fault) for name, fault in FAULTS if fault.how in {"silent", "drips"}]


def is_sent_at(way: Way, fault: Fault) -> bool:
    """Whether the request is sent: to a proxy that forwards as soon as the connection stands."""
    return way.is_forward and way.scheme == "http" and fault.step == "accept"


every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    # Certificates are read once per process and environment.
    connect._default_context.cache_clear()


def in_memory_certificates() -> Certificates:
    return certificates("gateway.test", "proxy.test")


@attrs.frozen
class Lab:
    """A transport whose only way out is a proxy in memory."""

    transport: TrioTransport
    network: ProxyNetwork
    beyond: MemoryNetwork

    @property
    def proxy(self) -> Proxy:
        return self.network.proxy

    async def assert_quiet(self) -> None:
        """What is open is idle: here, in the proxy, and in the server behind it."""
        assert_quiet(self.transport)
        idle = len(self.transport._pool)
        assert self.network.open == idle
        with trio.fail_after(600):
            await self.proxy.wait_open(idle)
        assert self.beyond.open_connections == idle


@asynccontextmanager
async def laboratory(
    way: Way, script: Script, *, url: str | None = None, **options: Any
) -> AsyncIterator[Lab]:
    secured = in_memory_certificates()
    async with MemoryNetwork(script) as beyond:
        defaults: dict[str, Any] = {
            "speaks": way.speaks,
            "login": (USER, PASSWORD),
            "tls": secured.server if way.scheme == "https" else None,
            "ends_tls": secured.server,
        }
        network = ProxyNetwork(beyond, Proxy(beyond.connect, **{**defaults, **options}))
        transport = TrioTransport(
            verify=secured.client, proxy=url or way.proxy_url(), network=network
        )
        yield Lab(beyond.adopt(transport), network, beyond)


@asynccontextmanager
async def engine(way: Way, lab: Lab) -> AsyncIterator[LLM]:
    async with LLM("m", base_url=way.base_url, auth=None, http_client=lab.transport) as llm:
        yield llm


# --- Each way works -------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("has_login", [True, False], ids=["login", "no login"])
async def test_an_answer_comes_and_the_connection_serves_the_next(
    way: Way, has_login: bool, autojump_clock: MockClock
) -> None:
    options = {} if has_login else {"login": None, "url": way.proxy_url(None)}
    with no_leaks():
        async with laboratory(way, text("Hi"), **options) as lab, engine(way, lab) as llm:
            for _ in range(2):
                stream = ask(llm)
                assert (await stream.collect()).text == "Hi"
                await lab.assert_quiet()
            assert stream.response.attempts[0].connected is None

        assert lab.network.reached == ["proxy.test:3128"]
        assert lab.proxy.asked == [f"gateway.test:{443 if way.is_secure else 80}"] or (
            lab.proxy.asked == ["gateway.test"] and way.is_forward
        )


@every_way
async def test_what_the_proxy_and_the_server_are_told(way: Way, autojump_clock: MockClock) -> None:
    async with laboratory(way, text("Hi")) as lab, engine(way, lab) as llm:
        await ask(llm).collect()
    (request,) = lab.beyond.requests
    authorizations = [value for name, value in request.headers if name == "proxy-authorization"]

    assert request.header("host") == "gateway.test"
    if way.is_forward:
        # What this proxy is told, the server is told here: it passes on what it gets.
        assert request.target == "http://gateway.test/v1/chat/completions"
        assert authorizations == [f"Basic {BASIC}"]
    else:
        assert request.target == "/v1/chat/completions"
        assert authorizations == []
    if way.scheme != "socks5" and way.is_secure:
        assert lab.proxy.heads == [
            b"CONNECT gateway.test:443 HTTP/1.1\r\nHost: gateway.test:443\r\n"
            b"Proxy-Authorization: Basic " + BASIC.encode() + b"\r\n\r\n"
        ]


@pytest.mark.parametrize("host", ["192.0.2.7", "[2001:db8::7]", "bücher.example"])
@pytest.mark.parametrize("name", ["CONNECT", "SOCKS"])
async def test_addresses_and_names_of_all_kinds_are_passed_on(
    name: str, host: str, autojump_clock: MockClock
) -> None:
    way = WAYS[name]
    seen = host.replace("bücher", "xn--bcher-kva")
    async with laboratory(way, text("Hi"), ends_tls=None, refusal=5) as lab:
        async with httpx.AsyncClient(transport=lab.transport) as client:
            with pytest.raises(httpx.ProxyError):
                await client.get(f"{'https' if way.is_secure else 'http'}://{host}:81/")
    assert lab.proxy.asked == [f"{seen if name == 'CONNECT' else seen.strip('[]')}:81"]


@every_way
async def test_long_bodies_pass_in_both_directions(way: Way, autojump_clock: MockClock) -> None:
    body = bytes(range(256)) * 4096
    async with laboratory(way, response(200, body[::-1])) as lab:
        async with httpx.AsyncClient(transport=lab.transport) as client:
            for _ in range(2):
                got = await client.post(way.base_url, content=body)
                assert got.content == body[::-1]
        assert [request.body for request in lab.beyond.requests] == [body, body]
        assert lab.proxy.connections == 1


async def test_a_secret_query_is_forwarded_whole(autojump_clock: MockClock) -> None:
    way = WAYS["forward"]
    async with laboratory(way, text("Hi")) as lab, engine(way, lab) as llm:
        await ask(llm, extra_kwargs={"extra_query": {"who": "s3cret"}}).collect()
    (request,) = lab.beyond.requests
    assert request.target == "http://gateway.test/v1/chat/completions?who=s3cret"


async def test_what_the_program_says_to_a_proxy_counts(autojump_clock: MockClock) -> None:
    way = WAYS["forward"]
    async with laboratory(way, response(200), login=None) as lab:
        async with httpx.AsyncClient(transport=lab.transport) as client:
            await client.get(way.base_url, headers={"Proxy-Authorization": "Bearer x"})
    (request,) = lab.beyond.requests
    assert [v for name, v in request.headers if name == "proxy-authorization"] == ["Bearer x"]


# --- Over real sockets ----------------------------------------------------------------------------


@asynccontextmanager
async def over_loopback(
    way: Way, script: Script, **options: Any
) -> AsyncIterator[tuple[LoopbackServer, LoopbackProxy, TrioTransport]]:
    secured = certificates()
    async with LoopbackServer(script, tls=secured if way.is_secure else None) as server:
        tls = secured.server if way.scheme == "https" else None
        proxy = await LoopbackProxy.start(server, speaks=way.speaks, tls=tls, **options)
        yield server, proxy, server.transport(verify=secured.client, proxy=proxy.url)


def lead_to(server: LoopbackServer) -> str:
    return f"{server.url}/v1"


@every_way
async def test_it_works_over_sockets(way: Way) -> None:
    with no_leaks():
        async with over_loopback(way, text("Hi"), login=("a", "b")) as (server, proxy, transport):
            async with LLM("m", base_url=lead_to(server), auth=None, http_client=transport) as llm:
                for _ in range(2):
                    assert (await ask(llm).collect()).text == "Hi"
            assert proxy.connections == 1


async def test_a_proxy_that_is_reached_by_tls_is_distrusted_for_good(
    autojump_clock: MockClock,
) -> None:
    way = WAYS["CONNECT over TLS"]
    stranger = certificates("proxy.test", ca=trustme.CA())
    async with laboratory(way, text("Hi"), tls=stranger.server) as lab, engine(way, lab) as llm:
        with pytest.raises(APIConnectionError, match=r"https://proxy\.test:3128.*certificate") as e:
            await ask(llm, PATIENT).collect()
        assert not e.value.retryable
        assert lab.proxy.connections == 1
        assert lab.proxy.heads == []


async def test_tls_sessions_of_proxy_and_server_are_resumed() -> None:
    way = WAYS["CONNECT over TLS"]
    async with over_loopback(way, response(200, close=True)) as (server, _, transport):
        ends: list[tuple[bool | None, bool | None]] = []

        async def trace(event: str, info: Any) -> None:
            if event == "http11.receive_response_headers.started":
                (connection,) = transport._in_use
                outer: Any = connection.stream.transport_stream  # type: ignore[attr-defined]
                inner: Any = connection.stream
                ends.append((outer.ssl_object.session_reused, inner.ssl_object.session_reused))

        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(2):
                await client.get(server.url, extensions={"trace": trace})
    assert ends == [(False, False), (True, True)]


# --- What a proxy may do --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=str)
async def test_a_fault_of_the_proxy_ends_in_time_and_leaves_nothing(
    name: str, fault: Fault, autojump_clock: MockClock
) -> None:
    way = WAYS[name]
    with no_leaks():
        async with laboratory(way, text("Hi"), fault=fault) as lab, engine(way, lab) as llm:
            start = trio.current_time()
            with pytest.raises(APIConnectionError) as caught:
                await ask(llm, TIMED).collect()
            waited = trio.current_time() - start
            error = caught.value
            assert error.retryable
            if fault.how in {"silent", "drips"}:
                assert isinstance(error, APITimeoutError)
                assert error.clock == ("idle" if is_sent_at(way, fault) else "connect")
                assert waited == pytest.approx(CLOCK)
            else:
                assert type(error) is APIConnectionError
                assert waited == 0
            await lab.assert_quiet()
            assert len(lab.transport._pool) == 0


@pytest.mark.parametrize(("name", "fault"), LASTING, ids=str)
@pytest.mark.parametrize("ends", ["scope", "total clock", "client's timeout", "leaving the LLM"])
async def test_every_deadline_ends_a_proxy_that_does_nothing(
    name: str, fault: Fault, ends: str, autojump_clock: MockClock
) -> None:
    way = WAYS[name]
    forever = APIConnectOptions(max_retry=0, timeout=1e9)
    with no_leaks():
        async with laboratory(way, text("Hi"), fault=fault) as lab:
            start = trio.current_time()
            if ends == "scope":
                with trio.move_on_after(1) as scope:
                    async with engine(way, lab) as llm:
                        await ask(llm, forever).collect()
                assert scope.cancelled_caught
            elif ends == "total clock":
                async with engine(way, lab) as llm:
                    with pytest.raises(APITimeoutError) as caught:
                        await ask(llm, attrs.evolve(forever, total_timeout=1.0)).collect()
                assert caught.value.clock == "total"
            elif ends == "client's timeout":
                async with httpx.AsyncClient(transport=lab.transport, timeout=1.0) as client:
                    expected = (httpx.ConnectTimeout, httpx.ReadTimeout)
                    with pytest.raises(expected) as late:
                        await client.get(way.base_url)
                    is_read = isinstance(late.value, httpx.ReadTimeout)
                    assert is_read is is_sent_at(way, fault)
            else:
                async with trio.open_nursery() as nursery:
                    async with engine(way, lab) as llm:

                        async def read() -> None:
                            with pytest.raises(Exception, match=r"left|closed"):
                                await ask(llm, forever).collect()

                        nursery.start_soon(read)
                        await trio.sleep(1)
            assert trio.current_time() - start == pytest.approx(1)
            await lab.assert_quiet()
            assert len(lab.transport._pool) == 0


def test_every_step_of_a_proxy_has_its_fault() -> None:
    assert {fault.step for _, fault in FAULTS} == set(STEPS)


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 400, 401, 403, 407, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("name", ["CONNECT", "CONNECT over TLS"])
async def test_a_refused_tunnel_is_an_error_with_the_status(
    name: str, status: int, autojump_clock: MockClock
) -> None:
    way = WAYS[name]
    with no_leaks():
        async with laboratory(way, text("Hi"), refusal=status) as lab, engine(way, lab) as llm:
            with pytest.raises(APIStatusError) as caught:
                await ask(llm, PATIENT).collect()
            await lab.assert_quiet()
    error = caught.value
    assert error.status_code == status
    assert f"{status} No (said by the proxy" in error.message
    assert error.retryable == (status == 429 or status >= 500)
    assert lab.proxy.connections == (4 if error.retryable else 1)
    assert lab.beyond.requests == []


@every_way
async def test_a_wrong_password_is_tried_once(way: Way, autojump_clock: MockClock) -> None:
    url = way.proxy_url("whale:wrong")
    with no_leaks():
        async with laboratory(way, text("Hi"), url=url) as lab, engine(way, lab) as llm:
            with pytest.raises(APIError) as caught:
                await ask(llm, PATIENT).collect()
            await lab.assert_quiet()
    assert not caught.value.retryable
    assert lab.proxy.connections == 1
    if way.scheme == "socks5":
        assert "refuses user and password" in caught.value.message
    else:
        assert isinstance(caught.value, APIStatusError)
        assert caught.value.status_code == 407


async def test_a_socks_proxy_that_wants_a_login_is_asked_once(autojump_clock: MockClock) -> None:
    way = WAYS["SOCKS"]
    url = way.proxy_url(None)
    async with laboratory(way, text("Hi"), url=url) as lab, engine(way, lab) as llm:
        with pytest.raises(APIConnectionError, match="wants a user and a password") as caught:
            await ask(llm, PATIENT).collect()
    assert not caught.value.retryable
    assert lab.proxy.connections == 1


@pytest.mark.parametrize(
    ("code", "words", "is_final"),
    [
        (1, "general server failure", False),
        (2, "connection not allowed by ruleset", True),
        (4, "host unreachable", False),
        (5, "connection refused", False),
        (7, "command not supported", True),
        (8, "address type not supported", True),
        (77, "code 77", False),
    ],
)
async def test_what_a_socks_proxy_refuses(
    code: int, words: str, is_final: bool, autojump_clock: MockClock
) -> None:
    way = WAYS["SOCKS"]
    async with laboratory(way, text("Hi"), refusal=code) as lab, engine(way, lab) as llm:
        with pytest.raises(APIConnectionError, match=words) as caught:
            await ask(llm, PATIENT).collect()
    assert caught.value.retryable is not is_final
    assert lab.proxy.connections == (1 if is_final else 4)


@pytest.mark.parametrize(
    ("name", "error"),
    [("CONNECT", "502 No"), ("SOCKS", "code 246")],
)
async def test_under_a_client_of_httpx_it_is_its_proxy_error(
    name: str, error: str, autojump_clock: MockClock
) -> None:
    way = WAYS[name]
    code = 502 if name == "CONNECT" else 246
    async with laboratory(way, text("Hi"), refusal=code) as lab:
        async with httpx.AsyncClient(transport=lab.transport) as client:
            with pytest.raises(httpx.ProxyError, match=error):
                await client.get(way.base_url)


class Speaks(ProxyNetwork):
    """A network in which every connection has something to say, whatever it is asked."""

    def __init__(self, beyond: MemoryNetwork, *said: bytes) -> None:
        super().__init__(beyond, Proxy(beyond.connect))
        self.said = list(said)

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        return _Saying(await super().connect(host, port), self.said)


@attrs.define(eq=False)
class _Saying(trio.abc.Stream):
    stream: trio.abc.Stream
    said: list[bytes]

    async def send_all(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.said.pop(0) if self.said else b""

    async def aclose(self) -> None:
        await self.stream.aclose()


OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([OK + b"x"], "sent more than its answer"),
        ([b"HTTP/1.0 200 OK\nVia: x\n\n\x16\x03"], "sent more than its answer"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"HTTP/1.1 200 OK\r\n\r\n"], "sent more"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "made no tunnel: the server sent no proper HTTP response"),
        ([b"HTTP/1.1 200 OK\r\n"], "made no tunnel: the connection ended within the head"),
        ([b"x" * 65536, b"x" * 65536], "made no tunnel"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"], "made no tunnel"),
    ],
)
async def test_no_proper_answer_to_connect(
    said: list[bytes], words: str, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork(text("Hi")) as beyond:
        network = Speaks(beyond, *said)
        async with TrioTransport(proxy="http://proxy.test", network=network) as transport:
            async with httpx.AsyncClient(transport=transport) as client:
                with pytest.raises(httpx.ProxyError, match=words):
                    await client.get(TLS_BASE_URL)
            assert network.open == 0


@pytest.mark.parametrize(
    "said",
    [
        [OK],
        [bytes([one]) for one in OK],
        [b"\r\n" + OK],
        [b"HTTP/1.0 200 Connection established\n\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 x\r\n\r\n" + OK],
        # RFC 9110, section 9.3.6: these say nothing in an answer to CONNECT.
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ],
)
async def test_a_proper_answer_to_connect(said: list[bytes], autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi")) as beyond:
        network = Speaks(beyond, *said)
        async with TrioTransport(proxy="http://proxy.test", network=network) as transport:
            async with httpx.AsyncClient(transport=transport) as client:
                # It comes as far as TLS, for which nobody is there.
                with pytest.raises(httpx.ConnectError, match=r"TLS with gateway\.test failed"):
                    await client.get(TLS_BASE_URL)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([b"\x04\x00"], "does not speak SOCKS 5"),
        ([b"HT"], "does not speak SOCKS 5"),
        ([b"\x05\x01"], "wants a user and a password"),
        ([b"\x05\x33"], "wants a user and a password"),
        ([b"\x05\x00", b"\x04\x00\x00\x01"], "no proper answer"),
        ([b"\x05\x00", b"\x05\x00\x00\x02"], "no proper answer"),
        ([b"\x05\x00", b"\x05\x00\x00\x01", b"\x7f\x00"], "closed the connection"),
        ([b"\x05"], "closed the connection"),
    ],
)
async def test_no_proper_answer_of_socks(
    said: list[bytes], words: str, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork(text("Hi")) as beyond:
        network = Speaks(beyond, *said)
        async with TrioTransport(proxy="socks5://proxy.test", network=network) as transport:
            async with httpx.AsyncClient(transport=transport) as client:
                with pytest.raises(httpx.ProxyError, match=words):
                    await client.get(BASE_URL)
            assert network.open == 0


async def test_a_name_that_socks_cannot_carry_is_refused(autojump_clock: MockClock) -> None:
    name = ".".join(["a" * 60] * 5)
    async with laboratory(WAYS["SOCKS"], text("Hi")) as lab:
        async with httpx.AsyncClient(transport=lab.transport) as client:
            with pytest.raises(httpx.LocalProtocolError, match="too long"):
                await client.get(f"http://{name}/")
        await lab.assert_quiet()


# --- The matrix -----------------------------------------------------------------------------------

ANSWER = text("Whales ", "sing.", every=0.5)
PROMPT = text("Whales ", "sing.")
WHOLE = "Whales sing."


def through(way: Way) -> Callable[[Cut], Awaitable[str]]:
    async def run(cut: Cut) -> str:
        result = "cut"
        first: Iterator[Any] = iter([ANSWER])
        with no_leaks():
            async with laboratory(way, lambda _: next(first, PROMPT)) as lab:
                async with engine(way, lab) as llm:
                    with cut.watched(), cut.scope:
                        try:
                            result = (await ask(llm).collect()).text
                        except APITimeoutError as exc:
                            result = f"timeout: {exc.clock}"
                    await lab.assert_quiet()
                    assert (await ask(llm).collect()).text == WHOLE
                    await lab.assert_quiet()
        return result

    return run


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, advance(60), INTERRUPT], ids=lambda a: a.name)
@every_way
def test_cut_at_every_step_nothing_is_left(way: Way, action: Action, series: Series) -> None:
    outcome = sweep(through(way), action, series)

    assert outcome.undisturbed == WHOLE
    others = set(outcome.results) - {WHOLE}
    if action is CANCEL_BLOCK:
        assert others == {"cut"}
    elif action is not INTERRUPT:
        # To connect takes no time in memory, unless the proxy is asked for something.
        assert (way.scheme == "http" and way.is_forward) or "timeout: connect" in others
        assert others <= {"timeout: connect", "timeout: write", "timeout: idle"}


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=["cancel", "Ctrl-C"])
@every_way
def test_cut_over_sockets_nothing_is_left(way: Way, action: Action, series: Series) -> None:
    async def run(cut: Cut) -> str:
        with no_leaks():
            async with over_loopback(way, PROMPT) as (server, proxy, transport):
                base_url = lead_to(server)
                async with LLM("m", base_url=base_url, auth=None, http_client=transport) as llm:
                    with cut.watched(), cut.scope:
                        await ask(llm).collect()
                    assert_quiet(transport)
                    await proxy.wait_open(len(transport._pool))
                    result = (await ask(llm).collect()).text
                    await proxy.wait_open(len(transport._pool))
        return result

    outcome = sweep(run, action, series, stride=3, virtual_time=False)
    assert set(outcome.results) <= {WHOLE}
    assert outcome.undisturbed == WHOLE


@pytest.mark.parametrize("name", ["CONNECT", "CONNECT over TLS", "SOCKS", "SOCKS, TLS"])
async def test_many_requests_cut_at_small_steps_leave_idle_connections_only(name: str) -> None:
    """In real time: whenever each is cut, the same holds."""
    way = WAYS[name]
    with no_leaks():
        async with over_loopback(way, PROMPT, login=("a", "b")) as (server, proxy, transport):
            base_url = lead_to(server)
            async with LLM("m", base_url=base_url, auth=None, http_client=transport) as llm:
                cut = 0
                for number in range(160):
                    with trio.move_on_after(number * 0.0005 / 8) as scope:
                        assert (await ask(llm).collect()).text == WHOLE
                    cut += scope.cancelled_caught
                assert_quiet(transport)
                await proxy.wait_open(len(transport._pool))
                assert cut > 0
                assert (await ask(llm).collect()).text == WHOLE
            assert len(transport._pool) >= 1


# --- The environment ------------------------------------------------------------------------------

HOST = "llm.example"


async def collected(base_url: str) -> str:
    async with LLM("m", base_url=base_url, auth=None) as llm:
        stream = llm.chat(chat_ctx=conversation(), conn_options=ONCE)
        return (await stream.collect()).text


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_plain_requests_go_to_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    with no_leaks():
        async with LoopbackServer(text("Hi")) as proxy:
            monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")

            assert await collected(f"http://{HOST}/v1") == "Hi"

        (request,) = proxy.requests
        assert request.target == f"http://{HOST}/v1/chat/completions"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_this_machine_is_never_asked_for_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    async with LoopbackServer(text("Hi")) as server:
        assert await collected(f"http://{name}:{server.port}/v1") == "Hi"


async def test_a_proxy_that_was_named_is_asked_for_this_machine_too() -> None:
    async with over_loopback(WAYS["SOCKS"], text("Hi")) as (server, proxy, transport):
        async with LLM("m", base_url=lead_to(server), auth=None, http_client=transport) as llm:
            assert (await ask(llm).collect()).text == "Hi"
        assert proxy.asked == [f"127.0.0.1:{server.port}"]


async def test_none_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    async with MemoryNetwork(text("Hi")) as network:
        async with TrioTransport(proxy=None, network=network) as transport:
            async with LLM("m", base_url=BASE_URL, auth=None, http_client=transport) as llm:
                assert (await ask(llm).collect()).text == "Hi"
        assert network.connections[0].address == "gateway.test:80"


async def test_https_goes_through_a_tunnel_and_the_private_authority_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "company.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))
    held = sse(text_chunk("Hi"), end=False).then(Hold())

    with no_leaks():
        async with LoopbackServer(held, tls=certificates(HOST, ca=authority)) as server:
            proxy = await LoopbackProxy.start(server)
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            async with LLM("m", base_url=f"https://{HOST}/v1", auth=None) as llm:
                async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
                    assert await anext(stream.text) == "Hi"
            # Leaving early is seen by the server behind the proxy: the tunnel ends by itself.
            await server.connections[0].client_gone.wait()
            await proxy.wait_open(0)

        assert proxy.asked == [f"{HOST}:443"]
        assert server.requests[0].target == "/v1/chat/completions"


async def test_nobody_else_is_trusted_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "company.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))

    (only,) = TrioTransport()._connector._context().get_ca_certs()

    assert dict(pair[0] for pair in only["subject"])["organizationName"].startswith("trustme")


UNUSABLE = {
    "socks://proxy.test:1080": "begins with socks://",
    "socks4://u5er:s3cret@proxy.test": "begins with socks4://",
    "ftp://u5er:s3cret@proxy.test": "begins with ftp://",
    "://u5er:s3cret@proxy.test": "begins otherwise",
    "http://": "names no host",
    "http://u5er:s3cret@": "names no host",
    "http://u5er:s3cret@proxy.test:many": "names no host",
    "http://u5er:s3cret@proxy.test:0": "names no host",
    "http://u5er:s3cret@proxy.test:65536": "names no host",
    "http://u5er:s3cret@pro xy": "names no host",
    "http://u5er:s3cret@[::1": "names no host",
    "http://u5er:s3cret@pröxy..test": "names no host",
    "u5er:s3cret": "names no host",
    f"socks5://u5er:{'s3cret' * 50}@proxy.test": "255 bytes",
}


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize(
    ("variable", "base_url"),
    [
        ("HTTPS_PROXY", TLS_BASE_URL),
        ("HTTP_PROXY", BASE_URL),
        ("http_proxy", BASE_URL),
        ("ALL_PROXY", BASE_URL),
        ("all_proxy", TLS_BASE_URL),
    ],
)
async def test_a_variable_that_cannot_be_used_and_is_needed_is_named(
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    base_url: str,
    url: str,
    autojump_clock: MockClock,
) -> None:
    monkeypatch.setenv(variable, url)
    async with MemoryNetwork(text("Hi")) as network, TrioTransport(network=network) as transport:
        async with LLM("m", base_url=base_url, auth=None, http_client=transport) as llm:
            with pytest.raises(APIConnectionError, match=variable) as caught:
                await ask(llm, PATIENT).collect()
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx.UnsupportedProtocol, match=variable):
                await client.get(base_url)
        assert network.connect_attempts == []
    assert UNUSABLE[url] in caught.value.message
    assert not caught.value.retryable
    assert_shows_no_secret(caught.value, "u5er", "s3cret")


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize(
    ("variable", "base_url", "others"),
    [
        ("HTTPS_PROXY", BASE_URL, {}),
        ("HTTP_PROXY", TLS_BASE_URL, {}),
        ("ALL_PROXY", BASE_URL, {"NO_PROXY": "gateway.test"}),
        ("ALL_PROXY", BASE_URL, {"NO_PROXY": "*"}),
        ("HTTP_PROXY", BASE_URL, {"no_proxy": "gateway.test"}),
        ("ALL_PROXY", "http://127.0.0.1:9/v1", {}),
        ("FTP_PROXY", BASE_URL, {}),
    ],
)
async def test_one_that_is_not_needed_disturbs_nobody(  # noqa: PLR0917 - fixtures
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    base_url: str,
    others: dict[str, str],
    url: str,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    for name, value in {variable: url, **others}.items():
        monkeypatch.setenv(name, value)
    async with MemoryNetwork(text("Hi")) as network, TrioTransport(network=network) as transport:
        async with LLM("m", base_url=base_url, auth=None, http_client=transport) as llm:
            assert (await ask(llm).collect()).text == "Hi"
    assert caplog.records == []


@pytest.mark.parametrize("url", UNUSABLE)
def test_one_that_is_given_and_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="proxy=") as caught:
        TrioTransport(proxy=url)
    assert UNUSABLE[url] in str(caught.value)
    del url
    # The test's own frame has it.
    shown = "".join(
        traceback.TracebackException.from_exception(
            caught.value.with_traceback(caught.value.__traceback__.tb_next),  # type: ignore[union-attr]
            capture_locals=True,
        ).format()
    )
    assert "u5er" not in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize("value", [3, True, b"http://proxy.test", httpx.Proxy("http://a")])
def test_a_proxy_is_a_string(value: Any) -> None:
    with pytest.raises(TypeError, match=r"proxy must be a str or None, not an? "):
        TrioTransport(proxy=value)


def test_without_socksio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ValueError, match=r"httpx\[socks\]"):
        TrioTransport(proxy="socks5://proxy.test")


async def test_what_no_proxy_has_and_cannot_be_read_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,::1,[::1],192.168.*,u5er:s3cret@x,gateway.test")
    async with MemoryNetwork(text("Hi")) as network, TrioTransport(network=network) as transport:
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=transport) as llm:
            for _ in range(3):
                assert (await ask(llm).collect()).text == "Hi"
        assert network.connections[0].address == "gateway.test:80"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "NO_PROXY" in record.getMessage()
    assert "'192.168.*'" in record.getMessage()
    assert "s3cret" not in record.getMessage()


async def test_without_a_proxy_nobody_minds_no_proxy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("NO_PROXY", "192.168.*")
    monkeypatch.setenv("TRAVIS_APT_PROXY", "http://proxy.invalid:3128")
    async with MemoryNetwork(text("Hi")) as network, TrioTransport(network=network) as transport:
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=transport) as llm:
            assert (await ask(llm).collect()).text == "Hi"
        assert network.connections[0].address == "gateway.test:80"
    assert caplog.records == []


# --- Secrets --------------------------------------------------------------------------------------


def assert_shows_no_secret(error: BaseException, *secrets: str) -> None:
    """Neither messages nor what our frames hold, in the whole chain."""
    seen: list[BaseException] = [error]
    for one in seen:
        trace = one.__traceback__
        # Test functions know the secret, and so do the proxies of the tests.
        shown = [str(one), repr(one), *getattr(one, "__notes__", [])]
        while trace is not None:
            if "lktrio" in Path(trace.tb_frame.f_code.co_filename).parts:
                shown.append(repr(trace.tb_frame.f_locals))
            trace = trace.tb_next
        for text_ in shown:
            for secret in secrets:
                assert secret not in text_
        seen += [other for other in (one.__cause__, one.__context__) if other and other not in seen]


@every_way
@pytest.mark.parametrize("ending", ["fault", "refusal", "password"])
async def test_credentials_are_nowhere(
    way: Way, ending: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {
        "fault": {"fault": Fault(way.steps[-1], "closes")},
        "refusal": {"refusal": 255 if way.scheme == "socks5" else 502},
        "password": {"login": ("other", "other")},
    }[ending]
    async with laboratory(way, response(500, b"no"), **options) as lab, engine(way, lab) as llm:
        with pytest.raises(APIError) as caught:
            await ask(llm).collect()
        shown = [repr(lab.transport), repr(lab.transport.__dict__), repr(llm), caplog.text]
    assert_shows_no_secret(caught.value, PASSWORD, "so%3Ang", BASIC, USER)
    for one in shown:
        assert PASSWORD not in one
        assert BASIC not in one
        assert "so%3Ang" not in one


async def test_credentials_are_for_the_proxy_alone(autojump_clock: MockClock) -> None:
    for name in ("CONNECT", "CONNECT over TLS", "SOCKS", "SOCKS, TLS"):
        way = WAYS[name]
        async with laboratory(way, text("Hi")) as lab, engine(way, lab) as llm:
            await ask(llm).collect()
        assert all(BASIC not in value for _, value in lab.beyond.requests[0].headers)
