"""The fixtures, run by a pytest of their own, as a user's project does."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import lktrio
import lktrio.testing
from tests.support.paths import ROOT

PROGRAM = '''
import lktrio


@lktrio.function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return "sunny"


async def answer(question: str) -> str:
    chat_ctx = lktrio.ChatContext()
    chat_ctx.add_message(role="user", content=question)
    async with lktrio.LLM("openai/gpt-4.1-mini") as llm:
        async with lktrio.run_turn(llm, chat_ctx=chat_ctx, tools=[get_weather]) as turn:
            return "".join([text async for text in turn.text])
'''


def example() -> str:
    """The test in the docstring of the package."""
    found = re.search(r"::\n\n((?:    .*\n|\n)+)", lktrio.testing.__doc__ or "")
    assert found is not None
    return textwrap.dedent(found[1])


LOOPBACK = """
from my_program import answer

pytest_plugins = ["lktrio.testing.pytest"]


async def test_over_tcp(loopback_gateway):
    loopback_gateway.add("Hello!")
    assert loopback_gateway.base_url.startswith("http://127.0.0.1:")
    assert await answer("Hi") == "Hello!"
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What pytest says of a project with our example, one that fails, and one over TCP."""
    folder = tmp_path_factory.mktemp("project")
    files = {
        "my_program.py": PROGRAM,
        "pytest.ini": "[pytest]\ntrio_mode = true\n",
        "test_example.py": example(),
        "test_example_of_another_program.py": example().replace("answer(", "str("),
        "test_loopback.py": LOOPBACK,
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    variables = {name: os.environ[name] for name in os.environ if not name.startswith("LIVEKIT_")}
    # The package under test, however this process found it.
    variables["PYTHONPATH"] = str(Path(inspect.getfile(lktrio)).parent.parent)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_of_the_docstring_passes_and_is_short(
    ran: subprocess.CompletedProcess[str],
) -> None:
    assert "PASSED test_example.py::test_the_weather_is_looked_up" in ran.stdout
    assert len(example().split("\n\n\n")[1].splitlines()) < 20


def test_replies_that_nobody_asked_for_are_reported_by_the_fixture(
    ran: subprocess.CompletedProcess[str],
) -> None:
    assert "FAILED test_example_of_another_program.py::test_the_weather" in ran.stdout
    assert "2 of the scripted replies never asked for" in ran.stdout
    assert ran.returncode == 1


def test_the_fixture_over_loopback_works_as_well(ran: subprocess.CompletedProcess[str]) -> None:
    assert "PASSED test_loopback.py::test_over_tcp" in ran.stdout


def test_the_fixtures_are_never_loaded_unasked(pytestconfig: pytest.Config) -> None:
    assert not pytestconfig.pluginmanager.has_plugin("lktrio.testing.pytest")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "entry-points" not in project
