"""What an `LLM` takes, refuses, sends and shares: arguments, requests, prewarming, lifetime."""

from __future__ import annotations

import copy
import json
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import httpx
import jwt
import pytest
import trio
import trio.testing
from trio.testing import MockClock

import lktrio
from lktrio import (
    DEFAULT_API_CONNECT_OPTIONS,
    DEFAULT_MODEL_TABLE,
    LLM,
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    APIStatusError,
    APITimeoutError,
    CacheBreakpoint,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    LLMStatistics,
    RawFunctionTool,
    function_tool,
)
from tests.support.engine import BASE_URL, ONCE, TLS_BASE_URL, ask, conversation, open_llm
from tests.support.leaks import idle_connections, no_leaks
from tests.support.loopback import LoopbackServer, certificates
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    AwaitRequest,
    Close,
    Exchange,
    Hold,
    Repeat,
    Request,
    Send,
    error,
    head,
    response,
    sse,
    text,
    text_chunk,
)

KEY, SECRET = "APIkey", "a-secret-that-is-long-enough-for-anybody"
PAIR: Mapping[str, Any] = {"api_key": KEY, "api_secret": SECRET}
STAGING = "https://agent-gateway.staging.livekit.cloud/v1"
GATEWAY = "https://agent-gateway.livekit.cloud/v1"
UNSET: Any = object()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERENCE_API_KEY", "INFERENCE_API_SECRET", "INFERENCE_URL", "API_KEY"):
        monkeypatch.delenv(f"LIVEKIT_{name}", raising=False)
    for name in ("API_SECRET", "URL"):
        monkeypatch.delenv(f"LIVEKIT_{name}", raising=False)


def raw_tool(name: str) -> RawFunctionTool[..., object]:
    """A tool described by its raw schema."""

    async def call(raw_arguments: dict[str, object]) -> None:
        raise NotImplementedError

    return function_tool(call, raw_schema={"name": name, "parameters": {"type": "object"}})


async def sent_by(llm_options: Mapping[str, Any], **chat_options: Any) -> Request:
    """The request that an `LLM` with these options sends for this call."""
    async with MemoryNetwork(text("Hi")) as network:
        options = {"base_url": TLS_BASE_URL, "auth": None, **llm_options}
        options = {name: value for name, value in options.items() if value is not UNSET}
        async with LLM("test-model", http_client=network.client(), **options) as llm:
            options = {"chat_ctx": conversation(), "conn_options": ONCE, **chat_options}
            assert (await llm.chat(**options).collect()).text == "Hi"
        (request,) = network.requests
    return request


# --- Bad input: the constructor ------------------------------------------------------------------

NO_PAIR: Mapping[str, Any] = {"api_key": None, "api_secret": None}

BAD_SETTINGS: dict[str, tuple[Mapping[str, Any], type[Exception], list[str]]] = {
    "no key": ({**PAIR, "api_key": None}, ValueError, ["api_key", "LIVEKIT_API_KEY", "auth="]),
    "no secret": (
        {**PAIR, "api_secret": None},
        ValueError,
        ["api_secret", "LIVEKIT_API_SECRET", "auth="],
    ),
    "empty key": ({**PAIR, "api_key": ""}, ValueError, ["api_key", "empty"]),
    "blanks around the secret": ({**PAIR, "api_secret": f"{SECRET}\n"}, ValueError, ["api_secret"]),
    "key of a wrong type": ({**PAIR, "api_key": 3}, TypeError, ["api_key", "int"]),
    "secret of a wrong type": ({**PAIR, "api_secret": b"x"}, TypeError, ["api_secret", "bytes"]),
    "empty model": ({"model": ""}, ValueError, ["model=''", "openai/gpt-4.1-mini"]),
    "blank model": ({"model": " "}, ValueError, ["model=' '"]),
    "model with a line break": ({"model": "a\nb"}, ValueError, ["model="]),
    "model of a wrong type": ({"model": None}, TypeError, ["model", "not None"]),
    "empty provider": ({"provider": ""}, ValueError, ["provider"]),
    "provider of a wrong type": ({"provider": 1}, TypeError, ["provider", "int"]),
    "provider with a line break": ({"provider": "a\r\nX-B: c"}, ValueError, ["provider"]),
    "provider that is not ASCII": ({"provider": "café"}, ValueError, ["provider"]),
    "base URL without scheme": ({"base_url": "gateway.test/v1"}, ValueError, ["base_url", "http"]),
    "base URL of another scheme": ({"base_url": "ftp://a/v1"}, ValueError, ["base_url", "http"]),
    "base URL without host": ({"base_url": "https:///v1"}, ValueError, ["base_url", "host"]),
    "base URL with half a host": ({"base_url": "https://["}, ValueError, ["base_url", "host"]),
    "base URL with a bad port": ({"base_url": "https://a:99999"}, ValueError, ["base_url", "port"]),
    "base URL with a blank": ({"base_url": "https://a b/"}, ValueError, ["base_url", "blank"]),
    "base URL with a query": ({"base_url": "https://a/v1?b=c"}, ValueError, ["extra_query"]),
    "base URL with a user": ({"base_url": "https://a:b@c/v1"}, ValueError, ["base_url", "auth="]),
    "base URL that is the whole one": (
        {"base_url": f"{TLS_BASE_URL}/chat/completions"},
        ValueError,
        ["base_url", "/chat/completions"],
    ),
    "base URL of a wrong type": ({"base_url": 1}, TypeError, ["base_url", "int"]),
    "plain http to another machine": (
        {"base_url": "http://gateway.test/v1"},
        ValueError,
        ["base_url", "https://", "allow_insecure=True"],
    ),
    "plain http with a token": (
        {**NO_PAIR, "auth": "Bearer sk-x", "base_url": "http://192.168.1.7/v1"},
        ValueError,
        ["base_url", "allow_insecure=True"],
    ),
    "plain http with a callable": (
        {**NO_PAIR, "auth": lambda: None, "base_url": "http://gateway.test/v1"},
        ValueError,
        ["base_url", "allow_insecure=True"],
    ),
    "plain http with a header": (
        {
            **NO_PAIR,
            "auth": None,
            "base_url": "http://gateway.test/v1",
            "extra_kwargs": {"extra_headers": {"authorization": "Bearer sk-x"}},
        },
        ValueError,
        ["base_url", "allow_insecure=True"],
    ),
    "auth and key": ({"auth": "Bearer sk-x"}, ValueError, ["auth=", "api_key"]),
    "auth and secret": ({"auth": None, "api_key": None}, ValueError, ["auth=", "api_secret"]),
    "empty auth": ({**NO_PAIR, "auth": ""}, ValueError, ["auth=", "Bearer"]),
    "auth with a line break": ({**NO_PAIR, "auth": "Bearer a\r\nb"}, ValueError, ["auth="]),
    "auth that is not ASCII": ({**NO_PAIR, "auth": "Bearer ä"}, ValueError, ["auth=", "ASCII"]),
    "auth without a key": ({**NO_PAIR, "auth": "Bearer "}, ValueError, ["auth=", "variable"]),
    "auth without a scheme": (
        {**NO_PAIR, "auth": "sk-123"},
        ValueError,
        ["auth=f'Bearer {key}'", "'extra_headers': {'Authorization': key}"],
    ),
    "auth of a wrong type": ({**NO_PAIR, "auth": 5}, TypeError, ["auth=", "int"]),
    "auth of bytes": ({**NO_PAIR, "auth": b"Bearer x"}, TypeError, ["auth=", "bytes"]),
    "unknown inference class": (
        {"inference_class": "urgent"},
        ValueError,
        ["inference_class='urgent'", "'priority'", "'low'"],
    ),
    "inference class of a wrong type": ({"inference_class": 1}, TypeError, ["inference_class=1"]),
    "misspelt option": (
        {"extra_kwargs": {"temprature": 1.0}},
        ValueError,
        ["extra_kwargs", "'temprature'", "'temperature'"],
    ),
    "option of a wrong type": (
        {"extra_kwargs": {"temperature": "hot"}},
        TypeError,
        ["extra_kwargs", "temperature='hot'", "number"],
    ),
    "options of a wrong type": ({"extra_kwargs": [1]}, TypeError, ["extra_kwargs"]),
    "cache breakpoints": (
        {"prompt_cache_breakpoints": "yes"},
        ValueError,
        ["prompt_cache_breakpoints='yes'", "'auto'"],
    ),
    "sync client": ({"http_client": httpx.Client}, TypeError, ["http_client", "AsyncClient"]),
    "class of clients": ({"http_client": UNSET}, TypeError, ["http_client", "type"]),
    "no client": ({"http_client": "x"}, TypeError, ["http_client", "str"]),
    "no streams": ({"max_streams": 0}, ValueError, ["max_streams=0", "1 or more"]),
    "fewer than no streams": ({"max_streams": -1}, ValueError, ["max_streams=-1"]),
    "half a stream": ({"max_streams": 1.5}, TypeError, ["max_streams", "float"]),
    "true streams": ({"max_streams": True}, TypeError, ["max_streams", "bool"]),
    "strict as text": ({"strict_tool_schema": "no"}, TypeError, ["strict_tool_schema", "'no'"]),
    "insecure as text": ({"allow_insecure": "no"}, TypeError, ["allow_insecure", "'no'"]),
    "model table": ({"model_table": {}}, TypeError, ["model_table", "ModelTable"]),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_bad_setting_is_refused_by_name(case: str) -> None:
    settings, kind, words = BAD_SETTINGS[case]
    options: dict[str, Any] = {"model": "m", "base_url": TLS_BASE_URL, **PAIR, **settings}
    if options.get("http_client") is UNSET:
        options["http_client"] = httpx.AsyncClient
    elif options.get("http_client") is httpx.Client:
        options["http_client"] = httpx.Client()
    with pytest.raises(kind) as caught:
        LLM(**options)
    assert type(caught.value) is kind
    for word in words:
        assert word in str(caught.value)
    for secret in (SECRET, "sk-x", ":b@"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [
        ("LIVEKIT_INFERENCE_URL", "gateway.test", ValueError),
        ("LIVEKIT_INFERENCE_URL", "http://gateway.test/v1", ValueError),
        ("LIVEKIT_API_SECRET", " secret", ValueError),
    ],
)
def test_a_bad_environment_variable_is_named(
    variable: str, value: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    options = {name: value for name, value in PAIR.items() if name.upper() not in variable}
    words = variable if "http" not in value else "base_url"
    with pytest.raises(kind, match=words):
        LLM("m", **options)


@pytest.mark.parametrize("field", ["max_retry", "retry_interval", "max_retry_delay", "timeout"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_negative_clocks_and_retries_are_refused(field: str, value: float) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{field}=.*takes"):
        APIConnectOptions(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["timeout", "first_output_timeout", "total_timeout"])
@pytest.mark.parametrize(("value", "kind"), [(-1, ValueError), (0, ValueError), ("1", TypeError)])
def test_a_timeout_is_a_positive_number(field: str, value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"{field}=.*seconds"):
        APIConnectOptions(**{field: value})


# --- Bad input: a call ---------------------------------------------------------------------------


def said(content: Any, **options: Any) -> ChatContext:
    """A conversation with one message."""
    return ChatContext([ChatMessage(role="user", content=content, **options)])


BAD_CALLS: dict[str, tuple[Callable[[], Mapping[str, Any]], type[Exception], list[str]]] = {
    "no context": (lambda: {"chat_ctx": None}, TypeError, ["chat_ctx", "ChatContext"]),
    "messages": (lambda: {"chat_ctx": [{"role": "user"}]}, TypeError, ["chat_ctx", "from_openai"]),
    "text": (lambda: {"chat_ctx": "Hi"}, TypeError, ["chat_ctx", "str"]),
    "image bytes of an unknown kind": (
        lambda: {"chat_ctx": said([ImageContent(image=b"\x00\x01\x02\x03")])},
        ValueError,
        ["chat_ctx.items[0].content[0].image", "mime_type="],
    ),
    "image of a kind that is not taken": (
        lambda: {"chat_ctx": said([ImageContent(image=b"x", mime_type="image/tiff")])},
        ValueError,
        ["chat_ctx.items[0].content[0].image", "image/tiff"],
    ),
    "image that is a path": (
        lambda: {"chat_ctx": said([ImageContent(image="/tmp/whale.png")])},
        ValueError,
        ["chat_ctx.items[0].content[0].image", "read_bytes"],
    ),
    "lone surrogate": (
        lambda: {"chat_ctx": said(["Hi", "\ud800"])},
        ValueError,
        ["chat_ctx.items[0].content[1]", "surrogate"],
    ),
    "message that is no JSON": (
        lambda: {"chat_ctx": said(["Hi"], extra={"google": {"signature": object()}})},
        TypeError,
        ["chat_ctx.items[0].extra.google.signature", "object"],
    ),
    "message that holds itself": (
        lambda: {"chat_ctx": said(["Hi"], extra={"google": _holding_itself()})},
        ValueError,
        ["chat_ctx.items[0].extra", "holds itself"],
    ),
    "connection options": (
        lambda: {"conn_options": {"timeout": 1}},
        TypeError,
        ["conn_options", "APIConnectOptions"],
    ),
    "no connection options": (lambda: {"conn_options": None}, TypeError, ["conn_options"]),
    "unknown option": (
        lambda: {"extra_kwargs": {"max_completion_token": 5}},
        ValueError,
        ["extra_kwargs", "'max_completion_tokens'"],
    ),
    "option of the connection": (
        lambda: {"extra_kwargs": {"max_retry": 5}},
        ValueError,
        ["max_retry", "conn_options=APIConnectOptions(max_retry="],
    ),
    "option of a wrong type": (
        lambda: {"extra_kwargs": {"temperature": True}},
        TypeError,
        ["temperature=True", "number"],
    ),
    "option that is no number": (
        lambda: {"extra_kwargs": {"temperature": math.nan}},
        ValueError,
        ["extra_kwargs", "temperature", "nan"],
    ),
    "nested option of a wrong type": (
        lambda: {"extra_kwargs": {"metadata": {"a": 1}}},
        TypeError,
        ["metadata", "a", "1"],
    ),
    "negative timeout": (
        lambda: {"extra_kwargs": {"timeout": -1}},
        ValueError,
        ["timeout=-1", "seconds"],
    ),
    "model": (lambda: {"extra_kwargs": {"model": "x"}}, ValueError, ["model", "update_options"]),
    "messages in the body": (
        lambda: {"extra_kwargs": {"extra_body": {"messages": []}}},
        ValueError,
        ["extra_body", "'messages'", "chat_ctx"],
    ),
    "stream in the body": (
        lambda: {"extra_kwargs": {"extra_body": {"stream": False}}},
        ValueError,
        ["extra_body", "'stream'", "collect()"],
    ),
    "body that is no JSON": (
        lambda: {"extra_kwargs": {"extra_body": {"top_k": {"x": {1, 2}}}}},
        TypeError,
        ["extra_body", "top_k", "set"],
    ),
    "body that is no number": (
        lambda: {"extra_kwargs": {"extra_body": {"top_k": math.inf}}},
        ValueError,
        ["extra_body", "top_k"],
    ),
    "header of the connection": (
        lambda: {"extra_kwargs": {"extra_headers": {"Host": "other.test"}}},
        ValueError,
        ["extra_headers", "'Host'"],
    ),
    "header that is no name": (
        lambda: {"extra_kwargs": {"extra_headers": {"a b": "c"}}},
        ValueError,
        ["extra_headers", "'a b'"],
    ),
    "header with a line break": (
        lambda: {"extra_kwargs": {"extra_headers": {"X-A": "b\r\nX-C: d"}}},
        ValueError,
        ["extra_headers['X-A']"],
    ),
    "header of a wrong type": (
        lambda: {"extra_kwargs": {"extra_headers": {"X-A": 1}}},
        TypeError,
        ["extra_headers", "X-A"],
    ),
    "query of a wrong type": (
        lambda: {"extra_kwargs": {"extra_query": {"a": {}}}},
        TypeError,
        ["extra_query", "a"],
    ),
    "inference class": (
        lambda: {"inference_class": "now"},
        ValueError,
        ["inference_class='now'", "'priority'"],
    ),
    "parallel tool calls": (
        lambda: {"parallel_tool_calls": "yes"},
        TypeError,
        ["parallel_tool_calls='yes'", "True or False"],
    ),
    "tool choice that is no word for it": (
        lambda: {"tool_choice": "sometimes", "tools": [raw_tool("now")]},
        ValueError,
        ["tool_choice='sometimes'", "'required'"],
    ),
    "tool choice of a wrong shape": (
        lambda: {"tool_choice": {"type": "function"}, "tools": [raw_tool("now")]},
        ValueError,
        ["tool_choice", "function"],
    ),
    "tool choice that names no tool": (
        lambda: {
            "tool_choice": {"type": "function", "function": {"name": "later"}},
            "tools": [raw_tool("now"), raw_tool("soon")],
        },
        ValueError,
        ["tool_choice", "'later'", "now, soon"],
    ),
    "tool choice in the options that names no tool": (
        lambda: {
            "extra_kwargs": {"tool_choice": {"type": "function", "function": {"name": "later"}}},
            "tools": [raw_tool("now")],
        },
        ValueError,
        ["tool_choice", "'later'", "now"],
    ),
    "response format": (lambda: {"response_format": 5}, TypeError, ["response_format", "5"]),
    "two tools of one name": (
        lambda: {"tools": [raw_tool("now"), raw_tool("now")]},
        ValueError,
        ["now"],
    ),
    "function that is no tool": (lambda: {"tools": [print]}, TypeError, ["function_tool"]),
    "tools that are none": (lambda: {"tools": 5}, TypeError, ["tools"]),
    "authorization over plain http": (
        lambda: {"extra_kwargs": {"extra_headers": {"Authorization": "Bearer sk-x"}}},
        ValueError,
        ["base_url", "allow_insecure=True"],
    ),
    **{
        f"{name} over plain http": (
            lambda option=option, name=name: {"extra_kwargs": {option: {name: "sk-x"}}},
            ValueError,
            ["base_url", "allow_insecure=True", f"{option}[{name!r}]"],
        )
        for option, name in (
            ("extra_headers", "api-key"),
            ("extra_headers", "x-goog-api-key"),
            ("extra_headers", "Cookie"),
            ("extra_headers", "CF-Access-Client-Secret"),
            ("extra_query", "key"),
            ("extra_query", "access_token"),
        )
    },
}


def _holding_itself() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    return loop


@pytest.mark.parametrize("case", BAD_CALLS)
async def test_a_bad_argument_of_a_call_is_refused_at_the_call(case: str) -> None:
    make, kind, words = BAD_CALLS[case]
    async with MemoryNetwork(text("Hi")) as network, open_llm(network) as llm:
        with pytest.raises(kind) as caught:
            llm.chat(**{"chat_ctx": conversation(), **make()})
        assert type(caught.value) is kind
        for word in words:
            assert word in str(caught.value)
        assert "sk-x" not in str(caught.value)
        assert network.connect_attempts == []
        assert llm.statistics() == LLMStatistics(0, 0, 0)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"model": ""}, ValueError, "model=''"),
        ({"model": 1}, TypeError, "model"),
        ({"extra_kwargs": {"n": "2"}}, TypeError, "n='2'"),
        ({"extra_kwargs": {"m": 2}}, ValueError, "'m'"),
        (
            {"extra_kwargs": {"extra_headers": {"Authorization": "Bearer sk-x"}}},
            ValueError,
            "allow_insecure",
        ),
        ({"prompt_cache_breakpoints": "no"}, ValueError, "prompt_cache_breakpoints='no'"),
    ],
)
async def test_an_update_that_is_refused_changes_nothing(
    options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    good = {"model": "other", "extra_kwargs": {"seed": 3}, "prompt_cache_breakpoints": True}
    async with MemoryNetwork(text("Hi")) as network, open_llm(network) as llm:
        with pytest.raises(kind, match=words):
            llm.update_options(**{**good, **options})
        await ask(llm).collect()
        assert llm.model == "test-model"
        assert network.requests[0].json()["model"] == "test-model"
        assert "seed" not in network.requests[0].json()


# --- The request ---------------------------------------------------------------------------------


async def test_the_request_is_a_post_of_json_that_asks_for_a_stream_with_usage() -> None:
    request = await sent_by({})
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.json() == {
        "model": "test-model",
        "messages": [{"role": "user", "content": "Why do whales sing?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert request.header("Content-Type") == "application/json"
    assert request.header("Content-Length") == str(len(request.body))
    assert request.header("Accept-Encoding") == "identity"
    assert "text/event-stream" in (request.header("Accept") or "")
    assert request.header("Host") == "gateway.test"
    assert (request.header("User-Agent") or "").startswith(f"lktrio/{lktrio.__version__}")
    assert request.header("Authorization") is None
    assert request.header("X-LiveKit-Inference-Provider") is None
    assert request.header("X-LiveKit-Inference-Priority") is None


async def test_the_token_is_a_signed_grant_for_ten_minutes() -> None:
    before = int(time.time())
    request = await sent_by({**PAIR, "auth": UNSET})
    after = int(time.time())
    scheme, _, token = (request.header("Authorization") or "").partition(" ")
    assert scheme == "Bearer"
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert before <= claims["nbf"] <= after
    assert claims == {
        "iss": KEY,
        "sub": "agent",
        "inference": {"perform": True},
        "nbf": claims["nbf"],
        "exp": claims["nbf"] + 600,
    }
    assert SECRET not in str(request.headers)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, SECRET + "x", algorithms=["HS256"])


async def test_provider_and_urgency_are_headers() -> None:
    request = await sent_by({"provider": "azure", "inference_class": "low"})
    assert request.header("X-LiveKit-Inference-Provider") == "azure"
    assert request.header("X-LiveKit-Inference-Priority") == "low"


@pytest.mark.parametrize(
    ("instance", "call", "sent"),
    [
        (None, NOT_GIVEN, None),
        ("low", NOT_GIVEN, "low"),
        ("low", "priority", "priority"),
        (None, "standard", "standard"),
        ("low", None, None),
    ],
)
async def test_the_urgency_of_the_call_wins(instance: Any, call: Any, sent: str | None) -> None:
    request = await sent_by({"inference_class": instance}, inference_class=call)
    assert request.header("X-LiveKit-Inference-Priority") == sent


async def test_headers_query_and_body_of_instance_and_call_are_merged() -> None:
    request = await sent_by(
        {
            "provider": "azure",
            "extra_kwargs": {
                "extra_headers": {"X-A": "1", "X-B": "1"},
                "extra_query": {"a": 1, "b": 1},
                "extra_body": {"top_k": 1, "min_p": 0.1},
            },
        },
        extra_kwargs={
            "extra_headers": {"x-b": "2", "X-C": "3", "x-livekit-inference-provider": "mine"},
            "extra_query": {"b": [2, 3], "c": True},
            "extra_body": {"top_k": 2, "stream_options": {"include_usage": False}},
        },
    )
    headers = dict(request.headers)
    assert (headers["x-a"], headers["x-b"], headers["x-c"]) == ("1", "2", "3")
    assert [name for name, _ in request.headers].count("x-b") == 1
    assert headers["x-livekit-inference-provider"] == "mine"
    assert request.target == "/v1/chat/completions?a=1&b=2&b=3&c=true"
    body = request.json()
    assert (body["top_k"], body["min_p"]) == (2, 0.1)
    assert body["stream_options"] == {"include_usage": False}


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "Accept", "Content-Type"])
async def test_extra_headers_replace_ours(name: str) -> None:
    request = await sent_by({}, extra_kwargs={"extra_headers": {name: "mine/1"}})
    assert [value for key, value in request.headers if key == name.lower()] == ["mine/1"]


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
@pytest.mark.parametrize("where", ["instance", "call"])
@pytest.mark.parametrize("auth", [UNSET, None, "Bearer sk-ours"], ids=["pair", "none", "string"])
async def test_an_authorization_in_extra_headers_replaces_the_token(
    name: str, where: str, auth: Any
) -> None:
    llm: dict[str, Any] = {"auth": auth, **(PAIR if auth is UNSET else {})}
    extra: Any = {"extra_headers": {name: "Bearer mine"}}
    if where == "instance":
        request = await sent_by({**llm, "extra_kwargs": extra})
    else:
        request = await sent_by(llm, extra_kwargs=extra)
    values = [value for key, value in request.headers if key == "authorization"]
    assert values == ["Bearer mine"]


async def test_an_explicit_argument_wins_over_options_of_the_call_and_these_over_the_instance() -> (
    None
):
    tools = [raw_tool("now")]
    instance = {"temperature": 0.1, "top_p": 0.1, "tool_choice": "none", "seed": 1}
    request = await sent_by(
        {"extra_kwargs": instance},
        tools=tools,
        tool_choice="required",
        parallel_tool_calls=False,
        extra_kwargs={"temperature": 0.2, "tool_choice": "auto", "parallel_tool_calls": True},
    )
    body = request.json()
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.2, 0.1, 1)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["now"]


async def test_an_option_that_is_none_is_sent_as_null_and_not_given_is_nothing() -> None:
    options = {"temperature": None, "top_p": NOT_GIVEN}
    body = (await sent_by({"extra_kwargs": {"top_p": 0.5}}, extra_kwargs=options)).json()
    assert body["temperature"] is None
    assert body["top_p"] == 0.5


async def test_a_response_format_of_one_s_own_is_sent_as_it_is() -> None:
    body = (await sent_by({}, response_format={"type": "json_object"})).json()
    assert body["response_format"] == {"type": "json_object"}


async def test_nobody_s_dicts_are_touched_or_shared() -> None:
    instance: dict[str, Any] = {
        "temperature": 0.1,
        "metadata": {"a": "b"},
        "extra_headers": {"X-A": "1"},
        "extra_query": {"a": ["1"]},
        "extra_body": {"deep": {"list": [1]}},
        "tool_choice": "auto",
    }
    call = copy.deepcopy(instance)
    context = conversation()
    context.items[0].extra["google"] = {"x": [1]}  # type: ignore[union-attr]
    before = copy.deepcopy(instance), copy.deepcopy(call), context.to_dict()
    async with MemoryNetwork(text("Hi")) as network:
        llm = LLM(
            "test-model",
            base_url=BASE_URL,
            auth=None,
            http_client=network.client(),
            extra_kwargs=instance,
        )
        async with llm:
            for _ in range(2):
                stream = llm.chat(chat_ctx=context, tools=[raw_tool("now")], extra_kwargs=call)
                # Too late: the request was made of what there was when `chat` was called.
                call["extra_body"]["deep"]["list"].append(2)
                instance["extra_body"]["deep"]["list"].append(2)
                instance["metadata"]["a"] = "c"
                await stream.collect()
                call["extra_body"]["deep"]["list"].pop()
                instance["extra_body"]["deep"]["list"].pop()
                instance["metadata"]["a"] = "b"
                assert (instance, call, context.to_dict()) == before
        bodies = [request.json() for request in network.requests]
    assert bodies[0] == bodies[1]
    assert bodies[0]["deep"] == {"list": [1]}
    assert bodies[0]["metadata"] == {"a": "b"}


@pytest.mark.parametrize(("setting", "sent"), [(True, True), (False, False), ("auto", False)])
async def test_cache_breakpoints_are_sent_where_they_are_understood(
    setting: Any, sent: bool
) -> None:
    context = said(["Long.", CacheBreakpoint(), "Short."])
    request = await sent_by({"prompt_cache_breakpoints": setting}, chat_ctx=context)
    assert ("prompt_cache_breakpoint" in json.dumps(request.json())) is sent


NAMED = {"type": "function", "function": {"name": "later"}}


@pytest.mark.parametrize(
    ("instance", "call", "is_told"),
    [
        ({}, {"tool_choice": NAMED}, True),
        ({}, {"tool_choice": "required"}, True),
        ({}, {"extra_kwargs": {"tool_choice": NAMED}}, True),
        ({}, {"tool_choice": "auto", "extra_kwargs": {"tool_choice": "required"}}, False),
        ({}, {"tool_choice": "none"}, False),
        ({}, {}, False),
        ({"extra_kwargs": {"tool_choice": NAMED}}, {}, False),
    ],
)
async def test_a_choice_that_forces_a_call_is_told_to_be_left_out_without_tools(
    caplog: pytest.LogCaptureFixture, instance: Any, call: Any, is_told: bool
) -> None:
    assert "tool_choice" not in (await sent_by(instance, **call)).json()
    told = [record.getMessage() for record in caplog.records if record.name == "lktrio"]
    assert [("tool_choice=" in line, "give chat() the tools" in line) for line in told] == (
        [(True, True)] if is_told else []
    )


async def test_without_tools_no_tool_choice_is_sent() -> None:
    body = (await sent_by({}, tool_choice="required", parallel_tool_calls=True)).json()
    assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


async def test_a_parameter_that_the_model_rejects_is_left_out() -> None:
    options: dict[str, Any] = {"temperature": 0.5, "max_completion_tokens": 9}
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        async with LLM("openai/gpt-5", base_url=BASE_URL, auth=None, http_client=client) as llm:
            await ask(llm, extra_kwargs=options).collect()
        body = network.requests[0].json()
    assert "temperature" not in body
    assert body["max_completion_tokens"] == 9


async def test_an_effort_that_the_model_does_not_take_with_tools_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "lktrio")
    options: dict[str, Any] = {"reasoning_effort": "low"}
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        async with LLM("gpt-5.6-luna", base_url=BASE_URL, auth=None, http_client=client) as llm:
            await ask(llm, extra_kwargs=options, tools=[raw_tool("now")]).collect()
            await ask(llm, extra_kwargs=options).collect()
        first, second = (request.json()["reasoning_effort"] for request in network.requests)
    assert (first, second) == ("none", "low")
    told = [record.getMessage() for record in caplog.records if "reasoning_effort" in record.msg]
    assert told == ["gpt-5.6-luna takes tools at reasoning_effort='none' only; not sent: 'low'"]


@pytest.mark.parametrize(
    ("facts", "content"), [({}, {"content": None}), ({"content_beside_calls": "absent"}, {})]
)
async def test_calls_without_text_are_sent_as_the_model_takes_them(
    facts: dict[str, Any], content: dict[str, Any]
) -> None:
    context = conversation()
    context.items += [
        FunctionCall(call_id="c1", name="now", arguments="{}"),
        FunctionCallOutput(call_id="c1", name="now", output="noon", is_error=False),
    ]
    table = DEFAULT_MODEL_TABLE.with_facts("*", **facts)
    message = (await sent_by({"model_table": table}, chat_ctx=context)).json()["messages"][1]
    assert {name: message[name] for name in message if name != "tool_calls"} == {
        "role": "assistant",
        **content,
    }


async def test_calls_and_outputs_of_the_conversation_are_sent() -> None:
    context = conversation()
    context.items += [
        FunctionCall(call_id="c1", name="now", arguments="{}"),
        FunctionCallOutput(call_id="c1", name="now", output="noon", is_error=False),
    ]
    messages = (await sent_by({}, chat_ctx=context)).json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] == "c1"


@pytest.mark.parametrize(
    ("in_options", "in_call", "ends_at"), [(3.0, None, 3.0), (None, 5.0, 5.0), (3.0, 5.0, 5.0)]
)
async def test_a_timeout_in_the_options_is_that_of_the_request(
    in_options: float | None, in_call: float | None, ends_at: float, autojump_clock: MockClock
) -> None:
    extra = {} if in_options is None else {"timeout": in_options}
    conn_options = ONCE if in_call is None else APIConnectOptions(max_retry=0, timeout=in_call)
    async with MemoryNetwork(Exchange([Hold()])) as network:
        async with open_llm(network, extra_kwargs=extra) as llm:
            start = trio.current_time()
            with pytest.raises(APITimeoutError):
                await ask(llm, conn_options).collect()
            assert trio.current_time() - start == ends_at


def waits(**options: float) -> dict[str, Any]:
    return {"conn_options": APIConnectOptions(max_retry=0, **options)}


@pytest.mark.parametrize(
    ("of_the_llm", "of_the_call", "ends_at"),
    [
        (waits(timeout=3), {}, 3),
        (waits(timeout=3) | {"extra_kwargs": {"timeout": 4}}, {}, 3),
        (waits() | {"extra_kwargs": {"timeout": 4}}, {}, 4),
        (waits(timeout=3), {"extra_kwargs": {"timeout": 5}}, 5),
        (waits(timeout=3), waits(timeout=6) | {"extra_kwargs": {"timeout": 5}}, 6),
        (waits(timeout=3) | {"extra_kwargs": {"timeout": 4}}, waits(), 3),
        (waits(), waits(), 10),
    ],
)
async def test_the_timeout_that_is_given_closest_to_the_call_holds(
    of_the_llm: dict[str, Any],
    of_the_call: dict[str, Any],
    ends_at: float,
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(Exchange([Hold()])) as network:
        async with open_llm(network, **of_the_llm) as llm:
            assert llm.conn_options is of_the_llm["conn_options"]
            start = trio.current_time()
            with pytest.raises(APITimeoutError):
                await llm.chat(chat_ctx=conversation(), **of_the_call).collect()
            assert trio.current_time() - start == ends_at
            assert len(network.requests) == 1


async def test_options_of_a_call_replace_those_of_the_llm_as_a_whole(
    autojump_clock: MockClock,
) -> None:
    own = APIConnectOptions(max_retry=0, first_output_timeout=2)
    async with MemoryNetwork(text("late").after(5)) as network:
        async with open_llm(network, conn_options=own) as llm:
            with pytest.raises(APITimeoutError) as caught:
                await llm.chat(chat_ctx=conversation()).collect()
            assert caught.value.clock == "first_output"
            assert (await ask(llm, ONCE).collect()).text == "late"
            with pytest.raises(APITimeoutError):
                # By themselves the defaults say nothing.
                await ask(llm, DEFAULT_API_CONNECT_OPTIONS).collect()


def test_options_of_an_llm_are_checked_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="conn_options must be an APIConnectOptions"):
        LLM("m", base_url=BASE_URL, auth=None, conn_options=cast("Any", {"timeout": 3}))


# --- Environment ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "key", "secret"),
    [
        ({"LIVEKIT_API_KEY": "k1", "LIVEKIT_API_SECRET": "s1" * 16}, "k1", "s1" * 16),
        (
            {
                "LIVEKIT_API_KEY": "k1",
                "LIVEKIT_API_SECRET": "s1" * 16,
                "LIVEKIT_INFERENCE_API_KEY": "k2",
                "LIVEKIT_INFERENCE_API_SECRET": "s2" * 16,
            },
            "k2",
            "s2" * 16,
        ),
    ],
)
async def test_key_and_secret_may_come_from_the_environment(
    env: dict[str, str], key: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    token = (await sent_by({"auth": UNSET})).header("Authorization") or ""
    claims = jwt.decode(token.removeprefix("Bearer "), secret, algorithms=["HS256"])
    assert claims["iss"] == key


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, GATEWAY),
        ({"LIVEKIT_URL": "wss://x.livekit.cloud"}, GATEWAY),
        ({"LIVEKIT_URL": "wss://x.staging.livekit.cloud"}, STAGING),
        (
            {"LIVEKIT_URL": "wss://x.staging.livekit.cloud", "LIVEKIT_INFERENCE_URL": TLS_BASE_URL},
            TLS_BASE_URL,
        ),
        ({"LIVEKIT_INFERENCE_URL": f"{TLS_BASE_URL}/"}, TLS_BASE_URL),
    ],
)
async def test_the_address_may_come_from_the_environment(
    env: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    async with MemoryNetwork(text("Hi")) as network:
        async with LLM("m", **PAIR, http_client=network.client()) as llm:
            await ask(llm).collect()
        (connection,), (request,) = network.connections, network.requests
    assert f"https://{connection.address.removesuffix(':443')}{request.target}" == (
        f"{url}/chat/completions"
    )


async def test_an_llm_may_be_made_of_a_model_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="LIVEKIT_API_KEY"):
        LLM.from_model_string("openai/gpt-4.1-mini")
    monkeypatch.setenv("LIVEKIT_API_KEY", KEY)
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    llm = LLM.from_model_string("openai/gpt-4.1-mini")
    assert isinstance(llm, LLM)
    assert (llm.model, llm.provider, llm.label) == ("openai/gpt-4.1-mini", "livekit", "lktrio.LLM")
    with pytest.raises(ValueError, match="model=''"):
        LLM.from_model_string("")


def test_the_environment_is_read_when_an_llm_is_made_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", KEY)
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", "https://one.test/v1")
    one = LLM("m")
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", "https://two.test/v1")
    assert "one.test" in repr(one)
    assert "two.test" in repr(LLM("m"))


# --- update_options ------------------------------------------------------------------------------


async def test_an_update_counts_for_streams_made_afterwards() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm(network, extra_kwargs={"seed": 1, "n": 1}) as llm:
            before = ask(llm)
            llm.update_options(model="other", extra_kwargs={"seed": 2})
            after = ask(llm)
            assert llm.model == "other"
            for stream in (before, after):
                await stream.collect()
        first, second = (request.json() for request in network.requests)
    assert (first["model"], first["seed"], first["n"]) == ("test-model", 1, 1)
    assert (second["model"], second["seed"]) == ("other", 2)
    assert "n" not in second, "options are replaced as a whole"


async def test_an_update_of_nothing_changes_nothing() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm(network, extra_kwargs={"seed": 1}) as llm:
            llm.update_options()
            await ask(llm).collect()
            llm.update_options(prompt_cache_breakpoints=True)
            context = said(["a", CacheBreakpoint()])
            await llm.chat(chat_ctx=context, conn_options=ONCE).collect()
        first, second = (request.json() for request in network.requests)
    assert (first["model"], first["seed"]) == (second["model"], second["seed"]) == ("test-model", 1)
    assert "prompt_cache_breakpoint" in json.dumps(second)


# --- auth ----------------------------------------------------------------------------------------


async def test_a_string_is_sent_as_it_is_and_none_sends_nothing() -> None:
    assert (await sent_by({"auth": "Bearer sk-1"})).header("Authorization") == "Bearer sk-1"
    assert (await sent_by({"auth": "Token abc"})).header("Authorization") == "Token abc"
    assert (await sent_by({"auth": None})).header("Authorization") is None


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_callable_is_asked_before_every_attempt(
    kind: Literal["sync", "async"], autojump_clock: MockClock
) -> None:
    asked: list[str] = []

    def sync() -> str:
        asked.append(f"Bearer sk-{len(asked)}")
        return asked[-1]

    async def async_() -> str:
        await trio.sleep(1)
        return sync()

    script = [error(503), error(503), text("Hi"), text("Hi")]
    async with MemoryNetwork(script) as network:
        client = network.client()
        auth = sync if kind == "sync" else async_
        async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
            assert asked == []
            await ask(llm, APIConnectOptions(max_retry=2)).collect()
            await ask(llm).collect()
        sent = [request.header("Authorization") for request in network.requests]
    assert sent == asked == [f"Bearer sk-{number}" for number in range(4)]


async def test_a_callable_may_say_none() -> None:
    request = await sent_by({"auth": lambda: None})
    assert request.header("Authorization") is None


async def test_minted_tokens_are_made_for_every_attempt(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000 + trio.current_time())
    async with MemoryNetwork([error(503, retry_after=20), text("Hi")]) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, **PAIR, http_client=client) as llm:
            await ask(llm, APIConnectOptions(max_retry=1)).collect()
        tokens = [request.header("Authorization") or "" for request in network.requests]
    first, second = (
        jwt.decode(token.removeprefix("Bearer "), options={"verify_signature": False})
        for token in tokens
    )
    assert second["nbf"] - first["nbf"] == 20


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, TypeError),
        (b"x", TypeError),
        ("", ValueError),
        ("a\nb", ValueError),
        ("Bearer ", ValueError),
        ("Bearer sk-1\n", ValueError),
        ("sk-1", ValueError),
    ],
)
async def test_what_a_callable_must_not_return(value: Any, kind: type[Exception]) -> None:
    asked: list[Any] = []

    def give() -> Any:
        asked.append(value)
        return value

    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, auth=give, http_client=client) as llm:
            with pytest.raises(kind, match="auth=") as caught:
                await ask(llm, APIConnectOptions(max_retry=3)).collect()
        assert network.connect_attempts == []
    # Asking again would give the same.
    assert len(asked) == 1
    assert "sk-1" not in str(caught.value)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if "lktrio" in frame.f_globals["__name__"].split(".")]
    assert ours
    assert not any("sk-1" in repr(frame.f_locals) for frame in ours)


async def test_what_a_callable_raises_is_the_program_s_own() -> None:
    class Expired(Exception):
        pass

    async def auth() -> str:
        raise Expired

    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
            with pytest.raises(Expired):
                await ask(llm, APIConnectOptions()).collect()
        assert network.connect_attempts == []


async def test_an_async_callable_that_hangs_is_timed_out(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        auth = trio.sleep_forever
        async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
            with pytest.raises(APITimeoutError) as caught:
                await ask(llm).collect()
    assert caught.value.clock == "connect"


# --- Plain http ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://localhost:8080/v1", **PAIR},
        {"base_url": "http://127.0.0.1/v1", "auth": "Bearer sk-x"},
        {"base_url": "http://[::1]:8080/v1", "auth": "Bearer sk-x"},
        {"base_url": "http://gateway.test/v1", "auth": None},
        {"base_url": "http://gateway.test/v1", "auth": "Bearer sk-x", "allow_insecure": True},
        {"base_url": "http://gateway.test/v1", **PAIR, "allow_insecure": True},
        {"base_url": "https://gateway.test/v1", **PAIR},
    ],
)
def test_credentials_may_be_sent_to_this_machine_or_with_leave(options: dict[str, Any]) -> None:
    LLM("m", **options)


# --- prewarm -------------------------------------------------------------------------------------


def models(body: bytes = b'{"data": []}', status: int = 200) -> Callable[[Request], Exchange]:
    """A server with a list of models, and answers."""

    def answer(request: Request) -> Exchange:
        if request.target == "/v1/models":
            return response(status, body, {"Content-Type": "application/json"})
        return text("Hi")

    return answer


@pytest.mark.parametrize("status", [200, 204, 404, 405, 429, 500, 503])
async def test_prewarming_opens_the_connection_of_the_first_request(status: int) -> None:
    async with MemoryNetwork(models(b"" if status == 204 else b"{}", status)) as network:
        client = network.client()
        llm = LLM("m", base_url=TLS_BASE_URL, provider="azure", **PAIR, http_client=client)
        async with llm:
            await llm.prewarm()
            network.assert_quiet()
            await ask(llm).collect()
        warm, request = network.requests
        assert len(network.connections) == 1
    assert (warm.method, warm.target, warm.body) == ("GET", "/v1/models", b"")
    assert (warm.header("Authorization") or "").startswith("Bearer ")
    assert warm.header("X-LiveKit-Inference-Provider") == "azure"
    assert request.method == "POST"


async def test_prewarming_keeps_the_connection_also_where_the_list_is_long() -> None:
    body = json.dumps({"data": [{"id": f"model-{n}"} for n in range(20_000)]}).encode()
    assert len(body) > 2**18
    async with MemoryNetwork(models(body)) as network, open_llm(network) as llm:
        await llm.prewarm()
        await ask(llm).collect()
        assert len(network.connections) == 1


async def test_prewarming_reads_an_endless_list_only_to_a_bound() -> None:
    endless = Exchange([Send(head(200, {"Connection": "close"})), Repeat([Send(b"x" * 60_000)])])
    async with MemoryNetwork([endless, text("Hi")]) as network, open_llm(network) as llm:
        await llm.prewarm()
        assert network.connections[0].bytes_sent < 8 * 2**20
        network.assert_quiet()
        assert (await ask(llm).collect()).text == "Hi"


@pytest.mark.parametrize(
    "exchange",
    [
        response(200, b"\x8b\x07", {"Content-Encoding": "br"}),
        Exchange([Send(head(200, {"Content-Length": "5"})), Close()]),
    ],
    ids=["undecodable", "cut"],
)
async def test_what_a_list_of_models_holds_does_not_matter(exchange: Exchange) -> None:
    async with MemoryNetwork([exchange, text("Hi")]) as network, open_llm(network) as llm:
        await llm.prewarm()
        network.assert_quiet()
        assert (await ask(llm).collect()).text == "Hi"


@pytest.mark.parametrize("status", [401, 403])
async def test_prewarming_tells_that_the_credentials_were_refused(status: int) -> None:
    body = b'{"error": {"message": "unknown key"}}'
    async with MemoryNetwork(models(body, status)) as network, open_llm(network) as llm:
        with pytest.raises(APIStatusError, match="unknown key") as caught:
            await llm.prewarm()
        network.assert_quiet()
    assert (caught.value.status_code, caught.value.retryable) == (status, False)


async def test_prewarming_without_a_server_is_a_connection_error() -> None:
    async with MemoryNetwork(text("Hi"), connect_error="refused") as network:
        async with open_llm(network) as llm:
            with pytest.raises(APIConnectionError, match="refused") as caught:
                await llm.prewarm()
    assert type(caught.value) is APIConnectionError


@pytest.mark.parametrize("hangs", ["connecting", "answering", "body"])
async def test_prewarming_takes_ten_seconds_at_most(hangs: str, autojump_clock: MockClock) -> None:
    steps = [] if hangs == "answering" else [Send(head(200, {"Content-Length": "5"}))]
    delay = math.inf if hangs == "connecting" else 0.0
    async with MemoryNetwork(Exchange([*steps, Hold()]), connect_delay=delay) as network:
        async with open_llm(network) as llm:
            start = trio.current_time()
            with pytest.raises(APITimeoutError, match="10 seconds"):
                await llm.prewarm()
            assert trio.current_time() - start == 10
            network.assert_quiet()


async def test_prewarming_may_be_cancelled(autojump_clock: MockClock) -> None:
    with no_leaks():
        async with MemoryNetwork(Exchange([Hold()])) as network, open_llm(network) as llm:
            with trio.move_on_after(1) as scope:
                await llm.prewarm()
            assert scope.cancelled_caught
            network.assert_quiet()


async def test_prewarming_ends_where_the_llm_is_left(autojump_clock: MockClock) -> None:
    ended: list[float] = []

    async def prewarm() -> None:
        with pytest.raises(trio.ClosedResourceError, match="left while it was prewarmed"):
            await llm.prewarm()
        ended.append(trio.current_time())

    with no_leaks():
        async with MemoryNetwork(Exchange([Hold()])) as network, trio.open_nursery() as nursery:
            async with open_llm(network) as llm:
                nursery.start_soon(prewarm)
                await trio.sleep(1)
                assert llm.statistics().streams_open == 0
                start = trio.current_time()
            await trio.testing.wait_all_tasks_blocked()
            assert ended == [start]
            network.assert_quiet()


async def test_prewarming_over_a_connection_that_was_lost_makes_another() -> None:
    script = [text("Hi").then(AwaitRequest(), Close()), response(200, b"{}"), text("Hi")]
    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        await ask(llm).collect()
        await llm.prewarm()
        await ask(llm).collect()
        assert len(network.connections) == 2


async def test_prewarming_asks_the_callable_for_the_token() -> None:
    async with MemoryNetwork(models()) as network:
        client = network.client()

        async def auth() -> str:
            return "Bearer sk-1"

        async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
            await llm.prewarm()
        assert network.requests[0].header("Authorization") == "Bearer sk-1"


async def test_prewarming_sends_an_authorization_of_one_s_own() -> None:
    extra = {"extra_headers": {"Authorization": "Bearer mine", "X-A": "1"}}
    async with MemoryNetwork(models()) as network:
        client = network.client()
        llm = LLM("m", base_url=TLS_BASE_URL, **PAIR, http_client=client, extra_kwargs=extra)
        async with llm:
            await llm.prewarm()
        (request,) = network.requests
    assert [value for key, value in request.headers if key == "authorization"] == ["Bearer mine"]
    assert request.header("X-A") == "1"


async def test_prewarming_is_for_llms_that_were_entered() -> None:
    with pytest.raises(RuntimeError, match="async with LLM"):
        await LLM("m", base_url=TLS_BASE_URL, **PAIR).prewarm()


# --- statistics and max_streams ------------------------------------------------------------------


async def test_statistics_count_streams(autojump_clock: MockClock) -> None:
    stalls = sse(text_chunk("Hi"), Hold())
    async with MemoryNetwork(stalls) as network, open_llm(network, max_streams=2) as llm:
        assert llm.statistics() == LLMStatistics(0, 0, 0)
        ask(llm)
        assert llm.statistics() == LLMStatistics(0, 0, 0), "made, but not entered"
        async with ask(llm) as one:
            await anext(one)
            async with ask(llm) as two:
                await anext(two)
                async with ask(llm):
                    await trio.testing.wait_all_tasks_blocked()
                    assert llm.statistics() == LLMStatistics(3, 3, 1)
                await trio.testing.wait_all_tasks_blocked()
                assert llm.statistics() == LLMStatistics(2, 3, 0)
        assert llm.statistics() == LLMStatistics(0, 3, 0)
        network.assert_quiet()


async def test_max_streams_lets_only_so_many_run_and_loses_none(autojump_clock: MockClock) -> None:
    running = most = 0

    def begin(_: Request) -> Exchange:
        nonlocal running, most
        running += 1
        most = max(most, running)
        return text("a", "b", every=1)

    async with MemoryNetwork(begin) as network, open_llm(network, max_streams=3) as llm:

        async def one() -> None:
            nonlocal running
            assert (await ask(llm).collect()).text == "ab"
            running -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        assert llm.statistics() == LLMStatistics(0, 10, 0)
    assert most == 3


@pytest.mark.parametrize(
    ("clocks", "clock", "seconds"),
    [
        ({"first_output_timeout": 1, "total_timeout": 7}, "first_output", 1),
        ({"total_timeout": 7}, "total", 7),
        ({"first_output_timeout": 9, "total_timeout": 7}, "total", 7),
    ],
)
async def test_waiting_for_a_place_is_waiting_for_the_first_output(
    clocks: dict[str, float], clock: str, seconds: float, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork(sse(text_chunk("Hi"), Hold())) as network:
        async with open_llm(network, max_streams=1) as llm, ask(llm) as first:
            await anext(first)
            start = trio.current_time()
            options = APIConnectOptions(max_retry=3, timeout=0.5, **clocks)
            with pytest.raises(APITimeoutError, match="max_streams") as caught:
                await ask(llm, options).collect()
            assert trio.current_time() - start == seconds
            assert (caught.value.clock, caught.value.retryable) == (clock, False)
            assert caught.value.attempts == ()
            assert len(network.requests) == 1
            assert llm.statistics().streams_waiting == 0


async def test_a_wait_for_a_place_that_is_cancelled_takes_none(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(text("Hi", every=5)) as network:
        async with open_llm(network, max_streams=1) as llm:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask(llm).collect)
                for _ in range(20):
                    with trio.move_on_after(0.1):
                        await ask(llm).collect()
            assert (await ask(llm).collect()).text == "Hi"
            assert llm.statistics().streams_open == 0


async def test_a_place_is_free_again_after_a_failure(autojump_clock: MockClock) -> None:
    async with MemoryNetwork([error(400), text("Hi")]) as network:
        async with open_llm(network, max_streams=1) as llm:
            with pytest.raises(APIStatusError):
                await ask(llm).collect()
            assert (await ask(llm).collect()).text == "Hi"


# --- Lifetime ------------------------------------------------------------------------------------


async def test_an_llm_that_was_not_entered_serves_no_streams() -> None:
    llm = LLM("m", base_url=TLS_BASE_URL, **PAIR)
    with pytest.raises(RuntimeError, match="async with LLM"):
        async with ask(llm):
            raise NotImplementedError
    with pytest.raises(RuntimeError, match="async with LLM"):
        await ask(llm).collect()


async def test_an_llm_is_entered_once() -> None:
    async with MemoryNetwork(text("Hi")) as network, open_llm(network) as llm:
        with pytest.raises(RuntimeError, match="entered once"):
            async with llm:
                raise NotImplementedError
        assert (await ask(llm).collect()).text == "Hi", "the first block goes on"
    with pytest.raises(RuntimeError, match="closed"):
        async with llm:
            raise NotImplementedError


async def test_an_llm_that_was_left_serves_no_streams() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        async with open_llm(network) as llm:
            pass
        with pytest.raises(RuntimeError, match="was left"):
            await ask(llm).collect()
        with pytest.raises(RuntimeError, match="was left"):
            await llm.prewarm()


def test_an_llm_belongs_to_one_trio_run() -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    llm = LLM("m", base_url=TLS_BASE_URL, auth=None, http_client=client)

    async def enter_only() -> None:
        await llm.__aenter__()

    async def use() -> None:
        with pytest.raises(RuntimeError, match=r"another trio\.run"):
            await ask(llm).collect()
        with pytest.raises(RuntimeError, match=r"another trio\.run"):
            await llm.prewarm()

    trio.run(enter_only)
    trio.run(use)


def test_an_llm_may_be_used_in_no_other_thread() -> None:
    problems: list[BaseException] = []

    async def main() -> None:
        async with MemoryNetwork(text("Hi")) as network, open_llm(network) as llm:

            async def use() -> None:
                try:
                    await ask(llm).collect()
                except RuntimeError as exc:
                    problems.append(exc)

            thread = threading.Thread(target=trio.run, args=(use,))
            thread.start()
            await trio.to_thread.run_sync(thread.join)

    trio.run(main)
    assert "another trio.run" in str(problems[0])


async def test_leaving_an_llm_ends_the_streams_that_are_open(autojump_clock: MockClock) -> None:
    outcomes: list[str] = []

    async def read_on(stream: Any, started: trio.Event) -> None:
        async with stream:
            assert await anext(stream.text) == "Hi"
            started.set()
            with pytest.raises(trio.ClosedResourceError, match="LLM was left"):
                await anext(stream)
            outcomes.append("closed")

    with no_leaks():
        async with MemoryNetwork(sse(text_chunk("Hi"), Hold())) as network:
            async with trio.open_nursery() as nursery:
                async with open_llm(network) as llm:
                    for _ in range(3):
                        started = trio.Event()
                        nursery.start_soon(read_on, ask(llm), started)
                        await started.wait()
                assert llm.statistics().streams_open == 0
                assert all(one.client_gone_at is not None for one in network.connections)
            network.assert_quiet()
    assert outcomes == ["closed"] * 3


async def test_leaving_an_llm_ends_streams_that_wait_for_a_place_or_a_retry(
    autojump_clock: MockClock,
) -> None:
    outcomes: list[str] = []

    async def wait(stream: Any) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.collect()
        outcomes.append("closed")

    async with MemoryNetwork(error(503, retry_after=25)) as network:
        async with trio.open_nursery() as nursery:
            async with open_llm(network, max_streams=1) as llm:
                for _ in range(2):
                    nursery.start_soon(wait, ask(llm, APIConnectOptions()))
                await trio.sleep(1)
                assert llm.statistics() == LLMStatistics(2, 2, 1)
            start = trio.current_time()
        assert trio.current_time() == start
    assert outcomes == ["closed"] * 2


async def test_leaving_an_llm_in_a_cancelled_scope_closes_all_the_same() -> None:
    with trio.fail_after(60):
        async with LoopbackServer(text("Hi")) as server:
            with trio.CancelScope() as scope:
                async with LLM("m", base_url=f"{server.url}/v1", auth=None) as llm:
                    await ask(llm).collect()
                    scope.cancel()
            await server.connections[0].closed.wait()
            assert server.connections[0].closed_by == "client"


async def test_a_brought_client_s_connections_stay_when_the_llm_is_left() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        transport = network.transport()
        async with LLM("m", base_url=BASE_URL, auth=None, http_client=transport) as llm:
            await ask(llm).collect()
        assert len(idle_connections(transport)) == 1
        assert network.open_connections == 1


async def test_our_own_client_trusts_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = certificates()
    async with LoopbackServer(text("Hi"), tls=tls) as server:
        with trio.fail_after(60):
            async with LLM("m", base_url=f"{server.url}/v1", **PAIR) as llm:
                with pytest.raises(APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                    await ask(llm).collect()
            client = server.client()
            async with LLM("m", base_url=f"{server.url}/v1", **PAIR, http_client=client) as llm:
                assert (await ask(llm).collect()).text == "Hi"
            await client.aclose()


def test_the_repr_names_model_address_and_state() -> None:
    llm = LLM("openai/gpt-4.1-mini", base_url="https://gateway.test:8443/v1", **PAIR)
    assert repr(llm) == "<LLM openai/gpt-4.1-mini at gateway.test:8443 new>"


def test_making_an_llm_outside_of_trio_does_nothing() -> None:
    with no_leaks():
        llm = LLM("m", **PAIR)
        stream = ask(llm)
        assert repr(stream) == "<LLMStream m new, 0 chunks>"
