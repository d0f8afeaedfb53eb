"""The five clocks, in virtual time and to the second."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    APIConnectOptions,
    APIError,
    APITimeoutError,
    ChatModel,
    Clock,
    FallbackAdapter,
    HedgeAdapter,
)
from tests.support.engine import (
    TLS_BASE_URL,
    ask,
    conversation,
    for_our_own_connections,
    open_llm,
    timed,
)
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Connection,
    Exchange,
    Hold,
    Repeat,
    Send,
    Wait,
    chunk,
    comment,
    delta,
    finish,
    head,
    reasoning_chunk,
    refusal_chunk,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    usage,
)

COMMENTS = Repeat([Wait(4), Send(chunk(comment()))])


async def fails_with(
    script: Exchange | list[Exchange] | list[Connection],
    clock: Clock,
    after: float,
    *,
    base_url: str = "http://gateway.test/v1",
    connect_delay: float = 0.0,
    tls_delay: float = 0.0,
    window: int = 65536,
    content: str = "hi",
    max_retry: int = 0,
    **options: float | bool | None,
) -> APITimeoutError:
    """Check which clock runs out on a server, and when; nothing may be left."""
    async with (
        MemoryNetwork(
            script, connect_delay=connect_delay, tls_delay=tls_delay, window=window
        ) as network,
        open_llm(network, base_url=base_url) as llm,
    ):
        stream = ask(llm, APIConnectOptions(max_retry=max_retry, **options))
        if content != "hi":
            chat_ctx = stream.chat_ctx.copy()
            chat_ctx.add_message(role="user", content=content)
            stream = llm.chat(
                chat_ctx=chat_ctx,
                conn_options=APIConnectOptions(max_retry=max_retry, **options),
            )
        exc, seconds = await timed(stream.collect)
        network.assert_quiet()
    assert isinstance(exc, APITimeoutError)
    assert (exc.clock, seconds) == (clock, pytest.approx(after))
    return exc


# --- connect, write, idle -------------------------------------------------------------------------


async def test_an_address_that_never_answers(autojump_clock: MockClock) -> None:
    exc = await fails_with(text("Hi"), "connect", 10, connect_delay=math.inf)

    assert exc.retryable
    assert exc.attempts[0].connected is None


async def test_connecting_includes_tls(autojump_clock: MockClock) -> None:
    await fails_with(text("Hi"), "connect", 10, base_url=TLS_BASE_URL, connect_delay=6, tls_delay=5)


async def test_a_server_that_accepts_and_never_answers(autojump_clock: MockClock) -> None:
    exc = await fails_with(Exchange([Hold()]), "idle", 6 + 10, connect_delay=6)

    assert exc.attempts[0].connected == 6
    assert exc.attempts[0].sent == 6
    assert exc.attempts[0].headers is None


async def test_a_server_that_does_not_read_the_request(autojump_clock: MockClock) -> None:
    never_reads = Exchange([Hold()], reads="nothing")

    exc = await fails_with(never_reads, "write", 10, window=1000, content="x" * 100_000)
    assert exc.attempts[0].sent is None


async def test_a_server_that_sends_headers_and_no_body(autojump_clock: MockClock) -> None:
    answer = Exchange([Wait(9), Send(head(200, {"Transfer-Encoding": "chunked"})), Hold()])

    await fails_with(answer, "idle", 9 + 10)


async def test_a_head_that_drips_is_waited_for_as_a_whole(autojump_clock: MockClock) -> None:
    drips = [step for byte in b"HTTP/1.1 200 OK\r\n" for step in (Wait(1), Send(bytes([byte])))]

    exc = await fails_with(Exchange(drips), "idle", 10)
    assert exc.attempts[0].headers is None


async def test_an_interim_response_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    for_our_own_connections()
    interim = Send(b"HTTP/1.1 100 Continue\r\n\r\n")

    await fails_with(Exchange([Wait(9), interim, Wait(9), interim, Hold()]), "idle", 28)


async def test_a_server_that_is_silent_in_the_handshake(autojump_clock: MockClock) -> None:
    await fails_with(text("Hi"), "connect", 10, base_url=TLS_BASE_URL, tls_delay=math.inf)


async def test_a_stall_in_the_middle(autojump_clock: MockClock) -> None:
    answer = sse(Wait(3), text_chunk("Hel"), Hold())

    exc = await fails_with(answer, "idle", 3 + 10)
    assert exc.partial.text == "Hel"
    assert not exc.retryable


async def test_comments_count_as_life(autojump_clock: MockClock) -> None:
    comments = [step for _ in range(10) for step in (Wait(9), comment())]
    async with (
        MemoryNetwork(sse(*comments, text_chunk("Hi"), finish(), DONE)) as network,
        open_llm(network) as llm,
    ):
        collected, seconds = await timed(ask(llm).collect)
    assert (collected.text, seconds) == ("Hi", 90)


async def test_what_arrived_before_the_clock_ran_out_is_delivered_first(
    autojump_clock: MockClock,
) -> None:
    got: list[str] = []
    async with (
        MemoryNetwork(sse(text_chunk("Hel"), text_chunk("lo <th"), Hold())) as network,
        open_llm(network) as llm,
        ask(llm) as stream,
    ):
        await trio.sleep(20)
        with pytest.raises(APITimeoutError) as caught:
            got.extend([piece async for piece in stream.text])  # raises in the middle
            pytest.fail("the end of the iteration was quiet")
        del got[:]
        assert caught.value.partial.text == "Hello <th"


async def test_each_piece_reaches_the_consumer_before_the_error(autojump_clock: MockClock) -> None:
    got: list[str] = []
    async with (
        MemoryNetwork(sse(text_chunk("Hel"), text_chunk("lo"), Hold())) as network,
        open_llm(network) as llm,
        ask(llm) as stream,
    ):
        await trio.sleep(20)
        try:
            async for piece in stream.text:
                got.append(piece)  # noqa: PERF401 - what was got before the error is the point
        except APITimeoutError:
            got.append("timeout")
    assert got == ["Hel", "lo", "timeout"]


# --- first output ---------------------------------------------------------------------------------


async def test_comments_for_ever_do_not_hide_that_no_output_comes(
    autojump_clock: MockClock,
) -> None:
    exc = await fails_with(sse(COMMENTS, end=False), "first_output", 25, first_output_timeout=25)
    assert exc.retryable


@pytest.mark.parametrize(
    "metadata",
    [
        delta(role="assistant", content=""),
        delta(extra_content={"livekit": {"deployment": "d"}}),
        reasoning_chunk("hmm"),
        usage(9, 0),
        text_chunk("<think>hmm"),
    ],
)
async def test_metadata_and_reasoning_are_no_output(
    autojump_clock: MockClock, metadata: bytes
) -> None:
    await fails_with(sse(metadata, COMMENTS, end=False), "first_output", 5, first_output_timeout=5)


async def test_reasoning_is_output_if_asked_for(autojump_clock: MockClock) -> None:
    exc = await fails_with(
        sse(Wait(3), reasoning_chunk("hmm"), Hold()),
        "idle",
        13,
        first_output_timeout=5,
        reasoning_is_output=True,
    )
    assert exc.attempts[0].first_output == 3
    assert not exc.retryable


@pytest.mark.parametrize(
    "output",
    [text_chunk("Hi"), refusal_chunk("No"), tool_call_chunk("{", id="call_a", name="f")],
)
async def test_text_a_refusal_and_a_fragment_of_a_call_are_output(
    autojump_clock: MockClock, output: bytes
) -> None:
    exc = await fails_with(sse(Wait(3), output, Hold()), "idle", 13, first_output_timeout=5)

    assert exc.attempts[0].first_output == 3


async def test_the_first_output_clock_runs_from_the_start_of_the_attempt(
    autojump_clock: MockClock,
) -> None:
    await fails_with(
        sse(COMMENTS, end=False), "first_output", 8, connect_delay=6, first_output_timeout=8
    )


# --- total ----------------------------------------------------------------------------------------


async def test_the_total_clock_runs_over_output_and_comments(autojump_clock: MockClock) -> None:
    exc = await fails_with(
        sse(Wait(8), text_chunk("Hi"), COMMENTS, end=False),
        "total",
        100,
        first_output_timeout=9,
        total_timeout=100,
    )
    assert exc.partial.text == "Hi"
    assert not exc.retryable


async def test_the_total_clock_covers_all_attempts(autojump_clock: MockClock) -> None:
    exc = await fails_with(
        Exchange([Hold()]), "total", 25, max_retry=5, retry_interval=0.0, total_timeout=25
    )
    assert len(exc.attempts) == 3


async def test_the_total_clock_runs_while_the_reader_waits_for_room(
    autojump_clock: MockClock,
) -> None:
    flood = sse(*[text_chunk("x" * 30_000) for _ in range(20)], finish(), DONE)
    async with (
        MemoryNetwork(flood) as network,
        open_llm(network) as llm,
        ask(llm, APIConnectOptions(max_retry=0, total_timeout=50)) as stream,
    ):
        await trio.sleep(1000)
        with pytest.raises(APITimeoutError) as caught:
            while True:
                await anext(stream)
    assert caught.value.clock == "total"
    assert caught.value.attempts[0].ended == 50


async def test_no_other_clock_runs_while_the_reader_waits_for_room(
    autojump_clock: MockClock,
) -> None:
    flood = sse(
        *[reasoning_chunk("x" * 30_000) for _ in range(20)], text_chunk("Hi"), finish(), DONE
    )
    options = APIConnectOptions(max_retry=0, timeout=2, first_output_timeout=3)
    async with (
        MemoryNetwork(flood) as network,
        open_llm(network) as llm,
        ask(llm, options) as stream,
    ):
        await anext(stream)
        await trio.sleep(1000)
        assert (await stream.collect()).text == "Hi"


async def test_the_total_clock_does_not_spoil_a_whole_answer(autojump_clock: MockClock) -> None:
    answer = sse(Wait(1), text_chunk("Hi"), finish(), DONE, Hold())
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        options = APIConnectOptions(max_retry=0, total_timeout=1.05)
        collected, seconds = await timed(ask(llm, options).collect)
    assert (collected.text, seconds) == ("Hi", pytest.approx(1.1))


@pytest.mark.parametrize(
    ("clock", "options"),
    [("first_output", {"first_output_timeout": 8}), ("total", {"total_timeout": 8})],
)
async def test_a_silence_that_did_not_last_does_not_lend_its_name_to_another_clock(
    autojump_clock: MockClock, clock: Clock, options: dict[str, float]
) -> None:
    """Before the last comment, the silence would have been too long at the same moment."""
    comments = Repeat([Wait(2), Send(chunk(comment()))])

    await fails_with(sse(comments, end=False), clock, 8, timeout=4, **options)


# --- ends without an end mark ---------------------------------------------------------------------


async def test_a_silence_after_the_finish_reason_is_no_failure(autojump_clock: MockClock) -> None:
    answer = sse(text_chunk("Hi"), finish(), Wait(9), usage(9, 3), Hold())
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        collected, seconds = await timed(ask(llm).collect)
        network.assert_quiet()
    assert (collected.text, collected.finish_reason, seconds) == ("Hi", "stop", 10)
    assert collected.usage is not None


async def test_comments_after_the_finish_reason_do_not_go_on_for_ever(
    autojump_clock: MockClock,
) -> None:
    answer = sse(text_chunk("Hi"), finish(), COMMENTS, end=False)
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        collected, seconds = await timed(ask(llm).collect)
    assert (collected.text, seconds) == ("Hi", 10)


async def test_text_after_the_finish_reason_is_waited_for(autojump_clock: MockClock) -> None:
    answer = sse(
        text_chunk("Hi"),
        finish(),
        *[step for c in "abc" for step in (Wait(8), text_chunk(c))],
        DONE,
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        collected, seconds = await timed(ask(llm).collect)
    assert (collected.text, seconds) == ("Hiabc", 24)


# --- an error's body ------------------------------------------------------------------------------


async def test_an_error_whose_body_never_ends_is_raised_with_what_came(
    autojump_clock: MockClock,
) -> None:
    answer = Exchange(
        [
            Send(head(400, {"Content-Length": "1000"})),
            Send(b"the beginning"),
            Repeat([Wait(0.3), Send(b".")]),
        ]
    )
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        exc, seconds = await timed(ask(llm).collect)
        network.assert_quiet()
    assert isinstance(exc, APIError)
    assert exc.message == "the beginning..."
    assert seconds == 1


async def test_an_error_whose_body_never_ends_respects_the_total_clock(
    autojump_clock: MockClock,
) -> None:
    answer = Exchange([Send(head(500, {"Content-Length": "1000"})), Hold()])
    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        options = APIConnectOptions(max_retry=0, total_timeout=0.4)
        exc, seconds = await timed(ask(llm, options).collect)
    assert isinstance(exc, APIError)
    assert exc.message == "Internal Server Error"
    assert seconds == 0.4


# --- programs that block their own loop -----------------------------------------------------------


async def test_a_program_that_blocks_its_own_loop_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    """The deadline passes while the bytes are there already; the read has won."""
    clock = autojump_clock
    answer = sse(
        text_chunk("a"), Wait(5), text_chunk("b"), Wait(5), text_chunk("c"), finish(), DONE
    )

    class Blocker(trio.abc.Instrument):
        """Lets 60 seconds pass between the arrival of bytes and the task that reads them."""

        blocked = 0

        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            if task.name.startswith("request of") and trio.current_time() in {5.0, 70.0}:
                self.blocked += 1
                clock.jump(60)

    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        blocker = Blocker()
        trio.lowlevel.add_instrument(blocker)
        try:
            assert (await ask(llm).collect()).text == "abc"
        finally:
            trio.lowlevel.remove_instrument(blocker)
    assert blocker.blocked


async def test_a_blocked_loop_does_not_stretch_the_total_clock(autojump_clock: MockClock) -> None:
    clock = autojump_clock
    answer = sse(text_chunk("a"), Wait(5), text_chunk("b"), Hold())

    class Blocker(trio.abc.Instrument):
        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            if task.name.startswith("request of") and trio.current_time() == 5.0:
                clock.jump(60)

    async with MemoryNetwork(answer) as network, open_llm(network) as llm:
        blocker = Blocker()
        trio.lowlevel.add_instrument(blocker)
        options = APIConnectOptions(max_retry=0, total_timeout=30)
        try:
            exc, _ = await timed(ask(llm, options).collect)
        finally:
            trio.lowlevel.remove_instrument(blocker)
    assert isinstance(exc, APITimeoutError)
    assert exc.clock == "total"
    assert exc.partial.text == "ab"


# --- Who says how long ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (APIConnectOptions(max_retry=0), 99),
        (attrs.evolve(APIConnectOptions(), max_retry=0), 99),
        (APIConnectOptions(max_retry=0, timeout=10.0), 10),
        (attrs.evolve(APIConnectOptions(max_retry=0), timeout=10.0), 10),
        (APIConnectOptions(max_retry=0, timeout=7), 7),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda llm: llm,
        lambda llm: FallbackAdapter([llm], attempt_timeout=math.inf),
        lambda llm: HedgeAdapter(llm, after=math.inf, budget=0),
    ],
    ids=["alone", "in a fallback", "in a hedge"],
)
async def test_a_timeout_that_was_given_wins_though_it_be_the_default(
    options: APIConnectOptions, seconds: float, wrap: Any, autojump_clock: MockClock
) -> None:
    async with (
        MemoryNetwork(Exchange([Hold()])) as network,
        open_llm(network, extra_kwargs={"timeout": 99}) as llm,
    ):
        model: ChatModel = wrap(llm)
        stream = model.chat(chat_ctx=conversation(), conn_options=options)
        exc, took = await timed(stream.collect)
        assert isinstance(exc, APITimeoutError)
        assert (exc.clock, took) == ("idle", seconds)
