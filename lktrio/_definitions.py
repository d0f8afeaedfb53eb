"""How the classes of the package are defined, and how a room's face hands out what is in it.

This module knows the names that public definitions go by, what frozen values made by attrs have in
common, and how a name is imported when it is first asked for. It knows none of them: each class
says itself what it is, and each face what it has.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import operator
import reprlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

__all__ = ["Value", "know_later_names", "lazily", "public"]

T = TypeVar("T")


def lazily(face: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of a face that imports a module when one of its names is asked for.

    Args:
        face: Name of the package.
        modules: For each module of it, the names that it gives, with blanks between them.
    """
    module_of = {name: module for module, names in modules.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f".{module_of[name]}", face), name)
        # The next time it is found without this function.
        setattr(sys.modules[face], name, value)
        return value

    return find


def public(definition: T) -> T:
    """Make a class or function go by its public name: ``lktrio.X`` for what stands in
    ``lktrio._y``.

    Tracebacks, `repr`, pickles and documentation then say how it is imported, and a pickle can be
    read after the definition has moved. `typing.get_type_hints` looks for the names in a class's
    hints where the class says it stands; what is written as text is therefore read before.
    """
    if isinstance(definition, type):
        hints = inspect.get_annotations(definition)
        if any(isinstance(hint, str) for hint in hints.values()):
            itself = {definition.__name__: definition}
            hints = inspect.get_annotations(definition, locals=itself, eval_str=True)
            definition.__annotations__ = hints
        if isinstance(vars(definition).get("__slots__"), tuple):
            setattr(definition, "__slots__", _FieldTexts(definition))  # noqa: B010 - it is a type
    definition.__module__ = definition.__module__.partition("._")[0]
    return definition


class _FieldTexts(dict[str, Any]):
    """The ``__slots__`` of a class: its fields, each with the text that stands below it.

    Python keeps no string that stands below a field, and `help` looks for it here. It is read from
    the source when somebody asks.
    """

    def __init__(self, cls: type[Any]) -> None:
        super().__init__(dict.fromkeys(cls.__slots__))
        self._module = cls.__module__
        self._name = cls.__name__

    def __getitem__(self, name: str) -> str | None:
        return _texts_below(self._module).get((self._name, name))


@functools.cache
def _texts_below(module: str) -> dict[tuple[str, str], str]:
    """The texts below the fields of a module's classes, by class and field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, SyntaxError, KeyError):
        # No source was installed.
        return {}
    return {
        (node.name, field.target.id): inspect.cleandoc(below.value.value)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for field, below in itertools.pairwise(node.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def know_later_names(cls: type[Any], **names: object) -> None:
    """Let `typing.get_type_hints` read the annotations of an attrs class's ``__init__``.

    attrs copies the names of the module when it makes the class. Those that are defined later, such
    as the class itself, are missing there.

    Args:
        cls: The class.
        names: What its annotations name that was not there yet.
    """
    vars(cls)["__init__"].__globals__.update(names)


class Value:
    """A frozen attrs class that is compared and shown by its fields, as attrs would do it.

    attrs would write these methods for each class, and compile them whenever the package is
    imported, for half a millisecond a class. Written once, they are left out of the classes by
    ``attrs.frozen(eq=False, repr=False)``.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        cls: Any = type(self)
        fields = _fields_of(cls)
        return bool(fields(self) == fields(other))

    def __hash__(self) -> int:
        cls: Any = type(self)
        return hash((cls, _fields_of(cls)(self)))

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        cls: Any = type(self)
        shown = [f"{name}={show(getattr(self, name))}" for name, show in _shown_of(cls)]
        return f"{cls.__qualname__.rsplit('>.', 1)[-1]}({', '.join(shown)})"


@functools.cache
def _fields_of(cls: Any) -> Callable[[object], object]:
    return operator.attrgetter(*(field.name for field in attrs.fields(cls) if field.eq))


@functools.cache
def _shown_of(cls: Any) -> list[tuple[str, Callable[[Any], object]]]:
    return [
        (field.name, field.repr if callable(field.repr) else repr)
        for field in attrs.fields(cls)
        if field.repr
    ]
