"""The rate of requests: no sixty seconds hold more than the limit, and none less than it may."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio import Quota, QuotaUsage
from lktrio._settings import MINUTE, Rate

# Eighths of a second and whole numbers are exact.
PAUSES = st.integers(0, 40 * 8).map(lambda eighths: eighths / 8)
ARRIVALS = st.lists(st.tuples(PAUSES, st.integers(0, 10)), max_size=60)


def send_all(rate: Rate, arrivals: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """When each request is sent if it goes as soon as it may, in order of arrival."""
    now, sent = 0.0, list[tuple[float, int]]()
    arrived = 0.0
    for pause, tokens in arrivals:
        arrived += pause
        now = rate.ready_at(max(now, arrived), tokens)
        rate.take(now, tokens)
        sent.append((now, tokens))
    return sent


@given(ARRIVALS, st.integers(1, 6), st.integers(10, 30))
def test_no_sixty_seconds_hold_more_than_the_limits(
    arrivals: list[tuple[float, int]], requests: int, tokens: int
) -> None:
    sent = send_all(Rate(requests, tokens), arrivals)

    for begin, _ in sent:
        within = [each for moment, each in sent if begin <= moment < begin + MINUTE]
        assert len(within) <= requests
        assert sum(within) <= tokens


@given(ARRIVALS, st.integers(1, 6), st.integers(10, 30))
def test_nobody_waits_who_need_not(
    arrivals: list[tuple[float, int]], requests: int, tokens: int
) -> None:
    sent = send_all(Rate(requests, tokens), arrivals)

    arrived = 0.0
    for index, ((pause, _), (moment, wanted)) in enumerate(zip(arrivals, sent, strict=True)):
        arrived += pause
        before = max(arrived, sent[index - 1][0] if index else 0.0)
        if moment > before:
            # A moment earlier there was no room.
            earlier = [each for at, each in sent[:index] if at > moment - MINUTE - 1 / 16]
            full = len(earlier) >= requests or sum(earlier) + max(wanted, 1) > tokens
            assert full


@given(ARRIVALS, ARRIVALS, st.integers(1, 6), st.integers(10, 30))
def test_what_the_last_in_the_line_is_told_comes_true(
    before: list[tuple[float, int]], line: list[tuple[float, int]], requests: int, tokens: int
) -> None:
    rate = Rate(requests, tokens)
    now = max((moment for moment, _ in send_all(rate, before)), default=0.0)
    ahead = [each for _, each in line]

    told = rate.ready_at(now, 3, ahead)
    assert rate.ready_at(now, 3, ahead) == told, "asking takes nothing"
    moment = now
    for each in [*ahead, 3]:
        moment = rate.ready_at(moment, each)
        rate.take(moment, each)

    assert told == moment


def test_to_ask_of_a_later_moment_changes_nothing() -> None:
    rate = Rate(2, math.inf)
    rate.hold(0.0, 30)
    rate.take(0.0, 0)
    rate.take(1.0, 0)

    assert rate.ready_at(60.5, 0) == 60.5
    assert rate.ready_at(1000.0, 0) == 1000.0
    assert rate.ready_at(2.0, 0) == 60.0
    assert rate.used(2.0) == (2, 0)


def test_what_others_have_used_counts_for_a_minute() -> None:
    rate = Rate(10, math.inf)
    share = rate.take(0.0, 0)

    rate.told(1.0, Quota(rpm=QuotaUsage(limit=10, used=9)), share)

    assert rate.used(1.0) == (9, 0)
    assert rate.ready_at(1.0, 0) == 1.0
    rate.take(1.0, 0)
    # The first of ours makes room at 60, those of others at 61.
    assert rate.ready_at(1.0, 0) == 60.0
    rate.take(60.0, 0)
    assert rate.ready_at(60.0, 0) == 61.0
    assert rate.used(61.0) == (1, 0)


def test_the_server_may_allow_less_than_we_do_but_never_more() -> None:
    rate = Rate(4, math.inf)
    share = rate.take(0.0, 0)

    rate.told(0.0, Quota(rpm=QuotaUsage(limit=2, used=1)), share)
    rate.take(0.0, 0)
    assert rate.ready_at(0.0, 0) == 60.0

    rate.told(0.0, Quota(rpm=QuotaUsage(limit=100, used=1)), share)
    taken = itertools.takewhile(lambda _: rate.ready_at(0.0, 0) == 0.0, itertools.count())
    assert sum(rate.take(0.0, 0).requests > 0 for _ in taken) == 2


def test_what_was_sent_meanwhile_is_not_taken_for_that_of_others() -> None:
    rate = Rate(100, math.inf)
    shares = [rate.take(0.0, 0) for _ in range(10)]

    rate.told(0.5, Quota(rpm=QuotaUsage(limit=100, used=10)), shares[-1])
    # An answer to an earlier request knows less.
    rate.told(0.6, Quota(rpm=QuotaUsage(limit=100, used=50)), shares[0])

    assert rate.used(0.6) == (10, 0)


def test_a_limit_of_nothing_is_no_word_on_quotas() -> None:
    rate = Rate(2, math.inf)
    rate.told(0.0, Quota(rpm=QuotaUsage(limit=0, used=5)), rate.take(0.0, 0))

    assert rate.used(0.0) == (1, 0)
    assert rate.ready_at(0.0, 0) == 0.0


def test_without_tokens_left_nobody_goes_who_is_estimated_to_take_none() -> None:
    rate = Rate(math.inf, math.inf)
    rate.told(0.0, Quota(tpm=QuotaUsage(limit=100, used=100)), rate.take(0.0, 0))

    assert rate.ready_at(5.0, 0) == 60.0


def test_what_is_more_than_the_server_allows_at_all_goes_when_nothing_else_counts() -> None:
    rate = Rate(math.inf, 100)
    share = rate.take(0.0, 10)
    rate.told(0.0, Quota(tpm=QuotaUsage(limit=50, used=10)), share)

    assert rate.ready_at(1.0, 80) == 60.0
    assert rate.ready_at(60.0, 80) == 60.0


@pytest.mark.parametrize(("asked", "ends"), [(20, 21.0), (86_400, 61.0)])
def test_the_server_may_ask_for_silence_of_a_minute_at_most(asked: float, ends: float) -> None:
    rate = Rate(math.inf, math.inf)
    rate.hold(1.0, asked)
    rate.hold(1.0, 5)

    assert rate.ready_at(1.0, 0) == ends
    assert rate.ready_at(70.0, 0) == 70.0
