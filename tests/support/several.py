"""Shorthands for tests that run several models, each with a scripted server of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs

from lktrio import DEFAULT_API_CONNECT_OPTIONS, LLM, APIConnectOptions
from tests.support.engine import BASE_URL, client_on
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Script, text


@attrs.frozen
class Models:
    """Models that are open, and the network of each."""

    llms: list[LLM]
    networks: list[MemoryNetwork]

    @property
    def asked(self) -> list[int]:
        """How many requests each server has read."""
        return [len(network.requests) for network in self.networks]

    def assert_quiet(self) -> None:
        """Check that nothing is under way anywhere."""
        for network, llm in zip(self.networks, self.llms, strict=True):
            network.assert_quiet()
            assert llm.statistics().streams_open == 0


@asynccontextmanager
async def open_models(
    *scripts: Script, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS, **options: Any
) -> AsyncIterator[Models]:
    """An `LLM` for each script, named ``model-0``, ``model-1`` and so on.

    Other options are those of the `MemoryNetwork`. (Nothing but the scripted servers' nurseries is open
    across the ``yield``.)
    """
    async with AsyncExitStack() as stack:
        models = Models([], [])
        for index, script in enumerate(scripts):
            network = await stack.enter_async_context(MemoryNetwork(script, **options))
            llm = LLM(
                f"model-{index}",
                base_url=BASE_URL,
                auth=None,
                conn_options=conn_options,
                http_client=client_on(network),
            )
            models.networks.append(network)
            models.llms.append(await stack.enter_async_context(llm))
        yield models


SLOW = text("slow ", "answer").after(10)
"""The primary of the issue: it answers after 10 s."""

LATE = text("slow ", "answer").after(5)
"""One that is slow, but within the clocks of `DEFAULT_API_CONNECT_OPTIONS`."""

FAST = text("fast ", "answer").after(0.2)
"""Its backup: it answers after 0.2 s."""
