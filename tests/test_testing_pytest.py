"""The fixtures, run by a pytest of their own, as a user's project does."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import lktrio
import lktrio.testing

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


def run_pytest(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "my_program.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "test_my_program.py").write_text(test, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n", encoding="utf-8")
    variables = {name: os.environ[name] for name in os.environ if not name.startswith("LIVEKIT_")}
    # The package under test, however this process found it.
    variables["PYTHONPATH"] = str(Path(inspect.getfile(lktrio)).parent.parent)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_of_the_docstring_passes_and_is_short(tmp_path: Path) -> None:
    ran = run_pytest(tmp_path, example())

    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
    assert len(example().split("\n\n\n")[1].splitlines()) < 20


def test_the_example_fails_if_the_program_does_something_else(tmp_path: Path) -> None:
    ran = run_pytest(tmp_path, example().replace("answer(", "str("))

    assert ran.returncode == 1
    assert "2 of the scripted replies never asked for" in ran.stdout


def test_the_fixture_over_loopback_and_no_fixture_unasked(tmp_path: Path) -> None:
    test = """
        from my_program import answer

        {plugins}


        async def test_over_tcp(loopback_gateway):
            loopback_gateway.add("Hello!")
            assert loopback_gateway.base_url.startswith("http://127.0.0.1:")
            assert await answer("Hi") == "Hello!"
    """
    plugins = 'pytest_plugins = ["lktrio.testing.pytest"]'
    ran = run_pytest(tmp_path, textwrap.dedent(test.format(plugins=plugins)))
    assert "1 passed" in ran.stdout, ran.stdout
    ran = run_pytest(tmp_path, textwrap.dedent(test.format(plugins="")))
    assert "fixture 'loopback_gateway' not found" in ran.stdout
