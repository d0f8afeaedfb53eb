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

import typing

from ._answers import (
    APIConnectionError,
    APIError,
    APIRefusalError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    AudioOutput,
    ChatChunk,
    ChoiceDelta,
    ChoiceLogprobs,
    Clock,
    CollectedResponse,
    CompletionUsage,
    FunctionToolCall,
    Quota,
    QuotaUsage,
    ResponseInfo,
    TokenLogprob,
    TopLogprob,
)
from ._checks import NOT_GIVEN, NotGiven, NotGivenOr, is_given
from ._conversation import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatContent,
    ChatContext,
    ChatItem,
    ChatMessage,
    ChatRole,
    FileContent,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    ImageDetail,
    MetricsMetadata,
    MetricsReport,
    UnknownContent,
    UnknownItem,
)
from ._definitions import lazily as _lazily
from ._engine import (
    LLM,
    Auth,
    ChatCall,
    ChatModel,
    ChunkSink,
    ChunkSource,
    LLMStatistics,
    LLMStream,
    RateLimit,
    RateLimitStatistics,
    RequestDraft,
)
from ._http import Network, TrioTransport, default_network, set_default_network
from ._instruments import Instrument, LLMMetrics, RequestInfo
from ._json import Mismatch, Problem
from ._settings import (
    DEFAULT_API_CONNECT_OPTIONS,
    DEFAULT_MODEL_TABLE,
    APIConnectOptions,
    AudioOptions,
    ChatCompletionOptions,
    InferenceClass,
    LLMModels,
    ModelFacts,
    ModelTable,
    NamedToolChoice,
    ReasoningEffort,
    ResponseFormat,
    ToolChoice,
)
from ._tools import (
    FunctionCallResult,
    FunctionTool,
    ProviderTool,
    RawFunctionTool,
    RunContext,
    StopResponse,
    Tool,
    ToolContext,
    ToolError,
    ToolResult,
    Toolset,
    find_function_tools,
    function_tool,
    to_fnc_ctx,
)
from ._version import __version__

# What not every program needs is imported when it is first asked for.
if typing.TYPE_CHECKING:
    from ._adapters import (
        AvailabilityChangedEvent,
        FallbackAdapter,
        HedgeAdapter,
        HedgeStatistics,
        ModelAvailability,
    )
    from ._schemas import Converter, make_converter
    from ._tools import FunctionToolInfo, RawFunctionToolInfo, answer_items
    from ._turns import (
        DEFAULT_MAX_ROUNDS,
        AnswerRestarted,
        Approve,
        AskedAgain,
        CallReady,
        CallsMissing,
        PendingCall,
        ReasoningDelta,
        RefusalDelta,
        RoundFinished,
        TextDelta,
        ToolFinished,
        ToolStarted,
        Turn,
        TurnEvent,
        current_tool_thread_limiter,
        execute_function_call,
        execute_function_calls,
        run_turn,
    )
    from ._usage import (
        UsageBound,
        UsageCollector,
        UsageCount,
        UsageLimit,
        UsageLimitExceeded,
        UsageReport,
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
    "Approve",
    "AskedAgain",
    "Attempt",
    "AudioContent",
    "AudioOptions",
    "AudioOutput",
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
    "ChoiceLogprobs",
    "ChunkSink",
    "ChunkSource",
    "Clock",
    "CollectedResponse",
    "CompletionUsage",
    "Converter",
    "FallbackAdapter",
    "FileContent",
    "FunctionCall",
    "FunctionCallOutput",
    "FunctionCallResult",
    "FunctionTool",
    "FunctionToolCall",
    "FunctionToolInfo",
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
    "PendingCall",
    "Problem",
    "ProviderTool",
    "Quota",
    "QuotaUsage",
    "RateLimit",
    "RateLimitStatistics",
    "RawFunctionTool",
    "RawFunctionToolInfo",
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
    "TokenLogprob",
    "Tool",
    "ToolChoice",
    "ToolContext",
    "ToolError",
    "ToolFinished",
    "ToolResult",
    "ToolStarted",
    "Toolset",
    "TopLogprob",
    "TrioTransport",
    "Turn",
    "TurnEvent",
    "UnknownContent",
    "UnknownItem",
    "UsageBound",
    "UsageCollector",
    "UsageCount",
    "UsageLimit",
    "UsageLimitExceeded",
    "UsageReport",
    "__version__",
    "answer_items",
    "current_tool_thread_limiter",
    "default_network",
    "execute_function_call",
    "execute_function_calls",
    "find_function_tools",
    "function_tool",
    "is_given",
    "make_converter",
    "run_turn",
    "set_default_network",
    "to_fnc_ctx",
]

# A type checker that saw this would take every name for one that there is.
if not typing.TYPE_CHECKING:
    __getattr__ = _lazily(
        __name__,
        {
            "_adapters": (
                "AvailabilityChangedEvent FallbackAdapter HedgeAdapter HedgeStatistics "
                "ModelAvailability"
            ),
            "_schemas": "Converter make_converter",
            "_tools": "FunctionToolInfo RawFunctionToolInfo answer_items",
            "_turns": (
                "AnswerRestarted Approve AskedAgain CallReady CallsMissing DEFAULT_MAX_ROUNDS "
                "PendingCall ReasoningDelta RefusalDelta RoundFinished TextDelta ToolFinished "
                "ToolStarted Turn TurnEvent current_tool_thread_limiter execute_function_call "
                "execute_function_calls run_turn"
            ),
            "_usage": (
                "UsageBound UsageCollector UsageCount UsageLimit UsageLimitExceeded UsageReport"
            ),
        },
    )

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
