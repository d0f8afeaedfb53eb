"""Whether an access token lets its bearer in: the gateway's side of the credentials.

This module alone knows how a token is checked. It is written from the description of the token, and
shares nothing with the code that signs it.

Source: RFC 7519 (claims), RFC 7515 (signature), RFC 7518 section 3.2 (HS256).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any, cast

__all__ = ["fault_of_token"]


def fault_of_token(
    authorization: str | None, *, api_key: str, api_secret: str, now: float
) -> str | None:
    """Say why a request is refused; None if it is not.

    Args:
        authorization: Value of the ``Authorization`` header, or None.
        api_key: The key that must have issued the token.
        api_secret: The secret that must have signed it.
        now: Seconds since the Unix epoch.

    Returns:
        The reason, which quotes neither token nor secret.
    """
    if authorization is None:
        return "there is no Authorization header"
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return "the Authorization header is not 'Bearer <token>'"
    parts = token.split(".")
    header, claims = _decoded(parts[0]), _decoded(parts[1]) if len(parts) == 3 else None
    if header is None or claims is None:
        return "the token is not a JSON Web Token"
    if header.get("alg") != "HS256":
        return f"the token's algorithm is {header.get('alg')!r}, not 'HS256'"
    signed = ".".join(parts[:2]).encode()
    signature = base64.urlsafe_b64encode(
        hmac.new(api_secret.encode(), signed, hashlib.sha256).digest()
    )
    if not hmac.compare_digest(signature.rstrip(b"="), parts[2].encode()):
        return "the token's signature was not made with this gateway's api_secret"
    return _fault_of_claims(claims, api_key, now)


def _fault_of_claims(claims: dict[str, Any], api_key: str, now: float) -> str | None:
    if claims.get("iss") != api_key:
        return f"the token was issued by {claims.get('iss')!r}, not by {api_key!r}"
    not_before, expires = claims.get("nbf", 0), claims.get("exp")
    if not isinstance(expires, (int, float)) or not isinstance(not_before, (int, float)):
        return "the token does not say, in numbers, until when it is valid"
    if now >= expires:
        return f"the token expired {now - expires:.0f} s ago"
    if now < not_before:
        return f"the token is not valid before {not_before - now:.0f} s from now"
    grant = claims.get("inference")
    if not isinstance(grant, dict) or cast("dict[str, Any]", grant).get("perform") is not True:
        return "the token does not grant inference (its claim inference.perform is not true)"
    return None


def _decoded(part: str) -> dict[str, Any] | None:
    try:
        value: object = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
