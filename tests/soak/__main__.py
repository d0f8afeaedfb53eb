"""``python -m tests.soak``: run the streams, print the table, exit with 1 unless it is clean."""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
import tracemalloc

import trio

from lktrio import LLM
from tests.benchmarks.limits import raise_file_limit
from tests.support.leaks import no_leaks

from .leftovers import Ledger
from .program import EXPECTED, Soak, open_models, run_all, seconds_for_calm_streams
from .report import Row, counts, table, verdict
from .server import Seen, SoakServer

# A moment, in which the server sees what the client has closed.
_SETTLING_SECONDS = 10.0

# So many streams meet everything that can happen.
_MANY = 5000


async def _settled(server: SoakServer, most_open: int) -> Seen:
    """What the server has seen, once it has no more connections open than that, or after a while."""
    with trio.move_on_after(_SETTLING_SECONDS):
        while server.look().open > most_open:  # noqa: ASYNC110 - it is in another process
            await trio.sleep(0.05)
    return server.look()


async def _main(arguments: argparse.Namespace, server: SoakServer) -> list[str]:
    def make(name: str, *, max_streams: int | None) -> LLM:
        return LLM(name, base_url=f"{server.url}/v1", auth=None, max_streams=max_streams)

    rows: list[Row] = []
    patience = arguments.patience
    if patience is None:
        # Twice what a stream takes among so many that are healthy: on a machine that is busy with
        # hundreds of streams, or with something else, nearly all would run into a clock.
        patience = max(1.0, 2 * await seconds_for_calm_streams(make, arguments.at_once))
    ledger = Ledger()
    before = None
    async with open_models(make) as models:
        soak = Soak(arguments.seed, models, patience=patience)
        numbers = iter(range(arguments.streams))
        size = arguments.streams // arguments.rounds
        for index in range(arguments.rounds):
            started = time.monotonic()
            await run_all(soak, itertools.islice(numbers, size), arguments.at_once)
            seconds = time.monotonic() - started
            held = ledger.look(models.llms)
            seen = await _settled(server, held.pooled)
            rows.append(Row((index + 1) * size, seconds, held, seen.open, dict(soak.outcomes)))
            print(table(rows).splitlines()[-1], file=sys.stderr, flush=True)
            if arguments.trace and index + 1 == arguments.warm_up:
                before = tracemalloc.take_snapshot()
        if before is not None:
            for line in tracemalloc.take_snapshot().compare_to(before, "traceback")[:10]:
                print(line, *line.traceback.format(), sep="\n", file=sys.stderr)
    expected = EXPECTED if arguments.streams >= _MANY else ()
    problems = verdict(rows, arguments.warm_up, expected)
    seen = await _settled(server, 0)
    if seen.open:
        problems.append(f"the server has {seen.open} connections open that the program has closed")
    print(table(rows))
    print()
    print(f"at once: {arguments.at_once}, patience: {patience:.1f}, seed: {arguments.seed}")
    print(counts("outcomes", soak.outcomes))
    print(counts("asked", soak.asked))
    print(counts("facts", soak.facts))
    print(counts("answers", seen.faults))
    print(f"server: {seen.requests} requests on {seen.connections} connections")
    return problems


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Run very many streams over a misbehaving server, and look for what is left.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--streams", type=int, default=24_000, help="how many in all")
    parser.add_argument("--at-once", type=int, default=300, help="how many at once")
    parser.add_argument("--rounds", type=int, default=12, help="lines of the table")
    parser.add_argument("--warm-up", type=int, default=3, help="rounds that may still grow")
    parser.add_argument("--seed", type=int, default=1, help="what all is drawn from")
    parser.add_argument(
        "--patience", type=float, help="a factor on all the program's clocks (default: measured)"
    )
    parser.add_argument(
        "--trace", action="store_true", help="tell where memory comes from (slow, and not flat)"
    )
    arguments = parser.parse_args()
    raise_file_limit()
    # Streams that are left without looking at their failure are part of it.
    logging.getLogger("lktrio").setLevel(logging.ERROR)
    if arguments.trace:
        tracemalloc.start(8)
    with SoakServer(arguments.seed) as server:

        async def run() -> list[str]:
            with no_leaks():
                return await _main(arguments, server)

        problems = trio.run(run)
    print("clean" if not problems else "\n".join(["NOT CLEAN", *problems]))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
