"""The README: its Python blocks run as they stand there, and what it says of the code is so.

The blocks run in virtual time, on a network in memory that has a scripted server at every address.
"""

from __future__ import annotations

import ast
import logging
import re
import types
import typing
from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from httpcore._async.http11 import AsyncHTTP11Connection
from trio.testing import MockClock

import lktrio
from lktrio import (
    DEFAULT_API_CONNECT_OPTIONS,
    LLM,
    APIError,
    ChatContext,
    ChatMessage,
    Clock,
    FunctionCallOutput,
    _assembler,
    _credentials,
    _gateway,
    _request,
    _sse,
    _stream,
    _tool_calls,
    _transport,
    function_tool,
)
from lktrio._errors import is_retryable_status
from tests.support.memory_network import MemoryNetwork
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Request,
    Script,
    ToolCall,
    Wait,
    error,
    finish,
    sse,
    text,
    text_chunk,
    tool_calls,
    usage,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def answer_to(request: Request) -> Exchange:
    """What the model says: what it is asked for, and a call first if there are tools."""
    body = request.json()
    if "response_format" in body:
        return text('{"name": "Mar', 'ia", "guests"', ": 4}")
    if "tools" in body and body["messages"][-1]["role"] == "user":
        return tool_calls(ToolCall("get_weather", {"city": "Rome"}))
    return text("To be", " heard.")


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather. A block that defines its own is about how to do that."""
    return f"sunny in {city}"


class Block(NamedTuple):
    line: int
    source: str


def blocks(language: str) -> list[Block]:
    """The fenced code blocks in a language, with the line of the README they begin in."""
    return [
        Block(README.count("\n", 0, found.start(1)) + 1, found[1])
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    ]


def block_with(words: str) -> Block:
    (found,) = [block for block in blocks("python") if words in block.source]
    return found


Run = Callable[[Block, Script], Awaitable[dict[str, Any]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a block: a program with `trio.run`, or lines of an async function.

    Lines find what the README says that they find, and what they have assigned is returned.
    """
    for name in ("LIVEKIT_URL", "LIVEKIT_INFERENCE_URL", "LIVEKIT_INFERENCE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIVEKIT_API_KEY", "a key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "a secret that is long enough to sign with")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    programs: list[Callable[[], Awaitable[None]]] = []
    monkeypatch.setattr(trio, "run", programs.append)
    make_client = _transport.make_client

    async def run_block(block: Block, script: Script) -> dict[str, Any]:
        async with MemoryNetwork(script) as network:
            monkeypatch.setattr(
                _gateway, "make_client", lambda **options: network.adopt(make_client(**options))
            )
            # Errors then name the line of the README.
            source = "\n" * (block.line - 1) + block.source
            code = compile(
                source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
            if "trio.run(" in block.source:
                names: dict[str, Any] = {"__name__": "__main__"}
                exec(code, names)
                (main,) = programs
                await main()
            else:
                async with LLM("openai/gpt-4.1-mini") as llm:
                    chat_ctx = ChatContext()
                    chat_ctx.add_message(role="user", content="Why do whales sing?")
                    public = {name: getattr(lktrio, name) for name in lktrio.__all__}
                    names = {**public, "trio": trio, "llm": llm, "chat_ctx": chat_ctx}
                    names["get_weather"] = get_weather
                    waiting = types.FunctionType(code, names)()
                    if isawaitable(waiting):
                        await waiting
            network.assert_quiet()
            names["requests"] = network.requests
            return names

    levels = {name: logging.getLogger(name).level for name in ("httpx", "root")}
    yield run_block
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: f"line{block.line}")
async def test_a_block_runs_as_it_stands(run: Run, autojump_clock: MockClock, block: Block) -> None:
    await run(block, answer_to)


async def test_the_first_program_prints_the_answer_and_its_usage(
    run: Run, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    names = await run(blocks("python")[0], answer_to)

    (request,) = names["requests"]
    shown = capsys.readouterr().out
    assert shown.startswith("To be heard.CompletionUsage(completion_tokens=3, prompt_tokens=9")
    assert request.header("host") == "agent-gateway.livekit.cloud"


async def test_a_wait_that_is_given_up_loses_nothing(
    run: Run, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = sse(Wait(1.0), text_chunk("To be"), text_chunk(" heard."), finish(), DONE)

    await run(block_with("One moment"), slow)

    assert capsys.readouterr().out == "One moment, please.\nTo be heard.\n"


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        (
            sse(text_chunk("To be"), end=False).then(Hold()),
            "To be\ntoo slow (idle), after 'To be'\n",
        ),
        (
            error(404, "no such model"),
            "refused with status 404: no such model (status 404)\n",
        ),
        (sse(text_chunk("To be")), "To beno answer in 1 attempts: "),
        (sse(), "no answer in 4 attempts: "),
    ],
)
async def test_a_failure_is_shown_by_the_block_that_catches_it(
    run: Run,
    autojump_clock: MockClock,
    capsys: pytest.CaptureFixture[str],
    script: Script,
    shown: str,
) -> None:
    await run(block_with("too slow"), script)

    assert capsys.readouterr().out.startswith(shown)


async def test_the_options_are_merged_as_the_block_says(
    run: Run, autojump_clock: MockClock
) -> None:
    names = await run(block_with("extra_body"), answer_to)

    (request,) = names["requests"]
    body = request.json()
    assert (body["temperature"], body["seed"], body["top_k"]) == (0, 1, 40)
    assert request.header("X-Trace") == "7f3a"


async def test_the_callable_for_credentials_returns_a_header(
    run: Run, autojump_clock: MockClock
) -> None:
    names = await run(block_with("fetch_token"), answer_to)

    assert (await names["fetch_token"]()).startswith("Bearer ")


async def test_the_defaults_are_those_that_are_shown(run: Run, autojump_clock: MockClock) -> None:
    names = await run(block_with("max_retry_delay"), answer_to)

    assert names["conn_options"] == DEFAULT_API_CONNECT_OPTIONS


async def test_the_conversation_comes_back_as_it_was_saved(
    run: Run, autojump_clock: MockClock
) -> None:
    names = await run(block_with("from_dict"), answer_to)

    messages: list[ChatMessage] = names["chat_ctx"].messages()
    assert [(message.role, message.text_content) for message in messages] == [
        ("user", "Why do whales sing?"),
        ("assistant", "To be heard."),
    ]


async def test_a_turn_prints_the_call_its_result_and_the_answer(
    run: Run, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    names = await run(block_with("run_turn"), answer_to)

    shown = capsys.readouterr().out
    assert shown == '[get_weather {"city": "Rome"}]\n[18 degrees celsius]\nTo be heard.'
    assert [item.type for item in names["chat_ctx"].items] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]


async def test_the_model_reads_the_text_of_a_tool_error(
    run: Run, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    script = [tool_calls(ToolCall("get_weather", {"city": "Atlantis"})), text("Wet.")]

    names = await run(block_with("run_turn"), script)

    assert "[There is no weather under water.]" in capsys.readouterr().out
    output = names["requests"][1].json()["messages"][-1]
    assert (output["role"], output["content"]) == ("tool", "There is no weather under water.")


async def test_calls_that_were_run_by_hand_are_added_with_their_outputs(
    run: Run, autojump_clock: MockClock
) -> None:
    names = await run(block_with("execute_function_calls"), answer_to)

    message, call, output = names["chat_ctx"].items
    assert (message.type, call.type) == ("message", "function_call")
    assert isinstance(output, FunctionCallOutput)
    assert output.output == "sunny in Rome"


async def test_a_structured_answer_grows_into_an_object(
    run: Run, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    names = await run(block_with("response_format=Booking"), answer_to)

    assert capsys.readouterr().out.splitlines() == [
        "{'name': 'Mar'}",
        "{'name': 'Maria'}",
        "{'name': 'Maria', 'guests': 4}",
        "Booking(name='Maria', guests=4)",
    ]
    assert names["booking"] == names["Booking"]("Maria", 4)


async def test_usage_is_there_although_it_is_not_asked_for(
    run: Run, autojump_clock: MockClock
) -> None:
    script = sse(text_chunk("Hi"), finish(), usage(7, 1), DONE)

    names = await run(block_with("print(answer.text, answer.finish_reason"), script)

    assert names["answer"].usage.total_tokens == 8


# --- what is said -------------------------------------------------------------------------------


def tree(cls: type[Exception]) -> Iterator[str]:
    yield cls.__name__
    children = [child for child in cls.__subclasses__() if child.__name__ in lktrio.__all__]
    for child in children:
        first, *others = tree(child)
        yield f"+-- {first}"
        yield from (("    " if child is children[-1] else "|   ") + line for line in others)


def test_the_tree_of_exceptions_is_the_real_one() -> None:
    (drawn,) = blocks("text")

    names = [re.match(r"\W*\w+", line) for line in drawn.source.splitlines()]
    assert [name and name[0] for name in names] == list(tree(APIError))


def rows(heading: str) -> list[list[str]]:
    """The cells of the table in a section, without its two head lines."""
    section = README.split(f" {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_clocks_are_the_five_that_an_error_names() -> None:
    assert [row[0] for row in rows("The five clocks")] == [
        f"`{clock}`" for clock in typing.get_args(Clock)
    ]
    for row in rows("The five clocks"):
        assert hasattr(DEFAULT_API_CONNECT_OPTIONS, row[1].strip("`"))


def test_the_limits_are_those_of_the_code() -> None:
    said = [row[1] for row in rows("Limits")]

    assert said == [
        f"{_sse.MAX_EVENT_BYTES >> 20} MiB",
        f"{_assembler.MAX_ANSWER_CHARACTERS >> 20} Mi characters",
        f"{_tool_calls.MAX_TOOL_CALLS}",
        f"{_request.MAX_ERROR_BODY_BYTES >> 10} KiB",
        f"2 x {_stream.MAX_UNDELIVERED_BYTES >> 10} KiB, and one read",
        f"{AsyncHTTP11Connection.MAX_INCOMPLETE_EVENT_SIZE >> 10} KiB",
    ]
    kept = f"kept for {_transport.KEEPALIVE_SECONDS:g} s, {_transport.MAX_KEEPALIVE} of them"
    assert kept in " ".join(README.split())
    assert _credentials.TOKEN_LIFETIME == 600, "ten minutes, says the README"


def test_what_is_retried_is_what_the_code_retries() -> None:
    section = README.split("### What is retried")[1].split("\n#")[0]
    listed = {int(status) for status in re.findall(r"\b[45]\d\d\b", section)}

    assert listed == {status for status in range(600) if is_retryable_status(status)} - set(
        range(500, 600)
    )
    assert "5xx" in section


def test_every_session_that_is_named_exists() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in noxfile.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"nox -s (\w+)", README))

    assert {"demo", "tests"} <= named
    assert named - sessions == set()


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`?\b((?:examples/)?\w+\.(?:py|md))\b", README))

    scripts = {"chat.py", "interrupt.py", "many.py", "tools.py", "extract.py"}
    assert {*scripts, "SECURITY.md"} <= named
    places = [ROOT, ROOT / "examples"]
    assert [name for name in named if not any((place / name).is_file() for place in places)] == []


def test_every_public_name_that_is_mentioned_exists() -> None:
    mentioned = set(re.findall(r"`((?:LLM|API|Chat|Completion)\w*)`", README))

    assert mentioned
    assert mentioned - set(lktrio.__all__) == set()


def test_the_set_up_commands_are_one_line_each() -> None:
    first, second, *_ = blocks("sh")

    assert first.source.startswith("python3 -m venv ")
    assert first.source.endswith("nox -s demo\n")
    assert second.source == first.source.replace("demo", "tests")
    assert first.source.count("\n") == 1
