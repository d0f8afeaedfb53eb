"""One attempt of a request: it is sent, its answer is read by the clocks, and the rest is closed.

This module knows what is to be done each time bytes have come, when the reading of a body is over
and what its end means. It does not know what comes after a failure, and how HTTP is spoken.
"""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal

import attrs
import trio

from lktrio._answers import (
    APIConnectionError,
    APIError,
    ChatChunk,
    complete_error,
    redact_error,
    redact_headers,
    redact_text,
)
from lktrio._definitions import Value
from lktrio._http import HTTPRequest, HTTPResponse, Phase, ReusedConnectionLost, send
from lktrio._settings import APIConnectOptions, ModelFacts, SecretWords, secret_words
from lktrio._wire import (
    AnswerReader,
    Assembler,
    HeaderFacts,
    ReasoningKeeper,
    read_headers,
    status_error,
)

from .clocks import AttemptRecord, Clocks
from .connections import Authority, Connections, authorization
from .source import ChunkSink, size_beside
from .task_stream import forget_frames

__all__ = [
    "DRAIN_SECONDS",
    "MAX_ERROR_BODY_BYTES",
    "ChatRequest",
    "RequestAttempt",
    "ResponseHead",
    "authorised",
    "read_error_body",
    "send_once_more",
]

DRAIN_SECONDS: Final = 0.1
"""How long the body may take to end after ``[DONE]`` for its connection to be used again."""

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
"""How much of an error response's body is read, in bytes."""

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
    connections: Connections,
    request: HTTPRequest,
    observe: Callable[[Phase], None],
    lost: Callable[[], object],
) -> HTTPResponse:
    """Send a request, again at once if a kept connection turns out to be gone.

    The request was almost certainly not seen by anybody. Each such failure takes one dead
    connection out of the pool, so this ends by itself.

    Args:
        connections: Where to.
        request: The request.
        observe: Told when another phase begins.
        lost: Called before it is sent again.
    """
    sender = connections.sender()
    while True:
        try:
            return await send(sender, request, observe)
        except ReusedConnectionLost:
            lost()


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

    keeper: ReasoningKeeper | None = None
    """Says what of the reasoning is kept with the answer."""
    tokens: int = 0
    """How many tokens it is estimated to take, if somebody counts them."""

    log_body: bool = False
    """Whether the request's body is logged, which holds the conversation."""

    secrets: SecretWords = attrs.field(default=SecretWords(), repr=False)
    """What must not appear in an error, should the server echo it."""

    def without_content(self) -> ChatRequest:
        """What is worth keeping when the request is over: megabytes of pictures are not."""
        http = attrs.evolve(self.http, headers={}, content=b"", query={})
        return attrs.evolve(self, http=http, auth=None, secrets=SecretWords())


class ResponseHead:
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


class _Redactor:
    """What must not be seen of an attempt: more is known when its authorisation is."""

    __slots__ = ("secrets",)

    def __init__(self, secrets: SecretWords) -> None:
        self.secrets = secrets

    def clean(self, text: str) -> str:
        """A text without it."""
        return redact_text(text, self.secrets)


class RequestAttempt:
    """One attempt of a request. `run` makes it; the rest is for who wants to know how far it is.

    Args:
        request: What is to be sent.
        connections: What it is sent over.
        sink: Where the chunks go.
        number: 1 for the first attempt.
        total: When the total clock runs out, by `trio.current_time`.
        learn: Told of the status and the head of a response, if somebody wants to know.
    """

    def __init__(
        self,
        request: ChatRequest,
        connections: Connections,
        sink: ChunkSink,
        *,
        number: int,
        total: float,
        learn: Callable[[int, HeaderFacts], None] | None = None,
    ) -> None:
        self._redactor = _Redactor(request.secrets)
        self.record = AttemptRecord(number, trio.current_time())
        self.head = ResponseHead({}, ())
        """What the response's head says; of none, before it is there."""
        self.assembler = Assembler(
            tags=request.facts.thinking_tags,
            starts_in_thinking=request.facts.starts_in_thinking,
            declared_tools=request.declared_tools,
            early_calls=request.early_tool_calls,
            keeper=request.keeper,
            clean=self._redactor.clean,
        )
        """Puts the answer together."""
        # Not the request itself, with its body: this is held as long as the stream.
        self._reasoning_counts = request.options.reasoning_is_output
        self._connections = connections
        self._sink = sink
        self._learn = learn
        self._clocks = Clocks(request.options, total, self.record)
        self._reader = AnswerReader(self.assembler)
        self._state: Literal["reading", "draining", "over"] = "reading"
        self._body_has_ended = False

    async def run(self, request: ChatRequest) -> None:
        """Send the request, read until the answer is whole, and close what is left.

        What there is to do is said in a few lines, were it not for the clocks: enter a scope with
        a deadline, send, read until the answer is whole, leave, close the response. But a deadline
        that passes while bytes are there must not take them: a program that blocks its own loop
        for longer than a clock finds both, the bytes in the socket and the scope spent. So the
        scope is only what a wait ends with. Whoever finds it spent reads on in a fresh one, as long
        as there is something to be read, and only then asks which clock has run out.

        Args:
            request: What to send: the one that this was made for.

        Raises:
            APIError: The answer is not whole. It says nothing yet of other attempts.
        """
        clocks, redactor = self._clocks, self._redactor
        response: HTTPResponse | None = None
        error_body = io.BytesIO()
        try:
            while self._state != "over":
                with clocks.scope() as scope:
                    if response is None:
                        http, redactor.secrets = await authorised(
                            request.http, request.auth, request.secrets
                        )
                        response = await self._send(http)
                        del http  # a stream may be open for long
                        self._note_head(response)
                        if not response.is_success:
                            clocks.limit(MAX_ERROR_BODY_SECONDS)
                            await read_error_body(response, error_body)
                            break
                    await self._read(response)
                if scope.cancelled_caught:
                    if response is None or not response.is_success:
                        break
                    await self._catch_up()
            if response is None:
                raise clocks.timed_out()
            if not response.is_success:
                raise status_error(response.status_code, error_body.getvalue(), self.head.facts)
        except APIError as error:
            facts = self.head.facts
            complete_error(
                error,
                request_id=facts.request_id,
                retry_after=facts.retry_after,
                quota=facts.quota,
                was_delivered=self.has_delivered,
            )
            redact_error(error, redactor.secrets)
            raise
        finally:
            # Whoever measures the request knows this, and the sink knows them: no circle is left.
            del self._sink
            if response is not None:
                await response.aclose()

    @property
    def has_output(self) -> bool:
        """Whether what has arrived counts as output."""
        return self.assembler.has_output or self._has_reasoning_output()

    @property
    def has_delivered(self) -> bool:
        """Whether the consumer has been handed what cannot be taken back."""
        return self.assembler.has_delivered or self._has_reasoning_output()

    def _has_reasoning_output(self) -> bool:
        return self.assembler.has_reasoning and self._reasoning_counts

    # --- sending --------------------------------------------------------------------------

    async def _send(self, request: HTTPRequest) -> HTTPResponse:
        return await send_once_more(self._connections, request, self._clocks.observe, self._lost)

    def _lost(self) -> None:
        self.record.resent += 1
        self.record.sent = self.record.connected = None
        self._clocks.observe("connect")

    def _note_head(self, response: HTTPResponse) -> None:
        self.record.headers = trio.current_time()
        if response.is_reused:
            self.record.connected = None
        self.record.status_code = response.status_code
        self.head = ResponseHead(response.headers, self._redactor.secrets)
        if self._learn is not None:
            self._learn(response.status_code, self.head.facts)

    # --- reading --------------------------------------------------------------------------

    async def _read(self, response: HTTPResponse) -> None:
        """Read until the answer is complete, and for a moment longer until the body ends; or until
        the deadline of the scope has passed in which this runs."""
        clocks, sink, reader = self._clocks, self._sink, self._reader
        while self._state != "over":
            if reader.is_behind:
                await self._go_on()
            elif self._body_has_ended:
                self._state = "over"
            else:
                await self._read_on(response)
            if reader.is_done:
                self._drain_or_stop(response)
                continue
            now = trio.current_time()
            if clocks.is_spent:
                # What had come before is read first: see `_catch_up`.
                if not reader.is_behind:
                    clocks.check_lasting(now)
                return
            if sink.is_full:
                clocks.pause(now)
                await sink.room()
                clocks.resume(trio.current_time())

    async def _catch_up(self) -> None:
        """Read what had come before a clock ran out, and look what that has come to."""
        while self._reader.is_behind:
            await self._go_on()
        if self._reader.is_done:
            if self._state == "draining":
                self._connections.body_ends.was_held()
        elif self._reader.is_complete:
            self._end(self._reader.settle)
        else:
            raise self._clocks.timed_out()
        self._state = "over"

    async def _go_on(self) -> None:
        """Go on with what has come: nothing that a server sends keeps other tasks waiting."""
        await trio.lowlevel.checkpoint()
        self._take(b"")

    async def _read_on(self, response: HTTPResponse) -> None:
        reader = self._reader
        try:
            data = await response.read()
        except APIConnectionError:
            self._body_has_ended = True
            if not reader.is_complete:
                raise
            self._end(reader.settle)
            return
        if data is None:
            self._body_has_ended = True
            if self._state == "draining":
                self._connections.body_ends.ended()
            self._end(reader.finish)
        elif not reader.is_done:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Read bytes of the body."""
        reader, clocks = self._reader, self._clocks
        now = trio.current_time()
        chunks: list[ChatChunk] = []
        try:
            reader.feed(data, chunks)
        except APIError as exc:
            forget_frames(exc)
            raise
        finally:
            if chunks:
                size = len(data) + reader.take_carried() if data else _size(chunks)
                self._sink.put(chunks, size)
            self._note_output(now)
        if reader.is_done:
            self._complete(now)
        elif self.assembler.finish_reason is None:
            clocks.heard(now)
        elif chunks or not clocks.is_settling:
            clocks.settle(now)

    def _note_output(self, now: float) -> None:
        if self.record.first_output is None and self.has_output:
            self._clocks.got_output(now)
            self._sink.metrics.got_output(now)

    def _complete(self, now: float) -> None:
        self._clocks.complete(now)
        self._sink.complete(self.assembler.snapshot())

    def _drain_or_stop(self, response: HTTPResponse) -> None:
        """The answer is complete. If the body ends too, the connection can be used again."""
        if self._state == "draining" and not self._body_has_ended:
            return
        if self._body_has_ended:
            self._state = "over"
        elif response.at_end:
            self._connections.body_ends.ended()
            self._state = "over"
        elif not self._clocks.is_spent and self._connections.body_ends.is_worth_waiting_for():
            self._state = "draining"
            self._clocks.wait_until(trio.current_time() + DRAIN_SECONDS)
        else:
            self._state = "over"

    def _end(self, how: Callable[[list[ChatChunk]], None]) -> None:
        """The body gives no more: complete the answer, or raise what is wrong with it."""
        if self._reader.is_done:
            return
        chunks: list[ChatChunk] = []
        try:
            how(chunks)
        finally:
            self._sink.put(chunks, 0)
        now = trio.current_time()
        # A completion in one piece comes to light here.
        self._note_output(now)
        if self._reader.is_done:
            self._complete(now)


def _size(chunks: Sequence[ChatChunk]) -> int:
    """About how large chunks are that are not made of bytes just read."""
    size, last = 0, None
    for chunk in chunks:
        # Pieces of one payload carry it together.
        if chunk.raw_json is not None and chunk.raw_json is not last:
            last = chunk.raw_json
            size += len(last)
        delta = chunk.delta
        if delta is not None:
            size += len(delta.content or "") + len(delta.reasoning or "") + size_beside(delta)
    return size
