"""HTTP/1.1 requests: a head as bytes. No I/O.

This module knows what may stand in the head of a request, and keeps it from being seen. It does not
know what is in which request.

Source: RFC 9112, section 3 and section 5
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import httpx

from .message import TOKEN

__all__ = ["host_field", "request_head"]

_NAME: Final = re.compile(TOKEN)
_LINE: Final = re.compile(TOKEN + rb": [^\x00-\x08\x0a-\x1f\x7f]*\r\n")
_TARGET: Final = re.compile(rb"[\x21-\x7e\x80-\xff]+")


def request_head(
    method: bytes, target: bytes | memoryview, fields: Iterable[tuple[bytes, bytes | memoryview]]
) -> memoryview:
    """Make the head of a request, the empty line behind it included.

    It comes as a view, because a view's repr does not show what may be secret in it.

    Args:
        method: The method.
        target: What is asked for (RFC 9112, section 3.2).
        fields: Names and values of the header, in the order in which they are sent.

    Raises:
        httpx.LocalProtocolError: Something cannot stand in a head. The message names the field,
            and never its value.
    """
    if not _NAME.fullmatch(method):
        raise httpx.LocalProtocolError(f"the method {method!r} cannot be sent")
    if not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError("the URL has blanks or control characters in it")
    lines = [b"".join((method, b" ", target, b" HTTP/1.1\r\n"))]
    for name, value in fields:
        lines.append(b"".join((name, b": ", value, b"\r\n")))
        if b":" in name or not _LINE.fullmatch(lines[-1]):
            lines.clear()
            raise httpx.LocalProtocolError(
                f"the header {name!r} has a name or a value that cannot be sent"
            )
    lines.append(b"\r\n")
    try:
        return memoryview(b"".join(lines))
    finally:
        lines.clear()


def host_field(host: bytes, port: int | None) -> bytes:
    """The value of the ``Host`` field (RFC 9110, section 7.2)."""
    if b":" in host:
        host = b"[%b]" % host
    return host if port is None else b"%b:%d" % (host, port)
