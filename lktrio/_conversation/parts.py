"""What a message is made of: text, images, audio, files, marks, as frozen values.

Names and defaults are those of LiveKit Agents, which knows all but files. This module knows neither
messages nor how parts are saved or sent; what a field takes is said elsewhere (`fields`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

import attrs

from lktrio._definitions import Value, know_later_names, public

from .fields import (
    UnknownType,
    check_optional_int,
    check_optional_text,
    check_text,
    check_word,
    copy_mapping,
    new_image_id,
    show_image,
    to_audio,
    to_file,
    to_frames,
    to_image,
)

__all__ = [
    "CONTENT_TYPES",
    "CONTENT_WANTED",
    "AudioContent",
    "CacheBreakpoint",
    "ChatContent",
    "FileContent",
    "ImageContent",
    "ImageDetail",
    "Saved",
    "UnknownContent",
]

ImageDetail: TypeAlias = Literal["auto", "high", "low"]
"""How closely a model looks at an image."""

_check_detail: Final = check_word(ImageDetail)


def _to_members(value: Mapping[str, Any]) -> dict[str, Any]:
    return copy_mapping("unknown_members", value)


@attrs.frozen(eq=False, repr=False, kw_only=True)
class Saved(Value):
    """Something that a conversation is saved with."""

    unknown_members: dict[str, Any] = attrs.field(
        factory=dict[str, Any], converter=_to_members, repr=False
    )
    """What a saved conversation says of it that no field here stands for, because a newer
    version wrote it. Saved again as it was, never sent."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class ImageContent(Saved):
    """An image in a message.

    What it holds is looked at when it is sent: an image of an unknown kind, an empty one and a
    data URL that cannot be decoded are then refused with a `ValueError`.

    Raises:
        TypeError: If a field has the wrong type.
        ValueError: If ``inference_detail`` is another word.
    """

    type: ClassVar[Literal["image_content"]] = "image_content"
    """What a saved conversation calls it."""

    image: str | bytes = attrs.field(converter=to_image, repr=show_image)
    """A URL, sent as it is; or a data URL; or the encoded image itself (JPEG, PNG, GIF or
    WebP), sent and saved as a data URL."""

    inference_width: int | None = attrs.field(default=None, validator=check_optional_int)
    """Pixels. Carried for LiveKit Agents, which resizes video frames; nothing is resized here."""

    inference_height: int | None = attrs.field(default=None, validator=check_optional_int)
    """Pixels, likewise."""

    inference_detail: ImageDetail = attrs.field(default="auto", validator=_check_detail)
    """How closely the model looks; ``"low"`` costs fewer tokens. Sent as ``detail``."""

    mime_type: str | None = attrs.field(default=None, validator=check_optional_text)
    """Kind of the image, for example ``"image/png"``. None: what the data URL says, or what the
    first bytes show."""

    id: str = attrs.field(factory=new_image_id, validator=check_text)
    """Identifies the image: ``img_`` and 12 random digits."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class AudioContent(Saved):
    """Speech in a message: sent if the sound is in ``audio``, else only carried and saved (add the
    transcript as text, too, if the model is to read it).

    What it holds is looked at when it is sent. Audio that the model is known not to take
    (`ModelFacts.audio_formats`), of an unknown kind, or empty is then refused with a `ValueError`.

    Source: https://platform.openai.com/docs/guides/audio (``input_audio``).

    Raises:
        TypeError: If a field has the wrong type.
    """

    type: ClassVar[Literal["audio_content"]] = "audio_content"
    """What a saved conversation calls it."""

    frame: list[Any] = attrs.field(factory=list[Any], converter=to_frames, repr=False)
    """Audio frames as a saved conversation of LiveKit Agents has them; never looked at, never
    sent."""

    transcript: str | None = attrs.field(default=None, validator=check_optional_text)
    """What was said, as far as it is known. Not sent."""

    audio: str | bytes | None = attrs.field(default=None, converter=to_audio, repr=show_image)
    """The encoded sound, a whole WAV or MP3 file in general, or a data URL with it. Sent as
    ``input_audio``, and saved as a data URL."""

    mime_type: str | None = attrs.field(default=None, validator=check_optional_text)
    """Kind of the sound, for example ``"audio/mpeg"``. None: what the data URL says, or what the
    first bytes show."""

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], *, transcript: str | None = None) -> Self:
        """Read a sound file, at once: in Trio, ``await trio.to_thread.run_sync(
        AudioContent.from_path, path)`` keeps other tasks running.

        Args:
            path: The file.
            transcript: What is said in it.

        Raises:
            OSError: It cannot be read.
        """
        return cls(audio=Path(path).read_bytes(), transcript=transcript)


# The hint of the converter of its frames.
know_later_names(AudioContent, Sequence=Sequence)


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class FileContent(Saved):
    """A document in a message, a PDF in general. LiveKit Agents has no such part.

    What it holds is looked at when it is sent: a file of an unknown kind, an empty one and a data
    URL that cannot be decoded are then refused with a `ValueError`.

    Source: https://platform.openai.com/docs/guides/pdf-files.

    Raises:
        TypeError: If a field has the wrong type.
        ValueError: If there is neither ``file`` nor ``file_id``, or both.
    """

    type: ClassVar[Literal["file_content"]] = "file_content"
    """What a saved conversation calls it."""

    file: str | bytes | None = attrs.field(default=None, converter=to_file, repr=show_image)
    """The file itself, sent and saved as a data URL; or a data URL; or a URL, sent as it is, which
    not every server fetches."""

    file_id: str | None = attrs.field(default=None, validator=check_optional_text)
    """What the server calls a file that was uploaded to it before."""

    filename: str | None = attrs.field(default=None, validator=check_optional_text)
    """What the model is told that the file is called. None: ``"document.pdf"``, or ``"file"`` if it
    is no PDF."""

    mime_type: str | None = attrs.field(default=None, validator=check_optional_text)
    """Kind of the file, for example ``"text/csv"``. None: what the data URL says; bytes must be
    those of a PDF then."""

    def __attrs_post_init__(self) -> None:
        if (self.file is None) == (self.file_id is None):
            raise ValueError(
                "file and file_id: give one of them, the bytes (or a data URL) of a file or the id "
                "of one that was uploaded"
            )

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], *, mime_type: str | None = None) -> Self:
        """Read a file, at once: in Trio, ``await trio.to_thread.run_sync(FileContent.from_path,
        path)`` keeps other tasks running.

        Args:
            path: The file. The model is told its name, without the folders.
            mime_type: Its kind, if it is no PDF.

        Raises:
            OSError: It cannot be read.
        """
        return cls(file=Path(path).read_bytes(), filename=Path(path).name, mime_type=mime_type)


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class CacheBreakpoint(Saved):
    """Marks the end of a prefix that is worth keeping in the provider's prompt cache.

    Where the model supports it, the part before it is sent with ``prompt_cache_breakpoint``; for
    any other model it is as if it were not there.
    """

    type: ClassVar[Literal["cache_breakpoint"]] = "cache_breakpoint"
    """What a saved conversation calls it."""


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class UnknownContent(Saved):
    """A part that a newer version saved and this one does not know: saved again as it was, not
    sent (which is logged)."""

    type: UnknownType = attrs.field(validator=check_text)
    """What the saved conversation calls it."""


ChatContent: TypeAlias = (
    str | ImageContent | AudioContent | FileContent | CacheBreakpoint | UnknownContent
)
"""A part of a message; text is a plain string."""

CONTENT_TYPES: Final = (
    str,
    ImageContent,
    AudioContent,
    FileContent,
    CacheBreakpoint,
    UnknownContent,
)
CONTENT_WANTED: Final = "a string, ImageContent, AudioContent, FileContent or CacheBreakpoint"
