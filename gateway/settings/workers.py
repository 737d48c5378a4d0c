"""The workers, their trust, and what waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from gateway.settings.declaring import SECRET, Seconds, text


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The workers, their trust, and what waits for them."""

    workers: Annotated[
        str,
        text(
            "The workers of each model: MODEL=URL, separated by spaces; a model may appear more "
            "than once. URL is http://host:port, unix:/path, or dns+http://host:port for every "
            "address of a name, such as a headless Service. Other engines: docs/engines.md."
        ),
    ] = ""
    worker_secret: Annotated[
        str,
        SECRET,
        text(
            "Makes the key of each worker (`gateway workers key URL`), with which workers on other "
            "machines prove who they are, and register themselves at /internal/workers; at least "
            "32 characters. Several while it is rotated, separated by commas: the first makes, all "
            "verify. Empty: there are no such workers, and no such route."
        ),
    ] = ""
    worker_ca: Annotated[
        str,
        text(
            "File (PEM) of the authority whose certificates workers at https:// may have, or of "
            "two while one replaces the other; it is read again when it changes. Empty: those that "
            "the system trusts."
        ),
    ] = ""
    worker_networks: Annotated[
        str,
        text(
            "Networks, separated by spaces, in which workers may be that register themselves. "
            "Never there: link-local and metadata addresses, and the gateway's own."
        ),
    ] = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
    worker_orders_poll_seconds: Annotated[
        Seconds, text("How often orders of `gateway workers` are read and reports written.")
    ] = 1.0
    hold_seconds: Annotated[
        float,
        Meta(ge=0, le=30),
        text(
            "How long a request waits while no worker of its model is ready, unless it says so "
            "itself (Prefer: wait=N); then 503."
        ),
    ] = 15.0
    hold_seconds_max: Annotated[
        float, Meta(ge=0, le=30), text("Longest wait that Prefer can ask for.")
    ] = 30.0
    fatal_input_seconds: Annotated[
        Seconds,
        text(
            "How long each process refuses an input that cost two workers; by its digest, whoever "
            "sends it and with whatever else."
        ),
    ] = 600.0
