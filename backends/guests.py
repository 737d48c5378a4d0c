"""Where workers that announce themselves (guests) may be, so that no address leads elsewhere."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = frozenset(
    map(
        ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192")
    )
)
"""Where clouds give machines their credentials; some of these are in private networks."""


class GuestNetworks:
    """The allowed networks, without the addresses that no worker can have."""

    def __init__(self, networks: Sequence[Network], *, own_ports: frozenset[int]) -> None:
        """`own_ports` are those at which the gateway itself listens on this machine."""
        self._networks = networks
        self._own_ports = own_ports

    def refusal(self, address: str, port: int) -> str:
        """Return why no guest can be at an IP address; empty if one can."""
        ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in METADATA:
            return f"no worker can be at {ip}"
        if not any(ip in network for network in self._networks):
            return f"{ip} is in none of GATEWAY_WORKER_NETWORKS"
        if ip.is_loopback:
            return f"{ip}:{port} is the gateway's own" if port in self._own_ports else ""
        return f"{ip} is the gateway's own" if _is_own(ip, port) else ""

    def refusal_of_host(self, host: str, port: int) -> str:
        """Return the same for a URL's host; a name is judged when it is looked up."""
        try:
            return self.refusal(host.strip("[]"), port)
        except ValueError:
            return ""

    def allowed(self, addresses: Sequence[str], port: int) -> str:
        """Return the first address that a guest can be at. Raises NotForGuests."""
        refusals = []
        for address in addresses:
            refusal = self.refusal(address, port)
            if not refusal:
                return address
            refusals.append(refusal)
        raise NotForGuests("; ".join(refusals) or "its name has no address")


class NotForGuests(OSError):
    """No worker that announced itself can be at this address; the text says why."""


def parse_networks(setting: str) -> tuple[Network, ...]:
    """Parse networks that are separated by spaces. Raises ValueError."""
    return tuple(ipaddress.ip_network(word) for word in setting.split())


def _plain(ip: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 one stands for."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _is_own(ip: _Address, port: int) -> bool:
    """Tell whether an address is this machine's: then packets to it would come from it as well."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(ip), port))  # sends nothing
        except OSError:
            return False  # no route leads there
        return str(probe.getsockname()[0]) == str(ip)
