"""Whether a request may join the queue, decided at once and before anything is charged.

A request that would miss its deadline is refused now, with the time after which it would fit,
instead of failing at its deadline.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from gateway.data_plane.routing.fair_queue import FairQueue
from gateway.data_plane.routing.outcomes import (
    NoWorker,
    OrganizationBacklogFull,
    Overloaded,
    PoolFull,
    WouldMissDeadline,
)
from gateway.data_plane.routing.ranking import Ranking
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import NEW, Worker
from gateway.snapshots import Tier, WorkerState

_DEADLINE_SHARE = 0.9
"""The share of the remaining time that a request may be predicted to take; the rest is a
reserve."""
_RETRY_AFTER_SECONDS_MAX = 60.0
"""The longest Retry-After: clients don't take a longer one seriously."""
_WARMING_RETRY_SECONDS = 10.0
"""Retry-After while workers load their model, for lack of a better estimate."""


class Offer(NamedTuple):
    """What is known about a request before it is accepted."""

    organization: str
    tokens: int
    deadline: float
    """On the dispatcher's clock (`time.monotonic()`), seconds."""
    tier: Tier = "default"
    hold_seconds: float = 15.0
    """How long to wait while no worker is ready (0: not at all)."""


class Admission:
    """Checks the requests of one pool."""

    def __init__(
        self,
        queue: FairQueue,
        workers: Collection[Worker],
        ranking: Ranking,
        settings: RoutingSettings,
    ) -> None:
        self._queue = queue
        self._ranking = ranking
        self._workers = workers
        self._settings = settings

    def check(self, offer: Offer, now: float, *, requests: int, own: int) -> None:
        """Raise Shed or NoWorker if the request should be refused; changes nothing.

        `requests` are already in the pool, `own` of them the organization's.
        """
        settings, queue = self._settings, self._queue
        if requests >= settings.requests_max:
            raise PoolFull(1.0)
        if queue.tokens and queue.tokens + offer.tokens > settings.backlog_tokens_max:
            raise PoolFull(_RETRY_AFTER_SECONDS_MAX)
        if self._plenty(offer, now):
            return
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            if offer.hold_seconds <= 0:
                raise self.no_worker(now)
            self.check_held(now, requests=requests, own=own)
            return
        rate = sum(worker.speed.rate(now) for worker in ready)
        self._check_bounds(offer, rate)
        rest = max(0.0, min(worker.rest_until for worker in ready) - now)
        flying = sum(worker.tokens for worker in ready)
        left = (offer.deadline - now) * _DEADLINE_SHARE
        most = queue.tokens + queue.demand.ahead(left, now) + offer.tokens
        if rest + (flying + most) / rate <= left:
            return  # in time even behind everyone else
        key = (offer.organization, offer.tier)
        ahead = queue.tokens_ahead(key, offer.tokens, seconds=left, now=now)
        wait = rest + (flying + ahead) / rate
        if wait > left:
            raise WouldMissDeadline(self._clamp(wait - left))

    def check_held(self, now: float, *, requests: int, own: int) -> None:
        """Raise NoWorker if too many requests are already held while no worker is ready."""
        full = requests >= self._settings.held_max or own >= self._settings.organization_held_max
        if full and not any(worker.ready for worker in self._workers):
            raise self.no_worker(now)

    def no_worker(self, now: float) -> NoWorker:
        """Return the error that says when to try again while no worker is ready."""
        if any(worker.state in NEW for worker in self._workers):
            return NoWorker(_WARMING_RETRY_SECONDS)
        back = [w.examine_at - now for w in self._workers if w.state is WorkerState.QUARANTINED]
        seconds = min(back) + 1.0 if back else _WARMING_RETRY_SECONDS
        return NoWorker(self._clamp(seconds))

    def busy(self, now: float) -> Overloaded:
        """Return the error that says when to try again while every worker is full."""
        rests = [w.rest_until - now for w in self._workers if w.ready]
        return Overloaded(self._clamp(min(rests, default=1.0)))

    def backlog_seconds(self, now: float) -> float:
        """Work waiting and in flight, in seconds of the ready workers; infinite without one.

        Scale the workers on this: their utilization can't tell 1 s from 60 s.
        """
        ready = [worker for worker in self._workers if worker.ready]
        tokens = self._queue.tokens + sum(worker.tokens for worker in self._workers)
        if not tokens:
            return 0.0
        rate = sum(worker.speed.rate(now) for worker in ready)
        return tokens / rate if rate else float("inf")

    def _plenty(self, offer: Offer, now: float) -> bool:
        """Whether it fits within every bound and is in time, without looking at each worker."""
        settings, queue, plenty = self._settings, self._queue, self._ranking.plenty(now)
        if plenty is None:
            return False
        waiting = queue.tokens + offer.tokens
        own = queue.waiting((offer.organization, offer.tier)) + offer.tokens
        left = (offer.deadline - now) * _DEADLINE_SHARE
        most = waiting + queue.demand.ahead(left, now)
        return (
            own <= settings.organization_backlog_seconds_max * plenty.rate
            and waiting <= settings.backlog_seconds_max * plenty.rate
            and plenty.tokens + most <= left * plenty.rate
        )

    def _check_bounds(self, offer: Offer, rate: float) -> None:
        """Refuse what would pile up. A request with nothing ahead of it may have any size."""
        settings, queue = self._settings, self._queue
        own = queue.waiting((offer.organization, offer.tier))
        over = (own + offer.tokens) / rate - settings.organization_backlog_seconds_max
        if own and over > 0:
            raise OrganizationBacklogFull(self._clamp(over))
        over = (queue.tokens + offer.tokens) / rate - settings.backlog_seconds_max
        if queue.tokens and over > 0:
            raise PoolFull(self._clamp(over))

    def _clamp(self, seconds: float) -> float:
        return min(max(seconds, 1.0), _RETRY_AFTER_SECONDS_MAX)
