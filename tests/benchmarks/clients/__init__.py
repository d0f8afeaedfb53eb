"""The clients that are measured, one module each.

A module gives:

- ``BACKEND``: ``"trio"`` or ``"asyncio"``, what it runs on;
- ``DISTRIBUTIONS``: what must be installed for it; if something is missing, the client is skipped;
- ``IMPORTS``: what a program that uses it imports;
- ``run(url, question, work)``: an async function that opens what the client shares between
  requests and awaits ``work(ask)`` once. Each ``await ask(texts)`` sends the question once, appends
  each piece of text to the list ``texts`` as soon as it is there, and returns the `Reply`.

Several ``ask`` may run at once. Appending may raise: so an answer is left in the middle, and what it
came over must be closed, or be fit for the next, when the exception leaves ``ask``.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol, TypeAlias, cast

from ..exchange import Question, Reply

Ask: TypeAlias = Callable[[list[str]], Awaitable[Reply]]
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
    "httpx_over_lktrio": "httpx aiter_raw + msgspec over TrioTransport",
    "lktrio_chat": "lktrio",
    "lktrio_watched": "lktrio, one instrument",
    "lktrio_prewarming": "lktrio, prewarm() after a break",
    "openai_trio": "openai on Trio",
    "pydantic_ai_trio": "pydantic-ai on Trio",
    "livekit_agents": "livekit-agents on asyncio",
}
"""Names of the modules, in the order of the table, and what they are called there."""

PEERS: Final = frozenset({"openai_trio", "pydantic_ai_trio", "livekit_agents"})
"""Clients that need other libraries than lktrio does."""

VARIANTS: Final = frozenset({"lktrio_watched", "lktrio_prewarming"})
"""Clients that are measured only in the rows that name them: what they add to another, or save, is
seen there."""


def load(name: str) -> Client:
    """Import a client.

    Raises:
        ImportError: It, or something that it needs, is not installed.
    """
    return cast("Client", importlib.import_module(f".{name}", __name__))
