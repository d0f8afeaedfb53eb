"""How the documentation looks: its pictures, and its links to what others describe."""

from __future__ import annotations

import importlib.util
import re
import typing
import zlib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from lktrio import Clock
from tests.support.documents import DOCS, pages
from tests.support.paths import ROOT

PICTURES = sorted({*DOCS.rglob("*.svg")} - {*(DOCS / "_build").rglob("*")})
SHOWN = [
    (page, " ".join(found[1].split()), (page.parent / found[2]).resolve())
    for page in pages()
    for found in re.finditer(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_small_is_shown_and_needs_nothing_from_elsewhere(picture: Path) -> None:
    drawn = picture.read_text(encoding="utf-8")

    assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(drawn) < 16_000
    assert re.findall(r"https?://[^\"]+", drawn) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@import|@font-face|<script|<image|url\(", drawn)
    assert picture.resolve() in {path for _, _, path in SHOWN}


@pytest.mark.parametrize("name", ["life", "clocks"])
def test_what_is_drawn_by_hand_fits_a_telephone_and_the_night(name: str) -> None:
    drawn = (DOCS / f"{name}.svg").read_text(encoding="utf-8")
    width = float(ET.fromstring(drawn).attrib["viewBox"].split()[2])

    assert width <= 340
    assert "prefers-color-scheme: dark" in drawn
    assert 'class="drawn"' in drawn, "which the style of the pages looks for"


def test_every_picture_is_there_and_told_in_words() -> None:
    assert [path for _, _, path in SHOWN if not path.is_file()] == []
    assert [told for _, told, _ in SHOWN if len(told.split()) < 6] == []
    names = {path.name for _, _, path in SHOWN}
    assert {"life.svg", "clocks.svg", "benchmarks.svg"} <= names


def test_the_clocks_are_all_drawn_and_told() -> None:
    drawn = (DOCS / "clocks.svg").read_text(encoding="utf-8")
    (told,) = [told for _, told, path in SHOWN if path.name == "clocks.svg"]

    for clock in typing.get_args(Clock):
        assert f">{clock}<" in drawn
        assert clock in told


@pytest.fixture(scope="module")
def elsewhere() -> ModuleType:
    """The module that Sphinx's configuration imports."""
    spec = importlib.util.spec_from_file_location("elsewhere", DOCS / "elsewhere.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_others_describe_is_listed_once_and_named_somewhere(elsewhere: ModuleType) -> None:
    listed = [line.split()[0] for _, lines in elsewhere.inventories().values() for line in lines]
    texts = [*pages(), *DOCS.rglob("*.rst"), *(ROOT / "lktrio").rglob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(text.read_text(encoding="utf-8") for text in texts)))

    assert elsewhere.names() == set(listed)
    assert len(listed) == len(set(listed))
    assert [name for name in listed if name.rpartition(".")[2] not in words] == []


def test_the_list_is_written_as_sphinx_reads_it(elsewhere: ModuleType, tmp_path: Path) -> None:
    written = elsewhere.write_inventories(tmp_path)

    address, file = written["trio"]
    head, _, packed = Path(file).read_bytes().partition(b"# zlib\n")
    assert (address, head.splitlines()[0]) == (
        "https://trio.readthedocs.io/en/stable/",
        b"# Sphinx inventory version 2",
    )
    assert b"trio.run py:function 1 reference-core.html#$ -" in zlib.decompress(packed).splitlines()
    packed = Path(written["httpx"][1]).read_bytes().partition(b"# zlib\n")[2]
    assert b"httpx.AsyncClient py:class 1 api/#asyncclient -\n" in zlib.decompress(packed)
