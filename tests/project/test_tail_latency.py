"""The simulation of a heavy-tailed server shows what the documentation says of hedging."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.support.paths import ROOT
from tests.support.tail_latency import BUDGET, REQUESTS, compare, report, time_to_first_output

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.mark.slow
async def test_hedging_divides_p99_by_three_for_six_percent_more_requests(
    autojump_clock: MockClock,
) -> None:
    plain, hedged = await compare(seed=0)

    assert len(plain.times) == len(hedged.times) == plain.requests == REQUESTS == 1000
    assert plain.percentile(99) >= 3 * hedged.percentile(99)
    assert hedged.requests <= (1 + BUDGET) * plain.requests == 1060
    # The numbers on the page are these.
    _, table, result = report(0, plain, hedged).strip().split("\n\n")
    assert table in PAGE
    assert result in " ".join(PAGE.split())


def test_the_server_has_the_tail_that_it_says_it_has() -> None:
    times = sorted(time_to_first_output(0, f"question {n}", 1) for n in range(REQUESTS))

    # Far more than any body of this width would give.
    assert 25 <= sum(time >= 2 for time in times) <= 55
    assert 0.38 <= times[500] <= 0.43
