"""New inputs from old ones: bytes flipped, spliced and cut, and JSON with other values in it.

This module knows the grammar of what is mutated, an event stream or a JSON text, so that most
inputs get past the first bracket. The same dice make the same inputs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["mutate"]

_VALUES: Final[Sequence[Any]] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1e308,
        10**30,
        "",
        "0",
        "503",
        "null",
        "error",
        "stop",
        "length",
    ),
    *([], {}, [[]], {"": None}, [None], "{", "{}", '{"a":1}', "\ud83d", "\ude00", "é😀", "\x00"),
    *("<think>", "</think>", "<th", "call_a", "get_weather", "x" * 300, float("nan"), float("inf")),
    *({"message": "m", "code": 429}, [{"type": "text", "text": "t"}], {"type": "text", "text": {}}),
)
_MEMBERS: Final = (
    *("id", "choices", "usage", "error", "type", "object", "delta", "message", "index", "code"),
    *("content", "tool_calls", "function", "name", "arguments", "finish_reason", "function_call"),
    *("reasoning_details", "reasoning", "reasoning_content", "refusal", "extra_content", "text"),
    *(
        "x_groq",
        "service_tier",
        "prompt_tokens",
        "prompt_tokens_details",
        "role",
        "items",
        "call_id",
    ),
)
_PIECES: Final = (
    *(b"", b"\n", b"\r", b"\r\n", b"\n\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"'"),
    *(
        b"data: ",
        b"data:",
        b"event: error\n",
        b"data: [DONE]\n\n",
        b": x\n",
        b"\xef\xbb\xbf",
        b"\xff",
    ),
    *(b"null", b"NaN", b"1e999", b"-", b"\\ud83d", b"\\u00", b"\x00", b" ", b"\t", b"\xe2\x80\xa8"),
)


def mutate(seeds: Sequence[bytes], dice: random.Random) -> bytes:
    """Make an input.

    Args:
        seeds: What to begin with.
        dice: Where the choices come from.
    """
    data = dice.choice(seeds)
    for _ in range(dice.randrange(1, 5)):
        data = dice.choice(_WAYS)(data, seeds, dice)
    return data[:65_536]


def _bytes(data: bytes, seeds: Sequence[bytes], dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    stop = min(len(data), start + dice.choice((0, 1, 1, 2, 8, 40)))
    piece = dice.choice((*_PIECES, dice.randbytes(2), data[start:stop] * dice.choice((2, 3, 50))))
    return data[:start] + piece + data[stop:]


def _splice(data: bytes, seeds: Sequence[bytes], dice: random.Random) -> bytes:
    other = dice.choice(seeds)
    start = dice.randrange(len(other) + 1)
    place = dice.randrange(len(data) + 1)
    return data[:place] + other[start : start + dice.randrange(1, 400)] + data[place:]


def _truncate(data: bytes, seeds: Sequence[bytes], dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _lines(data: bytes, seeds: Sequence[bytes], dice: random.Random) -> bytes:
    """Drop, repeat or move a line, or an event."""
    end = dice.choice((b"\n", b"\n\n"))
    parts = data.split(end)
    place = dice.randrange(len(parts))
    part = parts.pop(place)
    for _ in range(dice.choice((0, 1, 2, 20))):
        parts.insert(dice.choice((place, dice.randrange(len(parts) + 1))), part)
    return end.join(parts)


def _json(data: bytes, seeds: Sequence[bytes], dice: random.Random) -> bytes:
    """Change a value in a JSON text, or in one line that holds one."""
    lines = data.split(b"\n")
    places = [place for place, line in enumerate(lines) if b"{" in line or b"[" in line]
    if not places:
        return data
    place = dice.choice(places)
    start = min(at for at in map(lines[place].find, (b"{", b"[")) if at >= 0)
    try:
        value = json.loads(lines[place][start:])
    except (ValueError, RecursionError):
        return data
    for _ in range(dice.choice((1, 1, 2, 4))):
        value = _changed(value, dice)
    text = json.dumps(value, ensure_ascii=dice.random() < 0.7)
    lines[place] = lines[place][:start] + text.encode("utf-8", "replace")
    return b"\n".join(lines)


def _changed(value: Any, dice: random.Random) -> Any:
    if not value or not isinstance(value, dict | list) or dice.random() < 0.1:
        return _other(value, dice)
    copy: Any = value.copy()
    key = dice.choice(list(copy)) if isinstance(copy, dict) else dice.randrange(len(copy))
    match dice.randrange(8):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, list):
            copy.insert(dice.randrange(len(copy) + 1), copy[key])
        case 1:
            copy[dice.choice(_MEMBERS)] = copy[key]
        case 2 if isinstance(copy, dict):
            copy[dice.choice(_MEMBERS)] = dice.choice(_VALUES)
        case 2:
            dice.shuffle(copy)
        case _:
            copy[key] = _changed(copy[key], dice)
    return copy


def _other(value: Any, dice: random.Random) -> Any:
    match dice.randrange(6):
        case 0:
            return json.dumps(value)
        case 1:
            return [value]
        case 2:
            return {dice.choice(_MEMBERS): value}
        case 3:
            nested = value
            for _ in range(dice.choice((3, 70, 300))):
                nested = [nested] if dice.random() < 0.5 else {dice.choice(_MEMBERS): nested}
            return nested
        case _:
            return dice.choice(_VALUES)


_WAYS: Final = (_bytes, _splice, _truncate, _lines, _json, _json, _json)
