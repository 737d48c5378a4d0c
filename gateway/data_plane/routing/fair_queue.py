"""The central queue: organizations take turns by the tokens they were given.

Each account (an organization's default or flex tier) has a virtual token counter, raised by
tokens / weight when a shard leaves (VTC, arXiv 2401.00588). The account with the lowest counter is
next. An account that was idle starts at the counter of those that wait, so idling saves up nothing.
While two accounts wait, their counters differ by at most one shard, however much either has queued.

Within an account requests are ranked by their size plus the tokens that the account had been given
when they arrived, the lowest first: an organization's short request does not wait behind its own
corpus, and later requests overtake a request by at most that request's own size.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

from gateway.data_plane.routing.request import AccountKey, Request, Shard

_IDLE_ACCOUNTS_MAX = 1024
_DEMAND_SECONDS = 10.0
_FLEX_WEIGHT = 0.5
"""Share of an organization's flex tier under contention; that of its default tier is 1."""

Place = tuple[int, int, int, Shard]


@dataclass(slots=True, eq=False)
class RecentDemand:
    """Tokens requested recently: a sum that fades."""

    tokens: float = 0.0
    at: float = 0.0

    def add(self, tokens: int, now: float) -> None:
        """Count tokens of a new request."""
        self.tokens = self._left(now) + tokens
        self.at = now

    def ahead(self, seconds: float, now: float) -> float:
        """Tokens expected in the next `seconds` at the recent rate."""
        return self._left(now) / _DEMAND_SECONDS * seconds

    def _left(self, now: float) -> float:
        return self.tokens * math.exp((self.at - now) / _DEMAND_SECONDS)


@dataclass(slots=True, eq=False)
class QueueAccount:
    """An organization's waiting shards in one tier."""

    key: AccountKey
    counter: float = 0.0
    """Virtual tokens: tokens given / weight."""
    tokens: int = 0
    """Tokens waiting."""
    shards: set[Shard] = field(default_factory=set)
    order: list[Place] = field(default_factory=list)
    """A heap of (rank, first row, number, shard); an entry that is no longer in `shards` is
    stale."""
    demand: RecentDemand = field(default_factory=RecentDemand)
    given: int = 0
    """Tokens sent so far."""
    rank: int = 0
    """Number of its entry in the heap; 0 when it has none. Any other entry is stale."""

    @property
    def weight(self) -> float:
        """Its share under contention, relative to others."""
        return _weight(self.key)


class FairQueue:
    """The waiting shards, in the order in which they should leave."""

    def __init__(self) -> None:
        self.tokens = 0
        """Tokens waiting, all accounts."""
        self.demand = RecentDemand()
        """Of all accounts."""
        self._accounts: dict[AccountKey, QueueAccount] = {}
        self._heap: list[tuple[float, int, QueueAccount]] = []
        self._aside: list[tuple[QueueAccount, Place]] = []
        self._sequence = 0
        self._floor = 0.0  # the counter of the account served last: virtual time

    def push(self, request: Request, now: float) -> None:
        """Add a request's shards."""
        account, tokens = self._account(request), sum(shard.tokens for shard in request.shards)
        request.rank = account.given + tokens
        account.demand.add(tokens, now)
        self.demand.add(tokens, now)
        for shard in request.shards:
            self.put_back(shard)

    def put_back(self, shard: Shard) -> None:
        """Add a shard, at its request's place."""
        account = self._account(shard.request)
        if not account.shards:
            head = self._head()
            waiting = head.counter if head else self._floor
            account.counter = max(account.counter, waiting)
            account.rank = 0  # an entry that is left has the old counter
        account.shards.add(shard)
        self._sequence += 1
        heapq.heappush(account.order, (shard.request.rank, shard.start, self._sequence, shard))
        account.tokens += shard.tokens
        self.tokens += shard.tokens
        if not account.rank:
            self._rank(account)

    def peek(self) -> Shard | None:
        """Return the shard that should leave next."""
        head = self._head()
        return head.order[0][-1] if head else None

    def take(self) -> Shard:
        """Remove the shard that `peek` names and charge its account."""
        account = self._head()
        assert account is not None, "take from an empty queue"
        shard = heapq.heappop(account.order)[-1]
        self._remove(account, shard)
        self._floor = max(self._floor, account.counter)
        if not shard.charged:
            shard.charged = True
            account.given += shard.tokens
            account.counter += shard.tokens / account.weight
        heapq.heappop(self._heap)
        account.rank = 0
        if account.order:
            self._rank(account)
        return shard

    def discard(self, shard: Shard) -> None:
        """Remove a shard if it is here."""
        account = self._accounts.get(shard.request.account)
        if account and shard in account.shards:
            self._remove(account, shard)

    def step_over(self) -> None:
        """Set the next shard aside until `resume`: it waits for a particular worker."""
        account = self._head()
        assert account is not None, "nothing to step over"
        self._aside.append((account, heapq.heappop(account.order)))

    def resume(self) -> None:
        """Put back what was set aside."""
        for account, place in self._aside:
            heapq.heappush(account.order, place)
            if not account.rank:
                self._rank(account)
        self._aside.clear()

    def waiting(self, key: AccountKey) -> int:
        """Tokens that an account has waiting."""
        account = self._accounts.get(key)
        return account.tokens if account else 0

    def tokens_ahead(self, key: AccountKey, tokens: int, *, seconds: float, now: float) -> float:
        """Tokens that will be sent before the last of `tokens` more from this account.

        For each other account: at most its fair share, and at most what it has waiting plus what it
        is likely to request in the next `seconds`.
        """
        own = self._waiting_before(key, tokens) + tokens
        turns = own / _weight(key)
        return own + sum(
            min(other.tokens + other.demand.ahead(seconds, now), turns * other.weight)
            for other in self._accounts.values()
            if other.key != key
        )

    def _waiting_before(self, key: AccountKey, tokens: int) -> int:
        """Tokens of this account that a new request of `tokens` would not overtake."""
        account = self._accounts.get(key)
        if account is None:
            return 0
        rank = account.given + tokens
        return sum(shard.tokens for shard in account.shards if shard.request.rank <= rank)

    def _account(self, request: Request) -> QueueAccount:
        key = request.account
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) > 2 * len(self._heap) + _IDLE_ACCOUNTS_MAX:
                self._forget()
            account = self._accounts[key] = QueueAccount(key)
        return account

    def _head(self) -> QueueAccount | None:
        while self._heap:
            _, rank, account = self._heap[0]
            if account.rank == rank:
                while account.order and account.order[0][-1] not in account.shards:
                    heapq.heappop(account.order)
                if account.order:
                    return account
                account.rank = 0
            heapq.heappop(self._heap)
        return None

    def _rank(self, account: QueueAccount) -> None:
        self._sequence += 1
        account.rank = self._sequence
        heapq.heappush(self._heap, (account.counter, self._sequence, account))

    def _remove(self, account: QueueAccount, shard: Shard) -> None:
        account.shards.remove(shard)
        if not account.shards:
            account.order.clear()
        account.tokens -= shard.tokens
        self.tokens -= shard.tokens

    def _forget(self) -> None:
        """Drop idle accounts: those at or below virtual time would be raised to it anyway."""
        idle = [key for key, account in self._accounts.items() if not account.shards]
        ahead = [key for key in idle if self._accounts[key].counter > self._floor]
        for key in idle if len(ahead) > _IDLE_ACCOUNTS_MAX else set(idle) - set(ahead):
            del self._accounts[key]


def _weight(key: AccountKey) -> float:
    return _FLEX_WEIGHT if key[1] == "flex" else 1.0
