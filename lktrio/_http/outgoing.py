"""What goes out: a request of httpx as a head, and a body that can be sent.

This module knows what of an `httpx.Request` is sent in which form, and what the engine gives with
one besides. It does not know how anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import httpx

from lktrio._settings import Secret

from .connection import Body, Phase
from .head import host_field, request_head
from .network import Origin
from .tunnel import forwarded, is_forwarded

__all__ = ["Confidential", "confidential_of", "outgoing"]

_EXTENSION: Final = "lktrio"


def _observe_nothing(_phase: Phase) -> None:
    pass


@attrs.frozen
class Confidential:
    """What the engine gives with a request, besides what every request of httpx has."""

    observe: Callable[[Phase], None] = _observe_nothing
    """Told when another phase begins."""

    fields: tuple[tuple[bytes, Secret], ...] = ()
    """Further fields of the header, whose values must not be seen."""

    query: Secret | None = None
    """The query of the URL, with its parameters in their encoded form."""

    @property
    def extensions(self) -> dict[str, Any]:
        """The request's extensions that carry this."""
        return {_EXTENSION: self}


_NOTHING: Final = Confidential()


def confidential_of(request: httpx.Request) -> Confidential:
    """What the engine has given with a request; nothing with those of others."""
    given: Confidential = request.extensions.get(_EXTENSION, _NOTHING)
    return given


def outgoing(
    request: httpx.Request, method: bytes, private: Confidential, origin: Origin
) -> tuple[memoryview, bytes | Body, int | None]:
    """The head of a request, its body, and how long that is; None if it goes in chunks."""
    fields: list[tuple[bytes, bytes | memoryview]] = []
    # By name in lower case. `httpx.Headers` looks at all of them each time it is asked for one.
    sent: dict[bytes, bytes] = {}
    for name, value in request.headers.raw:
        fields.append((name, value))
        key = name.lower()
        sent[key] = sent[key] + b", " + value if key in sent else value
    if b"host" not in sent:
        url = request.url
        fields.insert(0, (b"Host", host_field(url.raw_host, url.port)))
    content, length = _content(
        request.stream,
        in_chunks=sent.get(b"transfer-encoding", b"").lower() == b"chunked",
        declared=sent.get(b"content-length"),
    )
    fields += ((name, secret.view) for name, secret in private.fields)
    target = _target(request, private)
    if is_forwarded(origin):
        target = forwarded(request, target, fields, origin)
    return request_head(method, target, fields), content, length


def _target(request: httpx.Request, private: Confidential) -> bytes | memoryview:
    target: object = request.extensions.get("target")
    if isinstance(target, bytes):
        return target
    path = request.url.raw_path
    if private.query is None:
        return path
    return memoryview(b"".join((path, b"?", private.query.view)))


def _content(
    stream: object, *, in_chunks: bool, declared: bytes | None
) -> tuple[bytes | Body, int | None]:
    content: bytes | Body
    if isinstance(stream, httpx.ByteStream):
        # As it is: its asynchronous form is a generator, which a cancel leaves suspended.
        content = b"".join(stream)
        if not in_chunks:
            if declared != b"%d" % len(content) and (content or declared not in {None, b"0"}):
                raise httpx.LocalProtocolError(
                    f"the body of the request has {len(content)} bytes, but its Content-Length "
                    f"is {declared!r}"
                )
            return content, len(content)
        return _Pieces(content), None
    if not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("the body of the request cannot be read by async for")
    if in_chunks:
        return stream, None
    length = b"0" if declared is None else declared
    if not length.isdigit():
        raise httpx.LocalProtocolError(f"the Content-Length of the request is {length!r}")
    return stream, int(length)


class _Pieces:
    """One piece, as a body that is read by ``async for``."""

    def __init__(self, content: bytes) -> None:
        self._content = [content] if content else []

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        if not self._content:
            raise StopAsyncIteration
        return self._content.pop()
