"""The checks for leftovers find them, and the matrix disturbs every step once."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from tests.support.leaks import LeakError, no_leaks, open_sockets
from tests.support.matrix import (
    CANCEL_BLOCK,
    CANCEL_WAIT,
    INTERRUPT,
    Action,
    Cut,
    Series,
    advance,
    replay,
    sweep,
)
from tests.support.memory_network import MemoryNetwork
from tests.support.plain_httpx import get_safely
from tests.support.script import (
    text,
)

HTTP = "http://gateway.test/v1/chat/completions"
HTTPS = "https://gateway.test/v1/chat/completions"

# --- Leaks ----------------------------------------------------------------------------------------


async def count_up() -> AsyncIterator[int]:
    for number in range(3):
        yield number


async def test_a_suspended_generator_is_a_leak() -> None:
    generator = count_up()
    with pytest.raises(LeakError, match="suspended async generator count_up"), no_leaks():
        await anext(generator)
    with no_leaks():
        await generator.aclose()  # type: ignore[attr-defined]
    with no_leaks():
        assert [number async for number in count_up()] == [0, 1, 2]


async def test_a_generator_left_to_the_garbage_collector_is_a_leak() -> None:
    with pytest.raises(LeakError, match=r"ResourceWarning while collecting.*count_up"), no_leaks():
        await anext(count_up())


async def test_a_task_that_outlives_the_block_is_a_leak(nursery: trio.Nursery) -> None:
    with pytest.raises(LeakError, match=r"task .*sleep_forever"), no_leaks():
        nursery.start_soon(trio.sleep_forever)


async def test_a_scripted_server_that_keeps_a_connection_is_no_leak() -> None:
    async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
        with no_leaks():
            await client.get(HTTP)


def test_an_open_socket_is_a_leak() -> None:
    made: list[socket.socket] = []
    with socket.socket(), pytest.raises(LeakError, match=r"socket .*->") as caught, no_leaks():
        made += socket.socketpair()
    assert str(caught.value).count("- socket") == 2
    for one in made:
        assert one.fileno() in {int(line.split()[0]) for line in open_sockets().values()}
        one.close()


def test_a_socket_left_to_the_garbage_collector_is_a_leak() -> None:
    with pytest.raises(LeakError, match="ResourceWarning while collecting: unclosed"), no_leaks():
        socket.socket()


def test_leftovers_can_be_allowed() -> None:
    with no_leaks(allow=lambda leftover: leftover.startswith("ResourceWarning")):
        socket.socket()


def test_the_hooks_are_put_back() -> None:
    hook = sys.unraisablehook
    with no_leaks():
        assert sys.unraisablehook != hook
    assert sys.unraisablehook is hook


def test_breaking_out_of_httpxs_body_is_seen_as_the_leak_it_is() -> None:
    async def break_out() -> None:
        async with MemoryNetwork(text("a", "b")) as network, network.brought_client() as client:
            request = client.build_request("POST", HTTP)
            async for _ in (await client.send(request, stream=True)).aiter_raw():
                break
            with pytest.raises(LeakError, match="ACTIVE"):
                network.assert_quiet()

    async def main() -> None:
        with no_leaks():
            await break_out()

    # The generators hang in each other and are collected one by one, the last after the block.
    with no_leaks(allow=lambda _leftover: True):
        with pytest.raises(LeakError, match=r"ResourceWarning|suspended async generator"):
            trio.run(main)


# --- The matrix -----------------------------------------------------------------------------------


async def three_sleeps(cut: Cut) -> list[str]:
    done: list[str] = []

    async def child() -> None:
        await trio.sleep(1)
        done.append("child")

    await trio.sleep(100)  # not watched
    with cut.watched(), cut.scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep(2)
            done.append("parent")
    return done


@pytest.mark.parametrize("series", ["before", "after"])
def test_a_cancel_comes_once_at_every_step(series: Series) -> None:
    outcome = sweep(three_sleeps, CANCEL_BLOCK, series)
    assert outcome.undisturbed == ["child", "parent"]
    assert len(outcome.results) == outcome.steps
    assert [] in outcome.results
    assert ["child"] in outcome.results
    assert ["child", "parent"] in outcome.results


def test_the_same_sweep_takes_the_same_course() -> None:
    assert sweep(three_sleeps, CANCEL_BLOCK) == sweep(three_sleeps, CANCEL_BLOCK)


def test_a_sample_of_the_steps_can_be_taken() -> None:
    whole = sweep(three_sleeps, CANCEL_BLOCK)
    sample = sweep(three_sleeps, CANCEL_BLOCK, stride=3)
    assert sample.results == whole.results[::3]


def test_cancelling_one_wait_leaves_the_others() -> None:
    async def scenario(cut: Cut) -> int:
        given_up = 0
        with cut.watched():
            for _ in range(3):
                with cut.one_wait() as scope:
                    await trio.sleep(1)
                given_up += scope.cancelled_caught
            await trio.lowlevel.checkpoint()
        return given_up

    outcome = sweep(scenario, CANCEL_WAIT)
    assert outcome.undisturbed == 0
    assert set(outcome.results) == {0, 1}


def test_the_clock_jumps_at_every_step() -> None:
    async def scenario(cut: Cut) -> bool:
        with cut.watched(), trio.move_on_after(50) as scope:
            await trio.sleep(1)
            await trio.sleep(1)
        return scope.cancelled_caught

    outcome = sweep(scenario, advance(100))
    assert outcome.undisturbed is False
    assert True in outcome.results


def test_an_interrupt_ends_the_run_bare() -> None:
    cleaned: list[int] = []

    async def scenario(cut: Cut) -> None:
        with cut.watched():
            try:
                await trio.sleep(1)
                await trio.sleep(1)
            finally:
                cleaned.append(cut.step)

    outcome = sweep(scenario, INTERRUPT)
    assert outcome.results == ()
    assert cleaned == list(range(outcome.steps + 1))


def test_an_interrupt_that_is_swallowed_or_grouped_fails_the_sweep() -> None:
    async def swallow(cut: Cut) -> None:
        with cut.watched():
            try:
                await trio.sleep(1)
                await trio.sleep(1)
            except KeyboardInterrupt:
                pass

    async def group(cut: Cut) -> None:
        with cut.watched():
            async with trio.open_nursery():
                await trio.sleep(1)
                await trio.sleep(1)

    with pytest.raises(AssertionError, match="without a KeyboardInterrupt") as swallowed:
        sweep(swallow, INTERRUPT)
    assert swallowed.value.__notes__ == ["in the run with: Ctrl-C before step 0"]
    with pytest.raises(BaseExceptionGroup):
        sweep(group, INTERRUPT)


def test_a_failure_says_at_which_step_and_can_be_replayed() -> None:
    async def scenario(cut: Cut) -> None:
        with cut.watched(), cut.scope:
            await trio.sleep(1)
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                raise ValueError("clean-up failed") from None

    with pytest.raises(ValueError, match="clean-up failed") as caught:
        sweep(scenario, CANCEL_BLOCK)
    (note,) = caught.value.__notes__
    assert note.startswith("in the run with: cancel the block before step ")
    step = int(note.split()[-1])
    with pytest.raises(ValueError, match="clean-up failed"):
        replay(scenario, CANCEL_BLOCK, "before", step)
    replay(scenario, CANCEL_BLOCK, "before", step + 1)


def test_a_sweep_of_nothing_or_without_end_fails() -> None:
    async def unwatched(cut: Cut) -> None:
        await trio.sleep(1)

    async def grows(cut: Cut) -> None:
        with cut.watched():
            for _ in range(cut.step + 1):
                await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match=r"enter cut\.watched"):
        sweep(unwatched, CANCEL_BLOCK)
    with pytest.raises(AssertionError, match="in 5 runs"):
        sweep(grows, Action("nothing", lambda cut: None), limit=5)


def test_a_leak_at_one_step_fails_the_sweep() -> None:
    async def scenario(cut: Cut) -> None:
        with cut.watched(), cut.scope:
            left, right = socket.socketpair()
            await trio.sleep(1)
            left.close()
            right.close()

    with pytest.raises(LeakError, match="unclosed"):
        sweep(scenario, CANCEL_BLOCK)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("url", [HTTP, HTTPS])
def test_a_right_program_survives_a_cancel_at_every_step(series: Series, url: str) -> None:
    async def scenario(cut: Cut) -> int:
        async with MemoryNetwork(text("Hi"), connect_delay=1, tls_delay=1) as network:
            async with network.brought_client() as client:
                with cut.watched(), cut.scope:
                    await get_safely(client, url)
                network.assert_quiet()
                await client.get(url)
            return len(network.requests)

    outcome = sweep(scenario, CANCEL_BLOCK, series)
    assert outcome.undisturbed == 2
    assert set(outcome.results) == {1, 2}


@pytest.mark.parametrize(
    ("url", "lost"),
    [(HTTP, "HTTP/1.1, NEW"), (HTTPS, "1 connections are open and 0 are in a pool")],
)
def test_the_matrix_finds_the_connection_that_httpx_loses(url: str, lost: str) -> None:
    """httpcore loses a connection if it is cancelled just after connecting, or in a handshake."""

    async def scenario(cut: Cut) -> None:
        async with MemoryNetwork(text("Hi")) as network, network.brought_client() as client:
            with cut.watched(), cut.scope:
                await client.get(url)
            network.assert_quiet()

    with pytest.raises(LeakError, match=lost):
        sweep(scenario, CANCEL_BLOCK, "before")


@pytest.mark.parametrize("series", ["before", "after"])
def test_an_interrupt_leaves_the_network_bare(series: Series) -> None:
    async def scenario(cut: Cut) -> None:
        async with MemoryNetwork(text("Hi"), connect_delay=1) as network:
            async with network.brought_client() as client:
                with cut.watched():
                    await client.get(HTTP)

    sweep(scenario, INTERRUPT, series)


@pytest.mark.parametrize("series", ["before", "after"])
def test_an_interrupt_while_the_network_is_left_is_bare(series: Series) -> None:
    async def scenario(cut: Cut) -> None:
        with cut.watched():
            async with MemoryNetwork(text("Hi")) as network:
                await network.connect("gateway.test", 80)

    sweep(scenario, INTERRUPT, series)
