"""Facts about models: which rule applies, and which options are therefore left out."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._settings.models import (
    DEFAULT_MODEL_TABLE,
    LLMModels,
    ModelFacts,
    ModelTable,
    drop_rejected,
)

SAMPLING = {
    "temperature": 0.3,
    "top_p": 0.9,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 2,
}
OPTIONS = {**SAMPLING, "n": 1, "stop": ["x"], "seed": 7, "max_completion_tokens": 50}

NOTHING: frozenset[str] = frozenset()
O_SERIES = frozenset({*SAMPLING, "n"})
GPT_6 = frozenset({*SAMPLING, "stop"})
GROK_REASONING = frozenset({"presence_penalty", "frequency_penalty", "stop"})


def dropped(model: str, options: dict[str, object], *, has_tools: bool = False) -> set[str]:
    facts = DEFAULT_MODEL_TABLE.facts(model)
    kept, names = drop_rejected(options, facts=facts, has_tools=has_tools)
    assert kept == {name: value for name, value in options.items() if name not in names}
    return set(names)


@pytest.mark.parametrize(
    ("model", "rejected"),
    [
        ("openai/gpt-4o-mini", NOTHING),
        ("openai/gpt-oss-120b", NOTHING),
        ("openai/chat-latest", NOTHING),
        ("deepseek-ai/deepseek-v3.2", NOTHING),
        ("google/gemini-2.5-flash", NOTHING),
        ("xai/grok-4.20-0309-non-reasoning", NOTHING),
        ("xai/grok-4-1-fast-non-reasoning", NOTHING),
        ("a-model-of-my-own", NOTHING),
        ("o1", O_SERIES),
        ("o3-mini", O_SERIES),
        ("openai/o4-mini", O_SERIES),
        ("openai/gpt-5", O_SERIES),
        ("openai/gpt-5-mini", O_SERIES),
        ("openai/gpt-5.1", O_SERIES),
        ("openai/gpt-5.2-chat-latest", O_SERIES),
        ("openai/gpt-5.6-sol", O_SERIES),
        ("openai/gpt-6-luna", GPT_6),
        ("openai/gpt-6.1-sol", GPT_6),
        ("xai/grok-4-1-fast-reasoning", GROK_REASONING),
        ("xai/grok-4.20-0309-reasoning", GROK_REASONING),
        ("xai/grok-4.20-multi-agent-0309", GROK_REASONING),
    ],
)
def test_options_a_family_rejects_are_dropped(model: str, rejected: frozenset[str]) -> None:
    assert dropped(model, OPTIONS) == rejected


FLOOR_NONE = {
    "gpt-5.1",
    "gpt-5.2",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5.4-nano",
    "gpt-5.5",
    "gpt-5.6-luna",
    "gpt-5.6-sol",
    "gpt-5.6-terra",
    "gpt-6-luna",
    "gpt-6-sol",
}
OTHER_FLOORS = {
    "gpt-5": "minimal",
    "gpt-5-mini": "minimal",
    "gpt-5-nano": "minimal",
    "gpt-6.1-sol": "low",
}


@pytest.mark.parametrize("model", get_args(LLMModels))
def test_reasoning_floors(model: str) -> None:
    name = model.split("/")[1]
    floor = "none" if name in FLOOR_NONE else OTHER_FLOORS.get(name)
    assert DEFAULT_MODEL_TABLE.facts(model).reasoning_floor == floor


@pytest.mark.parametrize("name", sorted(FLOOR_NONE))
def test_at_effort_none_a_model_whose_floor_it_is_takes_sampling_options_again(name: str) -> None:
    still_rejected = NOTHING if name.startswith("gpt-6") else O_SERIES - {"temperature", "top_p"}
    assert dropped(f"openai/{name}", {**OPTIONS, "reasoning_effort": "none"}) == still_rejected


@pytest.mark.parametrize(
    ("model", "rejected"),
    [
        ("openai/gpt-5.3-chat-latest", O_SERIES),
        ("openai/gpt-5.2-chat-latest", O_SERIES),
        ("openai/gpt-5", O_SERIES),
        ("openai/gpt-6.1-sol", GPT_6),
        ("openai/o3", O_SERIES),
    ],
)
def test_effort_none_changes_nothing_where_it_is_not_the_floor(
    model: str, rejected: frozenset[str]
) -> None:
    assert dropped(model, {**OPTIONS, "reasoning_effort": "none"}) == rejected


@pytest.mark.parametrize("effort", ["minimal", "low", "high", None])
def test_other_efforts_change_nothing(effort: str | None) -> None:
    assert dropped("openai/gpt-5.1", {**OPTIONS, "reasoning_effort": effort}) == O_SERIES


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-5.2",
        "openai/gpt-5.2-chat-latest",
        "openai/gpt-5.4-nano",
        "openai/gpt-5.4-x",
        "openai/gpt-5.5",
        "openai/gpt-5.5-mini",
    ],
)
def test_effort_is_dropped_with_tools_and_does_not_count_then(model: str) -> None:
    options = {"reasoning_effort": "none", "temperature": 0.5, "seed": 1}
    assert dropped(model, options, has_tools=True) == {"reasoning_effort", "temperature"}


@pytest.mark.parametrize(
    "model",
    ["gpt-5.6", "openai/gpt-5.6-luna", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-6-sol", "gpt-6-astra"],
)
@pytest.mark.parametrize("effort", ["none", "low", "high"])
def test_where_tools_want_effort_none_another_becomes_that(model: str, effort: str) -> None:
    facts = DEFAULT_MODEL_TABLE.facts(model)
    options = {"reasoning_effort": effort, "seed": 1}

    with_tools = drop_rejected(options, facts=facts, has_tools=True)
    assert with_tools == ({"reasoning_effort": "none", "seed": 1}, ())
    assert drop_rejected(options, facts=facts, has_tools=False) == (options, ())
    # What the program has not set is not set for it.
    assert drop_rejected({"seed": 1}, facts=facts, has_tools=True) == ({"seed": 1}, ())


def test_an_effort_that_becomes_none_makes_the_others_acceptable() -> None:
    facts = DEFAULT_MODEL_TABLE.facts("gpt-5.6-sol")
    options = {"reasoning_effort": "low", "temperature": 0.5}

    assert drop_rejected(options, facts=facts, has_tools=True) == (
        {"reasoning_effort": "none", "temperature": 0.5},
        (),
    )


def test_where_effort_none_is_below_the_floor_effort_is_dropped_with_tools() -> None:
    assert dropped("openai/gpt-6.1-sol", {"reasoning_effort": "low"}, has_tools=True) == {
        "reasoning_effort"
    }


def test_effort_is_kept_with_tools_by_other_models() -> None:
    assert dropped("openai/gpt-5.1", {"reasoning_effort": "low"}, has_tools=True) == set()


def test_what_is_dropped_is_named_in_the_order_given() -> None:
    facts = ModelFacts(rejected_options={"a", "b", "c"})
    result = drop_rejected({"c": 1, "x": 2, "a": 3}, facts=facts, has_tools=False)
    assert result == ({"x": 2}, ("c", "a"))


names = st.sampled_from(sorted([*OPTIONS, "reasoning_effort", "user"]))


@given(
    options=st.dictionaries(names, st.sampled_from(["none", "low", 1, None])),
    model=st.sampled_from([*get_args(LLMModels), "o3", "unknown"]),
    has_tools=st.booleans(),
)
def test_dropping_splits_the_options_and_leaves_the_argument_alone(
    options: dict[str, object], model: str, has_tools: bool
) -> None:
    before = dict(options)
    facts = DEFAULT_MODEL_TABLE.facts(model)
    kept, left_out = drop_rejected(options, facts=facts, has_tools=has_tools)
    assert options == before
    assert set(kept) | set(left_out) == set(options)
    assert not set(kept) & set(left_out)
    replaced = [name for name in kept if kept[name] != options[name]]
    assert replaced in ([], ["reasoning_effort"])
    assert not replaced or (has_tools and kept["reasoning_effort"] == facts.effort_with_tools)
    assert drop_rejected(kept, facts=facts, has_tools=has_tools) == (kept, ())


@pytest.mark.parametrize(
    ("model", "supported"),
    [
        ("openai/gpt-4o", False),
        ("openai/gpt-oss-120b", False),
        ("openai/gpt-5", False),
        ("openai/gpt-5.5", False),
        ("openai/gpt-5.6-luna", True),
        ("openai/gpt-5.6-later", True),
        ("openai/gpt-5.9", True),
        ("openai/gpt-6-sol", True),
        ("openai/gpt-6.1-sol", True),
        ("openai/gpt-7", True),
        ("google/gemini-2.5-pro", False),
        # Azure's name for GPT-3.5
        ("gpt-35-turbo", False),
    ],
)
def test_cache_breakpoints_since_gpt_5_6(model: str, supported: bool) -> None:
    assert DEFAULT_MODEL_TABLE.facts(model).cache_breakpoints is supported


def test_every_model_knows_the_usual_thinking_tags_and_starts_outside_of_them() -> None:
    for model in get_args(LLMModels):
        facts = DEFAULT_MODEL_TABLE.facts(model)
        assert facts.thinking_tags[0] == ("<think>", "</think>")
        assert facts.starts_in_thinking is False


def test_gemma_has_tags_of_its_own_in_addition() -> None:
    tags = DEFAULT_MODEL_TABLE.facts("google/gemma-4-31b-it").thinking_tags
    assert tags == (("<think>", "</think>"), ("<|channel>thought", "<channel|>"))


@pytest.mark.parametrize(
    "model",
    [
        "nova-pro-v1",
        "amazon/nova-lite-v1",
        "amazon.nova-pro-v1:0",
        "bedrock/us.amazon.nova-micro-v1:0",
    ],
)
def test_nova_thinks_between_tags_of_its_own(model: str) -> None:
    tags = DEFAULT_MODEL_TABLE.facts(model).thinking_tags
    assert tags == (("<thinking>", "</thinking>"), ("<think>", "</think>"))


@pytest.mark.parametrize("model", ["gpt-5", "openai/gpt-5", "a/b/gpt-5", "OpenAI/GPT-5"])
def test_provider_and_case_do_not_matter(model: str) -> None:
    assert DEFAULT_MODEL_TABLE.facts(model) is DEFAULT_MODEL_TABLE.facts("gpt-5")


def test_a_rule_of_the_user_comes_first_and_the_table_stays_as_it_was() -> None:
    facts = attrs.evolve(DEFAULT_MODEL_TABLE.facts("gpt-5"), starts_in_thinking=True)
    table = DEFAULT_MODEL_TABLE.with_rule("GPT-5*", facts)
    assert table.facts("openai/gpt-5") is facts
    assert table.facts("openai/gpt-5.4") is facts
    assert table.facts("openai/gpt-6") is DEFAULT_MODEL_TABLE.facts("openai/gpt-6")
    assert DEFAULT_MODEL_TABLE.facts("gpt-5").starts_in_thinking is False


def test_a_table_is_shown_without_its_rules() -> None:
    table = ModelTable(rules=[("qwen*", ModelFacts()), ("*", ModelFacts())])

    assert repr(table) == "<ModelTable of 2 rules>"


def test_single_facts_are_corrected_and_the_others_stay() -> None:
    table = DEFAULT_MODEL_TABLE.with_facts("*", content_beside_calls="absent")
    table = table.with_facts("GPT-5*", starts_in_thinking=True, content_beside_calls="empty")

    before = DEFAULT_MODEL_TABLE.facts("openai/gpt-5.4")
    assert table.facts("openai/gpt-5.4") == attrs.evolve(
        before, starts_in_thinking=True, content_beside_calls="empty"
    )
    assert table.facts("unknown") == ModelFacts(content_beside_calls="absent")
    assert before.content_beside_calls == "null"
    # What is said later wins, as a whole too.
    assert table.with_rule("gpt-5*", ModelFacts()).facts("gpt-5.4") == ModelFacts()
    later = table.with_facts("gpt-5.4", content_beside_calls="null")
    assert later.facts("gpt-5.4") == attrs.evolve(before, starts_in_thinking=True)


def test_rules_may_be_data() -> None:
    table = ModelTable(
        rules=[("qwen*", {"starts_in_thinking": True}), ("*", {"thinking_tags": [["<a>", "</a>"]]})]
    )

    assert table.facts("qwen3") == ModelFacts(
        starts_in_thinking=True, thinking_tags=(("<a>", "</a>"),)
    )


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"thinking_tag": ()}, TypeError, "no fact 'thinking_tag' of a model; there are .*tags"),
        ({"thinking_tags": (("<a>", ""),)}, ValueError, "neither empty"),
        ({"content_beside_calls": "nothing"}, ValueError, "content_beside_calls"),
        ({"rejected_options": "stop"}, TypeError, "the string 'stop'"),
    ],
)
def test_a_fact_that_is_none_is_refused(
    facts: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DEFAULT_MODEL_TABLE.with_facts("gpt-5*", **facts)
    with pytest.raises(error, match=message):
        ModelTable(rules=(("gpt-5*", facts),))


def test_a_table_of_ones_own_has_its_own_default() -> None:
    otherwise = ModelFacts(thinking_tags=())
    assert ModelTable(otherwise=otherwise).facts("anything") is otherwise
    assert ModelTable().facts("anything") == ModelFacts()


@pytest.mark.parametrize(
    ("pattern", "instead"), [("openai/gpt-5*", "'gpt-5*'"), ("", "'gpt-5*'"), ("a/", "'gpt-5*'")]
)
def test_a_pattern_that_can_never_match_is_refused(pattern: str, instead: str) -> None:
    with pytest.raises(ValueError, match="without its provider"):
        DEFAULT_MODEL_TABLE.with_facts(pattern, starts_in_thinking=True)
    with pytest.raises(ValueError, match="without its provider") as caught:
        DEFAULT_MODEL_TABLE.with_rule(pattern, ModelFacts())
    assert str(caught.value).startswith(f"pattern={pattern!r}")
    assert str(caught.value).endswith(instead)


@pytest.mark.parametrize("field", ["rejected_options", "accepted_without_reasoning"])
def test_one_string_is_no_set_of_names(field: str) -> None:
    with pytest.raises(TypeError, match=r"the string 'stop': \{'stop'\}"):
        ModelFacts(**{field: "stop"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tags", [("<think>", "</think>"), (("<think>", ""),), (("<a>", "</a>", "<b>"),), ("ab",)]
)
def test_thinking_tags_are_pairs(tags: object) -> None:
    with pytest.raises(ValueError, match=r"thinking_tags=.* pair of an opening and a closing tag"):
        ModelFacts(thinking_tags=tags)  # type: ignore[arg-type]


def test_facts_may_be_given_as_lists_and_are_immutable() -> None:
    facts = ModelFacts(rejected_options=["stop"], thinking_tags=[("<a>", "</a>")])
    assert facts.rejected_options == frozenset({"stop"})
    assert hash(facts)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        facts.starts_in_thinking = True  # type: ignore[misc]


def test_models_are_listed_once_each_with_their_provider() -> None:
    models = get_args(LLMModels)
    assert len(models) == len(set(models)) == 46
    assert all(model.count("/") == 1 for model in models)
