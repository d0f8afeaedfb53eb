"""What the call of a tool came to, in words that a model can read.

This module alone knows what the output of a call says, whatever the function returned or raised.
It runs nothing.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from lktrio._conversation import FunctionCall, FunctionCallOutput
from lktrio._definitions import public
from lktrio._json import repair_surrogates

from .toolset import ToolContext
from .values import StopResponse, ToolError, ToolResult

__all__ = [
    "FunctionCallResult",
    "failed",
    "interrupted",
    "is_for_the_model",
    "not_carried_out",
    "returned",
    "timed_out",
    "unknown_tool",
]

logger = logging.getLogger("lktrio")


@public
class FunctionCallResult(msgspec.Struct, frozen=True, weakref=True):
    """What became of one call: the two items that belong into the conversation, and what they
    were made from.

    A call always has an output, because servers refuse a conversation in which one has none.
    """

    fnc_call: FunctionCall
    """The call, its arguments as one JSON object: canonical where the model's text could be read
    or repaired, else ``{"invalid_arguments": "<the text>"}``, because servers parse them. The
    name of a tool that does not exist is spelled so that servers accept it."""

    fnc_call_out: FunctionCallOutput
    """Its output: text of the function, or of the error. Empty if the function returned None or
    raised `StopResponse`."""

    raw_output: Any = None
    """What the function returned; None if it did not come to that."""

    raw_exception: Exception | None = None
    """What was raised: by the function; a `ToolError` if there is no such tool, the arguments
    do not fit or the call was refused; `trio.TooSlowError` if the tool's ``timeout`` ran out. None
    if it returned, or was interrupted."""

    @property
    def is_error(self) -> bool:
        """Whether the call failed; the output then says what the model should know about it."""
        return self.fnc_call_out.is_error

    @property
    def reply_required(self) -> bool:
        """Whether the model is to go on and say something."""
        return self.fnc_call_out.reply_required


# --- Outputs -------------------------------------------------------------------------------------


def _encode(value: object) -> object:
    # Most tools return text, and most programs begin without one.
    from lktrio._schemas import Converter

    return Converter().unstructure(value)


def returned(
    call: FunctionCall, value: object, encode: Callable[[object], object] = _encode
) -> FunctionCallResult:
    """The result of a call whose function returned.

    A string is the output as it is, None is an empty one, and any other value is written as
    JSON; what its type writes as a string (a date, an enumeration of strings) has no quotes.

    Args:
        call: The call.
        value: What the function returned.
        encode: Makes a JSON value of what is neither a string nor None.
    """
    inner: object = value
    reply_required = True
    if isinstance(value, ToolResult):
        inner, reply_required = value.output, value.reply_required
    if isinstance(inner, Exception):
        # Handed back in place of being raised.
        return msgspec.structs.replace(failed(call, inner), raw_output=value)
    try:
        output = _to_text(inner, encode)
    except Exception as exc:
        # The value is the program's, and so is what it raises.
        logger.exception(
            "what the tool %s returned, a %s, has no form that a model can read; return a string, "
            "or a value that can be written as JSON",
            call.name,
            type(inner).__qualname__,
        )
        return msgspec.structs.replace(_failure(call, _INTERNAL_ERROR, exc), raw_output=value)
    return FunctionCallResult(call, _output(call, output, reply_required=reply_required), value)


def failed(call: FunctionCall, exc: Exception) -> FunctionCallResult:
    """The result of a call whose function raised.

    The model reads the text of a `ToolError`. Any other exception is none of its business: it is
    logged, and the model is told that there was one.
    """
    meant = _sole_leaf(exc)
    if isinstance(meant, StopResponse):
        output = _output(call, "", reply_required=False)
        return FunctionCallResult(call, output, raw_exception=meant)
    if isinstance(meant, ToolError):
        return _failure(call, str(meant.message), meant)
    logger.error("the tool %s failed", call.name, exc_info=exc)
    return _failure(call, _INTERNAL_ERROR, exc)


def is_for_the_model(exc: Exception) -> bool:
    """Whether somebody has raised it to say what the model is to read, or that it reads nothing."""
    return isinstance(_sole_leaf(exc), ToolError | StopResponse)


def _sole_leaf(exc: Exception) -> Exception:
    """The exception, out of the group that a nursery of the tool has put it into."""
    leaves = _leaves(exc)
    return _sole_leaf(leaves[0]) if len(leaves) == 1 else exc


def _leaves(exc: object) -> tuple[Exception, ...]:
    if isinstance(exc, ExceptionGroup):
        return cast("ExceptionGroup[Exception]", exc).exceptions
    return ()


def unknown_tool(call: FunctionCall, name: str, tool_ctx: ToolContext) -> FunctionCallResult:
    """The result of a call of a tool that there is not."""
    logger.warning("the model called a tool that there is not: %s", call.name)
    names = ", ".join(tool_ctx.function_tools)
    message = f"There is no tool named {repair_surrogates(name)!r}. " + (
        f"The available tools are: {names}." if names else "No tools are available."
    )
    return _failure(call, message, ToolError(message))


def timed_out(call: FunctionCall, seconds: float, exc: Exception) -> FunctionCallResult:
    """The result of a call that took longer than its tool may take."""
    unit = "second" if seconds == 1 else "seconds"
    return _failure(call, f"{call.name} timed out after {seconds:g} {unit}.", exc)


def interrupted(call: FunctionCall, *, started: bool) -> FunctionCallResult:
    """The result of a call that was cancelled, or that was never begun because of that."""
    if started:
        return _failure(
            call, "The call was interrupted. Whether it had an effect is not known.", None
        )
    return not_carried_out(call, "everything was interrupted before")


def not_carried_out(
    call: FunctionCall, reason: str, *, refused: bool = False
) -> FunctionCallResult:
    """The result of a call that was not begun.

    Args:
        call: The call.
        reason: Why, as half a sentence.
        refused: Whether somebody has decided that, which then counts as raised.
    """
    message = f"The call was not carried out: {reason}."
    return _failure(call, message, ToolError(message) if refused else None)


_INTERNAL_ERROR: Final = "An internal error occurred"


def _failure(call: FunctionCall, message: str, exc: Exception | None) -> FunctionCallResult:
    return FunctionCallResult(call, _output(call, message, is_error=True), raw_exception=exc)


def _output(
    call: FunctionCall, text: str, *, is_error: bool = False, reply_required: bool = True
) -> FunctionCallOutput:
    return FunctionCallOutput(
        name=call.name,
        call_id=call.call_id,
        output=repair_surrogates(text),
        is_error=is_error,
        reply_required=reply_required,
        # Not before its call, whatever the clock was set to in between.
        created_at=max(time.time(), call.created_at),
    )


def _to_text(value: object, encode: Callable[[object], object]) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    written = encode(value)
    return written if isinstance(written, str) else json.dumps(written, ensure_ascii=False)
