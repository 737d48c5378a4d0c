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
            "Most distinct sets of organization, hour, status class and latency counted between "
            "two writes; answers beyond it are not counted."
        ),
    ] = 10_000
    answer_write_seconds: Annotated[Seconds, text("How often counts of answers are written.")] = (
        10.0
    )
    answer_retention_days: Annotated[
        Count, text("How many days counts of answers are kept; the console shows a month.")
    ] = 92
    incident_after_seconds: Annotated[
        Seconds, text("How long a live model has no ready worker before the status page says so.")
    ] = 15.0
    incident_seconds: Annotated[
        Seconds, text("How often pools are checked for the status page.")
    ] = 5.0
