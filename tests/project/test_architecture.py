"""The rooms of the house: what imports what, and what leaves the house.

A room imports only rooms above it, through their faces; what is above the line does no input and
output; one room knows httpx; what is public is complete and documented.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lktrio
import lktrio.testing
from tests.support import rooms
from tests.support.paths import PACKAGE, ROOT
from tests.support.rooms import ORDER, PYPROJECT, imported_names

PUBLIC_ROOMS = rooms.PUBLIC
INSIDE = [*ORDER]

# The room that speaks HTTP, the kit that plays the other side, and what the SDK of MCP wants.
KNOW_HTTPX = {"_http", "testing", "mcp"}

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
PUBLIC = {
    name: getattr(module, name, None)
    for module in (lktrio, lktrio.testing)
    for name in module.__all__
}
DEFINITIONS = {
    name: value for name, value in PUBLIC.items() if isinstance(value, type | types.FunctionType)
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import trio.testing", {"trio.testing"}),
        ("from trio import sleep as pause", {"trio.sleep"}),
        ("from . import sse, body", {"lktrio._wire.sse", "lktrio._wire.body"}),
        ("from .body import read", {"lktrio._wire.body.read"}),
        ("from lktrio._json import loads", {"lktrio._json.loads"}),
        ("from .._json import loads", {"lktrio._json.loads"}),
        ("def f():\n    import httpx", {"httpx"}),
        ("if TYPE_CHECKING:\n    from httpx import URL", {"httpx.URL"}),
        ("try:\n    import a, b\nexcept ImportError:\n    import c", {"a", "b", "c"}),
        ("importance = 'import trio'", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, expected: set[str]) -> None:
    assert imported_names(source, package="lktrio._wire") == expected


def test_the_order_names_every_room_once() -> None:
    assert sorted(rooms.files()) == sorted([*ORDER, *PUBLIC_ROOMS, "__init__"])


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_above_it(room: str) -> None:
    above = ORDER[: ORDER.index(room)]

    # `import lktrio` and `from lktrio import LLM` reach everything at once, so they fail as well.
    wrong = [
        f"{file}: {name}"
        for file, name in rooms.imports(room)
        if name.split(".")[0] == "lktrio" and name.split(".")[1:2] != [room]
        if not set(name.split(".")[1:2]) & set(above)
    ]
    assert wrong == []


def test_nothing_but_a_program_imports_a_public_room() -> None:
    assert {to for _, to in rooms.arrows()} & set(PUBLIC_ROOMS) == set()


def test_the_house_is_as_high_and_as_wide_as_it_may_be() -> None:
    modules = [room for room in ORDER if rooms.files()[room] == [PACKAGE / f"{room}.py"]]
    between = [arrow for arrow in rooms.arrows() if set(arrow) <= set(ORDER)]

    assert len(modules) <= 4
    assert max(map(rooms.floor, ORDER)) <= 8
    assert len(between) <= 90


def reaches_past_a_face(name: str, room: str) -> bool:
    """Whether an import names a module within another room."""
    parts = name.split(".")
    if parts[0] != "lktrio" or len(parts) < 4 or parts[1] in {room, *PUBLIC_ROOMS}:
        return False
    return (PACKAGE / parts[1] / f"{parts[2]}.py").is_file()


def test_reaching_past_a_face_is_told_from_asking_it() -> None:
    assert reaches_past_a_face("lktrio._wire.sse.EventReader", "_engine")
    assert not reaches_past_a_face("lktrio._wire.sse.EventReader", "_wire")
    assert not reaches_past_a_face("lktrio._wire.EventReader", "_engine")
    assert not reaches_past_a_face("trio.lowlevel.current_task", "_engine")


@pytest.mark.parametrize("room", sorted(rooms.files()))
def test_nobody_reaches_past_a_face(room: str) -> None:
    past = [
        f"{file}: {name}" for file, name in rooms.imports(room) if reaches_past_a_face(name, room)
    ]
    assert past == []


FACES = sorted(PACKAGE.glob("_*/__init__.py"))


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.parent.name)
def test_a_face_is_short_and_defines_nothing(face: Path) -> None:
    source = face.read_text(encoding="utf-8")

    assert len(source.splitlines()) <= 40
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, defined)] == []


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_a_module_is_short_and_says_what_it_knows(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    assert len(source.splitlines()) <= 500
    assert ast.get_docstring(ast.parse(source))


def test_the_line_below_which_there_is_input_and_output() -> None:
    """Above it, nothing waits: bytes and values go in, values come out."""
    above = [room for room in ORDER if rooms.is_core(room)]

    assert above == ORDER[: ORDER.index("_http")]
    assert any(name.endswith("lktrio/_wire/sse.py") for name in rooms.core_files())


@pytest.mark.parametrize("room", [room for room in rooms.files() if room not in KNOW_HTTPX])
def test_only_one_room_knows_httpx(room: str) -> None:
    libraries = {"h11", "httpcore", "httptools", "httpx", "httpx2"}
    assert {name.split(".")[0] for _, name in rooms.imports(room)} & libraries == set()


def imports_within(package: str) -> dict[str, set[str]]:
    """What the modules of a public package import, by the top name."""
    return {
        path.stem: {
            name.split(".")[0]
            for name in imported_names(
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
    assert "'lktrio._engine.llm'" in loaded


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
    "lktrio._adapters",
    "lktrio._schemas.converter",
    "lktrio._schemas.descriptions",
    "lktrio._schemas.docstrings",
    "lktrio._schemas.fields",
    "lktrio._schemas.introspection",
    "lktrio._schemas.json_schema",
    "lktrio._schemas.leaves",
    "lktrio._schemas.metadata",
    "lktrio._schemas.own_types",
    "lktrio._schemas.parts",
    "lktrio._schemas.shapes",
    "lktrio._schemas.strict",
    "lktrio._schemas.structure",
    "lktrio._schemas.type_hints",
    "lktrio._schemas.unions",
    "lktrio._schemas.unstructure",
    "lktrio._settings.rate",
    "lktrio._tools.calls",
    "lktrio._tools.definition",
    "lktrio._tools.signature",
    "lktrio._turns",
    "lktrio._usage",
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
    assert "lktrio._engine.llm" in loaded.split()


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
assert run_turn.__module__ == "lktrio"
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
    imported = imported_names(path.read_text(encoding="utf-8"), package="examples")
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
from lktrio._schemas.response_format import AnswerShape
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
