"""Streaming LLM answers for Trio programs, over LiveKit Inference or any OpenAI-compatible server.

From the outside in:

* `LLM` holds settings and connections; `LLM.chat` makes an `LLMStream` of a `ChatContext`.
* `LLMStream` is entered with ``async with``: a nursery owns the request, and leaving the block
  ends it. It yields `ChatChunk` values, or text, or collects a `CollectedResponse`.
* `function_tool` makes a tool of a function; `run_turn` runs an answer's calls, round by round.
* `FallbackAdapter` and `HedgeAdapter` put several models behind one.
* Everything that fails is an `APIError`: `APIStatusError`, `APIConnectionError` or
  `APITimeoutError`. `APIConnectOptions` holds the clocks and the retries.
"""

from __future__ import annotations

import importlib
import typing

from ._chat_context import ChatContext
from ._chat_items import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatContent,
    ChatItem,
    ChatMessage,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    ImageDetail,
    MetricsMetadata,
    MetricsReport,
    UnknownContent,
    UnknownItem,
)
from ._chat_model import ChatCall, ChatModel
from ._checks import NOT_GIVEN, NotGiven, NotGivenOr, is_given
from ._chunks import (
    ChatChunk,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
)
from ._connect_options import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from ._connections import Auth
from ._errors import (
    APIConnectionError,
    APIError,
    APIRefusalError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    Clock,
)
from ._function_results import FunctionCallResult
from ._http import Network, TrioTransport, default_network, set_default_network
from ._instruments import Instrument, LLMMetrics, RequestInfo
from ._llm import LLM, LLMStatistics
from ._models import DEFAULT_MODEL_TABLE, LLMModels, ModelFacts, ModelTable, ReasoningEffort
from ._options import (
    ChatCompletionOptions,
    InferenceClass,
    NamedToolChoice,
    ResponseFormat,
    ToolChoice,
)
from ._request_draft import RequestDraft
from ._response import Attempt, Quota, QuotaUsage, ResponseInfo
from ._source import ChunkSink, ChunkSource
from ._stream import LLMStream
from ._tool_values import RunContext, StopResponse, ToolError, ToolResult
from ._tools import FunctionTool, RawFunctionTool, Tool, function_tool
from ._toolset import ToolContext, Toolset, to_fnc_ctx
from ._version import __version__

# What not every program needs is imported when it is first asked for.
if typing.TYPE_CHECKING:
    from ._availability import AvailabilityChangedEvent, ModelAvailability
    from ._converter import Converter, make_converter
    from ._execution import (
        current_tool_thread_limiter,
        execute_function_call,
        execute_function_calls,
    )
    from ._fallback import FallbackAdapter
    from ._hedge import HedgeAdapter, HedgeStatistics
    from ._mismatch import Mismatch, Problem
    from ._turn import DEFAULT_MAX_ROUNDS, Turn, run_turn
    from ._turn_events import (
        AnswerRestarted,
        CallReady,
        CallsMissing,
        ReasoningDelta,
        RefusalDelta,
        RoundFinished,
        TextDelta,
        ToolFinished,
        ToolStarted,
        TurnEvent,
    )

__all__ = [
    "DEFAULT_API_CONNECT_OPTIONS",
    "DEFAULT_MAX_ROUNDS",
    "DEFAULT_MODEL_TABLE",
    "LLM",
    "NOT_GIVEN",
    "APIConnectOptions",
    "APIConnectionError",
    "APIError",
    "APIRefusalError",
    "APIResponseFormatError",
    "APIStatusError",
    "APITimeoutError",
    "AgentConfigUpdate",
    "AgentHandoff",
    "AnswerRestarted",
    "Attempt",
    "AudioContent",
    "Auth",
    "AvailabilityChangedEvent",
    "CacheBreakpoint",
    "CallReady",
    "CallsMissing",
    "ChatCall",
    "ChatChunk",
    "ChatCompletionOptions",
    "ChatContent",
    "ChatContext",
    "ChatItem",
    "ChatMessage",
    "ChatModel",
    "ChatRole",
    "ChoiceDelta",
    "ChunkSink",
    "ChunkSource",
    "Clock",
    "CollectedResponse",
    "CompletionUsage",
    "Converter",
    "FallbackAdapter",
    "FunctionCall",
    "FunctionCallOutput",
    "FunctionCallResult",
    "FunctionTool",
    "FunctionToolCall",
    "HedgeAdapter",
    "HedgeStatistics",
    "ImageContent",
    "ImageDetail",
    "InferenceClass",
    "Instrument",
    "LLMMetrics",
    "LLMModels",
    "LLMStatistics",
    "LLMStream",
    "MetricsMetadata",
    "MetricsReport",
    "Mismatch",
    "ModelAvailability",
    "ModelFacts",
    "ModelTable",
    "NamedToolChoice",
    "Network",
    "NotGiven",
    "NotGivenOr",
    "Problem",
    "Quota",
    "QuotaUsage",
    "RawFunctionTool",
    "ReasoningDelta",
    "ReasoningEffort",
    "RefusalDelta",
    "RequestDraft",
    "RequestInfo",
    "ResponseFormat",
    "ResponseInfo",
    "RoundFinished",
    "RunContext",
    "StopResponse",
    "TextDelta",
    "Tool",
    "ToolChoice",
    "ToolContext",
    "ToolError",
    "ToolFinished",
    "ToolResult",
    "ToolStarted",
    "Toolset",
    "TrioTransport",
    "Turn",
    "TurnEvent",
    "UnknownContent",
    "UnknownItem",
    "__version__",
    "current_tool_thread_limiter",
    "default_network",
    "execute_function_call",
    "execute_function_calls",
    "function_tool",
    "is_given",
    "make_converter",
    "run_turn",
    "set_default_network",
    "to_fnc_ctx",
]

_ROOM_OF: typing.Final = {
    "Converter": "_converter",
    "make_converter": "_converter",
    "Mismatch": "_mismatch",
    "Problem": "_mismatch",
    "current_tool_thread_limiter": "_execution",
    "execute_function_call": "_execution",
    "execute_function_calls": "_execution",
    "AvailabilityChangedEvent": "_availability",
    "FallbackAdapter": "_fallback",
    "ModelAvailability": "_availability",
    "HedgeAdapter": "_hedge",
    "HedgeStatistics": "_hedge",
    "DEFAULT_MAX_ROUNDS": "_turn",
    "Turn": "_turn",
    "run_turn": "_turn",
    "AnswerRestarted": "_turn_events",
    "CallReady": "_turn_events",
    "CallsMissing": "_turn_events",
    "ReasoningDelta": "_turn_events",
    "RefusalDelta": "_turn_events",
    "RoundFinished": "_turn_events",
    "TextDelta": "_turn_events",
    "ToolFinished": "_turn_events",
    "ToolStarted": "_turn_events",
    "TurnEvent": "_turn_events",
}

# A type checker that saw this would take every name for one that there is.
if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
        # The next time it is found without this function.
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
