"""A response's body, from bytes to chunks or to one error, however the bytes are cut."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._answers.chunks import ChatChunk
from lktrio._answers.errors import APIConnectionError, APIError, APIStatusError
from lktrio._wire import assembler as _assembler
from lktrio._wire.assembler import Assembler
from lktrio._wire.body import AnswerReader
from lktrio._wire.sse import MAX_EVENT_BYTES, MAX_JUNK_BYTES
from lktrio._wire.tool_calls import MAX_TOOL_CALLS
from tests.support import recorded
from tests.support.answers import Outcome, check_outcome, cut, one_by_one, read
from tests.support.linear_work import assert_linear
from tests.support.recorded import Recording
from tests.support.script import DONE, comment, completion_chunk, delta, event, finish, text_chunk
from tests.support.wire_values import wire_values

BOM = b"\xef\xbb\xbf"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
COMPLETION = {
    "id": "c1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": USAGE,
}


def failure_of(*pieces: bytes, limit: int = MAX_EVENT_BYTES) -> APIError:
    failure = read(*pieces, limit=limit).failure
    assert failure is not None
    return failure


def whole(outcome: Outcome, text: str = "Hi", finish_reason: str | None = "stop") -> bool:
    """Whether the outcome is a complete answer with this text and reason."""
    return (outcome.error, outcome.text, outcome.answer.text, outcome.answer.finish_reason) == (
        None,
        text,
        text,
        finish_reason,
    )


# --- The end of a stream -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        finish() + DONE,
        finish(),
        finish()[:-1],
        finish()[:-2],
        finish() + b"data: [DONE]\n",
        finish() + b"data: [DONE]",
        finish() + b"data:  [DONE] \r\r",
        finish() + b"data:[DONE]",
        finish() + b": bye",
        finish() + b"data: [DO",
        finish() + b'data: {"usage": {"prompt_tok',
        finish() + b"data:\n\n",
    ],
)
def test_a_stream_is_complete_with_a_finish_reason(end: bytes) -> None:
    assert whole(read(text_chunk("Hi") + end))
    assert whole(read(*one_by_one(text_chunk("Hi") + end)))


@pytest.mark.parametrize("end", [DONE, b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE] bye\n\n"])
def test_a_stream_is_complete_with_the_end_mark_alone(end: bytes) -> None:
    assert whole(read(text_chunk("Hi") + end), finish_reason=None)


@pytest.mark.parametrize(
    "rest", [text_chunk("more"), event({"error": "late"}), b"data: {", b"<html>", DONE, b"\n\n"]
)
def test_nothing_that_follows_the_end_mark_matters(rest: bytes) -> None:
    assert whole(read(text_chunk("Hi") + finish() + DONE + rest))
    assert whole(read(text_chunk("Hi") + finish() + DONE, rest, rest))


def test_the_end_is_there_at_the_end_mark_not_at_the_end_of_the_body() -> None:
    outcome = read(text_chunk("Hi") + finish() + DONE, end=False)
    assert [chunk.finish_reason for chunk in outcome.ends] == ["stop"]


def test_a_finish_reason_makes_an_answer_complete_before_its_end() -> None:
    reader = AnswerReader(Assembler())
    out: list[ChatChunk] = []
    reader.feed(text_chunk("Hi <"), out)
    assert (reader.is_done, reader.is_complete) == (False, False)
    reader.feed(finish(), out)
    assert (reader.is_done, reader.is_complete) == (False, True)
    reader.settle(out)
    assert (reader.is_done, reader.is_complete) == (True, True)
    assert reader.assembler.snapshot().text == "Hi <"
    before = list(out)
    reader.feed(text_chunk("late"), out)
    reader.finish(out)
    assert out == before


def test_text_and_usage_after_the_finish_reason_count() -> None:
    outcome = read(
        text_chunk("Hi") + finish() + text_chunk(" there") + completion_chunk([], usage=USAGE)
    )
    assert whole(outcome, "Hi there")
    assert outcome.answer.usage
    assert outcome.answer.usage.total_tokens == 12


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"data: [DO",
        b'data: {"id"',
        finish()[:-20],
        b": ping\n\n",
        completion_chunk([], usage=USAGE),
        b'{"not an error": 1}\n',
        b'{"half an error',
        b"junk\n",
    ],
)
def test_a_clean_end_without_either_is_a_connection_error(end: bytes) -> None:
    outcome = read(text_chunk("Hi <") + end)
    assert type(outcome.failure) is APIConnectionError
    assert "neither a finish reason nor [DONE]" in outcome.failure.message
    assert outcome.failure.retryable
    assert outcome.text == "Hi "
    assert outcome.ends == []


def test_too_much_in_the_last_event_without_its_blank_line_is_not_taken_for_half_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_assembler, "MAX_ANSWER_CHARACTERS", 100)
    for last in (text_chunk("x" * 200)[:-2], delta("stop", content="x" * 200)[:-2]):
        failure = failure_of(finish() + last)
        assert "larger than 100 characters" in failure.message
        assert not failure.retryable


# --- Events that say nothing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "nothing",
    [
        comment(),
        b":\n\n",
        b"data: : keepalive\n\n",
        b"data:\n\n",
        b"data:   \n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b'data: "ping"\n\n',
        b"data: 1\n\n",
        b"data: {}\n\n",
        b"event: ping\n\n",
        b"event: ping\ndata: now\n\n",
        event({"type": "ping"}, name="ping"),
        event({"choices": None}),
        event({"choices": []}),
        event({"id": "chatcmpl-1"}),
        b"id: 1\nretry: 5\n\n",
        b"junk\n\n",
        b'{"choices":[{"delta":{"content":"no data: in front"}}]}\n',
        event({"choices": [{"index": 0, "finish_reason": None}]}),
        event({"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "error"}]}),
    ],
)
def test_what_says_nothing_changes_nothing(nothing: bytes) -> None:
    plain = read(text_chunk("Hi") + finish() + DONE)
    assert read(text_chunk("Hi") + nothing + finish() + nothing + DONE) == plain
    if not nothing.startswith(b"{"):
        assert read(nothing + text_chunk("Hi") + finish() + DONE) == plain


def test_a_named_event_is_an_event() -> None:
    body = event({"choices": [{"delta": {"content": "Hi"}}]}, name="message") + finish() + DONE
    assert whole(read(body))


def test_an_event_that_is_not_json_is_an_error_after_what_came_before() -> None:
    outcome = read(text_chunk("Hi") + b"data: nonsense\n\n" + finish() + DONE)
    assert outcome.text == "Hi"
    assert type(outcome.failure) is APIConnectionError
    assert "'nonsense'" in outcome.failure.message
    # What was delivered before is the request's to know.
    assert outcome.failure.retryable


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failed",
    [
        event({"error": {"message": "m", "code": 503}}),
        event({"error": {"message": "m", "code": "503"}, "choices": []}),
        event({"message": "m", "code": 503}, name="error"),
        event({"type": "error", "message": "m", "status": 503}),
        event({"object": "error", "message": "m", "code": 503}),
        event({"choices": [{"delta": {}, "error": {"message": "m", "code": 503}}]}),
        event({"choices": [{"finish_reason": "error"}], "error": {"message": "m", "code": 503}}),
        event({"choices": [{"delta": {}}], "x_groq": {"error": {"message": "m", "code": 503}}}),
        event({"choices": [], "x_groq": {"error": {"message": "m", "code": 503}}}),
        b'error: {"code":503,"message":"m","type":"unavailable_error"}\n\n',
    ],
)
def test_an_error_in_the_stream_is_raised_after_what_came_before(failed: bytes) -> None:
    for end in (failed + finish() + DONE, failed[:-1], failed[:-2]):
        outcome = read(text_chunk("Hi") + end)
        assert outcome.text == "Hi"
        assert isinstance(outcome.failure, APIStatusError)
        assert (outcome.failure.message, outcome.failure.status_code) == ("m", 503)
        assert outcome.ends == []


@pytest.mark.parametrize(
    "members",
    [
        {"error": "m"},
        {"choices": [{"delta": {"content": "Hi"}, "error": "m"}]},
        {"choices": [{"index": 1}, {"delta": {"content": "Hi"}, "finish_reason": "error"}]},
        {"x_groq": {"id": "r", "error": "m"}},
    ],
)
def test_the_delta_of_the_chunk_with_the_error_is_delivered_first(members: dict[str, Any]) -> None:
    chunk = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}], **members}
    for body in (event(chunk), json.dumps(chunk).encode()):
        outcome = read(body)
        assert isinstance(outcome.failure, APIStatusError)
        assert outcome.text == ("" if "error" in members and body.startswith(b"{") else "Hi")


def test_an_event_named_error_is_an_error_though_it_looks_like_a_chunk() -> None:
    outcome = read(event({"choices": [{"delta": {"content": "Hi"}}]}, name=" Error "))
    assert outcome.text == "Hi"
    assert isinstance(outcome.failure, APIStatusError)


def test_an_error_object_without_data_in_front_is_found_at_the_end() -> None:
    outcome = read(text_chunk("Hi") + b'\n{"error": {"message": "m", "code": 429}}\n')
    assert isinstance(outcome.failure, APIStatusError)
    assert (outcome.failure.message, outcome.failure.status_code) == ("m", 429)
    complete = text_chunk("Hi") + finish() + b'{"error": {"message": "m", "code": 429}}\n'
    assert whole(read(complete))


@pytest.mark.parametrize("body", [b"data: {", b'data: {"choices": [', b"data: {}\n\ndata: {"])
def test_half_an_event_alone_is_a_stream_that_ended_early(body: bytes) -> None:
    failure = failure_of(body)
    assert failure.message.startswith("the stream ended before the answer was complete")
    assert failure.retryable


# --- Bodies that are no stream -------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", BOM, b"\r\n ", BOM + b"\n"])
@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
def test_a_whole_completion_is_a_stream_of_one_chunk(before: bytes, pieces: Any) -> None:
    outcome = read(*pieces(before + json.dumps(COMPLETION).encode()))
    assert whole(outcome)
    assert [chunk.finish_reason for chunk in outcome.ends] == ["stop", None]
    assert outcome.answer.usage
    assert outcome.answer.usage.total_tokens == 12


def test_a_whole_completion_without_a_reason_is_complete() -> None:
    body = {"choices": [{"message": {"content": "Hi"}}]}
    assert whole(read(json.dumps(body, indent=2).encode()), finish_reason=None)


def test_a_whole_completion_may_have_calls() -> None:
    calls = [
        {"id": "a", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}},
        {"id": "b", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}},
    ]
    body = {"choices": [{"message": {"tool_calls": calls}, "finish_reason": "stop"}]}
    outcome = read(json.dumps(body).encode())
    assert [call.call_id for call in outcome.answer.tool_calls] == ["a", "b"]
    assert outcome.answer.finish_reason == "tool_calls"


def test_an_error_object_is_a_status_error() -> None:
    for body in (
        b'{"error":{"message":"m","code":429}}',
        b'[{"error":{"message":"m","code":429}}]',
    ):
        failure = failure_of(body)
        assert isinstance(failure, APIStatusError)
        assert (failure.message, failure.status_code, failure.retryable) == ("m", 429, True)


@pytest.mark.parametrize("body", [b'{"detail":"Not Found"}', b"[]", b'"text"', b"{x}", b"[DONE]"])
def test_any_other_json_is_an_error_that_quotes_it(body: bytes) -> None:
    failure = failure_of(body)
    assert type(failure) is APIConnectionError
    assert repr(body.decode()) in failure.message
    assert not failure.retryable


def test_a_completion_that_is_cut_off_may_be_retried() -> None:
    failure = failure_of(json.dumps(COMPLETION).encode()[:-5])
    assert type(failure) is APIConnectionError
    assert failure.retryable


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><html><body>Login</body></html>",
        b"\n <html>" + b"x" * 1000,
        b"Bad gateway",
        b"upstream connect error\nor disconnect",
        b"\x1f\x8b\x08\x00\x00\x00",
        b"text: without end " + b"x" * 1000,
        BOM + b"text",
        b"\xef\xbb",
        b"\n\xef",
    ],
)
@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
def test_pages_and_text_are_an_error_that_quotes_the_beginning(body: bytes, pieces: Any) -> None:
    failure = failure_of(*pieces(body))
    assert type(failure) is APIConnectionError
    assert "neither an event stream nor a chat completion" in failure.message
    quoted = body.removeprefix(BOM).lstrip()[:20].decode("utf-8", "replace")
    assert repr(quoted)[1:-1] in failure.message
    assert isinstance(failure.body, str)
    assert failure.body.startswith(quoted)
    assert not failure.retryable
    assert len(failure.message) < 500


def test_a_page_without_end_is_given_up_early() -> None:
    reader = AnswerReader(Assembler())
    with pytest.raises(APIConnectionError, match="neither an event stream"):
        for _ in range(300):
            reader.feed(b"<", [])


@pytest.mark.parametrize(
    ("body", "contents"),
    [
        (b"", "is empty"),
        (b"\n\n \r\n", "is empty"),
        (BOM, "is empty"),
        (BOM + b"\n", "is empty"),
        (comment() * 3, "holds no data"),
        (b"data:\n\n", "holds no data"),
        (b"event: ping\n\n", "holds no data"),
        (b"data: null\n\n", "holds no data"),
        (b"d", "holds no data"),
        (b"even", "holds no data"),
        (b"data", "holds no data"),
    ],
)
def test_an_empty_body_is_an_error_that_may_be_retried(body: bytes, contents: str) -> None:
    for pieces in ([], [b""], [body], one_by_one(body)):
        failure = failure_of(*pieces)
        assert type(failure) is APIConnectionError
        assert failure.retryable
    assert contents in failure_of(body).message


def test_an_empty_read_is_no_end() -> None:
    assert whole(read(b"", text_chunk("Hi"), b"", finish() + DONE, b""))
    assert whole(read(b"", json.dumps(COMPLETION).encode(), b""))


@pytest.mark.parametrize("before", [b"\n", b"  ", b"\r\n\r\n", BOM + b" \n", BOM + BOM])
def test_blanks_before_a_stream_do_not_matter(before: bytes) -> None:
    body = before + text_chunk("Hi") + finish() + DONE
    assert whole(read(body))
    assert whole(read(*one_by_one(body)))


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
@pytest.mark.parametrize(
    "large",
    [text_chunk("x" * 500), b"data: 1\n" * 400, b": " + b"x" * 500, b"x" * 500],
    ids=["event", "lines", "comment", "junk"],
)
def test_an_event_too_large_is_an_error_after_what_came_before(large: bytes, pieces: Any) -> None:
    outcome = read(*pieces(text_chunk("Hi") + large + finish() + DONE), limit=400)
    assert outcome.text == "Hi"
    assert type(outcome.failure) is APIConnectionError
    assert outcome.failure.message == "an event of the stream is larger than 400 bytes"
    assert not outcome.failure.retryable


@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
def test_the_first_event_too_large_is_named_as_such(pieces: Any) -> None:
    failure = failure_of(*pieces(text_chunk("x" * 500)), limit=400)
    assert "an event of the stream is larger" in failure.message
    failure = failure_of(*pieces(b"text " * 100), limit=400)
    assert "neither an event stream" in failure.message


@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
def test_a_whole_completion_too_large_is_an_error(pieces: Any) -> None:
    body = json.dumps(COMPLETION).encode()
    assert whole(read(*pieces(body), limit=len(body)))
    failure = failure_of(*pieces(body), limit=len(body) - 1)
    assert type(failure) is APIConnectionError
    assert f"larger than {len(body) - 1} bytes" in failure.message
    assert not failure.retryable


@pytest.mark.parametrize("line", [b"junk\n", b"x: y\n", b"text without an end "])
def test_junk_is_given_up(line: bytes) -> None:
    reader = AnswerReader(Assembler(), max_event_bytes=MAX_JUNK_BYTES)
    fed = 0
    with pytest.raises(APIConnectionError, match="neither an event stream") as caught:
        while True:
            reader.feed(line, [])
            fed += len(line)
    assert fed <= MAX_JUNK_BYTES + 100
    assert repr(line.decode())[1:-1] in caught.value.message
    assert not caught.value.retryable


def test_an_answer_too_large_is_an_error_after_what_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_assembler, "MAX_ANSWER_CHARACTERS", 1000)
    outcome = read(text_chunk("x" * 300) * 10 + finish() + DONE)
    assert len(outcome.text) == len(outcome.answer.text) == 1200
    assert type(outcome.failure) is APIConnectionError
    assert not outcome.failure.retryable


def test_too_many_calls_are_an_error_after_what_came_before() -> None:
    def call(index: int) -> bytes:
        return delta(tool_calls=[{"index": index, "function": {"name": "now"}}])

    body = text_chunk("Hi") + b"".join(map(call, range(MAX_TOOL_CALLS)))
    assert len(read(body + finish()).answer.tool_calls) == MAX_TOOL_CALLS
    outcome = read(body + call(MAX_TOOL_CALLS) + finish())
    assert outcome.text == "Hi"
    assert type(outcome.failure) is APIConnectionError
    assert not outcome.failure.retryable


def test_too_many_calls_in_a_row_are_an_error_at_the_end() -> None:
    one = {"index": 0, "function": {"name": "now", "arguments": "{}"}}
    many = {"index": 1, "function": {"name": "now", "arguments": "{}" * MAX_TOOL_CALLS}}
    for end in (DONE, b""):
        outcome = read(text_chunk("Hi") + delta("stop", tool_calls=[one, many]) + end)
        assert outcome.text == "Hi"
        assert outcome.ends == []
        assert type(outcome.failure) is APIConnectionError
        assert not outcome.failure.retryable


# --- Work ----------------------------------------------------------------------------------------


def test_blank_pieces_are_not_kept() -> None:
    reader = AnswerReader(Assembler())
    out: list[ChatChunk] = []
    for _ in range(100_000):
        reader.feed(b" \n", out)
        assert len(reader._head) == 1
    reader.feed(text_chunk("Hi") + finish() + DONE, out)
    assert reader.is_done


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b"\n"),
        (b"data: ", b"x"),
        (b"", text_chunk("x")),
        (b"", text_chunk("<th")),
        (b"", text_chunk("<think>x</think>")),
        (b"", delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}])),
        (b"", delta(content=["x"], reasoning="\ud83d")),
        (b"", delta(extra_content={"a": {"b": "c"}})),
        (b"{", b" "),
        (b"", comment()),
        (b"data: {}\n\n", b'{"error": "x"}\n'),
    ],
)
def test_the_work_is_linear_in_the_pieces(first: bytes, piece: bytes) -> None:
    def make(size: int) -> Any:
        reader = AnswerReader(Assembler())
        out: list[ChatChunk] = []
        reader.feed(first, out)
        return lambda: [reader.feed(piece, out) for _ in range(size)]

    assert_linear(make, 1_000)


# --- Recordings ----------------------------------------------------------------------------------

QUIRKS = {case.name: case for case in recorded.quirks() if case.status == 200}
TRANSCRIPTS = {case.name: case for case in recorded.transcripts() if case.status == 200}
LARGE = 20_000


def as_recorded(case: Recording) -> list[bytes]:
    return cut(case.body, itertools.accumulate(case.pieces[:-1]))


def ways_to_cut(case: Recording) -> Iterator[list[bytes]]:
    """The body in one piece, byte by byte, and cut at random places."""
    yield [case.body]
    yield (
        one_by_one(case.body)
        if len(case.body) < LARGE
        else cut(case.body, range(0, len(case.body), 1009))
    )
    dice = random.Random(case.name)
    for count in (1, 2, 5, 20, 100):
        yield cut(case.body, [dice.randrange(len(case.body) + 1) for _ in range(count)])


@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_gives_what_is_expected_however_it_is_cut(name: str) -> None:
    case = QUIRKS[name]
    outcome = read(*as_recorded(case), end=case.end == "fin")
    check_quirk(case, outcome)
    for pieces in ways_to_cut(case):
        assert read(*pieces, end=case.end == "fin") == outcome


def check_quirk(case: Recording, outcome: Outcome) -> None:
    expect = dict(case.expect or {})
    answer, failure = outcome.answer, outcome.failure
    if case.end == "abort":
        # It is the transport that reports a body cut short.
        assert expect.pop("error") == "connection"
        assert answer.finish_reason is None
    kind = expect.pop("error", None)
    kinds = {None: type(None), "status": APIStatusError, "connection": APIConnectionError}
    assert isinstance(failure, kinds.get(kind, APIError))
    if "code" in expect:
        assert isinstance(failure, APIStatusError)
        assert failure.status_code == expect.pop("code")
    if expect.get("retryable") and failure is not None:
        assert failure.retryable
    # That output was delivered is known to the caller of the reader.
    expect.pop("retryable", None)
    if expect.pop("error_or_two", False):
        expect["tools"] = [
            {"name": "get_weather", "arguments": f'{{"city":"{city}"}}', "id": call_id}
            for city, call_id in (("Paris", "call_a"), ("Rome", "call_a_2"))
        ]
    if expect.pop("text_as_is", False):
        data = json.loads(case.body.split(b"\n")[0].removeprefix(b"data: "))
        expect["text"] = data["choices"][0]["delta"]["content"]
    if "text_len" in expect:
        expect["text"] = "x" * expect.pop("text_len")
    assert outcome.texts == (
        expect.pop("text", ""),
        expect.pop("reasoning", ""),
        expect.pop("refusal", ""),
    )
    assert answer.extra == expect.pop("extra", answer.extra)
    calls = [
        {"name": call.name, "arguments": call.arguments, "id": call.call_id}
        for call in answer.tool_calls
    ]
    tools = expect.pop("tools", [])
    for call, tool in zip(calls, tools, strict=False):
        if tool["id"] == "*":
            assert call["id"].startswith("made-")
            call["id"] = "*"
    assert calls == tools
    assert len({call.call_id for call in answer.tool_calls}) == len(tools)
    if "usage" in expect:
        usage = answer.usage
        assert usage
        assert [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens] == expect.pop(
            "usage"
        )
    assert answer.finish_reason == expect.pop("finish", answer.finish_reason)
    expect.pop("fast", None)
    assert not expect, "an expectation this test does not know"


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_reads_the_same_however_it_is_cut(name: str) -> None:
    case = TRANSCRIPTS[name]
    outcome = read(*as_recorded(case))
    assert outcome.texts[:2] == by_hand(case.body)
    for pieces in ways_to_cut(case):
        assert read(*pieces) == outcome


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_reads_the_same_with_any_line_ends(name: str, end: bytes) -> None:
    case = TRANSCRIPTS[name]
    assert b"\r" not in case.body
    body = case.body.replace(b"\n", end)
    assert read(BOM + body) == read(*one_by_one(body)) == read(case.body)


def by_hand(body: bytes) -> tuple[str, str]:
    """The text and the reasoning that a person reads in a well-behaved stream."""
    text, reasoning = "", ""
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                if choice["index"] == 0:
                    text += choice["delta"].get("content") or ""
                    reasoning += choice["delta"].get("reasoning_content") or ""
    return text, reasoning


def test_the_recordings_are_there() -> None:
    assert len(QUIRKS) >= 60
    assert len(TRANSCRIPTS) >= 15


# --- What other servers do -----------------------------------------------------------------------


def calls(*entries: dict[str, Any]) -> bytes:
    """Chunks with one fragment of a call each."""
    return b"".join(delta(tool_calls=[entry]) for entry in entries)


def function(name: str | None, arguments: object = "", **members: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **members}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            [function("get_weather", index="0", id=7), function(None, '{"a":1}', index="0", id=7)],
            [("7", "get_weather", '{"a":1}')],
        ),
        (
            [function("get_weather", '{"a":1}', index=0, id=""), function("now", None, index=1)],
            [("made-1", "get_weather", '{"a":1}'), ("made-2", "now", "{}")],
        ),
        (
            [function("get_weather", {}, index=0, id="a"), function(None, {"a": 1}, index=0)],
            [("a", "get_weather", '{"a":1}')],
        ),
        (
            [function("get_weather", '{"a":"\ud83d', index=0), function(None, '\ude00"}', index=0)],
            [("made-1", "get_weather", '{"a":"😀"}')],
        ),
        ([{"index": 0, "id": "a", "type": "", "function": None}], []),
    ],
)
def test_calls_spelled_in_other_ways(
    entries: list[dict[str, Any]], expected: list[tuple[str, str, str]]
) -> None:
    answer = read(calls(*entries) + finish("tool_calls") + DONE).answer
    assert [(call.call_id, call.name, call.arguments) for call in answer.tool_calls] == expected


def test_a_call_cut_off_by_the_length_is_withheld() -> None:
    body = calls(
        function("get_weather", '{"a":1}', index=0, id="a"),
        function("get_weather", '{"a":', index=1, id="b"),
    )
    for end in (finish("length") + DONE, finish("length"), finish("stop") + DONE, DONE):
        answer = read(body + end).answer
        assert [call.call_id for call in answer.tool_calls] == ["a"]
        assert [call.arguments for call in answer.withheld_calls] == ['{"a":']
        assert answer.truncated


def test_a_stream_cut_off_has_only_its_complete_calls_in_the_snapshot() -> None:
    outcome = read(calls(function("now", "", index=0), function("now", "{}", index=1)))
    assert outcome.failure is not None
    assert [call.arguments for call in outcome.answer.tool_calls] == ["{}"]
    assert [call.arguments for call in outcome.answer.withheld_calls] == [""]


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}], "", "hm"),
        (5, "5", ""),
        ("a\x00b", "a\x00b", ""),
    ],
)
def test_content_spelled_in_other_ways(content: object, text: str, reasoning: str) -> None:
    outcome = read(delta(content=content) + finish() + DONE)
    assert outcome.texts == (text, reasoning, "")


def test_raw_control_characters_in_a_string_are_text() -> None:
    body = text_chunk("a?b").replace(b"?", b"\x0b\x0c\t") + finish() + DONE
    assert whole(read(body), "a\x0b\x0c\tb")


def test_a_character_cut_over_two_chunks_is_whole() -> None:
    body = text_chunk("a\ud83d") + comment() + text_chunk("\ude00b") + finish() + DONE
    assert whole(read(body), "a😀b")


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    body = text_chunk("a?b").replace(b"?", b"\xff") + finish() + DONE
    assert whole(read(body), "a\ufffdb")


def test_numbers_that_are_none_are_taken() -> None:
    body = text_chunk("Hi").replace(b'"created":1700000000', b'"created":NaN') + finish()
    assert b"NaN" in body
    assert whole(read(body))


def test_an_empty_usage_after_the_real_one_does_not_hide_it() -> None:
    body = completion_chunk([], usage=USAGE) + completion_chunk([], usage={}) + DONE
    usage = read(body).answer.usage
    assert usage
    assert usage.total_tokens == 12


def test_n_2_is_choice_0_with_a_filter_and_calls_of_its_own() -> None:
    def choice(index: int, text: str) -> bytes:
        call = {"index": 0, "id": f"call-{index}", "function": {"name": "now"}}
        return completion_chunk(
            [{"index": index, "delta": {"content": text, "tool_calls": [call]}}]
        )

    outcome = read(
        choice(0, "<think>a") + choice(1, "</think>B") + choice(0, "b</think>c") + finish() + DONE
    )
    assert outcome.texts == ("c", "ab", "")
    assert [call.call_id for call in outcome.answer.tool_calls] == ["call-0"]


# --- Properties ----------------------------------------------------------------------------------

events = st.one_of(
    st.sampled_from(
        [
            text_chunk("Hi"),
            text_chunk("<think>"),
            text_chunk("x</thi"),
            text_chunk("nk>é😀"),
            text_chunk("\ud83d"),
            text_chunk("\ude00"),
            delta(reasoning="hm", refusal="no", extra_content={"a": {"b": 1}}),
            calls({"index": 0, "id": "a", "function": {"name": "now", "arguments": '{"a"'}}),
            calls({"index": 0, "function": {"arguments": ":1}"}}),
            calls({"index": 1, "function": {"name": "now"}}),
            completion_chunk([], usage=USAGE),
            finish(),
            finish("length"),
            DONE,
            comment(),
            BOM,
            b"\n",
            b"junk\n",
            b'{"error":"x"}\n',
            event({"error": {"code": 429}}),
            event("x", name="error"),
            b"data: {\ndata: }\n\n",
            b"data: nonsense\n\n",
            b"<",
        ]
    ),
    st.binary(max_size=20),
    wire_values.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
    st.builds(
        lambda delta, usage, reason: completion_chunk(
            [{"index": 0, "delta": delta, "finish_reason": reason}], usage=usage
        ),
        wire_values,
        wire_values,
        wire_values,
    ),
)
bodies = st.one_of(
    st.lists(events, max_size=12).map(b"".join),
    wire_values.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda message, usage: json.dumps(
            {"choices": [{"message": message}], "usage": usage}
        ).encode(),
        wire_values,
        wire_values,
    ),
)
places_to_cut = st.lists(st.integers(0, 5000), max_size=8)
limits = st.sampled_from([MAX_EVENT_BYTES, 30, 200])


@given(
    body=bodies, places=places_to_cut, end=st.sampled_from([b"\n", b"\r\n", b"\r"]), limit=limits
)
def test_any_split_of_any_bytes_gives_the_same_chunks_or_the_same_api_error(
    body: bytes, places: Sequence[int], end: bytes, limit: int
) -> None:
    body = body.replace(b"\n", end)
    outcome = read(body, limit=limit)
    assert read(*cut(body, places), limit=limit) == outcome
    assert read(*one_by_one(body), limit=limit) == outcome
    check_outcome(outcome)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A recorded body in which some bytes, pieces or lines are not what they were."""
    case = draw(st.sampled_from(sorted({**QUIRKS, **TRANSCRIPTS})))
    body = {**QUIRKS, **TRANSCRIPTS}[case].body[:LARGE]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        stop = start + draw(st.integers(0, 40))
        piece = draw(
            st.sampled_from(
                [b"", b"\n", b"\r", b'"', b"}", b"{", b"null", b"0", b"\\ud83d", b"\xff"]
            )
            | st.just(body[start:stop] * 2)
            | st.binary(max_size=4)
        )
        body = body[:start] + piece + body[stop:]
    return body


@given(body=mutations(), places=places_to_cut)
def test_a_damaged_recording_gives_the_same_chunks_or_the_same_api_error(
    body: bytes, places: Sequence[int]
) -> None:
    outcome = read(body)
    assert read(*cut(body, places)) == outcome
    check_outcome(outcome)


@given(data=st.data())
def test_a_recording_that_just_stops_is_an_error_or_was_complete(data: st.DataObject) -> None:
    # One of them is not JSON from its first word on, and that cannot be cured by a retry.
    names = sorted(TRANSCRIPTS.keys() - {"aimock/malformed-body"})
    body = TRANSCRIPTS[data.draw(st.sampled_from(names))].body
    place = data.draw(st.integers(0, len(body)))
    outcome = read(body[:place])
    if outcome.failure is None:
        assert b'"finish_reason":"' in body[:place] or b"[DONE]" in body[:place]
    else:
        assert type(outcome.failure) is APIConnectionError
        assert outcome.failure.retryable
