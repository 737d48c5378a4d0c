"""Everything in any order: the engine against a plain model of what must be true.

The model is the auditor: it knows what was granted and what was acknowledged to clients, nothing of
leases. The same steps run over a naive engine, on which it must fail: see the last test.
"""

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import asdict, replace
from sqlalchemy import select

from gateway.control_plane.billing import credit
from gateway.control_plane.receipts import published
from gateway.data_plane.metering import proofs
from gateway.data_plane.metering.leases import Settlement
from gateway.data_plane.metering.messages import Tick, UsageLine
from gateway.data_plane.metering.port import (
    FROZEN,
    Charge,
    ChargeUnknown,
    CreditUnavailable,
    InsufficientCredit,
)
from gateway.data_plane.metering.receipts import FIRST
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import freezes, grants, invariants, postings
from gateway.storage.ledger.books import NANOS_PER_CENT
from gateway.storage.ledger.freezes import StoredCause
from gateway.storage.ledger.upkeep import reap
from gateway.storage.tables import accounts
from testing.gateways import Ledger
from testing.payments import Payment
from tests.data_plane.metering import machine
from tests.data_plane.metering.machine import RULES, SIGNER, Replica, World

REPLICAS = 3
PAYMENTS = 2
FOREVER = 1e6
which = st.integers(0, REPLICAS - 1)
names = st.sampled_from([None, None, "one Idempotency-Key", "another"])
tokens = st.integers(1, 12)
causes = st.sampled_from(["books", "operator", "dispute"])
fates = st.just([]) | st.lists(
    st.sampled_from(["good", "lost", "answer lost", "client leaves"]), max_size=6
)


class Books(RuleBasedStateMachine):
    """The steps of the world, and the auditor's own count."""

    template: Path | str
    """A file of SQLite, copied for each run, or the address of a PostgreSQL that all runs share."""
    replica_class: type[Replica] = Replica

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        url = self.template
        if isinstance(url, Path):
            url = f"sqlite:///{shutil.copy(url, self.folder.name)}"
        self.database = Database(url)
        self.ledger = self.runner.run(Ledger.create(self.database))
        self.world = World(self.database, self.runner)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(postings, "database_now", self.world.database_now)
        self.replicas = [self.replica_class(self.world) for _ in range(REPLICAS)]
        machine.peers[self.world] = self.replicas
        self.granted = self.taken = self.expired = 0
        self.payments = [
            self.runner.run(
                Payment.create(
                    self.database, self.ledger.organization_id, cents=1, is_received=True
                )
            )
            for _ in range(PAYMENTS)
        ]
        self.posted = [0] * PAYMENTS
        self.frozen: set[StoredCause] = set()
        self.was_refused = False
        self.held: list[list] = [[] for _ in range(REPLICAS)]
        self.kept: list[list[Charge]] = [[] for _ in range(REPLICAS)]
        """Reserved, and waiting for a retry."""
        self.unsure: dict[str, int] = {}
        """Settled and not acknowledged: the client has no answer yet."""
        self.acknowledged: dict[str, int] = {}
        self.named: dict[str, str] = {}
        """The requests with an Idempotency-Key."""
        self.delivered: list[Charge] = []
        """Acknowledged, by replicas that live and may learn that nobody got the answer."""
        self.lost: set[str] = set()
        """Those of which nobody got the answer."""
        self.waived: set[str] = set()
        """Told to be free."""
        self.rooted: set[str] = set()
        """The roots that receipts name."""
        self.old_roots = {root.id for root in self.runner.run(self._log())}
        """Of runs before, in a database that all share."""
        self.chains = REPLICAS
        """How many processes there have been."""
        self.failed: set[str] = set()
        self.waiting: list[list[Settlement]] = [[] for _ in range(REPLICAS)]
        """Settled, and their clients still wait."""
        self.unknown: dict[str, Replica] = {}
        """Given up by a living process: if charged, that comes back."""
        self.credited: dict[str, int] = {}

    def teardown(self) -> None:
        try:
            self.settle_everything()
        finally:
            self.close()

    def close(self) -> None:
        self.patch.undo()
        del machine.peers[self.world]
        self.runner.run(self.world.ledger.close())
        self.runner.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    @initialize(amount=st.integers(20, 80))
    def begin(self, amount: int) -> None:
        self.grant(amount, "paid")
        for fate in ("lost", "answer lost"):  # so that every chain has roots to be looked at
            for who in range(REPLICAS):
                self.serve(who, 1, journal=False, fates=[])
                self.flush(who, fate)
                self.flush(who, "good")

    @rule(amount=tokens, kind=st.sampled_from(["paid", "promo"]))
    def grant(self, amount: int, kind: str) -> None:
        self.runner.run(self.ledger.grant(amount * 8, kind=kind))
        self.granted += amount * 8

    @rule(amount=tokens)
    def grant_that_is_over(self, amount: int) -> None:
        over = machine.EPOCH - timedelta(days=1)
        self.runner.run(self.ledger.grant(amount * 8, expires_at=over))
        self.granted += amount * 8

    @rule()
    def expire(self) -> None:
        before = self.left()
        self.runner.run(grants.expire(self.database, self.world.now))
        self.expired += before - self.left()

    @rule(number=st.integers(0, PAYMENTS - 1), tokens=st.integers(0, 12))
    def post(self, number: int, tokens: int) -> None:
        """Let a payment have posted so much: bought, refunded in part, disputed and won."""
        payment = self.payments[number]
        desired = min(tokens * 8, payment.cents * NANOS_PER_CENT)

        async def post() -> None:
            async with self.database.write() as connection:
                await payment.post_nanos(connection, desired)

        self.runner.run(post())
        self.granted += desired - self.posted[number]
        self.posted[number] = desired

    @rule(cause=causes)
    def freeze(self, cause: StoredCause) -> None:
        self.frozen.add(cause)
        self.runner.run(self._in_transaction(freezes.freeze, cause))

    @rule(cause=causes)
    def lift(self, cause: StoredCause) -> None:
        self.frozen.discard(cause)
        self.runner.run(self._in_transaction(freezes.lift, cause))

    @rule(refuses=st.booleans())
    def refuse(self, refuses: bool) -> None:
        """Let the ledger refuse what the organization uses, or take it again."""
        self.world.refuses = refuses
        self.was_refused |= refuses

    async def _in_transaction(self, change, *arguments, **named) -> None:
        async with self.database.write() as connection:
            await change(connection, self.ledger.organization_id, *arguments, **named)

    async def _owed(self) -> int:
        """Return the account's debt, which a balance shows as paid by what gateways hold."""
        own = accounts.c.id == self.ledger.organization_id
        async with self.database.read() as connection:
            return await connection.scalar(select(accounts.c.owed_nanos).where(own)) or 0

    @rule(which_lot=st.integers(0, 3), amount=tokens)
    def take(self, which_lot: int, amount: int) -> None:
        """Take back from a lot of a grant, more than is left of it now and then."""
        lots = self.runner.run(self.ledger.balance()).lots
        granted = [lot for lot in lots if not lot.source_ref.startswith("payment:")]
        if not granted:
            return
        lot = granted[which_lot % len(granted)]
        try:
            self.runner.run(self._in_transaction(grants.take, lot.id, amount * 8, reason="a test"))
        except grants.LotHasLess:
            assert lot.remaining_nanos < amount * 8
        else:
            self.taken += amount * 8

    @rule(who=which, amount=tokens, fates=fates, name=names)
    def reserve(self, who: int, amount: int, fates: list[str], name: str | None = None) -> None:
        self.world.fates = list(fates)
        charge = replace(self.ledger.charge(amount * 8), print="bytes")
        if name is not None:
            charge = replace(charge, print=name, print_seconds=FOREVER)
            self.named[charge.request_id] = name
        error = self.replicas[who].reserve(charge)
        if error is None:
            self.held[who].append(charge)
            return
        self.failed.add(charge.request_id)
        assert isinstance(error, (InsufficientCredit, CreditUnavailable, *FROZEN))
        if self.frozen or isinstance(error, FROZEN):
            for_a_reason = self.frozen or self.was_refused or self.runner.run(self._owed())
            assert for_a_reason, "frozen for nothing"
        elif isinstance(error, InsufficientCredit):
            assert self.recallable() < charge.cost_nanos, "refused, though a recall had served it"

    @rule(fates=fates)
    def all_reserve_all_there_is(self, fates: list[str]) -> None:
        amount = max(1, self.left() // 8)
        for who in range(REPLICAS):
            self.reserve(who, amount, fates)

    @rule(who=which)
    def send(self, who: int) -> None:
        self.replicas[who].send()

    @rule(who=which, answered=st.booleans())
    def receive(self, who: int, answered: bool) -> None:
        self.replicas[who].receive(answered=answered)

    @rule(who=which, journal=st.booleans())
    def settle(self, who: int, journal: bool) -> None:
        if not self.held[who]:
            return
        charge = self.held[who].pop()
        replica = self.replicas[who]
        entry = replica.settle(charge, journal=journal)
        if journal:
            assert self.verified(replica, entry) is None
            self.acknowledged[charge.request_id] = charge.cost_nanos
            self.delivered.append(charge)
            return
        self.unsure[charge.request_id] = charge.cost_nanos

        def done() -> None:
            del self.unsure[charge.request_id]
            if entry.error is None:
                self.acknowledged[charge.request_id] = charge.cost_nanos
                self.delivered.append(charge)
                if entry.original_id is not None:
                    self.waived.add(charge.request_id)
                self.rooted |= {root for root in [self.verified(replica, entry)] if root}
            elif isinstance(entry.error, ChargeUnknown):
                self.unknown[charge.request_id] = replica
            else:
                self.failed.add(charge.request_id)

        entry.done = done
        self.waiting[who].append(entry)

    @rule(who=which)
    def give_up(self, who: int) -> None:
        """Let a client wait no longer: neither the ledger nor the journal has taken its request."""
        waiting = [entry for entry in self.waiting[who] if entry.done is not None]
        if waiting:
            self.replicas[who].book.give_up(waiting[0])
        self.waiting[who] = waiting[1:]

    def verified(self, replica: Replica, entry: Settlement) -> str | None:
        """Check the receipt that the client gets; return the id of its root."""
        receipt = proofs.verify(replica.receipts.receipt(entry) or "", [SIGNER.public])
        assert receipt.receipt.request_id == entry.request_id
        return receipt.tree and receipt.tree.root_id

    @rule(who=which, amount=tokens, journal=st.booleans(), fates=fates)
    def serve(self, who: int, amount: int, journal: bool, fates: list[str]) -> None:
        held = len(self.held[who])
        self.reserve(who, amount, fates)
        if len(self.held[who]) > held:
            self.settle(who, journal)

    @rule(who=which)
    def fail(self, who: int) -> None:
        if self.held[who]:
            charge = self.held[who].pop()
            self.replicas[who].book.release(charge)
            self.failed.add(charge.request_id)

    @rule(who=which)
    def lose(self, who: int) -> None:
        """Learn that nobody got an answer that was charged."""
        if self.delivered:
            charge = self.delivered.pop()
            self.lost.add(charge.request_id)
            self.replicas[who].book.miss(charge, FOREVER)

    @rule(who=which)
    def keep(self, who: int) -> None:
        """Let a request's client leave before it could be charged."""
        if self.held[who]:
            charge = self.held[who].pop()
            self.replicas[who].book.keep(charge, 30)
            self.kept[who].append(charge)

    @rule(who=which, journal=st.booleans(), fates=fates)
    def fetch(self, who: int, journal: bool, fates: list[str]) -> None:
        """Let a retry fetch what nobody waited for, and pay for it if there is credit."""
        if not self.kept[who]:
            return
        charge = self.kept[who].pop()
        self.world.fates = list(fates)
        replica = self.replicas[who]
        if replica.book.resume(charge) is None and replica.reserve(charge) is not None:
            self.failed.add(charge.request_id)
            return
        self.held[who].append(charge)
        self.settle(who, journal)

    @rule(who=which, fate=st.sampled_from(["good", "good", "lost", "answer lost", "late"]))
    def flush(self, who: int, fate: str) -> None:
        replica = self.replicas[who]
        if fate == "late":
            replica.deliver_late()
        else:
            replica.tick(arrives=fate != "lost", answered=fate != "answer lost")

    @rule(who=which, twice=st.booleans())
    def crash(self, who: int, twice: bool) -> None:
        dead, fresh = self.replicas[who], self.replica_class(self.world)
        self.chains += 1
        self.replicas[who] = fresh
        for lost in (self.held[who], self.kept[who]):
            self.failed |= {charge.request_id for charge in lost}
            lost.clear()
        self.waiting[who].clear()
        self.unknown = {one: by for one, by in self.unknown.items() if by is not dead}
        dead.receive(answered=False)
        for entry in dead.book.outbox:
            self.unsure.pop(entry.request_id, None)  # no answer: either way is right
        dead.deliver_late()
        for _ in range(1 + twice):
            fresh.replay(dead.journal)
        fresh.replay(dead.handed_back)
        fresh.journal = dead.journal

    @rule(seconds=st.sampled_from([0.1, 1, 5, 20, 70]))
    def wait(self, seconds: float) -> None:
        self.world.seconds += seconds

    @rule()
    def reap(self) -> None:
        self.runner.run(reap(self.database, at=self.world.now))

    @invariant()
    def the_books_are_in_order(self) -> None:
        async def audit():
            async with self.database.read() as connection:
                return await invariants.audit(connection)

        assert self.runner.run(audit()) == []

    @invariant()
    def the_auditor_agrees(self) -> None:
        charged = self.usage()
        waiting = {charge.request_id for kept in self.kept for charge in kept}
        assert not (self.failed | waiting) & set(charged), "a failed request has a usage row"
        free = {one for one in self.waived if one not in self.named}
        assert not any(charged.get(one) for one in self.waived), "a free request was charged"
        assert len(free) <= len(self.lost), "more are free than answers were lost"
        paid = [name for one, name in self.named.items() if charged.get(one)]
        assert len(paid) == len(set(paid)), "an Idempotency-Key was charged twice"
        left = self.left()
        credited = sum(self.credited.values())
        assert left == self.granted + credited - self.taken - self.expired - sum(charged.values())

    def settle_everything(self) -> None:
        """Let every process say what it has to say, then ask for every answer's row."""
        self.world.refuses = False
        for _ in range(4):
            for replica in self.replicas:
                for one in replica.talk.refusals.apart.values():
                    one.retry_at = self.world.seconds
            for replica in self.replicas:
                replica.tick()
        rows = self.usage()
        missing = [one for one in self.acknowledged if one not in rows]
        assert missing == [], "an acknowledged request has no usage row"
        for replica in self.replicas:
            self.credited |= replica.credit_back()
        kept = [one for one in self.unknown if rows.get(one) and one not in self.credited]
        assert kept == [], "what was told to be unknown stays charged"
        self.runner.run(self._see_the_log())

    async def _see_the_log(self) -> None:
        """Every root that a receipt names is in the log, and no chain forks or has a gap."""
        log = [root for root in await self._log() if root.id not in self.old_roots]
        assert self.rooted <= {root.id for root in log}
        ends = {proofs.digest(root.id, root.size, root.previous, root.root) for root in log}
        followed = [root.previous for root in log if root.previous != FIRST]
        assert len(log) - len(followed) <= self.chains
        assert len(followed) == len(set(followed))
        assert set(followed) <= ends

    async def _log(self) -> list[published.PublishedRoot]:
        async with self.database.read() as connection:
            return await published.roots(connection, limit=10_000)

    @rule()
    def hear(self) -> None:
        """Two heartbeats later nobody holds credit of a frozen account that is not in use."""
        for _ in range(2):
            self.world.seconds += RULES.heartbeat_seconds
            for replica in self.replicas:
                replica.tick()
        if self.frozen or self.runner.run(self._owed()):
            assert self.free() == 0, "a frozen account's credit is not returned"

    @rule()
    def compare(self) -> None:
        self.settle_everything()

    def usage(self) -> dict[str, int]:
        return {
            row.request_id: row.charged_nanos
            for row in self.runner.run(self.ledger.usage())
            if row.organization_id == self.ledger.organization_id
        }

    def left(self) -> int:
        balance = self.runner.run(self.ledger.balance())
        return balance.available_nanos - balance.owed_nanos

    def recallable(self) -> int:
        """What is available, and what living processes hold and don't use or only keep."""
        balance: credit.Balance = self.runner.run(self.ledger.balance())
        kept = sum(
            hold.charge.cost_nanos
            for replica in self.replicas
            for hold in map(replica.book.held.__getitem__, replica.book.kept)
            if self.world.seconds < hold.lease.deadline
        )
        return balance.available_nanos - balance.reserved_nanos + self.free() + kept

    def free(self) -> int:
        """What living processes hold and don't use."""
        purses = [replica.book.purses.get(self.ledger.organization_id) for replica in self.replicas]
        return sum(purse.lease.free for purse in purses if purse and purse.lease)


class NaiveReplica(Replica):
    """What one would write first: look at the balance, do the work, charge, answer in any case."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._number = 0
        self._answers: list[Settlement] = []

    def reserve(self, charge: Charge) -> Exception | None:
        left = self.world.runner.run(self._available(charge.organization_id))
        return InsufficientCredit("none left") if left < charge.cost_nanos else None

    def settle(self, charge: Charge, *, journal: bool) -> Settlement:
        self._number += 1
        line = UsageLine(
            lease_id=new_id(), budget_id=None, budget_lease_id=None, created_ms=0,
            **{
                name: value for name, value in asdict(charge).items()
                if name not in {"budget", "trace"}
            },
        )  # fmt: skip
        entry = Settlement(charge.request_id, charge.cost_nanos, line)
        tick = Tick(
            replica_id=new_id(), number=self._number, lease_seconds=60, shard=0,
            lease_ids=[line.lease_id], usage=[entry.encoded()], answered=[], leases=[],
        )  # fmt: skip
        self.world.runner.run(self.world.ledger.tick(tick, self.world.now))
        if not journal:
            self._answers.append(entry)
        return entry

    def tick(self, **_fate: bool) -> None:
        while self._answers:
            self._answers.pop().finish()

    async def _available(self, organization_id: str) -> int:
        query = select(accounts.c.available_nanos).where(accounts.c.id == organization_id)
        async with self.world.database.read() as connection:
            return int(await connection.scalar(query) or 0)


SETTINGS = settings(
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    "examples", [4, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
def test_the_engine_keeps_the_books(sqlite_template: Path, examples: int):
    _run(sqlite_template, examples)


@pytest.mark.parametrize(
    "examples", [2, pytest.param(8, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_the_engine_keeps_the_books_of_postgresql(
    postgresql_database_url: list[str], examples: int
):
    _run(postgresql_database_url[0], examples)


def _run(place: Path | str, examples: int) -> None:
    class Engine(Books):
        template = place

    run_state_machine_as_test(Engine, settings=settings(SETTINGS, max_examples=examples))


@pytest.mark.long
def test_the_auditor_catches_a_naive_engine(sqlite_template: Path):
    class Naive(Books):
        template = sqlite_template
        replica_class = NaiveReplica

    # the same examples each time: usually ten are enough, and now and then a hundred were not
    quick = settings(
        SETTINGS, phases=[Phase.generate], max_examples=100, print_blob=False, derandomize=True
    )
    with pytest.raises(AssertionError, match="an acknowledged request has no usage row"):
        run_state_machine_as_test(Naive, settings=quick)
