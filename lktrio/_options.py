"""Settings of a request: what may be set, how it is checked, and which setting wins.

This module alone knows the options of the Chat Completions API, the clocks and retries of
`APIConnectOptions`, and the order in which instance and call are merged. It knows neither what
a model supports nor how a request is put together.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, cast, get_type_hints

import attrs

from ._json_values import plain_json, shown
from ._models import ReasoningEffort
from ._not_given import NotGiven, is_given
from ._public import public
from ._value import Value

# The converter is the largest thing that is imported for options, and programs that set none do
# without: it is imported where an option is checked.
if TYPE_CHECKING:
    from ._converter import Converter
    from ._mismatch import Problem

__all__ = [
    "DEFAULT_API_CONNECT_OPTIONS",
    "APIConnectOptions",
    "ChatCompletionOptions",
    "FunctionName",
    "InferenceClass",
    "NamedToolChoice",
    "PredictionContent",
    "QueryValue",
    "RequestOptions",
    "ResponseFormat",
    "TextPart",
    "ToolChoice",
    "check_conn_options",
    "check_inference_class",
    "check_retries",
    "check_seconds",
    "merge_options",
    "structure_options",
    "timeout_or",
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

    Source: https://platform.openai.com/docs/api-reference/chat/create, but for the last four,
    which are names of the OpenAI Python library.
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
    """How many answers to generate. All are paid for; the stream is the first one."""

    seed: int | None
    """Asks for repeatable sampling."""

    metadata: dict[str, str] | None
    """Labels stored with the request."""

    modalities: list[Literal["text", "audio"]] | None
    """Kinds of output. Only text is read here."""

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

    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None
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
    """Seconds; replaces `APIConnectOptions.timeout` for the request. `math.inf` for no limit."""


def check_seconds(name: str, value: object, *, zero: bool = False, infinite: bool = True) -> None:
    """Refuse what is not a number of seconds, with a sentence that says what is."""
    bounds = "at least 0" if zero else "greater than 0"
    wants = f"a number of seconds, {bounds}" + (", math.inf for no limit" if infinite else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={shown(value)} is not accepted; it takes {wants}")
    # NaN fails every comparison.
    in_range = value >= 0 if zero else value > 0
    if not in_range or (value == math.inf and not infinite):
        raise ValueError(f"{name}={shown(value)} is not accepted; it takes {wants}")


def check_retries(name: str, value: object) -> None:
    """Refuse what is not a number of retries, with a sentence that says what is."""
    wants = "it takes an integer, 0 for no retries"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={shown(value)} is not accepted; {wants}")
    if value < 0:
        raise ValueError(f"{name}={shown(value)} is not accepted; {wants}")


def check_conn_options(value: object) -> APIConnectOptions:
    """Refuse ``conn_options`` that are none, and return them otherwise."""
    if not isinstance(value, APIConnectOptions):
        raise TypeError(f"conn_options must be an APIConnectOptions, not a {type(value).__name__}")
    return value


class _Default(float):
    """Seconds that nobody gave. As a value it is a number like any other, equal to one that was
    given, and `attrs.evolve` hands it on as it is."""

    __slots__ = ()


@public
@attrs.frozen(eq=False, repr=False)
class APIConnectOptions(Value):
    """How long to wait and how often to try again. All times are seconds.

    The clocks bound what a cancel scope around the call cannot see; for a deadline of the whole
    operation use `trio.fail_after` or `total_timeout`. A clock that runs out raises
    `APITimeoutError`, whose ``clock`` says which.

    Raises:
        TypeError: If a field has the wrong type (True is no number).
        ValueError: If a number is negative, NaN, or zero or infinite where that has no meaning.
    """

    max_retry: int = attrs.field(default=3)
    """How often a request is sent again after a failure that can pass, as long as nothing of
    the answer was delivered: 3 means four attempts at most. 0 turns retries off."""

    retry_interval: float = attrs.field(default=2.0)
    """Delay before the second retry and each later one, give or take some jitter; the first
    comes after 0.1 s. If the server asks for a longer delay (``Retry-After``), that is used."""

    max_retry_delay: float = attrs.field(default=30.0, kw_only=True)
    """The longest delay that is waited for. If a longer one would be needed, the error is raised
    at once instead. `math.inf` for no limit."""

    timeout: float = attrs.field(default=_Default(10.0), kw_only=True)
    """For connecting (TLS included); again for sending the request; then for the response's
    headers as a whole, and for each silence until the next byte (comments in the stream count as
    life). While the consumer is behind and nothing is read, it stands still. `math.inf` for no
    limit. If it is not given, a ``timeout`` of ``extra_kwargs`` takes its place."""

    first_output_timeout: float | None = attrs.field(default=None, kw_only=True)
    """From the start of an attempt to its first text, refusal or piece of a tool call. None for
    no limit."""

    total_timeout: float | None = attrs.field(default=None, kw_only=True)
    """From entering the stream to its end, all attempts, delays and the consumer's own time
    included. None for no limit."""

    reasoning_is_output: bool = attrs.field(default=False, kw_only=True)
    """Whether reasoning counts as output: it then satisfies `first_output_timeout`, and once it
    was delivered the request is not sent again."""

    def __attrs_post_init__(self) -> None:
        """Check the fields."""
        check_retries("max_retry", self.max_retry)
        check_seconds("retry_interval", self.retry_interval, zero=True, infinite=False)
        check_seconds("max_retry_delay", self.max_retry_delay, zero=True)
        check_seconds("timeout", self.timeout)
        if self.first_output_timeout is not None:
            check_seconds("first_output_timeout", self.first_output_timeout)
        if self.total_timeout is not None:
            check_seconds("total_timeout", self.total_timeout)
        if not isinstance(self.reasoning_is_output, bool):
            raise TypeError(
                f"reasoning_is_output={shown(self.reasoning_is_output)} is not accepted; "
                f"it takes True or False"
            )


def timeout_or(options: APIConnectOptions, other: float | None) -> float:
    """The timeout of some options if they give one, and else another one if there is one.

    Ten seconds that were asked for are not the ten seconds that nobody asked for.
    """
    if other is None or not isinstance(options.timeout, _Default):
        return options.timeout
    return other


DEFAULT_API_CONNECT_OPTIONS: Final = APIConnectOptions()
"""What `ChatModel.chat` uses if no ``conn_options`` are given."""


def _names(value: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{name!r}: ..." for name in value) + "}"


@attrs.frozen(eq=False, repr=False)
class RequestOptions(Value):
    """Checked options of a request, sorted by where they are sent.

    Every container belongs to this value alone. Values of headers, query and extra body may be
    secrets, so ``repr`` shows only their names.
    """

    body: dict[str, object] = attrs.field(factory=dict[str, object])
    """Members of the JSON body."""

    headers: dict[str, str] = attrs.field(factory=dict[str, str], repr=_names)
    """Further headers, spelled as given; no two differ only in case."""

    query: dict[str, QueryValue] = attrs.field(factory=dict[str, QueryValue], repr=_names)
    """Further parameters of the URL."""

    extra_body: dict[str, object] = attrs.field(factory=dict[str, object], repr=_names)
    """Members to be merged into the body last."""

    timeout: float | None = None
    """Seconds, in place of `APIConnectOptions.timeout`; None if nothing was said."""


def check_inference_class(
    value: object, *, parameter: str = "inference_class"
) -> InferenceClass | None:
    """Check the urgency of a request.

    Args:
        value: What the caller gave.
        parameter: Name to use in an error message.

    Returns:
        The same; None leaves it to the gateway.

    Raises:
        TypeError: If it is neither a string nor None.
        ValueError: If it is another string.
    """
    if value is None:
        return None
    problems = _problems_with(value, InferenceClass | None)
    if problems:
        raise _refusal(problems, lambda _: parameter)
    return cast("InferenceClass", plain_json(value))


def structure_options(
    options: Mapping[str, object] | NotGiven | None,
    *,
    parameter: str = "extra_kwargs",
    converter: Converter | None = None,
) -> RequestOptions:
    """Check options and copy them.

    Args:
        options: `ChatCompletionOptions`. A member that is `NOT_GIVEN` counts as absent.
        parameter: Name of the argument they came in, for error messages.
        converter: Writes values of the program's own types that are among them.

    Returns:
        A value that shares no container with ``options``.

    Raises:
        TypeError: If a value has a type the option does not take.
        ValueError: If there is no option of that name, or it does not take that value.
    """
    if options is None or not is_given(options):
        return RequestOptions()
    if not isinstance(options, Mapping):
        raise TypeError(
            f"{parameter}={shown(options)} is not accepted; it takes a mapping of option names "
            f"to values (ChatCompletionOptions)"
        )
    timeout: float | None = None
    given: dict[str, object] = {}
    for name, value in options.items():
        if not is_given(value):
            continue
        _check_option_name(name, parameter)
        if name == "timeout":
            check_seconds(f"{parameter}: timeout", value)
            timeout = cast("float", value)
        else:
            given[name] = value if converter is None else _written(value, converter)
    problems = _problems_with(given, ChatCompletionOptions) if given else ()
    if problems:
        raise _refusal(problems, lambda path: f"{parameter}: {path}")
    body = {name: plain_json(value) for name, value in given.items()}
    return RequestOptions(
        headers=_check_headers(cast("Any", body.pop("extra_headers", {})), parameter),
        query=cast("dict[str, QueryValue]", body.pop("extra_query", {})),
        extra_body=_check_extra_body(cast("Any", body.pop("extra_body", {})), parameter),
        timeout=timeout,
        body=body,
    )


def merge_options(
    *,
    instance: RequestOptions | Mapping[str, object] | NotGiven | None = None,
    call: RequestOptions | Mapping[str, object] | NotGiven | None = None,
    explicit: Mapping[str, object] | None = None,
    converter: Converter | None = None,
) -> RequestOptions:
    """Merge the settings of an `LLM` with those of one call.

    The closer to the call, the stronger: its explicit arguments, then its ``extra_kwargs``, then
    those of the instance. ``extra_headers`` (whatever the case of their names), ``extra_query``
    and ``extra_body`` are merged name by name; every other option is replaced as a whole.
    `NOT_GIVEN` says nothing, None is a value.

    Args:
        instance: ``extra_kwargs`` of the `LLM`, or what `structure_options` made of them.
        call: ``extra_kwargs`` of `chat`, likewise.
        explicit: Arguments of `chat` that are options too, such as ``tool_choice``.
        converter: As for `structure_options`.

    Returns:
        A value that shares no container with the arguments, which are left as they are.

    Raises:
        TypeError: As `structure_options`.
        ValueError: As `structure_options`.
    """
    body: dict[str, object] = {}
    headers: dict[str, str] = {}
    query: dict[str, QueryValue] = {}
    extra_body: dict[str, object] = {}
    timeout: float | None = None
    if explicit is not None and not any(map(is_given, explicit.values())):
        explicit = None
    for options, parameter in (
        (instance, "extra_kwargs"),
        (call, "extra_kwargs"),
        (explicit, "chat()"),
    ):
        if options is None or not is_given(options):
            continue
        if isinstance(options, RequestOptions):
            layer = options
        else:
            layer = structure_options(options, parameter=parameter, converter=converter)
        body.update(layer.body)
        if layer.headers:
            replaced = {name.lower() for name in layer.headers}
            for name in [name for name in headers if name.lower() in replaced]:
                del headers[name]
            headers.update(layer.headers)
        query.update(layer.query)
        extra_body.update(layer.extra_body)
        if layer.timeout is not None:
            timeout = layer.timeout
    return RequestOptions(
        body=_copy(body),
        headers=headers,
        query=_copy(query),
        extra_body=_copy(extra_body),
        timeout=timeout,
    )


def _copy(value: Any) -> Any:
    """Copy the containers of a value made by `structure_options`."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {name: _copy(member) for name, member in members.items()}
    if isinstance(value, list):
        return [_copy(item) for item in cast("list[object]", value)]
    return value


# Names.

_BELONGS_ELSEWHERE: Final = {
    "model": "the model is an argument of LLM() and update_options()",
    "messages": "the messages are made from chat_ctx",
    "tools": "tools are an argument of chat()",
    "stream": "every answer is streamed; `await llm.chat(...).collect()` gives it whole",
    "stream_options": "the usage is always asked for, and is found in `stream.usage`",
    "inference_class": "it is an argument of LLM() and chat()",
    "conn_options": "it is an argument of chat()",
    **dict.fromkeys(
        ("provider", "base_url", "api_key", "api_secret"), "it is an argument of LLM()"
    ),
    **{
        field.name: f"write chat(conn_options=APIConnectOptions({field.name}=...))"
        for field in attrs.fields(APIConnectOptions)
        if field.name != "timeout"
    },
}


@functools.cache
def _option_types() -> dict[str, object]:
    return get_type_hints(ChatCompletionOptions)


_MAY_BE_SECRET: Final = frozenset({"extra_headers", "extra_query", "extra_body"})


def _check_option_name(name: object, parameter: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{parameter}: the name of an option is a string, not {shown(name)}")
    if name in _option_types():
        return
    if name in _BELONGS_ELSEWHERE:
        raise ValueError(f"{parameter}: {name!r} cannot be set here: {_BELONGS_ELSEWHERE[name]}")
    # Imported here because nothing but this message needs it.
    import difflib

    nearest = difflib.get_close_matches(name.lower(), _option_types(), n=1)
    suggestion = f"did you mean {nearest[0]!r}? If not, " if nearest else ""
    raise ValueError(
        f"{parameter}: there is no option {name!r}; {suggestion}"
        f"extra_body={{{name!r}: ...}} sends what only some servers know"
    )


def _check_extra_body(extra_body: dict[str, object], parameter: str) -> dict[str, object]:
    for name in ("model", "messages", "stream", "tools"):
        if name in extra_body:
            raise ValueError(
                f"{parameter}: extra_body may not set {name!r}: {_BELONGS_ELSEWHERE[name]}"
            )
    return extra_body


# RFC 9110, section 5.6.2.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Visible ASCII with single or more blanks between. RFC 9110, section 5.5, allows other bytes only
# for the sake of old senders, and httpx encodes a str header as ASCII.
_FIELD_VALUE: Final = re.compile(r"(?:[!-~]+(?:[ \t]+[!-~]+)*)?")

# The message's framing and the connection are the transport's: RFC 9110, sections 7.2, 7.6.1, 8.6,
# 10.1.1, 11.7.2, and 8.4, because the body is not encoded.
_CONTROLLED_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _check_headers(headers: dict[str, str], parameter: str) -> dict[str, str]:
    seen: set[str] = set()
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(
                f"{parameter}: extra_headers: {name!r} is no header name; one is made of ASCII "
                f"letters, digits and !#$%&'*+-.^_`|~"
            )
        if name.lower() in _CONTROLLED_HEADERS:
            raise ValueError(
                f"{parameter}: extra_headers may not set {name!r}: it belongs to the connection, "
                f"not to the request"
            )
        if name.lower() in seen:
            raise ValueError(f"{parameter}: extra_headers has {name!r} twice")
        if not _FIELD_VALUE.fullmatch(value):
            # The value may be a secret.
            raise ValueError(
                f"{parameter}: the value of extra_headers[{name!r}] is not accepted; it takes "
                f"ASCII text without line breaks, other control characters, or blanks around it"
            )
        seen.add(name.lower())
    return headers


# Values.

_MAX_DEPTH: Final = 100
_MAX_SENTENCES: Final = 10


def _written(value: object, converter: Converter, depth: int = 0) -> object:
    """Write what the program has hooks for. What else is no JSON value is refused later."""
    if converter.writes(type(value)):
        return cast("object", converter.unstructure(value))
    if depth == _MAX_DEPTH:
        return value
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value).items()
        return {
            _written(name, converter, depth + 1): _written(member, converter, depth + 1)
            for name, member in members
        }
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        return [_written(item, converter, depth + 1) for item in items]
    return value


def _problems_with(value: object, type_: object) -> tuple[Problem, ...]:
    from ._mismatch import Mismatch

    try:
        _exact_converter().structure(value, type_)
    except Mismatch as misfit:
        return misfit.problems
    return ()


@functools.cache
def _exact_converter() -> Converter:
    from ._converter import Converter
    from ._shapes import Types

    # What options are for is said in this module, and read by people.
    return Converter(_types=Types(with_docstrings=False), _is_exact=True)


def _refusal(problems: Sequence[Problem], place: Callable[[str], str]) -> TypeError | ValueError:
    """The error that the caller sees. It holds nothing of a value that may be secret."""
    from ._mismatch import COUNTED_PROBLEMS, Refusal, Unfit, is_wrong_type

    match problems[0].cause:
        case Unfit(shape=shape, value=value):
            wrong_type = is_wrong_type(shape, value)
        case Refusal(wrong_type=wrong_type):
            pass
        case _:
            wrong_type = False
    sentences = [_sentence(problem, place) for problem in problems[:_MAX_SENTENCES]]
    more = min(len(problems), COUNTED_PROBLEMS) - len(sentences)
    if more > 0:
        at_least = "at least " if len(problems) > COUNTED_PROBLEMS else ""
        sentences.append(f"and {at_least}{more} more")
    return (TypeError if wrong_type else ValueError)("\n".join(sentences))


def _sentence(problem: Problem, place: Callable[[str], str]) -> str:
    from ._mismatch import Missing, Unfit, Unknown, describe, is_wrong_type

    option = str(problem.path[0]) if problem.path else ""
    where = place(option + "".join(map(_step, problem.path[1:])))
    match problem.cause:
        case Unfit(shape=shape, value=value):
            hint = ""
            if option == "response_format" and len(problem.path) == 1:
                hint = "; a Python type is given to chat(response_format=...)"
            elif option and isinstance(value, str) and not is_wrong_type(shape, value):
                # The API may have learnt the word since, or only one server may know it.
                hint = f"; extra_body={{{option!r}: ...}} sends any value"
            shown_value = "" if option in _MAY_BE_SECRET else f"={shown(value)}"
            return (
                f"{where}{shown_value} ({type(value).__name__}) is not accepted; it takes "
                f"{describe(shape, python=True)}{hint}"
            )
        case Missing(field=field):
            return f"{where} is missing; it takes {describe(field.shape, python=True)}"
        case Unknown(known=known):
            import difflib

            name = str(problem.path[-1])
            nearest = difflib.get_close_matches(name.lower(), known, n=1)
            advice = f"did you mean {nearest[0]!r}?" if nearest else f"known are {list(known)}"
            return f"{where} is not known; {advice}"
        case other:
            # It begins with the rest of the way to what is no JSON value.
            return f"{where}{other.text()}"


def _step(step: object) -> str:
    return f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]"
