"""Real servers' answers from files, as scripts, cut as one likes.

This module alone knows the two formats under `tests/data/wire`: `quirks.jsonl` (one case a line:
the body in base64 segments, how it ends, what is expected) and `transcripts/` (`.json`: status
line, headers, framing and reads as recorded; `.sse`: the bytes of the body). No I/O but reading
them.
"""

from __future__ import annotations

import base64
import http
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import attrs

from .script import (
    DONE,
    LAST_CHUNK,
    Close,
    Exchange,
    Hold,
    Reset,
    Send,
    Step,
    chunk,
    finish,
    head,
    text_chunk,
)

DATA: Final = Path(__file__).parent.parent / "data" / "wire"

Cuts: TypeAlias = Literal["as recorded", "every byte"] | Sequence[int]
"""Where bytes are cut in pieces: as they were, after every byte, or at the given offsets (those
outside of the bytes cut nothing)."""

Framing: TypeAlias = Literal["chunked", "length", "close", "none"]
End: TypeAlias = Literal["keep", "fin", "hold", "abort"]

_LAST_STEPS: Final[Mapping[End, tuple[Step, ...]]] = {
    "keep": (),
    "fin": (Close(),),
    "hold": (Hold(),),
    "abort": (Reset(),),
}


@attrs.frozen
class Recording:
    """One answer of a real server."""

    name: str
    """The quirk's number ("Q79") or the transcript's server and case ("llama-cpp/text-utf8")."""

    status_line: str | None
    """As received; None: the server closed without a word."""

    headers: tuple[tuple[str, str], ...]
    """As received; those that tell the framing are put right for `framing`."""

    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    """The body, without its transfer coding."""

    pieces: tuple[int, ...] = attrs.field(repr=False)
    """The lengths of the HTTP chunks, or of the segments, in which the body came."""

    reads: tuple[int, ...] | None = attrs.field(repr=False)
    """The lengths of the reads in which the whole answer came, head and framing included."""

    framing: Framing
    """How the end of the body is told: chunks, Content-Length, the end of the connection; "none":
    the status has no body."""

    complete: bool
    """Whether the body is ended as its framing wants it."""

    end: End
    """What the connection does afterwards."""

    title: str = ""
    """What is strange about it, or was noted when it was recorded."""

    expect: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """What a quirk's reader must make of it, in the vocabulary of `quirks.jsonl`."""

    request: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """The request that a transcript answers (method, path, headers, body)."""

    @property
    def status(self) -> int | None:
        """The status code; None if the server closed without a word."""
        return None if self.status_line is None else int(self.status_line.split()[1])

    def wire(self, *, chunks: Cuts = "as recorded") -> bytes:
        """Return every byte of the answer, in the order it goes to the socket.

        Args:
            chunks: Where the body is cut into HTTP chunks, as offsets in the body.
        """
        return b"".join(self._parts(chunks))

    def exchange(self, *, chunks: Cuts = "as recorded", writes: Cuts = "as recorded") -> Exchange:
        """Return the answer as a script.

        Args:
            chunks: Where the body is cut into HTTP chunks, as offsets in the body. A client of
                httpx gets these pieces, whatever the network does to them; they have no meaning
                where the framing is not "chunked".
            writes: Where all that goes to the socket is cut into writes, as offsets in `wire`.
                Between socket and client the network may join what came close together.
        """
        parts = self._parts(chunks)
        if writes != "as recorded":
            parts = _cut(b"".join(parts), _places(writes))
        elif self.reads is not None and chunks == "as recorded":
            parts = _cut(b"".join(parts), itertools.accumulate(self.reads))
        steps: list[Step] = [Send(part) for part in parts]
        return Exchange(steps).then(*_LAST_STEPS[self.end])

    def _parts(self, chunks: Cuts) -> list[bytes]:
        if self.status_line is None:
            return []
        parts = [self._head()]
        if self.framing != "chunked":
            return [*parts, self.body] if self.body else parts
        places = itertools.accumulate(self.pieces) if chunks == "as recorded" else _places(chunks)
        parts += [chunk(piece) for piece in _cut(self.body, places)]
        return [*parts, LAST_CHUNK] if self.complete else parts

    def _head(self) -> bytes:
        assert self.status_line is not None
        _, code, *reason = self.status_line.split(" ", 2)
        names = {name.lower() for name, _ in self.headers}
        headers = list(self.headers)
        if self.framing != "chunked":
            headers = [
                (name, value) for name, value in headers if name.lower() != "transfer-encoding"
            ]
        elif "transfer-encoding" not in names:
            headers.append(("Transfer-Encoding", "chunked"))
        return head(int(code), headers, reason="".join(reason))


def quirks(path: Path = DATA / "quirks.jsonl") -> tuple[Recording, ...]:
    """Return the cases of `quirks.jsonl`.

    The file has bodies without their framing. Here each segment is one HTTP chunk; "fin" ends the
    body and closes the connection, "hold" and "abort" leave the body open. Use
    `attrs.evolve(case, framing="close")` for a body that the end of the connection ends.
    """
    return tuple(_quirk(json.loads(line)) for line in path.read_text("utf-8").splitlines())


def _quirk(case: Mapping[str, Any]) -> Recording:
    if isinstance(case["segments"], str):
        # The one case that is too long to be written down says how to make it.
        segments = [text_chunk("x" * case["expect"]["text_len"]), finish(), DONE]
    else:
        segments = [base64.b64decode(segment) for segment in case["segments"]]
    status = case["status"]
    known = {one.value: one.phrase for one in http.HTTPStatus}
    return Recording(
        name=case["id"],
        title=case["title"],
        status_line=f"HTTP/1.1 {status} {known.get(status, '')}",
        headers=tuple(case["headers"].items()),
        body=b"".join(segments),
        pieces=tuple(len(segment) for segment in segments),
        reads=None,
        framing="none" if status in (204, 304) else "chunked",
        complete=case["end"] == "fin",
        end=case["end"],
        expect=case["expect"],
    )


def transcripts(folder: Path = DATA / "transcripts") -> tuple[Recording, ...]:
    """Return the recorded answers of real servers, in the order of their names."""
    return tuple(_transcript(path, folder) for path in sorted(folder.glob("*/*.json")))


def _transcript(path: Path, folder: Path) -> Recording:
    record = json.loads(path.read_text("utf-8"))
    body = path.with_suffix(".sse").read_bytes()
    headers = tuple((name, value) for name, value in record["headers"])
    lowered = {name.lower(): value.lower() for name, value in headers}
    framing: Framing = "close"
    if lowered.get("transfer-encoding") == "chunked":
        framing = "chunked"
    elif "content-length" in lowered:
        framing = "length"
    keep = bool(record["body_complete"]) and lowered.get("connection") != "close"
    return Recording(
        name=path.relative_to(folder).with_suffix("").as_posix(),
        title=record["note"],
        status_line=record["status"] or None,
        headers=headers,
        body=body,
        pieces=tuple(record["chunk_sizes"] or [len(body)]),
        reads=tuple(size for _, size in record["read_marks_s_bytes"]),
        framing=framing,
        complete=bool(record["body_complete"]),
        end="keep" if keep else "fin",
        request=record["request"],
    )


def _places(cuts: Cuts) -> Iterable[int]:
    if isinstance(cuts, str):
        if cuts != "every byte":
            raise ValueError(f"cuts must be 'as recorded', 'every byte' or offsets, not {cuts!r}")
        return itertools.count()
    return sorted({place for place in cuts if place > 0})


def _cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return the pieces of some bytes between ascending places; none of them is empty."""
    inside = itertools.takewhile(lambda place: place < len(data), places)
    edges = itertools.pairwise([0, *inside, len(data)])
    return [data[start:stop] for start, stop in edges if start < stop]
