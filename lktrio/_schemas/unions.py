"""Which member of a union a value is, and what is said if it is none of them.

This module knows in which order the members are tried and which of those that fit is kept. It does
not know how a member is read.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, TypeAlias

import attrs

from lktrio._json import Mismatch, Problem, Refusal, is_list, is_object, json_type_of

from .descriptions import Unfit, describe
from .leaves import Hook
from .leniency import Memo, Tolerance, Trial, container_of, in_text, tolerate, trial
from .shapes import (
    Alias,
    Anything,
    Array,
    Choice,
    Custom,
    FixedTuple,
    Foreign,
    Member,
    OneOf,
    Record,
    Refined,
    Scalar,
    Shape,
    StringKeyed,
    Text,
)

__all__ = ["Option", "exact_union_hook", "union_hook"]


@attrs.frozen(eq=False)
class Option:
    """A member of a union."""

    shape: Shape
    """What it looks like."""

    type: Any
    """Its type."""

    hook: Hook
    """What makes a value of it."""

    is_own: bool
    """Whether that is a hook of the program, which may read what it likes."""

    bare: Shape = attrs.field(init=False)
    """The shape without its metadata."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "bare", _bare(self.shape))


def _ranked(options: Sequence[Option], value: object) -> list[int]:
    """In which order the members are tried.

    The type JSON itself would choose comes first, so that nothing is lost: a string stays a
    string, and an integer is no float. Of the classes, the one comes first that knows most of
    the keys. The order in which the members were written decides only what is left: Python takes
    ``Union[int, str]`` and ``Union[str, int]`` for the same type.
    """
    return sorted(range(len(options)), key=lambda place: _rank(options[place].bare, value))


def _rank(member: Shape, value: object) -> tuple[int, int]:
    match member:
        case Scalar(python=python):
            return (0 if type(value) is python else _SCALAR_RANKS[python]), 0
        case Choice():
            return 4, 0
        case Text(python=python):
            return (6 if python in (decimal.Decimal, bytes) else 5), 0
        case Record() if is_object(value):
            known = value.keys() & _names(member)
            return 7, -len(known)
        case Record() | Foreign() | FixedTuple():
            return 7, 0
        case Array(unique=unique):
            return (9 if unique else 8), 0
        case StringKeyed():
            return 9, 0
        case Custom(json_types=json_types):
            return min((_CUSTOM_RANKS.get(type_, 10) for type_ in json_types), default=10), 0
        case _:
            return 10, 0


_SCALAR_RANKS: Final[dict[type[Any], int]] = {bool: 1, int: 1, float: 2, str: 3}
_CUSTOM_RANKS: Final = {
    "boolean": 5,
    "integer": 5,
    "number": 5,
    "string": 5,
    "object": 7,
    "array": 8,
}


def _names(record: Record) -> set[str]:
    return {field.name for field in record.fields}


def _bare(shape: Shape) -> Shape:
    while True:
        match shape:
            case Refined(inner=inner) | Alias(target=inner):
                shape = inner
            case _:
                return shape


def _sole_option(options: Sequence[Option]) -> Callable[[object], Sequence[int] | None] | None:
    """Find the member by its tag, where a tag alone decides.

    Args:
        options: The members.

    Returns:
        Takes a value, and returns the one member that it can be by its tag, none if there is no
        such tag, or None if the tag does not say. None if no tag alone decides.
    """
    takers = [place for place, option in enumerate(options) if _takes_objects(option.bare)]
    if any(options[place].is_own or _is_default(options[place].type) for place in takers):
        return None
    tags = _tags(options[place].bare for place in takers)
    if not tags or len(takers) < 2:
        return None
    name, choices = next(iter(tags.items()))
    places: dict[object, tuple[int, ...]] = {}
    for place, choice in zip(takers, choices, strict=True):
        for allowed, _ in choice.members:
            if allowed in places:
                return None
            places[allowed] = (place,)

    def choose(value: object) -> Sequence[int] | None:
        if not is_object(value):
            return None
        tag = value.get(name, _MISSING)
        return places.get(tag, ()) if isinstance(tag, str | int) else None

    return choose


def _is_default(type_: object) -> bool:
    return isinstance(type_, Member) and type_.is_default


def _takes_objects(member: Shape) -> bool:
    match member:
        case Record() | Foreign() | StringKeyed() | Anything() | OneOf():
            return True
        case Custom(json_types=json_types):
            return "object" in json_types
        case _:
            return False


def _union_mismatch(
    union: OneOf,
    options: Sequence[Option],
    value: object,
    failures: Mapping[int, tuple[Problem, ...]],
    *,
    names_all: bool,
) -> tuple[Problem, ...]:
    """Say what is wrong by the member that was meant, if that can be told.

    Args:
        union: The union.
        options: Its members.
        value: What was found.
        failures: What was wrong with it for each member that was tried.
        names_all: Whether to say all that is accepted where the value as a whole does not fit,
            and not only what was probably meant.

    Returns:
        What is wrong.
    """
    whole = (Problem((), Unfit(union, value)),)
    meant = [place for place, option in enumerate(options) if _may_be_meant(option.bare, value)]
    if is_object(value):
        tags = _tags(options[place].bare for place in meant)
        for name, choices in tags.items():
            tagged = [
                place
                for place, choice in zip(meant, choices, strict=True)
                if any(value.get(name, _MISSING) == allowed for allowed, _ in choice.members)
            ]
            if len(tagged) == 1 and tagged[0] in failures:
                return failures[tagged[0]]
            if not tagged:
                allowed = Choice(tuple(member for choice in choices for member in choice.members))
                if name in value:
                    return (Problem((name,), Unfit(allowed, value[name])),)
                return (Problem((name,), Refusal(f"expected {describe(allowed)}, got nothing")),)
    if len(meant) == 1 and meant[0] in failures:
        problems = failures[meant[0]]
        is_whole = not problems[0].path and isinstance(problems[0].cause, Unfit)
        return whole if names_all and is_whole else problems
    return whole


_MISSING: Final = object()


def _may_be_meant(member: Shape, value: object) -> bool:
    if isinstance(member, Custom):
        return json_type_of(value) in member.json_types
    match value:
        case dict():
            return isinstance(member, Record | Foreign | StringKeyed)
        case list():
            return isinstance(member, Array | FixedTuple) or (
                isinstance(member, Record) and member.is_tuple
            )
        case None:
            return False
        case _:
            return isinstance(member, Scalar | Text | Choice)


def _tags(members: Iterable[Shape]) -> dict[str, list[Choice]]:
    """The fields that are literals in every one of several records."""
    tags: dict[str, list[Choice]] | None = None
    for member in members:
        if not isinstance(member, Record):
            return {}
        own = {
            field.name: choice
            for field in member.fields
            if isinstance(choice := _bare(field.shape), Choice)
        }
        if tags is None:
            tags = {name: [choice] for name, choice in own.items()}
        else:
            tags = {name: [*tags[name], own[name]] for name in tags if name in own}
    return tags or {}


# --- Trying --------------------------------------------------------------------------------------

_Outcome: TypeAlias = tuple[object, Tolerance, tuple[Problem, ...] | None]
"""What a value became, what had to be tolerated for it, and what was wrong if it became nothing."""


def exact_union_hook(union: OneOf, options: Sequence[Option]) -> Hook:
    """Make what reads a union of which the first member that fits is the right one.

    Args:
        union: The union.
        options: Its members.

    Returns:
        The hook.
    """

    def structure(value: object, _: object) -> object:
        failures: dict[int, tuple[Problem, ...]] = {}
        for place, option in enumerate(options):
            try:
                return option.hook(value, option.type)
            except Mismatch as mismatch:
                failures[place] = mismatch.problems
        for problems in failures.values():
            if isinstance(problems[0].cause, Refusal):
                # This was the right member, so what it says is the more helpful.
                raise Mismatch(problems)
        raise Mismatch(_union_mismatch(union, options, value, failures, names_all=True))

    return structure


def union_hook(union: OneOf, options: Sequence[Option]) -> Hook:
    """Make what reads a union. Each member is tried once, and the best is kept.

    Args:
        union: The union.
        options: Its members.

    Returns:
        The hook.
    """
    reads_text = any(
        _may_be_meant(option.bare, []) or _may_be_meant(option.bare, {}) for option in options
    )
    choose = _sole_option(options) if len(options) > 2 or reads_text else None

    def try_options(value: object, memo: Memo) -> _Outcome:
        failures: dict[int, tuple[Problem, ...]] = {}
        best: _Outcome | None = None
        only = None if choose is None else choose(value)
        for place in _ranked(options, value) if only is None else only:
            option = options[place]
            attempt = Trial(memo)
            token = trial.set(attempt)
            try:
                structured = option.hook(value, option.type)
            except Mismatch as mismatch:
                failures[place] = mismatch.problems
                continue
            finally:
                trial.reset(token)
            if best is None or attempt.tolerated < best[1]:
                best = structured, attempt.tolerated, None
                if attempt.tolerated is Tolerance.NOTHING:
                    break
        if best is not None:
            return best
        problems = _union_mismatch(union, options, value, failures, names_all=False)
        return None, Tolerance.NOTHING, problems

    def try_text(text: str, memo: Memo) -> _Outcome:
        attempt = Trial(memo)
        token, token_in_text = trial.set(attempt), in_text.set(in_text.get())
        try:
            container = container_of(text)
            # First as the string it is. No member is to read it as the text of another.
            in_text.set(True)
            outcome = try_options(text, memo)
            if outcome[2] is None and outcome[1] is not Tolerance.LIBERTIES:
                return outcome
            if not any(_may_be_meant(option.bare, container) for option in options):
                return outcome
            return structure(container, None), Tolerance.LIBERTIES, None
        except Mismatch as mismatch:
            return None, Tolerance.NOTHING, mismatch.problems
        finally:
            in_text.reset(token_in_text)
            trial.reset(token)

    def structure(value: object, _: object) -> object:
        current = trial.get()
        memo: Memo = {} if current is None else current.memo
        if is_object(value) or is_list(value):
            # A part of a value is looked at again for every member its parents may be. What was
            # found the first time is kept, or the work would double with every level.
            key = id(value), id(union)
            if key not in memo:
                memo[key] = value, try_options(value, memo)
            outcome: _Outcome = memo[key][1]
        elif reads_text and isinstance(value, str):
            outcome = try_text(value, memo)
        else:
            outcome = try_options(value, memo)
        structured, tolerated, problems = outcome
        if problems is not None:
            raise Mismatch(problems)
        tolerate(tolerated)
        return structured

    others = [place for place, option in enumerate(options) if option.type is not NoneType]
    if len(others) > 1 or len(options) > 2:
        return structure
    # Nothing has to be tried where there is one member besides None.
    (place,) = others
    hook, type_ = options[place].hook, options[place].type

    def structure_optional(value: object, _: object) -> object:
        if value is None:
            return None
        if reads_text and isinstance(value, str):
            return structure(value, None)
        try:
            return hook(value, type_)
        except Mismatch as mismatch:
            failures = {place: mismatch.problems}
        raise Mismatch(_union_mismatch(union, options, value, failures, names_all=False))

    return structure_optional
