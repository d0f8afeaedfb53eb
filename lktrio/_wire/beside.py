"""What an answer has beside its text: probabilities, citations, speech, pictures, signed thinking.

This module knows how their pieces add up and how much memory they take. It knows neither the text
nor the order of what a stream yields.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming (``logprobs``, ``audio``,
``annotations``); https://openrouter.ai/docs/features/multimodal/image-generation (``images``);
https://openrouter.ai/docs/use-cases/reasoning-tokens (``reasoning_details``).
"""

from __future__ import annotations

import binascii
import io
import logging
from collections.abc import Mapping
from typing import Any, Final

from lktrio._answers import AudioOutput, ChoiceDelta, ChoiceLogprobs, TokenLogprob
from lktrio._json import clean

from .attached import VALUE_WEIGHT, weight
from .payloads import DeltaPayload, LogprobsPayload

__all__ = ["MAX_AUDIO_BYTES", "Beside"]

logger: Final = logging.getLogger("lktrio")

MAX_AUDIO_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of sound that one answer may hold: more than 20 minutes of ``pcm16``."""

_SILENCE: Final = AudioOutput()
_TEXTS: Final = ("text", "summary")
"""The members of an entry of ``reasoning_details`` that come in pieces."""


class Beside:
    """All that one answer has beside its text, as far as it has come."""

    def __init__(self) -> None:
        self.has_output = False
        """Whether speech or a picture has come, which cannot be taken back."""
        self.audio_bytes = 0
        """How much sound has come."""
        self._tokens: tuple[list[TokenLogprob], list[TokenLogprob]] = ([], [])
        self._annotations: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._details: list[_Detail] = []
        self._speech: _Speech | None = None
        self._sound = _SoundDecoder()

    def read(self, delta: DeltaPayload, logprobs: LogprobsPayload | None) -> dict[str, Any]:
        """The members of a `ChoiceDelta` for all that a payload has beside its text. They are still
        to be added."""
        members: dict[str, Any] = {}
        if logprobs is not None and (logprobs.content or logprobs.refusal):
            members["logprobs"] = ChoiceLogprobs(logprobs.content or [], logprobs.refusal or [])
        for name, entries in (
            ("annotations", delta.annotations),
            ("images", delta.images),
            ("reasoning_details", delta.reasoning_details),
        ):
            said = [entry for entry in entries or () if entry]
            if said:
                members[name] = clean(said)
        audio = delta.audio
        if audio is not None:
            sound = self._sound.feed(audio.data) if audio.data else b""
            speech = AudioOutput(audio.id or None, sound, audio.transcript or "", audio.expires_at)
            if speech != _SILENCE:
                members["audio"] = speech
        return members

    def flush(self) -> dict[str, Any]:
        """Say that nothing more comes; return what was held back."""
        sound = self._sound.flush()
        return {"audio": AudioOutput(data=sound)} if sound else {}

    def add(self, delta: ChoiceDelta) -> int:
        """Take what a delta has beside its text.

        Returns:
            By how many characters the answer has grown; sound is counted by itself.
        """
        grown = 0
        if delta.logprobs is not None:
            for known, tokens in zip(
                self._tokens, (delta.logprobs.content, delta.logprobs.refusal), strict=True
            ):
                known.extend(tokens)
                grown += sum(map(_token_weight, tokens))
        for known_entries, entries in (
            (self._annotations, delta.annotations),
            (self._images, delta.images),
        ):
            if entries:
                known_entries.extend(entries)
                grown += weight(entries)
        if delta.audio is not None:
            self._speech = self._speech or _Speech()
            grown += self._speech.add(delta.audio)
            self.audio_bytes += len(delta.audio.data)
            self.has_output |= bool(delta.audio.data or delta.audio.transcript)
        self.has_output |= bool(delta.images)
        for entry in delta.reasoning_details or ():
            if self._details and self._details[-1].takes(entry):
                grown += self._details[-1].add(entry)
            else:
                self._details.append(_Detail(entry))
                grown += weight(entry)
        return grown

    def members(self) -> dict[str, Any]:
        """The members of a `CollectedResponse` for it."""
        members: dict[str, Any] = {}
        if any(self._tokens):
            content, refusal = self._tokens
            members["logprobs"] = ChoiceLogprobs(list(content), list(refusal))
        if self._annotations:
            members["annotations"] = list(self._annotations)
        if self._images:
            members["images"] = list(self._images)
        if self._details:
            members["reasoning_details"] = [detail.whole() for detail in self._details]
        if self._speech is not None:
            members["audio"] = self._speech.whole()
        return members


def _token_weight(token: TokenLogprob) -> int:
    others = token.top_logprobs
    return (
        len(token.token)
        + VALUE_WEIGHT * (1 + len(others))
        + sum([len(other.token) for other in others])
    )


class _Speech:
    """Speech, joined."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._expires_at: int | None = None
        self._data = io.BytesIO()
        self._transcript = io.StringIO()

    def add(self, piece: AudioOutput) -> int:
        self._id = piece.id or self._id
        self._expires_at = piece.expires_at or self._expires_at
        self._data.write(piece.data)
        return self._transcript.write(piece.transcript)

    def whole(self) -> AudioOutput:
        return AudioOutput(
            self._id, self._data.getvalue(), self._transcript.getvalue(), self._expires_at
        )


class _Detail:
    """An entry of ``reasoning_details``, joined from its pieces.

    Pieces of one entry follow each other, with the same type and place. A signature ends it.
    """

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = dict(entry)
        self._text: io.StringIO | None = None
        self._name = next((name for name in _TEXTS if isinstance(entry.get(name), str)), None)

    def takes(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry is the next piece of this one."""
        mine, get = self._entry, entry.get
        if get("type") != mine.get("type") or get("index") != mine.get("index"):
            return False
        entry_id = get("id")
        if get("data") is not None or (entry_id and mine.get("id") not in (None, entry_id)):
            return False
        texts = [name for name in _TEXTS if get(name)]
        return not texts or (not mine.get("signature") and self._name in {None, *texts})

    def add(self, entry: Mapping[str, Any]) -> int:
        """Join a piece; return by how much this has grown."""
        grown = 0
        for name, value in entry.items():
            if name in _TEXTS and isinstance(value, str) and name == (self._name or name):
                self._name = name
                if self._text is None:
                    self._text = io.StringIO()
                    self._text.write(self._entry.get(name) or "")
                grown += self._text.write(value)
            elif value is not None and self._entry.get(name) != value:
                grown += weight(value)
                self._entry[name] = value
        return grown

    def whole(self) -> dict[str, Any]:
        """The entry as far as it has come."""
        if self._text is None or self._name is None:
            return dict(self._entry)
        return {**self._entry, self._name: self._text.getvalue()}


class _SoundDecoder:
    """Decodes base64 however it is cut."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> bytes:
        """Take a piece and return the bytes that are whole."""
        text = self._rest + piece
        end = len(text) - len(text) % 4
        self._rest = text[end:]
        return _decoded(text[:end])

    def flush(self) -> bytes:
        """Say that nothing more comes; return what was not filled up to four characters."""
        rest, self._rest = self._rest, ""
        return _decoded(rest + "=" * (-len(rest) % 4)) if len(rest) > 1 else b""


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        logger.warning("a piece of audio is not base64 and is left out; chunk.raw has it")
        return b""
