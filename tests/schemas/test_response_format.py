"""Answers of a given shape: what is sent for it, and what comes back."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import pytest
from trio.testing import MockClock

from lktrio import LLM, APIConnectOptions, APIRefusalError, APIResponseFormatError, APIStatusError
from lktrio._json.partial import MISSING
from lktrio._schemas import response_format as _response_format
from lktrio._schemas.response_format import PartialValue
from tests.support.engine import BASE_URL, ONCE, ask, conversation, open_llm
from tests.support.matrix import CANCEL_WAIT, Cut, Series, sweep
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Exchange,
    error,
    finish,
    refusal_chunk,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
)


@attrs.frozen
class Weather:
    city: str
    temperature: float
    conditions: str | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Profile(TypedDict):
    name: str
    age: int


class Pair(NamedTuple):
    left: int
    right: str


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int


@attrs.frozen
class Dog:
    kind: Literal["dog"]
    tricks: list[str]


def says(value: Any) -> Exchange:
    """A server that answers with a JSON value, cut into small pieces."""
    answer = value if isinstance(value, str) else json.dumps(value)
    return text(*[answer[i : i + 5] for i in range(0, len(answer), 5)])


async def parsed(response_format: Any, answer: Any) -> tuple[Any, dict[str, Any]]:
    """What became of an answer, and the ``response_format`` that was sent."""
    async with MemoryNetwork(says(answer)) as network, open_llm(network) as llm:
        collected = await ask(llm, response_format=response_format).collect()
        return collected.parsed, network.requests[0].json()["response_format"]


async def test_a_class_is_sent_as_a_strict_schema(autojump_clock: MockClock) -> None:
    value, sent = await parsed(Weather, {"city": "Paris", "temperature": 21, "conditions": None})

    assert value == Weather("Paris", 21.0)
    assert isinstance(value.temperature, float)
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["name"] == "Weather"
    assert sent["json_schema"]["strict"] is True
    schema = sent["json_schema"]["schema"]
    assert schema["type"] == "object"
    assert schema["required"] == ["city", "temperature", "conditions"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("type_", "answer", "value"),
    [
        (Point, {"x": 1, "y": None}, Point(1)),
        (Profile, {"name": "Ada", "age": 36}, {"name": "Ada", "age": 36}),
        (Pair, {"left": 1, "right": "r"}, Pair(1, "r")),
    ],
)
async def test_other_classes(
    autojump_clock: MockClock, type_: Any, answer: Any, value: Any
) -> None:
    assert (await parsed(type_, answer))[0] == value


@pytest.mark.parametrize(
    ("type_", "answer", "value"),
    [
        (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)]),
        (Cat | Dog, {"kind": "dog", "tricks": ["sit"]}, Dog("dog", ["sit"])),
        (int, 7, 7),
        (Literal["yes", "no"], "yes", "yes"),
    ],
)
async def test_what_is_no_object_is_wrapped_in_one(
    autojump_clock: MockClock, type_: Any, answer: Any, value: Any
) -> None:
    result, sent = await parsed(type_, {"value": answer})

    assert result == value
    schema = sent["json_schema"]["schema"]
    assert (schema["type"], schema["required"]) == ("object", ["value"])
    assert sent["json_schema"]["name"].replace("_", "").isalnum()


async def test_a_mapping_is_sent_as_it_is(autojump_clock: MockClock) -> None:
    value, sent = await parsed({"type": "json_object"}, {"a": 1})

    assert value is None
    assert sent == {"type": "json_object"}


async def test_an_answer_in_a_fence_is_read(autojump_clock: MockClock) -> None:
    value, _ = await parsed(Point, '```json\n{"x": 1, "y": 2}\n```')

    assert value == Point(1, 2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"city": "Paris"}, "temperature"),
        ({"city": 7, "temperature": 1, "conditions": None}, "city"),
        ({"city": "Paris", "temperature": "hot", "conditions": None}, "temperature"),
        ("It is sunny in Paris.", "JSON"),
        ("[1, 2]", "object"),
        ('{"city": "Par', "cut off"),
    ],
)
async def test_an_answer_that_does_not_fit(
    autojump_clock: MockClock, answer: Any, reason: str
) -> None:
    async with MemoryNetwork(says(answer)) as network, open_llm(network) as llm:
        with pytest.raises(APIResponseFormatError, match="Weather") as caught:
            await ask(llm, response_format=Weather).collect()
    exc = caught.value
    assert any(reason in line for line in exc.reasons)
    assert "arguments" not in str(exc)
    assert exc.text == (answer if isinstance(answer, str) else json.dumps(answer))
    assert exc.partial.text == exc.text
    assert len(exc.attempts) == 1
    assert not exc.retryable


async def test_an_empty_answer_does_not_fit(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(sse(finish(), DONE)) as network, open_llm(network) as llm:
        with pytest.raises(APIResponseFormatError, match="empty"):
            await ask(llm, response_format=Weather).collect()


async def test_an_answer_that_was_cut_off_says_so(autojump_clock: MockClock) -> None:
    answer = sse(text_chunk('{"city": "Par'), finish("length"), DONE)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        with pytest.raises(APIResponseFormatError) as caught:
            await ask(llm, response_format=Weather).collect()
    assert "limit of tokens" in caught.value.reasons[0]


async def test_a_refusal_is_an_error_of_its_own(autojump_clock: MockClock) -> None:
    answer = sse(refusal_chunk("I can"), refusal_chunk("not."), finish(), DONE)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        with pytest.raises(APIRefusalError) as caught:
            await ask(llm, response_format=Weather).collect()
    assert caught.value.refusal == "I cannot."


async def test_an_answer_of_tool_calls_has_no_value(autojump_clock: MockClock) -> None:
    answer = sse(tool_call_chunk("{}", id="call_a", name="f"), finish("tool_calls"), DONE)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        collected = await ask(llm, response_format=Weather).collect()
    assert collected.parsed is None
    assert len(collected.tool_calls) == 1


async def test_a_failed_request_stays_what_it_is(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(error(400)) as network, open_llm(network) as llm:
        with pytest.raises(APIStatusError):
            await ask(llm, response_format=Weather).collect()


async def test_partial_values_while_streaming(autojump_clock: MockClock) -> None:
    answer = {"city": "Paris", "temperature": 21.5, "conditions": "sunny"}
    async with MemoryNetwork(says(answer)) as network, open_llm(network) as llm:
        async with ask(llm, response_format=Weather) as stream:
            values = [value async for value in stream.partial_values]

    *partial, whole = values
    assert whole == Weather("Paris", 21.5, "sunny")
    assert partial[0] == {}
    assert {"city": "Paris", "temperature": 21.5, "conditions": "s"} in partial
    assert all(value.get("temperature", 21.5) == 21.5 for value in partial)
    assert partial[-1] == answer


@pytest.mark.parametrize("one_iterator", [True, False])
@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("type_", [Weather, None])
def test_a_wait_for_a_partial_value_that_is_given_up_loses_none(
    one_iterator: bool, series: Series, type_: Any
) -> None:
    answer = {"city": "Paris", "temperature": 21.5, "conditions": "sunny"}
    options = {} if type_ is None else {"response_format": type_}

    async def scenario(cut: Cut) -> list[Any]:
        got: list[Any] = []
        async with MemoryNetwork(says(answer)) as network, open_llm(network) as llm:
            with cut.watched():
                async with ask(llm, **options) as stream:
                    values = stream.partial_values
                    while True:
                        with cut.one_wait():
                            try:
                                got.append(
                                    await anext(values if one_iterator else stream.partial_values)
                                )
                            except StopAsyncIteration:
                                return got

    outcome = sweep(scenario, CANCEL_WAIT, series)
    last = answer if type_ is None else Weather("Paris", 21.5, "sunny")
    assert outcome.undisturbed[-1] == last
    assert all(result == outcome.undisturbed for result in outcome.results)


async def test_after_the_block_a_misfit_or_a_refusal_is_the_same_error_again(
    autojump_clock: MockClock,
) -> None:
    refusal = sse(refusal_chunk("I will not."), finish(), DONE)
    for answer, kind in ((says({}), APIResponseFormatError), (refusal, APIRefusalError)):
        async with MemoryNetwork(answer) as network, open_llm(network) as llm:
            async with ask(llm, response_format=Weather) as stream:
                with pytest.raises(kind) as first:
                    await stream.collect()
            frames = len(first.traceback)
            for _ in range(3):
                with pytest.raises(kind) as again:
                    await stream.collect()
                assert again.value is first.value
                assert len(again.traceback) <= frames


async def test_after_the_block_the_value_is_there(autojump_clock: MockClock) -> None:
    answer = {"city": "Paris", "temperature": 21.5, "conditions": "sunny"}
    async with MemoryNetwork(says(answer)) as network, open_llm(network) as llm:
        async with ask(llm, response_format=Weather) as stream:
            async for _ in stream:
                pass
        assert (await stream.collect()).parsed == Weather("Paris", 21.5, "sunny")


async def test_partial_values_of_a_list(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(says({"value": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]})) as network:
        async with open_llm(network) as llm:
            async with ask(llm, response_format=list[Point]) as stream:
                values = [value async for value in stream.partial_values]

    assert values[0] == [{}]
    assert [{"x": 1, "y": 2}, {}] in values
    assert values[-1] == [Point(1, 2), Point(3, 4)]


async def test_partial_values_end_with_the_error(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(says({"city": "Paris"})) as network, open_llm(network) as llm:
        seen: list[Any] = []
        with pytest.raises(APIResponseFormatError):
            async with ask(llm, response_format=Weather) as stream:
                async for value in stream.partial_values:
                    seen.append(value)  # noqa: PERF401 - what came before the error is the point
    assert seen[-1] == {"city": "Paris"}


@pytest.mark.parametrize(
    ("type_", "error_type", "match"),
    [
        (dict[str, Any], ValueError, "dict"),
        (object, ValueError, "object"),
        ("Weather", TypeError, "it is a string; give a type, or {'type': 'json_object'}"),
        (Weather("Rome", 18.0), TypeError, "it is a value; give its type, Weather"),
        (7, TypeError, "7 has no JSON form"),
        (lambda: None, TypeError, "response_format"),
        ([int], TypeError, "has no JSON form"),
        (threading.Event(), TypeError, "has no JSON form"),
    ],
)
def test_a_format_that_cannot_be_asked_for(
    type_: Any, error_type: type[Exception], match: str
) -> None:
    llm = LLM("m", base_url=BASE_URL, auth=None)
    with pytest.raises(error_type, match=match):
        llm.chat(chat_ctx=conversation(), response_format=type_)


async def test_the_shape_of_a_class_is_built_once(autojump_clock: MockClock) -> None:
    llm = LLM("m", base_url=BASE_URL, auth=None)
    first = llm.chat(chat_ctx=conversation(), conn_options=ONCE, response_format=Weather)
    second = llm.chat(
        chat_ctx=conversation(), conn_options=APIConnectOptions(), response_format=Weather
    )
    assert first._shape is second._shape


# --- Work ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "piece", "last"),
    [('{"a": "', "x", '"}'), ("[", "1,", "2]"), ('{"a": [', "[],", "1]}")],
)
def test_the_values_of_a_long_answer_take_linear_work(
    monkeypatch: pytest.MonkeyPatch, first: str, piece: str, last: str
) -> None:
    monkeypatch.setattr(_response_format, "_EVERY_PIECE_UP_TO", 256)

    def characters_handed_out(size: int) -> int:
        partial = PartialValue(None)
        handed_out = 0
        for arriving in (first, *[piece] * size, last):
            value = partial.feed(arriving)
            if value is not MISSING:
                handed_out += len(json.dumps(value))
        assert partial.look() in (MISSING, json.loads(first + piece * size + last))
        return handed_out

    once, twice = characters_handed_out(5_000), characters_handed_out(10_000)
    assert once >= 20 * 5_000, "there are values on the way"
    assert twice <= 2.2 * once


def test_what_follows_text_that_is_no_json_is_not_kept() -> None:
    partial = PartialValue(None)
    assert partial.feed('{"a": 1} and ') == {"a": 1}

    assert partial.feed("more") is MISSING
    assert partial.look() is MISSING
    assert not partial.is_behind


def test_a_short_answer_gives_a_value_with_every_piece() -> None:
    partial = PartialValue(None)
    partial.feed('{"a": "')
    for length in range(1, 8000):
        assert partial.feed("x") == {"a": "x" * length}


async def test_the_last_partial_value_is_the_whole_of_a_long_answer(
    autojump_clock: MockClock,
) -> None:
    text = json.dumps({"a": "x" * 20_000})
    pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
    answer = sse(*map(text_chunk, pieces), finish(), DONE)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        async with ask(llm, response_format={"type": "json_object"}) as stream:
            values = [value async for value in stream.partial_values]
    assert values[-1] == json.loads(text)
    assert all(map(is_longer, values[1:], values))
    assert 1_000 < len(values) < len(pieces)


def is_longer(value: dict[str, str], than: dict[str, str]) -> bool:
    return len(value["a"]) > len(than.get("a", ""))


async def test_what_a_type_is_annotated_with_need_not_be_hashable(
    autojump_clock: MockClock,
) -> None:
    @attrs.frozen
    class Length:
        metres: float

    length: Any = Annotated[Length, {"title": "Length"}]
    async with MemoryNetwork(text('{"metres": 2.5}')) as network, open_llm(network) as llm:
        stream = llm.chat(chat_ctx=conversation(), response_format=length)
        assert (await stream.collect()).parsed == Length(2.5)
