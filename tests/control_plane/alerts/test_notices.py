"""Notices: once for each reference, to those who asked, in the transaction of what happened."""

from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import select

from gateway.control_plane.alerts.notices import Notice, publish
from gateway.storage.tables import notices
from testing.gateways import Ledger

pytestmark = pytest.mark.sqlite

CREDITED = Notice(
    "payment.credited",
    "payment.credited:1",
    {"payment_id": "1", "credit_nanos": 10**10, "amount_cents": 1000},
    datetime.now(UTC),
)


async def test_a_reference_is_told_once_in_an_organization(ledger: Ledger):
    for expected in (True, False):
        async with ledger.database.write() as connection:
            assert await publish(connection, ledger.organization_id, CREDITED) is expected
    other = await Ledger.create(ledger.database)
    async with other.database.write() as connection:
        assert await publish(connection, other.organization_id, CREDITED)


async def test_it_exists_only_if_its_cause_does(ledger: Ledger):
    async def fail() -> None:
        async with ledger.database.write() as connection:
            assert await publish(connection, ledger.organization_id, CREDITED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with ledger.database.read() as connection:
        assert (await connection.execute(select(notices))).all() == []


async def test_nano_dollars_are_strings(ledger: Ledger):
    async with ledger.database.write() as connection:
        await publish(connection, ledger.organization_id, CREDITED)
        row = (await connection.execute(select(notices))).one()
    assert msgspec.json.decode(row.data) == {
        "payment_id": "1", "credit_nanos": "10000000000", "amount_cents": 1000,
    }  # fmt: skip
    assert row.mail_due_at == row.created_at
