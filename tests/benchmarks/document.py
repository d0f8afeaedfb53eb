"""``python -m tests.benchmarks.document``: put the numbers of a run where documents show them.

This module alone knows how numbers stand in a document: as a table or as sentences between two
comments, and as a picture beside them.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from .clients import REFERENCE, VARIANTS
from .limits import ROOT

DOCS: Final = ROOT / "docs"
DOCUMENT = DOCS / "performance.md"
README: Final = ROOT / "README.md"
PICTURE: Final = DOCS / "benchmarks.svg"
NUMBERS: Final = DOCS / "benchmarks.json"

# What is enough for a picture.
_FIRST_ROWS: Final = ("chunks", "calls", "tls", "paced_100", "requests", "items_100", "import")
_OWN: Final = "lktrio_chat"

_LINE: Final = 118
_PEERS: Final = ("openai_trio", "pydantic_ai_trio", "livekit_agents")

_PLACE = re.compile(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->\n)", re.DOTALL)


def table(run: dict[str, Any]) -> str:
    """A run, as `comparison` writes it, as a table in Markdown."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: dict[str, Any]) -> Iterator[str]:
    rows = [_comparable(row) for row in run["rows"].values()]
    titles = _titles(rows)
    head = [_standing_out(name, title) for name, title in titles.items()]
    yield f"| {' | '.join(['', *head])} |"
    yield f"| --- |{' ---: |' * len(titles)}"
    for row in rows:
        cells = [_standing_out(name, _cell(row["clients"].get(name, {}))) for name in titles]
        title = f"{row['title']}: {row['unit']}"
        yield f"| {' | '.join([title, *cells])} |"
    about = run["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield ""
    yield f"In parentheses: the ratio to {about['reference']}, the median of {_rounds(rows)};"
    yield "before it, the ratio times the median of that client."
    yield f"{versions}; {about['machine']}; {about['date'][:10]}."


def sentences(run: dict[str, Any]) -> str:
    """What a run says in a few words: chunks and requests, beside the reference and others."""
    chunks, requests = (run["rows"][row]["clients"] for row in ("chunks", "requests"))
    about = run["about"]
    others = [
        f"{_times(chunks[name]['ratio'])} times with {chunks[name]['title']}"
        for name in _PEERS
        if chunks.get(name, {}).get("ratio") is not None
    ]
    versions = [f"{name} {about['versions'][name]}" for name in about["versions"]]
    said = [
        f"A chunk takes {_times(chunks[_OWN]['ratio'])} times the CPU that {about['reference']} take for it,",
        f"a small request {_times(requests[_OWN]['ratio'])} times.",
        *([f"The same chunk takes {_listed(others)}."] if others else []),
        f"({about['date'][:10]}; {', '.join(versions)}.)",
    ]
    return textwrap.fill(" ".join(said), _LINE) + "\n"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def _listed(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose numbers can be compared.

    Not all clients take part in all rounds, and the machine is not equally fast in all of them. What
    is known best are the ratios within rounds: a number is the ratio of its client to the reference,
    times the median of the reference.
    """
    reference = row["clients"].get(REFERENCE, {}).get("median")
    clients = {
        name: {**result, "median": result["ratio"] * reference}
        if reference and result.get("ratio") is not None
        else result
        for name, result in row["clients"].items()
    }
    return {**row, "clients": clients}


def _titles(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The clients that were measured, in order."""
    return {
        name: result["title"]
        for row in rows
        for name, result in row["clients"].items()
        if "title" in result
    }


def _standing_out(client: str, text: str) -> str:
    return f"**{text}**" if client == _OWN else text


def _rounds(rows: Sequence[dict[str, Any]]) -> str:
    counts = {
        len(result["values"])
        for row in rows
        for result in row["clients"].values()
        if "values" in result
    }
    fewest, most = min(counts, default=0), max(counts, default=0)
    return f"{most} rounds" if fewest == most else f"{fewest} to {most} rounds"


def without_variants(run: dict[str, Any]) -> dict[str, Any]:
    """A run with only the clients that every row has."""
    rows = {
        name: {
            **row,
            "clients": {
                client: result
                for client, result in row["clients"].items()
                if client not in VARIANTS
            },
        }
        for name, row in run["rows"].items()
    }
    return {**run, "rows": rows}


def first_of(run: dict[str, Any]) -> dict[str, Any]:
    """A run with only the rows that a picture has place for."""
    return {**run, "rows": {name: run["rows"][name] for name in _FIRST_ROWS if name in run["rows"]}}


_BAR: Final = 14
_LEFT: Final = 190
_WIDTH: Final = 760


def picture(run: dict[str, Any]) -> str:
    """A run as bars in SVG: for each row what the clients need, the one that needs most in full."""
    parts: list[str] = []
    y = 10
    rows = [_comparable(row) for row in run["rows"].values()]
    titles = _titles(rows)
    for row in rows:
        parts.append(
            f'<text x="8" y="{y + 12}" font-weight="bold">'
            f"{html.escape(row['title'])} ({html.escape(row['unit'])})</text>"
        )
        y += 20
        medians = {name: each.get("median") for name, each in row["clients"].items()}
        most = max((value for value in medians.values() if value is not None), default=1.0)
        for name, title in titles.items():
            value = medians.get(name)
            if value is None:
                continue
            width = max(round(value / most * (_WIDTH - _LEFT - 70)), 1)
            colour = "#1f6feb" if name.startswith("lktrio") else "#9aa4af"
            size = f'width="{width}" height="{_BAR - 2}"'
            parts += [
                f'<text x="{_LEFT - 6}" y="{y + 11}" text-anchor="end">{html.escape(title)}</text>',
                f'<rect x="{_LEFT}" y="{y + 1}" {size} fill="{colour}"/>',
                f'<text x="{_LEFT + width + 5}" y="{y + 11}">{_number(value)}</text>',
            ]
            y += _BAR
        y += 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" '
        f'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{_WIDTH}" height="{y}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _cell(result: dict[str, Any]) -> str:
    if "median" not in result:
        return "-"
    number, ratio = _number(result["median"]), result["ratio"]
    if ratio is None:
        return number
    return f"{number} ({_times(ratio)})"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def put(
    document: str, run: dict[str, Any], text_of: Callable[[dict[str, Any]], str] = table
) -> str:
    """A document with the table of a run in its place, or with what else is made of it.

    Raises:
        ValueError: The document has no place for it.
    """
    found, count = _PLACE.subn(lambda place: f"{place[1]}{text_of(run)}{place[2]}", document)
    if count != 1:
        raise ValueError("the document must have one <!-- bench:begin --> and <!-- bench:end -->")
    return found


def main() -> None:
    """Read the command line and write the documents."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.document",
        description="Put the numbers of a run into docs/performance.md, and a few words into README.md.",
    )
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"))
    arguments = parser.parse_args()
    write(arguments.json)


def write(numbers: Path) -> None:
    """Put the numbers of a run where documents show them."""
    run = json.loads(numbers.read_text(encoding="utf-8"))
    shown = without_variants(run)
    for document, text_of in ((DOCUMENT, table), (README, sentences)):
        written = put(document.read_text(encoding="utf-8"), run, text_of)
        document.write_text(written, encoding="utf-8")
    PICTURE.write_text(picture(first_of(shown)), encoding="utf-8")
    if numbers.resolve() != NUMBERS:
        shutil.copyfile(numbers, NUMBERS)


if __name__ == "__main__":
    main()
