"""`Recorder`: a live exchange becomes a script, without the credentials.

This module alone knows what is kept of an exchange, what is taken out of it, and the form of the
file in which it is saved.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

from lktrio._definitions import public
from lktrio._http import TrioTransport
from lktrio._settings import credential_words
from lktrio._wire import content_codings

from ._http import BodyEnd, HTTPClient, make_http_client, watch_client
from ._steps import Hold, Piece, Reply, Reset, Step, Wait, chunked, response

__all__ = ["Ended", "RecordedExchange", "Recorder", "Recording"]

Ended: TypeAlias = Literal["complete", "broken", "left"]
"""How a recorded body ended: with its end, with a lost connection, or because the client left."""

_FORMAT: Final = 1
_LABEL_LENGTH: Final = 40
# What a client reads. Other headers may tell who was asking: they are not kept.
_KEPT: Final = ("content-type", "retry-after", "x-request-id")
_KEPT_PREFIX: Final = "x-livekit-"
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


@public
@attrs.frozen
class RecordedExchange:
    """One request of a live program, and what the server answered."""

    path: str
    """The path that was asked for."""

    request: Mapping[str, Any] | None = attrs.field(repr=False)
    """The body of the request, decoded from JSON; None if it was none. For those who read the
    file: replaying does not look at it."""

    status: int
    """Status code of the response."""

    headers: tuple[tuple[str, str], ...]
    """Content type, ``Retry-After``, request id and LiveKit's own headers; no others are kept."""

    delay: float
    """Seconds from the request to the head of the response."""

    pieces: tuple[tuple[float, bytes], ...] = attrs.field(
        repr=lambda pieces: f"<{len(pieces)} pieces>"
    )
    """The body: seconds since what came before, and the bytes."""

    ended: Ended = "complete"
    """How the body ended: ``"complete"``, ``"broken"`` (the connection was lost) or ``"left"``
    (the client closed it, and what would have come is not known)."""

    @property
    def text(self) -> str:
        """The whole body, as text."""
        return b"".join(data for _, data in self.pieces).decode(errors="replace")

    def reply(self, *, pauses: bool = True) -> Reply:
        """Make a reply that says the same.

        A body that was left is held open at that place; a broken one is broken off.

        Args:
            pauses: Whether it takes as long as it took.
        """
        label = f"recorded({self.status}, {self.text[:_LABEL_LENGTH]!r})"
        if self.status in (204, 304):
            made = response(self.status, b"", dict(self.headers))
        else:
            pieces: list[Piece] = []
            for seconds, data in self.pieces:
                pieces += [Wait(seconds), data] if pauses and seconds else [data]
            end = self.ended == "complete"
            made = chunked(pieces, status=self.status, headers=dict(self.headers), end=end)
            last: Mapping[Ended, tuple[Step, ...]] = {
                "complete": (),
                "broken": (Reset(),),
                "left": (Hold(),),
            }
            made = made.then(*last[self.ended])
        if pauses and self.delay:
            made = made.after(self.delay)
        return attrs.evolve(made, label=label)


def _as_exchanges(exchanges: Iterable[RecordedExchange]) -> tuple[RecordedExchange, ...]:
    return tuple(exchanges)


@public
@attrs.frozen
class Recording:
    """What a `Recorder` has recorded: a value that can be saved, read and played."""

    exchanges: tuple[RecordedExchange, ...] = attrs.field(converter=_as_exchanges)
    """The exchanges, in the order in which the requests went out."""

    def replies(self, *, pauses: bool = True) -> list[Reply]:
        """Make a script for `ScriptedGateway` of the chat completions.

        Args:
            pauses: Whether the replies take as long as they took.
        """
        return [
            exchange.reply(pauses=pauses)
            for exchange in self.exchanges
            if exchange.path.endswith("/chat/completions")
        ]

    def to_json(self) -> str:
        """Return it as JSON, made to be read by people and by `from_json`."""
        exchanges = [
            {
                "path": one.path,
                "request": one.request,
                "status": one.status,
                "headers": dict(one.headers),
                "delay": one.delay,
                "pieces": [[seconds, _encoded(data)] for seconds, data in one.pieces],
                "ended": one.ended,
            }
            for one in self.exchanges
        ]
        value = {"lktrio_recording": _FORMAT, "exchanges": exchanges}
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Recording:
        """Read what `to_json` has written.

        Args:
            text: The JSON.

        Raises:
            ValueError: It is no recording.
        """
        try:
            value = json.loads(text)
            if value["lktrio_recording"] != _FORMAT:
                raise ValueError(f"its format is {value['lktrio_recording']!r}, not {_FORMAT}")
            return cls(_exchange(one) for one in value["exchanges"])
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ValueError(f"this is no recording of lktrio.testing: {exc!r}") from exc

    def save(self, path: str | Path) -> None:
        """Write it to a file.

        Args:
            path: Where to; a file that is there is replaced.
        """
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Read a file that `save` has written.

        Args:
            path: Where it is.

        Raises:
            ValueError: It is no recording.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _encoded(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        # A piece may end within a character.
        return {"base64": base64.b64encode(data).decode("ascii")}


def _decoded(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return base64.b64decode(cast("dict[str, str]", value)["base64"], validate=True)


def _exchange(value: Mapping[str, Any]) -> RecordedExchange:
    ended: Ended = value["ended"]
    if ended not in ("complete", "broken", "left"):
        raise ValueError(f"ended={ended!r} is not 'complete', 'broken' or 'left'")
    return RecordedExchange(
        path=str(value["path"]),
        request=value["request"],
        status=int(value["status"]),
        headers=tuple((str(name), str(text)) for name, text in value["headers"].items()),
        delay=float(value["delay"]),
        pieces=tuple((float(seconds), _decoded(data)) for seconds, data in value["pieces"]),
        ended=ended,
    )


class _Draft:
    """An exchange while it happens."""

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        self.is_over = False
        self._path = urlsplit(url).path
        self._secrets = secrets
        self._sent = bytearray()
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._time = trio.current_time()
        self._delay = 0.0
        self._pieces: list[tuple[float, bytes]] = []
        self._ended: Ended = "left"

    def request_piece(self, data: bytes) -> None:
        self._sent += data

    def response_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._status, self._headers, self._delay = status, headers, self._lap()

    def response_piece(self, data: bytes) -> None:
        self._pieces.append((self._lap(), data))

    def response_end(self, end: BodyEnd) -> None:
        self._ended = end
        self.is_over = True

    def _lap(self) -> float:
        before, self._time = self._time, trio.current_time()
        return round(self._time - before, 3)

    def exchange(self) -> RecordedExchange:
        headers = {name.lower(): text for name, text in self._headers}
        pieces = _without_coding(self._pieces, headers.get("content-encoding", ""))
        return RecordedExchange(
            path=_covered(self._path.encode(), self._secrets).decode(),
            request=_json_object(_covered(bytes(self._sent), self._secrets)),
            status=self._status,
            headers=tuple(
                (name, _covered(text.encode(), self._secrets).decode())
                for name, text in headers.items()
                if name in _KEPT or name.startswith(_KEPT_PREFIX)
            ),
            delay=self._delay,
            pieces=_covered_pieces(pieces, self._secrets),
            ended=self._ended,
        )


def _without_coding(
    pieces: Sequence[tuple[float, bytes]], coding: str
) -> Sequence[tuple[float, bytes]]:
    """A secret cannot be seen in what is compressed; what cannot be decoded is not kept."""
    if not content_codings(coding):
        return pieces
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        return [(seconds, decoder.decompress(data)) for seconds, data in pieces]
    except zlib.error:
        return []


def _covered(data: bytes, secrets: Sequence[str]) -> bytes:
    """Some bytes with asterisks in place of the secrets; as long as before."""
    for secret in secrets:
        for spelling in {secret, json.dumps(secret)[1:-1]}:
            word = spelling.encode()
            data = data.replace(word, b"*" * len(word))
    return data


def _covered_pieces(
    pieces: Sequence[tuple[float, bytes]], secrets: Sequence[str]
) -> tuple[tuple[float, bytes], ...]:
    # A secret may be cut by the end of a piece.
    data = _covered(b"".join(piece for _, piece in pieces), secrets)
    covered: list[tuple[float, bytes]] = []
    for seconds, piece in pieces:
        if piece:
            covered.append((seconds, data[: len(piece)]))
            data = data[len(piece) :]
    return tuple(covered)


def _json_object(data: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(data)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


@public
class Recorder:
    """Records what a live server answers.

    ::

        async with Recorder() as recorder:
            async with LLM("openai/gpt-4.1-mini", http_client=recorder.http_client()) as llm:
                ...
        recorder.recording.save("weather.json")

    and later, in a test::

        script = Recording.load("weather.json").replies()
        async with ScriptedGateway(script) as gateway, gateway.llm() as llm:
            ...

    No header of a request is kept, and few of a response. Wherever the value of a credential occurs
    in path, body or answer, it is replaced by asterisks: of a cookie, and of a header or a query
    parameter whose name says authorization, key, token, secret, password or signature, from 8
    characters on. The conversation itself is kept: look through a file before you publish it.

    Attempts that got no response are not recorded.

    Args:
        secrets: Further words that must not be kept.

    Raises:
        ValueError: One of the secrets is empty.
    """

    def __init__(self, *, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        if "" in self._secrets:
            raise ValueError("secrets has an empty string, which occurs everywhere")
        self._drafts: list[_Draft] = []
        self._clients: list[HTTPClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            for client in self._clients:
                await client.aclose()

    def http_client(self) -> HTTPClient:
        """Make a client like the one an `LLM` makes, for ``LLM(http_client=...)``.

        It is closed where the block of the recorder is left.
        """
        client = self.attach(make_http_client(TrioTransport(), {}))
        self._clients.append(client)
        return client

    def attach(self, client: HTTPClient) -> HTTPClient:
        """Record what a client of yours does, from now on.

        Args:
            client: The client; it is not closed.

        Returns:
            The same client.
        """
        watch_client(client, self._begin)
        return client

    def _begin(self, _method: str, url: str, headers: dict[str, str]) -> _Draft:
        query = parse_qs(urlsplit(url).query)
        words = (*credential_words(headers), *credential_words(query))
        # Long ones first: one may be part of another.
        secrets = sorted({*words, *self._secrets}, key=len, reverse=True)
        draft = _Draft(url, secrets)
        self._drafts.append(draft)
        return draft

    @property
    def recording(self) -> Recording:
        """What has been recorded so far: the exchanges that are over."""
        return Recording(draft.exchange() for draft in self._drafts if draft.is_over)
