"""The fault laboratory: every fault in every phase has a stated outcome, in virtual time.

What is stated stands in `tests/data/faults.md`; how a fault is played, in `faults`. Here the one is
run and compared with the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    ChatCall,
    ChatChunk,
    ChatModel,
    ChoiceDelta,
    ChunkSink,
    ChunkSource,
    CollectedResponse,
    FallbackAdapter,
    HedgeAdapter,
    LLMStream,
)
from tests.faults.fault_observer import BAD_WORDS, Observation, attempts_of, observe, word_for
from tests.faults.fault_table import CELLS, DELIVERED, NOTHING, REUSED, REUSED_CELLS, WORDS, Cell
from tests.faults.faults import (
    AT_ONCE,
    BACKUP,
    PACE,
    PHASES,
    PRIMARY,
    REUSED_FAULTS,
    STEADY,
    TUNNEL,
    Answer,
    Pace,
    answer_in,
    places,
    play,
    well,
)
from tests.support.engine import BASE_URL, TLS_BASE_URL, client_on, conversation
from tests.support.leaks import no_leaks
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    EVENT_STREAM,
    Connection,
    Exchange,
    Script,
    Send,
    Wait,
    response,
)

OPTIONS = APIConnectOptions(
    max_retry=2,
    retry_interval=1.0,
    max_retry_delay=5.0,
    timeout=2.0,
    first_output_timeout=5.0,
    total_timeout=30.0,
)
HEDGE_AFTER = 0.55

WINDOW = 4096
"""Bytes that may be on their way."""
LONG = "Why do whales sing? " * 450
"""More than that: a server that does not read it stops the sending."""

DRAIN = 0.1
"""Seconds that a block may wait for the end of a body."""
ROUNDING = 0.002
"""A deadline is not moved for less than a millisecond."""


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays without their spread are exact."""
    monkeypatch.setattr("lktrio._settings.retry.JITTER", 0.0)


# --- The set-up -----------------------------------------------------------------------------------


@attrs.frozen
class Laboratory:
    """Servers with their faults, and the model that asks them."""

    model: ChatModel
    options: APIConnectOptions
    llms: list[LLM]
    networks: list[MemoryNetwork]

    def ask(self, text: str = "Why do whales sing?") -> LLMStream[Any]:
        return self.model.chat(chat_ctx=conversation(text), conn_options=self.options)


@asynccontextmanager
async def laboratory(
    strategy: str,
    scripts: Sequence[Script],
    base_url: str = BASE_URL,
    *,
    proxy: str | None = None,
    **options: Any,
) -> AsyncIterator[Laboratory]:
    """Open servers, and a model over them; check that all is closed at the end.

    Args:
        strategy: How the model asks.
        scripts: What each server does.
        base_url: The address.
        proxy: The proxy on the way.
        options: Arguments of a `FallbackAdapter`.
    """
    networks: list[MemoryNetwork] = []
    async with AsyncExitStack() as stack:
        llms: list[LLM] = []
        for index, script in enumerate(scripts):
            network = await stack.enter_async_context(MemoryNetwork(script, window=WINDOW))
            made = client_on(network) if proxy is None else network.transport(proxy=proxy)
            client = await stack.enter_async_context(made)
            llm = LLM(f"model-{index}", base_url=base_url, auth=None, http_client=client)
            llms.append(await stack.enter_async_context(llm))
            networks.append(network)
        model: ChatModel = llms[0]
        conn_options = OPTIONS
        if strategy.startswith("fallback"):
            model = FallbackAdapter(llms, **options)
        elif strategy.startswith("hedge"):
            model = HedgeAdapter(llms, after=HEDGE_AFTER, budget=1.0)
        elif strategy == "plain":
            conn_options = attrs.evolve(OPTIONS, max_retry=0)
        yield Laboratory(model, conn_options, llms, networks)
        for network in networks:
            network.assert_quiet()
    for network in networks:
        assert network.open_connections == 0
        assert all(record.closed_at is not None for record in network.connections)


def scripts_for(cell: Cell) -> list[Script]:
    """What each server does."""
    first: Exchange | Connection
    again: Exchange | Connection

    def good(answer: Answer, pace: Pace = STEADY) -> Exchange | Connection:
        one = well(answer, pace)
        return Connection([TUNNEL, one]) if cell.phase == "proxy" else one

    if cell.phase == REUSED:
        first, again = REUSED_FAULTS[cell.fault](STEADY), well(PRIMARY)
        # The new connection answers as often as it is asked.
        scripts: list[Script] = [[first, Connection([again])]]
    else:
        first, again = play(cell.phase, cell.fault, PRIMARY), good(answer_in(cell.phase, PRIMARY))
        scripts = [
            {
                "retry": in_order(first, again),
                "retry in vain": in_order(first, first, first),
            }.get(cell.strategy, in_order(first))
        ]
    if cell.models == 2:
        backup = answer_in(cell.phase, BACKUP)
        scripts.append(
            in_order(play(cell.phase, cell.fault, BACKUP))
            if cell.in_vain
            else in_order(good(backup, AT_ONCE))
        )
    return scripts


def in_order(first: Exchange | Connection, *others: Exchange | Connection) -> Script:
    """A script of exchanges, or of connections if it begins with one."""
    if isinstance(first, Exchange):
        return [first, *(other for other in others if isinstance(other, Exchange))]
    return [
        first,
        *(other if isinstance(other, Connection) else Connection([other]) for other in others),
    ]


def answers_to(cell: Cell) -> dict[str, CollectedResponse[None]]:
    """The answers that may come, by the word for each."""
    primary, backup = answer_in(cell.phase, PRIMARY), answer_in(cell.phase, BACKUP)
    return {
        "whole": primary.whole(),
        "whole*": primary.whole(with_usage=False),
        "backup": backup.whole(),
    }


# --- The matrix -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [*CELLS, *REUSED_CELLS], ids=str)
async def test_the_outcome_is_as_stated(
    cell: Cell, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    base_url = TLS_BASE_URL if cell.phase in {"TLS", "proxy"} else BASE_URL
    proxy = "http://user:password@proxy.test:3128" if cell.phase == "proxy" else None
    with no_leaks():
        async with laboratory(cell.strategy, scripts_for(cell), base_url, proxy=proxy) as lab:
            if cell.phase == REUSED:
                await lab.llms[0].chat(chat_ctx=conversation()).collect()
                await trio.sleep(1)
            start = trio.current_time()
            stream = lab.ask(LONG) if cell.phase == "sending" else lab.ask()
            seen = await observe(stream, answers_to(cell))
            assert outcome_of(seen, stream, cell) == cell.outcome, repr(seen.error)
            check_what_was_delivered(cell, seen, stream)
            check_what_was_asked(cell, stream, lab)
            check_what_was_closed(seen, stream, lab, start)
    assert caplog.records == []


def outcome_of(seen: Observation, stream: LLMStream[Any], cell: Cell) -> str:
    """What came, as a cell says it."""
    attempts = "+".join(map(str, attempts_of(stream, cell.models)))
    return f"{seen.word} @{round(seen.at, 2):g} x{attempts}"


def check_what_was_delivered(cell: Cell, seen: Observation, stream: LLMStream[Any]) -> None:
    """Nothing is lost, doubled or mixed; an error carries what had come, and all errors."""
    assert seen.restarts == 0
    if seen.error is None:
        return
    error = seen.error
    assert isinstance(error, APIError)
    phase = cell.fault.removeprefix("cut ") if cell.phase == REUSED else cell.phase
    expected = DELIVERED.get(phase, NOTHING)
    asked_backup = stream.response.attempts[-1].model == "model-1"
    thoughts = [PRIMARY.reasoning, BACKUP.reasoning][: 1 + asked_backup]
    assert seen.text == error.partial.text == expected.text
    assert error.partial.reasoning in (thoughts if expected.reasoning else [""])
    calls = BACKUP.calls if asked_backup else PRIMARY.calls
    assert error.partial.tool_calls == (calls if expected.calls else [])
    assert seen.calls == []
    assert error.attempts == stream.response.attempts
    assert all(attempt.error is not None for attempt in error.attempts)
    # Both models had the same fault.
    assert [word_for(other) for other in error.other_errors] == [seen.word] * asked_backup


def check_what_was_asked(cell: Cell, stream: LLMStream[Any], lab: Laboratory) -> None:
    """Each attempt is one request, if the server reads it at all."""
    requests = [
        sum(request.method != "CONNECT" for request in network.requests) for network in lab.networks
    ]
    expected = list(attempts_of(stream, cell.models))
    if cell.phase == REUSED:
        expected[0] += 1  # the first answer's
        expected[0] += cell.resent and not cell.fault.endswith("as the request comes")
        assert stream.response.attempts[0].resent == cell.resent
    elif cell.phase in {"connecting", "TLS", "proxy", "sending"} and cell.fault != "status 503":
        winner = {"whole": 0, "backup": 1}.get(cell.word)
        expected = [int(index == winner) for index in range(cell.models)]
    assert requests == expected


def check_what_was_closed(
    seen: Observation, stream: LLMStream[Any], lab: Laboratory, start: float
) -> None:
    """A connection that is not kept was closed the moment its attempt was over, which is before
    the next thing that its server does."""
    ends = [attempt.ended for attempt in stream.response.attempts if attempt.ended is not None]
    winner = {"whole": 0, "whole*": 0, "backup": 1}.get(seen.word)
    for index, network in enumerate(lab.networks):
        patience = DRAIN if index == winner else 0.0
        for record in network.connections:
            if record.client_gone_at is not None and record.closed_by != "server":
                gone = record.client_gone_at - start
                assert any(-ROUNDING <= gone - end <= patience + ROUNDING for end in ends)
    assert seen.left_at <= seen.at + (0.0 if winner is None else DRAIN) + ROUNDING


# --- An answer that begins anew -------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        cell
        for cell in CELLS
        if cell.phase in {"mid text", "in a call", "after finish"} and cell.strategy == "fallback"
    ],
    ids=str,
)
async def test_a_fallback_that_may_begin_anew_does_where_it_would_have_failed(
    cell: Cell, autojump_clock: MockClock
) -> None:
    """Not after a caller's mistake, and not when the time of all is up."""
    begins_anew = cell.word in {"idle", "lost", "status 503", "status -1"}
    _, _, when = cell.outcome.partition(" @")
    expected = f"backup @{when.replace('+0', '+1')}" if begins_anew else cell.outcome
    with no_leaks():
        async with laboratory("fallback", scripts_for(cell), restart_after_output=True) as lab:
            stream = lab.ask()
            seen = await observe(stream, answers_to(cell))
            assert outcome_of(seen, stream, cell) == expected, repr(seen.error)
            assert seen.restarts == begins_anew


# --- All at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if cell.phase in PHASES and cell.strategy == "plain"], ids=str
)
async def test_the_outcome_is_the_same_if_all_comes_in_one_read(
    cell: Cell, autojump_clock: MockClock
) -> None:
    broken = play(cell.phase, cell.fault, PRIMARY, AT_ONCE)
    with no_leaks():
        async with laboratory("plain", [in_order(broken)]) as lab:
            stream = lab.ask()
            seen = await observe(stream, answers_to(cell))
            assert seen.word == cell.word, repr(seen.error)
            check_what_was_delivered(cell, seen, stream)


@pytest.mark.parametrize("is_late", [False, True], ids=["in the same read", "later"])
async def test_what_comes_beyond_the_announced_length_is_part_of_no_answer(
    is_late: bool, autojump_clock: MockClock
) -> None:
    """The server keeps the connection, so that the next request goes over it."""
    body = b"".join(PRIMARY.events)
    excess = b"".join(BACKUP.events)
    length = {"Content-Length": str(len(body))}
    answer = response(200, body if is_late else body + excess, {**EVENT_STREAM, **length})
    lying = answer.then(Wait(PACE), Send(excess)) if is_late else answer
    script = [Connection([lying, well(BACKUP)]), Connection([well(PRIMARY)])]
    with no_leaks():
        async with laboratory("plain", [script]) as lab:
            for _ in range(2):
                seen = await observe(lab.ask(), {"whole": PRIMARY.whole()})
                assert seen.word == "whole", repr(seen.error)
                await trio.sleep(1)


# --- The table is whole, and has no bad word ------------------------------------------------------


def test_every_fault_is_stated_for_every_phase_and_every_way_to_ask() -> None:
    ways = ["plain"]
    ways += [f"{way}{end}" for way in ("retry", "fallback", "hedge") for end in ("", " in vain")]
    assert {(cell.phase, cell.fault, cell.strategy) for cell in CELLS} == {
        (phase, fault, way) for phase, fault in places() for way in ways
    }
    assert {cell.fault for cell in REUSED_CELLS} == set(REUSED_FAULTS)
    assert len({str(cell) for cell in CELLS}) == len(CELLS) == 7 * len(places())


def test_no_cell_hangs_is_silent_or_raises_another_exception() -> None:
    words = {cell.word for cell in (*CELLS, *REUSED_CELLS)}
    statuses = {word for word in words if word.startswith("status ")}
    assert words - statuses <= WORDS
    assert not any(word.startswith(BAD_WORDS) for word in words | WORDS)


# --- The bad words can be said --------------------------------------------------------------------


class Ends(ChatModel, ChunkSource):
    """A model whose stream ends as it is told, whatever the library promises."""

    def __init__(self, chunks: Sequence[ChatChunk], ending: Callable[[Any], Any]) -> None:
        self._chunks = chunks
        self._ending = ending

    model = provider = "ends"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(self, call)

    async def run(self, sink: ChunkSink) -> None:
        sink.put(self._chunks)
        await self._ending(sink)


WHALES = ChatChunk(delta=ChoiceDelta(content="Whales "))


async def never(_: Any) -> None:
    await trio.sleep_forever()


async def busy_for_ever(_: Any) -> None:
    while True:
        await trio.lowlevel.checkpoint()


async def quietly(sink: ChunkSink) -> None:
    sink.complete(CollectedResponse(text="Whales "))


async def wholly(sink: ChunkSink) -> None:
    sink.complete(PRIMARY.whole())


async def with_a_bug(_: Any) -> None:
    raise KeyError("choices")


async def with_a_group(_: Any) -> None:
    raise ExceptionGroup("grouped", [APIError("lost")])


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (never, "hangs"),
        (busy_for_ever, "hangs"),
        (quietly, "silent"),
        (with_a_bug, "other exception KeyError"),
        (with_a_group, "other exception APIError"),
    ],
)
async def test_a_bad_outcome_is_called_by_its_name(
    ending: Callable[[Any], Any], word: str, autojump_clock: MockClock
) -> None:
    stream = Ends([WHALES], ending).chat(chat_ctx=conversation())
    seen = await observe(stream, {"whole": PRIMARY.whole()})
    assert seen.word == word


@pytest.mark.parametrize(
    "pieces",
    [["Whales ", "Whales ", "sing."], ["Whales ", "Backups ", "speak."], ["Whales "]],
    ids=["doubled", "mixed", "lost"],
)
async def test_text_that_is_not_the_answers_is_not_whole(
    pieces: list[str], autojump_clock: MockClock
) -> None:
    chunks = [ChatChunk(delta=ChoiceDelta(content=piece)) for piece in pieces]
    stream = Ends(chunks, wholly).chat(chat_ctx=conversation())
    seen = await observe(stream, {"whole": PRIMARY.whole()})
    assert seen.word == "silent"
