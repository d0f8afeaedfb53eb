"""What the asyncio original made of the same functions and the same arguments.

Where a vector says what is right instead, or DESIGN.md section 5 does, that is what is tested.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import importlib.util
import inspect
import json
import pathlib
import sys
import uuid
from typing import Any

import pytest

from lktrio import ToolError, function_tool
from tests.support.json_schemas import is_valid, meaning, strict_problems
from tests.support.paths import DATA

VECTORS = DATA / "vectors"
SCHEMAS = json.loads((VECTORS / "schemas.json").read_text(encoding="utf-8"))
ARGUMENTS = json.loads((VECTORS / "arguments.json").read_text(encoding="utf-8"))


def load_functions() -> Any:
    spec = importlib.util.spec_from_file_location("vector_functions", VECTORS / "functions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Annotations are evaluated in the module they were found in.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


functions = load_functions()

NOT_STRICT = "strict: true is sent with a schema outside OpenAI's strict dialect"

MADE_ANEW = {"tags", "children", "tricks"}
"""Fields with a default_factory. In the recordings only a plain default accepts null; the notes
in arguments.json say that null means the default in both cases."""


def expected_strict(schema: Any) -> Any:
    """The recorded schema, but for what its notes and the dialect itself say is wrong."""
    if isinstance(schema, list):
        return [expected_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") in ("path", "binary"):
        # https://platform.openai.com/docs/guides/structured-outputs: not among the formats.
        schema = {key: value for key, value in schema.items() if key != "format"}
    changed = {key: expected_strict(value) for key, value in schema.items()}
    for name in MADE_ANEW & changed.keys():
        changed[name] = {**changed[name], "type": ["array", "null"]}
    return changed


def recorded(case: dict[str, Any], form: str) -> Any:
    return case[form]["schema"]["function"]


COMPARED = [case for case in SCHEMAS if "exception" not in case["strict"]]


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case["function"])
def test_the_plain_schema_means_what_was_recorded(case: dict[str, Any]) -> None:
    tool = function_tool(getattr(functions, case["function"]))
    described = tool.definition(strict=False)["function"]
    wanted = recorded(case, "legacy")
    if case["function"] == "var_args":
        # "They are left out": *args cannot be filled from an object.
        del wanted["parameters"]["properties"]["args"]
        wanted["parameters"]["required"].remove("args")
    if case["function"] == "tuple_fixed":
        # OpenAI refuses an array without them.
        pair = wanted["parameters"]["properties"]["p"]
        pair["items"] = {"anyOf": pair["prefixItems"]}

    assert is_valid(described["parameters"])
    assert meaning(described["parameters"]) == meaning(wanted["parameters"])
    assert described["name"] == wanted["name"]
    assert described["description"].split() == wanted["description"].split()
    assert "strict" not in described


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case["function"])
def test_the_strict_schema_means_what_was_recorded(case: dict[str, Any]) -> None:
    tool = function_tool(getattr(functions, case["function"]))
    described = tool.definition(strict=True)["function"]
    wanted = recorded(case, "strict")
    if case["function"] == "var_args":
        del wanted["parameters"]["properties"]["args"]
        wanted["parameters"]["required"].remove("args")
    if NOT_STRICT in case.get("note", ""):
        assert described == tool.definition(strict=False)["function"]
        return

    assert described["strict"] is True
    assert is_valid(described["parameters"])
    assert strict_problems(described["parameters"]) == []
    assert meaning(described["parameters"]) == meaning(expected_strict(wanted["parameters"]))
    assert described["description"].split() == wanted["description"].split()


def test_a_parameter_without_annotation_is_named_where_the_tool_is_made() -> None:
    with pytest.raises(TypeError, match=r"parameter 'a' of tool 'unannotated' has no annotation"):
        function_tool(functions.unannotated)


def spelled(value: Any) -> Any:
    """A Python value in the spelling of the recordings."""
    match value:
        case enum.Enum():
            return {"$enum": f"{type(value).__name__}.{value.name}"}
        case datetime.datetime():
            return {"$datetime": value.isoformat()}
        case datetime.date():
            return {"$date": value.isoformat()}
        case datetime.time():
            return {"$time": value.isoformat()}
        case datetime.timedelta():
            return {"$timedelta": value.total_seconds()}
        case uuid.UUID():
            return {"$UUID": str(value)}
        case decimal.Decimal():
            return {"$Decimal": str(value)}
        case bytes():
            return {"$bytes": value.hex()}
        case pathlib.PurePath():
            return {"$Path": str(value)}
        case float():
            return {"$float": str(value)}
        case dict():
            return {key: spelled(member) for key, member in value.items()}
        case list():
            return [spelled(item) for item in value]
        case _:
            return value


def call_of(case: dict[str, Any]) -> tuple[dict[str, Any], str]:
    function = getattr(functions, case["function"])
    decoded = function_tool(function).decode_arguments(case["raw"])
    args, kwargs = decoded.bind()
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments, decoded.json


LAX = [("union_primitives", '{"v": true}')]
"""The original takes true for 1."""

ACCEPTED = [case for case in ARGUMENTS if case["result"]["ok"]]
REFUSED = [case for case in ARGUMENTS if not case["result"]["ok"]]


def name_of(case: dict[str, Any]) -> str:
    return f"{case['function']} {case['raw']}"


@pytest.mark.parametrize("case", ACCEPTED, ids=name_of)
def test_arguments_arrive_as_recorded(case: dict[str, Any]) -> None:
    if (case["function"], case["raw"]) in LAX:
        with pytest.raises(ToolError):
            call_of(case)
        return

    arguments, canonical = call_of(case)

    assert spelled(arguments) == case["result"]["arguments"]
    assert json.loads(canonical) == json.loads(case["result"]["canonical"])


@pytest.mark.parametrize("case", [c for c in REFUSED if "expected" not in c], ids=name_of)
def test_arguments_are_refused_as_recorded(case: dict[str, Any]) -> None:
    with pytest.raises(ToolError, match=f"Invalid arguments for {case['function']}"):
        call_of(case)


def case_of(function: str) -> dict[str, Any]:
    (case,) = (c for c in REFUSED if c["function"] == function and "expected" in c)
    return case


def test_null_means_the_default_that_is_made_anew_too() -> None:
    nested, _ = call_of(case_of("dataclass_nested"))
    recursive, _ = call_of(case_of("dataclass_recursive"))

    assert dataclasses.asdict(nested["s"]) == {
        "start": {"x": 0.0, "y": 0.0},
        "end": {"x": 1.0, "y": 0.0},
        "label": None,
        "tags": [],
    }
    assert nested["extra"] == []
    assert recursive["n"].children == [functions.Node(2, [])]


def test_a_positional_only_parameter_is_filled() -> None:
    arguments, _ = call_of(case_of("positional_only"))

    assert arguments == {"a": 1, "b": 2, "c": 3}


def test_variable_parameters_are_left_empty() -> None:
    arguments, _ = call_of(case_of("var_args"))

    assert arguments == {"a": 1, "args": ()}
