"""The one exception of a nursery's group that is raised in its place.

This module knows how exceptions leave a nursery, and which of several matters. It opens none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import trio

__all__ = ["bare"]


def bare(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a nursery's group that is raised in its place.

    What ends the program comes first (a Ctrl-C), then a failure, then a cancellation.
    """
    leaves = list(_leaves(group))
    for leaf in leaves:
        if not isinstance(leaf, Exception | trio.Cancelled):
            return leaf
    for leaf in leaves:
        if isinstance(leaf, Exception):
            return leaf
    return leaves[0]


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for part in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
            yield from _leaves(part)
    else:
        yield exc
