"""What a process is and how it writes its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from gateway.settings.declaring import SECRET, Count, text

Role = Literal["all", "data", "control"]


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """What a process is and how it writes its log."""

    role: Annotated[
        Role, text("data serves /v1 and health, control the pages and background jobs, all both.")
    ] = "all"
    secret: Annotated[
        str,
        SECRET,
        Meta(min_length=32),
        text("At least 32 characters, one for all processes. A new one invalidates every key."),
    ]
    gateways: Annotated[
        Count, text("How many gateways share the workers, if there is no Redis to count them.")
    ] = 1
    processes: Annotated[
        Count, text("How many processes each of them has; `gateway run --processes` sets it.")
    ] = 1
    siblings: Annotated[
        str,
        text("The folder where these processes meet; `gateway run --processes` makes it."),
    ] = ""
    drain_seconds: Annotated[
        float,
        Meta(ge=0, le=3600),
        text(
            "How long SIGTERM leaves a gateway serving with /health/ready at 503, each answer "
            "closing its connection, before it stops listening: longer than its load balancer "
            "takes to see that. 0: it stops listening at once."
        ),
    ] = 5.0
    log_format: Annotated[Literal["console", "json"], text("Logs for people or for machines.")] = (
        "json"
    )
