"""What the environment says of proxies and certificates, proved over real sockets.

No clock: a real socket is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trustme

from lktrio import LLM, APIConnectOptions, ChatContext, _transport
from tests.support.leaks import no_leaks
from tests.support.loopback import LoopbackServer, certificates
from tests.support.script import Hold, sse, text, text_chunk

HOST = "llm.example"
ONCE = APIConnectOptions(max_retry=0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # Certificates are read once per process.
    _transport._ssl_context.cache_clear()
    yield
    _transport._ssl_context.cache_clear()


def conversation() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Hi")
    return chat_ctx


async def ask(base_url: str) -> str:
    async with LLM("m", base_url=base_url, auth=None) as llm:
        stream = llm.chat(chat_ctx=conversation(), conn_options=ONCE)
        return (await stream.collect()).text


class Tunnel:
    """A proxy for https: takes CONNECT, and passes bytes on to one port, whatever was asked for."""

    def __init__(self, nursery: trio.Nursery, port: int) -> None:
        self.asked: list[bytes] = []
        """The first lines of the requests."""
        self._nursery = nursery
        self._port = port

    async def serve(self, client: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await client.receive_some()
        self.asked.append(head.partition(b"\r\n")[0])
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
            nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                await target.send_all(data)
        except trio.BrokenResourceError:
            pass
        scope.cancel()


async def test_plain_requests_go_to_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with no_leaks():
        async with LoopbackServer(text("Hi")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)

            assert await ask(f"http://{HOST}/v1") == "Hi"

        (request,) = proxy.requests
        assert request.target == f"http://{HOST}/v1/chat/completions"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_this_machine_is_never_asked_for_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    async with LoopbackServer(text("Hi")) as server:
        assert await ask(f"http://{name}:{server.port}/v1") == "Hi"


async def test_https_goes_through_a_tunnel_and_the_private_authority_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "company.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))
    held = sse(text_chunk("Hi"), end=False).then(Hold())

    with no_leaks():
        async with (
            LoopbackServer(held, tls=certificates(HOST, ca=authority)) as server,
            trio.open_nursery() as nursery,
        ):
            tunnel = Tunnel(nursery, server.port)
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, tunnel.serve, [listener])
            port = listener.socket.getsockname()[1]
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            async with LLM("m", base_url=f"https://{HOST}/v1", auth=None) as llm:
                async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
                    assert await anext(stream.text) == "Hi"
            # Leaving early is seen by the server behind the proxy: the tunnel ends by itself.
            await server.connections[0].client_gone.wait()
            nursery.cancel_scope.cancel()

        assert tunnel.asked == [f"CONNECT {HOST}:443 HTTP/1.1".encode()]
        assert server.requests[0].target == "/v1/chat/completions"


async def test_nobody_else_is_trusted_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "company.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))

    (only,) = _transport._ssl_context().get_ca_certs()

    assert dict(pair[0] for pair in only["subject"])["organizationName"].startswith("trustme")


async def test_a_list_of_hosts_without_a_proxy_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.setenv("TRAVIS_APT_PROXY", "http://proxy.invalid:3128")
    async with _transport.make_client() as client:
        assert isinstance(client, _transport._OwnClient)
        assert client.direct is not None
