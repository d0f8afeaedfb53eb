"""What hedging does to the slowest answers: a simulation in virtual time.

A thousand requests reach a server whose time to the first output has a heavy tail, first as they
are, then through a `HedgeAdapter` that asks again after the 95th percentile of the first run. All
of lktrio, httpx and HTTP/1.1 is the real thing; only the network and the clock are not.
``python -m tests.support.tail_latency`` prints the table that docs/performance.md shows.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter
from typing import Final

import attrs
import trio
from trio.testing import MockClock

from lktrio import APIConnectOptions, ChatContext, ChatModel, HedgeAdapter
from tests.support.engine import open_llm
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Exchange, Request, text

REQUESTS: Final = 1000
PER_SECOND: Final = 10.0
BUDGET: Final = 0.06

TAIL_SHARE: Final = 0.04
BODY_MEDIAN: Final = 0.4
BODY_SIGMA: Final = 0.3
TAIL_MINIMUM: Final = 2.0
TAIL_SHAPE: Final = 1.5
SERVER: Final = (
    f"{1 - TAIL_SHARE:.0%} lognormal (median {BODY_MEDIAN} s, sigma {BODY_SIGMA}), "
    f"{TAIL_SHARE:.0%} Pareto (from {TAIL_MINIMUM:g} s, shape {TAIL_SHAPE})"
)
"""The distribution of the time to the first output."""

# No request is cut, however long it takes, and none is made again.
PATIENT: Final = APIConnectOptions(timeout=math.inf, max_retry=0)


def time_to_first_output(seed: int, question: str, copy: int) -> float:
    """How long the server thinks, in seconds.

    It is drawn anew for every copy of a question. The first copy of each takes as long in both
    runs, so what differs between them is due to the hedging alone.
    """
    chance = random.Random(f"{seed}/{question}/{copy}")
    if chance.random() < TAIL_SHARE:
        return TAIL_MINIMUM * chance.paretovariate(TAIL_SHAPE)
    return chance.lognormvariate(math.log(BODY_MEDIAN), BODY_SIGMA)


class HeavyTailed:
    """The server: a script."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._copies = Counter[str]()

    def __call__(self, request: Request) -> Exchange:
        question = request.json()["messages"][0]["content"]
        self._copies[question] += 1
        seconds = time_to_first_output(self._seed, question, self._copies[question])
        return text("To be heard.", tokens=None).after(seconds)


@attrs.frozen
class Run:
    """What a thousand requests of the program came to."""

    name: str
    times: tuple[float, ...]
    """Seconds to the first output, ascending."""
    requests: int
    """Requests that the server has seen."""

    def percentile(self, percent: float) -> float:
        """The time within which this share of the answers had begun (nearest rank)."""
        return self.times[math.ceil(percent / 100 * len(self.times)) - 1]


async def simulate(seed: int, *, after: float | None = None) -> Run:
    """Make the requests, ten in a second, whether earlier ones were answered or not.

    Args:
        seed: Of the server's times.
        after: Of the `HedgeAdapter`, in seconds; None for the plain `LLM`.
    """
    times: list[float] = []

    async def ask(model: ChatModel, question: str) -> None:
        chat_ctx = ChatContext()
        chat_ctx.add_message(role="user", content=question)
        start = trio.current_time()
        async with model.chat(chat_ctx=chat_ctx, conn_options=PATIENT) as stream:
            await anext(stream.text)
            times.append(trio.current_time() - start)
            answer = await stream.collect()
        assert answer.text == "To be heard."

    async with MemoryNetwork(HeavyTailed(seed)) as network, open_llm(network) as llm:
        model = llm if after is None else HedgeAdapter(llm, after=after, budget=BUDGET)
        async with trio.open_nursery() as nursery:
            for number in range(REQUESTS):
                nursery.start_soon(ask, model, f"question {number}")
                await trio.sleep(1 / PER_SECOND)
        network.assert_quiet()
        name = "plain" if after is None else "hedged"
        return Run(name, tuple(sorted(times)), len(network.requests))


async def compare(seed: int) -> tuple[Run, Run]:
    """Run it plain, then hedged after the 95th percentile of that, up to the next millisecond.

    The percentile itself is the time of one of the requests: whether that answer or the hedge
    came first would be up to Trio.
    """
    plain = await simulate(seed)
    return plain, await simulate(seed, after=math.ceil(1000 * plain.percentile(95)) / 1000)


def table(*runs: Run) -> str:
    """The runs as a table in Markdown."""
    head = ("", "requests", "median", "p95", "p99", "slowest")
    rows = [
        (
            run.name,
            f"{run.requests}",
            *(f"{run.percentile(percent):.2f} s" for percent in (50, 95, 99, 100)),
        )
        for run in runs
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def report(seed: int, plain: Run, hedged: Run) -> str:
    """What was simulated, and what came of it."""
    return (
        f"{REQUESTS} streams; time to the first output: {SERVER}; seed {seed}\n\n"
        f"{table(plain, hedged)}\n\n"
        f"p99 falls by a factor of {plain.percentile(99) / hedged.percentile(99):.1f} "
        f"for {hedged.requests / plain.requests - 1:.1%} more requests\n"
    )


def main() -> None:
    """Read the command line, print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.tail_latency",
        description="Show what hedging does to the slowest answers of a heavy-tailed server.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of the server's times")
    seed = parser.parse_args().seed
    runs = trio.run(compare, seed, clock=MockClock(autojump_threshold=0))
    sys.stdout.write(report(seed, *runs))


if __name__ == "__main__":
    main()
