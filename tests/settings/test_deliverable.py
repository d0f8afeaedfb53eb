"""An option is sent if what it asks for can be delivered, and refused with a way out if not."""

from __future__ import annotations

from typing import Any

import pytest

from lktrio import LLM, AudioOutput, ChatContext
from lktrio.testing import DONE, ScriptedGateway, chunk, event, events, reply


def asked() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Why do whales sing?")
    return chat_ctx


REFUSED = (
    r"extra_kwargs: n=2 is not accepted: a stream is one answer.*make 2 calls of chat\(\).*"
    r"extra_body=\{'n': 2\} sends it all the same, and the answer is choice 0"
)


async def test_more_than_one_answer_is_refused_before_it_is_sent() -> None:
    async with ScriptedGateway() as gateway, gateway.llm() as llm:
        with pytest.raises(ValueError, match=REFUSED):
            llm.chat(chat_ctx=asked(), extra_kwargs={"n": 2})
        with pytest.raises(ValueError, match=REFUSED):
            llm.update_options(extra_kwargs={"n": 2})
        assert gateway.requests == ()
    with pytest.raises(ValueError, match=REFUSED):
        LLM("m", auth=None, base_url="http://localhost", extra_kwargs={"n": 2})


@pytest.mark.parametrize("n", [None, 0, 1])
async def test_any_other_number_of_answers_is_the_servers_to_judge(n: int | None) -> None:
    async with ScriptedGateway([reply("To be heard.")]) as gateway, gateway.llm() as llm:
        await llm.chat(chat_ctx=asked(), extra_kwargs={"n": n}).collect()

    assert gateway.last_request.options["n"] == n


async def test_a_program_may_insist_and_gets_choice_0() -> None:
    def choice(index: int, content: str, reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": {"content": content}, "finish_reason": reason}

    script = events(
        event({"choices": [choice(1, "No"), choice(0, "To be")]}),
        event({"choices": [choice(0, " heard.", "stop")]}),
        event({"choices": [choice(1, " idea.", "stop")]}),
        DONE,
    )
    async with ScriptedGateway([script]) as gateway, gateway.llm() as llm:
        answer = await llm.chat(chat_ctx=asked(), extra_kwargs={"extra_body": {"n": 2}}).collect()

    assert gateway.last_request.options["n"] == 2
    assert answer.text == "To be heard."


async def test_a_model_can_be_asked_to_speak() -> None:
    options: dict[str, Any] = {
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "pcm16"},
    }
    script = events(chunk(audio={"id": "audio_1", "data": "QUJD"}), chunk(finish_reason="stop"))
    async with ScriptedGateway([script]) as gateway, gateway.llm() as llm:
        answer = await llm.chat(chat_ctx=asked(), extra_kwargs=options).collect()

    assert {name: gateway.last_request.options[name] for name in options} == options
    assert answer.audio == AudioOutput("audio_1", b"ABC")


@pytest.mark.parametrize(
    ("audio", "error", "what"),
    [
        ({"voice": "alloy"}, ValueError, r"audio\.format"),
        ({"voice": "alloy", "format": "ogg"}, ValueError, "'wav', 'aac', 'mp3'"),
        ({"voice": 5, "format": "wav"}, TypeError, r"audio\.voice=5"),
        ("alloy", TypeError, "audio='alloy'"),
    ],
)
async def test_how_a_model_speaks_is_checked(
    audio: object, error: type[Exception], what: str
) -> None:
    async with ScriptedGateway() as gateway, gateway.llm() as llm:
        with pytest.raises(error, match=what):
            llm.chat(chat_ctx=asked(), extra_kwargs={"audio": audio})
