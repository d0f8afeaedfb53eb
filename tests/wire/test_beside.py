"""Nothing that arrives is lost: what an answer has beside its text, and a chunk's own payload."""

from __future__ import annotations

import base64
import json
import logging
from functools import partial
from typing import Any, Final

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import lktrio
from lktrio import (
    APIConnectionError,
    APIConnectOptions,
    AudioOutput,
    ChatCall,
    ChatChunk,
    ChatContext,
    ChatModel,
    ChoiceDelta,
    ChoiceLogprobs,
    ChunkSink,
    ChunkSource,
    CollectedResponse,
    CompletionUsage,
    FallbackAdapter,
    HedgeAdapter,
    LLMStream,
    TokenLogprob,
    TopLogprob,
)
from lktrio._answers import add_usage
from lktrio._json import SLICE
from lktrio._wire import MAX_AUDIO_BYTES, AnswerReader, Assembler
from lktrio._wire.attached import map_texts
from lktrio._wire.payloads import ChoicePayload, ChunkPayload, DeltaPayload, has_free_members
from lktrio._wire.sse import EventReader
from lktrio._wire.usage import _rest_in
from lktrio.testing import (
    DONE,
    Close,
    Reply,
    ScriptedGateway,
    chunk,
    event,
    events,
    reply,
    tool_call,
    usage,
)

END: Final = (chunk(finish_reason="stop"), usage(9, 3), DONE)


def asked() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Why do whales sing?")
    return chat_ctx


async def answer_to(script: Reply) -> tuple[list[ChatChunk], CollectedResponse[None]]:
    """The chunks of an answer, and all of it."""
    async with ScriptedGateway([script]) as gateway, gateway.llm() as llm:
        async with llm.chat(chat_ctx=asked()) as stream:
            chunks = [each async for each in stream]
            return chunks, await stream.collect()


def choice(delta: dict[str, Any], **members: Any) -> bytes:
    return event({"id": "c1", "choices": [{"index": 0, "delta": delta, **members}]})


def read(data: bytes, pieces: int = 1) -> tuple[list[ChatChunk], CollectedResponse[None]]:
    """What a body comes to, without a server."""
    reader, out = AnswerReader(Assembler()), list[ChatChunk]()
    size = max(1, len(data) // pieces)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size], out)
        while reader.is_behind:
            reader.feed(b"", out)
    if not reader.is_done:
        reader.finish(out)
        while reader.is_behind:
            reader.feed(b"", out)
    return out, reader.assembler.snapshot()


def raw_of(chunk: ChatChunk) -> dict[str, Any]:
    raw = chunk.raw
    assert raw is not None
    return raw


# --- The payload itself --------------------------------------------------------------------------


async def test_each_chunk_has_the_payload_that_made_it() -> None:
    payload = {
        "id": "c1",
        "provider": "Nobody",
        "choices": [{"index": 0, "delta": {"content": "Hi", "mood": {"calm": 0.5}}}],
    }

    chunks, _ = await answer_to(events(event(payload), *END))

    said, reason, counts = map(raw_of, chunks)
    assert said == payload
    assert reason["choices"][0]["finish_reason"] == "stop"
    assert counts["usage"]["total_tokens"] == 12


async def test_of_all_tool_calls_the_last_payload_is_there() -> None:
    chunks, _ = await answer_to(reply(tool_call("now", {"zone": "UTC"}, fragment=6)))

    calls, reason, _ = map(raw_of, chunks)
    (fragment,) = calls["choices"][0]["delta"]["tool_calls"]
    assert fragment["function"] == {
        "arguments": '"UTC"}'[-len(fragment["function"]["arguments"]) :]
    }
    assert reason["choices"][0]["finish_reason"] == "tool_calls"


def test_a_whole_completion_is_the_payload_of_its_chunks() -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "seed": 7}

    chunks, _ = read(json.dumps(body).encode())

    assert [each.raw for each in chunks] == [body, body]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"choices":[{"delta":{"content":"a"}}],"n":NaN}', None),
        (b'{"choices":[{"delta":{"content":["a"]}}]}', {"content": ["a"]}),
        (b'{"choices":[{"delta":{"content":"a","b":"\\ud83d"}}]}', {"content": "a", "b": "\ufffd"}),
        (b'{"choices":[{"delta":{"content":"a","b":"\xff"}}]}', {"content": "a", "b": "\ufffd"}),
    ],
)
def test_a_payload_that_is_not_quite_json_can_be_read_as_well(
    data: bytes, expected: dict[str, Any] | None
) -> None:
    (first, *_), _ = read(b"data: " + data + b"\n\n" + b"".join(END))

    assert first.raw is not None
    if expected is not None:
        assert first.raw["choices"][0]["delta"] == expected


def test_a_large_payload_is_that_of_all_pieces_it_is_cut_into() -> None:
    words = "word " * 60_000

    chunks, answer = read(choice({"content": words}, mood="calm") + b"".join(END), pieces=9)

    assert answer.text == words
    texts = [each for each in chunks if each.delta is not None]
    assert len(texts) > 1
    for each in texts:
        assert each.raw is not None
        assert each.raw["choices"][0]["mood"] == "calm"
    assert len({id(each.raw_json) for each in texts}) == 1


async def test_a_chunk_of_a_programs_own_has_none() -> None:
    assert ChatChunk(delta=ChoiceDelta(content="Hi")).raw is None
    assert ChatChunk(raw_json=b"[1]").raw is None
    with pytest.raises(ValueError, match="Expecting value"):
        _ = ChatChunk(raw_json=b"no").raw


async def test_what_collect_gives_back_is_bounded_by_the_text(autojump_clock: MockClock) -> None:
    """A wait that is given up must not keep megabytes of payloads for a few letters."""
    junk = "x" * 60_000
    pieces = [choice({"content": "a"}, junk=junk) for _ in range(100)]
    script = events(*pieces, *END, every=0.1)
    async with ScriptedGateway([script]) as gateway, gateway.llm() as llm:
        async with llm.chat(chat_ctx=asked()) as stream:
            with trio.move_on_after(8):
                await stream.collect()
            given_back = [await anext(stream) for _ in range(2)]
            rest = [each async for each in stream]

    text = "".join(each.delta.content or "" for each in [*given_back, *rest] if each.delta)
    assert text == "a" * 100
    assert given_back[0].raw is None
    assert sum(len(each.raw_json or b"") for each in given_back) < 2_000_000
    assert rest[-1].raw is not None


@given(
    values=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(1, 30), max_size=30),
)
def test_what_a_reader_returns_was_given_or_is_counted(
    values: list[int], end: bytes, cuts: list[int]
) -> None:
    """So that what waits for a consumer is bounded by bytes, however they are dribbled."""
    body = b"".join(b"data: " + b"x" * size + end + end for size in values)
    reader = EventReader(10_000)
    while body:
        size = cuts.pop() if cuts else len(body)
        data, body = body[:size], body[size:]
        returned, rest = reader.split(data)
        size_returned = sum(map(len, returned)) + sum(len(each.data) for each in reader.feed(rest))
        if size_returned:
            assert size_returned <= len(data) + reader.carried
            reader.carried = 0


# --- Log probabilities ---------------------------------------------------------------------------


def logprobs(*tokens: str, **members: Any) -> dict[str, Any]:
    content = [
        {
            "token": token,
            "logprob": -0.5,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": "x", "logprob": -3, "bytes": None}],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None, **members}


def likely(*tokens: str) -> list[TokenLogprob]:
    return [
        TokenLogprob(token, -0.5, list(token.encode()), [TopLogprob("x", -3.0)]) for token in tokens
    ]


async def test_log_probabilities_come_with_their_text_and_add_up() -> None:
    chunks, answer = await answer_to(
        events(
            choice({"content": "Because"}, logprobs=logprobs("Be", "cause")),
            choice({"content": "."}, logprobs=logprobs(".")),
            *END,
        )
    )

    deltas = [each.delta for each in chunks if each.delta is not None]
    assert [delta.content for delta in deltas] == ["Because", "."]
    assert deltas[0].logprobs == ChoiceLogprobs(likely("Be", "cause"))
    assert answer.logprobs == ChoiceLogprobs(likely("Be", "cause", "."))


@pytest.mark.parametrize("member", [{"logprobs": None}, {}, {"logprobs": {"content": None}}])
def test_without_log_probabilities_there_are_none(member: dict[str, Any]) -> None:
    chunks, answer = read(choice({"content": "Hi"}, **member) + b"".join(END))

    assert chunks[0].delta == ChoiceDelta(content="Hi")
    assert answer.logprobs is None


def test_log_probabilities_are_read_from_other_types_too() -> None:
    tokens = [
        {"token": "a", "logprob": -1, "bytes": ["97", None], "top_logprobs": None},
        {"token": "b", "logprob": None},
        {"logprob": -1},
        {"token": "\ud83d", "logprob": -2.5, "top_logprobs": [{"token": "c", "logprob": -1}, 1]},
    ]

    _, answer = read(choice({"content": "a"}, logprobs={"content": tokens}) + b"".join(END))

    assert answer.logprobs == ChoiceLogprobs(
        [
            TokenLogprob("a", -1.0, [97]),
            TokenLogprob("\ufffd", -2.5, None, [TopLogprob("c", -1.0)]),
        ]
    )


def test_log_probabilities_without_text_are_a_chunk_and_those_of_a_refusal_are_theirs() -> None:
    refused = {"content": None, "refusal": logprobs("No")["content"]}
    body = choice({"refusal": "No"}, logprobs=refused) + event(
        {"choices": [{"logprobs": logprobs("x"), "delta": None}]}
    )

    chunks, answer = read(body + b"".join(END))

    assert chunks[1].delta == ChoiceDelta(logprobs=ChoiceLogprobs(likely("x")))
    assert answer.logprobs == ChoiceLogprobs(likely("x"), likely("No"))


def test_many_log_probabilities_count_as_part_of_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lktrio._wire.assembler.MAX_ANSWER_CHARACTERS", 1000)
    body = choice({"content": "a"}, logprobs=logprobs(*"abcdefghijklmnopqrst"))

    with pytest.raises(APIConnectionError, match="larger than 1000 characters"):
        read(body + b"".join(END))


# --- Citations, pictures, speech -----------------------------------------------------------------

CITED: Final = {
    "type": "url_citation",
    "url_citation": {"url": "https://whales.test", "title": "W"},
}
PICTURE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


async def test_citations_and_pictures_are_on_the_delta_and_on_the_answer() -> None:
    chunks, answer = await answer_to(
        events(
            chunk("They sing", annotations=[CITED]),
            chunk(images=[PICTURE]),
            chunk(annotations=[{**CITED, "n": 2}], finish_reason="stop"),
            *END[1:],
        )
    )

    deltas = [each.delta for each in chunks if each.delta is not None]
    assert [delta.annotations for delta in deltas] == [[CITED], None, [{**CITED, "n": 2}]]
    assert deltas[1] == ChoiceDelta(images=[PICTURE])
    assert answer.annotations == [CITED, {**CITED, "n": 2}]
    assert answer.images == [PICTURE]
    assert [each.has_response() for each in chunks] == [True, True, False, False, False]


def test_a_whole_message_behind_its_deltas_adds_only_what_is_new() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "annotations": [CITED],
        "images": [PICTURE],
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "signature": "s"}],
    }
    deltas = choice({"content": "Hi", "annotations": [CITED]}, logprobs=logprobs("Hi")) + choice(
        {"reasoning": "Hm"}
    )
    last = {"message": message, "finish_reason": "stop", "logprobs": logprobs("Hi")}

    _, answer = read(deltas + event({"choices": [last]}) + DONE)

    assert (answer.text, answer.reasoning) == ("Hi", "Hm")
    assert answer.annotations == [CITED]
    assert answer.images == [PICTURE]
    assert answer.logprobs == ChoiceLogprobs(likely("Hi"))
    assert answer.reasoning_details == message["reasoning_details"]


async def test_speech_is_decoded_however_its_base64_is_cut() -> None:
    chunks, answer = await answer_to(
        events(
            chunk(audio={"id": "audio_1", "transcript": "Because"}),
            chunk(audio={"data": "QUJD"}),
            chunk(audio={"data": "RA", "transcript": "."}),
            chunk(audio={"data": "==", "expires_at": 1700000000}),
            *END,
        )
    )

    pieces = [each.delta.audio for each in chunks if each.delta is not None]
    assert pieces == [
        AudioOutput("audio_1", transcript="Because"),
        AudioOutput(data=b"ABC"),
        AudioOutput(transcript="."),
        AudioOutput(data=b"D", expires_at=1700000000),
    ]
    assert answer.audio == AudioOutput("audio_1", b"ABCD", "Because.", 1700000000)
    assert answer.text == ""
    assert not answer.empty


@given(sound=st.binary(max_size=60), cuts=st.lists(st.integers(1, 9), max_size=60))
def test_all_of_the_sound_arrives(sound: bytes, cuts: list[int]) -> None:
    text = base64.b64encode(sound).decode().rstrip("=")  # the padding may be missing, too
    body = b""
    while text:
        size = cuts.pop() if cuts else len(text)
        body += choice({"audio": {"data": text[:size]}})
        text = text[size:]

    chunks, answer = read(body + b"".join(END))

    pieces = [each.delta.audio for each in chunks if each.delta and each.delta.audio]
    assert b"".join(piece.data for piece in pieces) == sound
    assert (b"" if answer.audio is None else answer.audio.data) == sound


def test_a_large_piece_of_sound_is_cut_into_steps_and_stays_whole() -> None:
    sound = bytes(range(256)) * 1000
    audio = {"id": "audio_1", "data": base64.b64encode(sound).decode(), "transcript": "Oo"}

    chunks, answer = read(choice({"audio": audio}) + b"".join(END), pieces=5)

    assert answer.audio == AudioOutput("audio_1", sound, "Oo")
    sizes = [len(each.delta.audio.data) for each in chunks if each.delta and each.delta.audio]
    assert len(sizes) > 3
    assert max(sizes) <= 64 * 1024


def test_sound_that_is_no_base64_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    body = choice({"audio": {"data": "\u00e4\u00f6\u00fc\u00df", "transcript": "Hm"}})

    with caplog.at_level(logging.WARNING, "lktrio"):
        chunks, answer = read(body + b"".join(END))

    assert answer.audio == AudioOutput(transcript="Hm")
    assert "not base64" in caplog.text
    assert chunks[0].raw is not None
    assert chunks[0].raw["choices"][0]["delta"]["audio"]["data"] == "\u00e4\u00f6\u00fc\u00df"


@pytest.mark.parametrize("audio", [5, {"data": 5}, {"expires_at": "soon"}, {"id": ""}, {}])
def test_speech_of_another_type_is_nothing(audio: object) -> None:
    chunks, answer = read(choice({"content": "Hi", "audio": audio}) + b"".join(END))

    assert chunks[0].delta == ChoiceDelta(content="Hi")
    assert answer.audio is None


def test_sound_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_AUDIO_BYTES > 1000
    monkeypatch.setattr("lktrio._wire.assembler.MAX_AUDIO_BYTES", 5)

    with pytest.raises(APIConnectionError, match="more than 5 bytes of audio"):
        read(choice({"audio": {"data": "AAAAAAAA"}}) + b"".join(END))


@pytest.mark.parametrize(
    "delta", [{"audio": {"data": "QUJD"}}, {"audio": {"transcript": "A"}}, {"images": [PICTURE]}]
)
async def test_speech_and_pictures_cannot_be_taken_back(
    delta: dict[str, Any], autojump_clock: MockClock
) -> None:
    script = events(chunk(**delta), Close())
    async with ScriptedGateway([script]) as gateway, gateway.llm() as llm:
        with pytest.raises(APIConnectionError) as caught:
            await llm.chat(
                chat_ctx=asked(), conn_options=APIConnectOptions(first_output_timeout=5)
            ).collect()

    assert caught.value.partial.audio is not None or caught.value.partial.images == [PICTURE]
    assert len(caught.value.attempts) == 1
    assert caught.value.attempts[0].first_output is not None


@pytest.mark.parametrize("delta", [{"annotations": [CITED]}, {"audio": {"id": "audio_1"}}])
async def test_metadata_stands_in_the_way_of_no_retry(
    delta: dict[str, Any], autojump_clock: MockClock
) -> None:
    script = [events(chunk(**delta), Close()), reply("Because.")]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        answer = await llm.chat(chat_ctx=asked()).collect()

    assert answer.text == "Because."


@pytest.mark.parametrize("adapter", [FallbackAdapter, partial(HedgeAdapter, after=5)])
async def test_an_adapter_hands_on_what_is_beside_the_text(
    adapter: Any, autojump_clock: MockClock
) -> None:
    script = events(chunk(audio={"data": "QUJD"}), chunk(annotations=[CITED]), *END)
    async with ScriptedGateway([script]) as gateway, gateway.llm() as one, gateway.llm() as other:
        async with adapter([one, other]).chat(chat_ctx=asked()) as stream:
            chunks = [each async for each in stream]
            answer = await stream.collect()

    assert answer.audio == AudioOutput(data=b"ABC")
    assert answer.annotations == [CITED]
    assert all(each.raw is not None for each in chunks)


async def test_an_adapter_does_not_ask_another_model_once_speech_was_delivered(
    autojump_clock: MockClock,
) -> None:
    script = [events(chunk(audio={"data": "QUJD"}), Close()), reply("no")]
    async with ScriptedGateway(script, allow_unused=True) as gateway, gateway.llm() as one:
        async with gateway.llm() as other:
            with pytest.raises(APIConnectionError):
                await FallbackAdapter([one, other]).chat(chat_ctx=asked()).collect()
        assert len(gateway.requests) == 1


# --- Reasoning that goes back --------------------------------------------------------------------


def details(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    body = b"".join(choice({"reasoning_details": [entry]}) for entry in entries)
    _, answer = read(body + choice({"content": "Hi"}) + b"".join(END))
    return answer.reasoning_details


def test_pieces_of_an_entry_are_joined_and_their_text_is_reasoning() -> None:
    body = (
        choice({"reasoning_details": [{"type": "reasoning.text", "text": "Let", "index": 0}]})
        + choice(
            {
                "reasoning": " me",
                "reasoning_details": [{"type": "reasoning.text", "text": " me", "index": 0}],
            }
        )
        + choice(
            {"reasoning_details": [{"type": "reasoning.text", "signature": "sig", "index": 0}]}
        )
    )

    chunks, answer = read(body + b"".join(END))

    assert answer.reasoning == "Let me"
    assert answer.reasoning_details == [
        {"type": "reasoning.text", "text": "Let me", "index": 0, "signature": "sig"}
    ]
    assert [each.delta.reasoning for each in chunks if each.delta] == ["Let", " me", None]


def test_entries_stay_apart_and_in_order() -> None:
    entries = [
        {"type": "reasoning.summary", "summary": "First.", "index": 0},
        {"type": "reasoning.encrypted", "data": "AAAA", "index": 1},
        {"type": "reasoning.encrypted", "data": "BBBB", "index": 1},
        {"type": "reasoning.text", "text": "A", "index": 2, "signature": "s"},
        {"type": "reasoning.text", "text": "B", "index": 2},
        {"type": "reasoning.text", "text": "C", "index": 3, "id": "r1"},
        {"type": "reasoning.text", "text": "D", "index": 3, "id": {"odd": 1}},
    ]

    assert details(*entries) == entries


def test_a_text_that_comes_late_is_joined_and_null_changes_nothing() -> None:
    assert details(
        {"type": "reasoning.text", "format": "anthropic", "text": None, "id": None},
        {"type": "reasoning.text", "format": None, "text": "A", "id": "r1"},
        {"type": "reasoning.text", "text": "B", "data": None},
    ) == [{"type": "reasoning.text", "format": "anthropic", "text": "AB", "id": "r1"}]


def test_long_reasoning_is_cut_into_steps_and_stays_whole_where_it_goes_back() -> None:
    thought = "thought " * 30_000
    entry = {"type": "reasoning.text", "text": thought, "signature": "s"}

    chunks, answer = read(choice({"reasoning_details": [entry]}) + b"".join(END), pieces=7)

    assert answer.reasoning == thought
    assert answer.reasoning_details == [entry]
    assert len([each for each in chunks if each.delta and each.delta.reasoning]) > 2


# --- Usage ---------------------------------------------------------------------------------------

TOLD: Final = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 30, "image_tokens": 5},
    "completion_tokens_details": {
        "reasoning_tokens": 7,
        "audio_tokens": 20,
        "accepted_prediction_tokens": 4,
        "rejected_prediction_tokens": 3,
    },
    "cost": 0.00014,
    "cost_details": {"upstream_inference_cost": None},
    "is_byok": False,
    "nothing": None,
}


@pytest.mark.parametrize(
    "members",
    [
        {"choices": [], "usage": TOLD},
        {"choices": [], "x_groq": {"usage": TOLD}},
        {"choices": [{"index": 0, "delta": {}, "usage": TOLD}]},
        {"choices": [], "usage": {**TOLD, "prompt_tokens": "100"}},
        {"choices": [], "usage": {}, "x_groq": {"usage": TOLD}},
    ],
)
async def test_every_member_of_the_usage_is_there(members: dict[str, Any]) -> None:
    script = events(chunk("Hi", finish_reason="stop"), event(members), DONE)

    _, answer = await answer_to(script)

    assert answer.usage == CompletionUsage(
        completion_tokens=40,
        prompt_tokens=100,
        prompt_cached_tokens=60,
        cache_read_tokens=60,
        reasoning_tokens=7,
        total_tokens=140,
        prompt_audio_tokens=30,
        completion_audio_tokens=20,
        accepted_prediction_tokens=4,
        rejected_prediction_tokens=3,
        extra={
            "prompt_tokens_details": {"image_tokens": 5},
            "cost": 0.00014,
            "cost_details": {"upstream_inference_cost": None},
            "is_byok": False,
        },
    )


def test_a_usage_of_only_known_members_has_no_extra_and_is_hashed_without_it() -> None:
    _, answer = read(choice({"content": "Hi"}) + b"".join(END))

    assert answer.usage == CompletionUsage(3, 9, total_tokens=12)
    assert answer.usage.extra == {}
    assert hash(CompletionUsage(3, extra={"cost": 1})) == hash(CompletionUsage(3))
    assert CompletionUsage(3, extra={"cost": 1}) != CompletionUsage(3)


def test_the_rest_of_a_payload_that_is_not_quite_json_is_read_too() -> None:
    told = b'data: {"choices":[],"usage":{"prompt_tokens":9,"note":"a\tb","cost":1}}\n\n'

    _, answer = read(choice({"content": "Hi"}) + chunk(finish_reason="stop") + told + DONE)

    assert answer.usage is not None
    assert answer.usage.extra == {"note": "a\tb", "cost": 1}


def test_the_rest_of_the_usage_is_bounded() -> None:
    many = {f"n{number}": number for number in range(5000)}

    _, answer = read(
        choice({"content": "Hi"}) + chunk(finish_reason="stop") + usage(9, 3, **many) + DONE
    )

    assert answer.usage is not None
    assert 900 < len(answer.usage.extra) <= 1000


async def test_a_secret_that_a_server_echoes_is_not_shown_in_the_usage() -> None:
    script = events(
        chunk("Hi", finish_reason="stop"), usage(9, 3, key="sk-secret-0123456789"), DONE
    )

    async with ScriptedGateway([script], auth="Bearer sk-secret-0123456789") as gateway:
        async with gateway.llm() as llm:
            answer = await llm.chat(chat_ctx=asked()).collect()

    assert answer.usage is not None
    assert "secret" not in repr(answer.usage)
    assert answer.usage.extra == {"key": "[redacted]"}


def test_numbers_of_two_rounds_are_added() -> None:
    one = CompletionUsage(1, prompt_audio_tokens=2, extra={"cost": 0.5, "d": {"a": 1}, "by": "x"})
    two = CompletionUsage(2, prompt_audio_tokens=3, extra={"cost": 0.25, "d": {"a": 2, "b": True}})

    assert add_usage(one, two) == CompletionUsage(
        3, prompt_audio_tokens=5, extra={"cost": 0.75, "d": {"a": 3, "b": True}, "by": "x"}
    )
    assert one.extra == {"cost": 0.5, "d": {"a": 1}, "by": "x"}


# --- The configuration ---------------------------------------------------------------------------


async def test_the_fingerprint_is_on_the_answer_and_on_the_response() -> None:
    payload = {"choices": [{"delta": {"content": "Hi"}}], "system_fingerprint": "fp_1"}
    async with ScriptedGateway([events(event(payload), *END)]) as gateway, gateway.llm() as llm:
        async with llm.chat(chat_ctx=asked()) as stream:
            answer = await stream.collect()
            assert stream.response.system_fingerprint == "fp_1"

    assert answer.system_fingerprint == "fp_1"


# --- A model of a program's own ------------------------------------------------------------------


class _Speaking(ChunkSource):
    async def run(self, sink: ChunkSink) -> None:
        for piece in (b"AB", b"CD"):
            await sink.send(ChatChunk(delta=ChoiceDelta(audio=AudioOutput(data=piece))))
        await sink.send(ChatChunk(delta=ChoiceDelta(annotations=[CITED])))


class _Speaker(ChatModel):
    @property
    def model(self) -> str:
        return "speaker"

    @property
    def provider(self) -> str:
        return "me"

    @property
    def label(self) -> str:
        return "tests.Speaker"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        return self.make_stream(_Speaking(), call)


async def test_a_model_of_a_programs_own_may_speak() -> None:
    answer = await _Speaker().chat(chat_ctx=asked()).collect()

    assert answer.audio == AudioOutput(data=b"ABCD")
    assert answer.annotations == [CITED]
    assert lktrio.CollectedResponse(audio=AudioOutput("audio_1")).empty


def test_every_text_of_a_value_is_changed() -> None:
    value = {"a": ["b", {"c": [1, None, "d"]}]}

    assert map_texts(value, str.upper) == {"A": ["B", {"C": [1, None, "D"]}]}


@pytest.mark.parametrize(
    ("member", "is_free"),
    [("annotations", True), ("images", True), ("reasoning_details", True), ("content", False)],
)
def test_what_comes_in_any_form_is_walked_through(member: str, is_free: bool) -> None:
    value: Any = "Hi" if member == "content" else [{"a": 1}]
    payload = ChunkPayload("c1", [ChoicePayload(delta=DeltaPayload(**{member: value}))])

    assert has_free_members(payload) is is_free


def test_usage_in_what_is_nearly_json_is_read_if_it_is_short() -> None:
    data = b'{"usage": {"prompt_tokens": 1, "cost": 0.5, "odd": NaN}}'

    assert _rest_in(data)["cost"] == 0.5
    assert _rest_in(data + b" " * SLICE) == {}
