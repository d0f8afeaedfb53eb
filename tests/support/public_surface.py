"""What a program can see of the package, as text: ``python -m tests.support.public_surface --write``.

It is read from the source, so that types and defaults stand there as they were written, whatever
the version of Python; a private base, and the module in which something is written, are not seen.
The text is kept in ``tests/data/public_surface.txt``, and a test compares.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import lktrio
from tests.support.paths import DATA, DOCS

RECORD: Final = DATA / "public_surface.txt"
REFERENCE: Final = DOCS / "reference"
COMMAND: Final = "python -m tests.support.public_surface --write"
WIDTH: Final = 110

_HEAD: Final = f"""\
# What a program can see of lktrio: names, bases, fields, signatures. Made by
#     {COMMAND}
# A change here is a change for users: see "What is public" in CONTRIBUTING.md.
"""
# What a signature or a field says already, and what Python alone calls.
_UNTOLD: Final = {
    f"__{name}__"
    for name in (
        *("attrs_post_init", "del", "eq", "getattr", "hash", "init_subclass", "new", "reduce"),
        *("repr", "set_name", "slots", "str"),
    )
}
_MARKS: Final = (
    *("abstractmethod", "classmethod", "staticmethod"),
    *("asynccontextmanager", "contextmanager", "fixture"),
)

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Definition: TypeAlias = ast.ClassDef | Function


def packages() -> list[str]:
    """The modules that a program imports by name: those without an underscore."""
    found = (module.name for module in pkgutil.walk_packages(lktrio.__path__, "lktrio."))
    public = [name for name in found if not any(part[0] == "_" for part in name.split("."))]
    return ["lktrio", *sorted(public)]


def surface() -> str:
    """The whole of it."""
    return "\n".join([_HEAD, *_Reader().sections()])


class _Reader:
    """Reads the source of all modules once, and looks up in it what is public."""

    def __init__(self) -> None:
        self._public = {
            name: {each: getattr(module, each) for each in sorted(module.__all__)}
            for name in packages()
            for module in [importlib.import_module(name)]
        }
        self._public_ids = {id(each) for names in self._public.values() for each in names.values()}
        names = {name for names in self._public.values() for name in names}
        self._types = _Types(names)
        # The reference shows empty parentheses where a program makes no such object.
        pages = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.rst"))
        self._not_made = set(re.findall(r"autoclass:: (?:\S+\.)?(\w+)\(\)", pages))
        self._bodies = {
            name: (module, ast.parse(inspect.getsource(module)).body)
            for name, module in sorted(sys.modules.items())
            if name.partition(".")[0] == "lktrio"
        }

    def sections(self) -> Iterator[str]:
        for package, names in self._public.items():
            yield f"[{package}]\n"
            for name, value in names.items():
                yield "\n".join(self._described(name, value)) + "\n"

    def _described(self, name: str, value: Any) -> Iterator[str]:
        if inspect.isclass(value):
            yield from self._class(name, value)
        elif definitions := self._definitions(name, value):
            yield from self._types.function(definitions)
        else:
            yield self._data(name, value)

    def _definitions(self, name: str, value: object) -> list[Any]:
        """Where a name is defined: once, or once for each overload of a function."""
        for module, body in self._bodies.values():
            found = [node for node in body if isinstance(node, Definition) and node.name == name]
            if found and getattr(module, name, None) is value:
                return found
        return []

    # --- classes ----------------------------------------------------------------------------------

    def _class(self, name: str, cls: type[Any]) -> Iterator[str]:
        bases = ", ".join(dict.fromkeys(self._bases(cls)))
        total = "" if getattr(cls, "__total__", True) else ", total=False"
        yield f"class {name}({bases}{total})" if bases else f"class {name}"
        members = self._members(cls)
        if name in self._not_made:
            members.pop("__init__", None)
        elif "__init__" not in members and (_is_attrs(cls) or hasattr(cls, "__struct_fields__")):
            yield from _folded(f"    {name}(", _parameters(cls), ")")
        for member in members.values():
            for line in self._types.member(member):
                yield textwrap.indent(line, "    ")

    def _bases(self, cls: type[Any]) -> Iterator[str]:
        """The bases of a class, those of a private base in its place."""
        for parametrized in vars(cls).get("__orig_bases__", cls.__bases__):
            base = typing.get_origin(parametrized) or parametrized
            arguments = ", ".join(_type_name(each) for each in typing.get_args(parametrized))
            name = f"{base.__name__}[{arguments}]" if arguments else base.__name__
            if id(base) in self._public_ids or base.__module__ == "builtins":
                yield from [name] if base is not object else []
            elif base.__module__.partition(".")[0] == "lktrio":
                yield from (each for each in self._bases(base) if "Generic[" not in each)
            else:
                yield f"{base.__module__.partition('.')[0]}.{name}"
        if _is_attrs(cls) and not any(_is_attrs(base) for base in self._public_bases(cls)):
            yield "attrs"

    def _public_bases(self, cls: type[Any]) -> list[type[Any]]:
        return [base for base in cls.__mro__[1:] if id(base) in self._public_ids]

    def _members(self, cls: type[Any]) -> dict[str, list[ast.stmt]]:
        """The statements that define each public member, private bases' included."""
        elsewhere = {each for base in self._public_bases(cls) for each in base.__mro__}
        members: dict[str, list[ast.stmt]] = {}
        for base in cls.__mro__:
            if base in elsewhere or base.__module__.partition(".")[0] != "lktrio":
                continue
            own: dict[str, list[ast.stmt]] = {}
            for node in self._definitions(base.__name__, base):
                for statement in node.body:
                    member = _name(statement)
                    if member and _is_told(member):
                        own.setdefault(member, []).append(statement)
            members = {**members, **{name: own[name] for name in own if name not in members}}
        return members

    # --- data -------------------------------------------------------------------------------------

    def _data(self, name: str, value: object) -> str:
        if isinstance(value, (int, bytes)):
            return f"{name}: {type(value).__name__} = {value!r}"
        if type(value).__module__.partition(".")[0] == "lktrio" or isinstance(value, str):
            return f"{name}: {type(value).__name__}"
        (written,) = (
            node.value
            for module, body in self._bodies.values()
            for node in body
            if isinstance(node, ast.Assign | ast.AnnAssign) and _name(node) == name
            if getattr(module, name) is value and node.value is not None
        )
        return _filled(f"{name} = {self._types.text(written)}")


def _is_attrs(cls: type[Any]) -> bool:
    return hasattr(cls, "__attrs_attrs__")


def _is_typed_dict(cls: type[Any]) -> bool:
    return hasattr(cls, "__total__")


def _is_told(member: str) -> bool:
    if member.startswith("__"):
        return member.endswith("__") and member not in _UNTOLD and member != "__slots__"
    return not member.startswith("_")


def _name(statement: ast.stmt) -> str | None:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None


class _Types(ast.NodeTransformer):
    """Writes definitions as text: a type in quotes is a type, and a public one is its name."""

    def __init__(self, public: set[str]) -> None:
        self._public = public

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if ast.unparse(node.value).rpartition(".")[2] in {"Literal", "Annotated"}:
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            return self.visit(ast.parse(node.value, mode="eval").body)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name(node.attr) if node.attr in self._public else node

    def text(self, node: ast.expr | None) -> str:
        return "?" if node is None else ast.unparse(self.visit(node))

    def member(self, statements: list[ast.stmt]) -> Iterator[str]:
        first = statements[0]
        if isinstance(first, Function):
            yield from self.function([each for each in statements if isinstance(each, Function)])
        elif isinstance(first, ast.AnnAssign):
            yield _filled(f"{_name(first)}: {self.text(first.annotation)}")
        else:
            yield f"{_name(first)} = ..."

    def function(self, definitions: list[Function]) -> Iterator[str]:
        """A function as it may be called: its overloads, if there are any."""
        overloads = [each for each in definitions if "overload" in _decorators(each)]
        for node in overloads or definitions[:1]:
            decorators = _decorators(node)
            marks = [mark for mark in _MARKS if mark in decorators]
            if decorators & {"property", "cached_property"}:
                yield " ".join([*marks, f"property {node.name}: {self.text(node.returns)}"])
                continue
            keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
            start = " ".join([*marks, f"{keyword} {node.name}("])
            yield from _folded(start, self._arguments(node.args), f") -> {self.text(node.returns)}")

    def _arguments(self, arguments: ast.arguments) -> list[str]:
        plain = [*arguments.posonlyargs, *arguments.args]
        defaults = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
        written = [self._argument(*each) for each in zip(plain, defaults, strict=True)]
        if arguments.posonlyargs:
            written.insert(len(arguments.posonlyargs), "/")
        if arguments.vararg:
            written.append(f"*{self._argument(arguments.vararg, None)}")
        elif arguments.kwonlyargs:
            written.append("*")
        pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        written += [self._argument(*each) for each in pairs]
        if arguments.kwarg:
            written.append(f"**{self._argument(arguments.kwarg, None)}")
        return written

    def _argument(self, argument: ast.arg, default: ast.expr | None) -> str:
        typed = argument.annotation is not None
        name = f"{argument.arg}: {self.text(argument.annotation)}" if typed else argument.arg
        return name if default is None else f"{name} = {ast.unparse(default)}"


def _decorators(node: Function) -> set[str]:
    calls = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return {ast.unparse(each).rpartition(".")[2] for each in calls}


def _parameters(cls: type[Any]) -> list[str]:
    """What a constructor takes; the types stand at the fields."""
    written: list[str] = []
    for each in inspect.signature(cls).parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in written:
            written.append("*")
        plain = each.default is None or isinstance(each.default, (bool, int, float, str))
        default = repr(each.default) if plain or each.default == () else "..."
        written.append(each.name if each.default is each.empty else f"{each.name}={default}")
    return written


def _type_name(type_: Any) -> str:
    return type_.__name__ if hasattr(type_, "__name__") else repr(type_)


def _folded(start: str, parts: list[str], end: str) -> Iterator[str]:
    """A list in parentheses: in one line, or each part in its own."""
    line = f"{start}{', '.join(parts)}{end}"
    if len(line) <= WIDTH:
        yield line
        return
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    lines = [start, *(f"{indent}{part}," for part in parts), f"{indent[4:]}{end}"]
    yield "\n".join(lines)


def _filled(line: str) -> str:
    return textwrap.fill(
        line,
        WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def main(arguments: list[str]) -> None:
    """Print the text, or keep it."""
    if arguments == ["--write"]:
        RECORD.write_text(surface(), encoding="utf-8")
    elif arguments:
        raise SystemExit(f"usage: {COMMAND}")
    else:
        sys.stdout.write(surface())


if __name__ == "__main__":
    main(sys.argv[1:])
