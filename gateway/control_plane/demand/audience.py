"""Who asked for a model: those who voted for it or wait for it, once each.

Nobody can be added once a model is live (see `eligibility`), so these queries end: each returns
only those whom a launch has not seen to yet, and can be asked again after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Subquery, func, literal, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import (
    demand_votes,
    launch_organizations,
    memberships,
    outbox,
    unsubscriptions,
    users,
    waitlist_entries,
)


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
