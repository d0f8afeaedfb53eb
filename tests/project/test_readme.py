"""The README: its Python blocks run as they stand there, and what it says of the code is so.

What it said of interruption, tools, failover and errors stands on pages of its own, and is tried here
with servers that those pages do not have.
"""

from __future__ import annotations

import ast
import re

import pytest
from trio.testing import MockClock

import lktrio
from tests.support.documents import (
    DOCS,
    README,
    Block,
    block_with,
    blocks,
    reader,
    run_block,
)
from tests.support.paths import ROOT
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
HOWTO = DOCS / "howto"


@pytest.mark.parametrize("block", blocks(README, "python"), ids=str)
async def test_a_block_runs_as_it_stands(block: Block, autojump_clock: MockClock) -> None:
    await run_block(block)


async def test_the_first_program_prints_the_answer_and_needs_no_server(
    autojump_clock: MockClock,
) -> None:
    names, shown = await run_block(blocks(README, "python")[0])

    assert shown == "To be heard."
    assert names["requests"] == []


async def test_the_same_program_asks_livekit_where_nothing_else_is_said(
    autojump_clock: MockClock,
) -> None:
    names, shown = await run_block(blocks(DOCS / "index.md", "python")[0])

    (request,) = names["requests"]
    assert shown == "To be heard."
    assert request.header("host") == "agent-gateway.livekit.cloud"


async def test_the_models_that_are_shown_ask_where_it_is_said(autojump_clock: MockClock) -> None:
    names, _ = await run_block(block_with(README, "livekit = LLM"))

    hosts = []
    for name in ("livekit", "openai", "local"):
        async with reader() as page, names[name] as llm:
            answer = await llm.chat(chat_ctx=page.names["chat_ctx"]).collect()
            assert answer.text == "To be heard."
            assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (3, 9)
            hosts.append(page.network.requests[0].header("host"))

    assert hosts == ["agent-gateway.livekit.cloud", "api.openai.com", "127.0.0.1:8080"]


async def test_a_wait_that_is_given_up_loses_nothing(autojump_clock: MockClock) -> None:
    slow = sse(Wait(1.0), text_chunk("To be"), text_chunk(" heard."), finish(), DONE)

    _, shown = await run_block(block_with(HOWTO / "interrupt.md", "One moment"), slow)

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
    _, shown = await run_block(block_with(HOWTO / "troubleshooting.md", "too slow"), script)

    assert shown.startswith(said)


async def test_the_model_reads_the_text_of_a_tool_error(autojump_clock: MockClock) -> None:
    script = [tool_calls(ToolCall("get_weather", {"city": "Atlantis"})), text("Wet.")]
    tutorial = DOCS / "tutorial.md"

    async with reader(script) as page:
        await page.run(block_with(tutorial, "There is no weather under water."))
        shown = await page.run(block_with(tutorial, "case ToolFinished(result=result):"))
        output = page.network.requests[1].json()["messages"][-1]

    assert "[There is no weather under water.]" in shown
    assert (output["role"], output["content"]) == ("tool", "There is no weather under water.")


@pytest.mark.parametrize(("words", "seconds"), [("cooldown=30.0", 1.2), ("after=0.5, budget", 0.7)])
async def test_the_backup_begins_to_answer_when_it_is_said_to(
    autojump_clock: MockClock, words: str, seconds: float
) -> None:
    def script(request: Request) -> Exchange:
        is_primary = request.json()["model"] == "openai/gpt-4.1-mini"
        return text("late").after(10) if is_primary else text("in time").after(0.2)

    page = HOWTO / "failover.md"
    names, shown = await run_block(block_with(page, words), script)

    assert "in time" in shown
    assert "late" not in shown
    assert names["stream"].response.attempts[-1].first_output == pytest.approx(seconds)
    assert f"begins after {seconds} s" in " ".join(page.read_text(encoding="utf-8").split())


# --- what is said -------------------------------------------------------------------------------


def test_it_is_short() -> None:
    assert len(SAID.splitlines()) <= 150


def test_every_session_that_is_named_exists() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in noxfile.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"nox -s (\w+)", SAID))

    assert {"demo", "tests", "docs"} <= named
    assert named - sessions == set()


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`?\b((?:examples/)?[\w-]+\.(?:py|md))\b", SAID))

    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    helpers = {"command_line.py", "ctrl_c.py", "local_model.py", "terminal.py"}
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
