"""Every row of the tables of tool-call fragments is played: what it says is what happens."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._wire.fragments import CANDIDATES, SITUATIONS, Calls, Candidate, Effect, Row, decide
from lktrio._wire.growing_call import GrowingCall
from lktrio._wire.payloads import CallPayload, FunctionPayload
from lktrio._wire.tool_calls import ToolCallAssembler


class Fragment(NamedTuple):
    index: int | None
    id: str | None
    name: str | None
    arguments: str


DECLARED = ("now", "get_now", "get_weather")
PARIS = '{"city":"Paris"}'
ROME = '{"city":"Rome"}'
OPEN = '{"city":'

# A row's situation; fragments that lead to it, and the one it decides; what has come of them.
PLAYED: dict[str, tuple[list[Fragment], Fragment, list[tuple[str, str, str]]]] = {
    "known index, whose call has another id; the id is known": (
        [Fragment(0, "a", "now", OPEN), Fragment(0, "b", "now", OPEN)],
        Fragment(0, "a", None, "1}"),
        [("a", "now", '{"city":1}'), ("b", "now", OPEN)],
    ),
    "known index": (
        [Fragment(0, "a", "now", OPEN), Fragment(1, "b", "now", OPEN)],
        Fragment(0, None, None, "1}"),
        [("a", "now", '{"city":1}'), ("b", "now", OPEN)],
    ),
    "unknown index; the id is known, of a call that had no index yet": (
        [Fragment(None, "a", "now", OPEN), Fragment(None, "b", "now", OPEN)],
        Fragment(0, "a", None, "1}"),
        [("a", "now", '{"city":1}'), ("b", "now", OPEN)],
    ),
    "unknown index": (
        [Fragment(0, "a", "now", OPEN)],
        Fragment(1, "a", None, "1}"),
        [("a", "now", OPEN), ("a", "", "1}")],
    ),
    "no index; the id is known": (
        [Fragment(None, "a", "now", OPEN), Fragment(None, "b", "now", OPEN)],
        Fragment(None, "a", None, "1}"),
        [("a", "now", '{"city":1}'), ("b", "now", OPEN)],
    ),
    "no index": (
        [Fragment(0, "a", "now", OPEN), Fragment(1, "b", "now", OPEN), Fragment(0, None, None, "")],
        Fragment(None, None, None, "1}"),
        [("a", "now", '{"city":1}'), ("b", "now", OPEN)],
    ),
    "no id and no name": (
        [Fragment(0, "a", "now", PARIS)],
        Fragment(0, None, None, ROME),
        [("a", "now", PARIS + ROME)],
    ),
    "another id, and nothing else; the call's arguments form an object": (
        [Fragment(0, "a", "now", PARIS)],
        Fragment(0, "b", None, ""),
        [("a", "now", PARIS), ("b", "", "")],
    ),
    "another id, no name": (
        [Fragment(0, "a", "now", PARIS)],
        Fragment(0, "b", None, ROME),
        [("a", "now", PARIS + ROME)],
    ),
    "another id, the same name; the arguments go on with an object that is open": (
        [Fragment(0, "a", "now", OPEN)],
        Fragment(0, "b", "now", "1}"),
        [("a", "now", '{"city":1}')],
    ),
    "another id, a name": (
        [Fragment(0, "a", "now", OPEN)],
        Fragment(0, "b", "now", PARIS),
        [("a", "now", OPEN), ("b", "now", PARIS)],
    ),
    "no name, or the call has none": (
        [Fragment(0, "a", None, OPEN)],
        Fragment(0, None, "now", "1}"),
        [("a", "now", '{"city":1}')],
    ),
    "no id, the same name; the call's arguments are whole, and another object starts": (
        [Fragment(0, "a", "now", PARIS)],
        Fragment(0, None, "now", ROME),
        [("a", "now", PARIS), ("", "now", ROME)],
    ),
    "the same name": (
        [Fragment(0, "a", "now", PARIS)],
        Fragment(0, "a", "now", ROME),
        [("a", "now", PARIS + ROME)],
    ),
    "another name; the call's arguments form an object": (
        [Fragment(0, "a", "now", PARIS)],
        Fragment(0, None, "invented", ROME),
        [("a", "now", PARIS), ("", "invented", ROME)],
    ),
    "another name, of no declared tool; the call's arguments have begun": (
        [Fragment(0, "a", "now", OPEN)],
        Fragment(0, None, "invented", "1}"),
        [("a", "now", '{"city":1}')],
    ),
    "another name, of no declared tool": (
        [Fragment(0, "a", "get_", "")],
        Fragment(0, None, "wea", ""),
        [("a", "get_wea", "")],
    ),
    "the call's id, another name; the call's arguments have begun": (
        [Fragment(0, "a", "now", OPEN)],
        Fragment(0, "a", "get_weather", "1}"),
        [("a", "now", '{"city":1}')],
    ),
    "another name; the call's arguments have begun": (
        [Fragment(0, "a", "now", OPEN)],
        Fragment(0, None, "get_weather", "1}"),
        [("a", "now", OPEN), ("", "get_weather", "1}")],
    ),
    "another name, which is a piece of one": (
        [Fragment(0, "a", "get_", "")],
        Fragment(0, None, "now", "{}"),
        [("a", "get_now", "{}")],
    ),
    "another name": (
        [Fragment(0, "a", "now", "")],
        Fragment(0, None, "get_weather", "{}"),
        [("a", "now", ""), ("", "get_weather", "{}")],
    ),
}


def add(assembler: ToolCallAssembler, fragment: Fragment) -> None:
    index, call_id, name, arguments = fragment
    assembler.add(CallPayload(index, call_id, FunctionPayload(name, arguments)))


def by_the_tables(
    calls: Calls, fragment: Fragment
) -> tuple[list[Row[Any, Any]], GrowingCall | None, Effect]:
    """The rows that decide, to which call the fragment belongs, and what it does."""
    traces = calls.traces(fragment.index, fragment.id)
    which = decide(CANDIDATES, traces)
    candidate = {
        Candidate.OF_INDEX: traces.of_index,
        Candidate.OF_ID: traces.of_id,
        Candidate.LAST: calls.last,
        Candidate.NONE: None,
    }[which.outcome]
    if candidate is None:
        return [which], None, Effect.OPENS
    what = decide(SITUATIONS, calls.case(candidate, *fragment[1:]))
    return [which, what], None if what.outcome is Effect.OPENS else candidate, what.outcome


def test_every_row_is_played() -> None:
    assert list(PLAYED) == [row.situation for row in (*CANDIDATES, *SITUATIONS)]


@pytest.mark.parametrize("row", [*CANDIDATES, *SITUATIONS], ids=lambda row: row.situation)
def test_a_row_decides_in_its_situation_and_what_it_says_happens(row: Row[Any, Any]) -> None:
    before, fragment, after = PLAYED[row.situation]
    assembler = ToolCallAssembler(DECLARED)
    for one in before:
        add(assembler, one)
    calls = assembler.calls
    rows, _, effect = by_the_tables(calls, fragment)
    begun = len(calls.all)
    add(assembler, fragment)

    assert row in rows
    assert (len(calls.all) > begun) == (effect is Effect.OPENS)
    assert [(call.id or "", call.name or "", call.arguments) for call in calls.all] == after


NAMES = st.sampled_from([None, "now", "get_", "get_now", "get_weather", "weather", "invented"])
FRAGMENTS = st.builds(
    Fragment,
    st.sampled_from([None, 0, 0, 1, 2]),
    st.sampled_from([None, None, "a", "b", "c"]),
    NAMES,
    st.sampled_from(["", " ", "{}", PARIS, ROME, OPEN, '"Paris"}', "1}", "{"]),
)


@given(st.lists(FRAGMENTS, max_size=12))
def test_whatever_comes_the_tables_decide(fragments: list[Fragment]) -> None:
    assembler = ToolCallAssembler(DECLARED)
    for fragment in fragments:
        _, call, effect = by_the_tables(assembler.calls, fragment)

        assert assembler.calls.place(*fragment) == (call, effect)
        if assembler.calls.continued(*fragment[:3]) is not None:
            assert assembler.calls.last is call
            assert effect is Effect.CONTINUES

        known = len(assembler.calls.all)
        add(assembler, fragment)
        assert assembler.calls.last is (assembler.calls.all[known] if call is None else call)
