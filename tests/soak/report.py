"""The table, and the verdict: clean, or what is not.

This module alone knows what counts as flat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from .leftovers import Holdings

# One object that every stream left behind would be a block for each stream. What is kept for a while
# (idle connections, free lists) is a thousand or two, more or less, from round to round.
MOST_BLOCKS_PER_STREAM: Final = 0.05
MOST_BLOCKS: Final = 3000
# What the allocator keeps goes up and down by about a megabyte between two rounds.
MOST_GROWTH: Final = 4 * 1024 * 1024


@attrs.frozen
class Row:
    """One round."""

    streams: int
    """Streams so far, of all rounds."""

    seconds: float
    """How long the round took."""

    holdings: Holdings
    """What the program holds after it."""

    served: int
    """Connections that the server has open then."""

    outcomes: Mapping[str, int]
    """How the streams have ended so far."""


def verdict(rows: Sequence[Row], warm_up: int, expected: Sequence[str]) -> list[str]:
    """What is not clean; empty if all is.

    Args:
        rows: All rounds.
        warm_up: How many of them are not compared with the last one.
        expected: Outcomes without which the soak would prove little.
    """
    problems = [
        f"after {row.streams} streams: {problem}"
        for row in rows
        for problem in row.holdings.problems
    ]
    problems += [
        f"after {row.streams} streams: the server has {row.served} connections open, "
        f"and the program {row.holdings.pooled}"
        for row in rows
        if row.served > row.holdings.pooled
    ]
    first, last = rows[warm_up - 1], rows[-1]
    streams = last.streams - first.streams
    blocks = last.holdings.blocks - first.holdings.blocks
    if blocks > MOST_BLOCKS + streams * MOST_BLOCKS_PER_STREAM:
        problems.append(f"{streams} streams have left {blocks} blocks of memory behind")
    growth = last.holdings.resident - first.holdings.resident
    if growth > MOST_GROWTH:
        problems.append(f"{streams} streams have left {_mib(growth)} MiB of memory behind")
    problems += [f"no stream ended so: {each}" for each in expected if not last.outcomes.get(each)]
    return problems


def table(rows: Sequence[Row]) -> str:
    """The rounds, one a line."""
    lines = [
        "| streams | streams/s | resident MiB | blocks | sockets | in pools | at the server | tasks |",
        "|" + " ---: |" * 8,
    ]
    before = 0
    for row in rows:
        held = row.holdings
        cells = [
            row.streams,
            round((row.streams - before) / row.seconds),
            _mib(held.resident),
            held.blocks,
            held.sockets,
            held.pooled,
            row.served,
            held.tasks,
        ]
        before = row.streams
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def counts(title: str, numbers: Mapping[str, int]) -> str:
    """A list of numbers, the largest first."""
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    return f"{title}: " + ", ".join(f"{name} {number}" for name, number in ordered)


def _mib(size: int) -> float:
    return round(size / 2**20, 1)
