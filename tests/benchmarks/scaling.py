"""``python -m tests.benchmarks.scaling``: how lktrio's cost grows with the size of what is asked.

This module alone knows four sizes: chunks of a stream, streams at once, messages of a conversation
and tools of a request. Each is measured at several values, everything else as small as it can be.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio

from lktrio import LLM, ChatContext, ChatMessage, function_tool

from .exchange import AUTHORIZATION, Question
from .limits import ROOT
from .load_server import LoadServer

PICTURE: Final = ROOT / "docs" / "scaling.svg"
NUMBERS: Final = ROOT / "docs" / "scaling.json"

_ROUNDS: Final = 5

Cost: TypeAlias = Callable[[str, int], Awaitable[float]]


async def _cpu_of(url: str, question: Question, *, streams: int = 1, tools: int = 0) -> float:
    """CPU milliseconds of some streams at once; the median of several rounds."""
    chat_ctx = ChatContext(
        [ChatMessage(role=each["role"], content=[each["content"]]) for each in question.messages]
    )
    offered = [_tool(number) for number in range(tools)]
    async with LLM(question.model, base_url=f"{url}/v1", auth=AUTHORIZATION) as llm:

        async def one() -> None:
            async with llm.chat(chat_ctx=chat_ctx, tools=offered) as stream:
                async for _chunk in stream:
                    pass
            assert stream.finish_reason == "stop"

        async def all_at_once() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(streams):
                    nursery.start_soon(one)

        await all_at_once()
        costs: list[float] = []
        for _ in range(_ROUNDS):
            begin = time.process_time()
            await all_at_once()
            costs.append((time.process_time() - begin) * 1e3)
    return statistics.median(costs)


def _tool(number: int) -> Any:
    async def look_up(place: str, days: int = 3) -> str:
        return f"{place} {days}"

    look_up.__name__ = f"look_up_{number}"
    look_up.__doc__ = "Look up the weather.\n\nArgs:\n    place: A city.\n    days: How many."
    return function_tool(look_up)


async def _chunks(url: str, size: int) -> float:
    return await _cpu_of(url, Question(size))


async def _streams(url: str, size: int) -> float:
    return await _cpu_of(url, Question(20), streams=size)


async def _messages(url: str, size: int) -> float:
    return await _cpu_of(url, Question(1, items=size))


async def _tools(url: str, size: int) -> float:
    return await _cpu_of(url, Question(1), tools=size)


SIZES: Final[dict[str, tuple[Cost, Sequence[int]]]] = {
    "chunks of a stream": (_chunks, (10, 100, 1_000, 10_000, 50_000)),
    "streams at once": (_streams, (1, 10, 100, 500)),
    "messages of a conversation": (_messages, (1, 10, 100, 1_000, 10_000)),
    "tools of a request": (_tools, (1, 10, 100, 500)),
}
"""What is measured at which sizes."""


def measure(url: str, *, largest: int) -> dict[str, dict[int, float]]:
    """Milliseconds of CPU by what grows and its size."""
    return {
        name: {
            size: trio.run(functools.partial(cost, url, size)) for size in sizes if size <= largest
        }
        for name, (cost, sizes) in SIZES.items()
    }


_PANEL: Final = 240
_MARGIN: Final = 46


def picture(numbers: dict[str, dict[int, float]]) -> str:
    """The numbers as curves in SVG, both axes logarithmic; the dashed line is what is linear."""
    panels = [
        _panel(name, values, column * (_PANEL + _MARGIN) + _MARGIN)
        for column, (name, values) in enumerate(numbers.items())
    ]
    width = len(numbers) * (_PANEL + _MARGIN) + _MARGIN
    height = _PANEL + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


def _panel(name: str, values: dict[int, float], left: int) -> str:
    sizes = [math.log10(size) for size in values]
    costs = [math.log10(cost) for cost in values.values()]
    bottom, decades = min(costs), max(max(costs) - min(costs), max(sizes) - min(sizes), 1.0)
    scale = _PANEL / decades

    def place(size: float, cost: float) -> str:
        x = left + (size - sizes[0]) * scale
        return f"{x:.1f},{_MARGIN + _PANEL - (cost - bottom) * scale:.1f}"

    reach = min(decades, sizes[-1] - sizes[0])
    line = " ".join(place(size, cost) for size, cost in zip(sizes, costs, strict=True))
    linear = f"{place(sizes[0], costs[0])} {place(sizes[0] + reach, costs[0] + reach)}"
    marks = [
        f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="3" fill="#1f6feb"/>'
        f'<text x="{float(point.split(",")[0]) + 5}" y="{float(point.split(",")[1]) + 12}">'
        f"{size}: {cost:.3g} ms</text>"
        for point, (size, cost) in zip(line.split(), values.items(), strict=True)
    ]
    return (
        f'<rect x="{left}" y="{_MARGIN}" width="{_PANEL}" height="{_PANEL}" fill="none" '
        'stroke="#d0d7de"/>\n'
        f'<text x="{left}" y="{_MARGIN - 10}" font-weight="bold">{name}</text>\n'
        f'<polyline points="{linear}" fill="none" stroke="#9aa4af" stroke-dasharray="4 3"/>\n'
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/>\n'
        + "\n".join(marks)
    )


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("--largest", type=int, default=100_000, help="leave larger sizes out")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where the SVG goes")
    parser.add_argument("--json", type=Path, default=NUMBERS, help="where the JSON goes")
    arguments = parser.parse_args()
    with LoadServer() as server:
        numbers = measure(server.url, largest=arguments.largest)
    arguments.picture.write_text(picture(numbers), encoding="utf-8")
    arguments.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    for name, values in numbers.items():
        print(name)
        for size, cost in values.items():
            print(f"  {size:8}  {cost:8.3g} ms  {cost / size:8.3g} ms each")


if __name__ == "__main__":
    main()
