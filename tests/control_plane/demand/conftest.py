"""What the tests of demand share: a seeded catalog, accounts that vote, and a launch."""

from datetime import UTC, datetime

import pytest

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.demand import launches, votes
from gateway.control_plane.demand.launch_mails import LaunchMails, LaunchTerms
from gateway.control_plane.demand.votes import Vote
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Lifetimes, Outbox
from gateway.control_plane.mail.smtp import LogSender
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.keyring import Keyring
from gateway.storage.database import Database
from tests.control_plane.conftest import STELLA

URL = "https://g.example"
LIVES = Lifetimes(link_seconds=60, invitation_seconds=60, quiet_seconds=60)


@pytest.fixture
async def seeded(database: Database) -> Database:
    async with database.write() as connection:
        await catalog.seed(connection)
        await golden.pin(connection, STELLA, "pinned", [])
    return database


def announcements(
    database: Database,
    *,
    wave_mails: int = 2,
    live: bool = True,
    credit: int = 7,
    day_nanos: int = 10**6,
    pending_max: int = 1000,
) -> LaunchMails:
    box = Outbox(database, LogSender(), pending_max=9, lifetimes=LIVES, host="g.example")
    return LaunchMails(
        database, box, MailWriter({"brand": "B", "public_url": URL}),
        Unsubscriptions(secret=Keyring("s"), public_url=URL),
        LaunchTerms(
            gift=Gift(nanos=credit, days=30, day_nanos=day_nanos),
            wave_mails=wave_mails, wave_seconds=60, pending_max=pending_max,
        ),
        is_live=lambda _model: live, titles={STELLA: "Stella"}, public_url=URL,
    )  # fmt: skip


async def launch(
    database: Database, *, ready: tuple[str, ...] = ("pinned",), nanos: int = 9_000_000
) -> None:
    async with database.write() as connection:
        await launches.launch(connection, STELLA, ready=ready, nanos_per_million_tokens=nanos)


async def account(database: Database, email: str, *, vote: Vote | None = None) -> Visitor:
    address = Address(email)
    async with database.write() as connection:
        user = await users.find_or_create(connection, address)
        visitor = Visitor(
            read_at=datetime.now(UTC),
            session_id="", user_id=user.id, email=email, address_key=address.key, role="owner",
            organization_id=user.organization_id, organization_name="o",
        )  # fmt: skip
        if vote:
            await votes.cast(connection, visitor, vote)
    return visitor


async def rows(database: Database, query):
    async with database.read() as connection:
        return (await connection.execute(query)).all()
