"""Arguments that were made to cost: the work is linear in them, and what is kept of them bounded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import types
from collections.abc import Callable
from typing import Any, Literal, Union

import pytest

from lktrio import Converter, Mismatch, ToolError, function_tool
from lktrio._json.mismatch import MAX_PROBLEMS
from lktrio._schemas.introspection import Types


def calls(function: Callable[[], object]) -> int:
    """How many calls of Python functions it takes, whatever the machine."""
    count = 0

    def watch(frame: types.FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def attempt(structure: Callable[[Any], Any], value: Any) -> Callable[[], None]:
    def run() -> None:
        with contextlib.suppress(Mismatch):
            structure(value)

    return run


def reader(type_: Any) -> Callable[[Any], Any]:
    converter = Converter(_types=Types())

    def structure(value: Any) -> Any:
        return converter.structure(value, type_)

    return structure


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("type_", "misfits"),
    [
        (list[int], lambda n: ["x"] * n),
        (list[Point], lambda n: [{}] * n),
        (dict[str, int], lambda n: {str(i): None for i in range(n)}),
        (set[int], lambda n: [None] * n),
        (list[list[int]], lambda n: [["x"] * n] * 3),
        (list[int | str], lambda n: [None] * n),
        (list[int] | dict[str, int], lambda n: ["x"] * n),
        (list[Point | list[int]], lambda n: [{"x": "a"}] * n),
    ],
    ids=["list", "classes", "mapping", "set", "lists", "union", "containers", "objects"],
)
def test_misfits_without_end_are_not_looked_for_to_the_end(
    type_: Any, misfits: Callable[[int], Any]
) -> None:
    structure = reader(type_)
    attempt(structure, misfits(10))()

    few, many = (calls(attempt(structure, misfits(n))) for n in (200, 200_000))

    assert many <= few * 1.1 + 50


def test_thousands_of_misfits_get_a_short_answer() -> None:
    @function_tool
    def f(numbers: list[int]) -> None: ...

    with pytest.raises(ToolError) as caught:
        f.decode_arguments(json.dumps({"numbers": ["x" * 20] * 9_900}))

    assert "- and at least 90 more" in caught.value.message
    assert len(caught.value.message) < 1000


def test_huge_keys_are_not_repeated() -> None:
    @function_tool
    def f(point: Point, names: dict[str, int]) -> None: ...

    key = "k" * 200_000
    with pytest.raises(ToolError) as caught:
        f.decode_arguments(json.dumps({"point": {key: 1}, "names": {key: "x"}, key: 1}))

    assert len(caught.value.message) < 2000
    with pytest.raises(Mismatch) as misfit:
        Converter().structure({f"{key}{n}": n for n in range(3)}, int)
    assert len(str(misfit.value)) < 300


@pytest.mark.parametrize("is_tagged", [True, False])
def test_a_union_of_sixty_members_costs_linear_time(is_tagged: bool) -> None:
    members: list[Any] = []
    for n in range(60):
        tag: list[Any] = [("kind", Literal[f"k{n}"])] if is_tagged else [("kind", str)]
        inside = dataclasses.field(default_factory=list)
        fields = [*tag, ("x", int), ("inside", "list[Everything]", inside)]
        members.append(dataclasses.make_dataclass(f"M{n}", fields))
    everything = Union[tuple(members)]  # noqa: UP007  the members are known at run time
    converter = Converter(_types=Types({"Everything": everything}))

    def structure(value: Any) -> Any:
        return converter.structure(value, everything)

    def nested(depth: int) -> Any:
        value: Any = {"kind": "k59", "x": "no"}
        for _ in range(depth):
            value = {"kind": "k58", "x": 1, "inside": [value]}
        return value

    def wide(width: int) -> Any:
        return {"kind": "k58", "x": 1, "inside": [nested(1) for _ in range(width)]}

    attempt(structure, nested(2))()
    assert calls(attempt(structure, nested(20))) <= 5 * calls(attempt(structure, nested(5)))
    assert calls(attempt(structure, wide(20))) <= 5 * calls(attempt(structure, wide(5)))


def test_deep_arguments_are_refused_or_read_but_do_not_end_the_program() -> None:
    @dataclasses.dataclass
    class Node:
        inside: Node | list[Node] | None = None

    @function_tool
    def f(node: Node) -> None: ...

    def nested(depth: int) -> str:
        return '{"node": ' + '{"inside": ' * depth + "null" + "}" * depth + "}"

    assert f.decode_arguments(nested(40)).values["node"].inside is not None
    for depth in (60, 1000, 10_000):
        with pytest.raises(ToolError, match="nested too deeply"):
            f.decode_arguments(nested(depth))


def test_what_is_kept_of_a_refused_value_is_bounded() -> None:
    with pytest.raises(Mismatch) as caught:
        Converter().structure([["x"] * 1000] * 1000, list[list[int]])

    assert len(caught.value.problems) == MAX_PROBLEMS
    assert all(len(problem.path) == 2 for problem in caught.value.problems)
