"""The process that a client is measured in.

This module alone knows how it is started and told to measure. It imports the client once and
measures one row as often as it is told to, so that many short measurements cost little more than
their own time.

    python -m tests.benchmarks.child chunks lktrio_chat http://127.0.0.1:54321 1.0

measures for each line of its input, and prints the number as a line of JSON. In place of the number
it prints why there is none.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import anyio

from .clients import load
from .limits import ROOT
from .load_server import LoadServer
from .rows import ROWS, CannotMeasure


class Child:
    """A process that measures one row of one client, as long as the block lasts."""

    def __init__(self, row: str, client: str, server: LoadServer, scale: float) -> None:
        url = server.urls[ROWS[row].over]
        self._command = [sys.executable, "-m", __name__, row, client, url, str(scale)]
        self._environment = {**os.environ, "SSL_CERT_FILE": server.authority}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        return self

    def wait_until_ready(self) -> None:
        """Wait until the client has been imported.

        Raises:
            subprocess.CalledProcessError: It could not be.
        """
        self._read()

    def measure(self) -> float | str:
        """The number, or why there is none.

        Raises:
            subprocess.CalledProcessError: The client has failed, or has not read what was sent.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        printed = self._read()
        return float(printed["value"]) if "value" in printed else str(printed["reason"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise subprocess.CalledProcessError(self._process.wait(), self._command)
        printed: dict[str, Any] = json.loads(line)
        return printed

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            self._process.kill()
        # The end of its input is what tells it to stop.
        self._process.communicate()


def main(row: str, client_name: str, url: str, scale: str) -> None:
    """Measure whenever told to, and print."""
    client = load(client_name)
    _print({})
    for _line in sys.stdin:
        # What the last measurement has left is not for this one to clear away.
        gc.collect()
        try:
            value = anyio.run(ROWS[row].measure, client, url, float(scale), backend=client.BACKEND)
        except CannotMeasure as reason:
            _print({"reason": str(reason)})
        else:
            _print({"value": value})


def _print(result: dict[str, object]) -> None:
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
