"""What the gateway does around a reply: path, token, choice of the reply, and what it remembers.

This module alone knows what is looked at before a script is asked, and what is kept of a request.
How a reply is played and over what kind of network is no affair of it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

import attrs
import trio

from lktrio._checks import NotGivenOr, is_async_callable, is_given, not_awaitable
from lktrio._definitions import public

from ._events import ToolCall
from ._replies import NoConnection, as_reply, error
from ._server import Answers, ReplyRecord, ScriptError
from ._steps import Connection, Reply, Request, Reset, response
from ._tokens import fault_of_token

__all__ = [
    "Desk",
    "Entry",
    "GatewayScript",
    "RecordedRequest",
    "ReplyLike",
    "ScriptItem",
    "described",
    "snapshot",
]


@public
@attrs.frozen
class RecordedRequest:
    """One request for a chat completion, as the gateway saw it. Times are `trio.current_time`."""

    number: int
    """Counted from 0, in the order of arrival, retries included."""

    model: str
    """The model that was asked for."""

    messages: list[dict[str, Any]] = attrs.field(repr=lambda it: f"<{len(it)} messages>")
    """The conversation, as sent."""

    tools: list[dict[str, Any]] = attrs.field(repr=lambda it: f"<{len(it)} tools>")
    """The tools offered, as sent."""

    options: dict[str, Any]
    """The other members of the body (``temperature``, ``tool_choice`` ...), but for ``stream``
    and ``stream_options``."""

    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers, names in lower case."""

    body: bytes = attrs.field(repr=False)
    """The body as it came."""

    arrived_at: float
    """When its last byte was read."""

    connection: int
    """The number of the connection it came on, counted from 0: equal numbers are one connection
    used again."""

    refused: str | None = None
    """Why it was not answered from the script: the token was wrong, or the script was at its end.
    None if it was."""

    bytes_sent: int = 0
    """Bytes of the reply that have been written, headers included."""

    finished_at: float | None = None
    """When the last step of the reply had been played; None if it was not, or not yet. A reply that
    ends in `Hold` never is."""

    closed_at: float | None = None
    """When the client closed the connection of this request; None if it has not, if the server was
    first, or if the connection has been used for another request since."""

    target: str = attrs.field(default="", repr=False)
    """The path and the query of its URL, as sent: ``"/v1/chat/completions?tenant=acme"``."""

    @property
    def interrupted(self) -> bool:
        """Whether the client closed the connection before the reply was over.

        A reply without any pause is over at once; give it time with ``reply(..., every=0.05)``.
        """
        return self.closed_at is not None and self.finished_at is None

    @property
    def last_user_message(self) -> str:
        """The text of the last message of the user; empty if there is none."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return _text_of(message.get("content"))
        return ""

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools offered; of one that is no function, its type."""
        return [
            str(tool.get("function", {}).get("name") or tool.get("type")) for tool in self.tools
        ]

    @property
    def tool_outputs(self) -> dict[str, str]:
        """What the tools answered in this conversation, by the id of the call."""
        return {
            str(message.get("tool_call_id")): _text_of(message.get("content"))
            for message in self.messages
            if message.get("role") == "tool"
        }


ReplyLike: TypeAlias = Reply | str | ToolCall
"""A reply, or what stands for one: a string, or a `tool_call`."""

ScriptItem: TypeAlias = ReplyLike | NoConnection | Callable[[RecordedRequest], ReplyLike]
"""What a script holds: replies, failures to connect, and functions from a request to its reply."""

GatewayScript: TypeAlias = (
    Iterable[ScriptItem] | ReplyLike | NoConnection | Callable[[RecordedRequest], ReplyLike | None]
)
"""A whole script: replies in their order, or one reply or function for every request."""


@attrs.define(eq=False)
class Entry:
    """A request and what became of it; `RecordedRequest` is a snapshot of this."""

    number: int
    """Counted from 0."""

    request: Request
    """As the server received it."""

    body: dict[str, Any]
    """Its body; empty if that is no JSON object."""

    refused: str | None = None
    """Why it was not answered from the script."""


class Desk(Answers):
    """Receives requests, and finds the reply to each.

    Args:
        script: See `ScriptedGateway`.
        api_key: See there.
        api_secret: See there.
        auth: See there.
        own_host: The host that the gateway has in memory, where requests to others come as well;
            None on a port, where there is no telling.

    Raises:
        TypeError: The script holds something that is no reply.
        ValueError: A reply is one that a gateway cannot give.
    """

    def __init__(
        self,
        script: GatewayScript,
        *,
        api_key: str,
        api_secret: str,
        auth: NotGivenOr[str | None],
        own_host: str | None,
    ) -> None:
        self.queue: deque[ScriptItem] = deque()
        """The replies that have not been given yet."""
        self.entries: list[Entry] = []
        """The requests for chat completions."""
        self.arrived = trio.Event()
        """Set, and replaced, when the next of them arrives."""
        self.problems: list[Exception] = []
        """What the script could not do."""
        self._api_key = api_key
        self._api_secret = api_secret
        self._auth = auth
        self._own_host = own_host
        self._for_all: Callable[[RecordedRequest], object] | None = None
        self._down: NoConnection | None = None
        if isinstance(script, NoConnection):
            self._down = script
        elif callable(script):
            _check_function(script)
            self._for_all = script
        elif isinstance(script, (str, Mapping)) or not isinstance(script, Iterable):
            always = as_reply(cast("object", script))
            self._for_all = lambda _: always
        else:
            self.add(script)

    def add(self, items: Iterable[ScriptItem]) -> None:
        """Queue replies; all or none.

        Raises:
            TypeError: An item is no reply.
            ValueError: A reply is one that a gateway cannot give.
        """
        checked = list(items)
        for item in checked:
            if callable(item):
                _check_function(item)
            elif not isinstance(item, NoConnection):
                as_reply(item)
        self.queue += checked

    def next_connection(self) -> Connection:
        item: ScriptItem | None = self._down
        if item is None and self.queue and isinstance(self.queue[0], NoConnection):
            item = self.queue.popleft()
        if not isinstance(item, NoConnection):
            return Connection()
        return Connection(connect_error=item.message, connect_delay=item.after)

    def replies(self, connection: Connection) -> Iterator[Reply]:  # noqa: ARG002 - none is fixed
        return iter(())

    def reply_to(self, request: Request) -> Reply:
        path = urlsplit(request.target).path
        fault = self._fault_of(request)
        if request.method == "GET" and path.endswith("/models"):
            return _models() if fault is None else _refusal(fault)
        if request.method != "POST" or not path.endswith("/chat/completions"):
            return error(404, f"there is no {request.method} {path} at this gateway")
        body = _object(request.body)
        entry = Entry(len(self.entries), request, body or {})
        if fault is not None:
            entry.refused, made = fault, _refusal(fault)
        elif body is None:
            entry.refused = "the body is not a JSON object"
            made = error(400, entry.refused)
        elif self.queue and isinstance(self.queue[0], NoConnection):
            # It is the client's to connect again, and to fail there.
            return Reply([Reset()])
        else:
            made = self._scripted(entry)
        self.entries.append(entry)
        self.arrived.set()
        self.arrived = trio.Event()
        return made

    def _fault_of(self, request: Request) -> str | None:
        authorization = request.header("authorization")
        if is_given(self._auth):
            if self._auth is None or authorization == self._auth:
                return None
            return "the Authorization header is not the one that this gateway takes"
        if not self._is_livekits(request.header("host") or ""):
            # A program of another server, which has an idea of authorisation of its own.
            return None
        fault = fault_of_token(
            authorization, api_key=self._api_key, api_secret=self._api_secret, now=time.time()
        )
        if fault is not None and not (authorization or "").lower().startswith("bearer ey"):
            fault += "; for a program with another header, or none, give ScriptedGateway(auth=...)"
        return fault

    def _is_livekits(self, host: str) -> bool:
        return self._own_host in (None, host) or host.endswith(".livekit.cloud")

    def _scripted(self, entry: Entry) -> Reply:
        seen = snapshot(entry, None, None)
        try:
            made = None if self._for_all is None else _call(self._for_all, seen)
            if made is None and self.queue:
                item = self.queue.popleft()
                made = _call(item, seen) if callable(item) else item
            if isinstance(made, NoConnection):
                raise TypeError(
                    "a function cannot return NoConnection(): its request has arrived. Return "
                    "reply(Reset()), or put NoConnection() into a list of replies"
                )
            if made is not None:
                return as_reply(made)
        except Exception as exc:  # noqa: BLE001 - the test gets it where it leaves the block
            self.problems.append(exc)
            entry.refused = f"the script's function failed: {exc!r}"
            return error(400, entry.refused)
        entry.refused = (
            f"the script has no reply for request {entry.number}, {seen.last_user_message!r} to "
            f"{seen.model}"
        )
        self.problems.append(ScriptError(entry.refused))
        return error(400, entry.refused)


def snapshot(entry: Entry, record: ReplyRecord | None, closed_at: float | None) -> RecordedRequest:
    """Say what is known of a request now.

    Args:
        entry: The request.
        record: How its reply goes; None if that is not known.
        closed_at: When the client closed its connection; None if it has not.
    """
    body = dict(entry.body)
    for name in ("stream", "stream_options"):
        body.pop(name, None)
    return RecordedRequest(
        number=entry.number,
        model=str(body.pop("model", "")),
        messages=_objects(body.pop("messages", None)),
        tools=_objects(body.pop("tools", None)),
        options=body,
        target=entry.request.target,
        headers=dict(entry.request.headers),
        body=entry.request.body,
        arrived_at=entry.request.received_at,
        connection=entry.request.connection,
        refused=entry.refused,
        bytes_sent=0 if record is None else record.bytes_sent,
        finished_at=None if record is None else record.finished_at,
        closed_at=closed_at,
    )


def described(item: ScriptItem) -> str:
    """Say in a few words what an item of a script is."""
    if isinstance(item, ToolCall):
        return f"{item.name}(...)"
    return repr(item) if isinstance(item, str) else str(item)


def _check_function(function: object) -> None:
    """Refuse a function of a script that could make no reply."""
    if isinstance(function, type):
        # Called with the request, it would be a puzzle later.
        as_reply(function)
    if is_async_callable(function):
        raise TypeError(
            "a function of a script must not be async: it is called, but never awaited. What takes "
            "time is a step of the reply that it returns, such as Wait() or WaitFor()"
        )


def _call(function: Callable[[RecordedRequest], object], seen: RecordedRequest) -> object:
    return not_awaitable("a function of a script", lambda: function(seen))


def _refusal(fault: str) -> Reply:
    return error(401, f"not let in: {fault}", type="authentication_error")


def _models() -> Reply:
    return response(200, b'{"object":"list","data":[]}', {"Content-Type": "application/json"})


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(body)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    items = cast("list[object]", value)
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _text_of(content: object) -> str:
    """The text of a message, which may be a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text")) for part in _objects(content) if "text" in part)
