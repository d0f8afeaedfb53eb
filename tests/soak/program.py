"""What the program does with a stream, drawn from the seed, and what must be true of its end.

This module alone knows the verdict on one stream: whole, or a typed error with the beginning of an
answer, or given up by the program with the beginning of one. It knows neither the server nor
whether time is real.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import trio

from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatChunk,
    ChatModel,
    CollectedResponse,
    FallbackAdapter,
    HedgeAdapter,
    LLMStream,
)

from .answers import CALM, answer_that_begins, question

MODELS: Final = ("one", "two", "narrow")
PLACES: Final = 25
"""How many streams of the model ``narrow`` may run at once."""


class SoakError(AssertionError):
    """A stream ended as none may."""


class Boom(Exception):
    """The program's own."""


# --- The models -----------------------------------------------------------------------------------

MakeLLM = Callable[..., LLM]


@asynccontextmanager
async def open_models(make: MakeLLM) -> AsyncIterator[Models]:
    """The `LLM` of each name, open, and the adapters over them.

    Args:
        make: Makes an `LLM` of a name and further options.
    """
    async with AsyncExitStack() as stack:
        llms = [
            await stack.enter_async_context(
                make(name, max_streams=PLACES if name == "narrow" else None)
            )
            for name in MODELS
        ]
        yield Models(llms, _models_over(llms))


@attrs.frozen
class Models:
    """Who is asked."""

    llms: list[LLM]
    """One for each of `MODELS`, each with connections of its own."""

    by_name: Mapping[str, ChatModel]
    """Them, and the adapters over them."""


def _models_over(llms: list[LLM]) -> dict[str, ChatModel]:
    one, two, narrow = llms
    fast: dict[str, Any] = {"attempt_timeout": 0.5, "cooldown": 0.05}
    hedge: dict[str, Any] = {"after": 0.05, "budget": 1}
    return {
        "plain": one,
        "with places": narrow,
        "fallback": FallbackAdapter([one, two], **fast),
        "fallback, retrying": FallbackAdapter(
            [one, narrow, two], max_retry_per_llm=1, retry_interval=0.01, sticky=True, **fast
        ),
        "fallback, restarting": FallbackAdapter([one, two], restart_after_output=True, **fast),
        "fallback, judging": FallbackAdapter(
            [two, one], accept=lambda reply: len(reply.text) % 3 > 0, **fast
        ),
        "hedge": HedgeAdapter([two, one], **hedge),
        "hedge of one": HedgeAdapter(one, **hedge),
        "hedge of fallbacks": HedgeAdapter(
            [FallbackAdapter([one, narrow], **fast), FallbackAdapter([two, one], **fast)], **hedge
        ),
        "fallback of hedges": FallbackAdapter(
            [HedgeAdapter([one, two], **hedge), HedgeAdapter([two, narrow], **hedge)],
            restart_after_output=True,
            **fast,
        ),
    }


# --- What is done with a stream -------------------------------------------------------------------


@attrs.define
class Reading:
    """What the program has seen of one stream."""

    stream: LLMStream[Any]
    dice: random.Random
    text: str = ""
    calls: list[str] = attrs.field(factory=list[str])
    restarts: int = 0
    sees_all: bool = True
    """Whether all that was delivered is in `text`."""
    reply: CollectedResponse[Any] | None = None
    """The whole answer, if it came."""

    def take(self, chunk: ChatChunk) -> None:
        """Note what a chunk says."""
        if chunk.restart:
            self.text, self.calls = "", []
            self.restarts += 1
        if chunk.delta is not None:
            self.text += chunk.delta.content or ""
            self.calls += [call.arguments for call in chunk.delta.tool_calls]


Behaviour = Callable[[Reading], Awaitable[object]]


async def _collect(reading: Reading) -> None:
    reading.sees_all = False
    reading.reply = await reading.stream.collect()
    reading.text = reading.reply.text
    reading.calls = [call.arguments for call in reading.reply.tool_calls]


async def _read(reading: Reading) -> None:
    async with reading.stream as stream:
        async for chunk in stream:
            reading.take(chunk)
        reading.reply = await stream.collect()


async def _read_slowly(reading: Reading) -> None:
    async with reading.stream as stream:
        async for chunk in stream:
            reading.take(chunk)
            await trio.sleep(reading.dice.uniform(0, 0.01))
        reading.reply = await stream.collect()


async def _give_up_waits(reading: Reading) -> None:
    """Wait again and again for a moment; what comes in the end must be whole all the same."""
    async with reading.stream as stream:
        while True:
            with trio.move_on_after(reading.dice.uniform(0, 0.02)):
                try:
                    reading.take(await anext(stream))
                except StopAsyncIteration:
                    break
        reading.reply = await stream.collect()


async def _read_in_another_task(reading: Reading) -> None:
    failures: list[APIError] = []

    async def read(stream: LLMStream[Any]) -> None:
        try:
            async for chunk in stream:
                reading.take(chunk)
        except APIError as error:
            failures.append(error)  # a nursery would put it into a group

    async with reading.stream as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, stream)
        if failures:
            raise failures[0]
        reading.reply = await stream.collect()


async def _break(reading: Reading) -> None:
    left = reading.dice.randrange(12)
    async with reading.stream as stream:
        async for chunk in stream:
            reading.take(chunk)
            if not left:
                break
            left -= 1


async def _raise(reading: Reading) -> None:
    left = reading.dice.randrange(12)
    async with reading.stream as stream:
        async for chunk in stream:
            reading.take(chunk)
            if not left:
                raise Boom
            left -= 1


async def _do_not_read(reading: Reading) -> None:
    async with reading.stream as stream:
        await trio.sleep(reading.dice.uniform(0, 0.05))
        # Else a failure that nobody has looked at is a warning.
        assert stream.error is None or isinstance(stream.error, APIError)


BEHAVIOURS: Final[dict[str, tuple[int, Behaviour]]] = {
    "collect": (25, _collect),
    "read": (30, _read),
    "read slowly": (5, _read_slowly),
    "give up waits": (10, _give_up_waits),
    "read in another task": (5, _read_in_another_task),
    "break": (12, _break),
    "raise": (6, _raise),
    "do not read": (7, _do_not_read),
}
_BEHAVIOURS: Final = tuple(BEHAVIOURS)
_WEIGHTS: Final = tuple(weight for weight, _ in BEHAVIOURS.values())


EXPECTED: Final = (
    "whole",
    "cancelled by the program",
    "left by the program",
    "error: status",
    "error: connection",
    "error: other",
    "error: clock idle",
    "error: clock first_output",
    "error: clock total",
)
"""How streams end, of a thousand or more."""


# --- One stream -----------------------------------------------------------------------------------


@attrs.frozen
class Soak:
    """The program.

    Args:
        seed: What all is drawn from.
        models: Who is asked.
        patience: A factor on all the program's clocks: a machine that is busy with hundreds of
            streams at once is slow.
    """

    seed: int
    models: Models
    patience: float = 1.0
    outcomes: Counter[str] = attrs.field(factory=Counter[str])
    """How the streams ended."""
    asked: Counter[str] = attrs.field(factory=Counter[str])
    """Which models they asked."""
    facts: Counter[str] = attrs.field(factory=Counter[str])
    """How often they were retried, restarted, and so on."""

    async def run(self, number: int) -> None:
        """Run one stream, and check its end.

        Raises:
            SoakError: It did not end as it must.
        """
        dice = random.Random(f"program {self.seed} {number}")
        name = dice.choice(list(self.models.by_name))
        (behaviour,) = dice.choices(_BEHAVIOURS, _WEIGHTS)
        stream = self.models.by_name[name].chat(
            chat_ctx=question(number),
            conn_options=self._options(dice),
            early_tool_calls=dice.random() < 0.1,
        )
        reading = Reading(stream, dice)
        deadline = 10 ** dice.uniform(-4, 0.5) if dice.random() < 0.25 else float("inf")
        failure: Exception | None = None
        with trio.move_on_after(deadline * self.patience) as scope:
            try:
                await BEHAVIOURS[behaviour][1](reading)
            except (APIError, Boom) as exc:
                failure = exc
        try:
            outcome = _outcome(reading, failure, is_cancelled=scope.cancelled_caught)
            reading.sees_all &= name != "fallback, judging"
            check(self.seed, number, reading, failure)
        except SoakError as exc:
            exc.add_note(f"stream {number} of {name!r}, {behaviour!r}, seed {self.seed}")
            raise
        self.outcomes[outcome] += 1
        self.asked[name] += 1
        attempts = stream.response.attempts
        self.facts["requests"] += len(attempts)
        self.facts["sent again on a new connection"] += sum(each.resent for each in attempts)
        self.facts["answers begun anew"] += reading.restarts

    def _options(self, dice: random.Random) -> APIConnectOptions:
        def seconds(most: float) -> float:
            return dice.uniform(0.2, most) * self.patience

        return APIConnectOptions(
            max_retry=dice.choice([0, 1, 3]),
            retry_interval=0.02,
            max_retry_delay=1.0,
            timeout=seconds(2),
            first_output_timeout=dice.choice([None, None, seconds(1)]),
            # Without this clock, a server that keeps the connection alive is waited for for ever.
            total_timeout=seconds(4),
        )


def _outcome(reading: Reading, failure: Exception | None, *, is_cancelled: bool) -> str:
    if is_cancelled:
        return "cancelled by the program"
    if isinstance(failure, APIStatusError):
        return "error: status"
    if isinstance(failure, APITimeoutError):
        return f"error: clock {failure.clock}"
    if isinstance(failure, APIError):
        return "error: other" if type(failure) is APIError else "error: connection"
    return "left by the program" if failure or reading.reply is None else "whole"


def check(seed: int, number: int, reading: Reading, failure: Exception | None) -> None:
    """The verdict on one stream."""
    said = None
    if reading.text or reading.calls:
        said = answer_that_begins(seed, reading.text)
        if said is None or said.stream != number:
            raise SoakError(f"this is no answer to it: {reading.text!r}")
        if not said.text.startswith(reading.text):
            raise SoakError(f"got {reading.text!r} of {said.text!r}")
        if reading.calls and (reading.text, reading.calls) != (said.text, [said.call]):
            raise SoakError(f"got the calls {reading.calls} of {said}")
    if isinstance(failure, APIError):
        check_error(seed, number, failure, reading.text if reading.sees_all else None)
    reply = reading.reply
    if reply is None:
        return
    if said is None or reading.text != said.text or reply.text != said.text:
        raise SoakError(f"the whole answer is {reply.text!r}, of {said}")
    if reading.calls != ([] if said.call is None else [said.call]):
        raise SoakError(f"its calls are {reading.calls}, of {said}")
    used = reply.usage and (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    if used not in (None, said.tokens):
        raise SoakError(f"it used {used}, of {said}")


def check_error(seed: int, number: int, error: APIError, delivered: str | None) -> None:
    partial = error.partial.text
    if delivered is not None and partial != delivered:
        raise SoakError(f"{partial!r} is in the error, {delivered!r} was delivered") from error
    if partial:
        said = answer_that_begins(seed, partial)
        if said is None or said.stream != number or not said.text.startswith(partial):
            raise SoakError(f"{partial!r} is in the error") from error
    # A stream that has waited for a place all the time has made none.
    waited = isinstance(error, APITimeoutError) and error.clock in {"first_output", "total"}
    if not error.attempts and not waited:
        raise SoakError("the error tells of no attempt") from error


async def seconds_for_calm_streams(make: MakeLLM, at_once: int) -> float:
    """How long so many streams take, all begun at once, where nothing fails: the measure of what
    is slow on this machine."""
    patient = APIConnectOptions(max_retry=0, timeout=600.0)
    async with make(CALM, max_streams=None) as llm:
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(at_once):
                stream = llm.chat(chat_ctx=question(number), conn_options=patient)
                nursery.start_soon(stream.collect)
        return trio.current_time() - started


async def run_all(soak: Soak, numbers: Iterator[int], at_once: int) -> None:
    """Run streams, so many at once.

    Raises:
        SoakError: One did not end as it must.
    """

    async def work() -> None:
        for number in numbers:
            await soak.run(number)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(work)
