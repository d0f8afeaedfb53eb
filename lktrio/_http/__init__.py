"""One HTTP request, over our own transport or over a client that a program brings.

Read the modules in this order: `message` and `head` (bytes and messages), `tls`, `network` (how a
connection is made), `proxy` and `tunnel` (what is on the way), `connection` (one request on one
connection), `pool`, `connect`, `outgoing`, `transport` (httpx's interface to all that), `trace`,
`for_httpx2`, `exceptions`, `exchange` (what the engine sends and gets), `brought`.
"""

from .bare import bare, raise_bare
from .brought import BroughtSender, HTTPClient, is_client
from .connection import Phase
from .exceptions import ReusedConnectionLost
from .exchange import HTTPRequest, HTTPResponse, OwnSender, Sender, send
from .network import Network, default_network, set_default_network
from .tls import TLSStream
from .transport import TrioTransport

__all__ = [
    "BroughtSender",
    "HTTPClient",
    "HTTPRequest",
    "HTTPResponse",
    "Network",
    "OwnSender",
    "Phase",
    "ReusedConnectionLost",
    "Sender",
    "TLSStream",
    "TrioTransport",
    "bare",
    "default_network",
    "is_client",
    "raise_bare",
    "send",
    "set_default_network",
]
