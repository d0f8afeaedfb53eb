"""Who we are to the gateway: key and secret, access token, and which texts are secret.

This module alone knows the variables that hold them, the claims of the token, and what credentials
are called. The environment and the time are given to it; to which hosts they may go is not its
business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final, cast
from urllib.parse import quote, quote_plus

import attrs

from lktrio._definitions import Value

__all__ = [
    "TOKEN_LIFETIME",
    "Credentials",
    "access_token",
    "authorization_fault",
    "credential_words",
    "credentials_in",
    "is_credential",
    "resolve_credentials",
    "secret_words",
]

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
        f"a server that takes a key as it is, give LLM(auth=f'Bearer {{key}}'); for one that takes "
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
