"""Audio and files in a message: sent whole, or refused with a way out; saved and read back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import (
    DEFAULT_MODEL_TABLE,
    LLM,
    AudioContent,
    ChatContent,
    ChatContext,
    ChatMessage,
    FileContent,
)
from lktrio.testing import ScriptedGateway, reply

WAV: Final = b"RIFF\x24\0\0\0WAVEfmt "
MP3: Final = b"\xff\xfb\x90\x00"
FLAC: Final = b"fLaC\0"
PDF: Final = b"%PDF-1.7\n..."


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def said(*content: ChatContent) -> ChatContext:
    return ChatContext([ChatMessage(role="user", content=list(content))])


async def sent(*content: ChatContent, model: str = "openai/gpt-audio", **options: Any) -> Any:
    """The content of the message as it is sent."""
    async with ScriptedGateway([reply("Yes.")]) as gateway, gateway.llm(model, **options) as llm:
        await llm.chat(chat_ctx=said(*content)).collect()
        (message,) = gateway.last_request.messages
        return message["content"]


def refused(*content: ChatContent, model: str = "openai/gpt-audio", **options: Any) -> str:
    """Why the message is not sent."""
    llm = LLM(model, base_url="https://gateway.test/v1", auth=None, **options)
    with pytest.raises(ValueError, match="chat_ctx") as caught:
        llm.chat(chat_ctx=said(*content))
    return str(caught.value)


# --- Audio ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "kind"),
    [
        (AudioContent(audio=WAV), "wav"),
        (AudioContent(audio=bytearray(WAV)), "wav"),
        (AudioContent(audio=MP3), "mp3"),
        (AudioContent(audio=b"ID3\4"), "mp3"),
        (AudioContent(audio=b"?", mime_type="audio/x-wav"), "wav"),
        (AudioContent(audio=b"?", mime_type="AUDIO/MP3"), "mp3"),
        (AudioContent(audio=f"data:audio/mpeg;base64,{base64_of(b'?')}"), "mp3"),
        (AudioContent(audio=f"data:;base64,{base64_of(WAV)}"), "wav"),
        (AudioContent(audio=f"data:a/b;base64,{base64_of(WAV)}", mime_type="audio/wav"), "wav"),
    ],
)
async def test_audio_is_sent_as_input_audio(audio: AudioContent, kind: str) -> None:
    assert isinstance(audio.audio, (str, bytes))
    data = audio.audio if isinstance(audio.audio, bytes) else None
    encoded = base64_of(data) if data is not None else str(audio.audio).partition(",")[2]

    content = await sent("What is", "this?", audio, "Say it.")

    assert content == [
        {"type": "text", "text": "What is\nthis?"},
        {"type": "input_audio", "input_audio": {"data": encoded, "format": kind}},
        {"type": "text", "text": "Say it."},
    ]


async def test_audio_is_read_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(WAV)

    audio = AudioContent.from_path(path, transcript="whale")

    assert audio == AudioContent(audio=WAV, transcript="whale")
    (part,) = await sent(audio)
    assert part["input_audio"]["format"] == "wav"
    with pytest.raises(FileNotFoundError):
        AudioContent.from_path(tmp_path / "none.wav")


@pytest.mark.parametrize(
    ("audio", "why"),
    [
        (AudioContent(audio=b""), "audio is empty"),
        (AudioContent(audio="data:audio/wav;base64,"), "audio is a data URL without a payload"),
        (AudioContent(audio="data:audio/wav;base64,A"), "payload is not base64"),
        (AudioContent(audio="song.wav"), "audio is 'song.wav', which is no data URL"),
        (AudioContent(audio="https://a.test/b.wav"), "which is no data URL"),
        (AudioContent(audio=b"what"), "unknown kind; encode it as WAV or MP3"),
        (AudioContent(audio=PDF), "unknown kind; encode it as WAV or MP3"),
    ],
)
def test_what_is_no_audio_is_refused(audio: AudioContent, why: str) -> None:
    reason = refused("Hi", audio)

    assert reason.startswith("chat_ctx.items[0].content[1].audio ")
    assert why in reason


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4.1-mini",
        "openai/gpt-4o",
        "gpt-5.1",
        "o3",
        "xai/grok-4.5",
        "deepseek-ai/deepseek-v3",
        "moonshotai/kimi-k2.5",
        "zai/glm-5.1",
    ],
)
def test_a_model_that_takes_no_audio_is_not_sent_any(model: str) -> None:
    name = model.rpartition("/")[2]

    reason = refused(AudioContent(audio=WAV), model=model)

    assert f"content[0].audio is wav, and {model} takes no audio at all; ask another" in reason
    way_out = f"DEFAULT_MODEL_TABLE.with_facts('{name}', audio_formats=['wav'])"
    assert f"LLM(model_table={way_out})" in reason


async def test_the_way_out_is_one() -> None:
    table = DEFAULT_MODEL_TABLE.with_facts("gpt-4.1-mini", audio_formats=["wav"])

    (part,) = await sent(AudioContent(audio=WAV), model="openai/gpt-4.1-mini", model_table=table)

    assert part["type"] == "input_audio"


async def test_a_format_is_sent_where_it_is_taken() -> None:
    reason = refused(AudioContent(audio=FLAC))
    assert "is flac, and openai/gpt-audio takes mp3, wav; ask another model" in reason

    (part,) = await sent(AudioContent(audio=FLAC), model="google/gemini-2.5-flash")
    assert part["input_audio"]["format"] == "flac"


@pytest.mark.parametrize(
    "model", ["gpt-4o-audio-preview", "gpt-audio-mini", "my-own", "qwen3-omni"]
)
def test_a_model_of_which_nothing_else_is_known_takes_wav_and_mp3(model: str) -> None:
    assert DEFAULT_MODEL_TABLE.facts(model).audio_formats == {"wav", "mp3"}


def test_formats_are_a_set_of_names() -> None:
    with pytest.raises(TypeError, match="a set of formats is wanted, not the string 'wav'"):
        DEFAULT_MODEL_TABLE.with_facts("*", audio_formats="wav").facts("m")


# --- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            FileContent(file=PDF),
            {
                "filename": "document.pdf",
                "file_data": f"data:application/pdf;base64,{base64_of(PDF)}",
            },
        ),
        (
            FileContent(file=memoryview(PDF), filename="whales.pdf"),
            {
                "filename": "whales.pdf",
                "file_data": f"data:application/pdf;base64,{base64_of(PDF)}",
            },
        ),
        (
            FileContent(file=b"a,b", mime_type="text/csv"),
            {"filename": "file", "file_data": f"data:text/csv;base64,{base64_of(b'a,b')}"},
        ),
        (
            FileContent(file=f"data:;base64,{base64_of(PDF)}"),
            {
                "filename": "document.pdf",
                "file_data": f"data:application/pdf;base64,{base64_of(PDF)}",
            },
        ),
        (
            FileContent(file="https://whales.test/a.pdf", filename="a.pdf"),
            {"filename": "a.pdf", "file_data": "https://whales.test/a.pdf"},
        ),
        (FileContent(file_id="file-1"), {"file_id": "file-1"}),
    ],
)
async def test_a_file_is_a_part(file: FileContent, expected: dict[str, Any]) -> None:
    assert await sent("Read", file, model="openai/gpt-4.1-mini") == [
        {"type": "text", "text": "Read"},
        {"type": "file", "file": expected},
    ]


async def test_a_file_is_read_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "whales.pdf"
    path.write_bytes(PDF)

    assert FileContent.from_path(path) == FileContent(file=PDF, filename="whales.pdf")
    with pytest.raises(FileNotFoundError):
        FileContent.from_path(tmp_path / "none.pdf")


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (FileContent(file=b""), "file is empty"),
        (FileContent(file=b"a,b"), "file is no PDF; name its kind with mime_type="),
        (FileContent(file="a.pdf"), "file is 'a.pdf', which is no URL"),
        (FileContent(file="data:application/pdf,..."), "file is a data URL without base64"),
        (FileContent(file_id="\ud800"), "file.file_id has a lone surrogate"),
    ],
)
def test_what_cannot_be_sent_is_refused(file: FileContent, why: str) -> None:
    assert why in refused("Hi", file)


def test_a_file_is_given_once() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        FileContent()
    with pytest.raises(ValueError, match="give one of them"):
        FileContent(file=PDF, file_id="file-1")
    with pytest.raises(TypeError, match="file=5 is not accepted; it takes the bytes of a file"):
        FileContent(file=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"audio=5 is not accepted.*AudioContent.from_path"):
        AudioContent(audio=5)  # type: ignore[arg-type]


# --- Saved ---------------------------------------------------------------------------------------


def test_audio_and_files_are_saved_if_asked_for_and_read_back() -> None:
    chat_ctx = said(
        "Hi",
        AudioContent(audio=WAV, transcript="whale"),
        FileContent(file=PDF, filename="a.pdf"),
        FileContent(file_id="file-1"),
    )

    saved = json.loads(json.dumps(chat_ctx.to_dict(exclude_audio=False, exclude_file=False)))

    assert saved["items"][0]["content"] == [
        "Hi",
        {
            "type": "audio_content",
            "frame": [],
            "transcript": "whale",
            "audio": f"data:audio/wav;base64,{base64_of(WAV)}",
        },
        {
            "type": "file_content",
            "file": f"data:application/pdf;base64,{base64_of(PDF)}",
            "filename": "a.pdf",
        },
        {"type": "file_content", "file_id": "file-1"},
    ]
    again = ChatContext.from_dict(saved)
    assert again.to_dict(exclude_audio=False, exclude_file=False) == saved
    assert chat_ctx.to_dict()["items"][0]["content"] == ["Hi"]


def test_a_part_of_the_api_in_a_saved_conversation_is_a_mistake_with_a_way_out() -> None:
    saved = {"items": [{"type": "message", "role": "user", "content": [{"type": "file"}]}]}

    with pytest.raises(ValueError, match=r"a file is written as \{'type': 'file_content'"):
        ChatContext.from_dict(saved)


@given(st.binary(min_size=1, max_size=200))
def test_any_sound_survives_being_saved(sound: bytes) -> None:
    chat_ctx = said(AudioContent(audio=sound, mime_type="audio/wav"))

    saved = chat_ctx.to_dict(exclude_audio=False)

    (message,) = ChatContext.from_dict(saved).items
    assert isinstance(message, ChatMessage)
    (part,) = message.content
    assert isinstance(part, AudioContent)
    assert isinstance(part.audio, str)
    assert base64.b64decode(part.audio.partition(",")[2]) == sound
