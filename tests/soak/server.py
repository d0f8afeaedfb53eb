"""The misbehaving server, in a process of its own.

This module alone knows how the two processes speak: the server says its port, and then, for each
line it is sent, what it has seen so far, as JSON.

    python -m tests.soak.server SEED
"""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from tests.benchmarks.limits import ROOT, raise_file_limit
from tests.support.loopback import LoopbackServer

from .answers import Misbehaviour


@attrs.frozen
class Seen:
    """What the server has seen so far."""

    connections: int
    """Connections that have been opened."""

    open: int
    """Those of them that the server has not closed yet."""

    requests: int
    """Requests that were read."""

    faults: dict[str, int]
    """How often it did what."""


class SoakServer:
    """A misbehaving server as long as the block lasts.

    Args:
        seed: What its answers are drawn from.

    Raises:
        RuntimeError: The server did not start, or failed.
    """

    def __init__(self, seed: int) -> None:
        self._command = [sys.executable, "-m", "tests.soak.server", str(seed)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline() or 0)}"
        """Scheme, host and port."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The end of its input is what tells the server to stop.
        self._process.communicate()
        if self._process.returncode and exc is None:
            raise RuntimeError(f"the server failed with status {self._process.returncode}")

    def look(self) -> Seen:
        """Ask what it has seen. Blocks for a moment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._process.stdout.readline()))


async def _main(seed: int) -> None:
    script = Misbehaviour(seed)
    forgotten = {"connections": 0, "requests": 0}
    async with LoopbackServer(script) as server:

        def seen() -> dict[str, Any]:
            # What is over need not be kept, and there is much of it.
            still_open = [each for each in server.connections if each.closed_at is None]
            forgotten["connections"] += len(server.connections) - len(still_open)
            forgotten["requests"] += len(server.requests)
            server.connections[:] = still_open
            server.requests.clear()
            return {
                "connections": forgotten["connections"] + len(still_open),
                "open": len(still_open),
                "requests": forgotten["requests"],
                "faults": script.counts,
            }

        print(server.port, flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(seen()), flush=True)


if __name__ == "__main__":
    raise_file_limit()
    trio.run(_main, int(sys.argv[1]))
