"""The sums by the day of how requests were answered: those of their hours, whoever writes them."""

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import select, text, update

from gateway.control_plane.status import answers
from gateway.control_plane.status.answers import Answered
from gateway.data_plane.tallies import AnswerTally
from gateway.identifiers import new_id
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.tables import answer_days, error_days, error_hours
from testing.ledger import on_chatham

LAST = datetime(2026, 11, 3, 23, 59, 59, tzinfo=UTC)
FIRST = LAST + timedelta(seconds=1)
OWN, KEY = new_id(), new_id()


class Clocked:
    """A process that counts, and the time on its clock."""

    def __init__(self, database: Database, now: datetime) -> None:
        self.now = now
        self.tally = AnswerTally(entries_max=100, clock=self._time)
        self.answered = Answered(database, self.tally)

    def _time(self) -> float:
        return self.now.timestamp()

    def refuse(self, times: int) -> None:
        for _ in range(times):
            self.tally.answered(OWN, KEY, "", 404, "model_not_found", 0.001)

    def go_on(self, now: datetime) -> None:
        """Fail to write the counts, and count on at another hour."""
        self.now = now
        with suppress(ConnectionError), self.tally.draining():
            raise ConnectionError


async def days(database: Database) -> tuple[list[Any], list[Any]]:
    """Return the errors of each day, and the answers."""
    async with database.read() as connection:
        errors = await connection.execute(select(error_days).order_by(error_days.c.day))
        every = await connection.execute(select(answer_days).order_by(answer_days.c.day))
    return [(row.day, row.errors) for row in errors], [(row.day, row.answers) for row in every]


async def test_a_day_ends_at_midnight_of_utc(database: Database):
    await on_chatham(database)
    for moment, times in ((LAST, 2), (LAST, 3), (FIRST, 5), (FIRST + timedelta(hours=9), 7)):
        process = Clocked(database, moment)
        process.refuse(times)
        process.tally.answered(OWN, KEY, "", 200, "", 0.001)
        await process.answered.flush()
    errors, every = await days(database)
    assert errors == [(date(2026, 11, 3), 5), (date(2026, 11, 4), 12)]
    assert sorted(every) == [
        (date(2026, 11, 3), 2),
        (date(2026, 11, 3), 5),
        (date(2026, 11, 4), 2),
        (date(2026, 11, 4), 12),
    ]


async def test_days_follow_a_process_of_the_version_before_and_what_was_there(database: Database):
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "0036"))
        await connection.commit()
    await on_chatham(database)
    for moment in (LAST, FIRST):
        process = Clocked(database, moment)
        process.refuse(3)
        await process.answered.flush()
    await migrate.upgrade(database)
    expected = [(date(2026, 11, 3), 3), (date(2026, 11, 4), 3)]
    assert await days(database) == (expected, expected)
    async with database.write() as connection:  # which knows the hours alone
        await connection.execute(
            update(error_hours).where(error_hours.c.hour < FIRST).values(errors=10)
        )
    assert (await days(database))[0] == [(date(2026, 11, 3), 10), (date(2026, 11, 4), 3)]


async def test_days_are_forgotten_with_the_last_of_their_hours(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    for moment in (LAST, FIRST):
        process = Clocked(database, moment)
        process.refuse(1)
        await process.answered.flush()
    left = []
    for now in (LAST + timedelta(days=1), FIRST + timedelta(days=1, hours=1)):
        monkeypatch.setattr(answers.wall, "now", lambda now=now: now)
        async with database.write() as connection:
            await answers.forget_old(connection, 1)
        left.append(await days(database))
    both = [(date(2026, 11, 3), 1), (date(2026, 11, 4), 1)]
    assert left == [(both, both), (both[1:], both[1:])]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_processes_do_not_deadlock_on_a_full_hour(database: Database):
    """One writes down the hour before too, which it could not in time."""
    async with database.write() as connection:
        await connection.execute(
            text("""
            CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL;
            END $$
            """)
        )
        await connection.execute(
            text(
                "CREATE TRIGGER gate AFTER INSERT OR UPDATE ON answer_days FOR EACH ROW "
                "EXECUTE FUNCTION wait_at_the_gate()"
            )
        )
    both, one = Clocked(database, FIRST), Clocked(database, FIRST + timedelta(hours=1))
    both.refuse(1)
    both.go_on(one.now)
    both.refuse(1)
    one.refuse(1)
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE NOT granted AND datname = current_database()"
    )
    async with database.engine.connect() as gate, asyncio.timeout(20):
        await gate.execute(text("SELECT pg_advisory_lock(42)"))
        flushes = [asyncio.ensure_future(both.answered.flush())]
        while await gate.scalar(waiting) < 1:
            await asyncio.sleep(0.01)
        flushes.append(asyncio.ensure_future(one.answered.flush()))
        while await gate.scalar(waiting) < 2:
            await asyncio.sleep(0.01)
        await gate.execute(text("SELECT pg_advisory_unlock(42)"))
        await asyncio.gather(*flushes)
    assert (await days(database))[0] == [(FIRST.date(), 3)]
