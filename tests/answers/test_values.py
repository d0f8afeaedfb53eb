"""Public values: how they are shown, compared, hashed, matched, replaced, copied and kept.

There is an example of every one, and a class without one fails.
"""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import sys
import typing
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec
import pytest

import lktrio
import lktrio.opentelemetry
import lktrio.testing
from lktrio import (
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIRefusalError,
    APIResponseFormatError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    ChatChunk,
    ChatContext,
    ChatMessage,
    ChoiceDelta,
    CollectedResponse,
    CompletionUsage,
    FunctionCall,
    FunctionCallOutput,
    FunctionCallResult,
    FunctionToolCall,
    LLMMetrics,
    Mismatch,
    Quota,
    QuotaUsage,
    RequestInfo,
    ResponseInfo,
    RunContext,
    StopResponse,
    ToolError,
)
from lktrio.testing import Close, Send, Wait, reply

PUBLIC: Final[Mapping[str, Any]] = {
    name: getattr(room, name)
    for room in (lktrio, lktrio.testing, lktrio.opentelemetry)
    for name in room.__all__
}

# Made once: their ids are random, their times are now.
CALL: Final = FunctionCall(call_id="call_1", name="now", arguments="{}")
OUTPUT: Final = FunctionCallOutput(call_id="call_1", name="now", output="noon")
MESSAGE: Final = ChatMessage(role="user", content=["Hello"])
CHAT_CTX: Final = ChatContext([MESSAGE])


@attrs.frozen
class Happening:
    """An event that can be pickled, which one of Trio's cannot."""

    async def wait(self) -> None: ...


def usage() -> CompletionUsage:
    return CompletionUsage(7, 5, reasoning_tokens=2, total_tokens=12, service_tier="default")


def called() -> FunctionToolCall:
    return FunctionToolCall("now", '{"zone": 1}', "call_1", extra={"google": {"signature": "s"}})


def result() -> FunctionCallResult:
    return FunctionCallResult(CALL, OUTPUT, "noon")


def response() -> CollectedResponse[Any]:
    return CollectedResponse("Noon.", [called()], usage(), {"a": 1}, "stop", parsed=12)


def mismatch() -> Mismatch:
    with pytest.raises(Mismatch) as caught:
        lktrio.make_converter().structure({"a": "x"}, dict[str, int])
    return caught.value.with_traceback(None)


def counted() -> lktrio.UsageCount:
    return lktrio.UsageCount(requests=2, usage=usage(), cost=0.5)


CONTEXT: Final[RunContext[Any]] = RunContext({"user": 1}, CALL, CHAT_CTX)

EXAMPLES: Final[Mapping[str, Callable[[], Any]]] = {
    # Of a stream.
    "ChatChunk": lambda: ChatChunk("c1", ChoiceDelta(content="Hi"), usage(), "stop"),
    "ChoiceDelta": lambda: ChoiceDelta(content="Hi", tool_calls=[called()], reasoning="Hm."),
    "ChoiceLogprobs": lambda: lktrio.ChoiceLogprobs([lktrio.TokenLogprob("Hi", -0.5)]),
    "TokenLogprob": lambda: lktrio.TokenLogprob("Hi", -0.5, [72], [lktrio.TopLogprob("Ho", -3)]),
    "TopLogprob": lambda: lktrio.TopLogprob("Hi", -0.5, [72, 105]),
    "AudioOutput": lambda: lktrio.AudioOutput("audio_1", b"\0\1", "Hi", 1700000000),
    "FunctionToolCall": called,
    "CompletionUsage": usage,
    "CollectedResponse": response,
    "Attempt": lambda: Attempt(1, 0.0, 0.1, status_code=200, request_id="r1"),
    "Quota": lambda: Quota(rpm=QuotaUsage(10, 1)),
    "QuotaUsage": lambda: QuotaUsage(10, 1),
    "ResponseInfo": lambda: ResponseInfo(200, "r1", headers={"a": "b"}, attempts=(Attempt(1, 0),)),
    "LLMMetrics": lambda: LLMMetrics(
        label="lktrio.LLM", model="m", provider="p", timestamp=1.0, duration=2.0, usage=usage()
    ),
    "RequestDraft": lambda: lktrio.RequestDraft("m", {"X-A": "1"}, {"a": "b"}, {"stream": True}),
    "RequestInfo": lambda: RequestInfo(
        label="lktrio.LLM", model="m", provider="p", chat_ctx=ChatContext([MESSAGE])
    ),
    # Of tools and turns.
    "ToolResult": lambda: lktrio.ToolResult("noon", reply_required=False),
    "RunContext": lambda: RunContext({"user": 1}, CALL, CHAT_CTX),
    "FunctionCallResult": result,
    "TextDelta": lambda: lktrio.TextDelta("Noon", 1),
    "ReasoningDelta": lambda: lktrio.ReasoningDelta("Hm", 1),
    "RefusalDelta": lambda: lktrio.RefusalDelta("No", 1),
    "CallReady": lambda: lktrio.CallReady(CALL, 1),
    "ToolStarted": lambda: lktrio.ToolStarted(CALL, 1),
    "ToolFinished": lambda: lktrio.ToolFinished(result(), 1),
    "CallsMissing": lambda: lktrio.CallsMissing((called(),), "length", 1),
    "RoundFinished": lambda: lktrio.RoundFinished(response(), (result(),), 1),
    "AnswerRestarted": lambda: lktrio.AnswerRestarted(1),
    # Of models and adapters. What the models are does not matter here.
    "LLMStatistics": lambda: lktrio.LLMStatistics(1, 2, 3),
    "HedgeStatistics": lambda: lktrio.HedgeStatistics(3, 1, abandoned_usage=usage()),
    "ModelAvailability": lambda: lktrio.ModelAvailability(typing.cast("Any", "m"), True),
    "AvailabilityChangedEvent": lambda: lktrio.AvailabilityChangedEvent(
        typing.cast("Any", "m"), False
    ),
    # Of a conversation.
    "ChatMessage": lambda: attrs.evolve(MESSAGE),
    "FunctionCall": lambda: attrs.evolve(CALL),
    "FunctionCallOutput": lambda: attrs.evolve(OUTPUT),
    "AgentHandoff": lambda: lktrio.AgentHandoff(id="item_1", new_agent_id="a", created_at=1),
    "AgentConfigUpdate": lambda: lktrio.AgentConfigUpdate(
        id="item_1", tools_added=["now"], created_at=1
    ),
    "UnknownItem": lambda: lktrio.UnknownItem(type="plan", id="item_1", created_at=1),
    "ImageContent": lambda: lktrio.ImageContent(image="https://example.com/a.png", id="img_1"),
    "AudioContent": lambda: lktrio.AudioContent(transcript="Hello"),
    "FileContent": lambda: lktrio.FileContent(file_id="file-1"),
    "CacheBreakpoint": lambda: lktrio.CacheBreakpoint(),
    "UnknownContent": lambda: lktrio.UnknownContent(type="smell"),
    # Settings.
    "APIConnectOptions": lambda: APIConnectOptions(max_retry=1, total_timeout=9.0),
    "ModelFacts": lambda: lktrio.ModelFacts(starts_in_thinking=True),
    "ModelTable": lambda: lktrio.ModelTable((("gpt-*", lktrio.ModelFacts()),)),
    "ChatCall": lambda: lktrio.ChatCall(chat_ctx=ChatContext([MESSAGE]), early_tool_calls=True),
    # Of limits, and of turns that ask.
    "FunctionToolInfo": lambda: lktrio.FunctionToolInfo("look", "Look out."),
    "RawFunctionToolInfo": lambda: lktrio.RawFunctionToolInfo("look", {"name": "look"}),
    "RateLimitStatistics": lambda: lktrio.RateLimitStatistics(
        requests_used=1.0, tokens_used=2.5, waiting=1, held_for=0.5
    ),
    "UsageCount": counted,
    "UsageLimit": lambda: lktrio.UsageLimit(total_tokens=1000, requests=2),
    "UsageReport": lambda: lktrio.UsageReport(answered=counted()),
    "AskedAgain": lambda: lktrio.AskedAgain(("degrees is missing",), MESSAGE, 1),
    "PendingCall": lambda: lktrio.PendingCall(
        CALL, typing.cast("Any", "tool"), {"city": "Rome"}, CONTEXT, 1
    ),
    # Of what is wrong.
    "Problem": lambda: mismatch().problems[0],
    # Of a script.
    "Send": lambda: Send(b"Hello"),
    "Wait": lambda: Wait(1.5),
    "WaitFor": lambda: lktrio.testing.WaitFor(Happening()),
    "AwaitRequest": lambda: lktrio.testing.AwaitRequest(),
    "Hold": lambda: lktrio.testing.Hold(),
    "Close": lambda: Close(),
    "Reset": lambda: lktrio.testing.Reset(),
    "Call": lambda: lktrio.testing.Call(print),
    "Repeat": lambda: lktrio.testing.Repeat([Wait(1.0)], 3),
    "Reply": lambda: reply("Hello", Wait(1.0)),
    "ToolCall": lambda: lktrio.testing.ToolCall("now", {"zone": 1}),
    "Speech": lambda: lktrio.testing.Speech("refusal", "No."),
    "ErrorEvent": lambda: lktrio.testing.ErrorEvent("no", {"code": 1}),
    "NoConnection": lambda: lktrio.testing.NoConnection("refused", 1.0),
    "RecordedRequest": lambda: lktrio.testing.RecordedRequest(
        0, "m", [{"role": "user"}], [], {"seed": 1}, {"a": "b"}, b"{}", 1.0, 0
    ),
    "RecordedExchange": lambda: lktrio.testing.RecordedExchange(
        "/v1", {"model": "m"}, 200, (("content-type", "text/plain"),), 0.1, ((0.0, b"Hi"),)
    ),
    "Recording": lambda: lktrio.testing.Recording([]),
}


def failed(error: APIError) -> APIError:
    """An error with all that an attempt adds."""
    error.partial = CollectedResponse("No", [called()])
    error.attempts = (Attempt(1, 0.0, error="lost"),)
    error.other_errors = (APIConnectionError("m"),)
    error.add_note("noted")
    return error


EXCEPTIONS: Final[Mapping[str, Callable[[], BaseException]]] = {
    "APIError": lambda: failed(APIError("m", body=[1], retryable=False, request_id="r1")),
    "APIConnectionError": lambda: failed(APIConnectionError("m", request_id="r1")),
    "APITimeoutError": lambda: failed(APITimeoutError("m", clock="idle")),
    "APIStatusError": lambda: failed(
        APIStatusError("m", status_code=429, retry_after=7.0, quota=Quota(rpm=QuotaUsage(6, 1)))
    ),
    "APIResponseFormatError": lambda: failed(APIResponseFormatError("m", text="t", reasons=("r",))),
    "APIRefusalError": lambda: failed(APIRefusalError("No.")),
    "ToolError": lambda: ToolError("no such city"),
    "StopResponse": lambda: StopResponse("done", 1),
    "Mismatch": mismatch,
    "LeakError": lambda: lktrio.testing.LeakError("a task"),
    "UsageLimitExceeded": lambda: lktrio.UsageLimitExceeded(
        "m", bound="requests", allowed=1, used=2, report=lktrio.UsageReport(answered=counted())
    ),
    "ScriptError": lambda: lktrio.testing.ScriptError("one request too many"),
}
"""The public exceptions, with attributes that their constructors do not set."""

VALUES: Final = [
    name
    for name, value in PUBLIC.items()
    if inspect.isclass(value) and (attrs.has(value) or issubclass(value, msgspec.Struct))
]
STRUCTS: Final = [name for name in VALUES if issubclass(PUBLIC[name], msgspec.Struct)]
PROTOCOLS: Final = range(2, pickle.HIGHEST_PROTOCOL + 1)
KEYWORDS_ONLY: Final = {"LLMMetrics", "RateLimitStatistics", "UsageCount", "UsageReport"}
CARRIED: Final = {"ChatChunk": "raw_json"}
"""What a value only carries along: it is not compared, hashed, shown or matched by position."""
NOT_HASHED: Final = {**CARRIED, "CompletionUsage": "extra"}
SHOWN_IN_SHORT: Final = {"AudioOutput"}


def positional(cls: type[Any]) -> tuple[str, ...]:
    parameters = inspect.signature(cls).parameters.values()
    return tuple(each.name for each in parameters if each.kind is not each.KEYWORD_ONLY)


def fields_of(value: Any) -> list[str]:
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    return [field.name for field in attrs.fields(type(value))]


def told_by(value: Any) -> list[str]:
    """The fields of a value but what it only carries along."""
    return [field for field in fields_of(value) if field != CARRIED.get(type(value).__name__)]


def state(value: Any) -> Any:
    """What a value holds, as something that is equal if all of it is."""
    if isinstance(value, msgspec.Struct) or attrs.has(type(value)):
        return type(value), {name: state(getattr(value, name)) for name in fields_of(value)}
    if isinstance(value, ChatContext):
        return value.to_dict()
    if isinstance(value, BaseException):
        return type(value), state(value.args), state(vars(value))
    if isinstance(value, (list, tuple)):
        return type(value), [state(each) for each in value]
    if isinstance(value, Mapping):
        return type(value), {key: state(each) for key, each in value.items()}
    return value


def test_there_is_an_example_of_every_value() -> None:
    assert EXAMPLES.keys() == set(VALUES)
    for name in VALUES:
        assert type(EXAMPLES[name]()) is PUBLIC[name]


# --- as now: what a frozen class of attrs does, a Struct does ------------------------------------


@pytest.mark.parametrize("name", [name for name in STRUCTS if name not in SHOWN_IN_SHORT])
def test_a_value_is_shown_by_its_fields(name: str) -> None:
    value = EXAMPLES[name]()

    shown = ", ".join(f"{field}={getattr(value, field)!r}" for field in told_by(value))
    assert repr(value) == f"{name}({shown})"


@pytest.mark.parametrize("name", STRUCTS)
def test_values_are_equal_if_all_fields_are(name: str) -> None:
    value = EXAMPLES[name]()

    assert value == EXAMPLES[name]()
    assert (value != EXAMPLES[name]()) is False
    for field in told_by(value):
        assert value != msgspec.structs.replace(value, **{field: object()}), field


def test_what_a_chunk_carries_along_is_no_part_of_what_it_says() -> None:
    chunk, bare = ChatChunk("c1", raw_json=b'{"a":1}'), ChatChunk("c1")

    assert chunk == bare
    assert hash(chunk) == hash(bare)
    assert repr(chunk) == repr(bare)
    assert list(chunk.__rich_repr__()) == [(name, getattr(bare, name)) for name in told_by(bare)]
    assert chunk != ChatChunk("c2", raw_json=b'{"a":1}')
    for kept in (pickle.loads(pickle.dumps(chunk)), copy.copy(chunk), copy.deepcopy(chunk)):
        assert kept.raw == {"a": 1}
    saved = msgspec.json.encode(chunk)
    assert msgspec.json.decode(saved, type=ChatChunk).raw == {"a": 1}
    assert msgspec.structs.replace(chunk, raw_json=None).raw is None


def test_a_problem_is_shown_without_what_was_given() -> None:
    (problem,) = mismatch().problems

    assert repr(problem) == f"Problem(path={problem.path!r})"


def test_sound_is_not_shown() -> None:
    shown = repr(lktrio.AudioOutput("audio_1", bytes(4800), "Hi"))

    assert shown == "AudioOutput(id='audio_1', data=<4800 bytes>, transcript='Hi', expires_at=None)"


def test_a_value_is_not_equal_to_one_of_another_class() -> None:
    assert lktrio.TextDelta("Noon", 1) != lktrio.ReasoningDelta("Noon", 1)
    assert (ChatChunk("c1") == "c1") is False
    assert QuotaUsage(1, 2) != (1, 2)


@pytest.mark.parametrize("name", STRUCTS)
def test_equal_values_have_one_hash_and_what_cannot_be_hashed_has_none(name: str) -> None:
    value = EXAMPLES[name]()
    try:
        hashed = [field for field in fields_of(value) if field != NOT_HASHED.get(name)]
        hash(tuple(getattr(value, field) for field in hashed))
    except TypeError:
        with pytest.raises(TypeError, match="unhashable"):
            hash(value)
    else:
        assert hash(value) == hash(EXAMPLES[name]())


def test_some_values_can_be_hashed() -> None:
    assert len({usage(), usage(), CompletionUsage(8)}) == 2
    assert len({lktrio.TextDelta("a", 1), lktrio.TextDelta("a", 1), lktrio.TextDelta("a", 2)}) == 2


@pytest.mark.parametrize("name", STRUCTS)
def test_a_value_is_matched_by_position_in_the_order_of_its_arguments(name: str) -> None:
    cls = PUBLIC[name]

    assert cls.__match_args__ == positional(cls)
    told = tuple(field for field in cls.__struct_fields__ if field != CARRIED.get(name))
    assert cls.__match_args__ == (() if name in KEYWORDS_ONLY else told)


def test_a_match_takes_a_chunk_apart() -> None:
    match EXAMPLES["ChatChunk"]():
        case ChatChunk(id, ChoiceDelta(content=text), finish_reason="stop"):
            assert (id, text) == ("c1", "Hi")
        case other:
            pytest.fail(f"{other} does not match")


@pytest.mark.parametrize("name", STRUCTS)
def test_a_changed_value_is_another_one(name: str) -> None:
    value = EXAMPLES[name]()
    ways = [msgspec.structs.replace]
    if sys.version_info >= (3, 13):
        ways.append(copy.replace)
    for replace in ways:
        for field in fields_of(value):
            changed = replace(value, **{field: "changed"})

            assert type(changed) is type(value)
            assert value == EXAMPLES[name]()
            assert {each for each in fields_of(value) if getattr(changed, each) == "changed"} == {
                field
            }
        with pytest.raises(TypeError, match="nothing_like_it"):
            replace(value, nothing_like_it=1)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_cannot_be_changed(name: str) -> None:
    value = EXAMPLES[name]()
    for field in fields_of(value):
        with pytest.raises(AttributeError):
            setattr(value, field, None)
        with pytest.raises(AttributeError):
            delattr(value, field)
    with pytest.raises(AttributeError):
        value.nothing_like_it = None

    assert state(value) == state(EXAMPLES[name]())


@pytest.mark.parametrize("name", VALUES)
def test_a_value_can_be_referred_to_weakly(name: str) -> None:
    value = EXAMPLES[name]()

    assert weakref.ref(value)() is value


@pytest.mark.parametrize("name", STRUCTS)
def test_an_argument_too_few_or_too_many_is_a_mistake(name: str) -> None:
    cls = PUBLIC[name]
    parameters = inspect.signature(cls).parameters.values()
    if any(each.default is each.empty for each in parameters):
        with pytest.raises(TypeError, match="Missing required argument"):
            cls()
    with pytest.raises(TypeError, match="nothing_like_it"):
        cls(nothing_like_it=1)


def test_a_value_that_holds_itself_can_be_shown() -> None:
    delta = ChoiceDelta()
    delta.tool_calls.append(typing.cast("Any", delta))

    assert "tool_calls=[...]" in repr(delta)


def test_a_class_may_be_given_the_type_of_what_it_holds() -> None:
    assert CollectedResponse[int](parsed=1) == CollectedResponse(parsed=1)
    assert RunContext[str]("user", CALL, ChatContext()).userdata == "user"
    hints = typing.get_type_hints(CollectedResponse)
    assert isinstance(hints["parsed"], typing.TypeVar)
    assert CollectedResponse[int] is not CollectedResponse[str]
    assert typing.get_args(CollectedResponse[int]) == (int,)


class Own(lktrio.TextDelta, frozen=True):
    """A program may add to a value."""

    language: str = "en"


def test_a_value_may_be_inherited_from() -> None:
    assert Own("Noon", 1) == Own("Noon", 1, "en")
    assert Own("Noon", 1) != lktrio.TextDelta("Noon", 1)
    assert repr(Own("Noon", 1)) == "Own(text='Noon', round=1, language='en')"


# --- kept, and copied ----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", VALUES)
def test_a_value_can_be_pickled(name: str, protocol: int) -> None:
    value = EXAMPLES[name]()

    assert state(pickle.loads(pickle.dumps(value, protocol))) == state(value)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_can_be_copied(name: str) -> None:
    value = EXAMPLES[name]()
    shallow, deep = copy.copy(value), copy.deepcopy(value)

    assert state(shallow) == state(value) == state(deep)
    for field in fields_of(value):
        assert getattr(shallow, field) is getattr(value, field)
        if isinstance(getattr(value, field), (list, dict, ChatContext)):
            assert getattr(deep, field) is not getattr(value, field)


# A message holds parts of several attrs classes, of which msgspec takes one in a union.
@pytest.mark.parametrize("name", sorted({*STRUCTS} - {"AskedAgain"}))
def test_msgspec_knows_the_types_of_all_fields(name: str) -> None:
    known = typing.cast("Any", msgspec.inspect.type_info(PUBLIC[name]))

    assert [field.name for field in known.fields] == list(PUBLIC[name].__struct_fields__)


@pytest.mark.parametrize("name", ["ChatChunk", "CollectedResponse", "LLMMetrics", "CallReady"])
def test_a_value_can_be_saved_as_json(name: str) -> None:
    value = EXAMPLES[name]()

    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_there_is_an_example_of_every_exception() -> None:
    exceptions = {
        name
        for name, value in PUBLIC.items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }

    assert EXCEPTIONS.keys() == exceptions


@pytest.mark.parametrize(
    "travel",
    [
        *(lambda error, to=to: pickle.loads(pickle.dumps(error, to)) for to in PROTOCOLS),
        copy.copy,
        copy.deepcopy,
    ],
    ids=[*(f"protocol {protocol}" for protocol in PROTOCOLS), "copy", "deepcopy"],
)
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_travels_with_its_attributes(
    name: str, travel: Callable[[BaseException], BaseException]
) -> None:
    error = EXCEPTIONS[name]()
    error.args = error.args and ("changed",)

    arrived = travel(error)

    assert arrived is not error
    assert type(arrived) is PUBLIC[name]
    assert set(vars(error)) == set(vars(arrived))
    if name != "Mismatch":
        # What is wrong with a value is found once, and is equal to nothing else.
        assert repr(state(arrived)) == repr(state(error))
    assert (str(arrived), repr(arrived)) == (str(error), repr(error))


class Names(pickle.Unpickler):
    """Notes what a pickle names."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self.found: set[str] = set()

    def find_class(self, module_name: str, global_name: str) -> Any:
        self.found.add(f"{module_name}.{global_name}")
        return super().find_class(module_name, global_name)


# A problem holds what was found wrong, in the form in which it was found.
@pytest.mark.parametrize("name", sorted({*VALUES, *EXCEPTIONS} - {"Problem", "Mismatch"}))
def test_a_pickle_names_only_what_is_public(name: str) -> None:
    # So that it can be read when the modules have been put in another order.
    names = Names(pickle.dumps({**EXAMPLES, **EXCEPTIONS}[name]()))
    names.load()

    ours = {found for found in names.found if found.startswith("lktrio")}
    assert ours >= {f"{PUBLIC[name].__module__}.{name}"}
    private = {found.rpartition(".")[2] for found in ours if "._" in found}
    assert private <= {"_Default"}, "which tells a timeout that nobody gave"


def test_a_conversation_and_what_was_not_given_are_copied_and_pickled() -> None:
    for travel in (copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        assert travel(NOT_GIVEN) is NOT_GIVEN
        assert travel(CHAT_CTX).to_dict() == CHAT_CTX.to_dict()
