"""lktrio with one instrument, which is told of everything and notes when it was."""

from __future__ import annotations

import time
from typing import Any

from lktrio import Instrument

from ..exchange import Question
from . import Work, lktrio_chat

BACKEND = lktrio_chat.BACKEND
DISTRIBUTIONS = lktrio_chat.DISTRIBUTIONS
IMPORTS = lktrio_chat.IMPORTS


class _Notes(Instrument):
    def __init__(self) -> None:
        self.moments: dict[str, float] = {}

    def request_started(self, *told: Any) -> None:
        self._note("request_started")

    def attempt_started(self, *told: Any) -> None:
        self._note("attempt_started")

    def attempt_failed(self, *told: Any) -> None:
        self._note("attempt_failed")

    def first_output(self, *told: Any) -> None:
        self._note("first_output")

    def request_finished(self, *told: Any) -> None:
        self._note("request_finished")

    def _note(self, what: str) -> None:
        self.moments[what] = time.perf_counter()


async def run(url: str, question: Question, work: Work) -> None:
    notes = _Notes()
    await lktrio_chat.run(url, question, work, instruments=(notes,))
    assert {"request_started", "attempt_started", "request_finished"} <= notes.moments.keys()
