"""Measures one row of one client, in a process of its own, and prints the number as JSON.

    python -m tests.benchmarks.child chunks lktrio_chat http://127.0.0.1:54321 1.0

In place of the number it prints why there is none.
"""

from __future__ import annotations

import json
import sys

import anyio

from .clients import load
from .rows import ROWS, CannotMeasure


def main(row: str, client_name: str, url: str, scale: str) -> None:
    """Measure and print."""
    client = load(client_name)
    try:
        value = anyio.run(ROWS[row].measure, client, url, float(scale), backend=client.BACKEND)
    except CannotMeasure as reason:
        result: object = {"reason": str(reason)}
    else:
        result = {"value": value}
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
