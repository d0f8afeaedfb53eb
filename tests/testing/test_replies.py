"""The words in which a script is written, and the engine's reading of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lktrio import APIConnectOptions, APIError, ChatChunk, ChatContext, CollectedResponse
from lktrio.testing import (
    DONE,
    Call,
    Close,
    Hold,
    NoConnection,
    Repeat,
    Reply,
    Reset,
    ScriptedGateway,
    Send,
    Step,
    Wait,
    WaitFor,
    chunk,
    comment,
    error,
    error_event,
    event,
    events,
    raw,
    reasoning,
    refusal,
    reply,
    tool_call,
    usage,
)
from lktrio.testing._steps import LAST_CHUNK, http_chunk

ONCE = APIConnectOptions(max_retry=0)


def conversation() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Hi")
    return chat_ctx


def events_of(made: Reply) -> list[bytes]:
    """The pieces of a body, without head and framing."""
    sent = [step.data for step in made.steps if isinstance(step, Send)][1:]
    return [data.split(b"\r\n", 1)[1].removesuffix(b"\r\n") for data in sent if data != LAST_CHUNK]


def deltas_of(made: Reply) -> list[dict[str, Any]]:
    chunks = [json.loads(data.removeprefix(b"data: ")) for data in events_of(made) if data != DONE]
    return [one["choices"][0]["delta"] for one in chunks if one["choices"]]


async def collect(script: Reply) -> CollectedResponse[None]:
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        return await llm.chat(chat_ctx=conversation(), conn_options=ONCE).collect()


async def chunks_of(script: Reply) -> list[ChatChunk]:
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
            return [one async for one in stream]


# --- Text -----------------------------------------------------------------------------------------


@given(st.text())
def test_text_is_cut_in_words_and_nothing_is_lost(text: str) -> None:
    pieces = [delta["content"] for delta in deltas_of(reply(text)) if delta]
    assert "".join(pieces) == text
    assert all(len(piece.split()) <= 1 for piece in pieces)


def test_the_blank_belongs_to_the_word_behind_it() -> None:
    def cut(text: str) -> list[str]:
        return [delta["content"] for delta in deltas_of(reply(text)) if delta]

    assert cut("It is\n sunny. ") == ["It", " is", "\n sunny. "]
    assert cut("  ") == ["  "]
    assert cut("") == []


async def test_a_reply_says_all_that_a_model_can_say(autojump_clock: MockClock) -> None:
    said = await collect(
        reply(
            reasoning("Let me think."),
            "It is ",
            comment(),
            chunk("sunny."),
            tool_call("get_weather", {"city": "Paris", "unit": "celsius"}, fragment=3),
            tool_call("get_time", id="call_x"),
            refusal("No more."),
            usage={"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
            headers={"X-Request-Id": "req-1"},
        )
    )
    assert (said.text, said.reasoning, said.refusal) == (
        "It is sunny.",
        "Let me think.",
        "No more.",
    )
    assert [(call.name, call.call_id) for call in said.tool_calls] == [
        ("get_weather", "call_0"),
        ("get_time", "call_x"),
    ]
    assert json.loads(said.tool_calls[0].arguments) == {"city": "Paris", "unit": "celsius"}
    assert said.tool_calls[1].arguments == "{}"
    assert said.finish_reason == "tool_calls"
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (5, 7)


def test_arguments_are_sent_in_fragments_of_the_size_asked_for() -> None:
    deltas = deltas_of(reply(tool_call("f", '{"a": 12345', fragment=5), usage=None))
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0] == {
        "index": 0,
        "id": "call_0",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
    }
    assert [call["function"]["arguments"] for call in calls[1:]] == ['{"a":', " 1234", "5"]
    with pytest.raises(ValueError, match="fragment"):
        tool_call("f", fragment=0)


async def test_the_end_of_a_reply_is_what_one_says(autojump_clock: MockClock) -> None:
    said = await collect(reply("Hi", finish_reason="length", usage=(100, 4)))
    assert (said.finish_reason, said.truncated) == ("length", True)
    assert said.usage is not None
    assert said.usage.total_tokens == 104
    assert (await collect(reply("Hi", usage=None))).usage is None
    assert (await chunks_of(reply("Hi", id="chatcmpl-7", model="m")))[0].id == "chatcmpl-7"
    assert b'"model":"m"' in events_of(reply("Hi", model="m"))[-2]


async def test_a_reply_that_fails_in_the_middle(autojump_clock: MockClock) -> None:
    made = reply("It is", error_event("overloaded", code=503))
    with pytest.raises(APIError, match="overloaded") as caught:
        await collect(made)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "It is"
    assert events_of(made)[-1] == b'data: {"error":{"message":"overloaded","code":503}}\n\n'
    assert made.steps[-1] == Send(LAST_CHUNK)


@pytest.mark.parametrize("end", [Hold(), Close(), Reset()])
def test_a_reply_that_is_not_finished_has_no_end(end: Step) -> None:
    assert reply("Hi", end).steps[-2:] == (Send(http_chunk(chunk("Hi"))), end)
    assert events(chunk("Hi"), end).steps == reply("Hi", end).steps


def test_a_body_can_be_held_open_behind_its_end() -> None:
    assert reply("Hi", hold=True).steps[-2:] == (Send(http_chunk(DONE)), Hold())


@pytest.mark.parametrize("part", [error_event(), Hold(), Close(), Reset()])
def test_nothing_follows_the_end(part: Any) -> None:
    with pytest.raises(ValueError, match="make it the last part"):
        reply(part, "Hi")


@pytest.mark.parametrize("part", [5, None, ["Hi"], {"content": "Hi"}, reply("Hi")])
def test_what_is_no_part_is_refused(part: Any) -> None:
    with pytest.raises(TypeError, match="a reply is made of text, tool_call"):
        reply(part)


# --- Steps ----------------------------------------------------------------------------------------


async def test_steps_stand_between_the_words(autojump_clock: MockClock) -> None:
    go, reached = trio.Event(), list[float]()
    pings = Repeat([Wait(4), Send(http_chunk(comment()))], times=3)
    made = reply("a", Wait(5), Call(lambda: reached.append(trio.current_time())), pings, "b")
    async with ScriptedGateway([made, reply(WaitFor(go), "c")]) as gateway, gateway.llm() as llm:
        said = await llm.chat(chat_ctx=conversation(), conn_options=ONCE).collect()
        assert (said.text, trio.current_time(), reached) == ("ab", 17, [5])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(llm.chat(chat_ctx=conversation(), conn_options=ONCE).collect)
            await gateway.wait_for_requests(2)
            await trio.sleep(3)
            go.set()
    assert gateway.last_request.finished_at == 20


def test_every_stands_between_the_pieces_and_after_in_front() -> None:
    made = reply("a b", every=0.5, usage=None).after(2)
    assert [step for step in made.steps if isinstance(step, Wait)] == [Wait(2), *[Wait(0.5)] * 3]
    assert isinstance(made.steps[0], Wait)


@pytest.mark.parametrize("after", [-1, math.nan])
def test_a_time_before_now_is_refused(after: float) -> None:
    with pytest.raises(ValueError, match="after"):
        NoConnection(after=after)


# --- Events and bytes -----------------------------------------------------------------------------


async def test_events_are_sent_as_they_are_cut(autojump_clock: MockClock) -> None:
    call = {"index": 0, "function": {"arguments": "}"}}
    made = events(
        chunk("Hel", role="assistant"),
        Wait(2),
        chunk("lo", reasoning="hm", refusal=None),
        chunk(tool_calls=[tool_call("f", "{")]),
        chunk(tool_calls=[call]),
        chunk(finish_reason="tool_calls", id="x", model="y"),
        usage(9, 3, prompt_tokens_details={"cached_tokens": 5}),
        DONE,
    )
    said = await collect(made)
    assert (said.text, said.reasoning, said.finish_reason) == ("Hello", "hm", "tool_calls")
    assert [(call.name, call.arguments) for call in said.tool_calls] == [("f", "{}")]
    assert said.usage is not None
    assert said.usage.prompt_cached_tokens == 5
    assert trio.current_time() == 2
    assert deltas_of(made)[0] == {"content": "Hel", "role": "assistant"}
    assert str(made) == "events(<7 pieces>)"


async def test_events_can_stand_under_any_status_and_header(autojump_clock: MockClock) -> None:
    made = events(event({"error": {"message": "no"}}, name="error"), status=500)
    with pytest.raises(APIError, match="no") as caught:
        await collect(made)
    assert getattr(caught.value, "status_code", None) == 500
    plain = events(event("[DONE]"), headers={"Content-Type": "text/plain"}, end=False)
    assert b"Content-Type: text/plain\r\n" in plain.steps[0].data  # type: ignore[union-attr]
    assert plain.steps[-1] == Send(http_chunk(DONE))


async def test_raw_is_every_byte(autojump_clock: MockClock) -> None:
    made = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", Wait(1), b"<html>", Close())
    with pytest.raises(APIError):
        await collect(made)
    assert made.steps[-2:] == (Send(b"<html>"), Close())


async def test_an_error_has_status_headers_and_a_body(autojump_clock: MockClock) -> None:
    with pytest.raises(APIError, match="slow down") as caught:
        await collect(error(429, "slow down", retry_after=7, code="rate_limit", close=True))
    assert getattr(caught.value, "retry_after", None) == 7
    assert caught.value.body == {"error": {"message": "slow down", "code": "rate_limit"}}


def test_a_reply_shows_what_it_says() -> None:
    assert str(reply("Hi", tool_call("f"), Wait(1))) == "reply('Hi', f(...), Wait(seconds=1))"
    assert str(error(503)) == "error(503, 'scripted error')"
    assert str(Reply([Close()])) == repr(Reply([Close()]))
    assert reply("Hi") == events(*events_of(reply("Hi")))


async def test_a_server_that_is_not_to_read_is_none_of_a_gateway() -> None:
    with pytest.raises(ValueError, match="reads='nothing'"):
        ScriptedGateway([Reply([Hold()], reads="nothing")])
