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
from typing import Final, Self
from urllib.parse import urlsplit

import trio
import trustme

from .exchange import Question
from .limits import ROOT, raise_file_limit

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"X-Request-Id: req_benchmark\r\n"
    b"Transfer-Encoding: chunked\r\n"
    b"\r\n"
)
_GO_ON_PATH: Final = "/go-on"
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
        self.url = self._process.stdout.readline().strip()
        """Scheme, host and port: ``http://127.0.0.1:54321``."""
        self.tls_url = self._process.stdout.readline().strip()
        """The same over TLS: ``https://localhost:54322``."""
        if not self.tls_url:
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
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(f"POST {_GO_ON_PATH} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
        connection.recv(_READ_SIZE)


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

    async def serve(self, stream: trio.abc.Stream) -> None:
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
        if head.split(b" ", 2)[1] == _GO_ON_PATH.encode():
            self._may_go_on.set()
            self._may_go_on = trio.Event()
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            return True
        await self._answer(stream, json.loads(body)["model"])
        return True

    async def _answer(self, stream: trio.abc.Stream, model: str) -> None:
        kind = Question.of_model(model).kind
        if kind == "held":
            may_go_on = self._may_go_on
            first, *rest = _pieces(model)
            await stream.send_all(first)
            await may_go_on.wait()
            await stream.send_all(b"".join(rest))
        elif kind == "paced":
            begin = trio.current_time()
            for number, piece in enumerate(_pieces(model)):
                await trio.sleep_until(begin + number * _PACE)
                await stream.send_all(piece)
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
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    server = _Server()
    async with trio.open_nursery() as nursery:
        (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=_BACKLOG)
        nursery.start_soon(trio.serve_listeners, server.serve, [plain])
        (tcp,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=_BACKLOG)
        secured = trio.SSLListener(tcp, context, https_compatible=True)
        nursery.start_soon(trio.serve_listeners, server.serve, [secured])
        sys.stdout.write(f"http://127.0.0.1:{plain.socket.getsockname()[1]}\n")
        sys.stdout.write(f"https://localhost:{tcp.socket.getsockname()[1]}\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    raise_file_limit()
    trio.run(_main, sys.argv[1])
