"""What is known about a request besides its answer: attempts, timings, quotas, headers.

This module knows the public values only; who fills them knows the rest.
"""

from collections.abc import Mapping

import attrs
import msgspec

from lktrio._definitions import Value, public

__all__ = ["Attempt", "Quota", "QuotaUsage", "ResponseInfo"]


@public
class QuotaUsage(msgspec.Struct, frozen=True, weakref=True):
    """One quota of the gateway: how much there is and how much of it is used."""

    limit: float
    """What may be used."""

    used: float
    """What has been used."""


@public
class Quota(msgspec.Struct, frozen=True, weakref=True):
    """The gateway's quotas as told by a response's headers; None means unknown, not zero.

    Source: the headers ``X-LiveKit-Inference-{RPM,TPM,Credits}-{Limit,Used}``.
    """

    rpm: QuotaUsage | None = None
    """Requests per minute."""

    tpm: QuotaUsage | None = None
    """Tokens per minute."""

    credits: QuotaUsage | None = None
    """Credits of the account."""


@public
class Attempt(msgspec.Struct, frozen=True, weakref=True):
    """One request to the server on behalf of a stream. Times are seconds since the stream was
    entered; None means that it did not come to that."""

    number: int
    """1 for the first attempt."""

    started: float
    """When the attempt began."""

    connected: float | None = None
    """When a new connection stood (TLS included); None if a kept-alive one was used."""

    sent: float | None = None
    """When the whole request had been sent."""

    headers: float | None = None
    """When the response's head was there."""

    first_output: float | None = None
    """When the first text, refusal or tool-call fragment arrived."""

    ended: float | None = None
    """When the attempt was over."""

    status_code: int | None = None
    """HTTP status of the response."""

    request_id: str | None = None
    """The server's name for the request."""

    resent: int = 0
    """How many times the request was sent again at once because a kept-alive connection had
    been closed by the server before a byte of the response. This does not count as a retry."""

    error: str | None = None
    """What went wrong, in one line; None for the attempt that succeeded."""

    model: str | None = None
    """Which model was asked, in a stream of an adapter over several; None in any other."""


@public
@attrs.frozen(eq=False, repr=False)
class ResponseInfo(Value):
    """What is known of a stream's request so far: the last response's head, and all attempts."""

    status_code: int | None = None
    """HTTP status of the last response; None if there was none yet."""

    request_id: str | None = None
    """The server's name for the request (``x-request-id`` and its relatives)."""

    response_id: str | None = None
    """The completion's id as the server sent it."""

    model: str | None = None
    """Name of the model that answers: by the server's word, or else the one that was asked. None
    before the answer has begun."""

    quota: Quota | None = None
    """The gateway's quotas; None if it did not tell."""

    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """The last response's headers, names in lower case; without cookies."""

    attempts: tuple[Attempt, ...] = ()
    """Every attempt, the running one included, with its timings."""

    system_fingerprint: str | None = None
    """Names the configuration that answers, if the server told."""
