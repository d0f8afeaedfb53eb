"""What the example scripts share: their options, the server they talk to, and how they end."""

from __future__ import annotations

from ctrl_c import INTERRUPTED, run_until_ctrl_c

import argparse
import io
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from local_model import MODEL, CannotStartError, local_model

from lktrio import LLM, APIError, ChatCompletionOptions

DEFAULT_MODEL = "openai/gpt-4.1-mini"


def options(doc: str) -> argparse.ArgumentParser:
    """Make a parser with the options that all examples have.

    Args:
        doc: The script's docstring, shown by ``--help``.
    """
    parser = argparse.ArgumentParser(
        description=doc,
        epilog="Without --local and --base-url, LiveKit Inference is used if LIVEKIT_API_KEY and\n"
        "LIVEKIT_API_SECRET are set; otherwise the local model.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    server = parser.add_argument_group("which server to talk to")
    server.add_argument(
        "--local", action="store_true", help="a small model on this machine, started for you"
    )
    server.add_argument(
        "--base-url", metavar="URL", help="any server that has URL/chat/completions"
    )
    server.add_argument(
        "--key-from",
        metavar="VARIABLE",
        help="the environment variable with the key for this server, such as OPENAI_API_KEY "
        "(default: none is sent)",
    )
    server.add_argument(
        "--model", metavar="NAME", help=f"which of its models (default: {DEFAULT_MODEL})"
    )
    parser.add_argument(
        "--max-tokens",
        metavar="N",
        type=int,
        default=100,
        help="how long an answer may become, in tokens (default: %(default)s)",
    )
    return parser


@dataclass(frozen=True)
class Server:
    """A server and how to talk to it."""

    model: str
    """Name of the model."""

    max_tokens: int
    """How long an answer may become, in tokens."""

    base_url: str | None = None
    """Address of the API; None for LiveKit Inference."""

    bearer: str | None = field(default=None, repr=False)
    """Key for ``base_url``; None to send none."""

    def llm(self) -> LLM:
        """Make an `LLM`, to be entered.

        Raises:
            CannotStartError: The options make no sense to it.
        """
        # A small machine may be silent for long before the first token.
        settings: ChatCompletionOptions = {"max_tokens": self.max_tokens, "timeout": 60.0}
        try:
            if self.base_url is None:
                return LLM(self.model, extra_kwargs=settings)
            return LLM(
                self.model,
                base_url=self.base_url,
                auth=None if self.bearer is None else f"Bearer {self.bearer}",
                extra_kwargs=settings,
            )
        except ValueError as error:
            raise CannotStartError(str(error)) from error


@asynccontextmanager
async def chosen_server(
    args: argparse.Namespace, *, template: Path | None = None
) -> AsyncIterator[Server]:
    """Choose the server by the options and the environment, and start it if it is ours.

    Args:
        args: What the options of `options` were set to.
        template: The chat template for the local model; None for its own.

    Raises:
        CannotStartError: It is not installed, or does not start.
    """
    if args.base_url is not None:
        # Who lists the processes of this machine reads every command line, and no environment.
        key = None if args.key_from is None else os.environ[args.key_from]
        yield Server(args.model or DEFAULT_MODEL, args.max_tokens, args.base_url, key)
    elif not args.local and has_livekit_key():
        yield Server(args.model or DEFAULT_MODEL, args.max_tokens)
    else:
        # A proxy would look for this machine's address on its own.
        os.environ["no_proxy"] = "127.0.0.1"
        async with local_model(template) as local:
            yield Server(MODEL, args.max_tokens, local.base_url, local.bearer)


def has_livekit_key() -> bool:
    """Whether the environment holds a key for LiveKit Inference."""
    return any(os.environ.get(f"LIVEKIT_{name}") for name in ("API_KEY", "INFERENCE_API_KEY"))


def run(
    main: Callable[[argparse.Namespace], Awaitable[int]], parser: argparse.ArgumentParser
) -> NoReturn:
    """Run a script and exit: with what ``main`` returns, 1 for a failure, 130 for Ctrl-C.

    Args:
        main: The script; it is given the parsed options.
        parser: Made by `options`.
    """
    args = parser.parse_args()
    if args.base_url is not None and args.local:
        parser.error("--local and --base-url exclude each other")
    if args.base_url is None and args.key_from is not None:
        parser.error("--key-from is for --base-url")
    if args.key_from is not None and not os.environ.get(args.key_from):
        parser.error(f"the environment has no {args.key_from}")
    # A model may write what the terminal's encoding does not have.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    status = 1
    try:
        status = run_until_ctrl_c(main, args)
    except* (APIError, CannotStartError) as failures:
        print(f"{parser.prog}: {_first(failures)}", file=sys.stderr)
    if status == INTERRUPTED:
        print(file=sys.stderr)
    sys.exit(status)


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    """A nursery groups what its tasks raise; one sentence is enough for a person."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
