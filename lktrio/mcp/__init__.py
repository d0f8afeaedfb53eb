"""The tools of MCP servers, as tools of a conversation (https://modelcontextprotocol.io).

::

    from lktrio import LLM, run_turn
    from lktrio.mcp import MCPServerHTTP, MCPServerStdio, MCPToolset

    files = MCPServerStdio("mcp-server-files", ["/srv/menus"])
    orders = MCPServerHTTP("https://example.com/mcp", headers={"Authorization": "Bearer ..."})

    async with (
        LLM("openai/gpt-4.1-mini") as llm,
        MCPToolset(files, allowed_tools=["read_file"]) as menus,
        MCPToolset(orders, prefix="orders_") as shop,
    ):
        async with run_turn(llm, chat_ctx=chat_ctx, tools=[menus, shop]) as turn:
            ...

It needs the extra ``mcp`` (``pip install 'lktrio[mcp]'``), which brings the official SDK; that runs
on Trio through anyio. `MCPToolset` holds the connection, `MCPServerStdio` and `MCPServerHTTP` say
how a server is reached, `images_in` takes the images out of a result.

The SDK's session lives in a task of the block, and what happens to it stays there: a server that
dies, in the middle of a call or between two, is an output that the model reads.
"""

from __future__ import annotations

try:
    from mcp import Client as _Client
except ImportError as _missing:
    raise ImportError(
        "lktrio.mcp needs the official SDK, the package mcp, in version 2 or later; "
        "install it with: pip install 'lktrio[mcp]'"
    ) from _missing

from ._results import images_in
from ._servers import MCPServer, MCPServerHTTP, MCPServerStdio
from ._session import MCPServerError
from ._toolset import MCPToolset

__all__ = [
    "MCPServer",
    "MCPServerError",
    "MCPServerHTTP",
    "MCPServerStdio",
    "MCPToolset",
    "images_in",
]

del _Client
