"""Test a program that uses lktrio: offline, in virtual time, over the real HTTP stack.

A whole test, with pytest and pytest-trio (``trio_mode = true``)::

    import lktrio
    from lktrio.testing import reply, tool_call

    from my_program import answer  # which makes its LLM from the environment

    pytest_plugins = ["lktrio.testing.pytest"]


    async def test_the_weather_is_looked_up(scripted_gateway, autojump_clock):
        scripted_gateway.add(
            tool_call("get_weather", {"city": "Paris"}),
            reply("It is sunny in Paris.", every=0.05),
        )

        assert await answer("How is the weather in Paris?") == "It is sunny in Paris."

        first, second = scripted_gateway.requests
        assert first.tool_names == ["get_weather"]
        assert second.tool_outputs == {"call_0": "sunny"}
        scripted_gateway.assert_all_closed()

`ScriptedGateway` plays LiveKit Inference. A script is a list of replies, or a function from a
request to its reply. The builders, from the outside in:

* `reply` is what a model says: strings, `tool_call`, `reasoning`, `refusal`, `error_event`.
* `error` is a status with a JSON body; `NoConnection` is no answer at all.
* `events` is a stream event by event: `chunk`, `usage`, `event`, `comment`, `DONE`.
* `raw` is every byte.
* `Wait`, `WaitFor`, `AwaitRequest`, `Hold`, `Close`, `Reset`, `Call`, `Repeat` and `Send` are
  steps: what a server does between and after the things it says.

`RecordedRequest` is what the gateway keeps of a request. `Recorder` records what a live server
answers, without the credentials, and a `Recording` is played again as a script.

Nothing here needs pytest but `lktrio.testing.pytest`, and `lktrio` itself imports none of it.
"""

from __future__ import annotations

from ._desk import GatewayScript, RecordedRequest, ReplyLike, ScriptItem
from ._events import DONE, ToolCall, chunk, comment, event, usage
from ._gateway import ScriptedGateway
from ._http import LeakError
from ._recorder import RecordedExchange, Recorder, Recording
from ._replies import (
    ErrorEvent,
    NoConnection,
    Part,
    Speech,
    error,
    error_event,
    events,
    raw,
    reasoning,
    refusal,
    reply,
    tool_call,
)
from ._server import ScriptError
from ._steps import (
    AwaitRequest,
    Call,
    Close,
    Hold,
    Repeat,
    Reply,
    Reset,
    Send,
    Step,
    Wait,
    Waitable,
    WaitFor,
)

__all__ = [
    "DONE",
    "AwaitRequest",
    "Call",
    "Close",
    "ErrorEvent",
    "GatewayScript",
    "Hold",
    "LeakError",
    "NoConnection",
    "Part",
    "RecordedExchange",
    "RecordedRequest",
    "Recorder",
    "Recording",
    "Repeat",
    "Reply",
    "ReplyLike",
    "Reset",
    "ScriptError",
    "ScriptItem",
    "ScriptedGateway",
    "Send",
    "Speech",
    "Step",
    "ToolCall",
    "Wait",
    "WaitFor",
    "Waitable",
    "chunk",
    "comment",
    "error",
    "error_event",
    "event",
    "events",
    "raw",
    "reasoning",
    "refusal",
    "reply",
    "tool_call",
    "usage",
]
