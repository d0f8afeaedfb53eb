"""What is fuzzed: one function a target, of bytes.

This module alone knows which exceptions each part of the core may raise. A target returns for any
bytes; whatever it raises is a finding: another exception, two readings of the same bytes that
differ, or work that is not in proportion.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import itertools
import json
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypedDict

import annotated_types
import attrs
import h11
import httpx

from lktrio import ChatContext, ToolError, function_tool
from lktrio._answers.chunks import CollectedResponse
from lktrio._answers.errors import (
    APIConnectionError,
    APIError,
    APIRefusalError,
    APIResponseFormatError,
)
from lktrio._answers.redaction import redact_error, redact_text
from lktrio._http.message import ResponseReader
from lktrio._json.arguments import Arguments, parse_arguments
from lktrio._json.mismatch import Mismatch
from lktrio._json.partial import MISSING, PartialJSON
from lktrio._json.text import (
    MAX_DEPTH,
    MAX_WALKED_VALUES,
    JSONMeter,
    ObjectScanner,
    canonical_or_none,
    is_cut_off,
    leading_objects,
    loads,
)
from lktrio._schemas.response_format import AnswerShape, PartialValue
from lktrio._wire.decoding import Done, at_once, decode_body, decode_event, decode_event_in_steps
from lktrio._wire.headers import HeaderFacts, read_headers
from lktrio._wire.payloads import CallPayload, ChunkPayload, FunctionPayload
from lktrio._wire.server_errors import payload_error, status_error
from lktrio._wire.sse import MAX_EVENT_BYTES, Event, EventReader
from lktrio._wire.thinking import SurrogateJoiner, ThinkingFilter
from lktrio._wire.tool_calls import ToolCallAssembler
from tests.support import recorded
from tests.support.answers import check_outcome, cut, one_by_one, read

__all__ = ["TARGETS", "Target"]


@attrs.frozen
class Target:
    """One thing to fuzz."""

    run: Callable[[bytes], None]
    """Returns for any bytes."""

    seeds: tuple[bytes, ...]
    """Inputs to begin with."""


class _Dice:
    """Choices that the input itself makes: its first bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pick(self, options: int) -> int:
        """A number below ``options``; 0 once the input has run out."""
        first, self._data = self._data[:1], self._data[1:]
        return first[0] % options if first else 0

    def places(self) -> list[int]:
        """Where to cut."""
        return [self.pick(256) * 256 + self.pick(256) for _ in range(self.pick(5))]

    def rest(self) -> bytes:
        """What is left of the input."""
        return self._data


_PLAIN: Final = b"\0\0"
"""Choices before a seed: the first option each time."""

# --- HTTP ----------------------------------------------------------------------------------------

# What h11 refuses of a chunk's first line, although RFC 9112, section 7.1.1, allows it: a blank before
# an extension, and more than twenty digits.
_REFUSED_BY_H11: Final = re.compile(rb"\n(?:[0-9A-Fa-f]+[ \t]+;|[0-9A-Fa-f]{21})")
_METHODS: Final = (b"GET", b"HEAD", b"CONNECT")


@attrs.frozen
class HTTPReading:
    """What a reader made of the bytes of a connection that carried one request."""

    status: int
    body: bytes
    is_reusable: bool
    """Whether another request could go over the connection."""


def http_response(data: bytes) -> None:
    dice = _Dice(data)
    method = _METHODS[dice.pick(3)]
    places = dice.places()
    sent = dice.rest()
    ours = read_by_us(method, [sent])
    assert read_by_us(method, cut(sent, places)) == ours
    assert read_by_us(method, [*one_by_one(sent[:4096]), sent[4096:]]) == ours
    theirs = read_by_h11(method, sent)
    if ours is None:
        return
    if theirs is not None:
        assert (ours.status, ours.body) == (theirs.status, theirs.body)
    # What somebody else reads otherwise, or with something behind it, is never kept.
    assert not ours.is_reusable or theirs == ours or _REFUSED_BY_H11.search(sent)


def read_by_us(method: bytes, pieces: list[bytes]) -> HTTPReading | None:
    """The response as our reader has it; None if it is refused or cut off."""
    reader = ResponseReader(method)
    body = bytearray()
    is_reusable = False
    try:
        for piece in pieces:
            if piece:
                body += reader.feed(piece)
        # Before the end: a connection that has ended carries nothing.
        is_reusable = reader.is_over and reader.is_reusable
        reader.feed_end()
    except httpx.RemoteProtocolError:
        assert not reader.is_reusable
        return None
    assert not (method == b"HEAD" and body)
    return HTTPReading(reader.status_code, bytes(body), is_reusable)


def read_by_h11(method: bytes, sent: bytes) -> HTTPReading | None:
    """The response as h11 has it; None if it is refused or cut off."""
    connection = h11.Connection(h11.CLIENT)
    host = ("Host", "gateway.test")
    connection.send(h11.Request(method=method, target="gateway.test:80", headers=[host]))
    connection.send(h11.EndOfMessage())
    status, body = 0, bytearray()
    keeps_alive = False
    try:
        # An empty line before a response is passed over by us alone.
        connection.receive_data(sent.lstrip(b"\r\n"))
        at_end = False
        while connection.their_state not in {h11.DONE, h11.MIGHT_SWITCH_PROTOCOL, h11.CLOSED}:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
                # Of HTTP/1.0 h11 keeps none, asked or not.
                keeps_alive = event.http_version == b"1.0"
            elif isinstance(event, h11.Data):
                body += event.data
            elif event is h11.PAUSED or isinstance(event, h11.EndOfMessage):
                break
            elif event is h11.NEED_DATA:
                if at_end:
                    return None
                at_end = True
                connection.receive_data(b"")
        keeps_alive = not at_end and (keeps_alive or connection.our_state is h11.DONE)
    except h11.RemoteProtocolError:
        return None
    rest = connection.trailing_data[0].strip(b"\r\n")
    return HTTPReading(status, bytes(body), keeps_alive and not rest)


# --- The event stream ----------------------------------------------------------------------------


def events(data: bytes) -> None:
    dice = _Dice(data)
    limit = (MAX_EVENT_BYTES, 30, 200)[dice.pick(3)]
    places = dice.places()
    body = dice.rest()
    outcomes: list[tuple[list[Event], bool, bool]] = []
    for pieces in ([body], cut(body, places), [*one_by_one(body[:4096]), body[4096:]]):
        reader = EventReader(limit)
        found = [event for piece in pieces for event in reader.feed(piece)]
        found += reader.finish()
        outcomes.append((found, reader.seen, reader.too_large))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert sum(len(event.data) for event in outcomes[0][0]) <= len(body)


_TAGS: Final = ((("<think>", "</think>"),), (), (("<think>", "</think>"), ("◁think▷", "◁/think▷")))


def answer(data: bytes) -> None:
    dice = _Dice(data)
    limit = (MAX_EVENT_BYTES, 200)[dice.pick(2)]
    style = dice.pick(12)
    settings: dict[str, Any] = {
        "tags": _TAGS[style % 3],
        "starts_in_thinking": bool(style & 1),
        "early_calls": bool(style & 2),
        "limit": limit,
    }
    places = dice.places()
    body = dice.rest()
    outcome = read(body, **settings)
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        # Step by step, as what is large is read, it comes to the same.
        assert read(body, at_once=8, **settings) == outcome
    assert read(*cut(body, places), **settings) == outcome
    assert read(*one_by_one(body[:4096]), body[4096:], **settings) == outcome
    check_outcome(outcome)


def payload(data: bytes) -> None:
    dice = _Dice(data)
    name = (b"", b"error", b"ping", b"x")[dice.pick(4)]
    body = dice.rest()
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        assert _said(lambda: decode_event(body, name)) == _said(
            lambda: at_once(decode_event_in_steps(body, name))
        )
    with contextlib.suppress(APIConnectionError):
        decoded = decode_event(body, name)
        if isinstance(decoded, ChunkPayload):
            error = payload_error(decoded, body, name)
            if error is not None:
                check_error(error)
        else:
            assert decoded in (None, Done.DONE)
    try:
        decode_body(body)
    except APIError as error:
        check_error(error)


def _said(decode: Callable[[], object]) -> object:
    """What is decoded, or why nothing is."""
    try:
        return decode()
    except APIConnectionError as error:
        return error.message


def status(data: bytes) -> None:
    dice = _Dice(data)
    code = 400 + dice.pick(200)
    check_error(status_error(code, dice.rest(), HeaderFacts()))


def check_error(error: APIError) -> None:
    """An error can be shown and sent elsewhere, also without what is secret."""
    assert error.message
    for _ in range(2):
        str(error).encode()
        json.dumps(error.body, ensure_ascii=False).encode()
        redact_error(error, ["secret", "e", "\ud800"])


_SECRETS: Final = ("sk-0123456789", "Bearer sk-0123456789", "aaaaaaaaaa", "abababababab")


def redaction(data: bytes) -> None:
    dice = _Dice(data)
    secret = _SECRETS[dice.pick(len(_SECRETS))]
    length = dice.pick(256)
    text = dice.rest().decode("utf-8", "replace").replace("!", secret).replace("?", secret[:9])
    redacted = redact_text(text, [secret])
    assert secret not in redacted
    if secret[:8] not in text:
        assert redacted == text
    # Cut somewhere, with an ellipsis or without.
    for end in ("", "...", "...'"):
        shown = redact_text(text[:length] + end, [secret])
        assert not any(
            shown.removesuffix(end).endswith(secret[:size]) for size in range(8, len(secret) + 1)
        )


def headers(data: bytes) -> None:
    lines = data.decode("latin-1").split("\n")
    pairs = [line.partition(":") for line in lines]
    facts = read_headers({name.strip().lower(): value.strip() for name, _, value in pairs}, 1e9)
    for seconds in (facts.retry_after, facts.reset_hint, facts.exhausted_for):
        assert seconds is None or 0 <= seconds < float("inf")


# --- Calls and text ------------------------------------------------------------------------------

_NAMES: Final = (None, "", "now", "get_", "weather", "get_weather", "other")
_IDS: Final = (None, "", "a", "b", "c")
_FRAGMENTS: Final = (
    *(None, "", "{}", "{", "}", '{"a":', '"x"', "1}", '{"a":1}', '{"b": 2}', "[", "]", '"', "\\"),
    *("{'a': 1}", " ", "null", "\ud83d", "\ude00"),
)


def tool_calls(data: bytes) -> None:
    dice = _Dice(data)
    withholds_excess = bool(dice.pick(2))
    numbers = iter(range(10**9))
    calls = ToolCallAssembler(("now", "get_weather"), lambda: f"made-{next(numbers)}")
    handed_out: list[Any] = []
    kept = 0
    with contextlib.suppress(APIConnectionError):
        while dice.rest():
            index = (None, 0, 1, 2, -1)[dice.pick(5)]
            fragment = _FRAGMENTS[dice.pick(len(_FRAGMENTS))]
            function = FunctionPayload(_NAMES[dice.pick(len(_NAMES))], fragment)
            kept += len(fragment or "")
            extra = ({"k": {"v": dice.pick(4)}}, None, None, None)[dice.pick(4)]
            calls.add(CallPayload(index, _IDS[dice.pick(len(_IDS))], function, extra))
            if dice.pick(8) == 1:
                handed_out += calls.take_ready(text_follows=bool(dice.pick(2)), tainted=True)
    with contextlib.suppress(APIConnectionError):
        whole, withheld = calls.result(
            cut=bool(dice.pick(2)), tainted=True, withholds_excess=withholds_excess
        )
        ids = [call.call_id for call in (*whole, *withheld)]
        assert len(set(ids)) == len(ids)
        assert all(call in whole for call in handed_out)
        assert sum(len(call.arguments) for call in (*whole, *withheld)) <= kept + 2 * len(ids)
        "".join(call.arguments for call in (*whole, *withheld)).encode()


def _with_surrogates(data: bytes) -> str:
    """Text in which two control characters stand for halves of a character."""
    return data.decode("utf-8", "replace").translate({1: 0xD83D, 2: 0xDE00})


def thinking(data: bytes) -> None:
    dice = _Dice(data)
    tags = _TAGS[dice.pick(3)]
    inside = bool(dice.pick(2))
    places = dice.places()
    text = _with_surrogates(dice.rest())
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    pieces = [text[start:stop] for start, stop in itertools.pairwise(edges)]
    results: list[tuple[str, str, str]] = []
    for each in ([text], pieces, list(text)):
        reader, joiner = ThinkingFilter(tags, starts_inside=inside), SurrogateJoiner()
        parts = [*map(reader.feed, each), reader.flush()]
        shown, thought = ("".join(part) for part in zip(*parts, strict=True))
        results.append((shown, thought, "".join(map(joiner.feed, each)) + joiner.flush()))
    assert results[0] == results[1] == results[2]
    assert len(results[0][0]) + len(results[0][1]) <= len(text)


def json_text(data: bytes) -> None:
    dice = _Dice(data)
    places = dice.places()
    text = dice.rest().decode("utf-8", "replace")
    whole, pieces, partial = ObjectScanner(), ObjectScanner(), PartialJSON()
    whole.feed(text)
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    for start, stop in itertools.pairwise(edges):
        pieces.feed(text[start:stop])
        partial.feed(text[start:stop])
        partial.value()
    assert (whole.objects, whole.is_open) == (pieces.objects, pieces.is_open)
    objects, rest = leading_objects(text, 5)
    assert len("".join(objects)) + len(rest) <= len(text)
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        assert canonical_or_none(text) is None
        return
    assert not is_cut_off(text)
    partial.feed(" ")
    if whole.deepest > MAX_DEPTH or whole.values > MAX_WALKED_VALUES:
        return
    # Constants that are no JSON, and lone halves of characters, are read by one of the two only.
    with contextlib.suppress(ValueError, RecursionError):
        if json.loads(json.dumps(value, allow_nan=False)) == value and "\\u" not in text:
            assert partial.value() in (value, MISSING)


def meter(data: bytes) -> None:
    dice = _Dice(data)
    places = dice.places()
    text = dice.rest()
    whole, pieces = JSONMeter(), JSONMeter()
    whole.feed(text)
    for piece in cut(text, places):
        pieces.feed(piece)
    assert (whole.values, whole.excess) == (pieces.values, pieces.excess)
    assert whole.values <= len(text) + 1
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError):
        return
    values, depth = _measured(value)
    assert values <= whole.values <= 2 * values
    assert (whole.excess is None) == (depth <= MAX_DEPTH)


def _measured(value: object) -> tuple[int, int]:
    """How many values there are in one, and how deep."""
    values, depth, level = 0, 0, [value]
    while level:
        values += len(level)
        containers = [one for one in level if isinstance(one, dict | list)]
        depth += bool(containers)
        level = [
            member
            for one in containers
            for member in (one.values() if isinstance(one, dict) else one)
        ]
    return values, depth


# --- What callers and models give ----------------------------------------------------------------


def context(data: bytes) -> None:
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    try:
        chat_ctx = ChatContext.from_dict(value)
    except (ValueError, TypeError):
        return
    saved = chat_ctx.to_dict()
    assert ChatContext.from_dict(saved).to_dict() == saved
    chat_ctx.copy().truncate(max_items=2)
    try:
        messages, _ = chat_ctx.to_provider_format()
    except (ValueError, TypeError):
        return
    json.dumps(messages)


def messages(data: bytes) -> None:
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    try:
        chat_ctx = ChatContext.from_openai(value)
    except (ValueError, TypeError):
        return
    try:
        written = chat_ctx.to_openai()
    except ValueError:
        return  # half a surrogate pair, which is no text
    assert ChatContext.from_openai(json.loads(json.dumps(written))).items or not written
    saved = chat_ctx.to_dict(exclude_image=False, exclude_audio=False, exclude_file=False)
    assert ChatContext.from_dict(saved).to_openai() == written


class Color(enum.Enum):
    RED = "red"
    ONE = 1


class Filters(TypedDict, total=False):
    limit: int
    color: Color


class Pair(NamedTuple):
    left: int
    right: str = "r"


@attrs.frozen
class Place:
    x: float
    tags: list[str] = attrs.field(factory=list)


@dataclasses.dataclass
class Node:
    value: int
    children: list[Node] = dataclasses.field(default_factory=list)


@function_tool
def plain(a: int, b: str = "b", c: bool | None = None, d: float | list[int] = 0.5) -> None:
    """Take plain values."""


@function_tool
def typed(
    node: Node,
    *,
    place: Place | None = None,
    pair: Pair | None = None,
    filters: Filters | None = None,
    mode: Literal["a", 1] | None = None,
    few: Annotated[list[int], annotated_types.MaxLen(3)] | None = None,
    by_name: Mapping[str, Color] | None = None,
) -> None:
    """Take values of classes."""


@function_tool
def special(
    *,
    when: datetime.datetime | None = None,
    day: datetime.date | None = None,
    at: datetime.time | None = None,
    span: datetime.timedelta | None = None,
    key: uuid.UUID | None = None,
    price: decimal.Decimal | None = None,
    data: bytes | None = None,
    path: Path | None = None,
    numbers: set[int] | frozenset[str] | tuple[int, str] | None = None,
    anything: Any = None,
) -> None:
    """Take values that are strings in JSON."""


def arguments(data: bytes) -> None:
    text = _with_surrogates(data)
    parsed: Arguments | None = None
    with contextlib.suppress(Mismatch):
        parsed = parse_arguments(text)
    if parsed is not None:
        assert json.loads(parsed.canonical) == parsed.values
        parsed.canonical.encode()
    for tool in (plain, typed, special):
        with contextlib.suppress(ToolError):
            tool.decode_arguments(text).bind()


SHAPES: Final = tuple(map(AnswerShape, (Node, Place, list[Pair], Color | int)))


def response_format(data: bytes) -> None:
    dice = _Dice(data)
    shape = SHAPES[dice.pick(len(SHAPES))]
    reason = (None, "length")[dice.pick(2)]
    text = dice.rest().decode("utf-8", "replace")
    partial = PartialValue(shape)
    for start in range(0, len(text), 3):
        partial.feed(text[start : start + 3])
    partial.look()
    try:
        shape.parse(CollectedResponse(text=text, refusal="", finish_reason=reason))
    except (APIResponseFormatError, APIRefusalError) as error:
        str(error).encode()


# --- All of them ---------------------------------------------------------------------------------

_DATA_FILES: Final = Path(__file__).parent.parent / "data"
_LARGE: Final = 20_000


def _bodies() -> tuple[bytes, ...]:
    bodies = (case.body for case in (*recorded.quirks(), *recorded.transcripts()))
    return tuple(body for body in bodies if len(body) < _LARGE)


def _data_of(bodies: tuple[bytes, ...]) -> tuple[bytes, ...]:
    lines = {
        line[5:].strip() for body in bodies for line in body.splitlines() if line[:5] == b"data:"
    }
    return tuple(sorted(lines | {body for body in bodies if body[:1] in (b"{", b"[")}))


_BODIES: Final = _bodies()
_DATA: Final = _data_of(_BODIES)
_ARGUMENTS: Final = tuple(
    case["raw"].encode()
    for case in json.loads((_DATA_FILES / "vectors" / "arguments.json").read_text("utf-8"))
)
_HEADERS: Final = (
    b"x-request-id: r\nretry-after: 7\nretry-after-ms: 1500\nx-should-retry: true",
    b"retry-after: Wed, 21 Oct 2026 07:28:00 GMT\ndate: Wed, 21 Oct 2026 07:27:00 GMT",
    b"x-ratelimit-reset-tokens: 6m0s\nx-ratelimit-remaining-tokens: 0\nx-ratelimit-reset: 1m30.951s",
    b"x-livekit-inference-rpm-limit: 60\nx-livekit-inference-rpm-used: 1.5",
)
_CONTEXTS: Final = tuple(
    json.dumps(saved).encode()
    for path in sorted((_DATA_FILES / "livekit_agents").glob("*.json"))
    for saved in json.loads(path.read_text("utf-8")).values()
    if isinstance(saved, dict) and "items" in saved
)
_MESSAGES: Final = (
    b"""[{"role":"system","content":[{"type":"text","text":"R","cache_control":{}}]},
    {"role":"user","name":"a","content":[{"type":"image_url","image_url":{"url":"u","detail":"low"}},
    {"type":"file","file":{"file_id":"f"}},{"type":"input_audio","input_audio":{"data":""}}]}]""",
    b"""[{"role":"assistant","content":null,"refusal":"No","reasoning":"r","tool_calls":[
    {"id":"1","type":"function","function":{"name":"f","arguments":"{}","x":1}},
    {"id":"2","type":"custom","custom":{"name":"g","input":"i"},"extra_content":{"google":{}}}]},
    {"role":"tool","tool_call_id":"2","content":"o","name":"g"},{"role":"tool","tool_call_id":"1"}]""",
    b"""[{"role":"assistant","id":"m/1","audio":{"id":"a"},
    "function_call":{"name":"f","arguments":""}},{"role":"function","name":"f","content":null}]""",
)
_TEXTS: Final = ("<think>a</think>b", "a < b </th", "◁think▷é◁/think▷😀", "</think>x<think>")


def _after(choices: bytes, seeds: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(choices + seed for seed in seeds)


_OK: Final = b"HTTP/1.1 200 OK\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_RESPONSES: Final = (
    _OK + b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    _OK + b"Content-Length: 5\r\n\r\nhello\r\n",
    _OK + b"Content-Length: 2\r\n\r\nhi" + _OK + b"Content-Length: 2\r\n\r\nno",
    _OK + b"Content-Length: 9\r\n\r\nhello",
    _OK + b"Connection: close\r\n\r\nhello",
    _OK + b"Content-Length : 9\r\n\r\nhello",
    _OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    _CHUNKED + b'5;a=b;c="d"\r\nhello\r\n000\r\nX: y\r\n\r\n',
    _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + _OK,
    _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.0 200\r\n\r\nhi",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    b"HTTP/1.1 204 No Content\r\n\r\n" + _OK,
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    + _OK
    + b"Content-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nxyz",
    b"\r\n" + _OK + b"Content-Length: 0\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
)


TARGETS: Final[Mapping[str, Target]] = {
    "http_response": Target(
        http_response, _after(_PLAIN, _RESPONSES) + _after(b"\1\0", _RESPONSES)
    ),
    "events": Target(events, _after(_PLAIN, _BODIES)),
    "answer": Target(answer, _after(_PLAIN + b"\0", _BODIES)),
    "payload": Target(payload, _after(b"\0", _DATA)),
    "status": Target(status, _after(b"\0", _DATA)),
    "headers": Target(headers, _HEADERS),
    "redaction": Target(redaction, (b"\0\x0aa bad key !", b"\1\x14!... ?...", b"\2\5aaaaaaaaa!a?")),
    "tool_calls": Target(tool_calls, (bytes(range(256)), bytes(range(0, 256, 7)) * 3)),
    "thinking": Target(thinking, tuple(_PLAIN + b"\0" + text.encode() for text in _TEXTS)),
    "meter": Target(meter, _after(b"\0", _DATA + _ARGUMENTS)),
    "json_text": Target(json_text, _after(b"\0", _DATA + _ARGUMENTS)),
    "context": Target(context, _CONTEXTS),
    "messages": Target(messages, _MESSAGES),
    "arguments": Target(arguments, _ARGUMENTS),
    "response_format": Target(response_format, _after(_PLAIN, _ARGUMENTS + _DATA)),
}
"""Every target, by name."""
