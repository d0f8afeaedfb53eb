"""What the OpenTelemetry conventions call what is known of a request; no OpenTelemetry needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lktrio import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    ChatContext,
    ChatMessage,
    CollectedResponse,
    CompletionUsage,
    FunctionCall,
    FunctionCallOutput,
    FunctionToolCall,
    ImageContent,
    LLMMetrics,
    RequestInfo,
    function_tool,
)
from lktrio.opentelemetry._conventions import (
    Server,
    content_attributes,
    outcome_attributes,
    request_attributes,
    response_attributes,
    server_at,
    usage_attributes,
)
from tests.support.engine import conversation


def metrics(**members: Any) -> LLMMetrics:
    return LLMMetrics(
        label="lktrio.LLM",
        model="asked",
        provider="livekit",
        timestamp=1_700_000_000.0,
        duration=2.0,
        **members,
    )


# --- Where requests go ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "host", "port", "url"),
    [
        ("https://a.test/v1", "a.test", 443, "https://a.test/v1/chat/completions"),
        ("http://a.test/v1", "a.test", 80, "http://a.test/v1/chat/completions"),
        ("http://a.test:8000", "a.test", 8000, "http://a.test:8000/chat/completions"),
        ("http://[::1]:11434/v1", "::1", 11434, "http://[::1]:11434/v1/chat/completions"),
        ("https://me:secret@a.test/v1", "a.test", 443, "https://a.test/v1/chat/completions"),
    ],
)
def test_a_server_is_known_by_its_base_url(base_url: str, host: str, port: int, url: str) -> None:
    server = server_at(base_url)

    assert server.address == {"server.address": host, "server.port": port}
    assert server.http == {"http.request.method": "POST", "url.full": url, **server.address}
    assert url.endswith(server.path)


def test_an_adapter_has_no_server() -> None:
    assert server_at(None) == Server()


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("my-resource.openai.azure.com", "azure.ai.openai"),
        ("my-resource.services.ai.azure.com", "azure.ai.inference"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("us-south.ml.cloud.ibm.com", "ibm.watsonx.ai"),
        ("api.x.ai", "x_ai"),
        ("agent-gateway.livekit.cloud", None),
        ("localhost", None),
        ("api.openai.com.evil.test", None),
    ],
)
def test_well_known_providers_are_known_by_their_host(host: str, provider: str | None) -> None:
    assert server_at(f"https://{host}/v1").provider == provider


# --- What is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({}, {}),
        ({"temperature": 1}, {"gen_ai.request.temperature": 1.0}),
        ({"top_p": 0.9}, {"gen_ai.request.top_p": 0.9}),
        ({"frequency_penalty": -1}, {"gen_ai.request.frequency_penalty": -1.0}),
        ({"presence_penalty": 0}, {"gen_ai.request.presence_penalty": 0.0}),
        ({"max_tokens": 10}, {"gen_ai.request.max_tokens": 10}),
        ({"max_completion_tokens": 20}, {"gen_ai.request.max_tokens": 20}),
        ({"max_tokens": 10, "max_completion_tokens": 20}, {"gen_ai.request.max_tokens": 20}),
        ({"seed": 0}, {"gen_ai.request.seed": 0}),
        ({"n": 1}, {}),
        ({"n": 2}, {"gen_ai.request.choice.count": 2}),
        ({"stop": "."}, {"gen_ai.request.stop_sequences": ["."]}),
        ({"stop": [".", "!"]}, {"gen_ai.request.stop_sequences": [".", "!"]}),
        ({"reasoning_effort": "low"}, {"gen_ai.request.reasoning.level": "low"}),
        ({"response_format": {"type": "text"}}, {"gen_ai.output.type": "text"}),
        ({"response_format": {"type": "json_object"}}, {"gen_ai.output.type": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            {"gen_ai.output.type": "json"},
        ),
        ({"temperature": None, "stop": None, "n": None, "response_format": None}, {}),
        ({"user": "somebody", "logit_bias": {"1": 2}}, {}),
    ],
)
def test_options(options: dict[str, Any], attributes: dict[str, Any]) -> None:
    assert request_attributes(options) == attributes


def test_numbers_that_are_real_are_floats() -> None:
    value = request_attributes({"temperature": 1})["gen_ai.request.temperature"]

    assert type(value) is float


# --- What comes of it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cancelled", "attributes"),
    [
        (None, False, {}),
        (None, True, {"lktrio.cancelled": True}),
        (APIStatusError("slow down", status_code=429), False, {"error.type": "429"}),
        (APIStatusError("in the stream"), False, {"error.type": "APIStatusError"}),
        (APIConnectionError("reset"), False, {"error.type": "APIConnectionError"}),
        (APITimeoutError("late", clock="idle"), False, {"error.type": "APITimeoutError"}),
        (json.JSONDecodeError("no", "", 0), False, {"error.type": "JSONDecodeError"}),
    ],
)
def test_outcomes(error: Exception | None, cancelled: bool, attributes: dict[str, Any]) -> None:
    assert outcome_attributes(error, cancelled=cancelled) == attributes


@pytest.mark.parametrize(
    ("members", "attributes"),
    [
        ({}, {}),
        ({"response_id": "chatcmpl-1"}, {"gen_ai.response.id": "chatcmpl-1"}),
        ({"response_model": "m"}, {"gen_ai.response.model": "m"}),
        ({"ttft": 0.0}, {"gen_ai.response.time_to_first_chunk": 0.0}),
        ({"finish_reason": "stop"}, {"gen_ai.response.finish_reasons": ["stop"]}),
        (
            {"response_model": "m", "cancelled": True},
            {"gen_ai.response.model": "m", "gen_ai.response.finish_reasons": ["error"]},
        ),
        (
            {"response_model": "m", "error": APIConnectionError("reset")},
            {"gen_ai.response.model": "m", "gen_ai.response.finish_reasons": ["error"]},
        ),
        (
            {"attempts": (Attempt(number=1, started=0.0), Attempt(number=2, started=1.0))},
            {"lktrio.attempts": 2},
        ),
        # No answer has begun, so that none has ended badly.
        ({"cancelled": True}, {}),
        ({"error": APIConnectionError("refused")}, {}),
    ],
)
def test_answers(members: dict[str, Any], attributes: dict[str, Any]) -> None:
    assert response_attributes(metrics(**members)) == attributes


@pytest.mark.parametrize(
    ("usage", "attributes"),
    [
        (None, {}),
        (
            CompletionUsage(completion_tokens=0, prompt_tokens=9),
            {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 0},
        ),
        (
            CompletionUsage(
                completion_tokens=5,
                prompt_tokens=9,
                prompt_cached_tokens=1,
                cache_creation_tokens=2,
                reasoning_tokens=3,
            ),
            {
                "gen_ai.usage.input_tokens": 9,
                "gen_ai.usage.output_tokens": 5,
                "gen_ai.usage.cache_read.input_tokens": 1,
                "gen_ai.usage.cache_write.input_tokens": 2,
                "gen_ai.usage.reasoning.output_tokens": 3,
            },
        ),
    ],
)
def test_usage(usage: CompletionUsage | None, attributes: dict[str, Any]) -> None:
    assert usage_attributes(metrics(usage=usage)) == attributes


# --- Content -------------------------------------------------------------------------------------


def content(
    chat_ctx: ChatContext,
    response: CollectedResponse[None] | None = None,
    *,
    tools: tuple[Any, ...] = (),
    **members: Any,
) -> dict[str, Any]:
    request = RequestInfo(label="l", model="m", provider="p", chat_ctx=chat_ctx, tools=tools)
    attributes = content_attributes(request, metrics(**members), response)
    return {name: json.loads(str(value)) for name, value in attributes.items()}


def test_a_conversation() -> None:
    chat_ctx = ChatContext(
        [
            ChatMessage(id="1", role="system", content=["Be brief."]),
            ChatMessage(id="2", role="user", content=["Weather in Paris?"]),
            ChatMessage(id="3", role="assistant", content=["Let me see."]),
            FunctionCall(id="3/a", call_id="a", name="get_weather", arguments='{"city": "Paris"}'),
            FunctionCall(id="3/b", call_id="b", name="get_time", arguments=""),
            FunctionCallOutput(call_id="a", name="get_weather", output="rainy", is_error=False),
            FunctionCallOutput(call_id="b", name="get_time", output="late", is_error=False),
            FunctionCall(id="4/c", call_id="c", name="get_time", arguments='{"invalid'),
            FunctionCallOutput(call_id="c", name="get_time", output="what?", is_error=True),
        ]
    )

    assert content(chat_ctx) == {
        "gen_ai.input.messages": [
            {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "text", "content": "Let me see."},
                    {
                        "type": "tool_call",
                        "id": "a",
                        "name": "get_weather",
                        "arguments": {"city": "Paris"},
                    },
                    {"type": "tool_call", "id": "b", "name": "get_time", "arguments": {}},
                ],
            },
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "a", "response": "rainy"}],
            },
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "b", "response": "late"}],
            },
            {
                "role": "assistant",
                "parts": [
                    # As the model wrote it, since it cannot be read.
                    {"type": "tool_call", "id": "c", "name": "get_time", "arguments": '{"invalid'}
                ],
            },
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "c", "response": "what?"}],
            },
        ]
    }


def test_images_without_their_bytes() -> None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(
        role="user",
        content=[
            "Look:",
            ImageContent(image="https://a.test/cat.png"),
            ImageContent(image="data:image/png;base64,iVBORw0KGgo="),
        ],
    )

    (message,) = content(chat_ctx)["gen_ai.input.messages"]

    assert message["parts"] == [
        {"type": "text", "content": "Look:"},
        {"type": "uri", "modality": "image", "uri": "https://a.test/cat.png"},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": ""},
    ]


def test_an_answer_s_parts() -> None:
    response = CollectedResponse[None](
        text="Hello.",
        reasoning="They greet.",
        refusal="No more.",
        tool_calls=[FunctionToolCall(name="wave", arguments='{"hand": "left"}', call_id="w")],
    )

    assert content(conversation(), response)["gen_ai.output.messages"] == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "They greet."},
                {"type": "text", "content": "Hello."},
                {"type": "refusal", "content": "No more."},
                {"type": "tool_call", "id": "w", "name": "wave", "arguments": {"hand": "left"}},
            ],
        }
    ]


def test_an_answer_without_anything() -> None:
    (message,) = content(conversation(), CollectedResponse())["gen_ai.output.messages"]

    assert message == {"role": "assistant", "parts": []}


def test_of_a_failure_what_had_arrived() -> None:
    error = APIConnectionError("reset")
    error.partial = CollectedResponse(text="half an ans")

    attributes = content(conversation(), error=error)

    (message,) = attributes["gen_ai.output.messages"]
    assert message["parts"] == [{"type": "text", "content": "half an ans"}]


@pytest.mark.parametrize("members", [{"cancelled": True}, {"error": LookupError("no key")}])
def test_where_nothing_is_known_of_an_answer_there_is_none(members: dict[str, Any]) -> None:
    assert "gen_ai.output.messages" not in content(conversation(), **members)


def test_tools_by_their_names() -> None:
    @function_tool
    async def look(at: str) -> None:
        """Look at something."""

    assert content(conversation(), tools=(look,))["gen_ai.tool.definitions"] == [
        {"type": "function", "name": "look"}
    ]


def test_what_an_exporter_could_not_write_is_replaced() -> None:
    request = RequestInfo(label="l", model="m", provider="p", chat_ctx=conversation())
    response = CollectedResponse[None](text="half \ud83d, whole \U0001f600")

    attributes = content_attributes(request, metrics(), response)

    text = str(attributes["gen_ai.output.messages"])
    assert "half ?, whole \U0001f600" in text
    text.encode()
