"""The scripted gateway as a user of `lktrio.testing` sees it, in memory and over loopback TCP."""

from __future__ import annotations

import json
import math
import os
import time
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatContext,
    CollectedResponse,
    FallbackAdapter,
    HedgeAdapter,
    function_tool,
)
from lktrio._settings.credentials import Credentials, access_token
from lktrio.testing import (
    Close,
    Hold,
    LeakError,
    NoConnection,
    RecordedRequest,
    Reply,
    Reset,
    ScriptedGateway,
    ScriptError,
    Wait,
    error,
    reply,
    tool_call,
)
from tests.support.leaks import no_leaks
from tests.support.matrix import CANCEL_BLOCK, Cut, Series, sweep

ONCE = APIConnectOptions(max_retry=0)


def conversation(text: str = "Hi") -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=text)
    return chat_ctx


async def ask(
    llm: LLM, text: str = "Hi", conn_options: APIConnectOptions = ONCE, **options: Any
) -> CollectedResponse[None]:
    return await llm.chat(
        chat_ctx=conversation(text), conn_options=conn_options, **options
    ).collect()


# --- Replies and their order ----------------------------------------------------------------------


async def test_replies_are_given_in_their_order(autojump_clock: MockClock) -> None:
    script = ["Hello!", error(503), tool_call("get_weather", {"city": "Paris"})]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        assert (await ask(llm)).text == "Hello!"
        with pytest.raises(APIStatusError) as caught:
            await ask(llm)
        assert caught.value.status_code == 503
        (call,) = (await ask(llm)).tool_calls
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
        gateway.assert_all_closed()


async def test_one_reply_is_for_every_request(autojump_clock: MockClock) -> None:
    async with ScriptedGateway("Hello!") as gateway, gateway.llm() as llm:
        for _ in range(3):
            assert (await ask(llm)).text == "Hello!"
    assert len(gateway.requests) == 3
    assert gateway.connections == 1


async def test_a_function_chooses_by_the_request(autojump_clock: MockClock) -> None:
    def choose(request: RecordedRequest) -> str | None:
        return "sunny" if "weather" in request.last_user_message else None

    async with ScriptedGateway(choose) as gateway, gateway.llm() as llm:
        gateway.add("something else")
        assert (await ask(llm, "What?")).text == "something else"
        assert (await ask(llm, "How is the weather?")).text == "sunny"


async def test_a_function_among_the_replies_makes_one_of_them(autojump_clock: MockClock) -> None:
    script = [lambda request: f"You said {request.last_user_message}.", "Bye."]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        assert (await ask(llm, "yes")).text == "You said yes."
        assert (await ask(llm)).text == "Bye."


async def test_two_models_share_a_gateway(autojump_clock: MockClock) -> None:
    async with ScriptedGateway(lambda request: request.model) as gateway:
        async with gateway.llm("a") as first, gateway.llm("b") as second:
            assert [(await ask(llm)).text for llm in (first, second)] == ["a", "b"]


async def test_one_gateway_plays_the_model_that_fails_and_the_one_that_helps_out(
    autojump_clock: MockClock,
) -> None:
    def play(request: RecordedRequest) -> Reply | str:
        return error(500) if request.model == "first" else "Hello!"

    async with ScriptedGateway(play) as gateway:
        async with gateway.llm("first") as first, gateway.llm("second") as second:
            adapter = FallbackAdapter([first, second])
            answer = await adapter.chat(chat_ctx=conversation()).collect()
            # The adapter looks later whether the first one has recovered.
            assert [request.model for request in gateway.requests] == ["first", "second"]
    assert answer.text == "Hello!"


async def test_the_loser_of_a_race_is_seen_to_be_stopped(autojump_clock: MockClock) -> None:
    def play(request: RecordedRequest) -> Reply:
        return reply("Hello!").after(60 if request.model == "slow" else 1)

    async with ScriptedGateway(play) as gateway:
        async with gateway.llm("slow") as slow, gateway.llm("fast") as fast:
            adapter = HedgeAdapter([slow, fast], after=0.5)
            answer = await adapter.chat(chat_ctx=conversation()).collect()
            gateway.assert_all_closed()
    assert answer.text == "Hello!"
    lost, won = gateway.requests
    assert (lost.model, lost.interrupted, won.model, won.interrupted) == (
        "slow",
        True,
        "fast",
        False,
    )
    assert (lost.arrived_at, won.arrived_at) == (0, 0.5)


async def test_hundred_programs_at_once(autojump_clock: MockClock) -> None:
    def play(request: RecordedRequest) -> Reply:
        return reply(f"{request.last_user_message} one two three", every=1)

    answers: list[str] = []

    async def one(number: int) -> None:
        answers.append((await ask(llm, str(number))).text)

    async with ScriptedGateway(play) as gateway, gateway.llm() as llm:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, number)
            await gateway.wait_for_requests(100)
            assert not any(request.finished_at for request in gateway.requests)
        gateway.assert_all_closed()
    assert sorted(answers) == sorted(f"{number} one two three" for number in range(100))
    assert trio.current_time() == 6


# --- Time and failures ----------------------------------------------------------------------------


async def test_the_time_of_a_reply_is_virtual(autojump_clock: MockClock) -> None:
    before = time.monotonic()
    script = [reply("one two three", Wait(100), "four", every=10, usage=None)]
    async with ScriptedGateway(script, connect_delay=1) as gateway, gateway.llm() as llm:
        assert (await ask(llm, conn_options=APIConnectOptions(timeout=200))).text == (
            "one two threefour"
        )
        # Connecting, three words, the pause, a word, the finish reason, `[DONE]`.
        assert trio.current_time() == 1 + 2 * 10 + 100 + 3 * 10
    assert time.monotonic() - before < 100
    (request,) = gateway.requests
    assert (request.arrived_at, request.finished_at) == (1, 151)


@pytest.mark.parametrize("end", [Close(), Reset()])
async def test_a_reply_can_be_cut(autojump_clock: MockClock, end: Close | Reset) -> None:
    async with ScriptedGateway([reply("It is", end)]) as gateway, gateway.llm() as llm:
        with pytest.raises(APIConnectionError) as caught:
            await ask(llm)
        gateway.assert_all_closed()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "It is"
    assert gateway.last_request.closed_at is None


async def test_a_reply_can_stall_for_ever(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([reply("It is", Hold())]) as gateway, gateway.llm() as llm:
        with pytest.raises(APITimeoutError) as caught:
            await ask(llm, conn_options=APIConnectOptions(max_retry=0, timeout=7))
        gateway.assert_all_closed()
    assert caught.value.clock == "idle"
    assert gateway.last_request.interrupted
    assert gateway.last_request.closed_at == 7


async def test_connecting_can_fail_once(autojump_clock: MockClock) -> None:
    script = [NoConnection(), "Hello!", NoConnection("gone", after=3), NoConnection(after=math.inf)]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        with pytest.raises(APIConnectionError, match="connection refused"):
            await ask(llm)
        assert (await ask(llm)).text == "Hello!"
        # The connection that was kept is of no use.
        with pytest.raises(APIConnectionError, match="gone"):
            await ask(llm)
        assert trio.current_time() == 3
        with pytest.raises(APITimeoutError) as caught:
            await ask(llm)
        assert caught.value.clock == "connect"
        gateway.assert_all_closed()
    assert len(gateway.requests) == 1


async def test_a_gateway_can_be_out_of_reach_altogether(autojump_clock: MockClock) -> None:
    async with ScriptedGateway(NoConnection("no route")) as gateway, gateway.llm() as llm:
        with pytest.raises(APIConnectionError, match="no route") as caught:
            await ask(llm, conn_options=APIConnectOptions(max_retry=2))
    assert len(caught.value.attempts) == 3
    assert (gateway.requests, gateway.connections) == ((), 0)


@pytest.mark.parametrize("series", ["before", "after"])
def test_a_cancel_anywhere_leaves_nothing(series: Series) -> None:
    async def scenario(cut: Cut) -> None:
        gateway = ScriptedGateway(["Hello!", reply("one two", every=1)], allow_unused=True)
        with cut.watched(), cut.scope:
            async with gateway, gateway.llm() as llm:
                await ask(llm)
                await ask(llm)
        gateway.assert_all_closed()

    sweep(scenario, CANCEL_BLOCK, series)


async def test_a_cancel_before_the_port_is_open_leaves_nothing() -> None:
    with no_leaks():
        with trio.CancelScope() as scope:
            scope.cancel()
            async with ScriptedGateway(loopback=True):
                raise AssertionError
        assert scope.cancelled_caught
        gateway = ScriptedGateway(loopback=True)
        async with gateway:
            pass
        with pytest.raises(RuntimeError, match="entered before"):
            async with gateway:
                pass


async def test_an_interruption_is_seen(autojump_clock: MockClock) -> None:
    script = [reply("a long answer of many words", every=1)]
    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
            async for text in stream.text:
                if text == " answer":
                    with pytest.raises(LeakError, match=r"still being answered:\n- Recorded"):
                        gateway.assert_all_closed()
                    break
        gateway.assert_all_closed()
        await gateway.wait_all_closed()
        request = gateway.last_request
        assert request.interrupted
        assert (request.closed_at, request.finished_at) == (2, None)
        assert request.bytes_sent > 0


async def test_a_test_can_wait_for_a_request(autojump_clock: MockClock) -> None:
    async with ScriptedGateway([reply("Hi").after(60)]) as gateway, gateway.llm() as llm:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, llm)
            await gateway.wait_for_requests()
            assert gateway.last_request.arrived_at == trio.current_time() == 0
            nursery.cancel_scope.cancel()
        await gateway.wait_all_closed()
        assert gateway.last_request.interrupted
        await gateway.wait_for_requests(1)


# --- What is recorded -----------------------------------------------------------------------------


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


async def test_a_request_is_a_typed_value(autojump_clock: MockClock) -> None:
    chat_ctx = conversation("How is the weather?")
    async with ScriptedGateway(["Hello!"]) as gateway:
        async with gateway.llm("openai/gpt-4o", extra_kwargs={"temperature": 0.5}) as llm:
            stream = llm.chat(
                chat_ctx=chat_ctx, tools=[get_weather], inference_class="low", tool_choice="auto"
            )
            await stream.collect()
    request = gateway.last_request
    assert request.model == "openai/gpt-4o"
    assert request.messages == [{"role": "user", "content": "How is the weather?"}]
    assert request.last_user_message == "How is the weather?"
    assert request.tool_names == ["get_weather"]
    assert request.options == {"temperature": 0.5, "tool_choice": "auto"}
    assert request.headers["x-livekit-inference-priority"] == "low"
    assert request.target == "/v1/chat/completions"
    assert json.loads(request.body)["stream"] is True
    assert (request.number, request.connection, request.refused) == (0, 0, None)
    assert request.tool_outputs == {}
    assert not request.interrupted
    # The bytes of token and conversation stay out of reports.
    assert "Bearer" not in repr(request)


def test_a_message_of_parts_and_a_conversation_without_a_user_can_be_read() -> None:
    def request(*messages: dict[str, Any]) -> RecordedRequest:
        return RecordedRequest(
            number=0,
            model="m",
            messages=list(messages),
            tools=[],
            options={},
            headers={},
            body=b"",
            arrived_at=0.0,
            connection=0,
        )

    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert request({"role": "user", "content": parts}).last_user_message == "a\nb"
    assert request({"role": "system", "content": "x"}).last_user_message == ""
    outputs = request({"role": "tool", "tool_call_id": "c", "content": "sunny"}).tool_outputs
    assert outputs == {"c": "sunny"}


async def test_a_gateway_that_was_not_asked_has_no_last_request() -> None:
    async with ScriptedGateway() as gateway:
        assert gateway.requests == ()
        with pytest.raises(AssertionError, match="has received no request"):
            _ = gateway.last_request
        gateway.assert_all_closed()
    assert repr(gateway) == "<ScriptedGateway in memory, 0 requests, 0 replies queued>"


async def test_a_connection_that_is_left_open_is_named(autojump_clock: MockClock) -> None:
    async with ScriptedGateway("Hi") as gateway:
        async with (
            gateway.http_client() as client,
            client.stream("GET", gateway.base_url + "/models", headers=headers(gateway)),
        ):
            with pytest.raises(LeakError, match="in use"):
                gateway.assert_all_closed()


# --- Who is let in --------------------------------------------------------------------------------


def headers(gateway: ScriptedGateway) -> dict[str, str]:
    credentials = Credentials(gateway.api_key, gateway.api_secret)
    return {"Authorization": f"Bearer {access_token(credentials, now=time.time())}"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"api_key": "APIother"}, "issued by 'APIother', not by 'APIscripted'"),
        ({"api_secret": "another secret"}, "not made with this gateway's api_secret"),
        ({"auth": None}, "there is no Authorization header"),
        ({"auth": "Basic abc"}, "not 'Bearer <token>'"),
        ({"auth": "Bearer sk-123"}, "not a JSON Web Token"),
    ],
)
async def test_a_wrong_token_is_refused_with_the_reason(
    autojump_clock: MockClock, options: dict[str, Any], reason: str
) -> None:
    async with ScriptedGateway(["Hello!"], allow_unused=True) as gateway:
        if "auth" not in options:
            keys = {"api_key": gateway.api_key, "api_secret": gateway.api_secret}
            options = {**keys, **options}
        llm = LLM("m", base_url=gateway.base_url, http_client=gateway.http_client(), **options)
        async with llm:
            with pytest.raises(APIStatusError, match=reason) as caught:
                await ask(llm)
            with pytest.raises(APIStatusError, match=reason):
                await llm.prewarm()
    assert caught.value.status_code == 401
    assert not caught.value.retryable
    assert reason in str(gateway.last_request.refused)


async def test_a_gateway_can_take_a_header_as_it_is_or_any(autojump_clock: MockClock) -> None:
    async with ScriptedGateway("Hi", auth="Bearer sk-1") as gateway, gateway.llm() as llm:
        assert (await ask(llm)).text == "Hi"
        async with gateway.llm(auth="Bearer sk-2") as stranger:
            with pytest.raises(APIStatusError, match="not the one that this gateway takes"):
                await ask(stranger)
    async with ScriptedGateway("Hi", auth=None) as gateway, gateway.llm(auth="Bearer x") as llm:
        assert (await ask(llm)).text == "Hi"


async def test_prewarming_is_answered_and_is_no_request_of_the_script(
    autojump_clock: MockClock,
) -> None:
    async with ScriptedGateway(["Hi"]) as gateway, gateway.llm() as llm:
        await llm.prewarm()
        await ask(llm)
    assert len(gateway.requests) == gateway.connections == 1


async def test_what_is_no_chat_completion_is_answered_with_its_fault(
    autojump_clock: MockClock,
) -> None:
    async with ScriptedGateway() as gateway, gateway.http_client() as client:
        lost = await client.post(gateway.base_url + "/embeddings", headers=headers(gateway))
        assert (lost.status_code, gateway.requests) == (404, ())
        assert "there is no POST /v1/embeddings" in lost.json()["error"]["message"]
        url = gateway.base_url + "/chat/completions"
        for content in (b"[]", b"\xff"):
            bad = await client.post(url, headers=headers(gateway), content=content)
            assert bad.status_code == 400
        assert gateway.last_request.refused == "the body is not a JSON object"
        assert gateway.last_request.messages == []


# --- What a script lacks, and what is left of it --------------------------------------------------


async def test_a_request_too_many_is_told_to_both_sides(autojump_clock: MockClock) -> None:
    async def run(raises: type[Exception]) -> None:
        async with ScriptedGateway(["Hello!"]) as gateway, gateway.llm("m") as llm:
            await ask(llm)
            with pytest.raises(raises, match="no reply for request 1, 'And now\\?' to m"):
                await ask(llm, "And now?")

    with pytest.raises(ScriptError, match="no reply for request 1"):
        await run(APIStatusError)
    with pytest.raises(APIStatusError) as caught:
        await run(TypeError)
    assert "no reply for request 1" in caught.value.__notes__[0]


async def test_replies_that_nobody_asked_for_are_named_at_the_end(
    autojump_clock: MockClock,
) -> None:
    unused = [error(503), "Hi", tool_call("f"), NoConnection(), reply("x" * 100)]
    lines = [
        "5 of the scripted replies never asked for:",
        "- error(503, 'scripted error')",
        "- 'Hi'",
        "- f(...)",
        "- no connection (connection refused)",
        f"- reply('{'x' * 46}...)",
    ]
    with pytest.raises(ScriptError) as caught:
        async with ScriptedGateway(unused):
            pass
    assert str(caught.value).splitlines() == lines
    with pytest.raises(KeyError) as noted:
        async with ScriptedGateway(unused):
            raise KeyError
    assert noted.value.__notes__ == ["\n".join(lines)]
    async with ScriptedGateway(unused, allow_unused=True):
        pass


async def test_a_refusal_is_given_as_the_reason_why_a_reply_was_not_asked_for(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(ScriptError, match="and request 0 was refused: there is no Authorization"):
        async with ScriptedGateway(["Hi"]) as gateway, gateway.llm(auth=None) as llm:
            with pytest.raises(APIStatusError):
                await ask(llm)


async def test_a_function_that_fails_is_told_to_both_sides(autojump_clock: MockClock) -> None:
    def broken(request: RecordedRequest) -> str:
        return request.options["no such option"]  # type: ignore[no-any-return]

    with pytest.raises(KeyError, match="no such option"):
        async with ScriptedGateway(broken) as gateway, gateway.llm() as llm:
            with pytest.raises(APIStatusError, match="the script's function failed: KeyError"):
                await ask(llm)
    with pytest.raises(TypeError, match="a script holds replies"):
        async with ScriptedGateway(lambda _: 5) as gateway, gateway.llm() as llm:  # type: ignore[arg-type, return-value]
            with pytest.raises(APIStatusError):
                await ask(llm)


@pytest.mark.parametrize("script", [5, None, b"Hi", {"Hi": "Hello!"}])
def test_what_is_no_script_is_refused(script: Any) -> None:
    with pytest.raises(TypeError, match="a script holds replies"):
        ScriptedGateway(script)


@pytest.mark.parametrize("item", [5, None, ["Hi"], b"Hi"])
def test_what_is_no_reply_is_refused_where_it_is_given(item: Any) -> None:
    with pytest.raises(TypeError, match="a script holds replies"):
        ScriptedGateway([item])
    gateway = ScriptedGateway()
    with pytest.raises(TypeError, match="a script holds replies"):
        gateway.add("Hi", item)
    assert "0 replies queued" in repr(gateway)


async def test_a_gateway_is_entered_once_and_before_it_is_asked() -> None:
    gateway = ScriptedGateway("Hi")
    async with gateway.llm() as llm:
        with pytest.raises(RuntimeError, match=r"inside `async with ScriptedGateway\(...\)`"):
            await ask(llm)
    async with gateway:
        pass
    with pytest.raises(RuntimeError, match="this ScriptedGateway was entered before"):
        async with gateway:
            pass


# --- Programs that make their own LLM -------------------------------------------------------------


async def program(question: str) -> str:
    async with LLM("openai/gpt-4.1-mini") as llm:
        return (await ask(llm, question)).text


async def test_a_program_that_takes_all_from_the_environment_is_led_here(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_INFERENCE_API_KEY", "APIreal")
    before = dict(os.environ)
    async with ScriptedGateway([reply("Hello!", every=5)]) as gateway:
        with gateway.installed():
            assert await program("Hi") == "Hello!"
            gateway.assert_all_closed()
        assert trio.current_time() == 15
        assert dict(os.environ) == before
        async with LLM("m", auth=None, base_url="http://127.0.0.1:9/v1") as llm:
            with pytest.raises(APIConnectionError):
                await ask(llm)
    assert gateway.last_request.headers["host"] == "gateway.test"


async def test_a_program_of_another_server_is_led_here_too(autojump_clock: MockClock) -> None:
    async with ScriptedGateway(["Hi"], auth="Bearer sk-1") as gateway:
        with gateway.installed():
            async with LLM("m", auth="Bearer sk-1", base_url="https://api.example.com/v1") as llm:
                assert (await ask(llm)).text == "Hi"
    assert gateway.last_request.headers["host"] == "api.example.com"


@pytest.mark.parametrize("auth", ["Bearer sk-1", "Basic abc", "Bearer ey.not.ours", None])
async def test_a_program_of_another_server_needs_no_words_about_its_header(
    auth: str | None, autojump_clock: MockClock
) -> None:
    async with ScriptedGateway(["Hi"]) as gateway:
        with gateway.installed():
            async with LLM("m", auth=auth, base_url="http://localhost:8080/v1") as llm:
                await llm.prewarm()
                assert (await ask(llm)).text == "Hi"
    assert gateway.last_request.headers["host"] == "localhost:8080"
    assert gateway.last_request.refused is None


async def test_a_program_of_livekit_is_checked_wherever_it_asks(autojump_clock: MockClock) -> None:
    async with ScriptedGateway(["Hi"], allow_unused=True) as gateway:
        with gateway.installed():
            for base_url in (gateway.base_url, "https://agent-gateway.livekit.cloud/v1"):
                async with LLM("m", auth="Bearer sk-1", base_url=base_url) as llm:
                    with pytest.raises(APIStatusError, match=r"JSON Web Token.*\(auth=\.\.\.\)"):
                        await ask(llm)


# --- Over loopback TCP ----------------------------------------------------------------------------


async def test_the_same_over_loopback_tcp() -> None:
    with no_leaks():
        script = ["Hello!", reply("It is", Reset()), "Hello again!", NoConnection()]
        async with ScriptedGateway(script, loopback=True) as gateway:
            async with gateway.llm() as llm:
                assert (await ask(llm)).text == "Hello!"
                with pytest.raises(APIConnectionError):
                    await ask(llm)
                with gateway.installed():
                    assert await program("Hi") == "Hello again!"
                with pytest.raises(APIError):
                    await ask(llm)
            await gateway.wait_all_closed()
            gateway.assert_all_closed()
    assert [request.last_user_message for request in gateway.requests] == ["Hi"] * 3
    assert "on 127.0.0.1" in repr(gateway)


async def test_over_loopback_any_client_will_do() -> None:
    async with ScriptedGateway("Hi", loopback=True, auth=None) as gateway:
        async with httpx.AsyncClient(trust_env=False) as client:
            url = gateway.environ["LIVEKIT_INFERENCE_URL"] + "/chat/completions"
            answer = await client.post(url, json={"model": "m"})
        assert answer.text.endswith("data: [DONE]\n\n")
    assert gateway.last_request.model == "m"


async def test_over_loopback_an_interruption_is_seen() -> None:
    script = [reply("one", Hold())]
    async with ScriptedGateway(script, loopback=True) as gateway, gateway.llm() as llm:
        async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
            assert await anext(stream.text) == "one"
        await gateway.wait_all_closed()
        assert gateway.last_request.interrupted


async def test_an_autojump_clock_over_loopback_is_refused(autojump_clock: MockClock) -> None:
    gateway = ScriptedGateway(loopback=True)
    with pytest.raises(RuntimeError, match="leave out loopback=True, or autojump_clock"):
        async with gateway:
            pass
    with pytest.raises(RuntimeError, match="the port is known inside"):
        _ = gateway.base_url
