"""What is measured: the rows of the table.

This module alone knows how much of which work makes a measurement and what is counted. A row runs
in the client's process and never looks at the client.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio
import attrs

from .clients import Ask, Client
from .exchange import Question, Reply
from .limits import raise_file_limit, resident_bytes
from .load_server import go_on

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


def _check(question: Question, *replies: Reply) -> None:
    expected = question.reply
    for reply in replies:
        if reply != expected:
            raise WrongReply(
                f"{question!r}: got {len(reply.text)} characters of text, {reply.finish_reason=}, "
                f"{reply.prompt_tokens=}, {reply.completion_tokens=}; expected "
                f"{len(expected.text)}, {expected.finish_reason!r}, {expected.prompt_tokens}, "
                f"{expected.completion_tokens}"
            )


def _ignore() -> None:
    pass


async def _chunks_back_to_back(client: Client, url: str, scale: float) -> float:
    """CPU of a long answer that arrives as fast as it is read, for each of its chunks."""
    question = Question(round(20_000 * scale))
    microseconds = 0.0

    async def work(ask: Ask) -> None:
        nonlocal microseconds
        begin = time.process_time()
        reply = await ask(_ignore)
        microseconds = (time.process_time() - begin) * 1e6
        _check(question, reply)

    async def warm_up(ask: Ask) -> None:
        await ask(_ignore)

    await client.run(url, Question(round(2_000 * scale)), warm_up)
    await client.run(url, question, work)
    return microseconds / question.chunks


async def _small_requests(client: Client, url: str, scale: float) -> float:
    """CPU of a request whose answer is a word, one after the other over one connection."""
    question = Question(1)
    requests = round(500 * scale)
    milliseconds = 0.0

    async def work(ask: Ask) -> None:
        nonlocal milliseconds
        for _ in range(round(50 * scale)):
            await ask(_ignore)
        begin = time.process_time()
        replies = [await ask(_ignore) for _ in range(requests)]
        milliseconds = (time.process_time() - begin) * 1e3
        _check(question, *replies)

    await client.run(url, question, work)
    return milliseconds / requests


async def _open_streams(client: Client, url: str, scale: float) -> float:
    """Memory taken by streams that are all open at once, for each of them.

    Each has read its first piece of text and waits for the next. Measured before that: the client
    after one whole answer.
    """
    count = round(1_000 * scale)
    question = Question(20, is_held=True)
    limit = raise_file_limit()
    if limit is not None and limit < count + 50:
        raise CannotMeasure(f"no more than {limit} files may be open")
    kilobytes = 0.0

    async def work(ask: Ask) -> None:
        nonlocal kilobytes
        _check(question, await ask(lambda: go_on(url)))
        before = _memory()
        all_open = anyio.Event()
        replies: list[Reply] = []
        started = 0

        def note_start() -> None:
            nonlocal started
            started += 1
            if started == count:
                all_open.set()

        async def hold() -> None:
            replies.append(await ask(note_start))

        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(hold)
            await all_open.wait()
            kilobytes = (_memory() - before) / 1024
            go_on(url)
        _check(question, *replies)

    await client.run(url, question, work)
    return kilobytes / count


def _memory() -> int:
    gc.collect()
    size = resident_bytes()
    if size is None:
        raise CannotMeasure("memory in use can only be read on Linux")
    return size


ROWS: Final = {
    "chunks": Row("chunks back to back", "us of CPU per chunk", _chunks_back_to_back),
    "requests": Row("small requests", "ms of CPU per request", _small_requests),
    # Memory hardly varies, and httpx takes long to open and close so many connections.
    "memory": Row("1000 open streams", "KB per open stream", _open_streams, enough_rounds=3),
}
"""The rows by name, in the order of the table."""
