"""What an `LLM` is given, and what depends on another argument, checked before anything is sent.

This module knows which names, credentials and choices of tools can be used. What they are used for
is known to `llm`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias, cast

import attrs

from lktrio._checks import (
    check_instance,
    check_name,
    kind_of,
    refusal,
)
from lktrio._conversation import REASONING_MEMBERS, ReasoningMember
from lktrio._settings import (
    ModelFacts,
    ModelTable,
    NamedToolChoice,
    RequestOptions,
    Secret,
    authorization_fault,
    check_plain_http,
    credentials_in,
)

from .chat_model import ChatCall
from .connections import Auth, Authority
from .rate_limit import RateLimit, RateQueue, queue_of

__all__ = [
    "CacheBreakpoints",
    "ReasoningBack",
    "check_plain_options",
    "check_tool_choice",
    "checked_auth",
    "checked_breakpoints",
    "checked_model",
    "checked_provider",
    "checked_rate_limit",
    "checked_reasoning_back",
    "facts_of",
    "warn_of_forced_choice",
]

logger = logging.getLogger("lktrio")

CacheBreakpoints: TypeAlias = bool | Literal["auto"]
ReasoningBack: TypeAlias = ReasoningMember | Literal["auto"] | None


def checked_model(value: str) -> str:
    """The name of a model."""
    check_name("model", value, "openai/gpt-4.1-mini")
    return value


def checked_provider(value: str) -> str:
    """The name of an upstream provider."""
    check_name("provider", value, "azure")
    if not value.isascii() or value != value.strip():
        raise ValueError(refusal("provider", value, "ASCII without blanks around it, for a header"))
    return value


def checked_auth(auth: Auth, api_key: str | None, api_secret: str | None) -> Authority:
    """What authorises a request, in a form that does not show itself."""
    if api_key is not None or api_secret is not None:
        raise ValueError("auth= stands in place of api_key and api_secret; give one or the other")
    if auth is None or callable(auth):
        return auth
    if not isinstance(cast("object", auth), str):
        raise TypeError(
            "auth= must be the value of an Authorization header, None, or a callable that "
            f"returns one; not {kind_of(cast('object', auth))}"
        )
    fault = authorization_fault(auth)
    if fault is not None:
        raise ValueError(f"auth= {fault}")
    return Secret(auth)


def check_plain_options(options: RequestOptions, base_url: str, *, allow_insecure: bool) -> None:
    """Refuse headers and parameters that are credentials over plain http to another machine."""
    for option, values in (("extra_headers", options.headers), ("extra_query", options.query)):
        for name in credentials_in(values):
            check_plain_http(
                base_url,
                has_credentials=True,
                allow_insecure=allow_insecure,
                where=f"{option}[{name!r}]",
            )


def checked_breakpoints(value: object) -> CacheBreakpoints:
    """Whether breakpoints of the prompt cache are sent."""
    if value == "auto":
        return "auto"
    if isinstance(value, bool):
        return value
    raise ValueError(refusal("prompt_cache_breakpoints", value, "True, False or 'auto'"))


def checked_reasoning_back(value: object) -> ReasoningBack:
    """In which member reasoning goes back."""
    known: tuple[ReasoningBack, ...] = ("auto", None, *REASONING_MEMBERS)
    for one in known:
        if one == value:
            return one
    wanted = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
    error = ValueError if isinstance(value, str) else TypeError
    raise error(refusal("reasoning_back", value, wanted))


def facts_of(model: str, table: ModelTable, reasoning_back: ReasoningBack) -> ModelFacts:
    """What is known of a model, with what the program knows better."""
    facts = table.facts(model)
    if reasoning_back == "auto":
        return facts
    return attrs.evolve(facts, reasoning_back=reasoning_back)


def check_tool_choice(choice: object, names: Collection[str]) -> None:
    """Refuse a choice of a function that is not among the tools."""
    if isinstance(choice, Mapping) and names:
        name = cast("NamedToolChoice", choice)["function"]["name"]
        if name not in names:
            raise ValueError(
                f"tool_choice names the function {name!r}, which is not among the tools: "
                f"{', '.join(sorted(names))}"
            )


def warn_of_forced_choice(call: ChatCall) -> None:
    """Say that a call asks for a function and gives none: the choice is left out.

    A choice among the model's own settings is meant for the calls that have tools.
    """
    choice = call.chosen_tool
    if choice == "required" or isinstance(choice, Mapping):
        logger.warning(
            "tool_choice=%r asks for a call, but the request has no tools: the choice is not "
            "sent; give chat() the tools, or no tool_choice",
            call.chosen_tool,
        )


def checked_rate_limit(value: object) -> RateQueue | None:
    """Where the requests under a ``rate_limit`` wait; None without one.

    Raises:
        TypeError: It is no `RateLimit`.
    """
    if value is None:
        return None
    check_instance("rate_limit", value, RateLimit, "a RateLimit", "write: rate_limit=RateLimit(60)")
    return queue_of(cast("RateLimit", value))
