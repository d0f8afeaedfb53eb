"""The options of a request: what may be set, and of which type.

This module knows the options of the Chat Completions API as data. How they are checked and which of
several settings wins is decided elsewhere, and so is what a model supports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, TypedDict

from lktrio._definitions import public

from .models import ReasoningEffort

__all__ = [
    "AudioOptions",
    "ChatCompletionOptions",
    "FunctionName",
    "InferenceClass",
    "NamedToolChoice",
    "PredictionContent",
    "QueryValue",
    "ResponseFormat",
    "TextPart",
    "ToolChoice",
]

InferenceClass: TypeAlias = Literal["priority", "standard", "low"]
"""How urgent a request is to the gateway. ``"low"`` yields to voice traffic."""


class FunctionName(TypedDict):
    """The ``function`` member of a `NamedToolChoice`."""

    name: str
    """Name of the function."""


@public
class NamedToolChoice(TypedDict):
    """The model must call this one function."""

    type: Literal["function"]
    """Always ``"function"``."""

    function: FunctionName
    """Which one, for example ``{"name": "get_weather"}``."""


ToolChoice: TypeAlias = Literal["auto", "required", "none"] | NamedToolChoice
"""Whether the model may, must or must not call a function, or which one it must call."""

ResponseFormat: TypeAlias = Mapping[str, object]
"""A raw ``response_format`` object, for example ``{"type": "json_object"}``."""

_QueryScalar: TypeAlias = str | int | float | bool | None
QueryValue: TypeAlias = _QueryScalar | Sequence[_QueryScalar]
"""Value of a query parameter; a list repeats the parameter."""


@public
class AudioOptions(TypedDict):
    """How a model speaks.

    Source: https://platform.openai.com/docs/api-reference/chat/create (``audio``).
    """

    voice: str | dict[str, str]
    """The voice, for example ``"alloy"``; an object with an ``id`` names one of your own."""

    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]
    """How the sound is encoded. OpenAI streams ``"pcm16"`` only: 24,000 samples a second, one
    channel."""


class TextPart(TypedDict):
    """A piece of text in a list of content parts."""

    type: Literal["text"]
    """Always ``"text"``."""

    text: str
    """The text."""


class PredictionContent(TypedDict):
    """Text of which much will come back unchanged (predicted output)."""

    type: Literal["content"]
    """Always ``"content"``."""

    content: str | list[TextPart]
    """The predicted text."""


@public
class ChatCompletionOptions(TypedDict, total=False):
    """The options of a request; the type of ``extra_kwargs``. None is sent as a JSON null.

    Any other key is refused, and so is a value of another type (True is no number; NaN and
    infinity are none either). Whether a value is in range is the server's to say.

    Source: https://platform.openai.com/docs/api-reference/chat/create, but for ``extra_headers``,
    ``extra_query``, ``extra_body`` and ``timeout``, which are names of the OpenAI Python library.
    """

    frequency_penalty: float | None
    """Makes tokens less likely the more often they have appeared; -2.0 to 2.0."""

    presence_penalty: float | None
    """Makes tokens less likely that have appeared at all; -2.0 to 2.0."""

    temperature: float | None
    """Randomness of sampling; 0 to 2."""

    top_p: float | None
    """Sample from the likeliest tokens that make up this share of the probability; 0 to 1."""

    logit_bias: dict[str, int] | None
    """Bias by token id (as a string); -100 to 100."""

    logprobs: bool | None
    """Whether to return the log probabilities of the tokens."""

    top_logprobs: int | None
    """How many alternatives to return for each token; needs ``logprobs``."""

    max_completion_tokens: int | None
    """Upper bound of tokens in the answer, reasoning included."""

    max_tokens: int | None
    """The older name of ``max_completion_tokens``, which many servers still want."""

    n: int | None
    """How many answers to generate. More than one is refused: a stream is one answer. Where all
    are wanted by the server's side only, ``extra_body={"n": 2}`` sends it, and the stream is the
    first of them."""

    seed: int | None
    """Asks for repeatable sampling."""

    metadata: dict[str, str] | None
    """Labels stored with the request."""

    modalities: list[Literal["text", "audio"]] | None
    """Kinds of output. Speech is in `ChoiceDelta.audio`, and needs ``audio``."""

    audio: AudioOptions | None
    """How the model speaks, if ``modalities`` has ``"audio"``."""

    parallel_tool_calls: bool
    """Whether one answer may contain several calls."""

    prediction: PredictionContent | None
    """Text of which much will come back unchanged."""

    prompt_cache_key: str
    """Groups requests that share a prefix, for the provider's prompt cache."""

    prompt_cache_retention: Literal["in_memory", "24h"] | None
    """How long a cached prefix is kept."""

    prompt_cache_options: object
    """Further settings of the prompt cache: any JSON value."""

    safety_identifier: str
    """A stable, anonymous name of the end user, for abuse detection."""

    user: str
    """The older name of ``safety_identifier``."""

    reasoning_effort: ReasoningEffort | None
    """How much the model may think before it answers."""

    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None
    """Processing tier at the provider."""

    stop: str | list[str] | None
    """Text, or up to four texts, at which the answer ends."""

    store: bool | None
    """Whether the provider keeps the answer."""

    verbosity: Literal["low", "medium", "high"] | None
    """How long the answer should be."""

    web_search_options: object
    """Settings of the provider's web search: any JSON value."""

    tool_choice: ToolChoice
    """Whether the model may, must or must not call a function, or which one."""

    response_format: ResponseFormat
    """A raw ``response_format`` object. A Python type is given to ``chat(response_format=...)``
    instead."""

    extra_headers: Mapping[str, str]
    """Further request headers, ASCII only. ``Authorization`` replaces the token. Headers that
    frame the message or belong to the connection (``Host``, ``Content-Length``,
    ``Transfer-Encoding``, ``Connection`` ...) are refused."""

    extra_query: Mapping[str, QueryValue]
    """Parameters added to the URL."""

    extra_body: Mapping[str, object]
    """Members merged into the JSON body last: the door for anything a provider invents. May not
    set ``model``, ``messages``, ``stream`` or ``tools``."""

    timeout: float
    """Seconds: the ``timeout`` of requests whose `APIConnectOptions` do not give one. `math.inf`
    for no limit."""
