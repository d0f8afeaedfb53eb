"""Secrets in what servers say: they echo credentials, and our errors carry what they said.

This module knows how a secret is found and taken out. It does not know which texts are secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from lktrio._json import MAX_DEPTH, is_list, is_object

from .errors import APIError

__all__ = ["redact", "redact_error", "redact_headers", "redact_text"]


def redact(value: object, secrets: Collection[str], depth: int = 0) -> object:
    """A JSON value in which every occurrence of a secret is replaced.

    Servers echo credentials in error messages; ours carry what the server said.
    """
    if isinstance(value, str):
        return redact_text(value, secrets)
    if depth >= MAX_DEPTH and (is_list(value) or is_object(value)):
        return None
    if is_list(value):
        return [redact(item, secrets, depth + 1) for item in value]
    if is_object(value):
        return {
            redact_text(key, secrets): redact(item, secrets, depth + 1)
            for key, item in value.items()
        }
    return value


_REDACTED: Final = "[redacted]"
_ELLIPSIS: Final = "..."
_ELLIPSES: Final = 16
"""So many places of a text are looked at where it may have been cut."""
_TELLING_LENGTH: Final = 8
"""So much of a secret's beginning is taken for the secret where a text has been cut."""


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """A text in which every occurrence of a secret is replaced.

    What a server says is cut to a bounded length, maybe in the middle of a secret: there its
    beginning counts too.
    """
    for secret in secrets:
        if secret and secret[:_TELLING_LENGTH] in text:
            text = _without_beginning(text.replace(secret, _REDACTED), secret)
    return text


def _without_beginning(text: str, secret: str) -> str:
    end = len(text)
    for _ in range(_ELLIPSES):
        start = text.find(secret[:_TELLING_LENGTH], max(0, end - len(secret) + 1), end)
        while start >= 0 and not secret.startswith(text[start:end]):
            start = text.find(secret[:_TELLING_LENGTH], start + 1, end)
        if start >= 0:
            text = text[:start] + _REDACTED + text[end:]
            end = start
        end = text.rfind(_ELLIPSIS, 0, end)
        if end < 0:
            break
    return text


def redact_headers(headers: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """A response's headers, in whose values every occurrence of a secret is replaced."""
    text = "\n".join(headers.values())
    if not any(secret[:_TELLING_LENGTH] in text for secret in secrets):
        return dict(headers)
    return {name: redact_text(value, secrets) for name, value in headers.items()}


def redact_error(error: APIError, secrets: Collection[str]) -> None:
    """Take secrets out of an error.

    What the HTTP library raised may quote the server too, cut where it likes; an error is cut loose
    from a cause that shows so much as the beginning of a secret.
    """
    error.message = redact_text(error.message, secrets)
    error.args = (error.message,)
    error.body = redact(error.body, secrets)
    if error.request_id is not None:
        error.request_id = redact_text(error.request_id, secrets)
    shown = "".join(f"{cause!r} {cause}" for cause in _causes(error))
    if any(secret and secret[:_TELLING_LENGTH] in shown for secret in secrets):
        error.__cause__ = error.__context__ = None


def _causes(error: BaseException) -> Iterator[BaseException]:
    pending = [error.__cause__, error.__context__]
    seen: set[int] = set()
    while pending:
        cause = pending.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            pending += [cause.__cause__, cause.__context__]
            yield cause
