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
            "The secret that each worker's key is made from (`gateway workers key URL`). Workers "
            "on other machines use their keys to prove who they are and to register themselves "
            "at /internal/workers. At least 32 characters. Several while it is being rotated, "
            "separated by commas: the first makes keys, all verify. Empty: there are no such "
            "workers, and no such route."
        ),
    ] = ""
    worker_ca: Annotated[
        str,
        text(
            "A PEM file with the authority that must have issued the certificates of https:// "
            "workers, or with two while one replaces the other; it is reread when it changes. "
            "Empty: the authorities that the system trusts."
        ),
    ] = ""
    worker_networks: Annotated[
        str,
        text(
            "Networks, separated by spaces, from which workers may register themselves. "
            "Link-local addresses, metadata addresses and the gateway's own are never allowed."
        ),
    ] = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
    worker_orders_poll_seconds: Annotated[
        Seconds, text("How often orders from `gateway workers` are read and reports are written.")
    ] = 1.0
    hold_seconds: Annotated[
        float,
        Meta(ge=0, le=30),
        text(
            "How long a request waits while its model has no ready worker, unless it sets its "
            "own time (Prefer: wait=N); then 503."
        ),
    ] = 15.0
    hold_seconds_max: Annotated[
        float, Meta(ge=0, le=30), text("Longest wait that Prefer can ask for.")
    ] = 30.0
    fatal_input_seconds: Annotated[
        Seconds,
        text(
            "How long each process refuses an input that crashed two workers, by its digest, "
            "whoever sends it and in whatever request."
        ),
    ] = 600.0
