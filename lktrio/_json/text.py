"""JSON text before it is decoded: whether it is whole or cut off, and how much is in it.

A decoder runs to its end without a pause, and what it makes is walked through by others. So what
somebody else has written is counted first, in pieces. This module knows brackets and strings. It
does not know what the text is for.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Final

__all__ = [
    "MAX_DECODED_VALUES",
    "MAX_DEPTH",
    "MAX_ESCAPES",
    "MAX_WALKED_VALUES",
    "SLICE",
    "JSONMeter",
    "ObjectScanner",
    "canonical_or_none",
    "ends_early",
    "has_more_values",
    "is_cut_off",
    "leading_objects",
    "loads",
]

MAX_DEPTH: Final = 100
"""Levels of nesting of JSON that somebody else has written."""

MAX_DECODED_VALUES: Final = 100_000
"""Most values in a text that a decoder goes through in one call."""

MAX_WALKED_VALUES: Final = 20_000
"""Most values in a text that is gone through in Python once it is decoded."""

MAX_ESCAPES: Final = 500_000
"""Most backslashes in a text, and most bytes of it that are not UTF-8: each takes a decoder ten
times as long as another byte."""

SLICE: Final = 65_536
"""So much of a text is looked at in one step, in bytes or characters."""

# Many tokens in one call: a server may send nothing but brackets.
_TOKENS: Final = re.compile(r'[{}\[\],]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STRING: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENING: Final = ("{", "[")
_CLOSING: Final = ("}", "]")
# Possessive: a quote that is never closed must not be kept for backtracking, character by
# character.
_SINGLE_QUOTED: Final = re.compile(r"([\[{,:])\s*+'(?:[^'\\]++|\\.)*+'", re.DOTALL)


class ObjectScanner:
    """Follows the fragments of a JSON text. The work is linear in the text.

    Args:
        max_values: Where there are more values, the rest of a fragment is not looked at, and the
            scanner knows nothing any more.
    """

    def __init__(self, max_values: int = MAX_DECODED_VALUES) -> None:
        self._max_values = max_values
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.objects = 0
        """How many objects have been closed at the outermost level."""
        self.deepest = 0
        """Levels of nesting."""
        self._marks = 0
        self._strings = 0

    @property
    def values(self) -> int:
        """How many values there are; an empty list or object counts twice."""
        return self._marks + 1

    @property
    def has_too_many(self) -> bool:
        """Whether there are more values than are counted."""
        # A value has one name at most.
        return self.values > self._max_values or self._strings > 2 * self._max_values

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
        for start in range(0, len(text), SLICE):
            self._feed(text[start : start + SLICE])
            if self.has_too_many:
                return

    def _feed(self, text: str) -> None:
        position = 1 if self._escaped else 0
        self._escaped = False
        if self._in_string:
            position = self._string_end(text, position)
            if self._in_string:
                return
        tokens = _TOKENS.findall(text, position)
        depth, deepest, marks, strings = self._depth, self.deepest, 0, 0
        for token in tokens:
            if token == ",":
                marks += 1
            elif token in _OPENING:
                marks += 1
                depth += 1
                if depth > deepest:  # noqa: PLR1730 - a call for every bracket would be slow
                    deepest = depth
            elif token in _CLOSING:
                if depth:
                    depth -= 1
                    if not depth and token == "}":
                        self.objects += 1
                else:
                    marks += 1  # of no value, but too many are too many
            else:
                strings += 1
        self._depth, self.deepest = depth, deepest
        self._marks += marks
        self._strings += strings
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


class JSONMeter:
    """Counts what is in a JSON text as bytes, piece by piece.

    Args:
        max_values: Most values.
    """

    def __init__(self, max_values: int = MAX_DECODED_VALUES) -> None:
        self._scanner = ObjectScanner(max_values)
        self._max_values = max_values
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._backslashes = 0
        self._damage = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece: at most `SLICE` bytes, for a step that is short."""
        # All that counts is ASCII.
        self._scanner.feed(data.decode("latin-1"))
        self._backslashes += data.count(b"\\")
        if not data.isascii():
            self._damage += self._decoder.decode(data).count("\ufffd")

    @property
    def values(self) -> int:
        """How many values there are; an empty list or object counts twice."""
        return self._scanner.values

    @property
    def excess(self) -> str | None:
        """What there is too much of, as the rest of a sentence; None if there is not."""
        if self._scanner.deepest > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} levels"
        if self._scanner.has_too_many:
            return f"holds more than {self._max_values} values"
        if self._backslashes > MAX_ESCAPES:
            return f"holds more than {MAX_ESCAPES} escapes"
        if self._damage > MAX_ESCAPES:
            return f"holds more than {MAX_ESCAPES} bytes that are not UTF-8"
        return None


def has_more_values(text: str, limit: int) -> bool:
    """Whether a JSON text holds more than so many values. It is not read further than that."""
    if len(text) <= 2 * limit:
        return False
    scanner = ObjectScanner(limit)
    scanner.feed(text)
    return scanner.has_too_many


_READ_IN_BOTH_WAYS: Final = 200_000
"""Longest text, in characters, in which single quotes may be those of strings."""


def is_cut_off(text: str, scanned: ObjectScanner | None = None) -> bool:
    """Whether a string or a bracket is open at the end of a text.

    A text that is closed in one of two readings is not cut off: with strings in double quotes
    only, or with strings in single quotes too, as small models write them.

    Args:
        text: The text.
        scanned: A scanner that has been fed with it, if there is one.
    """
    scanner = scanned or _scan(text)
    if scanner.is_open and "'" in text and len(text) <= _READ_IN_BOTH_WAYS:
        scanner = _scan(_SINGLE_QUOTED.sub(r"\g<1>0", text))
    return scanner.is_open


def _scan(text: str) -> ObjectScanner:
    scanner = ObjectScanner()
    scanner.feed(text)
    return scanner


def loads(text: str) -> object:
    """Decode a JSON text; control characters in its strings may stand as they are.

    Models and proxies write line breaks and the like raw, and what was meant is clear.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, strict=False)


# What the decoder of the standard library reports as wrong is the beginning of what is missing.
_BEGINNING: Final = re.compile(
    r"-?|t(?:ru?)?|f(?:al?s?)?|n(?:ul?)?|N(?:a)?|-?I(?:n(?:f(?:i(?:n(?:it?)?)?)?)?)?|\.|[eE][+-]?"
)
_BEGINNING_OF_ESCAPES: Final = re.compile(r"u?[0-9a-fA-F]{0,4}(?:\\u?[0-9a-fA-F]{0,3})?")
_LONGEST_BEGINNING: Final = 10


def ends_early(text: str, error: json.JSONDecodeError) -> bool:
    """Whether a text is the beginning of a JSON text, by the error that `loads` raised for it."""
    if error.msg.startswith("Unterminated string"):
        return True
    rest = text[error.pos : error.pos + _LONGEST_BEGINNING]
    if len(rest) == _LONGEST_BEGINNING:
        return False
    if error.msg.startswith("Invalid \\u"):
        return _BEGINNING_OF_ESCAPES.fullmatch(rest) is not None
    return _BEGINNING.fullmatch(rest.rstrip()) is not None and not error.msg.startswith("Extra")


def canonical_or_none(text: str) -> str | None:
    """One spelling for all JSON texts of one value; None for a text that is not JSON, or is more
    than can be compared."""
    if has_more_values(text, MAX_WALKED_VALUES):
        return None
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
