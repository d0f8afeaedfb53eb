"""HTTP/1.1 responses out of bytes. No I/O.

This module alone knows httptools, how a body ends, which heads are refused, and after which
responses a connection may carry another request. It leaves when to read, and what the bytes of a
body mean, to others.

Source: RFC 9112 (HTTP/1.1), https://llhttp.org
"""

from __future__ import annotations

import re
from typing import Final

import httptools
import httpx

__all__ = ["ResponseReader"]

MAX_HEAD_BYTES: Final = 100 * 1024
"""How long the head of a response may be, in bytes; of those before it (1xx) the sum counts."""

MAX_FIELDS: Final = 200
"""How many fields a head may have."""

MAX_LINES: Final = 1000
"""How many lines a head may have, with folded ones and those of the heads before it."""

MAX_INTERIM: Final = 20
"""How many responses with status 1xx may come before the one that counts."""

MAX_TRAILER_BYTES: Final = 16 * 1024
"""How long the fields behind a chunked body may be, in bytes."""

_HEAD_SLICE: Final = 4096
_FRAMING_PER_PIECE: Final = 1024
_FRAMING_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME: Final = re.compile(TOKEN)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# A blank at the beginning of the next line would be read in three ways: RFC 9112, section 2.2.
_FIRST_LINE: Final = re.compile(rb"[\r\n]*HTTP/1\.[^\n]*\n(?![ \t])")
# A folded one (RFC 9112, section 5.2), or an empty one before a head that is not the first.
_ODD_LINE: Final = re.compile(rb"\n(?:[ \t]|\r\n\r\n)")
_HEAD_END: Final = re.compile(rb"\n\r?\n")


class ResponseReader:
    """Reads one response out of the bytes of a connection.

    ``feed`` takes what a network read brought and returns what of it belongs to the body, joined.
    Interim responses (1xx) are passed over. What is malformed in a way that real servers are, and
    that cannot be misread (line ends without CR and folded lines in heads, a length beside
    chunks), is read; such a connection is not used again.

    Args:
        method: The request's method: a response to HEAD has no body, and what follows one to a
            CONNECT that succeeded is no body either (RFC 9112, section 6.3).
    """

    # httptools calls the methods `on_...`; it looks them up when the parser is made.

    def __init__(self, method: bytes = b"GET") -> None:
        self.status_code = 0
        """Status; 0 as long as the head is not there."""
        self.reason = b""
        """The reason phrase, which may be empty."""
        self.fields: list[tuple[bytes, bytes]] = []
        """Names and values of the header, as they came."""
        self.http_version = "1.1"
        """``"1.1"`` or ``"1.0"``."""
        self.has_begun = False
        """Whether a byte has come."""
        self.has_head = False
        """Whether the head is there."""
        self.is_over = False
        """Whether the response has been read to its end."""
        self.interim = 0
        """How many interim responses have come."""
        self.is_reusable = False
        """Whether the connection may carry another request, once the response is over."""
        self.is_refused = False
        """Whether what came last was malformed; the next call of `feed` says how."""
        self._method = method
        self._is_framed = False
        self._is_head_only = False
        self._keeps_alive = False
        self._is_strict = True
        self._head = bytearray()
        self._lines = 0
        self._pieces: list[bytes] = []
        self._surplus_from: int | None = None
        self._debt = 0
        self._trailer_bytes = 0
        self._field_bytes = 0
        self._refusal: str | None = None
        self._is_head_refused = False
        self.on_body = self._pieces.append
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._be_lenient(self._parser, yes=True)

    @staticmethod
    def _be_lenient(parser: httptools.HttpResponseParser, *, yes: bool) -> None:
        # Folded lines need the first; the value of each field is looked at by us.
        parser.set_dangerous_leniencies(
            lenient_headers=yes,
            lenient_optional_cr_before_lf=yes,
            lenient_chunked_length=True,
            lenient_spaces_after_chunk_size=True,
        )

    # --- feeding --------------------------------------------------------------------------

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take bytes that have arrived, and return those of the body among them.

        What was good before something malformed is returned; the next call raises.

        Raises:
            httpx.RemoteProtocolError: This is no response, or it is over a bound.
        """
        if self._refusal is not None:
            raise self._refused()
        if self.is_over:
            self.is_reusable = self.is_reusable and not bytes(data).strip(b"\r\n")
            return b""
        self.has_begun = True
        if self.has_head:
            self._parse(data)
            self._check_framing(len(data))
        else:
            self._parse_head(data)
        if self.is_over or self._refusal is not None:
            self.close()
        if self._surplus_from is not None:
            del self._pieces[self._surplus_from :]
        body = b"".join(self._pieces)
        self._pieces.clear()
        if self._refusal is not None:
            self.is_reusable = False
            if self._is_head_refused or not body:
                raise self._refused()
        return body

    def feed_end(self, *, is_clean: bool = True) -> None:
        """Take the end of the connection.

        Args:
            is_clean: Whether it is sure that nothing was cut off.

        Raises:
            httpx.RemoteProtocolError: The response is not over.
        """
        self.close()
        if self.is_over:
            return
        if self._refusal is not None:
            raise self._refused()
        if not self.has_begun:
            raise httpx.RemoteProtocolError("the server closed the connection without a response")
        if not self.has_head:
            raise httpx.RemoteProtocolError("the connection ended within the head of the response")
        if self._is_framed or not is_clean:
            raise httpx.RemoteProtocolError("the connection ended before the body of the response")
        self.is_over = True

    def close(self) -> None:
        """Let go of the parser, which holds us. Nothing more can be fed then."""
        self._parser = None

    def _parse_head(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the head, little by little: what is refused has cost little."""
        self._head += data
        for start in range(0, len(data), _HEAD_SLICE):
            piece = data[start : start + _HEAD_SLICE]
            self._parse(piece)
            if self.has_head:
                self._parse(data[start + _HEAD_SLICE :])
                self._check_framing(self._check_head())
            if self.has_head or self._refusal is not None:
                return
            self._lines += bytes(piece).count(b"\n")
            if self._lines > MAX_LINES:
                self._refuse(f"a head of more than {MAX_LINES} lines")
        if len(self._head) > MAX_HEAD_BYTES:
            self._refuse(f"a head of more than {MAX_HEAD_BYTES} bytes")

    def _parse(self, data: bytes | bytearray | memoryview) -> None:
        if self._parser is None or self._refusal is not None or not data:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self.is_over:
                self.is_reusable = False
            else:
                self._refuse("a change of protocol (status 101) that was not asked for")
        except httptools.HttpParserCallbackError as exc:
            # A Ctrl-C, if anything.
            raise exc.__context__ or exc from None
        except httptools.HttpParserError as exc:
            if self.is_over:
                self.is_reusable = False
            else:
                self._refuse(str(exc))

    def _refuse(self, what: str) -> None:
        if self._refusal is None:
            self._refusal = what
            self.is_refused = True
            self._is_head_refused = not self.has_head

    def _refused(self) -> httpx.RemoteProtocolError:
        return httpx.RemoteProtocolError(
            f"the server sent no proper HTTP response: {self._refusal}"
        )

    # --- what is checked ------------------------------------------------------------------

    def _check_head(self) -> int:
        """Look at the head as it was sent, and at those before it. Returns what came behind it,
        in bytes."""
        head = bytes(self._head)
        self._head.clear()
        end = 0
        for _ in range(self.interim + 1):
            first_line = _FIRST_LINE.match(head, end)
            empty_line = first_line and _HEAD_END.search(head, first_line.end() - 1)
            if not empty_line:
                self._refuse_head("its first line is not one of HTTP/1.1")
                return 0
            end = empty_line.end()
        if end > MAX_HEAD_BYTES:
            self._refuse_head(f"a head of more than {MAX_HEAD_BYTES} bytes")
        heads, rest = head[:end], head[end:]
        line_ends = heads.count(b"\r\n")
        if heads.count(b"\r") != line_ends:
            self._refuse_head("a carriage return within a line")
        if heads.count(b"\n") != line_ends or _ODD_LINE.search(heads):
            self._is_strict = self.is_reusable = False
        if self._is_head_only:
            self.is_reusable = self._keeps_alive and self._is_strict and not rest.strip(b"\r\n")
        return len(rest)

    def _refuse_head(self, what: str) -> None:
        self._refuse(what)
        self._is_head_refused = True

    def _check_framing(self, fed: int) -> None:
        """Bound what comes beside the bytes of the body: sizes, extensions and trailers."""
        beside = fed - sum(map(len, self._pieces)) - self._field_bytes
        self._trailer_bytes += self._field_bytes
        self._field_bytes = 0
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            self._refuse(f"more than {MAX_TRAILER_BYTES} bytes of fields behind the body")
        self._debt = max(0, self._debt + beside - _FRAMING_PER_PIECE * len(self._pieces))
        if self._debt > MAX_TRAILER_BYTES and not self.is_over:
            self._refuse("chunks that consist of next to nothing but their framing")

    # --- what the parser tells ------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A message begins: ours, one that follows an interim response, or surplus."""
        if self.is_over:
            self.is_reusable = False

    def on_status(self, reason: bytes) -> None:
        """A piece of the reason phrase."""
        if not self.has_head:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the header, or one behind the body."""
        if self.is_over:
            return
        self._field_bytes += len(name) + len(value) + 4
        if self.has_head:
            # What tells the length must not stand there: RFC 9110, section 6.5.1.
            self._is_strict = self._is_strict and name.lower() not in _FRAMING_FIELDS
            return
        self.fields.append((name, value))
        if len(self.fields) > MAX_FIELDS:
            self._refuse(f"a head of more than {MAX_FIELDS} fields")
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            self._refuse(f"a character that does not belong there in the header {name!r}")

    def on_headers_complete(self) -> None:
        """The head of a message is there."""
        parser = self._parser
        if self.is_over or self.has_head or parser is None:
            return
        status_code, version = parser.get_status_code(), parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse(f"HTTP of version {version}")
        if _CONTROL.search(self.reason):
            self._refuse("a control character behind the status")
        if status_code < 100:
            self._refuse(f"the status {status_code}")
        elif status_code < 200:
            self.interim += 1
            if self.interim > MAX_INTERIM:
                self._refuse(f"more than {MAX_INTERIM} interim responses")
            self._is_strict = self._is_strict and not self._codings()
            self.fields.clear()
            self.reason = b""
            return
        # How the end of the body is told: RFC 9112, section 6.3.
        codings = self._codings()
        has_length = any(name.lower() == b"content-length" for name, _ in self.fields)
        if codings and (len(codings) > 1 or codings[0].strip().lower() != b"chunked"):
            self._refuse(f"the Transfer-Encoding {b', '.join(codings)!r}; only chunked is read")
        self._is_framed = bool(codings) or has_length
        # HTTP/1.0 knows no chunks (RFC 9112, section 6.1).
        if codings and (has_length or version == "1.0"):
            self._is_strict = False
        self._keeps_alive = parser.should_keep_alive()
        self._field_bytes = 0
        self.status_code, self.http_version = status_code, version
        self.has_head = True
        connected = self._method == b"CONNECT" and status_code < 300
        # What follows is the tunnel: nothing else can be asked on it.
        self._keeps_alive = self._keeps_alive and not connected
        self._is_head_only = self._method == b"HEAD" or connected
        if self._is_head_only:
            self.is_over = True
            self._surplus_from = 0
        # From here on a line ends as it has to: what is cut otherwise might be read otherwise.
        self._be_lenient(parser, yes=False)

    def _codings(self) -> list[bytes]:
        return [value for name, value in self.fields if name.lower() == b"transfer-encoding"]

    def on_message_complete(self) -> None:
        """A message is over."""
        if self.has_head and not self.is_over:
            self.is_over = True
            self.is_reusable = self._keeps_alive and self._is_strict
            self._surplus_from = len(self._pieces)
