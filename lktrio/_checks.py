"""Arguments of a program: whether one was given, and whether it is what it must be.

All refusals speak with one voice: a refusal names the parameter, the value and what is taken
instead. What an argument means, and what depends on another one, is known where it is used.

``temperature=None`` sends a JSON null; ``temperature=NOT_GIVEN`` sends nothing, so that the next
setting in line, or the server, decides. These names are those of LiveKit Agents.
"""

from __future__ import annotations

import functools
import inspect
import math
import reprlib
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, TypeGuard, TypeVar, final

from ._definitions import public

__all__ = [
    "NOT_GIVEN",
    "NotGiven",
    "NotGivenOr",
    "check_callable",
    "check_flag",
    "check_instance",
    "check_integer",
    "check_name",
    "check_seconds",
    "check_share",
    "check_sync_callable",
    "is_async_callable",
    "is_given",
    "is_integer",
    "is_number",
    "kind_of",
    "not_awaitable",
    "refusal",
    "shown",
]

T = TypeVar("T")

# --- Given or not -------------------------------------------------------------------------------


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


# --- Refusals ------------------------------------------------------------------------------------

_repr: Final = reprlib.Repr()
_repr.maxstring = _repr.maxother = 100


def shown(value: object) -> str:
    """A short ``repr`` for error messages, whatever the size of the value."""
    return _repr.repr(value)


def refusal(name: str, value: object, wanted: str) -> str:
    """The sentence that refuses a value.

    Args:
        name: The parameter.
        value: What was given.
        wanted: What it takes, as half a sentence.
    """
    return f"{name}={shown(value)} is not accepted; it takes {wanted}"


def kind_of(value: object) -> str:
    """What sort of thing a value is, with its article, for the end of a refusal: "a str".

    Args:
        value: What was given.
    """
    if value is None:
        return "None"
    name = type(value).__name__
    # "LLM" is spoken letter by letter.
    sounds_like_a_vowel = name[:1].lower() in "aeiou" or name.startswith("LLM")
    return f"{'an' if sounds_like_a_vowel else 'a'} {name}"


def _refused(name: str, value: object, wanted: str, *, fits_type: bool) -> ValueError | TypeError:
    if fits_type:
        return ValueError(refusal(name, value, wanted))
    return TypeError(refusal(name, value, f"{wanted}, not {kind_of(value)}"))


# --- Numbers, flags and names --------------------------------------------------------------------


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer. True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is an integer or a float. True and False are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_integer(name: str, value: object, *, least: int, none: str | None = None) -> None:
    """Refuse what is no integer, or too small.

    Args:
        name: The parameter.
        value: What was given.
        least: The smallest that is taken.
        none: What None means. If it is not said, None is refused.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less.
    """
    if value is None and none is not None:
        return
    if not is_integer(value) or value < least:
        wanted = f"an integer, {least} or more" + (f", or None for {none}" if none else "")
        raise _refused(name, value, wanted, fits_type=is_integer(value))


def check_seconds(
    name: str,
    value: object,
    *,
    zero: bool = False,
    infinite: bool = True,
    none: str | None = None,
) -> None:
    """Refuse what is no number of seconds.

    Args:
        name: The parameter.
        value: What was given.
        zero: Whether 0 is taken.
        infinite: Whether `math.inf` is taken.
        none: What None means. If it is not said, None is refused.

    Raises:
        TypeError: It is no number.
        ValueError: It is NaN, or out of range.
    """
    if value is None and none is not None:
        return
    if is_number(value):
        # NaN fails every comparison.
        in_range = value >= 0 if zero else value > 0
        if in_range and (infinite or value != math.inf):
            return
    wanted = f"a number of seconds, {'at least' if zero else 'greater than'} 0"
    if none is not None:
        wanted += f", or None for {none}"
    elif infinite:
        wanted += ", math.inf for no limit"
    raise _refused(name, value, wanted, fits_type=is_number(value))


def check_share(name: str, value: object, example: str) -> None:
    """Refuse what is no number from 0 to 1.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    if not is_number(value) or not 0 <= value <= 1:
        wanted = f"a share from 0 to 1, for example {example}"
        raise _refused(name, value, wanted, fits_type=is_number(value))


def check_flag(name: str, value: object, *, optional: bool = False) -> None:
    """Refuse what is neither True nor False, nor None where that is taken.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bool) and not (optional and value is None):
        wanted = "True, False or None" if optional else "True or False"
        raise _refused(name, value, wanted, fits_type=False)


def check_name(name: str, value: object, example: str) -> None:
    """Refuse what is no name: a string with something in it that can be printed.

    Raises:
        TypeError: It is no string.
        ValueError: It is blank, or holds control characters.
    """
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        wanted = f"a name such as {example!r}"
        raise _refused(name, value, wanted, fits_type=isinstance(value, str))


def check_instance(
    name: str, value: object, classes: type | tuple[type, ...], wanted: str, advice: str = ""
) -> None:
    """Refuse what is of another class. The value is not shown: it may be long, or secret.

    Args:
        name: The parameter.
        value: What was given.
        classes: What it may be an instance of.
        wanted: What that is, with its article.
        advice: How to come by one, as half a sentence.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, classes):
        text = f"{name} must be {wanted}, not {kind_of(value)}"
        raise TypeError(f"{text}; {advice}" if advice else text)


# --- Callables -----------------------------------------------------------------------------------


def check_callable(name: str, value: object) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: It cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {kind_of(value)}")


def check_sync_callable(name: str, value: object) -> None:
    """Refuse what cannot be called, and what would have to be awaited.

    Raises:
        TypeError: It cannot, or would have to be.
    """
    check_callable(name, value)
    if is_async_callable(value):
        raise TypeError(f"{name} must not be async: it is called, but never awaited")


def is_async_callable(value: object) -> bool:
    """Whether calling something gives an awaitable or an async iterator, as far as can be seen.

    A function behind a decorator that does not say so is only found out by `not_awaitable`.
    """
    while isinstance(value, functools.partial):
        value = value.func
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (value, getattr(value, "__call__", None))  # noqa: B004 - its kind is asked for
    )


def not_awaitable(name: str, call: Callable[[], T]) -> T:
    """Call a callable and return what it returns.

    Raises:
        TypeError: That is an awaitable, which nobody would await.
    """
    value = call()
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            # Else Python warns that it was never awaited.
            value.close()
        raise TypeError(f"{name} must not be async: it is called, but never awaited")
    return value
