"""Needs attention: the order, what waits, and sources that fail."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from gateway.control_plane.attention import snoozes
from gateway.control_plane.attention.lookout import Lookout
from gateway.control_plane.attention.needs import Need, Severity
from gateway.control_plane.attention.snoozes import Snooze
from gateway.storage.database import Database

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def need(key: str, severity: Severity, hours: int | None = None) -> Need:
    since = None if hours is None else NOW - timedelta(hours=hours)
    return Need(key=key, severity=severity, subject=key, words="does not work", since=since)


class Desk:
    """A source that a test fills, and a clock that it moves."""

    def __init__(self, database: Database) -> None:
        self.database, self.now, self.needs, self.asked = database, NOW, list[Need](), 0
        self.attention = Lookout(database, {"tests": self.source}, clock=lambda: self.now)

    async def source(self, _connection, _now) -> list[Need]:
        self.asked += 1
        return self.needs

    async def keys(self) -> list[str]:
        await self.attention.look()
        return [found.key for found in (await self.attention.found()).needs]

    async def put_off(self, key: str, severity: Severity, hours: int) -> None:
        async with self.database.write() as connection:
            await snoozes.put(
                connection,
                Snooze(key=key, severity=severity, reason="known", user_id=None, created_at=NOW,
                       until=self.now + timedelta(hours=hours)),
            )  # fmt: skip


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


@pytest.mark.sqlite
async def test_the_worst_come_first_then_the_oldest(desk: Desk):
    desk.needs = [
        need("b", "notice"), need("unknown", "warning"), need("young", "warning", 1),
        need("old", "warning", 9), need("worst", "critical"),
    ]  # fmt: skip
    assert await desk.keys() == ["worst", "old", "young", "unknown", "b"]
    assert desk.attention.count == 5
    assert desk.attention.counts == {"critical": 1, "warning": 3, "notice": 1}


async def test_what_is_put_off_waits_until_then(desk: Desk):
    desk.needs = [need("a", "warning"), need("b", "warning")]
    await desk.put_off("a", "warning", hours=1)
    await desk.put_off("a", "warning", hours=2)
    assert await desk.keys() == ["b"]
    assert desk.attention.count == 1
    assert desk.attention.counts == {"critical": 0, "warning": 1, "notice": 0}
    assert [found.key for found, _ in (await desk.attention.found()).snoozed] == ["a"]
    desk.now = NOW + timedelta(hours=2)
    assert await desk.keys() == ["a", "b"]


@pytest.mark.sqlite
async def test_what_gets_worse_does_not_wait(desk: Desk):
    await desk.put_off("a", "warning", hours=1)
    for severity, shown in (("notice", []), ("warning", []), ("critical", ["a"])):
        desk.needs = [need("a", severity)]
        assert await desk.keys() == shown


@pytest.mark.sqlite
async def test_pages_ask_no_source_until_somebody_acts(desk: Desk):
    for _ in range(3):
        await desk.attention.found()
    assert desk.asked == 1
    desk.needs = [need("a", "warning")]
    assert await desk.attention.find("a") is None
    desk.attention.forget()
    assert await desk.attention.find("a") == desk.needs[0]


async def test_a_source_that_fails_is_told_of_and_hides_no_other(desk: Desk, database: Database):
    async def broken(connection, _now) -> list[Need]:
        await connection.execute(text("SELECT nothing FROM nowhere"))
        raise AssertionError

    desk.needs = [need("a", "warning")]
    both = Lookout(database, {"broken": broken, "tests": desk.source})
    assert [found.key for found in (await both.found()).needs] == ["source:broken", "a"]
