"""Where webhooks may be sent: to public addresses alone, however they are written.

- An URL is parsed once, by the parser that the client uses too, and must be https to a host name or
  a public IP address, without user and password.
- A name is resolved each time that something is sent. If one of its addresses is not public,
  nothing is sent. The client connects to the address that was checked, not to the name, so that a
  name that changes in between (DNS rebinding) changes nothing.
- Public means: IPv4 that is globally routable and unicast, IPv6 of 2000::/3 without the ranges that
  carry an IPv4 address inside. What is not known to be public is refused.
- The exact hosts of GATEWAY_WEBHOOK_PRIVATE_HOSTS may be private and spoken to by plain http.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

import httpx

from gateway.control_plane.alerts.lookups import Find, Lookups
from gateway.errors import BadRequest

URL_CHARACTERS_MAX = 2_000
ADDRESSES_MAX = 4
"""How many of a name's addresses are tried."""

_PRINTABLE = re.compile(r"[!-~]+")
_NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".arpa")
_PORTS_FROM = 1_024
_PORTS_TO = 65_535
_HTTPS_PORT = 443
_V4_REFUSED = [
    IPv4Network("192.0.0.0/24"),  # a cloud's metadata among others
    IPv4Network("192.88.99.0/24"),
    IPv4Network("168.63.129.16/32"),  # Azure's host, public by its number alone
]
_V6_PUBLIC = IPv6Network("2000::/3")
_V6_REFUSED = [
    IPv6Network("2001::/23"),  # special purposes, Teredo among them
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),
]


class AddressRefused(BadRequest):
    """Webhooks can't be sent to this address."""

    code = "webhook_address_refused"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="url")


class Addresses:
    """Checks where webhooks go. `private_hosts` are allowed in spite of being private."""

    def __init__(self, private_hosts: Collection[str] = (), *, find: Find | None = None) -> None:
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._lookups = Lookups(find)

    def parse(self, text: str) -> httpx.URL:
        """Parse an address without resolving it. Raises AddressRefused."""
        if len(text) > URL_CHARACTERS_MAX or not _PRINTABLE.fullmatch(text) or "\\" in text:
            raise AddressRefused(
                f"An address is at most {URL_CHARACTERS_MAX} printable ASCII characters: write "
                "other characters in its path as %XX, and an international host name in its "
                "xn-- form."
            )
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            raise AddressRefused("That is not a valid address. Write https://host/path.") from None
        if url.userinfo or url.fragment:
            raise AddressRefused("An address can't have a user, a password or a #fragment.")
        if url.port is not None and url.port > _PORTS_TO:
            raise AddressRefused(f"A port is at most {_PORTS_TO}.")
        if host_of(url) in self._private_hosts:
            if url.scheme not in ("https", "http"):
                raise AddressRefused("The address must start with https:// or http://.")
            return url
        if url.scheme != "https":
            raise AddressRefused("The address must start with https://.")
        if url.port is not None and url.port < _PORTS_FROM:  # httpx drops the default port
            raise AddressRefused(f"The port must be {_HTTPS_PORT}, or {_PORTS_FROM} and above.")
        _check_host(host_of(url))
        return url

    async def resolve(self, organization_id: str, url: httpx.URL) -> list[str]:
        """Return the IP addresses of a parsed URL's host, all checked.

        The lookup counts against its organization's. Raises AddressRefused or LookupsBusy.
        """
        host, port = host_of(url), url.port or (_HTTPS_PORT if url.scheme == "https" else 80)
        try:
            found = await self._lookups.find(organization_id, host, port)
        except TimeoutError:
            raise AddressRefused(f"The name server of {host} did not answer in time.") from None
        except (OSError, UnicodeError):
            raise AddressRefused(f"{host} has no address: is the name right?") from None
        addresses = list(dict.fromkeys(found))
        if not addresses:
            raise AddressRefused(f"{host} has no address: is the name right?")
        if host not in self._private_hosts and not all(map(is_public, addresses)):
            raise AddressRefused(f"{host} is not at a public address.")
        return addresses[:ADDRESSES_MAX]

    def close(self) -> None:
        """Start no more threads."""
        self._lookups.close()


def host_of(url: httpx.URL) -> str:
    """Return a URL's host as it is resolved: lower case, xn--, an IPv6 address without brackets."""
    return url.raw_host.decode("ascii")


def is_public(text: str) -> bool:
    """Tell whether an IP address is known to be public."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if "%" in text:  # a zone, which only addresses of one's own network have
        return False
    if isinstance(address, IPv6Address):
        return _is_public_v6(address)
    return _is_public_v4(address)


def _is_public_v4(address: IPv4Address) -> bool:
    if any(address in refused for refused in _V4_REFUSED):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_public_v6(address: IPv6Address) -> bool:
    return address in _V6_PUBLIC and not any(address in refused for refused in _V6_REFUSED)


def _check_host(host: str) -> None:
    """Refuse what is no public name or address, without asking for it. Raises AddressRefused."""
    try:
        ip_address(host)
    except ValueError:
        # a last label of digits is an IPv4 address in one of its odd spellings
        if not _NAME.fullmatch(host):
            raise AddressRefused(f"{host[:100]!r} is not the name of a public host.") from None
        if host.endswith(_LOCAL_ENDINGS):
            raise AddressRefused(f"{host} is a name of private networks.") from None
    else:
        if not is_public(host):
            raise AddressRefused(f"{host} is not a public address.")
