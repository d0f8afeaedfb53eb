"""What an image is on the wire: its kinds, how bytes show theirs, and data URLs.

The four kinds are those OpenAI's API documents; other servers accept at least these. This module
knows nothing of messages.

Sources: https://platform.openai.com/docs/guides/images-vision (kinds); RFC 2397 (data URLs).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from lktrio._checks import shown

__all__ = ["data_url", "image_url"]

_KINDS: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_UNKNOWN_KIND: Final = "application/octet-stream"
_WANTED: Final = "JPEG, PNG, GIF or WebP"

# Compiled when the first image is sent.
_MAGIC_NUMBERS: Final = (
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"(?s)RIFF....WEBP", "image/webp"),
)

# An absolute URL with an authority: what the model's provider can fetch.
_URL: Final = r"[A-Za-z][A-Za-z0-9+.-]*://."


def data_url(image: bytes, mime_type: str | None) -> str:
    """Write an image as a data URL, also one of unknown kind: nothing is checked.

    Args:
        image: The encoded image.
        mime_type: Its kind; None looks at the first bytes.

    Returns:
        The data URL.
    """
    kind = mime_type or _kind_of(image) or _UNKNOWN_KIND
    return f"data:{kind};base64,{base64.b64encode(image).decode('ascii')}"


def image_url(image: str | bytes, mime_type: str | None) -> str:
    """Make the URL under which an image is sent.

    Args:
        image: A URL, a data URL, or the encoded image itself.
        mime_type: The kind of the image, for example ``"image/png"``; it wins over what a data
            URL says. None looks at the data URL, or at the first bytes.

    Returns:
        A URL as it is; anything else as a data URL.

    Raises:
        ValueError: If the image is of no known kind, empty, or not decodable, or is a string
            that is no URL. The message is to follow the name of the parameter.
    """
    if isinstance(image, bytes):
        if not image:
            raise ValueError("is empty; it takes a URL, a data URL or the bytes of an image")
        return data_url(image, _checked_kind(mime_type or _kind_of(image)))
    if image[:5].lower() == "data:":
        return _checked_data_url(image, mime_type)
    if not re.match(_URL, image):
        raise ValueError(
            f"is {shown(image)}, which is no URL; it takes a URL, a data URL or bytes (of a file: "
            f"pathlib.Path(...).read_bytes())"
        )
    return image


def _checked_data_url(url: str, mime_type: str | None) -> str:
    header, comma, payload = url[5:].partition(",")
    declared, *parameters = header.split(";")
    if not comma or not parameters or parameters[-1].strip().lower() != "base64":
        raise ValueError(
            "is a data URL without base64; write data:image/png;base64,..., or give the bytes"
        )
    # Encoders that wrap lines are common; strict servers are too.
    payload = "".join(payload.split())
    try:
        decoded = binascii.a2b_base64(payload, strict_mode=True)
    except ValueError as error:
        raise ValueError(
            f"is a data URL whose payload is not base64 ({error}); encode it with "
            f"base64.b64encode, or give the bytes"
        ) from None
    if not decoded:
        raise ValueError("is a data URL without a payload; put the encoded image behind the comma")
    kind = _checked_kind(mime_type or declared.strip() or _kind_of(decoded))
    return f"data:{kind};base64,{payload}"


def _kind_of(image: bytes) -> str | None:
    for magic_number, kind in _MAGIC_NUMBERS:
        if re.match(magic_number, image):
            return kind
    return None


def _checked_kind(kind: str | None) -> str:
    if kind is None:
        raise ValueError(
            f"is of an unknown kind; encode it as {_WANTED}, or name its kind with mime_type="
        )
    kind = kind.lower()
    if kind == "image/jpg":
        return "image/jpeg"
    if kind not in _KINDS:
        raise ValueError(f"is of the kind {shown(kind)}, which is not accepted; it takes {_WANTED}")
    return kind
