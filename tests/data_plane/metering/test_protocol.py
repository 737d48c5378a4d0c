"""Single interleavings of the lease protocol that a kill loop would take long to meet."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.data_plane.metering.messages import LeaseAnswer, TickAnswer
from gateway.data_plane.metering.port import Charge, InsufficientCredit
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from gateway.storage.ledger.upkeep import reap
from testing.gateways import Ledger
from tests.data_plane.metering import machine
from tests.data_plane.metering.machine import Replica, World


class Stage:
    """Two processes and an organization with ten tokens' credit."""

    def __init__(self, database: Database, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.ledger: Ledger = self.run(Ledger.create(database, 80))
        self.world = World(database, runner)
        self.first, self.second = Replica(self.world), Replica(self.world)
        machine.peers[self.world] = [self.first, self.second]

    def serve(self, replica: Replica, nanos: int) -> None:
        charge = self.ledger.charge(nanos)
        assert replica.reserve(charge) is None
        replica.settle(charge, journal=False)

    def lose_lease(self, replica: Replica) -> None:
        """Let a process pause: its lease expires and is closed, and another spends all credit."""
        self.world.seconds += 2 * machine.RULES.lease_seconds
        self.run(reap(self.world.database, at=self.world.now))
        machine.peers[self.world].remove(replica)
        (other,) = machine.peers[self.world]
        self.serve(other, 80)
        other.tick()

    def charged(self, charge: Charge) -> list[int]:
        """What the rows of a request charge."""
        usage = self.run(self.ledger.usage())
        return [row.charged_nanos for row in usage if row.request_id == charge.request_id]

    def spent(self) -> int:
        return sum(row.charged_nanos for row in self.run(self.ledger.usage()))

    async def breaches(self) -> list[str]:
        async with self.world.database.read() as connection:
            return [breach.invariant.name for breach in await invariants.audit(connection)]


@pytest.fixture
def stage(sqlite_template: Path, tmp_path: Path) -> Iterator[Stage]:
    path = shutil.copy(sqlite_template, tmp_path / "gateway.db")
    database = Database(f"sqlite:///{path}")
    with asyncio.Runner() as runner:
        made = Stage(database, runner)
        yield made
        assert runner.run(made.breaches()) == []
        runner.run(database.close())


def test_what_a_lost_denial_took_back_is_not_spent(stage: Stage):
    stage.serve(stage.first, 8)  # leases 20 of the 80
    stage.first.tick()
    keeper = stage.ledger.charge(56)
    assert stage.second.reserve(keeper) is None
    stage.world.fates = ["client leaves", "answer lost"]
    stage.first.reserve(stage.ledger.charge(40))  # denied, and the denial never heard
    assert stage.first.book.reserve(stage.ledger.charge(8)) is None


def recall_from_first(stage: Stage) -> None:
    """Leave the first with a lease of 20, 8 of it spent, and a recall that it has heard of."""
    stage.serve(stage.first, 8)
    stage.first.tick()
    stage.world.fates = ["client leaves", "good", "good"]
    stage.second.reserve(stage.ledger.charge(72))


def test_what_a_lost_return_gave_back_is_not_spent(stage: Stage):
    recall_from_first(stage)
    (purse,) = stage.first.book.purses.values()
    assert purse.lease is not None
    assert purse.lease.free == 12  # heard of, and not yet returned
    stage.first.tick(answered=False)
    assert stage.first.book.reserve(stage.ledger.charge(8)) is None
    stage.serve(stage.second, 72)
    stage.second.tick()
    assert stage.spent() == 80


def test_a_return_that_arrives_late_takes_nothing_that_is_in_use(stage: Stage):
    recall_from_first(stage)
    stage.first.tick(arrives=False)
    charge = stage.ledger.charge(40)
    assert stage.first.reserve(charge) is None
    stage.first.deliver_late()
    stage.first.settle(charge, journal=False)
    stage.first.tick()
    assert stage.spent() == 48


def test_a_row_in_two_journals_is_charged_once(stage: Stage):
    charge = stage.ledger.charge(8)
    assert stage.first.reserve(charge) is None
    stage.first.settle(charge, journal=True)
    stage.second.replay(stage.first.journal * 2)
    for replica in (stage.second, stage.first, stage.second):
        replica.tick()
    assert stage.spent() == 8


def test_an_answer_that_nobody_got_is_told_until_the_ledger_has_heard_it(stage: Stage):
    lost, retry = (replace(stage.ledger.charge(8), print="bytes") for _ in range(2))
    assert stage.first.reserve(lost) is None
    stage.first.settle(lost, journal=False)
    stage.first.tick()
    stage.first.book.miss(lost, 60)
    stage.first.tick(arrives=False)
    stage.first.tick()
    assert not stage.first.book.undelivered
    assert stage.second.reserve(retry) is None
    entry = stage.second.settle(retry, journal=False)
    stage.second.tick()
    assert entry.original_id == lost.request_id
    assert (stage.charged(lost), stage.charged(retry)) == ([8], [0])


def test_past_its_deadline_a_lease_is_not_used(stage: Stage):
    stage.serve(stage.first, 8)
    stage.first.tick()
    stage.world.seconds += machine.RULES.lease_seconds - machine.RULES.margin_seconds + 1
    assert stage.first.book.reserve(stage.ledger.charge(8)) is None
    stage.serve(stage.first, 8)  # from a lease of its own, once the ledger was asked
    stage.first.tick()
    assert stage.spent() == 16


def test_a_recall_serves_a_request_that_no_process_could_alone(stage: Stage):
    for replica in (stage.first, stage.second):
        stage.serve(replica, 8)
        replica.tick()
    stage.serve(stage.first, 64)
    stage.first.tick()
    refused = stage.second.reserve(stage.ledger.charge(8))
    assert isinstance(refused, InsufficientCredit)
    assert stage.spent() == 80


def test_who_leaves_after_being_served_keeps_nothing(stage: Stage):
    charge = stage.ledger.charge(80)
    book = stage.first.book
    waiter = book.wait(book.purse(charge.organization_id), charge.cost_nanos, lambda: None)
    stage.first.tick()
    assert waiter.lease is not None
    book.cancel(waiter)
    assert (waiter.lease.reserved, waiter.lease.free) == (0, 80)
    stage.serve(stage.second, 80)  # a recall finds all of it
    stage.second.tick()
    assert stage.spent() == 80


def test_what_one_request_gives_back_serves_who_waits_without_the_ledger(stage: Stage):
    charge = stage.ledger.charge(40)
    assert stage.first.reserve(charge) is None
    book = stage.first.book
    (purse,) = book.purses.values()
    waiter = book.wait(purse, 40, lambda: None)
    stage.first.send()  # it asks for the other's credit
    woken = []
    book.on_work = lambda: woken.append(True)
    book.asking.clear()
    purse.ask_again_at = stage.world.seconds + 60  # and would wait long before it asks again
    book.release(charge)
    assert woken
    stage.first.talk.compose()
    assert waiter.lease is not None
    book.cancel(waiter)
    stage.first.receive(answered=False)


def test_a_tick_has_one_line_for_a_lease_that_is_recalled_and_asks(stage: Stage):
    recall_from_first(stage)
    book = stage.first.book
    (purse,) = book.purses.values()
    book.wait(purse, 72, lambda: None)
    sent = stage.first.talk.compose()
    assert sent is not None
    assert [line.action for line in sent.tick.leases] == ["ask"]
    stage.first.talk.failed(sent)


def test_usage_that_is_sent_again_keeps_its_order(stage: Stage):
    """The first and the last line tell the ledger between which hours they are."""
    charges = [stage.ledger.charge(8) for _ in range(3)]
    for charge in charges:
        assert stage.first.reserve(charge) is None
    for charge in charges:
        stage.first.settle(charge, journal=False)
    stage.first.tick(arrives=False)
    sent = stage.first.talk.compose()
    assert sent is not None
    assert [entry.request_id for entry in sent.entries] == [one.request_id for one in charges]
    stage.first.talk.failed(sent)
    stage.first.tick()


def test_a_lease_that_is_being_closed_is_not_opened_by_a_late_word(stage: Stage):
    stage.serve(stage.first, 8)
    stage.first.tick()
    (purse,) = stage.first.book.purses.values()
    lease = purse.lease
    assert lease is not None
    stage.world.seconds += machine.RULES.idle_seconds + 1
    sent = stage.first.talk.compose()
    assert sent is not None
    assert [line.action for line in sent.tick.leases] == ["close"]
    free, asks_from = lease.free, purse.prefetch_at
    told = LeaseAnswer(
        id=lease.id, state="open", granted_nanos=80, available_nanos=80, denied=False, frozen=None,
        unreached_nanos=0,
    )  # fmt: skip
    empty = TickAnswer(refused=[], written_off=[], leases=[told], closed=[], recalled=[])
    stage.first.talk.applied(sent, empty)
    assert (lease.free, purse.prefetch_at) == (free, asks_from)
    again = stage.first.talk.compose()
    assert again is not None
    assert [line.action for line in again.tick.leases] == ["close"]  # until it is
    stage.first.talk.failed(again)
    stage.first.tick()


def test_what_went_unanswered_is_not_refused_so_that_it_can_t_be_charged_later(stage: Stage):
    charge = stage.ledger.charge(8)
    assert stage.first.reserve(charge) is None
    entry = stage.first.settle(charge, journal=False)
    stage.first.tick(arrives=False)
    stage.lose_lease(stage.first)
    stage.first.tick()
    assert entry.error is None
    assert stage.charged(charge) == [0]
    stage.run(stage.ledger.grant(80))
    stage.first.deliver_late()
    assert stage.charged(charge) == [0]


def test_what_the_journal_answered_meanwhile_is_written_off_and_not_dropped(stage: Stage):
    charge = stage.ledger.charge(8)
    assert stage.first.reserve(charge) is None
    entry = stage.first.settle(charge, journal=False)
    stage.lose_lease(stage.first)
    stage.first.send()
    entry.answered = True
    stage.first.receive()
    stage.first.tick()
    assert entry.error is None
    assert stage.charged(charge) == [0]


def test_what_is_kept_of_one_set_apart_keeps_no_process_from_ending(stage: Stage):
    first = stage.first
    charge = stage.ledger.charge(8)
    assert first.reserve(charge) is None
    first.settle(charge, journal=True)
    assert not first.talk.done
    stage.world.refuses = True
    first.tick()
    assert list(first.talk.refusals.apart) == [charge.organization_id]
    first.talk.stop()
    first.tick()
    assert first.talk.done


def test_who_is_set_apart_is_tried_again_ever_less_often(stage: Stage):
    first = stage.first
    charge = stage.ledger.charge(8)
    assert first.reserve(charge) is None
    first.settle(charge, journal=True)
    stage.world.refuses = True
    pauses = []
    for _ in range(6):
        first.tick()
        (apart,) = first.talk.refusals.apart.values()
        pauses.append(apart.retry_at - stage.world.seconds)
        stage.world.seconds = apart.retry_at
    assert pauses == pytest.approx([5, 10, 20, 40, 60, 60])


def test_what_is_recalled_is_returned_at_once(stage: Stage):
    first, second = stage.first, stage.second
    charge = stage.ledger.charge(40)
    assert first.reserve(charge) is None
    first.book.release(charge)
    second.book.wait(second.book.purse(charge.organization_id), 80, lambda: None)
    second.tick()
    assert first.talk.due_in() != 0
    stage.world.seconds += 0.2  # a heartbeat, by which it learns of the recall
    first.tick()
    assert first.talk.due_in() == 0


def test_what_waited_long_enough_for_its_retry_is_given_up(stage: Stage):
    first, charge = stage.first, stage.ledger.charge(40)
    assert first.reserve(charge) is None
    first.book.keep(charge, 30)
    stage.world.seconds += 29
    first.tick()
    assert charge.request_id in first.book.held
    stage.world.seconds += 2
    first.tick()
    assert charge.request_id not in first.book.held
    assert first.book.resume(charge) is None


@pytest.mark.parametrize(("available", "asks"), [(0, False), (8, True)])
def test_more_is_asked_for_ahead_only_where_there_is_more(stage: Stage, available: int, asks: bool):
    stage.serve(stage.first, 8)
    stage.first.tick()
    (purse,) = stage.first.book.purses.values()
    lease = purse.lease
    assert lease is not None
    purse.prefetch_at = held_off = stage.world.seconds + 1_000
    told = LeaseAnswer(
        id=lease.id, state="open", granted_nanos=80, available_nanos=available, denied=False,
        frozen=None, unreached_nanos=0,
    )  # fmt: skip
    empty = TickAnswer(refused=[], written_off=[], leases=[told], closed=[], recalled=[])
    stage.serve(stage.first, 8)
    sent = stage.first.talk.compose()
    assert sent is not None
    stage.first.talk.applied(sent, empty)
    assert (purse.prefetch_at < held_off) is asks
