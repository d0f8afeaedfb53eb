"""A live exchange becomes a script: what is kept, what is taken out, and that it plays the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    LLM,
    APIConnectionError,
    APIConnectOptions,
    APIStatusError,
    ChatContext,
    CollectedResponse,
)
from lktrio.testing import (
    Hold,
    RecordedExchange,
    RecordedRequest,
    Recorder,
    Recording,
    Reply,
    Reset,
    ScriptedGateway,
    Send,
    Wait,
    chunk,
    error,
    events,
    raw,
    reply,
    tool_call,
)
from tests.support.leaks import no_leaks

ONCE = APIConnectOptions(max_retry=0)


def conversation(text: str = "Hi") -> ChatContext:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=text)
    return chat_ctx


async def ask(llm: LLM, text: str = "Hi") -> CollectedResponse[None]:
    return await llm.chat(chat_ctx=conversation(text), conn_options=ONCE).collect()


def llm_of(gateway: ScriptedGateway, recorder: Recorder, **options: Any) -> LLM:
    return gateway.llm(http_client=recorder.attach(gateway.http_client()), **options)


async def test_a_recorded_exchange_plays_as_it_went(autojump_clock: MockClock) -> None:
    live = [
        reply("one two", tool_call("f", {"a": 1}), every=2, usage=(5, 4)).after(1),
        error(503, "busy", retry_after=4),
    ]

    async def run(llm: LLM) -> tuple[list[tuple[float, object]], float | None]:
        start = trio.current_time()
        async with llm:
            async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
                seen: list[tuple[float, object]] = [
                    (trio.current_time() - start, item) async for item in stream
                ]
            with pytest.raises(APIStatusError, match="busy") as caught:
                await ask(llm)
        return seen, caught.value.retry_after

    recorder = Recorder()
    async with ScriptedGateway(live) as gateway:
        first = await run(llm_of(gateway, recorder))
    async with ScriptedGateway(recorder.recording.replies()) as gateway:
        assert await run(gateway.llm()) == first
    start = trio.current_time()
    async with ScriptedGateway(recorder.recording.replies(pauses=False)) as gateway:
        again = await run(gateway.llm())
    assert [item for _, item in again[0]] == [item for _, item in first[0]]
    assert trio.current_time() == start
    assert first[0][0][0] == 1


async def test_request_and_answer_are_values(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with ScriptedGateway(["Hello!"]) as gateway, llm_of(gateway, recorder) as llm:
        await llm.prewarm()
        await ask(llm, "Who are you?")
    models, exchange = recorder.recording.exchanges
    assert (models.path, models.request, models.status) == ("/v1/models", None, 200)
    assert exchange.path == "/v1/chat/completions"
    assert exchange.request is not None
    assert exchange.request["messages"] == [{"role": "user", "content": "Who are you?"}]
    assert (exchange.status, exchange.ended) == (200, "complete")
    assert exchange.headers == (("content-type", "text/event-stream"),)
    assert exchange.text.startswith('data: {"id":"chatcmpl-1"')
    # What is no chat completion is no part of a script.
    (made,) = recorder.recording.replies()
    assert str(made) == f"recorded(200, {exchange.text[:40]!r})"


async def test_no_credential_is_kept(autojump_clock: MockClock) -> None:
    def echo(request: RecordedRequest) -> Reply:
        token = request.headers["authorization"]
        return error(
            403,
            f"{token} of account-7 is not good, nor is {request.headers['x-api-key']}",
            headers={"X-Request-Id": f"for {token}", "Set-Cookie": "a=b", "X-Org": "acme"},
        )

    recorder = Recorder(secrets=["account-7"])
    options = {"extra_headers": {"X-Api-Key": "key-of-somebody"}, "user": "account-7"}
    async with ScriptedGateway(echo) as gateway:
        async with llm_of(gateway, recorder, extra_kwargs=options) as llm:
            with pytest.raises(APIStatusError):
                await ask(llm)
    token = gateway.last_request.headers["authorization"].removeprefix("Bearer ")
    saved = recorder.recording.to_json()
    for secret in (token, "account-7", "key-of-somebody", gateway.api_secret, "acme", "a=b"):
        assert secret not in saved
        assert secret not in repr(recorder.recording)
    (exchange,) = recorder.recording.exchanges
    assert "*" * len(token) in exchange.text
    assert [name for name, _ in exchange.headers] == ["content-type", "x-request-id"]
    assert exchange.request is not None
    assert exchange.request["user"] == "*********"


CREDENTIALS: dict[str, dict[str, dict[str, str]]] = {
    "x-goog-api-key": {"extra_headers": {"x-goog-api-key": "key/of+somebody"}},
    "cookie": {"extra_headers": {"Cookie": "theme=dark; session=key/of+somebody"}},
    "cf-access": {"extra_headers": {"CF-Access-Client-Secret": "key/of+somebody"}},
    "query": {"extra_query": {"key": "key/of+somebody"}},
}


@pytest.mark.parametrize("name", CREDENTIALS)
async def test_no_credential_of_any_name_is_kept(name: str, autojump_clock: MockClock) -> None:
    echo = error(403, "bad key key/of+somebody or key%2Fof%2Bsomebody of the trace 0af7651916cd")
    recorder = Recorder()
    options = {**CREDENTIALS[name], "user": "key/of+somebody"}
    more = {"extra_headers": {**options.get("extra_headers", {}), "X-Trace": "0af7651916cd"}}
    async with ScriptedGateway(echo) as gateway:
        async with llm_of(gateway, recorder, extra_kwargs={**options, **more}) as llm:
            with pytest.raises(APIStatusError):
                await ask(llm)
    saved = recorder.recording.to_json()
    assert "somebody" not in saved
    assert "0af7651916cd" in saved, "what is no credential can still be read"


async def test_a_secret_is_found_across_the_cuts_of_a_body(autojump_clock: MockClock) -> None:
    recorder = Recorder(secrets=["secret"])
    parts = events(b"data: sec", Wait(1), b"ret\n\n", b"data: [DONE]\n\n")
    async with ScriptedGateway([parts]) as gateway, llm_of(gateway, recorder) as llm:
        with pytest.raises(APIConnectionError):
            await ask(llm)
    (exchange,) = recorder.recording.exchanges
    # What comes close together may be one piece.
    first, (delay, second), *_ = exchange.pieces
    assert first == (0.0, b"data: ***")
    assert (delay, second[:5]) == (1.0, b"***\n\n")


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secrets has an empty string"):
        Recorder(secrets=[""])


async def test_a_lost_connection_and_a_client_that_left_are_told_apart(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    script = [reply("one", Reset()), reply("one two", every=1)]
    with no_leaks():
        async with ScriptedGateway(script) as gateway, llm_of(gateway, recorder) as llm:
            with pytest.raises(APIConnectionError):
                await ask(llm)
            async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
                assert await anext(stream.text) == "one"
            gateway.assert_all_closed()
    assert [one.ended for one in recorder.recording.exchanges] == ["broken", "left"]
    lost, left = recorder.recording.replies()
    assert (lost.steps[-1], left.steps[-1]) == (Reset(), Hold())


async def test_an_exchange_that_is_not_over_is_not_there_yet(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with ScriptedGateway("one") as gateway, llm_of(gateway, recorder) as llm:
        async with llm.chat(chat_ctx=conversation(), conn_options=ONCE) as stream:
            assert recorder.recording == Recording([])
            await anext(stream)
    assert len(recorder.recording.exchanges) == 1


async def test_a_compressed_body_is_kept_as_text(autojump_clock: MockClock) -> None:
    body = chunk("Hi") + chunk(finish_reason="stop") + b"data: [DONE]\n\n"
    headers = {"Content-Encoding": "gzip"}
    recorder = Recorder()
    coded = gzip.compress(body, mtime=0)
    script = [
        # The first piece is the header of the file, which stands for nothing.
        events(coded[:10], coded[10:], headers=headers),
        events(b"no gzip", headers=headers),
    ]
    async with ScriptedGateway(script) as gateway, llm_of(gateway, recorder) as llm:
        assert (await ask(llm)).text == "Hi"
        with pytest.raises(APIConnectionError):
            await ask(llm)
    good, bad = recorder.recording.exchanges
    assert good.text == body.decode()
    assert bad.pieces == ()
    async with ScriptedGateway([good.reply()]) as gateway, gateway.llm() as llm:
        assert (await ask(llm)).text == "Hi"


async def test_a_body_whose_coding_encodes_nothing_is_kept(autojump_clock: MockClock) -> None:
    body = chunk("Hi") + chunk(finish_reason="stop") + b"data: [DONE]\n\n"
    recorder = Recorder()
    script = [events(body, headers={"Content-Encoding": "none"})]
    async with ScriptedGateway(script) as gateway, llm_of(gateway, recorder) as llm:
        assert (await ask(llm)).text == "Hi"
    (kept,) = recorder.recording.exchanges
    assert kept.text == body.decode()


async def test_a_status_without_a_body_plays_as_one(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    no_content = raw(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with ScriptedGateway([no_content]) as gateway, llm_of(gateway, recorder) as llm:
        with pytest.raises(APIConnectionError, match="its body is empty"):
            await ask(llm)
    (made,) = recorder.recording.replies()
    assert made.steps == (Send(b"HTTP/1.1 204 No Content\r\n\r\n"),)


async def test_a_clients_own_hooks_stay(autojump_clock: MockClock) -> None:
    called: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        called.append("request")

    async def on_response(response: httpx.Response) -> None:
        await response.aread()
        called.append("response")

    hooks = {"request": [on_request], "response": [on_response]}
    recorder = Recorder()
    async with ScriptedGateway(["Hello!"]) as gateway:
        client = recorder.attach(gateway.http_client(event_hooks=hooks))
        async with gateway.llm(http_client=client) as llm:
            assert (await ask(llm)).text == "Hello!"
    assert called == ["request", "response"]
    assert "Hello!" in recorder.recording.exchanges[0].text


async def test_a_client_of_the_recorder_is_the_real_thing() -> None:
    with no_leaks():
        async with ScriptedGateway(["Hello!"], loopback=True) as gateway, Recorder() as recorder:
            async with gateway.llm(http_client=recorder.http_client()) as llm:
                assert (await ask(llm)).text == "Hello!"
    assert "Hello!" in recorder.recording.exchanges[0].text


async def test_a_client_that_is_handed_out_is_one_of_httpx() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            async for _ in stream:
                pass

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    async with Recorder() as recorder, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, silent, [listener])
        client = recorder.http_client()
        with pytest.raises(httpx.ReadTimeout):
            await client.get(url, timeout=httpx.Timeout(60, read=0.01))
        nursery.cancel_scope.cancel()
        await listener.aclose()
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


# --- Files ----------------------------------------------------------------------------------------


def exchange(**changes: Any) -> RecordedExchange:
    return attrs.evolve(
        RecordedExchange(
            path="/v1/chat/completions",
            request={"model": "m"},
            status=200,
            headers=(("content-type", "text/event-stream"),),
            delay=0.25,
            pieces=((0.0, b"data: gr\xc3"), (0.5, b"\xbcn\n\n"), (0.0, b": ok\n\n")),
        ),
        **changes,
    )


def test_a_recording_is_saved_and_loaded(tmp_path: Path) -> None:
    recording = Recording([exchange(), exchange(request=None, ended="left", pieces=())])
    path = tmp_path / "recording.json"
    recording.save(path)
    assert json.loads(path.read_text("utf-8"))["exchanges"][0]["pieces"] == [
        [0.0, {"base64": "ZGF0YTogZ3LD"}],
        [0.5, {"base64": "vG4KCg=="}],
        [0.0, ": ok\n\n"],
    ]
    assert Recording.load(path) == recording
    assert Recording.from_json(recording.to_json().encode()) == recording


def test_a_saved_recording_can_be_read_by_people() -> None:
    text = Recording([exchange(pieces=((0.5, "für\n".encode()),))]).to_json()
    assert '"für\\n"' in text
    assert json.loads(text)["exchanges"][0]["status"] == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"lktrio_recording": 2, "exchanges": []}',
        '{"lktrio_recording": 1, "exchanges": [{}]}',
        Recording([exchange()]).to_json().replace("complete", "whole"),
        Recording([exchange()]).to_json().replace('"base64": "', '"base64": "%'),
    ],
)
def test_what_is_no_recording_is_refused(text: str) -> None:
    assert Recording.from_json(Recording([exchange()]).to_json())
    with pytest.raises(ValueError, match=r"this is no recording of lktrio\.testing"):
        Recording.from_json(text)
