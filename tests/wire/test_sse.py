"""The grammar of an event stream: which bytes make which events, however they are cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._wire.sse import MAX_EVENT_BYTES, MAX_JUNK_BYTES, Event, EventReader

BOM = b"\xef\xbb\xbf"


def read(*pieces: bytes, limit: int = MAX_EVENT_BYTES) -> list[Event]:
    return drain(EventReader(limit), pieces)


def drain(reader: EventReader, pieces: Iterable[bytes]) -> list[Event]:
    events: list[Event] = []
    for piece in pieces:
        events += reader.feed(piece)
    return events + reader.finish()


def data_of(*pieces: bytes) -> list[bytes]:
    return [event.data for event in read(*pieces)]


def one_by_one(body: bytes) -> list[bytes]:
    return [body[place : place + 1] for place in range(len(body))]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(edges)]


# --- Lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_kind_of_line_end_ends_a_line(end: bytes) -> None:
    body = b"event: x" + end + b"data: 1" + end + end + b"data: 2" + end + end
    expected = [Event(b"1", b"x"), Event(b"2", b"")]
    assert read(body) == expected
    assert read(*one_by_one(body)) == expected


def test_an_lf_after_a_cr_is_skipped_when_it_comes_with_the_next_read() -> None:
    reader = EventReader()
    assert reader.feed(b"data: 1\r") == []
    assert reader.feed(b"") == []
    assert reader.feed(b"\n\r") == [Event(b"1", b"")]
    assert reader.feed(b"\ndata: 2\r") == []
    assert reader.feed(b"\r") == [Event(b"2", b"")]


def test_only_one_lf_is_skipped_after_a_cr() -> None:
    assert read(b"data: 1\r", b"\n\n") == [Event(b"1", b"")]
    reader = EventReader()
    reader.feed(b"data: 1\r")
    assert reader.feed(b"\n\n") == [Event(b"1", b"")]
    reader.feed(b"data: 2\r")
    assert reader.feed(b"\n") == []
    assert reader.feed(b"\n") == [Event(b"2", b"")]
    reader.feed(b"data: 3\r")
    reader.feed(b"data: 4")
    assert reader.feed(b"\n") == []
    assert reader.feed(b"\n") == [Event(b"3\n4", b"")]


def test_a_lone_cr_at_a_cut_ends_the_line_at_once() -> None:
    reader = EventReader()
    assert reader.feed(b"data: 1\r\r") == [Event(b"1", b"")]
    assert reader.feed(b"data: 2\r\r") == [Event(b"2", b"")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_what_ends_lines_elsewhere_does_not_here(character: str) -> None:
    text = f'{{"a":"x{character}y"}}'.encode()
    assert data_of(b"data: " + text + b"\n\n") == [text]


def test_a_character_cut_over_reads_arrives_whole() -> None:
    body = "data: é😀\n\n".encode()
    assert data_of(*one_by_one(body)) == ["é😀".encode()]


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2], [3], [1, 2, 3]])
def test_one_byte_order_mark_is_stripped_wherever_it_is_cut(cuts: list[int]) -> None:
    assert data_of(*cut(BOM + b"data: 1\n\n", cuts)) == [b"1"]


def test_only_one_byte_order_mark_is_stripped_and_only_at_the_start() -> None:
    assert data_of(BOM + BOM + b"data: 1\n\n") == []
    assert data_of(b"data: " + BOM + b"1\n\n" + BOM + b"data: 2\n\n") == [BOM + b"1"]


def test_bytes_that_only_begin_like_a_byte_order_mark_are_a_line() -> None:
    reader = EventReader()
    assert drain(reader, [b"\xef", b"\xbb", b":\n\n"]) == []
    assert reader.junk_bytes == 4
    reader = EventReader()
    assert drain(reader, [b"\xef\xbb"]) == []
    assert reader.junk_bytes == 3


# --- Fields --------------------------------------------------------------------------------------


def test_lines_that_start_with_a_colon_are_comments() -> None:
    assert read(b": ping\n:\n:data: x\n\n") == []


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (b"data: x", b"x"),
        (b"data:x", b"x"),
        (b"data:  x ", b" x "),
        (b"data:", b""),
        (b"data: ", b""),
        (b"data", b""),
        (b"data: : x", b": x"),
        (b"data:\tx", b"\tx"),
    ],
)
def test_the_value_is_what_follows_the_first_colon_minus_one_space(
    line: bytes, data: bytes
) -> None:
    assert data_of(line + b"\n\n") == [data]


@pytest.mark.parametrize("line", [b"id: 7", b"retry: 100", b"Data: x", b" data: x", b"dat: x"])
def test_other_fields_do_not_matter(line: bytes) -> None:
    assert read(line + b"\n\n") == []
    assert data_of(b"data: 1\n" + line + b"\n\n") == [b"1"]


def test_an_object_in_a_field_named_error_is_an_event_of_that_name() -> None:
    for name in (b"error:", b"error: "):
        assert read(name + b'{"code": 500}\n\ndata: x\n\n') == [
            (b'{"code": 500}', b"error"),
            (b"x", b""),
        ]
    for line in (b"error: x", b"error", b"Error: {}", b"errors: {}"):
        assert read(line + b"\ndata: x\n\n") == [(b"x", b"")]


def test_the_name_of_an_event_is_its_last_event_field() -> None:
    assert read(b"event: a\nevent:b\ndata: 1\n\n") == [Event(b"1", b"b")]
    assert read(b"data: 1\nevent: b\n\n") == [Event(b"1", b"b")]


def test_a_name_ends_with_its_event() -> None:
    assert read(b"event: a\ndata: 1\n\ndata: 2\n\n") == [Event(b"1", b"a"), Event(b"2", b"")]


def test_a_name_without_data_is_dropped_at_the_blank_line() -> None:
    assert read(b"event: a\n\ndata: 1\n\n") == [Event(b"1", b"")]


# --- Dispatch ------------------------------------------------------------------------------------


def test_several_data_lines_are_joined_with_lf() -> None:
    assert data_of(b"data: 1\ndata:\ndata:  3\n: x\ndata: 4\n\n") == [b"1\n\n 3\n4"]
    assert data_of(b"data: 1\ndata: 2\n\ndata: 3\ndata: 4\n\ndata: 5\n\n") == [
        b"1\n2",
        b"3\n4",
        b"5",
    ]


def test_a_blank_line_without_data_dispatches_nothing() -> None:
    assert read(b"\n\n\n: x\n\nid: 1\n\n") == []


def test_an_event_is_returned_by_the_read_that_completes_it() -> None:
    reader = EventReader()
    assert reader.feed(b"data: 1\n") == []
    assert reader.feed(b"\ndata: 2\n\nda") == [Event(b"1", b""), Event(b"2", b"")]
    assert reader.feed(b"ta: 3\n\n") == [Event(b"3", b"")]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_at_the_end_of_the_body_the_open_line_and_event_are_dispatched(end: bytes) -> None:
    reader = EventReader()
    assert reader.feed(b"event: x\ndata: 1\ndata: 2" + end) == []
    assert reader.finish() == [Event(b"1\n2", b"x")]
    assert reader.finish() == []


def test_at_the_end_of_the_body_a_name_alone_is_nothing() -> None:
    assert read(b"data: 1\n\nevent: x\n") == [Event(b"1", b"")]


# --- What was seen -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"data: 1", b"data", b": ping", b":", b"event: x", b"id: 1", b"retry: 5"]
)
def test_a_line_of_the_grammar_is_seen(line: bytes) -> None:
    reader = EventReader()
    drain(reader, [line])
    assert reader.seen
    assert reader.junk_bytes == 0


def test_other_lines_are_counted() -> None:
    reader = EventReader()
    drain(reader, [b"hello\n", b"\n", b"you: there\n"])
    assert not reader.seen
    assert reader.junk_bytes == len(b"hello\nyou: there\n")
    assert reader.stray == b""


def test_the_last_line_that_looks_like_an_object_is_kept() -> None:
    reader = EventReader()
    drain(reader, [b'data: 1\n\n{"a": 1}\n', b' {"b": 2}\n', b"text\n"])
    assert reader.stray == b' {"b": 2}'


# --- Limits --------------------------------------------------------------------------------------

LIMIT = 20
LARGEST = b"data: " + b"x" * (LIMIT - 1) + b"\n\n"
TOO_LARGE = b"data: " + b"x" * LIMIT + b"\n\n"
TOO_LARGE_IN_LINES = b"data: " + b"x" * 9 + b"\ndata: " + b"x" * 10 + b"\n\n"
LONG_COMMENT = b":" + b"x" * (LIMIT + 6) + b"\n\n"
LONG_NAME = b"event: " + b"x" * (LIMIT + 6) + b"\n\n"
LONG_JUNK = b"x" * (LIMIT + 7) + b"\n\n"


@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
@pytest.mark.parametrize(
    "body", [TOO_LARGE, TOO_LARGE_IN_LINES, LONG_COMMENT, LONG_NAME, LONG_JUNK, TOO_LARGE[:-2]]
)
def test_what_is_too_large_ends_the_reading_after_the_events_before_it(
    pieces: object, body: bytes
) -> None:
    reader = EventReader(LIMIT)
    assert callable(pieces)
    events = drain(reader, pieces(b"data: 1\n\n" + body + b"data: 2\n\n"))
    assert reader.too_large
    assert events == [Event(b"1", b"")]
    assert reader.feed(b"data: 3\n\n") == []
    assert reader.finish() == []
    assert held_by(reader) == 0


@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
def test_the_largest_event_is_read(pieces: object) -> None:
    reader = EventReader(LIMIT)
    assert callable(pieces)
    longest_comment = LONG_COMMENT.replace(b"x", b"", 1)
    body = LARGEST + longest_comment + b"data: " + b"y" * (LIMIT - 3) + b"\ndata: \n\n" + LARGEST
    assert [len(event.data) for event in drain(reader, pieces(body))] == [
        LIMIT - 1,
        LIMIT - 2,
        LIMIT - 1,
    ]
    assert not reader.too_large


def test_a_line_without_end_is_given_up_when_it_is_too_long() -> None:
    reader = EventReader(1000)
    fed = 0
    while not reader.too_large:
        reader.feed(b"x" * 10)
        fed += 10
    assert fed == 1010
    assert reader.junk_bytes >= 1000
    assert held_by(reader) == 0


def test_a_line_too_long_at_the_end_of_the_body_is_no_event() -> None:
    reader = EventReader(LIMIT)
    reader.feed(b"data:" + b"x" * LIMIT)
    assert reader.finish() == []
    assert reader.too_large


@pytest.mark.parametrize("pieces", [lambda body: [body], one_by_one])
def test_junk_is_read_up_to_a_limit_unless_a_line_of_the_grammar_came_first(
    pieces: object,
) -> None:
    assert callable(pieces)
    junk = b"junk\n" * (MAX_JUNK_BYTES // 5 - 1) + b"x" * (MAX_JUNK_BYTES % 5 + 4) + b"\n"
    assert len(junk) == MAX_JUNK_BYTES
    reader = EventReader()
    assert drain(reader, pieces(junk + b"data: 1\n\n" + junk)) == [Event(b"1", b"")]
    assert not reader.too_large
    reader = EventReader()
    assert drain(reader, pieces(junk + b"junk\ndata: 1\n\n")) == []
    assert reader.too_large
    assert not reader.seen


def held_by(reader: EventReader) -> int:
    """How many bytes of unfinished lines and events a reader keeps."""
    return len(reader._line) + len(reader._first or b"") + len(reader._more)


def test_many_tiny_lines_of_one_event_take_no_more_room_than_their_bytes() -> None:
    reader = EventReader(100_000)
    for _ in range(20_000):
        reader.feed(b"data: ab\n")
    assert held_by(reader) == 20_000 * 3 - 1
    assert len(reader.feed(b"\n")[0].data) == 20_000 * 3 - 1


# --- The events at the beginning -----------------------------------------------------------------


def drain_by_split(reader: EventReader, pieces: Iterable[bytes]) -> list[Event]:
    events: list[Event] = []
    for piece in pieces:
        values, rest = reader.split(piece)
        events += [Event(value, b"") for value in values]
        events += reader.feed(rest)
    return events + reader.finish()


def test_events_of_one_line_of_data_are_split_off_together() -> None:
    reader = EventReader()
    reader.feed(b": hello\n")
    assert reader.split(b"data: 1\n\ndata: 2\n\nda") == ([b"1", b"2"], b"da")
    assert reader.feed(b"da") == []
    assert reader.split(b"ta: 3\n\n") == ([b"3"], b"")
    assert reader.seen


@pytest.mark.parametrize(
    "body",
    [
        b"data: 1",
        b"data: 1\n",
        b"data:1\n\n",
        b"data: 1\ndata: 2\n\n",
        b"data: 1\n\n\ndata: 2\n\n",
        b"data: 1\n\n: c\n\n",
        b"data: 1\n\ndata:2\n\n",
        b"event: x\ndata: 1\n\n",
        b"data: 1\n\ndata: 2\r\ndata: 3\n\n",
        b"\n\n",
    ],
)
def test_nothing_is_split_off_where_there_is_anything_else(body: bytes) -> None:
    reader = EventReader()
    reader.feed(b"\n")
    assert reader.split(body) == ([], body)


@pytest.mark.parametrize("before", [b"", b"data: 0\n", b"event: x\n", b": c\r", b"data"])
def test_nothing_is_split_off_in_the_middle_of_something(before: bytes) -> None:
    reader = EventReader()
    reader.feed(before)
    assert reader.split(b"data: 1\n\n")[0] == []


# --- Work ----------------------------------------------------------------------------------------


class CountingBuffer(bytearray):
    """Counts the bytes that are copied out of it."""

    copied = 0

    def __bytes__(self) -> bytes:
        self.copied += len(self)
        return b"".join([self])


def test_one_huge_event_in_tiny_pieces_is_copied_once() -> None:
    reader = EventReader()
    reader.feed(BOM)
    buffer = reader._line = CountingBuffer()
    reader.feed(b"data: ")
    for _ in range(100_000):
        reader.feed(b"xyz")
    assert buffer.copied == 0
    assert [len(event.data) for event in reader.feed(b"\n\n")] == [300_000]
    assert buffer.copied == 300_006


# --- Properties ----------------------------------------------------------------------------------

bodies = st.lists(
    st.sampled_from(
        [
            b"data: ",
            b"data:",
            b"data",
            b"event: error",
            b"event",
            b":",
            b" ",
            b"id: 1",
            b"{}",
            b"x",
            BOM,
            "é😀\u2028".encode(),
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b"\r\n\r\n",
        ]
    ),
    max_size=30,
).map(b"".join)


@given(body=bodies, places=st.lists(st.integers(0, 300), max_size=8), limit=st.integers(1, 60))
def test_any_split_of_the_same_bytes_gives_the_same_events(
    body: bytes, places: list[int], limit: int
) -> None:
    whole, other, single = EventReader(limit), EventReader(limit), EventReader(limit)
    events = drain(whole, [body])
    assert drain(other, cut(body, places)) == events
    assert drain(single, one_by_one(body)) == events
    assert other.too_large == single.too_large == whole.too_large
    if not whole.too_large:
        assert (other.seen, other.junk_bytes, other.stray) == (
            whole.seen,
            whole.junk_bytes,
            whole.stray,
        )


@given(body=bodies, places=st.lists(st.integers(0, 300), max_size=8), limit=st.integers(1, 60))
def test_what_is_split_off_is_what_would_have_been_read(
    body: bytes, places: list[int], limit: int
) -> None:
    whole, other = EventReader(limit), EventReader(limit)
    body = b"data: 1\n\ndata: 2\n\n" + body
    assert drain_by_split(other, cut(body, places)) == drain(whole, [body])
    assert other.too_large == whole.too_large
    if not whole.too_large:
        assert (other.seen, other.junk_bytes, other.stray) == (
            whole.seen,
            whole.junk_bytes,
            whole.stray,
        )


lines = st.lists(
    st.sampled_from([b"", b"", b"data: 1", b"data:2", b"event: x", b": c", b"junk", "é".encode()]),
    max_size=20,
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(lines=lines, styles=st.lists(ends, min_size=1, max_size=5))
def test_any_style_of_line_ends_gives_the_same_events(
    lines: list[bytes], styles: list[bytes]
) -> None:
    body = b""
    for line, end in zip(lines, itertools.cycle(styles)):
        # An LF that follows a CR belongs to it.
        body += line + (b"\r" if not line and body.endswith(b"\r") and end == b"\n" else end)
    plain = b"".join(line + b"\n" for line in lines)
    assert read(body) == read(plain)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise(body: bytes) -> None:
    for event in read(body):
        assert b"\n" not in event.name
