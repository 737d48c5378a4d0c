"""What one connection may take: heads, bodies, answers and silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, Seconds, text


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """What one connection may take: heads, bodies, answers and silence."""

    connections_max: Annotated[Count, text("Most connections to one process (503).")] = 10_000
    pipelined_max: Annotated[
        Count, text("Most pipelined requests waiting on one connection (400).")
    ] = 32
    head_bytes_max: Annotated[
        Count, text("Most bytes in the line and headers of a request (431).")
    ] = 32_768
    headers_max: Annotated[Count, text("Most headers of a request (431).")] = 100
    head_seconds: Annotated[
        Seconds, text("How long the line and headers of a request may take to arrive (408).")
    ] = 10.0
    body_seconds: Annotated[Seconds, text("How long a body may take to arrive (408).")] = 60.0
    client_bytes_per_second_min: Annotated[
        Count,
        text(
            "Slowest rate allowed to a client, in bytes per second: for sending a body after its "
            "first 5 seconds (408), and for reading a response after GATEWAY_UNREAD_SECONDS."
        ),
    ] = 16_384
    unread_seconds: Annotated[
        Seconds,
        text("How long a client may leave a response unread before the connection is closed."),
    ] = 30.0
    keep_alive_seconds: Annotated[
        Seconds,
        text(
            "How long a connection may be idle between requests. Set it longer than the idle "
            "timeout of a proxy in front, which could otherwise reuse a connection that is "
            "being closed."
        ),
    ] = 75.0
    connection_seconds: Annotated[
        Seconds,
        text(
            "How long a connection is used, give or take a tenth. The next response then closes "
            "it, so that clients that keep connections open find new gateways."
        ),
    ] = 300.0
    body_bytes_max: Annotated[Count, text("Largest request body, in bytes (413).")] = 4_194_304
    bodies_bytes_max: Annotated[
        Count,
        text("Most bytes of request bodies in one process, over all requests in flight (429)."),
    ] = 268_435_456
    organization_bodies_bytes_max: Annotated[
        Count, text("The same, of one organization (429).")
    ] = 67_108_864
