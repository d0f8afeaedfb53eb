"""Where other projects describe what this documentation names.

``elsewhere.txt`` lists it; intersphinx, which makes the links, calls such lists inventories. They
are here, and not fetched, so that a build needs no network and finds the same each time.
"""

from __future__ import annotations

import zlib
from pathlib import Path

LIST = Path(__file__).with_name("elsewhere.txt")


def inventories() -> dict[str, tuple[str, list[str]]]:
    """For each project its address, and a line for each name: name, kind and page."""
    found: dict[str, tuple[str, list[str]]] = {}
    names: list[str] = []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            project, address = line.strip("[]").split()
            names = []
            found[project] = address, names
        elif line and not line.startswith("#"):
            names.append(line)
    return found


def names() -> set[str]:
    """All names that are linked."""
    return {line.split()[0] for _, lines in inventories().values() for line in lines}


def write_inventories(directory: Path) -> dict[str, tuple[str, str]]:
    """Write them as files of Sphinx; return the setting that names these."""
    directory.mkdir(parents=True, exist_ok=True)
    mapping: dict[str, tuple[str, str]] = {}
    for project, (address, lines) in inventories().items():
        entries = ""
        for line in lines:
            name, kind, page = line.split()
            # Sphinx writes a dollar sign for the name itself.
            entries += f"{name} py:{kind} 1 {page if '#' in page else f'{page}#$'} -\n"
        head = "# Sphinx inventory version 2\n# Project: {}\n# Version:\n# zlib\n"
        file = directory / f"{project}.inv"
        file.write_bytes(head.format(project).encode() + zlib.compress(entries.encode()))
        mapping[project] = address, str(file)
    return mapping
