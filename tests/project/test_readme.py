"""The README: its Python blocks run as they stand there, and what it says of the code is so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from trio.testing import MockClock

import lktrio
from lktrio import APIError
from tests.support.documents import README, ROOT, Block, block_with, blocks, run_block
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
)

SAID = README.read_text(encoding="utf-8")


@pytest.mark.parametrize("block", blocks(README, "python"), ids=str)
async def test_a_block_runs_as_it_stands(block: Block, autojump_clock: MockClock) -> None:
    await run_block(block)


async def test_the_first_program_prints_the_answer_and_its_usage(autojump_clock: MockClock) -> None:
    names, shown = await run_block(blocks(README, "python")[0])

    (request,) = names["requests"]
    assert shown.startswith("To be heard.CompletionUsage(completion_tokens=3, prompt_tokens=9")
    assert request.header("host") == "agent-gateway.livekit.cloud"


async def test_a_wait_that_is_given_up_loses_nothing(autojump_clock: MockClock) -> None:
    slow = sse(Wait(1.0), text_chunk("To be"), text_chunk(" heard."), finish(), DONE)

    _, shown = await run_block(block_with(README, "One moment"), slow)

    assert shown == "One moment, please.\nTo be heard.\n"


@pytest.mark.parametrize(
    ("script", "said"),
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
    autojump_clock: MockClock, script: Script, said: str
) -> None:
    _, shown = await run_block(block_with(README, "too slow"), script)

    assert shown.startswith(said)


async def test_a_turn_prints_the_call_its_result_and_the_answer(autojump_clock: MockClock) -> None:
    names, shown = await run_block(block_with(README, "run_turn"))

    assert shown == '[get_weather {"city": "Rome"}]\n[18 degrees celsius]\nTo be heard.'
    assert [item.type for item in names["chat_ctx"].items] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]


async def test_the_model_reads_the_text_of_a_tool_error(autojump_clock: MockClock) -> None:
    script = [tool_calls(ToolCall("get_weather", {"city": "Atlantis"})), text("Wet.")]

    names, shown = await run_block(block_with(README, "run_turn"), script)

    assert "[There is no weather under water.]" in shown
    output = names["requests"][1].json()["messages"][-1]
    assert (output["role"], output["content"]) == ("tool", "There is no weather under water.")


@pytest.mark.parametrize(("words", "seconds"), [("FallbackAdapter", 1.2), ("HedgeAdapter", 0.7)])
async def test_the_backup_begins_to_answer_when_it_is_said_to(
    autojump_clock: MockClock, words: str, seconds: float
) -> None:
    def script(request: Request) -> Exchange:
        is_primary = request.json()["model"] == "openai/gpt-4.1-mini"
        return text("late").after(10) if is_primary else text("in time").after(0.2)

    names, shown = await run_block(block_with(README, words), script)

    assert shown == "in time"
    assert names["stream"].response.attempts[-1].first_output == pytest.approx(seconds)
    assert f"begins after {seconds} s" in " ".join(SAID.split())


# --- what is said -------------------------------------------------------------------------------


def tree(cls: type[Exception]) -> Iterator[str]:
    yield cls.__name__
    children = [child for child in cls.__subclasses__() if child.__name__ in lktrio.__all__]
    for child in children:
        first, *others = tree(child)
        yield f"+-- {first}"
        yield from (("    " if child is children[-1] else "|   ") + line for line in others)


def test_the_tree_of_exceptions_is_the_real_one() -> None:
    (drawn,) = blocks(README, "text")

    names = [re.match(r"\W*\w+", line) for line in drawn.source.splitlines()]
    assert [name and name[0] for name in names] == list(tree(APIError))


def test_every_session_that_is_named_exists() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in noxfile.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"nox -s (\w+)", SAID))

    assert {"demo", "tests", "docs"} <= named
    assert named - sessions == set()


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`?\b((?:examples/)?\w+\.(?:py|md))\b", SAID))

    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    helpers = {"command_line.py", "local_model.py"}
    assert {*scripts - helpers, "SECURITY.md"} <= named
    places = [ROOT, ROOT / "examples", ROOT / "docs", ROOT / "docs/howto"]
    assert [name for name in named if not any((place / name).is_file() for place in places)] == []


def test_every_public_name_that_is_mentioned_exists() -> None:
    mentioned = set(re.findall(r"`((?:LLM|API|Chat|Completion|Fallback|Hedge)\w*)`", SAID))

    assert mentioned
    assert mentioned - set(lktrio.__all__) == set()


def test_the_set_up_commands_are_one_line_each() -> None:
    first, second, *_ = blocks(README, "sh")

    assert first.source.startswith("python3 -m venv ")
    assert first.source.endswith("nox -s demo\n")
    assert second.source == first.source.replace("demo", "tests")
    assert first.source.count("\n") == 1


def test_every_page_that_is_linked_exists() -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", SAID)

    assert len(linked) > 8
    assert [path for path in linked if not (ROOT / path).is_file()] == []
