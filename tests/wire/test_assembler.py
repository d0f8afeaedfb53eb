"""How payloads add up to an answer: order, output, usage, reasons, limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._answers.chunks import (
    ChatChunk,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
)
from lktrio._answers.errors import APIConnectionError
from lktrio._settings.models import DEFAULT_MODEL_TABLE
from lktrio._wire import assembler as _assembler
from lktrio._wire.assembler import MAX_ANSWER_CHARACTERS, Assembler
from lktrio._wire.attached import VALUE_WEIGHT
from lktrio._wire.payloads import (
    CallPayload,
    ChoicePayload,
    ChunkPayload,
    DeltaPayload,
    FunctionPayload,
    GroqPayload,
    TaintedChunkPayload,
    UsagePayload,
)
from lktrio._wire.tool_calls import MAX_TOOL_CALLS

PARIS = '{"city":"Paris"}'
USAGE = UsagePayload(9, 3, 12)


def delta(
    content: str | None = None,
    finish_reason: str | None = None,
    *,
    tainted: bool = False,
    **members: Any,
) -> ChunkPayload:
    """A chunk with one choice."""
    kind = TaintedChunkPayload if tainted else ChunkPayload
    choice = ChoicePayload(
        index=0, delta=DeltaPayload(content=content, **members), finish_reason=finish_reason
    )
    return kind(id="c1", choices=[choice])


def message(content: str | None = None, **members: Any) -> ChunkPayload:
    """A chunk with a message in place of a delta."""
    return ChunkPayload(
        id="c1", choices=[ChoicePayload(message=DeltaPayload(content=content, **members))]
    )


def call(
    arguments: str | None = PARIS, name: str | None = "get_weather", index: int = 0
) -> CallPayload:
    return CallPayload(index, f"call-{index}", FunctionPayload(name, arguments))


@attrs.frozen
class Played:
    chunks: list[ChatChunk]
    answer: CollectedResponse[None]
    assembler: Assembler


def play(*payloads: ChunkPayload, **settings: Any) -> Played:
    assembler = Assembler(**settings)
    out: list[ChatChunk] = []
    for payload in payloads:
        assembler.feed(payload, out)
    return Played(out, assembler.finish(out), assembler)


def deltas(chunks: Sequence[ChatChunk]) -> list[ChoiceDelta]:
    return [chunk.delta for chunk in chunks if chunk.delta is not None]


# --- Order ---------------------------------------------------------------------------------------


def test_a_complete_stream_yields_text_then_calls_then_reason_then_usage() -> None:
    played = play(
        ChunkPayload("c1", usage=USAGE),
        delta("Let me "),
        delta("look.", tool_calls=[call()]),
        delta(finish_reason="tool_calls"),
        delta(" ok"),
    )
    weather = FunctionToolCall("get_weather", PARIS, "call-0")
    usage = CompletionUsage(3, 9, total_tokens=12)
    assert played.chunks == [
        ChatChunk("c1", ChoiceDelta(content="Let me ")),
        ChatChunk("c1", ChoiceDelta(content="look.")),
        ChatChunk("c1", ChoiceDelta(content=" ok")),
        ChatChunk("c1", ChoiceDelta(tool_calls=[weather])),
        ChatChunk("c1", finish_reason="tool_calls"),
        ChatChunk("c1", usage=usage),
    ]
    assert played.answer == CollectedResponse(
        text="Let me look. ok",
        tool_calls=[weather],
        usage=usage,
        finish_reason="tool_calls",
    )


def test_what_has_nothing_to_say_is_left_out() -> None:
    played = play(ChunkPayload(), ChunkPayload(choices=[]), delta(), delta(""))
    assert played.chunks == []
    assert played.answer == CollectedResponse()
    assert played.answer.empty


def test_the_calls_in_chunk_and_answer_are_separate_lists() -> None:
    played = play(delta(tool_calls=[call()]))
    calls = deltas(played.chunks)[0].tool_calls
    calls.clear()
    assert len(played.answer.tool_calls) == 1


def test_the_id_is_the_last_one_the_server_sent() -> None:
    played = play(
        ChunkPayload(choices=[ChoicePayload(delta=DeltaPayload(content="a"))]),
        ChunkPayload(id="c2", choices=[ChoicePayload(delta=DeltaPayload(content="b"))]),
        ChunkPayload(id="", choices=[ChoicePayload(delta=DeltaPayload(content="c"))]),
    )
    assert [chunk.id for chunk in played.chunks] == ["", "c2", "c2"]


# --- Choices -------------------------------------------------------------------------------------


def test_the_stream_is_choice_0() -> None:
    other = ChoicePayload(
        index=1,
        delta=DeltaPayload(content="B", tool_calls=[call()], extra_content={"x": 1}),
        finish_reason="length",
        usage=UsagePayload(1, 1, 2),
    )
    mine = ChoicePayload(index=0, delta=DeltaPayload(content="A"), finish_reason="stop")
    played = play(ChunkPayload("c1", [other, mine]), ChunkPayload("c1", [other]))
    assert played.answer == CollectedResponse(text="A", finish_reason="stop")


def test_a_choice_without_an_index_is_choice_0() -> None:
    played = play(ChunkPayload("c1", [ChoicePayload(delta=DeltaPayload(content="A"))]))
    assert played.answer.text == "A"


def test_delta_and_message_may_be_missing() -> None:
    played = play(ChunkPayload("c1", [ChoicePayload(index=0, finish_reason="stop")]))
    assert played.answer == CollectedResponse(finish_reason="stop")


# --- Message in place of delta -------------------------------------------------------------------


def test_a_message_may_stand_for_a_delta() -> None:
    played = play(message("ha", reasoning_content="x"), message("ha", reasoning_content="x"))
    assert (played.answer.text, played.answer.reasoning) == ("haha", "xx")


def test_a_delta_wins_over_a_message_beside_it() -> None:
    choice = ChoicePayload(
        delta=DeltaPayload(content="Hi"), message=DeltaPayload(content="Hi there")
    )
    assert play(ChunkPayload("c1", [choice])).answer.text == "Hi"


def test_a_message_beside_a_blank_delta_counts() -> None:
    blank = DeltaPayload(content="", tool_calls=[], reasoning_details=[])
    choice = ChoicePayload(delta=blank, message=DeltaPayload(content="Hi"))
    assert play(ChunkPayload("c1", [choice])).answer.text == "Hi"
    assert play(delta("Hi"), ChunkPayload("c1", [choice])).answer.text == "Hi"


def test_a_whole_message_at_the_end_of_the_deltas_is_not_delivered_twice() -> None:
    played = play(
        delta("<think>hm</think>Hi", reasoning_content="so"),
        delta(" there ", refusal="no"),
        delta(tool_calls=[call()]),
        message(
            "<think>hm</think>Hi there",
            reasoning_content="sohm",
            reasoning_details=[{"text": "sohm"}],
            refusal="no",
            tool_calls=[call()],
            function_call=FunctionPayload("get_weather", PARIS),
            extra_content={"x": 1},
        ),
    )
    assert played.answer == CollectedResponse(
        text="Hi there ",
        reasoning="sohm",
        refusal="no",
        tool_calls=[FunctionToolCall("get_weather", PARIS, "call-0")],
        finish_reason="tool_calls",
        extra={"x": 1},
        reasoning_details=[{"text": "sohm"}],
    )


def test_what_is_new_in_a_message_after_deltas_is_delivered() -> None:
    played = play(
        delta(reasoning="hm"),
        message("Hi", reasoning="so", refusal="no", tool_calls=[call()]),
        message("Hi"),
    )
    assert played.answer.text == "HiHi"
    assert played.answer.reasoning == "hmso"
    assert played.answer.refusal == "no"
    assert len(played.answer.tool_calls) == 1
    played = play(delta("Hi"), message(None, reasoning_details=[{"text": "hm"}]))
    assert (played.answer.text, played.answer.reasoning) == ("Hi", "hm")
    played = play(delta("Hi"), message(" there <th"), delta("ree>"))
    assert played.answer.text == "Hi there <three>"


def test_a_held_back_beginning_of_a_tag_counts_in_the_comparison() -> None:
    assert play(delta("a <"), delta("b"), message("a <b")).answer.text == "a <b"
    assert play(delta("a <b <th"), message("c")).answer.text == "a <b <thc"


# --- Text, reasoning, thinking -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        ({"reasoning_content": "a"}, "a"),
        ({"reasoning": "a"}, "a"),
        ({"reasoning_details": [{"text": "a"}]}, "a"),
        ({"reasoning_content": "a", "reasoning": "b", "reasoning_details": [{"text": "c"}]}, "a"),
        ({"reasoning": "b", "reasoning_details": [{"text": "c"}]}, "b"),
        ({"reasoning_content": "", "reasoning": "b"}, "b"),
        ({"reasoning_content": "", "reasoning": "", "reasoning_details": [{"text": "c"}]}, "c"),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, ""),
        ({"reasoning_details": []}, ""),
        ({"reasoning_content": None}, ""),
    ],
)
def test_one_kind_of_reasoning_counts_in_each_delta(
    members: dict[str, Any], reasoning: str
) -> None:
    played = play(delta(**members))
    assert played.answer.reasoning == reasoning
    assert played.assembler.has_reasoning is bool(reasoning)
    assert not played.assembler.has_output


def test_text_between_thinking_tags_is_reasoning() -> None:
    played = play(
        delta("<th"), delta("ink>sec", reasoning="so "), delta("ret</thi"), delta("nk>Hi")
    )
    assert played.answer.text == "Hi"
    assert played.answer.reasoning == "so secret"
    assert [(one.content, one.reasoning) for one in deltas(played.chunks)] == [
        (None, "so sec"),
        (None, "ret"),
        ("Hi", None),
    ]


def test_a_model_familys_own_tags_are_used() -> None:
    tags = DEFAULT_MODEL_TABLE.facts("google/gemma-4-31b-it").thinking_tags
    played = play(delta("<|channel>thoughthm<channel|>Hi"), tags=tags)
    assert (played.answer.text, played.answer.reasoning) == ("Hi", "hm")


def test_an_answer_may_begin_inside_thinking() -> None:
    payloads = [delta("hm</think>Hi"), message("hm</think>Hi")]
    played = play(*payloads, starts_in_thinking=True)
    assert (played.answer.text, played.answer.reasoning) == ("Hi", "hm")


def test_what_looked_like_the_start_of_a_tag_is_text_at_the_end() -> None:
    played = play(delta("a <"), delta("t", "stop"))
    assert [one.content for one in deltas(played.chunks)] == ["a ", "<t"]
    played = play(delta("<think>a </thin"))
    assert (played.answer.text, played.answer.reasoning) == ("", "a </thin")


def test_refusals_are_no_text() -> None:
    played = play(delta(refusal="I can"), delta(refusal="not."))
    assert (played.answer.text, played.answer.refusal) == ("", "I cannot.")
    assert played.assembler.has_output


def test_a_character_cut_in_two_is_joined_in_each_channel() -> None:
    played = play(
        delta("a\ud83d", reasoning="b\ud83d", refusal="c\ud83d", tainted=True),
        delta(),
        delta("\ude00", reasoning="\ude00", refusal="\ude00", tainted=True),
    )
    answer = played.answer
    assert (answer.text, answer.reasoning, answer.refusal) == ("a😀", "b😀", "c😀")


def test_half_a_character_that_stays_alone_is_replaced() -> None:
    played = play(
        delta("a\ud83d", reasoning="b\udcaf", refusal="\ud83d", tainted=True), delta("c<th")
    )
    answer = played.answer
    assert (answer.text, answer.reasoning, answer.refusal) == ("a\ufffdc<th", "b\ufffd", "\ufffd")
    played = play(delta("<think>a\ud83d", tainted=True))
    assert (played.answer.text, played.answer.reasoning) == ("", "a\ufffd")


def test_an_argument_cut_in_the_middle_of_a_character_is_joined() -> None:
    played = play(
        delta(tool_calls=[call('{"a":"\ud83d')], tainted=True),
        delta(tool_calls=[call('\ude00"}', None)], tainted=True),
    )
    assert [one.arguments for one in played.answer.tool_calls] == ['{"a":"😀"}']


# --- What is attached ----------------------------------------------------------------------------


def test_what_is_attached_is_forwarded_and_merged_and_is_no_output() -> None:
    assembler = Assembler()
    out: list[ChatChunk] = []
    assembler.feed(delta(extra_content={"livekit": {"a": 1}}), out)
    assert out == [ChatChunk("c1", ChoiceDelta(extra={"livekit": {"a": 1}}))]
    assert not assembler.has_output
    assert not out[0].has_response()
    assembler.feed(delta("Hi", extra_content={"livekit": {"b": 2}, "google": {"s": "x"}}), out)
    assembler.feed(delta(extra_content={}), out)
    assert len(out) == 2
    merged = {"livekit": {"a": 1, "b": 2}, "google": {"s": "x"}}
    assert assembler.snapshot().extra == assembler.finish(out).extra == merged
    assert out[0].delta
    assert out[0].delta.extra == {"livekit": {"a": 1}}


def test_a_snapshot_is_not_changed_by_what_comes_later() -> None:
    assembler = Assembler()
    assembler.feed(delta(extra_content={"a": {"b": 1}}), [])
    before = assembler.snapshot()
    assembler.feed(delta(extra_content={"a": {"b": 2}}), [])
    assert before.extra == {"a": {"b": 1}}


# --- Output --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        delta("x"),
        delta(refusal="x"),
        delta(tool_calls=[CallPayload(0, "a")]),
        delta(function_call=FunctionPayload("f")),
        delta(function_call=FunctionPayload(None, "{")),
    ],
    ids=["text", "refusal", "call", "legacy name", "legacy arguments"],
)
def test_text_refusals_and_fragments_of_calls_are_output(payload: ChunkPayload) -> None:
    assert play(payload).assembler.has_output


@pytest.mark.parametrize(
    "payload",
    [
        delta(),
        delta(""),
        delta("<thi"),
        delta(reasoning="x"),
        delta("<think>x"),
        delta(tool_calls=[]),
        delta(function_call=FunctionPayload()),
        delta(function_call=FunctionPayload("", "")),
        delta(extra_content={"x": 1}),
        delta(finish_reason="stop"),
        ChunkPayload("c1", usage=USAGE, service_tier="flex"),
    ],
    ids=[
        *("delta", "empty text", "held back", "reasoning", "thinking", "no calls", "no function"),
        *("empty function", "extra", "reason", "usage"),
    ],
)
def test_nothing_else_is_output(payload: ChunkPayload) -> None:
    assembler = Assembler()
    assembler.feed(payload, [])
    assert not assembler.has_output


# --- Usage ---------------------------------------------------------------------------------------


def usage_of(*payloads: ChunkPayload) -> tuple[int, int, int] | None:
    played = play(*payloads)
    usage = played.answer.usage
    assert usage == played.assembler.usage
    assert [chunk.usage for chunk in played.chunks if chunk.usage] == ([usage] if usage else [])
    return (
        None
        if usage is None
        else (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    )


def test_usage_is_a_running_total_of_which_the_last_one_wins() -> None:
    chunks = [ChunkPayload("c1", usage=UsagePayload(9, count, 9 + count)) for count in (1, 2, 3)]
    assert usage_of(*chunks) == (9, 3, 12)
    assert usage_of(ChunkPayload("c1", usage=USAGE), delta("text after it")) == (9, 3, 12)


@pytest.mark.parametrize(
    "empty",
    [UsagePayload(), UsagePayload(cached_tokens=0), None],
    ids=["no counts", "part", "null"],
)
def test_usage_without_counts_does_not_hide_what_came_before(empty: UsagePayload | None) -> None:
    assert usage_of(ChunkPayload("c1", usage=USAGE), ChunkPayload("c1", usage=empty)) == (9, 3, 12)
    assert usage_of(ChunkPayload("c1", usage=empty)) is None


@pytest.mark.parametrize(
    "usage",
    [
        UsagePayload(prompt_tokens=5),
        UsagePayload(completion_tokens=5),
        UsagePayload(total_tokens=5),
    ],
)
def test_one_count_is_enough(usage: UsagePayload) -> None:
    counts = usage_of(ChunkPayload("c1", usage=usage))
    assert counts
    assert counts[2] == 5


def test_usage_inside_the_choice_counts_where_there_is_none_beside_it() -> None:
    inside = [ChoicePayload(index=0, usage=USAGE)]
    assert usage_of(ChunkPayload("c1", inside)) == (9, 3, 12)
    assert usage_of(ChunkPayload("c1", inside, UsagePayload())) == (9, 3, 12)
    assert usage_of(ChunkPayload("c1", inside, UsagePayload(1, 1, 2))) == (1, 1, 2)
    assert usage_of(ChunkPayload("c1", [ChoicePayload(index=1, usage=USAGE)])) is None


def test_usage_among_what_groq_adds_counts_where_there_is_none_beside_it() -> None:
    added = GroqPayload(USAGE)
    assert usage_of(ChunkPayload("c1", x_groq=added)) == (9, 3, 12)
    assert usage_of(ChunkPayload("c1", usage=UsagePayload(), x_groq=added)) == (9, 3, 12)
    assert usage_of(ChunkPayload("c1", usage=UsagePayload(1, 1, 2), x_groq=added)) == (1, 1, 2)
    assert usage_of(ChunkPayload("c1", usage=USAGE), ChunkPayload("c1", x_groq=GroqPayload())) == (
        9,
        3,
        12,
    )


def test_usage_ends_nothing() -> None:
    assembler = Assembler()
    assembler.feed(ChunkPayload("c1", usage=USAGE), [])
    assert assembler.finish_reason is None


def test_the_service_tier_is_part_of_the_usage() -> None:
    played = play(
        ChunkPayload("c1", service_tier="flex"),
        ChunkPayload("c1", service_tier="priority"),
        ChunkPayload("c1", service_tier="", usage=USAGE),
    )
    assert played.answer.usage
    assert played.answer.usage.service_tier == "priority"


# --- Finish reasons ------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, "", "null", "None"], ids=repr)
def test_an_empty_or_spelled_out_null_is_no_reason(nothing: str | None) -> None:
    assembler = Assembler()
    assembler.feed(delta("Hi", nothing), [])
    assert assembler.finish_reason is None
    assembler.feed(delta(None, "stop"), [])
    assembler.feed(delta(None, nothing), [])
    assert assembler.finish_reason == "stop"


@pytest.mark.parametrize(
    ("reasons", "finish"),
    [
        (["stop", "tool_calls"], "stop"),
        (["stop", "length"], "length"),
        (["length", "stop"], "length"),
        (["length", "content_filter"], "length"),
        (["tool_calls", "content_filter", "stop"], "content_filter"),
        (["insufficient_system_resource"], "insufficient_system_resource"),
        (["STOP"], "STOP"),
        (["error"], None),
        (["error", "stop"], "stop"),
    ],
)
def test_of_several_reasons_the_first_that_says_more_than_the_end_counts(
    reasons: list[str], finish: str | None
) -> None:
    played = play(*(delta(None, reason) for reason in reasons))
    assert played.answer.finish_reason == finish
    assert played.answer.truncated is (finish == "length")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "tool_calls"),
        ("end_turn", "tool_calls"),
        ("function_call", "tool_calls"),
        ("tool_calls", "tool_calls"),
        (None, "tool_calls"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("STOP", "STOP"),
    ],
)
def test_with_calls_a_plain_reason_is_reported_as_tool_calls(
    reason: str | None, finish: str
) -> None:
    played = play(delta(tool_calls=[call()]), delta(None, reason))
    assert played.answer.finish_reason == finish
    assert len(played.answer.tool_calls) == 1
    assert played.assembler.finish_reason == reason


def test_without_calls_a_reason_stays_as_it_is() -> None:
    assert play(delta("Hi", "end_turn")).answer.finish_reason == "end_turn"
    assert play(delta("Hi")).answer.finish_reason is None


# --- Calls ---------------------------------------------------------------------------------------


def test_calls_are_handed_out_together_at_the_end_in_order_of_appearance() -> None:
    played = play(
        delta(tool_calls=[call(None, index=1), call('{"city":', index=0)]),
        delta("text in between"),
        delta(tool_calls=[call('"Paris"}', None, index=0)]),
    )
    assert [len(one.tool_calls) for one in deltas(played.chunks)] == [0, 2]
    assert [(one.call_id, one.arguments) for one in played.answer.tool_calls] == [
        ("call-1", "{}"),
        ("call-0", PARIS),
    ]


def test_incomplete_calls_are_withheld_and_reported() -> None:
    played = play(delta(tool_calls=[call(), call('{"city":"R', index=1)]), delta(None, "length"))
    assert [one.call_id for one in played.answer.tool_calls] == ["call-0"]
    assert [one.arguments for one in played.answer.withheld_calls] == ['{"city":"R']
    assert played.answer.truncated
    assert played.answer.finish_reason == "length"
    assert not played.answer.empty


def test_an_incomplete_call_is_withheld_whatever_the_reason() -> None:
    played = play(delta(tool_calls=[call('{"city":"R')]), delta(None, "stop"))
    assert played.answer.tool_calls == []
    assert played.answer.truncated
    assert played.answer.finish_reason == "stop"


def test_blank_arguments_are_withheld_only_if_the_answer_was_cut() -> None:
    assert play(delta(None, "stop", tool_calls=[call("")])).answer.tool_calls[0].arguments == "{}"
    answer = play(delta(None, "length", tool_calls=[call("")])).answer
    assert (answer.tool_calls, len(answer.withheld_calls)) == ([], 1)


def test_the_legacy_function_call_counts_only_where_there_are_no_tool_calls() -> None:
    legacy = FunctionPayload("get_weather", PARIS)
    played = play(delta(function_call=legacy), make_id=lambda: "made")
    assert played.answer.tool_calls == [FunctionToolCall("get_weather", PARIS, "made")]
    played = play(delta(function_call=legacy, tool_calls=[call()]))
    assert [one.call_id for one in played.answer.tool_calls] == ["call-0"]


def test_declared_tools_tell_a_new_call_from_a_piece_of_a_name() -> None:
    entries = [CallPayload(None, None, FunctionPayload(name)) for name in ("now", "later")]
    played = play(delta(tool_calls=entries), declared_tools={"now", "later"})
    assert [one.name for one in played.answer.tool_calls] == ["now", "later"]
    assert [one.name for one in play(delta(tool_calls=entries)).answer.tool_calls] == ["nowlater"]


def test_with_early_calls_each_call_is_handed_out_once_as_soon_as_it_is_complete() -> None:
    first, second = call(index=0), call('{"city":"R', index=1)
    played = play(
        delta("Hi", tool_calls=[first]),
        delta(" <think>hm", tool_calls=None),
        delta("</think>there"),
        delta("!", tool_calls=[second]),
        delta(tool_calls=[call('ome"}', None, index=1)]),
        delta(finish_reason="stop"),
        early_calls=True,
    )
    spelled = [
        (one.content, one.reasoning, [each.call_id for each in one.tool_calls])
        for one in deltas(played.chunks)
    ]
    assert spelled == [
        ("Hi", None, []),
        (" ", "hm", []),
        (None, None, ["call-0"]),
        ("there", None, []),
        ("!", None, []),
        (None, None, ["call-1"]),
    ]
    assert [one.call_id for one in played.answer.tool_calls] == ["call-0", "call-1"]
    assert played.answer.finish_reason == "tool_calls"


def test_with_early_calls_nothing_is_left_for_the_end_if_all_were_handed_out() -> None:
    played = play(delta(tool_calls=[call()]), delta("bye", "stop"), early_calls=True)
    assert [len(one.tool_calls) for one in deltas(played.chunks)] == [0, 0, 1][1:]
    assert len(played.answer.tool_calls) == 1


def test_with_early_calls_text_beside_a_fragment_does_not_follow_it() -> None:
    assembler = Assembler(early_calls=True)
    out: list[ChatChunk] = []
    assembler.feed(delta("Hi", tool_calls=[call()]), out)
    assembler.feed(delta("", reasoning="hm"), out)
    assert not any(one.tool_calls for one in deltas(out))
    assembler.feed(delta("there"), out)
    assert [len(one.tool_calls) for one in deltas(out)] == [0, 0, 0, 1]
    assert [one.call_id for one in assembler.snapshot().tool_calls] == ["call-0"]


# --- Snapshots -----------------------------------------------------------------------------------


def test_a_snapshot_holds_what_has_arrived_and_only_complete_calls() -> None:
    assembler = Assembler(make_id=iter("abcdef").__next__)
    assembler.feed(ChunkPayload("c1", usage=USAGE), [])
    assembler.feed(delta("Hi <th", reasoning="hm", refusal="no"), [])
    entries = [
        CallPayload(0, None, FunctionPayload("get_weather", PARIS)),
        CallPayload(1, None, FunctionPayload("get_time", '{"city"')),
        CallPayload(2, None, FunctionPayload("now", "")),
    ]
    assembler.feed(delta(tool_calls=entries), [])
    snapshot = assembler.snapshot()
    assert snapshot == CollectedResponse(
        text="Hi ",
        reasoning="hm",
        refusal="no",
        usage=CompletionUsage(3, 9, total_tokens=12),
        tool_calls=[FunctionToolCall("get_weather", PARIS, "a")],
        withheld_calls=[
            FunctionToolCall("get_time", '{"city"', "b"),
            FunctionToolCall("now", "", "c"),
        ],
        truncated=True,
    )
    assert assembler.snapshot() == snapshot


def test_a_snapshot_of_a_finished_answer_is_the_answer() -> None:
    played = play(delta("Hi", "stop"))
    assert played.assembler.snapshot() is played.answer


def test_flushing_makes_what_was_held_back_text_and_finishes_nothing() -> None:
    assembler = Assembler()
    out: list[ChatChunk] = []
    assembler.feed(delta("x <th"), out)
    assembler.flush(out)
    assert [one.content for one in deltas(out)] == ["x ", "<th"]
    assert assembler.snapshot().text == "x <th"
    assembler.flush(out)
    assert len(out) == 2


# --- Limits --------------------------------------------------------------------------------------


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(_assembler, "MAX_ANSWER_CHARACTERS", 100)
    return 100


@pytest.mark.parametrize(
    "payload",
    [
        delta("x" * 10),
        delta(reasoning="x" * 10),
        delta(refusal="x" * 10),
        delta("<think>" + "x" * 10 + "</think>"),
        delta(tool_calls=[CallPayload(0, None, FunctionPayload(None, "x" * 10))]),
        delta(function_call=FunctionPayload(None, "x" * 10)),
        delta("xx", reasoning="xx", refusal="xx", function_call=FunctionPayload(None, "xxxx")),
        delta("x" * 10, tainted=True),
    ],
    ids=[
        *("text", "reasoning", "refusal", "thinking", "arguments", "legacy"),
        *("together", "tainted"),
    ],
)
def test_an_answer_larger_than_allowed_is_an_error(limit: int, payload: ChunkPayload) -> None:
    assembler = Assembler()
    out: list[ChatChunk] = []
    for _ in range(limit // 10):
        assembler.feed(payload, out)
    before = len(out)
    with pytest.raises(APIConnectionError, match="larger than 100 characters") as caught:
        assembler.feed(payload, out)
    assert not caught.value.retryable
    assert len(out) >= before
    assert sum(len(one.content or "") for one in deltas(out)) == len(assembler.snapshot().text)


def test_details_count_as_reasoning_and_as_what_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # The entry, its name and its value, once, and each piece of its text twice.
    monkeypatch.setattr(_assembler, "MAX_ANSWER_CHARACTERS", 3 * VALUE_WEIGHT + len("text") + 100)
    assembler = Assembler()
    for _ in range(5):
        assembler.feed(delta(reasoning_details=[{"text": "x" * 10}]), [])

    with pytest.raises(APIConnectionError, match="larger than 200 characters"):
        assembler.feed(delta(reasoning_details=[{"text": "x"}]), [])


def test_keys_and_ids_that_pile_up_count_and_those_that_repeat_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_assembler, "MAX_ANSWER_CHARACTERS", 1000)

    def extra(number: int) -> ChunkPayload:
        return delta(extra_content={"google": {f"k{number}": "x" * 20}})

    def made_up_id(number: int) -> ChunkPayload:
        return delta(tool_calls=[CallPayload(0, f"id-{number:06}", None, {"y": "z" * 10})])

    for make in (extra, made_up_id):
        assembler = Assembler()
        for _ in range(1000):
            assembler.feed(make(0), [])
        with pytest.raises(APIConnectionError, match="larger than 1000 characters"):
            for number in range(1000):
                assembler.feed(make(number), [])


@pytest.mark.usefixtures("limit")
def test_what_was_held_back_can_be_had_after_the_limit_was_reached() -> None:
    """What an error carries must not raise another."""
    assembler = Assembler()
    out: list[ChatChunk] = []
    with pytest.raises(APIConnectionError):
        assembler.feed(delta("x" * 101 + "<th"), out)
    assembler.flush(out)
    assert assembler.snapshot().text == "x" * 101 + "<th"
    assert [one.content for one in deltas(out)] == ["x" * 101, "<th"]


def test_too_many_calls_at_the_end_are_an_error_of_which_a_snapshot_can_be_had() -> None:
    assembler = Assembler()
    out: list[ChatChunk] = []
    many = [call("{}"), call("{}" * MAX_TOOL_CALLS, index=1)]
    assembler.feed(delta("Hi", "tool_calls", tool_calls=many), out)
    with pytest.raises(APIConnectionError, match="more than 1024 tool calls") as caught:
        assembler.finish(out)
    assert not caught.value.retryable
    assert out == [ChatChunk("c1", ChoiceDelta(content="Hi"))]
    snapshot = assembler.snapshot()
    assert (snapshot.text, len(snapshot.tool_calls), len(snapshot.withheld_calls)) == ("Hi", 1, 1)


def test_too_many_calls_in_the_stream_are_an_error_after_the_text_beside_them() -> None:
    assembler = Assembler()
    out: list[ChatChunk] = []
    with pytest.raises(APIConnectionError, match="more than 1024 tool calls"):
        assembler.feed(
            delta("Hi", tool_calls=[call(index=index) for index in range(MAX_TOOL_CALLS + 1)]), out
        )
    assert out == [ChatChunk("c1", ChoiceDelta(content="Hi"))]
    assert len(assembler.snapshot().tool_calls) == MAX_TOOL_CALLS


def test_the_limit_is_generous() -> None:
    assert MAX_ANSWER_CHARACTERS >= 16_000_000


# --- Properties ----------------------------------------------------------------------------------

words = st.text("ab<>/think é\ud83d\ude00", max_size=4)
payloads = st.builds(
    delta,
    st.none() | words,
    st.sampled_from([None, None, None, "", "stop", "length", "error"]),
    tainted=st.booleans(),
    reasoning=st.none() | words,
    refusal=st.none() | words,
    tool_calls=st.none()
    | st.lists(
        st.builds(
            call,
            st.none() | st.sampled_from(["", "{", '"a":1', "}", PARIS]),
            st.sampled_from([None, "get_weather", "now"]),
            st.integers(0, 2),
        ),
        max_size=2,
    ),
    extra_content=st.none() | st.just({"google": {"s": "x"}}),
)


@given(st.lists(payloads, max_size=10))
def test_the_chunks_add_up_to_the_answer(sent: list[ChunkPayload]) -> None:
    tainted = [attrs_tainted(payload) for payload in sent]
    played = play(*tainted)
    parts, answer = deltas(played.chunks), played.answer
    assert "".join(part.content or "" for part in parts) == answer.text
    assert "".join(part.reasoning or "" for part in parts) == answer.reasoning
    assert "".join(part.refusal or "" for part in parts) == answer.refusal
    assert [one for part in parts for one in part.tool_calls] == answer.tool_calls
    for text in (answer.text, answer.reasoning, answer.refusal):
        text.encode()
    ranks = [
        3
        if chunk.usage
        else 2
        if chunk.finish_reason
        else 1
        if chunk.delta and chunk.delta.tool_calls
        else 0
        for chunk in played.chunks
    ]
    assert ranks == sorted(ranks)
    assert all(part != ChoiceDelta() for part in parts)


def attrs_tainted(payload: ChunkPayload) -> ChunkPayload:
    """The payload as the decoder would have made it: text with halves is tainted."""
    assert payload.choices
    one = payload.choices[0].delta
    assert one is not None
    texts = "".join(text or "" for text in (one.content, one.reasoning, one.refusal))
    if any("\ud800" <= character <= "\udfff" for character in texts):
        return TaintedChunkPayload(id=payload.id, choices=payload.choices)
    return payload
