"""Launch mails: credit for the organizations that asked for a model, then one mail per person.

Those who asked voted for the model or are on its waitlist. No one can be added once it is live (see
`votes.hold`), so the work ends. Each query returns only what is left to do, and every step is a
short transaction that this process or another can repeat after a crash:

- Each organization's credit is decided once: `launch_organizations.credit` says how, in the same
  transaction as the grant. One organization per transaction, since the ledger locks one account at
  a time. The daily budget of promotions applies.
- A mail's `ref` names the launch and the person, and is unique in the outbox. Mails are written
  after all credit is decided, so that none promises what was not granted.
- Mails leave in waves, counted from the moment the first was written; how many were written is
  counted under a lock on the launch's row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic

import msgspec
from sqlalchemy import Subquery, func, literal, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.demand.counts import is_counted
from gateway.control_plane.demand.events import Event, funnel, record
from gateway.control_plane.mail.messages import Mail, MailWriter
from gateway.control_plane.mail.outbox import ONCE, Outbox
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


class LaunchMails:
    """Gives launch credit and writes launch mails; `announce` is a job."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        writer: MailWriter,
        unsubscribe: Unsubscriptions,
        terms: LaunchTerms,
        *,
        is_live: Callable[[str], bool],
        titles: Mapping[str, str],
        public_url: str,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._writer = writer
        self._unsubscribe = unsubscribe
        self.terms = terms
        self._is_live = is_live
        self._titles = titles
        self._public_url = public_url

    async def announce(self) -> None:
        """Continue every launch that is neither fully announced nor paused, for _TURN_SECONDS."""
        query = (
            select(launches.c.model_id, model_prices.c.nanos_per_million_tokens)
            .join(model_prices, model_prices.c.id == launches.c.price_id)
            .where(launches.c.announced_at.is_(None), launches.c.paused_at.is_(None))
        )
        async with self._database.read() as connection:
            waiting = (await connection.execute(query)).all()
        ends = monotonic() + _TURN_SECONDS
        for model_id, price_nanos in waiting:
            # no mail may link to a page that still says "coming soon"
            if self._is_live(model_id) and await self._credit_all(model_id, ends):
                await self._write_all(model_id, price_nanos, ends)

    async def _credit_all(self, model_id: str, ends: float) -> bool:
        """Decide the credit of every organization; return whether that is done."""
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
                decided_at=wall.now(),
            )
            .on_conflict_do_nothing()
            .returning(launch_organizations.c.organization_id)
        )
        if ours is None:  # another process decided it
            return
        reason = await self.terms.gift.give(
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
                room = self.terms.pending_max - await self._outbox.waiting(connection, ONCE)
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
        people: Sequence[Recipient],
        mails: Sequence[Mail],
    ) -> None:
        """Put a batch into the outbox; without mails, mark the launch as announced."""
        now = wall.now()
        of_launch = launches.c.model_id == model_id
        launch = (
            await connection.execute(select(launches).where(of_launch).with_for_update())
        ).one()
        if launch.announced_at is not None or launch.paused_at is not None:
            return
        written = launch.recipients or 0
        if not mails:
            await connection.execute(
                update(launches).where(of_launch).values(announced_at=now, recipients=written)
            )
            # a launch that was paused was announced before
            before = (await funnel(connection, model_id)).get("notified", 0)
            if written > before:
                await record(connection, Event("notified", model_id, count=written - before))
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
        wave = place // self.terms.wave_mails
        return began_at + timedelta(seconds=wave * self.terms.wave_seconds)

    def example(self, model_id: str, price_nanos: int) -> Mail:
        """Return the mail that a person with credit would get."""
        person = Recipient(address_key="", email="someone@example.com", organization_id=None)
        credited = self.terms.gift.nanos > 0
        return self._mail(model_id, person, price_nanos, is_credited=credited)

    def _mail(
        self, model_id: str, person: Recipient, price_nanos: int, *, is_credited: bool
    ) -> Mail:
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
            credit=money(self.terms.gift.nanos) if is_credited else "",
        )


class LaunchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The credit that comes with a launch, and how fast its mails leave."""

    gift: Gift
    wave_mails: int
    wave_seconds: float
    pending_max: int
    """Most launch mails waiting in the outbox at once."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """A voter or an address on the waitlist; without an account there is no organization."""

    address_key: str
    email: str
    organization_id: str | None


def mail_ref(model_id: str, address_key: str) -> str:
    """Return the unique name of a person's mail of a launch."""
    return f"launch:{model_id}:{address_key}"


async def unwritten(connection: AsyncConnection, model_id: str, limit: int) -> list[Recipient]:
    """Return people whose mail is not in the outbox yet, without the unsubscribed."""
    people = people_of(model_id, reachable=True)
    ref = literal(mail_ref(model_id, "")).concat(people.c.key)
    found = await connection.execute(
        select(people)
        .where(~select(outbox.c.id).where(outbox.c.ref == ref).exists())
        .order_by(people.c.key)
        .limit(limit)
    )
    return [
        Recipient(address_key=row.key, email=row.email, organization_id=row.organization_id)
        for row in found
    ]


async def undecided(
    connection: AsyncConnection, model_id: str, limit: int
) -> Mapping[str, list[str]]:
    """Return organizations whose credit is not decided yet, with their people's addresses.

    The unsubscribed count too: they want no mail, but they asked for the model.
    """
    people = people_of(model_id, reachable=False)
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


async def _credited(
    connection: AsyncConnection, model_id: str, people: Sequence[Recipient]
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


def people_of(model_id: str, *, reachable: bool) -> Subquery:
    """Return one row per mailbox; of several spellings, the one with an account."""
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
        .where(demand_votes.c.model_id == model_id, is_counted())
    )
    waiting = select(waitlist_entries.c.address_key, waitlist_entries.c.email).where(
        waitlist_entries.c.model_id == model_id
    )
    everyone = union(voters, waiting).subquery()
    found = (
        select(everyone.c.key, everyone.c.email, home.label("organization_id"))
        .outerjoin(users, users.c.email == everyone.c.email)
        .where(everyone.c.email.is_not(None))
    )
    if reachable:
        found = found.where(everyone.c.email.not_in(select(unsubscriptions.c.email)))
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
