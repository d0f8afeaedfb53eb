"""What a type checker must accept where httpx2 is installed: ``nox -s httpx2`` runs mypy on it."""

from __future__ import annotations

import httpx
import httpx2

from lktrio import LLM

LLM("m", http_client=httpx2.AsyncClient(timeout=None))
LLM("m", http_client=httpx.AsyncClient(timeout=None))
LLM("m", http_client=httpx2.Client())  # type: ignore[arg-type]
