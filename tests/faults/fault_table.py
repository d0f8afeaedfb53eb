"""Reads `tests/data/faults.md`: the stated outcome of every fault in every phase.

This module alone knows how the tables are written. The file is for people first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from tests.support.paths import DATA

FILE: Final = DATA / "faults.md"

WAITING: Final = "waiting"
"""The phase of the waits before anything is sent."""

REUSED: Final = "used before"
"""The phase of the faults that hit a kept-alive connection."""


@attrs.frozen
class Delivered:
    """What an error after a phase carries."""

    text: str = ""
    reasoning: bool = False
    calls: bool = False


NOTHING: Final = Delivered()


@attrs.frozen
class Cell:
    """One fault in one phase, met in one way, and what comes of it."""

    phase: str
    fault: str
    strategy: str
    outcome: str
    resent: int = 0
    """How often the request was sent again because a kept-alive connection was gone."""

    def __str__(self) -> str:
        return f"{self.phase}, {self.fault}, {self.strategy}: {self.outcome}"

    @property
    def word(self) -> str:
        """What comes out."""
        return self.outcome.partition(" @")[0]

    @property
    def attempts(self) -> str:
        """How often each model is asked."""
        return self.outcome.partition(" x")[2]

    @property
    def models(self) -> int:
        """How many models there are."""
        return 2 if self.strategy.startswith(("fallback", "hedge")) else 1

    @property
    def in_vain(self) -> bool:
        """Whether whoever is asked next meets the fault, too."""
        return self.strategy.endswith("in vain")


def _tables() -> list[list[dict[str, str]]]:
    """The tables of the file, each a list of rows by the names of the columns."""
    tables: list[list[dict[str, str]]] = []
    names: list[str] = []
    for line in FILE.read_text("utf-8").splitlines():
        if not line.startswith("|"):
            names = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not names:
            names = cells
            tables.append([])
        elif set(line) - set("|- "):
            tables[-1].append(dict(zip(names, cells, strict=True)))
    return tables


_WORDS, _PHASES, _OUTCOMES, _REUSED, _WAITS, *_OTHERS = _tables()

WORDS: Final = frozenset(word.strip() for row in _WORDS for word in row["word"].split(","))
"""The words that are explained."""

DELIVERED: Final[Mapping[str, Delivered]] = {
    row["phase"]: Delivered(
        row["text"].strip('"'), row["reasoning"] == "yes", row["tool call"] == "yes"
    )
    for row in _PHASES
}
"""What an error carries, by phase; phases before the body are not listed."""

CELLS: Final = tuple(
    Cell(row["phase"], row["fault"], strategy, row[strategy])
    for row in _OUTCOMES
    for strategy in list(row)[2:]
)
"""Every fault in every phase, for each way to ask."""

REUSED_CELLS: Final = tuple(
    Cell(REUSED, row["fault"], strategy, row[strategy], resent=row["sent again"] == "yes")
    for row in _REUSED
    for strategy in list(row)[2:]
)
"""The faults of a connection that was used before."""

WAIT_CELLS: Final = tuple(
    Cell(WAITING, row["wait"], strategy, row[strategy])
    for row in _WAITS
    for strategy in list(row)[1:]
)
"""The waits before anything is sent."""


@attrs.frozen
class TurnCell:
    """Something that happens in a turn, met in one way, and what comes of it."""

    phase: str
    happening: str
    strategy: str
    outcome: str
    kept: str
    """What stands in the conversation."""

    def __str__(self) -> str:
        return f"{self.phase}, {self.happening}, {self.strategy}"


TURN_CELLS: Final = tuple(
    TurnCell(row["while"], row["comes"], strategy, row[strategy], row["the conversation"])
    for table in _OTHERS
    for row in table
    if "the conversation" in row
    for strategy in ("plain", "retry")
)
"""What may happen in a turn that waits for a person, or asks again."""
