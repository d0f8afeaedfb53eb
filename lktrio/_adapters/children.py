"""Streams inside a stream: what the adapters over several models share.

This module knows how a call is prepared for several models, how their streams are passed on in
the request task of one, and what is told of them together. Which model is asked when is decided
elsewhere.
"""

from __future__ import annotations

import abc
import copy
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import attrs
import msgspec
import trio

import lktrio._schemas as schemas
from lktrio._answers import (
    APIError,
    APIStatusError,
    Attempt,
    ChatChunk,
    CollectedResponse,
    CompletionUsage,
    ResponseInfo,
    complete_error,
    logged_facts,
)
from lktrio._checks import kind_of
from lktrio._conversation import ChatContext
from lktrio._engine import (
    ChatCall,
    ChatModel,
    ChunkSink,
    LLMStream,
    ReportingSource,
    check_open,
    whole_answer,
)
from lktrio._http import raise_bare
from lktrio._instruments import Instrument, check_instruments, join_instruments
from lktrio._settings import APIConnectOptions

__all__ = [
    "Adapter",
    "AdapterSource",
    "another_model_may_help",
    "check_models",
    "combine_errors",
    "is_output",
    "prewarm_all",
    "result_of",
    "the_same_model_may_help",
]

T = TypeVar("T")

logger = logging.getLogger("lktrio")

# What is wrong with the request is wrong for every model.
_CALLERS_MISTAKES: Final = frozenset({400, 405, 406, 411, 413, 414, 415, 422, 431})


def another_model_may_help(error: APIError) -> bool:
    """Whether another model may answer where one has failed: the adapters' default.

    Returns:
        False for a status that says that the request itself is wrong (400, 405, 406, 411, 413,
        414, 415, 422, 431); True for everything else: refused credentials, unknown models,
        limits, faults of the server, lost connections, clocks that ran out, answers that do not
        fit.
    """
    return not (isinstance(error, APIStatusError) and error.status_code in _CALLERS_MISTAKES)


def the_same_model_may_help(error: APIError) -> bool:
    """Whether another request to the same model, at once, may succeed where one has failed."""
    return error.retryable and not (isinstance(error, APIStatusError) and error.retry_after)


def check_models(llm: object) -> tuple[ChatModel, ...]:
    """The models that an adapter is given.

    Raises:
        TypeError: It is no list of `ChatModel`.
        ValueError: It is empty.
    """
    if not isinstance(llm, Sequence) or isinstance(llm, str):
        raise TypeError(
            f"llm must be a list of ChatModel, not {kind_of(llm)}; write: llm=[first, second]"
        )
    models: list[ChatModel] = []
    for index, model in enumerate(cast("Sequence[object]", llm)):
        if not isinstance(model, ChatModel):
            raise TypeError(
                f"llm[{index}] must be a ChatModel (an LLM, or an adapter), not {kind_of(model)}"
            )
        models.append(model)
    if not models:
        raise ValueError("llm=[] holds no model; give at least one")
    return tuple(models)


async def prewarm_all(models: Sequence[ChatModel]) -> list[tuple[int, APIError]]:
    """Prewarm models side by side.

    Returns:
        Which ones failed, by their places, and how; not all of them.

    Raises:
        APIError: That of the last one, if all have failed.
    """
    failures: list[tuple[int, APIError]] = []

    async def prewarm(index: int) -> None:
        try:
            await models[index].prewarm()
        except APIError as error:
            logger.warning(
                "%s could not be prewarmed: %s", models[index].model, logged_facts(error)
            )
            failures.append((index, error))

    try:
        async with trio.open_nursery() as nursery:
            for index in range(len(models)):
                nursery.start_soon(prewarm, index)
    except BaseExceptionGroup as group:
        raise_bare(group)
    if len(failures) == len(models):
        by_model = [(models[index], error) for index, error in failures]
        raise combine_errors(by_model, ResponseInfo())
    return failures


class Adapter(ChatModel):
    """A model made of several others.

    Args:
        models: The others.
        instruments: Who is told of the adapter's streams, as it was given.
    """

    def __init__(self, models: tuple[ChatModel, ...], instruments: object) -> None:
        self._models = models
        self._instruments = check_instruments(instruments)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Who is told of the adapter's streams, and who of its models' requests."""
        return join_instruments(self._instruments, *(each.instruments for each in self._models))

    @property
    def converter(self) -> schemas.Converter | None:
        """That of the first of its models that has one."""
        converters = (model.converter for model in self._models)
        return next((each for each in converters if each is not None), None)

    def _instrumented(self, call: ChatCall) -> ChatCall:
        """A call that the adapter's own instruments are told of, too."""
        instruments = join_instruments(self._instruments, call.instruments)
        return attrs.evolve(call, instruments=instruments)


@attrs.frozen
class _Child:
    """One model's stream within the outer one."""

    model: ChatModel
    stream: LLMStream[Any]
    started: float
    """Seconds since the outer stream was entered."""

    def attempts(self) -> list[Attempt]:
        """The attempts, in the outer stream's time."""
        return [
            msgspec.structs.replace(
                attempt,
                started=attempt.started + self.started,
                connected=self._shifted(attempt.connected),
                sent=self._shifted(attempt.sent),
                headers=self._shifted(attempt.headers),
                first_output=self._shifted(attempt.first_output),
                ended=self._shifted(attempt.ended),
                model=attempt.model or self.model.model,
            )
            for attempt in self.stream.response.attempts
        ]

    def _shifted(self, moment: float | None) -> float | None:
        return None if moment is None else moment + self.started


_NO_CONVERSATION: Final = ChatContext()
_NO_TIME: Final = sys.float_info.min
"""Seconds. The shortest timeout is more than none."""


class AdapterSource(ReportingSource):
    """Makes the chunks of an answer from the streams of several models, its children, and knows
    what is to be told of them together.

    All are made when `chat` is called, so that a bad argument fails there, whichever model would
    have been asked.

    Args:
        models: Whom the call may ask.
        call: What is asked.
        options: Clocks and retries of each model's stream.
        is_judged: Whether an answer that is whole may still be refused.
    """

    def __init__(
        self,
        models: Sequence[ChatModel],
        call: ChatCall,
        options: Sequence[APIConnectOptions],
        *,
        is_judged: bool = False,
    ) -> None:
        self._models = models
        self._options = options
        # By the model's place; each is used once.
        self._streams = {
            index: model.stream(attrs.evolve(call, conn_options=each))
            for index, (model, each) in enumerate(zip(models, options, strict=True))
        }
        self._call = attrs.evolve(
            call,
            extra_kwargs=_own_copy(call.extra_kwargs),
            response_format=_own_copy(call.response_format),
        )
        self._is_judged = is_judged
        self._epoch = 0.0
        self._total = math.inf
        self._asked: list[_Child] = []
        self._current: LLMStream[Any] | None = None

    @property
    def call(self) -> ChatCall:
        """What is asked, from a snapshot."""
        return self._call

    def check_open(self) -> None:
        """Raise `RuntimeError` if one of the models cannot be asked here and now."""
        for stream in self._streams.values():
            check_open(stream)

    async def run(self, sink: ChunkSink) -> None:
        """Ask the models.

        Raises:
            APIError: None of them has answered.
        """
        self._epoch = trio.current_time()
        total = self._call.conn_options.total_timeout
        self._total = math.inf if total is None else self._epoch + total
        try:
            await self.answer(sink)
        finally:
            # No model is asked any more.
            self._streams = {}
            self._call = attrs.evolve(self._call, chat_ctx=_NO_CONVERSATION, extra_kwargs={})

    @abc.abstractmethod
    async def answer(self, sink: ChunkSink) -> None:
        """Put the chunks of the model that answers; raise what prevented it."""

    def conclude(self) -> CollectedResponse[None] | None:
        """The answer if it is whole, although the outer stream was left before it was told so."""
        if self._current is None or self._is_judged:
            return None
        return whole_answer(self._current)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the total clock has run out."""
        return trio.current_time() >= self._total

    def start(self, index: int) -> LLMStream[Any]:
        """The stream of one model, about to be entered."""
        model, options = self._models[index], self._options[index]
        stream = self._streams.pop(index, None)
        now = trio.current_time()
        left = self._total - now
        if now > self._epoch and left < (options.total_timeout or math.inf):
            # What was prepared has a total clock that starts when it is entered: too late. With no
            # time left, it ends at once: as any stream whose time is over does.
            left = max(left, _NO_TIME)
            options, stream = attrs.evolve(options, total_timeout=left), None
        if stream is None:
            stream = model.stream(attrs.evolve(self._call, conn_options=options))
        self._asked.append(_Child(model, stream, now - self._epoch))
        self._current = stream
        return stream

    def follow(self, stream: LLMStream[Any]) -> None:
        """Say which of the streams that were started speaks for all."""
        self._current = stream

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts so far."""
        return None if self._current is None else self._current.usage

    @property
    def response(self) -> ResponseInfo:
        """The request so far, with the attempts of all models."""
        info = ResponseInfo() if self._current is None else self._current.response
        attempts = sorted(
            (attempt for child in self._asked for attempt in child.attempts()),
            key=lambda attempt: attempt.started,
        )
        return attrs.evolve(
            info,
            attempts=tuple(
                msgspec.structs.replace(attempt, number=number)
                for number, attempt in enumerate(attempts, 1)
            ),
        )


def _own_copy(value: T) -> T:
    """A copy of a mapping, which the caller may change later; anything else as it is."""
    return copy.deepcopy(value) if isinstance(cast("object", value), Mapping) else value


def result_of(stream: LLMStream[Any]) -> CollectedResponse[None]:
    """The answer of a stream that was read to its end, as it came."""
    result = whole_answer(stream)
    assert result is not None  # the stream's iteration has ended, and not with an error
    return result


def is_output(chunk: ChatChunk, options: APIConnectOptions) -> bool:
    """Whether a chunk holds something that cannot be taken back once it was delivered."""
    return chunk.has_response() or (
        options.reasoning_is_output and chunk.delta is not None and bool(chunk.delta.reasoning)
    )


def combine_errors(
    failures: Sequence[tuple[ChatModel, APIError]], response: ResponseInfo
) -> APIError:
    """The last of several models' errors, with the others in it."""
    *others, (_, error) = failures
    before = [each for _, other in others for each in (*other.other_errors, other)]
    complete_error(error, others=before, attempts=response.attempts)
    for model, other in others:
        error.add_note(f"before that, {model.model} failed: {type(other).__name__}: {other}")
    return error
