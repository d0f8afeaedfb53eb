"""To which call a fragment of a tool call belongs, whatever a server does with indexes, ids, names.

This module knows the table of situations, and decides by it. It does not know how large calls may
be, nor when they are handed out.

A fragment is one entry of a ``tool_calls`` list. Two questions are asked, one after the other:
`CANDIDATES` answers which call it could continue, `SITUATIONS` whether it does. The first row that
applies decides, so each row is to be read as if none of those above it applied. Empty strings and
null count as absent. What stands in the last column happens besides filling in the call's index, id
and name where it had none.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from typing import Final, Generic, NamedTuple, TypeVar

from .growing_call import GrowingCall, starts_object

__all__ = [
    "CANDIDATES",
    "SITUATIONS",
    "Calls",
    "Candidate",
    "Case",
    "Effect",
    "Row",
    "Traces",
    "decide",
]


class Traces(NamedTuple):
    """Where a fragment leads."""

    id: str | None
    """Its id."""

    has_index: bool
    """Whether it has an index."""

    of_index: GrowingCall | None
    """The call that was known by its index last."""

    of_id: GrowingCall | None
    """The call that was known by its id last."""


class Case(NamedTuple):
    """A fragment beside the call that it could continue."""

    call: GrowingCall
    """The candidate."""

    id: str | None
    """The fragment's id."""

    name: str | None
    """Its name."""

    arguments: str
    """Its arguments."""

    has_other_id: bool
    """Whether it has an id and it is none of the call's."""

    has_its_id: bool
    """Whether it has an id and it is the call's."""

    declared: Collection[str]
    """Names of the tools that the request offered."""

    @property
    def goes_on(self) -> bool:
        """Whether the fragment's arguments begin in the middle of an object."""
        return bool(self.arguments.strip()) and not starts_object(self.arguments)

    @property
    def is_another_object(self) -> bool:
        """Whether its arguments start an object, and not the one that the call has."""
        return starts_object(self.arguments) and not self.call.repeats(self.arguments)

    @property
    def is_declared(self) -> bool:
        """Whether its name is a tool's."""
        return self.name in self.declared

    @property
    def spells(self) -> bool:
        """Whether its name goes on with the call's, or is the call's name so far and more."""
        name, so_far = self.name or "", self.call.name or ""
        return so_far not in self.declared and (
            so_far + name in self.declared or name.startswith(so_far)
        )


class Candidate(enum.Enum):
    """The call that a fragment could continue."""

    OF_INDEX = "the call of the index"
    OF_ID = "the call of the id"
    LAST = "the call touched last; if there is none, a new call"
    NONE = "a new call"


class Effect(enum.Enum):
    """What a fragment does."""

    CONTINUES = "same call: append the arguments"
    SPELLS = "same call: append to the name, or take it for the name if it begins with it"
    OPENS = "new call, which takes over the index"


T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)


class Row(Generic[T, E]):
    """One row of a table.

    Args:
        situation: What is so, in words.
        applies: Whether it is, if none of the rows above applies.
        outcome: What follows.
    """

    __slots__ = ("applies", "outcome", "situation")

    def __init__(self, situation: str, applies: Callable[[T], bool], outcome: E) -> None:
        self.situation = situation
        self.applies = applies
        self.outcome = outcome


CANDIDATES: Final[tuple[Row[Traces, Candidate], ...]] = (
    Row(
        "known index, whose call has another id; the id is known",
        lambda to: bool(to.of_index and to.of_id and to.of_index.has_other_id(to.id)),
        Candidate.OF_ID,
    ),
    Row("known index", lambda to: to.of_index is not None, Candidate.OF_INDEX),
    Row(
        "unknown index; the id is known, of a call that had no index yet",
        lambda to: to.has_index and to.of_id is not None and not to.of_id.has_index,
        Candidate.OF_ID,
    ),
    Row("unknown index", lambda to: to.has_index, Candidate.NONE),
    Row("no index; the id is known", lambda to: to.of_id is not None, Candidate.OF_ID),
    Row("no index", lambda _: True, Candidate.LAST),
)
"""The first question: which call could a fragment continue?"""

SITUATIONS: Final[tuple[Row[Case, Effect], ...]] = (
    Row("no id and no name", lambda it: not (it.id or it.name), Effect.CONTINUES),
    # Some servers make up an id for each fragment.
    Row(
        "another id, and nothing else; the call's arguments form an object",
        lambda it: it.has_other_id and not (it.name or it.arguments) and it.call.forms_object,
        Effect.OPENS,
    ),
    Row("another id, no name", lambda it: it.has_other_id and not it.name, Effect.CONTINUES),
    Row(
        "another id, the same name; the arguments go on with an object that is open",
        lambda it: it.has_other_id and it.name == it.call.name and it.call.is_open and it.goes_on,
        Effect.CONTINUES,
    ),
    Row("another id, a name", lambda it: it.has_other_id, Effect.OPENS),
    Row(
        "no name, or the call has none", lambda it: not (it.name and it.call.name), Effect.CONTINUES
    ),
    Row(
        "no id, the same name; the call's arguments are whole, and another object starts",
        lambda it: (
            it.name == it.call.name
            and not it.has_its_id
            and it.call.is_whole
            and it.is_another_object
        ),
        Effect.OPENS,
    ),
    Row("the same name", lambda it: it.name == it.call.name, Effect.CONTINUES),
    Row(
        "another name; the call's arguments form an object",
        lambda it: it.call.forms_object,
        Effect.OPENS,
    ),
    Row(
        "another name, of no declared tool; the call's arguments have begun",
        lambda it: not it.is_declared and it.call.is_started,
        Effect.CONTINUES,
    ),
    Row("another name, of no declared tool", lambda it: not it.is_declared, Effect.SPELLS),
    Row(
        "the call's id, another name; the call's arguments have begun",
        lambda it: it.call.is_started and it.has_its_id,
        Effect.CONTINUES,
    ),
    Row(
        "another name; the call's arguments have begun", lambda it: it.call.is_started, Effect.OPENS
    ),
    Row("another name, which is a piece of one", lambda it: it.spells, Effect.SPELLS),
    Row("another name", lambda _: True, Effect.OPENS),
)
"""The second question: does a fragment continue its candidate?"""


def decide(rows: tuple[Row[T, E], ...], case: T) -> Row[T, E]:
    """The first row that applies. The last one applies to all that is left."""
    for row in rows[:-1]:
        if row.applies(case):
            return row
    return rows[-1]


class Calls:
    """The calls of one answer, in order of appearance, and where they are found.

    Args:
        declared: Names of the tools that the request offered.
    """

    def __init__(self, declared: Collection[str]) -> None:
        self.declared = declared
        self.all: list[GrowingCall] = []
        """In order of appearance."""
        self.last: GrowingCall | None = None
        """The call touched last."""
        self._by_index: dict[int | str, GrowingCall] = {}
        self._by_id: dict[str, GrowingCall] = {}

    def open(self) -> GrowingCall:
        """Begin a call."""
        call = GrowingCall()
        self.all.append(call)
        return call

    def traces(self, index: int | str | None, call_id: str | None) -> Traces:
        """Where a fragment leads."""
        return Traces(
            call_id,
            index is not None,
            None if index is None else self._by_index.get(index),
            self._by_id.get(call_id) if call_id else None,
        )

    def candidate(self, traces: Traces) -> GrowingCall | None:
        """The call that a fragment could continue."""
        match decide(CANDIDATES, traces).outcome:
            case Candidate.OF_INDEX:
                return traces.of_index
            case Candidate.OF_ID:
                return traces.of_id
            case Candidate.LAST:
                return self.last
            case Candidate.NONE:  # pragma: no branch - there is no other
                return None

    def case(
        self, call: GrowingCall, call_id: str | None, name: str | None, arguments: str
    ) -> Case:
        """A fragment beside its candidate."""
        is_other = call.has_other_id(call_id)
        is_same = bool(call_id and call.id) and not is_other
        return Case(call, call_id, name, arguments, is_other, is_same, self.declared)

    def continued(
        self, index: int | str | None, call_id: str | None, name: str | None
    ) -> GrowingCall | None:
        """The call of a fragment's index, touched, if nothing in the fragment says more than the
        index, as in nearly all; None for any other. `place` and `note` come to the same."""
        call = self._by_index.get(index) if index is not None else None
        if (
            call is None
            or (call_id and call_id not in call.ids)
            or (name and not (call_id and name == call.name))
        ):
            return None
        if call_id:
            self._by_id[call_id] = call
        self.last = call
        return call

    def place(
        self, index: int | str | None, call_id: str | None, name: str | None, arguments: str
    ) -> tuple[GrowingCall | None, Effect]:
        """The call to which a fragment belongs, or None if it opens one, and what it does to it."""
        call = self.candidate(self.traces(index, call_id))
        if call is None:
            return None, Effect.OPENS
        effect = decide(SITUATIONS, self.case(call, call_id, name, arguments)).outcome
        return (None if effect is Effect.OPENS else call), effect

    def note(self, call: GrowingCall, index: int | str | None, call_id: str | None) -> None:
        """From now on an index and an id lead to this call."""
        if index is not None:
            self._by_index[index] = call
            call.has_index = True
        if call_id:
            call.id = call.id or call_id
            call.ids.add(call_id)
            self._by_id[call_id] = call
        self.last = call
