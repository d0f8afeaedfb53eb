"""A tool call in the making: what is known of it, and what its arguments are so far.

This module knows whether arguments are open, form an object, or are said once more. It does not
know which fragments belong to a call.
"""

from __future__ import annotations

import io
from typing import Final

from lktrio._answers import FunctionToolCall
from lktrio._json import MAX_WALKED_VALUES, ObjectScanner, canonical_or_none

__all__ = ["GrowingCall", "starts_object"]


class GrowingCall:
    """A call in the making."""

    __slots__ = (
        "_canonical",
        "_is_compared",
        "_length",
        "_text",
        "extra",
        "handed_out",
        "has_index",
        "id",
        "ids",
        "is_started",
        "made_up_id",
        "name",
        "scanner",
    )

    def __init__(self) -> None:
        self.id: str | None = None
        self.ids: set[str] = set()
        self.made_up_id: str | None = None
        self.name: str | None = None
        self.extra: dict[str, object] = {}
        self.is_started = False
        """Whether there are arguments other than blanks."""
        self.has_index = False
        self.handed_out: FunctionToolCall | None = None
        """The call as it was handed out before the end of the stream; it is frozen since."""
        self._text = io.StringIO()
        self._length = 0
        self.scanner = ObjectScanner(MAX_WALKED_VALUES)
        """Follows the arguments."""
        self._canonical: str | None = None
        """The arguments' canonical spelling, once they have been compared with a fragment."""
        self._is_compared = False

    @property
    def arguments(self) -> str:
        """What has come of the arguments."""
        return self._text.getvalue()

    def has_other_id(self, call_id: str | None) -> bool:
        """Whether the call is known by ids, and this one is none of them."""
        return bool(call_id and self.id and call_id not in self.ids)

    @property
    def is_open(self) -> bool:
        """Whether a string or a bracket of the arguments is open."""
        return self.scanner.is_open

    @property
    def forms_object(self) -> bool:
        """Whether the arguments already form an object."""
        return self.scanner.forms_object

    @property
    def forms_one_object(self) -> bool:
        """Whether the arguments form one object by their brackets, well-formed or not."""
        scanner = self.scanner
        return scanner.forms_object and scanner.objects == 1 and not scanner.has_too_many

    @property
    def is_whole(self) -> bool:
        """Whether the arguments already form an object, and not just the ``{}`` that some
        bridges send ahead of the real one."""
        return self.scanner.forms_object and not self._is_placeholder

    @property
    def is_clean_object(self) -> bool:
        """Whether the arguments are one object, and valid JSON."""
        return self.is_whole and self.scanner.objects == 1 and self._compared() is not None

    @property
    def _is_placeholder(self) -> bool:
        return self._length <= _PLACEHOLDER_LENGTH and self.arguments.split() in _PLACEHOLDERS

    def append(self, fragment: str) -> int:
        """Take a fragment of the arguments; return by how much they have grown."""
        grown = len(fragment)
        if self.scanner.forms_object and starts_object(fragment):
            if self._is_placeholder:
                grown -= self._length
                self._text = io.StringIO()
                self._length = 0
                self.scanner = ObjectScanner(MAX_WALKED_VALUES)
                self._is_compared = False
            elif self.repeats(fragment):
                return 0
        self._text.write(fragment)
        self._length += len(fragment)
        self.scanner.feed(fragment)
        if not fragment.isspace():
            self.is_started = True
            self._canonical = None
        return grown

    def repeats(self, fragment: str) -> bool:
        """Whether a fragment says once more what the whole arguments say."""
        if self.scanner.objects != 1 or self.scanner.is_open:
            return False
        canonical = self._compared()
        return canonical is not None and canonical_or_none(fragment) == canonical

    def _compared(self) -> str | None:
        """The canonical spelling of the arguments, which form an object."""
        if not self._is_compared:
            # Once is enough: whatever follows an object makes the text something else, which
            # it remains.
            self._is_compared = True
            self._canonical = canonical_or_none(self.arguments)
        return self._canonical


_PLACEHOLDERS: Final = (["{}"], ["{", "}"])
_PLACEHOLDER_LENGTH: Final = 16


def starts_object(fragment: str) -> bool:
    """Whether a fragment of arguments begins like an object."""
    return fragment.lstrip().startswith("{")
