"""The exceptions of the library, and the list of failures that may be retried.

::

    APIError                   a request failed
    +-- APIStatusError         the server answered with an error (HTTP status or in the stream)
    +-- APIConnectionError     no whole answer came: no connection, lost, or not understood
    |   +-- APITimeoutError    one of the clocks ran out
    +-- APIResponseFormatError the answer is whole, but not of the shape that was asked for
    +-- APIRefusalError        the model declined to answer in that shape

Mistakes of the caller are not in this tree: they are `TypeError` and `ValueError`, raised at
the call, before anything is sent. Misuse of a stream's lifetime raises `RuntimeError`,
`trio.ClosedResourceError` or `trio.BusyResourceError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from lktrio._definitions import public
from lktrio._json import is_object

from .chunks import EMPTY_RESPONSE, CollectedResponse
from .info import Attempt, Quota

__all__ = [
    "UNKNOWN_STATUS",
    "APIConnectionError",
    "APIError",
    "APIRefusalError",
    "APIResponseFormatError",
    "APIStatusError",
    "APITimeoutError",
    "Clock",
    "complete_error",
    "is_retryable_status",
    "logged_facts",
]

Clock = Literal["connect", "write", "idle", "first_output", "total"]
"""The five clocks of a request, by the name that `APITimeoutError.clock` carries."""

UNKNOWN_STATUS: Final = -1
"""`APIStatusError.status_code` of an error in the stream that named no status."""

_RETRYABLE_CLIENT_STATUS: Final = frozenset({408, 409, 425, 429, 499})


def is_retryable_status(status_code: int) -> bool:
    """Whether an error with this HTTP status can pass by itself.

    Args:
        status_code: A status, or `UNKNOWN_STATUS` (an error that names no status may be
            retried).

    Returns:
        True for 408, 409, 425, 429, 499, every 5xx and an unknown status.
    """
    return (
        status_code in _RETRYABLE_CLIENT_STATUS
        or 500 <= status_code <= 599
        or status_code == UNKNOWN_STATUS
    )


@public
class APIError(Exception):
    """A request failed. The base of everything that a stream raises about its request.

    What a stream raises has ``partial``, which is what had arrived (empty, if it was nothing),
    ``attempts`` with the timings of each, and from an adapter ``other_errors``, those of its other
    models.

    Args:
        message: What happened, for a person.
        body: What the server sent about it: decoded JSON, or text, or None.
        retryable: Whether the same request may succeed if it is sent again.
        request_id: The server's name for the request.
    """

    message: str
    """What happened, for a person."""

    body: object | None
    """What the server sent about it: decoded JSON, or text (its beginning), or None."""

    retryable: bool
    """Whether sending the request again is safe and may help. False once output has been
    delivered, because it would be delivered twice."""

    request_id: str | None
    """The server's name for the request, to be quoted to its support."""

    partial: CollectedResponse[None]
    """What had arrived before the failure: text, complete tool calls, usage."""

    attempts: tuple[Attempt, ...]
    """The attempts made, the failed last one included."""

    other_errors: tuple[APIError, ...]
    """The errors of the other models that were asked for the same answer, in the order in which
    they failed; empty unless an adapter asked several."""

    def __init__(
        self,
        message: str,
        *,
        body: object | None = None,
        retryable: bool = True,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.body = body
        self.retryable = retryable
        self.request_id = request_id
        self.partial = EMPTY_RESPONSE
        self.attempts = ()
        self.other_errors = ()

    @property
    def code(self) -> str | None:
        """The server's own word for what went wrong, for example ``"context_length_exceeded"``:
        the ``code`` under ``error`` in `body`, or beside it; None if there is no such word."""
        body = self.body
        if not is_object(body):
            return None
        for place in (body.get("error"), body):
            code = place.get("code") if is_object(place) else None
            if isinstance(code, str):
                return code
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        # Made again without running the keyword-only constructor.
        return Exception.__new__, (type(self), *self.args), dict(self.__dict__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}{self._details()})"

    def __str__(self) -> str:
        facts = self._facts()
        return f"{self.message} ({', '.join(facts)})" if facts else self.message

    def _facts(self) -> list[str]:
        return [] if self.request_id is None else [f"request id {self.request_id}"]

    def _details(self) -> str:
        text = f", retryable={self.retryable}"
        if self.request_id is not None:
            text += f", request_id={self.request_id!r}"
        return text


@public
class APIStatusError(APIError):
    """The server answered with an error: an HTTP status that is not a success, or an error
    object in the stream.

    Args:
        message: What happened, for a person.
        status_code: The status, or -1 for an error in the stream that named none.
        body: What the server sent about it.
        retryable: Overrides what follows from the status.
        request_id: The server's name for the request.
        retry_after: Seconds the server asked to wait.
        quota: The gateway's quotas.
    """

    status_code: int
    """HTTP status, or the numeric code of an error in the stream; -1 if it named none."""

    retry_after: float | None
    """Seconds the server asked to wait before the next try, or None.

    Source: RFC 9110 section 10.2.3, and ``retry-after-ms`` of OpenAI and Azure."""

    quota: Quota | None
    """The gateway's quotas, or None if it did not tell."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int = UNKNOWN_STATUS,
        body: object | None = None,
        retryable: bool | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        quota: Quota | None = None,
    ) -> None:
        if retryable is None:
            retryable = is_retryable_status(status_code)
        super().__init__(message, body=body, retryable=retryable, request_id=request_id)
        self.status_code = status_code
        self.retry_after = retry_after
        self.quota = quota

    def _facts(self) -> list[str]:
        status = [] if self.status_code == UNKNOWN_STATUS else [f"status {self.status_code}"]
        return status + super()._facts()

    def _details(self) -> str:
        return f", status_code={self.status_code}{super()._details()}"


@public
class APIConnectionError(APIError):
    """No whole answer came: connecting failed, the connection was lost, or what arrived is not
    the dialect this library speaks."""


@public
class APITimeoutError(APIConnectionError):
    """One of the request's clocks ran out.

    Args:
        message: What happened, for a person.
        clock: Which clock.
        retryable: Whether the same request may succeed if it is sent again.
        request_id: The server's name for the request.
    """

    clock: Clock
    """Which clock: ``"connect"``, ``"write"``, ``"idle"``, ``"first_output"`` or
    ``"total"``."""

    def __init__(
        self,
        message: str,
        *,
        clock: Clock,
        retryable: bool = True,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable, request_id=request_id)
        self.clock = clock

    def _details(self) -> str:
        return f", clock={self.clock!r}{super()._details()}"


@public
class APIResponseFormatError(APIError):
    """The answer is whole, but does not fit the ``response_format`` that was asked for.

    Args:
        message: What happened, for a person.
        text: The answer's text.
        reasons: What does not fit.
    """

    text: str
    """The answer's text, as it came."""

    reasons: tuple[str, ...]
    """What does not fit, one line each."""

    def __init__(self, message: str, *, text: str, reasons: tuple[str, ...]) -> None:
        super().__init__(message, body=text, retryable=False)
        self.text = text
        self.reasons = reasons


@public
class APIRefusalError(APIError):
    """The model declined, where an answer in a ``response_format`` was asked for.

    Args:
        refusal: What the model said.
    """

    refusal: str
    """What the model said."""

    def __init__(self, refusal: str) -> None:
        super().__init__(f"the model declined: {refusal}", body=refusal, retryable=False)
        self.refusal = refusal


def complete_error(
    error: APIError,
    *,
    partial: CollectedResponse[None] | None = None,
    attempts: Sequence[Attempt] | None = None,
    others: Sequence[APIError] = (),
    request_id: str | None = None,
    retry_after: float | None = None,
    quota: Quota | None = None,
    was_delivered: bool = False,
) -> None:
    """Put into an error what is known around it. What the server said in its body stays.

    Args:
        error: The error.
        partial: What had arrived.
        attempts: The attempts made.
        others: Errors of other models that came before those which it knows.
        request_id: The server's name for the request, from the head of the response.
        retry_after: Seconds that the head asks to wait.
        quota: The quotas that the head tells.
        was_delivered: Whether the consumer has been handed what cannot be taken back.
    """
    if partial is not None:
        error.partial = partial
    if attempts is not None:
        error.attempts = tuple(attempts)
    if others:
        error.other_errors = (*others, *error.other_errors)
    if error.request_id is None:
        error.request_id = request_id
    if isinstance(error, APIStatusError):
        if error.retry_after is None:
            error.retry_after = retry_after
        if error.quota is None:
            error.quota = quota
    if was_delivered:
        error.retryable = False


def logged_facts(error: BaseException) -> str:
    """What may be logged of a failure: its type, status and request id. What it says may quote the
    conversation."""
    facts = [type(error).__name__]
    if isinstance(error, APIStatusError) and error.status_code != UNKNOWN_STATUS:
        facts.append(f"status {error.status_code}")
    if isinstance(error, APIError) and error.request_id is not None:
        facts.append(f"request id {error.request_id}")
    return ", ".join(facts)
