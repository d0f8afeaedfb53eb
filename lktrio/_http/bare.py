"""The one exception of a nursery's group that is raised in its place.

This module knows how exceptions leave a nursery, and which of several matters. It opens none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, cast

import trio

__all__ = ["bare", "raise_bare"]


def raise_bare(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise the one exception that stands for a nursery's group. To be called where the group is
    caught.

    What ends the program comes first (a Ctrl-C), then a failure, then a cancellation. The group
    does not become its context: each would hold the other.
    """
    leaf = bare(group)
    context = leaf.__context__
    try:
        raise leaf
    finally:
        leaf.__context__ = context
        del leaf, context, group


def bare(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception that stands for a nursery's group, with a note on other failures."""
    leaves = list(_leaves(group))
    fatal = [each for each in leaves if not isinstance(each, Exception | trio.Cancelled)]
    failures = [each for each in leaves if isinstance(each, Exception)]
    chosen, *others = fatal or failures or leaves[:1]
    for other in others:
        chosen.add_note(f"at the same time, {type(other).__name__} was raised")
    return chosen


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for part in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
            yield from _leaves(part)
    else:
        yield exc
