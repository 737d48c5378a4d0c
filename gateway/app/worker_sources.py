"""Where the workers are that GATEWAY_WORKERS lists."""

from __future__ import annotations

from backends import registry
from gateway.control_plane.workers.trust import worker_trust
from gateway.data_plane.routing.discovery.listed import DNS, parse_workers, provider
from gateway.data_plane.routing.discovery.provider import Provider
from gateway.settings import Settings, SettingsError


def worker_sources(settings: Settings) -> dict[str, list[Provider]]:
    """Return the sources of the workers in GATEWAY_WORKERS, by model. Raises SettingsError."""
    trust = worker_trust(settings)
    try:
        found = parse_workers(settings.workers)
        for url in (url for urls in found.values() for url in urls):
            # opens nothing, but checks the address and what a worker there has to prove
            registry.connect(url.removeprefix(DNS), trust)
        return {model: [provider(url) for url in urls] for model, urls in found.items()}
    except ValueError as error:
        raise SettingsError(f"GATEWAY_WORKERS: {error}") from None
