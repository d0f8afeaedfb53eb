"""The tools of MCP servers: what a model is offered and reads, and what a server's end does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lktrio import (
    ChatContext,
    FunctionCallResult,
    FunctionToolCall,
    ToolContext,
    Toolset,
    execute_function_call,
    execute_function_calls,
    run_turn,
)
from lktrio.testing import ScriptedGateway, reply, tool_call
from tests.support.matrix import CANCEL_BLOCK, INTERRUPT, Action, Cut, Series, sweep

try:
    from mcp import Client as _Client
except ImportError:
    pytest.skip("the SDK of MCP, which the extra mcp brings, is not here", allow_module_level=True)
else:
    del _Client

import httpx2
from mcp.server import Server
from mcp.shared.memory import create_client_server_memory_streams
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ListToolsResult,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

from lktrio.mcp import (
    MCPServerError,
    MCPServerHTTP,
    MCPServerStdio,
    MCPToolset,
    images_in,
)

SCRIPT = Path(__file__).parent / "mcp_server.py"
OBJECT = {"type": "object"}
PNG = "iVBORw0KGgo="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "at": {"$ref": "#/$defs/Hour"}},
    "required": ["city"],
    "$defs": {"Hour": {"type": "integer"}},
    "x-own": [True],
}

Answer = Callable[[dict[str, Any]], Awaitable[CallToolResult]]


def said(*content: str | ContentBlock, **members: Any) -> CallToolResult:
    """A result of these texts and other contents."""
    blocks = [
        TextContent(type="text", text=each) if isinstance(each, str) else each for each in content
    ]
    return CallToolResult(content=blocks, **members)


class Kitchen:
    """An SDK server in this process, behind a transport that can be cut."""

    def __init__(self, *tools: Tool, **answers: CallToolResult | Answer | Exception) -> None:
        self.answers = answers
        self.tools = list(tools) or [Tool(name=name, input_schema=OBJECT) for name in answers]
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.cancelled: list[str] = []
        self.begun = trio.Event()
        self.connections = 0
        self.is_up = True
        self._end = trio.Event()
        self._failure: Exception | None = None
        self.server: Server[Any] = Server(
            "kitchen",
            instructions="Cook.",
            on_list_tools=self._list,
            on_call_tool=self._answer,
        )

    async def _list(self, _ctx: Any, _params: Any) -> ListToolsResult:
        return ListToolsResult(tools=self.tools)

    async def _answer(self, _ctx: Any, params: Any) -> CallToolResult:
        name, arguments = params.name, params.arguments or {}
        self.asked.append((name, arguments))
        self.begun.set()
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, CallToolResult):
            return answer
        try:
            return await answer(arguments)
        except trio.Cancelled:
            self.cancelled.append(name)
            raise

    # --- the way there --------------------------------------------------------------------

    def hang_up(self, failure: Exception | None = None) -> None:
        """End the connection; with a failure in the transport, as over HTTP."""
        self._failure = failure
        self._end.set()

    def __call__(self) -> Any:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncGenerator[Any, None]:
        if not self.is_up:
            raise ConnectionRefusedError("nobody is there")
        self.connections += 1
        self._end = trio.Event()
        streams = create_client_server_memory_streams()
        async with streams as ((read, write), (server_read, server_write)):
            async with trio.open_nursery() as nursery:
                options = self.server.create_initialization_options()
                nursery.start_soon(self.server.run, server_read, server_write, options)
                nursery.start_soon(self._cut, server_write)
                try:
                    yield read, write
                finally:
                    nursery.cancel_scope.cancel()

    async def _cut(self, server_write: Any) -> None:
        await self._end.wait()
        if self._failure is not None:
            raise self._failure
        await server_write.aclose()


async def call(tools: Toolset, name: str, /, **arguments: Any) -> FunctionCallResult:
    """Carry out one call, as a model makes it."""
    made = FunctionToolCall(name=name, arguments=json.dumps(arguments), call_id="call_1")
    return await execute_function_call(made, ToolContext([tools]))


async def read(tools: Toolset, name: str, /, **arguments: Any) -> str:
    return (await call(tools, name, **arguments)).fnc_call_out.output


async def forever(_arguments: dict[str, Any]) -> CallToolResult:
    await trio.sleep_forever()
    raise AssertionError("unreachable")


# --- What a model is offered ----------------------------------------------------------------------


async def test_a_turn_calls_the_tools_of_a_server(autojump_clock: MockClock) -> None:
    async def greet(arguments: dict[str, Any]) -> CallToolResult:
        return said(f"Hello, {arguments['name']}.")

    kitchen = Kitchen(greet=greet)
    script = [tool_call("greet", {"name": "Ada"}), reply("She was greeted.")]
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content="Greet Ada.")

    async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
        async with (
            MCPToolset(kitchen) as tools,
            run_turn(llm, chat_ctx=chat_ctx, tools=[tools]) as turn,
        ):
            text = "".join([text async for text in turn.text])

    assert text == "She was greeted."
    assert gateway.requests[0].tool_names == ["greet"]
    assert gateway.requests[1].tool_outputs == {"call_0": "Hello, Ada."}
    assert kitchen.asked == [("greet", {"name": "Ada"})]
    assert kitchen.connections == 1


async def test_a_set_of_sets_enters_and_leaves_those_of_servers() -> None:
    kitchen, cellar = Kitchen(cook=said("done")), Kitchen(fetch=said("here"))
    inner = MCPToolset(cellar)

    async with Toolset(id="house", tools=[MCPToolset(kitchen), inner]) as house:
        assert [tool.name for tool in house.tools] == ["cook", "fetch"]
        assert await read(house, "fetch") == "here"

    await inner.aclose()
    with pytest.raises(RuntimeError, match="is not open"):
        await inner.__aexit__(None, None, None)


async def test_where_one_server_is_missing_the_others_are_left() -> None:
    kitchen = MCPToolset(Kitchen(cook=said("done")))
    missing = MCPToolset(Kitchen(cook=said("done")), allowed_tools=["bake"])

    with pytest.raises(ValueError, match="bake"):
        async with Toolset(id="house", tools=[kitchen, missing]):
            raise AssertionError

    with pytest.raises(RuntimeError, match="is not open"):
        await kitchen.__aexit__(None, None, None)


async def test_a_schema_is_sent_as_it_is() -> None:
    kitchen = Kitchen(Tool(name="look_up", description="Look it up.", input_schema=SCHEMA))

    async with MCPToolset(kitchen) as tools:
        (tool,) = tools.tools

    assert tool.definition() == {
        "type": "function",
        "function": {"name": "look_up", "description": "Look it up.", "parameters": SCHEMA},
    }


async def test_arguments_reach_the_server_as_the_model_wrote_them() -> None:
    kitchen = Kitchen(cook=said("done"))
    arguments = {"city": "Zürich", "deep": {"list": [1, 2.5, None, True]}}

    async with MCPToolset(kitchen) as tools:
        await call(tools, "cook", **arguments)

    assert kitchen.asked == [("cook", arguments)]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["read.file", "write", "delete"]),
        ({"allowed_tools": ["write", "read.file"]}, ["read.file", "write"]),
        ({"allowed_tools": lambda name: name != "delete"}, ["read.file", "write"]),
        ({"allowed_tools": []}, []),
        ({"prefix": "disk_"}, ["disk_read.file", "disk_write", "disk_delete"]),
    ],
)
async def test_tools_are_chosen_and_named(options: dict[str, Any], names: list[str]) -> None:
    kitchen = Kitchen(
        *(Tool(name=name, input_schema=OBJECT) for name in ("read.file", "write", "delete"))
    )

    async with MCPToolset(kitchen, **options) as tools:
        # Servers of models take no dots.
        assert [tool.name for tool in tools.tools] == [name.replace(".", "_") for name in names]


async def test_a_renamed_tool_is_called_by_the_name_the_server_knows() -> None:
    kitchen = Kitchen(Tool(name="read.file", input_schema=OBJECT), **{"read.file": said("text")})

    async with MCPToolset(kitchen, prefix="disk_") as tools:
        assert await read(tools, "disk_read_file") == "text"

    assert kitchen.asked == [("read.file", {})]


async def test_names_that_become_the_same_are_numbered_within_the_limit() -> None:
    long = "n" * 80
    kitchen = Kitchen(
        *(Tool(name=n, input_schema=OBJECT) for n in ("a.b", "a_b", "a/b", long, long + "x"))
    )

    async with MCPToolset(kitchen) as tools:
        names = [tool.name for tool in tools.tools]

    assert names == ["a_b", "a_b_2", "a_b_3", "n" * 64, "n" * 62 + "_2"]


async def test_a_name_that_the_server_does_not_have_is_refused() -> None:
    kitchen = Kitchen(cook=said("done"), wash=said("done"))

    with pytest.raises(ValueError, match=r"'bake', .* kitchen does not have; it has: cook, wash"):
        async with MCPToolset(kitchen, id="kitchen", allowed_tools=["cook", "bake"]):
            raise AssertionError("entered")


async def test_tools_on_several_pages_are_all_listed() -> None:
    kitchen = Kitchen()

    async def list_page(_ctx: Any, params: Any) -> ListToolsResult:
        page = int((params and params.cursor) or 0)
        return ListToolsResult(
            tools=[Tool(name=f"tool_{page}", input_schema=OBJECT)],
            next_cursor=str(page + 1) if page < 2 else None,
        )

    kitchen.server = Server("kitchen", on_list_tools=list_page)
    async with MCPToolset(kitchen) as tools:
        assert [tool.name for tool in tools.tools] == ["tool_0", "tool_1", "tool_2"]


async def test_a_list_that_never_ends_is_not_followed_for_ever() -> None:
    kitchen = Kitchen()
    pages: list[object] = []

    async def list_page(_ctx: Any, params: Any) -> ListToolsResult:
        pages.append(params)
        return ListToolsResult(tools=[], next_cursor="more")

    kitchen.server = Server("kitchen", on_list_tools=list_page)
    async with MCPToolset(kitchen) as tools:
        assert tools.tools == []

    assert len(pages) == 100


async def test_a_tool_that_cannot_be_described_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kitchen = Kitchen(
        Tool(name="odd", input_schema={**OBJECT, "title": "\ud800"}),
        Tool(name="even", input_schema=OBJECT),
    )

    async with MCPToolset(kitchen, id="kitchen") as tools:
        assert [tool.name for tool in tools.tools] == ["even"]

    (record,) = [record for record in caplog.records if record.name == "lktrio"]
    assert "the tool odd of the MCP server kitchen is left out" in record.message


async def test_the_list_is_read_again_when_asked_for() -> None:
    kitchen = Kitchen(cook=said("done"))

    async with MCPToolset(kitchen) as tools:
        kitchen.tools.append(Tool(name="bake", input_schema=OBJECT))
        assert [tool.name for tool in tools.tools] == ["cook"]
        await tools.refresh()
        assert [tool.name for tool in tools.tools] == ["cook", "bake"]
        assert tools.instructions == "Cook."


# --- What a model reads ---------------------------------------------------------------------------

IMAGE = ImageContent(type="image", data=PNG, mime_type="image/png")
AUDIO = AudioContent(type="audio", data="AAA=", mime_type="audio/wav")
LINK = ResourceLink(type="resource_link", name="menu", uri="file:///menu", description="of today")
PAGE = EmbeddedResource(
    type="resource", resource=TextResourceContents(uri="file:///menu", text="Soup.")
)
BLOB = EmbeddedResource(
    type="resource", resource=BlobResourceContents(uri="file:///logo", blob="AAAA")
)


@pytest.mark.parametrize(
    ("result", "output", "structured"),
    [
        (said("Soup."), "Soup.", "Soup."),
        (said("Soup.", "Bread."), "Soup.\nBread.", "Soup.\nBread."),
        (said(), "", ""),
        (said(IMAGE), "[image: image/png, 8 bytes]", "[image: image/png, 8 bytes]"),
        (
            said("A cup:", IMAGE),
            "A cup:\n[image: image/png, 8 bytes]",
            "A cup:\n[image: image/png, 8 bytes]",
        ),
        (said(AUDIO), "[audio: audio/wav, 2 bytes]", "[audio: audio/wav, 2 bytes]"),
        (
            said(LINK),
            "[resource menu: file:///menu (of today)]",
            "[resource menu: file:///menu (of today)]",
        ),
        (said(PAGE), "Soup.", "Soup."),
        (
            said(BLOB),
            "[resource file:///logo: of an unknown kind, 3 bytes]",
            "[resource file:///logo: of an unknown kind, 3 bytes]",
        ),
        (said(structured_content={"für": 2}), '{"für": 2}', '{"für": 2}'),
        (said("Two.", structured_content={"n": 2}), "Two.", '{"n": 2}'),
        (
            said("Two.", IMAGE, structured_content={"n": 2}),
            "Two.\n[image: image/png, 8 bytes]",
            '{"n": 2}\n[image: image/png, 8 bytes]',
        ),
    ],
)
async def test_what_a_model_reads_of_a_result(
    result: CallToolResult, output: str, structured: str
) -> None:
    kitchen = Kitchen(cook=result)

    async with MCPToolset(kitchen) as tools:
        done = await call(tools, "cook")
    async with MCPToolset(kitchen, prefer_structured=True) as tools:
        assert await read(tools, "cook") == structured

    assert (done.fnc_call_out.output, done.is_error) == (output, False)
    assert isinstance(done.raw_output, CallToolResult)
    assert done.raw_output.content == result.content


async def test_images_come_out_of_a_result() -> None:
    kitchen = Kitchen(look=said("A cup:", IMAGE, AUDIO, IMAGE))

    async with MCPToolset(kitchen) as tools:
        images = images_in((await call(tools, "look")).raw_output)

    assert [image.image for image in images] == [f"data:image/png;base64,{PNG}"] * 2


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (said("The oven is cold.", is_error=True), "The oven is cold."),
        (said(is_error=True), "The call failed."),
    ],
)
async def test_an_error_of_a_tool_is_read_by_the_model(answer: CallToolResult, output: str) -> None:
    async with MCPToolset(Kitchen(cook=answer)) as tools:
        done = await call(tools, "cook")

    assert (done.fnc_call_out.output, done.is_error) == (output, True)


async def test_a_refusal_of_the_server_is_read_by_the_model() -> None:
    from mcp import MCPError

    kitchen = Kitchen(cook=MCPError(-32602, "there is no such dish"))
    async with MCPToolset(kitchen) as tools:
        done = await call(tools, "cook")
        again = await call(tools, "cook")

    assert (done.fnc_call_out.output, done.is_error) == ("there is no such dish", True)
    assert again.is_error
    assert kitchen.connections == 1


async def test_a_result_that_breaks_the_tools_own_promise_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tool = Tool(
        name="cook",
        input_schema=OBJECT,
        output_schema={"type": "object", "required": ["dish"], "properties": {}},
    )
    kitchen = Kitchen(tool, cook=said("secret soup", structured_content={"no": 1}))
    async with MCPToolset(kitchen) as tools:
        done = await call(tools, "cook")

    assert done.is_error
    assert "not valid. Whether the call had an effect is not known." in done.fnc_call_out.output
    assert "secret" not in caplog.text


# --- Timeouts and cancellation --------------------------------------------------------------------


async def test_a_timeout_reaches_the_server(autojump_clock: MockClock) -> None:
    kitchen = Kitchen(cook=forever, wash=said("done"))

    async with MCPToolset(kitchen, timeout=5) as tools:
        started = trio.current_time()
        done = await call(tools, "cook")
        assert trio.current_time() - started == 5
        # The server answers one at a time here: it has heard of the end.
        assert await read(tools, "wash") == "done"
        assert kitchen.cancelled == ["cook"]

    assert (done.fnc_call_out.output, done.is_error) == ("cook timed out after 5 seconds.", True)
    assert kitchen.connections == 1


async def test_a_cancellation_reaches_the_server(autojump_clock: MockClock) -> None:
    kitchen = Kitchen(cook=forever, wash=said("done"))

    async with MCPToolset(kitchen, timeout=None) as tools:
        with trio.move_on_after(3) as scope:
            await call(tools, "cook")
        assert scope.cancelled_caught
        assert await read(tools, "wash") == "done"

    assert kitchen.cancelled == ["cook"]
    assert kitchen.connections == 1


async def test_calls_run_side_by_side(autojump_clock: MockClock) -> None:
    async def nap(_arguments: dict[str, Any]) -> CallToolResult:
        await trio.sleep(2)
        return said("rested")

    calls = [FunctionToolCall(name="nap", arguments="{}", call_id=f"{n}") for n in range(5)]
    async with MCPToolset(Kitchen(nap=nap)) as tools:
        started = trio.current_time()
        results = await execute_function_calls(calls, ToolContext([tools]))
        assert trio.current_time() - started == 2

    assert [result.fnc_call_out.output for result in results] == ["rested"] * 5


# --- The end of a server --------------------------------------------------------------------------

ENDS = pytest.mark.parametrize(
    "failure", [None, ConnectionResetError("reset")], ids=["it closes", "the transport fails"]
)


@ENDS
async def test_a_server_that_dies_in_the_middle_of_calls_is_an_error_that_the_model_reads(
    failure: Exception | None, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    kitchen = Kitchen(cook=forever, wash=said("done"))
    results: list[FunctionCallResult] = []

    async def cook() -> None:
        results.append(await call(tools, "cook"))

    async with MCPToolset(kitchen, id="kitchen") as tools:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cook)
            nursery.start_soon(cook)
            await trio.testing.wait_all_tasks_blocked()
            kitchen.hang_up(failure)
        reason = "ConnectionResetError: reset" if failure else "it has closed the connection"
        assert [result.fnc_call_out.output for result in results] == [
            (
                f"The server has gone in the middle of the call: {reason}. "
                "Whether the call had an effect is not known."
            )
        ] * 2
        assert all(result.is_error for result in results)
        # The block goes on, and so does the server, anew.
        assert await read(tools, "wash") == "done"

    assert kitchen.connections == 2
    warnings = [record.message for record in caplog.records if record.name == "lktrio"]
    assert warnings == [f"the MCP server kitchen has gone: {reason}"]


@ENDS
async def test_a_server_that_dies_between_calls_is_connected_again(
    failure: Exception | None, autojump_clock: MockClock
) -> None:
    kitchen = Kitchen(wash=said("done"))

    async with MCPToolset(kitchen) as tools:
        assert await read(tools, "wash") == "done"
        kitchen.hang_up(failure)
        await trio.testing.wait_all_tasks_blocked()
        assert await read(tools, "wash") == "done"

    assert kitchen.connections == 2
    assert len(kitchen.asked) == 2


async def test_a_server_that_does_not_come_back_is_an_error_that_the_model_reads(
    autojump_clock: MockClock,
) -> None:
    kitchen = Kitchen(wash=said("done"))

    async with MCPToolset(kitchen, id="kitchen") as tools:
        kitchen.is_up = False
        kitchen.hang_up()
        await trio.testing.wait_all_tasks_blocked()
        done = await call(tools, "wash")
        kitchen.is_up = True
        assert await read(tools, "wash") == "done"

    assert done.is_error
    assert done.fnc_call_out.output == (
        "The tool is not available: the MCP server kitchen cannot be reached: "
        "ConnectionRefusedError: nobody is there"
    )


async def test_calls_that_find_no_session_share_a_new_one(autojump_clock: MockClock) -> None:
    kitchen = Kitchen(wash=said("done"))
    calls = [FunctionToolCall(name="wash", arguments="{}", call_id=f"{n}") for n in range(4)]

    async with MCPToolset(kitchen) as tools:
        kitchen.hang_up()
        await trio.testing.wait_all_tasks_blocked()
        results = await execute_function_calls(calls, ToolContext([tools]))

    assert [result.fnc_call_out.output for result in results] == ["done"] * 4
    assert kitchen.connections == 2


async def test_a_death_is_no_concern_of_the_blocks_own_waits(autojump_clock: MockClock) -> None:
    kitchen = Kitchen(wash=said("done"))

    async with MCPToolset(kitchen):
        kitchen.hang_up(ConnectionResetError("reset"))
        # The SDK would cancel its caller here.
        await trio.sleep(10)

    assert kitchen.connections == 1


# --- The block ------------------------------------------------------------------------------------


async def test_a_server_that_cannot_be_reached_is_one_bare_error() -> None:
    kitchen = Kitchen()
    kitchen.is_up = False

    with pytest.raises(
        MCPServerError, match=r"kitchen cannot be reached: .*nobody is there"
    ) as caught:
        async with MCPToolset(kitchen, id="kitchen"):
            raise AssertionError("entered")

    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_server_that_says_nothing_is_given_up(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def deaf() -> AsyncGenerator[Any, None]:
        async with create_client_server_memory_streams() as (client, _):
            yield client

    with pytest.raises(MCPServerError, match="deaf cannot be reached: it did not answer within 7 "):
        async with MCPToolset(deaf, connect_timeout=7):
            raise AssertionError("entered")

    assert trio.current_time() < 10


async def test_a_program_that_is_no_server_is_one_bare_error() -> None:
    for command, reason in [("no-such-program", "FileNotFoundError"), (sys.executable, "closed")]:
        with pytest.raises(MCPServerError, match=reason):
            async with MCPToolset(MCPServerStdio(command, ["-c", ""])):
                raise AssertionError("entered")


async def test_an_exception_leaves_the_block_as_it_is() -> None:
    error = RuntimeError("mine")

    with pytest.raises(RuntimeError) as caught:
        async with MCPToolset(Kitchen(cook=said("done"))) as tools:
            await call(tools, "cook")
            raise error

    assert caught.value is error


async def test_an_exception_leaves_a_cancelled_block_as_it_is() -> None:
    error = RuntimeError("mine")

    with pytest.raises(RuntimeError) as caught, trio.CancelScope() as scope:
        async with MCPToolset(Kitchen()):
            scope.cancel()
            raise error

    assert caught.value is error


async def test_a_block_is_left_by_the_task_that_entered_it() -> None:
    tools = MCPToolset(Kitchen())
    await tools.__aenter__()

    async def leave() -> None:
        with pytest.raises(RuntimeError, match="left by the task that entered it"):
            await tools.__aexit__(None, None, None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
    await tools.__aexit__(None, None, None)


async def test_misuse_says_what_to_write() -> None:
    tools = MCPToolset(Kitchen(cook=said("done")), id="kitchen")

    with pytest.raises(RuntimeError, match=r"<MCPToolset 'kitchen'> .* async with MCPToolset"):
        ToolContext([tools])
    with pytest.raises(RuntimeError, match="was not entered"):
        await tools.refresh()
    with pytest.raises(RuntimeError, match="is not open"):
        await tools.__aexit__(None, None, None)
    async with tools:
        (tool,) = tools.tools
    with pytest.raises(RuntimeError, match="was entered before"):
        await tools.__aenter__()
    with pytest.raises(trio.ClosedResourceError, match="inside of its block"):
        await tool(raw_arguments={})


async def die_and_come_back(cut: Cut) -> None:
    kitchen = Kitchen(nap=said("rested"), cook=forever)
    with cut.watched(), cut.scope:
        async with MCPToolset(kitchen, timeout=2) as tools:
            await call(tools, "nap")
            kitchen.hang_up(ConnectionResetError("reset"))
            await call(tools, "cook")


async def stay_away(cut: Cut) -> None:
    kitchen = Kitchen(nap=said("rested"))
    with cut.watched(), cut.scope:
        async with MCPToolset(kitchen) as tools:
            kitchen.is_up = False
            kitchen.hang_up()
            await trio.testing.wait_all_tasks_blocked()
            await call(tools, "nap")
        with pytest.raises(MCPServerError):
            await MCPToolset(kitchen).__aenter__()


async def in_this_process(cut: Cut) -> None:
    kitchen = Kitchen(nap=said("rested"), cook=forever)
    with cut.watched(), cut.scope:
        async with MCPToolset(kitchen.server, timeout=2) as tools:
            await call(tools, "nap")
            await call(tools, "cook")


@pytest.mark.parametrize("scenario", [die_and_come_back, stay_away, in_this_process])
@pytest.mark.parametrize("action", [CANCEL_BLOCK, INTERRUPT], ids=lambda action: action.name)
@pytest.mark.parametrize("series", ["before", "after"])
def test_a_cut_at_any_step_leaves_nothing(
    scenario: Callable[[Cut], Awaitable[None]], action: Action, series: Series
) -> None:
    sweep(scenario, action, series)


# --- HTTP -----------------------------------------------------------------------------------------


class Sessions:
    """A server of the protocol of 2025 over HTTP, whose sessions can be forgotten."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self.known: set[str] = set()
        self.methods: list[str] = []
        self.status = 200

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.status != 200:
            return httpx2.Response(self.status)
        if request.method != "POST":
            self.methods.append(request.method)
            return httpx2.Response(405)
        message = json.loads(request.content)
        method = message["method"]
        self.methods.append(method)
        headers: dict[str, str] = {}
        if method == "initialize":
            session = f"session-{len(self.sessions)}"
            self.sessions.append(session)
            self.known.add(session)
            headers["mcp-session-id"] = session
            result: Any = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "old", "version": "1"},
            }
        elif request.headers.get("mcp-session-id") not in self.known:
            return httpx2.Response(404)
        elif "id" not in message:
            return httpx2.Response(202)
        elif method == "tools/list":
            result = {"tools": [{"name": "cook", "inputSchema": {"type": "object"}}]}
        else:
            result = {"content": [{"type": "text", "text": "done"}]}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        return httpx2.Response(200, json=answer, headers=headers)


async def test_a_server_of_the_older_protocol_is_asked_and_left(autojump_clock: MockClock) -> None:
    old = Sessions()

    async with old.client() as client:
        async with MCPToolset(MCPServerHTTP("http://localhost/mcp", http_client=client)) as tools:
            assert await read(tools, "cook") == "done"

    assert old.methods[-1] == "DELETE"


async def test_a_session_that_was_forgotten_is_begun_anew(autojump_clock: MockClock) -> None:
    old = Sessions()

    async with old.client() as client:
        async with MCPToolset(MCPServerHTTP("http://localhost/mcp", http_client=client)) as tools:
            old.known.clear()
            assert await read(tools, "cook") == "done"
            assert await read(tools, "cook") == "done"

    assert old.sessions == ["session-0", "session-1"]


async def refuse(stream: trio.SocketStream) -> None:
    """Answer every request on a connection with status 401."""
    async with stream:
        async for data in stream:
            if b"\r\n\r\n" in data:
                await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


async def test_the_status_of_a_refusal_is_told() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, refuse, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(
            MCPServerError, match="localhost cannot be reached: it answered with status 401"
        ):
            async with MCPToolset(MCPServerHTTP(f"http://localhost:{port}/mcp")):
                raise AssertionError("entered")
        nursery.cancel_scope.cancel()


# --- Servers as processes -------------------------------------------------------------------------

Running = tuple[MCPServerHTTP | MCPServerStdio, Callable[[], Awaitable[None]]]
"""A server, and what waits until it is there again."""


@asynccontextmanager
async def on_http(env: dict[str, str]) -> AsyncGenerator[Running, None]:
    """The server on a port of this machine; started again whenever it has ended."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    has_crashed = trio.Event()

    async def keep() -> None:
        while True:
            command = [sys.executable, str(SCRIPT), "http", str(port)]
            await trio.run_process(command, env=env, check=False, stderr=subprocess.DEVNULL)
            has_crashed.set()

    async def until_up() -> None:
        # Until then, the process that ends may still listen.
        await has_crashed.wait()
        await until_open(port)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        await until_open(port)
        yield MCPServerHTTP(f"http://127.0.0.1:{port}/mcp"), until_up
        nursery.cancel_scope.cancel()


async def until_open(port: int) -> None:
    """Wait until somebody listens there."""
    stream = None
    while stream is None:
        with suppress(OSError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.aclose()


@asynccontextmanager
async def on_stdio(env: dict[str, str]) -> AsyncGenerator[Running, None]:
    log = {"MCP_SERVER_LOG": env["MCP_SERVER_LOG"]}
    yield MCPServerStdio(sys.executable, [str(SCRIPT), "stdio"], env=log), trio.lowlevel.checkpoint


@pytest.mark.parametrize("transport", [on_stdio, on_http], ids=["stdio", "http"])
async def test_a_server_of_the_sdk_in_a_process_of_its_own(
    transport: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    log.touch()

    async def until_logged(line: str) -> None:
        while line not in await trio.Path(log).read_text(encoding="utf-8"):
            pass

    with trio.fail_after(120):
        async with (
            transport({**os.environ, "MCP_SERVER_LOG": str(log)}) as (server, until_up),
            MCPToolset(server) as tools,
        ):
            assert tools.instructions == "It counts."
            assert [tool.name for tool in tools.tools] == ["add", "divide", "count", "crash"]
            assert await read(tools, "add", a=1, b=2) == "3"
            assert (await call(tools, "divide", a=1, b=0)).is_error

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, tools, "count")
                await until_logged("count begins")
                nursery.cancel_scope.cancel()
            await until_logged("count is cancelled")

            crashed = await call(tools, "crash")
            assert crashed.is_error
            assert "The server has gone in the middle of the call" in crashed.fnc_call_out.output
            await until_up()
            assert await read(tools, "add", a=2, b=2) == "4"


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: MCPServerStdio(""), ValueError, "command='' is no program"),
        (lambda: MCPServerStdio(3), TypeError, "command must be a string"),
        (lambda: MCPServerStdio("x", "--port"), TypeError, "args='--port' is one string"),
        (lambda: MCPServerStdio("x", [1]), TypeError, "args must be strings; 1 is not"),
        (lambda: MCPServerStdio("x", env=[]), TypeError, "env must be a mapping"),
        (lambda: MCPServerStdio("x", env={"KEY": 1}), TypeError, r"env\['KEY'\] must be"),
        (lambda: MCPServerHTTP("example.com/mcp"), ValueError, "url is no address"),
        (lambda: MCPServerHTTP("https://me:pw@example.com"), ValueError, "such as 'https://"),
        (lambda: MCPServerHTTP(3), TypeError, "url must be a string"),
        (
            lambda: MCPServerHTTP("http://example.com/mcp", {"Authorization": "Bearer pw"}),
            ValueError,
            "credentials would go to example.com unencrypted",
        ),
        (
            lambda: MCPServerHTTP("http://example.com/mcp", auth=httpx2.BasicAuth("me", "pw")),
            ValueError,
            "allow_insecure=True if nobody else",
        ),
        (
            lambda: MCPServerHTTP("https://a", {}, http_client=httpx2.AsyncClient()),
            ValueError,
            "http_client has headers and auth of its own",
        ),
        (lambda: MCPToolset("uvx server"), TypeError, "server must be a MCPServerStdio"),
        (lambda: MCPToolset(Kitchen(), allowed_tools="cook"), TypeError, "allowed_tools='cook'"),
        (lambda: MCPToolset(Kitchen(), allowed_tools=[1]), TypeError, "allowed_tools holds 1"),
        (lambda: MCPToolset(Kitchen(), prefix="a.b"), ValueError, "prefix='a.b'"),
        (lambda: MCPToolset(Kitchen(), prefix=1), TypeError, "prefix=1"),
        (lambda: MCPToolset(Kitchen(), timeout=0), ValueError, "timeout=0"),
        (lambda: MCPToolset(Kitchen(), timeout=True), TypeError, "timeout=True"),
        (lambda: MCPToolset(Kitchen(), connect_timeout=-1), ValueError, "connect_timeout=-1"),
        (lambda: MCPToolset(Kitchen(), connect_timeout=None), TypeError, "connect_timeout=None"),
        (lambda: MCPToolset(Kitchen(), prefer_structured=1), TypeError, "prefer_structured=1"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    make: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        make()

    assert "pw" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    http = MCPServerHTTP("https://example.com/mcp", {"Authorization": "Bearer pw-pw-pw"})
    stdio = MCPServerStdio("server", ["--fast"], env={"API_KEY": "pw-pw-pw"})

    assert repr(http) == (
        "MCPServerHTTP(url='https://example.com/mcp', headers=<Authorization>, "
        "allow_insecure=False)"
    )
    assert repr(stdio) == (
        "MCPServerStdio(command='server', args=('--fast',), env=<API_KEY>, cwd=None)"
    )


@pytest.mark.parametrize(
    ("server", "label"),
    [
        (MCPServerStdio("/usr/bin/server"), "server"),
        (MCPServerHTTP("https://example.com:8080/mcp?key=pw"), "example.com"),
        (
            MCPServerHTTP("http://example.com", {"Authorization": "pw"}, allow_insecure=True),
            "example.com",
        ),
    ],
)
def test_a_set_is_named_after_its_server(server: Any, label: str) -> None:
    assert MCPToolset(server).id == label
    assert MCPToolset(server, id="mine").id == "mine"


async def test_a_server_in_this_process_needs_no_transport(autojump_clock: MockClock) -> None:
    kitchen = Kitchen(cook=said("done"), wash=forever, bake=said("burnt", is_error=True))

    async with MCPToolset(kitchen.server, timeout=5) as tools:
        assert tools.id == "kitchen"
        assert await read(tools, "cook") == "done"
        assert await read(tools, "wash") == "wash timed out after 5 seconds."
        assert (await call(tools, "bake")).is_error

    assert kitchen.cancelled == ["wash"]
