"""`run_turn(ask_again=...)`: an answer does not fit, and the model is told and asked again."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectOptions,
    APIRefusalError,
    APIResponseFormatError,
    APITimeoutError,
    AskedAgain,
    ChatContext,
    ChatMessage,
    FallbackAdapter,
    RoundFinished,
    TextDelta,
    Turn,
    function_tool,
    run_turn,
)
from lktrio.testing import Reply, ScriptedGateway, Wait, error, refusal, reply, tool_call
from tests.support.conversations import assert_valid
from tests.support.matrix import CANCEL_BLOCK, CANCEL_WAIT, INTERRUPT, Cut, Series, advance, sweep


class Sky(enum.Enum):
    BLUE = "blue"
    GREY = "grey"


@attrs.frozen
class Weather:
    sky: Sky
    degrees: int


GOOD = reply('{"sky": "blue", "degrees": 21}')
BAD = reply('{"sky": "green", "degrees": 21}')
WORSE = reply("It is nice.")

TOLD = (
    "Your answer does not have the form that was asked for:\n"
    '- sky: expected "blue" or "grey", got the string "green"\n'
    "Answer again, in that form and with nothing around it."
)


@function_tool
async def look(where: str) -> str:
    """Look out of a window."""
    return f"The {where} is blue."


async def play(
    *script: Any, chat_ctx: ChatContext | None = None, **options: Any
) -> tuple[Turn[Weather], list[Any], tuple[Any, ...]]:
    """Play a turn to its end; returns it, its events, and what was sent."""
    if chat_ctx is None:
        chat_ctx = asked()
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with run_turn(
            llm, chat_ctx=chat_ctx, response_format=Weather, **{"ask_again": 2, **options}
        ) as turn:
            told = [event async for event in turn]
        gateway.assert_all_closed()
    assert_valid(chat_ctx)
    return turn, told, gateway.requests


def asked() -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="How is the weather?")
    return chat_ctx


def said(chat_ctx: ChatContext) -> list[str]:
    """What was said, but for the question."""
    return [
        f"{item.role}: {item.text_content}{' -' if item.interrupted else ''}"
        if isinstance(item, ChatMessage)
        else item.type
        for item in chat_ctx.items[1:]
    ]


# --- What the model reads, and what is kept -------------------------------------------------------


async def test_the_model_reads_what_was_wrong_and_answers_again(autojump_clock: MockClock) -> None:
    turn, told, requests = await play(BAD, GOOD)

    assert turn.last_response is not None
    assert turn.last_response.parsed == Weather(Sky.BLUE, 21)
    assert turn.rounds == 2
    assert said(turn.chat_ctx) == [
        'assistant: {"sky": "green", "degrees": 21}',
        f"user: {TOLD}",
        'assistant: {"sky": "blue", "degrees": 21}',
    ]
    first, second = requests
    assert second.messages == [
        *first.messages,
        {"role": "assistant", "content": '{"sky": "green", "degrees": 21}'},
        {"role": "user", "content": TOLD},
    ]
    # The shape is asked for each time.
    assert second.options["response_format"] == first.options["response_format"]
    kinds = [event.type for event in told if not isinstance(event, TextDelta)]
    assert kinds == ["asked_again", "round_finished", "round_finished"]


async def test_the_event_says_what_is_wrong(autojump_clock: MockClock) -> None:
    turn, told, _ = await play(BAD, WORSE, GOOD)

    events = [event for event in told if isinstance(event, AskedAgain)]
    assert [event.round for event in events] == [1, 2]
    assert events[0].reasons == ('sky: expected "blue" or "grey", got the string "green"',)
    assert [event.message for event in events] == turn.chat_ctx.items[2:5:2]
    assert events[0].message.text_content == TOLD
    assert "not valid JSON" in events[1].reasons[0]
    finished = [event for event in told if isinstance(event, RoundFinished)]
    assert [event.response.text for event in finished] == [
        '{"sky": "green", "degrees": 21}',
        "It is nice.",
        '{"sky": "blue", "degrees": 21}',
    ]
    assert [event.response.parsed for event in finished] == [None, None, Weather(Sky.BLUE, 21)]


async def test_the_last_one_that_does_not_fit_is_raised(autojump_clock: MockClock) -> None:
    chat_ctx = asked()
    with pytest.raises(APIResponseFormatError) as raised:
        await play(BAD, BAD, WORSE, chat_ctx=chat_ctx)

    assert raised.value.text == "It is nice."
    assert raised.value.partial.text == "It is nice."
    assert said(chat_ctx) == [
        *('assistant: {"sky": "green", "degrees": 21}', f"user: {TOLD}") * 2,
        "assistant: It is nice.",
    ]
    assert_valid(chat_ctx)


async def test_nobody_is_asked_again_unless_it_is_said(autojump_clock: MockClock) -> None:
    chat_ctx = asked()
    with pytest.raises(APIResponseFormatError):
        await play(BAD, chat_ctx=chat_ctx, ask_again=0)
    assert said(chat_ctx) == ['assistant: {"sky": "green", "degrees": 21}']


async def test_an_answer_that_was_cut_off_or_is_empty_is_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    cut = reply('{"sky": "bl', finish_reason="length")
    turn, told, _ = await play(cut, reply(), GOOD)

    reasons = [event.reasons for event in told if isinstance(event, AskedAgain)]
    assert "reached its limit of tokens" in reasons[0][0]
    assert reasons[1] == ("the answer is empty",)
    assert [line.partition(":")[0] for line in said(turn.chat_ctx)] == [
        *("assistant", "user", "user", "assistant")
    ]


async def test_of_many_reasons_the_model_reads_ten(autojump_clock: MockClock) -> None:
    @attrs.frozen
    class Numbers:
        numbers: list[int]

    chat_ctx = asked()
    script = [reply('{"numbers": [' + ", ".join(["true"] * 30) + "]}"), reply('{"numbers": []}')]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with run_turn(llm, chat_ctx=chat_ctx, response_format=Numbers, ask_again=1) as turn:
            async for event in turn:
                if isinstance(event, AskedAgain):
                    assert len(event.reasons) == 30
    message = chat_ctx.items[2]
    assert isinstance(message, ChatMessage)
    lines = (message.text_content or "").splitlines()
    assert lines[1] == "- numbers[0]: expected an integer, got true"
    assert lines[10:12] == ["- numbers[9]: expected an integer, got true", "- and more"]
    assert len(lines) == 13


async def test_a_refusal_is_not_argued_with(autojump_clock: MockClock) -> None:
    with pytest.raises(APIRefusalError):
        await play(reply(refusal("I will not.")))


# --- Limits ---------------------------------------------------------------------------------------


async def test_tools_may_be_called_before_the_better_answer(autojump_clock: MockClock) -> None:
    call = tool_call("look", {"where": "sky"})
    turn, _, requests = await play(BAD, call, GOOD, tools=[look], tool_choice="auto")

    assert [request.options["tool_choice"] for request in requests] == ["auto"] * 3
    assert [line.partition(":")[0] for line in said(turn.chat_ctx)] == [
        *("assistant", "user", "function_call", "function_call_output", "assistant")
    ]
    assert turn.last_response is not None
    assert turn.last_response.parsed == Weather(Sky.BLUE, 21)


async def test_these_are_rounds_like_others(autojump_clock: MockClock) -> None:
    chat_ctx = asked()
    call = tool_call("look", {"where": "sky"})
    with pytest.raises(APIResponseFormatError):
        await play(call, call, BAD, chat_ctx=chat_ctx, tools=[look], max_rounds=3)
    assert said(chat_ctx)[-1] == 'assistant: {"sky": "green", "degrees": 21}'


async def test_in_the_last_round_no_tool_is_called(autojump_clock: MockClock) -> None:
    _, _, requests = await play(BAD, BAD, GOOD, tools=[look], max_rounds=3)

    assert [request.options.get("tool_choice") for request in requests] == [None, "auto", "none"]


async def test_the_tokens_of_every_answer_count(autojump_clock: MockClock) -> None:
    turn, _, _ = await play(reply("No.", usage=(10, 1)), reply("No.", usage=(20, 2)), GOOD)

    assert turn.usage is not None
    assert (turn.usage.prompt_tokens, turn.usage.completion_tokens) == (39, 6)
    assert len(turn.metrics) == 3


async def test_a_deadline_ends_it(autojump_clock: MockClock) -> None:
    chat_ctx = asked()
    slow = reply(Wait(2), '{"sky": "green"}')
    with trio.move_on_after(3) as scope:
        await play(slow, slow, slow, chat_ctx=chat_ctx)

    assert scope.cancelled_caught
    assert trio.current_time() == 3
    assert [line.partition(":")[0] for line in said(chat_ctx)] == ["assistant", "user"]
    assert_valid(chat_ctx)


async def test_each_round_has_its_clocks(autojump_clock: MockClock) -> None:
    options = APIConnectOptions(max_retry=0, total_timeout=3)
    slow = reply(Wait(2), '{"sky": "green"}')
    with pytest.raises(APITimeoutError) as raised:
        await play(slow, slow, reply(Wait(9)), conn_options=options)

    assert raised.value.clock == "total"
    assert trio.current_time() == 7


async def test_a_request_that_fails_then_is_tried_again_as_usual(
    autojump_clock: MockClock,
) -> None:
    turn, _, requests = await play(BAD, error(503), GOOD, ask_again=1)

    assert turn.rounds == 2
    assert requests[1].messages == requests[2].messages


async def test_several_models_behind_one(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([BAD, GOOD]) as gateway, gateway.llm() as llm:
        model = FallbackAdapter([llm, llm])
        async with run_turn(model, chat_ctx=asked(), response_format=Weather, ask_again=1) as turn:
            async for _ in turn:
                pass
    assert turn.last_response is not None
    assert turn.last_response.parsed == Weather(Sky.BLUE, 21)


# --- Only what was delivered is kept --------------------------------------------------------------


@pytest.mark.parametrize("events", range(9))
async def test_what_is_said_of_an_answer_stands_behind_a_whole_one(
    autojump_clock: MockClock, events: int
) -> None:
    chat_ctx = asked()
    script = [reply('{"sky": ', "1}"), reply('{"sky": ', "2}"), GOOD]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with run_turn(llm, chat_ctx=chat_ctx, response_format=Weather, ask_again=2) as turn:
            for _ in range(events):
                await anext(turn)
            await trio.sleep(1)
    assert_valid(chat_ctx)
    lines = said(chat_ctx)
    for before, line in itertools.pairwise(lines):
        if line.startswith("user"):
            assert before in {'assistant: {"sky": 1}', 'assistant: {"sky": 2}'}
    # Two texts, the event, the round; and again.
    whole = [line for line in lines if line.startswith("assistant") and not line.endswith("-")]
    assert len(whole) == [0, 0, 1, 1, 1, 1, 2, 2, 2][events]
    assert sum(line.startswith("user") for line in lines) == len(whole)


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        (0, []),
        (4, ["assistant: It i -"]),
        (11, ["assistant: It is nice.", "user: ..."]),
        (13, ["assistant: It is nice.", "user: ...", 'assistant: {" -']),
    ],
)
async def test_what_is_said_of_an_answer_goes_with_what_was_not_spoken_of_it(
    autojump_clock: MockClock, spoken: int, expected: list[str]
) -> None:
    chat_ctx = asked()
    async with ScriptedGateway([WORSE, GOOD]) as gateway, gateway.llm() as llm:
        async with run_turn(llm, chat_ctx=chat_ctx, response_format=Weather, ask_again=1) as turn:
            async for _ in turn:
                pass
            turn.set_spoken(spoken)

    lines = ["user: ..." if line.startswith("user") else line for line in said(chat_ctx)]
    assert lines == expected
    assert_valid(chat_ctx)


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error_type", "text"),
    [
        ({"ask_again": -1}, ValueError, "ask_again=-1 is not accepted"),
        ({"ask_again": True}, TypeError, "ask_again=True"),
        ({"ask_again": 1}, ValueError, "give a type as response_format"),
        ({"ask_again": 1, "response_format": None}, ValueError, "give a type as response_format"),
        (
            {"ask_again": 1, "response_format": {"type": "json_object"}},
            ValueError,
            "give a type as response_format",
        ),
        (
            {"ask_again": 3, "response_format": Weather, "max_rounds": 3},
            ValueError,
            r"ask_again=3 .* max_rounds=3; give max_rounds of at least 4",
        ),
    ],
)
async def test_bad_input_is_refused_at_the_call(
    options: dict[str, Any], error_type: type[Exception], text: str
) -> None:
    llm = LLM("m", base_url="http://127.0.0.1:1/v1", auth=None)
    with pytest.raises(error_type, match=text):
        run_turn(llm, chat_ctx=asked(), **options)


# --- The matrix: cut at every task step -----------------------------------------------------------

SCENARIOS: dict[str, Sequence[Reply]] = {
    "better the second time": [reply('{"sky": "green"}', every=0.1), GOOD],
    "never": [BAD, WORSE, BAD],
}


def runs(name: str) -> Callable[[Cut], Awaitable[str]]:
    async def run(cut: Cut) -> str:
        chat_ctx = asked()
        got: list[str] = []
        result = "cut"
        gateway = ScriptedGateway(lambda request: SCENARIOS[name][request.number])
        async with gateway, gateway.llm() as llm:
            try:
                with cut.watched(), cut.scope:
                    async with run_turn(
                        llm,
                        chat_ctx=chat_ctx,
                        conn_options=APIConnectOptions(max_retry=0),
                        response_format=Weather,
                        ask_again=2,
                    ) as turn:
                        await read(turn, cut, got)
                    result = "over"
            except APIResponseFormatError:
                result = "error"
            except APITimeoutError:
                result = "late"
            finally:
                assert_valid(chat_ctx)
                texts = [
                    item.text_content or ""
                    for item in chat_ctx.items
                    if isinstance(item, ChatMessage) and item.role == "assistant"
                ]
                assert "".join(texts) == "".join(got)
            await gateway.wait_all_closed()
        return result

    return run


async def read(turn: Turn[Weather], cut: Cut, got: list[str]) -> None:
    while True:
        event = None
        with cut.one_wait():
            try:
                event = await anext(turn)
            except StopAsyncIteration:
                return
        if isinstance(event, TextDelta):
            got.append(event.text)


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_at_every_step_leaves_a_valid_conversation(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_BLOCK, series)

    assert outcome.undisturbed == ("error" if name == "never" else "over")
    assert "cut" in outcome.results


@pytest.mark.parametrize("series", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelling_one_wait_loses_nothing(name: str, series: Series) -> None:
    outcome = sweep(runs(name), CANCEL_WAIT, series)

    assert set(outcome.results) == {outcome.undisturbed}


@pytest.mark.parametrize("series", ["before", "after"])
def test_ctrl_c_is_bare_and_leaves_a_valid_conversation(series: Series) -> None:
    sweep(runs("better the second time"), INTERRUPT, series)


def test_a_clock_that_fires_leaves_a_valid_conversation() -> None:
    outcome = sweep(runs("better the second time"), advance(60), "before")

    assert "late" in outcome.results
