"""Where an MCP server is, and how it is reached: a command, a URL, or a transport of the SDK.

This module knows what a program says of a server, checks it, and makes the SDK's transport of it.
It holds no connection.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import PurePath
from typing import Any, TextIO, TypeAlias, cast

import attrs
import httpx2
from mcp import StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.server.mcpserver import MCPServer as ServerInProcess

from lktrio._checks import check_instance, kind_of
from lktrio._definitions import Value, public
from lktrio._settings import credentials_in, is_local_host, origin

__all__ = [
    "MCPServer",
    "MCPServerHTTP",
    "MCPServerStdio",
    "check_server",
    "label_of",
    "open_transport",
]


def _names(values: Mapping[str, str] | None) -> str:
    return "None" if values is None else f"<{', '.join(values) or 'empty'}>"


def _checked_texts(name: str, values: object) -> None:
    if values is None:
        return
    check_instance(name, values, Mapping, "a mapping of strings")
    for key, value in cast("Mapping[object, object]", values).items():
        # The value may be a secret and is not shown.
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name}[{key!r}] must be a string, not {kind_of(value)}")


def _to_args(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"args={value!r} is one string; give a list, such as ['--port', '80']")
    return tuple(value)


@public
@attrs.frozen(eq=False, repr=False)
class MCPServerStdio(Value):
    """A server that is a program on this machine, spoken to over its input and output.

    It is started where the toolset's block is entered, and stopped where that is left.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: The command is empty.
    """

    command: str
    """The program: a path, or a name that is looked up in ``PATH``."""

    args: Sequence[str] = attrs.field(default=(), converter=_to_args)
    """Its arguments."""

    env: Mapping[str, str] | None = attrs.field(default=None, repr=_names)
    """Further environment variables. It inherits a few by itself (``HOME``, ``PATH`` and the
    like), and no others, so that it sees no secret that was not meant for it."""

    cwd: str | os.PathLike[str] | None = None
    """The directory it runs in; that of this program by default."""

    stderr: TextIO | None = attrs.field(default=None, repr=False)
    """An open file for its error output; that of this program by default."""

    def __attrs_post_init__(self) -> None:
        check_instance("command", self.command, str, "a string")
        if not self.command.strip():
            raise ValueError(f"command={self.command!r} is no program")
        for arg in self.args:
            if not isinstance(cast("object", arg), str):
                raise TypeError(f"args must be strings; {arg!r} is not")
        _checked_texts("env", self.env)


@public
@attrs.frozen(eq=False, repr=False)
class MCPServerHTTP(Value):
    """A server at a URL, spoken to over streamable HTTP.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: The URL is none of http or https, credentials would go to another machine
            unencrypted, or ``http_client`` is given beside what it has itself.
    """

    url: str
    """For example ``"https://example.com/mcp"``."""

    headers: Mapping[str, str] | None = attrs.field(default=None, repr=_names)
    """Sent with every request. The values are not shown."""

    auth: httpx2.Auth | None = attrs.field(default=None, repr=False)
    """Authorises requests, for example a provider of OAuth from the SDK."""

    http_client: httpx2.AsyncClient | None = attrs.field(default=None, repr=False)
    """Sends the requests in place of a client of our own: for other certificates or proxies. It
    is the program's to close. Give it no timeout for reading: a tool may take its time."""

    allow_insecure: bool = False
    """Whether credentials may be sent to another machine over plain http."""

    def __attrs_post_init__(self) -> None:
        check_instance("url", self.url, str, "a string")
        try:
            scheme, host, _ = origin(self.url)
        except ValueError:
            raise ValueError(
                "url is no address of a server; give one such as 'https://example.com/mcp', and "
                "what authorises in headers or auth"
            ) from None
        _checked_texts("headers", self.headers)
        client = self.http_client
        if client is not None and (self.headers is not None or self.auth is not None):
            raise ValueError("http_client has headers and auth of its own; give them to it")
        sends_credentials = self.auth is not None or credentials_in(self.headers or {})
        is_plain = scheme == "http" and not is_local_host(host)
        if sends_credentials and is_plain and not self.allow_insecure:
            raise ValueError(
                f"credentials would go to {host} unencrypted: use https://, or "
                "allow_insecure=True if nobody else can listen"
            )


MCPServer: TypeAlias = (
    MCPServerStdio | MCPServerHTTP | Server[Any] | ServerInProcess | Callable[[], Transport]
)
"""How a server is reached: `MCPServerStdio`, `MCPServerHTTP`; or, in a test, a server of the SDK in
this process; or a function that makes any other transport of the SDK, for example
``lambda: sse_client(url)``, and is asked for each connection."""


def check_server(server: object) -> None:
    """Refuse what leads to no server.

    Raises:
        TypeError: If it is something else than a `MCPServer`.
    """
    known = MCPServerStdio | MCPServerHTTP | Server | ServerInProcess
    if not isinstance(server, known) and not callable(server):
        raise TypeError(
            f"server must be a MCPServerStdio or a MCPServerHTTP, or a server or a function that "
            f"makes a transport of the SDK, not {kind_of(server)}"
        )


def label_of(server: MCPServer) -> str:
    """A short name: of the program, or of the machine. Without what may be secret."""
    if isinstance(server, MCPServerStdio):
        return PurePath(server.command).name
    if isinstance(server, MCPServerHTTP):
        return origin(server.url).host
    if isinstance(server, Server | ServerInProcess):
        return server.name
    return getattr(server, "__name__", type(server).__name__)


async def open_transport(
    server: MCPServer,
    stack: AsyncExitStack,
    *,
    connect_timeout: float,
    on_status: Callable[[int], None],
) -> Transport | Server[Any] | ServerInProcess[Any]:
    """Make the SDK's transport to a server; for one in this process, there is none. It is for the
    caller to enter.

    Args:
        server: Where it is.
        stack: What the transport needs is entered here.
        connect_timeout: Seconds until a connection stands.
        on_status: Is told the status of every HTTP response that is an error.
    """
    if isinstance(server, MCPServerStdio):
        parameters = StdioServerParameters(
            command=server.command,
            args=list(server.args),
            env=None if server.env is None else dict(server.env),
            cwd=None if server.cwd is None else os.fspath(server.cwd),
        )
        return stdio_client(parameters, errlog=_error_output(server))
    if isinstance(server, Server | ServerInProcess):
        # isinstance() leaves out of what they are generic.
        return server  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(server, MCPServerHTTP):
        return server()
    client = server.http_client
    if client is None:

        async def look(response: httpx2.Response) -> None:
            if response.is_error:
                on_status(response.status_code)

        # How long an answer may take is for the tool's timeout to say.
        timeout = httpx2.Timeout(connect_timeout, read=None)
        client = await stack.enter_async_context(
            httpx2.AsyncClient(
                headers=server.headers,
                auth=server.auth,
                timeout=timeout,
                event_hooks={"response": [look]},
            )
        )
    return streamable_http_client(server.url, http_client=client)


def _error_output(server: MCPServerStdio) -> TextIO:
    if server.stderr is not None:
        return server.stderr
    try:
        sys.stderr.fileno()
    except (OSError, ValueError):
        # What a notebook or a test has put there is no file that a process can write to.
        return sys.__stderr__ or sys.stderr
    return sys.stderr
