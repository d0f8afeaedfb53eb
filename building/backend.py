"""flit_core, and one thing more: in the long description, links lead somewhere.

README.md is read in a checkout, where its links lead to the files beside it. The long description
of a package is read on the page of an index, which has none of them.
"""

from __future__ import annotations

from pathlib import Path

from flit_core import config
from flit_core.buildapi import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from readme_links import long_description

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_read = config.description_from_file


def _read_for_an_index(
    name: str, project: Path, guess_mimetype: bool = True
) -> tuple[str, str | None]:
    text, kind = _read(name, project, guess_mimetype)
    return long_description(text, Path(project, "pyproject.toml")), kind


# flit_core has no place for hooks, and reads the file here alone. If a release of it reads it
# elsewhere, `nox -s package` finds the relative links.
config.description_from_file = _read_for_an_index
