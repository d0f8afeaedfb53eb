"""Files move between lktrio and LiveKit Agents in both directions, and nothing is lost."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    UnknownContent,
    UnknownItem,
)
from tests.support.paths import DATA

RECORDINGS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((DATA / "livekit_agents").glob("*.json"))
}
CONVERSATIONS = {name: recording for name, recording in RECORDINGS.items() if "full" in recording}
EVERYTHING: dict[str, bool] = {
    "exclude_image": False,
    "exclude_audio": False,
    "exclude_timestamp": False,
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(4)

# As tests/data/livekit_agents/lktrio.json has it, and LiveKit Agents has read it.
OURS = ChatContext(
    [
        ChatMessage(id="item_1", role="system", content=["Be brief.", CacheBreakpoint()], created_at=1),
        ChatMessage(
            id="item_2",
            role="user",
            content=[
                "What is this?",
                ImageContent(id="img_1", image=PNG, inference_detail="high", inference_width=4),
                ImageContent(id="img_2", image="https://example.com/a.webp", mime_type="image/webp"),
                AudioContent(transcript="what is this"),
            ],
            transcript_confidence=0.5,
            interrupted=True,
            extra={"livekit": {"a": [1, None]}},
            metrics={"llm_node_ttft": 0.25, "llm_metadata": {"model_name": "m"}},
            created_at=2.5,
        ),
        FunctionCall(
            id="r/1", call_id="c", name="look", arguments='{"ä": 1}', group_id="r",
            extra={"google": {"s": "x"}}, created_at=3,
        ),
        FunctionCallOutput(id="item_4", call_id="c", output="a dot", is_error=True, reply_required=False, created_at=4),
        AgentHandoff(id="item_5", new_agent_id="two", created_at=5),
        AgentHandoff(id="item_6", old_agent_id="two", new_agent_id="one", created_at=6),
        AgentConfigUpdate(id="item_7", instructions="x", tools_added=["a"], tools_removed=[], created_at=7),
    ]
)  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_file_of_livekit_agents_is_read_and_written_back_whole(name: str) -> None:
    full = CONVERSATIONS[name]["full"]

    assert ChatContext.from_dict(full).to_dict(**EVERYTHING) == full


@pytest.mark.parametrize(
    ("full", "entry"),
    [
        pytest.param(recording["full"], entry, id=f"{name}-{number}")
        for name, recording in CONVERSATIONS.items()
        for number, entry in enumerate(recording["to_dict"])
    ],
)
def test_what_is_left_out_is_what_livekit_agents_leaves_out(full: Any, entry: Any) -> None:
    assert ChatContext.from_dict(full).to_dict(**entry["flags"]) == entry["saved"]


def test_our_file_is_read_and_written_back_whole_by_livekit_agents() -> None:
    recording = RECORDINGS["lktrio"]

    assert OURS.to_dict(**EVERYTHING) == recording["saved"]
    # LiveKit Agents always has the name of the function in an output.
    assert recording["saved_again"] == recording["saved"]


def test_our_file_is_read_back_by_us() -> None:
    loaded = ChatContext.from_dict(json.loads(json.dumps(OURS.to_dict(**EVERYTHING))))
    images = [part for part in loaded.messages()[1].content if isinstance(part, ImageContent)]

    # Bytes come back as a data URL, of the kind that they show.
    assert str(images[0].image).startswith("data:image/png;base64,")
    assert ChatContext.from_dict(loaded.to_dict(**EVERYTHING)).items == loaded.items
    assert loaded.items[2:] == OURS.items[2:]


def test_an_image_of_unknown_kind_is_saved_all_the_same() -> None:
    chat_ctx = ChatContext([ChatMessage(role="user", content=[ImageContent(image=b"???")])])

    assert chat_ctx.to_dict(exclude_image=False)["items"][0]["content"][0]["image"] == (
        "data:application/octet-stream;base64,Pz8/"
    )


def test_by_default_images_audio_and_times_are_left_out() -> None:
    saved = OURS.to_dict()

    assert saved["items"][1]["content"] == ["What is this?"]
    assert not any("created_at" in item for item in saved["items"])


def test_a_saved_dict_shares_nothing_with_the_conversation() -> None:
    saved = OURS.to_dict(**EVERYTHING)
    before = copy.deepcopy(saved)
    loaded = ChatContext.from_dict(saved)
    saved["items"][1]["extra"]["livekit"]["a"].append(2)
    saved["items"][1]["content"].clear()
    saved["items"][0]["extra"]["new"] = 1

    assert OURS.to_dict(**EVERYTHING) == before
    assert loaded.to_dict(**EVERYTHING) == before


def test_members_and_kinds_of_a_newer_version_are_carried() -> None:
    saved = {
        "items": [
            {
                "type": "message",
                "id": "item_1",
                "role": "user",
                "content": [
                    "a",
                    {"type": "video_content", "clip": [1, {"b": None}]},
                    {"type": "image_content", "id": "img_1", "image": "https://e.org/a", "inference_detail": "auto", "new": 1},
                    {"type": "cache_breakpoint", "ttl": 5},
                    {"type": "audio_content", "frame": [], "language": "is"},
                ],
                "interrupted": False,
                "extra": {},
                "metrics": {"a_new_one": 1},
                "created_at": 1.0,
                "hash": "aa",
            },
            {"type": "memory", "id": "item_2", "created_at": 2.0, "facts": ["x"]},
        ],
        "version": 3,
    }  # fmt: skip
    loaded = ChatContext.from_dict(saved)
    message = loaded.messages()[0]

    assert message.unknown_members == {"hash": "aa"}
    assert message.content[1] == UnknownContent(
        type="video_content", unknown_members={"clip": [1, {"b": None}]}
    )
    assert loaded.items[1] == UnknownItem(
        type="memory", id="item_2", created_at=2, unknown_members={"facts": ["x"]}
    )
    for kept in (loaded, loaded.copy(), loaded.snapshot()):
        assert kept.to_dict(**EVERYTHING) == saved


def test_what_may_be_missing_gets_its_default() -> None:
    loaded = ChatContext.from_dict(
        {
            "items": [
                {"type": "message", "role": "user", "content": "text"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
                {"type": "memory"},
            ]
        }
    )
    message, output, unknown = loaded.items

    assert isinstance(message, ChatMessage)
    assert message.content == ["text"]
    assert isinstance(output, FunctionCallOutput)
    assert (output.name, output.is_error) == ("", False)
    assert unknown.id.startswith("item_")


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ([], TypeError, "data=[] is not accepted; it takes the dict that to_dict() has made"),
        ({}, ValueError, "data has no 'items'"),
        ({"items": None}, TypeError, "items=None is not accepted; it takes a list of dicts"),
        ({"items": {"type": "message"}}, TypeError, "items={'type': 'message'}"),
        ({"items": ["hi"]}, TypeError, "items[0]='hi' is not accepted; it takes a dict with a 'type'"),
        ({"items": [{"role": "user"}]}, ValueError, "items[0].type is missing; it is one of 'message', 'function_call'"),
        ({"items": [{"type": 5}]}, TypeError, "items[0].type=5"),
        ({"items": [{"type": "message", "content": []}]}, ValueError, "items[0].role is missing; a ChatMessage cannot be without it"),
        ({"items": [{"type": "function_call", "call_id": "c", "name": "f"}]}, ValueError, "items[0].arguments is missing"),
        ({"items": [{"type": "agent_handoff"}]}, ValueError, "items[0].new_agent_id is missing"),
        ({"items": [{"type": "message", "role": "tool", "content": []}]}, ValueError, "items[0].role='tool' is not accepted; it takes 'developer'"),
        ({"items": [{"type": "message", "role": "user", "content": None}]}, TypeError, "items[0].content=None"),
        ({"items": [{"type": "message", "role": "user", "content": [None]}]}, TypeError, "items[0].content[0]=None"),
        ({"items": [{"type": "message", "role": "user", "content": [{}]}]}, ValueError, "items[0].content[0].type is missing; it is one of 'image_content'"),
        ({"items": [{"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}]}, ValueError, "items[0].content[0].type='text' is not accepted; text is written as a plain string"),
        ({"items": [{"type": "message", "role": "user", "content": [{"type": "image_url"}]}]}, ValueError, "'image_content'"),
        ({"items": [{"type": "message", "role": "user", "content": [{"type": "image_content"}]}]}, ValueError, "items[0].content[0].image is missing"),
        ({"items": [{"type": "message", "role": "user", "content": [{"type": "image_content", "image": 5}]}]}, TypeError, "items[0].content[0].image=5"),
        ({"items": [{"type": "message", "role": "user", "content": [], "interrupted": None}]}, TypeError, "items[0].interrupted=None is not accepted; it takes True or False"),
        ({"items": [{"type": "memory", "id": 7}]}, TypeError, "items[0].id=7"),
    ],
)  # fmt: skip
def test_a_bad_dict_is_refused_with_path_value_and_remedy(
    data: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        ChatContext.from_dict(data)

    assert words in str(caught.value)


texts = st.text(max_size=8)
parts = texts | st.builds(CacheBreakpoint) | st.builds(AudioContent, transcript=st.none() | texts)
messages = st.builds(
    ChatMessage,
    id=texts,
    role=st.sampled_from(["developer", "system", "user", "assistant"]),
    content=st.lists(parts, max_size=3),
    interrupted=st.booleans(),
    transcript_confidence=st.none() | st.floats(0, 1),
    extra=st.dictionaries(texts, st.integers() | st.lists(texts, max_size=2), max_size=2),
    created_at=st.floats(0, 4e9),
)
calls = st.builds(
    FunctionCall,
    call_id=texts,
    name=texts,
    arguments=texts,
    group_id=st.none() | texts,
    created_at=st.floats(0, 4e9),
)


@given(st.lists(messages | calls, max_size=3))
def test_what_is_saved_as_json_is_read_back_equal(items: list[Any]) -> None:
    saved = json.dumps(ChatContext(items).to_dict(**EVERYTHING))

    assert ChatContext.from_dict(json.loads(saved)).items == items


@pytest.mark.parametrize("unit", ['{"a":', "["])
@pytest.mark.parametrize("where", ['{"items": [], "more": %s}', '{"items": [{"extra": %s}]}'])
def test_what_is_nested_too_deeply_is_refused_by_name(where: str, unit: str) -> None:
    end = {"{": "0}", "[": "]"}[unit[0]]
    deep = unit * 400 + end[:-1] + end[-1] * 400
    with pytest.raises(ValueError, match=r"^data has more than 100 levels of nesting"):
        ChatContext.from_dict(json.loads(where % deep))


def test_what_holds_itself_is_refused_too() -> None:
    endless: list[object] = []
    endless += [endless, endless]
    with pytest.raises(ValueError, match="holds itself"):
        ChatContext.from_dict({"items": [], "more": endless})
