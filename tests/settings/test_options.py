"""Options of a request: what is refused at once, and which setting wins."""

from __future__ import annotations

import copy
import math
import pickle
from types import MappingProxyType
from typing import Any, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._checks import NOT_GIVEN
from lktrio._settings.connect_options import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    timeout_or,
)
from lktrio._settings.options import ChatCompletionOptions
from lktrio._settings.request_options import (
    RequestOptions,
    check_inference_class,
    merge_options,
    structure_options,
)

DEFAULT = DEFAULT_API_CONNECT_OPTIONS

EVERY_BODY_OPTION: ChatCompletionOptions = {
    "frequency_penalty": 0.2,
    "presence_penalty": 0.1,
    "temperature": 0.3,
    "top_p": 0.9,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "max_completion_tokens": 50,
    "max_tokens": 9,
    "n": 1,
    "audio": {"voice": "alloy", "format": "wav"},
    "seed": 7,
    "metadata": {"k": "v"},
    "modalities": ["text"],
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "abc"},
    "prompt_cache_key": "pk",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
    "safety_identifier": "s1",
    "user": "u1",
    "reasoning_effort": "low",
    "service_tier": "priority",
    "stop": ["x"],
    "store": False,
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
    "tool_choice": {"type": "function", "function": {"name": "get_time"}},
    "response_format": {"type": "json_object"},
}
EXTRAS = {"extra_headers", "extra_query", "extra_body", "timeout"}


def refusal(error: type[Exception], options: Any, **kwargs: str) -> str:
    with pytest.raises(error) as caught:
        structure_options(options, **kwargs)
    assert type(caught.value) is error
    return str(caught.value)


class TestStructure:
    def test_every_option_of_the_body_is_kept_as_given(self) -> None:
        assert set(EVERY_BODY_OPTION) | EXTRAS == set(get_type_hints(ChatCompletionOptions))
        assert structure_options(EVERY_BODY_OPTION) == RequestOptions(body={**EVERY_BODY_OPTION})

    @pytest.mark.parametrize("nothing", [None, NOT_GIVEN, {}])
    def test_nothing_given_is_no_options(self, nothing: Any) -> None:
        assert structure_options(nothing) == RequestOptions()

    def test_extras_are_sorted_by_where_they_are_sent(self) -> None:
        options = structure_options(
            {
                "extra_headers": {"X-Custom": "1"},
                "extra_query": {"a": "b", "c": [1, True, None, 0.5], "d": None},
                "extra_body": {"top_k": 5, "provider_opts": {"a": [1]}},
                "timeout": 5,
                "seed": 1,
            }
        )
        assert options.body == {"seed": 1}
        assert options.headers == {"X-Custom": "1"}
        assert options.query == {"a": "b", "c": [1, True, None, 0.5], "d": None}
        assert options.extra_body == {"top_k": 5, "provider_opts": {"a": [1]}}
        assert options.timeout == 5

    @pytest.mark.parametrize(
        "value",
        [
            {"temperature": 1},
            {"temperature": None},
            {"stop": None},
            {"stop": "x"},
            {"reasoning_effort": "none"},
            {"reasoning_effort": None},
            {"tool_choice": "required"},
            {"prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
            {"web_search_options": None},
        ],
        ids=str,
    )
    def test_none_and_every_other_member_of_a_type_are_values(self, value: dict[str, Any]) -> None:
        body = structure_options(value).body
        assert body == value
        assert type(next(iter(body.values()))) is type(next(iter(value.values())))

    def test_not_given_counts_as_absent(self) -> None:
        assert structure_options({"temperature": NOT_GIVEN, "seed": 1}).body == {"seed": 1}

    def test_any_mapping_will_do(self) -> None:
        assert structure_options(MappingProxyType({"seed": 1})).body == {"seed": 1}

    @pytest.mark.parametrize("options", [[("seed", 1)], "seed", 5, False])
    def test_what_is_no_mapping_is_refused(self, options: Any) -> None:
        message = refusal(TypeError, options)
        assert message.startswith(f"extra_kwargs={options!r} is not accepted; it takes a mapping")

    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("temprature", "temperature"),
            ("Temperature", "temperature"),
            ("max_token", "max_tokens"),
            ("headers", "extra_headers"),
            ("toolchoice", "tool_choice"),
        ],
    )
    def test_an_unknown_option_is_refused_with_the_nearest_name(
        self, name: str, nearest: str
    ) -> None:
        message = refusal(ValueError, {name: 1})
        assert message.startswith(
            f"extra_kwargs: there is no option '{name}'; did you mean '{nearest}'?"
        )
        assert f"extra_body={{'{name}': ...}}" in message

    def test_an_option_like_no_other_is_sent_to_extra_body(self) -> None:
        assert refusal(ValueError, {"zzz": 1}) == (
            "extra_kwargs: there is no option 'zzz'; "
            "extra_body={'zzz': ...} sends what only some servers know"
        )

    def test_the_name_of_an_option_is_a_string(self) -> None:
        message = refusal(TypeError, {5: 1})
        assert message == "extra_kwargs: the name of an option is a string, not 5"

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("model", "argument of LLM() and update_options()"),
            ("messages", "made from chat_ctx"),
            ("tools", "argument of chat()"),
            ("stream", "collect()"),
            ("stream_options", "stream.usage"),
            ("inference_class", "argument of LLM() and chat()"),
            ("conn_options", "argument of LLM() and chat()"),
            ("provider", "argument of LLM()"),
            ("max_retry", "chat(conn_options=APIConnectOptions(max_retry=...))"),
            ("total_timeout", "chat(conn_options=APIConnectOptions(total_timeout=...))"),
            ("max_retries", "chat(conn_options=APIConnectOptions(max_retry=...))"),
            ("functions", "give chat() tools, and a tool_choice"),
            ("function_call", "give chat() tools, and a tool_choice"),
        ],
    )
    def test_what_is_set_elsewhere_is_refused_and_says_where(self, name: str, place: str) -> None:
        message = refusal(ValueError, {name: True})
        assert message.startswith(f"extra_kwargs: '{name}' cannot be set here: ")
        assert place in message

    @pytest.mark.parametrize(
        ("error", "name", "value", "wants"),
        [
            (TypeError, "temperature", "hot", "a number or None"),
            (TypeError, "temperature", True, "a number or None"),
            (TypeError, "seed", 1.5, "an integer or None"),
            (TypeError, "seed", False, "an integer or None"),
            (TypeError, "logprobs", 1, "True, False or None"),
            (TypeError, "parallel_tool_calls", None, "True or False"),
            (TypeError, "user", None, "a string"),
            (TypeError, "modalities", "text", "a list (each item: 'text' or 'audio') or None"),
            (TypeError, "stop", 5, "a string, a list (each item: a string) or None"),
            (TypeError, "tool_choice", None, "'auto', 'required', 'none' or {'type': 'function'"),
            (ValueError, "verbosity", "max", "'low', 'medium', 'high' or None"),
        ],
    )
    def test_a_wrong_value_names_the_option_the_value_and_what_is_accepted(
        self, error: type[Exception], name: str, value: Any, wants: str
    ) -> None:
        message = refusal(error, {name: value})
        kind = type(value).__name__
        assert message.startswith(
            f"extra_kwargs: {name}={value!r} ({kind}) is not accepted; it takes {wants}"
        )

    @pytest.mark.parametrize(
        ("error", "options", "message"),
        [
            (
                TypeError,
                {"stop": ["a", 1]},
                "stop[1]=1 (int) is not accepted; it takes a string",
            ),
            (
                ValueError,
                {"tool_choice": {"type": "function"}},
                "tool_choice.function is missing; it takes {'name': a string}",
            ),
            (
                ValueError,
                {"tool_choice": {"type": "allowed_tools", "function": {"name": "f"}}},
                "tool_choice.type='allowed_tools' (str) is not accepted; it takes 'function'; extra_body={'tool_choice': ...} sends any value",
            ),
            (
                ValueError,
                {"tool_choice": {"type": "function", "function": {"name": "f", "Names": 1}}},
                "tool_choice.function.Names is not known; did you mean 'name'?",
            ),
            (
                ValueError,
                {"prediction": {"type": "content", "content": "", "zzz": 1}},
                "prediction.zzz is not known; known are ['type', 'content']",
            ),
            (
                ValueError,
                {"metadata": {"a b": "\ud800"}},
                "metadata['a b'] has a lone surrogate (U+D800) at position 0, which cannot be sent as UTF-8; replace it with U+FFFD, or repair the text with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
            ),
        ],
    )
    def test_a_wrong_value_inside_says_where(
        self, error: type[Exception], options: Any, message: str
    ) -> None:
        assert refusal(error, options) == f"extra_kwargs: {message}"

    def test_all_that_is_wrong_is_said_at_once(self) -> None:
        message = refusal(TypeError, {"temperature": "hot", "seed": 1, "stop": ["a", 1, None]})
        assert message.splitlines() == [
            "extra_kwargs: temperature='hot' (str) is not accepted; it takes a number or None",
            "extra_kwargs: stop[1]=1 (int) is not accepted; it takes a string",
            "extra_kwargs: stop[2]=None (NoneType) is not accepted; it takes a string",
        ]

    def test_what_is_wrong_without_end_is_cut(self) -> None:
        message = refusal(TypeError, {"stop": [1] * 100_000})
        assert len(message.splitlines()) == 11
        assert message.endswith("\nand at least 90 more")

    def test_a_word_the_api_may_have_learnt_since_can_be_sent_all_the_same(self) -> None:
        message = refusal(ValueError, {"reasoning_effort": "most"})
        assert message.endswith("; extra_body={'reasoning_effort': ...} sends any value")
        assert structure_options({"extra_body": {"reasoning_effort": "most"}})

    @pytest.mark.parametrize(
        ("name", "value", "problem"),
        [
            ("temperature", math.inf, " is inf, which JSON has no word for"),
            ("seed", 2**64, " is an integer of more than 64 bits"),
            ("user", "\ud800", " has a lone surrogate (U+D800) at position 0"),
            ("metadata", {"k": "\ud800"}, ".k has a lone surrogate"),
        ],
    )
    def test_what_cannot_be_written_as_json_is_refused(
        self, name: str, value: Any, problem: str
    ) -> None:
        message = refusal(ValueError, {name: value})
        assert message.startswith(f"extra_kwargs: {name}{problem}")
        assert "extra_body" not in message

    def test_a_class_as_raw_response_format_is_told_where_to_go(self) -> None:
        message = refusal(TypeError, {"response_format": int})
        assert message.endswith("; a Python type is given to chat(response_format=...)")

    def test_no_response_format_is_told_to_be_left_out(self) -> None:
        message = refusal(TypeError, {"response_format": None}, parameter="chat()")
        assert message.startswith("chat(): response_format=None ")
        assert message.endswith("; leave it out if the answer may have any form")

    def test_the_argument_the_options_came_in_is_named(self) -> None:
        message = refusal(ValueError, {"tool_choice": "maybe"}, parameter="chat()")
        assert message.startswith("chat(): tool_choice='maybe'")

    @pytest.mark.parametrize(
        ("name", "remedy"),
        [
            ("model", "LLM() and update_options()"),
            ("messages", "chat_ctx"),
            ("stream", "collect()"),
            ("tools", "argument of chat()"),
        ],
    )
    def test_extra_body_may_not_set_what_others_decide(self, name: str, remedy: str) -> None:
        for value in (1, None):
            message = refusal(ValueError, {"extra_body": {name: value}})
            assert message.startswith(f"extra_kwargs: extra_body may not set '{name}': ")
            assert remedy in message

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"extra_body": {"top_k": math.nan}}, ValueError, "extra_body.top_k is nan"),
            ({"extra_body": {"a": [{"b-c": {1}}]}}, TypeError, "extra_body.a[0]['b-c'] is of type set"),
            ({"extra_body": {5: 1}}, TypeError, "extra_body[5] (int) is not accepted"),
            ({"temperature": math.inf}, ValueError, "temperature is inf"),
            ({"metadata": {"a": b"b"}}, TypeError, "metadata.a=b'b' (bytes) is not accepted"),
        ],
    )  # fmt: skip
    def test_what_json_cannot_say_is_refused_with_its_path(
        self, options: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        assert refusal(error, options).startswith(f"extra_kwargs: {words}")

    @pytest.mark.parametrize(
        "value", [b"x", {1, 2}, pytest.param(object(), id="object"), {"a": {1: 2}}], ids=str
    )
    def test_extra_body_holds_json_only(self, value: Any) -> None:
        message = refusal(TypeError, {"extra_body": {"a": value}})
        assert message.startswith("extra_kwargs: extra_body.a")

    def test_a_body_that_contains_itself_gets_a_short_message(self) -> None:
        loop: list[object] = []
        loop.append(loop)
        message = refusal(ValueError, {"extra_body": {"a": loop}})
        assert message.startswith("extra_kwargs: extra_body.a[0][0]")
        assert "holds itself" in message
        assert len(message) < 200

    @pytest.mark.parametrize("extra", ["extra_headers", "extra_query", "extra_body"])
    def test_extras_are_mappings(self, extra: str) -> None:
        for value in (None, "a", [("a", "b")]):
            message = refusal(TypeError, {extra: value})
            assert "it takes a mapping with string keys" in message

    @pytest.mark.parametrize(
        "value", [{}, b"x", [[]], pytest.param(object(), id="object")], ids=str
    )
    def test_query_values_are_scalars_or_lists_of_them(self, value: Any) -> None:
        refusal(TypeError, {"extra_query": {"a": value}})

    @pytest.mark.parametrize("value", [0, -1, -0.0, math.nan, -math.inf])
    def test_timeout_is_positive(self, value: float) -> None:
        message = refusal(ValueError, {"timeout": value})
        assert message.startswith(f"extra_kwargs: timeout={value!r} is not accepted; it takes a ")

    @pytest.mark.parametrize("value", ["5", True, None])
    def test_timeout_is_a_number(self, value: Any) -> None:
        assert "math.inf for no limit" in refusal(TypeError, {"timeout": value})

    def test_timeout_may_be_switched_off(self) -> None:
        assert structure_options({"timeout": math.inf}).timeout == math.inf


class TestHeaders:
    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Custom": "1"},
            {"authorization": "Bearer sk-1"},
            {"x_y.z~!#$%&'*+-^`|": "a\tb  c"},
            {"X-Empty": ""},
        ],
        ids=str,
    )
    def test_proper_headers_are_kept_as_spelt(self, headers: dict[str, str]) -> None:
        assert structure_options({"extra_headers": headers}).headers == headers

    @pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nY", "Ä", "X\x00", "(X)", '"X"'])
    def test_a_name_is_a_token(self, name: str) -> None:
        message = refusal(ValueError, {"extra_headers": {name: "1"}})
        assert message.startswith(f"extra_kwargs: extra_headers: {name!r} is no header name")

    @pytest.mark.parametrize(
        "value",
        ["x\ny", "x\r\nEvil: y", "x\n", "x\0y", "\x7fx", "\x1fx", "x ", " x", "é", "x\u2028y"],
    )
    def test_a_value_is_plain_ascii_and_never_shown(self, value: str) -> None:
        value = value.replace("x", "secret")
        message = refusal(ValueError, {"extra_headers": {"Key": value}})
        assert message.startswith("extra_kwargs: the value of extra_headers['Key'] is not")
        assert "secret" not in message

    def test_a_value_of_another_type_is_never_shown(self) -> None:
        message = refusal(TypeError, {"extra_headers": {"X-Key": b"sk-secret"}})
        assert message == (
            "extra_kwargs: extra_headers['X-Key'] (bytes) is not accepted; it takes a string"
        )

    @pytest.mark.parametrize(
        "name",
        ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "Content-Encoding", "TE"],
    )
    def test_headers_of_the_connection_are_refused(self, name: str) -> None:
        message = refusal(ValueError, {"extra_headers": {name: "1"}})
        assert message.startswith(f"extra_kwargs: extra_headers may not set '{name}': ")

    def test_the_same_header_twice_is_refused(self) -> None:
        message = refusal(ValueError, {"extra_headers": {"X-A": "1", "x-a": "2"}})
        assert message == "extra_kwargs: extra_headers has 'x-a' twice"

    @given(st.text(max_size=8), st.text(max_size=8))
    def test_whatever_is_accepted_can_be_written_as_one_line_of_ascii(
        self, name: str, value: str
    ) -> None:
        try:
            headers = structure_options({"extra_headers": {name: value}}).headers
        except ValueError:
            return
        line = f"{name}: {value}"
        assert headers == {name: value}
        assert line.isascii()
        assert len(line.splitlines()) == 1

    def test_secrets_are_not_in_the_repr(self) -> None:
        options = structure_options(
            {
                "extra_headers": {"Authorization": "Bearer sk-secret"},
                "extra_query": {"key": "sk-secret"},
                "extra_body": {"provider_key": "sk-secret"},
                "seed": 1,
            }
        )
        assert repr(options) == (
            "RequestOptions(body={'seed': 1}, headers={'Authorization': ...}, "
            "query={'key': ...}, extra_body={'provider_key': ...}, timeout=None)"
        )


class TestMerge:
    def test_nothing_merges_to_nothing(self) -> None:
        assert merge_options() == RequestOptions()
        assert merge_options(instance=None, call=NOT_GIVEN, explicit={}) == RequestOptions()

    def test_explicit_argument_beats_call_beats_instance(self) -> None:
        merged = merge_options(
            instance={"seed": 1, "temperature": 0.1, "tool_choice": "auto"},
            call={"temperature": 0.9, "top_p": 0.5, "tool_choice": "required"},
            explicit={"tool_choice": "none", "parallel_tool_calls": NOT_GIVEN},
        )
        assert merged.body == {
            "seed": 1,
            "temperature": 0.9,
            "tool_choice": "none",
            "top_p": 0.5,
        }

    def test_none_overrides_and_not_given_does_not(self) -> None:
        merged = merge_options(
            instance={"temperature": 0.1, "seed": 1}, call={"temperature": None, "seed": NOT_GIVEN}
        )
        assert merged.body == {"temperature": None, "seed": 1}

    @pytest.mark.parametrize(
        ("instance", "call"),
        [
            ({"max_tokens": 400}, {"max_completion_tokens": 300}),
            ({"max_completion_tokens": 400}, {"max_tokens": 300}),
            ({"max_tokens": 400, "max_completion_tokens": 400}, {"max_tokens": 300}),
            ({"max_tokens": 400}, {"max_completion_tokens": None}),
        ],
    )
    def test_a_bound_is_overridden_by_its_other_name(
        self, instance: dict[str, Any], call: dict[str, Any]
    ) -> None:
        assert merge_options(instance=instance, call=call).body == call

    def test_both_names_of_a_bound_in_one_place_are_what_the_program_wants(self) -> None:
        both = {"max_tokens": 400, "max_completion_tokens": 300}
        assert merge_options(instance={"max_tokens": 9}, call=both).body == both

    def test_extras_merge_one_level(self) -> None:
        merged = merge_options(
            instance={
                "extra_headers": {"X-A": "1", "X-B": "1"},
                "extra_query": {"a": "1", "b": "1"},
                "extra_body": {"a": {"x": 1}, "b": 1},
            },
            call={
                "extra_headers": {"x-a": "2"},
                "extra_query": {"a": ["2"]},
                "extra_body": {"a": {"y": 2}},
            },
        )
        assert merged.headers == {"X-B": "1", "x-a": "2"}
        assert merged.query == {"a": ["2"], "b": "1"}
        assert merged.extra_body == {"a": {"y": 2}, "b": 1}

    def test_other_mappings_are_replaced_as_a_whole(self) -> None:
        merged = merge_options(instance={"metadata": {"a": "1"}}, call={"metadata": {"b": "2"}})
        assert merged.body == {"metadata": {"b": "2"}}

    @pytest.mark.parametrize(
        ("instance", "call", "timeout"),
        [({}, {}, None), ({"timeout": 1}, {}, 1), ({"timeout": 1}, {"timeout": 2}, 2)],
    )
    def test_timeout_of_the_call_wins(
        self, instance: dict[str, float], call: dict[str, float], timeout: float | None
    ) -> None:
        assert merge_options(instance=instance, call=call).timeout == timeout

    def test_a_bad_explicit_argument_is_named_as_one_of_chat(self) -> None:
        with pytest.raises(ValueError, match=r"^chat\(\): tool_choice='maybe' \(str\) is not "):
            merge_options(explicit={"tool_choice": "maybe"})

    def test_a_bad_option_of_the_call_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"^extra_kwargs: temperature='hot'"):
            merge_options(instance=structure_options({"seed": 1}), call={"temperature": "hot"})


words = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=3)
trees = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
free_form = st.dictionaries(words, trees, max_size=3)
option_dicts = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.none() | st.floats(0, 2) | st.just(NOT_GIVEN),
        "seed": st.integers(0, 9),
        "stop": st.lists(words, max_size=2),
        "metadata": st.dictionaries(words, words, max_size=2),
        "web_search_options": trees,
        "response_format": free_form,
        "extra_headers": st.dictionaries(words.map(str.lower), words, max_size=2),
        "extra_query": st.dictionaries(words, st.lists(words, max_size=2), max_size=2),
        "extra_body": st.dictionaries(words, trees, max_size=2),
        "timeout": st.floats(0.1, 10),
    },
)


def empty_all(value: object) -> None:
    """Remove everything from every container in a value."""
    if isinstance(value, dict):
        for member in value.values():
            empty_all(member)
        value.clear()
    elif isinstance(value, list):
        for item in value:
            empty_all(item)
        value.clear()


@given(option_dicts, option_dicts, option_dicts)
def test_merging_neither_changes_nor_keeps_what_it_is_given(
    instance: dict[str, Any], call: dict[str, Any], explicit: dict[str, Any]
) -> None:
    given_dicts = [instance, call, explicit]
    before = copy.deepcopy(given_dicts)
    structured = structure_options(instance)
    structured_before = copy.deepcopy(structured)

    merged = merge_options(instance=instance, call=call, explicit=explicit)
    assert merge_options(instance=structured, call=call, explicit=explicit) == merged
    assert given_dicts == before
    assert structured == structured_before

    expected = copy.deepcopy(merged)
    again = merge_options(instance=structured, call=call, explicit=explicit)
    for container in (again.body, again.headers, again.query, again.extra_body):
        empty_all(container)
    assert given_dicts == before
    assert structured == structured_before
    for options in given_dicts:
        empty_all(options)
    assert merged == expected


@given(option_dicts, option_dicts)
def test_each_option_comes_from_the_strongest_layer_that_has_it(
    instance: dict[str, Any], call: dict[str, Any]
) -> None:
    layers = [structure_options(call), structure_options(instance)]
    merged = merge_options(instance=instance, call=call)
    for field in ("body", "headers", "query", "extra_body"):
        members = [getattr(layer, field) for layer in layers]
        result = getattr(merged, field)
        assert set(result) == {name for layer in members for name in layer}
        for name, value in result.items():
            assert value == next(layer[name] for layer in members if name in layer)


class TestInferenceClass:
    @pytest.mark.parametrize("value", ["priority", "standard", "low", None])
    def test_known_classes_and_none(self, value: Any) -> None:
        assert check_inference_class(value) == value

    def test_an_unknown_class_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"^inference_class='high' \(str\) is not accepted; "
        ) as e:
            check_inference_class("high")
        assert str(e.value).endswith("it takes 'priority', 'standard', 'low' or None")

    def test_another_type_is_refused_under_the_name_given(self) -> None:
        with pytest.raises(TypeError, match=r"^LLM\(inference_class=5"):
            check_inference_class(5, parameter="LLM(inference_class")


class TestAPIConnectOptions:
    def test_defaults(self) -> None:
        assert APIConnectOptions() == DEFAULT_API_CONNECT_OPTIONS
        assert attrs.asdict(DEFAULT_API_CONNECT_OPTIONS) == {
            "max_retry": 3,
            "retry_interval": 2.0,
            "max_retry_delay": 30.0,
            "timeout": 10.0,
            "first_output_timeout": None,
            "total_timeout": None,
            "reasoning_is_output": False,
        }

    def test_only_retries_may_be_given_by_position(self) -> None:
        # The third argument is `timeout` in LiveKit Agents.
        assert APIConnectOptions(1, 0.5) == APIConnectOptions(max_retry=1, retry_interval=0.5)
        with pytest.raises(TypeError):
            APIConnectOptions(1, 0.5, 5.0)  # type: ignore[misc]

    @pytest.mark.parametrize(
        "options",
        [
            {"max_retry": 0},
            {"retry_interval": 0},
            {"max_retry_delay": 0},
            {"max_retry_delay": math.inf},
            {"timeout": math.inf},
            {"timeout": 5},
            {"first_output_timeout": 0.5},
            {"first_output_timeout": math.inf},
            {"total_timeout": 1},
            {"reasoning_is_output": True},
        ],
        ids=str,
    )
    def test_sensible_values(self, options: dict[str, Any]) -> None:
        ((name, value),) = options.items()
        assert getattr(APIConnectOptions(**options), name) == value

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_retry", -1),
            ("retry_interval", -0.1),
            ("retry_interval", math.inf),
            ("max_retry_delay", -1),
            ("timeout", 0),
            ("timeout", -1),
            ("first_output_timeout", 0),
            ("first_output_timeout", -1.0),
            ("total_timeout", 0),
            ("total_timeout", -math.inf),
            *(
                (name, math.nan)
                for name in (
                    "retry_interval",
                    "max_retry_delay",
                    "timeout",
                    "first_output_timeout",
                    "total_timeout",
                )
            ),
        ],
    )
    def test_senseless_values_are_refused(self, name: str, value: float) -> None:
        with pytest.raises(ValueError, match=rf"^{name}={value!r} is not accepted; it takes a"):
            APIConnectOptions(**{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_retry", 1.0),
            ("max_retry", True),
            ("max_retry", None),
            ("retry_interval", "2"),
            ("retry_interval", True),
            ("max_retry_delay", None),
            ("timeout", None),
            ("timeout", "10"),
            ("first_output_timeout", False),
            ("total_timeout", "1"),
            ("reasoning_is_output", 1),
            ("reasoning_is_output", None),
        ],
    )
    def test_wrong_types_are_refused(self, name: str, value: Any) -> None:
        with pytest.raises(TypeError, match=rf"^{name}={value!r} is not accepted; it takes "):
            APIConnectOptions(**{name: value})

    def test_evolving_checks_again(self) -> None:
        with pytest.raises(ValueError, match=r"^timeout=-1"):
            attrs.evolve(DEFAULT_API_CONNECT_OPTIONS, timeout=-1)

    def test_ten_seconds_that_were_given_are_told_from_the_default(self) -> None:
        said = APIConnectOptions(timeout=10.0)
        assert timeout_or(said, 99.0) == 10.0
        assert said == DEFAULT
        assert hash(said) == hash(DEFAULT)
        assert repr(said) == repr(DEFAULT)

    @pytest.mark.parametrize(
        "options",
        [
            APIConnectOptions(),
            APIConnectOptions(max_retry=0),
            APIConnectOptions(total_timeout=5),
            attrs.evolve(DEFAULT, max_retry=1),
            attrs.evolve(attrs.evolve(DEFAULT, max_retry=1), reasoning_is_output=True),
            copy.deepcopy(DEFAULT),
            pickle.loads(pickle.dumps(DEFAULT)),
        ],
    )
    def test_other_fields_do_not_give_the_timeout(self, options: APIConnectOptions) -> None:
        assert options.timeout == 10.0
        assert timeout_or(options, 99.0) == 99.0
        assert timeout_or(options, None) == 10.0

    def test_evolving_gives_what_it_is_told(self) -> None:
        evolved = attrs.evolve(DEFAULT, timeout=10.0)
        assert timeout_or(attrs.evolve(evolved, max_retry=1), 99.0) == 10.0

    def test_it_is_immutable_and_hashable(self) -> None:
        assert hash(DEFAULT_API_CONNECT_OPTIONS) == hash(APIConnectOptions())
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            DEFAULT_API_CONNECT_OPTIONS.timeout = 1.0  # type: ignore[misc]
