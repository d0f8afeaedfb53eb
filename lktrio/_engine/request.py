"""The request task: attempts, clocks and retries of one request to a gateway.

This module knows when to wait, when to give up and when to try again, and what an error carries.
What the bytes mean, which error may be retried and how HTTP is spoken is known elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import random
import types
from typing import Final, Literal

import trio

from lktrio._answers import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    Attempt,
    ChatChunk,
    CollectedResponse,
    CompletionUsage,
    ResponseInfo,
    complete_error,
    redact,
    redact_error,
)
from lktrio._http import HTTPRequest, HTTPResponse, Phase
from lktrio._settings import SecretWords, delay_before_retry
from lktrio._wire import status_error

from .admission import Admission
from .attempt import (
    ChatRequest,
    RequestAttempt,
    ResponseHead,
    authorised,
    read_error_body,
    send_once_more,
)
from .clocks import AttemptRecord
from .connections import Authority, Connections
from .source import ChunkSink, ReportingSource
from .task_stream import forget_locals

__all__ = ["RequestSource", "prewarm"]

logger = logging.getLogger("lktrio")

# A list of models is read to its end, so that the connection can be used again.
_MAX_PREWARM_PIECES: Final = 64


async def prewarm(
    connections: Connections, request: HTTPRequest, auth: Authority, secrets: SecretWords
) -> None:
    """Send a request and read what comes, so that its connection can be used by the next.

    Raises:
        APIConnectionError: There is no connection.
        APIStatusError: The credentials were refused. Any other status is fine.
    """
    response: HTTPResponse | None = None
    try:
        request, secrets = await authorised(request, auth, secrets)
        response = await send_once_more(connections, request, _ignore, lambda: None)
        body = io.BytesIO()
        await read_error_body(response, body)
        with contextlib.suppress(APIConnectionError):
            for _ in range(_MAX_PREWARM_PIECES):
                if await response.read() is None:
                    break
        if response.status_code in {401, 403}:
            facts = ResponseHead(response.headers, secrets).facts
            raise status_error(response.status_code, body.getvalue(), facts)
    except APIError as error:
        redact_error(error, secrets)
        raise
    finally:
        if response is not None:
            await response.aclose()


def _ignore(_phase: Phase) -> None:
    pass


class RequestSource(ReportingSource):
    """Makes a stream's chunks by requests to a gateway.

    Args:
        request: What to send.
        connections: What it is sent over.
    """

    def __init__(self, request: ChatRequest, connections: Connections) -> None:
        self._request = request
        self._options = request.options
        self._connections = connections
        self._epoch = 0.0
        self._records: list[AttemptRecord] = []
        self._attempt: RequestAttempt | None = None

    def check_open(self) -> None:
        """Raise `RuntimeError` if a request cannot be made here and now."""
        self._connections.sender()

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts so far."""
        return None if self._attempt is None else self._attempt.assembler.usage

    @property
    def response(self) -> ResponseInfo:
        """The request so far."""
        attempt = self._attempt
        if attempt is None:
            return ResponseInfo()
        answer, facts = attempt.assembler, attempt.head.facts
        return ResponseInfo(
            status_code=attempt.record.status_code,
            request_id=facts.request_id,
            response_id=answer.id or None,
            model=(answer.model or self._request.model) if answer.has_begun else None,
            quota=facts.quota,
            system_fingerprint=answer.system_fingerprint,
            headers=types.MappingProxyType(attempt.head.headers),
            attempts=self._frozen_attempts(),
        )

    def conclude(self) -> CollectedResponse[None] | None:
        """The answer if it is whole, although the request was ended before its body was."""
        attempt = self._attempt
        if attempt is None or attempt.record.error is not None:
            return None
        if attempt.assembler.finish_reason is None:
            return None
        try:
            return attempt.assembler.finish([])
        except APIConnectionError:
            return None

    def _frozen_attempts(self) -> tuple[Attempt, ...]:
        if self._attempt is not None:
            self._attempt.record.request_id = self._attempt.head.facts.request_id
        return tuple(record.freeze(self._epoch) for record in self._records)

    async def run(self, sink: ChunkSink) -> None:
        """Put the answer's chunks; retry what may be retried.

        Raises:
            APIError: The last attempt's error.
        """
        self._epoch = trio.current_time()
        total = self._epoch + (
            math.inf if self._options.total_timeout is None else self._options.total_timeout
        )
        if self._request.log_body:
            http = self._request.http
            body = redact(http.content.decode("utf-8", "replace"), self._request.secrets)
            logger.debug("%s %s %s", http.method, http.url, body)
        scope = self._connections.enter()
        try:
            with scope:
                # One frame less for each stream, and for each of its reads.
                if self._connections.has_limits:
                    await self._run_in_turn(sink, total)
                else:
                    await self._run(sink, total)
        finally:
            self._connections.leave(scope)
            self._request = self._request.without_content()
        if scope.cancelled_caught:
            raise trio.ClosedResourceError("the LLM was left while this stream was open")

    async def _run_in_turn(self, sink: ChunkSink, total: float) -> None:
        admission = Admission(self._connections, self._request.tokens)
        try:
            clock = await self._wait_to_begin(admission, total)
            if clock is not None:
                raise APITimeoutError(
                    f"{admission.obstacle}; nothing was sent", clock=clock, retryable=False
                )
            await self._run(sink, total, admission)
        finally:
            admission.leave()

    async def _wait_to_begin(
        self, admission: Admission, total: float
    ) -> Literal["first_output", "total"] | None:
        """Wait until an attempt may begin, as long as there is time for an answer; the clock that
        has run out, or None."""
        deadline = self._first_output_ends(trio.current_time())
        with trio.CancelScope(deadline=min(deadline, total)) as scope:
            await admission.wait()
        if not scope.cancelled_caught:
            return None
        return "total" if total <= deadline else "first_output"

    def _first_output_ends(self, begin: float) -> float:
        seconds = self._options.first_output_timeout
        return begin + (math.inf if seconds is None else seconds)

    async def _run(self, sink: ChunkSink, total: float, admission: Admission | None = None) -> None:
        request, options = self._request, self._options
        turns = None if admission is None or admission.rate is None else admission
        learn = None if turns is None else turns.learn
        while True:
            number = len(self._records) + 1
            attempt = self._attempt = RequestAttempt(
                request, self._connections, sink, number=number, total=total, learn=learn
            )
            self._records.append(attempt.record)
            sink.metrics.attempt_started(number)
            try:
                await attempt.run(request)
                return
            except APIError as exc:
                # Without this frame, which goes on.
                below = exc.__traceback__
                error = exc.with_traceback(None if below is None else below.tb_next)
                del below
            finally:
                if attempt.record.ended is None:
                    attempt.record.ended = trio.current_time()
            attempt.record.error = f"{type(error).__name__}: {error}"
            now = trio.current_time()
            # The caller's deadline as it is now: it may have been moved.
            deadline = min(trio.current_effective_deadline(), total)
            delay = delay_before_retry(
                error,
                retries=number - 1,
                options=options,
                hint=attempt.head.facts.reset_hint,
                time_left=deadline - now,
                random=random.random,
            )
            if delay is not None and turns is not None:
                begin = now + delay
                if turns.is_hopeless(begin, min(deadline, self._first_output_ends(begin))):
                    delay = None
            if delay is None:
                self._deliver_rest(error, attempt, sink)
            else:
                complete_error(error, partial=attempt.assembler.snapshot())
            sink.metrics.attempt_failed(self._frozen_attempts()[-1], error, delay)
            if delay is None:
                raise error
            # What the server said may quote the conversation: it is in the attempts.
            logger.info(
                "attempt %d of a request to %s failed (%s); the next begins in %.2f s",
                number,
                request.model,
                type(error).__name__,
                delay,
            )
            forget_locals(error)
            try:
                await trio.sleep(delay)
                if turns and await self._wait_to_begin(turns, total) is not None:
                    # It took longer than it looked.
                    self._deliver_rest(error, attempt, sink)
                    raise error
            finally:
                # The error knows this frame: also when the wait is cancelled, it must not know it.
                del error

    def _deliver_rest(self, error: APIError, attempt: RequestAttempt, sink: ChunkSink) -> None:
        """Deliver what was held back of the text, and put what has arrived into the error."""
        chunks: list[ChatChunk] = []
        attempt.assembler.flush(chunks)
        sink.put(chunks, 0)
        complete_error(
            error,
            partial=attempt.assembler.snapshot(),
            attempts=self._frozen_attempts(),
            was_delivered=attempt.has_delivered,
        )
