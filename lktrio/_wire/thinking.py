"""Separating thinking from text: tags in the text, and characters cut in two.

This module knows how to find tags however they are cut over chunks. Which tags a model uses is
a fact of the model table.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from lktrio._json import repair_surrogates

__all__ = ["SurrogateJoiner", "ThinkingFilter"]


class _Tags:
    """What is looked for."""

    def __init__(self, tags: tuple[tuple[str, str], ...]) -> None:
        every_tag = [tag for pair in tags for tag in pair]
        self.closing = dict(tags)
        self.first_characters = tuple({tag[0] for tag in every_tag})
        self.watched = self.first_characters[0] if len(self.first_characters) == 1 else ""
        self.search = re.compile("|".join(map(re.escape, every_tag)) or r"(?!)").search
        self.beginnings = _beginnings(every_tag)
        self.beginnings_of = {closer: _beginnings([closer]) for _, closer in tags}


@functools.lru_cache(maxsize=64)
def _tags(tags: tuple[tuple[str, str], ...]) -> _Tags:
    # There are few sets of tags, and a filter for every request.
    return _Tags(tags)


class ThinkingFilter:
    """Takes text apart into what is shown and what stands between thinking tags.

    Only a suffix that could be the beginning of a tag is held back; at the end of the stream it
    is text. A closing tag without an opening one disappears, and the text before it stays: it
    has been delivered already.

    Args:
        tags: Pairs of opening and closing tag.
        starts_inside: Whether the stream begins inside the first pair.
    """

    def __init__(self, tags: Sequence[tuple[str, str]], *, starts_inside: bool = False) -> None:
        known = _tags(tuple(tags))
        self._closing = known.closing
        self._first_characters = known.first_characters
        self._search = known.search
        self._beginnings = known.beginnings
        self._beginnings_of = known.beginnings_of
        self._longest_beginning = max(map(len, self._beginnings), default=0)
        self._closer: str | None = tags[0][1] if starts_inside and tags else None
        self._held: str = ""
        self._watched = known.watched
        self.watched: str = known.watched if self._closer is None else ""
        """A string without which text is shown as it is, so that `feed` need not be asked; empty if
        it must be."""

    def feed(self, text: str) -> tuple[str, str]:
        """Take text and return what is to be shown of it and what is thinking."""
        if not self._held:
            if self._closer is None:
                for character in self._first_characters:
                    if character in text:
                        break
                else:
                    return text, ""
            elif self._closer[0] not in text:
                return "", text
        return self._take_apart(text)

    def flush(self) -> tuple[str, str]:
        """Say that no more text comes; return what was held back."""
        held, self._held = self._held, ""
        self.watched = self._watched if self._closer is None else ""
        return (held, "") if self._closer is None else ("", held)

    def _take_apart(self, text: str) -> tuple[str, str]:
        text = self._held + text
        shown: list[str] = []
        thought: list[str] = []
        position = 0
        while True:
            start = position
            if self._closer is None:
                match = self._search(text, position)
                if match is None:
                    break
                shown.append(text[start : match.start()])
                position = match.end()
                self._closer = self._closing.get(match.group())
            else:
                found = text.find(self._closer, position)
                if found < 0:
                    break
                thought.append(text[start:found])
                position = found + len(self._closer)
                self._closer = None
        end = len(text) - self._held_back(text, start)
        self._held = text[end:]
        (shown if self._closer is None else thought).append(text[start:end])
        self.watched = self._watched if self._closer is None and not self._held else ""
        return "".join(shown), "".join(thought)

    def _held_back(self, text: str, start: int) -> int:
        """Length of the longest suffix that is a proper prefix of a tag looked for."""
        beginnings = self._beginnings if self._closer is None else self._beginnings_of[self._closer]
        for length in range(min(self._longest_beginning, len(text) - start), 0, -1):
            if text[-length:] in beginnings:
                return length
        return 0


def _beginnings(tags: Iterable[str]) -> frozenset[str]:
    return frozenset(tag[:length] for tag in tags for length in range(1, len(tag)))


class SurrogateJoiner:
    """Joins characters whose surrogate pair was cut over two chunks of one text."""

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, text: str) -> str:
        """Take text and return it without lone surrogates; half a pair waits for the rest."""
        if not text:
            return text
        text = self._pending + text
        self._pending = ""
        if "\ud800" <= text[-1] <= "\udbff":
            self._pending = text[-1]
            text = text[:-1]
        return repair_surrogates(text)

    def flush(self) -> str:
        """Say that no more text comes; a half that stayed alone is U+FFFD."""
        pending, self._pending = self._pending, ""
        return "\ufffd" if pending else ""
