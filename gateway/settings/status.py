"""What is counted of answers, and what the status page calls an incident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, Seconds, text


@dataclass(frozen=True, kw_only=True)
class StatusSettings:
    """What is counted of answers, and what the status page calls an incident."""

    answer_entries_max: Annotated[
        Count,
        text(
            "Most distinct combinations of key, hour, model, status class and latency counted "
            "between two writes, and as many of errors; responses beyond that are not counted."
        ),
    ] = 20_000
    answer_write_seconds: Annotated[Seconds, text("How often counts of responses are written.")] = (
        10.0
    )
    answer_retention_days: Annotated[
        Count, text("How many days counts of responses are kept; the console shows a month.")
    ] = 92
    request_log_days: Annotated[
        Count,
        text(
            "How many days an organization's individual requests are shown in its console. Their "
            "cost is kept longer: GATEWAY_USAGE_RETENTION_DAYS."
        ),
    ] = 30
    request_log_rows_max: Annotated[
        Count, text("About how many of an organization's latest requests are kept.")
    ] = 10_000
    request_log_entries_max: Annotated[
        Count,
        text(
            "Most requests that a process keeps between two writes; beyond that, newer ones "
            "replace older ones of the same organization. The console says how many are "
            "missing."
        ),
    ] = 5_000
    request_log_organization_entries_max: Annotated[
        Count,
        text("Most refusals of one organization among them, and as many successes."),
    ] = 100
    incident_after_seconds: Annotated[
        Seconds,
        text("How long a live model must have no ready worker before the status page says so."),
    ] = 15.0
    incident_seconds: Annotated[
        Seconds, text("How often pools are checked for the status page.")
    ] = 5.0
