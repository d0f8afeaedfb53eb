"""Programs that use the library, as types: read by mypy and pyright, run by nobody.

A silenced line is a mistake that the checkers must find; both report a comment that silences
nothing.
"""

from __future__ import annotations

from typing import Any, Self, assert_type

import attrs
import httpx
import msgspec
import trio

from lktrio import (
    DEFAULT_API_CONNECT_OPTIONS,
    LLM,
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    Approve,
    Attempt,
    AudioContent,
    AudioOutput,
    ChatChunk,
    ChatCompletionOptions,
    ChatContext,
    ChatItem,
    ChatMessage,
    ChatModel,
    ChoiceDelta,
    ChoiceLogprobs,
    CollectedResponse,
    CompletionUsage,
    Converter,
    FallbackAdapter,
    FileContent,
    FunctionCall,
    FunctionToolCall,
    FunctionToolInfo,
    HedgeAdapter,
    ImageContent,
    Instrument,
    LLMMetrics,
    LLMModels,
    LLMStream,
    Mismatch,
    NotGivenOr,
    PendingCall,
    ProviderTool,
    RateLimit,
    RateLimitStatistics,
    RawFunctionToolInfo,
    RequestInfo,
    RunContext,
    Tool,
    ToolContext,
    ToolError,
    ToolFinished,
    ToolResult,
    Toolset,
    Turn,
    UsageBound,
    UsageCollector,
    UsageCount,
    UsageLimit,
    UsageLimitExceeded,
    UsageReport,
    answer_items,
    execute_function_call,
    execute_function_calls,
    find_function_tools,
    function_tool,
    is_given,
    make_converter,
    run_turn,
)
from lktrio.mcp import MCPServerHTTP, MCPServerStdio, MCPToolset, images_in
from lktrio.opentelemetry import OpenTelemetryInstrument
from lktrio.testing import (
    NoConnection,
    RecordedRequest,
    Recorder,
    Recording,
    Reply,
    ScriptedGateway,
    Wait,
    error,
    reply,
    tool_call,
)

# --- A conversation ---------------------------------------------------------------------------


def conversation() -> ChatContext:
    chat_ctx = ChatContext()
    message = chat_ctx.add_message(role="user", content="Why do whales sing?")
    assert_type(message, ChatMessage)
    chat_ctx.add_message(role="narrator", content="...")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    saved = chat_ctx.to_dict()
    assert_type(saved, dict[str, Any])
    assert_type(chat_ctx.copy(), ChatContext)
    assert_type(chat_ctx.to_openai(), list[dict[str, Any]])
    assert_type(ChatContext.from_openai([{"role": "user", "content": "Hi"}]), ChatContext)
    return ChatContext.from_dict(saved)


# --- A stream ---------------------------------------------------------------------------------


def told_apart_by_type(chat_ctx: ChatContext) -> list[str]:
    """As programs from LiveKit Agents do it."""
    for item in chat_ctx.items:
        if item.type == "message":
            assert_type(item, ChatMessage)
            for part in item.content:
                if not isinstance(part, str) and part.type == "image_content":
                    assert_type(part, ImageContent)
        elif item.type == "function_call":
            assert_type(item, FunctionCall)
    return [item.output for item in chat_ctx.items if item.type == "function_call_output"]


async def text_of(llm: LLM) -> None:
    async with llm.chat(chat_ctx=conversation()) as stream:
        async for text in stream.text:
            assert_type(text, str)
    assert_type(stream.usage, CompletionUsage | None)
    assert_type(stream.finish_reason, str | None)
    assert_type(stream.truncated, bool)
    assert_type(stream.error, Exception | None)


async def chunks_of(llm: LLM) -> None:
    async with llm.chat(chat_ctx=conversation()) as stream:
        async for chunk in stream:
            assert_type(chunk, ChatChunk)
            assert_type(chunk.usage, CompletionUsage | None)
            assert_type(chunk.raw, dict[str, Any] | None)
            if chunk.delta is not None:
                assert_type(chunk.delta.content, str | None)
                assert_type(chunk.delta.reasoning, str | None)
                assert_type(chunk.delta.audio, AudioOutput | None)
                assert_type(chunk.delta.logprobs, ChoiceLogprobs | None)
                for call in chunk.delta.tool_calls:
                    assert_type(call, FunctionToolCall)
                    assert_type(call.arguments, str)
        for call in stream.withheld_calls:
            assert_type(call, FunctionToolCall)


async def first_words(llm: LLM) -> ChatChunk | None:
    async with llm.chat(chat_ctx=conversation()) as stream:
        with trio.move_on_after(0.2):
            return await anext(stream)
    return None


async def whole_answer(model: ChatModel) -> str:
    response = await model.chat(chat_ctx=conversation()).collect()
    assert_type(response, CollectedResponse[None])
    if response.logprobs is not None:
        assert_type(response.logprobs.content[0].top_logprobs[0].logprob, float)
    assert_type(response.annotations, list[dict[str, Any]])
    return response.text


async def shown(model: ChatModel, sound: bytes) -> None:
    chat_ctx = conversation()
    audio = AudioContent.from_path("song.wav", transcript="whale")
    assert_type(audio, AudioContent)
    document = FileContent(file=b"%PDF-", filename="a.pdf")
    chat_ctx.add_message(role="user", content=["Hi", audio, AudioContent(audio=sound), document])
    options: ChatCompletionOptions = {
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "pcm16"},
    }
    await model.chat(chat_ctx=chat_ctx, extra_kwargs=options).collect()


# --- Values -----------------------------------------------------------------------------------


def values(chunk: ChatChunk, response: CollectedResponse[int]) -> CollectedResponse[object]:
    match chunk:
        case ChatChunk(id, ChoiceDelta(content=text)):
            assert_type(id, str)
            assert_type(text, str | None)
        case ChatChunk(finish_reason=reason):
            assert_type(reason, str | None)
    assert_type(msgspec.structs.replace(chunk, id="c1"), ChatChunk)
    assert_type(CollectedResponse(parsed=1), CollectedResponse[int])
    assert_type(response.parsed, int)
    chunk.id = "c1"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    ChatChunk(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    # What cannot be changed may hold what is more special.
    return response


# --- Settings ---------------------------------------------------------------------------------


def settings(llm: LLM, chat_ctx: ChatContext) -> None:
    options: ChatCompletionOptions = {"temperature": 0.2, "stop": ["\n"], "seed": None}
    llm.chat(
        chat_ctx=chat_ctx,
        conn_options=APIConnectOptions(max_retry=1, timeout=5.0, total_timeout=30.0),
        tool_choice="required",
        parallel_tool_calls=False,
        inference_class="priority",
        extra_kwargs=options,
    )
    llm.chat(chat_ctx=chat_ctx, conn_options=DEFAULT_API_CONNECT_OPTIONS)
    llm.chat(
        chat_ctx=chat_ctx,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        parallel_tool_calls=NOT_GIVEN,
    )
    misspelt: ChatCompletionOptions = {"temprature": 1}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
    LLM("m", extra_kwargs={"temprature": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    LLM("m", extra_kwargs={"temperature": "hot"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    llm.update_options(extra_kwargs={"temprature": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    llm.chat(chat_ctx=chat_ctx, extra_kwargs={"temprature": 1})  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    llm.chat(chat_ctx=chat_ctx, extra_kwargs={"reasoning_effort": "hard"})  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    run_turn(llm, chat_ctx=chat_ctx, extra_kwargs={"temprature": 1})  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    llm.chat(chat_ctx=chat_ctx, extra_kwargs=misspelt)
    llm.chat(chat_ctx=chat_ctx, tool_choice="always")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


# --- Structured output ------------------------------------------------------------------------


@attrs.frozen
class Weather:
    city: str


async def structured(llm: LLM) -> None:
    stream = llm.chat(chat_ctx=conversation(), response_format=Weather)
    assert_type(stream, LLMStream[Weather])
    assert_type((await stream.collect()).parsed, Weather)
    listed = await llm.chat(chat_ctx=conversation(), response_format=list[Weather]).collect()
    assert_type(listed.parsed, list[Weather])
    raw = llm.chat(chat_ctx=conversation(), response_format={"type": "json_object"})
    assert_type(raw, LLMStream[None])


async def a_typed_turn(llm: LLM) -> Weather | None:
    turn = run_turn(llm, chat_ctx=conversation(), response_format=Weather, ask_again=2)
    assert_type(turn, Turn[Weather])
    async with turn:
        async for text in turn.text:
            assert_type(text, str)
    assert_type(turn.last_response, CollectedResponse[Weather] | None)
    assert_type(await turn.collect(), CollectedResponse[Weather])
    assert_type(
        run_turn(llm, chat_ctx=conversation(), response_format=list[Weather]), Turn[list[Weather]]
    )
    assert_type(run_turn(llm, chat_ctx=conversation()), Turn[None])
    raw = run_turn(llm, chat_ctx=conversation(), response_format={"type": "json_object"})
    assert_type(raw, Turn[None])
    # What a turn tells is the same whatever was asked for.
    whatever: Turn[object] = turn
    return (
        None
        if whatever.last_response is None or not turn.last_response
        else (turn.last_response.parsed)
    )


def left_out(temperature: NotGivenOr[float | None] = NOT_GIVEN) -> float | None:
    if not is_given(temperature):
        temperature = 1.0
    assert_type(temperature, float | None)
    return temperature


def models(configured: str, client: httpx.AsyncClient) -> list[LLM]:
    known: LLMModels = "openai/gpt-4.1-mini"

    def ask() -> str:
        return "Bearer sk-..."

    async def ask_politely() -> str:
        return "Bearer sk-..."

    return [
        LLM(known),
        LLM(configured, base_url="http://127.0.0.1:8080/v1", auth=None),
        LLM(configured, api_key="key", api_secret="secret", provider="azure"),
        LLM(configured, auth="Bearer sk-...", http_client=client, max_streams=8),
        LLM(configured, auth=None, rate_limit=RateLimit(60)),
        LLM(configured, auth=ask, extra_kwargs={"max_tokens": 100}),
        LLM(configured, auth=ask_politely, strict_tool_schema=False, allow_insecure=True),
        LLM.from_model_string("openai/gpt-4.1-mini"),
    ]


async def lifetime() -> None:
    async with LLM("openai/gpt-4.1-mini") as llm:
        assert_type(llm, LLM)
        assert_type(llm.model, str)
        assert_type(llm.provider, str)
        await llm.prewarm()
        llm.update_options(model="openai/gpt-4.1", extra_kwargs={"temperature": 0.0})
        await whole_answer(llm)


# --- Tools ------------------------------------------------------------------------------------


@function_tool(
    raw_schema={
        "name": "get_weather",
        "description": "Look up the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
)
async def get_weather(raw_arguments: dict[str, object]) -> str:
    return f"sunny in {raw_arguments['city']}"


class Kitchen(Toolset):
    async def setup(self) -> Self:
        await super().setup()
        return self

    @function_tool
    async def cook(self, dish: str) -> str:
        return dish


async def ported(llm: LLM) -> None:
    assert_type(get_weather.info, RawFunctionToolInfo)
    assert_type(Kitchen.cook.info, FunctionToolInfo)
    found = find_function_tools(Kitchen(id="kitchen"))
    assert_type(found, list[Tool[..., Any]])
    assert_type(found[0].info, FunctionToolInfo | RawFunctionToolInfo)
    assert_type(ToolContext(found).get_function_tool("cook"), Tool[..., Any] | None)
    async with Toolset(id="house", tools=[Kitchen(id="kitchen")]) as house:
        assert_type(house, Toolset)
        assert_type(house.toolsets, list[Toolset])
    async with Kitchen(id="kitchen") as kitchen:
        assert_type(kitchen, Kitchen)
    await FallbackAdapter([llm, HedgeAdapter(llm, after=1)]).prewarm()
    chat_ctx = conversation()
    assert_type(chat_ctx.find_insertion_index(created_at=0), int)
    chat_ctx.truncate(max_tokens=4096, count_tokens=lambda item: len(item.id))
    chat_ctx.truncate(max_tokens=4096, count_tokens=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def with_tools(llm: LLM) -> list[FunctionToolCall]:
    assert_type(await get_weather(raw_arguments={"city": "Paris"}), str)
    llm.chat(chat_ctx=conversation(), tools=ToolContext([get_weather]).flatten())
    response = await llm.chat(chat_ctx=conversation(), tools=[get_weather]).collect()
    return response.tool_calls


def at_once(call: PendingCall) -> bool | ToolError:
    assert_type(call.name, str)
    return call.name != "pay" or ToolError("not that one")


async def after_a_while(call: PendingCall) -> bool | ToolResult:
    await trio.sleep(1)
    return ToolResult("done before") if call.arguments else True


async def says_nothing(call: PendingCall) -> None: ...


async def with_approval(llm: LLM) -> None:
    approve: Approve = at_once
    run_turn(llm, chat_ctx=conversation(), tools=[get_weather], approve=approve)
    run_turn(llm, chat_ctx=conversation(), tools=[get_weather], approve=after_a_while)
    run_turn(llm, chat_ctx=conversation(), approve=lambda call: call.round == 1)
    run_turn(llm, chat_ctx=conversation(), approve=says_nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@function_tool
async def look_up(context: RunContext[dict[str, int]], name: str) -> int:
    assert_type(context.userdata, dict[str, int])
    return context.userdata[name]


async def with_userdata(call: FunctionToolCall) -> int:
    await execute_function_call(call, ToolContext([look_up]), userdata={"a": 1})
    assert_type(RunContext({"a": 1}), RunContext[dict[str, int]])
    return await look_up(RunContext({"a": 1}), name="a")


# --- Types of the program's own ---------------------------------------------------------------


def taught() -> Converter:
    converter = make_converter()
    converter.register_json_schema(Weather, {"type": "string"})
    converter.register_structure_hook(Weather, lambda value, _: Weather(str(value)))
    converter.register_unstructure_hook(Weather, lambda weather: weather.city)
    return converter


@function_tool(converter=taught())
async def compare(one: Weather, other: Weather) -> bool:
    return one.city > other.city


async def with_own_types() -> Weather | None:
    assert_type(await compare(one=Weather("Rome"), other=Weather("Paris")), bool)
    llm = LLM("openai/gpt-4.1-mini", converter=taught())
    assert_type(llm.converter, Converter | None)
    try:
        weather = taught().structure("Rome", Weather)
    except Mismatch as misfit:
        assert_type([problem.message for problem in misfit.problems], list[str])
        return None
    assert_type(weather, Weather)
    assert_type(taught().structure([], list[Weather]), list[Weather])
    return weather


# --- Load and cost ----------------------------------------------------------------------------


def estimate(request: RequestInfo) -> float:
    return len(request.chat_ctx.messages()) * 100


def price(model: str, usage: CompletionUsage) -> float | None:
    return usage.total_tokens * 1e-6 if model else None


async def within_limits(llm: LLM) -> None:
    rate = RateLimit(60, tokens_per_minute=1000, estimate_tokens=estimate)
    assert_type(rate.statistics(), RateLimitStatistics)
    assert_type(rate.requests_per_minute, int | None)
    used = UsageCollector(price=price)
    assert_type(used.by_model["openai/gpt-4.1-mini"], UsageReport)
    assert_type(used.report.total, UsageCount)
    assert_type(used.report.total.cost, float | None)
    limit = UsageLimit(total_tokens=1000, cost=0.5, collector=used)
    try:
        async with run_turn(llm, chat_ctx=conversation(), usage_limit=limit) as turn:
            assert_type(turn, Turn[None])
    except UsageLimitExceeded as error:
        assert_type(error.report, UsageReport)
        assert_type(error.bound, UsageBound)


# --- A test of a program ----------------------------------------------------------------------


async def a_test_of_a_program(scripted_gateway: ScriptedGateway) -> None:
    scripted_gateway.add(
        "Hello!",
        reply("It is", Wait(2), " sunny.", every=0.05, usage=(9, 3)),
        tool_call("get_weather", {"city": "Paris"}),
        error(503, retry_after=1),
        NoConnection(after=1),
        lambda request: reply(request.last_user_message),
    )
    scripted_gateway.add(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ScriptedGateway(lambda request: "Hi" if request.tools else None, auth=None)
    async with ScriptedGateway("Hi", loopback=True) as gateway:
        async with gateway.llm("openai/gpt-4o", max_streams=2) as llm:
            assert_type(llm, LLM)
        assert_type(gateway.last_request, RecordedRequest)
        assert_type(gateway.last_request.messages, list[dict[str, Any]])
        assert_type(gateway.last_request.closed_at, float | None)
    async with Recorder(secrets=["account"]) as recorder:
        LLM("openai/gpt-4o", http_client=recorder.http_client())
    assert_type(recorder.recording, Recording)
    ScriptedGateway(Recording.load("weather.json").replies(pauses=False))
    assert_type(reply("Hi"), Reply)


# --- Errors -----------------------------------------------------------------------------------


async def what_went_wrong(llm: LLM) -> str:
    try:
        return await whole_answer(llm)
    except APITimeoutError as error:
        # The names of the clocks are known, so a misspelt one is found.
        if error.clock == "first_output":
            return "slow"
        return "stuck"
    except APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.retry_after, float | None)
        return "refused"
    except APIConnectionError as error:
        assert_type(error.partial, CollectedResponse[None])
        return error.partial.text
    except APIError as error:
        assert_type(error.retryable, bool)
        assert_type(error.request_id, str | None)
        for attempt in error.attempts:
            assert_type(attempt.number, int)
        return "failed"


# --- Instruments ------------------------------------------------------------------------------


class Watches(Instrument):
    def attempt_failed(
        self, request: RequestInfo, attempt: Attempt, error: APIError, delay: float | None
    ) -> None:
        assert_type(request.parent, RequestInfo | None)

    def request_finished(
        self,
        request: RequestInfo,
        metrics: LLMMetrics,
        response: CollectedResponse[None] | None,
    ) -> None:
        assert_type(metrics.ttft, float | None)
        assert_type(metrics.usage, CompletionUsage | None)
        assert_type(metrics.tokens_per_second, float)
        assert_type(metrics.error, Exception | None)


async def watched() -> LLMMetrics | None:
    instruments = [Watches(), OpenTelemetryInstrument(capture_content=True)]
    async with LLM("openai/gpt-4.1-mini", instruments=instruments) as llm:
        async with llm.chat(chat_ctx=conversation(), instruments=[Watches()]) as stream:
            await stream.collect()
        async with run_turn(llm, chat_ctx=conversation(), instruments=(Watches(),)) as turn:
            assert_type(turn.metrics, tuple[LLMMetrics, ...])
    LLM("m", instruments=[Watches])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    return stream.metrics


# --- Tools of a server, and a loop of one's own -----------------------------------------------


async def looked_up() -> None:
    chat_ctx = conversation()
    search = ProviderTool({"type": "web_search"})
    LLM("m", reasoning_back="thoughts")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with LLM("openai/gpt-4.1-mini", reasoning_back="reasoning") as llm:
        answer = await llm.chat(chat_ctx=chat_ctx, tools=[search]).collect()
        results = await execute_function_calls(answer.tool_calls, ToolContext([search]))
        items = answer_items(answer, results)
        assert_type(items, list[ChatItem])
        chat_ctx.insert(items)


# --- Tools of MCP servers ---------------------------------------------------------------------


async def served() -> list[ImageContent]:
    menu = MCPServerStdio("menu", ["--fast"], env={"CITY": "Rome"})
    orders = MCPServerHTTP("https://example.com/mcp", {"Authorization": "Bearer sk"})
    async with (
        LLM("openai/gpt-4.1-mini") as llm,
        MCPToolset(menu, allowed_tools=["dish_of"], timeout=None) as tools,
        MCPToolset(orders, allowed_tools=lambda name: name != "pay", prefix="shop_") as shop,
    ):
        assert_type(tools.instructions, str | None)
        assert_type(tools.id, str)
        async with run_turn(llm, chat_ctx=conversation(), tools=[tools, shop]) as turn:
            async for event in turn:
                if isinstance(event, ToolFinished):
                    return images_in(event.result.raw_output)
        MCPToolset("menu")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return []
