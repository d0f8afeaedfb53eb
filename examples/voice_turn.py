"""Take turns as a voice agent does: speak while the answer arrives, fall silent when interrupted.

The caller is a script, or with --talk you: type, and press Enter. Whatever is said while the agent
speaks or looks something up interrupts it: voice, model and tool stop at once, and the
conversation keeps what was heard. The voice is simulated; it says its words by printing them.
"""

from __future__ import annotations

from command_line import chosen_server, options, run

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio
from terminal import paint
from tools import TEMPLATE, get_weather

from lktrio import (
    LLM,
    CallReady,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    RefusalDelta,
    RoundFinished,
    TextDelta,
    ToolStarted,
    Turn,
    run_turn,
)

END_OF_SENTENCE = re.compile(r"(?<=[.!?:;\n])(?=\s)")
WORD = re.compile(r"\s*\S+|\s+")
SILENCE = ""


# What the caller says, and after how many sounds of the agent: words, or the noise of a tool at
# work. The second line interrupts a sentence, the third one a tool.
SCRIPT = (
    ("What is the weather in Paris?", 0),
    ("And in London?", 5),
    ("Sorry, I meant Rome.", 1),
)


# --- the agent ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voice:
    """A voice, simulated."""

    seconds_per_word: float
    sounds: trio.MemorySendChannel[str]
    """What can be heard at the other end."""

    async def speak(
        self, sentences: trio.MemoryReceiveChannel[str], on_spoken: Callable[[int], None]
    ) -> None:
        """Say one sentence after the other, and tell how many characters have been spoken."""
        spoken = 0
        async for sentence in sentences:
            for word in WORD.findall(sentence):
                await trio.sleep(self.seconds_per_word)
                self.make(word)
                spoken += len(word)
                on_spoken(spoken)
        self.make(SILENCE)

    def make(self, sound: str) -> None:
        """Make a sound."""
        print(sound, end="", flush=True)
        self.sounds.send_nowait(sound)


async def take_turns(
    llm: LLM, chat_ctx: ChatContext, utterances: trio.MemoryReceiveChannel[str], voice: Voice
) -> None:
    """Answer whatever the caller says, until the caller hangs up."""
    utterance = await next_of(utterances)
    while utterance is not None:
        print(f"{paint('caller:', 'cyan')} {utterance}")
        chat_ctx.add_message(role="user", content=utterance)
        async with trio.open_nursery() as turn:
            turn.start_soon(answer, llm, chat_ctx, voice)
            utterance = await next_of(utterances)
            if utterance is not None and turn.child_tasks:
                print(paint(" -- interrupted", "yellow"), end="")
                turn.cancel_scope.cancel()
        print()


async def next_of(utterances: trio.MemoryReceiveChannel[str]) -> str | None:
    """What the caller says next; None after the last word."""
    try:
        return await utterances.receive()
    except trio.EndOfChannel:
        return None


async def answer(llm: LLM, chat_ctx: ChatContext, voice: Voice) -> None:
    """The agent's turn. To cancel this is all it takes to stop voice, model and tools."""
    print(paint("agent:  ", "green"), end="", flush=True)
    async with run_turn(
        llm,
        chat_ctx=chat_ctx,
        tools=[get_weather],
        # For small models, which do not know when to call a tool, and when to stop.
        tool_choice="required",
        parallel_tool_calls=False,
        max_rounds=2,
    ) as turn:
        turn.set_spoken(0)
        async with trio.open_nursery() as nursery:
            # Speech is slow: the model need not wait for it.
            send, sentences = trio.open_memory_channel[str](math.inf)
            nursery.start_soon(voice.speak, sentences, turn.set_spoken)
            async with send:
                await listen_to_model(turn, send, voice)


async def listen_to_model(
    turn: Turn[None], send: trio.MemorySendChannel[str], voice: Voice
) -> None:
    """Pass on each sentence as soon as it is whole."""
    text = ""
    async for event in turn:
        match event:
            case TextDelta(text=more) | RefusalDelta(text=more):
                *sentences, text = END_OF_SENTENCE.split(text + more)
                for sentence in sentences:
                    await send.send(sentence)
            case ToolStarted(call=call):
                voice.make(f"[{call.name} {call.arguments}] ")
            case CallReady() | RoundFinished():
                # Nothing comes after what was said last.
                await send.send(text)
                text = ""
            case _:
                pass


# --- the caller ---------------------------------------------------------------------------------


async def follow_script(
    script: Sequence[tuple[str, int]],
    say: trio.MemorySendChannel[str],
    sounds: trio.MemoryReceiveChannel[str],
) -> None:
    """Say what the script says, when it says so, or when the agent is silent."""
    async with say:
        for text, after in script:
            heard = 0
            while heard < after and await sounds.receive() != SILENCE:
                heard += 1
            await say.send(text)


async def type_lines(say: trio.MemorySendChannel[str]) -> None:
    """Say what is typed."""
    async with say:
        while True:
            # A thread that still waits for a key must not keep the program from its end.
            typed = await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True)
            if not typed:
                return
            for line in typed.decode(sys.stdin.encoding, "replace").splitlines():
                await say.send(line)


async def main(args: argparse.Namespace) -> int:
    chat_ctx = ChatContext()
    say, utterances = trio.open_memory_channel[str](0)
    make, sounds = trio.open_memory_channel[str](math.inf)
    async with (
        chosen_server(args, template=TEMPLATE) as server,
        server.llm() as llm,
        trio.open_nursery() as call,
    ):
        if args.talk:
            call.start_soon(type_lines, say)
        else:
            call.start_soon(follow_script, SCRIPT, say, sounds)
        await take_turns(llm, chat_ctx, utterances, Voice(args.seconds_per_word, make))
    print("\nIn the conversation:")
    for item in chat_ctx.items:
        match item:
            case ChatMessage(role=role, text_content=text, interrupted=interrupted):
                print(f"  {role}: {text}{' --' if interrupted else ''}")
            case FunctionCall(name=name, arguments=arguments):
                print(f"  call: {name} {arguments}")
            case FunctionCallOutput(output=output):
                print(f"  output: {output}")
            case _:
                pass
    return 0


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--talk", action="store_true", help="be the caller yourself")
    parser.add_argument(
        "--seconds-per-word",
        metavar="SECONDS",
        type=float,
        default=0.25,
        help="how slowly the agent speaks (default: %(default)g)",
    )
    run(main, parser)
