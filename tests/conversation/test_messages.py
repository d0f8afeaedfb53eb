"""Items become messages: grouped as replies, in the order given, without what servers refuse."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    UnknownContent,
    UnknownItem,
)
from lktrio._conversation.items import DYNAMIC_INSTRUCTIONS_ID
from lktrio._conversation.messages import build_messages

USER = {"role": "user", "content": "hi"}
MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
BREAK = CacheBreakpoint()
IMAGE = ImageContent(image="https://example.com/1.png")
IMAGE_PART = {
    "type": "image_url",
    "image_url": {"url": "https://example.com/1.png", "detail": "auto"},
}


def message(role: Any, *content: Any, id: str = "", **rest: Any) -> ChatMessage:
    if id:
        rest["id"] = id
    return ChatMessage(role=role, content=list(content), **rest)


def user() -> ChatMessage:
    return message("user", "hi")


def call(call_id: str, id: str = "", **rest: Any) -> FunctionCall:
    if id:
        rest["id"] = id
    return FunctionCall(**{"call_id": call_id, "name": "f", "arguments": "{}", **rest})


def output(call_id: str, text: str = "done") -> FunctionCallOutput:
    return FunctionCallOutput(id=f"out_{call_id}_{text}", call_id=call_id, output=text)


def build(*items: Any, cache_breakpoints: bool = False) -> list[dict[str, Any]]:
    return build_messages(items, cache_breakpoints=cache_breakpoints)


def content(*parts: Any, cache_breakpoints: bool = False) -> Any:
    (built,) = build(message("user", *parts), cache_breakpoints=cache_breakpoints)
    return built["content"]


def text(value: str, **rest: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **rest}


def asked(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def answered(call_id: str, value: str = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": value}


# Content.


@pytest.mark.parametrize("role", ["developer", "system", "user", "assistant"])
def test_a_text_is_sent_as_a_string(role: Any) -> None:
    assert build(message(role, " a\n")) == [{"role": role, "content": " a\n"}]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], ""),
        ([""], ""),
        (["a", "b"], "a\nb"),
        (["a", "", "b", ""], "a\n\nb\n"),
        (["", "", "a"], "a"),
        (["a", AudioContent(transcript="spoken"), "b"], "a\nb"),
        ([AudioContent(transcript="spoken")], ""),
    ],
)
def test_texts_are_joined_with_newlines_and_audio_is_left_out(
    parts: list[Any], expected: str
) -> None:
    assert content(*parts) == expected


def test_that_audio_is_not_sent_is_said_once_and_not_quoted() -> None:
    # In a process of its own, because once is once for a process.
    program = """
from lktrio import LLM, AudioContent, ChatContext

chat_ctx = ChatContext()
for _ in range(2):
    chat_ctx.add_message(role="user", content=["Hi", AudioContent(transcript="a secret")])
llm = LLM("m", base_url="http://localhost/v1", auth=None)
for _ in range(3):
    llm.chat(chat_ctx=chat_ctx)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    (line,) = ran.stderr.splitlines()
    assert line.startswith("audio in a message has no form on the wire and is not sent: content 1 ")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([IMAGE], [IMAGE_PART]),
        (["", IMAGE, ""], [IMAGE_PART]),
        (["a", IMAGE, "b"], [text("a"), IMAGE_PART, text("b")]),
        ([IMAGE, "a", "b", IMAGE], [IMAGE_PART, text("a\nb"), IMAGE_PART]),
        (["a", BREAK, IMAGE, BREAK, "b"], [text("a"), IMAGE_PART, text("b")]),
    ],
)
def test_parts_keep_their_order(parts: list[Any], expected: list[Any]) -> None:
    assert content(*parts) == expected


def test_the_detail_of_an_image_is_always_sent() -> None:
    image = ImageContent(image=b"GIF89a", inference_detail="high", inference_width=9)

    assert content(image) == [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/gif;base64,R0lGODlh", "detail": "high"},
        }
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["a", BREAK, "b"], [text("a", **MARK), text("\nb")]),
        (["a", "b", BREAK, "c"], [text("a\nb", **MARK), text("\nc")]),
        (["a", BREAK], [text("a", **MARK)]),
        (["a", BREAK, BREAK, "b"], [text("a", **MARK), text("\nb")]),
        (["a", BREAK, "b", BREAK, "c"], [text("a", **MARK), text("\nb", **MARK), text("\nc")]),
        (["a", BREAK, ""], [text("a", **MARK), text("\n")]),
        (["a", "", BREAK, "b"], [text("a\n", **MARK), text("\nb")]),
        ([BREAK, "a"], "a"),
        (["", BREAK, "a"], "a"),
        ([BREAK], ""),
        (["a", BREAK, IMAGE, "b"], [text("a", **MARK), IMAGE_PART, text("b")]),
        (["a", IMAGE, BREAK, "b"], [text("a"), {**IMAGE_PART, **MARK}, text("b")]),
        (["a", BREAK, AudioContent(), BREAK], [text("a", **MARK)]),
    ],
)
def test_a_breakpoint_marks_the_part_before_it(parts: list[Any], expected: Any) -> None:
    assert content(*parts, cache_breakpoints=True) == expected


@given(st.lists(st.just(BREAK) | st.sampled_from(["", "a", "b\n"])))
def test_breakpoints_change_no_text(parts: list[Any]) -> None:
    plain = content(*(part for part in parts if part is not BREAK))
    marked = content(*parts, cache_breakpoints=True)
    joined = marked if isinstance(marked, str) else "".join(part["text"] for part in marked)

    assert content(*parts) == plain == joined


def test_extra_is_sent_as_far_as_the_gateway_knows_it() -> None:
    extra = {"google": {"thought_signature": "x"}, "xai": 1, "livekit": None, "other": object()}
    sent = {"google": {"thought_signature": "x"}, "xai": 1, "livekit": None}
    built = build(
        message("user", "hi", extra=extra), call("c", extra=extra), output("c"),
        message("user", "hi", extra={"other": 1}), call("d", extra={"other": 1}), output("d"),
    )  # fmt: skip

    assert [entry.get("extra_content") for entry in built] == [sent, None, None, None, None, None]
    assert built[1]["tool_calls"] == [{**asked("c"), "extra_content": sent}]
    assert built[4]["tool_calls"] == [asked("d")]


# Instructions that change from call to call.


RULES = message("system", "Rules.")
NOON = message("system", "It is noon.", id=DYNAMIC_INSTRUCTIONS_ID)
HANDOFF = AgentHandoff(new_agent_id="b")
UPDATE = AgentConfigUpdate()


@pytest.mark.parametrize(
    "head",
    [[RULES, NOON], [HANDOFF, UPDATE, RULES, NOON]],
    ids=["first", "behind what is not sent"],
)
def test_changing_instructions_join_those_they_stand_behind(head: list[Any]) -> None:
    assert build(*head, user()) == [{"role": "system", "content": "Rules.\nIt is noon."}, USER]


def test_joined_instructions_keep_role_and_extra_of_the_first() -> None:
    rules = message("developer", "Rules.", IMAGE, extra={"xai": 1})

    assert build(rules, NOON) == [
        {
            "role": "developer",
            "content": [text("Rules."), IMAGE_PART, text("It is noon.")],
            "extra_content": {"xai": 1},
        }
    ]


@pytest.mark.parametrize(
    "items",
    [
        [user(), RULES, NOON],
        [NOON, user()],
        [user(), NOON],
        [RULES, user(), NOON],
        [HANDOFF, NOON],
    ],
)
def test_elsewhere_they_are_a_message_of_their_own(items: list[Any]) -> None:
    sent = [item for item in items if isinstance(item, ChatMessage)]

    assert [entry["content"] for entry in build(*items)] == [item.text_content for item in sent]


def test_where_prefixes_are_cached_they_are_a_message_of_their_own() -> None:
    assert build(RULES, NOON, cache_breakpoints=True) == [
        {"role": "system", "content": "Rules."},
        {"role": "system", "content": "It is noon."},
    ]


# Replies.


def test_a_message_and_the_calls_with_its_id_are_one() -> None:
    assert build(
        message("assistant", "Let me look.", id="r/0"), call("a", "r/1"), call("b", "r/2"),
        output("a"), output("b"),
    ) == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [asked("a"), asked("b")]},
        answered("a"),
        answered("b"),
    ]  # fmt: skip


def test_the_group_goes_before_the_id() -> None:
    built = build(
        message("assistant", "A", id="r"), call("a", "r/1", group_id="g"), output("a"),
        message("assistant", "B", id="g"), call("b", "x/1", group_id="g"), output("b"),
    )  # fmt: skip

    assert built == [
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": "B", "tool_calls": [asked("a"), asked("b")]},
        answered("a"),
        answered("b"),
    ]


def test_a_message_behind_its_calls_is_one_with_them() -> None:
    assert build(call("a", "r/1"), output("a"), message("assistant", "T", id="r")) == [
        {"role": "assistant", "content": "T", "tool_calls": [asked("a")]},
        answered("a"),
    ]


def test_an_empty_message_behind_its_calls_adds_no_words() -> None:
    assert build(call("a", "r/1"), output("a"), message("assistant", id="r")) == [
        {"role": "assistant", "content": None, "tool_calls": [asked("a")]},
        answered("a"),
    ]


def test_calls_without_a_group_are_messages_of_their_own() -> None:
    assert build(call("a", "x"), call("b", "y"), output("a"), output("b")) == [
        {"role": "assistant", "content": None, "tool_calls": [asked("a")]},
        answered("a"),
        {"role": "assistant", "content": None, "tool_calls": [asked("b")]},
        answered("b"),
    ]


@pytest.mark.parametrize(
    ("kind", "members"),
    [("null", {"content": None}), ("empty", {"content": ""}), ("absent", {})],
)
def test_calls_without_text_say_so_in_the_way_a_server_takes(kind: Any, members: Any) -> None:
    items = [user(), call("a"), output("a"), message("assistant", "T", id="r"), call("b", id="r/1")]
    items.append(output("b"))

    built = build_messages(items, cache_breakpoints=False, content_beside_calls=kind)

    assert built == [
        USER,
        {"role": "assistant", **members, "tool_calls": [asked("a")]},
        answered("a"),
        {"role": "assistant", "content": "T", "tool_calls": [asked("b")]},
        answered("b"),
    ]


def test_a_user_message_takes_no_calls() -> None:
    assert build(message("user", "hi", id="r"), call("a", "r/1"), output("a")) == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [asked("a")]},
        answered("a"),
    ]


def test_a_second_message_of_a_reply_is_sent_with_the_calls_that_follow_it() -> None:
    built = build(
        message("assistant", "A", id="r"), call("a", "r/1"), output("a"),
        message("assistant", "B", id="r/2"), call("b", "r/3"), output("b"),
    )  # fmt: skip

    assert built == [
        {"role": "assistant", "content": "A", "tool_calls": [asked("a")]},
        answered("a"),
        {"role": "assistant", "content": "B", "tool_calls": [asked("b")]},
        answered("b"),
    ]


@pytest.mark.parametrize("arguments", ["", " \n"])
def test_blank_arguments_are_an_empty_object(arguments: str) -> None:
    (asking, _) = build(call("a", arguments=arguments), output("a"))

    assert asking["tool_calls"] == [asked("a")]


# Outputs.


def test_outputs_follow_their_calls_wherever_they_stand() -> None:
    assert build(
        call("a", "r/1"), user(), call("b", "r/2"), message("assistant", "T"), output("b"), output("a"),
    ) == [
        {"role": "assistant", "content": None, "tool_calls": [asked("a"), asked("b")]},
        answered("b"),
        answered("a"),
        USER,
        {"role": "assistant", "content": "T"},
    ]  # fmt: skip


def test_an_output_that_came_before_its_call_follows_it() -> None:
    assert build(output("a"), user(), call("a")) == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [asked("a")]},
        answered("a"),
    ]


def test_an_output_belongs_to_the_nearest_open_call_before_it() -> None:
    built = build(
        call("a", name="one"), output("a", "1"), user(), call("a", name="two"), output("a", "2")
    )

    assert built == [
        {"role": "assistant", "content": None, "tool_calls": [asked("a", "one")]},
        answered("a", "1"),
        USER,
        {"role": "assistant", "content": None, "tool_calls": [asked("a", "two")]},
        answered("a", "2"),
    ]


def test_an_interrupted_call_leaves_its_id_to_the_next(caplog: pytest.LogCaptureFixture) -> None:
    built = build(call("a", "lost", name="one"), user(), call("a", name="two"), output("a"))

    assert built == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [asked("a", "two")]},
        answered("a"),
    ]
    assert "function call lost (call_id a) has no output" in caplog.text


def test_what_has_no_counterpart_is_left_out_with_a_warning_that_tells_no_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    items = [
        call("open", "item_open", arguments='"private"'),
        message("assistant", "T", id="r"), call("also", "r/1"),
        call("a"), output("a"), output("a", "private"),
        output("none", "private"), output("none", "again private"),
    ]  # fmt: skip

    assert build(*items) == [
        {"role": "assistant", "content": "T"},
        {"role": "assistant", "content": None, "tool_calls": [asked("a")]},
        answered("a"),
    ]
    assert [(record.levelno, record.name) for record in caplog.records] == [
        (logging.WARNING, "lktrio")
    ] * 5
    assert "function call item_open (call_id open) has no output and is not sent" in caplog.text
    assert "output out_none_private (call_id none) has no function call" in caplog.text
    assert '"private"' not in caplog.text


# What is not sent, and what cannot be.


def test_what_only_livekit_agents_reads_is_left_out_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert build(HANDOFF, user(), UPDATE) == [USER]
    assert caplog.records == []


def test_what_is_unknown_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    video = UnknownContent(type="video_content", unknown_members={"clip": "private"})
    memory = UnknownItem(type="memory", id="item_9")

    assert build(message("user", "hi", video, id="item_8"), memory) == [USER]
    assert "content 1 of item item_8 is of the unknown type 'video_content'" in caplog.text
    assert "item item_9 is of the unknown type 'memory'" in caplog.text
    assert "private" not in caplog.text


def with_part(part: Any) -> ChatMessage:
    changed = user()
    changed.content.append(part)
    return changed


@pytest.mark.parametrize(
    ("item", "error", "words"),
    [
        ("text", TypeError, "chat_ctx.items[1]='text' is not accepted; it takes ChatMessage"),
        (with_part(5), TypeError, "chat_ctx.items[1].content[1]=5 is not accepted; it takes a string"),
        (with_part("\ud800"), ValueError, "chat_ctx.items[1].content[1] has a lone surrogate"),
        (with_part(ImageContent(image=b"BM")), ValueError, "chat_ctx.items[1].content[1].image is of an unknown kind"),
        (with_part(ImageContent(image="http://\udc00")), ValueError, "chat_ctx.items[1].content[1].image has a lone"),
        (message("user", extra={"xai": {"a": [math.nan]}}), ValueError, "chat_ctx.items[1].extra.xai.a[0] is nan"),
        (message("user", extra={"google": {1}}), TypeError, "chat_ctx.items[1].extra.google is of type set"),
        (call("c", arguments="\ud800"), ValueError, "chat_ctx.items[1].arguments has a lone"),
        (call("c", name="\ud800"), ValueError, "chat_ctx.items[1].name has a lone"),
        (call("c", extra={"xai": {2: 3}}), TypeError, "chat_ctx.items[1].extra.xai has the key 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_with_its_path(
    item: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        build(user(), item, output("c"))

    assert words in str(caught.value)


def test_the_path_of_an_output_and_of_joined_instructions_is_their_own() -> None:
    broken = message("system", "a", "\ud800", id=DYNAMIC_INSTRUCTIONS_ID)

    with pytest.raises(ValueError, match=r"chat_ctx.items\[2\].output has a lone"):
        build(call("a"), user(), output("a", "\ud800"))
    with pytest.raises(ValueError, match=r"chat_ctx.items\[1\].content\[1\] has a lone"):
        build(RULES, broken)


def test_text_beyond_ascii_is_sent() -> None:
    assert content("þó 🛥️") == "þó 🛥️"


# Any conversation.

ids = st.sampled_from(["a", "b", "r", "r/1", "r/2", "s/1"])
any_items: st.SearchStrategy[list[ChatItem]] = st.lists(
    st.builds(
        ChatMessage,
        id=ids,
        role=st.sampled_from(["system", "user", "assistant"]),
        content=st.lists(st.sampled_from(["x", "y"])),
    )
    | st.builds(
        FunctionCall,
        id=ids,
        call_id=st.sampled_from(["c", "d"]),
        name=st.just("f"),
        arguments=st.just("{}"),
        group_id=st.none() | st.sampled_from(["r", "g"]),
    )
    | st.builds(FunctionCallOutput, call_id=st.sampled_from(["c", "d"]), output=st.just("o")),
    max_size=12,
)


@given(any_items)
def test_every_call_is_answered_right_behind_it_and_every_message_is_sent(
    items: list[ChatItem],
) -> None:
    built = build(*items)
    waiting: list[str] = []
    for entry in built:
        if entry["role"] == "tool":
            waiting.remove(entry["tool_call_id"])
        else:
            assert waiting == []
            waiting = [asking["id"] for asking in entry.get("tool_calls", [])]

    assert waiting == []
    # One without words that joins its calls adds nothing to them.
    spoken = [entry for entry in built if entry["content"] and entry["role"] != "tool"]
    said = [item for item in items if isinstance(item, ChatMessage) and item.content]
    assert len(spoken) == len(said)
