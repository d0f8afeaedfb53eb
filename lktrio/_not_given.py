"""How "this argument was not given" is written, where None is a value of its own.

``temperature=None`` sends a JSON null; ``temperature=NOT_GIVEN`` sends nothing, so that the next
setting in line, or the server, decides. The names are those of LiveKit Agents.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, TypeGuard, TypeVar, final

from ._public import public

__all__ = ["NOT_GIVEN", "NotGiven", "NotGivenOr", "is_given"]

T = TypeVar("T")


@public
@final
class NotGiven:
    """The type of `NOT_GIVEN`, its only instance.

    It is false, prints as ``NOT_GIVEN``, and stays the same object when called, copied or
    pickled, so ``is`` may be used to test for it.
    """

    __slots__ = ()

    def __new__(cls) -> NotGiven:
        """Return `NOT_GIVEN`."""
        return NOT_GIVEN

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __reduce__(self) -> str:
        # The name of a module attribute: copy and pickle then return that very object.
        return "NOT_GIVEN"


NOT_GIVEN: Final[NotGiven] = object.__new__(NotGiven)
"""The default of an argument for which None is a value: nothing was said about it."""

NotGivenOr: TypeAlias = T | NotGiven
"""``NotGivenOr[float | None]``: the value may be left out, and None is not the same as that."""


@public
def is_given(value: NotGivenOr[T]) -> TypeGuard[T]:
    """Whether the caller said anything, None included.

    Type checkers take the value for given where this is true.

    Args:
        value: An argument whose default is `NOT_GIVEN`.

    Returns:
        False for `NOT_GIVEN`, True for everything else.
    """
    return value is not NOT_GIVEN
