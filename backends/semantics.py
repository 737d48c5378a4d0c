"""Attributes of spans, named by OpenTelemetry's conventions."""

from __future__ import annotations

from urllib.parse import urlsplit

OPERATION = {"gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "stella"}
_PORTS = {"http": 80, "https": 443}


def server_of(url: str) -> dict[str, str | int]:
    """Return the attributes of a called server: host and port, or the path of a unix socket."""
    if url.startswith("unix:"):
        return {"server.address": url.removeprefix("unix:"), "network.transport": "unix"}
    found = urlsplit(url)
    host: dict[str, str | int] = {"server.address": found.hostname or ""}
    port = found.port or _PORTS.get(found.scheme.rpartition("+")[2])  # of engine+http
    return host if port is None else host | {"server.port": port}
