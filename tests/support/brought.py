"""Clients that a program brings, of httpx or of httpx2, on the networks of our tests.

This module alone knows httpcore: how a client of its kind is put onto a network in memory, and how
its pool is looked at.
"""

# ruff: noqa: ASYNC109 - the parameters are those of httpcore

from __future__ import annotations

import math
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx
import trio

from lktrio.testing._http import LeakError, no_encryption

__all__ = ["assert_pool_quiet", "backend_on", "ends_of", "make_client", "pool_of", "put_onto"]


def make_client(verify: ssl.SSLContext | None = None, **options: Any) -> Any:
    """A client of the library, whose clocks are left to Trio and whose pool has no limit."""
    defaults: dict[str, Any] = {
        "verify": verify or no_encryption(),
        "limits": httpx.Limits(
            max_connections=None, max_keepalive_connections=20, keepalive_expiry=None
        ),
        "timeout": None,
        "trust_env": False,
    }
    return httpx.AsyncClient(**{**defaults, **options})


def pool_of(client: Any) -> Any:
    """The httpcore pool of a client; there is no public way to look at it."""
    return client._transport._pool


def put_onto(client: Any, network: Any) -> Any:
    """Move a client onto a network in memory."""
    pool_of(client)._network_backend = backend_on(network)
    return client


def backend_on(network: Any) -> Any:
    """What has httpcore connect in a network in memory."""
    return _Backend(network)


def assert_pool_quiet(client: Any) -> None:
    """Check that no request is under way in a client's pool and every connection there is idle.

    Raises:
        LeakError: Names the requests and the connections that are not.
    """
    pool = pool_of(client)
    found = [f"request {request.request!r}" for request in pool._requests]
    found += [f"connection {one.info()}" for one in pool.connections if not one.is_idle()]
    if found:
        raise LeakError("left in the pool:\n" + "\n".join(f"- {leftover}" for leftover in found))


def ends_of(client: Any) -> set[Any]:
    """The streams in memory that a client's pool holds."""
    return {
        one._connection._network_stream.end for one in pool_of(client).connections if one.is_idle()
    }


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects as httpcore's own backend does on Trio, in a network in memory."""

    def __init__(self, network: Any) -> None:
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        with _deadline(timeout, httpcore.ConnectTimeout):
            try:
                end = await self._network.connect(host, port)
            except OSError as exc:
                raise httpcore.ConnectError(str(exc)) from exc
        return _Stream(self._network, end, (host, port))

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, network: Any, end: Any, address: tuple[str, int]) -> None:
        self.end = end
        self._network = network
        self._address = address

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _deadline(timeout, httpcore.ReadTimeout), _broken_is(httpcore.ReadError):
            return await self.end.receive_some(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            with _deadline(timeout, httpcore.WriteTimeout), _broken_is(httpcore.WriteError):
                await self.end.send_all(buffer)

    async def aclose(self) -> None:
        await self.end.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        try:
            with (
                _deadline(timeout, httpcore.ConnectTimeout),
                _broken_is(httpcore.ConnectError),
            ):
                await self._network.secure(self.end, ssl_context, server_hostname or "")
        except Exception:
            # Not on Cancelled: httpcore's own backend leaves the socket open there, and whoever
            # uses httpcore has to know (tests that cut every step find out).
            await self.aclose()
            raise
        return _Stream(self._network, self.end, self._address)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._network.is_readable(self.end)
        return self._address if info == "server_addr" else None


@contextmanager
def _deadline(seconds: float | None, error: type[Exception]) -> Generator[None, None, None]:
    try:
        with trio.fail_after(math.inf if seconds is None else seconds):
            yield
    except trio.TooSlowError as exc:
        raise error(exc) from exc


@contextmanager
def _broken_is(error: type[Exception]) -> Generator[None, None, None]:
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as exc:
        raise error(str(exc)) from exc
