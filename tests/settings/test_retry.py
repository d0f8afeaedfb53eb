"""Whether a failed attempt is followed by another, and after how long."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._answers.errors import APIConnectionError, APIError, APIStatusError, APITimeoutError
from lktrio._settings.connect_options import APIConnectOptions
from lktrio._settings.retry import FIRST_DELAY, JITTER, delay_before_retry

LOST = APIConnectionError("lost")
OPTIONS = APIConnectOptions()


def delay(
    error: APIError = LOST,
    *,
    retries: int = 0,
    options: APIConnectOptions = OPTIONS,
    hint: float | None = None,
    time_left: float = math.inf,
    random: float = 0.5,
) -> float | None:
    return delay_before_retry(
        error,
        retries=retries,
        options=options,
        hint=hint,
        time_left=time_left,
        random=lambda: random,
    )


def limited(retry_after: float | None = None, status: int = 429) -> APIStatusError:
    return APIStatusError("slow down", status_code=status, retry_after=retry_after)


# --- Whether -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [LOST, APITimeoutError("late", clock="idle"), limited(), APIStatusError("unknown")],
    ids=lambda error: type(error).__name__ + error.message,
)
def test_what_can_pass_is_tried_again(error: APIError) -> None:
    assert delay(error) == FIRST_DELAY


@pytest.mark.parametrize(
    "error",
    [
        APIConnectionError("not a stream", retryable=False),
        APIStatusError("bad", status_code=400),
        APIStatusError("x-should-retry: false", status_code=503, retryable=False),
    ],
    ids=lambda error: error.message,
)
def test_what_cannot_pass_is_not(error: APIError) -> None:
    assert delay(error) is None


def test_the_servers_word_overrides_the_status() -> None:
    assert delay(APIStatusError("x", status_code=400, retryable=True)) == FIRST_DELAY


@pytest.mark.parametrize("max_retry", [0, 1, 3])
def test_there_are_no_more_retries_than_allowed(max_retry: int) -> None:
    options = APIConnectOptions(max_retry=max_retry)
    made = [delay(retries=retries, options=options) is not None for retries in range(5)]
    assert made == [retries < max_retry for retries in range(5)]


# --- How long ------------------------------------------------------------------------------------


def test_the_first_delay_is_short_and_the_others_are_the_interval() -> None:
    assert [delay(retries=retries) for retries in range(4)] == [0.1, 2.0, 2.0, None]


def test_a_shorter_interval_counts_for_the_first_delay_too() -> None:
    for interval in (0.0, 0.05):
        options = APIConnectOptions(retry_interval=interval)
        assert delay(options=options) == delay(retries=1, options=options) == interval


@pytest.mark.parametrize(("random", "share"), [(0.0, 1 - JITTER), (0.5, 1.0), (1.0, 1 + JITTER)])
def test_jitter_spreads_a_delay_in_both_directions(random: float, share: float) -> None:
    assert delay(random=random) == pytest.approx(0.1 * share)
    assert delay(retries=1, random=random) == pytest.approx(2.0 * share)


def test_a_longer_retry_after_wins_and_is_not_shortened_by_jitter() -> None:
    for random in (0.0, 0.999):
        assert delay(limited(7.0), random=random) == 7.0
        assert delay(limited(7.0, status=503), retries=1, random=random) == 7.0


def test_a_shorter_retry_after_does_not_shorten_the_delay() -> None:
    assert delay(limited(0.0)) == 0.1
    assert delay(limited(1.0), retries=1) == 2.0


# --- The hint ------------------------------------------------------------------------------------


def test_a_hint_counts_for_a_429_that_names_no_time() -> None:
    assert delay(limited(), hint=7.0) == 7.0
    assert delay(limited(), hint=30.0) == 30.0
    assert delay(limited(), hint=0.0) == 0.1


def test_a_hint_is_ignored_elsewhere() -> None:
    assert delay(limited(3.0), hint=7.0) == 3.0
    assert delay(limited(0.0), hint=7.0) == 0.1
    assert delay(limited(status=503), hint=7.0) == 0.1
    assert delay(LOST, hint=7.0) == 0.1


def test_a_hint_longer_than_any_delay_forbids_nothing() -> None:
    assert delay(limited(), hint=30.1) == 0.1


# --- Limits --------------------------------------------------------------------------------------


def test_a_delay_beyond_the_longest_is_not_begun() -> None:
    assert delay(limited(30.0)) == 30.0
    assert delay(limited(30.001)) is None
    assert delay(limited(86400.0)) is None
    assert delay(limited(86400.0), options=APIConnectOptions(max_retry_delay=math.inf)) == 86400.0


def test_an_interval_beyond_the_longest_delay_is_not_begun() -> None:
    options = APIConnectOptions(retry_interval=5.0, max_retry_delay=1.0)
    assert delay(options=options) == 0.1
    assert delay(retries=1, options=options, random=0.0) is None
    assert delay(options=APIConnectOptions(max_retry_delay=0.0)) is None


@pytest.mark.parametrize("random", [0.0, 0.4, 0.6, 0.999])
def test_chance_does_not_decide_whether_there_is_a_retry(random: float) -> None:
    options = APIConnectOptions(retry_interval=2.0, max_retry_delay=2.0)
    chosen = delay(retries=1, options=options, random=random)
    assert chosen is not None
    assert 1.8 <= chosen <= 2.0


def test_a_delay_up_to_the_deadline_or_beyond_is_not_begun() -> None:
    assert delay(retries=1, time_left=2.001) == 2.0
    assert delay(retries=1, time_left=2.0) is None
    assert delay(retries=1, time_left=-1.0) is None
    assert delay(limited(7.0), time_left=5.0) is None


seconds = st.floats(0, 100)


@given(
    retries=st.integers(0, 5),
    interval=seconds,
    longest=seconds,
    asked=st.none() | seconds,
    hint=st.none() | seconds,
    left=seconds | st.just(math.inf),
    random=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_within_every_limit_and_never_shorter_than_asked(
    *,
    retries: int,
    interval: float,
    longest: float,
    asked: float | None,
    hint: float | None,
    left: float,
    random: float,
) -> None:
    options = APIConnectOptions(retry_interval=interval, max_retry_delay=longest)
    chosen = delay(
        limited(asked), retries=retries, options=options, hint=hint, time_left=left, random=random
    )
    if chosen is not None:
        assert retries < options.max_retry
        assert chosen >= (asked or 0.0)
        assert chosen <= longest
        assert chosen < left
