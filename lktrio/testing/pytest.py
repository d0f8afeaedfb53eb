"""Fixtures for pytest, loaded by those who ask: ``pytest_plugins = ["lktrio.testing.pytest"]``.

They are async fixtures, run by pytest-trio (or by anyio's plugin). Nothing registers this module by
itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from ._gateway import ScriptedGateway

__all__ = ["loopback_gateway", "scripted_gateway"]


@pytest.fixture
async def scripted_gateway() -> AsyncGenerator[ScriptedGateway, None]:
    """A `ScriptedGateway` in memory, without a script, and installed: see `ScriptedGateway.add`.

    Every `LLM` made while the test runs that takes its settings from the environment reaches it.
    Have the test take ``autojump_clock`` as well, so that time is virtual.
    """
    async with ScriptedGateway() as gateway:
        with gateway.installed():
            yield gateway


@pytest.fixture
async def loopback_gateway() -> AsyncGenerator[ScriptedGateway, None]:
    """A `ScriptedGateway` on a TCP port of this machine, without a script, and installed.

    For programs in another process and for other HTTP clients; in real time.
    """
    async with ScriptedGateway(loopback=True) as gateway:
        with gateway.installed():
            yield gateway
