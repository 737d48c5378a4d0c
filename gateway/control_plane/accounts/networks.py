"""The networks that people come from, wide enough to be one household's, office's or program's."""

from __future__ import annotations

import ipaddress

_WIDTHS = {4: 24, 6: 48}


def wide(network: str) -> str:
    """Return the /24 or the /48 around an address or a network; empty for what is neither."""
    try:
        found = ipaddress.ip_network(network.strip(), strict=False)
    except ValueError:
        return ""
    width = min(found.prefixlen, _WIDTHS[found.version])
    return str(ipaddress.ip_network((found.network_address, width), strict=False))
