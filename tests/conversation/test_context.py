"""Adding, finding, replacing, copying; a conversation keeps the order of its time."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import (
    NOT_GIVEN,
    AgentConfigUpdate,
    AgentHandoff,
    CacheBreakpoint,
    ChatContext,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    UnknownItem,
)
from lktrio._conversation import check_chat_ctx
from tests.support.paths import DATA

RECORDINGS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((DATA / "livekit_agents").glob("*.json"))
}
CONVERSATIONS = {name: recording for name, recording in RECORDINGS.items() if "full" in recording}


def message(id: str, at: float = 0.0, role: Any = "user", content: Any = "text") -> ChatMessage:
    return ChatMessage(id=id, role=role, content=content, created_at=at)


def call(id: str, call_id: str = "c", name: str = "f") -> FunctionCall:
    return FunctionCall(id=id, call_id=call_id, name=name, arguments="{}", created_at=0)


def output(id: str, call_id: str = "c", name: str = "f") -> FunctionCallOutput:
    return FunctionCallOutput(id=id, call_id=call_id, name=name, output="x", created_at=0)


def ids(chat_ctx: ChatContext) -> list[str]:
    return [item.id for item in chat_ctx.items]


def recorded(path: str) -> list[Any]:
    return [
        pytest.param(recording["full"], entry, id=f"{name}-{number}")
        for name, recording in CONVERSATIONS.items()
        for number, entry in enumerate(recording[path])
    ]


# Adding.


def test_a_message_is_added_with_the_names_of_livekit_agents() -> None:
    chat_ctx = ChatContext()
    added = chat_ctx.add_message(
        role="assistant",
        content=["Yes", CacheBreakpoint()],
        id="item_1",
        interrupted=True,
        created_at=5,
        metrics={"llm_node_ttft": 0.2},
        extra={"google": {}},
    )

    assert chat_ctx.items == [added]
    assert added == ChatMessage(
        role="assistant",
        content=["Yes", CacheBreakpoint()],
        id="item_1",
        interrupted=True,
        created_at=5.0,
        metrics={"llm_node_ttft": 0.2},
        extra={"google": {}},
    )


def test_what_is_not_given_gets_its_default() -> None:
    added = ChatContext().add_message(role="user", content="hi", id=NOT_GIVEN, extra=NOT_GIVEN)

    assert added.id.startswith("item_")
    assert (added.interrupted, added.extra, added.metrics) == (False, {}, {})


def test_messages_without_a_time_stay_in_the_order_of_their_adding() -> None:
    chat_ctx = ChatContext()
    for number in range(100):
        chat_ctx.add_message(role="user", content=str(number))

    assert [item.text_content for item in chat_ctx.messages()] == [str(n) for n in range(100)]


def test_an_item_goes_behind_everything_that_is_not_younger() -> None:
    chat_ctx = ChatContext([message("a", 1), message("b", 2), message("c", 3)])
    chat_ctx.insert(message("late", 2))
    chat_ctx.insert([message("first", 0), message("last", 9), message("tie", 3)])

    assert ids(chat_ctx) == ["first", "a", "b", "late", "c", "tie", "last"]


@given(st.lists(st.integers(0, 5)))
def test_inserting_one_by_one_sorts_by_time_and_keeps_the_order_of_equals(times: list[int]) -> None:
    items = [message(f"item_{number}", at) for number, at in enumerate(times)]
    chat_ctx = ChatContext()
    for item in items:
        chat_ctx.insert(item)

    assert chat_ctx.items == sorted(items, key=lambda item: item.created_at)


@given(st.lists(st.integers(0, 4)), st.integers(-1, 5))
def test_the_place_that_is_found_is_that_of_an_insertion(times: list[int], at: int) -> None:
    chat_ctx = ChatContext()
    chat_ctx.insert(message(str(number), at=time) for number, time in enumerate(times))

    index = chat_ctx.find_insertion_index(created_at=at)

    chat_ctx.insert(message("new", at=at))
    assert chat_ctx.index_by_id("new") == index


@pytest.mark.parametrize(("at", "error"), [("1", TypeError), (float("nan"), ValueError)])
def test_the_place_of_no_time_is_refused(at: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="created_at="):
        ChatContext().find_insertion_index(created_at=at)


@pytest.mark.parametrize("item", [None, 5, "text", b"text", {"type": "message"}], ids=repr)
def test_what_is_no_item_is_not_inserted(item: Any) -> None:
    chat_ctx = ChatContext()

    with pytest.raises(TypeError, match="is not accepted; it takes items such as ChatMessage"):
        chat_ctx.insert(item)
    assert chat_ctx.items == []


def test_a_refused_item_is_named_by_its_place() -> None:
    with pytest.raises(
        TypeError,
        match=r"items\[1\]={'role': 'user'} .* ChatContext.from_openai.*from_dict.*answer_items",
    ):
        ChatContext([message("a"), {"role": "user"}])  # type: ignore[list-item]


def test_messages_that_are_dicts_are_told_who_reads_them() -> None:
    messages: Any = [{"role": "user", "content": "Hi"}]
    part: Any = {"type": "text", "text": "Hi"}

    with pytest.raises(TypeError, match=r"ChatContext\.from_openai\(\) reads messages"):
        ChatContext(messages)
    with pytest.raises(TypeError, match=r"from_openai\(messages\) reads messages"):
        check_chat_ctx(messages)
    with pytest.raises(TypeError, match=r"content\[0\]=.* ChatContext\.from_openai\(\) reads"):
        ChatContext().add_message(role="user", content=[part])


# Looking.


def test_an_empty_context_has_no_items() -> None:
    assert ChatContext.empty().items == ChatContext().items == []


def test_the_list_given_is_copied_and_the_list_shown_is_the_real_one() -> None:
    given_items: list[ChatItem] = [message("a")]
    chat_ctx = ChatContext(given_items)
    given_items.append(message("b"))
    chat_ctx.items.append(message("c"))

    assert ids(chat_ctx) == ["a", "c"]


def test_the_items_can_be_assigned() -> None:
    chat_ctx = ChatContext([message("a"), message("b")])
    chat_ctx.items = chat_ctx.items[1:]

    assert ids(chat_ctx) == ["b"]
    with pytest.raises(TypeError, match="items=None"):
        chat_ctx.items = None  # type: ignore[assignment]


def test_messages_are_the_items_that_are_messages() -> None:
    chat_ctx = ChatContext([message("a"), call("b"), output("c"), message("d")])

    assert [item.id for item in chat_ctx.messages()] == ["a", "d"]


def test_an_item_is_found_by_its_id() -> None:
    chat_ctx = ChatContext([message("a"), message("b", content="first"), message("b")])

    assert chat_ctx.get_by_id("b") is chat_ctx.items[1]
    assert chat_ctx.index_by_id("b") == 1
    assert chat_ctx.get_by_id("z") is None
    assert chat_ctx.index_by_id("z") is None


def test_its_repr_tells_the_size_and_not_the_text() -> None:
    chat_ctx = ChatContext([message("a", content="private")])

    assert repr(chat_ctx) == "<ChatContext, 1 items>"
    assert repr(chat_ctx.snapshot()) == "<read-only ChatContext, 1 items>"


# Replacing and removing.


def test_a_replacement_takes_the_place_of_the_item() -> None:
    chat_ctx = ChatContext([message("a", 1), message("b", 2), message("c", 3)])
    changed = attrs.evolve(chat_ctx.messages()[1], content="changed", created_at=99)
    chat_ctx.replace("b", changed)
    chat_ctx.replace(chat_ctx.items[2], message("d"))

    assert ids(chat_ctx) == ["a", "b", "d"]
    assert chat_ctx.items[1] is changed


def test_an_item_is_removed_by_id_or_by_itself() -> None:
    chat_ctx = ChatContext([message("a"), message("b"), message("c")])
    chat_ctx.remove("a")
    chat_ctx.remove(message("c"))

    assert ids(chat_ctx) == ["b"]


@pytest.mark.parametrize(
    "act",
    [
        lambda chat_ctx: chat_ctx.remove("nowhere"),
        lambda chat_ctx: chat_ctx.remove(message("nowhere")),
        lambda chat_ctx: chat_ctx.replace("nowhere", message("a")),
    ],
    ids=["remove by id", "remove by item", "replace"],
)
def test_an_id_that_is_not_there_is_named(act: Any) -> None:
    with pytest.raises(ValueError, match="no item with the id 'nowhere'"):
        act(ChatContext([message("a")]))


def test_only_an_item_can_take_a_place() -> None:
    with pytest.raises(TypeError, match=r"items\[0\]='text'"):
        ChatContext([message("a")]).replace("a", "text")  # type: ignore[arg-type]


# Truncating.


@pytest.mark.parametrize(("full", "entry"), recorded("truncate"))
def test_truncating_leaves_what_livekit_agents_leaves(full: Any, entry: Any) -> None:
    chat_ctx = ChatContext.from_dict(full)

    assert chat_ctx.truncate(max_items=entry["max_items"]) is chat_ctx
    assert ids(chat_ctx) == entry["ids"]


@pytest.mark.parametrize(
    ("max_items", "expected"),
    [
        (0, ["rules"]),
        (1, ["rules", "bye"]),
        # A call and its output would be first.
        (2, ["rules", "bye"]),
        (3, ["rules", "bye"]),
        (4, ["rules", "ask", "call", "out", "bye"]),
        (5, ["rules", "hi", "ask", "call", "out", "bye"]),
        (6, ["rules", "hi", "ask", "call", "out", "bye"]),
        (7, ["hello", "rules", "hi", "ask", "call", "out", "bye"]),
    ],
)
def test_truncating_keeps_the_first_instructions_and_starts_with_no_call(
    max_items: int, expected: list[str]
) -> None:
    chat_ctx = ChatContext(
        [
            message("hello"),
            message("rules", role="developer"),
            message("hi"),
            message("ask"),
            call("call"),
            output("out"),
            message("bye"),
        ]
    )

    assert ids(chat_ctx.truncate(max_items=max_items)) == expected


def test_a_call_at_the_head_stays_if_nothing_is_cut() -> None:
    assert ids(ChatContext([call("a"), output("b")]).truncate(max_items=2)) == ["a", "b"]


@pytest.mark.parametrize(
    ("max_items", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)],
)
def test_truncating_wants_a_number_of_items(max_items: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_items="):
        ChatContext().truncate(max_items=max_items)


WORTH = {"rules": 5, "out": 40, "bye": 0}


def worth(item: ChatItem) -> int:
    return WORTH.get(item.id, 10)


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [
        # What is always kept is kept also where it is too much by itself.
        (0, ["rules"]),
        (4, ["rules"]),
        (5, ["rules", "bye"]),
        # A call and its output would be first.
        (55, ["rules", "bye"]),
        (64, ["rules", "bye"]),
        (65, ["rules", "ask", "call", "out", "bye"]),
        (75, ["rules", "hi", "ask", "call", "out", "bye"]),
        (85, ["hello", "rules", "hi", "ask", "call", "out", "bye"]),
    ],
)
def test_truncating_by_tokens_keeps_what_fits_beside_the_instructions(
    max_tokens: int, expected: list[str]
) -> None:
    chat_ctx = ChatContext(
        [
            message("hello"),
            message("rules", role="developer"),
            message("hi"),
            message("ask"),
            call("call"),
            output("out"),
            message("bye"),
        ]
    )

    assert chat_ctx.truncate(max_tokens=max_tokens, count_tokens=worth) is chat_ctx
    assert ids(chat_ctx) == expected


def test_the_stricter_of_two_limits_decides() -> None:
    items = [message(name) for name in "abcd"]

    def left(max_items: int, max_tokens: int) -> list[str]:
        chat_ctx = ChatContext(items)
        limits = {"max_items": max_items, "max_tokens": max_tokens}
        return ids(chat_ctx.truncate(**limits, count_tokens=worth))

    assert left(1, 40) == ["d"]
    assert left(4, 29) == ["c", "d"]


def test_tokens_are_counted_once_for_each_item_and_only_as_far_back_as_they_fit() -> None:
    counted: list[str] = []

    def count(item: ChatItem) -> int:
        counted.append(item.id)
        return 10

    chat_ctx = ChatContext([message("rules", role="system"), *(message(name) for name in "abcd")])
    chat_ctx.truncate(max_tokens=30, count_tokens=count)

    assert ids(chat_ctx) == ["rules", "c", "d"]
    assert counted == ["rules", "d", "c", "b"]


@given(
    kinds=st.lists(st.sampled_from(["user", "system", "call", "output"]), max_size=12),
    max_items=st.integers(0, 12),
)
def test_items_worth_a_token_each_are_truncated_as_by_number(
    kinds: list[str], max_items: int
) -> None:
    made: dict[str, Any] = {"call": call, "output": output}
    items = [
        made[kind](f"{number}") if kind in made else message(f"{number}", role=kind)
        for number, kind in enumerate(kinds)
    ]
    # Instructions do not count as items, but as tokens.
    instructions = next((item.id for item in items if getattr(item, "role", "") == "system"), "")
    by_number = ChatContext(items).truncate(max_items=max_items)

    by_tokens = ChatContext(items).truncate(
        max_tokens=max_items, count_tokens=lambda item: int(item.id != instructions)
    )

    # Those that stand among the last items are one of their number.
    among_the_last = instructions in {item.id for item in items[len(items) - max_items :]}
    if not (max_items and among_the_last):
        assert ids(by_tokens) == ids(by_number)
    assert set(ids(by_number)) <= set(ids(by_tokens))


@pytest.mark.parametrize(
    ("limits", "error", "said"),
    [
        ({}, TypeError, r"truncate\(\) needs max_items, or max_tokens with count_tokens"),
        ({"max_tokens": 1}, TypeError, "max_tokens and count_tokens need each other"),
        ({"max_items": 1, "count_tokens": worth}, TypeError, "need each other"),
        ({"max_tokens": -1, "count_tokens": worth}, ValueError, "max_tokens=-1"),
        ({"max_tokens": 1, "count_tokens": 4}, TypeError, "count_tokens must be callable"),
        ({"max_tokens": 1, "count_tokens": lambda _: 0.5}, TypeError, "what count_tokens returns"),
        ({"max_tokens": 1, "count_tokens": lambda _: -1}, ValueError, "what count_tokens returns"),
    ],
)
def test_limits_that_make_no_sense_change_nothing(
    limits: dict[str, Any], error: type[Exception], said: str
) -> None:
    chat_ctx = ChatContext([message("a"), message("b")])

    with pytest.raises(error, match=said):
        chat_ctx.truncate(**limits)

    assert ids(chat_ctx) == ["a", "b"]


# Merging.


def test_merging_adds_the_items_that_are_not_there_by_their_time() -> None:
    chat_ctx = ChatContext([message("a", 1), message("b", 3, content="mine")])
    other = ChatContext([message("rules", 0, "system"), message("x", 2), message("b", 3)])

    assert chat_ctx.merge(other) is chat_ctx
    assert ids(chat_ctx) == ["rules", "a", "x", "b"]
    assert chat_ctx.messages()[3].text_content == "mine"
    assert ids(other) == ["rules", "x", "b"]


def test_merging_adds_no_id_twice() -> None:
    assert ids(ChatContext().merge(ChatContext([message("a"), message("a")]))) == ["a"]


@pytest.mark.parametrize(
    ("flag", "left_out"),
    [
        ("exclude_function_call", {"call", "out"}),
        ("exclude_instructions", {"rules"}),
        ("exclude_config_update", {"config"}),
    ],
)
def test_merging_can_leave_out_kinds_of_items(flag: str, left_out: set[str]) -> None:
    other = ChatContext(
        [
            message("rules", role="system"),
            call("call"),
            output("out"),
            AgentConfigUpdate(id="config"),
            AgentHandoff(id="handoff", new_agent_id="b"),
        ]
    )
    merged = ChatContext().merge(other, **{flag: True})

    assert set(ids(other)) - set(ids(merged)) == left_out


# Comparing.


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"role": "assistant"},
        {"content": "other"},
        {"interrupted": True},
        {"call_id": "other"},
        {"name": "other"},
        {"arguments": '{"a": 1}'},
        {"output": "other"},
        {"is_error": True},
    ],
    ids=str,
)
def test_what_a_model_would_read_makes_a_difference(change: dict[str, Any]) -> None:
    (name,) = change
    items = [item for item in (message("a"), call("a"), output("a")) if hasattr(item, name)]

    assert items
    for item in items:
        changed = ChatContext([attrs.evolve(item, **change)])
        assert not ChatContext([item]).is_equivalent(changed)
        assert ChatContext([item]).is_equivalent(ChatContext([attrs.evolve(item)]))


@pytest.mark.parametrize(
    ("item", "change"),
    [
        (message("a"), {"created_at": 9, "extra": {"a": 1}, "transcript_confidence": 0.1}),
        (call("a"), {"created_at": 9, "extra": {"a": 1}, "group_id": "g"}),
        (output("a"), {"created_at": 9, "reply_required": False}),
        (AgentHandoff(id="a", new_agent_id="b"), {"new_agent_id": "c"}),
        (AgentConfigUpdate(id="a"), {"instructions": "new"}),
    ],
)
def test_what_a_model_does_not_read_makes_none(item: Any, change: dict[str, Any]) -> None:
    changed = ChatContext([attrs.evolve(item, **change)])

    assert ChatContext([item]).is_equivalent(changed)


def test_type_and_number_of_items_make_a_difference() -> None:
    unknown = UnknownItem(type="memory", id="a")

    assert not ChatContext([call("a")]).is_equivalent(ChatContext([output("a")]))
    assert not ChatContext([call("a")]).is_equivalent(ChatContext([call("a"), output("b")]))
    assert not ChatContext([unknown]).is_equivalent(
        ChatContext([attrs.evolve(unknown, type="plan")])
    )


# Copying.


@pytest.mark.parametrize(("full", "entry"), recorded("copy"))
def test_a_partial_copy_has_what_that_of_livekit_agents_has(full: Any, entry: Any) -> None:
    chat_ctx = ChatContext.from_dict(full)

    assert ids(chat_ctx.copy(**entry["flags"])) == entry["ids"]


@pytest.mark.parametrize(("full", "entry"), recorded("tools"))
def test_a_copy_for_some_tools_has_what_that_of_livekit_agents_has(full: Any, entry: Any) -> None:
    chat_ctx = ChatContext.from_dict(full)

    assert ids(chat_ctx.copy(tools=entry["names"])) == entry["ids"]


def test_a_copy_is_a_context_of_its_own_with_the_same_items() -> None:
    chat_ctx = ChatContext([message("a")])
    copied = chat_ctx.copy()
    copied.add_message(role="user", content="only there")

    assert copied.items[0] is chat_ctx.items[0]
    assert ids(chat_ctx) == ["a"]


class Tool:
    def __init__(self, name: str) -> None:
        self.name = name


class Group:
    name = "group"

    def __init__(self, *tools: Any) -> None:
        self.tools = tools


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        (["f"], ["1", "2", "5", "msg"]),
        ([Tool("g")], ["3", "4", "msg"]),
        ([Group(Tool("g"), Group("f"))], ["1", "2", "3", "4", "5", "msg"]),
        ([], ["msg"]),
        (None, ["msg"]),
        (NOT_GIVEN, ["1", "2", "3", "4", "5", "6", "msg"]),
    ],
)
def test_calls_are_kept_by_the_names_of_tools(tools: Any, expected: list[str]) -> None:
    chat_ctx = ChatContext(
        [
            call("1", "c1", "f"),
            output("2", "c1", "f"),
            call("3", "c2", "g"),
            output("4", "c2", "g"),
            # Without a name an output belongs to its call.
            output("5", "c1", ""),
            output("6", "c3", ""),
            message("msg"),
        ]
    )

    assert ids(chat_ctx.copy(tools=tools)) == expected


def test_a_tool_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match="tools: 5 is not accepted; it takes function tools"):
        ChatContext().copy(tools=[5])  # type: ignore[list-item]


# Read-only.

CHANGES = {
    "add_message": lambda chat_ctx: chat_ctx.add_message(role="user", content="x"),
    "insert": lambda chat_ctx: chat_ctx.insert(message("x")),
    "insert nothing": lambda chat_ctx: chat_ctx.insert([]),
    "replace": lambda chat_ctx: chat_ctx.replace("a", message("x")),
    "remove": lambda chat_ctx: chat_ctx.remove("a"),
    "truncate": lambda chat_ctx: chat_ctx.truncate(max_items=9),
    "merge": lambda chat_ctx: chat_ctx.merge(ChatContext()),
    "assign items": lambda chat_ctx: setattr(chat_ctx, "items", []),
    "items.append": lambda chat_ctx: chat_ctx.items.append(message("x")),
    "items.extend": lambda chat_ctx: chat_ctx.items.extend([message("x")]),
    "items.insert": lambda chat_ctx: chat_ctx.items.insert(0, message("x")),
    "items.pop": lambda chat_ctx: chat_ctx.items.pop(),
    "items.remove": lambda chat_ctx: chat_ctx.items.remove(chat_ctx.items[0]),
    "items.clear": lambda chat_ctx: chat_ctx.items.clear(),
    "items.sort": lambda chat_ctx: chat_ctx.items.sort(),
    "items.reverse": lambda chat_ctx: chat_ctx.items.reverse(),
    "items[0] =": lambda chat_ctx: chat_ctx.items.__setitem__(0, message("x")),
    "items[:] =": lambda chat_ctx: chat_ctx.items.__setitem__(slice(None), []),
    "del items[0]": lambda chat_ctx: chat_ctx.items.__delitem__(0),
    "items +=": lambda chat_ctx: chat_ctx.items.__iadd__([message("x")]),
    "items *=": lambda chat_ctx: chat_ctx.items.__imul__(2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_snapshot_refuses_every_change_and_says_what_to_do(change: str) -> None:
    snapshot = ChatContext([message("a")]).snapshot()

    with pytest.raises(RuntimeError, match=r"read-only; take a copy with chat_ctx.copy\(\)"):
        CHANGES[change](snapshot)
    assert ids(snapshot) == ["a"]


def test_every_way_to_change_a_list_is_tried() -> None:
    unable = set(dir(tuple)) | {"__reversed__", "__class_getitem__"}
    ways = {name for name in dir(list) if name not in unable and name != "copy"}
    tried = {
        "__delitem__", "__iadd__", "__imul__", "__setitem__",
        *(name.removeprefix("items.") for name in CHANGES if name.startswith("items.")),
    }  # fmt: skip

    assert ways == tried


def test_a_snapshot_stays_as_the_conversation_was() -> None:
    chat_ctx = ChatContext([message("a")])
    snapshot = chat_ctx.snapshot()
    chat_ctx.add_message(role="user", content="later")

    assert (chat_ctx.readonly, snapshot.readonly) == (False, True)
    assert ids(snapshot) == ["a"]
    assert snapshot.to_dict() == ChatContext([message("a")]).to_dict()


@pytest.mark.parametrize(
    "duplicate",
    [
        ChatContext.copy,
        copy.deepcopy,
        lambda snapshot: pickle.loads(pickle.dumps(snapshot)),
    ],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_a_snapshot_may_be_changed(duplicate: Any) -> None:
    snapshot = ChatContext([message("a")]).snapshot()
    copied = duplicate(snapshot)
    copied.insert(message("b"))

    assert ids(copied) == ["a", "b"]
    assert ids(snapshot) == ["a"]


# Provider format.


def test_the_messages_of_a_request_can_be_looked_at() -> None:
    chat_ctx = ChatContext(
        [message("a", role="system", content=["Rules.", CacheBreakpoint()]), message("b")]
    )

    assert chat_ctx.to_provider_format("openai") == (
        [{"role": "system", "content": "Rules."}, {"role": "user", "content": "text"}],
        None,
    )
    marked, _ = chat_ctx.to_provider_format(prompt_cache_breakpoints=True)
    assert marked[0]["content"] == [
        {"type": "text", "text": "Rules.", "prompt_cache_breakpoint": {"mode": "explicit"}}
    ]


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format='anthropic' is not accepted; it takes 'openai'"):
        ChatContext().to_provider_format("anthropic")  # type: ignore[arg-type]
