"""What a stream waits for before anything is sent, and what comes of it, in virtual time.

What is stated stands in `tests/data/faults.md`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import LLM, ChatModel, FallbackAdapter, HedgeAdapter, RateLimit
from tests.faults.fault_observer import attempts_of, observe
from tests.faults.fault_table import WAIT_CELLS, Cell
from tests.faults.faults import AT_ONCE, BACKUP, PRIMARY, play, well
from tests.faults.test_fault_laboratory import HEDGE_AFTER, OPTIONS
from tests.support.engine import BASE_URL, client_on, conversation
from tests.support.leaks import no_leaks
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Exchange, Hold, sse, text, text_chunk

SOON = 3.0


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays without their spread are exact."""
    monkeypatch.setattr("lktrio._settings.retry.JITTER", 0.0)


@attrs.frozen
class Wait:
    """A bound on the load of an `LLM`, and what uses it up."""

    places: bool = False
    requests: int = 1
    """How many requests a minute holds."""
    used: int = 1
    """How many of them are used."""
    ago: float = 0.0
    """Seconds since they were."""
    fails_first: bool = False
    """Whether the server has a 503 for the first attempt."""


WAITS = {
    "for a place": Wait(places=True),
    "for a turn": Wait(),
    "for a turn of 3 s": Wait(ago=60 - SOON),
    "for a turn of a second attempt": Wait(used=0, fails_first=True),
    "for a turn of 3 s of a second attempt": Wait(requests=2, ago=60 - SOON, fails_first=True),
}


@pytest.mark.parametrize("cell", WAIT_CELLS, ids=str)
async def test_the_outcome_of_a_wait_is_as_stated(
    cell: Cell, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    wait = WAITS[cell.fault]
    with no_leaks():
        async with AsyncExitStack() as stack:
            llms: list[LLM] = []
            networks: list[MemoryNetwork] = []
            begin = trio.current_time()
            for index, answer in enumerate([PRIMARY, BACKUP][: cell.models]):
                bounded = index == 0 or cell.in_vain
                good = well(answer) if bounded else well(answer, AT_ONCE)
                network = MemoryNetwork(serving(wait, good) if bounded else [good])
                networks.append(await stack.enter_async_context(network))
                client = await stack.enter_async_context(client_on(network))
                llm = LLM(
                    f"model-{index}",
                    base_url=BASE_URL,
                    auth=None,
                    http_client=client,
                    **(bounds(wait) if bounded else {}),
                )
                llms.append(await stack.enter_async_context(llm))
                # The turn of the second one comes a moment later.
                await trio.sleep(index and wait.ago / 1000)
                if bounded and wait.used:
                    await use_up(llm, wait, stack)
            await trio.sleep_until(begin + wait.ago)
            before = [len(network.requests) for network in networks]

            stream = model_of(cell, llms).chat(chat_ctx=conversation(), conn_options=options(cell))
            answers = {"whole": PRIMARY.whole(), "backup": BACKUP.whole()}
            seen = await observe(stream, answers)

            asked = "+".join(map(str, attempts_of(stream, cell.models)))
            assert f"{seen.word} @{round(seen.at, 2):g} x{asked}" == cell.outcome, repr(seen.error)
            sent = [len(network.requests) for network in networks]
            assert "+".join(str(b - a) for a, b in zip(before, sent, strict=True)) == asked
            for llm in llms:
                assert llm.statistics().streams_limited == llm.statistics().streams_waiting == 0
    assert caplog.records == []


def serving(wait: Wait, good: Exchange) -> list[Exchange]:
    """What a server does whose client bounds its load."""
    begin = sse(text_chunk("Hi"), Hold()) if wait.places else text("Hi")
    script = [begin] if wait.used else []
    if wait.fails_first:
        failing = play("before head", "status 503", PRIMARY)
        assert isinstance(failing, Exchange)
        script.append(failing)
    return [*script, good]


def bounds(wait: Wait) -> dict[str, Any]:
    return {"max_streams": 1} if wait.places else {"rate_limit": RateLimit(wait.requests)}


async def use_up(llm: LLM, wait: Wait, stack: AsyncExitStack) -> None:
    """Take the only place, or a turn."""
    stream = llm.chat(chat_ctx=conversation(), conn_options=attrs.evolve(OPTIONS, timeout=1000))
    if wait.places:
        await anext(await stack.enter_async_context(stream))
    else:
        await stream.collect()


def model_of(cell: Cell, llms: list[LLM]) -> ChatModel:
    if cell.strategy.startswith("fallback"):
        return FallbackAdapter(llms)
    if cell.strategy.startswith("hedge"):
        return HedgeAdapter(llms, after=HEDGE_AFTER, budget=1.0)
    return llms[0]


def options(cell: Cell) -> Any:
    return attrs.evolve(OPTIONS, max_retry=0) if cell.strategy == "plain" else OPTIONS


def test_every_wait_is_in_the_table() -> None:
    assert {cell.fault for cell in WAIT_CELLS} == set(WAITS)
