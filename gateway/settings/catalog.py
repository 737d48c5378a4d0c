"""Models and prices, the demand for them, and their launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, Natural, Seconds, text


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Models and prices, the demand for them, and their launch."""

    catalog_refresh_seconds: Annotated[Seconds, text("How often models and prices are reread.")] = (
        2.0
    )
    price_notice_days: Annotated[
        Natural,
        text(
            "How many days ahead a price increase must be announced if someone used the model "
            "recently."
        ),
    ] = 30
    gpu_nanos_per_hour: Annotated[
        Natural,
        text(
            "What one GPU costs per hour, in nano-dollars, to tell whether a wanted model would "
            "pay for it."
        ),
    ] = 2_000_000_000
    demand_entries_max: Annotated[
        Count,
        text(
            "Most pairs of model and organization for which calls to models that aren't live are "
            "counted between two writes; calls beyond that are not counted."
        ),
    ] = 10_000
    demand_seconds: Annotated[Seconds, text("How often vote counts are reread.")] = 2.0
    demand_write_seconds: Annotated[Seconds, text("How often views and calls are written.")] = 60.0
    demand_retention_days: Annotated[
        Count,
        text("How many days individual demand events are kept; older ones become monthly sums."),
    ] = 92
    launch_credit_nanos: Annotated[
        Natural, text("Credit for organizations that voted or waited for a model that launches.")
    ] = 250_000_000
    launch_pending_max: Annotated[
        Count, text("Most launch mails waiting to be sent; the rest are queued as these leave.")
    ] = 20_000
    launch_wave_mails: Annotated[Count, text("How many launch mails are sent together.")] = 500
    launch_wave_seconds: Annotated[Seconds, text("Time between waves of launch mails.")] = 300.0
