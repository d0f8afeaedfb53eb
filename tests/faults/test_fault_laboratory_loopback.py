"""One sample of each fault over real sockets, and of what can be wrong with TLS.

The outcomes are those of `tests/data/faults.md`, without their times. Nothing is timed here: where a
clock has to run out, the time is moved on when the fault is seen to be there.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import pytest
import trio
import trustme
from trio.testing import MockClock

from lktrio import LLM, APIConnectOptions, APIError, ChatModel, FallbackAdapter, HedgeAdapter
from tests.faults.fault_observer import Observation, attempts_of, observe, word_for
from tests.faults.fault_table import CELLS, DELIVERED, NOTHING, REUSED_CELLS, Cell
from tests.faults.faults import (
    AT_ONCE,
    BACKUP,
    PRIMARY,
    REUSED_FAULTS,
    STREAM_HEAD,
    Pace,
    answer_in,
    play,
    well,
)
from tests.support.engine import client_on, conversation
from tests.support.leaks import no_leaks
from tests.support.loopback import Certificates, LoopbackServer, certificates
from tests.support.script import (
    Close,
    Connection,
    Exchange,
    Hold,
    Repeat,
    Script,
    Send,
    WaitFor,
    chunk,
    comment,
    head,
)

OPTIONS = APIConnectOptions(max_retry=2, retry_interval=0.0, timeout=60.0)
JUMP = 70.0
"""Seconds that are skipped where a clock has to run out; longer than each."""
SAFETY_NET = 300.0
"""Seconds after which an answer is said to hang. No test depends on it."""

STRATEGIES = ("plain", "retry", "fallback", "hedge")

PLACES = [
    *(
        ("before head", fault)
        for fault in (
            "stall",
            "reset",
            "cut",
            "garbage",
            "another protocol",
            "no head",
            "interim 100",
            "interim 103",
            "interim for ever",
            "upgrade 101",
            "status 429, Retry-After 60",
            "status 503",
            "status 503, body stalls",
            "status 400",
            "status 401",
            "status 404",
            "redirect to another origin",
            "HTML with 200",
            "JSON error with 200",
            "JSON error 400 with 200",
            "other JSON with 200",
            "nothing with 200",
            "status 204",
        )
    ),
    *(
        ("mid head", fault)
        for fault in ("stall", "reset", "cut", "no header", "endless head", "huge head", "trickle")
    ),
    ("after reasoning", "cut"),
    *(
        ("mid text", fault)
        for fault in (
            "stall",
            "reset",
            "cut",
            "clean end",
            "end of an unframed body",
            "length too long",
            "length too short",
            "bad chunk size",
            "chunk without its end",
            "comments for ever",
            "endless event",
            "trickle",
            "no JSON",
            "error 503 in the stream",
            "error 400 in the stream",
            "error in the stream",
        )
    ),
    ("in a lone call", "cut"),
    ("in a call", "cut"),
    ("after finish", "cut"),
    ("after done", "stall"),
    ("after done", "reset"),
]


@functools.cache
def good_certificates() -> Certificates:
    """Certificates of this machine; a test that makes its own spends its time on that."""
    return certificates()


# --- The set-up -----------------------------------------------------------------------------------


@attrs.frozen
class Loopback:
    """Servers on this machine, and the model that asks them."""

    model: ChatModel
    options: APIConnectOptions
    llms: list[LLM]
    servers: list[LoopbackServer]


@asynccontextmanager
async def loopback(
    strategy: str,
    *scripts: Script,
    tls: Sequence[Certificates | None] = (),
    url: Callable[[str], str] = lambda url: url,
    options: APIConnectOptions = OPTIONS,
) -> AsyncIterator[Loopback]:
    """Open a server for each script, and a model over them; `url` changes the first one's address.

    Nothing may be left when all is closed: no task, no socket, no request under way.
    """
    with no_leaks():
        async with AsyncExitStack() as stack:
            llms: list[LLM] = []
            servers: list[LoopbackServer] = []
            for index, script in enumerate(scripts):
                server = LoopbackServer(script, tls=tls[index] if tls else None)
                servers.append(await stack.enter_async_context(server))
                address = server.url if index else url(server.url)
                trusted = good_certificates().client
                client = await stack.enter_async_context(client_on(server, trusted))
                llm = LLM(f"model-{index}", base_url=f"{address}/v1", auth=None, http_client=client)
                llms.append(await stack.enter_async_context(llm))
            model: ChatModel = llms[0]
            if strategy.startswith("fallback"):
                model = FallbackAdapter(llms, attempt_timeout=math.inf)
            elif strategy.startswith("hedge"):
                model = HedgeAdapter(llms, after=math.inf, budget=1.0)
            elif strategy == "plain":
                options = attrs.evolve(options, max_retry=0)
            yield Loopback(model, options, llms, servers)
            for server in servers:
                server.assert_quiet()


def condition(cell: Cell, lab: Loopback, stream: Any, told: trio.Event) -> Callable[[], bool]:
    """When the fault is seen to be there, and time may be moved on."""

    def first_has(*names: str) -> bool:
        attempts = stream.response.attempts
        return bool(attempts) and all(getattr(attempts[0], name) is not None for name in names)

    if cell.phase == "TLS":
        return lambda: bool(lab.servers[0].connections)
    if cell.phase == "sending":
        return lambda: first_has("connected")
    if cell.phase == "mid text":
        return told.is_set
    if cell.fault == "status 503, body stalls" or cell.phase == "after role":
        return lambda: first_has("headers")
    return lambda: first_has("sent")


NEEDS_A_CLOCK: Final = (
    "stall",
    "another protocol",
    "interim for ever",
    "status 503, body stalls",
    "endless head",
    "comments for ever",
    "endless event",
)


async def look(cell: Cell, lab: Loopback, clock: MockClock, told: trio.Event) -> Observation:
    """Ask, and see what comes; check what the table says of it."""
    content = "Why? " * 2**22 if cell.phase == "sending" else "Why do whales sing?"
    stream = lab.model.chat(chat_ctx=conversation(content), conn_options=lab.options)
    primary, backup = answer_in(cell.phase, PRIMARY), answer_in(cell.phase, BACKUP)
    answers = {
        "whole": primary.whole(),
        "whole*": primary.whole(with_usage=False),
        "backup": backup.whole(),
    }
    async with trio.open_nursery() as nursery:
        is_told_apart = cell.fault == "another protocol" and cell.word == "lost"
        if cell.fault in NEEDS_A_CLOCK and cell.phase != "after done" and not is_told_apart:

            async def move_the_time_on() -> None:
                is_there = condition(cell, lab, stream, told)
                while not is_there():
                    await trio.lowlevel.checkpoint()
                clock.jump(JUMP)

            nursery.start_soon(move_the_time_on)
        seen = await observe(stream, answers, patience=SAFETY_NET, on_text=told)
        nursery.cancel_scope.cancel()
    if cell.phase not in {"TLS", "sending"}:
        await have_seen_the_close(lab)
    attempts = attempts_of(stream, cell.models)
    assert (seen.word, "+".join(map(str, attempts))) == (cell.word, cell.attempts), repr(seen.error)
    if seen.error is not None:
        assert isinstance(seen.error, APIError)
        expected = DELIVERED.get(cell.phase, NOTHING)
        assert seen.text == seen.error.partial.text == expected.text
        assert seen.error.attempts == stream.response.attempts
    return seen


async def have_seen_the_close(lab: Loopback) -> None:
    """A server whose fault would go on for ever sees the client leave.

    (One that has not read the request cannot, see `LoopbackServer`.)
    """
    with trio.fail_after(SAFETY_NET):
        for server in lab.servers:
            for record in server.connections:
                if record.steps and isinstance(record.steps[-1], Hold | Repeat):
                    await record.client_gone.wait()


def as_met(cell: Cell) -> Cell:
    """The outcome for a hedge that starts only after an error: a fallback's, unless the race is
    over before."""
    if cell.strategy != "hedge" or cell.phase == "in a lone call":
        return cell
    (fallback,) = (
        other
        for other in (*CELLS, *REUSED_CELLS)
        if (other.phase, other.fault) == (cell.phase, cell.fault) and other.strategy == "fallback"
    )
    return attrs.evolve(cell, outcome=fallback.outcome)


def samples(*places: tuple[str, str], strategies: Sequence[str] = STRATEGIES) -> list[Cell]:
    return [
        as_met(cell)
        for cell in CELLS
        if (cell.phase, cell.fault) in places and cell.strategy in strategies
    ]


# --- The server -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", samples(*PLACES), ids=str)
async def test_over_tcp_the_outcome_is_the_same(cell: Cell, mock_clock: MockClock) -> None:
    await run_cell(cell, mock_clock, None)


@pytest.mark.parametrize("cell", samples(*PLACES, strategies=["fallback"]), ids=str)
async def test_over_tls_the_outcome_is_the_same(cell: Cell, mock_clock: MockClock) -> None:
    await run_cell(cell, mock_clock, good_certificates())


async def run_cell(cell: Cell, clock: MockClock, tls: Certificates | None) -> None:
    clock.rate = 1.0
    told = trio.Event()
    in_sight = cell.phase in {"mid text", "in a call", "after finish", "after done"}
    pace = Pace((), (WaitFor(told),) if in_sight else ())
    first = play(cell.phase, cell.fault, PRIMARY, pace)
    assert isinstance(first, Exchange)
    scripts: list[Script] = [[first, well(answer_in(cell.phase, PRIMARY), AT_ONCE)]]
    scripts += [well(answer_in(cell.phase, BACKUP), AT_ONCE)] * (cell.models - 1)
    async with loopback(
        cell.strategy, *scripts, tls=[tls] * cell.models, options=options_for(cell)
    ) as lab:
        await look(cell, lab, clock, told)


def options_for(cell: Cell) -> APIConnectOptions:
    """The clock that is to run out, and no other."""
    if cell.word == "output" or cell.phase == "after role":
        return attrs.evolve(OPTIONS, timeout=math.inf, first_output_timeout=60.0)
    if cell.word == "total":
        return attrs.evolve(OPTIONS, timeout=math.inf, total_timeout=60.0)
    return OPTIONS


@pytest.mark.parametrize("cell", samples(("after role", "comments for ever")), ids=str)
async def test_comments_do_not_hide_that_no_output_comes(cell: Cell, mock_clock: MockClock) -> None:
    await run_cell(cell, mock_clock, None)


@pytest.mark.parametrize(
    "cell",
    samples(("sending", "stall"), ("sending", "reset"), ("sending", "cut"), strategies=["plain"]),
    ids=str,
)
async def test_a_request_that_is_not_taken(cell: Cell, mock_clock: MockClock) -> None:
    await run_cell(cell, mock_clock, None)


FLOODS = {
    ("before head", "interim for ever"): Exchange([Repeat([Send(head(103) * 100)])]),
    ("mid text", "comments for ever"): Exchange(
        [
            Send(STREAM_HEAD + b"".join(map(chunk, PRIMARY.events[:3]))),
            Repeat([Send(chunk(comment()) * 100)]),
        ]
    ),
}
"""The same as in the table, but without a pause."""


@pytest.mark.parametrize("place", list(FLOODS), ids=", ".join)
async def test_a_flood_does_not_hold_up_the_clocks(
    place: tuple[str, str], mock_clock: MockClock
) -> None:
    mock_clock.rate = 1.0
    (cell,) = samples(place, strategies=["plain"])
    async with loopback("plain", [FLOODS[place]], options=options_for(cell)) as lab:
        await look(cell, lab, mock_clock, trio.Event())


@pytest.mark.parametrize("cell", [as_met(cell) for cell in REUSED_CELLS], ids=str)
async def test_a_connection_that_was_used_before(cell: Cell, mock_clock: MockClock) -> None:
    mock_clock.rate = 1.0
    told = trio.Event()
    pace = Pace((), (WaitFor(told),) if cell.fault == "cut mid text" else ())
    first = REUSED_FAULTS[cell.fault](pace)
    scripts: list[Script] = [[first, Connection([well(PRIMARY, AT_ONCE)])]]
    scripts += [well(BACKUP, AT_ONCE)] * (cell.models - 1)
    async with loopback(cell.strategy, *scripts) as lab:
        await lab.llms[0].chat(chat_ctx=conversation()).collect()
        if cell.fault == "closed while it was idle":
            await lab.servers[0].connections[0].closed.wait()
        phase = cell.fault.removeprefix("cut ").removeprefix("stall ")
        fault = cell.fault.removesuffix(f" {phase}")
        await look(attrs.evolve(cell, phase=phase, fault=fault), lab, mock_clock, told)


# --- The network ----------------------------------------------------------------------------------


class NoSuchName(trio.abc.HostnameResolver):
    """A name service that knows no name."""

    async def getaddrinfo(self, host: Any, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known")

    getnameinfo = getaddrinfo


@pytest.mark.parametrize(
    "cell",
    samples(
        ("connecting", "refused"),
        ("connecting", "no such name"),
        strategies=["plain", "retry in vain", "fallback", "hedge"],
    ),
    ids=str,
)
async def test_no_connection(cell: Cell, mock_clock: MockClock) -> None:
    mock_clock.rate = 1.0
    trio.socket.set_custom_hostname_resolver(NoSuchName())
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        port = nobody_listens.getsockname()[1]
        host = "127.0.0.1" if cell.fault == "refused" else "gateway.test"
        scripts = [well(PRIMARY, AT_ONCE), well(BACKUP, AT_ONCE)][: cell.models]
        async with loopback(cell.strategy, *scripts, url=lambda _: f"http://{host}:{port}") as lab:
            seen = await look(cell, lab, mock_clock, trio.Event())
            assert lab.servers[0].requests == []
    if cell.word == "lost":
        assert ("is not known" if host == "gateway.test" else host) in str(seen.error)


# --- TLS ------------------------------------------------------------------------------------------


@functools.cache
def bad_certificates(kind: str) -> Certificates:
    match kind:
        case "of another name":
            return certificates("gateway.test")
        case "expired":
            return certificates(not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        case _:
            return certificates(ca=trustme.CA())


REASONS = {
    "of another name": "IP address mismatch",
    "expired": "certificate has expired",
    "not trusted": "CERTIFICATE_VERIFY_FAILED",
}


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize(
    "cell",
    samples(
        ("TLS", "certificate not trusted"),
        strategies=["plain", "retry in vain", "fallback", "fallback in vain", "hedge"],
    ),
    ids=str,
)
async def test_a_bad_certificate(cell: Cell, kind: str, mock_clock: MockClock) -> None:
    mock_clock.rate = 1.0
    bad = bad_certificates(kind)
    scripts = [well(PRIMARY, AT_ONCE), well(BACKUP, AT_ONCE)][: cell.models]
    tls = [bad, bad if cell.in_vain else good_certificates()][: cell.models]
    async with loopback(cell.strategy, *scripts, tls=tls) as lab:
        seen = await look(cell, lab, mock_clock, trio.Event())
        assert lab.servers[0].requests == []
    if cell.word == "lost":
        assert isinstance(seen.error, APIError)
        errors = (*seen.error.other_errors, seen.error)
        assert [word_for(error) for error in errors] == ["lost"] * cell.models
        assert all(REASONS[kind] in error.message for error in errors)


@pytest.mark.parametrize(
    ("fault", "script"),
    [
        ("stall", [Connection(on_accept=[Hold()])] * 3),
        ("cut", [Connection(on_accept=[Close()])] * 3),
        (
            "plain HTTP",
            [Connection(on_accept=[Send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Close()])] * 3,
        ),
    ],
)
@pytest.mark.parametrize("strategy", ["plain", "retry in vain", "fallback", "hedge"])
async def test_a_server_that_does_not_shake_hands(
    fault: str, script: Script, strategy: str, mock_clock: MockClock
) -> None:
    mock_clock.rate = 1.0
    stated = "stall" if fault == "stall" else "cut"
    if (fault, strategy) == ("stall", "retry in vain"):
        strategy = "plain"
    (cell,) = samples(("TLS", stated), strategies=[strategy])
    scripts = [script, well(BACKUP, AT_ONCE)][: cell.models]
    async with loopback(
        cell.strategy, *scripts, url=lambda url: url.replace("http:", "https:")
    ) as lab:
        await look(cell, lab, mock_clock, trio.Event())


@pytest.mark.parametrize("strategy", ["plain", "fallback", "hedge"])
async def test_a_server_of_https_that_is_asked_by_http(
    strategy: str, mock_clock: MockClock
) -> None:
    mock_clock.rate = 1.0
    (cell,) = samples(("before head", "cut"), strategies=[strategy])
    scripts = [well(PRIMARY, AT_ONCE), well(BACKUP, AT_ONCE)][: cell.models]
    async with loopback(
        cell.strategy,
        *scripts,
        tls=[good_certificates()] * 2,
        url=lambda url: url.replace("https:", "http:"),
    ) as lab:
        await look(cell, lab, mock_clock, trio.Event())
        assert lab.servers[0].requests == []
