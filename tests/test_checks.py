"""Which arguments are refused, and how it is said."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

from lktrio._checks import (
    check_callable,
    check_flag,
    check_instance,
    check_integer,
    check_name,
    check_seconds,
    check_share,
    check_sync_callable,
    is_async_callable,
    is_integer,
    is_number,
    not_awaitable,
    refusal,
)


class Level(enum.IntEnum):
    ONE = 1


class Seconds(float):
    pass


TAKEN: list[tuple[Callable[..., None], object, dict[str, Any]]] = [
    (check_integer, 0, {"least": 0}),
    (check_integer, Level.ONE, {"least": 1}),
    (check_integer, None, {"least": 1, "none": "no limit"}),
    (check_seconds, 1, {}),
    (check_seconds, Seconds(0.5), {}),
    (check_seconds, math.inf, {}),
    (check_seconds, 0, {"zero": True, "infinite": False}),
    (check_seconds, None, {"none": "no limit"}),
    (check_share, 0, {"example": "0.1"}),
    (check_share, 1.0, {"example": "0.1"}),
    (check_flag, False, {}),
    (check_flag, None, {"optional": True}),
    (check_name, "openai/gpt-4.1-mini", {"example": "a"}),
    (check_name, "\u00e9 1", {"example": "a"}),
    (check_instance, 1, {"classes": (int, str), "wanted": "an int or a str"}),
]


@pytest.mark.parametrize(("check", "value", "options"), TAKEN)
def test_what_fits_is_taken(
    check: Callable[..., None], value: object, options: dict[str, Any]
) -> None:
    check("x", value, **options)


INTEGER = "it takes an integer, 1 or more"
SECONDS = "it takes a number of seconds, greater than 0"
SHARE = "it takes a share from 0 to 1, for example 0.1"
REFUSED: list[tuple[Callable[..., None], object, dict[str, Any], type[Exception], str]] = [
    (check_integer, 0, {"least": 1}, ValueError, f"x=0 is not accepted; {INTEGER}"),
    (
        check_integer,
        True,
        {"least": 1},
        TypeError,
        f"x=True is not accepted; {INTEGER}, not a bool",
    ),
    (check_integer, 1.0, {"least": 1}, TypeError, f"x=1.0 is not accepted; {INTEGER}, not a float"),
    (
        check_integer,
        None,
        {"least": 1},
        TypeError,
        f"x=None is not accepted; {INTEGER}, not None",
    ),
    (
        check_integer,
        -1,
        {"least": 1, "none": "no limit"},
        ValueError,
        f"x=-1 is not accepted; {INTEGER}, or None for no limit",
    ),
    (check_seconds, 0, {}, ValueError, f"x=0 is not accepted; {SECONDS}, math.inf for no limit"),
    (check_seconds, math.nan, {"infinite": False}, ValueError, f"x=nan is not accepted; {SECONDS}"),
    (check_seconds, math.inf, {"infinite": False}, ValueError, f"x=inf is not accepted; {SECONDS}"),
    (
        check_seconds,
        -0.1,
        {"zero": True, "infinite": False},
        ValueError,
        "x=-0.1 is not accepted; it takes a number of seconds, at least 0",
    ),
    (
        check_seconds,
        True,
        {"none": "no timeout"},
        TypeError,
        f"x=True is not accepted; {SECONDS}, or None for no timeout, not a bool",
    ),
    (
        check_seconds,
        None,
        {"infinite": False},
        TypeError,
        f"x=None is not accepted; {SECONDS}, not None",
    ),
    (check_share, 1.1, {"example": "0.1"}, ValueError, f"x=1.1 is not accepted; {SHARE}"),
    (check_share, math.nan, {"example": "0.1"}, ValueError, f"x=nan is not accepted; {SHARE}"),
    (check_share, "1", {"example": "0.1"}, TypeError, f"x='1' is not accepted; {SHARE}, not a str"),
    (check_flag, 1, {}, TypeError, "x=1 is not accepted; it takes True or False, not an int"),
    (
        check_flag,
        None,
        {},
        TypeError,
        "x=None is not accepted; it takes True or False, not None",
    ),
    (
        check_flag,
        "no",
        {"optional": True},
        TypeError,
        "x='no' is not accepted; it takes True, False or None, not a str",
    ),
    (
        check_name,
        " ",
        {"example": "a"},
        ValueError,
        "x=' ' is not accepted; it takes a name such as 'a'",
    ),
    (
        check_name,
        "a\n",
        {"example": "a"},
        ValueError,
        "x='a\\n' is not accepted; it takes a name such as 'a'",
    ),
    (
        check_name,
        b"a",
        {"example": "a"},
        TypeError,
        "x=b'a' is not accepted; it takes a name such as 'a', not a bytes",
    ),
    (
        check_instance,
        "s",
        {"classes": int, "wanted": "an int"},
        TypeError,
        "x must be an int, not a str",
    ),
    (
        check_instance,
        None,
        {"classes": int, "wanted": "an int", "advice": "make one with int()"},
        TypeError,
        "x must be an int, not None; make one with int()",
    ),
]


@pytest.mark.parametrize(("check", "value", "options", "error", "message"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_voice(
    check: Callable[..., None],
    value: object,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        check("x", value, **options)

    assert type(caught.value) is error
    assert str(caught.value) == message


def test_a_bool_is_no_number() -> None:
    assert [is_integer(value) for value in (1, True, 1.0, "1")] == [True, False, False, False]
    assert [is_number(value) for value in (1, True, 1.0, "1")] == [True, False, True, False]


def test_a_long_value_is_not_shown_whole() -> None:
    assert len(refusal("x", "long" * 10_000, "less")) < 200


async def coroutine(*_: Any) -> None:
    pass


async def generator(*_: Any) -> AsyncIterator[None]:
    yield


def plain(*_: Any) -> int:
    return 7


class Methods:
    async def asynchronous(self) -> None:
        pass

    def synchronous(self) -> None:
        pass


class AsyncCall:
    async def __call__(self) -> None:
        pass


class Awaitable:
    """Something to be awaited that is no coroutine."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield


@pytest.mark.parametrize(
    "value",
    [
        coroutine,
        generator,
        functools.partial(coroutine, 1),
        functools.partial(functools.partial(generator, 1), 2),
        Methods().asynchronous,
        AsyncCall(),
        functools.partial(AsyncCall()),
    ],
)
def test_what_looks_async_is_refused(value: Any) -> None:
    assert is_async_callable(value)
    check_callable("hook", value)
    with pytest.raises(TypeError, match=r"^hook must not be async"):
        check_sync_callable("hook", value)


@pytest.mark.parametrize(
    "value", [plain, functools.partial(plain, 1), Methods().synchronous, Methods, len, lambda: None]
)
def test_what_does_not_is_taken(value: Any) -> None:
    check_sync_callable("hook", value)


@pytest.mark.parametrize("value", [None, 7, "plain"])
def test_what_cannot_be_called_is_refused(value: Any) -> None:
    for check in (check_callable, check_sync_callable):
        with pytest.raises(TypeError, match=r"^hook must be callable, not (a |an |None)"):
            check("hook", value)


@pytest.mark.parametrize("value", [coroutine, Awaitable])
def test_what_turns_out_to_be_async_is_refused_without_a_warning(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^hook must not be async"):
        not_awaitable("hook", lambda: value())


def test_anything_else_is_handed_on() -> None:
    assert not_awaitable("hook", plain) == 7
