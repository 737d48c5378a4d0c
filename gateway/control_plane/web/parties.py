"""The relying party of a passkey: the host name under which a browser sees our pages."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from litestar import Request

from gateway.control_plane.accounts.passkeys import PasskeyRefused, RelyingParty
from gateway.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1")


def party_of(request: Request[Any, Any, Any], settings: Settings) -> RelyingParty | None:
    """Return a passkey's relying party; None at an IP address, where browsers make no passkeys.

    A gateway at 127.0.0.1 is also at localhost, where browsers do.
    """
    asked = request.headers.get("host", "")
    public = urlsplit(settings.public_url)
    known = [settings.public_url, settings.admin_address]
    if public.hostname in _LOOPBACK:
        known += [_at_localhost(url) for url in known]
    url = next((url for url in known if urlsplit(url).netloc == asked), settings.public_url)
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return RelyingParty(host=host, name=settings.brand, origin=url)
    return None


def must_have(party: RelyingParty | None) -> RelyingParty:
    """Return a passkey's relying party. Raises PasskeyRefused where there can be none."""
    if party is None:
        raise PasskeyRefused(
            "Browsers make passkeys only for host names, not for IP addresses: open this page at "
            "localhost, or at the gateway's name."
        )
    return party


def _at_localhost(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"localhost:{parts.port}" if parts.port else "localhost").geturl()
