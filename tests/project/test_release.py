"""What a release is made of, and what else states it: versions, addresses, links, workflows."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lktrio
from tests.support import release
from tests.support.paths import ROOT
from tests.support.rooms import PYPROJECT

PROJECT = PYPROJECT["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = {path.stem: path.read_text("utf-8") for path in (ROOT / ".github/workflows").iterdir()}
PRE_COMMIT = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def absolute_links(text: str, links: dict[str, str] | None = None) -> str:
    path = ROOT / "building/readme_links.py"
    spec = importlib.util.spec_from_file_location("readme_links", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[..., str] = module.absolute_links
    return made(text, PROJECT, links or PYPROJECT["tool"]["lktrio"]["links"])


def constant(name: str) -> Any:
    """What noxfile.py assigns to a name, if it is a literal."""
    for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def sessions() -> set[str]:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in noxfile.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }


# --- versions -----------------------------------------------------------------------------------


def test_the_version_is_the_same_wherever_it_stands() -> None:
    found = release.versions(ROOT)

    assert set(found.values()) == {lktrio.__version__}
    assert list(release.check_versions(found)) == []


def test_another_version_is_named_with_its_place() -> None:
    found = {"pyproject.toml": "1.2.3", "CITATION.cff": "1.2.2", "CHANGELOG.md": None}

    assert list(release.check_versions(found)) == [
        "CITATION.cff: version 1.2.2, and 1.2.3 in pyproject.toml",
        "CHANGELOG.md: version None, and 1.2.3 in pyproject.toml",
    ]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# Changelog\n\n## [1.2.3] - 2026-12-01\n\n## [1.2.2] - 2026-11-01\n", "1.2.3"),
        ("## [Unreleased]\n\nTo become 1.2.3, the first release.\n", "1.2.3"),
        ("## [Unreleased]\n\nTo become 1.2.3.\n\n## [1.2.2] - 2026-11-01\n", "1.2.3"),
        ("## [Unreleased]\n\n- A change.\n\n## [1.2.2] - 2026-11-01\n\nTo become 1.2.3.\n", None),
        ("# Changelog\n", None),
    ],
)
def test_the_changelog_says_which_version_it_describes(text: str, version: str | None) -> None:
    assert release.version_of_changelog(text) == version


def test_the_pages_say_which_version_they_describe(tmp_path: Path) -> None:
    head = b"# Sphinx inventory version 2\n# Project: lktrio\n# Version: 1.2.3\n# The rest\n\0"
    (tmp_path / "objects.inv").write_bytes(head)

    assert release.version_of_pages(tmp_path) == "1.2.3"
    assert "version = release = lktrio.__version__" in (ROOT / "docs/conf.py").read_text("utf-8")


# --- what only a person can fill in -------------------------------------------------------------


def test_no_placeholder_is_where_nobody_looks_for_it() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a repository: which files are its own is not known")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    holding = {
        name
        for name in listed
        if (ROOT / name).is_file() and release.PLACEHOLDER.encode() in (ROOT / name).read_bytes()
    }
    named = {line.partition(":")[0] for line in release.left_to_fill_in(ROOT, listed)}
    speaking = {"CONTRIBUTING.md", "tests/project/test_release.py", "tests/support/release.py"}
    assert holding - speaking <= named


def test_what_is_left_for_a_person_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n", encoding="utf-8")
    (tmp_path / "a.toml").write_text("\nSource = 'https://lktrio.invalid/x'\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("`pip install .` installs it.\n", encoding="utf-8")

    assert release.left_to_fill_in(tmp_path, ["README.md", "a.toml"]) == [
        "README.md:1: how to install it from an index: `pip install .` installs it.",
        "a.toml:2: an address: Source = 'https://lktrio.invalid/x'",
        "CHANGELOG.md:3: the version and its date, in the place of [Unreleased]",
    ]


def test_nothing_is_left_once_it_is_filled_in(tmp_path: Path) -> None:
    text = "# Changelog\n\n## [1.2.3] - 2026-12-01\n"
    (tmp_path / "CHANGELOG.md").write_text(text, encoding="utf-8")

    assert release.left_to_fill_in(tmp_path, ["CHANGELOG.md"]) == []


def test_the_addresses_have_the_names_that_an_index_knows() -> None:
    assert list(PROJECT["urls"]) == ["Homepage", "Documentation", "Source", "Changelog", "Issues"]
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())


def test_the_addresses_are_the_same_where_they_are_stated_again() -> None:
    stated = (ROOT / "CITATION.cff").read_text(encoding="utf-8")

    assert f"\nurl: {PROJECT['urls']['Homepage']}\n" in stated
    assert f"\nrepository-code: {PROJECT['urls']['Source']}\n" in stated
    assert f"\nlicense: {PROJECT['license']}\n" in stated
    assert f"\n  {PROJECT['description']}\n" in stated
    assert re.findall(r"^  - name: (.+)$", stated, re.MULTILINE) == [
        author["name"] for author in PROJECT["authors"]
    ]


# --- links of the README ------------------------------------------------------------------------

LINKS = {"file": "{Source}/f/{version}/{path}", "picture": "{Source}/p/{version}/{path}"}
FILE = f"{PROJECT['urls']['Source']}/f/{PROJECT['version']}"
PICTURE = f"{PROJECT['urls']['Source']}/p/{PROJECT['version']}"


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("[a](docs/a.md)", f"[a]({FILE}/docs/a.md)"),
        ("[a](./docs/a.md#b-c), [d](LICENSE)", f"[a]({FILE}/docs/a.md#b-c), [d]({FILE}/LICENSE)"),
        ("[two\nlines](a.md)", f"[two\nlines]({FILE}/a.md)"),
        ("![a](docs/a.svg)", f"![a]({PICTURE}/docs/a.svg)"),
        ("[![a](a.PNG)](a.md)", f"[![a]({PICTURE}/a.PNG)]({FILE}/a.md)"),
        ('<img src="a.svg" alt="a">', f'<img src="{PICTURE}/a.svg" alt="a">'),
        ('<source srcset="a.webp">', f'<source srcset="{PICTURE}/a.webp">'),
        ('<a href="a.md">', f'<a href="{FILE}/a.md">'),
        ("[a](https://a.example/b.md)", None),
        ("[a](mailto:a@a.example) [b](#c) [d](//a.example)", None),
        ('<a href="#b" title="a.md">', None),
        ("```python\na[0](b)\n```\n", None),
        ("f(x) [a]", None),
    ],
)
def test_a_relative_link_becomes_absolute(text: str, made: str | None) -> None:
    assert absolute_links(text, LINKS) == (text if made is None else made)


def test_every_link_of_the_readme_leads_to_a_file_of_the_repository() -> None:
    before = set(re.findall(r"\]\(([^)]+)\)", README))
    after = set(re.findall(r"\]\(([^)]+)\)", absolute_links(README)))

    assert [link for link in after if not re.match(r"https://|#", link)] == []
    made = after - before
    assert len(made) > 8
    source = PROJECT["urls"]["Source"]
    place = re.compile(rf"{re.escape(source)}/(blob|raw)/v{re.escape(PROJECT['version'])}/")
    paths = [place.sub("", link).partition("#")[0] for link in made]
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_links_that_lead_nowhere_are_found_in_what_is_shown() -> None:
    shown = '<p><a href="a.md">a</a><a href="#b">b</a><a>c</a><img alt="d" src="/d.svg"></p>'

    assert release.relative_links(shown) == ["a.md", "/d.svg"]
    assert release.relative_links('<a href="https://a.example/b.md">') == []


def built(folder: Path, text: str, kind: str = "text/markdown") -> list[Path]:
    """An sdist and a wheel with nothing but this description."""
    content = f"Name: a\nVersion: 1\nDescription-Content-Type: {kind}\n\n{text}".encode()
    wheel = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a/__init__.py", "")
        archive.writestr("a-1.dist-info/METADATA", content)
    sdist = folder / "a-1.tar.gz"
    (folder / "PKG-INFO").write_bytes(content)
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(folder / "PKG-INFO", "a-1/PKG-INFO")
    return [sdist, wheel]


def test_what_was_built_is_looked_at(tmp_path: Path) -> None:
    def shows(text: str) -> str | None:
        return f"<p>{text}</p>" if text.strip() else None

    for path in built(tmp_path, 'Späße: <a href="https://a.example">'):
        assert list(release.check_description(path, shows)) == []
        assert release.metadata(path)["Version"] == "1"
    for path in built(tmp_path, '<a href="a.md">', "text/plain"):
        assert list(release.check_description(path, shows)) == [
            f"{path.name}: its long description is not said to be Markdown",
            f"{path.name}: a relative link: a.md",
        ]
    for path in built(tmp_path, ""):
        assert list(release.check_description(path, shows)) == [
            f"{path.name}: its long description cannot be rendered"
        ]


# --- workflows, and what else runs the sessions -------------------------------------------------


def test_the_workflow_runs_every_python_that_the_project_is_for() -> None:
    (listed,) = re.findall(r"^ +python: (\[.*\])$", WORKFLOWS["ci"], re.MULTILINE)
    pythons = ast.literal_eval(listed)
    classifier = "Programming Language :: Python :: 3."
    classified = [
        f"3.{each.removeprefix(classifier)}"
        for each in PROJECT["classifiers"]
        if each.startswith(classifier)
    ]
    (tolerated,) = re.findall(r"^ +continue-on-error: (.*)$", WORKFLOWS["ci"], re.MULTILINE)
    untried = re.findall(r"matrix\.python == '(.+?)'", tolerated)

    assert pythons == constant("PYTHONS")
    assert [python for python in pythons if python not in untried] == classified
    assert PROJECT["requires-python"] == f">={classified[0]}"


def test_the_workflow_runs_every_session_that_checks() -> None:
    (listed,) = re.findall(r"^        session:\n((?: +- \w+\n)+)", WORKFLOWS["ci"], re.MULTILINE)
    elsewhere = {"tests", "release", "bench", "fuzz", "soak", "tail"}

    assert set(re.findall(r"\w+", listed)) == sessions() - elsewhere


def test_the_script_runs_sessions_that_exist() -> None:
    if not (ROOT / ".ci/run").exists():
        pytest.skip("not in an sdist")
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    listed = re.findall(r"^ *nox .*?-s ([a-z_\d .]+)", script, re.MULTILINE)
    named = {re.sub(r"-3.*|\.\d+", "", name) for names in listed for name in names.split()}

    assert named - sessions() == set()
    assert {"lint", "typing", "docs", "package", "coverage", "floors"} <= named


def test_the_page_for_contributors_lists_every_session() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` +\|", page.partition("| session ")[2], re.MULTILINE)

    assert set(rows) == sessions()


def test_every_session_that_a_page_for_people_names_exists() -> None:
    for page in ("CONTRIBUTING.md", "SECURITY.md"):
        said = (ROOT / page).read_text(encoding="utf-8")
        named = set(re.findall(r"nox -s (\w+?)(?:-3\.\d+)?\b", said))
        assert named
        assert named - sessions() == set()


def test_every_file_that_the_security_page_names_exists() -> None:
    said = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|docs)/[\w./-]*)`", said)

    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_no_more_than_it_must(name: str) -> None:
    text = WORKFLOWS[name]
    (at_first,) = re.findall(r"^permissions:(?: (\{\})|\n  (contents: read))$", text, re.MULTILINE)

    assert any(at_first)
    assert "secrets." not in text
    assert text.count("uses: actions/checkout@") == text.count("persist-credentials: false")


def test_what_may_publish_runs_nothing_of_the_repository() -> None:
    _, *jobs = re.split(
        r"^  (?=\w+:\n)", WORKFLOWS["release"].partition("\njobs:\n")[2], flags=re.MULTILINE
    )
    powerful = [job for job in jobs if ": write" in job]

    assert [job.partition(":")[0] for job in powerful] == ["attest", "publish"]
    assert not any("run:" in job or "actions/checkout" in job for job in powerful)


def test_a_commit_is_checked_with_the_versions_that_the_session_has() -> None:
    group = [each for each in PYPROJECT["dependency-groups"]["lint"] if isinstance(each, str)]
    installed = set(re.findall(r'"([\w-]+==[^"]+)"', PRE_COMMIT))

    assert installed
    assert installed <= set(group)


def test_the_pages_are_built_of_the_same_as_in_the_session() -> None:
    hosted = (ROOT / ".readthedocs.yaml").read_text(encoding="utf-8")
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    (extras,) = re.findall(r'--group docs "(.+?)"', hosted)

    assert f'session.install("{extras}", *_group("docs"))' in noxfile
    assert "fail_on_warning: true" in hosted
