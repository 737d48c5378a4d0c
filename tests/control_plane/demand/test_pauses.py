"""A paused launch: mails that have not left are held back, and each is written once in the end."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, update

from gateway.control_plane.demand import events, pauses, report
from gateway.control_plane.demand.pauses import CannotResume, LaunchUnknown
from gateway.control_plane.demand.votes import Vote
from gateway.storage.database import Database
from gateway.storage.tables import launches, outbox
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import account, announcements, launch, rows


async def test_mails_that_have_not_left_are_held_and_written_later(seeded: Database):
    for n in range(5):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    await announcements(seeded).announce()
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at, outbox.c.recipient))
    first_wave = {mail.id for mail in mails[:2]}
    async with seeded.write() as connection:
        left = outbox.c.id.in_(first_wave)
        await connection.execute(update(outbox).where(left).values(state="sent"))
    async with seeded.write() as connection:
        assert await pauses.pause(connection, STELLA) == 3
        assert await pauses.pause(connection, STELLA) is None
    await announcements(seeded).announce()
    assert {mail.id for mail in await rows(seeded, select(outbox))} == first_wave
    async with seeded.read() as connection:
        converted = await report.conversion(connection, STELLA)
    assert converted is not None
    assert (converted.recipients, converted.organizations_told) == (2, 2)

    hour = timedelta(hours=1)
    async with seeded.write() as connection:
        paused_at = datetime.now(UTC) - hour
        began_at = mails[0].due_at - hour
        await connection.execute(update(launches).values(paused_at=paused_at, began_at=began_at))
        assert await pauses.resume(connection, STELLA)
        assert not await pauses.resume(connection, STELLA)
    await announcements(seeded).announce()
    everyone = await rows(seeded, select(outbox).order_by(outbox.c.due_at, outbox.c.recipient))
    assert sorted(mail.recipient for mail in everyone) == [f"p{n}@example.org" for n in range(5)]
    assert first_wave < {mail.id for mail in everyone}
    # the second wave leaves a minute after the first one, the hour not counted
    waits = [mail.due_at - mails[0].due_at for mail in everyone if mail.id not in first_wave]
    assert [round(wait / timedelta(minutes=1)) for wait in waits] == [1, 1, 2]
    async with seeded.read() as connection:
        assert (await events.funnel(connection, STELLA))["notified"] == 5


async def test_a_launch_that_stood_still_for_too_long_mails_no_one_twice(seeded: Database):
    await account(seeded, "ada@example.org", vote=Vote(model_id=STELLA))
    async with seeded.write() as connection:
        with pytest.raises(LaunchUnknown):
            await pauses.pause(connection, STELLA)
    await launch(seeded)
    await announcements(seeded).announce()
    long_ago = datetime.now(UTC) - timedelta(days=pauses.PAUSE_DAYS_MAX + 1)
    async with seeded.write() as connection:
        assert await pauses.pause(connection, STELLA) == 1
        await connection.execute(update(launches).values(paused_at=long_ago))
        with pytest.raises(CannotResume):
            await pauses.resume(connection, STELLA)
        await connection.execute(delete(outbox))
