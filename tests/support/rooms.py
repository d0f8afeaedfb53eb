"""The rooms of the package: what imports what, by reading the source.

``python -m tests.support.rooms`` prints the rooms floor by floor and the arrows between them;
``python -m tests.support.rooms core`` prints the files that do without input and output.
"""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.paths import PACKAGE, ROOT

PYPROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

ORDER: Final[list[str]] = PYPROJECT["tool"]["lktrio"]["rooms"]
"""From the top: a room imports only what stands above it."""

PUBLIC: Final[list[str]] = PYPROJECT["tool"]["lktrio"]["public"]
"""Rooms that a program imports by name; nothing else imports them."""

INPUT_AND_OUTPUT: Final = frozenset(
    {
        "anyio",
        "asyncio",
        "h11",
        "httpcore",
        "httptools",
        "httpx",
        "mcp",
        "select",
        "selectors",
        "sniffio",
        "socket",
        "ssl",
        "trio",
    }
)


class Import(NamedTuple):
    """One name that a file imports."""

    file: str
    """Where, relative to the package."""

    name: str
    """What, absolute and dotted; ``from x import y`` is ``x.y``, because y may be a module."""


def imported_names(source: str, *, package: str) -> set[str]:
    """Every name that a source imports, absolute, wherever in the file it does so.

    Args:
        source: The source.
        package: The package that it stands in.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def room_of(path: Path) -> str:
    """The room that a file belongs to: a package, or a module that stands beside them."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def files() -> dict[str, list[Path]]:
    """The files of each room, by its name; those of the face are under ``__init__``."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(room_of(path), []).append(path)
    return found


@functools.cache
def imports(room: str) -> tuple[Import, ...]:
    """All that the files of a room import."""
    return tuple(_imports(room))


def _imports(room: str) -> Iterator[Import]:
    for path in files()[room]:
        within = path.relative_to(PACKAGE)
        package = ".".join(["lktrio", *within.parent.parts])
        for name in sorted(imported_names(path.read_text(encoding="utf-8"), package=package)):
            yield Import(within.as_posix(), name)


@functools.cache
def arrows() -> frozenset[tuple[str, str]]:
    """Which room imports which."""
    return frozenset(
        (room, name.split(".")[1])
        for room in files()
        for _, name in imports(room)
        if name.split(".")[0] == "lktrio" and name.split(".")[1] in files()
        if name.split(".")[1] != room
    )


@functools.cache
def floor(room: str) -> int:
    """How many rooms there are on the longest way from the top to this one, itself included. A
    module that stands beside the rooms is no floor of its own."""
    is_room = files()[room] != [PACKAGE / f"{room}.py"]
    return is_room + max((floor(above) for below, above in arrows() if below == room), default=0)


@functools.cache
def is_core(room: str) -> bool:
    """Whether neither a room nor anything that it imports does input and output."""
    if {name.split(".")[0] for _, name in imports(room)} & INPUT_AND_OUTPUT:
        return False
    return all(is_core(above) for below, above in arrows() if below == room)


def core_files() -> list[str]:
    """The files above the line, relative to the project."""
    return [
        path.relative_to(ROOT).as_posix()
        for room, paths in files().items()
        if room != "__init__" and is_core(room)
        for path in paths
    ]


def main() -> None:
    """Print the house."""
    inside = [room for room in files() if room != "__init__" and room not in PUBLIC]
    between = [arrow for arrow in arrows() if set(arrow) <= set(inside)]
    for level in range(max(map(floor, inside)) + 1):
        for room in (room for room in inside if floor(room) == level):
            above = sorted(to for of, to in between if of == room)
            line = "" if is_core(room) else "  (input and output)"
            print(f"{level}  {room:16}{line} <- {', '.join(above)}")  # noqa: T201
    print(f"{len(inside)} rooms, {max(map(floor, inside))} floors, {len(between)} arrows")  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1:] == ["core"]:
        print(",".join(core_files()))  # noqa: T201
    else:
        main()
