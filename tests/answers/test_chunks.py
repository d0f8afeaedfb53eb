"""The values a stream yields: what counts as a response, and what is empty."""

from __future__ import annotations

import pytest

from lktrio._answers.chunks import (
    EMPTY_RESPONSE,
    ChatChunk,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
)
from lktrio._answers.info import ResponseInfo

CALL = FunctionToolCall("now", "{}", "call-1")


@pytest.mark.parametrize(
    "delta",
    [ChoiceDelta(content="Hi"), ChoiceDelta(refusal="no"), ChoiceDelta(tool_calls=[CALL])],
    ids=["text", "refusal", "call"],
)
def test_text_a_refusal_and_a_call_are_a_response(delta: ChoiceDelta) -> None:
    assert ChatChunk("c1", delta).has_response()


@pytest.mark.parametrize(
    "chunk",
    [
        ChatChunk(),
        ChatChunk("c1", finish_reason="stop"),
        ChatChunk("c1", usage=CompletionUsage(1, 2)),
        ChatChunk("c1", ChoiceDelta()),
        ChatChunk("c1", ChoiceDelta(content="", refusal="")),
        ChatChunk("c1", ChoiceDelta(reasoning="hm")),
        ChatChunk("c1", ChoiceDelta(extra={"livekit": {}})),
    ],
    ids=["nothing", "reason", "usage", "delta", "empty text", "reasoning", "extra"],
)
def test_nothing_else_is_a_response(chunk: ChatChunk) -> None:
    assert not chunk.has_response()


@pytest.mark.parametrize(
    "answer",
    [
        CollectedResponse(text="Hi"),
        CollectedResponse(refusal="no"),
        CollectedResponse(tool_calls=[CALL]),
        CollectedResponse(withheld_calls=[CALL]),
    ],
    ids=["text", "refusal", "call", "withheld call"],
)
def test_an_answer_with_something_in_it_is_not_empty(answer: CollectedResponse[None]) -> None:
    assert not answer.empty


@pytest.mark.parametrize(
    "answer",
    [
        EMPTY_RESPONSE,
        CollectedResponse(reasoning="hm"),
        CollectedResponse(usage=CompletionUsage(1, 2), finish_reason="stop", extra={"a": 1}),
    ],
    ids=["nothing", "reasoning", "metadata"],
)
def test_an_answer_without_text_refusal_and_call_is_empty(
    answer: CollectedResponse[None],
) -> None:
    assert answer.empty


def test_values_do_not_share_their_lists_and_dicts() -> None:
    assert ChoiceDelta().tool_calls is not ChoiceDelta().tool_calls
    one, other = CollectedResponse[None](), CollectedResponse[None]()
    assert one.tool_calls is not other.tool_calls
    assert one.withheld_calls is not other.withheld_calls
    assert one.extra is not other.extra
    assert ResponseInfo().headers is not ResponseInfo().headers


def test_a_call_is_written_name_arguments_id() -> None:
    call = FunctionToolCall(name="now", arguments="{}", call_id="call-1")
    assert call == CALL
    assert (call.type, call.extra) == ("function", None)


def test_headers_stay_out_of_the_repr() -> None:
    assert "private" not in repr(ResponseInfo(headers={"x-header": "private"}))
