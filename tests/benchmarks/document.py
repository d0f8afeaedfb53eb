"""``python -m tests.benchmarks.document``: put the numbers of a run where documents show them.

This module alone knows how a table stands in a document: between two comments.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .limits import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"

_PLACE = re.compile(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->\n)", re.DOTALL)


def table(run: dict[str, Any]) -> str:
    """A run, as `comparison` writes it, as a table in Markdown."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: dict[str, Any]) -> Iterator[str]:
    rows: list[dict[str, Any]] = list(run["rows"].values())
    titles = [f"{row['title']}: {row['unit']}" for row in rows]
    yield f"| {' | '.join(['', *titles])} |"
    yield f"| --- |{' ---: |' * len(titles)}"
    for name in rows[0]["clients"]:
        cells = [_cell(row["clients"][name]) for row in rows]
        title = next(each["title"] for row in rows if "title" in (each := row["clients"][name]))
        yield f"| {' | '.join([title, *cells])} |"
    about = run["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield ""
    yield f"In parentheses: the ratio to {about['reference']}. Medians of {about['rounds']} rounds;"
    yield f"{versions}; {about['machine']}; {about['date'][:10]}."


def _cell(result: dict[str, Any]) -> str:
    if "median" not in result:
        return "-"
    ratio = result["ratio"]
    return f"{result['median']:.3g}" + ("" if ratio is None else f" ({ratio:.2f})")


def put(document: str, run: dict[str, Any]) -> str:
    """A document with the table of a run in its place.

    Raises:
        ValueError: The document has no place for it.
    """
    found, count = _PLACE.subn(lambda place: f"{place[1]}{table(run)}{place[2]}", document)
    if count != 1:
        raise ValueError("the document must have one <!-- bench:begin --> and <!-- bench:end -->")
    return found


def main() -> None:
    """Read the command line and write the document."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.document")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"))
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    arguments = parser.parse_args()
    run = json.loads(arguments.json.read_text(encoding="utf-8"))
    document = arguments.document.read_text(encoding="utf-8")
    arguments.document.write_text(put(document, run), encoding="utf-8")


if __name__ == "__main__":
    main()
