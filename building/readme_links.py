"""The links of README.md for those who read it elsewhere: absolute, by ``pyproject.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
# Markdown and HTML. What has a scheme, begins at a root or stays on the page leads there already.
_RELATIVE = re.compile(
    r"""(?P<before>\]\(|\b(?:href|src|srcset)=")(?![a-zA-Z][\w+.-]*:|[/#])(?P<path>[^\s)"]+)"""
)
_PICTURES = frozenset({".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"})


def absolute_links(text: str, project: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """Make each relative link of a Markdown text absolute, but for those in blocks of code.

    Args:
        text: The text.
        project: The table ``[project]`` of ``pyproject.toml``.
        links: The table ``[tool.lktrio.links]``: what becomes of a path to a ``file`` and of one to
            a ``picture``. Both may name ``{version}``, ``{path}``, and what is in
            ``[project.urls]``.
    """

    def absolute(found: re.Match[str]) -> str:
        path, _, heading = found["path"].removeprefix("./").partition("#")
        link = links["picture" if Path(path).suffix.lower() in _PICTURES else "file"]
        target = link.format(version=project["version"], path=path, **project["urls"])
        return f"{found['before']}{target}{heading and f'#{heading}'}"

    parts = _CODE.split(text)
    # The odd ones are the blocks of code.
    parts[::2] = [_RELATIVE.sub(absolute, prose) for prose in parts[::2]]
    return "".join(parts)


def long_description(text: str, pyproject: Path) -> str:
    """What a package index shows of this text, by what stands in that ``pyproject.toml``."""
    content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    return absolute_links(text, content["project"], content["tool"]["lktrio"]["links"])
