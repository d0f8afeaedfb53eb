"""JSON that is still arriving: the best value that can be had of it so far.

This module knows how to read a JSON text in pieces. What is not there yet is absent, and nothing
is made up: a string grows, but a number, a literal or a name counts only when it has ended. What
is nested too deeply, or holds too much, is malformed here: each value is looked at many times.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from .text import MAX_DEPTH, MAX_WALKED_VALUES

__all__ = ["MAX_CHARACTERS", "MISSING", "PartialJSON"]

MAX_CHARACTERS: Final = 1_000_000
"""Longest text that is read."""

MISSING: Final = object()
"""What `PartialJSON.value` returns before there is anything."""

_SPACE: Final = re.compile(r"[ \t\r\n]*")
# Possessive: a string that has not ended must not be kept for backtracking, character by character.
_STRING_END: Final = re.compile(r'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_ATOM: Final = re.compile(r"[^\s,\]}]++(?=[\s,\]}])")
_LONGEST_ATOM: Final = 8192
"""No number has more characters, and no literal."""
# Whole characters and whole escapes; the first half of a surrogate pair waits for the second.
_WHOLE: Final = re.compile(
    r'(?:[^"\\]++|\\["\\/bfnrt]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4})*+"
)


class PartialJSON:
    """Reads a JSON text piece by piece. Once the text is malformed, the value stays as it is."""

    def __init__(self) -> None:
        self._text = ""
        self._length = 0
        self._values = 0
        self._root: Any = MISSING
        self._open: list[dict[str, Any] | list[Any]] = []
        self._names: list[str | None] = []
        self._expects = "value"
        self._in_string = False
        self._scanned = 0
        self._broken = False

    @property
    def is_broken(self) -> bool:
        """Whether the value stays as it is, whatever follows."""
        return self._broken

    def feed(self, text: str) -> None:
        """Take the next piece."""
        self._length += len(text)
        if self._broken or self._length > MAX_CHARACTERS:
            self._broken = True
            return
        self._text += text
        position = 0
        while True:
            if not self._in_string:
                blanks = _SPACE.match(self._text, position)
                position = blanks.end() if blanks else position
            step = self._step(position) if position < len(self._text) else None
            if step is None or self._broken:
                break
            position = step
        self._text = self._text[position:]

    def value(self) -> Any:
        """The value so far, or `MISSING`. Containers that are still open are copied."""
        text = self._growing_string()
        value: Any = MISSING if text is None else text
        for container, name in zip(reversed(self._open), reversed(self._names), strict=True):
            if isinstance(container, list):
                value = container.copy() if value is MISSING else [*container, value]
            elif value is MISSING or name is None:
                value = container.copy()
            else:
                value = {**container, name: value}
        return self._root if value is MISSING else value

    def _growing_string(self) -> str | None:
        if not self._in_string or self._expects != "value":
            return None
        whole = _WHOLE.match(self._text, 1)
        assert whole is not None  # it matches nothing, too
        return str(json.loads(f'"{whole.group()}"', strict=False))

    def _step(self, position: int) -> int | None:
        """Read one token; None if it is not all there."""
        character = self._text[position]
        if character == '"' and self._expects in {"value", "first value", "name", "first name"}:
            return self._string(position)
        if self._expects in {"value", "first value"}:
            if character == "{":
                return self._begin({}, "first name", position)
            if character == "[":
                return self._begin([], "first value", position)
            if character == "]" and self._expects == "first value":
                return self._end(position)
            return self._atom(position)
        if character == ":" and self._expects == ":":
            self._expects = "value"
            return position + 1
        if character == "," and self._expects == ",":
            self._expects = "value" if isinstance(self._open[-1], list) else "name"
            return position + 1
        if character == "}" and self._expects in {",", "first name"}:
            if isinstance(self._open[-1], dict):
                return self._end(position)
        elif character == "]" and self._expects == "," and isinstance(self._open[-1], list):
            return self._end(position)
        self._broken = True
        return None

    def _string(self, position: int) -> int | None:
        if self._expects == "first value":
            self._expects = "value"
        # The search goes on where it stopped, so that a long string is not searched again.
        match = _STRING_END.match(self._text, position + max(1, self._scanned))
        if match is None:
            self._in_string = True
            backslashes = len(self._text) - len(self._text.rstrip("\\"))
            self._scanned = max(1, len(self._text) - position - backslashes % 2)
            return None
        try:
            text = json.loads(self._text[position : match.end()], strict=False)
        except ValueError:
            # There is an escape that JSON does not have. What stands before it stays.
            self._broken = self._in_string = True
            return None
        self._in_string = False
        self._scanned = 0
        if self._expects == "value":
            self._add(text)
        else:
            self._names[-1] = text
            self._expects = ":"
        return match.end()

    def _atom(self, position: int) -> int | None:
        match = _ATOM.match(self._text, position)
        if match is None:
            is_long = len(self._text) - position > _LONGEST_ATOM
            self._broken = is_long or self._text[position] in ",]}"
            return None
        try:
            value = json.loads(match.group())
        except ValueError:
            self._broken = True
            return None
        self._add(value)
        return match.end()

    def _begin(
        self, container: dict[str, Any] | list[Any], expects: str, position: int
    ) -> int | None:
        if len(self._open) >= MAX_DEPTH:
            self._broken = True
            return None
        self._open.append(container)
        self._names.append(None)
        self._expects = expects
        return position + 1

    def _end(self, position: int) -> int:
        container = self._open.pop()
        self._names.pop()
        self._add(container)
        return position + 1

    def _add(self, value: Any) -> None:
        self._values += 1
        if self._values > MAX_WALKED_VALUES:
            self._broken = True
        if not self._open:
            self._root = value
            self._expects = "end"
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            name = self._names[-1]
            assert name is not None  # a value is expected after a name and a colon only
            container[name] = value
            self._names[-1] = None
        self._expects = ","
