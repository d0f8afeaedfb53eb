"""Which servers `NO_PROXY` leaves to be reached without a proxy, as docs/howto/proxies.md says it."""

from __future__ import annotations

import logging

import pytest

from lktrio._http.proxy import Proxies, Proxy, read_bypasses, read_proxy
from lktrio._settings.secret import Secret

PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def goes_without(url: str) -> bool:
    """Whether a server is reached without a proxy. The URL has a port."""
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    return Proxies().choose(scheme, host.strip("[]"), int(port)) is None


# What the list says, and then: servers that are reached without a proxy, and servers that are not.
TABLE = [
    # Names: the server itself, and all below it.
    ("corp.example", "https://corp.example:443", "https://xcorp.example:443"),
    ("corp.example", "https://a.b.corp.example:8443", "https://corp.example.com:443"),
    ("corp.example", "http://corp.example:80", "http://example:80"),
    ("intranet", "http://intranet:80", "http://intranet.example:80"),
    ("CORP.Example", "https://corp.example:443", "https://corp.examples:443"),
    ("corp.example", "https://CORP.example:443", "https://corp:443"),
    ("corp.example.", "https://corp.example:443", "https://example:443"),
    ("corp.example", "https://corp.example.:443", "https://example.:443"),
    ("_srv.corp-1.example", "https://_srv.corp-1.example:443", "https://corp-1.example:443"),
    # A dot before it: only those below.
    (".corp.example", "https://a.corp.example:443", "https://corp.example:443"),
    ("*.corp.example", "https://a.b.corp.example:443", "https://corp.example:443"),
    # Ports.
    ("corp.example:8443", "https://corp.example:8443", "https://corp.example:443"),
    (".corp.example:8443", "https://a.corp.example:8443", "https://a.corp.example:443"),
    ("10.1.2.3:80", "http://10.1.2.3:80", "http://10.1.2.3:81"),
    ("10.0.0.0/8:80", "http://10.1.2.3:80", "http://10.1.2.3:81"),
    ("[2001:db8::1]:80", "http://[2001:db8::1]:80", "http://[2001:db8::1]:81"),
    ("*:8080", "http://whatever.example:8080", "http://whatever.example:80"),
    # Schemes.
    ("http://corp.example", "http://corp.example:80", "https://corp.example:443"),
    ("https://corp.example:8443/", "https://corp.example:8443", "http://corp.example:8443"),
    ("all://corp.example", "https://corp.example:443", "https://other.example:443"),
    # Addresses and networks.
    ("192.0.2.7", "https://192.0.2.7:443", "https://192.0.2.8:443"),
    ("192.0.2.0/24", "https://192.0.2.255:443", "https://192.0.3.0:443"),
    ("192.0.2.77/24", "https://192.0.2.1:443", "https://192.0.3.77:443"),
    ("192.0.2.0/255.255.255.0", "https://192.0.2.1:443", "https://192.0.3.1:443"),
    ("0.0.0.0/0", "https://192.0.2.1:443", "https://[2001:db8::1]:443"),
    ("2001:db8::1", "https://[2001:db8::1]:443", "https://[2001:db8::2]:443"),
    ("[2001:db8::1]", "https://[2001:db8::1]:443", "https://[2001:db8::2]:443"),
    ("2001:DB8:0::1", "https://[2001:db8::1]:443", "https://[2001:db8::10]:443"),
    ("2001:db8::/32", "https://[2001:db8:ffff::1]:443", "https://[2001:db9::1]:443"),
    ("[2001:db8::/32]", "https://[2001:db8:ffff::1]:443", "https://[2001:db9::1]:443"),
    ("[2001:db8::]/32", "https://[2001:db8:ffff::1]:443", "https://[2001:db9::1]:443"),
    ("fe80::1%eth0", "https://[fe80::1]:443", "https://[fe80::2]:443"),
    ("fe80::/10", "https://[fe80::1%eth0]:443", "https://[2001:db8::1]:443"),
    ("192.0.2.0/24", "https://[::ffff:192.0.2.1]:443", "https://[::ffff:192.0.3.1]:443"),
    ("::ffff:192.0.2.0/120", "https://192.0.2.1:443", "https://192.0.3.1:443"),
    # An address is no name, and the other way round.
    ("2.7x", "https://2.7x:443", "https://192.0.2.7:443"),
    ("192.0.2.7", "https://192.0.2.7:443", "https://192.0.2.7.example:443"),
    # IDNA.
    ("bücher.example", "https://xn--bcher-kva.example:443", "https://bucher.example:443"),
    ("BÜCHER.example", "https://a.xn--bcher-kva.example:443", "https://xn--bcher.example:443"),
    ("xn--bcher-kva.example", "https://xn--bcher-kva.example:443", "https://example:443"),
    # All.
    ("*", "https://whatever.example:443", None),
    ("*", "http://[2001:db8::1]:1", None),
    ("http://*", "http://whatever.example:80", "https://whatever.example:443"),
    ("a.example,*,b.example", "https://whatever.example:443", None),
    # Lists.
    ("a.example,b.example", "https://b.example:443", "https://c.example:443"),
    ("a.example b.example", "https://b.example:443", "https://a.example.b:443"),
    (" a.example ,\tb.example,, ", "https://b.example:443", "https://c.example:443"),
    ("localhost,::1,[::1],10.0.0.0/8", "https://10.9.9.9:443", "https://11.0.0.1:443"),
    # What cannot be read does not spoil the rest.
    ("192.168.*,???,a.example", "https://a.example:443", "https://192.168.1.1:443"),
]


@pytest.mark.parametrize(("no_proxy", "without", "through"), TABLE)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_who_is_reached_without_a_proxy(
    no_proxy: str,
    without: str,
    through: str | None,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv(variable, no_proxy)
    assert goes_without(without)
    assert through is None or not goes_without(through)


@pytest.mark.parametrize("no_proxy", ["", "other.example"])
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:80",
        "http://LOCALHOST.:80",
        "https://a.localhost:443",
        "http://127.0.0.1:8000",
        "http://127.8.9.1:8000",
        "http://[::1]:8000",
        "http://[::ffff:127.0.0.1]:8000",
    ],
)
def test_this_machine_always_is(url: str, no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert goes_without(url)


RUBBISH = [
    "192.168.",
    "192.168.*",
    "10.0.0.0/99",
    "10.0.0.256",
    "<local>",
    "ftp://a.example",
    "a..example",
    "-a.example",
    "a-.example",
    "a.*.example",
    "*a.example",
    "**",
    "[::1",
    "[a.example]",
    "a.example:0",
    "a.example:65536",
    "a.example:http",
    "user:s3cret@a.example",
    "a.example/path",
    "http://",
    "://",
    ".",
    "xn--\u00fc.example",
    "a\x00b",
    "\ud800.example",
    "%",
    "999",
    "2.7",
]


@pytest.mark.parametrize("entry", RUBBISH)
def test_rubbish_is_skipped_and_told(
    entry: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_bypasses(f"a.b,{entry}")[1] == [entry]
    if entry.isprintable():
        monkeypatch.setenv("ALL_PROXY", PROXY)
        monkeypatch.setenv("NO_PROXY", f"{entry},a.example")
        proxies = Proxies()
        for _ in range(2):
            assert proxies.choose("https", "a.example", 443) is None
            assert proxies.choose("https", "b.example", 443) is not None
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith("NO_PROXY ")
        assert "s3cret" not in record.getMessage()


# --- Which proxy ----------------------------------------------------------------------------------


def test_the_proxy_for_the_scheme_counts_before_the_one_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.test")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.test:1")
    proxies = Proxies()

    assert proxies.choose("https", "a.example", 443) == Proxy("http", "secure.test", 1)
    assert proxies.choose("http", "a.example", 80) == Proxy("http", "all.test", 80)


def test_a_variable_in_lower_case_counts_before_one_in_upper_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://upper.test")
    monkeypatch.setenv("http_proxy", "http://lower.test")
    assert Proxies().choose("http", "a.example", 80) == Proxy("http", "lower.test", 80)
    # Empty, it is none.
    monkeypatch.setenv("http_proxy", "")
    assert Proxies().choose("http", "a.example", 80) is None


def test_under_cgi_a_header_of_the_request_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", "http://evil.test")
    assert Proxies().choose("http", "a.example", 80) is None


def test_the_environment_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = Proxies()
    assert proxies.choose("http", "a.example", 80) is None
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert proxies.choose("http", "b.example", 80) is None


def test_many_servers_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    proxies = Proxies()
    for number in range(1000):
        assert proxies.choose("http", f"a{number}.example", 80) is not None
    assert len(proxies._chosen) <= 256


def test_a_system_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "ftp://u5er:s3cret@x"})
    with pytest.raises(Exception, match=r"the system's setting \(https\)") as caught:
        Proxies().choose("https", "a.example", 443)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.test:3128", Proxy("http", "proxy.test", 3128)),
        ("http://proxy.test:3128/", Proxy("http", "proxy.test", 3128)),
        (" HTTP://Proxy.TEST ", Proxy("http", "proxy.test", 80)),
        ("proxy.test:3128", Proxy("http", "proxy.test", 3128)),
        ("proxy.test", Proxy("http", "proxy.test", 80)),
        ("https://proxy.test", Proxy("https", "proxy.test", 443)),
        ("socks5://proxy.test", Proxy("socks5", "proxy.test", 1080)),
        ("socks5h://proxy.test", Proxy("socks5", "proxy.test", 1080)),
        ("http://192.0.2.1:1", Proxy("http", "192.0.2.1", 1)),
        ("http://[2001:db8::1]:1", Proxy("http", "2001:db8::1", 1)),
        ("http://prücksi.test", Proxy("http", "xn--prcksi-4ya.test", 80)),
        ("http://a:b@p", Proxy("http", "p", 80, (Secret("a"), Secret("b")))),
        ("http://a@p", Proxy("http", "p", 80, (Secret("a"), Secret("")))),
        ("a:b@p:1", Proxy("http", "p", 1, (Secret("a"), Secret("b")))),
        ("http://a%40:b%3A%2F@p", Proxy("http", "p", 80, (Secret("a@"), Secret("b:/")))),
        ("http://ü:ß@p", Proxy("http", "p", 80, (Secret("ü"), Secret("ß")))),
        # What should have been quoted, and is not.
        ("http://a:b/c?d#e@f@p:1", Proxy("http", "p", 1, (Secret("a"), Secret("b/c?d#e@f")))),
        ("http://a:b://c@p", Proxy("http", "p", 80, (Secret("a"), Secret("b://c")))),
        ("http://@p", Proxy("http", "p", 80)),
    ],
)
def test_how_a_proxy_is_written(url: str, proxy: Proxy) -> None:
    assert read_proxy(Secret(url)) == proxy


def test_user_and_password_are_sent_as_utf_8() -> None:
    authorization = read_proxy(Secret("http://ü:ß@p")).authorization()
    assert authorization == Secret("Basic w7w6w58=")
