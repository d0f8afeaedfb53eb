"""Fragments of tool calls add up to calls, whatever servers do with indexes, ids and names.

The first part follows the tables of situations, which `test_fragments` plays row by row. The names
of the tests say what a server does; `w` and `t` are short for the declared tools `get_weather` and
`get_time`.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._answers.chunks import FunctionToolCall
from lktrio._answers.errors import APIConnectionError
from lktrio._json.text import ObjectScanner, canonical_or_none
from lktrio._wire import growing_call as _growing_call
from lktrio._wire.attached import copy_extra, merge_extra
from lktrio._wire.payloads import CallPayload, FunctionPayload
from lktrio._wire.tool_calls import (
    MAX_TOOL_CALLS,
    ToolCallAssembler,
    _split_arguments,
    make_call_id,
)
from tests.support.linear_work import assert_linear

DECLARED = ("get_weather", "get_time", "now")
PARIS = '{"city":"Paris"}'
ROME = '{"city":"Rome"}'


def entry(
    index: int | None = None,
    id: str | None = None,
    name: str | None = None,
    args: str | None = None,
    extra: dict[str, Any] | None = None,
) -> CallPayload:
    """One entry of a ``tool_calls`` list."""
    return CallPayload(index, id, FunctionPayload(name, args), extra)


class Counter:
    """Makes up ids that a test can foresee."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return f"made-{self.made}"


def collect(*entries: CallPayload, declared: Sequence[str] = DECLARED) -> ToolCallAssembler:
    assembler = ToolCallAssembler(declared, Counter())
    for one in entries:
        assembler.add(one)
    return assembler


def spelled(calls: list[FunctionToolCall]) -> list[tuple[str, str, str]]:
    return [(call.call_id, call.name, call.arguments) for call in calls]


def calls_of(
    *entries: CallPayload, declared: Sequence[str] = DECLARED
) -> list[tuple[str, str, str]]:
    whole, withheld = collect(*entries, declared=declared).result(cut=False)
    assert withheld == []
    return spelled(whole)


# --- Row by row ----------------------------------------------------------------------------------


def test_a_known_index_continues_its_call() -> None:
    assert calls_of(
        entry(0, "a", "get_weather"),
        entry(1, "b", "get_time"),
        entry(0, args='{"city":'),
        entry(1, args='{"city":'),
        entry(0, args='"Paris"}'),
        entry(1, args='"Rome"}'),
    ) == [("a", "get_weather", PARIS), ("b", "get_time", ROME)]


def test_an_unknown_index_opens_a_call() -> None:
    assert calls_of(
        entry(1, name="get_weather", args=PARIS),
        entry(7, name="get_weather", args=PARIS),
        entry(-2, name="get_weather", args=PARIS),
    ) == [(f"made-{number}", "get_weather", PARIS) for number in (1, 2, 3)]


def test_order_is_order_of_appearance_not_of_the_index() -> None:
    assert calls_of(entry(5, "a", "get_time", "{}"), entry(2, "b", "get_weather", PARIS)) == [
        ("a", "get_time", "{}"),
        ("b", "get_weather", PARIS),
    ]


def test_without_an_index_a_known_id_continues_its_call() -> None:
    assert calls_of(
        entry(id="a", name="get_weather"),
        entry(id="b", name="get_time"),
        entry(id="a", args=PARIS),
        entry(id="b", args=ROME),
    ) == [("a", "get_weather", PARIS), ("b", "get_time", ROME)]


def test_without_index_and_id_the_call_touched_last_is_continued() -> None:
    assert calls_of(
        entry(id="a", name="get_weather", args='{"city"'),
        entry(id="b", name="get_time", args='{"city"'),
        entry(args=':"Rome"}'),
        entry(id="a", args=":"),
        entry(args='"Paris"}'),
    ) == [("a", "get_weather", PARIS), ("b", "get_time", ROME)]


def test_without_index_and_id_the_first_entry_opens_a_call() -> None:
    assert calls_of(entry(name="get_weather", args=PARIS)) == [("made-1", "get_weather", PARIS)]


def test_without_an_index_an_unknown_id_with_a_name_opens_a_call() -> None:
    assert calls_of(
        entry(id="a", name="get_weather", args=PARIS), entry(id="b", name="get_weather", args=ROME)
    ) == [("a", "get_weather", PARIS), ("b", "get_weather", ROME)]


def test_another_id_with_a_name_opens_a_call_whatever_the_index_and_takes_it_over() -> None:
    assert calls_of(
        entry(0, "a", "get_weather", PARIS),
        entry(0, "b", "get_weather"),
        entry(0, args=ROME),
    ) == [("a", "get_weather", PARIS), ("b", "get_weather", ROME)]


def test_another_id_without_a_name_continues_the_call() -> None:
    """Some servers make up an id for every fragment."""
    assert calls_of(
        entry(0, "a", "get_weather"),
        entry(0, "b", args='{"city"'),
        entry(0, "c", args=':"Paris"}'),
        entry(0, "d", args=""),
    )[0] == ("a", "get_weather", PARIS)


def test_another_id_without_name_and_arguments_after_a_whole_object_opens_a_call() -> None:
    assert calls_of(
        entry(0, "a", "get_weather", PARIS),
        entry(0, "b"),
        entry(0, name="get_time"),
        entry(0, args=ROME),
    ) == [("a", "get_weather", PARIS), ("b", "get_time", ROME)]


def test_another_id_without_name_but_with_arguments_continues_a_whole_object() -> None:
    assert calls_of(entry(0, "a", "get_weather", PARIS), entry(0, "b", args=" ")) == [
        ("a", "get_weather", PARIS + " ")
    ]


def test_an_id_made_up_for_every_fragment_with_the_name_repeated_continues_an_open_object() -> None:
    assert calls_of(
        entry(0, "a", "get_weather", '{"city"'),
        entry(0, "b", "get_weather", ':"Pa'),
        entry(0, "c", "get_weather", 'ris"}'),
    ) == [("a", "get_weather", PARIS)]


def test_another_id_with_another_name_opens_a_call_though_an_object_is_open() -> None:
    whole, withheld = collect(
        entry(0, "a", "get_weather", '{"city"'), entry(0, "b", "get_time", ':"Paris"}')
    ).result(cut=False)
    assert spelled(whole) == [("b", "get_time", ':"Paris"}')]
    assert spelled(withheld) == [("a", "get_weather", '{"city"')]


@pytest.mark.parametrize("arguments", ["", " ", PARIS, " {"])
def test_another_id_with_the_name_repeated_opens_a_call_unless_it_goes_on(arguments: str) -> None:
    assembler = collect(
        entry(0, "a", "get_weather", '{"city"'), entry(0, "b", "get_weather", arguments)
    )
    whole, withheld = assembler.result(cut=False)
    assert sorted(call.call_id for call in whole + withheld) == ["a", "b"]


def test_a_name_repeated_without_an_id_continues_the_call() -> None:
    assert calls_of(
        entry(0, None, "get_weather"),
        entry(0, None, "get_weather", '{"city":'),
        entry(0, None, "get_weather", '"Paris"}'),
        entry(0, None, "get_weather", ""),
    ) == [("made-1", "get_weather", PARIS)]


@pytest.mark.parametrize("index", [0, None])
def test_a_name_repeated_without_an_id_opens_a_call_where_a_new_object_starts(
    index: int | None,
) -> None:
    assert calls_of(
        entry(index, None, "get_weather", PARIS), entry(index, None, "get_weather", " " + ROME)
    ) == [("made-1", "get_weather", PARIS), ("made-2", "get_weather", " " + ROME)]


def test_a_name_repeated_with_its_id_does_not_open_a_call() -> None:
    whole = calls_of(
        entry(0, "a", "get_weather", PARIS), entry(0, "a", "get_weather", ROME), declared=()
    )
    assert whole == [("a", "get_weather", PARIS), ("a_2", "get_weather", ROME)]


@pytest.mark.parametrize("first", ["", '{"city"', PARIS])
@pytest.mark.parametrize("index", [0, None])
def test_another_declared_name_without_an_id_opens_a_call(index: int | None, first: str) -> None:
    whole, withheld = collect(
        entry(index, None, "now", first), entry(index, None, "get_weather", ROME)
    ).result(cut=False)
    assert [call.name for call in [*withheld, *whole]] == ["now", "get_weather"]


def test_pieces_of_a_name_are_joined() -> None:
    assert calls_of(
        entry(0, "a", "get_"), entry(0, None, "wea"), entry(0, None, "ther"), entry(0, args=PARIS)
    ) == [("a", "get_weather", PARIS)]


def test_pieces_of_a_name_are_joined_without_declared_tools() -> None:
    assert calls_of(entry(0, "a", "get_"), entry(0, None, "weather", PARIS), declared=()) == [
        ("a", "get_weather", PARIS)
    ]


def test_pieces_of_a_name_are_joined_when_the_id_is_repeated() -> None:
    assert calls_of(entry(0, "a", "get_"), entry(0, "a", "weather"), entry(0, "a", args=PARIS)) == [
        ("a", "get_weather", PARIS)
    ]


def test_a_piece_that_is_a_declared_tool_itself_is_joined_if_that_makes_one() -> None:
    assert calls_of(
        entry(0, None, "get_"), entry(0, None, "now", "{}"), declared=("now", "get_now")
    ) == [("made-1", "get_now", "{}")]


def test_the_name_so_far_in_place_of_a_piece_is_the_name() -> None:
    for call_id in (None, "a"):
        whole = calls_of(
            entry(0, call_id, "get_"),
            entry(0, call_id, "get_wea"),
            entry(0, call_id, "get_weather"),
            entry(0, call_id, "get_weather", PARIS),
        )
        assert [(name, arguments) for _, name, arguments in whole] == [("get_weather", PARIS)]


def test_another_name_that_is_not_declared_does_not_disturb_arguments_that_are_open() -> None:
    assert calls_of(
        entry(0, "a", "get_weather", '{"city":'), entry(0, None, "wea", '"Paris"}')
    ) == [("a", "get_weather", PARIS)]


def test_another_name_that_is_not_declared_opens_a_call_after_a_whole_object() -> None:
    assert calls_of(
        entry(0, None, "invented", PARIS),
        entry(0, None, "too"),
        entry(0, args=PARIS),
        declared=(),
    ) == [("made-1", "invented", PARIS), ("made-2", "too", PARIS)]


def test_id_name_and_arguments_fill_in_one_after_the_other() -> None:
    assert calls_of(entry(0, "a"), entry(0, None, "get_weather"), entry(0, args=PARIS)) == [
        ("a", "get_weather", PARIS)
    ]
    assert calls_of(entry(0, None, "get_weather"), entry(0, args=PARIS), entry(0, "late")) == [
        ("late", "get_weather", PARIS)
    ]
    assert calls_of(entry(0, args=PARIS), entry(0, "a", "get_weather")) == [
        ("a", "get_weather", PARIS)
    ]


@pytest.mark.parametrize("absent", [None, ""])
def test_empty_strings_and_null_are_absent(absent: str | None) -> None:
    assert calls_of(
        entry(0, "a", "get_weather", '{"city":'), entry(0, absent, absent, '"Paris"}')
    ) == [("a", "get_weather", PARIS)]
    assert calls_of(entry(0, absent, "now", absent)) == [("made-1", "now", "{}")]


def test_a_function_that_is_null_is_absent() -> None:
    assembler = ToolCallAssembler(DECLARED)
    assembler.add(CallPayload(0, "a", None))
    assembler.add(entry(0, None, "get_weather", PARIS))
    assert spelled(assembler.result(cut=False)[0]) == [("a", "get_weather", PARIS)]


# --- What else servers do ------------------------------------------------------------------------


def test_one_id_for_all_calls_with_indexes_keeps_the_calls_apart() -> None:
    assert calls_of(
        entry(0, "same", "get_weather", '{"city":'),
        entry(1, "same", "get_time", '{"city":'),
        entry(0, None, None, '"Paris"}'),
        entry(1, None, None, '"Rome"}'),
    ) == [("same", "get_weather", PARIS), ("same_2", "get_time", ROME)]


def test_one_id_for_all_calls_without_indexes_keeps_names_apart() -> None:
    assert calls_of(
        entry(None, "same", "get_weather", PARIS), entry(None, "same", "get_time", ROME)
    ) == [("same", "get_weather", PARIS), ("same_2", "get_time", ROME)]
    assert calls_of(
        entry(None, "same", "now"),
        entry(None, "same", "get_time"),
        entry(None, "same", "get_weather", "{}"),
        entry(None, "same", "now", "{}"),
    ) == [
        ("same", "now", "{}"),
        ("same_2", "get_time", "{}"),
        ("same_3", "get_weather", "{}"),
        ("same_4", "now", "{}"),
    ]


def test_one_id_for_all_calls_without_indexes_keeps_arguments_of_one_tool_apart() -> None:
    assert calls_of(
        entry(None, "same", "get_weather", PARIS), entry(None, "same", "get_weather", ROME)
    ) == [("same", "get_weather", PARIS), ("same_2", "get_weather", ROME)]


def test_another_declared_name_with_the_calls_id_does_not_disturb_open_arguments() -> None:
    assert calls_of(
        entry(None, "a", "get_weather", '{"city":'), entry(None, "a", "get_time", '"Paris"}')
    ) == [("a", "get_weather", PARIS)]


def test_the_id_tells_which_call_goes_on_where_all_share_one_index() -> None:
    assert calls_of(
        entry(0, "a", "get_weather", '{"city":'),
        entry(0, "b", "get_weather", '{"city":'),
        entry(0, "a", None, '"Paris"}'),
        entry(0, "b", None, '"Rome"}'),
    ) == [("a", "get_weather", PARIS), ("b", "get_weather", ROME)]


def test_another_id_alone_opens_a_call_after_a_whole_object_however_small() -> None:
    for arguments in ("{}", PARIS):
        assert calls_of(
            entry(0, "a", "now", arguments), entry(0, "b"), entry(0, None, "get_time", ROME)
        ) == [("a", "now", arguments), ("b", "get_time", ROME)]


def test_an_index_that_comes_after_the_id_belongs_to_its_call() -> None:
    assert calls_of(
        entry(None, "a", "get_weather"), entry(0, "a", None, PARIS), entry(0, None, None, " ")
    ) == [("a", "get_weather", PARIS + " ")]


@pytest.mark.parametrize("placeholder", ["{}", " {} ", "{ }", "{\n}"])
@pytest.mark.parametrize("index", [0, None])
def test_an_empty_object_ahead_of_the_real_arguments_is_replaced(
    placeholder: str, index: int | None
) -> None:
    assert calls_of(
        entry(index, "a", "get_weather", placeholder),
        entry(index, None, None, '{"city":'),
        entry(index, None, None, '"Paris"}'),
    ) == [("a", "get_weather", PARIS)]
    assert calls_of(
        entry(index, None, "get_weather", placeholder), entry(index, None, "get_weather", PARIS)
    ) == [("made-1", "get_weather", PARIS)]


def test_an_empty_object_stays_if_nothing_follows() -> None:
    assert calls_of(entry(0, "a", "now", "{}"), entry(0, args="{}"), entry(0, args="\n")) == [
        ("a", "now", "{}\n")
    ]


@pytest.mark.parametrize("again", [PARIS, ' { "city" : "Paris" } '])
def test_arguments_equal_to_the_whole_ones_are_a_repeat(again: str) -> None:
    for call_id in ("a", None):
        whole = calls_of(
            entry(0, "a", "get_weather", '{"city":'),
            entry(0, None, None, '"Paris"}\n'),
            entry(0, call_id, "get_weather", again),
            entry(0, None, None, again),
        )
        assert whole == [("a", "get_weather", PARIS + "\n")]


@pytest.mark.parametrize(("one", "other"), [('{"a":1}', '{"a":true}'), ('{"a":1}', '{"a":1.0}')])
def test_arguments_that_are_merely_equal_in_python_are_no_repeat(one: str, other: str) -> None:
    assert calls_of(entry(0, "a", "now", one), entry(0, None, None, other)) == [
        ("a", "now", one),
        ("a_2", "now", other),
    ]


def test_the_same_arguments_for_another_tool_are_no_repeat() -> None:
    for declared in (DECLARED, ()):
        assert calls_of(
            entry(0, None, "get_weather", PARIS),
            entry(0, None, "get_time", PARIS),
            declared=declared,
        ) == [("made-1", "get_weather", PARIS), ("made-2", "get_time", PARIS)]


def test_a_repeat_after_something_else_is_another_object() -> None:
    assert calls_of(
        entry(0, "a", "get_weather", PARIS),
        entry(0, None, None, PARIS),
        entry(0, None, None, ROME),
        entry(0, None, None, PARIS),
    ) == [
        ("a", "get_weather", PARIS),
        ("a_2", "get_weather", ROME),
        ("a_3", "get_weather", PARIS),
    ]


def test_the_legacy_function_call_is_one_call_with_an_invented_id() -> None:
    assembler = ToolCallAssembler(DECLARED, Counter())
    assembler.add_legacy(FunctionPayload("get_weather", ""))
    assembler.add_legacy(FunctionPayload(None, '{"city":'))
    assembler.add_legacy(FunctionPayload(None, '"Paris"}'))
    assert spelled(assembler.result(cut=False)[0]) == [("made-1", "get_weather", PARIS)]


def test_an_entry_that_says_nothing_is_no_call() -> None:
    assembler = collect(entry(0, "a"), entry(1, "b", None, " "), entry())
    assert assembler.result(cut=True) == ([], [])


# --- Handing out ---------------------------------------------------------------------------------


def result_of(
    arguments: str | None, *, cut: bool = False, name: str | None = "f"
) -> tuple[list[str], list[str]]:
    whole, withheld = collect(entry(0, "a", name, arguments)).result(cut=cut)
    return [call.arguments for call in whole], [call.arguments for call in withheld]


@pytest.mark.parametrize("arguments", [None, "", "  ", "\n"])
def test_blank_arguments_become_an_empty_object(arguments: str | None) -> None:
    assert result_of(arguments) == (["{}"], [])


@pytest.mark.parametrize(
    "arguments",
    ["{", '{"city":"Par', '{"city":["a"', "[1", '"{\\"a\\"', "{'city': 'Par", '{"a":1} {"b"'],
)
@pytest.mark.parametrize("cut", [False, True])
def test_arguments_that_are_open_at_the_end_are_withheld_as_they_came(
    arguments: str, cut: bool
) -> None:
    whole, withheld = result_of(arguments, cut=cut)
    assert "".join([*whole, *withheld]).replace(" ", "") == arguments.replace(" ", "")
    assert len(withheld) == 1
    assert whole == (['{"a":1}'] if arguments.startswith('{"a":1}') else [])


@pytest.mark.parametrize(
    "arguments",
    ["{city: 1}", "{'city': 'Paris'}", "```json\n{}\n```", "Paris", "{}, {}", "{} x", "nul"],
)
def test_arguments_that_are_closed_but_malformed_are_handed_out_as_they_came(
    arguments: str,
) -> None:
    assert result_of(arguments) == ([arguments], [])


@pytest.mark.parametrize("arguments", [None, " ", "{city: 1}", "12", "nul", "true", "null", "{} x"])
def test_a_cut_answer_withholds_what_is_no_complete_value(arguments: str | None) -> None:
    assert result_of(arguments, cut=True) == ([], [arguments or ""])


@pytest.mark.parametrize("arguments", [PARIS, "{}", '{"a":"x\ny"}', "[1]", '"{}"'])
@pytest.mark.parametrize("cut", [False, True])
def test_a_complete_value_is_handed_out_though_the_answer_was_cut(
    arguments: str, cut: bool
) -> None:
    assert result_of(arguments, cut=cut) == ([arguments], [])


@pytest.mark.parametrize("cut", [False, True])
def test_several_objects_in_a_row_are_several_calls_with_derived_ids_and_a_warning(
    cut: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assembler = collect(
        entry(0, "a", "get_weather", PARIS + "\n" + ROME), entry(1, "a_2", "now", "{}")
    )
    with caplog.at_level(logging.WARNING, logger="lktrio"):
        whole, withheld = assembler.result(cut=cut)
    assert spelled(whole) == [
        ("a", "get_weather", PARIS),
        ("a_2", "get_weather", ROME),
        ("a_2_2", "now", "{}"),
    ]
    assert withheld == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Paris" not in caplog.text


def test_an_object_that_was_cut_off_behind_a_whole_one_is_withheld_alone() -> None:
    whole, withheld = collect(entry(0, "a", "get_weather", PARIS + '{"city":"R')).result(cut=True)
    assert spelled(whole) == [("a", "get_weather", PARIS)]
    assert spelled(withheld) == [("a_2", "get_weather", '{"city":"R')]


def test_arguments_without_a_name_are_withheld() -> None:
    assert result_of(PARIS, name=None) == ([], [PARIS])


def test_ids_are_unique_in_an_answer() -> None:
    whole = calls_of(*(entry(index, "a", "now", "{}") for index in range(4)))
    assert [call_id for call_id, _, _ in whole] == ["a", "a_2", "a_3", "a_4"]
    whole = calls_of(
        entry(0, "a_2", "now"), entry(1, "a", "now"), entry(2, "a", "now"), entry(3, "a", "now")
    )
    assert [call_id for call_id, _, _ in whole] == ["a_2", "a", "a_3", "a_4"]


def test_an_invented_id_stays_the_same() -> None:
    assembler = collect(entry(0, None, "now", "{}"), entry(1, None, "now", '{"a"'))
    first, second = assembler.result(cut=True), assembler.result(cut=False)
    assert spelled(first[0]) == spelled(second[0]) == [("made-1", "now", "{}")]
    assert spelled(first[1]) == spelled(second[1]) == [("made-2", "now", '{"a"')]


def test_invented_ids_are_unique_and_look_like_ids() -> None:
    ids = {make_call_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(call_id.startswith("call_") and call_id.isidentifier() for call_id in ids)


def test_halves_of_a_character_in_two_fragments_are_joined() -> None:
    assembler = collect(
        entry(0, "a", "f", '{"a":"\ud83d'),
        entry(0, None, None, '\ude00"}'),
        entry(1, "b", "f", "\ude00"),
    )
    whole, _ = assembler.result(cut=False, tainted=True)
    assert [call.arguments for call in whole] == ['{"a":"😀"}', "\ufffd"]


def test_there_are_calls_as_soon_as_there_is_an_entry() -> None:
    assembler = ToolCallAssembler()
    assert not assembler
    assembler.add(entry(0, "a"))
    assert assembler


# --- Handing out early ---------------------------------------------------------------------------


def ready(
    assembler: ToolCallAssembler, *, text_follows: bool = False
) -> list[tuple[str, str, str]]:
    return spelled(assembler.take_ready(text_follows=text_follows))


def test_a_call_is_ready_when_its_arguments_form_an_object_and_another_has_begun() -> None:
    assembler = collect(entry(0, "a", "get_weather", '{"city":'))
    assert ready(assembler) == []
    assembler.add(entry(0, None, None, '"Paris"}'))
    assert ready(assembler) == []
    assembler.add(entry(1, "b", "get_time"))
    assert ready(assembler) == [("a", "get_weather", PARIS)]
    assert ready(assembler) == []
    assembler.add(entry(1, None, None, ROME))
    whole, withheld = assembler.result(cut=False)
    assert spelled(whole) == [("a", "get_weather", PARIS), ("b", "get_time", ROME)]
    assert withheld == []


def test_a_call_is_ready_when_its_arguments_form_an_object_and_text_follows() -> None:
    assembler = collect(entry(0, "a", "get_weather", '{"city":'))
    assert ready(assembler, text_follows=True) == []
    assembler.add(entry(0, None, None, '"Paris"}'))
    assert ready(assembler, text_follows=True) == [("a", "get_weather", PARIS)]
    assert ready(assembler, text_follows=True) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("now", ""),
        ("now", "{}"),
        ("now", "12"),
        ("now", '"{}"'),
        ("now", PARIS + ROME),
        ("now", "{city: 1}"),
        ("now", PARIS + "x"),
        (None, PARIS),
    ],
)
def test_what_is_not_one_valid_object_with_a_name_waits_and_keeps_back_those_behind_it(
    name: str | None, arguments: str
) -> None:
    assembler = collect(
        entry(0, "a", name, arguments), entry(1, "b", "get_time", ROME), entry(2, "c", "now")
    )
    assert ready(assembler, text_follows=True) == []


def test_calls_are_ready_in_order_of_appearance() -> None:
    assembler = collect(
        entry(0, "a", "get_weather", '{"city":'),
        entry(1, "b", "get_time", ROME),
        entry(2, None, "now"),
    )
    assert ready(assembler) == []
    assembler.add(entry(0, None, None, '"Paris"}'))
    assert ready(assembler) == []
    assembler.add(entry(2, None, None, " "))
    assert ready(assembler) == [("a", "get_weather", PARIS), ("b", "get_time", ROME)]
    whole, _ = assembler.result(cut=False)
    assert spelled(whole) == [
        ("a", "get_weather", PARIS),
        ("b", "get_time", ROME),
        ("made-1", "now", "{}"),
    ]


@pytest.mark.parametrize("again", ["", " ", PARIS, ' {"city": "Paris"} '])
def test_a_call_that_was_handed_out_may_be_repeated(again: str) -> None:
    assembler = collect(entry(0, "a", "get_weather", PARIS))
    handed_out = assembler.take_ready(text_follows=True)
    assembler.add(entry(0, "a", "get_weather", again, {"late": 1}))
    assembler.add(entry(0, "late", None, again))
    assert assembler.result(cut=True) == (handed_out, [])


@pytest.mark.parametrize("more", ["x", "{", ROME, '{"city":'])
def test_a_call_that_was_handed_out_may_not_be_continued(more: str) -> None:
    assembler = collect(entry(0, "a", "get_weather", PARIS))
    handed_out = assembler.take_ready(text_follows=True)
    with pytest.raises(
        APIConnectionError, match="came back to the call of 'get_weather'"
    ) as caught:
        assembler.add(entry(0, None, None, more))
    assert not caught.value.retryable
    assert assembler.result(cut=True) == (handed_out, [])


def test_another_object_for_the_same_tool_opens_a_call_after_one_was_handed_out() -> None:
    assembler = collect(entry(0, None, "get_weather", PARIS))
    assert ready(assembler, text_follows=True) == [("made-1", "get_weather", PARIS)]
    assembler.add(entry(0, None, "get_weather", ROME))
    assert spelled(assembler.result(cut=False)[0]) == [
        ("made-1", "get_weather", PARIS),
        ("made-2", "get_weather", ROME),
    ]


def test_ids_stay_unique_when_some_calls_were_handed_out() -> None:
    assembler = collect(*(entry(index, "same", "now", PARIS) for index in range(3)))
    assert [call_id for call_id, _, _ in ready(assembler)] == ["same", "same_2"]
    for _ in range(2):
        whole, _ = assembler.result(cut=False)
        assert [call.call_id for call in whole] == ["same", "same_2", "same_3"]


def test_halves_of_a_character_are_joined_in_a_call_that_is_handed_out() -> None:
    assembler = collect(
        entry(0, "a", "now", '{"a":"\ud83d'), entry(0, None, None, '\ude00"}'), entry(1, "b", "now")
    )
    assert [call.arguments for call in assembler.take_ready(text_follows=False, tainted=True)] == [
        '{"a":"😀"}'
    ]


# --- What is attached ----------------------------------------------------------------------------


def test_what_is_attached_to_a_call_is_merged() -> None:
    whole, _ = collect(
        entry(0, "a", "now", "{}", {"google": {"signature": "x"}}),
        entry(0, None, None, None, {"google": {"more": 1}, "livekit": 2}),
    ).result(cut=False)
    assert whole[0].extra == {"google": {"signature": "x", "more": 1}, "livekit": 2}


def test_a_call_to_which_nothing_is_attached_has_no_extra() -> None:
    whole, _ = collect(entry(0, "a", "now", "{}", {})).result(cut=False)
    assert whole[0].extra is None


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 2}}, {"a": 1}, {"a": 1}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 1}}}, {"a": {"b": {"d": 1}}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
    ],
)
def test_extras_are_merged_one_level_deep_and_none_is_changed(
    one: dict[str, Any], other: dict[str, Any], merged: dict[str, Any]
) -> None:
    before = json.dumps([one, other])
    target: dict[str, Any] = {}
    merge_extra(target, one)
    merge_extra(target, other)
    assert target == merged
    merge_extra(target, {"a": {"new": 1}})
    assert json.dumps([one, other]) == before


def test_a_copy_is_not_changed_by_a_later_merge() -> None:
    target: dict[str, Any] = {}
    merge_extra(target, {"a": {"b": 1}, "c": 2})
    copied = copy_extra(target)
    merge_extra(target, {"a": {"b": 3}, "c": 4})
    assert copied == {"a": {"b": 1}, "c": 2}


def test_merging_tells_by_how_much_the_target_grows() -> None:
    # A value, or a key, takes as much memory as some characters.
    value = merge_extra({}, {"": ""}) // 2
    target: dict[str, Any] = {}
    assert merge_extra(target, {"key": "x" * 100}) == 103 + 2 * value
    assert merge_extra(target, {"key": "x" * 40}) == -60
    assert merge_extra(target, {"key": {"inner": ["x" * 100, {"y": None}]}}) > 60
    assert merge_extra(target, {"key": {"inner": ["x" * 100, {"y": None}]}}) == 0
    assert merge_extra(target, {"key": {"other": "x" * 100}}) == 105 + 2 * value
    assert merge_extra({}, {"key": [0] * 1000}) >= 1000 * value
    assert value >= 32


# --- Limits and work -----------------------------------------------------------------------------


def test_more_calls_than_allowed_are_an_error() -> None:
    assembler = collect(*(entry(index, None, "now") for index in range(MAX_TOOL_CALLS)))
    with pytest.raises(APIConnectionError, match="more than 1024 tool calls") as caught:
        assembler.add(entry(MAX_TOOL_CALLS, None, "now"))
    assert not caught.value.retryable
    assert len(assembler.result(cut=False)[0]) == MAX_TOOL_CALLS


@pytest.mark.parametrize("count", [MAX_TOOL_CALLS - 1, MAX_TOOL_CALLS])
def test_more_objects_in_a_row_than_allowed_are_an_error_or_withheld(count: int) -> None:
    assembler = collect(entry(0, "a", "now", "{}"), entry(1, "b", "now", '{"a":1}' * count))
    if count < MAX_TOOL_CALLS:
        assert len(assembler.result(cut=False)[0]) == MAX_TOOL_CALLS
        return
    with pytest.raises(APIConnectionError, match="more than 1024 tool calls") as caught:
        assembler.result(cut=False)
    assert not caught.value.retryable
    whole, withheld = assembler.result(cut=False, withholds_excess=True)
    assert spelled(whole) == [("a", "now", "{}")]
    assert spelled(withheld) == [("b", "now", '{"a":1}' * count)]


@pytest.mark.parametrize("fragment", ["{}", '{"a":1}', '{"a":"}{"}', "{x}", '{"a":1}' * 300])
def test_objects_without_end_in_one_call_are_an_error_before_the_end(fragment: str) -> None:
    assembler = collect(entry(0, "a", "now", '{"b":2}'))
    sent = '{"b":2}'
    with pytest.raises(APIConnectionError, match="more than 1024 tool calls") as caught:
        for _ in range(MAX_TOOL_CALLS):
            sent += fragment
            assembler.add(entry(0, None, None, fragment))
    assert not caught.value.retryable
    assert sent.count("{") <= 2 * (MAX_TOOL_CALLS + 300)
    whole, withheld = assembler.result(cut=True, withholds_excess=True)
    assert spelled(whole + withheld) == [("a", "now", sent)]


def test_a_name_longer_than_any_is_an_error() -> None:
    with pytest.raises(APIConnectionError, match="name of a tool call is longer") as caught:
        collect(
            *(entry(0, None, "x" * 100) if i == 0 else entry(0, None, "y" * 100) for i in range(99))
        )
    assert not caught.value.retryable
    with pytest.raises(APIConnectionError, match="name of a tool call is longer"):
        collect(entry(0, None, "x" * 5000))


def test_the_size_is_what_is_kept() -> None:
    assembler = collect(
        entry(0, "id-1", "get_", '{"a":'),
        entry(0, "id-1", None, "1}"),
        entry(0, None, None, '{"a":1}'),
        entry(0, "id-2", None, None, {"key": "value"}),
    )
    extra = merge_extra({}, {"key": "value"})
    assert assembler.size == len('id-1get_{"a":1}id-2') + extra
    assembler = collect(entry(0, None, "get"), entry(0, None, "get_"), entry(0, None, "weather"))
    assert assembler.size == len("get_weather")
    assembler = collect(entry(0, None, "f", "{}  "), entry(0, None, None, PARIS))
    assert assembler.size == len("f" + PARIS)


class CountingText(io.StringIO):
    """Counts the characters that are copied out of it."""

    copied = 0

    def getvalue(self) -> str:
        value = super().getvalue()
        CountingText.copied += len(value)
        return value


class CountingScanner(ObjectScanner):
    """Counts the characters that are scanned."""

    scanned = 0

    def feed(self, text: str) -> None:
        CountingScanner.scanned += len(text)
        super().feed(text)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingText, "copied", 0)
    monkeypatch.setattr(CountingScanner, "scanned", 0)
    monkeypatch.setattr(_growing_call.io, "StringIO", CountingText)
    monkeypatch.setattr(_growing_call, "ObjectScanner", CountingScanner)


@pytest.mark.usefixtures("counted")
def test_many_tiny_fragments_of_one_call_are_scanned_and_copied_once() -> None:
    fragments = ['{"a":"', *['x\\"{'] * 50_000, '"}']
    assembler = collect(entry(0, "a", "f"))
    for fragment in fragments:
        assembler.add(entry(0, None, None, fragment))
    whole, _ = assembler.result(cut=False)
    assert whole[0].arguments == "".join(fragments)
    assert CountingScanner.scanned == CountingText.copied == len("".join(fragments))


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("name", ["f", None])
@pytest.mark.parametrize("call_id", ["a", None])
def test_the_calls_made_are_linear_in_the_fragments(
    index: int | None, name: str | None, call_id: str | None
) -> None:
    def make(size: int) -> Callable[[], object]:
        assembler = collect(entry(0, "a", "f", '{"a":"'))
        fragment = entry(index, call_id, name, "x{}")
        return lambda: [assembler.add(fragment) for _ in range(size)]

    assert_linear(make, 2_000)


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("fragment", ["{]", "{", "{}", '{"a":1}', "{\n", " ", "{x}", "x", '"', "}"])
@pytest.mark.parametrize("first", ['{"a":' + "[1]" * 3000 + "}", '{"a":"' + "x" * 9000 + '"}'])
@pytest.mark.parametrize("name", ["f", None])
@pytest.mark.parametrize("call_id", ["a", None])
def test_adversarial_repeats_do_not_make_the_whole_arguments_be_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    fragment: str,
    name: str | None,
    call_id: str | None,
) -> None:
    decoded = 0

    def counting(text: str) -> str | None:
        nonlocal decoded
        decoded += len(text)
        return canonical_or_none(text)

    monkeypatch.setattr(_growing_call, "canonical_or_none", counting)
    assembler = collect(entry(0, "a", "f", first))
    for _ in range(500):
        assembler.add(entry(0, call_id, name, fragment))
    total = len(first) + 500 * len(fragment)
    assert decoded <= 3 * total
    assert CountingText.copied <= 3 * total


def test_merging_what_is_attached_is_linear() -> None:
    def make(size: int) -> Callable[[], object]:
        target: dict[str, Any] = {}
        return lambda: [merge_extra(target, {"a": {f"key-{i}": "x"}}) for i in range(size)]

    assert_linear(make, 2_000)


# --- Properties ----------------------------------------------------------------------------------

STYLES = ("header once", "id repeated", "header repeated", "name repeated", "id made up each time")


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], list[CallPayload]]:
    """Calls, and their fragments in any order that keeps each call's own."""
    count = draw(st.integers(1, 4))
    style = draw(st.sampled_from(STYLES))
    calls: list[tuple[str, str, str]] = []
    queues: list[list[CallPayload]] = []
    for number in range(count):
        call_id, name = f"id-{number}", draw(st.sampled_from(DECLARED))
        value = draw(
            st.dictionaries(st.sampled_from("abc"), st.text("{}[]\"\\ x'", max_size=4), min_size=1)
        )
        text = json.dumps(value)
        places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])]
        calls.append((call_id, name, text))
        queue = [entry(number, call_id, name, "")]
        for place, piece in enumerate(pieces):
            again = {"id repeated": call_id, "header repeated": call_id}.get(style)
            if style == "id made up each time" and piece:
                again = f"other-{number}-{place}"
            queue.append(
                entry(
                    number, again, name if "header r" in style or "name" in style else None, piece
                )
            )
        queues.append(queue)
    fragments: list[CallPayload] = []
    while any(queues):
        fragments.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    order = list(dict.fromkeys(fragment.index for fragment in fragments))
    return [calls[number or 0] for number in order], fragments


@given(scripts())
def test_any_interleaving_of_fragments_with_indexes_gives_the_same_calls(
    script: tuple[list[tuple[str, str, str]], list[CallPayload]],
) -> None:
    calls, fragments = script
    assert calls_of(*fragments) == calls


maybe = st.none() | st.sampled_from(["", "a", "b", "get_", "get_weather", "now"])
entries = st.builds(
    entry,
    st.none() | st.integers(0, 2),
    maybe,
    maybe,
    st.none()
    | st.sampled_from(["", " ", "{", "}", "{}", '{"a"', ":1}", PARIS, "x", "\ud83d", "{]"]),
    st.none() | st.just({"google": {"a": "b"}}),
)


@given(st.lists(entries, max_size=12), st.booleans())
def test_whatever_comes_no_argument_is_lost_or_invented_and_ids_are_unique(
    sent: list[CallPayload], cut: bool
) -> None:
    assembler = collect(*sent)
    whole, withheld = assembler.result(cut=cut, tainted=True)
    calls = [*whole, *withheld]
    assert len({call.call_id for call in calls}) == len(calls)
    assert all(call.call_id for call in calls)
    assert all(call.name for call in whole)
    for call in whole:
        call.arguments.encode()
    got = sum(call.arguments.count("Paris") for call in calls)
    said = sum("Paris" in ((one.function and one.function.arguments) or "") for one in sent)
    assert got <= said
    assert bool(got) == bool(said)
    assert assembler.size >= 0


WRITTEN = st.lists(
    st.sampled_from([*"{}[]\"':, a1\\\x0b", '{"a":1}', "{'a': 1}", '"}"', "```"]), max_size=9
).map("".join)


@given(WRITTEN, st.sampled_from(["", " ", "\x0b"]))
def test_what_is_handed_out_unparsed_is_what_parsing_would_hand_out(text: str, end: str) -> None:
    assembler = collect(entry(0, "a", "now", "{" + text + "}" + end))
    arguments = assembler.calls.all[0].arguments

    whole, withheld = assembler.result(cut=False)

    complete, incomplete = _split_arguments(arguments, cut=False)
    assert [call.arguments for call in whole] == complete
    assert [call.arguments for call in withheld] == ([] if incomplete is None else [incomplete])
