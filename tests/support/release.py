"""What a release must be like: ``python -m tests.support.release DIST``, as `nox -s release` does.

Reads the project's own files and what was built of them, and imports nothing of the package: it is
run where that is not installed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from email import message_from_bytes
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

PLACEHOLDER: Final = "lktrio.invalid"
"""The host of addresses that a person must put something in the place of."""

# What speaks of the placeholder, and will when there is none any more.
_SPEAK_OF_IT: Final = ("building/", "tests/", "CONTRIBUTING.md")
_SAY_HOW_TO_INSTALL: Final = {"README.md", "docs/index.md", "docs/installation.md"}
_HEADING: Final = re.compile(
    r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE
)


# --- the project's files ------------------------------------------------------------------------


def versions(root: Path) -> dict[str, str | None]:
    """The version of the project, by the file that states it; None where a file states none."""
    changelog = _read(root, "CHANGELOG.md")
    return {
        "pyproject.toml": tomllib.loads(_read(root, "pyproject.toml"))["project"]["version"],
        "lktrio/_version.py": _found(
            r'^__version__: Final = "(.+)"$', _read(root, "lktrio/_version.py")
        ),
        "CITATION.cff": _found(r"^version: (.+)$", _read(root, "CITATION.cff")),
        "CHANGELOG.md": version_of_changelog(changelog),
    }


def version_of_changelog(text: str) -> str | None:
    """The version that the uppermost section describes. One that is not released yet says which it
    will be: "To become 1.2.3"."""
    heading = _HEADING.search(text)
    if heading is None:
        return None
    if heading["name"] != "Unreleased":
        return heading["name"]
    section = text[heading.end() :].partition("\n## ")[0]
    return _found(r"^To become (\d[^\s,]*?)[.,]?(?: |$)", section)


def left_to_fill_in(root: Path, names: Iterable[str]) -> list[str]:
    """What only a person can fill in, each with its place.

    Args:
        root: The project.
        names: Its files, relative to that.
    """
    left = [
        f"{name}:{number}: {what}: {line.strip()}"
        for name in names
        if not name.startswith(_SPEAK_OF_IT)
        for number, line in enumerate(_lines(root / name), 1)
        if (what := _left_in(name, line))
    ]
    text = _read(root, "CHANGELOG.md")
    heading = _HEADING.search(text)
    if heading is None or heading["date"] is None:
        line = 1 if heading is None else text.count("\n", 0, heading.start()) + 1
        left.append(f"CHANGELOG.md:{line}: the version and its date, in the place of [Unreleased]")
    return left


def _left_in(name: str, line: str) -> str | None:
    if PLACEHOLDER in line:
        return "an address"
    if name in _SAY_HOW_TO_INSTALL and re.search(r"pip install \.(?![\w/\[])", line):
        return "how to install it from an index"
    return None


# --- what was built -----------------------------------------------------------------------------


def metadata(path: Path) -> Message:
    """The metadata of a wheel or an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
            return message_from_bytes(wheel.read(name))
    with tarfile.open(path) as sdist:
        name = f"{path.name.removesuffix('.tar.gz')}/PKG-INFO"
        file = sdist.extractfile(name)
        assert file is not None
        return message_from_bytes(file.read())


def description(path: Path) -> str:
    """The long description of a wheel or an sdist, in Markdown."""
    content = metadata(path).get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"href", "src"} and value]


def relative_links(html: str) -> list[str]:
    """The links in an HTML text that lead nowhere without the files beside it."""
    links = _Links()
    links.feed(html)
    return [link for link in links.found if not re.match(r"[a-zA-Z][\w+.-]*:|#", link)]


def check_description(path: Path, render: Callable[[str], str | None]) -> Iterator[str]:
    """Say what is wrong with the long description of a wheel or an sdist.

    Args:
        path: The wheel or the sdist.
        render: Makes HTML of it as a package index does; None where it cannot.
    """
    if metadata(path)["Description-Content-Type"] != "text/markdown":
        yield f"{path.name}: its long description is not said to be Markdown"
    html = render(description(path))
    if not html:
        yield f"{path.name}: its long description cannot be rendered"
    yield from (f"{path.name}: a relative link: {link}" for link in relative_links(html or ""))


def check_versions(found: dict[str, str | None]) -> Iterator[str]:
    """Say where another version stands than in ``pyproject.toml``."""
    wanted = found["pyproject.toml"]
    for place, version in found.items():
        if version != wanted:
            yield f"{place}: version {version}, and {wanted} in pyproject.toml"


def version_of_pages(pages: Path) -> str | None:
    """The version that built documentation says it describes, in what others link to it by."""
    with (pages / "objects.inv").open("rb") as inventory:
        head = b"".join(inventory.readline() for _ in range(4)).decode()
    return _found(r"^# Version: (.+)$", head)


# --- the command --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Check, and print what is wrong; what only a person can fill in comes last."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.release")
    parser.add_argument("dist", type=Path, help="where one sdist and one wheel are")
    parser.add_argument("--description", action="store_true", help="look at nothing else")
    parser.add_argument("--pages", type=Path, help="the built documentation")
    parser.add_argument("--final", action="store_true", help="nothing may be left to fill in")
    options = parser.parse_args(arguments)
    from readme_renderer.markdown import render  # in the sessions alone

    (sdist,), (wheel,) = options.dist.glob("*.tar.gz"), options.dist.glob("*.whl")
    wrong = [*check_description(sdist, render), *check_description(wheel, render)]
    left: list[str] = []
    if not options.description:
        found = versions(ROOT)
        for built in (sdist, wheel):
            found[built.name] = str(metadata(built)["Version"])
        if options.pages is not None:
            found["the documentation"] = version_of_pages(options.pages)
        for tag in _git("tag", "--points-at", "HEAD", "v*"):
            found[f"the tag {tag}"] = tag.removeprefix("v")
        wrong += check_versions(found)
        print(f"{found['pyproject.toml']} in: {', '.join(found)}")  # noqa: T201
        left = left_to_fill_in(ROOT, _git("ls-files"))
    for each in wrong:
        print(f"wrong: {each}")  # noqa: T201
    for each in left:
        print(f"left for a person: {each}")  # noqa: T201
    return 1 if wrong or (left and options.final) else 0


def _git(*arguments: str) -> list[str]:
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def _read(root: Path, name: str) -> str:
    return (root / name).read_text(encoding="utf-8")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _found(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return None if found is None else found[1]


if __name__ == "__main__":
    sys.exit(main())
