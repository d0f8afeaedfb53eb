"""What lets a bearer in, and every way in which a token is wrong."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from lktrio._settings.credentials import TOKEN_LIFETIME, Credentials, access_token
from lktrio.testing._tokens import fault_of_token

KEY = "APIkey"
# Long enough for every algorithm, so that PyJWT does not warn.
SECRET = "the secret " * 8
OTHER_SECRET = "another secret " * 8
NOW = 1_800_000_000.5
CLAIMS: dict[str, Any] = {
    "iss": KEY,
    "sub": "agent",
    "inference": {"perform": True},
    "nbf": int(NOW),
    "exp": int(NOW) + 600,
}


def fault(authorization: str | None, now: float = NOW) -> str | None:
    return fault_of_token(authorization, api_key=KEY, api_secret=SECRET, now=now)


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    # Signed by somebody else's code, which checks what is checked here.
    return f"Bearer {jwt.encode(claims, secret, algorithm=algorithm)}"


def test_a_token_of_the_library_lets_in() -> None:
    token = access_token(Credentials(KEY, SECRET), now=NOW)
    assert fault(f"Bearer {token}") is None
    assert fault(f"bearer {token}", NOW + TOKEN_LIFETIME - 1) is None
    assert fault(f"Bearer {token}", NOW + TOKEN_LIFETIME) == "the token expired 0 s ago"


def test_a_token_of_another_library_lets_in() -> None:
    assert fault(signed()) is None
    assert fault(signed(nbf=None)) is None


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "there is no Authorization header"),
        ("", "not 'Bearer <token>'"),
        ("Bearer ", "not 'Bearer <token>'"),
        (f"Token {signed()}", "not 'Bearer <token>'"),
        ("Bearer a.b", "not a JSON Web Token"),
        ("Bearer a.b.c", "not a JSON Web Token"),
        ("Bearer WzFd.WzFd.c", "not a JSON Web Token"),
        (f"{signed()}.x", "not a JSON Web Token"),
        (signed(algorithm="HS384"), "algorithm is 'HS384', not 'HS256'"),
        (signed(algorithm="none", secret=""), "algorithm is 'none'"),
        (signed(secret=OTHER_SECRET), "signature was not made"),
        (f"{signed()}x", "signature was not made"),
        (signed(iss="APIother"), "issued by 'APIother', not by 'APIkey'"),
        (signed(iss=None), "issued by None"),
        (signed(exp=int(NOW) - 60), "expired 60 s ago"),
        (signed(exp=None), "until when it is valid"),
        (signed(exp="tomorrow"), "until when it is valid"),
        (signed(nbf=int(NOW) + 90), "not valid before 90 s from now"),
        (signed(inference=None), "does not grant inference"),
        (signed(inference={"perform": 1}), "does not grant inference"),
        (signed(inference={"admin": True}), "does not grant inference"),
        (signed(inference=True), "does not grant inference"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(authorization: str | None, reason: str) -> None:
    said = fault(authorization)
    assert said is not None
    assert reason in said
    assert SECRET not in said
    assert [part for part in str(authorization).split(".") if len(part) > 20 and part in said] == []


def test_a_signature_of_other_characters_is_none() -> None:
    head, _, _ = signed().rpartition(".")
    assert fault(f"{head}.ü") == "the token's signature was not made with this gateway's api_secret"


def test_claims_are_looked_at_only_when_signed() -> None:
    forged = signed(secret=OTHER_SECRET, iss="APIother")
    assert "signature" in str(fault(forged))
