"""Shorthands for tests that run the engine on scripted servers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from lktrio import LLM, APIConnectOptions, ChatContext, LLMStream
from tests.support import brought
from tests.support.loopback import LoopbackServer
from tests.support.memory_network import MemoryNetwork

BASE_URL = "http://gateway.test/v1"
TLS_BASE_URL = "https://gateway.test/v1"
ONCE = APIConnectOptions(max_retry=0)


def conversation(text: str = "Why do whales sing?") -> ChatContext:
    """A conversation with one message."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=text)
    return chat_ctx


brings_clients = False
"""Whether `client_on` makes clients of the kind that a program brings. A session of its own sets it."""


def for_our_own_connections() -> None:
    """Skip a test of what only our own connections can tell, where clients are brought."""
    if brings_clients:
        pytest.skip("httpx does not tell its clients")


def client_on(where: MemoryNetwork | LoopbackServer, verify: ssl.SSLContext | None = None) -> Any:
    """A client for tests that do not care which one it is: such as an `LLM` makes for itself.

    Args:
        where: The network it runs on, or the server that it asks.
        verify: Decides which certificates are accepted.
    """
    if not brings_clients:
        return where.transport() if verify is None else where.transport(verify=verify)
    return brought_client_on(where, verify)


def brought_client_on(
    where: MemoryNetwork | LoopbackServer, verify: ssl.SSLContext | None = None
) -> Any:
    """A client as a program brings it."""
    if isinstance(where, MemoryNetwork):
        return where.brought_client(verify=verify)
    return brought.make_client(verify or (where.tls.client if where.tls else None))


@asynccontextmanager
async def open_llm(
    network: MemoryNetwork, *, base_url: str = BASE_URL, proxy: str | None = None, **options: Any
) -> AsyncIterator[LLM]:
    """An `LLM` whose HTTP client runs on the network in memory, maybe through a proxy.

    (No nursery and no cancel scope is open across the ``yield``.)
    """
    client = client_on(network) if proxy is None else network.transport(proxy=proxy)
    llm = LLM("test-model", base_url=base_url, auth=None, http_client=client, **options)
    async with client, llm:
        yield llm


def ask(llm: LLM, conn_options: APIConnectOptions = ONCE, **options: Any) -> LLMStream:
    """A stream of the answer to `conversation`; without retries unless options say otherwise."""
    return llm.chat(chat_ctx=conversation(), conn_options=conn_options, **options)


async def timed(call: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    """What a call returned or raised, and how long it took in (virtual) seconds."""
    start = trio.current_time()
    result: Any
    try:
        result = await call()
    except Exception as exc:  # noqa: BLE001 - what is raised is what is looked at
        result = exc
    return result, trio.current_time() - start
