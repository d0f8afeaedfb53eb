"""Fuzzing guided by coverage, with atheris, where it is installed.

`python -m tests.fuzz.guided TARGET RESULT SECONDS SEED` runs one target in a process of its own,
because libFuzzer never returns, and because the library must be imported under the
instrumentation. This module alone knows atheris.

Source: https://github.com/google/atheris
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .mutation import mutate
from .runner import Finding, Report, broken_by, report_on

if TYPE_CHECKING:
    from .targets import Target

__all__ = ["has_atheris", "run_atheris"]


def has_atheris() -> bool:
    """Whether the coverage-guided engine is installed."""
    return importlib.util.find_spec("atheris") is not None


def run_atheris(name: str, *, seed: int, seconds: float) -> Report:
    """Run one target in a process of its own, because libFuzzer never returns."""
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory, "result.json")
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(result), str(seconds)]
        done = subprocess.run(
            [*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if not result.exists():
            raise RuntimeError(f"atheris ended without a result:\n{done.stdout.decode()[-4000:]}")
        values = json.loads(result.read_text("utf-8"))
    finding = values["finding"]
    return Report(
        values["inputs"],
        None if finding is None else Finding(bytes.fromhex(finding["data"]), finding["problem"]),
    )


def _guide(atheris: Any, target: Target, result: Path, *, seed: int, seconds: float) -> None:
    """Let atheris choose the inputs. Does not return: the process ends with the result written.

    Args:
        atheris: The module; the library was imported under its instrumentation.
        target: What to fuzz.
        result: The file that the result is written to.
        seed: Makes two runs alike.
        seconds: How long.
    """
    deadline = time.monotonic() + seconds
    count = 0

    def end(report: Report) -> None:
        found = report.finding
        result.write_text(
            json.dumps(
                {
                    "inputs": report.inputs,
                    "finding": found and {"data": found.data.hex(), "problem": found.problem},
                }
            ),
            "utf-8",
        )
        os._exit(0)

    def test_one_input(data: bytes) -> None:
        nonlocal count
        count += 1
        exc = broken_by(target.run, data)
        if exc is not None:
            end(report_on(target.run, count, data, exc))
        if time.monotonic() > deadline:
            end(Report(count, None))

    def mutated(data: bytes, limit: int, number: int) -> bytes:
        dice = random.Random(number)
        if dice.random() < 0.5:
            return bytes(atheris.Mutate(data, limit))
        return mutate([data, *target.seeds], dice)[:limit]

    with tempfile.TemporaryDirectory() as corpus:
        for place, data in enumerate(target.seeds):
            Path(corpus, str(place)).write_bytes(data)
        options = ["fuzz", f"-seed={seed or 1}", "-max_len=65536", "-verbosity=0", corpus]
        atheris.Setup(options, test_one_input, custom_mutator=mutated)
        atheris.Fuzz()


def main(name: str, result: str, seconds: str, seed: str) -> None:
    """Fuzz one target; does not return."""
    logging.disable(logging.CRITICAL)
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["lktrio"], enable_loader_override=False):
        from .targets import TARGETS
    _guide(atheris, TARGETS[name], Path(result), seed=int(seed), seconds=float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
