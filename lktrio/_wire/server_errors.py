"""What a server says when it fails: in an event of the stream, or as the body of a response.

This module knows how servers wrap an error, which of its texts tells most, and which codes say that
trying again is of no use. It does not know when a request is sent again.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Mapping
from typing import Final

from lktrio._answers import UNKNOWN_STATUS, APIStatusError, is_retryable_status
from lktrio._json import decode_text, excerpt, is_list, is_object, loads, repair_surrogates

from .headers import HeaderFacts
from .payloads import ChunkPayload
from .sse import EventReader
from .tolerant import integer

__all__ = [
    "MAX_ERROR_BYTES",
    "MAX_QUOTED",
    "body_error",
    "error_excerpt",
    "names_error",
    "payload_error",
    "status_error",
]


def payload_error(payload: ChunkPayload, data: bytes, name: bytes) -> APIStatusError | None:
    """The error that an event reports, or None.

    An event is an error if it has a truthy ``error`` member (on the chunk, on the choice that is
    the answer, or among what Groq adds), is named ``error``, has the type ``error`` without
    choices, the finish reason ``error``, or a ``base_resp`` whose ``status_code`` is not 0.
    """
    error = payload.error or (payload.x_groq and payload.x_groq.error)
    if error:
        return _make_error(error, _error_body(data))
    if _has_failed(payload):
        return _make_error(payload.base_resp, _error_body(data))
    if names_error(name):
        value = _error_body(data)
        beginning = data[:MAX_ERROR_BYTES]
        return _make_error(value if value is not None else decode_text(beginning).strip(), value)
    if not payload.choices:
        # Usage alone is what most chunks without choices hold.
        if payload.usage is None or payload.type == "error":
            value = _error_body(data)
            if is_object(value):
                return _error_in(value, has_choices=False)
        return None
    for choice in payload.choices:
        if choice.index:
            continue
        if choice.error:
            return _make_error(choice.error, _error_body(data))
        if choice.finish_reason == "error":
            return _make_error(None, _error_body(data))
    return None


def _has_failed(payload: ChunkPayload) -> bool:
    """Whether the server's word on how the request went is another than 0."""
    outcome = payload.base_resp
    return is_object(outcome) and integer(outcome.get("status_code")) not in (None, 0)


def names_error(name: bytes) -> bool:
    """Whether an event is an error by its name."""
    return name.strip().lower() == b"error"


MAX_ERROR_BYTES: Final = 64 * 1024
"""An error of the server that is larger is not decoded; what it says is its beginning."""

_MAX_ERROR_VALUES: Final = 5_000
"""So many values of what a server says about an error are kept."""

MAX_QUOTED: Final = 4096
"""So much is kept of what is too large to be decoded, in bytes."""


def error_excerpt(value: object) -> object:
    """As much of a JSON value as is kept of what a server says about an error."""
    return excerpt(value, values=_MAX_ERROR_VALUES, characters=MAX_ERROR_BYTES)


def _error_body(data: bytes) -> object | None:
    if len(data) > MAX_ERROR_BYTES:
        return decode_text(data[:MAX_QUOTED])
    try:
        return loads(decode_text(data))
    except (ValueError, RecursionError):
        return None


# Codes that say that the same request will fail again, whatever the transport thinks.
_PERMANENT_CODES: Final = frozenset(
    {
        "account_deactivated",
        "authentication_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_request_error",
        "model_not_found",
        "not_found_error",
        "permission_denied",
        "permission_error",
        "unsupported_parameter",
        "unsupported_value",
    }
)


def body_error(payload: ChunkPayload, document: Mapping[str, object]) -> APIStatusError | None:
    """The error that a whole document is, read into a payload; None if it is none."""
    has_choices = bool(payload.choices)
    error = _error_in(document, has_choices=has_choices)
    if error is None and not has_choices and _has_failed(payload):
        error = _make_error(payload.base_resp, document)
    return error


def _error_in(members: Mapping[str, object], *, has_choices: bool) -> APIStatusError | None:
    if members.get("error"):
        return _make_error(members["error"], members)
    if not has_choices and "error" in (members.get("type"), members.get("object")):
        return _make_error(members, members)
    return None


# The same among MiniMax's own codes: the key is refused, or the account has no balance
# (https://platform.minimax.io/docs/api-reference/errorcode).
_PERMANENT_OUTCOMES: Final = frozenset({1004, 1008})


def _make_error(error: object, body: object) -> APIStatusError:
    error = error_excerpt(error)
    body = error_excerpt(body)
    status = _status_in(error)
    if status is None:
        status = _status_in(body)
    text = _most_specific_text(error) or _most_specific_text(body)
    code = error.get("code") if is_object(error) else None
    permanent = isinstance(code, str) and code.lower() in _PERMANENT_CODES
    if is_object(error) and "status_msg" in error:
        permanent = permanent or integer(error.get("status_code")) in _PERMANENT_OUTCOMES
    status_code = UNKNOWN_STATUS if status is None else status
    return APIStatusError(
        _shorten(text) or "the server reported an error without saying which",
        status_code=status_code,
        body=body if body is not None else error,
        retryable=is_retryable_status(status_code) and not (permanent and status is None),
    )


_STATUS_MEMBERS: Final = (
    "code",
    "status_code",
    "status",
    "statusCode",
    "http_code",
    "http_status",
)


def _status_in(value: object) -> int | None:
    """The HTTP status that an error object names, as a number or a numeric string."""
    for _ in range(_MAX_ERROR_DEPTH):
        if is_list(value) and value:
            value = value[0]
        if not is_object(value):
            return None
        for key in _STATUS_MEMBERS:
            number = integer(value.get(key))
            # Other numbers are the server's own codes.
            if number is not None and 400 <= number <= 599:
                return number
        value = value.get("error")
    return None


_MAX_ERROR_DEPTH: Final = 8
_TEXT_KEYS: Final = (
    "message",
    "detail",
    "error_description",
    "msg",
    "error_message",
    "error_msg",
    "errorMessage",
    "Message",
    "status_msg",
    "faultstring",
    "text",
    "errors",
    "details",
    "description",
    "error",
    "title",
    "reason",
    "raw",
    "type",
    "code",
    "status",
)


def _most_specific_text(value: object) -> str:
    """The text of an error that tells most: what the innermost server said, if it is quoted."""
    return _TextSearch().in_value(value, 0)


_MAX_PLACES: Final = 1_000


class _TextSearch:
    """Looks for the most specific text, at a bounded number of places."""

    __slots__ = ("_characters", "_places")

    def __init__(self) -> None:
        self._places = _MAX_PLACES
        self._characters = MAX_ERROR_BYTES

    def in_value(self, value: object, depth: int) -> str:
        if isinstance(value, str):
            return self._in_string(value.strip(), depth)
        if depth > _MAX_ERROR_DEPTH:
            return ""
        if is_list(value):
            return self._first(value, depth)
        return self._in_object(value, depth) if is_object(value) else ""

    def _first(self, values: Iterable[object], depth: int) -> str:
        for value in values:
            self._places -= 1
            if self._places < 0:
                break
            text = self.in_value(value, depth + 1)
            if text:
                return text
        return ""

    def _in_string(self, text: str, depth: int) -> str:
        """The text, or what it quotes: JSON in a string is what another server said."""
        if depth > _MAX_ERROR_DEPTH:
            return ""
        if text.startswith(("{", "[")) and len(text) <= self._characters:
            self._characters -= len(text)
            try:
                return self.in_value(loads(text), depth + 1) or text
            except (ValueError, RecursionError):
                return text
        return text

    def _in_object(self, value: dict[str, object], depth: int) -> str:
        metadata = value.get("metadata")
        if is_object(metadata):
            text = self._first([metadata.get("raw")], depth)
            if text:
                return text
        nested: object = value.get("error")
        if is_object(nested) or is_list(nested):
            text = self._first([nested], depth)
            if text:
                return text
            nested = None
        for key in _TEXT_KEYS:
            found = nested if key == "error" else value.get(key)
            text = self._first([found], depth) if found else ""
            if text:
                location = value.get("loc")
                if key == "msg" and is_list(location):
                    return f"{'.'.join(map(str, location[:_MAX_LOCATION]))}: {text}"
                return text
        # A server's own envelope around it.
        return self._first(
            (
                item
                for key, item in value.items()
                if key not in _TEXT_KEYS and key != "metadata" and not isinstance(item, str)
            ),
            depth,
        )


_MAX_LOCATION: Final = 32
"""Steps of the way to what is wrong in a request."""

# Each alternative takes what is not closed up to the next tag or the end, so that the work is
# linear whatever the text.
_HTML_NOISE: Final = r"(?is)<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>?"
_HTML_TITLE: Final = r"(?i)<title[^<>]*>([^<]*)"
_MAX_MESSAGE: Final = 500


def _html_text(text: str) -> str:
    # Imported and compiled here because few programs ever meet a page in place of an answer.
    import html

    body = " ".join(html.unescape(re.sub(_HTML_NOISE, " ", text)).split())
    if not body:
        title = re.search(_HTML_TITLE, text)
        body = " ".join(html.unescape(title.group(1)).split()) if title else ""
    return body


def _shorten(text: str) -> str:
    shown = repair_surrogates(text[: _MAX_MESSAGE + 1])
    return shown if len(shown) <= _MAX_MESSAGE else shown[:_MAX_MESSAGE] + "..."


def status_error(
    status_code: int, body: bytes, facts: HeaderFacts, *, message: str | None = None
) -> APIStatusError:
    """The error for a response whose HTTP status is not a success.

    Args:
        status_code: The response's status.
        body: Its body, or the beginning of it: a JSON object or list, a bare string, HTML,
            text, or nothing.
        facts: What its headers say.
        message: What to say in place of what the body says.
    """
    text = decode_text(body).strip()
    if text.startswith(("data:", "event:")):
        # A gateway that had begun to stream when it learnt of the status.
        events = EventReader()
        said = [*events.feed(body), *events.finish()]
        body = next((event.data for event in said if event.data), body)
        text = decode_text(body).strip()
    value: object = None
    if text[:1] in {"{", "[", '"'}:
        value = error_excerpt(_error_body(body))
    if value is not None:
        found = _most_specific_text(value)
    elif text.startswith("<"):
        found = _html_text(text)
    else:
        found = text
    if not found:
        try:
            found = http.HTTPStatus(status_code).phrase
        except ValueError:
            found = "the server gave no reason"
    retryable = facts.should_retry
    return APIStatusError(
        _shorten(found) if message is None else message,
        status_code=status_code,
        body=value if value is not None else (text or None),
        retryable=is_retryable_status(status_code) if retryable is None else retryable,
        request_id=facts.request_id,
        retry_after=facts.retry_after,
        quota=facts.quota,
    )
