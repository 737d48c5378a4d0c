"""Whom a passkey is made for: the host name under which a browser sees our pages."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from litestar import Request

from gateway.control_plane.accounts.passkeys import PasskeyRefused, RelyingParty
from gateway.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1")


def party_of(request: Request[Any, Any, Any], settings: Settings) -> RelyingParty | None:
    """Return whom a passkey is for; None where browsers make none, as at a number for a host.

    A gateway at 127.0.0.1 is at localhost too, where browsers do.
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
    """Return whom a passkey is for. Raises PasskeyRefused where there can be none."""
    if party is None:
        raise PasskeyRefused(
            "Browsers make passkeys for names alone, not for numbers: open this page at localhost, "
            "or at the name of the gateway."
        )
    return party


def _at_localhost(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"localhost:{parts.port}" if parts.port else "localhost").geturl()
