"""Says in one word what came of a stream; no outcome is without a word, not even an endless one.

This module alone knows the words. It judges by what a consumer sees, and knows nothing of faults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs
import trio

from lktrio import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CollectedResponse,
    FunctionToolCall,
    LLMStream,
)

BAD_WORDS: Final = ("hangs", "silent", "other exception")
"""What must not come of any fault: no end, an end without a whole answer or an error, and an
exception that a request may not raise."""

PATIENCE: Final = 1000.0
"""Virtual seconds after which a stream that does not end is said to hang."""

MOST_STEPS: Final = 50_000
"""As many steps of tasks say the same where no time passes."""


@attrs.define
class Observation:
    """What a consumer saw of one stream. Times are seconds since it was entered."""

    word: str = "hangs"
    at: float = math.inf
    """When its iteration ended."""
    left_at: float = math.inf
    """When its block was left."""
    text: str = ""
    """The text that was delivered, every piece of it, and that was not made void by a restart."""
    calls: list[FunctionToolCall] = attrs.field(factory=list[FunctionToolCall])
    """The tool calls that were delivered."""
    restarts: int = 0
    """How often the answer began anew."""
    error: Exception | None = None


async def observe(
    stream: LLMStream[Any],
    answers: Mapping[str, CollectedResponse[None]],
    *,
    patience: float = PATIENCE,
    on_text: trio.Event | None = None,
) -> Observation:
    """Read a stream to its end and say what came of it.

    Args:
        stream: The stream.
        answers: Which answers may come, by the word for each.
        patience: Seconds after which it hangs.
        on_text: Is set when text has come.
    """
    seen = Observation()
    start = trio.current_time()
    with trio.move_on_after(patience) as scope:
        watchdog = _Watchdog(scope)
        trio.lowlevel.add_instrument(watchdog)
        try:
            async with stream:
                await _read(stream, seen, answers, on_text)
                seen.at = trio.current_time() - start
            seen.left_at = trio.current_time() - start
        finally:
            trio.lowlevel.remove_instrument(watchdog)
    return seen


async def _read(
    stream: LLMStream[Any],
    seen: Observation,
    answers: Mapping[str, CollectedResponse[None]],
    on_text: trio.Event | None,
) -> None:
    try:
        async for chunk in stream:
            if chunk.restart:
                seen.restarts += 1
                seen.text = ""
            if chunk.delta is not None:
                seen.text += chunk.delta.content or ""
                seen.calls += chunk.delta.tool_calls
            if seen.text and on_text is not None:
                on_text.set()
        result = await stream.collect()
    except Exception as exc:  # noqa: BLE001 - which exceptions there are is the question
        seen.error = exc
        seen.word = word_for(exc)
        return
    seen.word = "silent"
    for word, answer in answers.items():
        if result == answer and (seen.text, seen.calls) == (answer.text, answer.tool_calls):
            seen.word = word


def word_for(exc: BaseException) -> str:
    """The word for an exception; those that a request may raise have one each."""
    if type(exc) is APITimeoutError:
        return "output" if exc.clock == "first_output" else exc.clock
    if type(exc) is APIStatusError:
        return f"status {exc.status_code}"
    if type(exc) is APIConnectionError:
        return "lost"
    return f"other exception {type(exc).__name__}"


def attempts_of(stream: LLMStream[Any], models: int) -> tuple[int, ...]:
    """How often each of some models was asked, by their names `model-0`, `model-1` ..."""
    asked = [attempt.model or "model-0" for attempt in stream.response.attempts]
    return tuple(asked.count(f"model-{index}") for index in range(models))


class _Watchdog(trio.abc.Instrument):
    """Cancels a scope after very many steps: what never ends need not let time pass."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._left = MOST_STEPS

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if not self._left:
            self._scope.cancel()
