"""A miniature of the soak in virtual time, and that the soak would find what it looks for."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lktrio import LLM, APIConnectionError, Attempt, CollectedResponse
from tests.benchmarks.limits import ROOT
from tests.soak.answers import FAULTS, Answer, Misbehaviour, answer, question
from tests.soak.leftovers import Holdings, Ledger
from tests.soak.program import (
    Reading,
    Soak,
    SoakError,
    check,
    check_error,
    open_models,
    run_all,
    seconds_for_calm_streams,
)
from tests.soak.report import MOST_GROWTH, Row, counts, table, verdict
from tests.support.engine import BASE_URL, ask, open_llm
from tests.support.leaks import no_leaks
from tests.support.matrix import same_order_of_tasks
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Exchange, Hold, Request, sse, text_chunk

STREAMS = 400


def maker(network: MemoryNetwork) -> Callable[..., LLM]:
    def make(name: str, **options: Any) -> LLM:
        client = network.transport()
        return LLM(name, base_url=BASE_URL, auth=None, http_client=client, **options)

    return make


async def run_miniature(seed: int) -> tuple[Soak, Misbehaviour, Holdings]:
    script = Misbehaviour(seed)
    async with MemoryNetwork(script) as network, open_models(maker(network)) as models:
        ledger = Ledger()
        soak = Soak(seed, models)
        await run_all(soak, iter(range(STREAMS)), at_once=100)
        network.assert_quiet()
        return soak, script, ledger.look(models.llms, on_sockets=False)


def test_hundreds_of_streams_over_a_misbehaving_server_end_as_they_must() -> None:
    with no_leaks(), same_order_of_tasks():
        clock = MockClock(autojump_threshold=0)
        soak, script, held = trio.run(run_miniature, 1, clock=clock)

    assert sum(soak.outcomes.values()) == STREAMS
    assert set(soak.outcomes) >= {
        "whole",
        "cancelled by the program",
        "left by the program",
        "error: status",
        "error: connection",
        "error: clock total",
    }
    assert set(soak.asked) == set(soak.models.by_name)
    assert set(script.counts) == set(FAULTS)
    assert soak.facts["requests"] > STREAMS
    assert soak.facts["answers begun anew"] > 0
    assert (held.tasks, held.problems) == (0, ())


async def test_the_calm_model_is_the_measure_of_patience(autojump_clock: MockClock) -> None:
    script = Misbehaviour(1)
    async with MemoryNetwork(script, connect_delay=0.5) as network:
        assert await seconds_for_calm_streams(maker(network), 30) == 0.5
    assert script.counts == {"whole": 30}


# --- It finds what it looks for -------------------------------------------------------------------


def other_call(said: Answer) -> Answer:
    return attrs.evolve(said, call=json.dumps({"stream": said.stream, "model": "none"}))


def pieces(change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Callable[[Answer], Answer]:
    return lambda said: attrs.evolve(said, pieces=change(said.pieces))


MISTAKES: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "a lost piece": (pieces(lambda each: each[:1] + each[2:]), "got '<"),
    "a doubled piece": (pieces(lambda each: each[:1] + each), "got '<"),
    "a lost end": (pieces(lambda each: each[:-1] or each[:1] * 2), "the whole answer is|got '<"),
    "a lost beginning": (pieces(lambda each: each[1:] or ("x",)), "this is no answer to it"),
    "another's": (lambda said: answer(1, said.stream + 1, said.model, 1), "this is no answer"),
    "a call too many": (other_call, "got the calls"),
    "another's usage": (lambda said: attrs.evolve(said, attempt=said.attempt + 1), "it used"),
}


class Mistaken(Misbehaviour):
    """A server that never fails, and says something else than it should."""

    def __init__(self, mistake: Callable[[Answer], Answer]) -> None:
        super().__init__(1)
        self._mistake = mistake

    def __call__(self, request: Request) -> Exchange:
        return sse(*self._mistake(self.said(request)).events())


@pytest.mark.parametrize("name", MISTAKES)
async def test_an_answer_that_is_not_what_the_server_should_say_is_found(
    name: str, autojump_clock: MockClock
) -> None:
    mistake, words = MISTAKES[name]
    async with MemoryNetwork(Mistaken(mistake)) as network:
        async with open_models(maker(network)) as models:
            soak = Soak(1, models)
            with pytest.raises(SoakError, match=words) as caught:
                for number in range(100):
                    await soak.run(number)
    assert "seed 1" in caught.value.__notes__[0]


async def test_an_error_that_does_not_carry_what_was_delivered_is_found() -> None:
    said = answer(1, 3, "one", 1)
    stream = LLM("m", base_url=BASE_URL, auth=None).chat(chat_ctx=question(3))
    error = APIConnectionError("lost")
    error.attempts = (Attempt(number=1, started=0.0),)

    def judge(delivered: str, partial: str) -> None:
        error.partial = CollectedResponse(text=partial)
        reading = Reading(stream, random.Random(1), text=delivered)
        check(1, 3, reading, error)

    judge(said.text[:20], said.text[:20])
    with pytest.raises(SoakError, match="was delivered"):
        judge(said.text[:20], said.text[:10])
    with pytest.raises(SoakError, match="is in the error"):
        check_error(1, 4, error, None)
    error.attempts = ()
    with pytest.raises(SoakError, match="no attempt"):
        judge(said.text[:20], said.text[:20])


async def test_what_is_under_way_or_lost_is_a_leftover(autojump_clock: MockClock) -> None:
    held = sse(text_chunk("Hi"), end=False).then(Hold())
    async with MemoryNetwork(held) as network, open_llm(network, max_streams=1) as llm:
        ledger = Ledger()
        assert ledger.look([llm], on_sockets=False).problems == ()
        async with ask(llm) as stream, trio.open_nursery() as nursery:
            await anext(stream)
            nursery.start_soon(ask(llm).collect)
            await trio.testing.wait_all_tasks_blocked()
            found = "\n".join(ledger.look([llm]).problems)
            nursery.cancel_scope.cancel()
        assert ledger.look([llm], on_sockets=False).problems == ()
    for words in ("task ", "0 sockets are open, and 1", "in use", "streams_waiting=1", "1 places"):
        assert words in found


def row(streams: int, *, served: int = 3, problems: tuple[str, ...] = (), **held: int) -> Row:
    numbers = {"resident": 0, "blocks": 0, "sockets": 3, "pooled": 3, "tasks": 0, **held}
    return Row(streams, 2.0, Holdings(**numbers, problems=problems), served, {"whole": streams})


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (row(20_000), None),
        (row(20_000, resident=MOST_GROWTH, blocks=3500), None),
        (row(20_000, problems=("task x",)), "after 20000 streams: task x"),
        (row(20_000, served=4), "the server has 4 connections open, and the program 3"),
        (row(20_000, blocks=10_000), "10000 streams have left 10000 blocks"),
        (row(20_000, resident=MOST_GROWTH + 1), "have left 4.0 MiB"),
    ],
)
def test_the_verdict_names_what_is_not_clean(last: Row, words: str | None) -> None:
    found = verdict([row(5000, blocks=9**9), row(10_000), last], 2, ["whole"])
    assert [words in each for each in found] == ([True] if words else [])


def test_a_soak_in_which_too_little_happened_is_not_clean() -> None:
    rows = [row(5000), row(10_000)]
    assert verdict(rows, 1, ["whole", "cancelled"]) == ["no stream ended so: cancelled"]


def test_the_table_has_a_line_for_each_round() -> None:
    lines = table([row(1000, resident=2**20), row(3000)]).splitlines()
    assert lines[2:] == [
        "| 1000 | 500 | 1.0 | 0 | 3 | 3 | 3 | 0 |",
        "| 3000 | 1000 | 0.0 | 0 | 3 | 3 | 3 | 0 |",
    ]
    assert counts("asked", {"one": 1, "two": 2}) == "asked: two 2, one 1"


async def test_it_runs_as_a_program_over_real_sockets() -> None:
    options = {"--streams": 60, "--at-once": 60, "--rounds": 2, "--warm-up": 1, "--patience": 0.3}
    arguments = [str(each) for option in options.items() for each in option]
    done = await trio.run_process(
        [sys.executable, "-W", "error", "-m", "tests.soak", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout.decode().endswith("clean\n"), done.stderr.decode()
    assert done.returncode == 0
    assert "| 60 |" in done.stdout.decode()
