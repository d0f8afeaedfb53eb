"""The values a conversation is made of: what they accept, refuse and keep apart."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import attrs
import pytest

from lktrio import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

MESSAGE: dict[str, Any] = {"role": "user", "content": "hi"}
CALL: dict[str, Any] = {"call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT: dict[str, Any] = {"call_id": "c", "output": "done"}


def test_ids_are_random_and_say_what_they_belong_to() -> None:
    first, second = ChatMessage(**MESSAGE), ChatMessage(**MESSAGE)

    assert first.id != second.id
    assert re.fullmatch(r"item_[0-9a-f]{12}", first.id)
    assert re.fullmatch(r"item_[0-9a-f]{12}", FunctionCall(**CALL).id)
    assert re.fullmatch(r"img_[0-9a-f]{12}", ImageContent(image="https://example.com/a").id)


def test_items_are_stamped_with_the_time_of_their_making() -> None:
    before = time.time()
    created_at = ChatMessage(**MESSAGE).created_at

    assert before <= created_at <= time.time()
    assert FunctionCallOutput(**OUTPUT, created_at=7).created_at == 7.0


def test_defaults_are_those_of_livekit_agents() -> None:
    message = ChatMessage(**MESSAGE)
    output = FunctionCallOutput(**OUTPUT)

    assert (message.interrupted, message.transcript_confidence) == (False, None)
    assert (message.extra, message.metrics) == ({}, {})
    assert FunctionCall(**CALL).group_id is None
    assert (output.name, output.is_error, output.reply_required) == ("", False, True)
    assert ImageContent(image="https://example.com/a").inference_detail == "auto"
    assert AgentHandoff(new_agent_id="b").old_agent_id is None
    assert AgentConfigUpdate().instructions is None
    assert AudioContent().frame == []


def test_a_string_is_content_of_one_part() -> None:
    assert ChatMessage(**MESSAGE).content == ["hi"]
    assert ChatMessage(role="user", content=("a", CacheBreakpoint())).content == [
        "a",
        CacheBreakpoint(),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (["a", "b"], "a\nb"),
        (["a", ImageContent(image="https://example.com/a"), "b"], "a\nb"),
        ([""], ""),
        ([], None),
        ([AudioContent(transcript="spoken")], None),
    ],
)
def test_the_text_of_a_message_is_its_strings_joined(
    content: list[Any], expected: str | None
) -> None:
    assert ChatMessage(role="user", content=content).text_content == expected


def test_items_are_frozen_and_changed_by_evolving() -> None:
    message = ChatMessage(role="assistant", content="I was say", unknown_members={"new": 1})

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.interrupted = True  # type: ignore[misc]
    changed = attrs.evolve(message, interrupted=True)

    assert (changed.id, changed.interrupted, changed.unknown_members) == (
        message.id,
        True,
        {"new": 1},
    )
    assert not message.interrupted


def test_containers_are_not_shared_with_the_caller() -> None:
    content: list[Any] = ["a"]
    extra = {"google": 1}
    message = ChatMessage(role="user", content=content, extra=extra)
    content.append("b")
    extra["xai"] = 2

    assert message.content == ["a"]
    assert message.extra == {"google": 1}


def test_an_image_shows_its_size_instead_of_its_bytes() -> None:
    assert "image=<2000 bytes>" in repr(ImageContent(image=bytes(2000)))
    assert len(repr(ImageContent(image="data:image/png;base64," + "A" * 10_000))) < 500


@pytest.mark.parametrize("image", [bytearray(b"GIF89a"), memoryview(b"GIF89a")])
def test_an_image_may_be_given_as_any_bytes(image: Any) -> None:
    assert ImageContent(image=image).image == b"GIF89a"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: ChatMessage(**{**MESSAGE, "role": "usr"}),
            ValueError,
            "role='usr' is not accepted; it takes 'developer', 'system', 'user' or 'assistant'",
        ),
        (lambda: ChatMessage(**{**MESSAGE, "role": None}), TypeError, "role=None"),
        (
            lambda: ChatMessage(**{**MESSAGE, "content": None}),
            TypeError,
            "content=None is not accepted; it takes a string or a list of",
        ),
        (lambda: ChatMessage(**{**MESSAGE, "content": b"hi"}), TypeError, "content=b'hi'"),
        (
            lambda: ChatMessage(**{**MESSAGE, "content": {"type": "text"}}),
            TypeError,
            "content={'type': 'text'}",
        ),
        (
            lambda: ChatMessage(**{**MESSAGE, "content": ["a", 1]}),
            TypeError,
            "content[1]=1 is not accepted; it takes a string, ImageContent, AudioContent, FileContent or CacheBreakpoint",
        ),
        (
            lambda: ChatMessage(**MESSAGE, id=5),
            TypeError,
            "id=5 is not accepted; it takes a string",
        ),
        (
            lambda: ChatMessage(**MESSAGE, interrupted=1),
            TypeError,
            "interrupted=1 is not accepted; it takes True or False",
        ),
        (
            lambda: ChatMessage(**MESSAGE, transcript_confidence="0.5"),
            TypeError,
            "transcript_confidence='0.5'",
        ),
        (
            lambda: ChatMessage(**MESSAGE, transcript_confidence=True),
            TypeError,
            "transcript_confidence=True",
        ),
        (
            lambda: ChatMessage(**MESSAGE, extra=None),
            TypeError,
            "extra=None is not accepted; it takes a dict",
        ),
        (lambda: ChatMessage(**MESSAGE, metrics=[1]), TypeError, "metrics=[1]"),
        (lambda: ChatMessage(**MESSAGE, unknown_members=1), TypeError, "unknown_members=1"),
        (
            lambda: ChatMessage(**MESSAGE, created_at="now"),
            TypeError,
            "created_at='now' is not accepted; it takes seconds since the epoch",
        ),
        (lambda: ChatMessage(**MESSAGE, created_at=True), TypeError, "created_at=True"),
        (lambda: ChatMessage(**MESSAGE, created_at=math.nan), ValueError, "created_at=nan"),
        (
            lambda: FunctionCall(**{**CALL, "arguments": {"a": 1}}),
            TypeError,
            "arguments={'a': 1} is not accepted; it takes JSON text: json.dumps(arguments)",
        ),
        (
            lambda: FunctionCall(**CALL, group_id=1),
            TypeError,
            "group_id=1 is not accepted; it takes a string or None",
        ),
        (
            lambda: FunctionCallOutput(**{**OUTPUT, "output": {"a": 1}}),
            TypeError,
            "output={'a': 1} is not accepted; it takes text",
        ),
        (
            lambda: AgentConfigUpdate(tools_added="get"),
            TypeError,
            "tools_added='get' is not accepted; it takes a list of names or None",
        ),
        (lambda: AgentConfigUpdate(tools_removed=[1]), TypeError, "tools_removed=[1]"),
        (
            lambda: AudioContent(frame="x"),
            TypeError,
            "frame='x' is not accepted; it takes a list of saved audio frames",
        ),
        (
            lambda: ImageContent(image=5),
            TypeError,
            "image=5 is not accepted; it takes a URL, a data URL or the bytes",
        ),
        (
            lambda: ImageContent(image=b"", inference_detail="medium"),
            ValueError,
            "inference_detail='medium' is not accepted; it takes 'auto', 'high' or 'low'",
        ),
        (lambda: ImageContent(image=b"", inference_width=1.5), TypeError, "inference_width=1.5"),
        (
            lambda: ImageContent(image=b"", inference_height=True),
            TypeError,
            "inference_height=True",
        ),
    ],
)
def test_a_refusal_names_field_value_and_remedy(
    make: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        make()

    assert words in str(caught.value)
