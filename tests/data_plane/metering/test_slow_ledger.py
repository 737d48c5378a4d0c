"""A ledger that is slow to answer: nobody is charged for nothing, and no answer is lost."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journal import Journal, JournalError
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.leases import NEVER, LeaseRules
from gateway.data_plane.metering.messages import LedgerUnavailable, Tick, TickAnswer, UsageLine
from gateway.data_plane.metering.port import (
    Charge,
    ChargeUnknown,
    CreditUnavailable,
    ReservationExpired,
)
from gateway.data_plane.metering.protocol import LeaseProtocol
from gateway.identifiers import new_id
from gateway.storage.ledger.upkeep import reap
from testing.gateways import Ledger
from testing.ledger import ledger_of, running

pytestmark = pytest.mark.sqlite


class Slow:
    """A ledger on which ticks wait as long as `holds` says so, or fail while it is away."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger_of(ledger.database)
        self._holds: Callable[[Tick], bool] = lambda _tick: False
        self._changed = asyncio.Event()
        self.holding = asyncio.Event()
        self.is_away = False
        self.credits_nothing = False
        self.asked_back = 0
        self.on_usage: Callable[[], None] = lambda: None

    def hold(self, holds: Callable[[Tick], bool]) -> None:
        self._holds = holds
        self.holding.clear()
        self._changed.set()

    async def tick(self, tick: Tick) -> TickAnswer:
        if tick.usage:
            self.on_usage()
        if self.is_away:
            raise LedgerUnavailable("away")
        while self._holds(tick):
            self._changed.clear()
            self.holding.set()
            await self._changed.wait()
        return await self._ledger.tick(tick)

    async def credit_back(self, line: UsageLine) -> int:
        self.asked_back += 1
        if self.credits_nothing:
            raise LedgerUnavailable("away")
        return await self._ledger.credit_back(line)

    async def strangers(self, lines: list[UsageLine]) -> set[str]:
        return await self._ledger.strangers(lines)

    async def close(self) -> None:
        await self._ledger.close()


def everything(_tick: Tick) -> bool:
    return True


def nothing(_tick: Tick) -> bool:
    return False


async def serve(engine: LeasedCredits, ledger: Ledger, nanos: int) -> None:
    charge = ledger.charge(nanos)
    await engine.reserve(charge)
    await engine.settle(charge)


def journaled(folder: Path) -> str:
    """What stands in all segments on the disk."""
    return "".join(file.read_text() for file in folder.glob("*/*.journal"))


@pytest.mark.parametrize("way", ["leaves", "gives up"])
async def test_who_no_longer_waits_for_credit_keeps_none(ledger: Ledger, tmp_path: Path, way: str):
    await ledger.grant(80)
    slow = Slow(ledger)
    patient = EngineRules(commit_seconds=5, credit_seconds=30)
    async with running(ledger.database, tmp_path, ledger=slow, rules=patient) as engine:
        slow.hold(everything)
        if way == "leaves":
            waiting = asyncio.create_task(engine.reserve(ledger.charge(80)))
            await slow.holding.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        else:
            engine.rules = EngineRules(credit_seconds=0.01)
            with pytest.raises(CreditUnavailable):
                await engine.reserve(ledger.charge(80))
            engine.rules = patient
        slow.hold(nothing)
        await serve(engine, ledger, 80)  # all there is
    assert await ledger.breaches() == []


async def test_what_is_under_way_to_the_ledger_is_not_refused_when_its_lease_expires(
    ledger: Ledger, tmp_path: Path
):
    """It may be charged, so "nothing was charged" would be false: the journal answers it."""
    await ledger.grant(800)
    slow = Slow(ledger)
    rules = EngineRules(commit_seconds=0.01, credit_seconds=30)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        charge = ledger.charge(8)
        await engine.reserve(charge)
        (purse,) = engine.book.purses.values()
        slow.on_usage = lambda: setattr(purse.lease, "deadline", NEVER)
        slow.hold(lambda tick: bool(tick.usage))
        await engine.settle(charge)
        slow.hold(nothing)
    assert [row.charged_nanos for row in await ledger.usage()] == [8]


async def leave_the_lease(engine: LeasedCredits, ledger: Ledger) -> None:
    """Let the ledger close the only lease, and wait until the engine has heard of it."""
    (purse,) = engine.book.purses.values()
    lease = purse.lease
    await reap(ledger.database, at=datetime.now(UTC) + timedelta(hours=1))
    async with asyncio.timeout(30):
        while purse.lease is lease:
            await asyncio.sleep(0.01)


async def test_the_journal_answers_nothing_on_a_lease_that_the_ledger_closed(
    ledger: Ledger, tmp_path: Path
):
    """It could only be written off: its credit may be another's by now."""
    await ledger.grant(80)
    slow = Slow(ledger)
    rules = EngineRules(commit_seconds=0.01, credit_seconds=30)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        charge, other = ledger.charge(8), ledger.charge(8)
        await engine.reserve(charge)
        await leave_the_lease(engine, ledger)
        slow.hold(everything)
        waiting = asyncio.create_task(engine.reserve(other))  # so that a tick is under way
        await slow.holding.wait()
        with pytest.raises(CreditUnavailable):
            await engine.settle(charge)
        slow.hold(nothing)
        await waiting
        await engine.release(other)
    assert await ledger.usage() == []


async def test_what_the_journal_could_not_take_may_still_be_refused(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its client got no answer, so that a row of it, written off, would tell of none."""
    await ledger.grant(80)
    slow, tried = Slow(ledger), asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(_journal: Journal, _records: list[bytes]) -> Path:
        loop.call_soon_threadsafe(tried.set)
        raise JournalError("the disk fails")

    monkeypatch.setattr(Journal, "append", fail)
    rules = EngineRules(commit_seconds=0.01, credit_seconds=30, settle_seconds=30)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        charge = ledger.charge(8)
        await engine.reserve(charge)
        slow.hold(everything)
        await slow.holding.wait()  # a heartbeat without the usage, so that no tick with it fails
        settling = asyncio.create_task(engine.settle(charge))
        await tried.wait()
        await reap(ledger.database, at=datetime.now(UTC) + timedelta(hours=1))
        async with running(ledger.database, tmp_path / "other") as other:
            await serve(other, ledger, 80)
        slow.hold(nothing)
        with pytest.raises(ReservationExpired):
            await settling
    assert charge.request_id not in {row.request_id for row in await ledger.usage()}


async def test_while_the_ledger_is_away_for_long_nobody_waits_for_credit(
    ledger: Ledger, tmp_path: Path
):
    await ledger.grant(80)
    slow = Slow(ledger)
    rules = EngineRules(credit_seconds=600, retry_seconds=0.01, close_seconds=0.01)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        slow.is_away = True
        first = asyncio.create_task(engine.reserve(ledger.charge(8)))
        async with asyncio.timeout(30):
            while engine.writer.reachable:
                await asyncio.sleep(0.01)
        engine.rules = msgspec.structs.replace(rules, credit_seconds=0.0)
        with pytest.raises(CreditUnavailable):
            engine.reserve(ledger.charge(8)).send(None)  # it never waits
        first.cancel()


async def test_what_the_journal_answered_is_written_off_where_it_can_t_be_charged(
    ledger: Ledger, tmp_path: Path
):
    await ledger.grant(80)
    slow = Slow(ledger)
    rules = EngineRules(commit_seconds=0.01, credit_seconds=30)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        charge = ledger.charge(8)
        await engine.reserve(charge)
        slow.hold(everything)
        await slow.holding.wait()  # a heartbeat without the usage, so that no tick with it fails
        await engine.settle(charge)
        await reap(ledger.database, at=datetime.now(UTC) + timedelta(hours=1))
        async with running(ledger.database, tmp_path / "other") as other:
            await serve(other, ledger, 80)
        slow.hold(nothing)
    charged = {row.request_id: row.charged_nanos for row in await ledger.usage()}
    assert charged.pop(charge.request_id) == 0
    assert list(charged.values()) == [80]
    assert await ledger.breaches() == []


async def test_at_shutdown_those_who_wait_get_their_answer_from_the_journal(
    ledger: Ledger, tmp_path: Path
):
    await ledger.grant(800)
    slow = Slow(ledger)
    rules = EngineRules(commit_seconds=600, credit_seconds=30, close_seconds=0.01)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        charge = ledger.charge(8)
        await engine.reserve(charge)
        slow.hold(lambda tick: bool(tick.usage))
        settling = asyncio.create_task(engine.settle(charge))
        await slow.holding.wait()
    assert settling.done()
    await settling
    assert charge.request_id in journaled(tmp_path)


async def test_what_is_journaled_at_shutdown_is_journaled_once(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its time to be journaled comes while it is: nobody may begin anew."""
    await ledger.grant(800)
    slow, go_on = Slow(ledger), threading.Event()
    loop, append = asyncio.get_running_loop(), Journal.append

    def append_slowly(journal: Journal, records: list[bytes]) -> Path:
        loop.call_soon_threadsafe(loop.call_later, 2 * rules.commit_seconds, go_on.set)
        go_on.wait(60)
        return append(journal, records)

    monkeypatch.setattr(Journal, "append", append_slowly)
    rules = EngineRules(commit_seconds=0.1, credit_seconds=30, close_seconds=0.01)
    async with running(ledger.database, tmp_path, ledger=slow, rules=rules) as engine:
        charge = ledger.charge(8)
        await engine.reserve(charge)
        slow.hold(lambda tick: bool(tick.usage))
        settling = asyncio.create_task(engine.settle(charge))
        await slow.holding.wait()
    await settling
    assert journaled(tmp_path).count(charge.request_id) == 1


async def test_a_segment_stays_while_it_is_appended_to(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its first record is confirmed, and so finished, just as the second one is being written."""
    await ledger.grant(800)
    slow = Slow(ledger)
    begun, go_on = asyncio.Event(), threading.Event()
    loop, append = asyncio.get_running_loop(), Journal.append

    def append_slowly(journal: Journal, records: list[bytes]) -> Path:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(60)
        return append(journal, records)

    async with running(
        ledger.database,
        tmp_path,
        ledger=slow,
        leases=LeaseRules(usage_per_tick_max=1),
        rules=EngineRules(commit_seconds=0.01, credit_seconds=30),
    ) as engine:
        first, second = ledger.charge(8), ledger.charge(8)
        for charge in (first, second):
            await engine.reserve(charge)
        slow.hold(everything)
        await slow.holding.wait()
        await engine.settle(first)
        monkeypatch.setattr(Journal, "append", append_slowly)
        settling = asyncio.create_task(engine.settle(second))
        await begun.wait()
        slow.hold(lambda tick: any(second.request_id in str(bytes(line)) for line in tick.usage))
        async with asyncio.timeout(30):
            while engine.book.unconfirmed > 1:
                await asyncio.sleep(0.01)
        go_on.set()
        await settling
        await slow.holding.wait()  # whatever was to be removed has been
        assert second.request_id in journaled(tmp_path)
        slow.hold(nothing)
    assert len(await ledger.usage()) == 2


class Broken:
    """A journal's disk that is full from `begin` to `end`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.failed = asyncio.Event()

    def begin(self, after: threading.Event | None = None) -> None:
        loop = asyncio.get_running_loop()

        def fail(_descriptor: int) -> None:
            if after is not None:
                after.wait(60)
            loop.call_soon_threadsafe(self.failed.set)
            raise OSError(errno.ENOSPC, "No space left on device")

        self._patch.setattr(os, "fdatasync", fail)

    def end(self) -> None:
        self._patch.undo()


HURRIED = EngineRules(
    commit_seconds=0.01, settle_seconds=0.02, credit_seconds=30, close_seconds=0.05
)


async def give_up(engine: LeasedCredits, ledger: Ledger, slow: Slow, broken: Broken) -> Charge:
    """Have a request whose tick is under way time out, with a journal that fails."""
    charge = ledger.charge(8)
    await engine.reserve(charge)
    slow.hold(lambda tick: bool(tick.usage))
    sent = threading.Event()
    slow.on_usage = sent.set
    broken.begin(after=sent)
    with pytest.raises(ChargeUnknown, match=charge.request_id):
        await engine.settle(charge)
    assert engine.book.unknown == 1
    return charge


@pytest.mark.postgresql
async def test_a_charge_that_can_t_be_known_is_said_so_and_comes_back(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await ledger.grant(80)
    slow, broken = Slow(ledger), Broken(monkeypatch)
    async with running(ledger.database, tmp_path, ledger=slow, rules=HURRIED) as engine:
        charge = await give_up(engine, ledger, slow, broken)
        slow.hold(nothing)
        await credited(ledger, 80)
        await slow.credit_back(line_of(charge))  # an answer that was lost: nothing happens twice
    assert [row.charged_nanos for row in await ledger.usage()] == [8]
    assert (await ledger.balance()).available_nanos == 80
    assert await ledger.breaches() == []


async def test_what_does_not_come_back_is_asked_for_once_at_a_time(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ticks go on meanwhile, and each would begin to ask too."""
    await ledger.grant(80)
    slow, broken = Slow(ledger), Broken(monkeypatch)
    slow.credits_nothing = True
    async with running(ledger.database, tmp_path, ledger=slow, rules=HURRIED) as engine:
        await give_up(engine, ledger, slow, broken)
        broken.end()
        slow.hold(nothing)
        for _ in range(3):
            await serve(engine, ledger, 8)
            async with asyncio.timeout(20):
                while engine.book.unconfirmed:
                    await asyncio.sleep(0.001)
        assert slow.asked_back == 1


async def test_what_was_never_sent_is_not_charged_and_its_credit_is_free(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await ledger.grant(80)
    slow, broken = Slow(ledger), Broken(monkeypatch)
    async with running(ledger.database, tmp_path, ledger=slow, rules=HURRIED) as engine:
        charge = ledger.charge(80)
        await engine.reserve(charge)
        slow.hold(everything)
        await slow.holding.wait()  # a heartbeat, so that no tick can take the usage along
        broken.begin()
        with pytest.raises(CreditUnavailable):
            await engine.settle(charge)
        slow.hold(nothing)
        await serve(engine, ledger, 80)
    assert [row.charged_nanos for row in await ledger.usage()] == [80]


async def test_a_journal_remembers_what_is_to_come_back(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its disk has room again before the process ends, and another process takes it over."""
    await ledger.grant(80)
    slow, broken = Slow(ledger), Broken(monkeypatch)
    journals = tmp_path / "journals"
    async with running(ledger.database, journals, ledger=slow, rules=HURRIED) as engine:
        await give_up(engine, ledger, slow, broken)
        broken.end()
    assert '"unknown":true' in journaled(journals)
    assert await ledger.usage() == []
    async with running(ledger.database, journals):
        await credited(ledger, 80)
        assert [row.charged_nanos for row in await ledger.usage()] == [8]
    assert list(journals.iterdir()) == []
    assert await ledger.breaches() == []


async def credited(ledger: Ledger, nanos: int) -> None:
    """Wait until a balance is what it was, with usage charged."""
    async with asyncio.timeout(20):
        while not await ledger.usage() or (await ledger.balance()).available_nanos < nanos:
            await asyncio.sleep(0.01)


def line_of(charge: Charge) -> UsageLine:
    names = {name for name in UsageLine.__struct_fields__ if hasattr(charge, name)}
    return UsageLine(
        **{name: getattr(charge, name) for name in names},
        lease_id=new_id(), budget_id=None, budget_lease_id=None, created_ms=0,
    )  # fmt: skip


async def test_without_ledger_and_journal_no_work_is_begun(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is refused at once, until either works again."""
    await ledger.grant(8_000)
    slow, broken = Slow(ledger), Broken(monkeypatch)
    impatient = msgspec.structs.replace(HURRIED, retry_seconds_max=0.05)
    async with running(ledger.database, tmp_path, ledger=slow, rules=impatient) as engine:
        await serve(engine, ledger, 8)
        kept = ledger.charge(8)
        await engine.reserve(kept)
        engine.keep(kept, 60)
        slow.is_away = True
        broken.begin()
        with pytest.raises((ChargeUnknown, CreditUnavailable)):  # whether it was sent or not
            await serve(engine, ledger, 8)
        with pytest.raises(CreditUnavailable):
            await engine.reserve(ledger.charge(8))
        with pytest.raises(CreditUnavailable):
            await engine.resume(kept)
        assert list(engine.book.kept) == list(engine.book.held) == [kept.request_id]
        broken.end()
        async with asyncio.timeout(20):
            while engine.book.is_closed:
                await asyncio.sleep(0.01)
        await serve(engine, ledger, 8)  # by the journal
        broken.begin()
        with pytest.raises((ChargeUnknown, CreditUnavailable)):
            await serve(engine, ledger, 8)
        assert engine.book.is_closed
        slow.is_away = False
        async with asyncio.timeout(20):
            while engine.book.is_closed:
                await asyncio.sleep(0.01)
        await serve(engine, ledger, 8)
    assert await ledger.breaches() == []


async def test_a_bug_in_a_turn_is_told_and_ends_no_other(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await ledger.grant(80)
    compose, failed = LeaseProtocol.compose, asyncio.Event()

    def fails_once(protocol: LeaseProtocol):
        if failed.is_set():
            return compose(protocol)
        failed.set()
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(LeaseProtocol, "compose", fails_once)
    with capture_logs() as told:
        async with running(ledger.database, tmp_path) as engine, asyncio.timeout(20):
            await serve(engine, ledger, 8)
    assert [line["reason"] for line in told if line["log_level"] == "error"] == ["a bug"]
