"""The body of a request: what always stands in it, who may set what, and the recorded cases."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from lktrio import (
    AudioContent,
    CacheBreakpoint,
    ChatContent,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)
from lktrio._conversation.messages import build_messages
from lktrio._wire.request import encode_request
from tests.support.paths import DATA

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {}}}
MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "hi"}]


def body(**changes: Any) -> dict[str, Any]:
    return json.loads(encoded(**changes))


def encoded(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "model": "openai/gpt-4.1-mini",
        "messages": MESSAGES,
        "options": {},
        "tools": [],
        "extra_body": {},
        **changes,
    }
    return encode_request(**arguments)


def test_a_body_always_asks_for_a_stream_with_usage() -> None:
    assert body() == {
        "model": "openai/gpt-4.1-mini",
        "messages": MESSAGES,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_body_is_compact_utf_8() -> None:
    messages = [{"role": "user", "content": "þó\u2028"}]

    assert '"messages":[{"role":"user","content":"þó\u2028"}]'.encode() in encoded(
        messages=messages
    )


def test_options_are_members_of_the_body() -> None:
    options = {
        "temperature": None,
        "stop": ["x"],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }

    assert body(options=options, tools=[TOOL]) == {**body(), **options, "tools": [TOOL]}


def test_without_tools_nothing_is_said_about_them() -> None:
    options = {"tool_choice": "required", "parallel_tool_calls": False, "seed": 1}

    assert body(options=options) == {**body(), "seed": 1}


def test_the_extra_body_is_merged_last() -> None:
    extra_body = {"top_k": 5, "seed": 2, "stream_options": {"include_usage": False}}

    assert body(options={"seed": 1}, extra_body=extra_body) == {**body(), **extra_body}


def test_nothing_of_the_caller_is_changed() -> None:
    arguments: dict[str, Any] = {
        "messages": copy.deepcopy(MESSAGES),
        "options": {"tool_choice": "auto", "metadata": {"a": "b"}},
        "tools": [],
        "extra_body": {"a": {"b": 1}},
    }
    before = copy.deepcopy(arguments)
    encoded(**arguments)

    assert arguments == before


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"tools": [TOOL, {"function": {"default": object()}}]}, TypeError, "tools[1].function.default is of type object"),
        ({"tools": [{"function": {"default": math.nan}}]}, ValueError, "tools[0].function.default is nan"),
        ({"model": "\ud800"}, ValueError, "model has a lone surrogate"),
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_refused_with_its_path(
    changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        encoded(**changes)

    assert words in str(caught.value)


# Recorded from the asyncio original: tests/data/requests.json.

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case for case in json.loads((DATA / "requests.json").read_text(encoding="utf-8"))
}

# Where the recording is wrong, or DESIGN decides otherwise: what is right.
CORRECTED: dict[str, list[dict[str, Any]]] = {
    # Parts keep the order in which they were given.
    "ctx_image_data_url": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {
                    "type": "image_url",
                    "image_url": {
                        "url": CASES["ctx_image_data_url"]["case"]["chat_ctx"][0]["content"][1]["url"],
                        "detail": "auto",
                    },
                },
            ],
        }
    ],
    "ctx_image_text_order": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "one"},
                {"type": "image_url", "image_url": {"url": "https://example.com/1.png", "detail": "auto"}},
                {"type": "text", "text": "two"},
                {"type": "image_url", "image_url": {"url": "https://example.com/2.png", "detail": "auto"}},
                {"type": "text", "text": "three"},
            ],
        }
    ],
    "hist_call_id_reused": [
        {"role": "user", "content": "Paris?"},
        {"role": "assistant", "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "sunny"},
        {"role": "assistant", "content": "Sunny."},
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
    ],
    "hist_two_assistant_same_group": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
    ],
}  # fmt: skip

RECORDED = {name: case for name, case in CASES.items() if "requests" in case}


def conversation(case: dict[str, Any]) -> list[ChatItem]:
    return [item(entry) for entry in case["case"]["chat_ctx"]]


def item(entry: dict[str, Any]) -> ChatItem:
    members = {name: value for name, value in entry.items() if name != "type"}
    match entry["type"]:
        case "message":
            members["content"] = [part(value) for value in entry["content"]]
            return ChatMessage(**members)
        case "function_call":
            return FunctionCall(**members)
        case "function_call_output":
            return FunctionCallOutput(**members)
    raise AssertionError(entry)


def part(entry: dict[str, Any]) -> ChatContent:
    match entry:
        case {"type": "text", "text": text}:
            return str(text)
        case {"type": "image", "url": url}:
            return ImageContent(image=url)
        case {"type": "audio", "transcript": transcript}:
            return AudioContent(transcript=transcript)
        case {"type": "cache_breakpoint"}:
            return CacheBreakpoint()
    raise AssertionError(entry)


def with_null(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recorded messages, as they are sent here: no text beside calls is null."""
    return [
        {"content": None, **message} if "tool_calls" in message else message for message in messages
    ]


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_is_made_the_same(name: str) -> None:
    messages = build_messages(conversation(RECORDED[name]), cache_breakpoints=False)
    extra_body = RECORDED[name]["case"]["calls"][0].get("extra_kwargs", {}).get("extra_body", {})
    for request in RECORDED[name]["requests"]:
        recorded = CORRECTED.get(name, request["body"]["messages"])
        expected = {**request["body"], "messages": with_null(recorded)}
        given = {"model", "messages", "stream", "stream_options", "tools", *extra_body}

        assert messages == expected["messages"]
        assert (
            body(
                model=expected["model"],
                messages=messages,
                options={key: value for key, value in expected.items() if key not in given},
                tools=expected.get("tools", []),
                extra_body=extra_body,
            )
            == expected
        )


@pytest.mark.parametrize("name", sorted(CORRECTED.keys() - RECORDED.keys()))
def test_a_recorded_fault_is_not_repeated(name: str) -> None:
    messages = build_messages(conversation(CASES[name]), cache_breakpoints=False)

    assert messages == with_null(CORRECTED[name])


@pytest.mark.parametrize("name", sorted({*RECORDED, *CORRECTED}))
def test_recorded_messages_are_made_without_content_where_a_model_wants_that(name: str) -> None:
    messages = build_messages(
        conversation(CASES[name]), cache_breakpoints=False, content_beside_calls="absent"
    )
    requests = CASES[name].get("requests", [])

    assert messages == CORRECTED.get(name) or messages in [
        request["body"]["messages"] for request in requests
    ]


def test_a_recorded_image_that_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError, match=r"chat_ctx.items\[0\].content\[0\].image is a data URL"):
        build_messages(
            conversation(CASES["ctx_image_data_url_not_base64"]), cache_breakpoints=False
        )


def test_the_options_of_recorded_faults_are_sent_as_expected() -> None:
    without_tools = CASES["parallel_without_tools"]["case"]["calls"][0]
    raw_format = CASES["format_dict_json_schema"]["case"]["calls"][0]

    assert without_tools.keys() == {"parallel_tool_calls"}
    assert body(options=without_tools) == body()
    assert raw_format.keys() == {"response_format"}
    assert body(options=raw_format) == {**body(), **raw_format}


def test_every_recorded_case_is_looked_at_here_or_where_options_are_merged() -> None:
    here = {
        *RECORDED,
        *CORRECTED,
        "ctx_image_data_url_not_base64",
        "format_dict_json_schema",
        "parallel_without_tools",
    }

    assert CASES.keys() - here == {
        "extra_conflict",
        "extra_headers_instance",
        "extra_stream_options",
        "extra_unknown_param_retried",
    }
