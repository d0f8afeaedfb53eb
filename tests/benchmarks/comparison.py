"""Runs the clients in turn and puts their numbers beside each other.

This module alone knows how noise is dealt with. Each round runs every client once, close together
in time, beginning with another one each time. A client's ratio is the median of its ratios within
the rounds: what slows a whole round down drops out. Many short rounds do that better than few long
ones, since a core may change its speed from one second to the next.

Every client has the same work in every round. One that needs ten times as much for it as the
reference needs fewer rounds, for a difference of a few percent says nothing about it: it takes part
in those that were asked for, and leaves the further rounds of a row to those nearer the reference.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import attrs

from .child import Child
from .clients import CLIENTS, REFERENCE, VARIANTS, load
from .load_server import LoadServer
from .rows import ROWS

_FAR: Final = 2.5
"""The ratio above which a client leaves a row's further rounds to the others."""

_Round: TypeAlias = dict[str, float | str]
"""By client: the number, or why there is none."""


@attrs.frozen
class Result:
    """What one client needs for one row."""

    values: tuple[float, ...] = ()
    """One number for each round, in the row's unit."""

    ratios: tuple[float, ...] = ()
    """What each is of the reference's number in the same round; empty if that was not run."""

    reason: str | None = None
    """Why there are no numbers; None if there are."""

    @property
    def median(self) -> float:
        """The middle one of the numbers."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """The middle one of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None


@attrs.frozen
class Comparison:
    """The results of a run."""

    results: dict[str, dict[str, Result]]
    """By row and client."""

    skipped: dict[str, str]
    """Clients that were not run, and why."""

    about: dict[str, Any]
    """When and where, with which versions."""

    def table(self) -> str:
        """The results as text for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        width = max(map(len, CLIENTS.values()))
        for row, results in self.results.items():
            yield f"{ROWS[row].title} ({ROWS[row].unit})"
            yield f"  {'':{width}}  {'median':>8}  {'lowest':>8}  {'highest':>8}  {'ratio':>5}"
            for name, result in results.items():
                if result.reason is not None:
                    yield f"  {CLIENTS[name]:{width}}  not measured: {result.reason}"
                    continue
                numbers = (result.median, min(result.values), max(result.values))
                shown = "  ".join(f"{number:8.3g}" for number in numbers)
                ratio = "" if result.ratio is None else f"{result.ratio:5.2f}"
                yield f"  {CLIENTS[name]:{width}}  {shown}  {ratio}"
            yield ""
        for name, reason in self.skipped.items():
            yield f"skipped: {CLIENTS[name]} ({reason})"
        yield ", ".join(f"{name} {version}" for name, version in self.about["versions"].items())
        yield f"{self.about['machine']}, {self.about['rounds']} rounds, {self.about['date']}"

    def json(self) -> str:
        """The results as JSON, every single number included."""
        rows = {
            row: {
                "title": ROWS[row].title,
                "unit": ROWS[row].unit,
                "clients": {
                    name: {"reason": result.reason}
                    if result.reason is not None
                    else {
                        "title": CLIENTS[name],
                        "median": result.median,
                        "ratio": result.ratio,
                        "values": result.values,
                        "ratios": result.ratios,
                    }
                    for name, result in results.items()
                },
            }
            for row, results in self.results.items()
        }
        document = {"about": self.about, "skipped": self.skipped, "rows": rows}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def compare(
    rows: Sequence[str],
    clients: Sequence[str],
    *,
    rounds: int,
    scale: float,
    report: Callable[[str], object],
) -> Comparison:
    """Measure.

    Args:
        rows: Names of rows.
        clients: Names of clients; those that are not installed are skipped.
        rounds: How often each client runs in each row, unless fewer are enough; those not far from
            the reference run more often in rows that want that.
        scale: The amount of work in each run; 1.0 is the usual one.
        report: Told what is going on, a line at a time.

    Raises:
        subprocess.CalledProcessError: A client has failed, or has not read what was sent.
    """
    skipped: dict[str, str] = {}
    for name in clients:
        try:
            load(name)
        except ImportError as error:
            skipped[name] = str(error)
    present = [name for name in clients if name not in skipped]
    results: dict[str, dict[str, Result]] = {}
    with LoadServer() as server:
        for row in rows:
            asked = [name for name in present if _takes_part(name, row)]
            with contextlib.ExitStack() as stack:
                children = {
                    name: stack.enter_context(Child(row, name, server, scale)) for name in asked
                }
                rounds_done = _run(row, children, rounds, report)
            results[row] = {name: _result(name, rounds_done) for name in asked}
    return Comparison(results, skipped, _about(present, rounds, scale))


def _takes_part(client: str, row: str) -> bool:
    return client not in VARIANTS or client in ROWS[row].variants


def _run(
    row: str, children: dict[str, Child], rounds: int, report: Callable[[str], object]
) -> list[_Round]:
    """The rounds of a row."""
    # They are started by now, and import all at once; nobody is measured meanwhile.
    for child in children.values():
        child.wait_until_ready()
    for_all = min(rounds, ROWS[row].enough_rounds or rounds)
    wanted = max(for_all, ROWS[row].least_rounds)
    rounds_done: list[_Round] = []
    for number in range(wanted):
        names = [name for name in children if number < for_all or not _is_far(name, rounds_done)]
        if not names:
            break
        report(f"{ROWS[row].title}: round {number + 1} of {wanted}")
        first = number % len(names)
        order = names[first:] + names[:first]
        rounds_done.append({name: children[name].measure() for name in order})
    return rounds_done


def _is_far(name: str, rounds_done: Sequence[_Round]) -> bool:
    ratio = _result(name, rounds_done).ratio
    return ratio is not None and ratio > _FAR


def _result(name: str, rounds_done: Sequence[_Round]) -> Result:
    values: list[float] = []
    ratios: list[float] = []
    for measured in rounds_done:
        value, reference = measured.get(name), measured.get(REFERENCE)
        if isinstance(value, str):
            return Result(reason=value)
        if value is not None:
            values.append(value)
        # A few streams may fit into memory that the process has already, and take none.
        if value is not None and isinstance(reference, float) and reference > 0:
            ratios.append(value / reference)
    return Result(tuple(values), tuple(ratios))


def _about(clients: Sequence[str], rounds: int, scale: float) -> dict[str, Any]:
    wanted = {name for client in clients for name in load(client).DISTRIBUTIONS}
    versions = {platform.python_implementation(): platform.python_version()}
    for name in sorted(wanted):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "from the source tree"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": (
            f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores"
        ),
        "versions": versions,
        "rounds": rounds,
        "scale": scale,
        "reference": CLIENTS[REFERENCE],
    }
