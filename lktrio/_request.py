"""The request task: attempts, clocks and retries of one request to a gateway.

This module knows when to wait, when to give up and when to try again, and what an error carries.
What the bytes mean, which error may be retried and how HTTP is spoken is known elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
import random
import time
import types
from collections.abc import Callable, Collection, Mapping
from typing import Final

import attrs
import trio

from ._assembler import Assembler
from ._chunks import ChatChunk, CollectedResponse, CompletionUsage
from ._clocks import AttemptRecord, Clocks
from ._connect_options import APIConnectOptions
from ._credentials import secret_words
from ._errors import APIConnectionError, APIError, APIStatusError, APITimeoutError
from ._gateway import Authority, Gateway, authorization
from ._headers import HeaderFacts, read_headers
from ._http import HTTPRequest, HTTPResponse, Phase, ReusedConnectionLost, send
from ._lifetime import forget_locals
from ._models import ModelFacts
from ._reading import Reading
from ._redaction import redact, redact_error, redact_headers, redact_text
from ._response import Attempt, ResponseInfo
from ._retry import delay_before_retry
from ._secret import SecretWords
from ._server_errors import status_error
from ._stream import Outlet
from ._value import Value

__all__ = ["MAX_ERROR_BODY_BYTES", "ChatRequest", "RequestSource", "prewarm"]

logger = logging.getLogger("lktrio")

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
"""How much of an error response's body is read, in bytes."""

# A list of models is read to its end, so that the connection can be used again.
_MAX_PREWARM_PIECES: Final = 64

MAX_ERROR_BODY_SECONDS: Final = 1.0
"""How long an error response's body is waited for; its status is known already."""


async def read_error_body(response: HTTPResponse, body: io.BytesIO) -> None:
    """Read the beginning of an error's body, as long as nobody cancels it."""
    # (As a file, whose repr shows nothing: a server may echo what is secret in the request.)
    try:
        while (room := MAX_ERROR_BODY_BYTES - body.tell()) and (
            piece := await response.read()
        ) is not None:
            body.write(piece[:room])
    except APIConnectionError:
        pass  # the status says enough


async def authorised(
    request: HTTPRequest, auth: Authority, secrets: SecretWords
) -> tuple[HTTPRequest, SecretWords]:
    """The request with what authorises it, and the words that must not be shown of it."""
    token = await authorization(auth)
    if token is None:
        return request, secrets
    return request.with_header("Authorization", token), secrets + secret_words(token.reveal())


async def send_once_more(
    gateway: Gateway,
    request: HTTPRequest,
    observe: Callable[[Phase], None],
    lost: Callable[[], object],
) -> HTTPResponse:
    """Send a request, again at once if a kept connection turns out to be gone.

    The request was almost certainly not seen by anybody. Each such failure takes one dead
    connection out of the pool, so this ends by itself.

    Args:
        gateway: Where to.
        request: The request.
        observe: Told when another phase begins.
        lost: Called before it is sent again.
    """
    sender = gateway.sender()
    while True:
        try:
            return await send(sender, request, observe)
        except ReusedConnectionLost:
            lost()


async def prewarm(
    gateway: Gateway, request: HTTPRequest, auth: Authority, secrets: SecretWords
) -> None:
    """Send a request and read what comes, so that its connection can be used by the next.

    Raises:
        APIConnectionError: There is no connection.
        APIStatusError: The credentials were refused. Any other status is fine.
    """
    response: HTTPResponse | None = None
    try:
        request, secrets = await authorised(request, auth, secrets)
        response = await send_once_more(gateway, request, _ignore, lambda: None)
        body = io.BytesIO()
        await read_error_body(response, body)
        with contextlib.suppress(APIConnectionError):
            for _ in range(_MAX_PREWARM_PIECES):
                if await response.read() is None:
                    break
        if response.status_code in {401, 403}:
            facts = _Head(response.headers, secrets).facts
            raise status_error(response.status_code, body.getvalue(), facts)
    except APIError as error:
        redact_error(error, secrets)
        raise
    finally:
        if response is not None:
            await response.aclose()


def _ignore(_phase: Phase) -> None:
    pass


@attrs.frozen(eq=False, repr=False)
class ChatRequest(Value):
    """All that is fixed about a request when `chat` is called."""

    http: HTTPRequest
    """The request without its authorisation."""

    model: str
    """Name of the model that is asked."""

    auth: Authority = attrs.field(repr=False)
    """What authorises it."""

    options: APIConnectOptions
    """Clocks and retries."""

    facts: ModelFacts
    """What is known of the model."""

    declared_tools: Collection[str] = ()
    """Names of the tools that are offered."""

    early_tool_calls: bool = False
    """Whether a call is handed out as soon as it is complete."""

    log_body: bool = False
    """Whether the request's body is logged, which holds the conversation."""

    secrets: SecretWords = attrs.field(default=SecretWords(), repr=False)
    """What must not appear in an error, should the server echo it."""

    def without_content(self) -> ChatRequest:
        """What is worth keeping when the request is over: megabytes of pictures are not."""
        http = attrs.evolve(self.http, headers={}, content=b"", query={})
        return attrs.evolve(self, http=http, auth=None, secrets=SecretWords())


class _Head:
    """What a response's head says. It is read when somebody wants to know, which for an answer that
    comes whole is nobody, most of the time.

    Args:
        headers: Its headers.
        secrets: What must not be seen in them.
    """

    def __init__(self, headers: Mapping[str, str], secrets: Collection[str]) -> None:
        self._headers = headers
        self._secrets = secrets
        self._arrived = time.time()

    @functools.cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers, without what is secret."""
        return redact_headers(self._headers, self._secrets)

    @functools.cached_property
    def facts(self) -> HeaderFacts:
        """What they mean."""
        return read_headers(self.headers, self._arrived)


class RequestSource:
    """Makes a stream's chunks by requests to a gateway.

    Args:
        request: What to send.
        gateway: What it is sent over.
    """

    def __init__(self, request: ChatRequest, gateway: Gateway) -> None:
        self._request = request
        self._options = request.options
        self._gateway = gateway
        self._epoch = 0.0
        self._attempts: list[AttemptRecord] = []
        self._head = _Head({}, ())
        self._assembler: Assembler | None = None

    def check_open(self) -> None:
        """Raise `RuntimeError` if a request cannot be made here and now."""
        self._gateway.sender()

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts so far."""
        return None if self._assembler is None else self._assembler.usage

    @property
    def response(self) -> ResponseInfo:
        """The request so far."""
        last = self._attempts[-1] if self._attempts else None
        answer = self._assembler
        return ResponseInfo(
            status_code=None if last is None else last.status_code,
            request_id=self._head.facts.request_id,
            response_id=None if answer is None else answer.id or None,
            model=(answer.model or self._request.model) if answer and answer.has_begun else None,
            quota=self._head.facts.quota,
            headers=types.MappingProxyType(self._head.headers),
            attempts=self._frozen_attempts(),
        )

    def conclude(self) -> CollectedResponse[None] | None:
        """The answer if it is whole, although the request was ended before its body was."""
        answer = self._assembler
        if answer is None or answer.finish_reason is None or self._attempts[-1].error is not None:
            return None
        try:
            return answer.finish([])
        except APIConnectionError:
            return None

    def _frozen_attempts(self) -> tuple[Attempt, ...]:
        return tuple(self._freeze(record) for record in self._attempts)

    def _freeze(self, record: AttemptRecord) -> Attempt:
        if record is self._attempts[-1]:
            record.request_id = self._head.facts.request_id
        return record.freeze(self._epoch)

    async def run(self, outlet: Outlet) -> None:
        """Put the answer's chunks; retry what may be retried.

        Raises:
            APIError: The last attempt's error.
        """
        self._epoch = trio.current_time()
        outlet.watch.progress = self
        total = self._epoch + (
            math.inf if self._options.total_timeout is None else self._options.total_timeout
        )
        if self._request.log_body:
            http = self._request.http
            body = redact(http.content.decode("utf-8", "replace"), self._request.secrets)
            logger.debug("%s %s %s", http.method, http.url, body)
        scope = self._gateway.enter()
        try:
            with scope:
                # One frame less for each stream, and for each of its reads.
                if self._gateway.limiter is None:
                    await self._run(outlet, total)
                else:
                    await self._run_in_turn(self._gateway.limiter, outlet, total)
        finally:
            self._gateway.leave(scope)
            self._request = self._request.without_content()
        if scope.cancelled_caught:
            raise trio.ClosedResourceError("the LLM was left while this stream was open")

    async def _run_in_turn(
        self, limiter: trio.CapacityLimiter, outlet: Outlet, total: float
    ) -> None:
        await self._wait_for_place(limiter, total)
        try:
            await self._run(outlet, total)
        finally:
            limiter.release()

    async def _wait_for_place(self, limiter: trio.CapacityLimiter, total: float) -> None:
        """Wait for one of the places of ``max_streams``, as long as there is time for an answer."""
        first_output = self._options.first_output_timeout
        deadline = trio.current_time() + (math.inf if first_output is None else first_output)
        with trio.CancelScope(deadline=min(deadline, total)) as scope:
            await limiter.acquire()
        if scope.cancelled_caught:
            raise APITimeoutError(
                "no place among max_streams became free in time; nothing was sent",
                clock="total" if total <= deadline else "first_output",
                retryable=False,
            )

    async def _run(self, outlet: Outlet, total: float) -> None:
        while True:
            record = AttemptRecord(len(self._attempts) + 1, trio.current_time())
            self._attempts.append(record)
            self._head = _Head({}, ())
            outlet.watch.attempt_started(record.number)
            try:
                await self._attempt(outlet, record, total)
                return
            except APIError as exc:
                # Without this frame, which goes on.
                below = exc.__traceback__
                error = exc.with_traceback(None if below is None else below.tb_next)
                del below
            finally:
                if record.ended is None:
                    record.ended = trio.current_time()
            record.error = f"{type(error).__name__}: {error}"
            delay = delay_before_retry(
                error,
                retries=len(self._attempts) - 1,
                options=self._options,
                hint=self._head.facts.reset_hint,
                # The caller's deadline as it is now: it may have been moved.
                time_left=min(trio.current_effective_deadline(), total) - trio.current_time(),
                random=random.random,
            )
            if delay is None:
                self._deliver_rest(error, outlet)
            outlet.watch.attempt_failed(self._freeze(record), error, delay)
            if delay is None:
                raise error
            # What the server said may quote the conversation: it is in the attempts.
            logger.info(
                "attempt %d of a request to %s failed (%s); the next begins in %.2f s",
                record.number,
                self._request.model,
                type(error).__name__,
                delay,
            )
            forget_locals(error)
            del error
            await trio.sleep(delay)

    def _deliver_rest(self, error: APIError, outlet: Outlet) -> None:
        """Deliver what was held back of the text, and put what has arrived into the error."""
        chunks: list[ChatChunk] = []
        assert self._assembler is not None  # set by the attempt that failed
        self._assembler.flush(chunks)
        outlet.put(chunks, 0)
        if self._has_delivered(self._assembler):
            error.retryable = False
        error.partial = self._assembler.snapshot()
        error.attempts = self._frozen_attempts()

    async def _attempt(self, outlet: Outlet, record: AttemptRecord, total: float) -> None:
        request = self._request
        secrets = request.secrets
        assembler = self._assembler = Assembler(
            tags=request.facts.thinking_tags,
            starts_in_thinking=request.facts.starts_in_thinking,
            declared_tools=request.declared_tools,
            early_calls=request.early_tool_calls,
            clean=lambda name: redact_text(name, secrets),
        )
        clocks = Clocks(self._options, total, record)
        response: HTTPResponse | None = None
        error_body = io.BytesIO()
        reading: Reading | None = None
        try:
            while reading is None or not reading.is_over:
                # One turn for each scope that is spent: if the program blocks its own loop for
                # longer than a clock, the deadline passes although the bytes are there.
                with clocks.scope() as scope:
                    if reading is None:
                        http, secrets = await authorised(request.http, request.auth, secrets)
                        response = await self._send(http, clocks, record)
                        del http  # a stream may be open for long
                        self._note_head(response, record, secrets)
                        if not 200 <= response.status_code < 300:
                            clocks.limit(MAX_ERROR_BODY_SECONDS)
                            await read_error_body(response, error_body)
                            break
                        reading = self._reading(response, assembler, outlet, clocks)
                    await reading.read()
                if scope.cancelled_caught:
                    if reading is None:
                        break
                    await reading.catch_up()
            if response is None:
                raise clocks.timed_out()
            if reading is None:
                raise status_error(response.status_code, error_body.getvalue(), self._head.facts)
        except APIError as error:
            self._complete_error(error, assembler, secrets)
            raise
        finally:
            if response is not None:
                await response.aclose()

    def _note_head(
        self, response: HTTPResponse, record: AttemptRecord, secrets: Collection[str]
    ) -> None:
        record.headers = trio.current_time()
        if response.is_reused:
            record.connected = None
        record.status_code = response.status_code
        self._head = _Head(response.headers, secrets)

    def _reading(
        self, response: HTTPResponse, assembler: Assembler, outlet: Outlet, clocks: Clocks
    ) -> Reading:
        return Reading(
            response,
            assembler,
            outlet,
            clocks=clocks,
            body_ends=self._gateway.body_ends,
            has_output=lambda: self._is_output(assembler),
        )

    async def _send(
        self, request: HTTPRequest, clocks: Clocks, record: AttemptRecord
    ) -> HTTPResponse:
        def lost() -> None:
            record.resent += 1
            record.sent = record.connected = None
            clocks.observe("connect")

        return await send_once_more(self._gateway, request, clocks.observe, lost)

    def _is_output(self, assembler: Assembler) -> bool:
        return assembler.has_output or (
            assembler.has_reasoning and self._options.reasoning_is_output
        )

    def _has_delivered(self, assembler: Assembler) -> bool:
        """Whether the consumer has been handed what cannot be taken back."""
        return assembler.has_delivered or (
            assembler.has_reasoning and self._options.reasoning_is_output
        )

    def _complete_error(
        self, error: APIError, assembler: Assembler, secrets: Collection[str]
    ) -> None:
        """Put what is known into an error, and keep secrets out of it."""
        facts = self._head.facts
        if error.request_id is None:
            error.request_id = facts.request_id
        if isinstance(error, APIStatusError):
            if error.quota is None:
                error.quota = facts.quota
            if error.retry_after is None:
                error.retry_after = facts.retry_after
        if self._has_delivered(assembler):
            error.retryable = False
        redact_error(error, secrets)
