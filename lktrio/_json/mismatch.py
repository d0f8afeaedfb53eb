"""The one exception for a value that does not fit a type, and where in the value it is wrong.

What is wrong there is said by a cause, whose words are made when somebody reads them. How what was
expected is put into words is known to `_descriptions`, and how a mismatch is found to neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeAlias

import attrs
import msgspec

from lktrio._definitions import public

__all__ = [
    "COUNTED_PROBLEMS",
    "MAX_PROBLEMS",
    "Cause",
    "Mismatch",
    "Path",
    "Problem",
    "Refusal",
    "refused",
]

Path: TypeAlias = tuple[str | int, ...]

COUNTED_PROBLEMS: Final = 100
"""Nobody reads more, and a hostile value has as many as it has members."""

MAX_PROBLEMS: Final = COUNTED_PROBLEMS + 1
"""So many are looked for, to know whether there are more than are counted."""

_MAX_STEP: Final = 60


class Cause(Protocol):
    """What is wrong with a value."""

    @property
    def is_wrong_type(self) -> bool:
        """Whether the type of the value is wrong, and not only the value."""
        ...

    def text(self) -> str:
        """What is wrong, as a model is told."""
        ...


@public
@attrs.frozen(eq=False, repr=False)
class Problem:
    """One thing that is wrong with a value."""

    path: Path
    """Where it is: names of members, and positions in lists."""

    cause: Cause
    """What is wrong, in the form in which it was found."""

    @property
    def message(self) -> str:
        """What was expected there and what was found."""
        # Most problems are never shown, so the words are made when they are asked for.
        return self.cause.text()

    def __str__(self) -> str:
        path = "".join(
            f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in self.path
        )
        return f"{path.lstrip('.')}: {self.message}" if path else self.message

    def __repr__(self) -> str:
        # Not the cause: it holds the value.
        return f"Problem(path={self.path!r})"


def _short(step: str) -> str:
    return step if len(step) <= _MAX_STEP else step[:_MAX_STEP] + "..."


@public
class Mismatch(ValueError):
    """A value does not fit a type.

    Args:
        problems: What is wrong, at least one thing.
    """

    problems: tuple[Problem, ...]
    """What is wrong, in the order in which it was found; about the first hundred things if there
    are more."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(itertools.islice(problems, MAX_PROBLEMS))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,), dict(self.__dict__)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))

    def under(self, step: str | int) -> list[Problem]:
        """The problems as seen from the container in which the value is at a place."""
        return [Problem((step, *problem.path), problem.cause) for problem in self.problems]


class Refusal(msgspec.Struct, frozen=True, eq=False):
    """Something was refused, for a reason that is not in the shape of what was expected."""

    reason: str
    """The reason, as half a sentence or a whole one."""

    is_wrong_type: bool = False
    """Whether the type of the value is wrong, and not only the value."""

    def text(self) -> str:
        """The reason."""
        return self.reason


def refused(reason: str, *, is_wrong_type: bool = False) -> Mismatch:
    """A value was refused, for a reason that is not in its shape."""
    return Mismatch([Problem((), Refusal(reason, is_wrong_type))])
