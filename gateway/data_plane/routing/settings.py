"""The few bounds that tests and the simulator vary; every other constant is next to its use."""

from __future__ import annotations

import msgspec


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults come from the simulation; operators don't set them."""

    # how work is cut and handed out
    split_tokens: int = 4096
    """Target size of a shard and of a coalesced call; a row is never cut."""
    window_tokens: int = 24_576
    """Tokens in flight at one worker from all gateways: one to two engine batches."""
    window_seconds_max: float = 0.25
    """A worker holds no more than it computes in this time."""
    calls_eager: int = 2
    """Calls in flight at a worker before the next one must be a full shard (natural batching)."""

    # how much may wait
    requests_max: int = 20_000
    """Requests waiting or in flight in one pool."""
    backlog_tokens_max: int = 50_000_000
    """Waiting tokens in one pool, whatever its speed: a bound on memory."""
    backlog_seconds_max: float = 60.0
    """Work in one pool, in seconds of its ready workers, above which requests are shed."""
    organization_backlog_seconds_max: float = 30.0
    """The same for what one organization has waiting."""
    held_max: int = 512
    """Requests held in one pool while no worker is ready: a quarter of what a gateway accepts, so
    that a model without workers leaves room for the others."""
    organization_held_max: int = 128
    """The same for one organization: a quarter of its own share."""

    # what is repeated
    retries_max: float = 40.0
    """Most retries that the budget saves up."""
    retries_per_second: float = 10.0
    """Retries earned by time, so that a quiet pool can retry too."""

    fatal_input_seconds: float = 600.0
    """How long a row that crashed two workers is refused."""

    # when a worker is examined
    warming_seconds: float = 0.5
    """Time between checks of a worker that was never ready."""
    check_seconds: float = 2.0
    """Time between checks of a ready worker; one that was idle this long gets a canary."""
    canary_seconds: float = 30.0
    """The longest time between two canaries of a ready worker, however busy it is."""
    quarantine_seconds_min: float = 0.25
    """Time from the first fault to the next examination; doubles with each relapse."""
    pass_seconds: float = 0.05
    """Time between the examinations that end a quarantine."""
