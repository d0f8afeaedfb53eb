"""lktrio in a program that calls `LLM.prewarm` whenever an answer was left in the middle.

Here it waits until that is done, before the time is taken; a program does it while its user speaks.
"""

from __future__ import annotations

from ..exchange import Question
from . import Work, lktrio_chat

BACKEND = lktrio_chat.BACKEND
DISTRIBUTIONS = lktrio_chat.DISTRIBUTIONS
IMPORTS = lktrio_chat.IMPORTS


async def run(url: str, question: Question, work: Work) -> None:
    await lktrio_chat.run(url, question, work, prewarms=True)
