"""The tool calls of an answer: collected from fragments, bounded, handed out when they are whole.

This module knows when a call's arguments are whole, and what becomes of those that are not. It does
not execute anything, and it never completes what was cut off.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection
from typing import Final

from lktrio._answers import APIConnectionError, FunctionToolCall
from lktrio._json import MAX_WALKED_VALUES, is_cut_off, leading_objects, loads, repair_surrogates

from .attached import copy_extra, merge_extra
from .fragments import Calls, Effect
from .growing_call import GrowingCall
from .payloads import CallPayload, FunctionPayload

__all__ = [
    "MAX_ARGUMENTS_CHARACTERS",
    "MAX_TOOL_CALLS",
    "ToolCallAssembler",
    "make_call_id",
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
        self._make_id = make_id
        self.calls = Calls(declared)
        """Those that have begun, and where they are found."""
        self._handed_out = 0
        self._ids = _UniqueIds()

    def __bool__(self) -> bool:
        return bool(self.calls.all)

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
        extra: dict[str, object] | None,
    ) -> None:
        name = function.name if function is not None else None
        arguments = (function.arguments if function is not None else None) or ""
        if len(arguments) > MAX_ARGUMENTS_CHARACTERS:
            raise _too_large()
        call = self.calls.continued(index, call_id, name)
        if call is None:
            call = self._place(index, call_id, name, arguments)
        if call.handed_out is not None:
            self._check_frozen(call, arguments)
            arguments = ""
        if arguments:
            self._append(call, arguments)
            if call.scanner.objects > MAX_TOOL_CALLS:
                # Each would become a call: there is no need to wait for the end of them.
                raise too_many_calls()
        if extra:
            self.size += merge_extra(call.extra, extra)

    def _place(
        self, index: int | str | None, call_id: str | None, name: str | None, arguments: str
    ) -> GrowingCall:
        call, effect = self.calls.place(index, call_id, name, arguments)
        if call is None:
            call = self._open()
        if call_id and call_id not in call.ids:
            self.size += len(call_id)
        self.calls.note(call, index, call_id)
        if name and not call.name:
            self._name(call, name)
        elif name and call.name and effect is Effect.SPELLS:
            self._name(call, name if name.startswith(call.name) else call.name + name)
        return call

    def _append(self, call: GrowingCall, arguments: str) -> None:
        before = call.scanner.values
        grown = call.append(arguments)
        self.size += grown
        self._arguments += grown
        self._values += call.scanner.values - before
        if self._arguments > MAX_ARGUMENTS_CHARACTERS:
            raise _too_large()
        if self._values > MAX_WALKED_VALUES:
            raise APIConnectionError(
                f"the arguments of the answer's tool calls hold more than {MAX_WALKED_VALUES} "
                "values",
                retryable=False,
            )

    @staticmethod
    def _check_frozen(call: GrowingCall, arguments: str) -> None:
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
        for call in self.calls.all[self._handed_out :]:
            if not call.is_clean_object or not call.name:
                break
            if call is self.calls.last and not text_follows:
                break
            arguments = repair_surrogates(call.arguments) if tainted else call.arguments
            call.handed_out = self._make(call, self._ids, arguments)
            self._handed_out += 1
            ready.append(call.handed_out)
        return ready

    def _open(self) -> GrowingCall:
        if len(self.calls.all) >= MAX_TOOL_CALLS:
            raise too_many_calls()
        return self.calls.open()

    def _name(self, call: GrowingCall, name: str) -> None:
        if len(name) > _MAX_NAME:
            raise APIConnectionError(
                f"the name of a tool call is longer than {_MAX_NAME} characters", retryable=False
            )
        self.size += len(name) - len(call.name or "")
        call.name = name

    def result(
        self, *, cut: bool, tainted: bool = False, withholds_excess: bool = False
    ) -> tuple[list[FunctionToolCall], list[FunctionToolCall]]:
        """The calls in order of appearance: those that are whole, and those withheld.

        Args:
            cut: Whether the answer was cut off (finish reason ``length``, or a lost
                connection), so that only arguments that are a complete value are whole.
            tainted: Whether arguments may hold lone surrogates.
            withholds_excess: Whether calls beyond those allowed are withheld.

        Raises:
            APIConnectionError: The answer has more calls than allowed, and they are not withheld.
        """
        whole: list[FunctionToolCall] = []
        withheld: list[FunctionToolCall] = []
        ids = self._ids.copy()
        complete: list[str]
        incomplete: str | None
        for call in self.calls.all:
            if call.handed_out is not None:
                whole.append(call.handed_out)
                continue
            arguments = call.arguments
            if tainted:
                arguments = repair_surrogates(arguments)
            if not call.name and not arguments.strip():
                continue
            if call.scanner.values > MAX_WALKED_VALUES:
                # What an error carries: they were refused where they came.
                complete, incomplete = [], arguments
            elif not cut and call.forms_one_object and not _ends_blank(arguments):
                # Closed is enough, well-formed or not: who wants the values parses them, once.
                complete, incomplete = [arguments], None
            else:
                complete, incomplete = _split_arguments(arguments, cut=cut)
            if len(whole) + len(complete) > MAX_TOOL_CALLS:
                if not withholds_excess:
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

    def _make(self, call: GrowingCall, ids: _UniqueIds, arguments: str) -> FunctionToolCall:
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
