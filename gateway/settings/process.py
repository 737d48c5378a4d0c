"""What a process is, how it writes its log, and whose traces it goes on with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta

from gateway.keyring import Keyring
from gateway.settings.declaring import SECRET, Count, text

Role = Literal["all", "data", "control"]


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """What a process is, how it writes its log, and whose traces it goes on with."""

    role: Annotated[
        Role,
        text("`data` serves /v1 and health, `control` the pages and background jobs, `all` both."),
    ] = "all"
    secret: Annotated[
        str,
        SECRET,
        text(
            "At least 32 characters, the same for all processes. Several while it is being "
            "rotated, one per line or separated by commas: the first one signs, all verify "
            "(docs/secrets.md)."
        ),
    ]
    gateways: Annotated[
        Count, text("How many gateways share the workers, if there is no Redis to count them.")
    ] = 1
    processes: Annotated[
        Count, text("How many processes each of them has; `gateway run --processes` sets it.")
    ] = 1
    siblings: Annotated[
        str,
        text("The folder where these processes meet; `gateway run --processes` creates it."),
    ] = ""
    drain_seconds: Annotated[
        float,
        Meta(ge=0, le=3600),
        text(
            "How long a gateway keeps serving after SIGTERM, with /health/ready at 503 and each "
            "response closing its connection, before it stops listening. Set it longer than the "
            "load balancer takes to notice. 0: it stops listening at once."
        ),
    ] = 5.0
    log_format: Annotated[Literal["console", "json"], text("Logs for people or for machines.")] = (
        "json"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        text("The lowest level that is logged. Libraries always log warnings and above."),
    ] = "info"
    access_log: Annotated[
        Literal["off", "errors", "all"],
        text("Log a line for each request, or only for each that gets a 5xx."),
    ] = "off"
    trace_callers: Annotated[
        Literal["link", "trust"],
        text(
            "What to do with a client's traceparent when OTEL_EXPORTER_OTLP_ENDPOINT turns "
            "traces on: only link to it, or use it as the parent and obey its sampled flag. "
            "Trust it only where your own proxy writes the header; otherwise any client decides "
            "how much is traced."
        ),
    ] = "link"

    @cached_property
    def keyring(self) -> Keyring:
        """The secrets of GATEWAY_SECRET."""
        return Keyring.parse(self.secret)
