"""Callables of a program that are called and not awaited.

This module alone knows how an async one is told from the others: by its looks where it is handed
in, or else by what it returns. What the callables are for is known where they are called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

__all__ = ["check_callable", "check_sync_callable", "is_async_callable", "not_awaitable"]

T = TypeVar("T")


def check_callable(name: str, value: object) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not a {type(value).__name__}")


def check_sync_callable(name: str, value: object) -> None:
    """Refuse what cannot be called, and what would have to be awaited."""
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
