"""The arguments of a call as a model sent them: text in, one JSON object out.

This module alone knows what models do to JSON, and what is repaired. What was cut off is never
repaired: half an instruction is not carried out. It does not know what the arguments should be.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NamedTuple

from .clean import repair_surrogates
from .mismatch import Mismatch, refused
from .text import ObjectScanner, is_cut_off
from .values import is_array, is_object

__all__ = [
    "Arguments",
    "UnreadableArguments",
    "parse_arguments",
    "read_arguments",
    "read_container",
]

_MAX_CHARACTERS: Final = 1_000_000
"""A quarter of a million tokens, more than a model writes in one answer."""

_MAX_VALUES: Final = 10_000
"""They are decoded, checked and converted in one step."""

_MAX_NESTING: Final = 50
"""Each level takes some ten stack frames in the converter, of the thousand that Python has."""

_MAX_NESTING_IN_TEXT: Final = 15
"""These levels come on top of those above them."""

_MAX_LAYERS: Final = 3
"""How often arguments may be JSON in a JSON string."""

_MAX_COMBED_CHARACTERS: Final = 200_000
"""Longest text in which commas are looked for that are one too many."""

_MAX_REPAIRED_CHARACTERS: Final = 8_000
_MAX_REPAIR_WORK: Final = 500_000
"""Characters times marks. The repair may look ahead to the end at each mark, and other tasks wait
for it."""

_MARK: Final = re.compile(r"[^\w\s]")

_TRAILING_COMMA: Final = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)
"""Escapes and strings are matched too, to be stepped over."""


class Arguments(NamedTuple):
    """Decoded arguments."""

    values: dict[str, Any]
    """The object. Its strings can be encoded as UTF-8, its numbers are finite."""

    canonical: str
    """The object as JSON text."""


class UnreadableArguments(NamedTuple):
    """Arguments that are not one JSON object."""

    raw: str
    """What the model wrote."""

    problem: str
    """What is wrong with it, for the model."""


def read_arguments(raw: str) -> Arguments | UnreadableArguments:
    """Decode the arguments of a call as `parse_arguments` does; that they cannot be decoded is a
    result, too.

    Either goes with the call to whoever wants its arguments, so that they are parsed once.

    Args:
        raw: The text.
    """
    try:
        return parse_arguments(raw)
    except Mismatch as error:
        return UnreadableArguments(raw, str(error))


def parse_arguments(raw: str) -> Arguments:
    """Decode the arguments of a call.

    Blank text and null are no arguments. JSON in a JSON string is unwrapped. Text that is closed
    but malformed (fences, comments, single quotes, trailing commas, Python's literals) is
    repaired. A word that means nothing without quotes (``undefined``, ``nil``, ``Paris``) is not.
    A lone surrogate becomes U+FFFD.

    Args:
        raw: The text.

    Returns:
        The arguments.

    Raises:
        Mismatch: If there is no object to be had from it. The message is meant for the model.
    """
    if len(raw) > _MAX_CHARACTERS:
        raise refused(
            f"The arguments are {len(raw)} characters long, and at most {_MAX_CHARACTERS} are read."
        )
    try:
        value = _decode(raw)
        if not _is_nested_too_deeply(value, _MAX_NESTING):
            values = _clean_object(value)
            return Arguments(values, json.dumps(values, ensure_ascii=False))
    except RecursionError:
        pass
    raise _nested_too_deeply()


def _nested_too_deeply() -> Mismatch:
    return refused(f"The arguments are nested too deeply: more than {_MAX_NESTING} levels.")


def read_container(text: str) -> list[Any] | dict[str, Any] | None:
    """Decode an array or object that a model wrote as the text of one.

    Args:
        text: A string among the arguments.

    Returns:
        The array or object; None if the text is not one as JSON has it, or is nested too deeply.
    """
    if not text.lstrip(_BLANKS).startswith(("[", "{")):
        return None
    try:
        _check_values(text)
        value = _loads(text)
        if _is_nested_too_deeply(value, _MAX_NESTING_IN_TEXT):
            return None
        return [*map(_clean, value)] if is_array(value) else _clean_object(value)
    except (Mismatch, json.JSONDecodeError, RecursionError):
        return None


_BLANKS: Final = " \t\r\n"


def _check_values(text: str) -> ObjectScanner | None:
    """Refuse what a decoder would be busy with for too long; the scanner that looked, if any."""
    if len(text) <= 2 * _MAX_VALUES:
        return None
    scanner = ObjectScanner(_MAX_VALUES)
    scanner.feed(text)
    if scanner.deepest > _MAX_NESTING:
        raise _nested_too_deeply()
    if scanner.has_too_many:
        raise refused(f"The arguments hold more than {_MAX_VALUES} values.")
    return scanner


def _decode(raw: str) -> dict[str, object]:
    text = raw.lstrip("\ufeff")
    value: object = None
    for _ in range(_MAX_LAYERS):
        value = _decode_once(text) if text.strip() else None
        if value is None:
            return {}
        if is_object(value):
            return value
        if not isinstance(value, str):
            break
        text = value
    raise refused(f"The arguments must be one JSON object, not {_kind(value)}.")


def _decode_once(text: str) -> object:
    # A string is one value, and a decoder that finds more behind it stops there.
    is_string = text.startswith('"')
    scanned = None if is_string else _check_values(text)
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        if is_cut_off(text, _check_values(text) if is_string else scanned):
            raise refused(
                "The arguments are cut off: the text ends inside of a string, object or array."
            ) from None
        return _repair(text, error)


def _repair(text: str, error: json.JSONDecodeError) -> object:
    """Repair what can be repaired without making anything up."""
    explanation = f"The arguments are not valid JSON ({error})."
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or end <= start:
        raise refused(explanation)
    # Fences and prose stand around the object.
    whole, text = text, text[start:end]
    if len(text) <= _MAX_COMBED_CHARACTERS:
        text = _TRAILING_COMMA.sub(lambda match: match[0] if match[0] != "," else "", text)
    if text != whole:
        try:
            return _loads(text)
        except json.JSONDecodeError as next_error:
            error = next_error
    # One bracket too many.
    if error.msg == "Extra data" and not text[error.pos :].strip(" \t\r\n}]"):
        return _loads(text[: error.pos])
    if len(text) > _MAX_REPAIRED_CHARACTERS:
        raise refused(explanation)
    if len(text) * len(_MARK.findall(text)) > _MAX_REPAIR_WORK:
        raise refused(explanation)
    word = _word_without_quotes(text)
    if word is not None:
        raise refused(
            f"The arguments contain {_cut(word)} without quotes, which is not JSON: put text in "
            "double quotes, and write null where there is no value."
        )
    # Imported here because few programs ever meet such arguments.
    import json_repair

    try:
        # Strict: a missing value is not made up, and of two objects none is chosen.
        repaired: object = json_repair.loads(text, skip_json_loads=True, strict=True)
        return repaired
    except ValueError:
        raise refused(explanation) from None


_MEANS_ONE_THING: Final = re.compile(
    r"(?i:true|false|null|none)|[-+]?((0|[1-9][0-9_]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
)
"""The three names and the numbers of JSON (RFC 8259, sections 3 and 6), and spellings of them that
Python and others have."""

_TOKENS: Final = re.compile(
    r"""
      (?P<string> "(?:[^"\\]|\\.)*+" | '(?:[^'\\]|\\.)*+' | \u201c[^\u201d]*+\u201d )
    | (?P<comment> //[^\n]*+ | \#[^\n]*+ | /\*.*?\*/ )
    | (?P<mark> [{}\[\],:] )
    | (?P<blank> \s++ )
    | (?P<word> [^\s"'\u201c{}\[\],:/\#]++ | . )
    """,
    re.DOTALL | re.VERBOSE,
)


def _word_without_quotes(text: str) -> str | None:
    """Find a word that could only be taken for a string: one in the place of a value that is no
    value of JSON, or one in the place of a name that has no value.

    What follows a string is left to the repair: it may belong to it, as in ``"say "hi" now"``.
    """
    open_brackets: list[str] = []
    before, start, end = "", -1, -1
    for token in _TOKENS.finditer(text):
        kind, piece = token.lastgroup, token[0]
        if kind == "word":
            start, end = token.start() if start < 0 else start, token.end()
        if kind not in ("mark", "string"):
            continue
        if start >= 0:
            word, start = text[start:end], -1
            if before in ("{", ",") and open_brackets[-1:] == ["{"]:
                is_clear = piece == ":"
            else:
                is_value = before in (":", "[", ",")
                is_clear = not is_value or _MEANS_ONE_THING.fullmatch(word) is not None
            if not is_clear:
                return word
        if piece in ("{", "["):
            open_brackets.append(piece)
        elif piece in ("}", "]"):
            del open_brackets[-1:]
        before = piece if kind == "mark" else "string"
    return None


_MAX_QUOTE: Final = 40


def _cut(word: str) -> str:
    return word if len(word) <= _MAX_QUOTE else word[:_MAX_QUOTE] + "..."


def _loads(text: str) -> Any:
    try:
        # Line breaks in strings are common, and plain enough.
        return json.loads(text, strict=False, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise
    except Mismatch:
        raise
    except ValueError:
        raise refused("The arguments contain an integer with too many digits.") from None


def _refuse_constant(name: str) -> None:
    raise refused(f"The arguments contain {name}, which is not a JSON number; use null.")


def _is_nested_too_deeply(value: list[Any] | dict[str, Any], limit: int) -> bool:
    level: list[list[Any] | dict[str, Any]] = [value]
    for _ in range(limit):
        level = [
            member
            for container in level
            for member in (container if isinstance(container, list) else container.values())
            if isinstance(member, dict | list)
        ]
        if not level:
            return False
    return True


def _clean_object(members: dict[str, object]) -> dict[str, Any]:
    return {repair_surrogates(name): _clean(member) for name, member in members.items()}


def _clean(value: object) -> object:
    if isinstance(value, str):
        return repair_surrogates(value)
    if is_object(value):
        return _clean_object(value)
    if is_array(value):
        return [*map(_clean, value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise refused("The arguments contain a number that is out of range.")
    return value


def _kind(value: object) -> str:
    match value:
        case list():
            return "an array"
        case str():
            return "a string"
        case bool():
            return "true or false"
        case _:
            return "a number"
