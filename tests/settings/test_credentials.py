"""Tokens, environment variables, base URLs, and where credentials may go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import traceback
import warnings
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lktrio._settings.credentials import (
    TOKEN_LIFETIME,
    Credentials,
    access_token,
    authorization_fault,
    credential_words,
    credentials_in,
    is_credential,
    resolve_credentials,
    secret_words,
)
from lktrio._settings.origins import (
    DEFAULT_BASE_URL,
    STAGING_BASE_URL,
    Origin,
    check_plain_http,
    is_local_host,
    origin,
    resolve_base_url,
    same_origin,
)
from lktrio._settings.secret import Secret

SECRET = "secret-0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000.75


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class TestAccessToken:
    def test_claims(self) -> None:
        header, claims, _ = access_token(Credentials("devkey", SECRET), now=NOW).split(".")
        assert decoded(header) == {"alg": "HS256", "typ": "JWT"}
        assert decoded(claims) == {
            "iss": "devkey",
            "sub": "agent",
            "inference": {"perform": True},
            "nbf": 1_700_000_000,
            "exp": 1_700_000_600,
        }
        assert TOKEN_LIFETIME == 600

    # LiveKit's development server uses "secret"; PyJWT would warn of it.
    @pytest.mark.parametrize("secret", ["secret", SECRET])
    def test_signature_with_secrets_of_any_length_and_without_a_warning(self, secret: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            token = access_token(Credentials("devkey", secret), now=NOW)
        signed, _, signature = token.rpartition(".")
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        assert signature == base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @pytest.mark.skipif(
        not hasattr(jwt, "InsecureKeyLengthWarning"), reason="this PyJWT never warns"
    )
    def test_the_warning_stays_on_for_the_rest_of_the_program(self) -> None:
        access_token(Credentials("devkey", "secret"), now=NOW)
        with pytest.warns(jwt.InsecureKeyLengthWarning):
            jwt.encode({}, "secret", algorithm="HS256")

    @given(
        key=st.text(min_size=1),
        secret=st.text(st.characters(codec="utf-8"), min_size=1),
        now=st.floats(0, 1e11),
    )
    def test_any_key_secret_and_time_make_a_token_that_verifies(
        self, key: str, secret: str, now: float
    ) -> None:
        token = access_token(Credentials(key, secret), now=now)
        signed, _, signature = token.rpartition(".")
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        assert signature == base64.urlsafe_b64encode(digest).decode().rstrip("=")
        claims = decoded(token.split(".")[1])
        assert claims["iss"] == key
        assert claims["exp"] - claims["nbf"] == 600
        assert 0 <= now - claims["nbf"] < 1

    def test_importing_the_module_does_not_import_pyjwt(self) -> None:
        code = "import sys, lktrio._settings.credentials; print('jwt' in sys.modules)"
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
        assert output == "False\n"

    def test_the_secret_is_not_shown(self) -> None:
        credentials = Credentials("devkey", SECRET)
        assert repr(credentials) == str(credentials) == "Credentials(api_key='devkey')"


class TestResolveCredentials:
    @pytest.mark.parametrize(
        ("arguments", "env", "expected"),
        [
            (("a", "b"), {}, ("a", "b")),
            (("a", "b"), {"LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s"}, ("a", "b")),
            ((None, None), {"LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s"}, ("k", "s")),
            (("a", None), {"LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s"}, ("a", "s")),
            (
                (None, None),
                {
                    "LIVEKIT_API_KEY": "k",
                    "LIVEKIT_API_SECRET": "s",
                    "LIVEKIT_INFERENCE_API_KEY": "ik",
                    "LIVEKIT_INFERENCE_API_SECRET": "is",
                },
                ("ik", "is"),
            ),
            (
                (None, None),
                {
                    "LIVEKIT_API_KEY": "k",
                    "LIVEKIT_API_SECRET": "s",
                    "LIVEKIT_INFERENCE_API_KEY": "",
                },
                ("k", "s"),
            ),
        ],
    )
    def test_argument_then_inference_variable_then_general_variable(
        self,
        arguments: tuple[str | None, str | None],
        env: dict[str, str],
        expected: tuple[str, str],
    ) -> None:
        assert resolve_credentials(*arguments, env) == Credentials(*expected)

    @pytest.mark.parametrize(
        ("env", "parameter", "variable"),
        [
            ({}, "api_key", "API_KEY"),
            ({"LIVEKIT_API_SECRET": "s"}, "api_key", "API_KEY"),
            ({"LIVEKIT_API_KEY": "k"}, "api_secret", "API_SECRET"),
            ({"LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": ""}, "api_secret", "API_SECRET"),
        ],
    )
    def test_what_is_missing_names_argument_variables_and_the_way_out(
        self, env: dict[str, str], parameter: str, variable: str
    ) -> None:
        with pytest.raises(ValueError, match=rf"^{parameter} is missing: ") as caught:
            resolve_credentials(None, None, env)
        message = str(caught.value)
        assert f"LLM({parameter}=...)" in message
        assert f"LIVEKIT_INFERENCE_{variable} or LIVEKIT_{variable}" in message
        assert "LLM(auth=f'Bearer {key}')" in message
        assert "LLM(auth=None)" in message

    def test_an_empty_argument_is_not_taken_from_the_environment(self) -> None:
        with pytest.raises(ValueError, match=r"^api_key is empty; "):
            resolve_credentials("", "s", {"LIVEKIT_API_KEY": "k"})

    @pytest.mark.parametrize("value", ["sesame\n", " sesame", "ses\0ame", "sesame\udc80"])
    def test_damaged_values_are_refused_without_being_shown(self, value: str) -> None:
        with pytest.raises(ValueError, match=r"^LIVEKIT_API_SECRET has blanks around it") as caught:
            resolve_credentials("k", None, {"LIVEKIT_API_SECRET": value})
        assert "ame" not in str(caught.value)

    def test_another_type_is_refused_without_being_shown(self) -> None:
        secret: Any = b"sesame"
        with pytest.raises(TypeError, match=r"^api_secret is a string or None, not bytes$"):
            resolve_credentials("k", secret, {})

    def test_a_secret_that_cannot_sign_is_found_at_once(self) -> None:
        with pytest.raises(ValueError, match=r"^api_secret cannot sign a token: ") as caught:
            resolve_credentials("k", "ssh-rsa AAAAsesame", {})
        assert "sesame" not in str(caught.value)


class TestAuthorization:
    @pytest.mark.parametrize(
        "value",
        [
            "Bearer sk-1",
            "bearer sk-1",
            "Bearer  sk-1",
            "Bearer id|tok:en==",
            "Basic dXNlcjpwYXNz",
            'Digest username="a b", realm="c"',
            "Api-Key x",
            "Token token=x, option=y",
        ],
    )
    def test_a_scheme_and_what_goes_with_it(self, value: str) -> None:
        assert authorization_fault(value) is None

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            ("", "is empty"),
            (" \t", "is empty"),
            ("Bearer", "scheme and no key (is the variable with the key empty?)"),
            ("Bearer ", "scheme and no key (is the"),
            ("Bearer sk-1 ", "blanks or a line break around it"),
            (" Bearer sk-1", "blanks or a line break around it"),
            ("\tBearer sk-1", "blanks or a line break around it"),
            ("Bearer sk-1\n", "blanks or a line break around it"),
            ("Bearer sk\r\n-1", "not printable ASCII"),
            ("Bearer s\u00e4-1", "not printable ASCII"),
            ("Bearer\tsk-1", "not printable ASCII"),
            ("sk-1", "no scheme: write auth=f'Bearer {key}'"),
            ("sk-proj-abc_123", "no scheme"),
            ('"Bearer sk-1"', "no scheme"),
            ("Bearer: sk-1", "no scheme"),
            ("Bearer Bearer sk-1", "two schemes"),
            ("Bearer sk-1 sk-2", "two schemes"),
            ("Basic sk-1 x", "two schemes"),
        ],
    )
    def test_what_is_no_header_is_told_without_being_shown(self, value: str, fault: str) -> None:
        said = authorization_fault(value)

        assert said is not None
        assert fault in said
        assert "'Bearer sk-...'" in said
        assert "sk-1" not in said


class TestResolveBaseURL:
    @pytest.mark.parametrize(
        ("base_url", "env", "expected"),
        [
            (None, {}, DEFAULT_BASE_URL),
            (None, {"LIVEKIT_URL": "wss://p.livekit.cloud"}, DEFAULT_BASE_URL),
            (None, {"LIVEKIT_URL": "wss://p.staging.livekit.cloud"}, STAGING_BASE_URL),
            (None, {"LIVEKIT_INFERENCE_URL": ""}, DEFAULT_BASE_URL),
            (
                None,
                {
                    "LIVEKIT_INFERENCE_URL": "http://inference/v1/",
                    "LIVEKIT_URL": "wss://p.staging.livekit.cloud",
                },
                "http://inference/v1",
            ),
            (
                "http://argument",
                {"LIVEKIT_INFERENCE_URL": "http://inference/v1"},
                "http://argument",
            ),
        ],
    )
    def test_argument_then_variable_then_staging_rule_then_default(
        self, base_url: str | None, env: dict[str, str], expected: str
    ) -> None:
        assert resolve_base_url(base_url, env) == expected

    def test_the_defaults(self) -> None:
        assert DEFAULT_BASE_URL == "https://agent-gateway.livekit.cloud/v1"
        assert STAGING_BASE_URL == "https://agent-gateway.staging.livekit.cloud/v1"

    @pytest.mark.parametrize(
        ("given_url", "cleaned"),
        [
            ("https://host/v1", "https://host/v1"),
            ("https://host/v1//", "https://host/v1"),
            ("https://host/", "https://host"),
            ("HTTP://Host:8080/V1", "http://Host:8080/V1"),
            ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
            ("http://my_service:1/v1", "http://my_service:1/v1"),
            ("https://xn--bcher-kva.example./v1", "https://xn--bcher-kva.example./v1"),
            ("http://localhost/user@home/v1", "http://localhost/user@home/v1"),
        ],
    )
    def test_proper_urls(self, given_url: str, cleaned: str) -> None:
        assert resolve_base_url(given_url, {}) == cleaned

    @pytest.mark.parametrize(
        ("url", "fault"),
        [
            ("", "does not start with http"),
            ("host/v1", "does not start with http"),
            ("localhost:8080/v1", "does not start with http"),
            ("wss://host/v1", "does not start with http"),
            ("file:///etc", "does not start with http"),
            ("http://", "no host"),
            ("http:///v1", "no host"),
            ("https:/host", "no host"),
            ("https:host", "no host"),
            ("http://:80/v1", "no host"),
            ("http://ho st/v1", "blanks"),
            (" http://host/v1", "blanks"),
            ("http://host/v1\n", "blanks"),
            ("http://host/v\u00a01", "blanks"),
            ("http:\\\\host\\v1", "backslashes"),
            ("http://host:99999/v1", "port is not from 1 to 65535"),
            ("http://host:123456/v1", "host or port is malformed"),
            ("http://host:port/v1", "host or port is malformed"),
            ("http://[::1/v1", "host or port is malformed"),
            ("http://[::1]80/v1", "host or port is malformed"),
            ("http://[v1.x]/v1", "host or port is malformed"),
            ("http://[127.0.0.1]/v1", "host or port is malformed"),
            ("http://host:0/v1", "port is not from 1 to 65535"),
            ("http://a..b/v1", "host is malformed"),
            ("http://ho%73t/v1", "host is malformed"),
            ("http://(host)/v1", "host is malformed"),
            ("http://bücher.example/v1", "written as 'xn--...'"),
            ("http://256.1.1.1/v1", "no proper address"),
            ("http://127.1/v1", "no proper address"),
            ("http://1²/v1", "written as 'xn--...'"),
            ("http://host/v1/chat/completions/", "ends in /chat/completions"),
        ],
    )
    def test_malformed_urls_are_refused_with_the_reason(self, url: str, fault: str) -> None:
        with pytest.raises(ValueError, match=r"is not accepted: ") as caught:
            resolve_base_url(url, {})
        message = str(caught.value)
        assert message.startswith(f"base_url={url!r} is not accepted: ")
        assert fault in message
        assert message.endswith("It takes a URL like 'http://localhost:8080/v1'")

    @pytest.mark.parametrize("end", ["?key=1", "?", "#top"])
    def test_query_and_fragment_are_refused(self, end: str) -> None:
        with pytest.raises(
            ValueError, match=r"^base_url='http://h\?\.\.\.' .*: it has a query or a fr"
        ):
            resolve_base_url(f"http://h{end}", {})

    def test_the_variable_is_named_if_it_is_to_blame(self) -> None:
        with pytest.raises(ValueError, match=r"^LIVEKIT_INFERENCE_URL='host'"):
            resolve_base_url(None, {"LIVEKIT_INFERENCE_URL": "host"})

    def test_another_type_is_refused(self) -> None:
        url: Any = b"http://host"
        with pytest.raises(TypeError, match=r"^base_url is a string or None, not bytes$"):
            resolve_base_url(url, {})

    @pytest.mark.parametrize(
        "url",
        [
            "https://user:SESAME@host/v1",
            "https://SESAME@host/v1",
            "user:SESAME@host/v1",
            "https://user:SES@SESAME@host/v1",
            "https://user:?SESAME@host/v1",
            "https://user:SESAME#@host/v1",
            "https://user:SESAME\n@host/v1",
            "https://user:SESAME@[::1/v1",
            "https://user:SESAME@host:port/v1",
            "https://SESAME\u2100@host/v1",
            "https://host/v1?key=SESAME",
            "https://host/v1?mail=a@b&key=SESAME",
            "https://host/v1#SESAME",
            "host?SES\nSESAME",
        ],
    )
    def test_secrets_in_a_url_are_refused_and_never_shown(self, url: str) -> None:
        with pytest.raises(ValueError, match="is not accepted") as caught:
            resolve_base_url(url, {})
        seen: BaseException | None = caught.value
        while seen is not None:
            assert "SESAME" not in "".join(traceback.format_exception_only(seen))
            seen = seen.__context__


class TestOrigin:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://host", Origin("http", "host", 80)),
            ("HTTPS://Host/v1", Origin("https", "host", 443)),
            ("https://host:8443/v1?x=1#y", Origin("https", "host", 8443)),
            ("http://[::1]:8080", Origin("http", "::1", 8080)),
            ("http://[0:0::0:1]", Origin("http", "::1", 80)),
            ("http://127.0.0.1:/", Origin("http", "127.0.0.1", 80)),
            ("http://Xn--bcher-kva.example", Origin("http", "xn--bcher-kva.example", 80)),
        ],
    )
    def test_origin(self, url: str, expected: Origin) -> None:
        assert origin(url) == expected

    @pytest.mark.parametrize("url", ["/v1", "ftp://host", "http://", "http://u:p@host"])
    def test_what_has_no_origin(self, url: str) -> None:
        with pytest.raises(ValueError, match="it "):
            origin(url)

    @pytest.mark.parametrize(
        ("a", "b", "same"),
        [
            ("https://host/v1", "https://HOST:443/v2?x=1", True),
            ("http://host:80/", "http://host", True),
            # One host by IDNA 2003, another by IDNA 2008.
            ("https://strasse.example", "https://straße.example", False),
            ("https://host/v1", "http://host/v1", False),
            ("https://host", "https://host:444", False),
            ("https://host", "https://other", False),
            ("https://host", "https://host.", False),
            ("https://host", "https://sub.host", False),
            ("https://host", "https://host@evil", False),
            ("https://host", "https://user@host", False),
            ("https://host", "https://host\\@evil", False),
            ("https://host", "https://evil\\@host", False),
            ("https://host", "https://ho\nst", False),
            ("https://host", "//host/v1", False),
            ("https://host", "javascript:alert(1)", False),
            ("https://host", "", False),
            ("", "", False),
        ],
    )
    def test_same_origin(self, a: str, b: str, same: bool) -> None:
        assert same_origin(a, b) is same
        assert same_origin(b, a) is same

    @given(st.text(st.sampled_from("abz019.-_~:/@[]%éß²\\?#!&()*+,;= \u3002ⓔ"), max_size=9))
    def test_httpx_connects_to_the_origin_that_was_found(self, rest: str) -> None:
        for url in (f"https://{rest}", f"https://host{rest}", f"https://[::1]{rest}"):
            assert same_origin("https://host", url) in (True, False)
            try:
                found = origin(url)
            except ValueError:
                continue
            parsed = httpx.URL(url)
            assert (parsed.host, parsed.port or 443) == (found.host, found.port)
            assert not parsed.userinfo


class TestPlainHTTP:
    @pytest.mark.parametrize(
        ("host", "local"),
        [
            ("localhost", True),
            ("LOCALHOST.", True),
            ("app.localhost", True),
            ("127.0.0.1", True),
            ("127.255.255.254", True),
            ("::1", True),
            ("[::1]", True),
            ("::ffff:127.0.0.1", True),
            ("::ffff:10.0.0.1", False),
            ("::2", False),
            ("0.0.0.0", False),
            ("10.0.0.1", False),
            ("128.0.0.1", False),
            ("127.0.0.1.example.com", False),
            ("localhost.example.com", False),
            ("notlocalhost", False),
            ("127.1", False),
            ("", False),
        ],
    )
    def test_is_local_host(self, host: str, local: bool) -> None:
        assert is_local_host(host) is local

    @given(st.ip_addresses(network="127.0.0.0/8"))
    def test_all_of_127_is_local(self, address: object) -> None:
        assert is_local_host(str(address))

    def test_credentials_over_plain_http_to_another_machine_are_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"^base_url='http://example\.com/v1' would "
        ) as caught:
            check_plain_http("http://example.com/v1", has_credentials=True, allow_insecure=False)
        for way_out in ("https://", "LLM(auth=None)", "LLM(allow_insecure=True)"):
            assert way_out in str(caught.value)

    @pytest.mark.parametrize(
        ("base_url", "has_credentials", "allow_insecure"),
        [
            ("https://example.com/v1", True, False),
            ("http://localhost:8080/v1", True, False),
            ("http://[::1]:8080/v1", True, False),
            ("http://example.com/v1", False, False),
            ("http://example.com/v1", True, True),
        ],
    )
    def test_everything_else_is_allowed(
        self, base_url: str, has_credentials: bool, allow_insecure: bool
    ) -> None:
        check_plain_http(base_url, has_credentials=has_credentials, allow_insecure=allow_insecure)


# --- What is a credential ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "api-key",
            "X-API-Key",
            "apikey",
            "key",
        ),
        *(
            "x-goog-api-key",
            "Ocp-Apim-Subscription-Key",
            "X-Auth-Token",
            "access_token",
            "password",
        ),
        *("client_secret", "CF-Access-Client-Secret", "CF-Access-Client-Id", "sig", "Signature"),
    ],
)
def test_the_names_of_credentials(name: str) -> None:
    assert is_credential(name)
    assert credentials_in({name: "x"}) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Type", "Accept", "User-Agent", "traceparent", "X-Request-Id", "api-version"),
        *("OpenAI-Organization", "X-Title", "design", "X-LiveKit-Inference-Provider", "assigned"),
    ],
)
def test_other_names_are_none(name: str) -> None:
    assert not is_credential(name)
    assert credentials_in({name: "application/json"}) == ()
    assert credential_words({name: "application/json"}) == ()


def test_a_number_or_nothing_is_no_credential_to_be_refused() -> None:
    assert credentials_in({"max_tokens": 10, "key": "", "keys": []}) == ()
    assert credentials_in({"key": ["", "abc"]}) == ("key",)
    assert credential_words({"key": 123456789}) == ("123456789",)


def test_what_must_not_be_shown_of_a_credential() -> None:
    assert secret_words("Bearer sk-12345") == (
        "Bearer sk-12345",
        "Bearer%20sk-12345",
        "Bearer+sk-12345",
        "sk-12345",
    )
    assert secret_words("sk-1234") == ()
    assert secret_words('"quoted-secret"') == (
        '"quoted-secret"',
        r"\"quoted-secret\"",
        "%22quoted-secret%22",
        "quoted-secret",
    )


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        ("secret/with+all=", r"secret\/with+all="),
        ("secret/with+all=", "secret%2Fwith%2Ball%3D"),
        ("secret/with+all=", "secret/with%2Ball%3D"),
        ('a"b\\c-secret', r"a\"b\\c-secret"),
        ("sécret-word", r"s\u00e9cret-word"),
        ("sécret-word", "s%C3%A9cret-word"),
    ],
)
def test_a_secret_is_known_as_it_stands_in_json_and_in_a_url(value: str, spelling: str) -> None:
    assert spelling in secret_words(value)
    assert value in secret_words(value)


def test_every_cookie_is_a_secret() -> None:
    words = credential_words({"Cookie": "theme=dark; session=0123456789abcdef; id=abcdefgh"})
    assert {"0123456789abcdef", "abcdefgh"} <= set(words)
    assert "dark" not in words


def test_the_refusal_of_plain_http_names_the_credential_and_does_not_show_it() -> None:
    with pytest.raises(ValueError, match="unencrypted") as caught:
        check_plain_http(
            "http://example.com/v1",
            has_credentials=True,
            allow_insecure=False,
            where="extra_query['key']",
        )
    assert "credentials (extra_query['key']) unencrypted" in str(caught.value)


def test_a_secret_is_equal_to_the_same_one_and_to_no_text() -> None:
    assert Secret("sk-123") == Secret("sk-123")
    assert Secret("sk-123") != Secret("sk-124")
    assert (Secret("sk-123") == "sk-123") is False
