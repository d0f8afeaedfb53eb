"""Stream one answer to the terminal, token by token, and say what it took."""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse

from terminal import paint, timed

from lktrio import ChatContext, LLMStream


async def main(args: argparse.Namespace) -> int:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=args.question)

    async with chosen_server(args) as server, server.llm() as llm:
        print(f"> {args.question}\n", flush=True)
        async with llm.chat(chat_ctx=chat_ctx) as stream:
            async for text in timed(stream.text):
                print(text, end="", flush=True)
        print("\n\n" + paint(f"[{llm.model}: {summary(stream)}]", "dim"))
    return 0


def summary(stream: LLMStream[None]) -> str:
    """Describe a stream that has ended: usage, time to the first token, speed."""
    attempt = stream.response.attempts[-1]
    usage, first, ended = stream.usage, attempt.first_output, attempt.ended
    facts: list[str] = []
    if usage is not None:
        facts.append(f"{usage.prompt_tokens} + {usage.completion_tokens} tokens")
    if first is not None:
        facts.append(f"first token after {first:.2f} s")
    if usage is not None and first is not None and ended is not None and ended > first:
        # The first token is where the time begins.
        facts.append(f"{(usage.completion_tokens - 1) / (ended - first):.1f} tokens/s")
    facts.append(f"finish reason: {stream.finish_reason}")
    return ", ".join(facts)


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument(
        "question",
        nargs="?",
        default="Give me three tips for sleeping well.",
        help="(default: %(default)s)",
    )
    run(main, parser)
