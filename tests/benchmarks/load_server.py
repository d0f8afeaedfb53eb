"""The server that the clients are measured against, in a process of its own.

This module alone knows HTTP's server side and the server's process. Answers are encoded before
they are asked for, one HTTP chunk for each event, and written as fast as the socket takes them.
Only the ``model`` of a request is looked at. Over TLS each event is a record by itself, as from a
server that writes what it has.

    python -m tests.benchmarks.load_server
"""

from __future__ import annotations

import functools
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, get_args
from urllib.parse import urlsplit

import trio
import trustme

from .exchange import Question, stamp
from .limits import ROOT, raise_file_limit

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"X-Request-Id: req_benchmark\r\n"
    b"Transfer-Encoding: chunked\r\n"
    b"\r\n"
)
Over: TypeAlias = Literal["tcp", "tls", "tls_without_tickets"]
"""What HTTP goes over: TCP; TLS; or TLS whose sessions cannot be resumed."""

_OVERS: Final[tuple[Over, ...]] = get_args(Over)
_GO_ON_PATH: Final = "/go-on"
_LET_PASS_PATH: Final = "/let-pass"
_HOLD_PATH: Final = "/hold"
_ACCEPTED_PATH: Final = "/accepted"
_PACE: Final = 1 / 50
_READ_SIZE: Final = 64 * 1024
_BACKLOG: Final = 4096
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class LoadServer:
    """A load server as long as the block lasts.

    Raises:
        RuntimeError: The server did not start.
    """

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        self.authority = str(Path(self._directory.name, "authority.pem"))
        """File of the certificate that signs the server's own."""
        command = [sys.executable, "-m", "tests.benchmarks.load_server", self.authority]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline().strip() for _ in _OVERS]
        self.urls = dict(zip(_OVERS, lines, strict=True))
        """Scheme, host and port, ``http://127.0.0.1:54321``, by what HTTP goes over."""
        self.url = lines[0]
        """The first of them."""
        if not lines[-1]:
            self.__exit__(None, None, None)
            raise RuntimeError(f"the load server did not start: {' '.join(command)}")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The end of its input is what tells the server to stop.
        self._process.communicate()
        self._directory.cleanup()


def go_on(url: str) -> None:
    """Tell a server to send the rest of the answers that it holds. Blocks for a moment."""
    _tell(url, _GO_ON_PATH)


def let_pass(url: str) -> None:
    """Tell a server to hold no further answers until `hold`. Blocks for a moment."""
    _tell(url, _LET_PASS_PATH)


def hold(url: str) -> None:
    """Tell a server to hold answers again. Blocks for a moment."""
    _tell(url, _HOLD_PATH)


def accepted(url: str) -> int:
    """How many connections a server has accepted so far, but for those of this function and its
    kind. Blocks for a moment."""
    return int(_tell(url, _ACCEPTED_PATH).rpartition(b"\r\n")[2])


def _tell(url: str, path: str) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
        return connection.recv(_READ_SIZE)


@functools.cache
def _pieces(model: str) -> list[bytes]:
    """The bytes of a response: the head with the first event, then event by event."""
    pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in Question.of_model(model).encode()]
    return [_HEAD + pieces[0], *pieces[1:-1], pieces[-1] + b"0\r\n\r\n"]


@functools.cache
def _whole(model: str) -> bytes:
    return b"".join(_pieces(model))


class _Server:
    def __init__(self) -> None:
        self._may_go_on = trio.Event()
        self._holds = True
        self._accepted = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        self._accepted += 1
        inbox = bytearray()
        async with stream:
            try:
                while await self._exchange(stream, inbox):
                    pass
            except trio.BrokenResourceError:
                pass  # the client has left, or does not trust the certificate

    async def _exchange(self, stream: trio.abc.Stream, inbox: bytearray) -> bool:
        """Read a request and answer it; False if the client has left instead."""
        while (end_of_head := inbox.find(b"\r\n\r\n")) < 0:
            if not await _read_more(stream, inbox):
                return False
        head = bytes(inbox[:end_of_head])
        length = _CONTENT_LENGTH.search(head)
        end = end_of_head + 4 + (int(length[1]) if length else 0)
        while len(inbox) < end:
            if not await _read_more(stream, inbox):
                return False
        body = bytes(inbox[end_of_head + 4 : end])
        del inbox[:end]
        path = head.split(b" ", 2)[1].decode()
        if path in {_GO_ON_PATH, _LET_PASS_PATH, _HOLD_PATH, _ACCEPTED_PATH}:
            self._accepted -= 1
            number = b"%d" % self._obey(path)
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(number), number)
            )
        elif body:
            await self._answer(stream, json.loads(body)["model"])
        else:
            # Whoever prewarms asks for a list of models.
            await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return True

    def _obey(self, path: str) -> int:
        if path == _GO_ON_PATH:
            self._may_go_on.set()
            self._may_go_on = trio.Event()
        elif path != _ACCEPTED_PATH:
            self._holds = path == _HOLD_PATH
        return self._accepted

    async def _answer(self, stream: trio.abc.Stream, model: str) -> None:
        kind = Question.of_model(model).kind
        if kind == "held" and self._holds:
            may_go_on = self._may_go_on
            first, *rest = _pieces(model)
            await stream.send_all(first)
            await may_go_on.wait()
            await stream.send_all(b"".join(rest))
        elif kind == "paced":
            begin = trio.current_time()
            for number, piece in enumerate(_pieces(model)):
                await trio.sleep_until(begin + number * _PACE)
                await stream.send_all(stamp(piece))
        elif isinstance(stream, trio.SSLStream):
            for piece in _pieces(model):
                await stream.send_all(piece)
        else:
            await stream.send_all(_whole(model))


async def _read_more(stream: trio.abc.ReceiveStream, inbox: bytearray) -> bool:
    data = bytes(await stream.receive_some(_READ_SIZE))
    inbox += data
    return bool(data)


async def _main(authority_file: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(authority_file)
    certificate = authority.issue_cert("localhost")
    server = _Server()
    async with trio.open_nursery() as nursery:
        (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=_BACKLOG)
        nursery.start_soon(trio.serve_listeners, server.serve, [plain])
        sys.stdout.write(f"http://127.0.0.1:{plain.socket.getsockname()[1]}\n")
        for tickets in (2, 0):
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.num_tickets = tickets
            certificate.configure_cert(context)
            (tcp,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=_BACKLOG)
            secured = trio.SSLListener(tcp, context, https_compatible=True)
            nursery.start_soon(trio.serve_listeners, server.serve, [secured])
            sys.stdout.write(f"https://localhost:{tcp.socket.getsockname()[1]}\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    raise_file_limit()
    trio.run(_main, sys.argv[1])
