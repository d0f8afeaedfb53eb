"""What a scripted server does, as values: steps, replies, connections, and the bytes of HTTP/1.1.

This module alone knows which steps a server can take and how HTTP frames a body. It does no I/O and
knows neither Trio nor httpx; `_server` plays what is written here, `_replies` writes it in the
words of a chat completion.
"""

import http
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs

from lktrio._checks import check_seconds, check_sync_callable, is_number, kind_of, shown
from lktrio._definitions import know_later_names, public

# --- Steps ------------------------------------------------------------------------------------


def named(value: object) -> str:
    """Name what stands where it does not belong, and say what to write, if that can be guessed.

    Args:
        value: What was given.
    """
    if isinstance(value, type):
        return f"the class {value.__name__}; write {value.__name__}()"
    if is_number(value):
        return f"{value!r}; write Wait({value!r}) for a pause"
    return f"{value}, a reply by itself" if isinstance(value, Reply) else shown(value)


@public
class Waitable(Protocol):
    """Whatever has an ``async def wait()``: a `trio.Event`, for example."""

    async def wait(self) -> object:
        """Return when the awaited thing has happened."""
        ...


@public
@attrs.frozen
class Send:
    """Write bytes; waits while the window is full, as a real ``send`` does."""

    data: bytes = attrs.field(
        repr=lambda data: repr(data if len(data) <= 60 else data[:57] + b"...")
    )
    """The bytes, exactly as they go to the socket."""


@public
@attrs.frozen
class Wait:
    """Do nothing for a while. Meant for virtual time: over loopback TCP the time is real."""

    seconds: float
    """How long, in seconds; `math.inf` is for ever."""

    def __attrs_post_init__(self) -> None:
        check_seconds("seconds", self.seconds, zero=True)


@public
@attrs.frozen
class WaitFor:
    """Do nothing until an event happens, so that a test can order what server and client do."""

    event: Waitable
    """Anything with ``async def wait()``, a `trio.Event` for example."""

    def __attrs_post_init__(self) -> None:
        event: object = self.event
        if isinstance(event, type) or not callable(getattr(event, "wait", None)):
            given = f"the class {event.__name__}" if isinstance(event, type) else kind_of(event)
            raise TypeError(f"event must have a wait(), as a trio.Event() has, and is {given}")


@public
@attrs.frozen
class AwaitRequest:
    """Wait until the first byte of the next request has arrived, without reading on.

    ``reply("Hi").then(AwaitRequest(), Close())`` is the server that drops a kept-alive connection
    just as the next request arrives. Over TCP, bytes that arrive after the close turn it into a
    reset; ``[reply("Hi"), Reply([Close()])]`` reads the request first and closes in order.
    """


@public
@attrs.frozen
class Hold:
    """Keep the connection open and silent until the client goes.

    Steps after it are never played.
    """


@public
@attrs.frozen
class Close:
    """Close the connection in order (FIN): the client reads what was sent, then the end."""


@public
@attrs.frozen
class Reset:
    """Break the connection (RST): the client's reads and writes fail."""


@public
@attrs.frozen
class Call:
    """Call a function on reaching this step: cancel a scope, set an event, note the time."""

    function: Callable[[], object]
    """A plain function without arguments; what it raises fails the test."""

    def __attrs_post_init__(self) -> None:
        check_sync_callable("function", self.function)


def _as_steps(steps: "Iterable[Step]") -> "tuple[Step, ...]":
    checked = tuple(steps)
    for step in checked:
        if not isinstance(step, Step):
            raise TypeError(f"a step is Send(), Wait(), Reset() or the like, not {named(step)}")
    return checked


@public
@attrs.frozen
class Repeat:
    """Play some steps again and again."""

    steps: tuple["Step", ...] = attrs.field(converter=_as_steps)
    """What is repeated; it may not hold `Close` or `Reset`."""

    times: int | None = None
    """How often; None is until the client goes."""

    def __attrs_post_init__(self) -> None:
        if not self.steps:
            raise ValueError("steps must not be empty: there is nothing to repeat")
        if any(isinstance(step, (Close, Reset)) for step in self.steps):
            raise ValueError("steps may not hold Close or Reset: put it after the Repeat")


Step: TypeAlias = Send | Wait | WaitFor | AwaitRequest | Hold | Close | Reset | Call | Repeat
"""One thing a server does."""

know_later_names(Repeat, Step=Step)


def check_piece(piece: object, whole: str) -> None:
    """Refuse what is neither bytes nor a step.

    Args:
        piece: What was given.
        whole: What it was to be a part of, as a sentence that says what that is made of.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(piece, bytes | Step):
        raise TypeError(f"{whole}, not of {named(piece)}")


def _ends_the_connection(steps: Sequence[Step]) -> bool:
    return bool(steps) and isinstance(steps[-1], (Close, Reset, Hold))


def _check_reachable(steps: Sequence[Step]) -> None:
    for step in steps[:-1]:
        if isinstance(step, (Close, Reset)):
            raise ValueError(
                f"steps go on after {step!r}, where the connection is gone: make it the last step"
            )


# --- Replies, connections, requests ------------------------------------------------------------

Reads: TypeAlias = Literal["request", "head", "nothing"]


@public
@attrs.frozen
class Reply:
    """What the server does with one request.

    When the steps are over and the connection is still open, the server waits for the next request
    on it.
    """

    steps: tuple[Step, ...] = attrs.field(converter=_as_steps)
    """The steps in their order."""

    reads: Reads = "request"
    """What the server reads before the first step: the whole request, only its head, or nothing.

    A server that does not read all must end with `Hold`, `Close` or `Reset`. A `ScriptedGateway`
    reads every request whole, because it looks at the token first."""

    label: str = attrs.field(default="", eq=False, kw_only=True)
    """What it is called in reports."""

    def __str__(self) -> str:
        return self.label or repr(self)

    def __attrs_post_init__(self) -> None:
        _check_reachable(self.steps)
        if self.reads not in ("request", "head", "nothing"):
            raise ValueError(f"reads must be 'request', 'head' or 'nothing', not {self.reads!r}")
        if self.reads != "request" and not _ends_the_connection(self.steps):
            raise ValueError(
                f"with reads={self.reads!r} the connection cannot serve a second request: "
                "end the steps with Hold(), Close() or Reset()"
            )

    def then(self, *steps: Step) -> "Reply":
        """Return this reply with more steps at its end."""
        return attrs.evolve(self, steps=(*self.steps, *steps))

    def after(self, seconds: float) -> "Reply":
        """Return this reply with a pause of some seconds between request and first step."""
        return attrs.evolve(self, steps=(Wait(seconds), *self.steps))


def _as_replies(replies: Iterable[Reply]) -> tuple[Reply, ...]:
    return tuple(replies)


@attrs.frozen
class Connection:
    """What the server does on one connection, where a script speaks of connections."""

    replies: tuple[Reply, ...] = attrs.field(default=(), converter=_as_replies)
    """One for each request on this connection; a request too many fails the test."""

    on_accept: tuple[Step, ...] = attrs.field(default=(), converter=_as_steps, kw_only=True)
    """Steps played as soon as the connection stands, before any request is looked at."""

    connect_delay: float | None = attrs.field(default=None, kw_only=True)
    """Seconds until connected (memory only); None: what the network says."""

    connect_error: str | None = attrs.field(default=None, kw_only=True)
    """Connecting fails with this message (memory only); None: what the network says."""

    tls_delay: float | None = attrs.field(default=None, kw_only=True)
    """Seconds of the TLS handshake (memory only); None: what the network says."""

    tls_error: str | None = attrs.field(default=None, kw_only=True)
    """The TLS handshake fails with this message (memory only); None: what the network says."""

    def __attrs_post_init__(self) -> None:
        _check_reachable(self.on_accept)


@attrs.frozen
class Request:
    """A request as the server received it."""

    method: str
    """"POST", for example."""

    target: str
    """Path and query, as sent."""

    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    """Names (in lower case) and values, in the order sent."""

    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    """The body, without its transfer coding; empty where only the head was read."""

    received_at: float
    """`trio.current_time` when its last byte was read."""

    connection: int
    """The number of the connection it came on, counted from 0."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever the case of its name, or None."""
        name = name.lower()
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:
        """Return the body, decoded from JSON."""
        return json.loads(self.body)


Script: TypeAlias = Reply | Sequence[Reply] | Sequence[Connection] | Callable[[Request], Reply]
"""A whole server: one reply for every request, one after the other for the requests in the
order they begin to arrive (whatever their connection), one after the other for the connections, or
a function from request to reply. A list is strict: more than it holds fails the test."""


# --- HTTP/1.1 ---------------------------------------------------------------------------------

LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body."""

Piece: TypeAlias = bytes | Step
"""Bytes become one HTTP chunk; a step (a `Wait`, say) is played at its place."""


def head(
    status: int = 200,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    reason: str | None = None,
) -> bytes:
    """Return status line and header block, blank line included.

    Args:
        status: Status code.
        headers: Names and values, sent as they are; no framing header is added.
        reason: Reason phrase; None: the registered one, or none.
    """
    if reason is None:
        try:
            reason = http.HTTPStatus(status).phrase
        except ValueError:
            reason = ""
    fields = headers if isinstance(headers, Sequence) else headers.items()
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def http_chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body (RFC 9112, 7.1).

    Raises:
        ValueError: If data is empty, which would end the body.
    """
    if not data:
        raise ValueError("data is empty, which would end the body: send LAST_CHUNK to do that")
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(
    pieces: Iterable[Piece],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    end: bool = True,
    every: float = 0.0,
) -> Reply:
    """Return a response with a chunked body, one HTTP chunk and one write for each piece.

    Args:
        pieces: Bytes (one chunk each) and steps.
        status: Status code.
        headers: Headers beside `Transfer-Encoding`.
        end: Whether the chunk that ends the body is sent; without it the body stays open.
        every: Seconds to wait before each piece of bytes but the first.
    """
    fields = {**(headers or {}), "Transfer-Encoding": "chunked"}
    steps: list[Step] = [Send(head(status, fields))]
    sent_one = False
    for piece in pieces:
        if not isinstance(piece, bytes):
            steps.append(piece)
            continue
        if every and sent_one:
            steps.append(Wait(every))
        steps.append(Send(http_chunk(piece)))
        sent_one = True
    if end:
        steps.append(Send(LAST_CHUNK))
    return Reply(steps)


def response(
    status: int = 200,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    close: bool = False,
) -> Reply:
    """Return a response of one piece.

    Args:
        status: Status code.
        body: The body; its length is announced, unless `headers` says `Content-Length` (a lie is
            allowed) or the status has no body.
        headers: Further headers.
        close: Announce `Connection: close`, and close.
    """
    fields = dict(headers or {})
    bodiless = status in (204, 304) or status < 200
    if not bodiless and "content-length" not in {name.lower() for name in fields}:
        fields["Content-Length"] = str(len(body))
    if close:
        fields["Connection"] = "close"
    reply = Reply([Send(head(status, fields) + body)])
    return reply.then(Close()) if close else reply


def until_close(
    pieces: Iterable[Piece], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return a response whose body ends where the connection ends (RFC 9112, 6.3, rule 8)."""
    steps: list[Step] = [Send(head(status, {**(headers or {}), "Connection": "close"}))]
    steps += [Send(piece) if isinstance(piece, bytes) else piece for piece in pieces]
    return Reply([*steps, Close()])
