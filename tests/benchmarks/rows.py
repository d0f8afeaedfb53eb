"""What is measured: the rows of the table.

This module alone knows how much of which work makes a measurement and what is counted. A row runs
in the client's process and never looks at the client.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias

import anyio
import attrs

from .clients import Ask, Client
from .exchange import Question, Reply, times_sent, without_times
from .limits import ROOT, raise_file_limit, resident_bytes
from .load_server import Over, accepted, go_on, hold, let_pass

Measure: TypeAlias = Callable[[Client, str, float], Awaitable[float]]


class WrongReply(AssertionError):
    """A client has not read what the server has sent."""


class CannotMeasure(Exception):
    """This system does not tell what the row is about."""


@attrs.frozen
class Row:
    """One kind of measurement."""

    title: str
    """What it is called in the table."""

    unit: str
    """What its numbers mean."""

    measure: Measure
    """Measures a client: ``await measure(client, url, scale)``. The amount of work is multiplied by
    the scale; raises `WrongReply` and `CannotMeasure`."""

    enough_rounds: int | None = None
    """How many rounds tell all there is to tell; None if more are always better."""

    least_rounds: int = 1
    """How many rounds the clients not far from the reference take part in at least, even if fewer
    were asked for. A row with a number that is held against a limit wants many."""

    over: Over = "tcp"
    """What the server is spoken to over."""

    variants: frozenset[str] = frozenset()
    """The variants of clients that take part, besides the clients that always do."""

    is_quick: bool = True
    """Whether it is measured when no rows are named and the run is not a full one."""


def _check(question: Question, *replies: Reply) -> None:
    expected = question.reply
    for reply in replies:
        # There is a client that does not tell why an answer has ended.
        told = attrs.evolve(
            reply,
            text=without_times(reply.text),
            finish_reason=reply.finish_reason or expected.finish_reason,
        )
        if told != expected:
            raise WrongReply(
                f"{question!r}: got {len(reply.text)} characters of text, {reply.finish_reason=}, "
                f"{reply.prompt_tokens=}, {reply.completion_tokens=}, {len(reply.arguments)} of "
                f"arguments; expected {len(expected.text)}, {expected.finish_reason!r}, "
                f"{expected.prompt_tokens}, {expected.completion_tokens}, {len(expected.arguments)}"
            )


class Noted(list[str]):
    """Pieces of text as a client gives them, and when it gave them.

    Args:
        on_first: Called with the first one.
    """

    def __init__(self, on_first: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.moments: list[int] = []
        """When each came, in nanoseconds of `time.perf_counter_ns`."""
        self._on_first = on_first

    def append(self, text: str) -> None:
        self.moments.append(time.perf_counter_ns())
        if not self and self._on_first is not None:
            self._on_first()
        super().append(text)


async def _warm_up(ask: Ask) -> None:
    await ask([])


async def _chunks_back_to_back(client: Client, url: str, scale: float) -> float:
    """CPU of a long answer that arrives as fast as it is read, for each of its chunks."""
    return await _of_a_chunk(client, url, Question(round(3_000 * scale)))


async def _call_fragments(client: Client, url: str, scale: float) -> float:
    """The same, where the answer is a tool call."""
    return await _of_a_chunk(client, url, Question(round(3_000 * scale), "calling"))


async def _chunks_over_tls(client: Client, url: str, scale: float) -> float:
    """The same over TLS, a record for each event."""
    return await _of_a_chunk(client, url, Question(round(2_000 * scale)))


async def _of_a_chunk(client: Client, url: str, question: Question) -> float:
    microseconds = 0.0

    async def work(ask: Ask) -> None:
        nonlocal microseconds
        begin = time.process_time()
        reply = await ask([])
        microseconds = (time.process_time() - begin) * 1e6
        _check(question, reply)

    await client.run(url, attrs.evolve(question, events=max(question.events // 10, 1)), _warm_up)
    await client.run(url, question, work)
    return microseconds / question.chunks


def _paced(streams: int) -> Measure:
    async def measure(client: Client, url: str, scale: float) -> float:
        """CPU of streams that are open at once and get 50 chunks a second each, for each second of
        a stream. They last a second, and what the requests cost is in it."""
        question = _paced_question(scale)
        milliseconds = 0.0

        async def work(ask: Ask) -> None:
            nonlocal milliseconds
            begin = time.process_time()
            await _ask_in_turn(ask, question, [[] for _ in range(streams)])
            milliseconds = (time.process_time() - begin) * 1e3

        await client.run(url, Question(1), _warm_up)
        await client.run(url, question, work)
        return milliseconds / streams / (question.events / 50)

    return measure


def _late(streams: int) -> Measure:
    async def measure(client: Client, url: str, scale: float) -> float:
        """From the moment at which a chunk of such streams is sent to the moment at which its text is
        there: of a hundred chunks, the time of the last but one."""
        question = _paced_question(scale)
        noted = [Noted() for _ in range(streams)]

        async def work(ask: Ask) -> None:
            await _ask_in_turn(ask, question, noted)

        await client.run(url, Question(1), _warm_up)
        await client.run(url, question, work)
        waits = sorted(
            moment - sent
            for texts in noted
            for text, moment in zip(texts, texts.moments, strict=True)
            # A client may join what came together.
            for sent in times_sent(text)
        )
        return waits[math.ceil(len(waits) * 0.99) - 1] / 1e6

    return measure


def _paced_question(scale: float) -> Question:
    return Question(max(round(50 * scale), 1), "paced")


async def _ask_in_turn(ask: Ask, question: Question, lists: Sequence[list[str]]) -> None:
    """Ask once for each list, the first of them at once and the last nearly a second later."""
    _allow_files(len(lists))
    replies: list[Reply] = []

    async def one(number: int) -> None:
        # Chunks of all streams at the same moment would be read together.
        await anyio.sleep(number / len(lists))
        replies.append(await ask(lists[number]))

    async with anyio.create_task_group() as group:
        for number in range(len(lists)):
            group.start_soon(one, number)
    _check(question, *replies)


def _allow_files(streams: int) -> None:
    limit = raise_file_limit()
    if limit is not None and limit < streams + 50:
        raise CannotMeasure(f"no more than {limit} files may be open")


async def _first_chunk(client: Client, url: str, scale: float) -> float:
    """From asking to the first piece of text, over a connection that is open: time, not CPU."""
    question = Question(1)
    milliseconds = 0.0

    async def work(ask: Ask) -> None:
        nonlocal milliseconds
        waits = [await _wait_for_text(ask, question) for _ in range(round(100 * scale) + 1)]
        milliseconds = statistics.median(waits[len(waits) // 10 :])

    await client.run(url, question, work)
    return milliseconds


async def _wait_for_text(ask: Ask, question: Question) -> float:
    """Ask, and tell how many milliseconds the first piece of text has taken."""
    texts = Noted()
    begin = time.perf_counter_ns()
    reply = await ask(texts)
    _check(question, reply)
    return (texts.moments[0] - begin) / 1e6


class _Left(Exception):
    """An answer was left in the middle."""


async def _after_break(client: Client, url: str, scale: float) -> float:
    """From asking to the first piece of text, when the answer before was left at its first one, so
    that its connection is gone: time, not CPU."""
    question = Question(3, "paced")
    milliseconds = 0.0

    def leave() -> None:
        raise _Left

    async def work(ask: Ask) -> None:
        nonlocal milliseconds
        waits: list[float] = []
        for _ in range(round(30 * scale) + 1):
            try:
                await ask(Noted(leave))
            except _Left:
                waits.append(await _wait_for_text(ask, question))
            else:
                raise WrongReply(f"{question!r}: the client gave no text while it was coming")
        milliseconds = statistics.median(waits)

    await client.run(url, question, _warm_up)
    await client.run(url, question, work)
    return milliseconds


def _conversation(items: int) -> Measure:
    async def measure(client: Client, url: str, scale: float) -> float:
        """CPU of a request with a conversation of that many messages, and a word as its answer."""
        question = Question(1, items=items)
        requests = max(round(6_000 / (items + 90) * scale), 1)
        milliseconds = 0.0

        async def work(ask: Ask) -> None:
            nonlocal milliseconds
            await ask([])
            milliseconds = await _cpu_of_requests(ask, question, requests)

        await client.run(url, question, work)
        return milliseconds

    return measure


async def _cpu_of_requests(ask: Ask, question: Question, requests: int) -> float:
    """Milliseconds of CPU for each of some requests, one after the other."""
    begin = time.process_time()
    replies = [await ask([]) for _ in range(requests)]
    milliseconds = (time.process_time() - begin) * 1e3
    _check(question, *replies)
    return milliseconds / requests


_IMPORT: Final = """
import time
begin = time.process_time()
import {names}
print((time.process_time() - begin) * 1e3)
from tests.benchmarks.limits import resident_bytes
print((resident_bytes() or 0) / 2**20)
"""


def _import(line: int) -> Measure:
    async def measure(client: Client, url: str, scale: float) -> float:
        """What it costs to import what a program needs, in a process of its own."""
        command = [sys.executable, "-c", _IMPORT.format(names=client.IMPORTS)]
        environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        }
        # A program is compiled once, which is not what is measured: the second time counts.
        for _ in range(2):
            done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
                env=environment,
            )
        value = float(done.stdout.split()[line])
        if not value:
            raise CannotMeasure("memory in use can only be read on Linux")
        return value

    return measure


async def _small_requests(client: Client, url: str, scale: float) -> float:
    """CPU of a request whose answer is a word, one after the other over one connection."""
    question = Question(1)
    milliseconds = 0.0

    async def work(ask: Ask) -> None:
        nonlocal milliseconds
        for _ in range(round(20 * scale)):
            await ask([])
        milliseconds = await _cpu_of_requests(ask, question, round(100 * scale))

    await client.run(url, question, work)
    return milliseconds


async def _open_streams(client: Client, url: str, scale: float) -> float:
    """Memory taken by streams that are all open at once, for each of them.

    Each has read its first piece of text and waits for the next. Measured before that: the client
    after one whole answer.
    """
    count = round(1_000 * scale)
    question = Question(20, "held")
    kilobytes = 0.0

    async def work(ask: Ask) -> None:
        nonlocal kilobytes
        _check(question, await ask(Noted(lambda: go_on(url))))
        before = _memory()
        async with _open(ask, question, count, url):
            kilobytes = (_memory() - before) / 1024

    await client.run(url, question, work)
    return kilobytes / count


@asynccontextmanager
async def _open(ask: Ask, question: Question, count: int, url: str) -> AsyncIterator[None]:
    """Streams that are open within the block. Each has read its first piece of text."""
    _allow_files(count)
    all_open = anyio.Event()
    replies: list[Reply] = []
    started = 0

    def note_start() -> None:
        nonlocal started
        started += 1
        if started == count:
            all_open.set()

    async def hold() -> None:
        replies.append(await ask(Noted(note_start)))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(hold)
        await all_open.wait()
        yield
        go_on(url)
    _check(question, *replies)


async def _beside_open_streams(client: Client, url: str, scale: float) -> float:
    """CPU of a request while many streams are open, in times of what it is while none is."""
    times = 0.0

    async def work(ask: Ask) -> None:
        nonlocal times
        requests = round(_BESIDE_REQUESTS * scale)
        with _passing(url):
            await _cpu_of_requests(ask, _BESIDE, max(requests // 10, 1))
            alone = await _cpu_of_requests(ask, _BESIDE, requests)
        async with _open(ask, _BESIDE, round(_BESIDE_STREAMS * scale), url):
            with _passing(url):
                times = await _cpu_of_requests(ask, _BESIDE, requests) / alone

    await client.run(url, _BESIDE, work)
    return times


async def _connections_beside_open_streams(client: Client, url: str, scale: float) -> float:
    """How many connections such requests open."""
    connections = 0

    async def work(ask: Ask) -> None:
        nonlocal connections
        with _passing(url):
            _check(_BESIDE, await ask([]))
        async with _open(ask, _BESIDE, round(_BESIDE_STREAMS * scale), url):
            with _passing(url):
                before = accepted(url)
                await _cpu_of_requests(ask, _BESIDE, round(_BESIDE_REQUESTS * scale))
                connections = accepted(url) - before

    await client.run(url, _BESIDE, work)
    return connections


_BESIDE: Final = Question(1, "held")
_BESIDE_STREAMS: Final = 2_000
_BESIDE_REQUESTS: Final = 200


@contextmanager
def _passing(url: str) -> Iterator[None]:
    """Questions within the block are answered at once; what is held stays so."""
    let_pass(url)
    try:
        yield
    finally:
        hold(url)


def _memory() -> int:
    gc.collect()
    size = resident_bytes()
    if size is None:
        raise CannotMeasure("memory in use can only be read on Linux")
    return size


_WATCHED: Final = frozenset({"lktrio_watched"})
_PREWARMING: Final = frozenset({"lktrio_prewarming"})

ROWS: Final = {
    "chunks": Row(
        "chunks back to back",
        "us of CPU per chunk",
        _chunks_back_to_back,
        least_rounds=31,
        variants=_WATCHED,
    ),
    "requests": Row(
        "small requests",
        "ms of CPU per request",
        _small_requests,
        least_rounds=31,
        variants=_WATCHED,
    ),
    # Memory hardly varies, and a second round would use again what the first has left behind.
    "memory": Row(
        "1000 open streams",
        "KB per open stream",
        _open_streams,
        enough_rounds=1,
        variants=_WATCHED,
    ),
    "calls": Row(
        "tool-call fragments",
        "us of CPU per fragment",
        _call_fragments,
        least_rounds=15,
        is_quick=False,
    ),
    "tls": Row(
        "chunks over TLS",
        "us of CPU per chunk",
        _chunks_over_tls,
        least_rounds=15,
        over="tls",
        is_quick=False,
    ),
    **{
        f"paced_{streams}": Row(
            f"{streams} at once, 50 chunks a second each",
            "ms of CPU per stream and second",
            _paced(streams),
            enough_rounds=enough,
            is_quick=False,
        )
        # The more streams, the longer it takes, and the less a moment of it matters.
        for streams, enough in ((1, 3), (100, 2), (500, 1), (1000, 1))
    },
    "late_500": Row(
        "500 at once, 50 chunks a second each: lateness of a chunk, 99th percentile",
        "ms",
        _late(500),
        least_rounds=3,
        enough_rounds=1,
        is_quick=False,
    ),
    "first": Row("time to the first chunk", "ms", _first_chunk, enough_rounds=3, is_quick=False),
    "after_break": Row(
        "request after a break, over TLS",
        "ms to the first chunk",
        _after_break,
        enough_rounds=3,
        over="tls",
        variants=_PREWARMING,
        is_quick=False,
    ),
    "after_break_anew": Row(
        "the same, where no TLS session can be resumed",
        "ms to the first chunk",
        _after_break,
        enough_rounds=3,
        over="tls_without_tickets",
        variants=_PREWARMING,
        is_quick=False,
    ),
    "beside": Row(
        "request beside 2000 open streams",
        "times the CPU of one beside none",
        _beside_open_streams,
        enough_rounds=1,
        is_quick=False,
    ),
    "beside_connections": Row(
        "200 requests beside 2000 open streams",
        "connections made",
        _connections_beside_open_streams,
        enough_rounds=1,
        is_quick=False,
    ),
    **{
        f"items_{items}": Row(
            f"request with {items} messages",
            "ms of CPU per request",
            _conversation(items),
            enough_rounds=3,
            least_rounds=15,
            is_quick=False,
        )
        for items in (10, 100, 1000)
    },
    "import": Row("import", "ms of CPU", _import(0), enough_rounds=3, is_quick=False),
    "import_memory": Row("memory after import", "MB", _import(1), enough_rounds=1, is_quick=False),
}
"""The rows by name, in the order of the table."""
