"""A thousand streams open at once in one process, over real sockets; the server is in another."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio

from lktrio import LLM, APIConnectOptions, CollectedResponse
from tests.benchmarks.exchange import Question
from tests.benchmarks.limits import raise_file_limit, resident_bytes
from tests.benchmarks.load_server import LoadServer, go_on
from tests.support.engine import conversation
from tests.support.leaks import no_leaks

STREAMS = 1000
# On a machine that is busy with something else, a thousand connections at once take their time.
PATIENT = APIConnectOptions(max_retry=0, timeout=600)

# httpx goes through all connections of a pool whenever one is opened or closed: four pools take a
# quarter of the time of one.
LLMS = 4

# `nox -s bench` measures a quarter of this. More means that every stream holds something large.
MOST_BYTES_PER_STREAM = 200 * 1024


@pytest.fixture
def server() -> Iterator[LoadServer]:
    limit = raise_file_limit()
    if limit is not None and limit < STREAMS + 100:
        pytest.skip(f"only {limit} files may be open, and every stream is one")
    with LoadServer() as server:
        yield server


@pytest.mark.slow
async def test_a_thousand_streams_open_at_once_are_all_answered_right(server: LoadServer) -> None:
    question = Question(20, "held")
    answers: list[CollectedResponse[None]] = []
    opened = 0
    all_open = trio.Event()

    async def ask(llm: LLM) -> None:
        nonlocal opened
        async with llm.chat(chat_ctx=conversation(), conn_options=PATIENT) as stream:
            await anext(stream)
            opened += 1
            if opened == STREAMS:
                all_open.set()
            answers.append(await stream.collect())

    with no_leaks():
        async with AsyncExitStack() as stack:
            llms = [
                await stack.enter_async_context(
                    LLM(question.model, base_url=f"{server.url}/v1", auth=None)
                )
                for _ in range(LLMS)
            ]
            gc.collect()
            before = resident_bytes()
            async with trio.open_nursery() as nursery:
                for number in range(STREAMS):
                    nursery.start_soon(ask, llms[number % LLMS])
                await all_open.wait()
                # The server holds every answer after its first piece.
                assert answers == []
                assert sum(llm.statistics().streams_open for llm in llms) == STREAMS
                gc.collect()
                after = resident_bytes()
                go_on(server.url)
            assert sum(llm.statistics().streams_open for llm in llms) == 0

    assert len(answers) == STREAMS
    expected = question.reply
    for answer in answers:
        assert answer.text == expected.text
        assert answer.finish_reason == expected.finish_reason
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == expected.prompt_tokens
        assert answer.usage.completion_tokens == expected.completion_tokens
    if before is not None and after is not None:
        assert after - before < STREAMS * MOST_BYTES_PER_STREAM
