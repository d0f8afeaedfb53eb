"""One HTTP request, over our own transport or over a client that a program brings.

Read the modules in this order: `message` (bytes and messages), `tls`, `connection` (one request on
one connection), `pool`, `network` (how connections are made), `transport` (httpx's interface to all
that), `exceptions`, `exchange` (what the engine sends and gets), `brought`.
"""

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
    "default_network",
    "is_client",
    "send",
    "set_default_network",
]
