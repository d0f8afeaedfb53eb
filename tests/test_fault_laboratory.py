"""The fault laboratory: every fault in every phase has a stated outcome, in virtual time.

What is stated stands in `tests/data/faults.md`, written by hand from the design's promises; how a
fault is played stands in `faults`. This module runs the one and compares it with the other.
"""

from __future__ import annotations

import gc
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatCall,
    ChatChunk,
    ChatModel,
    ChoiceDelta,
    CollectedResponse,
    FallbackAdapter,
    FunctionToolCall,
    HedgeAdapter,
    LLMStream,
)
from tests.engine import BASE_URL, TLS_BASE_URL, conversation
from tests.fault_table import CELLS, DELIVERED, NOTHING, OUTCOMES, STRATEGIES, Cell
from tests.faults import (
    AT_ONCE,
    BACKUP,
    PRIMARY,
    Answer,
    answer_in,
    places,
    play,
    well,
)
from tests.support.leaks import no_leaks
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Connection, Exchange, Script

OPTIONS = APIConnectOptions(
    max_retry=2,
    retry_interval=1.0,
    max_retry_delay=5.0,
    timeout=2.0,
    first_output_timeout=5.0,
    total_timeout=30.0,
)
HEDGE_AFTER = 0.55

PROMPT = "Why do whales sing? " * 450
WINDOW = 4096
"""Smaller than the prompt: a server that does not read stops the sending."""

PATIENCE = 1000.0
"""Virtual seconds after which an answer that does not end is said to hang."""
MOST_STEPS = 50_000
"""As many steps of tasks say the same where no time passes."""
DRAIN = 0.1
"""Seconds that a block may wait for the end of a body."""


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays without their spread are exact."""
    monkeypatch.setattr("lktrio._retry.JITTER", 0.0)


@pytest.fixture(autouse=True)
def quick_collections() -> Iterator[None]:
    """What exists before a test is no leak of it, and need not be searched a thousand times."""
    gc.freeze()
    yield
    gc.unfreeze()


# --- Looking at one answer ------------------------------------------------------------------------


@attrs.define
class Observation:
    """What a consumer sees of one stream."""

    verdict: str = "hangs"
    at: float = math.inf
    left_at: float = math.inf
    text: str = ""
    calls: list[FunctionToolCall] = attrs.field(factory=list[FunctionToolCall])
    error: Exception | None = None
    restarts: int = 0


class Watchdog(trio.abc.Instrument):
    """Cancels a scope after very many steps: a run that never ends need not let time pass."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._left = MOST_STEPS

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if not self._left:
            self._scope.cancel()


async def observe(stream: LLMStream[Any], whole: dict[str, CollectedResponse[None]]) -> Observation:
    """Read a stream to its end and say what came of it.

    Args:
        stream: The stream.
        whole: Which answers may come, by the word for each.
    """
    seen = Observation()
    start = trio.current_time()
    with trio.move_on_after(PATIENCE) as scope:
        watchdog = Watchdog(scope)
        trio.lowlevel.add_instrument(watchdog)
        try:
            async with stream:
                try:
                    async for chunk in stream:
                        seen.restarts += chunk.restart
                        if chunk.delta is not None:
                            seen.text += chunk.delta.content or ""
                            seen.calls += chunk.delta.tool_calls
                    seen.verdict = "silent"
                    result = await stream.collect()
                    for word, answer in whole.items():
                        if (result, seen.text, seen.calls) == (
                            answer,
                            answer.text,
                            answer.tool_calls,
                        ):
                            seen.verdict = word
                except Exception as exc:  # noqa: BLE001 - which exceptions there are is the question
                    seen.error = exc
                    seen.verdict = verdict_on(exc)
                seen.at = trio.current_time() - start
            seen.left_at = trio.current_time() - start
        finally:
            trio.lowlevel.remove_instrument(watchdog)
    return seen


def verdict_on(exc: BaseException) -> str:
    """The word for an exception; only the three that a request may raise have one."""
    if type(exc) is APITimeoutError:
        return "output" if exc.clock == "first_output" else exc.clock
    if type(exc) is APIStatusError:
        return f"status {exc.status_code}"
    if type(exc) is APIConnectionError:
        return "lost"
    return f"other exception {type(exc).__name__}"


def counted(stream: LLMStream[Any], *, several: bool) -> tuple[int, ...]:
    """How many attempts each model was asked for."""
    models = [attempt.model for attempt in stream.response.attempts]
    if not several:
        return (len(models),)
    return (models.count("model-0"), models.count("model-1"))


# --- The set-up -----------------------------------------------------------------------------------


@attrs.frozen
class Laboratory:
    """Servers with their faults, and what asks them."""

    model: ChatModel
    options: APIConnectOptions
    networks: list[MemoryNetwork]
    start: float

    def ask(self) -> LLMStream[Any]:
        return self.model.chat(chat_ctx=conversation(PROMPT), conn_options=self.options)


def scripts_for(cell: Cell) -> list[Script]:
    """What each server does."""
    first = play(cell.phase, cell.fault, PRIMARY)
    again = well(answer_in(cell.phase, PRIMARY))
    match cell.strategy:
        case "plain":
            return [_sequence(first)]
        case "retry":
            return [_sequence(first, again)]
        case "retry in vain":
            return [_sequence(first, first, first)]
        case "fallback" | "hedge":
            return [_sequence(first), well(answer_in(cell.phase, BACKUP), AT_ONCE)]
        case _:
            return [_sequence(first), _sequence(play(cell.phase, cell.fault, BACKUP))]


def _sequence(first: Exchange | Connection, *others: Exchange | Connection) -> Script:
    if isinstance(first, Exchange):
        return [first, *(other for other in others if isinstance(other, Exchange))]
    return [
        first,
        *(other if isinstance(other, Connection) else Connection([other]) for other in others),
    ]


@asynccontextmanager
async def laboratory(cell: Cell) -> AsyncIterator[Laboratory]:
    """The servers of a cell, and its model over them."""
    async with AsyncExitStack() as stack:
        networks: list[MemoryNetwork] = []
        llms: list[ChatModel] = []
        base_url = TLS_BASE_URL if cell.phase == "TLS" else BASE_URL
        for index, script in enumerate(scripts_for(cell)):
            network = await stack.enter_async_context(MemoryNetwork(script, window=WINDOW))
            client = await stack.enter_async_context(network.client())
            llm = LLM(f"model-{index}", base_url=base_url, auth=None, http_client=client)
            llms.append(await stack.enter_async_context(llm))
            networks.append(network)
        options = OPTIONS
        model = llms[0]
        if cell.strategy == "plain":
            options = attrs.evolve(OPTIONS, max_retry=0)
        elif cell.strategy.startswith("fallback"):
            model = FallbackAdapter(llms)
        elif cell.strategy.startswith("hedge"):
            model = HedgeAdapter(llms, after=HEDGE_AFTER, budget=1.0)
        yield Laboratory(model, options, networks, trio.current_time())


# --- The matrix -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_the_outcome_is_as_stated(
    cell: Cell, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with no_leaks():
        async with laboratory(cell) as lab:
            stream = lab.ask()
            primary = answer_in(cell.phase, PRIMARY)
            whole = {
                "whole": primary.whole(),
                "whole*": primary.whole(with_usage=False),
                "backup": answer_in(cell.phase, BACKUP).whole(),
            }
            seen = await observe(stream, whole)
            attempts = counted(stream, several=cell.has_backup)
            outcome = f"{seen.verdict} @{round(seen.at, 2):g} x{'+'.join(map(str, attempts))}"
            assert outcome == cell.outcome, repr(seen.error)

            check_what_was_delivered(cell, seen, stream)
            check_what_the_servers_saw(cell, seen, stream, lab)
            for network in lab.networks:
                network.assert_quiet()
        for network in lab.networks:
            assert network.open_connections == 0
            assert all(record.closed_at is not None for record in network.connections)
    assert caplog.records == []


def check_what_was_delivered(cell: Cell, seen: Observation, stream: LLMStream[Any]) -> None:
    """Nothing is lost, doubled or mixed; an error carries what had arrived, and all errors."""
    assert seen.restarts == 0
    if seen.error is None:
        return
    error = seen.error
    assert isinstance(error, APIError)
    asked_backup = stream.response.attempts[-1].model == "model-1"
    expected = DELIVERED.get(cell.phase, NOTHING)
    assert seen.text == error.partial.text == expected.text
    thoughts = [PRIMARY.reasoning, BACKUP.reasoning][: 1 + asked_backup]
    assert error.partial.reasoning in (thoughts if expected.reasoning else [""])
    assert error.partial.tool_calls == (PRIMARY.calls if expected.calls else [])
    assert seen.calls == []
    assert error.attempts == stream.response.attempts
    assert all(attempt.error is not None for attempt in error.attempts)
    # Both models had the same fault.
    assert [verdict_on(other) for other in error.other_errors] == [seen.verdict] * asked_backup


def check_what_the_servers_saw(
    cell: Cell, seen: Observation, stream: LLMStream[Any], lab: Laboratory
) -> None:
    """Each attempt was one request; a connection that is not kept was closed at once."""
    requests = [len(network.requests) for network in lab.networks]
    if cell.is_read:
        assert requests == list(counted(stream, several=cell.has_backup))
    else:
        won = {"whole": 0, "backup": 1}.get(seen.verdict)
        assert requests == [index == won for index in range(len(requests))]
    ends = [attempt.ended for attempt in stream.response.attempts]
    for network in lab.networks:
        for record in network.connections:
            if record.client_gone_at is not None:
                gone = record.client_gone_at - lab.start
                waited = DRAIN if seen.error is None else 0.0
                assert any(
                    end is not None and end - 0.002 <= gone <= end + waited + 0.002 for end in ends
                ), (gone, ends)
    assert seen.left_at <= seen.at + DRAIN + 0.002
