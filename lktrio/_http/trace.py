"""The ``trace`` extension: a request's progress, told as httpcore tells it.

This module knows the names of the events. A request that is not traced has nothing to do with it.

Source: https://www.encode.io/httpcore/extensions/#trace
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import httpx
import trio

from .connection import Body, Connection, Exchange
from .network import Network

__all__ = ["Trace", "TracedExchange", "TracedNetwork"]

Trace: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[object]]
"""What a program gives: told the name of an event, and what there is to say about it."""


class TracedNetwork(Network):
    """Another network, whose steps are told.

    Args:
        network: That network.
        trace: Told.
        timeout: What the request has as its timeout of connecting.
    """

    def __init__(self, network: Network, trace: Trace, timeout: float | None) -> None:
        self._network = network
        self._trace = trace
        self._timeout = timeout

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """As the other one."""
        info = {
            "host": host,
            "port": port,
            "local_address": None,
            "timeout": self._timeout,
            "socket_options": None,
        }
        return await self._tell("connection.connect_tcp", info, self._network.connect, host, port)

    async def secure(
        self,
        stream: trio.abc.Stream,
        context: ssl.SSLContext,
        name: str,
        session: ssl.SSLSession | None = None,
    ) -> trio.abc.Stream:
        """As the other one."""
        info = {"ssl_context": context, "server_hostname": name, "timeout": self._timeout}
        return await self._tell(
            "connection.start_tls", info, self._network.secure, stream, context, name, session
        )

    async def _tell(
        self,
        event: str,
        info: Mapping[str, Any],
        step: Callable[..., Awaitable[trio.abc.Stream]],
        *arguments: object,
    ) -> trio.abc.Stream:
        await self._trace(f"{event}.started", info)
        try:
            stream = await step(*arguments)
        except Exception as exc:
            await self._trace(f"{event}.failed", {"exception": exc})
            raise
        try:
            await self._trace(f"{event}.complete", {"return_value": stream})
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream


class TracedExchange(Exchange):
    """An exchange that is told. What is sent while a response is read already is told as it comes.

    Args:
        trace: Told.
        request: The request.
        connection: As `Exchange` has it.
        method: As `Exchange` has it.
        options: As `Exchange` has them.
    """

    def __init__(
        self,
        trace: Trace,
        request: httpx.Request,
        connection: Connection,
        method: bytes,
        **options: Any,
    ) -> None:
        super().__init__(connection, method, **options)
        self._trace = trace
        self._request = request
        # What has begun and is not complete.
        self._open: list[str] = []
        self._has_begun_body = False
        self._is_closed = False

    async def _begin(self, event: str) -> None:
        self._open.append(event)
        await self._trace(f"http11.{event}.started", {"request": self._request})

    async def _complete(self, event: str, value: object = None) -> None:
        if event in self._open:
            self._open.remove(event)
            await self._trace(f"http11.{event}.complete", {"return_value": value})

    async def _fail(self, exc: Exception) -> None:
        while self._open:
            await self._trace(f"http11.{self._open.pop()}.failed", {"exception": exc})

    async def perform(self, head: memoryview, content: bytes | Body, length: int | None) -> None:
        """As `Exchange` has it."""
        await self._begin("send_request_headers")
        try:
            await super().perform(head, content, length)
        except Exception as exc:
            await self._fail(exc)
            raise

    async def _send(self, data: bytes | memoryview) -> None:
        await super()._send(data)
        if "send_request_headers" in self._open:
            await self._complete("send_request_headers")
            await self._begin("send_request_body")

    async def _send_content(self, content: bytes | Body, length: int | None) -> None:
        await super()._send_content(content, length)
        await self._complete("send_request_body")

    async def _read_head(self) -> None:
        if self._is_sent:
            await self._complete("send_request_body")
        await self._begin("receive_response_headers")
        await super()._read_head()
        reader = self.reader
        version = b"HTTP/" + reader.http_version.encode("ascii")
        value = (version, reader.status_code, reader.reason, reader.fields)
        await self._complete("receive_response_headers", value)

    async def __anext__(self) -> bytes:
        if not self._has_begun_body:
            self._has_begun_body = True
            await self._begin("receive_response_body")
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            await self._complete("receive_response_body")
            raise
        except Exception as exc:
            await self._fail(exc)
            raise

    async def aclose(self) -> None:
        """As `Exchange` has it; whatever is told, the connection is given back first."""
        if self._is_closed:
            return
        self._is_closed = True
        await super().aclose()
        for step in ("started", "complete"):
            await self._trace(f"http11.response_closed.{step}", {"return_value": None})
