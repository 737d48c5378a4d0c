"""What the settings say of workers' proofs; see `backends.adapters.trust`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from backends.adapters.trust import Trust
from backends.authentication import parse_secrets
from backends.guests import GuestNetworks, parse_networks
from gateway.settings import Settings, SettingsError


def worker_trust(settings: Settings) -> Trust:
    """Return what workers must prove. Raises SettingsError."""
    trust = Trust(
        *parse_secrets(settings.worker_secret),
        authority=Path(settings.worker_ca) if settings.worker_ca else None,
        guests=guest_networks(settings),
    )
    if settings.worker_ca:
        try:
            trust.tls()
        except OSError as error:
            raise SettingsError(f"GATEWAY_WORKER_CA: {error}") from None
    return trust


def guest_networks(settings: Settings) -> GuestNetworks:
    """Return where workers may be that announce themselves. Raises SettingsError."""
    try:
        networks = parse_networks(settings.worker_networks)
    except ValueError as error:
        raise SettingsError(f"GATEWAY_WORKER_NETWORKS: {error}") from None
    listening = {urlsplit(url).port for url in (settings.public_url, settings.admin_url)}
    ports = frozenset(port for port in (*listening, settings.admin_port) if port)
    return GuestNetworks(networks, own_ports=ports)
