"""Values are compared, hashed and shown as attrs would do it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from lktrio._definitions import Value


def _masked(value: object) -> str:
    return "*" * len(str(value))


@attrs.frozen(eq=False, repr=False)
class Written(Value):
    a: Any
    b: Any = attrs.field(default="", repr=False)
    c: Any = attrs.field(default="", eq=False)
    d: Any = attrs.field(default="secret", repr=_masked)


@attrs.frozen(eq=False, repr=False)
class Further(Written):
    e: Any = 1


class Generated:
    @attrs.frozen
    class Written:
        a: Any
        b: Any = attrs.field(default="", repr=False)
        c: Any = attrs.field(default="", eq=False)
        d: Any = attrs.field(default="secret", repr=_masked)


def test_fields_are_shown_as_attrs_shows_them() -> None:
    ours, theirs = Written([1], c="x"), Generated.Written([1], c="x")

    assert f"Generated.{ours!r}" == repr(theirs) == "Generated.Written(a=[1], c='x', d=******)"
    assert repr(Further(1)) == "Further(a=1, c='', d=******, e=1)"


def test_a_class_in_a_function_is_shown_by_its_own_name() -> None:
    @attrs.frozen(eq=False, repr=False)
    class Inner(Value):
        a: int

    assert repr(Inner(1)) == "Inner(a=1)"


def test_a_value_that_holds_itself_can_be_shown() -> None:
    items: list[Any] = []
    value = Written(items)
    items.append(value)

    assert repr(value) == "Written(a=[...], c='', d=******)"


def test_values_are_equal_if_class_and_fields_are() -> None:
    assert Written(1, 2) == Written(1, 2)
    assert Written(1, 2) != Written(1, 3)
    assert Written(1, c="x") == Written(1, c="y")
    assert Written(1) != Generated.Written(1)
    assert Further(1) != Written(1)
    assert Written(1) != 1


def test_equal_values_have_one_hash() -> None:
    assert len({Written(1, c="x"), Written(1, c="y"), Written(2)}) == 2


def test_a_value_of_what_cannot_be_hashed_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Written([]))
