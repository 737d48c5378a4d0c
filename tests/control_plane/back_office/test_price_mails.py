"""Rises: whoever uses the model is mailed once, before, and the model's page shows what comes."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select

from gateway.app.mails_and_moves import make_mail
from gateway.control_plane.back_office import price_control, price_mails
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.price_mails import PriceMails
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.dates import day_text
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.tables import alert_walks, outbox
from gateway.storage.tables import price_changes as changes
from tests.control_plane.back_office.test_price_control import set_price, uses
from tests.control_plane.conftest import MINILM

RISE = 16_000_000


def mails_of(database: Database) -> PriceMails:
    settings = Settings(secret="s" * 32, database_url="sqlite:///")
    writer, put = make_mail(settings, database)
    mails = AccountMails(put, writer, public_url="https://embed.example")
    return PriceMails(database, mails)


async def told(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        found = await connection.execute(select(outbox.c.recipient, outbox.c.subject))
        return {row.recipient: row.subject for row in found}


async def test_whoever_uses_the_model_is_told_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(price_mails, "BATCH", 2)
    for name in ("ada", "bob", "eve"):
        await uses(database, f"{name}@example.org", 1, 1)
    await uses(database, "old@example.org", 1, 1, days_ago=40)
    await set_price(database, RISE, days=40)
    day = datetime.now(UTC) + timedelta(days=40)
    mails = mails_of(database)
    assert await mails.tell() == 3
    subjects = await told(database)
    assert set(subjects) == {f"{name}@example.org" for name in ("ada", "bob", "eve")}
    (subject,) = set(subjects.values())
    assert subject.startswith(f"The price of {MINILM} rises from $0.008 to $0.016 per million")
    assert f"{day_text(day)}" in subject
    async with database.read() as connection:
        text = await connection.scalar(select(outbox.c.text).limit(1))
    assert f"https://embed.example/models/{MINILM}" in str(text)

    assert await mails.tell() == 0
    async with database.write() as connection:  # as if the end of the walk had been lost
        await connection.execute(changes.update().values(announced_at=None))
        await connection.execute(delete(alert_walks))
    await mails.tell()
    async with database.read() as connection:
        assert len((await connection.scalars(select(outbox.c.id))).all()) == 3


async def test_what_falls_or_was_called_off_is_not_told(database: Database):
    await uses(database, "ada@example.org", 1, 1)
    await set_price(database, 6_000_000, days=40)
    change = await set_price(database, RISE, days=50)
    async with database.write() as connection:
        await price_control.cancel(connection, COMMAND_LINE, str(change), reason="")
    assert await mails_of(database).tell() == 0
    assert await told(database) == {}
