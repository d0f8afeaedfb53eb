"""The request task: attempts, clocks and retries of one request to a gateway.

This module knows when to wait, when to give up and when to try again, and what an error carries.
What the bytes mean, which error may be retried and how HTTP is spoken is known elsewhere.
"""

from __future__ import annotations

import functools
import logging
import math
import random
import time
import types
from collections.abc import Collection, Mapping
from typing import Final

import attrs
import trio

from ._assembler import Assembler
from ._chunks import ChatChunk, CompletionUsage
from ._clocks import AttemptRecord, Clocks, timeout_error
from ._credentials import Credentials, secret_words
from ._errors import APIConnectionError, APIError, APIStatusError
from ._gateway import Auth, Gateway, authorization
from ._models import ModelFacts
from ._options import APIConnectOptions
from ._reading import Reading
from ._response import Attempt, ResponseInfo
from ._retry import delay_before_retry
from ._stream import Outlet
from ._transport import HTTPReply, HTTPRequest, ReusedConnectionLost
from ._value import Value
from ._wire import (
    HeaderFacts,
    read_headers,
    redact,
    redact_error,
    redact_headers,
    redact_text,
    status_error,
)

__all__ = ["MAX_ERROR_BODY_BYTES", "ChatRequest", "RequestSource"]

logger = logging.getLogger("lktrio")

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
"""How much of an error response's body is read, in bytes."""


@attrs.frozen(eq=False, repr=False)
class ChatRequest(Value):
    """All that is fixed about a request when `chat` is called."""

    http: HTTPRequest
    """The request without its authorisation."""

    model: str
    """Name of the model that is asked."""

    auth: Auth | Credentials = attrs.field(repr=False)
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

    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """What must not appear in an error, should the server echo it."""


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
        self._gateway.transport()

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

    def _frozen_attempts(self) -> tuple[Attempt, ...]:
        return tuple(self._freeze(record) for record in self._attempts)

    def _freeze(self, record: AttemptRecord) -> Attempt:
        if record is self._attempts[-1]:
            record.request_id = self._head.facts.request_id
        return record.freeze(self._epoch)

    async def run(self, outlet: Outlet, deadline: float) -> None:
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
                await self._run_in_turn(outlet, total, deadline)
        finally:
            self._gateway.leave(scope)
        if scope.cancelled_caught:
            raise trio.ClosedResourceError("the LLM was left while this stream was open")

    async def _run_in_turn(self, outlet: Outlet, total: float, deadline: float) -> None:
        limiter = self._gateway.limiter
        if limiter is None:
            await self._run(outlet, total, deadline)
            return
        with trio.CancelScope(deadline=total) as scope:
            await limiter.acquire()
        if scope.cancelled_caught:
            raise timeout_error("total")
        try:
            await self._run(outlet, total, deadline)
        finally:
            limiter.release()

    async def _run(self, outlet: Outlet, total: float, deadline: float) -> None:
        while True:
            record = AttemptRecord(len(self._attempts) + 1, trio.current_time())
            self._attempts.append(record)
            self._head = _Head({}, ())
            outlet.watch.attempt_started(record.number)
            try:
                await self._attempt(outlet, record, total)
                return
            except APIError as exc:
                error = exc
            finally:
                if record.ended is None:
                    record.ended = trio.current_time()
            record.error = f"{type(error).__name__}: {error}"
            delay = delay_before_retry(
                error,
                retries=len(self._attempts) - 1,
                options=self._options,
                hint=self._head.facts.reset_hint,
                time_left=min(deadline, total) - trio.current_time(),
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
            await trio.sleep(delay)

    def _deliver_rest(self, error: APIError, outlet: Outlet) -> None:
        """Deliver what was held back of the text, and put what has arrived into the error."""
        chunks: list[ChatChunk] = []
        assert self._assembler is not None  # set by the attempt that failed
        self._assembler.flush(chunks)
        outlet.put(chunks, 0)
        error.partial = self._assembler.snapshot()
        error.attempts = self._frozen_attempts()

    async def _attempt(self, outlet: Outlet, record: AttemptRecord, total: float) -> None:
        request = self._request
        secrets = list(request.secrets)
        assembler = self._assembler = Assembler(
            tags=request.facts.thinking_tags,
            starts_in_thinking=request.facts.starts_in_thinking,
            declared_tools=request.declared_tools,
            early_calls=request.early_tool_calls,
            clean=lambda name: redact_text(name, secrets),
        )
        clocks = Clocks(self._options, total, record)
        reply: HTTPReply | None = None
        reading: Reading | None = None
        try:
            with clocks.scope() as scope:
                token = await authorization(request.auth)
                headers = dict(request.http.headers)
                if token is not None:
                    headers["Authorization"] = token
                    secrets += secret_words(token)
                http = request.http
                http = HTTPRequest(http.method, http.url, headers, http.content, http.query)
                reply = await self._send(http, clocks, record)
                record.headers = trio.current_time()
                if reply.reused:
                    record.connected = None
                record.status_code = reply.status_code
                self._head = _Head(reply.headers, secrets)
                if not 200 <= reply.status_code < 300:
                    clocks.stop()
                    raise await self._status_error(reply, total)
                reading = Reading(
                    reply,
                    assembler,
                    outlet,
                    clocks=clocks,
                    body_ends=self._gateway.body_ends,
                    has_output=lambda: self._is_output(assembler),
                )
                await reading.begin()
            if reading is None:
                raise clocks.timed_out()
            await reading.finish(scope)
        except APIError as error:
            self._complete_error(error, assembler, secrets)
            raise
        finally:
            if reply is not None:
                await reply.aclose()

    async def _send(self, request: HTTPRequest, clocks: Clocks, record: AttemptRecord) -> HTTPReply:
        transport = self._gateway.transport()
        while True:
            try:
                return await transport.send(request, clocks.observe)
            except ReusedConnectionLost:
                # Almost certainly not processed. Each such failure takes one dead connection
                # out of the pool, so this ends by itself.
                record.resent += 1
                record.sent = record.connected = None
                clocks.observe("connect")

    async def _status_error(self, reply: HTTPReply, total: float) -> APIStatusError:
        """Read the beginning of an error's body; what it says may come late or never."""
        body = bytearray()
        deadline = min(trio.current_time() + self._options.timeout, total)
        with trio.CancelScope(deadline=deadline):
            try:
                while len(body) < MAX_ERROR_BODY_BYTES:
                    piece = await reply.read()
                    if piece is None:
                        break
                    body += piece
            except APIConnectionError:
                pass  # the status says enough
        return status_error(reply.status_code, bytes(body[:MAX_ERROR_BODY_BYTES]), self._head.facts)

    def _is_output(self, assembler: Assembler) -> bool:
        return assembler.has_output or (
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
        if self._is_output(assembler):
            error.retryable = False
        redact_error(error, secrets)
