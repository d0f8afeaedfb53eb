"""What images, sounds and files are on the wire: their kinds, how bytes show theirs, data URLs.

The four kinds of images are those OpenAI's API documents; other servers accept at least these. This
module knows nothing of messages, and not which sounds a model takes.

Sources: https://platform.openai.com/docs/guides/images-vision (kinds of images),
https://platform.openai.com/docs/guides/audio (of sounds); RFC 2397 (data URLs).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from lktrio._checks import shown

__all__ = ["audio_data", "data_url", "file_url", "image_url"]

_KINDS: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_UNKNOWN_KIND: Final = "application/octet-stream"
_WANTED: Final = "JPEG, PNG, GIF or WebP"

# Compiled when the first image is sent.
_MAGIC_NUMBERS: Final = (
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"(?s)RIFF....WEBP", "image/webp"),
    (rb"(?s)RIFF....WAVE", "audio/wav"),
    # A tag, or the head of a frame of MPEG audio, layer III.
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"(?s).{0,1024}?%PDF-", "application/pdf"),
)

_AUDIO_FORMATS: Final = {
    **dict.fromkeys(("audio/x-wav", "audio/wave", "audio/vnd.wave"), "wav"),
    **dict.fromkeys(("audio/mpeg", "audio/mpeg3", "audio/x-mpeg"), "mp3"),
}
"""What ``input_audio`` calls a kind, where it is not the kind's own name."""

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
        return data_url(image, _checked_kind(mime_type or _kind_of(image, "image/")))
    if image[:5].lower() == "data:":
        return _checked_data_url(image, mime_type)
    if not re.match(_URL, image):
        raise ValueError(
            f"is {shown(image)}, which is no URL; it takes a URL, a data URL or bytes (of a file: "
            f"pathlib.Path(...).read_bytes())"
        )
    return image


def audio_data(audio: str | bytes, mime_type: str | None) -> tuple[str, str]:
    """The base64 and the format of a sound, as ``input_audio`` has them.

    Args:
        audio: A data URL, or the encoded sound itself.
        mime_type: Its kind, which wins over what a data URL says. None looks there, or at the first
            bytes.

    Raises:
        ValueError: If the sound is of no known kind, empty or not decodable. The message is to
            follow the name of the parameter.
    """
    wanted = "a data URL or the bytes of a sound"
    if isinstance(audio, bytes):
        if not audio:
            raise ValueError(f"is empty; it takes {wanted}")
        declared, payload, decoded = "", base64.b64encode(audio).decode("ascii"), audio
    elif audio[:5].lower() == "data:":
        declared, payload, decoded = _parts_of_data_url(audio, "sound", "audio/wav")
    else:
        raise ValueError(
            f"is {shown(audio)}, which is no data URL; it takes {wanted} (of a file: "
            f"AudioContent.from_path(...))"
        )
    kind = (mime_type or declared or _kind_of(decoded, "audio/") or "").lower()
    if not kind.startswith("audio/"):
        raise ValueError(
            "is of an unknown kind; encode it as WAV or MP3, or name its kind with mime_type=, for "
            "example 'audio/mpeg'"
        )
    return payload, _AUDIO_FORMATS.get(kind, kind.removeprefix("audio/"))


def file_url(file: str | bytes, mime_type: str | None) -> str:
    """Make the URL under which a file is sent: as it is, or as a data URL.

    Args:
        file: A URL, a data URL, or the file itself.
        mime_type: Its kind, which wins over what a data URL says. None looks there, or whether the
            bytes are those of a PDF.

    Raises:
        ValueError: If the file is of no known kind, empty or not decodable, or is a string that is
            no URL. The message is to follow the name of the parameter.
    """
    wanted = "a URL, a data URL or the bytes of a file"
    if isinstance(file, bytes):
        if not file:
            raise ValueError(f"is empty; it takes {wanted}")
        kind = mime_type or _kind_of(file)
        if kind is None:
            raise ValueError("is no PDF; name its kind with mime_type=, for example 'text/csv'")
        return data_url(file, kind)
    if file[:5].lower() == "data:":
        declared, payload, decoded = _parts_of_data_url(file, "file", "application/pdf")
        kind = mime_type or declared or _kind_of(decoded) or _UNKNOWN_KIND
        return f"data:{kind};base64,{payload}"
    if not re.match(_URL, file):
        raise ValueError(
            f"is {shown(file)}, which is no URL; it takes {wanted} (of a path: "
            f"FileContent.from_path(...))"
        )
    return file


def _checked_data_url(url: str, mime_type: str | None) -> str:
    declared, payload, decoded = _parts_of_data_url(url, "image", "image/png")
    kind = _checked_kind(mime_type or declared or _kind_of(decoded, "image/"))
    return f"data:{kind};base64,{payload}"


def _parts_of_data_url(url: str, noun: str, example: str) -> tuple[str, str, bytes]:
    """The kind that a data URL declares, its base64, and what that is."""
    header, comma, payload = url[5:].partition(",")
    declared, *parameters = header.split(";")
    if not comma or not parameters or parameters[-1].strip().lower() != "base64":
        raise ValueError(
            f"is a data URL without base64; write data:{example};base64,..., or give the bytes"
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
        raise ValueError(
            f"is a data URL without a payload; put the encoded {noun} behind the comma"
        )
    return declared.strip(), payload, decoded


def _kind_of(data: bytes, family: str = "") -> str | None:
    for magic_number, kind in _MAGIC_NUMBERS:
        if kind.startswith(family) and re.match(magic_number, data):
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
