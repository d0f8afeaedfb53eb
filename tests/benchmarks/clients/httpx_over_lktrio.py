"""httpx by hand at its fastest, over our transport: what a program gains that keeps its own code."""

from __future__ import annotations

from lktrio import TrioTransport

from ..exchange import Question
from . import Work, httpx_msgspec

BACKEND = httpx_msgspec.BACKEND
DISTRIBUTIONS = (*httpx_msgspec.DISTRIBUTIONS, "lktrio")
IMPORTS = "trio, httpx, msgspec, lktrio"


async def run(url: str, question: Question, work: Work) -> None:
    await httpx_msgspec.run(url, question, work, transport=TrioTransport())
