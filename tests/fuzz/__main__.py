"""`python -m tests.fuzz [--seconds N] [--engine ENGINE] [--seed N] [TARGET ...]`

Exits with 1 if an input breaks a target, and prints that input as a literal.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence

from .guided import has_atheris, run_atheris
from .runner import Report, run_mutations
from .targets import TARGETS, Target


def main(argv: Sequence[str] | None = None, targets: Mapping[str, Target] = TARGETS) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--engine", choices=("auto", "atheris", "mutation"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    unknown = set(options.targets) - set(targets)
    if unknown:
        parser.error(
            f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(targets)}"
        )
    if options.engine == "atheris" and not has_atheris():
        parser.error(
            "atheris is not installed; there are wheels for some platforms: pip install atheris"
        )
    guided = options.engine == "atheris" or (options.engine == "auto" and has_atheris())
    print(
        "engine: atheris, guided by coverage"
        if guided
        else "engine: mutation of recordings (atheris is not used)"
    )
    run: Callable[[str], Report] = (
        (lambda name: run_atheris(name, seed=options.seed, seconds=options.seconds))
        if guided
        else (lambda name: run_mutations(targets[name], seed=options.seed, seconds=options.seconds))
    )
    print(f"{'target':16} {'inputs':>9} {'findings':>9}", flush=True)
    findings = 0
    for name in options.targets or targets:
        report = run(name)
        findings += report.finding is not None
        print(f"{name:16} {report.inputs:9} {int(report.finding is not None):9}", flush=True)
        if report.finding is not None:
            print(report.finding.problem)
            print("The input, to be added to a test:")
            print(f"TARGETS[{name!r}].run({report.finding.data!r})", flush=True)
    return 1 if findings else 0


if __name__ == "__main__":
    # Findings are raised; what is logged on the way would hide them.
    logging.disable(logging.CRITICAL)
    sys.exit(main())
