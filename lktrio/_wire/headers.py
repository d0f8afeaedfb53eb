"""The headers of a response that say something about the request: ids, delays, quotas.

This module knows how servers spell them. What follows from them is decided elsewhere.
"""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from lktrio._answers import Quota, QuotaUsage

__all__ = ["HeaderFacts", "read_headers"]

_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "x-livekit-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-amzn-requestid",
    "x-goog-request-id",
    "cf-ray",
)


class HeaderFacts(NamedTuple):
    """What a response's headers say about the request."""

    request_id: str | None = None
    """The server's name for the request."""

    retry_after: float | None = None
    """Seconds to wait before the next try."""

    should_retry: bool | None = None
    """The server's own word on whether to retry (``x-should-retry``)."""

    quota: Quota | None = None
    """The gateway's quotas."""

    reset_hint: float | None = None
    """Seconds until a rate limit resets, from ``x-ratelimit-reset-*``: a hint only."""

    exhausted_for: float | None = None
    """Seconds until there is something left again of every rate limit of which the server says that
    nothing is (``x-ratelimit-remaining-*``); None if it says so of none."""


def read_headers(headers: Mapping[str, str], now: float) -> HeaderFacts:
    """Read what matters from a response's headers.

    Args:
        headers: The headers, names in lower case.
        now: Seconds since the epoch; used for dates where the response has no ``Date``.
    """
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)
    verdict = headers.get("x-should-retry", "").strip().lower()
    return HeaderFacts(
        request_id=request_id,
        retry_after=_retry_after(headers, now),
        should_retry={"true": True, "false": False}.get(verdict),
        quota=_read_quota(headers),
        reset_hint=_reset_hint(headers, now),
        exhausted_for=_exhausted_for(headers, now),
    )


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    milliseconds = _non_negative(headers.get("retry-after-ms"))
    value = headers.get("retry-after", "")
    seconds = _non_negative(value)
    if milliseconds is not None:
        when = _epoch(milliseconds)
        seconds = milliseconds / 1000
    elif seconds is not None:
        when = _epoch(seconds)
    else:
        when = _http_date(value)
    if when is None:
        return seconds
    sent = _http_date(headers.get("date", ""))
    delay = when - (now if sent is None else sent)
    return delay if delay >= 0 else None


def _epoch(number: float) -> float | None:
    """The moment that a number means which is too large for a delay: the time of a reset.

    Seconds since 1970 are told from milliseconds by their size. Source: servers that put their
    ``x-ratelimit-reset`` into ``Retry-After``; https://github.com/openclaw/clawhub/issues/407.
    """
    if number >= _EPOCH_MILLISECONDS:
        return number / 1000
    return number if number >= _EPOCH_SECONDS else None


def _non_negative(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _http_date(text: str) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return date.timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


_QUOTA_HEADERS: Final = tuple(
    (name, f"x-livekit-inference-{name}-limit", f"x-livekit-inference-{name}-used")
    for name in ("rpm", "tpm", "credits")
)


def _read_quota(headers: Mapping[str, str]) -> Quota | None:
    pairs: dict[str, QuotaUsage] = {}
    for name, limit_header, used_header in _QUOTA_HEADERS:
        limit = _non_negative(headers.get(limit_header))
        used = _non_negative(headers.get(used_header))
        if limit is not None and used is not None:
            pairs[name] = QuotaUsage(limit, used)
    return Quota(**pairs) if pairs else None


_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_DURATION: Final = 64
"""Characters. What is longer is no duration, and looking for one takes quadratic time."""
_EPOCH_SECONDS: Final = 1e9
_EPOCH_MILLISECONDS: Final = 1e12


def _reset_hint(headers: Mapping[str, str], now: float) -> float | None:
    """The shortest time after which a limit that was hit may be lifted."""
    hints = [
        hint
        for name, value in headers.items()
        if name.startswith("x-ratelimit-reset")
        and (hint := _duration(value, now)) is not None
        and headers.get(name.replace("-reset", "-remaining", 1), "0").strip() == "0"
    ]
    return min(hints, default=None)


def _exhausted_for(headers: Mapping[str, str], now: float) -> float | None:
    """The time after which all limits are lifted that were hit, by the server's own word."""
    resets = [
        seconds
        for name, value in headers.items()
        if name.startswith("x-ratelimit-remaining")
        and value.strip() == "0"
        and (reset := headers.get(name.replace("-remaining", "-reset", 1))) is not None
        and (seconds := _duration(reset, now)) is not None
    ]
    return max(resets, default=None)


def _duration(text: str, now: float) -> float | None:
    text = text.strip().lower()
    number = _non_negative(text)
    if number is not None:
        when = _epoch(number)
        return number if when is None else max(when - now, 0.0)
    parts = _DURATION.findall(text) if len(text) <= _MAX_DURATION else []
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    return sum(float(amount) * _DURATION_UNITS[unit] for amount, unit in parts)
