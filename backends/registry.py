"""From a worker's address to its client. The scheme's prefix names the kind of server.

Without a prefix (`http://host:port`, `https://host:port`, `unix:/path`) it is one of our own
workers, which speaks the binary hop.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from backends.adapters.hop import HopBackend
from backends.protocol import Backend


class UnknownBackend(ValueError):
    """The address names no backend that there is."""


def connect(url: str) -> Backend:
    """Make the client for a worker's address. Nothing is opened yet."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        return HopBackend(url.rstrip("/"))
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return HopBackend(url)
    raise UnknownBackend(f"{url!r} is no worker address: use http://host:port or unix:/path")
