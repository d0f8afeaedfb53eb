"""Has the tests bring clients of httpx2 in place of httpx, in memory and over loopback.

A plugin of pytest (``-p tests.support.on_httpx2``), for a session of its own. The library below keeps
httpx: it must not matter to it which of the two a client comes from.
"""

from __future__ import annotations

from typing import Any

import httpcore2
import httpx2

from tests.support import brought, engine

for module, name, successor in (
    (brought, "httpx", httpx2),
    (brought, "httpcore", httpcore2),
):
    names: dict[str, Any] = module.__dict__
    assert name in names, f"{module.__name__} has no {name} that could be replaced"
    names[name] = successor
engine.brings_clients = True


def pytest_report_header() -> str:
    """Say so at the head of a run."""
    return f"the tests' clients are those of httpx2 {httpx2.__version__}"
