"""Where a request came from: its client's address, and the network that the address is in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

UNKNOWN = "unknown"
"""The name of all that have no address, such as clients on a unix socket."""


def client_address(peer: str, forwarded: Iterable[str], *, proxies: int) -> str:
    """Return the address that a request came from, in its shortest form, or UNKNOWN.

    Behind `proxies` proxies of our own the address is that many places from the right of
    X-Forwarded-For, whose lines are given: what stands further left was written by the client.
    """
    if proxies:
        # a proxy may add a line of its own below the one that it was sent
        hops = ",".join(forwarded).split(",")
        if len(hops) >= proxies:
            peer = hops[-proxies].strip()
    try:
        parsed = ipaddress.ip_address(peer)
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)  # how a dual-stack socket writes IPv4 addresses
    return str(parsed)


def is_loopback(host: str) -> bool:
    """Tell whether a host, a name or an address, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def caller_network(address: str) -> str:
    """Return the network that API keys are counted by: a /24 or, of IPv6, a /48."""
    return _network(address, v4_bits=24, v6_bits=48)


def visitor_network(address: str) -> str:
    """Return what visitors of pages are counted by: an IPv4 address or, of IPv6, a /64."""
    return _network(address, v4_bits=32, v6_bits=64)


_SHARES = {4: ((24, 8),), 6: ((56, 4), (48, 16))}


def wider_networks(network: str) -> list[tuple[str, int]]:
    """Return what lies around a `visitor_network`, and how many visitors' share each may use.

    One subscriber has a /56 or a /48 of IPv6, which hold 256 and 65,536 visitors.
    """
    try:
        inner = ipaddress.ip_network(network)
    except ValueError:
        return []
    return [
        (str(inner.supernet(new_prefix=bits)), share)
        for bits, share in _SHARES[inner.version]
        if bits < inner.prefixlen
    ]


def _network(address: str, *, v4_bits: int, v6_bits: int) -> str:
    if address == UNKNOWN:
        return UNKNOWN
    network = ipaddress.ip_network((address, v6_bits if ":" in address else v4_bits), strict=False)
    return address if network.num_addresses == 1 else str(network)
