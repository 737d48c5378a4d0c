"""The workers that GATEWAY_WORKERS lists."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.data_plane.routing.discovery.dns import DnsName
from gateway.data_plane.routing.discovery.provider import Provider, StaticList

DNS = "dns+"
"""Before the address of a headless Service, each of whose addresses is a worker."""


def parse_workers(setting: str) -> dict[str, list[str]]:
    """Parse `MODEL=URL MODEL=URL ...` into the URLs of each model. Raises ValueError."""
    found: dict[str, list[str]] = {}
    for word in setting.split():
        model, equals, url = word.partition("=")
        if not (model and equals and url):
            raise ValueError(f"{word!r} is not MODEL=URL")
        found.setdefault(model, []).append(url)
    return found


def provider(url: str) -> Provider:
    """Return the provider for an address: `dns+` and a headless Service, or a worker's own URL.

    Raises ValueError.
    """
    if not url.startswith(DNS):
        return StaticList([url])
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        raise ValueError(f"{url!r} needs a host and a port")
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    scheme = parts.scheme.removeprefix(DNS)
    return DnsName(parts.hostname, parts.port, scheme=scheme, path=path)
