"""How late mails are, whatever retries did to when they are due."""

from datetime import timedelta

import pytest

from gateway import wall
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.smtp import MailRefused
from gateway.control_plane.mail.waits import MailWaits
from gateway.storage.database import Database
from tests.control_plane.mail.conftest import a_mail
from tests.control_plane.mail.test_outbox import LIVES, Scripted, box, put


async def put_at(database: Database, target: Outbox, ref: str, kind: str, minutes: int) -> None:
    async with database.write() as connection:
        due_at = wall.now() + timedelta(minutes=minutes)
        assert await target.put_all(connection, [(a_mail(ref, kind), due_at)])


async def test_a_mail_that_is_tried_again_and_again_is_late_since_its_first_time(
    database: Database,
):
    target = box(database, Scripted(MailRefused("busy", for_good=False)))
    waits = MailWaits(database, LIVES)
    await waits.measure()
    assert waits.due_seconds == {"link": 0, "notice": 0, "launch": 0}
    assert waits.mails == {"link": 0, "notice": 0, "launch": 0}

    await put_at(database, target, "due", "notice", minutes=-10)
    await put_at(database, target, "later", "launch", minutes=10)
    await target.deliver()
    assert target.outcomes == {"sent": 0, "retried": 1, "failed": 0, "unknown": 0}
    await put(database, target, a_mail("now"))
    await waits.measure()
    assert waits.mails == {"link": 1, "notice": 1, "launch": 1}
    assert waits.due_seconds["notice"] == pytest.approx(600, abs=60)
    assert waits.due_seconds["link"] == pytest.approx(0, abs=60)
    assert waits.due_seconds["launch"] == 0, "it is not due"

    await target.deliver()
    await waits.measure()
    assert target.outcomes["sent"] == 1
    assert waits.mails["link"] == 0
