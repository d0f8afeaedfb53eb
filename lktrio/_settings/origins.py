"""Where the gateway is: its base URL, and which other addresses lead to the same server.

This module alone knows the variables that hold the address, and to which hosts credentials may be
sent. The environment is given to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "DEFAULT_BASE_URL",
    "STAGING_BASE_URL",
    "Origin",
    "check_plain_http",
    "is_local_host",
    "origin",
    "resolve_base_url",
    "same_origin",
]

DEFAULT_BASE_URL: Final = "https://agent-gateway.livekit.cloud/v1"
"""The gateway of LiveKit Inference."""

STAGING_BASE_URL: Final = "https://agent-gateway.staging.livekit.cloud/v1"
"""The gateway for projects on LiveKit's staging servers."""


def resolve_base_url(base_url: str | None, env: Mapping[str, str]) -> str:
    """Find the address under which ``/chat/completions`` is.

    It is the argument, else ``LIVEKIT_INFERENCE_URL``, else the staging gateway if
    ``LIVEKIT_URL`` is a staging server's, else the gateway of LiveKit Inference. A variable that
    is empty counts as not set.

    Args:
        base_url: For example ``http://localhost:8080/v1``, or None.
        env: The environment, in general `os.environ`.

    Returns:
        The URL without a slash at its end.

    Raises:
        TypeError: If the argument is not a string.
        ValueError: If the URL is malformed, is not http or https, or has a user, a query or a
            fragment.
    """
    if base_url is not None:
        return _checked_base_url("base_url", base_url)
    if env.get("LIVEKIT_INFERENCE_URL"):
        return _checked_base_url("LIVEKIT_INFERENCE_URL", env["LIVEKIT_INFERENCE_URL"])
    if ".staging.livekit.cloud" in env.get("LIVEKIT_URL", ""):
        return STAGING_BASE_URL
    return DEFAULT_BASE_URL


def _checked_base_url(source: str, url: object) -> str:
    if not isinstance(url, str):
        raise TypeError(f"{source} is a string or None, not {type(url).__name__}")
    try:
        return _cleaned_base_url(url)
    except _MalformedError as error:
        fault = str(error)
    # Outside of the `except` block, so that the error has no context, which might show a password.
    raise ValueError(
        f"{source}={_without_secrets(url)!r} is not accepted: {fault}. It takes a URL like "
        f"'http://localhost:8080/v1'"
    )


def _cleaned_base_url(url: str) -> str:
    parts, _ = _parse(url)
    path = parts.path.rstrip("/")
    if "?" in url or "#" in url:
        raise _MalformedError("it has a query or a fragment (extra_query sets query parameters)")
    if path.endswith("/chat/completions"):
        raise _MalformedError("it ends in /chat/completions, which is added to it")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _without_secrets(url: str) -> str:
    """Cut out of a URL, however malformed, what could be a password or a key."""
    before, at, after = url.rpartition("@")
    if at:
        # A "?" before the "@" is part of a password, or else the "@" is part of a query.
        url = "..." if re.search(r"[?#]", before) else f"...@{after}"
    return re.sub(r"[?#].*", "?...", url, flags=re.DOTALL)


class Origin(NamedTuple):
    """What decides whether two URLs lead to the same server (RFC 6454)."""

    scheme: str
    """``"http"`` or ``"https"``."""

    host: str
    """Lower case; IPv6 addresses in their short form, without brackets."""

    port: int
    """Also if the URL does not say it."""


class _MalformedError(ValueError):
    """A URL is none that we would send a request to. The message never quotes it."""


_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# RFC 3986, section 3.2, without user info. urllib and httpx are each more lenient than that, and
# they disagree: of https://[::1]81 one reads port 443, the other 81.
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<address>[0-9a-f.]*:[0-9a-f:.]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{0,5}))?",
    re.IGNORECASE,
)

# ASCII only, because IDNA 2003 and 2008 disagree on what some other names stand for, and so the
# origin compared here could be another than the one connected to.
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE | re.ASCII)


def _parse(url: str) -> tuple[SplitResult, Origin]:
    # urlsplit would silently remove line breaks, and other parsers take a backslash for a slash.
    if not url.isprintable() or " " in url or "\\" in url:
        raise _MalformedError("it has blanks, backslashes or unprintable characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _MalformedError("its host or port is malformed") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise _MalformedError("it does not start with http:// or https://")
    if "@" in parts.netloc:
        raise _MalformedError("it has a user name or password (write LLM(auth=...))")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise _MalformedError("its host or port is malformed")
    port = int(authority["port"] or _DEFAULT_PORTS[parts.scheme])
    if not 0 < port < 65536:
        raise _MalformedError("its port is not from 1 to 65535")
    host = _checked_host(authority["address"] or authority["name"])
    return parts, Origin(parts.scheme, host, port)


def _checked_host(host: str) -> str:
    if not host:
        raise _MalformedError("it has no host")
    # Digits and dots are an address in every spelling: some resolvers take 127.1 for one.
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise _MalformedError("its host is no proper address") from None
    if not _HOST_NAME.fullmatch(host):
        raise _MalformedError(
            "its host is malformed (a name that is not ASCII is written as 'xn--...')"
        )
    return host.lower()


def origin(url: str) -> Origin:
    """Return the origin of a URL.

    Args:
        url: An absolute URL.

    Raises:
        ValueError: If it is malformed, is not http or https, or has a user name.
    """
    _, found = _parse(url)
    return found


def same_origin(a: str, b: str) -> bool:
    """Whether what may be sent to one URL may be sent to the other.

    Args:
        a: An absolute URL.
        b: Another one, for example the target of a redirect.

    Returns:
        True if scheme, host and port are equal. False also if one of them is no proper http or
        https URL, or has a user name (which would replace our credentials).
    """
    try:
        return origin(a) == origin(b)
    except ValueError:
        return False


def is_local_host(host: str) -> bool:
    """Whether a host is this machine, so that what is sent to it passes no network.

    Args:
        host: A name or an address, in brackets or not.

    Returns:
        True for ``localhost`` and names under it (RFC 6761, section 6.3), 127.0.0.0/8
        (also mapped to IPv6) and ::1.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        # CPython looks through a mapped address only since 3.13.
        address = address.ipv4_mapped
    return address.is_loopback


def check_plain_http(
    base_url: str, *, has_credentials: bool, allow_insecure: bool, where: str = ""
) -> None:
    """Refuse to send credentials over a network unencrypted.

    Args:
        base_url: A URL made by `resolve_base_url`.
        has_credentials: Whether credentials will be sent with the requests.
        allow_insecure: Whether the user takes the risk.
        where: What the credentials are in, for example ``"extra_headers['Cookie']"``.

    Raises:
        ValueError: If credentials would go over plain http to another machine.
    """
    scheme, host, _ = origin(base_url)
    if scheme == "http" and has_credentials and not allow_insecure and not is_local_host(host):
        raise ValueError(
            f"base_url={base_url!r} would send credentials{where and f' ({where})'} unencrypted to "
            f"another machine: use https://, or LLM(auth=None) if the server takes no token, or "
            f"LLM(allow_insecure=True) if nobody else can listen"
        )
