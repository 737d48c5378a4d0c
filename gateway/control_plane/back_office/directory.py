"""The directory of organizations: a page at a time, the newest first, by filters with indexes.

A page costs the same with a million organizations as with ten: each filter either narrows the ids
first, by an index, or holds for most rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.networks import wide
from gateway.identifiers import first_id
from gateway.storage.ledger.freezes import StoredCause
from gateway.storage.tables import (
    accounts,
    freezes,
    memberships,
    organizations,
    payment_customers,
    payments,
    sessions,
    users,
)

Standing = Literal["", "frozen", "owing", "held"]
Buying = Literal["", "yes", "no"]

DOMAIN_DAYS = 30
"""How far back to look for people from a domain."""
_NEW_READ_MAX = 100_000
"""Most new people that a domain or a network is looked for among."""
_NETWORKS_MAX = 1_000
"""Most addresses of one network that are looked for."""


class OrganizationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects organizations; what is empty selects all."""

    name: str = ""
    """How the name begins, in any of its usual spellings."""
    domain: str = ""
    """Of the mail address of a person who came in the last DOMAIN_DAYS days."""
    network: str = ""
    """Of such a person: a /24 or a /48."""
    standing: Standing = ""
    bought: Buying = ""
    since: date | None = None
    """The first and the last day on which it was made, in UTC."""
    until: date | None = None


class ListedOrganization(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the directory."""

    id: str
    name: str
    created_at: datetime
    available_nanos: int
    owed_nanos: int
    spent_nanos: int
    owner: str
    """The mail address of the first owner; empty if there is none."""
    owners: int
    frozen: tuple[StoredCause, ...]
    held: bool
    """Whether it may not buy."""

    @property
    def state(self) -> str:
        """What is wrong, in one word; empty: nothing."""
        if self.owed_nanos:
            return "owing"
        if self.frozen:
            return "frozen"
        return "held" if self.held else ""


async def listed(
    connection: AsyncConnection,
    chosen: OrganizationFilter,
    *,
    before: str | None = None,
    limit: int,
    now: datetime,
) -> list[ListedOrganization]:
    """Return a page of organizations, those made after `before` left out."""
    query = _chosen(chosen, now)
    if chosen.network:
        query = query.where(organizations.c.id.in_(await _of_network(connection, chosen, now)))
    query = query.order_by(organizations.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(organizations.c.id < before)
    rows = (await connection.execute(query)).mappings().all()
    return await _complete(connection, rows)


async def named(connection: AsyncConnection, ids: Sequence[str]) -> list[ListedOrganization]:
    """Return the organizations with some ids, the newest first."""
    query = _rows().where(organizations.c.id.in_(ids)).order_by(organizations.c.id.desc())
    return await _complete(connection, (await connection.execute(query)).mappings().all())


def begins(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Tell whether a text begins so, in one of the spellings that people use of names."""
    spellings = {text, text.lower(), text.upper(), text.capitalize(), text.title()}
    return or_(*(column.startswith(one, autoescape=True) for one in sorted(spellings)))


def _rows() -> Select[Any]:
    return select(
        organizations.c.id,
        organizations.c.name,
        organizations.c.created_at,
        accounts.c.available_nanos,
        accounts.c.owed_nanos,
        accounts.c.spent_nanos,
    ).join(accounts, accounts.c.id == organizations.c.id)


def _chosen(chosen: OrganizationFilter, now: datetime) -> Select[Any]:
    ours = organizations.c.id
    query = _rows()
    if chosen.name:
        query = query.where(begins(organizations.c.name, chosen.name))
    if chosen.domain:
        query = query.where(ours.in_(_of_domain(chosen.domain, now)))
    if chosen.standing == "held":
        held = payment_customers.c.held_at.is_not(None)
        query = query.where(ours.in_(select(payment_customers.c.organization_id).where(held)))
    elif chosen.standing:
        owing = select(accounts.c.id).where(accounts.c.owed_nanos > 0)
        frozen = union(owing, select(freezes.c.account_id)).subquery()
        stopped = owing if chosen.standing == "owing" else select(frozen.c[0])
        query = query.where(ours.in_(stopped))
    if chosen.bought:
        paid = select(payments.c.id).where(
            payments.c.organization_id == ours, payments.c.paid_at.is_not(None)
        )
        bought = paid.correlate(organizations).exists()
        query = query.where(bought if chosen.bought == "yes" else ~bought)
    if chosen.since:
        query = query.where(ours >= first_id(_midnight(chosen.since)))
    if chosen.until:
        query = query.where(ours < first_id(_midnight(chosen.until) + timedelta(days=1)))
    return query


def _of_domain(domain: str, now: datetime) -> Select[Any]:
    newest = (
        select(users.c.id, users.c.email)
        .where(users.c.id >= first_id(now - timedelta(days=DOMAIN_DAYS)))
        .order_by(users.c.id.desc())
        .limit(_NEW_READ_MAX)
        .subquery()
    )
    return (
        select(memberships.c.organization_id)
        .join(newest, newest.c.id == memberships.c.user_id)
        .where(newest.c.email.endswith(f"@{domain.lower()}", autoescape=True))
    )


async def _of_network(
    connection: AsyncConnection, chosen: OrganizationFilter, now: datetime
) -> Select[Any]:
    """Select the organizations of new people who came from a network."""
    new = users.c.id >= first_id(now - timedelta(days=DOMAIN_DAYS))
    come = select(sessions.c.network).join(users, users.c.id == sessions.c.user_id).where(new)
    found = await connection.scalars(come.distinct().limit(_NEW_READ_MAX))
    within = [one for one in found if wide(one) == chosen.network][:_NETWORKS_MAX]
    return (
        select(memberships.c.organization_id)
        .join(users, users.c.id == memberships.c.user_id)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(new, sessions.c.network.in_(within))
    )


async def _complete(
    connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]
) -> list[ListedOrganization]:
    """Add owners and what stands in the way, for all rows at once."""
    ids = [row["id"] for row in rows]
    owners: dict[str, list[str]] = defaultdict(list)
    causes: dict[str, list[StoredCause]] = defaultdict(list)
    held: set[str] = set()
    if ids:
        people = await connection.execute(
            select(memberships.c.organization_id, users.c.email)
            .join(users, users.c.id == memberships.c.user_id)
            .where(
                memberships.c.organization_id.in_(ids),
                memberships.c.role == "owner",
                users.c.email.is_not(None),
            )
            .order_by(memberships.c.created_at, users.c.id)
        )
        for row in people:
            owners[row.organization_id].append(row.email)
        found = select(freezes.c.account_id, freezes.c.cause).where(freezes.c.account_id.in_(ids))
        for row in await connection.execute(found.order_by(freezes.c.created_at)):
            causes[row.account_id].append(row.cause)
        waiting = select(payment_customers.c.organization_id).where(
            payment_customers.c.organization_id.in_(ids), payment_customers.c.held_at.is_not(None)
        )
        held = set((await connection.scalars(waiting)).all())
    return [
        ListedOrganization(
            **row,
            owner=owners[row["id"]][0] if owners[row["id"]] else "",
            owners=len(owners[row["id"]]),
            frozen=tuple(dict.fromkeys(causes[row["id"]])),
            held=row["id"] in held,
        )
        for row in rows
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
