"""Text and thinking, however tags and characters are cut over chunks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lktrio._settings.models import DEFAULT_MODEL_TABLE
from lktrio._wire.thinking import SurrogateJoiner, ThinkingFilter
from tests.support.linear_work import assert_linear

THINK = (("<think>", "</think>"),)
GEMMA = DEFAULT_MODEL_TABLE.facts("google/gemma-4-31b-it").thinking_tags


def take_apart(
    *pieces: str, tags: Sequence[tuple[str, str]] = THINK, starts_inside: bool = False
) -> tuple[str, str]:
    thinking = ThinkingFilter(tags, starts_inside=starts_inside)
    shown, thought = "", ""
    for part in [*map(thinking.feed, pieces), thinking.flush()]:
        shown += part[0]
        thought += part[1]
    return shown, thought


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(edges)]


# --- Tags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "thought"),
    [
        ("", "", ""),
        ("Hi", "Hi", ""),
        ("<think>secret</think>Hi", "Hi", "secret"),
        ("a<think>b</think>c<think>d</think>e", "ace", "bd"),
        ("<think>never closed", "", "never closed"),
        ("<think></think>Hi", "Hi", ""),
        ("secret</think>Hi", "secretHi", ""),
        ("a</think>b</think>c<think>d</think>e", "abce", "d"),
        ("<think>a<think>b</think>c", "c", "a<think>b"),
        ("a < b and </b> <thin> <THINK>", "a < b and </b> <thin> <THINK>", ""),
        ("<<think>x<</think>>", "<>", "x<"),
        ("x <th", "x <th", ""),
        ("<think>x </thi", "", "x </thi"),
        ("<think></think><think>a</think><", "<", "a"),
    ],
)
def test_what_stands_between_tags_is_thinking_however_it_is_cut(
    text: str, shown: str, thought: str
) -> None:
    assert take_apart(text) == (shown, thought)
    assert take_apart(*text) == (shown, thought)
    for place in range(len(text)):
        assert take_apart(text[:place], text[place:]) == (shown, thought)


def test_only_what_could_begin_a_tag_is_held_back() -> None:
    thinking = ThinkingFilter(THINK)
    assert thinking.feed("a <") == ("a ", "")
    assert thinking.feed("t") == ("", "")
    assert thinking.feed("r</thin") == ("<tr", "")
    assert thinking.feed("gs<think") == ("</things", "")
    assert thinking.feed(">b</") == ("", "b")
    assert thinking.feed("b><think>") == ("", "</b><think>")
    assert thinking.feed("") == ("", "")
    assert thinking.feed("c</think>d") == ("d", "c")


def test_inside_thinking_only_the_closing_tag_is_looked_for() -> None:
    thinking = ThinkingFilter(THINK)
    thinking.feed("<think>")
    assert thinking.feed("no tag here") == ("", "no tag here")
    assert thinking.feed("<thi") == ("", "<thi")
    assert thinking.feed("</thi") == ("", "")
    assert thinking.flush() == ("", "</thi")


def test_flushing_gives_what_was_held_back_once() -> None:
    thinking = ThinkingFilter(THINK)
    thinking.feed("<thi")
    assert thinking.flush() == ("<thi", "")
    assert thinking.flush() == ("", "")


@pytest.mark.parametrize("place", range(len("secret</think>Hi")))
def test_a_stream_may_begin_inside_thinking(place: int) -> None:
    text = "secret</think>Hi"
    assert take_apart(text[:place], text[place:], starts_inside=True) == ("Hi", "secret")


def test_a_stream_that_begins_inside_and_never_closes_is_all_thinking() -> None:
    assert take_apart("sec", "ret </thin", starts_inside=True) == ("", "secret </thin")


def test_without_tags_everything_is_text() -> None:
    assert take_apart("<think>a", "</think>", tags=()) == ("<think>a</think>", "")
    assert take_apart("<think>", tags=(), starts_inside=True) == ("<think>", "")


@pytest.mark.parametrize("place", range(len("<|channel>thoughtx<channel|>y")))
def test_a_model_familys_own_tags_count(place: int) -> None:
    text = "<|channel>thoughtx<channel|>y"
    assert take_apart(text[:place], text[place:], tags=GEMMA) == ("y", "x")


def test_each_opening_tag_wants_its_own_closing_tag() -> None:
    tags = (*THINK, ("[r]", "[/r]"))
    assert take_apart("<think>a[/r]b</think>c[r]d</think>e[/r]f", tags=tags) == (
        "cf",
        "a[/r]bd</think>e",
    )


# --- Work ----------------------------------------------------------------------------------------


class CountingFilter(ThinkingFilter):
    """Counts the characters that are looked at for tags."""

    looked_at = 0

    def _take_apart(self, text: str) -> tuple[str, str]:
        self.looked_at += len(self._held) + len(text)
        return super()._take_apart(text)


@pytest.mark.parametrize("opening", ["", "<think>"])
@pytest.mark.parametrize("piece", ["x<thin", "</thin", "<", "<<<<", "</think"])
def test_a_tag_prefix_at_the_end_of_every_piece_is_looked_at_once_more(
    opening: str, piece: str
) -> None:
    thinking = CountingFilter(THINK)
    thinking.feed(opening)
    for _ in range(10_000):
        thinking.feed(piece)
        assert len(thinking._held) < len("</think>")
    assert thinking.looked_at <= 10_000 * (len(piece) + len("</think>"))


@pytest.mark.parametrize("piece", ["x<thin", "<think></think>", "</think>", "plain", "<"])
def test_the_work_is_linear_in_the_number_of_pieces(piece: str) -> None:
    def make(size: int) -> Callable[[], object]:
        thinking = ThinkingFilter(THINK)
        return lambda: [thinking.feed(piece) for _ in range(size)]

    assert_linear(make, 2_000)


@pytest.mark.parametrize("piece", ["<think></think>", "</think>", "<</think><think>x</think></"])
def test_the_work_is_linear_in_the_number_of_tags(piece: str) -> None:
    def make(size: int) -> Callable[[], object]:
        thinking = ThinkingFilter(THINK)
        return lambda: thinking.feed(piece * size)

    assert_linear(make, 2_000)


def test_text_without_a_tags_first_character_is_passed_on_as_it_is() -> None:
    thinking = CountingFilter((*THINK, ("[r]", "[/r]")))
    text = "no tag in here"
    assert thinking.feed(text)[0] is text
    thinking.feed("[r]")
    looked_at = thinking.looked_at
    assert thinking.feed(text)[1] is text
    assert thinking.looked_at == looked_at


# --- Properties ----------------------------------------------------------------------------------

tag_sets = st.sampled_from([THINK, GEMMA, (("<|r|>", "<|/r|>"), ("[a]", "[/a]")), ()])


@st.composite
def texts(draw: st.DrawFn, tags: Sequence[tuple[str, str]]) -> str:
    every = [tag for pair in tags for tag in pair]
    beginnings = [tag[:length] for tag in every for length in range(1, len(tag))]
    pieces = st.sampled_from([*every, *every, *beginnings, "a", " ", "<", ">", "/", "é"])
    return "".join(draw(st.lists(pieces, max_size=12)))


@given(
    data=st.data(),
    tags=tag_sets,
    starts_inside=st.booleans(),
    places=st.lists(st.integers(0, 200), max_size=8),
)
def test_any_cut_gives_the_same_and_nothing_but_tags_is_lost(
    data: st.DataObject,
    tags: Sequence[tuple[str, str]],
    starts_inside: bool,
    places: list[int],
) -> None:
    text = data.draw(texts(tags))
    whole = take_apart(text, tags=tags, starts_inside=starts_inside)
    assert take_apart(*cut(text, places), tags=tags, starts_inside=starts_inside) == whole
    assert take_apart(*text, tags=tags, starts_inside=starts_inside) == whole
    assert whole == by_hand(text, tags, starts_inside)


def by_hand(text: str, tags: Sequence[tuple[str, str]], starts_inside: bool) -> tuple[str, str]:
    """The same, on the whole text at once, in the plainest way."""
    closing = dict(tags)
    every = [tag for pair in tags for tag in pair]
    closer = tags[0][1] if starts_inside and tags else None
    shown, thought = [], []
    parts = re.split("(" + "|".join(map(re.escape, every)) + ")", text) if every else [text]
    for part in parts:
        if closer is not None:
            if part == closer:
                closer = None
            else:
                thought.append(part)
        elif part in every:
            closer = closing.get(part)
        else:
            shown.append(part)
    return "".join(shown), "".join(thought)


# --- Characters cut in two -----------------------------------------------------------------------


def join(*pieces: str) -> str:
    joiner = SurrogateJoiner()
    return "".join(map(joiner.feed, pieces)) + joiner.flush()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([], ""),
        (["a", "", "b"], "ab"),
        (["a\ud83d\ude00b"], "a😀b"),
        (["a\ud83d", "\ude00b"], "a😀b"),
        (["a\ud83d", "", "\ude00b"], "a😀b"),
        (["\ud83d", "\ude00"], "😀"),
        (["\ud800", "\udc00"], "\U00010000"),
        (["\udbff", "\udfff"], "\U0010ffff"),
        (["a\udcafb"], "a\ufffdb"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
        (["\ude00", "\ud83d"], "\ufffd\ufffd"),
        (["a\ud83d"], "a\ufffd"),
    ],
)
def test_halves_of_a_character_are_joined_and_lone_ones_replaced(
    pieces: list[str], text: str
) -> None:
    assert join(*pieces) == text


def test_half_a_character_waits_for_the_rest() -> None:
    joiner = SurrogateJoiner()
    assert joiner.feed("a\ud83d") == "a"
    assert joiner.feed("\ude00") == "😀"
    assert joiner.flush() == ""
    joiner.feed("\ud83d")
    assert joiner.flush() == "\ufffd"
    assert joiner.flush() == ""


@example("\ud83d\ude00", [1])
@given(
    st.text(st.characters() | st.sampled_from("\ud83d\ude00\udbff\udfff"), max_size=20),
    st.lists(st.integers(0, 50), max_size=5),
)
def test_any_cut_gives_the_same_text_which_can_be_encoded(text: str, places: list[int]) -> None:
    whole = join(text)
    assert join(*cut(text, places)) == whole
    whole.encode()
