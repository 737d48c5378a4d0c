"""Announcing a launch: credit for the organizations that asked, then one mail for each person.

Every step is a short transaction that can be repeated, by this process or another:

- An organization's credit is decided once: its row says how (`launch_organizations.credit`), in
  the same transaction as the grant. One organization a transaction, since the ledger locks
  accounts one at a time; the gate is that of all free credit.
- A mail is named after the launch and the person, and that name is unique in the outbox. Mails are
  written after the credit is decided, so that none promises what was not granted.
- Mails leave in waves, counted from the moment at which the announcement began; how many were
  written is counted under a lock of the launch's row.

So a crash at any point, or two processes at once, mails and credits nobody twice and leaves nobody
out. A turn ends after a while, and the next one goes on where it ended.

Who asked for a model: those who voted for it or wait for it, once each.

Nobody can be added once a model is live (see `eligibility`), so these queries end: each returns
only those whom a launch has not seen to yet, and can be asked again after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

import msgspec
from sqlalchemy import Subquery, func, literal, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.demand import events
from gateway.control_plane.mail.messages import Mail, MailWriter
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.money import money
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import (
    demand_votes,
    launch_organizations,
    launches,
    memberships,
    model_prices,
    outbox,
    unsubscriptions,
    users,
    waitlist_entries,
)

_BATCH = 200
_TURN_SECONDS = 30.0
_CREDITED = ("granted", "granted_before")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes with a launch, and how fast its mails leave."""

    gift: Gift
    wave_mails: int
    wave_seconds: float
    pending_max: int
    """Launch mails that wait in the outbox; those of more people follow as they leave."""


class Announcements:
    """Tells people of launches; `announce` is a job."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        writer: MailWriter,
        unsubscribe: Unsubscriptions,
        offer: Offer,
        *,
        is_live: Callable[[str], bool],
        titles: Mapping[str, str],
        public_url: str,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._writer = writer
        self._unsubscribe = unsubscribe
        self._offer = offer
        self._is_live = is_live
        self._titles = titles
        self._public_url = public_url

    async def announce(self) -> None:
        """Go on with every launch that is not announced yet, for a turn at most."""
        query = (
            select(launches.c.model_id, model_prices.c.nanos_per_million_tokens)
            .join(model_prices, model_prices.c.id == launches.c.price_id)
            .where(launches.c.announced_at.is_(None))
        )
        async with self._database.read() as connection:
            waiting = (await connection.execute(query)).all()
        ends = monotonic() + _TURN_SECONDS
        for model_id, price_nanos in waiting:
            # nobody is sent to a page that still says "coming soon"
            if self._is_live(model_id) and await self._credit_all(model_id, ends):
                await self._write_all(model_id, price_nanos, ends)

    async def _credit_all(self, model_id: str, ends: float) -> bool:
        """Decide everybody's credit, and tell whether that is done."""
        while monotonic() < ends:
            async with self._database.read() as connection:
                people = await undecided(connection, model_id, _BATCH)
            if not people:
                return True
            for organization_id, emails in people.items():
                async with self._database.write() as connection:
                    await self._credit(connection, model_id, organization_id, emails)
        return False

    async def _credit(
        self,
        connection: AsyncConnection,
        model_id: str,
        organization_id: str,
        emails: Collection[str],
    ) -> None:
        ours = await connection.scalar(
            insert_into(connection, launch_organizations)
            .values(
                model_id=model_id,
                organization_id=organization_id,
                credit="off",
                decided_at=datetime.now(UTC),
            )
            .on_conflict_do_nothing()
            .returning(launch_organizations.c.organization_id)
        )
        if ours is None:  # another process was faster
            return
        reason = await self._offer.gift.give(
            connection,
            organization_id,
            f"launch:{model_id}:{organization_id}",
            is_disposable=all(Address(email).is_disposable for email in emails),
        )
        await connection.execute(
            update(launch_organizations)
            .where(
                launch_organizations.c.model_id == model_id,
                launch_organizations.c.organization_id == organization_id,
            )
            .values(credit=reason)
        )

    async def _write_all(self, model_id: str, price_nanos: int, ends: float) -> None:
        while monotonic() < ends:
            async with self._database.read() as connection:
                room = self._offer.pending_max - await self._outbox.waiting_once(connection)
                people = await unwritten(connection, model_id, max(0, min(room, _BATCH)))
                credited = await _credited(connection, model_id, people)
            if room <= 0:
                return
            mails = [
                self._mail(
                    model_id, person, price_nanos, is_credited=person.organization_id in credited
                )
                for person in people
            ]
            async with self._database.write() as connection:
                await self._write(connection, model_id, people, mails)
            if not people:
                return

    async def _write(
        self,
        connection: AsyncConnection,
        model_id: str,
        people: Sequence[Person],
        mails: Sequence[Mail],
    ) -> None:
        """Put a batch into the outbox, or without one: say that everybody's mail is there."""
        now = datetime.now(UTC)
        of_launch = launches.c.model_id == model_id
        launch = (
            await connection.execute(select(launches).where(of_launch).with_for_update())
        ).one()
        if launch.announced_at is not None:
            return
        written = launch.recipients or 0
        if not mails:
            await connection.execute(
                update(launches).where(of_launch).values(announced_at=now, recipients=written)
            )
            if written:
                await events.record(connection, "notified", model_id, count=written)
            return
        began_at = launch.began_at or now
        added = await self._outbox.put_all(
            connection,
            [(mail, self._due(began_at, written + place)) for place, mail in enumerate(mails)],
        )
        await connection.execute(
            update(launches).where(of_launch).values(began_at=began_at, recipients=written + added)
        )
        told = {person.organization_id for person in people if person.organization_id}
        await connection.execute(
            update(launch_organizations)
            .where(
                launch_organizations.c.model_id == model_id,
                launch_organizations.c.organization_id.in_(told),
                launch_organizations.c.told_at.is_(None),
            )
            .values(told_at=now)
        )

    def _due(self, began_at: datetime, place: int) -> datetime:
        wave = place // self._offer.wave_mails
        return began_at + timedelta(seconds=wave * self._offer.wave_seconds)

    def _mail(self, model_id: str, person: Person, price_nanos: int, *, is_credited: bool) -> Mail:
        title = self._titles.get(model_id, model_id)
        return self._writer.write(
            "launch",
            ref=mail_ref(model_id, person.address_key),
            recipient=person.email,
            subject=f"{title} is live",
            unsubscribe_url=self._unsubscribe.url(person.email),
            title=title,
            url=f"{self._public_url}/models/{model_id}",
            price=money(price_nanos),
            credit=money(self._offer.gift.nanos) if is_credited else "",
        )


async def _credited(
    connection: AsyncConnection, model_id: str, people: Sequence[Person]
) -> set[str | None]:
    found = await connection.scalars(
        select(launch_organizations.c.organization_id).where(
            launch_organizations.c.model_id == model_id,
            launch_organizations.c.credit.in_(_CREDITED),
            launch_organizations.c.organization_id.in_(
                {person.organization_id for person in people if person.organization_id}
            ),
        )
    )
    return set(found)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who voted or waits; without an account there is no organization."""

    address_key: str
    email: str
    organization_id: str | None


def mail_ref(model_id: str, address_key: str) -> str:
    """Name the one mail of a launch to somebody."""
    return f"launch:{model_id}:{address_key}"


async def unwritten(connection: AsyncConnection, model_id: str, limit: int) -> list[Person]:
    """Return people whose mail is not in the outbox yet, the unsubscribed left out."""
    people = _people(model_id, reachable=True)
    ref = literal(mail_ref(model_id, "")).concat(people.c.key)
    found = await connection.execute(
        select(people)
        .where(~select(outbox.c.id).where(outbox.c.ref == ref).exists())
        .order_by(people.c.key)
        .limit(limit)
    )
    return [
        Person(address_key=row.key, email=row.email, organization_id=row.organization_id)
        for row in found
    ]


async def undecided(
    connection: AsyncConnection, model_id: str, limit: int
) -> Mapping[str, list[str]]:
    """Return organizations whose credit is not decided yet, with their people's addresses.

    Whoever unsubscribed is among them: they want no mail, and spoke up all the same.
    """
    people = _people(model_id, reachable=False)
    decided = select(launch_organizations.c.model_id).where(
        launch_organizations.c.model_id == model_id,
        launch_organizations.c.organization_id == people.c.organization_id,
    )
    some = (
        select(people.c.organization_id)
        .where(people.c.organization_id.is_not(None), ~decided.exists())
        .distinct()
        .order_by(people.c.organization_id)
        .limit(limit)
    )
    found = await connection.execute(
        select(people.c.organization_id, people.c.email)
        .where(people.c.organization_id.in_(some))
        .order_by(people.c.organization_id, people.c.email)
    )
    emails: dict[str, list[str]] = {}
    for organization_id, email in found:
        emails.setdefault(organization_id, []).append(email)
    return emails


def _people(model_id: str, *, reachable: bool) -> Subquery:
    """One row for each mailbox; of its spellings, the one with an account."""
    home = (
        select(memberships.c.organization_id)
        .where(memberships.c.user_id == users.c.id)
        .order_by(memberships.c.created_at)
        .limit(1)
        .scalar_subquery()
    )
    voters = (
        select(demand_votes.c.voter_key.label("key"), users.c.email.label("email"))
        .join(users, users.c.id == demand_votes.c.user_id)
        .where(demand_votes.c.model_id == model_id)
    )
    waiting = select(waitlist_entries.c.address_key, waitlist_entries.c.email).where(
        waitlist_entries.c.model_id == model_id
    )
    everybody = union(voters, waiting).subquery()
    found = (
        select(everybody.c.key, everybody.c.email, home.label("organization_id"))
        .outerjoin(users, users.c.email == everybody.c.email)
        .where(everybody.c.email.is_not(None))
    )
    if reachable:
        found = found.where(everybody.c.email.not_in(select(unsubscriptions.c.email)))
    spellings = found.subquery()
    place = func.row_number().over(
        partition_by=spellings.c.key,
        order_by=(spellings.c.organization_id.is_(None), spellings.c.email),
    )
    ranked = select(spellings, place.label("place")).subquery()
    return (
        select(ranked.c.key, ranked.c.email, ranked.c.organization_id)
        .where(ranked.c.place == 1)
        .subquery()
    )
