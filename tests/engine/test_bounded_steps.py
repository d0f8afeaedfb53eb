"""Nothing that a server or a model sends keeps the rest of the program waiting.

What is large is read in steps, with a checkpoint between them. A step is bounded in three ways: in
the calls that the library makes, in what is looked at character by character, and in what is handed
to a decoder, which runs to its end in one call. The table of all bounds is in docs/design.md.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lktrio import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError
from lktrio._answers.chunks import ChatChunk, ChoiceDelta, CollectedResponse
from lktrio._answers.redaction import redact_error
from lktrio._engine.stream import _PartialValues, _Values
from lktrio._json import text as json_text
from lktrio._json.arguments import parse_arguments
from lktrio._json.mismatch import Mismatch
from lktrio._json.text import (
    MAX_DECODED_VALUES,
    MAX_DEPTH,
    MAX_ESCAPES,
    MAX_WALKED_VALUES,
    SLICE,
    ObjectScanner,
)
from lktrio._wire import decoding as _decoding
from lktrio._wire import payloads as _payloads
from lktrio._wire import server_errors as _server_errors
from lktrio._wire.assembler import Assembler
from lktrio._wire.body import AnswerReader
from lktrio._wire.headers import HeaderFacts
from lktrio._wire.server_errors import status_error
from lktrio._wire.tool_calls import MAX_ARGUMENTS_CHARACTERS, MAX_TOOL_CALLS
from tests.support.answers import catch_up, read
from tests.support.engine import ask, open_llm
from tests.support.linear_work import calls_made
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Close,
    Exchange,
    Hold,
    Reset,
    event,
    finish,
    response,
    sse,
    text_chunk,
)

SIZE = 1024 * 1024
CALLS = 200_000
"""Most calls of a step. Nearly all are of the smallest kind, such as `isinstance`: 10 to 30 ms."""


def filled(before: str, unit: str, after: str, size: int = SIZE) -> bytes:
    """A text as long as this."""
    return (before + unit * ((size - len(before) - len(after)) // len(unit)) + after).encode()


def content(unit: str, *, damaged: bool = False, size: int = SIZE) -> bytes:
    """A piece of an answer with much text, read by the tolerant decoder if it is damaged."""
    return filled(
        f'{{{damaged * """"created":NaN,"""}"choices":[{{"delta":{{"content":"', unit, '"}}]}', size
    )


UNITS = ["[],", "{},", "1,", '"",', '{"":{}},', "1.5,", "[[]],", '"[],",']
SHAPES: dict[str, bytes] = {
    **{f"error {unit}": filled('{"error":[', unit, "1]}") for unit in UNITS},
    **{f"choices {unit}": filled('{"choices":[', unit, "{}]}") for unit in UNITS},
    **{
        f"unread {unit}": filled('{"choices":[{"delta":{"content":"x"}}],"x":[', unit, "1]}")
        for unit in UNITS
    },
    **{
        f"{member} {count}": (
            f'{{"choices":[{{"delta":{{"{member}":[{"{}," * count}{{}}]}}}}]}}'.encode()
        )
        for member in ("tool_calls", "reasoning_details", "content")
        for count in (9_000, 30_000)
    },
    **{
        f"attached {count}": (
            f'{{"choices":[{{"delta":{{"extra_content":{{"g":[{"0," * count}0]}}}}}}]}}'.encode()
        )
        for count in (19_000, 60_000)
    },
    "attached to a call": (
        '{"choices":[{"delta":{"tool_calls":[{"extra_content":{"g":['
        f"{'0,' * 60_000}0]"
        "}}]}}]}"
    ).encode(),
    **{
        f"arguments {count}": (
            '{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":'
            f'"[{"[]," * count}0]"'
            "}}]}}]}"
        ).encode()
        for count in (9_000, 30_000, 300_000)
    },
    "arguments that are no string": filled(
        '{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":[',
        "0,",
        "0]}}]}}]}",
        2 * MAX_WALKED_VALUES - 1000,
    ),
    **{f"text {unit}": content(unit) for unit in ("x", "é", "<", "<think></think>", "<thin", "[")},
    **{f"text {unit}, damaged": content(unit, damaged=True) for unit in ("x", "😀", "<think>")},
    "error text": filled('{"error":"', "😀", '"}'),
    "error texts": filled('{"error":["', "😀" * 300 + '","', '"]}'),
    "id": filled('{"created":NaN,"id":"', "é", '","choices":[{"delta":{"content":"x"}}]}'),
    "escapes": content("x\\n"),
    "halves": content("\\ud83d"),
    "bytes that are no text": content("\0").replace(b"\0", b"\xff"),
    "deep": filled('{"x":', "[", ""),
    "deep objects": filled("", '{"a":', ""),
    "open string": filled('{"choices":[{"delta":{"content":"', "x", ""),
    "no JSON": filled("{", "x,", ""),
}


class Spy:
    """Notes what is done in each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scanned = 0
        self.decoded: list[int] = []
        self._monkeypatch = monkeypatch
        self._note_scanned()
        self._note_decoded(_payloads, "_decode_chunk")
        self._note_decoded(_decoding, "loads")
        self._note_decoded(_server_errors, "loads")

    def _note_scanned(self) -> None:
        scan = ObjectScanner._feed

        def noting(scanner: ObjectScanner, text: str) -> None:
            self.scanned += len(text)
            scan(scanner, text)

        self._monkeypatch.setattr(ObjectScanner, "_feed", noting)

    def _note_decoded(self, module: ModuleType, name: str) -> None:
        decode: Callable[[Any], Any] = getattr(module, name)

        def noting(data: Any) -> Any:
            text = data if isinstance(data, str) else data.decode("latin-1")
            self.decoded.append(values_in(text))
            assert text.count("\\") <= MAX_ESCAPES or len(text) <= SLICE
            return decode(data)

        self._monkeypatch.setattr(module, name, noting)


def values_in(text: str) -> int:
    """Values in a text, counted without the code that is tested."""
    outside = json_text._TOKENS.findall(text)
    return sum(token in {",", "{", "["} for token in outside)


@pytest.mark.parametrize("whole", [False, True], ids=["event", "body"])
@pytest.mark.parametrize("name", SHAPES)
def test_no_step_of_reading_is_long(
    name: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = SHAPES[name]
    body = shape if whole else b"data: " + shape + b"\n\ndata: [DONE]\n\n"
    reader, out = AnswerReader(Assembler()), list[ChatChunk]()
    spy = Spy(monkeypatch)
    steps: list[Callable[[], None]] = [
        *(
            lambda piece=body[start : start + SLICE]: reader.feed(piece, out)
            for start in range(0, len(body), SLICE)
        ),
        lambda: reader.finish(out),
    ]

    def note(step: Callable[[], None]) -> None:
        spy.scanned = 0
        spy.decoded.clear()
        calls = calls_made(step, by_anybody=True)
        assert calls <= CALLS
        # What was read before, and the beginning of the large one.
        assert spy.scanned <= 2 * SLICE + MAX_ARGUMENTS_CHARACTERS * ("arguments" in name)
        assert sum(spy.decoded) <= 1.5 * MAX_DECODED_VALUES

    failure: APIError | None = None
    try:
        for step in steps:
            note(step)
            while reader.is_behind:
                note(lambda: reader.feed(b"", out))
    except APIError as error:
        failure = error
    if failure is not None:
        assert len(failure.message) < 2000
        assert calls_made(lambda: redact_error(failure, ["secret-0123456789"] * 5)) <= CALLS
    assert calls_made(reader.assembler.snapshot, by_anybody=True) <= CALLS


@pytest.mark.parametrize(
    "unit",
    [*UNITS, '{"error":', '{"message":', "\\\\", "<p>", "data: x\\n\\n", '[{"a":"{\\"b\\":1}"},'],
)
@pytest.mark.parametrize(
    "form", ["%s", '{"error":[%s{}]}', '{"error":{"details":"[%s0]"}}', '"%s"']
)
def test_the_body_of_an_error_is_read_in_a_short_step(form: str, unit: str) -> None:
    body = (form % (unit * (64 * 1024 // len(unit)))).encode()

    def act() -> None:
        error = status_error(500, body, HeaderFacts())
        redact_error(error, ["secret-0123456789"] * 5)
        assert len(error.message) < 1000

    assert calls_made(act, by_anybody=True) <= CALLS


SMALL_EVENTS = [
    *("data:1\n\n", "data: {}\n\n", 'data: {"a":NaN}\n\n', ":\n", "\n", "x\n", "\r", "data:\n\n"),
    *(
        "data:[]\n\n",
        "event:ping\ndata:x\n\n",
        'data: {"choices":[{"delta":{"content":[1,1]}}]}\n\n',
    ),
]


@pytest.mark.parametrize("unit", SMALL_EVENTS)
def test_many_small_events_in_one_read_take_several_steps(unit: str) -> None:
    reader = AnswerReader(Assembler())
    out: list[ChatChunk] = []
    reader.feed(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', out)
    data = (unit * (SLICE // len(unit))).encode()
    # Lines are cut in one step; what is in them is looked at in several.
    assert calls_made(lambda: reader.feed(data, out)) <= 2 * CALLS
    while reader.is_behind:
        assert calls_made(lambda: reader.feed(b"", out)) <= CALLS


@pytest.mark.parametrize("unit", ["x", "é", "😀", "\\n", "[", "a, b: {c} "])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_large_text_arrives_whole(unit: str, damaged: bool) -> None:
    size = 600_000
    data = content(unit, damaged=damaged, size=size)
    expected = json.loads(data)["choices"][0]["delta"]["content"]
    for outcome in (read(b"data: " + data + b"\n\ndata: [DONE]\n\n"), read(data)):
        assert outcome.failure is None
        assert outcome.text == expected


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "r" * 200_000, "content": "c" * 200_000, "refusal": "x" * 100_000},
        {"reasoning_content": "r" * 200_000, "reasoning": "r", "content": "c"},
        {"content": [{"text": "c" * 100_000}, {"type": "thinking", "thinking": "t" * 70_000}]},
        {"reasoning_details": [{"text": "t" * 200_000}], "content": "c"},
        {"content": "<think>" + "t" * 100_000 + "</think>" + "c" * 100_000},
        {"content": "c", "extra_content": {"google": {"thought_signature": "s" * 200_000}}},
        {
            "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": f'{{"a":"{"y" * 99_999}"}}'}}
            ]
        },
    ],
    ids=["all", "reasoning twice", "parts", "details", "thinking", "attached", "call"],
)
@pytest.mark.parametrize("member", ["delta", "message"])
def test_a_large_payload_says_in_steps_what_it_says_at_once(
    delta: dict[str, Any], member: str
) -> None:
    value = {
        "id": "c1",
        "model": "m",
        "service_tier": "t",
        "usage": {"prompt_tokens": 3},
        "choices": [
            {"index": 1, member: {"content": "no"}},
            {member: delta, "finish_reason": "stop"},
        ],
    }
    data = json.dumps(value).encode()
    at_once = read(data, at_once=len(data))
    assert at_once.failure is None
    for outcome in (read(data), read(b"data: " + data + b"\n\ndata: [DONE]\n\n")):
        assert outcome == at_once


def test_a_large_message_that_repeats_the_answer_adds_nothing() -> None:
    text = "word " * 40_000
    message = {"content": f"<think>hm</think>{text}"}
    body = event({"choices": [{"delta": {"content": text}}]})
    again = event({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert read(body, again, DONE).text == text
    other = event({"choices": [{"message": {"content": "other" + "x" * 70_000}}]})
    assert read(body, other, DONE).text == text + "other" + "x" * 70_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (SHAPES["deep"], f"is nested deeper than {MAX_DEPTH} levels"),
        (SHAPES["deep objects"], f"is nested deeper than {MAX_DEPTH} levels"),
        (SHAPES["choices {},"], f"holds more than {MAX_DECODED_VALUES} values"),
        (SHAPES["reasoning_details 30000"], f"holds more than {MAX_WALKED_VALUES} values"),
        (SHAPES["content 30000"], f"holds more than {MAX_WALKED_VALUES} values"),
        (SHAPES["attached 60000"], f"holds more than {MAX_WALKED_VALUES} values"),
        (content("x\\n", size=2 * SIZE), f"holds more than {MAX_ESCAPES} escapes"),
    ],
    ids=["deep", "objects", "error", "details", "parts", "attached", "escapes"],
)
@pytest.mark.parametrize("whole", [False, True], ids=["event", "body"])
def test_what_is_too_much_is_an_error_that_says_so(data: bytes, reason: str, whole: bool) -> None:
    outcome = read(data) if whole else read(b"data: " + data + b"\n\ndata: [DONE]\n\n")
    assert type(outcome.failure) is APIConnectionError
    assert reason in outcome.failure.message
    assert not outcome.failure.retryable
    assert isinstance(outcome.failure.body, str)


@pytest.mark.parametrize("whole", [False, True], ids=["event", "body"])
@pytest.mark.parametrize("name", ["error {},", "error [],", "error texts", "error text"])
def test_an_error_that_is_too_much_is_still_the_server_s_error(name: str, whole: bool) -> None:
    data = SHAPES[name]
    outcome = read(data) if whole else read(b"data: " + data + b"\n\ndata: [DONE]\n\n")
    assert type(outcome.failure) is APIStatusError
    assert outcome.failure.status_code == -1
    assert outcome.failure.retryable
    assert '"error"' in outcome.failure.message or "😀" in outcome.failure.message
    assert len(json.dumps(outcome.failure.body, ensure_ascii=False)) < 2 * SLICE


@pytest.mark.parametrize("data", [b"[" + b"1," * 40_000 + b"1]", b'"' + b"x" * 80_000 + b'"'])
def test_a_large_event_that_is_no_object_is_nothing(data: bytes) -> None:
    before = event({"choices": [{"delta": {"content": "Hi"}}]})
    assert read(before, b"data: " + data[:70_000] + data[-1:] + b"\n\n", DONE).text == "Hi"


@pytest.mark.parametrize("end", [b"", b"\n\n"])
@pytest.mark.parametrize("start", [b"[DONE]", b"  [DONE]"])
def test_an_end_mark_with_much_behind_it_is_one(start: bytes, end: bytes) -> None:
    before = event({"choices": [{"delta": {"content": "Hi"}}]})
    outcome = read(before, b"data: " + start + b" " * 70_000 + end)
    assert (outcome.text, outcome.failure) == ("Hi", None)


def test_a_message_is_looked_for_at_a_bounded_number_of_places() -> None:
    def message_in(value: object) -> str:
        return status_error(500, json.dumps(value).encode(), HeaderFacts()).message

    assert message_in([{}] * 100 + [{"message": "no"}]) == "no"
    assert message_in([{}] * 2_000 + [{"message": "no"}]) == "Internal Server Error"
    nested: object = "no"
    for _ in range(8):
        nested = [nested]
    assert message_in(nested) == "no"
    assert message_in([nested]) == message_in([[nested]]) == "Internal Server Error"


def test_a_large_event_that_is_named_error_is_quoted_from_its_beginning() -> None:
    data = b"event: error\ndata: " + SHAPES["choices {},"] + b"\n\n"
    outcome = read(data)
    assert type(outcome.failure) is APIStatusError
    assert outcome.failure.message.startswith('{"choices":[{},{}')


def test_many_values_that_nobody_reads_are_passed_over() -> None:
    """For example the probabilities of every token of a whole completion."""
    token = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}
    value = {
        "choices": [
            {
                "message": {"content": "Hi"},
                "logprobs": {"content": [token] * 8_000},
                "finish_reason": "stop",
            }
        ]
    }
    data = json.dumps(value).encode()
    assert MAX_WALKED_VALUES < values_in(data.decode()) < MAX_DECODED_VALUES
    assert read(data).text == "Hi"


def test_a_large_error_is_quoted_from_its_beginning() -> None:
    value = {"error": {"message": "no", "code": 429, "details": ["x" * 1000] * 100}}
    outcome = read(b"data: " + json.dumps(value).encode() + b"\n\n")
    assert isinstance(outcome.failure, APIStatusError)
    assert (outcome.failure.message, outcome.failure.status_code) == ("no", 429)
    assert str(outcome.failure.body).startswith('{"error": {"message": "no"')
    assert len(str(outcome.failure.body)) < SLICE


# --- Over the network ----------------------------------------------------------------------------


async def turns_of_others(action: Callable[[], Any]) -> tuple[Any, int]:
    """What an action returns, and how many turns another task has had in the meantime."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        result = await action()
        nursery.cancel_scope.cancel()
    return result, turns


LARGE = "word, " * 200_000


@pytest.mark.parametrize(
    "reply",
    [
        sse(event({"choices": [{"delta": {"content": LARGE}}]}), finish(), DONE),
        response(
            200,
            json.dumps(
                {"choices": [{"message": {"content": LARGE}, "finish_reason": "stop"}]}
            ).encode(),
            {"Content-Type": "application/json"},
        ),
        # The connection is lost while what it has brought is still being read.
        sse(event({"choices": [{"delta": {"content": LARGE}}]}), finish(), end=False).then(Reset()),
        sse(event({"choices": [{"delta": {"content": LARGE}}]}), DONE, end=False).then(Close()),
        sse(event({"choices": [{"delta": {"content": LARGE}, "finish_reason": "stop"}]})).then(),
    ],
    ids=["events", "body", "reset", "closed", "no end mark"],
)
async def test_others_have_their_turn_while_a_large_answer_is_read(
    reply: Exchange, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork(reply) as network, open_llm(network) as llm:
        answer, turns = await turns_of_others(ask(llm).collect)
    assert answer.text == LARGE
    # A turn for each read, each slice that is counted, and each piece of the text.
    assert turns >= 3 * len(LARGE) // SLICE


async def test_a_consumer_that_does_not_read_holds_up_a_large_text(
    autojump_clock: MockClock,
) -> None:
    reply = sse(event({"choices": [{"delta": {"content": LARGE}}]}), finish(), DONE)
    async with MemoryNetwork(reply) as network, open_llm(network) as llm:
        async with ask(llm) as stream:
            first = await anext(stream.text)
            await trio.sleep(60)
            pieces = [first]
            assert "chunks" in repr(stream)
            assert int(repr(stream).split()[-2]) <= 6
            pieces += [piece async for piece in stream.text]
    assert "".join(pieces) == LARGE


async def test_what_came_before_a_clock_ran_out_is_read_to_its_end(
    autojump_clock: MockClock,
) -> None:
    many = b"data: 1\n\n" * 4_000
    reply = sse(text_chunk("Hi") + many + text_chunk(" there"), end=False).then(Hold())
    options = APIConnectOptions(max_retry=0, total_timeout=5.0)
    async with MemoryNetwork(reply) as network, open_llm(network) as llm:
        async with ask(llm, options) as stream:
            with pytest.raises(APITimeoutError) as caught:
                async for _ in stream:
                    pass
    assert caught.value.partial.text == "Hi there"
    assert caught.value.clock == "total"


async def test_what_has_come_is_read_to_its_end_although_a_clock_runs_out_in_the_meantime(
    autojump_clock: MockClock,
) -> None:
    many = b"data: 1\n\n" * 4_000
    reply = sse(text_chunk("Hi") + many + text_chunk(" there"), end=False).then(Hold())
    options = APIConnectOptions(max_retry=0, total_timeout=5.0)
    async with MemoryNetwork(reply) as network, open_llm(network) as llm:
        async with ask(llm, options) as stream:
            assert await anext(stream.text) == "Hi"
            # As it does for a program that blocks its own loop.
            autojump_clock.jump(6.0)
            assert await anext(stream.text) == " there"
            with pytest.raises(APITimeoutError) as caught:
                await anext(stream.text)
    assert caught.value.clock == "total"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("closed", [True, False])
async def test_a_deep_answer_ends_without_a_recursion_error(
    opening: str, closed: bool, autojump_clock: MockClock
) -> None:
    answer = opening * 15_000 + ("1" + ("]" if opening == "[" else "}") * 15_000) * closed
    pieces = [text_chunk(answer[start : start + 200]) for start in range(0, len(answer), 200)]
    async with MemoryNetwork(sse(*pieces, finish(), DONE)) as network, open_llm(network) as llm:
        async with ask(llm, response_format={"type": "json_object"}) as stream:
            values = [value async for value in stream.partial_values]
    assert len(values) <= MAX_DEPTH


async def all_of(values: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in values]


async def test_others_have_their_turn_while_a_value_is_read(autojump_clock: MockClock) -> None:
    answer = json.dumps(["word"] * 15_000)
    reply = sse(text_chunk(answer), finish(), DONE)
    async with MemoryNetwork(reply) as network, open_llm(network) as llm:
        async with ask(llm, response_format={"type": "json_object"}) as stream:
            values, turns = await turns_of_others(lambda: all_of(stream.partial_values))
    assert values[-1] == ["word"] * 15_000
    assert turns >= len(answer) // (8 * 1024)


class Chunks:
    """A stream of which the wait is given up when it has handed out its chunk."""

    def __init__(self, text: str, scope: trio.CancelScope) -> None:
        self._chunks = [ChatChunk("c", ChoiceDelta(content=text))]
        self._scope = scope

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        if not self._chunks:
            raise StopAsyncIteration
        self._scope.cancel()
        return self._chunks.pop()

    async def collect(self) -> CollectedResponse[None]:
        return CollectedResponse()


async def test_a_wait_that_is_given_up_while_a_value_is_read_loses_nothing() -> None:
    answer = list(range(9_000))
    scope = trio.CancelScope()
    stream: Any = Chunks(json.dumps(answer), scope)
    values = _PartialValues(stream, _Values(None))
    with scope:
        await anext(values)
    assert scope.cancelled_caught
    assert await anext(values) == answer
    with pytest.raises(StopAsyncIteration):
        await anext(values)


# --- Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [*UNITS, "[", '{"a":', "x,", "'a',", '"', "\\\\", "a b "])
@pytest.mark.parametrize("form", ['{"a":[%s0]}', "{'a':[%s", "%s", '"%s"', '{"a":"%s"}'])
@pytest.mark.parametrize("size", [8_000, 900_000])
def test_arguments_are_read_in_a_short_step(form: str, unit: str, size: int) -> None:
    text = form % (unit * (size // len(unit)))

    def act() -> None:
        with contextlib.suppress(Mismatch):
            parse_arguments(text)

    # The repair of what is malformed makes many calls, each of them short.
    assert calls_made(act, by_anybody=True) <= 2 * CALLS


def test_arguments_that_hold_too_much_are_refused_with_words_for_the_model() -> None:
    with pytest.raises(Mismatch, match="hold more than 10000 values"):
        parse_arguments(json.dumps({"a": [0] * 10_001}))
    assert parse_arguments(json.dumps({"a": [0] * 9_990})).values == {"a": [0] * 9_990}
    inner = json.dumps({"a": [0] * 10_001})
    with pytest.raises(Mismatch, match="hold more than 10000 values"):
        parse_arguments(json.dumps(inner))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"a":"' + "x" * MAX_ARGUMENTS_CHARACTERS + '"}', "larger than 1048576 characters"),
        ('{"a":[' + "0," * MAX_WALKED_VALUES + "0]}", "hold more than 20000 values"),
    ],
    ids=["characters", "values"],
)
@pytest.mark.parametrize("piece", [10_000, 2 * SIZE])
def test_arguments_that_are_too_much_end_the_answer(
    arguments: str, reason: str, piece: int
) -> None:
    def call(fragment: str) -> bytes:
        function = {"name": "f", "arguments": fragment}
        return event({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]})

    cuts = range(0, len(arguments), piece)
    outcome = read(*(call(arguments[start : start + piece]) for start in cuts), DONE)
    assert type(outcome.failure) is APIConnectionError
    assert reason in outcome.failure.message
    assert not outcome.failure.retryable


def test_large_arguments_within_the_limits_are_handed_out() -> None:
    arguments = json.dumps({"a": "word\n" * 150_000, "b": list(range(9_000))})
    function = {"name": "f", "arguments": arguments}
    data = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]}
    outcome = read(event(data), DONE)
    (call,) = outcome.answer.tool_calls
    assert call.arguments == arguments
    assert parse_arguments(arguments).values == json.loads(arguments)


def test_more_entries_in_one_delta_than_calls_are_allowed_are_an_error() -> None:
    entries = [{"index": 0, "function": {"name": "f", "arguments": " "}}] * (MAX_TOOL_CALLS + 1)
    outcome = read(event({"choices": [{"delta": {"tool_calls": entries}}]}))
    assert outcome.failure is not None
    assert "more than 1024 tool calls" in outcome.failure.message


def test_a_reader_that_is_behind_is_not_done() -> None:
    reader = AnswerReader(Assembler())
    out: list[ChatChunk] = []
    reader.feed(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', out)
    reader.feed(b"data: 1\n\n" * 2_000 + b"data: [DONE]\n\n", out)
    assert reader.is_behind
    assert not reader.is_done
    # More may come in the meantime; it is after the end.
    reader.feed(b"data: nonsense\n\n", out)
    catch_up(reader, out)
    assert reader.is_done
    assert not reader.is_behind
