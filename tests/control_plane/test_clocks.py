"""Clocks differ: what several processes compare goes by the database's clock.

Here PostgreSQL's clock is ten minutes off from this process's, either way.
"""

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import Table, select, text, update

from gateway.app.mails_and_moves import make_mail, make_moves
from gateway.control_plane.accounts import enrollments, passkeys, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.links import LinkSpent, MailLinks
from gateway.control_plane.accounts.passkeys import PasskeyRefused
from gateway.control_plane.accounts.sessions import Sessions, Visitor
from gateway.control_plane.attention import snoozes
from gateway.control_plane.attention.needs import Need
from gateway.control_plane.back_office import approvals, views
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.orders import GrantOrder
from gateway.control_plane.back_office.snoozes import snooze
from gateway.control_plane.web import verification
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.settings import Settings
from gateway.storage import tables
from gateway.storage.clock import clock
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from testing.operators import make_operator

_OFF = (
    "CREATE SCHEMA clocks",
    """
    CREATE FUNCTION clocks.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    RETURN pg_catalog.clock_timestamp() + interval '{minutes} minutes'
    """,
    # a schema that comes before PostgreSQL's own hides its clock
    "ALTER DATABASE {name} SET search_path = clocks, public, pg_catalog",
)
MINUTE = timedelta(minutes=1)
ADA = Address("ada@example.com")


@pytest.fixture(params=[-10, 10])
async def off(
    request: pytest.FixtureRequest, postgresql_database_url: list[str]
) -> AsyncIterator[Database]:
    """A database whose clock is off."""
    before = Database(postgresql_database_url[0])
    async with before.write() as connection:
        for statement in _OFF:
            named = statement.format(minutes=request.param, name=before.url.database)
            await connection.execute(text(named))
    await before.close()
    opened = Database(postgresql_database_url[0])
    yield opened
    await opened.close()


async def put(database: Database, table: Table, column: str, later: timedelta) -> None:
    """Let a moment in all rows of a table be so much later than the database's clock."""
    async with database.write() as connection:
        await connection.execute(update(table).values({column: clock(later)}))


async def visitor_of(signed: Sessions, session_id: str) -> Visitor:
    found = await signed.read(session_id, 1)
    assert found is not None
    visitor, replaced = found
    assert replaced is None  # the session is young, by the clock by which it began
    return visitor


async def test_a_proof_is_fresh_for_ten_minutes_and_a_view_lasts_half_an_hour(off: Database):
    signed = Sessions(off, secret=Keyring("s" * 32), seconds=3600, rotation_seconds=300)
    mia = await make_operator(off, "mia@example.com", "owner")
    async with off.write() as connection:
        user = await users.find_or_create(connection, ADA)
        await signed.begin(connection, user.id, user.organization_id)
        session_id = str(await connection.scalar(select(tables.sessions.c.id)))
        await views.begin(connection, mia, session_id, user.organization_id)
        ends_at = await connection.scalar(select(tables.operator_views.c.ends_at))
        assert ends_at is not None
        assert abs(ends_at - await database_now(connection) - views.VIEW) < MINUTE
    assert verification.is_fresh(await visitor_of(signed, session_id))

    await put(off, tables.sessions, "created_at", -60 * MINUTE)
    assert not verification.is_fresh(await visitor_of(signed, session_id))
    async with off.write() as connection:
        await signed.verify(connection, session_id)
    assert verification.is_fresh(await visitor_of(signed, session_id))
    for minutes, holds in ((9, True), (11, False)):
        await put(off, tables.sessions, "verified_at", -minutes * MINUTE)
        assert verification.is_fresh(await visitor_of(signed, session_id)) == holds


async def test_an_order_waits_for_a_day(off: Database):
    mia = await make_operator(off, "mia@example.com", "owner")  # nobody else may approve
    settings = Settings(secret="s" * 32, database_url="sqlite:///")
    writer, outbox = make_mail(settings, off)
    mails = AccountMails(outbox, writer, public_url=settings.public_url)
    moves = make_moves(settings, off, None, mails)
    async with off.write() as connection:
        owner = (await users.find_or_create(connection, ADA)).organization_id
    order = GrantOrder(organization_id=owner, amount_nanos=500 * 10**9, source_ref="x")
    asked = await moves.order(mia, order, order_id=new_id(), reason="outage")
    assert asked.due_at is not None
    async with off.read() as connection:
        left = asked.due_at - await database_now(connection)
    assert abs(left - approvals.WAIT) < MINUTE
    for minutes, states in ((2, ["waiting"]), (0, [])):
        await put(off, tables.money_orders, "due_at", minutes * MINUTE)
        await moves.run()
        async with off.read() as connection:
            assert [one.state for one in await approvals.waiting(connection)] == states


async def test_a_snooze_ends(off: Database):
    mia = await make_operator(off, "mia@example.com", "owner")
    need = Need(key="k", severity="notice", subject="s", words="w")
    async with off.write() as connection:
        until = await snooze(connection, mia, need, 5 * MINUTE, "later")
        assert abs(until - await database_now(connection) - 5 * MINUTE) < MINUTE
        assert set(await snoozes.current(connection)) == {"k"}
    await put(off, tables.snoozes, "until", -MINUTE)
    async with off.read() as connection:
        assert await snoozes.current(connection) == {}


async def test_what_is_sent_to_people_lasts_as_long_as_it_says(off: Database):
    links = MailLinks(
        secret=Keyring("s" * 32), seconds={"sign_in": 300}, per_hour=5, domain_per_hour=9
    )
    async with off.write() as connection:
        user_id = (await users.find_or_create(connection, ADA)).id
        link = await links.create(connection, "sign_in", ADA, "")
        assert link is not None
        assert (await links.look(connection, "sign_in", link.token)).email == ADA.email
        token = await enrollments.begin(connection, user_id)
        assert await enrollments.is_open(connection, token)
        challenge = await passkeys._challenge(connection, "add", user_id)
        spent = await passkeys._spend(connection, "add", user_id, answer_to(challenge))
        assert spent == challenge
        late = await passkeys._challenge(connection, "add", user_id)
    for table in (tables.passkey_challenges, tables.enrollments, tables.mail_links):
        await put(off, table, "expires_at", -MINUTE)
    async with off.write() as connection:
        assert not await enrollments.is_open(connection, token)
        with pytest.raises(LinkSpent):
            await links.look(connection, "sign_in", link.token)
        with pytest.raises(PasskeyRefused):
            await passkeys._spend(connection, "add", user_id, answer_to(late))


def answer_to(challenge: bytes) -> str:
    """Return as much of a browser's answer as names the challenge."""
    named = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
    data = {"type": "webauthn.create", "challenge": named, "origin": "https://x.example"}
    encoded = base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()
    return json.dumps({"response": {"clientDataJSON": encoded}})
