"""Messages of the chat dialect: read into a conversation, and written from one."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import (
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatContext,
    ChatMessage,
    FileContent,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    UnknownItem,
)

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
PDF = "data:application/pdf;base64,JVBERg=="


def call(call_id: str = "call_1", name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def asks(*calls: dict[str, Any], content: str | None = None, **members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **members}


def output(call_id: str = "call_1", content: str = "Done.", **members: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **members}


# Reading.


def test_every_role_becomes_its_item() -> None:
    chat_ctx = ChatContext.from_openai(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": "Be kind."},
            USER,
            asks(call("a", "f", '{"x": 1}'), call("b", "g"), content="Let me see."),
            output("a", "1"),
            output("b", "2"),
            {"role": "assistant", "content": "Three."},
        ]
    )

    spoken = [item for item in chat_ctx.items if isinstance(item, ChatMessage)]
    assert [(item.role, item.content) for item in spoken] == [
        ("developer", ["Be brief."]),
        ("system", ["Be kind."]),
        ("user", ["Hi"]),
        ("assistant", ["Let me see."]),
        ("assistant", ["Three."]),
    ]
    calls = [item for item in chat_ctx.items if isinstance(item, FunctionCall)]
    assert [(item.call_id, item.name, item.arguments) for item in calls] == [
        ("a", "f", '{"x": 1}'),
        ("b", "g", "{}"),
    ]
    assert {item.group_id for item in calls} == {spoken[3].id}
    outputs = [item for item in chat_ctx.items if isinstance(item, FunctionCallOutput)]
    assert [(item.call_id, item.name, item.output) for item in outputs] == [
        ("a", "f", "1"),
        ("b", "g", "2"),
    ]
    # All are of one moment: they stay in their order, and before what is added.
    assert len({item.created_at for item in chat_ctx.items}) == 1
    assert chat_ctx.add_message(role="user", content="Bye.") is chat_ctx.items[-1]


def test_calls_without_text_are_no_message() -> None:
    chat_ctx = ChatContext.from_openai([asks(call()), output()])

    assert [item.type for item in chat_ctx.items] == ["function_call", "function_call_output"]


def test_parts_become_contents() -> None:
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
            "prompt_cache_breakpoint": {"mode": "explicit"},
        },
    ]
    messages = [{"role": "user", "content": parts}]
    chat_ctx = ChatContext.from_openai(messages)

    (message,) = chat_ctx.messages()
    text, first, second, mark = message.content
    assert text == "Look:"
    assert isinstance(first, ImageContent)
    assert (first.image, first.inference_detail) == ("https://example.com/a.png", "auto")
    assert isinstance(second, ImageContent)
    assert second.inference_detail == "low"
    assert mark == CacheBreakpoint()
    assert chat_ctx.to_openai() == messages


def test_a_mark_of_another_provider_is_a_breakpoint_too() -> None:
    marked = {"type": "text", "text": "Rules", "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "system", "content": [marked]}]
    chat_ctx = ChatContext.from_openai(messages)

    assert isinstance(chat_ctx.messages()[0].content[1], CacheBreakpoint)
    assert chat_ctx.to_openai() == messages
    sent, _ = chat_ctx.to_provider_format(prompt_cache_breakpoints=True)
    assert sent[0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}


def test_sound_and_files_are_kept_as_they_are() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}, "cache_control": {"type": "ephemeral"}},
    ]
    messages = [{"role": "user", "content": parts}]
    chat_ctx = ChatContext.from_openai(messages)

    sound, file, _ = chat_ctx.messages()[0].content
    assert isinstance(sound, AudioContent)
    assert file == FileContent(file_id="file-1")
    assert chat_ctx.to_openai() == messages


def test_a_refusal_is_what_the_model_has_said() -> None:
    part = {"type": "refusal", "refusal": "I will not."}
    for message in (
        {"role": "assistant", "content": None, "refusal": "I will not."},
        {"role": "assistant", "content": [part]},
    ):
        chat_ctx = ChatContext.from_openai([message])
        assert chat_ctx.messages()[0].text_content == "I will not."
        assert chat_ctx.to_openai() == [
            {"role": "assistant", "content": None, "refusal": "I will not."}
        ]
        assert chat_ctx.to_provider_format()[0] == [{"role": "assistant", "content": "I will not."}]


def test_a_function_without_an_id_gets_one() -> None:
    legacy = {"name": "f", "arguments": '{"x": 1}'}
    messages = [
        {"role": "assistant", "content": None, "function_call": legacy},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "function", "name": "other", "content": "2"},
    ]
    chat_ctx = ChatContext.from_openai(messages)

    asked, told, stray = chat_ctx.items
    assert isinstance(asked, FunctionCall)
    assert isinstance(told, FunctionCallOutput)
    assert isinstance(stray, FunctionCallOutput)
    assert asked.call_id == told.call_id != stray.call_id
    assert chat_ctx.to_openai() == messages
    # To a server it goes as calls go today.
    sent, _ = chat_ctx.to_provider_format()
    assert sent == [asks(call(asked.call_id, "f", '{"x": 1}')), output(asked.call_id, "1")]


def test_a_function_is_answered_under_its_name_in_any_order() -> None:
    messages = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "function", "name": "g", "content": "2"},
    ]
    chat_ctx = ChatContext.from_openai(messages)

    f, g, of_f, of_g = chat_ctx.items
    assert isinstance(f, FunctionCall)
    assert isinstance(g, FunctionCall)
    assert isinstance(of_f, FunctionCallOutput)
    assert isinstance(of_g, FunctionCallOutput)
    assert (of_f.call_id, of_g.call_id) == (f.call_id, g.call_id)
    assert chat_ctx.to_openai() == [messages[place] for place in (0, 2, 1, 3)]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "no base64!", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "no format"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "no base64!"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:no base64!"}},
        {"type": "file", "file": {"filename": "a.pdf"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF, "file_id": "file-1"}},
    ],
    ids=repr,
)
def test_sound_and_files_in_words_that_are_not_known_are_written_as_they_were(part: Any) -> None:
    messages = [{"role": "user", "content": [part]}]

    assert ChatContext.from_openai(messages).to_openai() == messages


def test_a_file_with_its_bytes_is_one_that_a_program_could_have_made() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}
    chat_ctx = ChatContext.from_openai([{"role": "user", "content": [part]}])

    assert chat_ctx.messages()[0].content == [FileContent(file=PDF, filename="a.pdf")]
    assert chat_ctx.to_openai() == [{"role": "user", "content": [part]}]


def test_what_an_object_of_openai_says_with_none_is_not_said() -> None:
    dumped = {
        "content": None,
        "refusal": None,
        "role": "assistant",
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": [call()],
    }
    chat_ctx = ChatContext.from_openai([dumped, output()])

    assert chat_ctx.to_openai() == [asks(call(), annotations=[]), output()]
    # A server may not know what another one has answered.
    assert chat_ctx.to_provider_format()[0] == [asks(call()), output()]


def test_an_object_in_place_of_a_dict_is_told_how_to_become_one() -> None:
    class Message:
        def model_dump(self) -> dict[str, Any]:
            return {}

    with pytest.raises(TypeError, match=r"messages\[1\]=.*message.model_dump\(exclude_none=True\)"):
        ChatContext.from_openai([USER, Message()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def test_nothing_is_shared() -> None:
    messages = [
        asks(call(), annotations=[{"a": 1}], extra_content={"google": {"s": "1"}}),
        output(),
    ]
    before = copy.deepcopy(messages)
    chat_ctx = ChatContext.from_openai(messages)
    written = chat_ctx.to_openai()
    written[0]["annotations"][0]["a"] = 2
    written[0]["extra_content"]["google"]["s"] = "2"
    written[0]["tool_calls"].clear()

    assert messages == before == chat_ctx.to_openai()


# What goes to a server.


def test_name_and_audio_are_sent() -> None:
    audio = {"id": "audio_1", "data": "AAAA", "expires_at": 1}
    chat_ctx = ChatContext.from_openai(
        [{**USER, "name": "ann"}, {"role": "assistant", "content": None, "audio": audio}]
    )

    assert chat_ctx.to_openai()[1]["audio"] == audio
    assert chat_ctx.to_provider_format()[0] == [
        {**USER, "name": "ann"},
        {"role": "assistant", "content": "", "audio": {"id": "audio_1"}},
    ]


def test_a_name_can_be_given_to_a_message_of_ones_own() -> None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Hi", extra={"openai_message": {"name": "ann"}})

    assert chat_ctx.to_openai() == [{**USER, "name": "ann"}]
    assert chat_ctx.to_provider_format()[0] == [{**USER, "name": "ann"}]


@pytest.mark.parametrize("kept", [None, "ann", ["ann"]])
def test_what_is_not_kept_by_us_is_left_alone(kept: Any) -> None:
    extra = {"openai_message": kept}
    chat_ctx = ChatContext([ChatMessage(role="user", content="Hi", extra=extra)])

    assert chat_ctx.to_openai() == chat_ctx.to_provider_format()[0] == [USER]


def test_what_is_kept_and_cannot_be_sent_is_refused_with_its_path() -> None:
    extra = {"openai_message": {"name": {1}}}
    chat_ctx = ChatContext([ChatMessage(role="user", content="Hi", extra=extra)])

    with pytest.raises(TypeError, match=r"chat_ctx.items\[0\].extra.openai_message.name is of"):
        chat_ctx.to_provider_format()
    with pytest.raises(TypeError, match=r"messages\[0\].name is of type set"):
        chat_ctx.to_openai()


def test_half_a_character_is_refused_where_it_would_be_written() -> None:
    chat_ctx = ChatContext.from_openai([{"role": "user", "content": "\ud800"}])

    with pytest.raises(ValueError, match=r"messages\[0\].content .*surrogate"):
        chat_ctx.to_openai()


# Writing.


def test_an_answer_and_its_calls_are_one_message_whichever_came_first() -> None:
    asked = FunctionCall(id="r/1", call_id="a", name="f", arguments="{}")
    said = ChatMessage(id="r", role="assistant", content="So.")
    told = FunctionCallOutput(call_id="a", output="1")

    for items in ([said, asked, told], [asked, said, told], [asked, told, said]):
        assert ChatContext(items).to_openai() == [asks(call("a"), content="So."), output("a", "1")]
    # Two messages of one answer stay two.
    assert len(ChatContext([said, said]).to_openai()) == 2


def test_outputs_stand_behind_their_calls_and_nothing_is_missing() -> None:
    messages = ChatContext(
        [
            FunctionCall(id="r/1", call_id="a", name="f", arguments="{}", group_id="r"),
            FunctionCall(id="r/2", call_id="b", name="f", arguments="{}", group_id="r"),
            ChatMessage(role="user", content="Hi"),
            FunctionCallOutput(call_id="b", output="B"),
            FunctionCallOutput(call_id="z", output="Z"),
            FunctionCallOutput(call_id="a", output="A"),
        ]
    ).to_openai()

    assert messages == [
        asks(call("a"), call("b")),
        output("b", "B"),
        output("a", "A"),
        USER,
        output("z", "Z"),
    ]


def test_bytes_are_written_as_a_data_url_and_several_texts_as_parts() -> None:
    png = b"\x89PNG\r\n\x1a\n"
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=["a", "b", ImageContent(image=png)])
    chat_ctx.add_message(role="user", content=[])
    chat_ctx.add_message(role="user", content=[CacheBreakpoint(), "c"])

    parts = chat_ctx.to_openai()[0]["content"]
    assert parts[:2] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parts[2]["image_url"] == {"url": "data:image/png;base64,iVBORw0KGgo="}
    assert [message["content"] for message in chat_ctx.to_openai()[1:]] == ["", "c"]


def test_what_is_no_message_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    chat_ctx = ChatContext(
        [
            AgentHandoff(new_agent_id="b"),
            UnknownItem(type="new_thing", id="x"),
            ChatMessage(id="m", role="user", content=["Hi", AudioContent(transcript="Hi")]),
        ]
    )
    with caplog.at_level(logging.WARNING, logger="lktrio"):
        assert chat_ctx.to_openai() == [USER]

    assert [record.getMessage() for record in caplog.records] == [
        "item x is of the unknown type 'new_thing': no message",
        "a part of item m has no form in a message: audio_content",
    ]


# What cannot be read.


@pytest.mark.parametrize(
    ("messages", "kind", "text"),
    [
        ("Hi", TypeError, "messages='Hi' is not accepted; it takes a list of messages"),
        (USER, TypeError, r"messages={.*} is not accepted"),
        (None, TypeError, "messages=None is not accepted"),
        (["Hi"], TypeError, r"messages\[0\]='Hi' is not accepted; it takes a dict with a 'role'$"),
        ([{"content": "Hi"}], ValueError, r"messages\[0\].role is missing; it is one of 'dev"),
        ([USER, {"role": "bot"}], ValueError, r"messages\[1\].role='bot' is not accepted; it"),
        ([{"role": 1}], TypeError, r"messages\[0\].role=1 is not accepted"),
        ([{"role": "user", "content": 1}], TypeError, r"messages\[0\].content=1 is not accepted"),
        ([{"role": "user", "content": ["Hi"]}], TypeError, r"messages\[0\].content\[0\]='Hi' is"),
        ([{"role": "user", "content": [{}]}], ValueError, r"content\[0\].type is missing; it is"),
        (
            [{"role": "user", "content": [{"type": "video"}]}],
            ValueError,
            r"messages\[0\].content\[0\].type='video' is not accepted; a message of the role 'user'",
        ),
        ([{"role": "user", "content": [{"type": 1}]}], TypeError, r"content\[0\].type=1 is not"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            ValueError,
            r"type='image_url' is not accepted; a message of the role 'system' takes 'text'",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], ValueError, r"\[0\].text is missing"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a", "b": 1}]}],
            ValueError,
            r"messages\[0\].content\[0\] has 'b', for which there is no place",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            TypeError,
            r"content\[0\].image_url='x' is not accepted; it takes a dict",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "x", "detail": "top"}}],
                }
            ],
            ValueError,
            r"content\[0\].image_url.detail='top' is not accepted; it takes 'auto', 'high' or 'low'",
        ),
        ([{"role": "tool", "content": "1"}], ValueError, r"messages\[0\].tool_call_id is missing"),
        ([output(name=1)], TypeError, r"messages\[0\].name=1 is not accepted; it takes a string"),
        (
            [output(content=[{"type": "text", "text": "a", "cache_control": {}}])],  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            ValueError,
            r"content\[0\] has 'cache_control'",
        ),
        ([{"role": "function", "content": "1"}], ValueError, r"messages\[0\].name is missing"),
        ([{**USER, "role": "assistant", "tool_calls": 1}], TypeError, r"\[0\].tool_calls=1 is not"),
        ([asks({"type": "function"})], ValueError, r"messages\[0\].tool_calls\[0\].id is missing"),
        ([asks({"id": "a"})], ValueError, r"tool_calls\[0\].function is missing; it takes what"),
        ([asks({"id": "a", "function": 1})], TypeError, r"tool_calls\[0\].function=1 is not"),
        ([asks({"id": "a", "function": {}})], ValueError, r"\[0\].function.name is missing"),
        (
            [asks({"id": "a", "function": {"name": "f", "arguments": {}}})],
            TypeError,
            r"tool_calls\[0\].function.arguments={} is not accepted; it takes JSON text",
        ),
        (
            [{"role": "assistant", "function_call": "f"}],
            TypeError,
            r"messages\[0\].function_call='f' is not accepted; it takes a dict",
        ),
        ([{**USER, "name": {1}}], TypeError, r"messages\[0\].name is of type set"),
        ([{**USER, "x": float("nan")}], ValueError, r"messages\[0\].x is nan"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_position(
    messages: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        ChatContext.from_openai(messages)


def test_what_is_nested_too_deeply_is_refused() -> None:
    value: Any = []
    for _ in range(200):
        value = [value]
    with pytest.raises(ValueError, match="messages"):
        ChatContext.from_openai([{**USER, "x": value}])


# There and back.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text("abcxyz_", min_size=1, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
MARKS = st.sampled_from(
    [
        {},
        {"cache_control": {"type": "ephemeral"}},
        {"prompt_cache_breakpoint": {"mode": "explicit"}},
        {"cache_control": {}, "prompt_cache_breakpoint": {"mode": "other"}},
    ]
)
TEXT_PARTS = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, TEXT, MARKS)
IMAGES = st.builds(
    lambda url, detail, mark: {"type": "image_url", "image_url": {"url": url, **detail}, **mark},
    TEXT,
    st.sampled_from([{}, {"detail": "low"}, {"detail": "high"}]),
    MARKS,
)


MEDIA = st.builds(
    lambda kind, media, mark: {"type": kind, kind: media, **mark},
    st.sampled_from(["input_audio", "file"]),
    st.dictionaries(st.sampled_from(["data", "format", "file_id", "filename"]), TEXT),
    MARKS,
)


def is_in_parts_for_a_reason(parts: list[dict[str, Any]]) -> bool:
    """Whether it is no single text: that is written as a string."""
    return len(parts) > 1 or set(parts[0]) != {"type", "text"}


def contents(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    parts = st.lists(part, min_size=1, max_size=3).filter(is_in_parts_for_a_reason)
    return TEXT | parts


EXTRA = st.dictionaries(
    st.sampled_from(["google", "livekit", "other"]), st.dictionaries(TEXT, JSON, max_size=1),
    min_size=1,
)  # fmt: skip
SAID = JSON.filter(lambda value: value is not None)
OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES,
    "id": NAMES | st.just("a/b"),
    "extra_content": EXTRA,
    "prefix": SAID,
}
OF_ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    **OTHERS,
    "refusal": TEXT.map(lambda text: "No: " + text),
    "audio": st.fixed_dictionaries({"id": NAMES}),
    "annotations": st.lists(st.dictionaries(TEXT, JSON, max_size=1), max_size=1),
    "reasoning": TEXT,
    "reasoning_content": TEXT,
    "reasoning_details": st.lists(st.dictionaries(TEXT, JSON, max_size=1), max_size=2),
}


def message(
    role: str, content: st.SearchStrategy[Any], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    required = {"role": st.just(role), "content": content}
    return st.fixed_dictionaries(required, optional=optional)


FUNCTION = st.fixed_dictionaries({"name": NAMES, "arguments": TEXT}, optional={"parsed": SAID})


@st.composite
def rounds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An answer that calls, and the outputs, in any order."""
    content = st.none() | contents(TEXT_PARTS)
    asked = draw(message("assistant", content, **OF_ANSWERS))
    calls: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    for index in range(draw(st.integers(0, 3))):
        made: dict[str, Any] = {"id": f"call_{index}"}
        if draw(st.booleans()):
            made |= {"type": "function", "function": draw(FUNCTION)}
        else:
            made |= {"type": "custom", "custom": {"name": draw(NAMES), "input": draw(TEXT)}}
        if draw(st.booleans()):
            made["extra_content"] = draw(EXTRA)
        calls.append(made)
        if draw(st.booleans()):
            told = message("tool", TEXT, tool_call_id=st.just(made["id"]), name=NAMES, x=SAID)
            outputs.append({**draw(told), "tool_call_id": made["id"]})
    if calls:
        asked["tool_calls"] = calls
    legacy: list[dict[str, Any]] = []
    if draw(st.booleans()):
        asked["function_call"] = draw(FUNCTION)
        if draw(st.booleans()):
            name = asked["function_call"]["name"]
            legacy.append({"role": "function", "name": name, "content": draw(TEXT)})
    return [asked, *draw(st.permutations(outputs + legacy))]


CONVERSATIONS = st.lists(
    message("system", contents(TEXT_PARTS), **OTHERS).map(lambda one: [one])
    | message("developer", contents(TEXT_PARTS), **OTHERS).map(lambda one: [one])
    | message("user", contents(TEXT_PARTS | IMAGES | MEDIA), **OTHERS).map(lambda one: [one])
    | rounds(),
    max_size=5,
).map(lambda groups: [message for group in groups for message in group])


@given(CONVERSATIONS)
def test_messages_that_were_read_are_written_as_they_were(messages: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(messages)

    chat_ctx = ChatContext.from_openai(messages)

    assert chat_ctx.to_openai() == before == messages
    # And so they are after a rest in a file.
    saved = json.dumps(chat_ctx.to_dict(exclude_image=False, exclude_audio=False))
    assert ChatContext.from_dict(json.loads(saved)).to_openai() == before
