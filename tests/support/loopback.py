"""The server behind a real socket of `lktrio.testing`, and certificates for it.

This module alone knows how certificates are made: `lktrio.testing` takes TLS contexts, because its
users need not have a package that makes them.
"""

from __future__ import annotations

import datetime as dt
import functools
import ssl

import attrs
import trustme

from lktrio.testing._loopback import LoopbackServer

__all__ = ["Certificates", "LoopbackServer", "certificates"]


@attrs.frozen
class Certificates:
    """TLS contexts of a server and of a client that trusts its authority."""

    server: ssl.SSLContext
    """What the server presents."""

    client: ssl.SSLContext
    """Trusts the authority that signed the server's certificate, and nothing else."""


def certificates(
    *names: str, not_after: dt.datetime | None = None, ca: trustme.CA | None = None
) -> Certificates:
    """Make certificates for a test.

    Args:
        names: What the server's certificate is for; not given: `127.0.0.1` and `localhost`. Any
            other name is the wrong one for a client on this machine.
        not_after: When it expires; a time in the past makes an expired one.
        ca: The authority; not given: one that all tests of the process share.
    """
    ca = ca or _shared_authority()
    certificate = ca.issue_cert(*(names or ("127.0.0.1", "localhost")), not_after=not_after)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(client)
    return Certificates(server, client)


@functools.cache
def _shared_authority() -> trustme.CA:
    return trustme.CA()
