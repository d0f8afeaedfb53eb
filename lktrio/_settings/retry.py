"""The retry policy: whether a failed attempt is followed by another, and after how long.

This module decides; it does not sleep, and it does not know how a request is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from lktrio._answers import APIError, APIStatusError

from .connect_options import APIConnectOptions

__all__ = ["FIRST_DELAY", "JITTER", "delay_before_retry"]

FIRST_DELAY: Final = 0.1
"""Seconds before the first retry."""

JITTER: Final = 0.1
"""A delay is spread by up to this share in both directions, so that the streams that one
outage has broken do not all come back at the same instant."""


def delay_before_retry(
    error: APIError,
    *,
    retries: int,
    options: APIConnectOptions,
    hint: float | None = None,
    time_left: float = math.inf,
    random: Callable[[], float],
) -> float | None:
    """Decide on the next attempt.

    The delay is ``0.1`` s before the first retry and ``retry_interval`` before every other
    (before the first too, if it is shorter), each with jitter; a longer ``Retry-After`` wins.

    Args:
        error: What ended the last attempt; ``error.retryable`` already tells whether output
            was delivered.
        retries: How many retries have been made.
        options: The caller's limits.
        hint: Seconds until a rate limit resets, as far as the server hinted; used for a 429
            that names no ``Retry-After``, and only if it is within ``max_retry_delay``.
        time_left: Seconds until the caller's deadline.
        random: Returns a number in [0, 1).

    Returns:
        Seconds to wait before the next attempt, or None to raise the error now: it cannot
        pass, the retries are used up, or the wait would be longer than ``max_retry_delay`` or
        than the time left.
    """
    if not error.retryable or retries >= options.max_retry:
        return None
    base = options.retry_interval if retries else min(FIRST_DELAY, options.retry_interval)
    delay = base * (1 + JITTER * (2 * random() - 1))
    if base <= options.max_retry_delay:
        # Chance must not decide whether there is a retry.
        delay = min(delay, options.max_retry_delay)
    asked = None
    if isinstance(error, APIStatusError):
        asked = error.retry_after
        if (
            asked is None
            and error.status_code == 429
            and hint is not None
            and hint <= options.max_retry_delay
        ):
            asked = hint
    if asked is not None:
        delay = max(delay, asked)
    if delay > options.max_retry_delay or delay >= time_left:
        return None
    return delay
