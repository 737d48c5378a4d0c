"""The workers that GATEWAY_WORKERS lists."""

from __future__ import annotations

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
