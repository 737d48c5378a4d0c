"""Launches: a model goes live, and everybody who asked hears of it once.

Two steps, each safe to repeat. `launch` is one short transaction: the price version, the state and
the launch itself; gateways see the new state within seconds. `announce` is a job that puts the
mails into the outbox in batches and grants the credit. Mails and grants are named after the launch
and the person, and those names are unique: a crash at any point, or two processes at once, and
still nobody is mailed or credited twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec
from sqlalchemy import func, insert, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.catalog import golden
from gateway.control_plane.catalog import models as catalog
from gateway.control_plane.demand import events
from gateway.control_plane.mail.messages import Mail, MailWriter
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.errors import BadRequest, NotFound
from gateway.observability.console import money
from gateway.storage.database import Database
from gateway.storage.ledger import grants
from gateway.storage.tables import (
    demand_votes,
    launches,
    memberships,
    model_prices,
    models,
    unsubscriptions,
    usage_hours,
    users,
    waitlist_entries,
)

_BATCH = 200
_CONVERSION_DAYS = 30


class ModelUnknown(NotFound):
    """No such model in the catalogue."""

    code = "model_not_found"


class CannotLaunch(BadRequest):
    """A model that is not ready to go live, or is live already."""

    code = "cannot_launch"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who voted or waits; without an account there is no organization."""

    address_key: str
    email: str
    organization_id: str | None


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a launch: of those who were told, how many came."""

    recipients: int
    organizations_told: int
    organizations_calling: int
    tokens_30_days: int


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes with a launch, and how fast its mails leave."""

    credit_nanos: int
    credit_days: int
    wave_mails: int
    wave_seconds: float


async def launch(
    connection: AsyncConnection,
    model_id: str,
    *,
    ready: Collection[str],
    nanos_per_million_tokens: int,
) -> None:
    """Make a model live at a price. Raises ModelUnknown or CannotLaunch.

    `ready` are the revisions that its ready workers serve: one must have golden vectors, without
    which nobody could tell its workers from those of another model.
    """
    state = await connection.scalar(
        select(models.c.state).where(models.c.id == model_id).with_for_update()
    )
    if state is None:
        raise ModelUnknown(f"The catalogue has no model {model_id!r}.")
    if state != "coming_soon":
        raise CannotLaunch(f"{model_id} is {state} already.")
    if not ready:
        raise CannotLaunch(f"{model_id} has no ready worker: see `gateway workers list`.")
    pinned = await golden.revisions(connection, model_id)
    if pinned.isdisjoint(ready):
        raise CannotLaunch(
            f"Revision {min(ready)} of {model_id} has no golden vectors: if its worker is to be "
            f"trusted, `gateway workers pin {model_id} URL`."
        )
    await catalog.set_price(connection, model_id, nanos_per_million_tokens)
    price_id = await connection.scalar(
        select(model_prices.c.id)
        .where(model_prices.c.model_id == model_id, model_prices.c.tier == "default")
        .order_by(model_prices.c.id.desc())
        .limit(1)
    )
    await connection.execute(update(models).where(models.c.id == model_id).values(state="live"))
    await connection.execute(
        insert(launches).values(model_id=model_id, price_id=price_id, launched_at=datetime.now(UTC))
    )


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
        """Put the mails of every launch that is not announced yet into the outbox."""
        query = (
            select(launches.c.model_id, launches.c.launched_at, _PRICE)
            .join(model_prices, model_prices.c.id == launches.c.price_id)
            .where(launches.c.announced_at.is_(None))
        )
        async with self._database.read() as connection:
            waiting = (await connection.execute(query)).all()
        for model_id, launched_at, price_nanos in waiting:
            # nobody is sent to a page that still says "coming soon"
            if self._is_live(model_id):
                await self._announce(model_id, launched_at, price_nanos)

    async def _announce(self, model_id: str, launched_at: datetime, price_nanos: int) -> None:
        async with self._database.read() as connection:
            people = await people_of(connection, model_id)
        for first, batch in _batches(people):
            mails = [
                (self._mail(model_id, person, price_nanos), self._due(launched_at, first + n))
                for n, person in enumerate(batch)
            ]
            async with self._database.write() as connection:
                await self._outbox.put_all(connection, mails)
                for person in batch:
                    await self._reward(connection, model_id, person)
        async with self._database.write() as connection:
            marked = await connection.execute(
                update(launches)
                .where(launches.c.model_id == model_id, launches.c.announced_at.is_(None))
                .values(announced_at=datetime.now(UTC), recipients=len(people))
            )
            if marked.rowcount and people:
                await events.record(connection, "notified", model_id, count=len(people))

    def _due(self, launched_at: datetime, place: int) -> datetime:
        wave = place // self._offer.wave_mails
        return launched_at + timedelta(seconds=wave * self._offer.wave_seconds)

    def _mail(self, model_id: str, person: Person, price_nanos: int) -> Mail:
        title = self._titles.get(model_id, model_id)
        rewarded = self._offer.credit_nanos and person.organization_id
        return self._writer.write(
            "launch",
            ref=f"launch:{model_id}:{person.address_key}",
            recipient=person.email,
            subject=f"{title} is live",
            unsubscribe_url=self._unsubscribe.url(person.email),
            title=title,
            url=f"{self._public_url}/models/{model_id}",
            price=money(price_nanos),
            credit=money(self._offer.credit_nanos) if rewarded else "",
        )

    async def _reward(self, connection: AsyncConnection, model_id: str, person: Person) -> None:
        if not (self._offer.credit_nanos and person.organization_id):
            return
        await grants.grant(
            connection,
            person.organization_id,
            self._offer.credit_nanos,
            kind="promo",
            source_ref=f"launch:{model_id}:{person.organization_id}",
            expires_at=datetime.now(UTC) + timedelta(days=self._offer.credit_days),
        )


async def people_of(connection: AsyncConnection, model_id: str) -> list[Person]:
    """Return who voted for a model or waits for it, once each, the unsubscribed left out."""
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
    stopped = select(unsubscriptions.c.email)
    found = await connection.execute(
        select(everybody.c.key, everybody.c.email, home.label("organization_id"))
        .outerjoin(users, users.c.email == everybody.c.email)
        .where(everybody.c.email.is_not(None), everybody.c.email.not_in(stopped))
        .order_by(everybody.c.key, everybody.c.email)
    )
    people: dict[str, Person] = {}
    for key, email, organization_id in found:
        known = people.get(key)
        if known is None or (organization_id and not known.organization_id):
            people[key] = Person(address_key=key, email=email, organization_id=organization_id)
    return list(people.values())


async def conversion(connection: AsyncConnection, model_id: str) -> Conversion | None:
    """Return what became of a launch in its first 30 days; None before there was one."""
    row = (
        await connection.execute(select(launches).where(launches.c.model_id == model_id))
    ).one_or_none()
    if row is None:
        return None
    told = {
        person.organization_id
        for person in await people_of(connection, model_id)
        if person.organization_id
    }
    used = await connection.execute(
        select(usage_hours.c.organization_id, func.sum(usage_hours.c.tokens))
        .where(
            usage_hours.c.model_id == model_id,
            usage_hours.c.hour > row.launched_at - timedelta(hours=1),
            usage_hours.c.hour < row.launched_at + timedelta(days=_CONVERSION_DAYS),
        )
        .group_by(usage_hours.c.organization_id)
    )
    tokens = {organization: int(count) for organization, count in used if organization in told}
    return Conversion(
        recipients=row.recipients or 0,
        organizations_told=len(told),
        organizations_calling=len(tokens),
        tokens_30_days=sum(tokens.values()),
    )


_PRICE = model_prices.c.nanos_per_million_tokens


def _batches(people: Sequence[Person]) -> Iterator[tuple[int, list[Person]]]:
    for first in range(0, len(people), _BATCH):
        yield first, list(islice(people, first, first + _BATCH))
