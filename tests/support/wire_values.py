"""JSON values as a server might send them that has the dialect's words, but not its grammar."""

from __future__ import annotations

from hypothesis import strategies as st

MEMBERS = (
    *("id", "choices", "usage", "error", "type", "object", "delta", "message", "index", "code"),
    *("content", "tool_calls", "function", "name", "arguments", "finish_reason", "service_tier"),
    *("function_call", "reasoning_details", "reasoning", "refusal", "extra_content", "text"),
    *("prompt_tokens", "prompt_tokens_details", "cached_tokens", "total_tokens"),
    *("metadata", "raw", "loc", "msg", "detail"),
)
WORDS = (
    "error",
    "stop",
    "length",
    "thinking",
    "503",
    "0",
    '{"message":"x"}',
    "[",
    "{",
    "{}",
    "<th",
)

wire_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters() | st.sampled_from("\ud83d\ude00"), max_size=5)
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5)
    ),
    max_leaves=20,
)
"""Any JSON value, and lone surrogates, NaN and infinity beside."""
