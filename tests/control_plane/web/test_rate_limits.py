"""Limits that hold across processes: in sum, in whatever order, and with a wait that is true."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import event, literal, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from gateway import wall
from gateway.control_plane.web import rate_limits
from gateway.control_plane.web.rate_limits import WINDOW, Quota, TooOften
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import quota_windows
from gateway.storage.tables.types import Instant
from testing.browsing import Browser, sign_in_by_mail
from testing.gateways import SECRET
from testing.processes import Process
from tests.control_plane.conftest import STELLA
from tests.control_plane.pages.conftest import QUERIES_MAX, TRAIL_QUERIES, counted

VISITOR = "203.0.113.7"


def quota(database: Database, limit: int, **options) -> Quota:
    return Quota(database, "votes", limit, **{"secret": SECRET, **options})


async def taken(limit: Quota, visitor: str = VISITOR) -> bool:
    try:
        await limit.take(visitor)
    except TooOften:
        return False
    return True


async def windows(database: Database) -> list:
    async with database.read() as connection:
        return list((await connection.execute(select(quota_windows))).all())


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    found: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        found.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield found
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


class Hours:
    """Two processes on one database, and a clock that all of them read."""

    def __init__(self, url: str, limit: int) -> None:
        self.now = datetime(2026, 11, 23, 10, 59, 59, tzinfo=UTC)
        self.databases = [Database(url), Database(url)]
        self.limit = limit
        self.processes = [quota(one, limit, clock=self.seconds) for one in self.databases]
        self.visitor = new_id()
        self.began: datetime | None = None
        self.granted = 0

    def seconds(self) -> float:
        return self.now.timestamp()

    def clock(self, _connection) -> tuple:
        return literal(self.now, Instant), literal(self.now - WINDOW, Instant)

    async def take(self, process: int) -> int:
        """Take one; return the seconds to wait when it was refused, else 0. Checks the limit."""
        try:
            await self.processes[process].take(self.visitor)
        except TooOften as refused:
            return int(refused.headers["retry-after"])
        if self.began is None or self.now >= self.began + WINDOW:
            self.began, self.granted = self.now, 0
        self.granted += 1
        assert self.granted <= self.limit
        return 0

    async def act(self, process: int, waits: float, *, obeys: bool) -> None:
        self.now += timedelta(seconds=waits)
        seconds = await self.take(process)
        if seconds:
            assert self.granted == self.limit, "nobody is refused before the limit"
            assert self.began
            assert self.now < self.began + WINDOW
            self.now += timedelta(seconds=seconds - 1)
            assert await self.take(1 - process), "it was told more than the wait"
            if obeys:
                self.now += timedelta(seconds=1)
                assert not await self.take(process), "it was told less than the wait"

    async def close(self) -> None:
        for database in self.databases:
            await database.close()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([0, 0, 0, 0.4, 1, 61, 1799.5, 3599, 3600, 3601]),
        st.booleans(),
    ),
    max_size=25,
)


@examples(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 4), steps=STEPS)
def test_no_window_has_more_than_the_limit_and_every_wait_is_true(
    sqlite_database_url: list[str], limit: int, steps: list[tuple[int, float, bool]]
):
    async def run() -> None:
        hours = Hours(sqlite_database_url[0], limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rate_limits, "_clock", hours.clock)
            for process, waits, obeys in steps:
                await hours.act(process, waits, obeys=obeys)
        await hours.close()

    asyncio.run(run())


async def test_of_many_at_once_as_many_as_the_limit_get_through(database: Database):
    other = Database(database.url)
    processes = [quota(database, 7), quota(other, 7)]
    found = await asyncio.gather(*(taken(processes[n % 2]) for n in range(40)))
    assert sum(found) == 7
    assert await taken(processes[0], "203.0.113.8")
    assert await taken(quota(other, 7, secret="of another deployment"))
    await other.close()


async def test_a_flood_costs_the_database_little(database: Database):
    limit = quota(database, 5)
    with statements(database) as asked:
        found = await asyncio.gather(*(taken(limit) for _ in range(200)))
        found += [await taken(limit) for _ in range(200)]
    assert sum(found) == 5
    assert 5 <= len([one for one in asked if "quota_windows" in one]) <= 10


async def test_what_a_process_remembers_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rate_limits, "_REMEMBERED_MAX", 2)
    limit = quota(database, 1)
    for visitor in ("a", "b", "c"):
        await limit.take(visitor)
    assert list(limit._known) == ["b", "c"]
    assert not await taken(limit, "a"), "the database remembers"


async def test_a_window_ends_and_another_begins(database: Database):
    limit = quota(database, 1)
    assert await taken(limit)
    begun = [row.began_at for row in await windows(database)]
    await age(database, WINDOW - timedelta(minutes=1))
    assert not await taken(quota(database, 1))
    await age(database, timedelta(minutes=1))
    assert await taken(quota(database, 1))
    assert [row.used for row in await windows(database)] == [1]
    assert [row.began_at for row in await windows(database)] > begun


async def age(database: Database, by: timedelta) -> None:
    """Let every window have begun so much earlier."""
    for row in await windows(database):
        async with database.write() as connection:
            own = quota_windows.c.digest == row.digest
            await connection.execute(
                update(quota_windows).where(own).values(began_at=row.began_at - by)
            )


async def test_a_process_whose_clock_is_wrong_counts_all_the_same(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    database = Database(postgresql_database_url[0])
    assert await taken(quota(database, 1))
    monkeypatch.setattr(wall, "ahead_ns", wall.ahead_ns + 86_400 * 10**9)
    assert not await taken(quota(database, 1))
    async with database.write() as connection:
        assert await rate_limits.forget_old(connection) == 0
    await database.close()


async def test_a_database_that_does_not_answer_counts_nobody_out(database: Database):
    limit = quota(database, 2)
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE quota_windows RENAME TO away"))
    for _ in range(5):
        with pytest.raises(SQLAlchemyError):
            await limit.take(VISITOR)
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO quota_windows"))
    assert [await taken(limit) for _ in range(3)] == [True, True, False]


async def test_rows_name_nobody(database: Database):
    await quota(database, 3).take(VISITOR)
    await quota(database, 3, secret="another").take(VISITOR)
    await Quota(database, "sign_ins", 3, secret=SECRET).take(VISITOR)
    rows = await windows(database)
    assert len({row.digest for row in rows}) == 3
    hashed = {hashlib.sha256(of.encode()).digest() for of in (VISITOR, f"votes|{VISITOR}")}
    assert not hashed & {row.digest for row in rows}, "anybody could try all addresses"
    async with database.read() as connection:
        (row, *_) = (await connection.execute(text("SELECT * FROM quota_windows"))).all()
    assert VISITOR not in str(row)


async def test_windows_that_are_over_are_forgotten(database: Database):
    await quota(database, 1).take("old")
    await age(database, timedelta(minutes=1))
    await quota(database, 1).take("new")
    await age(database, WINDOW - timedelta(minutes=1))
    for gone in (1, 0):
        async with database.write() as connection:
            assert await rate_limits.forget_old(connection) == gone
    assert not await taken(quota(database, 1), "new")
    assert await taken(quota(database, 1), "old")


async def test_the_upkeep_forgets_windows(gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rate_limits, "_AT_ONCE", 2)
    for visitor in ("a", "b", "c", "d", "e"):
        await gateway.web.vote_quota.take(visitor)
    await age(gateway.core.database, WINDOW)
    await gateway.web.sign_in_quota.take("a")
    (upkeep,) = [job for job in gateway.jobs if job.name == "forget-old"]
    await upkeep.run()
    assert len(await windows(gateway.core.database)) == 1


async def test_forms_ask_the_database_no_more_than_pages_do(gateway, browser: Browser):
    counts: dict[str, int] = {}

    async def submit(path: str, **fields: str) -> None:
        with counted(gateway) as asked:
            await browser.submit(path, **fields)
        counts[path] = len(asked)
        assert any("quota_windows" in one for one in asked)

    await sign_in_by_mail(browser, gateway, "ada@example.org")
    browser.http.follow_redirects = False
    await browser.get(f"/models/{STELLA}")
    await submit("/vote", model=STELLA)
    await browser.get(f"/models/{STELLA}")
    await submit("/waitlist", model=STELLA)
    await browser.get("/console/settings")
    await submit("/console/settings/invite", email="carol@example.org")
    await submit("/sign-in", email="ada@example.org", csrf=browser.token)
    counts["/console/settings/invite"] -= TRAIL_QUERIES
    assert max(counts.values()) <= QUERIES_MAX, counts


def test_two_gateways_let_through_what_one_would(postgresql_database_url: list[str]):
    """Two processes on one PostgreSQL; two engines count on SQLite above."""
    environment = os.environ | {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": postgresql_database_url[0],
        "GATEWAY_DEV_MAIL": "true",
        "GATEWAY_SIGN_INS_PER_HOUR": "6",
    }
    serve = [sys.executable, "-m", "testing.serve"]
    gateways = [Process(serve, environment) for _ in "ab"]
    try:
        with httpx.Client() as client:
            page = client.get(f"{gateways[0].url}/sign-in").text
            token = page.partition('name="csrf_token" value="')[2][:64]
            answers = [
                client.post(
                    f"{gateways[n % 2].url}/sign-in",
                    data={"email": f"p{n}@example.org", "csrf_token": token},
                )
                for n in range(10)
            ]
    finally:
        for process in gateways:
            process.close()
    assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 4
    assert all(3500 < int(answer.headers["retry-after"]) <= 3600 for answer in answers[6:])
    assert "Try again in 60 minutes." in answers[6].text


async def test_a_whole_site_has_some_visitors_share(database: Database):
    """One subscriber has 65,536 networks of visitors, and the quota is not theirs 65,536 times."""
    quota = Quota(database, "sign_ins", 2, secret=SECRET, of_networks=True)

    async def taken(*networks: str) -> int:
        answers = await asyncio.gather(
            *(quota.take(network) for network in networks for _ in range(2)),
            return_exceptions=True,
        )
        return answers.count(None)

    assert await taken(*(f"2001:db8:7:{n:x}::/64" for n in range(9))) == 8  # of one /56
    sites = (f"2001:db8:7:{n << 8:x}::/64" for n in range(1, 20))
    assert await taken(*sites) == 32 - 8  # of the /48
    assert await taken("2001:db8:8:1::/64") == 2
    assert await taken(*(f"198.51.100.{n}" for n in range(20))) == 16  # of one /24
    assert await taken("203.0.113.7", "unknown") == 4
