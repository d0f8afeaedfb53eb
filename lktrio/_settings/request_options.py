"""The options of a request as they are given: checked, copied, and merged.

This module knows how an option is checked, once, what is set elsewhere, and in which order those of
an `LLM` and those of a call are merged. It knows neither what a model supports nor how a request is
put together.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast, get_type_hints

import attrs

from lktrio._checks import NotGiven, check_seconds, is_given, refusal, shown
from lktrio._definitions import Value
from lktrio._json import is_list, is_object, plain_json, way_to

from .connect_options import APIConnectOptions
from .options import ChatCompletionOptions, InferenceClass, QueryValue

# The converter is the largest thing that is imported for options, and programs that set none do
# without: it is imported where an option is checked.
if TYPE_CHECKING:
    from lktrio._json import Problem
    from lktrio._schemas import Converter

__all__ = [
    "RequestOptions",
    "check_inference_class",
    "merge_options",
    "structure_options",
]


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
        wanted = "a mapping of option names to values (ChatCompletionOptions)"
        raise TypeError(refusal(parameter, options, wanted))
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
    # That it has these types was checked just now.
    body = cast("ChatCompletionOptions", {name: plain_json(given[name]) for name in given})
    headers, query = body.pop("extra_headers", {}), body.pop("extra_query", {})
    extra_body = body.pop("extra_body", {})
    _check_deliverable(body.get("n"), parameter)
    _check_headers(headers, parameter)
    _check_extra_body(extra_body, parameter)
    return RequestOptions(
        body=dict(body),
        headers=dict(headers),
        query=dict(query),
        extra_body=dict(extra_body),
        timeout=timeout,
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
    and ``extra_body`` are merged name by name; every other option is replaced as a whole, also by
    the other name that it has (``max_tokens``, ``max_completion_tokens``). `NOT_GIVEN` says
    nothing, None is a value.

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
        if not _NAMES_OF_THE_BOUND.isdisjoint(layer.body):
            # Servers refuse a request with both.
            for name in _NAMES_OF_THE_BOUND:
                body.pop(name, None)
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
        query={
            name: [*value] if isinstance(value, list) else value for name, value in query.items()
        },
        extra_body=_copy(extra_body),
        timeout=timeout,
    )


_NAMES_OF_THE_BOUND: Final = frozenset({"max_tokens", "max_completion_tokens"})
"""The bound of an answer in tokens has an older name, and a newer one."""


def _copy(members: dict[str, object]) -> dict[str, object]:
    """Copy what `structure_options` made of options."""
    return {name: _copied(member) for name, member in members.items()}


def _copied(value: object) -> object:
    if is_object(value):
        return _copy(value)
    return [_copied(item) for item in value] if is_list(value) else value


# Names.

_BELONGS_ELSEWHERE: Final = {
    "model": "the model is an argument of LLM() and update_options()",
    "messages": "the messages are made from chat_ctx",
    "tools": "tools are an argument of chat()",
    "stream": "every answer is streamed; `await llm.chat(...).collect()` gives it whole",
    "stream_options": "the usage is always asked for, and is found in `stream.usage`",
    "inference_class": "it is an argument of LLM() and chat()",
    "conn_options": "it is an argument of LLM() and chat()",
    "max_retries": "write chat(conn_options=APIConnectOptions(max_retry=...))",
    **dict.fromkeys(
        ("functions", "function_call"), "it is out of date; give chat() tools, and a tool_choice"
    ),
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


def _check_deliverable(n: int | None, parameter: str) -> None:
    if n is not None and n > 1:
        raise ValueError(
            f"{parameter}: n={n} is not accepted: a stream is one answer, and the others would be "
            f"paid for and thrown away; make {n} calls of chat(), side "
            f"by side in a nursery. extra_body={{'n': {n}}} sends it all the same, and the answer "
            f"is choice 0"
        )


def _check_extra_body(extra_body: Mapping[str, object], parameter: str) -> None:
    for name in ("model", "messages", "stream", "tools"):
        if name in extra_body:
            raise ValueError(
                f"{parameter}: extra_body may not set {name!r}: {_BELONGS_ELSEWHERE[name]}"
            )


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


def _check_headers(headers: Mapping[str, str], parameter: str) -> None:
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
    from lktrio._json import Mismatch

    try:
        _exact_converter().structure(value, type_)
    except Mismatch as mismatch:
        return mismatch.problems
    return ()


@functools.cache
def _exact_converter() -> Converter:
    from lktrio._schemas import Converter, Types

    # What options are for is said in this module, and read by people.
    return Converter(_types=Types(with_docstrings=False), _is_exact=True)


def _refusal(problems: Sequence[Problem], place: Callable[[str], str]) -> TypeError | ValueError:
    """The error that the caller sees. It holds nothing of a value that may be secret."""
    from lktrio._json import COUNTED_PROBLEMS

    sentences = [_sentence(problem, place) for problem in problems[:_MAX_SENTENCES]]
    more = min(len(problems), COUNTED_PROBLEMS) - len(sentences)
    if more > 0:
        at_least = "at least " if len(problems) > COUNTED_PROBLEMS else ""
        sentences.append(f"and {at_least}{more} more")
    return (TypeError if problems[0].cause.is_wrong_type else ValueError)("\n".join(sentences))


def _sentence(problem: Problem, place: Callable[[str], str]) -> str:
    from lktrio._schemas import Missing, Unfit, Unknown, describe, is_wrong_type

    option = str(problem.path[0]) if problem.path else ""
    where = place(option + way_to(problem.path[1:]))
    match problem.cause:
        case Unfit(shape=shape, value=value):
            hint = ""
            if option == "response_format" and len(problem.path) == 1:
                hint = "; a Python type is given to chat(response_format=...)"
                if value is None:
                    hint = "; leave it out if the answer may have any form"
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
            return f"{where} {other.text()}"
