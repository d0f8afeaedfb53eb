"""The API secret and the token appear nowhere: not in a repr, a log line, an error or a traceback.

Servers here echo what they were sent wherever they can. Every text that a program could get to see,
and everything that hangs on an error, is searched for the secrets.
"""

from __future__ import annotations

import base64
import gc
import json
import logging
import pickle
import traceback
import types
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from lktrio import LLM, APIConnectOptions, APIError, APIStatusError, ChatContext, Instrument
from lktrio._http import HTTPRequest, OwnSender
from lktrio._settings.credentials import is_credential
from lktrio._settings.secret import Secret
from tests.support.engine import ONCE, TLS_BASE_URL, ask, conversation
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Close,
    Connection,
    Exchange,
    Hold,
    Request,
    Reset,
    Send,
    error,
    event,
    finish,
    response,
    sse,
    text,
    text_chunk,
)

KEY = "APIpublic"
SECRET = "s3cret-of-the-project-0123456789abcdef"
BEARER = "sk-live-0123456789abcdef"
EXTRA = "sk-extra-fedcba9876543210"
RETRY = APIConnectOptions(max_retry=2, retry_interval=0.1)

Call = Callable[[LLM], Awaitable[object]]


# --- Ways to authorise ---------------------------------------------------------------------------


@attrs.frozen
class Way:
    """How an `LLM` is given its credentials, and how the call is."""

    llm: Mapping[str, Any]
    call: Mapping[str, Any] = attrs.field(factory=dict)
    secrets: tuple[str, ...] = ()
    """What must not appear; the token is added once the server has seen it."""


async def _asked() -> str:
    await trio.lowlevel.checkpoint()
    return f"Bearer {BEARER}"


PAIR: Mapping[str, Any] = {"api_key": KEY, "api_secret": SECRET}
WAYS: dict[str, Way] = {
    "key and secret": Way(PAIR, secrets=(SECRET,)),
    "auth string": Way({"auth": f"Bearer {BEARER}"}, secrets=(BEARER,)),
    "auth of another scheme": Way({"auth": f"Api-Key {BEARER}"}, secrets=(BEARER,)),
    "bare key": Way(
        {"auth": None, "extra_kwargs": {"extra_headers": {"Authorization": BEARER}}},
        secrets=(BEARER,),
    ),
    "auth callable": Way({"auth": lambda: f"Bearer {BEARER}"}, secrets=(BEARER,)),
    "auth async callable": Way({"auth": _asked}, secrets=(BEARER,)),
    "extra_headers of the LLM": Way(
        {**PAIR, "extra_kwargs": {"extra_headers": {"Authorization": f"Bearer {EXTRA}"}}},
        secrets=(SECRET, EXTRA),
    ),
    "extra_headers of the call": Way(
        PAIR, {"extra_headers": {"authorization": f"Bearer {EXTRA}"}}, secrets=(SECRET, EXTRA)
    ),
    "another server's key": Way(
        {"auth": None}, {"extra_headers": {"api-key": EXTRA}}, secrets=(EXTRA,)
    ),
    **{
        name: Way({"auth": None}, {"extra_headers": {name: EXTRA}}, secrets=(EXTRA,))
        for name in ("x-goog-api-key", "CF-Access-Client-Secret", "X-Auth-Token", "Signature")
    },
    "cookie": Way(
        {"auth": None}, {"extra_headers": {"Cookie": f"theme=dark; s={EXTRA}"}}, secrets=(EXTRA,)
    ),
}
QUERY = Way({"auth": None}, {"extra_query": {"key": EXTRA}}, secrets=(EXTRA,))


# --- Servers that echo ---------------------------------------------------------------------------


def credentials_of(request: Request) -> str:
    """What the server was sent."""
    query = parse_qs(urlsplit(request.target).query)
    sent = {**{name: [value] for name, value in request.headers}, **query}
    found, *_ = [value for name, values in sent.items() if is_credential(name) for value in values]
    return found.rpartition("s=")[2] if found.startswith("theme=") else found


def echoes(request: Request) -> dict[str, Exchange]:
    """Every way to echo the credentials in an error."""
    value = credentials_of(request)
    word = value.split()[-1]
    headers = {"Content-Type": "application/json"}
    member = {"message": f"bad credentials {value}", "code": 401, value: [word, {"x": value}]}
    return {
        "error body": error(401, f"invalid Authorization: {value}"),
        "word only": error(403, f"invalid token {word!r}"),
        "error body that may be retried": error(503, f"invalid Authorization: {value}"),
        "nested body": response(
            400, json.dumps({"error": member, "sent": value}).encode(), headers
        ),
        "json in json": error(400, json.dumps({"error": {"message": value}})),
        "html": response(502, f"<html><p>{value}</p></html>".encode()),
        "text": response(500, f"{value} is bad".encode()),
        "escaped": response(400, b'{"error": "' + value.encode() + b'\\u0021"}'),
        "damaged json": response(400, f'{{"error": "{value}'.encode()),
        "list": response(400, json.dumps([{"msg": value, "loc": [value]}]).encode()),
        "request id": error(401, "no", headers={"X-Request-Id": f"req-{word}"}),
        "redirect": response(
            302, b"", {"Location": f"https://other.test/{word}?token={word}#{word}"}
        ),
        "redirect with a user": response(307, b"", {"Location": f"https://{word}@other.test/"}),
        "redirect that is malformed": response(307, b"", {"Location": f"https://[{word}"}),
        "in the stream": sse(text_chunk("Hi"), event({"error": member})),
        "in the stream, before output": sse(event({"error": {"message": value, "code": 503}})),
        "named event": sse(event(f"bad credentials: {value}", name="error")),
        "event that is no JSON": sse(event(f"bad credentials: {value}")),
        "success that is text": response(200, f"bad credentials: {value}".encode()),
        "success that is html": response(200, f"<html>{value}</html>".encode()),
        "success that is other json": response(200, json.dumps({"sent": value}).encode()),
        "success that is an error": response(200, json.dumps({"error": member}).encode()),
        "deep": response(400, f'{"[" * 90}"{value}"{"]" * 90}'.encode()),
        "message that is cut": error(400, "x" * (500 - len(word) + 3) + value),
        "text that is cut": response(400, b"x" * (64 * 1024 - len(value) + 3) + value.encode()),
        "quote that is cut": sse(event("x" * (200 - len(value) + 3) + value)),
        "beginning that is cut": response(200, f"<{'x' * (255 - len(value) + 3)}{value}".encode()),
        "reason phrase": Exchange([_raw(f"HTTP/1.1 401 bad {word}\r\nContent-Length: 0\r\n\r\n")]),
        "broken header": Exchange([_raw(f"HTTP/1.1 200 OK\r\n{word}\r\n\r\n"), Close()]),
        "encoding": response(200, b"x", {"Content-Encoding": word}),
        "stray line": sse(text_chunk("Hi"), json.dumps({"error": member}).encode() + b"\n\n"),
    }


def _raw(answer: str) -> Send:
    return Send(answer.encode())


KINDS = list(
    echoes(
        Request("POST", "/", (("authorization", "Bearer x"),), b"", received_at=0.0, connection=0)
    )
)


ERRORS = [
    *((name, kind) for name in ("key and secret", "another server's key") for kind in KINDS),
    *((name, kind) for name in WAYS for kind in ("error body", "in the stream", "request id")),
]
"""Every kind of echo with two ways to authorise, every way with three kinds of echo."""


# --- Searching -----------------------------------------------------------------------------------


PART = 16
"""So many characters of a secret in a row give it away."""


def parts_of(secret: str) -> set[str]:
    """The spellings in which a secret, or a good part of it, would still be one."""
    spellings = (secret, base64.b64encode(secret.encode()).decode())
    return {
        spelling[start : start + PART]
        for spelling in spellings
        for start in range(len(spelling) - PART + 1)
    }


def assert_clean(texts: Mapping[str, str], secrets: set[str]) -> None:
    """No text holds a secret."""
    parts = {part for secret in secrets for part in parts_of(secret)}
    for name, found in texts.items():
        windows = {found[start : start + PART] for start in range(len(found))}
        assert not windows & parts, f"{name} holds a secret: {found[:2000]}"


def texts_of_error(exc: BaseException) -> Iterator[tuple[str, str]]:
    """Everything a program, or its logging, may show of an exception."""
    for index, one in enumerate(chain(exc)):
        name = f"{type(one).__name__} {index}"
        yield f"repr of {name}", repr(one)
        yield f"str of {name}", str(one)
        yield f"args of {name}", repr(one.args)
        yield f"notes of {name}", repr(getattr(one, "__notes__", []))
    yield "traceback", "".join(traceback.format_exception(exc))
    if isinstance(exc, APIError):
        yield "message", exc.message
        yield "body", f"{exc.body!r} {exc.body}"
        yield "request id", repr(exc.request_id)
        yield "attempts", repr(exc.attempts)
        yield "partial", repr(exc.partial)
        yield "attributes", repr(vars(exc))
        yield "pickled", pickle.dumps(exc).decode("latin-1")


def chain(exc: BaseException) -> Iterator[BaseException]:
    """An exception and all that it was raised from."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [exc]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__]


def own_values(*roots: object) -> Iterator[tuple[str, str]]:
    """The reprs of all objects of ours that can be reached from some."""
    seen: set[int] = set()
    pending = list(roots)
    while pending:
        one = pending.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | types.FrameType):
            continue
        seen.add(id(one))
        if type(one).__module__.partition(".")[0] == "lktrio":
            yield f"repr of a {type(one).__name__}", f"{one!r} {one}"
            pending += gc.get_referents(one)
        elif isinstance(one, dict | list | tuple | set | frozenset | types.MappingProxyType):
            pending += gc.get_referents(one)


@attrs.define
class Seen:
    """What the program and the server have seen of one run."""

    texts: dict[str, str] = attrs.field(factory=dict)
    secrets: set[str] = attrs.field(factory=set)

    def add(self, source: Iterator[tuple[str, str]]) -> None:
        for name, found in source:
            self.texts[f"{name} [{len(self.texts)}]"] = found


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="lktrio")
    return caplog


def note_secrets(seen: Seen, way: Way, network: MemoryNetwork) -> None:
    seen.secrets.update(way.secrets)
    for request in network.requests:
        value = credentials_of(request)
        assert value, "there is nothing that could leak"
        seen.secrets.add(value.split()[-1])


def logged(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[str, str]]:
    for record in caplog.records:
        if record.name.partition(".")[0] == "lktrio":
            yield "log record", f"{record.getMessage()} {record.args!r} {record.exc_text}"


# --- The tests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), sorted(set(ERRORS)))
async def test_no_secret_is_in_an_error(
    name: str, kind: str, autojump_clock: MockClock, records: pytest.LogCaptureFixture
) -> None:
    way, seen = WAYS[name], Seen()
    async with MemoryNetwork(lambda request: echoes(request)[kind]) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, http_client=client, **way.llm) as llm:
            stream = ask(llm, RETRY, extra_kwargs=way.call)
            with pytest.raises(APIError) as caught:
                await stream.collect()
            seen.add(texts_of_error(caught.value))
            seen.add(own_values(llm, stream, caught.value, stream.response))
            unseen = ask(llm, RETRY, extra_kwargs=way.call)
            async with unseen:
                # Left without a look at its failure: that is logged.
                await trio.sleep(60)
            assert isinstance(unseen.error, APIError)
            seen.add(own_values(unseen, llm.statistics()))
        note_secrets(seen, way, network)
    seen.add(logged(records))
    assert any("without looking" in found for found in seen.texts.values())
    assert_clean(seen.texts, seen.secrets)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_key_of_the_query_is_in_an_error(
    kind: str, autojump_clock: MockClock, records: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    async with MemoryNetwork(lambda request: echoes(request)[kind]) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, http_client=client, **QUERY.llm) as llm:
            stream = ask(llm, RETRY, extra_kwargs=QUERY.call)
            with pytest.raises(APIError) as caught:
                await stream.collect()
            seen.add(texts_of_error(caught.value))
            seen.add(own_values(caught.value, stream.response, stream.metrics))
        note_secrets(seen, QUERY, network)
    seen.add(logged(records))
    assert_clean(seen.texts, seen.secrets)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("name", WAYS)
async def test_no_secret_is_in_an_error_of_prewarming(
    name: str, status: int, records: pytest.LogCaptureFixture
) -> None:
    way, seen = WAYS[name], Seen()
    options = {**way.llm, "extra_kwargs": way.call or way.llm.get("extra_kwargs")}

    def answer(request: Request) -> Exchange:
        return error(status, f"invalid: {credentials_of(request)}", code=credentials_of(request))

    async with MemoryNetwork(answer) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, http_client=client, **options) as llm:
            with pytest.raises(APIStatusError) as caught:
                await llm.prewarm()
            seen.add(texts_of_error(caught.value))
        note_secrets(seen, way, network)
    seen.add(logged(records))
    assert_clean(seen.texts, seen.secrets)


@pytest.mark.parametrize("name", WAYS)
async def test_no_secret_is_in_a_connection_error_or_a_timeout(
    name: str, autojump_clock: MockClock, records: pytest.LogCaptureFixture
) -> None:
    way, seen = WAYS[name], Seen()
    script = [
        Connection(connect_error="refused"),
        Connection([Exchange([Hold()])]),
        Connection([sse(text_chunk("Hi"), end=False).then(Close())]),
    ]
    async with MemoryNetwork(script) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, http_client=client, **way.llm) as llm:
            for _ in script:
                with pytest.raises(APIError) as caught:
                    await ask(llm, extra_kwargs=way.call).collect()
                seen.add(texts_of_error(caught.value))
        note_secrets(seen, way, network)
    seen.add(logged(records))
    assert_clean(seen.texts, seen.secrets)


def locals_of(exc: BaseException) -> Iterator[tuple[str, str]]:
    """What a traceback that shows local variables would show of our frames."""
    for one in chain(exc):
        for frame, line in traceback.walk_tb(one.__traceback__):
            code = frame.f_code
            if frame.f_globals.get("__name__", "").partition(".")[0] == "lktrio":
                for name, value in frame.f_locals.items():
                    # (A pytest shows what reprlib makes of it: less than this.)
                    yield f"{name} in {code.co_qualname}, line {line}", repr(value)


KEY_IN_QUERY = "q-0123456789abcdef-of-the-query"

FAILURES: dict[str, Any] = {
    "connect refused": [Connection(connect_error="refused")],
    "no TLS": [Connection(tls_error="certificate verify failed")],
    "no answer": [Connection([Exchange([Close()])])],
    "garbage": [Connection([Exchange([Send(b"\x00\r\n")])])],
    "hangs": [Connection([Exchange([Hold()])])],
    "hangs in the body": [Connection([sse(text_chunk("Hi"), end=False).then(Hold())])],
    "cut body": [Connection([sse(text_chunk("Hi"), end=False).then(Close())])],
    "reset body": [Connection([sse(text_chunk("Hi"), end=False).then(Reset())])],
    "status": [Connection([error(401, "no"), error(401, "no")])],
    "redirect": [Connection([response(302, b"", {"Location": "https://other.test/"})])],
    "echo": lambda request: echoes(request)["error body"],
    "echo in the stream": lambda request: echoes(request)["in the stream"],
    "echo in a header that is malformed": lambda request: echoes(request)["broken header"],
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", WAYS)
async def test_no_local_variable_of_ours_shows_a_secret_when_a_request_fails(
    name: str, failure: str, autojump_clock: MockClock
) -> None:
    way, seen = WAYS[name], Seen()
    call = {**way.call, "extra_query": {"who": KEY_IN_QUERY}}
    # Long requests are sent in another way than short ones.
    chat_ctx = conversation("x" * (300_000 if name == "auth string" else 10))
    async with MemoryNetwork(FAILURES[failure]) as network:
        transport = network.transport()
        async with LLM("m", base_url=TLS_BASE_URL, http_client=transport, **way.llm) as llm:
            with pytest.raises(APIError) as caught:
                await llm.chat(chat_ctx=chat_ctx, conn_options=ONCE, extra_kwargs=call).collect()
        seen.add(locals_of(caught.value))
        if network.requests:
            note_secrets(seen, way, network)
    assert seen.texts
    assert_clean(seen.texts, {*seen.secrets, *way.secrets, KEY_IN_QUERY})


@pytest.mark.parametrize("size", [10, 300_000], ids=["short", "long"])
@pytest.mark.parametrize("failure", FAILURES)
async def test_no_local_variable_of_the_transport_s_shows_a_secret(
    failure: str, size: int, autojump_clock: MockClock
) -> None:
    """Of the exception as it leaves the transport, with all frames."""
    seen = Seen()
    request = HTTPRequest(
        "POST",
        f"{TLS_BASE_URL}/chat/completions",
        {"Authorization": Secret(f"Bearer {BEARER}"), "Host": "gateway.test"},
        content=b"x" * size,
        query={"key": KEY_IN_QUERY},
    )

    async def exchange() -> None:
        response = await OwnSender(network.transport()).send_once(request, lambda _phase: None)
        try:
            while await response.read() is not None:
                pass
        finally:
            await response.aclose()

    async with MemoryNetwork(FAILURES[failure]) as network:
        try:
            with trio.fail_after(60):
                await exchange()
        except (APIError, trio.TooSlowError) as exc:
            seen.add(locals_of(exc))
    assert_clean(seen.texts, {BEARER, KEY_IN_QUERY})
    ends = failure not in {"status", "redirect", "echo", "echo in the stream"}
    assert (len(seen.texts) > 4) == ends


@pytest.mark.parametrize("name", WAYS)
async def test_no_secret_is_in_a_repr_or_a_log_of_an_answer(
    name: str, records: pytest.LogCaptureFixture
) -> None:
    way, seen = WAYS[name], Seen()
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        llm = LLM("openai/gpt-5", base_url=TLS_BASE_URL, http_client=client, **way.llm)
        seen.add(own_values(llm))
        async with llm:
            stream = ask(llm, extra_kwargs={**way.call, "temperature": 0.5})
            seen.add(own_values(llm, stream))
            async with stream:
                async for chunk in stream:
                    seen.add(own_values(llm, stream, chunk, stream.response, llm.statistics()))
            seen.add(own_values(llm, stream, stream.response))
        note_secrets(seen, way, network)
    seen.add(logged(records))
    assert any("ChatRequest" in name for name in seen.texts), "the search reaches the request"
    assert any("log record" in name for name in seen.texts)
    assert_clean(seen.texts, seen.secrets)


@pytest.mark.parametrize("name", WAYS)
async def test_no_secret_is_in_the_traceback_of_a_bug(name: str) -> None:
    way, seen = WAYS[name], Seen()

    async def hook(_: httpx.Response) -> None:
        raise KeyError("a bug of the program's")

    async with MemoryNetwork(text("Hi")) as network:
        client = network.client(event_hooks={"response": [hook]})
        async with LLM("m", base_url=TLS_BASE_URL, http_client=client, **way.llm) as llm:
            with pytest.raises(KeyError) as caught:
                await ask(llm, extra_kwargs=way.call).collect()
        seen.add(texts_of_error(caught.value))
        note_secrets(seen, way, network)
    assert_clean(seen.texts, seen.secrets)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": KEY, "api_secret": f"{SECRET} "},
        {"api_key": KEY, "api_secret": SECRET.encode()},
        {"api_key": KEY, "api_secret": SECRET, "auth": f"Bearer {BEARER}"},
        {"api_key": KEY, "api_secret": SECRET, "base_url": "http://gateway.test/v1"},
        {"api_key": KEY, "api_secret": SECRET, "model": ""},
        {"auth": f"Bearer {BEARER}\n"},
        {"auth": f"Bearer {BEARER}".encode()},
        {"auth": f"Bearer {BEARER}", "base_url": "http://gateway.test/v1"},
        {"auth": [f"Bearer {BEARER}"]},
        {"auth": None, "base_url": f"https://user:{BEARER}@gateway.test/v1"},
        {"auth": None, "base_url": f"https://gateway.test/v1?key={BEARER}"},
        {"auth": None, "extra_kwargs": {"extra_headers": {"Authorization": f"Bearer {BEARER}\n"}}},
        {"auth": None, "extra_kwargs": {"extra_headers": {"X-Key": [BEARER]}}},
        {"auth": None, "extra_kwargs": {"extra_headers": BEARER}},
        {"auth": None, "extra_kwargs": {"extra_query": {"key": {BEARER}}}},
        {"auth": None, "extra_kwargs": {"extra_body": {"key": {BEARER}, "model": BEARER}}},
    ],
)
def test_no_secret_is_in_the_refusal_of_a_setting(settings: dict[str, Any]) -> None:
    seen = Seen()
    with pytest.raises((ValueError, TypeError)) as caught:
        LLM(**{"model": "m", "base_url": TLS_BASE_URL, **settings})
    seen.add(texts_of_error(caught.value))
    assert_clean(seen.texts, {SECRET, BEARER})


@pytest.mark.parametrize(
    "options",
    [
        {"extra_headers": {"Authorization": f"Bearer {BEARER}\r\nX: y"}},
        {"extra_headers": {"Authorization": BEARER.encode()}},
        {"extra_query": {"key": BEARER.encode()}},
        {"extra_body": {"key": BEARER.encode()}},
        {"extra_body": {"stream": BEARER}},
    ],
)
def test_no_secret_is_in_the_refusal_of_an_option(options: dict[str, Any]) -> None:
    seen = Seen()
    llm = LLM("m", base_url=TLS_BASE_URL, auth=None)
    with pytest.raises((ValueError, TypeError)) as caught:
        llm.chat(chat_ctx=conversation(), extra_kwargs=options)
    seen.add(texts_of_error(caught.value))
    assert_clean(seen.texts, {BEARER})


async def test_what_a_callable_returns_is_not_in_its_refusal() -> None:
    async with MemoryNetwork(text("Hi")) as network:
        client = network.client()
        for value in (f"Bearer {BEARER}\n", f"Bearer {BEARER}".encode(), [BEARER]):
            seen = Seen()
            auth: Any = lambda value=value: value  # noqa: E731
            async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
                with pytest.raises((ValueError, TypeError)) as caught:
                    await ask(llm).collect()
            seen.add(texts_of_error(caught.value))
            assert_clean(seen.texts, {BEARER})


async def test_what_is_no_secret_is_not_blotted_out() -> None:
    no_secret = {
        "extra_headers": {
            "Authorization": "Bearer a",
            "Content-Type": "application/json",
            "X-Trace": "trace-1234567",
            "api-key": BEARER,
        },
        "extra_query": {"api-version": "2024-10-21-preview", "key": "short"},
    }
    said = (
        "trace-1234567: application/json is not for 2024-10-21-preview, a short bad argument; keys "
        f"begin with {BEARER[:10]}"
    )
    async with MemoryNetwork([error(400, f"{said}, and not {BEARER}")]) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, auth=None, http_client=client) as llm:
            with pytest.raises(APIStatusError) as caught:
                await ask(llm, extra_kwargs=no_secret).collect()
    assert caught.value.message == f"{said}, and not [redacted]"


class Told(Instrument):
    """Keeps all that an instrument is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def attempt_failed(self, *told: object) -> None:
        self.told += told

    def request_finished(self, *told: object) -> None:
        self.told += told


def named(word: str, *, stream: bool) -> Exchange:
    """An answer that has a word for every name in it."""
    function = {"name": word, "arguments": "{}"}
    call = {"index": 0, "id": word, "type": "function", "function": function}
    content = {"content": "Hi", "tool_calls": [call]}
    choice = {"index": 0, "delta" if stream else "message": content, "finish_reason": word}
    value = {
        "id": word,
        "model": word,
        "service_tier": word,
        "system_fingerprint": word,
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    if stream:
        return sse(event(value), DONE)
    return response(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("name", ["key and secret", "auth callable", "x-goog-api-key", "cookie"])
async def test_no_secret_is_a_name_in_an_answer(
    name: str, stream: bool, records: pytest.LogCaptureFixture
) -> None:
    way, seen, told = WAYS[name], Seen(), Told()
    answers = lambda request: named(credentials_of(request).split()[-1], stream=stream)  # noqa: E731
    async with MemoryNetwork(answers) as network:
        client, options = network.client(), {"instruments": [told], **way.llm}
        async with LLM("m", base_url=TLS_BASE_URL, http_client=client, **options) as llm:
            stream_ = ask(llm, extra_kwargs=way.call)
            async with stream_:
                chunks = [chunk async for chunk in stream_]
            metrics = stream_.metrics
            assert metrics is not None
            seen.add(own_values(*chunks, stream_.response, metrics, *told.told))
        note_secrets(seen, way, network)
    assert metrics.response_id == metrics.response_model == metrics.finish_reason == "[redacted]"
    assert any("LLMMetrics" in found for found in seen.texts)
    seen.add(logged(records))
    assert_clean(seen.texts, seen.secrets)


async def test_a_name_that_is_none_of_ours_stays(records: pytest.LogCaptureFixture) -> None:
    async with MemoryNetwork(named("chatcmpl-0123456789", stream=True)) as network:
        client = network.client()
        async with LLM(
            "m", base_url=TLS_BASE_URL, auth=f"Bearer {BEARER}", http_client=client
        ) as llm:
            stream = ask(llm)
            answer = await stream.collect()
    assert stream.response.response_id == stream.response.model == "chatcmpl-0123456789"
    (call,) = answer.tool_calls
    assert (call.name, call.call_id) == ("chatcmpl-0123456789", "chatcmpl-0123456789")


@pytest.mark.parametrize(
    ("reply", "facts"),
    [
        (
            error(400, "'Why do whales sing?' is not allowed", headers={"X-Request-Id": "r-1"}),
            "APIStatusError, status 400, request id r-1",
        ),
        (sse(event({"error": {"message": "no whales"}})), "APIStatusError"),
        (sse(event("Whales sing, and this is no JSON")), "APIConnectionError"),
        (response(200, b"<p>whales</p>"), "APIConnectionError"),
    ],
    ids=["status", "in the stream", "no JSON", "HTML"],
)
async def test_the_warning_of_a_failure_that_nobody_looked_at_does_not_quote_it(
    reply: Exchange, facts: str, autojump_clock: MockClock, records: pytest.LogCaptureFixture
) -> None:
    async with MemoryNetwork([reply]) as network:
        client = network.client()
        async with LLM("m", base_url=TLS_BASE_URL, auth=None, http_client=client) as llm:
            async with ask(llm) as stream:
                await trio.sleep(60)
    (warning,) = [record for record in records.records if record.levelno == logging.WARNING]
    said = f"{warning.getMessage()} {warning.exc_text}"
    assert said.endswith(f"was left without looking at its failure: {facts} None")
    assert "whales" not in said.lower()
    assert "whales" in str(stream.error).lower()


async def test_an_answer_is_the_model_s_and_is_left_as_it_is() -> None:
    script = [sse(text_chunk(f"You said {BEARER}"), finish(), DONE)]
    async with MemoryNetwork(script) as network:
        client = network.client()
        auth = f"Bearer {BEARER}"
        async with LLM("m", base_url=TLS_BASE_URL, auth=auth, http_client=client) as llm:
            answer = await ask(llm).collect()
    assert answer.text == f"You said {BEARER}"


def test_the_search_finds_what_it_should() -> None:
    inner = ValueError("x")
    inner.add_note(f"note {BEARER}")
    outer = APIError("no", body={"deep": [SECRET]})
    outer.__cause__ = inner
    seen = Seen()
    seen.add(texts_of_error(outer))
    with pytest.raises(AssertionError, match="holds a secret"):
        assert_clean(seen.texts, {BEARER})
    with pytest.raises(AssertionError, match="holds a secret"):
        assert_clean(seen.texts, {SECRET})
    context = ChatContext()
    context.add_message(role="user", content=SECRET)
    values = Seen()
    values.add(own_values(LLM("m", auth=None).chat(chat_ctx=context)))
    assert any("ChatMessage" in name for name in values.texts)
