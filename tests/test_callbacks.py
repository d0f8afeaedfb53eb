"""Which callables are refused because nobody would await them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from lktrio._callbacks import check_callable, check_sync_callable, is_async_callable, not_awaitable


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
        with pytest.raises(TypeError, match=r"^hook must be callable, not a "):
            check("hook", value)


@pytest.mark.parametrize("value", [coroutine, Awaitable])
def test_what_turns_out_to_be_async_is_refused_without_a_warning(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^hook must not be async"):
        not_awaitable("hook", lambda: value())


def test_anything_else_is_handed_on() -> None:
    assert not_awaitable("hook", plain) == 7
