"""Who we are to the gateway, and where it is: key and secret, access token, base URL, origin.

This module alone knows the environment variables, the claims of the token, and to which hosts
credentials may be sent. The environment and the time are given to it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple, cast
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

import attrs

from ._value import Value

__all__ = [
    "DEFAULT_BASE_URL",
    "STAGING_BASE_URL",
    "TOKEN_LIFETIME",
    "Credentials",
    "Origin",
    "access_token",
    "authorization_fault",
    "check_plain_http",
    "credential_words",
    "credentials_in",
    "is_credential",
    "is_local_host",
    "origin",
    "resolve_base_url",
    "resolve_credentials",
    "same_origin",
    "secret_words",
]

DEFAULT_BASE_URL: Final = "https://agent-gateway.livekit.cloud/v1"
"""The gateway of LiveKit Inference."""

STAGING_BASE_URL: Final = "https://agent-gateway.staging.livekit.cloud/v1"
"""The gateway for projects on LiveKit's staging servers."""

TOKEN_LIFETIME: Final = 600
"""Seconds for which an access token is valid."""


@attrs.frozen(eq=False, repr=False)
class Credentials(Value):
    """A LiveKit API key and its secret."""

    api_key: str
    """Names the project; sent as the issuer of the token."""

    api_secret: str = attrs.field(repr=False)
    """Signs the token; never sent, never shown."""


def resolve_credentials(
    api_key: str | None, api_secret: str | None, env: Mapping[str, str]
) -> Credentials:
    """Find the API key and its secret.

    Each is the argument, else ``LIVEKIT_INFERENCE_API_KEY`` (``..._SECRET``), else
    ``LIVEKIT_API_KEY`` (``..._SECRET``). A variable that is empty counts as not set.

    Args:
        api_key: The key, or None.
        api_secret: The secret, or None.
        env: The environment, in general `os.environ`.

    Returns:
        Credentials that have been used to sign once, so a secret that cannot sign is found here.

    Raises:
        TypeError: If an argument is not a string.
        ValueError: If one is missing, empty, has blanks around it, or cannot sign.
    """
    credentials = Credentials(
        _resolve("api_key", api_key, "API_KEY", env),
        _resolve("api_secret", api_secret, "API_SECRET", env),
    )
    access_token(credentials, now=0)
    return credentials


def _resolve(parameter: str, value: object, variable: str, env: Mapping[str, str]) -> str:
    sources = {
        parameter: value,
        f"LIVEKIT_INFERENCE_{variable}": env.get(f"LIVEKIT_INFERENCE_{variable}") or None,
        f"LIVEKIT_{variable}": env.get(f"LIVEKIT_{variable}") or None,
    }
    for source, found in sources.items():
        if found is None:
            continue
        # What was found may be a secret and is not shown.
        if not isinstance(found, str):
            raise TypeError(f"{source} is a string or None, not {type(found).__name__}")
        if not found:
            raise ValueError(f"{source} is empty; give None to use the environment")
        if found != found.strip() or not found.isprintable():
            raise ValueError(f"{source} has blanks around it, or unprintable characters")
        return found
    _, *variables = sources
    raise ValueError(
        f"{parameter} is missing: give LLM({parameter}=...) or set {' or '.join(variables)}. For "
        f"a server that takes another bearer token, give LLM(auth='...'); for one that takes "
        f"none, LLM(auth=None)"
    )


def access_token(credentials: Credentials, *, now: float) -> str:
    """Sign an access token for LiveKit Inference.

    It is a JSON Web Token (RFC 7519) signed with HMAC-SHA256, with the claims ``iss`` (the key),
    ``sub`` (``"agent"``), ``inference`` (``{"perform": true}``), ``nbf`` and ``exp``.

    Args:
        credentials: Key and secret.
        now: Seconds since the Unix epoch.

    Returns:
        The token, valid for `TOKEN_LIFETIME` seconds from ``now``.

    Raises:
        ValueError: If the secret cannot sign (it is a public key or a certificate).
    """
    claims = {
        "iss": credentials.api_key,
        "sub": "agent",
        "inference": {"perform": True},
        "nbf": int(now),
        "exp": int(now) + TOKEN_LIFETIME,
    }
    payload = json.dumps(claims, separators=(",", ":")).encode()
    # Imported where it is needed: PyJWT loads urllib.request, and all of cryptography if that is
    # installed, which costs as much as the rest of this library.
    from jwt.exceptions import InvalidKeyError

    try:
        return _signer()(payload, credentials.api_secret, "HS256")
    except InvalidKeyError as error:
        raise ValueError(f"api_secret cannot sign a token: {error}") from None


@cache
def _signer() -> Callable[[bytes, str, str], str]:
    from jwt import PyJWS
    from jwt.algorithms import HMACAlgorithm

    class HS256(HMACAlgorithm):
        """HMAC-SHA256 with a secret of any length.

        PyJWT warns of secrets below 32 bytes (RFC 7518, section 3.2). Who issued the secret
        chose its length, and LiveKit's development server uses "secret": to warn whoever signs
        helps nobody, and with warnings as errors it would break the program. A warnings filter
        would do it for the whole process, and not safely with several threads.
        """

        def check_key_length(self, key: bytes) -> None:  # noqa: ARG002
            return None

    signer = PyJWS(algorithms=[])
    signer.register_algorithm("HS256", HS256(HMACAlgorithm.SHA256))
    # PyJWT's own annotation names types of cryptography, which need not be installed.
    return cast("Callable[[bytes, str, str], str]", getattr(signer, "encode"))  # noqa: B009


# RFC 9110, section 11.4: a scheme, spaces, and what goes with it. Of these two schemes it is one
# word (RFC 6750, section 2.1; RFC 7617, section 2).
_SCHEME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ONE_WORD_SCHEMES: Final = ("bearer", "basic")


def authorization_fault(value: str) -> str | None:
    """Say what keeps a value from being an ``Authorization`` header, before a server has to.

    Args:
        value: The value of the header: a scheme and what goes with it, such as ``Bearer sk-...``.

    Returns:
        The rest of a sentence, for after what gave the value, which itself is not in it; None if
        nothing is wrong. It is the caller that raises: no frame with the value in it is then part
        of the traceback.
    """
    scheme, _, rest = value.strip().partition(" ")
    if not value.strip():
        fault = "is empty: give the header that the server wants"
    elif not rest and scheme.lower() in _ONE_WORD_SCHEMES:
        fault = "has a scheme and no key (is the variable with the key empty?)"
    elif value != value.strip():
        fault = "has blanks or a line break around it: take them off"
    elif not value.isascii() or not value.isprintable():
        fault = "has characters in it that are not printable ASCII"
    elif not rest or not _SCHEME.fullmatch(scheme):
        fault = (
            "has no scheme: write auth=f'Bearer {key}'. To a server that wants the bare key, "
            "auth=None and extra_kwargs={'extra_headers': {'Authorization': key}} send it"
        )
    elif scheme.lower() in _ONE_WORD_SCHEMES and " " in rest.strip():
        fault = "has blanks in the key, or two schemes: it takes one of each"
    else:
        return None
    return f"{fault}. An Authorization header looks like 'Bearer sk-...'; with None, none is sent"


_CREDENTIAL_PARTS: Final = ("authorization", "cookie", "key", "token", "secret", "password")
_CREDENTIAL_NAMES: Final = frozenset({"sig", "signature"})
_CREDENTIAL_PREFIX: Final = "cf-access-"
_SHORTEST_SECRET: Final = 8


def is_credential(name: str) -> bool:
    """Whether a header or a query parameter has the name of a credential.

    The one list of such names: what they hold is taken out of what a server says and out of
    recordings, and is not sent unencrypted.
    """
    name = name.lower()
    return (
        any(part in name for part in _CREDENTIAL_PARTS)
        or name in _CREDENTIAL_NAMES
        or name.startswith(_CREDENTIAL_PREFIX)
    )


def credentials_in(values: Mapping[str, object]) -> tuple[str, ...]:
    """The names of the credentials among headers or query parameters. A number is none."""
    return tuple(
        name
        for name, value in values.items()
        if is_credential(name) and any(isinstance(one, str) and one for one in _each(value))
    )


def credential_words(values: Mapping[str, object]) -> tuple[str, ...]:
    """What must not be shown of headers or query parameters, should a server echo them."""
    words: list[str] = []
    for name, value in values.items():
        if is_credential(name):
            for text in map(str, _each(value)):
                words += secret_words(text)
                if "cookie" in name.lower():
                    for cookie in text.split(";"):
                        words += secret_words(cookie.partition("=")[2])
    return tuple(words)


def _each(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)


def secret_words(credential: str) -> tuple[str, ...]:
    """What must not be shown of a credential, should a server echo it: all of it, and its last
    word, as they are and as they stand in JSON and in a URL. Short words would be found
    everywhere, and are no secrets."""
    words = dict.fromkeys(
        spelling
        for word in (credential.strip(), credential.rpartition(" ")[2].strip("\"'"))
        if len(word) >= _SHORTEST_SECRET
        for spelling in _spellings(word)
    )
    return tuple(words)


def _spellings(word: str) -> Iterator[str]:
    yield word
    escaped = json.dumps(word)[1:-1]
    yield escaped
    yield repr(word)[1:-1]
    yield json.dumps(word, ensure_ascii=False)[1:-1]
    # As PHP writes JSON.
    yield escaped.replace("/", "\\/")
    yield quote(word, safe="", errors="replace")
    yield quote(word, errors="replace")
    yield quote_plus(word, errors="replace")


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
