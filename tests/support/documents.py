"""The code blocks of the project's documents: where they stand, and how they run as they stand.

This module alone knows how a block is written down. It runs blocks in virtual time, on a network
in memory that has a scripted server at every address.

* A ``python`` block is a program, if it calls `trio.run`; else it is lines of an async function
  that finds ``trio``, all public names, an ``llm`` that was entered, and a conversation
  ``chat_ctx``. The blocks of a page follow each other: what one has assigned the next one finds.
* An ``output`` block is what the block before it prints.
* A comment ``<!-- server: NAME -->`` before a block says what the server does from there on.
* A block with a caption (``:caption: app.py``) is a file.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import logging
import re
import tempfile
import types
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import trio

import lktrio
from lktrio import LLM, ChatContext, function_tool, set_default_network
from tests.support.brought import backend_on
from tests.support.memory_network import MemoryNetwork
from tests.support.paths import ROOT
from tests.support.script import Exchange, Request, Script, ToolCall, text, tool_calls

README = ROOT / "README.md"
DOCS = ROOT / "docs"


class Block(NamedTuple):
    """A fenced code block of a document."""

    path: Path
    line: int
    """The line of the document that the block's text begins in."""
    language: str
    source: str
    server: str | None
    """What the server does from this block on; None if nothing was said."""
    caption: str | None
    """The name of the file that the block is."""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


_BLOCK = re.compile(
    r"^(?:<!-- server: (?P<server>[\w-]+) -->\n+)?"
    r"```(?:\{code-block\} )?(?P<language>\w+)\n(?::caption: (?P<caption>\S+)\n\n?)?"
    r"(?P<source>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def pages() -> list[Path]:
    """The documents with code that is to run: the README first."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def blocks(path: Path, language: str | None = None) -> list[Block]:
    """The code blocks of a document, in one language or all."""
    source = path.read_text(encoding="utf-8")
    found = [
        Block(
            path,
            source.count("\n", 0, match.start("source")) + 1,
            match["language"],
            match["source"],
            match["server"],
            match["caption"],
        )
        for match in _BLOCK.finditer(source)
    ]
    return [block for block in found if language in (None, block.language)]


def block_with(path: Path, words: str) -> Block:
    """The one Python block that these words are in."""
    (found,) = [block for block in blocks(path, "python") if words in block.source]
    return found


def section(path: Path, heading: str) -> str:
    """The text under a heading, up to the next one."""
    source = path.read_text(encoding="utf-8")
    return source.split(f"# {heading}\n")[1].split("\n#")[0]


def rows(path: Path, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its two head lines."""
    lines = [line for line in section(path, heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def files(path: Path) -> dict[str, str]:
    """The files that a page shows, by their names."""
    return {block.caption: block.source for block in blocks(path) if block.caption is not None}


# --- running ------------------------------------------------------------------------------------


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
    """Look up the weather."""
    await trio.sleep(0.5)
    return f"sunny in {city}"


class _Switch:
    """A server whose script can be exchanged between two requests."""

    def __init__(self, script: Script) -> None:
        self.serve(script)

    def serve(self, script: Script) -> None:
        """Do this from the next request on."""
        self._script = list(script) if isinstance(script, Sequence) else script

    def __call__(self, request: Request) -> Any:
        script: Any = self._script
        if isinstance(script, list):
            return cast("list[Exchange]", script).pop(0)
        return script(request) if callable(script) else script


class Reader:
    """Runs blocks one after the other, as somebody does who reads a page and types them in."""

    def __init__(self, network: MemoryNetwork, switch: _Switch, names: dict[str, Any]) -> None:
        self.network = network
        self.names = names
        """What the blocks find, and what they have assigned."""
        self.serve = switch.serve
        """Lets the server do something else from the next request on."""

    async def run(self, block: Block) -> str:
        """Run a block; returns what it prints."""
        # Errors then name the line of the document.
        source = "\n" * (block.line - 1) + block.source
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(block.path), "exec", flags=flags, dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), _loggers_as_before():
            if "trio.run(" in block.source:
                await self._run_program(code)
            else:
                waiting = types.FunctionType(code, self.names)()
                if isawaitable(waiting):
                    await waiting
        return printed.getvalue()

    async def _run_program(self, code: types.CodeType) -> None:
        programs: list[tuple[Any, ...]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trio, "run", lambda *call: programs.append(call))
            exec(code, {"__name__": "__main__"})
        ((main, *arguments),) = programs
        await main(*arguments)


@contextmanager
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "httpx", "lktrio")]
    levels = [logger.level for logger in loggers]
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_ENVIRONMENT = {
    "LIVEKIT_API_KEY": "a key",
    "LIVEKIT_API_SECRET": "a secret that is long enough to sign with",
    "OPENAI_API_KEY": "sk-of-nobody",
}


@asynccontextmanager
async def reader(script: Script = answer_to) -> AsyncIterator[Reader]:
    """Make what the blocks of a page find; afterwards nothing of them may be alive."""
    switch = _Switch(script)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("LIVEKIT_URL", "LIVEKIT_INFERENCE_URL", "LIVEKIT_INFERENCE_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        async with MemoryNetwork(switch) as network:
            network.is_default = True
            # What a block brings of httpx, too.
            patch.setattr(
                "httpcore._async.connection_pool.AutoBackend", lambda: backend_on(network)
            )
            before = set_default_network(network)
            async with LLM("openai/gpt-4.1-mini") as llm:
                chat_ctx = ChatContext()
                chat_ctx.add_message(role="user", content="Why do whales sing?")
                public = {name: getattr(lktrio, name) for name in lktrio.__all__}
                names = {**public, "trio": trio, "llm": llm, "chat_ctx": chat_ctx}
                # What exec() would add; Python 3.13 looks for it there.
                names["__builtins__"] = builtins
                names["get_weather"] = get_weather
                yield Reader(network, switch, names)
            set_default_network(before)
            network.assert_quiet()


async def run_block(block: Block, script: Script = answer_to) -> tuple[dict[str, Any], str]:
    """Run a block by itself.

    Returns:
        What it has assigned, with the requests it made as ``"requests"``, and what it printed.
    """
    async with reader(script) as page:
        printed = await page.run(block)
    return {**page.names, "requests": page.network.requests}, printed


async def run_page(path: Path, servers: Mapping[str, Script]) -> None:
    """Run the blocks of a page in their order, and compare what they print with what is said.

    Args:
        path: The page.
        servers: What the server does, by the names that the page's comments use.
    """
    printed = ""
    async with reader() as page:
        for block in blocks(path):
            if block.server is not None:
                page.serve(servers[block.server])
            if block.language == "python" and block.caption is None:
                printed = await page.run(block)
            elif block.language == "output" and printed.rstrip() != block.source.rstrip():
                raise AssertionError(f"{block}: what is printed is\n{printed}")
