"""A server of the official SDK, as a process: ``python mcp_server.py stdio`` or ``... http PORT``.

What happens to a call is written into the file that ``MCP_SERVER_LOG`` names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import MCPServer

server = MCPServer("counter", instructions="It counts.")


def log(line: str) -> None:
    path = os.environ.get("MCP_SERVER_LOG")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def divide(a: int, b: int) -> str:
    """Divide two numbers."""
    raise ValueError(f"{a} / {b} is not for me")


@server.tool()
async def count() -> str:
    """Count and never end."""
    log("count begins")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        log("count is cancelled")
        raise
    return "never"


@server.tool()
def crash() -> str:
    """End the process."""
    os._exit(3)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", port=int(sys.argv[2]))
