"""JSON text that is not there yet: whether it is whole, cut off, or several values in a row.

This module knows brackets and strings. It does not know what the text is for.
"""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["ObjectScanner", "canonical_or_none", "is_cut_off", "leading_objects", "loads"]

# Many tokens in one call: a server may send nothing but brackets.
_TOKENS: Final = re.compile(r'[{}\[\]]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STRING: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENING: Final = ("{", "[")
_CLOSING: Final = ("}", "]")
_SLICE: Final = 65_536
# Possessive: a quote that is never closed must not be kept for backtracking, character by
# character.
_SINGLE_QUOTED: Final = re.compile(r"(?<=[\[{,:])\s*+'(?:[^'\\]++|\\.)*+'", re.DOTALL)


class ObjectScanner:
    """Follows the fragments of a JSON text. The work is linear in the text."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.objects = 0
        """How many objects have been closed at the outermost level."""

    @property
    def is_open(self) -> bool:
        """Whether a string or a bracket is open at the end of what was fed."""
        return self._in_string or self._depth > 0

    @property
    def forms_object(self) -> bool:
        """Whether what was fed holds a closed object, and nothing is open."""
        return self.objects > 0 and not self.is_open

    def feed(self, text: str) -> None:
        """Take the next fragment."""
        # In slices, because their tokens are held all at once.
        for start in range(0, len(text), _SLICE):
            self._feed(text[start : start + _SLICE])

    def _feed(self, text: str) -> None:
        position = 1 if self._escaped else 0
        self._escaped = False
        if self._in_string:
            position = self._string_end(text, position)
            if self._in_string:
                return
        tokens = _TOKENS.findall(text, position)
        for token in tokens:
            if token in _OPENING:
                self._depth += 1
            elif self._depth and token in _CLOSING:
                self._depth -= 1
                if not self._depth and token == "}":
                    self.objects += 1
        if tokens and tokens[-1][0] == '"':
            self._in_string = True
            self._string_end(text, text.rindex(tokens[-1]) + 1)

    def _string_end(self, text: str, position: int) -> int:
        """Go on to the end of the open string, or of the text."""
        match = _STRING.match(text, position)
        assert match is not None  # it matches nothing, too
        rest = text[match.end() : match.end() + 1]
        self._in_string = rest != '"'
        self._escaped = rest == "\\"
        return match.end() + len(rest)


def is_cut_off(text: str) -> bool:
    """Whether a string or a bracket is open at the end of a text.

    A text that is closed in one of two readings is not cut off: with strings in double quotes
    only, or with strings in single quotes too, as small models write them.
    """
    scanner = ObjectScanner()
    scanner.feed(text)
    if scanner.is_open and "'" in text:
        scanner = ObjectScanner()
        scanner.feed(_SINGLE_QUOTED.sub("0", text))
    return scanner.is_open


def loads(text: str) -> object:
    """Decode a JSON text; control characters in its strings may stand as they are.

    Models and proxies write line breaks and the like raw, and what was meant is clear.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, strict=False)


def canonical_or_none(text: str) -> str | None:
    """One spelling for all JSON texts of one value; None for a text that is not JSON."""
    try:
        return json.dumps(loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return None


_decode_first = json.JSONDecoder(strict=False).raw_decode
_WHITESPACE: Final = re.compile(r"[ \t\r\n]*")


def leading_objects(text: str, limit: int) -> tuple[list[str], str]:
    """Split a text into the JSON objects it begins with, at most ``limit``, and the rest."""
    objects: list[str] = []
    position = 0
    while len(objects) < limit:
        match = _WHITESPACE.match(text, position)
        assert match is not None  # it matches nothing, too
        position = match.end()
        if not text.startswith("{", position):
            break
        try:
            _, end = _decode_first(text, position)
        except (ValueError, RecursionError):
            break
        objects.append(text[position:end])
        position = end
    return objects, text[position:].strip()
