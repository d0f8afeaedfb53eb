"""The order of the rooms, and what leaves the house.

A module imports only modules listed above it in ``pyproject.toml``; the core imports no I/O;
one module knows httpx; what is public is complete and documented.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lktrio
import lktrio.testing

ROOT = Path(__file__).parent.parent
PACKAGE = Path(inspect.getfile(lktrio)).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE: list[str] = PYPROJECT["tool"]["lktrio"]["core"]
SHELL: list[str] = PYPROJECT["tool"]["lktrio"]["shell"]
PUBLIC_ROOMS: list[str] = PYPROJECT["tool"]["lktrio"]["public"]
ORDER = CORE + SHELL + PUBLIC_ROOMS

# The room that speaks HTTP, and the kit that plays the other side.
KNOW_HTTPX = {"_http", "testing"}

INPUT_AND_OUTPUT = {
    "anyio",
    "asyncio",
    "h11",
    "httpcore",
    "httpx",
    "select",
    "selectors",
    "sniffio",
    "socket",
    "ssl",
    "trio",
}

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
PUBLIC = {
    name: getattr(module, name, None)
    for module in (lktrio, lktrio.testing)
    for name in module.__all__
}
DEFINITIONS = {
    name: value for name, value in PUBLIC.items() if isinstance(value, type | types.FunctionType)
}


def imported_modules(source: str, *, package: str) -> set[str]:
    """Every module the source imports, by absolute name, wherever in the file it does so.

    ``from x import y`` counts as ``x.y``, because y may be a module.
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


def rooms() -> dict[str, Path]:
    """The modules and packages directly in lktrio, by name."""
    return {
        path.stem: path
        for path in sorted(PACKAGE.iterdir())
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    }


def imports_of(room: str) -> set[str]:
    path = rooms()[room]
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    names: set[str] = set()
    for file in files:
        parents = ["lktrio", *file.parent.relative_to(PACKAGE).parts]
        names |= imported_modules(file.read_text(encoding="utf-8"), package=".".join(parents))
    return names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import trio.testing", {"trio.testing"}),
        ("from trio import sleep as pause", {"trio.sleep"}),
        ("from . import _sse, _wire", {"lktrio._sse", "lktrio._wire"}),
        ("from ._wire import encode", {"lktrio._wire.encode"}),
        ("from lktrio._wire import encode", {"lktrio._wire.encode"}),
        ("def f():\n    import httpx", {"httpx"}),
        ("if TYPE_CHECKING:\n    from httpx import URL", {"httpx.URL"}),
        ("try:\n    import a, b\nexcept ImportError:\n    import c", {"a", "b", "c"}),
        ("importance = 'import trio'", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, expected: set[str]) -> None:
    assert imported_modules(source, package="lktrio") == expected


def test_relative_imports_are_resolved_from_a_subpackage() -> None:
    source = "from .. import _sse\nfrom .._wire import encode\nfrom .gateway import Gateway"

    assert imported_modules(source, package="lktrio.testing") == {
        "lktrio._sse",
        "lktrio._wire.encode",
        "lktrio.testing.gateway.Gateway",
    }


def test_the_order_names_every_room_once() -> None:
    assert set(rooms()) == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("room", [room for room in ORDER if room in rooms()])
def test_a_room_imports_only_rooms_above_it(room: str) -> None:
    above = ORDER[: ORDER.index(room)]
    within = [name.split(".") for name in imports_of(room) if name.split(".")[0] == "lktrio"]
    within = [parts for parts in within if parts[1:2] != [room]]

    # `import lktrio` and `from lktrio import LLM` reach everything at once, so they fail as well.
    assert [".".join(parts) for parts in within if not set(parts[1:2]) & set(above)] == []


@pytest.mark.parametrize("room", [room for room in CORE if room in rooms()])
def test_the_core_imports_no_input_and_output(room: str) -> None:
    assert {name.split(".")[0] for name in imports_of(room)} & INPUT_AND_OUTPUT == set()


@pytest.mark.parametrize("room", [room for room in rooms() if room not in KNOW_HTTPX])
def test_only_one_room_knows_httpx(room: str) -> None:
    libraries = {"h11", "httpcore", "httptools", "httpx"}
    assert {name.split(".")[0] for name in imports_of(room)} & libraries == set()


def imports_within(package: str) -> dict[str, set[str]]:
    """What the modules of a public package import, by the top name."""
    return {
        path.stem: {
            name.split(".")[0]
            for name in imported_modules(
                path.read_text(encoding="utf-8"), package=f"lktrio.{package}"
            )
        }
        for path in (PACKAGE / package).glob("*.py")
    }


def test_in_the_test_kit_one_module_knows_httpx() -> None:
    imported = imports_within("testing")

    assert {name for name, tops in imported.items() if tops & {"httpx", "h11"}} == {"_http"}
    assert not any({"httpcore", "httptools"} & tops for tops in imported.values())


def test_only_the_fixtures_need_pytest() -> None:
    needing = {
        name
        for name, tops in imports_within("testing").items()
        if tops & {"pytest", "_pytest", "pytest_trio", "trustme"}
    }

    assert needing == {"pytest"}


def test_the_package_loads_no_public_room_by_itself() -> None:
    program = "import sys, lktrio; print([name for name in sys.modules if 'lktrio.' in name])"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert [room for room in PUBLIC_ROOMS if f"'lktrio.{room}" in loaded] == []
    assert "'lktrio._llm'" in loaded


def test_without_its_sdk_the_room_of_mcp_says_what_to_install() -> None:
    program = """
import sys
sys.modules["mcp"] = None
try:
    import lktrio.mcp
except ImportError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert "pip install 'lktrio[mcp]'" in printed


# What a program pays for when it asks for it: rooms, and what they or third parties are built on.
LATER = {
    "lktrio._converter",
    "lktrio._docstrings",
    "lktrio._execution",
    "lktrio._fallback",
    "lktrio._genai",
    "lktrio._hedge",
    "lktrio._leaves",
    "lktrio._mismatch",
    "lktrio._own_types",
    "lktrio._parts",
    "lktrio._relay",
    "lktrio._rounds",
    "lktrio._schema",
    "lktrio._shapes",
    "lktrio._strict_schema",
    "lktrio._turn",
    "lktrio._turn_events",
    "lktrio._unions",
    "lktrio._unstructure",
    "cattrs",
    "cryptography",
    "docstring_parser",
    "httpx2",
    "json_repair",
    "jwt",
    "mcp",
    "mcp_types",
    "opentelemetry",
    "pydantic",
}


def test_the_package_imports_only_what_every_program_needs() -> None:
    program = "import sys, lktrio; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert LATER & set(loaded.split()) == set()
    assert "lktrio._llm" in loaded.split()


def test_a_request_without_tools_and_options_imports_nothing_more() -> None:
    program = """
import sys, httpx, trio, lktrio

async def main():
    def answer(request):
        return httpx.Response(200, json={"choices": [{"message": {"content": "Hello."}}]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    chat_ctx = lktrio.ChatContext()
    chat_ctx.add_message(role="user", content="Hello?")
    base_url = "http://localhost/v1"
    async with client, lktrio.LLM("m", base_url=base_url, auth=None, http_client=client) as llm:
        assert (await llm.chat(chat_ctx=chat_ctx).collect()).text == "Hello."

before = set(sys.modules)
trio.run(main)
print(*(name for name in set(sys.modules) - before if name.split(".")[0] == "lktrio"), "cattrs" in sys.modules)
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert loaded.split() == ["False"]


def test_what_is_imported_later_is_listed_and_imported_by_its_name() -> None:
    program = """
import lktrio
assert set(lktrio.__all__) <= set(dir(lktrio)), dir(lktrio)
assert "FallbackAdapter" not in vars(lktrio)
assert lktrio.FallbackAdapter is vars(lktrio)["FallbackAdapter"]
from lktrio import *
assert run_turn.__module__ == "lktrio._turn"
try:
    lktrio.fallback_adapter
except AttributeError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert printed == "module 'lktrio' has no attribute 'fallback_adapter'\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_uses_only_what_is_public(path: Path) -> None:
    imported = imported_modules(path.read_text(encoding="utf-8"), package="examples")
    private = [
        name
        for name in imported
        if name.split(".")[0] == "lktrio" and any(part.startswith("_") for part in name.split("."))
    ]

    assert private == []


def test_the_version_is_the_same_in_both_places() -> None:
    assert lktrio.__version__ == PYPROJECT["project"]["version"]


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("package", [lktrio, lktrio.testing], ids=lambda one: one.__name__)
def test_every_exported_name_exists_and_is_listed_once(package: Any) -> None:
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert len(set(package.__all__)) == len(package.__all__)


@pytest.mark.parametrize("package", [lktrio, lktrio.testing], ids=lambda one: one.__name__)
def test_every_public_name_is_exported(package: Any) -> None:
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and value is not annotations
    }

    assert public - set(package.__all__) == set()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_public_definition_says_where_it_lives(name: str) -> None:
    assert DEFINITIONS[name].__module__.split(".")[0] == "lktrio"


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_public_definition_and_its_members_are_documented(name: str) -> None:
    definition = DEFINITIONS[name]
    undocumented = [] if definition.__doc__ and definition.__doc__.strip() else [name]
    if isinstance(definition, type):
        undocumented += [
            f"{name}.{member.name}" for member in members(definition) if not member.documented
        ]

    assert undocumented == []


class Member(NamedTuple):
    name: str
    documented: bool


def members(cls: type[Any]) -> Iterator[Member]:
    """The public methods, properties and annotated attributes that the class itself defines.

    An attribute is documented by the string under it; a method may inherit its docstring.
    """
    body = class_body(cls)
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                documented = isinstance(following, ast.Expr) and isinstance(
                    following.value, ast.Constant
                )
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                documented = bool(inspect.getdoc(getattr(cls, name)))
            case _:
                continue
        if not name.startswith("_"):
            yield Member(name, documented)


def class_body(cls: type[Any]) -> list[ast.stmt]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                return node.body
    raise LookupError(f"no module of lktrio defines a class {cls.__name__}")


def test_without_cattrs_nothing_that_has_options_tools_or_typed_answers_works() -> None:
    program = """
import sys, dataclasses
sys.modules["cattrs"] = None
import lktrio

@dataclasses.dataclass
class Weather:
    degrees: float

def look_up(city: str = "Paris") -> float:
    return 1.5

tool = lktrio.function_tool(look_up)
llm = lktrio.LLM("m", base_url="http://localhost/v1", auth=None)
answer = lktrio.CollectedResponse(text='{"degrees": 1}')
from lktrio._response_format import AnswerShape
shape = AnswerShape(Weather)
uses = {
    "options": lambda: lktrio.LLM("m", base_url="http://localhost/v1", auth=None, extra_kwargs={"seed": 1}),
    "a call's options": lambda: llm.chat(chat_ctx=lktrio.ChatContext(), tool_choice="auto"),
    "arguments": lambda: tool.decode_arguments('{"city": "Rome"}'),
    "a result": lambda: tool.encode_output([1.5]),
    "an answer": lambda: shape.parse(answer),
    "a converter": lambda: lktrio.make_converter(),
}
for name, use in uses.items():
    try:
        use()
    except ImportError as error:
        assert "cattrs" in str(error), error
    else:
        print(name, "works without cattrs")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (ran.stdout, ran.stderr) == ("", "")
