"""`ChatModel` and `ChatCall`: what every model is asked by, and with what.

This module knows the arguments of `ChatModel.chat` and how a subclass makes a stream of a source.
It knows neither how an answer is made (that is the source's job) nor what a stream tells of itself.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

import attrs
import trio

import lktrio._schemas as schemas
from lktrio._checks import NOT_GIVEN, NotGivenOr, is_given
from lktrio._conversation import ChatContext, check_chat_ctx
from lktrio._definitions import Value, public
from lktrio._instruments import Instrument, RequestInfo, check_instruments, join_instruments
from lktrio._schemas import answer_shape
from lktrio._settings import (
    DEFAULT_API_CONNECT_OPTIONS,
    APIConnectOptions,
    ChatCompletionOptions,
    InferenceClass,
    ResponseFormat,
    ToolChoice,
    call_conn_options,
)
from lktrio._tools import Tool, Toolset, checked_tools

from .source import ChunkSource, ReportingSource, SingleAttempt
from .stream import LLMStream

__all__ = ["ChatCall", "ChatModel", "outer_stream"]

T = TypeVar("T")


@public
@attrs.frozen(eq=False, repr=False, kw_only=True)
class ChatCall(Value):
    """The arguments of one `ChatModel.chat`, as a value."""

    chat_ctx: ChatContext
    """The conversation: from `ChatModel.chat`, a copy that nobody changes."""

    tools: tuple[Tool[..., Any] | Toolset, ...] = ()
    """Functions the model may call."""

    conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    """Clocks and retries; `DEFAULT_API_CONNECT_OPTIONS` itself stands for the model's own."""

    parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN
    """Whether the model may make several calls at once."""

    tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN
    """Whether, or which, function must be called."""

    response_format: NotGivenOr[Any] = NOT_GIVEN
    """A type, or a raw mapping."""

    inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN
    """How urgent the request is to the gateway."""

    extra_kwargs: NotGivenOr[ChatCompletionOptions | Mapping[str, Any]] = NOT_GIVEN
    """Further options of the request."""

    early_tool_calls: bool = False
    """Whether a call is handed out as soon as it is complete."""

    instruments: tuple[Instrument, ...] = ()
    """Who is told of this call's requests, besides the model's own instruments."""

    @property
    def chosen_tool(self) -> object:
        """The ``tool_choice`` that the call asks for; None if it leaves it to the settings."""
        if is_given(self.tool_choice):
            return self.tool_choice
        if is_given(self.extra_kwargs):
            return self.extra_kwargs.get("tool_choice")
        return None


@public
class ChatModel(abc.ABC):
    """Anything that answers a conversation with a stream: an `LLM`, or several of them behind
    one interface. A subclass implements `stream`."""

    @property
    @abc.abstractmethod
    def model(self) -> str:
        """Name of the model."""

    @property
    @abc.abstractmethod
    def provider(self) -> str:
        """Who serves it."""

    @property
    def label(self) -> str:
        """Name for logs and metrics."""
        return f"{type(self).__module__.partition('.')[0]}.{type(self).__name__}"

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Who is told of the requests to this model, and of the tools of a turn with it."""
        return ()

    @property
    def converter(self) -> schemas.Converter | None:
        """What reads types of the program's own in answers; None if there is no such thing."""
        return None

    @property
    def conn_options(self) -> APIConnectOptions:
        """Clocks and retries of calls that give none."""
        return DEFAULT_API_CONNECT_OPTIONS

    async def prewarm(self) -> None:
        """Get ready for the first request: an `LLM` opens a connection, an adapter asks its models
        to do so. A model of your own that has something to open does it here; else nothing is done.
        """
        await trio.lowlevel.checkpoint()

    @abc.abstractmethod
    def stream(self, call: ChatCall) -> LLMStream[Any]:
        """Make the stream for a call of `chat`. Checks the arguments, and sends nothing yet.

        A model of your own makes a `ChunkSource` of the call here, and a stream of it by
        `make_stream`. One that leaves the answer to another model returns that model's stream.

        Args:
            call: What is asked. From `chat`, its conversation is a copy that nobody changes.

        Raises:
            ValueError: An argument has a value that the model cannot take.
            TypeError: An argument has the wrong type.
        """

    def make_stream(self, source: ChunkSource, call: ChatCall) -> LLMStream[Any]:
        """Make the stream of a source's answer. For subclasses, in their `stream`.

        Args:
            source: Makes the chunks. Used by this stream only.
            call: What is asked: conversation, ``response_format``, clocks, instruments.

        Raises:
            ValueError: The ``response_format`` or a clock has a value that makes no sense.
            TypeError: An argument has the wrong type.
        """
        options = call_conn_options(call.conn_options, self.conn_options)
        return outer_stream(
            SingleAttempt(source, self.model, options),
            attrs.evolve(call, instruments=join_instruments(self.instruments, call.instruments)),
            self,
        )

    @overload
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: type[T],
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[T]: ...
    @overload
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: NotGivenOr[ResponseFormat] = NOT_GIVEN,
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[None]: ...
    @overload
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: Any,
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[Any]: ...
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        response_format: NotGivenOr[Any] = NOT_GIVEN,
        tools: Sequence[Tool[..., Any] | Toolset] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        inference_class: NotGivenOr[InferenceClass] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
        early_tool_calls: bool = False,
        instruments: Sequence[Instrument] | None = None,
    ) -> LLMStream[Any]:
        """Make a stream of the model's answer to a conversation. Sends nothing yet.

        The arguments are checked, and the conversation is taken as it is now: later changes to
        it do not matter.

        Args:
            chat_ctx: The conversation.
            response_format: The shape the answer must have: a class with typed fields (attrs,
                dataclass, ``TypedDict``, ``NamedTuple``, pydantic, msgspec), a list or a union
                of such; or a mapping that is sent as it is. `LLMStream.collect` then has the
                value in ``parsed``, and the stream is typed by it where the type is a class.
            tools: Functions the model may call.
            conn_options: Clocks and retries. Default: the model's own.
            parallel_tool_calls: Whether the model may make several calls at once.
            tool_choice: Whether, or which, function must be called.
            inference_class: How urgent the request is to the gateway.
            extra_kwargs: Further options of the request; they win over the instance's.
            early_tool_calls: Hand out a tool call as soon as its arguments form an object and a
                later one has begun or text has followed, in place of all together at the end. A
                server that then comes back to the call fails the stream with an
                `APIConnectionError`.
            instruments: Who is told of this call's requests, besides the model's own instruments.

        Raises:
            ValueError: An argument has a value that cannot be sent.
            TypeError: An argument has the wrong type.
        """
        return self.stream(
            ChatCall(
                chat_ctx=check_chat_ctx(chat_ctx).snapshot(),
                tools=checked_tools(tools),
                conn_options=conn_options,
                parallel_tool_calls=parallel_tool_calls,
                tool_choice=tool_choice,
                response_format=response_format,
                inference_class=inference_class,
                extra_kwargs=extra_kwargs,
                early_tool_calls=early_tool_calls,
                instruments=check_instruments(instruments),
            )
        )


def outer_stream(source: ReportingSource, call: ChatCall, model: ChatModel) -> LLMStream[Any]:
    """The stream of a source that speaks for a model; the call names all instruments."""
    shape = None
    if is_given(call.response_format):
        shape = answer_shape(call.response_format, model.converter)
    return LLMStream(
        source,
        request=RequestInfo(
            label=model.label,
            model=model.model,
            provider=model.provider,
            chat_ctx=call.chat_ctx,
            tools=call.tools,
        ),
        instruments=call.instruments,
        shape=shape,
    )
