"""How servers of the dialect spell things: events, bodies, errors, headers."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lktrio._answers.chunks import CompletionUsage
from lktrio._answers.errors import APIConnectionError, APIError, APIStatusError
from lktrio._answers.info import Quota, QuotaUsage
from lktrio._answers.redaction import redact, redact_error, redact_headers, redact_text
from lktrio._json.clean import quote, repair_surrogates
from lktrio._wire import headers as _headers
from lktrio._wire import server_errors as _server_errors
from lktrio._wire import tolerant as _tolerant
from lktrio._wire.content_coding import content_codings
from lktrio._wire.decoding import Done, decode_body, decode_event
from lktrio._wire.headers import HeaderFacts, read_headers
from lktrio._wire.payloads import (
    CallPayload,
    ChoicePayload,
    ChunkPayload,
    CompletionDetails,
    DeltaPayload,
    FunctionPayload,
    GroqPayload,
    PromptDetails,
    TaintedChunkPayload,
    UsagePayload,
    completion_usage,
    decode_plain,
)
from lktrio._wire.server_errors import payload_error, status_error
from lktrio._wire.tolerant import reasoning_text
from tests.support.wire_values import wire_values


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def payload_of(value: object) -> ChunkPayload:
    """The payload of an event that holds a JSON value (or its bytes)."""
    payload = decode_event(value if isinstance(value, bytes) else dump(value))
    assert isinstance(payload, ChunkPayload)
    return payload


def delta_of(delta: object) -> DeltaPayload:
    payload = payload_of({"choices": [{"delta": delta}]})
    assert payload.choices
    decoded = payload.choices[0].delta
    assert decoded is not None
    return decoded


# --- Events --------------------------------------------------------------------------------------


def test_a_chunk_is_decoded_into_what_somebody_reads() -> None:
    assert payload_of(
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "service_tier": "flex",
            "obfuscation": "x",
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "role": "assistant",
                        "content": "Hi",
                        "reasoning_content": "hm",
                        "refusal": "no",
                        "extra_content": {"google": {}},
                        "tool_calls": [
                            {
                                "index": 1,
                                "id": "a",
                                "type": "function",
                                "function": {"name": "f", "arguments": "{"},
                                "extra_content": {"x": 1},
                            }
                        ],
                    },
                    "finish_reason": "stop",
                    "logprobs": None,
                }
            ],
            "usage": {"prompt_tokens": 1},
        }
    ) == ChunkPayload(
        id="c1",
        model="m",
        service_tier="flex",
        choices=[
            ChoicePayload(
                index=0,
                delta=DeltaPayload(
                    content="Hi",
                    reasoning_content="hm",
                    refusal="no",
                    extra_content={"google": {}},
                    tool_calls=[CallPayload(1, "a", FunctionPayload("f", "{"), {"x": 1})],
                ),
                finish_reason="stop",
            )
        ],
        usage=UsagePayload(prompt_tokens=1),
    )


def test_a_piece_of_an_answer_is_plain() -> None:
    data = dump({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]})

    assert decode_plain(data) == decode_event(data)


@pytest.mark.parametrize(
    "value",
    [
        *({}, {"choices": []}, {"choices": [], "usage": {"prompt_tokens": 1}}, {"choices": "x"}),
        {"choices": [{"delta": {}}], "error": {"message": "x"}},
        {"choices": [{"delta": {}, "error": {"message": "x"}}]},
        {"choices": [{"delta": {}, "finish_reason": "error"}]},
        {"choices": [{"delta": {}}, {"index": 1, "finish_reason": "error"}]},
        {"choices": [{"delta": {}}], "x_groq": {"error": "x"}},
    ],
    ids=str,
)
def test_what_needs_judging_is_not_plain(value: object) -> None:
    assert decode_plain(dump(value)) is None


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE] ", b"[DONE]\n", b"[DONE] bye", b"\t[DONE]"])
def test_trimmed_data_that_starts_with_the_end_mark_ends_the_stream(data: bytes) -> None:
    assert decode_event(data) is Done.DONE


@pytest.mark.parametrize("data", [b"", b"  ", b"\n", b":", b": keepalive", b"  : ping"])
def test_blank_data_and_comments_wrapped_as_data_are_nothing(data: bytes) -> None:
    assert decode_event(data) is None


@pytest.mark.parametrize(
    "data", [b"null", b"[]", b'"ping"', b"1", b"true", b"NaN", b'[{"id":"c"}]']
)
def test_json_that_is_not_an_object_is_nothing(data: bytes) -> None:
    assert decode_event(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"{",
        b'{"id": "c1"',
        b"{'id': 1}",
        b'{"id": "c1"} x',
        b"[DON",
        b"\xff\xfe",
        b'{"id":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_data_that_is_not_json_is_a_connection_error_that_quotes_its_beginning(
    data: bytes,
) -> None:
    with pytest.raises(APIConnectionError) as caught:
        decode_event(data)
    error = caught.value
    assert type(error) is APIConnectionError
    # What is nested too deeply was not spoilt on its way.
    assert error.retryable == (len(data) < 100_000)
    assert "an event of the stream is not valid JSON" in error.message
    assert quote(data) in error.message
    assert len(error.message) < 1000
    assert error.__context__ is None, "it would hold on to the whole text"


@pytest.mark.parametrize("name", [b"ping", b"heartbeat", b" Keep-Alive", b"keepalive"])
def test_an_event_that_keeps_alive_need_not_be_json(name: bytes) -> None:
    assert decode_event(b"2026-11-22", name) is None
    assert decode_event(b'{"id":"c"}', name) == ChunkPayload(id="c")


@pytest.mark.parametrize(
    "data", [b"ping", b"pong", b"keepalive", b" keep-alive ", b"Heartbeat", b"heart-beat"]
)
def test_a_bare_word_that_keeps_alive_is_nothing(data: bytes) -> None:
    assert decode_event(data) is None
    assert decode_event(data, b"message") is None


@pytest.mark.parametrize("data", [b"pings", b"ping ping", b"ping: 1", b"alive", b"ok", b"None"])
def test_other_bare_words_are_not_json(data: bytes) -> None:
    with pytest.raises(APIConnectionError, match="not valid JSON"):
        decode_event(data)


@pytest.mark.parametrize("name", [b"message", b"completion", b""])
def test_other_names_do_not_matter(name: bytes) -> None:
    assert decode_event(b'{"id":"c"}', name) == ChunkPayload(id="c")
    with pytest.raises(APIConnectionError):
        decode_event(b"2026-11-22", name)


@pytest.mark.parametrize("data", [b"", b"text", b"{", b"[]", b'"x"', b": x"])
def test_an_event_named_error_is_a_payload_whatever_its_data(data: bytes) -> None:
    assert decode_event(data, b" Error") == ChunkPayload()


# --- Tolerant reading ----------------------------------------------------------------------------


def test_whatever_the_typed_decoder_takes_is_not_tainted() -> None:
    assert type(payload_of({"id": "c1"})) is ChunkPayload
    assert type(payload_of({"id": 1})) is TaintedChunkPayload


@pytest.mark.parametrize("choices", [None, [], "x", 5, {}, [None], ["x"], [[]]])
def test_choices_of_another_shape_are_no_choices(choices: object) -> None:
    payload = payload_of({"id": "c1", "choices": choices, "service_tier": 1})
    assert payload.id == "c1"
    assert payload.service_tier is None
    assert not payload.choices or payload.choices == [ChoicePayload()]


@pytest.mark.parametrize("delta", [None, "x", 5, [], [{"content": "x"}]])
def test_a_delta_of_another_shape_is_no_delta(delta: object) -> None:
    payload = payload_of({"choices": [{"delta": delta}]})
    assert payload.choices
    assert payload.choices[0].delta is None


@pytest.mark.parametrize("index", [0, "0"], ids=["typed", "tolerant"])
def test_the_text_of_an_older_completion_stands_for_a_delta(index: object) -> None:
    payload = payload_of({"choices": [{"index": index, "text": "Hi"}]})
    assert payload.choices is not None
    assert payload.choices[0].delta == DeltaPayload(content="Hi")

    beside = payload_of({"choices": [{"index": index, "text": "no", "delta": {"content": "Hi"}}]})
    assert beside.choices is not None
    assert beside.choices[0].delta is not None
    assert beside.choices[0].delta.content == "Hi"


def test_a_whole_completion_of_the_older_kind_is_an_answer() -> None:
    payload = decode_body(dump({"choices": [{"text": "legacy"}]}))
    assert payload.choices is not None
    assert payload.choices[0].delta == DeltaPayload(content="legacy")


def test_one_choice_may_stand_for_the_list_of_choices() -> None:
    payload = payload_of({"choices": {"delta": {"content": "Hi"}}})
    assert payload.choices == [ChoicePayload(delta=delta_of({"content": ["Hi"]}))]


@pytest.mark.parametrize(
    ("content", "text", "thinking", "refusal"),
    [
        ("Hi", "Hi", None, None),
        (None, None, None, None),
        (5, "5", None, None),
        (0.5, "0.5", None, None),
        (True, None, None, None),
        ([], None, None, None),
        (["Hi", " you", 1, None], "Hi you1", None, None),
        (
            [{"type": "text", "text": "Hi"}, {"text": " you"}, {"type": 1, "text": "!"}],
            "Hi you!",
            None,
            None,
        ),
        ({"type": "text", "text": "Hi"}, "Hi", None, None),
        (
            [{"type": "text", "text": None}, {"type": "image_url", "image_url": {}}],
            None,
            None,
            None,
        ),
        ([{"type": "refusal", "refusal": "no"}, "Hi"], "Hi", None, "no"),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "Hi"}],
            "Hi",
            "hm",
            None,
        ),
        ([{"type": "reasoning", "summary": ["a", {"text": "b"}]}], None, "ab", None),
        ([{"type": "thought", "text": "x"}], "x", None, None),
        ([{"type": "reference", "reference_ids": [1]}, "x"], "x", None, None),
    ],
)
def test_content_is_a_string_or_parts_and_thinking_parts_are_reasoning(
    content: object, text: str | None, thinking: str | None, refusal: str | None
) -> None:
    delta = delta_of({"content": content})
    assert (delta.content, delta.reasoning_content, delta.refusal) == (text, thinking, refusal)


def test_members_named_outright_win_over_parts() -> None:
    delta = delta_of(
        {
            "content": [{"type": "think", "text": "a"}, {"type": "refusal", "refusal": "b"}],
            "reasoning_content": "c",
            "refusal": "d",
        }
    )
    assert (delta.reasoning_content, delta.refusal) == ("c", "d")


def nested(depth: int, innermost: object, opening: str = "text") -> object:
    for _ in range(depth):
        innermost = [{opening: innermost}]
    return innermost


def test_text_nested_too_deeply_is_none_and_no_error() -> None:
    assert delta_of({"content": nested(3, "x")}).content == "x"
    assert delta_of({"content": nested(300, "x")}).content is None
    assert delta_of({"content": 1, "reasoning": nested(300, "x")}).reasoning is None
    assert reasoning_text([{"summary": nested(300, "x")}]) is None


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ([], None),
        ([{"type": "reasoning.text", "text": "a", "signature": "s"}], "a"),
        ([{"type": "reasoning.summary", "summary": "a"}, {"text": "b"}], "ab"),
        ([{"type": "reasoning.encrypted", "data": "xyz"}], None),
        ([{"type": "reasoning.text", "text": None}], None),
    ],
)
def test_reasoning_details_give_their_readable_text(
    details: list[dict[str, Any]], text: str | None
) -> None:
    assert reasoning_text(details) == text
    fast = delta_of({"reasoning_details": details}).reasoning_details
    assert fast == details
    slow = delta_of({"content": 1, "reasoning_details": [*details, None, "x"]}).reasoning_details
    assert slow == details


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (3, 3),
        (-1, -1),
        ("0", 0),
        ("3", 3),
        (" 4 ", 4),
        (1.0, 1),
        (1.5, None),
        (True, None),
        ("x", None),
        ("", None),
        (None, None),
        ([], None),
        (math.inf, None),
        (math.nan, None),
        pytest.param("9" * 5000, None, id="too many digits"),
    ],
    ids=repr,
)
def test_an_index_is_a_whole_number_in_whatever_spelling(value: object, number: int | None) -> None:
    assert delta_of({"tool_calls": [{"index": value}]}).tool_calls == [CallPayload(index=number)]
    payload = payload_of({"choices": [{"index": value}]})
    assert payload.choices == [ChoicePayload(index=number)]


@pytest.mark.parametrize(
    ("value", "call_id"),
    [("a", "a"), (5, "5"), (None, None), (True, None), ([], None), (1.5, None)],
)
def test_an_id_is_a_string_or_a_whole_number(value: object, call_id: str | None) -> None:
    delta = delta_of({"tool_calls": [{"id": value}]})
    assert delta.tool_calls == [CallPayload(id=call_id)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"a":1}', '{"a":1}'),
        ({"city": "Päris", "n": [1, None]}, '{"city":"Päris","n":[1,null]}'),
        ([1, 2], "[1,2]"),
        (None, None),
        (5, "5"),
        (False, "false"),
    ],
)
def test_arguments_that_are_no_string_are_serialised(arguments: object, text: str | None) -> None:
    function = FunctionPayload("f", text)
    delta = delta_of(
        {
            "tool_calls": {"function": {"name": "f", "arguments": arguments}},
            "function_call": {"name": "f", "arguments": arguments},
        }
    )
    assert delta.tool_calls == [CallPayload(function=function)]
    assert delta.function_call == function


@pytest.mark.parametrize("value", [None, "x", 5, [], True])
def test_members_of_another_shape_are_absent(value: object) -> None:
    delta = delta_of(
        {
            "content": ["x"],
            "tool_calls": [{"function": value, "extra_content": value}, value],
            "function_call": value,
            "extra_content": value,
            "reasoning_details": value,
        }
    )
    assert delta == DeltaPayload(content="x", tool_calls=[CallPayload()], reasoning_details=[])


@pytest.mark.parametrize("value", [None, 5, [], {}, True])
def test_a_name_or_reason_that_is_no_string_is_absent(value: object) -> None:
    payload = payload_of(
        {
            "id": value,
            "type": value,
            "choices": [
                {"finish_reason": value, "delta": {"tool_calls": [{"function": {"name": value}}]}}
            ],
        }
    )
    assert payload.id is None
    assert payload.choices
    assert payload.choices[0].finish_reason is None
    assert payload.choices[0].delta
    assert payload.choices[0].delta.tool_calls == [CallPayload(function=FunctionPayload())]


def test_lone_surrogates_are_kept_in_text_and_arguments_and_replaced_elsewhere() -> None:
    payload = payload_of(
        b'{"id":"\\ud83d","choices":[{"delta":{"content":"a\\ud83d","reasoning":"\\ude00",'
        b'"tool_calls":[{"id":"\\ud83d","function":{"name":"\\ud83d","arguments":"\\ud83d"}}],'
        b'"extra_content":{"\\ud83d":["\\ude00",1]}}}]}'
    )
    assert type(payload) is TaintedChunkPayload
    assert payload.id == "\ufffd"
    assert payload.choices
    delta = payload.choices[0].delta
    assert delta is not None
    assert (delta.content, delta.reasoning) == ("a\ud83d", "\ude00")
    assert delta.tool_calls == [CallPayload(None, "\ufffd", FunctionPayload("\ufffd", "\ud83d"))]
    assert delta.extra_content == {"\ufffd": ["\ufffd", 1]}


def test_invalid_utf_8_is_replaced() -> None:
    assert payload_of(b'{"id":"a\xff\xe2\x82b"}').id == "a\ufffd\ufffdb"


def test_a_byte_order_mark_in_the_data_is_skipped() -> None:
    assert payload_of(b'\xef\xbb\xbf{"id":"a"}').id == "a"


def test_control_characters_and_nan_are_taken() -> None:
    payload = payload_of(b'{"id":"a\x0b\x0c\tb","created":NaN,"x":-Infinity}')
    assert payload.id == "a\x0b\x0c\tb"


def test_pretty_printed_json_is_json() -> None:
    assert payload_of(b' {\n  "id": "c1",\n\t"choices": []\n}\n') == ChunkPayload("c1", [])


def with_nested_arguments(depth: int) -> str:
    """What becomes of a call whose arguments are objects in objects."""
    data = (
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":'
        + b'{"a":' * depth
        + b"1"
        + b"}" * depth
        + b"}}]}}]}"
    )
    try:
        return type(decode_event(data)).__name__
    except APIConnectionError as error:
        return f"retryable={error.retryable}"


def test_arguments_nested_too_deeply_to_be_serialised_are_a_connection_error() -> None:
    """Just below the depth that cannot be read lies one that cannot be written."""
    readable, too_deep = 1, 1_000_000
    assert with_nested_arguments(readable) == "TaintedChunkPayload"
    assert with_nested_arguments(too_deep) == "retryable=False"
    while too_deep - readable > 1:
        depth = (readable + too_deep) // 2
        outcome = with_nested_arguments(depth)
        if outcome == "TaintedChunkPayload":
            readable = depth
        else:
            assert outcome == "retryable=False"
            too_deep = depth


@pytest.mark.parametrize(
    ("text", "repaired"),
    [("", ""), ("é😀", "é😀"), ("\ud83d\ude00", "😀"), ("a\ud83db\ude00", "a\ufffdb\ufffd")],
)
def test_surrogates_are_joined_or_replaced(text: str, repaired: str) -> None:
    assert repair_surrogates(text) == repaired


def test_every_member_that_is_decoded_is_read_tolerantly_too() -> None:
    kinds = [
        CallPayload,
        ChoicePayload,
        ChunkPayload,
        CompletionDetails,
        FunctionPayload,
        GroqPayload,
        PromptDetails,
        UsagePayload,
    ]

    assert {name for kind in kinds for name in kind.__struct_fields__} == set(_tolerant._READERS)


# --- Usage ---------------------------------------------------------------------------------------


def usage_of(usage: object, service_tier: str | None = None) -> CompletionUsage | None:
    payload = payload_of({"usage": usage})
    return None if payload.usage is None else completion_usage(payload.usage, service_tier)


def test_all_counts_are_read() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 121,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    expected = CompletionUsage(
        completion_tokens=20,
        prompt_tokens=100,
        prompt_cached_tokens=60,
        cache_creation_tokens=7,
        cache_read_tokens=60,
        reasoning_tokens=5,
        total_tokens=121,
        service_tier="flex",
    )
    assert usage_of(usage, "flex") == expected
    as_strings = {
        key: {name: str(count) for name, count in value.items()}
        if isinstance(value, dict)
        else float(value)
        for key, value in usage.items()
    }
    assert usage_of(as_strings, "flex") == expected


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens_details": None, "completion_tokens_details": None},
        {"prompt_tokens_details": {}, "completion_tokens_details": {}},
        {"prompt_tokens_details": {"cached_tokens": None}, "cached_tokens": None},
        {"prompt_tokens": "many", "completion_tokens_details": [], "prompt_tokens_details": "x"},
        {"prompt_tokens": -1, "total_tokens": -1, "cached_tokens": -5},
    ],
)
def test_what_is_missing_null_or_no_count_is_zero(usage: object) -> None:
    assert usage_of(usage) == CompletionUsage()


@pytest.mark.parametrize("usage", [None, [], "x", 5])
def test_usage_that_is_no_object_is_none(usage: object) -> None:
    assert usage_of(usage) is None


@pytest.mark.parametrize("total", [{}, {"total_tokens": None}, {"total_tokens": 0}])
def test_the_total_falls_back_to_the_sum(total: dict[str, object]) -> None:
    usage = usage_of({"prompt_tokens": 9, "completion_tokens": 3, **total})
    assert usage is not None
    assert usage.total_tokens == 12


@pytest.mark.parametrize(
    ("members", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 1}, "cached_tokens": 2}, 1),
        ({"prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 2}, 0),
        ({"prompt_tokens_details": {}, "cached_tokens": 2, "prompt_cache_hit_tokens": 3}, 2),
        ({"prompt_tokens_details": {"cached_tokens": "0"}, "cached_tokens": "2"}, 0),
        ({"prompt_cache_hit_tokens": 3}, 3),
        ({}, 0),
    ],
)
def test_cached_tokens_are_found_in_their_three_places(
    members: dict[str, object], cached: int
) -> None:
    usage = usage_of({"prompt_tokens": 9, **members})
    assert usage is not None
    assert usage.prompt_cached_tokens == usage.cache_read_tokens == cached


def test_counts_in_the_words_of_other_interfaces_are_read() -> None:
    usage = usage_of({"input_tokens": 9, "output_tokens": 3})
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 3, 12)

    both = usage_of({"input_tokens": 1, "prompt_tokens": 9, "output_tokens": "3"})
    assert both is not None
    assert (both.prompt_tokens, both.completion_tokens) == (9, 3)


# --- Errors in the stream ------------------------------------------------------------------------


def error_of(value: object, name: bytes = b"") -> APIStatusError | None:
    data = value if isinstance(value, bytes) else dump(value)
    payload = decode_event(data, name)
    assert isinstance(payload, ChunkPayload)
    return payload_error(payload, data, name)


def reported(value: object, name: bytes = b"") -> APIStatusError:
    error = error_of(value, name)
    assert error is not None
    return error


CHOICES = [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]


@pytest.mark.parametrize("choices", [{}, {"choices": []}, {"choices": CHOICES}])
def test_a_truthy_error_member_is_an_error(choices: dict[str, object]) -> None:
    value = {"error": {"message": "overloaded", "code": 503, "type": "server_error"}, **choices}
    error = reported(value)
    assert (error.message, error.status_code, error.retryable) == ("overloaded", 503, True)
    assert error.body == value


@pytest.mark.parametrize("falsy", [None, False, "", {}, [], 0])
def test_a_falsy_error_member_is_none(falsy: object) -> None:
    assert error_of({"error": falsy, "choices": CHOICES}) is None
    assert error_of({"error": falsy}) is None
    assert error_of({"choices": [{"error": falsy}]}) is None


def test_an_error_may_be_a_bare_string() -> None:
    error = reported({"error": "model is overloaded"})
    assert (error.message, error.status_code, error.retryable) == ("model is overloaded", -1, True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"message":"overloaded"}', "overloaded"),
        (b'{"error":{"message":"overloaded"}}', "overloaded"),
        (b"overloaded ", "overloaded"),
        (b'"overloaded"', "overloaded"),
        (b'["overloaded"]', "overloaded"),
        (b'{"choices":[{"delta":{"content":"x"}}],"message":"m"}', "m"),
        (b"", "the server reported an error without saying which"),
        (b"{", "{"),
        (b"null", "null"),
    ],
)
def test_an_event_named_error_is_an_error_whatever_its_data(data: bytes, message: str) -> None:
    for name in (b"error", b" ERROR "):
        error = reported(data, name)
        assert (error.message, error.status_code, error.retryable) == (message, -1, True)


@pytest.mark.parametrize("member", ["type", "object"])
def test_type_or_object_error_without_choices_is_an_error(member: str) -> None:
    value = {member: "error", "message": "bad", "code": "400"}
    error = reported(value)
    assert (error.message, error.status_code, error.retryable) == ("bad", 400, False)
    assert reported({**value, "choices": []}).status_code == 400
    assert error_of({**value, "choices": CHOICES}) is None


def test_type_error_beside_usage_is_an_error() -> None:
    assert reported({"type": "error", "usage": {"prompt_tokens": 1}, "msg": "x"}).message == "x"


@pytest.mark.parametrize(
    "value", [{}, {"id": "c1"}, {"type": "ping"}, {"usage": {"prompt_tokens": 1}}, {"detail": "x"}]
)
def test_a_chunk_without_choices_is_no_error_by_itself(value: object) -> None:
    assert error_of(value) is None


def test_an_error_among_what_groq_adds_is_an_error() -> None:
    for choices in ([], CHOICES):
        error = reported({"choices": choices, "x_groq": {"id": "r", "error": "over capacity"}})
        assert (error.message, error.status_code, error.retryable) == ("over capacity", -1, True)
    for added in ({"id": "r"}, {"error": None}, {"error": ""}, None, "x", [], {"usage": {}}):
        assert error_of({"choices": CHOICES, "x_groq": added}) is None


@pytest.mark.parametrize("choices", [None, [], CHOICES])
@pytest.mark.parametrize(
    ("code", "retryable"),
    [(1000, True), (1002, True), ("1008", False), (1004.0, False), (-1, True)],
)
def test_an_outcome_that_is_not_0_is_an_error(choices: Any, code: Any, retryable: bool) -> None:
    outcome = {"status_code": code, "status_msg": "insufficient balance"}
    value = {"choices": choices, "base_resp": outcome}
    error = reported(value)
    assert (error.message, error.status_code) == ("insufficient balance", -1)
    assert (error.retryable, error.body) == (retryable, value)


@pytest.mark.parametrize(
    "outcome",
    [None, {}, {"status_code": 0}, {"status_code": "0"}, {"status_code": None}, "x", [], 7],
)
def test_an_outcome_of_0_or_of_another_shape_is_no_error(outcome: object) -> None:
    assert error_of({"choices": CHOICES, "base_resp": outcome}) is None
    assert error_of({"choices": None, "base_resp": outcome}) is None


def test_an_outcome_may_be_a_status() -> None:
    error = reported({"base_resp": {"status_code": 429, "status_msg": "slow down"}})
    assert (error.status_code, error.message, error.retryable) == (429, "slow down", True)


def test_an_outcome_is_an_error_in_one_json_body_too() -> None:
    value = {"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}
    for choices in ({}, {"choices": None}, {"choices": []}):
        with pytest.raises(APIStatusError, match="invalid params"):
            decode_body(dump({**value, **choices}))
    assert decode_body(dump({**value, "choices": [{"message": {"content": "x"}}]})).choices


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        ("", []),
        ("identity", []),
        (" None ,, UTF-8", []),
        ("charset=utf-8", []),
        ("GZIP", ["gzip"]),
        ("gzip, none, br", ["gzip", "br"]),
        ("noned", ["noned"]),
    ],
)
def test_the_codings_that_encode_something(value: str, codings: list[str]) -> None:
    assert content_codings(value) == codings


FUNCTION = {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "entry",
    [
        {"function": FUNCTION},
        FUNCTION,
        {"function_call": FUNCTION},
        {"function": None, **FUNCTION},
        {"function": {}, **FUNCTION},
        {"function": {"name": "f"}, "arguments": "{}"},
        {"function": {"arguments": "{}"}, "name": "f"},
        {"function": {"arguments": "{}"}, "function_call": {"name": "f"}},
        {"function": FUNCTION, "name": "other", "arguments": "other"},
        {"name": "f", "arguments": {}},
        {"function_call": {"name": "f", "arguments": {}}},
    ],
    ids=repr,
)
def test_name_and_arguments_of_a_call_may_stand_in_several_places(entry: Any) -> None:
    payload = decode_event(dump({"choices": [{"delta": {"tool_calls": [{"id": "a", **entry}]}}]}))
    assert isinstance(payload, ChunkPayload)
    assert payload.choices is not None
    delta = payload.choices[0].delta
    assert delta is not None
    assert delta.tool_calls is not None
    assert delta.tool_calls[0].spoken() == FunctionPayload("f", "{}")


def test_an_entry_may_say_nothing() -> None:
    assert CallPayload(id="a").spoken() is None
    assert CallPayload(function=FunctionPayload("f")).spoken() == FunctionPayload("f")


@pytest.mark.parametrize("member", [{}, {"created": "nan", "id": 7}])
def test_the_usage_among_what_groq_adds_is_read(member: dict[str, object]) -> None:
    payload = payload_of(
        {**member, "choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 9}}}
    )
    assert payload.x_groq
    assert payload.x_groq.usage == UsagePayload(prompt_tokens=9)
    assert payload_of({**member, "x_groq": {"usage": [1]}}).x_groq == GroqPayload()


def test_an_error_in_a_choice_is_an_error() -> None:
    error = reported({"choices": [{"delta": {}, "error": {"message": "cut", "code": 502}}]})
    assert (error.message, error.status_code) == ("cut", 502)


def test_the_finish_reason_error_is_an_error() -> None:
    error = reported({"choices": [{"delta": {"content": "x"}, "finish_reason": "error"}]})
    assert error.message == "the server reported an error without saying which"
    assert (error.status_code, error.retryable) == (-1, True)


def test_an_error_in_a_choice_that_is_not_the_answer_is_none() -> None:
    choices = [{"index": 1, "error": "x"}, {"index": 2, "finish_reason": "error"}, {"index": 0}]
    assert error_of({"choices": choices}) is None


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        (400, 400, False),
        (429, 429, True),
        ("503", 503, True),
        (529.0, 529, True),
        (None, -1, True),
        ("rate_limit_exceeded", -1, True),
        (200, -1, True),
        (1301, -1, True),
        (True, -1, True),
        ("insufficient_quota", -1, False),
        ("Invalid_API_Key", -1, False),
    ],
)
def test_a_numeric_code_is_the_status_and_decides_on_a_retry(
    code: object, status: int, retryable: bool
) -> None:
    error = reported({"error": {"message": "x", "code": code}})
    assert (error.status_code, error.retryable) == (status, retryable)


def test_a_status_wins_over_what_a_code_says_in_words() -> None:
    error = reported({"error": {"message": "x", "code": "model_not_found", "status": 503}})
    assert (error.status_code, error.retryable) == (503, True)


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"status_code": 503}},
        {"error": {"status": "503"}},
        {"error": {"statusCode": 503}},
        {"error": "x", "code": 503},
        {"error": [{"code": 503}]},
        {"error": {"error": {"code": 503}}},
        {"error": {"code": "upstream", "error": [{"http_status": 503}]}},
        {"error": True, "status_code": 503},
    ],
)
def test_the_status_is_found_where_servers_put_it(value: object) -> None:
    assert reported(value).status_code == 503


def test_a_status_nested_too_deeply_is_not_looked_for() -> None:
    value: object = {"code": 503}
    for _ in range(500):
        value = {"error": value}
    assert reported(value).status_code == -1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"error": {"message": "m", "type": "t"}}, "m"),
        ({"error": {"error": {"message": "inner"}, "message": "outer"}}, "inner"),
        ({"error": {"error": {}, "message": "outer"}}, "outer"),
        ({"error": {"error": "word", "message": "outer"}}, "outer"),
        ({"error": {"error": "word"}}, "word"),
        ({"error": [{"message": "inner"}], "message": "outer"}, "inner"),
        ({"error": {"message": '{"error": {"message": "inner", "code": 400}}'}}, "inner"),
        ({"error": {"message": '[{"detail": "inner"}]'}}, "inner"),
        ({"error": {"message": "[json.exception] parse error"}}, "[json.exception] parse error"),
        ({"error": {"message": "{}"}}, "{}"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": "quota"}}}, "quota"),
        (
            {"error": {"message": "Provider", "metadata": {"raw": '{"error":{"message":"deep"}}'}}},
            "deep",
        ),
        ({"error": {"message": "Provider", "metadata": {"raw": "", "x": 1}}}, "Provider"),
        ({"error": {"message": "m", "metadata": "x"}}, "m"),
        ({"error": {"type": "server_error", "code": 503}}, "server_error"),
        ({"error": {"code": "overloaded"}}, "overloaded"),
        ({"error": {"message": ["a", "b"]}}, "a"),
        ({"error": {"message": ["", {}, "b"]}}, "b"),
        ({"error": {"detail": "d", "title": "t"}}, "d"),
        ({"error": {"errors": [{"message": "m"}]}}, "m"),
        ({"error": {}, "type": "error", "message": "outer"}, "outer"),
        ({"error": True, "message": "outer"}, "outer"),
        ({"error": 5}, "the server reported an error without saying which"),
        ({"error": {"message": "half \ud83d"}}, "half \ufffd"),
        ({"error": {"message": '{"message": "half \\ud83d"}'}}, "half \ufffd"),
        ({"error": {"message": "  m \n"}}, "m"),
        ({"error": {"message": {"text": "m"}}}, "m"),
        ({"error": {"Message": "m", "__type": "x"}}, "m"),
        ({"error": {"base_resp": {"status_code": 1004, "status_msg": "m"}}}, "m"),
        ({"error": {"id": "x", "fault": {"faultstring": "m", "detail": {"x": 1}}}}, "m"),
        ({"error": {"answers": [{"id": 1}, {"reason": "m"}]}}, "m"),
    ],
)
def test_the_message_is_the_most_specific_text(value: object, message: str) -> None:
    assert reported(value).message == message


def test_text_nested_too_deeply_is_not_looked_for() -> None:
    error = reported({"error": {"error": nested(300, "deep", "message"), "title": "near"}})
    assert error.message == "near"


def test_a_message_that_only_looks_like_json_is_shown_as_it_is() -> None:
    message = "[" * 400
    assert reported({"error": {"message": message}}).message == message
    assert reported({"error": {"message": "{" + message}}).message == "{" + message


def test_a_long_message_is_shortened() -> None:
    error = reported({"error": {"message": "x" * 10_000}})
    assert error.message == "x" * 500 + "..."


def test_the_body_of_an_error_can_be_encoded_and_is_not_nested_without_end() -> None:
    data = b'{"error":{"message":"m","\\ud83d":"\\ud83d","deep":' + b"[" * 500 + b"]" * 500 + b"}}"
    body = reported(data).body
    text = json.dumps(body, ensure_ascii=False)
    text.encode()
    assert text.count("[") == 98


def test_an_error_without_a_json_body_keeps_its_text() -> None:
    assert reported(b"plain words", b"error").body == "plain words"


def test_a_member_that_only_the_typed_decoder_can_skip_hides_no_error() -> None:
    skipped = b'{"created":' + b"9" * 5000
    assert error_of(skipped + b"}") is None
    error = reported(skipped + b',"error":{"message":"m"}}')
    assert (error.message, error.body) == ("m", {"message": "m"})


# --- Bodies that are no stream -------------------------------------------------------------------

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


@pytest.mark.parametrize("value", [COMPLETION, [COMPLETION]])
def test_a_whole_completion_is_a_payload(value: object) -> None:
    payload = decode_body(dump(value))
    assert payload.id == "c1"
    assert payload.choices
    assert payload.choices[0].message
    assert payload.choices[0].message.content == "Hi"
    assert payload.usage == UsagePayload(9, 3, 12)


def test_a_delta_may_stand_for_the_message() -> None:
    payload = decode_body(dump({"choices": [{"delta": {"content": "Hi"}}]}))
    assert payload.choices
    assert payload.choices[0].delta == DeltaPayload(content="Hi")


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "bad", "code": 400}},
        [{"error": {"message": "bad", "code": "400"}}],
        {"error": "bad", "code": 400},
        {"type": "error", "message": "bad", "status": 400},
        {"object": "error", "message": "bad", "code": 400, "choices": []},
        {**COMPLETION, "error": {"message": "bad", "code": 400}},
    ],
)
def test_an_error_object_is_a_status_error(value: object) -> None:
    with pytest.raises(APIStatusError, match="bad") as caught:
        decode_body(dump(value))
    assert caught.value.status_code == 400
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        5,
        "text",
        {"detail": "Not Found"},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"index": 1, "message": {"content": "Hi"}}]},
        [COMPLETION, COMPLETION],
        {"object": "list", "data": []},
    ],
)
def test_any_other_json_is_an_error_that_quotes_its_beginning(value: object) -> None:
    body = dump(value)
    with pytest.raises(APIConnectionError, match="neither an event stream nor") as caught:
        decode_body(body)
    assert quote(body) in caught.value.message
    assert not caught.value.retryable
    assert caught.value.body == value


@pytest.mark.parametrize(
    "body",
    [
        *(b"{x}", b"[1 2]", b'{"a":1} {"b":2}', b"[DONE]"),
        # A bracket is open, but that is not what is wrong.
        *(b"{malformed json: <<<chaos>>>", b"{'a': 1", b'{"a": nil, "b": [', b'{"a" "b'),
    ],
)
def test_a_body_that_is_not_json_is_an_error_that_may_not_be_retried(body: bytes) -> None:
    with pytest.raises(APIConnectionError, match="not valid JSON") as caught:
        decode_body(body)
    assert quote(body) in caught.value.message
    assert not caught.value.retryable


@pytest.mark.parametrize("place", [1, 20, 100, len(dump(COMPLETION)) - 1])
def test_a_body_that_is_cut_off_is_an_error_that_may_be_retried(place: int) -> None:
    with pytest.raises(APIConnectionError, match="ended in the middle") as caught:
        decode_body(dump(COMPLETION)[:place])
    assert caught.value.retryable


# --- Errors by status ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message", "kept"),
    [
        (b'{"error":{"message":"m"}}', "m", {"error": {"message": "m"}}),
        (b' [{"error":{"message":"m"}}]\n', "m", [{"error": {"message": "m"}}]),
        (b'\xef\xbb\xbf{"error":"m"}', "m", {"error": "m"}),
        (b'"m"', "m", "m"),
        (b'{"message":"m"}', "m", {"message": "m"}),
        (b'{"detail":"Not Found"}', "Not Found", {"detail": "Not Found"}),
        (b'{"success":false,"error":{"message":"m"}}', "m", None),
        (
            b'{"detail":[{"loc":["body","messages",0],"msg":"field required","type":"missing"}]}',
            "body.messages.0: field required",
            None,
        ),
        (b'{"detail":[{"loc":"body","msg":"bad"}]}', "bad", None),
        (b'{"detail":[{"loc":["body"],"message":"bad"}]}', "bad", None),
        (b'{"error":"invalid_grant","error_description":"d"}', "d", None),
        (b'{"error":{"code":400,"details":[{"description":"d"}]}}', "d", None),
        (b'{"fault":{"x":1}}', "Bad Gateway", {"fault": {"x": 1}}),
        (b"{}", "Bad Gateway", {}),
        (b'""', "Bad Gateway", ""),
        (b"", "Bad Gateway", None),
        (b"  \n", "Bad Gateway", None),
        (b"upstream failed\n", "upstream failed", "upstream failed"),
        (b"{broken", "{broken", "{broken"),
        (
            b'data: {"error": {"message": "m"}}\n\ndata: [DONE]\n\n',
            "m",
            {"error": {"message": "m"}},
        ),
        (b"event: error\r\ndata: overloaded", "overloaded", "overloaded"),
        (b"data:\n\ndata: late\n\n", "late", "late"),
        (b"data: \n\n", "data:", "data:"),
        (b"\xff!", "\ufffd!", "\ufffd!"),
        (b"502", "502", "502"),
        (b"<html><h1>502 Bad Gateway</h1></html>", "502 Bad Gateway", None),
        (
            b"<!doctype html><head><title>t</title><style>p{}</style></head><!-- c --><p>No&nbsp;way",
            "No way",
            None,
        ),
        (
            b"<script>x < y</script><p>No&nbsp;way &amp;\n  more</p>",
            "No way & more",
            None,
        ),
        (b"<html><head><title>Only\n a title</title></head></html>", "Only a title", None),
        (b"<html></html>", "Bad Gateway", "<html></html>"),
        (b"<title></title>", "Bad Gateway", None),
        (b"<p>a < b<script>never closed", "a", None),
        (b"<!-- never closed <p>x</p>", "Bad Gateway", None),
        (b"<SCRIPT>x</Script ><P>y", "y", None),
    ],
)
def test_the_message_of_a_status_is_the_most_specific_text_of_its_body(
    body: bytes, message: str, kept: object
) -> None:
    error = status_error(502, body, HeaderFacts())
    assert error.message == message
    assert error.status_code == 502
    if kept is not None or not body.strip():
        assert error.body == kept
    else:
        assert error.body


def test_a_status_without_a_phrase_gives_no_reason() -> None:
    assert status_error(529, b"", HeaderFacts()).message == "the server gave no reason"
    assert status_error(429, b"", HeaderFacts()).message == "Too Many Requests"


def test_a_long_text_is_shortened_in_the_message() -> None:
    error = status_error(500, b"x" * 10_000, HeaderFacts())
    assert error.message == "x" * 500 + "..."
    assert error.body == "x" * 10_000


def test_a_given_message_stands_in_place_of_the_bodys() -> None:
    error = status_error(302, b"<p>Found</p>", HeaderFacts(), message="redirected")
    assert (error.message, error.body) == ("redirected", "<p>Found</p>")


@pytest.mark.parametrize("status", [400, 408, 429, 499, 500, 529])
@pytest.mark.parametrize("verdict", [None, True, False])
def test_the_servers_verdict_overrides_the_status(status: int, verdict: bool | None) -> None:
    error = status_error(status, b"", HeaderFacts(should_retry=verdict))
    assert error.retryable is (status != 400 if verdict is None else verdict)


def test_what_the_headers_say_is_in_the_error() -> None:
    quota = Quota(rpm=QuotaUsage(60, 60))
    facts = HeaderFacts(request_id="req_9", retry_after=7.0, quota=quota)
    error = status_error(429, b"", facts)
    assert (error.request_id, error.retry_after, error.quota) == ("req_9", 7.0, quota)


@given(st.text("<>!-/ abchdeiprstyl", max_size=60))
@example("<script<style<head<!--<")
def test_no_tag_stays_in_the_text_of_a_page_so_that_none_is_looked_at_twice(text: str) -> None:
    assert "<" not in re.sub(_server_errors._HTML_NOISE, "", text)


@pytest.mark.parametrize(
    "piece", [b"<", b"<!--", b"<script>", b"<script></script ", b"<title", b"<head><title>", b"</"]
)
def test_a_hostile_page_is_read_in_linear_time(piece: bytes) -> None:
    """With a quadratic pattern, each of these takes minutes."""
    body = b"<p>" + piece * (500_000 // len(piece))
    assert status_error(500, body, HeaderFacts()).status_code == 500


# --- Secrets -------------------------------------------------------------------------------------


def test_secrets_are_replaced_wherever_they_stand() -> None:
    value = {"key s3cret": ["a s3cret b s3cret", {"x": "other"}, 5, None], "plain": "tok"}
    assert redact(value, ["s3cret", "other"]) == {
        "key [redacted]": ["a [redacted] b [redacted]", {"x": "[redacted]"}, 5, None],
        "plain": "tok",
    }
    assert redact("s3cret", []) == "s3cret"
    headers = {"a": "s3cret", "b": "no secret"}
    assert redact_headers(headers, ["other", "s3cret"]) == {"a": "[redacted]", "b": "no secret"}
    assert redact_headers(headers, ["other"]) == headers
    assert redact(None, ["x"]) is None


def test_what_is_nested_too_deeply_to_be_searched_is_left_out() -> None:
    assert "s3cret" not in repr(redact(nested(200, "s3cret"), ["s3cret"]))
    assert "[redacted]" in repr(redact(nested(20, "s3cret"), ["s3cret"]))


SECRET = "eyJhbGciOiJIUzI1NiJ9.payload.signature"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"a {SECRET} b", "a [redacted] b"),
        (f"{SECRET}{SECRET}", "[redacted][redacted]"),
        # Cut to a bounded length, perhaps in the middle of one.
        (SECRET[:20], "[redacted]"),
        (f"a {SECRET} b {SECRET[:8]}", "a [redacted] b [redacted]"),
        (f"a {SECRET[:20]}...", "a [redacted]..."),
        (
            f"a {SECRET[:20]}... and {SECRET[:9]}...' (status 400)",
            "a [redacted]... and [redacted]...' (status 400)",
        ),
        (f"{SECRET[:8]}{SECRET[:12]}", f"{SECRET[:8]}[redacted]"),
        # Another text that begins like one.
        (f"{SECRET[:20]}! and {SECRET[:13]}?", f"{SECRET[:20]}! and {SECRET[:13]}?"),
        (SECRET[:12] + "other", SECRET[:12] + "other"),
        (SECRET[:7], SECRET[:7]),
        (SECRET[1:], SECRET[1:]),
        ("", ""),
    ],
)
def test_a_secret_is_matched_whole_and_its_beginning_where_the_text_is_cut(
    text: str, redacted: str
) -> None:
    assert redact(text, [SECRET]) == redacted


def test_an_empty_secret_is_none() -> None:
    assert redact("abc", ["", "b"]) == "a[redacted]c"


@pytest.mark.parametrize("piece", [SECRET, SECRET[:12] + "x", SECRET[:8], SECRET[:12] + "...", "."])
def test_redacting_a_text_full_of_secrets_is_linear(piece: str) -> None:
    """With a quadratic search, this takes minutes."""
    text = piece * 200_000
    assert SECRET not in redact_text(text, [SECRET])


def failed(cause: BaseException | None = None) -> APIStatusError:
    error = APIStatusError(
        f"bad key {SECRET}",
        status_code=401,
        body={"detail": [SECRET]},
        request_id=f"req {SECRET}",
    )
    error.__cause__ = cause
    return error


def test_an_error_tells_no_secret() -> None:
    error = failed()
    redact_error(error, [SECRET])
    assert error.message == "bad key [redacted]"
    assert error.args == ("bad key [redacted]",)
    assert error.body == {"detail": ["[redacted]"]}
    assert error.request_id == "req [redacted]"
    assert SECRET not in f"{error!r} {error} {vars(error)}"
    assert error.status_code == 401


def test_an_error_without_a_request_id_has_none_afterwards() -> None:
    error = APIConnectionError("lost")
    redact_error(error, [SECRET])
    assert (error.message, error.request_id, error.body) == ("lost", None, None)


def test_a_cause_that_tells_a_secret_is_cut_loose() -> None:
    for culprit in (ValueError(SECRET), ValueError("harmless")):
        outer = KeyError("harmless")
        outer.__context__ = culprit
        culprit.__context__ = outer  # a ring, as careless code makes it
        error = failed(outer)
        redact_error(error, [SECRET])
        if SECRET in str(culprit):
            assert error.__cause__ is error.__context__ is None
        else:
            assert error.__cause__ is outer


# --- Headers -------------------------------------------------------------------------------------

NOW = 1_800_000_000.0


def facts(now: float = NOW, **headers: str) -> HeaderFacts:
    return read_headers({name.replace("_", "-"): value for name, value in headers.items()}, now)


def test_no_header_says_nothing() -> None:
    assert facts() == HeaderFacts()


@pytest.mark.parametrize(
    "name",
    [
        "x_request_id",
        "x_livekit_request_id",
        "request_id",
        "apim_request_id",
        "x_ms_request_id",
        "x_amzn_requestid",
        "x_goog_request_id",
        "cf_ray",
    ],
)
def test_the_request_id_is_found_under_its_names(name: str) -> None:
    assert facts(**{name: "req_9"}).request_id == "req_9"
    assert facts(**{name: ""}).request_id is None


def test_the_most_usual_request_id_wins() -> None:
    assert facts(cf_ray="ray", x_request_id="req_9").request_id == "req_9"
    assert facts(cf_ray="ray", x_request_id="").request_id == "ray"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("86400", 86400.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("", None),
        ("soon", None),
        ("7 seconds", None),
        ("1e400", None),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert facts(retry_after=value).retry_after == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1500", 1.5), ("0", 0.0), ("0.5", 0.0005), ("-1", 9.0), ("x", 9.0), ("nan", 9.0)],
)
def test_retry_after_in_milliseconds_wins_if_it_is_one(value: str, seconds: float) -> None:
    assert facts(retry_after_ms=value, retry_after="9").retry_after == seconds


def http_date(when: float) -> str:
    return email.utils.formatdate(when, usegmt=True)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        (http_date(NOW + 30), 30.0),
        (http_date(NOW), 0.0),
        (http_date(NOW - 1), None),
        ("Wed, 40 Oct 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:60 GMT", None),
    ],
)
def test_retry_after_as_a_date(date: str, seconds: float | None) -> None:
    assert facts(retry_after=date).retry_after == seconds


def test_the_servers_own_clock_counts_where_it_is_told() -> None:
    then = http_date(NOW + 30)
    assert facts(retry_after=then, date=http_date(NOW + 20)).retry_after == 10.0
    assert facts(retry_after=then, date=http_date(NOW + 31)).retry_after is None
    assert facts(retry_after=then, date="yesterday").retry_after == 30.0


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (NOW + 20, 20.0),
        (NOW, 0.0),
        ((NOW + 20) * 1000, 20.0),
        (NOW - 1, None),
        ((NOW - 1) * 1000, None),
        (999_999_999, 999_999_999.0),
    ],
)
def test_a_retry_after_that_is_too_large_for_a_delay_is_a_date(
    number: float, seconds: float | None
) -> None:
    """https://github.com/openclaw/clawhub/issues/407: the time of the reset, not a delay."""
    found = facts(retry_after=f"{number:.0f}").retry_after
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1))


@pytest.mark.parametrize("number", [(NOW + 20) * 1000, NOW + 20])
def test_a_date_in_milliseconds_is_one_too(number: float) -> None:
    found = facts(retry_after_ms=f"{number:.0f}").retry_after
    assert found == pytest.approx(20, abs=1)
    assert facts(retry_after_ms=f"{NOW - 5:.0f}", retry_after="9").retry_after is None


def test_a_date_as_a_number_is_by_the_servers_clock_too() -> None:
    then = f"{NOW + 30:.0f}"
    assert facts(retry_after=then, date=http_date(NOW + 20)).retry_after == 10.0


@pytest.fixture
def somewhere_west_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("the local time zone cannot be set here")
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "date",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_an_http_date_are_read(
    date: str, somewhere_west_of_greenwich: None
) -> None:
    """RFC 9110 section 5.6.7. All are in UTC, also where none is named."""
    assert facts(now=784111777.0 - 5, retry_after=date).retry_after == 5.0


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("true", True), ("false", False), (" TRUE ", True), ("", None), ("1", None), ("maybe", None)],
)
def test_should_retry_is_true_false_or_unknown(value: str, verdict: bool | None) -> None:
    assert facts(x_should_retry=value).should_retry is verdict


def test_quotas_are_read_in_pairs() -> None:
    headers = {
        "x_livekit_inference_rpm_limit": "60",
        "x_livekit_inference_rpm_used": "1",
        "x_livekit_inference_tpm_limit": "1000.5",
        "x_livekit_inference_tpm_used": "0",
        "x_livekit_inference_credits_limit": "5",
        "x_livekit_inference_credits_used": "2.5",
    }
    assert facts(**headers).quota == Quota(
        QuotaUsage(60, 1), QuotaUsage(1000.5, 0), QuotaUsage(5, 2.5)
    )


@pytest.mark.parametrize("used", [None, "", "x", "-1", "nan"])
def test_a_missing_half_of_a_quota_means_unknown(used: str | None) -> None:
    headers = {"x_livekit_inference_rpm_limit": "60"}
    if used is not None:
        headers["x_livekit_inference_rpm_used"] = used
    assert facts(**headers).quota is None
    tpm = {"x_livekit_inference_tpm_limit": "9", "x_livekit_inference_tpm_used": "8"}
    assert facts(**headers, **tpm).quota == Quota(tpm=QuotaUsage(9, 8))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1m30.951s", 90.951),
        ("1h2m3s", 3723.0),
        (" 2S ", 2.0),
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        (str(NOW + 5), 5.0),
        (str((NOW + 5) * 1000), 5.0),
        (str(NOW - 5), 0.0),
        ("-1", None),
        ("", None),
        ("s", None),
        ("1s x", None),
        ("x1s", None),
        ("1d", None),
        ("nan", None),
        ("0" * 64 + "s", None),
    ],
)
def test_a_reset_is_a_duration_or_a_moment(value: str, seconds: float | None) -> None:
    assert facts(x_ratelimit_reset_requests=value).reset_hint == pytest.approx(seconds)
    assert facts(x_ratelimit_reset=value).reset_hint == pytest.approx(seconds)


def test_a_reset_too_long_to_be_one_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    class Pattern:
        def findall(self, text: str) -> list[tuple[str, str]]:
            searched.append(len(text))
            return []

    monkeypatch.setattr(_headers, "_DURATION", Pattern())
    # Each digit could begin a number that goes on to the end.
    for length in (64, 65, 100_000):
        assert facts(x_ratelimit_reset="1" * (length - 1) + "x").reset_hint is None
    assert searched == [64]


def test_only_limits_that_were_hit_give_a_hint_and_the_shortest_counts() -> None:
    headers = {
        "x_ratelimit_reset_requests": "9s",
        "x_ratelimit_remaining_requests": "0",
        "x_ratelimit_reset_tokens": "1s",
        "x_ratelimit_remaining_tokens": "17",
        "x_ratelimit_reset_images": "12s",
    }
    assert facts(**headers).reset_hint == 9.0
    headers["x_ratelimit_remaining_requests"] = "3"
    assert facts(**headers).reset_hint == 12.0
    headers["x_ratelimit_remaining_images"] = "3"
    assert facts(**headers).reset_hint is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"remaining_requests": "0", "reset_requests": "6s"}, 6.0),
        ({"remaining_requests": " 0 ", "reset_requests": "6"}, 6.0),
        ({"remaining": "0", "reset": "1m"}, 60.0),
        (
            {
                "remaining_requests": "0",
                "reset_requests": "6s",
                "remaining_tokens": "0",
                "reset_tokens": "9s",
            },
            9.0,
        ),
        (
            {
                "remaining_requests": "0",
                "reset_requests": "6s",
                "remaining_tokens": "1",
                "reset_tokens": "9s",
            },
            6.0,
        ),
        ({"remaining_requests": "5", "reset_requests": "6s"}, None),
        ({"reset_requests": "6s"}, None),
        ({"remaining_requests": "0"}, None),
        ({"remaining_requests": "0", "reset_requests": "soon"}, None),
    ],
)
def test_nothing_is_left_of_a_limit_if_the_server_says_so(
    headers: dict[str, str], seconds: float | None
) -> None:
    said = {f"x_ratelimit_{name}": value for name, value in headers.items()}
    assert facts(**said).exhausted_for == seconds


# --- Quoting -------------------------------------------------------------------------------------


def test_a_quote_is_short_and_printable() -> None:
    assert quote(b"a\nb") == r"'a\nb'"
    assert quote(b"x" * 1000) == repr("x" * 200 + "...")
    assert quote("é".encode() * 200) == repr("é" * 104)
    assert quote(b"") == "''"


# --- Properties ----------------------------------------------------------------------------------


@given(wire_values, st.sampled_from([b"", b"error", b"ping", b"x"]))
def test_any_json_value_as_an_event_is_a_payload_or_nothing(value: object, name: bytes) -> None:
    data = dump(value)
    payload = decode_event(data, name)
    if isinstance(payload, ChunkPayload):
        error = payload_error(payload, data, name)
        assert error is None or isinstance(error, APIStatusError)
        if error is not None:
            check(error)


@given(wire_values)
def test_any_json_value_as_a_body_is_a_payload_or_an_error(value: object) -> None:
    body = dump(value)
    try:
        assert decode_body(body).choices
    except APIError as error:
        check(error)
    check(status_error(500, body, HeaderFacts()))


@given(st.binary(max_size=100), st.sampled_from([b"", b'{"', b"[", b"<", b'{"error":']))
def test_any_bytes_are_a_payload_nothing_or_an_error(data: bytes, start: bytes) -> None:
    for read in (decode_event, decode_body, lambda data: status_error(400, data, HeaderFacts())):
        try:
            result = read(start + data)
        except APIError as error:
            check(error)
        else:
            if isinstance(result, APIStatusError):
                check(result)


def check(error: APIError) -> None:
    """An error can be shown, sent elsewhere, and searched for secrets."""
    assert error.message
    assert len(error.message) < 2000
    str(error).encode()
    json.dumps(redact(error.body, ["s"]), ensure_ascii=False).encode()


header_values = st.one_of(
    st.text(max_size=20),
    st.floats().map(str),
    st.integers().map(str),
    st.text("0123456789hms. :,GMTJanWed-", max_size=30),
    st.sampled_from(["true", "12ms", http_date(NOW), "Wed, 21 Oct 2026 07:28:00 +99999999"]),
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("retry-after", "retry-after-ms", "date", "x-should-retry", "x-request-id"),
                *("x-ratelimit-reset", "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
                *("x-livekit-inference-rpm-limit", "x-livekit-inference-rpm-used"),
            ]
        ),
        header_values,
    )
)
def test_any_headers_give_facts(headers: dict[str, str]) -> None:
    found = read_headers(headers, NOW)
    for seconds in (found.retry_after, found.reset_hint, found.exhausted_for):
        assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
