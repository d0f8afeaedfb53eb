"""Reads `tests/data/faults.md`: the stated outcome of every fault in every phase.

This module alone knows how the tables are written. The file is for people first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

FILE: Final = Path(__file__).parent / "data" / "faults.md"

STRATEGIES: Final = (
    "plain",
    "retry",
    "retry in vain",
    "fallback",
    "fallback in vain",
    "hedge",
    "hedge in vain",
)
"""The columns: who asks, and whether whoever is asked next has the same fault ("in vain")."""


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

    def __str__(self) -> str:
        return f"{self.phase}, {self.fault}, {self.strategy}: {self.outcome}"

    @property
    def has_backup(self) -> bool:
        """Whether there is a second model."""
        return self.strategy.startswith(("fallback", "hedge"))

    @property
    def is_read(self) -> bool:
        """Whether the server sees a request that meets the fault."""
        unread = {"connecting", "TLS", "sending"}
        return self.phase not in unread or (self.phase, self.fault) == ("sending", "status 503")


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


_PHASES, OUTCOMES = _tables()
"""The rows of the outcomes, as they are written."""

DELIVERED: Final[Mapping[str, Delivered]] = {
    row["phase"]: Delivered(
        row["text"].strip('"'), row["reasoning"] == "yes", row["tool call"] == "yes"
    )
    for row in _PHASES
}

CELLS: Final = tuple(
    Cell(row["phase"], row["fault"], strategy, row[strategy])
    for row in OUTCOMES
    for strategy in STRATEGIES
)
