"""What every public name tells who asks it: type hints, a signature, and a page of help."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pydoc
import traceback
import typing
from typing import Any

import pytest

import lktrio
import lktrio.opentelemetry
import lktrio.testing
from lktrio._definitions import _texts_below

ROOMS = [lktrio, lktrio.testing, lktrio.opentelemetry]
with contextlib.suppress(ImportError):  # the SDK of the extra mcp need not be here
    ROOMS.append(importlib.import_module("lktrio.mcp"))
PUBLIC = {
    f"{room.__name__}.{name}": getattr(room, name)
    for room in ROOMS
    for name in room.__all__
    if inspect.isclass(getattr(room, name)) or inspect.isfunction(getattr(room, name))
}
CLASSES = [name for name, value in PUBLIC.items() if inspect.isclass(value)]
MADE_OF_DICT = [name for name in CLASSES if typing.is_typeddict(PUBLIC[name])]
LONGEST_SIGNATURE = 900
WIDEST_LINE = 900


def functions_of(value: Any) -> dict[str, Any]:
    """The functions that a class defines itself, or a function alone."""
    if not inspect.isclass(value):
        return {value.__name__: value}
    functions = {name: function_of(member) for name, member in vars(value).items()}
    return {name: each for name, each in functions.items() if inspect.isfunction(each)}


def function_of(member: Any) -> Any:
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    return member.fget if isinstance(member, property) else member


@pytest.mark.parametrize("name", PUBLIC)
def test_a_definition_says_by_which_name_it_is_imported(name: str) -> None:
    assert f"{PUBLIC[name].__module__}.{PUBLIC[name].__qualname__}" == name


def test_a_traceback_and_a_type_are_shown_by_their_public_names() -> None:
    error = lktrio.APITimeoutError("too slow", clock="idle")

    assert traceback.format_exception_only(error) == ["lktrio.APITimeoutError: too slow\n"]
    assert repr(lktrio.ChatChunk) == "<class 'lktrio.ChatChunk'>"
    assert repr(lktrio.CollectedResponse[int]) == "lktrio.CollectedResponse[int]"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_gives_its_type_hints(name: str) -> None:
    hints = typing.get_type_hints(PUBLIC[name], include_extras=True)

    assert hints.keys() >= inspect.get_annotations(PUBLIC[name]).keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_functions_and_methods_give_their_type_hints(name: str) -> None:
    for function in functions_of(PUBLIC[name]).values():
        assert typing.get_type_hints(function) is not None


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in MADE_OF_DICT])
def test_a_signature_can_be_read(name: str) -> None:
    # A typed dict is made like a dict, which has none.
    assert len(str(inspect.signature(PUBLIC[name]))) <= LONGEST_SIGNATURE


@pytest.mark.parametrize("name", PUBLIC)
def test_help_can_be_read(name: str) -> None:
    page = pydoc.render_doc(PUBLIC[name], renderer=pydoc.plaintext)

    assert name.rpartition(".")[2] in page
    assert max(map(len, page.splitlines())) <= WIDEST_LINE


def test_the_table_of_models_is_short_where_it_is_shown() -> None:
    assert repr(lktrio.DEFAULT_MODEL_TABLE).startswith("<ModelTable of ")
    assert "gpt-" not in str(inspect.signature(lktrio.LLM))


FIELDS = [
    (name, field)
    for name in CLASSES
    for field in vars(PUBLIC[name]).get("__slots__", ())
    if not field.startswith("_") and inspect.ismemberdescriptor(getattr(PUBLIC[name], field))
]


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=".".join)
def test_help_says_what_a_field_means(name: str, field: str) -> None:
    assert inspect.getdoc(getattr(PUBLIC[name], field))


def test_fields_are_looked_for_in_vain_where_no_source_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("lktrio.Attempt", "number") in FIELDS
    _texts_below.cache_clear()
    monkeypatch.setattr(inspect, "getsource", lambda _: source_that_is_not_there())

    assert inspect.getdoc(lktrio.Attempt.number) is None
    _texts_below.cache_clear()


def source_that_is_not_there() -> str:
    raise OSError("could not get source code")
