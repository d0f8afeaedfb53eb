"""How fragments of tool calls add up to calls.

This module knows the one table by which a fragment is given to a call, whatever the server does
with indexes, ids and names, and when a call's arguments are whole. It does not execute
anything, and it never completes what was cut off.
"""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import Callable, Collection
from typing import Any, Final

from ._chunks import FunctionToolCall
from ._errors import APIConnectionError
from ._json_text import (
    MAX_WALKED_VALUES,
    ObjectScanner,
    canonical_or_none,
    is_cut_off,
    leading_objects,
    loads,
)
from ._wire import CallPayload, FunctionPayload, is_array, is_object, repair_surrogates

__all__ = [
    "MAX_ARGUMENTS_CHARACTERS",
    "MAX_TOOL_CALLS",
    "ToolCallAssembler",
    "copy_extra",
    "make_call_id",
    "merge_extra",
    "too_many_calls",
]

logger = logging.getLogger("lktrio")

MAX_TOOL_CALLS: Final = 1024
"""Most tool calls that one answer may hold. More are an error."""

MAX_ARGUMENTS_CHARACTERS: Final = 1024 * 1024
"""Most characters that the arguments of all calls of one answer may have: a quarter of a million
tokens. They are judged together, at the end of the answer."""

_MAX_NAME: Final = 4096
_LEGACY_KEY: Final = "function_call"


def make_call_id() -> str:
    """Make up an id for a call that has none; unique in any conversation."""
    return f"call_{secrets.token_hex(12)}"


def merge_extra(target: dict[str, Any], extra: dict[str, Any]) -> int:
    """Merge what a provider attached into what it attached before, one level deep.

    Returns:
        By how many characters the target has grown.
    """
    grown = 0
    for key, value in extra.items():
        known: object = target.get(key)
        if is_object(known) and is_object(value):
            for name, item in value.items():
                grown += _put(known, name, item)
        else:
            # A copy, because the next merge changes it.
            grown += _put(target, key, dict(value) if is_object(value) else value)
    return grown


def _put(target: dict[str, Any], key: str, value: object) -> int:
    before = _weight(target[key]) if key in target else -len(key) - _VALUE_WEIGHT
    target[key] = value
    return _weight(value) - before


_VALUE_WEIGHT: Final = 32
"""Without it, an answer could hold a value for each character that it may have."""


def _weight(value: object) -> int:
    """About how many characters of text take as much memory as a JSON value."""
    weight = 0
    rest = [value]
    while rest:
        item = rest.pop()
        weight += _VALUE_WEIGHT
        if isinstance(item, str):
            weight += len(item)
        elif is_array(item):
            rest += item
        elif is_object(item):
            rest += item
            rest += item.values()
    return weight


def copy_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Copy what was merged, so that a later merge does not change it."""
    return {key: dict(value) if is_object(value) else value for key, value in extra.items()}


class _Call:
    """A call in the making."""

    __slots__ = (
        "_canonical",
        "_is_compared",
        "_length",
        "_scanner",
        "_text",
        "extra",
        "handed_out",
        "has_index",
        "id",
        "ids",
        "is_started",
        "made_up_id",
        "name",
    )

    def __init__(self) -> None:
        self.id: str | None = None
        self.ids: set[str] = set()
        self.made_up_id: str | None = None
        self.name: str | None = None
        self.extra: dict[str, Any] = {}
        self.is_started = False
        """Whether there are arguments other than blanks."""
        self.has_index = False
        self.handed_out: FunctionToolCall | None = None
        """The call as it was handed out before the end of the stream; it is frozen since."""
        self._text = io.StringIO()
        self._length = 0
        self._scanner = ObjectScanner(MAX_WALKED_VALUES)
        self._canonical: str | None = None
        """The arguments' canonical spelling, once they have been compared with a fragment."""
        self._is_compared = False

    @property
    def arguments(self) -> str:
        return self._text.getvalue()

    @property
    def is_open(self) -> bool:
        """Whether a string or a bracket of the arguments is open."""
        return self._scanner.is_open

    @property
    def forms_object(self) -> bool:
        """Whether the arguments already form an object."""
        return self._scanner.forms_object

    @property
    def is_whole(self) -> bool:
        """Whether the arguments already form an object, and not just the ``{}`` that some
        bridges send ahead of the real one."""
        return self._scanner.forms_object and not self._is_placeholder

    @property
    def objects(self) -> int:
        """How many objects the arguments hold, one after the other."""
        return self._scanner.objects

    @property
    def forms_one_object(self) -> bool:
        """Whether the arguments form one object by their brackets, well-formed or not."""
        return self.forms_object and self.objects == 1 and not self._scanner.has_too_many

    @property
    def values(self) -> int:
        """How many values are in the arguments, or a few more."""
        return self._scanner.values

    @property
    def is_clean_object(self) -> bool:
        """Whether the arguments are one object, and valid JSON."""
        return self.is_whole and self._scanner.objects == 1 and self._compared() is not None

    @property
    def _is_placeholder(self) -> bool:
        return self._length <= _PLACEHOLDER_LENGTH and self.arguments.split() in _PLACEHOLDERS

    def append(self, fragment: str) -> int:
        """Take a fragment of the arguments; return by how much they have grown."""
        grown = len(fragment)
        if self._scanner.forms_object and _starts_object(fragment):
            if self._is_placeholder:
                grown -= self._length
                self._text = io.StringIO()
                self._length = 0
                self._scanner = ObjectScanner(MAX_WALKED_VALUES)
                self._is_compared = False
            elif self.repeats(fragment):
                return 0
        self._text.write(fragment)
        self._length += len(fragment)
        self._scanner.feed(fragment)
        if not fragment.isspace():
            self.is_started = True
            self._canonical = None
        return grown

    def repeats(self, fragment: str) -> bool:
        """Whether a fragment says once more what the whole arguments say."""
        if self._scanner.objects != 1 or self._scanner.is_open:
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


def _starts_object(fragment: str) -> bool:
    return fragment.lstrip().startswith("{")


class ToolCallAssembler:
    """Collects the fragments of one answer's calls.

    Args:
        declared: Names of the tools the request offered.
        make_id: Makes up ids for calls that have none.
        clean: Takes what must not be shown out of names and ids.
    """

    def __init__(
        self,
        declared: Collection[str] = (),
        make_id: Callable[[], str] = make_call_id,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._clean = clean
        self.size = 0
        """Characters kept: arguments, names, ids and what was attached."""
        self._arguments = 0
        self._values = 0
        self._declared = declared
        self._make_id = make_id
        self._calls: list[_Call] = []
        self._by_index: dict[int | str, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None
        self._handed_out = 0
        self._ids = _UniqueIds()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, entry: CallPayload) -> None:
        """Take one entry of a ``tool_calls`` list.

        Raises:
            APIConnectionError: The answer has more calls than allowed, one call has more objects
                as arguments, or a name is too long.
        """
        self._add(entry.index, entry.id, entry.spoken(), entry.extra_content)

    def add_legacy(self, function: FunctionPayload) -> None:
        """Take a ``function_call`` delta, as servers sent it before there were tool calls."""
        self._add(_LEGACY_KEY, None, function, None)

    def _add(
        self,
        index: int | str | None,
        call_id: str | None,
        function: FunctionPayload | None,
        extra: dict[str, Any] | None,
    ) -> None:
        name = (function and function.name) or None
        arguments = (function and function.arguments) or ""
        if len(arguments) > MAX_ARGUMENTS_CHARACTERS:
            raise _too_large()
        call = self._candidate(index, call_id)
        if call is None or self._is_new(call, call_id or None, name, arguments):
            call = self._open()
        elif call.handed_out is not None:
            self._check_frozen(call, arguments)
            arguments = ""
        elif name and call.name and name != call.name and not call.is_started:
            # A piece of the name, or the name so far.
            self._name(call, name if name.startswith(call.name) else call.name + name)
        if index is not None:
            self._by_index[index] = call
            call.has_index = True
        if call_id:
            call.id = call.id or call_id
            if call_id not in call.ids:
                self.size += len(call_id)
                call.ids.add(call_id)
            self._by_id[call_id] = call
        if name and not call.name:
            self._name(call, name)
        if arguments:
            self._append(call, arguments)
            if call.objects > MAX_TOOL_CALLS:
                # Each would become a call: there is no need to wait for the end of them.
                raise too_many_calls()
        if extra:
            self.size += merge_extra(call.extra, extra)
        self._last = call

    def _append(self, call: _Call, arguments: str) -> None:
        before = call.values
        grown = call.append(arguments)
        self.size += grown
        self._arguments += grown
        self._values += call.values - before
        if self._arguments > MAX_ARGUMENTS_CHARACTERS:
            raise _too_large()
        if self._values > MAX_WALKED_VALUES:
            raise APIConnectionError(
                f"the arguments of the answer's tool calls hold more than {MAX_WALKED_VALUES} "
                "values",
                retryable=False,
            )

    @staticmethod
    def _check_frozen(call: _Call, arguments: str) -> None:
        """A call that was handed out may be repeated, but not continued: it may be running."""
        if arguments.strip() and not call.repeats(arguments):
            raise APIConnectionError(
                f"the server came back to the call of {call.name!r} after it had been handed out; "
                "leave early hand-out off for this server",
                retryable=False,
            )

    def take_ready(self, *, text_follows: bool, tainted: bool = False) -> list[FunctionToolCall]:
        """Hand out the calls that are complete before the end of the stream, each once.

        A call is complete when its arguments form an object and a later one has begun, or text
        has followed.

        Args:
            text_follows: Whether text has come after the last fragment.
            tainted: Whether arguments may hold lone surrogates.
        """
        ready: list[FunctionToolCall] = []
        # In order of appearance: a call that is not complete keeps back those behind it.
        for call in self._calls[self._handed_out :]:
            if not call.is_clean_object or not call.name:
                break
            if call is self._last and not text_follows:
                break
            arguments = repair_surrogates(call.arguments) if tainted else call.arguments
            call.handed_out = self._make(call, self._ids, arguments)
            self._handed_out += 1
            ready.append(call.handed_out)
        return ready

    def _candidate(self, index: int | str | None, call_id: str | None) -> _Call | None:
        known = self._by_id.get(call_id) if call_id else None
        if index is None:
            return known or self._last
        call = self._by_index.get(index)
        if call is None and known is not None and not known.has_index:
            return known
        if call is not None and known is not None and call.id and call_id not in call.ids:
            # All calls share one index, and the id says which is continued.
            return known
        return call

    def _is_new(self, call: _Call, call_id: str | None, name: str | None, arguments: str) -> bool:
        """Whether an entry opens a new call in place of continuing its candidate."""
        if call_id and call.id and call_id not in call.ids:
            if name is None:
                return call.forms_object and not arguments
            # Some servers make up an id for each fragment; one that begins in the middle of an
            # object goes on with the object that is open.
            return name != call.name or not call.is_open or not _goes_on(arguments)
        if not name or not call.name:
            return False
        told_apart = bool(call_id and call.id)
        if name == call.name:
            return (
                not told_apart
                and call.is_whole
                and _starts_object(arguments)
                and not call.repeats(arguments)
            )
        if call.forms_object:
            return True
        if name not in self._declared:
            return False
        if call.is_started:
            return not told_apart
        return not self._is_piece_of_name(call.name, name)

    def _is_piece_of_name(self, so_far: str, piece: str) -> bool:
        return so_far not in self._declared and (
            so_far + piece in self._declared or piece.startswith(so_far)
        )

    def _open(self) -> _Call:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise too_many_calls()
        call = _Call()
        self._calls.append(call)
        return call

    def _name(self, call: _Call, name: str) -> None:
        if len(name) > _MAX_NAME:
            raise APIConnectionError(
                f"the name of a tool call is longer than {_MAX_NAME} characters", retryable=False
            )
        self.size += len(name) - len(call.name or "")
        call.name = name

    def result(
        self, *, cut: bool, tainted: bool = False, strict: bool = True
    ) -> tuple[list[FunctionToolCall], list[FunctionToolCall]]:
        """The calls in order of appearance: those that are whole, and those withheld.

        Args:
            cut: Whether the answer was cut off (finish reason ``length``, or a lost
                connection), so that only arguments that are a complete value are whole.
            tainted: Whether arguments may hold lone surrogates.
            strict: Whether more calls than allowed are an error; else those that are too many
                are withheld.

        Raises:
            APIConnectionError: The answer has more calls than allowed.
        """
        whole: list[FunctionToolCall] = []
        withheld: list[FunctionToolCall] = []
        ids = self._ids.copy()
        complete: list[str]
        incomplete: str | None
        for call in self._calls:
            if call.handed_out is not None:
                whole.append(call.handed_out)
                continue
            arguments = call.arguments
            if tainted:
                arguments = repair_surrogates(arguments)
            if not call.name and not arguments.strip():
                continue
            if call.values > MAX_WALKED_VALUES:
                # What an error carries: they were refused where they came.
                complete, incomplete = [], arguments
            elif not cut and call.forms_one_object and not _ends_blank(arguments):
                # Closed is enough, well-formed or not: who wants the values parses them, once.
                complete, incomplete = [arguments], None
            else:
                complete, incomplete = _split_arguments(arguments, cut=cut)
            if len(whole) + len(complete) > MAX_TOOL_CALLS:
                if strict:
                    raise too_many_calls()
                complete, incomplete = [], arguments
            if not call.name:
                complete, incomplete = [], arguments
            if len(complete) > 1:
                logger.warning(
                    "the server sent %d argument objects for one call of %r; "
                    "they are handed out as separate calls",
                    len(complete),
                    self._clean(call.name or ""),
                )
            whole.extend(self._make(call, ids, text) for text in complete)
            if incomplete is not None:
                withheld.append(self._make(call, ids, incomplete))
        return whole, withheld

    def _make(self, call: _Call, ids: _UniqueIds, arguments: str) -> FunctionToolCall:
        call_id = call.id or call.made_up_id
        if call_id is None:
            call_id = call.made_up_id = self._make_id()
        return FunctionToolCall(
            name=self._clean(call.name or ""),
            arguments=arguments,
            call_id=ids.take(self._clean(call_id)),
            extra=copy_extra(call.extra) or None,
        )


class _UniqueIds:
    """Tells calls of one answer apart that the server gave the same id."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def copy(self) -> _UniqueIds:
        """The same ids taken, to take more of them."""
        copied = _UniqueIds()
        copied._taken = dict(self._taken)
        return copied

    def take(self, call_id: str) -> str:
        """The id, or one derived from it if an earlier call has it."""
        number = self._taken.get(call_id, 0)
        unique = call_id
        while unique in self._taken:
            number += 1
            unique = f"{call_id}_{number}"
        self._taken[unique] = 1
        if unique != call_id:
            self._taken[call_id] = number
        return unique


def _split_arguments(arguments: str, *, cut: bool) -> tuple[list[str], str | None]:
    """Judge a call's arguments: the complete texts in them, and what was cut off, if anything.

    Closed but malformed arguments are complete in this sense: they are handed out as they came.
    """
    if not arguments.strip():
        return ([], arguments) if cut else (["{}"], None)
    try:
        value = loads(arguments)
    except (ValueError, RecursionError):
        objects, rest = leading_objects(arguments, MAX_TOOL_CALLS + 1)
        if not rest or len(objects) > MAX_TOOL_CALLS:
            return objects, None
        if is_cut_off(rest):
            return objects, rest
        return ([], arguments) if cut else ([arguments], None)
    if cut and not isinstance(value, dict | list | str):
        return [], arguments
    return [arguments], None


def _ends_blank(arguments: str) -> bool:
    """Whether a blank stands at the end that JSON does not know, and a decoder stumbles over."""
    return arguments[-1:].isspace() and arguments.rstrip(" \t\r\n")[-1:].isspace()


def _goes_on(fragment: str) -> bool:
    return bool(fragment.strip()) and not _starts_object(fragment)


def _too_large() -> APIConnectionError:
    return APIConnectionError(
        f"the arguments of the answer's tool calls are larger than {MAX_ARGUMENTS_CHARACTERS} "
        "characters",
        retryable=False,
    )


def too_many_calls() -> APIConnectionError:
    """The error for an answer with more calls than allowed."""
    return APIConnectionError(
        f"the answer holds more than {MAX_TOOL_CALLS} tool calls", retryable=False
    )
