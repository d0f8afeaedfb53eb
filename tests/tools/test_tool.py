from __future__ import annotations

import functools
import inspect
import json
import logging
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import Field

from lktrio import (
    FunctionTool,
    RawFunctionTool,
    RunContext,
    StopResponse,
    Tool,
    ToolContext,
    ToolError,
    ToolResult,
    Toolset,
    function_tool,
    to_fnc_ctx,
)
from lktrio._answers.chunks import FunctionToolCall
from lktrio._turns.execution import execute_function_call
from tests.support.json_schemas import strict_problems

if TYPE_CHECKING:
    from somewhere import UserData  # pyright: ignore[reportMissingImports]  # what tests it


@dataclass
class Data:
    name: str


CONTEXT: Any = RunContext(Data("Ann"), function_call=None, chat_ctx=None)  # type: ignore[arg-type]


@function_tool
async def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
    """Look up the weather.

    Args:
        city: Name of the city.
        unit: Unit of the temperature.
    """
    return f"{city} {unit}"


def parameters(tool: Tool[..., Any], *, strict: bool = False) -> dict[str, Any]:
    return tool.definition(strict=strict)["function"]["parameters"]


def names(tool: Tool[..., Any]) -> list[str]:
    return list(parameters(tool)["properties"])


def call(tool: Tool[..., Any], context: Any = None, **arguments: Any) -> Any:
    args, kwargs = tool.decode_arguments(json.dumps(arguments)).bind(context)
    return tool(*args, **kwargs)


# --- Descriptions --------------------------------------------------------------------------------


def test_a_tool_is_described_for_the_api() -> None:
    assert get_weather.definition() == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "description": "Look up the weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city."},
                    "unit": {
                        "type": ["string", "null"],
                        "enum": ["celsius", "fahrenheit", None],
                        "description": "Unit of the temperature.",
                    },
                },
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    }


def test_a_description_may_be_changed_by_who_receives_it() -> None:
    described = get_weather.definition()
    described["function"]["parameters"]["properties"].clear()

    assert get_weather.definition() != described


def test_what_cannot_be_strict_is_sent_without(caplog: pytest.LogCaptureFixture) -> None:
    @function_tool
    def store(anything: object) -> None: ...

    with caplog.at_level(logging.DEBUG, "lktrio"):
        described = store.definition(strict=True)["function"]
        store.definition(strict=True)

    assert "strict" not in described
    assert described == store.definition(strict=False)["function"]
    assert caplog.messages == ["tool store is sent without strict: anything may be any JSON value"]


def test_a_named_tuple_is_an_object_where_that_makes_it_strict() -> None:
    class Pair(typing.NamedTuple):
        left: int
        right: str = "r"

    @function_tool
    def take(pair: Pair) -> Pair:
        return pair

    assert strict_problems(parameters(take, strict=True)) == []
    assert parameters(take, strict=True)["$defs"]["Pair"]["type"] == "object"
    assert parameters(take)["$defs"]["Pair"]["type"] == "array"
    assert call(take, pair=[1]) == call(take, pair={"left": 1}) == Pair(1)


def test_name_and_description_may_be_given() -> None:
    @function_tool(name="look-up_1", description="Looks.")
    def find(what: Annotated[str, "What to find."]) -> None:
        """Find it.

        Args:
            what: Not this.
        """

    assert (find.name, find.description) == ("look-up_1", "Looks.")
    assert parameters(find)["properties"]["what"]["description"] == "What to find."
    assert repr(find) == "<FunctionTool look-up_1>"


def test_a_tool_has_options() -> None:
    @function_tool(timeout=5, abandon_on_cancel=True)
    def wait() -> None: ...

    assert (wait.timeout, wait.abandon_on_cancel, wait.is_async) == (5, True, False)
    assert (get_weather.timeout, get_weather.abandon_on_cancel) == (None, False)
    assert get_weather.is_async


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"timeout": 0},
            ValueError,
            "timeout=0 is not accepted; it takes .* greater than 0, or None for no timeout",
        ),
        (
            {"timeout": float("nan")},
            ValueError,
            "timeout=nan is not accepted; it takes a number of seconds, greater than 0",
        ),
        (
            {"timeout": "5"},
            TypeError,
            "timeout='5' is not accepted; it takes a number of seconds, .* or None",
        ),
        (
            {"timeout": True},
            TypeError,
            "timeout=True is not accepted; it takes a number of seconds, .* or None",
        ),
        (
            {"abandon_on_cancel": 1},
            TypeError,
            "abandon_on_cancel=1 is not accepted; it takes True or False",
        ),
        ({"abandon_on_cancel": True}, ValueError, "tool 'work' is async: leave it out"),
        (
            {"name": "no spaces"},
            ValueError,
            "'no spaces' cannot be the name of a tool: use 1 to 64",
        ),
        ({"name": ""}, ValueError, "cannot be the name of a tool"),
        ({"name": "x" * 65}, ValueError, "cannot be the name of a tool"),
        ({"name": 5}, TypeError, "name must be a string, got 5"),
        ({"description": 5}, TypeError, "description must be a string, got 5"),
    ],
    ids=repr,
)
def test_options_are_checked(options: Any, error: type[Exception], message: str) -> None:
    async def work() -> None: ...

    with pytest.raises(error, match=message):
        function_tool(**options)(work)


# --- Functions -----------------------------------------------------------------------------------


async def test_a_tool_is_called_like_its_function() -> None:
    assert await get_weather("Paris", unit="fahrenheit") == "Paris fahrenheit"
    assert list(inspect.signature(get_weather).parameters) == ["city", "unit"]
    assert get_weather.__name__ == "get_weather"
    assert (get_weather.__doc__ or "").startswith("Look up the weather.")


def test_every_kind_of_parameter_is_filled() -> None:
    @function_tool
    def f(
        a: int, b: int = 2, /, c: int = 3, *args: int, d: int, e: int = 5, **kwargs: int
    ) -> tuple[Any, ...]:
        return (a, b, c, args, d, e, kwargs)

    assert names(f) == ["a", "b", "c", "d", "e"]
    assert call(f, a=1, d=4) == (1, 2, 3, (), 4, 5, {})
    assert call(f, a=1, c=30, d=4, e=50, args=[1], x=2) == (1, 2, 30, (), 4, 50, {})
    assert call(f, a=1, b=None, c=None, d=4, e=None) == (1, 2, 3, (), 4, 5, {})


def test_variable_parameters_need_no_annotation() -> None:
    @function_tool
    def f(a: int, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
        return a

    assert names(f) == ["a"]
    assert call(f, a=1) == 1


def variadic(*args: Any, **kwargs: Any) -> None: ...


def only_args(*args: str) -> None: ...


def only_kwargs(**kwargs: str) -> None: ...


def with_context(context: RunContext[Any], *args: Any, **kwargs: Any) -> None: ...


class Variadic:
    def method(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    "function", [variadic, only_args, only_kwargs, with_context, Variadic.method]
)
def test_a_function_that_says_nothing_of_its_parameters_is_refused(function: Any) -> None:
    # What a decorator without functools.wraps makes: every call of it would fail.
    with pytest.raises(
        TypeError, match=r"takes nothing but \*args or \*\*kwargs.*functools\.wraps"
    ):
        function_tool(function)


def test_what_stands_for_another_function_has_its_parameters() -> None:
    def target(x: int) -> int:
        return x

    @functools.wraps(target)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return target(*args, **kwargs)

    assert call(function_tool(wrapper), x=1) == 1


@pytest.mark.parametrize(
    "name",
    [
        "self",
        "cls",
        "args",
        "kwargs",
        "function",
        "tool",
        "call",
        "value",
        "context",
        "raw",
        "name",
    ],
)
def test_a_parameter_may_have_any_name(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def tool({name}: int, *, other: str = 'x') -> object:\n return {name}, other", scope)
    tool = function_tool(scope["tool"])

    assert names(tool) == [name, "other"]
    args, kwargs = tool.decode_arguments(json.dumps({name: 5})).bind()
    assert tool(*args, **kwargs) == (5, "x")


async def test_a_parameter_may_be_named_self_when_the_tool_is_run() -> None:
    @function_tool
    def tool(self: str) -> str:
        return self

    @function_tool
    async def later(self: str, cls: int = Field(2)) -> str:
        return self * cls

    for each, output in ((tool, "a"), (later, "aa")):
        result = await execute_function_call(
            FunctionToolCall(name=each.name, arguments='{"self": "a"}', call_id="c"),
            ToolContext([each]),
        )
        assert result.fnc_call_out is not None
        assert result.fnc_call_out.output == output


def test_a_none_default_is_taken_for_null() -> None:
    @function_tool
    def f(x: int = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013  people write it
        return x

    assert parameters(f, strict=True)["properties"]["x"] == {"type": ["integer", "null"]}
    assert call(f, x=None) is None
    assert call(f) is None


def test_null_is_a_value_where_the_type_says_so() -> None:
    @function_tool
    def f(x: int | None = 5) -> Any:
        return x

    assert call(f, x=None) is None
    assert call(f) == 5


async def test_a_partial_and_an_object_may_be_tools() -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    class Adder:
        """An adder."""

        async def __call__(self, a: int) -> int:
            """Add one."""
            return a + 1

    partial = function_tool(functools.partial(add, b=1), name="add_one")
    adder = function_tool(Adder(), name="adder")

    assert (partial.description, adder.description) == ("Add.", "Add one.")
    assert (partial.is_async, adder.is_async) == (False, True)
    assert names(adder) == ["a"]
    assert call(partial, a=2) == 3
    assert await call(adder, a=2) == 3


async def test_a_decorated_function_keeps_its_parameters() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return wrapper

    @function_tool
    @logged
    async def find(what: str) -> str:
        """Find it."""
        return what

    assert names(find) == ["what"]
    assert find.description == "Find it."
    assert find.is_async
    assert await call(find, what="it") == "it"


async def test_generators_are_refused() -> None:
    def numbers() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    assert [*numbers(), *[n async for n in later()]] == [1, 1]
    with pytest.raises(TypeError, match="tool 'numbers' is a generator, and a tool has one result"):
        function_tool(numbers)
    with pytest.raises(TypeError, match="tool 'later' is a generator"):
        function_tool(later)


@pytest.mark.parametrize("wrong", [5, "name", None, []], ids=repr)
def test_only_functions_are_decorated(wrong: Any) -> None:
    with pytest.raises(TypeError, match="function_tool decorates functions, got"):
        function_tool()(wrong)


def test_a_class_is_no_tool() -> None:
    class Waiter:
        def __init__(self, guests: int) -> None:
            self.guests = guests

    with pytest.raises(
        TypeError, match=r"got the class Waiter; .* find_function_tools\(Waiter\(\)"
    ):
        function_tool(Waiter)


def test_a_tool_is_not_decorated_again() -> None:
    with pytest.raises(TypeError, match="<FunctionTool get_weather> is a tool already"):
        function_tool(get_weather)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ValueError, match=r"'<lambda>' cannot be the name .* function_tool\(name="):
        function_tool(lambda: None)


def test_a_parameter_without_annotation_is_refused() -> None:
    def find(what, where: str = "here"): ...  # type: ignore[no-untyped-def]

    with pytest.raises(
        TypeError, match=r"parameter 'what' of tool 'find' has no annotation; .*str"
    ):
        function_tool(find)


def test_a_type_without_a_schema_is_refused() -> None:
    def find(what: list[complex]) -> None: ...

    with pytest.raises(
        TypeError, match="parameter 'what' of tool 'find': complex has no JSON form"
    ):
        function_tool(find)


# --- Methods -------------------------------------------------------------------------------------


class Agent:
    def __init__(self, name: str) -> None:
        self.name = name

    @function_tool
    async def greet(self, whom: str) -> str:
        """Greet somebody."""
        return f"{self.name}: {whom}"

    @function_tool(name="bye")
    def part(self: Agent, whom: str, other: Agent.Nested | None = None) -> str:
        return f"{self.name} leaves {whom} {other}"

    @dataclass
    class Nested:
        x: int

    @staticmethod
    @function_tool
    def add(a: int, b: int) -> int:
        return a + b

    @function_tool
    @staticmethod
    def sub(a: int, b: int) -> int:
        return a - b

    @function_tool
    @classmethod
    def make(cls, name: str) -> Agent:
        return cls(name)


async def test_a_method_becomes_a_tool_of_its_instance() -> None:
    ann, bob = Agent("Ann"), Agent("Bob")

    assert names(ann.greet) == ["whom"]
    assert await call(ann.greet, whom="Bob") == "Ann: Bob"
    assert await ann.greet("you") == "Ann: you"
    assert str(inspect.signature(ann.greet)) == "(whom: 'str') -> 'str'"
    assert ann.greet == ann.greet
    assert ann.greet != bob.greet
    assert hash(ann.greet) == hash(ann.greet)
    assert ann.greet != "greet"
    assert Agent.greet.is_bound is False
    assert await Agent.greet(ann, "x") == "Ann: x"


def test_a_method_may_name_its_class_in_annotations() -> None:
    agent = Agent("Ann")

    assert call(agent.part, whom="Bob", other={"x": 1}) == "Ann leaves Bob Agent.Nested(x=1)"


def test_static_and_class_methods_are_tools() -> None:
    agent = Agent("Ann")

    assert call(agent.add, a=1, b=2) == call(Agent.add, a=1, b=2) == 3
    assert call(agent.sub, a=3, b=2) == call(Agent.sub, a=3, b=2) == 1
    assert call(agent.make, name="Bob").name == call(Agent.make, name="Bob").name == "Bob"
    assert names(Agent.make) == ["name"]


def test_the_schema_is_read_once_for_all_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    Agent("Ann").greet.definition()
    monkeypatch.setattr("lktrio._schemas.json_schema.object_schema", None)

    Agent("Bob").greet.definition()


def test_a_bound_method_may_be_decorated_later() -> None:
    class Plain:
        def hello(self, name: str) -> str:
            """Say hello."""
            return f"hello {name}"

    bound = function_tool(Plain().hello)

    assert names(bound) == ["name"]
    assert call(bound, name="Ann") == "hello Ann"


def test_a_function_in_a_class_may_be_no_method() -> None:
    class Space:
        @function_tool
        def typed(a: int) -> int:  # type: ignore[misc]  # noqa: N805
            return a

        @function_tool
        def bare() -> int:  # type: ignore[misc]
            return 1

    assert call(Space.typed, a=5) == 5
    assert call(Space.bare) == 1


# --- Names in annotations ------------------------------------------------------------------------


def test_local_names_are_found() -> None:
    @dataclass
    class Local:
        x: int
        more: Local | None = None

    @function_tool
    def f(a: Local, b: list[Local]) -> Any:
        return a, b

    class Inner:
        @function_tool(name="g")
        def g(self, a: Local) -> Any:
            return a

    assert call(f, a={"x": 1, "more": {"x": 2}}, b=[]) == (Local(1, Local(2)), [])
    assert call(Inner().g, a={"x": 1}) == Local(1)


def test_a_local_name_hides_a_global_one() -> None:
    @dataclass
    class Data:
        number: int

    @function_tool
    def f(data: Data) -> Any:
        return data

    assert call(f, data={"number": 1}) == Data(1)


@function_tool
def early(later: Later) -> Any:
    return later


@dataclass
class Later:
    x: int


def test_a_name_may_be_defined_after_the_tool() -> None:
    assert call(early, later={"x": 1}) == Later(1)


def test_a_name_that_stays_undefined_is_an_error_when_the_tool_is_used() -> None:
    @function_tool
    def f(data: UserData) -> None: ...

    for use in (f.definition, lambda: f.decode_arguments("{}")):
        with pytest.raises(
            TypeError, match=r"parameter 'data' of tool 'f': .*'UserData' is not defined"
        ):
            use()


def test_a_signature_may_be_evaluated_when_it_is_asked_for() -> None:
    class Lazy:
        """As functions are in Python 3.14, where asking is what raises."""

        known = False

        @property
        def __signature__(self) -> inspect.Signature:
            if not self.known:
                raise NameError("name 'Missing' is not defined")
            return inspect.Signature()

        def __call__(self) -> int:
            return 1

    lazy = Lazy()
    tool = function_tool(lazy, name="lazy")

    with pytest.raises(TypeError, match="tool 'lazy': name 'Missing' is not defined"):
        tool.definition()
    lazy.known = True
    assert call(tool) == 1


# --- The context of a call -----------------------------------------------------------------------


def test_a_run_context_is_injected_and_no_part_of_the_schema() -> None:
    @function_tool
    def f(ctx: RunContext[Data], city: str, other: RunContext[Any] | None = None) -> Any:
        return ctx.userdata.name, city, other

    assert names(f) == ["city"]
    assert call(f, CONTEXT, city="Paris") == ("Ann", "Paris", CONTEXT)
    assert call(f, CONTEXT, city="Paris", ctx="mine") == ("Ann", "Paris", CONTEXT)


def test_a_run_context_may_be_of_a_type_for_type_checkers_only() -> None:
    @function_tool
    def f(a: int, ctx: RunContext[UserData], /, b: int = 2) -> Any:
        return a, ctx, b

    @function_tool
    def g(ctx: Annotated[RunContext, "the context"] | None = None) -> Any:  # type: ignore[type-arg]
        return ctx

    assert names(f) == ["a", "b"]
    assert call(f, CONTEXT, a=1) == (1, CONTEXT, 2)
    assert names(g) == []
    assert call(g) is None


def test_a_context_that_is_wanted_must_be_there() -> None:
    @function_tool
    def f(ctx: RunContext[Data]) -> None: ...

    with pytest.raises(TypeError, match="parameter 'ctx' wants a RunContext: hand one to bind"):
        f.decode_arguments("{}").bind()


# --- Arguments -----------------------------------------------------------------------------------


def test_decoded_arguments_are_values_and_canonical_text() -> None:
    decoded = get_weather.decode_arguments("{'city': 'Z\u00fcrich', 'extra': 1}")

    assert decoded.values == {"city": "Zürich"}
    assert decoded.json == '{"city": "Zürich", "extra": 1}'
    assert decoded.bind() == ((), {"city": "Zürich"})


def test_the_message_tells_the_model_what_to_change() -> None:
    with pytest.raises(ToolError) as caught:
        get_weather.decode_arguments('{"town": "Paris", "unit": "kelvin"}')

    assert (
        caught.value.message
        == str(caught.value)
        == (
            "Invalid arguments for get_weather:\n"
            '- city: required but missing; expected a string (not known: "town")\n'
            '- unit: expected "celsius" or "fahrenheit", got the string "kelvin"\n'
            "Call get_weather again with corrected arguments."
        )
    )


def test_arguments_that_are_no_object_are_an_error_for_the_model() -> None:
    with pytest.raises(ToolError) as caught:
        get_weather.decode_arguments('{"city": "Par')

    assert caught.value.message == (
        "Invalid arguments for get_weather: The arguments are cut off: the text ends inside of a "
        "string, object or array. Call get_weather again with one complete JSON object."
    )


def test_a_long_list_of_problems_is_cut() -> None:
    @function_tool
    def f(numbers: list[int]) -> None: ...

    with pytest.raises(ToolError) as caught:
        call(f, numbers=["x"] * 100)

    lines = caught.value.message.splitlines()
    assert len(lines) == 13
    assert lines[-2] == "- and 90 more"


# --- Raw tools -----------------------------------------------------------------------------------

RAW_SCHEMA = {
    "name": "raw lookup",
    "description": "Looks up.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}


async def test_a_raw_schema_is_sent_as_it_is() -> None:
    given = json.loads(json.dumps(RAW_SCHEMA))

    @function_tool(raw_schema=given)
    async def look_up(raw_arguments: dict[str, object]) -> object:
        return raw_arguments

    given["parameters"].clear()
    look_up.definition()["function"].clear()

    assert isinstance(look_up, RawFunctionTool)
    assert (look_up.name, look_up.description) == ("raw lookup", "Looks up.")
    assert look_up.definition(strict=True) == {"type": "function", "function": RAW_SCHEMA}
    assert look_up.is_async
    assert await call(look_up, q=1) == {"q": 1}


def test_raw_arguments_arrive_as_they_are() -> None:
    @function_tool(raw_schema=RAW_SCHEMA)
    def look_up(raw_arguments: dict[str, object], /, ctx: RunContext[UserData]) -> object:
        return raw_arguments, ctx

    assert call(look_up, CONTEXT, q="5", n=True) == ({"q": "5", "n": True}, CONTEXT)
    assert look_up.decode_arguments("{'q': 1}").json == '{"q": 1}'
    with pytest.raises(ToolError, match="Invalid arguments for raw lookup: The arguments are cut"):
        look_up.decode_arguments("{")


def test_a_method_may_be_a_raw_tool() -> None:
    class Server:
        @function_tool(raw_schema={"name": "ask"})
        def ask(self, raw_arguments, *args, untyped=5, **kwargs):  # type: ignore[no-untyped-def]
            return self, raw_arguments, args, untyped, kwargs

    server = Server()

    assert call(server.ask, x=1) == (server, {"x": 1}, (), 5, {})
    assert Server.ask.description == ""


def test_a_raw_tool_of_a_class_and_of_a_function() -> None:
    class Server:
        @function_tool(raw_schema={"name": "ask"})
        @classmethod
        def ask(cls, raw_arguments: object) -> object:
            return cls, raw_arguments

    assert call(Server.ask, x=1) == (Server, {"x": 1})
    assert function_tool(lambda raw_arguments: raw_arguments, raw_schema={"name": "a"}).name == "a"


@pytest.mark.parametrize(
    ("raw_schema", "error", "message"),
    [
        ("x", TypeError, "raw_schema must be a mapping, got str"),
        ({}, ValueError, "raw_schema must have a name: it is the `function` member of the API"),
        ({"name": ""}, ValueError, "raw_schema must have a name"),
        ({"name": "x", "parameters": []}, ValueError, "must be a JSON Schema of an object"),
        (
            {"name": "x", "parameters": {"a": {1, 2}}},
            TypeError,
            r"raw_schema.parameters.a is of type",
        ),
    ],
    ids=repr,
)
def test_raw_schemas_are_checked(raw_schema: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        function_tool(raw_schema=raw_schema)(lambda raw_arguments: raw_arguments)


def test_a_raw_function_takes_raw_arguments_and_nothing_else() -> None:
    def wrong(raw_arguments: object, q: str) -> None: ...
    def lacking(ctx: RunContext[Data]) -> None: ...

    with pytest.raises(TypeError, match="parameter 'q' of tool 'x' is never filled"):
        function_tool(wrong, raw_schema={"name": "x"})
    with pytest.raises(TypeError, match="its function must have a parameter `raw_arguments"):
        function_tool(lacking, raw_schema={"name": "x"})


def test_a_raw_tool_is_named_in_its_schema() -> None:
    with pytest.raises(TypeError, match="name and description of a raw tool belong in its raw_sch"):
        function_tool(raw_schema=RAW_SCHEMA, name="x")(print)  # type: ignore[call-overload]


# --- Collections ---------------------------------------------------------------------------------


class Files(Toolset):
    @function_tool
    def read(self, path: str) -> str:
        return f"{self.id} {path}"

    @staticmethod
    @function_tool
    def count(paths: list[str]) -> int:
        return len(paths)


class MoreFiles(Files):
    @function_tool
    def read(self, path: str) -> str:
        return f"more {path}"

    @function_tool
    def write(self, path: str) -> str:
        return path


def test_a_toolset_has_the_tools_it_was_given_and_its_methods() -> None:
    files = Files(id="disk", tools=[get_weather])
    outer = Toolset(id="outer", tools=[files])

    assert [tool.name for tool in outer.tools] == ["get_weather", "read", "count"]
    assert call(files.tools[1], path="a") == "disk a"
    assert call(files.tools[2], paths=["a", "b"]) == 2
    assert files.id == "disk"
    assert repr(outer) == "<Toolset 'outer'>"


def test_a_subclass_may_replace_and_add_tools() -> None:
    more = MoreFiles(id="more")

    assert [tool.name for tool in more.tools] == ["read", "count", "write"]
    assert call(more.tools[0], path="a") == "more a"
    assert call(more.tools[2], path="a") == "a"


def test_a_context_knows_its_tools_by_name() -> None:
    context = ToolContext([Files(id="disk"), get_weather])

    assert list(context.function_tools) == ["read", "count", "get_weather"]
    assert context.flatten() == list(context)
    assert context.get("get_weather") is get_weather
    assert context.get("nothing") is None
    assert "read" in context
    assert len(context) == 3
    assert repr(context) == "<ToolContext read, count, get_weather>"
    with pytest.raises(TypeError):
        context.function_tools["x"] = get_weather  # type: ignore[index]


def test_a_context_may_be_empty() -> None:
    assert list(ToolContext.empty()) == []
    assert repr(ToolContext()) == "<ToolContext without tools>"
    assert to_fnc_ctx([]) == []


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two tools are named 'get_weather': give one of them"):
        ToolContext([get_weather, Toolset(id="x", tools=[get_weather])])


def test_a_method_without_its_instance_is_refused() -> None:
    with pytest.raises(ValueError, match="tool 'greet' is a method: take it from an instance"):
        ToolContext([Agent.greet])


@pytest.mark.parametrize("wrong", [print, 5, "get_weather"], ids=repr)
def test_what_is_no_tool_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="@function_tool"):
        ToolContext([wrong])


def test_tools_are_described_together() -> None:
    context = ToolContext([get_weather])

    assert to_fnc_ctx([get_weather]) == to_fnc_ctx(context) == [get_weather.definition()]
    assert to_fnc_ctx([get_weather], strict=False) == [get_weather.definition(strict=False)]
    assert context.parse_function_tools("openai") == [get_weather.definition()]
    with pytest.raises(ValueError, match="format must be \"openai\", got 'google'"):
        context.parse_function_tools("google")  # type: ignore[arg-type]


# --- What tools raise and return -----------------------------------------------------------------


def test_values_for_tools_are_plain() -> None:
    assert ToolResult("x") == ToolResult("x", reply_required=True)
    assert ToolError("no").message == "no"
    assert isinstance(StopResponse(), Exception)
    assert isinstance(get_weather, FunctionTool)
    assert CONTEXT.userdata == Data("Ann")
