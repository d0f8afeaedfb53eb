"""Facts about models, as data: what a family rejects, its reasoning floor, its thinking tags.

Everything here ages, so it is one table and a user can replace it. Nothing else in the library
asks what a model is called; nothing here knows what is sent or how.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from lktrio._conversation import (
    DOCUMENTED_AUDIO,
    REASONING_MEMBERS,
    ContentBesideCalls,
    ReasoningMember,
)
from lktrio._definitions import Value, public

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

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model may think before it answers, from not at all to most."""


def _option_names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError(f"a set of option names is wanted, not the string {value!r}: {{{value!r}}}")
    return frozenset(value)


def _audio_formats(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError(f"a set of formats is wanted, not the string {value!r}: {{{value!r}}}")
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


@public
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
    """Whether ``reasoning_effort`` is rejected in a request that has tools. It is left out then,
    or becomes the `effort_with_tools`."""

    effort_with_tools: ReasoningEffort | None = None
    """The one ``reasoning_effort`` that a request with tools may have, if any other is rejected;
    None if there is none. It is sent in place of another, and not if there is no other: the
    server says what it wants."""

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

    content_beside_calls: ContentBesideCalls = attrs.field(
        default="null", validator=attrs.validators.in_(get_args(ContentBesideCalls))
    )
    """What an assistant message that has calls and no text says in ``content``: ``"null"``, as
    OpenAI documents it, ``"empty"`` for an empty string, or ``"absent"`` for no such member.
    There are servers that refuse each of them."""

    reasoning_back: ReasoningMember | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *REASONING_MEMBERS))
    )
    """The member of a message in which the model wants back what it has thought, after a round of
    tool calls: ``"reasoning_content"``, ``"reasoning"`` or ``"reasoning_details"``. None for a
    model that does not: then reasoning is neither kept nor sent."""
    audio_formats: frozenset[str] = attrs.field(default=DOCUMENTED_AUDIO, converter=_audio_formats)
    """Formats of the sound in an `AudioContent` that the model takes, as ``input_audio`` names
    them; empty for a model that takes none. A conversation with any other is refused."""


_Rules: TypeAlias = "tuple[tuple[str, ModelFacts | Mapping[str, Any]], ...]"


def _checked_rules(rules: Iterable[tuple[str, ModelFacts | Mapping[str, Any]]]) -> _Rules:
    return tuple((pattern, _checked_facts(facts)) for pattern, facts in rules)


def _checked_facts(facts: ModelFacts | Mapping[str, Any]) -> ModelFacts | Mapping[str, Any]:
    if isinstance(facts, ModelFacts):
        return facts
    known = [field.name for field in attrs.fields(ModelFacts)]
    for name in facts:
        if name not in known:
            raise TypeError(f"there is no fact {name!r} of a model; there are {', '.join(known)}")
    # Made once, so that a mistake is found here.
    ModelFacts(**facts)
    return MappingProxyType(dict(facts))


@public
@attrs.frozen(eq=False, repr=False)
class ModelTable(Value):
    """Rules from model names to facts. The first rule that matches and has all facts decides;
    rules before it may have single facts, which win.

    Raises:
        TypeError: If there is no fact of a name.
        ValueError: If a fact is out of range.
    """

    rules: tuple[tuple[str, ModelFacts | Mapping[str, Any]], ...] = attrs.field(
        default=(), converter=_checked_rules
    )
    """Pairs of a name pattern and the facts for it, all of them or single ones by name, the most
    specific first. In a pattern ``*`` stands for anything, ``?`` for one character, ``[6-9]`` for
    one of several, as in `fnmatch`; patterns are lower case and have no provider prefix."""

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
            The facts of the first rule that matches and has all of them, else `otherwise`, with
            the single facts of the rules before it that match.
        """
        name = model.rpartition("/")[2].lower()
        found = self.otherwise
        single: dict[str, Any] = {}
        for pattern, facts in self.rules:
            if not fnmatchcase(name, pattern):
                continue
            if isinstance(facts, ModelFacts):
                found = facts
                break
            single = {**facts, **single}
        return attrs.evolve(found, **single) if single else found

    def with_rule(self, pattern: str, facts: ModelFacts) -> "ModelTable":
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
        return attrs.evolve(self, rules=((_checked_pattern(pattern), facts), *self.rules))

    def with_facts(self, pattern: str, **facts: Any) -> "ModelTable":
        """Return a table in which some facts are others, and all else is as it was.

        Several models may match, each by a rule of its own::

            table = DEFAULT_MODEL_TABLE.with_facts("gpt-5.7*", effort_rejected_with_tools=True)
            table = table.with_facts("*", content_beside_calls="absent")

        Args:
            pattern: A model's name, or a pattern as described at `rules`.
            facts: Members of `ModelFacts`, by name.

        Returns:
            A new table; this one stays as it is.

        Raises:
            TypeError: If there is no such fact.
            ValueError: If the pattern can never match, or a fact is out of range.
        """
        return attrs.evolve(self, rules=((_checked_pattern(pattern), facts), *self.rules))


def _checked_pattern(pattern: str) -> str:
    if not pattern or "/" in pattern:
        raise ValueError(
            f"pattern={pattern!r}: write the model's name without its provider, for example "
            f"{pattern.rpartition('/')[2] or 'gpt-5*'!r}"
        )
    return pattern.lower()


def drop_rejected(
    options: Mapping[str, object], *, facts: ModelFacts, has_tools: bool
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Leave out the options that a model would answer with an error.

    ``extra_body`` is not looked at: what is put there is sent whatever the model.

    A ``reasoning_effort`` for which the model takes another in a request with tools becomes that.

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
        if facts.effort_with_tools is None:
            rejected |= {"reasoning_effort"}
        elif options.get("reasoning_effort") is not None:
            options = {**options, "reasoning_effort": facts.effort_with_tools}
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

_NO_AUDIO: Final = ModelFacts(audio_formats=())

_O_SERIES: Final = ModelFacts(rejected_options=_SAMPLING | {"n"}, audio_formats=())

_GPT_5: Final = ModelFacts(
    rejected_options=_SAMPLING | {"n"},
    accepted_without_reasoning={"temperature", "top_p"},
    audio_formats=(),
)
_GPT_5_MINIMAL: Final = attrs.evolve(_GPT_5, reasoning_floor="minimal")
_GPT_5_NONE: Final = attrs.evolve(_GPT_5, reasoning_floor="none")
_GPT_5_NO_EFFORT_WITH_TOOLS: Final = attrs.evolve(_GPT_5, effort_rejected_with_tools=True)
_GPT_5_NONE_NO_EFFORT_WITH_TOOLS: Final = attrs.evolve(_GPT_5_NONE, effort_rejected_with_tools=True)
# These take tools at effort "none" alone, and say so.
_GPT_5_6: Final = attrs.evolve(
    _GPT_5,
    cache_breakpoints=True,
    effort_rejected_with_tools=True,
    effort_with_tools="none",
)
_GPT_5_6_NONE: Final = attrs.evolve(_GPT_5_6, reasoning_floor="none")

_GPT_6: Final = ModelFacts(
    rejected_options=_SAMPLING | {"stop"},
    accepted_without_reasoning=_SAMPLING | {"stop"},
    cache_breakpoints=True,
    effort_rejected_with_tools=True,
    effort_with_tools="none",
)
_GPT_6_NONE: Final = attrs.evolve(_GPT_6, reasoning_floor="none")

_GPT_6_LOW: Final = attrs.evolve(_GPT_6, reasoning_floor="low", effort_with_tools=None)

_GROK_REASONING: Final = ModelFacts(
    rejected_options={"presence_penalty", "frequency_penalty", "stop"}, audio_formats=()
)

_GEMINI_AUDIO: Final = ("wav", "mp3", "aiff", "aac", "ogg", "flac")

_GEMMA_4: Final = ModelFacts(
    thinking_tags=(("<think>", "</think>"), ("<|channel>thought", "<channel|>"))
)

# A single fact: another rule has the others.
_REASONING_BACK: Final[Mapping[str, Any]] = {"reasoning_back": "reasoning_content"}

_NOVA: Final = ModelFacts(thinking_tags=(("<thinking>", "</thinking>"), ("<think>", "</think>")))

DEFAULT_MODEL_TABLE: Final = ModelTable(
    rules=(
        ("gpt-4o-audio*", ModelFacts()),
        ("gpt-4o-mini-audio*", ModelFacts()),
        ("gpt-4o*", _NO_AUDIO),
        ("gpt-4.1*", _NO_AUDIO),
        ("gpt-oss*", _NO_AUDIO),
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
        ("gpt-5.5", _GPT_5_NONE_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.5*", _GPT_5_NO_EFFORT_WITH_TOOLS),
        ("gpt-5.6", _GPT_5_6_NONE),
        ("gpt-5.6-luna", _GPT_5_6_NONE),
        ("gpt-5.6-sol", _GPT_5_6_NONE),
        ("gpt-5.6-terra", _GPT_5_6_NONE),
        ("gpt-5.[6-9]*", _GPT_5_6),
        ("gpt-5*", _GPT_5),
        ("gpt-6-luna", _GPT_6_NONE),
        ("gpt-6-sol", _GPT_6_NONE),
        ("gpt-6.1-sol", _GPT_6_LOW),
        ("gpt-6*", _GPT_6),
        ("gpt-[7-9]*", ModelFacts(cache_breakpoints=True)),
        ("grok-4-1-fast-reasoning", _GROK_REASONING),
        ("grok-4.20-0309-reasoning", _GROK_REASONING),
        ("grok-4.20-multi-agent*", _GROK_REASONING),
        ("grok-4*", _NO_AUDIO),
        ("deepseek-reasoner*", _REASONING_BACK),
        ("deepseek-v3.2*", _REASONING_BACK),
        ("deepseek-v[4-9]*", _REASONING_BACK),
        ("glm-4.[5-9]*", _REASONING_BACK),
        ("glm-[5-9]*", _REASONING_BACK),
        ("kimi-k[2-9]*", _REASONING_BACK),
        ("deepseek-*", _NO_AUDIO),
        ("glm-[45]*", _NO_AUDIO),
        ("kimi-k2*", _NO_AUDIO),
        ("gemini-*", ModelFacts(audio_formats=_GEMINI_AUDIO)),
        ("gemma-4*", _GEMMA_4),
        ("nova-*", _NOVA),
        ("amazon.nova-*", _NOVA),
        ("*.amazon.nova-*", _NOVA),
    )
)
"""What was known of the models of LiveKit Inference, and of a few others, when this version was
made.

Source: https://docs.livekit.io/agents/models/llm/ and the providers' API references. Of
``reasoning_effort`` beside tools these say nothing; the API's own errors do, as reported in
https://github.com/openai/openai-openapi/issues/541 (5.4),
https://github.com/charmbracelet/crush/issues/2913 (5.5),
https://github.com/BerriAI/litellm/pull/34569 (5.6) and
https://github.com/onyx-dot-app/onyx/issues/15008 (6). The tags of Amazon's Nova models:
https://docs.aws.amazon.com/nova/latest/userguide/tool-use-invocation.html. Who wants reasoning
back: https://api-docs.deepseek.com/guides/thinking_mode,
https://github.com/MoonshotAI/kimi-agent-sdk/issues/169 (Kimi's error without it) and
https://docs.z.ai/guides/capabilities/thinking-mode (GLM). Which OpenAI models take audio:
https://platform.openai.com/docs/guides/audio; the formats of Gemini:
https://ai.google.dev/gemini-api/docs/audio.
"""
