"""Any faults, one after the other, under any composition of adapters: the promises hold.

`test_fault_laboratory` states one outcome for each fault by itself. Here faults follow one another
at random, each server has its own, and adapters contain adapters. What comes then is not stated, but
what must not: no end, a quiet end, another exception, doubled or mixed text, anything that is left.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    ChatModel,
    CollectedResponse,
    FallbackAdapter,
    HedgeAdapter,
)
from tests.faults.fault_observer import BAD_WORDS, Observation, observe
from tests.faults.faults import (
    AT_ONCE,
    BACKUP,
    PRIMARY,
    STEADY,
    WARM_UP,
    Answer,
    places,
    play,
    well,
)
from tests.support.engine import BASE_URL, client_on, conversation
from tests.support.leaks import no_leaks
from tests.support.memory_network import MemoryNetwork
from tests.support.script import Exchange, Request

ANSWERS = (PRIMARY, BACKUP, WARM_UP)
"""What the three servers say; no two have a piece in common."""

OPTIONS = APIConnectOptions(
    max_retry=2, timeout=2.0, first_output_timeout=5.0, total_timeout=60.0, max_retry_delay=5.0
)

Place: TypeAlias = tuple[str, str]
Composition: TypeAlias = Callable[[Sequence[ChatModel]], ChatModel]

# A function chooses an exchange by a request that it has read: others cannot be chosen.
PLACES = [place for place in places() if place[0] not in {"connecting", "TLS", "proxy", "sending"}]


def falls_back(models: Sequence[ChatModel], **options: Any) -> FallbackAdapter:
    return FallbackAdapter(models, **options)


def hedges(models: ChatModel | Sequence[ChatModel]) -> HedgeAdapter:
    return HedgeAdapter(models, after=0.55, budget=1.0)


COMPOSITIONS: dict[str, Composition] = {
    "one": lambda models: models[0],
    "fallback": falls_back,
    "fallback with retries": lambda models: falls_back(models, max_retry_per_llm=1),
    "fallback that restarts": lambda models: falls_back(models, restart_after_output=True),
    "fallback that judges": lambda models: falls_back(
        models, accept=lambda reply: bool(reply.text)
    ),
    "hedge": hedges,
    "hedge of one": lambda models: hedges(models[0]),
    "fallback of a hedge": lambda models: falls_back([hedges(models[:2]), models[2]]),
    "hedge of a fallback": lambda models: hedges([falls_back(models[:2]), models[2]]),
    "fallback of a fallback": lambda models: falls_back([falls_back(models[:2]), models[2]]),
}


class Server:
    """Has one fault after the other, and answers well when there is none left."""

    def __init__(self, answer: Answer, faults: Sequence[Place], *, is_steady: bool) -> None:
        self._answer = answer
        self._faults = iter(faults)
        self._pace = STEADY if is_steady else AT_ONCE

    def __call__(self, request: Request) -> Exchange:
        place = next(self._faults, None)
        if place is None:
            return well(self._answer, self._pace)
        exchange = play(*place, self._answer, self._pace)
        assert isinstance(exchange, Exchange)
        return exchange


def all_answers() -> dict[str, CollectedResponse[None]]:
    """Every answer that may come whole, each under a name of its own."""
    return {
        f"{index} {has_text} {has_usage}": (answer if has_text else answer.without_text()).whole(
            with_usage=has_usage
        )
        for index, answer in enumerate(ANSWERS)
        for has_text in (True, False)
        for has_usage in (True, False)
    }


FAULTS = st.lists(st.sampled_from(PLACES), max_size=3)


@given(
    composition=st.sampled_from(sorted(COMPOSITIONS)),
    faults=st.tuples(FAULTS, FAULTS, FAULTS),
    is_steady=st.booleans(),
    streams=st.integers(1, 3),
)
def test_whatever_fails_the_answer_is_whole_or_one_error(
    composition: str, faults: tuple[list[Place], ...], is_steady: bool, streams: int
) -> None:
    async def main() -> None:
        with no_leaks():
            await run()

    async def run() -> None:
        networks: list[MemoryNetwork] = []
        seen: list[Observation] = []
        async with AsyncExitStack() as stack:
            llms: list[LLM] = []
            for answer, its_faults in zip(ANSWERS, faults, strict=True):
                server = Server(answer, its_faults, is_steady=is_steady)
                network = await stack.enter_async_context(MemoryNetwork(server))
                client = await stack.enter_async_context(client_on(network))
                llm = LLM("m", base_url=BASE_URL, auth=None, http_client=client)
                llms.append(await stack.enter_async_context(llm))
                networks.append(network)
            model = COMPOSITIONS[composition](llms)

            async def ask() -> None:
                stream = model.chat(chat_ctx=conversation(), conn_options=OPTIONS)
                seen.append(await observe(stream, all_answers()))

            async with trio.open_nursery() as nursery:
                for _ in range(streams):
                    nursery.start_soon(ask)
            for network in networks:
                network.assert_quiet()
        assert [network.open_connections for network in networks] == [0, 0, 0]
        for each in seen:
            check(each, is_held_back=composition == "fallback that judges")

    trio.run(main, clock=MockClock(autojump_threshold=0))


def check(seen: Observation, *, is_held_back: bool) -> None:
    """A whole answer of one model, or one error with what had come."""
    assert not seen.word.startswith(BAD_WORDS), (seen.word, seen.error)
    assert seen.at < math.inf
    if seen.error is not None:
        assert isinstance(seen.error, APIError)
        partial = seen.error.partial.text
        # What is to be judged as a whole is not delivered before.
        assert seen.text == ("" if is_held_back else partial)
        assert any("".join(answer.text).startswith(partial) for answer in ANSWERS)
        assert seen.error.attempts


def test_no_two_answers_have_anything_in_common() -> None:
    pieces = Counter(
        piece
        for answer in ANSWERS
        for piece in (answer.reasoning, *answer.text, "".join(answer.arguments))
    )
    assert set(pieces.values()) == {1}
