"""The sentinel is one object, false, and not None."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from lktrio._checks import NOT_GIVEN, NotGiven, NotGivenOr, is_given


def test_it_is_false_and_prints_as_its_name() -> None:
    assert not NOT_GIVEN
    assert repr(NOT_GIVEN) == "NOT_GIVEN"


def test_calling_the_class_gives_the_one_instance() -> None:
    assert NotGiven() is NOT_GIVEN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_identity(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(NOT_GIVEN, protocol)) is NOT_GIVEN


def test_copying_keeps_identity() -> None:
    assert copy.copy(NOT_GIVEN) is NOT_GIVEN
    assert copy.deepcopy({"temperature": NOT_GIVEN})["temperature"] is NOT_GIVEN


@pytest.mark.parametrize("value", [None, False, 0, "", (), "text", NotGiven], ids=repr)
def test_everything_else_was_given_false_values_too(value: object) -> None:
    assert is_given(value)


def test_the_sentinel_was_not_given() -> None:
    assert not is_given(NOT_GIVEN)


def test_nothing_can_be_stored_on_it() -> None:
    with pytest.raises(AttributeError, match="value"):
        NOT_GIVEN.value = 1  # type: ignore[attr-defined]


def test_the_alias_takes_a_type_that_holds_none() -> None:
    alias = NotGivenOr[float | None]

    assert set(typing.get_args(alias)) == {float, type(None), NotGiven}
