"""The status page claims what was watched, and nothing before."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from gateway.app.process import Process
from gateway.control_plane.status.incidents import history
from gateway.dates import day_text
from gateway.identifiers import new_id
from gateway.storage.tables import incidents, models
from testing.browsing import Browser
from tests.control_plane.conftest import MINILM
from tests.control_plane.pages.conftest import counted


async def test_a_new_service_does_not_speak_of_the_last_90_days(browser: Browser):
    page = (await browser.get("/status")).text
    assert "The last 90 days" not in page
    assert "This service is less than 90 days" in page
    assert f">{day_text(datetime.now(UTC))}, " in page


async def test_downtime_is_counted_within_the_days(gateway: Process, browser: Browser):
    now = datetime.now(UTC)
    async with gateway.core.database.write() as connection:
        await connection.execute(update(models).values(created_at=now - timedelta(days=200)))
        await connection.execute(
            insert(incidents),
            [
                {"id": new_id(), "model_id": MINILM, "started_at": began, "ended_at": ended}
                for began, ended in [
                    (now - timedelta(days=120), now - timedelta(days=119)),  # too long ago
                    (now - timedelta(days=91), now - timedelta(days=90, minutes=-5)),  # 5 are left
                    (now - timedelta(hours=2), now - timedelta(minutes=110)),
                    (now - timedelta(minutes=3), None),
                ]
            ],
        )
    async with gateway.core.database.read() as connection:
        known = await history(connection, 90, now)
    assert known.is_whole
    assert known.minutes_down == {MINILM: 18}
    page = (await browser.get("/status")).text
    assert "The last 90 days" in page
    assert "less than" not in page


async def test_a_crowd_reads_the_past_once_in_some_seconds(gateway: Process, browser: Browser):
    with counted(gateway) as statements:
        pages = await asyncio.gather(*(browser.http.get("/status") for _ in range(20)))
    assert {page.status_code for page in pages} == {200}
    assert 1 <= len(statements) <= 4


@pytest.mark.parametrize("options", [{"status_views_per_hour": 2}])
async def test_a_visitor_sees_it_so_often(browser: Browser):
    statuses = [(await browser.get("/status")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
