"""Whether a call may be carried out: what the program is asked, and what comes of its answer.

This module knows what a program sees of a call before anything runs, what it may answer, and what
the model reads then. When it is asked, and how a call is carried out, is known elsewhere.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from lktrio._checks import shown
from lktrio._conversation import FunctionCall
from lktrio._definitions import public
from lktrio._tools import (
    FunctionCallResult,
    RunContext,
    StopResponse,
    Tool,
    ToolError,
    ToolResult,
    failed,
    is_for_the_model,
    not_carried_out,
    returned,
)

__all__ = ["Approve", "PendingCall", "ask"]


@public
class PendingCall(msgspec.Struct, frozen=True, weakref=True):
    """A call that the model asks for, before anything of it runs: what ``run_turn(approve=...)``
    is asked about."""

    call: FunctionCall
    """The call as it will stand in the conversation."""

    tool: Tool[..., Any]
    """The tool that is called."""

    arguments: Mapping[str, Any]
    """The values by the names of the parameters, as the function will get them; what is left to a
    default of the function is absent. A copy: another value in it changes nothing. A tool with a
    ``raw_schema`` has them in ``raw_arguments``."""

    context: RunContext[Any]
    """What the call happens in: ``userdata`` and the conversation. The answer that the call stands
    in is not in that conversation yet."""

    round: int
    """In which round of the turn: 1 for the first answer of the model."""

    @property
    def name(self) -> str:
        """Name of the tool."""
        return self.call.name


Approve: TypeAlias = Callable[
    [PendingCall], bool | ToolResult | ToolError | Awaitable[bool | ToolResult | ToolError]
]
"""Decides whether a call runs, sync or async: True runs it, False refuses it, a `ToolError`
(returned or raised) refuses it in words that the model reads, and a `ToolResult` takes the place of
what the tool would have returned."""


async def ask(approve: Approve, pending: PendingCall) -> FunctionCallResult | None:
    """Ask whether a call may be carried out.

    Args:
        approve: Who decides.
        pending: What is decided.

    Returns:
        None if it may; else what it has come to without being carried out.

    Raises:
        Exception: What was raised and is not for the model.
        TypeError: The answer is none.
    """
    call = pending.call
    try:
        decision: object = approve(pending)
        if inspect.isawaitable(decision):
            decision = await decision
    except Exception as exc:
        if is_for_the_model(exc):
            return failed(call, exc)
        raise
    except BaseExceptionGroup as group:
        # It has a nursery: while one of its tasks was cancelled, another refused the call.
        _, stopped = group.split((ToolError, StopResponse))
        assert stopped is not None  # else the group would be an Exception
        raise stopped from None
    match decision:
        case True:
            return None
        case False:
            return not_carried_out(call, "it was not approved", refused=True)
        case ToolResult():
            return returned(call, decision, pending.tool.encode_output)
        case ToolError() | StopResponse():
            return failed(call, decision)
        case _:
            raise TypeError(
                f"approve returned {shown(decision)} for a call of {call.name}; it returns True to "
                "run it, False or a ToolError to refuse it, or a ToolResult in its place"
            )
