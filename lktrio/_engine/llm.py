"""`LLM`: the settings and the connections of one gateway, and `chat`.

This module knows what a program configures, which setting goes where, and who owns the HTTP
client. Everything else is asked of the rooms it leads to.
"""

from __future__ import annotations

import logging
import os
import platform
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

import trio

import lktrio._schemas as schemas
from lktrio._answers import APITimeoutError
from lktrio._checks import (
    NOT_GIVEN,
    NotGivenOr,
    check_flag,
    check_instance,
    check_sync_callable,
    is_given,
)
from lktrio._conversation import build_messages, check_chat_ctx
from lktrio._definitions import public
from lktrio._http import HTTPClient, HTTPRequest, TrioTransport
from lktrio._instruments import Instrument, RequestInfo, check_instruments, join_instruments
from lktrio._schemas import answer_shape
from lktrio._settings import (
    DEFAULT_API_CONNECT_OPTIONS,
    DEFAULT_MODEL_TABLE,
    APIConnectOptions,
    ChatCompletionOptions,
    Credentials,
    InferenceClass,
    LLMModels,
    ModelTable,
    RequestOptions,
    Secret,
    SecretWords,
    call_conn_options,
    check_conn_options,
    check_inference_class,
    check_plain_http,
    credential_words,
    drop_rejected,
    is_credential,
    merge_options,
    resolve_base_url,
    resolve_credentials,
    secret_words,
    structure_options,
)
from lktrio._tools import ToolContext, check_converter, to_fnc_ctx
from lktrio._version import __version__
from lktrio._wire import encode_request, reasoning_keeper

from .attempt import ChatRequest
from .chat_model import ChatCall, ChatModel
from .connections import Auth, Authority, Connections, LLMStatistics
from .draft import RequestDraft, prepared
from .llm_arguments import (
    CacheBreakpoints,
    ReasoningBack,
    check_plain_options,
    check_tool_choice,
    checked_auth,
    checked_breakpoints,
    checked_model,
    checked_provider,
    checked_rate_limit,
    checked_reasoning_back,
    facts_of,
    warn_of_forced_choice,
)
from .on_trio import check_on_trio
from .rate_limit import RateLimit
from .request import RequestSource, prewarm
from .stream import LLMStream

__all__ = ["LLM"]

logger = logging.getLogger("lktrio")

_USER_AGENT: Final = f"lktrio/{__version__} (Python {platform.python_version()})"

# The name that the asyncio original gives it.
_DEBUG_VARIABLE: Final = "LK_OPENAI_DEBUG"
_FALSE_WORDS: Final = frozenset({"", "0", "false", "no", "off"})


@public
class LLM(ChatModel):
    """LiveKit Inference, or any other server that speaks ``POST {base_url}/chat/completions``.

    ::

        async with LLM("openai/gpt-4.1-mini") as llm:
            async with llm.chat(chat_ctx=chat_ctx) as stream:
                async for text in stream.text:
                    ...

    With the environment variable ``LK_OPENAI_DEBUG=1``, the bodies of requests are logged on the
    logger ``lktrio`` at level DEBUG. Without it no line of the log holds what is said.

    The constructor does no I/O. Entering opens the connection pool, leaving closes it, and ends
    the streams that are still open. It is entered once and belongs to one `trio.run`.

    Args:
        model: Name of the model, for example ``"openai/gpt-4.1-mini"``.
        provider: Ask the gateway for this upstream provider. Default: it chooses.
        base_url: Where the API is, without ``/chat/completions``. Default: the environment
            variable ``LIVEKIT_INFERENCE_URL``, else LiveKit's gateway (the staging one if
            ``LIVEKIT_URL`` is a staging address).
        api_key: Key from which access tokens are made. Default: ``LIVEKIT_INFERENCE_API_KEY``,
            else ``LIVEKIT_API_KEY``.
        api_secret: Its secret. Default: ``LIVEKIT_INFERENCE_API_SECRET``, else
            ``LIVEKIT_API_SECRET``.
        auth: In place of key and secret: the value of the ``Authorization`` header
            (``"Bearer sk-..."``), None to send none, or a callable, sync or async, that returns
            one of these and is asked before every attempt.
        inference_class: How urgent requests are to the gateway. Default: it decides.
        extra_kwargs: Options of every request (see `ChatCompletionOptions`); those of a call
            win over them.
        conn_options: Clocks and retries of every call that gives none.
        prompt_cache_breakpoints: Whether `CacheBreakpoint` is sent: True, False, or ``"auto"``
            for where the model is known to support it.
        reasoning_back: In which member of a message the model gets back what it has thought, after
            a round of tool calls: ``"reasoning_content"``, ``"reasoning"`` or
            ``"reasoning_details"``; None for not at all; ``"auto"`` for what is known of it.
        http_client: In place of connections of its own: a `TrioTransport`, which may serve several,
            or an ``httpx.AsyncClient`` (or ``httpx2.AsyncClient``). It is not closed. A client
            keeps its own limits, proxies, cookies and event hooks, while its timeouts and
            redirects are not used.
        max_streams: How many streams may run at once; more wait, which counts on their clocks of
            the first output and in total. Default: no bound. A task that holds the last place and
            opens one more waits for ever.
        rate_limit: How many requests and tokens a minute may hold; more wait, on the same clocks.
            Several `LLM` may share one. Default: no bound.
        strict_tool_schema: Whether tools are offered with a strict schema where it can be made.
        allow_insecure: Allow credentials to be sent over plain ``http://`` to another machine.
        model_table: What is known about models.
        instruments: Who is told of the requests.
        converter: Reads types of your own in answers to a ``response_format``, and writes them in
            options (see `make_converter`).
        prepare: Called by `chat` with a `RequestDraft`, to change headers, parameters or body of
            each request before it is fixed. Not async; what it raises, `chat` raises.

    Raises:
        ValueError: An argument, or the environment variable in its place, is missing or cannot
            be used. The message names it.
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        model: LLMModels | str,
        *,
        provider: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        auth: NotGivenOr[Auth] = NOT_GIVEN,
        inference_class: InferenceClass | None = None,
        extra_kwargs: ChatCompletionOptions | None = None,
        conn_options: APIConnectOptions | None = None,
        prompt_cache_breakpoints: CacheBreakpoints = "auto",
        reasoning_back: ReasoningBack = "auto",
        http_client: HTTPClient | TrioTransport | None = None,
        max_streams: int | None = None,
        rate_limit: RateLimit | None = None,
        strict_tool_schema: bool = True,
        allow_insecure: bool = False,
        model_table: ModelTable = DEFAULT_MODEL_TABLE,
        instruments: Sequence[Instrument] | None = None,
        converter: schemas.Converter | None = None,
        prepare: Callable[[RequestDraft], None] | None = None,
    ) -> None:
        if prepare is not None:
            check_sync_callable("prepare", prepare)
        self._prepare = prepare
        self._converter = check_converter(converter)
        self._model = checked_model(model)
        self._upstream = None if provider is None else checked_provider(provider)
        self._base_url = resolve_base_url(base_url, os.environ)
        self._auth: Authority
        if is_given(auth):
            self._auth = checked_auth(auth, api_key, api_secret)
        else:
            self._auth = resolve_credentials(api_key, api_secret, os.environ)
        check_flag("allow_insecure", allow_insecure)
        self._allow_insecure = allow_insecure
        check_plain_http(
            self._base_url,
            has_credentials=self._auth is not None,
            allow_insecure=allow_insecure,
        )
        self._inference_class: InferenceClass | None = check_inference_class(inference_class)
        self._options = self._checked_options(extra_kwargs)
        given = DEFAULT_API_CONNECT_OPTIONS if conn_options is None else conn_options
        self._conn_options = check_conn_options(given)
        self._cache_breakpoints: CacheBreakpoints = checked_breakpoints(prompt_cache_breakpoints)
        check_flag("strict_tool_schema", strict_tool_schema)
        self._strict_tool_schema = strict_tool_schema
        check_instance("model_table", model_table, ModelTable, "a ModelTable")
        self._model_table = model_table
        self._reasoning_back: ReasoningBack = checked_reasoning_back(reasoning_back)
        # Looking a model up compares its name with many patterns: not for every request.
        self._facts = facts_of(self._model, model_table, self._reasoning_back)
        self._instruments = check_instruments(instruments)
        self._logs_bodies = os.environ.get(_DEBUG_VARIABLE, "").lower() not in _FALSE_WORDS
        self._rate = checked_rate_limit(rate_limit)
        self._connections = Connections(
            http_client,
            max_streams=max_streams,
            rate=self._rate,
            has_auth=self._auth is not None,
        )

    @classmethod
    def from_model_string(cls, model: LLMModels | str) -> LLM:
        """Make an `LLM` of a model's name, with everything else from the environment.

        Raises:
            ValueError: The name is empty, or a variable is missing.
        """
        return cls(model)

    @property
    def model(self) -> str:
        """Name of the model, as it is sent."""
        return self._model

    @property
    def provider(self) -> str:
        """Always ``"livekit"``; the upstream provider is the gateway's affair."""
        return "livekit"

    @property
    def label(self) -> str:
        """Name for logs and metrics."""
        return "lktrio.LLM"

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Who is told of the requests, and of the tools of a turn."""
        return self._instruments

    @property
    def converter(self) -> schemas.Converter | None:
        """What reads types of the program's own in answers."""
        return self._converter

    @property
    def conn_options(self) -> APIConnectOptions:
        """Clocks and retries of calls that give none."""
        return self._conn_options

    def __repr__(self) -> str:
        return f"<LLM {self._model} at {urlsplit(self._base_url).netloc} {self._connections.state}>"

    # --- lifetime -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_on_trio()
        self._connections.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self._connections.close()

    def statistics(self) -> LLMStatistics:
        """What this `LLM` is doing now."""
        return self._connections.statistics()

    async def prewarm(self) -> None:
        """Open a connection ahead of the first request (``GET {base_url}/models``), so that
        name lookup, TCP and TLS are done when it comes. Takes 10 seconds at most.

        Raises:
            APIConnectionError: There is no connection.
            APIStatusError: The credentials were refused (401 or 403). Any other status is fine:
                a server need not have a list of models.
            RuntimeError: The `LLM` was not entered.
            trio.ClosedResourceError: The `LLM` was left in the meantime.
        """
        headers, auth, secrets = self._authorised_headers(self._options, self._inference_class)
        headers = {name: text for name, text in headers.items() if name.lower() != "content-type"}
        request = HTTPRequest("GET", f"{self._base_url}/models", headers, query=self._options.query)
        connections = self._connections
        connections.sender()
        visit = connections.visit()
        try:
            with visit, trio.move_on_after(DEFAULT_API_CONNECT_OPTIONS.timeout) as clock:
                await prewarm(connections, request, auth, secrets)
        finally:
            connections.leave(visit)
        if visit.cancelled_caught:
            raise trio.ClosedResourceError(
                "the LLM was left while it was prewarmed; leave it after prewarm() has returned"
            )
        if clock.cancelled_caught:
            raise APITimeoutError("prewarming took longer than 10 seconds", clock="connect")

    def update_options(
        self,
        *,
        model: NotGivenOr[LLMModels | str] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[ChatCompletionOptions] = NOT_GIVEN,
        prompt_cache_breakpoints: NotGivenOr[CacheBreakpoints] = NOT_GIVEN,
    ) -> None:
        """Replace settings; the next `chat` reads them, streams already made do not.

        Args:
            model: Another model.
            extra_kwargs: Options in place of those there were, as a whole.
            prompt_cache_breakpoints: As in the constructor.

        Raises:
            ValueError: As in the constructor; then nothing is changed.
            TypeError: As in the constructor; then nothing is changed.
        """
        new_model = checked_model(model) if is_given(model) else self._model
        options = self._checked_options(extra_kwargs) if is_given(extra_kwargs) else self._options
        if is_given(prompt_cache_breakpoints):
            self._cache_breakpoints = checked_breakpoints(prompt_cache_breakpoints)
        self._model = new_model
        self._facts = facts_of(new_model, self._model_table, self._reasoning_back)
        self._options = options

    # --- requests -------------------------------------------------------------------------

    def stream(self, call: ChatCall) -> LLMStream[Any]:
        """Make the stream for a call of `chat`. Checks the arguments, and sends nothing yet.

        Raises:
            ValueError: An argument has a value that cannot be sent.
            TypeError: An argument has the wrong type.
        """
        chat_ctx = check_chat_ctx(call.chat_ctx)
        response_format = call.response_format
        shape = None
        if is_given(response_format):
            shape = answer_shape(response_format, self._converter)
        if shape is not None:
            response_format = shape.to_json()
        extra_kwargs = structure_options(call.extra_kwargs, converter=self._converter)
        options = merge_options(
            instance=self._options,
            call=extra_kwargs,
            explicit={
                "parallel_tool_calls": call.parallel_tool_calls,
                "tool_choice": call.tool_choice,
                "response_format": response_format,
            },
            converter=self._converter,
        )
        urgency: InferenceClass | None = self._inference_class
        if is_given(call.inference_class):
            urgency = check_inference_class(call.inference_class)
        conn_options = call_conn_options(
            call.conn_options,
            self._conn_options,
            call_timeout=extra_kwargs.timeout,
            instance_timeout=self._options.timeout,
        )
        tool_ctx = ToolContext(call.tools)
        schemas = to_fnc_ctx(tool_ctx, strict=self._strict_tool_schema)
        # An empty set takes as much as one of five, and most streams offer no tools.
        names = frozenset(tool_ctx.function_tools) if schemas else ()
        check_tool_choice(options.body.get("tool_choice"), names)
        if not schemas:
            warn_of_forced_choice(call)
        facts = self._facts
        body, dropped = drop_rejected(options.body, facts=facts, has_tools=bool(schemas))
        if dropped:
            logger.debug("%s does not take %s; not sent", self._model, ", ".join(dropped))
        effort = options.body.get("reasoning_effort")
        if body.get("reasoning_effort", effort) != effort:
            logger.debug(
                "%s takes tools at reasoning_effort=%r only; not sent: %r",
                self._model,
                body["reasoning_effort"],
                effort,
            )
        breakpoints = self._cache_breakpoints
        if breakpoints == "auto":
            breakpoints = facts.cache_breakpoints
        content = encode_request(
            model=self._model,
            messages=build_messages(
                chat_ctx.items,
                cache_breakpoints=breakpoints,
                content_beside_calls=facts.content_beside_calls,
                reasoning_back=facts.reasoning_back,
                audio_formats=facts.audio_formats,
                model=self._model,
            ),
            options=body,
            tools=schemas,
            extra_body=options.extra_body,
        )
        if self._prepare is not None:
            options, content = prepared(self._prepare, self._model, options, content)
        headers, auth, secrets = self._authorised_headers(options, urgency)
        info = RequestInfo(
            label=self.label,
            model=self._model,
            provider=self.provider,
            base_url=self._base_url,
            chat_ctx=chat_ctx,
            tools=call.tools,
            options=types.MappingProxyType(body),
        )
        request = ChatRequest(
            http=HTTPRequest(
                "POST", f"{self._base_url}/chat/completions", headers, content, options.query
            ),
            model=self._model,
            auth=auth,
            options=conn_options,
            facts=facts,
            declared_tools=names,
            early_tool_calls=call.early_tool_calls,
            keeper=reasoning_keeper(facts.reasoning_back, chat_ctx.items),
            tokens=0 if self._rate is None else self._rate.estimate(info),
            log_body=self._logs_bodies,
            secrets=secrets,
        )
        return LLMStream(
            RequestSource(request, self._connections),
            request=info,
            instruments=join_instruments(self._instruments, call.instruments),
            shape=shape,
        )

    def _checked_options(
        self, extra_kwargs: ChatCompletionOptions | Mapping[str, Any] | None
    ) -> RequestOptions:
        options = structure_options(extra_kwargs, converter=self._converter)
        check_plain_options(options, self._base_url, allow_insecure=self._allow_insecure)
        return options

    def _headers(self, urgency: InferenceClass | None) -> dict[str, str]:
        headers = {
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "User-Agent": _USER_AGENT,
        }
        if self._upstream is not None:
            headers["X-LiveKit-Inference-Provider"] = self._upstream
        if urgency is not None:
            headers["X-LiveKit-Inference-Priority"] = urgency
        return headers

    def _authorised_headers(
        self, options: RequestOptions, urgency: InferenceClass | None
    ) -> tuple[dict[str, str | Secret], Authority, SecretWords]:
        """The headers of a request, what authorises it, and what must not be shown."""
        headers: dict[str, str | Secret] = dict(self._headers(urgency))
        headers["Content-Type"] = "application/json"
        auth = self._auth
        secrets = SecretWords()
        if options.headers or options.query:
            check_plain_options(options, self._base_url, allow_insecure=self._allow_insecure)
            secrets += credential_words(options.headers)
            secrets += credential_words(options.query)
        if options.headers:
            replaced = {name.lower() for name in options.headers}
            for name in [name for name in headers if name.lower() in replaced]:
                del headers[name]
            headers.update(
                (name, Secret(value) if is_credential(name) else value)
                for name, value in options.headers.items()
            )
            if "authorization" in replaced:
                auth = None
        if isinstance(self._auth, Credentials):
            secrets += secret_words(self._auth.api_secret)
        return headers, auth, secrets
