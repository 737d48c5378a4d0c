"""Every bound and constant of the router, in one place, each with its reason."""

from __future__ import annotations

import msgspec


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may turn. The defaults are those that the simulation measured."""

    # How work is cut and handed out.
    split_tokens: int = 4096
    """Target size of a shard and of a coalesced call; a row is never cut."""
    window_tokens: int = 24_576
    """Tokens in flight at one worker from all gateways: one to two engine batches."""
    split_tokens_min: int = 512
    """Shards are not made smaller for a slow worker than this: each call costs something too."""
    split_seconds_max: float = 0.1
    """A shard takes no longer than this where its size can help it: a CPU needs smaller ones."""
    window_seconds_max: float = 0.25
    """Nor does a worker hold more than it computes in this time."""
    calls_eager: int = 2
    """Calls in flight at a worker before the next must be a full shard (natural batching)."""
    calls_max: int = 12
    """Calls in flight at a worker, whatever their size; less than its client's connections."""
    patience_factor: float = 1.5
    """A worker slower than the best by this factor (and the next bound) is left idle."""
    patience_seconds: float = 0.030
    """The difference in predicted time that is never worth waiting for."""

    # Who may wait, and for how long.
    requests_max: int = 20_000
    """Requests waiting or in flight in one pool."""
    backlog_seconds_max: float = 60.0
    """Work in one pool, in seconds of its ready workers, above which requests are shed."""
    organization_backlog_seconds_max: float = 30.0
    """The same for what one organization has waiting."""
    deadline_share: float = 0.9
    """Share of the time left that a request may be predicted to take; the rest is for surprises."""
    backlog_tokens_max: int = 50_000_000
    """Waiting tokens in one pool, whatever its speed: a bound on memory."""
    hold_seconds_max: float = 30.0
    """How long a request may be held while no worker is ready."""
    held_max: int = 512
    """Requests held in one pool while no worker is ready: a quarter of what a gateway takes in all,
    so that a model without workers leaves room for the others."""
    organization_held_max: int = 128
    """The same of one organization: a quarter of its own share."""
    retry_after_seconds_max: float = 60.0
    """The longest Retry-After: clients take no longer one seriously."""
    warming_retry_seconds: float = 10.0
    """Retry-After while workers load their model; nobody knows better."""
    flex_weight: float = 0.5
    """Weight of an organization's flex tier, as a share of its weight."""
    sweep_seconds: float = 0.025
    """How often deadlines of waiting requests and the age of calls are looked at."""

    # How long an attempt may take, and how often it is repeated.
    attempt_seconds_min: float = 0.5
    """The shortest timeout of an attempt, so that a hiccup is no fault."""
    attempt_factor: float = 8.0
    """Timeout of an attempt as a multiple of its calibrated time."""
    attempt_lag_factor: float = 20.0
    """Seconds of timeout added for each second by which our own event loop is late."""
    lag_excuse_seconds: float = 0.1
    """A timeout while our own loop was later than this accuses nobody."""
    witness_seconds: float = 1.0
    """A timeout counts only if another worker answered this recently: else it may be us."""
    retries_max: float = 40.0
    """Most retries that the budget saves up."""
    retries_per_success: float = 0.1
    """Retries earned by each answer."""
    retries_per_second: float = 10.0
    """Retries earned by time, so that a quiet pool can retry too."""
    hedge_factor: float = 3.0
    """A call older than this multiple of its predicted time is doubled elsewhere."""
    hedge_seconds_min: float = 0.2
    """The youngest call that is doubled."""
    hedge_share: float = 0.02
    """Share of all tokens that may be spent on doubles; 0 turns hedging off."""

    # What is held against a worker.
    faults_in_row_max: int = 3
    """Soft faults in a row that put a worker into quarantine."""
    faults_window: int = 20
    """The last answers among which soft faults are counted."""
    faults_share_max: float = 0.5
    """Share of soft faults among them that puts a worker into quarantine."""
    refusals_max: int = 3
    """Canaries refused in a row, with no good answer in between, that take out the last worker too:
    what a worker once computed is no mistake of ours."""
    busy_window_factor: float = 0.7
    """What a 429 or 503 leaves of a worker's window."""
    busy_seconds_min: float = 0.02
    """The shortest rest that a busy worker is given."""
    busy_seconds_max: float = 5.0
    """The longest: a worker that wants more is asked again."""
    window_share_start: float = 0.25
    """Share of the window after admission: slow start."""
    window_share_step: float = 0.05
    """What each good answer adds to it."""
    slow_decay_seconds: float = 5.0
    """Time constant with which a slowdown is forgotten."""
    slow_up: float = 0.5
    """Weight of an observation above the slowdown factor."""
    slow_down: float = 0.2
    """Weight of one below it."""
    slow_start: float = 3.0
    """Slowdown factor assumed after a quarantine."""
    slow_noise_seconds: float = 0.005
    """Times below this are not told apart: they measure the network and our own loop."""
    limp_factor: float = 5.0
    """Slower than the others' median by this: one shard at a time."""
    limp_seconds: float = 2.0
    """For how long it must have been that slow."""
    limp_samples_min: int = 5
    """Answers it takes to call a worker slow."""
    eject_factor: float = 20.0
    """Slower than the others' median by this: quarantine."""

    # How a worker proves itself.
    quarantine_seconds_min: float = 0.25
    """Time from the first fault to the next examination; doubles with each relapse."""
    quarantine_seconds_max: float = 1.6
    """The longest such time: with jitter and two passes a worker is back in 3 s after health."""
    quarantine_forget_seconds: float = 60.0
    """Healthy time that takes one doubling back."""
    passes_min: int = 2
    """Examinations in a row that end a quarantine."""
    pass_seconds: float = 0.05
    """Time between them."""
    revision_grace_seconds: float = 5.0
    """How long a revision that another one waits for may have no ready worker and keep its pool."""
    warming_seconds: float = 0.5
    """Time between looks at a worker that was never ready."""
    check_seconds: float = 2.0
    """Time between looks at a ready worker; one that was idle so long is given a canary."""
    canary_seconds: float = 30.0
    """The longest time between two canaries of a ready worker, however busy it is."""
    check_jitter: float = 0.2
    """Share by which these times vary, so that gateways don't strike together."""
    examination_seconds_max: float = 30.0
    """Timeout of an examination before the worker's speed is known."""
    handshake_seconds_max: float = 2.0
    """Timeout of the question what a worker serves: a warm one answers from memory."""
    probe_seconds_min: float = 0.5
    """Least time that an examination of a known worker is given."""
    canary_tokens_max: int = 512
    """What golden rows should have at most, all together: their timeout follows from it."""
    calibration_tokens_small: int = 8
    """The small size of the two that fit predicted seconds = a + b * tokens."""
    calibration_tokens_large: int = 2048
    """The large one."""
    calibration_rounds: int = 3
    """Calls of each size; the fastest counts."""
    cosine_min: float = 0.995
    """Least cosine between a canary's vector and the golden one."""
    lag_tick_seconds: float = 0.05
    """How often the event loop's own lateness is measured."""
    lag_memory_seconds: float = 1.0
    """How long a late tick is remembered."""
    norm_tolerance: float = 0.02
    """How far a vector's length may be from 1."""
    history_max: int = 16
    """Changes of state that are remembered of a worker."""
