"""The benchmarks measure what they say: every client reads all of it, and a short cut is seen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Literal, Self
from xml.etree import ElementTree

import attrs
import pytest

from tests.benchmarks import comparison, scaling
from tests.benchmarks.child import Child
from tests.benchmarks.clients import CLIENTS, PEERS, REFERENCE, VARIANTS, Ask, Work, load
from tests.benchmarks.comparison import Result, compare
from tests.benchmarks.document import first_of, picture, table, without_variants
from tests.benchmarks.exchange import EVENT_BYTES, Question, Reply
from tests.benchmarks.load_server import LoadServer, go_on
from tests.benchmarks.rows import ROWS, Noted, WrongReply


class _Cheat:
    """A client that says what every answer begins with and reads none."""

    BACKEND: Literal["trio", "asyncio"] = "trio"
    DISTRIBUTIONS: tuple[str, ...] = ()
    IMPORTS = "json"

    async def run(self, url: str, question: Question, work: Work) -> None:
        async def ask(texts: list[str]) -> Reply:
            texts.append("")
            return Reply("", "stop", 0, 0)

        await work(ask)


@pytest.fixture
def server() -> Iterator[LoadServer]:
    with LoadServer() as server:
        yield server


def test_every_piece_of_text_is_an_event_of_the_same_length() -> None:
    *pieces, _finish, _usage, _done = Question(1200).encode()
    assert {len(piece) for piece in pieces} == {EVENT_BYTES}


@pytest.mark.parametrize("question", [Question(3), Question(7, "held")])
def test_the_name_of_the_model_tells_the_question(question: Question) -> None:
    assert Question.of_model(question.model) == question


# The others are not installed where the tests run.
OWN = [name for name in CLIENTS if name not in PEERS]


@pytest.mark.parametrize("name", OWN)
async def test_a_client_reads_the_whole_answer_and_says_when_it_begins(
    name: str, server: LoadServer
) -> None:
    client = load(name)
    question = Question(500, "held")
    replies: list[Reply] = []

    async def work(ask: Ask) -> None:
        # The rest of the answer comes only because the client has seen its beginning.
        replies.extend([await ask(Noted(lambda: go_on(server.url))) for _ in range(2)])

    await client.run(server.url, question, work)
    assert replies == [question.reply] * 2


@pytest.mark.parametrize("name", OWN)
async def test_a_client_reads_the_whole_of_a_tool_call(name: str, server: LoadServer) -> None:
    question = Question(300, "calling")
    replies: list[Reply] = []

    async def work(ask: Ask) -> None:
        replies.append(await ask([]))

    await load(name).run(server.url, question, work)
    assert replies == [question.reply]
    assert json.loads(question.reply.arguments)["text"]


class _Late(_Cheat):
    """A client that gives each piece of text a second after it was sent."""

    async def run(self, url: str, question: Question, work: Work) -> None:
        reply = question.reply

        async def ask(texts: list[str]) -> Reply:
            sent = time.perf_counter_ns() - 1_000_000_000
            # The pieces are a word with a number each.
            for word in reply.text.split():
                texts.append(f" {word}@{sent:020}")  # noqa: PERF401 - each has its time
            return attrs.evolve(reply, text="".join(texts))

        await work(ask)


async def test_lateness_is_what_has_passed_since_a_chunk_was_sent(server: LoadServer) -> None:
    assert await ROWS["late_500"].measure(_Late(), server.url, 0.04) > 1000


# Whoever leaves httpx's `aiter_raw` half-way, as programs do, leaves a generator behind.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", OWN)
async def test_an_answer_can_be_left_in_the_middle(
    name: str, server: LoadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", server.authority)
    row = ROWS["after_break"]
    assert await row.measure(load(name), server.urls[row.over], 0.02) > 0


async def test_a_client_that_does_not_leave_an_answer_is_found_out(server: LoadServer) -> None:
    class Deaf(_Cheat):
        async def run(self, url: str, question: Question, work: Work) -> None:
            async def ask(texts: list[str]) -> Reply:
                return question.reply

            await work(ask)

    with pytest.raises(WrongReply, match="gave no text while it was coming"):
        await ROWS["after_break"].measure(Deaf(), server.url, 0.02)


@pytest.mark.parametrize(
    ("name", "connections"),
    [("raw_trio", 1), ("httpx_over_lktrio", 1), ("lktrio_chat", 1), (REFERENCE, 4)],
)
async def test_connections_are_counted_by_the_server(
    name: str, connections: int, server: LoadServer
) -> None:
    # Four requests beside forty streams: httpx keeps twenty connections, those in use included.
    row = ROWS["beside_connections"]
    assert await row.measure(load(name), server.url, 0.02) == connections


def test_every_variant_is_measured_in_some_row() -> None:
    assert frozenset().union(*(row.variants for row in ROWS.values())) == VARIANTS
    assert CLIENTS.keys() > VARIANTS


# What costs to import is not asked of a server.
ASKING = [row for row in ROWS if not row.startswith("import")]


@pytest.mark.parametrize("row", ASKING)
async def test_a_client_that_reads_less_is_found_out(row: str, server: LoadServer) -> None:
    with pytest.raises(WrongReply, match="got 0 characters of text"):
        await ROWS[row].measure(_Cheat(), server.url, 0.02)


def test_the_ratio_is_the_median_of_those_within_the_rounds() -> None:
    # The third round was slow for everybody.
    result = Result(values=(2.0, 3.0, 30.0), ratios=(2.0, 1.5, 1.6))
    assert result.median == 3.0
    assert result.ratio == 1.6


def test_what_took_nothing_is_no_measure_of_others() -> None:
    rounds = [{REFERENCE: 0.0, "lktrio_chat": 31.4}, {REFERENCE: 20.0, "lktrio_chat": 30.0}]

    result = comparison._result("lktrio_chat", rounds)

    assert result.values == (31.4, 30.0)
    assert result.ratios == (1.5,)


QUICK = [name for name, row in ROWS.items() if row.is_quick]


@pytest.mark.slow
def test_a_comparison_puts_the_clients_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_FAR", 0.0)  # the rounds that are asked for, and no more
    lines: list[str] = []
    clients = ["lktrio_chat", REFERENCE]
    compared = compare(QUICK, clients, rounds=1, scale=0.02, report=lines.append)
    assert lines[0] == f"chunks back to back: round 1 of {ROWS['chunks'].least_rounds}"
    for row in QUICK:
        for name in clients:
            result = compared.results[row][name]
            takes_none = row == "memory" and result.median == 0
            assert result.reason is not None or result.median > 0 or takes_none
    assert compared.results["chunks"][REFERENCE].ratio == 1.0
    assert "lktrio" in compared.table()
    assert '"ratios"' in compared.json()


def test_a_client_far_from_the_reference_leaves_further_rounds_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = {REFERENCE: 0.125, "lktrio_chat": 0.25, "lktrio_watched": 0.25, "httpx_json": 3.5}

    class FakeChild:
        def __init__(self, row: str, client: str, server: LoadServer, scale: float) -> None:
            self._needs = needs[client]

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exc_info: object) -> None:
            pass

        def wait_until_ready(self) -> None:
            pass

        def measure(self) -> float:
            return self._needs

    monkeypatch.setattr(comparison, "Child", FakeChild)

    compared = compare(
        ["chunks", "first", "memory"], list(needs), rounds=3, scale=1, report=lambda _line: None
    )

    runs = {
        row: {name: len(result.values) for name, result in results.items()}
        for row, results in compared.results.items()
    }
    near = [name for name in needs if name != "httpx_json"]
    assert runs == {
        "chunks": {**dict.fromkeys(near, ROWS["chunks"].least_rounds), "httpx_json": 3},
        "first": {REFERENCE: 3, "lktrio_chat": 3, "httpx_json": 3},
        "memory": dict.fromkeys(needs, 1),
    }
    assert compared.results["chunks"]["httpx_json"].ratio == 28.0


def test_a_client_that_is_not_installed_is_skipped_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in PEERS:
        monkeypatch.delitem(sys.modules, f"tests.benchmarks.clients.{name}", raising=False)
    for name in ("openai", "livekit"):
        monkeypatch.setitem(sys.modules, name, None)

    compared = compare([], list(CLIENTS), rounds=1, scale=1, report=lambda _line: None)

    assert compared.skipped.keys() == PEERS
    for name in PEERS:
        assert f"skipped: {CLIENTS[name]} (" in compared.table()


def test_a_client_that_fails_ends_the_comparison(server: LoadServer) -> None:
    with (
        pytest.raises(subprocess.CalledProcessError),
        Child("chunks", "unheard_of", server, 1.0) as child,
    ):
        child.wait_until_ready()


def test_the_readme_shows_the_clients_that_all_rows_have() -> None:
    row = {"title": "chunks", "clients": {"lktrio_chat": {}, "lktrio_watched": {}}}

    shown = without_variants({"about": {}, "rows": {"memory": row, "chunks": row}})

    assert list(shown["rows"]) == ["memory", "chunks"]
    assert shown["rows"]["chunks"] == {"title": "chunks", "clients": {"lktrio_chat": {}}}


def test_the_numbers_of_a_row_can_be_compared() -> None:
    """Not all take part in all rounds, and the machine is slower in some."""
    row = {
        "title": "chunks",
        "unit": "us",
        "clients": {
            REFERENCE: {
                "title": "httpx",
                "median": 10.0,
                "ratio": 1.0,
                "values": [8.0, 10.0, 12.0],
            },
            "openai_trio": {"title": "openai", "median": 88.0, "ratio": 11.0, "values": [88.0]},
        },
    }
    about = {"reference": "httpx", "versions": {}, "machine": "", "date": "2026-11-23"}

    shown = table({"about": about, "rows": {"chunks": row}})

    assert "| chunks: us | 10 (1.00) | 110 (11) |" in shown
    assert "the median of 1 to 3 rounds;" in shown


def test_the_picture_shows_some_rows() -> None:
    run = {"about": {}, "rows": {"memory": {}, "requests": {}, "chunks": {}}}

    assert first_of(run) == {"about": {}, "rows": {"chunks": {}, "requests": {}}}


def test_the_pictures_show_every_number(server: LoadServer) -> None:
    numbers = scaling.measure(server.url, largest=10)
    assert numbers["tools of a request"].keys() == {1, 10}
    curves = "".join(ElementTree.fromstring(scaling.picture(numbers)).itertext())
    assert f"1: {numbers['streams at once'][1]:.3g} ms" in curves

    row = {
        "title": "chunks & more",
        "unit": "us",
        "clients": {
            "httpx_json": {"title": "httpx", "median": 2.0, "ratio": 1.0},
            "lktrio_chat": {"title": "lktrio", "median": 1.25, "ratio": 0.6},
            "raw_trio": {"reason": "not installed"},
        },
    }
    bars = "".join(ElementTree.fromstring(picture({"rows": {"chunks": row}})).itertext())
    assert "chunks & more (us)" in bars
    assert "1.25" in bars
