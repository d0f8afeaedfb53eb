"""The clients that are measured, one module each.

A module gives:

- ``BACKEND``: ``"trio"`` or ``"asyncio"``, what it runs on;
- ``DISTRIBUTIONS``: what must be installed for it; if something is missing, the client is skipped;
- ``IMPORTS``: what a program that uses it imports;
- ``run(url, question, work)``: an async function that opens what the client shares between
  requests and awaits ``work(ask)`` once. Each ``await ask(started)`` sends the question once, calls
  ``started()`` when the first piece of text is there, and returns the `Reply`.

Several ``ask`` may run at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol, TypeAlias, cast

from ..exchange import Question, Reply

Ask: TypeAlias = Callable[[Callable[[], object]], Awaitable[Reply]]
Work: TypeAlias = Callable[[Ask], Awaitable[None]]


class Client(Protocol):
    """What a module of this package gives."""

    BACKEND: Literal["trio", "asyncio"]
    DISTRIBUTIONS: tuple[str, ...]
    IMPORTS: str

    async def run(self, url: str, question: Question, work: Work) -> None:
        """Open the client and do the work with it."""


REFERENCE: Final = "httpx_msgspec"
"""The client that the others are compared with."""

CLIENTS: Final = {
    "raw_trio": "raw Trio stream + msgspec",
    "httpx_msgspec": "httpx aiter_raw + msgspec",
    "httpx_json": "httpx aiter_lines + json",
    "lktrio_chat": "lktrio",
    "lktrio_watched": "lktrio, one instrument",
    "openai_trio": "openai on Trio",
    "pydantic_ai_trio": "pydantic-ai on Trio",
    "livekit_agents": "livekit-agents on asyncio",
}
"""Names of the modules, in the order of the table, and what they are called there."""

PEERS: Final = frozenset({"openai_trio", "pydantic_ai_trio", "livekit_agents"})
"""Clients that need other libraries than lktrio does."""

QUICK_ROWS_ONLY: Final = frozenset({"lktrio_watched"})
"""Clients that are measured in the quick rows only: what they add to another is seen there."""


def load(name: str) -> Client:
    """Import a client.

    Raises:
        ImportError: It, or something that it needs, is not installed.
    """
    return cast("Client", importlib.import_module(f".{name}", __name__))
