"""The central queue: organizations take turns by the tokens they were given.

Each account (an organization's default or flex tier) has a virtual token counter, raised by
tokens / weight when a shard leaves (VTC, arXiv 2401.00588). The account with the least counter is
next. One that was idle starts at the counter of those that wait, so idling banks no credit. While
two accounts wait, their counters differ by at most one shard, whatever either has queued.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.data_plane.routing.request import Request, Shard, Tier

_IDLE_ACCOUNTS_MAX = 1024

AccountKey = tuple[str, "Tier"]


@dataclass(slots=True, eq=False)
class Account:
    """What one organization has waiting in one tier."""

    key: AccountKey
    weight: float
    counter: float = 0.0
    """Virtual tokens: tokens given / weight."""
    tokens: int = 0
    """Tokens waiting."""
    shards: OrderedDict[Shard, None] = field(default_factory=OrderedDict)
    rank: int = 0
    """Number of its entry in the heap; 0 when it has none. Any other entry is stale."""


class FairQueue:
    """Shards that wait, in the order in which they should leave."""

    def __init__(self, *, flex_weight: float) -> None:
        self.tokens = 0
        """Tokens waiting, all accounts."""
        self._flex_weight = flex_weight
        self._accounts: dict[AccountKey, Account] = {}
        self._heap: list[tuple[float, int, Account]] = []
        self._aside: list[tuple[float, int, Account]] = []
        self._sequence = 0
        self._floor = 0.0  # the counter of the account served last: virtual time

    def __len__(self) -> int:
        return sum(len(account.shards) for account in self._accounts.values())

    def push(self, shard: Shard, *, front: bool = False) -> None:
        """Add a shard; `front` is for one that was already sent and comes back."""
        account = self._account(shard.request)
        if not account.shards:
            head = self._head()
            waiting = head.counter if head else self._floor
            account.counter = max(account.counter, waiting)
        account.shards[shard] = None
        if front:
            account.shards.move_to_end(shard, last=False)
        account.tokens += shard.tokens
        self.tokens += shard.tokens
        if len(account.shards) == 1:
            self._rank(account)

    def peek(self) -> Shard | None:
        """Return the shard that should leave next."""
        head = self._head()
        return next(iter(head.shards)) if head else None

    def take(self) -> Shard:
        """Remove the shard that `peek` names and charge its account."""
        account = self._head()
        assert account is not None, "take from an empty queue"
        shard = next(iter(account.shards))
        self._remove(account, shard)
        self._floor = max(self._floor, account.counter)
        heapq.heappop(self._heap)
        account.rank = 0
        if not shard.charged:
            shard.charged = True
            account.counter += shard.tokens / account.weight
        if account.shards:
            self._rank(account)
        return shard

    def discard(self, shard: Shard) -> None:
        """Remove a shard that nobody waits for; nothing happens when it is not here."""
        account = self._accounts.get(_key(shard.request))
        if account and shard in account.shards:
            self._remove(account, shard)

    def step_over(self) -> None:
        """Set the next account aside until `resume`: its shard waits for one certain worker."""
        entry = heapq.heappop(self._heap)
        self._aside.append(entry)

    def resume(self) -> None:
        """Put back what was set aside."""
        for entry in self._aside:
            heapq.heappush(self._heap, entry)
        self._aside.clear()

    def waiting(self, key: AccountKey) -> int:
        """Tokens that an account has waiting."""
        account = self._accounts.get(key)
        return account.tokens if account else 0

    def tokens_ahead(self, key: AccountKey, weight: float, tokens: int) -> float:
        """Tokens that will leave before the last of `tokens` more of this account does.

        An account with little waiting is not held up by all that a larger one has queued, only by
        its fair share.
        """
        own = self.waiting(key) + tokens
        turns = own / self._scaled(key, weight)
        return own + sum(
            min(other.tokens, turns * other.weight)
            for other in self._accounts.values()
            if other.key != key
        )

    def counters(self) -> Iterator[Account]:
        """Yield the accounts with something waiting."""
        return (account for account in self._accounts.values() if account.shards)

    def _account(self, request: Request) -> Account:
        key = _key(request)
        account = self._accounts.get(key)
        weight = self._scaled(key, request.weight)
        if account is None:
            if len(self._accounts) > 2 * len(self._heap) + _IDLE_ACCOUNTS_MAX:
                self._forget()
            account = self._accounts[key] = Account(key, weight)
        account.weight = weight
        return account

    def _scaled(self, key: AccountKey, weight: float) -> float:
        return weight * self._flex_weight if key[1] == "flex" else weight

    def _head(self) -> Account | None:
        while self._heap:
            _, rank, account = self._heap[0]
            if account.shards and account.rank == rank:
                return account
            heapq.heappop(self._heap)
        return None

    def _rank(self, account: Account) -> None:
        self._sequence += 1
        account.rank = self._sequence
        heapq.heappush(self._heap, (account.counter, self._sequence, account))

    def _remove(self, account: Account, shard: Shard) -> None:
        del account.shards[shard]
        account.tokens -= shard.tokens
        self.tokens -= shard.tokens

    def _forget(self) -> None:
        """Drop idle accounts: those at or below virtual time would be lifted to it anyway."""
        idle = [key for key, account in self._accounts.items() if not account.shards]
        ahead = [key for key in idle if self._accounts[key].counter > self._floor]
        for key in idle if len(ahead) > _IDLE_ACCOUNTS_MAX else set(idle) - set(ahead):
            del self._accounts[key]


def _key(request: Request) -> AccountKey:
    return request.organization, request.tier
