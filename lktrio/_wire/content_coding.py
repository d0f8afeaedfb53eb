"""Taking the content coding off a body (RFC 9110, section 8.4), piece by piece. No I/O.

This module knows which codings are understood and bounds what a piece decodes to. It does not know
where the bytes come from.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from lktrio._answers import APIConnectionError

__all__ = ["Decoder", "content_codings", "make_decoder"]

MAX_DECODED: Final = 64 * 1024
"""How much is decoded at once, in bytes."""


class Decoder(Protocol):
    """Takes the coding off a body (RFC 9110, section 8.4)."""

    @property
    def has_more(self) -> bool:
        """Whether more can be had of what was fed."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes, and return at most `MAX_DECODED` decoded ones.

        Raises:
            APIConnectionError: They cannot be decoded.
        """
        ...


class _Inflate:
    """Decodes ``gzip``, several members included, and ``deflate``, with or without the header
    that it ought to have."""

    def __init__(self, *, gzip: bool) -> None:
        self.has_more = False
        self._is_gzip = gzip
        self._rest = b""
        self._object = zlib.decompressobj(_GZIP) if gzip else None

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        self._rest = b""
        if self._object is None:
            if len(data) < _ZLIB_HEADER:
                self._rest = data
                return b""
            self._object = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        elif self._object.eof:
            self.has_more = False
            if not self._is_gzip or not data.startswith(_GZIP_MAGIC[: len(data)]):
                return b""  # padding
            self._object = zlib.decompressobj(_GZIP)
        try:
            piece = self._object.decompress(data, MAX_DECODED)
        except zlib.error as exc:
            raise APIConnectionError(
                f"the body of the response is damaged: {exc}", retryable=False
            ) from exc
        self._rest = self._object.unconsumed_tail or self._object.unused_data
        self.has_more = bool(self._rest) or len(piece) == MAX_DECODED
        return piece


_GZIP: Final = zlib.MAX_WBITS | 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZLIB_HEADER: Final = 2


def _is_zlib(data: bytes) -> bool:
    """Whether data begins with the header of RFC 1950, section 2.2."""
    return data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0


class _Refusal:
    """Refuses a body; only if there is one, and not before, because a status may say enough."""

    has_more = False

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def feed(self, data: bytes) -> bytes:  # noqa: ARG002 - as every decoder's
        raise APIConnectionError(
            f"the response has the Content-Encoding {self._encoding!r}, which was not asked for "
            "and cannot be decoded",
            retryable=False,
        )


# Names that some servers send where nothing was encoded (RFC 9110, section 8.4.1, has identity):
# charsets, and what e-mail and the transfer coding of HTTP/1.1 are called.
_NO_CODINGS: Final = frozenset(
    {
        "identity",
        "none",
        "null",
        "utf-8",
        "utf8",
        "ascii",
        "us-ascii",
        "iso-8859-1",
        "binary",
        "7bit",
        "8bit",
        "chunked",
    }
)


def content_codings(value: str) -> list[str]:
    """Read a ``Content-Encoding`` header.

    Returns:
        The codings that encode something, in lower case, in the order in which they were applied.
    """
    codings = [coding.strip().lower().removeprefix("charset=") for coding in value.split(",")]
    return [coding for coding in codings if coding and coding not in _NO_CODINGS]


def make_decoder(encoding: str) -> Decoder | None:
    """Make what decodes a body with this ``Content-Encoding``; None if there is nothing to do."""
    codings = content_codings(encoding)
    if not codings:
        return None
    if codings in (["gzip"], ["x-gzip"], ["deflate"]):
        return _Inflate(gzip=codings != ["deflate"])
    return _Refusal(encoding)
