"""`LLM(prepare=...)`: the program's last word on a request."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from trio.testing import MockClock

from lktrio import LLM, ChatContext, RequestDraft
from lktrio.testing import ScriptedGateway, reply


def asked() -> ChatContext:
    chat_ctx = ChatContext.empty()
    chat_ctx.add_message(role="user", content="Hello?")
    return chat_ctx


async def sent(prepare: Callable[[RequestDraft], None], **settings: Any) -> Any:
    """The request that is sent."""
    async with ScriptedGateway() as gateway:
        gateway.add(reply("Hi."))
        async with gateway.llm("m", prepare=prepare, **settings) as llm:
            await llm.chat(chat_ctx=asked()).collect()
        return gateway.last_request


async def test_body_headers_and_query_are_changed(autojump_clock: MockClock) -> None:
    seen = []

    def prepare(request: RequestDraft) -> None:
        seen.append((request.model, dict(request.headers), dict(request.query)))
        request.body["messages"][0]["content"] += " Please."
        request.body["metadata"] = {"session": "7"}
        del request.body["stream_options"]
        request.headers["X-Trace"] = "abc"

    request = await sent(
        prepare, extra_kwargs={"extra_headers": {"X-Own": "1"}, "extra_query": {"a": "b"}}
    )

    assert seen == [("m", {"X-Own": "1"}, {"a": "b"})]
    assert request.messages == [{"role": "user", "content": "Hello? Please."}]
    body = json.loads(request.body)
    assert body["metadata"] == {"session": "7"}
    assert "stream_options" not in body
    assert (request.headers["x-trace"], request.headers["x-own"]) == ("abc", "1")


async def seen_by_a_client(prepare: Callable[[RequestDraft], None], **settings: Any) -> Any:
    """The request as a client of httpx has it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"choices": [{"message": {"content": "Hello."}}]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    settings = {"base_url": "http://localhost/v1", "http_client": client, **settings}
    async with client, LLM("m", prepare=prepare, **settings) as llm:
        assert (await llm.chat(chat_ctx=asked()).collect()).text == "Hello."
    return seen[0]


async def test_parameters_of_the_url_are_changed(autojump_clock: MockClock) -> None:
    def prepare(request: RequestDraft) -> None:
        request.query["version"] = "2"

    request = await seen_by_a_client(prepare, auth=None, extra_kwargs={"extra_query": {"a": "b"}})
    assert dict(request.url.params) == {"a": "b", "version": "2"}


async def test_it_is_asked_once_for_each_chat_and_keeps_nothing(autojump_clock: MockClock) -> None:
    numbers = []

    def prepare(request: RequestDraft) -> None:
        numbers.append(len(numbers))
        request.headers["X-Number"] = str(numbers[-1])

    async with ScriptedGateway() as gateway:
        gateway.add(reply("a"), reply("b"))
        async with gateway.llm("m", prepare=prepare) as llm:
            for _ in range(2):
                await llm.chat(chat_ctx=asked()).collect()
        assert [each.headers["x-number"] for each in gateway.requests] == ["0", "1"]


async def test_a_header_takes_the_place_of_the_authorization(autojump_clock: MockClock) -> None:
    def prepare(request: RequestDraft) -> None:
        request.headers["Authorization"] = "Signed abc"

    request = await seen_by_a_client(prepare, auth="Bearer key")
    assert request.headers.get_list("authorization") == ["Signed abc"]


def set_body(name: str, value: object) -> Callable[[RequestDraft], None]:
    def prepare(request: RequestDraft) -> None:
        request.body[name] = value

    return prepare


def set_header(name: str, value: Any) -> Callable[[RequestDraft], None]:
    def prepare(request: RequestDraft) -> None:
        request.headers[name] = value

    return prepare


@pytest.mark.parametrize(
    ("prepare", "kind", "words"),
    [
        (set_body("stream", False), ValueError, r"prepare: body\['stream'\] must stay True"),
        (set_body("temperature", math.nan), ValueError, r"prepare: body\.temperature"),
        (set_body("user", object()), TypeError, r"prepare: body\.user"),
        (set_header("X Y", "1"), ValueError, "prepare: extra_headers: 'X Y' is no header name"),
        (set_header("X-Y", "1\r\n"), ValueError, "prepare: the value of extra_headers"),
        (set_header("X-Y", 1), TypeError, "prepare: extra_headers"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_chat(
    prepare: Callable[[RequestDraft], None], kind: type[Exception], words: str
) -> None:
    llm = LLM("m", base_url="http://localhost/v1", auth=None, prepare=prepare)

    with pytest.raises(kind, match=words):
        llm.chat(chat_ctx=asked())


def test_what_it_raises_chat_raises() -> None:
    def prepare(request: RequestDraft) -> None:
        raise LookupError("no tenant")

    llm = LLM("m", base_url="http://localhost/v1", auth=None, prepare=prepare)

    with pytest.raises(LookupError, match="no tenant"):
        llm.chat(chat_ctx=asked())


async def prepare_later(request: RequestDraft) -> None: ...


@pytest.mark.parametrize(
    ("prepare", "words"),
    [(prepare_later, "prepare must not be async"), (3, "prepare must be callable, not an int")],
)
def test_only_a_function_is_taken(prepare: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        LLM("m", base_url="http://localhost/v1", auth=None, prepare=prepare)


def test_its_repr_shows_nothing_that_is_said() -> None:
    shown = []
    prepare = lambda request: shown.append(repr(request))  # noqa: E731
    LLM("m", base_url="http://localhost/v1", auth=None, prepare=prepare).chat(chat_ctx=asked())

    assert shown == ["RequestDraft(model='m')"]
