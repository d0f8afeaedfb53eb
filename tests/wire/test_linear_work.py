"""Twice the input takes about twice the work: the paths that no other test of a module counts.

What stands elsewhere: events and whole bodies in `test_sse` and `test_answer`, thinking tags in
`test_thinking`, fragments of one call in `test_tool_calls`, brackets in `test_json_text`, the
values of an answer that still arrives in `test_response_format`, long headers in `test_wire`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from lktrio import ChatContext, ChatMessage, FunctionCall, FunctionCallOutput
from lktrio._answers.chunks import ChatChunk
from lktrio._answers.redaction import redact_error
from lktrio._conversation.items import ChatItem
from lktrio._json.arguments import parse_arguments
from lktrio._json.mismatch import Mismatch
from lktrio._json.partial import PartialJSON
from lktrio._wire.assembler import Assembler
from lktrio._wire.decoding import decode_event
from lktrio._wire.headers import HeaderFacts, read_headers
from lktrio._wire.payloads import (
    CallPayload,
    ChoicePayload,
    ChunkPayload,
    DeltaPayload,
    FunctionPayload,
)
from lktrio._wire.server_errors import status_error
from lktrio._wire.tool_calls import MAX_TOOL_CALLS, ToolCallAssembler
from tests.support.linear_work import assert_linear, calls_made

Action = Callable[[], object]

# --- Conversations -------------------------------------------------------------------------------


def message(number: int) -> ChatMessage:
    return ChatMessage(role="user", content=["hi"], id=f"m{number}", created_at=float(number))


def call(number: int) -> FunctionCall:
    return FunctionCall(
        name="f", call_id=f"c{number}", arguments="{}", id=f"f{number}", created_at=float(number)
    )


def output(number: int) -> FunctionCallOutput:
    return FunctionCallOutput(
        name="f", call_id=f"c{number}", output="1", is_error=False, id=f"o{number}", created_at=9e9
    )


def talk(size: int) -> list[ChatItem]:
    """Messages, and calls whose outputs come in the opposite order."""
    third = range(size // 3)
    return [*map(message, third), *map(call, third), *map(output, reversed(third))]


def added_at_the_end(items: Iterable[ChatItem]) -> ChatContext:
    chat_ctx = ChatContext()
    for item in items:
        chat_ctx.insert(item)
    return chat_ctx


@pytest.mark.parametrize(
    "act",
    [
        lambda chat_ctx: added_at_the_end(chat_ctx.items),
        lambda chat_ctx: ChatContext(chat_ctx.items).insert(reversed(chat_ctx.items)),
        lambda chat_ctx: chat_ctx.copy(exclude_function_call=True, tools=["f"]),
        lambda chat_ctx: chat_ctx.to_dict(exclude_timestamp=False),
        lambda chat_ctx: ChatContext.from_dict(chat_ctx.to_dict(exclude_timestamp=False)),
        lambda chat_ctx: chat_ctx.to_provider_format(),
        lambda chat_ctx: chat_ctx.copy().truncate(max_items=len(chat_ctx.items) // 2),
        lambda chat_ctx: ChatContext(talk(30)).merge(chat_ctx),
        lambda chat_ctx: chat_ctx.is_equivalent(chat_ctx.copy()),
        lambda chat_ctx: chat_ctx.snapshot(),
    ],
    ids=[
        *("insert one by one", "insert many", "copy", "to_dict", "from_dict", "messages"),
        *("truncate", "merge", "compare", "snapshot"),
    ],
)
def test_a_conversation_is_handled_in_linear_work(act: Callable[[ChatContext], object]) -> None:
    def work(size: int) -> int:
        chat_ctx = ChatContext(talk(size))
        return calls_made(lambda: act(chat_ctx))

    # A search by time takes one step more for twice the items.
    assert work(2_400) <= 2.2 * work(1_200) + 100


def test_messages_are_added_in_linear_work() -> None:
    def make(size: int) -> Action:
        chat_ctx = ChatContext()
        return lambda: [chat_ctx.add_message(role="user", content="hi") for _ in range(size)]

    assert_linear(make, 1_000)


# --- Calls ---------------------------------------------------------------------------------------


def entry(number: int, arguments: str) -> CallPayload:
    return CallPayload(number, f"call-{number}", FunctionPayload("f", arguments))


def test_many_calls_in_turn_take_linear_work() -> None:
    def make(size: int) -> Action:
        calls = ToolCallAssembler()

        def act() -> None:
            for fragment in ("", '{"a":', "1}"):
                for number in range(size):
                    calls.add(entry(number, fragment))
            assert len(calls.result(cut=False)[0]) == size

        return act

    assert_linear(make, MAX_TOOL_CALLS // 2)


def test_many_calls_with_one_id_are_told_apart_in_linear_work() -> None:
    def make(size: int) -> Action:
        calls = ToolCallAssembler()

        def act() -> None:
            for number in range(size):
                calls.add(CallPayload(number, "same", FunctionPayload("f", "{}")))
            assert len({each.call_id for each in calls.result(cut=False)[0]}) == size

        return act

    assert_linear(make, MAX_TOOL_CALLS // 2)


@pytest.mark.parametrize("first", ['{"a":1}', '{"a":'], ids=["handed out", "kept back"])
def test_many_calls_handed_out_early_take_linear_work(first: str) -> None:
    def make(size: int) -> Action:
        assembler = Assembler(early_calls=True)
        out: list[ChatChunk] = []

        def act() -> None:
            for number in range(size):
                delta = DeltaPayload(tool_calls=[entry(number, '{"a":1}' if number else first)])
                assembler.feed(ChunkPayload("c", [ChoicePayload(0, delta)]), out)

        return act

    assert_linear(make, MAX_TOOL_CALLS // 2)


# --- Text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        ("[", "[],"),
        ("", "["),
        ('{"a":', '{"a":'),
        ('["', "x"),
        ('["', "\\"),
        ("[", "1"),
        ("x", "y"),
    ],
)
def test_json_in_pieces_is_read_in_linear_work(first: str, piece: str) -> None:
    def make(size: int) -> Action:
        reader = PartialJSON()
        reader.feed(first)

        def act() -> None:
            for _ in range(size):
                reader.feed(piece)

        return act

    assert_linear(make, 1_000)


@pytest.mark.parametrize("piece", ["(", "'\"", '{"a":', ",", "x", "a b "])
@pytest.mark.parametrize("form", ["{'a': [%s]}", '{"a": %s "b"}'])
def test_malformed_arguments_are_repaired_in_bounded_work(form: str, piece: str) -> None:
    # About as much as is repaired if it is dense in marks, and more.
    for size in (1_300, 4_000):
        text = form % (piece * (size // len(piece)))

        def act(text: str = text) -> None:
            with contextlib.suppress(Mismatch):
                parse_arguments(text)

        assert calls_made(act, by_anybody=True) <= 1_500_000


def test_errors_are_read_in_linear_work() -> None:
    def make(size: int) -> Action:
        members = b'{"x":{"error":[{"y":"secret"}]}},' * size

        def act() -> None:
            error = status_error(500, b'{"error":[' + members + b"1]}", HeaderFacts())
            redact_error(error, ["secret"])

        return act

    assert_linear(make, 100)


def test_many_choices_are_read_in_linear_work() -> None:
    def make(size: int) -> Action:
        data: bytes = b'{"created":NaN,"choices":[' + b'{"index":1,"delta":[]},' * size + b"{}]}"
        return lambda: decode_event(data)

    assert_linear(make, 500)


def test_many_headers_are_read_in_linear_work() -> None:
    def make(size: int) -> Action:
        headers: dict[str, Any] = {f"x-ratelimit-reset-{number}": "1m2s" for number in range(size)}
        return lambda: read_headers(headers, 0.0)

    assert_linear(make, 500)
