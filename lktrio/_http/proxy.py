"""Which proxy leads to a server. No I/O.

This module alone knows how a proxy is written, in a URL or in the environment, and which servers
``NO_PROXY`` leaves to be reached without one. It does not know what is said to a proxy.

Source: https://www.python-httpx.org/environment_variables/,
https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies
"""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import logging
import os
import re
import urllib.request
from collections.abc import Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote

import attrs
import httpx

from lktrio._settings import Secret, is_local_host

__all__ = ["Bypass", "Proxies", "Proxy", "read_bypasses", "read_proxy"]

logger = logging.getLogger("lktrio")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
# RFC 1123, section 2.1; underscores, because there are such names. The last label is no number.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$){_LABEL}")
_MAX_REMEMBERED: Final = 256


# --- A proxy ----------------------------------------------------------------------------------


@attrs.frozen(cache_hash=True)
class Proxy:
    """A proxy, and who we are for it."""

    scheme: str
    """``"http"``; ``"https"`` if TLS leads to the proxy itself; ``"socks5"``."""

    host: str
    """A name or an address, without brackets."""

    port: int
    """The port."""

    login: tuple[Secret, Secret] | None = None
    """User and password."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy {self.scheme}://{host}:{self.port}"

    def authorization(self) -> Secret | None:
        """The value of the ``Proxy-Authorization`` field (RFC 7617, section 2)."""
        if self.login is None:
            return None
        user, password = self.login
        return Secret(
            "Basic " + base64.b64encode(b"".join((user.view, b":", password.view))).decode("ascii")
        )


def read_proxy(url: Secret) -> Proxy:
    """Read the URL of a proxy; without a scheme it is one of http, as everywhere.

    ``socks5h`` is the same as ``socks5`` here: the proxy looks the names up.

    Raises:
        ValueError: It cannot be used; the message says why, without credentials.
    """
    scheme, login, place = _parts(url)
    if scheme not in _PORTS:
        # What is no scheme may be a part of a password.
        begins = f" with {scheme}://" if re.fullmatch("[a-z][a-z0-9+-]{0,15}", scheme) else ""
        raise ValueError(
            f"it begins{begins or ' otherwise'}, and not with http://, https://, socks5:// or "
            "socks5h://"
        )
    try:
        found = httpx.URL(f"http://{place}")
        host = found.raw_host.decode("ascii")
        port = _PORTS[scheme] if found.port is None else found.port
    except (httpx.InvalidURL, UnicodeError):
        host, port = "", 0
    # Not within the handler: what httpx says quotes the place.
    if not (0 < port < 65536 and (_address(host) or _NAME.fullmatch(host))):
        raise ValueError("it names no host and port, as http://proxy.example:3128 does")
    if scheme.startswith("socks5"):
        if importlib.util.find_spec("socksio") is None:
            raise ValueError(
                'SOCKS needs the extra of httpx: pip install "lktrio[socks]", which is httpx[socks]'
            )
        scheme = "socks5"
        if login is not None and not all(len(one.view) < 256 for one in login):
            raise ValueError("a user or a password of SOCKS has 255 bytes at most")
    return Proxy(scheme, host, port, login)


def _parts(url: Secret) -> tuple[str, tuple[Secret, Secret] | None, str]:
    """Scheme, user and password, and the rest. Nothing may raise here, where all can be seen."""
    scheme, mark, rest = url.reveal().strip().partition("://")
    if not mark:
        scheme, rest = "http", scheme
    login, at, place = rest.rpartition("@")
    user, _, password = login.partition(":")
    both = (Secret(unquote(user)), Secret(unquote(password))) if at and login else None
    return scheme.lower(), both, re.split(r"[/?#]", place, maxsplit=1)[0]


# --- Servers that are reached without one -----------------------------------------------------


@attrs.frozen
class Bypass:
    """Servers that are reached without a proxy: one entry of ``NO_PROXY``."""

    scheme: str | None = None
    """Only for URLs with it."""

    name: str = ""
    """The name, in lower case, with punycode."""

    has_name: bool = False
    """Whether the server of that name is one of them."""

    has_names_below: bool = False
    """Whether those with names below it are: all of them, if there is no name."""

    network: _Network | None = None
    """The addresses."""

    port: int | None = None
    """Only with this port."""

    def covers(self, scheme: str, host: str, address: _Address | None, port: int) -> bool:
        """Whether a server is one of them."""
        if self.scheme not in {None, scheme} or self.port not in {None, port}:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        if self.has_names_below and (not self.name or host.endswith("." + self.name)):
            return True
        return self.has_name and host == self.name


def read_bypasses(text: str) -> tuple[list[Bypass], list[str]]:
    """Read a list of servers, as it stands in ``NO_PROXY``.

    Returns:
        What was read; and the entries that cannot be.
    """
    bypasses: list[Bypass] = []
    unread: list[str] = []
    for entry in re.split(r"[\s,]+", text):
        bypass = _bypass(entry) if entry else None
        if bypass is not None:
            bypasses.append(bypass)
        elif entry:
            unread.append(entry)
    return bypasses, unread


def _bypass(entry: str) -> Bypass | None:
    before, mark, rest = entry.rpartition("://")
    scheme = before.lower() if mark else "all"
    if scheme not in {"http", "https", "all"}:
        return None
    only = None if scheme == "all" else scheme
    place = rest.rstrip("/") if mark else rest
    network = _network(place)
    if network is not None:
        return Bypass(only, network=network)
    port: int | None = None
    match = re.fullmatch(r"(.*):(\d{1,5})", place)
    # An address of IPv6 that has a port has brackets, too.
    if match is not None and (":" not in match[1] or match[1].endswith("]")):
        place, port = match[1], int(match[2])
        if not 0 < port < 65536:
            return None
        network = _network(place)
        if network is not None:
            return Bypass(only, network=network, port=port)
    if place == "*":
        return Bypass(only, has_names_below=True, port=port)
    below = place.startswith((".", "*."))
    name = _name(place.removeprefix("*").removeprefix(".") if below else place)
    if name is None:
        return None
    return Bypass(only, name, has_name=not below, has_names_below=True, port=port)


def _network(text: str) -> _Network | None:
    """An address or a network, in brackets or not."""
    if match := re.fullmatch(r"\[([^\[\]]*:[^\[\]]*)\](/\d+)?", text):
        text = match[1] + (match[2] or "")
    try:
        # The zone of a link says nothing about where that link leads.
        network = ipaddress.ip_network(re.sub(r"%[^/]*", "", text), strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _name(text: str) -> str | None:
    """A name as it is sent (RFC 5890, section 2.3.2.1); None if it is none."""
    try:
        name = httpx.URL(scheme="http", host=text.removesuffix(".")).raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        return None
    return name if _NAME.fullmatch(name) else None


# --- The choice -------------------------------------------------------------------------------


class Proxies:
    """Chooses the proxy for each server.

    Args:
        url: The one for all servers; None for those of the environment, which is looked at once,
            when the first server is asked for.

    Raises:
        ValueError: It cannot be used.
    """

    def __init__(self, url: Secret | None = None) -> None:
        self._proxy: Proxy | None = None
        if url is not None:
            try:
                self._proxy = read_proxy(url)
            except ValueError as exc:
                raise ValueError(f"proxy= cannot be used: {exc}") from None
        self._urls: Mapping[str, Secret] | None = None
        self._bypasses: list[Bypass] = []
        self._chosen: dict[tuple[str, str, int], Proxy | None] = {}

    def choose(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for a server; None if it is reached without.

        Of the environment's, the one for the scheme counts before the one for all. None leads to
        this machine.

        Args:
            scheme: ``"http"`` or ``"https"``.
            host: A name in punycode or an address, without brackets.
            port: The port.

        Raises:
            httpx.UnsupportedProtocol: The environment's cannot be used.
        """
        if self._proxy is not None:
            return self._proxy
        server = (scheme, host, port)
        try:
            return self._chosen[server]
        except KeyError:
            pass
        proxy = self._from_environment(scheme, host, port)
        if len(self._chosen) >= _MAX_REMEMBERED:
            self._chosen.clear()
        self._chosen[server] = proxy
        return proxy

    def _from_environment(self, scheme: str, host: str, port: int) -> Proxy | None:
        if is_local_host(host):
            return None
        if self._urls is None:
            self._urls = {key: Secret(url) for key, url in urllib.request.getproxies().items()}
            if self._urls.keys() & {"http", "https", "all"}:
                self._read_bypasses()
        key = next((key for key in (scheme, "all") if key in self._urls), None)
        if key is None:
            return None
        host = host.lower().removesuffix(".")
        address = _address(host)
        if any(bypass.covers(scheme, host, address, port) for bypass in self._bypasses):
            return None
        try:
            return read_proxy(self._urls[key])
        except ValueError as exc:
            reason = str(exc)
        raise httpx.UnsupportedProtocol(
            f"the proxy that {_variable(key)} names for {scheme}://{host}:{port} cannot be used: "
            f"{reason}"
        )

    def _read_bypasses(self) -> None:
        assert self._urls is not None
        if "no" not in self._urls:
            return
        self._bypasses, unread = read_bypasses(self._urls["no"].reveal())
        if unread:
            # What has an @ in it may be a password.
            shown = ", ".join(repr(entry[:60]) for entry in unread if "@" not in entry)
            logger.warning(
                "%s has entries that are neither names nor addresses; they are skipped%s",
                _variable("no"),
                f": {shown}" if shown else "",
            )


def _variable(key: str) -> str:
    """The environment variable that `urllib.request.getproxies` has a value from."""
    # It prefers the one in lower case.
    names = sorted((name for name in os.environ if name.lower() == f"{key}_proxy"), reverse=True)
    return names[0] if names else f"the system's setting ({key})"
