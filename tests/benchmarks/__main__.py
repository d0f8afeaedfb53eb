"""``python -m tests.benchmarks``: print a table, write JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import document
from .clients import CLIENTS
from .comparison import compare
from .rows import ROWS


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure what a chunk, a request and an open stream cost, client by client.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--row", action="append", choices=ROWS, dest="rows", help="measure only this; repeatable"
    )
    parser.add_argument(
        "--client",
        action="append",
        choices=CLIENTS,
        dest="clients",
        help="measure only this one; repeatable",
    )
    parser.add_argument(
        "--full", action="store_true", help="measure all rows, not only the quick ones"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="runs of each client in each row; some rows need fewer, or more of some clients",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="amount of work in each run")
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where the JSON goes"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the numbers into README.md and docs/, with a picture",
    )
    arguments = parser.parse_args()
    comparison = compare(
        arguments.rows or [name for name, row in ROWS.items() if row.is_quick or arguments.full],
        arguments.clients or list(CLIENTS),
        rounds=arguments.rounds,
        scale=arguments.scale,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(comparison.json(), encoding="utf-8")
    print(comparison.table())
    print(f"written: {arguments.json}")
    if arguments.write:
        document.write(arguments.json)


if __name__ == "__main__":
    main()
