"""`FallbackAdapter`: several models in order, each asked when those before it have failed.

This module knows when the next model is asked, and which ones have failed lately. How a stream is
run inside another one is known elsewhere.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs

from lktrio._answers import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatChunk,
    CollectedResponse,
    complete_error,
)
from lktrio._checks import (
    check_callable,
    check_integer,
    check_seconds,
    check_sync_callable,
    kind_of,
    not_awaitable,
    shown,
)
from lktrio._definitions import public
from lktrio._engine import (
    ChatCall,
    ChatModel,
    ChunkSink,
    LLMStream,
    call_on_output,
    forget_locals,
    outer_stream,
)
from lktrio._instruments import Instrument
from lktrio._settings import (
    APIConnectOptions,
    call_conn_options,
    check_conn_options,
    timeout_or,
)

from .availability import AvailabilityHook, ModelAvailability, ModelPool
from .children import (
    Adapter,
    AdapterSource,
    another_model_may_help,
    check_models,
    combine_errors,
    is_output,
    prewarm_all,
    result_of,
)

__all__ = ["FallbackAdapter"]

logger = logging.getLogger("lktrio")

Judge: TypeAlias = Callable[[CollectedResponse[Any]], "bool | Awaitable[bool]"]
"""Says whether a whole answer is good enough; sync or async."""

# A mapping's keys are invariant: with ChatModel for Any, a dict of LLMs would not be one.
ModelOptions: TypeAlias = Sequence[APIConnectOptions | None] | Mapping[Any, APIConnectOptions]
"""Options for single models: an entry for each, or a mapping from model to options."""


@attrs.frozen
class _Policy:
    """When the next model is asked."""

    should_fall_back: Callable[[APIError], bool]
    accept: Judge | None
    restart_after_output: bool

    def allows(self, error: APIError) -> bool:
        """Whether another model may not have an error."""
        ask = functools.partial(self.should_fall_back, error)
        return not_awaitable("should_fall_back", ask)


class _Rejected(Exception):
    """An answer was not accepted."""

    def __init__(self, error: APIError) -> None:
        super().__init__()
        self.error = error


class _FallbackSource(AdapterSource):
    """Makes a stream's chunks from the streams of the models, one after the other."""

    def __init__(
        self,
        pool: ModelPool,
        policy: _Policy,
        call: ChatCall,
        options: Sequence[APIConnectOptions],
    ) -> None:
        super().__init__(pool.models, call, options, is_judged=policy.accept is not None)
        self._pool = pool
        self._policy = policy
        self._has_output = False
        """Whether output was delivered since the answer began, or began anew."""
        self._has_calls = False
        self._is_tainted = False
        """Whether output of a model that failed was delivered."""

    async def answer(self, sink: ChunkSink) -> None:
        """Put the chunks of the first model that answers.

        Raises:
            APIError: The last model's error.
        """
        pool = self._pool
        failures: list[tuple[ChatModel, APIError]] = []
        tried: frozenset[int] = frozenset()
        while (index := pool.choose(tried)) is not None:
            if self._has_output:
                sink.put((ChatChunk(restart=True),), 0)
                self._has_output = False
                self._is_tainted = True
            error, may_go_on = await self._ask(index, sink)
            if error is None:
                return
            # The pool remembers it for longer than the request lasts.
            forget_locals(error)
            tried |= {index}
            failures.append((pool.models[index], error))
            if not may_go_on:
                break
        error = combine_errors(failures, self.response)
        complete_error(error, was_delivered=self._is_tainted)
        raise error

    async def _ask(self, index: int, sink: ChunkSink) -> tuple[APIError | None, bool]:
        """Ask one model; return what went wrong, and whether another one may be asked then."""
        pool = self._pool
        health = pool.health[index]
        is_trial = not health.available and not health.on_trial
        if is_trial:
            health.on_trial = True
        try:
            stream = self.start(index)
            async with stream:
                if self._policy.accept is None:
                    await self._pass_on(stream, index, sink)
                else:
                    await self._judge(stream, index, sink, self._policy.accept)
            return None, False
        except _Rejected as rejection:
            return rejection.error, not self.is_out_of_time
        except APIError as error:
            if self.is_out_of_time:
                # The time was short, which says nothing of the model.
                return error, False
            if not self._policy.allows(error):
                return error, False
            # A clock that ran out before anything was sent (while waiting for one of our own
            # places, say) says nothing of the model.
            waited = isinstance(error, APITimeoutError) and not error.attempts
            if isinstance(error, APIStatusError | APIConnectionError) and not waited:
                pool.failed(index, error)
            is_revocable = self._policy.restart_after_output and not self._has_calls
            return error, is_revocable or not self._has_output
        finally:
            if is_trial:
                health.on_trial = False

    async def _pass_on(self, stream: LLMStream[Any], index: int, sink: ChunkSink) -> None:
        call_on_output(stream, sink.got_output)
        async for chunk in stream:
            if is_output(chunk, self._options[index]):
                if not self._has_output:
                    self._has_output = True
                    self._pool.works(index)
                    sink.got_output()
                if chunk.delta is not None and chunk.delta.tool_calls:
                    self._has_calls = True
            sink.put((chunk,))
            if sink.is_full:
                await sink.room()
        self._pool.works(index)
        # The consumer sees the end now, and not at the end of the body.
        sink.complete(result_of(stream))

    async def _judge(
        self, stream: LLMStream[Any], index: int, sink: ChunkSink, accept: Judge
    ) -> None:
        chunks: list[ChatChunk] = []
        async for chunk in stream:
            if chunk.restart:
                # Nobody has seen what is void now.
                chunks.clear()
            else:
                chunks.append(chunk)
        self._pool.works(index)
        reply = await stream.collect()
        verdict = accept(reply)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if cast("object", verdict) is None:
            raise TypeError("accept returned None; it returns True or False (is a return missing?)")
        if not verdict:
            model = self._pool.models[index].model
            error = APIError(f"the answer of {model} was not accepted", retryable=False)
            request_id = stream.response.request_id
            complete_error(error, partial=result_of(stream), request_id=request_id)
            raise _Rejected(error)
        if any(is_output(chunk, self._options[index]) for chunk in chunks):
            sink.got_output()
        sink.put(chunks)
        sink.complete(result_of(stream))


@public
class FallbackAdapter(Adapter):
    """Several models behind one: the first that can answers.

    ::

        async with LLM("openai/gpt-4.1-mini") as first, LLM("google/gemini-2.5-flash") as second:
            llm = FallbackAdapter(llm=[first, second], attempt_timeout=1.0)
            async with llm.chat(chat_ctx=chat_ctx) as stream:
                ...

    A stream asks the models one after the other. It moves on when one fails before output was
    delivered: at an error that another model may not have, and when ``attempt_timeout`` has passed
    without output, even if the server keeps the connection alive. If all fail, the last one's
    error is raised; its ``other_errors`` holds those of the others, its ``attempts`` all attempts.

    A model that has failed is passed over for ``cooldown`` seconds. Then one stream, and no other
    meanwhile, tries it again; once it answers, it is available as before. A model that is passed
    over is still asked when all others have failed. There is no background task, and no request
    but the program's own.

    The program enters and leaves the models. An adapter may be a model of another one.

    Args:
        llm: The models, in the order of preference.
        attempt_timeout: Seconds from the start of a model's attempt to its first output. A
            ``first_output_timeout`` of the call replaces it, and one of the model's own options
            replaces both. (Not used for a model that is itself a `FallbackAdapter`, which has its
            own; a `HedgeAdapter` gives as much to each of its requests.) `math.inf` for no limit.
        max_retry_per_llm: How often a model is asked again before the next one is. Replaces
            ``max_retry`` of all options. (Not used for a model that is itself an adapter.)
        retry_interval: Seconds between such retries. Replaces that of all options.
        conn_options: Options for single models, in place of the call's: a list with an entry for
            each model (None for none), or a mapping from model to options. A ``timeout`` that
            they do not give is the call's. The call's ``total_timeout`` bounds the stream as a
            whole in any case. Where neither is given, those of the `LLM` hold.
        should_fall_back: Whether another model may not have an error; then the next one is asked,
            and after a status, a lost connection or a timeout this one is passed over for a while.
            Default: every error but a status that says that the request itself is wrong (400, 405,
            406, 411, 413, 414, 415, 422, 431).
        accept: Judges the whole answer (``parsed`` is there if a ``response_format`` was asked
            for); may be async. If it returns False, the next model is asked; so it is, if
            ``should_fall_back`` says so, when the answer does not fit the ``response_format``.
            Nothing is delivered before the verdict: the answer then comes all at once.
        cooldown: Seconds for which a model that has failed is passed over. A longer
            ``Retry-After`` wins, up to a day.
        sticky: Begin with the model that answered last, in place of the first.
        restart_after_output: Ask the next model also if output was delivered (the original's
            ``retry_on_chunk_sent``). The stream then yields a chunk whose ``restart`` is True: all
            text so far is void, and the answer begins anew. `LLMStream.text` does not show it;
            iterate over the chunks. Never after a tool call, which may have been carried out.
        on_availability_changed: Called in the stream's task when a model has failed or answers
            again. It must not block; an exception it raises is logged.
        instruments: Who is told of the adapter's streams, and of the requests they need.

    Raises:
        ValueError: An argument has a value that makes no sense. The message names it.
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        llm: Sequence[ChatModel],
        *,
        attempt_timeout: float = 5.0,
        max_retry_per_llm: int = 0,
        retry_interval: float = 0.5,
        conn_options: ModelOptions | None = None,
        should_fall_back: Callable[[APIError], bool] = another_model_may_help,
        accept: Judge | None = None,
        cooldown: float = 10.0,
        sticky: bool = False,
        restart_after_output: bool = False,
        on_availability_changed: AvailabilityHook | None = None,
        instruments: Sequence[Instrument] | None = None,
    ) -> None:
        models = check_models(llm)
        super().__init__(models, instruments)
        check_seconds("attempt_timeout", attempt_timeout)
        check_integer("max_retry_per_llm", max_retry_per_llm, least=0)
        check_seconds("retry_interval", retry_interval, zero=True, infinite=False)
        check_seconds("cooldown", cooldown, zero=True)
        check_sync_callable("should_fall_back", should_fall_back)
        if accept is not None:
            check_callable("accept", accept)
        if on_availability_changed is not None:
            check_sync_callable("on_availability_changed", on_availability_changed)
        self._attempt_timeout = attempt_timeout
        self._max_retry = max_retry_per_llm
        self._retry_interval = retry_interval
        self._options = _options_by_index(models, conn_options)
        self._pool = ModelPool(
            models, cooldown=cooldown, sticky=sticky, on_change=on_availability_changed
        )
        self._policy = _Policy(should_fall_back, accept, restart_after_output)

    @property
    def model(self) -> str:
        """Name of the model that would be asked first now."""
        return self._next_model().model

    @property
    def provider(self) -> str:
        """Who serves the model that would be asked first now."""
        return self._next_model().provider

    def _next_model(self) -> ChatModel:
        return self._pool.models[self._pool.choose() or 0]

    @property
    def availability(self) -> tuple[ModelAvailability, ...]:
        """What is known of each model, in the order of preference."""
        return tuple(
            ModelAvailability(model, True)
            if health.available
            else ModelAvailability(model, False, health.retry_at, health.last_error)
            for model, health in zip(self._pool.models, self._pool.health, strict=True)
        )

    async def prewarm(self) -> None:
        """Prewarm all models side by side, so that the next one is as ready as the first when it
        is needed. It takes as long as the slowest.

        One that fails is passed over like one that has failed in a stream, and is a warning in
        the log.

        Raises:
            APIError: All models have failed: the last one's error, with the others in
                ``other_errors``.
            RuntimeError: A model was not entered.
        """
        for index, error in await prewarm_all(self._pool.models):
            forget_locals(error)
            self._pool.failed(index, error)

    def __repr__(self) -> str:
        states = (
            each.llm.model if each.available else f"{each.llm.model} (failed)"
            for each in self.availability
        )
        return f"<FallbackAdapter {', '.join(states)}>"

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        """Make the stream for a call of `chat`. Checks the arguments for every model, and sends
        nothing yet.

        Raises:
            ValueError: An argument has a value that cannot be sent.
            TypeError: An argument has the wrong type.
        """
        call_options = check_conn_options(call.conn_options)
        options = [
            self._options_of(model, own, call_options)
            for model, own in zip(self._models, self._options, strict=True)
        ]
        source = _FallbackSource(self._pool, self._policy, self._instrumented(call), options)
        return outer_stream(source, source.call, self)

    def _options_of(
        self, model: ChatModel, own: APIConnectOptions | None, call: APIConnectOptions
    ) -> APIConnectOptions:
        if own is None and isinstance(model, FallbackAdapter):
            return call  # it has retries of its own, and models with options of their own
        options = own or call_conn_options(call, model.conn_options)
        first_output = options.first_output_timeout or call.first_output_timeout
        if first_output is None and not isinstance(model, FallbackAdapter):
            first_output = self._attempt_timeout
        totals = [each for each in (options.total_timeout, call.total_timeout) if each is not None]
        return attrs.evolve(
            options,
            max_retry=self._max_retry,
            retry_interval=self._retry_interval,
            timeout=timeout_or(options, call.timeout),
            first_output_timeout=first_output,
            total_timeout=min(totals, default=None),
        )


def _options_by_index(
    models: tuple[ChatModel, ...], conn_options: object
) -> tuple[APIConnectOptions | None, ...]:
    """The options of each model, from one of the ways in which they may be given."""
    if conn_options is None:
        return (None,) * len(models)
    entries: list[object]
    if isinstance(conn_options, Mapping):
        by_model = cast("Mapping[object, object]", conn_options)
        for key in by_model:
            if not any(key is model for model in models):
                raise ValueError(
                    f"conn_options has options for {shown(key)}, which is not among the models"
                )
        entries = [by_model.get(model) for model in models]
    elif isinstance(conn_options, Sequence) and not isinstance(conn_options, str):
        entries = list(cast("Sequence[object]", conn_options))
        if len(entries) != len(models):
            raise ValueError(
                f"conn_options has {len(entries)} entries for {len(models)} models; give one for "
                "each, None where the call's are to be used"
            )
    else:
        raise TypeError(
            "conn_options must be a list with an entry for each model, or a mapping from model "
            f"to options, not {kind_of(conn_options)}; options for all of them are an argument of "
            "chat()"
        )
    options: list[APIConnectOptions | None] = []
    for entry in entries:
        if entry is not None and not isinstance(entry, APIConnectOptions):
            raise TypeError(f"conn_options must hold APIConnectOptions, not {kind_of(entry)}")
        options.append(entry)
    return tuple(options)
