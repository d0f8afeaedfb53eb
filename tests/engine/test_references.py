"""What a stream holds when it is over: nothing that counts, and itself least of all.

The collector is off, so that an object goes when its last reference does, or never: what is still
there afterwards is in a reference cycle.
"""

from __future__ import annotations

import gc
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APIError,
    APIStatusError,
    ChatModel,
    FallbackAdapter,
    HedgeAdapter,
    LLMStream,
    RateLimit,
    Turn,
    function_tool,
    run_turn,
)
from tests.support.engine import TLS_BASE_URL, conversation, open_llm
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    Exchange,
    Hold,
    Reset,
    ToolCall,
    error,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    tool_calls,
)
from tests.support.several import open_models

PICTURE = "p" * 1_000_000
"""Stands for what is large in a conversation."""

CUT = sse(text_chunk("Hel"), end=False).then(Reset())
CUT_CALL = sse(tool_call_chunk("{", id="call_a", name="f"), end=False).then(Reset())
RETRIES = APIConnectOptions(max_retry=3, retry_interval=1.0)


@pytest.fixture(autouse=True)
def no_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What pytest keeps of the log would keep the streams.
    monkeypatch.setattr(logging.getLogger("lktrio"), "disabled", True)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def ask(model: ChatModel, **options: Any) -> LLMStream[Any]:
    chat_ctx = conversation(PICTURE)
    return model.chat(chat_ctx=chat_ctx, **{"conn_options": RETRIES, **options})


Way = Callable[[LLMStream[Any]], Awaitable[object]]


async def iterate(stream: LLMStream[Any]) -> object:
    async with stream:
        return [chunk async for chunk in stream]


async def read_text(stream: LLMStream[Any]) -> object:
    async with stream:
        return [piece async for piece in stream.text]


async def read_values(stream: LLMStream[Any]) -> object:
    async with stream:
        return [value async for value in stream.partial_values]


async def collect(stream: LLMStream[Any]) -> object:
    return await stream.collect()


async def collect_inside(stream: LLMStream[Any]) -> object:
    async with stream:
        return await stream.collect()


async def leave(stream: LLMStream[Any]) -> object:
    async with stream:
        return await anext(stream)


async def give_up(stream: LLMStream[Any]) -> object:
    with trio.move_on_after(0.5):
        async with stream:
            await trio.sleep_forever()
    return None


async def leave_at_once(stream: LLMStream[Any]) -> object:
    async with stream:
        await trio.sleep(1)
    return None


async def close_at_once(stream: LLMStream[Any]) -> object:
    async with stream:
        await trio.sleep(1)
        await stream.aclose()
    return None


async def look_away(stream: LLMStream[Any]) -> object:
    async with stream:
        await trio.sleep(30)
        return stream.error


async def never_enter(stream: LLMStream[Any]) -> object:
    await stream.aclose()
    return None


WAYS: list[Way] = [
    iterate,
    read_text,
    read_values,
    collect,
    collect_inside,
    leave,
    give_up,
    look_away,
    never_enter,
]

SCRIPTS: dict[str, list[Exchange]] = {
    "whole": [text("Hel", "lo")],
    "a call": [tool_calls(ToolCall("f"))],
    "cut": [CUT],
    "cut call": [CUT_CALL] * 4,
    "refused": [error(401)],
    "busy at first": [error(503), text("Hel", "lo")],
    "busy": [error(503)] * 4,
    "no JSON": [sse(b"data: {\n\n", end=False)] * 4,
    "in vain": [sse(text_chunk("<html>"), b"data: [\n\n", Hold())],
}


def forget_own_frames(exc: BaseException) -> None:
    """What a caller's frame holds is the caller's."""
    traceback = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals is globals():
            with suppress(RuntimeError):  # it is still running
                traceback.tb_frame.clear()
        traceback = traceback.tb_next


async def settled() -> None:
    """Let Trio run tasks that have ended to their end; its thread cache is not ours."""
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def one(script: list[Exchange]) -> AsyncIterator[ChatModel]:
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        yield llm


@asynccontextmanager
async def limited(script: list[Exchange]) -> AsyncIterator[ChatModel]:
    bounds: dict[str, Any] = {"max_streams": 1, "rate_limit": RateLimit(1)}
    async with MemoryNetwork(script) as network, open_llm(network, **bounds) as llm:
        yield llm


@asynccontextmanager
async def fallback(script: list[Exchange]) -> AsyncIterator[ChatModel]:
    async with open_models(script, script) as models:
        yield FallbackAdapter(models.llms, max_retry_per_llm=3)


@asynccontextmanager
async def judged(script: list[Exchange]) -> AsyncIterator[ChatModel]:
    async with open_models(script, script) as models:
        yield FallbackAdapter(models.llms, max_retry_per_llm=3, accept=lambda _: True)


@asynccontextmanager
async def hedge(script: list[Exchange]) -> AsyncIterator[ChatModel]:
    async with open_models(script, script) as models:
        yield HedgeAdapter(models.llms, after=0.5, budget=1)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize(
    "models", [one, limited, fallback, judged, hedge], ids=lambda each: each.__name__
)
async def test_a_stream_goes_with_its_last_reference(
    models: Any, script: list[Exchange], way: Way, autojump_clock: MockClock
) -> None:
    async with models(script) as model:
        stream = ask(model)
        gone = weakref.ref(stream)
        errors: list[Any] = []
        try:
            await way(stream)
        except APIError as exc:
            forget_own_frames(exc)
            errors.append(weakref.ref(exc))
        await settled()
        assert large_things_held_by(stream) == []
        del stream
        assert gone() is None
        if not isinstance(model, FallbackAdapter):  # which remembers why a model is passed over
            assert [each() for each in errors] == [None for _ in errors]


async def test_a_stream_goes_whose_wait_for_a_retry_ended_with_the_last_error(
    autojump_clock: MockClock,
) -> None:
    script = [error(503), error(429, retry_after=50)]
    options = APIConnectOptions(total_timeout=70)
    async with limited(script) as llm, trio.open_nursery() as nursery:
        stream = ask(llm, conn_options=options)
        gone = weakref.ref(stream)
        begun = trio.Event()

        async def another() -> None:
            # It comes before the retry is waited for, and puts off what could be foreseen.
            await begun.wait()
            await trio.sleep(0.01)
            with pytest.raises(APIStatusError):
                await ask(llm, conn_options=APIConnectOptions(max_retry=0)).collect()

        nursery.start_soon(another)
        begun.set()
        kept = await failure_of(stream)
        assert trio.current_time() == 70
        del stream
        assert gone() is None
        assert large_things_held_by(kept) == []


@pytest.mark.parametrize("models", [one, fallback, hedge], ids=lambda each: each.__name__)
async def test_an_error_that_is_kept_does_not_keep_the_stream(
    models: Any, autojump_clock: MockClock
) -> None:
    async with models([error(401)]) as model:
        stream = ask(model)
        gone = weakref.ref(stream)
        kept = await failure_of(stream)
        del stream
        assert gone() is None
        assert large_things_held_by(kept) == []
        assert kept.__traceback__ is not None


async def failure_of(stream: LLMStream[Any]) -> APIError:
    try:
        await stream.collect()
    except APIError as exc:
        del stream
        return exc
    raise AssertionError("it did not fail")


async def test_a_misfit_does_not_keep_the_stream_either(autojump_clock: MockClock) -> None:
    @attrs.frozen
    class Song:
        title: str

    async with one([text("{}")]) as model:
        stream = ask(model, response_format=Song)
        gone = weakref.ref(stream)
        first = await failure_of(stream)
        assert await failure_of(stream) is first
        del stream
        assert gone() is None


async def test_a_stream_that_failed_holds_no_request_while_it_is_there(
    autojump_clock: MockClock,
) -> None:
    async with one([error(401)]) as model:
        async with ask(model) as stream:
            await trio.sleep(1)
            assert isinstance(stream.error, APIStatusError)
            assert large_things_held_by(stream) == []
            with pytest.raises(trio.ClosedResourceError, match="keep what was given"):
                _ = stream.chat_ctx


async def test_what_the_pool_of_a_fallback_remembers_holds_no_request(
    autojump_clock: MockClock,
) -> None:
    async with open_models([error(503)], [text("Hi")]) as models:
        adapter = FallbackAdapter(models.llms)
        await ask(adapter).collect()
        await settled()
        remembered = adapter.availability[0].last_error
        assert remembered is not None
        assert large_things_held_by(remembered) == []


@pytest.mark.parametrize("name", ["whole", "cut", "refused", "busy", "a call"])
async def test_a_turn_goes_with_its_last_reference(name: str, autojump_clock: MockClock) -> None:
    @function_tool
    async def f() -> str:
        return "done"

    script = [*SCRIPTS[name], text("Hi")]
    async with one(script) as model:
        turn = run_turn(model, chat_ctx=conversation(), tools=[f], conn_options=RETRIES)
        gone = weakref.ref(turn)
        errors: list[Any] = []
        try:
            await read(turn)
        except APIError as exc:
            forget_own_frames(exc)
            errors.append(weakref.ref(exc))
        await settled()
        del turn
        assert gone() is None
        assert [each() for each in errors] == [None for _ in errors]


async def read(turn: Turn) -> None:
    async with turn:
        async for _ in turn.text:
            pass


@pytest.mark.parametrize("closing", [leave_at_once, close_at_once])
async def test_a_stream_goes_whose_auth_callable_failed_in_its_clean_up(
    closing: Way, autojump_clock: MockClock
) -> None:
    async def auth() -> str:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async with MemoryNetwork(text("Hi")) as network, open_llm_with_auth(network, auth) as llm:
        stream = ask(llm)
        gone = weakref.ref(stream)
        await closing(stream)
        await settled()
        assert isinstance(stream.error, ZeroDivisionError)
        del stream
        if sys.version_info >= (3, 13):
            # The cancellation that the error came from is Trio's, and so are its frames.
            gc.collect()
        assert gone() is None


async def test_a_turn_that_is_closed_before_it_was_entered_holds_no_request(
    autojump_clock: MockClock,
) -> None:
    async with one([text("Hi")]) as model:
        turn = run_turn(model, chat_ctx=conversation(PICTURE))
        turn_alone = turn._loop._first
        assert turn_alone is not None
        gone = weakref.ref(turn_alone)
        del turn_alone
        await turn.aclose()
        assert gone() is None


async def test_an_auth_callable_s_frames_keep_their_locals(autojump_clock: MockClock) -> None:
    """A debugger wants to see them; they are the program's."""

    async def auth() -> str:
        reason = "no token to be had"
        raise ZeroDivisionError(reason)

    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm_with_auth(network, auth) as llm:
            with pytest.raises(ZeroDivisionError) as caught:
                await ask(llm).collect()
    frame = caught.traceback[-1].frame
    assert frame.f_locals["reason"] == "no token to be had"


@asynccontextmanager
async def open_llm_with_auth(network: MemoryNetwork, auth: Any) -> AsyncIterator[LLM]:
    async with network.client() as client:
        llm = LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client)
        async with llm:
            yield llm


def large_things_held_by(root: object) -> list[str]:
    """What an object leads to that holds the picture, by the kinds of the objects on the way.

    Modules, classes, functions' globals and tasks are not followed: they lead everywhere.
    """
    found: list[str] = []
    seen: set[int] = {id(PICTURE)}
    todo: list[tuple[object, str]] = [(root, type(root).__name__)]
    while todo:
        each, path = todo.pop()
        if id(each) in seen or isinstance(each, type | type(gc) | trio.lowlevel.Task):
            continue
        seen.add(id(each))
        if isinstance(each, str | bytes | bytearray) and len(each) >= len(PICTURE):
            found.append(path)
        if callable(each) and hasattr(each, "__globals__"):
            continue
        # A frame of this file may hold anything; ours must not. The servers keep what they read.
        where = each.f_globals["__name__"] if hasattr(each, "f_globals") else type(each).__module__
        if where.startswith(("test", "lktrio.testing")):
            continue
        todo += [(next_, f"{path} > {type(next_).__name__}") for next_ in gc.get_referents(each)]
    return found
