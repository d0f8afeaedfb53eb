"""Facts about models, as data: what a family rejects, its reasoning floor, its thinking tags.

Everything here ages, so it is one table and a user can replace it. Nothing else in the library
asks what a model is called; nothing here knows what is sent or how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

import attrs

from ._value import Value

__all__ = [
    "DEFAULT_MODEL_TABLE",
    "LLMModels",
    "ModelFacts",
    "ModelTable",
    "ReasoningEffort",
    "drop_rejected",
]

LLMModels: TypeAlias = Literal[
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "openai/gpt-4.1",
    "openai/gpt-4.1-mini",
    "openai/gpt-4.1-nano",
    "openai/gpt-5",
    "openai/gpt-5-mini",
    "openai/gpt-5-nano",
    "openai/gpt-5.1",
    "openai/gpt-5.1-chat-latest",
    "openai/gpt-5.2",
    "openai/gpt-5.2-chat-latest",
    "openai/gpt-5.3-chat-latest",
    "openai/gpt-5.4",
    "openai/gpt-5.4-mini",
    "openai/gpt-5.4-nano",
    "openai/gpt-5.5",
    "openai/gpt-5.6-luna",
    "openai/gpt-5.6-sol",
    "openai/gpt-5.6-terra",
    "openai/gpt-6-luna",
    "openai/gpt-6-sol",
    "openai/gpt-6.1-sol",
    "openai/chat-latest",
    "openai/gpt-oss-120b",
    "google/gemini-4-argon",
    "google/gemini-3.1-pro",
    "google/gemini-3-flash",
    "google/gemini-3.1-flash-lite",
    "google/gemini-3.5-flash",
    "google/gemini-2.5-pro",
    "google/gemini-2.5-flash",
    "google/gemini-2.5-flash-lite",
    "google/gemma-4-31b-it",
    "moonshotai/kimi-k2.5",
    "moonshotai/kimi-k2.6",
    "deepseek-ai/deepseek-v3",
    "deepseek-ai/deepseek-v3.2",
    "zai/glm-5.1",
    "xai/grok-4-1-fast-non-reasoning",
    "xai/grok-4-1-fast-reasoning",
    "xai/grok-4.20-0309-non-reasoning",
    "xai/grok-4.20-0309-reasoning",
    "xai/grok-4.20-multi-agent-0309",
    "xai/grok-4.3",
    "xai/grok-4.5",
]
"""The models that LiveKit Inference offers, for completion in an editor.

It is a hint, not a check: any other string is passed to the server as it is
(``LLMModels | str``).
"""

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
"""How much a model may think before it answers, from not at all to most."""


def _option_names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError(f"a set of option names is wanted, not the string {value!r}: {{{value!r}}}")
    return frozenset(value)


def _tag_pairs(value: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = tuple(value)
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2 or not all(pair):
            raise ValueError(
                f"thinking_tags={value!r}: each member is a pair of an opening and a closing tag, "
                f"neither empty, for example (('<think>', '</think>'),)"
            )
    return tuple((opening, closing) for opening, closing in pairs)


@attrs.frozen(eq=False, repr=False, kw_only=True)
class ModelFacts(Value):
    """What is known of one model. The defaults describe a model of which nothing is known.

    To correct one fact, start from what the table says::

        facts = attrs.evolve(DEFAULT_MODEL_TABLE.facts("qwen3-8b"), starts_in_thinking=True)
        table = DEFAULT_MODEL_TABLE.with_rule("qwen3-8b", facts)

    Raises:
        TypeError: If a set of names is given as one string.
        ValueError: If a thinking tag is empty.
    """

    rejected_options: frozenset[str] = attrs.field(default=frozenset(), converter=_option_names)
    """Names of the options that the model answers with status 400; they are not sent."""

    accepted_without_reasoning: frozenset[str] = attrs.field(
        default=frozenset(), converter=_option_names
    )
    """Those of `rejected_options` that it accepts at ``reasoning_effort="none"``. They count
    only if ``"none"`` is the model's `reasoning_floor`."""

    reasoning_floor: ReasoningEffort | None = None
    """The least ``reasoning_effort`` the model supports; None if there is none or it is unknown.
    No option is changed to it."""

    effort_rejected_with_tools: bool = False
    """Whether ``reasoning_effort`` is rejected in a request that has tools."""

    thinking_tags: tuple[tuple[str, str], ...] = attrs.field(
        default=(("<think>", "</think>"),), converter=_tag_pairs
    )
    """Pairs of opening and closing tag between which the model's text is thinking. An empty
    tuple turns the filter off."""

    starts_in_thinking: bool = False
    """Whether the answer begins inside the first pair of `thinking_tags`. Set it for a server
    whose chat template writes the opening tag into the prompt, so that only the closing tag
    is ever seen in the answer."""

    cache_breakpoints: bool = False
    """Whether text parts may carry ``prompt_cache_breakpoint``."""


@attrs.frozen(eq=False, repr=False)
class ModelTable(Value):
    """Rules from model names to facts. The first rule that matches decides alone."""

    rules: tuple[tuple[str, ModelFacts], ...] = ()
    """Pairs of a name pattern and the facts for it, the most specific first. In a pattern ``*``
    stands for anything, ``?`` for one character, ``[6-9]`` for one of several, as in `fnmatch`;
    patterns are lower case and have no provider prefix."""

    otherwise: ModelFacts = attrs.field(factory=ModelFacts)
    """The facts for a model that no rule matches."""

    def __repr__(self) -> str:
        # The rules would fill pages, in the signature of `LLM` too.
        return f"<ModelTable of {len(self.rules)} rules>"

    def facts(self, model: str) -> ModelFacts:
        """Look up a model.

        Args:
            model: Its name. Upper and lower case are the same, and what stands before the last
                ``/`` (the provider) does not count.

        Returns:
            The facts of the first rule that matches, else `otherwise`.
        """
        name = model.rpartition("/")[2].lower()
        for pattern, facts in self.rules:
            if fnmatchcase(name, pattern):
                return facts
        return self.otherwise

    def with_rule(self, pattern: str, facts: ModelFacts) -> ModelTable:
        """Return a table in which one more rule stands before all others.

        Args:
            pattern: A model's name, or a pattern as described at `rules`.
            facts: What is known of the models it matches. It replaces the facts of a later rule
                as a whole; use `attrs.evolve` to keep some of them.

        Returns:
            A new table; this one stays as it is.

        Raises:
            ValueError: If the pattern is empty, or has a provider prefix, which is never looked
                at and so would never match.
        """
        if not pattern or "/" in pattern:
            raise ValueError(
                f"pattern={pattern!r}: write the model's name without its provider, for example "
                f"{pattern.rpartition('/')[2] or 'gpt-5*'!r}"
            )
        return attrs.evolve(self, rules=((pattern.lower(), facts), *self.rules))


def drop_rejected(
    options: Mapping[str, object], *, facts: ModelFacts, has_tools: bool
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Leave out the options that a model would answer with an error.

    ``extra_body`` is not looked at: what is put there is sent whatever the model.

    Args:
        options: JSON members of the request, by name. Left as it is.
        facts: What is known of the model.
        has_tools: Whether the request has tools.

    Returns:
        The options to send, and the names of those left out, both in the order given. The
        caller logs the names.
    """
    rejected = facts.rejected_options
    if has_tools and facts.effort_rejected_with_tools:
        rejected |= {"reasoning_effort"}
    # An effort that is itself left out does not make the others acceptable.
    effort = None if "reasoning_effort" in rejected else options.get("reasoning_effort")
    if effort == facts.reasoning_floor == "none":
        rejected -= facts.accepted_without_reasoning
    kept = {name: value for name, value in options.items() if name not in rejected}
    dropped = tuple(name for name in options if name in rejected)
    return kept, dropped


_SAMPLING: Final = frozenset(
    {
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    }
)

_O_SERIES: Final = ModelFacts(rejected_options=_SAMPLING | {"n"})

_GPT_5: Final = ModelFacts(
    rejected_options=_SAMPLING | {"n"}, accepted_without_reasoning={"temperature", "top_p"}
)
_GPT_5_MINIMAL: Final = attrs.evolve(_GPT_5, reasoning_floor="minimal")
_GPT_5_NONE: Final = attrs.evolve(_GPT_5, reasoning_floor="none")
_GPT_5_NO_EFFORT_WITH_TOOLS: Final = attrs.evolve(_GPT_5, effort_rejected_with_tools=True)
_GPT_5_NONE_NO_EFFORT_WITH_TOOLS: Final = attrs.evolve(_GPT_5_NONE, effort_rejected_with_tools=True)
_GPT_5_BREAKPOINTS: Final = attrs.evolve(_GPT_5, cache_breakpoints=True)
_GPT_5_NONE_BREAKPOINTS: Final = attrs.evolve(_GPT_5_NONE, cache_breakpoints=True)

_GPT_6: Final = ModelFacts(
    rejected_options=_SAMPLING | {"stop"},
    accepted_without_reasoning=_SAMPLING | {"stop"},
    cache_breakpoints=True,
)
_GPT_6_NONE: Final = attrs.evolve(_GPT_6, reasoning_floor="none")

_GROK_REASONING: Final = ModelFacts(
    rejected_options={"presence_penalty", "frequency_penalty", "stop"}
)

_GEMMA_4: Final = ModelFacts(
    thinking_tags=(("<think>", "</think>"), ("<|channel>thought", "<channel|>"))
)

DEFAULT_MODEL_TABLE: Final = ModelTable(
    rules=(
        ("o1*", _O_SERIES),
        ("o3*", _O_SERIES),
        ("o4*", _O_SERIES),
        ("gpt-5", _GPT_5_MINIMAL),
        ("gpt-5-mini", _GPT_5_MINIMAL),
        ("gpt-5-nano", _GPT_5_MINIMAL),
        ("gpt-5.1", _GPT_5_NONE),
        ("gpt-5.2", _GPT_5_NONE_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.2*", _GPT_5_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.4", _GPT_5_NONE_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.4-mini", _GPT_5_NONE_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.4-nano", _GPT_5_NONE_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.4*", _GPT_5_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.5", _GPT_5_NONE),
        ("gpt-5.6-luna", _GPT_5_NONE_BREAKPOINTS),
        ("gpt-5.6-sol", _GPT_5_NONE_BREAKPOINTS),
        ("gpt-5.6-terra", _GPT_5_NONE_BREAKPOINTS),
        ("gpt-5.[6-9]*", _GPT_5_BREAKPOINTS),
        ("gpt-5*", _GPT_5),
        ("gpt-6-luna", _GPT_6_NONE),
        ("gpt-6-sol", _GPT_6_NONE),
        ("gpt-6.1-sol", attrs.evolve(_GPT_6, reasoning_floor="low")),
        ("gpt-6*", _GPT_6),
        ("gpt-[7-9]*", ModelFacts(cache_breakpoints=True)),
        ("grok-4-1-fast-reasoning", _GROK_REASONING),
        ("grok-4.20-0309-reasoning", _GROK_REASONING),
        ("grok-4.20-multi-agent*", _GROK_REASONING),
        ("gemma-4*", _GEMMA_4),
    )
)
"""What was known of the models of LiveKit Inference when this version was made.

Source: https://docs.livekit.io/agents/models/llm/ and the providers' API references.
"""
