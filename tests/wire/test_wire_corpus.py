"""Every recorded quirk and transcript gives its expected outcome over a real socket.

The bytes come as recorded, one at a time, and cut at random places; the outcome and the chunks are
the same each time. What is expected of a quirk stands in `quirks.jsonl`; what is expected of a
transcript is read from its bytes by the simple reader below, which shares nothing with the library.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs
import msgspec
import pytest
import trio

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    ChatChunk,
    ChatContext,
    CollectedResponse,
    RawFunctionTool,
    function_tool,
)
from tests.support import recorded
from tests.support.loopback import LoopbackServer
from tests.support.recorded import Recording
from tests.support.script import LAST_CHUNK, Exchange, Hold, Send

QUIRKS = {case.name: case for case in recorded.quirks()}
TRANSCRIPTS = {case.name: case for case in recorded.transcripts()}
LARGE = 50_000
"""Bytes from which on a recording is not cut at every byte but into pieces of about `STRIDE`."""
STRIDE = 1009

TOOLS = ("get_weather", "get_time", "now")
ONCE = APIConnectOptions(max_retry=0, timeout=60.0)

Mode: TypeAlias = Literal["as recorded", "bytes as chunks", "bytes on the wire", "random"]


# --- Playing -------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """All that a program can see of one answer."""

    chunks: tuple[ChatChunk, ...]
    answer: CollectedResponse[Any]
    """The whole answer, or the part of it that an error carries."""
    error: APIError | None = attrs.field(default=None, eq=False)

    @property
    def failure(self) -> tuple[object, ...] | None:
        """What can be told about the error."""
        error = self.error
        if error is None:
            return None
        status = error.status_code if isinstance(error, APIStatusError) else None
        return type(error), status, error.retryable, error.message, error.request_id


def raw_tool(name: str) -> RawFunctionTool[..., object]:
    """A tool described by its raw schema."""

    async def call(raw_arguments: dict[str, object]) -> None:
        raise NotImplementedError

    schema = {
        "name": name,
        "description": f"Call {name}.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    return function_tool(call, raw_schema=schema)


async def play(exchange: Exchange) -> Outcome:
    """Ask a server that answers like this."""
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Why do whales sing?")
    chunks: list[ChatChunk] = []
    async with (
        LoopbackServer([exchange]) as server,
        LLM("some/model", base_url=f"{server.url}/v1", auth=None) as llm,
    ):
        async with llm.chat(
            chat_ctx=chat_ctx, tools=[raw_tool(name) for name in TOOLS], conn_options=ONCE
        ) as stream:
            try:
                async for chunk in stream:
                    chunks.append(chunk)  # noqa: PERF401 - what came before an error counts
            except APIError as error:
                return Outcome(tuple(chunks), error.partial, error)
            return Outcome(tuple(chunks), await stream.collect())


def exchange_of(case: Recording, mode: Mode, seed: int = 0) -> Exchange:
    """The recording as a script, cut as the mode says."""
    if mode == "as recorded":
        return case.exchange()
    total, body = len(case.wire()), len(case.body)
    if mode == "bytes as chunks":
        # One HTTP chunk for each byte: the client gets them one by one whatever the network does.
        return case.exchange(chunks=places(body), writes=places(total * 7, 4001))
    if mode == "bytes on the wire":
        return case.exchange(writes=places(total))
    dice = random.Random(f"{case.name} {seed}")
    chunks = sorted(dice.sample(range(body), min(body, dice.choice([1, 3, 10, 40]))))
    longest = len(case.wire(chunks=chunks))
    writes = sorted(dice.sample(range(longest), min(longest, dice.choice([1, 3, 10, 40]))))
    return case.exchange(chunks=chunks, writes=writes)


def places(size: int, stride: int | None = None) -> Sequence[int]:
    """Where to cut so many bytes: after each, or, where there are too many, after each stride."""
    return range(0, size, stride or (1 if size < LARGE else STRIDE))


# Ids we make up for calls that have none differ from run to run.
_INVENTED = re.compile(r"call_[0-9a-f]{12,}(_\d+)?")


def without_invented_ids(outcome: Outcome, sent: bytes) -> Outcome:
    """The outcome, with every call id that the server did not send replaced by its position."""
    known: dict[str, str] = {}

    def replaced(call_id: str) -> str:
        if call_id.encode() in sent:
            return call_id
        return known.setdefault(call_id, f"invented {len(known)}")

    def cleaned(calls: Iterable[Any]) -> list[Any]:
        return [msgspec.structs.replace(call, call_id=replaced(call.call_id)) for call in calls]

    return attrs.evolve(
        outcome,
        chunks=tuple(
            chunk
            if chunk.delta is None
            else msgspec.structs.replace(
                chunk,
                delta=msgspec.structs.replace(
                    chunk.delta, tool_calls=cleaned(chunk.delta.tool_calls)
                ),
            )
            for chunk in outcome.chunks
        ),
        answer=msgspec.structs.replace(
            outcome.answer,
            tool_calls=cleaned(outcome.answer.tool_calls),
            withheld_calls=cleaned(outcome.answer.withheld_calls),
        ),
    )


def check_consistency(outcome: Outcome) -> None:
    """The chunks add up to the answer, in the order that is promised."""
    chunks, answer = outcome.chunks, outcome.answer
    deltas = [chunk.delta for chunk in chunks if chunk.delta is not None]
    assert "".join(delta.content or "" for delta in deltas) == answer.text
    assert "".join(delta.reasoning or "" for delta in deltas) == answer.reasoning
    assert "".join(delta.refusal or "" for delta in deltas) == answer.refusal
    if outcome.error is not None:
        return
    assert [call for delta in deltas for call in delta.tool_calls] == answer.tool_calls
    assert [one.finish_reason for one in chunks if one.finish_reason] == (
        [] if answer.finish_reason is None else [answer.finish_reason]
    )
    assert [one.usage for one in chunks if one.usage] == ([answer.usage] if answer.usage else [])
    ranks = [_rank(chunk) for chunk in chunks]
    assert ranks == sorted(ranks)


def _rank(chunk: ChatChunk) -> int:
    if chunk.usage is not None:
        return 3
    if chunk.finish_reason is not None:
        return 2
    return 1 if chunk.delta is not None and chunk.delta.tool_calls else 0


# --- Quirks --------------------------------------------------------------------------------------


def check_quirk(case: Recording, outcome: Outcome) -> None:
    """Compare with what `quirks.jsonl` says."""
    assert case.expect is not None
    expect = dict(case.expect)
    answer, error = outcome.answer, outcome.error
    if expect.pop("error_or_two", False):
        assert error is not None or len(answer.tool_calls) == 2
        return
    if expect.pop("text_as_is", False):
        expect["text"] = simple_reading(case.body).text
    kind = expect.pop("error", None)
    if kind is None:
        assert error is None
    else:
        check_error(error, kind, expect)
    if "text_len" in expect:
        assert len(answer.text) == expect.pop("text_len")
    else:
        assert answer.text == expect.pop("text", "")
    assert answer.reasoning == expect.pop("reasoning", "")
    assert answer.refusal == expect.pop("refusal", "")
    if "extra" in expect:
        assert answer.extra == expect.pop("extra")
    check_calls(answer, expect.pop("tools", []))
    if "usage" in expect:
        assert answer.usage is not None
        assert [
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            answer.usage.total_tokens,
        ] == expect.pop("usage")
    if "finish" in expect:
        assert answer.finish_reason == expect.pop("finish")
    expect.pop("fast", None)  # see test_the_consumer_is_done_while_the_server_holds_the_body_open
    assert not expect, "an expectation this test does not know"


def check_error(error: APIError | None, kind: str, expect: dict[str, Any]) -> None:
    assert error is not None
    if kind == "status":
        assert type(error) is APIStatusError
    elif kind == "connection":
        assert type(error) is APIConnectionError
    else:
        assert kind == "any"
    if "code" in expect:
        assert isinstance(error, APIStatusError)
        assert error.status_code == expect.pop("code")
    if "retryable" in expect:
        assert error.retryable is expect.pop("retryable")
    if "message_has" in expect:
        assert expect.pop("message_has") in error.message


def check_calls(answer: CollectedResponse[Any], expected: Sequence[Mapping[str, str]]) -> None:
    assert [call.name for call in answer.tool_calls] == [call["name"] for call in expected]
    assert [json.loads(call.arguments) for call in answer.tool_calls] == [
        json.loads(call["arguments"]) for call in expected
    ]
    ids = [call.call_id for call in answer.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert [
        "*" if wanted["id"] == "*" else call_id
        for call_id, wanted in zip(ids, expected, strict=True)
    ] == [call["id"] for call in expected]


# --- Transcripts ---------------------------------------------------------------------------------


@attrs.define
class Reading:
    """What a person reads in the bytes of a well-behaved stream."""

    text: str = ""
    reasoning: str = ""
    finish: str | None = None
    usage: tuple[int, int, int] | None = None
    calls: dict[int, dict[str, str]] = attrs.field(factory=dict)
    done: bool = False


def simple_reading(body: bytes) -> Reading:
    """Read a stream whose events are one line of JSON each, by hand."""
    reading = Reading()
    for line in body.decode("utf-8").split("\n"):
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            reading.done = True
            break
        data = json.loads(line[len("data: ") :])
        if data.get("usage"):
            usage = data["usage"]
            reading.usage = (
                usage["prompt_tokens"],
                usage["completion_tokens"],
                usage["total_tokens"],
            )
        for choice in data["choices"]:
            if choice["index"] == 0:
                _read_choice(choice, reading)
    return reading


def _read_choice(choice: Mapping[str, Any], reading: Reading) -> None:
    delta = choice["delta"]
    reading.text += delta.get("content") or ""
    reading.reasoning += delta.get("reasoning_content") or ""
    reading.finish = choice["finish_reason"] or reading.finish
    for call in delta.get("tool_calls") or []:
        known = reading.calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
        known["id"] += call.get("id", "")
        known["name"] += call["function"].get("name", "")
        known["arguments"] += call["function"].get("arguments", "")


def check_transcript(case: Recording, outcome: Outcome) -> None:
    """Compare with what a person reads in the recording."""
    answer, error = outcome.answer, outcome.error
    if case.status is None:
        assert type(error) is APIConnectionError
        assert error.retryable
        assert outcome.chunks == ()
    elif case.status >= 400:
        sent = json.loads(case.body)
        assert type(error) is APIStatusError
        assert (error.status_code, error.body) == (case.status, sent)
        assert error.message == sent["error"]["message"]
        assert error.retryable is (case.status >= 500)
        assert outcome.chunks == ()
    elif case.body.startswith(b"{"):
        assert type(error) is APIConnectionError
        assert case.body.decode() in error.message
    else:
        check_reading(simple_reading(case.body), case, answer, error)
    headers = {name.lower(): value for name, value in case.headers}
    if error is not None:
        assert error.request_id == headers.get("x-request-id")


def check_reading(
    reading: Reading, case: Recording, answer: CollectedResponse[Any], error: APIError | None
) -> None:
    assert reading.done is case.complete
    assert (answer.text, answer.reasoning) == (reading.text, reading.reasoning)
    if case.complete:
        assert error is None
    else:
        assert type(error) is APIConnectionError
        assert not error.retryable, "text was delivered"
    assert answer.finish_reason == reading.finish
    assert answer.truncated is (reading.finish == "length")
    if reading.usage is None:
        assert answer.usage is None
    else:
        assert answer.usage is not None
        assert reading.usage == (
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            answer.usage.total_tokens,
        )
    whole = {index: call for index, call in reading.calls.items() if _is_json(call["arguments"])}
    assert [_facts(call) for call in answer.tool_calls] == [whole[index] for index in sorted(whole)]
    assert [_facts(call) for call in answer.withheld_calls] == [
        reading.calls[index] for index in sorted(reading.calls) if index not in whole
    ]


def _facts(call: Any) -> dict[str, str]:
    return {"id": call.call_id, "name": call.name, "arguments": call.arguments}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# --- The tests -----------------------------------------------------------------------------------

_as_recorded: dict[str, Outcome] = {}


async def outcome_as_recorded(case: Recording) -> Outcome:
    """What the bytes as recorded give; asked for once."""
    if case.name not in _as_recorded:
        _as_recorded[case.name] = await play(exchange_of(case, "as recorded"))
    return _as_recorded[case.name]


async def check_cut(case: Recording, mode: Mode, seed: int = 0) -> None:
    """However the bytes are cut, the outcome is as expected, and as it is when they are not."""
    with trio.fail_after(120):
        reference = await outcome_as_recorded(case)
        outcome = reference
        if mode != "as recorded":
            outcome = await play(exchange_of(case, mode, seed))
    check_consistency(outcome)
    if case.expect is not None:
        check_quirk(case, outcome)
    else:
        check_transcript(case, outcome)
    clean = functools.partial(without_invented_ids, sent=case.body)
    assert clean(outcome) == clean(reference)
    assert outcome.failure == reference.failure


MODES = pytest.mark.parametrize(
    "mode", ["as recorded", "bytes as chunks", "bytes on the wire"], ids=lambda mode: mode
)


@MODES
@pytest.mark.parametrize("name", QUIRKS)
async def test_a_quirk_gives_what_it_should(name: str, mode: Mode) -> None:
    await check_cut(QUIRKS[name], mode)


@MODES
@pytest.mark.parametrize("name", TRANSCRIPTS)
async def test_a_transcript_gives_what_a_person_reads_in_it(name: str, mode: Mode) -> None:
    await check_cut(TRANSCRIPTS[name], mode)


@pytest.mark.parametrize("seed", range(4))
async def test_quirks_cut_at_random_places_give_the_same(seed: int) -> None:
    for case in QUIRKS.values():
        await check_cut(case, "random", seed)


@pytest.mark.parametrize("seed", range(4))
async def test_transcripts_cut_at_random_places_give_the_same(seed: int) -> None:
    for case in TRANSCRIPTS.values():
        await check_cut(case, "random", seed)


@pytest.mark.parametrize(
    "name",
    [case.name for case in QUIRKS.values() if (case.end, case.framing) == ("fin", "chunked")],
)
async def test_a_body_that_the_end_of_the_connection_ends_gives_the_same(name: str) -> None:
    case = QUIRKS[name]
    with trio.fail_after(120):
        reference = await outcome_as_recorded(case)
        outcome = await play(attrs.evolve(case, framing="close").exchange())
    check_quirk(case, outcome)
    clean = functools.partial(without_invented_ids, sent=case.body)
    assert clean(outcome) == clean(reference)
    assert outcome.failure == reference.failure


@pytest.mark.parametrize(
    "name", [case.name for case in QUIRKS.values() if case.expect and case.expect.get("fast")]
)
async def test_the_consumer_is_done_while_the_server_holds_the_body_open(name: str) -> None:
    case = QUIRKS[name]
    assert case.end == "hold"
    exchange = exchange_of(case, "as recorded")
    assert isinstance(exchange.steps[-1], Hold)
    late = Send(LAST_CHUNK)
    chat_ctx = ChatContext()
    with trio.fail_after(60):
        async with (
            LoopbackServer([exchange.then(late)]) as server,
            LLM("some/model", base_url=f"{server.url}/v1", auth=None) as llm,
        ):
            async with llm.chat(chat_ctx=chat_ctx, conn_options=ONCE) as stream:
                assert "".join([text async for text in stream.text]) == "Hi"
                assert stream.finish_reason == "stop"
                # Done, and the server has neither ended the body nor been left.
                (connection,) = server.connections
                assert connection.closed_at is None
                assert connection.client_gone_at is None
            # The block is left, and the server has not ended the body.
            await connection.closed.wait()
            assert connection.closed_by == "client"
            assert connection.unplayed == (late,)


def test_the_corpus_is_all_there() -> None:
    assert len(QUIRKS) == 92
    assert len(TRANSCRIPTS) == 25
