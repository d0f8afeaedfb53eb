"""Runs the clients in turn and puts their numbers beside each other.

This module alone knows how noise is dealt with. Each round runs every client once, close together
in time, beginning with another one each time. A client's ratio is the median of its ratios within
the rounds: what slows a whole round down drops out.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from .clients import CLIENTS, REFERENCE, load
from .limits import ROOT
from .load_server import LoadServer
from .rows import ROWS


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
        rounds: How often each client runs in each row.
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
            rounds_done: list[dict[str, float | str]] = []
            wanted = min(rounds, ROWS[row].enough_rounds or rounds)
            for number in range(wanted):
                report(f"{ROWS[row].title}: round {number + 1} of {wanted}")
                first = number % len(present)
                order = present[first:] + present[:first]
                rounds_done.append({name: _measure(row, name, server, scale) for name in order})
            results[row] = {name: _result(name, rounds_done) for name in present}
    return Comparison(results, skipped, _about(present, rounds, scale))


def _measure(row: str, client: str, server: LoadServer, scale: float) -> float | str:
    """The number, or why there is none."""
    url = server.tls_url if ROWS[row].over_tls else server.url
    command = [sys.executable, "-m", "tests.benchmarks.child", row, client, url, str(scale)]
    environment = {**os.environ, "SSL_CERT_FILE": server.authority}
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, env=environment)
    printed: dict[str, Any] = json.loads(done.stdout)
    return float(printed["value"]) if "value" in printed else str(printed["reason"])


def _result(name: str, rounds_done: Sequence[dict[str, float | str]]) -> Result:
    values: list[float] = []
    ratios: list[float] = []
    for measured in rounds_done:
        value, reference = measured[name], measured.get(REFERENCE)
        if isinstance(value, str):
            return Result(reason=value)
        values.append(value)
        if isinstance(reference, float):
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
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": versions,
        "rounds": rounds,
        "scale": scale,
        "reference": CLIENTS[REFERENCE],
    }
