"""What the data plane kept of requests is written down once, bounded, and forgotten in time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, text

from gateway import wall
from gateway.control_plane.status import request_log as log
from gateway.control_plane.status.answers import Answered
from gateway.control_plane.status.request_log import RequestLog
from gateway.data_plane.recent_requests import RecentRequests, RequestEntry
from gateway.data_plane.tallies import AnswerTally
from gateway.identifiers import new_id
from gateway.storage.database import ROWS_AT_ONCE, Database, count
from gateway.storage.tables import answer_hours, latency_days, latency_hours, request_log
from testing.gateways import open_api

KEY = new_id()


def recent() -> RecentRequests:
    return RecentRequests(entries_max=100, organization_entries_max=3)


def entry(organization_id: str, status: int = 200, **changes: Any) -> RequestEntry:
    code = "" if status == 200 else "rate_limit_exceeded"
    values = {
        "request_id": new_id(), "organization_id": organization_id, "key_id": KEY, "model_id": "m",
        "status": status, "code": code, "seconds": 0.0127, "tokens": 5, "original_id": None,
        **changes,
    }  # fmt: skip
    return RequestEntry(**values)


async def written(database: Database, *columns: str) -> list[Any]:
    async with database.read() as connection:
        found = await connection.execute(
            select(*(request_log.c[name] for name in columns)).order_by(request_log.c.request_id)
        )
        return list(found.all())


async def test_a_request_is_written_as_it_was_answered(database: Database):
    kept, own, before = recent(), new_id(), wall.now() - timedelta(milliseconds=1)
    original = new_id()
    kept.keep(entry(own))
    kept.keep(entry(own, 429, tokens=None, model_id="", original_id=original))
    await RequestLog(database, kept, rows_max=10).flush()
    names = ("organization_id", "key_id", "model_id", "status", "code", "latency_ms", "tokens",
             "original_id", "missed")  # fmt: skip
    assert await written(database, *names) == [
        (own, KEY, "m", 200, "", 13, 5, None, 0),
        (own, KEY, "", 429, "rate_limit_exceeded", 13, None, original, 0),
    ]
    for (moment,) in await written(database, "created_at"):
        assert before <= moment <= wall.now()


async def test_two_processes_write_the_same_organizations_at_once(database: Database):
    organizations = sorted(new_id() for _ in range(20))
    both = [recent(), recent()]
    for kept, order in zip(both, (organizations, organizations[::-1]), strict=True):
        for one in order:
            kept.keep(entry(one))
            kept.keep(entry(one, 429))
    logs = [RequestLog(database, kept, rows_max=10) for kept in both]
    await asyncio.gather(*(one.flush() for one in logs))
    found = await written(database, "organization_id", "status")
    assert sorted(found) == sorted(
        (one, status) for one in organizations * 2 for status in (200, 429)
    )


async def test_what_was_lost_is_said_once_by_the_row_after_it(database: Database):
    kept, own = recent(), new_id()
    for _ in range(5):
        kept.keep(entry(own))
    kept.keep(entry(own, 429))
    await RequestLog(database, kept, rows_max=10).flush()
    assert await written(database, "status", "missed") == [(200, 2), (200, 0), (200, 0), (429, 0)]


async def test_what_cannot_be_written_is_kept_and_never_written_twice(database: Database):
    kept, own = recent(), new_id()
    written_log = RequestLog(database, kept, rows_max=10)
    first = entry(own)
    kept.keep(first)
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE request_log RENAME TO away"))
    with pytest.raises(Exception, match="request_log"):
        await written_log.flush()
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO request_log"))
    await written_log.flush()
    kept.keep(first)  # as if nobody had known whether the commit went well
    kept.keep(entry(own))
    await written_log.flush()
    await written_log.flush()
    assert len(await written(database, "request_id")) == 2


async def test_a_process_that_ends_writes_down_what_it_kept(database: Database, database_url: str):
    async with open_api(database_url) as api:
        answer = await api.embed(model="nobody/has-this")
        assert answer.status_code == 404
        assert await written(database, "request_id") == []
    assert await written(database, "code") == [("model_not_found",)]


async def test_no_statement_holds_up_requests_for_long(database: Database):
    kept = RecentRequests(entries_max=1_000, organization_entries_max=500)
    tally = AnswerTally(entries_max=1_000)
    for _ in range(2 * ROWS_AT_ONCE + 1):
        kept.keep(entry(new_id()))
        tally.answered(new_id(), KEY, "m", 200, "", 0.01)
    sizes: list[int] = []

    def note(_connection, _cursor, _statement, rows, _context, executemany) -> None:
        if executemany:
            sizes.append(len(rows))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await RequestLog(database, kept, rows_max=10).flush()
    await Answered(database, tally).flush()
    assert max(sizes) == ROWS_AT_ONCE
    async with database.read() as connection:
        for table in (request_log, answer_hours, latency_hours, latency_days):
            assert await count(connection, table) == 2 * ROWS_AT_ONCE + 1, table.name


async def test_an_organization_keeps_its_newest_rows(database: Database):
    own, other = new_id(), new_id()
    kept = RecentRequests(entries_max=1_000, organization_entries_max=500)
    written_log = RequestLog(database, kept, rows_max=20)
    ids = []
    for _ in range(13):
        for _ in range(3):
            one = entry(own)
            ids.append(one.request_id)
            kept.keep(one)
        kept.keep(entry(other, 429))
        await written_log.flush()
    found = [one for one, owner in await written(database, "request_id", "organization_id")
             if owner == own]  # fmt: skip
    # they are trimmed once two more were added, and three come at once
    assert found == ids[-20:]
    assert len(await written(database, "request_id")) == 33


@pytest.mark.sqlite
async def test_who_added_a_tenth_is_trimmed_and_few_are_counted_until_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    kept, own, other = recent(), new_id(), new_id()
    trimmed = []

    async def note(_connection: Any, organization_id: str, _rows_max: int) -> None:
        trimmed.append(organization_id)

    monkeypatch.setattr(log, "trim", note)
    monkeypatch.setattr(log, "_COUNTED_MAX", 1)
    written_log = RequestLog(database, kept, rows_max=20)
    for who, times in (([own], 0), ([own], 1), ([own, other], 1), ([own], 1), ([own], 2)):
        for organization_id in who:
            kept.keep(entry(organization_id))
        await written_log.flush()
        assert trimmed == [own] * times


async def test_old_rows_are_forgotten_in_batches(database: Database, monkeypatch):
    monkeypatch.setattr(log, "_AT_ONCE", 2)
    now = datetime.now(UTC)
    async with database.write() as connection:
        for days in (31, 32, 33, 29):
            await connection.execute(
                insert(request_log).values(
                    organization_id=new_id(), request_id=new_id(), key_id=KEY, model_id="m",
                    created_at=now - timedelta(days=days), status=200, code="", latency_ms=1,
                    missed=0,
                )
            )  # fmt: skip
        assert await log.forget_old(connection, 30) == 2
        assert await log.forget_old(connection, 30) == 1
        assert await log.forget_old(connection, 30) == 0
        assert await connection.scalar(select(func.count()).select_from(request_log)) == 1
