"""The documentation: its Python blocks run as they stand there, and what it says of the code is so."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import lktrio
from lktrio import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIError,
    APIStatusError,
    Clock,
    FallbackAdapter,
    HedgeAdapter,
)
from lktrio._adapters.children import another_model_may_help
from lktrio._answers.errors import is_retryable_status
from lktrio._engine import attempt as _attempt
from lktrio._engine import task_stream as _task_stream
from lktrio._http import message, transport
from lktrio._json import arguments as _arguments
from lktrio._json import partial as _partial_json
from lktrio._json import text as _json_text
from lktrio._schemas import response_format as _response_format
from lktrio._settings import credentials as _credentials
from lktrio._wire import assembler as _assembler
from lktrio._wire import attached as _attached
from lktrio._wire import beside as _beside
from lktrio._wire import body as _answer
from lktrio._wire import decoding as _decoding
from lktrio._wire import payloads as _payloads
from lktrio._wire import server_errors as _server_errors
from lktrio._wire import sse as _sse
from lktrio._wire import tool_calls as _tool_calls
from lktrio.testing import ScriptedGateway, event, reply, tool_call
from tests.benchmarks.document import put, sentences
from tests.support.documents import (
    DOCS,
    ROOT,
    answer_to,
    block_with,
    blocks,
    files,
    pages,
    rows,
    run_block,
    run_page,
    section,
)
from tests.support.script import (
    DONE,
    Exchange,
    Hold,
    Script,
    ToolCall,
    Wait,
    delta,
    error,
    finish,
    reasoning_chunk,
    refusal_chunk,
    response,
    sse,
    text,
    text_chunk,
    tool_call_chunk,
    tool_calls,
    usage,
)

HOWTO = DOCS / "howto"


def by_model(first: Exchange, others: Exchange) -> Script:
    """A gateway at which one model does not do what the others do."""
    return lambda request: first if request.json()["model"] == "openai/gpt-4.1-mini" else others


def slowly(*words: str) -> Exchange:
    """An answer of which a word comes every second."""
    steps = [step for word in words for step in (Wait(1.0), text_chunk(word))]
    return sse(*steps, finish(), usage(9, 8), DONE)


def cited(content: str, logprob: float, **members: object) -> bytes:
    """A chunk of an answer with all that may come beside its text."""
    choice = {
        "index": 0,
        "delta": {"content": content, **members},
        "logprobs": {"content": [{"token": content, "logprob": logprob}]},
    }
    payload = {"provider": "Whale & Co.", "system_fingerprint": "fp_44709d6fcb"}
    return event({"id": "c1", "choices": [choice], **payload})


BUSY = error(503, "try again later")

SERVERS: dict[str, Script] = {
    "usual": answer_to,
    "slowly": slowly("The rain", " in Spain", " stays mainly", " in the plain."),
    "stuck": sse(end=False).then(Hold()),
    "busy-then-a-call": [
        BUSY,
        tool_calls(ToolCall("get_weather", {"city": "Rome"})),
        text("Sunny.\n"),
    ],
    "a-turn-with-everything": [
        error(503, "try again later", retry_after=1),
        tool_calls(ToolCall("get_weather", {"city": "Rome"})),
        slowly("It is", " sunny", " in Rome."),
    ],
    "refuses-the-key": error(401, "Incorrect API key provided."),
    "knows-no-such-model": error(404, "The model `gpt-99` does not exist."),
    "prompt-too-long": error(400, "This model's maximum context length is 8192 tokens."),
    "a-web-page": response(
        200, b"<html><title>Sign in</title></html>", {"Content-Type": "text/html"}
    ),
    "sorts": [text('{"kind": "complaint"}'), text('{"kind": "question"}')],
    "second-knows-better": by_model(text("I do not know."), text("To be", " heard.")),
    "declines": sse(refusal_chunk("I cannot help with that."), finish(), DONE),
    "cut-call": sse(
        tool_call_chunk('{"city": "Ro', id="call_1", name="get_weather"), finish("length"), DONE
    ),
    "thinks-and-calls": [
        sse(
            reasoning_chunk("Rome is in Italy."),
            tool_call_chunk('{"city": "Rome"}', id="call_1", name="get_weather"),
            finish("tool_calls"),
            DONE,
        ),
        text("Mild."),
    ],
    "busy-once": [BUSY, text("To be", " heard.")],
    "rate-limited": error(429, "slow down", retry_after=20),
    "says-its-limits": text(
        "To be",
        " heard.",
        headers={"x-request-id": "req_7", "x-ratelimit-remaining-requests": "59"},
    ),
    "out-of-quota": error(
        429,
        "You have no credits left.",
        retry_after=20,
        headers={"x-request-id": "req_8"},
        type="billing",
        code="insufficient_quota",
    ),
    "breaks-off": [
        sse(text_chunk("The rain in Spain")),
        text(" stays mainly in the plain."),
    ],
    "first-is-down": by_model(BUSY, text("To be", " heard.")),
    "all-are-down": BUSY,
    "first-breaks-off": by_model(sse(text_chunk("The rain in")), text("To be", " heard.")),
    "speaks": sse(
        delta(audio={"id": "audio_1", "transcript": "To be", "data": "AAAA" * 160}),
        delta(audio={"transcript": " heard.", "data": "AAAA" * 160}),
        finish(),
        usage(9, 22, completion_tokens_details={"audio_tokens": 20}),
        DONE,
    ),
    "cites": sse(
        cited("To be heard", -0.25),
        cited(".", -0.5, annotations=[{"url_citation": {"url": "https://whales.example/song"}}]),
        finish(),
        usage(9, 3, cost=0.00014),
        DONE,
    ),
    "two-sentences": text(
        "Whales sing. They ", "sing to be heard. ", "They are heard afar. ", "So they sing."
    ),
    "pays-and-tells": [
        tool_calls(
            ToolCall("pay", {"payments": [{"kind": "transfer", "amount": "5.00 EUR", "to": "Ada"}]})
        ),
        text("Done."),
        text('{"total": "5.00 EUR", ', '"due": "31.12.2026"}'),
    ],
    "two-bookings": text(
        '{"value": [{"name": "Maria", "guests": 4}, {"name": "Ada", "guests": 2}]}'
    ),
    "no-booking": text('{"name": "Maria", "guests": "many"}'),
    "a-booking-the-second-time": [
        text('{"name": "Maria", "guests": "many"}'),
        text('{"name": "Maria", "guests": 4}'),
    ],
    "refuses": sse(refusal_chunk("I do not take bookings."), finish(), DONE),
    "pays-two": [
        tool_calls(
            ToolCall("pay", {"to": "Ada", "euros": 5}),
            ToolCall("pay", {"to": "Eve", "euros": 5000}),
        ),
        text("Ada is paid."),
    ],
    "first-is-slow": by_model(text("Late.").after(5.0), text("To be", " heard.").after(0.3)),
}
"""What the servers do that the pages name."""


WITH_CODE = [page for page in pages()[1:] if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
async def test_a_page_can_be_typed_in(page: Path, autojump_clock: MockClock) -> None:
    if page.stem == "mcp":
        pytest.importorskip("lktrio.mcp", exc_type=ImportError)
    await run_page(page, SERVERS)


def test_the_tests_that_are_shown_pass_as_a_users_do(tmp_path: Path) -> None:
    shown = files(HOWTO / "testing.md")
    for name, source in shown.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if "LIVEKIT" not in name}
    package = str(Path(lktrio.__file__).parent.parent)

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**variables, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )

    count = sum(source.count("def test_") for source in shown.values())
    assert f"{count} passed" in ran.stdout, ran.stdout
    assert count > 3
    whole = shown["test_waiter.py"]
    assert len(whole[whole.index("async def") :].splitlines()) < 20


async def test_the_program_with_an_mcp_server_is_run(tmp_path: Path) -> None:
    pytest.importorskip("lktrio.mcp", exc_type=ImportError)
    for name, source in files(HOWTO / "mcp.md").items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    script = [tool_call("dish_of", {"day": "Monday"}), reply("There is soup.")]
    async with ScriptedGateway(script, loopback=True) as gateway:
        package = str(Path(lktrio.__file__).parent.parent)
        ran = await trio.run_process(
            [sys.executable, "-W", "error", "waiter.py"],
            cwd=tmp_path,
            env={**os.environ, **gateway.environ, "PYTHONPATH": package},
            capture_stdout=True,
        )

    assert ran.stdout.decode() == f"There is soup.{os.linesep}"
    assert gateway.last_request.tool_outputs == {"call_0": "Soup, and nothing but soup, on Monday."}


# --- what the blocks do -------------------------------------------------------------------------


async def test_the_options_are_merged_as_the_block_says(autojump_clock: MockClock) -> None:
    names, _ = await run_block(block_with(HOWTO / "options.md", "extra_body"))

    (request,) = names["requests"]
    body = request.json()
    assert (body["temperature"], body["seed"], body["top_k"]) == (0, 1, 40)
    assert request.header("X-Trace") == "7f3a"


async def test_the_callable_for_credentials_returns_a_header(autojump_clock: MockClock) -> None:
    names, _ = await run_block(block_with(HOWTO / "servers.md", "fetch_token"))

    assert (await names["fetch_token"]()).startswith("Bearer ")


async def test_the_defaults_are_those_that_are_shown(autojump_clock: MockClock) -> None:
    names, _ = await run_block(block_with(HOWTO / "deadlines.md", "max_retry_delay=30"))

    assert names["conn_options"] == DEFAULT_API_CONNECT_OPTIONS


# --- what is said -------------------------------------------------------------------------------


def test_the_clocks_are_the_five_that_an_error_names() -> None:
    table = rows(HOWTO / "deadlines.md", "The five clocks")

    assert [row[0] for row in table] == [f"`{clock}`" for clock in typing.get_args(Clock)]
    for row in table:
        assert hasattr(DEFAULT_API_CONNECT_OPTIONS, row[1].strip("`"))


def test_the_limits_are_those_of_the_code() -> None:
    said = [row[1] for row in rows(DOCS / "design.md", "Trust")]
    arguments = _json_text.MAX_WALKED_VALUES

    assert said == [
        f"{_sse.MAX_EVENT_BYTES >> 20} MiB",
        f"{_assembler.MAX_ANSWER_CHARACTERS >> 20} Mi characters",
        f"{_beside.MAX_AUDIO_BYTES >> 20} MiB",
        f"{_tool_calls.MAX_TOOL_CALLS}",
        f"{_tool_calls.MAX_ARGUMENTS_CHARACTERS >> 20} Mi characters, {arguments} values",
        f"{_attempt.MAX_ERROR_BODY_BYTES >> 10} KiB",
        f"2 x {_task_stream.MAX_UNDELIVERED_BYTES >> 10} KiB, and one read",
        f"{message.MAX_HEAD_BYTES >> 10} KiB",
    ]
    kept = f"kept for {transport.KEEPALIVE_SECONDS:g} s, {transport.MAX_KEEPALIVE} of them"
    assert kept in " ".join(section(DOCS / "design.md", "Trust").split())
    assert _credentials.TOKEN_LIFETIME == 600, "ten minutes, says the page about servers"


def test_the_bounds_of_every_step_are_those_of_the_code() -> None:
    said = {row[0]: row[2] for row in rows(DOCS / "design.md", "Nothing blocks the program")}
    slice_, depth = f"{_json_text.SLICE >> 10} KiB", f"{_json_text.MAX_DEPTH} levels"
    walked = f"{_json_text.MAX_WALKED_VALUES:,} values"

    assert said == {
        "cutting a read into lines and events": f"{_task_stream.MAX_UNDELIVERED_BYTES >> 10} KiB, one read",
        "small events (up to 64 KiB) that are not plain chunks": f"{_answer._EVENTS_AT_ONCE} events",
        "counting what is in a large event or a JSON body": f"{slice_} a step",
        "decoding one into the members that are read": f"{_json_text.MAX_DECODED_VALUES:,} values, "
        f"{_json_text.MAX_ESCAPES:,} escapes, {depth}",
        "decoding bytes that are not UTF-8": f"{_decoding._DECODED_AT_ONCE >> 20} MiB a step",
        "tolerant reading of what does not fit": f"{walked}, {depth}",
        "text, reasoning, refusal and sound of a large event": f"{_assembler._PIECE >> 10} Ki characters a step",
        "choices of a chunk": f"{_payloads.MAX_CHOICES}",
        "what a provider attached: copying, weighing, merging": f"{walked} a chunk, {depth}; "
        f"{_attached.VALUE_WEIGHT} characters of the answer's size for each value",
        "arguments of calls: following brackets, judging at the end": "as above",
        "what an error of the server says: cleaning, redacting": f"{_server_errors.MAX_ERROR_BYTES >> 10} KiB, "
        f"{_server_errors._MAX_ERROR_VALUES:,} values, {depth}",
        "looking for the message in it": f"{_server_errors._MAX_PLACES:,} places, "
        f"{_server_errors._MAX_ERROR_DEPTH} levels, {_server_errors.MAX_ERROR_BYTES >> 10} KiB of JSON in strings",
        "putting the answer together at its end": "as above",
        "`stream.partial_values`": f"{_response_format._READ_AT_ONCE >> 10} Ki characters a step; "
        f"{_partial_json.MAX_CHARACTERS:,} characters, {walked}, {depth}",
        "decoding the arguments of a call, or an answer in a `response_format`": (
            f"{_arguments._MAX_CHARACTERS:,} characters, {_arguments._MAX_VALUES:,} values, "
            f"{_arguments._MAX_NESTING} levels"
        ),
        "repairing them": f"{_arguments._MAX_REPAIRED_CHARACTERS:,} characters, "
        f"{_arguments._MAX_REPAIR_WORK:,} characters x marks",
    }


def test_what_is_retried_is_what_the_code_retries() -> None:
    said = section(HOWTO / "retries.md", "What is retried")
    listed = {int(status) for status in re.findall(r"\b[45]\d\d\b", said)}

    assert listed == {status for status in range(600) if is_retryable_status(status)} - set(
        range(500, 600)
    )
    assert "5xx" in said


def test_what_is_failed_over_is_what_the_code_fails_over() -> None:
    said = section(HOWTO / "failover.md", "Another model when one fails")
    mistakes = re.search(r"the request itself is wrong \(([\d, ]+)\)", said)
    assert mistakes is not None

    assert {int(status) for status in mistakes[1].split(",")} == {
        status
        for status in range(400, 600)
        if not another_model_may_help(APIStatusError("no", status_code=status))
    }
    assert inspect.signature(FallbackAdapter).parameters["max_retry_per_llm"].default == 0
    assert inspect.signature(HedgeAdapter).parameters["budget"].default == 0.1, "a tenth"


def tree(cls: type[Exception]) -> Iterator[str]:
    yield cls.__name__
    children = [child for child in cls.__subclasses__() if child.__name__ in lktrio.__all__]
    for child in children:
        first, *others = tree(child)
        yield f"+-- {first}"
        yield from (("    " if child is children[-1] else "|   ") + line for line in others)


def test_the_tree_of_errors_is_drawn_alike_everywhere_and_is_the_real_one() -> None:
    (design,) = blocks(DOCS / "design.md", "text")
    drawn = design.source.splitlines()

    names = [re.match(r"\W*\w+", line) for line in drawn]
    assert [name and name[0] for name in names] == list(tree(APIError))
    reference = (DOCS / "reference" / "errors.rst").read_text(encoding="utf-8")
    assert [line.strip() for line in drawn] == [
        line.strip() for line in reference.splitlines() if line.strip() in map(str.strip, drawn)
    ]


def test_every_session_and_module_that_is_named_exists() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in noxfile.body if isinstance(node, ast.FunctionDef)}
    said = "\n".join(page.read_text(encoding="utf-8") for page in pages()[1:])

    assert set(re.findall(r"nox -s (\w+)", said)) - sessions == set()
    assert [
        name for name in re.findall(r"examples/\w+\.py", said) if not (ROOT / name).is_file()
    ] == []
    rooms = re.findall(r"`(_\w+)`", section(DOCS / "design.md", "Rooms"))
    assert rooms
    package = ROOT / "lktrio"
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(rooms) - there == set()


def test_every_server_of_a_page_is_there_and_every_one_there_is_used() -> None:
    named = {block.server for page in pages() for block in blocks(page)} - {None}

    assert named == set(SERVERS)


@pytest.mark.parametrize(
    "package",
    ["lktrio", "lktrio.testing", "lktrio.testing.pytest", "lktrio.opentelemetry", "lktrio.mcp"],
)
def test_every_public_name_has_its_place_in_the_reference(package: str) -> None:
    room = pytest.importorskip(package, exc_type=ImportError)
    described: list[str] = []
    for page in DOCS.glob("reference/*.rst"):
        written = page.read_text(encoding="utf-8")
        (where,) = re.findall(r"^\.\. currentmodule:: (\S+)$", written, re.MULTILINE)
        names = re.findall(r"^\.\. auto(?!module)\w+:: (?:(\S+)\.)?(\w+)", written, re.MULTILINE)
        described += [name for place, name in names if (place or where) == package]

    assert sorted(described) == sorted(room.__all__)


@pytest.mark.parametrize(
    "package",
    ["lktrio", "lktrio.testing", "lktrio.testing.pytest", "lktrio.opentelemetry", "lktrio.mcp"],
)
def test_every_public_name_is_spoken_of_on_some_page(package: str) -> None:
    room = pytest.importorskip(package, exc_type=ImportError)
    said = "\n".join(page.read_text(encoding="utf-8") for page in pages())
    prose = re.sub(r"^(`{3,})\w.*?^\1$", "", said, flags=re.DOTALL | re.MULTILINE)

    spoken_of = set(re.findall(r"\w+", prose))
    assert sorted(set(room.__all__) - spoken_of) == [], "in code only, or nowhere"
    assert "asyncio" in spoken_of
    assert "contextmanager" not in spoken_of, "which only a block of code names"


def test_the_reference_finds_every_definition_where_it_was_written() -> None:
    # autodoc has the texts of fields, and their order, from the source.
    program = """
import ast, importlib, inspect, sys, textwrap
import defining
defining.put_back()
for package in defining.PACKAGES:
    for name in importlib.import_module(package).__all__:
        value = getattr(sys.modules[package], name)
        if inspect.isclass(value) or inspect.isfunction(value):
            (node,) = ast.parse(inspect.getsource(value)).body
            module = sys.modules[value.__module__]
            assert node.name == name and getattr(module, name) is value, name
            assert inspect.getsource(value) in inspect.getsource(module), name
            print(package, name)
"""
    package = str(Path(lktrio.__file__).parent.parent)
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([package, str(DOCS)])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert {"lktrio ChatChunk", "lktrio.testing Send"} <= set(found.splitlines())
    assert len(found.splitlines()) > 100


def test_every_member_that_is_named_exists() -> None:
    said = "\n".join(page.read_text(encoding="utf-8") for page in pages())
    named = set(re.findall(r"`(\w+)\.(\w+)", said))

    members = {(owner, member) for owner, member in named if owner in lktrio.__all__}
    assert ("LLM", "prewarm") in members
    for owner, member in members:
        cls = getattr(lktrio, owner)
        known = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", ())}
        assert hasattr(cls, member) or member in known, f"{owner}.{member}"


# --- numbers ------------------------------------------------------------------------------------


def test_what_the_readme_says_of_costs_is_what_was_measured() -> None:
    run = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")

    assert put(page, run, sentences) == page
    assert "with openai on Trio" in " ".join(page.split())


def test_a_run_is_told_in_three_sentences() -> None:
    def clients(**ratios: float) -> dict[str, Any]:
        measured = {name: {"title": name, "ratio": ratio} for name, ratio in ratios.items()}
        return {"clients": measured}

    about = {"reference": "httpx", "date": "2026-11-22T20:56:19", "versions": {"trio": "0.35.0"}}
    alone = {"chunks": clients(lktrio_chat=1.277), "requests": clients(lktrio_chat=1.1)}
    beside = {**alone, "chunks": clients(lktrio_chat=1.277, openai_trio=12.7, livekit_agents=9.5)}

    assert sentences({"about": about, "rows": alone}) == (
        "A chunk takes 1.28 times the CPU that httpx take for it, a small request 1.10 times. "
        "(2026-11-22; trio 0.35.0.)\n"
    )
    told = " ".join(sentences({"about": about, "rows": beside}).split())
    assert "The same chunk takes 13 times with openai_trio and 9.50 times with livekit" in told


def test_the_numbers_of_a_run_take_the_place_of_the_last_ones() -> None:
    measured = {"title": "lktrio", "median": 31.04, "ratio": 1.277, "values": [31.04] * 3}
    about = {
        "versions": {"CPython": "3.11.7"},
        "reference": "httpx",
        "rounds": 3,
        "machine": "Linux",
        "date": "2026-11-22T20:56:19+00:00",
    }
    rows = {
        "chunks": {"title": "chunks", "unit": "us", "clients": {"lktrio_chat": measured}},
        "memory": {"title": "streams", "unit": "KB", "clients": {"lktrio_chat": {"reason": "no"}}},
    }
    page = (DOCS / "performance.md").read_text(encoding="utf-8")

    written = put(page, {"about": about, "rows": rows})

    assert (
        "|  | **lktrio** |\n| --- | ---: |\n| chunks: us | **31 (1.28)** |\n| streams: KB | **-** |\n"
        in written
    )
    assert "the median of 3 rounds;\n" in written
    assert "\nCPython 3.11.7; Linux; 2026-11-22." in written
    assert written.partition("<!-- bench:begin -->")[0] == page.partition("<!-- bench:begin -->")[0]
    assert put(written, {"about": about, "rows": rows}) == written
    with pytest.raises(ValueError, match="must have one"):
        put("no place", {"about": about, "rows": rows})
